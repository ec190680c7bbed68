/*
 * job_text.c - what becomes of an answer: tokens to text, thinking apart from content, stop strings, pieces, the end.
 *
 * A sampled token's bytes pass in turn: detokenizer (whole characters), thinking parser, stop matcher (content only),
 * then a PIECE or the buffer for DONE. Embeddings are pooled here too.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../base/clock.h"
#include "job.h"
#include "replies.h"
#include "tool_calls.h"

static const char think_open[] = "<think>";
static const char think_close[] = "</think>";

/* What Qwen appends when the thinking budget is used up (Qwen3's documentation on thinking budgets). */
static const char budget_words[] =
	"\n\nConsidering the limited time by the user, I have to give the solution based on the thinking "
	"directly now.\n</think>\n\n";

static bool
is_blank(char c)
{
	return c == '\n' || c == ' ';
}

/* Send what was said before the first tag of a call; the content is kept whole, for calls to be read from it. */
static void
stream_before_calls(Job *job, ByteWriter *out)
{
	ByteSpan fresh = {(char *) job->content.data + job->n_looked, job->content.length - job->n_looked};
	size_t n_looked = 0, plain;

	if (job->has_tag || job->content.failed)
		return;
	plain = tool_calls_plain_bytes(fresh, &n_looked, &job->has_tag);
	if (plain > 0)
	{
		size_t end = job->n_looked + plain;
		Piece piece = {PIECE_CONTENT, {(char *) job->content.data + job->n_streamed, end - job->n_streamed}};

		(void) encode_piece(out, job->request_id, &piece);
		job->n_streamed = end;
	}
	job->n_looked += n_looked;
}

/* Deliver clear text of one kind: at once or with DONE. */
static void
deliver(Job *job, PieceKind kind, const char *text, size_t length, ByteWriter *out)
{
	ByteWriter *buffer = kind == PIECE_THINKING ? &job->thinking : &job->content;

	/* the thinking's own white space at its ends goes with its tags */
	while (kind == PIECE_THINKING && !job->thinking_begun && length > 0 && is_blank(*text))
	{
		text++;
		length--;
	}
	if (length == 0)
		return;
	if (kind == PIECE_THINKING)
		job->thinking_begun = true;
	if (job->stream && !(kind == PIECE_CONTENT && job->tools))
	{
		Piece piece = {(uint8_t) kind, {text, length}};

		(void) encode_piece(out, job->request_id, &piece);
	}
	else
		write_raw(buffer, text, length);
	if (job->stream && kind == PIECE_CONTENT && job->tools)
		stream_before_calls(job, out);
}

/* Content through the stop strings. True when one was found. */
static bool
push_content(Job *job, const char *text, size_t length, bool is_last, ByteWriter *out)
{
	bool matched;

	/* the white space between the thinking and the answer belongs to neither */
	while (job->after_thinking && length > 0 && is_blank(*text))
	{
		text++;
		length--;
	}
	if (length > 0)
		job->after_thinking = false;
	job->clear.length = 0;
	matched = stop_matcher_push(&job->stops, (ByteSpan){text, length}, is_last, &job->clear);
	deliver(job, PIECE_CONTENT, (char *) job->clear.data, job->clear.length, out);
	return matched;
}

/* True when text could still become word, by more text. */
static bool
could_become(const ByteWriter *text, size_t from, const char *word)
{
	size_t length = text->length - from;

	return length < strlen(word) && memcmp(text->data + from, word, length) == 0;
}

/* At the beginning of an answer: is it <think>? Until that is clear the text stays in pending. */
static bool
push_beginning(Job *job, bool is_last, ByteWriter *out)
{
	ByteWriter *pending = &job->pending;
	size_t start = job->n_pending_blanks;
	bool matched;

	while (start < pending->length && is_blank((char) pending->data[start]))
		start++;
	if (pending->length - start >= strlen(think_open) &&
		memcmp(pending->data + start, think_open, strlen(think_open)) == 0)
	{
		size_t rest = start + strlen(think_open);

		memmove(pending->data, pending->data + rest, pending->length - rest);
		pending->length -= rest;
		job->n_pending_blanks = 0;
		job->beginning = false;
		job->in_thinking = job->thought = true;
		return false;
	}
	job->n_pending_blanks = start;
	if (!is_last && could_become(pending, start, think_open))
		return false;
	job->beginning = false;
	matched = push_content(job, (char *) pending->data, pending->length, is_last, out);
	pending->length = 0;
	return matched;
}

