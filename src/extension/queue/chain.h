/*
 * chain.h - that what a worker writes for a trigger does not queue the same row for the same trigger again.
 */
#ifndef QWEN_CHAIN_H
#define QWEN_CHAIN_H

#include "worker_rows.h"

/* From here on to job_chain_end the answers of these rows are written; of a job: nothing is remembered. */
extern void job_chain_begin(const JobSpec *spec, JobRow *const *rows, int n);
extern void job_chain_end(void);

/* Does this process write answers of a trigger's rows? */
extern bool job_chain_runs(void);

/* Is it the row that is answered for the trigger? */
extern bool job_chain_answers(Oid relation, Oid trigger, char *const *key, int n);

/*
 * A trigger wants to queue a row because of that. false: it is the very row that is answered for the trigger, or was on
 * the way here. *via: the chain it has, a bigint[]. Raises where that is too long.
 */
extern bool job_chain_extend(Oid relation, Oid trigger, const char *name, char *const *key, int n, Datum *via);

/* A row that is here was queued again, on another way: what both have in common is left. */
extern void job_chain_merge(JobRow *row, const int64 *via, int n);

#endif
