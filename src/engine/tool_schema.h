/*
 * tool_schema.h - what a tool's JSON Schema says of an argument, and the argument's value written as that type.
 *
 * A model writes arguments as text (the Coder form) or as JSON whose types are not always those that were asked for
 * ("5" for an integer). What can be read as the schema's type becomes that; what cannot stays what it is: no character
 * of a value is lost either way. Understood: type (also a list), nullable, enum, const, anyOf, oneOf, allOf, $ref
 * within the parameters, properties, additionalProperties, items, prefixItems.
 */
#ifndef QWEN_TOOL_SCHEMA_H
#define QWEN_TOOL_SCHEMA_H

#include "../base/json_tree.h"
#include "tool_set.h"

#define SCHEMA_MEMO 512 /* schemas whose types are remembered */

/*
 * What reading one answer's values may cost, however schemas refer to each other. When nothing is left, nothing is said
 * of any value any more, and all stay as the model wrote them.
 */
typedef struct SchemaWork
{
	size_t left;
	struct
	{
		const JsonNode *schema;
		unsigned bits;
	} memo[SCHEMA_MEMO]; /* each schema has one place, the last one is remembered */
} SchemaWork;

/* Where schemas are looked up. root: the tool's "parameters", which "$ref" begins at. */
typedef struct ToolSchema
{
	const JsonNode *root;
	Arena *arena; /* for values read from text */
	bool *out_of_memory;
	SchemaWork *work;
} ToolSchema;

/* The work for an answer of so many bytes: it grows with the answer and with what the tools hold, not with both. */
extern void schema_work_init(SchemaWork *work, const ToolSet *set, size_t answer_bytes);

/* The schema of member key of an object of this schema (may be NULL), or NULL: nothing is said of it. */
extern const JsonNode *schema_member(const ToolSchema *schemas, const JsonNode *schema, const char *key,
									 size_t key_bytes);

/* Can a value of this schema be any text? True where nothing is said. */
extern bool schema_takes_text(const ToolSchema *schemas, const JsonNode *schema);

/* Write a value that the model wrote as JSON, or as text; or an object, which stays one, member by member. */
extern void schema_write_value(const ToolSchema *schemas, const JsonNode *schema, const JsonNode *value,
							   ByteWriter *out);
extern void schema_write_text(const ToolSchema *schemas, const JsonNode *schema, ByteSpan text, ByteWriter *out);
extern void schema_write_members(const ToolSchema *schemas, const JsonNode *schema, const JsonNode *object,
								 ByteWriter *out);

#endif
