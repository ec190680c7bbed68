/*
 * rows.c - how a worker learns of its jobs and gets their rows, and how jobs end.
 *
 * A row of a job's query is taken by a claim: in one transaction the page is read, a row of qwen_job_row is
 * put down for each of its rows, and the job's position moves behind them. So after a crash all that is not finished is
 * either behind the position or has its claim, and never both.
 */
#include "rows.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "chain.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "floor.h"
#include "miscadmin.h"
#include "parameters.h"
#include "rights.h"
#include "row_sql.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "worker_transaction.h"

#define FIRST_PAUSE_MS 50
#define LAST_PAUSE_MS 2000
#define LOCKED_TABLE_MS 1000 /* how long rows of a table that is locked are left alone */

/* A row that is here already, by its spec and key. */
static JobRow *
find_row(JobWorker *worker, const JobSpec *spec, char *const *key)
{
	for (JobRow *row = worker->rows; row; row = row->next)
	{
		bool same = row->spec == spec;

		for (int i = 0; same && i < spec->n_keys; i++)
			same = strcmp(row->key[i], key[i]) == 0;
		if (same)
			return row;
	}
	return NULL;
}

static JobSpec *
find_job(const JobWorker *worker, int64 job)
{
	ListCell *cell;

	foreach (cell, worker->specs)
	{
		JobSpec *spec = lfirst(cell);

		if (!spec->trigger && spec->job == job)
			return spec;
	}
	return NULL;
}

static void
add_spec(JobWorker *worker, JobSpec *spec)
{
	MemoryContext old = MemoryContextSwitchTo(worker->memory);

	worker->specs = lappend(worker->specs, spec);
	MemoryContextSwitchTo(old);
}

/* Forget a spec and its rows. */
static void
drop_spec(JobWorker *worker, JobSpec *spec)
{
	JobRow *row = worker->rows;

	while (row)
	{
		JobRow *next = row->next;

		if (row->spec == spec)
			job_row_free(worker, row);
		row = next;
	}
	worker->specs = list_delete_ptr(worker->specs, spec);
	MemoryContextDelete(spec->memory);
}

void
job_rows_start_anew(JobWorker *worker)
{
	while (worker->specs != NIL)
		drop_spec(worker, linitial(worker->specs));
	job_floor_reset(worker);
	list_free(worker->locked);
	worker->locked = NIL;
	worker->last_id = 0;
	worker->calls_seen = UINT64_MAX;
	worker->look_for_rows = true;
	worker->next_try = 0;
	worker->extension = worker->job_table = worker->row_table = InvalidOid;
	worker->is_replaced = worker->is_gone = false;
}

/* Forget specs that are over, and triggers without rows that were not looked up lately. */
static void
drop_done_specs(JobWorker *worker)
{
	bool again = true;

	while (again)
	{
		ListCell *cell;

		again = false;
		foreach (cell, worker->specs)
		{
			JobSpec *spec = lfirst(cell);

			if (spec->is_done || (spec->trigger && spec->n_rows == 0 && spec->looked_at + 1 < worker->n_fetches))
			{
				drop_spec(worker, spec);
				again = true;
				break;
			}
		}
	}
}

/* Something that passes keeps a spec from being read now; it is told of unless it passes at once. */
static void
pause_spec(JobWorker *worker, JobSpec *spec, const char *why)
{
	int64 wait_ms = Min((int64) FIRST_PAUSE_MS << Min(spec->n_pauses, 8), LAST_PAUSE_MS);

	if (spec->n_pauses++ > 0)
		job_rows_trouble(worker, spec, why);
	spec->pause_until = TimestampTzPlusMilliseconds(job_clock(), wait_ms);
}

/* ---- values of SPI's result ---- */
static int64
int8_at(int row, int column, bool *is_null)
{
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, is_null));
}

static char *
string_at(int row, int column)
{
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);
}

static text *
text_at(int row, int column)
{
	char *value = string_at(row, column);

	return value ? cstring_to_text(value) : NULL;
}

/* ---- jobs there are ---- */
static void
refresh_body(JobWorker *worker, const JobStore *store, void *argument)
{
	Oid type = OIDOID;
	Datum value = ObjectIdGetDatum(worker->place.role);
	JobIdentity identity;
	ListCell *cell;
	int64 *jobs;
	int n;

	job_identity_begin(store, &identity);
	n = job_execute(psprintf("SELECT id FROM %s WHERE owner = $1 AND state IN ('queued', 'running') "
							 "ORDER BY priority DESC, id",
							 store->job),
					1, &type, &value, NULL, SPI_OK_SELECT, 0);
	jobs = palloc(sizeof *jobs * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		bool is_null;

		jobs[i] = int8_at(i, 1, &is_null);
	}
	foreach (cell, worker->specs)
	{
		JobSpec *spec = lfirst(cell);
		bool found = spec->trigger != NULL;

		for (int i = 0; i < n; i++)
			found |= jobs[i] == spec->job;
		spec->is_done |= !found;
	}
	for (int i = 0; i < n; i++)
		if (!find_job(worker, jobs[i]))
		{
			JobSpec *spec = job_store_load(store, jobs[i], worker->memory);

			if (spec)
				add_spec(worker, spec);
		}
	job_identity_end(&identity);
}

