/*
 * enqueue_rows.c - qwen_enqueue(relation, trigger): queue the rows of a table that no trigger has queued.
 *
 * A restored dump, a shard that was moved, an attached partition or a subscriber has rows whose target is empty and
 * that stand in no queue, and so has a table that was there before its trigger. Each row is put before the triggers
 * that queue, as if it were inserted now; what waits already, or has failed for good, is left as it is.
 */
#include "../core/core.h"

#include "../core/arguments.h"
#include "../core/compat.h"
#include "../core/shared_memory.h"
#include "../core/texts.h"
#include "../queue/queue.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "hearing.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "rewrite/prs2lock.h"
#include "trigger_call.h"
#include "trigger_values.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* A trigger that queues, over the rows of one table. */
typedef struct Pass
{
	TriggerData data;
	JobEntries *entries;
	int n_sources, sources[MaxHeapAttributeNumber];
	bool is_computed; /* a source is what a column of the prompt is computed from, and not that column */
	ExprState *when;  /* NULL: all rows */
	const char *function;
	ErrorContextCallback context; /* since begin_pass */
} Pass;

/* Does an expression ask for a row's version of before an update? */
static bool
asks_for_old(Node *node, void *none)
{
	if (!node)
		return false;
	if (IsA(node, Var))
		return ((Var *) node)->varno == PRS2_OLD_VARNO;
	return expression_tree_walker(node, asks_for_old, none);
}

/* A trigger's WHEN, over a row as NEW. */
static ExprState *
prepare_when(const Trigger *trigger, Relation relation, EState *state)
{
	if (!trigger->tgqual)
		return NULL;
	if (asks_for_old(stringToNode(trigger->tgqual), NULL))
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("the WHEN of trigger \"%s\" asks for OLD, which rows that are there do not have",
							   trigger->tgname),
						errhint("UPDATE the rows, so that the trigger queues them itself.")));
	return hearing_when(trigger, relation, state);
}

static void
begin_pass(Pass *pass, Relation relation, Trigger *trigger, EState *state)
{
	TupleDesc columns = RelationGetDescr(relation);
	ListCell *cell;

	memset(pass, 0, sizeof *pass);
	pass->data.type = T_TriggerData;
	pass->data.tg_event = TRIGGER_EVENT_INSERT | TRIGGER_EVENT_ROW | TRIGGER_EVENT_AFTER;
	pass->data.tg_relation = relation;
	pass->data.tg_trigger = trigger;
	pass->function = get_func_name(trigger->tgfoid);
	trigger_name_errors(&pass->context, &pass->data);
	pass->entries = job_entries_of(&pass->data, pass->function);
	foreach (cell, pass->entries->prompt_columns)
	{
		int column = SPI_fnumber(columns, lfirst(cell)), first = pass->n_sources;

		pass->n_sources = add_sources(columns, column, pass->sources, first);
		pass->is_computed |= pass->n_sources != first + 1 || pass->sources[first] != column;
	}
	pass->when = prepare_when(trigger, relation, state);
}

/* Is there something to be asked about: a source that is neither NULL nor blank? Of others the answer is NULL again. */
static bool
has_words(const Pass *pass, HeapTuple row)
{
	TupleDesc columns = RelationGetDescr(pass->data.tg_relation);

	for (int i = 0; i < pass->n_sources && !pass->is_computed; i++)
	{
		bool is_null;
		Datum value = heap_getattr(row, pass->sources[i], columns, &is_null);
		Oid type = TupleDescAttr(columns, pass->sources[i] - 1)->atttypid;

		if (!is_null && !text_is_blank(value_as_text(type, value)))
			return true;
	}
	return pass->is_computed;
}

