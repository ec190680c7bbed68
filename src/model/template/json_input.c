/*
 * json_input.c - see json_input.h. Everything made here is data: no byte of it is trusted.
 */
#include "json_input.h"

#include "../../base/utf8.h"
#include "../json_memory.h"

#include <string.h>

/* Where in the input a value stands, for sentences: name[index]. */
typedef struct Place
{
	const char *name;
	size_t index;
} Place;

static bool convert(Workspace *work, const Place *place, json_t *json, Value *out);

/* Parse the text and make sure that it is an array. */
static bool
parse_array(Workspace *work, const char *name, const char *text, size_t length, json_t **root)
{
	json_error_t error;
	bool out_of_memory;

	*root = NULL;
	if (!utf8_is_valid(text, length))
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "%s is not valid UTF-8", name);
	*root = json_memory_load(text, length, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error, &out_of_memory);
	if (out_of_memory)
		return workspace_fail(work, STATUS_UNAVAILABLE, "out of memory for %s", name);
	if (!*root && json_error_code(&error) == json_error_numeric_overflow)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT,
							  "%s has a number that is too large at line %d, column %d; whole numbers have 64 bits", name,
							  error.line, error.column);
	if (!*root)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "%s is not valid JSON: %s at line %d, column %d", name,
							  error.text, error.line, error.column);
	if (!json_is_array(*root))
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "%s must be a JSON array", name);
	return true;
}

/* A text over a JSON string's own memory. */
static bool
convert_string(Workspace *work, const Place *place, const char *bytes, size_t length, Value *out)
{
	Text *text;

	if (length && memchr(bytes, '\0', length))
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "%s[%zu] contains a NUL character", place->name,
							  place->index);
	text = text_from_bytes(work, bytes, length, false);
	*out = value_text(text);
	return text != NULL;
}

/* A list of an array's elements. */
static bool
convert_array(Workspace *work, const Place *place, json_t *json, Value *out)
{
	List *list = list_create(work, LIST_PLAIN, json_array_size(json));

	if (!list)
		return false;
	for (size_t i = 0; i < json_array_size(json); i++)
	{
		if (!convert(work, place, json_array_get(json, i), &list->items[i]))
			return false;
		list->n++;
	}
	*out = value_list(list);
	return true;
}

/* A dictionary of an object's members, in their order. */
static bool
convert_object(Workspace *work, const Place *place, json_t *json, Value *out)
{
	Dict *dict = dict_create(work, json_object_size(json));

	if (!dict)
		return false;
	for (void *iter = json_object_iter(json); iter; iter = json_object_iter_next(json, iter))
	{
		const char *key = json_object_iter_key(iter);
		Value key_value, value;

		if (!convert_string(work, place, key, strlen(key), &key_value) ||
			!convert(work, place, json_object_iter_value(iter), &value) || !dict_append(work, dict, key_value, value))
			return false;
	}
	*out = (Value){.kind = VALUE_DICT, .as.dict = dict};
	return true;
}

/* Any JSON value. */
static bool
convert(Workspace *work, const Place *place, json_t *json, Value *out)
{
	bool ok = true;

	if (work->depth >= TEMPLATE_MAX_JSON_DEPTH)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "%s[%zu] is nested deeper than %d levels", place->name,
							  place->index, TEMPLATE_MAX_JSON_DEPTH);
	work->depth++;
	switch (json_typeof(json))
	{
		case JSON_OBJECT:
			ok = convert_object(work, place, json, out);
			break;
		case JSON_ARRAY:
			ok = convert_array(work, place, json, out);
			break;
		case JSON_STRING:
			ok = convert_string(work, place, json_string_value(json), json_string_length(json), out);
			break;
		case JSON_INTEGER:
			*out = value_int(json_integer_value(json));
			break;
		case JSON_REAL:
			*out = value_float(json_real_value(json));
			break;
		case JSON_TRUE:
		case JSON_FALSE:
			*out = value_bool(json_is_true(json));
			break;
		case JSON_NULL:
			*out = value_none();
			break;
	}
	work->depth--;
	return ok;
}

/* The role must be one that templates know. */
static bool
check_role(Workspace *work, const Place *place, json_t *message)
{
	static const char *const roles[] = {"system", "user", "assistant", "tool"};
	json_t *role = json_object_get(message, "role");

	if (!role)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "messages[%zu] has no \"role\"", place->index);
	if (!json_is_string(role))
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "messages[%zu].role must be a string", place->index);
	for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++)
		if (strcmp(json_string_value(role), roles[i]) == 0 && json_string_length(role) == strlen(roles[i]))
			return true;
	return workspace_fail(work, STATUS_INVALID_ARGUMENT, "messages[%zu] has the unknown role \"%.*s\"", place->index,
						  (int) (json_string_length(role) < 60 ? json_string_length(role) : 60),
						  json_string_value(role));
}

