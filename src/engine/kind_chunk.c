/*
 * kind_chunk.c - CHUNK: the pieces of a text, cut before ACCEPTED and kept until GO.
 */
#include <stdlib.h>

#include "immediate.h"
#include "kinds.h"
#include "replies.h"

static Status
chunk_prepare(EngineRequest *request, const Workplace *place, const Request *message)
{
	request->work = calloc(1, sizeof(ByteWriter));
	return request->work ? immediate_cut(place, message, request->work, &request->n_prompt) : no_memory();
}

static size_t
chunk_kept_bytes(const EngineRequest *request)
{
	const ByteWriter *pieces = request->work;

	return pieces->capacity;
}

static void
chunk_destroy(EngineRequest *request)
{
	byte_writer_free(request->work);
	free(request->work);
}

static Status
chunk_finish(EngineRequest *request, ByteWriter *out)
{
	const ByteWriter *pieces = request->work;
	RequestResult result = {
		.kind = RESULT_OFFSETS,
		.count = (uint32_t) (pieces->length / 8),
		.values = pieces->data,
		.prompt_tokens = request->n_prompt,
	};

	return encode_result(out, request->id, &result);
}

const EngineKind kind_chunk = {
	.prepare = chunk_prepare,
	.kept_bytes = chunk_kept_bytes,
	.finish = chunk_finish,
	.destroy = chunk_destroy,
};
