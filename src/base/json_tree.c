/*
 * json_tree.c - see json_tree.h. One pass over the text; recursion is bounded by the depth limits.
 */
#include "json_tree.h"

#include "utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Objects with more members get an index. */
#define SMALL_OBJECT 8

typedef struct Reader
{
	Arena *arena;
	const char *text, *at, *end;
	bool as_written;
	unsigned depth;
	JsonError *error;
} Reader;

static bool read_value(Reader *reader, JsonNode *node);

/* Note the first error; false, for the caller to return. */
static bool
fail(Reader *reader, const char *what)
{
	if (!reader->error->what)
	{
		reader->error->what = what;
		reader->error->offset = (size_t) (reader->at - reader->text);
	}
	return false;
}

static bool
fail_memory(Reader *reader)
{
	reader->error->out_of_memory = true;
	return fail(reader, "out of memory");
}

static void
skip_space(Reader *reader)
{
	while (reader->at < reader->end &&
		   (*reader->at == ' ' || *reader->at == '\n' || *reader->at == '\t' || *reader->at == '\r'))
		reader->at++;
}

/* Take a word if it is next. */
static bool
take(Reader *reader, const char *word)
{
	size_t length = strlen(word);

	if ((size_t) (reader->end - reader->at) < length || memcmp(reader->at, word, length) != 0)
		return false;
	reader->at += length;
	return true;
}

/* Where the number that begins at text ends; text itself when there is none. */
static const char *
number_end(const char *text, const char *end, bool *is_whole)
{
	const char *at = text, *digits;

	*is_whole = true;
	if (at < end && *at == '-')
		at++;
	digits = at;
	while (at < end && *at >= '0' && *at <= '9')
		at++;
	if (at == digits || (*digits == '0' && at - digits > 1))
		return text;
	if (at < end && *at == '.')
	{
		*is_whole = false;
		digits = ++at;
		while (at < end && *at >= '0' && *at <= '9')
			at++;
		if (at == digits)
			return text;
	}
	if (at < end && (*at == 'e' || *at == 'E'))
	{
		*is_whole = false;
		at++;
		if (at < end && (*at == '+' || *at == '-'))
			at++;
		digits = at;
		while (at < end && *at >= '0' && *at <= '9')
			at++;
		if (at == digits)
			return text;
	}
	return at;
}

/* Can SQL's numeric hold it? (A thousand digits from a few characters are no number that anybody meant.) */
static bool
number_is_modest(const char *text, size_t length)
{
	const char *exponent = memchr(text, 'e', length);
	unsigned long value = 0;

	if (length > JSON_NUMBER_MAX_BYTES)
		return false;
	if (!exponent)
		exponent = memchr(text, 'E', length);
	for (size_t i = exponent ? (size_t) (exponent - text) + 1 : length; i < length; i++)
		if (text[i] >= '0' && text[i] <= '9' && value <= JSON_NUMBER_MAX_EXPONENT)
			value = value * 10 + (unsigned long) (text[i] - '0');
	return value <= JSON_NUMBER_MAX_EXPONENT;
}

bool
json_is_number(ByteSpan text, bool *is_whole)
{
	*is_whole = false;
	return text.length > 0 && text.length <= JSON_NUMBER_MAX_BYTES &&
		   number_end(text.data, text.data + text.length, is_whole) == text.data + text.length &&
		   number_is_modest(text.data, text.length);
}

/* Four hexadecimal digits of a \u; they stay where they are when there are none. */
static bool
take_hex(Reader *reader, uint32_t *unit)
{
	*unit = 0;
	if (reader->end - reader->at < 4)
		return false;
	for (int i = 0; i < 4; i++)
	{
		char c = reader->at[i];

		if (c >= '0' && c <= '9')
			*unit = *unit * 16 + (uint32_t) (c - '0');
		else if ((c | 32) >= 'a' && (c | 32) <= 'f')
			*unit = *unit * 16 + (uint32_t) ((c | 32) - 'a' + 10);
		else
			return false;
	}
	reader->at += 4;
	return true;
}

/* What follows \u, as UTF-8 behind out. */
static bool
read_code_point(Reader *reader, char **out)
{
	uint32_t unit, low;

	if (!take_hex(reader, &unit))
		return fail(reader, "four hexadecimal digits expected");
	if (unit >= 0xD800 && unit < 0xDC00)
	{
		if (!take(reader, "\\u") || !take_hex(reader, &low) || low < 0xDC00 || low > 0xDFFF)
			return fail(reader, "half of a surrogate pair");
		unit = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
	}
	else if (unit >= 0xDC00 && unit < 0xE000)
		return fail(reader, "half of a surrogate pair");
	if (unit == 0 && reader->as_written)
		return fail(reader, "a NUL character");
	*out += utf8_write(unit, *out);
	return true;
}

