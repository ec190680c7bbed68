/*
 * test_guesses.c - guesses of a model's own layer (nextn): answers stay as they are, and the layer computes what it
 * should.
 *
 * The layer's weights are random, and what it says is held against the same in plain double arithmetic, from the
 * model's own hidden states and embeddings.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tiny_engine.h"

static const TinyModel dense = {TINY_HYBRID | TINY_BESIDE, 4, 64, 64, 2, 1, 32, 12000, false, TENSOR_F32, 5, -1};
static const TinyModel experts = {
	TINY_HYBRID | TINY_BESIDE | TINY_EXPERTS, 4, 64, 64, 2, 1, 32, 12000, true, TENSOR_F32, 6, -1};

static const TinyModel copies = {
	TINY_HYBRID | TINY_BESIDE | TINY_COPIES, 4, 64, 64, 2, 1, 32, 12000, true, TENSOR_F32, 8, -1};

/* ---- the layer in double ---------------------------------------------------------------------------------------- */

#define MAX_ROWS 80
#define HIDDEN 64
#define HEADS 2
#define DIM 32
#define FFN 64

static void
rms(const double *x, const float *weight, uint32_t n, double *out)
{
	double sum = 0, scale;

	for (uint32_t i = 0; i < n; i++)
		sum += x[i] * x[i];
	scale = 1 / sqrt(sum / n + 1e-6);
	for (uint32_t i = 0; i < n; i++)
		out[i] = x[i] * scale * weight[i];
}

/* y = W x, W a packed matrix of floats. */
static void
multiply(const PackedMatrix *matrix, const double *x, double *y)
{
	float row[2 * HIDDEN];

	for (uint32_t r = 0; r < matrix->n_rows; r++)
	{
		packed_row_expand(matrix, r, row);
		y[r] = 0;
		for (uint32_t c = 0; c < matrix->n_cols; c++)
			y[r] += row[c] * x[c];
	}
}

/* The first half of a head's elements is turned. */
static void
turn(double *head, uint32_t position)
{
	for (uint32_t i = 0; i < DIM / 4; i++)
	{
		double angle = position * pow(10000, -2.0 * i / (DIM / 2)), a = head[i], b = head[i + DIM / 4];

		head[i] = a * cos(angle) - b * sin(angle);
		head[i + DIM / 4] = a * sin(angle) + b * cos(angle);
	}
}

/* Logits of the layer's last row of n (of positions 1 … n), by tokens and the hidden states before them; its own hidden
 * state goes to last. */
