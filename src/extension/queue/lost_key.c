/*
 * lost_key.c - ALTER COLUMN ... TYPE of a key while rows of the table wait for answers or are dead letters: how many of
 * them are not found under the new values is said there and then.
 *
 * What is queued has its row's key as text, which goes on being found where the new type reads it as the same value.
 * USING, or a type that cuts values off, makes others, and no trigger fires for rows that are rewritten. So once the
 * statement is done the table is asked for each key that is queued of it. It is a WARNING, with the way out. Keys that
 * are found are written as the new type writes them, as triggers do that look for what they have queued.
 */
#include "lost_key.h"

#include "../core/objects.h"
#include "../core/own_transaction.h"
#include "../core/statement.h"
#include "access/relation.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "keys.h"
#include "miscadmin.h"
#include "parameters.h"
#include "store.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "values.h"

#define KEYS_AT_ONCE 5000

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

static void
note_column(UtilityStatement *statement, ObjectAccessType access, Oid class, Oid object, int column)
{
	List *noted = statement->notes[NOTE_OF_KEYS];
	MemoryContext old;

	if (access != OAT_POST_ALTER || class != RelationRelationId || column <= 0 || !alters_type(statement->node))
		return;
	old = MemoryContextSwitchTo(statement->memory);
	statement->notes[NOTE_OF_KEYS] = list_append_unique_oid(noted, object);
	MemoryContextSwitchTo(old);
}

/* What is queued of a table, in parts, each in an SPI of its own. */
typedef struct Queue
{
	const JobStore *store;
	Relation relation;
	const JobSpec *spec;  /* its keys alone */
	int64 last_id;        /* of the part before */
	MemoryContext memory; /* of this part */
	int n;
	int64 *ids;                 /* [n] */
	bool *dead;                 /* [n] */
	Datum *keys[JOB_MAX_KEYS];  /* [n]: text */
	char **found;               /* [n][n_keys]: as the table has them now; NULL: there is no such row */
	int64 n_waiting, n_letters; /* that are lost */
} Queue;

/* The next part. In SPI. */
static void
read_part(Queue *queue)
{
	Oid types[3] = {OIDOID, INT8OID, INT2ARRAYOID};
	Datum numbers[JOB_MAX_KEYS], values[3];
	JobIdentity identity;

	for (int i = 0; i < queue->spec->n_keys; i++)
		numbers[i] = Int16GetDatum(queue->spec->key_numbers[i]);
	values[0] = ObjectIdGetDatum(RelationGetRelid(queue->relation));
	values[1] = Int64GetDatum(queue->last_id);
	values[2] =
		PointerGetDatum(construct_array(numbers, queue->spec->n_keys, INT2OID, sizeof(int16), true, TYPALIGN_SHORT));
	job_identity_to_read(queue->store, &identity);
	queue->n = job_execute(psprintf("SELECT id, dead, key FROM %s WHERE relation = $1 AND job IS NULL AND id > $2 "
									"AND (key_numbers = $3 OR key_numbers IS NULL) ORDER BY id LIMIT %d",
									queue->store->row, KEYS_AT_ONCE),
						   3, types, values, NULL, SPI_OK_SELECT, 0);
	job_identity_end(&identity);
	queue->ids = palloc(sizeof *queue->ids * Max(queue->n, 1));
	queue->dead = palloc(sizeof *queue->dead * Max(queue->n, 1));
	queue->found = palloc0(sizeof *queue->found * Max(queue->n, 1) * queue->spec->n_keys);
	for (int k = 0; k < queue->spec->n_keys; k++)
		queue->keys[k] = palloc(sizeof(Datum) * Max(queue->n, 1));
	for (int i = 0; i < queue->n; i++)
	{
		char *strings[JOB_MAX_KEYS];

		queue->ids[i] = result_int8(i, 1);
		queue->dead[i] = DatumGetBool(result_value(i, 2));
		if (job_strings_of(result_value(i, 3), strings, queue->spec->n_keys) != queue->spec->n_keys)
			strings[0] = NULL;
		for (int k = 0; k < queue->spec->n_keys; k++)
			queue->keys[k][i] = CStringGetTextDatum(strings[0] ? strings[k] : "");
	}
	if (queue->n > 0)
		queue->last_id = queue->ids[queue->n - 1];
}

/* Which of a part's keys have a row, by number, and how is its key written now? */
static char *
rows_of_part(const Queue *queue)
{
	const JobSpec *spec = queue->spec;
	Oid index = job_key_index(queue->relation, spec->key_numbers, spec->n_keys);
	StringInfoData keys, names, values, is_row;

	initStringInfo(&keys);
	initStringInfo(&names);
	initStringInfo(&values);
	initStringInfo(&is_row);
	for (int i = 0; i < spec->n_keys; i++)
	{
		Form_pg_attribute column = TupleDescAttr(RelationGetDescr(queue->relation), spec->key_numbers[i] - 1);
		const char *name = quote_identifier(spec->keys[i]);
		JobKeyOperators operators;

		job_key_operators(index, spec->key_numbers[i], column->atttypid, spec->keys[i], &operators);
		appendStringInfo(&keys, ", $%d::pg_catalog.text[]", i + 2);
		appendStringInfo(&names, ", k%d", i + 1);
		appendStringInfo(&values, ", t.%s::%s", name, job_key_type_name(column->atttypid));
		appendStringInfo(&is_row, "%st.%s %s", i > 0 ? " AND " : "", name,
						 job_key_match(&operators, column->atttypid, column->atttypid, psprintf("d.k%d", i + 1)));
	}
	return psprintf("SELECT d.n%s FROM unnest($1::pg_catalog.int4[]%s) AS d(n%s) JOIN ONLY %s t ON %s", values.data,
					keys.data, names.data,
					quote_qualified_identifier(get_namespace_name(RelationGetNamespace(queue->relation)),
											   RelationGetRelationName(queue->relation)),
					is_row.data);
}

