/*
 * memory.h - how much memory is left for a model.
 */
#ifndef QWEN_MEMORY_H
#define QWEN_MEMORY_H

#include "../base/status.h"

/* Bytes that can be had: MemAvailable, or what the cgroups (v2, v1) leave if that is less. UINT64_MAX when nobody says.
 */
extern uint64_t memory_available(void);

#endif
