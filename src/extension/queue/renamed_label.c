/*
 * renamed_label.c - ALTER TYPE ... RENAME VALUE of an enum that is a key: what is queued follows.
 *
 * What is queued has keys as text, and no row changes when a value has another name: the old one would be none that the
 * type reads. Once the statement is done the queue has the new name wherever a key's column is of the enum, or of a
 * domain over it. An array, a range or a composite type of it is not looked into.
 */
#include "renamed_label.h"

#include "../core/objects.h"
#include "../core/statement.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "keys.h"
#include "store.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

static void
note_enum(UtilityStatement *statement, ObjectAccessType access, Oid class, Oid object, int column)
{
	MemoryContext old;

	if (access != OAT_POST_ALTER || class != TypeRelationId || !IsA(statement->node, AlterEnumStmt) ||
		!((const AlterEnumStmt *) statement->node)->oldVal)
		return;
	old = MemoryContextSwitchTo(statement->memory);
	statement->notes[NOTE_OF_LABELS] = list_append_unique_oid(statement->notes[NOTE_OF_LABELS], object);
	MemoryContextSwitchTo(old);
}

/* An enum's value that has another name. */
typedef struct Renamed
{
	Oid type;
	const char *old_name, *new_name;
} Renamed;

/* Values $1 and $2 of a key whose columns' types (%s) are given beside it: the first becomes the second. */
#define RENAMED_VALUES                                                                                                 \
	"ARRAY(SELECT CASE WHEN k.value = $1 AND %s THEN $2 ELSE k.value END FROM unnest(%s) WITH ORDINALITY "             \
	"AS k(value, by, n) ORDER BY k.n)"

/* In keys of what triggers queued, whose columns are known by number. In SPI. */
static void
rename_of_triggers(const JobStore *store, const Renamed *renamed)
{
	Oid types[3] = {TEXTOID, TEXTOID, OIDOID};
	Datum values[3] = {CStringGetTextDatum(renamed->old_name), CStringGetTextDatum(renamed->new_name),
					   ObjectIdGetDatum(renamed->type)};
	const char *is_of_type = "EXISTS (SELECT 1 FROM pg_attribute a JOIN types y ON y.type = a.atttypid "
							 "WHERE a.attrelid = r.relation AND a.attnum = k.by)";

	job_execute(psprintf("WITH RECURSIVE types(type) AS (SELECT $3 UNION SELECT t.oid FROM pg_type t JOIN types b "
						 "ON t.typbasetype = b.type) "
						 "UPDATE %s r SET key = " RENAMED_VALUES " WHERE r.job IS NULL AND $1 = ANY (r.key) AND EXISTS "
						 "(SELECT 1 FROM unnest(r.key, r.key_numbers) AS k(value, by) WHERE k.value = $1 AND %s)",
						 store->row, is_of_type, "r.key, r.key_numbers", is_of_type),
				3, types, values, NULL, SPI_OK_UPDATE, 0);
}

/* In keys of jobs' rows, and in where jobs have arrived: their columns' types are known by name. A job that a worker
 * has locked is not waited for. In SPI. */
static void
rename_of_jobs(const JobStore *store, const Renamed *renamed)
{
	Oid types[3] = {TEXTOID, TEXTOID, TEXTOID};
	Datum values[3] = {CStringGetTextDatum(renamed->old_name), CStringGetTextDatum(renamed->new_name),
					   CStringGetTextDatum(job_key_type_name(renamed->type))};

	job_execute(psprintf("UPDATE %s r SET key = " RENAMED_VALUES " FROM %s j "
						 "WHERE r.job = j.id AND $1 = ANY (r.key) AND $3 = ANY (j.key_types)",
						 store->row, "k.by = $3", "r.key, j.key_types", store->job),
				3, types, values, NULL, SPI_OK_UPDATE, 0);
	job_execute(psprintf("UPDATE %s j SET position = " RENAMED_VALUES " WHERE j.id = ANY (ARRAY("
						 "SELECT o.id FROM %s o WHERE $1 = ANY (o.position) AND $3 = ANY (o.key_types) "
						 "FOR NO KEY UPDATE SKIP LOCKED))",
						 store->job, "k.by = $3", "j.position, j.key_types", store->job),
				3, types, values, NULL, SPI_OK_UPDATE, 0);
}

static void
follow_labels(const UtilityStatement *statement)
{
	const AlterEnumStmt *node = (const AlterEnumStmt *) statement->node;
	Renamed renamed = {.old_name = node->oldVal, .new_name = node->newVal};
	JobIdentity identity;
	JobStore store;
	ListCell *cell;

	if (!job_store_find(&store) || store.is_old)
		return;
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	foreach (cell, (List *) statement->notes[NOTE_OF_LABELS])
	{
		renamed.type = lfirst_oid(cell);
		job_identity_begin(&store, &identity);
		rename_of_triggers(&store, &renamed);
		rename_of_jobs(&store, &renamed);
		job_identity_end(&identity);
	}
	SPI_finish();
	PopActiveSnapshot();
}

void
job_renamed_label_init(void)
{
	object_when_changed(note_enum);
	statement_when_noted(NOTE_OF_LABELS, follow_labels);
}
