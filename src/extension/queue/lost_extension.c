/*
 * lost_extension.c - DROP EXTENSION, or DROP SCHEMA ... CASCADE and DROP OWNED that reach it, where jobs, queued rows
 * or limits go with the extension: how many is said there and then.
 *
 * Each of its tables is counted when it is about to be dropped, by whatever statement: PostgreSQL has found then that
 * the statement may, and has locked the table. It is told of when the statement is done. Nothing of the extension is
 * called for it, and an error of the count keeps nobody from dropping.
 */
#include "lost_extension.h"

#include "../core/objects.h"
#include "../core/own_transaction.h"
#include "../core/statement.h"
#include "access/genam.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/* What the rows are that go. */
typedef enum Counted
{
	COUNTED_JOB, /* that has not ended */
	COUNTED_WAITING,
	COUNTED_DEAD,
	COUNTED_LIMIT,
	COUNTED_MODELS,
	N_COUNTED
} Counted;

typedef struct Counts
{
	int64 n[N_COUNTED];
} Counts;

/* A job's row; N_COUNTED: of one that has ended. */
static Counted
count_as_job(HeapTuple row, TupleDesc columns)
{
	char *state = SPI_getvalue(row, columns, SPI_fnumber(columns, "state"));

	return state && (strcmp(state, "queued") == 0 || strcmp(state, "running") == 0) ? COUNTED_JOB : N_COUNTED;
}

/* A row of qwen_job_row; N_COUNTED: of a job. */
static Counted
count_as_row(HeapTuple row, TupleDesc columns)
{
	bool no_job, is_null;
	Datum dead = SPI_getbinval(row, columns, SPI_fnumber(columns, "dead"), &is_null);

	(void) SPI_getbinval(row, columns, SPI_fnumber(columns, "job"), &no_job);
	if (!is_null && DatumGetBool(dead))
		return COUNTED_DEAD;
	return no_job ? COUNTED_WAITING : N_COUNTED;
}

/* The extension's tables that are counted. */
static const struct CountedTable
{
	const char *name;
	Counted as; /* N_COUNTED: each row as count_as says */
	Counted (*count_as)(HeapTuple row, TupleDesc columns);
} counted_tables[] = {
	{"qwen_job_table", N_COUNTED, count_as_job},
	{"qwen_job_row", N_COUNTED, count_as_row},
	{"qwen_role_limit", COUNTED_LIMIT, NULL},
	{"qwen_role_models", COUNTED_MODELS, NULL},
};

/* One of them by its oid; NULL: it is none. */
static const struct CountedTable *
find_counted(Oid table)
{
	const char *name = get_rel_name(table);
	Oid extension;

	for (int i = 0; name && i < (int) lengthof(counted_tables); i++)
		if (strcmp(counted_tables[i].name, name) == 0)
		{
			extension = get_extension_oid("qwen_pg", true);
			return OidIsValid(extension) && getExtensionOfObject(RelationRelationId, table) == extension
					   ? &counted_tables[i]
					   : NULL;
		}
	return NULL;
}

/* A table that is about to be dropped. */
typedef struct Count
{
	const struct CountedTable *counted;
	Oid table;
	Counts counts;
} Count;

/* Indexes may be gone already; the rows are all there. */
static void
count_rows(void *argument)
{
	Count *count = argument;
	const struct CountedTable *counted = count->counted;
	Relation relation = table_open(count->table, AccessShareLock);
	SysScanDesc scan = systable_beginscan(relation, InvalidOid, false, NULL, 0, NULL);
	HeapTuple row;

	while (HeapTupleIsValid(row = systable_getnext(scan)))
	{
		Counted as = counted->count_as ? counted->count_as(row, RelationGetDescr(relation)) : counted->as;

		if (as != N_COUNTED)
			count->counts.n[as]++;
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
}

static void
note_table(UtilityStatement *statement, ObjectAccessType access, Oid class, Oid object, int column)
{
	Count count = {.table = object};
	Counts *counts = statement->notes[NOTE_OF_EXTENSION];

	if (access != OAT_DROP || class != RelationRelationId || column != 0)
		return;
	count.counted = find_counted(object);
	if (!count.counted || error_of_look(count_rows, &count))
		return;
	if (!counts)
		counts = statement->notes[NOTE_OF_EXTENSION] = MemoryContextAllocZero(statement->memory, sizeof *counts);
	for (int i = 0; i < N_COUNTED; i++)
		counts->n[i] += count.counts.n[i];
}

/* "2 jobs, 59 queued rows": what there was of each. */
static char *
list_counts(const Counts *counts)
{
	static const struct
	{
		const char *one, *several;
	} names[N_COUNTED] = {
		[COUNTED_JOB] = {"job that has not ended", "jobs that have not ended"},
		[COUNTED_WAITING] = {"queued row", "queued rows"},
		[COUNTED_DEAD] = {"dead letter", "dead letters"},
		[COUNTED_LIMIT] = {"role's limits", "roles' limits"},
		[COUNTED_MODELS] = {"role's allowed models", "roles' allowed models"},
	};
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < N_COUNTED; i++)
		if (counts->n[i] > 0)
			appendStringInfo(&list, "%s%lld %s", list.len > 0 ? ", " : "", (long long) counts->n[i],
							 counts->n[i] == 1 ? names[i].one : names[i].several);
	return list.data;
}

static void
warn_of_extension(const UtilityStatement *statement)
{
	const char *list = list_counts(statement->notes[NOTE_OF_EXTENSION]);

	/* its own update may have dropped a table */
	if (*list == '\0' || OidIsValid(get_extension_oid("qwen_pg", true)))
		return;
	ereport(WARNING, (errmsg("with the extension qwen_pg went %s", list),
					  errdetail("What is queued and what was set for roles stands in the extension's own tables."),
					  errhint("In a transaction block ROLLBACK brings them back.")));
}

void
job_lost_extension_init(void)
{
	object_when_changed(note_table);
	statement_when_noted(NOTE_OF_EXTENSION, warn_of_extension);
}
