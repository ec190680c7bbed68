/*
 * model_slots.c - the supervisor's view of models and adapters: which slot holds what, and what has to happen next.
 *
 * The truth is in QwenShared (for backends) and, so that it survives a reset of PostgreSQL's shared memory, name, file
 * and generation of each complete image in the status page.
 */
#include "model_slots.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../base/utf8.h"
#include "../core/pause.h"
#include "../core/settings.h"
#include "utils/timestamp.h"

#define FIRST_RETRY_MS 1000 /* of loading a model that lost its memory */
#define LAST_RETRY_MS 30000

static const char *const io_names[] = {"", "io_uring with O_DIRECT", "io_uring, buffered", "pread with O_DIRECT",
									   "pread, buffered"};

/* A number that no image has had: microseconds, and never the same twice. */
static uint64
next_generation(void)
{
	static uint64 last;
	uint64 now = (uint64) GetCurrentTimestamp();

	last = now > last ? now : last + 1;
	return last;
}

/* What the log is to hear of a slot. */
typedef enum SlotNews
{
	NEWS_NONE = 0,
	NEWS_STILL_THERE,
	NEWS_FAILED,
	NEWS_REFUSED,
	NEWS_MEMORY_RAN_OUT,
} SlotNews;

/*
 * Calls of all sessions take the slots' lock, so under it nothing is done that takes long: to give back an image's
 * memory takes 0.2 s a GB, and a log may be slow. Both are noted here, and done once the lock is released. Nobody but
 * the supervisor has an image loaded, opened or dropped, so nothing comes between.
 */
typedef struct Afterwards
{
	bool drop;
	SlotNews news;
	SharedSlot slot; /* of news, as it was then */
} Afterwards;

static Afterwards afterwards[STATUS_PAGE_ALL_SLOTS];

static void
note_news(int i, SlotNews news)
{
	afterwards[i].news = news;
	afterwards[i].slot = qwen_shared->slots[i];
}

/* Hand a slot's settings to loader and engine; an engine that serves the model opens it again with them. */
static void
hand_over_settings(int i)
{
	static uint64 last;
	SlotStatus *status = &qwen_page->slots[i];
	uint64 number = atomic_load(&status->wanted_settings);

	last = Max(last, number) + 1;
	atomic_store(&status->wanted_settings, 0);
	status->settings = qwen_shared->slots[i].settings;
	atomic_store(&status->wanted_settings, last);
}

static bool
same_settings(const ModelSettings *a, const ModelSettings *b)
{
	return memcmp(a, b, sizeof *a) == 0;
}

/* Let go of an image. The engine does not have it. Its memory is given back after the lock. */
static void
drop_image(int i)
{
	SlotStatus *status = &qwen_page->slots[i];

	atomic_store(&status->wanted_generation, 0);
	atomic_store(&status->image_generation, 0);
	memset(status->name, 0, sizeof status->name);
	memset(status->file, 0, sizeof status->file);
	memset(status->model, 0, sizeof status->model);
	afterwards[i].drop = true;
}

/* Give back the memory of images that were let go of; the lock is not held. */
static void
give_memory_back(void)
{
	EACH_SLOT (i)
		if (afterwards[i].drop)
		{
			afterwards[i].drop = false;
			if (ftruncate(qwen_slot_fds[i], 0) != 0)
				ereport(LOG, (errmsg("qwen_pg: could not give back the memory of slot %d: %m", i)));
		}
}

/* 'model "chat"', or 'adapter "legal" of model "chat"'; palloc'd. */
static char *
title_of(const SharedSlot *slot)
{
	return slot->model[0] ? psprintf("adapter \"%s\" of model \"%s\"", slot->name, slot->model)
						  : psprintf("model \"%s\"", slot->name);
}

