/*
 * schema.h - JSON schemas as nodes: read once, every keyword checked; drafts 4 to 2020-12.
 *
 * A keyword is one of those below, or an annotation by the standard, or an error with its path: UNSUPPORTED where we
 * know what it means and cannot do it, INVALID_ARGUMENT where its value makes no sense. Nothing is passed over.
 */
#ifndef QWEN_FORMAT_SCHEMA_H
#define QWEN_FORMAT_SCHEMA_H

#include "../base/json_tree.h"
#include "expression.h"
#include "numbers.h"

#define SCHEMA_MAX_NODES 65536u
#define SCHEMA_MAX_DEPTH 512
#define SCHEMA_MAX_VALUES 10000u /* of an enum */
#define SCHEMA_MAX_MEMBERS 4096u /* of properties */
#define SCHEMA_MAX_COUNT 4096u   /* minItems, minProperties, minContains: they are made one by one */
#define NO_NODE UINT32_MAX
#define NO_EXPRESSION UINT32_MAX

/* Types as bits. A number is a whole one or not. */
enum
{
	TYPE_NULL = 1,
	TYPE_BOOLEAN = 2,
	TYPE_INTEGER = 4,
	TYPE_FRACTION = 8,
	TYPE_STRING = 16,
	TYPE_ARRAY = 32,
	TYPE_OBJECT = 64,
	TYPE_NUMBER = TYPE_INTEGER | TYPE_FRACTION,
	TYPE_ANY = 127,
};

/* What a format may leave out when it is asked to. */
enum
{
	IGNORE_FORMAT = 1,
	RELAX_ONE_OF = 2,
	CLOSE_OBJECTS = 4, /* and what is asked of it besides */
	IGNORE_UNIQUE = 8,
	OF_TOOLS = 16, /* no part of a form, so errors name another way out */
};

/* A list of nodes, names or pairs of them. */
typedef struct SchemaList
{
	uint32_t n;
	uint32_t *at; /* [n], pairs: [2 n] */
} SchemaList;

typedef struct SchemaNode
{
	const JsonNode *json; /* NULL: made, of true, false or a constant */
	char *path;           /* a JSON pointer */
	int draft;
	bool is_read, is_false;
	uint8_t types;
	const JsonNode *values, *constant; /* enum; const. NULL: none */

	bool has_lower, has_upper;
	Decimal lower, upper; /* both allowed */
	SchemaList steps;     /* of numbers of decimals: multipleOf */
	uint32_t min_length, max_length;
	uint32_t pattern, format, format_bound; /* expressions, or NO_EXPRESSION; string_formats.h */
	uint32_t format_length;                 /* the most letters that a text of the format is made of */

	SchemaList properties; /* (name, node) */
	SchemaList patterns;   /* (expression, node) */
	SchemaList required;   /* names */
	SchemaList needs;      /* (name, name): dependentRequired */
	SchemaList dependents; /* (name, node): dependentSchemas */
	uint32_t additional, names;
	uint32_t min_members, max_members;

	SchemaList prefix; /* nodes */
	uint32_t items, contains;
	uint32_t min_items, max_items, min_contains, max_contains;
	bool is_unique;

	SchemaList all_of, any_of, one_of;
	uint32_t ref, not, condition, then, otherwise;
	uint32_t unevaluated_members, unevaluated_items;
} SchemaNode;

typedef struct Schema
{
	Pool *pool;
	Expressions *expressions;
	const JsonNode *root_json;
	SchemaNode **nodes;
	uint32_t n_nodes, capacity, ignored;
	int draft;         /* 4, 6, 7, 2019, 2020 */
	NumberMap node_of; /* of a JsonNode */
	Interner texts;    /* names: byte count, bytes packed into words */
	Decimal *steps;
	uint32_t n_steps, steps_capacity;
	struct SchemaPlace *places; /* what $id and anchors name */
	NumberMap base_of;          /* a JsonNode's base URI (a text) */
	WordList dynamic_anchors;   /* texts, each as often as it is there */
	uint32_t n_recursive_anchors;
	uint32_t always, never; /* the nodes true and false */
	uint32_t root;
} Schema;

/* The types of a schema's keyword "type", as errors list them. */
#define SCHEMA_TYPES "null, boolean, integer, number, string, array or object"

/* The TYPE_ of a name; 0: it is none, or no string. */
extern uint8_t schema_type_named(const JsonNode *name);

/* Read a schema and all that it refers to. Failures are noted in the pool. */
extern void schema_open(Schema *schema, Pool *pool, Expressions *expressions, const JsonNode *json, const char *path,
						uint32_t ignored);

/* The same of one document more, whose references stay within it: its node. */
extern uint32_t schema_add(Schema *schema, const JsonNode *json, const char *path);

/* The node of a constant. */
extern uint32_t schema_constant(Schema *schema, const JsonNode *value);

/* A new node, of one of the values in a list; of one of some nodes (the list stays where it is). */
extern uint32_t schema_values(Schema *schema, const JsonNode *values);
extern uint32_t schema_any_of(Schema *schema, const WordList *nodes);

/* The number of a name; a name's bytes. */
extern uint32_t schema_text(Schema *schema, const char *text, size_t length);
extern ByteSpan schema_span(const Schema *schema, uint32_t text);

#endif
