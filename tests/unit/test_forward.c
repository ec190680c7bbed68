/*
 * test_forward.c - the step against a plain transformer in double, and its answers in any company.
 *
 * The reference reads the same packed rows, but shares no arithmetic with the engine: double throughout, one position
 * at a time, softmax over the whole context.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../src/base/clock.h"
#include "../../src/engine/forward.h"
#include "../../src/model/key_outliers.h"
#include "../kernels/computed_types.h"
#include "tiny_model.h"

#define MAX_CONTEXT 700

typedef struct Engine
{
	Model *model;
	Team *team;
	KvBudget *budget;
	KvPool *pool;
	Forward *forward;
	float *states[16]; /* of sequences; dense models have none */
} Engine;

static Engine
make_engine(Model *model, int threads, KvType kv_type)
{
	Engine engine = {.model = model, .team = team_create(threads), .budget = kv_budget_create(64 << 20)};

	assert_string_equal(
		kv_pool_create(engine.budget, &model->hyper, kv_type, model->key_outliers != NULL, &engine.pool).message, "");
	assert_string_equal(
		forward_create(model, engine.pool, engine.team, MAX_CONTEXT, 16, MAX_CONTEXT, &engine.forward).message, "");
	for (uint32_t s = 0; model_state_bytes(&model->hyper) > 0 && s < 16; s++)
	{
		engine.states[s] = malloc(model_state_bytes(&model->hyper));
		assert_non_null(engine.states[s]);
		/* what an earlier user left there must not matter: NaN */
		memset(engine.states[s], 0xFF, model_state_bytes(&model->hyper));
	}
	return engine;
}

static void
free_engine(Engine *engine)
{
	for (uint32_t s = 0; s < 16; s++)
		free(engine->states[s]);
	forward_destroy(engine->forward);
	kv_pool_destroy(engine->pool);
	kv_budget_destroy(engine->budget);
	team_destroy(engine->team);
}

static int32_t *
make_tokens(uint32_t n, uint64_t seed)
{
	int32_t *tokens = calloc(n, sizeof *tokens);
	uint64_t state = seed * 77 + 12345;

	for (uint32_t i = 0; i < n; i++)
		tokens[i] = (int32_t) (writer_random(&state) % 256);
	return tokens;
}

/* Logits of every position, with the prompt cut into steps of chunk rows: [n][TINY_VOCAB] */
static float *
engine_logits(Engine *engine, const int32_t *tokens, uint32_t n, uint32_t chunk)
{
	float *logits = calloc((size_t) n * TINY_VOCAB, sizeof *logits);
	uint32_t blocks[64];

	assert_true(kv_pool_take(engine->pool, kv_blocks_for(n), blocks));
	for (uint32_t i = 0; i < n; i += chunk)
	{
		uint32_t rows = n - i < chunk ? n - i : chunk;
		StepSequence sequence = {tokens + i, rows, i, blocks, rows, false, 0, NULL, 0, engine->states[0], false};

		forward_step(engine->forward, &sequence, 1);
		for (uint32_t r = 0; r < rows; r++)
			memcpy(logits + (size_t) (i + r) * TINY_VOCAB, forward_logits(engine->forward, 0, r),
				   TINY_VOCAB * sizeof *logits);
	}
	kv_pool_give(engine->pool, kv_blocks_for(n), blocks);
	return logits;
}

/* y = W x in double, of n_rows rows from first on */
static void
reference_rows(const PackedMatrix *matrix, uint32_t first, uint32_t n_rows, const double *x, double *y)
{
	float *row = malloc(matrix->n_cols * sizeof *row);

	for (uint32_t r = 0; r < n_rows; r++)
	{
		double sum = 0;

		packed_row_expand(matrix, first + r, row);
		for (uint32_t c = 0; c < matrix->n_cols; c++)
			sum += (double) row[c] * x[c];
		y[r] = sum;
	}
	free(row);
}

/* y = W x in double */
static void
reference_product(const PackedMatrix *matrix, const double *x, double *y)
{
	reference_rows(matrix, 0, matrix->n_rows, x, y);
}

static void
reference_norm(const double *x, const float *weight, uint32_t n, double epsilon, double *out)
{
	double squares = 0;

	for (uint32_t i = 0; i < n; i++)
		squares += x[i] * x[i];
	for (uint32_t i = 0; i < n; i++)
		out[i] = x[i] / sqrt(squares / n + epsilon) * weight[i];
}

/* The first n_rotated elements are turned. */
static void
reference_rope(const ModelHyper *hyper, double *head, uint32_t position)
{
	uint32_t half = hyper->n_rotated / 2;

	for (uint32_t i = 0; i < half; i++)
	{
		double angle = position * pow(hyper->rope_base, -2.0 * i / hyper->n_rotated);
		double a = head[i], b = head[half + i];

		head[i] = a * cos(angle) - b * sin(angle);
		head[half + i] = a * sin(angle) + b * cos(angle);
	}
}

/* Bias, norm and rotation of all heads of a query or key. */
static void
reference_heads(const ModelHyper *hyper, double *values, uint32_t n_heads, const float *bias, const float *norm,
				uint32_t position)
{
	for (uint32_t h = 0; h < n_heads; h++)
	{
		double *head = values + (size_t) h * hyper->head_dim;

		for (uint32_t d = 0; bias && d < hyper->head_dim; d++)
			head[d] += bias[h * hyper->head_dim + d];
		if (norm)
			reference_norm(head, norm, hyper->head_dim, hyper->rms_epsilon, head);
		reference_rope(hyper, head, position);
	}
}

/* down(silu(gate x) * (up x)) of one network of those that stand one behind the other in the matrices. */
static void
reference_network(const PackedMatrix *gate_all, const PackedMatrix *up_all, const PackedMatrix *down_all,
				  uint32_t number, uint32_t hidden, uint32_t ffn, const double *x, double *out)
{
	double *gate = calloc(ffn, 8), *up = calloc(ffn, 8), *middle = calloc(ffn, 8);

	reference_rows(gate_all, number * ffn, ffn, x, gate);
	reference_rows(up_all, number * ffn, ffn, x, up);
	for (uint32_t i = 0; i < ffn; i++)
		middle[i] = gate[i] / (1 + exp(-gate[i])) * up[i];
	reference_rows(down_all, number * hidden, hidden, middle, out);
	free(gate);
	free(up);
	free(middle);
}

/* A mixture: softmax over all, the most probable ones, weighted by their share; and the shared expert. */
static void
reference_mixture(const ModelHyper *h, const ModelLayer *layer, const double *x, double *out)
{
	double *logits = calloc(h->n_experts, 8), *one = calloc(h->hidden, 8), sum = 0, of_chosen = 0, share;
	bool *chosen = calloc(h->n_experts, sizeof *chosen);

	memset(out, 0, h->hidden * sizeof *out);
	reference_product(&layer->router, x, logits);
	for (uint32_t e = 0; e < h->n_experts; e++)
		sum += logits[e] = exp(logits[e]);
	for (uint32_t j = 0; j < h->n_used_experts; j++)
	{
		uint32_t best = 0;

		for (uint32_t e = 0; e < h->n_experts; e++)
			if (!chosen[e] && (chosen[best] || logits[e] > logits[best]))
				best = e;
		chosen[best] = true;
		of_chosen += logits[best];
	}
	for (uint32_t e = 0; e < h->n_experts; e++)
	{
		if (!chosen[e])
			continue;
		reference_network(&layer->expert_gate, &layer->expert_up, &layer->expert_down, e, h->hidden, h->expert_ffn, x,
						  one);
		for (uint32_t i = 0; i < h->hidden; i++)
			out[i] += logits[e] / (h->experts_sum_to_1 ? of_chosen : sum) * one[i];
	}
	if (h->shared_ffn > 0)
	{
		reference_product(&layer->shared_router, x, &share);
		reference_network(&layer->shared_gate, &layer->shared_up, &layer->shared_down, 0, h->hidden, h->shared_ffn, x,
						  one);
		for (uint32_t i = 0; i < h->hidden; i++)
			out[i] += one[i] / (1 + exp(-share));
	}
	free(logits);
	free(one);
	free(chosen);
}

