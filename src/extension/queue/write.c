/*
 * write.c - answers into the user's tables, in short transactions.
 *
 * One transaction for the rows of one spec: lock the target rows that nobody else has locked, put the answers of those
 * in whose source still gives the same prompt (by its hash, checked by the statement that writes), take away
 * their claims and count (settle.c). So a claim is gone exactly when its answer is there. Rows that others have
 * locked wait: the worker never waits for a row's lock, so it takes part in no deadlock and holds nobody up.
 *
 * The rows are written in parts, each in a subtransaction. The first is one row, and the parts grow as long as they are
 * quick: a target's triggers may take long, as those that ask the model do, and what a transaction has written is
 * locked until its end. So it ends soon, and the other rows are left to the next one. An error of a part is tried again
 * row by row, to find whose it is; what a limit refuses, by later transactions that write each row by its own.
 */
#include "write.h"

#include "../core/texts.h"
#include "answered_row.h"
#include "catalog/pg_type.h"
#include "chain.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "parameters.h"
#include "row_errors.h"
#include "row_sql.h"
#include "settle.h"
#include "store.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "values.h"
#include "worker_transaction.h"

#define LOCKED_WAIT_MS 100
#define LONG_WAIT 9          /* times as long, after as many conflicts */
#define WAITS_TO_TELL 4      /* times that a row could not be written, before that is told of */
#define MOST_CHANGES 16      /* times that a job's row had another prompt, before that is an error */
#define MAX_CONFLICTS 100    /* passing errors of one write, before they count as the row's */
#define MAX_IN_VAIN 20       /* times that a row's first requests were made in vain, before that is an error */
#define LAST_PART_US 1000000 /* after so long a transaction begins no other part; and for which a part should last */
#define MOST_GROWTH_ASKING 2 /* where triggers ask: as much may be refused, and lost, as was written */
#define MOST_GROWTH 8        /* of a part, to the next one, where none asks */
#define ALONE_MS 300000      /* for which rows are written each by its own when a limit has refused several */
#define MAX_LONGER 3         /* times that the time for which a row may wait is doubled */

/* The numbers of answered rows with an outcome, among those that are to be written now. */
static int
collect(const Write *write, Outcome wanted, int *numbers)
{
	int n = 0;

	for (int i = 0; i < write->n; i++)
		if (write->rows[i]->state == ROW_ANSWERED && write->outcomes[i] == wanted && i >= write->from &&
			i < write->until)
			numbers[n++] = i;
	return n;
}