static void
layer_in_double(const Model *model, const int32_t *tokens, double (*before)[HIDDEN], uint32_t n, double *logits,
				double *last)
{
	static double joined[MAX_ROWS][HIDDEN], k[MAX_ROWS][DIM], v[MAX_ROWS][DIM];
	const ModelLayer *layer = &model->layers[model->hyper.n_layers];
	double input[2 * HIDDEN], q[2 * HEADS * DIM], out[HEADS * DIM], x[HIDDEN], y[HIDDEN], gate[FFN], up[FFN];

	for (uint32_t r = 0; r < n; r++)
	{
		float embedding[HIDDEN];
		double e[HIDDEN], normed[HIDDEN];

		packed_row_expand(&model->token_embedding, (uint32_t) tokens[r + 1], embedding);
		for (uint32_t i = 0; i < HIDDEN; i++)
			e[i] = embedding[i];
		rms(e, layer->guess_token_norm, HIDDEN, input);
		rms(before[r], layer->guess_hidden_norm, HIDDEN, input + HIDDEN);
		multiply(&layer->guess_input, input, joined[r]);
		rms(joined[r], layer->attn_norm, HIDDEN, normed);
		multiply(&layer->attn_k, normed, k[r]);
		multiply(&layer->attn_v, normed, v[r]);
		rms(k[r], layer->attn_k_norm, DIM, k[r]);
		turn(k[r], r + 1);
		if (r == n - 1)
			multiply(&layer->attn_q, normed, q);
	}
	for (uint32_t h = 0; h < HEADS; h++)
	{
		double *head = q + (size_t) h * 2 * DIM, weights[MAX_ROWS], sum = 0;

		rms(head, layer->attn_q_norm, DIM, head);
		turn(head, n);
		for (uint32_t r = 0; r < n; r++)
		{
			double dot = 0;

			for (uint32_t d = 0; d < DIM; d++)
				dot += head[d] * k[r][d];
			weights[r] = exp(dot / sqrt(DIM));
			sum += weights[r];
		}
		for (uint32_t d = 0; d < DIM; d++)
		{
			double attended = 0;

			for (uint32_t r = 0; r < n; r++)
				attended += weights[r] / sum * v[r][d];
			out[h * DIM + d] = attended / (1 + exp(-head[DIM + d]));
		}
	}
	multiply(&layer->attn_output, out, y);
	for (uint32_t i = 0; i < HIDDEN; i++)
		joined[n - 1][i] += y[i];
	rms(joined[n - 1], layer->ffn_norm, HIDDEN, x);
	multiply(&layer->ffn_gate, x, gate);
	multiply(&layer->ffn_up, x, up);
	for (uint32_t i = 0; i < FFN; i++)
		gate[i] = gate[i] / (1 + exp(-gate[i])) * up[i];
	multiply(&layer->ffn_down, gate, y);
	for (uint32_t i = 0; i < HIDDEN; i++)
		joined[n - 1][i] += y[i];
	rms(joined[n - 1], model->guess_output_norm, HIDDEN, last);
	multiply(&model->guess_output, last, logits);
}

/* ---- a model alone ---------------------------------------------------------------------------------------------- */

typedef struct Alone
{
	Model *model;
	KvBudget *budget;
	KvPool *pool;
	Team *team;
	Forward *forward;
	uint32_t blocks[4], state;
	int32_t tokens[MAX_ROWS + 8];
	float logits[8][TINY_VOCAB];
} Alone;

static void
open_alone(Alone *alone, const TinyModel *shape, int n_threads)
{
	*alone = (Alone){.model = tiny_model(shape), .budget = kv_budget_create(16 << 20), .team = team_create(n_threads)};
	tiny_require(kv_pool_create(alone->budget, &alone->model->hyper, KV_F32, false, &alone->pool));
	tiny_require(forward_create(alone->model, alone->pool, alone->team, 64, 2, 8, &alone->forward));
	assert_true(forward_has_head(alone->forward));
	assert_true(kv_pool_take(alone->pool, 4, alone->blocks));
	assert_true(kv_pool_take(kv_pool_states(alone->pool), 1, &alone->state));
	for (uint32_t i = 0; i < MAX_ROWS; i++)
		alone->tokens[i] = (int32_t) ((i * i * 31 + 7 * i + 3) % 256);
}

static void
close_alone(Alone *alone)
{
	forward_destroy(alone->forward);
	kv_pool_destroy(alone->pool);
	kv_budget_destroy(alone->budget);
	team_destroy(alone->team);
	model_close(alone->model);
}

/* Rows first … end-1 of the text through the model. */
static void
step(Alone *alone, uint32_t first, uint32_t end, bool want_hidden, bool is_tentative)
{
	StepSequence sequence = {
		.tokens = alone->tokens + first,
		.n_tokens = end - first,
		.first_position = first,
		.kv_blocks = alone->blocks,
		.n_logits = want_hidden ? 0 : 1,
		.want_hidden = want_hidden,
		.state = kv_pool_state(kv_pool_states(alone->pool), alone->state),
		.is_tentative = is_tentative,
	};

	forward_step(alone->forward, &sequence, 1);
}

static void
keep_logits(void *argument, uint32_t s, uint32_t i, float *logits)
{
	Alone *alone = argument;

	(void) s;
	memcpy(alone->logits[i], logits, sizeof alone->logits[i]);
}