/* Jobs of higher priority first, then older ones; triggers before all. */
static int
compare_specs(const ListCell *a, const ListCell *b)
{
	const JobSpec *left = lfirst(a), *right = lfirst(b);

	if (left->priority != right->priority)
		return left->priority > right->priority ? -1 : 1;
	return left->job < right->job ? -1 : left->job > right->job;
}

bool
job_rows_refresh(JobWorker *worker)
{
	ErrorData *error;
	bool done = job_transaction(worker, refresh_body, NULL, &error);

	if (!done)
	{
		job_rows_trouble(worker, NULL, psprintf("the jobs could not be read: %s", error->message));
		ereport(LOG, (errmsg("qwen_pg: the jobs could not be read: %s", error->message)));
	}
	/* some may have been cancelled */
	job_announce_end();
	drop_done_specs(worker);
	list_sort(worker->specs, compare_specs);
	return done;
}

/* ---- rows ---- */
/* What one transaction of job_rows_fetch takes in; undone when it does not commit. */
typedef struct Fetch
{
	int n;          /* rows wanted */
	JobRow **added; /* [n] */
	int n_added;
	int n_seen; /* rows of qwen_job_row that were looked at */
	int64 last_id;
	JobSpec *spec; /* of the page or the keys that are read */
	JobRow **rows; /* whose prompts are read */
	int n_rows;
	bool *found;          /* [n_rows] */
	char **next_position; /* of spec, or NULL */
	bool next_exhausted;
} Fetch;

/* A row of qwen_job_row that waits. */
typedef struct Queued
{
	int64 id, job;       /* job: 0 of a trigger's */
	Oid relation;        /* the trigger's table */
	const char *trigger; /* the trigger's name when it was queued; NULL: a job's */
	Oid trigger_number;
	int n_key_numbers; /* 0: not known, as of an older version's */
	AttrNumber key_numbers[JOB_MAX_KEYS];
	Datum key; /* text[] */
	int attempts;
	int64 *via; /* [n_via] */
	int n_via;
} Queued;

/* The trigger of a queued row that is looked for. */
typedef struct LookUp
{
	const Queued *queued;
	JobSpec *spec; /* NULL: there is none */
	bool is_gone;  /* the table is */
} LookUp;

static void
remember(Fetch *fetch, JobRow *row)
{
	fetch->added[fetch->n_added++] = row;
}

/* Read the prompts of rows whose keys are known. */
static void
read_prompts_body(JobWorker *worker, const JobStore *store, void *argument)
{
	Fetch *fetch = argument;
	Oid types[JOB_MAX_KEYS + 1];
	Datum values[JOB_MAX_KEYS + 1];
	JobIdentity identity;
	JobSql sql;
	int n;

	if (!fetch->spec->trigger)
		job_check_privilege(store, fetch->spec->function);
	job_key_parameters(fetch->spec, fetch->rows, fetch->n_rows, types, values);
	job_identity_of_spec(fetch->spec, &identity);
	job_sql_make(fetch->spec, &sql);
	n = job_execute(sql.by_key, fetch->spec->n_keys + 1, types, values, NULL, SPI_OK_SELECT, 0);
	for (int i = 0; i < n; i++)
	{
		bool is_null;
		int number = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &is_null));
		text *prompt = text_at(i, 2);

		fetch->found[number] = true;
		job_row_set_prompt(fetch->rows[number], prompt, int8_at(i, 3, &is_null));
	}
	job_identity_end(&identity);
}

/* Put a claim down for each row of a page. */
static void
claim_rows(JobWorker *worker, const JobStore *store, Fetch *fetch, char **const *keys, int n, int64 *ids)
{
	Oid types[3] = {OIDOID, INT8OID, TEXTARRAYOID};
	JobIdentity identity;
	SPIPlanPtr plan;

	job_identity_begin(store, &identity);
	plan = SPI_prepare(psprintf("INSERT INTO %s (owner, job, key) VALUES ($1, $2, $3) RETURNING id", store->row), 3,
					   types);
	for (int i = 0; i < n; i++)
	{
		Datum values[3] = {ObjectIdGetDatum(worker->place.role), Int64GetDatum(fetch->spec->job),
						   job_text_array(keys[i], fetch->spec->n_keys)};
		bool is_null;

		if (SPI_execute_plan(plan, values, NULL, false, 0) != SPI_OK_INSERT_RETURNING)
			ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("a row of the job could not be claimed")));
		ids[i] = int8_at(0, 1, &is_null);
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_freeplan(plan);
	job_execute(psprintf("UPDATE %s SET position = coalesce($2, position), exhausted = $3, state = 'running', "
						 "started = coalesce(started, now()), error = NULL WHERE id = $1",
						 store->job),
				3, (Oid[]){INT8OID, TEXTARRAYOID, BOOLOID},
				(Datum[]){Int64GetDatum(fetch->spec->job),
						  n > 0 ? job_text_array(keys[n - 1], fetch->spec->n_keys) : (Datum) 0,
						  BoolGetDatum(fetch->next_exhausted)},
				n > 0 ? NULL : " n ", SPI_OK_UPDATE, 0);
	job_identity_end(&identity);
}

