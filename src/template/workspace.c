/*
 * workspace.c - memory, failures and bounds of the template interpreter; see workspace.h.
 */
#include "workspace.h"
#undef workspace_fail

#include "../base/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool
workspace_init(Workspace *work, size_t memory_limit, uint32_t max_depth)
{
	memset(work, 0, sizeof *work);
	work->memory_limit = memory_limit;
	work->max_depth = max_depth;
	work->arena = arena_create(memory_limit);
	return work->arena != NULL;
}

void
workspace_free(Workspace *work)
{
	arena_destroy(work->arena);
	work->arena = NULL;
}

/* A failure when nobody wants the result any more. */
static bool
is_cancelled(Workspace *work)
{
	return cancel_is_wanted(work->cancelled) && !workspace_fail(work, STATUS_CANCELLED, "the request was cancelled");
}

void *
workspace_alloc(Workspace *work, size_t n, size_t size)
{
	void *piece;

	if (is_cancelled(work))
		return NULL;
	piece = arena_alloc_array(work->arena, n, size);
	if (piece)
		return piece;
	if (n > work->memory_limit / (size ? size : 1) || n * size + 16 > work->memory_limit - arena_used(work->arena))
		workspace_fail(work, STATUS_TOO_LONG, "needs more than %zu MiB of memory", work->memory_limit >> 20);
	else
		workspace_fail(work, STATUS_UNAVAILABLE, "out of memory");
	return NULL;
}

/* Make line ends blanks. Characters that were cut in two where names were shortened are dropped by status_error. */
static void
clean_sentence(char *sentence)
{
	for (; *sentence; sentence++)
		if (*sentence == '\n' || *sentence == '\r')
			*sentence = ' ';
}

bool
workspace_fail(Workspace *work, StatusCode code, const char *format, ...)
{
	char sentence[STATUS_MESSAGE_BYTES];
	va_list args;

	if (work->status.code != STATUS_OK)
		return false;
	va_start(args, format);
	vsnprintf(sentence, sizeof sentence, format, args);
	va_end(args);
	clean_sentence(sentence);
	if (work->line)
		work->status = status_error(code, "line %u of the chat template: %s", work->line, sentence);
	else
		work->status = status_error(code, "%s", sentence);
	return false;
}

bool
workspace_step(Workspace *work, size_t n)
{
	work->steps += n;
	if (is_cancelled(work))
		return false;
	if (work->steps <= TEMPLATE_MAX_STEPS)
		return true;
	return workspace_fail(work, STATUS_TOO_LONG, "the template takes more than %d steps", TEMPLATE_MAX_STEPS);
}

bool
workspace_enter(Workspace *work)
{
	if (work->depth >= work->max_depth)
		return workspace_fail(work, STATUS_TOO_LONG, "nested deeper than %u levels", work->max_depth);
	work->depth++;
	return true;
}

void
workspace_leave(Workspace *work)
{
	work->depth--;
}