/* Put one row before the trigger; does it stand in the queue now, and did not before? In SPI. */
static bool
enqueue(Pass *pass, HeapTuple row)
{
	const JobEntries *entries = pass->entries;
	Bitmapset *wanted = NULL;
	char **key;
	int64 id;

	pass->data.tg_trigtuple = row;
	for (int i = 0; i < entries->n_targets; i++)
		if (trigger_work(&pass->data, pass->sources, pass->n_sources, entries->targets[i]) == ROW_WANTS_ANSWER)
			wanted = bms_add_member(wanted, entries->targets[i]);
	if (bms_is_empty(wanted) || !has_words(pass, row))
		return false;
	key = job_entries_key(entries, row, RelationGetDescr(pass->data.tg_relation));
	return !job_entries_are_there(entries, &pass->data, key) && job_entries_add(entries, &pass->data, key, wanted, &id);
}

/* All rows of a table that the statement sees. */
static int64
run_pass(Pass *pass, EState *state)
{
	Relation relation = pass->data.tg_relation;
	TupleTableSlot *slot = table_slot_create(relation, NULL);
	TableScanDesc scan = begin_table_scan(relation, GetActiveSnapshot());
	ExprContext *context = GetPerTupleExprContext(state);
	MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(state));
	int64 n = 0;

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		context->ecxt_outertuple = slot;
		if (!pass->when || ExecQual(pass->when, context))
		{
			bool must_free;
			HeapTuple row = ExecFetchSlotHeapTuple(slot, true, &must_free);

			SPI_connect();
			n += enqueue(pass, row);
			SPI_finish();
		}
		ResetPerTupleExprContext(state);
	}
	MemoryContextSwitchTo(old);
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	return n;
}

/* The triggers of one table that queue, or the one that is named; *n_triggers: how many there were. */
static int64
enqueue_table(Oid table, const char *name, int *n_triggers)
{
	Relation relation = table_open(table, RowExclusiveLock);
	TriggerDesc *triggers = relation->trigdesc ? CopyTriggerDesc(relation->trigdesc) : NULL;
	Pass *pass = palloc(sizeof *pass);
	int64 n = 0;

	for (int i = 0; triggers && i < triggers->numtriggers; i++)
	{
		Trigger *trigger = &triggers->triggers[i];
		EState *state;

		if (!job_trigger_queues(trigger->tgfoid) || (name && strcmp(trigger->tgname, name) != 0) ||
			(!name && trigger->tgenabled == TRIGGER_DISABLED))
			continue;
		(*n_triggers)++;
		/* a partitioned table has no rows of its own */
		if (relation->rd_rel->relkind != RELKIND_RELATION)
			continue;
		state = CreateExecutorState();
		begin_pass(pass, relation, trigger, state);
		n += run_pass(pass, state);
		error_context_stack = pass->context.previous;
		FreeExecutorState(state);
	}
	table_close(relation, NoLock);
	return n;
}

/* Who may give the table triggers of any kind may have its rows queued: its owner, whose worker answers them. */
static void
check_owner(Oid table)
{
	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(table)))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("the table does not exist")));
	if (!relation_ownercheck(table, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, get_rel_name(table));
}

QWEN_WRITING_FUNCTION(qwen_enqueue, 1, 2)
{
	Oid table = PG_ARGISNULL(0) ? InvalidOid : PG_GETARG_OID(0);
	char *name = PG_ARGISNULL(1) ? NULL : NameStr(*PG_GETARG_NAME(1));
	List *tables;
	ListCell *cell;
	int n_triggers = 0;
	int64 n = 0;

	require_preloaded();
	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("relation must not be null")));
	check_owner(table);
	tables = find_all_inheritors(table, RowExclusiveLock, NULL);
	foreach (cell, tables)
	{
		/* children of a table are other tables; partitions of it are itself */
		if (lfirst_oid(cell) != table && !get_rel_relispartition(lfirst_oid(cell)))
			continue;
		n += enqueue_table(lfirst_oid(cell), name, &n_triggers);
	}
	if (n_triggers == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 name ? errmsg("table \"%s\" has no trigger \"%s\" that queues its rows", get_rel_name(table), name)
					  : errmsg("table \"%s\" has no enabled trigger that queues its rows", get_rel_name(table)),
				 errhint("One is made with EXECUTE FUNCTION qwen_enqueue_trigger('target', 'template').")));
	PG_RETURN_INT64(n);
}
