/*
 * job_blocks.c - see job_blocks.h.
 */
#include "job_blocks.h"

#include <string.h>

#include "slots.h"

/* Who may see block number index of a job. */
static uint32_t
scope_of(const Job *job, uint32_t index)
{
	return (index + 1) * KV_BLOCK_POSITIONS <= job->n_shared_tokens ? PREFIX_SCOPE_SHARED : job->scope;
}

/* The block before number index, as the cache knows it. */
static uint32_t
parent_of(const Job *job, uint32_t index)
{
	return index == 0 ? PREFIX_NONE : job->blocks[index - 1];
}

/* Positions whose blocks can be shared: those that are never written again. SCORE puts one path after the other behind
 * its prompt. */
static uint32_t
n_lasting(const Job *job)
{
	return job->scorer && job->n_tokens > job->n_prompt ? job->n_prompt : job->n_tokens;
}

void
job_use_cached(Job *job)
{
	uint32_t end = n_lasting(job);

	if (end == job->n_tokens)
		end--;
	while (job->uses_cache && job->n_done == job->n_blocks * KV_BLOCK_POSITIONS &&
		   job->n_done + KV_BLOCK_POSITIONS <= end)
	{
		uint32_t block = prefix_cache_find(job->slot->cache, parent_of(job, job->n_blocks),
										   scope_of(job, job->n_blocks), job->tokens + job->n_done);

		if (block == PREFIX_NONE)
			return;
		job->blocks[job->n_blocks++] = block;
		job->n_cached_blocks++;
		job->n_done += KV_BLOCK_POSITIONS;
	}
}

void
job_share_blocks(Job *job)
{
	uint32_t end = n_lasting(job);

	if (end > job->n_done)
		end = job->n_done;
	while (job->uses_cache && (job->n_cached_blocks + 1) * KV_BLOCK_POSITIONS <= end)
	{
		uint32_t i = job->n_cached_blocks++;

		job->blocks[i] = prefix_cache_add(job->slot->cache, parent_of(job, i), scope_of(job, i),
										  job->tokens + (size_t) i * KV_BLOCK_POSITIONS, job->blocks[i]);
	}
}

bool
job_waits_for(const Job *job, const Job *other)
{
	uint32_t index = job->n_done / KV_BLOCK_POSITIONS;
	size_t first = (size_t) index * KV_BLOCK_POSITIONS;

	/* at the beginning of a whole block of both … */
	if (!job->uses_cache || !other->uses_cache || job->slot != other->slot || job->n_done % KV_BLOCK_POSITIONS != 0 ||
		other->n_done / KV_BLOCK_POSITIONS != index || first + KV_BLOCK_POSITIONS >= job->n_tokens ||
		first + KV_BLOCK_POSITIONS > n_lasting(job) || first + KV_BLOCK_POSITIONS > n_lasting(other))
		return false;
	/* … that is the same and comes after the same */
	return scope_of(job, index) == scope_of(other, index) && job->n_cached_blocks == index &&
		   other->n_cached_blocks == index && parent_of(job, index) == parent_of(other, index) &&
		   memcmp(job->tokens + first, other->tokens + first, KV_BLOCK_POSITIONS * sizeof *job->tokens) == 0;
}

void
job_give_blocks(Job *job)
{
	kv_pool_give(job->slot->pool, job->n_blocks - job->n_cached_blocks, job->blocks + job->n_cached_blocks);
	prefix_cache_release(job->slot->cache, job->n_cached_blocks, job->blocks);
	job->n_blocks = job->n_cached_blocks = 0;
	job->n_done = 0;
	/* what came of all rows so far comes again */
	if (job->pooled)
		memset(job->pooled, 0, job->model->hyper.hidden * sizeof *job->pooled);
	if (job->kind == REQUEST_LOGPROBS)
		job->n_scored = 0, job->logprobs.length = 0, job->content.length = 0;
}

uint64_t
job_bytes_wanted(const Job *job)
{
	uint32_t positions = job->n_tokens + KV_BLOCK_POSITIONS, n;

	n = kv_blocks_for(positions < job_positions(job) ? positions : job_positions(job));
	return n > job->n_blocks ? (n - job->n_blocks) * kv_pool_block_bytes(job->slot->pool) : 0;
}

uint64_t
job_bytes(const Job *job)
{
	return kv_blocks_for(job_positions(job)) * kv_pool_block_bytes(job->slot->pool);
}

uint64_t
job_bytes_freed(const Job *job)
{
	uint32_t n = job->n_blocks - job->n_cached_blocks;

	n += prefix_cache_n_own(job->slot->cache, job->n_cached_blocks, job->blocks);
	return n * kv_pool_block_bytes(job->slot->pool) + job_bytes_wanted(job);
}

bool
job_is_prefilling(const Job *job)
{
	return job->n_generated == 0 || job_rows_left(job) > 1;
}
