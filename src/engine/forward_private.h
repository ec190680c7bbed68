/*
 * forward_private.h - the plan of a model's layers and the step's state, shared by forward*.c only.
 *
 * When a model is opened, its layers become a plan: a list of phases, each with what it works on (forward_plan.c). A
 * step is that list, which every member of the team walks through. The items of a phase are shared out, half of them
 * beforehand (forward_phase.c), and a phase is over when all its items are done: not when all members have come by. So
 * a member that the system has taken off its processor holds up the others only with the items it had in hand; when it
 * is back it finds the phases over and catches up. A member touches data only while it holds an item of the phase at
 * hand.
 */
#ifndef QWEN_FORWARD_PRIVATE_H
#define QWEN_FORWARD_PRIVATE_H

#include <stdatomic.h>

#include "../base/arena.h"
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
	uint8_t *unpacked;  /* MATMUL_SCRATCH_BYTES for weights that are unpacked once for many rows */
	float *q;           /* [ATTENTION_ROWS][head_dim] */
	float *piece;       /* the same, of the piece at hand */
	float *total;       /* the same, of all pieces so far */
	float *slice;       /* [MODEL_MAX_DELTA_DIM][DELTA_COLUMNS] of a state, for tentative rows */
	float *keys;        /* [STATE_ROWS][MODEL_MAX_DELTA_DIM + 2 DELTA_COLUMNS]: rows that count after all */
} ThreadScratch;

/* How far a phase is in the step at hand. Written by all members: items handed out behind the first shares, and items
 * done; of a product also those of its adapters (forward_adapters.c). */
typedef struct PhaseProgress
{
	_Alignas(64) atomic_uint n_taken;
	atomic_uint n_low_taken;
	_Alignas(64) atomic_uint n_done; /* what all look at who wait stands apart from what those change who do not */
	atomic_uint n_low_done;
} PhaseProgress;

/* The first share of a member in the phase at hand, which others take when it is not there. */
typedef struct MemberShare
{
	_Alignas(64) atomic_uint taken; /* the last phase in which it was taken, plus 1; a step begins with 0 */
} MemberShare;

typedef struct Member Member;
typedef struct Experts Experts;

/* How many items a phase has in the step at hand; 0: nothing to do, the phase is left out. */
typedef uint32_t (*PhaseItems)(const Forward *forward, const void *argument);

/* Do items first … end-1 of a phase. */
typedef void (*PhaseWork)(Member *member, const void *argument, uint32_t first, uint32_t end);

/* Ask for what an item of a phase reads that is in memory since before the step. */
typedef void (*PhaseFetch)(const Forward *forward, const void *argument, uint32_t item);

/* One phase of the plan. */
typedef struct PlanPhase
{
	StepPart part;    /* whose time it takes */
	PhaseItems items; /* NULL: an earlier phase gives it its items within the step */
	PhaseWork work;
	PhaseFetch fetch;     /* or NULL */
	const void *argument; /* what the phase is about: part of the plan, never written to */
} PlanPhase;

/* What a model's layers are for a step. Made once, by forward_create. */
typedef struct Plan
{
	PlanPhase *phases; /* [n_phases] in order */
	uint32_t n_phases, n_allocated;
	uint32_t n_step_phases;  /* the first so many of them are a step, the others guess */
	uint32_t n_cache_layers; /* layers that keep keys and values */
	uint32_t n_delta_layers; /* layers that keep a state */
	uint32_t widest;         /* the longest row that is ever the input of a product */
	Arena *arena;            /* of the arguments */
	bool failed;             /* memory ran out while it was made */
} Plan;

/* Floats of every row of a step. Phases share them: what is in one is good until the next part of the plan. */
typedef enum RowsName
{
	ROWS_HIDDEN, /* the residual stream */
	ROWS_NORMED,
	ROWS_Q,
	ROWS_K,
	ROWS_V,
	ROWS_ATTENDED, /* also what a delta net gives */
	ROWS_DELTA,    /* queries, keys and values of a delta net behind their convolution */
	ROWS_DELTA_GATE,
	ROWS_BETA,
	ROWS_DECAY,
	ROWS_GATE,
	ROWS_UP,
	ROWS_ROUTER,
	ROWS_SHARED_ROUTER,
	ROWS_SHARED, /* what the shared expert gives */
	PAIRS_INPUT, /* a row for each row and each of its experts */
	PAIRS_GATE,
	PAIRS_UP,
	PAIRS_DOWN,
	ROWS_FINAL,       /* the hidden states behind the output norm, where a layer guesses by them */
	ROWS_GUESS_INPUT, /* of that layer: a token and the hidden state before it … */
	ROWS_GUESS,       /* … and what becomes of both */
	ROWS_LOW,         /* what adapters make of an input: [PRODUCT_MATRICES][ADAPTER_MAX_RANK] */
	PAIRS_LOW,        /* the same of experts */
	N_ROW_BUFFERS
} RowsName;

