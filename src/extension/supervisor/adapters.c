/*
 * adapters.c - what is seen of adapters, and loading and unloading by hand.
 */
#include "../core/core.h"

#include "../client/client.h"
#include "../core/arguments.h"
#include "../core/errors.h"
#include "../core/privileges.h"
#include "../core/results.h"
#include "../core/settings.h"
#include "../core/texts.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "slot_access.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#define N_ADAPTER_COLUMNS 14

/* A slot as a row of qwen_adapters. */
static void
adapter_row(const SharedSlot *slot, SlotStatus *status, Datum *values, bool *nulls)
{
	bool described = slot->state == SLOT_OPENING || slot->state == SLOT_SERVING;

	memset(nulls, 0, N_ADAPTER_COLUMNS);
	for (int i = 3; i < 11; i++)
		nulls[i] = !described;
	values[0] = CStringGetTextDatum(slot->name);
	values[1] = CStringGetTextDatum(slot->model);
	values[2] = CStringGetTextDatum(server_string(slot_file_name(slot->file)));
	if (described)
	{
		values[3] = Int32GetDatum(status->adapter_rank);
		values[4] = Int32GetDatum(status->adapter_matrices);
		values[5] = Int64GetDatum(status->n_parameters);
		values[6] = page_text(status->quantization, sizeof status->quantization);
		values[7] = Int64GetDatum(status->file_bytes);
		values[8] = Int64GetDatum(status->image_bytes);
		values[9] = Float8GetDatum(atomic_load(&status->load_us) / 1000.0);
		values[10] = Int32GetDatum(atomic_load(&status->n_requests));
	}
	values[11] = CStringGetTextDatum(slot_state_names[slot->state]);
	nulls[12] = slot->state != SLOT_FAILED;
	values[12] = nulls[12] ? (Datum) 0 : page_text(slot->error, sizeof slot->error - 1);
	values[13] = slot_notices(status);
	nulls[13] = !described || values[13] == (Datum) 0;
}

QWEN_FUNCTION(qwen_adapters_status, 0, 0)
{
	ReturnSetInfo *info = (ReturnSetInfo *) fcinfo->resultinfo;
	SharedSlot *slots;

	require_preloaded();
	init_materialized_set(fcinfo);
	slots = palloc(sizeof qwen_shared->slots);
	LWLockAcquire(qwen_shared->lock, LW_SHARED);
	memcpy(slots, qwen_shared->slots, sizeof qwen_shared->slots);
	LWLockRelease(qwen_shared->lock);
	for (int i = STATUS_PAGE_MAX_SLOTS; i < STATUS_PAGE_ALL_SLOTS; i++)
	{
		Datum values[N_ADAPTER_COLUMNS];
		bool nulls[N_ADAPTER_COLUMNS];

		if (slots[i].state == SLOT_EMPTY)
			continue;
		adapter_row(&slots[i], &qwen_page->slots[i], values, nulls);
		tuplestore_putvalues(info->setResult, info->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* An adapter's name as an argument. */
static char *
name_argument(FunctionCallInfo fcinfo)
{
	char *name;
	Status status;

	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("name must not be null")));
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	status = adapter_name_check(name, strlen(name));
	if (status.code != STATUS_OK)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("\"%s\" cannot be an adapter's name", name),
						errdetail("%s", status.message)));
	return name;
}

/* The model of an argument, or the one that a call would be for which names none. */
static char *
model_argument(FunctionCallInfo fcinfo, int argument)
{
	Request request = {0};

	if (PG_NARGS() > argument && !PG_ARGISNULL(argument))
		return text_to_cstring(PG_GETARG_TEXT_PP(argument));
	if (qwen_default_model && *qwen_default_model)
		return pstrdup(qwen_default_model);
	engine_settle_model(&request);
	if (request.model.length == 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("no model is loaded"),
						errhint("An adapter is loaded for a model: load that first.")));
	return pnstrdup(request.model.data, request.model.length);
}

/* The slot of an adapter that is in use, or -1. The lock is held. */
static int
find_slot(const char *name, const char *model)
{
	for (int i = STATUS_PAGE_MAX_SLOTS; i < STATUS_PAGE_ALL_SLOTS; i++)
	{
		const SharedSlot *slot = &qwen_shared->slots[i];

		if (slot->state != SLOT_EMPTY && slot->state != SLOT_UNLOADING && strcmp(slot->name, name) == 0 &&
			strcmp(slot->model, model) == 0)
			return i;
	}
	return -1;
}

/* A slot that may be had: an empty one, else one with a failure that nobody tries again; or -1. The lock is held. */
static int
free_slot(void)
{
	for (int pass = 0; pass < 2; pass++)
		for (int i = STATUS_PAGE_MAX_SLOTS; i < STATUS_PAGE_MAX_SLOTS + qwen_max_adapters; i++)
		{
			const SharedSlot *slot = &qwen_shared->slots[i];

			if (pass == 0 ? slot->state == SLOT_EMPTY : slot->state == SLOT_FAILED && slot->retry_ms == 0)
				return i;
		}
	return -1;
}

