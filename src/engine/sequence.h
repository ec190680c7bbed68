/*
 * sequence.h - one text that a model computes: its tokens, how far it has come, and the KV blocks that hold it.
 *
 * The blocks stand in order of position. The first n_cached_blocks are the prefix cache's, full, with a reference of
 * this sequence; behind them at most those are the sequence's own that it writes to. How many blocks a sequence gets,
 * and from whom, is the scheduler's business; what is done with its rows is its request's (request.h).
 */
#ifndef QWEN_SEQUENCE_H
#define QWEN_SEQUENCE_H

#include "../model/adapter.h"
#include "../model/tokenizer.h"
#include "drafts.h"
#include "prefix_cache.h"

struct EngineRequest;
struct Slot;

typedef struct Sequence
{
	struct EngineRequest *request; /* whose it is; not looked into here */
	struct Slot *slot;             /* of the model that computes it */

	const Adapter *adapter; /* what it is computed with beside the model, or NULL; scope says how much of it */

	int32_t *tokens;                     /* prompt and what comes behind it: [n_prompt + n_behind] */
	uint32_t n_prompt, n_tokens, n_done; /* n_done: positions that are in the KV cache */
	uint32_t n_behind;                   /* positions behind the prompt, at most */
	uint32_t n_generated;                /* tokens that a model has given it */
	bool is_rewritten;                   /* what stands behind the prompt makes room for something else there */

	/* KV blocks, taken while it runs */
	uint32_t *blocks;         /* [n_blocks], with room for all positions */
	uint32_t n_blocks;        /* held */
	uint32_t n_cached_blocks; /* the first so many of them are the prefix cache's */
	bool uses_cache;
	PrefixScope scope;        /* of its cached blocks … */
	uint32_t n_shared_tokens; /* … behind the first so many tokens, which all roles may share */
	uint32_t n_counted;       /* of the prompt: positions that are in the statistics */

	/* of a hybrid's sequence: the state behind state_at positions, and a copy of the one behind its prompt, where it
	 * has to go back there; taken while it runs */
	uint32_t state, state_at, kept;
	bool has_state, has_kept;
	uint32_t fork_at; /* where others went on otherwise: the state there is kept for many; 0: nowhere */
	uint32_t leaf_at; /* where the next one of its conversation will go on otherwise: kept for that one; 0: nowhere … */
	bool goes_on;     /* … its answer will be part of it: kept is what is at its end */
	bool keeps_leaf; /* when its blocks are given back now, what is there is kept */

	/* in the step that is being put together */
	uint32_t n_slice; /* rows */
	uint64_t turn;    /* when it had some, while roles share them: the earlier, the sooner it has some again */
	DraftHistory drafts;
	HeadHistory head;   /* how the model's layer that guesses has gone … */
	HeadHistory model;  /* … how its draft model has, … */
	HeadHistory text;   /* … and what was found in the text, as against these */
	uint32_t n_drafted; /* guesses: they stand behind the n_tokens tokens */
	GuessSource guessed_by;

	/* The same tokens in the model that guesses for this one, while it does: blocks of keys and values, and a state, of
	 * its own in that one's pool and cache. Its tokens are this one's. */
	struct Sequence *draft;
	uint32_t n_ahead; /* of guesses behind its positions, so many were computed: right ones need not be again */
} Sequence;

/* The tokens of a buffer, which is empty then, are its prompt. */
extern void sequence_take_prompt(Sequence *sequence, TokenBuffer *tokens);

/* Make room for n_behind tokens behind the prompt, and for the numbers of all blocks. false: no memory. */
extern bool sequence_make_room(Sequence *sequence, uint32_t n_behind);

/* Free what it owns; its blocks have been given back. */
extern void sequence_free(Sequence *sequence);

/* Positions that its KV blocks must hold at most. */
extern uint32_t sequence_positions(const Sequence *sequence);

/* What the next step takes of it: rows [n_done, n_done + n). At least 1 while something is wanted of it. */
extern uint32_t sequence_rows_left(const Sequence *sequence);

/* The positions that its next n rows look at, behind those that it has in the step already, of all of them together. */
extern uint64_t sequence_keys(const Sequence *sequence, uint32_t n);

/* Does it still compute its prompt (or, after preemption, all of its tokens again)? */
extern bool sequence_is_prefilling(const Sequence *sequence);

