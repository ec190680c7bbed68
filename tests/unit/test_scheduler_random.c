/*
 * test_scheduler_random.c - random mixes of requests of all kinds against each of them alone.
 *
 * Two models share a KV cache that is too small for all, prompts begin alike, requests come and are cancelled at any
 * step, prompts are cut into slices of any size, one or two threads compute, tokens are guessed or not. Every answer
 * must be the one that the request gets alone in an engine with room for everything and no cache.
 *
 * QWEN_INVARIANCE_REQUESTS: compare so many (make check-invariance N=…), and say how many there were.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tiny_engine.h"

#define N_COMPARED 600 /* answers */
#define N_REQUESTS 48  /* of a mix */

/* The same with a hybrid, whose sequences hold states. */
static const TinyModel hybrid_shapes[2] = {
	{TINY_HYBRID | TINY_CLASSES | TINY_BESIDE, 2, 64, 96, 4, 2, 16, 1024, false, TENSOR_Q8_0, 33, POOLING_LAST},
	{TINY_CLASSES, 1, 64, 96, 4, 1, 32, 1024, true, TENSOR_F32, 34, POOLING_MEAN},
};

static const TinyModel shapes[2] = {
	{TINY_CLASSES, 2, 64, 96, 4, 2, 16, 1024, false, TENSOR_Q8_0, 31, POOLING_LAST},
	{TINY_QWEN3 | TINY_CLASSES, 1, 64, 96, 4, 1, 32, 1024, true, TENSOR_F32, 32, POOLING_MEAN},
};

static uint64_t random_state;

/* 0 … n - 1 */
static uint32_t
draw(uint32_t n)
{
	return writer_random(&random_state) % n;
}

/* One request with the memory of its texts. */
typedef struct RandomRequest
{
	Request request;
	uint32_t slot;
	char text[300], messages[400], shared[400];
	uint32_t submit_at, cancel_at; /* step; UINT32_MAX: never */
	TinyCall call;
} RandomRequest;

/* One of three beginnings, cut anywhere, and a few characters of its own. */
static void
random_text(char *text)
{
	uint64_t state = 1 + draw(3);
	uint32_t common = draw(2) ? 100 : draw(200), own = 1 + draw(40);

	for (uint32_t i = 0; i < common; i++)
		*text++ = (char) ('a' + writer_random(&state) % 26);
	for (uint32_t i = 0; i < own; i++)
		*text++ = (char) ('A' + draw(26));
	*text = '\0';
}

/* Each of the sampling options now and then. */
static void
random_options(SamplingOptions *options)
{
	if (draw(4) == 0)
	{
		options->given |= OPTION_REPETITION_PENALTY;
		options->repetition_penalty = 1.3;
	}
	if (draw(6) == 0)
	{
		options->given |= OPTION_PRESENCE_PENALTY | OPTION_FREQUENCY_PENALTY;
		options->presence_penalty = draw(3) * 0.5;
		options->frequency_penalty = draw(3) * 0.25;
	}
	if (draw(4) == 0)
	{
		options->given |= OPTION_TOP_K | OPTION_TOP_P;
		options->top_k = 1 + (int32_t) draw(40);
		options->top_p = draw(100) * 0.01;
	}
	if (draw(6) == 0)
	{
		options->given |= OPTION_MIN_P;
		options->min_p = draw(30) * 0.01;
	}
}

static void
make_random(RandomRequest *r, const RandomRequest *before)
{
	static const uint8_t kinds[] = {REQUEST_GENERATE, REQUEST_GENERATE, REQUEST_GENERATE, REQUEST_CHAT,  REQUEST_CHAT,
									REQUEST_EMBED,    REQUEST_LOGPROBS, REQUEST_SCORE,    REQUEST_RERANK};
	Request *request = &r->request;
	SamplingOptions *options = &request->options;

	memset(r, 0, sizeof *r);
	random_text(r->text);
	request->kind = kinds[draw(sizeof kinds)];
	if (request->kind == REQUEST_CHAT || request->kind == REQUEST_SCORE)
	{
		snprintf(r->messages, sizeof r->messages, "[{\"role\":\"user\",\"content\":\"%s\"}]", r->text);
		snprintf(r->shared, sizeof r->shared, "[{\"role\":\"user\",\"content\":\"%.*s\"}]", (int) draw(100), r->text);
		request->messages = tiny_span(r->messages);
		if (draw(2))
			request->shared_messages = tiny_span(r->shared);
	}
	else
		request->text = tiny_span(r->text);
	if (request->kind == REQUEST_RERANK)
		request->query = tiny_span(draw(2) ? "rivers" : "the longest of all rivers on this earth");
	if (request->kind == REQUEST_SCORE)
		request->candidates =
			tiny_span("[\"yes\", \"yesterday\", \"year\", \"no\", \"never and at no time in all of the "
					  "long history of this world\", \"never and at no time in all of the short one\"]");
	options->given = OPTION_MAX_TOKENS | OPTION_TEMPERATURE | OPTION_SEED;
	options->max_tokens = draw(3) ? 160 : 1 + (int32_t) draw(160);
	options->temperature = draw(3) ? 0 : 1;
	options->seed = draw(1000);
	random_options(options);
	if (draw(4) == 0)
	{
		request->n_stops = 1;
		request->stops[0] = tiny_span("e");
	}
	request->role = 10 + draw(2);
	request->priority = draw(8) ? 0 : (int32_t) draw(3) - 1;
	request->prefix_sharing = draw(3) ? PREFIX_ROLE : (uint8_t) draw(3);
	r->slot = draw(3) == 0;
	/* now and then the very request that came before */
	if (before && draw(4) == 0)
	{
		r->slot = before->slot;
		r->request = before->request;
	}
	r->submit_at = draw(3) ? draw(4) : draw(200);
	r->cancel_at = draw(8) ? UINT32_MAX : r->submit_at + draw(60);
}

