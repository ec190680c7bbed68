/*
 * sweep.c - what is over goes away: jobs that ended long ago, and dead letters that are nobody's any more.
 *
 * A job that was cancelled or failed keeps its claims, so that qwen_retry can go on with it, and all ended jobs stay to
 * be looked at: until their owner calls qwen_forget, or for qwen.job_retention. A dead letter goes with its table, its
 * trigger or its row. Sweeping is done in small transactions by whoever is in the database anyway: a worker before it
 * rests, a scout otherwise.
 */
#include "sweep.h"

#include "../core/settings.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "key_look.h"
#include "letters.h"
#include "parameters.h"
#include "queued.h"
#include "row_sql.h"
#include "store.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "values.h"
#include "worker_transaction.h"

#define JOBS_AT_ONCE 20
#define ROWS_AT_ONCE 1000
#define LETTERS_AT_ONCE 200

/* Jobs that ended longer ago than they are kept, with their rows; how many rows and jobs. */
static int64
sweep_jobs(const JobStore *store)
{
	Oid types[2] = {INT8ARRAYOID, INT4OID};
	Datum values[2] = {(Datum) 0, Int32GetDatum(qwen_job_retention)};
	int64 *ids, n;
	int n_jobs;

	if (qwen_job_retention <= 0)
		return 0;
	n_jobs = job_execute(psprintf("SELECT id FROM %s WHERE state NOT IN ('queued', 'running') AND "
								  "ended < now() - $1 * interval '1 second' ORDER BY ended LIMIT %d "
								  "FOR UPDATE SKIP LOCKED",
								  store->job, JOBS_AT_ONCE),
						 1, &types[1], &values[1], NULL, SPI_OK_SELECT, 0);
	if (n_jobs == 0)
		return 0;
	ids = palloc(sizeof *ids * n_jobs);
	for (int i = 0; i < n_jobs; i++)
		ids[i] = result_int8(i, 1);
	values[0] = job_int8_array(ids, n_jobs);
	n = job_execute(psprintf("DELETE FROM %s WHERE id = ANY (ARRAY(SELECT id FROM %s WHERE job = ANY ($1) LIMIT %d))",
							 store->row, store->row, ROWS_AT_ONCE),
					1, types, values, NULL, SPI_OK_DELETE, 0);
	return n + job_execute(psprintf("DELETE FROM %s j WHERE id = ANY ($1) AND NOT EXISTS "
									"(SELECT 1 FROM %s r WHERE r.job = j.id)",
									store->job, store->row),
						   1, types, values, NULL, SPI_OK_DELETE, 0);
}

/* Rows of tables and jobs that are gone, and, after a while, of triggers that are; how many. */
static int64
sweep_orphans(const JobStore *store)
{
	Oid type = INT4OID;
	Datum value = Int32GetDatum(qwen_job_retention);

	return job_execute(
		psprintf("DELETE FROM %s WHERE id = ANY (ARRAY(SELECT r.id FROM %s r LEFT JOIN %s j ON j.id = r.job "
				 "WHERE CASE WHEN r.job IS NOT NULL THEN j.id IS NULL OR "
				 "(r.dead AND NOT EXISTS (SELECT 1 FROM pg_class c WHERE c.oid = j.target)) "
				 "WHEN NOT EXISTS (SELECT 1 FROM pg_class c WHERE c.oid = r.relation) THEN true "
				 "ELSE r.dead AND $1 > 0 AND r.failed_at < now() - $1 * interval '1 second' AND NOT EXISTS "
				 "(SELECT 1 FROM pg_trigger t WHERE t.tgrelid = r.relation AND "
				 "(t.oid = r.trigger_oid OR t.tgname = r.trigger)) END LIMIT %d))",
				 store->row, store->row, store->job, ROWS_AT_ONCE),
		1, &type, &value, NULL, SPI_OK_DELETE, 0);
}

int64
job_sweep(const JobStore *store)
{
	JobIdentity identity;
	int64 n;

	job_identity_begin(store, &identity);
	n = sweep_jobs(store) + sweep_orphans(store);
	job_identity_end(&identity);
	return n;
}

/* ---- dead letters whose row is gone, by the worker of the table's owner ---- */
/* Some dead letters of one trigger. */
typedef struct Letters
{
	JobSpec *spec;
	JobRow **rows; /* only their keys, and ids[0] */
	bool *found;   /* [n]: whose row is there */
	int n;
	int64 last_id; /* of the letters that were looked at */
	int n_seen;
} Letters;

