/*
 * lost_extension.c - DROP EXTENSION, DROP SCHEMA ... CASCADE and DROP OWNED, where jobs, queued rows or limits go with
 * the extension: how many is said there and then.
 *
 * They are counted before, as afterwards the tables are gone, and told of when the statement has been executed. An
 * error of the count keeps nobody from dropping.
 */
#include "lost_extension.h"

#include "../core/own_transaction.h"
#include "../core/shared_memory.h"
#include "../core/statement.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "nodes/parsenodes.h"
#include "store.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "values.h"

typedef struct Counts
{
	int64 jobs, waiting, dead, limits, models; /* jobs: that have not ended */
} Counts;

/* What was counted for the statement that runs now; NULL: nothing. */
static const Node *counted_for;
static Counts counts;

static bool
is_named(List *names, const char *name)
{
	ListCell *cell;

	foreach (cell, names)
		if (name && strcmp(strVal(lfirst(cell)), name) == 0)
			return true;
	return false;
}

/* May a statement drop the extension? */
static bool
may_drop(const Node *node, const JobStore *store)
{
	const DropStmt *drop = (const DropStmt *) node;
	ListCell *cell;

	if (IsA(node, DropOwnedStmt))
	{
		foreach (cell, ((const DropOwnedStmt *) node)->roles)
			if (get_rolespec_oid(lfirst(cell), true) == store->owner)
				return true;
		return false;
	}
	if (drop->removeType == OBJECT_EXTENSION)
		return is_named(drop->objects, "qwen_pg");
	return drop->removeType == OBJECT_SCHEMA && drop->behavior == DROP_CASCADE &&
		   is_named(drop->objects, get_namespace_name(store->schema));
}

static int64
count(const char *table, const char *condition)
{
	(void) job_execute(psprintf("SELECT count(*) FROM %s WHERE %s", table, condition), 0, NULL, NULL, NULL,
					   SPI_OK_SELECT, 0);
	return result_int8(0, 1);
}

/* The rows of another table of the extension; none where it has no such table. */
static int64
count_of(const JobStore *store, const char *name)
{
	Oid table = get_relname_relid(name, store->schema);

	if (!OidIsValid(table) || getExtensionOfObject(RelationRelationId, table) != store->extension)
		return 0;
	return count(quote_qualified_identifier(get_namespace_name(store->schema), name), "true");
}

static void
count_all(void *argument)
{
	const Node *node = argument;
	JobStore store;
	JobIdentity identity;

	if (!job_store_find(&store) || !may_drop(node, &store))
		return;
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	job_identity_to_read(&store, &identity);
	counts.jobs = count(store.job, "state IN ('queued', 'running')");
	counts.waiting = count(store.row, "job IS NULL AND NOT dead");
	counts.dead = count(store.row, "dead");
	counts.limits = count_of(&store, "qwen_role_limit");
	counts.models = count_of(&store, "qwen_role_models");
	job_identity_end(&identity);
	SPI_finish();
	PopActiveSnapshot();
	counted_for = node;
}

static void
before_statement(const Node *node)
{
	if (!(IsA(node, DropStmt) || IsA(node, DropOwnedStmt)))
		return;
	counted_for = NULL;
	if ((IsA(node, DropStmt) && ((const DropStmt *) node)->removeType != OBJECT_EXTENSION &&
		 ((const DropStmt *) node)->removeType != OBJECT_SCHEMA) ||
		!qwen_shared || !IsTransactionState())
		return;
	(void) error_of_look(count_all, (void *) node);
}

/* "2 jobs, 59 queued rows": what there was of each. */
static char *
list_counts(void)
{
	const struct
	{
		int64 n;
		const char *one, *several;
	} all[] = {
		{counts.jobs, "job that has not ended", "jobs that have not ended"},
		{counts.waiting, "queued row", "queued rows"},
		{counts.dead, "dead letter", "dead letters"},
		{counts.limits, "role's limits", "roles' limits"},
		{counts.models, "role's allowed models", "roles' allowed models"},
	};
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < (int) lengthof(all); i++)
		if (all[i].n > 0)
			appendStringInfo(&list, "%s%lld %s", list.len > 0 ? ", " : "", (long long) all[i].n,
							 all[i].n == 1 ? all[i].one : all[i].several);
	return list.data;
}

static void
after_statement(const Node *node)
{
	char *list;

	if (!(IsA(node, DropStmt) || IsA(node, DropOwnedStmt)) || counted_for != node)
		return;
	counted_for = NULL;
	list = list_counts();
	/* it may have been left where it was, as DROP OWNED of others' does */
	CommandCounterIncrement();
	if (*list == '\0' || OidIsValid(get_extension_oid("qwen_pg", true)))
		return;
	ereport(WARNING, (errmsg("with the extension qwen_pg went %s", list),
					  errdetail("What is queued and what was set for roles stands in the extension's own tables."),
					  errhint("In a transaction block ROLLBACK brings them back.")));
}

void
job_lost_extension_init(void)
{
	statement_when_utility_begins(before_statement);
	statement_when_utility_done(after_statement);
}
