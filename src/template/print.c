/*
 * print.c - values as text: Python's str() and repr(), and json.dumps().
 *
 * Texts keep their origin; brackets, quotes, escapes and digits are made here and are data, so that nothing that came
 * as data can complete a special token.
 */
#include "value.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "../base/utf8.h"

static bool print_repr(Workspace *work, TextBuilder *builder, Value value);

void
format_float(double number, char *out)
{
	char shortest[32];
	char *exponent_at;
	int exponent, n_digits;
	char digits[24];

	if (isnan(number) || isinf(number))
	{
		snprintf(out, FLOAT_TEXT_BYTES, "%s", isnan(number) ? "nan" : number < 0 ? "-inf" : "inf");
		return;
	}
	for (int precision = 0; precision < 17; precision++)
	{
		snprintf(shortest, sizeof shortest, "%.*e", precision, number);
		if (strtod(shortest, NULL) == number)
			break;
	}
	exponent_at = shortest + strcspn(shortest, "e"); /* which %e always writes */
	exponent = atoi(exponent_at + 1);
	*exponent_at = '\0';
	n_digits = 0;
	for (const char *c = shortest; *c; c++)
		if (*c >= '0' && *c <= '9')
			digits[n_digits++] = *c;
	digits[n_digits] = '\0';
	if (signbit(number))
		*out++ = '-';
	if (exponent < -4 || exponent >= 16)
		snprintf(out, FLOAT_TEXT_BYTES - 1, "%c%s%se%c%02d", digits[0], n_digits > 1 ? "." : "", digits + 1,
				 exponent < 0 ? '-' : '+', abs(exponent));
	else if (exponent < 0)
		snprintf(out, FLOAT_TEXT_BYTES - 1, "0.%.*s%s", -exponent - 1, "0000", digits);
	else if (exponent >= n_digits - 1)
		snprintf(out, FLOAT_TEXT_BYTES - 1, "%s%.*s.0", digits, exponent - n_digits + 1, "0000000000000000");
	else
		snprintf(out, FLOAT_TEXT_BYTES - 1, "%.*s.%s", exponent + 1, digits, digits + exponent + 1);
}

/* str.isprintable() of one character. */
static bool
is_printable(uint32_t code_point)
{
	if (code_point == ' ')
		return true;
	switch (utf8proc_category((utf8proc_int32_t) code_point))
	{
		case UTF8PROC_CATEGORY_CN:
		case UTF8PROC_CATEGORY_CC:
		case UTF8PROC_CATEGORY_CF:
		case UTF8PROC_CATEGORY_CS:
		case UTF8PROC_CATEGORY_CO:
		case UTF8PROC_CATEGORY_ZL:
		case UTF8PROC_CATEGORY_ZP:
		case UTF8PROC_CATEGORY_ZS:
			return false;
		default:
			return true;
	}
}

/* The escape that repr() writes for a character, in out[12]; false: the character itself. */
static bool
repr_escape(uint32_t code_point, char quote, char *out)
{
	if (code_point == (unsigned char) quote || code_point == '\\')
		snprintf(out, 12, "\\%c", (char) code_point);
	else if (code_point == '\n' || code_point == '\r' || code_point == '\t')
		snprintf(out, 12, "\\%c", code_point == '\n' ? 'n' : code_point == '\r' ? 'r' : 't');
	else if (is_printable(code_point))
		return false;
	else if (code_point < 0x100)
		snprintf(out, 12, "\\x%02x", code_point);
	else if (code_point < 0x10000)
		snprintf(out, 12, "\\u%04x", code_point);
	else
		snprintf(out, 12, "\\U%08x", code_point);
	return true;
}

