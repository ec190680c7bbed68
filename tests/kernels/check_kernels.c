/*
 * check_kernels.c - every version of every operation against the portable one, bit for bit, and that one against
 * arithmetic.
 *
 * Helpers and the basic checks; check_definition.h has the products, check_types.h golden rows, check_sequence.h
 * attention over many blocks.
 * Random input from a fixed seed, odd shapes, extreme values. With --bench [NAME OF A TABLE [TENSOR TYPE]] the program
 * times the operations instead (bench_kernels.h).
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../kernels/formats.h"
#include "../../kernels/kernels.h"
#include "../../kernels/team.h"
#include "bench_kernels.h"
#include "computed_types.h"

static const char *isa_names[8]; /* those that this processor has, the portable one first */
static size_t n_isas;
static TensorType types[MAX_TYPES]; /* all that are computed with */
static size_t n_types;

static uint64_t random_state = 88172645463325252ull;

static uint32_t
random_u32(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t) (random_state >> 32);
}

/* About normal, with an outlier now and then. */
static float
random_float(void)
{
	float sum = 0;

	for (int i = 0; i < 4; i++)
		sum += (float) (random_u32() >> 8) / 16777216.0f - 0.5f;
	return random_u32() % 97 == 0 ? sum * 30 : sum;
}

/* 64-byte aligned memory that ends at its size, so that a sanitizer sees reads past it. */
static void *
allocate(size_t bytes)
{
	void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);

	assert_non_null(memory);
	memset(memory, 0, (bytes + 63) / 64 * 64);
	return memory;
}

static float *
random_floats(size_t n)
{
	float *out = allocate(n * 4);

	for (size_t i = 0; i < n; i++)
		out[i] = random_float();
	return out;
}

/* Where a block's scale stands, and its min or -1. */
static int
scale_offset(TensorType type)
{
	return type == TENSOR_Q6_K ? 208 : type == TENSOR_Q3_K ? 108 : type == TENSOR_Q2_K ? 80 : 0;
}

static int
min_offset(TensorType type)
{
	bool has_min =
		type == TENSOR_Q4_1 || type == TENSOR_Q5_1 || type == TENSOR_Q2_K || type == TENSOR_Q4_K || type == TENSOR_Q5_K;

	return has_min ? scale_offset(type) + 2 : -1;
}

/* A block's scale; that of MXFP4 is a byte: the power of two below. */
static void
set_scale(TensorType type, uint8_t *block, uint16_t half)
{
	float value = f16_to_f32(half);

	if (type == TENSOR_MXFP4)
		block[0] = (uint8_t) (value == 0 ? 0 : 128 + ilogbf(value));
	else
		memcpy(block + scale_offset(type), &half, 2);
}

/* Random rows as they stand in a file: any bits for quants, sane half floats for scales. */
static uint8_t *
random_rows(TensorType type, uint32_t n_rows, uint32_t n_cols)
{
	const TensorTypeInfo *info = tensor_type_info(type);
	size_t bytes = tensor_row_bytes(info, n_cols) * n_rows;
	uint8_t *rows = allocate(bytes);

	if (type == TENSOR_F32)
	{
		for (size_t i = 0; i < bytes / 4; i++)
			((float *) (void *) rows)[i] = random_float();
		return rows;
	}
	for (size_t i = 0; i < bytes; i++)
		rows[i] = (uint8_t) random_u32();
	for (size_t at = 0; at < bytes; at += info->block_bytes)
	{
		uint16_t half = f32_to_f16(random_float() * 0.1f);

		if (type == TENSOR_BF16)
			half = (uint16_t) (0x3C00 + random_u32() % 0x200 + (random_u32() & 0x8000));
		set_scale(type, rows + at, half);
		half = f32_to_f16(random_float() * 0.1f);
		if (min_offset(type) >= 0)
			memcpy(rows + at + min_offset(type), &half, 2);
	}
	return rows;
}

/* A packed matrix of random rows; frees with free(tiles). */
static PackedMatrix
pack_matrix(TensorType type, const uint8_t *rows, uint32_t n_rows, uint32_t n_cols)
{
	size_t row_bytes = tensor_row_bytes(tensor_type_info(type), n_cols);
	PackedMatrix matrix = {type, n_rows, n_cols, NULL, packed_tile_bytes(type, n_cols)};
	uint8_t *tiles = allocate(matrix.tile_bytes * packed_n_tiles(n_rows));

	for (uint32_t t = 0; t < packed_n_tiles(n_rows); t++)
	{
		uint32_t n = n_rows - t * TILE_ROWS < TILE_ROWS ? n_rows - t * TILE_ROWS : TILE_ROWS;

		pack_tile(type, rows + (size_t) t * TILE_ROWS * row_bytes, n, n_cols, tiles + t * matrix.tile_bytes);
	}
	matrix.tiles = tiles;
	return matrix;
}

/* Quantize all rows of x as a step does. */
static uint8_t *
quantize(const Kernels *kernels, const float *x, uint32_t n_tokens, uint32_t n_cols)
{
	uint8_t *panels = allocate(activations_bytes(n_tokens, n_cols));

	for (uint32_t p = 0; p < activations_n_panels(n_tokens); p++)
	{
		uint32_t first, n;

		activations_panel_range(n_tokens, p, &first, &n);
		kernels->quantize_panel(x + (size_t) first * n_cols, n_cols, n, n_cols,
								panels + activations_bytes(1, n_cols) * first);
	}
	return panels;
}

static void
assert_same(const void *a, const void *b, size_t bytes, const char *what, const char *isa)
{
	if (memcmp(a, b, bytes) != 0)
		fail_msg("%s: %s differs from portable", what, isa);
}

static uint32_t
cols_for(TensorType type, int i)
{
	static const uint32_t small[] = {32, 96, 576}, large[] = {256, 512, 1536}, free_length[] = {1, 33, 577};

	return !tensor_type_takes_panels(type)                 ? free_length[i]
		   : tensor_type_info(type)->block_elements == 256 ? large[i]
														   : small[i];
}

static void
packed_rows_expand_to_the_file_rows(void **state)
{
	(void) state;
	for (size_t k = 0; k < n_types; k++)
		for (int c = 0; c < 3; c++)
		{
			uint32_t n_cols = cols_for(types[k], c), n_rows = 45;
			uint8_t *rows = random_rows(types[k], n_rows, n_cols);
			PackedMatrix matrix = pack_matrix(types[k], rows, n_rows, n_cols);
			float *a = allocate(n_cols * 4), *b = allocate(n_cols * 4);

			for (uint32_t r = 0; r < n_rows; r++)
			{
				dequantize_row(types[k], rows + r * tensor_row_bytes(tensor_type_info(types[k]), n_cols), n_cols, a);
				packed_row_expand(&matrix, r, b);
				assert_memory_equal(a, b, n_cols * 4);
			}
			free(a);
			free(b);
			free(rows);
			free((void *) matrix.tiles);
		}
}

static void
tiles_that_lack_rows_do_not_show_what_stood_there(void **state)
{
	static const uint32_t n_rows_cases[] = {1, 17, 31};

	(void) state;
	for (size_t k = 0; k < n_types; k++)
		for (size_t i = 0; i < sizeof n_rows_cases / sizeof n_rows_cases[0]; i++)
		{
			uint32_t n_cols = cols_for(types[k], 1);
			size_t bytes = packed_tile_bytes(types[k], n_cols);
			uint8_t *rows = random_rows(types[k], n_rows_cases[i], n_cols);
			uint8_t *fresh = allocate(bytes), *used = allocate(bytes);

			memset(fresh, 0, bytes);
			memset(used, 0xA5, bytes);
			pack_tile(types[k], rows, n_rows_cases[i], n_cols, fresh);
			pack_tile(types[k], rows, n_rows_cases[i], n_cols, used);
			assert_memory_equal(fresh, used, bytes);
			free(rows);
			free(fresh);
			free(used);
		}
}