/* Parameters for some rows; numbers in the statements count these. with_answers: answers and hashes too. */
static int
bind_rows(const Write *write, const int *numbers, int n, bool with_answers, Oid *types, Datum *values)
{
	JobRow **rows = palloc(sizeof *rows * n);
	int n_keys = write->spec->n_keys;
	Datum *answers = palloc(sizeof *answers * n), *hashes = palloc(sizeof *hashes * n);
	bool *no_answer = palloc(sizeof *no_answer * n), *no_hash = palloc(sizeof *no_hash * n);
	int dimensions[1] = {n}, bounds[1] = {1};

	for (int i = 0; i < n; i++)
		rows[i] = write->rows[numbers[i]];
	job_key_parameters(write->spec, rows, n, types, values);
	if (!with_answers)
		return n_keys + 1;
	for (int i = 0; i < n; i++)
	{
		no_answer[i] = rows[i]->answer == NULL;
		no_hash[i] = !rows[i]->has_prompt;
		hashes[i] = Int64GetDatum(rows[i]->hash);
		answers[i] = no_answer[i] ? (Datum) 0
					 : rows[i]->is_utf8
						 ? PointerGetDatum(text_from_span((ByteSpan){rows[i]->answer, strlen(rows[i]->answer)}))
						 : CStringGetTextDatum(rows[i]->answer);
	}
	types[n_keys + 1] = TEXTARRAYOID;
	values[n_keys + 1] = PointerGetDatum(
		construct_md_array(answers, no_answer, 1, dimensions, bounds, TEXTOID, -1, false, TYPALIGN_INT));
	if (job_spec_picks_targets(write->spec))
	{
		for (int i = 0; i < n; i++)
		{
			no_answer[i] = rows[i]->picked == NULL;
			answers[i] = no_answer[i] ? (Datum) 0 : CStringGetTextDatum(rows[i]->picked);
		}
		types[n_keys + 3] = TEXTARRAYOID;
		values[n_keys + 3] = PointerGetDatum(
			construct_md_array(answers, no_answer, 1, dimensions, bounds, TEXTOID, -1, false, TYPALIGN_INT));
	}
	types[n_keys + 2] = INT8ARRAYOID;
	values[n_keys + 2] = PointerGetDatum(construct_md_array(hashes, no_hash, 1, dimensions, bounds, INT8OID,
															sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	return n_keys + (job_spec_picks_targets(write->spec) ? 4 : 3);
}

/* Number (of the bound rows) in a column of a result row. */
static int
number_at(int row)
{
	return result_int4(row, 1);
}

/* Fail a row whose answer cannot be written for a reason that no statement raises. */
static void
refuse(Write *write, int i, int sqlstate, bool is_permanent, const char *error)
{
	JobRow *row = write->rows[i];

	write->outcomes[i] = OUTCOME_FAILED;
	row->sqlstate = sqlstate;
	row->error = MemoryContextStrdup(row->memory, error);
	row->is_permanent = is_permanent;
}

/* Put the answers of locked rows in; was_locked: which could be locked. */
static void
update_rows(Write *write, const JobSql *sql, bool *was_locked)
{
	Oid types[JOB_MAX_KEYS + 4];
	Datum values[JOB_MAX_KEYS + 4];
	int *numbers = palloc(sizeof *numbers * write->n), *locked = palloc(sizeof *locked * write->n);
	int n = collect(write, OUTCOME_NONE, numbers), n_locked, n_updated, n_parameters;

	n_parameters = bind_rows(write, numbers, n, false, types, values);
	n_locked = job_execute(sql->lock, n_parameters, types, values, NULL, SPI_OK_SELECT, 0);
	for (int i = 0; i < n_locked; i++)
	{
		locked[i] = numbers[number_at(i)];
		was_locked[locked[i]] = true;
	}
	if (n_locked == 0)
		return;
	n_parameters = bind_rows(write, locked, n_locked, true, types, values);
	n_updated = answered_execute(write->spec, sql->update, n_parameters, types, values, SPI_OK_UPDATE_RETURNING);
	for (int i = 0; i < n_updated; i++)
	{
		int number = locked[number_at(i)];
		int empty = result_int4(i, 2);

		if (empty > 0)
			refuse(write, number, ERRCODE_TRIGGERED_ACTION_EXCEPTION, false,
				   psprintf("the answer was not written: a BEFORE trigger of table \"%s\" makes column \"%s\" NULL",
							get_rel_name(write->spec->target), write->spec->targets[empty - 1]));
		else
			write->outcomes[number] = OUTCOME_WRITTEN;
	}
}

/* Why were the others not written? */
static void
recheck_rows(Write *write, const JobSql *sql, bool *missing)
{
	Oid types[JOB_MAX_KEYS + 4];
	Datum values[JOB_MAX_KEYS + 4];
	int *numbers = palloc(sizeof *numbers * write->n);
	int n = collect(write, OUTCOME_NONE, numbers), n_found;

	if (n == 0)
		return;
	n_found = job_execute(sql->recheck, bind_rows(write, numbers, n, true, types, values), types, values, NULL,
						  SPI_OK_SELECT, 0);
	for (int i = 0; i < n; i++)
		write->outcomes[numbers[i]] = OUTCOME_GONE;
	for (int i = 0; i < n_found; i++)
	{
		HeapTuple tuple = SPI_tuptable->vals[i];
		TupleDesc descriptor = SPI_tuptable->tupdesc;
		int number = numbers[number_at(i)];
		JobRow *row = write->rows[number];
		bool no_hash, is_null;
		int64 hash = DatumGetInt64(SPI_getbinval(tuple, descriptor, 3, &no_hash));
		bool in_target = DatumGetBool(SPI_getbinval(tuple, descriptor, 4, &is_null));

		if (no_hash != !row->has_prompt || (!no_hash && hash != row->hash))
		{
			char *prompt = SPI_getvalue(tuple, descriptor, 2);

			/* stays so whether this commits or not: an answer to the old text is of no use */
			write->outcomes[number] = OUTCOME_CHANGED;
			job_row_set_prompt(row, prompt ? cstring_to_text(prompt) : NULL, hash);
			/* a trigger's is made of the row alone; a query may tell the time, and would be asked for ever */
			if (!write->spec->trigger && ++row->n_changes >= MOST_CHANGES)
				refuse(write, number, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, true,
					   psprintf("the prompt was another one each of the %d times that the row was read: the source "
								"depends on the time or on chance",
								MOST_CHANGES));
		}
		else
		{
			write->outcomes[number] = OUTCOME_LATER;
			missing[number] = !in_target;
		}
	}
}

/* How many target columns has a row's answer no value for? */
static int
count_unanswered(const JobSpec *spec, const JobRow *row)
{
	Jsonb *answer;
	int n = 0;

	if (!row->answer || !spec->takes_row)
		return row->answer ? 0 : spec->n_targets;
	answer = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(row->answer)));
	for (int i = 0; i < spec->n_targets; i++)
	{
		JsonbValue key = {.type = jbvString}, *value;

		key.val.string.val = spec->targets[i];
		key.val.string.len = strlen(spec->targets[i]);
		value = findJsonbValueFromContainer(&answer->root, JB_FOBJECT, &key);
		n += !value || value->type == jbvNull;
	}
	return n;
}

