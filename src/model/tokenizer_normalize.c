/*
 * tokenizer_normalize.c - NFC (Unicode Standard Annex 15), by utf8proc, at the price of looking at the text.
 *
 * Nearly all text is in NFC already, and nearly all characters can neither change nor change their neighbours. So
 * only stretches around other characters go through utf8proc; the rest is copied, and text without such characters is
 * not even copied. utf8proc's own sorting of combining marks takes quadratic time for long rows of them (anybody can
 * write a megabyte of accents), therefore characters are decomposed one by one, the marks are sorted here, and
 * utf8proc composes.
 */
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

#include "../base/utf8.h"
#include "tokenizer_private.h"

/* A canonical decomposition has at most 4 code points. */
#define MAX_DECOMPOSITION 4

#define BEFORE_TRAILING_CONSONANTS 0x11A7 /* of Hangul: see compose() */

/* Scratch that is kept for the next call, in entries; larger is freed after use. */
#define KEPT_CODE_POINTS ((size_t) 1 << 16)

typedef struct CodePointRange
{
	uint32_t first;
	uint32_t last;
} CodePointRange;

/*
 * Characters of much-written scripts that are inert: starters (combining class 0) that NFC leaves as they are
 * (NFC_Quick_Check=Yes), so they never join what stands before them. Unicode guarantees that this never changes for
 * an assigned character; ranges with unassigned ones are of scripts where marks cannot come in. Rising.
 */
static const CodePointRange inert_ranges[] = {
	{0x0000, 0x02FF},   /* Latin */
	{0x0388, 0x03FF},   /* Greek letters */
	{0x0400, 0x0482},   /* Cyrillic */
	{0x048A, 0x052F},   /* Cyrillic */
	{0x05D0, 0x05EA},   /* Hebrew letters */
	{0x0621, 0x064A},   /* Arabic letters */
	{0x0660, 0x066F},   /* Arabic digits */
	{0x0671, 0x06D5},   /* Arabic letters */
	{0x0904, 0x0939},   /* Devanagari letters */
	{0x0E01, 0x0E37},   /* Thai letters and vowels */
	{0x0E3F, 0x0E47},   /* Thai vowels */
	{0x1E00, 0x1EFF},   /* Latin with marks (Vietnamese) */
	{0x2010, 0x20C0},   /* punctuation, currency */
	{0x2190, 0x2328},   /* arrows, mathematics */
	{0x2460, 0x2ADB},   /* boxes, symbols, dingbats */
	{0x3000, 0x3029},   /* CJK punctuation */
	{0x3030, 0x3096},   /* Hiragana */
	{0x30A0, 0x31E5},   /* Katakana, Bopomofo, Hangul letters of the compatibility block */
	{0x3400, 0x9FFF},   /* CJK ideographs */
	{0xAC00, 0xD7A3},   /* Hangul syllables */
	{0xFE00, 0xFE0F},   /* variation selectors */
	{0xFF01, 0xFFEE},   /* full and half width forms */
	{0x1F000, 0x1FAFF}, /* emoji */
	{0x20000, 0x2A6DF}, /* CJK ideographs, extension B */
};

/*
 * Combining and composing characters younger than Unicode 9, up to Unicode 18. Hugging Face's tokenizers normalize by
 * Unicode 9, where these were unassigned: they stay as they are, and nothing is sorted or composed across them. Models
 * have learnt from that, and whichever Unicode the installed utf8proc has shall make no difference. Rising.
 */
static const CodePointRange young_ranges[] = {
	{0x5C8, 0x5C9},     {0x7FD, 0x7FD},     {0x897, 0x89F},     {0x8CA, 0x8D3},     {0x9FE, 0x9FE},
	{0xC3C, 0xC3C},     {0xD3B, 0xD3C},     {0xEBA, 0xEBA},     {0x1715, 0x1715},   {0x1ABF, 0x1AF0},
	{0x1DF6, 0x1DFA},   {0xA82C, 0xA82C},   {0x105C9, 0x105E4}, {0x10D24, 0x10D6D}, {0x10EAB, 0x10F85},
	{0x11070, 0x11070}, {0x1133B, 0x1133B}, {0x11382, 0x113D0}, {0x1145E, 0x1145E}, {0x11839, 0x1183A},
	{0x11930, 0x11A99}, {0x11D42, 0x11F42}, {0x1611E, 0x1612F}, {0x16D63, 0x16D6A}, {0x16FF0, 0x16FF1},
	{0x1D127, 0x1D128}, {0x1D250, 0x1D281}, {0x1E08F, 0x1E6F5},
};

/* Whether one of n rising ranges holds this character. */
static bool
is_in_ranges(const CodePointRange *ranges, size_t n, uint32_t code_point)
{
	size_t low = 0, high = n;

	while (low < high)
	{
		size_t middle = (low + high) / 2;

		if (code_point > ranges[middle].last)
			low = middle + 1;
		else
			high = middle;
	}
	return low < n && code_point >= ranges[low].first;
}

