/*
 * kernels.h - the door of the room: quantized block formats, packing, matrix and vector math.
 *
 * Every operation has a portable C version (kernels_portable.c) and versions for AVX2+FMA, AVX-VNNI, AVX-512 VNNI, and
 * ARM's NEON with dot products or products of matrices (i8mm). All versions read the same packed layout and give the
 * same bits: the order of operations inside one output is fixed, and fused multiply-add is part of the definition (fmaf
 * in C). So an answer depends neither on the machine's instruction set nor on how many tokens or sequences share a
 * batch nor on the number of threads. kernels_select() fills the table with the best version the CPU has; QWEN_ISA, a
 * table's name, forces one.
 *
 * Nothing here allocates, logs, fails or knows a model: sizes are checked by the callers (src/model).
 */
#ifndef QWEN_KERNELS_H
#define QWEN_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* GGUF's tensor type ids (ggml.h's numbering, a file format constant). */
typedef enum TensorType
{
	TENSOR_F32 = 0,
	TENSOR_F16 = 1,
	TENSOR_Q4_0 = 2,
	TENSOR_Q4_1 = 3,
	TENSOR_Q5_0 = 6,
	TENSOR_Q5_1 = 7,
	TENSOR_Q8_0 = 8,
	TENSOR_Q2_K = 10,
	TENSOR_Q3_K = 11,
	TENSOR_Q4_K = 12,
	TENSOR_Q5_K = 13,
	TENSOR_Q6_K = 14,
	TENSOR_IQ2_XXS = 16,
	TENSOR_IQ2_XS = 17,
	TENSOR_IQ3_XXS = 18,
	TENSOR_IQ1_S = 19,
	TENSOR_IQ4_NL = 20,
	TENSOR_IQ3_S = 21,
	TENSOR_IQ2_S = 22,
	TENSOR_IQ4_XS = 23,
	TENSOR_IQ1_M = 29,
	TENSOR_BF16 = 30,
	TENSOR_TQ1_0 = 34,
	TENSOR_TQ2_0 = 35,
	TENSOR_MXFP4 = 39,
} TensorType;

#define TENSOR_TYPE_IDS (TENSOR_MXFP4 + 1) /* the numbers of all of them are below */

/* Those with can_pack, for messages. */
#define TENSOR_TYPES_SUPPORTED                                                                                         \
	"F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K to Q6_K, MXFP4, IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS, IQ3_S, "      \
	"IQ4_NL and IQ4_XS"

/* What a tensor type is in a file. */
typedef struct TensorTypeInfo
{
	TensorType type;
	const char *name;        /* "Q4_K" */
	uint32_t block_elements; /* a row's length is a multiple of this */
	uint32_t block_bytes;
	bool can_pack; /* false: known by name, but not computed with */
} TensorTypeInfo;

/* The row of the table for a GGUF type id, or NULL for an id that is not in it. */
extern const TensorTypeInfo *tensor_type_info(uint32_t type);

/* Bytes of one row of n_cols elements as it stands in a file; n_cols must be a multiple of block_elements. */
extern size_t tensor_row_bytes(const TensorTypeInfo *info, uint32_t n_cols);

/* Expand one row of a file to float. row: tensor_row_bytes() bytes, any alignment; out: [n_cols]. Needs can_pack. */
extern void dequantize_row(TensorType type, const void *row, uint32_t n_cols, float *out);

/* ---- packed matrices ------------------------------------------------------------------------------------------- */

#define TILE_ROWS 32 /* output rows of a tile; the last tile of a matrix is padded with zero rows */

/*
 * A weight matrix in the layout that the kernels read: ceil(n_rows / TILE_ROWS) tiles one after the other, each
 * 64-byte aligned. y = W x with W: [n_rows][n_cols]. Owns nothing.
 */
typedef struct PackedMatrix
{
	TensorType type;
	uint32_t n_rows;
	uint32_t n_cols;
	const uint8_t *tiles;
	size_t tile_bytes; /* packed_tile_bytes(type, n_cols) */
} PackedMatrix;

