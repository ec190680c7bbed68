/*
 * arrays.c - qwen_generate_batch, qwen_embed_batch and qwen_rerank: a function of one text over the elements of an
 * array, with qwen.batch_window requests in flight, its rows in order.
 *
 * Their arguments are those of qwen_chat, qwen_embed and qwen_rerank_score with an array in the text's place, so that
 * an element's call is the plain call with that one argument exchanged. A row is returned as soon as its answer and all
 * before it are there. What concerns one element alone (a text that is too long) is that element's error and stops
 * nobody else; a NULL element has a NULL value. qwen_embed_batch has no column for errors: such elements are NULL, and
 * a WARNING counts them. Of qwen_rerank, whose NULL would come first where the best document is looked for, they are
 * raised as a plain call's.
 */
#include "../core/core.h"

#include "../call/call.h"
#include "../core/arguments.h"
#include "../core/settings.h"
#include "../core/shared_memory.h"
#include "../core/texts.h"
#include "../limits/limits.h"
#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "functions.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"

/* What becomes of an element's own error. */
typedef enum ArrayErrors
{
	ERRORS_IN_COLUMN, /* it stands beside the value that there is not */
	ERRORS_COUNTED,   /* its value is NULL, and a WARNING counts them */
	ERRORS_RAISED,    /* as a plain call's: raised, or NULL, by qwen.on_error */
} ArrayErrors;

/* What lives from the first row to the last. */
typedef struct ArrayBatch
{
	const ModelFunction *function;
	ArrayErrors errors;
	CallWindow *window;
	FunctionCallInfo fcinfo; /* of an element's call: the arguments are ours */
	Datum *elements;
	bool *nulls;
	int n_elements;
	int n_sent;
	int64 n_returned;
	int64 n_failed;
	char first_error[256];
} ArrayBatch;

/* Copy the arguments, whose memory is only the first call's. */
static void
copy_arguments(ArrayBatch *batch, FunctionCallInfo fcinfo)
{
	batch->fcinfo = palloc0(SizeForFunctionCallInfo(FUNC_MAX_ARGS));
	InitFunctionCallInfoData(*batch->fcinfo, fcinfo->flinfo, fcinfo->nargs, fcinfo->fncollation, NULL, NULL);
	for (int i = 0; i < fcinfo->nargs; i++)
	{
		int16 length;
		bool by_value;

		batch->fcinfo->args[i] = fcinfo->args[i];
		if (i == batch->function->input || fcinfo->args[i].isnull)
			continue;
		get_typlenbyval(get_fn_expr_argtype(fcinfo->flinfo, i), &length, &by_value);
		batch->fcinfo->args[i].value = datumCopy(fcinfo->args[i].value, by_value, length);
	}
}

static ArrayBatch *
start_batch(FunctionCallInfo fcinfo, const ModelFunction *function, ArrayErrors errors)
{
	ArrayBatch *batch = palloc0(sizeof *batch);
	ArrayType *array = PG_GETARG_ARRAYTYPE_P_COPY(function->input);

	batch->function = function;
	batch->errors = errors;
	batch->window = window_create(1);
	copy_arguments(batch, fcinfo);
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &batch->elements, &batch->nulls, &batch->n_elements);
	progress_expect(batch->n_elements);
	return batch;
}

/* Send the next element's call. */
static void
send_element(ArrayBatch *batch)
{
	MemoryContext old = CurrentMemoryContext;
	WindowRow *row = window_push(batch->window);
	int i = batch->n_sent++;

	if (!batch->nulls[i])
	{
		NullableDatum *arguments = palloc(sizeof *arguments * batch->fcinfo->nargs);

		memcpy(arguments, batch->fcinfo->args, sizeof *arguments * batch->fcinfo->nargs);
		arguments[batch->function->input] = (NullableDatum){batch->elements[i], false};
		model_call_start(&row->calls[0], batch->function, batch->fcinfo, arguments);
	}
	MemoryContextSwitchTo(old);
	window_measure(batch->window);
}

