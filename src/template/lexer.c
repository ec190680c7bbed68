/*
 * lexer.c - cuts a template into tokens; see lexer.h.
 *
 * The rules are those of Jinja 3.1 (its documentation, "White Space Control") with trim_blocks, lstrip_blocks and
 * without keep_trailing_newline: "-" beside a tag strips all white space there, "+" keeps it; otherwise the blanks
 * before a block or comment that begins its line go, and so does the line end right after it.
 */
#include "lexer.h"

#include "../base/utf8.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define MAX_BRACKETS 256

typedef struct Lexer
{
	Workspace *work;
	const char *source;
	size_t length;
	size_t position;
	uint32_t line;
	bool line_starting; /* what was read last ends with a line end */
	char brackets[MAX_BRACKETS];
	size_t n_brackets;
	Token *tokens;
	size_t n_tokens, capacity;
} Lexer;

/* The character at position + ahead, or NUL past the end. */
static char
peek(const Lexer *lexer, size_t ahead)
{
	size_t at = lexer->position + ahead;

	return at < lexer->length ? lexer->source[at] : '\0';
}

/* Does the source go on with these characters at a position? */
static bool
is_at(const Lexer *lexer, size_t position, const char *wanted)
{
	size_t length = strlen(wanted);

	return position <= lexer->length && length <= lexer->length - position &&
		   memcmp(lexer->source + position, wanted, length) == 0;
}

/* The position after the white space that begins at position. */
static size_t
skip_spaces(const Lexer *lexer, size_t position)
{
	size_t n_bytes;

	while (position < lexer->length &&
		   is_space_character(text_character(lexer->source, lexer->length, position, &n_bytes)))
		position += n_bytes;
	return position;
}

/* A failure at the present line: the template is no template. */
static bool
fail_at(Lexer *lexer, const char *what)
{
	lexer->work->line = lexer->line;
	return workspace_fail(lexer->work, STATUS_INVALID_ARGUMENT, "%s", what);
}

/* Go on to position, counting lines. */
static void
advance(Lexer *lexer, size_t position)
{
	for (size_t i = lexer->position; i < position; i++)
		lexer->line += lexer->source[i] == '\n';
	if (position > lexer->position)
		lexer->line_starting = lexer->source[position - 1] == '\n';
	lexer->position = position;
}

/* Add a token of the present line. */
static Token *
add_token(Lexer *lexer, TokenKind kind, size_t start, size_t length)
{
	if (lexer->n_tokens == lexer->capacity)
	{
		size_t capacity = lexer->capacity ? lexer->capacity * 2 : 256;
		Token *tokens = workspace_alloc(lexer->work, capacity, sizeof *tokens);

		if (!tokens)
			return NULL;
		if (lexer->n_tokens)
			memcpy(tokens, lexer->tokens, lexer->n_tokens * sizeof *tokens);
		lexer->tokens = tokens;
		lexer->capacity = capacity;
	}

	Token *token = &lexer->tokens[lexer->n_tokens++];

	*token = (Token){.kind = kind, .line = lexer->line, .start = lexer->source + start, .length = length};
	return token;
}

/* Add the text before a tag, stripped as the tag's sign ('-', '+' or another character) and the settings want. */
static bool
add_text(Lexer *lexer, size_t start, size_t end, char sign, bool before_variable)
{
	Token *token;

	if (sign == '-')
	{
		Text text = {.bytes = lexer->source + start, .length = end - start};
		Text *stripped = text_strip(lexer->work, &text, NULL, false, true);

		if (!stripped)
			return false;
		end = start + stripped->length;
	}
	else if (sign != '+' && !before_variable)
	{
		size_t line_start = end;

		while (line_start > start && lexer->source[line_start - 1] != '\n')
			line_start--;
		if ((line_start > start || lexer->line_starting) && skip_spaces(lexer, line_start) >= end)
			end = line_start;
	}
	if (end == start)
		return true;
	token = add_token(lexer, TOKEN_TEXT, start, end - start);
	if (!token)
		return false;
	token->as.text = text_from_bytes(lexer->work, lexer->source + start, end - start, true);
	return token->as.text != NULL;
}

