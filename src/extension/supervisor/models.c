/*
 * models.c - what is seen of models, and loading and unloading by hand.
 *
 * Strings of the status page may change while they are read (the engine is another program): they are copied with a
 * bound first.
 */
#include "../core/core.h"
#include "../core/privileges.h"
#include "../core/results.h"

#include "../../base/clock.h"
#include "../client/client.h"
#include "../core/arguments.h"
#include "../core/errors.h"
#include "../core/settings.h"
#include "../core/shared_memory.h"
#include "../core/texts.h"
#include "access/htup_details.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "slot_access.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#define N_MODEL_COLUMNS 24
#define N_MODEL_COLUMNS_0_1 14 /* of the script of version 0.1 */

const char *const slot_state_names[] = {"empty", "waiting", "loading", "opening", "serving", "failed", "unloading"};
static const char *const load_methods[] = {NULL, "io_uring, O_DIRECT", "io_uring", "pread, O_DIRECT", "pread"};

/* A file without the folders in front of it: the view is for everybody. */
const char *
slot_file_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* What is odd in a model's file, as the loader and the engine found it; (Datum) 0: nothing. */
Datum
slot_notices(const SlotStatus *status)
{
	char loader[sizeof status->notices], engine[sizeof status->serve_notices];

	memcpy(loader, status->notices, sizeof loader);
	memcpy(engine, status->serve_notices, sizeof engine);
	loader[sizeof loader - 1] = engine[sizeof engine - 1] = '\0';
	if (!loader[0] && !engine[0])
		return (Datum) 0;
	return CStringGetTextDatum(server_string(psprintf("%s%s%s", loader, loader[0] && engine[0] ? "; " : "", engine)));
}

/* How a model is served: eight columns. */
static void
put_in_force(const SharedSlot *slot, const SlotStatus *status, Datum *values, bool *nulls)
{
	ModelInForce in_force = status->in_force;

	in_force.rope_scaling[sizeof in_force.rope_scaling - 1] = '\0';
	in_force.kv_cache_type[sizeof in_force.kv_cache_type - 1] = '\0';
	in_force.state_type[sizeof in_force.state_type - 1] = '\0';
	for (int i = 0; i < 8; i++)
		nulls[i] = slot->state != SLOT_SERVING;
	if (slot->state != SLOT_SERVING)
		return;
	values[0] = CStringGetTextDatum(server_string(in_force.kv_cache_type));
	values[1] =
		Int64GetDatum(in_force.kv_block_tokens > 0 ? (int64) (in_force.kv_block_bytes / in_force.kv_block_tokens) : 0);
	values[2] = CStringGetTextDatum(server_string(in_force.rope_scaling));
	values[3] = Float8GetDatum(in_force.rope_factor);
	values[4] = Int32GetDatum(in_force.rope_original_context);
	nulls[4] = in_force.rope_original_context == 0;
	values[5] = Int32GetDatum(in_force.n_threads);
	values[6] = Int64GetDatum((int64) in_force.state_bytes);
	values[7] = CStringGetTextDatum(server_string(in_force.state_type));
	nulls[6] = nulls[7] = in_force.state_bytes == 0;
}

