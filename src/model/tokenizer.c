/*
 * tokenizer.c - a tokenizer comes, answers questions about its vocabulary, and goes; see tokenizer.h.
 *
 * The tables are made by tokenizer_tables.c, texts are encoded by tokenizer_encode.c.
 */
#include <stdlib.h>
#include <string.h>

#include "tokenizer_private.h"

/* A pre-tokenizer that this program knows, by GGUF's name. */
typedef struct PreTokenizer
{
	const char *name;
	bool normalizes;
	bool words_have_marks;
} PreTokenizer;

static const PreTokenizer pre_tokenizers[] = {
	{"qwen2", true, false},            /* Qwen2 to Qwen3 */
	{"deepseek-r1-qwen", true, false}, /* DeepSeek-R1-Distill-Qwen */
	{"qwen35", true, true},            /* Qwen3.5 */
};

/* The pre-tokenizer of this name, or NULL. */
static const PreTokenizer *
find_pre_tokenizer(const char *name)
{
	for (size_t i = 0; i < sizeof pre_tokenizers / sizeof pre_tokenizers[0]; i++)
	{
		if (name && strcmp(name, pre_tokenizers[i].name) == 0)
			return &pre_tokenizers[i];
	}
	return NULL;
}

/* A special token's number; one that is no token of the vocabulary is none. */
static int32_t
take_special(Tokenizer *tokenizer, const char *name, int32_t token, uint32_t n_tokens)
{
	if (token >= NO_TOKEN && (token < 0 || (uint32_t) token < n_tokens))
		return token;
	notice_add(&tokenizer->notices, "the %s token is %d, but the vocabulary has %u tokens: there is none", name, token,
			   n_tokens);
	return NO_TOKEN;
}

/* Fill a zeroed tokenizer. */
static Status
tokenizer_fill(Tokenizer *tokenizer, const TokenizerSource *source)
{
	static const char im_end[] = "<|im_end|>";
	static const char end_of_text[] = "<|endoftext|>";
	const PreTokenizer *pre_tokenizer = find_pre_tokenizer(source->pre);

	if (!source->model || strcmp(source->model, "gpt2") != 0)
		return status_error(STATUS_UNSUPPORTED, "the tokenizer model \"%.64s\" is not supported; \"gpt2\" is",
							source->model ? source->model : "");
	if (!pre_tokenizer)
		return status_error(
			STATUS_UNSUPPORTED,
			"the pre-tokenizer \"%.64s\" is not supported; \"qwen2\", \"qwen35\" and \"deepseek-r1-qwen\" are",
			source->pre ? source->pre : "");

	tokenizer->window_bytes = TOKENIZER_WINDOW_BYTES;
	tokenizer->arena = arena_create(0);
	tokenizer->cache = calloc(N_CACHED_WORDS, sizeof *tokenizer->cache);
	if (!tokenizer->arena || !tokenizer->cache)
		return status_error(STATUS_UNAVAILABLE, "out of memory for a tokenizer");
	STATUS_TRY(tokenizer_build_tables(tokenizer, source));
	STATUS_TRY(tokenizer_compile_pattern(tokenizer, pre_tokenizer->words_have_marks));

	tokenizer->normalizes = pre_tokenizer->normalizes;
	tokenizer->bos = take_special(tokenizer, "bos", source->bos, source->n_tokens);
	tokenizer->eos = take_special(tokenizer, "eos", source->eos, source->n_tokens);
	tokenizer->add_bos = source->add_bos;
	tokenizer->add_eos = source->add_eos;
	tokenizer->end_tokens[0] = tokenizer->eos;
	(void) take_special(tokenizer, "padding", source->padding, source->n_tokens);
	tokenizer->end_tokens[1] = take_special(tokenizer, "eot", source->eot, source->n_tokens);
	tokenizer->end_tokens[2] = tokenizer_find_added(tokenizer, im_end, sizeof im_end - 1);
	tokenizer->end_tokens[3] = tokenizer_find_added(tokenizer, end_of_text, sizeof end_of_text - 1);
	return status_ok();
}

Status
tokenizer_create(const TokenizerSource *source, Tokenizer **tokenizer)
{
	Tokenizer *created = calloc(1, sizeof *created);
	Status status;

	*tokenizer = NULL;
	if (!created)
		return status_error(STATUS_UNAVAILABLE, "out of memory for a tokenizer");
	status = tokenizer_fill(created, source);
	if (!status_is_ok(&status))
	{
		tokenizer_destroy(created);
		return status;
	}
	*tokenizer = created;
	return status;
}

