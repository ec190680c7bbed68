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

/*
 * Run body, which only looks, in a subtransaction that is undone however it ends: no lock of it stays, and an error of
 * it keeps nobody from going on. That error, in the caller's memory context, or NULL; one that ends the statement (a
 * cancel, a shutdown) is raised again.
 */
extern ErrorData *error_of_look(void (*body)(void *argument), void *argument);

#endif
