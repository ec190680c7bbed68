/*
 * pattern.c - see pattern.h. Read into a tree first: what stands behind a look-ahead has to be known when it is made.
 */
#include "pattern.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "../base/utf8.h"

#define MAX_NESTING 200
#define SHOWN_COUNTS 60 /* bytes of {n,m} in an error */

typedef enum PieceType
{
	PIECE_LETTERS,  /* expression */
	PIECE_SEQUENCE, /* first child, next … */
	PIECE_CHOICE,
	PIECE_REPEAT, /* one child, min, max */
	PIECE_BEGIN,  /* expression: the letter */
	PIECE_END,
	PIECE_AHEAD, /* one child; negative */
} PieceType;

typedef struct PatternPiece
{
	PieceType type;
	uint32_t expression, min, max;
	bool negative, has_ahead;
	struct PatternPiece *first, *next;
} PatternPiece;

typedef struct PatternReader
{
	Expressions *e;
	const char *text;
	size_t length, at;
	int depth;
	uint32_t skipped; /* in front of letters and ends: a beginning that nobody asked for */
} PatternReader;

static PatternPiece *read_choice(PatternReader *reader);

static uint32_t
peek(const PatternReader *reader)
{
	if (reader->at >= reader->length)
		return 0;
	return utf8_code_point(reader->text + reader->at,
						   utf8_character_bytes(reader->text + reader->at, reader->length - reader->at));
}

static bool
at_end(const PatternReader *reader)
{
	return reader->at >= reader->length || pool_failed(reader->e->pool);
}

static uint32_t
take(PatternReader *reader)
{
	uint32_t letter = peek(reader);

	if (reader->at < reader->length)
		reader->at += (size_t) utf8_character_bytes(reader->text + reader->at, reader->length - reader->at);
	return letter;
}

static bool
take_text(PatternReader *reader, const char *text)
{
	size_t length = strlen(text);

	if (reader->length - reader->at < length || memcmp(reader->text + reader->at, text, length) != 0)
		return false;
	reader->at += length;
	return true;
}

static void
fail(PatternReader *reader, StatusCode code, const char *what)
{
	pool_fail(reader->e->pool, code, "%s at byte %zu of the pattern \"%.*s\"%s", what, reader->at + 1,
			  (int) (reader->length < 200 ? reader->length : utf8_cut(reader->text, reader->length, 200)), reader->text,
			  code == STATUS_UNSUPPORTED ? " is not supported" : "");
}

static PatternPiece *
new_piece(PatternReader *reader, PieceType type)
{
	PatternPiece *piece = pool_alloc(reader->e->pool, 1, sizeof *piece);

	if (piece)
		piece->type = type;
	return piece;
}

static PatternPiece *
new_letters(PatternReader *reader, uint32_t expression)
{
	PatternPiece *piece = new_piece(reader, PIECE_LETTERS);

	if (piece)
		piece->expression = expression;
	return piece;
}

/* ---- classes ---- */

static const uint32_t digit_ranges[] = {'0', '9'};
static const uint32_t word_ranges[] = {'0', '9', 'A', 'Z', '_', '_', 'a', 'z'};
static const uint32_t space_ranges[] = {9,      13,     32,     32,     160,    160,    0x1680, 0x1680, 0x2000, 0x200A,
										0x2028, 0x2029, 0x202F, 0x202F, 0x205F, 0x205F, 0x3000, 0x3000, 0xFEFF, 0xFEFF};
static const uint32_t line_end_ranges[] = {10, 10, 13, 13, 0x2028, 0x2029};

#define CLASS_OF(e, ranges) expression_class(e, ranges, sizeof(ranges) / sizeof *(ranges))

typedef struct CategoryName
{
	const char *name, *long_name;
	uint32_t mask; /* of utf8proc's categories */
} CategoryName;

#define BIT(category) (1u << UTF8PROC_CATEGORY_##category)
#define LETTER_MASK (BIT(LU) | BIT(LL) | BIT(LT) | BIT(LM) | BIT(LO))
#define PUNCTUATION_MASK (BIT(PC) | BIT(PD) | BIT(PS) | BIT(PE) | BIT(PI) | BIT(PF) | BIT(PO))
#define OTHER_MASK (BIT(CC) | BIT(CF) | BIT(CS) | BIT(CO) | BIT(CN))