/* A trigger has made answers of rows that were inserted NULL: an error, by which the row is found whose it is. */
static void
check_inserted(const Write *write, const int *numbers, int n, int n_inserted)
{
	int n_empty = 0;

	for (int i = 0; i < n_inserted; i++)
		n_empty += result_int4(i, 1);
	for (int i = 0; i < n; i++)
		n_empty -= count_unanswered(write->spec, write->rows[numbers[i]]);
	if (n_empty > 0)
		ereport(ERROR, (errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
						errmsg("the answer was not written: a BEFORE trigger of table \"%s\" makes column \"%s\" NULL",
							   get_rel_name(write->spec->target), job_spec_target_list(write->spec))));
}

/* Not all rows could be inserted. Those that changed meanwhile are looked at again; what is still as it was, and not
 * there, somebody keeps out. */
static void
settle_uninserted(Write *write, const JobSql *sql, const int *numbers, int n)
{
	bool *missing = palloc0(sizeof *missing * write->n);

	for (int i = 0; i < n; i++)
		write->outcomes[numbers[i]] = OUTCOME_NONE;
	recheck_rows(write, sql, missing);
	for (int i = 0; i < n; i++)
		if (missing[numbers[i]])
			refuse(write, numbers[i], ERRCODE_TRIGGERED_ACTION_EXCEPTION, false,
				   psprintf("the answer was not written: a BEFORE trigger of table \"%s\" keeps the INSERT back",
							get_rel_name(write->spec->target)));
}

/* Rows that the target does not have yet. */
static void
insert_rows(Write *write, const JobSql *sql, const bool *missing)
{
	Oid types[JOB_MAX_KEYS + 4];
	Datum values[JOB_MAX_KEYS + 4];
	int *numbers = palloc(sizeof *numbers * write->n);
	int n = 0, n_parameters, n_inserted;

	for (int i = 0; i < write->n; i++)
		if (missing[i])
			numbers[n++] = i;
	if (n == 0)
		return;
	n_parameters = bind_rows(write, numbers, n, true, types, values);
	n_inserted = answered_execute(write->spec, sql->insert, n_parameters, types, values, SPI_OK_INSERT_RETURNING);
	check_inserted(write, numbers, n, n_inserted);
	for (int i = 0; i < n && n_inserted == n; i++)
		write->outcomes[numbers[i]] = OUTCOME_WRITTEN;
	if (n_inserted < n)
		settle_uninserted(write, sql, numbers, n);
}

/* Is row-level security in force for us on a table? */
static bool
hides_rows(Oid relation)
{
	return check_enable_rls(relation, InvalidOid, true) == RLS_ENABLED;
}

