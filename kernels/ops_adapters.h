/*
 * ops_adapters.h - the two products of an adapter, written once over sixteen lanes; behind ops_matmul.h.
 *
 * Both matrices are thin: A has few rows, B few columns. What they cost is reading them, as in a step an adapter often
 * has a single row. So each is one run of bytes that is read from end to end, and what comes next is asked for before.
 */
#define DOT_ROWS (LANE_SUMS >= 8 ? 8 : 4)    /* rows whose sums stand in registers … */
#define DOT_TOKENS (LANE_SUMS >= 24 ? 3 : 1) /* … for so many tokens */
#define READ_AHEAD 2048 /* bytes, half a page: where a page ends the hardware does not go on by itself */

/* What will be read after from … from+bytes-1. */
LANE void
read_ahead(const uint8_t *from, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += 64)
		__builtin_prefetch(from + READ_AHEAD + i, 0, 3);
}

/* Some rows of a group and some tokens (both constant): sixteen columns at a time. */
LANE void
dot_some_rows(const TensorType type, const size_t element_bytes, const uint32_t n_rows, const uint32_t n_tokens,
			  const uint8_t *rows, size_t step_bytes, bool ahead, const float *x, size_t x_stride, uint32_t n_cols,
			  float *y, size_t y_stride)
{
	F32x16 acc[DOT_ROWS][DOT_TOKENS];

#pragma GCC unroll 8
	for (uint32_t r = 0; r < n_rows; r++)
		EACH_TOKEN acc[r][t] = f_zero();
	for (uint32_t c = 0; c < n_cols; c += 16, rows += step_bytes)
	{
		F32x16 values[DOT_TOKENS];

		if (ahead)
			read_ahead(rows, step_bytes);
		if (c + 16 <= n_cols)
			EACH_TOKEN values[t] = f_load(x + t * x_stride + c);
		else
			EACH_TOKEN values[t] = f_load_first(x + t * x_stride + c, n_cols - c);
#pragma GCC unroll 8
		for (uint32_t r = 0; r < n_rows; r++)
		{
			F32x16 w = float_weights(type, rows + r * 16 * element_bytes);

			EACH_TOKEN acc[r][t] = f_fma(w, values[t], acc[r][t]);
		}
	}
#pragma GCC unroll 8
	for (uint32_t r = 0; r < n_rows; r++)
		EACH_TOKEN y[t * y_stride + r] = f_sum(acc[r][t]);
}

/* Some rows (constant) of a group, which stays in the first-level cache while all tokens pass. */
LANE void
dot_all_tokens(const TensorType type, const size_t element_bytes, const uint32_t n_rows, const uint8_t *rows,
			   size_t step_bytes, const float *x, size_t x_stride, uint32_t n_tokens, uint32_t n_cols, float *y,
			   size_t y_stride)
{
	uint32_t t = 0;

	for (; DOT_TOKENS > 1 && t + DOT_TOKENS <= n_tokens; t += DOT_TOKENS)
		dot_some_rows(type, element_bytes, n_rows, DOT_TOKENS, rows, step_bytes, false, x + t * x_stride, x_stride,
					  n_cols, y + t * y_stride, y_stride);
	for (; t < n_tokens; t++)
		dot_some_rows(type, element_bytes, n_rows, 1, rows, step_bytes, t == 0, x + t * x_stride, x_stride, n_cols,
					  y + t * y_stride, y_stride);
}

/* Group by group. */
LANE void
dot_all_rows(const TensorType type, const size_t element_bytes, const uint8_t *rows, uint32_t n_rows, const float *x,
			 size_t x_stride, uint32_t n_tokens, uint32_t n_cols, float *y, size_t y_stride)
{
	size_t row_bytes = (n_cols + 15) / 16 * 16 * element_bytes;

	for (uint32_t first = 0; first < n_rows; first += ROW_GROUP)
	{
		const uint8_t *group = rows + first * row_bytes;
		uint32_t n = n_rows - first < ROW_GROUP ? n_rows - first : ROW_GROUP, r = 0;
		size_t step_bytes = n * 16 * element_bytes;

		for (; r + DOT_ROWS <= n; r += DOT_ROWS)
			dot_all_tokens(type, element_bytes, DOT_ROWS, group + r * 16 * element_bytes, step_bytes, x, x_stride,
						   n_tokens, n_cols, y + first + r, y_stride);
		for (; DOT_ROWS > 4 && r + 4 <= n; r += 4)
			dot_all_tokens(type, element_bytes, 4, group + r * 16 * element_bytes, step_bytes, x, x_stride, n_tokens,
						   n_cols, y + first + r, y_stride);
		for (; r < n; r++)
			dot_all_tokens(type, element_bytes, 1, group + r * 16 * element_bytes, step_bytes, x, x_stride, n_tokens,
						   n_cols, y + first + r, y_stride);
	}
}