/* The layer's guesses behind token n (the tokens of guesses stand in the text, whatever the layer says). */
static void
guess(Alone *alone, uint32_t n, uint32_t n_guesses)
{
	for (uint32_t i = 0; i < n_guesses; i++)
	{
		StepSequence sequence = {
			.tokens = alone->tokens + n + i,
			.n_tokens = 1,
			.first_position = n + i,
			.kv_blocks = alone->blocks,
			.n_logits = 1,
			.state = kv_pool_state(kv_pool_states(alone->pool), alone->state),
		};

		forward_guess(alone->forward, &sequence, 1, i, keep_logits, alone);
	}
}

static void
the_layer_computes_what_it_should(void **state)
{
	static const uint32_t ends[] = {1, 2, 31, 32, 33, 70};
	static double before[MAX_ROWS][HIDDEN];
	Alone alone;

	(void) state;
	open_alone(&alone, &dense, 1);
	for (uint32_t e = 0; e < sizeof ends / sizeof ends[0]; e++)
	{
		uint32_t n = ends[e];

		for (uint32_t at = 0, slice; at < n; at += slice)
		{
			slice = n - at < 40 ? n - at : 40;
			step(&alone, at, at + slice, true, false);
			for (uint32_t r = 0; r < slice; r++)
				for (uint32_t i = 0; i < HIDDEN; i++)
					before[at + r][i] = forward_hidden(alone.forward, 0, r)[i];
		}
		guess(&alone, n, 3);
		for (uint32_t i = 0; i < 3; i++)
		{
			double logits[TINY_VOCAB], square = 0, wrong = 0;

			layer_in_double(alone.model, alone.tokens, before, n + i, logits, before[n + i]);
			for (uint32_t t = 0; t < TINY_VOCAB; t++)
			{
				square += logits[t] * logits[t];
				wrong += (logits[t] - alone.logits[i][t]) * (logits[t] - alone.logits[i][t]);
			}
			if (sqrt(wrong / square) > 1e-4)
				fail_msg("guess %u behind %u positions is off by %g", i, n, sqrt(wrong / square));
		}
	}
	close_alone(&alone);
}

/* Whichever way a text was computed, the layer says the same, bit for bit. */
static void
guesses_have_the_same_bits_whatever_came_before(void **state)
{
	const TinyModel *shapes[] = {&dense, &experts};

	(void) state;
	for (uint32_t m = 0; m < 2; m++)
	{
		static float expected[3][TINY_VOCAB];

		for (uint32_t way = 0; way < 5; way++)
		{
			Alone alone;
			float *kept;

			open_alone(&alone, shapes[m], way == 2 ? 2 : 1);
			kept = kv_pool_state(kv_pool_states(alone.pool), alone.state);
			switch (way)
			{
				case 0:
				case 2:
					step(&alone, 0, 50, false, false);
					break;
				case 1:
					for (uint32_t i = 0; i < 50; i++)
						step(&alone, i, i + 1, false, false);
					break;
				default:
					/* guesses of which so many count, made by the layer, which writes keys of its own there */
					step(&alone, 0, 40, false, false);
					guess(&alone, 40, 5);
					for (uint32_t i = 43; i < 46; i++)
						alone.tokens[i] = 5;
					step(&alone, 40, 46, false, true);
					forward_accept(kept, 3);
					for (uint32_t i = 43; i < 46; i++)
						alone.tokens[i] = (int32_t) ((i * i * 31 + 7 * i + 3) % 256);
					step(&alone, 43, way == 3 ? 50 : 47, false, way == 4);
					if (way == 4)
					{
						forward_accept(kept, 4);
						step(&alone, 47, 50, false, true);
						forward_accept(kept, 3);
					}
			}
			guess(&alone, 50, 3);
			if (way == 0)
				memcpy(expected, alone.logits, sizeof expected);
			else if (memcmp(expected, alone.logits, sizeof expected) != 0)
				fail_msg("model %u, way %u", m, way);
			close_alone(&alone);
		}
	}
}

