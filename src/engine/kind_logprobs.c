/*
 * kind_logprobs.c - LOGPROBS: how likely each token of a text is after those before it.
 *
 * The text goes through the steps like a prompt, and the logits of every row are looked at.
 */
#include <math.h>
#include <stdlib.h>

#include "kinds.h"
#include "replies.h"
#include "scorer.h"

/* Such a request's own work. */
typedef struct TextScores
{
	ByteWriter values, pieces;       /* of the RESULT */
	uint32_t n_scored;               /* tokens that stand in it */
	TokenScore scores[LOGPROB_ROWS]; /* of the step's rows */
	uint32_t n_scores_taken;
} TextScores;

static Status
logprobs_prepare(EngineRequest *request, const Workplace *place, const Request *message)
{
	TokenBuffer tokens = prompt_buffer(place->model);
	Status status = prompt_encode_text(place, message, &tokens);
	Sequence *sequence;

	STATUS_TRY(kind_take_prompt(request, place, &tokens, INPUT_NOUN, status));
	sequence = &request->sequences[0];
	STATUS_TRY(prompt_check_context(place, INPUT_NOUN, sequence->n_prompt, 0, false));
	STATUS_TRY(prompt_check_cache(place, sequence->n_prompt, 0));
	/* blocks that need no computing are of no use to it, so it shares none */
	request->work = calloc(1, sizeof(TextScores));
	return request->work && sequence_make_room(sequence, 0) ? status_ok() : no_memory();
}

static void
logprobs_destroy(EngineRequest *request)
{
	TextScores *scores = request->work;

	byte_writer_free(&scores->values);
	byte_writer_free(&scores->pieces);
	free(scores);
}

static void
logprobs_restart(EngineRequest *request, const Sequence *sequence)
{
	TextScores *scores = request->work;

	(void) sequence;
	scores->n_scored = 0;
	scores->values.length = scores->pieces.length = 0;
}

static uint32_t
logprobs_rows_wanted(const EngineRequest *request, const Sequence *sequence, uint32_t n)
{
	(void) request;
	(void) sequence;
	return n;
}

static void
logprobs_begin_step(EngineRequest *request, const Sequence *sequence, uint32_t n_rows)
{
	TextScores *scores = request->work;

	(void) sequence;
	(void) n_rows;
	scores->n_scores_taken = 0;
}

static bool
logprobs_look(EngineRequest *request, const Sequence *sequence, float *logits, uint32_t row)
{
	TextScores *scores = request->work;
	uint32_t next = sequence->n_done + row + 1;

	if (next < sequence->n_prompt)
		scores->scores[row] = score_token(logits, request->model->hyper.vocab, (uint32_t) sequence->tokens[next]);
	return false;
}

/* A token, its log-probability (natural), its rank, and its piece of text. */
static void
write_logprob(TextScores *scores, const Tokenizer *tokenizer, int32_t token, float logprob, uint32_t rank)
{
	Detokenizer detokenizer = {{0}, 0};
	ByteWriter piece;
	size_t before = scores->pieces.length;

	byte_writer_init(&piece);
	detokenizer_push(&detokenizer, tokenizer_token_bytes(tokenizer, token), true, &piece);
	write_without_nul(&scores->pieces, (char *) piece.data, piece.length);
	write_u32(&scores->values, (uint32_t) token);
	write_f32(&scores->values, logprob);
	write_u32(&scores->values, rank);
	write_u32(&scores->values, (uint32_t) (scores->pieces.length - before));
	scores->pieces.failed |= piece.failed;
	byte_writer_free(&piece);
}

static Status
logprobs_take_row(EngineRequest *request, Sequence *sequence, const StepRow *row, ByteWriter *out)
{
	TextScores *scores = request->work;
	const Tokenizer *tokenizer = request->model->tokenizer;

	(void) row;
	(void) out;
	if (scores->n_scored == 0)
		write_logprob(scores, tokenizer, sequence->tokens[0], 0, 0);
	scores->n_scored++;
	if (scores->n_scored < sequence->n_prompt)
	{
		TokenScore score = scores->scores[scores->n_scores_taken++];

		if (!isfinite(score.log_probability))
			return not_finite(request->model, scores->n_scored - 1);
		write_logprob(scores, tokenizer, sequence->tokens[scores->n_scored], score.log_probability, score.rank);
	}
	if (scores->values.failed || scores->pieces.failed)
		return no_memory();
	request->is_complete = scores->n_scored == sequence->n_prompt;
	return status_ok();
}

static Status
logprobs_finish(EngineRequest *request, ByteWriter *out)
{
	const TextScores *scores = request->work;
	RequestResult result = {
		.kind = RESULT_LOGPROBS,
		.count = request->n_prompt,
		.prompt_tokens = request->n_prompt,
		.cached_tokens = request->n_cached_tokens,
		.values = scores->values.data,
		.text = span_of(&scores->pieces),
	};

	return encode_result(out, request->id, &result);
}

const EngineKind kind_logprobs = {
	.every_row = true,
	.prepare = logprobs_prepare,
	.rows_wanted = logprobs_rows_wanted,
	.begin_step = logprobs_begin_step,
	.look = logprobs_look,
	.take_row = logprobs_take_row,
	.finish = logprobs_finish,
	.restart = logprobs_restart,
	.destroy = logprobs_destroy,
};
