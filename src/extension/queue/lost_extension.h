/*
 * lost_extension.h - what goes with the extension is said; see lost_extension.c.
 */
#ifndef QWEN_LOST_EXTENSION_H
#define QWEN_LOST_EXTENSION_H

#include "../core/core.h"

/* Hear of statements that drop it. */
extern void job_lost_extension_init(void);

#endif
