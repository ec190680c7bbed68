/*
 * forward_product.c - the phases of matrix products: what rows become on their way in, and multiplying.
 *
 * Few rows (decode) are normalized and quantized by every member for itself when it takes its first tiles of a product,
 * which is cheaper than a phase; many rows are prepared in a phase of their own, by panels, and shared.
 */
#include "forward_private.h"

/* True when one of the matrices wants quantized activations. */
static bool
any_takes_panels(const Product *product)
{
	for (uint32_t i = 0; i < product->n_matrices; i++)
		if (tensor_type_takes_panels(product->matrices[i]->type))
			return true;
	return false;
}

/* Phase (and part of few rows' products): activate, normalize and quantize panels first … end-1 of the input. */
static void
prepare_panels(Member *member, const void *argument, uint32_t first, uint32_t end)
{
	const Product *product = argument;
	const RowSource *source = &product->source;
	const Forward *f = member->forward;
	MatmulInput input = product_input(member, product);
	float *rows = (float *) input.rows;

	for (uint32_t p = first; p < end; p++)
	{
		uint32_t row, n;

		activations_panel_range(input.n_tokens, p, &row, &n);
		for (uint32_t r = row; r < row + n; r++)
		{
			/* few rows were activated where gate and up were made */
			if (source->up && !is_few(input.n_tokens))
				f->kernels->silu_mul(row_at(source->rows, r), row_at(source->up, r), source->n_cols);
			if (source->norm)
				f->kernels->rms_norm(row_at(source->rows, r), source->norm, source->n_cols, f->model->hyper.rms_epsilon,
									 rows + r * input.row_stride);
		}
		if (product->quantized)
			f->kernels->quantize_panel(rows + row * input.row_stride, input.row_stride, n, source->n_cols,
									   (uint8_t *) input.panels + activations_bytes(1, source->n_cols) * row);
	}
}

/* Tiles first … end-1 of gate and of up, and for few rows the activation of what they gave. */
static void
multiply_gated(Member *member, const Product *product, const MatmulInput *input, uint32_t first, uint32_t end)
{
	const Kernels *kernels = member->forward->kernels;
	uint32_t from = first * TILE_ROWS, to = end * TILE_ROWS, n_rows = product->matrices[0]->n_rows;

	for (uint32_t i = 0; i < 2; i++)
	{
		matmul_tiles(kernels, product->matrices[i], input, first, end, product->outputs[i]->rows,
					 product->outputs[i]->stride, false);
		adapters_add(member, product, i, first, end);
	}
	to = to < n_rows ? to : n_rows;
	for (uint32_t r = 0; is_few(input->n_tokens) && r < input->n_tokens; r++)
		kernels->silu_mul(row_at(product->outputs[0], r) + from, row_at(product->outputs[1], r) + from, to - from);
}

/* Phase: tiles first … end-1 of the product, counted through all its matrices (of one of them when gated). */
static void
multiply_tiles(Member *member, const void *argument, uint32_t first, uint32_t end)
{
	const Product *product = argument;
	MatmulInput input = product_input(member, product);

	if (is_few(input.n_tokens) && member->prepared != member->phase)
	{
		prepare_panels(member, product, 0, activations_n_panels(input.n_tokens));
		member->prepared = member->phase;
	}
	adapters_lower(member, product);
	if (product->gated)
	{
		multiply_gated(member, product, &input, first, end);
		return;
	}
	for (uint32_t i = 0, before = 0; i < product->n_matrices; i++)
	{
		uint32_t n_tiles = packed_n_tiles(product->matrices[i]->n_rows);
		uint32_t from = first > before ? first - before : 0, to = end > before ? end - before : 0;

		to = to > n_tiles ? n_tiles : to;
		if (from < to)
		{
			matmul_tiles(member->forward->kernels, product->matrices[i], &input, from, to, product->outputs[i]->rows,
						 product->outputs[i]->stride, product->add);
			adapters_add(member, product, i, from, to);
		}
		before += n_tiles;
	}
}

#define FETCH_BYTES 32768 /* of a tile: a few microseconds of memory's time */

/* Ask for the first bytes of a tile, counted as multiply_tiles does. */
static void
fetch_tile(const Forward *f, const void *argument, uint32_t tile)
{
	const Product *product = argument;
	const PackedMatrix *matrix = product->matrices[0];
	const uint8_t *bytes;

	(void) f;
	for (uint32_t i = 0; tile >= packed_n_tiles(matrix->n_rows);)
	{
		tile -= packed_n_tiles(matrix->n_rows);
		matrix = product->matrices[++i];
	}
	bytes = matrix->tiles + (size_t) tile * matrix->tile_bytes;
	for (size_t at = 0; at < matrix->tile_bytes && at < FETCH_BYTES; at += 64)
		__builtin_prefetch(bytes + at, 0, 2);
}

/* Many rows are prepared by panels. */
static uint32_t
prepare_items(const Forward *f, const void *argument)
{
	const Product *product = argument;

	(void) f;
	return is_few(*product->n_rows) ? 0 : activations_n_panels(*product->n_rows);
}

/* Tiles of all matrices; of gate and up in pairs. */
static uint32_t
multiply_items(const Forward *f, const void *argument)
{
	const Product *product = argument;
	uint32_t n_tiles = 0;

	(void) f;
	for (uint32_t i = 0; i < (product->gated ? 1 : product->n_matrices); i++)
		n_tiles += packed_n_tiles(product->matrices[i]->n_rows);
	return *product->n_rows > 0 ? n_tiles : 0;
}

void
plan_add_product(Forward *f, const Product *product)
{
	Product complete = *product;
	const void *kept;

	complete.quantized = any_takes_panels(product);
	for (uint32_t i = 0; i < product->n_matrices; i++)
		complete.roles[i] = plan_role(f, product->matrices[i]);
	if (product->source.norm)
		(void) plan_rows(f, ROWS_NORMED, product->source.n_cols);
	if (product->source.n_cols > f->plan.widest)
		f->plan.widest = product->source.n_cols;
	plan_lows(f);
	kept = plan_keep(f, &complete, sizeof complete);
	if (product->source.norm || product->source.up || complete.quantized)
		plan_add(f, STEP_PREPARE, prepare_items, prepare_panels, kept);
	plan_add_fetching(f, product->part, multiply_items, multiply_tiles, fetch_tile, kept);
}
