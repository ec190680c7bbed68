/*
 * progress.h - the list of what statements have done so far; see progress.c.
 */
#ifndef QWEN_WATCH_PROGRESS_H
#define QWEN_WATCH_PROGRESS_H

#include "watch.h"

extern Size progress_memory_bytes(void);
extern void progress_init_memory(void);

#endif
