/*
 * worker_specs.c - the jobs and triggers that a worker works for: which there are, which wait, which are over.
 */
#include "worker_specs.h"

#include "catalog/pg_type.h"
#include "ends.h"
#include "floor.h"
#include "store.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "values.h"
#include "worker_transaction.h"

#define FIRST_PAUSE_MS 50

JobSpec *
job_spec_find(const JobWorker *worker, int64 job)
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

void
job_spec_add(JobWorker *worker, JobSpec *spec)
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
job_specs_start_anew(JobWorker *worker)
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

void
job_specs_drop_done(JobWorker *worker)
{
	bool again = true;

	while (again)
	{
		ListCell *cell;

		again = false;
		foreach (cell, worker->specs)
		{
			JobSpec *spec = lfirst(cell);

			if (spec->is_done ||
				(spec->trigger && spec->n_rows == 0 && !spec->is_held && spec->looked_at + 1 < worker->n_fetches))
			{
				drop_spec(worker, spec);
				again = true;
				break;
			}
		}
	}
}

void
job_spec_pause(JobWorker *worker, JobSpec *spec, const char *why)
{
	int64 wait_ms = Min((int64) FIRST_PAUSE_MS << Min(spec->n_pauses, 8), JOB_LAST_PAUSE_MS);

	if (spec->n_pauses++ > 0)
		job_rows_trouble(worker, spec, why);
	spec->pause_until = TimestampTzPlusMilliseconds(job_clock(), wait_ms);
}

void
job_spec_hold(JobWorker *worker, JobSpec *spec, const char *why)
{
	/* many rows may be refused at once: that is one pause */
	if (!job_spec_is_put_off(spec))
		job_spec_pause(worker, spec, why);
	spec->is_held = true;
}

bool
job_spec_is_put_off(const JobSpec *spec)
{
	return spec->is_held && job_clock() < spec->pause_until;
}

void
job_spec_release(JobSpec *spec)
{
	if (spec->n_aside > 0)
		return;
	spec->is_held = false;
	spec->n_pauses = 0;
}

void
job_specs_ask_for_rows(JobWorker *worker)
{
	ListCell *cell;

	foreach (cell, worker->specs)
	{
		JobSpec *spec = lfirst(cell);

		spec->is_looked_for = spec->is_held && spec->n_rows == 0 && job_clock() >= spec->pause_until;
		if (!spec->is_looked_for)
			continue;
		worker->look_for_rows = true;
		worker->last_id = 0;
	}
}

void
job_specs_have_looked(const JobWorker *worker)
{
	ListCell *cell;

	/* the rest of them comes with the next look */
	if (worker->look_for_rows)
		return;
	foreach (cell, worker->specs)
	{
		JobSpec *spec = lfirst(cell);

		if (spec->is_looked_for && spec->n_rows == 0)
			job_spec_release(spec);
	}
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
		jobs[i] = result_int8(i, 1);
	foreach (cell, worker->specs)
	{
		JobSpec *spec = lfirst(cell);
		bool found = spec->trigger != NULL;

		for (int i = 0; i < n; i++)
			found |= jobs[i] == spec->job;
		spec->is_done |= !found;
	}
	for (int i = 0; i < n; i++)
		if (!job_spec_find(worker, jobs[i]))
		{
			JobSpec *spec = job_store_load(store, jobs[i], worker->memory);

			if (spec)
				job_spec_add(worker, spec);
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
job_specs_refresh(JobWorker *worker)
{
	ErrorData *error;
	bool done = job_transaction(worker, refresh_body, NULL, &error);

	if (!done)
	{
		job_rows_trouble(worker, NULL, psprintf("the jobs could not be read: %s", error->message));
		job_log_failure("the jobs could not be read", error);
	}
	/* some may have been cancelled */
	job_announce_end();
	job_specs_drop_done(worker);
	list_sort(worker->specs, compare_specs);
	return done;
}
