/*
 * draft_models.c - see draft_models.h. The list is the supervisor's and stands on the status page; it is read again
 * whenever slots are looked at, and a pair of models is compared once.
 */
#include "draft_models.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../protocol/configured_drafts.h"

/* The list as it is wanted now. false: it is just being written, and we shall be told. */
static bool
read_list(const StatusPage *page, ConfiguredDrafts *drafts)
{
	uint64_t number = atomic_load(&page->drafts_number);
	char list[STATUS_PAGE_DRAFT_BYTES];

	memcpy(list, page->draft_models, sizeof list);
	list[sizeof list - 1] = '\0';
	atomic_thread_fence(memory_order_acquire);
	if (number == 0 || atomic_load(&page->drafts_number) != number)
		return false;
	/* what cannot be read was refused where it was set */
	return configured_drafts_parse(list, drafts).code == STATUS_OK;
}

/* The slot of a name that takes requests, or NULL. */
static Slot *
find_served(Slots *slots, const char *name)
{
	for (uint32_t i = 0; name && i < slots->n; i++)
		if (slots->slots[i].model && !slots->slots[i].draining && strcmp(slots->slots[i].model->name, name) == 0)
			return &slots->slots[i];
	return NULL;
}

/* Is a token of one vocabulary the same in another one? Those that are not used are named as files please. */
static bool
is_same_token(const Tokenizer *a, const Tokenizer *b, int32_t token)
{
	ByteSpan in_a = tokenizer_token_bytes(a, token), in_b = tokenizer_token_bytes(b, token);

	if (tokenizer_token_type(a, token) == TOKEN_UNUSED || tokenizer_token_type(b, token) == TOKEN_UNUSED)
		return true;
	return in_a.length == in_b.length && memcmp(in_a.data, in_b.data, in_a.length) == 0;
}

/* How many ordinary tokens of a vocabulary stand behind the first n. */
static uint32_t
count_behind(const Tokenizer *tokenizer, uint32_t n)
{
	uint32_t n_behind = 0;

	for (uint32_t token = n; token < tokenizer_n_tokens(tokenizer); token++)
		n_behind += tokenizer_token_type(tokenizer, (int32_t) token) == TOKEN_NORMAL;
	return n_behind;
}

Status
draft_models_check(const Model *model, const Model *draft)
{
	uint32_t n_model = tokenizer_n_tokens(model->tokenizer), n_draft = tokenizer_n_tokens(draft->tokenizer);
	uint32_t n = n_model < n_draft ? n_model : n_draft, n_others = 0, first = 0;

	for (uint32_t token = n; token-- > 0;)
		if (!is_same_token(model->tokenizer, draft->tokenizer, (int32_t) token))
		{
			n_others++;
			first = token;
		}
	if (n_others > 0)
		return status_error(STATUS_INVALID_ARGUMENT,
							"\"%s\" has another vocabulary than \"%s\": %u of %u tokens differ, token %u is the first",
							draft->name, model->name, n_others, n, first);
	if (count_behind(model->tokenizer, n) > 0 || count_behind(draft->tokenizer, n) > 0)
		return status_error(STATUS_INVALID_ARGUMENT,
							"\"%s\" has another vocabulary than \"%s\": %u tokens, and that one has %u", draft->name,
							model->name, n_draft, n_model);
	return status_ok();
}

void
draft_models_forget(Slot *slot)
{
	slot->draft = NULL;
	slot->draft_generation = 0;
	free(slot->draft_logits);
	slot->draft_logits = NULL;
	atomic_store(&slot->status->draft_state, DRAFT_NONE);
}

/* Tell of a slot's draft, and say in the log what is refused. */
static void
tell(const Slot *slot, DraftState state, const Status *status)
{
	snprintf(slot->status->draft_note, sizeof slot->status->draft_note, "%s", status ? status->message : "");
	atomic_store(&slot->status->draft_state, state);
	if (status)
		fprintf(stderr, "qwen_engine: WARNING: no draft for model \"%s\": %s\n", slot->model->name, status->message);
}

/* Another model is to guess for a slot's. */
static void
begin(Slot *slot, Slot *draft)
{
	uint32_t vocab = slot->model->hyper.vocab;
	Status status = draft_models_check(slot->model, draft->model);

	draft_models_forget(slot);
	slot->draft_generation = draft->model->generation;
	if (status.code == STATUS_OK && draft->model->hyper.vocab < vocab)
	{
		slot->draft_logits = malloc((size_t) DRAFT_ROWS * vocab * sizeof *slot->draft_logits);
		if (!slot->draft_logits)
			status = status_error(STATUS_UNAVAILABLE, "out of memory for what \"%s\" says", draft->model->name);
	}
	if (status.code == STATUS_OK)
		slot->draft = draft;
	tell(slot, slot->draft ? DRAFT_GUESSES : DRAFT_REFUSED, slot->draft ? NULL : &status);
}

static void
link_slot(Slots *slots, Slot *slot, const char *name)
{
	Slot *draft = find_served(slots, name);

	if (!draft)
	{
		draft_models_forget(slot);
		if (name)
			tell(slot, DRAFT_WAITING, NULL);
		return;
	}
	if (slot->draft_generation != draft->model->generation || (slot->draft && slot->draft != draft))
		begin(slot, draft);
}

void
draft_models_link(Slots *slots)
{
	ConfiguredDrafts drafts;

	if (!read_list(slots->page, &drafts))
		drafts.n = 0;
	for (uint32_t i = 0; i < slots->n; i++)
		if (slots->slots[i].model)
			link_slot(slots, &slots->slots[i], configured_draft_of(&drafts, slots->slots[i].model->name));
}
