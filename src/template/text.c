/*
 * text.c - strings that know where each of their bytes came from; see text.h.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memmem */
#endif

#include "text.h"

#include "../base/utf8.h"

#include <string.h>
#include <unicode/uchar.h>
#include <unicode/ustring.h>

#define MAX_ROPE_DEPTH 200
#define CASE_BYTES 16
#define CAPITAL_SIGMA 0x3A3
#define FINAL_SIGMA 0x3C2
#define MAX_IGNORABLE 64
#define TITLE_STEPS 100 /* of a character that ICU may open an iterator for */

uint32_t
text_character(const char *bytes, size_t length, size_t position, size_t *n_bytes)
{
	int n = utf8_character_bytes(bytes + position, length - position);

	if (n <= 0)
	{
		*n_bytes = 1;
		return 0xFFFD;
	}
	*n_bytes = (size_t) n;
	return utf8_code_point(bytes + position, n);
}

/* Make room for more bytes; refuses texts over the limit. */
static bool
builder_reserve(Workspace *work, TextBuilder *builder, size_t more)
{
	size_t capacity = builder->capacity ? builder->capacity * 2 : 64;
	char *bytes;

	if (more > TEMPLATE_MAX_TEXT_BYTES - builder->length)
		return workspace_fail(work, STATUS_TOO_LONG, "a text is longer than %zu MiB", TEMPLATE_MAX_TEXT_BYTES >> 20);
	if (more <= builder->capacity - builder->length)
		return true;
	if (capacity < builder->length + more)
		capacity = builder->length + more;
	if (!workspace_step(work, capacity / 256))
		return false;
	bytes = workspace_alloc(work, capacity, 1);
	if (!bytes)
		return false;
	if (builder->length)
		/* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): it has bytes where it has a length */
		memcpy(bytes, builder->bytes, builder->length);
	builder->bytes = bytes;
	builder->capacity = capacity;
	return true;
}

/* Note that the last length bytes are trusted, joining them to a run that ends where they begin. */
static bool
builder_trust(Workspace *work, TextBuilder *builder, size_t length)
{
	size_t start = builder->length - length;
	TextRun *last = builder->n_runs ? &builder->runs[builder->n_runs - 1] : NULL;

	if (last && last->start + last->length == start)
	{
		last->length += length;
		return true;
	}
	if (builder->n_runs == builder->runs_capacity)
	{
		size_t capacity = builder->runs_capacity ? builder->runs_capacity * 2 : 4;
		TextRun *runs = workspace_alloc(work, capacity, sizeof *runs);

		if (!runs)
			return false;
		if (builder->n_runs)
			/* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): there are runs */
			memcpy(runs, builder->runs, builder->n_runs * sizeof *runs);
		builder->runs = runs;
		builder->runs_capacity = capacity;
	}
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): there is room for one */
	builder->runs[builder->n_runs++] = (TextRun){start, length};
	return true;
}

bool
builder_add(Workspace *work, TextBuilder *builder, const char *bytes, size_t length, bool trusted)
{
	if (length == 0)
		return true;
	if (!builder_reserve(work, builder, length))
		return false;
	/* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): room was reserved */
	memcpy(builder->bytes + builder->length, bytes, length);
	builder->length += length;
	return !trusted || builder_trust(work, builder, length);
}

bool
builder_add_ascii(Workspace *work, TextBuilder *builder, const char *ascii)
{
	return builder_add(work, builder, ascii, strlen(ascii), false);
}

