/*
 * job.c - a request that the model is needed for, from REQUEST to its end. See job.h.
 *
 * What happens to an answer's tokens is in job_text.c.
 */
#include "job.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "immediate.h"
#include "prompt.h"
#include "replies.h"
#include "tool_schema.h"

/* Does it sample tokens? */
static bool
job_generates(const Job *job)
{
	return job->kind == REQUEST_CHAT || job->kind == REQUEST_GENERATE;
}

/* What its prompt is called in errors. */
static const char *
noun_of(uint8_t kind)
{
	return kind == REQUEST_EMBED || kind == REQUEST_LOGPROBS ? INPUT_NOUN : PROMPT_NOUN;
}

/* The pieces of a text, for when the client says GO: until then the job holds them. */
static Status
prepare_chunks(Job *job, const Workplace *place, const Request *request)
{
	return immediate_cut(place, request, &job->content, &job->n_prompt);
}

/* The client said GO for something that is ready: its RESULT, and its end. */
static Status
give_chunks(Job *job, ByteWriter *out)
{
	RequestResult result = {
		.kind = RESULT_OFFSETS,
		.count = (uint32_t) (job->content.length / 8),
		.values = job->content.data,
		.prompt_tokens = job->n_prompt,
	};

	job->n_counted = job->n_prompt;
	job->state = JOB_ENDED;
	return encode_result(out, job->request_id, &result);
}

bool
job_is_ready(const Job *job)
{
	return job->kind == REQUEST_CHUNK;
}

Status
job_give_ready(Job *job, ByteWriter *out)
{
	return give_chunks(job, out);
}

/* What is not given comes from the file, else from the Qwen model cards. */
static SamplerSettings
sampling_for(const Model *model, uint8_t kind, const SamplingOptions *options, PromptEnd end)
{
	const ModelHyper *hyper = &model->hyper;
	bool turned_off = (options->given & OPTION_THINKING) && !options->thinking && model->has_thinking_switch;
	bool has_thought = end.has_begun && !end.in_thinking;
	bool thinking = kind == REQUEST_CHAT && model->can_think && !turned_off && !has_thought;
	SamplerSettings s = {
		.temperature = thinking ? 0.6f : 0.7f,
		.top_p = thinking ? 0.95f : 0.8f,
		.top_k = 20,
		.repetition_penalty = 1,
	};

	if (hyper->has_sampling)
	{
		s.temperature = hyper->temperature >= 0 ? hyper->temperature : s.temperature;
		s.top_p = hyper->top_p >= 0 ? hyper->top_p : s.top_p;
		s.min_p = hyper->min_p >= 0 ? hyper->min_p : s.min_p;
		s.top_k = hyper->top_k >= 0 ? hyper->top_k : s.top_k;
		s.repetition_penalty = hyper->repetition_penalty >= 1 ? hyper->repetition_penalty : s.repetition_penalty;
	}
	if (options->given & OPTION_TEMPERATURE)
		s.temperature = (float) options->temperature;
	if (options->given & OPTION_TOP_P)
		s.top_p = (float) options->top_p;
	if (options->given & OPTION_MIN_P)
		s.min_p = (float) options->min_p;
	if (options->given & OPTION_TOP_K)
		s.top_k = options->top_k;
	if (options->given & OPTION_REPETITION_PENALTY)
		s.repetition_penalty = (float) options->repetition_penalty;
	if (options->given & OPTION_PRESENCE_PENALTY)
		s.presence_penalty = (float) options->presence_penalty;
	if (options->given & OPTION_FREQUENCY_PENALTY)
		s.frequency_penalty = (float) options->frequency_penalty;
	s.seed = (uint64_t) options->seed;
	if (!(options->given & OPTION_SEED) && getrandom(&s.seed, sizeof s.seed, GRND_NONBLOCK) != sizeof s.seed)
		s.seed = (uint64_t) (uintptr_t) options ^ (uint64_t) clock();
	return s;
}

/* Copies of what lives in the request's frame, which is gone after this call. */
static Status
keep_texts(Job *job, const Workplace *place, const Request *request)
{
	size_t bytes = 1, at = 0;
	ByteSpan stops[PROTOCOL_MAX_STOPS];

	for (uint32_t i = 0; i < request->n_stops; i++)
		bytes += request->stops[i].length;
	job->stop_text = malloc(bytes);
	if (!job->stop_text)
		return no_memory();
	for (uint32_t i = 0; i < request->n_stops; i++)
	{
		memcpy(job->stop_text + at, request->stops[i].data, request->stops[i].length);
		stops[i] = (ByteSpan){job->stop_text + at, request->stops[i].length};
		at += request->stops[i].length;
	}
	stop_matcher_init(&job->stops, request->n_stops, stops);
	if (request->tools.data)
		return tool_set_create(request->tools, place->cancelled, &job->tools);
	return status_ok();
}

