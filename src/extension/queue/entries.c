/*
 * entries.c - how triggers put rows into the queue, and take them back.
 *
 * What is queued knows the trigger and the key columns by number, so that both can be renamed. The statements are
 * prepared once in a session.
 */
#include "entries.h"

#include "../client/client.h"
#include "../core/statement.h"
#include "../core/table_guard.h"
#include "../core/texts.h"
#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "chain.h"
#include "keys.h"
#include "miscadmin.h"
#include "parameters.h"
#include "parser/parse_coerce.h"
#include "prompt_template.h"
#include "requests.h"
#include "settle.h"
#include "spec.h"
#include "store.h"
#include "utils/array.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "values.h"

typedef struct Entries
{
	JobEntries shown; /* to triggers */
	JobStore store;
	int keys[JOB_MAX_KEYS];
	Oid key_types[JOB_MAX_KEYS]; /* as which they are kept */
	Datum key_numbers;           /* smallint[] */
	bool needs_formats;          /* a key's text depends on settings */
} Entries;

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
keep_keys(Entries *entries, const JobSpec *spec, TupleDesc columns)
{
	for (int i = 0; i < spec->n_keys; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(columns, spec->key_numbers[i] - 1);

		entries->keys[i] = spec->key_numbers[i];
		entries->key_types[i] = job_key_type(attribute->atttypid);
		entries->needs_formats |= needs_formats(entries->key_types[i]);
	}
	entries->shown.n_keys = spec->n_keys;
	entries->shown.keys = entries->keys;
	entries->key_numbers = job_int2_array(spec->key_numbers, spec->n_keys);
}

/* A statement is not lost for a model that is not there now; but who wrote the trigger should hear of it. */
static void
warn_of_missing_model(const JobSpec *spec, Relation relation)
{
	char *name = spec->request.model.length > 0 ? server_text(spec->request.model) : NULL;
	int64 tried_ms = 0;

	if (engine_awaits_model(name))
		return;
	for (int i = 0; i < spec->max_attempts - 1; i++)
		tried_ms += job_backoff_ms(i);
	ereport(WARNING,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 name ? errmsg("model \"%s\" of trigger \"%s\" is not loaded", name, spec->trigger)
				  : errmsg("no model is loaded, which trigger \"%s\" needs", spec->trigger),
			 spec->max_attempts > 1 ? errdetail("Rows are queued and tried %d times within " INT64_FORMAT
												" s; those that do not find it are dead letters then.",
												spec->max_attempts, tried_ms / 1000)
									: errdetail("Rows are queued and tried once; those that do not find it are dead "
												"letters then."),
			 errhint("qwen_models lists the models that there are. When it is loaded, SELECT qwen_retry_table(%s) "
					 "tries dead letters again.",
					 quote_literal_cstr(quote_qualified_identifier(get_namespace_name(RelationGetNamespace(relation)),
																   RelationGetRelationName(relation))))));
}

/* What the queue needs to know of a table and its key. */
static void
keep_table(Entries *entries, const JobSpec *spec, Relation relation)
{
	keep_keys(entries, spec, RelationGetDescr(relation));
	entries->shown.is_immediate = OidIsValid(job_key_index(relation, spec->key_numbers, spec->n_keys));
	entries->shown.relation = RelationGetRelid(relation);
}

JobEntries *
job_entries_of(const TriggerData *data, const char *function)
{
	Relation relation = data->tg_relation;
	TupleDesc columns = RelationGetDescr(relation);
	Entries *entries = palloc0(sizeof *entries);
	JobSpec *spec = job_spec_of_trigger(relation, data->tg_trigger, NULL, 0, CurrentMemoryContext);

	job_store_require(&entries->store);
	guard_take(entries->store.row_table);
	job_check_owner(relation->rd_rel->relowner, function);
	warn_of_missing_model(spec, relation);
	(void) prompt_expression(spec->prompt, columns, function, &entries->shown.prompt_columns);
	keep_table(entries, spec, relation);
	entries->shown.n_targets = spec->n_targets;
	entries->shown.targets = palloc(sizeof(int) * spec->n_targets);
	for (int i = 0; i < spec->n_targets; i++)
		entries->shown.targets[i] = SPI_fnumber(columns, spec->targets[i]);
	return &entries->shown;
}