/* Bytes of one packed tile, a multiple of 64. */
extern size_t packed_tile_bytes(TensorType type, uint32_t n_cols);

static inline uint32_t
packed_n_tiles(uint32_t n_rows)
{
	return (n_rows + TILE_ROWS - 1) / TILE_ROWS;
}

/* Pack n_rows (1 … TILE_ROWS) rows as they stand in a file into one tile (64-byte aligned). Threads may pack tiles side
 * by side. */
extern void pack_tile(TensorType type, const void *rows, uint32_t n_rows, uint32_t n_cols, uint8_t *tile);

/* Expand one row of a packed matrix to float, exactly as dequantize_row does from the file. out: [n_cols] */
extern void packed_row_expand(const PackedMatrix *matrix, uint32_t row, float *out);

/* Bytes of a long row of a float type: whole runs of 16 elements. */
extern size_t long_row_bytes(TensorType type, uint32_t n_cols);

/*
 * Long rows stand in groups of ROW_GROUP, the last one of those that are left: 16 elements of each of a group's rows in
 * turn, so that the kernel dot_rows reads a group from end to end.
 */
#define ROW_GROUP 8

/* Put row number row of n_rows, as it stands in a file, among the long rows at rows, whose padding is zeros already. */
extern void long_row_pack(TensorType type, const void *source, uint32_t row, uint32_t n_rows, uint32_t n_cols,
						  uint8_t *rows);

/* ---- activations ----------------------------------------------------------------------------------------------- */

/*
 * Quantized activations, one format for all quantized weight types: int8 in blocks of 32 along a row, in panels of up
 * to PANEL_TOKENS tokens. For each block of 32 inputs a panel of T tokens holds int8 q[T][32]; float scale[T]; int16
 * sums[T][2]        (sums of q over each half of the block) so T * 40 bytes. scale = max|x| / 127, q =
 * round-to-nearest-even(x * (127 / max|x|)), both 0 for a block of zeros. The n_tokens rows of a step are cut into
 * panels as evenly as possible; results do not depend on the cut.
 */
#define PANEL_TOKENS 6
#define ACTIVATION_BLOCK 32
#define ACTIVATION_BLOCK_BYTES 40 /* per token */

extern uint32_t activations_n_panels(uint32_t n_tokens);
extern void activations_panel_range(uint32_t n_tokens, uint32_t panel, uint32_t *first_token, uint32_t *n_panel_tokens);

/* The first token of a panel; n_tokens behind the last one. */
extern uint32_t activations_first_token(uint32_t n_tokens, uint32_t panel);

/* Bytes of all panels of n_tokens rows of n_cols (rounded up to ACTIVATION_BLOCK) inputs. */
extern size_t activations_bytes(uint32_t n_tokens, uint32_t n_cols);

/* ---- the table -------------------------------------------------------------------------------------------------- */

#define KV_BLOCK_POSITIONS 32 /* positions in one block of the KV cache */

typedef enum KvType
{
	KV_F16 = 0,
	KV_F32 = 1,
	KV_Q8_0 = 2,
	KV_Q4 = 3,
} KvType;
#define N_KV_TYPES 4

/* Attention multiplies integers; keys may have outliers that stand apart. */
static inline bool
kv_type_is_quantized(KvType type)
{
	return type == KV_Q8_0 || type == KV_Q4;
}

/* "f16", "f32", "q8_0", "q4": false for any other name. */
extern bool kv_type_by_name(const char *name, KvType *type);
extern const char *kv_type_name(KvType type);

