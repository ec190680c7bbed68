/*
 * job.c - from a REQUEST to a prompt: rendering, tokenizing, checking; and the immediate kinds. See job.h.
 *
 * What happens to an answer's tokens is in job_text.c.
 */
#include "job.h"

#include "../base/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "../model/chunker.h"
#include "tool_schema.h"

_Static_assert(CHUNK_MIN_TOKENS == REQUEST_MIN_CHUNK_TOKENS, "clients know the smallest size of a chunk");

#define DEFAULT_MAX_TOKENS 512
#define CANCEL_LOOK_TOKENS 4096 /* detokenized between two looks at whether anybody still wants them */

/*
 * Tokens of a prompt beyond which it is not even counted: so many contexts of the model. What is far too long is
 * refused quickly, and what is a little too long with the number.
 */
#define COUNTED_CONTEXTS 4

void
job_reply_error(ByteWriter *out, uint32_t request_id, const Status *status, const char *detail, const char *hint)
{
	ProtocolError error = {
		.code = (uint16_t) status->code,
		.message = {status->message, strlen(status->message)},
		.detail = {detail, detail ? strlen(detail) : 0},
		.hint = {hint, hint ? strlen(hint) : 0},
	};

	(void) encode_error(out, request_id, &error);
}

static Status
out_of_memory(void)
{
	return status_error(STATUS_UNAVAILABLE, "out of memory in the engine");
}

/* Does it sample tokens? */
static bool
job_generates(const Job *job)
{
	return job->kind == REQUEST_CHAT || job->kind == REQUEST_GENERATE;
}

/* The text of a token id, "" for none, as a NUL-terminated copy in buffer. */
static const char *
token_text(const Model *model, int32_t token, char buffer[64])
{
	ByteSpan bytes = token >= 0 ? tokenizer_token_bytes(model->tokenizer, token) : (ByteSpan){"", 0};

	snprintf(buffer, 64, "%.*s", bytes.length ? (int) utf8_cut(bytes.data, bytes.length, 63) : 0,
			 bytes.length ? bytes.data : "");
	return buffer;
}

/* Thinking cannot be asked of a model that does not. */
static Status
check_thinking(const Model *model, const SamplingOptions *options)
{
	if ((options->given & OPTION_THINKING) && options->thinking && !model->can_think)
		return status_error(STATUS_INVALID_ARGUMENT, "thinking must not be true: model \"%s\" cannot think",
							model->name);
	return status_ok();
}

/* Messages through the model's template. */
static Status
render(const Workplace *place, const Request *request, ChatPrompt *prompt)
{
	const Model *model = place->model;
	char bos[64], eos[64];
	const SamplingOptions *options = &request->options;
	ChatInput input = {
		.messages = request->messages,
		.tools = request->tools,
		.enable_thinking = options->given & OPTION_THINKING ? options->thinking : -1,
		.add_generation_prompt = true,
		.continues = true,
		.can_think = model->can_think,
		.bos_token = token_text(model, tokenizer_bos(model->tokenizer), bos),
		.eos_token = token_text(model, tokenizer_eos(model->tokenizer), eos),
		.now = (int64_t) time(NULL),
		.cancelled = place->cancelled,
	};

	STATUS_TRY(check_thinking(model, options));
	if (!model->chat_template)
		return status_prefix(model->chat_template_error, "the chat template of model \"%s\"", model->name);
	return chat_template_render(model->chat_template, &input, prompt);
}

/* An answer that is to be scored comes after the thinking that the template opened. */
static Status
close_thinking(const Workplace *place, TokenBuffer *tokens)
{
	static const char empty_thinking[] = "\n</think>\n\n";

	return tokenizer_encode(place->tokenizer, empty_thinking, strlen(empty_thinking), true, tokens);
}

/* Where a prompt leaves the model. */
typedef struct PromptEnd
{
	bool in_thinking; /* the thinking is open: by the template, or by the answer that has begun */
	bool has_begun;   /* in an answer that the caller began */
} PromptEnd;

/* The prompt's tokens of a chat. */
static Status
encode_chat(const Workplace *place, const Request *request, TokenBuffer *tokens, PromptEnd *end)
{
	ChatPrompt prompt = {0};
	Status status = render(place, request, &prompt);

	if (status.code != STATUS_OK)
		return status;
	status =
		tokenizer_encode_runs(place->tokenizer, prompt.text, prompt.length, prompt.trusted, prompt.n_trusted, tokens);
	end->in_thinking = prompt.is_thinking || chat_prompt_opens_thinking(&prompt);
	end->has_begun = prompt.has_begun;
	chat_prompt_free(&prompt);
	return status;
}

