/*
 * json_input.c - see json_input.h. Everything made here is data: no byte of it is trusted.
 */
#include "json_input.h"

#include "../base/json_tree.h"
#include "../base/utf8.h"
#include "interpreter.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Where in the input a value stands, for sentences: name[index]. */
typedef struct Place
{
	const char *name;
	size_t index;
} Place;

static bool convert(Workspace *work, const Place *place, const JsonNode *json, Value *out);

/* The failure of a reader that got no memory. */
static bool
fail_memory(Workspace *work, const char *name, size_t length)
{
	size_t left = work->memory_limit - arena_used(work->arena);

	if (length + 1024 > left / 4)
		return workspace_fail(work, STATUS_TOO_LONG, "%s of %zu bytes: their values need more than %zu MiB of memory",
							  name, length, work->memory_limit >> 20);
	return workspace_fail(work, STATUS_UNAVAILABLE, "out of memory for %s", name);
}

/* Parse the text and make sure that it is an array. */
static bool
parse_array(Workspace *work, const char *name, const char *text, size_t length, const JsonNode **root)
{
	JsonError error = {.what = NULL};
	unsigned line, column;

	if (!utf8_is_valid(text, length))
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "%s is not valid UTF-8", name);
	*root = json_tree_read(work->arena, (ByteSpan){text, length}, JSON_STRICT, NULL, &error);
	if (error.out_of_memory)
		return fail_memory(work, name, length);
	if (!*root)
	{
		json_place((ByteSpan){text, length}, error.offset, &line, &column);
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "%s is not valid JSON: %s at line %u, column %u", name,
							  error.what, line, column);
	}
	if ((*root)->kind != NODE_IS_ARRAY)
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

/* The significant digits of a number and the place of its point: 0.DIGITS * 10^exponent. False: more digits than room.
 */
static bool
split_number(const char *number, char *digits, size_t room, long *exponent)
{
	long point = 0, written = 0;
	size_t n = 0;
	bool has_point = false;

	for (; *number && *number != 'e' && *number != 'E'; number++)
	{
		has_point |= *number == '.';
		if (*number < '0' || *number > '9')
			continue;
		if (n > 0 || *number != '0')
		{
			if (n < room)
				digits[n] = *number;
			else if (*number != '0')
				return false;
			n++;
			point += !has_point;
		}
		else
			point -= has_point;
	}
	if (*number)
		written = strtol(number + 1, NULL, 10);
	n = n < room ? n : room;
	while (n > 0 && digits[n - 1] == '0')
		n--;
	digits[n] = '\0';
	*exponent = n ? point + (written > 1000000 ? 1000000 : written < -1000000 ? -1000000 : written) : 0;
	return true;
}

/* Is a number what a double's own digits say? */
static bool
is_held(const char *written, double number)
{
	char own[FLOAT_TEXT_BYTES], left[20], right[20];
	long left_exponent, right_exponent;

	if (!isfinite(number))
		return false;
	format_float(number, own);
	return split_number(written, left, sizeof left - 1, &left_exponent) &&
		   split_number(own, right, sizeof right - 1, &right_exponent) && strcmp(left, right) == 0 &&
		   left_exponent == right_exponent;
}

/* A number: Python's int where 64 bits hold it, its float, or else both its value and its digits. */
static bool
convert_number(Workspace *work, const JsonNode *json, Value *out)
{
	char *written = arena_copy(work->arena, json->source, json->source_bytes);
	long long integer;

	if (!written)
		return fail_memory(work, "a number", json->source_bytes);
	errno = 0;
	if (!strpbrk(written, ".eE"))
	{
		integer = strtoll(written, NULL, 10);
		*out = value_int(integer);
		if (errno == 0)
			return true;
	}
	*out = value_float(strtod(written, NULL));
	if (strpbrk(written, ".eE") && is_held(written, out->as.number))
		return true;
	out->digits = text_from_bytes(work, written, json->source_bytes, false);
	return out->digits != NULL;
}

/* A list of an array's elements. */
static bool
convert_array(Workspace *work, const Place *place, const JsonNode *json, Value *out)
{
	List *list = list_create(work, LIST_PLAIN, json->n);

	if (!list)
		return false;
	for (const JsonNode *item = json->first; item; item = item->next)
	{
		if (!convert(work, place, item, &list->items[list->n]))
			return false;
		list->n++;
	}
	*out = value_list(list);
	return true;
}