/* What a delta net keeps of a sequence: [taps - 1][channels] rows before, [value heads][dim][dim] */
typedef struct ReferenceState
{
	double *history, *matrices;
} ReferenceState;

static double
reference_sigmoid(double x)
{
	return 1 / (1 + exp(-x));
}

/* x / |x| * scale */
static void
reference_unit(double *x, uint32_t n, double scale)
{
	double squares = 1e-6;

	for (uint32_t i = 0; i < n; i++)
		squares += x[i] * x[i];
	for (uint32_t i = 0; i < n; i++)
		x[i] *= scale / sqrt(squares);
}

/* One row of a gated delta net, by its definition. */
static void
reference_delta(const ModelHyper *h, const ModelLayer *layer, ReferenceState *state, const double *x, double *out)
{
	uint32_t dim = h->delta_dim, n_keys = h->n_delta_keys, n_values = h->n_delta_values;
	uint32_t keys = n_keys * dim, values = n_values * dim, channels = 2 * keys + values;
	double *m = calloc(channels, 8), *c = calloc(channels, 8), *z = calloc(values, 8), *o = calloc(values, 8);
	double *beta = calloc(n_values, 8), *alpha = calloc(n_values, 8);

	reference_product(&layer->delta_q, x, m);
	reference_product(&layer->delta_k, x, m + keys);
	reference_product(&layer->delta_v, x, m + 2 * keys);
	reference_product(&layer->delta_gate, x, z);
	reference_product(&layer->delta_beta, x, beta);
	reference_product(&layer->delta_alpha, x, alpha);
	for (uint32_t j = 0; j < channels; j++)
	{
		double *before = state->history, sum = layer->delta_conv[j * 4 + 3] * m[j];

		for (uint32_t i = 0; i < 3; i++)
			sum += layer->delta_conv[j * 4 + i] * before[i * channels + j];
		c[j] = sum * reference_sigmoid(sum);
		before[j] = before[channels + j];
		before[channels + j] = before[2 * channels + j];
		before[2 * channels + j] = m[j];
	}
	for (uint32_t head = 0; head < n_keys; head++)
	{
		reference_unit(c + head * dim, dim, 1 / sqrt(dim));
		reference_unit(c + keys + head * dim, dim, 1);
	}
	for (uint32_t head = 0; head < n_values; head++)
	{
		/* the only difference between the families */
		uint32_t key_head = h->architecture == ARCHITECTURE_QWEN3NEXT ? head / (n_values / n_keys) : head % n_keys;
		const double *q = c + key_head * dim, *k = c + keys + key_head * dim, *v = c + 2 * keys + head * dim;
		double *s = state->matrices + (size_t) head * dim * dim;
		double decay = exp(log1p(exp(alpha[head] + layer->delta_dt[head])) * layer->delta_decay[head]);

		for (uint32_t i = 0; i < dim * dim; i++)
			s[i] *= decay;
		for (uint32_t j = 0; j < dim; j++)
		{
			double u = v[j];

			for (uint32_t i = 0; i < dim; i++)
				u -= s[i * dim + j] * k[i];
			u *= reference_sigmoid(beta[head]);
			for (uint32_t i = 0; i < dim; i++)
			{
				s[i * dim + j] += k[i] * u;
				o[head * dim + j] += s[i * dim + j] * q[i];
			}
		}
		reference_norm(o + head * dim, layer->delta_norm, dim, h->rms_epsilon, o + head * dim);
		for (uint32_t j = head * dim; j < (head + 1) * dim; j++)
			o[j] *= z[j] * reference_sigmoid(z[j]);
	}
	reference_product(&layer->delta_output, o, out);
	free(m);
	free(c);
	free(z);
	free(o);
	free(beta);
	free(alpha);
}

/* States of all layers, zero at the beginning. */
static ReferenceState *
reference_states(const ModelHyper *h)
{
	ReferenceState *states = calloc(h->n_layers, sizeof *states);

	for (uint32_t l = 0; l < h->n_layers; l++)
	{
		states[l].history = calloc((size_t) 3 * model_delta_channels(h), 8);
		states[l].matrices = calloc((size_t) h->n_delta_values * h->delta_dim * h->delta_dim, 8);
	}
	return states;
}

static void
reference_states_free(const ModelHyper *h, ReferenceState *states)
{
	for (uint32_t l = 0; l < h->n_layers; l++)
	{
		free(states[l].history);
		free(states[l].matrices);
	}
	free(states);
}