/* y for all tokens with one table, in parts of so many tiles and twice the square of that panels. unpack: once for
 * several panels, as the engine does; else for each. */
static float *
multiply(const Kernels *kernels, const PackedMatrix *matrix, const float *x, uint32_t n_tokens, uint32_t split,
		 bool add, bool unpack)
{
	uint8_t *panels = tensor_type_takes_panels(matrix->type) ? quantize(kernels, x, n_tokens, matrix->n_cols) : NULL;
	uint8_t *scratch = unpack ? allocate(MATMUL_SCRATCH_BYTES) : NULL;
	MatmulInput input = {n_tokens, panels, x, matrix->n_cols, scratch};
	float *y = allocate((size_t) n_tokens * matrix->n_rows * 4);
	uint32_t n_tiles = packed_n_tiles(matrix->n_rows), n_panels = activations_n_panels(n_tokens);

	for (size_t i = 0; add && i < (size_t) n_tokens * matrix->n_rows; i++)
		y[i] = (float) (i % 13) - 6;
	for (uint32_t t = 0; t < n_tiles; t += split)
		for (uint32_t p = 0; p < n_panels; p += 2 * split * split)
		{
			MatmulPart part = {t, t + split < n_tiles ? t + split : n_tiles, p,
							   p + 2 * split * split < n_panels ? p + 2 * split * split : n_panels};

			matmul_part(kernels, matrix, &input, &part, y, matrix->n_rows, add);
		}
	free(scratch);
	free(panels);
	return y;
}

static void
products_are_the_same_bits_everywhere(void **state)
{
	enum
	{
		MOST_TOKENS = 109 /* panels of more than one chunk */
	};
	static const uint32_t n_tokens_cases[] = {1, 2, 3, 4, 5, 6, 7, 8, 11, 13, 64, MOST_TOKENS};

	(void) state;
	for (size_t k = 0; k < n_types; k++)
		for (int c = 0; c < 3; c++)
		{
			uint32_t n_cols = cols_for(types[k], c), n_rows = c == 1 ? 32 : 77;
			uint8_t *rows = random_rows(types[k], n_rows, n_cols);
			PackedMatrix matrix = pack_matrix(types[k], rows, n_rows, n_cols);
			float *x = random_floats((size_t) MOST_TOKENS * n_cols);
			float *all = multiply(kernels_by_name("portable"), &matrix, x, MOST_TOKENS, 100, false, false);

			for (size_t n = 0; n < sizeof n_tokens_cases / sizeof n_tokens_cases[0]; n++)
				for (size_t i = 0; i < n_isas; i++)
				{
					const Kernels *kernels = kernels_by_name(isa_names[i]);
					float *y, *added;

					if (!kernels)
						continue;
					y = multiply(kernels, &matrix, x, n_tokens_cases[n], 1 + (uint32_t) n % 3, false, true);
					assert_same(all, y, (size_t) n_tokens_cases[n] * n_rows * 4, tensor_type_info(types[k])->name,
								isa_names[i]);
					added = multiply(kernels, &matrix, x, n_tokens_cases[n], 2, true, n % 2 == 0);
					for (size_t j = 0; j < (size_t) n_tokens_cases[n] * n_rows; j++)
						assert_true(added[j] == ((float) (j % 13) - 6) + y[j]);
					free(y);
					free(added);
				}
			free(all);
			free(x);
			free(rows);
			free((void *) matrix.tiles);
		}
}

static void
products_are_near_the_exact_ones(void **state)
{
	(void) state;
	for (size_t k = 0; k < n_types; k++)
	{
		uint32_t n_cols = cols_for(types[k], 2), n_rows = 64, n_tokens = 6;
		uint8_t *rows = random_rows(types[k], n_rows, n_cols);
		PackedMatrix matrix = pack_matrix(types[k], rows, n_rows, n_cols);
		float *x = random_floats((size_t) n_tokens * n_cols), *weights = allocate(n_cols * 4);
		float *y = multiply(kernels_select(), &matrix, x, n_tokens, 1, false, true);
		double error = 0, size = 0;

		for (uint32_t r = 0; r < n_rows; r++)
		{
			packed_row_expand(&matrix, r, weights);
			for (uint32_t t = 0; t < n_tokens; t++)
			{
				double exact = 0;

				for (uint32_t c = 0; c < n_cols; c++)
					exact += (double) weights[c] * x[(size_t) t * n_cols + c];
				error += (exact - y[(size_t) t * n_rows + r]) * (exact - y[(size_t) t * n_rows + r]);
				size += exact * exact;
			}
		}
		/* int8 activations in blocks of 32 cost about 1%, float ones only rounding */
		assert_true(sqrt(error / size) < (tensor_type_takes_panels(types[k]) ? 0.03 : 1e-5));
		free(x);
		free(y);
		free(weights);
		free(rows);
		free((void *) matrix.tiles);
	}
}

static void
extreme_quants_do_not_saturate(void **state)
{
	uint32_t n_cols = 64, n_rows = 32;

	(void) state;
	for (int pattern = 0; pattern < 4; pattern++)
	{
		uint8_t *rows = allocate((size_t) n_rows * 68);
		float *x = allocate(n_cols * 4), *expected, *found;
		PackedMatrix matrix;
		double exact = 0;

		for (uint32_t r = 0; r < n_rows; r++)
			for (uint32_t b = 0; b < 2; b++)
			{
				uint16_t one = f32_to_f16(1.0f);

				memcpy(rows + r * 68 + b * 34, &one, 2);
				memset(rows + r * 68 + b * 34 + 2, pattern & 1 ? 0x80 : 0x7F, 32);
			}
		for (uint32_t c = 0; c < n_cols; c++)
		{
			x[c] = pattern & 2 ? -127.0f : 127.0f;
			exact += (double) x[c] * (pattern & 1 ? -128 : 127);
		}
		matrix = pack_matrix(TENSOR_Q8_0, rows, n_rows, n_cols);
		expected = multiply(kernels_by_name("portable"), &matrix, x, 1, 1, false, true);
		assert_true(expected[0] == (float) exact);
		for (size_t i = 1; i < n_isas; i++)
			if (kernels_by_name(isa_names[i]))
			{
				found = multiply(kernels_by_name(isa_names[i]), &matrix, x, 1, 1, false, true);
				assert_same(expected, found, n_rows * 4, "extreme Q8_0", isa_names[i]);
				free(found);
			}
		free(expected);
		free(x);
		free(rows);
		free((void *) matrix.tiles);
	}
}

static void
quantization_is_the_same_bits_and_near(void **state)
{
	(void) state;
	for (uint32_t n_tokens = 1; n_tokens <= PANEL_TOKENS; n_tokens++)
	{
		uint32_t n_cols = 96;
		float *x = random_floats((size_t) n_tokens * n_cols);
		uint8_t *expected;

		memset(x, 0, 32 * 4);         /* a block of zeros */
		x[40] = 1e-42f;               /* a denormal */
		for (int i = 64; i < 96; i++) /* a block of denormals only */
			x[i] = 1e-40f * (float) (i - 80);
		expected = quantize(kernels_by_name("portable"), x, n_tokens, n_cols);
		for (uint32_t c = 0; n_tokens > 1 && c < n_cols; c++)
		{
			const uint8_t *block = expected + (size_t) (c / 32) * 40 * n_tokens;
			float scale;

			memcpy(&scale, block + 32 * n_tokens + 4, 4);
			assert_true(fabsf(x[n_cols + c] - scale * (float) (int8_t) block[32 + c % 32]) <= scale * 0.5001f);
		}
		for (size_t i = 1; i < n_isas; i++)
			if (kernels_by_name(isa_names[i]))
			{
				uint8_t *found = quantize(kernels_by_name(isa_names[i]), x, n_tokens, n_cols);

				assert_same(expected, found, activations_bytes(n_tokens, n_cols), "quantize", isa_names[i]);
				free(found);
			}
		free(expected);
		free(x);
	}
}

