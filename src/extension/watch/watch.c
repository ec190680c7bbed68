/*
 * watch.c - a request's life as client.c tells it, for those who watch.
 */
#include "watch.h"

#include "../../base/clock.h"
#include "../core/errors.h"
#include "../core/settings.h"
#include "../core/shared_memory.h"
#include "activity.h"
#include "function_name.h"
#include "miscadmin.h"
#include "progress.h"
#include "stats.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

/* Functions of requests that do not say whose they are. */
static const char *const kind_names[] = {
	[REQUEST_CHAT] = "qwen_chat",
	[REQUEST_GENERATE] = "qwen_generate",
	[REQUEST_EMBED] = "qwen_embed",
	[REQUEST_TOKENIZE] = "qwen_tokenize",
	[REQUEST_DETOKENIZE] = "qwen_detokenize",
	[REQUEST_COUNT_TOKENS] = "qwen_count_tokens",
	[REQUEST_RENDER_CHAT] = "qwen_render_chat",
	[REQUEST_LOGPROBS] = "qwen_logprobs",
	[REQUEST_SCORE] = "qwen_classify_scores",
	[REQUEST_CHUNK] = "qwen_chunk",
	[REQUEST_RERANK] = "qwen_rerank_score",
	[REQUEST_CHECK_FORMAT] = "qwen_check_format",
};

/* The SQL function that a request is of. */
static void
set_function(WatchedRequest *watched, const Request *request)
{
	const char *symbol = request->function;

	if (!symbol)
		symbol = request->kind < lengthof(kind_names) ? kind_names[request->kind] : "";
	watch_function_name(watched->function, symbol);
}

void
watch_begin(WatchedRequest *watched, const Request *request)
{
	memset(watched, 0, sizeof *watched);
	watched->role = GetOuterUserId();
	watched->kind = request->kind;
	watched->submitted_us = clock_now_us();
	set_function(watched, request);
	watched->entry = activity_add(watched);
}

void
watch_model(WatchedRequest *watched, const char *model)
{
	/* names that users make up would fill the statistics */
	if (!slot_is_there(model))
		return;
	strlcpy(watched->model, model, sizeof watched->model);
	if (watched->entry >= 0)
		activity_set_model(watched->entry, model);
}

void
watch_accepted(WatchedRequest *watched, const Accepted *accepted)
{
	if (watched->entry >= 0)
		activity_set_prompt_tokens(watched->entry, accepted->prompt_tokens);
}

void
watch_go(WatchedRequest *watched, uint32 meter)
{
	watched->has_go = true;
	watched->go_us = clock_now_us();
	watched->meter = meter;
	if (watched->entry >= 0)
		activity_set_go(watched->entry, meter);
}

void
watch_no_room(WatchedRequest *watched)
{
	watched->has_go = false;
	if (watched->entry >= 0)
		activity_set_no_room(watched->entry);
}

void
watch_end(WatchedRequest *watched)
{
	if (watched->ended_us != 0)
		return;
	watched->ended_us = clock_now_us();
	if (watched->has_go)
	{
		watched->used_prompt_tokens = atomic_load(&qwen_page->meters[watched->meter].prompt_tokens);
		watched->used_completion_tokens = atomic_load(&qwen_page->meters[watched->meter].completion_tokens);
	}
	if (watched->entry >= 0)
		activity_remove(watched->entry);
	watched->entry = -1;
}

/* Count a request once. */
static void
count(WatchedRequest *watched, RequestOutcome *outcome)
{
	if (watched->counted)
		return;
	watched->counted = true;
	stats_count(watched, outcome);
}

/* From GO, or from the beginning where there was none, to the end. */
static uint64
time_taken(const WatchedRequest *watched)
{
	return watched->ended_us - (watched->has_go ? watched->go_us : watched->submitted_us);
}

/* An end that is no answer: what was used until then is used. */
static void
count_unanswered(WatchedRequest *watched, RequestEnd end, int sqlstate)
{
	RequestOutcome outcome = {.end = end};

	if (watched->counted || watched->submitted_us == 0)
		return;
	watch_end(watched);
	outcome.error_class = stats_error_class(sqlstate);
	outcome.total_us = time_taken(watched);
	outcome.prompt_tokens = watched->used_prompt_tokens;
	outcome.completion_tokens = watched->used_completion_tokens;
	count(watched, &outcome);
}

void
watch_answered(WatchedRequest *watched, const EngineReply *reply)
{
	RequestOutcome outcome = {.end = ENDED_WELL};

	if (reply->type == FRAME_ERROR)
	{
		watch_failed(watched, sqlstate_of(reply->error.code));
		return;
	}
	outcome.total_us = time_taken(watched);
	if (reply->type == FRAME_DONE)
	{
		outcome.prompt_tokens = reply->done.prompt_tokens;
		outcome.cached_tokens = reply->done.cached_tokens;
		outcome.completion_tokens = reply->done.completion_tokens;
		outcome.has_first_token = reply->done.completion_tokens > 0;
		outcome.queue_us = reply->done.queue_us;
		outcome.ttft_us = Min(reply->done.ttft_us, reply->done.total_us);
		outcome.total_us = reply->done.total_us;
		outcome.constrained_tokens = reply->done.constrained_tokens;
		outcome.forced_tokens = reply->done.forced_tokens;
		outcome.mask_us = reply->done.mask_us;
	}
	else if (watched->has_go)
	{
		outcome.prompt_tokens = reply->result.prompt_tokens;
		outcome.cached_tokens = reply->result.cached_tokens;
	}
	count(watched, &outcome);
}

void
watch_failed(WatchedRequest *watched, int sqlstate)
{
	if (ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_TO_CATEGORY(ERRCODE_QUERY_CANCELED))
		watch_given_up(watched);
	else
		count_unanswered(watched, sqlstate == ERRCODE_CONFIGURATION_LIMIT_EXCEEDED ? ENDED_BY_LIMIT : ENDED_BY_ERROR,
						 sqlstate);
}

void
watch_forget(WatchedRequest *watched)
{
	watch_end(watched);
	watched->counted = true;
}

void
watch_given_up(WatchedRequest *watched)
{
	count_unanswered(watched, ENDED_BY_CANCEL, ERRCODE_QUERY_CANCELED);
}

void
watch_request_memory(void)
{
	RequestAddinShmemSpace(activity_memory_bytes());
	RequestAddinShmemSpace(progress_memory_bytes());
	RequestAddinShmemSpace(stats_memory_bytes());
	RequestNamedLWLockTranche("qwen_pg_statistics", 1);
}

void
watch_start_memory(void)
{
	activity_init_memory();
	progress_init_memory();
	stats_init_memory();
}
