/*
 * key_look.c - many keys that are looked for at once, of which some may be none that their type reads.
 *
 * Keys are kept as text, and one statement reads many of them: one that its type cannot read, as a dead letter's of a
 * row that is gone has, fails it for all. Where keys are bad one by one, each costs a look for every time that their
 * number can be halved.
 */
#include "key_look.h"

#include "../core/own_transaction.h"
#include "miscadmin.h"
#include "worker_transaction.h"

/* A look at some of the keys. */
typedef struct Part
{
	KeyLook look;
	void *argument;
	bool *is_read;
	int first, n;
} Part;

static void
look_at_part(void *argument)
{
	const Part *part = argument;

	part->look(part->argument, part->first, part->n);
}

/* Is an error a value's, so that it may be one key's alone? Some types say that a text is none of theirs as a syntax
 * error (ltree). */
static bool
is_of_value(const ErrorData *error)
{
	bool is_of_statement =
		ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_TO_CATEGORY(ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION);

	return !job_error_passes(error) && (!is_of_statement || error->sqlerrcode == ERRCODE_SYNTAX_ERROR);
}

static ErrorData *
look_in_halves(const Part *whole)
{
	Part half = *whole;
	ErrorData *error;

	CHECK_FOR_INTERRUPTS();
	error = error_of_look(look_at_part, &half);
	if (!error)
		memset(&whole->is_read[whole->first], true, whole->n);
	if (!error || !is_of_value(error))
		return error;
	if (whole->n == 1)
		return NULL;
	half.n = whole->n / 2;
	error = look_in_halves(&half);
	half.first += half.n;
	half.n = whole->n - half.n;
	return error ? error : look_in_halves(&half);
}

ErrorData *
job_look_for_keys(KeyLook look, void *argument, int n, bool *is_read)
{
	Part all = {.look = look, .argument = argument, .is_read = is_read, .n = n};

	memset(is_read, false, n);
	return n > 0 ? look_in_halves(&all) : NULL;
}
