/*
 * model_call.c - one evaluation of a SQL function that asks the model, from arguments to value; see model_call.h.
 *
 * Errors are of two kinds. Those that concern one row alone (its text is too long, an argument is out of range) stay
 * with their row: they are raised when its value is asked for, or, with qwen.on_error = null, make it NULL, and one
 * WARNING at the end of the statement counts them. All others (the engine ended, cancelled, not granted, no such model)
 * are raised at once.
 */
#include "model_call.h"

#include "../core/errors.h"
#include "../core/settings.h"
#include "../core/shared_memory.h"
#include "../core/statement.h"
#include "../core/texts.h"
#include "access/xact.h"
#include "utils/memutils.h"

static int64 nulls_made;        /* values that became NULL and have not been told of */
static int64 answers_cut;       /* off at max_tokens, and not told of yet */
static int64 answers_empty;     /* those of them of which nothing is left */
static char first_message[256]; /* of the first of them */

/* What there was to tell of when a subtransaction began. */
typedef struct Untold
{
	struct Untold *outer;
	int64 nulls_made, answers_cut, answers_empty;
} Untold;

static Untold *subtransactions; /* the innermost first; in the transaction's memory */

bool
is_row_error(int sqlstate)
{
	return sqlstate == ERRCODE_INVALID_PARAMETER_VALUE || sqlstate == ERRCODE_PROGRAM_LIMIT_EXCEEDED ||
		   sqlstate == ERRCODE_FEATURE_NOT_SUPPORTED || sqlstate == ERRCODE_UNTRANSLATABLE_CHARACTER ||
		   sqlstate == ERRCODE_CHARACTER_NOT_IN_REPERTOIRE || sqlstate == ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE;
}

/* Build and send; raises. */
static void
send_requests(ModelCall *call)
{
	Request requests[MODEL_CALL_MAX_REQUESTS];
	int n;

	/* the plan node and the array functions come here without the C function */
	check_arguments(call->fcinfo, call->function->symbol, call->function->least, call->function->most);
	memset(requests, 0, sizeof requests);
	n = call->function->build(call->fcinfo, requests);
	for (int i = 0; i < n; i++)
	{
		call->max_tokens[i] = requests[i].options.max_tokens;
		requests[i].function = call->function->symbol;
		call->requests[i] = engine_submit(&requests[i], CurrentMemoryContext);
		call->n_requests++;
	}
}

