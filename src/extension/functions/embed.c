/*
 * embed.c - qwen_embed and qwen_similarity.
 */
#include "../core/core.h"

#include <math.h>

#include "../call/call.h"
#include "../core/arguments.h"
#include "../core/engine_reply.h"
#include "../core/settings.h"
#include "../core/texts.h"
#include "catalog/pg_type.h"
#include "embed.h"
#include "registry.h"
#include "utils/array.h"
#include "utils/builtins.h"

const char *
default_embedding_model(void)
{
	return *qwen_default_embedding_model ? qwen_default_embedding_model : qwen_default_model;
}

/* The request for one text's embedding. */
static void
build_embedding(Request *request, text *input, text *model)
{
	request->kind = REQUEST_EMBED;
	request->text = span_from_text(input);
	options_set_model(request, model, default_embedding_model());
}

/* RESULT with floats, or the error that there are none. */
static const RequestResult *
floats_of(const EngineReply *reply)
{
	if (reply->type != FRAME_RESULT || reply->result.kind != RESULT_FLOATS)
		ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("the qwen engine gave no embedding")));
	return &reply->result;
}

static void
build_embed(FunctionCallInfo fcinfo, ModelCall *call)
{
	Request *request;

	if (PG_ARGISNULL(0) || text_is_blank(PG_GETARG_TEXT_PP(0)))
		return;
	request = model_call_ask(call);
	options_read_object(fcinfo, 4, request);
	if (!PG_ARGISNULL(3))
	{
		int dimensions = PG_GETARG_INT32(3);

		if (dimensions < 1)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("dimensions must be at least 1, not %d", dimensions)));
		request->dimensions = dimensions;
	}
	options_set_instruction(fcinfo, 2, request);
	build_embedding(request, PG_GETARG_TEXT_PP(0), PG_ARGISNULL(1) ? NULL : PG_GETARG_TEXT_PP(1));
}

static Datum
finish_embed(FunctionCallInfo fcinfo, const EngineReply *replies)
{
	const RequestResult *result = floats_of(replies);
	Datum *elements = palloc(sizeof *elements * Max(result->count, 1));

	for (uint32 i = 0; i < result->count; i++)
		elements[i] = Float4GetDatum(protocol_float(result->values, i));
	return PointerGetDatum(construct_array(elements, result->count, FLOAT4OID, sizeof(float4), true, TYPALIGN_INT));
}

/* A request for the embedding of one side of a similarity; its model, instruction and options are the arguments from
 * first on. takes_instruction: the instruction is this side's. */
static void
build_side(FunctionCallInfo fcinfo, int first, bool takes_instruction, text *input, Request *request)
{
	options_read_object(fcinfo, first + 2, request);
	if (takes_instruction)
		options_set_instruction(fcinfo, first + 1, request);
	build_embedding(request, input, PG_ARGISNULL(first) ? NULL : PG_GETARG_TEXT_PP(first));
}

/* The instruction is b's: the question. */
static void
build_similarity(FunctionCallInfo fcinfo, ModelCall *call)
{
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || text_is_blank(PG_GETARG_TEXT_PP(0)) ||
		text_is_blank(PG_GETARG_TEXT_PP(1)))
		return;
	build_side(fcinfo, 2, false, PG_GETARG_TEXT_PP(0), model_call_ask(call));
	build_side(fcinfo, 2, true, PG_GETARG_TEXT_PP(1), model_call_ask(call));
}

/* Numbers that are rounded to float make the product of two unit vectors a little more than 1, which is no cosine:
 * acos() refuses it. What is further off comes from an embedding that is not of unit length and stays to be seen. */
static Datum
cosine_of_units(double product)
{
	double size = fabs(product);

	return Float8GetDatum(size > 1 && size < 1 + 1e-5 ? copysign(1, product) : product);
}