/* How many rows a job had when it was submitted. */
static int64
counted_at_submit(const JobStore *store, const JobSpec *spec)
{
	Oid type = INT8OID;
	Datum value = Int64GetDatum(spec->job);
	JobIdentity identity;
	bool is_null;

	job_identity_begin(store, &identity);
	job_execute(psprintf("SELECT total FROM %s WHERE id = $1", store->job), 1, &type, &value, NULL, SPI_OK_SELECT, 0);
	job_identity_end(&identity);
	return int8_at(0, 1, &is_null);
}

/*
 * A job whose rows depend on the session: does the worker see those that were counted? Row-level security by a setting
 * that the submitting session had would otherwise make a job that is done with nothing. As the spec's owner.
 */
static void
check_visible(const JobStore *store, const JobSpec *spec, const JobSql *sql)
{
	int64 n, total;
	bool is_null;

	if (!job_sql_depends_on_session(spec))
		return;
	job_execute(sql->count, 0, NULL, NULL, NULL, SPI_OK_SELECT, 1);
	n = int8_at(0, 1, &is_null);
	total = counted_at_submit(store, spec);
	if (n < total)
		ereport(
			ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg(
				 "role \"%s\" sees %lld of the %lld rows that were counted at submit: the source depends on row-level "
				 "security or a setting, and the worker's session has those of ALTER ROLE and ALTER DATABASE only",
				 GetUserNameFromId(GetUserId(), false), (long long) n, (long long) total)));
}

/* One page of a job's query, claimed. */
static void
page_body(JobWorker *worker, const JobStore *store, void *argument)
{
	Fetch *fetch = argument;
	JobSpec *spec = fetch->spec;
	Oid types[JOB_MAX_KEYS + 1];
	Datum values[JOB_MAX_KEYS + 1];
	int n_parameters = 0, n, room = fetch->n - fetch->n_added;
	JobIdentity identity;
	JobSql sql;
	char ***keys;
	text **prompts;
	int64 *hashes, *ids;

	fetch->next_position = NULL;
	fetch->next_exhausted = false;
	job_check_privilege(store, spec->function);
	job_identity_of_spec(spec, &identity);
	job_sql_make(spec, &sql);
	if (!spec->position)
		check_visible(store, spec, &sql);
	for (int i = 0; spec->position && i < spec->n_keys; i++, n_parameters++)
	{
		types[i] = TEXTOID;
		values[i] = CStringGetTextDatum(spec->position[i]);
	}
	types[n_parameters] = INT8OID;
	values[n_parameters++] = Int64GetDatum(room);
	n = job_execute(sql.page, n_parameters, types, values, NULL, SPI_OK_SELECT, 0);

	keys = palloc(sizeof *keys * Max(n, 1));
	prompts = palloc(sizeof *prompts * Max(n, 1));
	hashes = palloc(sizeof *hashes * Max(n, 1));
	ids = palloc(sizeof *ids * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		bool is_null;

		keys[i] = palloc(sizeof **keys * spec->n_keys);
		for (int k = 0; k < spec->n_keys; k++)
			keys[i][k] = string_at(i, k + 1);
		prompts[i] = text_at(i, spec->n_keys + 1);
		hashes[i] = int8_at(i, spec->n_keys + 2, &is_null);
	}
	job_identity_end(&identity);
	fetch->next_exhausted = n < room;
	if (n > 0)
	{
		/* outlives the transaction */
		fetch->next_position = MemoryContextAlloc(worker->scratch, sizeof(char *) * spec->n_keys);
		for (int i = 0; i < spec->n_keys; i++)
			fetch->next_position[i] = MemoryContextStrdup(worker->scratch, keys[n - 1][i]);
	}
	claim_rows(worker, store, fetch, keys, n, ids);
	for (int i = 0; i < n; i++)
	{
		JobRow *row = job_row_add(worker, spec, ids[i], keys[i], 0);

		remember(fetch, row);
		job_row_set_prompt(row, prompts[i], hashes[i]);
	}
}

/* Is it one of the two functions of ours that queue? */
static bool
is_queueing(const JobStore *store, Oid function)
{
	const char *name = get_func_name(function);

	return name && get_func_namespace(function) == store->schema &&
		   (strcmp(name, "qwen_enqueue_trigger") == 0 || strcmp(name, "qwen_enqueue_embed_trigger") == 0);
}

/* A table's trigger by its number, or one that was made anew under the name; a copy, as relations may be built again.
 */
static Trigger *
find_in_table(const JobStore *store, Relation relation, const Queued *queued)
{
	TriggerDesc *triggers = relation->trigdesc ? CopyTriggerDesc(relation->trigdesc) : NULL;
	Trigger *named = NULL;

	for (int i = 0; triggers && i < triggers->numtriggers; i++)
	{
		Trigger *trigger = &triggers->triggers[i];

		if (!is_queueing(store, trigger->tgfoid))
			continue;
		if (trigger->tgoid == queued->trigger_number)
			return trigger;
		if (strcmp(trigger->tgname, queued->trigger) == 0)
			named = trigger;
	}
	return named;
}

