/*
 * parameters.h - the arguments of a call that is written with tags: <parameter=NAME>, a line, the value, a line,
 * </parameter>.
 *
 * Strings stand there as they are, all other values as JSON. So that a value can be read in one way only, a string does
 * not have what closes a parameter, and one that could be another type, by its schema, does not look like that. What
 * each parameter can be is found out once, from the schema alone; who writes and who reads go by it.
 */
#ifndef QWEN_FORMAT_PARAMETERS_H
#define QWEN_FORMAT_PARAMETERS_H

#include "machine.h"

/* What a parameter can be, as bits. */
enum
{
	KIND_NULL = 1,
	KIND_BOOLEAN = 2,
	KIND_NUMBER = 4,
	KIND_STRING = 8,
	KIND_ARRAY = 16,
	KIND_OBJECT = 32,
	KINDS_KNOWN = 128, /* it has been found out */
};

/* Can a name, of a function or a parameter, be written in a tag? */
extern bool tag_takes_name(ByteSpan name);

/* The kinds of a plan's member. */
extern uint32_t parameter_kinds(Machine *machine, ObjectPlan *plan, uint32_t index);

/* The strings that a parameter of these kinds can be, as an expression. */
extern uint32_t parameter_texts(Machine *machine, uint32_t kinds);

/* Is a text that stands in a parameter of these kinds a string as it is? Otherwise it is JSON. */
extern bool parameter_is_text(uint32_t kinds, ByteSpan text);

#endif
