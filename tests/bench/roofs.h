/*
 * roofs.h - what the machine can do at best: bytes read from memory, or read and written, and int8 and float operations
 * a second, by all threads of a team at once. Every figure of a bench stands beside the roof measured in the same run.
 */
#ifndef QWEN_BENCH_ROOFS_H
#define QWEN_BENCH_ROOFS_H

#include <stdint.h>

#include "../../kernels/kernels.h"
#include "../../kernels/team.h"
#include "../../src/base/clock.h"

static volatile uint64_t sink;

/* Something to time: called with its argument. */
typedef void (*Work)(void *argument);

/* Seconds of the fastest of n runs. */
static double
best_seconds(int n, Work work, void *argument)
{
	double best = 1e30;

	for (int i = 0; i < n; i++)
	{
		uint64_t start = clock_now_us();
		double seconds;

		work(argument);
		seconds = (double) (clock_now_us() - start) * 1e-6;
		best = seconds < best ? seconds : best;
	}
	return best;
}

typedef uint64_t Words __attribute__((vector_size(64)));

typedef struct ReadWork
{
	Team *team;
	const uint8_t *bytes;
	size_t n;
} ReadWork;

/* not under ThreadSanitizer, which is not ready yet when the clones are chosen */
#if !defined(__has_feature)
#define __has_feature(feature) 0
#endif
#if defined(__x86_64__) && !__has_feature(thread_sanitizer)
#define ROOF_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define ROOF_CLONES
#endif

/* One thread's part, in order, by vectors as wide as the machine has. */
ROOF_CLONES static void
read_part(void *argument, int thread)
{
	const ReadWork *work = argument;
	size_t part = work->n / (size_t) team_size(work->team) / 256 * 256;
	const Words *at = (const Words *) (const void *) (work->bytes + part * (size_t) thread);
	Words sums[4] = {{0}};

	for (size_t i = 0; i < part / 64; i += 4)
		for (size_t j = 0; j < 4; j++)
			sums[j] ^= at[i + j];
	sums[0] ^= sums[1] ^ sums[2] ^ sums[3];
	sink += sums[0][0];
}

static void
read_work(void *argument)
{
	team_run(((ReadWork *) argument)->team, read_part, argument);
}

/* GB/s of reading bytes (64-byte aligned) once with all of a team's threads: the best of so many times. */
static double
read_roof(Team *team, const uint8_t *bytes, size_t n, int times)
{
	ReadWork work = {team, bytes, n};

	return (double) n / best_seconds(times, read_work, &work) * 1e-9;
}

static volatile uint64_t no_bits;

typedef struct UpdateWork
{
	Team *team;
	uint8_t *bytes;
	size_t n;
} UpdateWork;

/* One thread's part, in order, read and written in place; all bits stay as they are, which the compiler cannot know. */
ROOF_CLONES static void
update_part(void *argument, int thread)
{
	const UpdateWork *work = argument;
	size_t part = work->n / (size_t) team_size(work->team) / 256 * 256;
	Words *at = (Words *) (void *) (work->bytes + part * (size_t) thread);
	Words none = (Words){0} ^ no_bits;

	for (size_t i = 0; i < part / 64; i++)
		at[i] ^= none;
}

static void
update_work(void *argument)
{
	team_run(((UpdateWork *) argument)->team, update_part, argument);
}

/* GB/s, read and written counted, of changing bytes in place with all of a team's threads: the best of so many times.
 */
__attribute__((unused)) static double
update_roof(Team *team, uint8_t *bytes, size_t n, int times)
{
	UpdateWork work = {team, bytes, n};

	return 2 * (double) n / best_seconds(times, update_work, &work) * 1e-9;
}

#if defined(__x86_64__)
#include <immintrin.h>

#define ROOF_ROUNDS 2000000

/*
 * One thread's part: n independent chains in registers. step: what a becomes by a and x; add: of two vectors, which
 * brings the chains to one number.
 */