/* Find a trigger of a table and make its spec; none where the trigger is gone, is_gone where the table is. */
static void
look_up_trigger_body(JobWorker *worker, const JobStore *store, void *argument)
{
	LookUp *look = argument;
	const Queued *queued = look->queued;
	Relation relation;
	Trigger *trigger;

	look->spec = NULL;
	/* one that is locked is not waited for, as other tables' rows would wait with it */
	if (!ConditionalLockRelationOid(queued->relation, AccessShareLock))
		ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE),
						errmsg("another session has table \"%s\" locked", get_rel_name(queued->relation))));
	relation = try_relation_open(queued->relation, NoLock);
	look->is_gone = !relation;
	if (!relation)
		return;
	trigger = find_in_table(store, relation, queued);
	if (trigger)
		look->spec = job_spec_of_trigger(relation, trigger, queued->n_key_numbers > 0 ? queued->key_numbers : NULL,
										 queued->n_key_numbers, worker->memory);
	relation_close(relation, NoLock);
}

/* Would two specs of triggers do the same? */
static bool
is_same_spec(const JobSpec *a, const JobSpec *b)
{
	if (!a->trigger || a->relation != b->relation || a->trigger_number != b->trigger_number ||
		strcmp(a->trigger_arguments, b->trigger_arguments) != 0 || a->n_keys != b->n_keys)
		return false;
	for (int i = 0; i < a->n_keys; i++)
		if (a->key_numbers[i] != b->key_numbers[i])
			return false;
	return true;
}

/* Was a spec found for such a row in this fetch already? */
static bool
is_spec_of(const JobWorker *worker, const JobSpec *spec, const Queued *queued)
{
	if (!spec->trigger || spec->looked_at != worker->n_fetches || spec->relation != queued->relation ||
		spec->trigger_number != queued->trigger_number || spec->n_keys != queued->n_key_numbers)
		return false;
	for (int i = 0; i < spec->n_keys; i++)
		if (spec->key_numbers[i] != queued->key_numbers[i])
			return false;
	return true;
}

/* The spec of a queued row's trigger: one that is here, or a new one. NULL: the trigger is gone, or as *is_gone says
 * the table. */
static JobSpec *
find_trigger(JobWorker *worker, const JobStore *store, const Queued *queued, bool *is_gone, ErrorData **error)
{
	LookUp look = {.queued = queued};
	ListCell *cell;

	*error = NULL;
	*is_gone = false;
	foreach (cell, worker->specs)
		if (is_spec_of(worker, lfirst(cell), queued))
			return lfirst(cell);
	if (!job_subtransaction(worker, store, look_up_trigger_body, &look, error))
		return NULL;
	*is_gone = look.is_gone;
	if (!look.spec)
		return NULL;
	foreach (cell, worker->specs)
	{
		JobSpec *spec = lfirst(cell);

		if (is_same_spec(spec, look.spec))
		{
			MemoryContextDelete(look.spec->memory);
			spec->looked_at = worker->n_fetches;
			return spec;
		}
	}
	look.spec->looked_at = worker->n_fetches;
	add_spec(worker, look.spec);
	return look.spec;
}

/* What becomes of a queued row that cannot be worked on: an assignment, with $2 and $3 for the error if there is one.
 */
static void
settle_queued(const JobStore *store, int64 id, const char *change, const char *error, int sqlstate)
{
	Oid types[3] = {INT8OID, TEXTOID, TEXTOID};
	Datum values[3] = {Int64GetDatum(id), (Datum) 0, (Datum) 0};
	JobIdentity identity;

	if (error)
	{
		values[1] = CStringGetTextDatum(error);
		values[2] = CStringGetTextDatum(unpack_sql_state(sqlstate));
	}
	job_identity_begin(store, &identity);
	job_execute(psprintf("UPDATE %s SET %s WHERE id = $1", store->row, change), error ? 3 : 1, types, values, NULL,
				SPI_OK_UPDATE, 0);
	job_identity_end(&identity);
}

/* Is the table's owner still the one that we are? Else its rows go to the owner's worker. */
static bool
is_ours(JobWorker *worker, const JobStore *store, const JobSpec *spec, int64 id)
{
	Relation relation = relation_open(spec->relation, AccessShareLock);
	Oid owner = relation->rd_rel->relowner;

	relation_close(relation, NoLock);
	if (owner == worker->place.role)
		return true;
	settle_queued(store, id, psprintf("owner = %u", owner), NULL, 0);
	job_call_worker(owner);
	return false;
}

/* With a table go all its rows, those that failed too. */
static void
forget_table(const JobStore *store, Oid relation)
{
	Oid type = OIDOID;
	Datum value = ObjectIdGetDatum(relation);
	JobIdentity identity;

	job_identity_begin(store, &identity);
	job_execute(psprintf("DELETE FROM %s WHERE relation = $1 AND job IS NULL", store->row), 1, &type, &value, NULL,
				SPI_OK_DELETE, 0);
	job_identity_end(&identity);
}

/* Put a queued row aside that its trigger cannot fill in. */
static void
bury_queued(const JobStore *store, int64 id, const char *error, int sqlstate)
{
	settle_queued(store, id, "dead = true, attempts = attempts + 1, failed_at = now(), error = $2, sqlstate = $3",
				  error, sqlstate);
}

