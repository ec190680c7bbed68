/*
 * job_score.c - requests that want probabilities and no text: LOGPROBS of a text's own tokens, SCORE of given answers.
 *
 * Both go through the steps like a prompt. LOGPROBS takes the logits of every row, SCORE those after the prompt and,
 * for answers that begin alike, those after what they have in common: these few tokens take the place behind the prompt
 * in turn.
 */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../model/json_memory.h"
#include "job.h"
#include "replies.h"

_Static_assert(TOKENIZER_MAX_ENDS <= SCORER_MAX_END_TOKENS, "the scorer takes all tokens that end answers");

/* Tokens of one answer behind those of the answers before it. */
static Status
encode_answer(Tokenizer *tokenizer, const json_t *value, uint32_t index, TokenBuffer *tokens, uint32_t *end)
{
	size_t before = tokens->n;

	if (!json_is_string(value) || json_string_length(value) == 0)
		return status_error(STATUS_INVALID_ARGUMENT, "answer %u must be a text that is not empty", index + 1);
	STATUS_TRY(tokenizer_encode(tokenizer, json_string_value(value), json_string_length(value), false, tokens));
	if (tokens->n == before)
		return status_error(STATUS_INVALID_ARGUMENT, "answer %u has no tokens", index + 1);
	*end = (uint32_t) tokens->n;
	return status_ok();
}

/* The scorer of an array of answers. */
static Status
create_scorer(Tokenizer *tokenizer, const json_t *answers, Scorer **scorer)
{
	uint32_t n = (uint32_t) json_array_size(answers);
	uint32_t *offsets = calloc((size_t) n + 1, sizeof *offsets);
	TokenBuffer tokens = {0};
	Status status = offsets ? status_ok() : no_memory();
	int32_t ends[TOKENIZER_MAX_ENDS];
	uint32_t n_ends = tokenizer_ends(tokenizer, ends);

	for (uint32_t i = 0; i < n && status.code == STATUS_OK; i++)
		status = encode_answer(tokenizer, json_array_get(answers, i), i, &tokens, &offsets[i + 1]);
	if (status.code == STATUS_OK)
		status = scorer_create(tokens.tokens, offsets, n, ends, n_ends, scorer);
	token_buffer_free(&tokens);
	free(offsets);
	return status;
}

Status
job_prepare_score(Job *job, const Workplace *place, const Request *request)
{
	const Model *model = place->model;
	JsonFailure failure;
	json_t *answers =
		json_memory_load(request->candidates.data, request->candidates.length, 0, place->cancelled, NULL, &failure);
	Status status;

	if (failure != JSON_READ)
		status = json_memory_status(failure, "the answers to choose from", request->candidates.length);
	else if (!json_is_array(answers) || json_array_size(answers) == 0)
		status = status_error(STATUS_INVALID_ARGUMENT, "the answers to choose from must be an array that is not empty");
	else if (tokenizer_ends(model->tokenizer, (int32_t[TOKENIZER_MAX_ENDS]){0}) == 0)
		status = status_error(STATUS_UNSUPPORTED, "model \"%s\" has no token that ends an answer", model->name);
	else
	{
		job->n_answers = (uint32_t) json_array_size(answers);
		status = create_scorer(place->tokenizer, answers, &job->scorer);
	}
	json_decref(answers);
	return status;
}

/* Put the path of the question at hand behind the prompt. false: there is none. */
static bool
ask(Job *job)
{
	const int32_t *path;
	uint32_t n_path;

	if (!scorer_question(job->scorer, &path, &n_path))
		return false;
	memcpy(job->tokens + job->n_prompt, path, n_path * sizeof *path);
	job->n_tokens = job->n_prompt + n_path;
	/* rows of an earlier path are computed over */
	job->n_done = job->n_done < job->n_prompt ? job->n_done : job->n_prompt;
	return true;
}

void
job_start_score(Job *job)
{
	(void) ask(job);
}

/* The end: a probability for each answer. */
static Status
finish_score(Job *job, ByteWriter *out)
{
	float *probabilities = malloc(job->n_answers * sizeof *probabilities);
	RequestResult result = {.kind = RESULT_FLOATS, .count = job->n_answers, .prompt_tokens = job->n_prompt};
	Status status;

	if (!probabilities)
		return no_memory();
	scorer_probabilities(job->scorer, probabilities);
	for (uint32_t i = 0; i < job->n_answers; i++)
		if (!isfinite(probabilities[i]))
		{
			free(probabilities);
			return not_finite(job->model, job->n_prompt - 1);
		}
	result.values = (const unsigned char *) probabilities;
	status = encode_result(out, job->request_id, &result);
	free(probabilities);
	job->state = JOB_ENDED;
	return status;
}

Status
job_take_score(Job *job, const float *logits, ByteWriter *out)
{
	const int32_t *path;
	uint32_t n_path;

	if (scorer_question(job->scorer, &path, &n_path))
		scorer_answer(job->scorer, logits);
	return ask(job) ? status_ok() : finish_score(job, out);
}

/* A token, its log-probability (natural), its rank, and its piece of text. */
static void
write_logprob(Job *job, int32_t token, float logprob, uint32_t rank)
{
	Detokenizer detokenizer = {{0}, 0};
	ByteWriter piece;
	size_t before = job->content.length;

	byte_writer_init(&piece);
	detokenizer_push(&detokenizer, tokenizer_token_bytes(job->model->tokenizer, token), true, &piece);
	write_without_nul(&job->content, (char *) piece.data, piece.length);
	write_u32(&job->logprobs, (uint32_t) token);
	write_f32(&job->logprobs, logprob);
	write_u32(&job->logprobs, rank);
	write_u32(&job->logprobs, (uint32_t) (job->content.length - before));
	job->content.failed |= piece.failed;
	byte_writer_free(&piece);
}