/* Products of single rows: near the exact ones, the same for any instruction set, and for a row or token alone. */
static void
dots_of_rows_are_right_and_the_same_bits(void **state)
{
	static const TensorType float_types[] = {TENSOR_F32, TENSOR_F16, TENSOR_BF16};
	static const uint32_t lengths[] = {1, 15, 16, 17, 64, 100, 576};
	enum
	{
		ROWS = 19,
		TOKENS = 3
	};

	(void) state;
	for (size_t c = 0; c < sizeof float_types / sizeof float_types[0] * sizeof lengths / sizeof lengths[0]; c++)
	{
		TensorType type = float_types[c % 3];
		uint32_t n = lengths[c / 3];
		size_t row_bytes = long_row_bytes(type, n), element_bytes = type == TENSOR_F32 ? 4 : 2;
		uint8_t *file = allocate(ROWS * n * element_bytes), *rows = allocate(ROWS * row_bytes),
				*single = allocate(row_bytes);
		float *x = random_floats(TOKENS * n), *a = allocate(TOKENS * ROWS * 4), *b = allocate(TOKENS * ROWS * 4);
		float *expanded = allocate(n * 4);

		for (uint32_t i = 0; i < ROWS * n; i++)
		{
			float value = random_float();
			uint16_t half = f32_to_f16(value);

			if (type == TENSOR_BF16)
				memcpy(&half, (char *) &value + 2, 2);
			memcpy(file + i * element_bytes, type == TENSOR_F32 ? (void *) &value : &half, element_bytes);
		}
		for (uint32_t r = 0; r < ROWS; r++)
			long_row_pack(type, file + r * n * element_bytes, r, ROWS, n, rows);
		kernels_by_name("portable")->dot_rows(type, rows, ROWS, x, n, TOKENS, n, a, ROWS);
		for (uint32_t i = 0; i < TOKENS * ROWS; i++)
		{
			double exact = 0, size = 0;

			dequantize_row(type, file + i % ROWS * n * element_bytes, n, expanded);
			for (uint32_t j = 0; j < n; j++)
			{
				exact += (double) expanded[j] * x[i / ROWS * n + j];
				size += fabs((double) expanded[j] * x[i / ROWS * n + j]);
			}
			assert_true(fabs(a[i] - exact) <= 1e-6 * size);
		}
		for (size_t i = 0; i < n_isas; i++)
		{
			const Kernels *kernels = kernels_by_name(isa_names[i]);

			if (!kernels)
				continue;
			kernels->dot_rows(type, rows, ROWS, x, n, TOKENS, n, b, ROWS);
			assert_same(a, b, TOKENS * ROWS * 4, "dot_rows", isa_names[i]);
			for (uint32_t r = 0; r < TOKENS * ROWS; r++)
			{
				long_row_pack(type, file + r % ROWS * n * element_bytes, 0, 1, n, single);
				kernels->dot_rows(type, single, 1, x + r / ROWS * n, n, 1, n, b + r, 1);
			}
			assert_same(a, b, TOKENS * ROWS * 4, "dot_rows of one row", isa_names[i]);
		}
		free(file);
		free(rows);
		free(single);
		free(x);
		free(a);
		free(b);
		free(expanded);
	}
}

static void
vector_operations_are_the_same_bits(void **state)
{
	static const uint32_t lengths[] = {1, 15, 16, 17, 64, 100, 576, 1024};
	const Kernels *portable = kernels_by_name("portable");

	(void) state;
	for (size_t k = 0; k < sizeof lengths / sizeof lengths[0]; k++)
	{
		uint32_t n = lengths[k];
		float *x = random_floats(n), *w = random_floats(n), *a = allocate(n * 4), *b = allocate(n * 4);
		double squares = 0;

		for (uint32_t i = 0; i < n; i++)
			squares += (double) x[i] * x[i];
		portable->rms_norm(x, w, n, 1e-5f, a);
		for (uint32_t i = 0; i < n; i++)
			assert_true(fabs(x[i] / sqrt(squares / n + 1e-5) * w[i] - a[i]) <= 1e-5 * (1 + fabs((double) a[i])));
		for (size_t i = 1; i < n_isas; i++)
		{
			const Kernels *kernels = kernels_by_name(isa_names[i]);

			if (!kernels)
				continue;
			kernels->rms_norm(x, w, n, 1e-5f, b);
			portable->rms_norm(x, w, n, 1e-5f, a);
			assert_same(a, b, n * 4, "rms_norm", isa_names[i]);
			for (uint32_t j = 0; j < n; j++)
				a[j] = b[j] = x[j] * 20;
			portable->silu_mul(a, w, n);
			kernels->silu_mul(b, w, n);
			assert_same(a, b, n * 4, "silu_mul", isa_names[i]);
			for (uint32_t j = 0; j < n; j++)
			{
				double exact = x[j] * 20.0 / (1 + exp(-x[j] * 20.0)) * w[j];

				assert_true(fabs(exact - a[j]) <= 1e-5 * (1e-3 + fabs(exact)));
			}
			assert_int_equal(kernels->argmax(x, n), portable->argmax(x, n));
			if (n % 2 == 0)
			{
				memcpy(a, x, n * 4);
				memcpy(b, x, n * 4);
				portable->rope(a, w, w + n / 2, n);
				kernels->rope(b, w, w + n / 2, n);
				assert_same(a, b, n * 4, "rope", isa_names[i]);
				assert_true(fabs((double) x[0] * w[0] - (double) x[n / 2] * w[n / 2] - a[0]) < 1e-4);
			}
		}
		free(x);
		free(w);
		free(a);
		free(b);
	}
}

/* One slice of a state and rows that go through it. */
enum
{
	DELTA_DIM = 64,
	DELTA_N = 9
};

typedef struct DeltaCase
{
	float *q, *k, *v, *decay, *beta, *state, *o;
	DeltaRows rows;
} DeltaCase;

static DeltaCase
delta_case(void)
{
	DeltaCase c = {.q = random_floats(DELTA_N * DELTA_DIM),
				   .k = random_floats(DELTA_N * DELTA_DIM),
				   .v = random_floats(DELTA_N * DELTA_COLUMNS),
				   .decay = random_floats(DELTA_N),
				   .beta = random_floats(DELTA_N),
				   .state = random_floats(DELTA_DIM * DELTA_COLUMNS),
				   .o = random_floats(DELTA_N * DELTA_COLUMNS)};

	for (uint32_t t = 0; t < DELTA_N; t++)
	{
		kernels_by_name("portable")->unit_norm(c.q + t * DELTA_DIM, DELTA_DIM, 0.125f);
		kernels_by_name("portable")->unit_norm(c.k + t * DELTA_DIM, DELTA_DIM, 1);
		c.decay[t] = t == 5 ? 0 : expf(-fabsf(c.decay[t]));
		c.beta[t] = 1 / (1 + expf(-c.beta[t]));
	}
	c.rows = (DeltaRows){.n = DELTA_N,
						 .dim = DELTA_DIM,
						 .q = c.q,
						 .k = c.k,
						 .v = c.v,
						 .decay = c.decay,
						 .beta = c.beta,
						 .o = c.o,
						 .next = c.state,
						 .qk_stride = DELTA_DIM,
						 .v_stride = DELTA_COLUMNS,
						 .gate_stride = 1,
						 .o_stride = DELTA_COLUMNS};
	return c;
}

static void
free_delta_case(DeltaCase *c)
{
	free(c->q);
	free(c->k);
	free(c->v);
	free(c->decay);
	free(c->beta);
	free(c->state);
	free(c->o);
}

