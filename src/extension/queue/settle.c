/*
 * settle.c - what becomes of the entries in the queue of rows that are written.
 */
#include "settle.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "letters.h"
#include "miscadmin.h"
#include "parameters.h"
#include "requests.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "values.h"

#define FIRST_BACKOFF_MS 1000
#define LAST_BACKOFF_MS 300000

int64
job_backoff_ms(int attempts)
{
	return Min((int64) FIRST_BACKOFF_MS << Min(attempts, 20), LAST_BACKOFF_MS);
}

void
job_letter_replaces(const JobStore *store, int64 id)
{
	Oid type = INT8OID;
	Datum value = Int64GetDatum(id);
	int n = job_execute(psprintf("SELECT o.id FROM %s n JOIN %s o ON o.dead AND o.relation = n.relation AND "
								 "o.key = n.key AND o.job IS NULL AND o.id <> n.id AND "
								 "o.key_numbers IS NOT DISTINCT FROM n.key_numbers AND "
								 "(o.trigger_oid = n.trigger_oid OR o.trigger = n.trigger AND NOT EXISTS "
								 "(SELECT 1 FROM pg_trigger t WHERE t.oid = o.trigger_oid)) "
								 "WHERE n.id = $1 AND n.job IS NULL FOR UPDATE OF o SKIP LOCKED",
								 store->row, store->row),
						1, &type, &value, NULL, SPI_OK_SELECT, 0);
	Oid types[2] = {INT8OID, INT8ARRAYOID};
	Datum values[2] = {value, (Datum) 0};
	int64 *others = palloc(sizeof *others * Max(n, 1));

	if (n == 0)
		return;
	for (int i = 0; i < n; i++)
		others[i] = result_int8(i, 1);
	values[1] = job_int8_array(others, n);
	/* NULL: all target columns */
	job_execute(psprintf("UPDATE %s SET target_numbers = (SELECT CASE WHEN count(*) = count(e.target_numbers) THEN "
						 "ARRAY(SELECT DISTINCT c FROM %s i, unnest(i.target_numbers) c "
						 "WHERE i.id = $1 OR i.id = ANY ($2)) END "
						 "FROM %s e WHERE e.id = $1 OR e.id = ANY ($2)) WHERE id = $1",
						 store->row, store->row, store->row),
				2, types, values, NULL, SPI_OK_UPDATE, 0);
	job_execute(psprintf("DELETE FROM %s WHERE id = ANY ($1)", store->row), 1, &types[1], &values[1], NULL,
				SPI_OK_DELETE, 0);
}

/* A failed row waits for its next attempt, or is put aside. */
static void
settle_failure(const JobStore *store, const Write *write, const JobRow *row)
{
	bool is_dead = row->is_permanent || row->attempts + 1 >= write->spec->max_attempts;
	bool picks = write->spec->trigger && job_spec_picks_targets(write->spec);
	Oid types[6] = {INT8OID, TEXTOID, TEXTOID, BOOLOID, INT8OID, TEXTOID};
	Datum values[6] = {Int64GetDatum(row->ids[0]),
					   CStringGetTextDatum(row->error),
					   CStringGetTextDatum(unpack_sql_state(row->sqlstate)),
					   BoolGetDatum(is_dead),
					   Int64GetDatum(job_backoff_ms(row->attempts)),
					   CStringGetTextDatum(row->picked ? row->picked : "")};

	if (is_dead && write->spec->trigger)
		job_letters_add(GetSessionUserId(), write->spec->relation);
	/* one entry is left of the row's, for what all of them were for */
	job_execute(psprintf("UPDATE %s SET attempts = attempts + 1, error = $2, sqlstate = $3, dead = $4, "
						 "failed_at = now(), next_try = CASE WHEN $4 THEN NULL ELSE "
						 "now() + $5 * interval '1 millisecond' END%s WHERE id = $1",
						 store->row, picks ? ", target_numbers = nullif($6, '')::smallint[]" : ""),
				picks ? 6 : 5, types, values, NULL, SPI_OK_UPDATE, 0);
	if (is_dead && write->spec->trigger)
		job_letter_replaces(store, row->ids[0]);
}

