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
#include "../core/results.h"
#include "../core/settings.h"
#include "../core/shared_memory.h"
#include "../core/texts.h"
#include "call_options.h"
#include "catalog/pg_type.h"
#include "progress.h"
#include "utils/memutils.h"

#define LATER_AT_ONCE 32 /* requests of a session, below which a later step of a call may ask more than one thing */

int
model_function_argument(const ModelFunction *function, const char *name, Oid *type)
{
	int n_own = 0;

	for (; n_own < MODEL_FUNCTION_MAX_ARGUMENTS && function->arguments[n_own].name; n_own++)
		if (strcmp(function->arguments[n_own].name, name) == 0)
		{
			*type = function->arguments[n_own].type;
			return n_own;
		}
	if (function->later.name && strcmp(function->later.name, name) == 0)
	{
		*type = function->later.type;
		return function->most - 2;
	}
	for (int i = 0; i < N_TAIL_ARGUMENTS; i++)
	{
		bool is_last = i == N_TAIL_ARGUMENTS - 1;

		if ((!is_last && !function->has_tail) || strcmp(tail_arguments[i].name, name) != 0)
			continue;
		*type = tail_arguments[i].type;
		return is_last ? function->most - 1 : n_own + i;
	}
	return -1;
}

bool
model_function_makes_value(const ModelFunction *function)
{
	return function->finish || function->finish_state;
}

Oid
model_function_result(const ModelFunction *function)
{
	return OidIsValid(function->result) ? function->result : TEXTOID;
}

Request *
model_call_ask(ModelCall *call)
{
	Request *request = palloc0(sizeof *request);

	call->asked = lappend(call->asked, request);
	return request;
}

/* Several calls may share fcinfo: put this one's arguments there. */
static void
set_arguments(ModelCall *call)
{
	if (call->arguments)
		arguments_set(call->fcinfo, call->arguments);
}

/* Build the first step's requests. */
static void
build_call(ModelCall *call)
{
	set_arguments(call);
	/* the plan node and the array functions come here without the C function */
	check_arguments(call->fcinfo, call->function->symbol, call->function->least, call->function->most);
	call->function->build(call->fcinfo, call);
	call->first = call->asked;
}

/*
 * May the next request of a step be sent? Those of the first step go at once: who began the call has room for them. Of
 * a later step one goes at least, so that the call gets on, and more while the session has few under way: many long
 * texts that are asked about in parts must not fill the engine's queue.
 */
static bool
may_send(const ModelCall *call)
{
	if (call->n_requests == list_length(call->asked) || call->failed >= 0)
		return false;
	/* who has others to work for does not wait for a model that is opened anew */
	if (call->comes_back && call->has_gone_on && engine_would_wait(list_nth(call->asked, call->n_requests)))
		return false;
	if (!call->has_gone_on || call->n_requests == call->n_ended)
		return true;
	/* who was sent back needs no more than one place of a queue that is full */
	return !call->is_sent_again && engine_under_way(LATER_AT_ONCE) < LATER_AT_ONCE;
}

static void
send_more(ModelCall *call)
{
	while (may_send(call))
	{
		Request *request = list_nth(call->asked, call->n_requests);

		request->function = call->asked_by;
		call->requests[call->n_requests] = engine_submit(request, call->memory);
		call->n_requests++;
	}
}

/* Send the requests of a step, or as many as may be sent now. */
static void
send_step(ModelCall *call)
{
	int n = list_length(call->asked);

	call->n_requests = call->n_ended = 0;
	call->failed = -1;
	call->is_over = n == 0;
	call->requests = palloc(sizeof(EngineCall *) * Max(n, 1));
	call->replies = palloc0(sizeof *call->replies * Max(n, 1));
	send_more(call);
}

/* Free what the engine has sent, or cancel what is under way. */
static void
end_requests(ModelCall *call)
{
	for (int i = 0; i < call->n_requests; i++)
		engine_end(call->requests[i]);
	call->n_requests = call->n_ended = 0;
}

/* The first step. */
static void
start_call(ModelCall *call)
{
	build_call(call);
	send_step(call);
}

/* What comes after a step whose requests have ended. */
static void
go_on(ModelCall *call)
{
	void (*step)(FunctionCallInfo fcinfo, ModelCall * call) =
		call->too_long ? call->function->too_long : call->function->next;
	EngineCall **ended = call->requests;
	int n_ended = call->n_requests;

	set_arguments(call);
	call->asked = NIL;
	step(call->fcinfo, call);
	call->has_gone_on = true;
	call->too_long = false;
	if (call->asked == NIL)
	{
		call->is_over = true;
		return;
	}
	for (int i = 0; i < n_ended; i++)
		engine_end(ended[i]);
	send_step(call);
}

/*
 * Make a step in the call's memory. An error that concerns this row alone is kept: what is caught was raised over
 * memory only, so nothing has to be cleaned up.
 */
