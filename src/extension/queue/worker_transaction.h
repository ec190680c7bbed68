/*
 * worker_transaction.h - how a worker runs its short transactions.
 */
#ifndef QWEN_WORKER_TRANSACTION_H
#define QWEN_WORKER_TRANSACTION_H

#include "store.h"
#include "worker_rows.h"

typedef void (*JobBody)(JobWorker *worker, const JobStore *store, void *argument);

/*
 * Run body in a transaction with SPI; false: it was rolled back and *error says why (in worker->scratch). Finds the
 * extension first and sets worker->is_gone, without running body, where it is not there; that is no error.
 */
extern bool job_transaction(JobWorker *worker, JobBody body, void *argument, ErrorData **error);

/* The same in a subtransaction of the one that runs. */
extern bool job_subtransaction(JobWorker *worker, const JobStore *store, JobBody body, void *argument,
							   ErrorData **error);

/* The error that was just caught, in worker->scratch; it is handled. The current memory context must be restored
 * before. */
extern ErrorData *job_take_error(JobWorker *worker);

/* Does it pass by itself: a lock, a deadlock, a serialization failure, a shortage? */
extern bool job_error_passes(const ErrorData *error);

#define JOB_ROW_IS_LOCKED "another session has its row of qwen_job_table locked"

/* Say in the server log what a transaction could not do, where somebody has to know. */
extern void job_log_failure(const char *what, const ErrorData *error);

/* Lock an active job's row unless somebody else has it locked; false: not now, and *ended says whether ever. */
extern bool job_lock(const JobStore *store, int64 job, bool *ended);

#endif
