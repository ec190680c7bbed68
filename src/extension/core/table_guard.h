/*
 * table_guard.h - whether a table of the extension is guarded against rows that its functions did not write; see
 * table_guard.c.
 */
#ifndef QWEN_GUARD_H
#define QWEN_GUARD_H

#include "postgres.h"

/*
 * Before statements that write a table as its owner: keeps others from putting triggers on it until the transaction
 * ends, and raises 42501 where there is one already. On a standby nothing.
 */
extern void guard_take(Oid table);

/* In a transaction. A table without its guard was made by an older script, or somebody has taken the guard away. */
extern bool guard_is_on(Oid table);

#endif
