/*
 * health.c - qwen_health(): is everything well, and if not, what to do.
 */
#include "../core/core.h"

#include <unistd.h>

#include "../../base/clock.h"
#include "../../base/memory.h"
#include "../../protocol/configured_drafts.h"
#include "../core/arguments.h"
#include "../core/settings.h"
#include "../core/shared_memory.h"
#include "../core/texts.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#define SILENT_MS 5000
#define YOUNG_MS 60000

typedef enum Health
{
	HEALTHY,
	DEGRADED,
	UNHEALTHY,
} Health;

static const char *const health_names[] = {"healthy", "degraded", "unhealthy"};

/* One check: its name, how it went, what there is to say and to do. */
static void
add_check(StringInfo checks, Health *worst, const char *name, Health health, const char *message, const char *action)
{
	appendStringInfo(checks, "%s{\"check\": \"%s\", \"status\": \"%s\", \"message\": ", checks->len ? ", " : "", name,
					 health_names[health]);
	/* what engine and loader have said is UTF-8 */
	escape_json(checks, server_string(message));
	if (action)
	{
		appendStringInfoString(checks, ", \"action\": ");
		escape_json(checks, action);
	}
	appendStringInfoChar(checks, '}');
	*worst = Max(*worst, health);
}

/* What to do about something that has failed, if the cause is that the engine's program cannot be run; else NULL. */
static const char *
program_advice(const char *error)
{
	if (!strstr(error, "could not be executed"))
		return NULL;
	return qwen_engine_path && *qwen_engine_path
			   ? "Correct qwen.engine_path and restart the server; its log says why the program cannot be run."
			   : "The program qwen_engine is not where it was installed, or may not be run: the server log says where "
				 "it should be and why. Install it again, or set qwen.engine_path and restart the server.";
}

/* What to do about a file that could not be loaded, which a setting names. */
static const char *
load_advice(const SharedSlot *failed, const char *setting)
{
	const char *advice = program_advice(failed->error);

	if (advice)
		return advice;
	if (qwen_model_directory[0] == '~')
		return "\"~\" is not expanded: write the whole path into qwen.model_directory, then reload the configuration.";
	/* relative to the data directory, where every process of the server is */
	if (access(qwen_model_directory, X_OK) != 0)
		return "Correct qwen.model_directory, or make the directory for the server's user to read, then reload the "
			   "configuration.";
	return psprintf("Correct %s or the file, then reload the configuration.", setting);
}

static void
check_engine(const QwenShared *shared, StringInfo checks, Health *worst)
{
	const char *advice = program_advice(shared->last_error);

	if (shared->engine_state == ENGINE_RUNNING && atomic_load(&qwen_page->ready))
		add_check(checks, worst, "engine", HEALTHY, psprintf("running, pid %d", (int) shared->engine_pid), NULL);
	else if (shared->engine_state == ENGINE_RUNNING)
		add_check(checks, worst, "engine", DEGRADED, "starting", "Wait a moment.");
	else
		add_check(checks, worst, "engine", UNHEALTHY,
				  psprintf("not running%s%s", shared->last_error[0] ? ": " : "", shared->last_error),
				  advice ? advice : "Look into the server log and qwen_stat_engine.");
}

/* Lists that could not be read: of qwen.models, of qwen.adapters and of qwen.draft_models. */
static void
check_lists(const QwenShared *shared, StringInfo checks, Health *worst)
{
	const char *why[] = {shared->refused.models, shared->refused.adapters, shared->refused.drafts};
	const char *settings[] = {"qwen.models", "qwen.adapters", "qwen.draft_models"};
	const char *held[] = {qwen_models, qwen_adapters, qwen_draft_models};
	StringInfoData message, action;

	initStringInfo(&message);
	initStringInfo(&action);
	for (int i = 0; i < 3; i++)
		if (why[i][0])
		{
			appendStringInfo(&message, "%sthe newest value of %s is refused, %s: %s", message.len > 0 ? "; " : "",
							 settings[i], *held[i] ? "the one before it holds" : "there is none before it", why[i]);
			appendStringInfo(&action, "%s%s", action.len > 0 ? " and " : "Correct ", settings[i]);
		}
	appendStringInfoString(&action, ", then reload the configuration.");
	if (message.len > 0)
		add_check(checks, worst, "settings", DEGRADED, message.data, action.data);
}