/* A table cannot be looked at now: its rows are left alone for a while. */
static void
pause_table(JobWorker *worker, Oid relation, const char *why)
{
	MemoryContext old = MemoryContextSwitchTo(worker->memory);

	if (worker->locked == NIL)
		worker->locked_until = TimestampTzPlusMilliseconds(job_clock(), LOCKED_TABLE_MS);
	worker->locked = list_append_unique_oid(worker->locked, relation);
	MemoryContextSwitchTo(old);
	job_rows_trouble(worker, NULL, why);
}

/* The spec that a row of qwen_job_row belongs to; NULL: it is not worked on now, or never. */
static JobSpec *
spec_of_queued(JobWorker *worker, const JobStore *store, const Queued *queued)
{
	ErrorData *error = NULL;
	bool is_gone;
	JobSpec *spec;

	if (!queued->trigger)
		return find_job(worker, queued->job);
	if (list_member_oid(worker->locked, queued->relation))
		return NULL;
	spec = find_trigger(worker, store, queued, &is_gone, &error);
	if (error && job_error_passes(error))
	{
		pause_table(worker, queued->relation, error->message);
		return NULL;
	}
	if (error)
	{
		job_letters_add(worker->place.role, queued->relation);
		bury_queued(store, queued->id, error->message, error->sqlerrcode);
	}
	else if (is_gone)
		forget_table(store, queued->relation);
	else if (!spec)
		bury_queued(store, queued->id,
					psprintf("the trigger \"%s\" was dropped before the row was filled in", queued->trigger),
					ERRCODE_UNDEFINED_OBJECT);
	return spec && is_ours(worker, store, spec, queued->id) ? spec : NULL;
}

/* One row of qwen_job_row: to which spec it belongs, and whether it is here already. */
static void
take_queued(JobWorker *worker, const JobStore *store, Fetch *fetch, const Queued *queued)
{
	JobSpec *spec = spec_of_queued(worker, store, queued);
	char *strings[JOB_MAX_KEYS];
	Datum *elements;
	bool *nulls;
	int n;
	JobRow *row;

	if (!spec)
		return;
	deconstruct_array(DatumGetArrayTypeP(queued->key), TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &n);
	if (n != spec->n_keys)
	{
		/* the primary key is another one now: the row cannot be found any more */
		bury_queued(store, queued->id, "the primary key of the table has changed since",
					ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE);
		return;
	}
	for (int i = 0; i < n; i++)
		strings[i] = nulls[i] ? pstrdup("") : TextDatumGetCString(elements[i]);
	row = find_row(worker, spec, strings);
	if (row)
	{
		/* queued again: what is written in the end is checked against what the row holds then, so one answer serves */
		row->ids = repalloc(row->ids, sizeof *row->ids * (row->n_ids + 1));
		row->ids[row->n_ids++] = queued->id;
		job_chain_merge(row, queued->via, queued->n_via);
		return;
	}
	row = job_row_add(worker, spec, queued->id, strings, queued->attempts);
	row->via = MemoryContextAlloc(row->memory, sizeof *row->via * Max(queued->n_via, 1));
	if (queued->n_via > 0)
		memcpy(row->via, queued->via, sizeof *row->via * queued->n_via);
	row->n_via = queued->n_via;
	remember(fetch, row);
}

/* The ids of jobs that are at work, and of the rows that are here. */
static Datum
job_ids(const JobWorker *worker)
{
	int64 *ids = palloc(sizeof *ids * (list_length(worker->specs) + 1));
	ListCell *cell;
	int n = 0;

	foreach (cell, worker->specs)
	{
		const JobSpec *spec = lfirst(cell);

		if (!spec->trigger && !spec->is_done && job_clock() >= spec->pause_until)
			ids[n++] = spec->job;
	}
	return job_int8_array(ids, n);
}

static Datum
row_ids(const JobWorker *worker)
{
	int64 *ids;
	int n = 0;

	for (const JobRow *row = worker->rows; row; row = row->next)
		n += row->n_ids;
	ids = palloc(sizeof *ids * (n + 1));
	n = 0;
	for (const JobRow *row = worker->rows; row; row = row->next)
		for (int i = 0; i < row->n_ids; i++)
			ids[n++] = row->ids[i];
	return job_int8_array(ids, n);
}

/* The tables whose rows are left alone now. */
static Datum
locked_tables(JobWorker *worker)
{
	Datum *elements;
	ListCell *cell;
	int n = 0;

	if (job_clock() >= worker->locked_until)
	{
		list_free(worker->locked);
		worker->locked = NIL;
	}
	elements = palloc(sizeof *elements * (list_length(worker->locked) + 1));
	foreach (cell, worker->locked)
		elements[n++] = ObjectIdGetDatum(lfirst_oid(cell));
	return PointerGetDatum(construct_array(elements, n, OIDOID, sizeof(Oid), true, TYPALIGN_INT));
}

/* The elements of an array of numbers; how many, none of NULL. */
static int
numbers_of(Datum array, bool is_null, Oid type, Datum **elements)
{
	bool *nulls;
	int n;

	if (is_null)
		return 0;
	deconstruct_array(DatumGetArrayTypeP(array), type, get_typlen(type), get_typbyval(type),
					  type == INT2OID ? TYPALIGN_SHORT : TYPALIGN_DOUBLE, elements, &nulls, &n);
	return n;
}

