/*
 * matmul.c - matrix products over many tokens: which panels, which tiles, in which order.
 *
 * Few tokens: every tile is streamed once, and what the hardware prefetches is enough (software prefetch made decode
 * slower). Many: a tile stays in the first-level cache while all panels pass, and the next one is fetched meanwhile.
 */
#include <string.h>

#include "kernels.h"

#define STREAM_TOKENS 4 /* up to here a step is bound by memory */

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

/* One tile and one panel's tokens into y, taking care of a last tile that is not full and of adding. */
static void
tile_product(const Kernels *kernels, const PackedMatrix *matrix, const MatmulInput *input, uint32_t tile,
			 uint32_t first_token, uint32_t n_tokens, const uint8_t *next, size_t next_bytes, float *y, size_t y_stride,
			 bool add)
{
	const uint8_t *weights = matrix->tiles + (size_t) tile * matrix->tile_bytes;
	uint32_t n_rows = matrix->n_rows - tile * TILE_ROWS < TILE_ROWS ? matrix->n_rows - tile * TILE_ROWS : TILE_ROWS;
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
	if (direct)
		return;
	for (uint32_t t = 0; t < n_tokens; t++)
		for (uint32_t r = 0; r < n_rows; r++)
			target[t * y_stride + r] =
				add ? target[t * y_stride + r] + buffer[t * TILE_ROWS + r] : buffer[t * TILE_ROWS + r];
}

void
matmul_part(const Kernels *kernels, const PackedMatrix *matrix, const MatmulInput *input, const MatmulPart *part,
			float *y, size_t y_stride, bool add)
{
	size_t share = (matrix->tile_bytes / (part->end_panel - part->first_panel) + 63) / 64 * 64;

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