/*
 * Numbers that must fit: the context, max_tokens, the KV cache. Sets max_tokens: never more than the context leaves
 * and, where the caller did not say how many, no more than the KV cache has room for.
 */
static Status
check_lengths(Job *job, const Workplace *place, const Request *request)
{
	uint32_t context = place->model->hyper.context_length;
	uint64_t cache_positions = prompt_cache_positions(place);
	bool answers = job_generates(job);
	uint32_t behind = job->scorer ? scorer_longest_path(job->scorer) : 0; /* positions behind the prompt */
	uint32_t wanted = prompt_answer_tokens(&request->options);
	bool explicit = (request->options.given & OPTION_MAX_TOKENS) != 0;

	STATUS_TRY(prompt_check_context(place, noun_of(job->kind), job->n_prompt, behind, answers));
	if (answers && explicit && wanted > context)
		return status_error(STATUS_INVALID_ARGUMENT, "max_tokens must be between 1 and %u, not %u", context, wanted);
	if (!explicit && job->n_prompt < cache_positions && wanted > cache_positions - job->n_prompt)
		wanted = (uint32_t) (cache_positions - job->n_prompt);
	job->max_tokens = !answers ? behind : wanted < context - job->n_prompt ? wanted : context - job->n_prompt;
	return prompt_check_cache(place, job->n_prompt, job->max_tokens);
}

/* Whose cached blocks it may use, and who may use its. */
static Status
set_sharing(Job *job, const Workplace *place, const Request *request)
{
	/* these need the output of every row, so blocks that need no computing are of no use to them */
	bool needs_all_rows = job->kind == REQUEST_LOGPROBS || (job->kind == REQUEST_EMBED && job->pooling != POOLING_LAST);

	job->role = request->role;
	job->priority = request->priority;
	job->uses_cache = request->prefix_sharing != PREFIX_OFF && !needs_all_rows;
	job->scope = request->prefix_sharing == PREFIX_ROLE ? request->role : PREFIX_SCOPE_SHARED;
	if (job->uses_cache && job->scope != PREFIX_SCOPE_SHARED && request->shared_messages.data)
		return prompt_count_shared(place, request, job->tokens, job->n_prompt, &job->n_shared_tokens);
	return status_ok();
}

#define MAX_TOOLS_BYTES (1024 * 1024)

/* Tools stay with the job, read, until its answer's calls are typed by them: they may not be so large that this costs
 * others memory, whatever the template makes of them. */
static Status
check_tools(const Request *request)
{
	if (request->tools.length <= MAX_TOOLS_BYTES)
		return status_ok();
	return status_error(STATUS_TOO_LONG, "tools has %zu bytes, the limit is %d", request->tools.length,
						MAX_TOOLS_BYTES);
}

/* Fill in everything of a generating or embedding job. */
static Status
prepare_job(Job *job, const Workplace *place, const Request *request)
{
	Model *model = place->model;
	TokenBuffer tokens = prompt_buffer(model);
	PromptEnd end = {false, false};
	Status status;

	STATUS_TRY(check_tools(request));
	if (request->kind == REQUEST_CHAT || request->kind == REQUEST_SCORE)
		status = prompt_encode_chat(place, request, &tokens, &end);
	else if (request->kind == REQUEST_GENERATE || request->kind == REQUEST_LOGPROBS)
		status = prompt_encode_text(place, request, &tokens);
	else
		status = prompt_encode_embedding(place, request, &tokens);
	if (status.code == STATUS_OK && request->kind == REQUEST_SCORE && end.in_thinking)
		status = prompt_close_thinking(place, &tokens);
	status = prompt_check(place, &tokens, noun_of(request->kind), status);
	job->tokens = tokens.tokens;
	job->n_prompt = job->n_tokens = (uint32_t) tokens.n;
	if (status.code == STATUS_OK && request->kind == REQUEST_SCORE)
		status = job_prepare_score(job, place, request);
	if (status.code == STATUS_OK)
		status = check_lengths(job, place, request);
	if (status.code == STATUS_OK)
		status = keep_texts(job, place, request);
	if (status.code != STATUS_OK)
		return status;

	job->tokens = realloc(tokens.tokens, ((size_t) job->n_prompt + job->max_tokens) * sizeof *job->tokens);
	if (!job->tokens)
	{
		job->tokens = tokens.tokens;
		return no_memory();
	}
	job->blocks = malloc(kv_blocks_for(job_positions(job)) * sizeof *job->blocks);
	job->sampling = sampling_for(model, request->kind, &request->options, end);
	job->in_thinking = job->thought = end.in_thinking;
	/* white space belongs to what it goes on with */
	job->thinking_begun = end.in_thinking && end.has_begun;
	/* whoever knows the token may open with it, whatever its template says */
	job->beginning = request->kind == REQUEST_CHAT && !end.in_thinking && !end.has_begun &&
					 tokenizer_find(model->tokenizer, "<think>", 7) >= 0;
	job->thinking_budget =
		request->options.given & OPTION_THINKING_BUDGET ? (uint32_t) request->options.thinking_budget : UINT32_MAX;
	job->dimensions = request->dimensions ? request->dimensions : model->hyper.hidden;
	job->pooling = model->hyper.pooling;
	if (job->scorer)
		job_start_score(job);
	if (job->kind == REQUEST_EMBED)
		job->pooled = calloc(model->hyper.hidden, sizeof *job->pooled);
	if (job_generates(job))
		job->sampler = sampler_create(&job->sampling, model->hyper.vocab, job->tokens, job->n_prompt);
	job->wants_logprobs = (request->flags & REQUEST_LOGPROBS_MASK) != 0;
	if (job->wants_logprobs)
	{
		job->n_likeliest = REQUEST_N_LOGPROBS(request->flags);
		job->model_logits = malloc(model->hyper.vocab * sizeof *job->model_logits);
	}
	STATUS_TRY(set_sharing(job, place, request));
	if (!job->blocks || (job->kind == REQUEST_EMBED && !job->pooled) || (job_generates(job) && !job->sampler) ||
		(job->wants_logprobs && !job->model_logits))
		return no_memory();
	return job_open_thinking(job, place->tokenizer);
}

