/*
 * completions.c - see completions.h.
 */
#include "completions.h"

#include <string.h>

#include "costs.h"
#include "frames.h"
#include "keys.h"

static unsigned char
pick_best_byte(Machine *machine, const uint32_t *words)
{
	const Pick *pick = machine->picks[words[1]];
	uint32_t least = NO_COST, best = words[2];

	for (uint32_t i = words[2]; i < words[3]; i++)
	{
		FrameCost cost = word_cost(machine, &pick->words[i], words[4]);

		if (cost.bytes < least)
		{
			least = cost.bytes;
			best = i;
		}
	}
	return (unsigned char) pick->words[best].text[words[4]];
}

/* The quote, if the name may end here; otherwise a letter after which it can, escaped where nothing else is as near. */
static unsigned char
key_best_byte(Machine *machine, const uint32_t *words)
{
	const Language *language = machine->formulas->language_list[interned(&machine->rests, words[1], NULL)[0]];
	uint32_t after[3];
	uint64_t least = UINT64_MAX;
	unsigned char best = 0;

	for (unsigned i = 1; i <= 256; i++)
	{
		unsigned byte = i < 256 ? i : '\\';
		uint32_t next[9];
		uint64_t letters;
		KeyStep step;

		if (i == '\\')
			continue;

		memcpy(next, words, sizeof next);
		step = key_step(machine, next, (unsigned char) byte, after);
		if (step == KEY_ENDS)
			return '"';
		if (step == KEY_DEAD)
			continue;
		/* rather a name that may end there than one that is used, or each name would be longer than the one before */
		letters = 2 * (uint64_t) (next[3] ? key_shortest(machine, language, next) : language->shortest[next[2]]) +
				  (next[3] || key_is_used(machine, next));
		if (letters < least)
		{
			least = letters;
			best = (unsigned char) byte;
		}
	}
	return best;
}

unsigned char
frame_best_byte(Machine *machine, const uint32_t *words)
{
	const Language *language;
	LetterPrefix prefix;
	NumberPrefix number;

	switch ((FrameKind) words[0])
	{
		case FRAME_PICK:
			return pick_best_byte(machine, words);
		case FRAME_KEY:
			return key_best_byte(machine, words);
		case FRAME_NUMBER:
			number = frame_number_prefix(words);
			return (unsigned char) number_shortest_next(machine->set_list[words[1]], &number);
		case FRAME_STRING:
			language = machine->formulas->language_list[words[1]];
			prefix = (LetterPrefix){words[5], words[6]};
			if (!prefix.mode && language->accepts[words[2]] && words[3] == 0)
				return '"';
			return letter_best_byte(language, words[2], words[3], words[4], &prefix, true);
		case FRAME_RAW:
			language = machine->formulas->language_list[words[1]];
			prefix = (LetterPrefix){words[5], words[6]};
			return letter_best_byte(language, words[2], words[3], words[4], &prefix, false);
		case FRAME_TEXT:
			language = machine->formulas->language_list[words[1]];
			prefix = (LetterPrefix){words[3], words[4]};
			return letter_best_byte(language, words[2], 0, NO_LIMIT, &prefix, false);
		default:
			return 0;
	}
}