/* Rows of a trigger's table that seem to be gone: those that are only hidden from the table's owner are errors. */
static void
find_hidden(Write *write, const JobSql *sql)
{
	Oid types[JOB_MAX_KEYS + 1];
	Datum values[JOB_MAX_KEYS + 1];
	int *numbers = palloc(sizeof *numbers * write->n);
	int n = collect(write, OUTCOME_GONE, numbers), n_there;
	JobIdentity identity;

	if (n == 0 || !write->spec->trigger || !hides_rows(write->spec->relation))
		return;
	job_identity_of_owner(&identity);
	n_there = job_execute(sql->there, bind_rows(write, numbers, n, false, types, values), types, values, NULL,
						  SPI_OK_SELECT, 0);
	job_identity_end(&identity);
	for (int i = 0; i < n_there; i++)
		refuse(
			write, numbers[number_at(i)], ERRCODE_INSUFFICIENT_PRIVILEGE, true,
			psprintf("row-level security of table \"%s\" hides the row from role \"%s\", as whom the worker reads it",
					 get_rel_name(write->spec->relation), GetUserNameFromId(GetUserId(), false)));
}

typedef struct Probe
{
	Write *write;
	const JobSql *sql;
	int number;
	bool is_there;
} Probe;

/* Raises where somebody else has the row locked. */
static void
probe_body(JobWorker *worker, const JobStore *store, void *argument)
{
	Probe *probe = argument;
	Oid types[JOB_MAX_KEYS + 1];
	Datum values[JOB_MAX_KEYS + 1];

	probe->is_there = job_execute(probe->sql->probe, bind_rows(probe->write, &probe->number, 1, false, types, values),
								  types, values, NULL, SPI_OK_SELECT, 0) > 0;
}

/* Has another row of the same key its answer in the target by this write? Which one, nobody promised. */
static bool
is_written_by_twin(const Write *write, int i)
{
	for (int j = 0; j < write->n; j++)
	{
		bool same = j != i && write->outcomes[j] == OUTCOME_WRITTEN;

		for (int k = 0; same && k < write->spec->n_keys; k++)
			same = strcmp(write->rows[i]->key[k], write->rows[j]->key[k]) == 0;
		if (same)
			return true;
	}
	return false;
}

/*
 * Rows that are there with the prompt they had, and were not written. Locked by others: they wait. Not to be locked
 * although nobody has them: policies let us read them and not write. Locked by us: a trigger or a rule kept the answer
 * back, which is fine where the target has it already (as suppress_redundant_updates_trigger sees to).
 */
static void
settle_unwritten(JobWorker *worker, const JobStore *store, Write *write, const JobSql *sql, const bool *was_locked,
				 const bool *missing)
{
	Oid types[JOB_MAX_KEYS + 4];
	Datum values[JOB_MAX_KEYS + 4];
	int *numbers = palloc(sizeof *numbers * write->n), *kept_back = palloc(sizeof *kept_back * write->n);
	int n = collect(write, OUTCOME_LATER, numbers), n_kept_back = 0, n_held;
	bool is_guarded = n > 0 && hides_rows(write->spec->target);

	for (int i = 0; i < n; i++)
	{
		Probe probe = {.write = write, .sql = sql, .number = numbers[i]};
		ErrorData *error;

		if (missing[numbers[i]])
			continue;
		if (was_locked[numbers[i]] && is_written_by_twin(write, numbers[i]))
			write->outcomes[numbers[i]] = OUTCOME_WRITTEN;
		else if (was_locked[numbers[i]])
			kept_back[n_kept_back++] = numbers[i];
		else if (is_guarded && job_subtransaction(worker, store, probe_body, &probe, &error) && !probe.is_there)
			refuse(write, numbers[i], ERRCODE_INSUFFICIENT_PRIVILEGE, true,
				   psprintf("row-level security of table \"%s\" keeps role \"%s\" from updating the row",
							get_rel_name(write->spec->target), GetUserNameFromId(GetUserId(), false)));
	}
	if (n_kept_back == 0)
		return;
	n_held = answered_execute(write->spec, sql->holds, bind_rows(write, kept_back, n_kept_back, true, types, values),
							  types, values, SPI_OK_SELECT);
	for (int i = 0; i < n_held; i++)
		write->outcomes[kept_back[number_at(i)]] = OUTCOME_WRITTEN;
	for (int i = 0; i < n_kept_back; i++)
		if (write->outcomes[kept_back[i]] == OUTCOME_LATER)
			refuse(
				write, kept_back[i], ERRCODE_TRIGGERED_ACTION_EXCEPTION, false,
				psprintf("the answer was not written: a BEFORE trigger or a rule of table \"%s\" keeps the UPDATE back",
						 get_rel_name(write->spec->target)));
}

