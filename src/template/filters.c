/*
 * filters.c - the table of filters, and those over strings and numbers; sequences are in filter_sequence.c.
 *
 * tojson is the one that transformers sets up: json.dumps with ensure_ascii=False, keys in their order, and the
 * arguments ensure_ascii, indent, separators, sort_keys.
 */
#include "filters.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The check of filters that take no argument. */
static bool
refuse_arguments(Interpreter *interpreter, const Arguments *arguments, const char *what)
{
	return arguments_bind(interpreter->work, arguments, what, NULL, 0, NULL);
}

/* Hand out a text, or the failure that NULL stands for. */
static bool
give_text(Text *text, Value *out)
{
	*out = value_text(text);
	return text != NULL;
}

/* Read the style that tojson's arguments ask for. */
static bool
read_json_style(Interpreter *interpreter, const Arguments *arguments, JsonStyle *style)
{
	static const char *const names[] = {"ensure_ascii", "indent", "separators", "sort_keys"};
	Workspace *work = interpreter->work;
	Value values[4];

	*style = (JsonStyle){.indent = -1};
	if (!arguments_bind(work, arguments, "the filter tojson", names, 4, values))
		return false;
	style->ascii_only = value_is_true(values[0]);
	style->sort_keys = value_is_true(values[3]);
	if (value_is_integer(values[1]))
	{
		style->indent = value_integer(values[1]);
		if (style->indent < 0)
			style->indent = 0;
		if (style->indent > 1000)
			return workspace_fail(work, STATUS_TOO_LONG, "tojson with an indent over 1000");
	}
	else if (values[1].kind == VALUE_TEXT)
	{
		style->indent_text = value_to_text(work, values[1]);
		if (!style->indent_text)
			return false;
	}
	else if (values[1].kind != VALUE_MISSING && values[1].kind != VALUE_NONE)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "tojson does not take %s as indent",
							  value_kind_name(values[1]));
	if (values[2].kind == VALUE_MISSING || values[2].kind == VALUE_NONE)
		return true;
	if (values[2].kind != VALUE_LIST || values[2].as.list->n != 2 || values[2].as.list->items[0].kind != VALUE_TEXT ||
		values[2].as.list->items[1].kind != VALUE_TEXT)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "tojson needs two strings as separators");
	style->between_items = value_to_text(work, values[2].as.list->items[0]);
	style->after_key = value_to_text(work, values[2].as.list->items[1]);
	return style->between_items && style->after_key;
}

/* value | tojson */
static bool
filter_tojson(Interpreter *interpreter, Value input, const Arguments *arguments, Value *out)
{
	TextBuilder builder = {0};
	JsonStyle style;

	if (!read_json_style(interpreter, arguments, &style) ||
		!value_write_json(interpreter->work, &builder, input, &style, 0))
		return false;
	return give_text(builder_finish(interpreter->work, &builder), out);
}

/* value | trim */
static bool
filter_trim(Interpreter *interpreter, Value input, const Arguments *arguments, Value *out)
{
	static const char *const names[] = {"chars"};
	const Text *characters = NULL;
	const Text *text;
	Value value;

	if (!arguments_bind(interpreter->work, arguments, "the filter trim", names, 1, &value))
		return false;
	if (value.kind == VALUE_TEXT)
	{
		characters = value_to_text(interpreter->work, value);
		if (!characters)
			return false;
	}
	else if (value.kind != VALUE_MISSING && value.kind != VALUE_NONE)
		return workspace_fail(interpreter->work, STATUS_INVALID_ARGUMENT, "trim does not take %s",
							  value_kind_name(value));
	text = value_to_text(interpreter->work, input);
	return text && give_text(text_strip(interpreter->work, text, characters, true, true), out);
}

/* value | length */
static bool
filter_length(Interpreter *interpreter, Value input, const Arguments *arguments, Value *out)
{
	size_t length = 0;

	if (!refuse_arguments(interpreter, arguments, "the filter length"))
		return false;
	if (input.kind == VALUE_LOOP)
		return get_attribute(interpreter, input, &(Text){.bytes = "length", .length = 6}, out);
	if (!value_length(interpreter->work, input, &length))
		return false;
	*out = value_int((int64_t) length);
	return true;
}

/* value | default */
static bool
filter_default(Interpreter *interpreter, Value input, const Arguments *arguments, Value *out)
{
	static const char *const names[] = {"default_value", "boolean"};
	Value values[2];

	if (!arguments_bind(interpreter->work, arguments, "the filter default", names, 2, values))
		return false;
	*out = input;
	if (input.kind != VALUE_UNDEFINED && (!value_is_true(values[1]) || value_is_true(input)))
		return true;
	if (values[0].kind != VALUE_MISSING)
	{
		*out = values[0];
		return true;
	}
	return give_text(text_from_bytes(interpreter->work, "", 0, false), out);
}

