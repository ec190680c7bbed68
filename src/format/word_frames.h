/*
 * word_frames.h - the frames that are one of some words, one byte further: the same for a machine, which keeps every
 * place as a state, and for masks, which walk through many places once.
 */
#ifndef QWEN_FORMAT_WORD_FRAMES_H
#define QWEN_FORMAT_WORD_FRAMES_H

#include "machine.h"

typedef enum WordsStep
{
	WORDS_DEAD,
	WORDS_GO_ON,
	WORDS_END, /* words are whole; others may go on */
} WordsStep;

/* Where such a frame is: words first … last - 1 have the bytes that are there, depth of them. */
typedef struct WordsPlace
{
	const Pick *pick;
	uint32_t first, last, depth;
	uint32_t n_whole; /* words that the last byte has made whole: those before first */
} WordsPlace;

extern WordsPlace words_place(const Machine *machine, const uint32_t *words);

/* A byte more. next: before it the first word that may go on so, as bytes are asked for in order; then where the next
 * byte has to look. */
extern WordsStep words_step(WordsPlace *place, uint32_t *next, unsigned char byte);

/* The bytes that words go on with, as bits. */
extern void words_bytes(const WordsPlace *place, uint64_t bytes[4]);

#endif
