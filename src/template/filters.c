/*
 * filters.c - filters over strings and numbers; those over sequences are in filter_sequence.c.
 *
 * tojson is the one that transformers sets up: json.dumps with ensure_ascii=False, keys in their order, and the
 * arguments ensure_ascii, indent, separators, sort_keys.
 */
#include "operations.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Read the style that tojson's arguments ask for. */
static bool
read_json_style(Workspace *work, const Value *values, JsonStyle *style)
{
	*style = (JsonStyle){.indent = -1};
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
bool
filter_tojson(const Call *call, Value *out)
{
	TextBuilder builder = {0};
	JsonStyle style;

	if (!read_json_style(call->work, call->values, &style) ||
		!value_write_json(call->work, &builder, call->self, &style, 0))
		return false;
	return give_text(builder_finish(call->work, &builder), out);
}

/* value | trim */
bool
filter_trim(const Call *call, Value *out)
{
	const Text *characters = NULL;
	const Text *text;
	Value value = call->values[0];

	if (value.kind == VALUE_TEXT)
	{
		characters = value_to_text(call->work, value);
		if (!characters)
			return false;
	}
	else if (value.kind != VALUE_MISSING && value.kind != VALUE_NONE)
		return workspace_fail(call->work, STATUS_INVALID_ARGUMENT, "trim does not take %s", value_kind_name(value));
	text = value_to_text(call->work, call->self);
	return text && give_text(text_strip(call->work, text, characters, true, true), out);
}

/* value | length */
bool
filter_length(const Call *call, Value *out)
{
	size_t length = 0;

	if (call->self.kind == VALUE_LOOP)
		return get_attribute(call->interpreter, call->self, &(Text){.bytes = "length", .length = 6}, out);
	if (!value_length(call->work, call->self, &length))
		return false;
	*out = value_int((int64_t) length);
	return true;
}

/* value | default */
bool
filter_default(const Call *call, Value *out)
{
	const Value *values = call->values;

	*out = call->self;
	if (call->self.kind != VALUE_UNDEFINED && (!value_is_true(values[1]) || value_is_true(call->self)))
		return true;
	if (values[0].kind != VALUE_MISSING)
	{
		*out = values[0];
		return true;
	}
	return give_text(text_from_bytes(call->work, "", 0, false), out);
}

/* value | upper, lower, capitalize and title */
bool
filter_case(const Call *call, Value *out)
{
	const Text *text = value_to_text(call->work, call->self);

	return text && give_text(text_change_case(call->work, text, (TextCase) call->operation->variant), out);
}

/* value | replace */
bool
filter_replace(const Call *call, Value *out)
{
	Workspace *work = call->work;
	const Text *text, *old_part, *new_part;
	int64_t max_count = -1;
	const Value *values = call->values;

	if (values[0].kind == VALUE_MISSING || values[1].kind == VALUE_MISSING)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "replace needs two strings");
	if (value_is_integer(values[2]))
		max_count = value_integer(values[2]);
	else if (values[2].kind != VALUE_MISSING && values[2].kind != VALUE_NONE)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "replace does not take %s as count",
							  value_kind_name(values[2]));
	text = value_to_text(work, call->self);
	old_part = value_to_text(work, values[0]);
	new_part = value_to_text(work, values[1]);
	return text && old_part && new_part && give_text(text_replace(work, text, old_part, new_part, max_count), out);
}

/* value | string */
bool
filter_string(const Call *call, Value *out)
{
	return give_text(value_to_text(call->work, call->self), out);
}

/* A text that is marked as safe, or escaped first. */
static bool
mark_safe(Workspace *work, Value input, bool escapes, Value *out)
{
	Text *text = value_to_text(work, input);

	if (!text)
		return false;
	if (escapes && !text->safe)
		return give_text(text_escape(work, text), out);
	text = text_slice(work, text, 0, text->length);
	if (!text)
		return false;
	text->safe = true;
	*out = value_text(text);
	return true;
}

