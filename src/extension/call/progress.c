/*
 * progress.c - counting rows that the statement of this session has asked the model about, for qwen_progress.
 *
 * Windows of rows and plain calls tell of each row that is done, the plan node and the array functions how many they
 * expect. Executors run inside of each other: what counts is the outermost one that asks. When rows come that nobody
 * expected, how many there will be is not known any more.
 */
#include "progress.h"

#include "../core/statement.h"
#include "../watch/watch.h"
#include "access/xact.h"
#include "utils/timestamp.h"

/* What the statement has done, NULL started_at: none has begun. */
static struct
{
	int depth; /* of the executor that asks */
	TimestampTz started_at;
	const char *symbol; /* of the function that was asked last; NULL: none, and it is not listed */
	bool is_known;      /* how many rows there will be */
	double expected;
	int64 rows, prompt_tokens, completion_tokens;
} current;

static void
forget(void)
{
	if (current.symbol)
		watch_progress_end();
	memset(&current, 0, sizeof current);
}

/* Is what happens at this depth of executors to be counted? What is further out takes the place of what is inside. */
static bool
counts_at(int depth)
{
	if (current.started_at != 0 && depth > current.depth)
		return false;
	if (current.started_at == 0 || depth < current.depth)
	{
		forget();
		current.depth = depth;
		current.started_at = GetCurrentTimestamp();
		current.is_known = true;
	}
	return true;
}

/* Show it, once the model is asked. */
static void
show(void)
{
	WatchedProgress progress = {current.rows, -1, current.prompt_tokens, current.completion_tokens};

	if (!current.symbol)
		return;
	if (current.is_known && current.expected >= (double) current.rows && current.expected > 0)
		progress.rows_expected = current.expected;
	watch_progress(current.symbol, current.started_at, &progress);
}

/* What is evaluated outside of executors (PL/pgSQL's expressions in DO) counts as in the outermost. */
static int
own_depth(void)
{
	return Max(statement_depth(), 1);
}

void
progress_plan(double rows)
{
	if (!counts_at(statement_depth() + 1))
		return;
	/* one of several executors of a statement: how many will follow nobody knows */
	if (rows < 0 || current.rows > 0)
		current.is_known = false;
	else
		current.expected += rows;
}

void
progress_expect(double rows)
{
	if (!counts_at(own_depth()))
		return;
	current.expected += rows;
	show();
}

void
progress_expect_more(void)
{
	if (!counts_at(own_depth()))
		return;
	current.is_known = false;
	show();
}

void
progress_begin(const char *symbol)
{
	if (!counts_at(own_depth()) || current.symbol == symbol)
		return;
	current.symbol = symbol;
	show();
}

void
progress_row(int64 prompt_tokens, int64 completion_tokens)
{
	if (!counts_at(own_depth()))
		return;
	current.rows++;
	current.prompt_tokens += prompt_tokens;
	current.completion_tokens += completion_tokens;
	show();
}

static void
end_transaction(XactEvent event, void *argument)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_PREPARE || event == XACT_EVENT_ABORT ||
		event == XACT_EVENT_PARALLEL_COMMIT || event == XACT_EVENT_PARALLEL_ABORT)
		forget();
}

/* An error that is caught inside leaves a count that is of no use. */
static void
end_subtransaction(SubXactEvent event, SubTransactionId id, SubTransactionId parent, void *argument)
{
	if (event == SUBXACT_EVENT_ABORT_SUB && statement_depth() < current.depth)
		forget();
}

void
progress_init(void)
{
	statement_when_ended(forget);
	RegisterXactCallback(end_transaction, NULL);
	RegisterSubXactCallback(end_subtransaction, NULL);
}
