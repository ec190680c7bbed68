/*
 * calls.c - a worker's requests to the engine: many in flight, and outside of any transaction.
 *
 * An error is the row's own, unless it says that the engine cannot be asked at all now: then the row goes back to its
 * place and the worker waits a little. A row that was being computed when the engine ended has used up an attempt,
 * so that a text that ends the engine every time is put aside one day.
 */
#include "calls.h"

#include "../call/call.h"
#include "../core/errors.h"
#include "../core/settings.h"
#include "../core/texts.h"
#include "../functions/functions.h"
#include "catalog/pg_type.h"
#include "common/shortest_dec.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "worker_specs.h"
#include "worker_transaction.h"

#define FIRST_PAUSE_MS 100
#define LAST_PAUSE_MS 3000 /* shorter than a trouble is shown (worker_rows.c) */

/* The engine cannot be asked now. */
static void
pause_worker(JobWorker *worker, const char *why)
{
	int64 wait_ms = Min((int64) FIRST_PAUSE_MS << Min(worker->n_pauses, 10), LAST_PAUSE_MS);

	worker->n_pauses++;
	worker->pause_until = TimestampTzPlusMilliseconds(job_clock(), wait_ms);
	worker->waits_for_limit = false;
	job_rows_trouble(worker, NULL, why);
	worker->trouble_ends_with_answer = true;
}

/* Has the engine its request? */
static bool
is_in_flight(const JobRow *row)
{
	return row->state == ROW_SENT || row->state == ROW_RUNNING;
}

/* Does it take a place of those that may be in flight? */
static bool
is_in_window(const JobRow *row)
{
	return is_in_flight(row) && !row->is_aside;
}

static void
end_call(JobRow *row)
{
	model_call_end(&row->call);
}

static void
fail_row(JobRow *row, int sqlstate, const char *error)
{
	end_call(row);
	row->state = ROW_FAILED;
	row->sqlstate = sqlstate;
	row->error = MemoryContextStrdup(row->memory, error);
	row->is_permanent = is_row_error(sqlstate);
}

/* Is an error none of the row's, and does it pass by itself? What asks for more than its limits ever allow does not. */
static bool
passes_over_row(const ErrorData *error)
{
	return job_error_passes(error) && error->sqlerrcode != ERRCODE_CONFIGURATION_LIMIT_EXCEEDED;
}

/* A row is as before it was sent, and nothing is asked for a while. */
static void
ask_later(JobWorker *worker, JobRow *row, const char *why)
{
	end_call(row);
	row->state = ROW_READY;
	pause_worker(worker, why);
}

/* What stands against a row stands against all of its spec that have not begun. */
static void
send_back(JobWorker *worker, JobSpec *spec, const char *why)
{
	job_spec_hold(worker, spec, why);
	for (JobRow *row = worker->rows; row; row = row->next)
		if (row->spec == spec && (row->state == ROW_READY || row->state == ROW_SENT))
		{
			end_call(row);
			job_row_set_aside(worker, row, false);
			row->state = ROW_SENT_BACK;
		}
}

/* Does the engine work for a spec? */
static bool
is_under_way(const JobWorker *worker, const JobSpec *spec)
{
	for (const JobRow *row = worker->rows; row; row = row->next)
		if (row->spec == spec && row->state == ROW_RUNNING && !row->is_aside)
			return true;
	return false;
}

/*
 * A limit has refused what a row asks. One that has begun, in parts, keeps what was answered and waits aside; others go
 * back, unless it is their own company that takes the room. Where the limit is of the worker's role, nothing can be
 * done but to wait.
 */