/* What follows a backslash. */
static bool
read_escape(Reader *reader, char **out)
{
	static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
	const char *name;
	char c;

	if (reader->at == reader->end)
		return fail(reader, "a string is not closed");
	c = *reader->at;
	if (c == 'u')
	{
		reader->at++;
		return read_code_point(reader, out);
	}
	name = c ? strchr(names, c) : NULL;
	if (name)
		*(*out)++ = values[name - names];
	else if (reader->as_written && c == '\'')
		*(*out)++ = c;
	else if (reader->as_written)
	{
		/* a backslash that escapes nothing, as in a regular expression, was meant itself */
		*(*out)++ = '\\';
		return true;
	}
	else
		return fail(reader, "an unknown escape");
	reader->at++;
	return true;
}

/* Where a string (reader->at behind its quote) ends, or NULL; *has_escapes: it must be copied. */
static const char *
string_end(Reader *reader, char quote, bool *has_escapes)
{
	const char *at = reader->at;

	*has_escapes = false;
	for (; at < reader->end && *at != quote; at++)
	{
		if (*at == '\\')
		{
			*has_escapes = true;
			if (++at == reader->end)
				break;
		}
		else if ((unsigned char) *at < 32 && (!reader->as_written || *at == '\0'))
		{
			reader->at = at;
			fail(reader, "a control character in a string");
			return NULL;
		}
	}
	if (at < reader->end)
		return at;
	fail(reader, "a string is not closed");
	reader->at = reader->end;
	return NULL;
}

/* A string; reader->at is at its quote. */
static bool
read_string(Reader *reader, const char **text, uint32_t *length)
{
	char quote = *reader->at++;
	bool has_escapes;
	const char *end = string_end(reader, quote, &has_escapes);
	char *copy, *out;

	if (!end)
		return false;
	*text = reader->at;
	*length = (uint32_t) (end - reader->at);
	if (has_escapes)
	{
		copy = out = arena_alloc(reader->arena, *length + 1u);
		if (!copy)
			return fail_memory(reader);
		while (reader->at < end)
		{
			const char *next = memchr(reader->at, '\\', (size_t) (end - reader->at));
			size_t plain = (size_t) ((next ? next : end) - reader->at);

			memcpy(out, reader->at, plain);
			out += plain;
			reader->at += plain;
			if (next && (reader->at++, !read_escape(reader, &out)))
				return false;
		}
		*text = copy;
		*length = (uint32_t) (out - copy);
	}
	reader->at = end + 1;
	return true;
}

static bool
at_quote(const Reader *reader)
{
	return reader->at < reader->end && (*reader->at == '"' || (reader->as_written && *reader->at == '\''));
}

int
json_compare(const char *a, size_t a_bytes, const char *b, size_t b_bytes)
{
	int order = memcmp(a, b, a_bytes < b_bytes ? a_bytes : b_bytes);

	return order ? order : a_bytes < b_bytes ? -1 : a_bytes > b_bytes;
}

/* For qsort: by key, then by place. */
static int
compare_members(const void *left, const void *right)
{
	const JsonNode *a = *(JsonNode *const *) left, *b = *(JsonNode *const *) right;
	int order = json_compare(a->key, a->key_bytes, b->key, b->key_bytes);

	return order ? order : a->source < b->source ? -1 : a->source > b->source;
}

/* Let the later of two members with one key have the earlier one's place: the value moves, the link stays. */
static void
replace_member(JsonNode *earlier, const JsonNode *later)
{
	JsonNode *next = earlier->next;

	*earlier = *later;
	earlier->next = next;
}

/* Take members without a key (made so by drop_duplicates) out of the list. */
static void
unlink_dropped(JsonNode *object)
{
	JsonNode **link = &object->first;

	while (*link)
		if ((*link)->key)
			link = &(*link)->next;
		else
		{
			*link = (*link)->next;
			object->n--;
		}
}

/* One value for a key: read strictly the last, as everywhere in Python; else it is an error. Makes the index. */
static bool
settle_duplicates(Reader *reader, JsonNode *object)
{
	JsonNode *small[SMALL_OBJECT], **members = small;
	size_t n = 0, kept = 0;

	if (object->n > SMALL_OBJECT && !(members = arena_alloc_array(reader->arena, object->n, sizeof *members)))
		return fail_memory(reader);
	for (JsonNode *member = object->first; member; member = member->next)
		members[n++] = member;
	qsort(members, n, sizeof *members, compare_members);
	for (size_t i = 0; i < n; i++)
	{
		JsonNode *last = kept ? members[kept - 1] : NULL;

		if (!last || json_compare(last->key, last->key_bytes, members[i]->key, members[i]->key_bytes) != 0)
			members[kept++] = members[i];
		else if (reader->as_written)
			return fail(reader, "a key comes twice");
		else
		{
			replace_member(last, members[i]);
			members[i]->key = NULL;
		}
	}
	if (kept < n)
		unlink_dropped(object);
	if (members != small)
		object->by_key = members;
	return true;
}

