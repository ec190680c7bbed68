/*
 * fetch.c - how a worker gets its rows: first those that wait in qwen_job_row, then pages of its jobs' queries.
 *
 * Rows that triggers queued, and claims of jobs that were not finished, are read from the queue; their prompts are read
 * from the tables as they are now.
 */
#include "fetch.h"

#include "catalog/pg_type.h"
#include "chain.h"
#include "floor.h"
#include "pages.h"
#include "parameters.h"
#include "queued.h"
#include "rights.h"
#include "row_sql.h"
#include "store.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "values.h"
#include "worker_specs.h"
#include "worker_transaction.h"

/* What one transaction takes in of the queue; undone when it does not commit. */
typedef struct Fetch
{
	int n;          /* rows wanted */
	JobRow **added; /* [n] */
	int n_added;
	int n_seen; /* rows of qwen_job_row that were looked at */
	int64 last_id;
} Fetch;

/* Rows of a spec whose prompts are read. */
typedef struct Prompts
{
	JobSpec *spec;
	JobRow **rows; /* [n] */
	int n;
	bool *found; /* [n] */
} Prompts;

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

/* Read the prompts of rows whose keys are known. */
static void
read_prompts_body(JobWorker *worker, const JobStore *store, void *argument)
{
	Prompts *prompts = argument;
	Oid types[JOB_MAX_KEYS + 1];
	Datum values[JOB_MAX_KEYS + 1];
	JobIdentity identity;
	JobSql sql;
	int n;

	if (!prompts->spec->trigger)
		job_check_privilege(store, prompts->spec->function);
	job_key_parameters(prompts->spec, prompts->rows, prompts->n, types, values);
	job_identity_of_spec(prompts->spec, &identity);
	job_sql_make(prompts->spec, &sql);
	n = job_execute(sql.by_key, prompts->spec->n_keys + 1, types, values, NULL, SPI_OK_SELECT, 0);
	for (int i = 0; i < n; i++)
	{
		int number = result_int4(i, 1);
		text *prompt = result_text(i, 2);

		prompts->found[number] = true;
		job_row_set_prompt(prompts->rows[number], prompt, result_int8(i, 3));
	}
	job_identity_end(&identity);
}

/* One row of qwen_job_row: to which spec it belongs, and whether it is here already. */
static void
take_queued(JobWorker *worker, const JobStore *store, Fetch *fetch, const Queued *queued)
{
	JobSpec *spec = job_queued_spec(worker, store, queued);
	char *strings[JOB_MAX_KEYS];
	JobRow *row;

	if (!spec || (spec->trigger && job_spec_is_put_off(spec)))
		return;
	if (!job_queued_key(queued, spec, strings))
	{
		/* the primary key is another one now: the row cannot be found any more */
		job_queued_bury(store, queued->id, "the primary key of the table has changed since",
						ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE);
		return;
	}
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
	fetch->added[fetch->n_added++] = row;
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
	if (job_clock() >= worker->locked_until)
	{
		list_free(worker->locked);
		worker->locked = NIL;
	}
	return job_oid_array(worker->locked);
}

/* The triggers whose rows are left alone now. */
static Datum
put_off_triggers(const JobWorker *worker)
{
	List *triggers = NIL;
	ListCell *cell;

	foreach (cell, worker->specs)
	{
		const JobSpec *spec = lfirst(cell);

		if (spec->trigger && job_spec_is_put_off(spec))
			triggers = lappend_oid(triggers, spec->trigger_number);
	}
	return job_oid_array(triggers);
}

