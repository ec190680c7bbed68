/*
 * worker_specs.h - the jobs and triggers that a worker works for.
 */
#ifndef QWEN_WORKER_SPECS_H
#define QWEN_WORKER_SPECS_H

#include "worker_rows.h"

#define JOB_LAST_PAUSE_MS 2000

/* A job that is here; NULL: it is not. */
extern JobSpec *job_spec_find(const JobWorker *worker, int64 job);

extern void job_spec_add(JobWorker *worker, JobSpec *spec);

/* Something that passes keeps a spec from being read now; it is told of unless it passes at once. */
extern void job_spec_pause(JobWorker *worker, JobSpec *spec, const char *why);

/* What stands against its rows stands against all that are sent for a while: they go back to where they are looked for
 * when the pause ends, and leave their room to others. */
extern void job_spec_hold(JobWorker *worker, JobSpec *spec, const char *why);

/* Is a spec held, and its pause not over? */
extern bool job_spec_is_put_off(const JobSpec *spec);

/* A request of it has passed the door, and none waits there: pages are taken again, and the next pause is a short one.
 */
extern void job_spec_release(JobSpec *spec);

/* Rows of a spec that were sent back are looked for when its pause ends; and when there are none any more, nothing
 * holds it. Before and after a look at qwen_job_row. */
extern void job_specs_ask_for_rows(JobWorker *worker);
extern void job_specs_have_looked(const JobWorker *worker);

/* Forget specs that are over, and triggers without rows that were not looked up lately. */
extern void job_specs_drop_done(JobWorker *worker);

/* Forget all jobs and rows: they are of tables that are gone. */
extern void job_specs_start_anew(JobWorker *worker);

/* Learn which jobs there are, and which have ended; false: they could not be read. Runs a transaction of its own. */
extern bool job_specs_refresh(JobWorker *worker);

#endif
