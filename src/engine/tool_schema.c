/*
 * tool_schema.c - see tool_schema.h.
 */
#include "tool_schema.h"

#include <stdint.h>
#include <string.h>

/* Schemas looked at to answer one question: "$ref" may lead in circles, alternatives may have alternatives. */
#define MAX_SCHEMAS_VISITED 200

/* What looking at a schema costs, measured in elements of an enum: a dozen members are asked for by name. */
#define SCHEMA_COST 16

/* Work for each byte of an answer, for each value of the tools, and for any answer. */
#define WORK_PER_ANSWER_BYTE 32
#define WORK_PER_TOOL_VALUE 4
#define WORK_ALWAYS 262144

typedef enum TypeBit
{
	TYPE_NULL = 1,
	TYPE_BOOL = 2,
	TYPE_INTEGER = 4,
	TYPE_NUMBER = 8,
	TYPE_STRING = 16,
	TYPE_ARRAY = 32,
	TYPE_OBJECT = 64,
} TypeBit;

/* How a walk over a schema and all that it refers to comes back. */
typedef struct Walk
{
	const ToolSchema *schemas;
	unsigned n_visited;
} Walk;

static bool
is_json_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static ByteSpan
trim(ByteSpan text)
{
	while (text.length && is_json_space(text.data[0]))
		text = (ByteSpan){text.data + 1, text.length - 1};
	while (text.length && is_json_space(text.data[text.length - 1]))
		text.length--;
	return text;
}

void
schema_work_init(SchemaWork *work, const ToolSet *set, size_t answer_bytes)
{
	memset(work, 0, sizeof *work);
	work->left = WORK_ALWAYS + WORK_PER_ANSWER_BYTE * answer_bytes +
				 WORK_PER_TOOL_VALUE * (tool_set_bytes(set) / sizeof(JsonNode));
}

/* Pay for work; false: there is not enough left, and nothing from here on. */
static bool
pay(const Walk *walk, size_t cost)
{
	SchemaWork *work = walk->schemas->work;
	bool is_enough = work->left >= cost;

	work->left = is_enough ? work->left - cost : 0;
	return is_enough && work->left > 0;
}

/* The child of node that a step of a JSON pointer names, with ~0 and ~1 for ~ and /. */
static const JsonNode *
pointer_step(const JsonNode *node, const char *step, size_t length)
{
	char key[256];
	size_t n = 0;

	if (length >= sizeof key)
		return NULL;
	for (size_t i = 0; i < length; i++)
	{
		bool is_escape = step[i] == '~' && i + 1 < length;

		key[n++] = (char) (!is_escape ? step[i] : step[i + 1] == '1' ? '/' : '~');
		i += is_escape;
	}
	return json_member(node, key, n);
}

/* What "$ref" leads to: "#/$defs/Name"; NULL when it leads nowhere. */
static const JsonNode *
follow_reference(const ToolSchema *schemas, const JsonNode *reference)
{
	const JsonNode *node = schemas->root;
	const char *at, *end;

	if (reference->kind != NODE_IS_STRING || reference->n == 0 || reference->text[0] != '#')
		return NULL;
	at = reference->text + 1;
	end = reference->text + reference->n;
	while (node && at < end)
	{
		const char *slash;

		if (*at++ != '/')
			return NULL;
		slash = memchr(at, '/', (size_t) (end - at));
		node = pointer_step(node, at, (size_t) ((slash ? slash : end) - at));
		at = slash ? slash : end;
	}
	return node;
}

/* The schema behind its references, or NULL. */
static const JsonNode *
resolve(Walk *walk, const JsonNode *schema)
{
	while (schema && schema->kind == NODE_IS_OBJECT)
	{
		const JsonNode *reference = json_member_named(schema, "$ref");

		/* a reference is walked along step by step */
		if (++walk->n_visited > MAX_SCHEMAS_VISITED ||
			!pay(walk, SCHEMA_COST + (reference && reference->kind == NODE_IS_STRING ? reference->n / 4 : 0)))
			return NULL;
		if (!reference)
			return schema;
		schema = follow_reference(walk->schemas, reference);
	}
	return NULL;
}

