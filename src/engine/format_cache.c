/*
 * format_cache.c - see format_cache.h. One lock guards the lists; a format itself belongs to the event loop once it is
 * in them.
 */
#include "format_cache.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kept_memory.h"
#include "replies.h"
#include "role_budget.h"

#define MASK_BYTES ((size_t) 32 << 20)  /* of one format's masks */
#define GROWN_BYTES ((size_t) 24 << 20) /* of a format: newcomers get it anew */

typedef struct ModelVocabulary
{
	const Model *model;
	Vocabulary *vocabulary;
	MaskScratch *scratch;
	struct ModelVocabulary *next;
} ModelVocabulary;

/* What a format is compiled of. */
typedef struct FormParts
{
	CallForm form;
	ByteSpan tools, text; /* data NULL: none */
} FormParts;

struct SharedFormat
{
	const Model *model;
	char *key; /* all that it was compiled of, beside the model: the parts point into it */
	size_t length;
	FormParts parts;
	Format *format;
	Masks *masks;
	const Vocabulary *vocabulary;
	uint32_t n_users;
	uint64_t used; /* the how manieth use was its last */
	size_t bytes;
	size_t worn_at; /* bytes of the format alone from which on answers walk on in another one */
	uint32_t role;  /* whose memory it is: of the first of its users, or of those that it had */
	size_t charged; /* bytes that this role has for it */
	bool is_listed;
	SharedFormat *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static SharedFormat *formats;
static ModelVocabulary *vocabularies;
static uint64_t n_uses;
static RoleBudget idle = {.limit = FORMAT_CACHE_BYTES}; /* bytes of listed ones that nobody uses, by role */
static FormatTotals totals;

/* Note how many bytes it has now; the lock is held. */
static void
set_bytes(SharedFormat *shared, size_t bytes)
{
	totals.bytes += bytes - shared->bytes;
	shared->bytes = bytes;
}

/* The lock is held. */
static void
destroy(SharedFormat *shared)
{
	set_bytes(shared, 0);
	totals.n--;
	masks_destroy(shared->masks);
	format_destroy(shared->format);
	free(shared->key);
	free(shared);
}

/* Its place in the list, or NULL; the lock is held. */
static SharedFormat **
find_link(const SharedFormat *shared)
{
	SharedFormat **at = &formats;

	while (*at && *at != shared)
		at = &(*at)->next;
	return *at ? at : NULL;
}

/* Take out of the list; the lock is held. */
static void
unlist(SharedFormat *shared)
{
	SharedFormat **at = find_link(shared);

	if (at)
		*at = shared->next;
	if (shared->n_users == 0)
		role_budget_give(&idle, shared->role, shared->charged);
	shared->is_listed = false;
}

/* At the head of the list, where what is used much is found soon; the lock is held. */
static void
put_first(SharedFormat *shared)
{
	shared->used = ++n_uses;
	shared->next = formats;
	formats = shared;
}

/* A format of the list that is the same and not worn out; the lock is held. */
static SharedFormat *
find(const Model *model, ByteSpan key)
{
	for (SharedFormat **at = &formats; *at; at = &(*at)->next)
	{
		SharedFormat *shared = *at;

		if (shared->model != model || shared->length != key.length || memcmp(shared->key, key.data, key.length) != 0)
			continue;
		*at = shared->next;
		put_first(shared);
		return shared;
	}
	return NULL;
}

/* One user more. The first one's role has its memory; the lock is held. */
static Status
begin_use(SharedFormat *shared, uint32_t role)
{
	Status status = status_ok();

	if (shared->n_users == 0)
	{
		status = kept_memory_take(role, shared->bytes);
		if (status.code != STATUS_OK)
			return status;
		if (shared->is_listed)
			role_budget_give(&idle, shared->role, shared->charged);
		shared->role = role;
		shared->charged = shared->bytes;
	}
	shared->n_users++;
	return status;
}

/* One user less. true: nobody finds it any more, either; the lock is held. */
static bool
end_use(SharedFormat *shared)
{
	if (--shared->n_users > 0)
		return false;
	kept_memory_give(shared->role, shared->charged);
	shared->charged = shared->bytes;
	if (!shared->is_listed)
		return true;
	if (role_budget_take(&idle, shared->role, shared->charged))
		return false;
	*find_link(shared) = shared->next;
	return true;
}

/* The format to give up next: that of the role with most of them that was used least recently; the lock is held. */
static SharedFormat *
find_victim(void)
{
	SharedFormat *victim = NULL;
	size_t most = 0;

	for (SharedFormat *shared = formats; shared; shared = shared->next)
	{
		size_t bytes = shared->n_users == 0 ? role_budget_of(&idle, shared->role) : 0;

		if (bytes == 0 || bytes < most || (bytes == most && victim && shared->used > victim->used))
			continue;
		victim = shared;
		most = bytes;
	}
	return victim;
}

/* Drop what nobody uses while there is too much of it; the lock is held. */
static void
evict(void)
{
	SharedFormat *victim;

	while (idle.total > FORMAT_CACHE_BYTES && (victim = find_victim()))
	{
		unlist(victim);
		destroy(victim);
	}
}

static int32_t
find_tag(const Tokenizer *tokenizer, const char *text)
{
	int32_t token = tokenizer_find(tokenizer, text, strlen(text));

	return token >= 0 && tokenizer_token_type(tokenizer, token) != TOKEN_NORMAL ? token : -1;
}

void
call_tokens(const Tokenizer *tokenizer, int32_t *open, int32_t *close)
{
	*open = find_tag(tokenizer, CALL_OPEN_TEXT);
	*close = find_tag(tokenizer, CALL_CLOSE_TEXT);
}

/* Has a token a byte that is no text's? */
static bool
has_no_text(ByteSpan token)
{
	for (size_t i = 0; i < token.length; i++)
		if ((unsigned char) token.data[i] >= CALL_FIRST_BYTE)
			return true;
	return false;
}

/* Ordinary tokens only: tags and control tokens are no part of a constrained answer. But what opens and closes calls
 * has bytes that no ordinary token may have then. */
static Vocabulary *
make_vocabulary(const Model *model)
{
	static const char open_byte = CALL_OPEN_BYTE, close_byte = CALL_CLOSE_BYTE;
	uint32_t n = tokenizer_n_tokens(model->tokenizer);
	ByteSpan *tokens = calloc(n + 1, sizeof *tokens);
	Vocabulary *vocabulary = NULL;
	int32_t open, close;

	n = n < model->hyper.vocab ? n : model->hyper.vocab;
	for (uint32_t i = 0; tokens && i < n; i++)
		if (tokenizer_token_type(model->tokenizer, (int32_t) i) == TOKEN_NORMAL &&
			!tokenizer_is_end(model->tokenizer, (int32_t) i))
		{
			tokens[i] = tokenizer_token_bytes(model->tokenizer, (int32_t) i);
			if (has_no_text(tokens[i]))
				tokens[i] = (ByteSpan){NULL, 0};
		}
	call_tokens(model->tokenizer, &open, &close);
	if (tokens && open >= 0 && (uint32_t) open < n)
		tokens[open] = (ByteSpan){&open_byte, 1};
	if (tokens && close >= 0 && (uint32_t) close < n)
		tokens[close] = (ByteSpan){&close_byte, 1};
	if (tokens)
		vocabulary = vocabulary_create(tokens, n);
	free(tokens);
	return vocabulary;
}

static void
destroy_vocabulary(ModelVocabulary *one)
{
	mask_scratch_destroy(one->scratch);
	vocabulary_destroy(one->vocabulary);
	free(one);
}

/* A model's vocabulary, made for the first request that needs it; the others wait. NULL: no memory. */
static const ModelVocabulary *
vocabulary_of(const Model *model)
{
	ModelVocabulary *one;

	pthread_mutex_lock(&lock);
	for (one = vocabularies; one && one->model != model; one = one->next)
		;
	if (!one && (one = calloc(1, sizeof *one)))
	{
		one->vocabulary = make_vocabulary(model);
		one->scratch = one->vocabulary ? mask_scratch_create(one->vocabulary) : NULL;
		one->model = model;
		one->next = vocabularies;
		if (one->scratch)
			vocabularies = one;
		else
		{
			destroy_vocabulary(one);
			one = NULL;
		}
	}
	pthread_mutex_unlock(&lock);
	return one;
}

static size_t
bytes_of(const SharedFormat *shared)
{
	return sizeof *shared + shared->length + format_bytes(shared->format) + masks_all_bytes(shared->masks);
}

/* How the calls of a message's answer are written, and whether there may be any. */
static CallForm
call_form(const Model *model, const Request *message)
{
	static const CallChoice choices[] = {
		[TOOL_CHOICE_NOT_GIVEN] = CALLS_MAY, [TOOL_CHOICE_AUTO] = CALLS_MAY,  [TOOL_CHOICE_NONE] = CALLS_NONE,
		[TOOL_CHOICE_REQUIRED] = CALLS_MUST, [TOOL_CHOICE_NAMED] = CALLS_ONE,
	};
	int32_t open, close;

	call_tokens(model->tokenizer, &open, &close);
	return (CallForm){
		.is_of_tags = model->calls_by_tags,
		.has_open = open >= 0,
		.has_close = close >= 0,
		.is_lenient = message->tool_choice == TOOL_CHOICE_NOT_GIVEN,
		.choice = choices[message->tool_choice],
		.name = message->tool_name,
	};
}

/* All that a format is compiled of, beside the model, the parts one behind the other at its end. data NULL: no memory.
 */
static ByteSpan
make_key(const Request *message)
{
	const ByteSpan parts[] = {message->tool_name, message->tools, message->format};
	size_t room = 100 + message->tool_name.length + message->tools.length + message->format.length;
	char *key = malloc(room);
	size_t n;

	if (!key)
		return (ByteSpan){NULL, 0};
	n = (size_t) snprintf(key, room, "%u %zu %zu %zu\n", message->tool_choice, message->tool_name.length,
						  message->tools.length, message->format.length);
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
	{
		if (parts[i].length)
			memcpy(key + n, parts[i].data, parts[i].length);
		n += parts[i].length;
	}
	return (ByteSpan){key, n};
}

/* The parts of a message in its key. */
static FormParts
parts_of(CallForm form, const Request *message, ByteSpan key)
{
	const char *text = key.data + key.length - message->format.length, *tools = text - message->tools.length;

	form.name.data = tools - form.name.length;
	return (FormParts){
		form,
		{message->tools.data ? tools : NULL, message->tools.length},
		{message->format.data ? text : NULL, message->format.length},
	};
}

/* How many bytes it may have before answers that it has grown with walk on in another one: what it has by now is what
 * it needs. */
static size_t
wearing_bytes(const Format *format)
{
	size_t bytes = format_bytes(format);

	return bytes + (FORMAT_LIMIT_BYTES > bytes ? (FORMAT_LIMIT_BYTES - bytes) * 3 / 8 : 0);
}

/* The format of some parts, of which key, in which they are, becomes a part in any case. */
static Status
compile(const Model *model, const CancelFlag *cancelled, const FormParts *parts, ByteSpan key, SharedFormat **out)
{
	const ModelVocabulary *words;
	SharedFormat *shared;
	Format *format;

	Status status = format_compile_calls(parts->tools, parts->text, &parts->form, cancelled, &format);

	*out = NULL;
	shared = format ? calloc(1, sizeof *shared) : NULL;
	if (!shared)
		free((void *) (uintptr_t) key.data);
	if (!format)
		return status;
	if (!shared)
	{
		format_destroy(format);
		return no_memory();
	}
	words = vocabulary_of(model);
	shared->model = model;
	shared->format = format;
	shared->parts = *parts;
	shared->worn_at = wearing_bytes(format);
	shared->vocabulary = words ? words->vocabulary : NULL;
	shared->masks = words ? masks_create(format, words->vocabulary, words->scratch) : NULL;
	shared->key = (char *) (uintptr_t) key.data;
	shared->length = key.length;
	pthread_mutex_lock(&lock);
	totals.n++;
	if (shared->masks)
	{
		set_bytes(shared, bytes_of(shared));
		*out = shared;
	}
	else
		destroy(shared);
	pthread_mutex_unlock(&lock);
	return *out ? status_ok() : no_memory();
}

/* Begin to use what was compiled, or what another thread has listed meanwhile; *shared is the one. */
static Status
begin_made(SharedFormat **shared, uint32_t role)
{
	SharedFormat *made = *shared, *found;
	Status status;

	pthread_mutex_lock(&lock);
	/* of a text to be copied nobody else has the same */
	found = format_is_copy(made->format) ? NULL : find(made->model, (ByteSpan){made->key, made->length});
	if (found)
	{
		destroy(made);
		made = found;
	}
	status = begin_use(made, role);
	if (status.code != STATUS_OK && !made->is_listed)
		destroy(made);
	else if (!made->is_listed && !format_is_copy(made->format))
	{
		made->is_listed = true;
		put_first(made);
	}
	pthread_mutex_unlock(&lock);
	*shared = status.code == STATUS_OK ? made : NULL;
	return status;
}

Status
format_cache_get(const Workplace *place, const Request *message, SharedFormat **out)
{
	SharedFormat *found;
	Status status = status_ok();
	ByteSpan key;

	*out = NULL;
	if (!message->format.data && !message->tools.data)
		return status;
	key = make_key(message);
	if (!key.data)
		return no_memory();
	pthread_mutex_lock(&lock);
	found = find(place->model, key);
	if (found)
		status = begin_use(found, message->role);
	pthread_mutex_unlock(&lock);
	if (found)
		free((void *) (uintptr_t) key.data);
	else
	{
		const FormParts parts = parts_of(call_form(place->model, message), message, key);

		STATUS_TRY(compile(place->model, place->cancelled, &parts, key, &found));
		if (!found)
			return status_ok();
		status = begin_made(&found, message->role);
	}
	*out = status.code == STATUS_OK ? found : NULL;
	return status;
}

bool
shared_format_is_worn(const SharedFormat *shared)
{
	return !format_is_copy(shared->format) &&
		   (format_bytes(shared->format) > shared->worn_at || format_status(shared->format).code != STATUS_OK);
}

void
shared_format_settle(SharedFormat *shared)
{
	shared->worn_at = wearing_bytes(shared->format);
}

Status
format_cache_renew(SharedFormat *worn, uint32_t role, SharedFormat **out)
{
	SharedFormat *found = NULL;
	FormParts parts = worn->parts;
	Status status = status_ok();
	char *key;

	*out = NULL;
	pthread_mutex_lock(&lock);
	if (worn->is_listed)
		unlist(worn);
	found = find(worn->model, (ByteSpan){worn->key, worn->length});
	if (found && (format_bytes(found->format) > GROWN_BYTES || format_status(found->format).code != STATUS_OK))
	{
		unlist(found);
		if (found->n_users == 0)
			destroy(found);
		found = NULL;
	}
	if (found)
		status = begin_use(found, role);
	pthread_mutex_unlock(&lock);
	if (!found)
	{
		key = malloc(worn->length + 1);
		if (!key)
			return no_memory();
		memcpy(key, worn->key, worn->length);
		parts.form.name.data = key + (worn->parts.form.name.data - worn->key);
		parts.tools.data = worn->parts.tools.data ? key + (worn->parts.tools.data - worn->key) : NULL;
		parts.text.data = worn->parts.text.data ? key + (worn->parts.text.data - worn->key) : NULL;
		STATUS_TRY(compile(worn->model, NULL, &parts, (ByteSpan){key, worn->length}, &found));
		if (!found)
			return status_error(STATUS_INTERNAL, "a form that is used is none");
		status = begin_made(&found, role);
	}
	*out = status.code == STATUS_OK ? found : NULL;
	return status;
}

void
format_cache_release(SharedFormat *shared)
{
	if (!shared)
		return;
	pthread_mutex_lock(&lock);
	if (end_use(shared))
		destroy(shared);
	evict();
	pthread_mutex_unlock(&lock);
}

FormatTotals
format_cache_totals(void)
{
	FormatTotals found;

	pthread_mutex_lock(&lock);
	found = totals;
	pthread_mutex_unlock(&lock);
	return found;
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

/* A format that is used has other bytes than its role has for it; the lock is held. false: there is no room for more.
 */
static bool
charge(SharedFormat *shared)
{
	if (shared->bytes > shared->charged &&
		kept_memory_take(shared->role, shared->bytes - shared->charged).code != STATUS_OK)
		return false;
	if (shared->bytes < shared->charged)
		kept_memory_give(shared->role, shared->charged - shared->bytes);
	shared->charged = shared->bytes;
	return true;
}

void
shared_format_trim(SharedFormat *shared)
{
	bool is_worn = format_bytes(shared->format) > GROWN_BYTES || format_status(shared->format).code != STATUS_OK;

	if (masks_bytes(shared->masks) > MASK_BYTES)
		masks_trim(shared->masks);
	pthread_mutex_lock(&lock);
	set_bytes(shared, bytes_of(shared));
	if (!charge(shared))
	{
		/* masks can be had again; those of the step at hand go the next time */
		masks_trim(shared->masks);
		set_bytes(shared, bytes_of(shared));
		(void) charge(shared);
	}
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
		role_budget_give(&idle, shared->role, shared->charged);
		destroy(shared);
	}
	for (ModelVocabulary **at = &vocabularies; *at; at = &(*at)->next)
		if ((*at)->model == model)
		{
			ModelVocabulary *gone = *at;

			*at = gone->next;
			destroy_vocabulary(gone);
			break;
		}
	pthread_mutex_unlock(&lock);
}
