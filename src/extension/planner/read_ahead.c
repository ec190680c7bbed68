/*
 * read_ahead.c - how far ahead a batching node may read.
 *
 * Nobody above may want all rows: reading ahead costs tokens. Below a LIMIT that gets all of its rows from us, the
 * window holds as many rows as are still wanted; so it does for a cursor that is fetched from in portions, for which
 * as many rows are computed ahead of its FETCH as earlier ones have taken. Where a parent may stop for other reasons
 * (EXISTS, a semi join, a join below a LIMIT or a cursor), the window begins with one row and grows with the rows that
 * have been taken. Else it is as large as it can be. So that each node knows, the tree of a query is walked once when
 * its executor has started: ExecSetTupleBound does not reach other people's nodes.
 *
 * Trees that are started otherwise (EvalPlanQual) keep the cautious default.
 */
#include "read_ahead.h"

#include <math.h>

#include "../core/compat.h"
#include "access/heapam.h"
#include "executor/executor.h"
#include "storage/bufmgr.h"

#define FIRST_BLOCKS 8 /* of a table, behind which its own rows say more than what the planner expects */
#define HOLE 8         /* so many blocks without a row, and so many times more than usual, are a hole */
#define SAME_SIZE 0.1  /* a table that has changed by no more has its statistics still */

/* What is above a node. */
typedef struct Above
{
	LimitState *limit;  /* all rows go there, or NULL */
	bool may_stop;      /* somebody may not want all rows */
	bool to_portal;     /* all rows that limit, if there is one, lets through go to whoever runs the query */
	bool may_be_parted; /* somebody wants all rows only if whoever runs the query does */
	BatchState *node;   /* of ours, between here and limit or the portal */
	bool hides_bound; /* somebody between here and limit drops or keeps rows: others may be wanted than limit counts */
} Above;

static ExecutorStart_hook_type previous_start;
static ExecutorRun_hook_type previous_run;
static uint64 run_count;  /* rows that the running portal wants now; 0: all */
static uint64 run_number; /* which run of an executor this is, of all in this session */
static uint64 n_runs;

/* The rows that a LIMIT takes before it ends; -1: it does not end by counting. */
static int64
rows_of_limit(const LimitState *limit)
{
	if (!limit || limit->noCount || limit->limitOption == LIMIT_OPTION_WITH_TIES ||
		limit->count > PG_INT64_MAX - limit->offset)
		return -1;
	return limit->offset + limit->count;
}

/* The rows that this FETCH still wants of the limit, or of the top of the plan; -1: all that there are. */
static int64
rows_of_fetch(const BatchState *state)
{
	const LimitState *limit = state->limit;
	uint64 processed = state->custom.ss.ps.state->es_processed;
	int64 wanted;

	if (!state->to_portal || run_count == 0)
		return -1;
	/* what earlier ones took says that this one may not be the last */
	wanted = (int64) Min(run_count - Min(processed, run_count), PG_INT32_MAX) + state->n_taken_before;
	/* rows of an OFFSET do not reach it */
	if (limit && limit->position < limit->offset)
		wanted += Min(limit->offset - limit->position, PG_INT32_MAX);
	return wanted;
}

/* Another FETCH than the last one runs: all that was taken until now is of earlier ones. */
static void
notice_fetch(BatchState *state)
{
	if (state->run == run_number)
		return;
	state->run = run_number;
	state->n_taken_before = state->n_taken;
}

int64
batch_row_limit(BatchState *state)
{
	const LimitState *limit = state->limit;
	int64 of_limit = rows_of_limit(limit), of_fetch, wanted;

	notice_fetch(state);
	of_fetch = rows_of_fetch(state);
	if (of_limit >= 0)
		of_limit -= limit->position;
	else if (state->may_stop_early || (limit && !limit->noCount) || (state->may_be_parted && run_count > 0))
		return state->n_taken + 1;
	if (of_limit < 0 && of_fetch < 0)
		return PG_INT64_MAX;
	wanted = of_limit < 0 || (of_fetch >= 0 && of_fetch < of_limit) ? of_fetch : of_limit;
	for (const BatchState *above = state->above; above; above = above->above)
		wanted -= above->window->n;
	return Max(wanted, 1);
}