static Datum
finish_similarity(FunctionCallInfo fcinfo, const EngineReply *replies)
{
	const RequestResult *a = floats_of(&replies[0]), *b = floats_of(&replies[1]);
	double product = 0;

	if (a->count != b->count)
		ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("the model was replaced between two embeddings"),
						errhint("The request can be sent again.")));
	/* both have unit length */
	for (uint32 i = 0; i < a->count; i++)
		product += (double) protocol_float(a->values, i) * protocol_float(b->values, i);
	return cosine_of_units(product);
}

/* The numbers of an argument that is an embedding, called name. */
static const float4 *
numbers_argument(FunctionCallInfo fcinfo, int argument, const char *name, int *n)
{
	ArrayType *array = PG_GETARG_ARRAYTYPE_P(argument);

	require_one_dimension(array, name);
	if (array_contains_nulls(array))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s must not hold NULL", name)));
	*n = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	return (const float4 *) ARR_DATA_PTR(array);
}

static void
build_similarity_to(FunctionCallInfo fcinfo, ModelCall *call)
{
	int n;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || text_is_blank(PG_GETARG_TEXT_PP(0)))
		return;
	(void) numbers_argument(fcinfo, 1, "embedding", &n);
	build_side(fcinfo, 2, true, PG_GETARG_TEXT_PP(0), model_call_ask(call));
}

/* The numbers that qwen_similarity multiplies, in its order. */
static Datum
finish_similarity_to(FunctionCallInfo fcinfo, const EngineReply *replies)
{
	const RequestResult *result = floats_of(replies);
	double product = 0;
	int n;
	const float4 *embedding = numbers_argument(fcinfo, 1, "embedding", &n);

	if (result->count != (uint32) n)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("embedding has %d numbers, and those of the model have %u", n, result->count)));
	for (int i = 0; i < n; i++)
		product += (double) protocol_float(result->values, i) * embedding[i];
	return cosine_of_units(product);
}

const ModelFunction embed_function = {
	.symbol = "qwen_embed",
	.name = "embed",
	.build = build_embed,
	.finish = finish_embed,
	.result = FLOAT4ARRAYOID,
	.least = 1,
	.most = 5,
	.arguments = {{"input", TEXTOID}, {"model", TEXTOID}, {"instruction", TEXTOID}, {"dimensions", INT4OID}}};
const ModelFunction similarity_function = {.symbol = "qwen_similarity",
										   .build = build_similarity,
										   .finish = finish_similarity,
										   .result = FLOAT8OID,
										   .least = 2,
										   .most = 5};
const ModelFunction similarity_to_function = {
	.symbol = "qwen_similarity_to",
	.name = "similarity_to",
	.build = build_similarity_to,
	.finish = finish_similarity_to,
	.result = FLOAT8OID,
	.least = 2,
	.most = 5,
	.arguments = {{"input", TEXTOID}, {"embedding", FLOAT4ARRAYOID}, {"model", TEXTOID}, {"instruction", TEXTOID}}};

QWEN_MODEL_FUNCTION(qwen_embed, embed_function)

QWEN_MODEL_FUNCTION(qwen_similarity, similarity_function)

QWEN_MODEL_FUNCTION(qwen_similarity_to, similarity_to_function)

/*
 * a, b: [n] of any length; their cosine, summed in double precision from the first number to the last. NULL where one
 * has no direction: all zeros, or a number that is none.
 */
QWEN_FUNCTION(qwen_cosine, 2, 2)
{
	const float4 *a, *b;
	int n, n_b;
	double product = 0, square_a = 0, square_b = 0, cosine;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	a = numbers_argument(fcinfo, 0, "a", &n);
	b = numbers_argument(fcinfo, 1, "b", &n_b);
	if (n != n_b)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("a has %d numbers, and b has %d", n, n_b)));
	for (int i = 0; i < n; i++)
	{
		product += (double) a[i] * b[i];
		square_a += (double) a[i] * a[i];
		square_b += (double) b[i] * b[i];
	}
	cosine = product / sqrt(square_a * square_b);
	if (!isfinite(cosine))
		PG_RETURN_NULL();
	/* rounding must not take it out of its range */
	PG_RETURN_FLOAT8(fmax(-1, fmin(1, cosine)));
}
