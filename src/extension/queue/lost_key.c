/*
 * lost_key.c - ALTER COLUMN ... TYPE of a key while rows of the table wait for answers or are dead letters: how many of
 * them are not found under the new values is said there and then.
 *
 * What is queued has its row's key as text, which goes on being found where the new type reads it as the same value. A
 * type that cuts values off makes others, and no trigger fires for rows that are rewritten. So once the statement is
 * done the table is asked for each key that is queued of it (queued_keys.c). Keys that are found are written as the new
 * type writes them, as triggers do that look for what they have queued. What is not found is forgotten, with a WARNING
 * that has the way out; so is all of it where USING, or a generated column's new expression, computes keys: another row
 * may have come to the old one (key_casts.c).
 */
#include "lost_key.h"

#include "../core/objects.h"
#include "../core/statement.h"
#include "access/relation.h"
#include "catalog/pg_class.h"
#include "key_casts.h"
#include "queued_keys.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* A table, and which of its columns have other values now. */
typedef struct ChangedTable
{
	Oid table;
	Bitmapset *columns;
	Bitmapset *computed; /* those whose values are not the ones that they had, in another type */
} ChangedTable;

/* The command by which a statement gives a column's rows other values, in a table or in the composite type that tables
 * are of; NULL: it has none. */
static const AlterTableCmd *
command_of(const Node *node, const char *column)
{
	ListCell *cell;

	if (!IsA(node, AlterTableStmt) || !column)
		return NULL;
	foreach (cell, ((const AlterTableStmt *) node)->cmds)
	{
		const AlterTableCmd *command = lfirst_node(AlterTableCmd, cell);

		if (job_changes_values(command) && strcmp(command->name, column) == 0)
			return command;
	}
	return NULL;
}

/* The note of a table; made where there is none. */
static ChangedTable *
note_of(UtilityStatement *statement, Oid table)
{
	ChangedTable *changed;
	ListCell *cell;

	foreach (cell, (List *) statement->notes[NOTE_OF_KEYS])
		if (((ChangedTable *) lfirst(cell))->table == table)
			return lfirst(cell);
	changed = palloc0(sizeof *changed);
	changed->table = table;
	statement->notes[NOTE_OF_KEYS] = lappend(statement->notes[NOTE_OF_KEYS], changed);
	return changed;
}

static void
note_column(UtilityStatement *statement, ObjectAccessType access, Oid class, Oid object, int column)
{
	const AlterTableCmd *command;
	ChangedTable *changed;
	MemoryContext old;

	if (access != OAT_POST_ALTER || class != RelationRelationId || column <= 0)
		return;
	command = command_of(statement->node, get_attname(object, (AttrNumber) column, true));
	if (!command)
		return;
	old = MemoryContextSwitchTo(statement->memory);
	changed = note_of(statement, object);
	changed->columns = bms_add_member(changed->columns, column);
	if (!job_keeps_values(command, get_atttype(object, (AttrNumber) column)))
		changed->computed = bms_add_member(changed->computed, column);
	MemoryContextSwitchTo(old);
}

/* Is one of some columns among those of a set? */
static bool
set_has(const JobKeySet *set, const Bitmapset *columns)
{
	for (int i = 0; i < set->n_keys; i++)
		if (bms_is_member(set->numbers[i], columns))
			return true;
	return false;
}

/* What brings lost rows back. */
static char *
way_out(const char *table, const JobLostKeys *lost)
{
	bool of_triggers = lost->n_waiting + lost->n_letters > lost->n_of_jobs;

	return psprintf("%s%s%s",
					of_triggers ? psprintf("SELECT qwen_enqueue(%s) queues the rows whose target is empty.",
										   quote_literal_cstr(table))
								: "",
					of_triggers && lost->n_of_jobs > 0 ? " " : "",
					lost->n_of_jobs > 0 ? psprintf("%lld of these are rows of jobs: qwen_submit them anew.",
												   (long long) lost->n_of_jobs)
										: "");
}

static void
warn_of_lost(const char *table, const JobLostKeys *lost)
{
	ereport(WARNING, (errmsg("what is queued of table %s does not follow its rows' new keys: %lld rows that wait, "
							 "%lld dead letters",
							 table, (long long) lost->n_waiting, (long long) lost->n_letters),
					  errdetail("It stands under values that the key had before, and is forgotten."),
					  errhint("%s", way_out(table, lost))));
}

/* A table whose columns have other values now. */
static void
look_at_table(const JobStore *store, const ChangedTable *changed)
{
	Relation relation = try_relation_open(changed->table, AccessShareLock);
	JobLostKeys lost = {.n_waiting = 0};
	List *sets = NIL;
	const char *name;
	ListCell *cell;

	if (!relation)
		return;
	name = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(relation)),
									  RelationGetRelationName(relation));
	/* a job's source may be partitioned */
	if (relation->rd_rel->relkind == RELKIND_RELATION || relation->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		sets = job_key_sets(store, relation);
	foreach (cell, sets)
	{
		if (set_has(lfirst(cell), changed->computed))
			job_keys_forget(store, relation, lfirst(cell), &lost);
		else if (set_has(lfirst(cell), changed->columns))
			job_keys_follow(store, relation, lfirst(cell), &lost);
	}
	relation_close(relation, NoLock);
	if (lost.n_waiting + lost.n_letters > 0)
		warn_of_lost(name, &lost);
}

static void
warn_of_keys(const UtilityStatement *statement)
{
	List *noted = statement->notes[NOTE_OF_KEYS];
	JobStore store;
	ListCell *cell;

	if (!job_store_find(&store) || store.is_old)
		return;
	PushActiveSnapshot(GetTransactionSnapshot());
	foreach (cell, noted)
		look_at_table(&store, lfirst(cell));
	PopActiveSnapshot();
}

void
job_lost_key_init(void)
{
	object_when_changed(note_column);
	statement_when_noted(NOTE_OF_KEYS, warn_of_keys);
}
