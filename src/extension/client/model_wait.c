/*
 * model_wait.c - which model and adapter a request is for, and waiting until they, the supervisor and the engine can be
 * asked.
 */
#include "model_wait.h"

#include "../../base/clock.h"
#include "../core/compat.h"
#include "../core/pause.h"
#include "../core/settings.h"
#include "../core/shared_memory.h"
#include "../core/texts.h"
#include "../limits/limits.h"
#include "libpq/libpq-be.h"
#include "libpq/libpq.h"
#include "miscadmin.h"
#include "tcop/dest.h"
#include "tcop/tcopprot.h"
#include "utils/timestamp.h"

#define POLL_MS 20              /* how often it looks whether a model has been loaded, or the supervisor has come */
#define SUPERVISOR_WAIT_MS 5000 /* the postmaster starts it again after 1 s */
#define LISTS_WAIT_MS 30000     /* a supervisor that gives memory back looks at a reload later: 0.2 s a GB */

void
raise_unavailable(const char *message)
{
	char last_error[sizeof qwen_shared->last_error], *why;
	EngineState state;
	TimestampTz next_try;

	LWLockAcquire(qwen_shared->lock, LW_SHARED);
	state = qwen_shared->engine_state;
	next_try = qwen_shared->next_try;
	memcpy(last_error, qwen_shared->last_error, sizeof last_error);
	LWLockRelease(qwen_shared->lock);
	why = server_string(last_error);
	ereport(ERROR,
			(errcode(ERRCODE_SYSTEM_ERROR), errmsg("%s", message), why[0] ? errdetail("Last event: %s.", why) : 0,
			 state == ENGINE_BACKING_OFF
				 ? errhint("Try again after %s, when it is started again; the server log says more.",
						   timestamptz_to_str(next_try))
				 : errhint("Try again: the engine is started again by itself.")));
}

/* An engine that does not start would keep us waiting in the socket's backlog: say so at once instead. */
void
check_engine_state(void)
{
	bool give_up;

	LWLockAcquire(qwen_shared->lock, LW_SHARED);
	give_up = qwen_shared->engine_state == ENGINE_BACKING_OFF && qwen_shared->give_up;
	LWLockRelease(qwen_shared->lock);
	if (give_up)
		raise_unavailable("the qwen engine is not running");
}

void
check_client(void)
{
#if HAVE_CHECK_CONNECTION
	if (MyProcPort && whereToSendOutput == DestRemote && !pq_check_connection())
	{
		ClientConnectionLost = true;
		InterruptPending = true;
	}
#endif
	CHECK_FOR_INTERRUPTS();
}

void
wait_a_moment(void)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, POLL_MS, qwen_wait_event());
	ResetLatch(MyLatch);
	check_client();
}

void
wait_for_supervisor(void)
{
	uint64 deadline_us = clock_now_us() + (uint64) SUPERVISOR_WAIT_MS * 1000;

	for (;;)
	{
		bool present;

		LWLockAcquire(qwen_shared->lock, LW_SHARED);
		present = qwen_shared->supervisor_latch != NULL;
		LWLockRelease(qwen_shared->lock);
		if (present)
			return;
		if (clock_now_us() > deadline_us)
			raise_unavailable("the supervisor of the qwen engine is not running");
		wait_a_moment();
	}
}

/*
 * Does the supervisor still have to work on the lists that this session has read? It is told of a reload at the same
 * time. One that has read the files later knows better than a statement that goes on with older lists; and of files
 * that were changed once more and not reloaded, it may never hear: that is not waited for for long.
 */
static bool
lists_are_to_come(void)
{
	bool to_come;

	if (!still_pauses(PgReloadTime + LISTS_WAIT_MS * INT64CONST(1000), LISTS_WAIT_MS))
		return false;
	LWLockAcquire(qwen_shared->lock, LW_SHARED);
	to_come = qwen_shared->lists_read_at < PgReloadTime && qwen_shared->lists_hash != lists_hash();
	LWLockRelease(qwen_shared->lock);
	return to_come;
}

/* Is a slot's model, or will it be, of use? */
static bool
slot_counts(const SharedSlot *slot)
{
	return slot->state != SLOT_EMPTY && slot->state != SLOT_UNLOADING;
}

/*
 * The model of a call for which neither argument nor setting names one: the first of qwen.models, whether it is there
 * or not, so that no other one answers in its place; where that is empty the first that qwen_models lists. false: no
 * model is, or will be, of use.
 */
