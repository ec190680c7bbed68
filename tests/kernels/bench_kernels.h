/*
 * bench_kernels.h - times of the operations, beside the machine's roofs measured in the same run.
 *
 * For reading by people: it asserts nothing. Best of several repetitions; one thread unless a line says otherwise. The
 * memory roof of a virtual machine moves within seconds, so it is printed beside every line that depends on it.
 * Included by check_kernels.c alone.
 */
#ifndef QWEN_BENCH_KERNELS_H
#define QWEN_BENCH_KERNELS_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../kernels/kernels.h"
#include "../../kernels/team.h"
#include "../bench/roofs.h"
#include "computed_types.h"

#define STREAM_BYTES ((size_t) 96 << 20) /* more than the caches hold */

static void *
bench_allocate(size_t bytes)
{
	void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);

	if (!memory)
		abort();
	return memory;
}

static float *
some_floats(size_t n)
{
	float *out = bench_allocate(n * 4);

	for (size_t i = 0; i < n; i++)
		out[i] = (float) ((int) (i * 2654435761u >> 16 & 0xFFF) - 2048) / 2048.0f;
	return out;
}

/* ---- matrix products -------------------------------------------------------------------------------------------- */

typedef struct MatmulWork
{
	const Kernels *kernels;
	Team *team;
	PackedMatrix matrix;
	MatmulInput input;
	uint8_t *scratch; /* MATMUL_SCRATCH_BYTES of each thread */
	float *y;
	int repeat;
} MatmulWork;

static void
matmul_share(void *argument, int thread)
{
	const MatmulWork *work = argument;
	MatmulInput input = work->input;
	unsigned first, end;

	input.scratch = work->scratch + MATMUL_SCRATCH_BYTES * (size_t) thread;
	team_share(packed_n_tiles(work->matrix.n_rows), thread, team_size(work->team), &first, &end);
	for (int i = 0; i < work->repeat; i++)
		matmul_tiles(work->kernels, &work->matrix, &input, first, end, work->y, work->matrix.n_rows, false);
}

static void
matmul_work(void *argument)
{
	team_run(((MatmulWork *) argument)->team, matmul_share, argument);
}

/* Tiles of any bits: scales may be wild, which costs the kernels nothing unless they are denormal or infinite. */
static void
fill_tiles(PackedMatrix *matrix)
{
	size_t bytes = matrix->tile_bytes * packed_n_tiles(matrix->n_rows);
	uint8_t *tiles = bench_allocate(bytes);

	for (size_t i = 0; i < bytes; i += 2)
	{
		tiles[i] = (uint8_t) (i * 2654435761u >> 13);
		tiles[i + 1] = (uint8_t) ((i * 2246822519u >> 11 & 0x8F) | 0x30);
	}
	matrix->tiles = tiles;
}

/* Time a product; returns seconds for one pass over the matrix. */
static double
matmul_seconds(const Kernels *kernels, Team *team, TensorType type, uint32_t n_rows, uint32_t n_cols, uint32_t n_tokens,
			   int repeat, double *roof)
{
	MatmulWork work = {.kernels = kernels,
					   .team = team,
					   .matrix = {type, n_rows, n_cols, NULL, packed_tile_bytes(type, n_cols)},
					   .repeat = repeat};
	float *x = some_floats((size_t) n_tokens * n_cols);
	uint8_t *panels = bench_allocate(activations_bytes(n_tokens, n_cols));
	double seconds;

	fill_tiles(&work.matrix);
	for (uint32_t p = 0; p < activations_n_panels(n_tokens); p++)
	{
		uint32_t first, n;

		activations_panel_range(n_tokens, p, &first, &n);
		kernels->quantize_panel(x + (size_t) first * n_cols, n_cols, n, n_cols,
								panels + activations_bytes(1, n_cols) * first);
	}
	work.input = (MatmulInput){n_tokens, panels, x, n_cols, NULL};
	work.scratch = bench_allocate(MATMUL_SCRATCH_BYTES * (size_t) team_size(team));
	work.y = bench_allocate((size_t) n_tokens * n_rows * 4);
	if (roof)
		*roof = read_roof(team, work.matrix.tiles, work.matrix.tile_bytes * packed_n_tiles(n_rows), 5);
	seconds = best_seconds(5, matmul_work, &work) / repeat;
	free((void *) work.matrix.tiles);
	free(work.y);
	free(work.scratch);
	free(panels);
	free(x);
	return seconds;
}

