/*
 * slots.c - see slots.h and adapter_slots.h. Used by the event loop's thread only, between steps.
 */
#include "slots.h"

#include "draft_models.h"
#include "format_cache.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "../base/clock.h"
#include "../base/memory.h"
#include "model_terms.h"

/* What an engine before has left in a slot's status. */
static void
clear_status(SlotStatus *status)
{
	atomic_store(&status->serving_generation, 0);
	atomic_store(&status->n_requests, 0);
	atomic_store(&status->huge_bytes, 0);
	atomic_store(&status->draft_state, DRAFT_NONE);
}

void
slots_init(Slots *slots, const SlotSettings *settings, StatusPage *page, uint32_t n, uint32_t n_adapters, int first_fd)
{
	memset(slots, 0, sizeof *slots);
	slots->settings = *settings;
	slots->page = page;
	slots->memory_total = memory_total();
	slots->n = n;
	for (uint32_t i = 0; i < n; i++)
	{
		slots->slots[i].fd = first_fd + (int) i;
		slots->slots[i].status = &page->slots[i];
		clear_status(slots->slots[i].status);
	}
	slots->n_adapters = n_adapters;
	for (uint32_t i = 0; i < n_adapters; i++)
	{
		slots->adapters[i].fd = first_fd + STATUS_PAGE_MAX_SLOTS + (int) i;
		slots->adapters[i].status = &page->slots[STATUS_PAGE_MAX_SLOTS + i];
		clear_status(slots->adapters[i].status);
	}
}

static void
add_counts(StateCounts *sum, StateCounts counts)
{
	sum->kept += counts.kept;
	sum->copied += counts.copied;
	sum->moved += counts.moved;
	sum->evicted += counts.evicted;
}

/* Give up a slot's model and its memory here; then the supervisor may reuse the image. */
static void
close_slot(Slots *slots, Slot *slot)
{
	if (slot->cache)
		add_counts(&slots->ended, prefix_cache_state_counts(slot->cache));
	page_worker_end(slot->page_worker);
	slot->page_worker = NULL;
	forward_destroy(slot->forward);
	prefix_cache_destroy(slot->cache);
	kv_pool_destroy(slot->pool);
	for (int i = 0; i < N_DESK_LANES; i++)
	{
		tokenizer_destroy(slot->desk_tokenizers[i]);
		slot->desk_tokenizers[i] = NULL;
	}
	format_cache_forget(slot->model);
	model_close(slot->model);
	slot->forward = NULL;
	slot->cache = NULL;
	slot->pool = NULL;
	slot->model = NULL;
	slot->draining = false;
	draft_models_forget(slot);
	atomic_store(&slot->status->serving_generation, 0);
}

/* Keys and values have what is wanted, as far as models leave it, this one among them. Inside the sandbox the loader's
 * word is what there is. */
static void
fit_budget(Slots *slots, const SlotStatus *status)
{
	KvBudget *budget = slots->settings.budget;
	uint64_t left = memory_available(), before = kv_budget_limit(budget);

	if (left == UINT64_MAX && status->memory_left > 0)
		left = status->memory_left;
	kv_budget_set_limit(
		budget, memory_cache_limit(slots->settings.cache_bytes, slots->memory_total, left, kv_budget_resident(budget)));
	atomic_store(&slots->page->kv_bytes_total, kv_budget_limit(budget));
	if (kv_budget_limit(budget) != before)
		fprintf(stderr, "qwen_engine: keys and values may take %llu MB beside the models\n",
				(unsigned long long) (kv_budget_limit(budget) >> 20));
}

/* Keep the weights from being swapped out; what the system refuses is noted, and they are served all the same. */
static void
lock_weights(const void *image, size_t bytes, Notices *notices)
{
	if (mlock(image, bytes) != 0)
		notice_add(notices,
				   "the weights cannot be locked into memory (%s): raise the server's limit of locked memory "
				   "(LimitMEMLOCK, ulimit -l)",
				   strerror(errno));
}

/* What the server's owner should know of a model that is served all the same: for the log and qwen_models. */
static void
tell_notices(SlotStatus *status, const char *what, const char *name, const Notices *notices)
{
	notices_write(notices, status->serve_notices, sizeof status->serve_notices);
	if (notices->text[0])
		fprintf(stderr, "qwen_engine: WARNING: %s \"%s\": %s\n", what, name, status->serve_notices);
}

