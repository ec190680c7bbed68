/*
 * schema.c - see schema.h. Keywords are read in schema_scalars.c and schema_parts.c.
 */
#include "schema.h"

#include <string.h>

#include "node_reader.h"
#include "schema_refs.h"

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

static uint32_t node_of(Schema *schema, const JsonNode *json, const char *path, int depth);

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
		.draft = schema->draft,
		.path = arena_copy(schema->pool->arena, path, strlen(path)),
		.types = TYPE_ANY,
		.max_length = NO_LIMIT,
		.format_length = NO_LIMIT,
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

uint32_t
schema_values(Schema *schema, const JsonNode *values)
{
	uint32_t id = new_node(schema, NULL, "/enum");

	if (pool_failed(schema->pool))
		return 0;
	schema->nodes[id]->values = values;
	schema->nodes[id]->is_read = true;
	return id;
}

uint32_t
schema_any_of(Schema *schema, const WordList *nodes)
{
	uint32_t id = new_node(schema, NULL, "/anyOf");

	if (pool_failed(schema->pool))
		return 0;
	schema->nodes[id]->any_of = (SchemaList){nodes->n, nodes->at};
	schema->nodes[id]->is_read = true;
	return id;
}

static bool
is_among(const char *word, const char *const *words)
{
	for (; *words; words++)
		if (strcmp(*words, word) == 0)
			return true;
	return false;
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
	reader->keyword = keyword;
	reader->value = member;
	reader->knows_one |= is_among(keyword, annotations) || read_scalar_keyword(reader, keyword) ||
						 read_container_keyword(reader, keyword) || read_applicator_keyword(reader, keyword);
}

/* The members of a schema that is an object. */
static void
read_node(Schema *schema, SchemaNode *node, int depth)
{
	NodeReader reader = {.schema = schema, .node = node, .depth = depth, .node_of = node_of};
	const JsonNode *ref = json_member_named(node->json, "$ref");

	if (schema->draft < 2019 && ref && ref->kind == NODE_IS_STRING)
	{
		read_keyword(&reader, ref);
		return;
	}
	/* a dynamic reference is looked at after an ordinary one */
	for (const JsonNode *member = node->json->first; member && !pool_failed(schema->pool); member = member->next)
		read_keyword(&reader, member);
	/* names of what is wanted, or another interface's form: read as annotations they would let anything be the answer
	 */
	if (depth == 0 && node->json->n > 0 && !reader.knows_one && !pool_failed(schema->pool))
		pool_fail(schema->pool, STATUS_INVALID_ARGUMENT,
				  "the schema has no keyword of JSON Schema, and \"%.*s\" is none; members stand below \"properties\"",
				  (int) (node->json->first->key_bytes < 60 ? node->json->first->key_bytes : 60),
				  node->json->first->key);
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

/* Does a node say itself what other members may be? */
static bool
says_others(const SchemaNode *node)
{
	static const char *const keywords[] = {"additionalProperties", "patternProperties", "unevaluatedProperties",
										   "propertyNames"};

	for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++)
		if (json_member_named(node->json, keywords[i]))
			return true;
	return false;
}

static void
leave_open(WordList *open, Pool *pool, const SchemaList *list)
{
	list_add_all(pool, open, list->at, list->n);
}

/*
 * What a node applies to the same value: parts of one description, of which none may forbid what another one names. A
 * reference alone, or ways of which one is enough, describe it by themselves, and stay as closed as they are.
 */
static void
find_open(const Schema *schema, uint32_t id, WordList *open)
{
	const SchemaNode *node = schema->nodes[id];
	const uint32_t single[] = {node->not, node->condition, node->then, node->otherwise, node->contains};
	uint32_t n_ways = (node->ref != NO_NODE) + (node->any_of.n > 0) + (node->one_of.n > 0) + node->all_of.n;

	leave_open(open, schema->pool, &node->one_of);
	for (size_t i = 0; i < sizeof single / sizeof *single; i++)
		if (single[i] != NO_NODE)
			list_add(schema->pool, open, single[i]);
	for (uint32_t i = 0; i < node->dependents.n; i++)
		list_add(schema->pool, open, node->dependents.at[2 * i + 1]);
	if (n_ways < 2 && node->properties.n == 0 && node->required.n == 0 && !says_others(node) &&
		node->dependents.n == 0 && node->condition == NO_NODE && node->not == NO_NODE)
		return;
	leave_open(open, schema->pool, &node->any_of);
	leave_open(open, schema->pool, &node->all_of);
	if (node->ref != NO_NODE)
		list_add(schema->pool, open, node->ref);
}

