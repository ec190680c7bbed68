/*
 * frames.c - see frames.h.
 */
#include "frames.h"

#include <string.h>

uint32_t
frame_of_words(Machine *machine, const uint32_t *words, uint32_t n)
{
	return intern(machine->pool, &machine->frames, words, n, NULL);
}

uint32_t
frame_make(Machine *machine, FrameKind kind, uint32_t a, uint32_t b, uint32_t c, uint32_t d, uint32_t e, uint32_t n)
{
	uint32_t words[6] = {kind, a, b, c, d, e};

	return intern(machine->pool, &machine->frames, words, n + 1, NULL);
}

uint32_t
frame_of_number(Machine *machine, uint32_t set, const NumberPrefix *prefix)
{
	uint32_t words[7] = {FRAME_NUMBER, set,
						 prefix->phase | (uint32_t) prefix->negative << 3 | (uint32_t) prefix->n_integer << 8 |
							 (uint32_t) prefix->n_fraction << 16};

	decimal_to_words((Decimal) prefix->value, words + 3);
	return intern(machine->pool, &machine->frames, words, 7, NULL);
}

uint32_t
frame_of_value(Machine *machine, uint32_t conjunction)
{
	return frame_make(machine, FRAME_VALUE, conjunction, 0, 0, 0, 0, 1);
}

uint32_t
language_index(const Machine *machine, const Language *language)
{
	uint32_t i = machine->formulas->n_languages;

	while (i-- > 0)
		if (machine->formulas->language_list[i] == language)
			return i;
	return 0;
}

uint32_t
pick_new(Machine *machine)
{
	Pick *pick = pool_alloc(machine->pool, 1, sizeof *pick);

	if (!pick ||
		!pool_grow(machine->pool, &machine->picks, machine->n_picks, &machine->picks_capacity, sizeof *machine->picks))
		return 0;
	machine->picks[machine->n_picks] = pick;
	return machine->n_picks++;
}

void
pick_add(Machine *machine, Pick *pick, ByteSpan text, uint32_t n_frames, uint32_t first, uint32_t second)
{
	if (pool_grow(machine->pool, &pick->words, pick->n, &pick->capacity, sizeof *pick->words))
		pick->words[pick->n++] = (PickWord){text.data, (uint32_t) text.length, {first, second}, (uint8_t) n_frames};
}

ByteSpan
frame_span(const char *text)
{
	return (ByteSpan){text, strlen(text)};
}

/* The members of texts, one behind the other. */
ByteSpan
frame_join(Machine *machine, const char *before, ByteSpan text, const char *behind)
{
	ByteSpan first = frame_span(before), last = frame_span(behind);
	char *made = pool_alloc(machine->pool, first.length + text.length + last.length + 1, 1);

	if (!made)
		return (ByteSpan){"", 0};
	memcpy(made, first.data, first.length);
	memcpy(made + first.length, text.data, text.length);
	memcpy(made + first.length + text.length, last.data, last.length);
	return (ByteSpan){made, first.length + text.length + last.length};
}

uint32_t
pick_of_texts(Machine *machine, const ByteSpan *texts, uint32_t n)
{
	uint32_t index = pick_new(machine);

	for (uint32_t i = 0; i < n && !pool_failed(machine->pool); i++)
		pick_add(machine, machine->picks[index], texts[i], 0, 0, 0);
	return index;
}

uint32_t
pick_of_blanks(Machine *machine, const uint32_t *cells, uint32_t n)
{
	uint32_t index = pick_new(machine);

	for (uint32_t i = 0; i < n && !pool_failed(machine->pool); i++)
	{
		/* what is complete without any text is so behind line ends, too */
		uint32_t n_frames = cells[i] != CELL_DONE;
		uint32_t frame = n_frames ? interned(&machine->cells, cells[i], NULL)[0] : 0;

		pick_add(machine, machine->picks[index], frame_span("\n"), n_frames, frame, 0);
		pick_add(machine, machine->picks[index], frame_span("\n\n"), n_frames, frame, 0);
	}
	return index;
}