/* Skip a comment whose opening has been read. */
static bool
skip_comment(Lexer *lexer)
{
	for (size_t i = lexer->position; i + 1 < lexer->length; i++)
	{
		char sign = i > lexer->position ? lexer->source[i - 1] : ' ';
		size_t end = i + 2;

		if (!is_at(lexer, i, "#}"))
			continue;
		if (sign == '-')
			end = skip_spaces(lexer, end);
		else if (sign != '+' && is_at(lexer, end, "\n"))
			end++;
		advance(lexer, end);
		return true;
	}
	return fail_at(lexer, "a comment has no end");
}

/* If a block tag that is only this word stands at position, the position of its end sign; otherwise 0. */
static size_t
match_word_tag(const Lexer *lexer, size_t position, const char *word, char *sign)
{
	if (!is_at(lexer, position, "{%"))
		return 0;
	position += 2;
	*sign = position < lexer->length ? lexer->source[position] : ' ';
	if (*sign == '-' || *sign == '+')
		position++;
	position = skip_spaces(lexer, position);
	if (!is_at(lexer, position, word))
		return 0;
	position = skip_spaces(lexer, position + strlen(word));
	return is_at(lexer, position, "-%}") || is_at(lexer, position, "%}") || is_at(lexer, position, "+%}") ? position
																										  : 0;
}

/* The text of a raw block whose opening has been read. */
static bool
read_raw_block(Lexer *lexer)
{
	for (size_t i = lexer->position; i + 1 < lexer->length; i++)
	{
		char sign;
		size_t end = match_word_tag(lexer, i, "endraw", &sign);

		if (end == 0)
			continue;
		if (!add_text(lexer, lexer->position, i, sign, false))
			return false;
		if (is_at(lexer, end, "-%}"))
			end = skip_spaces(lexer, end + 3);
		else if (is_at(lexer, end, "+%}"))
			end += 3;
		else
			end += is_at(lexer, end + 2, "\n") ? 3 : 2;
		advance(lexer, end);
		return true;
	}
	return fail_at(lexer, "a raw block has no end");
}

/* The value of a hexadecimal escape of n digits at source[at]; -1: not that many digits. */
static int64_t
read_hexadecimal(const char *source, size_t length, size_t at, size_t n)
{
	int64_t value = 0;

	if (n > length - at)
		return -1;
	for (size_t i = at; i < at + n; i++)
	{
		char c = source[i];
		int digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;

		if (digit < 0)
			return -1;
		value = value * 16 + digit;
	}
	return value;
}

/* Append the character of an escape; a surrogate, NUL or nonsense is refused. */
static bool
add_escaped(Lexer *lexer, TextBuilder *builder, int64_t code_point)
{
	char out[4];

	if (code_point == 0)
	{
		lexer->work->line = lexer->line;
		return workspace_fail(lexer->work, STATUS_UNSUPPORTED, "a NUL character in a string is not supported");
	}
	if (code_point < 0 || code_point > 0x10FFFF || (code_point >= 0xD800 && code_point <= 0xDFFF))
		return fail_at(lexer, "a string has a wrong escape");
	return builder_add(lexer->work, builder, out, (size_t) utf8_write((uint32_t) code_point, out), true);
}

/* Append what the escape at source[at] (after its backslash) stands for; *used: its length without the backslash. */
static bool
read_escape(Lexer *lexer, TextBuilder *builder, const char *source, size_t length, size_t at, size_t *used)
{
	static const char from[] = "\\'\"abfnrtv";
	static const char to[] = "\\'\"\a\b\f\n\r\t\v";
	char c = source[at];
	const char *found = c ? strchr(from, c) : NULL;
	size_t n_digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
	int64_t code_point = 0;

	*used = 1;
	if (found)
		return builder_add(lexer->work, builder, &to[found - from], 1, true);
	if (c == '\n')
		return true;
	if (c == 'N')
	{
		lexer->work->line = lexer->line;
		return workspace_fail(lexer->work, STATUS_UNSUPPORTED, "the escape \\N in a string is not supported");
	}
	if (n_digits)
	{
		*used = 1 + n_digits;
		return add_escaped(lexer, builder, read_hexadecimal(source, length, at + 1, n_digits));
	}
	if (c >= '0' && c <= '7')
	{
		for (*used = 0; *used < 3 && at + *used < length && source[at + *used] >= '0' && source[at + *used] <= '7';
			 ++*used)
			code_point = code_point * 8 + (source[at + *used] - '0');
		return add_escaped(lexer, builder, code_point);
	}
	*used = 0;
	return builder_add(lexer->work, builder, "\\", 1, true);
}

