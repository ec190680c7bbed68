/*
 * schema.c - see schema.h.
 */
#include "schema.h"

#include <stdlib.h>
#include <string.h>

#include "pattern.h"
#include "schema_refs.h"
#include "string_formats.h"

/* Keywords that say nothing of what is valid. */
static const char *const annotations[] = {"$schema",
										  "$id",
										  "id",
										  "$comment",
										  "$defs",
										  "definitions",
										  "title",
										  "description",
										  "default",
										  "examples",
										  "deprecated",
										  "readOnly",
										  "writeOnly",
										  "$anchor",
										  "$vocabulary",
										  "$recursiveAnchor",
										  "contentMediaType",
										  "contentEncoding",
										  "contentSchema",
										  "$dynamicAnchor",
										  NULL};

typedef struct NodeReader
{
	Schema *schema;
	SchemaNode *node;
	const JsonNode *value; /* of the keyword at hand */
	const char *keyword;
	int depth;
} NodeReader;

static uint32_t node_of(Schema *schema, const JsonNode *json, const char *path, int depth);

uint8_t
json_type(const JsonNode *node)
{
	bool is_exact;

	switch (node->kind)
	{
		case NODE_IS_NULL:
			return TYPE_NULL;
		case NODE_IS_BOOL:
			return TYPE_BOOLEAN;
		case NODE_IS_STRING:
			return TYPE_STRING;
		case NODE_IS_ARRAY:
			return TYPE_ARRAY;
		case NODE_IS_OBJECT:
			return TYPE_OBJECT;
		default:
			if (node->is_whole)
				return TYPE_INTEGER;
			return decimal_read(node->source, node->source_bytes, &is_exact) % DECIMAL_ONE == 0 && is_exact
					   ? TYPE_INTEGER
					   : TYPE_FRACTION;
	}
}

static bool
equal_elements(const JsonNode *a, const JsonNode *b)
{
	const JsonNode *x = a->first, *y = b->first;

	for (; x && y; x = x->next, y = y->next)
		if (!json_equal(x, y))
			return false;
	return !x && !y;
}

static bool
equal_members(const JsonNode *a, const JsonNode *b)
{
	for (const JsonNode *x = a->first; x; x = x->next)
	{
		const JsonNode *y = json_member(b, x->key, x->key_bytes);

		if (!y || !json_equal(x, y))
			return false;
	}
	return true;
}

bool
json_equal(const JsonNode *a, const JsonNode *b)
{
	bool a_exact, b_exact;

	if (a->kind != b->kind)
		return false;
	switch (a->kind)
	{
		case NODE_IS_NULL:
			return true;
		case NODE_IS_BOOL:
			return a->boolean == b->boolean;
		case NODE_IS_STRING:
			return a->n == b->n && memcmp(a->text, b->text, a->n) == 0;
		case NODE_IS_NUMBER:
			return decimal_read(a->source, a->source_bytes, &a_exact) ==
					   decimal_read(b->source, b->source_bytes, &b_exact) &&
				   a_exact == b_exact;
		case NODE_IS_ARRAY:
			return a->n == b->n && equal_elements(a, b);
		default:
			return a->n == b->n && equal_members(a, b);
	}
}

/* ---- nodes ---- */

static uint32_t
new_node(Schema *schema, const JsonNode *json, const char *path)
{
	SchemaNode *node = pool_alloc(schema->pool, 1, sizeof *node);

	if (!node || !pool_grow(schema->pool, &schema->nodes, schema->n_nodes, &schema->capacity, sizeof *schema->nodes))
		return 0;
	if (schema->n_nodes >= SCHEMA_MAX_NODES)
	{
		pool_fail(schema->pool, STATUS_TOO_LONG, "the schema has more than %u parts, which is the limit",
				  SCHEMA_MAX_NODES);
		return 0;
	}
	*node = (SchemaNode){
		.json = json,
		.path = arena_copy(schema->pool->arena, path, strlen(path)),
		.types = TYPE_ANY,
		.max_length = NO_LIMIT,
		.pattern = NO_EXPRESSION,
		.format = NO_EXPRESSION,
		.additional = NO_NODE,
		.names = NO_NODE,
		.max_members = NO_LIMIT,
		.items = NO_NODE,
		.contains = NO_NODE,
		.max_items = NO_LIMIT,
		.min_contains = 1,
		.max_contains = NO_LIMIT,
		.ref = NO_NODE,
		.not = NO_NODE,
		.condition = NO_NODE,
		.then = NO_NODE,
		.otherwise = NO_NODE,
		.unevaluated_members = NO_NODE,
		.unevaluated_items = NO_NODE,
	};
	if (!node->path)
	{
		(void) pool_alloc(schema->pool, SIZE_MAX / 2, 1);
		return 0;
	}
	schema->nodes[schema->n_nodes] = node;
	return schema->n_nodes++;
}

