/*
 * tokenizer_merge.c - byte-pair encoding of one word.
 *
 * A word starts as one token a byte; as long as two neighbours have a merge, the merge of the lowest rank (the leftmost
 * of equals) is done (Sennrich et al. 2016; the order is that of Hugging Face's tokenizers). Short words, which are
 * nearly all, search their few pairs anew each time; long ones keep the pairs in a heap, so that a word of n bytes
 * costs n log n. Short results are kept in a small cache, since text repeats its words.
 */
#include <stdlib.h>
#include <string.h>

#include "tokenizer_private.h"

/* Words up to here are merged by searching all pairs. */
#define SHORT_WORD_BYTES 40

/* Scratch for long words that is kept for the next call; larger is freed after use. */
#define KEPT_SYMBOLS ((size_t) 1 << 16)

/* Merge a word of at most SHORT_WORD_BYTES into tokens (room for length); returns how many. */
static size_t
merge_short_word(const Tokenizer *tokenizer, const char *word, size_t length, int32_t *tokens)
{
	uint32_t ranks[SHORT_WORD_BYTES];   /* of the merge of tokens[i] and tokens[i + 1] */
	int32_t products[SHORT_WORD_BYTES]; /* and what it makes */
	unsigned char bytes[SHORT_WORD_BYTES];
	size_t n = 0;

	for (size_t i = 0; i < length; i++)
	{
		unsigned char byte = (unsigned char) word[i];

		if (tokenizer->byte_tokens[byte] == NO_TOKEN)
			continue;
		bytes[n] = byte;
		tokens[n++] = tokenizer->byte_tokens[byte];
	}
	for (size_t i = 0; i + 1 < n; i++)
	{
		size_t pair = (size_t) bytes[i] << 8 | bytes[i + 1];

		ranks[i] = tokenizer->byte_pair_ranks[pair];
		products[i] = tokenizer->byte_pair_products[pair];
	}

	while (n > 1)
	{
		uint32_t best_rank = NO_RANK;
		size_t best = 0;

		for (size_t i = 0; i + 1 < n; i++)
		{
			if (ranks[i] < best_rank)
			{
				best_rank = ranks[i];
				best = i;
			}
		}
		if (best_rank == NO_RANK)
			break;
		tokens[best] = products[best];
		n--;
		for (size_t i = best + 1; i < n; i++)
			tokens[i] = tokens[i + 1];
		for (size_t i = best + 1; i + 1 < n; i++)
		{
			ranks[i] = ranks[i + 1];
			products[i] = products[i + 1];
		}
		for (size_t i = best > 0 ? best - 1 : 0; i <= best && i + 1 < n; i++)
		{
			const MergeSlot *merge = tokenizer_find_merge(tokenizer, tokens[i], tokens[i + 1]);

			ranks[i] = merge ? merge->rank : NO_RANK;
			products[i] = merge ? merge->token : NO_TOKEN;
		}
	}
	return n;
}

/* Let heap[i] sink to where it belongs; the smallest entry is heap[0]. */
static void
heap_sink(uint64_t *heap, size_t n, size_t i)
{
	uint64_t entry = heap[i];

	for (;;)
	{
		size_t child = 2 * i + 1;

		if (child >= n)
			break;
		if (child + 1 < n && heap[child + 1] < heap[child])
			child++;
		if (heap[child] >= entry)
			break;
		heap[i] = heap[child];
		i = child;
	}
	heap[i] = entry;
}