/* Rows of qwen_job_row that wait and are not here. */
static void
queued_body(JobWorker *worker, const JobStore *store, void *argument)
{
	Fetch *fetch = argument;
	Oid types[7] = {OIDOID, INT8OID, INT8ARRAYOID, INT8ARRAYOID, INT8OID, OIDARRAYOID, OIDARRAYOID};
	Datum values[7] = {ObjectIdGetDatum(worker->place.role),
					   Int64GetDatum(Max(worker->last_id, worker->floor.id)),
					   job_ids(worker),
					   row_ids(worker),
					   Int64GetDatum(fetch->n),
					   locked_tables(worker),
					   put_off_triggers(worker)};
	JobIdentity identity;
	SPITupleTable *table;

	job_identity_begin(store, &identity);
	fetch->n_seen =
		job_execute(psprintf("SELECT " QUEUED_COLUMNS " FROM %s "
							 "WHERE owner = $1 AND NOT dead AND id > $2 "
							 "AND (next_try IS NULL OR next_try <= now() OR next_try > now() + interval '1 hour') "
							 "AND (job IS NULL OR job = ANY ($3)) "
							 "AND id <> ALL ($4) AND (relation IS NULL OR relation <> ALL ($6)) "
							 "AND (trigger_oid IS NULL OR trigger_oid <> ALL ($7)) "
							 "ORDER BY id LIMIT $5",
							 store->row),
					7, types, values, NULL, SPI_OK_SELECT, 0);
	job_identity_end(&identity);
	table = SPI_tuptable;
	fetch->last_id = worker->last_id;
	for (int i = 0; i < fetch->n_seen; i++)
	{
		Queued queued;

		job_queued_read(table->vals[i], table->tupdesc, &queued);
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
	Prompts read = {.spec = spec, .rows = rows, .n = n, .found = palloc0(sizeof(bool) * n)};
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
		job_spec_pause(worker, spec, error->message);
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

	/* the next worker's, which has the settings of now */
	if (job_turn_is_over())
	{
		worker->look_for_rows = true;
		return;
	}
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
		job_rows_free(worker, fetch.added, fetch.n_added);
		worker->look_for_rows = true;
		worker->pause_until = TimestampTzPlusMilliseconds(job_clock(), JOB_LAST_PAUSE_MS);
		job_rows_trouble(worker, NULL, error->message);
		job_log_failure("queued rows could not be read", error);
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
	job_specs_ask_for_rows(worker);
	if (worker->look_for_rows)
	{
		n_taken += fetch_queued(worker, n);
		job_specs_have_looked(worker);
	}
	foreach (cell, specs)
	{
		JobSpec *spec = lfirst(cell);

		/* a job that fails meanwhile is marked, not freed, so that the list stays good */
		if (n_taken >= n || spec->trigger || spec->is_done || spec->exhausted || spec->is_held ||
			job_clock() < spec->pause_until)
			continue;
		n_taken += job_page_take(worker, spec, n - n_taken);
	}
	job_specs_drop_done(worker);
	return n_taken;
}

static void
next_try_body(JobWorker *worker, const JobStore *store, void *argument)
{
	TimestampTz *next_try = argument;
	Oid types[3] = {OIDOID, INT8ARRAYOID, INT8OID};
	Datum values[3] = {ObjectIdGetDatum(worker->place.role), job_ids(worker), Int64GetDatum(worker->floor.id)};
	JobIdentity identity;

	job_identity_begin(store, &identity);
	/* further away than any backoff is what was written before the wall clock was put back */
	job_execute(psprintf("SELECT min(CASE WHEN next_try <= now() + interval '1 hour' THEN next_try ELSE now() END) "
						 "FROM %s WHERE owner = $1 AND NOT dead AND id > $3 AND (job IS NULL OR job = ANY ($2))",
						 store->row),
				3, types, values, NULL, SPI_OK_SELECT, 0);
	job_identity_end(&identity);
	*next_try = DatumGetTimestampTz(result_value(0, 1));
}

TimestampTz
job_rows_next_try(JobWorker *worker)
{
	TimestampTz next_try = 0;
	ErrorData *error;

	if (job_transaction(worker, next_try_body, &next_try, &error))
		return next_try;
	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), JOB_LAST_PAUSE_MS);
}