/* One token at the end of a buffer. */
static Status
append_token(TokenBuffer *buffer, int32_t token)
{
	if (buffer->n == buffer->capacity)
	{
		size_t capacity = buffer->capacity ? buffer->capacity * 2 : 64;
		int32_t *grown = realloc(buffer->tokens, capacity * sizeof *grown);

		if (!grown)
			return out_of_memory();
		buffer->tokens = grown;
		buffer->capacity = capacity;
	}
	buffer->tokens[buffer->n++] = token;
	return status_ok();
}

/* A raw prompt: the text alone, with the beginning token where the file asks for one; never empty. */
static Status
encode_generate(const Workplace *place, const Request *request, TokenBuffer *tokens)
{
	const Model *model = place->model;
	int32_t bos = tokenizer_bos(model->tokenizer);
	int32_t first = bos >= 0 ? bos : tokenizer_eos(model->tokenizer);
	bool parses_special = (request->flags & REQUEST_FLAG_PARSE_SPECIAL) != 0;

	STATUS_TRY(check_thinking(model, &request->options));
	if (first >= 0 && ((tokenizer_add_bos(model->tokenizer) && bos >= 0) || request->text.length == 0))
		STATUS_TRY(append_token(tokens, first));
	STATUS_TRY(tokenizer_encode(place->tokenizer, request->text.data, request->text.length, parses_special, tokens));
	if (tokens->n == 0)
		return status_error(STATUS_INVALID_ARGUMENT, "the prompt is empty");
	/* a rendered chat has it already */
	if (parses_special && bos >= 0 && tokens->n > 1 && tokens->tokens[0] == bos && tokens->tokens[1] == bos)
		memmove(tokens->tokens, tokens->tokens + 1, --tokens->n * sizeof *tokens->tokens);
	return status_ok();
}

/* A text to embed, with what Qwen's embedding models expect around it. */
static Status
encode_embed(const Workplace *place, const Request *request, TokenBuffer *tokens)
{
	const Model *model = place->model;
	static const char first[] = "Instruct: ", second[] = "\nQuery:";
	Tokenizer *tokenizer = place->tokenizer;
	int32_t end = tokenizer_find(tokenizer, "<|endoftext|>", 13);
	/* what Qwen's embedding models were trained to gather a text in, whatever the file calls its end */
	bool gathers = model->hyper.pooling == POOLING_LAST && end >= 0;
	ByteWriter text;
	Status status;

	if (request->dimensions > model->hyper.hidden)
		return status_error(STATUS_INVALID_ARGUMENT, "dimensions must be between 1 and %u, not %u", model->hyper.hidden,
							request->dimensions);
	byte_writer_init(&text);
	if (request->instruction.data)
	{
		write_raw(&text, first, strlen(first));
		write_raw(&text, request->instruction.data, request->instruction.length);
		write_raw(&text, second, strlen(second));
	}
	write_raw(&text, request->text.data, request->text.length);
	status = text.failed ? out_of_memory() : status_ok();
	if (status.code == STATUS_OK && tokenizer_add_bos(tokenizer) && tokenizer_bos(tokenizer) >= 0)
		status = append_token(tokens, tokenizer_bos(tokenizer));
	if (status.code == STATUS_OK)
		status = tokenizer_encode(tokenizer, text.data ? (char *) text.data : "", text.length, false, tokens);
	if (status.code == STATUS_OK && gathers)
		status = append_token(tokens, end);
	else if (status.code == STATUS_OK && tokenizer_add_eos(tokenizer) && tokenizer_eos(tokenizer) >= 0)
		status = append_token(tokens, tokenizer_eos(tokenizer));
	if (status.code == STATUS_OK && tokens->n == 0)
		status = status_error(STATUS_INVALID_ARGUMENT, "the input is empty");
	byte_writer_free(&text);
	return status;
}

static Status
reply_tokens(const TokenBuffer *tokens, uint32_t request_id, ByteWriter *out)
{
	RequestResult result = {
		.kind = RESULT_TOKENS,
		.count = (uint32_t) tokens->n,
		.values = (const unsigned char *) tokens->tokens,
	};

	return encode_result(out, request_id, &result);
}

static Status
reply_text(ByteSpan text, uint32_t request_id, ByteWriter *out)
{
	RequestResult result = {.kind = RESULT_TEXT, .text = {text.data ? text.data : "", text.length}};

	return encode_result(out, request_id, &result);
}

/* TOKENIZE and COUNT_TOKENS. */
static Status
answer_tokenize(const Workplace *place, const Request *request, uint32_t request_id, ByteWriter *out)
{
	TokenBuffer tokens = {0};
	Status status = tokenizer_encode(place->tokenizer, request->text.data, request->text.length,
									 (request->flags & REQUEST_FLAG_PARSE_SPECIAL) != 0, &tokens);

	if (status.code == STATUS_OK && request->kind == REQUEST_TOKENIZE)
		status = reply_tokens(&tokens, request_id, out);
	else if (status.code == STATUS_OK)
		status = encode_result(out, request_id, &(RequestResult){.kind = RESULT_COUNT, .count = (uint32_t) tokens.n});
	token_buffer_free(&tokens);
	return status;
}

