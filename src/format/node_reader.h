/*
 * node_reader.h - reading the keywords of one node of a schema.
 *
 * A keyword's value that makes no sense is refused with the keyword and the path of its node.
 */
#ifndef QWEN_FORMAT_NODE_READER_H
#define QWEN_FORMAT_NODE_READER_H

#include "schema.h"

typedef struct NodeReader
{
	Schema *schema;
	SchemaNode *node;
	const JsonNode *value; /* of the keyword at hand */
	const char *keyword;
	bool knows_one; /* some keyword is one of the standard */
	int depth;
	/* the node of a part of the schema, which is read when it is asked for first */
	uint32_t (*node_of)(Schema *schema, const JsonNode *json, const char *path, int depth);
} NodeReader;

/* Where the node is, for errors. */
extern const char *reader_path(const NodeReader *reader);

/* The keyword's value makes no sense; we cannot do it. what goes on behind "keyword" at /path. */
extern void reader_refuse(NodeReader *reader, const char *what);
extern void reader_unsupported(NodeReader *reader, const char *what);

/* Say that a keyword that may be left out is not supported, and how it is. */
extern void schema_unsupported(const Schema *schema, const char *keyword, const char *path, const char *why);

/* Is the keyword's value of a kind? Otherwise it is refused. */
extern bool reader_expects(NodeReader *reader, JsonNodeKind kind, const char *what);

/* The node of a schema below the keyword, which has a name or index there (NULL: none). */
extern uint32_t reader_node(NodeReader *reader, const JsonNode *json, const char *name, size_t length);

/* The keyword's value: a schema, a list of them, a count, a count of what is made one by one, a number. */
extern void reader_take_node(NodeReader *reader, uint32_t *node);
extern void reader_take_nodes(NodeReader *reader, SchemaList *list);
extern void reader_take_count(NodeReader *reader, uint32_t *count);
extern void reader_take_least(NodeReader *reader, uint32_t *count);
extern bool reader_take_decimal(NodeReader *reader, Decimal *value, bool *is_exact);

/* Keywords of any type, of numbers and of strings (schema_scalars.c); of objects and arrays; those that apply schemas
 * to the same value (schema_parts.c). false: it is another keyword. */
extern bool read_scalar_keyword(NodeReader *reader, const char *keyword);
extern bool read_container_keyword(NodeReader *reader, const char *keyword);
extern bool read_applicator_keyword(NodeReader *reader, const char *keyword);

#endif