/* The rows by the definition, in double: outputs, and the state in place. */
static void
delta_by_definition(const DeltaCase *c, double *state, double *o)
{
	for (uint32_t t = 0; t < DELTA_N; t++)
		for (uint32_t j = 0; j < DELTA_COLUMNS; j++)
		{
			const float *k = c->k + t * DELTA_DIM, *q = c->q + t * DELTA_DIM;
			double u = c->v[t * DELTA_COLUMNS + j];

			for (uint32_t i = 0; i < DELTA_DIM; i++)
				u -= (state[i * DELTA_COLUMNS + j] *= c->decay[t]) * k[i];
			o[t * DELTA_COLUMNS + j] = 0;
			for (uint32_t i = 0; i < DELTA_DIM; i++)
				o[t * DELTA_COLUMNS + j] += (state[i * DELTA_COLUMNS + j] += k[i] * u * c->beta[t]) * q[i];
		}
}

/* A state of a type, from floats and back. */
static void
keep_state(StateType type, const float *x, void *state)
{
	kernels_by_name("portable")->state_store(type, x, DELTA_DIM * DELTA_COLUMNS, state);
}

static void
read_state(StateType type, const void *state, float *x)
{
	kernels_by_name("portable")->state_load(type, state, DELTA_DIM * DELTA_COLUMNS, x);
}

/* All rows in calls of so many. */
static void
delta_in_cuts(const Kernels *kernels, StateType type, const DeltaCase *c, uint32_t cut, void *state)
{
	for (uint32_t t = 0; t < DELTA_N; t += cut)
	{
		DeltaRows part = c->rows;

		part.n = DELTA_N - t < cut ? DELTA_N - t : cut;
		part.q += t * DELTA_DIM;
		part.k += t * DELTA_DIM;
		part.v += t * DELTA_COLUMNS;
		part.decay += t;
		part.beta += t;
		part.o += t * DELTA_COLUMNS;
		kernels->delta_rows(type, state, &part);
	}
}

static void
check_delta_rows(StateType type, double near)
{
	size_t n_bytes = DELTA_DIM * DELTA_COLUMNS * state_type_bytes(type);
	double expected[DELTA_DIM * DELTA_COLUMNS], outputs[DELTA_N * DELTA_COLUMNS];
	float first[DELTA_DIM * DELTA_COLUMNS], again[DELTA_DIM * DELTA_COLUMNS], values[DELTA_DIM * DELTA_COLUMNS];
	float first_o[DELTA_N * DELTA_COLUMNS];
	DeltaCase c = delta_case();

	keep_state(type, c.state, first);
	read_state(type, first, values);
	for (uint32_t i = 0; i < DELTA_DIM * DELTA_COLUMNS; i++)
		expected[i] = values[i];
	delta_by_definition(&c, expected, outputs);
	kernels_by_name("portable")->delta_rows(type, first, &c.rows);
	memcpy(first_o, c.o, sizeof first_o);
	read_state(type, first, values);
	for (uint32_t i = 0; i < DELTA_DIM * DELTA_COLUMNS; i++)
		assert_true(fabs(values[i] - expected[i]) < near);
	for (uint32_t i = 0; i < DELTA_N * DELTA_COLUMNS; i++)
		assert_true(fabs(first_o[i] - outputs[i]) < near);
	for (size_t i = 0; i < n_isas; i++)
		for (uint32_t cut = 1; kernels_by_name(isa_names[i]) && cut <= DELTA_N; cut++)
		{
			keep_state(type, c.state, again);
			memset(c.o, 0, sizeof first_o);
			delta_in_cuts(kernels_by_name(isa_names[i]), type, &c, cut, again);
			assert_same(first, again, n_bytes, "delta_rows, the state", isa_names[i]);
			assert_same(first_o, c.o, sizeof first_o, "delta_rows", isa_names[i]);
		}
	free_delta_case(&c);
}

static void
delta_rows_are_the_definition_in_any_cut_and_the_same_bits(void **state)
{
	(void) state;
	check_delta_rows(STATE_F32, 1e-5);
	check_delta_rows(STATE_F16, 5e-3);
}

/* A row alone: in F16 what it leaves is the F32 result rounded once, and clamped where it is over the range. */
static void
states_in_f16_are_rounded_after_each_row_and_clamped(void **state)
{
	float exact[DELTA_DIM * DELTA_COLUMNS], exact_o[DELTA_COLUMNS];
	uint16_t halves[DELTA_DIM * DELTA_COLUMNS];
	uint32_t n_clamped = 0;
	DeltaCase c = delta_case();

	(void) state;
	for (uint32_t j = 0; j < DELTA_COLUMNS; j++)
		c.rows.o[j] = 0;
	((float *) (uintptr_t) c.rows.v)[3] = 3e6f;
	((float *) (uintptr_t) c.rows.v)[20] = -3e6f;
	c.rows.n = 1;
	for (size_t i = 0; i < n_isas; i++)
	{
		const Kernels *kernels = kernels_by_name(isa_names[i]);

		if (!kernels)
			continue;
		keep_state(STATE_F16, c.state, halves);
		read_state(STATE_F16, halves, exact);
		kernels->delta_rows(STATE_F32, exact, &c.rows);
		memcpy(exact_o, c.rows.o, sizeof exact_o);
		kernels->delta_rows(STATE_F16, halves, &c.rows);
		for (uint32_t e = 0; e < DELTA_DIM * DELTA_COLUMNS; e++)
		{
			float x = exact[e] > 65504 ? 65504 : exact[e] < -65504 ? -65504 : exact[e];

			n_clamped += x != exact[e];
			assert_int_equal(halves[e], f32_to_f16(x));
		}
		assert_same(exact_o, c.rows.o, sizeof exact_o, "what a row gives, before it is kept", isa_names[i]);
	}
	assert_true(n_clamped > 0);
	free_delta_case(&c);
}

/* Rows of the convolution: kept, read again, and used as they will be read. */
static void
rows_that_a_state_keeps_are_the_same_bits_wherever_they_are_read(void **state)
{
	enum
	{
		N = 48
	};
	float *x = random_floats(4 * N), *taps = random_floats(4 * N), a[N], b[N], rounded[4 * N];
	const float *rows[4] = {x, x + N, x + 2 * N, x + 3 * N};
	const float *rounded_rows[4] = {rounded, rounded + N, rounded + 2 * N, rounded + 3 * N};
	uint16_t kept[4 * N];

	(void) state;
	x[5] = 1e6f;
	x[N + 7] = -7e4f;
	for (size_t i = 0; i < n_isas; i++)
	{
		const Kernels *kernels = kernels_by_name(isa_names[i]);

		if (!kernels)
			continue;
		for (uint32_t n = 1; n <= 33; n++)
		{
			memset(kept, 0x5a, sizeof kept);
			kernels->state_store(STATE_F16, x, n, kept);
			for (uint32_t j = 0; j < n; j++)
				assert_int_equal(kept[j], f32_to_f16(x[j] > 65504 ? 65504 : x[j]));
			assert_int_equal(kept[n], 0x5a5a);
		}
		kernels->state_store(STATE_F16, x, 4 * N, kept);
		kernels->state_load(STATE_F16, kept, 4 * N, rounded);
		for (uint32_t j = 0; j < 4 * N; j++)
			assert_true(rounded[j] == f16_to_f32(kept[j]));
		kernels->delta_conv(STATE_F16, rows, taps, N, N, a);
		kernels->delta_conv(STATE_F16, rounded_rows, taps, N, N, b);
		assert_same(a, b, sizeof a, "delta_conv of what was kept and what was not", isa_names[i]);
		kernels_by_name("portable")->delta_conv(STATE_F32, rounded_rows, taps, N, N, b);
		assert_same(a, b, sizeof a, "delta_conv in F16", isa_names[i]);
		kernels->state_store(STATE_F32, x, N - 1, rounded);
		assert_memory_equal(rounded, x, (N - 1) * sizeof *x);
	}
	free(x);
	free(taps);
}