static void
run_step(ModelCall *call, void (*step)(ModelCall *call))
{
	MemoryContext context = MemoryContextSwitchTo(call->memory);

	PG_TRY();
	{
		step(call);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(call->memory);
		if (!is_row_error(geterrcode()))
			PG_RE_THROW();
		call->error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	if (!call->error)
		return;
	end_requests(call);
	call->is_over = true;
}

/* An evaluation of a function, in the current memory context. */
static void
init_call(ModelCall *call, const ModelFunction *function, FunctionCallInfo fcinfo, const NullableDatum *arguments)
{
	memset(call, 0, sizeof *call);
	call->function = function;
	call->fcinfo = fcinfo;
	call->arguments = arguments;
	call->asked_by = function->symbol;
	call->memory = CurrentMemoryContext;
	call->failed = -1;
}

void
model_call_start(ModelCall *call, const ModelFunction *function, FunctionCallInfo fcinfo,
				 const NullableDatum *arguments)
{
	progress_begin(function->symbol);
	init_call(call, function, fcinfo, arguments);
	run_step(call, start_call);
}

void
model_call_build(ModelCall *call, const ModelFunction *function, FunctionCallInfo fcinfo,
				 const NullableDatum *arguments)
{
	init_call(call, function, fcinfo, arguments);
	run_step(call, build_call);
}

void
model_call_send(ModelCall *call)
{
	MemoryContext context;

	/* a row may be sent back for hours: what one attempt made goes with it */
	call->is_sent_again = call->attempt != NULL;
	if (call->is_sent_again)
		MemoryContextReset(call->attempt);
	else
		call->attempt = AllocSetContextCreate(call->memory, "qwen attempt", ALLOCSET_SMALL_SIZES);
	call->memory = call->attempt;
	context = MemoryContextSwitchTo(call->memory);
	call->asked = call->first;
	call->state = NULL;
	call->has_gone_on = call->too_long = call->was_cut = false;
	memset(&call->counts, 0, sizeof call->counts);
	send_step(call);
	MemoryContextSwitchTo(context);
}

/* Is what the first step asks for to be asked otherwise, where it has no room? */
static bool
has_other_way(const ModelCall *call)
{
	return call->function->too_long && !call->has_gone_on && !call->takes_one_step;
}

/* A worker waits in its own way. */
static bool
is_asked_again(const ModelCall *call, const EngineReply *reply)
{
	return engine_has_not_begun(reply) && !call->comes_back;
}

static void
ask_again(ModelCall *call, int i)
{
	MemoryContext context = MemoryContextSwitchTo(call->memory);

	memset(&call->replies[i], 0, sizeof call->replies[i]);
	call->requests[i] = engine_ask_again(call->requests[i], list_nth(call->asked, i), call->memory);
	MemoryContextSwitchTo(context);
}

/* Take the frames of one request that have come, and say GO once it is accepted, then or later. */
static void
advance_request(ModelCall *call, int i)
{
	const Request *request = list_nth(call->asked, i);
	EngineReply *reply = &call->replies[i];

	if (call->comes_back && reply->type == FRAME_ACCEPTED)
		engine_try_go(call->requests[i]);
	while (engine_poll(call->requests[i], reply))
	{
		if (reply->type == FRAME_ACCEPTED && has_other_way(call) &&
			reply->accepted.max_tokens < (uint32) request->options.max_tokens)
		{
			engine_end(call->requests[i]);
			call->too_long = true;
			call->n_ended++;
			return;
		}
		if (reply->type == FRAME_ACCEPTED && call->comes_back)
			engine_try_go(call->requests[i]);
		else if (reply->type == FRAME_ACCEPTED)
			engine_go(call->requests[i]);
		else if (is_asked_again(call, reply))
			ask_again(call, i);
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

/* Add up what a step has cost. */
static void
count_step(ModelCall *call)
{
	ModelCallCounts *counts = &call->counts;

	for (int i = 0; i < call->n_requests; i++)
	{
		const EngineReply *reply = &call->replies[i];

		counts->requests++;
		if (reply->type == FRAME_DONE)
		{
			counts->prompt_tokens += reply->done.prompt_tokens;
			counts->cached_tokens += reply->done.cached_tokens;
			counts->completion_tokens += reply->done.completion_tokens;
			counts->constrained_tokens += reply->done.constrained_tokens;
			counts->forced_tokens += reply->done.forced_tokens;
			counts->mask_us += reply->done.mask_us;
			call->was_cut |= reply->done.finish_reason == FINISH_LENGTH;
		}
		else if (reply->type == FRAME_RESULT)
		{
			counts->prompt_tokens += reply->result.prompt_tokens;
			counts->cached_tokens += reply->result.cached_tokens;
		}
	}
}

bool
model_call_advance(ModelCall *call)
{
	if (call->is_over)
		return true;
	for (int i = 0; i < call->n_requests; i++)
		if (!request_has_ended(call, i))
			advance_request(call, i);
	if (may_send(call))
		run_step(call, send_more);
	if (call->is_over || call->n_ended < call->n_requests)
		return call->is_over;
	/* the rest is sent when it may be */
	if (call->n_requests < list_length(call->asked) && call->failed < 0 && !call->too_long)
		return false;
	count_step(call);
	call->too_long |=
		call->failed >= 0 && has_other_way(call) && call->replies[call->failed].error.code == STATUS_TOO_LONG;
	if (call->too_long || (call->failed < 0 && call->function->next))
		run_step(call, go_on);
	else
		call->is_over = true;
	return call->is_over;
}

void
model_call_end(ModelCall *call)
{
	end_requests(call);
}

/* What is wrong with a form that the function made of an argument is the argument's. */
static const ProtocolError *
about_argument(const ModelCall *call, const ProtocolError *error)
{
	static const char made[] = "response_format:";
	ProtocolError *named;
	char *message;

	if (!call->function->form || error->message.length < sizeof made ||
		memcmp(error->message.data, made, sizeof made - 1) != 0)
		return error;
	named = palloc(sizeof *named);
	*named = *error;
	message = psprintf("%s:%.*s", call->function->form, (int) (error->message.length - (sizeof made - 1)),
					   error->message.data + sizeof made - 1);
	named->message = span_from_cstring(message);
	return named;
}

/* Raise the error of a call that has one. */
static void
raise_call_error(ModelCall *call)
{
	if (call->error)
		ReThrowError(call->error);
	if (call->failed >= 0)
		raise_engine_error(about_argument(call, &call->replies[call->failed].error));
}

ByteSpan
model_call_answer(const ModelCall *call)
{
	if (call->n_requests != 1 || call->replies[0].type != FRAME_DONE)
		ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("the qwen engine gave no answer")));
	return call->replies[0].done.content;
}

bool
model_call_has_value(const ModelCall *call)
{
	return !call->error && call->failed < 0 && call->n_requests > 0;
}

Datum
model_call_finish(ModelCall *call, bool *is_null)
{
	Datum value;

	set_arguments(call);
	call->fcinfo->isnull = false;
	if (call->function->finish_state)
		value = call->function->finish_state(call->fcinfo, call);
	else
		value = call->function->finish(call->fcinfo, call->replies);
	*is_null = call->fcinfo->isnull;
	return value;
}

bool
model_call_is_running(const ModelCall *call)
{
	bool is_running = call->has_gone_on;

	for (int i = 0; i < call->n_requests; i++)
		is_running |= call->replies[i].type == FRAME_ACCEPTED && engine_has_go(call->requests[i]);
	return is_running;
}

bool
model_call_engine_ended(const ModelCall *call)
{
	for (int i = 0; i < call->n_requests; i++)
		if (engine_ended_with(call->requests[i]))
			return true;
	return false;
}

CutAnswer
model_call_cut(const ModelCall *call)
{
	const Done *done = &call->replies[0].done;

	if (call->replies[0].type != FRAME_DONE)
		return CUT_IN_TEXT;
	return cut_answer(done->content.length > 0 || done->tool_calls.length > 0, done->thinking.data != NULL);
}

/* The value of an ended call, or its error. */
static Datum
take_value(ModelCall *call, bool *is_null)
{
	Datum value = (Datum) 0;

	raise_call_error(call);
	*is_null = call->n_requests == 0;
	if (*is_null)
		return (Datum) 0;
	if (model_function_makes_value(call->function))
		value = model_call_finish(call, is_null);
	else
		value = PointerGetDatum(text_from_span(model_call_answer(call)));
	/* a value counts as one, in how many parts it may have been made */
	if (call->was_cut)
		count_cut(model_call_cut(call));
	return value;
}

/* The message of an error that concerns the row alone, else NULL. */
static const char *
row_error_message(const ModelCall *call)
{
	const ProtocolError *error;

	if (call->error)
		return call->error->message;
	if (call->failed < 0)
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

	*is_null = true;
	*error = row_error_message(call);
	if (*error)
		return (Datum) 0;
	if (!run_for_row(take_call_value, &wanted, NULL, error))
		return (Datum) 0;
	*is_null = wanted.is_null;
	return wanted.value;
}

static void
add_counts(ModelCallCounts *counts, const ModelCallCounts *more)
{
	counts->requests += more->requests;
	counts->prompt_tokens += more->prompt_tokens;
	counts->cached_tokens += more->cached_tokens;
	counts->completion_tokens += more->completion_tokens;
	counts->constrained_tokens += more->constrained_tokens;
	counts->forced_tokens += more->forced_tokens;
	counts->mask_us += more->mask_us;
}

Datum
model_call_value(ModelCall *call, bool *is_null, ModelCallCounts *counts)
{
	const char *error = NULL;
	Datum value;

	if (counts)
		add_counts(counts, &call->counts);
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
	progress_expect_more();
	model_call_start(&call, function, fcinfo, NULL);
	PG_TRY();
	{
		while (!model_call_advance(&call))
		{
			engine_receive();
			if (!model_call_advance(&call))
				engine_wait(false);
		}
		progress_row(call.counts.prompt_tokens, call.counts.completion_tokens);
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

Datum
model_call_run_set(FunctionCallInfo fcinfo, const ModelFunction *function)
{
	init_materialized_set(fcinfo);
	(void) model_call_run(fcinfo, function);
	/* no request gives no rows, which is not NULL */
	fcinfo->isnull = false;
	return (Datum) 0;
}