/* The columns of a row of qwen_job_row, as queued_body asks for them. */
static void
read_queued(HeapTuple tuple, TupleDesc columns, Queued *queued)
{
	bool no_job, no_relation, is_null;
	Datum *elements, array;

	memset(queued, 0, sizeof *queued);
	queued->id = DatumGetInt64(SPI_getbinval(tuple, columns, 1, &is_null));
	queued->job = DatumGetInt64(SPI_getbinval(tuple, columns, 2, &no_job));
	queued->relation = DatumGetObjectId(SPI_getbinval(tuple, columns, 3, &no_relation));
	queued->trigger = no_job && !no_relation ? SPI_getvalue(tuple, columns, 4) : NULL;
	queued->key = SPI_getbinval(tuple, columns, 5, &is_null);
	queued->attempts = DatumGetInt32(SPI_getbinval(tuple, columns, 6, &is_null));
	queued->trigger_number = DatumGetObjectId(SPI_getbinval(tuple, columns, 7, &is_null));
	if (is_null)
		queued->trigger_number = InvalidOid;
	array = SPI_getbinval(tuple, columns, 8, &is_null);
	queued->n_key_numbers = Min(numbers_of(array, is_null, INT2OID, &elements), JOB_MAX_KEYS);
	for (int i = 0; i < queued->n_key_numbers; i++)
		queued->key_numbers[i] = DatumGetInt16(elements[i]);
	array = SPI_getbinval(tuple, columns, 9, &is_null);
	queued->n_via = numbers_of(array, is_null, INT8OID, &elements);
	queued->via = palloc(sizeof *queued->via * Max(queued->n_via, 1));
	for (int i = 0; i < queued->n_via; i++)
		queued->via[i] = DatumGetInt64(elements[i]);
}

JobSpec *
job_rows_letter(JobWorker *worker, const JobStore *store, HeapTuple tuple, TupleDesc columns, int64 *id, char ***key)
{
	Queued queued;
	ErrorData *error;
	bool is_gone, *nulls;
	JobSpec *spec;
	Datum *elements;
	int n;

	read_queued(tuple, columns, &queued);
	*id = queued.id;
	spec = find_trigger(worker, store, &queued, &is_gone, &error);
	if (!spec)
		return NULL;
	deconstruct_array(DatumGetArrayTypeP(queued.key), TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &n);
	if (n != spec->n_keys)
		return NULL;
	*key = palloc(sizeof **key * n);
	for (int i = 0; i < n; i++)
		(*key)[i] = nulls[i] ? pstrdup("") : TextDatumGetCString(elements[i]);
	return spec;
}

/* Rows of qwen_job_row that wait and are not here. */
static void
queued_body(JobWorker *worker, const JobStore *store, void *argument)
{
	Fetch *fetch = argument;
	Oid types[6] = {OIDOID, INT8OID, INT8ARRAYOID, INT8ARRAYOID, INT8OID, OIDARRAYOID};
	Datum values[6] = {ObjectIdGetDatum(worker->place.role),
					   Int64GetDatum(Max(worker->last_id, worker->floor.id)),
					   job_ids(worker),
					   row_ids(worker),
					   Int64GetDatum(fetch->n),
					   locked_tables(worker)};
	JobIdentity identity;
	SPITupleTable *table;

	job_identity_begin(store, &identity);
	fetch->n_seen =
		job_execute(psprintf("SELECT id, job, relation, trigger, key, attempts, trigger_oid, key_numbers, via FROM %s "
							 "WHERE owner = $1 AND NOT dead AND id > $2 "
							 "AND (next_try IS NULL OR next_try <= now() OR next_try > now() + interval '1 hour') "
							 "AND (job IS NULL OR job = ANY ($3)) "
							 "AND id <> ALL ($4) AND (relation IS NULL OR relation <> ALL ($6)) "
							 "ORDER BY id LIMIT $5",
							 store->row),
					6, types, values, NULL, SPI_OK_SELECT, 0);
	job_identity_end(&identity);
	table = SPI_tuptable;
	fetch->last_id = worker->last_id;
	for (int i = 0; i < fetch->n_seen; i++)
	{
		Queued queued;

		read_queued(table->vals[i], table->tupdesc, &queued);
		fetch->last_id = queued.id;
		worker->floor.seen = Max(worker->floor.seen, queued.id);
		take_queued(worker, store, fetch, &queued);
	}
}

/* A row's prompt cannot be made, and never will. */
static void
fail_fetched(JobRow *row, const ErrorData *error)
{
	row->state = ROW_FAILED;
	row->sqlstate = error->sqlerrcode;
	row->error = MemoryContextStrdup(row->memory, error->message);
	row->is_permanent = true;
}

/* A row of a fetch is looked for again. */
static void
put_back(JobWorker *worker, Fetch *fetch, JobRow *row)
{
	for (int i = 0; i < fetch->n_added; i++)
		if (fetch->added[i] == row)
			fetch->added[i] = NULL;
	job_row_free(worker, row);
	worker->look_for_rows = true;
}

/* The prompts of some rows of a spec; where they cannot be had all at once, of each alone: one that has a key or a
 * value that cannot be read must not take others along. */
