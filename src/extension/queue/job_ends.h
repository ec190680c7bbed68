/*
 * job_ends.h - how jobs end.
 */
#ifndef QWEN_JOB_ENDS_H
#define QWEN_JOB_ENDS_H

#include "worker_rows.h"

/* Give jobs that have no rows left their end; tell why nothing moves. Runs transactions of its own. */
extern void job_specs_finish(JobWorker *worker);

#endif
