/*
 * hearing.h - what a trigger that queues hears of: each row's new key, and, of all else, what its definition says.
 */
#ifndef QWEN_HEARING_H
#define QWEN_HEARING_H

#include "../core/core.h"

#include "commands/trigger.h"
#include "nodes/bitmapset.h"
#include "nodes/execnodes.h"

/* The columns that rows of a table are queued by. */
typedef struct KeyColumns
{
	Bitmapset *columns; /* by attribute number less the lowest; NULL: there is no key */
	bool change_unset;  /* a statement may change them without setting them */
} KeyColumns;

/* A trigger by its definition, for the time of a statement. */
typedef struct Hearing
{
	bool is_conditional; /* it does not fire for all rows that are inserted or updated; else nothing else is known */
	bool is_enabled, has_updates, has_insertions;
	Bitmapset *columns; /* of UPDATE OF, as keys; NULL: all */
	EState *state;
	ExprState *when; /* NULL: there is none */
	KeyColumns keys;
} Hearing;

/* In the memory that the statement has. */
extern void hearing_begin(Hearing *hearing, const TriggerData *data);

/* Does the trigger fire for its row as it was made; else it has been called for the row's key alone. */
extern bool hearing_fires(const Hearing *hearing, const TriggerData *data);

/* The WHEN of a trigger over a row in the outer slot (NEW) and one in the inner (OLD). */
extern ExprState *hearing_when(const Trigger *trigger, Relation relation, EState *state);

#endif