/* The answers of a part of a spec's rows into the target; as the spec's owner. */
static void
write_answers_body(JobWorker *worker, const JobStore *store, void *argument)
{
	Write *write = argument;
	bool *missing = palloc0(sizeof *missing * write->n), *was_locked = palloc0(sizeof *was_locked * write->n);
	JobIdentity identity;
	JobSql sql;

	job_identity_of_spec(write->spec, &identity);
	job_sql_make(write->spec, &sql);
	update_rows(write, &sql, was_locked);
	recheck_rows(write, &sql, missing);
	find_hidden(write, &sql);
	settle_unwritten(worker, store, write, &sql, was_locked, missing);
	if (!write->spec->trigger)
		insert_rows(write, &sql, missing);
	/* what is deferred to the commit would be an error of all rows there, and is one of its row here */
	job_execute("SET CONSTRAINTS ALL IMMEDIATE", 0, NULL, NULL, NULL, SPI_OK_UTILITY, 0);
	job_identity_end(&identity);
}

/* Does a trigger of the target ask the model, and a limit stand against it? */
static bool
is_of_limit(const ErrorData *error, LimitSentBack *by)
{
	return error->sqlerrcode == ERRCODE_CONFIGURATION_LIMIT_EXCEEDED && limits_sent_back(by);
}

/* Would it have to wait for the limit, while its row is locked? */
static bool
waits_for_limit(const ErrorData *error)
{
	LimitSentBack by;

	return is_of_limit(error, &by) && !by.is_for_good;
}

/* An error of one row that passes: it is told of after the commit. */
static void
note_passing_error(JobWorker *worker, Write *write, int i, const ErrorData *error)
{
	write->trouble = MemoryContextStrdup(worker->scratch, job_error_words(error));
	write->outcomes[i] = OUTCOME_LATER;
}

/* An error of one row alone. */
static void
note_error(JobWorker *worker, Write *write, int i, const ErrorData *error)
{
	JobRow *row = write->rows[i];
	LimitSentBack by = {.is_for_good = false};
	bool is_limited = is_of_limit(error, &by) && !by.is_for_good;

	write->is_refused = is_limited;
	/* of a window more is needed each time, until all of it is known; others' requests may come between each time */
	row->n_in_vain += is_limited && by.frees_with_a_request && write->has_asked;
	if (is_limited && row->n_in_vain < MAX_IN_VAIN)
	{
		/* it may take a day */
		row->n_conflicts += row->n_conflicts < LONG_WAIT;
		note_passing_error(worker, write, i, error);
		return;
	}
	if (!is_limited && job_error_passes(error) && !by.is_for_good && ++row->n_conflicts < MAX_CONFLICTS)
	{
		note_passing_error(worker, write, i, error);
		return;
	}
	write->outcomes[i] = OUTCOME_FAILED;
	row->sqlstate = error->sqlerrcode;
	row->error = MemoryContextStrdup(row->memory, job_row_error(row, error));
	row->is_permanent =
		by.is_for_good ||
		ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_TO_CATEGORY(ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION) ||
		ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_TO_CATEGORY(ERRCODE_FEATURE_NOT_SUPPORTED);
}

/* Is an error the job's, and not a row's? */
static bool
is_of_job(const JobSpec *spec, const ErrorData *error)
{
	return !spec->trigger &&
		   (error->sqlerrcode == ERRCODE_UNDEFINED_TABLE || error->sqlerrcode == ERRCODE_UNDEFINED_COLUMN);
}

/* How long what the transaction writes has been locked. */
static uint64
locked_us(const Write *write)
{
	return clock_now_us() - write->began_us;
}

/* In a subtransaction. The part lies in the caller's frame: nobody is to ask for it when that is left, in any way. */
static bool
run_part(JobWorker *worker, const JobStore *store, Write *write, LimitPart *part, ErrorData **error)
{
	volatile bool is_written = false;

	limits_write_part(part);
	PG_TRY();
	{
		is_written = job_subtransaction(worker, store, write_answers_body, write, error);
	}
	PG_FINALLY();
	{
		limits_write_part(NULL);
	}
	PG_END_TRY();
	return is_written;
}

