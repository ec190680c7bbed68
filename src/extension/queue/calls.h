/*
 * calls.h - a worker's requests to the engine.
 */
#ifndef QWEN_CALLS_H
#define QWEN_CALLS_H

#include "worker_rows.h"

/* Send what is ready and take what has come; true: something moved. */
extern bool job_calls_advance(JobWorker *worker);

/* The engine showed no sign for a while: rows of one that does not start are put back. */
extern void job_calls_check(JobWorker *worker);

#endif
