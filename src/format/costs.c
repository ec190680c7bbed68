/*
 * costs.c - see costs.h.
 */
#include "costs.h"

#include <string.h>

#include "frames.h"
#include "keys.h"
#include "openings.h"

#define MAX_NESTING 6000 /* frames that wait for others' costs */
#define NO_HEIGHT UINT32_MAX

static FrameCost evaluate(Machine *machine, uint32_t frame);

static uint32_t
plus(uint32_t a, uint32_t b)
{
	return a == NO_COST || b == NO_COST || a + b < a ? NO_COST : a + b;
}

static FrameCost *
cost_at(Machine *machine, uint32_t frame)
{
	while (machine->n_costs <= frame)
	{
		if (!pool_grow(machine->pool, &machine->costs, machine->n_costs, &machine->costs_capacity,
					   sizeof *machine->costs))
			return NULL;
		machine->costs[machine->n_costs++] = (FrameCost){.bytes = NO_COST, .height = NO_HEIGHT};
	}
	return &machine->costs[frame];
}

/* A word and the frames behind it, of which so many bytes are there already. */
FrameCost
word_cost(Machine *machine, const PickWord *word, uint32_t depth)
{
	FrameCost cost = {.bytes = word->length - depth};

	for (uint32_t i = 0; i < word->n_frames; i++)
	{
		FrameCost part = evaluate(machine, word->frames[i]);
		uint32_t kind = interned(&machine->frames, word->frames[i], NULL)[0];

		/* [ and { stand before a frame of their own */
		if (i == 0 && (kind == FRAME_OBJECT || kind == FRAME_ARRAY) && word->length &&
			strchr("[{", word->text[word->length - 1]))
			part.height = plus(part.height, 1);
		cost.bytes = plus(cost.bytes, part.bytes);
		cost.height = part.height > cost.height ? part.height : cost.height;
	}
	return cost;
}

static FrameCost
words_cost(Machine *machine, const Pick *pick, uint32_t first, uint32_t last, uint32_t depth)
{
	FrameCost least = {.bytes = NO_COST, .height = NO_HEIGHT};

	for (uint32_t i = first; pick && i < last && !pool_failed(machine->pool); i++)
	{
		FrameCost cost = word_cost(machine, &pick->words[i], depth);

		if (cost.bytes == NO_COST)
			continue;
		least.bytes = cost.bytes < least.bytes ? cost.bytes : least.bytes;
		least.height = cost.height < least.height ? cost.height : least.height;
	}
	return least;
}

/* Bytes to the end of a language's text. */
static uint32_t
text_cost(const Language *language, uint32_t state, uint32_t min, uint32_t mode)
{
	uint64_t letters = language->shortest[state] > min ? language->shortest[state] : min;

	letters = letters * language->letter_bytes + (mode ? 12 : 0);
	return letters < NO_COST ? (uint32_t) letters : NO_COST - 1;
}

static uint32_t
number_cost(const NumberSet *set, NumberPrefix prefix)
{
	uint32_t n = 0;
	char c;

	while (n < NUMBER_TEXT_BYTES && (c = number_shortest_next(set, &prefix)) != 0 && number_step(set, &prefix, c))
		n++;
	/* what is complete already goes on better without it */
	return n ? n : 1;
}

static FrameCost
key_cost(Machine *machine, const uint32_t *words)
{
	const uint32_t *rest = interned(&machine->rests, words[1], NULL);
	const Language *language = machine->formulas->language_list[rest[0]];
	FrameCost value, behind, none = {.bytes = NO_COST, .height = NO_HEIGHT};
	uint32_t n_names;

	if (!key_lives(machine, language, words[2], words[5], words[6], words[7]))
		return none;
	value = evaluate(machine, frame_of_value(machine, rest[2]));
	n_names = machine->plan_list[rest[1]]->n_names;
	behind = evaluate(machine, frame_make(machine, FRAME_OBJECT, rest[1], rest[3], n_names, 0, words[5], 5));
	value.bytes = plus(plus(value.bytes, behind.bytes),
					   text_cost(language, words[2], 0, words[3]) + 1 + (uint32_t) strlen(machine->colon));
	value.height = value.height > behind.height ? value.height : behind.height;
	return value;
}

/* The frame that costs as much as one of an object: where names are many, those that are used make no difference, and
 * what there is for one list of them is there for all. */