static void
tell_news(SlotNews news, const SharedSlot *slot)
{
	switch (news)
	{
		case NEWS_STILL_THERE:
			ereport(LOG, (errmsg("qwen_pg: %s is still in memory", title_of(slot))));
			break;
		case NEWS_FAILED:
			/* the directory stands nowhere but here: slot->error is shown to everybody */
			ereport(LOG, (errmsg("qwen_pg: %s could not be loaded: %s", title_of(slot), slot->error),
						  errdetail("The file is \"%s\" in the directory \"%s\".", slot->file, qwen_model_directory),
						  slot->retry_ms > 0 ? errhint("It is tried again in %d ms.", slot->retry_ms) : 0));
			break;
		case NEWS_REFUSED:
			ereport(LOG, (errmsg("qwen_pg: the memory of %s cannot be used any more and is loaded again: %s",
								 title_of(slot), slot->error)));
			break;
		case NEWS_MEMORY_RAN_OUT:
			ereport(LOG, (errmsg("qwen_pg: memory ran out: that of %s is given back, and it is loaded again",
								 title_of(slot))));
			break;
		case NEWS_NONE:
			break;
	}
}

/* What was noted under the lock; it is not held. */
static void
do_afterwards(void)
{
	give_memory_back();
	EACH_SLOT (i)
	{
		SlotNews news = afterwards[i].news;

		afterwards[i].news = NEWS_NONE;
		tell_news(news, &afterwards[i].slot);
	}
}

/* A model that cannot be used: say why, keep no memory. */
static void
fail_slot(int i, int error_code, const char *error)
{
	SharedSlot *slot = &qwen_shared->slots[i];

	drop_image(i);
	slot->state = SLOT_FAILED;
	slot->error_code = error_code;
	utf8_copy(slot->error, sizeof slot->error, error);
	/* of the failures after a loss of memory only a lack of something passes by itself */
	if (error_code != STATUS_TOO_LONG && error_code != STATUS_UNAVAILABLE)
		slot->retry_ms = 0;
	slot->retry_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), slot->retry_ms);
	note_news(i, NEWS_FAILED);
	slot->retry_ms = Min(slot->retry_ms * 2, LAST_RETRY_MS);
}

/* At the supervisor's start: what complete images are there from before a reset? */
void
slots_recover(void)
{
	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	EACH_SLOT (i)
	{
		SharedSlot *slot = &qwen_shared->slots[i];
		SlotStatus *status = &qwen_page->slots[i];
		uint64 generation = atomic_load(&status->image_generation);

		if (slot->state != SLOT_EMPTY && slot->state != SLOT_LOADING)
			continue;
		if (generation == 0)
		{
			/* a load that was cut off leaves a half-filled image */
			if (slot->state == SLOT_LOADING)
				slot->state = SLOT_WAITING;
			drop_image(i);
			continue;
		}
		slot->state = SLOT_OPENING;
		slot->generation = generation;
		strlcpy(slot->name, status->name, sizeof slot->name);
		strlcpy(slot->file, status->file, sizeof slot->file);
		slot->settings = status->settings;
		hand_over_settings(i);
		strlcpy(slot->model, status->model, sizeof slot->model);
		slot->base_generation = atomic_load(&status->base_generation);
		note_news(i, NEWS_STILL_THERE);
	}
	LWLockRelease(qwen_shared->lock);
	do_afterwards();
}

/* A slot's model in the list, with this file; NULL: it is not there. */
static const ConfiguredModel *
find_configured(const ConfiguredModels *models, const SharedSlot *slot)
{
	for (int i = 0; i < models->n; i++)
		if (strcmp(models->models[i].name, slot->name) == 0 && strcmp(models->models[i].file, slot->file) == 0)
			return &models->models[i];
	return NULL;
}

static bool
is_configured(const ConfiguredModels *models, const SharedSlot *slot)
{
	return find_configured(models, slot) != NULL;
}

static bool
is_as_configured(const ConfiguredModels *models, const SharedSlot *slot)
{
	const ConfiguredModel *configured = find_configured(models, slot);

	return configured && same_settings(&configured->settings, &slot->settings);
}

/*
 * The list may have other settings for a model than the slot: its image stays, and the engine opens it with them once
 * the requests that run have ended; calls that come meanwhile wait. A loader has its own copy: what it has loaded gets
 * them when it is done. The lock is held.
 */
static void
follow_settings(const ConfiguredModels *models, int i)
{
	SharedSlot *slot = &qwen_shared->slots[i];
	const ConfiguredModel *configured = find_configured(models, slot);

	if (!slot->configured || !configured || same_settings(&configured->settings, &slot->settings))
		return;
	slot->settings = configured->settings;
	if (slot->state != SLOT_OPENING && slot->state != SLOT_SERVING)
		return;
	hand_over_settings(i);
	slot->state = SLOT_OPENING;
}

