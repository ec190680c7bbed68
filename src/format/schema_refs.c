/*
 * schema_refs.c - see schema_refs.h.
 */
#include "schema_refs.h"

#include <stdlib.h>
#include <string.h>

typedef struct SchemaPlace
{
	uint32_t name; /* a text: an absolute URI, with #anchor */
	const JsonNode *json;
	struct SchemaPlace *next;
} SchemaPlace;

/* Keywords that hold one schema, a list of them, or members that are schemas. */
static const char *const one_schema[] = {"additionalProperties",
										 "additionalItems",
										 "items",
										 "contains",
										 "not",
										 "if",
										 "then",
										 "else",
										 "propertyNames",
										 "unevaluatedItems",
										 "unevaluatedProperties",
										 "contentSchema",
										 NULL};
static const char *const schema_lists[] = {"allOf", "anyOf", "oneOf", "prefixItems", "items", NULL};
static const char *const schema_maps[] = {"properties",       "patternProperties", "$defs", "definitions",
										  "dependentSchemas", "dependencies",      NULL};

static bool
is_scheme(ByteSpan uri, size_t *length)
{
	size_t i = 0;

	while (i < uri.length && ((uri.data[i] | 32) >= 'a' && (uri.data[i] | 32) <= 'z'))
		i++;
	while (i > 0 && i < uri.length &&
		   (((uri.data[i] | 32) >= 'a' && (uri.data[i] | 32) <= 'z') || (uri.data[i] >= '0' && uri.data[i] <= '9') ||
			strchr("+-.", uri.data[i])))
		i++;
	*length = i;
	return i > 0 && i < uri.length && uri.data[i] == ':';
}

/* Without "#…". */
static ByteSpan
without_fragment(ByteSpan uri)
{
	const char *hash = memchr(uri.data, '#', uri.length);

	return hash ? (ByteSpan){uri.data, (size_t) (hash - uri.data)} : uri;
}

/* How much of a base stays before a relative reference: its authority, or its path to the last slash. */
static size_t
base_kept(ByteSpan base, bool absolute_path)
{
	size_t scheme, start = 0, end;

	if (is_scheme(base, &scheme))
		start = scheme + 1;
	if (base.length - start >= 2 && memcmp(base.data + start, "//", 2) == 0)
	{
		const char *slash = memchr(base.data + start + 2, '/', base.length - start - 2);

		start = slash ? (size_t) (slash - base.data) : base.length;
	}
	if (absolute_path)
		return start;
	for (end = base.length; end > start && base.data[end - 1] != '/'; end--)
		;
	return end;
}

/* Take "." and ".." out of a path, in place. */
static size_t
remove_dots(char *text, size_t start, size_t length)
{
	size_t out = start;

	for (size_t at = start; at < length;)
	{
		size_t end = at;

		while (end < length && text[end] != '/')
			end++;
		if (end - at == 1 && text[at] == '.')
			at = end < length ? end + 1 : end;
		else if (end - at == 2 && memcmp(text + at, "..", 2) == 0)
		{
			if (out > start)
				out--;
			while (out > start && text[out - 1] != '/')
				out--;
			at = end < length ? end + 1 : end;
		}
		else
		{
			size_t bytes = (end < length ? end + 1 : end) - at;

			memmove(text + out, text + at, bytes);
			out += bytes;
			at += bytes;
		}
	}
	return out;
}

/* The absolute URI, without fragment, of a reference at a base; as a text. */
static uint32_t
resolve(Schema *schema, uint32_t base_text, ByteSpan reference)
{
	ByteSpan base = schema_span(schema, base_text), path = without_fragment(reference);
	size_t kept, scheme;
	char *text;

	if (path.length == 0)
		return base_text;
	if (is_scheme(path, &scheme))
		return schema_text(schema, path.data, path.length);
	kept = base_kept(base, path.data[0] == '/');
	text = pool_alloc(schema->pool, kept + path.length + 1, 1);
	if (!text)
		return base_text;
	memcpy(text, base.data, kept);
	memcpy(text + kept, path.data, path.length);
	kept = kept < base_kept(base, true) ? kept : base_kept(base, true);
	if (kept < base.length && base.data[kept] == '/')
		kept++;
	return schema_text(schema, text, remove_dots(text, kept, base_kept(base, path.data[0] == '/') + path.length));
}

