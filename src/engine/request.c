/*
 * request.c - see request.h.
 */
#include "request.h"

#include <stdlib.h>

#include "adapter_slots.h"
#include "kept_memory.h"

EngineRequest *
request_new(const EngineKind *kind, const Workplace *place, const Request *message, uint32_t id)
{
	EngineRequest *request = calloc(1, sizeof *request);

	if (!request)
		return NULL;
	request->id = id;
	request->kind = kind;
	request->state = STATE_ACCEPTED;
	request->model = place->model;
	request->adapter = place->adapter;
	request->adapter_scale = message->options.given & OPTION_ADAPTER_SCALE ? (float) message->options.adapter_scale : 1;
	request->role = message->role;
	request->priority = message->priority;
	return request;
}

bool
request_add_sequences(EngineRequest *request, uint32_t n)
{
	request->sequences = calloc(n, sizeof *request->sequences);
	if (!request->sequences)
		return false;
	request->n_sequences = n;
	for (uint32_t i = 0; i < n; i++)
	{
		request->sequences[i].request = request;
		if (!request->adapter)
			continue;
		request->sequences[i].adapter = request->adapter->adapter;
		request->sequences[i].scope.adapter = request->adapter->number;
		request->sequences[i].scope.scale = request->adapter_scale;
	}
	return true;
}

Status
request_keep_work(EngineRequest *request)
{
	size_t bytes = request->kind->kept_bytes ? request->kind->kept_bytes(request) : 0;

	STATUS_TRY(kept_memory_take(request->role, bytes));
	request->kept = bytes;
	return status_ok();
}

void
request_use_slot(EngineRequest *request, struct Slot *slot)
{
	request->slot = slot;
	for (uint32_t i = 0; i < request->n_sequences; i++)
		request->sequences[i].slot = slot;
}

Accepted
request_accepted(const EngineRequest *request)
{
	return (Accepted){request->n_prompt, request->kind->samples ? request->sequences[0].n_behind : 0};
}

bool
request_is_ready(const EngineRequest *request)
{
	return request->n_sequences == 0;
}

/* The last frame. */
static Status
finish(EngineRequest *request, ByteWriter *out)
{
	request->state = STATE_ENDED;
	return request->kind->finish(request, out);
}

Status
request_give_ready(EngineRequest *request, ByteWriter *out)
{
	request->n_counted = request->n_prompt;
	return finish(request, out);
}

uint32_t
request_n_generated(const EngineRequest *request)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < request->n_sequences; i++)
		n += request->sequences[i].n_generated;
	return n;
}

void
request_write_meter(const EngineRequest *request)
{
	if (!request->meter)
		return;
	atomic_store(&request->meter->prompt_tokens, request->n_counted);
	atomic_store(&request->meter->completion_tokens, request_n_generated(request));
}

void
request_destroy(EngineRequest *request)
{
	if (!request)
		return;
	if (request->meter)
	{
		request_write_meter(request);
		atomic_store(&request->meter->state, METER_ENDED);
	}
	if (request->work)
		request->kind->destroy(request);
	kept_memory_give(request->role, request->kept);
	for (uint32_t i = 0; i < request->n_sequences; i++)
		sequence_free(&request->sequences[i]);
	free(request->sequences);
	free(request);
}

uint32_t
request_rows_left(const EngineRequest *request)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < request->n_sequences; i++)
		n += sequence_rows_left(&request->sequences[i]);
	return n;
}

void
request_use_cached(EngineRequest *request)
{
	for (uint32_t i = 0; i < request->n_sequences; i++)
		sequence_use_cached(&request->sequences[i]);
}

void
request_give_blocks(EngineRequest *request, bool keeps_leaves)
{
	for (uint32_t i = 0; i < request->n_sequences; i++)
	{
		request->sequences[i].keeps_leaf = keeps_leaves;
		sequence_give_blocks(&request->sequences[i]);
		if (request->kind->restart)
			request->kind->restart(request, &request->sequences[i]);
	}
}

uint64_t
request_bytes_wanted(const EngineRequest *request)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < request->n_sequences; i++)
		bytes += sequence_bytes_wanted(&request->sequences[i]);
	return bytes;
}

uint64_t
request_bytes(const EngineRequest *request)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < request->n_sequences; i++)
		bytes += sequence_bytes(&request->sequences[i]);
	return bytes;
}

uint64_t
request_bytes_freed(const EngineRequest *request)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < request->n_sequences; i++)
		bytes += sequence_bytes_freed(&request->sequences[i]);
	return bytes;
}

bool
request_has_blocks(const EngineRequest *request)
{
	for (uint32_t i = 0; i < request->n_sequences; i++)
		if (request->sequences[i].n_blocks > 0 || request->sequences[i].has_state)
			return true;
	return false;
}

uint32_t
request_rows_wanted(const Sequence *sequence, uint32_t n)
{
	const EngineRequest *request = sequence->request;

	return request->kind->rows_wanted ? request->kind->rows_wanted(request, sequence, n) : 0;
}

void
request_begin_step(Sequence *sequence, uint32_t n_rows)
{
	if (sequence->request->kind->begin_step)
		sequence->request->kind->begin_step(sequence->request, sequence, n_rows);
}

uint32_t
request_guess(Sequence *sequence, uint32_t n, bool in_text)
{
	EngineRequest *request = sequence->request;
	int32_t known[DRAFT_MAX];
	uint32_t n_known = 0;

	n = n < DRAFT_MAX ? n : DRAFT_MAX;
	if (n > 0 && request->kind->guess)
		n_known = request->kind->guess(request, sequence, n, known);
	sequence->guessed_by = n_known > 0 ? GUESSED_BY_FORM : GUESSED_BY_TEXT;
	if (n_known == 0 && !in_text)
		return 0;
	n = sequence_guess(sequence, n, known, n_known);
	return request_check_guesses(sequence, n);
}

uint32_t
request_check_guesses(Sequence *sequence, uint32_t n)
{
	EngineRequest *request = sequence->request;

	return n > 0 && request->kind->check_guesses ? request->kind->check_guesses(request, sequence, n) : n;
}

void
request_begin_guess(Sequence *sequence, uint32_t i)
{
	if (sequence->request->kind->begin_guess)
		sequence->request->kind->begin_guess(sequence->request, sequence, i);
}

int32_t
request_guess_token(const Sequence *sequence, float *logits, uint32_t i)
{
	return sequence->request->kind->guess_token(sequence->request, sequence, logits, i);
}

bool
request_look(const Sequence *sequence, float *logits, uint32_t row)
{
	EngineRequest *request = sequence->request;

	return request->kind->look && request->kind->look(request, sequence, logits, row);
}

Status
request_take_row(Sequence *sequence, const StepRow *row, ByteWriter *out)
{
	EngineRequest *request = sequence->request;

	STATUS_TRY(request->kind->take_row(request, sequence, row, out));
	return request->is_complete ? finish(request, out) : status_ok();
}
