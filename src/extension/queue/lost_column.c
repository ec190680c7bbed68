/*
 * lost_column.c - a column that is renamed or goes, where a trigger of ours names it: that every statement which fires
 * the trigger will fail is said there and then.
 *
 * A trigger's arguments are texts: PostgreSQL neither changes them nor keeps the column. Columns are noted when they
 * are about to go, whatever statement takes them (ALTER TABLE, DROP TYPE ... CASCADE, ALTER TYPE of a typed table), and
 * told of when that statement is done. It is a WARNING, as the trigger may be made anew next.
 */
#include "lost_column.h"

#include "../core/objects.h"
#include "../core/own_transaction.h"
#include "../core/statement.h"
#include "access/relation.h"
#include "catalog/pg_class.h"
#include "commands/trigger.h"
#include "prompt_template.h"
#include "store.h"
#include "target.h"
#include "trigger_row.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/* A column that a statement takes, or that it alters. */
typedef struct LostColumn
{
	Oid table;
	AttrNumber number;
	const char *name;     /* that it had */
	const char *new_name; /* NULL: it was dropped */
} LostColumn;

static void
note_column(UtilityStatement *statement, ObjectAccessType access, Oid class, Oid object, int column)
{
	MemoryContext old;
	LostColumn *lost;

	/* other statements alter columns too, and rename none */
	if (class != RelationRelationId || column <= 0 || (access == OAT_POST_ALTER && !IsA(statement->node, RenameStmt)))
		return;
	old = MemoryContextSwitchTo(statement->memory);
	lost = palloc0(sizeof *lost);
	lost->table = object;
	lost->number = (AttrNumber) column;
	lost->name = get_attname(object, lost->number, true);
	if (lost->name)
		statement->notes[NOTE_OF_COLUMNS] = lappend(statement->notes[NOTE_OF_COLUMNS], lost);
	MemoryContextSwitchTo(old);
}

/* Is a trigger a partition's copy of its parent's, which loses the column too? */
static bool
is_copy(Oid trigger)
{
	TriggerRow row;

	return trigger_row_find(trigger, &row) && OidIsValid(row.parent);
}

/* A list of target columns, and a name that may be in it. */
typedef struct Targets
{
	Relation relation;
	const char *argument, *name;
	bool named;
} Targets;

static void
read_targets(void *argument)
{
	Targets *targets = argument;
	int n;
	char **names = job_read_targets(targets->relation, targets->argument, &n);

	for (int i = 0; i < n; i++)
		targets->named |= strcmp(names[i], targets->name) == 0;
}

/* Does an argument name a column, alone or in a list {a,b}? A list that is none names nothing. */
static bool
targets_name(Relation relation, const char *argument, const char *name)
{
	Targets targets = {relation, argument, name, strcmp(argument, name) == 0};

	if (!targets.named && argument[0] == '{')
		(void) error_of_look(read_targets, &targets);
	return targets.named;
}

/* Do a trigger's arguments name a column, as the trigger itself reads them? */
static bool
trigger_names(Relation relation, const Trigger *trigger, const TriggerUse *use, const char *name)
{
	if (use->queues)
		return targets_name(relation, trigger->tgargs[0], name) ||
			   prompt_names(trigger->tgargs[1], RelationGetDescr(relation), name);
	return strcmp(trigger->tgargs[0], name) == 0 || targets_name(relation, trigger->tgargs[1], name);
}

static void
warn_of_trigger(Relation relation, const Trigger *trigger, const LostColumn *lost)
{
	ereport(WARNING, (errmsg(TRIGGER_CONTEXT " names column \"%s\" in its arguments, which is not there any more",
							 trigger->tgname, RelationGetRelationName(relation), lost->name),
					  errdetail("Statements that fire it will fail, and rows that wait for it are not filled in."),
					  lost->new_name ? errhint("Make the trigger anew under its name, with \"%s\" in its arguments.",
											   lost->new_name)
									 : errhint("Make the trigger anew without the column, or drop it.")));
}

/* The triggers of the column's table. */
static void
look_at_triggers(const JobStore *store, Relation relation, const LostColumn *lost)
{
	TriggerDesc *triggers = CopyTriggerDesc(relation->trigdesc);

	for (int i = 0; i < triggers->numtriggers; i++)
	{
		const Trigger *trigger = &triggers->triggers[i];
		const TriggerUse *use = trigger->tgnargs < 2 ? NULL : job_store_use_of(store, trigger->tgfoid);

		if (use && trigger_names(relation, trigger, use, lost->name) && !is_copy(trigger->tgoid))
			warn_of_trigger(relation, trigger, lost);
	}
}

/* A column that was noted: the table may be gone, the column be there still, or another of its name. */
static void
look_at_column(const JobStore *store, LostColumn *lost)
{
	Relation relation = try_relation_open(lost->table, AccessShareLock);

	if (!relation)
		return;
	if (relation->trigdesc && get_attnum(lost->table, lost->name) == InvalidAttrNumber)
	{
		Form_pg_attribute now = TupleDescAttr(RelationGetDescr(relation), lost->number - 1);

		lost->new_name = now->attisdropped ? NULL : pstrdup(NameStr(now->attname));
		look_at_triggers(store, relation, lost);
	}
	relation_close(relation, NoLock);
}

static void
warn_of_columns(const UtilityStatement *statement)
{
	List *noted = statement->notes[NOTE_OF_COLUMNS];
	JobStore store;
	ListCell *cell;

	if (!job_store_find(&store))
		return;
	foreach (cell, noted)
		look_at_column(&store, lfirst(cell));
}

void
job_lost_column_init(void)
{
	object_when_changed(note_column);
	statement_when_noted(NOTE_OF_COLUMNS, warn_of_columns);
}
