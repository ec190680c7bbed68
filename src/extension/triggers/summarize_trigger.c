/*
 * summarize_trigger.c - qwen_summarize_trigger('source column', 'target column' [, max_words [, 'name=value' …]]).
 */
#include "../core/core.h"

#include "../call/call.h"
#include "../core/arguments.h"
#include "../core/shared_memory.h"
#include "../core/texts.h"
#include "../functions/functions.h"
#include "../queue/queue.h"
#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "trigger_call.h"
#include "trigger_values.h"
#include "utils/builtins.h"
#include "utils/rel.h"

/* The number of a text column that a trigger's argument names. */
static int
text_column(TupleDesc descriptor, const char *name, const char *table)
{
	int column = SPI_fnumber(descriptor, name);
	Oid type;

	if (column <= 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("qwen_summarize_trigger: table \"%s\" has no column \"%s\"", table, name),
						trigger_column_hint()));
	type = TupleDescAttr(descriptor, column - 1)->atttypid;
	if (!is_text_type(type))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("qwen_summarize_trigger: column \"%s\" of table \"%s\" is not of type text or varchar",
							   name, table)));
	return column;
}

/* The third argument, a number in words. */
static int
max_words_argument(const Trigger *trigger)
{
	char *end;
	long words;

	if (trigger->tgnargs < 3)
		return SUMMARY_MAX_WORDS;
	errno = 0;
	words = strtol(trigger->tgargs[2], &end, 10);
	if (end == trigger->tgargs[2] || *end || errno || words < 1 || words > SUMMARY_WORDS_LIMIT)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("qwen_summarize_trigger: max words must be a number between 1 and %d, not \"%s\"",
							   SUMMARY_WORDS_LIMIT, trigger->tgargs[2])));
	return (int) words;
}

/* Source and target must be two columns, neither of which is computed by the table. */
static void
check_columns(Relation relation, int source, int target)
{
	const char *name = NameStr(TupleDescAttr(RelationGetDescr(relation), target - 1)->attname);

	if (source == target)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("qwen_summarize_trigger: the answer of column \"%s\" cannot be made from the column itself",
						name)));
	check_trigger_source(relation, source, "qwen_summarize_trigger");
	if (TupleDescAttr(RelationGetDescr(relation), target - 1)->attgenerated)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("qwen_summarize_trigger: column \"%s\" of table \"%s\" is a generated column", name,
							   RelationGetRelationName(relation)),
						errhint("Write the summary into a column of its own.")));
}

/* A summary that is to be made. */
typedef struct Summary
{
	text *input, *summary;
	int max_words;
	const NullableDatum *tail; /* or NULL */
} Summary;

static void
make_summary(void *argument)
{
	Summary *wanted = argument;

	wanted->summary = summarize(wanted->input, wanted->max_words, wanted->tail);
}

static Datum
summarize_row(FunctionCallInfo fcinfo, TriggerData *data)
{
	int source, target, max_words;
	TupleDesc descriptor;
	HeapTuple row;
	const char *table;
	Form_pg_attribute column;
	Datum value;
	bool is_null;

	descriptor = RelationGetDescr(data->tg_relation);
	table = RelationGetRelationName(data->tg_relation);
	source = text_column(descriptor, data->tg_trigger->tgargs[0], table);
	target = text_column(descriptor, data->tg_trigger->tgargs[1], table);
	max_words = max_words_argument(data->tg_trigger);
	check_columns(data->tg_relation, source, target);
	row = TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_newtuple : data->tg_trigtuple;
	if (trigger_work(data, &source, 1, target) != ROW_WANTS_ANSWER)
		return PointerGetDatum(row);
	column = TupleDescAttr(descriptor, target - 1);
	value = heap_getattr(row, source, descriptor, &is_null);
	is_null = is_null || text_is_blank(DatumGetTextPP(value));
	if (!is_null)
	{
		Summary wanted = {
			value_as_text(TupleDescAttr(descriptor, source - 1)->atttypid, value), NULL, max_words,
			trigger_tail(data->tg_trigger, 3, "qwen_summarize_trigger",
						 "Arguments behind max words look like 'name=value', with the names of qwen_summarize's "
						 "common arguments.")};

		is_null = !value_or_null(make_summary, &wanted) || !wanted.summary;
		value = PointerGetDatum(wanted.summary);
	}
	value = assign_value(column, TEXTOID, value, &is_null);
	return PointerGetDatum(heap_modify_tuple_by_cols(row, descriptor, 1, &target, &value, &is_null));
}

QWEN_FUNCTION(qwen_summarize_trigger, 0, 0)
{
	return trigger_call(fcinfo, "qwen_summarize_trigger", summarize_row);
}