/* The rest is done by slots_advance. */
static void
start_unloading(int i)
{
	qwen_shared->slots[i].state = SLOT_UNLOADING;
}

/* A slot that holds nothing, or -1. */
static int
free_slot(void)
{
	for (int i = 0; i < qwen_max_models; i++)
		if (qwen_shared->slots[i].state == SLOT_EMPTY)
			return i;
	return -1;
}

/* Models of qwen.models that wait for a slot. One that was unloaded by hand is not among them until a reload. */
static ConfiguredModels unplaced;

/* The slot that has the name of a model of qwen.models, or NULL. */
static SharedSlot *
slot_of_name(const ConfiguredModel *model)
{
	for (int i = 0; i < qwen_max_models; i++)
		if (qwen_shared->slots[i].state != SLOT_EMPTY && qwen_shared->slots[i].state != SLOT_UNLOADING &&
			strcmp(qwen_shared->slots[i].name, model->name) == 0)
			return &qwen_shared->slots[i];
	return NULL;
}

/* Give models that wait for a slot one, as long as there are any, and for their name, which one that was loaded by hand
 * may have; the lock is held. */
static void
place_models(void)
{
	WithoutSlot without = {0};
	int n_left = 0;

	for (int m = 0; m < unplaced.n; m++)
	{
		ConfiguredModel model = unplaced.models[m];
		SharedSlot *named = slot_of_name(&model);
		int i = free_slot();

		if (named && named->configured)
			continue;
		if (named)
			named->in_the_way = true;
		if (!named && i < 0 && without.n++ == 0)
			strlcpy(without.first, model.name, sizeof without.first);
		if (named || i < 0)
		{
			unplaced.models[n_left++] = model;
			continue;
		}
		memset(&qwen_shared->slots[i], 0, sizeof qwen_shared->slots[i]);
		qwen_shared->slots[i].state = SLOT_WAITING;
		qwen_shared->slots[i].configured = true;
		strlcpy(qwen_shared->slots[i].name, model.name, sizeof qwen_shared->slots[i].name);
		strlcpy(qwen_shared->slots[i].file, model.file, sizeof qwen_shared->slots[i].file);
		qwen_shared->slots[i].settings = model.settings;
	}
	unplaced.n = n_left;
	qwen_shared->models_without_slot = without;
}

/* ---- adapters: their slots stand behind those of models, and they come and go with their model ----------------------
 */

/* The slot of an adapter's model whose image is complete, or -1. */
static int
base_of(const SharedSlot *adapter)
{
	for (int i = 0; i < qwen_max_models; i++)
		if ((qwen_shared->slots[i].state == SLOT_OPENING || qwen_shared->slots[i].state == SLOT_SERVING) &&
			strcmp(qwen_shared->slots[i].name, adapter->model) == 0)
			return i;
	return -1;
}

/* Is an adapter's model there, or will it be? */
static bool
base_is_coming(const SharedSlot *adapter)
{
	for (int i = 0; i < qwen_max_models; i++)
	{
		const SharedSlot *slot = &qwen_shared->slots[i];

		if (slot->state != SLOT_EMPTY && slot->state != SLOT_UNLOADING &&
			(slot->state != SLOT_FAILED || slot->retry_ms > 0) && strcmp(slot->name, adapter->model) == 0)
			return true;
	}
	return false;
}

/* Has the engine, or may it yet open, the image that an adapter is for? Only then may it be opening the adapter. */
static bool
base_is_wanted(const SharedSlot *adapter)
{
	for (int i = 0; i < qwen_max_models; i++)
		if (atomic_load(&qwen_page->slots[i].wanted_generation) == adapter->base_generation ||
			atomic_load(&qwen_page->slots[i].serving_generation) == adapter->base_generation)
			return true;
	return false;
}

/* An adapter whose memory was given back waits for its model; the rest of its slot is as new. */
static void
wait_for_model_again(SharedSlot *slot)
{
	SharedSlot waiting = {.state = SLOT_WAITING, .configured = slot->configured};

	strlcpy(waiting.name, slot->name, sizeof waiting.name);
	strlcpy(waiting.file, slot->file, sizeof waiting.file);
	strlcpy(waiting.model, slot->model, sizeof waiting.model);
	*slot = waiting;
}

