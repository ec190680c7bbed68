/*
 * tool_tags.h - the tags of tool calls in an answer, and the call that a <function=NAME> begins.
 *
 * The Coder form has no escapes: a value may contain any text, tags as well, and models forget to close what they
 * opened. So all tags are found first, in one pass, and what each stands for is decided by its surroundings.
 */
#ifndef QWEN_TOOL_TAGS_H
#define QWEN_TOOL_TAGS_H

#include "../base/arena.h"
#include "../base/bytes.h"

typedef enum TagKind
{
	TAG_BLOCK_OPEN,      /* <tool_call> */
	TAG_BLOCK_CLOSE,     /* </tool_call> */
	TAG_FUNCTION_OPEN,   /* <function=NAME> */
	TAG_FUNCTION_CLOSE,  /* </function> */
	TAG_PARAMETER_OPEN,  /* <parameter=KEY> */
	TAG_PARAMETER_CLOSE, /* </parameter> */
	TAG_END,             /* the end of the answer, behind all tags */
} TagKind;

typedef struct Tag
{
	TagKind kind;
	size_t start, end;
	ByteSpan name;     /* NAME or KEY, without white space around it */
	bool begins_line;  /* only blanks stand before it in its line, or another tag */
	bool touches_next; /* only white space stands between it and the next tag */
} Tag;

typedef struct TagList
{
	Tag *tags; /* [n], and TAG_END */
	size_t n;
} TagList;

/* All tags of an answer, in arena; false: no memory. */
extern bool tags_find(Arena *arena, ByteSpan answer, TagList *list);

/* An argument of a call. */
typedef struct Parameter
{
	ByteSpan key, value;
} Parameter;

/* What the reader of a call must know of the function. */
typedef struct FunctionView
{
	void *context;
	bool is_known; /* the tools have it */
	/* is KEY one of its parameters; may its value be any text? */
	bool (*has_parameter)(void *context, ByteSpan key);
	bool (*takes_text)(void *context, ByteSpan key);
} FunctionView;

/*
 * Read the parameters of the function whose opening tag is tags[first]. True: *parameters (in arena) are its arguments
 * and *end is where it ends in the answer. False: no call. is_ended: the model itself ended the answer. *work: tags
 * that may still be looked at; *out_of_memory.
 */
extern bool tags_read_function(Arena *arena, ByteSpan answer, const TagList *list, size_t first,
							   const FunctionView *function, bool is_ended, Parameter **parameters,
							   size_t *n_parameters, size_t *end, size_t *work, bool *out_of_memory);

#endif
