/*
 * forward_adapters.c - what adapters (src/model/adapter.h) add to the products of the rows that have one.
 *
 * y += scale * B (A x) is done in two parts: A x with the input's rows as they are (never quantized), by all members
 * that have come to the product's phase, in small items, before each multiplies the tiles that it has taken; B times
 * that behind the product, by whoever multiplied the tiles. So there is no phase more, and who is through with its
 * tiles before A x is there waits for no more than an item that somebody has in hand, which waits for nobody. Rows of a
 * step that have the same adapter stand together, so an adapter is read once for all of them. Each number is summed in
 * one order, whatever else is in the step. Without adapters in a step there is nothing to do in it.
 */
#include "../model/tensor_roles.h"
#include "forward_private.h"

#define LOWER_RANKS ROW_GROUP /* rows of A in one item, where an adapter has few rows … */
#define LOWER_ROWS 32         /* … of the step; else so many of them are an item, with all of A */
#define LOW_ROLE(i) ((size_t) (i) *ADAPTER_MAX_RANK) /* where in a row of ROWS_LOW that of matrix number i stands */

uint32_t
plan_role(Forward *f, const PackedMatrix *matrix)
{
	uint32_t role = model_role_of(f->model, matrix);

	if (role < f->n_roles)
		f->takes_adapters[role] = true;
	return role;
}

Status
forward_check_adapter(const Forward *f, const Adapter *adapter)
{
	if (adapter->n_roles != f->n_roles)
		return status_error(STATUS_INTERNAL, "adapter \"%s\" is of another model", adapter->name);
	for (uint32_t i = 0; i < f->n_roles; i++)
		if (adapter_matrix(adapter, i) && !f->takes_adapters[i] && i != ROLE_TOKEN_EMBEDDING)
			return status_error(STATUS_UNSUPPORTED, "adapter \"%s\" changes tensor \"%s\", which no adapter can",
								adapter->name, role_at(&f->model->hyper, i).name);
	return status_ok();
}

/* The rows of a product that have an adapter: all of the step's, or those with logits. */
static void
rows_in_product(const Forward *f, const Product *product, const AdapterRows *rows, uint32_t *first, uint32_t *n)
{
	bool of_logits = product->n_rows == &f->n_logits;

	*first = of_logits ? rows->first_logit : rows->first_row;
	*n = of_logits ? rows->n_logits : rows->n_rows;
}

/* The scale that the sequence of a row of a product wants. */
static float
scale_of(const Forward *f, const Product *product, uint32_t row)
{
	row = product->n_rows == &f->n_logits ? f->logit_rows[row] : row;
	return f->sequences[f->row_sequences[row]].adapter_scale;
}

bool
any_adapter_changes(const Forward *f, const uint32_t *roles, uint32_t n)
{
	for (uint32_t g = 0; g < f->n_adapters; g++)
		for (uint32_t i = 0; i < n; i++)
			if (adapter_matrix(f->adapter_rows[g].adapter, roles[i]))
				return true;
	return false;
}

/* Items of a matrix of a product for n rows. */
static uint32_t
items_of(const AdapterMatrix *matrix, uint32_t n)
{
	if (!matrix || n == 0)
		return 0;
	return n <= LOWER_ROWS ? (matrix->rank + LOWER_RANKS - 1) / LOWER_RANKS : (n + LOWER_ROWS - 1) / LOWER_ROWS;
}

static uint32_t
lower_items(const Forward *f, const Product *product)
{
	uint32_t n_items = 0;

	for (uint32_t g = 0; g < f->n_adapters; g++)
	{
		uint32_t first, n;

		rows_in_product(f, product, &f->adapter_rows[g], &first, &n);
		for (uint32_t i = 0; i < product->n_matrices; i++)
			n_items += items_of(adapter_matrix(f->adapter_rows[g].adapter, product->roles[i]), n);
	}
	return n_items;
}

/* Rows first_rank … of A (n_ranks of them) times n rows of the input from first on, scaled. */
static void
lower(const Forward *f, const Product *product, const AdapterMatrix *matrix, uint32_t i, const MatmulInput *input,
	  uint32_t first, uint32_t n, uint32_t first_rank, uint32_t n_ranks)
{
	const RowBuffer *lows = &f->rows[ROWS_LOW];
	float *low = row_at(lows, first) + LOW_ROLE(i) + first_rank;

	f->kernels->dot_rows(
		matrix->rows_type, matrix->rows + long_row_bytes(matrix->rows_type, matrix->n_one) * first_rank, n_ranks,
		input->rows + first * input->row_stride, input->row_stride, n, matrix->n_one, low, lows->stride);
	for (uint32_t r = 0; r < n; r++)
	{
		float scale = scale_of(f, product, first + r) * matrix->scale;

		for (uint32_t j = 0; j < n_ranks; j++)
			low[r * lows->stride + j] *= scale;
	}
}

/* Item number item of a matrix for n rows from first on. */
static void
lower_item(const Forward *f, const Product *product, const AdapterMatrix *matrix, uint32_t i, const MatmulInput *input,
		   uint32_t first, uint32_t n, uint32_t item)
{
	uint32_t from;

	if (n <= LOWER_ROWS)
	{
		from = item * LOWER_RANKS;
		lower(f, product, matrix, i, input, first, n, from,
			  matrix->rank - from < LOWER_RANKS ? matrix->rank - from : LOWER_RANKS);
		return;
	}
	from = item * LOWER_ROWS;
	lower(f, product, matrix, i, input, first + from, n - from < LOWER_ROWS ? n - from : LOWER_ROWS, 0, matrix->rank);
}