static const CategoryName categories[] = {
	{"L", "Letter", LETTER_MASK},
	{"LC", "Cased_Letter", BIT(LU) | BIT(LL) | BIT(LT)},
	{"Lu", "Uppercase_Letter", BIT(LU)},
	{"Ll", "Lowercase_Letter", BIT(LL)},
	{"Lt", "Titlecase_Letter", BIT(LT)},
	{"Lm", "Modifier_Letter", BIT(LM)},
	{"Lo", "Other_Letter", BIT(LO)},
	{"M", "Mark", BIT(MN) | BIT(MC) | BIT(ME)},
	{"Mn", "Nonspacing_Mark", BIT(MN)},
	{"Mc", "Spacing_Mark", BIT(MC)},
	{"Me", "Enclosing_Mark", BIT(ME)},
	{"N", "Number", BIT(ND) | BIT(NL) | BIT(NO)},
	{"Nd", "Decimal_Number", BIT(ND)},
	{"Nd", "digit", BIT(ND)},
	{"Nl", "Letter_Number", BIT(NL)},
	{"No", "Other_Number", BIT(NO)},
	{"P", "Punctuation", PUNCTUATION_MASK},
	{"P", "punct", PUNCTUATION_MASK},
	{"Pc", "Connector_Punctuation", BIT(PC)},
	{"Pd", "Dash_Punctuation", BIT(PD)},
	{"Ps", "Open_Punctuation", BIT(PS)},
	{"Pe", "Close_Punctuation", BIT(PE)},
	{"Pi", "Initial_Punctuation", BIT(PI)},
	{"Pf", "Final_Punctuation", BIT(PF)},
	{"Po", "Other_Punctuation", BIT(PO)},
	{"S", "Symbol", BIT(SM) | BIT(SC) | BIT(SK) | BIT(SO)},
	{"Sm", "Math_Symbol", BIT(SM)},
	{"Sc", "Currency_Symbol", BIT(SC)},
	{"Sk", "Modifier_Symbol", BIT(SK)},
	{"So", "Other_Symbol", BIT(SO)},
	{"Z", "Separator", BIT(ZS) | BIT(ZL) | BIT(ZP)},
	{"Zs", "Space_Separator", BIT(ZS)},
	{"Zl", "Line_Separator", BIT(ZL)},
	{"Zp", "Paragraph_Separator", BIT(ZP)},
	{"C", "Other", OTHER_MASK},
	{"Cc", "Control", BIT(CC)},
	{"Cf", "Format", BIT(CF)},
	{"Co", "Private_Use", BIT(CO)},
	{"Cn", "Unassigned", BIT(CN)},
};

/* All letters whose category is in a mask. */
static uint32_t
class_of_categories(PatternReader *reader, uint32_t mask)
{
	WordList ranges = {0};
	Pool *pool = reader->e->pool;
	bool inside = false;

	if (!pool_work(pool, 20000))
		return E_NONE;
	for (uint32_t letter = 0; letter <= MAX_CODE_POINT + 1; letter++)
	{
		bool has = letter <= MAX_CODE_POINT && (mask >> utf8proc_category((utf8proc_int32_t) letter) & 1);

		if (has != inside)
			list_add(pool, &ranges, has ? letter : letter - 1);
		inside = has;
	}
	return expression_class(reader->e, ranges.at, ranges.n);
}

