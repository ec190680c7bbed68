/*
 * forward_private.h - the step's state and its phases, shared by forward*.c only.
 *
 * A step is a fixed row of phases that every member of the team walks through. The items of a phase are handed out by
 * a counter, and a phase is over when all its items are done: not when all members have come by. So a member that
 * the system has taken off its processor holds up the others only with the items it had in hand; when it is back it
 * finds the phases over and catches up. A member touches data only while it holds an item of the phase at hand.
 */
#ifndef QWEN_FORWARD_PRIVATE_H
#define QWEN_FORWARD_PRIVATE_H

#include <stdatomic.h>

#include "active_members.h"
#include "forward.h"
#include "rope.h"

#define FEW_ROWS 4        /* up to here every member prepares its input for itself */
#define ATTENTION_ROWS 32 /* query rows (tokens x heads of a group) of one work item */
#define PIECE_POSITIONS                                                                                                \
	512 /* attention over a sequence is computed in pieces of these absolute positions, merged in order */
#define ITEMS_PER_MEMBER 4 /* where attention has fewer items than this, they are made smaller … */
#define SPLIT_SLOTS 64     /* … down to the pieces of a row, for so many (row, piece) pairs, or one longest row's */
#define BEAT_ROWS 2048     /* a member says that it works once it has done items times rows of this much */

/* A member's private buffers. */
typedef struct ThreadScratch
{
	uint64_t waited_ns; /* in the last step */
	float *rows;        /* [FEW_ROWS][widest] normalized rows */
	uint8_t *panels;    /* of FEW_ROWS rows */
	float *q;           /* [ATTENTION_ROWS][head_dim] */
	float *piece;       /* the same, of the piece at hand */
	float *total;       /* the same, of all pieces so far */
} ThreadScratch;

/* Written by all members: items handed out and items done. */
typedef struct Phase
{
	_Alignas(64) atomic_uint n_taken;
	atomic_uint n_done;
} Phase;

/* Phases of one layer at most, and those before and after the layers. */
#define PHASES_OF_LAYER 11
#define PHASES_BESIDE_LAYERS 7

struct Forward
{
	const Model *model;
	KvPool *pool;
	Team *team;
	const Kernels *kernels;
	Rope rope;
	int n_threads;
	ActiveMembers members; /* how many of them are in a step */
	_Atomic uint64_t *heartbeat_us;
	LogitsWork logits_work;
	void *logits_argument;
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
	Phase *phases;
	uint32_t n_phases;
	bool *row_is_finite;     /* [max_rows] */
	StepTimes *times;        /* or NULL: nobody wants to know */
	uint64_t first_ended_ns; /* when the first member had done its part of the step */

	/* the step at hand */
	const StepSequence *sequences;
	uint32_t n_sequences, n_rows, n_logits;
	bool any_hidden;
	bool rows_alone; /* every sequence has one row: an attention item needs no key or value of another row */
	uint32_t *row_positions, *row_sequences, *logit_rows;
	uint32_t *first_rows, *first_logits; /* per sequence */

	/* attention: items are (token group, KV head, some of its query heads[, piece]) */
	uint32_t group_heads;  /* query heads that share a KV head */
	uint32_t group_tokens; /* tokens of one item */
	uint32_t item_heads;   /* query heads of one item: all of a KV head, or some */
	bool split;            /* pieces are items */
	uint32_t n_items;
	uint32_t n_pieces;            /* of the longest row */
	uint32_t n_split_slots;       /* (row, piece) pairs there is room for */
	AttentionState *split_states; /* [n_split_slots][n_heads] */
	float *split_outs;            /* the same, [head_dim] each */
};

/* One member on its way through a step. */
typedef struct Member
{
	Forward *forward;
	ThreadScratch *scratch;
	StepTimes *times;   /* the first member's: the step's, or NULL */
	uint32_t phase;     /* the one that comes next */
	uint32_t prepared;  /* the phase that the private rows and panels were prepared for */
	uint32_t unsaid;    /* work done since it said so last: items times rows */
	uint64_t waited_ns; /* for the others, in this step */
} Member;

/* Do items first … end-1 of a phase. argument: what the phase is about, the same for all members. */
typedef void (*PhaseWork)(Member *member, const void *argument, uint32_t first, uint32_t end);

/* Take part in the next phase, which belongs to part, until all its items are done; then everything written in it can
 * be read. */
extern void phase_run(Member *member, StepPart part, uint32_t n_items, PhaseWork work, const void *argument);

/* Say that work gets on, once a good part of it is done. work: about as much as so many rows of one tile. */
extern void member_beat(Member *member, uint32_t work);

/* Pieces of a sequence of n_positions. */
extern uint32_t attention_pieces_for(uint32_t n_positions);

/* Lay out the items of a step; called once, before the members start. */
extern void attention_plan(Forward *forward);

/* One layer's attention: from the products q, k, v of all rows (without bias, norm and rotation) to attended; stores k
 * and v into the cache. Up to three phases. */
extern void attention_run(Member *member, uint32_t layer);

/* The whole step of one member (forward_layers.c). */
extern void layers_run(Member *member);

#endif
