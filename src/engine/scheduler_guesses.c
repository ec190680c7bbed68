/*
 * scheduler_guesses.c - what may come behind the answers of a step: guesses that it checks.
 *
 * The text costs nothing to look through, and where it repeats itself it is nearly always right. A model's own layer
 * for that may guess (forward_guess), or its draft model (scheduler_draft.c), for all answers of a step together. What
 * these take is learnt, and of each answer how often whom was right: so many guesses are made, by whoever makes the
 * answer come fastest, or none.
 */
#include "../base/clock.h"
#include "scheduler_private.h"

#define WEIGHT 0.1        /* of the newest guess in the average */
#define FASTER_WEIGHT 0.5 /* … of one that was faster: so it is when no processor is taken away */
#define MOST_REFUSED 3    /* so often guesses are too dear before one is made to see whether they still are */
#define RIGHT_OFTEN 0.5
#define SHORT_REST 8   /* steps */
#define LOOK_LONGER 12 /* guesses made, until more at a time are tried again than are believed to pay */
#define OUTLIER 3      /* one that took so many times as long had its processors taken away */

/* May guesses be made behind a sequence in this step? */
static bool
may_guess(const Sequence *sequence, const Slot *slot)
{
	return sequence->slot == slot && sequence->request->kind->samples && sequence->n_slice > 0 &&
		   !sequence_is_prefilling(sequence) && sequence_rows_left(sequence) == 1;
}

/* How a source has gone for an answer. */
static HeadHistory *
history_of(Sequence *sequence, GuessSource source)
{
	return source == GUESSED_BY_HEAD ? &sequence->head : &sequence->model;
}

/* Is it one for which the model's layer, or its draft model, may guess? */
static bool
may_ask(const Scheduler *scheduler, GuessSource source, Sequence *sequence)
{
	return sequence->request->kind->guess_token && scheduler->n_guessing < DRAFT_ROWS && sequence->n_done > 0 &&
		   (scheduler->settings.speculation == SPECULATION_ALWAYS || !drafts_head_rests(history_of(sequence, source)));
}

/* Of n guesses, so many at most as were right lately and one more: a text in which none is right pays for few. */
static uint32_t
boldness(const Scheduler *scheduler, Sequence *sequence, GuessSource source, uint32_t n)
{
	double most = 1 + history_of(sequence, source)->n_right;

	return scheduler->settings.speculation == SPECULATION_ALWAYS || most > n ? n : (uint32_t) most;
}

/* What a step takes with up to n guesses of a source behind each of n_guessed of its answers, making them counted. */
static void
guess_costs(const Slot *slot, GuessSource source, uint32_t n_decoding, uint32_t n_guessed, uint32_t n,
			double us[DRAFT_MAX + 1])
{
	for (uint32_t i = 0; i <= n; i++)
		us[i] = step_cost_few_us(&slot->cost, n_decoding + i * n_guessed) +
				(source == GUESSED_BY_HEAD ? i * slot->guess_us : draft_us(slot, n_guessed, i));
}

/* How many guesses of a source are worth it for those that it may guess for, up to n. */
static uint32_t
guesses_that_pay(const Scheduler *scheduler, Slot *slot, GuessSource source, uint32_t n_decoding, uint32_t n)
{
	double us[DRAFT_MAX + 1], share = 0, rows_us;
	uint32_t best, most;

	if (scheduler->settings.speculation == SPECULATION_ALWAYS)
		return n;
	for (uint32_t i = 0; i < scheduler->n_guessing; i++)
		share += drafts_of_head(history_of(scheduler->guessing[i], source)) / scheduler->n_guessing;
	guess_costs(slot, source, n_decoding, scheduler->n_guessing, n, us);
	best = drafts_that_pay(share, n, us);
	if (best == 0 || slot->n_short++ < LOOK_LONGER)
		return best;
	/* what more rows take may have been learnt on a busy machine: as many as would be worth it if they took nothing */
	slot->n_short = 0;
	rows_us = step_cost_few_us(&slot->cost, n_decoding);
	for (uint32_t i = 1; i <= n; i++)
		us[i] += rows_us - step_cost_few_us(&slot->cost, n_decoding + i * scheduler->n_guessing);
	most = drafts_that_pay(share, n, us);
	return most > best ? most : best;
}

/* Tokens a microsecond of an answer by so many guesses of a source as are best, up to n. */
static double
speed_of(const Slot *slot, GuessSource source, Sequence *sequence, uint32_t n_decoding, uint32_t n)
{
	double us[DRAFT_MAX + 1], share = drafts_of_head(history_of(sequence, source));
	uint32_t best;

	guess_costs(slot, source, n_decoding, n_decoding, n, us);
	best = drafts_that_pay(share, n, us);
	return drafts_tokens(share, best) / us[best];
}

/* Is what was found in the text of an answer no better than what a source would guess? */
static bool
is_beaten(const Slot *slot, GuessSource source, Sequence *sequence, uint32_t n_decoding, uint32_t n)
{
	double us = step_cost_few_us(&slot->cost, n_decoding + n_decoding * sequence->n_drafted);

	return drafts_tokens(drafts_of_head(&sequence->text), sequence->n_drafted) / us <
		   speed_of(slot, source, sequence, n_decoding, n);
}

/* Who guesses where the text does not: the layer or the draft model; BY_TEXT: nobody. Of both, whoever would make the
 * answer that is at hand come faster. */
