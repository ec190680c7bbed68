/*
 * progress.h - how far a statement is that asks the model about rows; see progress.c.
 */
#ifndef QWEN_CALL_PROGRESS_H
#define QWEN_CALL_PROGRESS_H

#include "../core/core.h"
#include "nodes/execnodes.h"

/* A query starts that will ask about so many rows; negative: nobody knows how many. */
extern void progress_plan(const EState *executor, double rows);

/* So many rows more than was said; negative: fewer. While they are asked about. */
extern void progress_expect(double rows);

/* More rows will be asked about, and nobody knows how many. */
extern void progress_expect_more(void);

/* A call of a SQL function begins; symbol: of its C function. */
extern void progress_begin(const char *symbol);

/* A row is done, with these tokens of all its calls. */
extern void progress_row(int64 prompt_tokens, int64 completion_tokens);

/* Define how statements end. */
extern void progress_init(void);

#endif