static void
check_models(const QwenShared *shared, StringInfo checks, Health *worst)
{
	int n_serving = 0, n_loading = 0, n_failed = 0;
	const SharedSlot *failed = NULL, *in_the_way = NULL;

	for (int i = 0; i < qwen_max_models; i++)
	{
		SlotState state = shared->slots[i].state;

		n_serving += state == SLOT_SERVING;
		n_loading += state == SLOT_WAITING || state == SLOT_LOADING || state == SLOT_OPENING;
		if (state != SLOT_EMPTY && shared->slots[i].in_the_way)
			in_the_way = &shared->slots[i];
		if (state == SLOT_FAILED)
		{
			n_failed++;
			failed = &shared->slots[i];
		}
	}
	if (failed)
		add_check(checks, worst, "models", n_serving > 0 ? DEGRADED : UNHEALTHY,
				  psprintf("%d of %d models could not be loaded; \"%s\": %s", n_failed,
						   n_failed + n_serving + n_loading, failed->name, failed->error),
				  load_advice(failed, "qwen.models"));
	else if (n_serving == 0 && n_loading == 0 && *qwen_models && shared->supervisor_latch)
		add_check(checks, worst, "models", UNHEALTHY, "no model is loaded: all of qwen.models have been unloaded",
				  "SELECT pg_reload_conf() loads them again.");
	else if (n_serving == 0 && n_loading == 0 && shared->refused.models[0])
		add_check(checks, worst, "models", UNHEALTHY, "no model is loaded: qwen.models is refused",
				  "Correct qwen.models, then reload the configuration.");
	else if (n_serving == 0 && n_loading == 0)
		add_check(checks, worst, "models", UNHEALTHY, "no model is loaded",
				  "Set qwen.models, or load one with qwen_load_model(name, file).");
	else if (in_the_way)
		add_check(checks, worst, "models", DEGRADED,
				  psprintf("\"%s\" was loaded by hand; the file that qwen.models has under this name waits",
						   in_the_way->name),
				  psprintf("SELECT qwen_unload_model('%s'), or give one of them another name.", in_the_way->name));
	else if (n_serving == 0)
		add_check(checks, worst, "models", DEGRADED, psprintf("%d being loaded", n_loading),
				  "See qwen_models for progress.");
	else
		add_check(checks, worst, "models", HEALTHY, psprintf("%d served, %d being loaded", n_serving, n_loading), NULL);
}

/* Does a slot from the first to before the end become free? Then what waits for one may get it. */
static bool
one_becomes_free(const QwenShared *shared, int first, int end)
{
	for (int i = first; i < end; i++)
		if (shared->slots[i].state == SLOT_UNLOADING)
			return true;
	return false;
}

/* What the settings list beyond the places that there are; said where there is any. */
static void
check_places(const QwenShared *shared, StringInfo checks, Health *worst)
{
	const WithoutSlot *models = &shared->models_without_slot, *adapters = &shared->adapters_without_slot;
	bool too_many_models = models->n > 0 && !one_becomes_free(shared, 0, STATUS_PAGE_MAX_SLOTS);
	bool too_many_adapters = adapters->n > 0 && !one_becomes_free(shared, STATUS_PAGE_MAX_SLOTS, STATUS_PAGE_ALL_SLOTS);
	StringInfoData message, action;

	if (!too_many_models && !too_many_adapters)
		return;
	initStringInfo(&message);
	initStringInfo(&action);
	if (too_many_models)
	{
		appendStringInfo(&message,
						 "no place is left for %d of qwen.models, the first of them \"%s\": qwen.max_models is %d",
						 models->n, models->first, qwen_max_models);
		appendStringInfoString(&action, "Raise qwen.max_models");
	}
	if (too_many_adapters)
	{
		appendStringInfo(
			&message, "%sno place is left for %d of qwen.adapters, the first of them \"%s\": qwen.max_adapters is %d",
			message.len > 0 ? "; " : "", adapters->n, adapters->first, qwen_max_adapters);
		appendStringInfo(&action, "%s qwen.max_adapters", action.len > 0 ? " and" : "Raise");
	}
	appendStringInfoString(&action, " and restart the server, or unload what is not needed.");
	add_check(checks, worst, "places", DEGRADED, message.data, action.data);
}

/* Whether a model of that name is there in any state. */
static bool
model_is_there(const QwenShared *shared, const char *name)
{
	for (int i = 0; i < qwen_max_models; i++)
		if (shared->slots[i].state != SLOT_EMPTY && strcmp(shared->slots[i].name, name) == 0)
			return true;
	return false;
}

/* Adapters that could not be loaded, or wait for a model that nobody loads, as one misspelt; said where there are any.
 */