JobEntries *
job_entries_by_key(Relation relation)
{
	Entries *entries = palloc0(sizeof *entries);
	JobSpec *spec = palloc0(sizeof *spec);

	if (!job_spec_keys_of(spec, relation) || !job_store_find(&entries->store))
		return NULL;
	guard_take(entries->store.row_table);
	keep_table(entries, spec, relation);
	return &entries->shown;
}

Bitmapset *
job_entries_key_columns(Relation relation)
{
	JobSpec *spec = palloc0(sizeof *spec);
	Bitmapset *columns = NULL;

	(void) job_spec_keys_of(spec, relation);
	for (int i = 0; i < spec->n_keys; i++)
		columns = bms_add_member(columns, spec->key_numbers[i] - FirstLowInvalidHeapAttributeNumber);
	return columns;
}

char **
job_entries_key(const JobEntries *shown, HeapTuple row, TupleDesc columns)
{
	const Entries *entries = (const Entries *) shown;
	char **key = palloc(sizeof *key * shown->n_keys);
	int level = entries->needs_formats ? NewGUCNestLevel() : 0;

	if (entries->needs_formats)
		job_set_key_formats();
	for (int i = 0; i < shown->n_keys; i++)
	{
		Oid output;
		bool is_varlena, is_null;
		Datum value = heap_getattr(row, entries->keys[i], columns, &is_null);

		getTypeOutputInfo(entries->key_types[i], &output, &is_varlena);
		key[i] = is_null ? pstrdup("") : OidOutputFunctionCall(output, value);
	}
	if (entries->needs_formats)
		AtEOXact_GUC(false, level);
	return key;
}

/* A statement over the queue, and of which table by name: its schema may be renamed. */
typedef struct KeptPlan
{
	SPIPlanPtr plan; /* NULL: there is none */
	const char *statement;
	char *table;
} KeptPlan;

/* The plan of a statement (%s: the table), made once in a session. refusal: what cannot be done without it. In SPI. */
static SPIPlanPtr
keep_plan(KeptPlan *kept, const JobStore *store, const char *statement, int n, Oid *types, const char *refusal)
{
	SPIPlanPtr made;
	JobIdentity identity;

	if (kept->plan && strcmp(kept->table, store->row) == 0 && kept->statement == statement)
		return kept->plan;
	if (kept->plan)
		SPI_freeplan(kept->plan);
	kept->plan = NULL;
	job_identity_begin(store, &identity);
	made = SPI_prepare(psprintf(statement, store->row), n, types);
	if (!made || SPI_keepplan(made) != 0)
		ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("%s: %s", refusal, SPI_result_code_string(SPI_result))));
	job_identity_end(&identity);
	if (kept->table)
		pfree(kept->table);
	kept->table = NULL;
	kept->table = MemoryContextStrdup(TopMemoryContext, store->row);
	kept->statement = statement;
	kept->plan = made;
	return made;
}

/*
 * Run one as the owner of the queue. The session's search path holds: the statements have no name that would be looked
 * up in it, and to set another one for each row would take longer than the rest.
 */
static void
run_plan(const JobStore *store, SPIPlanPtr plan, Datum *values, const char *nulls, int expected, const char *refusal)
{
	Oid user;
	int security;

	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(store->owner, security | SECURITY_LOCAL_USERID_CHANGE);
	if (SPI_execute_plan(plan, values, nulls, false, 0) != expected)
		ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("%s", refusal)));
	SetUserIdAndSecContext(user, security);
}

/* The target columns of a set as smallint[]. */
static Datum
numbers_in(const JobEntries *shown, const Bitmapset *set)
{
	AttrNumber *numbers = palloc(sizeof *numbers * Max(shown->n_targets, 1));
	int n = 0;

	for (int i = 0; i < shown->n_targets; i++)
		if (bms_is_member(shown->targets[i], set))
			numbers[n++] = (AttrNumber) shown->targets[i];
	return job_int2_array(numbers, n);
}

