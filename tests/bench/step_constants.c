/*
 * step_constants.c - what this machine takes for the parts of a step, each alone: one JSON object for step_model.py.
 *
 *   step_constants
 *
 * By one core: bytes a second from memory, operations a second of products (by tensor type and tokens, in cache), of
 * attention, nanoseconds an element of norms, quantizing and activation, and of looking for the largest logit. By two:
 * bytes a second, and what it takes until both have met. Best of several repetitions.
 */
#include <sys/mman.h>

#include "../../src/base/pages.h"
#include "../kernels/bench_kernels.h"

#define MEMORY_BYTES ((size_t) 256 << 20)
#define MEETINGS 20000
#define LOGITS 151936

static const uint32_t token_counts[] = {1, 8, 32, 64, 512};

static void
meet_part(void *argument, int thread)
{
	(void) thread;
	for (int i = 0; i < MEETINGS; i++)
		team_barrier(argument);
}

static void
meet_work(void *team)
{
	team_run(team, meet_part, team);
}

/* Regions of nothing, one after the other: calling the members and hearing of their end. */
static void
nothing_part(void *argument, int thread)
{
	(void) argument;
	(void) thread;
}

static void
call_work(void *team)
{
	for (int i = 0; i < MEETINGS; i++)
		team_run(team, nothing_part, NULL);
}

/* GOP/s of products of one type by one core, from the caches. */
static void
print_products(Team *one, TensorType type)
{
	const uint32_t n_rows = 256, n_cols = 1024;

	printf("\"%s\": {", tensor_type_info(type)->name);
	for (size_t i = 0; i < sizeof token_counts / sizeof token_counts[0]; i++)
	{
		uint32_t n = token_counts[i];
		double seconds =
			matmul_seconds(kernels_select(), one, type, n_rows, n_cols, n, n > 64 ? 2 : (int) (200 / n) + 1, NULL);

		printf("%s\"%u\": %.1f", i > 0 ? ", " : "", n, 2.0 * n_rows * n_cols * n / seconds * 1e-9);
	}
	printf("}");
}

/* GFLOP/s of attention of so many query rows by one core, from the caches, F16. */
static double
attention_speed(uint32_t n_rows)
{
	const uint32_t head_dim = 128, n_blocks = 16, repeat = 50;
	size_t bytes = kv_slice_bytes(KV_F16, head_dim) * n_blocks;
	AttentionWork work = {kernels_select(),
						  KV_F16,
						  head_dim,
						  n_rows,
						  n_blocks,
						  repeat,
						  bench_allocate(bytes),
						  bench_allocate(bytes),
						  some_floats((size_t) n_rows * head_dim),
						  bench_allocate((size_t) n_rows * head_dim * 4)};
	double seconds;

	memset(work.k, 0x2e, bytes);
	memset(work.v, 0x2e, bytes);
	seconds = best_seconds(5, attention_work, &work) / repeat;
	free(work.k);
	free(work.v);
	free(work.q);
	free(work.out);
	return 4.0 * head_dim * n_rows * n_blocks * KV_BLOCK_POSITIONS / seconds * 1e-9;
}

typedef struct SearchWork
{
	const float *logits;
} SearchWork;

static void
search_work(void *argument)
{
	sink += kernels_select()->argmax(((SearchWork *) argument)->logits, LOGITS);
}

/* Nanoseconds an element of what rows become on their way into products. */
static void
print_vectors(void)
{
	VectorWork work = {kernels_select(), OP_QUANTIZE, some_floats(VECTOR_ELEMENTS), some_floats(VECTOR_ELEMENTS),
					   bench_allocate(VECTOR_ELEMENTS * 8)};
	static const VectorOp ops[] = {OP_QUANTIZE, OP_RMS_NORM, OP_SILU};
	SearchWork search = {some_floats(LOGITS)};

	memset(work.bytes, 0, VECTOR_ELEMENTS * 8);
	printf("\"ns_an_element\": {");
	for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++)
	{
		work.op = ops[i];
		printf("\"%s\": %.4f, ", op_names[ops[i]],
			   best_seconds(5, vector_work, &work) * 1e9 / VECTOR_ELEMENTS / VECTOR_ROUNDS);
	}
	printf("\"argmax\": %.4f}", best_seconds(20, search_work, &search) * 1e9 / LOGITS);
	free(work.x);
	free(work.y);
	free(work.bytes);
	free((void *) search.logits);
}

int
main(void)
{
	static const TensorType types[] = {TENSOR_Q4_0, TENSOR_Q8_0, TENSOR_Q4_K, TENSOR_Q6_K};
	Team *one = team_create(1), *two = team_create(2);
	uint8_t *memory = bench_allocate(MEMORY_BYTES + HUGE_PAGE_BYTES);
	uint8_t *start = (uint8_t *) (((uintptr_t) memory + HUGE_PAGE_BYTES - 1) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES);

	(void) bench_kernels; /* that is for reading by people */
	if (!one || !two)
		return 1;
	(void) madvise(start, MEMORY_BYTES, MADV_HUGEPAGE);
	memset(start, 1, MEMORY_BYTES);
	printf("{\"isa\": \"%s\", \"memory_gb_s\": [%.2f, %.2f], \"int8_gop_s\": %.0f, ", kernels_select()->name,
		   read_roof(one, start, MEMORY_BYTES, 5), read_roof(two, start, MEMORY_BYTES, 5), int8_roof(one));
	printf("\"meet_us\": %.3f, \"call_us\": %.3f, ", best_seconds(5, meet_work, two) * 1e6 / MEETINGS,
		   best_seconds(5, call_work, two) * 1e6 / MEETINGS);
	printf("\"products_gop_s\": {");
	for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
	{
		printf("%s", i > 0 ? ", " : "");
		print_products(one, types[i]);
	}
	printf("}, \"attention_gflop_s\": {\"2\": %.1f, \"4\": %.1f, \"32\": %.1f}, ", attention_speed(2),
		   attention_speed(4), attention_speed(32));
	print_vectors();
	printf("}\n");
	free(memory);
	team_destroy(one);
	team_destroy(two);
	return 0;
}
