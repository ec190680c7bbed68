/*
 * lost_trigger.c - a trigger that is dropped while its rows wait for answers, and their table stays: how many become
 * dead letters is said there and then.
 *
 * DROP TRIGGER drops it, and DROP COLUMN ... CASCADE where it is UPDATE OF that column; a partition that is detached
 * has its rows still, and none of its parent's triggers. The tables are noted when triggers are about to go, whatever
 * statement takes them. It is a WARNING: a trigger that is made under the same name before a worker comes to the rows
 * takes them over.
 */
#include "lost_trigger.h"

#include "../core/objects.h"
#include "../core/statement.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "parameters.h"
#include "store.h"
#include "trigger_row.h"
#include "trigger_use.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "values.h"

/* Can it be one of ours? Anybody may give a function of his own the name of one, but not write it in C. */
static bool
is_in_c(Oid function)
{
	HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	bool in_c;

	if (!HeapTupleIsValid(tuple))
		return false;
	in_c = ((Form_pg_proc) GETSTRUCT(tuple))->prolang == ClanguageId;
	ReleaseSysCache(tuple);
	return in_c;
}

/* A table that loses a trigger that queues, by its function's name: the extension itself may be going. */
static void
note_trigger(UtilityStatement *statement, ObjectAccessType access, Oid class, Oid object, int column)
{
	const TriggerUse *use;
	MemoryContext old;
	TriggerRow row;

	if (access != OAT_DROP || class != TriggerRelationId || !trigger_row_find(object, &row))
		return;
	use = trigger_use_of(get_func_name(row.function));
	if (!use || !use->queues || !is_in_c(row.function))
		return;
	old = MemoryContextSwitchTo(statement->memory);
	statement->notes[NOTE_OF_TRIGGERS] = lappend_oid(statement->notes[NOTE_OF_TRIGGERS], row.table);
	MemoryContextSwitchTo(old);
}

/* Those of the tables that are still there: with a table goes what is queued of it. */
static List *
tables_left(const List *noted)
{
	List *tables = NIL;
	ListCell *cell;

	foreach (cell, noted)
		if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(lfirst_oid(cell))))
			tables = lappend_oid(tables, lfirst_oid(cell));
	return tables;
}

/* How many of the tables' rows wait for a trigger that is gone, and one of these tables. In SPI. */
static int64
count_lost(const JobStore *store, List *tables, Oid *table)
{
	Oid types[1] = {OIDARRAYOID};
	Datum values[1] = {job_oid_array(tables)};
	JobIdentity identity;
	int64 n;

	job_identity_to_read(store, &identity);
	/* triggers are looked up once for all of their rows, each time by an index */
	(void) job_execute(psprintf("SELECT coalesce(sum(r.n), 0)::int8, min(r.relation) FROM (SELECT relation, "
								"trigger_oid, trigger, count(*) AS n FROM %s WHERE job IS NULL AND NOT dead AND "
								"relation = ANY ($1) GROUP BY 1, 2, 3) r WHERE NOT EXISTS (SELECT FROM pg_trigger t "
								"WHERE t.oid = r.trigger_oid) AND NOT EXISTS (SELECT FROM pg_trigger t WHERE "
								"t.tgrelid = r.relation AND t.tgname = r.trigger)",
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
	List *tables = tables_left(statement->notes[NOTE_OF_TRIGGERS]);
	JobStore store;
	int64 n = 0;
	Oid table = InvalidOid;

	if (tables == NIL)
		return;
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
	object_when_changed(note_trigger);
	statement_when_noted(NOTE_OF_TRIGGERS, warn_of_lost);
}