/* The logits of n tokens, all in double; rotary positions are shifted from a position on. */
static void
reference_shifted(const Model *model, const int32_t *tokens, uint32_t n, uint32_t shifted_from, int32_t shift,
				  double *all)
{
	const ModelHyper *h = &model->hyper;
	uint32_t q_size = h->n_heads * h->head_dim, kv_size = h->n_kv_heads * h->head_dim;
	double *keys = calloc((size_t) h->n_layers * n * kv_size, 8),
		   *values = calloc((size_t) h->n_layers * n * kv_size, 8);
	double *x = calloc(h->hidden, 8), *normed = calloc(h->hidden, 8), *q = calloc(q_size, 8),
		   *attended = calloc(q_size, 8), *out = calloc(h->hidden, 8), *scores = calloc(n, 8);
	double *gated = calloc(2 * q_size, 8);
	float *embedding = calloc(h->hidden, 4);
	ReferenceState *states = reference_states(h);

	for (uint32_t t = 0; t < n; t++)
	{
		packed_row_expand(&model->token_embedding, (uint32_t) tokens[t], embedding);
		for (uint32_t i = 0; i < h->hidden; i++)
			x[i] = embedding[i];
		for (uint32_t l = 0; l < h->n_layers; l++)
		{
			const ModelLayer *layer = &model->layers[l];
			double *k = keys + ((size_t) l * n + t) * kv_size, *v = values + ((size_t) l * n + t) * kv_size;
			uint32_t turned = t >= shifted_from ? t + (uint32_t) shift : t;

			reference_norm(x, layer->attn_norm, h->hidden, h->rms_epsilon, normed);
			if (layer->parts[0] == PART_DELTA)
			{
				reference_delta(h, layer, &states[l], normed, out);
				goto mixed;
			}
			reference_product(&layer->attn_q, normed, gated);
			for (uint32_t i = 0; i < q_size; i++)
				q[i] = gated[h->gated_attention ? i / h->head_dim * 2 * h->head_dim + i % h->head_dim : i];
			reference_product(&layer->attn_k, normed, k);
			reference_product(&layer->attn_v, normed, v);
			reference_heads(h, q, h->n_heads, layer->attn_q_bias, layer->attn_q_norm, turned);
			reference_heads(h, k, h->n_kv_heads, layer->attn_k_bias, layer->attn_k_norm, turned);
			for (uint32_t i = 0; layer->attn_v_bias && i < kv_size; i++)
				v[i] += layer->attn_v_bias[i];
			for (uint32_t head = 0; head < h->n_heads; head++)
			{
				size_t kv_head = (size_t) (head / (h->n_heads / h->n_kv_heads)) * h->head_dim;
				double max = -INFINITY, sum = 0;

				for (uint32_t p = 0; p <= t; p++)
				{
					scores[p] = 0;
					for (uint32_t d = 0; d < h->head_dim; d++)
						scores[p] += q[head * h->head_dim + d] * keys[((size_t) l * n + p) * kv_size + kv_head + d];
					scores[p] /= sqrt(h->head_dim);
					max = fmax(max, scores[p]);
				}
				for (uint32_t p = 0; p <= t; p++)
					sum += scores[p] = exp(scores[p] - max);
				for (uint32_t d = 0; d < h->head_dim; d++)
				{
					double value = 0;

					for (uint32_t p = 0; p <= t; p++)
						value += scores[p] * values[((size_t) l * n + p) * kv_size + kv_head + d];
					attended[head * h->head_dim + d] = value / sum;
					if (h->gated_attention)
						attended[head * h->head_dim + d] *= reference_sigmoid(gated[(2 * head + 1) * h->head_dim + d]);
				}
			}
			reference_product(&layer->attn_output, attended, out);
		mixed:
			for (uint32_t i = 0; i < h->hidden; i++)
				x[i] += out[i];
			reference_norm(x, layer->ffn_norm, h->hidden, h->rms_epsilon, normed);
			if (h->n_experts > 0)
				reference_mixture(h, layer, normed, out);
			else
				reference_network(&layer->ffn_gate, &layer->ffn_up, &layer->ffn_down, 0, h->hidden, h->ffn, normed,
								  out);
			for (uint32_t i = 0; i < h->hidden; i++)
				x[i] += out[i];
		}
		reference_norm(x, model->output_norm, h->hidden, h->rms_epsilon, normed);
		reference_product(&model->output, normed, all + (size_t) t * TINY_VOCAB);
	}
	free(keys);
	free(values);
	free(x);
	free(normed);
	free(q);
	free(attended);
	free(out);
	free(scores);
	free(embedding);
	free(gated);
	reference_states_free(h, states);
}

static void
reference_logits(const Model *model, const int32_t *tokens, uint32_t n, double *all)
{
	reference_shifted(model, tokens, n, n, 0, all);
}

/* max |difference| / RMS over all positions */
static double
relative_error(const float *found, const double *expected, size_t n)
{
	double largest = 0, squares = 0;

	for (size_t i = 0; i < n; i++)
	{
		largest = fmax(largest, fabs(found[i] - expected[i]));
		squares += expected[i] * expected[i];
	}
	return largest / sqrt(squares / (double) n);
}

static const TinyModel shapes[] = {
	{0, 2, 64, 96, 4, 2, 16, 1024, false, TENSOR_F32, 1, -1},
	{0, 2, 96, 160, 9, 3, 64, 1024, true, TENSOR_F32, 2, -1},
	{TINY_QWEN3, 2, 64, 96, 4, 1, 128, 1024, false, TENSOR_F32, 3, -1},
	{TINY_QWEN3, 3, 48, 80, 2, 2, 80, 1024, true, TENSOR_F32, 4, -1},
	{TINY_EXPERTS, 2, 64, 96, 4, 2, 16, 1024, true, TENSOR_F32, 5, -1},
	{TINY_EXPERTS | TINY_QWEN3, 3, 96, 32, 6, 3, 32, 1024, false, TENSOR_F32, 6, -1},
	{TINY_EXPERTS | TINY_QWEN3 | TINY_ALL_USED, 1, 32, 64, 2, 1, 16, 1024, false, TENSOR_F32, 7, -1},
	{TINY_QWEN1, 2, 64, 96, 4, 4, 16, 1024, true, TENSOR_F32, 8, -1},
	{TINY_AXES, 2, 64, 96, 4, 2, 32, 1024, false, TENSOR_F32, 9, -1},
	{TINY_AXES | TINY_QWEN3, 2, 64, 96, 4, 1, 64, 1024, false, TENSOR_F32, 10, -1},
	{TINY_AXES | TINY_QWEN3 | TINY_EXPERTS | TINY_MERGED, 2, 64, 64, 4, 2, 32, 1024, true, TENSOR_F32, 11, -1},
	{TINY_HYBRID, 4, 64, 96, 4, 2, 32, 1024, true, TENSOR_F32, 8, -1},
	{TINY_HYBRID | TINY_EXPERTS, 3, 96, 32, 2, 1, 64, 1024, false, TENSOR_F32, 9, -1},
	{TINY_HYBRID | TINY_EXPERTS | TINY_NEXT, 2, 64, 96, 4, 2, 16, 1024, true, TENSOR_F32, 10, -1},
	{TINY_HYBRID | TINY_EXPERTS | TINY_NEXT | TINY_IN_ONE | TINY_MERGED, 2, 64, 96, 4, 2, 16, 1024, true, TENSOR_F32,
	 11, -1},
	{TINY_HYBRID | TINY_BESIDE, 2, 64, 96, 4, 2, 16, 1024, true, TENSOR_F32, 12, -1},
};

static void
logits_agree_with_a_plain_transformer(void **state)
{
	static const uint32_t lengths[] = {1, 7, 33, 70};

	(void) state;
	for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
	{
		Model *model = tiny_model(&shapes[s]);
		Engine engine = make_engine(model, 2, KV_F32);

		for (size_t l = 0; l < 4; l++)
		{
			uint32_t n = lengths[l];
			int32_t *tokens = make_tokens(n, s + l);
			double *expected = calloc((size_t) n * TINY_VOCAB, sizeof *expected);
			float *found = engine_logits(&engine, tokens, n, 512);
			double error;

			reference_logits(model, tokens, n, expected);
			error = relative_error(found, expected, (size_t) n * TINY_VOCAB);
			if (!(error < 1e-4))
				fail_msg("shape %zu, %u tokens: max difference / RMS is %g", s, n, error);
			free(tokens);
			free(expected);
			free(found);
		}
		free_engine(&engine);
		model_close(model);
	}
}

/* Where a row stands in the cache and by what it is turned are two things: after an image they differ. */
static void
rows_are_turned_by_their_rotary_position(void **state)
{
	enum
	{
		N = 70,
		FROM = 41 /* within a block */
	};
	static const int32_t shifts[] = {-23, 300};

	(void) state;
	for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
	{
		Model *model = tiny_model(&shapes[s]);
		Engine engine = make_engine(model, 2, KV_F32);
		int32_t *tokens = make_tokens(N, s);
		double *expected = calloc((size_t) N * TINY_VOCAB, sizeof *expected);
		uint32_t blocks[8];

		assert_true(kv_pool_take(engine.pool, kv_blocks_for(N), blocks));
		for (size_t i = 0; i < 2; i++)
		{
			StepSequence before = {tokens, FROM, 0, blocks, 0, false, 0, NULL, 0, engine.states[0], false};
			StepSequence after = {tokens + FROM, N - FROM, FROM, blocks,           1,    false,
								  shifts[i],     NULL,     0,    engine.states[0], false};
			const double *last = expected + (size_t) (N - 1) * TINY_VOCAB;
			double error;

			forward_step(engine.forward, &before, 1);
			forward_step(engine.forward, &after, 1);
			reference_shifted(model, tokens, N, FROM, shifts[i], expected);
			error = relative_error(forward_logits(engine.forward, 0, 0), last, TINY_VOCAB);
			if (!(error < 1e-4))
				fail_msg("shape %zu, shifted by %d: max difference / RMS is %g", s, shifts[i], error);
			reference_logits(model, tokens, N, expected);
			assert_true(relative_error(forward_logits(engine.forward, 0, 0), last, TINY_VOCAB) > 1e-3);
		}
		free(tokens);
		free(expected);
		free_engine(&engine);
		model_close(model);
	}
}