static bool
first_model(char name[PROTOCOL_MAX_NAME_BYTES + 1])
{
	ConfiguredModels configured;
	bool found = false, to_come = lists_are_to_come();

	LWLockAcquire(qwen_shared->lock, LW_SHARED);
	for (int i = 0; i < qwen_max_models && !found; i++)
		if (slot_counts(&qwen_shared->slots[i]))
		{
			strlcpy(name, qwen_shared->slots[i].name, PROTOCOL_MAX_NAME_BYTES + 1);
			found = true;
		}
	LWLockRelease(qwen_shared->lock);
	if ((found || to_come) && configured_models_parse(qwen_models, &configured).code == STATUS_OK && configured.n > 0)
	{
		strlcpy(name, configured.models[0].name, PROTOCOL_MAX_NAME_BYTES + 1);
		found = true;
	}
	return found;
}

/* The most promising slot of a model's name, or of an adapter's of a model (else NULL), copied into *found; SLOT_EMPTY
 * when there is none. */
static SlotState
slot_state(const char *model, const char *adapter, SharedSlot *found)
{
	found->state = SLOT_EMPTY;
	LWLockAcquire(qwen_shared->lock, LW_SHARED);
	for (int i = adapter ? STATUS_PAGE_MAX_SLOTS : 0; i < (adapter ? STATUS_PAGE_ALL_SLOTS : STATUS_PAGE_MAX_SLOTS);
		 i++)
	{
		const SharedSlot *slot = &qwen_shared->slots[i];

		if (!slot_counts(slot) || strcmp(slot->name, adapter ? adapter : model) != 0 ||
			strcmp(slot->model, adapter ? model : "") != 0 || found->state == SLOT_SERVING)
			continue;
		if (slot->state != SLOT_FAILED || found->state == SLOT_EMPTY)
			*found = *slot;
	}
	LWLockRelease(qwen_shared->lock);
	return found->state;
}

/* Is a model in qwen.models? */
static bool
is_configured(const char *name)
{
	ConfiguredModels configured;

	if (configured_models_parse(qwen_models, &configured).code != STATUS_OK)
		return false;
	for (int i = 0; i < configured.n; i++)
		if (strcmp(configured.models[i].name, name) == 0)
			return true;
	return false;
}

bool
engine_knows_model(const char *name)
{
	SharedSlot slot;

	return slot_state(name, NULL, &slot) != SLOT_EMPTY || is_configured(name);
}

bool
engine_awaits_model(const char *name)
{
	bool awaits = lists_are_to_come();

	LWLockAcquire(qwen_shared->lock, LW_SHARED);
	/* until the supervisor has read qwen.models nobody knows */
	awaits |= qwen_shared->supervisor_latch == NULL;
	for (int i = 0; i < qwen_max_models && !awaits; i++)
	{
		const SharedSlot *slot = &qwen_shared->slots[i];

		awaits = slot->state != SLOT_EMPTY && (slot->state != SLOT_FAILED || slot->retry_ms > 0) &&
				 (!name || strcmp(slot->name, name) == 0);
	}
	LWLockRelease(qwen_shared->lock);
	return awaits;
}

bool
engine_serves(const Request *request)
{
	SharedSlot slot;
	const char *model = server_text(request->model);

	if (slot_state(model, NULL, &slot) != SLOT_SERVING)
		return false;
	return !request->adapter.data || slot_state(model, server_text(request->adapter), &slot) == SLOT_SERVING;
}

/* Is an adapter in qwen.adapters? */
static bool
adapter_is_configured(const char *model, const char *adapter)
{
	ConfiguredAdapters configured;

	if (configured_adapters_parse(qwen_adapters, &configured).code != STATUS_OK)
		return false;
	for (int i = 0; i < configured.n; i++)
		if (strcmp(configured.adapters[i].name, adapter) == 0 && strcmp(configured.adapters[i].model, model) == 0)
			return true;
	return false;
}

/* How a model is called with the adapter of a request, if it has one: "chat", "chat+legal". */
static void
set_full_name(const Request *request, const char *name, char full[ADAPTED_NAME_BYTES])
{
	if (request->adapter.data)
		snprintf(full, ADAPTED_NAME_BYTES, "%s+%.*s", name, (int) request->adapter.length, request->adapter.data);
	else
		strlcpy(full, name, ADAPTED_NAME_BYTES);
}

