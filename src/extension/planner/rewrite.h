/*
 * rewrite.h - puts batching nodes into finished plans.
 */
#ifndef QWEN_REWRITE_H
#define QWEN_REWRITE_H

#include "../core/core.h"

extern void batch_plan_init(void);

#endif
