/*
 * extract_trigger.c - qwen_extract_trigger('source column', 'target column', or several: '{a,b}' [, 'name=value' ...]).
 *
 * A row's columns are filled in by one call, with values of their types. Each column follows the triggers' rule by
 * itself: one that the statement gives a value keeps it, and the model is not asked for it.
 */
#include "../core/core.h"

#include "../core/arguments.h"
#include "../core/shared_memory.h"
#include "../core/texts.h"
#include "../functions/functions.h"
#include "../queue/queue.h"
#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "trigger_call.h"
#include "trigger_values.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#define NAME "qwen_extract_trigger"

/* The number of the source column, which is of a type of text. */
static int
source_column(Relation relation, const char *name)
{
	TupleDesc columns = RelationGetDescr(relation);
	int column = SPI_fnumber(columns, name);

	if (column <= 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg(NAME ": table \"%s\" has no column \"%s\"", RelationGetRelationName(relation), name),
						trigger_column_hint()));
	if (!is_text_type(TupleDescAttr(columns, column - 1)->atttypid))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg(NAME ": column \"%s\" of table \"%s\" is not of type text or varchar", name,
							   RelationGetRelationName(relation))));
	check_trigger_source(relation, column, NAME);
	return column;
}

/* The columns of a row that the trigger fills in. */
typedef struct Targets
{
	int n, *numbers;
	char **names;
} Targets;

static Targets
target_columns(Relation relation, const char *argument, int source)
{
	Targets targets;

	targets.names = job_read_targets(relation, argument, &targets.n);
	targets.numbers = palloc(sizeof *targets.numbers * targets.n);
	for (int i = 0; i < targets.n; i++)
	{
		job_check_target(relation, targets.names[i], NULL, true);
		targets.numbers[i] = SPI_fnumber(RelationGetDescr(relation), targets.names[i]);
		if (targets.numbers[i] == source)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg(NAME ": the answer of column \"%s\" cannot be made from the column itself",
								   targets.names[i])));
	}
	return targets;
}

/* The columns that have to be filled in now. */
static Targets
wanted_of(const TriggerData *data, int source, const Targets *targets)
{
	Targets wanted = {0, palloc(sizeof(int) * targets->n), palloc(sizeof(char *) * targets->n)};

	for (int i = 0; i < targets->n; i++)
	{
		if (trigger_work(data, &source, 1, targets->numbers[i]) != ROW_WANTS_ANSWER)
			continue;
		wanted.names[wanted.n] = targets->names[i];
		wanted.numbers[wanted.n++] = targets->numbers[i];
	}
	return wanted;
}

/* A row with columns of another one of the same type; NULL: with NULL in them. */
static HeapTuple
with_columns(HeapTuple row, TupleDesc columns, const Targets *targets, HeapTupleHeader other)
{
	Datum *values = palloc0(sizeof *values * targets->n);
	bool *nulls = palloc(sizeof *nulls * targets->n);

	if (targets->n == 0)
		return row;
	for (int i = 0; i < targets->n; i++)
	{
		nulls[i] = true;
		if (other)
			values[i] = GetAttributeByNum(other, (AttrNumber) targets->numbers[i], &nulls[i]);
	}
	return heap_modify_tuple_by_cols(row, columns, targets->n, targets->numbers, values, nulls);
}

static Datum
extract_row_of(FunctionCallInfo fcinfo, TriggerData *data)
{
	Targets targets, wanted;
	HeapTupleHeader answer = NULL;
	NullableDatum *tail;
	TupleDesc columns;
	HeapTuple row;
	Datum value;
	int source;
	bool is_null;

	columns = RelationGetDescr(data->tg_relation);
	source = source_column(data->tg_relation, data->tg_trigger->tgargs[0]);
	targets = target_columns(data->tg_relation, data->tg_trigger->tgargs[1], source);
	tail = trigger_tail(data->tg_trigger, 2, NAME,
						"Further arguments look like 'name=value', with the names of qwen_extract's common arguments.");
	row = TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_newtuple : data->tg_trigtuple;
	wanted = wanted_of(data, source, &targets);
	value = heap_getattr(row, source, columns, &is_null);
	if (wanted.n > 0 && !is_null)
	{
		List *names = NIL;

		for (int i = 0; i < wanted.n; i++)
			names = lappend(names, wanted.names[i]);
		answer = extract_row(value_as_text(TupleDescAttr(columns, source - 1)->atttypid, value),
							 data->tg_relation->rd_rel->reltype, names, tail);
	}
	return PointerGetDatum(with_columns(row, columns, &wanted, answer));
}

QWEN_FUNCTION(qwen_extract_trigger, 0, 0)
{
	return trigger_call(fcinfo, NAME, extract_row_of);
}