static void
check_adapters(const QwenShared *shared, StringInfo checks, Health *worst)
{
	int n_serving = 0, n_waiting = 0, n_failed = 0;
	const SharedSlot *failed = NULL, *orphan = NULL, *in_the_way = NULL;

	for (int i = STATUS_PAGE_MAX_SLOTS; i < STATUS_PAGE_ALL_SLOTS; i++)
	{
		SlotState state = shared->slots[i].state;

		n_serving += state == SLOT_SERVING;
		n_waiting += state == SLOT_WAITING || state == SLOT_LOADING || state == SLOT_OPENING;
		if (state != SLOT_EMPTY && shared->slots[i].in_the_way)
			in_the_way = &shared->slots[i];
		if (state == SLOT_FAILED)
		{
			n_failed++;
			failed = &shared->slots[i];
		}
		else if (state == SLOT_WAITING && !model_is_there(shared, shared->slots[i].model))
			orphan = &shared->slots[i];
	}
	if (failed)
		add_check(checks, worst, "adapters", DEGRADED,
				  psprintf("%d of %d adapters could not be loaded; \"%s\" of model \"%s\": %s", n_failed,
						   n_failed + n_serving + n_waiting, failed->name, failed->model, failed->error),
				  load_advice(failed, "qwen.adapters"));
	else if (orphan)
		add_check(checks, worst, "adapters", DEGRADED,
				  psprintf("adapter \"%s\" waits for model \"%s\", which is not loaded", orphan->name, orphan->model),
				  "Load that model, or correct qwen.adapters and reload the configuration.");
	else if (in_the_way)
		add_check(checks, worst, "adapters", DEGRADED,
				  psprintf("\"%s\" of model \"%s\" was loaded by hand; the file that qwen.adapters has under this "
						   "name waits",
						   in_the_way->name, in_the_way->model),
				  psprintf("SELECT qwen_unload_adapter('%s', '%s'), or give one of them another name.",
						   in_the_way->name, in_the_way->model));
	else if (n_serving + n_waiting > 0)
		add_check(checks, worst, "adapters", HEALTHY,
				  psprintf("%d served, %d waiting or being loaded", n_serving, n_waiting), NULL);
}

/* The slot in which a model of that name is served, or -1. */
static int
served_slot(const QwenShared *shared, const char *name)
{
	for (int i = 0; i < qwen_max_models; i++)
		if (shared->slots[i].state == SLOT_SERVING && strcmp(shared->slots[i].name, name) == 0)
			return i;
	return -1;
}

/* What keeps a draft model from guessing, or NULL. */
static const char *
draft_complaint(const QwenShared *shared, const ConfiguredDraft *entry)
{
	int slot = served_slot(shared, entry->model);
	char note[sizeof qwen_page->slots[0].draft_note];

	if (slot < 0)
		return psprintf("model \"%s\" is not served", entry->model);
	if (atomic_load(&qwen_page->slots[slot].draft_state) == DRAFT_REFUSED)
	{
		memcpy(note, qwen_page->slots[slot].draft_note, sizeof note);
		note[sizeof note - 1] = '\0';
		return pstrdup(note);
	}
	if (served_slot(shared, entry->draft) < 0)
		return psprintf("draft model \"%s\" of \"%s\" is not served", entry->draft, entry->model);
	return NULL;
}

/* Models that shall guess for others; said where there are any. */
static void
check_drafts(const QwenShared *shared, StringInfo checks, Health *worst)
{
	ConfiguredDrafts drafts;
	StringInfoData complaints;
	int n_guessing = 0;

	if (configured_drafts_parse(qwen_draft_models, &drafts).code != STATUS_OK || drafts.n == 0)
		return;
	initStringInfo(&complaints);
	for (int i = 0; i < drafts.n; i++)
	{
		const char *complaint = draft_complaint(shared, &drafts.drafts[i]);

		n_guessing += complaint == NULL;
		if (complaint)
			appendStringInfo(&complaints, "; %s", complaint);
	}
	if (qwen_speculation == QWEN_SPECULATION_OFF || qwen_speculation == QWEN_SPECULATION_NGRAM ||
		qwen_speculation == QWEN_SPECULATION_MTP)
		appendStringInfoString(&complaints, "; qwen.speculation has none of them asked");
	add_check(checks, worst, "drafts", complaints.len > 0 ? DEGRADED : HEALTHY,
			  psprintf("%d of %d draft models can be asked%s", n_guessing, drafts.n, complaints.data),
			  complaints.len > 0
				  ? "Load both models, of the same vocabulary, or correct qwen.draft_models and reload the "
					"configuration; answers come all the same."
				  : NULL);
}