/* One type: panels of 1 … 6 tokens in cache, decode from memory, prefill of 512 tokens. */
static void
bench_matmul(const Kernels *kernels, TensorType type, Team *one, Team *all)
{
	const uint32_t n_cols = 1536;
	uint32_t stream_rows = (uint32_t) (STREAM_BYTES / packed_tile_bytes(type, n_cols)) * TILE_ROWS;
	double bytes = (double) packed_tile_bytes(type, n_cols) * packed_n_tiles(stream_rows);

	printf("%-5s %-8s GOP/s in cache, 1-6 tokens:", tensor_type_info(type)->name, kernels->name);
	for (uint32_t n = 1; n <= PANEL_TOKENS; n++)
		printf(" %4.0f", 2.0 * 128 * n_cols * n / matmul_seconds(kernels, one, type, 128, n_cols, n, 200, NULL) * 1e-9);
	printf("; prefill 512: %4.0f\n",
		   2.0 * 576 * n_cols * 512 / matmul_seconds(kernels, one, type, 576, n_cols, 512, 1, NULL) * 1e-9);
	for (uint32_t n = 1; n <= 4; n *= 4)
		for (int i = 0; i < 2; i++)
		{
			Team *team = i == 0 ? one : all;
			double roof;
			double seconds = matmul_seconds(kernels, team, type, stream_rows, n_cols, n, 1, &roof);

			printf("      %-8s from memory, %u token%s, %d thread%s: %5.1f GB/s of %5.1f read (%3.0f%%)\n", "", n,
				   n > 1 ? "s" : " ", team_size(team), i == 0 ? " " : "s", bytes / seconds * 1e-9, roof,
				   bytes / seconds * 1e-7 / roof);
		}
}

/* ---- attention -------------------------------------------------------------------------------------------------- */

typedef struct AttentionWork
{
	const Kernels *kernels;
	KvType type;
	uint32_t head_dim, n_rows, n_blocks, repeat;
	uint8_t *k, *v;
	float *q, *out;
} AttentionWork;

static void
attention_work(void *argument)
{
	AttentionWork *work = argument;
	AttentionState states[64];
	uint8_t n_valid[64];
	size_t bytes = kv_slice_bytes(work->type, work->head_dim);

	memset(n_valid, KV_BLOCK_POSITIONS, sizeof n_valid);
	for (uint32_t i = 0; i < work->repeat; i++)
	{
		for (uint32_t r = 0; r < work->n_rows; r++)
			states[r] = (AttentionState){-__builtin_inff(), 0};
		memset(work->out, 0, (size_t) work->n_rows * work->head_dim * 4);
		for (uint32_t b = 0; b < work->n_blocks; b++)
			work->kernels->attention_block(work->type, work->k + b * bytes, work->v + b * bytes, work->q, n_valid,
										   work->n_rows, work->head_dim, states, work->out,
										   b + 1 < work->n_blocks ? work->k + (b + 1) * bytes : NULL, 0);
	}
}

/* Attention of n_rows query rows over n_blocks blocks. */
static void
bench_attention(const Kernels *kernels, KvType type, uint32_t head_dim, uint32_t n_rows, uint32_t n_blocks,
				uint32_t repeat)
{
	size_t bytes = kv_slice_bytes(type, head_dim);
	AttentionWork work = {kernels,
						  type,
						  head_dim,
						  n_rows,
						  n_blocks,
						  repeat,
						  bench_allocate(bytes * n_blocks),
						  bench_allocate(bytes * n_blocks),
						  some_floats((size_t) n_rows * head_dim),
						  bench_allocate((size_t) n_rows * head_dim * 4)};
	float *values = some_floats(head_dim * KV_BLOCK_POSITIONS);
	double seconds;

	for (uint32_t b = 0; b < n_blocks; b++)
		for (uint32_t p = 0; p < KV_BLOCK_POSITIONS; p++)
		{
			kernels->kv_store_k(type, work.k + b * bytes, p, values + p * head_dim, head_dim, NULL);
			kernels->kv_store_v(type, work.v + b * bytes, p, values + p * head_dim, head_dim);
		}
	kernels->attention_queries(type, work.q, n_rows, head_dim, NULL);
	seconds = best_seconds(5, attention_work, &work) / repeat;
	printf("attention %-8s %-4s head %3u, %2u rows, %4u blocks: %6.1f GB/s %6.1f GFLOP/s\n", kernels->name,
		   kv_type_name(type), head_dim, n_rows, n_blocks, 2.0 * (double) bytes * n_blocks / seconds * 1e-9,
		   4.0 * head_dim * n_rows * n_blocks * KV_BLOCK_POSITIONS / seconds * 1e-9);
	free(work.k);
	free(work.v);
	free(work.q);
	free(work.out);
	free(values);
}

/* ---- vectors ---------------------------------------------------------------------------------------------------- */

