/*
 * fuzz_pattern.c - a pattern of ECMA-262: read, made an automaton, and its shortest text found.
 */
#include "../../src/format/language.h"
#include "../../src/format/pattern.h"
#include "fuzz.h"

/* the limit is what it is, but comes sooner: else a few inputs take all the time */
#define LEFT_WORK (FORMAT_MAX_WORK < 100000 ? FORMAT_MAX_WORK : 100000)

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Pool pool;
	Expressions expressions;
	uint32_t expression, state;
	const Language *language;

	if (!utf8_is_valid((const char *) data, size) || size > 400 || !pool_open(&pool))
		return 0;
	pool.work = FORMAT_MAX_WORK - LEFT_WORK;
	expressions_open(&expressions, &pool);
	expression = pattern_read(&expressions, (const char *) data, size, size % 2);
	language = pool_failed(&pool) ? NULL : language_build(&expressions, expression);
	PROMISE(language || pool_failed(&pool));
	PROMISE(pool.status.code == STATUS_OK || pool.status.code == STATUS_INVALID_ARGUMENT ||
			pool.status.code == STATUS_UNSUPPORTED || pool.status.code == STATUS_TOO_LONG);
	/* every state but the dead one comes nearer to an end by some class */
	for (state = 1; language && state < language->n_states; state++)
	{
		bool has_way = language->accepts[state];

		PROMISE(language->shortest[state] != NO_LIMIT && language->shortest[state] <= language->longest[state]);
		for (uint32_t class_ = 1; class_ < language->n_classes && !has_way; class_++)
		{
			uint32_t to = language->next[state * language->n_classes + class_];

			has_way = to != 0 && language->shortest[to] + 1 == language->shortest[state];
		}
		PROMISE(has_way);
	}
	pool_close(&pool);
	return 0;
}