/* Without the white space at the end, which may turn out to be the thinking's last; the first n_blanks bytes are known
 * to be some. */
static size_t
length_without_blanks(const char *text, size_t length, size_t n_blanks)
{
	while (length > n_blanks && is_blank(text[length - 1]))
		length--;
	return length > n_blanks ? length : 0;
}

/* Inside the thinking: deliver it up to </think>, which ends it. What is held of it is white space and after that the
 * beginning of a tag; the white space is looked at once, however long it becomes. */
static bool
push_thinking(Job *job, bool is_last, ByteWriter *out)
{
	ByteWriter *pending = &job->pending;
	const char *text = (const char *) pending->data;
	size_t n_blanks = job->n_pending_blanks, clear = pending->length, end;
	const char *close = memmem(text + n_blanks, pending->length - n_blanks, think_close, strlen(think_close));

	job->n_pending_blanks = 0;
	if (close)
	{
		const char *rest = close + strlen(think_close);
		bool matched;

		deliver(job, PIECE_THINKING, text, length_without_blanks(text, (size_t) (close - text), n_blanks), out);
		job->in_thinking = false;
		job->after_thinking = true;
		matched = push_content(job, rest, pending->length - (size_t) (rest - text), is_last, out);
		pending->length = 0;
		return matched;
	}
	if (!is_last)
		for (clear = n_blanks + strlen(think_close) <= pending->length ? pending->length - strlen(think_close) + 1
																	   : n_blanks;
			 clear < pending->length && !could_become(pending, clear, think_close); clear++)
			;
	end = length_without_blanks(text, clear, n_blanks);
	deliver(job, PIECE_THINKING, text, end, out);
	job->n_pending_blanks = clear - end;
	if (end == 0)
		return false;
	memmove(pending->data, pending->data + end, pending->length - end);
	pending->length -= end;
	return false;
}

/* Text of whole characters into the answer. True when a stop string was found. */
static bool
push_text(Job *job, const char *text, size_t length, bool is_last, ByteWriter *out)
{
	if (!job->beginning && !job->in_thinking)
		return push_content(job, text, length, is_last, out);
	write_raw(&job->pending, text, length);
	if (job->pending.length == 0)
		return false;
	if (job->beginning && push_beginning(job, is_last, out))
		return true;
	return job->in_thinking && job->pending.length > 0 && push_thinking(job, is_last, out);
}

/* Is a token one of the tags that divide an answer? They count as text, also in files that type them as control tokens.
 */
static bool
is_tag(ByteSpan bytes)
{
	static const char *const tags[] = {think_open, think_close, "<tool_call>", "</tool_call>"};

	for (size_t i = 0; i < sizeof tags / sizeof tags[0]; i++)
		if (bytes.length == strlen(tags[i]) && memcmp(bytes.data, tags[i], bytes.length) == 0)
			return true;
	return false;
}

/* The bytes of a token (none at the end) into the answer. */
static bool
push_token(Job *job, int32_t token, bool is_last, ByteWriter *out)
{
	ByteSpan bytes = token >= 0 ? tokenizer_token_bytes(job->model->tokenizer, token) : (ByteSpan){"", 0};

	if (token >= 0 && tokenizer_token_type(job->model->tokenizer, token) == TOKEN_CONTROL && !is_tag(bytes))
		bytes.length = 0;

	job->raw.length = job->whole.length = 0;
	detokenizer_push(&job->detokenizer, bytes, is_last, &job->raw);
	write_without_nul(&job->whole, (char *) job->raw.data, job->raw.length);
	return push_text(job, (char *) job->whole.data, job->whole.length, is_last, out);
}

/* Calls of tools out of the content; where there are none the content stays as it is. */
static Status
take_tool_calls(Job *job, bool is_ended, ByteWriter *calls, FinishReason *reason)
{
	ByteWriter content;
	uint32_t n_calls = 0;
	Status status;

	byte_writer_init(&content);
	status = tool_calls_extract((ByteSpan){job->content.data ? (char *) job->content.data : "", job->content.length},
								is_ended, job->tools, &content, calls, &n_calls);
	if (status.code == STATUS_OK && n_calls > 0)
	{
		byte_writer_free(&job->content);
		job->content = content;
		*reason = FINISH_TOOL_CALLS;
		return status;
	}
	byte_writer_free(&content);
	return status;
}

