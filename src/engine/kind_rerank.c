/*
 * kind_rerank.c - RERANK: how relevant a document is for a query.
 *
 * It goes through the steps like a text to embed; of the last row, the products with the rows of "yes" and "no" are
 * compared (src/model/ranking.h). So nobody computes the logits of a vocabulary.
 */
#include <math.h>
#include <stdlib.h>

#include "../model/tensor_roles.h"
#include "adapter_slots.h"
#include "kinds.h"
#include "replies.h"
#include "rerank_prompt.h"

/* Such a request's own work. */
typedef struct Ranked
{
	float difference; /* by which "yes" is likelier than "no": the logarithm of how many times */
} Ranked;

/* Rows of the output matrix are gathered without what an adapter would add to them. */
static Status
check_adapter(const Workplace *place)
{
	const Model *model = place->model;

	if (!place->adapter || model->hyper.ranking != RANKING_BY_TOKENS ||
		place->adapter->adapter->matrices[ROLE_OUTPUT].rank == 0)
		return status_ok();
	return status_error(
		STATUS_UNSUPPORTED,
		"adapter \"%s\" changes the output matrix of model \"%s\", by which it ranks documents: it cannot "
		"rank with that",
		place->adapter->adapter->name, model->name);
}

static Status
rerank_prepare(EngineRequest *request, const Workplace *place, const Request *message)
{
	TokenBuffer tokens = prompt_buffer(place->model);
	uint32_t n_shared = 0;
	Sequence *sequence;
	Status status = place->model->rank_error;

	if (status.code == STATUS_OK)
		status = check_adapter(place);
	if (status.code == STATUS_OK)
		status = rerank_prompt_encode(place, message, &tokens, &n_shared);
	STATUS_TRY(kind_take_prompt(request, place, &tokens, DOCUMENT_NOUN, status));
	sequence = &request->sequences[0];
	STATUS_TRY(prompt_check_context(place, DOCUMENT_NOUN, sequence->n_prompt, 0, false));
	STATUS_TRY(prompt_check_cache(place, sequence->n_prompt, 0));
	request->work = calloc(1, sizeof(Ranked));
	if (!request->work || !sequence_make_room(sequence, 0))
		return no_memory();
	STATUS_TRY(kind_set_sharing(sequence, place, message));
	sequence->n_shared_tokens = sequence->scope.role == PREFIX_SCOPE_SHARED ? 0 : n_shared;
	return status_ok();
}

static void
rerank_destroy(EngineRequest *request)
{
	free(request->work);
}

/* In double and in order, so that no instruction set sums otherwise. */
static double
product_of(const float *a, const float *b, uint32_t n)
{
	double sum = 0;

	for (uint32_t i = 0; i < n; i++)
		sum += (double) a[i] * b[i];
	return sum;
}

static Status
rerank_take_row(EngineRequest *request, Sequence *sequence, const StepRow *row, ByteWriter *out)
{
	const Model *model = request->model;
	uint32_t hidden = model->hyper.hidden;
	Ranked *ranked = request->work;

	(void) out;
	if (row->position + 1 < sequence->n_prompt)
		return status_ok();
	ranked->difference = (float) (product_of(row->hidden, model->rank_rows, hidden) -
								  product_of(row->hidden, model->rank_rows + hidden, hidden));
	request->is_complete = true;
	return status_ok();
}

static Status
rerank_finish(EngineRequest *request, ByteWriter *out)
{
	const Ranked *ranked = request->work;
	RequestResult result = {
		.kind = RESULT_FLOATS,
		.count = 1,
		.prompt_tokens = request->n_prompt,
		.cached_tokens = request->n_cached_tokens,
		.values = (const unsigned char *) &ranked->difference,
	};

	return isfinite(ranked->difference) ? encode_result(out, request->id, &result)
										: not_finite(request->model, request->n_prompt - 1);
}

const EngineKind kind_rerank = {
	.wants_hidden = true,
	.prepare = rerank_prepare,
	.take_row = rerank_take_row,
	.finish = rerank_finish,
	.destroy = rerank_destroy,
};
