/*
 * moving.c - rows that an UPDATE moves to another partition: what a trigger there learns of where they come from.
 *
 * To PostgreSQL such a row is deleted here and inserted there, and an AFTER trigger of the new partition is told of the
 * insertion alone. What is queued of the row stands under its old partition and key. So where a statement may update
 * rows of partitions, triggers that queue are called for rows that are deleted or inserted as well (the executor's copy
 * of them, as in hearing.c): a row that moves is marked as such, the trigger notes its key, and the next row that the
 * trigger of the same name is told of in another partition of the table is that one. The executor tells of both in
 * turn.
 */
#include "moving.h"

#include "../core/statement.h"
#include "access/htup_details.h"
#include "catalog/partition.h"
#include "catalog/pg_trigger.h"
#include "executor/executor.h"
#include "utils/memutils.h"
#include "utils/rel.h"

struct Leaving
{
	MovedFrom from;
	bool is_noted;     /* of a row that nobody has asked for yet */
	int depth;         /* of the statement in those around it */
	Oid root;          /* the table that both partitions are of */
	const char *name;  /* of the trigger */
	MemoryContext key; /* of from.key */
	struct Leaving *next;
	MemoryContextCallback forget;
};

static Leaving *leavings;

/* The copy is the statement's. A WHEN may ask for the new row, of which there is none. */
void
moving_open_up(ResultRelInfo *table, EState *state)
{
	TriggerDesc *triggers = table->ri_TrigDesc;

	if (!triggers || !table->ri_RelationDesc->rd_rel->relispartition || bms_is_empty(ExecGetUpdatedCols(table, state)))
		return;
	for (int i = 0; i < triggers->numtriggers; i++)
	{
		Trigger *trigger = &triggers->triggers[i];

		if (!TRIGGER_FOR_AFTER(trigger->tgtype) || !TRIGGER_FOR_ROW(trigger->tgtype) || trigger->tgdeferrable ||
			trigger->tgqual || trigger->tgoldtable || trigger->tgnewtable || !job_trigger_queues(trigger->tgfoid))
			continue;
		trigger->tgtype |= TRIGGER_TYPE_DELETE;
		trigger->tgtype |= TRIGGER_TYPE_INSERT;
		triggers->trig_delete_after_row = triggers->trig_insert_after_row = true;
	}
}

bool
moving_has_called(const TriggerData *data)
{
	const TriggerDesc *triggers = data->tg_relation->trigdesc;

	if (!TRIGGER_FIRED_BY_DELETE(data->tg_event))
		return false;
	for (int i = 0; triggers && i < triggers->numtriggers; i++)
		if (triggers->triggers[i].tgoid == data->tg_trigger->tgoid)
			return !TRIGGER_FOR_DELETE(triggers->triggers[i].tgtype);
	return true;
}

bool
moving_leaves(const TriggerData *data)
{
	return HeapTupleHeaderIndicatesMovedPartitions(data->tg_trigtuple->t_data);
}

/* The table that a partition is of, whatever is between. */
static Oid
root_of(Relation partition)
{
	List *parents = get_partition_ancestors(RelationGetRelid(partition));
	Oid root = parents == NIL ? InvalidOid : llast_oid(parents);

	list_free(parents);
	return root;
}

/* The statement has ended. */
static void
forget(void *argument)
{
	Leaving **at = &leavings;

	while (*at && *at != argument)
		at = &(*at)->next;
	if (*at)
		*at = (*at)->next;
}

static Leaving *
begin(MemoryContext memory, const TriggerData *data)
{
	Leaving *leaving = MemoryContextAllocZero(memory, sizeof *leaving);

	leaving->root = root_of(data->tg_relation);
	leaving->name = MemoryContextStrdup(memory, data->tg_trigger->tgname);
	leaving->key = AllocSetContextCreate(memory, "qwen_pg row that moves", ALLOCSET_SMALL_SIZES);
	leaving->forget.func = forget;
	leaving->forget.arg = leaving;
	MemoryContextRegisterResetCallback(memory, &leaving->forget);
	leaving->next = leavings;
	leavings = leaving;
	return leaving;
}

void
moving_note(Leaving **leaving, MemoryContext memory, const TriggerData *data, const JobEntries *entries)
{
	MemoryContext old;

	if (!*leaving)
		*leaving = begin(memory, data);
	(*leaving)->is_noted = false;
	MemoryContextReset((*leaving)->key);
	old = MemoryContextSwitchTo((*leaving)->key);
	(*leaving)->from.key = job_entries_key(entries, data->tg_trigtuple, RelationGetDescr(data->tg_relation));
	MemoryContextSwitchTo(old);
	(*leaving)->from.entries = entries;
	(*leaving)->from.trigger = data->tg_trigger->tgoid;
	(*leaving)->depth = statement_depth();
	(*leaving)->is_noted = true;
}

const MovedFrom *
moving_take(const TriggerData *data)
{
	Oid root = InvalidOid;

	for (Leaving *leaving = leavings; leaving; leaving = leaving->next)
	{
		if (!leaving->is_noted || leaving->depth != statement_depth() ||
			strcmp(leaving->name, data->tg_trigger->tgname) != 0)
			continue;
		root = OidIsValid(root) ? root : root_of(data->tg_relation);
		if (leaving->root != root)
			continue;
		leaving->is_noted = false;
		return &leaving->from;
	}
	return NULL;
}
