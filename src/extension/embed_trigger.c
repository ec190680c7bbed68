/*
 * embed_trigger.c - qwen_embed_trigger('source column', 'target column' [, 'name=value' …]): the embedding of what is
 * inserted or changed, in the same transaction, into real[] or pgvector's vector.
 */
#include "jobs.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "model_call.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/rel.h"

#define NAME "qwen_embed_trigger"

static void
check_use(FunctionCallInfo fcinfo)
{
	const TriggerData *data = (TriggerData *) fcinfo->context;

	require_preloaded();
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg(NAME " must be called as a trigger")));
	if (!TRIGGER_FIRED_BEFORE(data->tg_event) || !TRIGGER_FIRED_FOR_ROW(data->tg_event) ||
		!(TRIGGER_FIRED_BY_INSERT(data->tg_event) || TRIGGER_FIRED_BY_UPDATE(data->tg_event)))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg(NAME " must be a BEFORE INSERT OR UPDATE trigger FOR EACH ROW")));
	if (data->tg_trigger->tgnargs < 2)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg(NAME " takes 2 or more arguments, not %d", data->tg_trigger->tgnargs),
						errhint("EXECUTE FUNCTION " NAME "('source column', 'target column', 'name=value', …)")));
}

/* The number of the source column, which is of a type of text. */
static int
source_column(Relation relation, const char *name)
{
	TupleDesc columns = RelationGetDescr(relation);
	int column = SPI_fnumber(columns, name);
	Oid type = column > 0 ? TupleDescAttr(columns, column - 1)->atttypid : InvalidOid;

	if (column <= 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg(NAME ": table \"%s\" has no column \"%s\"", RelationGetRelationName(relation), name)));
	if (type != TEXTOID && type != VARCHAROID)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg(NAME ": column \"%s\" of table \"%s\" is not of type text or varchar", name,
							   RelationGetRelationName(relation))));
	return column;
}

/* The arguments of qwen_embed from the trigger's further ones. */
static void
read_options(const Trigger *trigger, FunctionCallInfo call)
{
	for (int i = 2; i < trigger->tgnargs; i++)
	{
		const char *argument = trigger->tgargs[i];

		if (strncmp(argument, "model=", 6) == 0)
			call->args[1] = (NullableDatum){CStringGetTextDatum(argument + 6), false};
		else if (strncmp(argument, "instruction=", 12) == 0)
			call->args[2] = (NullableDatum){CStringGetTextDatum(argument + 12), false};
		else if (strncmp(argument, "dimensions=", 11) == 0)
			call->args[3] = (NullableDatum){DirectFunctionCall1(int4in, CStringGetDatum(argument + 11)), false};
		else
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg(NAME ": the argument \"%s\" is not known", argument),
							errhint("Further arguments look like 'name=value', with the names model, instruction "
									"and dimensions.")));
	}
}

/* Does the target stay as it is? Only if the source is the same and, where there is one, an embedding is there. */
static bool
is_up_to_date(const TriggerData *data, TupleDesc columns, int source, int target)
{
	bool old_null, new_null, target_null;
	Datum old_value, new_value;

	if (!TRIGGER_FIRED_BY_UPDATE(data->tg_event))
		return false;
	old_value = heap_getattr(data->tg_trigtuple, source, columns, &old_null);
	new_value = heap_getattr(data->tg_newtuple, source, columns, &new_null);
	(void) heap_getattr(data->tg_newtuple, target, columns, &target_null);
	if (old_null || new_null)
		return old_null && new_null;
	return !target_null && datum_image_eq(old_value, new_value, false, -1);
}

/* A real[] as a value of the target's type, as an assignment would make it. */
static Datum
assign(TupleDesc columns, int target, Datum embedding)
{
	Form_pg_attribute attribute = TupleDescAttr(columns, target - 1);
	Oid function;

	if (attribute->atttypid == FLOAT4ARRAYOID)
		return embedding;
	if (find_coercion_pathway(attribute->atttypid, FLOAT4ARRAYOID, COERCION_ASSIGNMENT, &function) !=
		COERCION_PATH_FUNC)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg(NAME ": column \"%s\" is of a type that an embedding cannot be made into here",
							   NameStr(attribute->attname)),
						errhint("Use real[] or pgvector's vector.")));
	return OidFunctionCall3(function, embedding, Int32GetDatum(attribute->atttypmod), BoolGetDatum(false));
}

QWEN_FUNCTION(qwen_embed_trigger, 0, 0)
{
	TriggerData *data = (TriggerData *) fcinfo->context;
	LOCAL_FCINFO(call, 4);
	int source, target;
	TupleDesc columns;
	HeapTuple row;
	Datum value;
	bool is_null;

	check_use(fcinfo);
	columns = RelationGetDescr(data->tg_relation);
	source = source_column(data->tg_relation, data->tg_trigger->tgargs[0]);
	job_check_target(data->tg_relation, data->tg_trigger->tgargs[1], JOB_EMBED);
	target = SPI_fnumber(columns, data->tg_trigger->tgargs[1]);
	InitFunctionCallInfoData(*call, NULL, 4, InvalidOid, NULL, NULL);
	for (int i = 0; i < 4; i++)
		call->args[i] = (NullableDatum){(Datum) 0, true};
	read_options(data->tg_trigger, call);
	row = TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_newtuple : data->tg_trigtuple;
	if (is_up_to_date(data, columns, source, target))
		return PointerGetDatum(row);
	call->args[0].value = heap_getattr(row, source, columns, &call->args[0].isnull);
	value = model_call_run(call, &embed_function);
	is_null = call->isnull;
	if (!is_null)
		value = assign(columns, target, value);
	return PointerGetDatum(heap_modify_tuple_by_cols(row, columns, 1, &target, &value, &is_null));
}
