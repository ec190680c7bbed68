/*
 * chain.c - that what a worker writes for a trigger does not queue the same row for the same trigger again.
 *
 * A worker's answer may change what another trigger's prompt is made of: a summary that is embedded is queued for that,
 * and should be. But a prompt with a column that every UPDATE changes (updated_at), with a generated column over the
 * target, or two triggers whose targets are each other's sources would go round for ever. So a queued row knows by
 * which answers it came: a token for each (trigger, row) of its chain. An answer's write queues nothing that is in its
 * chain. Rows of other keys or tables that a trigger of the user's writes meanwhile are queued, and their chain is one
 * longer; one that is too long is an error, which becomes the answer's.
 */
#include "chain.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "parameters.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#define LONGEST_CHAIN 16
#define TOKEN_OF_OTHERS 0 /* of a row that is not the one that was written */

/* What the worker writes now; none in other processes. */
static const JobSpec *writing;
static JobRow *const *written;
static int n_written;

void
job_chain_begin(const JobSpec *spec, JobRow *const *rows, int n)
{
	writing = spec->trigger ? spec : NULL;
	written = rows;
	n_written = n;
}

void
job_chain_end(void)
{
	writing = NULL;
	written = NULL;
	n_written = 0;
}

bool
job_chain_runs(void)
{
	return writing != NULL;
}

/* What stands for a trigger and a row in a chain. */
static int64
token_of(Oid trigger, char *const *key, int n)
{
	uint64 token = trigger;

	for (int i = 0; i < n; i++)
		token = hash_bytes_extended((const unsigned char *) key[i], strlen(key[i]) + 1, token);
	return token == TOKEN_OF_OTHERS ? 1 : (int64) token;
}

/* The row that is being written, if a row of a table is it. */
static const JobRow *
find_written(Oid relation, char *const *key, int n)
{
	if (writing->relation != relation || writing->n_keys != n)
		return NULL;
	for (int i = 0; i < n_written; i++)
	{
		bool same = true;

		for (int k = 0; same && k < n; k++)
			same = strcmp(written[i]->key[k], key[k]) == 0;
		if (same)
			return written[i];
	}
	return NULL;
}

bool
job_chain_answers(Oid relation, Oid trigger, char *const *key, int n)
{
	return writing && writing->trigger_number == trigger && find_written(relation, key, n) != NULL;
}

bool
job_chain_extend(Oid relation, Oid trigger, const char *name, char *const *key, int n, Datum *via)
{
	const JobRow *row = find_written(relation, key, n);
	int64 tokens[LONGEST_CHAIN + 1], own = token_of(trigger, key, n), last = TOKEN_OF_OTHERS;
	int n_tokens = 0;

	if (row)
	{
		for (int i = 0; i < row->n_via; i++)
			if (row->via[i] == own)
				return false;
		last = token_of(writing->trigger_number, key, n);
		if (last == own)
			return false;
		for (; n_tokens < Min(row->n_via, LONGEST_CHAIN); n_tokens++)
			tokens[n_tokens] = row->via[n_tokens];
	}
	else
		/* which of the rows it comes from is not known: as long as the longest */
		for (int i = 0; i < n_written; i++)
			for (; n_tokens < Min(written[i]->n_via, LONGEST_CHAIN); n_tokens++)
				tokens[n_tokens] = TOKEN_OF_OTHERS;
	if (n_tokens == LONGEST_CHAIN)
		ereport(
			ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg(
				 "trigger \"%s\" of table \"%s\" goes round: its answer queues rows whose answers queue rows, %d times",
				 name, get_rel_name(relation), LONGEST_CHAIN)));
	tokens[n_tokens++] = last;
	*via = job_int8_array(tokens, n_tokens);
	return true;
}

void
job_chain_merge(JobRow *row, const int64 *via, int n)
{
	int n_kept = 0;

	for (int i = 0; i < row->n_via; i++)
	{
		bool in_both = false;

		for (int j = 0; j < n; j++)
			in_both |= row->via[i] == via[j];
		if (in_both)
			row->via[n_kept++] = row->via[i];
	}
	row->n_via = n_kept;
}