/*
 * The last commands of this transaction that have put something into the queue, by how many executors ran inside of
 * each other: where none has since a row was made, deeper than the row's own statement, nothing needs to be looked for.
 */
#define MOST_DEPTHS 8
typedef struct Queueing
{
	TransactionId transaction;
	CommandId last[MOST_DEPTHS];
	bool is_blurred; /* entries that were there have been written: theirs is not the command that made them */
} Queueing;
static Queueing queueing;

/* Something was put into the queue; or else what was there was written. */
static void
note_queued(bool is_new)
{
	TransactionId transaction = GetTopTransactionIdIfAny();

	if (queueing.transaction != transaction)
		queueing = (Queueing){.transaction = transaction};
	queueing.last[Min(statement_depth(), MOST_DEPTHS - 1)] = GetCurrentCommandId(false);
	queueing.is_blurred |= !is_new;
}

/* May a statement inside of the one that runs have put something into the queue, after a command? */
static bool
may_be_queued_inside(CommandId command)
{
	if (queueing.transaction != GetTopTransactionIdIfAny() || queueing.is_blurred)
		return false;
	for (int depth = statement_depth() + 1; depth < MOST_DEPTHS; depth++)
		if (queueing.last[depth] > command)
			return true;
	return false;
}

bool
job_entries_add(const JobEntries *shown, const TriggerData *data, char *const *key, const Bitmapset *wanted, int64 *id)
{
	static KeptPlan kept;
	static const char insert[] =
		"INSERT INTO %s (owner, relation, trigger, key, trigger_oid, key_numbers, via, target_numbers) "
		"VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING id";
	/* until the extension is updated its table is an older version's, which the rows do well enough with */
	static const char insert_old[] = "INSERT INTO %s (owner, relation, trigger, key) VALUES ($1, $2, $3, $4)";
	const Entries *entries = (const Entries *) shown;
	const Trigger *trigger = data->tg_trigger;
	bool is_old = entries->store.is_old, is_answer = job_chain_runs();
	bool is_whole = bms_num_members(wanted) == shown->n_targets;
	Datum via = (Datum) 0;
	Oid owner = data->tg_relation->rd_rel->relowner;
	Oid types[8] = {OIDOID, OIDOID, TEXTOID, TEXTARRAYOID, OIDOID, INT2ARRAYOID, INT8ARRAYOID, INT2ARRAYOID};
	char nulls[] = "        ";

	if (is_answer && !job_chain_extend(shown->relation, trigger->tgoid, trigger->tgname, key, shown->n_keys, &via))
		return false;
	nulls[6] = is_answer ? ' ' : 'n';
	nulls[7] = is_whole ? 'n' : ' ';
	run_plan(
		&entries->store,
		keep_plan(&kept, &entries->store, is_old ? insert_old : insert, is_old ? 4 : 8, types, "rows cannot be queued"),
		(Datum[]){ObjectIdGetDatum(owner), ObjectIdGetDatum(shown->relation), CStringGetTextDatum(trigger->tgname),
				  job_text_array(key, shown->n_keys), ObjectIdGetDatum(trigger->tgoid), entries->key_numbers, via,
				  is_whole ? (Datum) 0 : numbers_in(shown, wanted)},
		nulls, is_old ? SPI_OK_INSERT : SPI_OK_INSERT_RETURNING, "a row could not be queued");
	*id = is_old ? 0 : result_int8(0, 1);
	note_queued(true);
	job_request_worker(owner);
	return true;
}

/* Of which row and trigger entries are: $1 to $5. Those of before the primary key was exchanged go by other columns: of
 * the same values they are another row's. */
#define OF_ROW                                                                                                         \
	"relation OPERATOR(pg_catalog.=) $1 "                                                                              \
	"AND pg_catalog.hash_array(key) OPERATOR(pg_catalog.=) pg_catalog.hash_array($2) "                                 \
	"AND key OPERATOR(pg_catalog.=) $2 "                                                                               \
	"AND (trigger_oid OPERATOR(pg_catalog.=) $3 OR trigger OPERATOR(pg_catalog.=) $4) "                                \
	"AND (key_numbers OPERATOR(pg_catalog.=) $5 OR key_numbers IS NULL)"
