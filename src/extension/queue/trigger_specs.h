/*
 * trigger_specs.h - the triggers by which rows were queued.
 */
#ifndef QWEN_TRIGGER_SPECS_H
#define QWEN_TRIGGER_SPECS_H

#include "store.h"
#include "worker_rows.h"

/* By whom a row was queued, as the queue says it. */
typedef struct QueuedBy
{
	Oid relation;     /* the trigger's table */
	const char *name; /* the trigger's when the row was queued; NULL: it is a job's row */
	Oid number;
	int n_key_numbers; /* 0: not known, as of an older version's */
	AttrNumber key_numbers[JOB_MAX_KEYS];
} QueuedBy;

/*
 * The spec of the trigger: one that is here, or a new one. NULL: the trigger is gone, or as *is_gone says the table, or
 * it cannot be looked up now, as *error says (else NULL).
 */
extern JobSpec *job_trigger_spec(JobWorker *worker, const JobStore *store, const QueuedBy *by, bool *is_gone,
								 ErrorData **error);

#endif
