/*
 * tiny_engine.h - a whole engine without its sockets, around a tiny random model: for tests of scheduling.
 *
 * Header only. A TinyCall is one request: made by tiny_submit, run by tiny_run, its answer read by tiny_done.
 */
#ifndef TINY_ENGINE_H
#define TINY_ENGINE_H

#include "../../src/base/clock.h"
#include "../../src/engine/format_cache.h"
#include "../../src/engine/prepare.h"
#include "../../src/engine/scheduler.h"
#include "tiny_model.h"

typedef struct TinyEngine
{
	Slots slots;
	StatusPage *page;
	Scheduler *scheduler;
	uint64_t n_steps;
} TinyEngine;

typedef struct TinyCall
{
	TinyEngine *engine;
	EngineRequest *request; /* NULL: ended or refused */
	Status status;
	ByteWriter out;
	uint64_t ended_at; /* step */
	uint32_t number;   /* which one ended how manieth */
} TinyCall;

static uint32_t tiny_n_ended;

static ByteWriter *
tiny_output(void *argument, EngineRequest *request)
{
	TinyCall *call = request->client;

	(void) argument;
	return &call->out;
}

static void
tiny_ended(void *argument, EngineRequest *request)
{
	TinyEngine *engine = argument;
	TinyCall *call = request->client;

	call->request = NULL;
	call->ended_at = engine->n_steps;
	call->number = tiny_n_ended++;
	request_destroy(request);
}

/* States of a hybrid that there is memory for beside its blocks. */
__attribute__((unused)) static uint32_t tiny_n_states = 6;
__attribute__((unused)) static StateType tiny_state_type = STATE_F32;

/*
 * An engine of n_threads with n_blocks of KV cache (counted in blocks of the first model) for some models, which it
 * closes at its end.
 */
static inline TinyEngine *
tiny_engine_of(Model *const *models, uint32_t n_models, KvType kv_type, int n_threads, uint32_t n_blocks,
			   SchedulerSettings settings)
{
	TinyEngine *engine = calloc(1, sizeof *engine);
	SchedulerCallbacks callbacks = {tiny_output, tiny_ended, engine};
	SlotSettings *s = &engine->slots.settings;

	engine->page = calloc(1, sizeof *engine->page);
	engine->slots.page = engine->page;
	s->team = team_create(n_threads);
	s->kv_type = kv_type;
	s->max_running = settings.max_running;
	s->max_rows = settings.max_running + settings.prefill_chunk + DRAFT_ROWS;
	for (uint32_t i = 0; i < n_models; i++)
	{
		Slot *slot = &engine->slots.slots[engine->slots.n++];

		slot->model = models[i];
		slot->model->hyper.state_type = tiny_state_type;
		slot->status = &engine->page->slots[i];
		if (i == 0)
		{
			const ModelHyper *hyper = &slot->model->hyper;
			uint64_t bytes = (uint64_t) model_n_cache_layers(hyper) * hyper->n_kv_heads * 2 *
							 kv_slice_bytes(kv_type, hyper->head_dim);
			uint64_t state_bytes = (model_state_bytes(hyper) + 4095) / 4096 * 4096;

			s->budget = kv_budget_create(n_blocks * ((bytes + 4095) / 4096 * 4096) + tiny_n_states * state_bytes);
		}
		if (kv_pool_create(s->budget, &slot->model->hyper, s->kv_type, slot->model->key_outliers != NULL, &slot->pool)
					.code != STATUS_OK ||
			prefix_cache_create(slot->pool, &slot->cache).code != STATUS_OK ||
			forward_create(slot->model, slot->pool, s->team, s->max_rows, s->max_running,
						   s->max_running + LOGPROB_ROWS + DRAFT_ROWS, &slot->forward)
					.code != STATUS_OK)
			abort();
	}
	engine->scheduler = scheduler_create(&settings, &callbacks, &engine->slots, engine->page);
	return engine;
}

/* An engine of one thread, keys and values in F16, for the models of n_models shapes. */
static inline TinyEngine *
tiny_engine(const TinyModel *shapes, uint32_t n_models, uint32_t n_blocks, SchedulerSettings settings)
{
	Model *models[STATUS_PAGE_MAX_SLOTS];

	for (uint32_t i = 0; i < n_models; i++)
		models[i] = tiny_model(&shapes[i]);
	return tiny_engine_of(models, n_models, KV_F16, 1, n_blocks, settings);
}

