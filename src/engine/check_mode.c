/*
 * check_mode.c - see check_mode.h.
 *
 * A file that somebody was sent may have been made to break its reader. So it is read by a process of its own, which is
 * started for it, has a bound on the memory that it may take, and leaves nothing behind but lines of text; the session
 * that asked reads these as it reads anything from outside.
 */
#include "check_mode.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../base/memory.h"
#include "../protocol/check_lines.h"
#include "death_watch.h"
#include "kv_cache.h"

#define MEMORY_BYTES ((rlim_t) 4 << 30) /* of address space: heads have 256 MB at most, and there may be some */
#define POOL_BYTES ((uint64_t) 1 << 30)

static void
add_line(void *argument, const char *item, const char *value, const char *problem)
{
	check_line_write(argument, item, value, problem);
}

/* What keys and values take, and how many tokens there is room for. The status says where there is none for a single
 * request: the model would not be served. */
static Status
add_cache(const CheckSettings *settings, const ModelHyper *hyper, bool key_outliers, ByteWriter *lines)
{
	/* of address space; the rest is arithmetic */
	uint64_t bytes = settings->kv_cache_bytes > 0 ? settings->kv_cache_bytes
												  : memory_cache_limit(0, memory_total(), memory_available(), 0);
	KvBudget *budget = kv_budget_create(bytes < POOL_BYTES ? bytes : POOL_BYTES);
	char value[64], problem[256];
	KvPool *pool = NULL;
	uint64_t block, context_bytes, n_positions, state = 0;
	Status status;

	status = budget ? kv_pool_create(budget, hyper, settings->kv_type, key_outliers, &pool)
					: status_error(STATUS_UNAVAILABLE, "out of memory");
	if (status.code != STATUS_OK)
	{
		check_line_write(lines, "kv_bytes_per_token", NULL, status.message);
		kv_budget_destroy(budget);
		return status;
	}
	block = kv_pool_block_bytes(pool);
	snprintf(value, sizeof value, "%llu", (unsigned long long) (block / KV_BLOCK_POSITIONS));
	check_line_write(lines, "kv_bytes_per_token", value, NULL);
	if (kv_pool_states(pool))
		state = kv_pool_block_bytes(kv_pool_states(pool));
	context_bytes = block * kv_blocks_for(hyper->context_length);
	n_positions = (bytes > state ? bytes - state : 0) / block * KV_BLOCK_POSITIONS;
	snprintf(value, sizeof value, "%llu", (unsigned long long) state);
	if (state > 0)
	{
		check_line_write(lines, "state_type", state_type_name((StateType) hyper->state_type), NULL);
		check_line_write(lines, "state_bytes", value, NULL);
	}
	snprintf(value, sizeof value, "%llu", (unsigned long long) context_bytes);
	snprintf(problem, sizeof problem,
			 "qwen.kv_cache_size (%llu MB) holds %llu tokens, so that longer texts are refused though the context is "
			 "of %u",
			 (unsigned long long) (bytes >> 20), (unsigned long long) n_positions, hyper->context_length);
	check_line_write(lines, "kv_bytes_of_context", value, n_positions < hyper->context_length ? problem : NULL);
	kv_pool_destroy(pool);
	kv_budget_destroy(budget);
	return status_ok();
}

/* All of it to the pipe. */
static Status
write_all(int fd, const ByteWriter *lines)
{
	size_t done = 0;

	if (lines->failed)
		return status_error(STATUS_UNAVAILABLE, "out of memory for what was found");
	while (done < lines->length)
	{
		ssize_t n = write(fd, lines->data + done, lines->length - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return status_error(STATUS_UNAVAILABLE, "cannot write what was found: %s", strerror(errno));
		done += (size_t) n;
	}
	return status_ok();
}

Status
check_mode_run(const CheckSettings *settings)
{
	const struct rlimit memory = {MEMORY_BYTES, MEMORY_BYTES};
	ModelCheck check = {
		.directory = settings->directory,
		.file = settings->file,
		.without_heads = settings->without_heads,
		.cache_bytes = settings->cache_bytes,
		.line = add_line,
	};
	ByteWriter lines;
	ModelHyper hyper;
	bool key_outliers;
	Status status, cache;

	(void) setrlimit(RLIMIT_AS, &memory);
	if (settings->death_fd >= 0)
		STATUS_TRY(death_watch_start(settings->death_fd));
	byte_writer_init(&lines);
	check.argument = &lines;
	status = model_check(&check, &hyper, &key_outliers);
	hyper.state_type = settings->state_type;
	cache = hyper.architecture != 0 ? add_cache(settings, &hyper, key_outliers, &lines) : status_ok();
	if (status.code == STATUS_OK && cache.code == STATUS_TOO_LONG)
		status = cache;
	check_lines_end(&lines, &status);
	status = write_all(settings->answer_fd, &lines);
	byte_writer_free(&lines);
	return status;
}
