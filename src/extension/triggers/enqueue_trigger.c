/*
 * enqueue_trigger.c - qwen_enqueue_trigger and qwen_enqueue_embed_trigger('target column', 'template' [, 'name=value'
 * …]).
 *
 * A row that wants an answer (trigger_values.c) is queued by its primary key, in the same transaction: rolled back, it
 * was never queued. A statement that gives the target a value takes back what is queued of the row. A worker of the
 * table's owner reads the row as it is then, asks the model, and writes the target column alone (write.c). That
 * write does not queue the row again (chain.c). What is queued knows the trigger and the key columns by number, so
 * that both can be renamed.
 *
 * What a trigger needs is worked out for its first row in a statement and kept with the call's FmgrInfo.
 */
#include "../core/core.h"

#include "../core/arguments.h"
#include "../core/shared_memory.h"
#include "../core/table_guard.h"
#include "../queue/queue.h"
#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "parser/parse_coerce.h"
#include "trigger_values.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
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
	Oid key_types[JOB_MAX_KEYS]; /* as which they are kept */
	Datum key_numbers;           /* smallint[] */
	bool needs_formats;          /* a key's text depends on settings */
	bool is_immediate;           /* no two rows ever have the same key, not even until the commit */
	int target;
	int64 first_moved; /* the first row that this statement queued again under a new key; 0: none */
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

/* Does a type's text depend on settings? Of those not named here it may. */
static bool
needs_formats(Oid type)
{
	switch (TypeCategory(type))
	{
		case TYPCATEGORY_STRING:
		case TYPCATEGORY_BOOLEAN:
		case TYPCATEGORY_ENUM:
		case TYPCATEGORY_BITSTRING:
			return false;
		case TYPCATEGORY_NUMERIC:
			return type == FLOAT4OID || type == FLOAT8OID || type == CASHOID;
		default:
			return type != UUIDOID;
	}
}

/* The columns of the key. */
static void
keep_keys(Enqueue *enqueue, const JobSpec *spec, TupleDesc columns)
{
	Datum numbers[JOB_MAX_KEYS];

	for (int i = 0; i < spec->n_keys; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(columns, spec->key_numbers[i] - 1);

		numbers[i] = Int16GetDatum(spec->key_numbers[i]);
		enqueue->keys[i] = spec->key_numbers[i];
		enqueue->key_types[i] = job_key_type(attribute->atttypid);
		enqueue->needs_formats |= needs_formats(enqueue->key_types[i]);
	}
	enqueue->n_keys = spec->n_keys;
	enqueue->key_numbers =
		PointerGetDatum(construct_array(numbers, spec->n_keys, INT2OID, sizeof(int16), true, TYPALIGN_SHORT));
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
	JobSpec *spec = job_spec_of_trigger(relation, data->tg_trigger, NULL, 0, memory);
	List *used;
	ListCell *cell;

	enqueue->memory = memory;
	enqueue->relation = RelationGetRelid(relation);
	job_store_require(&enqueue->store);
	guard_take(enqueue->store.row_table);
	job_check_owner(relation->rd_rel->relowner, function);
	(void) prompt_expression(spec->prompt, columns, function, &used);
	foreach (cell, used)
		enqueue->n_sources =
			add_sources(columns, SPI_fnumber(columns, lfirst(cell)), enqueue->sources, enqueue->n_sources);
	keep_keys(enqueue, spec, columns);
	enqueue->is_immediate = OidIsValid(job_key_index(relation, spec->key_numbers, spec->n_keys));
	enqueue->target = SPI_fnumber(columns, spec->target_column);
	MemoryContextSwitchTo(old);
	return enqueue;
}

/* Has an UPDATE given the row another key? */
static bool
has_new_key(const Enqueue *enqueue, const TriggerData *data, TupleDesc columns)
{
	if (TRIGGER_FIRED_BY_UPDATE(data->tg_event))
		for (int i = 0; i < enqueue->n_keys; i++)
			if (!row_value_is_same(columns, enqueue->keys[i], data->tg_trigtuple, data->tg_newtuple))
				return true;
	return false;
}

/* The row's key as text, written as workers read it, and the same whatever the session's settings: [n_keys]. */
static void
read_key(const Enqueue *enqueue, HeapTuple row, TupleDesc columns, char **key)
{
	int level = enqueue->needs_formats ? NewGUCNestLevel() : 0;

	if (enqueue->needs_formats)
		job_set_key_formats();
	for (int i = 0; i < enqueue->n_keys; i++)
	{
		Oid output;
		bool is_varlena, is_null;
		Datum value = heap_getattr(row, enqueue->keys[i], columns, &is_null);

		getTypeOutputInfo(enqueue->key_types[i], &output, &is_varlena);
		key[i] = is_null ? pstrdup("") : OidOutputFunctionCall(output, value);
	}
	if (enqueue->needs_formats)
		AtEOXact_GUC(false, level);
}

