/*
 * call_grammar.h - random answers with calls of tools in them, whole and broken, for the tests that hold that nothing
 * disappears: every word that can be told from all others (w17x, and numbers like 9000017) stands once in what comes
 * out.
 */
#ifndef QWEN_TEST_CALL_GRAMMAR_H
#define QWEN_TEST_CALL_GRAMMAR_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GRAMMAR_BYTES 4096
#define GRAMMAR_WORDS 512

/* Tools whose parameters have all kinds of types. */
static const char grammar_tools[] =
	"[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"type\":\"object\",\"properties\":{"
	"\"n\":{\"type\":\"integer\"},\"s\":{\"type\":\"string\"},\"b\":{\"type\":\"boolean\"},\"r\":{\"type\":\"number\"},"
	"\"u\":{\"anyOf\":[{\"type\":\"integer\"},{\"type\":\"null\"}]},\"a\":{\"type\":\"array\",\"items\":{\"type\":"
	"\"integer\"}},\"o\":{\"$ref\":\"#/$defs/O\"},\"l\":{\"type\":[\"string\",\"null\"]}},"
	"\"$defs\":{\"O\":{\"type\":\"object\",\"properties\":{\"n\":{\"type\":\"integer\"}}}}}}},"
	"{\"name\":\"g\",\"parameters\":{\"type\":\"object\",\"properties\":{\"n\":{\"enum\":[1,2]}}}}]";

typedef struct Grammar
{
	uint64_t seed;
	char text[GRAMMAR_BYTES];
	unsigned n_words;
} Grammar;

static inline unsigned
grammar_random(Grammar *grammar, unsigned n)
{
	grammar->seed = grammar->seed * 6364136223846793005u + 1442695040888963407u;
	return (unsigned) (grammar->seed >> 33) % n;
}

static inline void
grammar_add(Grammar *grammar, const char *text)
{
	size_t length = strlen(grammar->text);

	if (length + strlen(text) < sizeof grammar->text / 2)
		memcpy(grammar->text + length, text, strlen(text) + 1);
}

