/*
 * chunker.h - cuts a text into pieces of at most so many tokens, at the ends of paragraphs and sentences.
 */
#ifndef QWEN_CHUNKER_H
#define QWEN_CHUNKER_H

#include "tokenizer.h"

#define CHUNK_MIN_TOKENS 16 /* the smallest size of a piece that can be asked for */

/*
 * Append to offsets, for each piece in order, its first byte in text and its length (two little-endian int32). Pieces
 * begin and end without white space and are never empty; all of the text but white space is in one of them at least.
 * A piece ends with a paragraph or a sentence (Unicode Standard Annex 29, by ICU) where one fits, else with a word,
 * else anywhere between two characters. overlap: a piece begins with the last sentences of the one before it, of at
 * most so many tokens; where none fits, with the last words of a sentence, or characters of a word; with nothing where
 * the sentence that follows leaves no room, which is not cut for that. *n_tokens: how many the text has, its units
 * counted one by one. text: valid UTF-8, less than 2 GiB. Takes n log n, and memory for the units of one piece,
 * whatever the text. INVALID_ARGUMENT when max_tokens is below CHUNK_MIN_TOKENS or overlap is not below max_tokens / 2.
 */
extern Status chunk_text(Tokenizer *tokenizer, ByteSpan text, uint32_t max_tokens, uint32_t overlap,
						 ByteWriter *offsets, uint64_t *n_tokens);

#endif