/* \p{…}, behind the p. */
static uint32_t
read_property(PatternReader *reader, bool negated)
{
	char name[64];
	size_t n = 0;
	const char *value = name;
	uint32_t mask = 0, made;

	if (take(reader) != '{')
	{
		fail(reader, STATUS_INVALID_ARGUMENT, "\\p without {name}");
		return E_NONE;
	}
	while (!at_end(reader) && peek(reader) != '}' && peek(reader) < 128 && n < sizeof name - 1)
		name[n++] = (char) take(reader);
	name[n] = 0;
	if (take(reader) != '}')
	{
		fail(reader, STATUS_INVALID_ARGUMENT, "\\p{ without a name and }");
		return E_NONE;
	}
	if (strncmp(name, "gc=", 3) == 0)
		value = name + 3;
	else if (strncmp(name, "General_Category=", 17) == 0)
		value = name + 17;
	for (size_t i = 0; i < sizeof categories / sizeof *categories; i++)
		if (strcmp(value, categories[i].name) == 0 || strcmp(value, categories[i].long_name) == 0)
			mask = categories[i].mask;
	if (strcmp(value, "Any") == 0)
		made = expression_range(reader->e, 0, MAX_CODE_POINT);
	else if (strcmp(value, "ASCII") == 0)
		made = expression_range(reader->e, 0, 127);
	else if (mask)
		made = class_of_categories(reader, mask);
	else
	{
		fail(reader, STATUS_UNSUPPORTED, "a Unicode property other than a general category");
		return E_NONE;
	}
	return negated ? expression_invert(reader->e, made) : made;
}

static int
hex_value(uint32_t letter)
{
	if (letter >= '0' && letter <= '9')
		return (int) letter - '0';
	letter |= 32;
	return letter >= 'a' && letter <= 'f' ? (int) letter - 'a' + 10 : -1;
}

/* So many hexadecimal digits. */
static uint32_t
read_hex(PatternReader *reader, int digits)
{
	uint32_t value = 0;

	for (int i = 0; i < digits; i++)
	{
		int digit = at_end(reader) ? -1 : hex_value(peek(reader));

		if (digit < 0)
		{
			fail(reader, STATUS_INVALID_ARGUMENT, "an escape with too few hexadecimal digits");
			return 0;
		}
		(void) take(reader);
		value = value * 16 + (uint32_t) digit;
	}
	return value;
}

/* \u…, behind the u. */
static uint32_t
read_unicode_escape(PatternReader *reader)
{
	uint32_t value = 0, low;
	size_t start;

	if (take_text(reader, "{"))
	{
		while (!at_end(reader) && peek(reader) != '}' && value <= MAX_CODE_POINT)
			value = value * 16 + read_hex(reader, 1);
		if (!take_text(reader, "}") || value > MAX_CODE_POINT)
			fail(reader, STATUS_INVALID_ARGUMENT, "\\u{} that is no code point");
		return value;
	}
	value = read_hex(reader, 4);
	start = reader->at;
	if (value >= 0xD800 && value < 0xDC00 && take_text(reader, "\\u"))
	{
		low = read_hex(reader, 4);
		if (low >= 0xDC00 && low < 0xE000)
			return 0x10000 + ((value - 0xD800) << 10) + (low - 0xDC00);
		reader->at = start;
	}
	return value;
}

/* Behind a backslash: one letter in *letter, or a class. *is_class says which. */
static uint32_t
read_escape(PatternReader *reader, bool in_class, bool *is_class, uint32_t *letter)
{
	Expressions *e = reader->e;
	uint32_t c;

	if (at_end(reader))
		fail(reader, STATUS_INVALID_ARGUMENT, "a backslash at the end");
	c = take(reader);
	*is_class = true;
	switch (c)
	{
		case 'd':
			return CLASS_OF(e, digit_ranges);
		case 'D':
			return expression_invert(e, CLASS_OF(e, digit_ranges));
		case 'w':
			return CLASS_OF(e, word_ranges);
		case 'W':
			return expression_invert(e, CLASS_OF(e, word_ranges));
		case 's':
			return CLASS_OF(e, space_ranges);
		case 'S':
			return expression_invert(e, CLASS_OF(e, space_ranges));
		case 'p':
		case 'P':
			return read_property(reader, c == 'P');
		default:
			break;
	}
	*is_class = false;
	switch (c)
	{
		case 'n':
			*letter = '\n';
			break;
		case 'r':
			*letter = '\r';
			break;
		case 't':
			*letter = '\t';
			break;
		case 'v':
			*letter = '\v';
			break;
		case 'f':
			*letter = '\f';
			break;
		case '0':
			*letter = 0;
			break;
		case 'x':
			*letter = read_hex(reader, 2);
			break;
		case 'u':
			*letter = read_unicode_escape(reader);
			break;
		case 'c':
			*letter = peek(reader) | 32;
			if (*letter < 'a' || *letter > 'z')
				fail(reader, STATUS_INVALID_ARGUMENT, "\\c without a letter");
			*letter = take(reader) % 32;
			break;
		case 'b':
		case 'B':
			if (in_class && c == 'b')
				*letter = 8;
			else
				fail(reader, STATUS_UNSUPPORTED, "a word boundary");
			break;
		default:
			*letter = c;
			if (c >= '1' && c <= '9')
				fail(reader, STATUS_UNSUPPORTED, "a back-reference");
			else if (c == 'k')
				fail(reader, STATUS_UNSUPPORTED, "a named back-reference");
			else if ((c | 32) >= 'a' && (c | 32) <= 'z')
				fail(reader, STATUS_INVALID_ARGUMENT, "an escape that ECMA-262 does not have");
	}
	return E_NONE;
}

