/*
 * schema_parts.c - keywords that hold other schemas: of objects, of arrays, and those that apply them to the same
 * value.
 */
#include <string.h>

#include "node_reader.h"
#include "pattern.h"
#include "schema_refs.h"

/* A list of nodes that must not be empty. */
static void
read_choices(NodeReader *reader, SchemaList *list)
{
	reader_take_nodes(reader, list);
	if (list->n == 0)
		reader_refuse(reader, "must have at least one schema");
}

/* A list of (name or expression, node). */
static void
read_members(NodeReader *reader, SchemaList *list, bool by_pattern)
{
	Schema *schema = reader->schema;
	uint32_t n = 0;

	if (!reader_expects(reader, NODE_IS_OBJECT, "must be an object of schemas"))
		return;
	if (reader->value->n > SCHEMA_MAX_MEMBERS)
		pool_fail(schema->pool, STATUS_TOO_LONG, "\"%s\" at %s has %u members, the limit is %u", reader->keyword,
				  reader_path(reader), reader->value->n, SCHEMA_MAX_MEMBERS);
	list->at = pool_alloc(schema->pool, 2 * (size_t) reader->value->n, sizeof *list->at);
	for (const JsonNode *one = reader->value->first; one && list->at && !pool_failed(schema->pool); one = one->next)
	{
		list->at[2 * n] = by_pattern ? pattern_read(schema->expressions, one->key, one->key_bytes, false)
									 : schema_text(schema, one->key, one->key_bytes);
		if (pool_failed(schema->pool))
			schema->pool->status =
				status_prefix(schema->pool->status, "\"%s\" at %s", reader->keyword, reader_path(reader));
		list->at[2 * n + 1] = reader_node(reader, one, one->key, one->key_bytes);
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
	if (!reader_expects(reader, NODE_IS_ARRAY, "must be an array of names"))
		return;
	list->at = pool_alloc(reader->schema->pool, reader->value->n, sizeof *list->at);
	for (const JsonNode *one = reader->value->first; one && list->at; one = one->next)
	{
		if (one->kind != NODE_IS_STRING)
			reader_refuse(reader, "must be an array of names");
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

	if (!reader_expects(reader, NODE_IS_OBJECT, "must be an object"))
		return;
	for (const JsonNode *one = reader->value->first; one && !pool_failed(schema->pool); one = one->next)
	{
		uint32_t name = schema_text(schema, one->key, one->key_bytes);

		if (one->kind == NODE_IS_ARRAY && may_need)
			for (const JsonNode *other = one->first; other; other = other->next)
			{
				if (other->kind != NODE_IS_STRING)
				{
					reader_refuse(reader, "must have arrays of names");
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
			list_add(schema->pool, &dependents, reader_node(reader, one, one->key, one->key_bytes));
		}
		else
			reader_refuse(reader, may_need ? "must have arrays of names" : "must have schemas");
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
		reader_take_node(reader, &node->items);
		return;
	}
	if (reader->schema->draft == 2020 && json_member_named(node->json, "prefixItems"))
	{
		reader_refuse(reader, "must be a schema beside \"prefixItems\"");
		return;
	}
	reader_take_nodes(reader, &node->prefix);
	more = json_member_named(node->json, "additionalItems");
	if (more)
	{
		NodeReader other = *reader;

		other.keyword = "additionalItems";
		other.value = more;
		reader_take_node(&other, &node->items);
	}
}

/* Does a recursive reference lead to a resource that does not ask for the outermost one, or that is alone in asking? */
static bool
is_static_recursion(const NodeReader *reader)
{
	const JsonNode *value = reader->value, *found;

	found = refs_find(reader->schema, reader->node->json, reader->node->path, (ByteSpan){value->text, value->n});
	return !found || !has_recursive_anchor(found) || reader->schema->n_recursive_anchors == 1;
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
		return is_static_recursion(reader);
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

	if (!reader_expects(reader, NODE_IS_STRING, "must be a string"))
		return;
	found =
		refs_find(schema, reader->node->json, reader->node->path, (ByteSpan){reader->value->text, reader->value->n});
	if (found)
		reader->node->ref = reader_node(reader, found, NULL, 0);
}

#define IS(name) (strcmp(keyword, name) == 0)

/* Keywords of objects and arrays. */
bool
read_container_keyword(NodeReader *reader, const char *keyword)
{
	SchemaNode *node = reader->node;
	int draft = reader->schema->draft;

	if (IS("properties"))
		read_members(reader, &node->properties, false);
	else if (IS("patternProperties"))
		read_members(reader, &node->patterns, true);
	else if (IS("additionalProperties"))
		reader_take_node(reader, &node->additional);
	else if (IS("propertyNames"))
		reader_take_node(reader, &node->names);
	else if (IS("required"))
		read_names(reader, &node->required);
	else if (IS("minProperties"))
		reader_take_least(reader, &node->min_members);
	else if (IS("maxProperties"))
		reader_take_count(reader, &node->max_members);
	else if (IS("dependentRequired") && draft >= 2019)
		read_dependents(reader, true, false);
	else if (IS("dependentSchemas") && draft >= 2019)
		read_dependents(reader, false, true);
	else if (IS("dependencies"))
		read_dependents(reader, true, true);
	else if (IS("items"))
		read_items(reader);
	else if (IS("prefixItems"))
		reader_take_nodes(reader, &node->prefix);
	else if (IS("minItems"))
		reader_take_least(reader, &node->min_items);
	else if (IS("maxItems"))
		reader_take_count(reader, &node->max_items);
	else if (IS("contains"))
		reader_take_node(reader, &node->contains);
	else if (IS("minContains") && draft >= 2019)
		reader_take_least(reader, &node->min_contains);
	else if (IS("maxContains") && draft >= 2019)
		reader_take_count(reader, &node->max_contains);
	else if (IS("uniqueItems"))
	{
		if (reader_expects(reader, NODE_IS_BOOL, "must be true or false"))
			node->is_unique = reader->value->boolean && !(reader->schema->ignored & IGNORE_UNIQUE);
	}
	else if (IS("unevaluatedProperties"))
		reader_take_node(reader, &node->unevaluated_members);
	else if (IS("unevaluatedItems"))
		reader_take_node(reader, &node->unevaluated_items);
	else
		return IS("additionalItems");
	return true;
}

/* Keywords that apply schemas to the same value. */
bool
read_applicator_keyword(NodeReader *reader, const char *keyword)
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
		reader_take_node(reader, &node->not );
	else if (IS("if") && reader->schema->draft >= 7)
		reader_take_node(reader, &node->condition);
	else if (IS("then") && reader->schema->draft >= 7)
		reader_take_node(reader, &node->then);
	else if (IS("else") && reader->schema->draft >= 7)
		reader_take_node(reader, &node->otherwise);
	else if (IS("$ref"))
		read_ref(reader);
	else if (IS("$dynamicRef") || IS("$recursiveRef"))
	{
		if (node->ref == NO_NODE && is_static(reader))
			read_ref(reader);
		else
			reader_unsupported(reader, "");
	}
	else
		return false;
	return true;
}
