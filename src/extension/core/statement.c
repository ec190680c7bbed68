/*
 * statement.c - which statement runs, and that it ends: the executor's hooks; see statement.h.
 *
 * Executors run inside of each other: functions run statements, triggers do. What holds for the one around is given
 * back when the inner one returns.
 */
#include "statement.h"

#include "access/xact.h"
#include "compat.h"
#include "executor/executor.h"
#include "parser/parse_relation.h"
#include "parser/parsetree.h"
#include "storage/ipc.h"
#include "tcop/utility.h"

#define MAX_HEARD_ENDS 4

static int executor_depth;               /* how many executors run inside of each other */
static int utility_depth;                /* utility statements that run, but for those of cursors */
static const PlannedStmt *executor_plan; /* of the innermost of them */
static QueryDesc *outermost;             /* the query of the outermost of them, if no utility statement is around it */
static void (*heard_start)(QueryDesc *query);
static void (*heard_ending)(const PlannedStmt *plan);
static void (*heard_ends[MAX_HEARD_ENDS])(void);
static int n_heard_ends;
static void (*heard_transaction)(const TransactionStmt *statement);
static void (*heard_utility)(const UtilityStatement *statement);
static void (*heard_notes[N_UTILITY_NOTES])(const UtilityStatement *statement);
static UtilityStatement *innermost_utility;
static ExecutorStart_hook_type previous_start;
static ExecutorRun_hook_type previous_run;
static ExecutorFinish_hook_type previous_finish;
static ExecutorEnd_hook_type previous_end;
static ProcessUtility_hook_type previous_utility;

/*
 * FATAL ends a session in the middle of its statements, and takes no PG_FINALLY: what is kept of them here lies in
 * freed memory when, on the way out, temporary tables are dropped. No statement runs then.
 */
static bool
is_leaving(void)
{
	return proc_exit_inprogress;
}

/* The columns that a statement may set in a table that it names, by attribute number less the lowest. */
static Bitmapset *
updated_columns(const PlannedStmt *statement, RangeTblEntry *table)
{
#if PG_VERSION_NUM >= 160000
	return table->perminfoindex ? getRTEPermissionInfo(statement->permInfos, table)->updatedCols : NULL;
#else
	return table->updatedCols;
#endif
}

/* May a node of a statement's plan be an UPDATE, or a MERGE with one, of a table or its partitions? Adds its columns.
 */
static bool
plan_updates(const PlannedStmt *statement, const Plan *plan, Oid table, Bitmapset **columns)
{
	RangeTblEntry *named;
	const ModifyTable *change = (const ModifyTable *) plan;
	bool updates;

	if (!plan || !IsA(plan, ModifyTable))
		return false;
	updates = change->operation == CMD_UPDATE;
#if PG_VERSION_NUM >= 150000
	if (change->operation == CMD_MERGE)
	{
		ListCell *actions, *action;

		foreach (actions, change->mergeActionLists)
			foreach (action, lfirst_node(List, actions))
				updates |= lfirst_node(MergeAction, action)->commandType == CMD_UPDATE;
	}
#endif
	named = rt_fetch(change->nominalRelation, statement->rtable);
	if (!updates || named->relid != table)
		return false;
	*columns = bms_add_members(*columns, updated_columns(statement, named));
	return true;
}

bool
executor_updates(Oid table, Bitmapset **columns)
{
	ListCell *cell;
	bool updates;

	if (executor_depth == 0 || !executor_plan || is_leaving())
		return false;
	updates = plan_updates(executor_plan, executor_plan->planTree, table, columns);
	/* those of WITH */
	foreach (cell, executor_plan->subplans)
		updates |= plan_updates(executor_plan, lfirst(cell), table, columns);
	return updates;
}

/* May a node of a statement's plan be an INSERT into a table or its partitions, or a MERGE with one? */
static bool
plan_inserts(const PlannedStmt *statement, const Plan *plan, Oid table)
{
	const ModifyTable *change = (const ModifyTable *) plan;
	bool inserts;

	if (!plan || !IsA(plan, ModifyTable))
		return false;
	inserts = change->operation == CMD_INSERT;
#if PG_VERSION_NUM >= 150000
	if (change->operation == CMD_MERGE)
	{
		ListCell *actions, *action;

		foreach (actions, change->mergeActionLists)
			foreach (action, lfirst_node(List, actions))
				inserts |= lfirst_node(MergeAction, action)->commandType == CMD_INSERT;
	}
#endif
	return inserts && rt_fetch(change->nominalRelation, statement->rtable)->relid == table;
}

bool
executor_inserts(Oid table)
{
	ListCell *cell;
	bool inserts;

	if (executor_depth == 0 || !executor_plan || is_leaving())
		return false;
	inserts = plan_inserts(executor_plan, executor_plan->planTree, table);
	foreach (cell, executor_plan->subplans)
		inserts |= plan_inserts(executor_plan, lfirst(cell), table);
	return inserts;
}

int
statement_depth(void)
{
	return is_leaving() ? 0 : executor_depth;
}

QueryDesc *
statement_query(void)
{
	return is_leaving() ? NULL : outermost;
}

bool
statement_is_utility(void)
{
	return utility_depth > 0 && !outermost && !is_leaving();
}

UtilityStatement *
utility_statement(void)
{
	return is_leaving() ? NULL : innermost_utility;
}

