/*
 * embed.c - qwen_embed and qwen_similarity.
 */
#include "qwen_pg.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(qwen_embed);
PG_FUNCTION_INFO_V1(qwen_similarity);

const char *
default_embedding_model(void)
{
	return *qwen_default_embedding_model ? qwen_default_embedding_model : qwen_default_model;
}

/* The embedding of a text: [*n] floats, palloc'd. */
static float *
embed(text *input, text *model, text *instruction, int dimensions, uint32 *n)
{
	Request request;
	EngineReply reply;
	EngineCall *call;
	float *values;

	memset(&request, 0, sizeof request);
	request.kind = REQUEST_EMBED;
	request.text = span_from_text(input);
	if (instruction)
		request.instruction = span_from_text(instruction);
	request.dimensions = dimensions;
	options_set_model(&request, model, default_embedding_model());
	call = engine_run(&request, &reply);
	if (reply.type != FRAME_RESULT || reply.result.kind != RESULT_FLOATS)
		ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("the qwen engine gave no embedding")));
	*n = reply.result.count;
	values = palloc(sizeof *values * Max(*n, 1));
	for (uint32 i = 0; i < *n; i++)
		values[i] = protocol_float(reply.result.values, i);
	engine_end(call);
	return values;
}

Datum
qwen_embed(PG_FUNCTION_ARGS)
{
	int dimensions = 0;
	Datum *elements;
	float *values;
	uint32 n;

	require_preloaded();
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	if (!PG_ARGISNULL(3))
	{
		dimensions = PG_GETARG_INT32(3);
		if (dimensions < 1)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("dimensions must be at least 1, not %d", dimensions)));
	}
	values = embed(PG_GETARG_TEXT_PP(0), PG_ARGISNULL(1) ? NULL : PG_GETARG_TEXT_PP(1),
				   PG_ARGISNULL(2) ? NULL : PG_GETARG_TEXT_PP(2), dimensions, &n);
	elements = palloc(sizeof *elements * Max(n, 1));
	for (uint32 i = 0; i < n; i++)
		elements[i] = Float4GetDatum(values[i]);
	PG_RETURN_ARRAYTYPE_P(construct_array(elements, n, FLOAT4OID, sizeof(float4), true, TYPALIGN_INT));
}

Datum
qwen_similarity(PG_FUNCTION_ARGS)
{
	text *model;
	float *a, *b;
	uint32 n_a, n_b;
	double product = 0;

	require_preloaded();
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	model = PG_ARGISNULL(2) ? NULL : PG_GETARG_TEXT_PP(2);
	a = embed(PG_GETARG_TEXT_PP(0), model, NULL, 0, &n_a);
	b = embed(PG_GETARG_TEXT_PP(1), model, NULL, 0, &n_b);
	if (n_a != n_b)
		ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("the model was replaced between two embeddings"),
						errhint("The request can be sent again.")));
	/* both have unit length */
	for (uint32 i = 0; i < n_a; i++)
		product += (double) a[i] * b[i];
	PG_RETURN_FLOAT8(product);
}