/* Threads for a model's steps: fewer where that was set, and a notice where more than there are. */
static void
limit_threads(const SlotSettings *settings, const ModelSettings *own, Forward *forward, Notices *notices)
{
	if (own->threads > (uint32_t) team_size(settings->team))
		notice_add(notices, "threads=%u is more than the %d of the engine (qwen.threads)", own->threads,
				   team_size(settings->team));
	if (own->threads > 0)
		forward_limit_threads(forward, own->threads);
}

/* Everything that serving the image in a slot takes. */
static Status
open_slot(Slots *slots, Slot *slot, uint64_t wanted, const ModelSettings *own)
{
	const SlotSettings *settings = &slots->settings;
	ContextSettings context = model_terms_context(own);
	uint64_t generation = 0;
	Notices notices;

	if (!model_image_is_complete(slot->fd, &generation) || generation != wanted)
		return status_error(STATUS_INTERNAL, "the image is not complete or not the wanted one");
	STATUS_TRY(model_open(slot->fd, &slot->model));
	STATUS_TRY(context_apply(&slot->model->hyper, &context));
	slot->model->hyper.state_type = model_terms_state_type(own, settings->state_type);
	for (int i = 0; i < N_DESK_LANES; i++)
		STATUS_TRY(tokenizer_share(slot->model->tokenizer, &slot->desk_tokenizers[i]));
	notices = *tokenizer_notices(slot->model->tokenizer);
	if (settings->lock_memory)
		lock_weights(slot->model->image, slot->model->image_bytes, &notices);
	fit_budget(slots, slot->status);
	STATUS_TRY(kv_pool_create(settings->budget, &slot->model->hyper, model_terms_kv_type(own, settings->kv_type),
							  slot->model->key_outliers != NULL, &slot->pool));
	STATUS_TRY(prefix_cache_create(slot->pool, &slot->cache));
	STATUS_TRY(forward_create(slot->model, slot->pool, settings->team, settings->max_rows, settings->max_running,
							  settings->max_running + LOGPROB_ROWS + DRAFT_ROWS, &slot->forward));
	limit_threads(settings, own, slot->forward, &notices);
	slot->even_positions = forward_even_positions(slot->forward);
	tell_notices(slot->status, "model", slot->model->name, &notices);
	return status_ok();
}

/* Small heads take more in q8_0 than in f16: a tile is of 32 elements. */
static void
tell_smaller_kv_types(const Slot *slot, char *names, size_t size)
{
	const KvType types[] = {KV_Q8_0, KV_Q4};
	size_t n = 0;

	names[0] = '\0';
	for (int i = 0; i < 2; i++)
		if (kv_block_bytes(&slot->model->hyper, types[i], slot->model->key_outliers != NULL) <
			kv_pool_block_bytes(slot->pool))
			n += (size_t) snprintf(names + n, size - n, "%s%s", n > 0 ? ", " : "", kv_type_name(types[i]));
}

/* What holds for a model that is served, for everybody to see. */
static void
tell_terms(const Slot *slot)
{
	const ModelHyper *hyper = &slot->model->hyper;
	ModelInForce *in_force = &slot->status->in_force;

	in_force->context_length = hyper->context_length;
	in_force->rope_factor = hyper->rope_factor > 0 ? hyper->rope_factor : 1;
	in_force->rope_original_context = hyper->rope_original_context;
	in_force->n_threads = forward_threads(slot->forward);
	snprintf(in_force->rope_scaling, sizeof in_force->rope_scaling, "%s", rope_scaling_name(hyper->rope_scaling));
	snprintf(in_force->kv_cache_type, sizeof in_force->kv_cache_type, "%s", kv_type_name(kv_pool_type(slot->pool)));
	snprintf(in_force->state_type, sizeof in_force->state_type, "%s", state_type_name((StateType) hyper->state_type));
	in_force->kv_block_bytes = kv_pool_block_bytes(slot->pool);
	tell_smaller_kv_types(slot, in_force->smaller_kv_types, sizeof in_force->smaller_kv_types);
	in_force->kv_block_tokens = KV_BLOCK_POSITIONS;
	in_force->state_bytes = kv_pool_states(slot->pool) ? kv_pool_block_bytes(kv_pool_states(slot->pool)) : 0;
}