/* A string literal. */
static bool
read_string(Lexer *lexer)
{
	char quote = peek(lexer, 0);
	size_t start = lexer->position + 1, end = start, done = start;
	TextBuilder builder = {0};
	Token *token;

	while (end < lexer->length && lexer->source[end] != quote)
		end += lexer->source[end] == '\\' ? 2 : 1;
	if (end >= lexer->length)
		return fail_at(lexer, "a string has no end");
	for (size_t i = start; i < end;)
	{
		size_t used;

		if (lexer->source[i] != '\\')
		{
			i++;
			continue;
		}
		if (!builder_add(lexer->work, &builder, lexer->source + done, i - done, true) ||
			!read_escape(lexer, &builder, lexer->source, end, i + 1, &used))
			return false;
		i += 1 + used;
		done = i;
	}
	if (!builder_add(lexer->work, &builder, lexer->source + done, end - done, true))
		return false;
	token = add_token(lexer, TOKEN_STRING, lexer->position, end + 1 - lexer->position);
	if (!token)
		return false;
	token->as.text = builder_finish(lexer->work, &builder);
	advance(lexer, end + 1);
	return token->as.text != NULL;
}

/* The end of digits with single underscores between them, from position on; position itself when there are none. */
static size_t
skip_digits(const Lexer *lexer, size_t position)
{
	size_t end = position;

	for (size_t i = position; i < lexer->length; i++)
	{
		if (lexer->source[i] >= '0' && lexer->source[i] <= '9')
			end = i + 1;
		else if (lexer->source[i] != '_' || i != end || i == position)
			break;
	}
	return end;
}

/* The end of a float literal at the present position, or 0 when it is none. */
static size_t
match_float(const Lexer *lexer)
{
	size_t digits = skip_digits(lexer, lexer->position);
	size_t end = digits;
	size_t exponent;

	if (lexer->position > 0 && lexer->source[lexer->position - 1] == '.')
		return 0;
	if (is_at(lexer, digits, ".") && skip_digits(lexer, digits + 1) > digits + 1)
		end = skip_digits(lexer, digits + 1);
	exponent = end;
	if (is_at(lexer, exponent, "e") || is_at(lexer, exponent, "E"))
	{
		exponent++;
		if (is_at(lexer, exponent, "+") || is_at(lexer, exponent, "-"))
			exponent++;
		if (skip_digits(lexer, exponent) > exponent)
			return skip_digits(lexer, exponent);
	}
	return end > digits ? end : 0;
}

/* Copy a number without its underscores into digits[64]; false when it is longer. */
static bool
copy_digits(const Lexer *lexer, size_t end, char *digits)
{
	size_t n = 0;

	for (size_t i = lexer->position; i < end; i++)
	{
		if (lexer->source[i] == '_')
			continue;
		if (n == 63)
			return false;
		digits[n++] = lexer->source[i];
	}
	digits[n] = '\0';
	return true;
}

/* A float literal that ends at end. */
static bool
read_float(Lexer *lexer, size_t end)
{
	char digits[64];
	Token *token;

	if (!copy_digits(lexer, end, digits))
		return fail_at(lexer, "a number is too long");
	token = add_token(lexer, TOKEN_FLOAT, lexer->position, end - lexer->position);
	if (!token)
		return false;
	token->as.number = strtod(digits, NULL);
	advance(lexer, end);
	return true;
}