static void
delta_gates_are_near_and_never_leave_subnormal_states(void **state)
{
	static const float inputs[] = {-1000, -88, -20, -3, -0.1f, 0, 0.1f, 1, 5, 19.9f, 20.1f, 60, 1000};
	enum
	{
		N = sizeof inputs / sizeof inputs[0]
	};

	(void) state;
	for (size_t i = 0; i < n_isas; i++)
		for (int d = 0; kernels_by_name(isa_names[i]) && d < 3; d++)
		{
			const float rates[] = {-1e-3f, -1, -16};
			float alpha[N], beta[N], dt[N] = {0}, decay[N], again[N];

			memcpy(alpha, inputs, sizeof inputs);
			memcpy(beta, inputs, sizeof inputs);
			for (int j = 0; j < N; j++)
				decay[j] = rates[d];
			kernels_by_name(isa_names[i])->delta_gates(alpha, beta, dt, decay, N);
			for (int j = 0; j < N; j++)
			{
				double softplus = inputs[j] > 20 ? inputs[j] : log1p(exp(inputs[j])), exact = exp(softplus * rates[d]);

				assert_true(exact < 1e-30 ? alpha[j] == 0 : fabs(alpha[j] - exact) <= 4e-5 * exact);
				assert_true(fabs(beta[j] - 1 / (1 + exp(-(double) inputs[j]))) <= 1e-6);
			}
			memcpy(again, inputs, sizeof inputs);
			memcpy(beta, inputs, sizeof inputs);
			kernels_by_name("portable")->delta_gates(again, beta, dt, decay, N);
			assert_same(alpha, again, sizeof again, "delta_gates", isa_names[i]);
		}
}

static void
what_stands_around_delta_rows_is_the_same_bits(void **state)
{
	enum
	{
		N = 96
	};
	const Kernels *portable = kernels_by_name("portable");
	float *x = random_floats(4 * N), *taps = random_floats(4 * N), a[N], b[N];
	const float *rows[4] = {x, x + N, x + 2 * N, x + 3 * N};

	(void) state;
	for (size_t i = 0; i < n_isas; i++)
	{
		const Kernels *kernels = kernels_by_name(isa_names[i]);
		double squares = 1e-6, of_output = 0;

		if (!kernels)
			continue;
		portable->delta_conv(STATE_F32, rows, taps, N, N, a);
		kernels->delta_conv(STATE_F32, rows, taps, N, N, b);
		assert_same(a, b, sizeof a, "delta_conv", isa_names[i]);
		for (uint32_t j = 0; j < N; j++)
		{
			double sum = 0;

			for (uint32_t t = 0; t < 4; t++)
				sum += (double) taps[t * N + j] * x[t * N + j];
			assert_true(fabs(b[j] - sum / (1 + exp(-sum))) < 1e-5);
			squares += (double) x[j] * x[j];
			of_output += (double) x[j] * x[j] / N;
		}
		memcpy(a, x, sizeof a);
		memcpy(b, x, sizeof b);
		portable->unit_norm(a, N, 0.5f);
		kernels->unit_norm(b, N, 0.5f);
		assert_same(a, b, sizeof a, "unit_norm", isa_names[i]);
		for (uint32_t j = 0; j < N; j++)
			assert_true(fabs(b[j] - 0.5 * x[j] / sqrt(squares)) < 1e-6);
		memcpy(a, x, sizeof a);
		memcpy(b, x, sizeof b);
		portable->delta_output(a, taps, x + N, N, 1e-6f);
		kernels->delta_output(b, taps, x + N, N, 1e-6f);
		assert_same(a, b, sizeof a, "delta_output", isa_names[i]);
		for (uint32_t j = 0; j < N; j++)
			assert_true(
				fabs(b[j] - x[j] / sqrt(of_output + 1e-6) * taps[j] * x[N + j] / (1 + exp(-(double) x[N + j]))) < 1e-4);
		memcpy(a, x, sizeof a);
		memcpy(b, x, sizeof b);
		portable->sigmoid_mul(a, taps, N - 3);
		kernels->sigmoid_mul(b, taps, N - 3);
		assert_same(a, b, sizeof a, "sigmoid_mul", isa_names[i]);
		assert_true(a[N - 1] == x[N - 1] && fabs(a[0] - x[0] / (1 + exp(-(double) taps[0]))) < 1e-6);
	}
	free(x);
	free(taps);
}

static void
argmax_takes_the_first_and_no_nan(void **state)
{
	(void) state;
	for (size_t i = 0; i < n_isas; i++)
	{
		const Kernels *kernels = kernels_by_name(isa_names[i]);
		float x[40];

		if (!kernels)
			continue;
		for (int j = 0; j < 40; j++)
			x[j] = -1;
		x[7] = x[20] = x[39] = 3;
		assert_int_equal(kernels->argmax(x, 40), 7);
		x[7] = NAN;
		assert_int_equal(kernels->argmax(x, 40), 20);
		x[20] = -INFINITY;
		assert_int_equal(kernels->argmax(x, 40), 39);
		for (int j = 0; j < 40; j++)
			x[j] = -INFINITY;
		assert_int_equal(kernels->argmax(x, 40), 0);
	}
}

/* A block of cache and queries for the attention tests. */
typedef struct AttentionCase
{
	uint32_t head_dim, n_rows;
	KvType type;
	float *k, *v, *q;
	void *k_slice, *v_slice;
	uint8_t n_valid[9];
	KeyOutliers outliers;
} AttentionCase;

static AttentionCase
attention_case(const Kernels *kernels, uint32_t head_dim, KvType type, uint32_t n_outliers)
{
	AttentionCase c = {.head_dim = head_dim, .n_rows = 9, .type = type, .outliers = {.n = n_outliers}};

	c.k = random_floats(32 * head_dim);
	c.v = random_floats(32 * head_dim);
	c.q = random_floats((size_t) c.n_rows * head_dim);
	c.k_slice = allocate(kv_slice_bytes(type, head_dim) + KEY_OUTLIER_BYTES);
	c.v_slice = allocate(kv_slice_bytes(type, head_dim));
	c.k[5] = 1e9f; /* over F16's range */
	c.v[6] = NAN;
	for (uint32_t i = 0; i < n_outliers; i++)
	{
		c.outliers.dims[i] = (uint8_t) (i / 2 + 3 + i % 2 * (head_dim / 2));
		for (uint32_t p = 0; p < 32; p++)
			c.k[p * head_dim + c.outliers.dims[i]] += 150.0f;
	}
	for (uint32_t p = 0; p < 32; p++)
	{
		kernels->kv_store_k(type, c.k_slice, p, c.k + p * head_dim, head_dim, &c.outliers);
		kernels->kv_store_v(type, c.v_slice, p, c.v + p * head_dim, head_dim);
	}
	for (uint32_t r = 0; r < c.n_rows; r++)
		c.n_valid[r] = (uint8_t) (r == 4 ? 0 : r == 8 ? 32 : 1 + random_u32() % 32);
	return c;
}

static void
attention_free(AttentionCase *c)
{
	free(c->k);
	free(c->v);
	free(c->q);
	free(c->k_slice);
	free(c->v_slice);
}

/* Two blocks (the same one twice) for rows first … first+n-1 into out and states. */
static void
attend_twice(const Kernels *kernels, const AttentionCase *c, uint32_t first, uint32_t n, AttentionState *states,
			 float *out)
{
	float *q = allocate((size_t) n * c->head_dim * 4);

	for (uint32_t r = 0; r < n; r++)
		states[r] = (AttentionState){-INFINITY, 0};
	memset(out, 0, (size_t) n * c->head_dim * 4);
	memcpy(q, c->q + (size_t) first * c->head_dim, (size_t) n * c->head_dim * 4);
	kernels->attention_queries(c->type, q, n, c->head_dim, &c->outliers);
	for (int twice = 0; twice < 2; twice++)
		kernels->attention_block(c->type, c->k_slice, c->v_slice, q, c->n_valid + first, n, c->head_dim, states, out,
								 first % 2 ? c->k_slice : NULL, c->outliers.n);
	free(q);
}