/* After a value in a container: a comma (then *more), or its end. */
static bool
read_separator(Reader *reader, JsonNode *container, char close, bool *more)
{
	skip_space(reader);
	*more = false;
	if (reader->at < reader->end && *reader->at == ',')
	{
		reader->at++;
		skip_space(reader);
		*more = reader->at == reader->end || *reader->at != close || !reader->as_written;
		if (*more)
			return true;
	}
	if (reader->at < reader->end && *reader->at == close)
	{
		reader->at++;
		return true;
	}
	if (reader->as_written &&
		(reader->at == reader->end || (*reader->at == '<' && reader->end - reader->at > 1 && reader->at[1] == '/')))
	{
		container->is_open = true;
		return true;
	}
	return fail(reader, close == ']' ? "a comma or ']' expected" : "a comma or '}' expected");
}

/* One more value at the end of a container's list. */
static JsonNode *
add_node(Reader *reader, JsonNode *container, JsonNode **last)
{
	JsonNode *node = arena_alloc(reader->arena, sizeof *node);

	if (!node)
	{
		fail_memory(reader);
		return NULL;
	}
	if (*last)
		(*last)->next = node;
	else
		container->first = node;
	*last = node;
	container->n++;
	return node;
}

/* "key": in front of a member's value. */
static bool
read_key(Reader *reader, JsonNode *member)
{
	if (!at_quote(reader))
		return fail(reader, "string or '}' expected");
	if (!read_string(reader, &member->key, &member->key_bytes))
		return false;
	skip_space(reader);
	return take(reader, ":") || fail(reader, "':' expected");
}

/* An array or object; reader->at is behind its bracket. */
static bool
read_container(Reader *reader, JsonNode *node, char close)
{
	JsonNode *last = NULL, *child;
	bool more = true;

	if (++reader->depth > (reader->as_written ? JSON_WRITTEN_MAX_DEPTH : JSON_TREE_MAX_DEPTH))
		return fail(reader, "nested too deep");
	skip_space(reader);
	if (reader->at < reader->end && *reader->at == close)
	{
		reader->at++;
		more = false;
	}
	while (more)
	{
		skip_space(reader);
		child = add_node(reader, node, &last);
		if (!child || (close == '}' && !read_key(reader, child)) || !read_value(reader, child) ||
			!read_separator(reader, node, close, &more))
			return false;
	}
	reader->depth--;
	return close == ']' || settle_duplicates(reader, node);
}

/* A letter or digit right behind a word makes it another word. */
static bool
take_word(Reader *reader, const char *word)
{
	const char *begin = reader->at;
	char next;

	if (!take(reader, word))
		return false;
	next = reader->at < reader->end ? *reader->at : ' ';
	if ((next >= '0' && next <= '9') || ((next | 32) >= 'a' && (next | 32) <= 'z') || next == '_')
	{
		reader->at = begin;
		return false;
	}
	return true;
}

static bool
read_plain(Reader *reader, JsonNode *node)
{
	bool is_cut = reader->as_written && reader->end - reader->at > JSON_NUMBER_MAX_BYTES + 1;
	/* no more of a number is looked at than one may have */
	const char *last = is_cut ? reader->at + JSON_NUMBER_MAX_BYTES + 1 : reader->end;
	const char *end = number_end(reader->at, last, &node->is_whole);

	if (end > reader->at)
	{
		if (reader->as_written && !number_is_modest(reader->at, (size_t) (end - reader->at)))
			return fail(reader, "a number is too large");
		node->kind = NODE_IS_NUMBER;
		reader->at = end;
		return true;
	}
	node->kind = NODE_IS_BOOL;
	node->boolean = true;
	if (take_word(reader, "true") || (reader->as_written && take_word(reader, "True")))
		return true;
	node->boolean = false;
	if (take_word(reader, "false") || (reader->as_written && take_word(reader, "False")))
		return true;
	node->kind = NODE_IS_NULL;
	return take_word(reader, "null") || (reader->as_written && take_word(reader, "None")) ||
		   fail(reader, "a value expected");
}

