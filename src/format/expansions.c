/*
 * expansions.c - see expansions.h.
 */
#include "expansions.h"

#include <stdlib.h>
#include <string.h>

#include "costs.h"
#include "frames.h"
#include "openings.h"

#define NO_HEIGHT UINT32_MAX

static int
compare_picks(const void *a, const void *b)
{
	const PickWord *x = a, *y = b;
	uint32_t n = x->length < y->length ? x->length : y->length;
	int c = n ? memcmp(x->text, y->text, n) : 0;

	if (c == 0)
		c = x->length < y->length ? -1 : x->length > y->length;
	if (c == 0)
		c = x->frames[0] < y->frames[0] ? -1 : x->frames[0] > y->frames[0];
	return c != 0 ? c : x->frames[1] < y->frames[1] ? -1 : x->frames[1] > y->frames[1];
}

/* The words that can be completed within a height, in order. */
static void
add_living_words(Machine *machine, Expansion *expansion, const Pick *raw, uint32_t height)
{
	Pick *pick = machine->picks[expansion->pick];
	uint32_t kept = 0;

	for (uint32_t i = 0; i < raw->n && pool_work(machine->pool, 1); i++)
	{
		const PickWord *word = &raw->words[i];
		FrameCost cost;

		for (uint32_t k = 0; k < word->n_frames; k++)
			(void) frame_cost(machine, word->frames[k]);
		cost = word_cost(machine, word, 0);
		if (cost.bytes == NO_COST || cost.height > height)
			continue;
		if (cost.height > expansion->max_height)
			expansion->max_height = cost.height;
		pick_add(machine, pick, (ByteSpan){word->text, word->length}, word->n_frames, word->frames[0], word->frames[1]);
	}
	if (pick->n > 1)
		qsort(pick->words, pick->n, sizeof(PickWord), compare_picks);
	for (uint32_t i = 0; i < pick->n; i++)
		if (kept == 0 || compare_picks(&pick->words[kept - 1], &pick->words[i]) != 0)
			pick->words[kept++] = pick->words[i];
	pick->n = kept;
}

/* The expansion of a frame with what needs no more than a height. */
static Expansion *
make_expansion(Machine *machine, uint32_t frame, uint32_t height, uint64_t key)
{
	const Pick *raw = opening_words(machine, frame);
	Expansion *expansion = pool_alloc(machine->pool, 1, sizeof *expansion);
	const Pick *pick;

	if (!expansion || !raw)
		return NULL;
	expansion->pick = pick_new(machine);
	if (!pool_failed(machine->pool))
		add_living_words(machine, expansion, raw, height);
	if (pool_failed(machine->pool) || !pool_grow(machine->pool, &machine->expansion_list, machine->n_expansions,
												 &machine->expansions_capacity, sizeof *machine->expansion_list))
		return NULL;
	pick = machine->picks[expansion->pick];
	while (expansion->n_empty < pick->n && pick->words[expansion->n_empty].length == 0)
		expansion->n_empty++;
	expansion->frame = NO_FRAME;
	if (expansion->n_empty < pick->n)
		expansion->frame = frame_make(machine, FRAME_PICK, expansion->pick, expansion->n_empty, pick->n, 0, 0, 4);
	if (expansion->max_height > machine->max_height)
		machine->max_height = expansion->max_height;
	map_put(machine->pool, &machine->expansions, key, machine->n_expansions);
	machine->expansion_list[machine->n_expansions++] = expansion;
	return expansion;
}

const Expansion *
expansion_of(Machine *machine, uint32_t frame, uint32_t height)
{
	uint64_t key = (uint64_t) frame << 8 | 0xFF;
	uint32_t index;
	const Expansion *all;

	if (map_find(&machine->expansions, key, &index))
		all = machine->expansion_list[index];
	else
		all = make_expansion(machine, frame, NO_HEIGHT - 1, key);
	if (!all || all->max_height <= height)
		return all;
	key = (uint64_t) frame << 8 | height;
	if (map_find(&machine->expansions, key, &index))
		return machine->expansion_list[index];
	return make_expansion(machine, frame, height, key);
}
