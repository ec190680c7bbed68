/*
 * scheduler_guesses.c - what may come behind the answers of a step: guesses that it checks.
 *
 * The text costs nothing to look through, and where it repeats itself it is nearly always right: so it comes first.
 * Where it says nothing, a model's own layer for that may guess (forward_guess), for all such answers together. What
 * that takes is learnt, and how often it is right is learnt of each answer; so many guesses are made as make the answer
 * come fastest, or none.
 */
#include "../base/clock.h"
#include "scheduler_private.h"

#define WEIGHT 0.1        /* of the newest guess in the average */
#define FASTER_WEIGHT 0.5 /* … of one that was faster: so it is when no processor is taken away */
#define MOST_REFUSED 3    /* so often guesses are too dear before one is made to see whether they still are */
#define OUTLIER 3         /* one that took so many times as long had its processors taken away */

/* May guesses be made behind a sequence in this step? */
static bool
may_guess(const Sequence *sequence, const Slot *slot)
{
	return sequence->slot == slot && sequence->request->kind->samples && sequence->n_slice > 0 &&
		   !sequence_is_prefilling(sequence) && sequence_rows_left(sequence) == 1;
}

/* Is it one for which the model's layer may guess? */
static bool
may_ask_head(const Scheduler *scheduler, const Slot *slot, Sequence *sequence)
{
	return scheduler->settings.speculation != SPECULATION_NGRAM && forward_has_head(slot->forward) &&
		   sequence->request->kind->guess_token && scheduler->n_guessing < DRAFT_ROWS && sequence->n_done > 0 &&
		   (scheduler->settings.speculation == SPECULATION_ALWAYS || !drafts_head_rests(&sequence->head));
}

/* Of n guesses, so many at most as were right lately and one more: a text in which none is right pays for few. */
static uint32_t
boldness(const Scheduler *scheduler, const Sequence *sequence, uint32_t n)
{
	double most = 1 + sequence->head.n_right;

	return scheduler->settings.speculation == SPECULATION_ALWAYS || most > n ? n : (uint32_t) most;
}

/* How many guesses the layer is worth for those that it may guess for, up to n. */
static uint32_t
guesses_that_pay(const Scheduler *scheduler, const Slot *slot, uint32_t n_decoding, uint32_t n)
{
	double us[DRAFT_MAX + 1], share = 0;

	if (scheduler->settings.speculation == SPECULATION_ALWAYS)
		return n;
	for (uint32_t i = 0; i < scheduler->n_guessing; i++)
		share += drafts_of_head(&scheduler->guessing[i]->head) / scheduler->n_guessing;
	for (uint32_t i = 0; i <= n; i++)
		us[i] = step_cost_us(&slot->cost, n_decoding + i * scheduler->n_guessing, 0) + i * slot->guess_us;
	return drafts_that_pay(share, n, us);
}

/* Has one of those that it may guess for rested? What was learnt of times and of what comes may be over. */
static bool
looks_again(Scheduler *scheduler)
{
	bool looks = false;

	for (uint32_t i = 0; i < scheduler->n_guessing; i++)
	{
		HeadHistory *history = &scheduler->guessing[i]->head;

		looks |= history->n_looks > 0;
		history->n_looks -= history->n_looks > 0;
	}
	return looks;
}

/* What the layer says comes next of an answer. */
static void
take_guess(void *argument, uint32_t s, uint32_t i, float *logits)
{
	Scheduler *scheduler = argument;
	Sequence *sequence = scheduler->guessing[s];
	int32_t token = request_guess_token(sequence, logits, i);

	/* what is no number is no guess: any token may stand there */
	sequence->tokens[sequence->n_tokens + i] = token < 0 ? 0 : token;
}

/* Learn what one guess takes. */
static void
learn_cost(Slot *slot, uint64_t us)
{
	double value = (double) us, most = OUTLIER * slot->guess_us;

	value = slot->guess_us > 0 && value > most ? most : value;
	if (slot->guess_us <= 0)
		slot->guess_us = value;
	slot->guess_us += (value < slot->guess_us ? FASTER_WEIGHT : WEIGHT) * (value - slot->guess_us);
	slot->n_refused = 0;
}

/* The layer's n guesses for those that it guesses for, one after the other. */
static void
ask_head(Scheduler *scheduler, Slot *slot, uint32_t n)
{
	for (uint32_t round = 0; round < n; round++)
	{
		uint64_t start = clock_now_us();

		for (uint32_t i = 0; i < scheduler->n_guessing; i++)
		{
			const Sequence *sequence = scheduler->guessing[i];

			scheduler->guess_parts[i] = (StepSequence){
				.tokens = sequence->tokens + sequence->n_done + round,
				.n_tokens = 1,
				.first_position = sequence->n_done + round,
				.kv_blocks = sequence->blocks,
				.n_logits = 1,
				.adapter = sequence->adapter,
				.adapter_scale = sequence->scope.scale,
				.state = kv_pool_state(kv_pool_states(slot->pool), sequence->state),
			};
		}
		forward_guess(slot->forward, scheduler->guess_parts, scheduler->n_guessing, round, take_guess, scheduler);
		learn_cost(slot, clock_now_us() - start);
		scheduler_beat(scheduler);
	}
}

/* Have the model's layer guess for those that were collected, up to n each. */
static void
guess_by_head(Scheduler *scheduler, Slot *slot, uint32_t n_decoding, uint32_t n)
{
	n = guesses_that_pay(scheduler, slot, n_decoding, n);
	if (n == 0 && (looks_again(scheduler) || slot->n_refused++ >= MOST_REFUSED))
		n = 1;
	for (uint32_t i = 0; i < scheduler->n_guessing && n == 0; i++)
		drafts_head_rest(&scheduler->guessing[i]->head);
	ask_head(scheduler, slot, n);
	for (uint32_t i = 0; i < scheduler->n_guessing; i++)
	{
		scheduler->guessing[i]->by_head = true;
		scheduler->guessing[i]->n_drafted = request_check_guesses(scheduler->guessing[i], n);
	}
}

void
guesses_make(Scheduler *scheduler, Slot *slot, uint32_t n_decoding, uint32_t n)
{
	bool in_text =
		scheduler->settings.speculation == SPECULATION_AUTO || scheduler->settings.speculation == SPECULATION_NGRAM;
	uint32_t n_most = n < DRAFT_MAX ? n : DRAFT_MAX;

	scheduler->n_guessing = 0;
	for (RunningWalk walk = {0}; running_next(scheduler, slot, &walk);)
	{
		Sequence *sequence = walk.sequence;
		uint32_t room;

		if (!may_guess(sequence, slot))
			continue;
		sequence->by_head = false;
		sequence->n_drafted = request_guess(sequence, n, in_text);
		if (sequence->n_drafted > 0 || !may_ask_head(scheduler, slot, sequence))
			continue;
		room = sequence_room_for_guesses(sequence, boldness(scheduler, sequence, n_most));
		if (room == 0)
			continue;
		n_most = room;
		scheduler->guessing[scheduler->n_guessing++] = sequence;
	}
	if (scheduler->n_guessing > 0)
		guess_by_head(scheduler, slot, n_decoding, n_most);
}
