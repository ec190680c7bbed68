/*
 * json_memory.c - see json_memory.h.
 */
#include "json_memory.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

/* What the thread's jansson is doing. */
static _Thread_local uint64_t n_failures;
static _Thread_local bool is_reading;   /* a text is being read: bytes count */
static _Thread_local size_t bytes_read; /* that its values and what reads them take */
static _Thread_local bool is_over;      /* more than the limit was asked for */
static _Thread_local const CancelFlag *reading_cancelled;

/* What malloc keeps beside each piece. */
#define PIECE_BYTES 16

static void *
counted_malloc(size_t bytes)
{
	void *memory;

	if (is_reading)
	{
		is_over |= bytes > JSON_MEMORY_LIMIT - bytes_read;
		if (is_over || cancel_is_wanted(reading_cancelled))
			return NULL;
	}
	memory = malloc(bytes);
	n_failures += !memory;
	if (is_reading && memory)
		bytes_read += malloc_usable_size(memory) + PIECE_BYTES;
	if (bytes_read > JSON_MEMORY_LIMIT)
		bytes_read = JSON_MEMORY_LIMIT;
	return memory;
}

static void
counted_free(void *memory)
{
	size_t bytes = is_reading && memory ? malloc_usable_size(memory) + PIECE_BYTES : 0;

	bytes_read -= bytes < bytes_read ? bytes : bytes_read;
	free(memory);
}

/* Let jansson allocate through us, before anybody uses it: called before there are threads. */
static void __attribute__((constructor)) set_functions(void)
{
	json_set_alloc_funcs(counted_malloc, counted_free);
}

uint64_t
json_memory_failures(void)
{
	return n_failures;
}

/* A text that jansson takes a piece at a time. */
typedef struct JsonSource
{
	const char *text;
	size_t length;
	const CancelFlag *cancelled;
} JsonSource;

static size_t
next_piece(void *buffer, size_t room, void *argument)
{
	JsonSource *source = argument;
	size_t n = source->length < room ? source->length : room;

	if (cancel_is_wanted(source->cancelled))
		return (size_t) -1;
	memcpy(buffer, source->text, n);
	source->text += n;
	source->length -= n;
	return n;
}

json_t *
json_memory_load(const char *text, size_t length, size_t flags, const CancelFlag *cancelled, json_error_t *error,
				 JsonFailure *failure)
{
	JsonSource source = {text, length, cancelled};
	uint64_t before = n_failures;
	json_t *root;

	is_reading = true;
	is_over = false;
	bytes_read = 0;
	reading_cancelled = cancelled;
	root = json_load_callback(next_piece, &source, flags, error);
	is_reading = false;
	*failure = cancel_is_wanted(cancelled) ? JSON_CANCELLED
			   : is_over                   ? JSON_OVER_LIMIT
			   : n_failures != before      ? JSON_OUT_OF_MEMORY
										   : JSON_READ;
	if (*failure == JSON_READ)
		return root;
	json_decref(root);
	return NULL;
}

Status
json_memory_status(JsonFailure failure, const char *what, size_t length)
{
	if (failure == JSON_CANCELLED)
		return status_error(STATUS_CANCELLED, "the request was cancelled");
	if (failure == JSON_OVER_LIMIT)
		return status_error(STATUS_TOO_LONG,
							"%s of %zu bytes hold too many values: they would take more than %zu MB "
							"of memory",
							what, length, JSON_MEMORY_LIMIT >> 20);
	return status_error(STATUS_UNAVAILABLE, "out of memory for %s", what);
}