typedef struct RowBuffer
{
	float *rows; /* [n_rows * times][stride]; NULL until the plan is made */
	size_t stride;
	uint32_t width; /* the most that a phase of the plan keeps in it; 0: none needs it */
	uint32_t times; /* that it has a row of the step */
} RowBuffer;

static inline float *
row_at(const RowBuffer *buffer, uint32_t row)
{
	return buffer->rows + row * buffer->stride;
}

/* Rows of the step that have the same adapter: they stand together. */
typedef struct AdapterRows
{
	const Adapter *adapter;
	uint32_t first_row, n_rows;
	uint32_t first_logit, n_logits;
} AdapterRows;

struct Forward
{
	const Model *model;
	KvPool *pool;
	Team *team;
	const Kernels *kernels;
	Rope rope;
	int n_threads;
	ActiveMembers members; /* how many of them are worth having in a step */
	uint32_t n_spared;     /* of these: that are left out */
	uint32_t n_members;    /* of the step at hand */
	_Atomic uint64_t *heartbeat_us;
	LogitsWork logits_work;
	void *logits_argument;
	LogitsWork guess_work;
	void *guess_argument;
	uint32_t max_rows, max_sequences, max_logits;
	uint32_t head_dim;
	Plan plan;

	RowBuffer rows[N_ROW_BUFFERS]; /* of max_rows rows */
	RowBuffer logits;              /* of max_logits rows */
	float *cosines, *sines;        /* [max_rows][head_dim/2] */
	uint8_t *panels;
	Experts *experts; /* NULL: the model has none */
	ThreadScratch *scratch;
	PhaseProgress *progress; /* [plan.n_phases] */
	MemberShare *shares;     /* [n_threads] */
	uint32_t *n_items;       /* [plan.n_phases] in the step at hand; beside each other, as most are only looked at */
	bool *row_is_finite;     /* [max_rows] */
	bool *takes_adapters;    /* [n_roles]: matrices whose products look for them */
	uint32_t n_roles;
	StepTimes *times;        /* or NULL: nobody wants to know */
	uint64_t first_ended_ns; /* when the first member had done its part of the step */

	/* the step at hand */
	uint32_t first_phase, end_phase; /* of the plan */
	uint32_t guess_round;            /* how many guesses its sequences have */
	const StepSequence *sequences;
	uint32_t n_sequences, n_rows, n_logits;
	bool any_hidden;
	bool rows_alone;         /* every sequence has one row: an attention item needs no key or value of another row */
	uint32_t *row_positions; /* in the cache: whom a row sees, and where its key and value go */
	uint32_t *row_rotary_positions; /* by which its query and key are turned */
	uint32_t *row_sequences, *logit_rows;
	uint32_t *first_rows, *first_logits; /* per sequence */
	AdapterRows *adapter_rows;           /* [n_adapters] of those that have one */
	uint32_t n_adapters;

	/* attention: items are (token group, KV head, some of its query heads[, piece]) */
	uint32_t group_heads;  /* query heads that share a KV head */
	uint32_t group_tokens; /* tokens of one item */
	uint32_t item_heads;   /* query heads of one item: all of a KV head, or some */
	bool split;            /* pieces are items */
	uint32_t n_attention_items;
	uint32_t n_pieces;            /* of the longest row */
	uint32_t n_split_slots;       /* (row, piece) pairs there is room for */
	AttentionState *split_states; /* [n_split_slots][n_heads] */
	float *split_outs;            /* the same, [head_dim] each */
};