/* How a character takes part in normalization. */
typedef enum NormalClass
{
	NORMAL_INERT,  /* stays, joins nothing before it; may be joined by what follows */
	NORMAL_WALL,   /* stays, joins nothing and is joined by nothing */
	NORMAL_ACTIVE, /* anything else */
} NormalClass;

/* The class of a character that is not ASCII. */
static NormalClass
normal_class(uint32_t code_point)
{
	if (code_point <= 0x02FF || is_in_ranges(inert_ranges, sizeof inert_ranges / sizeof inert_ranges[0], code_point))
		return NORMAL_INERT;
	if (is_in_ranges(young_ranges, sizeof young_ranges / sizeof young_ranges[0], code_point))
		return NORMAL_WALL;
	return NORMAL_ACTIVE;
}

static Status
out_of_memory(size_t n)
{
	return status_error(STATUS_UNAVAILABLE, "out of memory for the normal form of %zu bytes of text", n);
}

/* Bytes of ASCII that text[0 .. length) begins with, eight at a time. */
static size_t
ascii_prefix(const char *text, size_t length)
{
	size_t i = 0;
	uint64_t word;

	while (i + 8 <= length)
	{
		memcpy(&word, text + i, 8);
		if (word & 0x8080808080808080u)
			break;
		i += 8;
	}
	while (i < length && (unsigned char) text[i] < 0x80)
		i++;
	return i;
}

/*
 * The next stretch that NFC may change, from offset on: it begins with an inert character (that marks may join) or
 * with the first active one, and ends before the next that is not active. False when there is none; then *stretch is
 * length.
 */
static bool
find_stretch(const char *text, size_t length, size_t offset, size_t *stretch, size_t *stretch_end)
{
	size_t previous = offset;
	bool in_stretch = false;

	while (offset < length)
	{
		size_t n_ascii = ascii_prefix(text + offset, length - offset);
		NormalClass character_class;
		int n_bytes;

		if (n_ascii > 0)
		{
			if (in_stretch)
				break;
			offset += n_ascii;
			previous = offset - 1;
			continue;
		}
		n_bytes = utf8_character_bytes(text + offset, length - offset);
		character_class = normal_class(utf8_code_point(text + offset, n_bytes));
		if (in_stretch && character_class != NORMAL_ACTIVE)
			break;
		if (character_class == NORMAL_INERT)
			previous = offset;
		else if (character_class == NORMAL_WALL)
			previous = offset + (size_t) n_bytes;
		else if (!in_stretch)
		{
			in_stretch = true;
			*stretch = previous;
		}
		offset += (size_t) n_bytes;
	}
	if (!in_stretch)
		*stretch = length;
	*stretch_end = offset;
	return in_stretch;
}

/* Make room for n code points, twice: decomposing writes the first half, sorting may use the second. */
static Status
reserve_code_points(Tokenizer *tokenizer, size_t n)
{
	int32_t *code_points;

	if (n <= tokenizer->code_points_capacity)
		return status_ok();
	n = n < 1024 ? 1024 : n;
	/* pages that nothing is written to take no memory: most characters have one code point, most rows are sorted */
	code_points = calloc(n, 2 * sizeof *code_points);
	if (!code_points)
		return out_of_memory(n);
	free(tokenizer->code_points);
	tokenizer->code_points = code_points;
	tokenizer->code_points_capacity = n;
	return status_ok();
}

/* Make room for n bytes of the result, keeping what is there. */
static Status
reserve_normalized(Tokenizer *tokenizer, size_t n)
{
	size_t capacity = tokenizer->normalized_capacity < 1024 ? 1024 : tokenizer->normalized_capacity;
	char *grown;

	if (n <= tokenizer->normalized_capacity)
		return status_ok();
	while (capacity < n)
		capacity *= 2;
	grown = realloc(tokenizer->normalized, capacity);
	if (!grown)
		return out_of_memory(n);
	tokenizer->normalized = grown;
	tokenizer->normalized_capacity = capacity;
	return status_ok();
}

/* The canonical combining class. */
static unsigned
combining_class(int32_t code_point)
{
	return (unsigned) utf8proc_get_property(code_point)->combining_class;
}

/* Sort one row of combining marks by class, keeping the order within a class (canonical ordering, UAX 15). */
static void
sort_marks(int32_t *marks, size_t n, int32_t *scratch)
{
	size_t starts[257] = {0};

	for (size_t i = 0; i < n; i++)
		starts[combining_class(marks[i]) + 1]++;
	for (size_t i = 1; i < 257; i++)
		starts[i] += starts[i - 1];
	for (size_t i = 0; i < n; i++)
		scratch[starts[combining_class(marks[i])]++] = marks[i];
	memcpy(marks, scratch, n * sizeof *marks);
}

/* Bring the marks between starters into canonical order. */
static void
order_marks(int32_t *code_points, size_t n, int32_t *scratch)
{
	size_t i = 0;

	while (i < n)
	{
		unsigned last_class = combining_class(code_points[i]);
		bool is_sorted = true;
		size_t start = i++;

		if (last_class == 0)
			continue;
		while (i < n && combining_class(code_points[i]) != 0)
		{
			is_sorted = is_sorted && last_class <= combining_class(code_points[i]);
			last_class = combining_class(code_points[i]);
			i++;
		}
		if (!is_sorted)
			sort_marks(code_points + start, i - start, scratch);
	}
}

