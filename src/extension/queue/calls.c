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
#include "common/shortest_dec.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
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
	job_rows_trouble(worker, NULL, why);
	worker->trouble_is_engines = true;
}

static void
end_call(JobRow *row)
{
	if (row->call)
		engine_end(row->call);
	row->call = NULL;
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

/* An error was raised over a row. */
static void
take_raised_error(JobWorker *worker, JobRow *row)
{
	ErrorData *error = job_take_error(worker);
	bool was_computed = row->state == ROW_RUNNING && row->call && engine_ended_with(row->call);

	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED || (passes_over_row(error) && !was_computed))
	{
		end_call(row);
		row->state = ROW_READY;
		pause_worker(worker, error->message);
	}
	else
		fail_row(row, error->sqlerrcode, error->message);
}

static void
take_engine_error(JobWorker *worker, JobRow *row, const ProtocolError *error)
{
	char *message = server_string(pnstrdup(error->message.data, error->message.length));

	if (error->code == STATUS_UNAVAILABLE || error->code == STATUS_CANCELLED)
	{
		end_call(row);
		row->state = ROW_READY;
		pause_worker(worker, message);
	}
	else
		fail_row(row, sqlstate_of(error->code), message);
	pfree(message);
}

/* {0.5,-0.25}: each number as short as it can be and still the same */
static char *
format_floats(const RequestResult *result)
{
	char *written = palloc((size_t) (FLOAT_SHORTEST_DECIMAL_LEN + 1) * (result->count + 1));
	char *at = written;

	*at++ = '{';
	for (uint32 i = 0; i < result->count; i++)
	{
		if (i > 0)
			*at++ = ',';
		at += float_to_shortest_decimal_bufn(protocol_float(result->values, i), at);
	}
	*at++ = '}';
	*at = '\0';
	return written;
}

/* The last frame has come. */
static void
take_answer(JobWorker *worker, JobRow *row, const EngineReply *reply)
{
	MemoryContext old = MemoryContextSwitchTo(row->content);

	if (reply->type == FRAME_DONE && row->spec->function != JOB_EMBED)
	{
		row->answer = pnstrdup(reply->done.content.data, reply->done.content.length);
		row->prompt_tokens = reply->done.prompt_tokens;
		row->completion_tokens = reply->done.completion_tokens;
		row->is_cut = reply->done.finish_reason == FINISH_LENGTH;
		row->state = ROW_ANSWERED;
		if (row->is_cut && reply->done.content.length == 0)
			fail_row(row, ERRCODE_PROGRAM_LIMIT_EXCEEDED,
					 psprintf("the answer is empty: thinking has taken all of its %u tokens (raise max_tokens, or give "
							  "thinking => false or a thinking_budget)",
							  reply->done.completion_tokens));
	}
	else if (reply->type == FRAME_RESULT && reply->result.kind == RESULT_FLOATS && row->spec->function == JOB_EMBED)
	{
		row->answer = format_floats(&reply->result);
		row->prompt_tokens = reply->result.prompt_tokens;
		row->completion_tokens = 0;
		row->state = ROW_ANSWERED;
	}
	else
		fail_row(row, ERRCODE_SYSTEM_ERROR, "the qwen engine gave no answer");
	MemoryContextSwitchTo(old);
	end_call(row);
	worker->n_pauses = 0;
	if (worker->trouble_is_engines)
		worker->trouble[0] = '\0';
}

/* Is there no room for a text and its whole summary? Then it is made in parts, except where texts would have to be
 * converted, which takes a transaction. */
static bool
has_no_room(const JobRow *row, const EngineReply *reply)
{
	if (row->spec->function != JOB_SUMMARIZE || GetDatabaseEncoding() != PG_UTF8)
		return false;
	return reply->type == FRAME_ERROR
			   ? reply->error.code == STATUS_TOO_LONG
			   : reply->type == FRAME_ACCEPTED && reply->accepted.max_tokens < (uint32) row->request.options.max_tokens;
}

/*
 * A summary as qwen_summarize makes it of a text that has no room. The worker waits for its parts; what else is in
 * flight goes on in the engine.
 */
static void
answer_in_parts(JobWorker *worker, JobRow *row)
{
	MemoryContext parts = AllocSetContextCreate(row->content, "qwen_pg parts", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(parts);
	int max_words = row->spec->max_words;
	Request options = row->spec->request;
	text *summary;

	end_call(row);
	options.function = row->request.function;
	PG_TRY();
	{
		(void) take_cut();
		summary = summarize_with(&options, row->input, max_words);
		row->is_cut = take_cut();
		row->answer = MemoryContextStrdup(row->content, text_to_cstring(summary));
		row->state = ROW_ANSWERED;
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(old);
		/* whoever cancels or locks means the worker; all else has used up an attempt */
		if (geterrcode() == ERRCODE_QUERY_CANCELED || geterrcode() == ERRCODE_LOCK_NOT_AVAILABLE)
		{
			MemoryContextDelete(parts);
			PG_RE_THROW();
		}
		error = job_take_error(worker);
		fail_row(row, error->sqlerrcode, error->message);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	MemoryContextDelete(parts);
}

/* Take the frames that have come for a row. */
static bool
receive_row(JobWorker *worker, JobRow *row)
{
	EngineReply reply;
	bool moved = false;

	while (row->call && engine_poll(row->call, &reply))
	{
		moved = true;
		if (has_no_room(row, &reply))
			answer_in_parts(worker, row);
		else if (reply.type == FRAME_ACCEPTED)
		{
			engine_go(row->call);
			row->state = ROW_RUNNING;
		}
		else if (reply.type == FRAME_ERROR)
			take_engine_error(worker, row, &reply.error);
		else if (reply.type != FRAME_PIECE)
			take_answer(worker, row, &reply);
	}
	return moved;
}

/* Send a row's request, or take what came for it; the limits are those of whoever submitted it. */
static bool
advance_row(JobWorker *worker, JobRow *row, bool may_send, int *n_in_flight)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool moved = false;

	limits_act_for(row->spec->roles);
	PG_TRY();
	{
		if (row->state == ROW_READY && !row->has_prompt)
		{
			row->state = ROW_ANSWERED;
			moved = true;
		}
		else if (row->state == ROW_READY && may_send)
		{
			row->call = engine_submit(&row->request, row->content);
			row->state = ROW_SENT;
			moved = true;
		}
		else if (row->state == ROW_SENT || row->state == ROW_RUNNING)
			moved = receive_row(worker, row);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		take_raised_error(worker, row);
		moved = true;
	}
	PG_END_TRY();
	limits_act_for(NULL);
	*n_in_flight += row->state == ROW_SENT || row->state == ROW_RUNNING;
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

bool
job_calls_advance(JobWorker *worker)
{
	bool moved = false;
	int n_in_flight = 0, window = receive_all(worker);

	for (JobRow *row = worker->rows; row; row = row->next)
		n_in_flight += row->state == ROW_SENT || row->state == ROW_RUNNING;
	for (JobRow *row = worker->rows; row; row = row->next)
	{
		bool was_in_flight = row->state == ROW_SENT || row->state == ROW_RUNNING;
		bool may_send = !was_in_flight && n_in_flight < window && job_clock() >= worker->pause_until;
		int is_in_flight = 0;

		moved |= advance_row(worker, row, may_send, &is_in_flight);
		n_in_flight += is_in_flight - was_in_flight;
	}
	worker->n_in_flight = n_in_flight;
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
				row->state = ROW_READY;
			}
		pause_worker(worker, error->message);
	}
	PG_END_TRY();
}
