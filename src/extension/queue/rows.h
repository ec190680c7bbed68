/*
 * rows.h - how a worker learns of its jobs and gets their rows, and how jobs end. Each runs short transactions of its
 * own.
 */
#ifndef QWEN_ROWS_H
#define QWEN_ROWS_H

#include "store.h"
#include "worker_rows.h"

#include "access/htup.h"
#include "access/tupdesc.h"

#define JOB_ROW_IS_LOCKED "another session has its row of qwen_job_table locked"

/* Forget all jobs and rows: they are of tables that are gone. */
extern void job_rows_start_anew(JobWorker *worker);

/* Learn which jobs there are, and which have ended; false: they could not be read. */
extern bool job_rows_refresh(JobWorker *worker);

/* Take up to n more rows; the number that came. */
extern int job_rows_fetch(JobWorker *worker, int n);

/* The columns of qwen_job_row that a queued row is read from, in order. */
#define QUEUED_COLUMNS "id, job, relation, trigger, key, attempts, trigger_oid, key_numbers, via"

/* Id, trigger and key of a row of these that a trigger queued; NULL: its trigger cannot be had. Palloc'd. */
extern JobSpec *job_rows_letter(JobWorker *worker, const JobStore *store, HeapTuple tuple, TupleDesc columns, int64 *id,
								char ***key);

/* When the next row that waits for another attempt is to be tried; 0: there is none. */
extern TimestampTz job_rows_next_try(JobWorker *worker);

/* Give jobs that have no rows left their end; tell why nothing moves. */
extern void job_rows_finish(JobWorker *worker);

#endif
