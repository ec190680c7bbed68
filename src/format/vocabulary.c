/*
 * vocabulary.c - see vocabulary.h.
 */
#include "vocabulary.h"

#include <stdlib.h>
#include <string.h>

#include "../base/utf8.h"
#include "calls.h"

#define MAX_TOKEN_BYTES 250
#define ALL_SETS ((1u << N_LETTER_SETS) - 1)

typedef struct SortedToken
{
	const char *data;
	uint32_t length, token;
	const uint8_t *sets; /* a bit for each set of letters: from this byte on all are of it */
	uint32_t n_characters;
	uint64_t beginning; /* of its bytes the first eight, as a number */
} SortedToken;

static uint64_t
beginning_of(ByteSpan token)
{
	uint64_t beginning = 0;

	for (size_t i = 0; i < 8; i++)
		beginning = beginning << 8 | (i < token.length ? (unsigned char) token.data[i] : 0);
	return beginning;
}

static int
compare_tokens(const void *a, const void *b)
{
	const SortedToken *x = a, *y = b;
	int c;

	if (x->beginning != y->beginning)
		return x->beginning < y->beginning ? -1 : 1;
	c = memcmp(x->data, y->data, x->length < y->length ? x->length : y->length);

	if (c == 0)
		c = (x->length > y->length) - (x->length < y->length);
	return c != 0 ? c : (x->token > y->token) - (x->token < y->token);
}

/* Note of which sets all letters of a token are from each of its bytes on, and how many letters it has. */
static void
find_sets(SortedToken *token, uint8_t *sets, const uint8_t ascii[128])
{
	token->sets = sets;
	token->n_characters = 0;
	for (uint32_t at = 0; at < token->length; token->n_characters++)
	{
		int bytes = utf8_character_bytes(token->data + at, token->length - at);

		/* parts of letters are of no set, and nothing before them is */
		if (bytes <= 0)
		{
			memset(sets, 0, token->length);
			return;
		}
		memset(sets + at,
			   bytes == 1 ? ascii[(unsigned char) token->data[at]]
						  : letter_sets(utf8_code_point(token->data + at, bytes)),
			   (size_t) bytes);
		at += (uint32_t) bytes;
	}
	for (uint32_t at = token->length - 1; at-- > 0;)
		sets[at] &= sets[at + 1];
}

/* The same of all tokens. NULL: no memory. */
static uint8_t *
find_all_sets(SortedToken *tokens, uint32_t n)
{
	uint8_t ascii[128], *sets;
	size_t n_bytes = 1;

	for (uint32_t letter = 0; letter < 128; letter++)
		ascii[letter] = letter_sets(letter);
	for (uint32_t i = 0; i < n; i++)
		n_bytes += tokens[i].length;
	sets = malloc(n_bytes);
	n_bytes = 0;
	for (uint32_t i = 0; sets && i < n; i++)
	{
		find_sets(&tokens[i], sets + n_bytes, ascii);
		n_bytes += tokens[i].length;
	}
	return sets;
}

/* A token below the nodes on its way: how far down it goes, and of which letters it is. */
static void
note_token(Trie *trie, const uint32_t *open, const SortedToken *token)
{
	for (uint32_t depth = 0; depth < token->length; depth++)
	{
		TrieNode *node = &trie->nodes[open[depth]];

		node->only &= token->sets[depth];
		if (token->length - depth > node->height)
			node->height = (uint8_t) (token->length - depth);
	}
}

/* A trie of sorted tokens. Of tokens with the same bytes the first one stands in it. */
static bool
build_trie(Trie *trie, const SortedToken *tokens, uint32_t n)
{
	uint32_t open[MAX_TOKEN_BYTES + 1] = {0}, depth = 0, n_tokens = 0;
	size_t room = 1;

	for (uint32_t i = 0; i < n; i++)
		room += tokens[i].length;
	trie->nodes = malloc(room * sizeof *trie->nodes);
	trie->tokens = malloc(((size_t) n + 1) * sizeof *trie->tokens);
	if (!trie->nodes || !trie->tokens)
		return false;
	trie->nodes[0] = (TrieNode){.token = VOCABULARY_NO_TOKEN, .only = ALL_SETS};
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
			trie->nodes[trie->n++] = (TrieNode){
				VOCABULARY_NO_TOKEN, 0, (uint8_t) token->data[depth], (uint8_t) (depth + 1), ALL_SETS, 0, n_tokens};
		}
		note_token(trie, open, token);
		if (trie->nodes[open[depth]].token == VOCABULARY_NO_TOKEN)
		{
			trie->nodes[open[depth]].token = trie->tokens[n_tokens++] = token->token;
			trie->nodes[open[depth]].n_upto = n_tokens;
		}
	}
	for (; depth > 0; depth--)
		trie->nodes[open[depth]].subtree = trie->n - open[depth];
	trie->nodes[0].subtree = trie->n;
	return true;
}