static void
leave_open_below(const Schema *schema, const SchemaNode *node, WordList *open)
{
	const SchemaList *pairs[] = {&node->properties, &node->patterns};
	const uint32_t single[] = {node->ref, node->items, node->additional, node->unevaluated_members,
							   node->unevaluated_items};

	leave_open(open, schema->pool, &node->any_of);
	leave_open(open, schema->pool, &node->all_of);
	leave_open(open, schema->pool, &node->prefix);
	for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
		for (uint32_t k = 0; k < pairs[i]->n; k++)
			list_add(schema->pool, open, pairs[i]->at[2 * k + 1]);
	for (size_t i = 0; i < sizeof single / sizeof *single; i++)
		if (single[i] != NO_NODE)
			list_add(schema->pool, open, single[i]);
}

/* Has a node other descriptions of the same value? */
static bool
is_combined(const SchemaNode *node)
{
	return node->ref != NO_NODE || node->all_of.n || node->any_of.n || node->one_of.n || node->dependents.n ||
		   node->condition != NO_NODE || node->not != NO_NODE;
}

static bool
has_property(const SchemaNode *node, uint32_t name)
{
	for (uint32_t i = 0; i < node->properties.n; i++)
		if (node->properties.at[2 * i] == name)
			return true;
	return false;
}

/* Have an object no members but those that it names. What it requires it names, too: anything, where nothing is said of
 * it. */
static void
close_object(const Schema *schema, SchemaNode *node)
{
	WordList named = {0};

	list_add_all(schema->pool, &named, node->properties.at, 2 * node->properties.n);
	for (uint32_t i = 0; i < node->required.n + node->needs.n; i++)
	{
		uint32_t name = i < node->required.n ? node->required.at[i] : node->needs.at[2 * (i - node->required.n) + 1];

		if (has_property(node, name))
			continue;
		list_add(schema->pool, &named, name);
		list_add(schema->pool, &named, schema->always);
		node->properties = (SchemaList){named.n / 2, named.at};
	}
	/* more members than have names: others have to be */
	if (!pool_failed(schema->pool) && node->min_members <= node->properties.n)
		node->additional = schema->never;
}

/* Objects whose schema names members and says nothing of others have no others (CLOSE_OBJECTS). Of given values it says
 * all. */
static void
close_objects(Schema *schema)
{
	uint8_t *is_open = pool_alloc(schema->pool, schema->n_nodes, 1);
	WordList open = {0};

	for (uint32_t i = 0; is_open && i < schema->n_nodes && !pool_failed(schema->pool); i++)
		if (schema->nodes[i]->json)
			find_open(schema, i, &open);
	/* and all that is below: another part may speak of it too, or it is negated */
	for (uint32_t i = 0; is_open && i < open.n && !pool_failed(schema->pool); i++)
	{
		const SchemaNode *node = schema->nodes[open.at[i]];

		if (is_open[open.at[i]])
			continue;
		is_open[open.at[i]] = 1;
		leave_open_below(schema, node, &open);
	}
	for (uint32_t i = 0; is_open && i < schema->n_nodes && !pool_failed(schema->pool); i++)
	{
		SchemaNode *node = schema->nodes[i];

		if (node->json && node->properties.n > 0 && !is_open[i] && !is_combined(node) && !says_others(node) &&
			!node->values && !node->constant)
			close_object(schema, node);
	}
}

void
schema_open(Schema *schema, Pool *pool, Expressions *expressions, const JsonNode *json, const char *path,
			uint32_t ignored)
{
	*schema = (Schema){.pool = pool, .expressions = expressions, .ignored = ignored};
	schema->always = new_node(schema, NULL, "");
	schema->never = new_node(schema, NULL, "");
	if (pool_failed(pool))
		return;
	schema->nodes[schema->never]->is_false = true;
	schema->nodes[schema->always]->is_read = schema->nodes[schema->never]->is_read = true;
	schema->root = schema_add(schema, json, path);
	if ((ignored & CLOSE_OBJECTS) && !pool_failed(pool))
		close_objects(schema);
}

uint32_t
schema_add(Schema *schema, const JsonNode *json, const char *path)
{
	schema->root_json = json;
	schema->draft = draft_of(json);
	schema->places = NULL;
	schema->dynamic_anchors = (WordList){0};
	schema->n_recursive_anchors = 0;
	refs_collect(schema);
	return node_of(schema, json, path, 0);
}