static bool
read_value(Reader *reader, JsonNode *node)
{
	bool ok;

	skip_space(reader);
	node->source = reader->at;
	if (at_quote(reader))
	{
		node->kind = NODE_IS_STRING;
		ok = read_string(reader, &node->text, &node->n);
	}
	else if (take(reader, "{"))
	{
		node->kind = NODE_IS_OBJECT;
		ok = read_container(reader, node, '}');
	}
	else if (take(reader, "["))
	{
		node->kind = NODE_IS_ARRAY;
		ok = read_container(reader, node, ']');
	}
	else
		ok = read_plain(reader, node);
	node->source_bytes = (uint32_t) (reader->at - node->source);
	return ok;
}

JsonNode *
json_tree_read(Arena *arena, ByteSpan text, JsonManner manner, size_t *end, JsonError *error)
{
	Reader reader = {arena, text.data, text.data, text.data + text.length, manner == JSON_AS_WRITTEN, 0, error};
	JsonNode *root = text.length < UINT32_MAX ? arena_alloc(arena, sizeof *root) : NULL;
	bool ok;

	*error = (JsonError){.what = NULL};
	if (!root)
	{
		fail_memory(&reader);
		return NULL;
	}
	ok = read_value(&reader, root);
	if (ok && manner == JSON_STRICT)
	{
		skip_space(&reader);
		ok = reader.at == reader.end || fail(&reader, "end of text expected");
	}
	if (end)
		*end = (size_t) (reader.at - text.data);
	return ok ? root : NULL;
}

const JsonNode *
json_member(const JsonNode *node, const char *key, size_t key_bytes)
{
	if (!node || node->kind != NODE_IS_OBJECT)
		return NULL;
	if (node->by_key)
	{
		size_t low = 0, high = node->n;

		while (low < high)
		{
			size_t middle = low + (high - low) / 2;
			const JsonNode *member = node->by_key[middle];
			int order = json_compare(key, key_bytes, member->key, member->key_bytes);

			if (order == 0)
				return member;
			if (order < 0)
				high = middle;
			else
				low = middle + 1;
		}
		return NULL;
	}
	for (const JsonNode *member = node->first; member; member = member->next)
		if (member->key_bytes == key_bytes && memcmp(member->key, key, key_bytes) == 0)
			return member;
	return NULL;
}

const JsonNode *
json_member_named(const JsonNode *node, const char *name)
{
	return json_member(node, name, strlen(name));
}

bool
json_string_is(const JsonNode *node, const char *text)
{
	return node && node->kind == NODE_IS_STRING && node->n == strlen(text) && memcmp(node->text, text, node->n) == 0;
}

void
json_write_string(ByteWriter *out, const char *text, size_t length)
{
	static const char values[] = "\"\\\b\f\n\r\t", names[] = "\"\\bfnrt";
	size_t plain = 0;

	write_raw(out, "\"", 1);
	for (size_t i = 0; i < length; i++)
	{
		const char *special = text[i] ? strchr(values, text[i]) : NULL;
		char escape[8];

		if (!special && (unsigned char) text[i] >= 32)
			continue;
		write_raw(out, text + plain, i - plain);
		plain = i + 1;
		if (special)
			snprintf(escape, sizeof escape, "\\%c", names[special - values]);
		else
			snprintf(escape, sizeof escape, "\\u%04x", (unsigned char) text[i]);
		write_raw(out, escape, strlen(escape));
	}
	write_raw(out, text + plain, length - plain);
	write_raw(out, "\"", 1);
}

void
json_write_node(ByteWriter *out, const JsonNode *node)
{
	bool is_object = node->kind == NODE_IS_OBJECT;

	switch (node->kind)
	{
		case NODE_IS_NULL:
			write_raw(out, "null", 4);
			break;
		case NODE_IS_BOOL:
			write_raw(out, node->boolean ? "true" : "false", node->boolean ? 4 : 5);
			break;
		case NODE_IS_NUMBER:
			write_raw(out, node->source, node->source_bytes);
			break;
		case NODE_IS_STRING:
			json_write_string(out, node->text, node->n);
			break;
		default:
			write_raw(out, is_object ? "{" : "[", 1);
			for (const JsonNode *child = node->first; child; child = child->next)
			{
				write_raw(out, ",", child != node->first);
				if (is_object)
				{
					json_write_string(out, child->key, child->key_bytes);
					write_raw(out, ":", 1);
				}
				json_write_node(out, child);
			}
			write_raw(out, is_object ? "}" : "]", 1);
			break;
	}
}

void
json_place(ByteSpan text, size_t offset, unsigned *line, unsigned *column)
{
	*line = *column = 1;
	for (size_t i = 0; i < offset && i < text.length; i++)
	{
		if (text.data[i] == '\n')
		{
			++*line;
			*column = 1;
		}
		else
			*column += ((unsigned char) text.data[i] & 0xC0) != 0x80;
	}
}