#define OF_ROW_TYPES OIDOID, TEXTARRAYOID, OIDOID, TEXTOID, INT2ARRAYOID
#define N_OF_ROW 5

/* The parameters that say so; the others follow them. */
static void
bind_row_of(const Entries *entries, Oid trigger, const TriggerData *data, char *const *key, Datum *values)
{
	values[0] = ObjectIdGetDatum(entries->shown.relation);
	values[1] = job_text_array(key, entries->shown.n_keys);
	values[2] = ObjectIdGetDatum(trigger);
	values[3] = CStringGetTextDatum(data->tg_trigger->tgname);
	values[4] = entries->key_numbers;
}

static void
bind_row(const Entries *entries, const TriggerData *data, char *const *key, Datum *values)
{
	bind_row_of(entries, data->tg_trigger->tgoid, data, key, values);
}

/* Add the target columns that a deleted entry was for. */
static void
add_waited(const JobEntries *shown, int row, Bitmapset **waited)
{
	bool is_whole;
	Datum array = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, 1, &is_whole);
	Datum *numbers;
	bool *nulls;
	int n;

	if (is_whole)
	{
		for (int i = 0; i < shown->n_targets; i++)
			*waited = bms_add_member(*waited, shown->targets[i]);
		return;
	}
	deconstruct_array(DatumGetArrayTypeP(array), INT2OID, sizeof(int16), true, TYPALIGN_SHORT, &numbers, &nulls, &n);
	for (int i = 0; i < n; i++)
		*waited = bms_add_member(*waited, DatumGetInt16(numbers[i]));
}

void
job_entries_take_back(const JobEntries *shown, const TriggerData *data, char *const *key, int64 before, bool dead,
					  Bitmapset **waited)
{
	static KeptPlan kept;
	static const char take_back[] = "DELETE FROM %s WHERE " OF_ROW
									" AND id OPERATOR(pg_catalog.<) $6 AND ($7 OR NOT dead) RETURNING target_numbers";
	const Entries *entries = (const Entries *) shown;
	Oid types[N_OF_ROW + 2] = {OF_ROW_TYPES, INT8OID, BOOLOID};
	Datum values[N_OF_ROW + 2];

	/* an older version's table has no such columns, and no worker until it is updated */
	if (entries->store.is_old)
		return;
	bind_row(entries, data, key, values);
	values[N_OF_ROW] = Int64GetDatum(before);
	values[N_OF_ROW + 1] = BoolGetDatum(dead);
	run_plan(&entries->store,
			 keep_plan(&kept, &entries->store, take_back, N_OF_ROW + 2, types, "rows cannot be taken back"), values,
			 NULL, SPI_OK_DELETE_RETURNING, "a queued row could not be taken back");
	for (uint64 i = 0; waited && i < SPI_processed; i++)
		add_waited(shown, (int) i, waited);
}

void
job_entries_take_back_columns(const JobEntries *shown, const TriggerData *data, char *const *key, int64 before,
							  const Bitmapset *kept_columns)
{
	static KeptPlan kept_less, kept_none;
	static const char less[] =
		"UPDATE %s SET target_numbers = ARRAY(SELECT c FROM pg_catalog.unnest(coalesce(target_numbers, $7)) c "
		"WHERE NOT c OPERATOR(pg_catalog.=) ANY ($6)) WHERE " OF_ROW " AND id OPERATOR(pg_catalog.<) $8";
	static const char none[] =
		"DELETE FROM %s WHERE " OF_ROW " AND target_numbers OPERATOR(pg_catalog.=) '{}'::pg_catalog.int2[]";
	const Entries *entries = (const Entries *) shown;
	Oid types[N_OF_ROW + 3] = {OF_ROW_TYPES, INT2ARRAYOID, INT2ARRAYOID, INT8OID};
	Datum values[N_OF_ROW + 3];
	Bitmapset *all = NULL;

	if (entries->store.is_old)
		return;
	for (int i = 0; i < shown->n_targets; i++)
		all = bms_add_member(all, shown->targets[i]);
	bind_row(entries, data, key, values);
	values[N_OF_ROW] = numbers_in(shown, kept_columns);
	values[N_OF_ROW + 1] = numbers_in(shown, all);
	values[N_OF_ROW + 2] = Int64GetDatum(before);
	run_plan(&entries->store,
			 keep_plan(&kept_less, &entries->store, less, N_OF_ROW + 3, types, "rows cannot be taken back"), values,
			 NULL, SPI_OK_UPDATE, "a queued row could not be taken back");
	if (SPI_processed > 0)
		note_queued(false);
	run_plan(&entries->store,
			 keep_plan(&kept_none, &entries->store, none, N_OF_ROW, types, "rows cannot be taken back"), values, NULL,
			 SPI_OK_DELETE, "a queued row could not be taken back");
}