/* Has memory run out for any part of the answer? (Writers that have failed once stay so.) */
static bool
text_is_lost(const Job *job, const ByteWriter *out)
{
	const ByteWriter *const parts[] = {out,         &job->content, &job->thinking, &job->pending,     &job->stops.held,
									   &job->clear, &job->raw,     &job->whole,    &job->token_scores};

	for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
		if (parts[i]->failed)
			return true;
	return false;
}

/* The last frame. is_ended: the model itself ended the answer. */
static Status
finish(Job *job, FinishReason reason, bool is_ended, ByteWriter *out)
{
	uint64_t now = clock_now_us();
	ByteWriter calls;
	Done done;
	Status status = status_ok();

	(void) push_token(job, -1, true, out);
	byte_writer_init(&calls);
	/* an answer without some of its text must not look like a whole one */
	if (text_is_lost(job, out))
		status = no_memory_for_answer();
	if (status.code == STATUS_OK && job->tools)
		status = take_tool_calls(job, is_ended, &calls, &reason);
	if (status.code == STATUS_OK && job->stream && job->content.length > job->n_streamed)
	{
		/* with tools what follows a tag could not be streamed before its calls were known */
		Piece piece = {PIECE_CONTENT,
					   {(char *) job->content.data + job->n_streamed, job->content.length - job->n_streamed}};

		status = encode_piece(out, job->request_id, &piece);
	}
	if (job->stream)
		job->content.length = 0;
	done = (Done){
		.finish_reason = (uint8_t) reason,
		.prompt_tokens = job->n_prompt,
		.cached_tokens = job->n_cached_tokens,
		.completion_tokens = job->n_generated,
		.queue_us = job->started_us - job->go_us,
		.ttft_us = job->first_token_us - job->go_us,
		.total_us = now - job->go_us,
		.model = {job->model->name, strlen(job->model->name)},
		.content = span_of(&job->content),
	};
	if (job->thought)
		done.thinking = span_of(&job->thinking);
	if (calls.length)
		done.tool_calls = span_of(&calls);
	if (job->wants_logprobs)
	{
		write_raw(&job->token_scores, job->token_scores.length ? "]" : "[]", job->token_scores.length ? 1 : 2);
		done.logprobs = span_of(&job->token_scores);
		if (job->token_scores.failed && status.code == STATUS_OK)
			status = no_memory_for_answer();
	}
	if (status.code == STATUS_OK)
		status = encode_done(out, job->request_id, &done);
	byte_writer_free(&calls);
	job->state = JOB_ENDED;
	return status;
}

/* The sampler's token i of the answer, with what the model says of it where that is wanted. */
static int32_t
pick_token(Job *job, const Kernels *kernels, float *logits, uint32_t i)
{
	int32_t token;

	job_keep_logits(job, logits);
	token = sampler_pick(job->sampler, kernels, logits, i);
	/* where no logit is finite there is no token, and the request ends with an error */
	if (token >= 0)
		job_write_token_score(job, token);
	return token;
}

/* The next token: forced by a used-up thinking budget, or the sampler's. */
static int32_t
next_token(Job *job, const Kernels *kernels, float *logits)
{
	if (job->n_forced < job->forced.n)
	{
		job_keep_logits(job, logits);
		sampler_note(job->sampler, job->forced.tokens[job->n_forced]);
		job_write_token_score(job, job->forced.tokens[job->n_forced]);
		return job->forced.tokens[job->n_forced++];
	}
	if (job->n_picks_taken < job->n_picks)
		return job->picks[job->n_picks_taken++];
	return pick_token(job, kernels, logits, job->n_generated);
}

void
job_begin_step(Job *job, uint32_t n_rows)
{
	job->n_picks = job->n_picks_taken = job->n_scores_taken = 0;
	if (job->sampler)
		sampler_reserve(job->sampler, n_rows);
}

