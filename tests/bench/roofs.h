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

/* Independent chains of dot products (VNNI) in registers. */
__attribute__((target("avx512f,avx512vnni"))) static void
dot_part(void *argument, int thread)
{
	__m512i acc[8], x = _mm512_set1_epi32(0x01020304);

	(void) argument;
	(void) thread;
#pragma GCC unroll 8
	for (int i = 0; i < 8; i++)
		acc[i] = x;
	for (int round = 0; round < ROOF_ROUNDS; round++)
#pragma GCC unroll 8
		for (int i = 0; i < 8; i++)
		{
			acc[i] = _mm512_dpbusd_epi32(acc[i], x, x);
			__asm__("" : "+v"(acc[i]));
		}
#pragma GCC unroll 8
	for (int i = 1; i < 8; i++)
		acc[0] = _mm512_add_epi32(acc[0], acc[i]);
	sink += (uint64_t) _mm_cvtsi128_si64(_mm512_castsi512_si128(acc[0]));
}

/* Independent chains of fused multiplications and additions in registers. */
__attribute__((target("avx512f"))) static void
float_part(void *argument, int thread)
{
	__m512 acc[10], x = _mm512_set1_ps(0.5f);

	(void) argument;
	(void) thread;
#pragma GCC unroll 10
	for (int i = 0; i < 10; i++)
		acc[i] = x;
	for (int round = 0; round < ROOF_ROUNDS; round++)
#pragma GCC unroll 10
		for (int i = 0; i < 10; i++)
		{
			acc[i] = _mm512_fmadd_ps(acc[i], x, x);
			__asm__("" : "+v"(acc[i]));
		}
#pragma GCC unroll 10
	for (int i = 1; i < 10; i++)
		acc[0] = _mm512_add_ps(acc[0], acc[i]);
	sink += (uint64_t) _mm_cvtsi128_si64(_mm512_castsi512_si128(_mm512_castps_si512(acc[0])));
}

static void
dot_work(void *team)
{
	team_run(team, dot_part, NULL);
}

/* compilers that know AVX-VNNI */
#if defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11
/* The same by registers of 256 bits. */
__attribute__((target("avx2,avxvnni"))) static void
narrow_dot_part(void *argument, int thread)
{
	__m256i acc[8], x = _mm256_set1_epi32(0x01020304);

	(void) argument;
	(void) thread;
#pragma GCC unroll 8
	for (int i = 0; i < 8; i++)
		acc[i] = x;
	for (int round = 0; round < ROOF_ROUNDS; round++)
#pragma GCC unroll 8
		for (int i = 0; i < 8; i++)
		{
			acc[i] = _mm256_dpbusd_avx_epi32(acc[i], x, x);
			__asm__("" : "+x"(acc[i]));
		}
#pragma GCC unroll 8
	for (int i = 1; i < 8; i++)
		acc[0] = _mm256_add_epi32(acc[0], acc[i]);
	sink += (uint64_t) _mm_cvtsi128_si64(_mm256_castsi256_si128(acc[0]));
}

static void
narrow_dot_work(void *team)
{
	team_run(team, narrow_dot_part, NULL);
}

/* GOP/s by AVX-VNNI with all of a team's threads, or 0 where the processor has it not. */
static double
narrow_int8_roof(Team *team)
{
	if (!kernels_by_name("avxvnni"))
		return 0;
	return 2.0 * 32 * 8 * ROOF_ROUNDS * team_size(team) / best_seconds(3, narrow_dot_work, team) * 1e-9;
}
#else
static double
narrow_int8_roof(Team *team)
{
	(void) team;
	return 0;
}
#endif

/*
 * The most that AVX2 could do, which has no dot product: 32 products to a multiplication, summed in 16 bits. A product
 * that keeps its sums widens them now and then, too.
 */
__attribute__((target("avx2"))) static void
pairs_part(void *argument, int thread)
{
	__m256i acc[8], x = _mm256_set1_epi32(0x01020304);

	(void) argument;
	(void) thread;
#pragma GCC unroll 8
	for (int i = 0; i < 8; i++)
		acc[i] = x;
	for (int round = 0; round < ROOF_ROUNDS; round++)
#pragma GCC unroll 8
		for (int i = 0; i < 8; i++)
		{
			__m256i w = x;

			__asm__ volatile("" : "+x"(w)); /* which would be computed once */
			acc[i] = _mm256_add_epi16(acc[i], _mm256_maddubs_epi16(x, w));
			__asm__("" : "+x"(acc[i]));
		}
#pragma GCC unroll 8
	for (int i = 1; i < 8; i++)
		acc[0] = _mm256_add_epi32(acc[0], acc[i]);
	sink += (uint64_t) _mm_cvtsi128_si64(_mm256_castsi256_si128(acc[0]));
}

static void
pairs_work(void *team)
{
	team_run(team, pairs_part, NULL);
}

static void
float_work(void *team)
{
	team_run(team, float_part, NULL);
}

/* float_part() by registers of 256 bits. */
__attribute__((target("avx2,fma"))) static void
narrow_float_part(void *argument, int thread)
{
	__m256 acc[10], x = _mm256_set1_ps(0.5f);

	(void) argument;
	(void) thread;
#pragma GCC unroll 10
	for (int i = 0; i < 10; i++)
		acc[i] = x;
	for (int round = 0; round < ROOF_ROUNDS; round++)
#pragma GCC unroll 10
		for (int i = 0; i < 10; i++)
		{
			acc[i] = _mm256_fmadd_ps(acc[i], x, x);
			__asm__("" : "+x"(acc[i]));
		}
#pragma GCC unroll 10
	for (int i = 1; i < 10; i++)
		acc[0] = _mm256_add_ps(acc[0], acc[i]);
	sink += (uint64_t) _mm_cvtsi128_si64(_mm256_castsi256_si128(_mm256_castps_si256(acc[0])));
}

static void
narrow_float_work(void *team)
{
	team_run(team, narrow_float_part, NULL);
}

/* GOP/s of int8 dot products with all of a team's threads, or 0 where it is not known how. */
static double
int8_roof(Team *team)
{
	if (!kernels_by_name("avx512"))
	{
		double narrow = narrow_int8_roof(team);

		if (narrow > 0 || !kernels_by_name("avx2"))
			return narrow;
		return 2.0 * 32 * 8 * ROOF_ROUNDS * team_size(team) / best_seconds(3, pairs_work, team) * 1e-9;
	}
	return 2.0 * 64 * 8 * ROOF_ROUNDS * team_size(team) / best_seconds(3, dot_work, team) * 1e-9;
}

/* GFLOP/s of F32 with all of a team's threads, or 0 where it is not known how. */
static inline double
float_roof(Team *team)
{
	if (!kernels_by_name("avx512"))
	{
		if (!kernels_by_name("avx2"))
			return 0;
		return 2.0 * 8 * 10 * ROOF_ROUNDS * team_size(team) / best_seconds(3, narrow_float_work, team) * 1e-9;
	}
	return 2.0 * 16 * 10 * ROOF_ROUNDS * team_size(team) / best_seconds(3, float_work, team) * 1e-9;
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
