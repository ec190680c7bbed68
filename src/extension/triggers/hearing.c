/*
 * hearing.c - that a trigger which queues hears of a row's new key, whatever else it is to hear of.
 *
 * What is queued of a row stands under the row's key, and whoever changes the key must say so. A trigger says it, but
 * one that is UPDATE OF the sources, or has a WHEN, or is for INSERT alone, or is disabled, is not called: a row that
 * waits would be taken for one that was deleted. So where a statement may change keys of such a trigger's rows, the
 * trigger is called for all of them: the executor has a copy of the table's triggers for the statement, in which the
 * conditions are left out before anything runs. The trigger's function then looks itself whether it would have been
 * called (hearing_fires), and where not, it follows the key and does nothing else.
 *
 * What is decided so a second time must come out as it did the first time. So triggers stay as they are that are called
 * later than at the end of the statement (DEFERRABLE), and those whose WHEN depends on more than the row: on chance, a
 * setting, the time, or on functions that not everybody may execute, as the caller may be somebody else by then (a key
 * that a foreign key changes). Rows that replication writes, and those that an INSERT ... ON CONFLICT DO UPDATE finds
 * in a partition, have no such copy.
 */
#include "hearing.h"

#include "../core/compat.h"
#include "../core/statement.h"
#include "../queue/queue.h"
#include "access/sysattr.h"
#include "catalog/pg_trigger.h"
#include "executor/executor.h"
#include "moving.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "rewrite/prs2lock.h"
#include "rewrite/rewriteHandler.h"
#include "rewrite/rewriteManip.h"
#include "triggers.h"
#include "utils/acl.h"
#include "utils/rel.h"

/* Would a trigger be called now, going by its state? */
static bool
is_enabled(const Trigger *trigger)
{
	if (SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA)
		return trigger->tgenabled == TRIGGER_FIRES_ON_REPLICA || trigger->tgenabled == TRIGGER_FIRES_ALWAYS;
	return trigger->tgenabled == TRIGGER_FIRES_ON_ORIGIN || trigger->tgenabled == TRIGGER_FIRES_ALWAYS;
}

/* Is a trigger AFTER rows, at the end of a statement, not for all rows that are inserted or updated? */
static bool
is_conditional(const Trigger *trigger)
{
	/* tables of old and new rows are made for the events that were asked for */
	if (!TRIGGER_FOR_UPDATE(trigger->tgtype) && (trigger->tgoldtable || trigger->tgnewtable))
		return false;
	if (trigger->tgdeferrable || !TRIGGER_FOR_AFTER(trigger->tgtype) || !TRIGGER_FOR_ROW(trigger->tgtype))
		return false;
	return trigger->tgnattr > 0 || trigger->tgqual || !is_enabled(trigger) || !TRIGGER_FOR_UPDATE(trigger->tgtype) ||
		   !TRIGGER_FOR_INSERT(trigger->tgtype);
}

/* May some not execute a function? */
static bool
is_restricted(Oid function, void *none)
{
	return function_aclcheck(function, ACL_ID_PUBLIC, ACL_EXECUTE) != ACLCHECK_OK;
}

/* Does an expression call such a function? */
static bool
calls_restricted(Node *node, void *none)
{
	return node &&
		   (check_functions_in_node(node, is_restricted, none) || expression_tree_walker(node, calls_restricted, none));
}

/* Does a trigger's WHEN say the same when it is asked once more, whatever has been set meanwhile, and by whomever? */
static bool
can_be_asked_again(const Trigger *trigger)
{
	Node *when = trigger->tgqual ? stringToNode(trigger->tgqual) : NULL;

	return !contain_mutable_functions(when) && !calls_restricted(when, NULL);
}

/* The key of a table. A BEFORE trigger may change it, whatever is set, and so may the source of a generated column. */
static KeyColumns
key_of(Relation relation, const TriggerDesc *triggers)
{
	KeyColumns keys = {job_entries_key_columns(relation), triggers->trig_update_before_row};
	int at = -1;

	while ((at = bms_next_member(keys.columns, at)) >= 0)
		if (TupleDescAttr(RelationGetDescr(relation), at + FirstLowInvalidHeapAttributeNumber - 1)->attgenerated)
			keys.change_unset = true;
	return keys;
}

/* May a statement that sets these columns change a row's key? Not where there is none. */
static bool
may_change_key(const KeyColumns *keys, const Bitmapset *set)
{
	return !bms_is_empty(keys->columns) && (keys->change_unset || bms_overlap(keys->columns, set));
}

/* Is a trigger one that is to be called for keys of which it would not hear? */
static bool
may_open_up(const Trigger *trigger)
{
	return is_conditional(trigger) && job_trigger_queues(trigger->tgfoid) && can_be_asked_again(trigger);
}

/* Have a statement call such triggers for all rows of a table. The copy is the statement's own. */
static void
open_up(TriggerDesc *triggers)
{
	for (int i = 0; i < triggers->numtriggers; i++)
	{
		Trigger *trigger = &triggers->triggers[i];

		if (!may_open_up(trigger))
			continue;
		trigger->tgnattr = 0;
		trigger->tgqual = NULL;
		trigger->tgenabled = TRIGGER_FIRES_ALWAYS;
		trigger->tgtype |= TRIGGER_TYPE_UPDATE;
		triggers->trig_update_after_row = true;
	}
}