/*
 * An adapter goes with the image that it was checked against. One of qwen.adapters, or whose model is being loaded
 * again, is loaded again when that is there; any other one goes with its model.
 */
static void
follow_model(SharedSlot *slot)
{
	int base = base_of(slot);
	bool fits = base >= 0 && qwen_shared->slots[base].generation == slot->base_generation;
	bool stays = slot->configured || base_is_coming(slot);

	if ((slot->state == SLOT_OPENING || slot->state == SLOT_SERVING) && !fits)
	{
		slot->state = SLOT_UNLOADING;
		slot->again = stays;
	}
	else if (slot->state == SLOT_FAILED && base >= 0 && !fits)
		slot->state = SLOT_WAITING;
	else if (slot->state == SLOT_WAITING && !stays)
		memset(slot, 0, sizeof *slot);
}

/* Adapters of qwen.adapters that wait for a slot. */
static ConfiguredAdapters unplaced_adapters;

/* Is a slot's adapter in the list, with this file? */
static bool
adapter_is_configured(const ConfiguredAdapters *adapters, const SharedSlot *slot)
{
	for (int i = 0; i < adapters->n; i++)
		if (strcmp(adapters->adapters[i].name, slot->name) == 0 &&
			strcmp(adapters->adapters[i].model, slot->model) == 0 &&
			strcmp(adapters->adapters[i].file, slot->file) == 0)
			return true;
	return false;
}

/* The slot that an adapter has, or -1; with NULL: one that holds nothing. */
static int
adapter_slot(const ConfiguredAdapter *adapter)
{
	for (int i = STATUS_PAGE_MAX_SLOTS; i < STATUS_PAGE_MAX_SLOTS + qwen_max_adapters; i++)
	{
		const SharedSlot *slot = &qwen_shared->slots[i];

		if (adapter ? slot->state != SLOT_EMPTY && slot->state != SLOT_UNLOADING &&
						  strcmp(slot->name, adapter->name) == 0 && strcmp(slot->model, adapter->model) == 0
					: slot->state == SLOT_EMPTY)
			return i;
	}
	return -1;
}

/* As place_models; the lock is held. */
static void
place_adapters(void)
{
	WithoutSlot without = {0};
	int n_left = 0;

	for (int a = 0; a < unplaced_adapters.n; a++)
	{
		ConfiguredAdapter adapter = unplaced_adapters.adapters[a];
		int i = adapter_slot(NULL), named = adapter_slot(&adapter);
		SharedSlot slot = {.state = SLOT_WAITING, .configured = true};

		if (named >= 0 && qwen_shared->slots[named].configured)
			continue;
		if (named >= 0)
			qwen_shared->slots[named].in_the_way = true;
		if (named < 0 && i < 0 && without.n++ == 0)
			snprintf(without.first, sizeof without.first, "%s+%s", adapter.model, adapter.name);
		if (named >= 0 || i < 0)
		{
			unplaced_adapters.adapters[n_left++] = adapter;
			continue;
		}
		strlcpy(slot.name, adapter.name, sizeof slot.name);
		strlcpy(slot.file, adapter.file, sizeof slot.file);
		strlcpy(slot.model, adapter.model, sizeof slot.model);
		qwen_shared->slots[i] = slot;
	}
	unplaced_adapters.n = n_left;
	qwen_shared->adapters_without_slot = without;
}

/* Make slots and qwen.adapters agree; the lock is held. */
static void
reconcile_adapters(void)
{
	ConfiguredAdapters adapters;

	if (configured_adapters_parse(qwen_adapters, &adapters).code != STATUS_OK)
		return;
	for (int i = STATUS_PAGE_MAX_SLOTS; i < STATUS_PAGE_MAX_SLOTS + qwen_max_adapters; i++)
	{
		SharedSlot *slot = &qwen_shared->slots[i];
		bool is_listed = adapter_is_configured(&adapters, slot);

		slot->in_the_way = false;
		if (slot->state == SLOT_UNLOADING)
			slot->again &= is_listed || !slot->configured;
		if (slot->state == SLOT_EMPTY || slot->state == SLOT_UNLOADING)
			continue;
		slot->configured |= is_listed;
		if (slot->configured && (slot->state == SLOT_FAILED || !is_listed) && slot->state != SLOT_LOADING)
			slot->state = SLOT_UNLOADING;
	}
	unplaced_adapters = adapters;
	place_adapters();
}