/* What x [head_dim] is after 8 bits in blocks of block dimensions (whose scales are F16 or not): plainly. */
static void
round_to_8_bits(const float *x, uint32_t head_dim, uint32_t block, bool half_scales, double *out)
{
	for (uint32_t first = 0; first < head_dim; first += block)
	{
		uint32_t end = first + block < head_dim ? first + block : head_dim;
		float max = 0, scale;

		for (uint32_t d = first; d < end; d++)
			max = fmaxf(max, fabsf(x[d]));
		scale = half_scales ? f16_to_f32(f32_to_f16(max / 127.0f)) : max / 127.0f;
		for (uint32_t d = first; d < end; d++)
			out[d] = max > 0 ? (double) rintf(x[d] * (127.0f / max)) * scale : 0;
	}
}

/* A number as the cache keeps it before it is rounded. */
static float
clamp_to_cache(float x)
{
	return x == x ? fminf(fmaxf(x, -65504), 65504) : 0;
}

/* The same, with some dimensions apart: those as they are (of a key in F16), and zeros in their place. */
static void
round_beside_outliers(const float *x, const KeyOutliers *outliers, bool is_key, uint32_t head_dim, double *out)
{
	float rest[256];

	memcpy(rest, x, head_dim * sizeof *rest);
	for (uint32_t i = 0; i < outliers->n; i++)
		rest[outliers->dims[i]] = 0;
	round_to_8_bits(rest, head_dim, 32, is_key, out);
	for (uint32_t i = 0; i < outliers->n; i++)
	{
		float apart = x[outliers->dims[i]];

		out[outliers->dims[i]] = is_key ? f16_to_f32(f32_to_f16(apart)) : apart;
	}
}

/* A head times Hadamard's matrix over its root, as the definition has it, in pieces of a power of two. */
static void
rotate_plainly(const double *x, uint32_t head_dim, double *out)
{
	uint32_t piece = head_dim & -head_dim;

	for (uint32_t d = 0; d < head_dim; d++)
	{
		out[d] = 0;
		for (uint32_t j = 0; j < piece; j++)
			out[d] += (__builtin_popcount(j & d % piece) % 2 ? -1 : 1) * x[d / piece * piece + j] / sqrt(piece);
	}
}

static void
rotating_is_hadamards_and_undoes_itself(void **state)
{
	static const uint32_t head_dims[] = {16, 48, 64, 80, 96, 112, 128, 256};

	(void) state;
	for (size_t i = 0; i < n_isas; i++)
		for (size_t h = 0; kernels_by_name(isa_names[i]) && h < 8; h++)
		{
			const Kernels *kernels = kernels_by_name(isa_names[i]), *portable = kernels_by_name("portable");
			uint32_t n = head_dims[h];
			float *x = random_floats(n), *y = allocate(n * 4), *z = allocate(n * 4);
			double in[256], expected[256];

			memcpy(y, x, n * 4);
			memcpy(z, x, n * 4);
			for (uint32_t d = 0; d < n; d++)
				in[d] = x[d];
			rotate_plainly(in, n, expected);
			kernels->attention_output(KV_Q4, y, n);
			portable->attention_output(KV_Q4, z, n);
			assert_same(y, z, n * 4, "attention_output", isa_names[i]);
			for (uint32_t d = 0; d < n; d++)
				assert_true(fabs(y[d] - expected[d]) < 1e-5);
			kernels->attention_output(KV_Q4, y, n);
			for (uint32_t d = 0; d < n; d++)
				assert_true(fabs(y[d] - x[d]) < 1e-5);
			/* other types have nothing to undo */
			memcpy(y, x, n * 4);
			for (int type = 0; type < N_KV_TYPES; type++)
				if (type != KV_Q4)
					kernels->attention_output((KvType) type, y, n);
			assert_same(x, y, n * 4, "attention_output of other types", isa_names[i]);
			free(x);
			free(y);
			free(z);
		}
}

/* Dimension d of position p in a slice of four bits, as kernels.h describes it. */
static double
four_bits(const uint8_t *slice, bool is_key, uint32_t p, uint32_t d)
{
	static const int8_t values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
	uint32_t i = d % 32;
	uint8_t both;
	uint16_t scale;

	if (is_key)
	{
		slice += d / 32 * 576;
		both = slice[64 + i % 16 / 4 * 128 + p * 4 + i % 4];
	}
	else
		both = slice[64 + d / 32 * 512 + p / 4 * 64 + i % 16 * 4 + p % 4];
	memcpy(&scale, slice + 2 * p, 2);
	return f16_to_f32(scale) * (double) values[i < 16 ? both & 15 : both >> 4];
}

/* A key, value or query without its outliers, finite and rotated. */
static void
rotate_beside_outliers(const float *x, const KeyOutliers *outliers, uint32_t head_dim, float *out)
{
	for (uint32_t d = 0; d < head_dim; d++)
		out[d] = clamp_to_cache(x[d]);
	for (uint32_t i = 0; outliers && i < outliers->n; i++)
		out[outliers->dims[i]] = 0;
	kernels_by_name("portable")->attention_output(KV_Q4, out, head_dim);
}

/* What is kept of a head in four bits is near what it was: within half of the largest gap between two values, and what
 * rounding to bytes first and a scale in F16 may add. */
static void
assert_four_bits_near(const AttentionCase *c, bool is_key, uint32_t p)
{
	uint32_t share = is_key ? 32 : c->head_dim; /* dimensions of one scale */
	float rotated[256];

	rotate_beside_outliers((is_key ? c->k : c->v) + p * c->head_dim, is_key ? &c->outliers : NULL, c->head_dim,
						   rotated);
	for (uint32_t first = 0; first < c->head_dim; first += share)
	{
		float largest = 0;

		for (uint32_t d = first; d < first + share && d < c->head_dim; d++)
			largest = fmaxf(largest, fabsf(rotated[d]));
		for (uint32_t d = first; d < first + share && d < c->head_dim; d++)
		{
			double kept = four_bits(is_key ? c->k_slice : c->v_slice, is_key, p, d);

			/* the table ends at 113 on one side */
			assert_true(fabs(kept - rotated[d]) <= largest * (14.5 / 127));
			if (fabsf(rotated[d]) == largest)
				assert_true(fabs(kept - rotated[d]) <= largest * 1e-3);
		}
	}
}

/* Row r's attention over the whole block in double, from what is kept in four bits; rotated back. */
static void
attend_to_four_bits(const AttentionCase *c, uint32_t r, double *out)
{
	const float *row = c->q + (size_t) r * c->head_dim;
	double sum = 0, max = -1e300, score[32], q[256], rotated[256] = {0};
	float turned[256];

	rotate_beside_outliers(row, &c->outliers, c->head_dim, turned);
	round_to_8_bits(turned, c->head_dim, 32, false, q);
	for (uint32_t p = 0; p < 32; p++)
	{
		const uint8_t *apart = (const uint8_t *) c->k_slice + kv_slice_bytes(KV_Q4, c->head_dim);

		assert_four_bits_near(c, true, p);
		assert_four_bits_near(c, false, p);
		score[p] = 0;
		for (uint32_t d = 0; d < c->head_dim; d++)
			score[p] += q[d] * four_bits(c->k_slice, true, p, d);
		for (uint32_t i = 0; i < c->outliers.n; i++)
		{
			uint16_t half;

			memcpy(&half, apart + (i * 32 + p) * 2, 2);
			assert_int_equal(half, f32_to_f16(clamp_to_cache(c->k[p * c->head_dim + c->outliers.dims[i]])));
			score[p] += (double) row[c->outliers.dims[i]] * f16_to_f32(half);
		}
		max = fmax(max, score[p]);
	}
	for (uint32_t p = 0; p < 32; p++)
		sum += exp(score[p] - max);
	for (uint32_t p = 0; p < 32; p++)
		for (uint32_t d = 0; d < c->head_dim; d++)
			rotated[d] += exp(score[p] - max) * four_bits(c->v_slice, false, p, d) / sum;
	rotate_plainly(rotated, c->head_dim, out);
}