void
model_call_start(ModelCall *call, const ModelFunction *function, FunctionCallInfo fcinfo)
{
	MemoryContext context = CurrentMemoryContext;

	memset(call, 0, sizeof *call);
	call->function = function;
	call->fcinfo = fcinfo;
	call->failed = -1;
	/* what is caught and kept was raised over memory only, so nothing has to be cleaned up */
	PG_TRY();
	{
		send_requests(call);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		if (!is_row_error(geterrcode()))
			PG_RE_THROW();
		call->error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	if (call->error)
		model_call_end(call);
}

/* Take the frames of one request that have come. */
static void
advance_request(ModelCall *call, int i)
{
	EngineReply *reply = &call->replies[i];

	while (engine_poll(call->requests[i], reply))
	{
		if (reply->type == FRAME_ACCEPTED && call->function->when_too_long &&
			reply->accepted.max_tokens < (uint32) call->max_tokens[i])
		{
			engine_end(call->requests[i]);
			call->too_long = true;
			call->n_ended++;
			return;
		}
		if (reply->type == FRAME_ACCEPTED)
			engine_go(call->requests[i]);
		else if (reply->type != FRAME_PIECE)
		{
			if (reply->type == FRAME_ERROR && call->failed < 0)
				call->failed = i;
			call->n_ended++;
			return;
		}
	}
}

/* Has this request's last frame been taken, or was it given up? */
static bool
request_has_ended(const ModelCall *call, int i)
{
	uint16 type = call->replies[i].type;

	return call->too_long || type == FRAME_DONE || type == FRAME_RESULT || type == FRAME_ERROR;
}

bool
model_call_advance(ModelCall *call)
{
	for (int i = 0; i < call->n_requests; i++)
		if (!request_has_ended(call, i))
			advance_request(call, i);
	return call->n_ended == call->n_requests;
}

void
model_call_end(ModelCall *call)
{
	for (int i = 0; i < call->n_requests; i++)
		engine_end(call->requests[i]);
	call->n_requests = call->n_ended = 0;
}

/* Add up what an ended call has cost. */
static void
count_call(const ModelCall *call, ModelCallCounts *counts)
{
	for (int i = 0; i < call->n_requests; i++)
	{
		const EngineReply *reply = &call->replies[i];

		counts->requests++;
		if (reply->type == FRAME_DONE)
		{
			counts->prompt_tokens += reply->done.prompt_tokens;
			counts->cached_tokens += reply->done.cached_tokens;
			counts->completion_tokens += reply->done.completion_tokens;
		}
		else if (reply->type == FRAME_RESULT)
			counts->prompt_tokens += reply->result.prompt_tokens;
	}
}

/* Is there no room for the request and its whole answer, and does the function know what to do then? */
static bool
is_too_long(const ModelCall *call)
{
	return call->too_long || (call->failed >= 0 && call->function->when_too_long &&
							  call->replies[call->failed].error.code == STATUS_TOO_LONG);
}

/* Raise the error of a call that has one. */
static void
raise_call_error(ModelCall *call)
{
	if (call->error)
		ReThrowError(call->error);
	if (call->failed >= 0)
		raise_engine_error(&call->replies[call->failed].error);
}

/* The value of an ended call, or its error. */
static Datum
take_value(ModelCall *call, bool *is_null)
{
	Datum value = (Datum) 0;

	if (is_too_long(call))
	{
		call->fcinfo->isnull = false;
		value = call->function->when_too_long(call->fcinfo);
		*is_null = call->fcinfo->isnull;
		return value;
	}
	raise_call_error(call);
	*is_null = call->n_requests == 0;
	if (!*is_null)
	{
		call->fcinfo->isnull = false;
		value = call->function->finish(call->fcinfo, call->replies);
		*is_null = call->fcinfo->isnull;
		for (int i = 0; i < call->n_requests; i++)
			if (call->replies[i].type == FRAME_DONE)
				count_if_cut(&call->replies[i].done);
	}
	return value;
}

/* The message of an error that concerns the row alone, else NULL. */
static const char *
row_error_message(const ModelCall *call)
{
	const ProtocolError *error;

	if (call->error)
		return call->error->message;
	if (call->failed < 0 || is_too_long(call))
		return NULL;
	error = &call->replies[call->failed].error;
	return is_row_error(sqlstate_of(error->code)) ? server_string(pnstrdup(error->message.data, error->message.length))
												  : NULL;
}

/*
 * Run body; false: it raised an error that concerns its row alone, whose message is in *error. Other errors go on. With
 * memory, body runs in it, and an error takes it, with the calls that were begun there. As in model_call_start, what is
 * caught was raised over memory only.
 */
static bool
run_for_row(void (*body)(void *argument), void *argument, MemoryContext memory, const char **error)
{
	MemoryContext context = CurrentMemoryContext;

	*error = NULL;
	PG_TRY();
	{
		if (memory)
			MemoryContextSwitchTo(memory);
		body(argument);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		if (!is_row_error(geterrcode()))
			PG_RE_THROW();
		*error = CopyErrorData()->message;
		FlushErrorState();
		if (memory)
			MemoryContextDelete(memory);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	return *error == NULL;
}

/* The value that an ended call is to give. */
typedef struct CallValue
{
	ModelCall *call;
	Datum value;
	bool is_null;
} CallValue;

static void
take_call_value(void *argument)
{
	CallValue *wanted = argument;

	wanted->value = take_value(wanted->call, &wanted->is_null);
}

/*
 * The value of an ended call, NULL where it has an error that concerns its row alone, whose message is in *error. That
 * may come as late as the value is made of the answer, as when the database's encoding cannot hold it.
 */
static Datum
take_value_or_error(ModelCall *call, bool *is_null, const char **error)
{
	CallValue wanted = {call, (Datum) 0, true};
	MemoryContext memory = NULL;

	*is_null = true;
	*error = row_error_message(call);
	if (*error)
		return (Datum) 0;
	if (is_too_long(call))
		memory = AllocSetContextCreate(CurrentMemoryContext, "qwen value", ALLOCSET_SMALL_SIZES);
	if (!run_for_row(take_call_value, &wanted, memory, error))
		return (Datum) 0;
	*is_null = wanted.is_null;
	return wanted.value;
}

/* A value became NULL. */
static void
count_null(const char *message)
{
	if (nulls_made++ == 0)
		copy_server_text(first_message, message, sizeof first_message);
}

Datum
model_call_value(ModelCall *call, bool *is_null, ModelCallCounts *counts)
{
	const char *error = NULL;
	Datum value;

	if (counts)
		count_call(call, counts);
	if (qwen_on_error != QWEN_ON_ERROR_NULL)
		value = take_value(call, is_null);
	else
		value = take_value_or_error(call, is_null, &error);
	if (error)
	{
		count_null(error);
		if (counts)
			counts->failed++;
	}
	model_call_end(call);
	return value;
}

bool
value_or_null(void (*body)(void *argument), void *argument)
{
	const char *error;

	if (qwen_on_error != QWEN_ON_ERROR_NULL)
	{
		body(argument);
		return true;
	}
	if (run_for_row(body, argument, AllocSetContextCreate(CurrentMemoryContext, "qwen value", ALLOCSET_SMALL_SIZES),
					&error))
		return true;
	count_null(error);
	return false;
}

Datum
model_call_value_or_error(ModelCall *call, bool *is_null, char **error)
{
	const char *message;
	Datum value = take_value_or_error(call, is_null, &message);

	*error = message ? pstrdup(message) : NULL;
	model_call_end(call);
	return value;
}

Datum
model_call_run(FunctionCallInfo fcinfo, const ModelFunction *function)
{
	ModelCall call;
	bool is_null;
	Datum value;

	require_preloaded();
	model_call_start(&call, function, fcinfo);
	PG_TRY();
	{
		while (!model_call_advance(&call))
		{
			engine_receive();
			if (!model_call_advance(&call))
				engine_wait(false);
		}
		value = model_call_value(&call, &is_null, NULL);
	}
	PG_CATCH();
	{
		model_call_end(&call);
		PG_RE_THROW();
	}
	PG_END_TRY();
	fcinfo->isnull = is_null;
	return value;
}

void
warn_of_nulls(void)
{
	int64 n = nulls_made;

	nulls_made = 0;
	if (n > 0)
		ereport(WARNING, (errmsg_plural("%lld value is NULL because its row failed",
										"%lld values are NULL because their rows failed", n, (long long) n),
						  errdetail("The first error: %s", first_message),
						  errhint("With qwen.on_error = error the statement stops at the first one.")));
}

void
count_cut(bool is_empty)
{
	answers_cut++;
	answers_empty += is_empty;
}

void
count_if_cut(const Done *done)
{
	if (done->finish_reason == FINISH_LENGTH)
		count_cut(done->content.length == 0);
}

bool
take_cut(void)
{
	bool any = answers_cut > 0;

	answers_cut = answers_empty = 0;
	return any;
}

/* The NOTICE that counts answers that were cut off since the last one; nothing when there are none. */
static void
tell_of_cut_answers(void)
{
	int64 n = answers_cut, n_empty = answers_empty;

	answers_cut = answers_empty = 0;
	if (n > 0)
		ereport(NOTICE,
				(errmsg_plural("%lld answer was cut off at max_tokens", "%lld answers were cut off at max_tokens", n,
							   (long long) n),
				 n_empty > 0 ? errdetail_plural("%lld is empty: thinking has taken all of its tokens.",
												"%lld are empty: thinking has taken all of their tokens.", n_empty,
												(long long) n_empty)
							 : 0,
				 n_empty > 0 ? errhint("Raise the argument max_tokens or qwen.max_tokens, or give thinking => false or "
									   "a thinking_budget.")
							 : errhint("Raise the argument max_tokens or qwen.max_tokens.")));
}

/* The outermost statement tells how many values have become NULL, and how many answers were cut. */
static void
tell(void)
{
	warn_of_nulls();
	tell_of_cut_answers();
}

/* What ran outside of an executor (DO, CALL) is told of at the transaction's end; after an error nothing is left to
 * tell. */
static void
end_transaction(XactEvent event, void *argument)
{
	if (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE)
		tell();
	else if (event == XACT_EVENT_ABORT)
		nulls_made = answers_cut = answers_empty = 0;
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_PREPARE || event == XACT_EVENT_ABORT)
		subtransactions = NULL;
}

/* What was counted in a subtransaction that is rolled back failed with it; what was told of meanwhile stays told. */
static void
end_subtransaction(SubXactEvent event, SubTransactionId id, SubTransactionId parent, void *argument)
{
	Untold *before = subtransactions;

	if (event == SUBXACT_EVENT_START_SUB)
	{
		before = MemoryContextAlloc(TopTransactionContext, sizeof *before);
		*before = (Untold){subtransactions, nulls_made, answers_cut, answers_empty};
		subtransactions = before;
	}
	else if (before && (event == SUBXACT_EVENT_COMMIT_SUB || event == SUBXACT_EVENT_ABORT_SUB))
	{
		if (event == SUBXACT_EVENT_ABORT_SUB)
		{
			nulls_made = Min(nulls_made, before->nulls_made);
			answers_cut = Min(answers_cut, before->answers_cut);
			answers_empty = Min(answers_empty, before->answers_empty);
		}
		subtransactions = before->outer;
		pfree(before);
	}
}

void
model_call_init(void)
{
	statement_when_ended(tell);
	RegisterXactCallback(end_transaction, NULL);
	RegisterSubXactCallback(end_subtransaction, NULL);
}