static inline void
grammar_pick(Grammar *grammar, const char *const *choices, unsigned n)
{
	grammar_add(grammar, choices[grammar_random(grammar, n)]);
}
#define GRAMMAR_PICK(grammar, ...)                                                                                     \
	grammar_pick(grammar, (const char *const[]){__VA_ARGS__},                                                          \
				 sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

/* A word, or a number, that stands nowhere else. */
static inline void
grammar_word(Grammar *grammar)
{
	char word[32];

	snprintf(word, sizeof word, "w%ux", ++grammar->n_words);
	grammar_add(grammar, word);
}

static inline void
grammar_number(Grammar *grammar)
{
	char number[64];

	snprintf(number, sizeof number, "%s%u%s", grammar_random(grammar, 5) ? "" : "-", 9000000 + ++grammar->n_words,
			 (const char *const[]){"", "", "", ".5", ".12345678901234567890", "e3",
								   "0000000000000000000"}[grammar_random(grammar, 7)]);
	grammar_add(grammar, number);
}

/* Words with tags and brackets among them. */
static inline void
grammar_prose(Grammar *grammar)
{
	for (unsigned n = grammar_random(grammar, 4) + 1; n > 0; n--)
	{
		grammar_word(grammar);
		if (grammar_random(grammar, 4) == 0)
			GRAMMAR_PICK(grammar, " <tool_call> ", " </tool_call> ", " <function=f> ", "</function>",
						 "\n<parameter=n>\n", "</parameter>", "<b>", "{", "}", "\"", "'", " < ", "<|", ", ", "\\",
						 "<tool_call", "\n\n", "é", "<function=");
		else
			grammar_add(grammar, " ");
	}
}

/* A JSON value, more or less. */
static inline void
grammar_value(Grammar *grammar, unsigned depth)
{
	unsigned kind = grammar_random(grammar, depth < 3 ? 10 : 7);

	if (kind < 3)
	{
		const char *quote = grammar_random(grammar, 6) ? "\"" : "'";

		grammar_add(grammar, quote);
		grammar_word(grammar);
		GRAMMAR_PICK(grammar, "", "", "", " </tool_call> ", "<parameter=s>", "\\n", "\n", "\\d", "\\u00e9", "\\\"",
					 " </function>\n</tool_call>", "\t");
		if (grammar_random(grammar, 2))
			grammar_word(grammar);
		grammar_add(grammar, quote);
	}
	else if (kind < 5)
		grammar_number(grammar);
	else if (kind < 7)
		GRAMMAR_PICK(grammar, "true", "null", "True", "None", "\"5\"", "\"true\"", "{}", "[]", "1.50");
	else
	{
		bool is_object = kind > 7;

		grammar_add(grammar, is_object ? "{" : "[");
		for (unsigned n = grammar_random(grammar, 4); n > 0; n--)
		{
			if (is_object)
			{
				grammar_add(grammar, "\"");
				grammar_word(grammar);
				grammar_add(grammar, "\": ");
			}
			grammar_value(grammar, depth + 1);
			grammar_add(grammar, n > 1 ? ", " : grammar_random(grammar, 8) ? "" : ",");
		}
		grammar_add(grammar, is_object ? "}" : "]");
	}
}

/* A key that the tools know, or a new one. */
static inline void
grammar_key(Grammar *grammar)
{
	if (grammar_random(grammar, 4))
		GRAMMAR_PICK(grammar, "n", "s", "b", "r", "u", "a", "o", "l");
	else
		grammar_word(grammar);
}

static inline void
grammar_name(Grammar *grammar)
{
	if (grammar_random(grammar, 5))
		GRAMMAR_PICK(grammar, "f", "f", "g");
	else
		grammar_word(grammar);
}

static inline void
grammar_json_call(Grammar *grammar)
{
	GRAMMAR_PICK(grammar, "{\"name\": \"", "{\"name\": \"", "{\"name\": \"", "{\"id\": 1, \"name\":\"",
				 "{\"type\": \"function\", \"name\": \"");
	grammar_name(grammar);
	GRAMMAR_PICK(grammar, "\", \"arguments\": ", "\", \"arguments\": ", "\", \"parameters\": ", "\", \"args\": ",
				 "\", \"arguments\" ");
	if (grammar_random(grammar, 8) == 0)
		grammar_value(grammar, 0);
	else
	{
		grammar_add(grammar, "{");
		for (unsigned n = grammar_random(grammar, 4); n > 0; n--)
		{
			grammar_add(grammar, "\"");
			grammar_key(grammar);
			grammar_add(grammar, "\": ");
			grammar_value(grammar, 1);
			grammar_add(grammar, n > 1 ? ", " : "");
		}
		grammar_add(grammar, "}");
	}
	if (grammar_random(grammar, 8) == 0)
	{
		grammar_add(grammar, ", \"note\": \"");
		grammar_word(grammar);
		grammar_add(grammar, "\"");
	}
	GRAMMAR_PICK(grammar, "}", "}", "}", "}", "", "}}");
}

static inline void
grammar_tag_call(Grammar *grammar)
{
	grammar_add(grammar, "<function=");
	grammar_name(grammar);
	GRAMMAR_PICK(grammar, ">\n", ">\n", ">\n", ">", "\n");
	if (grammar_random(grammar, 15) == 0)
		grammar_prose(grammar);
	for (unsigned n = grammar_random(grammar, 4); n > 0; n--)
	{
		grammar_add(grammar, "<parameter=");
		grammar_key(grammar);
		grammar_add(grammar, ">\n");
		if (grammar_random(grammar, 3) == 0)
			grammar_prose(grammar);
		else if (grammar_random(grammar, 12) == 0)
			grammar_tag_call(grammar);
		else
			grammar_value(grammar, 1);
		GRAMMAR_PICK(grammar, "\n</parameter>\n", "\n</parameter>\n", "\n</parameter>\n", "</parameter>", "\n", "");
	}
	GRAMMAR_PICK(grammar, "</function>", "</function>", "</function>", "</function>", "\n");
}

/* Break it: take out, double or move a few bytes, or cut the end off. ASCII only, so that characters stay whole. */
static inline void
grammar_break(Grammar *grammar)
{
	size_t length = strlen(grammar->text), at, n;

	if (length < 2)
		return;
	at = grammar_random(grammar, (unsigned) length);
	n = 1 + grammar_random(grammar, 12);
	if (at + n > length)
		n = length - at;
	for (size_t i = at; i < at + n; i++)
		if (grammar->text[i] & 0x80)
			return;
	switch (grammar_random(grammar, 3))
	{
		case 0:
			memmove(grammar->text + at, grammar->text + at + n, length - at - n + 1);
			break;
		case 1:
			memmove(grammar->text + at + n, grammar->text + at, length - at + 1);
			break;
		default:
			if (!(grammar->text[at] & 0x80))
				grammar->text[at] = '\0';
	}
}

/* A whole answer into grammar->text. */
static inline void
grammar_answer(Grammar *grammar, uint64_t seed)
{
	grammar->seed = seed;
	grammar->n_words = 0;
	grammar->text[0] = '\0';
	for (int i = 0; i < 4; i++)
		(void) grammar_random(grammar, 2);
	for (unsigned n = 1 + grammar_random(grammar, 3); n > 0; n--)
	{
		if (grammar_random(grammar, 2))
			grammar_prose(grammar);
		GRAMMAR_PICK(grammar, "<tool_call>\n", "<tool_call>\n", "<tool_call>\n", "<tool_call>", "\n", "<tool_call>[");
		for (unsigned calls = 1 + (grammar_random(grammar, 5) == 0); calls > 0; calls--)
			if (grammar_random(grammar, 2))
				grammar_json_call(grammar);
			else
				grammar_tag_call(grammar);
		GRAMMAR_PICK(grammar, "\n</tool_call>", "\n</tool_call>", "\n</tool_call>", "</tool_call>", "", "\n",
					 "]</tool_call>");
		if (grammar_random(grammar, 3) == 0)
			grammar_prose(grammar);
	}
	for (unsigned n = grammar_random(grammar, 4); n > 1; n--)
		grammar_break(grammar);
}

/* The words of a text: where the next one begins from at on, and its length; 0: there is none. */
static inline size_t
grammar_next_word(const char *text, size_t length, size_t *at)
{
	for (; *at < length; ++*at)
	{
		size_t end = *at + 1;

		if (text[*at] != 'w' && text[*at] != '9')
			continue;
		while (end < length && text[end] >= '0' && text[end] <= '9')
			end++;
		if (text[*at] == 'w' && end > *at + 1 && end < length && text[end] == 'x')
			return end + 1 - *at;
		if (text[*at] == '9' && end - *at >= 7)
			return end - *at;
	}
	return 0;
}

typedef struct GrammarWords
{
	struct
	{
		const char *text;
		size_t length;
	} words[GRAMMAR_WORDS];
	size_t n;
} GrammarWords;

static inline void
grammar_collect(GrammarWords *words, const char *text, size_t length)
{
	size_t at = 0, n;

	while (words->n < GRAMMAR_WORDS && (n = grammar_next_word(text, length, &at)) > 0)
	{
		words->words[words->n].text = text + at;
		words->words[words->n++].length = n;
		at += n;
	}
}

static inline int
grammar_compare(const void *left, const void *right)
{
	const char *const *a = left, *const *b = right;
	size_t a_bytes = *(const size_t *) (a + 1), b_bytes = *(const size_t *) (b + 1);
	int order = memcmp(*a, *b, a_bytes < b_bytes ? a_bytes : b_bytes);

	return order ? order : a_bytes < b_bytes ? -1 : a_bytes > b_bytes;
}

/* Do content and calls together have the answer's words, each as often? */
static inline bool
grammar_all_there(const char *answer, size_t length, const char *content, size_t content_bytes, const char *calls,
				  size_t calls_bytes)
{
	static GrammarWords wanted, found;

	wanted.n = found.n = 0;
	grammar_collect(&wanted, answer, length);
	grammar_collect(&found, content, content_bytes);
	grammar_collect(&found, calls, calls_bytes);
	if (wanted.n != found.n)
		return false;
	qsort(wanted.words, wanted.n, sizeof wanted.words[0], grammar_compare);
	qsort(found.words, found.n, sizeof found.words[0], grammar_compare);
	for (size_t i = 0; i < wanted.n; i++)
		if (wanted.words[i].length != found.words[i].length ||
			memcmp(wanted.words[i].text, found.words[i].text, wanted.words[i].length) != 0)
			return false;
	return true;
}

#endif