/* value | safe */
bool
filter_safe(const Call *call, Value *out)
{
	return mark_safe(call->work, call->self, false, out);
}

/* value | escape */
bool
filter_escape(const Call *call, Value *out)
{
	return mark_safe(call->work, call->self, true, out);
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
bool
filter_int(const Call *call, Value *out)
{
	Workspace *work = call->work;
	int64_t integer = 0, base = 10;
	bool overflow = false, is_number = false;
	double number;
	const Value *values = call->values;

	if (value_is_integer(values[1]))
		base = value_integer(values[1]);
	if (call->self.kind == VALUE_UNDEFINED)
		return fail_undefined(work, call->self);
	if (value_is_integer(call->self))
	{
		integer = value_integer(call->self);
		is_number = true;
	}
	else if (call->self.kind == VALUE_FLOAT)
		is_number = truncate_number(call->self.as.number, &integer, &overflow);
	else if (call->self.kind == VALUE_TEXT)
	{
		const Text *text = value_to_text(work, call->self);

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
bool
filter_float(const Call *call, Value *out)
{
	double number = 0;
	Value fallback = call->values[0];

	if (call->self.kind == VALUE_UNDEFINED)
		return fail_undefined(call->work, call->self);
	*out = fallback.kind == VALUE_MISSING ? value_float(0) : fallback;
	if (value_is_number(call->self))
		*out = value_float(value_number(call->self));
	else if (call->self.kind == VALUE_TEXT)
	{
		const Text *text = value_to_text(call->work, call->self);

		if (!text)
			return false;
		if (parse_float(text, &number))
			*out = value_float(number);
	}
	return true;
}

/* value | abs */
bool
filter_abs(const Call *call, Value *out)
{
	Workspace *work = call->work;

	if (call->self.kind == VALUE_UNDEFINED)
		return fail_undefined(work, call->self);
	if (!value_is_number(call->self))
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "%s has no sign", value_kind_name(call->self));
	if (call->self.kind == VALUE_FLOAT)
		*out = value_float(fabs(call->self.as.number));
	else if (value_integer(call->self) == INT64_MIN)
		return workspace_fail(work, STATUS_UNSUPPORTED, "an integer of more than 64 bits is not supported");
	else
		*out = value_int(value_integer(call->self) < 0 ? -value_integer(call->self) : value_integer(call->self));
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
bool
filter_round(const Call *call, Value *out)
{
	Workspace *work = call->work;
	int64_t precision = 0;
	const Text *method = NULL;
	const Value *values = call->values;
	double scale;

	if (values[0].kind != VALUE_MISSING && value_is_integer(values[0]))
		precision = value_integer(values[0]);
	if (values[1].kind == VALUE_TEXT && !(method = value_to_text(work, values[1])))
		return false;
	if (call->self.kind == VALUE_UNDEFINED)
		return fail_undefined(work, call->self);
	if (!value_is_number(call->self) || (values[0].kind != VALUE_MISSING && !value_is_integer(values[0])))
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "round needs numbers");
	if (precision < 0)
		return workspace_fail(work, STATUS_UNSUPPORTED, "round to a negative precision is not supported");
	if (!method || text_is(method, "common"))
	{
		*out = value_is_integer(call->self) ? value_int(value_integer(call->self))
											: value_float(round_float(call->self.as.number, precision));
		return true;
	}
	if (!text_is(method, "ceil") && !text_is(method, "floor"))
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "round knows the methods common, ceil and floor");
	scale = pow(10.0, (double) precision);
	*out = value_float(
		(text_is(method, "ceil") ? ceil(value_number(call->self) * scale) : floor(value_number(call->self) * scale)) /
		scale);
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
bool
filter_indent(const Call *call, Value *out)
{
	Workspace *work = call->work;
	const Text *text = value_to_text(work, call->self);
	Text *indention;
	TextBuilder builder = {0};
	const Value *values = call->values;

	if (!text)
		return false;
	if (call->self.kind != VALUE_TEXT)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "indent needs a string, not %s",
							  value_kind_name(call->self));
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
