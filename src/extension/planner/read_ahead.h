/*
 * read_ahead.h - how far ahead a batching node may read.
 */
#ifndef QWEN_READ_AHEAD_H
#define QWEN_READ_AHEAD_H

#include "batch_state.h"

/* Rows that may be in the window now. */
extern int64 batch_row_limit(BatchState *state);

/* Tell the child how many rows a LIMIT above takes, or that it takes all: it may sort no more than that. Before the
 * child is read or rescanned. */
extern void batch_pass_bound(BatchState *state);

/* So many rows will come of the node, for qwen_progress. */
extern void batch_expect(BatchState *state, double rows);

/* A row is about to be counted in n_read: of a table whose blocks are read one after the other, those that are left
 * have as many rows as those behind, whatever the planner expects. */
extern void batch_expect_by_blocks(BatchState *state);

/* The LIMIT above knows its count by now. */
extern void batch_expect_no_more_than_limit(BatchState *state);

extern void batch_limit_init(void);

#endif