Status
tokenizer_share(const Tokenizer *tokenizer, Tokenizer **shared)
{
	Tokenizer *created = malloc(sizeof *created);
	Status status;

	*shared = NULL;
	if (!created)
		return status_error(STATUS_UNAVAILABLE, "out of memory for a tokenizer");
	*created = *tokenizer;
	created->is_shared = true;
	created->cancelled = NULL;
	created->match_data = NULL;
	created->match_context = NULL;
	created->jit_stack = NULL;
	created->normalized = NULL;
	created->code_points = NULL;
	created->symbols = NULL;
	created->heap = NULL;
	created->normalized_capacity = created->code_points_capacity = created->symbols_capacity = 0;
	created->cache = calloc(N_CACHED_WORDS, sizeof *created->cache);
	status = created->cache ? tokenizer_prepare_matching(created)
							: status_error(STATUS_UNAVAILABLE, "out of memory for a tokenizer");
	if (!status_is_ok(&status))
	{
		tokenizer_destroy(created);
		return status;
	}
	*shared = created;
	return status;
}

void
tokenizer_set_cancel(Tokenizer *tokenizer, const CancelFlag *cancelled)
{
	tokenizer->cancelled = cancelled;
}

void
tokenizer_destroy(Tokenizer *tokenizer)
{
	if (!tokenizer)
		return;
	tokenizer_free_pattern(tokenizer);
	if (!tokenizer->is_shared)
		arena_destroy(tokenizer->arena);
	free(tokenizer->cache);
	free(tokenizer->normalized);
	free(tokenizer->code_points);
	free(tokenizer->symbols);
	free(tokenizer->heap);
	free(tokenizer);
}

const Notices *
tokenizer_notices(const Tokenizer *tokenizer)
{
	return &tokenizer->notices;
}

/* Whether this is the number of a token. */
static bool
is_token(const Tokenizer *tokenizer, int32_t token)
{
	return token >= 0 && (uint32_t) token < tokenizer->n_tokens;
}

ByteSpan
tokenizer_token_bytes(const Tokenizer *tokenizer, int32_t token)
{
	ByteSpan bytes = {tokenizer->text, 0};

	if (is_token(tokenizer, token))
	{
		bytes.data = tokenizer->text + tokenizer->text_offsets[token];
		bytes.length = tokenizer->text_offsets[token + 1] - tokenizer->text_offsets[token];
	}
	return bytes;
}

uint32_t
tokenizer_n_tokens(const Tokenizer *tokenizer)
{
	return tokenizer->n_tokens;
}

TokenType
tokenizer_token_type(const Tokenizer *tokenizer, int32_t token)
{
	return is_token(tokenizer, token) ? (TokenType) tokenizer->types[token] : TOKEN_UNUSED;
}

int32_t
tokenizer_find(const Tokenizer *tokenizer, const char *text, size_t length)
{
	int32_t token = tokenizer_find_added(tokenizer, text, length);

	return token != NO_TOKEN ? token : tokenizer_find_ordinary(tokenizer, text, length);
}

bool
tokenizer_is_end(const Tokenizer *tokenizer, int32_t token)
{
	if (token < 0)
		return false;
	for (size_t i = 0; i < sizeof tokenizer->end_tokens / sizeof tokenizer->end_tokens[0]; i++)
	{
		if (tokenizer->end_tokens[i] == token)
			return true;
	}
	return false;
}

uint32_t
tokenizer_ends(const Tokenizer *tokenizer, int32_t ends[TOKENIZER_MAX_ENDS])
{
	uint32_t n = 0;

	for (int i = 0; i < TOKENIZER_MAX_ENDS; i++)
	{
		bool is_known = tokenizer->end_tokens[i] < 0;

		for (uint32_t j = 0; j < n; j++)
			is_known |= ends[j] == tokenizer->end_tokens[i];
		if (!is_known)
			ends[n++] = tokenizer->end_tokens[i];
	}
	return n;
}

int32_t
tokenizer_bos(const Tokenizer *tokenizer)
{
	return tokenizer->bos;
}

int32_t
tokenizer_eos(const Tokenizer *tokenizer)
{
	return tokenizer->eos;
}

bool
tokenizer_add_bos(const Tokenizer *tokenizer)
{
	return tokenizer->add_bos;
}

bool
tokenizer_add_eos(const Tokenizer *tokenizer)
{
	return tokenizer->add_eos;
}