int64
job_entries_follow(const JobEntries *shown, const TriggerData *data, char *const *old_key, char *const *key,
				   int64 before)
{
	static KeptPlan kept;
	/* a letter that qwen_retry_table has just made wait again is followed as well */
	static const char follow[] =
		"UPDATE %s SET key = $6, id = DEFAULT WHERE " OF_ROW " AND id OPERATOR(pg_catalog.<) $7 RETURNING id, dead";
	const Entries *entries = (const Entries *) shown;
	Oid types[N_OF_ROW + 2] = {OF_ROW_TYPES, TEXTARRAYOID, INT8OID};
	Datum values[N_OF_ROW + 2];
	int64 first = 0;

	if (entries->store.is_old || job_chain_answers(shown->relation, data->tg_trigger->tgoid, old_key, shown->n_keys))
		return 0;
	bind_row(entries, data, old_key, values);
	values[N_OF_ROW] = job_text_array(key, shown->n_keys);
	values[N_OF_ROW + 1] = Int64GetDatum(before);
	run_plan(&entries->store,
			 keep_plan(&kept, &entries->store, follow, N_OF_ROW + 2, types, "a row's new key cannot be followed"),
			 values, NULL, SPI_OK_UPDATE_RETURNING, "a row's new key could not be followed");
	if (SPI_processed > 0)
		note_queued(true);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		int64 id = result_int8((int) i, 1);

		first = first == 0 ? id : Min(first, id);
		if (!DatumGetBool(result_value((int) i, 2)))
			job_request_worker(data->tg_relation->rd_rel->relowner);
	}
	return first;
}

/* Two tables' columns of the same names: their numbers in the one and in the other, as smallint[] each. */
static void
columns_of_both(Oid one, Oid other, Datum *in_one, Datum *in_other)
{
	AttrNumber numbers[MaxHeapAttributeNumber], others[MaxHeapAttributeNumber];
	char *name;
	int n = 0;

	/* one that was dropped has a name that no other has */
	for (AttrNumber i = 1; (name = get_attname(one, i, true)) != NULL; i++)
	{
		AttrNumber number = get_attnum(other, name);

		pfree(name);
		if (number <= 0)
			continue;
		numbers[n] = i;
		others[n++] = number;
	}
	*in_one = job_int2_array(numbers, n);
	*in_other = job_int2_array(others, n);
}

