/*
 * format_cache.c - see format_cache.h. One lock guards the lists; a format itself belongs to the event loop once it is
 * in them.
 */
#include "format_cache.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "replies.h"

#define CACHE_BYTES ((size_t) 64 << 20) /* of formats that nobody uses */
#define MASK_BYTES ((size_t) 32 << 20)  /* of one format's masks */
#define GROWN_BYTES ((size_t) 24 << 20) /* of a format: newcomers get it anew */

typedef struct ModelVocabulary
{
	const Model *model;
	Vocabulary *vocabulary;
	struct ModelVocabulary *next;
} ModelVocabulary;

struct SharedFormat
{
	const Model *model;
	char *text; /* NUL-terminated */
	size_t length;
	Format *format;
	Masks *masks;
	const Vocabulary *vocabulary;
	uint32_t n_users;
	uint64_t used; /* the how manieth use was its last */
	size_t bytes;
	bool is_listed;
	SharedFormat *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static SharedFormat *formats;
static ModelVocabulary *vocabularies;
static uint64_t n_uses;

static void
destroy(SharedFormat *shared)
{
	masks_destroy(shared->masks);
	format_destroy(shared->format);
	free(shared->text);
	free(shared);
}

/* Take out of the list; the lock is held. */
static void
unlist(SharedFormat *shared)
{
	SharedFormat **at = &formats;

	while (*at && *at != shared)
		at = &(*at)->next;
	if (*at)
		*at = shared->next;
	shared->is_listed = false;
}

/* A format of the list that is the same and not worn out; the lock is held. */
static SharedFormat *
find(const Model *model, ByteSpan text)
{
	for (SharedFormat *shared = formats; shared; shared = shared->next)
		if (shared->model == model && shared->length == text.length &&
			memcmp(shared->text, text.data, text.length) == 0)
		{
			shared->n_users++;
			shared->used = ++n_uses;
			return shared;
		}
	return NULL;
}

/* Drop what was used least recently while nobody uses it and there is too much; the lock is held. */
static void
evict(void)
{
	for (;;)
	{
		SharedFormat *oldest = NULL;
		size_t bytes = 0;

		for (SharedFormat *shared = formats; shared; shared = shared->next)
			if (shared->n_users == 0)
			{
				bytes += shared->bytes;
				if (!oldest || shared->used < oldest->used)
					oldest = shared;
			}
		if (!oldest || bytes <= CACHE_BYTES)
			return;
		unlist(oldest);
		destroy(oldest);
	}
}

/* Ordinary tokens only: tags and control tokens are no part of a constrained answer. */
static Vocabulary *
make_vocabulary(const Model *model)
{
	uint32_t n = tokenizer_n_tokens(model->tokenizer);
	ByteSpan *tokens = calloc(n + 1, sizeof *tokens);
	Vocabulary *vocabulary = NULL;

	for (uint32_t i = 0; tokens && i < n && i < model->hyper.vocab; i++)
		if (tokenizer_token_type(model->tokenizer, (int32_t) i) == TOKEN_NORMAL &&
			!tokenizer_is_end(model->tokenizer, (int32_t) i))
			tokens[i] = tokenizer_token_bytes(model->tokenizer, (int32_t) i);
	if (tokens)
		vocabulary = vocabulary_create(tokens, n < model->hyper.vocab ? n : model->hyper.vocab);
	free(tokens);
	return vocabulary;
}

/* A model's vocabulary, made for the first request that needs it; the others wait. NULL: no memory. */
static const Vocabulary *
vocabulary_of(const Model *model)
{
	ModelVocabulary *one;
	const Vocabulary *found;

	pthread_mutex_lock(&lock);
	for (one = vocabularies; one && one->model != model; one = one->next)
		;
	if (!one && (one = calloc(1, sizeof *one)))
	{
		one->vocabulary = make_vocabulary(model);
		one->model = model;
		one->next = vocabularies;
		if (one->vocabulary)
			vocabularies = one;
		else
		{
			free(one);
			one = NULL;
		}
	}
	found = one ? one->vocabulary : NULL;
	pthread_mutex_unlock(&lock);
	return found;
}

static Status
compile(const Workplace *place, ByteSpan text, SharedFormat **out)
{
	SharedFormat *shared;
	Format *format;

	STATUS_TRY(format_compile(text, place->cancelled, &format));
	*out = NULL;
	if (!format)
		return status_ok();
	shared = calloc(1, sizeof *shared);
	if (!shared)
	{
		format_destroy(format);
		return no_memory();
	}
	shared->model = place->model;
	shared->format = format;
	shared->vocabulary = vocabulary_of(place->model);
	shared->masks = shared->vocabulary ? masks_create(format, shared->vocabulary) : NULL;
	shared->text = strndup(text.data, text.length);
	shared->length = text.length;
	shared->n_users = 1;
	if (!shared->masks || !shared->text)
	{
		destroy(shared);
		return no_memory();
	}
	shared->bytes = format_bytes(format);
	*out = shared;
	return status_ok();
}

Status
format_cache_get(const Workplace *place, ByteSpan text, SharedFormat **shared)
{
	SharedFormat *other;

	pthread_mutex_lock(&lock);
	*shared = find(place->model, text);
	pthread_mutex_unlock(&lock);
	if (*shared)
		return status_ok();
	STATUS_TRY(compile(place, text, shared));
	if (!*shared)
		return status_ok();
	/* nobody else has this text */
	if (format_is_copy((*shared)->format))
		return status_ok();
	pthread_mutex_lock(&lock);
	/* another thread may have been faster */
	other = find(place->model, text);
	if (!other)
	{
		(*shared)->used = ++n_uses;
		(*shared)->is_listed = true;
		(*shared)->next = formats;
		formats = *shared;
		evict();
	}
	pthread_mutex_unlock(&lock);
	if (other)
	{
		destroy(*shared);
		*shared = other;
	}
	return status_ok();
}

void
format_cache_release(SharedFormat *shared)
{
	bool is_last;

	if (!shared)
		return;
	pthread_mutex_lock(&lock);
	is_last = --shared->n_users == 0 && !shared->is_listed;
	evict();
	pthread_mutex_unlock(&lock);
	if (is_last)
		destroy(shared);
}

Format *
shared_format(SharedFormat *shared)
{
	return shared->format;
}

Masks *
shared_masks(SharedFormat *shared)
{
	return shared->masks;
}

const Vocabulary *
shared_vocabulary(const SharedFormat *shared)
{
	return shared->vocabulary;
}

void
shared_format_trim(SharedFormat *shared)
{
	bool is_worn = format_bytes(shared->format) > GROWN_BYTES || format_status(shared->format).code != STATUS_OK;

	if (masks_bytes(shared->masks) > MASK_BYTES)
		masks_trim(shared->masks);
	pthread_mutex_lock(&lock);
	shared->bytes = format_bytes(shared->format) + masks_bytes(shared->masks);
	if (is_worn && shared->is_listed)
		unlist(shared);
	pthread_mutex_unlock(&lock);
}

void
format_cache_forget(const Model *model)
{
	pthread_mutex_lock(&lock);
	for (SharedFormat **at = &formats; *at;)
	{
		SharedFormat *shared = *at;

		if (shared->model != model || shared->n_users > 0)
		{
			at = &shared->next;
			continue;
		}
		*at = shared->next;
		destroy(shared);
	}
	for (ModelVocabulary **at = &vocabularies; *at; at = &(*at)->next)
		if ((*at)->model == model)
		{
			ModelVocabulary *gone = *at;

			*at = gone->next;
			vocabulary_destroy(gone->vocabulary);
			free(gone);
			break;
		}
	pthread_mutex_unlock(&lock);
}
