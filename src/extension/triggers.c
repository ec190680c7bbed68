/*
 * triggers.c - qwen_summarize_trigger('source column', 'target column' [, max_words]).
 */
#include "qwen_pg.h"

#include "access/htup_details.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "model_call.h"
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
						errmsg("qwen_summarize_trigger: table \"%s\" has no column \"%s\"", table, name)));
	type = TupleDescAttr(descriptor, column - 1)->atttypid;
	if (type != TEXTOID && type != VARCHAROID)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("qwen_summarize_trigger: column \"%s\" of table \"%s\" is not of type text or varchar",
							   name, table)));
	return column;
}

static void
check_use(FunctionCallInfo fcinfo)
{
	TriggerData *data = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("qwen_summarize_trigger must be called as a trigger")));
	if (!TRIGGER_FIRED_BEFORE(data->tg_event) || !TRIGGER_FIRED_FOR_ROW(data->tg_event) ||
		!(TRIGGER_FIRED_BY_INSERT(data->tg_event) || TRIGGER_FIRED_BY_UPDATE(data->tg_event)))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("qwen_summarize_trigger must be a BEFORE INSERT OR UPDATE trigger FOR EACH ROW")));
	if (data->tg_trigger->tgnargs < 2 || data->tg_trigger->tgnargs > 3)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("qwen_summarize_trigger takes 2 or 3 arguments, not %d", data->tg_trigger->tgnargs),
				 errhint("EXECUTE FUNCTION qwen_summarize_trigger('source column', 'target column', 'max words')")));
}

/* On UPDATE: does the target stay as it is? Only if the source is the same and, where there is one, a summary is there.
 */
static bool
is_up_to_date(TriggerData *data, TupleDesc descriptor, int source, int target)
{
	bool old_null, new_null, target_null;
	Datum old_value, new_value;

	if (!TRIGGER_FIRED_BY_UPDATE(data->tg_event))
		return false;
	old_value = heap_getattr(data->tg_trigtuple, source, descriptor, &old_null);
	new_value = heap_getattr(data->tg_newtuple, source, descriptor, &new_null);
	(void) heap_getattr(data->tg_newtuple, target, descriptor, &target_null);
	if (old_null || new_null)
		return old_null && new_null;
	return !target_null && DatumGetBool(DirectFunctionCall2Coll(texteq, C_COLLATION_OID, old_value, new_value));
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

/* What is put into a varchar(n) column must fit, as in any assignment. */
static Datum
fit_column(TupleDesc descriptor, int column, text *value)
{
	Form_pg_attribute attribute = TupleDescAttr(descriptor, column - 1);

	if (attribute->atttypid != VARCHAROID || attribute->atttypmod < 0)
		return PointerGetDatum(value);
	return DirectFunctionCall3(varchar, PointerGetDatum(value), Int32GetDatum(attribute->atttypmod),
							   BoolGetDatum(false));
}

/* A summary that is to be made. */
typedef struct Summary
{
	text *input, *summary;
	int max_words;
} Summary;

static void
make_summary(void *argument)
{
	Summary *wanted = argument;

	wanted->summary = summarize(wanted->input, wanted->max_words, NULL, 0);
}

QWEN_FUNCTION(qwen_summarize_trigger, 0, 0)
{
	TriggerData *data = (TriggerData *) fcinfo->context;
	int source, target, max_words;
	TupleDesc descriptor;
	HeapTuple row;
	const char *table;
	Datum value;
	bool is_null;

	require_preloaded();
	check_use(fcinfo);
	descriptor = RelationGetDescr(data->tg_relation);
	table = RelationGetRelationName(data->tg_relation);
	source = text_column(descriptor, data->tg_trigger->tgargs[0], table);
	target = text_column(descriptor, data->tg_trigger->tgargs[1], table);
	max_words = max_words_argument(data->tg_trigger);
	row = TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_newtuple : data->tg_trigtuple;
	if (is_up_to_date(data, descriptor, source, target))
		return PointerGetDatum(row);
	value = heap_getattr(row, source, descriptor, &is_null);
	if (!is_null)
	{
		Summary wanted = {DatumGetTextPP(value), NULL, max_words};

		is_null = !value_or_null(make_summary, &wanted);
		value = is_null ? (Datum) 0 : fit_column(descriptor, target, wanted.summary);
	}
	return PointerGetDatum(heap_modify_tuple_by_cols(row, descriptor, 1, &target, &value, &is_null));
}