/* A dictionary of an object's members, in their order. */
static bool
convert_object(Workspace *work, const Place *place, const JsonNode *json, Value *out)
{
	Dict *dict = dict_create(work, json->n);

	if (!dict)
		return false;
	for (const JsonNode *member = json->first; member; member = member->next)
	{
		Value key, value;

		if (!convert_string(work, place, member->key, member->key_bytes, &key) ||
			!convert(work, place, member, &value) || !dict_append(work, dict, key, value))
			return false;
	}
	*out = (Value){.kind = VALUE_DICT, .as.dict = dict};
	return true;
}

/* Any JSON value. */
static bool
convert(Workspace *work, const Place *place, const JsonNode *json, Value *out)
{
	bool ok = true;

	if (work->depth >= TEMPLATE_MAX_JSON_DEPTH)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "%s[%zu] is nested deeper than %d levels", place->name,
							  place->index, TEMPLATE_MAX_JSON_DEPTH);
	work->depth++;
	switch (json->kind)
	{
		case NODE_IS_OBJECT:
			ok = convert_object(work, place, json, out);
			break;
		case NODE_IS_ARRAY:
			ok = convert_array(work, place, json, out);
			break;
		case NODE_IS_STRING:
			ok = convert_string(work, place, json->text, json->n, out);
			break;
		case NODE_IS_NUMBER:
			ok = convert_number(work, json, out);
			break;
		case NODE_IS_BOOL:
			*out = value_bool(json->boolean);
			break;
		default:
			*out = value_none();
			break;
	}
	work->depth--;
	return ok;
}

static bool
is_absent(const JsonNode *json)
{
	return !json || json->kind == NODE_IS_NULL;
}

static bool
is_string(const JsonNode *json)
{
	return json && json->kind == NODE_IS_STRING;
}

static bool
key_is(const JsonNode *member, const char *key)
{
	return json_compare(member->key, member->key_bytes, key, strlen(key)) == 0;
}

/* A text of our own as a key or a value. */
static bool
own_text(Workspace *work, const char *word, Value *out)
{
	Text *text = text_from_bytes(work, word, strlen(word), false);

	*out = value_text(text);
	return text != NULL;
}

/* Append key (of our own) with a value. */
static bool
append(Workspace *work, Dict *dict, const char *key, Value value)
{
	Value name;

	return own_text(work, key, &name) && dict_append(work, dict, name, value);
}

/* The role must be one that templates know; developer is what newer interfaces call system. */
static bool
read_role(Workspace *work, const Place *place, const JsonNode *message, Value *out)
{
	static const char *const roles[] = {"system", "user", "assistant", "tool"};
	const JsonNode *role = json_member_named(message, "role");

	if (!role)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "messages[%zu] has no \"role\"", place->index);
	if (!is_string(role))
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "messages[%zu].role must be a string", place->index);
	if (json_string_is(role, "developer"))
		return own_text(work, "system", out);
	for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++)
		if (json_string_is(role, roles[i]))
			return own_text(work, roles[i], out);
	return workspace_fail(work, STATUS_INVALID_ARGUMENT,
						  "messages[%zu] has the unknown role \"%.*s\": roles are system, developer, user, assistant "
						  "and tool",
						  place->index, (int) (role->n < 60 ? role->n : 60), role->text);
}

/* The object that a call's arguments are, or that their text is. */
static bool
read_arguments(Workspace *work, const Place *place, const JsonNode *arguments, size_t call, Value *out)
{
	const JsonNode *object = arguments;
	JsonError error = {.what = NULL};
	ByteSpan text = {"", 0};

	if (is_string(arguments))
	{
		text = (ByteSpan){arguments->text, arguments->n};
		while (text.length && strchr(" \t\r\n", text.data[0]))
			text = (ByteSpan){text.data + 1, text.length - 1};
		object = text.length ? json_tree_read(work->arena, text, JSON_STRICT, NULL, &error) : NULL;
		if (error.out_of_memory)
			return fail_memory(work, "arguments", text.length);
		if (text.length && !object)
			return workspace_fail(work, STATUS_INVALID_ARGUMENT,
								  "messages[%zu].tool_calls[%zu] has arguments whose text is not valid JSON: %s at "
								  "byte %zu",
								  place->index, call, error.what, error.offset + 1);
	}
	if (is_absent(object))
	{
		Dict *none = dict_create(work, 0);

		*out = (Value){.kind = VALUE_DICT, .as.dict = none};
		return none != NULL;
	}
	if (object->kind != NODE_IS_OBJECT)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT,
							  "messages[%zu].tool_calls[%zu] has arguments that are neither a JSON object nor the text "
							  "of one",
							  place->index, call);
	return convert(work, place, object, out);
}

