/*
 * own_transaction.h - a piece of work that needs a transaction, wherever it is asked for.
 */
#ifndef QWEN_OWN_TRANSACTION_H
#define QWEN_OWN_TRANSACTION_H

#include "core.h"

/*
 * Run body in the transaction that is open, or, where there is none (job workers between theirs), in one of its own,
 * which is rolled back when body raises. What body makes for the caller belongs into a context that the caller names;
 * current memory context and resource owner are afterwards what they were.
 */
extern void own_transaction(void (*body)(void *argument), void *argument);

#endif
