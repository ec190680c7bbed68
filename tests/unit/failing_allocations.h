/*
 * failing_allocations.h - lets one allocation of the engine's rooms fail, or all from one on; for the tests that link
 * with --wrap (the Makefile's WRAP_ALLOCATIONS).
 *
 * Header only, since every test is a program of its own. What our own code asks for goes
 * through here, and jansson's memory with it (src/model/json_memory.h); what other libraries take does not.
 */
#ifndef FAILING_ALLOCATIONS_H
#define FAILING_ALLOCATIONS_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

extern void *__real_malloc(size_t bytes);
extern void *__real_calloc(size_t n, size_t bytes);
extern void *__real_realloc(void *old, size_t bytes);
extern void *__real_aligned_alloc(size_t alignment, size_t bytes);
extern void __real_free(void *memory);

void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t n, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t most);
void __wrap_free(void *memory);

static atomic_long allocations_seen;   /* since allocations_arm */
static atomic_long allocations_live;   /* taken and not freed */
static atomic_long allocation_to_fail; /* 0: none */
static atomic_bool allocations_stay_failed;

static bool
allocation_fails(void)
{
	long to_fail = atomic_load(&allocation_to_fail), number = atomic_fetch_add(&allocations_seen, 1) + 1;

	if (to_fail == 0 || number < to_fail || (number > to_fail && !atomic_load(&allocations_stay_failed)))
		return false;
	errno = ENOMEM;
	return true;
}

/* Let the n-th allocation from here on fail, and with stay all that follow. 0: none. */
static inline void
allocations_arm(long n, bool stay)
{
	atomic_store(&allocations_stay_failed, stay);
	atomic_store(&allocations_seen, 0);
	atomic_store(&allocation_to_fail, n);
}

/* No more failures. True when the one that was armed for has come. */
static inline bool
allocations_disarm(void)
{
	long to_fail = atomic_exchange(&allocation_to_fail, 0);

	return to_fail > 0 && atomic_load(&allocations_seen) >= to_fail;
}

static void *
counted(void *memory)
{
	if (memory)
		atomic_fetch_add(&allocations_live, 1);
	return memory;
}

void *
__wrap_malloc(size_t bytes)
{
	return allocation_fails() ? NULL : counted(__real_malloc(bytes));
}

void *
__wrap_calloc(size_t n, size_t bytes)
{
	return allocation_fails() ? NULL : counted(__real_calloc(n, bytes));
}

void *
__wrap_realloc(void *old, size_t bytes)
{
	if (allocation_fails())
		return NULL;
	return old ? __real_realloc(old, bytes) : counted(__real_realloc(NULL, bytes));
}

void *
__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
	return allocation_fails() ? NULL : counted(__real_aligned_alloc(alignment, bytes));
}

char *
__wrap_strndup(const char *text, size_t most)
{
	size_t length = strnlen(text, most);
	char *copy = __wrap_malloc(length + 1);

	if (copy)
	{
		memcpy(copy, text, length);
		copy[length] = '\0';
	}
	return copy;
}

char *
__wrap_strdup(const char *text)
{
	return __wrap_strndup(text, strlen(text));
}

void
__wrap_free(void *memory)
{
	if (memory)
		atomic_fetch_sub(&allocations_live, 1);
	__real_free(memory);
}

#endif