uint32_t
schema_constant(Schema *schema, const JsonNode *value)
{
	uint64_t key = (uint64_t) (uintptr_t) value | 1;
	uint32_t id;

	if (map_find(&schema->node_of, key, &id))
		return id;
	id = new_node(schema, NULL, "/const");
	if (pool_failed(schema->pool))
		return 0;
	schema->nodes[id]->constant = value;
	schema->nodes[id]->is_read = true;
	map_put(schema->pool, &schema->node_of, key, id);
	return id;
}

/* ---- keywords ---- */

static const char *
path_of(const NodeReader *reader)
{
	return *reader->node->path ? reader->node->path : "/";
}

static void
refuse(NodeReader *reader, const char *what)
{
	pool_fail(reader->schema->pool, STATUS_INVALID_ARGUMENT, "\"%s\" at %s %s", reader->keyword, path_of(reader), what);
}

static void
unsupported(NodeReader *reader, const char *what)
{
	pool_fail(reader->schema->pool, STATUS_UNSUPPORTED, "\"%s\" at %s is not supported%s", reader->keyword,
			  path_of(reader), what);
}

/* Is the keyword's value of a kind? Otherwise it is refused. */
static bool
expect(NodeReader *reader, JsonNodeKind kind, const char *what)
{
	if (reader->value->kind == (uint8_t) kind)
		return true;
	refuse(reader, what);
	return false;
}

/* A path with a token more, escaped. */
static char *
sub_path(NodeReader *reader, const char *name, size_t length)
{
	const char *path = reader->node->path;
	size_t at = strlen(path);
	char *made =
		pool_alloc(reader->schema->pool, at + strlen(reader->keyword) + 2 * (length < 200 ? length : 200) + 3, 1);

	if (!made)
		return NULL;
	memcpy(made, path, at);
	made[at++] = '/';
	memcpy(made + at, reader->keyword, strlen(reader->keyword));
	at += strlen(reader->keyword);
	if (name)
		made[at++] = '/';
	for (size_t i = 0; name && i < length && i < 200; i++)
	{
		if (name[i] == '~' || name[i] == '/')
		{
			made[at++] = '~';
			made[at++] = name[i] == '~' ? '0' : '1';
		}
		else
			made[at++] = name[i];
	}
	return made;
}

static uint32_t
sub_node(NodeReader *reader, const JsonNode *json, const char *name, size_t length)
{
	char *path = sub_path(reader, name, length);

	return path ? node_of(reader->schema, json, path, reader->depth + 1) : 0;
}

static void
read_one(NodeReader *reader, uint32_t *node)
{
	*node = sub_node(reader, reader->value, NULL, 0);
}

/* A list of nodes: allOf, prefixItems … */
static void
read_nodes(NodeReader *reader, SchemaList *list)
{
	uint32_t n = 0;
	char index[16];

	if (!expect(reader, NODE_IS_ARRAY, "must be an array of schemas"))
		return;
	list->at = pool_alloc(reader->schema->pool, reader->value->n, sizeof *list->at);
	for (const JsonNode *one = reader->value->first; one && list->at && !pool_failed(reader->schema->pool);
		 one = one->next)
	{
		size_t length = 0;

		for (uint32_t rest = n, digits = n ? 0 : 1; rest || digits; rest /= 10, digits = 0)
		{
			memmove(index + 1, index, length++);
			index[0] = (char) ('0' + rest % 10);
		}
		list->at[n++] = sub_node(reader, one, index, length);
	}
	list->n = n;
}

/* A list of nodes that must not be empty. */
static void
read_choices(NodeReader *reader, SchemaList *list)
{
	read_nodes(reader, list);
	if (list->n == 0)
		refuse(reader, "must have at least one schema");
}