/* One member on its way through a step. */
struct Member
{
	Forward *forward;
	ThreadScratch *scratch;
	StepTimes *times;   /* the first member's: the step's, or NULL */
	uint32_t number;    /* of n_members */
	uint32_t phase;     /* the one at hand */
	uint32_t prepared;  /* the phase that the private rows and panels were prepared for */
	uint32_t lowered;   /* the phase whose input all members have multiplied with adapters' rows */
	uint32_t unsaid;    /* work done since it said so last: items times rows */
	uint64_t waited_ns; /* for the others, in this step */
};

/* ---- forward_memory.c
 * ----------------------------------------------------------------------------------------------------
 */

/* Memory of n floats at a multiple of 64 bytes, or NULL: zeros, so that no run depends on what was there. Large parts
 * become real as they are used, which most rows of logits never are. */
extern float *allocate_floats(size_t n);
extern void free_floats(void *floats);

/* ---- forward_phase.c: the way through a step --------------------------------------------------------------------- */

/* Take part in all phases of the step, one after the other; when one is over, everything written in it can be read. */
extern void phases_run(Member *member);

/* Say that work gets on, once a good part of it is done. work: about as much as so many rows of one tile. */
extern void member_beat(Member *member, uint32_t work);

/* Wait until so many items are done, by a phase's counter of them; returns for how long. */
extern uint64_t wait_for_items(atomic_uint *n_done, uint32_t n_items);

/* ---- forward_plan.c: the list of phases in the making ------------------------------------------------------------ */

extern void plan_free(Plan *plan);

/* Copy what phases are about into the plan; NULL when memory has run out, which layers_plan will find. */
extern const void *plan_keep(Forward *forward, const void *argument, size_t bytes);

/* The next phase. argument: from plan_keep, or NULL. items: NULL where an earlier phase gives them (Forward.n_items).
 */
extern void plan_add(Forward *forward, StepPart part, PhaseItems items, PhaseWork work, const void *argument);

/* The same of a phase whose first bytes are worth asking for before it begins. */
extern void plan_add_fetching(Forward *forward, StepPart part, PhaseItems items, PhaseWork work, PhaseFetch fetch,
							  const void *argument);

/* A row buffer that is at least so wide. */
extern const RowBuffer *plan_rows(Forward *forward, RowsName name, uint32_t width);

/* The same, with a row for each pair of a row and one of its experts. */
extern const RowBuffer *plan_pairs(Forward *forward, RowsName name, uint32_t width);

/* PhaseItems: the rows of the step. */
extern uint32_t all_rows(const Forward *forward, const void *argument);

/* ---- forward_product.c: matrix products -------------------------------------------------------------------------- */

/* What rows become on their way into a matrix product. */
typedef struct RowSource
{
	const RowBuffer *rows;
	uint32_t n_cols;
	const float *norm;   /* weight of the RMS norm that comes first, or NULL */
	const RowBuffer *up; /* rows = silu(rows) * up comes first, after a gated product; or NULL */
} RowSource;

#define PRODUCT_MATRICES 6

/* Matrices that share an input. */
typedef struct Product
{
	RowSource source;
	StepPart part;          /* that the product belongs to */
	const uint32_t *n_rows; /* how many rows it has in the step at hand */
	uint32_t n_matrices;
	const PackedMatrix *matrices[PRODUCT_MATRICES];
	const RowBuffer *outputs[PRODUCT_MATRICES];
	uint32_t roles[PRODUCT_MATRICES]; /* of the matrices among the model's tensors, for adapters; found by
										 plan_add_product, as … */
	bool add;                         /* to what is in the outputs */
	bool gated;     /* two matrices, gate and up, whose tiles go in pairs; few rows are activated at once */
	bool quantized; /* … whether one of the matrices wants panels */
} Product;

/* The phases of a product: preparing many rows, multiplying. */
extern void plan_add_product(Forward *forward, const Product *product);

static inline bool
is_few(uint32_t n_rows)
{
	return n_rows <= FEW_ROWS;
}

/* Where a product's prepared rows stand: private when few, else shared. */
static inline MatmulInput
product_input(const Member *member, const Product *product)
{
	const Forward *f = member->forward;
	bool few = is_few(*product->n_rows);
	MatmulInput input = {*product->n_rows, few ? member->scratch->panels : f->panels, product->source.rows->rows,
						 product->source.rows->stride, member->scratch->unpacked};

	if (product->source.norm)
	{
		input.rows = few ? member->scratch->rows : f->rows[ROWS_NORMED].rows;
		input.row_stride = few ? f->plan.widest : f->rows[ROWS_NORMED].stride;
	}
	return input;
}