void
batch_expect(BatchState *state, double rows)
{
	progress_expect(rows - state->expected);
	state->expected = rows;
}

/* The blocks of a table that a plain scan has read and the table has; false: it is no such scan, or has not begun. */
static bool
blocks_of_scan(PlanState *state, uint32 *n_read, uint32 *n_blocks)
{
	TableScanDesc scan = IsA(state, SeqScanState) ? ((ScanState *) state)->ss_currentScanDesc : NULL;
	HeapScanDesc heap = (HeapScanDesc) scan;

	if (!scan || scan->rs_parallel || scan->rs_rd->rd_tableam != GetHeapamTableAmRoutine() || !heap->rs_inited ||
		heap->rs_cblock == InvalidBlockNumber)
		return false;
	/* scans of one table begin where another one is */
	*n_read = (heap->rs_cblock + heap->rs_nblocks - heap->rs_startblock) % heap->rs_nblocks;
	*n_blocks = heap->rs_nblocks;
	return true;
}

/* The blocks that a scan of a table reads, as far as one knows. */
static uint32
blocks_of_table(const ScanState *scan)
{
	TableScanDesc begun = scan->ss_currentScanDesc;

	/* what has been inserted since it began is none of its */
	if (begun && begun->rs_rd->rd_tableam == GetHeapamTableAmRoutine())
		return ((HeapScanDesc) begun)->rs_nblocks;
	return RelationGetNumberOfBlocks(scan->ss_currentRelation);
}

/* Add the blocks of the tables that an Append has read before, and those of which it has them all. */
static bool
add_other_blocks(const AppendState *append, uint32 *n_read, uint32 *n_blocks)
{
	int i = -1;

	while ((i = bms_next_member(append->as_valid_subplans, i)) >= 0)
	{
		const ScanState *scan = (const ScanState *) append->appendplans[i];

		if (!IsA(scan, SeqScanState))
			return false;
		if (i == append->as_whichplan)
			continue;
		*n_blocks += blocks_of_table(scan);
		*n_read += i < append->as_whichplan ? blocks_of_table(scan) : 0;
	}
	return true;
}

/* The blocks of all tables below us that plain scans have read, and have; false: none has read a further one. */
static bool
count_blocks(BatchState *state, uint32 *n_read, uint32 *n_blocks)
{
	PlanState *below = outerPlanState(state);
	const AppendState *append = IsA(below, AppendState) ? (const AppendState *) below : NULL;
	int which = append ? append->as_whichplan : 0;

	if (below->plan->parallel_aware || which < 0 ||
		!blocks_of_scan(append ? append->appendplans[which] : below, n_read, n_blocks) ||
		(*n_read == state->n_own_blocks && which == state->which_table))
		return false;
	state->n_own_blocks = *n_read;
	state->which_table = which;
	return (!append || add_other_blocks(append, n_read, n_blocks)) && *n_read > state->n_blocks;
}

/* Has a table that is read whole been counted, and not changed its size since? Then the planner knows. */
static bool
is_counted(PlanState *state)
{
	Relation table = IsA(state, SeqScanState) ? ((ScanState *) state)->ss_currentRelation : NULL;
	double n_blocks, n_counted;

	if (!table || state->qual || table->rd_rel->reltuples <= 0)
		return false;
	n_blocks = blocks_of_table((ScanState *) state);
	n_counted = table->rd_rel->relpages;
	return fabs(n_blocks - n_counted) <= n_blocks * SAME_SIZE;
}

/* The same of all tables below a node. */
static bool
are_counted(PlanState *below)
{
	const AppendState *append = (const AppendState *) below;

	if (!IsA(below, AppendState))
		return is_counted(below);
	/* the planner counted those as well that turned out not to be read */
	if (bms_num_members(append->as_valid_subplans) < list_length(((const Append *) below->plan)->appendplans))
		return false;
	for (int i = 0; i < append->as_nplans; i++)
		if (!is_counted(append->appendplans[i]))
			return false;
	return true;
}

