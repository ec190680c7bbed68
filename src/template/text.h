/*
 * text.h - the strings of the template interpreter: UTF-8 that knows for every byte whether the template wrote it
 * (trusted) or it came as data.
 *
 * A Text is immutable. It is flat (bytes and the runs of them that are trusted) or a rope of two parts, made flat when
 * somebody looks inside. All operations keep the origin of every byte; what they make up themselves (digits,
 * punctuation) is data. Positions that templates see count characters, as Python's do. Memory: the workspace's arena.
 */
#ifndef QWEN_TEMPLATE_TEXT_H
#define QWEN_TEMPLATE_TEXT_H

#include "../base/bytes.h"
#include "workspace.h"

typedef struct Text
{
	const char *bytes; /* NULL: a rope, not yet flat; otherwise not NUL-terminated */
	size_t length;
	const TextRun *trusted; /* of a flat text: in order, apart from each other, not empty */
	size_t n_trusted;
	struct Text *left, *right; /* of a rope */
	uint32_t depth;            /* of a rope */
	bool safe;                 /* marked by the filter safe: + escapes what is put beside it, as Markup does */
} Text;

/* A text that grows at its end. Zero-initialize. */
typedef struct TextBuilder
{
	char *bytes;
	size_t length, capacity;
	TextRun *runs;
	size_t n_runs, runs_capacity;
} TextBuilder;

/* Append bytes of one origin. */
extern bool builder_add(Workspace *work, TextBuilder *builder, const char *bytes, size_t length, bool trusted);

/* Append made-up ASCII: always data. */
extern bool builder_add_ascii(Workspace *work, TextBuilder *builder, const char *ascii);

/* Append a whole text (rope or flat), or bytes start .. start + length of a flat one. */
extern bool builder_add_text(Workspace *work, TextBuilder *builder, const Text *text);
extern bool builder_add_slice(Workspace *work, TextBuilder *builder, const Text *flat, size_t start, size_t length);

/* The text built; the builder is spent. */
extern Text *builder_finish(Workspace *work, TextBuilder *builder);

/* A flat text over bytes that outlive it. */
extern Text *text_from_bytes(Workspace *work, const char *bytes, size_t length, bool trusted);

extern Text *text_concatenate(Workspace *work, Text *left, Text *right);
extern bool text_flatten(Workspace *work, Text *text);

/* Of flat texts: the part at bytes start .. start + length; shares the bytes. */
extern Text *text_slice(Workspace *work, const Text *flat, size_t start, size_t length);

/* True when byte position of a flat text is trusted. */
extern bool text_is_trusted(const Text *flat, size_t position);

/* Characters of a flat text, and the byte where character index begins (length when past the end). */
extern size_t text_count(const Text *flat);
extern size_t text_offset(const Text *flat, size_t index);

/* Order of two flat texts by code point: negative, 0, positive. */
extern int text_compare(const Text *left, const Text *right);
extern bool text_is(const Text *flat, const char *ascii);

/* Byte position of needle in a flat text at or after from; SIZE_MAX: none. */
extern size_t text_find(const Text *flat, const Text *needle, size_t from);

/* All of these take flat texts and return NULL after a failure. */
extern Text *text_strip(Workspace *work, const Text *flat, const Text *characters, bool at_left, bool at_right);
extern Text *text_replace(Workspace *work, const Text *flat, const Text *old_part, const Text *new_part,
						  int64_t max_count);
extern Text *text_repeat(Workspace *work, const Text *flat, int64_t n);

/* Every step-th character from index start on, n of them (Python's slice once its ends are known). */
extern Text *text_stride(Workspace *work, const Text *flat, int64_t start, int64_t step, size_t n);

/* & < > " ' as MarkupSafe writes them; the result is safe. */
extern Text *text_escape(Workspace *work, const Text *flat);

typedef enum TextCase
{
	TEXT_LOWER,
	TEXT_UPPER,
	TEXT_CAPITALIZE,  /* the first character in title case, the rest lower */
	TEXT_TITLE,       /* str.title(): a word is a run of cased characters */
	TEXT_TITLE_WORDS, /* the filter title: a word begins after spaces and - ( { [ < */
} TextCase;

/* Simple case mappings of Unicode, and the full ones of U+00DF, U+0130 and, to upper case, U+FB00 to U+FB06. */
extern Text *text_change_case(Workspace *work, const Text *flat, TextCase wanted);

/* str.isspace() of one character. */
extern bool is_space_character(uint32_t code_point);

/* The code point at byte position of well-formed text, and its bytes. */
extern uint32_t text_character(const char *bytes, size_t length, size_t position, size_t *n_bytes);

#endif