/* qwen.adapters may have changed while one was being loaded; the lock is held. */
static void
adapter_load_ended(int i)
{
	SharedSlot *slot = &qwen_shared->slots[i];
	ConfiguredAdapters adapters;

	if (!slot->configured || configured_adapters_parse(qwen_adapters, &adapters).code != STATUS_OK ||
		adapter_is_configured(&adapters, slot))
		return;
	slot->state = SLOT_UNLOADING;
	for (int a = 0; a < adapters.n; a++)
		if (strcmp(adapters.adapters[a].name, slot->name) == 0 &&
			strcmp(adapters.adapters[a].model, slot->model) == 0 && unplaced_adapters.n < STATUS_PAGE_MAX_ADAPTERS)
			unplaced_adapters.adapters[unplaced_adapters.n++] = adapters.adapters[a];
}

/* Make slots and qwen.models agree: at start and after a reload. Models loaded by hand stay; failed ones are tried
 * again. */
void
slots_reconcile(void)
{
	ConfiguredModels models;

	if (configured_models_parse(qwen_models, &models).code != STATUS_OK)
		return;
	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < qwen_max_models; i++)
	{
		SharedSlot *slot = &qwen_shared->slots[i];

		slot->in_the_way = false;
		if (slot->state == SLOT_EMPTY || slot->state == SLOT_UNLOADING)
			continue;
		if (is_configured(&models, slot))
			slot->configured = true;
		if (slot->configured && (slot->state == SLOT_FAILED || !is_configured(&models, slot)) &&
			slot->state != SLOT_LOADING)
			start_unloading(i);
		else if (slot->state != SLOT_LOADING)
			follow_settings(&models, i);
	}
	unplaced = models;
	place_models();
	reconcile_adapters();
	qwen_shared->lists_hash = lists_hash();
	qwen_shared->lists_read_at = PgReloadTime;
	LWLockRelease(qwen_shared->lock);
	for (int a = 0; a < unplaced_adapters.n; a++)
		ereport(LOG,
				(errmsg("qwen_pg: no slot is free for adapter \"%s\"", unplaced_adapters.adapters[a].name),
				 errhint("Raise qwen.max_adapters, unless another adapter is just being unloaded, or unload one of "
						 "that name that was loaded by hand.")));
	for (int m = 0; m < unplaced.n; m++)
		ereport(LOG,
				(errmsg("qwen_pg: no slot is free for model \"%s\"", unplaced.models[m].name),
				 errhint("Raise qwen.max_models, unless another model is just being unloaded, or unload one of that "
						 "name that was loaded by hand.")));
}

/* Take the next slot to load: its number and a copy of its work, and of an adapter the slot of its model; or -1. */
int
slots_next_to_load(SharedSlot *work, int *base)
{
	int found = -1;

	*base = -1;
	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < STATUS_PAGE_ALL_SLOTS && found < 0; i++)
	{
		SharedSlot *slot = &qwen_shared->slots[i];

		if (slot->state != SLOT_WAITING)
			continue;
		if (slot->model[0])
		{
			*base = base_of(slot);
			if (*base < 0)
				continue;
			slot->base_generation = qwen_shared->slots[*base].generation;
			slot->again = false;
		}
		slot->state = SLOT_LOADING;
		slot->loading_since = GetCurrentTimestamp();
		slot->generation = next_generation();
		hand_over_settings(i);
		atomic_store(&qwen_page->slots[i].load_bytes_done, 0);
		atomic_store(&qwen_page->slots[i].load_bytes_total, 0);
		*work = *slot;
		found = i;
	}
	LWLockRelease(qwen_shared->lock);
	return found;
}