void
job_write_without_nul(ByteWriter *out, const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
	{
		if (text[i] == '\0')
			write_raw(out, "\xEF\xBF\xBD", 3);
		else
			write_u8(out, (uint8_t) text[i]);
	}
}

static Status
answer_detokenize(const Workplace *place, const Request *request, uint32_t request_id, ByteWriter *out)
{
	const Model *model = place->model;
	uint32_t n_vocab = tokenizer_n_tokens(model->tokenizer);
	Detokenizer detokenizer = {{0}, 0};
	ByteWriter raw, text;
	Status status = status_ok();

	byte_writer_init(&raw);
	byte_writer_init(&text);
	for (uint32_t i = 0; i < request->n_tokens && status.code == STATUS_OK; i++)
	{
		int32_t token = protocol_token(request->tokens, i);

		if (i % CANCEL_LOOK_TOKENS == 0 && cancel_is_wanted(place->cancelled))
			status = status_error(STATUS_CANCELLED, "the request was cancelled");
		else if (token < 0 || (uint32_t) token >= n_vocab)
			status = status_error(STATUS_INVALID_ARGUMENT, "tokens[%u] must be between 0 and %u, not %d", i + 1,
								  n_vocab - 1, token);
		else
			detokenizer_push(&detokenizer, tokenizer_token_bytes(model->tokenizer, token), false, &raw);
	}
	detokenizer_push(&detokenizer, (ByteSpan){"", 0}, true, &raw);
	job_write_without_nul(&text, (char *) raw.data, raw.length);
	if (status.code == STATUS_OK && (raw.failed || text.failed))
		status = out_of_memory();
	if (status.code == STATUS_OK)
		status = reply_text((ByteSpan){(char *) text.data, text.length}, request_id, out);
	byte_writer_free(&raw);
	byte_writer_free(&text);
	return status;
}

static Status
answer_render(const Workplace *place, const Request *request, uint32_t request_id, ByteWriter *out)
{
	ChatPrompt prompt = {0};
	Status status = render(place, request, &prompt);

	if (status.code == STATUS_OK)
		status = reply_text((ByteSpan){prompt.text, prompt.length}, request_id, out);
	chat_prompt_free(&prompt);
	return status;
}

/* Tokens that an answer may have before the context is looked at. */
static uint32_t
answer_tokens(const SamplingOptions *options)
{
	return options->max_tokens > 0 ? (uint32_t) options->max_tokens : DEFAULT_MAX_TOKENS;
}

/* Tokens that are kept free for the words around a chunk when CHUNK itself chooses the size. */
#define CHUNK_PROMPT_TOKENS 192

/* The size of chunks that the caller leaves to us: what the context and the KV cache hold beside prompt and answer. */
static uint32_t
default_chunk_tokens(const Model *model, const KvPool *pool, const SamplingOptions *options)
{
	uint64_t positions = (uint64_t) kv_pool_max_blocks(pool) * KV_BLOCK_POSITIONS;
	uint32_t room = positions < model->hyper.context_length ? (uint32_t) positions : model->hyper.context_length;
	uint32_t answer = answer_tokens(options);

	room = room > 2 * CHUNK_PROMPT_TOKENS ? room - CHUNK_PROMPT_TOKENS : room / 2;
	room -= answer < room / 2 ? answer : room / 2;
	return room > CHUNK_MIN_TOKENS ? room : CHUNK_MIN_TOKENS;
}

