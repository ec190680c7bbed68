/*
 * trigger_values.h - when a trigger gives a row an answer, and values of any type as text and back.
 */
#ifndef QWEN_TRIGGER_VALUES_H
#define QWEN_TRIGGER_VALUES_H

#include "../core/core.h"

#include "access/htup.h"
#include "commands/trigger.h"
#include "utils/relcache.h"

typedef enum RowWork
{
	ROW_WANTS_ANSWER,
	ROW_HAS_NO_SOURCE, /* there is nothing to make an answer of */
	ROW_IS_UNCHANGED,
	ROW_KEEPS_VALUE, /* the statement gave the target one */
} RowWork;

/* What a trigger has to do for its row. sources, target: numbers of columns. */
extern RowWork trigger_work(const TriggerData *data, const int *sources, int n_sources, int target);

/* Is a column the same in both versions of a row? */
extern bool row_value_is_same(TupleDesc columns, int column, HeapTuple old_row, HeapTuple new_row);

/* A value as an assignment to the column would make it: cast, cut to its length or refused, held against its domain. */
extern Datum assign_value(Form_pg_attribute column, Oid type, Datum value, bool *is_null);

/* Is a type text, varchar, char(n), citext or a domain over one? And a value of such a type as text. */
extern bool is_text_type(Oid type);
extern text *value_as_text(Oid type, Datum value);

/* The common arguments from a trigger's further ones, 'name=value', behind the first n: [N_TAIL_ARGUMENTS]; NULL: there
 * are none. hint: what they may be. */
extern NullableDatum *trigger_tail(const Trigger *trigger, int n, const char *function, const char *hint);

/* Raise where a BEFORE trigger would not see a column's value. */
extern void check_trigger_source(Relation relation, int column, const char *function);

/* Add a column to sources[n], or those that it is computed from where no row has it; the number there is then. */
extern int add_sources(TupleDesc columns, int column, int *sources, int n);

#endif
