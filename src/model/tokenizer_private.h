/*
 * tokenizer_private.h - what the parts of the tokenizer know of each other.
 *
 * tokenizer.c builds the tables and answers questions about them; tokenizer_tables.c holds the three tables (ordinary
 * tokens by their bytes, merges by their pair, added tokens as a tree); tokenizer_normalize.c makes NFC;
 * tokenizer_pattern.c cuts it into words;
 * tokenizer_merge.c turns one word into tokens; tokenizer_encode.c does all of it for a text.
 * Everything a Tokenizer points to was allocated by it, except the array of token types, which lives in the image.
 */
#ifndef QWEN_TOKENIZER_PRIVATE_H
#define QWEN_TOKENIZER_PRIVATE_H

#include "../base/arena.h"
#include "tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define NO_TOKEN (-1)
#define NO_RANK UINT32_MAX

/* A hash table with open addressing; a free slot has token NO_TOKEN. n_slots is a power of two, at least 2 entries. */
typedef struct TextSlot
{
	uint32_t hash;
	int32_t token;
} TextSlot;

/* A merge: the tokens of pair (left << 32 | right) become token; the lowest rank goes first. */
typedef struct MergeSlot
{
	uint64_t pair;
	uint32_t rank;
	int32_t token; /* NO_TOKEN: the slot is free */
} MergeSlot;

/* A node of the tree of added tokens; node 0 is the root, and 0 as an index means none. */
typedef struct AddedNode
{
	uint32_t child;
	uint32_t sibling;
	int32_t token; /* that ends here, or NO_TOKEN */
	unsigned char byte;
} AddedNode;

/* A word and what became of it, in 64 bytes; length 0: the entry is free. */
#define CACHED_WORD_BYTES 22
#define CACHED_WORD_TOKENS 10
#define N_CACHED_WORDS 16384

#define TOKENIZER_WINDOW_BYTES ((size_t) 1 << 15)

typedef struct CachedWord
{
	uint8_t length;
	uint8_t n_tokens;
	char bytes[CACHED_WORD_BYTES];
	int32_t tokens[CACHED_WORD_TOKENS];
} CachedWord;

/* A piece of a long word: a token, its neighbours, and the merge with the one on its right. */
typedef struct LongSymbol
{
	int32_t token;
	int32_t product; /* of the merge with next */
	uint32_t rank;   /* of that merge; NO_RANK: none, or this piece was merged away */
	uint32_t previous;
	uint32_t next;
} LongSymbol;

struct Tokenizer
{
	Arena *arena; /* holds the tables */
	uint32_t n_tokens;
	const int32_t *types; /* [n_tokens], checked; the image's */
	char *text;           /* the bytes of all tokens, one after the other */
	size_t *text_offsets; /* [n_tokens + 1] */

	TextSlot *text_slots; /* ordinary tokens by their bytes */
	size_t n_text_slots;
	MergeSlot *merge_slots;
	size_t n_merge_slots;
	int32_t *byte_pair_products; /* [256][256]: token of the merge of two byte tokens, or NO_TOKEN */
	uint32_t *byte_pair_ranks;   /* [256][256]: its rank, or NO_RANK */
	int32_t byte_tokens[256];    /* NO_TOKEN where the vocabulary lacks the byte */

	AddedNode *added_nodes;
	uint32_t n_added_nodes;
	bool added_first_bytes[256]; /* an added token begins with this byte */

	int32_t bos, eos;
	bool add_bos, add_eos;
	int32_t end_tokens[TOKENIZER_MAX_ENDS]; /* eos, eot, <|im_end|>, <|endoftext|>; NO_TOKEN where there is none */

	Notices notices;

	bool normalizes; /* to NFC */
	pcre2_code *pattern;
	bool pattern_has_jit;
	pcre2_match_data *match_data;
	pcre2_match_context *match_context;
	pcre2_jit_stack *jit_stack;

	bool is_shared; /* the tables are another handle's */
	const CancelFlag *cancelled;

	/* scratch, used inside one call only, and the cache of words */
	CachedWord *cache; /* [N_CACHED_WORDS] */
	char *normalized;
	size_t normalized_capacity;
	int32_t *code_points;
	size_t code_points_capacity;
	size_t window_bytes; /* of a giant word that are merged at a time */
	LongSymbol *symbols;
	size_t symbols_capacity;
	uint64_t *heap; /* twice as many entries as symbols_capacity */
};