static inline void
tiny_engine_free(TinyEngine *engine)
{
	for (uint32_t i = 0; i < engine->slots.n; i++)
	{
		forward_destroy(engine->slots.slots[i].forward);
		prefix_cache_destroy(engine->slots.slots[i].cache);
		kv_pool_destroy(engine->slots.slots[i].pool);
		/* as where a model goes: the next one may stand at the same address */
		format_cache_forget(engine->slots.slots[i].model);
		model_close(engine->slots.slots[i].model);
	}
	scheduler_destroy(engine->scheduler);
	kv_budget_destroy(engine->slots.settings.budget);
	team_destroy(engine->slots.settings.team);
	free(engine->page);
	free(engine);
}

static inline ByteSpan
tiny_span(const char *text)
{
	return (ByteSpan){text, strlen(text)};
}

/* A raw completion for a role: greedy with temperature 0, else seeded. Every byte of the prompt is one token. */
static inline Request
tiny_request(const char *prompt, int32_t max_tokens, uint32_t role)
{
	return (Request){
		.kind = REQUEST_GENERATE,
		.text = tiny_span(prompt),
		.options = {.given = OPTION_MAX_TOKENS | OPTION_TEMPERATURE, .max_tokens = max_tokens},
		.role = role,
		.prefix_sharing = PREFIX_ROLE,
	};
}

/* REQUEST and GO. status says whether it was refused. */
static inline void
tiny_submit_to(TinyEngine *engine, uint32_t slot, const Request *request, TinyCall *call)
{
	Slot *of = &engine->slots.slots[slot];
	AdapterSlot *adapter = request->adapter.data ? slots_find_adapter(&engine->slots, of, request->adapter) : NULL;

	*call = (TinyCall){.engine = engine};
	byte_writer_init(&call->out);
	call->status = prepare_in_loop(of->model, of->pool, adapter, request, 1, &call->out, &call->request);
	call->out.length = 0;
	if (call->status.code != STATUS_OK)
		return;
	request_use_slot(call->request, &engine->slots.slots[slot]);
	call->request->client = call;
	call->status = scheduler_go(engine->scheduler, call->request);
	if (call->status.code == STATUS_OK)
		return;
	request_destroy(call->request);
	call->request = NULL;
}

static inline void
tiny_submit(TinyEngine *engine, const Request *request, TinyCall *call)
{
	tiny_submit_to(engine, 0, request, call);
}

static inline void
tiny_step(TinyEngine *engine)
{
	engine->n_steps++;
	scheduler_step(engine->scheduler);
}

/* Until nothing is left to do. */
static inline void
tiny_run(TinyEngine *engine)
{
	while (scheduler_has_work(engine->scheduler))
		tiny_step(engine);
}

static inline void
tiny_cancel(TinyEngine *engine, TinyCall *call)
{
	scheduler_remove(engine->scheduler, call->request);
	request_destroy(call->request);
	call->request = NULL;
}

/* DONE of a call that has ended. Its texts live as long as the call. */
static inline Done
tiny_done(const TinyCall *call)
{
	Done done = {0};
	FrameHeader header;

	if (call->request || call->out.length < PROTOCOL_HEADER_BYTES ||
		decode_header(call->out.data, false, &header).code != STATUS_OK || header.type != FRAME_DONE ||
		decode_done(call->out.data + PROTOCOL_HEADER_BYTES, header.body_bytes, &done).code != STATUS_OK)
		abort();
	return done;
}

/* Have two calls ended with the same RESULT? What was cached is no part of it. */
static inline bool
tiny_same_result(const ByteWriter *a, const ByteWriter *b)
{
	const ByteWriter *outs[2] = {a, b};
	RequestResult results[2];

	for (int i = 0; i < 2; i++)
	{
		FrameHeader header;

		if (outs[i]->length < PROTOCOL_HEADER_BYTES || decode_header(outs[i]->data, false, &header).code != STATUS_OK ||
			header.type != FRAME_RESULT ||
			decode_result(outs[i]->data + PROTOCOL_HEADER_BYTES, header.body_bytes, &results[i]).code != STATUS_OK)
			return false;
	}
	return results[0].kind == results[1].kind && results[0].count == results[1].count &&
		   results[0].prompt_tokens == results[1].prompt_tokens && results[0].text.length == results[1].text.length &&
		   memcmp(results[0].values, results[1].values,
				  (size_t) results[0].count * result_value_bytes(results[0].kind)) == 0 &&
		   (results[0].text.length == 0 ||
			memcmp(results[0].text.data, results[1].text.data, results[0].text.length) == 0);
}

static inline void
tiny_call_free(TinyCall *call)
{
	byte_writer_free(&call->out);
}

#endif