/*
 * Compose decomposed characters in place; *n_out becomes how many are left. utf8proc (seen in 2.8) takes U+11A7, which
 * stands before the first trailing consonant of Hangul, for one, and swallows it behind a syllable. It is a starter
 * that composes with nothing, so what stands before it and what begins with it are composed each for itself.
 */
static Status
compose(int32_t *code_points, size_t n, size_t *n_out)
{
	*n_out = 0;
	for (size_t start = 0, end; start < n; start = end)
	{
		utf8proc_ssize_t n_composed;

		for (end = start + 1; end < n && code_points[end] != BEFORE_TRAILING_CONSONANTS; end++)
			;
		n_composed = utf8proc_normalize_utf32(code_points + start, (utf8proc_ssize_t) (end - start),
											  UTF8PROC_COMPOSE | UTF8PROC_STABLE);
		if (n_composed < 0 || (size_t) n_composed > end - start)
			return status_error(STATUS_INTERNAL, "utf8proc composes %zu characters into %zd", end - start,
								(ssize_t) n_composed);
		memmove(code_points + *n_out, code_points + start, (size_t) n_composed * sizeof *code_points);
		*n_out += (size_t) n_composed;
	}
	return status_ok();
}

/* Append the NFC of one stretch to the result, which has *n_out bytes. */
static Status
normalize_stretch(Tokenizer *tokenizer, const char *text, size_t length, size_t *n_out)
{
	size_t n = 0, n_composed;

	/* all but the first character have two bytes or more */
	STATUS_TRY(reserve_code_points(tokenizer, (length / 2 + 1) * MAX_DECOMPOSITION));
	for (size_t i = 0; i < length;)
	{
		int n_bytes = utf8_character_bytes(text + i, length - i);
		utf8proc_ssize_t n_new =
			utf8proc_decompose_char((utf8proc_int32_t) utf8_code_point(text + i, n_bytes), tokenizer->code_points + n,
									MAX_DECOMPOSITION, UTF8PROC_DECOMPOSE | UTF8PROC_STABLE, NULL);

		if (n_new < 0 || n_new > MAX_DECOMPOSITION)
			return status_error(STATUS_INTERNAL, "utf8proc decomposes a character into %zd", (ssize_t) n_new);
		n += (size_t) n_new;
		i += (size_t) n_bytes;
	}
	order_marks(tokenizer->code_points, n, tokenizer->code_points + tokenizer->code_points_capacity);
	STATUS_TRY(compose(tokenizer->code_points, n, &n_composed));
	STATUS_TRY(reserve_normalized(tokenizer, *n_out + n_composed * 4));
	for (size_t i = 0; i < n_composed; i++)
		*n_out += (size_t) utf8_write((uint32_t) tokenizer->code_points[i], tokenizer->normalized + *n_out);
	return status_ok();
}

/* Append text that is as it should be to the result, which has *n_out bytes. */
static Status
copy_unchanged(Tokenizer *tokenizer, const char *text, size_t length, size_t *n_out)
{
	if (length == 0)
		return status_ok();
	STATUS_TRY(reserve_normalized(tokenizer, *n_out + length));
	memcpy(tokenizer->normalized + *n_out, text, length);
	*n_out += length;
	return status_ok();
}

void
tokenizer_release_normalized(Tokenizer *tokenizer)
{
	if (tokenizer->code_points_capacity > KEPT_CODE_POINTS)
	{
		free(tokenizer->code_points);
		tokenizer->code_points = NULL;
		tokenizer->code_points_capacity = 0;
	}
	if (tokenizer->normalized_capacity > KEPT_CODE_POINTS)
	{
		free(tokenizer->normalized);
		tokenizer->normalized = NULL;
		tokenizer->normalized_capacity = 0;
	}
}

Status
tokenizer_normalize(Tokenizer *tokenizer, const char *text, size_t length, const char **normalized,
					size_t *normalized_length)
{
	size_t copied = 0, n_out = 0;
	size_t stretch, stretch_end;

	*normalized = text;
	*normalized_length = length;
	if (!tokenizer->normalizes || !find_stretch(text, length, 0, &stretch, &stretch_end))
		return status_ok();

	do
	{
		STATUS_TRY(tokenizer_check_cancel(tokenizer));
		STATUS_TRY(copy_unchanged(tokenizer, text + copied, stretch - copied, &n_out));
		STATUS_TRY(normalize_stretch(tokenizer, text + stretch, stretch_end - stretch, &n_out));
		copied = stretch_end;
	} while (find_stretch(text, length, copied, &stretch, &stretch_end));

	STATUS_TRY(copy_unchanged(tokenizer, text + copied, length - copied, &n_out));
	*normalized = tokenizer->normalized;
	*normalized_length = n_out;
	return status_ok();
}