void
job_entries_come(const JobEntries *shown, const TriggerData *data, char *const *key, const JobEntries *from,
				 Oid from_trigger, char *const *from_key)
{
	static KeptPlan kept;
	/* partitions may have their columns in another order, and other owners */
	static const char come[] =
		"UPDATE %s SET relation = $6, key = $7, trigger_oid = $8, key_numbers = $9, owner = $10, id = DEFAULT, "
		"target_numbers = CASE WHEN target_numbers IS NOT NULL THEN ARRAY(SELECT c.there FROM "
		"ROWS FROM (pg_catalog.unnest($11), pg_catalog.unnest($12)) AS c(here, there) "
		"WHERE c.here OPERATOR(pg_catalog.=) ANY (target_numbers)) END WHERE " OF_ROW " RETURNING dead";
	const Entries *entries = (const Entries *) shown, *old = (const Entries *) from;
	Oid types[N_OF_ROW + 7] = {OF_ROW_TYPES, OIDOID, TEXTARRAYOID, OIDOID,
							   INT2ARRAYOID, OIDOID, INT2ARRAYOID, INT2ARRAYOID};
	Oid owner = data->tg_relation->rd_rel->relowner;
	Datum values[N_OF_ROW + 7];

	if (entries->store.is_old || old->store.is_old ||
		job_chain_answers(from->relation, from_trigger, from_key, from->n_keys))
		return;
	bind_row_of(old, from_trigger, data, from_key, values);
	values[N_OF_ROW] = ObjectIdGetDatum(shown->relation);
	values[N_OF_ROW + 1] = job_text_array(key, shown->n_keys);
	values[N_OF_ROW + 2] = ObjectIdGetDatum(data->tg_trigger->tgoid);
	values[N_OF_ROW + 3] = entries->key_numbers;
	values[N_OF_ROW + 4] = ObjectIdGetDatum(owner);
	columns_of_both(from->relation, shown->relation, &values[N_OF_ROW + 5], &values[N_OF_ROW + 6]);
	run_plan(&entries->store,
			 keep_plan(&kept, &entries->store, come, N_OF_ROW + 7, types, "a row's new partition cannot be followed"),
			 values, NULL, SPI_OK_UPDATE_RETURNING, "a row's new partition could not be followed");
	for (uint64 i = 0; i < SPI_processed; i++)
		if (!DatumGetBool(result_value((int) i, 1)))
			job_request_worker(owner);
}

int64
job_entries_newer(const JobEntries *shown, const TriggerData *data, char *const *key)
{
	static KeptPlan kept;
	static const char find[] = "SELECT id, xmin, cmin FROM %s WHERE " OF_ROW " ORDER BY id";
	const Entries *entries = (const Entries *) shown;
	HeapTupleHeader row = (TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_newtuple : data->tg_trigtuple)->t_data;
	Oid types[N_OF_ROW] = {OF_ROW_TYPES};
	Datum values[N_OF_ROW];
	CommandId command;

	if (entries->store.is_old || data->tg_trigger->tgdeferrable ||
		!TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(row)))
		return PG_INT64_MAX;
	command = HeapTupleHeaderGetCmin(row);
	if (!may_be_queued_inside(command))
		return PG_INT64_MAX;
	bind_row(entries, data, key, values);
	run_plan(&entries->store, keep_plan(&kept, &entries->store, find, N_OF_ROW, types, "the queue cannot be read"),
			 values, NULL, SPI_OK_SELECT, "the queue could not be read");
	for (uint64 i = 0; i < SPI_processed; i++)
		if (TransactionIdIsCurrentTransactionId(DatumGetTransactionId(result_value((int) i, 2))) &&
			DatumGetCommandId(result_value((int) i, 3)) > command)
			return result_int8((int) i, 1);
	return PG_INT64_MAX;
}

bool
job_entries_are_there(const JobEntries *shown, const TriggerData *data, char *const *key)
{
	static KeptPlan kept;
	static const char find[] = "SELECT 1 FROM %s WHERE " OF_ROW " LIMIT 1";
	const Entries *entries = (const Entries *) shown;
	Oid types[N_OF_ROW] = {OF_ROW_TYPES};
	Datum values[N_OF_ROW];

	if (entries->store.is_old)
		return false;
	bind_row(entries, data, key, values);
	run_plan(&entries->store, keep_plan(&kept, &entries->store, find, N_OF_ROW, types, "the queue cannot be read"),
			 values, NULL, SPI_OK_SELECT, "the queue could not be read");
	return SPI_processed > 0;
}

bool
job_trigger_queues(Oid function)
{
	const TriggerUse *use = trigger_use_of(get_func_name(function));
	JobStore store;

	/* most are told by their name, without a look at where the extension is */
	return use && use->queues && job_store_find(&store) && job_store_queues(&store, function);
}

bool
job_entries_are_answered(void)
{
	return job_chain_runs();
}
