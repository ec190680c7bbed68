/*
 * enqueue_trigger.c - qwen_enqueue_trigger and qwen_enqueue_embed_trigger('target column', 'template' [, 'name=value'
 * …]).
 *
 * A row that was inserted or whose source columns changed is queued by its primary key, in the same transaction: rolled
 * back, it was never queued. A worker of the table's owner reads the row as it is then, asks the model, and writes the
 * target column alone (job_write.c). That write changes no source column, so it queues nothing.
 *
 * What a trigger needs is worked out for its first row in a statement and kept with the call's FmgrInfo.
 */
#include "jobs.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "guard.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/float.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/* A trigger of one table, for the time of a statement. */
typedef struct Enqueue
{
	MemoryContext memory;
	Oid relation;
	JobStore store;
	int n_sources, sources[MaxHeapAttributeNumber];
	int n_keys, keys[JOB_MAX_KEYS];
	int target;
} Enqueue;

static void
check_use(FunctionCallInfo fcinfo, const char *function)
{
	const TriggerData *data = (TriggerData *) fcinfo->context;

	require_preloaded();
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s must be called as a trigger", function)));
	if (!TRIGGER_FIRED_AFTER(data->tg_event) || !TRIGGER_FIRED_FOR_ROW(data->tg_event) ||
		!(TRIGGER_FIRED_BY_INSERT(data->tg_event) || TRIGGER_FIRED_BY_UPDATE(data->tg_event)))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s must be an AFTER INSERT OR UPDATE trigger FOR EACH ROW", function)));
}

/* Check everything about the trigger, and keep what its rows need. */
static Enqueue *
prepare(FunctionCallInfo fcinfo, const TriggerData *data, const char *function)
{
	Relation relation = data->tg_relation;
	TupleDesc columns = RelationGetDescr(relation);
	MemoryContext memory = AllocSetContextCreate(fcinfo->flinfo->fn_mcxt, "qwen_pg enqueue", ALLOCSET_SMALL_SIZES);
	Enqueue *enqueue = MemoryContextAllocZero(memory, sizeof *enqueue);
	MemoryContext old = MemoryContextSwitchTo(memory);
	JobSpec *spec = job_spec_of_trigger(relation, data->tg_trigger, memory);
	List *used;
	ListCell *cell;

	enqueue->memory = memory;
	enqueue->relation = RelationGetRelid(relation);
	job_store_require(&enqueue->store);
	guard_take(enqueue->store.row_table);
	job_check_owner(relation->rd_rel->relowner, function);
	(void) prompt_expression(spec->prompt, columns, function, &used);
	foreach (cell, used)
		enqueue->sources[enqueue->n_sources++] = SPI_fnumber(columns, lfirst(cell));
	for (int i = 0; i < spec->n_keys; i++)
		enqueue->keys[enqueue->n_keys++] = SPI_fnumber(columns, spec->keys[i]);
	enqueue->target = SPI_fnumber(columns, spec->target_column);
	MemoryContextSwitchTo(old);
	return enqueue;
}

/* Is a column the same in both versions of a row? */
static bool
is_same(TupleDesc columns, int column, HeapTuple old_row, HeapTuple new_row)
{
	Form_pg_attribute attribute = TupleDescAttr(columns, column - 1);
	bool old_null, new_null;
	Datum old_value = heap_getattr(old_row, column, columns, &old_null);
	Datum new_value = heap_getattr(new_row, column, columns, &new_null);

	if (old_null || new_null)
		return old_null && new_null;
	return datum_image_eq(old_value, new_value, attribute->attbyval, attribute->attlen);
}

/* Does the row need another answer? */
static bool
has_work(const Enqueue *enqueue, const TriggerData *data, TupleDesc columns)
{
	bool is_null;

	if (TRIGGER_FIRED_BY_UPDATE(data->tg_event))
	{
		for (int i = 0; i < enqueue->n_sources; i++)
			if (!is_same(columns, enqueue->sources[i], data->tg_trigtuple, data->tg_newtuple))
				return true;
		/* a row under a new key is another row */
		for (int i = 0; i < enqueue->n_keys; i++)
			if (!is_same(columns, enqueue->keys[i], data->tg_trigtuple, data->tg_newtuple))
				return true;
		return false;
	}
	/* without any source there is no answer, and none is there already */
	for (int i = 0; i < enqueue->n_sources; i++)
	{
		(void) heap_getattr(data->tg_trigtuple, enqueue->sources[i], columns, &is_null);
		if (!is_null)
			return true;
	}
	(void) heap_getattr(data->tg_trigtuple, enqueue->target, columns, &is_null);
	return !is_null;
}

