/*
 * job_ends.c - how jobs end: with all rows finished, or because they cannot go on.
 */
#include "job_ends.h"

#include "catalog/pg_type.h"
#include "ends.h"
#include "executor/spi.h"
#include "store.h"
#include "utils/builtins.h"
#include "values.h"
#include "worker_specs.h"
#include "worker_transaction.h"

typedef struct Ending
{
	JobSpec *spec;
	const char *error; /* NULL: all its rows are finished */
	bool has_ended;
	bool is_left; /* some are not */
} Ending;

static void
end_body(JobWorker *worker, const JobStore *store, void *argument)
{
	Ending *ending = argument;
	Oid types[2] = {INT8OID, TEXTOID};
	Datum values[2] = {Int64GetDatum(ending->spec->job),
					   ending->error ? CStringGetTextDatum(ending->error) : (Datum) 0};
	JobIdentity identity;
	bool ended;

	ending->is_left = false;
	if (!job_lock(store, ending->spec->job, &ended))
	{
		ending->has_ended = ended;
		return;
	}
	job_identity_begin(store, &identity);
	if (!ending->error)
		ending->is_left = job_execute(psprintf("SELECT 1 FROM %s WHERE job = $1 AND NOT dead LIMIT 1", store->row), 1,
									  types, values, NULL, SPI_OK_SELECT, 0) > 0;
	if (!ending->is_left)
	{
		/* fewer than were counted: the row says so */
		job_execute(
			psprintf("UPDATE %s SET state = CASE WHEN $2 IS NULL THEN 'done' ELSE 'failed' END, "
					 "total = CASE WHEN $2 IS NULL THEN done + failed ELSE total END, "
					 "started = coalesce(started, now()), ended = now(), error = coalesce($2, CASE WHEN "
					 "done + failed < total THEN format('%%s of the %%s rows that were counted at submit were not "
					 "there any more when the job came to them', total - done - failed, total) END) "
					 "WHERE id = $1 RETURNING " JOB_SHOWN_STATE,
					 store->job),
			2, types, values, ending->error ? NULL : " n", SPI_OK_UPDATE_RETURNING, 0);
		job_notify_end(ending->spec->job, result_string(0, 1));
		ending->has_ended = true;
	}
	job_identity_end(&identity);
	if (ending->is_left)
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
		job_spec_pause(worker, spec, failure->message);
		job_log_failure(psprintf("job " INT64_FORMAT " could not be ended", spec->job), failure);
		return;
	}
	if (!ending.has_ended)
	{
		job_spec_pause(worker, spec,
					   ending.is_left ? "rows that failed wait for their next attempt" : JOB_ROW_IS_LOCKED);
		return;
	}
	spec->is_done = true;
	job_announce_end();
}

void
job_specs_finish(JobWorker *worker)
{
	ListCell *cell;

	foreach (cell, worker->specs)
	{
		JobSpec *spec = lfirst(cell);
		bool is_over = worker->is_orphan || spec->failure[0] ||
					   (spec->exhausted && spec->n_rows == 0 && !spec->is_held && !worker->look_for_rows);

		if (!spec->trigger && !spec->is_done && is_over && job_clock() >= spec->pause_until)
			end_job(worker, spec,
					worker->is_orphan  ? "the role that owns the job was dropped"
					: spec->failure[0] ? spec->failure
									   : NULL);
	}
	job_specs_drop_done(worker);
	if (job_clock() > worker->trouble_until)
		worker->trouble[0] = '\0';
	job_worker_tell(worker->trouble);
}