/* The same with kind bits: a model in each type, 12 positions. */
static void
check_quantized(unsigned kind)
{
	TensorType types[MAX_TYPES];
	const size_t n_types = computed_types(types);

	for (size_t k = 0; k < n_types; k++)
	{
		TinyModel shape = {kind, 1, 256, 256, 16, 4, 16, 1024, (kind & TINY_EXPERTS) != 0, types[k], 5, -1};
		Model *model = tiny_model(&shape);
		Engine engine = make_engine(model, 2, KV_F32);
		int32_t *tokens = make_tokens(12, k);
		double *expected = calloc((size_t) 12 * TINY_VOCAB, sizeof *expected);
		float *found = engine_logits(&engine, tokens, 12, 512);
		double error;

		reference_logits(model, tokens, 12, expected);
		error = relative_error(found, expected, (size_t) 12 * TINY_VOCAB);
		/* weights are expanded alike; what differs is the int8 activations */
		if (!(error < (!tensor_type_takes_panels(types[k]) ? 1e-4 : kind & TINY_EXPERTS ? 0.5 : 0.3)))
			fail_msg("%s, kind %u: max difference / RMS is %g", tensor_type_info(types[k])->name, kind, error);
		free(tokens);
		free(expected);
		free(found);
		free_engine(&engine);
		model_close(model);
	}
}

static void
quantized_logits_are_near_the_reference(void **state)
{
	(void) state;
	check_quantized(0);
	/* where all experts are used, the rounding of activations chooses no others */
	check_quantized(TINY_EXPERTS | TINY_ALL_USED);
	check_quantized(TINY_EXPERTS | TINY_ALL_USED | TINY_QWEN3);
}

/* Biases of keys as Qwen2.5 has them: one rotary pair of each head, of those that turn slowly, far above all others.
 * Returns what the layers point at then; the caller frees it. */
static float *
give_key_outliers(Model *model)
{
	const ModelHyper *h = &model->hyper;
	uint32_t kv_size = h->n_kv_heads * h->head_dim;
	float *biases = calloc((size_t) h->n_layers * kv_size, sizeof *biases);

	assert_non_null(biases);
	for (uint32_t l = 0; l < h->n_layers; l++)
	{
		float *bias = biases + (size_t) l * kv_size;

		memcpy(bias, model->layers[l].attn_k_bias, kv_size * sizeof *bias);
		for (uint32_t head = 0; head < h->n_kv_heads; head++)
		{
			bias[head * h->head_dim + h->head_dim / 2 - 1 - head] = 120;
			bias[(head + 1) * h->head_dim - 1 - head] = -90;
		}
		model->layers[l].attn_k_bias = bias;
	}
	free(model->key_outliers);
	assert_int_equal(key_outliers_find(h, model->layers, &model->key_outliers).code, STATUS_OK);
	assert_non_null(model->key_outliers);
	return biases;
}

/* The largest error of logits with keys and values of a type, as a share of their RMS. */
static double
error_of_cache(Model *model, KvType type, const int32_t *tokens, uint32_t n, const double *expected)
{
	Engine engine = make_engine(model, 2, type);
	float *found = engine_logits(&engine, tokens, n, 64);
	double error = relative_error(found, expected, (size_t) n * TINY_VOCAB);

	free(found);
	free_engine(&engine);
	return error;
}

/* A type of few bits costs with outliers what it costs without, since they stand apart; times: how many times as much
 * it would cost if they did not. */
static void
check_outliers(KvType type, double times)
{
	enum
	{
		N = 200
	};
	TinyModel shape = {false, 2, 256, 256, 8, 4, 64, 1024, false, TENSOR_F32, 9, -1};
	Model *model = tiny_model(&shape);
	int32_t *tokens = make_tokens(N, 5);
	double *expected = calloc((size_t) N * TINY_VOCAB, sizeof *expected), plain, halves, apart, together;
	float *biases;

	assert_null(model->key_outliers);
	reference_logits(model, tokens, N, expected);
	plain = error_of_cache(model, type, tokens, N, expected);
	biases = give_key_outliers(model);
	for (uint32_t i = 0; i < model->hyper.n_layers * model->hyper.n_kv_heads; i++)
	{
		assert_int_equal(model->key_outliers[i].n, 2);
		assert_int_equal(model->key_outliers[i].dims[0], 31 - i % model->hyper.n_kv_heads);
		assert_int_equal(model->key_outliers[i].dims[1], 63 - i % model->hyper.n_kv_heads);
	}
	reference_logits(model, tokens, N, expected);
	halves = error_of_cache(model, KV_F16, tokens, N, expected);
	apart = error_of_cache(model, type, tokens, N, expected);
	free(model->key_outliers);
	model->key_outliers = NULL;
	together = error_of_cache(model, type, tokens, N, expected);
	print_message("%s, max error / RMS of logits: without outliers %.4f, with %.4f (F16 %.4f), not apart %.4f\n",
				  kv_type_name(type), plain, apart, halves, together);
	/* what the type costs without outliers, and what F16 costs with them */
	assert_true(apart < 1.5 * plain + 1.5 * halves);
	assert_true(together > times * apart);
	free(biases);
	free(tokens);
	free(expected);
	model_close(model);
}

static void
outliers_of_keys_do_not_spoil_few_bits(void **state)
{
	(void) state;
	check_outliers(KV_Q8_0, 4);
	check_outliers(KV_Q4, 2);
}

static void
outliers_are_told_by_biases_alone(void **state)
{
	static float bias[64];
	ModelHyper hyper = {.n_layers = 1, .n_kv_heads = 1, .head_dim = 64, .n_rotated = 64};
	ModelLayer layer = {.attn_k_bias = NULL};
	KeyOutliers *found;

	(void) state;
	assert_int_equal(key_outliers_find(&hyper, &layer, &found).code, STATUS_OK);
	assert_null(found); /* no biases */
	layer.attn_k_bias = bias;
	for (int i = 0; i < 64; i++)
		bias[i] = 8; /* large, but all alike */
	assert_int_equal(key_outliers_find(&hyper, &layer, &found).code, STATUS_OK);
	assert_null(found);
	bias[7] = 500; /* three pairs: there is room for the two longest */
	bias[20 + 32] = 600;
	bias[30] = 550;
	assert_int_equal(key_outliers_find(&hyper, &layer, &found).code, STATUS_OK);
	assert_non_null(found);
	assert_int_equal(found->n, 4);
	assert_int_equal(found->dims[0], 20);
	assert_int_equal(found->dims[1], 52);
	assert_int_equal(found->dims[2], 30);
	assert_int_equal(found->dims[3], 62);
	free(found);
	for (int i = 0; i < 64; i++)
		bias[i] = NAN;
	assert_int_equal(key_outliers_find(&hyper, &layer, &found).code, STATUS_OK);
	assert_null(found);
}