/* Put an entry into the heap of n entries. */
static void
heap_push(uint64_t *heap, size_t n, uint64_t entry)
{
	size_t i = n;

	while (i > 0 && heap[(i - 1) / 2] > entry)
	{
		heap[i] = heap[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	heap[i] = entry;
}

/* Make sure that a word of n bytes finds room in the scratch for long words. */
static Status
reserve_symbols(Tokenizer *tokenizer, size_t n)
{
	LongSymbol *symbols;
	uint64_t *heap;

	if (n <= tokenizer->symbols_capacity)
		return status_ok();
	n = n < 1024 ? 1024 : n;
	symbols = calloc(n, sizeof *symbols);
	heap = calloc(n, 2 * sizeof *heap);
	if (!symbols || !heap)
	{
		free(symbols);
		free(heap);
		return status_error(STATUS_UNAVAILABLE, "out of memory for a word of %zu bytes", n);
	}
	free(tokenizer->symbols);
	free(tokenizer->heap);
	tokenizer->symbols = symbols;
	tokenizer->heap = heap;
	tokenizer->symbols_capacity = n;
	return status_ok();
}

/* Free the scratch for long words when a giant made it large. */
static void
release_symbols(Tokenizer *tokenizer)
{
	if (tokenizer->symbols_capacity <= KEPT_SYMBOLS)
		return;
	free(tokenizer->symbols);
	free(tokenizer->heap);
	tokenizer->symbols = NULL;
	tokenizer->heap = NULL;
	tokenizer->symbols_capacity = 0;
}

/* Look up the merge of piece i with the one on its right; true when there is one. */
static bool
update_symbol(const Tokenizer *tokenizer, LongSymbol *symbols, size_t n, uint32_t i)
{
	const MergeSlot *merge = NULL;

	if (symbols[i].next < n)
		merge = tokenizer_find_merge(tokenizer, symbols[i].token, symbols[symbols[i].next].token);
	symbols[i].rank = merge ? merge->rank : NO_RANK;
	symbols[i].product = merge ? merge->token : NO_TOKEN;
	return merge != NULL;
}

/* An entry of the heap: lower rank first, then further left. It is out of date once symbols[i].rank is another. */
static uint64_t
heap_entry(const LongSymbol *symbols, uint32_t i)
{
	return (uint64_t) symbols[i].rank << 32 | i;
}

/* Merge a word of any length; symbols and heap of the tokenizer have room for it. Returns nothing that can fail. */
static void
merge_long_word(Tokenizer *tokenizer, const char *word, size_t length, TokenBuffer *out)
{
	LongSymbol *symbols = tokenizer->symbols;
	uint64_t *heap = tokenizer->heap;
	size_t n = 0, n_heap = 0;

	for (size_t i = 0; i < length; i++)
	{
		int32_t token = tokenizer->byte_tokens[(unsigned char) word[i]];

		if (token == NO_TOKEN)
			continue;
		symbols[n].token = token;
		symbols[n].previous = (uint32_t) n - 1;
		symbols[n].next = (uint32_t) n + 1;
		n++;
	}
	for (size_t i = 0; i < n; i++)
	{
		if (update_symbol(tokenizer, symbols, n, (uint32_t) i))
			heap[n_heap++] = heap_entry(symbols, (uint32_t) i);
	}
	for (size_t i = n_heap / 2; i-- > 0;)
		heap_sink(heap, n_heap, i);

	/* each merge takes one entry out and puts at most two in: the heap never holds more than 2 n */
	while (n_heap > 0)
	{
		uint64_t entry = heap[0];
		uint32_t i = (uint32_t) entry;
		uint32_t right;

		heap[0] = heap[--n_heap];
		if (n_heap > 0)
			heap_sink(heap, n_heap, 0);
		if (symbols[i].rank != (uint32_t) (entry >> 32))
			continue;
		right = symbols[i].next;
		symbols[i].token = symbols[i].product;
		symbols[i].next = symbols[right].next;
		symbols[right].rank = NO_RANK;
		if (symbols[i].next < n)
			symbols[symbols[i].next].previous = i;
		if (update_symbol(tokenizer, symbols, n, i))
			heap_push(heap, n_heap++, heap_entry(symbols, i));
		if (i > 0 && update_symbol(tokenizer, symbols, n, symbols[i].previous))
			heap_push(heap, n_heap++, heap_entry(symbols, symbols[i].previous));
	}
	for (uint32_t i = 0; i < n; i = symbols[i].next)
		out->tokens[out->n++] = symbols[i].token;
}

Status
tokenizer_merge_word(Tokenizer *tokenizer, const char *word, size_t length, TokenBuffer *out)
{
	CachedWord *cached = NULL;
	int32_t *tokens;
	size_t n;

	if (out->capacity - out->n < length)
		STATUS_TRY(token_buffer_reserve(out, length));
	if (length > SHORT_WORD_BYTES)
	{
		STATUS_TRY(reserve_symbols(tokenizer, length));
		merge_long_word(tokenizer, word, length, out);
		release_symbols(tokenizer);
		return status_ok();
	}

	tokens = out->tokens + out->n;
	if (length <= CACHED_WORD_BYTES)
	{
		cached = &tokenizer->cache[hash_bytes(word, length) & (N_CACHED_WORDS - 1)];
		if (cached->length == length && memcmp(cached->bytes, word, length) == 0)
		{
			for (size_t i = 0; i < cached->n_tokens; i++)
				tokens[i] = cached->tokens[i];
			out->n += cached->n_tokens;
			return status_ok();
		}
	}
	n = merge_short_word(tokenizer, word, length, tokens);
	out->n += n;
	if (cached && n <= CACHED_WORD_TOKENS)
	{
		cached->length = (uint8_t) length;
		cached->n_tokens = (uint8_t) n;
		memcpy(cached->bytes, word, length);
		for (size_t i = 0; i < n; i++)
			cached->tokens[i] = tokens[i];
	}
	return status_ok();
}