/* Models of calls that name none, as this session has them set, of which nothing is known: each such call fails. */
static void
check_defaults(const QwenShared *shared, StringInfo checks, Health *worst)
{
	const char *models[] = {qwen_default_model, qwen_default_embedding_model, qwen_default_rerank_model};
	const char *settings[] = {"qwen.default_model", "qwen.default_embedding_model", "qwen.default_rerank_model"};
	StringInfoData message;

	initStringInfo(&message);
	for (int i = 0; i < 3; i++)
		if (*models[i] && !model_is_there(shared, models[i]))
			appendStringInfo(&message, "%s%s is \"%s\", which is not loaded", message.len > 0 ? "; " : "", settings[i],
							 models[i]);
	if (message.len > 0)
		add_check(checks, worst, "defaults", DEGRADED, message.data,
				  "Correct it, or load that model: calls that name no model fail.");
}

static void
check_queue(StringInfo checks, Health *worst)
{
	uint32 n_waiting = atomic_load(&qwen_page->n_waiting);
	bool long_queue = n_waiting > (uint32) qwen_queue_size / 2;

	add_check(checks, worst, "queue", long_queue ? DEGRADED : HEALTHY,
			  psprintf("%u running, %u waiting of at most %d", atomic_load(&qwen_page->n_running), n_waiting,
					   qwen_queue_size),
			  long_queue ? "Send fewer requests at once, or raise qwen.kv_cache_size and qwen.max_running." : NULL);
}

/* An engine that does not last, or does not move. */
static void
check_stability(const QwenShared *shared, StringInfo checks, Health *worst)
{
	int64 age_ms = (GetCurrentTimestamp() - shared->started_at) / 1000;
	int64 silent_ms = (int64) (clock_now_us() - atomic_load(&qwen_page->heartbeat_us)) / 1000;

	if (shared->engine_state != ENGINE_RUNNING)
		return;
	if (silent_ms > SILENT_MS)
		add_check(checks, worst, "stability", DEGRADED,
				  psprintf("no sign of life from the engine for %lld ms", (long long) silent_ms),
				  "Nothing moves in it: other processes have the processor, or it hangs. Look at what else runs. "
				  "After qwen.watchdog_timeout it is restarted.");
	else if (shared->n_restarts > 0 && age_ms < YOUNG_MS)
		add_check(
			checks, worst, "stability", DEGRADED,
			psprintf("restarted %lld s ago%s%s", (long long) age_ms / 1000, shared->last_error[0] ? ": " : "",
					 shared->last_error),
			"Calls that were under way failed and can be sent again. If it happens again, look into the server log.");
	else
		add_check(checks, worst, "stability", HEALTHY,
				  psprintf("%llu restarts, the last start %lld s ago", (unsigned long long) shared->n_restarts,
						   (long long) age_ms / 1000),
				  NULL);
}

/* Requests that wait because there is no room for their keys and values. */
static void
check_cache(StringInfo checks, Health *worst)
{
	uint64 used = atomic_load(&qwen_page->kv_bytes_used), total = atomic_load(&qwen_page->kv_bytes_total);
	bool full = total > 0 && used > total / 10 * 9 && atomic_load(&qwen_page->n_waiting) > 0;
	const char *states = "";

	/* what hybrids have of it, where there are any */
	if (atomic_load(&qwen_page->state_bytes_resident) > 0)
		states = psprintf(", of that %llu MB of states; %llu MB of snapshots beside",
						  (unsigned long long) (atomic_load(&qwen_page->state_bytes_used) >> 20),
						  (unsigned long long) (atomic_load(&qwen_page->snapshot_bytes) >> 20));
	add_check(checks, worst, "kv_cache", full ? DEGRADED : HEALTHY,
			  psprintf("%llu of %llu MB%s in use%s, %llu preemptions", (unsigned long long) (used >> 20),
					   (unsigned long long) (total >> 20), kv_cache_bytes() > 0 ? "" : " (auto)", states,
					   (unsigned long long) atomic_load(&qwen_page->n_preemptions)),
			  full ? "Requests wait for room: raise qwen.kv_cache_size, or ask for fewer max_tokens." : NULL);
}

