/*
 * literal_messages.h - literals that are messages; see literal_messages.c.
 */
#ifndef QWEN_LITERAL_MESSAGES_H
#define QWEN_LITERAL_MESSAGES_H

#include "../core/core.h"

/* Set the hook. */
extern void literal_messages_init(void);

#endif