static unsigned
type_bit(const JsonNode *name)
{
	static const struct
	{
		const char *name;
		unsigned bits;
	} types[] = {
		{"string", TYPE_STRING},
		{"integer", TYPE_INTEGER},
		{"number", TYPE_NUMBER | TYPE_INTEGER},
		{"boolean", TYPE_BOOL},
		{"array", TYPE_ARRAY},
		{"object", TYPE_OBJECT},
		{"null", TYPE_NULL}, /* what tools made of Python's and Java's types say */
		{"str", TYPE_STRING},
		{"text", TYPE_STRING},
		{"int", TYPE_INTEGER},
		{"float", TYPE_NUMBER | TYPE_INTEGER},
		{"double", TYPE_NUMBER | TYPE_INTEGER},
		{"bool", TYPE_BOOL},
		{"list", TYPE_ARRAY},
		{"dict", TYPE_OBJECT},
	};

	for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
		if (json_string_is(name, types[i].name))
			return types[i].bits;
	return 0;
}

/* The bit of what a value is. */
static unsigned
value_bit(const JsonNode *value)
{
	switch (value->kind)
	{
		case NODE_IS_NULL:
			return TYPE_NULL;
		case NODE_IS_BOOL:
			return TYPE_BOOL;
		case NODE_IS_NUMBER:
			return value->is_whole ? TYPE_INTEGER : TYPE_NUMBER;
		case NODE_IS_STRING:
			return TYPE_STRING;
		case NODE_IS_ARRAY:
			return TYPE_ARRAY;
		default:
			return TYPE_OBJECT;
	}
}

/* The types of an enum's value, or of a const. */
static unsigned
listed_bits(const JsonNode *value)
{
	unsigned bit = value_bit(value);

	return bit == TYPE_NUMBER ? TYPE_NUMBER | TYPE_INTEGER : bit;
}

static unsigned types_of(Walk *walk, const JsonNode *schema);

/* The types of all alternatives together; all of them may be what one that says nothing allows. */
static unsigned
alternative_bits(Walk *walk, const JsonNode *list)
{
	unsigned bits = 0;

	for (const JsonNode *one = list->kind == NODE_IS_ARRAY ? list->first : NULL; one && pay(walk, 1); one = one->next)
		bits |= types_of(walk, one);
	return bits;
}

/* What "type" itself says. */
static unsigned
types_named(const Walk *walk, const JsonNode *type)
{
	unsigned bits = 0;

	if (!type || type->kind != NODE_IS_ARRAY)
		return type ? type_bit(type) : 0;
	for (const JsonNode *one = type->first; one && pay(walk, SCHEMA_COST); one = one->next)
		bits |= type_bit(one);
	return bits;
}

static const char *const alternative_lists[] = {"anyOf", "oneOf", "allOf"};

#define N_ALTERNATIVE_LISTS (sizeof alternative_lists / sizeof alternative_lists[0])

/* The types that a schema without "$ref" allows. 0: nothing is said. */
static unsigned
find_types(Walk *walk, const JsonNode *schema)
{
	unsigned bits = types_named(walk, json_member_named(schema, "type"));
	const JsonNode *member = json_member_named(schema, "enum");

	if (!bits && member && member->kind == NODE_IS_ARRAY)
		for (const JsonNode *one = member->first; one && pay(walk, 1); one = one->next)
			bits |= listed_bits(one);
	member = json_member_named(schema, "const");
	if (member && !bits)
		bits = listed_bits(member);
	for (size_t i = 0; i < N_ALTERNATIVE_LISTS && !bits; i++)
		if ((member = json_member_named(schema, alternative_lists[i])) != NULL)
			bits |= alternative_bits(walk, member);
	if (!bits && json_member_named(schema, "properties"))
		bits = TYPE_OBJECT;
	if (!bits && json_member_named(schema, "items"))
		bits = TYPE_ARRAY;
	member = json_member_named(schema, "nullable");
	if (bits && member && member->kind == NODE_IS_BOOL && member->boolean)
		bits |= TYPE_NULL;
	return bits;
}

/* The types that a schema allows, found once for each. */
static unsigned
types_of(Walk *walk, const JsonNode *schema)
{
	SchemaWork *work = walk->schemas->work;
	size_t place;
	unsigned bits;

	schema = resolve(walk, schema);
	if (!schema)
		return 0;
	place = (size_t) ((uintptr_t) schema / sizeof *schema) % SCHEMA_MEMO;
	if (work->memo[place].schema == schema)
		return work->memo[place].bits;
	bits = find_types(walk, schema);
	/* a walk that was broken off does not know all of them */
	if (work->left > 0 && walk->n_visited <= MAX_SCHEMAS_VISITED)
	{
		work->memo[place].schema = schema;
		work->memo[place].bits = bits;
	}
	return bits;
}