/* An integer literal: decimal, or with 0x, 0o, 0b in front. */
static bool
read_integer(Lexer *lexer)
{
	size_t end = lexer->position + 1;
	char prefix = (char) (peek(lexer, 1) | 32);
	unsigned base = peek(lexer, 0) != '0' ? 10 : prefix == 'x' ? 16 : prefix == 'o' ? 8 : prefix == 'b' ? 2 : 1;
	uint64_t value = 0;
	Token *token;

	if (base == 10)
		end = skip_digits(lexer, lexer->position);
	else if (base == 1)
		while (is_at(lexer, end, "0"))
			end++;
	for (size_t i = lexer->position + (base == 10 ? 0 : 2); base != 1; i++)
	{
		int64_t digit = i < lexer->length ? read_hexadecimal(lexer->source, lexer->length, i, 1) : -1;

		if (i < lexer->length && lexer->source[i] == '_' && base != 10)
			continue;
		if (i < end && lexer->source[i] == '_')
			continue;
		if (digit < 0 || digit >= base || (base == 10 && i >= end))
		{
			end = i;
			break;
		}
		if (value > (uint64_t) (INT64_MAX - digit) / base)
			return fail_at(lexer, "an integer has more than 64 bits");
		value = value * base + (uint64_t) digit;
	}
	token = add_token(lexer, TOKEN_INTEGER, lexer->position, end - lexer->position);
	if (!token)
		return false;
	token->as.integer = (int64_t) value;
	advance(lexer, end);
	return true;
}

/* Can this character be part of a name? */
static bool
is_name_character(uint32_t code_point)
{
	if (code_point < 128)
		return (code_point >= '0' && code_point <= '9') || code_point == '_' ||
			   ((code_point | 32) >= 'a' && (code_point | 32) <= 'z');

	utf8proc_category_t category = utf8proc_category((utf8proc_int32_t) code_point);

	return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO) || category == UTF8PROC_CATEGORY_MN ||
		   category == UTF8PROC_CATEGORY_MC || category == UTF8PROC_CATEGORY_ND;
}

/* A name, or nothing when there is none here. */
static bool
read_name(Lexer *lexer, bool *found)
{
	size_t end = lexer->position, n_bytes;

	while (end < lexer->length && is_name_character(text_character(lexer->source, lexer->length, end, &n_bytes)))
		end += n_bytes;
	*found = end > lexer->position;
	if (*found && !add_token(lexer, TOKEN_NAME, lexer->position, end - lexer->position))
		return false;
	advance(lexer, end);
	return true;
}

/* Keep account of an opening or closing bracket. */
static bool
balance(Lexer *lexer, char c)
{
	if (c == '(' || c == '[' || c == '{')
	{
		if (lexer->n_brackets == MAX_BRACKETS)
			return fail_at(lexer, "too many open brackets");
		lexer->brackets[lexer->n_brackets++] = c == '(' ? ')' : c == '[' ? ']' : '}';
	}
	else if (c == ')' || c == ']' || c == '}')
	{
		if (lexer->n_brackets == 0 || lexer->brackets[lexer->n_brackets - 1] != c)
			return fail_at(lexer, "a closing bracket has no opening one");
		lexer->n_brackets--;
	}
	return true;
}

/* An operator. */
static bool
read_operator(Lexer *lexer)
{
	static const struct
	{
		const char *text;
		TokenKind kind;
	} operators[] = {
		{"//", TOKEN_FLOOR_DIVIDE},
		{"**", TOKEN_POWER},
		{"==", TOKEN_EQUAL},
		{"!=", TOKEN_NOT_EQUAL},
		{">=", TOKEN_GREATER_EQUAL},
		{"<=", TOKEN_LESS_EQUAL},
		{"+", TOKEN_ADD},
		{"-", TOKEN_SUBTRACT},
		{"/", TOKEN_DIVIDE},
		{"*", TOKEN_MULTIPLY},
		{"%", TOKEN_MODULO},
		{"~", TOKEN_TILDE},
		{"[", TOKEN_LEFT_BRACKET},
		{"]", TOKEN_RIGHT_BRACKET},
		{"(", TOKEN_LEFT_PARENTHESIS},
		{")", TOKEN_RIGHT_PARENTHESIS},
		{"{", TOKEN_LEFT_BRACE},
		{"}", TOKEN_RIGHT_BRACE},
		{">", TOKEN_GREATER},
		{"<", TOKEN_LESS},
		{"=", TOKEN_ASSIGN},
		{".", TOKEN_DOT},
		{":", TOKEN_COLON},
		{"|", TOKEN_PIPE},
		{",", TOKEN_COMMA},
		{";", TOKEN_SEMICOLON},
	};

	for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++)
	{
		size_t length = strlen(operators[i].text);

		if (!is_at(lexer, lexer->position, operators[i].text))
			continue;
		if (!balance(lexer, operators[i].text[0]) || !add_token(lexer, operators[i].kind, lexer->position, length))
			return false;
		advance(lexer, lexer->position + length);
		return true;
	}
	return fail_at(lexer, "an unexpected character in a tag");
}