static GuessSource
choose_source(const Scheduler *scheduler, const Slot *slot, uint32_t n_decoding, uint32_t n)
{
	Speculation speculation = scheduler->settings.speculation;
	bool has_head =
		forward_has_head(slot->forward) && speculation != SPECULATION_NGRAM && speculation != SPECULATION_DRAFT;
	RunningWalk walk = {0};

	if (!draft_is_wanted(scheduler, slot))
		return has_head ? GUESSED_BY_HEAD : GUESSED_BY_TEXT;
	if (speculation == SPECULATION_ALWAYS)
		return GUESSED_BY_DRAFT;
	while (has_head && running_next(scheduler, slot, &walk))
		if (may_guess(walk.sequence, slot))
			return speed_of(slot, GUESSED_BY_HEAD, walk.sequence, n_decoding, n) >
						   speed_of(slot, GUESSED_BY_DRAFT, walk.sequence, n_decoding, n)
					   ? GUESSED_BY_HEAD
					   : GUESSED_BY_DRAFT;
	return GUESSED_BY_DRAFT;
}

/* Has one of those that it may guess for rested? What was learnt of times and of what comes may be over. */
static bool
looks_again(Scheduler *scheduler, GuessSource source)
{
	bool looks = false;

	for (uint32_t i = 0; i < scheduler->n_guessing; i++)
	{
		HeadHistory *history = history_of(scheduler->guessing[i], source);

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
			Sequence *sequence = scheduler->guessing[i];

			request_begin_guess(sequence, round);
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

/* Guesses of a source do not pay. Where they are right often it is only what steps are said to take that speaks
 * against them, which may have been learnt on a busy machine: so they are looked at again soon. */
static void
rest(HeadHistory *history)
{
	drafts_head_rest(history);
	if (drafts_of_head(history) >= RIGHT_OFTEN)
		history->n_resting = SHORT_REST;
}

/* Have a source guess for those that were collected, up to n each. */
static void
guess_by(Scheduler *scheduler, Slot *slot, GuessSource source, uint32_t n_decoding, uint32_t n)
{
	n = guesses_that_pay(scheduler, slot, source, n_decoding, n);
	if (n == 0 && (looks_again(scheduler, source) || slot->n_refused++ >= MOST_REFUSED))
		n = 1;
	for (uint32_t i = 0; i < scheduler->n_guessing && n == 0; i++)
		rest(history_of(scheduler->guessing[i], source));
	if (n == 0)
		return;
	if (source == GUESSED_BY_HEAD)
		ask_head(scheduler, slot, n);
	else
		draft_ask(scheduler, slot, n);
	slot->n_refused = 0;
	for (uint32_t i = 0; i < scheduler->n_guessing; i++)
	{
		scheduler->guessing[i]->guessed_by = source;
		scheduler->guessing[i]->n_drafted = request_check_guesses(scheduler->guessing[i], n);
	}
}

/* Is a sequence left to the source, with room for guesses? Then *n is not more than that. */
static bool
is_left_to(const Scheduler *scheduler, const Slot *slot, GuessSource source, Sequence *sequence, uint32_t *n)
{
	uint32_t room = sequence_room_for_guesses(sequence, boldness(scheduler, sequence, source, *n));

	if (room > 0 && source == GUESSED_BY_DRAFT)
		room = draft_room(scheduler, slot, sequence, room);
	if (room == 0)
		return false;
	*n = room;
	return true;
}

void
guesses_make(Scheduler *scheduler, Slot *slot, uint32_t n_decoding, uint32_t n)
{
	bool in_text =
		scheduler->settings.speculation == SPECULATION_AUTO || scheduler->settings.speculation == SPECULATION_NGRAM;
	uint32_t n_most = n < DRAFT_MAX ? n : DRAFT_MAX;
	GuessSource source = choose_source(scheduler, slot, n_decoding, n_most);

	scheduler->n_guessing = 0;
	for (RunningWalk walk = {0}; running_next(scheduler, slot, &walk);)
	{
		Sequence *sequence = walk.sequence;

		if (!may_guess(sequence, slot))
			continue;
		sequence->n_drafted = request_guess(sequence, n, in_text);
		if (source == GUESSED_BY_TEXT || (sequence->n_drafted > 0 && sequence->guessed_by == GUESSED_BY_FORM) ||
			!may_ask(scheduler, source, sequence))
			continue;
		if (sequence->n_drafted > 0 && !is_beaten(slot, source, sequence, n_decoding, n_most))
			continue;
		if (!is_left_to(scheduler, slot, source, sequence, &n_most))
			continue;
		/* what the text says is passed over: some time it is tried again */
		if (sequence->n_drafted > 0)
			drafts_head_fade(&sequence->text);
		sequence->n_drafted = 0;
		scheduler->guessing[scheduler->n_guessing++] = sequence;
	}
	if (scheduler->n_guessing > 0)
		guess_by(scheduler, slot, source, n_decoding, n_most);
}

void
guesses_learn(Sequence *sequence, uint32_t n_guesses, uint32_t n_right)
{
	switch (sequence->guessed_by)
	{
		case GUESSED_BY_FORM:
			break;
		case GUESSED_BY_TEXT:
			drafts_learn(&sequence->drafts, n_guesses, n_right);
			drafts_head_learn(&sequence->text, n_guesses, n_right);
			break;
		case GUESSED_BY_HEAD:
			drafts_head_learn(&sequence->head, n_guesses, n_right);
			break;
		case GUESSED_BY_DRAFT:
			drafts_head_learn(&sequence->model, n_guesses, n_right);
			sequence_accept_guesses(sequence, n_right);
			break;
	}
}
