/*
 * supervisor.h - the room's door: the process that runs the engine, loads models and starts job workers.
 */
#ifndef QWEN_SUPERVISOR_H
#define QWEN_SUPERVISOR_H

#include "../core/core.h"

/* In the postmaster. */
extern void supervisor_register(void);

#endif