/* ---- answers ---------------------------------------------------------------------------------------------------- */

/* The answer to a request; guesses of the layer and how many were right are added to n. */
static char *
answer(const TinyModel *shape, const Request *request, Speculation speculation, uint32_t n_blocks, uint64_t n[2])
{
	SchedulerSettings settings = {.max_running = 4, .prefill_chunk = 64, .queue_size = 10, .speculation = speculation};
	TinyEngine *engine = tiny_engine(shape, 1, n_blocks, settings);
	TinyCall calls[3];
	char *text;

	for (uint32_t i = 0; i < 3; i++)
	{
		Request one = *request;

		one.options.seed += i;
		tiny_submit(engine, &one, &calls[i]);
		assert_string_equal(calls[i].status.message, "");
	}
	tiny_run(engine);
	if (asprintf(&text, "%.*s|%.*s|%.*s", (int) tiny_done(&calls[0]).content.length, tiny_done(&calls[0]).content.data,
				 (int) tiny_done(&calls[1]).content.length, tiny_done(&calls[1]).content.data,
				 (int) tiny_done(&calls[2]).content.length, tiny_done(&calls[2]).content.data) < 0)
		abort();
	n[0] += atomic_load(&engine->page->n_head_guessed);
	n[1] += atomic_load(&engine->page->n_head_right);
	for (uint32_t i = 0; i < 3; i++)
		tiny_call_free(&calls[i]);
	assert_int_equal(atomic_load(&engine->page->kv_bytes_used), 0);
	tiny_engine_free(engine);
	return text;
}

static void
answers_do_not_change(void **state)
{
	static const char *const prompts[] = {"a rose is a rose is a rose is", "x", "the same words and others"};
	const TinyModel *shapes[] = {&copies, &experts};
	uint64_t n[2] = {0, 0}, none[2] = {0, 0};

	(void) state;
	for (uint32_t i = 0; i < 18; i++)
	{
		Request request = tiny_request(prompts[i % 3], 60, 1);
		char *plain, *guessed, *little;

		/* greedy, drawn, with penalties */
		request.options.temperature = (double[]){0, 0.8, 0.5}[i / 3 % 3];
		request.options.seed = i;
		request.options.given |= OPTION_SEED;
		if (i / 3 % 3 == 2)
		{
			request.options.given |= OPTION_REPETITION_PENALTY | OPTION_FREQUENCY_PENALTY;
			request.options.repetition_penalty = 1.1;
			request.options.frequency_penalty = 0.3;
		}
		plain = answer(shapes[i / 9], &request, SPECULATION_OFF, 1000, none);
		guessed = answer(shapes[i / 9], &request, SPECULATION_ALWAYS, 1000, n);
		little = answer(shapes[i / 9], &request, SPECULATION_ALWAYS, 4, n);
		assert_string_equal(guessed, plain);
		assert_string_equal(little, plain);
		free(plain);
		free(guessed);
		free(little);
	}
	assert_int_equal(none[0], 0);
	/* some are right and others are not, which is where a wrong state would show */
	if (n[0] < 1000 || n[1] < 400)
		fail_msg("%llu guesses, %llu right", (unsigned long long) n[0], (unsigned long long) n[1]);
}

