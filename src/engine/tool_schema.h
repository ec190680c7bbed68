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

#include "../model/json_tree.h"

/* Where schemas are looked up. root: the tool's "parameters", which "$ref" begins at. */
typedef struct ToolSchema
{
	const JsonNode *root;
	Arena *arena; /* for values read from text */
	bool *out_of_memory;
} ToolSchema;

/* The tools (without their wrappers) in order of their names. */
typedef struct ToolIndex
{
	const JsonNode **tools;
	size_t n;
} ToolIndex;

/* Make the index of a request's array of tools (NULL: none) in arena; false: no memory. */
extern bool tool_index_create(Arena *arena, const JsonNode *array, ToolIndex *index);

/* The tool of this name (of several the first), or NULL. */
extern const JsonNode *tool_find(const ToolIndex *index, ByteSpan name);

/* Its parameters, or NULL. */
extern const JsonNode *tool_parameters(const JsonNode *tool);

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
