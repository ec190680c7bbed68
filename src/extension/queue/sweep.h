/*
 * sweep.h - what is over goes away.
 */
#ifndef QWEN_SWEEP_H
#define QWEN_SWEEP_H

#include "store.h"
#include "worker_rows.h"

/* In SPI: some of the jobs and rows that have had their time; how many rows. Again while it is a thousand or more. */
extern int64 job_sweep(const JobStore *store);

/* The same until nothing is left, and dead letters of rows that are gone. Runs transactions of its own. */
extern void job_sweep_as_worker(JobWorker *worker);

#endif