/* A whole number that is not negative. Large ones are NO_LIMIT - 1. */
static void
read_count(NodeReader *reader, uint32_t *count)
{
	bool is_exact;
	Decimal value;

	if (!expect(reader, NODE_IS_NUMBER, "must be a number"))
		return;
	value = decimal_read(reader->value->source, reader->value->source_bytes, &is_exact);
	if (value < 0 || value % DECIMAL_ONE != 0)
		refuse(reader, "must be a whole number that is not negative");
	value /= DECIMAL_ONE;
	*count = value < NO_LIMIT - 1 ? (uint32_t) value : NO_LIMIT - 1;
}

/* A lower count, of things that are made one by one. */
static void
read_least(NodeReader *reader, uint32_t *count)
{
	read_count(reader, count);
	if (*count > SCHEMA_MAX_COUNT)
		pool_fail(reader->schema->pool, STATUS_TOO_LONG, "\"%s\" at %s is %s%.*s, the limit is %u", reader->keyword,
				  path_of(reader), "", (int) (reader->value->source_bytes < 20 ? reader->value->source_bytes : 20),
				  reader->value->source, SCHEMA_MAX_COUNT);
}

static bool
read_decimal(NodeReader *reader, Decimal *value, bool *is_exact)
{
	if (!expect(reader, NODE_IS_NUMBER, "must be a number"))
		return false;
	*value = decimal_read(reader->value->source, reader->value->source_bytes, is_exact);
	return true;
}

static void
narrow_lower(SchemaNode *node, Decimal value)
{
	node->lower = node->has_lower && node->lower > value ? node->lower : value;
	node->has_lower = true;
}

static void
narrow_upper(SchemaNode *node, Decimal value)
{
	node->upper = node->has_upper && node->upper < value ? node->upper : value;
	node->has_upper = true;
}

/* Draft 4: exclusiveMinimum is a flag beside minimum. */
static bool
is_exclusive(const NodeReader *reader, const char *keyword)
{
	const JsonNode *flag = json_member_named(reader->node->json, keyword);

	return flag && flag->kind == NODE_IS_BOOL && flag->boolean;
}

static void
read_minimum(NodeReader *reader)
{
	Decimal value;
	bool is_exact;

	if (read_decimal(reader, &value, &is_exact))
		narrow_lower(reader->node, value + (!is_exact || is_exclusive(reader, "exclusiveMinimum")));
}

static void
read_maximum(NodeReader *reader)
{
	Decimal value;
	bool is_exact;

	if (read_decimal(reader, &value, &is_exact))
		narrow_upper(reader->node, value - (is_exact && is_exclusive(reader, "exclusiveMaximum")));
}

static void
read_exclusive_minimum(NodeReader *reader)
{
	Decimal value;
	bool is_exact;

	if (reader->value->kind != NODE_IS_BOOL && read_decimal(reader, &value, &is_exact))
		narrow_lower(reader->node, value + 1);
}

static void
read_exclusive_maximum(NodeReader *reader)
{
	Decimal value;
	bool is_exact;

	if (reader->value->kind != NODE_IS_BOOL && read_decimal(reader, &value, &is_exact))
		narrow_upper(reader->node, value - is_exact);
}

static void
read_multiple(NodeReader *reader)
{
	Schema *schema = reader->schema;
	Decimal value;
	bool is_exact;

	if (!read_decimal(reader, &value, &is_exact))
		return;
	if (reader->value->source[0] == '-' || (value == 0 && is_exact))
		refuse(reader, "must be more than 0");
	else if (!is_exact)
		unsupported(reader, ": it has more than 18 digits behind the point or 19 before it");
	if (!pool_grow(schema->pool, &schema->steps, schema->n_steps, &schema->steps_capacity, sizeof *schema->steps))
		return;
	schema->steps[schema->n_steps] = value;
	reader->node->steps = (SchemaList){1, pool_alloc(schema->pool, 1, sizeof(uint32_t))};
	if (reader->node->steps.at)
		reader->node->steps.at[0] = schema->n_steps++;
}

static uint8_t
type_named(NodeReader *reader, const JsonNode *name)
{
	static const struct
	{
		const char *name;
		uint8_t type;
	} names[] = {{"null", TYPE_NULL},     {"boolean", TYPE_BOOLEAN}, {"integer", TYPE_INTEGER}, {"number", TYPE_NUMBER},
				 {"string", TYPE_STRING}, {"array", TYPE_ARRAY},     {"object", TYPE_OBJECT}};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (json_string_is(name, names[i].name))
			return names[i].type;
	refuse(reader, "must be null, boolean, integer, number, string, array or object, or an array of these");
	return 0;
}

