/*
 * vocabulary.c - see vocabulary.h.
 */
#include "vocabulary.h"

#include <stdlib.h>
#include <string.h>

#include "../base/utf8.h"
#include "language.h"

#define MAX_TOKEN_BYTES 250

typedef struct SortedToken
{
	const char *data;
	uint32_t length, token;
} SortedToken;

static int
compare_tokens(const void *a, const void *b)
{
	const SortedToken *x = a, *y = b;
	int c = memcmp(x->data, y->data, x->length < y->length ? x->length : y->length);

	if (c == 0)
		c = (x->length > y->length) - (x->length < y->length);
	return c != 0 ? c : (x->token > y->token) - (x->token < y->token);
}

/* Characters of plain text, or 0. */
static uint32_t
plain_characters(const char *text, size_t length)
{
	uint32_t n = 0;

	for (size_t at = 0; at < length; n++)
	{
		int bytes = utf8_character_bytes(text + at, length - at);

		if (bytes <= 0 || !letter_is_plain(utf8_code_point(text + at, bytes)))
			return 0;
		at += (size_t) bytes;
	}
	return n;
}

/* A trie of sorted tokens. Of tokens with the same bytes the first one stands in it. */
static bool
build_trie(Trie *trie, const SortedToken *tokens, uint32_t n)
{
	uint32_t open[MAX_TOKEN_BYTES + 1] = {0}, depth = 0;
	size_t room = 1;

	for (uint32_t i = 0; i < n; i++)
		room += tokens[i].length;
	trie->nodes = malloc(room * sizeof *trie->nodes);
	if (!trie->nodes)
		return false;
	trie->nodes[0] = (TrieNode){.token = VOCABULARY_NO_TOKEN};
	trie->n = 1;
	for (uint32_t i = 0; i < n; i++)
	{
		const SortedToken *token = &tokens[i];
		uint32_t same = 0;

		while (i > 0 && same < token->length && same < tokens[i - 1].length &&
			   token->data[same] == tokens[i - 1].data[same])
			same++;
		for (; depth > same; depth--)
			trie->nodes[open[depth]].subtree = trie->n - open[depth];
		for (; depth < token->length; depth++)
		{
			open[depth + 1] = trie->n;
			trie->nodes[trie->n++] =
				(TrieNode){VOCABULARY_NO_TOKEN, 0, (uint8_t) token->data[depth], (uint8_t) (depth + 1)};
		}
		if (trie->nodes[open[depth]].token == VOCABULARY_NO_TOKEN)
			trie->nodes[open[depth]].token = token->token;
	}
	for (; depth > 0; depth--)
		trie->nodes[open[depth]].subtree = trie->n - open[depth];
	trie->nodes[0].subtree = trie->n;
	return true;
}

/* Which node of all each of the others is: both are in one order. */
static bool
map_others(Vocabulary *vocabulary)
{
	uint32_t at[MAX_TOKEN_BYTES + 1] = {0};
	const TrieNode *all = vocabulary->all.nodes;

	vocabulary->others_to_all = calloc(vocabulary->others.n, sizeof *vocabulary->others_to_all);
	if (!vocabulary->others_to_all)
		return false;
	for (uint32_t i = 1; i < vocabulary->others.n; i++)
	{
		const TrieNode *node = &vocabulary->others.nodes[i];
		uint32_t found = at[node->depth - 1] + 1;

		while (all[found].byte != node->byte)
			found += all[found].subtree;
		at[node->depth] = vocabulary->others_to_all[i] = found;
	}
	return true;
}

