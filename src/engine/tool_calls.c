/*
 * tool_calls.c - see tool_calls.h.
 *
 * One walk over the tags of an answer. At each one that may begin a block, calls are read as long as they follow each
 * other; a tag after which there is none is text. Attempts that fail are paid from a budget that grows with the answer,
 * so that no answer makes us read it again and again; when it is used up the rest is text.
 */
#include "tool_calls.h"

#include "tool_schema.h"
#include "tool_tags.h"

#include <stdlib.h>
#include <string.h>

#define MAX_TAGS_MEMORY ((size_t) 256 << 20)

typedef struct Extraction
{
	ByteSpan answer;
	bool is_ended;
	Arena *lasting; /* tags */
	Arena *scratch; /* of one block */
	const ToolSet *tools;
	SchemaWork *schema_work;
	TagList tags;
	ByteWriter *content, *calls;
	uint32_t n_calls;
	size_t text_from;        /* behind the last removed block */
	bool after_block;        /* there was one */
	bool is_block_open;      /* one whose closing tag has not come yet, as text follows its calls */
	size_t bytes_left, work; /* for attempts at JSON, and at tags */
	bool out_of_memory;
} Extraction;

static bool
is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* The first place from at on that is no white space. */
static size_t
skip_space(ByteSpan text, size_t at)
{
	while (at < text.length && is_space(text.data[at]))
		at++;
	return at;
}