/* Bytes of keys and values of a model's longest context, and of a hybrid's state; 0: not served. */
static uint64
context_bytes(const SharedSlot *slot, const ModelInForce *in_force)
{
	uint32 tokens = in_force->kv_block_tokens;

	if (slot->state != SLOT_SERVING || tokens == 0)
		return 0;
	return ((uint64) in_force->context_length + tokens - 1) / tokens * in_force->kv_block_bytes + in_force->state_bytes;
}

/* What to do about a model whose longest context does not fit, beside more memory. */
static void
advise_on_context(StringInfo advice, const SharedSlot *slot, ModelInForce *in_force)
{
	in_force->smaller_kv_types[sizeof in_force->smaller_kv_types - 1] = '\0';
	appendStringInfoString(advice, advice->len > 0 ? ", " : "Raise qwen.kv_cache_size, or set ");
	if (in_force->smaller_kv_types[0])
		appendStringInfo(advice, "a kv_cache_type of fewer bits (%s) or ", server_string(in_force->smaller_kv_types));
	appendStringInfo(advice, "a smaller context for \"%s\"", slot->name);
}

/*
 * What the longest contexts of models take, against the KV cache: who sets a context means to use it, and learns now
 * that it does not fit, not from the first long prompt. One that the file brings may be longer than the cache.
 */
static void
check_contexts(const QwenShared *shared, StringInfo checks, Health *worst)
{
	uint64 total = atomic_load(&qwen_page->kv_bytes_total);
	StringInfoData message, advice; /* on models whose users wanted more than fits */

	initStringInfo(&message);
	initStringInfo(&advice);
	for (int i = 0; i < qwen_max_models; i++)
	{
		const SharedSlot *slot = &shared->slots[i];
		ModelInForce in_force = qwen_page->slots[i].in_force;
		uint64 bytes = context_bytes(slot, &in_force);
		uint64 left = total > in_force.state_bytes ? total - in_force.state_bytes : 0;

		if (bytes == 0)
			continue;
		appendStringInfo(&message, "%s\"%s\": %u tokens take %llu MB", message.len > 0 ? "; " : "", slot->name,
						 in_force.context_length, (unsigned long long) (bytes >> 20));
		if (bytes <= total)
			continue;
		appendStringInfo(&message, ", %llu fit",
						 (unsigned long long) (left / in_force.kv_block_bytes * in_force.kv_block_tokens));
		if (slot->settings.context > 0 || slot->settings.rope_factor > 1)
			advise_on_context(&advice, slot, &in_force);
	}
	if (message.len == 0)
		return;
	appendStringInfo(&message, "; the KV cache holds %llu MB", (unsigned long long) (total >> 20));
	if (advice.len > 0)
		appendStringInfoString(&advice, " in qwen.models.");
	add_check(checks, worst, "contexts", advice.len > 0 ? DEGRADED : HEALTHY, message.data,
			  advice.len > 0 ? advice.data : NULL);
}

/*
 * Hybrids: how many states there is room for. Beside a request's own there must be room for one that is kept, or each
 * turn of a conversation is computed from its beginning.
 */
static void
check_states(const QwenShared *shared, StringInfo checks, Health *worst)
{
	uint64 total = atomic_load(&qwen_page->kv_bytes_total);
	StringInfoData message;
	bool too_few = false, can_halve = false;

	initStringInfo(&message);
	for (int i = 0; i < qwen_max_models; i++)
	{
		const ModelInForce *in_force = &qwen_page->slots[i].in_force;
		uint64 bytes = in_force->state_bytes;

		if (shared->slots[i].state != SLOT_SERVING || bytes == 0)
			continue;
		appendStringInfo(&message, "%s\"%s\": a state takes %.1f MB, the KV cache holds %llu",
						 message.len > 0 ? "; " : "", shared->slots[i].name, bytes / 1048576.0,
						 (unsigned long long) (total / bytes));
		if (total / bytes >= 3)
			continue;
		too_few = true;
		can_halve |= strcmp(in_force->state_type, "f16") != 0;
	}
	if (message.len == 0)
		return;
	appendStringInfo(
		&message, "; %u in use, %u snapshots kept, found again %llu times, %llu evicted",
		atomic_load(&qwen_page->n_states), atomic_load(&qwen_page->n_snapshots),
		(unsigned long long) (atomic_load(&qwen_page->n_snapshots_copied) + atomic_load(&qwen_page->n_snapshots_moved)),
		(unsigned long long) atomic_load(&qwen_page->n_snapshots_evicted));
	add_check(
		checks, worst, "states", too_few ? DEGRADED : HEALTHY, message.data,
		!too_few ? NULL
		: can_halve
			? "Raise qwen.kv_cache_size, or set state_type=f16 for the model in qwen.models: with so few states every "
			  "turn of a conversation is computed from its beginning."
			: "Raise qwen.kv_cache_size: with so few states every turn of a conversation is computed from its "
			  "beginning.");
}