/* Where a part of a head is rotated, pairs are of that part, and the other dimensions stand alone. */
static void
outliers_are_pairs_of_what_is_rotated(void **state)
{
	static float bias[64];
	ModelHyper hyper = {.n_layers = 1, .n_kv_heads = 1, .head_dim = 64, .n_rotated = 16};
	ModelLayer layer = {.attn_k_bias = bias};
	KeyOutliers *found;

	(void) state;
	bias[3] = 90;  /* beside 11 */
	bias[40] = 80; /* alone */
	assert_int_equal(key_outliers_find(&hyper, &layer, &found).code, STATUS_OK);
	assert_non_null(found);
	assert_int_equal(found->n, 3);
	assert_int_equal(found->dims[0], 3);
	assert_int_equal(found->dims[1], 11);
	assert_int_equal(found->dims[2], 40);
	free(found);
	bias[50] = 100; /* longer ones first; for the pair there is no room then */
	bias[60] = 110;
	bias[3] = 70;
	assert_int_equal(key_outliers_find(&hyper, &layer, &found).code, STATUS_OK);
	assert_int_equal(found->n, 3);
	assert_int_equal(found->dims[0], 60);
	assert_int_equal(found->dims[1], 50);
	assert_int_equal(found->dims[2], 40);
	free(found);
}

enum
{
	PIECES_OF_ATTENTION = 600, /* positions: more than one piece */
	ONE_PIECE = 150,           /* where it is products that differ */
};

/* All of a sequence's logits under every chunking, number of threads and instruction set: the same bits. */
static void
check_same_logits_of(TensorType type, KvType kv_type, StateType state_type, unsigned kind, bool outliers, uint32_t n)
{
	static const uint32_t chunks[] = {1, 7, 16, 64, 700};
	uint32_t n_layers = kind & TINY_HYBRID ? 2 : 1;
	TinyModel shape = {kind, n_layers, 256, 256, 16, 4, 16, 1024, (kind & TINY_EXPERTS) != 0, type, 6, -1};
	Model *model = tiny_model(&shape);
	int32_t *tokens = make_tokens(n, type);
	float *first = NULL, *biases = outliers ? give_key_outliers(model) : NULL;

	model->hyper.state_type = state_type;
	for (int variant = 0; variant < 8; variant++)
	{
		const Kernels *kernels = variant < 5 ? NULL : kernels_of_this_cpu((size_t) variant - 4);
		Engine engine;
		float *found;

		/* the best one, then, as far as there are, those that are not */
		setenv("QWEN_ISA", kernels ? kernels->name : "best", 1);
		engine = make_engine(model, 1 + variant % 3, kv_type);
		found = engine_logits(&engine, tokens, n, variant < 5 ? chunks[variant] : 64);
		if (!first)
			first = found;
		else
		{
			if (memcmp(first, found, (size_t) n * TINY_VOCAB * sizeof *found) != 0)
				fail_msg("%s, cache type %d: variant %d differs", tensor_type_info(type)->name, kv_type, variant);
			free(found);
		}
		free_engine(&engine);
	}
	unsetenv("QWEN_ISA");
	free(first);
	free(biases);
	free(tokens);
	model_close(model);
}

static void
check_same_logits(TensorType type, KvType kv_type, unsigned kind, bool outliers)
{
	check_same_logits_of(type, kv_type, STATE_F32, kind, outliers, PIECES_OF_ATTENTION);
}

static void
logits_do_not_depend_on_chunks_threads_or_instructions(void **state)
{
	TensorType types[MAX_TYPES];
	const size_t n_types = computed_types(types);

	(void) state;
	for (size_t k = 0; k < n_types; k++)
		check_same_logits_of(types[k], KV_F16, STATE_F32, k % 2 == 1, false, k < 2 ? PIECES_OF_ATTENTION : ONE_PIECE);
	assert_true(n_types >= 15);
	check_same_logits(TENSOR_Q8_0, KV_Q8_0, true, false);
	check_same_logits(TENSOR_Q4_K, KV_Q8_0, false, false);
	check_same_logits(TENSOR_Q4_0, KV_Q8_0, false, true);
	check_same_logits(TENSOR_Q4_0, KV_F32, 0, false);
	check_same_logits(TENSOR_Q8_0, KV_Q4, true, false);
	check_same_logits(TENSOR_Q4_0, KV_Q4, false, true);
}

static void
logits_of_mixtures_do_not_depend_on_chunks_threads_or_instructions(void **state)
{
	(void) state;
	check_same_logits(TENSOR_F32, KV_F16, TINY_EXPERTS, false);
	check_same_logits(TENSOR_Q4_0, KV_F16, TINY_EXPERTS, false);
	check_same_logits(TENSOR_Q4_K, KV_Q8_0, TINY_EXPERTS | TINY_QWEN3, false);
	check_same_logits(TENSOR_BF16, KV_F32, TINY_EXPERTS | TINY_QWEN3, false);
}

static void
logits_of_hybrids_do_not_depend_on_chunks_threads_or_instructions(void **state)
{
	(void) state;
	check_same_logits(TENSOR_F32, KV_F16, TINY_HYBRID | TINY_EXPERTS | TINY_NEXT, false);
	check_same_logits(TENSOR_Q8_0, KV_F16, TINY_HYBRID, false);
	check_same_logits(TENSOR_F32, KV_F16, TINY_HYBRID | TINY_ONE_HEAD, false);
	check_same_logits(TENSOR_Q4_K, KV_Q8_0, TINY_HYBRID | TINY_EXPERTS, false);
	check_same_logits(TENSOR_Q8_0, KV_Q4, TINY_HYBRID, false);
	check_same_logits_of(TENSOR_F32, KV_F16, STATE_F16, TINY_HYBRID | TINY_EXPERTS | TINY_NEXT, false,
						 PIECES_OF_ATTENTION);
	check_same_logits_of(TENSOR_Q4_0, KV_F16, STATE_F16, TINY_HYBRID, false, PIECES_OF_ATTENTION);
}

static void
equal_experts_are_chosen_from_the_first_on(void **state)
{
	TinyModel shape = {TINY_EXPERTS | TINY_QWEN3, 2, 64, 96, 4, 2, 16, 1024, false, TENSOR_F32, 30, -1};
	Model *model = tiny_model(&shape);
	uint8_t *zeros = aligned_alloc(64, model->layers[0].router.tile_bytes);
	int32_t *tokens = make_tokens(20, 3);
	double *expected = calloc((size_t) 20 * TINY_VOCAB, sizeof *expected);
	Engine engine;
	float *found;

	(void) state;
	assert_non_null(zeros);
	memset(zeros, 0, model->layers[0].router.tile_bytes);
	for (int l = 0; l < 2; l++)
		model->layers[l].router.tiles = zeros;
	engine = make_engine(model, 2, KV_F32);
	found = engine_logits(&engine, tokens, 20, 7);
	reference_logits(model, tokens, 20, expected);
	assert_true(relative_error(found, expected, (size_t) 20 * TINY_VOCAB) < 1e-4);
	free(found);
	free(expected);
	free(tokens);
	free_engine(&engine);
	model_close(model);
	free(zeros);
}