/* Take claims away and count. */
static void
settle_claims(const JobStore *store, const Write *write)
{
	int64 *finished, n_done = 0, n_failed = 0, n_truncated = 0, prompt_tokens = 0, completion_tokens = 0;
	int n_finished = 0, n_ids = 0;
	Oid types[1] = {INT8ARRAYOID};
	Datum values[1];

	for (int i = 0; i < write->n; i++)
		n_ids += write->rows[i]->n_ids;
	finished = palloc(sizeof *finished * Max(n_ids, 1));
	for (int i = 0; i < write->n; i++)
	{
		const JobRow *row = write->rows[i];
		Outcome outcome = write->outcomes[i];
		bool is_finished = outcome == OUTCOME_WRITTEN || outcome == OUTCOME_GONE;

		if (outcome == OUTCOME_FAILED)
		{
			settle_failure(store, write, row);
			n_failed += row->is_permanent || row->attempts + 1 >= write->spec->max_attempts;
		}
		for (int j = outcome == OUTCOME_FAILED ? 1 : 0; (is_finished || outcome == OUTCOME_FAILED) && j < row->n_ids;
			 j++)
			finished[n_finished++] = row->ids[j];
		n_truncated += row->is_cut && (outcome == OUTCOME_WRITTEN || outcome == OUTCOME_FAILED);
		if (outcome != OUTCOME_WRITTEN)
			continue;
		n_done++;
		prompt_tokens += row->answer ? row->prompt_tokens : 0;
		completion_tokens += row->answer ? row->completion_tokens : 0;
	}
	values[0] = job_int8_array(finished, n_finished);
	if (n_finished > 0)
		job_execute(psprintf("DELETE FROM %s WHERE id = ANY ($1)", store->row), 1, types, values, NULL, SPI_OK_DELETE,
					0);
	if (!write->spec->trigger)
		job_execute(
			psprintf("UPDATE %s SET done = done + $2, failed = failed + $3, prompt_tokens = prompt_tokens + $4, "
					 "completion_tokens = completion_tokens + $5, busy_ms = busy_ms + $6, "
					 "truncated = truncated + $7 WHERE id = $1",
					 store->job),
			7, (Oid[]){INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, FLOAT8OID, INT8OID},
			(Datum[]){Int64GetDatum(write->spec->job), Int64GetDatum(n_done), Int64GetDatum(n_failed),
					  Int64GetDatum(prompt_tokens), Int64GetDatum(completion_tokens), Float8GetDatum(write->elapsed_ms),
					  Int64GetDatum(n_truncated)},
			NULL, SPI_OK_UPDATE, 0);
}

/* A row that a trigger queued is filled in: earlier failures of it are of no interest any more. */
static void
forget_dead_letters(const JobStore *store, const Write *write)
{
	for (int i = 0; i < write->n; i++)
	{
		Oid types[5] = {OIDOID, TEXTOID, TEXTARRAYOID, OIDOID, TEXTOID};
		Datum values[5];

		if (write->outcomes[i] != OUTCOME_WRITTEN)
			continue;
		values[0] = ObjectIdGetDatum(write->spec->relation);
		values[1] = CStringGetTextDatum(write->spec->trigger);
		values[2] = job_text_array(write->rows[i]->key, write->spec->n_keys);
		values[3] = ObjectIdGetDatum(write->spec->trigger_number);
		values[4] = CStringGetTextDatum(write->rows[i]->picked ? write->rows[i]->picked : "");
		job_execute(psprintf("DELETE FROM %s WHERE dead AND relation = $1 AND key = $3 AND "
							 "(trigger_oid = $4 OR trigger = $2) AND "
							 "($5 = '' OR target_numbers <@ nullif($5, '')::smallint[])",
							 store->row),
					5, types, values, NULL, SPI_OK_DELETE, 0);
	}
}

void
job_settle_entries(const JobStore *store, const Write *write)
{
	JobIdentity identity;

	job_identity_begin(store, &identity);
	settle_claims(store, write);
	if (write->spec->trigger)
		forget_dead_letters(store, write);
	job_identity_end(&identity);
}

void
job_settle_all(Write *write, Outcome outcome)
{
	for (int i = 0; i < write->n; i++)
		write->outcomes[i] = outcome;
}

void
job_settle_untried(Write *write, Outcome outcome)
{
	for (int i = 0; i < write->n; i++)
		if (write->outcomes[i] == OUTCOME_NONE)
			write->outcomes[i] = outcome;
}

/* Rows whose table has another owner now are that role's: its worker answers them, and it sees what becomes of them. */
static void
hand_over(const JobStore *store, Write *write, Oid owner)
{
	Oid types[2] = {INT8ARRAYOID, OIDOID};
	Datum values[2];
	JobIdentity identity;

	values[1] = ObjectIdGetDatum(owner);
	job_identity_begin(store, &identity);
	for (int i = 0; i < write->n; i++)
	{
		values[0] = job_int8_array(write->rows[i]->ids, write->rows[i]->n_ids);
		job_execute(psprintf("UPDATE %s SET owner = $2 WHERE id = ANY ($1)", store->row), 2, types, values, NULL,
					SPI_OK_UPDATE, 0);
	}
	job_identity_end(&identity);
	job_settle_all(write, OUTCOME_MOVED);
	job_call_worker(owner);
}

