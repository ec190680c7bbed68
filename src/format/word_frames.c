/*
 * word_frames.c - see word_frames.h.
 */
#include "word_frames.h"

WordsPlace
words_place(const Machine *machine, const uint32_t *words)
{
	return (WordsPlace){machine->picks[words[1]], words[2], words[3], words[4], 0};
}

/* The first word from first on whose byte at depth is not less than a byte; words that short come before. */
static uint32_t
find_word(const Pick *pick, uint32_t first, uint32_t last, uint32_t depth, unsigned byte)
{
	while (first < last)
	{
		uint32_t middle = first + (last - first) / 2;

		if (pick->words[middle].length <= depth || (unsigned char) pick->words[middle].text[depth] < byte)
			first = middle + 1;
		else
			last = middle;
	}
	return first;
}

WordsStep
words_step(WordsPlace *place, uint32_t *next, unsigned char byte)
{
	const Pick *pick = place->pick;
	uint32_t depth = place->depth, first = *next, last;

	/* mostly the next word says already that none goes on so */
	if (first < place->last &&
		(pick->words[first].length <= depth || (unsigned char) pick->words[first].text[depth] < byte))
		*next = first = find_word(pick, first, place->last, depth, byte);
	if (first == place->last || (unsigned char) pick->words[first].text[depth] != byte)
		return WORDS_DEAD;
	*next = last = find_word(pick, first, place->last, depth, byte + 1u);
	place->n_whole = 0;
	for (; first < last && pick->words[first].length == depth + 1; first++)
		place->n_whole++;
	place->first = first;
	place->last = last;
	place->depth++;
	return place->n_whole ? WORDS_END : WORDS_GO_ON;
}

void
words_bytes(const WordsPlace *place, uint64_t bytes[4])
{
	for (uint32_t at = place->first; at < place->last;)
	{
		unsigned char byte = (unsigned char) place->pick->words[at].text[place->depth];

		bytes[byte / 64] |= (uint64_t) 1 << byte % 64;
		at = find_word(place->pick, at, place->last, place->depth, byte + 1u);
	}
}
