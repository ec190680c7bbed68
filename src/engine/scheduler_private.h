/*
 * scheduler_private.h - what the scheduler's files share. See scheduler.h.
 *
 * In this order, each using those before it alone: statistics (what others see), compute (a step), running (who is in
 * the batch), draft (another model that guesses for one), admission (who gets in), guesses (what may come next), batch
 * (which rows go into a step), results (what is done with them). scheduler.c has the whole.
 */
#ifndef QWEN_SCHEDULER_PRIVATE_H
#define QWEN_SCHEDULER_PRIVATE_H

#include "fair_queue.h"
#include "scheduler.h"
#include "step_shares.h"

struct Scheduler
{
	SchedulerSettings settings;
	SchedulerCallbacks callbacks;
	Slots *slots;
	StatusPage *page;
	FairQueue *waiting;
	EngineRequest **running; /* [max_running], the most senior first */
	uint32_t n_running;
	uint32_t n_places; /* of max_running that these take: one a sequence */
	uint64_t n_arrivals;
	uint64_t n_turns;       /* of sequences in steps that roles share */
	uint32_t n_since_aged;  /* requests admitted since one that had waited so long */
	uint64_t aged_looks_us; /* when to look for such a one again */
	uint32_t next_slot;     /* whose turn it is */
	Sequence **prefilling;  /* [max_running] prompts that want rows of the step */
	Sequence **in_turn;     /* [max_running] whoever wants rows of a step that roles share */
	RoleShare *shares;      /* [max_running + 1] */
	bool expects_other;     /* only one role has requests in the step, another one had some just now */
	Sequence **batch;       /* [max_running] of the step; those of one request stand together … */
	StepSequence *parts;    /* … as forward.h has them */
	uint32_t n_batch;
	Sequence *guessing[DRAFT_ROWS]; /* those for which a layer or a model guesses before the step … */
	StepSequence guess_parts[DRAFT_ROWS];
	uint32_t n_guessing;
	uint32_t guess_round; /* … which of its guesses */
};

/* ---- scheduler_statistics.c ----------------------------------------------------------------------------------------
 */

/* Keep the numbers that others see. */
extern void scheduler_publish(Scheduler *scheduler);

/* Positions up to n_done are there, computed or from the cache: what is new of the prompt goes into the statistics. */
extern void scheduler_count_prompt(Scheduler *scheduler, Sequence *sequence, bool cached);

/* A token more of an answer. */
extern void scheduler_count_token(Scheduler *scheduler, const Sequence *sequence);

/* Count what the form of a request's answer has done since the last time. */
extern void scheduler_count_form(Scheduler *scheduler, EngineRequest *request);

/* Guesses of an answer, and how many of them were right. */
extern void scheduler_count_guesses(Scheduler *scheduler, uint32_t n_guesses, uint32_t n_right, GuessSource source);

/* Work gets on. */
extern void scheduler_beat(const Scheduler *scheduler);

/* ---- scheduler_compute.c ------------------------------------------------------------------------------------------
 */

/* Run a step of a slot's model, and learn what it takes. */
extern void scheduler_compute(Scheduler *scheduler, Slot *slot, const StepSequence *parts, uint32_t n_parts);

/* ---- scheduler_running.c -------------------------------------------------------------------------------------------
 */

/* Into the batch, at its place. */
extern void running_add(Scheduler *scheduler, EngineRequest *request);

/* Take a request out of the batch and give back its blocks. keeps_leaves: a hybrid's states are kept for who goes on
 * from where they are. */
extern void running_remove(Scheduler *scheduler, EngineRequest *request, bool keeps_leaves);

/* Back into the queue with a request; its tokens so far stay. */
extern void running_preempt(Scheduler *scheduler, EngineRequest *request);

/* A request is over, by its own doing or by an error. */
extern void running_end(Scheduler *scheduler, EngineRequest *request, const Status *status);

/* A walk over the running sequences of a slot's model that have rows to compute, in order of seniority. All zero at its
 * beginning. */
typedef struct RunningWalk
{
	Sequence *sequence; /* at hand */
	uint32_t next_request, next_sequence;
} RunningWalk;

/* On to the next one. false: there is none. */
extern bool running_next(const Scheduler *scheduler, const Slot *slot, RunningWalk *walk);

/* ---- scheduler_draft.c ---------------------------------------------------------------------------------------------
 */

/* Is there a draft model for a slot's, and is it to be asked? */
extern bool draft_is_wanted(const Scheduler *scheduler, const Slot *slot);

/* Close drafts whose model guesses for theirs no more, and slots that waited for that. */
extern void draft_settle(Scheduler *scheduler);

/* Memory is short: close the draft of the most junior request that has one. false: there is none. */
extern bool draft_give_up(Scheduler *scheduler);

/* Bytes that others can have when all drafts are closed. */
extern uint64_t draft_bytes(const Scheduler *scheduler);

/* Of n guesses, so many can be made for a sequence by its draft model now; it has a draft then. */
extern uint32_t draft_room(const Scheduler *scheduler, const Slot *slot, Sequence *sequence, uint32_t n);

/* What n guesses for each of n_guessed sequences take. */
extern double draft_us(const Slot *slot, uint32_t n_guessed, uint32_t n);

/* Have it guess n tokens for those that it guesses for; of these only those stay that have their guesses. */
extern void draft_ask(Scheduler *scheduler, Slot *slot, uint32_t n);

/* ---- scheduler_admission.c -----------------------------------------------------------------------------------------
 */

/* Move requests whose turn it is into the batch as long as there is a place and memory. */
extern void admission_run(Scheduler *scheduler);

/* ---- scheduler_batch.c ---------------------------------------------------------------------------------------------
 */

/* The next slot with running requests. */
extern Slot *batch_choose_slot(Scheduler *scheduler);

/* All that decode, and slices of prompts, or one of both. Returns the rows. */
extern uint32_t batch_build(Scheduler *scheduler, Slot *slot);

/* ---- scheduler_guesses.c ------------------------------------------------------------------------------------------
 */

/* Guess behind the answers of a step that have their blocks, up to n each: by the text, the model's layer for that, or
 * its draft model. */
extern void guesses_make(Scheduler *scheduler, Slot *slot, uint32_t n_decoding, uint32_t n);

/* Of the guesses behind a sequence the first n_right were right. */
extern void guesses_learn(Sequence *sequence, uint32_t n_guesses, uint32_t n_right);

/* ---- scheduler_results.c -------------------------------------------------------------------------------------------
 */

/* Hand a request what the step computed for its sequences, the first of which is at index in the batch. Returns the
 * index behind the last one. */
extern uint32_t results_take(Scheduler *scheduler, Slot *slot, uint32_t index);

/* What is done with a row's logits while the team is still at the step. A sampled answer's rows are done in order, one
 * of them as long as the guesses before it are right. */
extern void results_look(void *scheduler, uint32_t index, uint32_t row, float *logits);

#endif