/* A slot as a row of qwen_models. */
static void
model_row(const SharedSlot *slot, SlotStatus *status, Datum *values, bool *nulls)
{
	bool described = slot->state == SLOT_OPENING || slot->state == SLOT_SERVING;
	uint64 done = atomic_load(&status->load_bytes_done), total = atomic_load(&status->load_bytes_total);
	uint32 io = atomic_load(&status->load_io);

	memset(nulls, 0, N_MODEL_COLUMNS);
	for (int i = 2; i < 9; i++)
		nulls[i] = !described;
	values[0] = CStringGetTextDatum(slot->name);
	values[1] = CStringGetTextDatum(server_string(slot_file_name(slot->file)));
	if (described)
	{
		values[2] = page_text(status->architecture, sizeof status->architecture);
		values[3] = Int64GetDatum(status->n_parameters);
		values[4] = page_text(status->quantization, sizeof status->quantization);
		values[5] =
			Int32GetDatum(slot->state == SLOT_SERVING ? status->in_force.context_length : status->context_length);
		values[6] = Int32GetDatum(status->embedding_size);
		values[7] = Int64GetDatum(status->file_bytes);
		values[8] = Int64GetDatum(status->image_bytes);
	}
	values[9] = CStringGetTextDatum(slot_state_names[slot->state]);
	values[10] = Float8GetDatum(described                                  ? 1.0
								: slot->state == SLOT_LOADING && total > 0 ? (double) done / total
																		   : 0.0);
	nulls[11] = nulls[12] = !described || io == 0 || io >= lengthof(load_methods);
	values[11] = Float8GetDatum(atomic_load(&status->load_us) / 1000.0);
	values[12] = nulls[12] ? (Datum) 0 : CStringGetTextDatum(load_methods[io]);
	nulls[13] = slot->state != SLOT_FAILED;
	values[13] = nulls[13] ? (Datum) 0 : page_text(slot->error, sizeof slot->error - 1);
	values[14] = slot_notices(status);
	nulls[14] = !described || values[14] == (Datum) 0;
	nulls[15] = slot->state != SLOT_SERVING;
	values[15] = Int64GetDatum(atomic_load(&status->huge_bytes));
	put_in_force(slot, status, &values[16], &nulls[16]);
}

QWEN_FUNCTION(qwen_models_status, 0, 0)
{
	FuncCallContext *context;
	SharedSlot *slots;

	if (SRF_IS_FIRSTCALL())
	{
		MemoryContext old;
		TupleDesc descriptor;

		require_preloaded();
		context = SRF_FIRSTCALL_INIT();
		old = MemoryContextSwitchTo(context->multi_call_memory_ctx);
		if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE ||
			descriptor->natts < N_MODEL_COLUMNS_0_1 || descriptor->natts > N_MODEL_COLUMNS)
			elog(ERROR, "qwen_models_status has an unexpected shape");
		context->tuple_desc = BlessTupleDesc(descriptor);
		slots = palloc(sizeof qwen_shared->slots);
		LWLockAcquire(qwen_shared->lock, LW_SHARED);
		memcpy(slots, qwen_shared->slots, sizeof qwen_shared->slots);
		LWLockRelease(qwen_shared->lock);
		context->user_fctx = slots;
		context->max_calls = qwen_max_models;
		MemoryContextSwitchTo(old);
	}
	context = SRF_PERCALL_SETUP();
	slots = context->user_fctx;
	while (context->call_cntr < context->max_calls && slots[context->call_cntr].state == SLOT_EMPTY)
		context->call_cntr++;
	if (context->call_cntr < context->max_calls)
	{
		Datum values[N_MODEL_COLUMNS];
		bool nulls[N_MODEL_COLUMNS];

		model_row(&slots[context->call_cntr], &qwen_page->slots[context->call_cntr], values, nulls);
		SRF_RETURN_NEXT(context, HeapTupleGetDatum(heap_form_tuple(context->tuple_desc, values, nulls)));
	}
	SRF_RETURN_DONE(context);
}

/* A copy of a slot. */
SharedSlot
slot_read(int i)
{
	SharedSlot slot;

	LWLockAcquire(qwen_shared->lock, LW_SHARED);
	slot = qwen_shared->slots[i];
	LWLockRelease(qwen_shared->lock);
	return slot;
}

/* Since when a load has been reading data: how long the file's head took says nothing of them. */
static TimestampTz
reading_since(const SharedSlot *slot, const SlotStatus *status)
{
	uint64 since_us = atomic_load(&status->load_data_us), now_us = clock_now_us();

	if (atomic_load(&status->load_bytes_total) == 0 || since_us == 0 || since_us > now_us)
		return slot->loading_since;
	return GetCurrentTimestamp() - (int64) (now_us - since_us);
}

