/*
 * worker_counts.h - what a batching node has done in the workers of a parallel query; see worker_counts.c.
 */
#ifndef QWEN_WORKER_COUNTS_H
#define QWEN_WORKER_COUNTS_H

#include "batch_state.h"

#include "access/parallel.h"

/* Methods of the node; called below a Gather only. */
extern Size worker_counts_estimate(CustomScanState *node, ParallelContext *context);
extern void worker_counts_begin(CustomScanState *node, ParallelContext *context, void *shared);
extern void worker_counts_begin_again(CustomScanState *node, ParallelContext *context, void *shared);
extern void worker_counts_join(CustomScanState *node, shm_toc *toc, void *shared);

/* In a worker: tell the leader how far this node is. */
extern void worker_counts_tell(const BatchState *state);

/* What the node has done in this process and in workers that have ended. */
extern BatchCounts worker_counts_sum(const BatchState *state);

#endif