static void
read_some_prompts(JobWorker *worker, const JobStore *store, Fetch *fetch, JobSpec *spec, JobRow **rows, int n)
{
	Fetch read = {.spec = spec, .rows = rows, .n_rows = n, .found = palloc0(sizeof(bool) * n)};
	ErrorData *error;

	if (job_subtransaction(worker, store, read_prompts_body, &read, &error))
	{
		/* a row that is not in the source any more needs no answer: what is written says so again and finds nothing */
		for (int i = 0; i < n; i++)
			if (!read.found[i])
			{
				job_row_set_prompt(rows[i], NULL, 0);
				rows[i]->state = ROW_ANSWERED;
			}
		return;
	}
	if (job_error_passes(error))
		pause_spec(worker, spec, error->message);
	else if (!spec->trigger)
		job_rows_fail(worker, spec, error->message);
	for (int i = 0; i < n; i++)
		if (!spec->trigger || job_error_passes(error))
			put_back(worker, fetch, rows[i]);
		else if (n == 1)
			fail_fetched(rows[i], error);
		else
			read_some_prompts(worker, store, fetch, spec, &rows[i], 1);
}

/* The prompts of the rows that one spec has among those that were fetched. */
static void
read_prompts(JobWorker *worker, const JobStore *store, Fetch *fetch, JobSpec *spec)
{
	JobRow **rows = palloc(sizeof *rows * fetch->n_added);
	int n = 0;

	for (int i = 0; i < fetch->n_added; i++)
		if (fetch->added[i] && fetch->added[i]->spec == spec)
			rows[n++] = fetch->added[i];
	read_some_prompts(worker, store, fetch, spec, rows, n);
}

/* Rows that wait, and their prompts. */
static void
fetch_queued_body(JobWorker *worker, const JobStore *store, void *argument)
{
	Fetch *fetch = argument;

	job_floor_raise(worker, store);
	queued_body(worker, store, fetch);
	for (int i = 0; i < fetch->n_added; i++)
	{
		bool is_first = fetch->added[i] != NULL;

		for (int j = 0; is_first && j < i; j++)
			is_first = !fetch->added[j] || fetch->added[j]->spec != fetch->added[i]->spec;
		if (is_first)
			read_prompts(worker, store, fetch, fetch->added[i]->spec);
	}
}

/* One page, if the job can be had now. */
static void
fetch_page_body(JobWorker *worker, const JobStore *store, void *argument)
{
	Fetch *fetch = argument;
	bool ended;

	if (job_lock(store, fetch->spec->job, &ended))
		page_body(worker, store, fetch);
	else if (ended)
		fetch->spec->is_done = true;
	else
		pause_spec(worker, fetch->spec, JOB_ROW_IS_LOCKED);
}

/* Undo in memory what was taken in by a transaction that did not commit. */
static void
forget_fetched(JobWorker *worker, Fetch *fetch)
{
	for (int i = 0; i < fetch->n_added; i++)
		if (fetch->added[i])
			job_row_free(worker, fetch->added[i]);
	fetch->n_added = 0;
}

/* After the commit of a page: the job is behind it. */
static void
move_position(Fetch *fetch)
{
	JobSpec *spec = fetch->spec;

	spec->n_pauses = 0;
	spec->exhausted = fetch->next_exhausted;
	if (!fetch->next_position)
		return;
	if (!spec->position)
		spec->position = MemoryContextAllocZero(spec->memory, sizeof *spec->position * spec->n_keys);
	for (int i = 0; i < spec->n_keys; i++)
	{
		if (spec->position[i])
			pfree(spec->position[i]);
		spec->position[i] = MemoryContextStrdup(spec->memory, fetch->next_position[i]);
	}
}

/* The rows of qwen_job_row; the number that was taken. */
static int
fetch_queued(JobWorker *worker, int n)
{
	Fetch fetch = {.n = n, .added = palloc0(sizeof(JobRow *) * n)};
	ErrorData *error;

	worker->look_for_rows = false;
	if (!job_transaction(worker, fetch_queued_body, &fetch, &error))
	{
		/* ids that were added to rows stay: they are deleted with them, or looked at again */
		forget_fetched(worker, &fetch);
		worker->look_for_rows = true;
		worker->pause_until = TimestampTzPlusMilliseconds(job_clock(), LAST_PAUSE_MS);
		job_rows_trouble(worker, NULL, error->message);
		ereport(LOG, (errmsg("qwen_pg: queued rows could not be read: %s", error->message)));
		return 0;
	}
	/* a full look says that there is more behind it */
	if (fetch.n_seen == n)
	{
		worker->look_for_rows = true;
		worker->last_id = fetch.last_id;
	}
	else
		worker->last_id = 0;
	return fetch.n_added;
}