/* A call without its wrapper: name and arguments. */
static bool
read_function(Workspace *work, const Place *place, const JsonNode *function, size_t call, Value *out)
{
	const JsonNode *name = json_member_named(function, "name"), *arguments = json_member_named(function, "arguments");
	Dict *dict = dict_create(work, function->n + 1u);
	Value object;

	if (!is_string(name) || name->n == 0)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT,
							  "messages[%zu].tool_calls[%zu] must have a \"name\" that is a string", place->index,
							  call);
	if (!dict || !read_arguments(work, place, arguments, call, &object))
		return false;
	for (const JsonNode *member = function->first; member; member = member->next)
	{
		Value key, value = object;

		if (!convert_string(work, place, member->key, member->key_bytes, &key) ||
			(member != arguments && !convert(work, place, member, &value)) || !dict_append(work, dict, key, value))
			return false;
	}
	*out = (Value){.kind = VALUE_DICT, .as.dict = dict};
	return arguments || append(work, dict, "arguments", object);
}

/* A call, with or without the wrapper {"type": "function", "function": {…}}. */
static bool
read_call(Workspace *work, const Place *place, const JsonNode *json, size_t call, Value *out)
{
	const JsonNode *function = json_member_named(json, "function");
	Value inner;
	Dict *dict;

	if (json->kind != NODE_IS_OBJECT)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "messages[%zu].tool_calls[%zu] must be an object",
							  place->index, call);
	if (is_absent(function))
		return read_function(work, place, json, call, out);
	if (function->kind != NODE_IS_OBJECT)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "messages[%zu].tool_calls[%zu].function must be an object",
							  place->index, call);
	dict = dict_create(work, json->n);
	if (!dict || !read_function(work, place, function, call, &inner))
		return false;
	for (const JsonNode *member = json->first; member; member = member->next)
	{
		Value key, value = inner;

		if (!convert_string(work, place, member->key, member->key_bytes, &key) ||
			(member != function && !convert(work, place, member, &value)) || !dict_append(work, dict, key, value))
			return false;
	}
	*out = (Value){.kind = VALUE_DICT, .as.dict = dict};
	return true;
}

/* The calls of a message; *n: how many. */
static bool
read_calls(Workspace *work, const Place *place, const JsonNode *message, Value *out, size_t *n)
{
	const JsonNode *calls = json_member_named(message, "tool_calls");
	List *list;

	*n = 0;
	*out = value_none();
	if (is_absent(calls))
		return true;
	if (calls->kind != NODE_IS_ARRAY)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "messages[%zu].tool_calls must be an array", place->index);
	list = list_create(work, LIST_PLAIN, calls->n);
	if (!list)
		return false;
	for (const JsonNode *call = calls->first; call; call = call->next)
	{
		if (!read_call(work, place, call, list->n, &list->items[list->n]))
			return false;
		list->n++;
	}
	*n = list->n;
	*out = value_list(list);
	return true;
}

/* The text of one part of a content. */
static bool
read_part(Workspace *work, const Place *place, const JsonNode *part, size_t index, TextBuilder *builder)
{
	const JsonNode *type = json_member_named(part, "type");
	const JsonNode *text = json_member_named(part, "text");
	Value value;

	if (!is_string(type))
		return workspace_fail(work, STATUS_INVALID_ARGUMENT,
							  "messages[%zu].content[%zu] must be an object with a \"type\"", place->index, index);
	if (!json_string_is(type, "text"))
		return workspace_fail(work, STATUS_INVALID_ARGUMENT,
							  "messages[%zu].content[%zu] has the type \"%.*s\", only \"text\" is known", place->index,
							  index, (int) (type->n < 60 ? type->n : 60), type->text);
	if (!is_string(text))
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "messages[%zu].content[%zu].text must be a string",
							  place->index, index);
	return convert_string(work, place, text->text, text->n, &value) && builder_add_text(work, builder, value.as.text);
}