/* Row r's attention over the whole block in double, with keys, values and queries as the type keeps them. */
static void
attend_in_double(const AttentionCase *c, uint32_t r, double *out)
{
	double sum = 0, max = -1e300, score[32], q[256], k[256], v[256];
	float row[256];

	if (c->type == KV_Q4)
	{
		attend_to_four_bits(c, r, out);
		return;
	}
	for (uint32_t d = 0; d < c->head_dim; d++)
		q[d] = c->q[(size_t) r * c->head_dim + d];
	if (c->type == KV_Q8_0)
		round_beside_outliers(c->q + (size_t) r * c->head_dim, &c->outliers, false, c->head_dim, q);
	for (uint32_t p = 0; p < 32; p++)
	{
		for (uint32_t d = 0; d < c->head_dim; d++)
		{
			row[d] = c->k[p * c->head_dim + d];
			k[d] = c->type == KV_F32 ? row[d] : f16_to_f32(f32_to_f16(clamp_to_cache(row[d])));
			row[d] = clamp_to_cache(row[d]);
		}
		if (c->type == KV_Q8_0)
			round_beside_outliers(row, &c->outliers, true, c->head_dim, k);
		score[p] = 0;
		for (uint32_t d = 0; d < c->head_dim; d++)
			score[p] += k[d] * q[d];
		max = fmax(max, score[p]);
	}
	for (uint32_t d = 0; d < c->head_dim; d++)
		out[d] = 0;
	for (uint32_t p = 0; p < 32; p++)
	{
		for (uint32_t d = 0; d < c->head_dim; d++)
		{
			row[d] = clamp_to_cache(c->v[p * c->head_dim + d]);
			v[d] = c->type == KV_F32 ? row[d] : f16_to_f32(f32_to_f16(row[d]));
		}
		if (c->type == KV_Q8_0)
			round_to_8_bits(row, c->head_dim, c->head_dim, true, v);
		sum += exp(score[p] - max);
		for (uint32_t d = 0; d < c->head_dim; d++)
			out[d] += exp(score[p] - max) * v[d];
	}
	for (uint32_t d = 0; d < c->head_dim; d++)
		out[d] /= sum;
}

static void
attention_is_the_same_bits_and_right(void **state)
{
	static const uint32_t head_dims[] = {16, 64, 80, 128, 256};

	(void) state;
	for (size_t h = 0; h < 5; h++)
		for (uint32_t kind = 0; kind < N_KV_TYPES + 4; kind++)
		{
			/* each type, and keys of quantized ones with a pair of outliers, and with two */
			uint32_t type = kind < N_KV_TYPES ? kind : kind % 2 ? KV_Q8_0 : KV_Q4;
			uint32_t n_outliers = kind < N_KV_TYPES ? 0 : kind < N_KV_TYPES + 2 ? 2 : 4;
			const Kernels *portable = kernels_by_name("portable");
			uint64_t seed = random_state;
			AttentionCase c = attention_case(portable, head_dims[h], (KvType) type, n_outliers);
			AttentionState states[9], others[9];
			size_t bytes = (size_t) c.n_rows * c.head_dim * 4;
			float *out = allocate(bytes), *other = allocate(bytes);
			double exact[256];

			attend_twice(portable, &c, 0, c.n_rows, states, out);
			for (size_t i = 0; i < n_isas; i++)
			{
				const Kernels *kernels = kernels_by_name(isa_names[i]);
				AttentionCase d;

				if (!kernels)
					continue;
				random_state = seed;
				d = attention_case(kernels, head_dims[h], (KvType) type, n_outliers);
				assert_same(c.k_slice, d.k_slice,
							kv_slice_bytes((KvType) type, head_dims[h]) + n_outliers * KV_BLOCK_POSITIONS * 2,
							"kv_store_k", isa_names[i]);
				assert_same(c.v_slice, d.v_slice, kv_slice_bytes((KvType) type, head_dims[h]), "kv_store_v",
							isa_names[i]);
				attend_twice(kernels, &d, 0, d.n_rows, others, other);
				assert_same(out, other, bytes, "attention_block", isa_names[i]);
				assert_same(states, others, sizeof states, "attention state", isa_names[i]);
				/* a row alone */
				for (uint32_t r = 0; r < c.n_rows; r++)
				{
					attend_twice(kernels, &d, r, 1, others, other);
					assert_same(out + (size_t) r * c.head_dim, other, c.head_dim * 4, "attention alone", isa_names[i]);
				}
				attention_free(&d);
			}
			/* a value outside of F16 was clamped, NaN is 0; eight bits round weights too, by up to 7e-4 of other seeds
			 */
			attend_in_double(&c, 8, exact);
			portable->attention_output((KvType) type, out + (size_t) 8 * c.head_dim, c.head_dim);
			for (uint32_t d = 0; d < c.head_dim; d++)
				assert_true(fabs(exact[d] - out[(size_t) 8 * c.head_dim + d] / states[8].sum) <
							(kv_type_is_quantized((KvType) type) ? 1e-3 : 1e-4));
			assert_true(states[4].sum == 0 && states[4].max == -INFINITY);
			attention_free(&c);
			free(out);
			free(other);
		}
}

static void
merging_equals_one_pass(void **state)
{
	(void) state;
	for (size_t i = 0; i < n_isas; i++)
	{
		const Kernels *kernels = kernels_by_name(isa_names[i]);
		AttentionState a = {2.0f, 3.0f}, b = {1.0f, 4.0f}, nothing = {-INFINITY, 0}, empty = {-INFINITY, 0};
		float out[16], later[16], copy[16];

		if (!kernels)
			continue;
		for (int d = 0; d < 16; d++)
		{
			out[d] = (float) d;
			later[d] = 1;
		}
		kernels->attention_merge(&a, out, &b, later, 16);
		assert_true(fabs(a.sum - (3 + 4 * exp(-1))) < 1e-5 && a.max == 2.0f);
		assert_true(fabs(out[15] - (15 + exp(-1))) < 1e-5);
		memcpy(copy, out, sizeof out);
		kernels->attention_merge(&a, out, &nothing, later, 16);
		assert_memory_equal(copy, out, sizeof out);
		memset(copy, 0, sizeof copy);
		kernels->attention_merge(&empty, copy, &a, out, 16);
		assert_memory_equal(copy, out, sizeof out);
		assert_true(empty.sum == a.sum && empty.max == a.max);
	}
}

static void
halves_convert_exactly(void **state)
{
	(void) state;
	for (uint32_t half = 0; half < 65536; half++)
	{
		float value = f16_to_f32((uint16_t) half);

		if (value == value)
			assert_int_equal(f32_to_f16(value), half);
	}
	assert_int_equal(f32_to_f16(65520.0f), 0x7C00);
	assert_int_equal(f32_to_f16(65519.0f), 0x7BFF);
	assert_int_equal(f32_to_f16(1.0f + 1.0f / 2048), 0x3C00); /* ties to even */
	assert_int_equal(f32_to_f16(1.0f + 3.0f / 2048), 0x3C02);
	assert_int_equal(f32_to_f16(0x1p-25f), 0);
	assert_int_equal(f32_to_f16(0x1.8p-25f), 1);
}

/* Every thread adds its part of a table, then checks all of it, many times over. */
typedef struct TeamWork
{
	Team *team;
	int *counts;
	int rounds, errors;
} TeamWork;