/* Rows of 16 sequences in one step, 512 in another, and each alone: experts have other companies each time. */
static void
rows_of_a_mixture_do_not_depend_on_who_shares_their_experts(void **state)
{
	enum
	{
		N_SEQUENCES = 16,
		LENGTH = 33
	};
	TinyModel shape = {TINY_EXPERTS, 2, 64, 96, 4, 2, 16, 1024, true, TENSOR_Q8_0, 21, -1};
	Model *model = tiny_model(&shape);
	Engine engine = make_engine(model, 2, KV_F16);
	int32_t *tokens[N_SEQUENCES];
	float *alone[N_SEQUENCES];
	uint32_t blocks[N_SEQUENCES][2];

	(void) state;
	for (uint32_t s = 0; s < N_SEQUENCES; s++)
	{
		tokens[s] = make_tokens(LENGTH, s + 50);
		alone[s] = engine_logits(&engine, tokens[s], LENGTH, 1);
		assert_true(kv_pool_take(engine.pool, kv_blocks_for(LENGTH), blocks[s]));
	}
	for (uint32_t step = 0; step < 2; step++)
	{
		uint32_t n = step == 0 ? LENGTH - 1 : 1, first = step == 0 ? 0 : LENGTH - 1;
		StepSequence sequences[N_SEQUENCES];

		for (uint32_t s = 0; s < N_SEQUENCES; s++)
			sequences[s] =
				(StepSequence){tokens[s] + first, n, first, blocks[s], n, false, 0, NULL, 0, engine.states[s], false};
		forward_step(engine.forward, sequences, N_SEQUENCES);
		for (uint32_t s = 0; s < N_SEQUENCES; s++)
			for (uint32_t r = 0; r < n; r++)
				assert_memory_equal(forward_logits(engine.forward, s, r), alone[s] + (size_t) (first + r) * TINY_VOCAB,
									TINY_VOCAB * sizeof(float));
	}
	for (uint32_t s = 0; s < N_SEQUENCES; s++)
	{
		free(tokens[s]);
		free(alone[s]);
	}
	free_engine(&engine);
	model_close(model);
}

/* Logits of one step that has the last tokens of some sequences: rows of each, whose places before are filled. */
static float *
last_rows(Model *model, int threads, uint32_t n_sequences, const uint32_t *lengths, uint32_t n_rows)
{
	Engine engine = make_engine(model, threads, KV_F16);
	float *logits = calloc((size_t) n_sequences * n_rows * TINY_VOCAB, sizeof *logits);
	StepSequence sequences[16];
	uint32_t blocks[16][64];
	int32_t *tokens[16];

	for (uint32_t s = 0; s < n_sequences; s++)
	{
		tokens[s] = make_tokens(lengths[s], s);
		assert_true(kv_pool_take(engine.pool, kv_blocks_for(lengths[s]), blocks[s]));
		sequences[s] =
			(StepSequence){tokens[s], lengths[s] - n_rows, 0, blocks[s], 0, false, 0, NULL, 0, engine.states[s], false};
		if (lengths[s] > n_rows)
			forward_step(engine.forward, &sequences[s], 1);
		sequences[s] = (StepSequence){tokens[s] + lengths[s] - n_rows,
									  n_rows,
									  lengths[s] - n_rows,
									  blocks[s],
									  n_rows,
									  false,
									  0,
									  NULL,
									  0,
									  engine.states[s],
									  false};
	}
	forward_step(engine.forward, sequences, n_sequences);
	for (uint32_t s = 0; s < n_sequences; s++)
		for (uint32_t r = 0; r < n_rows; r++)
			memcpy(logits + (size_t) (s * n_rows + r) * TINY_VOCAB, forward_logits(engine.forward, s, r),
				   TINY_VOCAB * sizeof *logits);
	for (uint32_t s = 0; s < n_sequences; s++)
		free(tokens[s]);
	free_engine(&engine);
	return logits;
}

/* A processor that is left to others changes nothing but the time. */
static void
a_step_leaves_processors_to_others(void **state)
{
	TinyModel shape = {true, 2, 64, 96, 14, 2, 16, 1024, false, TENSOR_Q8_0, 11, -1};
	Model *model = tiny_model(&shape);
	Engine engine = make_engine(model, 3, KV_F16);
	int32_t *tokens = make_tokens(600, 1);
	uint32_t blocks[64];
	float expected[TINY_VOCAB];
	StepSequence sequence = {.tokens = tokens, .n_tokens = 599, .kv_blocks = blocks};

	(void) state;
	assert_true(kv_pool_take(engine.pool, kv_blocks_for(600), blocks));
	forward_step(engine.forward, &sequence, 1);
	assert_int_equal(forward_members(engine.forward), 3);
	sequence = (StepSequence){
		.tokens = tokens + 599, .n_tokens = 1, .first_position = 599, .kv_blocks = blocks, .n_logits = 1};
	for (uint32_t n_spared = 0; n_spared < 5; n_spared++)
	{
		forward_spare(engine.forward, n_spared);
		forward_step(engine.forward, &sequence, 1);
		assert_int_equal(forward_members(engine.forward), n_spared < 3 ? 3 - n_spared : 1);
		if (n_spared == 0)
			memcpy(expected, forward_logits(engine.forward, 0, 0), sizeof expected);
		assert_memory_equal(expected, forward_logits(engine.forward, 0, 0), sizeof expected);
	}
	forward_spare(engine.forward, 0);
	forward_step(engine.forward, &sequence, 1);
	assert_int_equal(forward_members(engine.forward), 3);
	free(tokens);
	free_engine(&engine);
	model_close(model);
}

/* Attention is cut by tokens, pieces and heads, the finer the more members there are. */
static void
few_rows_are_the_same_on_many_members(void **state)
{
	static const uint32_t lengths[][3] = {{690, 0, 0}, {40, 0, 0}, {690, 9, 530}, {8, 513, 100}};
	static const int n_threads[] = {2, 3, 4, 7, 8, 16, 24};
	TinyModel shape = {true, 2, 64, 96, 14, 2, 16, 1024, false, TENSOR_Q8_0, 11, -1};
	Model *model = tiny_model(&shape);

	(void) state;
	for (size_t l = 0; l < sizeof lengths / sizeof lengths[0]; l++)
		for (uint32_t n_rows = 1; n_rows <= 8; n_rows += n_rows == 1 ? 2 : 5)
		{
			uint32_t n = lengths[l][1] ? 3 : 1;
			float *expected = last_rows(model, 1, n, lengths[l], n_rows);

			for (size_t t = 0; t < sizeof n_threads / sizeof n_threads[0]; t++)
			{
				float *found = last_rows(model, n_threads[t], n, lengths[l], n_rows);

				if (memcmp(expected, found, (size_t) n * n_rows * TINY_VOCAB * sizeof *found) != 0)
					fail_msg("%d threads, lengths %zu, %u rows: differs", n_threads[t], l, n_rows);
				free(found);
			}
			free(expected);
		}
	model_close(model);
}

/*
 * More threads than processors, than tiles of most matrices, and than heads: each number of them from 1 to 64 with
 * QWEN_TEST_ALL_THREADS (make check-thread-counts), else some. 64 rows in one step and 6 in another.
 */