/* The content of a message as the template is to see it. spared: something else makes up for one that is missing. */
static bool
read_content(Workspace *work, const Place *place, const JsonNode *message, bool has_calls, bool spared, bool keep_none,
			 Value *out)
{
	const JsonNode *content = json_member_named(message, "content");
	TextBuilder builder = {0};
	size_t index = 0;

	if (is_string(content))
		return convert_string(work, place, content->text, content->n, out);
	if (is_absent(content) && has_calls && keep_none)
	{
		*out = value_none();
		return true;
	}
	if (is_absent(content) && !has_calls && !spared)
		return content
				   ? workspace_fail(work, STATUS_INVALID_ARGUMENT,
									"messages[%zu].content is null, which only \"tool_calls\" make up for",
									place->index)
				   : workspace_fail(work, STATUS_INVALID_ARGUMENT, "messages[%zu] has no \"content\"", place->index);
	if (!is_absent(content) && content->kind != NODE_IS_ARRAY)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT,
							  "messages[%zu].content must be a string or an array of text parts", place->index);
	for (const JsonNode *part = is_absent(content) ? NULL : content->first; part; part = part->next)
		if (!read_part(work, place, part, index++, &builder))
			return false;
	*out = value_text(builder_finish(work, &builder));
	return out->as.text != NULL;
}

/* What an assistant thought, by whatever name it is sent; NULL: nothing. */
static const JsonNode *
find_reasoning(const JsonNode *message)
{
	static const char *const names[] = {"reasoning_content", "reasoning", "thinking"};

	if (!json_string_is(json_member_named(message, "role"), "assistant"))
		return NULL;
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (is_string(json_member_named(message, names[i])))
			return json_member_named(message, names[i]);
	return NULL;
}

/* A flat text's part. */
static Text *
part_of(Workspace *work, const Text *text, size_t start, size_t end)
{
	return text_from_bytes(work, text->bytes + start, end - start, false);
}

/*
 * The parts of an answer that has begun. Thinking stands in reasoning_content or, as the model wrote it, in front of
 * </think> in the content.
 */
static bool
split_answer(Workspace *work, Text *content, Text *reasoning, bool can_think, BegunAnswer *begun)
{
	static const char open_tag[] = "<think>", close_tag[] = "</think>";
	const size_t open_bytes = sizeof open_tag - 1, close_bytes = sizeof close_tag - 1;
	const char *close = content->length ? memmem(content->bytes, content->length, close_tag, close_bytes) : NULL;
	size_t start = 0, end;

	begun->content = content;
	begun->is_closed = content->length > 0;
	begun->thinking = can_think && reasoning && reasoning->length > 0 ? reasoning : NULL;
	if (!can_think || begun->thinking)
		return true;
	while (start < content->length && (content->bytes[start] == ' ' || content->bytes[start] == '\n'))
		start++;
	if (content->length - start >= open_bytes && memcmp(content->bytes + start, open_tag, open_bytes) == 0)
		start += open_bytes;
	else if (!close)
		return true;
	end = close ? (size_t) (close - content->bytes) : content->length;
	begun->thinking = part_of(work, content, start < end ? start : end, end);
	begun->content = part_of(work, content, close ? end + close_bytes : content->length, content->length);
	begun->is_closed = close != NULL;
	return begun->thinking && begun->content;
}

/* One message. */
static bool
read_message(Workspace *work, const Place *place, const JsonNode *message, const MessageRules *rules, bool is_last,
			 Value *out, BegunAnswer *begun)
{
	const JsonNode *reasoning = find_reasoning(message);
	bool splits = is_last && rules->splits_last && json_string_is(json_member_named(message, "role"), "assistant");
	bool spared = reasoning && reasoning->n > 0 && (rules->takes_reasoning || (splits && rules->can_think));
	Value role, content, calls, thoughts = value_none();
	size_t n_calls;
	Dict *dict;

	if (message->kind != NODE_IS_OBJECT)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "messages[%zu] must be an object", place->index);
	if (!read_role(work, place, message, &role) || !read_calls(work, place, message, &calls, &n_calls) ||
		!read_content(work, place, message, n_calls > 0, spared, rules->keep_none, &content) ||
		(reasoning && !convert_string(work, place, reasoning->text, reasoning->n, &thoughts)))
		return false;
	dict = dict_create(work, message->n + 2u);
	if (!dict)
		return false;
	for (const JsonNode *member = message->first; member; member = member->next)
	{
		Value key, value = key_is(member, "role") ? role : key_is(member, "content") ? content : calls;

		if (!convert_string(work, place, member->key, member->key_bytes, &key))
			return false;
		/* a reasoning_content that is null gives way to what is sent by another name */
		if (key_is(member, "reasoning_content") && reasoning)
			value = thoughts;
		else if (!key_is(member, "role") && !key_is(member, "content") && !key_is(member, "tool_calls") &&
				 !convert(work, place, member, &value))
			return false;
		if (!dict_append(work, dict, key, value))
			return false;
	}
	if ((reasoning && !json_member_named(message, "reasoning_content") &&
		 !append(work, dict, "reasoning_content", thoughts)) ||
		(!json_member_named(message, "content") && !append(work, dict, "content", content)))
		return false;
	*out = (Value){.kind = VALUE_DICT, .as.dict = dict};
	if (!splits || n_calls > 0)
		return true;
	begun->given = true;
	return text_flatten(work, content.as.text) &&
		   split_answer(work, content.as.text, reasoning ? thoughts.as.text : NULL, rules->can_think, begun);
}