/* One end of a range of a class, or a class. */
static uint32_t
read_class_part(PatternReader *reader, bool *is_class, uint32_t *letter)
{
	*is_class = false;
	*letter = take(reader);
	if (*letter == '\\')
		return read_escape(reader, true, is_class, letter);
	return E_NONE;
}

/* […], behind the bracket. */
static uint32_t
read_class(PatternReader *reader)
{
	Expressions *e = reader->e;
	bool negated = take_text(reader, "^");
	uint32_t made = E_NONE;

	while (!at_end(reader) && peek(reader) != ']')
	{
		bool is_class, high_is_class = false;
		uint32_t low, high, part = read_class_part(reader, &is_class, &low);

		if (!is_class && peek(reader) == '-' && reader->at + 1 < reader->length && reader->text[reader->at + 1] != ']')
		{
			(void) take(reader);
			(void) read_class_part(reader, &high_is_class, &high);
			if (high_is_class || high < low)
				fail(reader, STATUS_INVALID_ARGUMENT, "a range that ends before it begins");
			else
				part = expression_range(e, low, high);
		}
		else if (!is_class)
			part = expression_range(e, low, low);
		made = expression_or(e, made, part);
	}
	if (!take_text(reader, "]"))
		fail(reader, STATUS_INVALID_ARGUMENT, "[ without ]");
	return negated ? expression_invert(e, made) : made;
}

/* ---- the tree ---- */

/* (…), behind the bracket. */
static PatternPiece *
read_group(PatternReader *reader)
{
	PatternPiece *piece = NULL, *inner;

	if (take_text(reader, "?="))
		piece = new_piece(reader, PIECE_AHEAD);
	else if (take_text(reader, "?!"))
	{
		piece = new_piece(reader, PIECE_AHEAD);
		if (piece)
			piece->negative = true;
	}
	else if (take_text(reader, "?<=") || take_text(reader, "?<!"))
		fail(reader, STATUS_UNSUPPORTED, "a look-behind");
	else if (take_text(reader, "?<"))
	{
		while (!at_end(reader) && peek(reader) != '>')
			(void) take(reader);
		if (!take_text(reader, ">"))
			fail(reader, STATUS_INVALID_ARGUMENT, "a group's name without >");
	}
	else if (!take_text(reader, "?:") && peek(reader) == '?')
		fail(reader, STATUS_INVALID_ARGUMENT, "(? that ECMA-262 does not have");
	if (++reader->depth > MAX_NESTING)
		fail(reader, STATUS_TOO_LONG, "more than 200 groups in one another");
	inner = read_choice(reader);
	reader->depth--;
	if (!take_text(reader, ")"))
		fail(reader, STATUS_INVALID_ARGUMENT, "( without )");
	if (!piece)
		return inner;
	piece->first = inner;
	piece->has_ahead = true;
	return piece;
}

/* A letter, class, group or anchor. */
static PatternPiece *
read_atom(PatternReader *reader)
{
	Expressions *e = reader->e;
	uint32_t c = take(reader), letter = 0, made;
	PatternPiece *piece;
	bool is_class;

	switch (c)
	{
		case '(':
			return read_group(reader);
		case '[':
			return new_letters(reader, read_class(reader));
		case '.':
			return new_letters(reader, expression_invert(e, CLASS_OF(e, line_end_ranges)));
		case '^':
		case '$':
			piece = new_piece(reader, c == '^' ? PIECE_BEGIN : PIECE_END);
			letter = c == '^' ? LETTER_BEGIN : LETTER_END;
			if (piece)
				piece->expression = expression_range(e, letter, letter);
			return piece;
		case '\\':
			made = read_escape(reader, false, &is_class, &letter);
			return new_letters(reader, is_class ? made : expression_range(e, letter, letter));
		case '*':
		case '+':
		case '?':
			fail(reader, STATUS_INVALID_ARGUMENT, "nothing to repeat");
			return NULL;
		default:
			return new_letters(reader, expression_range(e, c, c));
	}
}