/* The row's key as text, written as workers read it. Most sessions write it so anyway, and settings take their time. */
static Datum
key_of(const Enqueue *enqueue, HeapTuple row, TupleDesc columns)
{
	bool is_usual = DateStyle == USE_ISO_DATES && IntervalStyle == INTSTYLE_POSTGRES && extra_float_digits > 0;
	char *key[JOB_MAX_KEYS];
	int level = is_usual ? 0 : NewGUCNestLevel();

	if (!is_usual)
		job_set_formats(GUC_ACTION_SAVE);
	for (int i = 0; i < enqueue->n_keys; i++)
		key[i] = SPI_getvalue(row, columns, enqueue->keys[i]);
	if (!is_usual)
		AtEOXact_GUC(false, level);
	return job_text_array(key, enqueue->n_keys);
}

/* The statement that queues a row, made once in a session. In SPI. */
static SPIPlanPtr
queue_plan(const JobStore *store)
{
	static SPIPlanPtr plan;
	static char *plan_table; /* by name, as the statement has it: the schema may be renamed */
	Oid types[4] = {OIDOID, OIDOID, TEXTOID, TEXTARRAYOID};
	SPIPlanPtr made;
	JobIdentity identity;

	if (plan && strcmp(plan_table, store->row) == 0)
		return plan;
	if (plan)
		SPI_freeplan(plan);
	plan = NULL;
	job_identity_begin(store, &identity);
	made = SPI_prepare(psprintf("INSERT INTO %s (owner, relation, trigger, key) VALUES ($1, $2, $3, $4)", store->row),
					   4, types);
	if (!made || SPI_keepplan(made) != 0)
		ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR),
						errmsg("rows cannot be queued: %s", SPI_result_code_string(SPI_result))));
	job_identity_end(&identity);
	if (plan_table)
		pfree(plan_table);
	plan_table = NULL;
	plan_table = MemoryContextStrdup(TopMemoryContext, store->row);
	plan = made;
	return plan;
}

/*
 * Put a row into the queue; in SPI, as the owner of the queue. The session's search path holds: the statement has no
 * name that would be looked up in it, and to set another one for each row would take longer than the rest.
 */
static void
insert_row(const Enqueue *enqueue, const TriggerData *data, Oid owner, Datum key)
{
	Datum values[4] = {ObjectIdGetDatum(owner), ObjectIdGetDatum(enqueue->relation),
					   CStringGetTextDatum(data->tg_trigger->tgname), key};
	SPIPlanPtr plan = queue_plan(&enqueue->store);
	Oid user;
	int security;

	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(enqueue->store.owner, security | SECURITY_LOCAL_USERID_CHANGE);
	if (SPI_execute_plan(plan, values, NULL, false, 0) != SPI_OK_INSERT)
		ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("a row could not be queued")));
	SetUserIdAndSecContext(user, security);
}

static Datum
enqueue_row(FunctionCallInfo fcinfo, const char *function)
{
	const TriggerData *data = (TriggerData *) fcinfo->context;
	Enqueue *enqueue;
	TupleDesc columns;
	HeapTuple row;
	Oid owner;

	check_use(fcinfo, function);
	enqueue = fcinfo->flinfo->fn_extra;
	if (!enqueue || enqueue->relation != RelationGetRelid(data->tg_relation))
	{
		fcinfo->flinfo->fn_extra = NULL;
		if (enqueue)
			MemoryContextDelete(enqueue->memory);
		enqueue = prepare(fcinfo, data, function);
		fcinfo->flinfo->fn_extra = enqueue;
	}
	columns = RelationGetDescr(data->tg_relation);
	if (!has_work(enqueue, data, columns))
		return PointerGetDatum(NULL);
	row = TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_newtuple : data->tg_trigtuple;
	owner = data->tg_relation->rd_rel->relowner;
	SPI_connect();
	insert_row(enqueue, data, owner, key_of(enqueue, row, columns));
	SPI_finish();
	job_request_worker(owner);
	return PointerGetDatum(NULL);
}

QWEN_FUNCTION(qwen_enqueue_trigger, 0, 0)
{
	return enqueue_row(fcinfo, "qwen_enqueue_trigger");
}

QWEN_FUNCTION(qwen_enqueue_embed_trigger, 0, 0)
{
	return enqueue_row(fcinfo, "qwen_enqueue_embed_trigger");
}