static void
team_work(void *argument, int thread)
{
	TeamWork *work = argument;
	int n = team_size(work->team);

	for (int round = 1; round <= work->rounds; round++)
	{
		work->counts[thread * 16] = round;
		team_barrier(work->team);
		for (int i = 0; i < n; i++)
			if (work->counts[i * 16] != round)
				__atomic_fetch_add(&work->errors, 1, __ATOMIC_RELAXED);
		team_barrier(work->team);
	}
}

static void
barriers_hold_every_thread(void **state)
{
	(void) state;
	for (int n = 1; n <= 8; n *= 2)
	{
		TeamWork work = {team_create(n), calloc((size_t) n * 16, sizeof(int)), 2000 / n, 0};

		assert_non_null(work.team);
		team_run(work.team, team_work, &work);
		assert_int_equal(work.errors, 0);
		team_destroy(work.team);
		free(work.counts);
	}
	assert_true(team_default_threads() >= 1);
	assert_null(team_create(0));
}

/* Which members have come by. */
static void
note_member(void *argument, int thread)
{
	atomic_int *visits = argument;

	atomic_fetch_add(&visits[thread], 1);
}

static void
a_region_may_be_given_to_some_members(void **state)
{
	Team *team = team_create(4);
	atomic_int visits[4] = {0};

	(void) state;
	for (int round = 0; round < 1000; round++)
		team_run_some(team, 1 + round % 4, note_member, visits);
	for (int i = 0; i < 4; i++)
		assert_int_equal(visits[i], 250 * (4 - i));
	/* who was left out long enough to be asleep comes again */
	for (int round = 0; round < 20000; round++)
		team_run_some(team, 1, note_member, visits);
	visits[0] -= 20000;
	team_run(team, note_member, visits);
	for (int i = 0; i < 4; i++)
		assert_int_equal(visits[i], 250 * (4 - i) + 1);
	team_destroy(team);
}

static void
shares_cover_everything_once(void **state)
{
	(void) state;
	for (unsigned n = 0; n < 40; n++)
		for (int threads = 1; threads < 9; threads++)
		{
			unsigned at = 0;

			for (int t = 0; t < threads; t++)
			{
				unsigned first, end;

				team_share(n, t, threads, &first, &end);
				assert_int_equal(first, at);
				assert_true(end - first <= n / (unsigned) threads + 1);
				at = end;
			}
			assert_int_equal(at, n);
		}
}

/* True when the processor has what the kernel calls so. */
#if defined(__aarch64__)
/* By its registers, which the kernel reads for programs, and qemu has; /proc/cpuinfo is the host's there. */
static bool
processor_says(const char *flag)
{
	uint64_t first, second;

	__asm__("mrs %0, ID_AA64ISAR0_EL1" : "=r"(first));
	__asm__("mrs %0, ID_AA64ISAR1_EL1" : "=r"(second));
	return ((strcmp(flag, "i8mm") == 0 ? second >> 52 : first >> 44) & 15) != 0;
}
#else
static bool
processor_says(const char *flag)
{
	static char line[16384];
	FILE *file = line[0] ? NULL : fopen("/proc/cpuinfo", "r");
	size_t length = strlen(flag);

	while (file && fgets(line, sizeof line, file) && strncmp(line, "flags", 5) != 0)
		;
	if (file)
		fclose(file);
	for (const char *at = line; (at = strstr(at, flag)); at += length)
		if (at[-1] == ' ' && (at[length] == ' ' || at[length] == '\n'))
			return true;
	return false;
}
#endif

/* The sets that this processor says it has are those that can be chosen, the best one unless QWEN_ISA names another. */
static void
sets_are_those_of_the_processor(void **state)
{
	static const struct
	{
		const char *name, *flags[6];
	} sets[] = {
#if defined(__x86_64__)
		{"avx512", {"avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_vnni"}},
#if defined(QWEN_AVXVNNI_VEX)
		{"avxvnni", {"avx_vnni", "avx2", "fma", "f16c"}},
#endif
		{"avx2", {"avx2", "fma", "f16c"}},
#elif defined(__aarch64__)
#if defined(QWEN_I8MM)
		{"i8mm", {"asimddp", "i8mm"}},
#endif
		{"neon", {"asimddp"}},
#endif
		{"portable", {NULL}}
	};
	const char *best = NULL;

	(void) state;
	for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++)
	{
		bool has = true;

		for (size_t f = 0; f < 6 && sets[i].flags[f]; f++)
			has = has && processor_says(sets[i].flags[f]);
		assert_true(has == (kernels_by_name(sets[i].name) != NULL));
		best = has && !best ? sets[i].name : best;
		setenv("QWEN_ISA", sets[i].name, 1);
		assert_string_equal(kernels_select()->name, has ? sets[i].name : kernels_of_this_cpu(0)->name);
		unsetenv("QWEN_ISA");
	}
	assert_string_equal(kernels_select()->name, best);
	assert_null(kernels_by_name("none"));
}

#include "check_definition.h"
#include "check_sequence.h"
#include "check_types.h"

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(delta_rows_are_the_definition_in_any_cut_and_the_same_bits),
		cmocka_unit_test(states_in_f16_are_rounded_after_each_row_and_clamped),
		cmocka_unit_test(rows_that_a_state_keeps_are_the_same_bits_wherever_they_are_read),
		cmocka_unit_test(delta_gates_are_near_and_never_leave_subnormal_states),
		cmocka_unit_test(what_stands_around_delta_rows_is_the_same_bits),
		cmocka_unit_test(sets_are_those_of_the_processor),
		cmocka_unit_test(halves_convert_exactly),
		cmocka_unit_test(packed_rows_expand_to_the_file_rows),
		cmocka_unit_test(tiles_that_lack_rows_do_not_show_what_stood_there),
		cmocka_unit_test(quantization_is_the_same_bits_and_near),
		cmocka_unit_test(unbounded_activations_quantize_the_same),
		cmocka_unit_test(rows_expand_by_definition),
		cmocka_unit_test(rows_expand_as_the_gguf_package_does),
		cmocka_unit_test(products_follow_the_definition),
		cmocka_unit_test(extreme_products_follow_the_definition),
		cmocka_unit_test(special_values_follow_the_definition),
		cmocka_unit_test(products_are_the_same_bits_everywhere),
		cmocka_unit_test(products_do_not_depend_on_the_batch),
		cmocka_unit_test(products_are_near_the_exact_ones),
		cmocka_unit_test(extreme_quants_do_not_saturate),
		cmocka_unit_test(vector_operations_are_the_same_bits),
		cmocka_unit_test(argmax_takes_the_first_and_no_nan),
		cmocka_unit_test(rotating_is_hadamards_and_undoes_itself),
		cmocka_unit_test(attention_is_the_same_bits_and_right),
		cmocka_unit_test(attention_over_many_blocks_is_right),
		cmocka_unit_test(merging_equals_one_pass),
		cmocka_unit_test(masked_positions_change_nothing),
		cmocka_unit_test(pieces_merge_to_the_whole),
		cmocka_unit_test(barriers_hold_every_thread),
		cmocka_unit_test(shares_cover_everything_once),
		cmocka_unit_test(a_region_may_be_given_to_some_members),
		cmocka_unit_test(quotas_of_all_groups_above_count),
		cmocka_unit_test(dots_of_rows_are_right_and_the_same_bits),
		cmocka_unit_test(thin_products_follow_the_definition),
	};

	n_types = computed_types(types);
	while (kernels_of_this_cpu(n_isas))
		n_isas++;
	for (size_t i = 0; i < n_isas; i++)
		isa_names[n_isas - 1 - i] = kernels_of_this_cpu(i)->name;
	if (argc > 1 && strcmp(argv[1], "--bench") == 0)
	{
		bench_kernels(argc > 2 ? argv[2] : NULL, argc > 3 ? argv[3] : NULL);
		return 0;
	}
	return cmocka_run_group_tests_name("kernels", tests, NULL, NULL);
}