/* Is text a string that decides: const, or one of an enum? True when there is no work left to find out. */
static bool
lists_text(Walk *walk, const JsonNode *schema, ByteSpan text)
{
	const JsonNode *list, *one;
	bool is_listed = false;

	schema = resolve(walk, schema);
	if (!schema)
		return walk->schemas->work->left == 0;
	list = json_member_named(schema, "enum");
	one = list && list->kind == NODE_IS_ARRAY ? list->first : NULL;
	for (; one && !is_listed && pay(walk, 1); one = one->next)
		is_listed = one->kind == NODE_IS_STRING && one->n == text.length && pay(walk, text.length / 16) &&
					memcmp(one->text, text.data, one->n) == 0;
	if (is_listed || walk->schemas->work->left == 0)
		return true;
	if ((list && list->first) || json_member_named(schema, "type"))
		return false;
	one = json_member_named(schema, "const");
	if (one)
		return one->kind == NODE_IS_STRING && one->n == text.length && memcmp(one->text, text.data, one->n) == 0;
	for (size_t i = 0; i < N_ALTERNATIVE_LISTS && !is_listed; i++)
	{
		list = json_member_named(schema, alternative_lists[i]);
		for (one = list && list->kind == NODE_IS_ARRAY ? list->first : NULL; one && !is_listed && pay(walk, 1);
			 one = one->next)
			is_listed = lists_text(walk, one, text);
	}
	return is_listed;
}

/* What a schema allows; nothing is said where the work is used up. */
static unsigned
ask_types(const ToolSchema *schemas, const JsonNode *schema)
{
	Walk walk = {schemas, 0};
	unsigned bits = types_of(&walk, schema);

	return schemas->work->left > 0 ? bits : 0;
}

bool
schema_takes_text(const ToolSchema *schemas, const JsonNode *schema)
{
	unsigned bits = ask_types(schemas, schema);

	return bits == 0 || (bits & TYPE_STRING) != 0;
}

/* The schema of a member, looked for in the schema itself and in all of its alternatives. */
static const JsonNode *
find_member(Walk *walk, const JsonNode *schema, const char *key, size_t key_bytes)
{
	static const char *const lists[] = {"allOf", "anyOf", "oneOf"};
	const JsonNode *found, *list;

	schema = resolve(walk, schema);
	if (!schema || !pay(walk, key_bytes / 16))
		return NULL;
	found = json_member(json_member_named(schema, "properties"), key, key_bytes);
	for (size_t i = 0; !found && i < sizeof lists / sizeof lists[0]; i++)
	{
		list = json_member_named(schema, lists[i]);
		for (const JsonNode *one = list && list->kind == NODE_IS_ARRAY ? list->first : NULL;
			 one && !found && pay(walk, 1); one = one->next)
			found = find_member(walk, one, key, key_bytes);
	}
	if (!found)
	{
		found = json_member_named(schema, "additionalProperties");
		if (found && found->kind != NODE_IS_OBJECT)
			found = NULL;
	}
	return found;
}

const JsonNode *
schema_member(const ToolSchema *schemas, const JsonNode *schema, const char *key, size_t key_bytes)
{
	Walk walk = {schemas, 0};

	return schema ? find_member(&walk, schema, key, key_bytes) : NULL;
}

/* The schema of an array's element. */
static const JsonNode *
find_element(Walk *walk, const JsonNode *schema, size_t index)
{
	static const char *const lists[] = {"allOf", "anyOf", "oneOf"};
	const JsonNode *found, *list;

	schema = resolve(walk, schema);
	if (!schema)
		return NULL;
	list = json_member_named(schema, "prefixItems");
	found = list && list->kind == NODE_IS_ARRAY && index < list->n ? list->first : NULL;
	for (size_t i = 0; found && i < index; i++)
		found = pay(walk, 1) ? found->next : NULL;
	if (!found)
		found = json_member_named(schema, "items");
	for (size_t i = 0; !found && i < sizeof lists / sizeof lists[0]; i++)
	{
		list = json_member_named(schema, lists[i]);
		for (const JsonNode *one = list && list->kind == NODE_IS_ARRAY ? list->first : NULL;
			 one && !found && pay(walk, 1); one = one->next)
			found = find_element(walk, one, index);
	}
	return found;
}

static bool
span_is(ByteSpan text, const char *word)
{
	return text.length == strlen(word) && memcmp(text.data, word, text.length) == 0;
}

/* Letters of either case. */
static bool
is_word(ByteSpan text, const char *word)
{
	if (text.length != strlen(word))
		return false;
	for (size_t i = 0; i < text.length; i++)
		if ((text.data[i] | 32) != word[i])
			return false;
	return true;
}