/* A job that waits for GO. */
static Status
create_job(const Workplace *place, const Request *request, uint32_t request_id, ByteWriter *out, Job **job_out)
{
	Accepted accepted;
	Status status;
	Job *job = calloc(1, sizeof *job);

	if (!job)
		return no_memory();
	job->request_id = request_id;
	job->kind = request->kind;
	job->stream = (request->flags & REQUEST_FLAG_STREAM) != 0;
	job->model = place->model;
	job->state = JOB_ACCEPTED;
	status = request->kind == REQUEST_CHUNK ? prepare_chunks(job, place, request) : prepare_job(job, place, request);
	if (status.code == STATUS_OK)
	{
		accepted = (Accepted){job->n_prompt, job_generates(job) ? job->max_tokens : 0};
		status = encode_accepted(out, request_id, &accepted);
	}
	if (status.code != STATUS_OK)
	{
		job_destroy(job);
		return status;
	}
	*job_out = job;
	return status_ok();
}

Status
job_prepare(const Workplace *place, const Request *request, uint32_t request_id, ByteWriter *out, Job **job)
{
	*job = NULL;
	tokenizer_set_cancel(place->tokenizer, place->cancelled);
	if (request_kind_is_immediate(request->kind))
		return immediate_answer(place, request, request_id, out);
	return create_job(place, request, request_id, out, job);
}

Status
job_create(Model *model, const KvPool *pool, const Request *request, uint32_t request_id, ByteWriter *out, Job **job)
{
	Workplace place = {.model = model, .tokenizer = model->tokenizer, .pool = pool};

	return job_prepare(&place, request, request_id, out, job);
}

void
job_write_meter(const Job *job)
{
	if (!job->meter)
		return;
	atomic_store(&job->meter->prompt_tokens, job->n_counted);
	atomic_store(&job->meter->completion_tokens, job->n_generated);
}

void
job_destroy(Job *job)
{
	if (!job)
		return;
	if (job->meter)
	{
		job_write_meter(job);
		atomic_store(&job->meter->state, METER_ENDED);
	}
	free(job->tokens);
	free(job->blocks);
	free(job->model_logits);
	byte_writer_free(&job->token_scores);
	sampler_destroy(job->sampler);
	scorer_destroy(job->scorer);
	byte_writer_free(&job->logprobs);
	stop_matcher_free(&job->stops);
	free(job->stop_text);
	byte_writer_free(&job->content);
	byte_writer_free(&job->thinking);
	byte_writer_free(&job->pending);
	byte_writer_free(&job->raw);
	byte_writer_free(&job->whole);
	byte_writer_free(&job->clear);
	token_buffer_free(&job->forced);
	tool_set_destroy(job->tools);
	free(job->pooled);
	free(job);
}

uint32_t
job_positions(const Job *job)
{
	return job->n_prompt + job->max_tokens;
}

uint32_t
job_logits_wanted(const Job *job, uint32_t n)
{
	if (job->kind == REQUEST_EMBED)
		return 0;
	if (job->kind == REQUEST_LOGPROBS)
		return n;
	return n == job_rows_left(job);
}

uint32_t
job_rows_left(const Job *job)
{
	return job->n_tokens - job->n_done;
}