/* The statement that queues a row, made once in a session. In SPI. */
static SPIPlanPtr
queue_plan(const JobStore *store)
{
	static SPIPlanPtr plan;
	static char *plan_table; /* by name, as the statement has it: the schema may be renamed */
	static bool plan_is_old;
	Oid types[7] = {OIDOID, OIDOID, TEXTOID, TEXTARRAYOID, OIDOID, INT2ARRAYOID, INT8ARRAYOID};
	bool is_old = store->is_old;
	SPIPlanPtr made;
	JobIdentity identity;

	if (plan && strcmp(plan_table, store->row) == 0 && plan_is_old == is_old)
		return plan;
	if (plan)
		SPI_freeplan(plan);
	plan = NULL;
	job_identity_begin(store, &identity);
	/* until the extension is updated its table is an older version's, which the rows do well enough with */
	made =
		SPI_prepare(psprintf(is_old ? "INSERT INTO %s (owner, relation, trigger, key) VALUES ($1, $2, $3, $4)"
									: "INSERT INTO %s (owner, relation, trigger, key, trigger_oid, key_numbers, via) "
									  "VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id",
							 store->row),
					is_old ? 4 : 7, types);
	if (!made || SPI_keepplan(made) != 0)
		ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR),
						errmsg("rows cannot be queued: %s", SPI_result_code_string(SPI_result))));
	job_identity_end(&identity);
	if (plan_table)
		pfree(plan_table);
	plan_table = NULL;
	plan_table = MemoryContextStrdup(TopMemoryContext, store->row);
	plan = made;
	plan_is_old = is_old;
	return plan;
}

/*
 * Put a row into the queue; in SPI, as the owner of the queue. The session's search path holds: the statement has no
 * name that would be looked up in it, and to set another one for each row would take longer than the rest. Its id, or 0
 * in an older version's table.
 */
static int64
insert_row(const Enqueue *enqueue, const TriggerData *data, Oid owner, Datum key, bool has_via, Datum via)
{
	Datum values[7] = {ObjectIdGetDatum(owner),
					   ObjectIdGetDatum(enqueue->relation),
					   CStringGetTextDatum(data->tg_trigger->tgname),
					   key,
					   ObjectIdGetDatum(data->tg_trigger->tgoid),
					   enqueue->key_numbers,
					   via};
	SPIPlanPtr plan = queue_plan(&enqueue->store);
	bool is_old = enqueue->store.is_old, is_null;
	Oid user;
	int security;

	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(enqueue->store.owner, security | SECURITY_LOCAL_USERID_CHANGE);
	if (SPI_execute_plan(plan, values, has_via ? NULL : "      n", false, 0) !=
		(is_old ? SPI_OK_INSERT : SPI_OK_INSERT_RETURNING))
		ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("a row could not be queued")));
	SetUserIdAndSecContext(user, security);
	if (is_old)
		return 0;
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null));
}

/* The statement that takes rows back, made once in a session. In SPI. */
static SPIPlanPtr
take_back_plan(const JobStore *store)
{
	static SPIPlanPtr plan;
	static char *plan_table;
	Oid types[6] = {OIDOID, TEXTARRAYOID, OIDOID, TEXTOID, INT8OID, BOOLOID};
	SPIPlanPtr made;
	JobIdentity identity;

	if (plan && strcmp(plan_table, store->row) == 0)
		return plan;
	if (plan)
		SPI_freeplan(plan);
	plan = NULL;
	job_identity_begin(store, &identity);
	made = SPI_prepare(psprintf("DELETE FROM %s WHERE relation OPERATOR(pg_catalog.=) $1 "
								"AND pg_catalog.hash_array(key) OPERATOR(pg_catalog.=) pg_catalog.hash_array($2) "
								"AND key OPERATOR(pg_catalog.=) $2 "
								"AND (trigger_oid OPERATOR(pg_catalog.=) $3 OR trigger OPERATOR(pg_catalog.=) $4) "
								"AND id OPERATOR(pg_catalog.<) $5 AND ($6 OR NOT dead)",
								store->row),
					   6, types);
	if (!made || SPI_keepplan(made) != 0)
		ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR),
						errmsg("rows cannot be taken back: %s", SPI_result_code_string(SPI_result))));
	job_identity_end(&identity);
	if (plan_table)
		pfree(plan_table);
	plan_table = NULL;
	plan_table = MemoryContextStrdup(TopMemoryContext, store->row);
	plan = made;
	return plan;
}