bool
job_pick(Job *job, const Kernels *kernels, float *logits, uint32_t row)
{
	/* what the text says may force the next token, or end the answer before its log-probability: then it has to be
	 * looked at first */
	bool may_be_forced = job->thinking_budget != UINT32_MAX || job->wants_logprobs;

	if (job->n_forced < job->forced.n)
		return false;
	job->picks[job->n_picks++] = pick_token(job, kernels, logits, job->n_generated + row);
	return row < job->n_drafted && !may_be_forced && job->picks[row] == job->tokens[job->n_tokens + row];
}

/* Inside the thinking, with its budget used up: the closing words come next, once. */
static Status
close_used_up(Job *job, Tokenizer *tokenizer)
{
	if (!job->in_thinking || job->n_thinking < job->thinking_budget || job->forced.n > 0)
		return status_ok();
	return tokenizer_encode(tokenizer, budget_words, strlen(budget_words), true, &job->forced);
}

Status
job_open_thinking(Job *job, Tokenizer *tokenizer)
{
	return close_used_up(job, tokenizer);
}

Status
job_take_logits(Job *job, const Kernels *kernels, float *logits, ByteWriter *out)
{
	bool was_thinking = job->in_thinking;
	int32_t token;

	if (job->kind == REQUEST_SCORE)
		return job_take_score(job, logits, out);
	if (job->kind == REQUEST_LOGPROBS)
		return job_take_logprobs(job, out);
	token = next_token(job, kernels, logits);
	if (token < 0)
		return not_finite(job->model, job->n_tokens - 1);
	if (job->n_generated == 0)
		job->first_token_us = clock_now_us();
	job->n_generated++;
	job->tokens[job->n_tokens++] = token;
	if (tokenizer_is_end(job->model->tokenizer, token))
		return finish(job, FINISH_STOP, true, out);
	if (push_token(job, token, false, out))
		return finish(job, FINISH_STOP, false, out);
	if (job->n_generated == job->max_tokens)
		return finish(job, FINISH_LENGTH, false, out);
	/* the tokens between the tags count, not the tags */
	if (was_thinking && job->in_thinking)
		job->n_thinking++;
	STATUS_TRY(close_used_up(job, job->model->tokenizer));
	if (text_is_lost(job, out))
		return no_memory_for_answer();
	return status_ok();
}

/* Unit length over the first dimensions; a vector of zeros stays. */
static void
normalize(const double *pooled, uint32_t n, float *out)
{
	double squares = 0, scale;

	for (uint32_t i = 0; i < n; i++)
		squares += pooled[i] * pooled[i];
	scale = squares > 0 ? 1 / sqrt(squares) : 0;
	for (uint32_t i = 0; i < n; i++)
		out[i] = (float) (pooled[i] * scale);
}

/* Not finite where one of them is not. */
static double
sum_of(const float *values, uint32_t n)
{
	double sum = 0;

	for (uint32_t i = 0; i < n; i++)
		sum += values[i];
	return sum;
}

Status
job_take_hidden(Job *job, const float *hidden, uint32_t position, ByteWriter *out)
{
	uint32_t n = job->model->hyper.hidden;
	bool is_last = position + 1 == job->n_prompt;
	bool counts = job->pooling == POOLING_LAST ? is_last : job->pooling == POOLING_CLS ? position == 0 : true;
	RequestResult result = {.kind = RESULT_FLOATS, .count = job->dimensions, .prompt_tokens = job->n_prompt};
	Status status;
	float *values;

	/* mean: the sum in order of position, in double, so that chunking changes nothing */
	for (uint32_t i = 0; counts && i < n; i++)
		job->pooled[i] += hidden[i];
	if (!is_last)
		return status_ok();
	/* NOLINTNEXTLINE(clang-analyzer-optin.portability.UnixAPI): rows have elements */
	values = malloc(n * sizeof *values);
	if (!values)
		return status_error(STATUS_UNAVAILABLE, "out of memory for an embedding");
	normalize(job->pooled, job->dimensions, values);
	result.values = (const unsigned char *) values;
	status = isfinite(sum_of(values, job->dimensions)) ? encode_result(out, job->request_id, &result)
													   : not_finite(job->model, position);
	free(values);
	job->state = JOB_ENDED;
	return status;
}