void
engine_settle_model(Request *request)
{
	SharedSlot slot;
	char name[PROTOCOL_MAX_NAME_BYTES + 1], full[ADAPTED_NAME_BYTES];

	if (request->model.length == 0 && first_model(name))
		request->model = (ByteSpan){pstrdup(name), strlen(name)};
	if (request->model.length == 0)
		return;
	strlcpy(name, server_text(request->model), sizeof name);
	set_full_name(request, name, full);
	limits_check_model(full);
	if (!engine_knows_model(name))
		raise_not_loaded(pnstrdup(request->model.data, request->model.length));
	if (!request->adapter.data)
		return;
	strlcpy(full, server_text(request->adapter), sizeof full);
	if (slot_state(name, full, &slot) == SLOT_EMPTY && !adapter_is_configured(name, full))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("adapter \"%s\" of model \"%s\" is not loaded", full, name),
				 errhint("qwen_adapters lists the adapters that there are.")));
}

/*
 * A model of qwen.models that has no slot: the supervisor may be about to give it one, or one that is being emptied be
 * for it (true: look again), and when all are taken by others, that is what the user has to know. Any other name is the
 * engine's to refuse.
 */
static bool
may_get_slot(const char *name)
{
	int n_coming = 0, n_empty = 0, n_failed = 0;

	if (!is_configured(name))
		return false;
	if (lists_are_to_come())
		return true;
	LWLockAcquire(qwen_shared->lock, LW_SHARED);
	for (int i = 0; i < qwen_max_models; i++)
	{
		const SharedSlot *slot = &qwen_shared->slots[i];

		/* it may have got one since we looked */
		n_coming += slot->state == SLOT_UNLOADING || (slot_counts(slot) && strcmp(slot->name, name) == 0);
		n_empty += slot->state == SLOT_EMPTY;
		n_failed += slot->state == SLOT_FAILED;
	}
	LWLockRelease(qwen_shared->lock);
	if (n_coming == 0 && n_empty == 0)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("model \"%s\" is not loaded: %d other models take all places", name, qwen_max_models),
						n_failed > 0 ? errdetail_plural("%d of them could not be loaded: qwen_models says why.",
														"%d of them could not be loaded: qwen_models says why.",
														n_failed, n_failed)
									 : 0,
						n_failed > 0 ? errhint("Correct it in qwen.models, or take it out, and reload the "
											   "configuration; or raise qwen.max_models and restart the server.")
									 : errhint("Raise qwen.max_models and restart the server, or unload a model.")));
	return n_coming > 0;
}

/* What is wrong with a file or its name stays so until somebody does something about it: as good as not loaded, and for
 * a job's worker the error of the rows that ask for it, beside which others go on. Memory and disks come back. */
static int
code_of_failure(const SharedSlot *slot)
{
	switch (slot->error_code)
	{
		case STATUS_INVALID_ARGUMENT:
		case STATUS_NOT_FOUND:
		case STATUS_UNSUPPORTED:
		case STATUS_NOT_ALLOWED:
			return ERRCODE_UNDEFINED_OBJECT;
		default:
			return ERRCODE_SYSTEM_ERROR;
	}
}

/* Is a slot's model or adapter on its way? */
static bool
slot_is_coming(SlotState state)
{
	return state == SLOT_WAITING || state == SLOT_LOADING || state == SLOT_OPENING;
}

/* Is a model on its way, or its slot? */
static bool
model_is_coming(const char *name, SharedSlot *slot)
{
	SlotState state = slot_state(name, NULL, slot);

	return slot_is_coming(state) || (state == SLOT_EMPTY && may_get_slot(name));
}

/* A call waits for a model that is still being loaded instead of failing. */
static void
wait_for_model(const char *name)
{
	SharedSlot slot;
	char *why;

	while (model_is_coming(name, &slot))
	{
		check_engine_state();
		wait_a_moment();
	}
	if (slot.state == SLOT_EMPTY)
		raise_not_loaded(name);
	if (slot.state != SLOT_FAILED)
		return;
	why = server_string(slot.error);
	raise_load_failure(code_of_failure(&slot), name, slot.file, why,
					   slot.retry_ms > 0
						   ? psprintf("Try again after %s, when it is loaded again.", timestamptz_to_str(slot.retry_at))
						   : "Correct qwen.models and reload the configuration, or use qwen_load_model.");
}

/* An adapter of qwen.adapters that has no slot: all are taken by others, unless one is being emptied or the supervisor
 * has yet to read of it (true: look again). Any other name is the engine's to refuse. */
