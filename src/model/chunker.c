/*
 * chunker.c - see chunker.h. First the text is cut into units that fit (sentences; of longer ones words; of longer ones
 * characters), then units are put together as long as the tokens allow.
 */
#include "chunker.h"

#include <stdlib.h>
#include <string.h>
#include <unicode/ubrk.h>
#include <unicode/utext.h>

/* A stretch of the text that is not cut any further. White space at its end belongs to it. */
typedef struct Unit
{
	uint32_t start, end;
	uint32_t n_tokens; /* of it alone */
	bool ends_paragraph;
} Unit;

typedef struct Chunker
{
	Tokenizer *tokenizer;
	const char *text;
	uint32_t max_tokens;
	Unit *units;
	size_t n_units, capacity;
	TokenBuffer tokens; /* for counting */
} Chunker;

static const UBreakIteratorType levels[] = {UBRK_SENTENCE, UBRK_WORD, UBRK_CHARACTER};

#define N_LEVELS 3

static Status
out_of_memory(void)
{
	return status_error(STATUS_UNAVAILABLE, "out of memory in the engine");
}

static bool
is_space(char c)
{
	return c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '\f' || c == '\v';
}

/* Without the white space around it. */
static void
trim(const char *text, uint32_t *start, uint32_t *end)
{
	while (*start < *end && is_space(text[*start]))
		++*start;
	while (*end > *start && is_space(text[*end - 1]))
		--*end;
}

/* How many tokens the text from start to end has, without white space around it. */
static Status
count_tokens(Chunker *chunker, uint32_t start, uint32_t end, uint32_t *n_tokens)
{
	trim(chunker->text, &start, &end);
	chunker->tokens.n = 0;
	STATUS_TRY(tokenizer_encode(chunker->tokenizer, chunker->text + start, end - start, false, &chunker->tokens));
	*n_tokens = (uint32_t) chunker->tokens.n;
	return status_ok();
}

/* Does a line that holds nothing stand in the white space before end? */
static bool
ends_paragraph(const char *text, uint32_t end)
{
	int n_lines = 0;

	while (n_lines < 2 && end > 0 && is_space(text[end - 1]))
		n_lines += text[--end] == '\n';
	return n_lines > 1;
}

static Status
add_unit(Chunker *chunker, uint32_t start, uint32_t end, uint32_t n_tokens)
{
	if (chunker->n_units == chunker->capacity)
	{
		size_t capacity = chunker->capacity ? chunker->capacity * 2 : 256;
		Unit *grown = realloc(chunker->units, capacity * sizeof *grown);

		if (!grown)
			return out_of_memory();
		chunker->units = grown;
		chunker->capacity = capacity;
	}
	chunker->units[chunker->n_units++] = (Unit){start, end, n_tokens, ends_paragraph(chunker->text, end)};
	return status_ok();
}

/* The bytes of the character at start. */
static uint32_t
character_bytes(const char *text, uint32_t start, uint32_t end)
{
	uint32_t n = 1;

	while (start + n < end && ((unsigned char) text[start + n] & 0xC0) == 0x80)
		n++;
	return n;
}

/* Below all levels: a run that ICU takes for one character, but that is too long, is cut between its code points. */
static Status
cut_code_points(Chunker *chunker, uint32_t start, uint32_t end)
{
	while (start < end)
	{
		uint32_t bytes = character_bytes(chunker->text, start, end), n_tokens;

		STATUS_TRY(count_tokens(chunker, start, start + bytes, &n_tokens));
		STATUS_TRY(add_unit(chunker, start, start + bytes, n_tokens));
		start += bytes;
	}
	return status_ok();
}

static Status cut(Chunker *chunker, uint32_t start, uint32_t end, int level);

/* A part: a unit when it fits, else what it is cut into at the next level. */
static Status
take_part(Chunker *chunker, uint32_t start, uint32_t end, int level)
{
	uint32_t n_tokens;

	STATUS_TRY(count_tokens(chunker, start, end, &n_tokens));
	if (n_tokens <= chunker->max_tokens)
		return add_unit(chunker, start, end, n_tokens);
	if (level + 1 < N_LEVELS)
		return cut(chunker, start, end, level + 1);
	return cut_code_points(chunker, start, end);
}