/*
 * One K or V slice of the cache: one block of KV_BLOCK_POSITIONS positions of one KV head of one layer, 64-byte
 * aligned. K: [2][head_dim][16]  two halves of 16 positions, transposed so that 16 positions are computed side by side
 *   V: [KV_BLOCK_POSITIONS][head_dim]
 * Values over the range of F16 are clamped to it when they are stored (but for F32), so that no infinity enters the
 * cache. head_dim is a multiple of 16, at most 256.
 *
 * KV_Q8_0 is both slices as tiles whose weights are bytes (formats.h), q + 128. K: a Q8_0 tile whose rows are the
 * positions: a scale for every 32 dimensions of a position, as channels of keys differ in size. V: f16 scale[32], one
 * for all of a position's dimensions (values have no such channels, and the scale can go into the softmax's weights);
 * then for every 32 dimensions the 8 steps of a tile whose rows are the dimensions and whose inputs the positions.
 *
 * KV_Q4 is the same with weights that are nibbles, numbers of the values of IQ4_NL (formats.h), of heads that are
 * rotated by a Hadamard matrix: which leaves no dimension far from the others, changes no score if queries are rotated
 * too, and is undone in what attention gives (attention_output). K: a tile of IQ4_NL. V: f16 scale[32]; then for every
 * 32 dimensions 8 steps of 64 bytes, dimension 16 + r of a position in the high nibble of dimension r's byte: so a
 * position's bytes are its own, whoever writes the others at that moment. A scale may be negative: the largest of what
 * shares it is the table's first value, -127.
 *
 * Keys with outliers (below) have, behind the tile, F16 [KEY_OUTLIERS][KV_BLOCK_POSITIONS] of those dimensions.
 */
static inline size_t
kv_slice_bytes(KvType type, uint32_t head_dim)
{
	if (type == KV_Q8_0)
		return (size_t) (head_dim + 31) / 32 * 1088; /* TILE_Q8_0_BYTES */
	if (type == KV_Q4)
		return (size_t) (head_dim + 31) / 32 * 576; /* TILE_Q4_0_BYTES */
	return (size_t) KV_BLOCK_POSITIONS * head_dim * (type == KV_F16 ? 2 : 4);
}

#define KEY_OUTLIERS 4                                            /* two pairs of a head's dimensions */
#define KEY_OUTLIER_BYTES (KEY_OUTLIERS * KV_BLOCK_POSITIONS * 2) /* of a K slice, behind kv_slice_bytes() */

/*
 * Dimensions of one head whose keys are far larger than all others (a bias of 100 and more in one rotary pair, as
 * Qwen2.5 has it). In eight bits they would take the precision of the 31 dimensions that share their scale, rotated
 * that of all, so quantized caches keep them apart in F16. The other types have no use for it.
 */
typedef struct KeyOutliers
{
	uint32_t n; /* 0: none */
	uint8_t dims[KEY_OUTLIERS];
} KeyOutliers;

/* Running softmax of one query row: out = sum_i exp(score_i - max) v_i, sum = sum_i exp(score_i - max). */
typedef struct AttentionState
{
	float max; /* start with -INFINITY */
	float sum; /* start with 0 */
} AttentionState;

/* ---- delta nets -------------------------------------------------------------------------------------------------- */

#define DELTA_MAX_DIM 256        /* elements of a head at most */
#define DELTA_TAPS 4             /* of the convolution before one: this row and those before it */
#define DELTA_COLUMNS 32         /* of a value head's state that stand together: a slice, [dim][DELTA_COLUMNS] */
#define DELTA_LEAST_DECAY 1e-30f /* what decays by more is forgotten */

/* How matrices of states, and rows of the convolution that are kept with them, stand in memory. F16: rounded after
 * every row, and the rows before they are used, so that it does not matter where a step ends; what is over its range is
 * clamped to it. */
typedef enum StateType
{
	STATE_F32 = 0,
	STATE_F16 = 1,
} StateType;

/* "f32", "f16": false for any other name. */
extern bool state_type_by_name(const char *name, StateType *type);
extern const char *state_type_name(StateType type);

static inline size_t
state_type_bytes(StateType type)
{
	return type == STATE_F16 ? 2 : 4;
}

