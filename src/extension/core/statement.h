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

/* Who keeps notes of a utility statement, from what happens in it to its end. */
typedef enum UtilityNote
{
	NOTE_OF_COLUMNS,
	NOTE_OF_EXTENSION,
	NOTE_OF_KEYS,
	NOTE_OF_LABELS,
	NOTE_OF_TRIGGERS,
	N_UTILITY_NOTES
} UtilityNote;

/* A utility statement that runs. They run inside of each other (event triggers run some), each with notes of its own,
 * which are gone with it when it fails. */
typedef struct UtilityStatement
{
	const Node *node;
	MemoryContext memory; /* of notes: there is nothing of it after the statement */
	void *notes[N_UTILITY_NOTES];
	struct UtilityStatement *outer;
} UtilityStatement;

/* The innermost of them; NULL: none runs, or it is CALL or DO, which are not told of when they are done. */
extern UtilityStatement *utility_statement(void);

/* Have heard called when a utility statement has been executed. One. */
extern void statement_when_utility_done(void (*heard)(const UtilityStatement *statement));

/* Have heard called when a utility statement of which there are notes has been executed, within its transaction, with
 * what it has done to be seen. One for each kind of notes. */
extern void statement_when_noted(UtilityNote note, void (*heard)(const UtilityStatement *statement));

/* Have heard called when a statement's executor has been started, and nothing has run yet. One. */
extern void statement_when_started(void (*heard)(QueryDesc *query));

/* Have heard called before a statement's executor ends, with its plan; and when the outermost has ended. One of the
 * first, several of the other. */
extern void statement_when_ending(void (*heard)(const PlannedStmt *plan));
extern void statement_when_ended(void (*heard)(void));

/* Have heard called when a statement about transactions (BEGIN, COMMIT PREPARED ...) has run. One. */
extern void statement_when_transaction(void (*heard)(const TransactionStmt *statement));

#endif
