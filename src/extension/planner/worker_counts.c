/*
 * worker_counts.c - what a batching node has done in the workers of a parallel query.
 *
 * Each process of a parallel query has a window of its own. A worker keeps what its node has done in shared memory of
 * the query, a place a worker; the leader adds it up when that memory goes, which is when the workers have ended, and
 * EXPLAIN ANALYZE shows the sum. PostgreSQL gives such memory to nodes that are parallel-aware, so ours are below a
 * Gather.
 */
#include "worker_counts.h"

#include "storage/dsm.h"

struct WorkerCounts
{
	int n;
	BatchCounts of_worker[FLEXIBLE_ARRAY_MEMBER];
};

/* What the leader holds on to, in the query's memory. */
typedef struct Leader
{
	MemoryContextCallback at_end;
	BatchState *state;
	dsm_segment *segment; /* NULL: it is gone */
} Leader;

static void
add_counts(BatchCounts *sum, const BatchCounts *counts)
{
	sum->calls.requests += counts->calls.requests;
	sum->calls.prompt_tokens += counts->calls.prompt_tokens;
	sum->calls.cached_tokens += counts->calls.cached_tokens;
	sum->calls.completion_tokens += counts->calls.completion_tokens;
	sum->calls.constrained_tokens += counts->calls.constrained_tokens;
	sum->calls.forced_tokens += counts->calls.forced_tokens;
	sum->calls.mask_us += counts->calls.mask_us;
	sum->calls.failed += counts->calls.failed;
	sum->n_read += counts->n_read;
	sum->largest = Max(sum->largest, counts->largest);
	sum->waited_us = Max(sum->waited_us, counts->waited_us);
}

/* What this process has done. */
static BatchCounts
own_counts(const BatchState *state)
{
	const CallWindow *window = state->window;

	return (BatchCounts){window->counts, state->n_read, window->largest, window->waited_us};
}

/* Workers have ended: take their counts, before others use the places. */
static void
take_counts(BatchState *state)
{
	for (int i = 0; i < state->shared->n; i++)
		add_counts(&state->of_workers, &state->shared->of_worker[i]);
	memset(state->shared->of_worker, 0, sizeof state->shared->of_worker[0] * state->shared->n);
}

static void
on_detach(dsm_segment *segment, Datum argument)
{
	Leader *leader = (Leader *) DatumGetPointer(argument);

	take_counts(leader->state);
	leader->state->shared = NULL;
	leader->segment = NULL;
}

/* The query's memory goes first, as after an error. */
static void
on_end(void *argument)
{
	Leader *leader = argument;

	if (leader->segment)
		cancel_on_dsm_detach(leader->segment, on_detach, PointerGetDatum(leader));
}

Size
worker_counts_estimate(CustomScanState *node, ParallelContext *context)
{
	return offsetof(WorkerCounts, of_worker) + sizeof(BatchCounts) * context->nworkers;
}

void
worker_counts_begin(CustomScanState *node, ParallelContext *context, void *shared)
{
	BatchState *state = (BatchState *) node;
	WorkerCounts *counts = shared;
	Leader *leader;

	memset(counts, 0, worker_counts_estimate(node, context));
	counts->n = context->nworkers;
	/* without workers it is no shared memory */
	if (!context->seg)
		return;
	leader = MemoryContextAllocZero(node->ss.ps.state->es_query_cxt, sizeof *leader);
	*leader = (Leader){.at_end = {.func = on_end, .arg = leader}, .state = state, .segment = context->seg};
	MemoryContextRegisterResetCallback(node->ss.ps.state->es_query_cxt, &leader->at_end);
	on_dsm_detach(context->seg, on_detach, PointerGetDatum(leader));
	state->shared = counts;
}

void
worker_counts_begin_again(CustomScanState *node, ParallelContext *context, void *shared)
{
	BatchState *state = (BatchState *) node;

	if (state->shared)
		take_counts(state);
}

void
worker_counts_join(CustomScanState *node, shm_toc *toc, void *shared)
{
	((BatchState *) node)->shared = shared;
}

void
worker_counts_tell(const BatchState *state)
{
	if (IsParallelWorker() && state->shared && ParallelWorkerNumber < state->shared->n)
		state->shared->of_worker[ParallelWorkerNumber] = own_counts(state);
}

BatchCounts
worker_counts_sum(const BatchState *state)
{
	BatchCounts sum = own_counts(state);

	add_counts(&sum, &state->of_workers);
	return sum;
}