/* The loader of a slot has ended. why: what happened when it did not end by itself. */
void
slots_load_ended(int i, bool ok, const char *why)
{
	SharedSlot *slot = &qwen_shared->slots[i];
	SlotStatus *status = &qwen_page->slots[i];
	uint32 io = atomic_load(&status->load_io);
	ConfiguredModels models;
	bool has_list = configured_models_parse(qwen_models, &models).code == STATUS_OK;

	/* a model that has failed keeps no memory: nobody else has the image of a slot that is being loaded */
	afterwards[i].drop = !ok;
	give_memory_back();
	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	if (ok)
	{
		strlcpy(status->name, slot->name, sizeof status->name);
		strlcpy(status->file, slot->file, sizeof status->file);
		strlcpy(status->model, slot->model, sizeof status->model);
		atomic_store(&status->base_generation, slot->base_generation);
		atomic_store(&status->image_generation, slot->generation);
		slot->state = SLOT_OPENING;
		slot->fresh = true;
		if (has_list)
			follow_settings(&models, i);
	}
	else if (why)
		fail_slot(i, STATUS_UNAVAILABLE, why);
	else
		fail_slot(i, atomic_load(&status->load_error_code), status->load_error);
	/* qwen.models may have changed while it was being loaded, perhaps only the name's file, or what did not fit it */
	if (slot->model[0])
		adapter_load_ended(i);
	else if (slot->configured && has_list && !is_as_configured(&models, slot))
	{
		start_unloading(i);
		for (int m = 0; m < models.n; m++)
			if (strcmp(models.models[m].name, slot->name) == 0 && unplaced.n < STATUS_PAGE_MAX_SLOTS)
				unplaced.models[unplaced.n++] = models.models[m];
	}
	LWLockRelease(qwen_shared->lock);
	do_afterwards();
	if (ok)
	{
		char note[sizeof status->load_io_note], notices[sizeof status->notices];

		strlcpy(note, status->load_io_note, sizeof note);
		ereport(LOG,
				(errmsg("qwen_pg: %s: %llu MB read and packed in %llu ms with %s%s%s%s", title_of(slot),
						(unsigned long long) (status->file_bytes >> 20),
						(unsigned long long) (atomic_load(&status->load_us) / 1000),
						io < lengthof(io_names) ? io_names[io] : "", note[0] ? " (" : "", note, note[0] ? ")" : "")));
		strlcpy(notices, status->notices, sizeof notices);
		if (notices[0])
			ereport(WARNING, (errmsg("qwen_pg: %s: %s", title_of(slot), notices)));
	}
}

/*
 * The engine does not take an image. One from before may be of another version or damaged: the file is read again, and
 * only an image that has just been made is given up. true: it is to be loaded. Its memory has been given back.
 */
static bool
refuse_image(int i)
{
	SharedSlot *slot = &qwen_shared->slots[i];

	if (slot->fresh)
	{
		fail_slot(i, STATUS_UNAVAILABLE, qwen_page->slots[i].serve_error);
		return false;
	}
	note_news(i, NEWS_REFUSED);
	utf8_copy(afterwards[i].slot.error, sizeof afterwards[i].slot.error, qwen_page->slots[i].serve_error);
	slot->state = SLOT_WAITING;
	return true;
}

/* What becomes of a slot whose image is let go of: it takes effect when the memory is given back. */
typedef struct Change
{
	bool refused, emptied;
	uint64 generation;
} Change;

/* One round over the slots. */
typedef struct Round
{
	pid_t engine_pid;
	bool pending, emptied, signal_engine, has_changes;
	Change changes[STATUS_PAGE_ALL_SLOTS];
} Round;

static void
open_slot(Round *round, int i)
{
	SharedSlot *slot = &qwen_shared->slots[i];
	SlotStatus *status = &qwen_page->slots[i];

	if (atomic_load(&status->error_generation) == slot->generation &&
		atomic_load(&status->serving_generation) != slot->generation)
	{
		drop_image(i);
		round->changes[i] = (Change){.refused = true, .generation = slot->generation};
		round->has_changes = true;
		return;
	}
	atomic_store(&status->wanted_generation, slot->generation);
	if (atomic_load(&status->serving_generation) == slot->generation &&
		(slot->model[0] || atomic_load(&status->serving_settings) == atomic_load(&status->wanted_settings)))
	{
		slot->state = SLOT_SERVING;
		slot->fresh = false;
		slot->retry_ms = 0;
	}
	else
		round->signal_engine = round->pending = true;
}