static void
read_type(NodeReader *reader)
{
	uint8_t types = 0;

	if (reader->value->kind == NODE_IS_ARRAY)
		for (const JsonNode *one = reader->value->first; one; one = one->next)
			types |= type_named(reader, one);
	else
		types = type_named(reader, reader->value);
	reader->node->types = types;
}

static void
read_enum(NodeReader *reader)
{
	if (!expect(reader, NODE_IS_ARRAY, "must be an array of values"))
		return;
	if (reader->value->n > SCHEMA_MAX_VALUES)
		pool_fail(reader->schema->pool, STATUS_TOO_LONG, "\"enum\" at %s has %u values, the limit is %u",
				  path_of(reader), reader->value->n, SCHEMA_MAX_VALUES);
	reader->node->values = reader->value;
}

static void
read_const(NodeReader *reader)
{
	reader->node->constant = reader->value;
}

static void
read_pattern(NodeReader *reader)
{
	Pool *pool = reader->schema->pool;

	if (!expect(reader, NODE_IS_STRING, "must be a string"))
		return;
	reader->node->pattern = pattern_read(reader->schema->expressions, reader->value->text, reader->value->n, false);
	if (pool_failed(pool))
		pool->status = status_prefix(pool->status, "\"pattern\" at %s", path_of(reader));
}

/* What a format says beside its pattern. */
static void
narrow_by_format(SchemaNode *node, const JsonNode *name)
{
	if (json_string_is(name, "hostname") && node->max_length > 253)
		node->max_length = 253;
	if (json_string_is(name, "email") && node->max_length > 254)
		node->max_length = 254;
	if (json_string_is(name, "int32"))
	{
		narrow_lower(node, -DECIMAL_ONE * 2147483648);
		narrow_upper(node, DECIMAL_ONE * 2147483647);
	}
	if (json_string_is(name, "int64"))
	{
		narrow_lower(node, DECIMAL_ONE * INT64_MIN);
		narrow_upper(node, DECIMAL_ONE * INT64_MAX);
	}
}

static void
read_format(NodeReader *reader)
{
	Pool *pool = reader->schema->pool;

	if ((reader->schema->ignored & IGNORE_FORMAT) || !expect(reader, NODE_IS_STRING, "must be a string"))
		return;
	if (!string_format_find(reader->schema->expressions, (ByteSpan){reader->value->text, reader->value->n},
							&reader->node->format))
		pool_fail(pool, STATUS_UNSUPPORTED, "\"format\" at %s: \"%.*s\" is not supported", path_of(reader),
				  (int) (reader->value->n < 60 ? reader->value->n : 60), reader->value->text);
	narrow_by_format(reader->node, reader->value);
}

/* A list of (name or expression, node). */
static void
read_members(NodeReader *reader, SchemaList *list, bool by_pattern)
{
	Schema *schema = reader->schema;
	uint32_t n = 0;

	if (!expect(reader, NODE_IS_OBJECT, "must be an object of schemas"))
		return;
	if (reader->value->n > SCHEMA_MAX_MEMBERS)
		pool_fail(schema->pool, STATUS_TOO_LONG, "\"%s\" at %s has %u members, the limit is %u", reader->keyword,
				  path_of(reader), reader->value->n, SCHEMA_MAX_MEMBERS);
	list->at = pool_alloc(schema->pool, 2 * (size_t) reader->value->n, sizeof *list->at);
	for (const JsonNode *one = reader->value->first; one && list->at && !pool_failed(schema->pool); one = one->next)
	{
		list->at[2 * n] = by_pattern ? pattern_read(schema->expressions, one->key, one->key_bytes, false)
									 : schema_text(schema, one->key, one->key_bytes);
		if (pool_failed(schema->pool))
			schema->pool->status =
				status_prefix(schema->pool->status, "\"%s\" at %s", reader->keyword, path_of(reader));
		list->at[2 * n + 1] = sub_node(reader, one, one->key, one->key_bytes);
		n++;
	}
	list->n = n;
}

