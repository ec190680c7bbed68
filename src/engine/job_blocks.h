/*
 * job_blocks.h - a job's KV blocks: taken from the prefix cache where they are there, left to it when they are full.
 *
 * A job's blocks stand in order of position. The first n_cached_blocks are the prefix cache's, full, with a reference
 * of this job; behind them at most those are the job's own that it writes to. How many blocks a job gets, and from
 * whom, is the scheduler's business.
 */
#ifndef QWEN_JOB_BLOCKS_H
#define QWEN_JOB_BLOCKS_H

#include "job.h"

/* Use cached blocks for what comes next of it: n_done moves on over as many positions as are cached. At least its last
 * token is left to compute. */
extern void job_use_cached(Job *job);

/* After rows were computed: make the blocks that are full by now the cache's. */
extern void job_share_blocks(Job *job);

/* Another job is computing the very block that this one needs next, and may share it: waiting for it is no slower and
 * costs nothing. */
extern bool job_waits_for(const Job *job, const Job *other);

/* Give back all its blocks; what is full stays cached. Everything that it has computed has to be computed again, its
 * tokens stay. */
extern void job_give_blocks(Job *job);

/* Bytes of blocks that it will soon need beyond those it holds: for all its tokens and a little more. */
extern uint64_t job_bytes_wanted(const Job *job);

/* Bytes of blocks for all of its prompt and answer. */
extern uint64_t job_bytes(const Job *job);

/* Bytes that others can have when it runs no more: its blocks that nobody else uses, and what it would soon need. */
extern uint64_t job_bytes_freed(const Job *job);

/* Does it still compute its prompt (or, after preemption, all of its tokens again)? */
extern bool job_is_prefilling(const Job *job);

#endif
