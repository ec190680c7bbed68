/*
 * lost_column.c - ALTER TABLE ... RENAME COLUMN and DROP COLUMN, where a trigger of ours names the column: that every
 * statement which fires it will fail is said there and then.
 *
 * A trigger's arguments are texts: PostgreSQL neither changes them nor keeps the column. It is a WARNING, as the
 * trigger may be made anew next.
 */
#include "lost_column.h"

#include "../core/shared_memory.h"
#include "../core/statement.h"
#include "access/relation.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_inherits.h"
#include "commands/trigger.h"
#include "nodes/parsenodes.h"
#include "store.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* A column that went. */
typedef struct LostColumn
{
	const RangeVar *table;
	const char *name, *new_name; /* NULL: it was dropped */
} LostColumn;

/* Does a list with commas between, {a,"b c"} without its braces, have an element of this name? */
static bool
has_element(const char *list, size_t length, const char *name)
{
	size_t n_name = strlen(name);

	for (size_t at = 0; at <= length; at++)
	{
		size_t end = at;
		bool quoted;

		while (end < length && list[end] != ',')
			end++;
		while (at < end && list[at] == ' ')
			at++;
		quoted = end - at >= 2 && list[at] == '"' && list[end - 1] == '"';
		if (end - at - 2 * quoted == n_name && memcmp(list + at + quoted, name, n_name) == 0)
			return true;
		at = end;
	}
	return false;
}

/* Does an argument name a column: as it is, in a template's {column}, or in a list {a,b}? */
static bool
names_column(const char *argument, const char *name)
{
	if (strcmp(argument, name) == 0)
		return true;
	for (const char *open = strchr(argument, '{'); open; open = strchr(open + 1, '{'))
	{
		size_t length = strcspn(open + 1, "{}");

		if (open[1 + length] == '}' && has_element(open + 1, length, name))
			return true;
	}
	return false;
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

/* The triggers of one table. told: names of those that were told of; partitions have copies of them. */
static List *
look_at_table(const JobStore *store, Relation relation, const LostColumn *lost, List *told)
{
	TriggerDesc *triggers = relation->trigdesc ? CopyTriggerDesc(relation->trigdesc) : NULL;

	if (get_attnum(RelationGetRelid(relation), lost->name) != InvalidAttrNumber)
		return told;
	for (int i = 0; triggers && i < triggers->numtriggers; i++)
	{
		const Trigger *trigger = &triggers->triggers[i];
		bool named = false;
		ListCell *cell;

		foreach (cell, told)
			named |= strcmp(lfirst(cell), trigger->tgname) == 0;
		if (named || trigger->tgnargs < 2 || !job_store_use_of(store, trigger->tgfoid) ||
			!(names_column(trigger->tgargs[0], lost->name) || names_column(trigger->tgargs[1], lost->name)))
			continue;
		warn_of_trigger(relation, trigger, lost);
		told = lappend(told, trigger->tgname);
	}
	return told;
}

/* A table with its partitions and children, which lose the column too. */
static void
look_for_triggers(const LostColumn *lost)
{
	List *told = NIL;
	JobStore store;
	ListCell *cell;
	Oid table;

	/* what the statement has done is to be seen */
	CommandCounterIncrement();
	table = RangeVarGetRelid(lost->table, NoLock, true);
	if (!OidIsValid(table) || !job_store_find(&store))
		return;
	foreach (cell, find_all_inheritors(table, NoLock, NULL))
	{
		Relation relation = try_relation_open(lfirst_oid(cell), AccessShareLock);

		if (!relation)
			continue;
		told = look_at_table(&store, relation, lost, told);
		relation_close(relation, NoLock);
	}
}

static void
warn_of_column(const Node *node)
{
	const RenameStmt *rename = (const RenameStmt *) node;
	const AlterTableStmt *alter = (const AlterTableStmt *) node;
	ListCell *cell;

	if (!(IsA(node, RenameStmt) || IsA(node, AlterTableStmt)) || !qwen_shared || !IsTransactionState())
		return;
	if (IsA(node, RenameStmt))
	{
		LostColumn lost = {rename->relation, rename->subname, rename->newname};

		if (rename->renameType == OBJECT_COLUMN && lost.table)
			look_for_triggers(&lost);
	}
	else
		foreach (cell, alter->cmds)
		{
			const AlterTableCmd *command = lfirst_node(AlterTableCmd, cell);
			LostColumn lost = {alter->relation, command->name, NULL};

			if (command->subtype == AT_DropColumn)
				look_for_triggers(&lost);
		}
}

void
job_lost_column_init(void)
{
	statement_when_utility_done(warn_of_column);
}