/*
 * Write a part. What its triggers ask waits no longer than the transaction may last, but for the first row that is
 * tried by its own: one that asks several times would else get nowhere where each has to wait. Where all of it was
 * asked in vain, it waits longer the next time.
 */
static bool
write_part(JobWorker *worker, const JobStore *store, Write *write, int from, int until, ErrorData **error)
{
	JobRow *row = until - from == 1 ? write->rows[from] : NULL;
	LimitPart part = {.since_us = write->began_us, .longest_us = LIMIT_PART_WAIT_US, .spent_since_us = clock_now_us()};
	bool is_written;

	if (row)
		part.needed = row->needed;
	if (row && write->is_first)
	{
		part.since_us = 0;
		part.longest_us <<= Min(row->n_in_vain, MAX_LONGER);
	}
	write->is_first = write->is_refused = false;
	write->from = from;
	write->until = until;
	is_written = run_part(worker, store, write, &part, error);
	write->has_asked = part.spent.requests > 0;
	if (row && !is_written)
		row->needed = part.needed;
	return is_written;
}

/* Rows have an error that one of them has: each by its own, as long as there is time. */
static void
write_one_by_one(JobWorker *worker, const JobStore *store, Write *write, const int *numbers, int n)
{
	for (int i = 0; i < n && (i == 0 || locked_us(write) < LIMIT_PART_WAIT_US); i++)
	{
		ErrorData *error;

		if (!write_part(worker, store, write, numbers[i], numbers[i] + 1, &error))
			note_error(worker, write, numbers[i], error);
	}
}

/* Is a trigger's table gone? With it its rows are. */
static bool
has_lost_table(const JobSpec *spec)
{
	return spec->trigger && !SearchSysCacheExists1(RELOID, ObjectIdGetDatum(spec->relation));
}

/* A part could not be written; false: nothing more is to be tried in this transaction. */
static bool
take_error_of_part(JobWorker *worker, const JobStore *store, Write *write, const int *numbers, int n, ErrorData *error)
{
	bool is_locked = error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;

	for (int i = 0; i < n; i++)
		write->outcomes[numbers[i]] = OUTCOME_NONE;
	if (has_lost_table(write->spec))
	{
		job_settle_untried(write, OUTCOME_GONE);
		return false;
	}
	if (n > 1 && waits_for_limit(error))
	{
		write->spec->alone_until = TimestampTzPlusMilliseconds(job_clock(), ALONE_MS);
		return false;
	}
	if (is_of_job(write->spec, error))
		job_rows_fail(worker, write->spec, job_error_words(error));
	if (is_locked)
		write->trouble = error->message;
	if (write->spec->failure[0] || is_locked)
	{
		job_settle_untried(write, OUTCOME_LATER);
		return false;
	}
	if (n == 1)
		note_error(worker, write, numbers[0], error);
	else
		write_one_by_one(worker, store, write, numbers, n);
	return true;
}

/* As many rows make the next part as should be written in time, as the last one was. */
static void
size_next_part(const Write *write, int n, uint64 took_us)
{
	uint64 most = (uint64) n * (write->has_asked ? MOST_GROWTH_ASKING : MOST_GROWTH);
	uint64 in_time = LAST_PART_US * (uint64) n / Max(took_us, 1);

	write->spec->n_at_once = (int) Max(Min(in_time, most), 1);
}

/* How many rows to write at once. */
static int
part_size(const JobSpec *spec)
{
	return job_clock() < spec->alone_until ? 1 : Max(spec->n_at_once, 1);
}

/* Is there time for another part? What a limit has refused has no locks any more; behind it, rows that ask nothing are
 * written, and others refused at once. */
static bool
has_time(const Write *write)
{
	return write->is_first || write->is_refused || locked_us(write) < LAST_PART_US;
}

/* Part by part, as long as there is time; the others stay as they are. */
static void
write_answers(JobWorker *worker, const JobStore *store, Write *write)
{
	int *numbers = palloc(sizeof *numbers * write->n);
	int n;

	write->from = 0;
	write->until = write->n;
	n = collect(write, OUTCOME_NONE, numbers);
	for (int i = 0; i < n && has_time(write);)
	{
		int size = Min(part_size(write->spec), n - i);
		uint64 before_us = clock_now_us();
		ErrorData *error;

		if (!write_part(worker, store, write, numbers[i], numbers[i + size - 1] + 1, &error) &&
			!take_error_of_part(worker, store, write, &numbers[i], size, error))
			return;
		size_next_part(write, size, clock_now_us() - before_us);
		i += size;
	}
}

