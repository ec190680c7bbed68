/*
 * statement.h - which statement runs, and that it ends: the executor's hooks, for those who must know.
 */
#ifndef QWEN_STATEMENT_H
#define QWEN_STATEMENT_H

#include "core.h"

#include "executor/execdesc.h"
#include "nodes/parsenodes.h"
#include "nodes/plannodes.h"

/* Does the statement that runs, or whose AFTER triggers do, update a table that it names? Adds the columns that it sets
 * there, by attribute number less the lowest. */
extern bool executor_updates(Oid table, Bitmapset **columns);

/* Does it insert into a table that it names? */
extern bool executor_inserts(Oid table);

/* How many executors run inside of each other now. */
extern int statement_depth(void);

/* The query of the outermost executor that runs; NULL: none does, or a utility statement is around it. A cursor's runs
 * while rows are fetched from it. */
extern QueryDesc *statement_query(void);

/* Is what runs part of a utility statement (DO, CALL, CREATE INDEX, but not FETCH)? */
extern bool statement_is_utility(void);

/* Set the hooks. */
extern void statement_init(void);

/* Have heard called before a utility statement is executed. One. */
extern void statement_when_utility_begins(void (*heard)(const Node *statement));

/* Have heard called when a utility statement has been executed. Several. */
extern void statement_when_utility_done(void (*heard)(const Node *statement));

/* Have heard called before a statement's executor ends, with its plan; and when the outermost has ended. One of the
 * first, several of the other. */
extern void statement_when_ending(void (*heard)(const PlannedStmt *plan));
extern void statement_when_ended(void (*heard)(void));

/* Have heard called when a statement about transactions (BEGIN, COMMIT PREPARED ...) has run. One. */
extern void statement_when_transaction(void (*heard)(const TransactionStmt *statement));

#endif