static void
add_place(Schema *schema, uint32_t base, ByteSpan anchor, const JsonNode *json)
{
	ByteSpan uri = schema_span(schema, base);
	SchemaPlace *place = pool_alloc(schema->pool, 1, sizeof *place);
	char *text = pool_alloc(schema->pool, uri.length + anchor.length + 1, 1);

	if (!place || !text)
		return;
	memcpy(text, uri.data, uri.length);
	text[uri.length] = '#';
	if (anchor.length)
		memcpy(text + uri.length + 1, anchor.data, anchor.length);
	*place = (SchemaPlace){schema_text(schema, text, uri.length + 1 + anchor.length), json, schema->places};
	schema->places = place;
}

static ByteSpan
string_member(const JsonNode *json, const char *name)
{
	const JsonNode *member = json_member_named(json, name);

	if (!member || member->kind != NODE_IS_STRING)
		return (ByteSpan){NULL, 0};
	return (ByteSpan){member->text, member->n};
}

bool
has_recursive_anchor(const JsonNode *json)
{
	const JsonNode *anchor = json_member_named(json, "$recursiveAnchor");

	return anchor && anchor->kind == NODE_IS_BOOL && anchor->boolean;
}

/* $id (or id) and anchors of one schema; returns its base. */
static uint32_t
take_names(Schema *schema, const JsonNode *json, uint32_t base)
{
	ByteSpan id = string_member(json, schema->draft == 4 ? "id" : "$id"), anchor;

	/* before 2019-09 what stands beside $ref does not count */
	if (schema->draft < 2019 && json_member_named(json, "$ref"))
		return base;
	if (id.data && id.length > 0)
	{
		if (id.data[0] == '#')
			add_place(schema, base, (ByteSpan){id.data + 1, id.length - 1}, json);
		else
		{
			base = resolve(schema, base, id);
			add_place(schema, base, (ByteSpan){"", 0}, json);
		}
	}
	anchor = string_member(json, "$anchor");
	if (anchor.data)
		add_place(schema, base, anchor, json);
	anchor = string_member(json, "$dynamicAnchor");
	if (anchor.data)
		list_add(schema->pool, &schema->dynamic_anchors, schema_text(schema, anchor.data, anchor.length));
	schema->n_recursive_anchors += has_recursive_anchor(json);
	if (anchor.data)
		add_place(schema, base, anchor, json);
	return base;
}

static void
walk(Schema *schema, const JsonNode *json, uint32_t base, int depth)
{
	if (!json || json->kind != NODE_IS_OBJECT || depth > SCHEMA_MAX_DEPTH || !pool_work(schema->pool, 1))
		return;
	base = take_names(schema, json, base);
	map_put(schema->pool, &schema->base_of, (uint64_t) (uintptr_t) json, base);
	for (const char *const *name = one_schema; *name; name++)
		walk(schema, json_member_named(json, *name), base, depth + 1);
	for (const char *const *name = schema_lists; *name; name++)
	{
		const JsonNode *list = json_member_named(json, *name);

		for (const JsonNode *one = list && list->kind == NODE_IS_ARRAY ? list->first : NULL; one; one = one->next)
			walk(schema, one, base, depth + 1);
	}
	for (const char *const *name = schema_maps; *name; name++)
	{
		const JsonNode *map = json_member_named(json, *name);

		for (const JsonNode *one = map && map->kind == NODE_IS_OBJECT ? map->first : NULL; one; one = one->next)
			walk(schema, one, base, depth + 1);
	}
}

void
refs_collect(Schema *schema)
{
	uint32_t base = schema_text(schema, "", 0);

	add_place(schema, base, (ByteSpan){"", 0}, schema->root_json);
	walk(schema, schema->root_json, base, 0);
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char) (c | 32);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One token of a pointer without its escapes; returns its length. */
static size_t
unescape(const char *token, size_t length, char *out)
{
	size_t n = 0;

	for (size_t i = 0; i < length; i++)
	{
		char c = token[i];

		if (c == '%' && i + 2 < length && hex_digit(token[i + 1]) >= 0 && hex_digit(token[i + 2]) >= 0)
		{
			c = (char) (hex_digit(token[i + 1]) * 16 + hex_digit(token[i + 2]));
			i += 2;
		}
		out[n++] = c;
	}
	length = n;
	n = 0;
	for (size_t i = 0; i < length; i++)
	{
		if (out[i] == '~' && i + 1 < length && (out[i + 1] == '0' || out[i + 1] == '1'))
			out[n++] = out[++i] == '0' ? '~' : '/';
		else
			out[n++] = out[i];
	}
	return n;
}

