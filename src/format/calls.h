/*
 * calls.h - answers that call tools: what is to be called and with which arguments follows from the tools' schemas.
 *
 * <tool_call> opens a call and </tool_call> closes it; models have tokens of their own for these, each of which is one
 * byte here that no UTF-8 has. Between them stands JSON, {"name": ..., "arguments": {...}}, or tags, <function=NAME>
 * with a <parameter=NAME> for each argument, in the spelling of the published templates. Outside of calls a text may be
 * free: a call begins where its opening stands, however that is spelled.
 */
#ifndef QWEN_FORMAT_CALLS_H
#define QWEN_FORMAT_CALLS_H

#include "../base/bytes.h"

/* Bytes that stand for the tokens <tool_call> and </tool_call>. */
#define CALL_OPEN_BYTE '\xFE'
#define CALL_CLOSE_BYTE '\xFF'
#define CALL_FIRST_BYTE 0xF8 /* from here on no byte is of a text */

#define CALL_OPEN_TEXT "<tool_call>"
#define CALL_CLOSE_TEXT "</tool_call>"
#define CALL_FUNCTION_TEXT "<function="

typedef enum CallChoice
{
	CALLS_MAY,  /* a free text with or without calls; of a form: that or calls */
	CALLS_NONE, /* no call */
	CALLS_MUST, /* calls, and nothing else */
	CALLS_ONE,  /* one call, of the tool of a name */
} CallChoice;

typedef struct CallForm
{
	bool is_of_tags;          /* <function=NAME> instead of JSON */
	bool has_open, has_close; /* the model has tokens of its own for them */
	/* a schema that cannot be kept is no error: any arguments of its tool are taken */
	bool is_lenient;
	CallChoice choice;
	ByteSpan name; /* CALLS_ONE */
} CallForm;

#endif