/* Item number wanted, counted through adapters and matrices. Returns how many rows it was for. */
static uint32_t
lower_numbered(const Forward *f, const Product *product, const MatmulInput *input, uint32_t wanted)
{
	for (uint32_t g = 0; g < f->n_adapters; g++)
		for (uint32_t i = 0; i < product->n_matrices; i++)
		{
			const AdapterMatrix *matrix = adapter_matrix(f->adapter_rows[g].adapter, product->roles[i]);
			uint32_t first, n, n_items;

			rows_in_product(f, product, &f->adapter_rows[g], &first, &n);
			n_items = items_of(matrix, n);
			if (wanted < n_items)
			{
				lower_item(f, product, matrix, i, input, first, n, wanted);
				return n < LOWER_ROWS ? n : LOWER_ROWS;
			}
			wanted -= n_items;
		}
	return 0;
}

void
adapters_lower(Member *member, const Product *product)
{
	const Forward *f = member->forward;
	PhaseProgress *progress = &f->progress[member->phase];
	uint32_t n_items, item;
	MatmulInput input;

	if (f->n_adapters == 0)
		return;
	n_items = lower_items(f, product);
	input = product_input(member, product);
	while (atomic_load_explicit(&progress->n_low_taken, memory_order_relaxed) < n_items &&
		   (item = atomic_fetch_add_explicit(&progress->n_low_taken, 1, memory_order_relaxed)) < n_items)
	{
		uint32_t n_rows = lower_numbered(f, product, &input, item);

		atomic_fetch_add_explicit(&progress->n_low_done, 1, memory_order_release);
		member_beat(member, n_rows);
	}
}

void
plan_lows(Forward *f)
{
	(void) plan_rows(f, ROWS_LOW, PRODUCT_MATRICES * ADAPTER_MAX_RANK);
}

void
adapters_add(Member *member, const Product *product, uint32_t i, const MatmulPart *part)
{
	const Forward *f = member->forward;
	uint32_t from, to;

	if (f->n_adapters == 0)
		return;
	from = activations_first_token(*product->n_rows, part->first_panel);
	to = activations_first_token(*product->n_rows, part->end_panel);
	if (member->lowered != member->phase)
		member->waited_ns += wait_for_items(&f->progress[member->phase].n_low_done, lower_items(f, product));
	member->lowered = member->phase;
	for (uint32_t g = 0; g < f->n_adapters; g++)
	{
		const AdapterMatrix *matrix = adapter_matrix(f->adapter_rows[g].adapter, product->roles[i]);
		uint32_t first, n, end;

		rows_in_product(f, product, &f->adapter_rows[g], &first, &n);
		end = first + n < to ? first + n : to;
		first = first > from ? first : from;
		if (matrix && first < end)
			adapter_raise_rows(f, matrix, 0, row_at(&f->rows[ROWS_LOW], first) + LOW_ROLE(i), f->rows[ROWS_LOW].stride,
							   end - first, part->first_tile, part->end_tile, row_at(product->outputs[i], first),
							   product->outputs[i]->stride);
	}
}

void
adapter_raise_rows(const Forward *f, const AdapterMatrix *matrix, uint32_t expert, const float *low, size_t low_stride,
				   uint32_t n, uint32_t first, uint32_t end, float *y, size_t y_stride)
{
	const PackedMatrix *tiles = &matrix->tiles;
	uint32_t from = first * TILE_ROWS, to = end * TILE_ROWS < tiles->n_rows ? end * TILE_ROWS : tiles->n_rows;

	f->kernels->add_thin(tiles->type, tiles->tiles + expert * matrix->tiles_expert_bytes + first * tiles->tile_bytes,
						 tiles->tile_bytes, to - from, tiles->n_cols, low, low_stride, n, y + from, y_stride);
}

const AdapterMatrix *
adapter_of_row(const Forward *f, uint32_t row, uint32_t role)
{
	return adapter_matrix(f->sequences[f->row_sequences[row]].adapter, role);
}

void
adapter_lower_row(const Forward *f, const AdapterMatrix *matrix, uint32_t row, uint32_t expert, const float *x,
				  float *low)
{
	float scale = f->sequences[f->row_sequences[row]].adapter_scale * matrix->scale;

	f->kernels->dot_rows(matrix->rows_type, matrix->rows + expert * matrix->rows_expert_bytes, matrix->rank, x, 0, 1,
						 matrix->n_one, low, 0);
	for (uint32_t j = 0; j < matrix->rank; j++)
		low[j] *= scale;
}

void
adapters_add_embedding(const Forward *f, const StepSequence *sequence, uint32_t token, float *row)
{
	const AdapterMatrix *matrix = adapter_matrix(sequence->adapter, ROLE_TOKEN_EMBEDDING);
	float low[ADAPTER_MAX_RANK], scale;

	if (!matrix)
		return;
	scale = sequence->adapter_scale * matrix->scale;
	dequantize_row(matrix->rows_type, matrix->rows + long_row_bytes(matrix->rows_type, matrix->rank) * token,
				   matrix->rank, low);
	for (uint32_t j = 0; j < matrix->rank; j++)
		low[j] *= scale;
	adapter_raise_rows(f, matrix, 0, low, 0, 1, 0, packed_n_tiles(matrix->tiles.n_rows), row, 0);
}
