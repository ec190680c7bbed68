/*
 * forward_product.c - the phases of matrix products: what rows become on their way in, and multiplying.
 *
 * Few rows (decode) are normalized and quantized by every member for itself when it takes its first tiles of a product,
 * which is cheaper than a phase; many rows are prepared in a phase of their own, by panels, and shared.
 *
 * Items are tiles. Where that are few for the members there are (small matrices, many processors), the panels that pass
 * a tile are several items, so that members end together: whose product a number is does not change its bits.
 */
#include "forward_private.h"

#define TILES_PER_MEMBER 3 /* where a product has fewer, a tile is several items … */
#define ITEM_PANELS 2      /* … of at least so many panels, as each of them reads the tile for itself */

/* Tiles of all matrices; of gate and up in pairs. */
static uint32_t
tiles_of(const Product *product)
{
	uint32_t n_tiles = 0;

	for (uint32_t i = 0; i < (product->gated ? 1 : product->n_matrices); i++)
		n_tiles += packed_n_tiles(product->matrices[i]->n_rows);
	return n_tiles;
}

/* Items of one tile in the step at hand. */
static uint32_t
items_of_tile(const Forward *f, const Product *product)
{
	uint32_t n_tiles = tiles_of(product), wanted = f->n_members * TILES_PER_MEMBER;
	uint32_t most = activations_n_panels(*product->n_rows) / ITEM_PANELS, n;

	if (f->n_members == 1 || n_tiles >= wanted || most < 2)
		return 1;
	n = (wanted + n_tiles - 1) / n_tiles;
	return n < most ? n : most;
}

/* What items first … end-1 begin with: some whole tiles, or some items of one. Returns where the others begin. */
static uint32_t
first_part(const Forward *f, const Product *product, uint32_t first, uint32_t end, MatmulPart *part)
{
	uint32_t n_items = items_of_tile(f, product), n_panels = activations_n_panels(*product->n_rows);
	uint32_t tile = first / n_items, from = first % n_items, to = from + (end - first);

	if (from == 0 && to >= n_items)
	{
		*part = (MatmulPart){tile, tile + to / n_items, 0, n_panels};
		return first + to / n_items * n_items;
	}
	to = to < n_items ? to : n_items;
	*part = (MatmulPart){tile, tile + 1, n_panels * from / n_items, n_panels * to / n_items};
	return first + (to - from);
}

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

/* A part of matrix number i. */
static void
multiply_matrix(Member *member, const Product *product, uint32_t i, const MatmulInput *input, const MatmulPart *part)
{
	matmul_part(member->forward->kernels, product->matrices[i], input, part, product->outputs[i]->rows,
				product->outputs[i]->stride, product->add);
	adapters_add(member, product, i, part);
}

/* A part of gate and of up, and for few rows the activation of what they gave. */
static void
multiply_gated(Member *member, const Product *product, const MatmulInput *input, const MatmulPart *part)
{
	const Kernels *kernels = member->forward->kernels;
	uint32_t from = part->first_tile * TILE_ROWS, to = part->end_tile * TILE_ROWS,
			 n_rows = product->matrices[0]->n_rows;

	for (uint32_t i = 0; i < 2; i++)
		multiply_matrix(member, product, i, input, part);
	to = to < n_rows ? to : n_rows;
	for (uint32_t r = 0; is_few(input->n_tokens) && r < input->n_tokens; r++)
		kernels->silu_mul(row_at(product->outputs[0], r) + from, row_at(product->outputs[1], r) + from, to - from);
}

/* A part of a product, whose tiles are counted through all its matrices. */
static void
multiply_part(Member *member, const Product *product, const MatmulInput *input, const MatmulPart *part)
{
	for (uint32_t i = 0, before = 0; i < product->n_matrices; i++)
	{
		uint32_t n_tiles = packed_n_tiles(product->matrices[i]->n_rows);
		MatmulPart of_matrix = *part;

		of_matrix.first_tile = part->first_tile > before ? part->first_tile - before : 0;
		of_matrix.end_tile = part->end_tile > before ? part->end_tile - before : 0;
		of_matrix.end_tile = of_matrix.end_tile > n_tiles ? n_tiles : of_matrix.end_tile;
		if (of_matrix.first_tile < of_matrix.end_tile)
			multiply_matrix(member, product, i, input, &of_matrix);
		before += n_tiles;
	}
}

/* Phase: items first … end-1 of the product. */
static void
multiply_items(Member *member, const void *argument, uint32_t first, uint32_t end)
{
	const Product *product = argument;
	MatmulInput input = product_input(member, product);

	if (is_few(input.n_tokens) && member->prepared != member->phase)
	{
		prepare_panels(member, product, 0, activations_n_panels(input.n_tokens));
		member->prepared = member->phase;
	}
	adapters_lower(member, product);
	while (first < end)
	{
		MatmulPart part;

		first = first_part(member->forward, product, first, end, &part);
		if (product->gated)
			multiply_gated(member, product, &input, &part);
		else
			multiply_part(member, product, &input, &part);
	}
}

#define FETCH_BYTES 32768 /* of a tile: a few microseconds of memory's time */

/* Ask for the first bytes of an item's tile. */
static void
fetch_tile(const Forward *f, const void *argument, uint32_t item)
{
	const Product *product = argument;
	const PackedMatrix *matrix = product->matrices[0];
	uint32_t tile = item / items_of_tile(f, product);
	const uint8_t *bytes;

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

/* Tiles, or what these are cut into. */
static uint32_t
product_items(const Forward *f, const void *argument)
{
	const Product *product = argument;

	return *product->n_rows > 0 ? tiles_of(product) * items_of_tile(f, product) : 0;
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
	plan_add_fetching(f, product->part, product_items, multiply_items, fetch_tile, kept);
}