/* upper, lower, capitalize and title. */
static bool
change_case(Interpreter *interpreter, Value input, const Arguments *arguments, Value *out, TextCase wanted)
{
	const Text *text;

	if (!refuse_arguments(interpreter, arguments, "the filter"))
		return false;
	text = value_to_text(interpreter->work, input);
	return text && give_text(text_change_case(interpreter->work, text, wanted), out);
}

/* value | upper */
static bool
filter_upper(Interpreter *interpreter, Value input, const Arguments *arguments, Value *out)
{
	return change_case(interpreter, input, arguments, out, TEXT_UPPER);
}

/* value | lower */
static bool
filter_lower(Interpreter *interpreter, Value input, const Arguments *arguments, Value *out)
{
	return change_case(interpreter, input, arguments, out, TEXT_LOWER);
}

/* value | capitalize */
static bool
filter_capitalize(Interpreter *interpreter, Value input, const Arguments *arguments, Value *out)
{
	return change_case(interpreter, input, arguments, out, TEXT_CAPITALIZE);
}

/* value | title */
static bool
filter_title(Interpreter *interpreter, Value input, const Arguments *arguments, Value *out)
{
	return change_case(interpreter, input, arguments, out, TEXT_TITLE_WORDS);
}

/* value | replace */
static bool
filter_replace(Interpreter *interpreter, Value input, const Arguments *arguments, Value *out)
{
	static const char *const names[] = {"old", "new", "count"};
	Workspace *work = interpreter->work;
	const Text *text, *old_part, *new_part;
	int64_t max_count = -1;
	Value values[3];

	if (!arguments_bind(work, arguments, "the filter replace", names, 3, values))
		return false;
	if (values[0].kind == VALUE_MISSING || values[1].kind == VALUE_MISSING)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "replace needs two strings");
	if (value_is_integer(values[2]))
		max_count = value_integer(values[2]);
	else if (values[2].kind != VALUE_MISSING && values[2].kind != VALUE_NONE)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "replace does not take %s as count",
							  value_kind_name(values[2]));
	text = value_to_text(work, input);
	old_part = value_to_text(work, values[0]);
	new_part = value_to_text(work, values[1]);
	return text && old_part && new_part && give_text(text_replace(work, text, old_part, new_part, max_count), out);
}

/* value | string */
static bool
filter_string(Interpreter *interpreter, Value input, const Arguments *arguments, Value *out)
{
	return refuse_arguments(interpreter, arguments, "the filter string") &&
		   give_text(value_to_text(interpreter->work, input), out);
}

/* A text that is marked as safe, or escaped first. */
static bool
mark_safe(Interpreter *interpreter, Value input, bool escapes, Value *out)
{
	Text *text = value_to_text(interpreter->work, input);

	if (!text)
		return false;
	if (escapes && !text->safe)
		return give_text(text_escape(interpreter->work, text), out);
	text = text_slice(interpreter->work, text, 0, text->length);
	if (!text)
		return false;
	text->safe = true;
	*out = value_text(text);
	return true;
}

/* value | safe */
static bool
filter_safe(Interpreter *interpreter, Value input, const Arguments *arguments, Value *out)
{
	return refuse_arguments(interpreter, arguments, "the filter safe") && mark_safe(interpreter, input, false, out);
}

/* value | escape */
static bool
filter_escape(Interpreter *interpreter, Value input, const Arguments *arguments, Value *out)
{
	return refuse_arguments(interpreter, arguments, "the filter escape") && mark_safe(interpreter, input, true, out);
}

/* Copy a text without its outer white space into buffer; false: nothing is left, or it does not fit. */
static bool
copy_number(const Text *text, char *buffer, size_t size)
{
	size_t start = 0, end = text->length;

	while (start < end && is_space_character((unsigned char) text->bytes[start]))
		start++;
	while (end > start && is_space_character((unsigned char) text->bytes[end - 1]))
		end--;
	if (end == start || end - start >= size)
		return false;
	memcpy(buffer, text->bytes + start, end - start);
	buffer[end - start] = '\0';
	return true;
}

/* float(text) of decimal numbers; false: it is none. */
static bool
parse_float(const Text *text, double *number)
{
	char buffer[400];
	char *end;

	if (!copy_number(text, buffer, sizeof buffer) || strpbrk(buffer, "xXpP_"))
		return false;
	*number = strtod(buffer, &end);
	return *end == '\0' && end != buffer && !strchr(buffer, '(');
}

