/*
 * json_tree.h - reading JSON into a tree that still knows how everything was written: numbers keep their digits,
 * members their order, and every value its place in the text.
 *
 * Two manners of reading: JSON_STRICT is RFC 8259, for what users send. JSON_AS_WRITTEN is for what models write:
 * Python's True, False and None, single quotes, line ends and stray backslashes in strings, a comma before a closing
 * bracket, and closing brackets that are missing at the end. The tree lives in an arena of the caller's and points into
 * the text.
 */
#ifndef QWEN_JSON_TREE_H
#define QWEN_JSON_TREE_H

#include "arena.h"
#include "bytes.h"

#define JSON_TREE_MAX_DEPTH 2000      /* nested arrays and objects, JSON_STRICT */
#define JSON_WRITTEN_MAX_DEPTH 200    /* the same, JSON_AS_WRITTEN */
#define JSON_NUMBER_MAX_EXPONENT 4000 /* JSON_AS_WRITTEN: of ten; SQL's numeric holds no more than 16383 decimals */
#define JSON_NUMBER_MAX_BYTES 10000

typedef enum JsonManner
{
	JSON_STRICT,
	JSON_AS_WRITTEN,
} JsonManner;

typedef enum JsonNodeKind
{
	NODE_IS_NULL,
	NODE_IS_BOOL,
	NODE_IS_NUMBER, /* source is a number of RFC 8259 */
	NODE_IS_STRING,
	NODE_IS_ARRAY,
	NODE_IS_OBJECT,
} JsonNodeKind;

typedef struct JsonNode
{
	uint8_t kind; /* JsonNodeKind */
	bool boolean;
	bool is_open;       /* its closing bracket is missing (JSON_AS_WRITTEN) */
	bool is_whole;      /* a number with neither fraction nor exponent */
	uint32_t n;         /* elements, members; bytes of a string */
	const char *source; /* the value as it was written */
	uint32_t source_bytes;
	uint32_t key_bytes;
	const char *key;  /* of a member, without escapes */
	const char *text; /* of a string, without escapes; may contain NUL when read strictly */
	struct JsonNode *first, *next;
	struct JsonNode **by_key; /* members of a large object, sorted */
} JsonNode;

typedef struct JsonError
{
	bool out_of_memory; /* or over the arena's limit: nothing is known of the text */
	const char *what;   /* "a comma or ] expected" */
	size_t offset;      /* in the text */
} JsonError;

/*
 * The value that text (valid UTF-8, less than 4 GB) holds, or NULL. JSON_STRICT: nothing but white space stands around
 * it, and of members with one key the last one counts, in the place of the first. JSON_AS_WRITTEN: reads the value that
 * text begins with; *end (may be NULL) is where it ends. A key that comes twice is an error, and so are NUL and half
 * characters: SQL could not hold them.
 * "</" ends the text where a closing bracket could stand.
 */
extern JsonNode *json_tree_read(Arena *arena, ByteSpan text, JsonManner manner, size_t *end, JsonError *error);

/* The member of an object, or NULL: none, or node is NULL or no object. */
extern const JsonNode *json_member(const JsonNode *node, const char *key, size_t key_bytes);
extern const JsonNode *json_member_named(const JsonNode *node, const char *name);

/* Order of two texts by their bytes: negative, 0, positive. */
extern int json_compare(const char *a, size_t a_bytes, const char *b, size_t b_bytes);

/* Is node a string, and this one? */
extern bool json_string_is(const JsonNode *node, const char *text);

/* Write a JSON string with the bytes of text in it, or a whole value without white space. */
extern void json_write_string(ByteWriter *out, const char *text, size_t length);
extern void json_write_node(ByteWriter *out, const JsonNode *node);

/* Is text, as a whole, a number of RFC 8259, and one that SQL can hold? *is_whole: neither fraction nor exponent. */
extern bool json_is_number(ByteSpan text, bool *is_whole);

/* Line and column (in characters), from 1, of a place in a text. */
extern void json_place(ByteSpan text, size_t offset, unsigned *line, unsigned *column);

#endif
