/*
 * pages.c - pages of a job's query, claimed.
 *
 * A row of a job's query is taken by a claim: in one transaction the page is read, a row of qwen_job_row is put down
 * for each of its rows, and the job's position moves behind them. So after a crash all that is not finished is either
 * behind the position or has its claim, and never both.
 */
#include "pages.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "parameters.h"
#include "rights.h"
#include "row_sql.h"
#include "store.h"
#include "utils/memutils.h"
#include "values.h"
#include "worker_specs.h"
#include "worker_transaction.h"

/* What one transaction takes in; undone when it does not commit. */
typedef struct JobPage
{
	JobSpec *spec;
	int n;          /* rows wanted */
	JobRow **added; /* [n] */
	int n_added;
	char **next_position; /* or NULL */
	bool next_exhausted;
} JobPage;

/* Put a claim down for each row of a page. */
static void
claim_rows(JobWorker *worker, const JobStore *store, JobPage *page, char **const *keys, int n, int64 *ids)
{
	Oid types[3] = {OIDOID, INT8OID, TEXTARRAYOID};
	JobIdentity identity;
	SPIPlanPtr plan;

	job_identity_begin(store, &identity);
	plan = SPI_prepare(psprintf("INSERT INTO %s (owner, job, key) VALUES ($1, $2, $3) RETURNING id", store->row), 3,
					   types);
	for (int i = 0; i < n; i++)
	{
		Datum values[3] = {ObjectIdGetDatum(worker->place.role), Int64GetDatum(page->spec->job),
						   job_text_array(keys[i], page->spec->n_keys)};
		if (SPI_execute_plan(plan, values, NULL, false, 0) != SPI_OK_INSERT_RETURNING)
			ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("a row of the job could not be claimed")));
		ids[i] = result_int8(0, 1);
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_freeplan(plan);
	job_execute(psprintf("UPDATE %s SET position = coalesce($2, position), exhausted = $3, state = 'running', "
						 "started = coalesce(started, now()), error = NULL WHERE id = $1",
						 store->job),
				3, (Oid[]){INT8OID, TEXTARRAYOID, BOOLOID},
				(Datum[]){Int64GetDatum(page->spec->job),
						  n > 0 ? job_text_array(keys[n - 1], page->spec->n_keys) : (Datum) 0,
						  BoolGetDatum(page->next_exhausted)},
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

	job_identity_begin(store, &identity);
	job_execute(psprintf("SELECT total FROM %s WHERE id = $1", store->job), 1, &type, &value, NULL, SPI_OK_SELECT, 0);
	job_identity_end(&identity);
	return result_int8(0, 1);
}

/*
 * A job whose rows depend on the session: does the worker see those that were counted? Row-level security by a setting
 * that the submitting session had would otherwise make a job that is done with nothing. As the spec's owner.
 */
static void
check_visible(const JobStore *store, const JobSpec *spec, const JobSql *sql)
{
	int64 n, total;

	if (!job_sql_depends_on_session(spec))
		return;
	job_execute(sql->count, 0, NULL, NULL, NULL, SPI_OK_SELECT, 1);
	n = result_int8(0, 1);
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
take_page(JobWorker *worker, const JobStore *store, JobPage *page)
{
	JobSpec *spec = page->spec;
	Oid types[JOB_MAX_KEYS + 1];
	Datum values[JOB_MAX_KEYS + 1];
	int n_parameters = 0, n;
	JobIdentity identity;
	JobSql sql;
	char ***keys;
	text **prompts;
	int64 *hashes, *ids;

	page->next_position = NULL;
	page->next_exhausted = false;
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
	values[n_parameters++] = Int64GetDatum(page->n);
	n = job_execute(sql.page, n_parameters, types, values, NULL, SPI_OK_SELECT, 0);

	keys = palloc(sizeof *keys * Max(n, 1));
	prompts = palloc(sizeof *prompts * Max(n, 1));
	hashes = palloc(sizeof *hashes * Max(n, 1));
	ids = palloc(sizeof *ids * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		keys[i] = palloc(sizeof **keys * spec->n_keys);
		for (int k = 0; k < spec->n_keys; k++)
			keys[i][k] = result_string(i, k + 1);
		prompts[i] = result_text(i, spec->n_keys + 1);
		hashes[i] = result_int8(i, spec->n_keys + 2);
	}
	job_identity_end(&identity);
	page->next_exhausted = n < page->n;
	if (n > 0)
	{
		/* outlives the transaction */
		page->next_position = MemoryContextAlloc(worker->scratch, sizeof(char *) * spec->n_keys);
		for (int i = 0; i < spec->n_keys; i++)
			page->next_position[i] = MemoryContextStrdup(worker->scratch, keys[n - 1][i]);
	}
	claim_rows(worker, store, page, keys, n, ids);
	for (int i = 0; i < n; i++)
	{
		JobRow *row = job_row_add(worker, spec, ids[i], keys[i], 0);

		page->added[page->n_added++] = row;
		job_row_set_prompt(row, prompts[i], hashes[i]);
	}
}

/* One page, if the job can be had now. */
static void
page_body(JobWorker *worker, const JobStore *store, void *argument)
{
	JobPage *page = argument;
	bool ended;

	/* the next worker's, which has the settings of now */
	if (job_turn_is_over())
		return;
	if (job_lock(store, page->spec->job, &ended))
		take_page(worker, store, page);
	else if (ended)
		page->spec->is_done = true;
	else
		job_spec_pause(worker, page->spec, JOB_ROW_IS_LOCKED);
}

/* After the commit of a page: the job is behind it. */
static void
move_position(JobPage *page)
{
	JobSpec *spec = page->spec;

	spec->n_pauses = 0;
	spec->exhausted = page->next_exhausted;
	if (!page->next_position)
		return;
	if (!spec->position)
		spec->position = MemoryContextAllocZero(spec->memory, sizeof *spec->position * spec->n_keys);
	for (int i = 0; i < spec->n_keys; i++)
	{
		if (spec->position[i])
			pfree(spec->position[i]);
		spec->position[i] = MemoryContextStrdup(spec->memory, page->next_position[i]);
	}
}

int
job_page_take(JobWorker *worker, JobSpec *spec, int n)
{
	JobPage page = {.spec = spec, .n = n, .added = palloc0(sizeof(JobRow *) * n)};
	ErrorData *error;

	if (job_transaction(worker, page_body, &page, &error))
	{
		if (page.n_added > 0 || page.next_exhausted)
			move_position(&page);
		return page.n_added;
	}
	job_rows_free(worker, page.added, page.n_added);
	if (job_error_passes(error))
		job_spec_pause(worker, spec, error->message);
	else
		job_rows_fail(worker, spec, error->message);
	return 0;
}
