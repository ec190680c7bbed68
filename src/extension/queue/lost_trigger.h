/*
 * lost_trigger.h - a look at statements that take a trigger from rows that wait; see lost_trigger.c.
 */
#ifndef QWEN_LOST_TRIGGER_H
#define QWEN_LOST_TRIGGER_H

#include "../core/core.h"

/* Hear of them. */
extern void job_lost_trigger_init(void);

#endif
