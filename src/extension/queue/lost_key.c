/*
 * lost_key.c - ALTER COLUMN ... TYPE of a key while rows of the table wait for answers or are dead letters: how many of
 * them are not found under the new values is said there and then.
 *
 * What is queued has its row's key as text, which goes on being found where the new type reads it as the same value.
 * USING, or a type that cuts values off, makes others, and no trigger fires for rows that are rewritten. So once the
 * statement is done the table is asked for each key that is queued of it (queued_keys.c). Keys that are found are
 * written as the new type writes them, as triggers do that look for what they have queued. What is not found is
 * forgotten, with a WARNING that has the way out.
 */
#include "lost_key.h"

#include "../core/objects.h"
#include "../core/statement.h"
#include "access/relation.h"
#include "catalog/pg_class.h"
#include "queued_keys.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* A table, and which of its columns have another type now. */
typedef struct ChangedTable
{
	Oid table;
	Bitmapset *columns;
} ChangedTable;

/* Does a statement give a column another type, of a table or of the composite type that tables are of? */
static bool
alters_type(const Node *node)
{
	ListCell *cell;

	if (!IsA(node, AlterTableStmt))
		return false;
	foreach (cell, ((const AlterTableStmt *) node)->cmds)
		if (lfirst_node(AlterTableCmd, cell)->subtype == AT_AlterColumnType)
			return true;
	return false;
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
	ChangedTable *changed;
	MemoryContext old;

	if (access != OAT_POST_ALTER || class != RelationRelationId || column <= 0 || !alters_type(statement->node))
		return;
	old = MemoryContextSwitchTo(statement->memory);
	changed = note_of(statement, object);
	changed->columns = bms_add_member(changed->columns, column);
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

static void
warn_of_lost(const char *table, const JobLostKeys *lost)
{
	ereport(WARNING,
			(errmsg("what is queued of table %s does not follow its rows' new keys: %lld rows that wait, "
					"%lld dead letters",
					table, (long long) lost->n_waiting, (long long) lost->n_letters),
			 errdetail("It stands under values that the key had before its type was changed, and is forgotten."),
			 errhint("SELECT qwen_enqueue(%s) queues the rows whose target is empty.", quote_literal_cstr(table))));
}

/* A table whose columns have another type now. */
static void
look_at_table(const JobStore *store, const ChangedTable *changed)
{
	Relation relation = try_relation_open(changed->table, AccessShareLock);
	JobLostKeys lost = {.n_waiting = 0};
	const char *name;
	ListCell *cell;

	if (!relation)
		return;
	name = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(relation)),
									  RelationGetRelationName(relation));
	if (relation->rd_rel->relkind == RELKIND_RELATION)
		foreach (cell, job_key_sets(store, relation))
			if (set_has(lfirst(cell), changed->columns))
				job_keys_follow(store, relation, lfirst(cell), &lost);
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