void
job_score_row(Job *job, const float *logits, uint32_t row)
{
	uint32_t next = job->n_done + row + 1;

	if (next < job->n_prompt)
		job->scores[row] = score_token(logits, job->model->hyper.vocab, (uint32_t) job->tokens[next]);
}

/* ---- log-probabilities of an answer ---------------------------------------------------------------------------------
 */

/* A number as JSON has it. */
static void
write_number(ByteWriter *out, double value)
{
	char text[32];

	/* what a model excludes has minus infinity, which JSON does not know */
	if (isfinite(value))
		write_raw(out, text, (size_t) snprintf(text, sizeof text, "%.9g", value));
	else
		write_raw(out, "null", 4);
}

/* {"token": "…", "logprob": … without the closing brace. A piece that is part of a character is U+FFFD. */
static void
write_token(const Job *job, int32_t token, double logprob, ByteWriter *out)
{
	static const char hex[] = "0123456789abcdef";
	Detokenizer detokenizer = {{0}, 0};
	ByteWriter piece;

	byte_writer_init(&piece);
	detokenizer_push(&detokenizer, tokenizer_token_bytes(job->model->tokenizer, token), true, &piece);
	write_raw(out, "{\"token\": \"", 11);
	for (size_t i = 0; i < piece.length; i++)
	{
		unsigned char byte = piece.data[i];

		if (byte == '"' || byte == '\\')
			write_u8(out, '\\');
		if (byte == 0)
			write_raw(out, "\xef\xbf\xbd", 3); /* jsonb has no NUL */
		else if (byte < 0x20)
			write_raw(out, (char[]){'\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 15]}, 6);
		else
			write_u8(out, byte);
	}
	write_raw(out, "\", \"logprob\": ", 13);
	write_number(out, logprob);
	out->failed |= piece.failed;
	byte_writer_free(&piece);
}

void
job_keep_logits(Job *job, const float *logits)
{
	if (job->wants_logprobs)
		memcpy(job->model_logits, logits, job->model->hyper.vocab * sizeof *logits);
}

/* The n likeliest tokens in order, of equal ones the first in the vocabulary first. Returns how many there are. */
static uint32_t
find_likeliest(const float *logits, uint32_t n_vocab, uint32_t n, int32_t *likeliest)
{
	uint32_t found = 0;

	for (uint32_t i = 0; i < n_vocab && n > 0; i++)
	{
		uint32_t at;

		if (found == n && !(logits[i] > logits[likeliest[n - 1]]))
			continue;
		at = found < n ? found++ : n - 1;
		for (; at > 0 && logits[i] > logits[likeliest[at - 1]]; at--)
			likeliest[at] = likeliest[at - 1];
		likeliest[at] = (int32_t) i;
	}
	return found;
}

void
job_write_token_score(Job *job, int32_t token)
{
	const float *logits = job->model_logits;
	uint32_t n_vocab = job->model->hyper.vocab, n;
	ByteWriter *out = &job->token_scores;
	int32_t likeliest[REQUEST_MAX_LOGPROBS];
	float highest;
	double sum = 0;

	if (!job->wants_logprobs || !logits)
		return;
	highest = logits[0];
	for (uint32_t i = 1; i < n_vocab; i++)
		highest = logits[i] > highest ? logits[i] : highest;
	for (uint32_t i = 0; i < n_vocab; i++)
		sum += exp((double) logits[i] - highest);
	n = find_likeliest(logits, n_vocab, job->n_likeliest, likeliest);
	write_raw(out, out->length == 0 ? "[" : ", ", out->length == 0 ? 1 : 2);
	write_token(job, token, (double) logits[token] - highest - log(sum), out);
	for (uint32_t i = 0; i < n; i++)
	{
		write_raw(out, i == 0 ? ", \"top\": [" : ", ", i == 0 ? 10 : 2);
		write_token(job, likeliest[i], (double) logits[likeliest[i]] - highest - log(sum), out);
		write_u8(out, '}');
	}
	write_raw(out, n > 0 ? "]}" : "}", n > 0 ? 2 : 1);
}

Status
job_take_logprobs(Job *job, ByteWriter *out)
{
	RequestResult result = {.kind = RESULT_LOGPROBS, .count = job->n_prompt, .prompt_tokens = job->n_prompt};
	Status status;

	if (job->n_scored == 0)
		write_logprob(job, job->tokens[0], 0, 0);
	job->n_scored++;
	if (job->n_scored < job->n_prompt)
	{
		TokenScore score = job->scores[job->n_scores_taken++];

		if (!isfinite(score.log_probability))
			return not_finite(job->model, job->n_scored - 1);
		write_logprob(job, job->tokens[job->n_scored], score.log_probability, score.rank);
	}
	if (job->logprobs.failed || job->content.failed)
		return no_memory();
	if (job->n_scored < job->n_prompt)
		return status_ok();
	result.values = job->logprobs.data;
	result.text = (ByteSpan){job->content.data ? (char *) job->content.data : "", job->content.length};
	status = encode_result(out, job->request_id, &result);
	job->state = JOB_ENDED;
	return status;
}