/* The settings that a slot's model shall be served with, and their number; false: they are just being written. */
static bool
read_settings(const SlotStatus *status, ModelSettings *settings, uint64_t *number)
{
	*number = atomic_load(&status->wanted_settings);
	*settings = status->settings;
	atomic_thread_fence(memory_order_acquire);
	return *number != 0 && atomic_load(&status->wanted_settings) == *number;
}

/* Serve what was opened. */
static void
begin_serving(const Slots *slots, Slot *slot, uint64_t wanted, const ModelSettings *own)
{
	if (model_terms_huge_pages(own, slots->settings.huge_pages))
		slot->page_worker =
			page_worker_begin((void *) slot->model->image, slot->model->image_bytes, &slot->status->huge_bytes);
	tell_terms(slot);
	atomic_store(&slot->status->serving_settings, slot->settings_number);
	atomic_store(&slot->status->serving_generation, wanted);
}

/* Does nobody use the model of a slot that is to be closed? */
static bool
has_drained(const Slot *slot)
{
	return slot->draining && slot->n_requests == 0 && slot->n_borrowers == 0;
}

bool
slots_have_drained(const Slots *slots)
{
	for (uint32_t i = 0; i < slots->n; i++)
		if (has_drained(&slots->slots[i]))
			return true;
	return false;
}

static void
begin_draining(bool *draining, uint64_t *since_us)
{
	if (!*draining)
		*since_us = clock_now_us();
	*draining = true;
}

static void
look_at_slot(Slots *slots, Slot *slot)
{
	uint64_t wanted = atomic_load(&slot->status->wanted_generation), number;
	ModelSettings own;
	Status status;

	if (!read_settings(slot->status, &own, &number))
		return;
	if (slot->model && (slot->model->generation != wanted || slot->settings_number != number))
		begin_draining(&slot->draining, &slot->draining_us);
	if (has_drained(slot))
		close_slot(slots, slot);
	if (slot->model || wanted == 0 || atomic_load(&slot->status->error_generation) == wanted)
		return;
	slot->settings_number = number;
	status = open_slot(slots, slot, wanted, &own);
	if (status.code == STATUS_OK)
	{
		begin_serving(slots, slot, wanted, &own);
		return;
	}
	close_slot(slots, slot);
	snprintf(slot->status->serve_error, sizeof slot->status->serve_error, "%s", status.message);
	atomic_store(&slot->status->error_generation, wanted);
}

/*
 * Does a slot's model take requests? One that is closed to be opened again with other settings does until then: who
 * asks has seen it served, a moment ago, and has nothing to do with its settings.
 */
static bool
takes_requests(const Slot *slot)
{
	return slot->model && (!slot->draining || atomic_load(&slot->status->wanted_generation) == slot->model->generation);
}

/* The slot whose model is of this generation and takes requests, or NULL. */
static Slot *
find_base(Slots *slots, uint64_t generation)
{
	for (uint32_t i = 0; i < slots->n; i++)
		if (takes_requests(&slots->slots[i]) && slots->slots[i].model->generation == generation)
			return &slots->slots[i];
	return NULL;
}

static void
close_adapter(AdapterSlot *slot)
{
	adapter_close(slot->adapter);
	slot->adapter = NULL;
	slot->draining = false;
	atomic_store(&slot->status->serving_generation, 0);
}

/* Everything that serving an adapter of a slot's model takes. */
static Status
open_adapter(Slots *slots, AdapterSlot *slot, const Slot *base, uint64_t wanted)
{
	Notices notices = {0};

	STATUS_TRY(adapter_open(slot->fd, wanted, &slot->adapter));
	if (slot->adapter->base_generation != base->model->generation)
		return status_error(STATUS_INTERNAL, "the adapter was made for another image of its model");
	STATUS_TRY(forward_check_adapter(base->forward, slot->adapter));
	if (slots->settings.lock_memory)
		lock_weights(slot->adapter->image, slot->adapter->image_bytes, &notices);
	tell_notices(slot->status, "adapter", slot->adapter->name, &notices);
	fit_budget(slots, slot->status);
	slot->number = ++slots->n_adapters_opened;
	return status_ok();
}