/*
 * Take back what is queued under a key, of before a row of the queue: the row has a value of its own now, or goes by
 * another key. A worker that writes the answer at this moment is waited for. dead: letters as well. Was there anything?
 * In SPI.
 */
static bool
take_back(const Enqueue *enqueue, const TriggerData *data, Datum key, int64 before, bool dead)
{
	Datum values[6] = {ObjectIdGetDatum(enqueue->relation),
					   key,
					   ObjectIdGetDatum(data->tg_trigger->tgoid),
					   CStringGetTextDatum(data->tg_trigger->tgname),
					   Int64GetDatum(before),
					   BoolGetDatum(dead)};
	SPIPlanPtr plan;
	Oid user;
	int security;

	/* an older version's table has no such columns, and no worker until it is updated */
	if (enqueue->store.is_old)
		return false;
	plan = take_back_plan(&enqueue->store);
	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(enqueue->store.owner, security | SECURITY_LOCAL_USERID_CHANGE);
	if (SPI_execute_plan(plan, values, NULL, false, 0) != SPI_OK_DELETE)
		ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("a queued row could not be taken back")));
	SetUserIdAndSecContext(user, security);
	return SPI_processed > 0;
}

/*
 * What is queued under the row's old key. Only what was there before this statement: what it queued itself under that
 * key is another row's, which has moved there.
 */
static bool
take_back_old_key(const Enqueue *enqueue, const TriggerData *data, TupleDesc columns)
{
	char *key[JOB_MAX_KEYS];

	read_key(enqueue, data->tg_trigtuple, columns, key);
	return take_back(enqueue, data, job_text_array(key, enqueue->n_keys),
					 enqueue->first_moved > 0 ? enqueue->first_moved : PG_INT64_MAX, false);
}

/*
 * What is queued under the key that a row comes to, of before this statement: of a row that had it and is gone. Where
 * keys may be twice until the commit, it may be a row's that is about to leave.
 */
static void
take_back_stale(const Enqueue *enqueue, const TriggerData *data, Datum key)
{
	if (enqueue->is_immediate)
		(void) take_back(enqueue, data, key, enqueue->first_moved > 0 ? enqueue->first_moved : PG_INT64_MAX, true);
}

static Datum
enqueue_row(FunctionCallInfo fcinfo, const char *function)
{
	const TriggerData *data = (TriggerData *) fcinfo->context;
	Enqueue *enqueue;
	TupleDesc columns;
	HeapTuple row;
	Oid owner;
	char *key[JOB_MAX_KEYS];
	Datum via = (Datum) 0;
	bool is_answer = job_chain_runs(), moved, came, wanted, kept;
	RowWork work;
	int64 id;

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
	work = trigger_work(data, enqueue->sources, enqueue->n_sources, enqueue->target);
	moved = has_new_key(enqueue, data, columns);
	wanted = work == ROW_WANTS_ANSWER;
	/* an answer that comes in is no value that somebody gives */
	kept = work == ROW_KEEPS_VALUE && !is_answer;
	came = moved || (TRIGGER_FIRED_BY_INSERT(data->tg_event) && !wanted && !kept);
	if (!came && !wanted && !kept)
		return PointerGetDatum(NULL);
	row = TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_newtuple : data->tg_trigtuple;
	owner = data->tg_relation->rd_rel->relowner;
	read_key(enqueue, row, columns, key);
	SPI_connect();
	/* a row that waits goes on waiting under its new key; one that is filled in has nothing to wait for */
	if (moved && take_back_old_key(enqueue, data, columns))
		wanted = wanted || work != ROW_KEEPS_VALUE;
	if (came)
		take_back_stale(enqueue, data, job_text_array(key, enqueue->n_keys));
	if (kept)
		(void) take_back(enqueue, data, job_text_array(key, enqueue->n_keys), PG_INT64_MAX, true);
	if (!wanted || (is_answer && !job_chain_extend(enqueue->relation, data->tg_trigger->tgoid, data->tg_trigger->tgname,
												   key, enqueue->n_keys, &via)))
	{
		SPI_finish();
		return PointerGetDatum(NULL);
	}
	id = insert_row(enqueue, data, owner, job_text_array(key, enqueue->n_keys), is_answer, via);
	if (moved && enqueue->first_moved == 0)
		enqueue->first_moved = id;
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