static void
wait_for_role(JobWorker *worker, JobRow *row, const LimitSentBack *by)
{
	bool is_own = by->role == worker->place.role;

	if (by->is_new && is_own)
	{
		pause_worker(worker, by->why);
		worker->waits_for_limit = true;
	}
	else if (by->is_new && by->is_gone)
		job_rows_fail(worker, row->spec, "the role that submitted the job was dropped");
	if (!by->is_new || row->state == ROW_RUNNING || (!is_own && is_under_way(worker, row->spec)))
	{
		job_row_set_aside(worker, row, true);
		if (by->is_new && !is_own)
			job_spec_hold(worker, row->spec, by->why);
	}
	else if (is_own || by->is_gone)
	{
		end_call(row);
		row->state = ROW_READY;
	}
	else
		send_back(worker, row->spec, by->why);
}

/* A row has passed the door behind which it waited, or ended otherwise. */
static void
come_from_aside(JobWorker *worker, JobRow *row)
{
	job_row_set_aside(worker, row, false);
	job_spec_release(row->spec);
}

/* Others need this worker, and what was answered of a row that waits for a limit goes with it: that is an attempt, as
 * whoever has a turn that is shorter than what it waits for would else begin for ever. */
static void
give_up_parts(JobWorker *worker)
{
	for (JobRow *row = worker->rows; row; row = row->next)
		if (row->is_aside && row->state == ROW_RUNNING)
		{
			job_row_set_aside(worker, row, false);
			fail_row(row, ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
					 "some parts were answered, and others waited for a limit longer than its worker, which other "
					 "roles need, may");
		}
}

/* Free the rows that were sent back: they are looked for when the pause of their spec ends (worker_specs.c). */
static void
free_sent_back(JobWorker *worker)
{
	JobRow *next;

	for (JobRow *row = worker->rows; row; row = next)
	{
		next = row->next;
		if (row->state == ROW_SENT_BACK)
			job_row_free(worker, row);
	}
}

/* An error was raised over a row. */
static void
take_raised_error(JobWorker *worker, JobRow *row)
{
	ErrorData *error = job_take_error(worker);
	bool was_computed = row->state == ROW_RUNNING && model_call_engine_ended(&row->call);
	bool is_turned_out = error->sqlerrcode == ERRCODE_QUERY_CANCELED && row->state == ROW_RUNNING && job_turn_is_over();
	bool passes = passes_over_row(error) && !was_computed;
	LimitSentBack by;

	if (passes && row->state != ROW_RUNNING && engine_could_not_load(linitial(row->call.first)))
	{
		end_call(row);
		row->state = ROW_READY;
		send_back(worker, row->spec, error->message);
	}
	else if ((error->sqlerrcode == ERRCODE_QUERY_CANCELED && !is_turned_out) || passes)
		ask_later(worker, row, error->message);
	else
		fail_row(row, error->sqlerrcode, error->message);
	/* more than a limit ever allows */
	if (row->state == ROW_FAILED && limits_sent_back(&by) && by.is_for_good)
		row->is_permanent = true;
}

static void
take_engine_error(JobWorker *worker, JobRow *row, const ProtocolError *error)
{
	char *message = server_string(pnstrdup(error->message.data, error->message.length));

	if (error->code == STATUS_UNAVAILABLE || error->code == STATUS_NOT_BEGUN || error->code == STATUS_CANCELLED)
		ask_later(worker, row, message);
	else
		fail_row(row, sqlstate_of(error->code), message);
	pfree(message);
}

/* {0.5,-0.25}: each number as short as it can be and still the same */
static char *
format_floats(ArrayType *array)
{
	int n = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	const float4 *values = (const float4 *) ARR_DATA_PTR(array);
	char *written = palloc((size_t) (FLOAT_SHORTEST_DECIMAL_LEN + 1) * (n + 1)), *at = written;

	*at++ = '{';
	for (int i = 0; i < n; i++)
	{
		if (i > 0)
			*at++ = ',';
		at += float_to_shortest_decimal_bufn(values[i], at);
	}
	*at++ = '}';
	*at = '\0';
	return written;
}

