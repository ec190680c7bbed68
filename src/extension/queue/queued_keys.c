/*
 * queued_keys.c - what is queued of a table whose rows' keys have become others behind the queue's back.
 *
 * It is read in parts, each in an SPI of its own, and the table is asked for a part's keys in one statement.
 */
#include "queued_keys.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "key_look.h"
#include "keys.h"
#include "miscadmin.h"
#include "parameters.h"
#include "utils/array.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "values.h"

#define KEYS_AT_ONCE 5000

/* An entry of a part. */
typedef struct Entry
{
	int64 id;
	bool dead;
	char **key;   /* [n_keys]; NULL: of another number of columns */
	char **found; /* [n_keys]: as the table has it now; NULL: there is no such row */
} Entry;

/* What is queued by a set of columns. */
typedef struct Queue
{
	const JobStore *store;
	Relation relation;
	const JobKeySet *set;
	int64 last_id;        /* of the part before */
	MemoryContext memory; /* of this part */
	int n;
	Entry *entries; /* [n] */
	int n_asked;
	Entry **asked; /* [n_asked]: those whose key can be asked for */
} Queue;

/* ---- the sets ---- */
/* Add a set, of columns that are all there; what goes by others the worker puts aside. */
static List *
add_set(List *sets, MemoryContext memory, Relation relation, const JobKeySet *set)
{
	TupleDesc columns = RelationGetDescr(relation);
	MemoryContext old;
	JobKeySet *added;

	for (int i = 0; i < set->n_keys; i++)
		if (set->numbers[i] < 1 || set->numbers[i] > columns->natts ||
			TupleDescAttr(columns, set->numbers[i] - 1)->attisdropped)
			return sets;
	if (set->n_keys == 0)
		return sets;
	old = MemoryContextSwitchTo(memory);
	added = palloc(sizeof *added);
	*added = *set;
	sets = lappend(sets, added);
	MemoryContextSwitchTo(old);
	return sets;
}

/* The columns of a row of the result; the primary key's where none are named. */
static void
read_numbers(Relation relation, int row, JobKeySet *set)
{
	Datum array = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, 1, &set->is_unnumbered), *elements;
	JobSpec spec = {.n_keys = 0};
	bool *nulls;

	if (set->is_unnumbered)
	{
		(void) job_spec_keys_of(&spec, relation);
		set->n_keys = spec.n_keys;
		memcpy(set->numbers, spec.key_numbers, sizeof set->numbers);
		return;
	}
	deconstruct_array(DatumGetArrayTypeP(array), INT2OID, sizeof(int16), true, TYPALIGN_SHORT, &elements, &nulls,
					  &set->n_keys);
	set->n_keys = Min(set->n_keys, JOB_MAX_KEYS);
	for (int i = 0; i < set->n_keys; i++)
		set->numbers[i] = DatumGetInt16(elements[i]);
}

/* The columns of a job's key, by name, of a row of the result. */
static void
read_names(Relation relation, int row, JobKeySet *set)
{
	char *names[JOB_MAX_KEYS];

	set->job = result_int8(row, 1);
	set->n_keys = Min(job_strings_of(result_value(row, 2), names, JOB_MAX_KEYS), JOB_MAX_KEYS);
	for (int i = 0; i < set->n_keys; i++)
		set->numbers[i] = get_attnum(RelationGetRelid(relation), names[i]);
}

/* The sets that a statement about the table, $1, gives, each read by read_set. In SPI. */
static List *
add_sets(List *sets, MemoryContext memory, const JobStore *store, Relation relation, const char *statement,
		 void (*read_set)(Relation relation, int row, JobKeySet *set))
{
	Oid type = OIDOID;
	Datum value = ObjectIdGetDatum(RelationGetRelid(relation));
	JobIdentity identity;
	int n;

	job_identity_to_read(store, &identity);
	n = job_execute(statement, 1, &type, &value, NULL, SPI_OK_SELECT, 0);
	job_identity_end(&identity);
	for (int i = 0; i < n; i++)
	{
		JobKeySet set = {.n_keys = 0};

		read_set(relation, i, &set);
		sets = add_set(sets, memory, relation, &set);
	}
	return sets;
}

