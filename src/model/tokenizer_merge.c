/*
 * tokenizer_merge.c - byte-pair encoding of one word.
 *
 * A word starts as one token a byte; as long as two neighbours have a merge, the merge of the lowest rank (the leftmost
 * of equals) is done (Sennrich et al. 2016; the order is that of Hugging Face's tokenizers). Short words, which are
 * nearly all, search their few pairs anew each time; long ones keep the pairs in a heap, so that a word of n bytes
 * costs n log n. Short results are kept in a small cache, since text repeats its words.
 *
 * A giant word (anybody can write a megabyte of letters) is merged window by window, so that the working memory does
 * not grow with it, and with the very tokens that the whole would have. Why: call two tokens compatible when their
 * bytes alone are merged to just these two. A row of tokens in which all neighbours are compatible is what merging all
 * its bytes gives. (The order of merges inside a stretch is the same alone and in a longer text as long as no merge
 * crosses the stretch's ends; so the first merge to cross an end of a token in the whole would have crossed it in
 * merging the two tokens beside it alone.) For the same reason all neighbours that a window's merging leaves are
 * compatible. So two windows may be put together where they share a token: the next window begins with the last token
 * that is kept of the one before and must begin with the same token. What is right of it decides that within a few
 * bytes in practice; where it does not, the word is begun again with windows of twice the size.
 */
#include <stdlib.h>
#include <string.h>

#include "tokenizer_private.h"

/* Words up to here are merged by searching all pairs. */
#define SHORT_WORD_BYTES 40

/* Scratch for long words that is kept for the next call; larger is freed after use. */
#define KEPT_SYMBOLS ((size_t) 1 << 16)

#define WINDOW_SHARE 8 /* such a part at the end of a window is merged again with the next one */

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

/* Merge bytes that stand in a long word; symbols and heap of the tokenizer have room for them. Returns how many symbols
 * there are: those with a token are 0, symbols[0].next and so on. */
static size_t
merge_window(Tokenizer *tokenizer, const char *word, size_t length)
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
	return n;
}

/* The bytes that the first n symbols stand for: bytes that the vocabulary lacks have none. */
static size_t
bytes_of_symbols(const Tokenizer *tokenizer, const char *word, size_t n)
{
	size_t bytes = 0;

	for (size_t seen = 0; seen < n; bytes++)
		seen += tokenizer->byte_tokens[(unsigned char) word[bytes]] != NO_TOKEN;
	return bytes;
}

/* Append the tokens of a window of n symbols: all, or those before the first that begins in its last part. *kept: the
 * symbols that they stand for, less than n where not all is kept. */
static void
take_window(const LongSymbol *symbols, size_t n, bool all, TokenBuffer *out, size_t *kept)
{
	size_t end = all ? n : n - n / WINDOW_SHARE;
	uint32_t i = 0;

	while (i < end && (all || symbols[i].next < n))
	{
		out->tokens[out->n++] = symbols[i].token;
		i = symbols[i].next;
	}
	*kept = i;
}

/*
 * Merge a long word in windows of so many bytes. *done stays false where two windows have no token in common: then
 * nothing is appended.
 */
static Status
merge_in_windows(Tokenizer *tokenizer, const char *word, size_t length, size_t window, TokenBuffer *out, bool *done)
{
	size_t n_before = out->n;
	int32_t expected = NO_TOKEN; /* of the window before, which this one has to begin with */

	*done = false;
	for (size_t start = 0; start < length;)
	{
		size_t bytes = length - start < window ? length - start : window, n, kept;
		bool is_last = start + bytes == length;

		STATUS_TRY(tokenizer_check_cancel(tokenizer));
		STATUS_TRY(token_buffer_reserve(out, bytes));
		n = merge_window(tokenizer, word + start, bytes);
		if (n > 0 && expected != NO_TOKEN && tokenizer->symbols[0].token != expected)
		{
			out->n = n_before;
			return status_ok();
		}
		take_window(tokenizer->symbols, n, is_last, out, &kept);
		if (is_last)
			break;
		if (n > 0 && kept == 0)
		{
			out->n = n_before;
			return status_ok();
		}
		expected = n > 0 ? tokenizer->symbols[kept].token : expected;
		start += n > 0 ? bytes_of_symbols(tokenizer, word + start, kept) : bytes;
		STATUS_TRY(token_buffer_check_limit(out));
	}
	*done = true;
	return status_ok();
}

/* Merge a word of any length. */
static Status
merge_long_word(Tokenizer *tokenizer, const char *word, size_t length, TokenBuffer *out)
{
	size_t window = tokenizer->window_bytes;
	Status status = status_ok();
	bool done = false;

	while (!done && status.code == STATUS_OK)
	{
		status = reserve_symbols(tokenizer, length < window ? length : window);
		if (status.code == STATUS_OK)
			status = merge_in_windows(tokenizer, word, length, window, out, &done);
		window *= 2;
	}
	release_symbols(tokenizer);
	return status;
}

Status
tokenizer_merge_word(Tokenizer *tokenizer, const char *word, size_t length, TokenBuffer *out)
{
	CachedWord *cached = NULL;
	int32_t *tokens;
	size_t n;

	if (length > SHORT_WORD_BYTES)
		return merge_long_word(tokenizer, word, length, out);
	if (out->capacity - out->n < length)
		STATUS_TRY(token_buffer_reserve(out, length));

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