static void
logits_are_the_same_bits_with_1_to_64_threads(void **state)
{
	static const struct
	{
		unsigned kind;
		TensorType type;
		KvType kv_type;
	} models[] = {{0, TENSOR_Q4_0, KV_F16},
				  {TINY_QWEN3, TENSOR_Q4_K, KV_Q8_0},
				  {TINY_QWEN3, TENSOR_Q4_0, KV_Q4},
				  {TINY_EXPERTS, TENSOR_Q6_K, KV_F16},
				  {TINY_HYBRID | TINY_EXPERTS, TENSOR_Q8_0, KV_F16}};
	const bool all = getenv("QWEN_TEST_ALL_THREADS") != NULL;

	(void) state;
	for (size_t m = 0; m < sizeof models / sizeof models[0]; m++)
	{
		unsigned kind = models[m].kind;
		TinyModel shape = {
			kind, kind & TINY_HYBRID ? 2 : 1, 256, 256, 16, 4, 16, 1024, (kind & TINY_EXPERTS) != 0, models[m].type, 6,
			-1};
		Model *model = tiny_model(&shape);
		int32_t *tokens = make_tokens(70, m);
		float *first = NULL;

		for (int threads = 1; threads <= 64; threads += all || threads < 3 ? 1 : threads < 33 ? 15 : 31)
		{
			Engine engine = make_engine(model, threads, models[m].kv_type);
			float *found = engine_logits(&engine, tokens, 70, 64);

			assert_int_equal(team_size(engine.team), threads);
			if (first && memcmp(first, found, (size_t) 70 * TINY_VOCAB * sizeof *found) != 0)
				fail_msg("model %zu, %d threads: differs", m, threads);
			if (first)
				free(found);
			else
				first = found;
			free_engine(&engine);
		}
		free(first);
		free(tokens);
		model_close(model);
	}
}

/* The heartbeat as the last phase of a step finds it, and whether it moves while that phase hangs. */
typedef struct Watched
{
	_Atomic uint64_t heartbeat;
	uint64_t before, while_hanging;
} Watched;

static void
hang(void *argument, uint32_t s, uint32_t i, float *logits)
{
	Watched *watched = argument;
	uint64_t started = clock_now_us();

	(void) s;
	(void) i;
	(void) logits;
	watched->before = atomic_load(&watched->heartbeat);
	while (clock_now_us() - started < 100000)
		;
	watched->while_hanging = atomic_load(&watched->heartbeat);
}

static void
members_beat_as_a_step_gets_on_and_not_while_it_hangs(void **state)
{
	TinyModel shape = {false, 3, 256, 256, 16, 4, 16, 1024, false, TENSOR_F32, 6, -1};
	Model *model = tiny_model(&shape);
	int32_t *tokens = make_tokens(600, 1);

	(void) state;
	for (int threads = 1; threads <= 2; threads++)
	{
		Engine engine = make_engine(model, threads, KV_F16);
		uint32_t blocks[64];
		StepSequence sequence = {tokens, 600, 0, blocks, 1, false, 0, NULL, 0, NULL, false};
		Watched watched = {0};

		assert_true(kv_pool_take(engine.pool, kv_blocks_for(600), blocks));
		forward_set_heartbeat(engine.forward, &watched.heartbeat);
		forward_set_logits_work(engine.forward, hang, &watched);
		forward_step(engine.forward, &sequence, 1);
		assert_true(watched.before > 0);
		/* members that have nothing to do but wait do not say that work gets on */
		assert_int_equal(watched.while_hanging, watched.before);
		free_engine(&engine);
	}
	free(tokens);
	model_close(model);
}

/* The largest |a - b|. No fmax(): gcc 12 fails over its reduction on ARM. */
static double
largest_difference(const float *a, const float *b, size_t n)
{
	double largest = 0;

	for (size_t i = 0; i < n; i++)
	{
		double difference = fabs((double) a[i] - b[i]);

		if (difference > largest)
			largest = difference;
	}
	return largest;
}

/* A cache of 8 or 4 bits changes logits by about what its rounding is worth; of 16 by far less. */
static void
cache_types_stay_near_f32(void **state)
{
	static const double limits[] = {[KV_F16] = 5e-3, [KV_F32] = 0, [KV_Q8_0] = 1e-1, [KV_Q4] = 1};
	TinyModel shape = {true, 2, 256, 256, 8, 4, 64, 1024, false, TENSOR_F32, 9, -1};
	Model *model = tiny_model(&shape);
	int32_t *tokens = make_tokens(300, 5);
	float *logits[N_KV_TYPES];
	double squares = 0;

	(void) state;
	for (int type = 0; type < N_KV_TYPES; type++)
	{
		Engine engine = make_engine(model, 2, (KvType) type);

		logits[type] = engine_logits(&engine, tokens, 300, 64);
		free_engine(&engine);
	}
	for (size_t i = 0; i < 300 * TINY_VOCAB; i++)
		squares += (double) logits[KV_F32][i] * logits[KV_F32][i];
	for (int type = 0; type < N_KV_TYPES; type++)
	{
		double difference = largest_difference(logits[type], logits[KV_F32], 300 * TINY_VOCAB);

		difference /= sqrt(squares / (300 * TINY_VOCAB));
		if (difference > limits[type] || (type != KV_F32 && difference == 0))
			fail_msg("cache type %d: max |difference| / RMS %g", type, difference);
	}
	for (int type = 0; type < N_KV_TYPES; type++)
		free(logits[type]);
	free(tokens);
	model_close(model);
}

/* States of 16 bits take half the room, and change logits by what their rounding is worth. */
static void
states_in_f16_stay_near_f32_in_half_the_room(void **state)
{
	TinyModel shape = {TINY_HYBRID, 4, 256, 256, 4, 2, 32, 1024, false, TENSOR_F32, 9, -1};
	Model *model = tiny_model(&shape);
	int32_t *tokens = make_tokens(600, 5);
	uint64_t bytes[2];
	float *logits[2];
	double squares = 0, difference;

	(void) state;
	for (int type = STATE_F32; type <= STATE_F16; type++)
	{
		Engine engine;

		model->hyper.state_type = (uint32_t) type;
		bytes[type] = model_state_bytes(&model->hyper);
		engine = make_engine(model, 2, KV_F32);
		assert_true(kv_pool_block_bytes(kv_pool_states(engine.pool)) < bytes[type] + 4096);
		logits[type] = engine_logits(&engine, tokens, 600, 64);
		free_engine(&engine);
	}
	assert_true((double) bytes[STATE_F16] / (double) bytes[STATE_F32] < 0.52);
	for (size_t i = 0; i < 600 * TINY_VOCAB; i++)
		squares += (double) logits[STATE_F32][i] * logits[STATE_F32][i];
	difference = largest_difference(logits[STATE_F16], logits[STATE_F32], 600 * TINY_VOCAB);
	difference /= sqrt(squares / (600 * TINY_VOCAB));
	if (difference > 2e-2 || difference == 0)
		fail_msg("max |difference| / RMS %g", difference);
	free(logits[0]);
	free(logits[1]);
	free(tokens);
	model_close(model);
}