List *
job_key_sets(const JobStore *store, Relation relation)
{
	MemoryContext memory = CurrentMemoryContext;
	List *sets;

	SPI_connect();
	/* what triggers queued */
	sets = add_sets(NIL, memory, store, relation,
					psprintf("SELECT DISTINCT key_numbers FROM %s WHERE relation = $1 AND job IS NULL", store->row),
					read_numbers);
	/* jobs that have rows in the queue */
	sets = add_sets(sets, memory, store, relation,
					psprintf("SELECT id, key_columns FROM %s j WHERE source IS NULL AND source_relation = $1 AND "
							 "EXISTS (SELECT 1 FROM %s r WHERE r.job = j.id) ORDER BY id",
							 store->job, store->row),
					read_names);
	SPI_finish();
	return sets;
}

/* ---- the entries of a set ---- */
/* Run a statement of the entries' table (%s) over those of a set, which it names by a condition (%s). Parameter $1 is
 * for that, $2 the caller's. In SPI. */
static int
execute_over(const Queue *queue, const char *statement, Oid type, Datum value, int expected)
{
	Oid types[2] = {INT2ARRAYOID, type};
	const JobKeySet *set = queue->set;
	Datum values[2] = {job_int2_array(set->numbers, set->n_keys), value};
	const char *condition = set->job ? psprintf("job = " INT64_FORMAT, set->job)
									 : psprintf("relation = %u AND job IS NULL AND key_numbers IS NOT DISTINCT FROM $1",
												RelationGetRelid(queue->relation));
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, statement, queue->store->row, condition);
	return job_execute(sql.data, 2, types, values, set->is_unnumbered ? "n " : NULL, expected, 0);
}

/* The next part. In SPI. */
static void
read_part(Queue *queue)
{
	int n_keys = queue->set->n_keys;
	JobIdentity identity;

	job_identity_to_read(queue->store, &identity);
	queue->n = execute_over(
		queue, "SELECT id, dead, key FROM %s WHERE %s AND id > $2 ORDER BY id LIMIT " CppAsString2(KEYS_AT_ONCE),
		INT8OID, Int64GetDatum(queue->last_id), SPI_OK_SELECT);
	job_identity_end(&identity);
	queue->entries = palloc0(sizeof *queue->entries * Max(queue->n, 1));
	queue->asked = palloc(sizeof *queue->asked * Max(queue->n, 1));
	queue->n_asked = 0;
	for (int i = 0; i < queue->n; i++)
	{
		Entry *entry = &queue->entries[i];
		char **key = palloc(sizeof *key * n_keys);

		entry->id = result_int8(i, 1);
		entry->dead = DatumGetBool(result_value(i, 2));
		if (job_strings_of(result_value(i, 3), key, n_keys) == n_keys)
		{
			entry->key = key;
			queue->asked[queue->n_asked++] = entry;
		}
	}
	if (queue->n > 0)
		queue->last_id = queue->entries[queue->n - 1].id;
}

/* Which keys have a row, by number, and how is it written now? */
static char *
rows_of_keys(const Queue *queue)
{
	const JobKeySet *set = queue->set;
	Oid index = job_key_index(queue->relation, set->numbers, set->n_keys);
	StringInfoData keys, names, values, is_row;

	initStringInfo(&keys);
	initStringInfo(&names);
	initStringInfo(&values);
	initStringInfo(&is_row);
	for (int i = 0; i < set->n_keys; i++)
	{
		Form_pg_attribute column = TupleDescAttr(RelationGetDescr(queue->relation), set->numbers[i] - 1);
		const char *name = pstrdup(quote_identifier(NameStr(column->attname)));
		JobKeyOperators operators;

		job_key_operators(index, set->numbers[i], column->atttypid, NameStr(column->attname), &operators);
		appendStringInfo(&keys, ", $%d::pg_catalog.text[]", i + 2);
		appendStringInfo(&names, ", k%d", i + 1);
		appendStringInfo(&values, ", t.%s::%s", name, job_key_type_name(column->atttypid));
		appendStringInfo(&is_row, "%st.%s %s", i > 0 ? " AND " : "", name,
						 job_key_match(&operators, column->atttypid, column->atttypid, psprintf("d.k%d", i + 1)));
	}
	/* a job's source is a table with those that inherit from it */
	return psprintf("SELECT d.n%s FROM unnest($1::pg_catalog.int4[]%s) AS d(n%s) JOIN %s%s t ON %s", values.data,
					keys.data, names.data, set->job ? "" : "ONLY ",
					quote_qualified_identifier(get_namespace_name(RelationGetNamespace(queue->relation)),
											   RelationGetRelationName(queue->relation)),
					is_row.data);
}