/* A string as repr() quotes it (a safe one as MarkupSafe's). */
static bool
repr_text(Workspace *work, TextBuilder *builder, Text *text)
{
	char quote[2] = "'";
	size_t done = 0, n_bytes;

	if (!text_flatten(work, text) || !workspace_step(work, text->length / 8))
		return false;
	if (text->length && memchr(text->bytes, '\'', text->length) && !memchr(text->bytes, '"', text->length))
		quote[0] = '"';
	if ((text->safe && !builder_add_ascii(work, builder, "Markup(")) || !builder_add_ascii(work, builder, quote))
		return false;
	for (size_t i = 0; i < text->length; i += n_bytes)
	{
		char escape[12];

		if (!repr_escape(text_character(text->bytes, text->length, i, &n_bytes), quote[0], escape))
			continue;
		if (!builder_add_slice(work, builder, text, done, i - done) || !builder_add_ascii(work, builder, escape))
			return false;
		done = i + n_bytes;
	}
	return builder_add_slice(work, builder, text, done, text->length - done) &&
		   builder_add_ascii(work, builder, quote) && (!text->safe || builder_add_ascii(work, builder, ")"));
}

/* A sequence as repr() writes it. */
static bool
repr_list(Workspace *work, TextBuilder *builder, const List *list)
{
	static const char *const opening[] = {"[", "(", NULL, "dict_keys([", "dict_values([", "dict_items([", NULL};
	static const char *const closing[] = {"]", ")", NULL, "])", "])", "])", NULL};

	if (!opening[list->kind])
		return workspace_fail(work, STATUS_UNSUPPORTED, "printing %s is not supported",
							  value_kind_name((Value){.kind = VALUE_LIST, .as.list = (List *) list}));
	if (!builder_add_ascii(work, builder, opening[list->kind]))
		return false;
	for (size_t i = 0; i < list->n; i++)
		if ((i > 0 && !builder_add_ascii(work, builder, ", ")) || !print_repr(work, builder, list->items[i]))
			return false;
	return builder_add_ascii(work, builder, list->kind == LIST_TUPLE && list->n == 1 ? ",)" : closing[list->kind]);
}

/* A dictionary as repr() writes it. */
static bool
repr_dict(Workspace *work, TextBuilder *builder, const Dict *dict)
{
	if (!builder_add_ascii(work, builder, "{"))
		return false;
	for (size_t i = 0; i < dict->n; i++)
		if ((i > 0 && !builder_add_ascii(work, builder, ", ")) || !print_repr(work, builder, dict->entries[i].key) ||
			!builder_add_ascii(work, builder, ": ") || !print_repr(work, builder, dict->entries[i].value))
			return false;
	return builder_add_ascii(work, builder, "}");
}

/* repr(value). */
static bool
print_repr(Workspace *work, TextBuilder *builder, Value value)
{
	bool ok;

	if (!workspace_step(work, 1) || !workspace_enter(work))
		return false;
	switch (value.kind)
	{
		case VALUE_UNDEFINED:
			ok = builder_add_ascii(work, builder, "Undefined");
			break;
		case VALUE_TEXT:
			ok = repr_text(work, builder, value.as.text);
			break;
		case VALUE_LIST:
			ok = repr_list(work, builder, value.as.list);
			break;
		case VALUE_DICT:
			ok = repr_dict(work, builder, value.as.dict);
			break;
		case VALUE_NAMESPACE:
			ok = builder_add_ascii(work, builder, "<Namespace ") && repr_dict(work, builder, value.as.dict) &&
				 builder_add_ascii(work, builder, ">");
			break;
		default:
			ok = value_print(work, builder, value);
			break;
	}
	workspace_leave(work);
	return ok;
}

bool
value_print(Workspace *work, TextBuilder *builder, Value value)
{
	char digits[FLOAT_TEXT_BYTES];

	switch (value.kind)
	{
		case VALUE_MISSING:
		case VALUE_UNDEFINED:
			return true;
		case VALUE_NONE:
			return builder_add_ascii(work, builder, "None");
		case VALUE_BOOL:
			return builder_add_ascii(work, builder, value.as.boolean ? "True" : "False");
		case VALUE_INT:
			snprintf(digits, sizeof digits, "%lld", (long long) value.as.integer);
			return builder_add_ascii(work, builder, digits);
		case VALUE_FLOAT:
			if (value.digits)
				return builder_add_text(work, builder, value.digits);
			format_float(value.as.number, digits);
			return builder_add_ascii(work, builder, digits);
		case VALUE_TEXT:
			return builder_add_text(work, builder, value.as.text);
		case VALUE_LIST:
		case VALUE_DICT:
		case VALUE_NAMESPACE:
			return print_repr(work, builder, value);
		default:
			return workspace_fail(work, STATUS_UNSUPPORTED, "printing %s is not supported", value_kind_name(value));
	}
}