/* Sort tokens into plain ones, by their characters, and others, which are put at the beginning of the list. */
static bool
sort_plain(Vocabulary *vocabulary, SortedToken *tokens, uint32_t n, uint32_t *n_others)
{
	vocabulary->plain = calloc(vocabulary->n_words, sizeof *vocabulary->plain);
	vocabulary->longer = malloc((n + 1) * sizeof *vocabulary->longer);
	vocabulary->longer_characters = malloc(n + 1);
	for (int k = 0; k <= VOCABULARY_MAX_CHARACTERS; k++)
		vocabulary->up_to[k] = calloc(vocabulary->n_words, sizeof **vocabulary->up_to);
	if (!vocabulary->plain || !vocabulary->longer || !vocabulary->longer_characters)
		return false;
	for (int k = 0; k <= VOCABULARY_MAX_CHARACTERS; k++)
		if (!vocabulary->up_to[k])
			return false;
	*n_others = 0;
	for (uint32_t i = 0; i < n; i++)
	{
		uint32_t token = tokens[i].token, characters = plain_characters(tokens[i].data, tokens[i].length);

		if (characters == 0)
		{
			tokens[(*n_others)++] = tokens[i];
			continue;
		}
		vocabulary->plain[token / 64] |= (uint64_t) 1 << token % 64;
		for (uint32_t k = characters; k <= VOCABULARY_MAX_CHARACTERS; k++)
			vocabulary->up_to[k][token / 64] |= (uint64_t) 1 << token % 64;
		if (characters > VOCABULARY_MAX_CHARACTERS)
		{
			vocabulary->longer_characters[vocabulary->n_longer] = (uint8_t) characters;
			vocabulary->longer[vocabulary->n_longer++] = token;
		}
	}
	return true;
}

Vocabulary *
vocabulary_create(const ByteSpan *tokens, uint32_t n_tokens)
{
	Vocabulary *vocabulary = calloc(1, sizeof *vocabulary);
	SortedToken *sorted = malloc((n_tokens + 1) * sizeof *sorted);
	uint32_t n = 0, n_others = 0;
	bool ok = vocabulary && sorted;

	for (uint32_t i = 0; ok && i < n_tokens; i++)
		if (tokens[i].data && tokens[i].length > 0 && tokens[i].length <= MAX_TOKEN_BYTES)
			sorted[n++] = (SortedToken){tokens[i].data, (uint32_t) tokens[i].length, i};
	if (ok)
	{
		vocabulary->n_tokens = n_tokens;
		vocabulary->n_words = (n_tokens + 63) / 64;
		qsort(sorted, n, sizeof *sorted, compare_tokens);
		ok = build_trie(&vocabulary->all, sorted, n) && sort_plain(vocabulary, sorted, n, &n_others) &&
			 build_trie(&vocabulary->others, sorted, n_others) && map_others(vocabulary);
	}
	free(sorted);
	if (ok)
		return vocabulary;
	vocabulary_destroy(vocabulary);
	return NULL;
}

void
vocabulary_destroy(Vocabulary *vocabulary)
{
	if (!vocabulary)
		return;
	free(vocabulary->all.nodes);
	free(vocabulary->others.nodes);
	free(vocabulary->others_to_all);
	free(vocabulary->plain);
	for (int k = 0; k <= VOCABULARY_MAX_CHARACTERS; k++)
		free(vocabulary->up_to[k]);
	free(vocabulary->longer);
	free(vocabulary->longer_characters);
	free(vocabulary);
}

uint32_t
vocabulary_longest(const Vocabulary *vocabulary, const char *text, size_t n, size_t *length)
{
	const TrieNode *nodes = vocabulary->all.nodes;
	uint32_t at = 0, best = VOCABULARY_NO_TOKEN;

	*length = 0;
	for (size_t i = 0; i < n; i++)
	{
		uint32_t child = at + 1, end = at + nodes[at].subtree;

		while (child < end && nodes[child].byte != (uint8_t) text[i])
			child += nodes[child].subtree;
		if (child >= end)
			break;
		at = child;
		if (nodes[at].token != VOCABULARY_NO_TOKEN)
		{
			best = nodes[at].token;
			*length = i + 1;
		}
	}
	return best;
}