/* {n}, {n,} or {n,m}; false, with nothing read, when it is none of these. */
static bool
read_counts(PatternReader *reader, uint32_t *min, uint32_t *max)
{
	size_t start = reader->at, at = start + 1, written;
	uint64_t counts[2] = {0, 0};
	int n = 0;
	bool has_digits = false, open = false;

	for (; at < reader->length && reader->text[at] != '}'; at++)
	{
		char c = reader->text[at];

		if (c == ',' && n == 0 && has_digits)
		{
			n = 1;
			open = true;
		}
		else if (c >= '0' && c <= '9')
		{
			has_digits = true;
			open = false;
			counts[n] = counts[n] > 1000000 ? counts[n] : counts[n] * 10 + (uint64_t) (c - '0');
		}
		else
			return false;
	}
	if (at >= reader->length || !has_digits)
		return false;
	reader->at = at + 1;
	*min = (uint32_t) counts[0];
	*max = n == 0 ? *min : open ? NO_LIMIT : (uint32_t) counts[1];
	written = at + 1 - start;
	if (*min > PATTERN_MAX_REPEAT || (*max != NO_LIMIT && *max > PATTERN_MAX_REPEAT))
		pool_fail(reader->e->pool, STATUS_TOO_LONG,
				  "a repetition of %.*s%s in a pattern: the limit is %d (maxLength has none)",
				  (int) (written < SHOWN_COUNTS ? written : SHOWN_COUNTS), reader->text + start,
				  written > SHOWN_COUNTS ? "..." : "", PATTERN_MAX_REPEAT);
	if (*max < *min)
		fail(reader, STATUS_INVALID_ARGUMENT, "a repetition that ends before it begins");
	return true;
}

/* What an atom is repeated by. */
static PatternPiece *
read_repeats(PatternReader *reader, PatternPiece *atom)
{
	uint32_t min, max;
	PatternPiece *piece;

	if (take_text(reader, "*"))
		min = 0, max = NO_LIMIT;
	else if (take_text(reader, "+"))
		min = 1, max = NO_LIMIT;
	else if (take_text(reader, "?"))
		min = 0, max = 1;
	else if (peek(reader) != '{' || !read_counts(reader, &min, &max))
		return atom;
	(void) take_text(reader, "?");
	if (atom && atom->has_ahead)
		fail(reader, STATUS_UNSUPPORTED, "a look-ahead that is repeated");
	piece = new_piece(reader, PIECE_REPEAT);
	if (piece)
	{
		piece->first = atom;
		piece->min = min;
		piece->max = max;
	}
	return piece;
}

static PatternPiece *
read_sequence(PatternReader *reader)
{
	PatternPiece *sequence = new_piece(reader, PIECE_SEQUENCE), **end = sequence ? &sequence->first : NULL;

	while (end && !at_end(reader) && peek(reader) != '|' && peek(reader) != ')')
	{
		PatternPiece *piece = read_atom(reader), *wrapped = piece ? read_repeats(reader, piece) : NULL;
		PatternPiece *link;

		if (!wrapped || !(link = new_piece(reader, PIECE_SEQUENCE)))
			return sequence;
		/* a piece of its own, so that "next" belongs to one list */
		link->first = wrapped;
		link->has_ahead = wrapped->has_ahead;
		sequence->has_ahead |= wrapped->has_ahead;
		*end = link;
		end = &link->next;
	}
	return sequence;
}