#define CHAINS(name, isa, Vector, n, value, add, step)                                                                 \
	__attribute__((target(isa))) static void name(void *argument, int thread)                                          \
	{                                                                                                                  \
		Vector acc[n], x = value;                                                                                      \
                                                                                                                       \
		(void) argument;                                                                                               \
		(void) thread;                                                                                                 \
		_Pragma("GCC unroll 10") for (int i = 0; i < (n); i++) acc[i] = x;                                             \
		for (int round = 0; round < ROOF_ROUNDS; round++)                                                              \
			_Pragma("GCC unroll 10") for (int i = 0; i < (n); i++)                                                     \
			{                                                                                                          \
				Vector a = acc[i];                                                                                     \
                                                                                                                       \
				acc[i] = step;                                                                                         \
				__asm__("" : "+v"(acc[i]));                                                                            \
			}                                                                                                          \
		_Pragma("GCC unroll 10") for (int i = 1; i < (n); i++) acc[0] = add(acc[0], acc[i]);                           \
		sink += (uint64_t) acc[0][0];                                                                                  \
	}

/* A number that looks like another one each time, so that what is made of it is not made once. */
__attribute__((target("avx2"))) static inline __m256i
another(__m256i x)
{
	__asm__ volatile("" : "+v"(x));
	return x;
}

/* dot products (VNNI), and the same by registers of 256 bits for compilers that know AVX-VNNI */
CHAINS(dot_part, "avx512f,avx512vnni", __m512i, 8, _mm512_set1_epi32(0x01020304), _mm512_add_epi32,
	   _mm512_dpbusd_epi32(a, x, x))
#if defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11
#define KNOWS_AVXVNNI
CHAINS(narrow_dot_part, "avx2,avxvnni", __m256i, 8, _mm256_set1_epi32(0x01020304), _mm256_add_epi32,
	   _mm256_dpbusd_avx_epi32(a, x, x))
#endif
/* The most that AVX2 could do, which has no dot product: 32 products to a multiplication, summed in 16 bits. A product
 * that keeps its sums widens them now and then, too. */
CHAINS(pairs_part, "avx2", __m256i, 8, _mm256_set1_epi32(0x01020304), _mm256_add_epi32,
	   _mm256_add_epi16(a, _mm256_maddubs_epi16(x, another(x))))
/* fused multiplications and additions */
CHAINS(float_part, "avx512f", __m512, 10, _mm512_set1_ps(0.5f), _mm512_add_ps, _mm512_fmadd_ps(a, x, x))
CHAINS(narrow_float_part, "avx2,fma", __m256, 10, _mm256_set1_ps(0.5f), _mm256_add_ps, _mm256_fmadd_ps(a, x, x))

typedef struct ChainsWork
{
	Team *team;
	void (*part)(void *argument, int thread);
} ChainsWork;

static void
chains_work(void *argument)
{
	const ChainsWork *work = argument;

	team_run(work->team, work->part, NULL);
}

/* Billions of operations a second with all of a team's threads, of chains with so many of them in a round. */
static double
chains_roof(Team *team, void (*part)(void *argument, int thread), int operations)
{
	ChainsWork work = {team, part};

	return (double) operations * ROOF_ROUNDS * team_size(team) / best_seconds(3, chains_work, &work) * 1e-9;
}

/* GOP/s by AVX-VNNI with all of a team's threads, or 0 where the processor or the compiler has it not. */
static double
narrow_int8_roof(Team *team)
{
#if defined(KNOWS_AVXVNNI)
	if (kernels_by_name("avxvnni"))
		return chains_roof(team, narrow_dot_part, 2 * 32 * 8);
#endif
	(void) team;
	return 0;
}

/* GOP/s of int8 dot products with all of a team's threads, or 0 where it is not known how. */
static double
int8_roof(Team *team)
{
	double narrow;

	if (kernels_by_name("avx512"))
		return chains_roof(team, dot_part, 2 * 64 * 8);
	narrow = narrow_int8_roof(team);
	if (narrow > 0 || !kernels_by_name("avx2"))
		return narrow;
	return chains_roof(team, pairs_part, 2 * 32 * 8);
}

/* GFLOP/s of F32 with all of a team's threads, or 0 where it is not known how. */
static inline double
float_roof(Team *team)
{
	if (kernels_by_name("avx512"))
		return chains_roof(team, float_part, 2 * 16 * 10);
	return kernels_by_name("avx2") ? chains_roof(team, narrow_float_part, 2 * 8 * 10) : 0;
}
#else
static double
int8_roof(Team *team)
{
	(void) team;
	return 0;
}

static inline double
float_roof(Team *team)
{
	(void) team;
	return 0;
}
#endif

#endif