/* The same content, or the same RESULT. */
static void
assert_same(const TinyCall *found, const TinyCall *expected, uint32_t mix, int index)
{
	FrameHeader header;
	bool same;

	assert_int_equal(decode_header(expected->out.data, false, &header).code, STATUS_OK);
	if (header.type == FRAME_DONE)
	{
		Done a = tiny_done(found), b = tiny_done(expected);

		same = a.completion_tokens == b.completion_tokens && a.prompt_tokens == b.prompt_tokens &&
			   a.finish_reason == b.finish_reason && a.content.length == b.content.length &&
			   memcmp(a.content.data, b.content.data, a.content.length) == 0;
	}
	else
		same = tiny_same_result(&found->out, &expected->out);
	if (!same)
		fail_msg("mix %u, request %d: frame %u differs from that of the request alone", mix, index, header.type);
}

/* Submit and cancel what is to be at this step. */
static void
do_what_is_due(TinyEngine *engine, RandomRequest *requests, uint32_t step)
{
	for (int i = 0; i < N_REQUESTS; i++)
	{
		RandomRequest *r = &requests[i];

		if (r->submit_at == step)
		{
			tiny_submit_to(engine, r->slot, &r->request, &r->call);
			assert_string_equal(r->call.status.message, "");
			r->call.request->alone = step % 2 == 0;
		}
		if (r->cancel_at == step && r->call.request)
			tiny_cancel(engine, &r->call);
	}
}

/* What happened in all mixes; each of it must, or nothing was tested. */
typedef struct Seen
{
	uint64_t n_compared, n_cancelled, n_preemptions, n_cached, n_evicted, n_guessed_right, n_head_guessed,
		n_prompts_first;
} Seen;

/* Run one mix and compare its answers. */
static void
run_mix(uint32_t mix, TinyEngine *alone, RandomRequest *requests, Seen *seen)
{
	SchedulerSettings settings = {.queue_size = 100,
								  .speculation = mix % 2 == 0   ? SPECULATION_AUTO
												 : mix % 4 == 1 ? SPECULATION_ALWAYS
																: SPECULATION_OFF};
	Model *models[2] = {alone->slots.slots[0].model, alone->slots.slots[1].model};
	/* many at a time in every fourth mix; where memory is short few are */
	bool roomy = mix % 4 == 3;
	TinyEngine *engine;
	uint32_t step = 0;

	random_state = mix * 1000003 + 12345;
	settings.max_running = roomy ? N_REQUESTS : mix % 4 ? 6 + draw(16) : 1 + draw(4);
	settings.prefill_chunk = mix % 5 == 0 ? 1 + draw(16) : mix % 5 == 1 ? 512 : 16 + draw(100);
	/* the longest request needs 14 blocks of 32: 240 of text, 40 of the template, 160 of the answer */
	engine = tiny_engine_of(models, 2, alone->slots.settings.kv_type, mix % 3 == 0 ? 2 : 1,
							roomy ? 14 * N_REQUESTS : 14 + draw(8), settings);
	for (int i = 0; i < N_REQUESTS; i++)
	{
		make_random(&requests[i], i ? &requests[i - 1] : NULL);
		if (roomy)
			requests[i].slot = 0;
		/* where roles share steps no prompt goes first: so one role in half of those mixes */
		if (mix % 8 == 3)
			requests[i].request.role = 10;
	}
	for (; step < 201 || scheduler_has_work(engine->scheduler); step++)
	{
		do_what_is_due(engine, requests, step);
		if (scheduler_has_work(engine->scheduler))
			tiny_step(engine);
		seen->n_prompts_first += engine->slots.slots[0].turn == TURN_ANSWERS;
		assert_true(step < 20000);
	}
	for (int i = 0; i < N_REQUESTS; i++)
	{
		RandomRequest *r = &requests[i];
		Request request = r->request;
		TinyCall expected;

		if (r->call.out.length > 0)
		{
			request.prefix_sharing = PREFIX_OFF;
			tiny_submit_to(alone, r->slot, &request, &expected);
			tiny_run(alone);
			assert_same(&r->call, &expected, mix, i);
			tiny_call_free(&expected);
			seen->n_compared++;
		}
		else
			seen->n_cancelled++;
		tiny_call_free(&r->call);
	}
	seen->n_preemptions += atomic_load(&engine->page->n_preemptions);
	seen->n_cached += atomic_load(&engine->page->n_cached_tokens);
	seen->n_evicted += atomic_load(&engine->page->n_evicted_blocks);
	seen->n_guessed_right += atomic_load(&engine->page->n_guessed_right);
	seen->n_head_guessed += atomic_load(&engine->page->n_head_guessed);
	assert_int_equal(atomic_load(&engine->page->kv_bytes_used), 0);
	while (slots_evict_block(&engine->slots))
		;
	assert_int_equal(kv_budget_in_use(engine->slots.settings.budget), 0);
	/* the models are those of the other engine */
	engine->slots.slots[0].model = engine->slots.slots[1].model = NULL;
	tiny_engine_free(engine);
}

