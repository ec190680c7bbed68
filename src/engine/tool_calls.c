/*
 * tool_calls.c - <tool_call> blocks to JSON; see tool_calls.h.
 *
 * Bounded by the answer's own length (max_tokens). Jansson reads and writes the JSON and keeps the order of keys.
 */
#include "tool_calls.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../model/json_memory.h"

static const char block_open[] = "<tool_call>";
static const char block_close[] = "</tool_call>";
static const char function_open[] = "<function=";
static const char function_close[] = "</function>";
static const char parameter_open[] = "<parameter=";
static const char parameter_close[] = "</parameter>";

/* The first place of needle in span, or NULL. */
static const char *
span_find(ByteSpan span, const char *needle)
{
	return span.length ? memmem(span.data, span.length, needle, strlen(needle)) : NULL;
}

/* What lies between from (inside span) and span's end. */
static ByteSpan
span_from(ByteSpan span, const char *from)
{
	return (ByteSpan){from, span.length - (size_t) (from - span.data)};
}

static bool
is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* span without white space at both ends. */
static ByteSpan
span_trim(ByteSpan span)
{
	while (span.length && is_space(span.data[0]))
		span = (ByteSpan){span.data + 1, span.length - 1};
	while (span.length && is_space(span.data[span.length - 1]))
		span.length--;
	return span;
}

/* {"type": "function", "function": {"name": name, "arguments": arguments}}; takes over both; NULL without memory. */
static json_t *
call_object(json_t *name, json_t *arguments)
{
	return json_pack("{s:s, s:{s:o, s:o}}", "type", "function", "function", "name", name, "arguments", arguments);
}

/* The object that arguments stand for, some models write it as a string; NULL when there is none. A new reference. */
static json_t *
arguments_object(json_t *arguments)
{
	json_t *inner;

	if (!arguments || json_is_null(arguments))
		return json_object();
	if (json_is_object(arguments))
		return json_incref(arguments);
	if (!json_is_string(arguments))
		return NULL;
	inner = json_loadb(json_string_value(arguments), json_string_length(arguments), JSON_REJECT_DUPLICATES, NULL);
	if (inner && !json_is_object(inner))
	{
		json_decref(inner);
		inner = NULL;
	}
	return inner;
}

/* A call in the JSON form, or NULL when block is not one. */
static json_t *
parse_json_call(ByteSpan block)
{
	json_t *root = json_loadb(block.data, block.length, JSON_REJECT_DUPLICATES, NULL);
	json_t *name = json_object_get(root, "name");
	json_t *arguments = json_is_string(name) ? arguments_object(json_object_get(root, "arguments")) : NULL;
	json_t *call = NULL;

	if (arguments)
		call = call_object(json_incref(name), arguments);
	json_decref(root);
	return call;
}

/* The schema's "type" of a tool's parameter, or NULL when the tools do not say. */
static const char *
parameter_type(const json_t *tools, const char *function, const char *parameter)
{
	size_t i;
	json_t *tool;

	json_array_foreach((json_t *) tools, i, tool)
	{
		json_t *inner = json_object_get(tool, "function");
		json_t *described = inner ? inner : tool;
		const char *name = json_string_value(json_object_get(described, "name"));
		json_t *properties = json_object_get(json_object_get(described, "parameters"), "properties");

		if (name && strcmp(name, function) == 0)
			return json_string_value(json_object_get(json_object_get(properties, parameter), "type"));
	}
	return NULL;
}

/* A parameter's value: JSON where the schema says it is no string and the text can be read so, else the text itself. */
static json_t *
parameter_value(ByteSpan text, const char *type)
{
	json_t *value = NULL;

	if (type && strcmp(type, "string") != 0)
		value = json_loadb(text.data, text.length, JSON_DECODE_ANY, NULL);
	return value ? value : json_stringn(text.data, text.length);
}

/* The part of a tag's text up to '>', e.g. NAME in <function=NAME>; *rest is what follows the '>'. */
static bool
tag_name(ByteSpan after_open, ByteSpan *name, ByteSpan *rest)
{
	const char *end = span_find(after_open, ">");

	if (!end)
		return false;
	*name = span_trim((ByteSpan){after_open.data, (size_t) (end - after_open.data)});
	*rest = span_from(after_open, end + 1);
	return name->length > 0;
}

/* One newline at each end of a Coder parameter belongs to the format, not to the value. */
static ByteSpan
strip_format_newlines(ByteSpan value)
{
	if (value.length && value.data[0] == '\n')
		value = (ByteSpan){value.data + 1, value.length - 1};
	if (value.length && value.data[value.length - 1] == '\n')
		value.length--;
	return value;
}

/* Put all <parameter=KEY>VALUE</parameter> of body into arguments; false when body is malformed. */
static bool
parse_parameters(ByteSpan body, const json_t *tools, const char *function, json_t *arguments)
{
	const char *open;

	while ((open = span_find(body, parameter_open)) != NULL)
	{
		ByteSpan name, rest, value;
		const char *close;
		json_t *key;
		int failed;

		if (!tag_name(span_from(body, open + strlen(parameter_open)), &name, &rest))
			return false;
		close = span_find(rest, parameter_close);
		if (!close || !(key = json_stringn(name.data, name.length)))
			return false;
		value = strip_format_newlines((ByteSpan){rest.data, (size_t) (close - rest.data)});
		failed = json_object_set_new(arguments, json_string_value(key),
									 parameter_value(value, parameter_type(tools, function, json_string_value(key))));
		json_decref(key);
		if (failed)
			return false;
		body = span_from(rest, close + strlen(parameter_close));
	}
	return true;
}

