/*
 * forward.h - the transformer: one step takes a ragged batch of rows of many sequences through all layers.
 *
 * A row is one token of one sequence at one position. Decode rows and slices of prompts are the same thing here. One
 * parallel region a step; nothing is allocated in it. What a row computes depends on its own sequence alone, bit for
 * bit: not on other rows, on how a prompt is cut into steps, or on the number of threads. What is done with logits
 * (drawing a token, looking for the rank of one) is a phase of the step too, so that it takes all processors.
 */
#ifndef QWEN_FORWARD_H
#define QWEN_FORWARD_H

#include "../../kernels/team.h"
#include "../model/adapter.h"
#include "kv_cache.h"

typedef struct Forward Forward;

/* What the phases of a step are for. */
typedef enum StepPart
{
	STEP_EMBED,     /* embeddings, rotary angles */
	STEP_PREPARE,   /* norms, activation and quantization of many rows; of few rows they are part of the products */
	STEP_PRODUCTS,  /* the layers' matrix products */
	STEP_ATTENTION, /* keys and values into the cache, attention, merging */
	STEP_STATES,    /* convolution and states of delta nets */
	STEP_OUTPUT,    /* the output matrix */
	STEP_LOGITS,    /* what is done with logits */
	N_STEP_PARTS
} StepPart;

/* Where the time of steps went, as the first member of the team saw it: nanoseconds of each part, and how much of them
 * was waiting for the others at the ends of phases. */
typedef struct StepTimes
{
	uint64_t part_ns[N_STEP_PARTS];
	uint64_t waited_ns;
} StepTimes;

typedef struct StepSequence
{
	const int32_t *tokens;     /* [n_tokens], each < vocab */
	uint32_t n_tokens;         /* rows of this sequence in this step, at least 1 */
	uint32_t first_position;   /* of tokens[0] in the cache, which has the positions before it */
	const uint32_t *kv_blocks; /* blocks of positions 0 … first_position + n_tokens - 1 */
	uint32_t n_logits;         /* logits are wanted of the last n_logits rows (0 … n_tokens) */
	bool want_hidden;          /* the final hidden states (after the output norm) of all its rows are wanted */
	int32_t rotary_shift;      /* by how much its rows' rotary positions are beyond their positions in the cache */
	const Adapter *adapter;    /* of the model; or NULL */
	float adapter_scale;       /* of what it adds */
	float *state;              /* model_state_bytes() of a hybrid's, after all positions before first_position; the step
								* leaves it behind its rows. Where first_position is 0 it need not be anything before. */
	bool is_tentative;         /* a hybrid's rows leave its state as it is until forward_accept says how many count */
} StepSequence;

/* max_rows: rows of a step; max_logits: rows with logits; max_hidden: rows with hidden states. Memory is all taken
 * here. */
extern Status forward_create(const Model *model, KvPool *pool, Team *team, uint32_t max_rows, uint32_t max_sequences,
							 uint32_t max_logits, Forward **forward);
extern void forward_destroy(Forward *forward);

/* Steps run with so many threads of the team at most, however many it has. */
extern void forward_limit_threads(Forward *forward, uint32_t n_threads);
extern uint32_t forward_threads(const Forward *forward);

/* How many positions a row sees when its attention takes about as long as all of its matrix products. */
extern uint32_t forward_even_positions(const Forward *forward);

/*
 * Where members say that work goes on: clock_now_us() is stored there again and again while a step gets on, however
 * long it takes, and not while it hangs. NULL: nowhere.
 */
extern void forward_set_heartbeat(Forward *forward, _Atomic uint64_t *heartbeat_us);

/* Work on the logits of row i (0 … n_logits-1) of sequences[s]; may be written to. */
typedef void (*LogitsWork)(void *argument, uint32_t s, uint32_t i, float *logits);

/* At the end of each step: do this for each row of logits, on any member, several rows at the same time. NULL: nothing.
 */
extern void forward_set_logits_work(Forward *forward, LogitsWork work, void *argument);

/* Run one step. The caller keeps within the maxima and has taken the blocks. */
extern void forward_step(Forward *forward, const StepSequence *sequences, uint32_t n_sequences);

/* Has the model a layer that guesses tokens ahead? */
extern bool forward_has_head(const Forward *forward);

/*
 * Guess the token behind the one row of each sequence, by the model's layer for that: the first row is that of the last
 * token, behind all positions that were computed; each later one, of the guess before, follows a call with the same
 * sequences for that. n_guesses: how many guesses each has already. work is done on each row of logits, i being
 * n_guesses. Changes nothing but keys and values behind what was computed, which a step writes over. Logits and hidden
 * states of the last step are gone.
 */
extern void forward_guess(Forward *forward, const StepSequence *sequences, uint32_t n_sequences, uint32_t n_guesses,
						  LogitsWork work, void *argument);

/* How many processors the last step took. */
extern uint32_t forward_members(const Forward *forward);

/* So many of the processors that a step would take are left to others in those that follow; one works in any case. */
extern void forward_spare(Forward *forward, uint32_t n_members);

/* After a step whose rows were tentative: the first n of them count, and the state stands behind them. */
extern void forward_accept(float *state, uint32_t n);

/* Add the times of the steps that follow to times, until called with NULL. Costs two looks at the clock a phase. */
extern void forward_measure(Forward *forward, StepTimes *times);

/* May an adapter of the model be used in steps? UNSUPPORTED: it changes a matrix in which none is looked for. */
extern Status forward_check_adapter(const Forward *forward, const Adapter *adapter);

/* After a step: logits [vocab] of row i (0 … n_logits-1) of sequences[s]; valid until the next step. May be written to
 * (the sampler works in place). */
extern float *forward_logits(Forward *forward, uint32_t s, uint32_t i);

/* After a step: is all that came out of the layers for row i of sequences[s] finite? If not, then its weights overflow,
 * and nothing that was computed for it is of any use: neither logits, nor hidden states, nor keys and values. */
extern bool forward_is_finite(const Forward *forward, uint32_t s, uint32_t i);

/* After a step: hidden state [hidden] of row i of sequences[s] that wanted them. */
extern const float *forward_hidden(const Forward *forward, uint32_t s, uint32_t i);

#endif
