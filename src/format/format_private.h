/*
 * format_private.h - what a compiled format is made of, for this room.
 */
#ifndef QWEN_FORMAT_FORMAT_PRIVATE_H
#define QWEN_FORMAT_FORMAT_PRIVATE_H

#include "copy.h"
#include "format.h"
#include "machine.h"
#include "tools.h"

struct Format
{
	Pool pool;
	Expressions expressions;
	Schema schema;
	Formulas formulas;
	Machine machine;
	bool is_json;
	Copy *copy;   /* instead of a machine; NULL: none */
	Tools *tools; /* that the answer may call; NULL: none */
	uint32_t behind_thinking;
	ByteSpan shortest;
};

#endif
