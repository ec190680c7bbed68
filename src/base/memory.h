/*
 * memory.h - how much memory there is, how much of it is left, and what keys and values may take by themselves.
 *
 * Inside the engine's sandbox no file can be opened: there nobody says.
 */
#ifndef QWEN_MEMORY_H
#define QWEN_MEMORY_H

#include "status.h"

/* Bytes that can be had: MemAvailable, or what the cgroups (v2, v1) leave if that is less. UINT64_MAX when nobody says.
 */
extern uint64_t memory_available(void);

/* Bytes that there are in all: MemTotal, or the lowest limit of the cgroups. UINT64_MAX when nobody says. */
extern uint64_t memory_total(void);

#define MEMORY_CACHE_SHARE 8                       /* qwen.kv_cache_size = auto: this part of all memory ... */
#define MEMORY_CACHE_ENOUGH ((uint64_t) 256 << 20) /* ... and so much where that is less */
#define MEMORY_CACHE_LEAST ((uint64_t) 16 << 20)   /* as the setting's own bound */

/*
 * Bytes for keys and values: what is wanted (0: a share of all memory), but never more than three quarters of what is
 * left beside the models (available, and resident that they have already), so that they do not run out of memory one
 * day. total, available: UINT64_MAX where nobody says.
 */
extern uint64_t memory_cache_limit(uint64_t wanted, uint64_t total, uint64_t available, uint64_t resident);

#endif