/* An array of texts as text: all of them in quotes. */
static char *
format_texts(ArrayType *array)
{
	StringInfoData written;
	Datum *elements;
	bool *nulls;
	int n;

	initStringInfo(&written);
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &n);
	appendStringInfoChar(&written, '{');
	for (int i = 0; i < n; i++)
	{
		appendStringInfoString(&written, i > 0 ? ",\"" : "\"");
		for (const char *c = TextDatumGetCString(elements[i]); *c; c++)
		{
			if (*c == '"' || *c == '\\')
				appendStringInfoChar(&written, '\\');
			appendStringInfoChar(&written, *c);
		}
		appendStringInfoChar(&written, '"');
	}
	appendStringInfoChar(&written, '}');
	return written.data;
}

/* A value as text; there is no transaction in which its type's output function could be looked up. */
static char *
write_value(Oid type, Datum value)
{
	char *written;

	switch (type)
	{
		case TEXTOID:
			return text_to_cstring(DatumGetTextPP(value));
		case BOOLOID:
			return pstrdup(DatumGetBool(value) ? "true" : "false");
		case FLOAT4ARRAYOID:
			return format_floats(DatumGetArrayTypeP(value));
		case TEXTARRAYOID:
			return format_texts(DatumGetArrayTypeP(value));
		case JSONBOID:
			return JsonbToCString(NULL, &DatumGetJsonbP(value)->root, VARSIZE(DatumGetPointer(value)));
		case FLOAT8OID:
			written = palloc(DOUBLE_SHORTEST_DECIMAL_LEN);
			double_to_shortest_decimal_buf(DatumGetFloat8(value), written);
			return written;
		default:
			elog(ERROR, "a job cannot write type %u", type);
	}
	return NULL;
}

/* The answer of an ended call. */
static void
set_answer(JobRow *row)
{
	const ModelFunction *function = row->spec->function;

	row->is_utf8 = !model_function_makes_value(function);
	if (row->is_utf8)
	{
		ByteSpan answer = model_call_answer(&row->call);

		row->answer = pnstrdup(answer.data, answer.length);
	}
	else
	{
		bool is_null;
		Datum value = model_call_finish(&row->call, &is_null);

		row->answer = is_null ? NULL : write_value(model_function_result(function), value);
	}
	row->state = ROW_ANSWERED;
}

/* All frames have come. */
static void
take_answer(JobWorker *worker, JobRow *row)
{
	const ModelCallCounts *counts = &row->call.counts;
	MemoryContext old = MemoryContextSwitchTo(row->content);

	row->prompt_tokens = counts->prompt_tokens;
	row->completion_tokens = counts->completion_tokens;
	row->is_cut = row->call.was_cut;
	PG_TRY();
	{
		set_answer(row);
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(row->content);
		error = job_take_error(worker);
		fail_row(row, error->sqlerrcode, error->message);
	}
	PG_END_TRY();
	if (row->state == ROW_ANSWERED && row->is_cut && row->is_utf8 && row->answer[0] == '\0')
		fail_row(row, ERRCODE_PROGRAM_LIMIT_EXCEEDED,
				 model_call_cut(&row->call) == CUT_IN_THINKING
					 ? psprintf("the answer is empty: thinking has taken all of its %u tokens (raise max_tokens, or "
								"give thinking => false or a thinking_budget)",
								row->completion_tokens)
					 : "the answer is empty: it was cut off before its first whole character (raise max_tokens)");
	MemoryContextSwitchTo(old);
	end_call(row);
	worker->n_pauses = 0;
	if (worker->trouble_ends_with_answer)
		worker->trouble[0] = '\0';
}

/* Take what has come for a row: its answer, its error, or what lets it go on. */
static bool
receive_row(JobWorker *worker, JobRow *row)
{
	ModelCall *call = &row->call;
	RowState state = row->state;
	const List *asked = call->asked;

	if (!model_call_advance(call))
	{
		if (model_call_is_running(call) && row->state == ROW_SENT)
		{
			row->state = ROW_RUNNING;
			job_spec_release(row->spec);
		}
		return row->state != state || call->asked != asked;
	}
	if (call->error)
		fail_row(row, call->error->sqlerrcode, call->error->message);
	else if (call->failed >= 0)
		take_engine_error(worker, row, &call->replies[call->failed].error);
	else
		take_answer(worker, row);
	return true;
}

