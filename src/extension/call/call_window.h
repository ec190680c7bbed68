/*
 * call_window.h - rows in flight: a queue whose head is waited for while the calls of all its rows are under way.
 *
 * Its owner's loop: push rows while there is room; when the queue is empty, that was all; window_advance; if the calls
 * of the head have ended, take its values and pop it; else window_wait and begin again. Rows behind a slow head may end
 * and make room for more, up to ROWS_PER_REQUEST rows for each request that may be in flight.
 *
 * A row owns a memory context with everything of it: what its owner keeps there, its arguments, its calls. Popping or
 * clearing deletes the context, which cancels what has not ended.
 */
#ifndef QWEN_CALL_WINDOW_H
#define QWEN_CALL_WINDOW_H

#include "model_call.h"

#define ROWS_PER_REQUEST 4

typedef struct WindowRow
{
	MemoryContext context;
	void *content; /* the owner's, in context */
	Size bytes;    /* as of window_measure */
	bool is_done;  /* its calls have ended, and it is counted */
	ModelCall calls[FLEXIBLE_ARRAY_MEMBER];
} WindowRow;

typedef struct CallWindow
{
	MemoryContext context;
	int n_calls; /* of every row */
	WindowRow **rows;
	int capacity, head, n;
	int n_in_flight; /* requests that have not ended, as of the last push or advance */
	Size bytes;
	/* for EXPLAIN ANALYZE; a rescan does not reset them */
	ModelCallCounts counts;
	int largest; /* requests in flight at once */
	uint64 waited_us;
} CallWindow;

/* An empty window below the current memory context. */
extern CallWindow *window_create(int n_calls);

/* Append a row without calls and make its context current; the caller switches back. */
extern WindowRow *window_push(CallWindow *window);

/* The last row is complete: count its requests and its memory. */
extern void window_measure(CallWindow *window);

/* Is there room for one more row, with this many requests in flight at most? Always for the first. */
extern bool window_has_room(const CallWindow *window, int max_in_flight);

/* Let all calls go on as far as they can without waiting. The head when its calls have ended, else NULL. */
extern WindowRow *window_advance(CallWindow *window);

/* Wait until something may have come. flush: what the client of this session has waiting is sent first. */
extern void window_wait(CallWindow *window, bool flush);

/* Forget the head, whose values have been taken. */
extern void window_pop(CallWindow *window);

/* Cancel and forget all rows. */
extern void window_clear(CallWindow *window);

#endif