/* Are so many blocks without a row unlike those before? What an UPDATE of all rows leaves in front of the new ones is.
 */
static bool
is_hole(const BatchState *state, uint32 n_empty)
{
	uint32 n_usual = state->n_full_blocks ? (state->n_blocks - state->n_hole_blocks) / state->n_full_blocks : 0;

	return n_empty >= HOLE && n_empty / HOLE >= n_usual;
}

void
batch_expect_by_blocks(BatchState *state)
{
	uint32 n_read, n_blocks, n_counted;

	if (state->limit || state->may_stop_early || !count_blocks(state, &n_read, &n_blocks) ||
		are_counted(outerPlanState(state)))
		return;
	/* the first row of a block has just been read: all others are of those before */
	if (is_hole(state, n_read - state->n_blocks - 1))
		state->n_hole_blocks += n_read - state->n_blocks - 1;
	state->n_blocks = n_read;
	state->n_full_blocks++;
	n_counted = n_read - state->n_hole_blocks;
	if (n_counted >= FIRST_BLOCKS)
		batch_expect(state, state->n_read + (double) state->n_read / n_counted * (n_blocks - n_read));
}

void
batch_expect_no_more_than_limit(BatchState *state)
{
	int64 wanted = rows_of_limit(state->limit);

	if (wanted >= 0 && (double) wanted < state->expected)
		batch_expect(state, (double) wanted);
}

void
batch_pass_bound(BatchState *state)
{
	/* also when there is no bound any more: a sort keeps the last one that it was told */
	if (state->passes_bound)
		ExecSetTupleBound(rows_of_limit(state->limit), outerPlanState(state));
}

static void link_state(PlanState *state, Above above);

/* Children of a node that reads all of their rows, whatever is above. */
static void
link_reader_of_all(PlanState *state)
{
	link_state(outerPlanState(state), (Above){.may_stop = false});
}

/* What is above the children of a node that may stop when its parent does. */
static Above
stops_with(Above above)
{
	return (Above){.may_stop = above.may_stop || above.limit, .may_be_parted = above.to_portal || above.may_be_parted};
}

/* Children of a node that reads of both. */
static void
link_joined(PlanState *state, Above above)
{
	link_state(outerPlanState(state), above);
	link_state(innerPlanState(state), above);
}

static void
link_list(PlanState **states, int n, Above above)
{
	for (int i = 0; i < n; i++)
		link_state(states[i], above);
}

/* Does a join's inner side have one row at most for each of the outer side, as a function in FROM that gives no set? */
static bool
gives_one_row(const PlanState *inner)
{
	const FunctionScan *scan = (const FunctionScan *) inner->plan;
	const Node *expression;

	if (IsA(scan, Result))
		return !inner->lefttree;
	if (!IsA(scan, FunctionScan) || list_length(scan->functions) != 1)
		return false;
	expression = ((const RangeTblFunction *) linitial(scan->functions))->funcexpr;
	return !IsA(expression, FuncExpr) || !((const FuncExpr *) expression)->funcretset;
}

/* One of our nodes, and what is below it. */
static void
link_batch(BatchState *node, Above above)
{
	PlanState *state = (PlanState *) node;

	node->limit = above.limit;
	node->may_stop_early = above.may_stop;
	node->to_portal = above.to_portal;
	node->may_be_parted = above.may_be_parted;
	node->above = above.node;
	node->passes_bound = above.limit && !above.hides_bound && !state->qual;
	node->expected = outerPlanState(state)->plan->plan_rows;
	progress_plan(state->state, above.may_stop ? -1 : node->expected);
	above.node = node;
	above.hides_bound |= state->qual != NULL;
	link_state(outerPlanState(state), above);
}