Text *
value_to_text(Workspace *work, Value value)
{
	TextBuilder builder = {0};

	if (value.kind == VALUE_TEXT)
		return text_flatten(work, value.as.text) ? value.as.text : NULL;
	return value_print(work, &builder, value) ? builder_finish(work, &builder) : NULL;
}

/* The escape that json.dumps writes for a character, in out[16]; false: the character itself. */
static bool
json_escape(uint32_t code_point, bool ascii_only, char *out)
{
	static const char short_from[] = "\"\\\n\r\t\b\f";
	static const char short_to[] = "\"\\nrtbf";
	const char *found = code_point && code_point < 128 ? strchr(short_from, (int) code_point) : NULL;

	if (found)
		snprintf(out, 16, "\\%c", short_to[found - short_from]);
	else if (code_point < 32 || (ascii_only && code_point > 126 && code_point < 0x10000))
		snprintf(out, 16, "\\u%04x", code_point);
	else if (ascii_only && code_point >= 0x10000)
		snprintf(out, 16, "\\u%04x\\u%04x", 0xD800 + ((code_point - 0x10000) >> 10),
				 0xDC00 + ((code_point - 0x10000) & 0x3FF));
	else
		return false;
	return true;
}

/* A string as json.dumps quotes it. */
static bool
json_text(Workspace *work, TextBuilder *builder, Text *text, const JsonStyle *style)
{
	size_t done = 0, n_bytes;

	if (!text_flatten(work, text) || !workspace_step(work, text->length / 8) || !builder_add_ascii(work, builder, "\""))
		return false;
	for (size_t i = 0; i < text->length; i += n_bytes)
	{
		char escape[16];

		if (!json_escape(text_character(text->bytes, text->length, i, &n_bytes), style->ascii_only, escape))
			continue;
		if (!builder_add_slice(work, builder, text, done, i - done) || !builder_add_ascii(work, builder, escape))
			return false;
		done = i + n_bytes;
	}
	return builder_add_slice(work, builder, text, done, text->length - done) && builder_add_ascii(work, builder, "\"");
}

/* A new line and its indentation, where the style wants one. */
static bool
json_line(Workspace *work, TextBuilder *builder, const JsonStyle *style, size_t level)
{
	if (style->indent < 0 && !style->indent_text)
		return true;
	if (!builder_add_ascii(work, builder, "\n"))
		return false;
	for (size_t i = 0; i < level; i++)
	{
		if (style->indent_text)
		{
			if (!builder_add_text(work, builder, style->indent_text))
				return false;
			continue;
		}
		for (int64_t k = 0; k < style->indent; k++)
			if (!workspace_step(work, 1) || !builder_add_ascii(work, builder, " "))
				return false;
	}
	return true;
}

/* What stands before item i of an array or object: a separator and maybe a line. */
static bool
json_separate(Workspace *work, TextBuilder *builder, const JsonStyle *style, size_t level, size_t i)
{
	bool in_lines = style->indent >= 0 || style->indent_text;

	if (i > 0 && style->between_items && !builder_add_text(work, builder, style->between_items))
		return false;
	if (i > 0 && !style->between_items && !builder_add_ascii(work, builder, in_lines ? "," : ", "))
		return false;
	return json_line(work, builder, style, level);
}

/* A key of an object: json.dumps makes a string of numbers, booleans and none. */
static bool
json_key(Workspace *work, TextBuilder *builder, Value key, const JsonStyle *style)
{
	if (key.kind == VALUE_TEXT)
		return json_text(work, builder, key.as.text, style);
	if (key.kind != VALUE_NONE && !value_is_number(key))
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "%s cannot be a key in JSON", value_kind_name(key));
	return builder_add_ascii(work, builder, "\"") && value_write_json(work, builder, key, style, 0) &&
		   builder_add_ascii(work, builder, "\"");
}

