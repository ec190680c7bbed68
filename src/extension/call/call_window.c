/*
 * call_window.c - rows in flight; see call_window.h.
 */
#include "call_window.h"

#include "../../base/clock.h"
#include "miscadmin.h"
#include "progress.h"
#include "utils/memutils.h"

#define FIRST_CAPACITY 16

CallWindow *
window_create(int n_calls)
{
	CallWindow *window = palloc0(sizeof *window);

	window->context = AllocSetContextCreate(CurrentMemoryContext, "qwen rows in flight", ALLOCSET_SMALL_SIZES);
	window->n_calls = n_calls;
	window->capacity = FIRST_CAPACITY;
	window->rows = palloc0(sizeof *window->rows * window->capacity);
	return window;
}

static WindowRow **
row_at(const CallWindow *window, int i)
{
	return &window->rows[(window->head + i) % window->capacity];
}

/* Twice the room, the head in front. */
static void
grow(CallWindow *window)
{
	WindowRow **rows = MemoryContextAllocZero(GetMemoryChunkContext(window), sizeof *rows * window->capacity * 2);

	for (int i = 0; i < window->n; i++)
		rows[i] = *row_at(window, i);
	pfree(window->rows);
	window->rows = rows;
	window->capacity *= 2;
	window->head = 0;
}

WindowRow *
window_push(CallWindow *window)
{
	MemoryContext context;
	WindowRow *row;

	if (window->n == window->capacity)
		grow(window);
	context = AllocSetContextCreate(window->context, "qwen row in flight", ALLOCSET_SMALL_SIZES);
	row = MemoryContextAllocZero(context, offsetof(WindowRow, calls) + sizeof(ModelCall) * window->n_calls);
	row->context = context;
	for (int i = 0; i < window->n_calls; i++)
		row->calls[i].failed = -1;
	*row_at(window, window->n) = row;
	window->n++;
	MemoryContextSwitchTo(context);
	return row;
}

/* Requests of a row that have not ended. */
static int
row_in_flight(const CallWindow *window, const WindowRow *row)
{
	int n = 0;

	for (int i = 0; i < window->n_calls; i++)
		n += row->calls[i].n_requests - row->calls[i].n_ended;
	return n;
}

void
window_measure(CallWindow *window)
{
	WindowRow *row = *row_at(window, window->n - 1);

	row->bytes = MemoryContextMemAllocated(row->context, true);
	window->bytes += row->bytes;
	window->n_in_flight += row_in_flight(window, row);
	window->largest = Max(window->largest, window->n_in_flight);
}

bool
window_has_room(const CallWindow *window, int max_in_flight)
{
	return window->n == 0 || (window->n_in_flight < max_in_flight && window->n < max_in_flight * ROWS_PER_REQUEST &&
							  window->bytes < (Size) work_mem * 1024);
}

/* Let the calls of a row go on; a row is done with the last of them. */
static void
advance_row(CallWindow *window, WindowRow *row)
{
	int64 prompt_tokens = 0, completion_tokens = 0;
	bool is_done = true;

	for (int i = 0; i < window->n_calls; i++)
	{
		ModelCall *call = &row->calls[i];

		if (!call->function)
			continue;
		is_done &= model_call_advance(call);
		prompt_tokens += call->counts.prompt_tokens;
		completion_tokens += call->counts.completion_tokens;
	}
	if (is_done && !row->is_done)
		progress_row(prompt_tokens, completion_tokens);
	row->is_done = is_done;
}

WindowRow *
window_advance(CallWindow *window)
{
	int head_in_flight = 0;

	CHECK_FOR_INTERRUPTS();
	engine_receive();
	window->n_in_flight = 0;
	for (int i = 0; i < window->n; i++)
	{
		WindowRow *row = *row_at(window, i);

		advance_row(window, row);
		window->n_in_flight += row_in_flight(window, row);
		if (i == 0)
			head_in_flight = window->n_in_flight;
	}
	return window->n > 0 && head_in_flight == 0 ? *row_at(window, 0) : NULL;
}

void
window_wait(CallWindow *window, bool flush)
{
	uint64 start_us = clock_now_us();

	engine_wait(flush);
	window->waited_us += clock_now_us() - start_us;
}

void
window_pop(CallWindow *window)
{
	WindowRow *row = *row_at(window, 0);

	window->bytes -= row->bytes;
	*row_at(window, 0) = NULL;
	window->head = (window->head + 1) % window->capacity;
	window->n--;
	MemoryContextDelete(row->context);
}

void
window_clear(CallWindow *window)
{
	window->n = window->head = window->n_in_flight = 0;
	window->bytes = 0;
	memset(window->rows, 0, sizeof *window->rows * window->capacity);
	MemoryContextReset(window->context);
}
