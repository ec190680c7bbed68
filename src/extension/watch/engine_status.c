/*
 * engine_status.c - qwen_engine_status(): what the status page says of the engine.
 */
#include "../core/core.h"

#include "../../base/clock.h"
#include "../core/arguments.h"
#include "../core/shared_memory.h"
#include "../core/texts.h"
#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define N_ENGINE_COLUMNS 30
#define N_GUESS_COLUMNS 11
#define N_FORM_COLUMNS 5

static const char *const engine_state_names[] = {"stopped", "running", "backing off"};

/* What the row says of the prefix cache and of preemption: six columns. */
static void
prefix_columns(StatusPage *page, Datum *values, bool *nulls)
{
	uint64 prompt = atomic_load(&page->n_prompt_tokens), cached = atomic_load(&page->n_cached_tokens);

	values[0] = Int32GetDatum(atomic_load(&page->n_cached_blocks));
	values[1] = Int64GetDatum(atomic_load(&page->kv_bytes_cached));
	values[2] = Int64GetDatum(cached);
	nulls[3] = prompt == 0;
	values[3] = Float8GetDatum(prompt ? (double) cached / prompt : 0);
	values[4] = Int64GetDatum(atomic_load(&page->n_evicted_blocks));
	values[5] = Int64GetDatum(atomic_load(&page->n_preemptions));
}

QWEN_FUNCTION(qwen_engine_status, 0, 0)
{
	StatusPage *page = qwen_page;
	Datum values[N_ENGINE_COLUMNS];
	bool nulls[N_ENGINE_COLUMNS] = {false};
	TupleDesc descriptor;
	QwenShared shared;
	bool running;
	uint64 step_us;

	require_preloaded();
	if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE || descriptor->natts != N_ENGINE_COLUMNS)
		elog(ERROR, "qwen_engine_status has an unexpected shape");
	LWLockAcquire(qwen_shared->lock, LW_SHARED);
	memcpy(&shared, qwen_shared, sizeof shared);
	LWLockRelease(qwen_shared->lock);
	running = shared.engine_state == ENGINE_RUNNING;
	step_us = atomic_load(&page->step_us_total);

	values[0] = CStringGetTextDatum(running && !atomic_load(&page->ready) ? "starting"
																		  : engine_state_names[shared.engine_state]);
	nulls[1] = !running;
	values[1] = Int32GetDatum(shared.engine_pid);
	values[2] = Int64GetDatum(shared.n_restarts);
	nulls[3] = shared.last_error[0] == '\0';
	values[3] = CStringGetTextDatum(server_string(shared.last_error));
	nulls[4] = !running;
	values[4] = TimestampTzGetDatum(shared.started_at);
	nulls[5] = shared.engine_state != ENGINE_BACKING_OFF;
	values[5] = TimestampTzGetDatum(shared.next_try);
	values[6] = page_text(page->isa, sizeof page->isa);
	values[7] = Int32GetDatum(atomic_load(&page->n_threads));
	values[8] = Int32GetDatum(atomic_load(&page->n_clients));
	values[9] = Int32GetDatum(atomic_load(&page->n_running));
	values[10] = Int32GetDatum(atomic_load(&page->n_waiting));
	values[11] = Int32GetDatum(atomic_load(&page->batch_tokens));
	values[12] = Int64GetDatum(atomic_load(&page->kv_bytes_total));
	values[13] = Int64GetDatum(atomic_load(&page->kv_bytes_used));
	values[14] = Int64GetDatum(atomic_load(&page->n_steps));
	values[15] = Int64GetDatum(atomic_load(&page->n_prompt_tokens));
	values[16] = Int64GetDatum(atomic_load(&page->n_generated_tokens));
	values[17] = Int64GetDatum(atomic_load(&page->n_requests_done));
	values[18] = Int64GetDatum(atomic_load(&page->n_requests_failed));
	values[19] = Int64GetDatum(atomic_load(&page->n_requests_cancelled));
	nulls[20] = step_us == 0;
	values[20] = Float8GetDatum(step_us ? atomic_load(&page->n_generated_tokens) * 1e6 / step_us : 0);
	nulls[21] = !running;
	values[21] = Float8GetDatum((double) (int64) (clock_now_us() - atomic_load(&page->heartbeat_us)) / 1000.0);
	prefix_columns(page, values + 22, nulls + 22);
	values[28] = Int64GetDatum(atomic_load(&page->n_guessed_tokens));
	values[29] = Int64GetDatum(atomic_load(&page->n_guessed_right));
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(descriptor), values, nulls));
}

