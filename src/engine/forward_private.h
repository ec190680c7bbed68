/*
 * forward_private.h - the step's state, shared by forward.c and forward_attention.c only.
 */
#ifndef QWEN_FORWARD_PRIVATE_H
#define QWEN_FORWARD_PRIVATE_H

#include <stdatomic.h>

#include "forward.h"
#include "rope.h"

#define FEW_ROWS 4        /* up to here every member prepares its input for itself */
#define ATTENTION_ROWS 32 /* query rows (tokens x heads of a group) of one work item */
#define PIECE_POSITIONS                                                                                                \
	512              /* attention over a sequence is computed in pieces of these absolute positions, merged in order */
#define SPLIT_ROWS 8 /* up to here the pieces of a row are work items of their own */

/* A member's private buffers. */
typedef struct ThreadScratch
{
	float *rows;     /* [FEW_ROWS][widest] normalized rows */
	uint8_t *panels; /* of FEW_ROWS rows */
	float *q;        /* [ATTENTION_ROWS][head_dim] */
	float *piece;    /* the same, of the piece at hand */
	float *total;    /* the same, of all pieces so far */
} ThreadScratch;

struct Forward
{
	const Model *model;
	KvPool *pool;
	Team *team;
	const Kernels *kernels;
	Rope rope;
	int n_threads;
	uint32_t max_rows, max_sequences, max_logits;
	uint32_t head_dim;
	uint32_t widest; /* the longest row that is ever an input */
	size_t hidden_stride, q_stride, kv_stride, ffn_stride, logits_stride;

	/* all [max_rows][stride] */
	float *x, *normed, *q, *k, *v, *attended, *gate, *up;
	float *cosines, *sines; /* [max_rows][head_dim/2] */
	uint8_t *panels;
	float *logits; /* [max_logits][logits_stride] */
	ThreadScratch *scratch;

	/* the step at hand */
	const StepSequence *sequences;
	uint32_t n_sequences, n_rows, n_logits;
	bool any_hidden;
	uint32_t *row_positions, *row_sequences, *logit_rows;
	uint32_t *first_rows, *first_logits; /* per sequence */

	/* attention: items are (token group, KV head[, piece]) */
	uint32_t group_heads;  /* query heads that share a KV head */
	uint32_t group_tokens; /* tokens of one item */
	bool split;            /* pieces are items */
	uint32_t n_items;
	uint32_t n_pieces;            /* of the longest row, when split */
	AttentionState *split_states; /* [SPLIT_ROWS][n_heads][n_pieces] */
	float *split_outs;            /* the same, [head_dim] each */
	/* written by all members: the next item of this layer; the counters of even and odd layers take turns */
	_Alignas(64) atomic_uint next_item[2];
};

/* Pieces of a sequence of n_positions. */
extern uint32_t attention_pieces_for(uint32_t n_positions);

/* Lay out the items of a step; called once, before the members start. */
extern void attention_plan(Forward *forward);

/* One layer's attention: q and the cache to attended. Called by all members between barriers. */
extern void attention_step(Forward *forward, int thread, uint32_t layer);

#endif