/* May a statement change keys of which some of a table's triggers would not hear, where it changes the table? */
static bool
may_change_unheard(ResultRelInfo *table, EState *state)
{
	const TriggerDesc *triggers = table->ri_TrigDesc;
	const Bitmapset *set;
	KeyColumns keys;

	if (!triggers || table->ri_RelationDesc->rd_rel->relkind != RELKIND_RELATION)
		return false;
	set = ExecGetUpdatedCols(table, state);
	for (int i = 0; !bms_is_empty(set) && i < triggers->numtriggers; i++)
		if (may_open_up(&triggers->triggers[i]))
		{
			keys = key_of(table->ri_RelationDesc, triggers);
			return may_change_key(&keys, set);
		}
	return false;
}

/* Where a statement changes tables: ResultRelInfo, several of one table where it does so in several places (WITH). */
static List *
changed_tables(EState *state)
{
#if PG_VERSION_NUM >= 140000
	return state->es_opened_result_relations;
#else
	List *tables = NIL;

	for (int i = 0; i < state->es_num_result_relations; i++)
		tables = lappend(tables, &state->es_result_relations[i]);
	return tables;
#endif
}

/*
 * A statement begins. A table that it changes in several places is opened up in all of them: rows of any are put before
 * the triggers of the first.
 */
static void
look_at_statement(QueryDesc *query)
{
	EState *state = query->estate;
	MemoryContext old = MemoryContextSwitchTo(state->es_query_cxt);
	List *tables = changed_tables(state), *opened = NIL;
	ListCell *cell;

	foreach (cell, tables)
		if (may_change_unheard(lfirst(cell), state))
			opened =
				list_append_unique_oid(opened, RelationGetRelid(((ResultRelInfo *) lfirst(cell))->ri_RelationDesc));
	foreach (cell, tables)
	{
		ResultRelInfo *table = lfirst(cell);

		if (table->ri_TrigDesc && list_member_oid(opened, RelationGetRelid(table->ri_RelationDesc)))
			open_up(table->ri_TrigDesc);
	}
	foreach (cell, tables)
		moving_open_up(lfirst(cell), state);
	MemoryContextSwitchTo(old);
}

void
triggers_init(void)
{
	statement_when_started(look_at_statement);
}

ExprState *
hearing_when(const Trigger *trigger, Relation relation, EState *state)
{
	Node *when = stringToNode(trigger->tgqual);

#if PG_VERSION_NUM >= 180000
	when = expand_generated_columns_in_expr(when, relation, PRS2_OLD_VARNO);
	when = expand_generated_columns_in_expr(when, relation, PRS2_NEW_VARNO);
#endif
	ChangeVarNodes(when, PRS2_OLD_VARNO, INNER_VAR, 0);
	ChangeVarNodes(when, PRS2_NEW_VARNO, OUTER_VAR, 0);
	return ExecPrepareQual(make_ands_implicit((Expr *) when), state);
}

void
hearing_begin(Hearing *hearing, const TriggerData *data)
{
	/* a copy: looking into the catalogs may bring news that build the relation's own anew */
	const TriggerDesc *triggers = CopyTriggerDesc(data->tg_relation->trigdesc);
	const Trigger *made = NULL;

	memset(hearing, 0, sizeof *hearing);
	/* as the catalog has it: the statement's may be opened up */
	for (int i = 0; triggers && i < triggers->numtriggers; i++)
		if (triggers->triggers[i].tgoid == data->tg_trigger->tgoid)
			made = &triggers->triggers[i];
	hearing->is_conditional = made && is_conditional(made) && can_be_asked_again(made);
	if (!hearing->is_conditional)
		return;
	hearing->is_enabled = is_enabled(made);
	hearing->has_updates = TRIGGER_FOR_UPDATE(made->tgtype);
	hearing->has_insertions = TRIGGER_FOR_INSERT(made->tgtype);
	for (int i = 0; i < made->tgnattr; i++)
		hearing->columns = bms_add_member(hearing->columns, made->tgattr[i] - FirstLowInvalidHeapAttributeNumber);
	hearing->state = CreateExecutorState();
	if (made->tgqual)
		hearing->when = hearing_when(made, data->tg_relation, hearing->state);
	hearing->keys = key_of(data->tg_relation, triggers);
}

/* May a trigger have been called although its definition does not say so? */
static bool
may_be_opened_up(const Hearing *hearing, const TriggerData *data)
{
	const Trigger *called = data->tg_trigger;

	if (TRIGGER_FIRED_BY_UPDATE(data->tg_event))
		return may_change_key(&hearing->keys, data->tg_updatedcols);
	return !hearing->has_insertions || (hearing->when && !called->tgqual) ||
		   (!hearing->is_enabled && is_enabled(called));
}

bool
hearing_fires(const Hearing *hearing, const TriggerData *data)
{
	bool is_update = TRIGGER_FIRED_BY_UPDATE(data->tg_event), fires;
	ExprContext *context;

	if (!hearing->is_conditional || !may_be_opened_up(hearing, data))
		return true;
	if (!hearing->is_enabled || !(is_update ? hearing->has_updates : hearing->has_insertions) ||
		(is_update && hearing->columns && !bms_overlap(hearing->columns, data->tg_updatedcols)))
		return false;
	if (!hearing->when)
		return true;
	context = GetPerTupleExprContext(hearing->state);
	context->ecxt_innertuple = is_update ? data->tg_trigslot : NULL;
	context->ecxt_outertuple = is_update ? data->tg_newslot : data->tg_trigslot;
	fires = ExecQual(hearing->when, context);
	ResetPerTupleExprContext(hearing->state);
	return fires;
}