/* What draft models guessed, and how often how many of it came: six columns. */
static void
draft_columns(StatusPage *page, Datum *values, bool *nulls)
{
	uint64 steps = 0, guessed = atomic_load(&page->n_draft_guessed), right = 0;
	Datum lengths[STATUS_PAGE_DRAFT_LENGTHS];

	for (int i = 0; i < STATUS_PAGE_DRAFT_LENGTHS; i++)
	{
		uint64 n = atomic_load(&page->n_draft_right[i]);

		steps += n;
		right += n * i;
		lengths[i] = Int64GetDatum(n);
	}
	values[0] = Int64GetDatum(steps);
	values[1] = Int64GetDatum(guessed);
	values[2] = Int64GetDatum(right);
	nulls[3] = steps == 0;
	values[3] = Float8GetDatum(steps ? (double) right / steps : 0);
	nulls[4] = guessed == 0;
	values[4] = Float8GetDatum(guessed ? (double) right / guessed : 0);
	values[5] = PointerGetDatum(
		construct_array(lengths, STATUS_PAGE_DRAFT_LENGTHS, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* What models' own layers guessed, and how many of it came at a time and of all; and what draft models did. */
QWEN_FUNCTION(qwen_engine_guesses, 0, 0)
{
	uint64 steps, guessed, right;
	Datum values[N_GUESS_COLUMNS];
	bool nulls[N_GUESS_COLUMNS] = {false};
	TupleDesc descriptor;

	require_preloaded();
	if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE || descriptor->natts != N_GUESS_COLUMNS)
		elog(ERROR, "qwen_engine_guesses has an unexpected shape");
	steps = atomic_load(&qwen_page->n_head_steps);
	guessed = atomic_load(&qwen_page->n_head_guessed);
	right = atomic_load(&qwen_page->n_head_right);
	values[0] = Int64GetDatum(steps);
	values[1] = Int64GetDatum(guessed);
	values[2] = Int64GetDatum(right);
	nulls[3] = steps == 0;
	values[3] = Float8GetDatum(steps ? (double) right / steps : 0);
	nulls[4] = guessed == 0;
	values[4] = Float8GetDatum(guessed ? (double) right / guessed : 0);
	draft_columns(qwen_page, values + 5, nulls + 5);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(descriptor), values, nulls));
}

/* What forms of answers have done, and the memory of those that are compiled. */
QWEN_FUNCTION(qwen_engine_forms, 0, 0)
{
	Datum values[N_FORM_COLUMNS];
	bool nulls[N_FORM_COLUMNS] = {false};
	TupleDesc descriptor;

	require_preloaded();
	if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE || descriptor->natts != N_FORM_COLUMNS)
		elog(ERROR, "qwen_engine_forms has an unexpected shape");
	values[0] = Int64GetDatum(atomic_load(&qwen_page->n_constrained_tokens));
	values[1] = Int64GetDatum(atomic_load(&qwen_page->n_forced_tokens));
	values[2] = Float8GetDatum(atomic_load(&qwen_page->mask_ns) / 1000 / 1000.0);
	values[3] = Int32GetDatum(atomic_load(&qwen_page->n_forms));
	values[4] = Int64GetDatum(atomic_load(&qwen_page->form_bytes));
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(descriptor), values, nulls));
}