/* Index of the first trusted run that ends after position. */
static size_t
first_run_after(const Text *flat, size_t position)
{
	size_t low = 0, high = flat->n_trusted;

	while (low < high)
	{
		size_t middle = low + (high - low) / 2;

		if (flat->trusted[middle].start + flat->trusted[middle].length <= position)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

bool
builder_add_slice(Workspace *work, TextBuilder *builder, const Text *flat, size_t start, size_t length)
{
	size_t end = start + length;
	size_t position = start;

	for (size_t i = first_run_after(flat, start); position < end; i++)
	{
		bool has_run = i < flat->n_trusted && flat->trusted[i].start < end;
		size_t run_start = has_run ? flat->trusted[i].start : end;
		size_t run_end = has_run ? run_start + flat->trusted[i].length : end;

		if (run_start < position)
			run_start = position;
		if (run_end > end)
			run_end = end;
		if (!builder_add(work, builder, flat->bytes + position, run_start - position, false) ||
			!builder_add(work, builder, flat->bytes + run_start, run_end - run_start, true))
			return false;
		position = run_end;
	}
	return true;
}

/* Recursion is bounded by MAX_ROPE_DEPTH. */
bool
builder_add_text(Workspace *work, TextBuilder *builder, const Text *text)
{
	if (text->bytes)
		return builder_add_slice(work, builder, text, 0, text->length);
	return builder_add_text(work, builder, text->left) && builder_add_text(work, builder, text->right);
}

Text *
builder_finish(Workspace *work, TextBuilder *builder)
{
	Text *text = workspace_alloc(work, 1, sizeof *text);

	if (!text)
		return NULL;
	text->bytes = builder->bytes ? builder->bytes : "";
	text->length = builder->length;
	text->trusted = builder->runs;
	text->n_trusted = builder->n_runs;
	memset(builder, 0, sizeof *builder);
	return text;
}

Text *
text_from_bytes(Workspace *work, const char *bytes, size_t length, bool trusted)
{
	Text *text = workspace_alloc(work, 1, sizeof *text);

	if (!text)
		return NULL;
	text->bytes = length ? bytes : "";
	text->length = length;
	if (trusted && length)
	{
		TextRun *run = workspace_alloc(work, 1, sizeof *run);

		if (!run)
			return NULL;
		*run = (TextRun){0, length};
		text->trusted = run;
		text->n_trusted = 1;
	}
	return text;
}

Text *
text_concatenate(Workspace *work, Text *left, Text *right)
{
	Text *text;

	if (right->length > TEMPLATE_MAX_TEXT_BYTES - left->length)
	{
		workspace_fail(work, STATUS_TOO_LONG, "a text is longer than %zu MiB", TEMPLATE_MAX_TEXT_BYTES >> 20);
		return NULL;
	}
	text = workspace_alloc(work, 1, sizeof *text);
	if (!text)
		return NULL;
	text->left = left;
	text->right = right;
	text->length = left->length + right->length;
	text->depth = 1 + (left->depth > right->depth ? left->depth : right->depth);
	if (text->depth >= MAX_ROPE_DEPTH && !text_flatten(work, text))
		return NULL;
	return text;
}

bool
text_flatten(Workspace *work, Text *text)
{
	TextBuilder builder = {0};

	if (text->bytes)
		return true;
	if (!builder_reserve(work, &builder, text->length) || !builder_add_text(work, &builder, text))
		return false;
	text->bytes = builder.bytes ? builder.bytes : "";
	text->trusted = builder.runs;
	text->n_trusted = builder.n_runs;
	text->left = text->right = NULL;
	text->depth = 0;
	return true;
}

Text *
text_slice(Workspace *work, const Text *flat, size_t start, size_t length)
{
	Text *text = text_from_bytes(work, flat->bytes + start, length, false);
	size_t first = first_run_after(flat, start);
	size_t n = 0;
	TextRun *runs;

	if (!text)
		return NULL;
	text->safe = flat->safe;
	if (length == 0)
		return text;
	while (first + n < flat->n_trusted && flat->trusted[first + n].start < start + length)
		n++;
	if (n == 0)
		return text;
	if (!workspace_step(work, n / 16))
		return NULL;
	runs = workspace_alloc(work, n, sizeof *runs);
	if (!runs)
		return NULL;
	for (size_t i = 0; i < n; i++)
	{
		TextRun run = flat->trusted[first + i];
		size_t run_start = run.start > start ? run.start : start;
		size_t run_end = run.start + run.length < start + length ? run.start + run.length : start + length;

		runs[i] = (TextRun){run_start - start, run_end - run_start};
	}
	text->trusted = runs;
	text->n_trusted = n;
	return text;
}

bool
text_is_trusted(const Text *flat, size_t position)
{
	size_t i = first_run_after(flat, position);

	return i < flat->n_trusted && flat->trusted[i].start <= position;
}

size_t
text_count(const Text *flat)
{
	size_t n = 0;

	for (size_t i = 0; i < flat->length; i++)
		n += ((unsigned char) flat->bytes[i] & 0xC0) != 0x80;
	return n;
}

size_t
text_offset(const Text *flat, size_t index)
{
	for (size_t i = 0; i < flat->length; i++)
		if (((unsigned char) flat->bytes[i] & 0xC0) != 0x80 && index-- == 0)
			return i;
	return flat->length;
}

int
text_compare(const Text *left, const Text *right)
{
	size_t common = left->length < right->length ? left->length : right->length;
	int order = common ? memcmp(left->bytes, right->bytes, common) : 0;

	if (order)
		return order;
	return (left->length > right->length) - (left->length < right->length);
}

bool
text_is(const Text *flat, const char *ascii)
{
	return flat->length == strlen(ascii) && memcmp(flat->bytes, ascii, flat->length) == 0;
}

size_t
text_find(const Text *flat, const Text *needle, size_t from)
{
	const char *found;

	if (needle->length > flat->length - from)
		return SIZE_MAX;
	if (needle->length == 0)
		return from;
	found = memmem(flat->bytes + from, flat->length - from, needle->bytes, needle->length);
	return found ? (size_t) (found - flat->bytes) : SIZE_MAX;
}

bool
is_space_character(uint32_t code_point)
{
	return (code_point >= 9 && code_point <= 13) || (code_point >= 28 && code_point <= 32) || code_point == 0x85 ||
		   code_point == 0xA0 || code_point == 0x1680 || (code_point >= 0x2000 && code_point <= 0x200A) ||
		   code_point == 0x2028 || code_point == 0x2029 || code_point == 0x202F || code_point == 0x205F ||
		   code_point == 0x3000;
}

/* Is this character among those to strip (NULL: white space)? */
static bool
is_among(const Text *characters, uint32_t code_point)
{
	size_t n_bytes;

	if (!characters)
		return is_space_character(code_point);
	for (size_t i = 0; i < characters->length; i += n_bytes)
		if (text_character(characters->bytes, characters->length, i, &n_bytes) == code_point)
			return true;
	return false;
}

Text *
text_strip(Workspace *work, const Text *flat, const Text *characters, bool at_left, bool at_right)
{
	size_t start = 0, end = flat->length, n_bytes;

	while (at_left && start < end && is_among(characters, text_character(flat->bytes, end, start, &n_bytes)))
		start += n_bytes;
	while (at_right && end > start)
	{
		size_t last = end - 1;

		while (last > start && ((unsigned char) flat->bytes[last] & 0xC0) == 0x80)
			last--;
		if (!is_among(characters, text_character(flat->bytes, end, last, &n_bytes)))
			break;
		end = last;
	}
	if (!workspace_step(work, (flat->length - (end - start)) * (1 + (characters ? characters->length : 0)) / 64))
		return NULL;
	return text_slice(work, flat, start, end - start);
}

/* str.replace with an empty first argument: the new part before every character and at the end. */
static Text *
replace_between(Workspace *work, const Text *flat, const Text *new_part, int64_t max_count)
{
	TextBuilder builder = {0};
	size_t position = 0, n_bytes = 0;

	for (int64_t n = 0; n < max_count || max_count < 0; n++)
	{
		if (!workspace_step(work, 1) || !builder_add_text(work, &builder, new_part))
			return NULL;
		if (position == flat->length)
			break;
		text_character(flat->bytes, flat->length, position, &n_bytes);
		if (!builder_add_slice(work, &builder, flat, position, n_bytes))
			return NULL;
		position += n_bytes;
	}
	if (!builder_add_slice(work, &builder, flat, position, flat->length - position))
		return NULL;
	return builder_finish(work, &builder);
}

Text *
text_replace(Workspace *work, const Text *flat, const Text *old_part, const Text *new_part, int64_t max_count)
{
	TextBuilder builder = {0};
	size_t position = 0;

	if (old_part->length == 0)
		return replace_between(work, flat, new_part, max_count);
	if (!workspace_step(work, flat->length / 256))
		return NULL;
	for (int64_t n = 0; n < max_count || max_count < 0; n++)
	{
		size_t found = text_find(flat, old_part, position);

		if (found == SIZE_MAX)
			break;
		if (!workspace_step(work, 8) || !builder_add_slice(work, &builder, flat, position, found - position) ||
			!builder_add_text(work, &builder, new_part))
			return NULL;
		position = found + old_part->length;
	}
	if (!builder_add_slice(work, &builder, flat, position, flat->length - position))
		return NULL;
	return builder_finish(work, &builder);
}

Text *
text_repeat(Workspace *work, const Text *flat, int64_t n)
{
	TextBuilder builder = {0};

	if (n > 0 && flat->length > 0 && (uint64_t) n > TEMPLATE_MAX_TEXT_BYTES / flat->length)
	{
		workspace_fail(work, STATUS_TOO_LONG, "a text is longer than %zu MiB", TEMPLATE_MAX_TEXT_BYTES >> 20);
		return NULL;
	}
	for (int64_t i = 0; i < n && flat->length > 0; i++)
		if (!workspace_step(work, 1) || !builder_add_text(work, &builder, flat))
			return NULL;
	return builder_finish(work, &builder);
}

Text *
text_stride(Workspace *work, const Text *flat, int64_t start, int64_t step, size_t n)
{
	TextBuilder builder = {0};
	size_t count = text_count(flat);
	size_t *offsets;

	if (!workspace_step(work, 1 + flat->length / 64 + (step == 1 ? 0 : n)))
		return NULL;
	if (n == 0)
		return text_from_bytes(work, "", 0, false);
	if (step == 1)
	{
		size_t from = text_offset(flat, (size_t) start);

		return text_slice(work, flat, from, text_offset(flat, (size_t) start + n) - from);
	}
	offsets = workspace_alloc(work, count + 1, sizeof *offsets);
	if (!offsets)
		return NULL;
	for (size_t i = 0, k = 0; i < flat->length; i++)
		if (((unsigned char) flat->bytes[i] & 0xC0) != 0x80)
			offsets[k++] = i;
	offsets[count] = flat->length;
	for (size_t k = 0; k < n; k++)
	{
		size_t index = (size_t) (start + (int64_t) k * step);

		if (!builder_add_slice(work, &builder, flat, offsets[index], offsets[index + 1] - offsets[index]))
			return NULL;
	}
	return builder_finish(work, &builder);
}

Text *
text_escape(Workspace *work, const Text *flat)
{
	TextBuilder builder = {0};
	Text *text;
	size_t done = 0;

	for (size_t i = 0; i < flat->length; i++)
	{
		char c = flat->bytes[i];
		const char *name = c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '"' ? "&#34;" : NULL;

		if (c == '\'')
			name = "&#39;";
		if (!name)
			continue;
		if (!builder_add_slice(work, &builder, flat, done, i - done) || !builder_add_ascii(work, &builder, name))
			return NULL;
		done = i + 1;
	}
	if (!builder_add_slice(work, &builder, flat, done, flat->length - done))
		return NULL;
	text = builder_finish(work, &builder);
	if (text)
		text->safe = true;
	return text;
}

/*
 * What one character becomes, by Unicode's full mappings ("ß" to "SS"), in out (room for CASE_BYTES); returns its
 * bytes. ICU's titles come with an iterator over words, which takes long: only for what becomes several characters.
 */
static int
change_character(uint32_t code_point, TextCase wanted, char *out)
{
	UErrorCode error = U_ZERO_ERROR;
	UChar from[2], to[CASE_BYTES];
	int32_t n_from = 0, n_to, n_bytes = 0;

	if (code_point < 128)
	{
		bool is_letter = (code_point | 32) >= 'a' && (code_point | 32) <= 'z';

		out[0] = (char) (!is_letter ? code_point : wanted == TEXT_LOWER ? code_point | 32 : code_point & ~32U);
		return 1;
	}
	U16_APPEND_UNSAFE(from, n_from, code_point);
	if (wanted == TEXT_LOWER)
		n_to = u_strToLower(to, CASE_BYTES, from, n_from, "", &error);
	else
		n_to = u_strToUpper(to, CASE_BYTES, from, n_from, "", &error);
	if (wanted != TEXT_LOWER && wanted != TEXT_UPPER)
	{
		UChar32 simple = u_totitle((UChar32) code_point);

		if (U_SUCCESS(error) && simple == (UChar32) code_point && n_to > n_from)
			n_to = u_strToTitle(to, CASE_BYTES, from, n_from, NULL, "", &error);
		else
			return utf8_write((uint32_t) simple, out);
	}
	u_strToUTF8(out, CASE_BYTES, &n_bytes, to, n_to, &error);
	return U_SUCCESS(error) ? n_bytes : utf8_write(code_point, out);
}

/* Does a character have case? */
static bool
is_cased(uint32_t code_point)
{
	return u_hasBinaryProperty((UChar32) code_point, UCHAR_CASED);
}

/*
 * Does a capital sigma at a position become a final one: behind a letter with case, but not one before start, and not
 * before one? What Unicode calls case-ignorable may stand between, MAX_IGNORABLE characters of it.
 */
static bool
is_final_sigma(const Text *flat, size_t start, size_t position)
{
	size_t before = position, after = position + 2, n_bytes;
	uint32_t code_point;
	bool cased = false;

	for (int i = 0; before > start && i < MAX_IGNORABLE && !cased; i++)
	{
		do
			before--;
		while (before > start && ((unsigned char) flat->bytes[before] & 0xC0) == 0x80);
		code_point = text_character(flat->bytes, flat->length, before, &n_bytes);
		if (u_hasBinaryProperty((UChar32) code_point, UCHAR_CASE_IGNORABLE))
			continue;
		if (!is_cased(code_point))
			return false;
		cased = true;
	}
	if (!cased)
		return false;
	for (int i = 0; after < flat->length && i < MAX_IGNORABLE; i++, after += n_bytes)
	{
		code_point = text_character(flat->bytes, flat->length, after, &n_bytes);
		if (!u_hasBinaryProperty((UChar32) code_point, UCHAR_CASE_IGNORABLE))
			return !is_cased(code_point);
	}
	return true;
}

/* Does the next character begin a word, after this one? */
static bool
begins_word(uint32_t previous, TextCase wanted)
{
	if (wanted == TEXT_TITLE)
		return !is_cased(previous);
	if (wanted == TEXT_TITLE_WORDS)
		return is_space_character(previous) || (previous < 128 && previous && strchr("-({[<", (int) previous));
	return false;
}

Text *
text_change_case(Workspace *work, const Text *flat, TextCase wanted)
{
	TextBuilder builder = {0};
	Text *text;
	bool at_start = true;
	size_t n_bytes, word = 0;

	if (!workspace_step(work, flat->length / 4))
		return NULL;
	for (size_t i = 0; i < flat->length; i += n_bytes)
	{
		uint32_t code_point = text_character(flat->bytes, flat->length, i, &n_bytes);
		TextCase now = wanted;
		char out[CASE_BYTES];
		int length;

		if (wanted == TEXT_TITLE_WORDS)
			now = at_start ? TEXT_UPPER : TEXT_LOWER;
		else if (wanted != TEXT_UPPER)
			now = at_start && wanted != TEXT_LOWER ? TEXT_CAPITALIZE : TEXT_LOWER;
		if (now == TEXT_LOWER && code_point == CAPITAL_SIGMA && is_final_sigma(flat, word, i))
			code_point = FINAL_SIGMA;
		/* the filter title sees a word's first character apart from the others */
		if (wanted == TEXT_TITLE_WORDS && at_start)
			word = i + n_bytes;
		if (now == TEXT_CAPITALIZE && code_point > 127 && !workspace_step(work, TITLE_STEPS))
			return NULL;
		length = change_character(code_point, now, out);
		if (!builder_add(work, &builder, out, (size_t) length, text_is_trusted(flat, i)))
			return NULL;
		at_start = begins_word(code_point, wanted);
	}
	text = builder_finish(work, &builder);
	if (text)
		text->safe = flat->safe;
	return text;
}