int
job_rows_fetch(JobWorker *worker, int n)
{
	int n_taken = 0;
	List *specs = list_copy(worker->specs);
	ListCell *cell;

	worker->n_fetches++;
	if (worker->look_for_rows)
		n_taken += fetch_queued(worker, n);
	foreach (cell, specs)
	{
		JobSpec *spec = lfirst(cell);
		Fetch fetch = {.n = n - n_taken, .spec = spec};
		ErrorData *error;

		/* a job that fails meanwhile is marked, not freed, so that the list stays good */
		if (fetch.n <= 0 || spec->trigger || spec->is_done || spec->exhausted || job_clock() < spec->pause_until)
			continue;
		fetch.added = palloc0(sizeof(JobRow *) * fetch.n);
		if (job_transaction(worker, fetch_page_body, &fetch, &error))
		{
			if (fetch.n_added > 0 || fetch.next_exhausted)
				move_position(&fetch);
			n_taken += fetch.n_added;
			continue;
		}
		forget_fetched(worker, &fetch);
		if (job_error_passes(error))
			pause_spec(worker, spec, error->message);
		else
			job_rows_fail(worker, spec, error->message);
	}
	drop_done_specs(worker);
	return n_taken;
}

static void
next_try_body(JobWorker *worker, const JobStore *store, void *argument)
{
	TimestampTz *next_try = argument;
	Oid types[3] = {OIDOID, INT8ARRAYOID, INT8OID};
	Datum values[3] = {ObjectIdGetDatum(worker->place.role), job_ids(worker), Int64GetDatum(worker->floor.id)};
	JobIdentity identity;
	bool is_null;

	job_identity_begin(store, &identity);
	/* further away than any backoff is what was written before the wall clock was put back */
	job_execute(psprintf("SELECT min(CASE WHEN next_try <= now() + interval '1 hour' THEN next_try ELSE now() END) "
						 "FROM %s WHERE owner = $1 AND NOT dead AND id > $3 AND (job IS NULL OR job = ANY ($2))",
						 store->row),
				3, types, values, NULL, SPI_OK_SELECT, 0);
	job_identity_end(&identity);
	*next_try = DatumGetTimestampTz(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null));
	if (is_null)
		*next_try = 0;
}

TimestampTz
job_rows_next_try(JobWorker *worker)
{
	TimestampTz next_try = 0;
	ErrorData *error;

	if (job_transaction(worker, next_try_body, &next_try, &error))
		return next_try;
	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), LAST_PAUSE_MS);
}

/* ---- the end of a job ---- */
typedef struct Ending
{
	JobSpec *spec;
	const char *error; /* NULL: all its rows are finished */
	bool has_ended;
} Ending;

static void
end_body(JobWorker *worker, const JobStore *store, void *argument)
{
	Ending *ending = argument;
	Oid types[2] = {INT8OID, TEXTOID};
	Datum values[2] = {Int64GetDatum(ending->spec->job),
					   ending->error ? CStringGetTextDatum(ending->error) : (Datum) 0};
	JobIdentity identity;
	bool ended, is_left = false;

	if (!job_lock(store, ending->spec->job, &ended))
	{
		ending->has_ended = ended;
		return;
	}
	job_identity_begin(store, &identity);
	if (!ending->error)
		is_left = job_execute(psprintf("SELECT 1 FROM %s WHERE job = $1 AND NOT dead LIMIT 1", store->row), 1, types,
							  values, NULL, SPI_OK_SELECT, 0) > 0;
	if (!is_left)
	{
		/* fewer than were counted: the row says so */
		job_execute(
			psprintf("UPDATE %s SET state = CASE WHEN $2 IS NULL THEN 'done' ELSE 'failed' END, "
					 "total = CASE WHEN $2 IS NULL THEN done + failed ELSE total END, "
					 "started = coalesce(started, now()), ended = now(), error = coalesce($2, CASE WHEN "
					 "done + failed < total THEN format('%%s of the %%s rows that were counted at submit were not "
					 "there any more when the job came to them', total - done - failed, total) END) "
					 "WHERE id = $1",
					 store->job),
			2, types, values, ending->error ? NULL : " n", SPI_OK_UPDATE, 0);
		job_notify_end(ending->spec->job, ending->error ? "failed" : "done");
		ending->has_ended = true;
	}
	job_identity_end(&identity);
	if (is_left)
		worker->look_for_rows = true;
}

/* Run the end of a job; in a transaction of its own, or in the one that runs. */
static void
end_job(JobWorker *worker, JobSpec *spec, const char *error)
{
	Ending ending = {.spec = spec, .error = error};
	ErrorData *failure;

	if (!job_transaction(worker, end_body, &ending, &failure))
	{
		pause_spec(worker, spec, failure->message);
		ereport(LOG, (errmsg("qwen_pg: job " INT64_FORMAT " could not be ended: %s", spec->job, failure->message)));
		return;
	}
	if (!ending.has_ended)
	{
		pause_spec(worker, spec, JOB_ROW_IS_LOCKED);
		return;
	}
	spec->is_done = true;
	job_announce_end();
}

void
job_rows_finish(JobWorker *worker)
{
	ListCell *cell;

	foreach (cell, worker->specs)
	{
		JobSpec *spec = lfirst(cell);
		bool is_over =
			worker->is_orphan || spec->failure[0] || (spec->exhausted && spec->n_rows == 0 && !worker->look_for_rows);

		if (!spec->trigger && !spec->is_done && is_over && job_clock() >= spec->pause_until)
			end_job(worker, spec,
					worker->is_orphan  ? "the role that owns the job was dropped"
					: spec->failure[0] ? spec->failure
									   : NULL);
	}
	drop_done_specs(worker);
	if (job_clock() > worker->trouble_until)
		worker->trouble[0] = '\0';
	job_worker_tell(worker->trouble);
}
