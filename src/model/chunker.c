/*
 * chunker.c - see chunker.h. The text is cut into units that fit (sentences; of longer ones words; of longer ones
 * characters), and units are put together as long as the tokens allow.
 *
 * No text makes this more than n log n. Units go into pieces as they come, so that only those of one piece and a little
 * more are in memory. Where a piece ends is found from counts that every unit has had made once, of itself and of the
 * white space before it, and checked by counting the piece: once in nearly all texts, a few times more (log of its
 * units) where the units' counts say too little or too much of what stands side by side. No count goes on beyond what
 * fits.
 */
#include "chunker.h"

#include <stdlib.h>
#include <string.h>
#include <unicode/ubrk.h>
#include <unicode/utext.h>

/* A stretch of the text that is not cut any further, but for an overlap. White space at its end belongs to it. */
typedef struct Unit
{
	uint32_t start, end;
	uint32_t n_tokens; /* of it alone */
	uint32_t n_gap;    /* that the white space before it adds behind another unit */
	bool ends_paragraph;
} Unit;

typedef struct Chunker
{
	Tokenizer *tokenizer;
	const char *text;
	uint32_t max_tokens, overlap;
	Unit *units; /* from the one on that the next piece may begin with */
	size_t n_units, capacity;
	size_t first, furthest; /* the next piece begins with units[first]; those before units[furthest] are in pieces */
	bool first_is_tail;     /* units[first] is the end of a unit, for the overlap alone */
	uint32_t n_pending;     /* tokens of the units from first on, without gaps */
	uint32_t content_end;   /* of the last unit, without the white space at its end */
	uint32_t n_lines;       /* that end in that white space; 2: or more */
	uint64_t n_tokens;      /* of all units and gaps so far */
	TokenBuffer tokens;     /* for counting */
	ByteWriter *offsets;
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

/* How many tokens the text from start to end has, without white space around it; max_tokens + 1: more than fit. */
static Status
count_tokens(Chunker *chunker, uint32_t start, uint32_t end, uint32_t *n_tokens)
{
	Status status;

	trim(chunker->text, &start, &end);
	*n_tokens = 0;
	if (start == end)
		return status_ok();
	chunker->tokens.n = 0;
	status = tokenizer_encode(chunker->tokenizer, chunker->text + start, end - start, false, &chunker->tokens);
	*n_tokens = status.code == STATUS_TOO_LONG ? chunker->max_tokens + 1 : (uint32_t) chunker->tokens.n;
	return status.code == STATUS_TOO_LONG ? status_ok() : status;
}

/* How many tokens white space takes between two units: the last character of it is most often part of a word. */
static Status
count_gap(Chunker *chunker, uint32_t start, uint32_t end, uint32_t *n_tokens)
{
	Status status;

	*n_tokens = 0;
	if (end - start < 2)
		return status_ok();
	chunker->tokens.n = 0;
	status = tokenizer_encode(chunker->tokenizer, chunker->text + start, end - start, false, &chunker->tokens);
	if (status.code == STATUS_TOO_LONG)
		*n_tokens = chunker->max_tokens;
	else if (status.code != STATUS_OK)
		return status;
	else if (chunker->tokens.n > 1)
		*n_tokens = (uint32_t) chunker->tokens.n - 1;
	return status_ok();
}

/* Count the lines that end in white space, as far as two. */
static uint32_t
count_lines(const char *text, uint32_t start, uint32_t end)
{
	uint32_t n = 0;

	while (n < 2 && start < end)
		n += text[start++] == '\n';
	return n;
}

static Status
reserve_unit(Chunker *chunker)
{
	size_t capacity = chunker->capacity ? chunker->capacity * 2 : 256;
	Unit *grown;

	if (chunker->n_units < chunker->capacity)
		return status_ok();
	grown = realloc(chunker->units, capacity * sizeof *grown);
	if (!grown)
		return out_of_memory();
	chunker->units = grown;
	chunker->capacity = capacity;
	return status_ok();
}

static Status pack(Chunker *chunker, bool all);

/* The next unit; white space alone belongs to the one before it. Pieces are made of the units before it where there are
 * enough. */
static Status
add_unit(Chunker *chunker, uint32_t start, uint32_t end, uint32_t n_tokens)
{
	uint32_t content_start = start, content_end = end, n_gap = 0;
	bool is_blank;

	trim(chunker->text, &content_start, &content_end);
	is_blank = content_start == content_end;
	if (is_blank)
		chunker->n_lines += count_lines(chunker->text, start, end);
	else
		chunker->n_lines = count_lines(chunker->text, content_end, end);
	chunker->n_lines = chunker->n_lines < 2 ? chunker->n_lines : 2;
	if (is_blank && chunker->n_units > 0)
	{
		chunker->units[chunker->n_units - 1].end = end;
		chunker->units[chunker->n_units - 1].ends_paragraph |= chunker->n_lines > 1;
		return status_ok();
	}
	if (!is_blank && chunker->n_units > 0)
		STATUS_TRY(count_gap(chunker, chunker->content_end, content_start, &n_gap));
	if (!is_blank)
		chunker->content_end = content_end;
	if (chunker->n_pending > chunker->max_tokens)
		STATUS_TRY(pack(chunker, false));
	STATUS_TRY(reserve_unit(chunker));
	chunker->units[chunker->n_units++] = (Unit){start, end, n_tokens, n_gap, chunker->n_lines > 1};
	chunker->n_pending += n_tokens;
	chunker->n_tokens += (uint64_t) n_tokens + n_gap;
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

/* The boundaries of a level in a text. */
typedef struct Boundaries
{
	UText *source;
	UBreakIterator *breaks;
} Boundaries;

/* To be closed in any case. */
static Status
open_boundaries(const Chunker *chunker, uint32_t start, uint32_t end, int level, Boundaries *boundaries)
{
	UErrorCode error = U_ZERO_ERROR;

	boundaries->source = utext_openUTF8(NULL, chunker->text + start, end - start, &error);
	boundaries->breaks = ubrk_open(levels[level], "", NULL, 0, &error);
	if (U_SUCCESS(error))
		ubrk_setUText(boundaries->breaks, boundaries->source, &error);
	if (U_FAILURE(error))
		return status_error(STATUS_UNAVAILABLE, "ICU cannot cut the text: %s", u_errorName(error));
	return status_ok();
}

static void
close_boundaries(Boundaries *boundaries)
{
	if (boundaries->breaks)
		ubrk_close(boundaries->breaks);
	utext_close(boundaries->source);
}

/* Cut the text from start to end at the boundaries of a level. Recursion is as deep as there are levels. */
static Status
cut(Chunker *chunker, uint32_t start, uint32_t end, int level)
{
	Boundaries boundaries;
	Status status = open_boundaries(chunker, start, end, level, &boundaries);

	for (uint32_t at = 0; status.code == STATUS_OK;)
	{
		int32_t next = ubrk_next(boundaries.breaks);

		if (next == UBRK_DONE)
			break;
		status = take_part(chunker, start + at, start + (uint32_t) next, level);
		at = (uint32_t) next;
	}
	close_boundaries(&boundaries);
	return status;
}

/*
 * How many of the units from first on fit (one past the last of them), by their own counts; at least one. gaps: those
 * of the white space between them too. paragraph: after the last that ends a paragraph (and is in no piece yet), where
 * these fill half a piece and more units follow; else 0.
 */
static size_t
estimate_end(const Chunker *chunker, size_t first, bool gaps, size_t *paragraph)
{
	const Unit *units = chunker->units;
	uint64_t n_tokens = 0, n_paragraph = 0;
	size_t end = first;

	*paragraph = 0;
	for (; end < chunker->n_units; end++)
	{
		uint64_t n = units[end].n_tokens + (gaps && end > first ? units[end].n_gap : 0);

		if (end > first && n_tokens + n > chunker->max_tokens)
			break;
		n_tokens += n;
		if (units[end].ends_paragraph && end >= chunker->furthest)
		{
			*paragraph = end + 1;
			n_paragraph = n_tokens;
		}
	}
	if (end == chunker->n_units || n_paragraph < chunker->max_tokens / 2)
		*paragraph = 0;
	return end;
}

/* Do the units first … end-1 fit? One always does. */
static Status
check_fit(Chunker *chunker, size_t first, size_t end, bool *fits)
{
	uint32_t n_tokens;

	*fits = true;
	if (end <= first + 1)
		return status_ok();
	STATUS_TRY(count_tokens(chunker, chunker->units[first].start, chunker->units[end - 1].end, &n_tokens));
	*fits = n_tokens <= chunker->max_tokens;
	return status_ok();
}

/* The last end that fits, between one that does and one that does not. */
static Status
halve(Chunker *chunker, size_t first, size_t fitting, size_t too_long, size_t *end)
{
	while (too_long - fitting > 1)
	{
		size_t middle = fitting + (too_long - fitting) / 2;
		bool fits;

		STATUS_TRY(check_fit(chunker, first, middle, &fits));
		if (fits)
			fitting = middle;
		else
			too_long = middle;
	}
	*end = fitting;
	return status_ok();
}

/* The same, from one that does not fit down, in growing steps: most often the next one does. */
static Status
search_down(Chunker *chunker, size_t first, size_t too_long, size_t *end)
{
	size_t candidate = too_long;

	for (size_t step = 1;; step *= 2)
	{
		bool fits;

		candidate = candidate - first > step + 1 ? candidate - step : first + 1;
		STATUS_TRY(check_fit(chunker, first, candidate, &fits));
		if (fits)
			return halve(chunker, first, candidate, too_long, end);
		too_long = candidate;
	}
}

/* And from one that fits up, to highest at most. */
static Status
search_up(Chunker *chunker, size_t first, size_t fitting, size_t highest, size_t *end)
{
	for (size_t step = 1; fitting < highest; step *= 2)
	{
		size_t candidate = highest - fitting > step ? fitting + step : highest;
		bool fits;

		STATUS_TRY(check_fit(chunker, first, candidate, &fits));
		if (!fits)
			return halve(chunker, first, fitting, candidate, end);
		fitting = candidate;
	}
	*end = fitting;
	return status_ok();
}

/*
 * The end (one past the last) of the units that go into a piece that begins with unit first: as many as fit; but where
 * that would cut a paragraph and the ones before it fill half a piece, those alone.
 */
static Status
find_end(Chunker *chunker, size_t first, size_t *end_out)
{
	size_t paragraph, none, highest;
	size_t end = estimate_end(chunker, first, true, &paragraph);
	bool fits;

	end = paragraph > 0 ? paragraph : end;
	STATUS_TRY(check_fit(chunker, first, end, &fits));
	if (!fits)
		return search_down(chunker, first, end, end_out);
	*end_out = end;
	if (paragraph > 0)
		return status_ok();
	highest = estimate_end(chunker, first, false, &none);
	return search_up(chunker, first, end, highest, end_out);
}

/* What a unit adds to those before it. */
static uint64_t
cost_of(const Chunker *chunker, size_t unit)
{
	return (uint64_t) chunker->units[unit].n_tokens + chunker->units[unit].n_gap;
}

/* May the piece after units first … end-1 begin with unit next? Counted, not by the units' counts. */
static Status
check_overlap(Chunker *chunker, size_t next, size_t end, bool *fits)
{
	const Unit *units = chunker->units;
	uint32_t n_tokens;

	STATUS_TRY(count_tokens(chunker, units[next].start, units[end - 1].end, &n_tokens));
	*fits = n_tokens <= chunker->overlap;
	if (!*fits || end == chunker->n_units)
		return status_ok();
	/* the piece must get further than this one did */
	STATUS_TRY(count_tokens(chunker, units[next].start, units[end].end, &n_tokens));
	*fits = n_tokens <= chunker->max_tokens;
	return status_ok();
}

/* Where that piece begins: up to overlap tokens before the end of this one; end: nothing fits. */
static Status
find_next_first(Chunker *chunker, size_t first, size_t end, size_t *next_out)
{
	size_t next = end, too_early;
	uint64_t n_tokens = 0;
	bool fits = true;

	while (next > first + 1 && n_tokens + cost_of(chunker, next - 1) <= chunker->overlap)
		n_tokens += cost_of(chunker, --next);
	while (next < end && end < chunker->n_units && n_tokens + cost_of(chunker, end) > chunker->max_tokens)
		n_tokens -= cost_of(chunker, next++);
	if (next < end)
		STATUS_TRY(check_overlap(chunker, next, end, &fits));
	*next_out = fits ? next : end;
	for (too_early = next; !fits && *next_out - too_early > 1;)
	{
		size_t middle = too_early + (*next_out - too_early) / 2;
		bool middle_fits;

		STATUS_TRY(check_overlap(chunker, middle, end, &middle_fits));
		if (middle_fits)
			*next_out = middle;
		else
			too_early = middle;
	}
	return status_ok();
}

/*
 * The longest end of a text that begins at a boundary behind its start, with a character that is no white space, and
 * has budget tokens at most: where it begins and how many it has; end: none. Looked for from the end of the text, in
 * growing steps, so that it costs what the overlap is long.
 */
static Status
find_tail(Chunker *chunker, uint32_t start, uint32_t end, UBreakIterator *breaks, uint32_t budget, uint32_t *tail,
		  uint32_t *n_tail_tokens)
{
	/* the boundary behind low, if any, gives too many tokens; that behind high is tail */
	uint32_t low = start, high = end, step = 8;

	*tail = end;
	while (low < high)
	{
		bool is_step = low == start && high - start > step;
		uint32_t middle = is_step ? high - step : low + (high - low) / 2, next = middle, n_tokens;

		if (is_step)
			step *= 2;
		do
			next = start + (uint32_t) ubrk_following(breaks, (int32_t) (next - start));
		while (next < *tail && is_space(chunker->text[next]));
		if (next >= *tail)
		{
			high = middle;
			continue;
		}
		STATUS_TRY(count_tokens(chunker, next, end, &n_tokens));
		if (n_tokens > budget)
			low = next;
		else
		{
			high = middle;
			*tail = next;
			*n_tail_tokens = n_tokens;
		}
	}
	return status_ok();
}

/* Is there more in a text than white space and punctuation of ASCII? */
static bool
has_word(const char *text, uint32_t start, uint32_t end)
{
	for (; start < end; start++)
	{
		unsigned char c = (unsigned char) text[start];

		if (c >= 0x80 || (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z'))
			return true;
	}
	return false;
}

/* The same at word boundaries, or, where no word fits, at those of characters; not punctuation alone. */
static Status
find_tail_with_word(Chunker *chunker, uint32_t start, uint32_t end, uint32_t budget, uint32_t *tail, uint32_t *n_tokens)
{
	*tail = end;
	for (int level = 1; level < N_LEVELS && !has_word(chunker->text, *tail, end); level++)
	{
		Boundaries boundaries;
		Status status = open_boundaries(chunker, start, end, level, &boundaries);

		if (status.code == STATUS_OK)
			status = find_tail(chunker, start, end, boundaries.breaks, budget, tail, n_tokens);
		close_boundaries(&boundaries);
		STATUS_TRY(status);
	}
	if (!has_word(chunker->text, *tail, end))
		*tail = end;
	return status_ok();
}

/*
 * Where no whole unit with a word is repeated: begin the next piece with the end of one of the units from earliest on,
 * as much as the overlap and the unit that follows leave room for. It takes the place of the last unit before that,
 * which is in a piece already.
 */
static Status
begin_with_tail(Chunker *chunker, size_t earliest)
{
	Unit *units = chunker->units, *last = &units[chunker->furthest - 1];
	uint64_t cost = cost_of(chunker, chunker->furthest);
	uint32_t budget = cost < chunker->max_tokens ? chunker->max_tokens - (uint32_t) cost : 0;
	size_t from = chunker->furthest - 1;
	uint32_t start, end = last->end;

	while (from > earliest && !has_word(chunker->text, units[from].start, units[from].end))
		from--;
	start = units[from].start;
	trim(chunker->text, &start, &end);
	/* the count of the end and of what follows may be above the sum of their counts */
	for (budget = budget < chunker->overlap ? budget : chunker->overlap; budget > 0; budget /= 2)
	{
		uint32_t tail, n_tokens = 0, n_both;

		STATUS_TRY(find_tail_with_word(chunker, start, end, budget, &tail, &n_tokens));
		if (tail == end)
			return status_ok();
		STATUS_TRY(count_tokens(chunker, tail, units[chunker->furthest].end, &n_both));
		if (n_both > chunker->max_tokens)
			continue;
		for (; chunker->first < chunker->furthest; chunker->first++)
			chunker->n_pending -= units[chunker->first].n_tokens;
		*last = (Unit){tail, last->end, n_tokens, 0, last->ends_paragraph};
		chunker->n_pending += n_tokens;
		chunker->first--;
		chunker->first_is_tail = true;
		return status_ok();
	}
	return status_ok();
}

/* Let the next piece begin with unit first, or with the end of one of those of the piece before it. */
static Status
begin_piece(Chunker *chunker, size_t first)
{
	size_t earliest = chunker->first, furthest = chunker->furthest;
	bool may_have_tail = chunker->overlap > 0 && furthest < chunker->n_units;

	/* where an end of a unit left no room, there is none */
	if (chunker->first_is_tail && furthest == earliest + 1)
		may_have_tail = false;
	for (; chunker->first < first; chunker->first++)
		chunker->n_pending -= chunker->units[chunker->first].n_tokens;
	chunker->first_is_tail = false;
	if (may_have_tail &&
		(first == furthest || !has_word(chunker->text, chunker->units[first].start, chunker->units[furthest - 1].end)))
		return begin_with_tail(chunker, earliest);
	return status_ok();
}

/* Write down a piece. */
static void
write_piece(Chunker *chunker, uint32_t start, uint32_t end)
{
	trim(chunker->text, &start, &end);
	if (end == start)
		return;
	write_u32(chunker->offsets, start);
	write_u32(chunker->offsets, end - start);
}

/* Forget the units that no piece needs any more, when they are the half of all. */
static void
drop_units(Chunker *chunker)
{
	if (chunker->first < chunker->n_units / 2)
		return;
	chunker->n_units -= chunker->first;
	memmove(chunker->units, chunker->units + chunker->first, chunker->n_units * sizeof *chunker->units);
	chunker->furthest -= chunker->first;
	chunker->first = 0;
}

/* Put units together to pieces: all, or as long as there are more than one piece can hold. */
static Status
pack(Chunker *chunker, bool all)
{
	while (chunker->furthest < chunker->n_units && (all || chunker->n_pending > chunker->max_tokens))
	{
		size_t first = chunker->first, end;

		STATUS_TRY(find_end(chunker, first, &end));
		if (end <= chunker->furthest)
			/* the overlap left no room after all */
			STATUS_TRY(begin_piece(chunker, chunker->furthest));
		else
		{
			write_piece(chunker, chunker->units[first].start, chunker->units[end - 1].end);
			chunker->furthest = end;
			STATUS_TRY(find_next_first(chunker, first, end, &first));
			STATUS_TRY(begin_piece(chunker, first));
		}
	}
	drop_units(chunker);
	return chunker->offsets->failed ? out_of_memory() : status_ok();
}

Status
chunk_text(Tokenizer *tokenizer, ByteSpan text, uint32_t max_tokens, uint32_t overlap, ByteWriter *offsets,
		   uint64_t *n_tokens)
{
	Chunker chunker = {
		.tokenizer = tokenizer,
		.text = text.data,
		.max_tokens = max_tokens,
		.overlap = overlap,
		.tokens = {.limit = max_tokens},
		.offsets = offsets,
	};
	Status status;

	*n_tokens = 0;
	if (max_tokens < CHUNK_MIN_TOKENS)
		return status_error(STATUS_INVALID_ARGUMENT, "max_tokens must be at least %d, not %u", CHUNK_MIN_TOKENS,
							max_tokens);
	if (overlap >= (max_tokens + 1) / 2)
		return status_error(STATUS_INVALID_ARGUMENT,
							"overlap must be between 0 and %u, less than half of max_tokens, "
							"not %u",
							(max_tokens + 1) / 2 - 1, overlap);
	status = cut(&chunker, 0, (uint32_t) text.length, 0);
	if (status.code == STATUS_OK)
		status = pack(&chunker, true);
	*n_tokens = chunker.n_tokens;
	free(chunker.units);
	token_buffer_free(&chunker.tokens);
	return status;
}