/* Letters of the role's triggers behind last_id, as long as they are of one trigger. */
static void
read_letters(JobWorker *worker, const JobStore *store, Letters *letters)
{
	Oid types[2] = {OIDOID, INT8OID};
	Datum values[2] = {ObjectIdGetDatum(worker->place.role), Int64GetDatum(letters->last_id)};
	JobIdentity identity;
	SPITupleTable *table;
	int n;

	job_identity_begin(store, &identity);
	n = job_execute(psprintf("SELECT " QUEUED_COLUMNS " FROM %s WHERE owner = $1 AND id > $2 AND dead AND "
							 "job IS NULL ORDER BY id LIMIT %d",
							 store->row, LETTERS_AT_ONCE),
					2, types, values, NULL, SPI_OK_SELECT, 0);
	job_identity_end(&identity);
	table = SPI_tuptable;
	letters->rows = palloc(sizeof *letters->rows * Max(n, 1));
	letters->n_seen = 0;
	for (int i = 0; i < n; i++)
	{
		int64 id;
		char **key;
		JobSpec *spec = job_queued_letter(worker, store, table->vals[i], table->tupdesc, &id, &key);

		if (letters->spec && spec && spec != letters->spec)
			break;
		letters->n_seen++;
		letters->last_id = id;
		if (spec)
		{
			JobRow *row = palloc0(sizeof *row);

			letters->spec = spec;
			row->spec = spec;
			row->ids = palloc(sizeof *row->ids);
			row->ids[0] = id;
			row->key = key;
			letters->rows[letters->n++] = row;
		}
	}
}

/* Which of some letters have a row? */
static void
look_for_letters(void *argument, int first, int n)
{
	const Letters *letters = argument;
	Oid types[JOB_MAX_KEYS + 1];
	Datum values[JOB_MAX_KEYS + 1];
	JobIdentity identity, unhidden;
	JobSql sql;
	int n_there;

	job_key_parameters(letters->spec, &letters->rows[first], n, types, values);
	job_identity_of_spec(letters->spec, &identity);
	job_sql_make(letters->spec, &sql);
	/* a row that a policy hides from the owner is there all the same, and its letter says so */
	job_identity_of_owner(&unhidden);
	n_there = job_execute(sql.there, letters->spec->n_keys + 1, types, values, NULL, SPI_OK_SELECT, 0);
	job_identity_end(&unhidden);
	job_identity_end(&identity);
	for (int i = 0; i < n_there; i++)
		letters->found[first + result_int4(i, 1)] = true;
}

/* Letters without a row are deleted. Those that cannot be looked up, as of a table that the owner may not read, or
 * under a key that its type does not read, stay. */
static void
check_letters(const JobStore *store, Letters *letters)
{
	bool *is_read = palloc(sizeof *is_read * letters->n);
	int64 *gone = palloc(sizeof *gone * letters->n);
	Oid type = INT8ARRAYOID;
	Datum value;
	JobIdentity identity;
	int n_gone = 0;

	letters->found = palloc0(sizeof *letters->found * letters->n);
	(void) job_look_for_keys(look_for_letters, letters, letters->n, is_read);
	for (int i = 0; i < letters->n; i++)
		if (is_read[i] && !letters->found[i])
			gone[n_gone++] = letters->rows[i]->ids[0];
	if (n_gone == 0)
		return;
	value = job_int8_array(gone, n_gone);
	job_identity_begin(store, &identity);
	job_execute(psprintf("DELETE FROM %s WHERE id = ANY ($1) AND dead", store->row), 1, &type, &value, NULL,
				SPI_OK_DELETE, 0);
	job_identity_end(&identity);
}

/* One round over letters of one trigger. */
static void
letters_body(JobWorker *worker, const JobStore *store, void *argument)
{
	Letters *letters = argument;

	letters->spec = NULL;
	letters->n = 0;
	read_letters(worker, store, letters);
	if (letters->n > 0)
		check_letters(store, letters);
}

/* Which tables still have some? */
static void
note_lettered_body(JobWorker *worker, const JobStore *store, void *argument)
{
	Oid type = OIDOID;
	Datum value = ObjectIdGetDatum(worker->place.role);
	JobIdentity identity;
	int n;

	job_identity_begin(store, &identity);
	n = job_execute(psprintf("SELECT DISTINCT relation FROM %s WHERE owner = $1 AND dead AND job IS NULL", store->row),
					1, &type, &value, NULL, SPI_OK_SELECT, 0);
	job_identity_end(&identity);
	for (int i = 0; i < n; i++)
		job_letters_add(worker->place.role, DatumGetObjectId(result_value(i, 1)));
}

static void
sweep_body(JobWorker *worker, const JobStore *store, void *argument)
{
	*(int64 *) argument = job_sweep(store);
}

void
job_sweep_as_worker(JobWorker *worker)
{
	Letters letters = {.last_id = 0};
	ErrorData *error;
	int64 n;

	do
	{
		n = 0;
		if (!job_transaction(worker, sweep_body, &n, &error))
			job_log_failure("ended jobs could not be swept away", error);
	} while (n >= ROWS_AT_ONCE);
	worker->n_fetches++; /* triggers are looked up anew */
	do
	{
		letters.n_seen = 0;
		if (!job_transaction(worker, letters_body, &letters, &error))
			job_log_failure("dead letters could not be swept away", error);
		MemoryContextReset(worker->scratch);
	} while (letters.n_seen > 0);
	job_letters_clear(worker->place.role);
	(void) job_transaction(worker, note_lettered_body, NULL, &error);
}