/* Mixes of requests for two models, whose keys and values are of a type, until so many answers were compared. */
static Seen
compare_mixes(const TinyModel *models, KvType kv_type, uint32_t *n_mixes)
{
	SchedulerSettings roomy = {.max_running = 4, .prefill_chunk = 300, .queue_size = 10};
	Model *opened[] = {tiny_model(&models[0]), tiny_model(&models[1])};
	TinyEngine *alone = tiny_engine_of(opened, 2, kv_type, 1, 500, roomy);
	RandomRequest *requests = calloc(N_REQUESTS, sizeof *requests);
	const char *wanted = getenv("QWEN_INVARIANCE_REQUESTS");
	uint64_t n_wanted = wanted ? strtoull(wanted, NULL, 10) : N_COMPARED;
	Seen seen = {0};

	while (seen.n_compared < n_wanted || *n_mixes < 16)
		run_mix((*n_mixes)++, alone, requests, &seen);
	assert_int_equal(atomic_load(&alone->page->n_cached_tokens) + atomic_load(&alone->page->n_preemptions), 0);
	if (wanted)
		print_message("%llu answers in %u mixes are those of the request alone; %llu requests were cancelled, %llu "
					  "preemptions, %llu cached tokens, %llu evicted blocks, %llu right guesses, %llu guesses by a "
					  "layer of the model, %llu steps of "
					  "prompts alone\n",
					  (unsigned long long) seen.n_compared, *n_mixes, (unsigned long long) seen.n_cancelled,
					  (unsigned long long) seen.n_preemptions, (unsigned long long) seen.n_cached,
					  (unsigned long long) seen.n_evicted, (unsigned long long) seen.n_guessed_right,
					  (unsigned long long) seen.n_head_guessed, (unsigned long long) seen.n_prompts_first);
	tiny_engine_free(alone);
	free(requests);
	return seen;
}

static void
answers_depend_on_nothing_else(void **state)
{
	uint32_t n_mixes = 0;
	Seen seen = compare_mixes(shapes, KV_Q4, &n_mixes);

	(void) state;
	assert_true(seen.n_cancelled > n_mixes && seen.n_preemptions > n_mixes && seen.n_cached > 50 * n_mixes &&
				seen.n_evicted > 30 * n_mixes && seen.n_guessed_right > n_mixes);
	/* where many run at a time and one role asks, which is one mix in eight */
	assert_true(seen.n_prompts_first > 3 * ((n_mixes + 4) / 8));
}

static void
answers_of_hybrids_depend_on_nothing_else(void **state)
{
	uint32_t n_mixes = 0;
	Seen seen;

	(void) state;
	/* few, so that states are short as well */
	tiny_n_states = 3;
	seen = compare_mixes(hybrid_shapes, tiny_state_type == STATE_F16 ? KV_F16 : KV_Q8_0, &n_mixes);
	tiny_n_states = 6;
	assert_true(seen.n_cancelled > n_mixes && seen.n_preemptions > n_mixes && seen.n_cached > 10 * n_mixes &&
				seen.n_guessed_right > n_mixes && seen.n_head_guessed > n_mixes);
}

static void
answers_of_hybrids_depend_on_nothing_else_in_f16(void **state)
{
	tiny_state_type = STATE_F16;
	answers_of_hybrids_depend_on_nothing_else(state);
	tiny_state_type = STATE_F32;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(answers_depend_on_nothing_else),
									   cmocka_unit_test(answers_of_hybrids_depend_on_nothing_else),
									   cmocka_unit_test(answers_of_hybrids_depend_on_nothing_else_in_f16)};

	return cmocka_run_group_tests_name("scheduler_random", tests, NULL, NULL);
}