/* A call in the Coder form, or NULL when block is not one. */
static json_t *
parse_tag_call(ByteSpan block, const json_t *tools)
{
	const char *open = span_find(block, function_open);
	const char *close;
	ByteSpan name, rest;
	json_t *arguments;
	json_t *function = NULL;

	if (open != block.data || !tag_name(span_from(block, open + strlen(function_open)), &name, &rest))
		return NULL;
	close = span_find(rest, function_close);
	if (!close)
		return NULL;
	rest.length = (size_t) (close - rest.data);
	arguments = json_object();
	function = json_stringn(name.data, name.length);
	if (!arguments || !function || !parse_parameters(rest, tools, json_string_value(function), arguments))
	{
		json_decref(arguments);
		json_decref(function);
		return NULL;
	}
	return call_object(function, arguments);
}

/* Append text, without the white space that stood between it and a removed block; a line end joins what two of them
 * parted. */
static void
append_content(ByteWriter *content, ByteSpan text, bool after_block, bool before_block)
{
	while (after_block && text.length && is_space(text.data[0]))
		text = (ByteSpan){text.data + 1, text.length - 1};
	while (before_block && text.length && is_space(text.data[text.length - 1]))
		text.length--;
	if (after_block && text.length && content->length)
		write_raw(content, "\n", 1);
	write_raw(content, text.data, text.length);
}

/* The shortest digits that read as the same number; Jansson itself would write 0.1 as 0.10000000000000001. */
static void
write_real(double value, ByteWriter *out)
{
	char text[40];

	for (int digits = 15; digits <= 17; digits++)
	{
		snprintf(text, sizeof text, "%.*g", digits, value);
		if (strtod(text, NULL) == value)
			break;
	}
	if (!strpbrk(text, ".e"))
		snprintf(text + strlen(text), sizeof text - strlen(text), ".0");
	write_raw(out, text, strlen(text));
}

static void write_json(json_t *value, ByteWriter *out);

/* Strings, and what has one spelling only. */
static void
write_plain(json_t *value, ByteWriter *out)
{
	char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);

	if (text)
		write_raw(out, text, strlen(text));
	else
		out->failed = true;
	free(text);
}

static void
write_object(json_t *object, ByteWriter *out)
{
	const char *separator = "{";
	const char *key;
	json_t *value;

	json_object_foreach(object, key, value)
	{
		json_t *name = json_string(key);

		write_raw(out, separator, 1);
		write_plain(name, out);
		write_raw(out, ":", 1);
		write_json(value, out);
		json_decref(name);
		separator = ",";
	}
	write_raw(out, "{}", json_object_size(object) ? 0 : 1);
	write_raw(out, "}", 1);
}

/* JSON text without white space. Its depth is bounded by the reader's. */
static void
write_json(json_t *value, ByteWriter *out)
{
	size_t i;
	json_t *item;

	if (json_is_object(value))
		write_object(value, out);
	else if (json_is_array(value))
	{
		write_raw(out, "[", 1);
		json_array_foreach(value, i, item)
		{
			write_raw(out, ",", i > 0);
			write_json(item, out);
		}
		write_raw(out, "]", 1);
	}
	else if (json_is_real(value))
		write_real(json_real_value(value), out);
	else
		write_plain(value, out);
}

/* Write the array of calls as JSON text. */
static Status
write_calls(json_t *array, ByteWriter *calls)
{
	write_json(array, calls);
	return calls->failed ? status_error(STATUS_UNAVAILABLE, "out of memory for tool calls") : status_ok();
}

Status
tool_calls_extract(ByteSpan answer, ByteSpan tools_text, ByteWriter *content, ByteWriter *calls, uint32_t *n_calls)
{
	uint64_t failures = json_memory_failures();
	json_t *tools = tools_text.data ? json_loadb(tools_text.data, tools_text.length, 0, NULL) : NULL;
	json_t *array = json_array();
	ByteSpan left = answer;
	ByteSpan text = answer; /* begins after the last removed block, up to left's begin */
	Status status = status_ok();
	bool after_block = false;
	const char *open;

	while (array && (open = span_find(left, block_open)) != NULL)
	{
		ByteSpan body = span_from(left, open + strlen(block_open));
		const char *close = span_find(body, block_close);
		/* models sometimes stop without closing the last block */
		ByteSpan block = span_trim(close ? (ByteSpan){body.data, (size_t) (close - body.data)} : body);
		json_t *call = parse_json_call(block);

		if (!call)
			call = parse_tag_call(block, tools);
		left = close ? span_from(body, close + strlen(block_close)) : (ByteSpan){body.data + body.length, 0};
		if (!call)
			continue;
		json_array_append_new(array, call);
		append_content(content, (ByteSpan){text.data, (size_t) (open - text.data)}, after_block, true);
		text = span_from(answer, left.data);
		after_block = true;
	}
	append_content(content, text, after_block, false);
	*n_calls = (uint32_t) json_array_size(array);
	if (array && *n_calls)
		status = write_calls(array, calls);
	/* a call that there was no memory for would stand in the content as if it were none */
	if (!array || content->failed || json_memory_failures() != failures)
		status = status_error(STATUS_UNAVAILABLE, "out of memory for tool calls");
	json_decref(array);
	json_decref(tools);
	return status;
}
