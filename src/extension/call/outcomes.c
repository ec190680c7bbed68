/*
 * outcomes.c - counting values that became NULL and answers that were cut off, and telling of them at the statement's
 * end; see outcomes.h.
 */
#include "outcomes.h"

#include "../core/statement.h"
#include "../core/texts.h"
#include "access/xact.h"
#include "utils/memutils.h"

/* What has not been told of yet. */
typedef struct Untold
{
	int64 nulls_made;                    /* values that became NULL */
	int64 answers_cut[CUT_AT_START + 1]; /* by what is left of them */
	int64 plain_messages;                /* prompts that look like messages */
} Untold;

static Untold untold;
static char first_message[256]; /* of the first value that became NULL */

/* What there was to tell of when a subtransaction began. */
typedef struct Subtransaction
{
	struct Subtransaction *outer;
	Untold untold;
} Subtransaction;

static Subtransaction *subtransactions; /* the innermost first; in the transaction's memory */

bool
is_data_error(int sqlstate)
{
	int category = ERRCODE_TO_CATEGORY(sqlstate);

	/* the last is what checks in PL/pgSQL raise */
	return category == ERRCODE_TO_CATEGORY(ERRCODE_DATA_EXCEPTION) ||
		   category == ERRCODE_TO_CATEGORY(ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION) ||
		   sqlstate == ERRCODE_RAISE_EXCEPTION;
}

bool
is_row_error(int sqlstate)
{
	return is_data_error(sqlstate) || sqlstate == ERRCODE_PROGRAM_LIMIT_EXCEEDED ||
		   sqlstate == ERRCODE_FEATURE_NOT_SUPPORTED;
}

void
count_null(const char *message)
{
	if (untold.nulls_made++ == 0)
		copy_server_text(first_message, message, sizeof first_message);
}

/* The WARNING that counts values that became NULL since the last one; nothing when there are none. */
static void
warn_of_nulls(void)
{
	int64 n = untold.nulls_made;

	untold.nulls_made = 0;
	if (n > 0)
		ereport(WARNING, (errmsg_plural("%lld value is NULL because its row failed",
										"%lld values are NULL because their rows failed", n, (long long) n),
						  errdetail("The first error: %s", first_message),
						  errhint("With qwen.on_error = error the statement stops at the first one.")));
}

CutAnswer
cut_answer(bool has_text, bool has_thought)
{
	return has_text ? CUT_IN_TEXT : has_thought ? CUT_IN_THINKING : CUT_AT_START;
}

void
count_cut(CutAnswer left)
{
	untold.answers_cut[left]++;
}

/* The NOTICE that counts answers that were cut off since the last one; nothing when there are none. */
static void
tell_of_cut_answers(void)
{
	int64 thought = untold.answers_cut[CUT_IN_THINKING], begun = untold.answers_cut[CUT_AT_START];
	int64 n = untold.answers_cut[CUT_IN_TEXT] + thought + begun;

	memset(untold.answers_cut, 0, sizeof untold.answers_cut);
	if (n == 0)
		return;
	ereport(NOTICE,
			(errmsg_plural("%lld answer was cut off at max_tokens", "%lld answers were cut off at max_tokens", n,
						   (long long) n),
			 thought > 0 ? errdetail_plural("%lld is empty: thinking has taken all of its tokens.",
											"%lld are empty: thinking has taken all of their tokens.", thought,
											(long long) thought)
			 : begun > 0 ? errdetail_plural("%lld is empty: its tokens end before its first whole character.",
											"%lld are empty: their tokens end before their first whole character.",
											begun, (long long) begun)
						 : 0,
			 thought > 0 ? errhint("Raise the argument max_tokens, qwen.max_tokens or the role's limit, or "
								   "give thinking => false or "
								   "a thinking_budget.")
						 : errhint("Raise the argument max_tokens, qwen.max_tokens or the role's limit.")));
}

void
count_plain_messages(void)
{
	untold.plain_messages++;
}

static void
tell_of_plain_messages(void)
{
	int64 n = untold.plain_messages;

	untold.plain_messages = 0;
	if (n > 0)
		ereport(NOTICE, (errmsg_plural("%lld prompt looks like an array of messages, but is used as plain text",
									   "%lld prompts look like arrays of messages, but are used as plain text", n,
									   (long long) n),
						 errhint("If it is meant as messages, cast it: qwen_chat(...::json).")));
}

/* The outermost statement tells what has become of its values. */
static void
tell(void)
{
	warn_of_nulls();
	tell_of_cut_answers();
	tell_of_plain_messages();
}

/* What ran outside of an executor (DO, CALL) is told of at the transaction's end; after an error nothing is left to
 * tell. */
static void
end_transaction(XactEvent event, void *argument)
{
	if (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE)
		tell();
	else if (event == XACT_EVENT_ABORT)
		untold = (Untold){0};
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_PREPARE || event == XACT_EVENT_ABORT)
		subtransactions = NULL;
}

/* What was counted in a subtransaction that is rolled back failed with it; what was told of meanwhile stays told. */
static void
end_subtransaction(SubXactEvent event, SubTransactionId id, SubTransactionId parent, void *argument)
{
	Subtransaction *before = subtransactions;

	if (event == SUBXACT_EVENT_START_SUB)
	{
		before = MemoryContextAlloc(TopTransactionContext, sizeof *before);
		*before = (Subtransaction){subtransactions, untold};
		subtransactions = before;
	}
	else if (before && (event == SUBXACT_EVENT_COMMIT_SUB || event == SUBXACT_EVENT_ABORT_SUB))
	{
		if (event == SUBXACT_EVENT_ABORT_SUB)
		{
			untold.nulls_made = Min(untold.nulls_made, before->untold.nulls_made);
			for (int i = 0; i <= CUT_AT_START; i++)
				untold.answers_cut[i] = Min(untold.answers_cut[i], before->untold.answers_cut[i]);
			untold.plain_messages = Min(untold.plain_messages, before->untold.plain_messages);
		}
		subtransactions = before->outer;
		pfree(before);
	}
}

void
outcomes_init(void)
{
	statement_when_ended(tell);
	RegisterXactCallback(end_transaction, NULL);
	RegisterSubXactCallback(end_subtransaction, NULL);
}