static void
link_nested_loop(JoinState *join, Above above)
{
	PlanState *state = &join->ps;
	Above stopping = stops_with(above);
	bool one_match = join->single_match || join->jointype == JOIN_SEMI || join->jointype == JOIN_ANTI;

	above.hides_bound = true;
	link_state(outerPlanState(state), gives_one_row(innerPlanState(state)) ? above : stopping);
	stopping.may_stop |= one_match;
	link_state(innerPlanState(state), stopping);
}

static void
link_state(PlanState *state, Above above)
{
	Above stopping = stops_with(above);

	if (!state)
		return;
	switch (nodeTag(state))
	{
		case T_CustomScanState:
			if (is_batch_state(state))
				link_batch((BatchState *) state, above);
			break;
		case T_LimitState:
			/* it counts rows, and lets all that it counts behind an OFFSET through */
			link_state(outerPlanState(state),
					   (Above){.limit = (LimitState *) state,
							   .may_stop = above.may_stop,
							   .to_portal = above.to_portal && !above.limit,
							   .may_be_parted = above.may_be_parted || (above.to_portal && above.limit)});
			break;
		case T_ResultState:
			link_state(outerPlanState(state), above);
			break;
		case T_LockRowsState:
		case T_UniqueState:
		case T_MaterialState:
			/* not more rows than from below */
			above.hides_bound = true;
			link_state(outerPlanState(state), above);
			break;
		case T_SubqueryScanState:
			above.hides_bound |= state->qual != NULL;
			link_state(((SubqueryScanState *) state)->subplan, above);
			break;
		case T_AppendState:
			link_list(((AppendState *) state)->appendplans, ((AppendState *) state)->as_nplans, above);
			break;
		case T_MergeAppendState:
			link_list(((MergeAppendState *) state)->mergeplans, ((MergeAppendState *) state)->ms_nplans, stopping);
			break;
		case T_SortState:
		case T_HashState:
			link_reader_of_all(state);
			break;
		case T_ModifyTableState:
#if PG_VERSION_NUM < 140000
			link_list(((ModifyTableState *) state)->mt_plans, ((ModifyTableState *) state)->mt_nplans,
					  (Above){.may_stop = false});
#else
			link_reader_of_all(state);
#endif
			break;
		case T_AggState:
			/* with groups in order, it stops between two of them */
			link_joined(state,
						((Agg *) state->plan)->aggstrategy == AGG_SORTED ? stopping : (Above){.may_stop = false});
			break;
		case T_HashJoinState:
			link_state(outerPlanState(state), stopping);
			link_state(innerPlanState(state), (Above){.may_stop = false});
			break;
		case T_NestLoopState:
			link_nested_loop(&((NestLoopState *) state)->js, above);
			break;
		case T_MergeJoinState:
			/* it ends when either side does */
			link_joined(state, (Above){.may_stop = true});
			break;
		default:
			link_joined(state, stopping);
			break;
	}
}

static void
start_hook(QueryDesc *query, int eflags)
{
	ListCell *cell;

	if (previous_start)
		previous_start(query, eflags);
	else
		standard_ExecutorStart(query, eflags);
	foreach (cell, query->estate->es_subplanstates)
		link_state(lfirst(cell), (Above){.may_stop = true});
	link_state(query->planstate, (Above){.to_portal = true});
}

static void run_hook EXECUTOR_RUN_PARAMETERS
{
	uint64 outer_count = run_count, outer_number = run_number;

	run_count = count;
	run_number = ++n_runs;
	PG_TRY();
	{
		if (previous_run)
			previous_run EXECUTOR_RUN_ARGUMENTS;
		else
			standard_ExecutorRun EXECUTOR_RUN_ARGUMENTS;
	}
	PG_FINALLY();
	{
		run_count = outer_count;
		run_number = outer_number;
	}
	PG_END_TRY();
}

void
batch_limit_init(void)
{
	previous_start = ExecutorStart_hook;
	ExecutorStart_hook = start_hook;
	previous_run = ExecutorRun_hook;
	ExecutorRun_hook = run_hook;
}