/* Rows of a sequence, one after the other, for one slice of the state of a value head. */
typedef struct DeltaRows
{
	uint32_t n, dim;           /* rows; elements of a head, even, at most DELTA_MAX_DIM */
	const float *q, *k;        /* [n][dim], of the head of keys; unit length, q scaled by 1/sqrt(dim) */
	const float *v;            /* [n][DELTA_COLUMNS], these columns of the head */
	const float *decay, *beta; /* [n], of the head */
	float *o;                  /* [n][DELTA_COLUMNS] */
	const void *next;          /* a slice that is worth fetching meanwhile, or NULL */
	size_t qk_stride, v_stride, gate_stride, o_stride;
} DeltaRows;

typedef struct Kernels
{
	const char *name; /* "portable", "avx2", "avxvnni", "avx512", "neon", "i8mm" */

	/* Quantize rows of one panel: x: [n_tokens][x_stride], n_cols a multiple of 32 (n_tokens <= PANEL_TOKENS); out: the
	 * panel. */
	void (*quantize_panel)(const float *x, size_t x_stride, uint32_t n_tokens, uint32_t n_cols, uint8_t *panel);

	/*
	 * y[t][0..31] = tile * x_t for n_tokens (1 … PANEL_TOKENS) tokens. next, next_bytes: what will be read after this
	 * and is worth fetching meanwhile (next may be NULL).
	 */
	void (*matmul_quantized)(TensorType type, const uint8_t *tile, const uint8_t *panel, uint32_t n_tokens,
							 uint32_t n_cols, float *y, size_t y_stride, const uint8_t *next, size_t next_bytes);

	/*
	 * Unpack weights of a tile, of a type with tensor_type_is_unpacked: blocks of 32 inputs first_block … first_block +
	 * n_blocks - 1, multiples of 8, n_blocks at most UNPACKED_BLOCKS. unpacked: UNPACKED_BYTES, 64-byte aligned.
	 */
	void (*unpack)(TensorType type, const uint8_t *tile, uint32_t first_block, uint32_t n_blocks, uint8_t *unpacked);

	/*
	 * sums[t][0..31] += what was unpacked * x_t, for 1 … PANEL_TOKENS tokens; panel: where these blocks begin. From
	 * sums of zeros on and block by block it gives what matmul_quantized gives, bit for bit.
	 */
	void (*matmul_unpacked)(TensorType type, const uint8_t *unpacked, const uint8_t *panel, uint32_t n_tokens,
							uint32_t n_blocks, float *sums);

	/* As matmul_quantized for F32, F16 and BF16 weights and float activations x: [n_tokens][x_stride]. */
	void (*matmul_float)(TensorType type, const uint8_t *tile, const float *x, size_t x_stride, uint32_t n_tokens,
						 uint32_t n_cols, float *y, size_t y_stride);

	/*
	 * y[t][r] = row_r * x_t for n_rows rows of a float type, long rows as long_row_pack leaves them. For few rows, of
	 * which a tile would be mostly padding. Lane i sums the columns i mod 16.
	 */
	void (*dot_rows)(TensorType type, const uint8_t *rows, uint32_t n_rows, const float *x, size_t x_stride,
					 uint32_t n_tokens, uint32_t n_cols, float *y, size_t y_stride);

	/*
	 * y[t][r] += sum_c W[r][c] x[t][c] for n_rows rows of a float type in tiles one after the other, and any number of
	 * tokens. For few columns, where a product is mostly reading. One fused multiply-add a column, in order.
	 */
	void (*add_thin)(TensorType type, const uint8_t *tiles, size_t tile_bytes, uint32_t n_rows, uint32_t n_cols,
					 const float *x, size_t x_stride, uint32_t n_tokens, float *y, size_t y_stride);

	/* out[i] = x[i] / sqrt(mean(x^2) + epsilon) * weight[i]; out may be x (Zhang & Sennrich 2019) */
	void (*rms_norm)(const float *x, const float *weight, uint32_t n, float epsilon, float *out);

	/* Rotate pairs (i, i + n_rotated/2) of one head by the angles whose cosines and sines are given: cos, sin:
	 * [n_rotated/2] (NeoX order, Su et al. 2021); elements behind them stay */
	void (*rope)(float *head, const float *cos, const float *sin, uint32_t n_rotated);

	/* gate[i] = gate[i] * sigmoid(gate[i]) * up[i] */
	void (*silu_mul)(float *gate, const float *up, uint32_t n);

	/* Store one position (0 … KV_BLOCK_POSITIONS-1) of a K or V slice from floats [head_dim]. outliers: may be NULL. */
	void (*kv_store_k)(KvType type, void *slice, uint32_t position, const float *k, uint32_t head_dim,
					   const KeyOutliers *outliers);
	void (*kv_store_v)(KvType type, void *slice, uint32_t position, const float *v, uint32_t head_dim);

	/* Make query rows, already scaled by 1/sqrt(head_dim), what attention_block takes for this type, in place: for
	 * quantized types a row (KV_Q4: rotated) becomes its panel of one token (and zeros up to 32 dimensions), and behind
	 * it the floats of the outliers' dimensions, which the panel has as zeros; else nothing changes. outliers: may be
	 * NULL. */
	void (*attention_queries)(KvType type, float *q, uint32_t n_rows, uint32_t head_dim, const KeyOutliers *outliers);

	/*
	 * Let n_rows query rows see one KV block. q: [n_rows][head_dim], as attention_queries left them; n_valid[r]:
	 * how many of the block's positions row r may see (0 … 32); states: [n_rows]; out: [n_rows][head_dim],
	 * unnormalized, starts as zeros. A row's result depends on that row alone. A row with n_valid 0 is left as it is.
	 * next_k: the K slice that is read after this block and is worth fetching meanwhile (may be NULL). n_outliers: of
	 * the head's keys, as they were stored.
	 */
	void (*attention_block)(KvType type, const void *k_slice, const void *v_slice, const float *q,
							const uint8_t *n_valid, uint32_t n_rows, uint32_t head_dim, AttentionState *states,
							float *out, const void *next_k, uint32_t n_outliers);

	/* Make a row that attention gave, from all of its pieces, what the layer takes, in place: for KV_Q4 the values'
	 * rotation is undone. */
	void (*attention_output)(KvType type, float *out, uint32_t head_dim);

	/* Merge a later piece into an earlier one (both unnormalized): the fixed-order merge of split sequences. */
	void (*attention_merge)(AttentionState *state, float *out, const AttentionState *later, const float *later_out,
							uint32_t head_dim);

	/* Index of the largest of x[0 .. n); the first one when several are equal. NaN counts as smaller than all. */
	uint32_t (*argmax)(const float *x, uint32_t n);

	/* x[i] = x[i] * sigmoid(gate[i]) */
	void (*sigmoid_mul)(float *x, const float *gate, uint32_t n);

	/* A row of the convolution of channels and its activation: out[j] = silu(sum_i taps[i][j] rows[i][j]), the row
	 * itself being rows[3]; taps: [DELTA_TAPS][tap_stride]. rows: as they are; type: as they are kept. n is a multiple
	 * of 16, here and in what follows. */
	void (*delta_conv)(StateType type, const float *const rows[DELTA_TAPS], const float *taps, size_t tap_stride,
					   uint32_t n, float *out);

	/* Elements of a row of the convolution as a state keeps them (any n), and back (n a multiple of 16). */
	void (*state_store)(StateType type, const float *x, uint32_t n, void *out);
	void (*state_load)(StateType type, const void *state, uint32_t n, float *out);

	/* x[i] = x[i] / sqrt(sum x^2 + 1e-6) * scale */
	void (*unit_norm)(float *x, uint32_t n, float scale);

	/* alpha[i] = exp(softplus(alpha[i] + dt[i]) * decay[i]), or 0 where that is below DELTA_LEAST_DECAY; beta[i] =
	 * sigmoid(beta[i]). Any n. */
	void (*delta_gates)(float *alpha, float *beta, const float *dt, const float *decay, uint32_t n);

	/* For each row S = decay S; u = (v - S^T k) beta; S = S + k u^T; o = S^T q; and S is rounded to its type. What
	 * comes of a row does not depend on how many follow it in the call. */
	void (*delta_rows)(StateType type, void *state, const DeltaRows *rows);

	/* o[i] = o[i] / sqrt(mean(o^2) + epsilon) * weight[i] * silu(gate[i]) */
	void (*delta_output)(float *o, const float *weight, const float *gate, uint32_t n, float epsilon);
} Kernels;

