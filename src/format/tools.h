/*
 * tools.h - the tools of an answer that calls them, as frames of its machine.
 */
#ifndef QWEN_FORMAT_TOOLS_H
#define QWEN_FORMAT_TOOLS_H

#include "../base/json_tree.h"
#include "calls.h"
#include "machine.h"

typedef struct Tool
{
	ByteSpan name;
	const JsonNode *json;
	bool is_kept;   /* its arguments are those of its schema */
	uint32_t plan;  /* of its arguments */
	uint32_t frame; /* of them */
} Tool;

typedef struct Tools
{
	Machine *machine;
	CallForm form;
	Tool *at; /* [n], in order of their names */
	uint32_t n;
	uint32_t start; /* of calls alone */
} Tools;

/* Read the tools of a request (a JSON array) for a machine that is open; NULL after a failure, which its pool tells. */
extern Tools *tools_open(Machine *machine, const JsonNode *array, const CallForm *form);

/* The state where calls may begin: beside a state of the machine, after which the answer is over; STATE_DEAD: beside a
 * free text. */
extern uint32_t tools_start(Tools *tools, uint32_t beside);

/* The tool of a name, or NULL. */
extern const Tool *tools_find(const Tools *tools, ByteSpan name);

/* What a tool's parameter can be (parameters.h); 0: there is none of that name. */
extern uint32_t tools_parameter(const Tools *tools, const Tool *tool, ByteSpan name);

#endif
