/*
 * memory.h - how much memory is left for a model, and making memory files real.
 */
#ifndef QWEN_MEMORY_H
#define QWEN_MEMORY_H

#include "../base/status.h"

/* Bytes that can be had: MemAvailable, or what the cgroup (v2, v1) leaves if that is less. UINT64_MAX when nobody says.
 */
extern uint64_t memory_available(void);

#endif