/* Parameters: numbers as int[], and the texts of each key column. */
static void
bind_part(const Queue *queue, Oid *types, Datum *values)
{
	Datum *numbers = palloc(sizeof *numbers * queue->n);

	for (int i = 0; i < queue->n; i++)
		numbers[i] = Int32GetDatum(i);
	types[0] = INT4ARRAYOID;
	values[0] = PointerGetDatum(construct_array(numbers, queue->n, INT4OID, sizeof(int32), true, TYPALIGN_INT));
	for (int k = 0; k < queue->spec->n_keys; k++)
	{
		types[k + 1] = TEXTARRAYOID;
		values[k + 1] = PointerGetDatum(construct_array(queue->keys[k], queue->n, TEXTOID, -1, false, TYPALIGN_INT));
	}
}

/* Ask the table for a part's keys, as its owner. Raises where the new type cannot read one. In SPI. */
static void
look_for_rows(void *argument)
{
	Queue *queue = argument;
	int n, n_keys = queue->spec->n_keys, security;
	Oid types[JOB_MAX_KEYS + 1], user;
	Datum values[JOB_MAX_KEYS + 1];

	bind_part(queue, types, values);
	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(queue->relation->rd_rel->relowner,
						   security | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS);
	SPI_connect();
	n = job_execute(rows_of_part(queue), n_keys + 1, types, values, NULL, SPI_OK_SELECT, 0);
	for (int i = 0; i < n; i++)
		for (int k = 0; k < n_keys; k++)
			queue->found[result_int4(i, 1) * n_keys + k] = MemoryContextStrdup(queue->memory, result_string(i, k + 2));
	SPI_finish();
	SetUserIdAndSecContext(user, security);
}

/* Write an entry's key as it is written now. In SPI. */
static void
rewrite_key(const Queue *queue, int i)
{
	int n_keys = queue->spec->n_keys;
	char **found = &queue->found[i * n_keys];
	Oid types[2] = {INT8OID, TEXTARRAYOID};
	Datum values[2] = {Int64GetDatum(queue->ids[i]), (Datum) 0};
	bool is_same = true;
	JobIdentity identity;

	for (int k = 0; k < n_keys; k++)
		is_same &= strcmp(found[k], TextDatumGetCString(queue->keys[k][i])) == 0;
	if (is_same)
		return;
	values[1] = job_text_array(found, n_keys);
	job_identity_begin(queue->store, &identity);
	job_execute(psprintf("UPDATE %s SET key = $2 WHERE id = $1", queue->store->row), 2, types, values, NULL,
				SPI_OK_UPDATE, 0);
	job_identity_end(&identity);
}

/* Look for the rows of a part, and count those that are not there. In SPI. */
static void
look_at_keys(Queue *queue)
{
	int level = NewGUCNestLevel();

	job_set_key_formats();
	/* what cannot be read is not found either */
	(void) error_of_look(look_for_rows, queue);
	AtEOXact_GUC(false, level);
	for (int i = 0; i < queue->n; i++)
		if (queue->found[i * queue->spec->n_keys])
			rewrite_key(queue, i);
		else if (queue->dead[i])
			queue->n_letters++;
		else
			queue->n_waiting++;
}

/* The next part; false: there is none. */
static bool
look_at_part(Queue *queue)
{
	CHECK_FOR_INTERRUPTS();
	SPI_connect();
	queue->memory = CurrentMemoryContext;
	read_part(queue);
	if (queue->n > 0)
		look_at_keys(queue);
	SPI_finish();
	return queue->n > 0;
}

/* A table whose column has another type now. */
static void
look_at_table(const JobStore *store, Oid table)
{
	Relation relation = try_relation_open(table, AccessShareLock);
	JobSpec spec = {.n_keys = 0};
	Queue queue = {.store = store, .relation = relation, .spec = &spec};
	const char *name;

	if (!relation)
		return;
	name = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(relation)),
									  RelationGetRelationName(relation));
	if (relation->rd_rel->relkind == RELKIND_RELATION && job_spec_keys_of(&spec, relation))
		while (look_at_part(&queue))
			;
	relation_close(relation, NoLock);
	if (queue.n_waiting + queue.n_letters > 0)
		ereport(WARNING,
				(errmsg("what is queued of table %s does not follow its rows' new keys: %lld rows that wait, "
						"%lld dead letters",
						name, (long long) queue.n_waiting, (long long) queue.n_letters),
				 errdetail("It stands under values that the key had before its type was changed, and is forgotten."),
				 errhint("SELECT qwen_enqueue(%s) queues the rows whose target is empty.", quote_literal_cstr(name))));
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
		look_at_table(&store, lfirst_oid(cell));
	PopActiveSnapshot();
}

void
job_lost_key_init(void)
{
	object_when_changed(note_column);
	statement_when_noted(NOTE_OF_KEYS, warn_of_keys);
}
