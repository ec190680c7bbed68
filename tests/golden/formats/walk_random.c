/*
 * walk_random.c - answers that masks let through, at random: of each format some are made token by token, each picked
 * among those of the mask, until the answer is over or long, when it is completed as one that max_tokens cuts is.
 *
 *   walk_random VOCABULARY SEED WALKS STEPS      (VOCABULARY as of format_bench.c)
 *
 * Lines of standard input are a response_format each; for each walk there is a line: the answer, or error, the code and
 * its sentence, or wrong and what is. Wrong is a dead end, a completion that does not complete or is longer than its
 * bound, and, at some places of each walk, a token of which the mask says something else than the format.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../../src/format/masks.h"

#define LOOKED_AT 300 /* tokens of a mask that are looked at */
#define BOUND_SLACK 64

static ByteSpan *spans;
static uint32_t n_spans;
static uint64_t seed;
static const char *wrong;

static uint32_t
below(uint32_t n)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t) ((seed >> 33) % n);
}

static bool
mask_has(const TokenMask *mask, uint32_t token)
{
	if (mask->bits)
		return mask->bits[token / 64] >> token % 64 & 1;
	for (uint32_t i = 0; i < mask->n; i++)
		if (mask->list[i] == token)
			return true;
	return false;
}

/* One of the tokens of a mask; UINT32_MAX: it has none. Of many, short ones often, which end things. */
static uint32_t
pick(const TokenMask *mask)
{
	uint32_t found = UINT32_MAX, n = 0;

	if (!mask->bits)
		return mask->n ? mask->list[below(mask->n)] : UINT32_MAX;
	for (int i = 0; i < 40; i++)
	{
		uint32_t token = below(i < 8 ? 300 : n_spans);

		if (token < n_spans && mask_has(mask, token))
			return token;
	}
	for (uint32_t token = 0; token < n_spans; token++)
		if (mask_has(mask, token) && below(++n) == 0)
			found = token;
	return found;
}

static bool
takes(Format *format, FormatState state, uint32_t token)
{
	return spans[token].data && format_take(format, state, spans[token].data, spans[token].length) != 0;
}

/* The same token alone and in the mask: some at random, and some that go over an end. */
static bool
is_exact(Format *format, FormatState state, const TokenMask *mask)
{
	for (int i = 0; i < LOOKED_AT; i++)
	{
		uint32_t token = below(i % 3 == 0 ? (n_spans < 2000 ? n_spans : 2000) : n_spans);

		if (spans[token].data && takes(format, state, token) != mask_has(mask, token))
			return false;
	}
	return true;
}

static bool
complete(Format *format, FormatState state, ByteWriter *answer)
{
	size_t before = answer->length;
	uint32_t bound = format_completion_bound(format, state);

	if (format_complete(format, state, answer).code != STATUS_OK)
		return false;
	if (answer->length - before > (size_t) bound + BOUND_SLACK)
		wrong = "a completion is longer than its bound";
	state = format_take(format, state, (char *) answer->data + before, answer->length - before);
	if (!state || !format_is_complete(format, state))
		wrong = "a completion does not complete";
	return true;
}

/* One answer; false: the format has come to a limit. */
static bool
walk(Format *format, Masks *masks, int n_steps, ByteWriter *answer)
{
	FormatState state = format_start(format);
	int look = (int) below((uint32_t) n_steps), length = 1 + (int) below((uint32_t) n_steps);

	for (int step = 0; step < length && !format_is_over(format, state); step++)
	{
		const TokenMask *mask = masks_get(masks, state);
		uint32_t token;

		if (!mask)
			return false;
		if ((step == 0 || step == look % length) && !is_exact(format, state, mask))
			wrong = "a mask is not what its tokens are";
		token = pick(mask);
		if (token == UINT32_MAX)
		{
			if (!format_is_complete(format, state))
				wrong = "a dead end";
			return true;
		}
		state = format_take(format, state, spans[token].data, spans[token].length);
		if (!state)
		{
			if (format_status(format).code != STATUS_OK)
				return false;
			wrong = "a token of the mask is refused";
			return true;
		}
		write_raw(answer, spans[token].data, spans[token].length);
	}
	return format_is_complete(format, state) || complete(format, state, answer);
}

static void
run(const char *text, int n_walks, int n_steps, const Vocabulary *vocabulary, MaskScratch *scratch)
{
	Format *format = NULL;
	Status status = format_compile((ByteSpan){text, strlen(text)}, NULL, &format);
	Masks *masks = format ? masks_create(format, vocabulary, scratch) : NULL;

	for (int i = 0; i < n_walks; i++)
	{
		ByteWriter answer;

		if (status.code != STATUS_OK)
		{
			printf("error %d %s\n", status.code, status.message);
			continue;
		}
		byte_writer_init(&answer);
		wrong = NULL;
		if (!walk(format, masks, n_steps, &answer))
			printf("error %d %s\n", format_status(format).code, format_status(format).message);
		else if (wrong)
			printf("wrong %s, behind %.*s\n", wrong, (int) answer.length, (char *) answer.data);
		else
			printf("%.*s\n", (int) answer.length, (char *) answer.data);
		byte_writer_free(&answer);
	}
	masks_destroy(masks);
	format_destroy(format);
}

static bool
read_vocabulary(const char *path)
{
	FILE *file = fopen(path, "rb");
	uint32_t length;

	if (!file)
		return false;
	while (fread(&length, 4, 1, file) == 1)
	{
		char *bytes = malloc((size_t) length + 1);

		spans = realloc(spans, (n_spans + 1) * sizeof *spans);
		if (!spans || !bytes || fread(bytes, 1, length, file) != length)
			return false;
		spans[n_spans++] = (ByteSpan){length ? bytes : NULL, length};
	}
	fclose(file);
	return n_spans > 0;
}

int
main(int argc, char **argv)
{
	char *line = NULL;
	size_t capacity = 0;
	ssize_t length;
	Vocabulary *vocabulary;
	MaskScratch *scratch;

	if (argc != 5 || !read_vocabulary(argv[1]))
		return 1;
	vocabulary = vocabulary_create(spans, n_spans);
	scratch = vocabulary ? mask_scratch_create(vocabulary) : NULL;
	seed = strtoull(argv[2], NULL, 10);
	while (scratch && (length = getline(&line, &capacity, stdin)) > 0)
	{
		line[length - (line[length - 1] == '\n')] = 0;
		run(line, atoi(argv[3]), atoi(argv[4]), vocabulary, scratch);
	}
	mask_scratch_destroy(scratch);
	vocabulary_destroy(vocabulary);
	free(line);
	return !scratch;
}