/* The best table for this CPU, or the one that QWEN_ISA names if this CPU can run it. Never NULL. */
extern const Kernels *kernels_select(void);

/* A table by name, or NULL when there is none of that name or this CPU cannot run it. For tests. */
extern const Kernels *kernels_by_name(const char *name);

/* Table number i of those that this CPU can run, the best one first and the portable one last, or NULL. For tests. */
extern const Kernels *kernels_of_this_cpu(size_t i);

/* ---- matrix products over many tokens --------------------------------------------------------------------------- */

/*
 * Weights whose unpacking takes the processor long are unpacked once for a chunk of panels, in pieces that leave the
 * first-level cache room for what passes them: memory of a thread's own for a piece, and for the chunk's sums.
 */
#define UNPACKED_BLOCKS 16        /* of 32 inputs, of a piece */
#define UNPACKED_BLOCK_BYTES 1280 /* at most: scales, and 32 x 32 bytes */
#define UNPACKED_PANELS 16        /* of a chunk */
#define UNPACKED_BYTES ((size_t) UNPACKED_BLOCKS * UNPACKED_BLOCK_BYTES)
#define MATMUL_SCRATCH_BYTES (UNPACKED_BYTES + (size_t) UNPACKED_PANELS * PANEL_TOKENS * TILE_ROWS * sizeof(float))

