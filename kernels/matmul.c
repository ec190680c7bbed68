/*
 * matmul.c - matrix products over many tokens: which panels, which tiles, in which order.
 *
 * Few tokens: every tile is streamed once, and what the hardware prefetches is enough (software prefetch made decode
 * slower). Many: a tile stays in the first-level cache while all panels pass, and the next one is fetched meanwhile.
 * Where weights are unpacked beforehand, a piece of a tile is what stays there, and sums wait for the next piece.
 */
#include <string.h>

#include "kernels.h"

#define STREAM_TOKENS 4         /* up to here a step is bound by memory */
#define UNPACKED_LEAST_PANELS 2 /* from here on a step is bound by unpacking */

uint32_t
activations_n_panels(uint32_t n_tokens)
{
	return (n_tokens + PANEL_TOKENS - 1) / PANEL_TOKENS;
}

void
activations_panel_range(uint32_t n_tokens, uint32_t panel, uint32_t *first_token, uint32_t *n_panel_tokens)
{
	uint32_t n_panels = activations_n_panels(n_tokens);
	uint32_t small = n_tokens / n_panels, n_large = n_tokens % n_panels;

	*first_token = panel * small + (panel < n_large ? panel : n_large);
	*n_panel_tokens = small + (panel < n_large);
}

uint32_t
activations_first_token(uint32_t n_tokens, uint32_t panel)
{
	uint32_t first_token, n_panel_tokens;

	activations_panel_range(n_tokens, panel, &first_token, &n_panel_tokens);
	return first_token;
}

size_t
activations_bytes(uint32_t n_tokens, uint32_t n_cols)
{
	size_t n_blocks = (n_cols + ACTIVATION_BLOCK - 1) / ACTIVATION_BLOCK;

	return n_blocks * ACTIVATION_BLOCK_BYTES * n_tokens;
}

/* Sums of a tile, [n_tokens][TILE_ROWS], of which n_rows count, into y or onto what is there. A tile that is added to
 * the residual stream is nearly always full: that loop has a constant length. */
static void
put_sums(const float *restrict sums, uint32_t n_tokens, uint32_t n_rows, float *restrict y, size_t y_stride, bool add)
{
	for (uint32_t t = 0; t < n_tokens; t++, y += y_stride, sums += TILE_ROWS)
		if (add && n_rows == TILE_ROWS)
			for (uint32_t r = 0; r < TILE_ROWS; r++)
				y[r] += sums[r];
		else
			for (uint32_t r = 0; r < n_rows; r++)
				y[r] = add ? y[r] + sums[r] : sums[r];
}

/* Rows of a matrix in a tile. */
static uint32_t
rows_of_tile(const PackedMatrix *matrix, uint32_t tile)
{
	uint32_t left = matrix->n_rows - tile * TILE_ROWS;

	return left < TILE_ROWS ? left : TILE_ROWS;
}

/* One tile and one panel's tokens into y, taking care of a last tile that is not full and of adding. */
static void
tile_product(const Kernels *kernels, const PackedMatrix *matrix, const MatmulInput *input, uint32_t tile,
			 uint32_t first_token, uint32_t n_tokens, const uint8_t *next, size_t next_bytes, float *y, size_t y_stride,
			 bool add)
{
	const uint8_t *weights = matrix->tiles + (size_t) tile * matrix->tile_bytes;
	uint32_t n_rows = rows_of_tile(matrix, tile);
	float *target = y + (size_t) first_token * y_stride + (size_t) tile * TILE_ROWS;
	bool direct = n_rows == TILE_ROWS && !add;
	float buffer[PANEL_TOKENS * TILE_ROWS];
	float *out = direct ? target : buffer;
	size_t out_stride = direct ? y_stride : TILE_ROWS;

	if (tensor_type_takes_panels(matrix->type))
		kernels->matmul_quantized(matrix->type, weights,
								  input->panels + activations_bytes(1, matrix->n_cols) * first_token, n_tokens,
								  matrix->n_cols, out, out_stride, next, next_bytes);
	else
		kernels->matmul_float(matrix->type, weights, input->rows + (size_t) first_token * input->row_stride,
							  input->row_stride, n_tokens, matrix->n_cols, out, out_stride);
	if (!direct)
		put_sums(buffer, n_tokens, n_rows, target, y_stride, add);
}

/* Ask for a share of what is read after a piece of a tile: the next one, or the next tile, which stand behind it. */
static void
fetch_behind(const uint8_t *piece, size_t piece_bytes, uint32_t share, uint32_t n_shares)
{
	const uint8_t *next = piece + piece_bytes;

	for (size_t at = piece_bytes * share / n_shares; at < piece_bytes * (share + 1) / n_shares; at += 64)
		__builtin_prefetch(next + at, 0, 2);
}

