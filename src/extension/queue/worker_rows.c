/*
 * worker_rows.c - what a worker has in its hands: rows with their prompts, calls and answers, and what troubles it.
 */
#include "worker_rows.h"

#include "../core/texts.h"
#include "../functions/functions.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define TROUBLE_LASTS_MS 5000 /* longer than any pause between two looks */

/* ---- rows and specs in memory ---- */
JobRow *
job_row_add(JobWorker *worker, JobSpec *spec, int64 id, char *const *key, int attempts)
{
	MemoryContext memory = AllocSetContextCreate(worker->memory, "qwen_pg row", ALLOCSET_SMALL_SIZES);
	JobRow *row = MemoryContextAllocZero(memory, sizeof *row);
	JobRow **end = &worker->rows;

	row->memory = memory;
	row->content = AllocSetContextCreate(memory, "qwen_pg row's prompt", ALLOCSET_SMALL_SIZES);
	row->spec = spec;
	row->ids = MemoryContextAlloc(memory, sizeof *row->ids);
	row->ids[0] = id;
	row->n_ids = 1;
	row->attempts = attempts;
	row->key = MemoryContextAlloc(memory, sizeof *row->key * spec->n_keys);
	for (int i = 0; i < spec->n_keys; i++)
		row->key[i] = MemoryContextStrdup(memory, key[i]);
	while (*end)
		end = &(*end)->next;
	*end = row;
	spec->n_rows++;
	worker->n_rows++;
	return row;
}

void
job_row_set_aside(JobWorker *worker, JobRow *row, bool is_aside)
{
	int change = (int) is_aside - (int) row->is_aside;

	row->is_aside = is_aside;
	row->spec->n_aside += change;
	worker->n_aside += change;
}

void
job_row_free(JobWorker *worker, JobRow *row)
{
	JobRow **link = &worker->rows;

	job_row_set_aside(worker, row, false);
	while (*link && *link != row)
		link = &(*link)->next;
	if (*link)
		*link = row->next;
	row->spec->n_rows--;
	worker->n_rows--;
	MemoryContextDelete(row->memory);
}

/* Build the requests of a prompt; the limits are those of whoever submitted the job. */
static void
build_call(JobRow *row, text *prompt)
{
	const JobSpec *spec = row->spec;
	const ModelFunction *function = spec->function;
	NullableDatum *arguments = palloc(sizeof *arguments * spec->call->nargs);

	memcpy(arguments, spec->call->args, sizeof *arguments * spec->call->nargs);
	/* later steps look at it again */
	if (function->next || function->too_long)
		prompt = cstring_to_text_with_len(VARDATA_ANY(prompt), VARSIZE_ANY_EXHDR(prompt));
	arguments[function->input] = (NullableDatum){PointerGetDatum(prompt), false};
	if (spec->takes_row)
		job_spec_set_schema(spec, arguments);
	limits_act_for(spec->roles);
	PG_TRY();
	{
		model_call_build(&row->call, function, spec->call, arguments);
	}
	PG_CATCH();
	{
		limits_act_for(NULL);
		PG_RE_THROW();
	}
	PG_END_TRY();
	limits_act_for(NULL);
	row->call.asked_by = spec->asked_by;
	/* further steps convert texts, which takes a transaction in other encodings */
	row->call.comes_back = true;
	row->call.takes_one_step = GetDatabaseEncoding() != PG_UTF8;
}

void
job_rows_free(JobWorker *worker, JobRow *const *rows, int n)
{
	for (int i = 0; i < n; i++)
		if (rows[i])
			job_row_free(worker, rows[i]);
}

void
job_row_set_prompt(JobRow *row, text *prompt, int64 hash)
{
	MemoryContext old;

	MemoryContextReset(row->content); /* ends a call, too */
	old = MemoryContextSwitchTo(row->content);
	memset(&row->call, 0, sizeof row->call);
	row->answer = NULL;
	row->is_cut = false;
	row->state = ROW_READY;
	row->has_prompt = prompt != NULL;
	row->hash = hash;
	if (prompt)
		build_call(row, prompt);
	MemoryContextSwitchTo(old);
}

void
job_rows_trouble(JobWorker *worker, const JobSpec *spec, const char *why)
{
	char *text = pstrdup(why);

	if (spec && spec->trigger)
		text = psprintf("trigger %s: %s", spec->trigger, why);
	else if (spec)
		text = psprintf("job " INT64_FORMAT ": %s", spec->job, why);
	copy_server_text(worker->trouble, text, sizeof worker->trouble);
	worker->trouble_ends_with_answer = false;
	worker->trouble_until = TimestampTzPlusMilliseconds(job_clock(), TROUBLE_LASTS_MS);
}

void
job_rows_fail(JobWorker *worker, JobSpec *spec, const char *error)
{
	copy_server_text(spec->failure, error, sizeof spec->failure);
	spec->exhausted = true;
}
