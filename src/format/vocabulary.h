/*
 * vocabulary.h - a model's ordinary tokens as a trie, and which of them are plain text.
 *
 * Plain tokens hold whole characters and nothing that ends or escapes a JSON string: wherever any text may come, all of
 * them may, and only the others have to be walked through.
 */
#ifndef QWEN_FORMAT_VOCABULARY_H
#define QWEN_FORMAT_VOCABULARY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../base/bytes.h"
#include "language.h"

#define VOCABULARY_NO_TOKEN UINT32_MAX
#define N_SLICES 6
#define VOCABULARY_MAX_CHARACTERS 16 /* a bitset each for plain tokens of at most so many characters */

/* A node of a trie, depth first. The root has depth 0. */
typedef struct TrieNode
{
	uint32_t token;   /* that ends here, or VOCABULARY_NO_TOKEN */
	uint32_t subtree; /* nodes of it, this one included */
	uint8_t byte, depth;
	uint8_t only;    /* a bit for each set of letters: what is below, from a letter's end here, is of these alone */
	uint8_t height;  /* bytes of the longest way down */
	uint32_t n_upto; /* tokens that end here or at nodes before this one */
} TrieNode;

typedef struct Trie
{
	TrieNode *nodes;
	uint32_t n;
	uint32_t *tokens; /* in the nodes' order: those below a node stand side by side */
} Trie;

/* The tokens below a node, without its own; *n of them. */
static inline const uint32_t *
trie_below(const Trie *trie, uint32_t i, uint32_t *n)
{
	uint32_t first = trie->nodes[i].n_upto;

	*n = trie->nodes[i + trie->nodes[i].subtree - 1].n_upto - first;
	return trie->tokens + first;
}

/* The tokens whose letters are all of one set, which many states take without looking. */
typedef struct VocabularySlice
{
	uint64_t *bits;
	uint64_t *up_to[VOCABULARY_MAX_CHARACTERS + 1]; /* of at most so many characters */
	uint32_t n_longer;
	ByteSpan *longer; /* tokens of more characters, in order: their bytes (the vocabulary's own) … */
	uint32_t *longer_tokens;
	uint8_t *longer_characters; /* … and how many those have */
	Trie others;                /* the tokens that are not of the set … */
	uint32_t *others_to_all;    /* … and which nodes those are in the trie of all */
} VocabularySlice;

typedef struct Vocabulary
{
	uint32_t n_tokens, n_words; /* words of 64 bits of a bitset */
	uint32_t n_brackets;        /* that open something, of the token with most of them */
	Trie all;
	VocabularySlice slices[N_SLICES]; /* of the first sets */
	char *bytes;                      /* of the longer tokens */
	uint32_t n_hidden;                /* tokens that have what opens a call behind other bytes ... */
	uint32_t *hidden;
	char **hidden_bytes; /* ... with a NUL behind them */
} Vocabulary;

/* Tokens whose span has no data are not ordinary, and left out. The spans are not kept. NULL: no memory. */
extern Vocabulary *vocabulary_create(const ByteSpan *tokens, uint32_t n_tokens);
extern void vocabulary_destroy(Vocabulary *vocabulary);

/* The longest token that a text begins with; its bytes in *length. VOCABULARY_NO_TOKEN: none. */
extern uint32_t vocabulary_longest(const Vocabulary *vocabulary, const char *text, size_t n, size_t *length);

#endif