static void
read_names(NodeReader *reader, SchemaList *list)
{
	uint32_t n = 0;

	if (reader->value->kind == NODE_IS_BOOL && reader->schema->draft == 4)
		return;
	if (!expect(reader, NODE_IS_ARRAY, "must be an array of names"))
		return;
	list->at = pool_alloc(reader->schema->pool, reader->value->n, sizeof *list->at);
	for (const JsonNode *one = reader->value->first; one && list->at; one = one->next)
	{
		if (one->kind != NODE_IS_STRING)
			refuse(reader, "must be an array of names");
		else
			list->at[n++] = schema_text(reader->schema, one->text, one->n);
	}
	list->n = n;
}

/* dependentRequired, dependentSchemas, and dependencies, which is both. */
static void
read_dependents(NodeReader *reader, bool may_need, bool may_be_schemas)
{
	Schema *schema = reader->schema;
	WordList needs = {0}, dependents = {0};

	if (!expect(reader, NODE_IS_OBJECT, "must be an object"))
		return;
	for (const JsonNode *one = reader->value->first; one && !pool_failed(schema->pool); one = one->next)
	{
		uint32_t name = schema_text(schema, one->key, one->key_bytes);

		if (one->kind == NODE_IS_ARRAY && may_need)
			for (const JsonNode *other = one->first; other; other = other->next)
			{
				if (other->kind != NODE_IS_STRING)
				{
					refuse(reader, "must have arrays of names");
					return;
				}
				list_add(schema->pool, &needs, name);
				list_add(schema->pool, &needs, schema_text(schema, other->text, other->n));
			}
		else if (one->kind == NODE_IS_STRING && may_need && may_be_schemas)
		{
			list_add(schema->pool, &needs, name);
			list_add(schema->pool, &needs, schema_text(schema, one->text, one->n));
		}
		else if (may_be_schemas && (one->kind == NODE_IS_OBJECT || one->kind == NODE_IS_BOOL))
		{
			list_add(schema->pool, &dependents, name);
			list_add(schema->pool, &dependents, sub_node(reader, one, one->key, one->key_bytes));
		}
		else
			refuse(reader, may_need ? "must have arrays of names" : "must have schemas");
	}
	if (needs.n)
		reader->node->needs = (SchemaList){needs.n / 2, needs.at};
	if (dependents.n)
		reader->node->dependents = (SchemaList){dependents.n / 2, dependents.at};
}

static void
read_items(NodeReader *reader)
{
	SchemaNode *node = reader->node;
	const JsonNode *more;

	if (reader->value->kind != NODE_IS_ARRAY)
	{
		read_one(reader, &node->items);
		return;
	}
	if (reader->schema->draft == 2020 && json_member_named(node->json, "prefixItems"))
	{
		refuse(reader, "must be a schema beside \"prefixItems\"");
		return;
	}
	read_nodes(reader, &node->prefix);
	more = json_member_named(node->json, "additionalItems");
	if (more)
	{
		NodeReader other = *reader;

		other.keyword = "additionalItems";
		other.value = more;
		read_one(&other, &node->items);
	}
}

/* A dynamic reference to what has its name alone is an ordinary one. */
static bool
is_static(const NodeReader *reader)
{
	const Schema *schema = reader->schema;
	const JsonNode *value = reader->value;
	const char *name;
	uint32_t n = 0;

	if (value->kind != NODE_IS_STRING)
		return true;
	if (strcmp(reader->keyword, "$recursiveRef") == 0)
		return !schema->has_recursive_anchor;
	name = memchr(value->text, '#', value->n);
	for (uint32_t i = 0; name && i < schema->dynamic_anchors.n; i++)
	{
		ByteSpan anchor = schema_span(schema, schema->dynamic_anchors.at[i]);

		n += anchor.length == value->n - (size_t) (name + 1 - value->text) &&
			 memcmp(anchor.data, name + 1, anchor.length) == 0;
	}
	return n < 2;
}

static void
read_ref(NodeReader *reader)
{
	Schema *schema = reader->schema;
	const JsonNode *found;

	if (!expect(reader, NODE_IS_STRING, "must be a string"))
		return;
	found =
		refs_find(schema, reader->node->json, reader->node->path, (ByteSpan){reader->value->text, reader->value->n});
	if (found)
		reader->node->ref = sub_node(reader, found, NULL, 0);
}