static void
look_at_adapter(Slots *slots, AdapterSlot *slot)
{
	uint64_t wanted = atomic_load(&slot->status->wanted_generation);
	Slot *base;
	Status status;

	if (slot->adapter && (slot->adapter->generation != wanted || !find_base(slots, slot->adapter->base_generation)))
		begin_draining(&slot->draining, &slot->draining_us);
	if (slot->draining && slot->n_requests == 0)
		close_adapter(slot);
	if (slot->adapter || wanted == 0 || atomic_load(&slot->status->error_generation) == wanted)
		return;
	base = find_base(slots, atomic_load(&slot->status->base_generation));
	if (!base)
		return;
	status = open_adapter(slots, slot, base, wanted);
	if (status.code == STATUS_OK)
	{
		atomic_store(&slot->status->serving_generation, wanted);
		return;
	}
	close_adapter(slot);
	snprintf(slot->status->serve_error, sizeof slot->status->serve_error, "%s", status.message);
	atomic_store(&slot->status->error_generation, wanted);
}

uint64_t
slots_idle_bytes(const Slots *slots)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < slots->n; i++)
		if (slots->slots[i].cache)
		{
			const KvPool *pool = slots->slots[i].pool, *states = kv_pool_states(pool);

			bytes += prefix_cache_n_idle(slots->slots[i].cache) * kv_pool_block_bytes(pool);
			if (states)
				bytes += prefix_cache_n_idle_states(slots->slots[i].cache) * kv_pool_block_bytes(states);
		}
	return bytes;
}

uint32_t
slots_cached_blocks(const Slots *slots)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < slots->n; i++)
		if (slots->slots[i].cache)
			n += prefix_cache_n_blocks(slots->slots[i].cache);
	return n;
}

/* The states of hybrids, of all models. */
typedef struct StateTotals
{
	uint32_t n_held, n_kept; /* by requests, and as snapshots */
	uint64_t held_bytes, kept_bytes, resident_bytes;
	StateCounts counts; /* since the engine's start */
} StateTotals;

static StateTotals
state_totals(const Slots *slots)
{
	StateTotals totals = {.counts = slots->ended};

	for (uint32_t i = 0; i < slots->n; i++)
	{
		const Slot *slot = &slots->slots[i];
		const KvPool *states = slot->cache ? kv_pool_states(slot->pool) : NULL;
		uint32_t n_kept;

		if (!states)
			continue;
		n_kept = prefix_cache_n_states(slot->cache);
		totals.n_kept += n_kept;
		totals.n_held += kv_pool_n_taken(states) - n_kept;
		totals.kept_bytes += n_kept * kv_pool_block_bytes(states);
		totals.held_bytes += (kv_pool_n_taken(states) - n_kept) * kv_pool_block_bytes(states);
		totals.resident_bytes += kv_pool_n_resident(states) * kv_pool_block_bytes(states);
		add_counts(&totals.counts, prefix_cache_state_counts(slot->cache));
	}
	return totals;
}

/* What is told of the states of hybrids. */
static void
publish_states(const Slots *slots, StatusPage *page)
{
	StateTotals totals = state_totals(slots);

	atomic_store(&page->n_states, totals.n_held);
	atomic_store(&page->n_snapshots, totals.n_kept);
	atomic_store(&page->state_bytes_used, totals.held_bytes);
	atomic_store(&page->state_bytes_resident, totals.resident_bytes);
	atomic_store(&page->snapshot_bytes, totals.kept_bytes);
	atomic_store(&page->n_snapshots_kept, totals.counts.kept);
	atomic_store(&page->n_snapshots_copied, totals.counts.copied);
	atomic_store(&page->n_snapshots_moved, totals.counts.moved);
	atomic_store(&page->n_snapshots_evicted, totals.counts.evicted);
}