/* Which node of all each of the others is: both are in one order. */
static bool
map_others(VocabularySlice *slice, const TrieNode *all)
{
	uint32_t at[MAX_TOKEN_BYTES + 1] = {0};

	slice->others_to_all = calloc(slice->others.n, sizeof *slice->others_to_all);
	if (!slice->others_to_all)
		return false;
	for (uint32_t i = 1; i < slice->others.n; i++)
	{
		const TrieNode *node = &slice->others.nodes[i];
		uint32_t found = at[node->depth - 1] + 1;

		while (all[found].byte != node->byte)
			found += all[found].subtree;
		at[node->depth] = slice->others_to_all[i] = found;
	}
	return true;
}

static bool
allocate_slice(VocabularySlice *slice, uint32_t n_words, uint32_t n)
{
	bool ok = true;

	slice->bits = calloc(n_words + 1, sizeof *slice->bits);
	slice->longer = malloc((n + 1) * sizeof *slice->longer);
	slice->longer_tokens = malloc((n + 1) * sizeof *slice->longer_tokens);
	slice->longer_characters = malloc(n + 1);
	for (int k = 0; k <= VOCABULARY_MAX_CHARACTERS; k++)
	{
		slice->up_to[k] = calloc(n_words + 1, sizeof **slice->up_to);
		ok = ok && slice->up_to[k];
	}
	return ok && slice->bits && slice->longer && slice->longer_tokens && slice->longer_characters;
}

/* Sort tokens into those of a set of letters, by their characters, and others, which go to a list of their own. */
static bool
make_slice(Vocabulary *vocabulary, LetterSet set, const SortedToken *tokens, uint32_t n, SortedToken *others)
{
	VocabularySlice *slice = &vocabulary->slices[set];
	uint32_t n_others = 0;

	if (!allocate_slice(slice, vocabulary->n_words, n))
		return false;
	for (uint32_t i = 0; i < n; i++)
	{
		uint32_t token = tokens[i].token, characters = tokens[i].n_characters;

		if (!(tokens[i].sets[0] >> set & 1))
		{
			others[n_others++] = tokens[i];
			continue;
		}
		slice->bits[token / 64] |= (uint64_t) 1 << token % 64;
		if (characters <= VOCABULARY_MAX_CHARACTERS)
			slice->up_to[characters][token / 64] |= (uint64_t) 1 << token % 64;
		else
		{
			slice->longer_characters[slice->n_longer] = (uint8_t) characters;
			slice->longer_tokens[slice->n_longer] = token;
			slice->longer[slice->n_longer++] = (ByteSpan){tokens[i].data, tokens[i].length};
		}
	}
	for (uint32_t k = 1; k <= VOCABULARY_MAX_CHARACTERS; k++)
		for (uint32_t word = 0; word < vocabulary->n_words; word++)
			slice->up_to[k][word] |= slice->up_to[k - 1][word];
	return build_trie(&slice->others, others, n_others) && map_others(slice, vocabulary->all.nodes);
}

/* How far down a token may go: the brackets that open something in the one with most of them. */
static uint32_t
count_brackets(const SortedToken *tokens, uint32_t n)
{
	uint32_t most = 0;

	for (uint32_t i = 0; i < n; i++)
	{
		uint32_t found = 0;

		for (uint32_t at = 0; at < tokens[i].length; at++)
			found += tokens[i].data[at] == '[' || tokens[i].data[at] == '{';
		most = found > most ? found : most;
	}
	return most;
}

/* The bytes of longer tokens, which outlive the caller's. */
static bool
keep_longer(Vocabulary *vocabulary)
{
	size_t n = 1;
	char *at;

	for (int set = 0; set < N_SLICES; set++)
		for (uint32_t i = 0; i < vocabulary->slices[set].n_longer; i++)
			n += vocabulary->slices[set].longer[i].length;
	at = vocabulary->bytes = malloc(n);
	for (int set = 0; at && set < N_SLICES; set++)
		for (uint32_t i = 0; i < vocabulary->slices[set].n_longer; i++)
		{
			ByteSpan *span = &vocabulary->slices[set].longer[i];

			memcpy(at, span->data, span->length);
			span->data = at;
			at += span->length;
		}
	return at != NULL;
}

