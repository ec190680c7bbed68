/*
 * prepare.c - see prepare.h: the one place that knows which kinds there are.
 */
#include "prepare.h"

#include "immediate.h"
#include "kinds.h"
#include "replies.h"

static const EngineKind *
kind_of(const Request *message)
{
	switch (message->kind)
	{
		case REQUEST_EMBED:
			return &kind_embed;
		case REQUEST_SCORE:
			return &kind_score;
		case REQUEST_RERANK:
			return &kind_rerank;
		case REQUEST_LOGPROBS:
			return &kind_logprobs;
		case REQUEST_CHUNK:
			return &kind_chunk;
		default:
			return &kind_generate;
	}
}

/* A reranker may have come without its output matrix: it has no logits. */
static Status
check_output(const EngineKind *kind, const Model *model)
{
	if (!kind->rows_wanted || model->has_output)
		return status_ok();
	return status_error(
		STATUS_UNSUPPORTED,
		"model \"%s\" has no output matrix: it ranks documents (qwen_rerank) and embeds texts, and cannot "
		"generate, classify or score",
		model->name);
}

/* A request that waits for GO. */
static Status
create(const Workplace *place, const Request *message, uint32_t request_id, ByteWriter *out,
	   EngineRequest **request_out)
{
	EngineRequest *request = request_new(kind_of(message), place, message, request_id);
	Accepted accepted;
	Status status;

	if (!request)
		return no_memory();
	status = check_output(request->kind, place->model);
	if (status.code == STATUS_OK)
		status = request->kind->prepare(request, place, message);
	if (status.code == STATUS_OK)
		status = request_keep_work(request);
	if (status.code == STATUS_OK)
	{
		accepted = request_accepted(request);
		status = encode_accepted(out, request_id, &accepted);
	}
	if (status.code == STATUS_OK)
		*request_out = request;
	else
		request_destroy(request);
	return status;
}

Status
prepare_request(const Workplace *place, const Request *message, uint32_t request_id, ByteWriter *out,
				EngineRequest **request)
{
	*request = NULL;
	tokenizer_set_cancel(place->tokenizer, place->cancelled);
	if (request_kind_is_immediate(message->kind))
		return immediate_answer(place, message, request_id, out);
	return create(place, message, request_id, out, request);
}

Status
prepare_in_loop(Model *model, const KvPool *pool, struct AdapterSlot *adapter, const Request *message,
				uint32_t request_id, ByteWriter *out, EngineRequest **request)
{
	Workplace place = {.model = model, .tokenizer = model->tokenizer, .pool = pool, .adapter = adapter};

	return prepare_request(&place, message, request_id, out, request);
}