/* For qwen_progress: the loads under way. */
QWEN_FUNCTION(qwen_load_progress, 0, 0)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;

	require_preloaded();
	init_materialized_set(fcinfo);
	EACH_SLOT (i)
	{
		SharedSlot slot = slot_read(i);
		char name[ADAPTED_NAME_BYTES];
		Datum values[4];
		bool nulls[4] = {false};

		if (slot.state != SLOT_LOADING)
			continue;
		slot_full_name(&slot, name);
		values[0] = CStringGetTextDatum(name);
		values[1] = Int64GetDatum((int64) atomic_load(&qwen_page->slots[i].load_bytes_done));
		values[2] = Int64GetDatum((int64) atomic_load(&qwen_page->slots[i].load_bytes_total));
		values[3] = TimestampTzGetDatum(reading_since(&slot, &qwen_page->slots[i]));
		tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* Find a model's slot that is in use, or -1. The lock is held. */
static int
find_slot(const char *name)
{
	for (int i = 0; i < qwen_max_models; i++)
		if (qwen_shared->slots[i].state != SLOT_EMPTY && qwen_shared->slots[i].state != SLOT_UNLOADING &&
			strcmp(qwen_shared->slots[i].name, name) == 0)
			return i;
	return -1;
}

/* Put the work into a free slot (or one whose load of that name failed); its number. */
static int
claim_slot(const char *name, const char *file, const ModelSettings *settings)
{
	int slot = -1;
	bool taken = false;

	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	slot = find_slot(name);
	if (slot >= 0 && qwen_shared->slots[slot].state != SLOT_FAILED)
	{
		taken = true;
		slot = -1;
	}
	/* an empty one first: one that failed has something to say */
	for (int i = 0; i < qwen_max_models && slot < 0 && !taken; i++)
		if (qwen_shared->slots[i].state == SLOT_EMPTY)
			slot = i;
	for (int i = 0; i < qwen_max_models && slot < 0 && !taken; i++)
		if (qwen_shared->slots[i].state == SLOT_FAILED && qwen_shared->slots[i].retry_ms == 0)
			slot = i;
	if (slot >= 0)
	{
		SharedSlot *claimed = &qwen_shared->slots[slot];

		memset(claimed, 0, sizeof *claimed);
		claimed->state = SLOT_WAITING;
		strlcpy(claimed->name, name, sizeof claimed->name);
		strlcpy(claimed->file, file, sizeof claimed->file);
		claimed->settings = *settings;
	}
	LWLockRelease(qwen_shared->lock);
	if (taken)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("model \"%s\" is loaded already", name),
						errhint("Unload it first: SELECT qwen_unload_model('%s').", name)));
	if (slot < 0)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg_plural("%d model is loaded already, as many as qwen.max_models allows",
									  "%d models are loaded already, as many as qwen.max_models allows",
									  qwen_max_models, qwen_max_models),
						errhint("Raise qwen.max_models and restart the server, or unload a model.")));
	return slot;
}

/* A load by hand that failed leaves no trace but the error. */
void
slot_clear_failed(int i)
{
	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	if (qwen_shared->slots[i].state == SLOT_FAILED)
		memset(&qwen_shared->slots[i], 0, sizeof qwen_shared->slots[i]);
	LWLockRelease(qwen_shared->lock);
}

/* One key of qwen_load_model's options. */
static Status
read_setting(const JsonbValue *key, const JsonbValue *value, ModelSettings *settings)
{
	char *written;

	if (value->type == jbvString)
		written = pnstrdup(value->val.string.val, value->val.string.len);
	else if (value->type == jbvNumeric)
		written = DatumGetCString(DirectFunctionCall1(
			numeric_out, DirectFunctionCall1(numeric_trim_scale, NumericGetDatum(value->val.numeric))));
	else if (value->type == jbvNull)
		return status_ok();
	else
		return status_error(STATUS_INVALID_ARGUMENT, "%.*s must be a number or a text", key->val.string.len,
							key->val.string.val);
	return model_settings_set(settings, key->val.string.val, key->val.string.len, written, strlen(written));
}