/* The first row whose values can be taken; NULL: that was all. */
static WindowRow *
next_row(ArrayBatch *batch)
{
	for (;;)
	{
		WindowRow *row = window_advance(batch->window);

		while (batch->n_sent < batch->n_elements &&
			   window_has_room(batch->window, Min(qwen_batch_window, limits_window())))
			send_element(batch);
		if (batch->window->n == 0)
			return NULL;
		if (row || (row = window_advance(batch->window)) != NULL)
			return row;
		window_wait(batch->window, true);
	}
}

/* An element failed by itself. */
static void
count_failed(ArrayBatch *batch, const char *error)
{
	if (batch->n_failed++ == 0)
		copy_server_text(batch->first_error, error, sizeof batch->first_error);
}

static void
warn_of_failed(const ArrayBatch *batch)
{
	if (batch->n_failed > 0)
		ereport(WARNING,
				(errmsg_plural("%lld of %d elements failed and is NULL", "%lld of %d elements failed and are NULL",
							   batch->n_failed, (long long) batch->n_failed, batch->n_elements),
				 errdetail("The first error: %s", batch->first_error)));
}

/* Of which element an error is. */
static void
tell_element(void *argument)
{
	const ArrayBatch *batch = argument;

	errcontext("element " INT64_FORMAT " of the array", batch->n_returned);
}

/* The head's value as a plain call would have it. */
static Datum
value_as_of_call(ArrayBatch *batch, ModelCall *call, bool *is_null)
{
	ErrorContextCallback context = {error_context_stack, tell_element, batch};
	Datum value;

	error_context_stack = &context;
	value = model_call_value(call, is_null, NULL);
	error_context_stack = context.previous;
	return value;
}

/* (ordinality, value [, error]) of the head, which is forgotten. */
static Datum
head_tuple(ArrayBatch *batch, WindowRow *row, TupleDesc descriptor)
{
	Datum values[3] = {Int64GetDatum(++batch->n_returned), (Datum) 0, (Datum) 0};
	bool nulls[3] = {false, true, true};
	char *error = NULL;

	if (row->calls[0].function && batch->errors == ERRORS_RAISED)
		values[1] = value_as_of_call(batch, &row->calls[0], &nulls[1]);
	else if (row->calls[0].function)
		values[1] = model_call_value_or_error(&row->calls[0], &nulls[1], &error);
	window_pop(batch->window);
	if (error && batch->errors == ERRORS_IN_COLUMN)
	{
		values[2] = CStringGetTextDatum(error);
		nulls[2] = false;
	}
	else if (error)
		count_failed(batch, error);
	return HeapTupleGetDatum(heap_form_tuple(descriptor, values, nulls));
}

static Datum
array_batch(FunctionCallInfo fcinfo, const ModelFunction *function, ArrayErrors errors)
{
	FuncCallContext *context;
	ArrayBatch *batch;
	WindowRow *row;

	if (SRF_IS_FIRSTCALL())
	{
		MemoryContext old;
		TupleDesc descriptor;

		require_preloaded();
		context = SRF_FIRSTCALL_INIT();
		old = MemoryContextSwitchTo(context->multi_call_memory_ctx);
		if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE ||
			descriptor->natts != (errors == ERRORS_IN_COLUMN ? 3 : 2))
			elog(ERROR, "the result of %s has an unexpected shape", function->symbol);
		context->tuple_desc = BlessTupleDesc(descriptor);
		context->user_fctx = PG_ARGISNULL(function->input) ? NULL : start_batch(fcinfo, function, errors);
		MemoryContextSwitchTo(old);
	}
	context = SRF_PERCALL_SETUP();
	batch = context->user_fctx;
	row = batch ? next_row(batch) : NULL;
	if (row)
		SRF_RETURN_NEXT(context, head_tuple(batch, row, context->tuple_desc));
	if (batch)
		warn_of_failed(batch);
	SRF_RETURN_DONE(context);
}

QWEN_FUNCTION(qwen_generate_batch, 1, 18)
{
	return array_batch(fcinfo, &chat_text_function, ERRORS_IN_COLUMN);
}

QWEN_FUNCTION(qwen_embed_batch, 1, 5)
{
	return array_batch(fcinfo, &embed_function, ERRORS_COUNTED);
}

QWEN_FUNCTION(qwen_rerank, 2, 5)
{
	return array_batch(fcinfo, &rerank_score_function, ERRORS_RAISED);
}
