/*
 * frames.h - making frames, and lists of words that frames can begin with.
 */
#ifndef QWEN_FORMAT_FRAMES_H
#define QWEN_FORMAT_FRAMES_H

#include "machine.h"

extern uint32_t frame_of_words(Machine *machine, const uint32_t *words, uint32_t n);
/* Of a kind and the first n of five words. */
extern uint32_t frame_make(Machine *machine, FrameKind kind, uint32_t a, uint32_t b, uint32_t c, uint32_t d, uint32_t e,
						   uint32_t n);
extern uint32_t frame_of_value(Machine *machine, uint32_t conjunction);
extern uint32_t frame_of_number(Machine *machine, uint32_t set, const NumberPrefix *prefix);

/* What a frame of a number has of it. */
static inline NumberPrefix
frame_number_prefix(const uint32_t *words)
{
	return (NumberPrefix){.phase = words[2] & 7,
						  .negative = words[2] >> 3 & 1,
						  .n_integer = words[2] >> 8 & 0xFF,
						  .n_fraction = words[2] >> 16 & 0xFF,
						  .value = (UnsignedDecimal) decimal_of_words(words + 3)};
}

extern uint32_t language_index(const Machine *machine, const Language *language);

/* An empty pick; a word more, with the frames behind it. */
extern uint32_t pick_new(Machine *machine);
extern void pick_add(Machine *machine, Pick *pick, ByteSpan text, uint32_t n_frames, uint32_t first, uint32_t second);
extern uint32_t pick_of_texts(Machine *machine, const ByteSpan *texts, uint32_t n);
/* One or two line ends before the frames of cells. */
extern uint32_t pick_of_blanks(Machine *machine, const uint32_t *cells, uint32_t n);

extern ByteSpan frame_span(const char *text);
extern ByteSpan frame_join(Machine *machine, const char *before, ByteSpan text, const char *behind);

#endif
