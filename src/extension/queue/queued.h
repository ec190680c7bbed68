/*
 * queued.h - rows of qwen_job_row, and what becomes of those that nobody can work on.
 */
#ifndef QWEN_QUEUED_H
#define QWEN_QUEUED_H

#include "trigger_specs.h"

#include "access/htup.h"
#include "access/tupdesc.h"

/* The columns that a row is read from, in order. */
#define QUEUED_COLUMNS "id, job, relation, trigger, key, attempts, trigger_oid, key_numbers, via"

/* A row of qwen_job_row that waits. */
typedef struct Queued
{
	int64 id, job; /* job: 0 of a trigger's */
	QueuedBy by;
	Datum key; /* text[] */
	int attempts;
	int64 *via; /* [n_via] */
	int n_via;
} Queued;

/* Read one from these columns. Palloc'd. */
extern void job_queued_read(HeapTuple tuple, TupleDesc columns, Queued *queued);

/* The spec that a row belongs to; NULL: it is not worked on now, or never, which is written down. In SPI. */
extern JobSpec *job_queued_spec(JobWorker *worker, const JobStore *store, const Queued *queued);

/* The key as strings: [n_keys]; false: it has another number of columns than the spec's. */
extern bool job_queued_key(const Queued *queued, const JobSpec *spec, char **key);

/* Put a row aside that its trigger cannot fill in. In SPI. */
extern void job_queued_bury(const JobStore *store, int64 id, const char *error, int sqlstate);

/* Id, trigger and key of a row that a trigger queued; NULL: its trigger cannot be had. Palloc'd. */
extern JobSpec *job_queued_letter(JobWorker *worker, const JobStore *store, HeapTuple tuple, TupleDesc columns,
								  int64 *id, char ***key);

#endif