/* A row whose model is being loaded goes back with others of its spec: sending would wait, and hold up all that the
 * worker has of other models; here they would take up their room. */
static void
send_row(JobWorker *worker, JobRow *row)
{
	check_engine_state();
	if (engine_would_wait(linitial(row->call.first)))
	{
		send_back(worker, row->spec, "the model is being loaded");
		return;
	}
	model_call_send(&row->call);
	row->state = ROW_SENT;
}

/* Send a row's request, or take what came for it; the limits are those of whoever submitted it. */
static bool
advance_row(JobWorker *worker, JobRow *row, bool may_send, int *n_in_flight)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool moved = false;
	LimitSentBack by;

	(void) limits_sent_back(&by);
	limits_act_for(row->spec->roles);
	PG_TRY();
	{
		if (row->state == ROW_READY && row->call.error)
		{
			fail_row(row, row->call.error->sqlerrcode, row->call.error->message);
			moved = true;
		}
		else if (row->state == ROW_READY && row->call.first == NIL)
		{
			row->state = ROW_ANSWERED;
			moved = true;
		}
		else if (row->state == ROW_READY && may_send)
		{
			send_row(worker, row);
			moved = true;
		}
		else if (is_in_flight(row))
			moved = receive_row(worker, row);
		if (limits_sent_back(&by) && is_in_flight(row))
			wait_for_role(worker, row, &by);
		else if (row->is_aside)
			come_from_aside(worker, row);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		take_raised_error(worker, row);
		moved = true;
	}
	PG_END_TRY();
	limits_act_for(NULL);
	if (row->is_aside && !is_in_flight(row))
		come_from_aside(worker, row);
	*n_in_flight += is_in_window(row);
	return moved;
}

/* Take in what the engine has sent, and find out how many requests may be in flight; 0: none more now. */
static int
receive_all(JobWorker *worker)
{
	MemoryContext context = CurrentMemoryContext;
	volatile int window = 0;

	PG_TRY();
	{
		engine_receive();
		window = job_turn_is_over() ? 0 : Min(qwen_job_window, limits_window());
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		pause_worker(worker, job_take_error(worker)->message);
	}
	PG_END_TRY();
	return window;
}

static int
count_in_flight(const JobWorker *worker)
{
	int n = 0;

	for (const JobRow *row = worker->rows; row; row = row->next)
		n += is_in_window(row);
	return n;
}

bool
job_calls_advance(JobWorker *worker)
{
	bool moved = false;
	int window = receive_all(worker), n_in_flight = 0;

	/* first what has come, so that room that it leaves is had by whoever came first, and not by who stands behind it */
	for (JobRow *row = worker->rows; row; row = row->next)
		if (is_in_flight(row))
			moved |= advance_row(worker, row, false, &n_in_flight);
	for (JobRow *row = worker->rows; row; row = row->next)
	{
		bool may_send = n_in_flight < window && job_clock() >= worker->pause_until && row->spec->n_aside == 0;

		if (row->state == ROW_READY)
			moved |= advance_row(worker, row, may_send, &n_in_flight);
	}
	if (worker->n_aside > 0 && job_turn_is_over())
		give_up_parts(worker);
	free_sent_back(worker);
	worker->n_in_flight = count_in_flight(worker);
	return moved;
}

void
job_calls_check(JobWorker *worker)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		check_engine_state();
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(context);
		error = job_take_error(worker);
		for (JobRow *row = worker->rows; row; row = row->next)
			if (row->state == ROW_SENT)
			{
				end_call(row);
				job_row_set_aside(worker, row, false);
				row->state = ROW_READY;
			}
		pause_worker(worker, error->message);
	}
	PG_END_TRY();
}