static bool
adapter_may_get_slot(const char *model, const char *adapter)
{
	int n_coming = 0;

	if (!adapter_is_configured(model, adapter))
		return false;
	if (lists_are_to_come())
		return true;
	LWLockAcquire(qwen_shared->lock, LW_SHARED);
	for (int i = STATUS_PAGE_MAX_SLOTS; i < STATUS_PAGE_MAX_SLOTS + qwen_max_adapters; i++)
	{
		const SharedSlot *slot = &qwen_shared->slots[i];

		n_coming += slot->state == SLOT_UNLOADING ||
					(slot_counts(slot) && strcmp(slot->name, adapter) == 0 && strcmp(slot->model, model) == 0);
	}
	LWLockRelease(qwen_shared->lock);
	return n_coming > 0;
}

/* Is an adapter on its way, or its slot? */
static bool
adapter_is_coming(const char *model, const char *adapter, SharedSlot *slot)
{
	SlotState state = slot_state(model, adapter, slot);

	return slot_is_coming(state) || (state == SLOT_EMPTY && adapter_may_get_slot(model, adapter));
}

/* The model that a request is for; false: there is none. */
static bool
model_of(const Request *request, char name[PROTOCOL_MAX_NAME_BYTES + 1])
{
	if (request->model.length == 0)
		return first_model(name);
	strlcpy(name, server_text(request->model), PROTOCOL_MAX_NAME_BYTES + 1);
	return true;
}

bool
engine_would_wait(const Request *request)
{
	char name[PROTOCOL_MAX_NAME_BYTES + 1];
	SharedSlot slot;

	return model_of(request, name) &&
		   (model_is_coming(name, &slot) ||
			(request->adapter.data && adapter_is_coming(name, server_text(request->adapter), &slot)));
}

bool
engine_could_not_load(const Request *request)
{
	char name[PROTOCOL_MAX_NAME_BYTES + 1];
	SharedSlot slot;

	return model_of(request, name) &&
		   (slot_state(name, NULL, &slot) == SLOT_FAILED ||
			(request->adapter.data && slot_state(name, server_text(request->adapter), &slot) == SLOT_FAILED));
}

/* A call waits for an adapter that is still being loaded, as for a model. */
static void
wait_for_adapter(const char *model, const char *adapter)
{
	SharedSlot slot;
	char *why;

	while (adapter_is_coming(model, adapter, &slot))
	{
		check_engine_state();
		wait_for_model(model);
		wait_a_moment();
	}
	if (slot.state != SLOT_FAILED)
		return;
	why = server_string(slot.error);
	ereport(ERROR, (errcode(code_of_failure(&slot)),
					errmsg("adapter \"%s\" of model \"%s\" could not be loaded", adapter, model), errdetail("%s", why),
					slot.retry_ms > 0
						? errhint("Try again after %s, when it is loaded again.", timestamptz_to_str(slot.retry_at))
						: errhint("Correct qwen.adapters and reload the configuration, or use qwen_load_adapter.")));
}

void
choose_model(Request *request, char name[PROTOCOL_MAX_NAME_BYTES + 1], char full[ADAPTED_NAME_BYTES])
{
	char adapter[PROTOCOL_MAX_NAME_BYTES + 1];

	check_engine_state();
	wait_for_supervisor();
	full[0] = '\0';
	if (request->model.data)
		snprintf(name, PROTOCOL_MAX_NAME_BYTES + 1, "%.*s", (int) request->model.length, request->model.data);
	else if (!first_model(name))
		raise_not_loaded("");
	request->model = (ByteSpan){name, strlen(name)};
	set_full_name(request, name, full);
	limits_check_model(full);
	wait_for_model(name);
	if (!request->adapter.data)
		return;
	snprintf(adapter, sizeof adapter, "%.*s", (int) request->adapter.length, request->adapter.data);
	wait_for_adapter(name, adapter);
}

bool
model_can_be_asked(const Request *request)
{
	char name[PROTOCOL_MAX_NAME_BYTES + 1], adapter[PROTOCOL_MAX_NAME_BYTES + 1];
	SharedSlot slot;
	EngineState state;

	LWLockAcquire(qwen_shared->lock, LW_SHARED);
	state = qwen_shared->engine_state;
	LWLockRelease(qwen_shared->lock);
	if (state == ENGINE_BACKING_OFF || !request->model.data)
		return false;
	snprintf(name, sizeof name, "%.*s", (int) request->model.length, request->model.data);
	snprintf(adapter, sizeof adapter, "%.*s", (int) request->adapter.length,
			 request->adapter.data ? request->adapter.data : "");
	return slot_state(name, NULL, &slot) == SLOT_SERVING &&
		   (!request->adapter.data || slot_state(name, adapter, &slot) == SLOT_SERVING);
}
