/*
 * privilege_hint.h - an error for want of EXECUTE says how it is granted; see privilege_hint.c.
 */
#ifndef QWEN_PRIVILEGE_HINT_H
#define QWEN_PRIVILEGE_HINT_H

#include "../core/core.h"

/* Set the hook of the executor. */
extern void privilege_hint_init(void);

#endif