static void
check_neighbours(unsigned kind, StateType state_type)
{
	TinyModel shape = {kind, 2, 64, 96, 6, 2, 16, 1024, false, TENSOR_Q8_0, 7, -1};
	Model *model = tiny_model(&shape);
	uint32_t lengths[8] = {40, 3, 1, 17, 64, 5, 33, 9}, blocks[8][4];
	int32_t *tokens[8];
	float *alone[8];
	Engine engine;

	model->hyper.state_type = state_type;
	engine = make_engine(model, 2, KV_F16);
	for (int s = 0; s < 8; s++)
	{
		tokens[s] = make_tokens(lengths[s] + 1, (uint64_t) s);
		alone[s] = engine_logits(&engine, tokens[s], lengths[s] + 1, 100);
		assert_true(kv_pool_take(engine.pool, kv_blocks_for(lengths[s] + 1), blocks[s]));
	}
	/* all prompts in one step, then one token of each in another */
	for (int step = 0; step < 2; step++)
	{
		StepSequence sequences[8];

		for (int s = 0; s < 8; s++)
			sequences[s] = (StepSequence){tokens[s] + (step ? lengths[s] : 0),
										  step ? 1 : lengths[s],
										  step ? lengths[s] : 0,
										  blocks[s],
										  1,
										  false,
										  0,
										  NULL,
										  0,
										  engine.states[s],
										  false};
		forward_step(engine.forward, sequences, 8);
		for (int s = 0; s < 8; s++)
			assert_memory_equal(forward_logits(engine.forward, (uint32_t) s, 0),
								alone[s] + (size_t) (lengths[s] - 1 + (uint32_t) step) * TINY_VOCAB,
								TINY_VOCAB * sizeof(float));
	}
	for (int s = 0; s < 8; s++)
	{
		free(tokens[s]);
		free(alone[s]);
	}
	free_engine(&engine);
	model_close(model);
}

static void
logits_do_not_depend_on_neighbours(void **state)
{
	(void) state;
	check_neighbours(0, STATE_F32);
	check_neighbours(TINY_HYBRID, STATE_F32);
	check_neighbours(TINY_HYBRID, STATE_F16);
	check_neighbours(TINY_HYBRID | TINY_ONE_HEAD, STATE_F32);
	check_neighbours(TINY_HYBRID | TINY_ONE_HEAD, STATE_F16);
}

/* Rows whose effect is kept only as far as they are accepted afterwards: whatever is accepted, later rows have the bits
 * that they have without any that was not. */
static void
check_tentative_rows(StateType state_type)
{
	enum
	{
		N = 120
	};
	static const unsigned kinds[] = {TINY_HYBRID, TINY_HYBRID | TINY_EXPERTS | TINY_NEXT};

	for (int k = 0; k < 2; k++)
		for (int threads = 1; threads <= 2; threads++)
		{
			TinyModel shape = {kinds[k], 4, 64, 96, 6, 2, 16, 1024, false, TENSOR_Q8_0, 7, -1};
			Model *model = tiny_model(&shape);
			Engine engine = (model->hyper.state_type = state_type, make_engine(model, threads, KV_F16));
			int32_t *tokens = make_tokens(N + 8, 3);
			float *expected = engine_logits(&engine, tokens, N, 50);
			uint32_t blocks[8], at = 2, n_accepted[9] = {0};
			uint64_t random = 99;
			StepSequence first = {tokens, 2, 0, blocks, 0, false, 0, NULL, 0, engine.states[1], false};

			assert_true(kv_pool_take(engine.pool, kv_blocks_for(N + 8), blocks));
			forward_step(engine.forward, &first, 1);
			while (at < N - 8)
			{
				uint32_t n = 1 + writer_random(&random) % 8, n_right = 1 + writer_random(&random) % n;
				int32_t guessed[8];
				StepSequence step = {guessed, n, at, blocks, n, false, 0, NULL, 0, engine.states[1], n > 1};

				/* what is not right is another token */
				for (uint32_t i = 0; i < n; i++)
					guessed[i] = i < n_right ? tokens[at + i] : (tokens[at + i] + 1) % 256;
				forward_step(engine.forward, &step, 1);
				for (uint32_t i = 0; i < n_right; i++)
					assert_memory_equal(forward_logits(engine.forward, 0, i), expected + (size_t) (at + i) * TINY_VOCAB,
										TINY_VOCAB * sizeof(float));
				if (n > 1)
					forward_accept(engine.states[1], n_right);
				n_accepted[n_right]++;
				at += n_right;
			}
			assert_true(n_accepted[1] > 0 && n_accepted[2] > 0 && n_accepted[3] > 0);
			free(tokens);
			free(expected);
			free_engine(&engine);
			model_close(model);
		}
}

static void
tentative_rows_leave_no_trace_but_those_that_count(void **state)
{
	(void) state;
	check_tentative_rows(STATE_F32);
	check_tentative_rows(STATE_F16);
}

static void
hidden_states_are_the_output_norm_s(void **state)
{
	Model *model = tiny_model(&shapes[0]);
	Engine engine = make_engine(model, 2, KV_F32);
	int32_t *tokens = make_tokens(20, 1);
	uint32_t blocks[1];
	StepSequence sequence = {tokens, 20, 0, blocks, 20, true, 0, NULL, 0, NULL, false};

	(void) state;
	assert_true(kv_pool_take(engine.pool, 1, blocks));
	forward_step(engine.forward, &sequence, 1);
	for (uint32_t r = 0; r < 20; r++)
	{
		const float *hidden = forward_hidden(engine.forward, 0, r);
		float row[64];
		double logit = 0;

		/* the logits are the output matrix times it */
		packed_row_expand(&model->output, 17, row);
		for (int i = 0; i < 64; i++)
			logit += (double) row[i] * hidden[i];
		assert_true(fabs(logit - forward_logits(engine.forward, 0, r)[17]) < 1e-3);
	}
	free(tokens);
	free_engine(&engine);
	model_close(model);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(logits_agree_with_a_plain_transformer),
		cmocka_unit_test(rows_are_turned_by_their_rotary_position),
		cmocka_unit_test(quantized_logits_are_near_the_reference),
		cmocka_unit_test(logits_do_not_depend_on_chunks_threads_or_instructions),
		cmocka_unit_test(logits_of_mixtures_do_not_depend_on_chunks_threads_or_instructions),
		cmocka_unit_test(logits_of_hybrids_do_not_depend_on_chunks_threads_or_instructions),
		cmocka_unit_test(equal_experts_are_chosen_from_the_first_on),
		cmocka_unit_test(rows_of_a_mixture_do_not_depend_on_who_shares_their_experts),
		cmocka_unit_test(few_rows_are_the_same_on_many_members),
		cmocka_unit_test(logits_are_the_same_bits_with_1_to_64_threads),
		cmocka_unit_test(a_step_leaves_processors_to_others),
		cmocka_unit_test(members_beat_as_a_step_gets_on_and_not_while_it_hangs),
		cmocka_unit_test(cache_types_stay_near_f32),
		cmocka_unit_test(states_in_f16_stay_near_f32_in_half_the_room),
		cmocka_unit_test(outliers_of_keys_do_not_spoil_few_bits),
		cmocka_unit_test(outliers_are_told_by_biases_alone),
		cmocka_unit_test(outliers_are_pairs_of_what_is_rotated),
		cmocka_unit_test(logits_do_not_depend_on_neighbours),
		cmocka_unit_test(tentative_rows_leave_no_trace_but_those_that_count),
		cmocka_unit_test(hidden_states_are_the_output_norm_s),
	};

	return cmocka_run_group_tests_name("forward", tests, NULL, NULL);
}