static bool
is_among(const char *word, const char *const *words)
{
	for (; *words; words++)
		if (strcmp(*words, word) == 0)
			return true;
	return false;
}

#define IS(name) (strcmp(keyword, name) == 0)

/* Keywords of any type, of numbers and of strings; false: it is another. */
static bool
read_simple(NodeReader *reader, const char *keyword)
{
	SchemaNode *node = reader->node;

	if (IS("type"))
		read_type(reader);
	else if (IS("enum"))
		read_enum(reader);
	else if (IS("const") && reader->schema->draft != 4)
		read_const(reader);
	else if (IS("minimum"))
		read_minimum(reader);
	else if (IS("maximum"))
		read_maximum(reader);
	else if (IS("exclusiveMinimum"))
		read_exclusive_minimum(reader);
	else if (IS("exclusiveMaximum"))
		read_exclusive_maximum(reader);
	else if (IS("multipleOf"))
		read_multiple(reader);
	else if (IS("minLength"))
		read_count(reader, &node->min_length);
	else if (IS("maxLength"))
	{
		uint32_t limit = NO_LIMIT;

		/* a format may have said less */
		read_count(reader, &limit);
		node->max_length = limit < node->max_length ? limit : node->max_length;
	}
	else if (IS("pattern"))
		read_pattern(reader);
	else if (IS("format"))
		read_format(reader);
	else
		return false;
	return true;
}

/* Keywords of objects and arrays. */
static bool
read_container(NodeReader *reader, const char *keyword)
{
	SchemaNode *node = reader->node;
	int draft = reader->schema->draft;

	if (IS("properties"))
		read_members(reader, &node->properties, false);
	else if (IS("patternProperties"))
		read_members(reader, &node->patterns, true);
	else if (IS("additionalProperties"))
		read_one(reader, &node->additional);
	else if (IS("propertyNames"))
		read_one(reader, &node->names);
	else if (IS("required"))
		read_names(reader, &node->required);
	else if (IS("minProperties"))
		read_least(reader, &node->min_members);
	else if (IS("maxProperties"))
		read_count(reader, &node->max_members);
	else if (IS("dependentRequired") && draft >= 2019)
		read_dependents(reader, true, false);
	else if (IS("dependentSchemas") && draft >= 2019)
		read_dependents(reader, false, true);
	else if (IS("dependencies"))
		read_dependents(reader, true, true);
	else if (IS("items"))
		read_items(reader);
	else if (IS("prefixItems"))
		read_nodes(reader, &node->prefix);
	else if (IS("minItems"))
		read_least(reader, &node->min_items);
	else if (IS("maxItems"))
		read_count(reader, &node->max_items);
	else if (IS("contains"))
		read_one(reader, &node->contains);
	else if (IS("minContains") && draft >= 2019)
		read_least(reader, &node->min_contains);
	else if (IS("maxContains") && draft >= 2019)
		read_count(reader, &node->max_contains);
	else if (IS("uniqueItems"))
	{
		if (expect(reader, NODE_IS_BOOL, "must be true or false"))
			node->is_unique = reader->value->boolean;
	}
	else if (IS("unevaluatedProperties"))
		read_one(reader, &node->unevaluated_members);
	else if (IS("unevaluatedItems"))
		read_one(reader, &node->unevaluated_items);
	else
		return IS("additionalItems");
	return true;
}

/* Keywords that apply schemas to the same value. */
static bool
read_applicator(NodeReader *reader, const char *keyword)
{
	SchemaNode *node = reader->node;

	if (IS("allOf"))
		read_choices(reader, &node->all_of);
	else if (IS("anyOf"))
		read_choices(reader, &node->any_of);
	else if (IS("oneOf"))
		read_choices(reader,
					 (reader->schema->ignored & RELAX_ONE_OF) && !node->any_of.n ? &node->any_of : &node->one_of);
	else if (IS("not"))
		read_one(reader, &node->not );
	else if (IS("if") && reader->schema->draft >= 7)
		read_one(reader, &node->condition);
	else if (IS("then") && reader->schema->draft >= 7)
		read_one(reader, &node->then);
	else if (IS("else") && reader->schema->draft >= 7)
		read_one(reader, &node->otherwise);
	else if (IS("$ref"))
		read_ref(reader);
	else if (IS("$dynamicRef") || IS("$recursiveRef"))
	{
		if (node->ref == NO_NODE && is_static(reader))
			read_ref(reader);
		else
			unsupported(reader, "");
	}
	else
		return false;
	return true;
}