/* True when a type's weights are unpacked before they are multiplied with several panels. */
extern bool tensor_type_is_unpacked(TensorType type);

/* The right-hand side: panels for quantized weights, rows for float weights (either may be NULL when not needed). */
typedef struct MatmulInput
{
	uint32_t n_tokens;
	const uint8_t *panels; /* activations_bytes(n_tokens, n_cols) */
	const float *rows;     /* [n_tokens][row_stride] */
	size_t row_stride;
	uint8_t *scratch; /* MATMUL_SCRATCH_BYTES, 64-byte aligned, or NULL: nothing is unpacked beforehand */
} MatmulInput;

/* True when the type's kernels take panels (quantized), false when they take rows (float). */
extern bool tensor_type_takes_panels(TensorType type);

/* A part of a product: tiles first_tile … end_tile-1 times panels first_panel … end_panel-1 of the input. */
typedef struct MatmulPart
{
	uint32_t first_tile, end_tile;
	uint32_t first_panel, end_panel;
} MatmulPart;

/*
 * y[t][r] (+)= sum_c W[r][c] x[t][c] for the rows r and the tokens t of a part. add: add to what is in y. Streams the
 * tiles once for few tokens, walks panels per tile (prefetching the next) for many. Threads take parts that have
 * nothing in common; padding rows are not written.
 */
extern void matmul_part(const Kernels *kernels, const PackedMatrix *matrix, const MatmulInput *input,
						const MatmulPart *part, float *y, size_t y_stride, bool add);

/* The same for some tiles and all tokens. */
extern void matmul_tiles(const Kernels *kernels, const PackedMatrix *matrix, const MatmulInput *input,
						 uint32_t first_tile, uint32_t end_tile, float *y, size_t y_stride, bool add);

/* ---- conversions ------------------------------------------------------------------------------------------------ */

extern float f16_to_f32(uint16_t half);
extern uint16_t f32_to_f16(float value); /* round to nearest even; infinities stay */
extern float bf16_to_f32(uint16_t half);

#endif