/* The order in which an object's entries are written. */
static size_t *
json_order(Workspace *work, const Dict *dict, const JsonStyle *style)
{
	size_t *order = workspace_alloc(work, dict->n, sizeof *order);
	Value *keys;

	if (!order)
		return NULL;
	for (size_t i = 0; i < dict->n; i++)
		order[i] = i;
	if (!style->sort_keys)
		return order;
	keys = workspace_alloc(work, dict->n, sizeof *keys);
	if (!keys)
		return NULL;
	for (size_t i = 0; i < dict->n; i++)
		keys[i] = dict->entries[i].key;
	return sort_by_keys(work, keys, order, dict->n, false) ? order : NULL;
}

/* An object. */
static bool
json_dict(Workspace *work, TextBuilder *builder, const Dict *dict, const JsonStyle *style, size_t level)
{
	size_t *order = json_order(work, dict, style);

	if (!order || !builder_add_ascii(work, builder, "{"))
		return false;
	for (size_t i = 0; i < dict->n; i++)
	{
		const DictEntry *entry = &dict->entries[order[i]];

		if (!json_separate(work, builder, style, level + 1, i) || !json_key(work, builder, entry->key, style))
			return false;
		if (style->after_key ? !builder_add_text(work, builder, style->after_key)
							 : !builder_add_ascii(work, builder, ": "))
			return false;
		if (!value_write_json(work, builder, entry->value, style, level + 1))
			return false;
	}
	return (dict->n == 0 || json_line(work, builder, style, level)) && builder_add_ascii(work, builder, "}");
}

/* An array. */
static bool
json_list(Workspace *work, TextBuilder *builder, const List *list, const JsonStyle *style, size_t level)
{
	if (list->kind > LIST_TUPLE)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "%s cannot be written as JSON",
							  value_kind_name((Value){.kind = VALUE_LIST, .as.list = (List *) list}));
	if (!builder_add_ascii(work, builder, "["))
		return false;
	for (size_t i = 0; i < list->n; i++)
		if (!json_separate(work, builder, style, level + 1, i) ||
			!value_write_json(work, builder, list->items[i], style, level + 1))
			return false;
	return (list->n == 0 || json_line(work, builder, style, level)) && builder_add_ascii(work, builder, "]");
}

bool
value_write_json(Workspace *work, TextBuilder *builder, Value value, const JsonStyle *style, size_t level)
{
	bool ok;

	if (!workspace_step(work, 1) || !workspace_enter(work))
		return false;
	switch (value.kind)
	{
		case VALUE_NONE:
			ok = builder_add_ascii(work, builder, "null");
			break;
		case VALUE_BOOL:
			ok = builder_add_ascii(work, builder, value.as.boolean ? "true" : "false");
			break;
		case VALUE_FLOAT:
			if (value.digits)
				ok = value_print(work, builder, value);
			else if (isnan(value.as.number))
				ok = builder_add_ascii(work, builder, "NaN");
			else if (isinf(value.as.number))
				ok = builder_add_ascii(work, builder, value.as.number < 0 ? "-Infinity" : "Infinity");
			else
				ok = value_print(work, builder, value);
			break;
		case VALUE_INT:
			ok = value_print(work, builder, value);
			break;
		case VALUE_TEXT:
			ok = json_text(work, builder, value.as.text, style);
			break;
		case VALUE_LIST:
			ok = json_list(work, builder, value.as.list, style, level);
			break;
		case VALUE_DICT:
			ok = json_dict(work, builder, value.as.dict, style, level);
			break;
		case VALUE_UNDEFINED:
			ok = fail_undefined(work, value);
			break;
		default:
			ok = workspace_fail(work, STATUS_INVALID_ARGUMENT, "%s cannot be written as JSON", value_kind_name(value));
			break;
	}
	workspace_leave(work);
	return ok;
}
