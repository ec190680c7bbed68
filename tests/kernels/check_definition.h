/*
 * check_definition.h - products computed from a file's own bytes, one output at a time: what the kernels must equal bit
 * for bit.
 *
 * Written from the formats' descriptions and from the order of operations that ops_matmul.h promises; shares no code
 * with kernels/ but the conversion of half floats. Included by check_kernels.c alone, after its helpers.
 */
#ifndef QWEN_CHECK_DEFINITION_H
#define QWEN_CHECK_DEFINITION_H

/* Up to 32 inputs of a row with one scale: value = scale * quant + min. */
typedef struct Piece
{
	int n;
	int quants[32];
	float scale, min;
	bool has_min;
} Piece;

static float
half_at(const uint8_t *at)
{
	return f16_to_f32((uint16_t) (at[0] | at[1] << 8));
}

/* Nibble i of 32 in 16 bytes: the low ones first. */
static int
nibble(const uint8_t *at, int i)
{
	return i < 16 ? at[i] & 15 : at[i - 16] >> 4;
}

/* Scale and min number j of a Q4_K or Q5_K block, six bits each, as the format packs them. */
static void
six_bits(const uint8_t *s, int j, int *scale, int *min)
{
	*scale = j < 4 ? s[j] % 64 : s[j + 4] % 16 + s[j - 4] / 64 * 16;
	*min = j < 4 ? s[j + 4] % 64 : s[j + 4] / 16 + s[j] / 64 * 16;
}

/* Scale number j of a Q3_K block: four low bits, then two high ones, as the format packs them. */
static int
q3_k_six_bits(const uint8_t *s, int j)
{
	int low = j < 8 ? s[j] % 16 : s[j - 8] / 16;

	return low + s[8 + j % 4] / (j < 4 ? 1 : j < 8 ? 4 : j < 12 ? 16 : 64) % 4 * 16 - 32;
}

static bool
has_halves(TensorType type)
{
	return type == TENSOR_Q2_K || type == TENSOR_Q3_K || type == TENSOR_Q6_K || type == TENSOR_IQ2_XS ||
		   type == TENSOR_IQ2_S;
}

/* Number nibble i of bytes, the low one of a byte first. */
static int
nibble_of(const uint8_t *at, int i)
{
	return i % 2 ? at[i / 2] / 16 : at[i / 2] % 16;
}

static uint32_t
word_of(const uint8_t *at)
{
	return at[0] | (uint32_t) at[1] << 8 | (uint32_t) at[2] << 16 | (uint32_t) at[3] << 24;
}

/* Is input i of eight negative, of which seven have a bit and the eighth makes an even number of them? */
static bool
negative_of_seven(uint32_t bits, int i)
{
	int others = 0;

	for (int j = 0; j < 7; j++)
		others += (int) (bits >> j & 1);
	return i < 7 ? (bits >> i & 1) != 0 : others % 2 != 0;
}

/* Input j of point number n of a codebook, of 8 inputs of two bits or 4 of three: its magnitudes, in order. The
 * codebooks themselves are held against the gguf package's point by point (check_types.h). */
static int
point_of(const uint16_t *codebook, int n, int j, const int *magnitudes, int n_inputs)
{
	int number = codebook[n] >> (j % 2 ? 8 : 0) >> (n_inputs == 8 ? 2 : 4) * (j / 2);

	return magnitudes[number % (n_inputs == 8 ? 4 : 16)];
}

