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
#define MEMORY_CACHE_LEAST ((uint64_t) 64 << 20)   /* ... at least so much ... */
#define MEMORY_CACHE_ENOUGH ((uint64_t) 256 << 20) /* ... and so much where an eighth is less, if it is there */

/*
 * Bytes for keys and values where nobody has said how many: a share of all memory, and never more than three quarters
 * of what is left beside the models (available, and resident that they have already). total, available: UINT64_MAX
 * where nobody says.
 */
extern uint64_t memory_cache_share(uint64_t total, uint64_t available, uint64_t resident);

#endif