static ByteSpan
span_trim(ByteSpan span)
{
	while (span.length && is_space(span.data[0]))
		span = (ByteSpan){span.data + 1, span.length - 1};
	while (span.length && is_space(span.data[span.length - 1]))
		span.length--;
	return span;
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

/* Take start … end out of the text. */
static void
remove_block(Extraction *x, size_t start, size_t end)
{
	append_content(x->content, (ByteSpan){x->answer.data + x->text_from, start - x->text_from}, x->after_block, true);
	x->text_from = end;
	x->after_block = true;
}

static ByteSpan
string_span(const JsonNode *node)
{
	return (ByteSpan){node->text, node->n};
}

/* The beginning of a call, up to its arguments. */
static void
write_head(Extraction *x, ByteSpan name)
{
	static const char head[] = "{\"type\":\"function\",\"function\":{\"name\":", arguments[] = ",\"arguments\":";

	write_raw(x->calls, x->n_calls ? "," : "[", 1);
	write_raw(x->calls, head, strlen(head));
	json_write_string(x->calls, name.data, name.length);
	write_raw(x->calls, arguments, strlen(arguments));
}

/* Read JSON as models write it from a place on; an attempt that fails is paid for. */
static const JsonNode *
read_json(Extraction *x, ByteSpan text, size_t *end)
{
	const JsonNode *node = NULL;
	JsonError error = {.what = NULL};

	if (x->bytes_left > 0)
		node = json_tree_read(x->scratch, text, JSON_AS_WRITTEN, end, &error);
	x->out_of_memory |= error.out_of_memory;
	if (!node)
		x->bytes_left -= x->bytes_left < *end + 1 ? x->bytes_left : *end + 1;
	return node;
}

/* The object that arguments stand for; some models write it as a string. NULL: none. *none: there are none. */
static const JsonNode *
arguments_object(Extraction *x, const JsonNode *arguments, bool *none)
{
	ByteSpan text;
	size_t end = 0;

	*none = !arguments || arguments->kind == NODE_IS_NULL;
	if (*none || arguments->kind != NODE_IS_STRING)
		return arguments && arguments->kind == NODE_IS_OBJECT ? arguments : NULL;
	text = span_trim(string_span(arguments));
	*none = text.length == 0 || (text.length == 4 && memcmp(text.data, "null", 4) == 0);
	if (*none)
		return NULL;
	arguments = read_json(x, text, &end);
	return arguments && end == text.length && arguments->kind == NODE_IS_OBJECT && !arguments->is_open ? arguments
																									   : NULL;
}

/* Members of a call (or of its wrapper) that have no place in ours: behind "function", so that they are not lost. */
static bool
write_rest(Extraction *x, const JsonNode *object, const JsonNode *name, const JsonNode *arguments,
		   const JsonNode *inner)
{
	for (const JsonNode *member = object->first; member; member = member->next)
	{
		ByteSpan key = {member->key, member->key_bytes};
		bool is_type = key.length == 4 && memcmp(key.data, "type", 4) == 0;

		bool is_ours = member == name || member == arguments || member == inner;

		if (is_ours || (is_type && json_string_is(member, "function")))
			continue;
		if (is_type || (key.length == 8 && memcmp(key.data, "function", 8) == 0))
			return false;
		write_raw(x->calls, ",", 1);
		json_write_string(x->calls, key.data, key.length);
		write_raw(x->calls, ":", 1);
		json_write_node(x->calls, member);
	}
	return true;
}

/* Two members with one name, one of the wrapper and one of what it wraps, would be written twice. */
static bool
share_a_key(const JsonNode *wrapper, const JsonNode *inner)
{
	for (const JsonNode *member = inner->first; member; member = member->next)
		if (json_member(wrapper, member->key, member->key_bytes) &&
			!(json_string_is(member, "function") && member->key_bytes == 4))
			return true;
	return false;
}

/* Write the call that a JSON object is. False: it is none (what was written is to be dropped). */
static bool
write_json_call(Extraction *x, const JsonNode *object, bool may_be_open)
{
	const JsonNode *inner = json_member_named(object, "function"), *call = object, *name, *arguments, *values;
	bool none, is_open;

	if (object->kind != NODE_IS_OBJECT)
		return false;
	if (inner && inner->kind == NODE_IS_OBJECT && !json_member_named(object, "name") && !share_a_key(object, inner))
		call = inner;
	else
		inner = NULL;
	name = json_member_named(call, "name");
	if (!name || name->kind != NODE_IS_STRING || name->n == 0)
		return false;
	arguments = json_member_named(call, "arguments");
	if (!arguments)
		arguments = json_member_named(call, "parameters");
	values = arguments_object(x, arguments, &none);
	is_open = call->is_open && (!values || values->is_open);
	if ((!none && !values) || (is_open && !may_be_open))
		return false;
	write_head(x, string_span(name));
	if (values)
	{
		const JsonNode *root = tool_parameters(tool_find(x->tools, string_span(name)));
		const ToolSchema schemas = {root, x->scratch, &x->out_of_memory, x->schema_work};

		schema_write_members(&schemas, root, values, x->calls);
	}
	else
		write_raw(x->calls, "{}", 2);
	write_raw(x->calls, "}", 1);
	if (!write_rest(x, call, name, arguments, NULL) || (inner && !write_rest(x, object, NULL, NULL, inner)))
		return false;
	write_raw(x->calls, "}", 1);
	x->n_calls++;
	return true;
}

/* All calls of a JSON value: one, or an array of them. */
static bool
write_json_calls(Extraction *x, const JsonNode *value, bool may_be_open)
{
	size_t length = x->calls->length;
	uint32_t n_calls = x->n_calls;
	bool ok = value->kind == NODE_IS_ARRAY && value->n > 0 && (!value->is_open || may_be_open);

	if (value->kind != NODE_IS_ARRAY)
		ok = write_json_call(x, value, may_be_open);
	else
		for (const JsonNode *one = value->first; ok && one; one = one->next)
			ok = write_json_call(x, one, may_be_open);
	if (!ok)
	{
		x->calls->length = length;
		x->n_calls = n_calls;
	}
	return ok;
}

/* Does text at a place begin with a word? */
static bool
is_at(ByteSpan text, size_t at, const char *word)
{
	return text.length - at >= strlen(word) && memcmp(text.data + at, word, strlen(word)) == 0;
}

static const char block_close[] = "</tool_call>", function_open[] = "<function=";

/* Calls in JSON at a place; *at moves behind them. */
static bool
take_json(Extraction *x, size_t *at)
{
	ByteSpan text = {x->answer.data + *at, x->answer.length - *at};
	size_t end = 0;
	const JsonNode *value = read_json(x, text, &end);

	/* a block that was closed, or an answer that the model itself ended, lacks nothing but brackets */
	if (!value || !write_json_calls(x, value, x->is_ended || is_at(x->answer, *at + end, "</")))
	{
		x->bytes_left -= value ? (x->bytes_left < end ? x->bytes_left : end) : 0;
		return false;
	}
	*at += end;
	return true;
}

/* What tool_tags.c asks about a function. */
typedef struct KnownFunction
{
	ToolSchema schemas;
	const JsonNode *parameters;
} KnownFunction;

static bool
has_parameter(void *context, ByteSpan key)
{
	const KnownFunction *known = context;

	return schema_member(&known->schemas, known->parameters, key.data, key.length) != NULL;
}

static bool
takes_text(void *context, ByteSpan key)
{
	const KnownFunction *known = context;

	return schema_takes_text(&known->schemas, schema_member(&known->schemas, known->parameters, key.data, key.length));
}

/* The first tag that begins at or behind a place. */
static size_t
tag_from(const Extraction *x, size_t at)
{
	size_t low = 0, high = x->tags.n;

	while (low < high)
	{
		size_t middle = low + (high - low) / 2;

		if (x->tags.tags[middle].start < at)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* <function=NAME>{…}</function>: JSON between the tags of the Coder form. */
static bool
take_function_json(Extraction *x, const Tag *open, const KnownFunction *known, size_t *at)
{
	size_t from = skip_space(x->answer, open->end), end = 0, behind;
	const JsonNode *values;

	if (from == x->answer.length || x->answer.data[from] != '{')
		return false;
	values = read_json(x, (ByteSpan){x->answer.data + from, x->answer.length - from}, &end);
	if (!values)
		return false;
	behind = skip_space(x->answer, from + end);
	if (values->is_open || !is_at(x->answer, behind, "</function>"))
	{
		x->bytes_left -= x->bytes_left < end ? x->bytes_left : end;
		return false;
	}
	write_head(x, open->name);
	schema_write_members(&known->schemas, known->parameters, values, x->calls);
	*at = behind + strlen("</function>");
	return true;
}

/* The Coder form's call that begins with a tag; *at moves behind it. is_bare: without <tool_call>. */
static bool
take_function(Extraction *x, size_t tag, bool is_bare, size_t *at)
{
	const Tag *open = &x->tags.tags[tag];
	const JsonNode *tool = tool_find(x->tools, open->name), *root = tool_parameters(tool);
	KnownFunction known = {{root, x->scratch, &x->out_of_memory, x->schema_work}, root};
	FunctionView view = {&known, tool != NULL, has_parameter, takes_text};
	Parameter *parameters = NULL;
	size_t n = 0, end = 0;

	if (!take_function_json(x, open, &known, at))
	{
		if (!tags_read_function(x->scratch, x->answer, &x->tags, tag, &view, x->is_ended, &parameters, &n, &end,
								&x->work, &x->out_of_memory))
			return false;
		/* words about a function are no call of it */
		if (is_bare && !tool && n == 0)
			return false;
		write_head(x, open->name);
		for (size_t i = 0; i < n; i++)
		{
			write_raw(x->calls, i ? "," : "{", 1);
			json_write_string(x->calls, parameters[i].key.data, parameters[i].key.length);
			write_raw(x->calls, ":", 1);
			schema_write_text(&known.schemas,
							  schema_member(&known.schemas, root, parameters[i].key.data, parameters[i].key.length),
							  parameters[i].value, x->calls);
		}
		write_raw(x->calls, "{}", n ? 0 : 1);
		write_raw(x->calls, "}", 1);
		*at = end;
	}
	write_raw(x->calls, "}}", 2);
	x->n_calls++;
	return true;
}

/* Is what is left from at on the beginning of a closing tag that the end of the answer cut? */
static bool
is_cut_close(const Extraction *x, size_t at)
{
	size_t left = x->answer.length - at;

	return left > 0 && left < strlen(block_close) && memcmp(x->answer.data + at, block_close, left) == 0;
}

/* Calls that follow each other from at on; where they end (at itself: there are none). */
static size_t
take_calls(Extraction *x, size_t at, bool is_bare)
{
	uint32_t n_calls = x->n_calls;
	size_t end = at;

	while (at < x->answer.length)
	{
		bool is_json = !is_bare && (x->answer.data[at] == '{' || x->answer.data[at] == '[');
		bool is_function = is_at(x->answer, at, function_open);
		size_t tag = is_function ? tag_from(x, at) : 0;

		arena_reset(x->scratch);
		if (is_json ? !take_json(x, &at)
					: !is_function || x->tags.tags[tag].start != at || !take_function(x, tag, is_bare, &at))
			break;
		end = at;
		at = skip_space(x->answer, at);
		if (at < x->answer.length && x->answer.data[at] == ',' && !is_bare)
			at = skip_space(x->answer, at + 1);
	}
	return x->n_calls > n_calls ? end : at;
}

/* A tag that may begin calls: take them out. Where the walk goes on. */
static size_t
take_block(Extraction *x, const Tag *tag)
{
	bool is_bare = tag->kind == TAG_FUNCTION_OPEN;
	size_t begin = is_bare ? tag->start : skip_space(x->answer, tag->end);
	uint32_t n_calls = x->n_calls;
	size_t end = take_calls(x, begin, is_bare), behind;

	if (x->n_calls == n_calls)
		return tag->end;
	behind = skip_space(x->answer, end);
	if (is_at(x->answer, behind, block_close))
		end = behind + strlen(block_close);
	else if (is_cut_close(x, behind))
		end = x->answer.length;
	else
		x->is_block_open = !is_bare && behind < x->answer.length;
	remove_block(x, tag->start, end);
	return end;
}

/* The walk. */
static void
extract(Extraction *x)
{
	size_t at = 0;

	for (size_t i = 0; i < x->tags.n && !x->out_of_memory; i++)
	{
		const Tag *tag = &x->tags.tags[i];

		if (tag->start < at)
			continue;
		if (tag->kind == TAG_BLOCK_CLOSE && x->is_block_open)
		{
			/* what stood between the calls and their closing tag is text */
			remove_block(x, tag->start, tag->end);
			x->is_block_open = false;
		}
		if (tag->kind != TAG_BLOCK_OPEN && tag->kind != TAG_FUNCTION_OPEN)
			continue;
		if (tag->kind == TAG_BLOCK_OPEN)
			x->is_block_open = false;
		at = take_block(x, tag);
	}
	append_content(x->content, (ByteSpan){x->answer.data + x->text_from, x->answer.length - x->text_from},
				   x->after_block, false);
}

/* ---- calls that a format has kept in form ---- */

/* Text that comes next; *at moves behind it. */
static bool
take_word(const Extraction *x, size_t *at, const char *word)
{
	if (!is_at(x->answer, *at, word))
		return false;
	*at += strlen(word);
	return true;
}

/* A name up to "> and a line end", as it stands in a tag. */
static bool
take_tag_name(const Extraction *x, size_t *at, ByteSpan *name)
{
	const char *start = x->answer.data + *at, *end = memmem(start, x->answer.length - *at, ">\n", 2);

	if (!end)
		return false;
	*name = (ByteSpan){start, (size_t) (end - start)};
	*at += name->length + 2;
	return true;
}

/* Write a value of JSON that was kept in form. */
static bool
write_kept_json(Extraction *x, ByteSpan text)
{
	size_t end = 0;
	const JsonNode *value = read_json(x, text, &end);

	if (!value || end != text.length)
		return false;
	json_write_node(x->calls, value);
	return true;
}

/* {"name": NAME, "arguments": {...}} */
static bool
read_kept_json(Extraction *x, const Format *format, size_t *at)
{
	ByteSpan text = {x->answer.data + *at, x->answer.length - *at};
	size_t end = 0;
	const JsonNode *call = read_json(x, text, &end), *name = json_member_named(call, "name"),
				   *arguments = json_member_named(call, "arguments");

	if (!name || name->kind != NODE_IS_STRING || !arguments)
		return false;
	*at += end;
	if (!format_keeps_tool(format, string_span(name)))
		return write_json_call(x, call, false);
	write_head(x, string_span(name));
	json_write_node(x->calls, arguments);
	write_raw(x->calls, "}}", 2);
	x->n_calls++;
	return true;
}

/* The value of a parameter, by what its tool makes of it. */
static bool
write_kept_parameter(Extraction *x, const Format *format, ByteSpan function, ByteSpan name, ByteSpan value)
{
	const JsonNode *root = tool_parameters(tool_find(x->tools, function));
	const ToolSchema schemas = {root, x->scratch, &x->out_of_memory, x->schema_work};

	if (!format_keeps_tool(format, function))
		schema_write_text(&schemas, schema_member(&schemas, root, name.data, name.length), value, x->calls);
	else if (format_argument_is_text(format, function, name, value))
		json_write_string(x->calls, value.data, value.length);
	else
		return write_kept_json(x, value);
	return true;
}

/* NAME> and parameters, behind <function= */
static bool
read_kept_tags(Extraction *x, const Format *format, size_t *at)
{
	static const char close[] = "\n</parameter>\n";
	ByteSpan function, name;

	if (!take_tag_name(x, at, &function))
		return false;
	write_head(x, function);
	write_raw(x->calls, "{", 1);
	for (uint32_t n = 0; take_word(x, at, "<parameter="); n++)
	{
		const char *end;
		ByteSpan value;

		if (!take_tag_name(x, at, &name))
			return false;
		value.data = x->answer.data + *at;
		end = memmem(value.data, x->answer.length - *at, close, strlen(close));
		if (!end)
			return false;
		value.length = (size_t) (end - value.data);
		*at += value.length + strlen(close);
		write_raw(x->calls, ",", n > 0);
		json_write_string(x->calls, name.data, name.length);
		write_raw(x->calls, ":", 1);
		if (!write_kept_parameter(x, format, function, name, value))
			return false;
	}
	write_raw(x->calls, "}}}", 3);
	x->n_calls++;
	return take_word(x, at, "</function>");
}

/* The call that begins at a place. */
static bool
read_kept_call(Extraction *x, const Format *format, size_t *at)
{
	arena_reset(x->scratch);
	if (take_word(x, at, CALL_OPEN_TEXT "\n"))
		return (format_calls(format)->is_of_tags ? take_word(x, at, function_open) && read_kept_tags(x, format, at)
												 : read_kept_json(x, format, at)) &&
			   take_word(x, at, "\n") && take_word(x, at, block_close);
	if (!take_word(x, at, function_open) || !read_kept_tags(x, format, at))
		return false;
	/* what was not opened may be closed */
	if (is_at(x->answer, skip_space(x->answer, *at), block_close))
		*at = skip_space(x->answer, *at) + strlen(block_close);
	return true;
}

/* Where the next call begins, at a place or behind it; the answer's end: nowhere. */
static size_t
find_kept_call(const Extraction *x, const Format *format, size_t at)
{
	for (; at < x->answer.length; at++)
	{
		const char *open = memchr(x->answer.data + at, '<', x->answer.length - at);

		if (!open)
			break;
		at = (size_t) (open - x->answer.data);
		if (is_at(x->answer, at, CALL_OPEN_TEXT) ||
			(format_calls(format)->is_of_tags && is_at(x->answer, at, function_open)))
			return at;
	}
	return x->answer.length;
}

/* All of them. false: the answer is not of the format. */
static bool
read_kept(Extraction *x, const Format *format)
{
	bool is_free = format_is_free(format, format_start(format));
	size_t at = find_kept_call(x, format, 0);

	/* beside a form it is calls from its beginning on, or none */
	if (!is_free && at > 0)
		at = x->answer.length;
	while (at < x->answer.length)
	{
		size_t end = at;

		if (!read_kept_call(x, format, &end))
			return false;
		remove_block(x, at, end);
		at = find_kept_call(x, format, end);
	}
	append_content(x->content, (ByteSpan){x->answer.data + x->text_from, x->answer.length - x->text_from},
				   x->after_block, false);
	return true;
}

Status
tool_calls_read(ByteSpan answer, const Format *format, const ToolSet *tools, ByteWriter *content, ByteWriter *calls,
				uint32_t *n_calls, bool *is_read)
{
	SchemaWork work;
	Extraction x = {.answer = answer, .is_ended = true, .content = content, .calls = calls, .tools = tools};

	x.schema_work = &work;
	schema_work_init(&work, tools, answer.length);
	x.scratch = arena_create(0);
	x.out_of_memory = !x.scratch;
	x.bytes_left = 16 * answer.length + 65536;
	*is_read = x.scratch && read_kept(&x, format);
	write_raw(calls, "]", *is_read && x.n_calls > 0);
	arena_destroy(x.scratch);
	*n_calls = *is_read ? x.n_calls : 0;
	if (x.out_of_memory || content->failed || calls->failed)
		return status_error(STATUS_UNAVAILABLE, "out of memory for tool calls");
	return status_ok();
}

Status
tool_calls_extract(ByteSpan answer, bool is_ended, const ToolSet *tools, ByteWriter *content, ByteWriter *calls,
				   uint32_t *n_calls)
{
	SchemaWork work;
	Extraction x = {.answer = answer, .is_ended = is_ended, .content = content, .calls = calls};

	x.tools = tools;
	x.schema_work = &work;
	schema_work_init(&work, tools, answer.length);
	x.lasting = arena_create(MAX_TAGS_MEMORY);
	x.scratch = arena_create(0);
	x.out_of_memory = !x.lasting || !x.scratch || !tags_find(x.lasting, answer, &x.tags);
	x.bytes_left = 16 * answer.length + 65536;
	x.work = 64 * x.tags.n + 65536;
	if (!x.out_of_memory)
		extract(&x);
	write_raw(calls, "]", x.n_calls > 0);
	arena_destroy(x.lasting);
	arena_destroy(x.scratch);
	*n_calls = x.n_calls;
	/* a call that there was no memory for would stand in the content as if it were none */
	if (x.out_of_memory || content->failed || calls->failed)
		return status_error(STATUS_UNAVAILABLE, "out of memory for tool calls");
	return status_ok();
}

size_t
tool_calls_plain_bytes(ByteSpan text, size_t *n_looked, bool *found)
{
	static const char *const words[] = {"<tool_call>", "<function="};
	size_t end;

	*n_looked = text.length;
	*found = false;
	for (size_t at = 0; at < text.length && *n_looked == text.length; at++)
	{
		const char *open = memchr(text.data + at, '<', text.length - at);

		if (!open)
			break;
		at = (size_t) (open - text.data);
		for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
		{
			size_t length = strlen(words[i]), left = text.length - at;

			if (memcmp(open, words[i], left < length ? left : length) != 0)
				continue;
			*n_looked = at;
			*found |= left >= length;
		}
	}
	for (end = *n_looked; end > 0 && is_space(text.data[end - 1]); end--)
		;
	return end;
}