bool
read_messages(Workspace *work, const char *text, size_t length, const MessageRules *rules, Value *out,
			  BegunAnswer *begun)
{
	const JsonNode *root;
	List *list;

	*begun = (BegunAnswer){.given = false};
	if (!parse_array(work, "messages", text, length, &root))
		return false;
	if (root->n == 0)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "messages must not be empty");
	list = list_create(work, LIST_PLAIN, root->n);
	if (!list)
		return false;
	for (const JsonNode *message = root->first; message; message = message->next)
	{
		Place place = {"messages", list->n};

		if (!read_message(work, &place, message, rules, !message->next, &list->items[list->n], begun))
			return false;
		list->n++;
	}
	if (begun->given)
		list->n--;
	*out = value_list(list);
	return true;
}

/* A tool without a name cannot be called, and one whose parameters are no schema not rightly: say what lacks. */
static bool
check_tool(Workspace *work, const JsonNode *tool, size_t index)
{
	static const struct
	{
		const char *name, *what;
		JsonNodeKind kind;
	} beside[] = {{"strict", "true or false", NODE_IS_BOOL}, {"description", "a string", NODE_IS_STRING}};
	const JsonNode *inner = json_member_named(tool, "function"), *own, *name, *parameters;
	const char *where = inner ? ".function" : "", *keyword = "parameters";

	if (tool->kind != NODE_IS_OBJECT)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "tools[%zu] must be an object", index);
	if (inner && inner->kind != NODE_IS_OBJECT)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "tools[%zu].function must be an object", index);
	own = inner ? inner : tool;
	name = json_member_named(own, "name");
	if (!name && !inner && json_string_is(json_member_named(tool, "type"), "function"))
		return workspace_fail(work, STATUS_INVALID_ARGUMENT,
							  "tools[%zu] has no \"function\": {\"type\": \"function\", \"function\": {\"name\": "
							  "\"...\", \"parameters\": {...}}}",
							  index);
	if (!name)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "tools[%zu]%s has no \"name\"", index, where);
	if (name->kind != NODE_IS_STRING || name->n == 0 || memchr(name->text, 0, name->n))
		return workspace_fail(work, STATUS_INVALID_ARGUMENT,
							  "tools[%zu]%s.name must be a string that is not empty and holds no NUL", index, where);
	parameters = json_member_named(own, keyword);
	if (!parameters)
		parameters = json_member_named(own, keyword = "input_schema");
	if (parameters && parameters->kind != NODE_IS_OBJECT && parameters->kind != NODE_IS_BOOL &&
		parameters->kind != NODE_IS_NULL)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "tools[%zu]%s.%s must be a JSON schema, an object", index,
							  where, keyword);
	for (size_t i = 0; i < sizeof beside / sizeof *beside; i++)
	{
		const JsonNode *value = json_member_named(own, beside[i].name);

		if (value && value->kind != NODE_IS_NULL && value->kind != (uint8_t) beside[i].kind)
			return workspace_fail(work, STATUS_INVALID_ARGUMENT, "tools[%zu]%s.%s must be %s", index, where,
								  beside[i].name, beside[i].what);
	}
	return true;
}

bool
read_tools(Workspace *work, const char *text, size_t length, Value *out)
{
	const JsonNode *root;
	List *list;

	if (!parse_array(work, "tools", text, length, &root))
		return false;
	list = list_create(work, LIST_PLAIN, root->n);
	if (!list)
		return false;
	for (const JsonNode *tool = root->first; tool; tool = tool->next)
	{
		Place place = {"tools", list->n};

		if (!check_tool(work, tool, list->n) || !convert(work, &place, tool, &list->items[list->n]))
			return false;
		list->n++;
	}
	*out = value_list(list);
	return true;
}
