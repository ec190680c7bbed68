/*
 * kind_embed.c - EMBED: a text's hidden states, pooled into one vector.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kinds.h"
#include "replies.h"

/* An embedding request's own work. */
typedef struct Embedding
{
	double *pooled; /* [hidden] */
	uint32_t dimensions;
	uint32_t pooling;
} Embedding;

static Status
embed_prepare(EngineRequest *request, const Workplace *place, const Request *message)
{
	const ModelHyper *hyper = &place->model->hyper;
	TokenBuffer tokens = prompt_buffer(place->model);
	Status status = prompt_encode_embedding(place, message, &tokens);
	Embedding *embedding;
	Sequence *sequence;

	STATUS_TRY(kind_take_prompt(request, place, &tokens, INPUT_NOUN, status));
	sequence = &request->sequences[0];
	STATUS_TRY(prompt_check_context(place, INPUT_NOUN, sequence->n_prompt, 0, false));
	STATUS_TRY(prompt_check_cache(place, sequence->n_prompt, 0));
	request->work = embedding = calloc(1, sizeof *embedding);
	if (!embedding)
		return no_memory();
	embedding->pooled = calloc(hyper->hidden, sizeof *embedding->pooled);
	if (!embedding->pooled || !sequence_make_room(sequence, 0))
		return no_memory();
	embedding->dimensions = message->dimensions ? message->dimensions : hyper->hidden;
	embedding->pooling = hyper->pooling;
	/* others need the output of every row, so blocks that need no computing are of no use to them */
	return hyper->pooling == POOLING_LAST ? kind_set_sharing(sequence, place, message) : status_ok();
}

static void
embed_destroy(EngineRequest *request)
{
	Embedding *embedding = request->work;

	free(embedding->pooled);
	free(embedding);
}

static void
embed_restart(EngineRequest *request, const Sequence *sequence)
{
	Embedding *embedding = request->work;

	(void) sequence;
	memset(embedding->pooled, 0, request->model->hyper.hidden * sizeof *embedding->pooled);
}

static Status
embed_take_row(EngineRequest *request, Sequence *sequence, const StepRow *row, ByteWriter *out)
{
	Embedding *embedding = request->work;
	bool is_last = row->position + 1 == sequence->n_prompt;
	bool counts = embedding->pooling == POOLING_LAST  ? is_last
				  : embedding->pooling == POOLING_CLS ? row->position == 0
													  : true;

	(void) out;
	/* mean: the sum in order of position, in double, so that chunking changes nothing */
	for (uint32_t i = 0; counts && i < request->model->hyper.hidden; i++)
		embedding->pooled[i] += row->hidden[i];
	request->is_complete = is_last;
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

static Status
embed_finish(EngineRequest *request, ByteWriter *out)
{
	const Embedding *embedding = request->work;
	uint32_t n = request->model->hyper.hidden;
	RequestResult result = {.kind = RESULT_FLOATS,
							.count = embedding->dimensions,
							.prompt_tokens = request->n_prompt,
							.cached_tokens = request->n_cached_tokens};
	Status status;
	/* NOLINTNEXTLINE(clang-analyzer-optin.portability.UnixAPI): rows have elements */
	float *values = malloc(n * sizeof *values);

	if (!values)
		return status_error(STATUS_UNAVAILABLE, "out of memory for an embedding");
	normalize(embedding->pooled, embedding->dimensions, values);
	result.values = (const unsigned char *) values;
	status = isfinite(sum_of(values, embedding->dimensions)) ? encode_result(out, request->id, &result)
															 : not_finite(request->model, request->n_prompt - 1);
	free(values);
	return status;
}

const EngineKind kind_embed = {
	.wants_hidden = true,
	.prepare = embed_prepare,
	.take_row = embed_take_row,
	.finish = embed_finish,
	.restart = embed_restart,
	.destroy = embed_destroy,
};