/* Nobody will go on from where it ends. */
extern void sequence_forget_leaf(Sequence *sequence);

/* Is this a place in a hybrid's text behind which the state should be kept, with none there? is_leaf: for one alone.
 * Then sequence_keep_snapshot copies it into one that was taken from the pool of states. */
extern bool sequence_snapshot_is_due(const Sequence *sequence, bool *is_leaf);
extern void sequence_keep_snapshot(Sequence *sequence, uint32_t state, bool is_leaf);

/* Of the rows that are left: how many the next step may take. A hybrid's state is kept between two of them. */
extern uint32_t sequence_rows_until_cut(const Sequence *sequence);

/* What stands behind position n becomes something else; positions that were computed are computed again. */
extern void sequence_go_back(Sequence *sequence, uint32_t n);

/* Does a hybrid's sequence need one more state for its next rows? Then it is to be given one that was taken from the
 * pool of states. */
extern bool sequence_wants_state(const Sequence *sequence);
extern void sequence_take_state(Sequence *sequence, uint32_t state);

/* Memory is short, and nobody else can give some: give up a state that is kept on its way and that no other sequence
 * refers to; the one that it is about to go on from becomes its own. false: there is none. */
extern bool sequence_give_up_snapshot(Sequence *sequence);

/* Its next rows are computed now, and no state is wanted: the memory of its state as they find it; NULL: it has none.
 */
extern float *sequence_begin_rows(Sequence *sequence);

/* Of the rows that were computed with guesses the first n count; n_done has gone on by them. */
extern void sequence_accept_rows(Sequence *sequence, uint32_t n);

/* So many rows were computed. */
extern void sequence_end_rows(Sequence *sequence, uint32_t n);

/* Use cached blocks for what comes next of it: n_done moves on over as many positions as are cached. At least its last
 * token is left to compute. */
extern void sequence_use_cached(Sequence *sequence);

/* After rows were computed: make the blocks that are full by now the cache's. */
extern void sequence_share_blocks(Sequence *sequence);

/* Another one is computing the very block that this one needs next, and may share it: waiting for it is no slower and
 * costs nothing. */
extern bool sequence_waits_for(const Sequence *sequence, const Sequence *other);

/* Give back all its blocks; what is full stays cached. Everything that it has computed has to be computed again, its
 * tokens stay. */
extern void sequence_give_blocks(Sequence *sequence);

/* Bytes of blocks and states that it will soon need beyond those it holds: for all its tokens and a little more. */
extern uint64_t sequence_bytes_wanted(const Sequence *sequence);

/* Bytes of blocks and states that it holds, shared or not. */
extern uint64_t sequence_bytes_held(const Sequence *sequence);

/* Bytes that it needs with n positions. */
extern uint64_t sequence_bytes_for(const Sequence *sequence, uint32_t n);

/* Bytes of blocks for all of its positions, and of its states. */
extern uint64_t sequence_bytes(const Sequence *sequence);

/* Bytes that others can have when it runs no more: its blocks that nobody else uses, and what it would soon need. */
extern uint64_t sequence_bytes_freed(const Sequence *sequence);

/*
 * Guess up to n tokens behind the last one; returns how many. Guesses stay inside the text that may come, and they take
 * a block only where one is free, which the text would need next: so they take nothing from anybody. known: what is
 * known to be likely, or nothing: then the text is looked through.
 */
extern uint32_t sequence_guess(Sequence *sequence, uint32_t n, const int32_t *known, uint32_t n_known);

/* Begin to follow the text in a slot's model, which guesses for its own. false: no memory. */
extern bool sequence_open_draft(Sequence *sequence, struct Slot *slot);

/* The draft's tokens are those that there are by now; cached blocks are used where there are any. */
extern void sequence_follow(Sequence *sequence);

/* Of the guesses that the draft has made, the first n_right were right. */
extern void sequence_accept_guesses(Sequence *sequence, uint32_t n_right);

/* No more: the draft's blocks are given back. */
extern void sequence_close_draft(Sequence *sequence);

/* Bytes that others can have when its draft is closed. */
extern uint64_t sequence_draft_bytes(const Sequence *sequence);

/* Of n guesses, so many can be made behind its last token: a block for them is taken where one is free. */
extern uint32_t sequence_room_for_guesses(Sequence *sequence, uint32_t n);

#endif
