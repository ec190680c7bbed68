/*
 * requests.h - what a transaction asks for at its commit.
 */
#ifndef QWEN_REQUESTS_H
#define QWEN_REQUESTS_H

#include "../core/core.h"

/* In this transaction rows were queued for a role of this database: at its commit a worker is asked for. */
extern void job_request_worker(Oid role);

/* The same for all else: a worker that runs looks at once at its jobs, and for rows from the beginning of the queue. */
extern void job_call_worker(Oid role);

/* This transaction deletes rows of a role that may have dead letters: at its commit a sweep is asked for. */
extern void job_request_sweep(Oid role);

#endif