static void
unload_slot(Round *round, int i)
{
	SharedSlot *slot = &qwen_shared->slots[i];
	SlotStatus *status = &qwen_page->slots[i];
	uint64 serving = atomic_load(&status->serving_generation);

	/* an engine that is just opening the image must not lose it meanwhile */
	if (round->engine_pid <= 0 || atomic_load(&status->wanted_generation) != slot->generation ||
		serving == slot->generation || atomic_load(&status->error_generation) == slot->generation ||
		(slot->model[0] && !base_is_wanted(slot)))
		atomic_store(&status->wanted_generation, 0);
	if (round->engine_pid > 0 && (serving != 0 || atomic_load(&status->wanted_generation) != 0))
	{
		round->signal_engine = round->pending = true;
		return;
	}
	drop_image(i);
	round->changes[i] = (Change){.emptied = true, .generation = slot->generation};
	round->has_changes = true;
}

/* Move a slot on as far as it can; the lock is held. */
static void
advance_slot(Round *round, int i)
{
	SharedSlot *slot = &qwen_shared->slots[i];

	if (slot->model[0])
		follow_model(slot);
	switch (slot->state)
	{
		case SLOT_OPENING:
			open_slot(round, i);
			break;
		case SLOT_UNLOADING:
			unload_slot(round, i);
			break;
		case SLOT_FAILED:
			if (slot->retry_ms == 0 || still_pauses(slot->retry_at, LAST_RETRY_MS))
				break;
			slot->state = SLOT_WAITING;
			round->pending = true;
			break;
		case SLOT_WAITING:
			round->pending |= !slot->model[0] || base_of(slot) >= 0;
			break;
		default:
			break;
	}
}

/* The memory of a slot's image is given back; the lock is held again. One that was to be loaded again may be unwanted
 * by now. */
static void
settle_slot(Round *round, int i)
{
	SharedSlot *slot = &qwen_shared->slots[i];
	const Change *change = &round->changes[i];

	if (slot->generation != change->generation)
		return;
	if (change->emptied && slot->state == SLOT_UNLOADING)
	{
		if (slot->again)
			wait_for_model_again(slot);
		else
			memset(slot, 0, sizeof *slot);
		round->emptied = true;
	}
	else if (change->refused && slot->state == SLOT_OPENING)
		round->pending |= refuse_image(i);
	else if (change->refused)
		round->pending = true;
}

/* Move slots on as far as they can. */
bool
slots_advance(pid_t engine_pid)
{
	Round round = {.engine_pid = engine_pid};

	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	EACH_SLOT (i)
		advance_slot(&round, i);
	if (round.has_changes)
	{
		LWLockRelease(qwen_shared->lock);
		give_memory_back();
		LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
		EACH_SLOT (i)
			if (round.changes[i].emptied || round.changes[i].refused)
				settle_slot(&round, i);
	}
	/* before anybody can see the empty slot and believe that nothing will come */
	if (unplaced.n > 0)
		place_models();
	if (unplaced_adapters.n > 0)
		place_adapters();
	LWLockRelease(qwen_shared->lock);
	do_afterwards();
	/* again and again as long as something is pending: an engine that does not listen yet would die of the signal */
	if (round.signal_engine && engine_pid > 0 && atomic_load(&qwen_page->ready))
		kill(engine_pid, SIGUSR1);
	return round.pending || round.emptied;
}

/* Nothing is served any more; a new engine opens what is wanted. */
void
slots_engine_ended(void)
{
	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	EACH_SLOT (i)
	{
		atomic_store(&qwen_page->slots[i].serving_generation, 0);
		atomic_store(&qwen_page->slots[i].n_requests, 0);
		if (qwen_shared->slots[i].state == SLOT_SERVING)
			qwen_shared->slots[i].state = SLOT_OPENING;
	}
	LWLockRelease(qwen_shared->lock);
}

/*
 * What holds the memory of a machine that has none left is above all our images, and the engine's end did not free
 * them. So they are given back, and loading, which begins with a look at the memory there is, starts anew.
 */
void
slots_memory_ran_out(void)
{
	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	EACH_SLOT (i)
	{
		SharedSlot *slot = &qwen_shared->slots[i];

		if (slot->state != SLOT_OPENING)
			continue;
		note_news(i, NEWS_MEMORY_RAN_OUT);
		drop_image(i);
		slot->state = SLOT_WAITING;
		slot->retry_ms = FIRST_RETRY_MS;
	}
	LWLockRelease(qwen_shared->lock);
	do_afterwards();
}