/* A hash of bytes that spreads over all 64 bits. */
static inline uint64_t
hash_bytes(const char *bytes, size_t length)
{
	uint64_t hash = (uint64_t) length * 0x9E3779B97F4A7C15u;
	uint64_t word;

	while (length > 8)
	{
		__builtin_memcpy(&word, bytes, 8);
		hash = (hash ^ word) * 0xD6E8FEB86659FD93u;
		hash ^= hash >> 32;
		bytes += 8;
		length -= 8;
	}
	word = 0;
	for (size_t i = 0; i < length; i++)
		word = word << 8 | (unsigned char) bytes[i];
	hash = (hash ^ word) * 0xD6E8FEB86659FD93u;
	hash ^= hash >> 32;
	hash *= 0xD6E8FEB86659FD93u;
	return hash ^ hash >> 32;
}

/* The home slot of a pair of tokens in a table of n_slots (a power of two). */
static inline size_t
merge_slot_of(uint64_t pair, size_t n_slots)
{
	uint64_t hash = (pair ^ pair >> 29) * 0x9E3779B97F4A7C15u;

	return (size_t) (hash >> 32 ^ hash) & (n_slots - 1);
}

/* The merge of two tokens, or NULL. */
static inline const MergeSlot *
tokenizer_find_merge(const Tokenizer *tokenizer, int32_t left, int32_t right)
{
	uint64_t pair = (uint64_t) (uint32_t) left << 32 | (uint32_t) right;
	size_t slot = merge_slot_of(pair, tokenizer->n_merge_slots);

	while (tokenizer->merge_slots[slot].token != NO_TOKEN)
	{
		if (tokenizer->merge_slots[slot].pair == pair)
			return &tokenizer->merge_slots[slot];
		slot = (slot + 1) & (tokenizer->n_merge_slots - 1);
	}
	return NULL;
}

/* tokenizer_tables.c: decode and check the source's tokens and merges into the tables of a zeroed tokenizer. */
extern Status tokenizer_build_tables(Tokenizer *tokenizer, const TokenizerSource *source);

/* tokenizer_tables.c: the ordinary token of these bytes, or NO_TOKEN. */
extern int32_t tokenizer_find_ordinary(const Tokenizer *tokenizer, const char *bytes, size_t length);

/* tokenizer_tables.c: the longest added token that text[0 .. length) begins with (and its length), or NO_TOKEN. */
extern int32_t tokenizer_match_added(const Tokenizer *tokenizer, const char *text, size_t length, size_t *matched);

/* tokenizer_tables.c: the added token whose whole text this is, or NO_TOKEN. */
extern int32_t tokenizer_find_added(const Tokenizer *tokenizer, const char *text, size_t length);

/* tokenizer_pattern.c: compile the split pattern (words_have_marks: Qwen3.5's); make a handle's scratch for matching
 * with it; free both, the pattern where it is the handle's own. */
extern Status tokenizer_compile_pattern(Tokenizer *tokenizer, bool words_have_marks);
extern Status tokenizer_prepare_matching(Tokenizer *tokenizer);
extern void tokenizer_free_pattern(Tokenizer *tokenizer);

/* tokenizer_pattern.c: the end of the word that begins at offset, which is a character's first byte. */
extern Status tokenizer_find_word_end(Tokenizer *tokenizer, const char *text, size_t length, size_t offset,
									  size_t *end);

/*
 * tokenizer_normalize.c: text (valid UTF-8) in NFC. *normalized is text itself where it is NFC already, otherwise
 * the tokenizer's scratch, valid until the next call.
 */
extern Status tokenizer_normalize(Tokenizer *tokenizer, const char *text, size_t length, const char **normalized,
								  size_t *normalized_length);

/* tokenizer_normalize.c: free what a giant text made large. */
extern void tokenizer_release_normalized(Tokenizer *tokenizer);

/* CANCELLED when the handle's flag says so. */
static inline Status
tokenizer_check_cancel(const Tokenizer *tokenizer)
{
	if (cancel_is_wanted(tokenizer->cancelled))
		return status_error(STATUS_CANCELLED, "the request was cancelled");
	return status_ok();
}

/* tokenizer_merge.c: append the tokens of one word of the split pattern. */
extern Status tokenizer_merge_word(Tokenizer *tokenizer, const char *word, size_t length, TokenBuffer *out);

/* token_buffer.c: TOO_LONG when there are more tokens than the caller has a use for. */
extern Status token_buffer_check_limit(TokenBuffer *buffer);

/* token_buffer.c: make room for n_more tokens. */
extern Status token_buffer_reserve(TokenBuffer *buffer, size_t n_more);

#endif