/* The pieces of a text, for when the client says GO: until then the job holds them. */
static Status
prepare_chunks(Job *job, const Workplace *place, const Request *request)
{
	uint32_t max_tokens = request->chunk_tokens ? request->chunk_tokens
												: default_chunk_tokens(place->model, place->pool, &request->options);
	uint64_t n_tokens;

	STATUS_TRY(
		chunk_text(place->tokenizer, request->text, max_tokens, request->chunk_overlap, &job->content, &n_tokens));
	job->n_prompt = n_tokens < UINT32_MAX ? (uint32_t) n_tokens : UINT32_MAX;
	return status_ok();
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
		return out_of_memory();
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
check_lengths(Job *job, const Model *model, const KvPool *pool, const Request *request)
{
	uint32_t context = model->hyper.context_length, needed;
	uint64_t cache_positions = (uint64_t) kv_pool_max_blocks(pool) * KV_BLOCK_POSITIONS;
	bool answers = job_generates(job);
	uint32_t behind = job->scorer ? scorer_longest_path(job->scorer) : 0; /* positions behind the prompt */
	uint32_t wanted = answer_tokens(&request->options);
	bool explicit = (request->options.given & OPTION_MAX_TOKENS) != 0;

	if ((uint64_t) job->n_prompt + behind > context || (answers && job->n_prompt == context))
		return status_error(STATUS_TOO_LONG, "the %s has %u tokens, but the context of model \"%s\" holds %u",
							answers || job->scorer ? "prompt" : "input", job->n_prompt + behind, model->name, context);
	if (answers && explicit && wanted > context)
		return status_error(STATUS_INVALID_ARGUMENT, "max_tokens must be between 1 and %u, not %u", context, wanted);
	if (!explicit && job->n_prompt < cache_positions && wanted > cache_positions - job->n_prompt)
		wanted = (uint32_t) (cache_positions - job->n_prompt);
	job->max_tokens = !answers ? behind : wanted < context - job->n_prompt ? wanted : context - job->n_prompt;
	needed = job_positions(job);
	if (needed > cache_positions)
		return status_error(STATUS_TOO_LONG,
							"the request needs room for %u tokens (prompt %u, answer %u), but the KV cache holds %llu; "
							"qwen.kv_cache_size sets it",
							needed, job->n_prompt, job->max_tokens, (unsigned long long) cache_positions);
	return status_ok();
}

/* How many of its first tokens are those of messages that are nobody's secret. */
static Status
count_shared_tokens(Job *job, const Workplace *place, const Request *request)
{
	Request shared = *request;
	TokenBuffer tokens = {0};
	PromptEnd end;
	Status status;

	shared.messages = request->shared_messages;
	status = encode_chat(place, &shared, &tokens, &end);
	while (status.code == STATUS_OK && job->n_shared_tokens < tokens.n && job->n_shared_tokens < job->n_prompt &&
		   tokens.tokens[job->n_shared_tokens] == job->tokens[job->n_shared_tokens])
		job->n_shared_tokens++;
	token_buffer_free(&tokens);
	return status;
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
		return count_shared_tokens(job, place, request);
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
	TokenBuffer tokens = {.limit = (size_t) model->hyper.context_length * COUNTED_CONTEXTS};
	PromptEnd end = {false, false};
	Status status;

	STATUS_TRY(check_tools(request));
	if (request->kind == REQUEST_CHAT || request->kind == REQUEST_SCORE)
		status = encode_chat(place, request, &tokens, &end);
	else if (request->kind == REQUEST_GENERATE || request->kind == REQUEST_LOGPROBS)
		status = encode_generate(place, request, &tokens);
	else
		status = encode_embed(place, request, &tokens);
	if (status.code == STATUS_OK && request->kind == REQUEST_SCORE && end.in_thinking)
		status = close_thinking(place, &tokens);
	if (tokens.is_over)
		status =
			status_error(STATUS_TOO_LONG, "the %s has more than %zu tokens, but the context of model \"%s\" holds %u",
						 request->kind == REQUEST_EMBED || request->kind == REQUEST_LOGPROBS ? "input" : "prompt",
						 tokens.limit, model->name, model->hyper.context_length);
	job->tokens = tokens.tokens;
	job->n_prompt = job->n_tokens = (uint32_t) tokens.n;
	if (status.code == STATUS_OK && tokens.n > (1u << 28))
		status =
			status_error(STATUS_TOO_LONG, "the prompt has %zu tokens, at most %u are possible", tokens.n, 1u << 28);
	if (status.code == STATUS_OK && tokens.n == 0)
		status = status_error(STATUS_INVALID_ARGUMENT, "the prompt is empty");
	if (status.code == STATUS_OK && request->kind == REQUEST_SCORE)
		status = job_prepare_score(job, place, request);
	if (status.code == STATUS_OK)
		status = check_lengths(job, model, place->pool, request);
	if (status.code == STATUS_OK)
		status = keep_texts(job, place, request);
	if (status.code != STATUS_OK)
		return status;

	job->tokens = realloc(tokens.tokens, ((size_t) job->n_prompt + job->max_tokens) * sizeof *job->tokens);
	if (!job->tokens)
	{
		job->tokens = tokens.tokens;
		return out_of_memory();
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
		return out_of_memory();
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
		return out_of_memory();
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
	switch (request->kind)
	{
		case REQUEST_TOKENIZE:
		case REQUEST_COUNT_TOKENS:
			return answer_tokenize(place, request, request_id, out);
		case REQUEST_DETOKENIZE:
			return answer_detokenize(place, request, request_id, out);
		case REQUEST_RENDER_CHAT:
			return answer_render(place, request, request_id, out);
		default:
			return create_job(place, request, request_id, out, job);
	}
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