/* Parameters: numbers as int[], and the texts of each key column. */
static void
bind_keys(const Queue *queue, int first, int n, Oid *types, Datum *values)
{
	Datum *numbers = palloc(sizeof *numbers * n);
	char **column = palloc(sizeof *column * n);

	for (int i = 0; i < n; i++)
		numbers[i] = Int32GetDatum(first + i);
	types[0] = INT4ARRAYOID;
	values[0] = PointerGetDatum(construct_array(numbers, n, INT4OID, sizeof(int32), true, TYPALIGN_INT));
	for (int k = 0; k < queue->set->n_keys; k++)
	{
		for (int i = 0; i < n; i++)
			column[i] = queue->asked[first + i]->key[k];
		types[k + 1] = TEXTARRAYOID;
		values[k + 1] = job_text_array(column, n);
	}
}

/* Ask the table for some keys, as its owner. Raises where the type cannot read one. */
static void
look_for_rows(void *argument, int first, int n)
{
	Queue *queue = argument;
	int n_keys = queue->set->n_keys, n_found, security;
	Oid types[JOB_MAX_KEYS + 1], user;
	Datum values[JOB_MAX_KEYS + 1];

	bind_keys(queue, first, n, types, values);
	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(queue->relation->rd_rel->relowner,
						   security | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS);
	SPI_connect();
	n_found = job_execute(rows_of_keys(queue), n_keys + 1, types, values, NULL, SPI_OK_SELECT, 0);
	for (int i = 0; i < n_found; i++)
	{
		char **found = MemoryContextAlloc(queue->memory, sizeof *found * n_keys);

		for (int k = 0; k < n_keys; k++)
			found[k] = MemoryContextStrdup(queue->memory, result_string(i, k + 2));
		queue->asked[result_int4(i, 1)]->found = found;
	}
	SPI_finish();
	SetUserIdAndSecContext(user, security);
}

/* Has an entry's row its key written in another way now? */
static bool
is_respelled(const Queue *queue, const Entry *entry)
{
	bool is_same = true;

	for (int k = 0; entry->found && k < queue->set->n_keys; k++)
		is_same &= strcmp(entry->found[k], entry->key[k]) == 0;
	return !is_same;
}

/* Write the keys of a part as they are written now, in one statement, to which each comes as the text of its array: of
 * many entries each by itself would take seconds, with the table locked. In SPI. */
static void
rewrite_keys(const Queue *queue)
{
	Oid types[2] = {INT8ARRAYOID, TEXTARRAYOID};
	Datum values[2];
	int64 *ids = palloc(sizeof *ids * queue->n);
	char **keys = palloc(sizeof *keys * queue->n);
	int n = 0;
	JobIdentity identity;

	for (int i = 0; i < queue->n; i++)
	{
		const Entry *entry = &queue->entries[i];

		if (!is_respelled(queue, entry))
			continue;
		ids[n] = entry->id;
		keys[n++] = OidOutputFunctionCall(F_ARRAY_OUT, job_text_array(entry->found, queue->set->n_keys));
	}
	if (n == 0)
		return;
	values[0] = job_int8_array(ids, n);
	values[1] = job_text_array(keys, n);
	job_identity_begin(queue->store, &identity);
	job_execute(psprintf("UPDATE %s r SET key = k.key::text[] FROM unnest($1, $2) AS k(id, key) WHERE r.id = k.id",
						 queue->store->row),
				2, types, values, NULL, SPI_OK_UPDATE, 0);
	job_identity_end(&identity);
}

/* Take a part's entries without a row out of the queue. In SPI. */
static void
forget_lost(const Queue *queue)
{
	Oid type = INT8ARRAYOID;
	Datum value;
	int64 *ids = palloc(sizeof *ids * queue->n);
	int n = 0;
	JobIdentity identity;

	for (int i = 0; i < queue->n; i++)
		if (!queue->entries[i].found)
			ids[n++] = queue->entries[i].id;
	if (n == 0)
		return;
	value = job_int8_array(ids, n);
	job_identity_begin(queue->store, &identity);
	job_execute(psprintf("DELETE FROM %s WHERE id = ANY ($1)", queue->store->row), 1, &type, &value, NULL,
				SPI_OK_DELETE, 0);
	job_identity_end(&identity);
}