/* The element of an array that a token numbers. */
static const JsonNode *
element(const JsonNode *array, const char *token, size_t length)
{
	uint32_t index = 0;
	const JsonNode *one = array->first;

	if (length == 0 || length > 8)
		return NULL;
	for (size_t i = 0; i < length; i++)
	{
		if (token[i] < '0' || token[i] > '9')
			return NULL;
		index = index * 10 + (uint32_t) (token[i] - '0');
	}
	while (one && index-- > 0)
		one = one->next;
	return one;
}

/* Follow a JSON pointer. */
static const JsonNode *
follow(Schema *schema, const JsonNode *json, ByteSpan pointer)
{
	size_t at = 0;
	char *token = pool_alloc(schema->pool, pointer.length + 1, 1);

	while (token && json && at < pointer.length)
	{
		size_t end = ++at, n;
		uint32_t base;

		while (end < pointer.length && pointer.data[end] != '/')
			end++;
		n = unescape(pointer.data + at, end - at, token);
		if (!map_find(&schema->base_of, (uint64_t) (uintptr_t) json, &base))
			base = 0;
		json = json->kind == NODE_IS_OBJECT  ? json_member(json, token, n)
			   : json->kind == NODE_IS_ARRAY ? element(json, token, n)
											 : NULL;
		at = end;
	}
	return token ? json : NULL;
}

/* Where is a part of the schema, of which the walk has not passed by, at home? */
static uint32_t
base_at(const Schema *schema, const JsonNode *at)
{
	uint32_t base;

	return map_find(&schema->base_of, (uint64_t) (uintptr_t) at, &base) ? base : 0;
}

static const JsonNode *
find_place(const Schema *schema, uint32_t name)
{
	for (const SchemaPlace *place = schema->places; place; place = place->next)
		if (place->name == name)
			return place->json;
	return NULL;
}

const JsonNode *
refs_find(Schema *schema, const JsonNode *at, const char *path, ByteSpan reference)
{
	uint32_t uri = resolve(schema, base_at(schema, at), reference);
	const char *hash = memchr(reference.data, '#', reference.length);
	ByteSpan fragment = {"", 0}, base = schema_span(schema, uri);
	const JsonNode *found = NULL;
	char *name;

	if (hash)
		fragment = (ByteSpan){hash + 1, reference.length - (size_t) (hash - reference.data) - 1};
	name = pool_alloc(schema->pool, base.length + fragment.length + 2, 1);
	if (!name)
		return NULL;
	memcpy(name, base.data, base.length);
	name[base.length] = '#';
	if (fragment.length == 0 || fragment.data[0] == '/')
	{
		found = find_place(schema, schema_text(schema, name, base.length + 1));
		if (found)
			found = follow(schema, found, fragment);
	}
	else
	{
		memcpy(name + base.length + 1, fragment.data, fragment.length);
		found = find_place(schema, schema_text(schema, name, base.length + 1 + fragment.length));
	}
	if (found || pool_failed(schema->pool))
		return found;
	if (find_place(schema, schema_text(schema, name, base.length + 1)) || reference.data[0] == '#')
		pool_fail(schema->pool, STATUS_INVALID_ARGUMENT, "\"$ref\" at %s: nothing in the schema is called \"%.*s\"",
				  *path ? path : "/", (int) (reference.length < 100 ? reference.length : 100), reference.data);
	else
		pool_fail(schema->pool, STATUS_UNSUPPORTED,
				  "\"$ref\" at %s: \"%.*s\" is outside of the schema, and nothing is fetched", *path ? path : "/",
				  (int) (reference.length < 100 ? reference.length : 100), reference.data);
	return NULL;
}