/* Cut the text from start to end at the boundaries of a level. Recursion is as deep as there are levels. */
static Status
cut(Chunker *chunker, uint32_t start, uint32_t end, int level)
{
	UErrorCode error = U_ZERO_ERROR;
	UText *source = utext_openUTF8(NULL, chunker->text + start, end - start, &error);
	UBreakIterator *breaks = ubrk_open(levels[level], "", NULL, 0, &error);
	Status status = status_ok();

	if (U_SUCCESS(error))
		ubrk_setUText(breaks, source, &error);
	if (U_FAILURE(error))
		status = status_error(STATUS_UNAVAILABLE, "ICU cannot cut the text: %s", u_errorName(error));
	for (uint32_t at = 0; status.code == STATUS_OK;)
	{
		int32_t next = ubrk_next(breaks);

		if (next == UBRK_DONE)
			break;
		status = take_part(chunker, start + at, start + (uint32_t) next, level);
		at = (uint32_t) next;
	}
	if (breaks)
		ubrk_close(breaks);
	utext_close(source);
	return status;
}

/*
 * The end (one past the last) of the units that go into a piece that begins with unit first: as many as fit; but where
 * that would cut a paragraph and the ones before it fill half a piece, those alone.
 */
static Status
find_end(Chunker *chunker, size_t first, size_t *end_out)
{
	const Unit *units = chunker->units;
	size_t end = first, paragraph = 0;
	uint32_t n_tokens = 0, n_paragraph = 0;

	while (end < chunker->n_units && (end == first || n_tokens + units[end].n_tokens <= chunker->max_tokens))
	{
		n_tokens += units[end].n_tokens;
		if (units[end++].ends_paragraph)
		{
			paragraph = end;
			n_paragraph = n_tokens;
		}
	}
	if (end < chunker->n_units && paragraph > 0 && n_paragraph >= chunker->max_tokens / 2)
		end = paragraph;
	/* what stands side by side may have more tokens together than one by one: rarely, and a few */
	for (; end > first + 1; end--)
	{
		STATUS_TRY(count_tokens(chunker, units[first].start, units[end - 1].end, &n_tokens));
		if (n_tokens <= chunker->max_tokens)
			break;
	}
	*end_out = end;
	return status_ok();
}

/* Where the piece after units first … end-1 begins: up to overlap tokens before its end, but with room for more. */
static size_t
next_first(const Chunker *chunker, size_t first, size_t end, uint32_t overlap)
{
	size_t next = end;
	uint32_t n_tokens = 0;

	while (next > first + 1 && n_tokens + chunker->units[next - 1].n_tokens <= overlap)
		n_tokens += chunker->units[--next].n_tokens;
	/* the piece must get further than this one did */
	while (next < end && end < chunker->n_units && n_tokens + chunker->units[end].n_tokens > chunker->max_tokens)
		n_tokens -= chunker->units[next++].n_tokens;
	return next;
}

/* Put units together to pieces. */
static Status
pack(Chunker *chunker, uint32_t overlap, ByteWriter *offsets)
{
	size_t first = 0, furthest = 0;

	while (furthest < chunker->n_units)
	{
		uint32_t start = chunker->units[first].start, stop;
		size_t end;

		STATUS_TRY(find_end(chunker, first, &end));
		if (end <= furthest)
		{
			/* the overlap left no room after all */
			first = furthest;
			continue;
		}
		stop = chunker->units[end - 1].end;
		trim(chunker->text, &start, &stop);
		if (stop > start)
		{
			write_u32(offsets, start);
			write_u32(offsets, stop - start);
		}
		furthest = end;
		first = next_first(chunker, first, end, overlap);
	}
	return offsets->failed ? out_of_memory() : status_ok();
}

Status
chunk_text(Tokenizer *tokenizer, ByteSpan text, uint32_t max_tokens, uint32_t overlap, ByteWriter *offsets)
{
	Chunker chunker = {.tokenizer = tokenizer, .text = text.data, .max_tokens = max_tokens};
	Status status;

	if (max_tokens < CHUNK_MIN_TOKENS)
		return status_error(STATUS_INVALID_ARGUMENT, "max_tokens must be at least %d, not %u", CHUNK_MIN_TOKENS,
							max_tokens);
	if (overlap >= (max_tokens + 1) / 2)
		return status_error(STATUS_INVALID_ARGUMENT, "overlap must be between 0 and %u, less than half of max_tokens, "
													 "not %u",
							(max_tokens + 1) / 2 - 1, overlap);
	status = cut(&chunker, 0, (uint32_t) text.length, 0);
	if (status.code == STATUS_OK)
		status = pack(&chunker, overlap, offsets);
	free(chunker.units);
	token_buffer_free(&chunker.tokens);
	return status;
}
