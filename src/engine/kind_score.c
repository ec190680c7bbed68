/*
 * kind_score.c - SCORE: how likely each of some given answers is.
 *
 * It goes through the steps like a prompt, and takes the logits after it and, for answers that begin alike, those after
 * what they have in common: these few tokens take the place behind the prompt in turn.
 */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../model/json_memory.h"
#include "answer.h"
#include "kinds.h"
#include "replies.h"
#include "scorer.h"

_Static_assert(TOKENIZER_MAX_ENDS <= SCORER_MAX_END_TOKENS, "the scorer takes all tokens that end answers");

/* A scoring request's own work. */
typedef struct Scoring
{
	Scorer *scorer;
	uint32_t n_answers;
} Scoring;

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

/* Read the answers. */
static Status
read_answers(Scoring *scoring, const Workplace *place, const Request *message)
{
	const Model *model = place->model;
	JsonFailure failure;
	json_t *answers =
		json_memory_load(message->candidates.data, message->candidates.length, 0, place->cancelled, NULL, &failure);
	Status status;

	if (failure != JSON_READ)
		status = json_memory_status(failure, "the answers to choose from", message->candidates.length);
	else if (!json_is_array(answers) || json_array_size(answers) == 0)
		status = status_error(STATUS_INVALID_ARGUMENT, "the answers to choose from must be an array that is not empty");
	else if (tokenizer_ends(model->tokenizer, (int32_t[TOKENIZER_MAX_ENDS]){0}) == 0)
		status = status_error(STATUS_UNSUPPORTED, "model \"%s\" has no token that ends an answer", model->name);
	else
	{
		scoring->n_answers = (uint32_t) json_array_size(answers);
		status = create_scorer(place->tokenizer, answers, &scoring->scorer);
	}
	json_decref(answers);
	return status;
}

/* Put the path of the question at hand behind the prompt. false: there is none. */
static bool
ask(const Scoring *scoring, Sequence *sequence)
{
	const int32_t *path;
	uint32_t n_path;

	if (!scorer_question(scoring->scorer, &path, &n_path))
		return false;
	memcpy(sequence->tokens + sequence->n_prompt, path, n_path * sizeof *path);
	sequence->n_tokens = sequence->n_prompt + n_path;
	/* rows of an earlier path are computed over */
	sequence_go_back(sequence, sequence->n_prompt);
	return true;
}

static Status
score_prepare(EngineRequest *request, const Workplace *place, const Request *message)
{
	TokenBuffer tokens = prompt_buffer(place->model);
	PromptEnd end = {false, false};
	Scoring *scoring;
	Sequence *sequence;
	uint32_t n_path;
	Status status;

	STATUS_TRY(answer_check_tools(message));
	status = prompt_encode_chat(place, message, &tokens, &end);
	if (status.code == STATUS_OK && end.in_thinking)
		status = prompt_close_thinking(place, &tokens);
	STATUS_TRY(kind_take_prompt(request, place, &tokens, PROMPT_NOUN, status));
	sequence = &request->sequences[0];
	request->work = scoring = calloc(1, sizeof *scoring);
	if (!scoring)
		return no_memory();
	STATUS_TRY(read_answers(scoring, place, message));
	n_path = scorer_longest_path(scoring->scorer);
	STATUS_TRY(prompt_check_context(place, PROMPT_NOUN, sequence->n_prompt, n_path, false));
	STATUS_TRY(prompt_check_cache_with_copy(place, sequence->n_prompt, n_path));
	if (!sequence_make_room(sequence, n_path))
		return no_memory();
	sequence->is_rewritten = true;
	(void) ask(scoring, sequence);
	return kind_set_sharing(sequence, place, message);
}

static size_t
score_kept_bytes(const EngineRequest *request)
{
	const Scoring *scoring = request->work;

	return scorer_bytes(scoring->scorer);
}

static void
score_destroy(EngineRequest *request)
{
	Scoring *scoring = request->work;

	scorer_destroy(scoring->scorer);
	free(scoring);
}

static uint32_t
score_rows_wanted(const EngineRequest *request, const Sequence *sequence, uint32_t n)
{
	(void) request;
	return n == sequence_rows_left(sequence);
}

static Status
score_take_row(EngineRequest *request, Sequence *sequence, const StepRow *row, ByteWriter *out)
{
	const Scoring *scoring = request->work;
	const int32_t *path;
	uint32_t n_path;

	(void) out;
	if (scorer_question(scoring->scorer, &path, &n_path))
		scorer_answer(scoring->scorer, row->logits);
	request->is_complete = !ask(scoring, sequence);
	return status_ok();
}

/* A probability for each answer. */
static Status
score_finish(EngineRequest *request, ByteWriter *out)
{
	const Scoring *scoring = request->work;
	float *probabilities = malloc(scoring->n_answers * sizeof *probabilities);
	RequestResult result = {.kind = RESULT_FLOATS,
							.count = scoring->n_answers,
							.prompt_tokens = request->n_prompt,
							.cached_tokens = request->n_cached_tokens};
	Status status;

	if (!probabilities)
		return no_memory();
	scorer_probabilities(scoring->scorer, probabilities);
	for (uint32_t i = 0; i < scoring->n_answers; i++)
		if (!isfinite(probabilities[i]))
		{
			free(probabilities);
			return not_finite(request->model, request->n_prompt - 1);
		}
	result.values = (const unsigned char *) probabilities;
	status = encode_result(out, request->id, &result);
	free(probabilities);
	return status;
}

const EngineKind kind_score = {
	.prepare = score_prepare,
	.kept_bytes = score_kept_bytes,
	.rows_wanted = score_rows_wanted,
	.take_row = score_take_row,
	.finish = score_finish,
	.destroy = score_destroy,
};