static void
read_keyword(NodeReader *reader, const JsonNode *member)
{
	char keyword[64];

	/* what the standard does not know is an annotation */
	if (member->key_bytes >= sizeof keyword)
		return;
	memcpy(keyword, member->key, member->key_bytes);
	keyword[member->key_bytes] = 0;
	if (is_among(keyword, annotations))
		return;
	reader->keyword = keyword;
	reader->value = member;
	(void) (read_simple(reader, keyword) || read_container(reader, keyword) || read_applicator(reader, keyword));
}

/* The members of a schema that is an object. */
static void
read_node(Schema *schema, SchemaNode *node, int depth)
{
	NodeReader reader = {.schema = schema, .node = node, .depth = depth};
	const JsonNode *ref = json_member_named(node->json, "$ref");

	if (schema->draft < 2019 && ref && ref->kind == NODE_IS_STRING)
	{
		read_keyword(&reader, ref);
		return;
	}
	/* a dynamic reference is looked at after an ordinary one */
	for (const JsonNode *member = node->json->first; member && !pool_failed(schema->pool); member = member->next)
		read_keyword(&reader, member);
	if (node->is_unique && node->max_items > 1 && (node->types & TYPE_ARRAY))
	{
		reader.keyword = "uniqueItems";
		unsupported(&reader, "");
	}
	/* "contains" alone gives these a meaning */
	if (node->contains == NO_NODE)
	{
		node->min_contains = 1;
		node->max_contains = NO_LIMIT;
	}
}

/* The node of a part of the schema, which is read when it is asked for first. */
static uint32_t
node_of(Schema *schema, const JsonNode *json, const char *path, int depth)
{
	uint64_t key = (uint64_t) (uintptr_t) json;
	uint32_t id;

	if (pool_failed(schema->pool) || !pool_work(schema->pool, 1))
		return 0;
	if (map_find(&schema->node_of, key, &id))
		return id;
	if (json->kind == NODE_IS_BOOL)
		return json->boolean ? schema->always : schema->never;
	if (json->kind != NODE_IS_OBJECT)
	{
		pool_fail(schema->pool, STATUS_INVALID_ARGUMENT, "the schema at %s must be an object, true or false",
				  *path ? path : "/");
		return 0;
	}
	if (depth > SCHEMA_MAX_DEPTH)
	{
		pool_fail(schema->pool, STATUS_TOO_LONG, "the schema is deeper than %d at %.100s", SCHEMA_MAX_DEPTH, path);
		return 0;
	}
	id = new_node(schema, json, path);
	if (pool_failed(schema->pool))
		return 0;
	map_put(schema->pool, &schema->node_of, key, id);
	read_node(schema, schema->nodes[id], depth);
	schema->nodes[id]->is_read = true;
	return id;
}

/* The draft that "$schema" names; what it names and is not known is of today. */
static int
draft_of(const JsonNode *json)
{
	static const struct
	{
		const char *part;
		int draft;
	} drafts[] = {{"draft-04", 4}, {"draft-06", 6}, {"draft-07", 7}, {"2019-09", 2019}, {"2020-12", 2020}};
	const JsonNode *name = json_member_named(json, "$schema");

	for (size_t i = 0; name && name->kind == NODE_IS_STRING && i < sizeof drafts / sizeof *drafts; i++)
		if (memmem(name->text, name->n, drafts[i].part, strlen(drafts[i].part)))
			return drafts[i].draft;
	return 2020;
}

void
schema_open(Schema *schema, Pool *pool, Expressions *expressions, const JsonNode *json, const char *path,
			uint32_t ignored)
{
	*schema = (Schema){.pool = pool, .expressions = expressions, .root_json = json, .ignored = ignored};
	schema->draft = draft_of(json);
	schema->always = new_node(schema, NULL, "");
	schema->never = new_node(schema, NULL, "");
	if (pool_failed(pool))
		return;
	schema->nodes[schema->never]->is_false = true;
	schema->nodes[schema->always]->is_read = schema->nodes[schema->never]->is_read = true;
	refs_collect(schema);
	schema->root = node_of(schema, json, path, 0);
}