/* int(text, base); false: it is no such number. *overflow: it is one of more than 64 bits. */
static bool
parse_integer(const Text *text, int64_t base, int64_t *integer, bool *overflow)
{
	char buffer[400];
	char *end;

	if (base < 2 || base > 36 || !copy_number(text, buffer, sizeof buffer))
		return false;
	errno = 0;
	*integer = strtoll(buffer, &end, (int) base);
	*overflow = errno == ERANGE;
	return *end == '\0' && end != buffer;
}

/* int(value) of a float or the text of one; false: there is none. */
static bool
truncate_number(double number, int64_t *integer, bool *overflow)
{
	if (isnan(number) || isinf(number))
		return false;
	*overflow = fabs(number) >= 9223372036854775808.0;
	*integer = *overflow ? 0 : (int64_t) number;
	return true;
}

/* value | int */
static bool
filter_int(Interpreter *interpreter, Value input, const Arguments *arguments, Value *out)
{
	static const char *const names[] = {"default", "base"};
	Workspace *work = interpreter->work;
	int64_t integer = 0, base = 10;
	bool overflow = false, is_number = false;
	double number;
	Value values[2];

	if (!arguments_bind(work, arguments, "the filter int", names, 2, values))
		return false;
	if (value_is_integer(values[1]))
		base = value_integer(values[1]);
	if (input.kind == VALUE_UNDEFINED)
		return fail_undefined(work, input);
	if (value_is_integer(input))
	{
		integer = value_integer(input);
		is_number = true;
	}
	else if (input.kind == VALUE_FLOAT)
		is_number = truncate_number(input.as.number, &integer, &overflow);
	else if (input.kind == VALUE_TEXT)
	{
		const Text *text = value_to_text(work, input);

		if (!text)
			return false;
		is_number = parse_integer(text, base, &integer, &overflow) ||
					(parse_float(text, &number) && truncate_number(number, &integer, &overflow));
	}
	if (overflow)
		return workspace_fail(work, STATUS_UNSUPPORTED, "an integer of more than 64 bits is not supported");
	*out = is_number ? value_int(integer) : values[0].kind == VALUE_MISSING ? value_int(0) : values[0];
	return true;
}

/* value | float */
static bool
filter_float(Interpreter *interpreter, Value input, const Arguments *arguments, Value *out)
{
	static const char *const names[] = {"default"};
	double number = 0;
	Value fallback;

	if (!arguments_bind(interpreter->work, arguments, "the filter float", names, 1, &fallback))
		return false;
	if (input.kind == VALUE_UNDEFINED)
		return fail_undefined(interpreter->work, input);
	*out = fallback.kind == VALUE_MISSING ? value_float(0) : fallback;
	if (value_is_number(input))
		*out = value_float(value_number(input));
	else if (input.kind == VALUE_TEXT)
	{
		const Text *text = value_to_text(interpreter->work, input);

		if (!text)
			return false;
		if (parse_float(text, &number))
			*out = value_float(number);
	}
	return true;
}

/* value | abs */
static bool
filter_abs(Interpreter *interpreter, Value input, const Arguments *arguments, Value *out)
{
	Workspace *work = interpreter->work;

	if (!refuse_arguments(interpreter, arguments, "the filter abs"))
		return false;
	if (input.kind == VALUE_UNDEFINED)
		return fail_undefined(work, input);
	if (!value_is_number(input))
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "%s has no sign", value_kind_name(input));
	if (input.kind == VALUE_FLOAT)
		*out = value_float(fabs(input.as.number));
	else if (value_integer(input) == INT64_MIN)
		return workspace_fail(work, STATUS_UNSUPPORTED, "an integer of more than 64 bits is not supported");
	else
		*out = value_int(value_integer(input) < 0 ? -value_integer(input) : value_integer(input));
	return true;
}

/* round(number, precision) of a float, correctly rounded as Python does. */
static double
round_float(double number, int64_t precision)
{
	char digits[400];

	if (!isfinite(number) || precision > 300)
		return number;
	snprintf(digits, sizeof digits, "%.*f", (int) precision, number);
	return strtod(digits, NULL);
}

/* value | round */
static bool
filter_round(Interpreter *interpreter, Value input, const Arguments *arguments, Value *out)
{
	static const char *const names[] = {"precision", "method"};
	Workspace *work = interpreter->work;
	int64_t precision = 0;
	const Text *method = NULL;
	Value values[2];
	double scale;

	if (!arguments_bind(work, arguments, "the filter round", names, 2, values))
		return false;
	if (values[0].kind != VALUE_MISSING && value_is_integer(values[0]))
		precision = value_integer(values[0]);
	if (values[1].kind == VALUE_TEXT && !(method = value_to_text(work, values[1])))
		return false;
	if (input.kind == VALUE_UNDEFINED)
		return fail_undefined(work, input);
	if (!value_is_number(input) || (values[0].kind != VALUE_MISSING && !value_is_integer(values[0])))
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "round needs numbers");
	if (precision < 0)
		return workspace_fail(work, STATUS_UNSUPPORTED, "round to a negative precision is not supported");
	if (!method || text_is(method, "common"))
	{
		*out = value_is_integer(input) ? value_int(value_integer(input))
									   : value_float(round_float(input.as.number, precision));
		return true;
	}
	if (!text_is(method, "ceil") && !text_is(method, "floor"))
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "round knows the methods common, ceil and floor");
	scale = pow(10.0, (double) precision);
	*out = value_float(
		(text_is(method, "ceil") ? ceil(value_number(input) * scale) : floor(value_number(input) * scale)) / scale);
	return true;
}