/* Input i of sub-block s of a block of IQ2 or IQ3. */
static int
point_quant(TensorType type, const uint8_t *at, int s, int i)
{
	static const int of_iq2[4] = {8, 25, 43, 0};
	static const int of_iq3_xxs[16] = {4, 12, 20, 28, 36, 44, 52, 62}, of_iq3_s[16] = {1, 3, 5, 7, 9, 11, 13, 15};
	int p = s * 4 + i / 8, q = s * 8 + i / 4, magnitude;
	bool negative;

	switch (type)
	{
		case TENSOR_IQ2_XXS:
			magnitude = point_of(grid_iq2_xxs, at[2 + 8 * s + i / 8], i % 8, of_iq2, 8);
			negative = negative_of_seven(word_of(at + 2 + 8 * s + 4) >> (i / 8 * 7) & 127, i % 8);
			break;
		case TENSOR_IQ2_XS:
			magnitude = point_of(grid_iq2_xs, at[2 + 2 * p] + at[3 + 2 * p] % 2 * 256, i % 8, of_iq2, 8);
			negative = negative_of_seven(at[3 + 2 * p] / 2, i % 8);
			break;
		case TENSOR_IQ2_S:
			magnitude = point_of(grid_iq2_s, at[2 + p] + (at[66 + p / 4] >> (p % 4 * 2) & 3) * 256, i % 8, of_iq2, 8);
			negative = at[34 + p] >> (i % 8) & 1;
			break;
		case TENSOR_IQ3_XXS:
			magnitude = point_of(grid_iq3_xxs, at[2 + q], i % 4, of_iq3_xxs, 4);
			negative = negative_of_seven(word_of(at + 66 + 4 * s) >> (i / 8 * 7) & 127, i % 8);
			break;
		default:
			magnitude = point_of(grid_iq3_s, at[2 + q] + (at[66 + q / 8] >> (q % 8) & 1) * 256, i % 4, of_iq3_s, 4);
			negative = at[74 + p] >> (i % 8) & 1;
			break;
	}
	return negative ? -magnitude : magnitude;
}

/* What the sixteen nibbles of IQ4_NL and IQ4_XS stand for. */
static const int table_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