bool
job_table_is_ours(JobWorker *worker, const JobStore *store, Write *write)
{
	Oid table = write->spec->relation, owner;
	HeapTuple tuple;

	if (!ConditionalLockRelationOid(table, AccessShareLock))
	{
		write->trouble = "another session has the table locked";
		job_settle_all(write, OUTCOME_LATER);
		return false;
	}
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table));
	if (!HeapTupleIsValid(tuple))
		return true; /* with the table its rows are gone, as will be found */
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	if (owner != worker->place.role)
		hand_over(store, write, owner);
	return owner == worker->place.role;
}

/* Which entries of the rows that are written are in the queue, or could be locked; and in SPI's result for which target
 * columns they are. In SPI. */
static void
keep_found(const JobStore *store, const Write *write, Datum ids, const char *lock, bool **found)
{
	Oid type = INT8ARRAYOID;
	int n = job_execute(psprintf("SELECT id, target_numbers FROM %s WHERE id = ANY ($1)%s", store->row, lock), 1, &type,
						&ids, NULL, SPI_OK_SELECT, 0);

	for (int k = 0; k < n; k++)
	{
		int64 id = result_int8(k, 1);

		for (int i = 0; i < write->n; i++)
			for (int j = 0; j < write->rows[i]->n_ids; j++)
				found[i][j] |= write->rows[i]->ids[j] == id;
	}
}

/* Is an entry of SPI's result one of a row's? */
static bool
is_entry_of(const JobRow *row, int found)
{
	for (int j = 0; j < row->n_ids; j++)
		if (row->ids[j] == result_int8(found, 1))
			return true;
	return false;
}

/* The target columns that a row's entries, which are SPI's result, are for. */
static void
pick_targets(JobRow *row)
{
	Bitmapset *numbers = NULL;
	StringInfoData list;
	int at = -1;

	row->picked = NULL;
	for (uint64 k = 0; k < SPI_processed; k++)
	{
		bool is_whole;
		Datum array = SPI_getbinval(SPI_tuptable->vals[k], SPI_tuptable->tupdesc, 2, &is_whole);
		Datum *elements;
		bool *nulls;
		int n;

		if (!is_entry_of(row, (int) k))
			continue;
		if (is_whole)
			return;
		deconstruct_array(DatumGetArrayTypeP(array), INT2OID, sizeof(int16), true, TYPALIGN_SHORT, &elements, &nulls,
						  &n);
		for (int i = 0; i < n; i++)
			numbers = bms_add_member(numbers, DatumGetInt16(elements[i]));
	}
	initStringInfo(&list);
	while ((at = bms_next_member(numbers, at)) >= 0)
		appendStringInfo(&list, "%s%d", list.len > 0 ? "," : "", at);
	row->picked = MemoryContextStrdup(row->memory, psprintf("{%s}", list.data));
}

void
job_leave_taken_back(const JobStore *store, Write *write)
{
	bool **locked = palloc(sizeof *locked * write->n), **there = palloc(sizeof *there * write->n);
	int64 *ids;
	int n_ids = 0;
	JobIdentity identity;
	Datum all;

	for (int i = 0; i < write->n; i++)
		n_ids += write->rows[i]->n_ids;
	ids = palloc(sizeof *ids * n_ids);
	n_ids = 0;
	for (int i = 0; i < write->n; i++)
	{
		locked[i] = palloc0(sizeof **locked * write->rows[i]->n_ids);
		there[i] = palloc0(sizeof **there * write->rows[i]->n_ids);
		for (int j = 0; j < write->rows[i]->n_ids; j++)
			ids[n_ids++] = write->rows[i]->ids[j];
	}
	all = job_int8_array(ids, n_ids);
	job_identity_begin(store, &identity);
	keep_found(store, write, all, " ORDER BY id FOR UPDATE SKIP LOCKED", locked);
	keep_found(store, write, all, "", there);
	for (int i = 0; i < write->n && job_spec_picks_targets(write->spec); i++)
		pick_targets(write->rows[i]);
	job_identity_end(&identity);
	for (int i = 0; i < write->n; i++)
	{
		JobRow *row = write->rows[i];
		int n_kept = 0, n_locked = 0;

		for (int j = 0; j < row->n_ids; j++)
		{
			if (!there[i][j])
				continue;
			row->ids[n_kept++] = row->ids[j];
			n_locked += locked[i][j];
		}
		if (n_kept == 0)
			write->outcomes[i] = OUTCOME_GONE;
		else if (n_locked < n_kept)
			write->outcomes[i] = OUTCOME_LATER;
		if (n_kept > 0)
			row->n_ids = n_kept;
	}
}
