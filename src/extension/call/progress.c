/*
 * progress.c - counting rows that a statement of this session has asked the model about, for qwen_progress.
 *
 * Windows of rows and plain calls tell of each row that is done, the plan node and the array functions how many they
 * expect. What is counted belongs to the outermost query that runs and lives as long as its executor does, so that a
 * cursor goes on where it was, whatever the session does between two FETCH; or to the utility statement (DO, CALL,
 * CREATE INDEX) that is around all queries, also over its commits. Executors run inside of each other: what counts is
 * the outermost one that asks. When rows come that nobody expected, how many there will be is not known any more.
 *
 * A session is listed with what asked last; when that ends, with what is left.
 */
#include "progress.h"

#include "../core/statement.h"
#include "../watch/watch.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* What a statement has done. */
typedef struct Progress
{
	struct Progress *next;  /* the one that asked before */
	const EState *executor; /* of its query; NULL: of a utility statement, or of what is evaluated outside of both */
	int depth;              /* of the executor that asks; 0: none has asked */
	const char *symbol;     /* of the function that was asked last; NULL: none, and there is nothing to show */
	TimestampTz started_at; /* with symbol */
	bool is_known;          /* how many rows there will be */
	double expected;
	int64 rows, prompt_tokens, completion_tokens;
	MemoryContextCallback at_end;
} Progress;

static Progress of_utility;
static Progress *first;       /* of all, the one that asked last */
static const Progress *shown; /* the session's in qwen_progress, or NULL */

static void
show(const Progress *progress)
{
	WatchedProgress watched = {progress->rows, -1, progress->prompt_tokens, progress->completion_tokens};

	if (!progress->symbol)
		return;
	if (progress->is_known && progress->expected >= (double) progress->rows && progress->expected > 0)
		watched.rows_expected = progress->expected;
	watch_progress(progress->symbol, progress->started_at, &watched);
	shown = progress;
}

static void
take_out(Progress *progress)
{
	for (Progress **place = &first; *place; place = &(*place)->next)
		if (*place == progress)
		{
			*place = progress->next;
			return;
		}
}

static void
put_first(Progress *progress)
{
	if (first == progress)
		return;
	take_out(progress);
	progress->next = first;
	first = progress;
}

/* Begin anew, with an executor of this depth. */
static void
begin_counting(Progress *progress, int depth)
{
	const EState *executor = progress->executor;
	MemoryContextCallback at_end = progress->at_end;
	Progress *next = progress->next;

	*progress = (Progress){.next = next, .executor = executor, .depth = depth, .is_known = true, .at_end = at_end};
}

static void
forget(Progress *progress)
{
	take_out(progress);
	begin_counting(progress, 0);
	progress->executor = NULL;
	if (shown != progress)
		return;
	shown = NULL;
	for (const Progress *left = first; left; left = left->next)
		if (left->symbol)
		{
			show(left);
			return;
		}
	watch_progress_end();
}

/* The memory of a query goes, by its end or an error. */
static void
end_with_query(void *progress)
{
	forget(progress);
}

/* What this query has done. */
static Progress *
progress_of(const EState *executor)
{
	Progress *progress = first;

	while (progress && progress->executor != executor)
		progress = progress->next;
	if (progress)
		return progress;
	progress = MemoryContextAllocZero(executor->es_query_cxt, sizeof *progress);
	progress->executor = executor;
	progress->at_end = (MemoryContextCallback){.func = end_with_query, .arg = progress};
	MemoryContextRegisterResetCallback(executor->es_query_cxt, &progress->at_end);
	progress->next = first;
	first = progress;
	return progress;
}

/* What is evaluated outside of executors (PL/pgSQL's expressions in DO) counts as in the outermost. */
static int
own_depth(void)
{
	return Max(statement_depth(), 1);
}

/* Is what happens at this depth of executors to be counted? What is further out takes the place of what is inside. */
static bool
counts_at(Progress *progress, int depth)
{
	if (progress->depth != 0 && depth > progress->depth)
		return false;
	if (depth != progress->depth)
		begin_counting(progress, depth);
	return true;
}

/* Where to count what happens now; NULL: nowhere. */
static Progress *
counted_now(void)
{
	const QueryDesc *query = statement_query();
	Progress *progress = query && query->estate ? progress_of(query->estate) : &of_utility;

	if (!counts_at(progress, own_depth()))
		return NULL;
	put_first(progress);
	return progress;
}

static void
add_plan(Progress *progress, int depth, double rows)
{
	if (!counts_at(progress, depth))
		return;
	/* one of several executors of a statement: how many will follow nobody knows */
	if (rows < 0 || progress->rows > 0)
		progress->is_known = false;
	else
		progress->expected += rows;
}

void
progress_plan(const EState *executor, double rows)
{
	const QueryDesc *around = statement_query();

	/* it may be a cursor, whose rows are fetched when nothing is around it any more */
	add_plan(progress_of(executor), 1, rows);
	if (around)
		add_plan(progress_of(around->estate), statement_depth() + 1, rows);
	else if (statement_is_utility())
	{
		add_plan(&of_utility, statement_depth() + 1, rows);
		put_first(&of_utility);
	}
}

void
progress_expect(double rows)
{
	Progress *progress = counted_now();

	if (!progress)
		return;
	progress->expected += rows;
	show(progress);
}

void
progress_expect_more(void)
{
	Progress *progress = counted_now();

	if (!progress)
		return;
	progress->is_known = false;
	show(progress);
}

void
progress_begin(const char *symbol)
{
	Progress *progress = counted_now();

	if (!progress || progress->symbol == symbol)
		return;
	if (!progress->symbol)
		progress->started_at = GetCurrentTimestamp();
	progress->symbol = symbol;
	show(progress);
}

void
progress_row(int64 prompt_tokens, int64 completion_tokens)
{
	Progress *progress = counted_now();

	if (!progress)
		return;
	progress->rows++;
	progress->prompt_tokens += prompt_tokens;
	progress->completion_tokens += completion_tokens;
	show(progress);
}

/* The outermost statement has ended. */
static void
end_statement(void)
{
	forget(&of_utility);
}

/* Queries do not outlive their transaction, but a utility statement that commits goes on. */
static void
end_transaction(XactEvent event, void *argument)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_PREPARE && event != XACT_EVENT_ABORT &&
		event != XACT_EVENT_PARALLEL_COMMIT && event != XACT_EVENT_PARALLEL_ABORT)
		return;
	for (Progress *progress = first, *next; progress; progress = next)
	{
		next = progress->next;
		if (progress != &of_utility || !statement_is_utility())
			forget(progress);
	}
}

/* Of rows that an executor inside expected, after an error that is caught, nobody knows how many will come. */
static void
end_subtransaction(SubXactEvent event, SubTransactionId id, SubTransactionId parent, void *argument)
{
	if (event != SUBXACT_EVENT_ABORT_SUB)
		return;
	for (Progress *progress = first; progress; progress = progress->next)
		if (statement_depth() < progress->depth)
			progress->is_known = false;
}

void
progress_init(void)
{
	statement_when_ended(end_statement);
	RegisterXactCallback(end_transaction, NULL);
	RegisterSubXactCallback(end_subtransaction, NULL);
}