/* Blocks first_block … first_block + n_blocks - 1 of a tile onto the sums of a chunk: panels first … end-1. */
static void
unpacked_piece(const Kernels *kernels, const PackedMatrix *matrix, const MatmulInput *input, uint32_t tile,
			   uint32_t first_block, uint32_t n_blocks, uint32_t first, uint32_t end)
{
	const uint8_t *weights = matrix->tiles + (size_t) tile * matrix->tile_bytes;
	size_t block_bytes = matrix->tile_bytes / (matrix->n_cols / ACTIVATION_BLOCK);
	float *sums = (float *) (void *) (input->scratch + UNPACKED_BYTES);

	kernels->unpack(matrix->type, weights, first_block, n_blocks, input->scratch);
	for (uint32_t panel = first; panel < end; panel++)
	{
		uint32_t first_token, n_tokens;

		fetch_behind(weights + block_bytes * first_block, block_bytes * n_blocks, panel - first, end - first);
		activations_panel_range(input->n_tokens, panel, &first_token, &n_tokens);
		kernels->matmul_unpacked(matrix->type, input->scratch,
								 input->panels + activations_bytes(1, matrix->n_cols) * first_token +
									 activations_bytes(n_tokens, first_block * ACTIVATION_BLOCK),
								 n_tokens, n_blocks, sums);
		sums += n_tokens * TILE_ROWS;
	}
}

/* A tile whose weights are unpacked, and panels first … end-1, chunk by chunk. */
static void
unpacked_product(const Kernels *kernels, const PackedMatrix *matrix, const MatmulInput *input, uint32_t tile,
				 uint32_t first, uint32_t end, float *y, size_t y_stride, bool add)
{
	const float *sums = (const float *) (const void *) (input->scratch + UNPACKED_BYTES);
	uint32_t n_blocks = matrix->n_cols / ACTIVATION_BLOCK, chunk_end;

	for (; first < end; first = chunk_end)
	{
		uint32_t token = activations_first_token(input->n_tokens, first), n_tokens;

		chunk_end = end - first < UNPACKED_PANELS ? end : first + UNPACKED_PANELS;
		n_tokens = activations_first_token(input->n_tokens, chunk_end) - token;
		memset(input->scratch + UNPACKED_BYTES, 0, (size_t) n_tokens * TILE_ROWS * sizeof(float));
		for (uint32_t block = 0; block < n_blocks; block += UNPACKED_BLOCKS)
			unpacked_piece(kernels, matrix, input, tile, block,
						   n_blocks - block < UNPACKED_BLOCKS ? n_blocks - block : UNPACKED_BLOCKS, first, chunk_end);
		put_sums(sums, n_tokens, rows_of_tile(matrix, tile), y + token * y_stride + (size_t) tile * TILE_ROWS, y_stride,
				 add);
	}
}

/* Are there enough panels for a tile to be unpacked? */
static bool
is_worth_unpacking(const PackedMatrix *matrix, const MatmulInput *input, const MatmulPart *part)
{
	return input->scratch && part->end_panel - part->first_panel >= UNPACKED_LEAST_PANELS &&
		   tensor_type_is_unpacked(matrix->type);
}

void
matmul_part(const Kernels *kernels, const PackedMatrix *matrix, const MatmulInput *input, const MatmulPart *part,
			float *y, size_t y_stride, bool add)
{
	size_t share = (matrix->tile_bytes / (part->end_panel - part->first_panel) + 63) / 64 * 64;

	if (is_worth_unpacking(matrix, input, part))
	{
		for (uint32_t tile = part->first_tile; tile < part->end_tile; tile++)
			unpacked_product(kernels, matrix, input, tile, part->first_panel, part->end_panel, y, y_stride, add);
		return;
	}
	for (uint32_t tile = part->first_tile; tile < part->end_tile; tile++)
		for (uint32_t panel = part->first_panel; panel < part->end_panel; panel++)
		{
			size_t fetched = share * (panel - part->first_panel);
			uint32_t first_token, n_tokens;
			const uint8_t *next = NULL;

			if (input->n_tokens > STREAM_TOKENS && tile + 1 < part->end_tile && fetched < matrix->tile_bytes)
				next = matrix->tiles + (size_t) (tile + 1) * matrix->tile_bytes + fetched;
			activations_panel_range(input->n_tokens, panel, &first_token, &n_tokens);
			tile_product(kernels, matrix, input, tile, first_token, n_tokens, next, share, y, y_stride, add);
		}
}

void
matmul_tiles(const Kernels *kernels, const PackedMatrix *matrix, const MatmulInput *input, uint32_t first_tile,
			 uint32_t end_tile, float *y, size_t y_stride, bool add)
{
	MatmulPart part = {first_tile, end_tile, 0, activations_n_panels(input->n_tokens)};

	matmul_part(kernels, matrix, input, &part, y, y_stride, add);
}