/* Read text as an array or object of which nothing is missing, or NULL. */
static const JsonNode *
read_whole(const ToolSchema *schemas, ByteSpan text)
{
	JsonError error = {.what = NULL};
	size_t end = 0;
	const JsonNode *node;

	if (!text.length || (text.data[0] != '{' && text.data[0] != '['))
		return NULL;
	node = json_tree_read(schemas->arena, text, JSON_AS_WRITTEN, &end, &error);
	*schemas->out_of_memory |= error.out_of_memory;
	if (!node || end != text.length || node->is_open)
		return NULL;
	/* one that is open inside leaves the outer one open as well */
	return node;
}

/* Write text as one of the types other than a string; false: it is none. */
static bool
write_as_type(const ToolSchema *schemas, const JsonNode *schema, unsigned bits, ByteSpan text, ByteWriter *out)
{
	ByteSpan bare = trim(text);
	const JsonNode *node;
	bool is_whole;

	if ((bits & (TYPE_INTEGER | TYPE_NUMBER)) && json_is_number(bare, &is_whole))
	{
		/* one with a fraction is no integer, but it is no text either */
		if ((bits & TYPE_STRING) && !is_whole && !(bits & TYPE_NUMBER))
			return false;
		write_raw(out, bare.data, bare.length);
		return true;
	}
	if ((bits & TYPE_BOOL) && (is_word(bare, "true") || is_word(bare, "false")))
	{
		write_raw(out, is_word(bare, "true") ? "true" : "false", is_word(bare, "true") ? 4 : 5);
		return true;
	}
	/* where it could be a text, only what JSON and Python write */
	if (bits & TYPE_STRING ? (bits & TYPE_NULL) && (span_is(bare, "null") || span_is(bare, "None"))
						   : is_word(bare, "null") || is_word(bare, "none"))
	{
		write_raw(out, "null", 4);
		return true;
	}
	if (!(bits & (TYPE_ARRAY | TYPE_OBJECT)) || !(node = read_whole(schemas, bare)) || !(bits & value_bit(node)))
		return false;
	schema_write_value(schemas, schema, node, out);
	return true;
}

void
schema_write_text(const ToolSchema *schemas, const JsonNode *schema, ByteSpan text, ByteWriter *out)
{
	Walk walk = {schemas, 0};
	unsigned bits = ask_types(schemas, schema);

	if (bits == 0 || bits == TYPE_STRING || lists_text(&walk, schema, text) ||
		!write_as_type(schemas, schema, bits, text, out))
		json_write_string(out, text.data, text.length);
}

/* The elements or members of a value, each by its own schema. */
void
schema_write_members(const ToolSchema *schemas, const JsonNode *schema, const JsonNode *value, ByteWriter *out)
{
	bool is_object = value->kind == NODE_IS_OBJECT;
	size_t index = 0;

	write_raw(out, is_object ? "{" : "[", 1);
	for (const JsonNode *child = value->first; child; child = child->next)
	{
		Walk walk = {schemas, 0};
		const JsonNode *its = !schema     ? NULL
							  : is_object ? find_member(&walk, schema, child->key, child->key_bytes)
										  : find_element(&walk, schema, index++);

		write_raw(out, ",", child != value->first);
		if (is_object)
		{
			json_write_string(out, child->key, child->key_bytes);
			write_raw(out, ":", 1);
		}
		schema_write_value(schemas, its, child, out);
	}
	write_raw(out, is_object ? "}" : "]", 1);
}

void
schema_write_value(const ToolSchema *schemas, const JsonNode *schema, const JsonNode *value, ByteWriter *out)
{
	ByteSpan text = {value->kind == NODE_IS_STRING ? value->text : value->source,
					 value->kind == NODE_IS_STRING ? value->n : value->source_bytes};
	unsigned bits = schema ? ask_types(schemas, schema) : 0;

	if (value->kind == NODE_IS_STRING && bits && !(bits & TYPE_STRING))
		schema_write_text(schemas, schema, text, out);
	else if (value->kind != NODE_IS_STRING && (bits & ~(unsigned) TYPE_NULL) == TYPE_STRING &&
			 value->kind != NODE_IS_NULL)
		json_write_string(out, text.data, text.length);
	else if (value->kind == NODE_IS_OBJECT || value->kind == NODE_IS_ARRAY)
		schema_write_members(schemas, schema, value, out);
	else
		json_write_node(out, value);
}