/* The rows of a part: those that are found are followed, those that are not are lost, as is a key that cannot be read.
 * Where the table cannot be asked, nothing is taken away. In SPI. */
static void
follow_part(Queue *queue, JobLostKeys *lost)
{
	int level = NewGUCNestLevel();
	ErrorData *error;

	job_set_key_formats();
	error = job_look_for_keys(look_for_rows, queue, queue->n_asked, palloc(sizeof(bool) * Max(queue->n_asked, 1)));
	AtEOXact_GUC(false, level);
	for (int i = 0; i < queue->n; i++)
	{
		bool is_lost = !queue->entries[i].found;

		lost->n_letters += is_lost && queue->entries[i].dead;
		lost->n_waiting += is_lost && !queue->entries[i].dead;
	}
	rewrite_keys(queue);
	if (!error)
		forget_lost(queue);
}

/* The next part; false: there is none. */
static bool
follow_next(Queue *queue, JobLostKeys *lost)
{
	CHECK_FOR_INTERRUPTS();
	SPI_connect();
	queue->memory = CurrentMemoryContext;
	read_part(queue);
	if (queue->n > 0)
		follow_part(queue, lost);
	SPI_finish();
	return queue->n > 0;
}

/* Count a set's lost rows, in its job too: that has so many failed rows, and says why. Where a worker has the job it
 * may be waiting for the table, so nobody waits for it: it finds that rows are gone, and says so itself. In SPI. */
static void
count_lost(const Queue *queue, const JobLostKeys *own, JobLostKeys *lost)
{
	int64 n = own->n_waiting + own->n_letters;
	Oid types[3] = {INT8OID, INT8OID, TEXTOID};
	Datum values[3] = {Int64GetDatum(queue->set->job), Int64GetDatum(own->n_waiting)};
	JobIdentity identity;

	lost->n_waiting += own->n_waiting;
	lost->n_letters += own->n_letters;
	if (!queue->set->job || n == 0)
		return;
	lost->n_of_jobs += n;
	values[2] = CStringGetTextDatum(psprintf("%lld %s given another key by ALTER TABLE and could not be followed",
											 (long long) n, n == 1 ? "row was" : "rows were"));
	job_identity_begin(queue->store, &identity);
	job_execute(psprintf("UPDATE %s SET failed = failed + $2, note = concat_ws('; ', note, $3) WHERE id = "
						 "(SELECT id FROM %s WHERE id = $1 FOR NO KEY UPDATE SKIP LOCKED)",
						 queue->store->job, queue->store->job),
				3, types, values, NULL, SPI_OK_UPDATE, 0);
	job_identity_end(&identity);
}

void
job_keys_follow(const JobStore *store, Relation relation, const JobKeySet *set, JobLostKeys *lost)
{
	Queue queue = {.store = store, .relation = relation, .set = set};
	JobLostKeys own = {.n_waiting = 0};

	while (follow_next(&queue, &own))
		;
	SPI_connect();
	count_lost(&queue, &own, lost);
	SPI_finish();
}

void
job_keys_forget(const JobStore *store, Relation relation, const JobKeySet *set, JobLostKeys *lost)
{
	const Queue queue = {.store = store, .relation = relation, .set = set};
	JobLostKeys own = {.n_waiting = 0};
	JobIdentity identity;

	SPI_connect();
	job_identity_begin(store, &identity);
	(void) execute_over(&queue,
						"WITH gone AS (DELETE FROM %s WHERE %s AND id > $2 RETURNING dead) "
						"SELECT count(*) FILTER (WHERE NOT dead), count(*) FILTER (WHERE dead) FROM gone",
						INT8OID, Int64GetDatum(0), SPI_OK_SELECT);
	own.n_waiting = result_int8(0, 1);
	own.n_letters = result_int8(0, 2);
	job_identity_end(&identity);
	count_lost(&queue, &own, lost);
	SPI_finish();
}