static const int doubled_e2m1[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* Piece number half (of the one or two) of inputs 32 b … 32 b + 31 of a row. */
static Piece
piece_of(TensorType type, const uint8_t *row, uint32_t b, int half)
{
	const uint32_t block_bytes = tensor_type_info(type)->block_bytes;
	Piece p = {.n = 32};
	const uint8_t *at = row + (size_t) (tensor_type_info(type)->block_elements == 256 ? b / 8 : b) * block_bytes;
	int s = (int) (b % 8), scale, min;

	for (int i = 0; i < 32; i++)
		switch (type)
		{
			case TENSOR_Q4_0:
				p.quants[i] = nibble(at + 2, i) - 8;
				break;
			case TENSOR_Q4_1:
				p.quants[i] = nibble(at + 4, i);
				break;
			case TENSOR_Q5_0:
				p.quants[i] = nibble(at + 6, i) + (at[2 + i / 8] >> (i % 8) & 1) * 16 - 16;
				break;
			case TENSOR_Q5_1:
				p.quants[i] = nibble(at + 8, i) + (at[4 + i / 8] >> (i % 8) & 1) * 16;
				break;
			case TENSOR_Q8_0:
				p.quants[i] = (int8_t) at[2 + i];
				break;
			case TENSOR_IQ4_NL:
				p.quants[i] = table_values[nibble(at + 2, i)];
				break;
			case TENSOR_IQ4_XS:
				p.quants[i] = table_values[nibble(at + 8 + 16 * s, i)];
				break;
			case TENSOR_MXFP4:
				p.quants[i] = doubled_e2m1[nibble(at + 1, i)];
				break;
			case TENSOR_IQ2_XXS:
			case TENSOR_IQ2_XS:
			case TENSOR_IQ2_S:
			case TENSOR_IQ3_XXS:
			case TENSOR_IQ3_S:
				p.quants[i] = point_quant(type, at, s, i);
				break;
			case TENSOR_Q2_K:
				p.quants[i] = at[16 + s / 4 * 32 + i] >> (s % 4 * 2) & 3;
				break;
			case TENSOR_Q3_K:
				p.quants[i] = (at[32 + s / 4 * 32 + i] >> (s % 4 * 2) & 3) - (at[i] >> s & 1 ? 0 : 4);
				break;
			case TENSOR_Q4_K:
				p.quants[i] = s % 2 ? at[16 + s / 2 * 32 + i] / 16 : at[16 + s / 2 * 32 + i] % 16;
				break;
			case TENSOR_Q5_K:
				p.quants[i] =
					(s % 2 ? at[48 + s / 2 * 32 + i] / 16 : at[48 + s / 2 * 32 + i] % 16) + (at[16 + i] >> s & 1) * 16;
				break;
			default: /* Q6_K: 128 inputs a half; sub-blocks 0, 1 low nibbles, 2, 3 high ones */
			{
				const uint8_t *low = at + s / 4 * 64 + s % 2 * 32, *high = at + 128 + s / 4 * 32;

				p.quants[i] = (s % 4 < 2 ? low[i] % 16 : low[i] / 16) + (high[i] >> (s % 4 * 2) & 3) * 16 - 32;
			}
		}
	switch (type)
	{
		case TENSOR_Q4_1:
		case TENSOR_Q5_1:
			p.has_min = true;
			p.min = half_at(at + 2);
			p.scale = half_at(at);
			break;
		case TENSOR_Q4_K:
		case TENSOR_Q5_K:
			six_bits(at + 4, s, &scale, &min);
			p.has_min = true;
			p.scale = half_at(at) * (float) scale;
			p.min = 0.0f - half_at(at + 2) * (float) min;
			break;
		case TENSOR_Q2_K:
			p.has_min = true;
			p.scale = half_at(at + 80) * (float) (at[s * 2 + half] % 16);
			p.min = 0.0f - half_at(at + 82) * (float) (at[s * 2 + half] / 16);
			break;
		case TENSOR_Q3_K:
			p.scale = half_at(at + 108) * (float) q3_k_six_bits(at + 96, s * 2 + half);
			break;
		case TENSOR_Q6_K:
			p.scale = half_at(at + 208) * (float) (int8_t) at[192 + s * 2 + half];
			break;
		case TENSOR_IQ4_XS:
			scale = at[4 + s / 2] >> (s % 2 * 4) & 15;
			scale += (at[2 + s / 4] >> (s % 4 * 2) & 3) * 16 - 32;
			p.scale = half_at(at) * (float) scale;
			break;
		case TENSOR_MXFP4:
			p.scale = ldexpf(1.0f, at[0] - 128);
			break;
		case TENSOR_IQ2_XXS:
			p.scale = half_at(at) * ((float) (word_of(at + 2 + 8 * s + 4) >> 28) + 0.5f) / 4;
			break;
		case TENSOR_IQ2_XS:
			p.scale = half_at(at) * ((float) nibble_of(at + 66, 2 * s + half) + 0.5f) / 4;
			break;
		case TENSOR_IQ2_S:
			p.scale = half_at(at) * ((float) nibble_of(at + 74, 2 * s + half) + 0.5f) / 4;
			break;
		case TENSOR_IQ3_XXS:
			p.scale = half_at(at) * ((float) (word_of(at + 66 + 4 * s) >> 28) + 0.5f) / 2;
			break;
		case TENSOR_IQ3_S:
			p.scale = half_at(at) * (float) (1 + 2 * nibble_of(at + 106, s));
			break;
		default:
			p.scale = half_at(at);
			break;
	}
	if (has_halves(type))
	{
		p.n = 16;
		for (int i = 0; half == 1 && i < 16; i++)
			p.quants[i] = p.quants[16 + i];
	}
	return p;
}

/* One output: row times the quantized activations of token t of a panel of n_tokens. */
static float
product_by_definition(TensorType type, const uint8_t *row, const uint8_t *panel, uint32_t n_tokens, uint32_t t,
					  uint32_t n_cols)
{
	float acc = 0;

	for (uint32_t b = 0; b < n_cols / 32; b++)
	{
		const uint8_t *block = panel + (size_t) b * 40 * n_tokens;
		float activation_scale;

		memcpy(&activation_scale, block + 32 * n_tokens + 4 * t, 4);
		for (int half = 0; half < (has_halves(type) ? 2 : 1); half++)
		{
			Piece p = piece_of(type, row, b, half);
			int sum = 0, plain_sum = 0;

			for (int i = 0; i < p.n; i++)
			{
				int x = (int8_t) block[32 * t + (uint32_t) (half * 16 + i)];

				sum += p.quants[i] * x;
				plain_sum += x;
			}
			if (p.has_min)
				acc = fmaf(fmaf(p.min, (float) plain_sum, p.scale * (float) sum), activation_scale, acc);
			else
				acc = fmaf((float) sum, p.scale * activation_scale, acc);
		}
	}
	return acc;
}

/* The same for float weights and one row of x. */
static float
float_product_by_definition(TensorType type, const uint8_t *row, const float *x, uint32_t n_cols)
{
	float acc = 0;

	for (uint32_t c = 0; c < n_cols; c++)
	{
		uint32_t bits = 0;
		float weight;

		if (type == TENSOR_F32)
			memcpy(&bits, row + (size_t) c * 4, 4);
		else
			bits = (uint32_t) (row[2 * c] | row[2 * c + 1] << 8) << 16; /* BF16: the upper half of a float */
		memcpy(&weight, &bits, 4);
		acc = fmaf(type == TENSOR_F16 ? half_at(row + 2 * c) : weight, x[c], acc);
	}
	return acc;
}

/* Every output of every version for n_tokens tokens equals the definition; y beyond the rows stays as it was. */
static void
assert_products_by_definition(TensorType type, const uint8_t *rows, uint32_t n_rows, uint32_t n_cols, const float *x,
							  uint32_t n_tokens)
{
	PackedMatrix matrix = pack_matrix(type, rows, n_rows, n_cols);
	size_t row_bytes = tensor_row_bytes(tensor_type_info(type), n_cols), stride = n_rows + 3;
	float *y = allocate(n_tokens * stride * 4);
	uint8_t *scratch = allocate(MATMUL_SCRATCH_BYTES);

	/* each set twice: with weights that are unpacked for each panel, and once for all of them */
	for (size_t i = 0; i < 2 * n_isas; i++)
	{
		const Kernels *kernels = kernels_by_name(isa_names[i / 2]);
		uint8_t *panels;

		if (!kernels)
			continue;
		panels = tensor_type_takes_panels(type) ? quantize(kernels, x, n_tokens, n_cols) : NULL;
		for (size_t j = 0; j < n_tokens * stride; j++)
			y[j] = 12345;
		matmul_tiles(kernels, &matrix, &(MatmulInput){n_tokens, panels, x, n_cols, i % 2 ? scratch : NULL}, 0,
					 packed_n_tiles(n_rows), y, stride, false);
		for (uint32_t p = 0; p < activations_n_panels(n_tokens); p++)
		{
			uint32_t first, n;

			activations_panel_range(n_tokens, p, &first, &n);
			for (uint32_t t = 0; t < n; t++)
			{
				float *got = y + (first + t) * stride;

				for (uint32_t r = 0; r < n_rows; r++)
				{
					float expected =
						panels ? product_by_definition(type, rows + r * row_bytes,
													   panels + activations_bytes(1, n_cols) * first, n, t, n_cols)
							   : float_product_by_definition(type, rows + r * row_bytes,
															 x + (size_t) (first + t) * n_cols, n_cols);

					if (memcmp(&expected, &got[r], 4) != 0)
						fail_msg("%s %s row %u token %u: %.9g, by definition %.9g", tensor_type_info(type)->name,
								 isa_names[i / 2], r, first + t, (double) got[r], (double) expected);
				}
				for (size_t r = n_rows; r < stride; r++)
					assert_true(got[r] == 12345);
			}
		}
		free(panels);
	}
	free(y);
	free(scratch);
	free((void *) matrix.tiles);
}

static void
products_follow_the_definition(void **state)
{
	static const uint32_t n_rows[] = {1, 33, 64};

	(void) state;
	for (size_t k = 0; k < n_types; k++)
		for (int c = 0; c < 3; c++)
			for (uint32_t n_tokens = 1; n_tokens <= 8; n_tokens++)
			{
				uint32_t n_cols = cols_for(types[k], c);
				uint8_t *rows = random_rows(types[k], n_rows[c], n_cols);
				float *x = random_floats((size_t) n_tokens * n_cols);

				assert_products_by_definition(types[k], rows, n_rows[c], n_cols, x, n_tokens);
				free(rows);
				free(x);
			}
}

/* All quants at an end of their range against activations at theirs, where 16 bits would be full first. */
static void
extreme_products_follow_the_definition(void **state)
{
	static const uint8_t fills[] = {0x00, 0xFF, 0x80, 0x7F, 0x0F, 0xF0};

	(void) state;
	for (size_t k = 0; k < n_types; k++)
		for (size_t f = 0; tensor_type_takes_panels(types[k]) && f < sizeof fills; f++)
			for (int pattern = 0; pattern < 3; pattern++)
			{
				const TensorTypeInfo *info = tensor_type_info(types[k]);
				uint32_t n_cols = 512, n_rows = 32, n_tokens = 12;
				size_t bytes = tensor_row_bytes(info, n_cols) * n_rows;
				uint8_t *rows = allocate(bytes);
				float *x = random_floats((size_t) n_tokens * n_cols);
				uint16_t one = f32_to_f16(1.0f);

				memset(rows, fills[f], bytes);
				for (size_t at = 0; at < bytes; at += info->block_bytes)
				{
					set_scale(types[k], rows + at, one);
					if (min_offset(types[k]) >= 0)
						memcpy(rows + at + min_offset(types[k]), &one, 2);
				}
				for (uint32_t i = 0; i < n_tokens * n_cols; i++)
					x[i] = pattern == 0 || (pattern == 2 && i % 4 < 2) ? 127.0f : -127.0f;
				assert_products_by_definition(types[k], rows, n_rows, n_cols, x, n_tokens);
				free(rows);
				free(x);
			}
}

/* Zero blocks, lone outliers and denormals among the activations; zero and denormal scales among the weights. */
static void
special_values_follow_the_definition(void **state)
{
	(void) state;
	for (size_t k = 0; k < n_types; k++)
	{
		const TensorTypeInfo *info = tensor_type_info(types[k]);
		uint32_t n_cols = 512, n_rows = 32, n_tokens = 7;
		uint8_t *rows = random_rows(types[k], n_rows, n_cols);
		float *x = random_floats((size_t) n_tokens * n_cols);
		uint16_t halves[] = {0, 1, 0x8001, 0x0400, 0x7BFF};
		uint8_t exponents[] = {0, 1, 2, 3, 255};

		for (size_t b = 0; tensor_type_takes_panels(types[k]) && b < n_rows * (size_t) (n_cols / info->block_elements);
			 b++)
			if (types[k] == TENSOR_MXFP4)
				rows[b * info->block_bytes] = exponents[b % 5];
			else
				set_scale(types[k], rows + b * info->block_bytes, halves[b % 5]);
		memset(x, 0, 64 * 4);
		for (uint32_t i = 64; i < 96; i++)
			x[i] = 1e-41f * (float) (i - 80);
		x[100] = 1e30f;
		x[n_cols + 7] = -1e-30f;
		x[2 * n_cols + 31] = 3e38f;
		assert_products_by_definition(types[k], rows, n_rows, n_cols, x, n_tokens);
		free(rows);
		free(x);
	}
}

/* A file's row expands to scale * quant + min, by the definition's own reading of the format. */
static void
rows_expand_by_definition(void **state)
{
	(void) state;
	for (size_t k = 0; k < n_types; k++)
	{
		uint32_t n_cols = 1024;
		uint8_t *row = tensor_type_takes_panels(types[k]) ? random_rows(types[k], 1, n_cols) : NULL;
		float *out = allocate(n_cols * 4);

		if (row)
			dequantize_row(types[k], row, n_cols, out);
		for (uint32_t i = 0; row && i < n_cols; i++)
		{
			int half = has_halves(types[k]) && i % 32 >= 16;
			Piece p = piece_of(types[k], row, i / 32, half);
			double exact = (double) p.scale * p.quants[i % (uint32_t) p.n] + (p.has_min ? (double) p.min : 0);

			assert_true(fabs(exact - out[i]) <= 1e-6 * (fabs(exact) + fabs((double) p.min)));
		}
		free(out);
		free(row);
	}
}

/* A token's row is the same bits alone and in any company from 1 to 64, in every version. */
static void
products_do_not_depend_on_the_batch(void **state)
{
	(void) state;
	for (size_t k = 0; k < n_types; k++)
		for (size_t i = 1; i < n_isas; i++)
		{
			const Kernels *kernels = kernels_by_name(isa_names[i]);
			uint32_t n_cols = cols_for(types[k], 1), n_rows = 70;
			uint8_t *rows = random_rows(types[k], n_rows, n_cols);
			PackedMatrix matrix = pack_matrix(types[k], rows, n_rows, n_cols);
			float *x = random_floats((size_t) 64 * n_cols), *singles = allocate((size_t) 64 * n_rows * 4);

			for (uint32_t t = 0; kernels && t < 64; t++)
			{
				float *y = multiply(kernels, &matrix, x + (size_t) t * n_cols, 1, 1, false, true);

				memcpy(singles + (size_t) t * n_rows, y, n_rows * 4);
				free(y);
			}
			for (uint32_t n = 1; kernels && n <= 64; n++)
			{
				float *y = multiply(kernels, &matrix, x, n, 1 + n % 3, false, true);

				if (memcmp(singles, y, (size_t) n * n_rows * 4) != 0)
					fail_msg("%s %s: %u tokens differ from single ones", tensor_type_info(types[k])->name, isa_names[i],
							 n);
				free(y);
			}
			free(singles);
			free(x);
			free(rows);
			free((void *) matrix.tiles);
		}
}

/* Infinite and NaN activations give every version the same panel, and nothing traps. */
static void
unbounded_activations_quantize_the_same(void **state)
{
	float x[96];
	uint8_t *expected;

	(void) state;
	for (int i = 0; i < 96; i++)
		x[i] = random_float();
	x[3] = INFINITY;
	x[40] = NAN;
	x[63] = -INFINITY;
	x[95] = NAN;
	expected = quantize(kernels_by_name("portable"), x, 1, 96);
	for (size_t i = 1; i < n_isas; i++)
		if (kernels_by_name(isa_names[i]))
		{
			uint8_t *found = quantize(kernels_by_name(isa_names[i]), x, 1, 96);

			assert_same(expected, found, activations_bytes(1, 96), "quantize infinities", isa_names[i]);
			free(found);
		}
	free(expected);
}

/* Products of few columns that are added: every output of every version equals the definition, whatever the tokens
 * beside it; what stands behind the rows stays. */
static void
thin_products_follow_the_definition(void **state)
{
	static const TensorType float_types[] = {TENSOR_F32, TENSOR_F16, TENSOR_BF16};
	static const uint32_t ranks[] = {1, 4, 16, 33}, heights[] = {5, 32, 75, 113}, counts[] = {1, 2, 5, 6, 13};

	(void) state;
	for (size_t c = 0; c < 3 * 4 * 4 * 5; c++)
	{
		TensorType type = float_types[c % 3];
		uint32_t rank = ranks[c / 3 % 4], n_rows = heights[c / 12 % 4], n_tokens = counts[c / 48];
		uint8_t *rows = random_rows(type, n_rows, rank);
		PackedMatrix matrix = pack_matrix(type, rows, n_rows, rank);
		size_t row_bytes = tensor_row_bytes(tensor_type_info(type), rank), stride = n_rows + 3;
		float *x = random_floats(n_tokens * rank), *before = random_floats(n_tokens * stride),
			  *y = allocate(n_tokens * stride * 4);

		for (size_t i = 0; i < n_isas; i++)
		{
			const Kernels *kernels = kernels_by_name(isa_names[i]);

			if (!kernels)
				continue;
			memcpy(y, before, n_tokens * stride * 4);
			kernels->add_thin(type, matrix.tiles, matrix.tile_bytes, n_rows, rank, x, rank, n_tokens, y, stride);
			for (uint32_t j = 0; j < n_tokens * stride; j++)
			{
				uint32_t r = j % (uint32_t) stride, t = j / (uint32_t) stride;
				float expected = before[j];

				if (r < n_rows)
					expected += float_product_by_definition(type, rows + r * row_bytes, x + t * rank, rank);
				assert_same(&expected, &y[j], 4, "add_thin", isa_names[i]);
			}
		}
		free((void *) matrix.tiles);
		free(rows);
		free(x);
		free(before);
		free(y);
	}
}

#endif
