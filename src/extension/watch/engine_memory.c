/*
 * engine_memory.c - where the engine's memory goes: weights, keys and values, and all else.
 *
 * The weights are counted by their images, keys and values and the states of hybrids among them by the engine; the rest
 * (buffers of steps, requests, prompts) is what the kernel counts as the engine's own memory beyond those.
 */
#include "../core/core.h"

#include "../core/arguments.h"
#include "../core/settings.h"
#include "../core/shared_memory.h"
#include "access/htup_details.h"
#include "activity.h"
#include "funcapi.h"

#define N_MEMORY_COLUMNS 13
#define N_MEMORY_COLUMNS_0_1 4 /* of the script of version 0.1 */

/* Memory of a process that is its own, in bytes; -1: not known. */
static int64
own_memory(pid_t pid)
{
	char path[64], line[256];
	long long kilobytes = -1;
	FILE *file;

	snprintf(path, sizeof path, "/proc/%d/status", (int) pid);
	file = fopen(path, "r");
	if (!file)
		return -1;
	while (fgets(line, sizeof line, file))
		if (strncmp(line, "RssAnon:", 8) == 0)
			kilobytes = strtoll(line + 8, NULL, 10);
	fclose(file);
	return kilobytes < 0 ? -1 : kilobytes * 1024;
}

/* The images of all models and adapters that are loaded. */
static int64
weights_bytes(const QwenShared *shared)
{
	int64 bytes = 0;

	EACH_SLOT (i)
		if (shared->slots[i].state == SLOT_OPENING || shared->slots[i].state == SLOT_SERVING)
			bytes += qwen_page->slots[i].image_bytes;
	return bytes;
}

/* The states of hybrids: those that requests hold, and what became of snapshots. */
static void
state_columns(StatusPage *page, Datum *values)
{
	uint64 copied = atomic_load(&page->n_snapshots_copied), moved = atomic_load(&page->n_snapshots_moved);

	values[0] = Int32GetDatum(atomic_load(&page->n_states));
	values[1] = Int64GetDatum(atomic_load(&page->state_bytes_used));
	values[2] = Int64GetDatum(atomic_load(&page->state_bytes_resident));
	values[3] = Int32GetDatum(atomic_load(&page->n_snapshots));
	values[4] = Int64GetDatum(atomic_load(&page->snapshot_bytes));
	values[5] = Int64GetDatum(atomic_load(&page->n_snapshots_kept));
	values[6] = Int64GetDatum(copied + moved);
	values[7] = Int64GetDatum(moved);
	values[8] = Int64GetDatum(atomic_load(&page->n_snapshots_evicted));
}

QWEN_FUNCTION(qwen_engine_memory, 0, 0)
{
	TupleDesc descriptor;
	Datum values[N_MEMORY_COLUMNS];
	bool nulls[N_MEMORY_COLUMNS] = {false};
	QwenShared shared;
	int64 cache, own;

	require_preloaded();
	if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE ||
		descriptor->natts < N_MEMORY_COLUMNS_0_1 || descriptor->natts > N_MEMORY_COLUMNS)
		elog(ERROR, "qwen_engine_memory has an unexpected shape");
	LWLockAcquire(qwen_shared->lock, LW_SHARED);
	memcpy(&shared, qwen_shared, sizeof shared);
	LWLockRelease(qwen_shared->lock);
	cache = atomic_load(&qwen_page->kv_bytes_resident);
	own = shared.engine_state == ENGINE_RUNNING ? own_memory(shared.engine_pid) : -1;
	values[0] = Int64GetDatum(weights_bytes(&shared));
	values[1] = Int64GetDatum(cache);
	nulls[2] = own < 0;
	values[2] = Int64GetDatum(Max(own - cache, 0));
	values[3] = Int64GetDatum(activity_unlisted());
	state_columns(qwen_page, values + 4);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(descriptor), values, nulls));
}