/* ---- forward_adapters.c: what adapters add to products ----------------------------------------------------------- */

/* The role of a matrix, in whose products adapters are looked for from now on. */
extern uint32_t plan_role(Forward *forward, const PackedMatrix *matrix);

/* Room for what adapters make of a product's input. */
extern void plan_lows(Forward *forward);

/* Multiply a product's input with the adapters' rows, together with all members that have come to the product's phase:
 * before a member multiplies the tiles that it has taken. The input is prepared. */
extern void adapters_lower(Member *member, const Product *product);

/* Add to a part of matrix number i of a product, just multiplied, what adapters add. */
extern void adapters_add(Member *member, const Product *product, uint32_t i, const MatmulPart *part);

/* Add to a token's embedding what the adapter of its sequence adds. */
extern void adapters_add_embedding(const Forward *forward, const StepSequence *sequence, uint32_t token, float *row);

/* What an adapter of a row of the step adds to a matrix; NULL: nothing. */
extern const AdapterMatrix *adapter_of_row(const Forward *forward, uint32_t row, uint32_t role);

/* Does an adapter of the step change one of some matrices? */
extern bool any_adapter_changes(const Forward *forward, const uint32_t *roles, uint32_t n);

/* One row of one expert: low = scale * (A x); and the tiles of the expert's B that are added to n rows. */
extern void adapter_lower_row(const Forward *forward, const AdapterMatrix *matrix, uint32_t row, uint32_t expert,
							  const float *x, float *low);
extern void adapter_raise_rows(const Forward *forward, const AdapterMatrix *matrix, uint32_t expert, const float *low,
							   size_t low_stride, uint32_t n, uint32_t first, uint32_t end, float *y, size_t y_stride);

/* ---- the parts of the plan: each adds its phases ----------------------------------------------------------------- */

/* The phases of one part of a layer. */
typedef void (*PartPlan)(Forward *forward, uint32_t layer);

extern void plan_embedding(Forward *forward);                 /* forward_ends.c */
extern void plan_attention(Forward *forward, uint32_t layer); /* forward_attention.c */
extern void plan_delta(Forward *forward, uint32_t layer);     /* forward_delta.c */
extern void plan_dense(Forward *forward, uint32_t layer);     /* forward_dense.c */
extern void plan_experts(Forward *forward, uint32_t layer);   /* forward_experts.c */
extern void plan_output(Forward *forward);                    /* forward_ends.c: norm, logits, what is done with them */

/* ---- forward_guess.c: around the layer that guesses -------------------------------------------------------------- */

extern void plan_final_rows(Forward *forward);    /* of a step, before plan_output */
extern void plan_guess_keys(Forward *forward);    /* … and behind it */
extern void plan_begin_guesses(Forward *forward); /* of guesses: what comes before the layer … */
extern void plan_end_guesses(Forward *forward);   /* … and behind it */

/* ---- forward_layers.c -------------------------------------------------------------------------------------------- */

/* Make the plan of the model's layers, with the widths of the row buffers that it needs. false: out of memory. */
extern bool layers_plan(Forward *forward);

/* ---- forward_delta.c --------------------------------------------------------------------------------------------- */

/* Tentative rows of an earlier step that count, and that are to be taken through a sequence's state. */
extern uint32_t state_rows_counting(const StepSequence *sequence);

/* What earlier steps left tentative is part of the states now. */
extern void states_end_step(const Forward *forward);

/* ---- forward_experts.c ------------------------------------------------------------------------------------------- */

/* Memory beside the rows, where the plan has experts. false: out of memory; experts_destroy frees what is there. */
extern bool experts_create(Forward *forward);
extern void experts_destroy(Experts *experts);

/* ---- forward_attention.c ----------------------------------------------------------------------------------------- */

/* Phases of the keys and values of a layer alone, for rows that are not normalized yet. The layer is the next one that
 * plan_attention is called for. */
extern void plan_keys(Forward *forward, uint32_t layer, const RowBuffer *rows);

/* Pieces of a sequence of n_positions. */
extern uint32_t attention_pieces_for(uint32_t n_positions);

/* Lay out the attention's items of a step; called once, before the members start. */
extern void attention_lay_out(Forward *forward);

#endif
