/*
 * queue.h - the room's door: jobs, and rows that triggers queue.
 *
 * Its files, by who does what: spec.c makes specs, prompt_template.c SQL of a prompt's template, row_sql.c the
 * statements over the user's tables, keys.c the comparisons of keys in them, parameters.c their parameters, values.h
 * reads their results; store.c has our own tables, entries.c puts rows of
 * triggers into them, rights.c says who may touch what in them; trigger_use.c says how our triggers are to be used,
 * new_trigger.c looks at those that are made, lost_trigger.c at those that go, lost_column.c at columns that go,
 * lost_key.c at keys of another type (key_casts.c says which can be followed, queued_keys.c does, key_look.c asks for
 * many at once), renamed_label.c at values of enums, lost_extension.c at what goes with the extension; source.c reads a
 * job's source, jobs.c checks and queues it, job_control.c has what users do with it then. places.c says where work
 * waits, requests.c asks for workers at a commit, prepared.c at COMMIT PREPARED, starts.c starts them, worker_place.c
 * is a worker's part of that, place_views.c shows it; scout.c looks for work that was left; ends.c wakes who waits for
 * a job; letters.c knows which tables have dead letters, sweep_times.c when what is over is swept away.
 *
 * worker.c is a worker, worker_rows.c what it has in its hands, worker_specs.c the jobs and triggers that it works for,
 * fetch.c its transactions that fetch rows (worker_transaction.c runs them, worker_settings.c sees settings change):
 * pages.c of jobs' queries, queued.c of the queue, whose triggers trigger_specs.c looks up; calls.c its requests to the
 * engine, write.c writes answers (row_errors.c says which value of one a table refuses), settle.c settles their entries
 * in the queue, chain.c keeps them from going round; job_ends.c ends jobs; floor.c says from where a queue is read;
 * sweep.c sweeps.
 */
#ifndef QWEN_QUEUE_H
#define QWEN_QUEUE_H

#include "entries.h"
#include "starts.h"
#include "target.h"
#include "trigger_use.h"

/* Ask PostgreSQL for memory, and begin with it (under AddinShmemInitLock). */
extern void job_shared_request(void);
extern void job_shared_start(void);

/* In the postmaster: hear of statements that end. */
extern void job_queue_init(void);

#endif