static void
so_many_guesses_are_made_as_pay(void **state)
{
	const double free_rows[] = {100, 101, 102, 103}, dear_rows[] = {100, 130, 160, 190};
	HeadHistory history = {0};

	(void) state;
	assert_int_equal(drafts_that_pay(0.9, 3, free_rows), 3);
	assert_int_equal(drafts_that_pay(0.01, 3, free_rows), 0);
	assert_int_equal(drafts_that_pay(0.2, 3, dear_rows), 0);
	assert_int_equal(drafts_that_pay(0.6, 3, dear_rows), 1);
	assert_true(drafts_of_head(&history) > 0.5);
	for (uint32_t i = 0; i < 30; i++)
		drafts_head_learn(&history, 3, 0);
	assert_true(drafts_of_head(&history) < 0.15);
	for (uint32_t i = 0; i < 100; i++)
		drafts_head_learn(&history, 3, 3);
	assert_true(drafts_of_head(&history) > 0.9);
	drafts_head_rest(&history);
	assert_int_equal(history.n_looks, 1);
	for (uint32_t i = 0; i < 64; i++)
		assert_true(drafts_head_rests(&history));
	assert_false(drafts_head_rests(&history));
	/* what was learnt counts a little still */
	assert_true(drafts_of_head(&history) > 0.85);
}

/* Guesses of a text of n tokens in which none is right, by what a step takes without and with one. */
static uint32_t
guesses_in_vain(uint32_t n, double plain, double with_one)
{
	const double us[] = {plain, with_one};
	HeadHistory history = {0};
	uint32_t tried = 0;

	for (uint32_t i = 0; i < n; i++)
	{
		if (drafts_head_rests(&history))
			continue;
		if (drafts_that_pay(drafts_of_head(&history), 1, us) == 0 && history.n_looks == 0)
		{
			drafts_head_rest(&history);
			continue;
		}
		history.n_looks -= history.n_looks > 0;
		drafts_head_learn(&history, 1, 0);
		tried++;
	}
	return tried;
}

/* What guesses in vain cost of an answer is less than 3 in 100, whatever a guess takes. */
static void
guesses_in_vain_are_few(void **state)
{
	(void) state;
	for (uint32_t n = 160; n <= 10240; n *= 4)
		for (double dear = 0.02; dear < 0.7; dear += 0.02)
			assert_true(guesses_in_vain(n, 100, 100 * (1 + dear)) * dear < 0.008 * n);
	assert_true(guesses_in_vain(100000, 100, 130) < 220);
}

/* The hidden state before a guess stands behind a sequence's state: where all layers have attention there is none. */
static void
without_delta_nets_the_layer_is_left_out(void **state)
{
	static const TinyModel shape = {
		TINY_HYBRID | TINY_BESIDE | TINY_NO_DELTA, 4, 64, 64, 2, 1, 32, 12000, false, TENSOR_F32, 5, -1};
	SchedulerSettings settings = {
		.max_running = 4, .prefill_chunk = 64, .queue_size = 10, .speculation = SPECULATION_ALWAYS};
	TinyEngine *engine = tiny_engine(&shape, 1, 100, settings);
	Request request = tiny_request("a text of some length", 30, 10);
	TinyCall call;

	(void) state;
	assert_false(forward_has_head(engine->slots.slots[0].forward));
	tiny_submit(engine, &request, &call);
	assert_string_equal(call.status.message, "");
	tiny_run(engine);
	assert_int_equal(tiny_done(&call).completion_tokens, 30);
	tiny_call_free(&call);
	tiny_engine_free(engine);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_layer_computes_what_it_should),
		cmocka_unit_test(guesses_have_the_same_bits_whatever_came_before),
		cmocka_unit_test(answers_do_not_change),
		cmocka_unit_test(without_delta_nets_the_layer_is_left_out),
		cmocka_unit_test(so_many_guesses_are_made_as_pay),
		cmocka_unit_test(guesses_in_vain_are_few),
	};

	const struct CMUnitTest with_states[] = {
		cmocka_unit_test(guesses_have_the_same_bits_whatever_came_before),
		cmocka_unit_test(answers_do_not_change),
	};
	int failed = cmocka_run_group_tests_name("guesses", tests, NULL, NULL);

	tiny_state_type = STATE_F16;
	return failed + cmocka_run_group_tests_name("guesses, states in f16", with_states, NULL, NULL);
}
