/*
 * embed_trigger.c - qwen_embed_trigger('source column', 'target column' [, 'name=value' …]): the embedding of what is
 * inserted or changed, in the same transaction, into real[] or pgvector's vector.
 */
#include "../core/core.h"

#include "../call/call.h"
#include "../core/arguments.h"
#include "../core/shared_memory.h"
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

#define NAME "qwen_embed_trigger"

/* The number of the source column, which is of a type of text. */
static int
source_column(Relation relation, const char *name)
{
	TupleDesc columns = RelationGetDescr(relation);
	int column = SPI_fnumber(columns, name);
	Oid type = column > 0 ? TupleDescAttr(columns, column - 1)->atttypid : InvalidOid;

	if (column <= 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg(NAME ": table \"%s\" has no column \"%s\"", RelationGetRelationName(relation), name),
						trigger_column_hint()));
	if (!is_text_type(type))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg(NAME ": column \"%s\" of table \"%s\" is not of type text or varchar", name,
							   RelationGetRelationName(relation))));
	return column;
}

/* The arguments of qwen_embed from the trigger's further ones. */
static void
read_options(const Trigger *trigger, FunctionCallInfo call)
{
	trigger_refuse_twice(NAME, trigger->tgargs, 2, trigger->tgnargs);
	for (int i = 2; i < trigger->tgnargs; i++)
	{
		const char *argument = trigger->tgargs[i];

		if (strncmp(argument, "model=", 6) == 0)
			call->args[1] = (NullableDatum){CStringGetTextDatum(argument + 6), false};
		else if (strncmp(argument, "instruction=", 12) == 0)
			call->args[2] = (NullableDatum){CStringGetTextDatum(argument + 12), false};
		else if (strncmp(argument, "dimensions=", 11) == 0)
			call->args[3] =
				(NullableDatum){options_value_of_text("dimensions", pstrdup(argument + 11), INT4OID), false};
		else if (strncmp(argument, "options=", 8) == 0)
			call->args[4] = (NullableDatum){options_value_of_text("options", pstrdup(argument + 8), JSONOID), false};
		else
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg(NAME ": the argument \"%s\" is not known", argument),
							errhint("Further arguments look like 'name=value', with the names model, instruction, "
									"dimensions and options.")));
	}
}

static Datum
embed_row(FunctionCallInfo fcinfo, TriggerData *data)
{
	LOCAL_FCINFO(call, 5);
	int source, target;
	TupleDesc columns;
	HeapTuple row;
	Datum value;
	bool is_null;

	columns = RelationGetDescr(data->tg_relation);
	source = source_column(data->tg_relation, data->tg_trigger->tgargs[0]);
	job_check_target(data->tg_relation, data->tg_trigger->tgargs[1], &embed_function, true);
	target = SPI_fnumber(columns, data->tg_trigger->tgargs[1]);
	InitFunctionCallInfoData(*call, NULL, 5, InvalidOid, NULL, NULL);
	for (int i = 0; i < 5; i++)
		call->args[i] = (NullableDatum){(Datum) 0, true};
	read_options(data->tg_trigger, call);
	check_trigger_source(data->tg_relation, source, NAME);
	row = TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_newtuple : data->tg_trigtuple;
	if (trigger_work(data, &source, 1, target) != ROW_WANTS_ANSWER)
		return PointerGetDatum(row);
	value = heap_getattr(row, source, columns, &is_null);
	if (!is_null)
	{
		call->args[0].value = PointerGetDatum(value_as_text(TupleDescAttr(columns, source - 1)->atttypid, value));
		call->args[0].isnull = false;
	}
	value = model_call_run(call, &embed_function);
	is_null = call->isnull;
	value = assign_value(TupleDescAttr(columns, target - 1), FLOAT4ARRAYOID, value, &is_null);
	return PointerGetDatum(heap_modify_tuple_by_cols(row, columns, 1, &target, &value, &is_null));
}

QWEN_FUNCTION(qwen_embed_trigger, 0, 0)
{
	return trigger_call(fcinfo, NAME, embed_row);
}