static uint32_t
frame_of_cost(Machine *machine, uint32_t frame)
{
	const uint32_t *words = interned(&machine->frames, frame, NULL);
	ObjectPlan *plan;

	if (words[0] != FRAME_OBJECT)
		return frame;
	plan = machine->plan_list[words[1]];
	if (words[5] == plan->key_list || !object_has_many_names(machine->formulas, plan))
		return frame;
	return frame_make(machine, FRAME_OBJECT, words[1], words[2], words[3], words[4], plan->key_list, 5);
}

static FrameCost
evaluate_new(Machine *machine, uint32_t frame)
{
	const uint32_t *words;
	const Pick *pick;
	uint32_t same = frame_of_cost(machine, frame);

	if (same != frame)
		return evaluate(machine, same);
	words = interned(&machine->frames, frame, NULL);

	switch ((FrameKind) words[0])
	{
		case FRAME_OBJECT:
		case FRAME_ARRAY:
			if (container_ends(machine->formulas, words[words[0] == FRAME_OBJECT ? 2 : 1]))
				return (FrameCost){.bytes = 1};
			/* fall through */
		case FRAME_VALUE:
		case FRAME_BARE:
		case FRAME_WORDS:
			pick = opening_words(machine, frame);
			return words_cost(machine, pick, 0, pick ? pick->n : 0, 0);
		case FRAME_PICK:
			return words_cost(machine, machine->picks[words[1]], words[2], words[3], words[4]);
		case FRAME_NUMBER:
		{
			NumberPrefix prefix = frame_number_prefix(words);

			return (FrameCost){.bytes = number_cost(machine->set_list[words[1]], prefix)};
		}
		case FRAME_STRING:
			return (FrameCost){
				.bytes = text_cost(machine->formulas->language_list[words[1]], words[2], words[3], words[5]) + 1};
		case FRAME_TEXT:
			return (FrameCost){.bytes = text_cost(machine->formulas->language_list[words[1]], words[2], 0, words[3])};
		case FRAME_RAW:
		{
			uint32_t bytes = text_cost(machine->formulas->language_list[words[1]], words[2], words[3], words[5]);

			/* what is complete already goes on better without it */
			return (FrameCost){.bytes = bytes ? bytes : 1};
		}
		case FRAME_FREE:
			return (FrameCost){.bytes = 1};
		case FRAME_KEY:
			return key_cost(machine, words);
	}
	return (FrameCost){.bytes = NO_COST, .height = NO_HEIGHT};
}

/* What is known of a frame's cost in this round. */
static FrameCost
evaluate(Machine *machine, uint32_t frame)
{
	FrameCost none = {.bytes = NO_COST, .height = NO_HEIGHT}, cost, *known = cost_at(machine, frame);

	if (!known || pool_failed(machine->pool))
		return none;
	if (known->is_final || known->round == machine->round)
		return *known;
	known->round = machine->round;
	list_add(machine->pool, &machine->touched, frame);
	if (++machine->depth > MAX_NESTING)
		pool_fail(machine->pool, STATUS_TOO_LONG,
				  "the schema's least value is too deep: more than %d parts in one another", MAX_NESTING);
	cost = pool_work(machine->pool, 1) ? evaluate_new(machine, frame) : none;
	machine->depth--;
	known = cost_at(machine, frame);
	if (!known)
		return none;
	if (cost.bytes < known->bytes || cost.height < known->height)
		machine->changed = true;
	known->bytes = cost.bytes < known->bytes ? cost.bytes : known->bytes;
	known->height = cost.height < known->height ? cost.height : known->height;
	return *known;
}

FrameCost
frame_cost(Machine *machine, uint32_t frame)
{
	FrameCost none = {.bytes = NO_COST, .height = NO_HEIGHT}, *known = cost_at(machine, frame);

	if (!known)
		return none;
	if (known->is_final)
		return *known;
	if (machine->in_rounds)
		return evaluate(machine, frame);
	machine->in_rounds = true;
	do
	{
		machine->changed = false;
		machine->touched.n = 0;
		machine->round++;
		(void) evaluate(machine, frame);
	} while (machine->changed && !pool_failed(machine->pool));
	machine->in_rounds = false;
	for (uint32_t i = 0; i < machine->touched.n && !pool_failed(machine->pool); i++)
		machine->costs[machine->touched.at[i]].is_final = true;
	return pool_failed(machine->pool) ? none : machine->costs[frame];
}