static PatternPiece *
read_choice(PatternReader *reader)
{
	PatternPiece *choice = new_piece(reader, PIECE_CHOICE), **end = choice ? &choice->first : NULL;

	while (end)
	{
		PatternPiece *sequence = read_sequence(reader);

		if (!sequence)
			break;
		choice->has_ahead |= sequence->has_ahead;
		*end = sequence;
		end = &sequence->next;
		if (!take_text(reader, "|"))
			break;
	}
	return choice;
}

/* ---- expressions of the tree ---- */

static uint32_t make_list(PatternReader *reader, const PatternPiece *piece, uint32_t then);

/* A piece, and behind it what then says. */
static uint32_t
make_piece(PatternReader *reader, const PatternPiece *piece, uint32_t then)
{
	Expressions *e = reader->e;
	uint32_t made = E_NONE;

	if (!piece || pool_failed(e->pool))
		return E_NONE;
	switch (piece->type)
	{
		case PIECE_LETTERS:
		case PIECE_END:
			return expression_cat(e, reader->skipped, expression_cat(e, piece->expression, then));
		case PIECE_BEGIN:
			return expression_cat(e, piece->expression, then);
		case PIECE_SEQUENCE:
			return make_list(reader, piece->first, then);
		case PIECE_CHOICE:
		{
			WordList parts = {0};

			for (const PatternPiece *one = piece->first; one; one = one->next)
				list_add(e->pool, &parts, make_list(reader, one->first, piece->has_ahead ? then : E_EMPTY));
			made = expression_or_all(e, parts.at, parts.n);
			return piece->has_ahead ? made : expression_cat(e, made, then);
		}
		case PIECE_REPEAT:
			made = expression_repeat(e, make_piece(reader, piece->first, E_EMPTY), piece->min, piece->max);
			return expression_cat(e, made, then);
		case PIECE_AHEAD:
			/* what it looks at goes on behind it, of which look-aheads in it say something too */
			made = make_piece(reader, piece->first, E_ALL);
			return expression_and(e, piece->negative ? expression_not(e, made) : made, then);
	}
	return E_NONE;
}

/* The links of a sequence from piece on, and behind them what then says. */
static uint32_t
make_list(PatternReader *reader, const PatternPiece *piece, uint32_t then)
{
	const PatternPiece **links;
	uint32_t n = 0;

	for (const PatternPiece *link = piece; link; link = link->next)
		n++;
	links = pool_alloc(reader->e->pool, n, sizeof *links);
	if (!links)
		return E_NONE;
	n = 0;
	for (const PatternPiece *link = piece; link; link = link->next)
		links[n++] = link->first;
	while (n-- > 0)
		then = make_piece(reader, links[n], then);
	return then;
}

uint32_t
pattern_read(Expressions *e, const char *text, size_t length, bool whole)
{
	PatternReader reader = {.e = e, .text = text, .length = length};
	PatternPiece *tree;
	uint32_t made, begins;

	if (length > PATTERN_MAX_BYTES)
	{
		pool_fail(e->pool, STATUS_TOO_LONG, "a pattern has %zu bytes, the limit is %d", length, PATTERN_MAX_BYTES);
		return E_NONE;
	}
	tree = read_choice(&reader);
	if (!at_end(&reader))
		fail(&reader, STATUS_INVALID_ARGUMENT, ") without (");
	begins = expression_repeat(e, expression_range(e, LETTER_BEGIN, LETTER_BEGIN), 0, NO_LIMIT);
	reader.skipped = tree && tree->has_ahead ? begins : E_EMPTY;
	if (whole)
	{
		uint32_t ends = expression_repeat(e, expression_range(e, LETTER_END, LETTER_END), 0, NO_LIMIT);

		made = make_piece(&reader, tree, expression_cat(e, reader.skipped, ends));
		if (reader.skipped == E_EMPTY)
			made = expression_cat(e, begins, made);
	}
	else
	{
		uint32_t before = E_ALL;

		if (reader.skipped != E_EMPTY)
		{
			before = expression_repeat(e, expression_invert(e, E_NONE), 1, NO_LIMIT);
			before = expression_or(e, E_EMPTY, expression_cat(e, begins, before));
		}
		made = expression_cat(e, before, make_piece(&reader, tree, E_ALL));
	}
	made = expression_strip(e, expression_derive_anchors(e, made, LETTER_BEGIN));
	return pool_failed(e->pool) ? E_NONE : made;
}
