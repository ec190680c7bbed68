/*
 * new_trigger.h - a look at triggers that are made; see new_trigger.c.
 */
#ifndef QWEN_NEW_TRIGGER_H
#define QWEN_NEW_TRIGGER_H

#include "../core/core.h"

/* Hear of them. */
extern void job_new_trigger_init(void);

#endif
