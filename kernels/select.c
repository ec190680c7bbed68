/*
 * select.c - which table runs on this CPU.
 */
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

#include "formats.h"

typedef struct Candidate
{
	const Kernels *kernels;
	bool (*can_run)(void);
} Candidate;

static bool
always(void)
{
	return true;
}

#if defined(__x86_64__)
/* clang's __builtin_cpu_supports does not know this one before version 16 */
static bool
has_f16c(void)
{
	unsigned a, b, c, d;

	return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

static bool
has_avx2(void)
{
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
}

static bool
has_avx512(void)
{
	return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
		   __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
		   __builtin_cpu_supports("avx512vnni");
}

#if defined(QWEN_AVXVNNI_EVEX)
/* built for tests, with the other encoding (lanes_avxvnni.h) */
#define has_avxvnni has_avx512
#elif defined(QWEN_AVXVNNI_VEX)
/* The compiler's own list has had it for a shorter time than the instructions: bit 4 of EAX of leaf 7, subleaf 1. */
static bool
has_avxvnni(void)
{
	unsigned a, b, c, d;

	return has_avx2() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1u << 4);
}
#endif
#endif

#if defined(__aarch64__)
/* All have NEON; from ARMv8.2 on some, and from 8.4 on all, have its dot products. */
static bool
has_dot_product(void)
{
	return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
}

#if defined(QWEN_I8MM)
/* Products of matrices of bytes, from ARMv8.6 on; older headers of the system have no name for it. */
static bool
has_i8mm(void)
{
	return has_dot_product() && (getauxval(AT_HWCAP2) & 1ul << 13) != 0;
}
#endif
#endif

/* Best first. */
static const Candidate candidates[] = {
#if defined(__x86_64__)
	{&kernels_avx512, has_avx512},
#if defined(QWEN_AVXVNNI_VEX) || defined(QWEN_AVXVNNI_EVEX)
	{&kernels_avxvnni, has_avxvnni},
#endif
	{&kernels_avx2, has_avx2},
#endif
#if defined(__aarch64__)
#if defined(QWEN_I8MM)
	{&kernels_i8mm, has_i8mm},
#endif
	{&kernels_neon, has_dot_product},
#endif
	{&kernels_portable, always},
};

#define N_CANDIDATES (sizeof candidates / sizeof candidates[0])

/* Asked of the processor once: in a virtual machine a question goes to the host and takes tens of microseconds, and
 * each request asks. */
static bool
runs_here(size_t i)
{
	static _Atomic unsigned char known[N_CANDIDATES]; /* 0: not asked yet; 1: no; 2: yes */
	unsigned char answer = atomic_load_explicit(&known[i], memory_order_relaxed);

	if (answer == 0)
	{
		answer = candidates[i].can_run() ? 2 : 1;
		atomic_store_explicit(&known[i], answer, memory_order_relaxed);
	}
	return answer == 2;
}

const Kernels *
kernels_by_name(const char *name)
{
	for (size_t i = 0; i < N_CANDIDATES; i++)
		if (strcmp(candidates[i].kernels->name, name) == 0)
			return runs_here(i) ? candidates[i].kernels : NULL;
	return NULL;
}

const Kernels *
kernels_of_this_cpu(size_t i)
{
	for (size_t c = 0; c < N_CANDIDATES; c++)
		if (runs_here(c) && i-- == 0)
			return candidates[c].kernels;
	return NULL;
}

const Kernels *
kernels_select(void)
{
	const char *wanted = getenv("QWEN_ISA");
	const Kernels *kernels = wanted ? kernels_by_name(wanted) : NULL;

	for (size_t i = 0; !kernels; i++)
		if (runs_here(i))
			kernels = candidates[i].kernels;
	return kernels;
}
