/*
 * format_private.h - what a compiled format is made of, for this room: a state, and a way to walk on from it. There
 * are two ways, over a machine and over a text that is copied (walks.c); everything else asks by the table and does not
 * know which one it is.
 */
#ifndef QWEN_FORMAT_FORMAT_PRIVATE_H
#define QWEN_FORMAT_FORMAT_PRIVATE_H

#include "copy.h"
#include "format.h"
#include "machine.h"
#include "tools.h"
#include "vocabulary.h"

#define MAX_SHORTEST (256 * 1024) /* bytes of the shortest text */

/* What format.h says of states, by what they are states of. */
typedef struct FormatWalk
{
	FormatState (*take)(Format *format, FormatState state, const char *bytes, size_t n);
	bool (*is_complete)(const Format *format, FormatState state);
	bool (*is_over)(const Format *format, FormatState state);
	uint32_t (*completion_bound)(Format *format, FormatState state);
	Status (*complete)(Format *format, FormatState state, ByteWriter *out);
	void (*likely)(Format *format, FormatState state, size_t limit, ByteWriter *out);

	/* The tokens that may come, into got, which has room for all; how many. NULL: masks are made of pieces by frame. */
	uint32_t (*tokens)(const Format *format, const Vocabulary *vocabulary, FormatState state, uint32_t *got);
} FormatWalk;

extern const FormatWalk machine_walk, copy_walk;

struct Format
{
	Pool pool;
	Expressions expressions;
	Schema schema;
	Formulas formulas;
	Machine machine;
	bool is_json;
	const FormatWalk *walk;
	Copy *copy;   /* what copy_walk walks over */
	Tools *tools; /* that the answer may call; NULL: none */
	FormatState start, behind_thinking;
	ByteSpan shortest;
};

#endif