typedef enum VectorOp
{
	OP_QUANTIZE,
	OP_RMS_NORM,
	OP_ROPE,
	OP_SILU,
	OP_STORE_K,
	OP_STORE_V,
	OP_ARGMAX,
	N_OPS
} VectorOp;

static const char *const op_names[N_OPS] = {"quantize", "rms_norm", "rope", "silu_mul", "store_k", "store_v", "argmax"};

typedef struct VectorWork
{
	const Kernels *kernels;
	VectorOp op;
	float *x, *y;
	uint8_t *bytes;
} VectorWork;

#define VECTOR_ELEMENTS 1536
#define VECTOR_ROUNDS 2000

static void
vector_work(void *argument)
{
	VectorWork *work = argument;
	const Kernels *kernels = work->kernels;
	const uint32_t n = VECTOR_ELEMENTS, head_dim = 128;

	for (uint32_t round = 0; round < VECTOR_ROUNDS; round++)
		switch (work->op)
		{
			case OP_QUANTIZE:
				kernels->quantize_panel(work->x, n, 1, n, work->bytes);
				break;
			case OP_RMS_NORM:
				kernels->rms_norm(work->x, work->y, n, 1e-6f, (float *) (void *) work->bytes);
				break;
			case OP_ROPE:
				for (uint32_t i = 0; i < n; i += head_dim)
					kernels->rope((float *) (void *) work->bytes + i, work->x, work->y, head_dim);
				break;
			case OP_SILU:
				kernels->silu_mul((float *) (void *) work->bytes, work->y, n);
				break;
			case OP_STORE_K:
				for (uint32_t i = 0; i < n; i += head_dim)
					kernels->kv_store_k(KV_F16, work->bytes, i / head_dim, work->x + i, head_dim, NULL);
				break;
			case OP_STORE_V:
				for (uint32_t i = 0; i < n; i += head_dim)
					kernels->kv_store_v(KV_F16, work->bytes, i / head_dim, work->x + i, head_dim);
				break;
			default:
				sink += kernels->argmax(work->x, n);
				break;
		}
}

/* Nanoseconds per element of each vector operation. */
static void
bench_vectors(const Kernels *kernels)
{
	VectorWork work = {kernels, OP_QUANTIZE, some_floats(VECTOR_ELEMENTS), some_floats(VECTOR_ELEMENTS),
					   bench_allocate(VECTOR_ELEMENTS * 8)};

	memset(work.bytes, 0, VECTOR_ELEMENTS * 8);
	printf("vectors   %-8s ns per element:", kernels->name);
	for (int op = 0; op < N_OPS; op++)
	{
		work.op = (VectorOp) op;
		printf(" %s %.3f", op_names[op], best_seconds(5, vector_work, &work) * 1e9 / VECTOR_ELEMENTS / VECTOR_ROUNDS);
	}
	printf("\n");
	free(work.x);
	free(work.y);
	free(work.bytes);
}

/* Print times of one table's operations; isa: its name, or NULL for the best one here; only: one type's products alone
 * ("Q4_0"), or NULL. */
static void
bench_kernels(const char *isa, const char *only)
{
	Team *one = team_create(1), *all = team_create(team_default_threads());
	TensorType types[MAX_TYPES];
	size_t n_types = computed_types(types);
	const Kernels *kernels = isa ? kernels_by_name(isa) : kernels_select();

	if (!one || !all || !kernels)
	{
		printf("cannot run %s\n", isa ? isa : "here");
		return;
	}
	printf("int8 roof of one core: %.0f GOP/s", int8_roof(one));
#if defined(__x86_64__)
	printf("; %.0f by AVX-VNNI", narrow_int8_roof(one));
#endif
	printf("\n");
	if (!only)
		bench_vectors(kernels);
	for (int type = 0; !only && type < N_KV_TYPES; type++)
		for (uint32_t head_dim = 64; head_dim <= 128; head_dim *= 2)
		{
			bench_attention(kernels, (KvType) type, head_dim, 1, 16, 200);
			bench_attention(kernels, (KvType) type, head_dim, 2, 16, 200);
			bench_attention(kernels, (KvType) type, head_dim, 7, 16, 200);
			bench_attention(kernels, (KvType) type, head_dim, 36, 16, 20);
			bench_attention(kernels, (KvType) type, head_dim, 2, 4096, 1);
		}
	for (size_t k = 0; k < n_types; k++)
		if (!only || strcmp(only, tensor_type_info(types[k])->name) == 0)
			bench_matmul(kernels, types[k], one, all);
	team_destroy(one);
	team_destroy(all);
}

#endif
