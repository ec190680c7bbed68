/*
 * planner.h - the room's door: plain SQL batched; see planner.c.
 */
#ifndef QWEN_PLANNER_H
#define QWEN_PLANNER_H

#include "../core/core.h"

/* Set the hooks of planner and executor. */
extern void planner_init(void);

#endif