static void
write_body(JobWorker *worker, const JobStore *store, void *argument)
{
	Write *write = argument;
	bool ended = false;

	write->began_us = clock_now_us();
	write->is_first = true;
	if (!write->spec->trigger && !job_lock(store, write->spec->job, &ended))
	{
		write->dropped = ended;
		write->trouble = JOB_ROW_IS_LOCKED;
		job_settle_all(write, OUTCOME_LATER);
		return;
	}
	for (int i = 0; i < write->n; i++)
		write->outcomes[i] = write->rows[i]->state == ROW_FAILED ? OUTCOME_FAILED : OUTCOME_NONE;
	if (write->spec->trigger && !job_table_is_ours(worker, store, write))
		return;
	job_leave_taken_back(store, write);
	job_chain_begin(write->spec, write->rows, write->n);
	write_answers(worker, store, write);
	job_chain_end();
	job_settle_entries(store, write);
}

/* After the commit: what becomes of the rows in memory. */
static void
settle_rows(JobWorker *worker, Write *write)
{
	int n_late = 0;

	for (int i = 0; i < write->n; i++)
	{
		JobRow *row = write->rows[i];
		TimestampTz next_try;

		switch (write->outcomes[i])
		{
			case OUTCOME_FAILED:
				next_try = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), job_backoff_ms(row->attempts));
				if (!row->is_permanent && (worker->next_try == 0 || next_try < worker->next_try))
					worker->next_try = next_try;
				job_row_free(worker, row);
				break;
			case OUTCOME_WRITTEN:
			case OUTCOME_GONE:
			case OUTCOME_MOVED:
				job_row_free(worker, row);
				break;
			case OUTCOME_CHANGED:
			case OUTCOME_NONE:
				break;
			case OUTCOME_LATER:
				row->not_before =
					TimestampTzPlusMilliseconds(job_clock(), LOCKED_WAIT_MS * (1 + Min(row->n_conflicts, LONG_WAIT)));
				n_late += ++row->n_waits >= WAITS_TO_TELL;
				break;
		}
	}
	if (n_late > 0)
		job_rows_trouble(worker, write->spec,
						 write->trouble ? write->trouble
										: psprintf("%d answered rows wait for locks that other sessions hold", n_late));
}

/* The rows of a spec that are ready to be written or put aside; false: there are none. */
static bool
write_spec(JobWorker *worker, JobSpec *spec, double elapsed_ms)
{
	Write write = {.spec = spec, .elapsed_ms = elapsed_ms};
	TimestampTz now = job_clock();
	ErrorData *error;

	write.rows = palloc(sizeof *write.rows * Max(spec->n_rows, 1));
	for (JobRow *row = worker->rows; row; row = row->next)
		if (row->spec == spec && (row->state == ROW_ANSWERED || row->state == ROW_FAILED) && now >= row->not_before)
			write.rows[write.n++] = row;
	if (write.n == 0)
		return false;
	write.outcomes = palloc0(sizeof *write.outcomes * write.n);
	if (!job_transaction(worker, write_body, &write, &error))
	{
		job_log_failure("answers could not be written and will be again", error);
		for (int i = 0; i < write.n; i++)
			write.outcomes[i] = OUTCOME_LATER;
		for (int i = 0; i < write.n; i++)
			write.rows[i]->n_conflicts++;
		write.trouble = error->message;
	}
	if (write.dropped)
		spec->is_done = true;
	else
		settle_rows(worker, &write);
	return true;
}

bool
job_rows_write(JobWorker *worker)
{
	bool any = false;
	TimestampTz now = job_clock();
	double elapsed_ms = (now - worker->last_write) / 1000.0;
	List *specs = list_copy(worker->specs);
	ListCell *cell;

	foreach (cell, specs)
	{
		JobSpec *spec = lfirst(cell);

		if (!spec->is_done && !spec->failure[0])
			any |= write_spec(worker, spec, elapsed_ms);
	}
	worker->last_write = now;
	return any;
}
