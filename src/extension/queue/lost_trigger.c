/*
 * lost_trigger.c - ALTER TABLE ... DETACH PARTITION and DROP TRIGGER, while rows of the trigger wait for answers: how
 * many become dead letters is said there and then.
 *
 * A partition that is detached has its rows still, and none of its parent's triggers. It is a WARNING: a trigger that
 * is made under the same name before a worker comes to the rows takes them over.
 */
#include "lost_trigger.h"

#include "../core/shared_memory.h"
#include "../core/statement.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "nodes/parsenodes.h"
#include "store.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "values.h"

/* A table with its partitions, as far as it is there. */
static List *
tree_of(const RangeVar *name)
{
	Oid table = name ? RangeVarGetRelid(name, NoLock, true) : InvalidOid;

	return OidIsValid(table) ? find_all_inheritors(table, NoLock, NULL) : NIL;
}

/* Tables that may have lost a trigger by a statement. */
static List *
tables_of(const Node *node)
{
	const AlterTableStmt *alter = (const AlterTableStmt *) node;
	const DropStmt *drop = (const DropStmt *) node;
	List *tables = NIL;
	ListCell *cell;

	if (IsA(node, AlterTableStmt))
		foreach (cell, alter->cmds)
		{
			const AlterTableCmd *command = lfirst_node(AlterTableCmd, cell);

			if (command->subtype == AT_DetachPartition
#if PG_VERSION_NUM >= 140000
				|| command->subtype == AT_DetachPartitionFinalize
#endif
			)
				tables = list_concat(tables, tree_of(castNode(PartitionCmd, command->def)->name));
		}
	else if (IsA(node, DropStmt) && drop->removeType == OBJECT_TRIGGER)
		foreach (cell, drop->objects)
		{
			/* the table's name, and the trigger's behind it */
			List *name = lfirst_node(List, cell);

			tables = list_concat(
				tables, tree_of(makeRangeVarFromNameList(list_truncate(list_copy(name), list_length(name) - 1))));
		}
	return tables;
}

/* How many of the tables' rows wait for a trigger that is gone, and one of these tables. In SPI. */
static int64
count_lost(const JobStore *store, List *tables, Oid *table)
{
	Oid types[1] = {OIDARRAYOID};
	Datum *oids = palloc(sizeof(Datum) * list_length(tables)), values[1];
	JobIdentity identity;
	int64 n;

	for (int i = 0; i < list_length(tables); i++)
		oids[i] = ObjectIdGetDatum(list_nth_oid(tables, i));
	values[0] = PointerGetDatum(construct_array(oids, list_length(tables), OIDOID, sizeof(Oid), true, TYPALIGN_INT));
	job_identity_to_read(store, &identity);
	(void) job_execute(psprintf("SELECT count(*), min(r.relation) FROM %s r WHERE r.job IS NULL AND NOT r.dead AND "
								"r.relation = ANY ($1) AND NOT EXISTS (SELECT FROM pg_trigger t WHERE "
								"t.oid = r.trigger_oid OR t.tgrelid = r.relation AND t.tgname = r.trigger)",
								store->row),
					   1, types, values, NULL, SPI_OK_SELECT, 0);
	n = result_int8(0, 1);
	*table = DatumGetObjectId(result_value(0, 2));
	job_identity_end(&identity);
	return n;
}

static void
warn_of_lost(const UtilityStatement *statement)
{
	const Node *node = statement->node;
	List *tables;
	JobStore store;
	int64 n = 0;
	Oid table = InvalidOid;

	if (!(IsA(node, AlterTableStmt) || IsA(node, DropStmt)) || !qwen_shared || !IsTransactionState())
		return;
	tables = tables_of(node);
	if (tables == NIL)
		return;
	/* what the statement has done is to be seen */
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	if (job_store_find(&store) && !store.is_old)
		n = count_lost(&store, tables, &table);
	SPI_finish();
	PopActiveSnapshot();
	if (n > 0)
		ereport(
			WARNING,
			(errmsg_plural("%lld row waits for an answer of a trigger that its table has no more",
						   "%lld rows wait for an answer of a trigger that their table has no more", (unsigned long) n,
						   (long long) n),
			 errdetail("They become dead letters, unless a trigger of the same name is made for table %s before a "
					   "worker comes to them.",
					   quote_qualified_identifier(get_namespace_name(get_rel_namespace(table)), get_rel_name(table))),
			 errhint("Make a trigger that queues for that table; qwen_retry_table then tries dead letters again.")));
}

void
job_lost_trigger_init(void)
{
	statement_when_utility_done(warn_of_lost);
}