/* The argument options: an object with the settings of qwen.models. */
static ModelSettings
read_settings(text *options)
{
	Jsonb *object = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text_to_cstring(options))));
	ModelSettings settings = {0};
	JsonbIterator *iterator;
	JsonbValue key, value;
	Status status = status_ok();

	if (!JB_ROOT_IS_OBJECT(object))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("options must be a JSON object"),
						errhint("options => '{\"context\": 8192}'")));
	iterator = JsonbIteratorInit(&object->root);
	(void) JsonbIteratorNext(&iterator, &key, true);
	while (status_is_ok(&status) && JsonbIteratorNext(&iterator, &key, true) == WJB_KEY)
	{
		(void) JsonbIteratorNext(&iterator, &value, true);
		status = read_setting(&key, &value, &settings);
	}
	if (status_is_ok(&status))
		status = model_settings_check(&settings);
	if (!status_is_ok(&status))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("options: %s", server_string(status.message))));
	return settings;
}

QWEN_FUNCTION(qwen_load_model, 2, 3)
{
	char *name, *file;
	ModelSettings settings = {0};
	Status status;
	SharedSlot now;
	int slot;

	require_administrator(fcinfo);
	require_preloaded();
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("name and file must not be null")));
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	file = file_name_from_text(PG_GETARG_TEXT_PP(1));
	status = model_name_check(name, strlen(name));
	if (status.code != STATUS_OK)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("\"%s\" cannot be a model's name", name),
						errdetail("%s", status.message)));
	if (*file == '\0' || strlen(file) >= CONFIGURED_MAX_FILE_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("file must have between 1 and %d bytes, not %zu",
																  CONFIGURED_MAX_FILE_BYTES - 1, strlen(file))));
	/* an older script's function has no options */
	if (PG_NARGS() > 2 && !PG_ARGISNULL(2))
		settings = read_settings(PG_GETARG_TEXT_PP(2));
	wait_for_supervisor();
	slot = claim_slot(name, file, &settings);
	wake_supervisor();
	for (;;)
	{
		now = slot_read(slot);
		if (strcmp(now.name, name) != 0 || now.state == SLOT_SERVING || now.state == SLOT_FAILED ||
			now.state == SLOT_UNLOADING)
			break;
		/* loaded, but nobody to serve it for now: it stays, and is served when the engine comes */
		if (now.state == SLOT_OPENING)
			check_engine_state();
		wait_a_moment();
	}
	if (strcmp(now.name, name) == 0 && now.state == SLOT_SERVING)
		PG_RETURN_VOID();
	if (strcmp(now.name, name) == 0 && now.state == SLOT_FAILED)
	{
		char *why = server_string(now.error);

		slot_clear_failed(slot);
		raise_load_failure(sqlstate_of(now.error_code), name, file, why, NULL);
	}
	ereport(ERROR,
			(errcode(ERRCODE_SYSTEM_ERROR), errmsg("model \"%s\" was unloaded while it was being loaded", name)));
}

QWEN_FUNCTION(qwen_unload_model, 1, 1)
{
	char *name;
	int slot;
	bool busy = false;
	uint64 generation = 0;

	require_administrator(fcinfo);
	require_preloaded();
	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("name must not be null")));
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	wait_for_supervisor();
	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	slot = find_slot(name);
	if (slot >= 0)
	{
		busy = qwen_shared->slots[slot].state == SLOT_LOADING;
		generation = qwen_shared->slots[slot].generation;
		if (!busy)
			qwen_shared->slots[slot].state = SLOT_UNLOADING;
	}
	LWLockRelease(qwen_shared->lock);
	if (slot < 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("model \"%s\" is not loaded", name),
						errhint("qwen_models lists those that there are.")));
	if (busy)
		ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("model \"%s\" is being loaded", name),
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