/* Append one line, indented where the filter indent wants it. */
static bool
add_line(Workspace *work, TextBuilder *builder, const Text *text, const size_t bounds[2], const Text *indention,
		 bool is_indented)
{
	return workspace_step(work, 1) && (!is_indented || builder_add_text(work, builder, indention)) &&
		   builder_add_slice(work, builder, text, bounds[0], bounds[1] - bounds[0]);
}

/* value | indent */
static bool
filter_indent(Interpreter *interpreter, Value input, const Arguments *arguments, Value *out)
{
	static const char *const names[] = {"width", "first", "blank"};
	Workspace *work = interpreter->work;
	const Text *text = value_to_text(work, input);
	Text *indention;
	TextBuilder builder = {0};
	Value values[3];

	if (!text || !arguments_bind(work, arguments, "the filter indent", names, 3, values))
		return false;
	if (input.kind != VALUE_TEXT)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "indent needs a string, not %s", value_kind_name(input));
	if (values[0].kind == VALUE_TEXT)
		indention = value_to_text(work, values[0]);
	else if (values[0].kind == VALUE_MISSING || value_is_integer(values[0]))
		indention = text_repeat(work, text_from_bytes(work, " ", 1, false),
								values[0].kind == VALUE_MISSING ? 4 : value_integer(values[0]));
	else
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "indent does not take %s", value_kind_name(values[0]));
	if (!indention)
		return false;
	for (size_t start = 0, n_lines = 0;; n_lines++)
	{
		const char *end = start < text->length ? memchr(text->bytes + start, '\n', text->length - start) : NULL;
		size_t stop = end ? (size_t) (end - text->bytes) : text->length;
		bool wanted = n_lines == 0 ? value_is_true(values[1]) : (stop > start || value_is_true(values[2]));

		if (!add_line(work, &builder, text, (size_t[2]){start, stop}, indention, wanted))
			return false;
		if (!end)
			break;
		if (!builder_add_slice(work, &builder, text, stop, 1))
			return false;
		start = stop + 1;
	}
	return give_text(builder_finish(work, &builder), out);
}

static const struct
{
	const char *name;
	FilterFunction apply;
} filters[] = {
	{"abs", filter_abs},
	{"capitalize", filter_capitalize},
	{"count", filter_length},
	{"d", filter_default},
	{"default", filter_default},
	{"dictsort", filter_dictsort},
	{"e", filter_escape},
	{"escape", filter_escape},
	{"first", filter_first},
	{"float", filter_float},
	{"indent", filter_indent},
	{"int", filter_int},
	{"items", filter_items},
	{"join", filter_join},
	{"last", filter_last},
	{"length", filter_length},
	{"list", filter_list},
	{"lower", filter_lower},
	{"map", filter_map},
	{"max", filter_max},
	{"min", filter_min},
	{"reject", filter_reject},
	{"rejectattr", filter_rejectattr},
	{"replace", filter_replace},
	{"reverse", filter_reverse},
	{"round", filter_round},
	{"safe", filter_safe},
	{"select", filter_select},
	{"selectattr", filter_selectattr},
	{"sort", filter_sort},
	{"string", filter_string},
	{"sum", filter_sum},
	{"title", filter_title},
	{"tojson", filter_tojson},
	{"trim", filter_trim},
	{"unique", filter_unique},
	{"upper", filter_upper},
};

int
filter_find(const char *name, size_t length)
{
	for (size_t i = 0; i < sizeof filters / sizeof filters[0]; i++)
		if (strlen(filters[i].name) == length && memcmp(filters[i].name, name, length) == 0)
			return (int) i;
	return -1;
}

bool
filter_apply(Interpreter *interpreter, int filter, Value input, const Arguments *arguments, Value *out)
{
	bool ok;

	if (!workspace_step(interpreter->work, 1) || !workspace_enter(interpreter->work))
		return false;
	ok = filters[filter].apply(interpreter, input, arguments, out);
	workspace_leave(interpreter->work);
	return ok;
}