/* tool_calls must be an array of objects where they are given at all; *given says whether they are. */
static bool
check_tool_calls(Workspace *work, const Place *place, json_t *message, bool *given)
{
	json_t *calls = json_object_get(message, "tool_calls");

	*given = false;
	if (!calls || json_is_null(calls))
		return true;
	if (!json_is_array(calls))
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "messages[%zu].tool_calls must be an array", place->index);
	for (size_t i = 0; i < json_array_size(calls); i++)
		if (!json_is_object(json_array_get(calls, i)))
			return workspace_fail(work, STATUS_INVALID_ARGUMENT, "messages[%zu].tool_calls[%zu] must be an object",
								  place->index, i);
	*given = json_array_size(calls) > 0;
	return true;
}

/* The text of one part of a content. */
static bool
read_part(Workspace *work, const Place *place, json_t *part, size_t index, TextBuilder *builder)
{
	json_t *type = json_object_get(part, "type");
	json_t *text = json_object_get(part, "text");
	Value value;

	if (!json_is_object(part) || !json_is_string(type))
		return workspace_fail(work, STATUS_INVALID_ARGUMENT,
							  "messages[%zu].content[%zu] must be an object with a \"type\"", place->index, index);
	if (strcmp(json_string_value(type), "text") != 0)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT,
							  "messages[%zu].content[%zu] has the type \"%.60s\", only \"text\" is known", place->index,
							  index, json_string_value(type));
	if (!json_is_string(text))
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "messages[%zu].content[%zu].text must be a string",
							  place->index, index);
	return convert_string(work, place, json_string_value(text), json_string_length(text), &value) &&
		   builder_add_text(work, builder, value.as.text);
}

/* The content of a message as the template is to see it. */
static bool
read_content(Workspace *work, const Place *place, json_t *message, bool keep_none, Value *out)
{
	json_t *content = json_object_get(message, "content");
	TextBuilder builder = {0};
	bool has_calls;

	if (!check_tool_calls(work, place, message, &has_calls))
		return false;
	if (json_is_string(content))
		return convert_string(work, place, json_string_value(content), json_string_length(content), out);
	if (!content && !has_calls)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "messages[%zu] has no \"content\"", place->index);
	if ((!content || json_is_null(content)) && has_calls && keep_none)
	{
		*out = value_none();
		return true;
	}
	if (json_is_null(content) && !has_calls)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT,
							  "messages[%zu].content is null, which only \"tool_calls\" make up for", place->index);
	if (content && !json_is_null(content) && !json_is_array(content))
		return workspace_fail(work, STATUS_INVALID_ARGUMENT,
							  "messages[%zu].content must be a string or an array of text parts", place->index);
	for (size_t i = 0; i < json_array_size(content); i++)
		if (!read_part(work, place, json_array_get(content, i), i, &builder))
			return false;
	*out = value_text(builder_finish(work, &builder));
	return out->as.text != NULL;
}

/* One message. */
static bool
read_message(Workspace *work, const Place *place, json_t *message, bool keep_none, Value *out)
{
	Text *name = text_from_bytes(work, "content", 7, false);
	Value content;
	Dict *dict;

	if (!name)
		return false;
	if (!json_is_object(message))
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "messages[%zu] must be an object", place->index);
	if (!check_role(work, place, message) || !read_content(work, place, message, keep_none, &content))
		return false;
	dict = dict_create(work, json_object_size(message) + 1);
	if (!dict)
		return false;
	for (void *iter = json_object_iter(message); iter; iter = json_object_iter_next(message, iter))
	{
		const char *key = json_object_iter_key(iter);
		Value key_value, value = content;

		if (!convert_string(work, place, key, strlen(key), &key_value))
			return false;
		if (strcmp(key, "content") != 0 && !convert(work, place, json_object_iter_value(iter), &value))
			return false;
		if (!dict_append(work, dict, key_value, value))
			return false;
	}
	*out = (Value){.kind = VALUE_DICT, .as.dict = dict};
	return json_object_get(message, "content") || dict_append(work, dict, value_text(name), content);
}

bool
read_messages(Workspace *work, const char *text, size_t length, bool keep_none, json_t **root, Value *out)
{
	List *list;

	if (!parse_array(work, "messages", text, length, root))
		return false;
	if (json_array_size(*root) == 0)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "messages must not be empty");
	list = list_create(work, LIST_PLAIN, json_array_size(*root));
	if (!list)
		return false;
	for (size_t i = 0; i < json_array_size(*root); i++)
	{
		Place place = {"messages", i};

		if (!read_message(work, &place, json_array_get(*root, i), keep_none, &list->items[i]))
			return false;
		list->n++;
	}
	*out = value_list(list);
	return true;
}

bool
read_tools(Workspace *work, const char *text, size_t length, json_t **root, Value *out)
{
	List *list;

	if (!parse_array(work, "tools", text, length, root))
		return false;
	list = list_create(work, LIST_PLAIN, json_array_size(*root));
	if (!list)
		return false;
	for (size_t i = 0; i < json_array_size(*root); i++)
	{
		Place place = {"tools", i};

		if (!json_is_object(json_array_get(*root, i)))
			return workspace_fail(work, STATUS_INVALID_ARGUMENT, "tools[%zu] must be an object", i);
		if (!convert(work, &place, json_array_get(*root, i), &list->items[i]))
			return false;
		list->n++;
	}
	*out = value_list(list);
	return true;
}