void
slots_publish_memory(const Slots *slots, StatusPage *page)
{
	const KvBudget *budget = slots->settings.budget;
	uint64_t idle = slots_idle_bytes(slots);
	FormatTotals forms = format_cache_totals();

	atomic_store(&page->kv_bytes_resident, kv_budget_resident(budget));
	atomic_store(&page->kv_bytes_used, kv_budget_in_use(budget) - idle);
	atomic_store(&page->kv_bytes_cached, idle);
	atomic_store(&page->n_cached_blocks, slots_cached_blocks(slots));
	publish_states(slots, page);
	atomic_store(&page->n_forms, forms.n);
	atomic_store(&page->form_bytes, forms.bytes);
}

void
slots_look(Slots *slots)
{
	for (uint32_t i = 0; i < slots->n; i++)
		look_at_slot(slots, &slots->slots[i]);
	for (uint32_t i = 0; i < slots->n_adapters; i++)
		look_at_adapter(slots, &slots->adapters[i]);
	draft_models_link(slots);
	slots_publish_memory(slots, slots->page);
}

/* Is it an adapter of a slot's model that takes requests? */
static bool
is_adapter_of(const AdapterSlot *slot, const Slot *base)
{
	return slot->adapter && !slot->draining && slot->adapter->base_generation == base->model->generation;
}

AdapterSlot *
slots_find_adapter(Slots *slots, const Slot *base, ByteSpan name)
{
	for (uint32_t i = 0; i < slots->n_adapters; i++)
	{
		AdapterSlot *slot = &slots->adapters[i];

		if (is_adapter_of(slot, base) && strlen(slot->adapter->name) == name.length &&
			memcmp(slot->adapter->name, name.data, name.length) == 0)
			return slot;
	}
	return NULL;
}

void
slots_adapter_names(const Slots *slots, const Slot *base, char *out, size_t bytes)
{
	size_t length = 0;

	out[0] = '\0';
	for (uint32_t i = 0; i < slots->n_adapters; i++)
		if (is_adapter_of(&slots->adapters[i], base) && length < bytes)
			length += (size_t) snprintf(out + length, bytes - length, "%s%s", length ? ", " : "",
										slots->adapters[i].adapter->name);
}

bool
slots_drain_since(const Slot *slot, const AdapterSlot *adapter, uint64_t before_us)
{
	return (slot->draining && slot->draining_us < before_us) ||
		   (adapter && adapter->draining && adapter->draining_us < before_us);
}

bool
slots_any_drains_since(const Slots *slots, uint64_t before_us)
{
	for (uint32_t i = 0; i < slots->n; i++)
		if (slots_drain_since(&slots->slots[i], NULL, before_us))
			return true;
	for (uint32_t i = 0; i < slots->n_adapters; i++)
		if (slots->adapters[i].draining && slots->adapters[i].draining_us < before_us)
			return true;
	return false;
}

Slot *
slots_find(Slots *slots, ByteSpan name)
{
	for (uint32_t i = 0; i < slots->n; i++)
	{
		Slot *slot = &slots->slots[i];

		if (!takes_requests(slot))
			continue;
		if (!name.data ||
			(strlen(slot->model->name) == name.length && memcmp(slot->model->name, name.data, name.length) == 0))
			return slot;
	}
	return NULL;
}

void
slots_names(const Slots *slots, char *out, size_t bytes)
{
	size_t length = 0;

	out[0] = '\0';
	for (uint32_t i = 0; i < slots->n; i++)
		if (takes_requests(&slots->slots[i]) && length < bytes)
			length += (size_t) snprintf(out + length, bytes - length, "%s%s", length ? ", " : "",
										slots->slots[i].model->name);
}

bool
slots_evict_block(Slots *slots)
{
	PrefixCache *oldest = NULL;

	for (uint32_t i = 0; i < slots->n; i++)
	{
		PrefixCache *cache = slots->slots[i].cache;

		if (cache && prefix_cache_n_idle(cache) > 0 &&
			(!oldest || prefix_cache_oldest_us(cache) < prefix_cache_oldest_us(oldest)))
			oldest = cache;
	}
	return oldest && prefix_cache_evict(oldest);
}

void
slots_close(Slots *slots)
{
	for (uint32_t i = 0; i < slots->n_adapters; i++)
		close_adapter(&slots->adapters[i]);
	for (uint32_t i = 0; i < slots->n; i++)
		if (slots->slots[i].model)
			close_slot(slots, &slots->slots[i]);
}