/* One more executor runs; what held for the one around it is given back. */
static const PlannedStmt *
enter_executor(QueryDesc *query)
{
	const PlannedStmt *outer = executor_plan;

	if (executor_depth == 0)
		outermost = utility_depth == 0 ? query : NULL;
	executor_depth++;
	executor_plan = query->plannedstmt;
	return outer;
}

static void
leave_executor(const PlannedStmt *outer)
{
	executor_depth--;
	executor_plan = outer;
	if (executor_depth == 0)
		outermost = NULL;
}

static void
start_hook(QueryDesc *query, int flags)
{
	if (previous_start)
		previous_start(query, flags);
	else
		standard_ExecutorStart(query, flags);
	if (heard_start)
		heard_start(query);
}

static void run_hook EXECUTOR_RUN_PARAMETERS
{
	const PlannedStmt *outer = enter_executor(query);

	PG_TRY();
	{
		if (previous_run)
			previous_run EXECUTOR_RUN_ARGUMENTS;
		else
			standard_ExecutorRun EXECUTOR_RUN_ARGUMENTS;
	}
	PG_FINALLY();
	{
		leave_executor(outer);
	}
	PG_END_TRY();
}

static void
finish_hook(QueryDesc *query)
{
	const PlannedStmt *outer = enter_executor(query);

	PG_TRY();
	{
		if (previous_finish)
			previous_finish(query);
		else
			standard_ExecutorFinish(query);
	}
	PG_FINALLY();
	{
		leave_executor(outer);
	}
	PG_END_TRY();
}

/* Has the outermost statement ended? */
static void
tell_of_end(void)
{
	for (int i = 0; executor_depth == 0 && utility_depth == 0 && i < n_heard_ends; i++)
		heard_ends[i]();
}

static void
end_hook(QueryDesc *query)
{
	if (heard_ending)
		heard_ending(query->plannedstmt);
	if (previous_end)
		previous_end(query);
	else
		standard_ExecutorEnd(query);
	tell_of_end();
}

/* Tell who has kept notes of a utility statement that it is done, with what it has done to be seen. Not where it has
 * ended its transaction. */
static void
tell_of_notes(const UtilityStatement *utility)
{
	bool is_seen = false;

	for (int note = 0; note < N_UTILITY_NOTES; note++)
	{
		if (!utility->notes[note] || !heard_notes[note] || !IsTransactionState())
			continue;
		if (!is_seen)
			CommandCounterIncrement();
		is_seen = true;
		heard_notes[note](utility);
	}
}

/* DO, CALL, CREATE INDEX and others run many executors and are one statement. A cursor lives from one FETCH to the
 * next, until its executor ends. */
static void utility_hook UTILITY_PARAMETERS
{
	bool is_cursor = IsA(statement->utilityStmt, FetchStmt) || IsA(statement->utilityStmt, DeclareCursorStmt);
	/* what they roll back gives up the plan that called them: then statement may be gone when they end */
	bool may_free = IsA(statement->utilityStmt, CallStmt) || IsA(statement->utilityStmt, DoStmt);
	UtilityStatement utility = {
		.node = statement->utilityStmt, .memory = CurrentMemoryContext, .outer = innermost_utility};

	innermost_utility = may_free ? NULL : &utility;
	utility_depth += !is_cursor;
	PG_TRY();
	{
		if (previous_utility)
			previous_utility UTILITY_ARGUMENTS;
		else
			standard_ProcessUtility UTILITY_ARGUMENTS;
	}
	PG_FINALLY();
	{
		utility_depth -= !is_cursor;
		innermost_utility = utility.outer;
	}
	PG_END_TRY();
	if (!may_free && heard_transaction && IsA(statement->utilityStmt, TransactionStmt))
		heard_transaction((const TransactionStmt *) statement->utilityStmt);
	if (!may_free && heard_utility)
		heard_utility(&utility);
	if (!may_free)
		tell_of_notes(&utility);
	if (!is_cursor)
		tell_of_end();
}

void
statement_when_started(void (*heard)(QueryDesc *query))
{
	heard_start = heard;
}

void
statement_when_ending(void (*heard)(const PlannedStmt *plan))
{
	heard_ending = heard;
}

void
statement_when_utility_done(void (*heard)(const UtilityStatement *statement))
{
	heard_utility = heard;
}

void
statement_when_noted(UtilityNote note, void (*heard)(const UtilityStatement *statement))
{
	heard_notes[note] = heard;
}

void
statement_when_ended(void (*heard)(void))
{
	Assert(n_heard_ends < MAX_HEARD_ENDS);
	heard_ends[n_heard_ends++] = heard;
}

void
statement_when_transaction(void (*heard)(const TransactionStmt *statement))
{
	heard_transaction = heard;
}

void
statement_init(void)
{
	previous_start = ExecutorStart_hook;
	ExecutorStart_hook = start_hook;
	previous_run = ExecutorRun_hook;
	ExecutorRun_hook = run_hook;
	previous_finish = ExecutorFinish_hook;
	ExecutorFinish_hook = finish_hook;
	previous_end = ExecutorEnd_hook;
	ExecutorEnd_hook = end_hook;
	previous_utility = ProcessUtility_hook;
	ProcessUtility_hook = utility_hook;
}