/* Do keys and values have what they may take, and will they find it? Better known now than on the day when they want
 * it.
 */
static void
check_memory(StringInfo checks, Health *worst)
{
	uint64 total = atomic_load(&qwen_page->kv_bytes_total), resident = atomic_load(&qwen_page->kv_bytes_resident);
	uint64 wanted = total > resident ? total - resident : 0, left = memory_available();
	bool cut = kv_cache_bytes() > total && total > 0, short_of_it = left != UINT64_MAX && wanted > left;
	char *message = psprintf("keys and values may take %llu MB more", (unsigned long long) (wanted >> 20));

	if (left != UINT64_MAX)
		message = psprintf("%s, %llu MB are available", message, (unsigned long long) (left >> 20));
	if (cut)
		message = psprintf("of the %llu MB of qwen.kv_cache_size there is room for %llu beside the models; %s",
						   (unsigned long long) (kv_cache_bytes() >> 20), (unsigned long long) (total >> 20), message);
	add_check(checks, worst, "memory", cut || short_of_it ? DEGRADED : HEALTHY, message,
			  cut || short_of_it ? "Lower qwen.kv_cache_size, or give the server more memory." : NULL);
}

/* Must a model's weights be on huge pages, by its own setting or that of all? */
static bool
are_expected(const SharedSlot *slot)
{
	if (slot->settings.huge_pages != 0)
		return slot->settings.huge_pages == MODEL_HUGE_PAGES_ON;
	return qwen_huge_pages == QWEN_HUGE_PAGES_ON;
}

/* Huge pages that were asked for and did not come, some time after a model is served. */
static void
check_huge_pages(const QwenShared *shared, StringInfo checks, Health *worst)
{
	uint64 wanted = 0, huge = 0;
	bool missing = false;

	for (int i = 0; i < qwen_max_models; i++)
		if (shared->slots[i].state == SLOT_SERVING)
		{
			uint64 bytes = qwen_page->slots[i].image_bytes, its_huge = atomic_load(&qwen_page->slots[i].huge_bytes);

			wanted += bytes;
			huge += its_huge;
			/* the last bytes of an image are no whole page */
			missing |= are_expected(&shared->slots[i]) && its_huge < bytes / 10 * 9;
		}
	add_check(checks, worst, "huge_pages", missing ? DEGRADED : HEALTHY,
			  psprintf("%llu of %llu MB of weights are on huge pages", (unsigned long long) (huge >> 20),
					   (unsigned long long) (wanted >> 20)),
			  missing ? "It takes some seconds a gigabyte after a start, Linux 6.1 or later, and memory that is not in "
						"small pieces; docs/operations.md has the lines for the administrator."
					  : NULL);
}

QWEN_FUNCTION(qwen_health, 0, 0)
{
	StringInfoData checks, json;
	Health worst = HEALTHY;
	QwenShared shared;

	initStringInfo(&checks);
	if (!qwen_shared)
		add_check(&checks, &worst, "library", UNHEALTHY, "qwen_pg is not in shared_preload_libraries",
				  "Add qwen_pg to shared_preload_libraries in postgresql.conf and restart the server.");
	else
	{
		LWLockAcquire(qwen_shared->lock, LW_SHARED);
		memcpy(&shared, qwen_shared, sizeof shared);
		LWLockRelease(qwen_shared->lock);
		check_engine(&shared, &checks, &worst);
		check_lists(&shared, &checks, &worst);
		check_models(&shared, &checks, &worst);
		check_adapters(&shared, &checks, &worst);
		check_places(&shared, &checks, &worst);
		check_drafts(&shared, &checks, &worst);
		check_defaults(&shared, &checks, &worst);
		check_stability(&shared, &checks, &worst);
		check_queue(&checks, &worst);
		check_cache(&checks, &worst);
		check_contexts(&shared, &checks, &worst);
		check_states(&shared, &checks, &worst);
		check_memory(&checks, &worst);
		check_huge_pages(&shared, &checks, &worst);
	}
	initStringInfo(&json);
	appendStringInfo(&json, "{\"status\": \"%s\", \"version\": \"%s\", \"checks\": [%s]}", health_names[worst],
					 QWEN_VERSION, checks.data);
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}
