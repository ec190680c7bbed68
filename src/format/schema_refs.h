/*
 * schema_refs.h - $id, $anchor and $ref: which part of a schema a reference names.
 *
 * Nothing is fetched: a reference that leaves the document is UNSUPPORTED.
 */
#ifndef QWEN_FORMAT_SCHEMA_REFS_H
#define QWEN_FORMAT_SCHEMA_REFS_H

#include "schema.h"

/* Note what the identifiers of a whole document name. */
extern void refs_collect(Schema *schema);

/* Does a part of the schema say "$recursiveAnchor": true? */
extern bool has_recursive_anchor(const JsonNode *json);

/* The part that a reference at a place of the schema names; NULL after a failure, which is noted. */
extern const JsonNode *refs_find(Schema *schema, const JsonNode *at, const char *path, ByteSpan reference);

#endif