#define RUN_DOTS(id, name, n_inputs, bytes, tile_bytes)                                                                \
	case TENSOR_##id:                                                                                                  \
		dot_all_rows(TENSOR_##id, bytes, rows, n_rows, x, x_stride, n_tokens, n_cols, y, y_stride);                    \
		break;

static void
op_dot_rows(TensorType type, const uint8_t *rows, uint32_t n_rows, const float *x, size_t x_stride, uint32_t n_tokens,
			uint32_t n_cols, float *y, size_t y_stride)
{
	switch (type)
	{
		FLOAT_FORMATS(RUN_DOTS)
		default:
			break;
	}
}

/* One or two (n_groups, constant) groups of 16 rows of a tile, that begin at tile, for some tokens (constant): onto y.
 * n_rows: of these rows, that there are. */
LANE void
add_groups(const TensorType type, const size_t element_bytes, const uint32_t n_tokens, const uint32_t n_groups,
		   const uint8_t *tile, bool ahead, uint32_t n_cols, const float *x, size_t x_stride, uint32_t n_rows, float *y,
		   size_t y_stride)
{
	F32x16 acc[2][PANEL_TOKENS];

	EACH_TOKEN for (uint32_t g = 0; g < n_groups; g++) acc[g][t] = f_zero();
	for (uint32_t c = 0; c < n_cols; c++, tile += TILE_ROWS * element_bytes)
	{
		F32x16 w[2];

		if (ahead)
			read_ahead(tile, TILE_ROWS * element_bytes);
		for (uint32_t g = 0; g < n_groups; g++)
			w[g] = float_weights(type, tile + g * 16 * element_bytes);
		EACH_TOKEN
		{
			F32x16 value = f_set(x[t * x_stride + c]);

			for (uint32_t g = 0; g < n_groups; g++)
				acc[g][t] = f_fma(w[g], value, acc[g][t]);
		}
	}
	for (uint32_t g = 0; g < n_groups && 16 * g < n_rows; g++)
	{
		unsigned n = n_rows - 16 * g < 16 ? n_rows - 16 * g : 16;

		EACH_TOKEN
		{
			float *at = y + t * y_stride + 16 * g;

			if (n == 16)
				f_store(at, f_add(f_load(at), acc[g][t]));
			else
				f_store_first(at, f_add(f_load_first(at, n), acc[g][t]), n);
		}
	}
}

/* A tile for some tokens (constant). */
LANE void
add_tile(const TensorType type, const size_t element_bytes, const uint32_t n_tokens, const uint8_t *tile, bool ahead,
		 uint32_t n_cols, const float *x, size_t x_stride, uint32_t n_rows, float *y, size_t y_stride)
{
	if (LANE_GROUPS == 2 || n_tokens <= 2)
	{
		add_groups(type, element_bytes, n_tokens, 2, tile, ahead, n_cols, x, x_stride, n_rows, y, y_stride);
		return;
	}
	for (uint32_t g = 0; g < 2 && 16 * g < n_rows; g++)
		add_groups(type, element_bytes, n_tokens, 1, tile + g * 16 * element_bytes, ahead && g == 0, n_cols, x,
				   x_stride, n_rows - 16 * g, y + g * 16, y_stride);
}

#define ADD_CALL(T, id, bytes)                                                                                         \
	add_tile(TENSOR_##id, bytes, T, tile, first == 0, n_cols, x + first * x_stride, x_stride, n,                       \
			 y + first * y_stride + from, y_stride)
#define RUN_ADD(id, name, n_inputs, bytes, tile_bytes)                                                                 \
	case TENSOR_##id:                                                                                                  \
		FOR_COUNT(n_tokens - first, ADD_CALL, id, bytes)                                                               \
		break;

/* Tile by tile; a tile stays in the first-level cache while all tokens pass. */
static void
op_add_thin(TensorType type, const uint8_t *tiles, size_t tile_bytes, uint32_t n_rows, uint32_t n_cols, const float *x,
			size_t x_stride, uint32_t n_tokens, float *y, size_t y_stride)
{
	const uint8_t *tile = tiles;

	for (uint32_t from = 0; from < n_rows; from += TILE_ROWS, tile += tile_bytes)
	{
		uint32_t n = n_rows - from < TILE_ROWS ? n_rows - from : TILE_ROWS;

		for (uint32_t first = 0; first < n_tokens; first += PANEL_TOKENS)
			switch (type)
			{
				FLOAT_FORMATS(RUN_ADD)
				default:
					break;
			}
	}
}
