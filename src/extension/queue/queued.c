/*
 * queued.c - rows of qwen_job_row, and what becomes of those that nobody can work on.
 *
 * A row whose trigger is gone, or fails, or goes by other key columns now is put aside as a dead letter; rows of a
 * table that is gone go with it; those of a table that has another owner are that role's.
 */
#include "queued.h"

#include "access/relation.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "letters.h"
#include "parameters.h"
#include "requests.h"
#include "settle.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "worker_specs.h"
#include "worker_transaction.h"

#define LOCKED_TABLE_MS 1000 /* how long rows of a table that is locked are left alone */

/* The elements of an array of numbers; how many, none of NULL. */
static int
numbers_of(Datum array, bool is_null, Oid type, Datum **elements)
{
	bool *nulls;
	int n;

	if (is_null)
		return 0;
	deconstruct_array(DatumGetArrayTypeP(array), type, get_typlen(type), get_typbyval(type),
					  type == INT2OID ? TYPALIGN_SHORT : TYPALIGN_DOUBLE, elements, &nulls, &n);
	return n;
}

void
job_queued_read(HeapTuple tuple, TupleDesc columns, Queued *queued)
{
	bool no_job, no_relation, is_null;
	Datum *elements, array;

	memset(queued, 0, sizeof *queued);
	queued->id = DatumGetInt64(SPI_getbinval(tuple, columns, 1, &is_null));
	queued->job = DatumGetInt64(SPI_getbinval(tuple, columns, 2, &no_job));
	queued->by.relation = DatumGetObjectId(SPI_getbinval(tuple, columns, 3, &no_relation));
	queued->by.name = no_job && !no_relation ? SPI_getvalue(tuple, columns, 4) : NULL;
	queued->key = SPI_getbinval(tuple, columns, 5, &is_null);
	queued->attempts = DatumGetInt32(SPI_getbinval(tuple, columns, 6, &is_null));
	queued->by.number = DatumGetObjectId(SPI_getbinval(tuple, columns, 7, &is_null));
	if (is_null)
		queued->by.number = InvalidOid;
	array = SPI_getbinval(tuple, columns, 8, &is_null);
	queued->by.n_key_numbers = Min(numbers_of(array, is_null, INT2OID, &elements), JOB_MAX_KEYS);
	for (int i = 0; i < queued->by.n_key_numbers; i++)
		queued->by.key_numbers[i] = DatumGetInt16(elements[i]);
	array = SPI_getbinval(tuple, columns, 9, &is_null);
	queued->n_via = numbers_of(array, is_null, INT8OID, &elements);
	queued->via = palloc(sizeof *queued->via * Max(queued->n_via, 1));
	for (int i = 0; i < queued->n_via; i++)
		queued->via[i] = DatumGetInt64(elements[i]);
}

/* What becomes of a queued row that cannot be worked on: an assignment, with $2 and $3 for the error if there is one.
 */
static void
settle(const JobStore *store, int64 id, const char *change, const char *error, int sqlstate)
{
	Oid types[3] = {INT8OID, TEXTOID, TEXTOID};
	Datum values[3] = {Int64GetDatum(id), (Datum) 0, (Datum) 0};
	JobIdentity identity;

	if (error)
	{
		values[1] = CStringGetTextDatum(error);
		values[2] = CStringGetTextDatum(unpack_sql_state(sqlstate));
	}
	job_identity_begin(store, &identity);
	job_execute(psprintf("UPDATE %s SET %s WHERE id = $1", store->row, change), error ? 3 : 1, types, values, NULL,
				SPI_OK_UPDATE, 0);
	job_identity_end(&identity);
}

void
job_queued_bury(const JobStore *store, int64 id, const char *error, int sqlstate)
{
	JobIdentity identity;

	settle(store, id, "dead = true, attempts = attempts + 1, failed_at = now(), error = $2, sqlstate = $3", error,
		   sqlstate);
	job_identity_begin(store, &identity);
	job_letter_replaces(store, id);
	job_identity_end(&identity);
}

/* Is the table's owner still the one that we are? Else its rows go to the owner's worker. */
static bool
is_ours(JobWorker *worker, const JobStore *store, const JobSpec *spec, int64 id)
{
	Relation relation = relation_open(spec->relation, AccessShareLock);
	Oid owner = relation->rd_rel->relowner;

	relation_close(relation, NoLock);
	if (owner == worker->place.role)
		return true;
	settle(store, id, psprintf("owner = %u", owner), NULL, 0);
	job_call_worker(owner);
	return false;
}

/* With a table go all its rows, those that failed too. */
static void
forget_table(const JobStore *store, Oid relation)
{
	Oid type = OIDOID;
	Datum value = ObjectIdGetDatum(relation);
	JobIdentity identity;

	job_identity_begin(store, &identity);
	job_execute(psprintf("DELETE FROM %s WHERE relation = $1 AND job IS NULL", store->row), 1, &type, &value, NULL,
				SPI_OK_DELETE, 0);
	job_identity_end(&identity);
}

/* A table cannot be looked at now: its rows are left alone for a while. */
static void
pause_table(JobWorker *worker, Oid relation, const char *why)
{
	MemoryContext old = MemoryContextSwitchTo(worker->memory);

	if (worker->locked == NIL)
		worker->locked_until = TimestampTzPlusMilliseconds(job_clock(), LOCKED_TABLE_MS);
	worker->locked = list_append_unique_oid(worker->locked, relation);
	MemoryContextSwitchTo(old);
	job_rows_trouble(worker, NULL, why);
}

JobSpec *
job_queued_spec(JobWorker *worker, const JobStore *store, const Queued *queued)
{
	ErrorData *error = NULL;
	bool is_gone;
	JobSpec *spec;

	if (!queued->by.name)
		return job_spec_find(worker, queued->job);
	if (list_member_oid(worker->locked, queued->by.relation))
		return NULL;
	spec = job_trigger_spec(worker, store, &queued->by, &is_gone, &error);
	if (error && job_error_passes(error))
	{
		pause_table(worker, queued->by.relation, error->message);
		return NULL;
	}
	if (error)
	{
		job_letters_add(worker->place.role, queued->by.relation);
		job_queued_bury(store, queued->id, error->message, error->sqlerrcode);
	}
	else if (is_gone)
		forget_table(store, queued->by.relation);
	else if (!spec)
		job_queued_bury(store, queued->id,
						psprintf("the trigger \"%s\" was dropped before the row was filled in", queued->by.name),
						ERRCODE_UNDEFINED_OBJECT);
	return spec && is_ours(worker, store, spec, queued->id) ? spec : NULL;
}

bool
job_queued_key(const Queued *queued, const JobSpec *spec, char **key)
{
	return job_strings_of(queued->key, key, spec->n_keys) == spec->n_keys;
}

JobSpec *
job_queued_letter(JobWorker *worker, const JobStore *store, HeapTuple tuple, TupleDesc columns, int64 *id, char ***key)
{
	Queued queued;
	ErrorData *error;
	bool is_gone;
	JobSpec *spec;

	job_queued_read(tuple, columns, &queued);
	*id = queued.id;
	spec = job_trigger_spec(worker, store, &queued.by, &is_gone, &error);
	if (!spec)
		return NULL;
	*key = palloc(sizeof **key * spec->n_keys);
	return job_queued_key(&queued, spec, *key) ? spec : NULL;
}