/* Is a model loaded, or on its way? The lock is held. */
static bool
model_is_there(const char *model)
{
	for (int i = 0; i < qwen_max_models; i++)
	{
		const SharedSlot *slot = &qwen_shared->slots[i];

		if (slot->state != SLOT_EMPTY && slot->state != SLOT_UNLOADING && slot->state != SLOT_FAILED &&
			strcmp(slot->name, model) == 0)
			return true;
	}
	return false;
}

/* Put the work into a slot; its number. */
static int
claim_slot(const char *name, const char *file, const char *model)
{
	SharedSlot claimed = {.state = SLOT_WAITING};
	bool there, taken;
	int slot;

	strlcpy(claimed.name, name, sizeof claimed.name);
	strlcpy(claimed.file, file, sizeof claimed.file);
	strlcpy(claimed.model, model, sizeof claimed.model);
	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	there = model_is_there(model);
	slot = find_slot(name, model);
	taken = slot >= 0 && qwen_shared->slots[slot].state != SLOT_FAILED;
	if (slot < 0)
		slot = free_slot();
	if (there && !taken && slot >= 0)
		qwen_shared->slots[slot] = claimed;
	LWLockRelease(qwen_shared->lock);
	if (!there)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("model \"%s\" is not loaded", model),
						errhint("An adapter is loaded for a model: qwen_models lists those that there are.")));
	if (taken)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("adapter \"%s\" of model \"%s\" is loaded already", name, model),
						errhint("Unload it first: SELECT qwen_unload_adapter('%s', '%s').", name, model)));
	if (slot < 0)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("%d adapters are loaded already, as many as qwen.max_adapters allows", qwen_max_adapters),
				 errhint("Raise qwen.max_adapters and restart the server, or unload an adapter.")));
	return slot;
}

/* qwen_load_adapter(name, file, model): returns when it is served. */
QWEN_FUNCTION(qwen_load_adapter, 2, 3)
{
	char *name, *file, *model;
	SharedSlot now;
	int slot;

	require_administrator(fcinfo);
	require_preloaded();
	name = name_argument(fcinfo);
	if (PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("file must not be null")));
	file = file_name_from_text(PG_GETARG_TEXT_PP(1));
	if (*file == '\0' || strlen(file) >= CONFIGURED_MAX_FILE_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("file must have between 1 and %d bytes, not %zu",
																  CONFIGURED_MAX_FILE_BYTES - 1, strlen(file))));
	wait_for_supervisor();
	model = model_argument(fcinfo, 2);
	slot = claim_slot(name, file, model);
	wake_supervisor();
	for (;;)
	{
		now = slot_read(slot);
		if (strcmp(now.name, name) != 0 || strcmp(now.model, model) != 0 || now.state == SLOT_SERVING ||
			now.state == SLOT_FAILED || now.state == SLOT_UNLOADING)
			break;
		/* loaded, but nobody to serve it for now: it stays, and is served when the engine comes */
		if (now.state == SLOT_OPENING || now.state == SLOT_WAITING)
			check_engine_state();
		wait_a_moment();
	}
	if (strcmp(now.name, name) == 0 && strcmp(now.model, model) == 0 && now.state == SLOT_SERVING)
		PG_RETURN_VOID();
	if (now.state == SLOT_FAILED)
	{
		char *why = server_string(now.error);

		slot_clear_failed(slot);
		raise_file_failure(sqlstate_of(now.error_code),
						   psprintf("adapter \"%s\" of model \"%s\" could not be loaded", name, model), file, why,
						   NULL);
	}
	ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR),
					errmsg("adapter \"%s\" of model \"%s\" was unloaded while it was being loaded", name, model)));
}

/* qwen_unload_adapter(name, model): returns when its requests have ended and its memory is given back. */
QWEN_FUNCTION(qwen_unload_adapter, 1, 2)
{
	char *name, *model;
	bool busy = false;
	uint64 generation = 0;
	int slot;

	require_administrator(fcinfo);
	require_preloaded();
	name = name_argument(fcinfo);
	wait_for_supervisor();
	model = model_argument(fcinfo, 1);
	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	slot = find_slot(name, model);
	if (slot >= 0)
	{
		busy = qwen_shared->slots[slot].state == SLOT_LOADING;
		generation = qwen_shared->slots[slot].generation;
		if (!busy)
		{
			qwen_shared->slots[slot].state = SLOT_UNLOADING;
			qwen_shared->slots[slot].again = false;
		}
	}
	LWLockRelease(qwen_shared->lock);
	if (slot < 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("adapter \"%s\" of model \"%s\" is not loaded", name, model),
				 errhint("qwen_adapters lists those that there are.")));
	if (busy)
		ereport(ERROR,
				(errcode(ERRCODE_SYSTEM_ERROR), errmsg("adapter \"%s\" of model \"%s\" is being loaded", name, model),
				 errhint("Try again when it is loaded.")));
	wake_supervisor();
	for (;;)
	{
		SharedSlot now = slot_read(slot);

		if (now.state != SLOT_UNLOADING || now.generation != generation)
			break;
		wait_a_moment();
	}
	PG_RETURN_VOID();
}