/* If the tag ends here, the position after it (and after what its end swallows); otherwise 0. */
static size_t
match_tag_end(const Lexer *lexer, bool is_block)
{
	const char *end = is_block ? "%}" : "}}";

	if (lexer->n_brackets)
		return 0;
	if (peek(lexer, 0) == '-' && is_at(lexer, lexer->position + 1, end))
		return skip_spaces(lexer, lexer->position + 3);
	if (is_block && peek(lexer, 0) == '+' && is_at(lexer, lexer->position + 1, end))
		return lexer->position + 3;
	if (!is_at(lexer, lexer->position, end))
		return 0;
	return lexer->position + 2 + (is_block && is_at(lexer, lexer->position + 2, "\n"));
}

/* The inside of a tag, up to and with its end. */
static bool
read_tag(Lexer *lexer, bool is_block)
{
	for (;;)
	{
		size_t end = match_tag_end(lexer, is_block);
		char c = peek(lexer, 0);
		bool found = false;

		if (end)
		{
			if (!add_token(lexer, is_block ? TOKEN_BLOCK_END : TOKEN_VARIABLE_END, lexer->position, 2))
				return false;
			advance(lexer, end);
			return true;
		}
		if (lexer->position >= lexer->length)
			return fail_at(lexer, "a tag has no end");
		if (skip_spaces(lexer, lexer->position) > lexer->position)
		{
			advance(lexer, skip_spaces(lexer, lexer->position));
			continue;
		}
		if (c >= '0' && c <= '9')
		{
			end = match_float(lexer);
			if (end ? !read_float(lexer, end) : !read_integer(lexer))
				return false;
			continue;
		}
		if (!read_name(lexer, &found))
			return false;
		if (found)
			continue;
		if (c == '\'' || c == '"' ? !read_string(lexer) : !read_operator(lexer))
			return false;
	}
}

/* The text up to the next tag, and the tag. */
static bool
read_text_and_tag(Lexer *lexer)
{
	size_t start = lexer->position, at = start, raw_end;
	char kind = ' ', sign;

	while (at + 1 < lexer->length)
	{
		kind = lexer->source[at + 1];
		if (lexer->source[at] == '{' && (kind == '{' || kind == '%' || kind == '#'))
			break;
		at++;
	}
	if (at + 1 >= lexer->length)
	{
		if (!add_text(lexer, start, lexer->length, '+', true))
			return false;
		advance(lexer, lexer->length);
		return true;
	}
	raw_end = match_word_tag(lexer, at, "raw", &sign);
	sign = at + 2 < lexer->length ? lexer->source[at + 2] : ' ';
	if (!add_text(lexer, start, at, sign, kind == '{'))
		return false;
	if (raw_end && lexer->source[raw_end] != '+')
	{
		bool strips = lexer->source[raw_end] == '-';

		advance(lexer, strips ? skip_spaces(lexer, raw_end + 3) : raw_end + 2);
		return read_raw_block(lexer);
	}
	advance(lexer, at + (sign == '-' || sign == '+' ? 3 : 2));
	if (kind == '#')
		return skip_comment(lexer);
	if (!add_token(lexer, kind == '%' ? TOKEN_BLOCK_BEGIN : TOKEN_VARIABLE_BEGIN, at, 2))
		return false;
	return read_tag(lexer, kind == '%');
}

bool
lexer_run(Workspace *work, const char *source, size_t length, Token **tokens)
{
	Lexer lexer = {.work = work, .source = source, .length = length, .line = 1, .line_starting = true};

	while (lexer.position < lexer.length)
		if (!read_text_and_tag(&lexer))
			return false;
	if (!add_token(&lexer, TOKEN_END, lexer.length, 0))
		return false;
	*tokens = lexer.tokens;
	return true;
}