/* Does a token open a call behind its first byte? */
static bool
hides_opening(ByteSpan token)
{
	return token.length > 1 && !memchr(token.data, 0, token.length) &&
		   (memmem(token.data + 1, token.length - 1, CALL_OPEN_TEXT, strlen(CALL_OPEN_TEXT)) ||
			memmem(token.data + 1, token.length - 1, CALL_FUNCTION_TEXT, strlen(CALL_FUNCTION_TEXT)));
}

/* Note the tokens that do: hardly any vocabulary has one. */
static bool
find_hidden(Vocabulary *vocabulary, const SortedToken *tokens, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
	{
		uint32_t at = vocabulary->n_hidden;
		uint32_t *grown;
		char **grown_bytes;

		if (!hides_opening((ByteSpan){tokens[i].data, tokens[i].length}))
			continue;
		grown = realloc(vocabulary->hidden, (at + 1) * sizeof *grown);
		vocabulary->hidden = grown ? grown : vocabulary->hidden;
		grown_bytes = realloc(vocabulary->hidden_bytes, (at + 1) * sizeof *grown_bytes);
		vocabulary->hidden_bytes = grown_bytes ? grown_bytes : vocabulary->hidden_bytes;
		if (!grown || !grown_bytes || !(grown_bytes[at] = strndup(tokens[i].data, tokens[i].length)))
			return false;
		grown[at] = tokens[i].token;
		vocabulary->n_hidden++;
	}
	return true;
}

Vocabulary *
vocabulary_create(const ByteSpan *tokens, uint32_t n_tokens)
{
	Vocabulary *vocabulary = calloc(1, sizeof *vocabulary);
	SortedToken *sorted = malloc(((size_t) n_tokens + 1) * sizeof *sorted);
	SortedToken *others = malloc(((size_t) n_tokens + 1) * sizeof *others);
	uint8_t *sets = NULL;
	uint32_t n = 0;
	bool ok = vocabulary && sorted && others;

	for (uint32_t i = 0; ok && i < n_tokens; i++)
		if (tokens[i].data && tokens[i].length > 0 && tokens[i].length <= MAX_TOKEN_BYTES)
			sorted[n++] =
				(SortedToken){tokens[i].data, (uint32_t) tokens[i].length, i, NULL, 0, beginning_of(tokens[i])};
	if (ok)
	{
		vocabulary->n_tokens = n_tokens;
		vocabulary->n_words = (n_tokens + 63) / 64;
		vocabulary->n_brackets = count_brackets(sorted, n);
		qsort(sorted, n, sizeof *sorted, compare_tokens);
		sets = find_all_sets(sorted, n);
		ok = sets && find_hidden(vocabulary, sorted, n) && build_trie(&vocabulary->all, sorted, n);
	}
	for (int set = 0; ok && set < N_SLICES; set++)
		ok = make_slice(vocabulary, (LetterSet) set, sorted, n, others);
	ok = ok && keep_longer(vocabulary);
	free(sorted);
	free(others);
	free(sets);
	if (ok)
		return vocabulary;
	vocabulary_destroy(vocabulary);
	return NULL;
}

static void
free_trie(Trie *trie)
{
	free(trie->nodes);
	free(trie->tokens);
}

void
vocabulary_destroy(Vocabulary *vocabulary)
{
	if (!vocabulary)
		return;
	free_trie(&vocabulary->all);
	for (int set = 0; set < N_SLICES; set++)
	{
		VocabularySlice *slice = &vocabulary->slices[set];

		free_trie(&slice->others);
		free(slice->others_to_all);
		free(slice->bits);
		for (int k = 0; k <= VOCABULARY_MAX_CHARACTERS; k++)
			free(slice->up_to[k]);
		free(slice->longer);
		free(slice->longer_tokens);
		free(slice->longer_characters);
	}
	free(vocabulary->bytes);
	for (uint32_t i = 0; i < vocabulary->n_hidden; i++)
		free(vocabulary->hidden_bytes[i]);
	free(vocabulary->hidden_bytes);
	free(vocabulary->hidden);
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
