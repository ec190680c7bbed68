/*
 * forward.c - one step of the transformer over a ragged batch; see forward.h for what it promises.
 *
 * step_work() is the program of every team member: the phases of a layer in order, with a barrier wherever one member
 * reads what another wrote. Few rows (decode) are normalized and quantized by every member for itself, which is cheaper
 * than a barrier; many rows are shared out by panels. Attention is in forward_attention.c.
 */
#include "forward_private.h"

#include <stdlib.h>
#include <string.h>

/* Aligned memory of n floats, or NULL; zeroed so that no run depends on what was there. */
static float *
allocate_floats(size_t n)
{
	size_t bytes = (n * sizeof(float) + 63) / 64 * 64;
	float *memory = aligned_alloc(64, bytes ? bytes : 64);

	if (memory)
		memset(memory, 0, bytes);
	return memory;
}

/* A row stride that is no power of two, so that rows do not fall on the same cache sets. */
static size_t
row_stride(uint32_t n)
{
	return (n + 15) / 16 * 16 + 16;
}

static uint32_t
largest(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

/* Members' private buffers. */
static bool
create_scratch(Forward *forward, ThreadScratch *scratch)
{
	size_t attention_floats = (size_t) ATTENTION_ROWS * forward->head_dim;

	scratch->rows = allocate_floats((size_t) FEW_ROWS * forward->widest);
	scratch->panels = (uint8_t *) allocate_floats(activations_bytes(FEW_ROWS, forward->widest) / 4 + 16);
	scratch->q = allocate_floats(attention_floats);
	scratch->piece = allocate_floats(attention_floats);
	scratch->total = allocate_floats(attention_floats);
	return scratch->rows && scratch->panels && scratch->q && scratch->piece && scratch->total;
}

/* Everything whose size follows from the model and the maxima. */
static bool
create_buffers(Forward *f)
{
	const ModelHyper *hyper = &f->model->hyper;
	size_t rows = f->max_rows;
	uint32_t max_pieces = attention_pieces_for(hyper->context_length);
	bool ok = true;

	f->x = allocate_floats(rows * f->hidden_stride);
	f->normed = allocate_floats(rows * f->hidden_stride);
	f->q = allocate_floats(rows * f->q_stride);
	f->k = allocate_floats(rows * f->kv_stride);
	f->v = allocate_floats(rows * f->kv_stride);
	f->attended = allocate_floats(rows * f->q_stride);
	f->gate = allocate_floats(rows * f->ffn_stride);
	f->up = allocate_floats(rows * f->ffn_stride);
	f->cosines = allocate_floats(rows * (f->head_dim / 2));
	f->sines = allocate_floats(rows * (f->head_dim / 2));
	f->panels = (uint8_t *) allocate_floats(activations_bytes(f->max_rows, f->widest) / 4 + 16);
	f->logits = allocate_floats((size_t) f->max_logits * f->logits_stride);
	f->row_positions = calloc(rows, sizeof *f->row_positions);
	f->row_sequences = calloc(rows, sizeof *f->row_sequences);
	f->logit_rows = calloc(f->max_logits ? f->max_logits : 1, sizeof *f->logit_rows);
	f->first_logits = calloc(f->max_sequences, sizeof *f->first_logits);
	f->first_rows = calloc(f->max_sequences, sizeof *f->first_rows);
	f->split_states = calloc((size_t) SPLIT_ROWS * hyper->n_heads * max_pieces, sizeof *f->split_states);
	f->split_outs = allocate_floats((size_t) SPLIT_ROWS * hyper->n_heads * max_pieces * f->head_dim);
	f->scratch = calloc((size_t) f->n_threads, sizeof *f->scratch);
	ok = f->x && f->normed && f->q && f->k && f->v && f->attended && f->gate && f->up && f->cosines && f->sines &&
		 f->panels && f->logits && f->row_positions && f->row_sequences && f->logit_rows && f->first_logits &&
		 f->first_rows && f->split_states && f->split_outs && f->scratch;
	for (int t = 0; ok && t < f->n_threads; t++)
		ok = create_scratch(f, &f->scratch[t]);
	return ok;
}

Status
forward_create(const Model *model, KvPool *pool, Team *team, uint32_t max_rows, uint32_t max_sequences,
			   uint32_t max_logits, Forward **forward)
{
	const ModelHyper *hyper = &model->hyper;
	Forward *f = calloc(1, sizeof *f);

	if (!f)
		return status_error(STATUS_UNAVAILABLE, "out of memory for the step's buffers");
	f->model = model;
	f->pool = pool;
	f->team = team;
	f->n_threads = team_size(team);
	f->kernels = kernels_select();
	f->max_rows = max_rows;
	f->max_sequences = max_sequences;
	f->max_logits = max_logits;
	f->head_dim = hyper->head_dim;
	f->hidden_stride = row_stride(hyper->hidden);
	f->q_stride = row_stride(hyper->n_heads * hyper->head_dim);
	f->kv_stride = row_stride(hyper->n_kv_heads * hyper->head_dim);
	f->ffn_stride = row_stride(hyper->ffn);
	f->logits_stride = row_stride(hyper->vocab);
	f->widest = largest(largest(hyper->hidden, hyper->ffn), hyper->n_heads * hyper->head_dim);
	rope_init(&f->rope, hyper);
	if (!create_buffers(f))
	{
		forward_destroy(f);
		return status_error(STATUS_UNAVAILABLE, "out of memory for the buffers of steps of %u rows", max_rows);
	}
	*forward = f;
	return status_ok();
}

void
forward_destroy(Forward *f)
{
	if (!f)
		return;
	for (int t = 0; f->scratch && t < f->n_threads; t++)
	{
		free(f->scratch[t].rows);
		free(f->scratch[t].panels);
		free(f->scratch[t].q);
		free(f->scratch[t].piece);
		free(f->scratch[t].total);
	}
	free(f->scratch);
	free(f->x);
	free(f->normed);
	free(f->q);
	free(f->k);
	free(f->v);
	free(f->attended);
	free(f->gate);
	free(f->up);
	free(f->cosines);
	free(f->sines);
	free(f->panels);
	free(f->logits);
	free(f->row_positions);
	free(f->row_sequences);
	free(f->logit_rows);
	free(f->first_logits);
	free(f->first_rows);
	free(f->split_states);
	free(f->split_outs);
	free(f);
}

/* What rows become on their way into a matrix product. */
typedef struct RowSource
{
	const float *rows; /* [n][stride] */
	size_t stride;
	const float *norm; /* weight of the RMS norm that comes first, or NULL */
	uint32_t n_cols;
} RowSource;

/* Normalize (where asked) and quantize the rows of one panel. floats: where the normalized rows go, at the stride
 * given. */
static void
prepare_panel(const Forward *f, const RowSource *source, uint32_t first, uint32_t n, float *floats, size_t float_stride,
			  uint8_t *panel, bool quantize)
{
	const float *rows = source->rows + first * source->stride;
	size_t stride = source->stride;

	if (source->norm)
	{
		for (uint32_t r = 0; r < n; r++)
			f->kernels->rms_norm(rows + r * stride, source->norm, source->n_cols, f->model->hyper.rms_epsilon,
								 floats + (first + r) * float_stride);
		rows = floats + first * float_stride;
		stride = float_stride;
	}
	if (quantize)
		f->kernels->quantize_panel(rows, stride, n, source->n_cols, panel);
}

/* True when one of the matrices wants quantized activations. */
static bool
any_takes_panels(const PackedMatrix *const *matrices, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (tensor_type_takes_panels(matrices[i]->type))
			return true;
	return false;
}

/*
 * Make the input of a group of products from n_rows rows of source. Few rows: every member for itself. Many: panels are
 * shared out, and the barrier is here.
 */
static MatmulInput
prepare_input(Forward *f, int thread, const RowSource *source, uint32_t n_rows, bool quantize)
{
	ThreadScratch *scratch = &f->scratch[thread];
	bool few = n_rows <= FEW_ROWS;
	uint8_t *panels = few ? scratch->panels : f->panels;
	float *floats = few ? scratch->rows : f->normed;
	size_t float_stride = few ? f->widest : f->hidden_stride;

	for (uint32_t p = few ? 0 : (uint32_t) thread; p < activations_n_panels(n_rows);
		 p += few ? 1 : (uint32_t) f->n_threads)
	{
		uint32_t first, n;

		activations_panel_range(n_rows, p, &first, &n);
		prepare_panel(f, source, first, n, floats, float_stride, panels + activations_bytes(1, source->n_cols) * first,
					  quantize);
	}
	if (!few)
		team_barrier(f->team);
	return (MatmulInput){n_rows, panels, source->norm ? floats : source->rows,
						 source->norm ? float_stride : source->stride};
}

/* Several products of one input, their tiles dealt out as one list so that all members end together. */
static void
multiply(Forward *f, int thread, const MatmulInput *input, uint32_t n, const PackedMatrix *const *matrices,
		 float *const *outputs, const size_t *strides, bool add)
{
	uint32_t total = 0, at = 0;
	unsigned first, end;

	for (uint32_t i = 0; i < n; i++)
		total += packed_n_tiles(matrices[i]->n_rows);
	team_share(total, thread, f->n_threads, &first, &end);
	for (uint32_t i = 0; i < n; i++)
	{
		uint32_t n_tiles = packed_n_tiles(matrices[i]->n_rows);
		uint32_t from = first > at ? first - at : 0, to = end > at ? end - at : 0;

		to = to > n_tiles ? n_tiles : to;
		if (from < to)
			matmul_tiles(f->kernels, matrices[i], input, from, to, outputs[i], strides[i], add);
		at += n_tiles;
	}
}

/* Token embeddings and rotary angles of this member's rows. */
static void
embed_rows(Forward *f, int thread)
{
	unsigned first, end;

	team_share(f->n_rows, thread, f->n_threads, &first, &end);
	for (uint32_t r = first; r < end; r++)
	{
		const StepSequence *sequence = &f->sequences[f->row_sequences[r]];
		uint32_t token = (uint32_t) sequence->tokens[f->row_positions[r] - sequence->first_position];

		packed_row_expand(&f->model->token_embedding, token, f->x + r * f->hidden_stride);
		rope_angles(&f->rope, f->row_positions[r], f->cosines + (size_t) r * f->rope.n_pairs,
					f->sines + (size_t) r * f->rope.n_pairs);
	}
}

static void
add_bias(float *values, const float *bias, uint32_t n)
{
	for (uint32_t i = 0; bias && i < n; i++)
		values[i] += bias[i];
}

/* A query or key head: bias, norm (qwen3), rotation. */
static void
finish_head(const Forward *f, float *head, const float *bias, const float *norm, uint32_t row)
{
	add_bias(head, bias, f->head_dim);
	if (norm)
		f->kernels->rms_norm(head, norm, f->head_dim, f->model->hyper.rms_epsilon, head);
	f->kernels->rope(head, f->cosines + (size_t) row * f->rope.n_pairs, f->sines + (size_t) row * f->rope.n_pairs,
					 f->head_dim);
}

/* Head number item % (n_heads + n_kv_heads) of a row: finish it, and store keys and values into the cache. */
static void
finish_and_store(const Forward *f, const ModelLayer *layer, uint32_t layer_index, uint32_t item)
{
	const ModelHyper *hyper = &f->model->hyper;
	uint32_t row = item / (hyper->n_heads + hyper->n_kv_heads), head = item % (hyper->n_heads + hyper->n_kv_heads);
	uint32_t position = f->row_positions[row], kv_head = head - hyper->n_heads;
	size_t kv_offset = (size_t) kv_head * f->head_dim;
	uint32_t block;
	float *k, *v;

	if (head < hyper->n_heads)
	{
		float *q = f->q + row * f->q_stride + (size_t) head * f->head_dim;

		finish_head(f, q, layer->attn_q_bias ? layer->attn_q_bias + (size_t) head * f->head_dim : NULL,
					layer->attn_q_norm, row);
		return;
	}
	k = f->k + row * f->kv_stride + kv_offset;
	v = f->v + row * f->kv_stride + kv_offset;
	block = f->sequences[f->row_sequences[row]].kv_blocks[position / KV_BLOCK_POSITIONS];
	finish_head(f, k, layer->attn_k_bias ? layer->attn_k_bias + kv_offset : NULL, layer->attn_k_norm, row);
	add_bias(v, layer->attn_v_bias ? layer->attn_v_bias + kv_offset : NULL, f->head_dim);
	f->kernels->kv_store_k(kv_pool_type(f->pool), kv_pool_k(f->pool, block, layer_index, kv_head),
						   position % KV_BLOCK_POSITIONS, k, f->head_dim);
	f->kernels->kv_store_v(kv_pool_type(f->pool), kv_pool_v(f->pool, block, layer_index, kv_head),
						   position % KV_BLOCK_POSITIONS, v, f->head_dim);
}

/* Norm, Q, K, V, cache, attention, output projection onto the residual stream. */
static void
attention_part(Forward *f, int thread, uint32_t layer_index)
{
	const ModelLayer *layer = &f->model->layers[layer_index];
	const ModelHyper *hyper = &f->model->hyper;
	const PackedMatrix *qkv[] = {&layer->attn_q, &layer->attn_k, &layer->attn_v};
	float *outputs[] = {f->q, f->k, f->v};
	size_t strides[] = {f->q_stride, f->kv_stride, f->kv_stride};
	RowSource source = {f->x, f->hidden_stride, layer->attn_norm, hyper->hidden};
	MatmulInput input = prepare_input(f, thread, &source, f->n_rows, any_takes_panels(qkv, 3));
	const PackedMatrix *projection[] = {&layer->attn_output};
	unsigned first, end;

	multiply(f, thread, &input, 3, qkv, outputs, strides, false);
	team_barrier(f->team);
	team_share(f->n_rows * (hyper->n_heads + hyper->n_kv_heads), thread, f->n_threads, &first, &end);
	for (uint32_t item = first; item < end; item++)
		finish_and_store(f, layer, layer_index, item);
	team_barrier(f->team);
	attention_step(f, thread, layer_index);
	team_barrier(f->team);
	source = (RowSource){f->attended, f->q_stride, NULL, hyper->n_heads * hyper->head_dim};
	input = prepare_input(f, thread, &source, f->n_rows, any_takes_panels(projection, 1));
	multiply(f, thread, &input, 1, projection, &f->x, &f->hidden_stride, true);
	team_barrier(f->team);
}

/* gate = silu(gate) * up for this member's share: columns of few rows (in runs of 16 floats), whole panels of many. */
static void
activate(Forward *f, int thread)
{
	uint32_t ffn = f->model->hyper.ffn;
	unsigned first, end;

	if (f->n_rows <= FEW_ROWS)
	{
		team_share((ffn + 15) / 16, thread, f->n_threads, &first, &end);
		end = end * 16 < ffn ? end * 16 : ffn;
		for (uint32_t r = 0; r < f->n_rows && first * 16 < end; r++)
			f->kernels->silu_mul(f->gate + r * f->ffn_stride + first * 16, f->up + r * f->ffn_stride + first * 16,
								 end - first * 16);
		team_barrier(f->team);
		return;
	}
	for (uint32_t p = (uint32_t) thread; p < activations_n_panels(f->n_rows); p += (uint32_t) f->n_threads)
	{
		uint32_t row, n;

		/* the same panels that this member quantizes next, so no barrier */
		activations_panel_range(f->n_rows, p, &row, &n);
		for (uint32_t r = row; r < row + n; r++)
			f->kernels->silu_mul(f->gate + r * f->ffn_stride, f->up + r * f->ffn_stride, ffn);
	}
}

/* Norm, gate and up, activation, down projection onto the residual stream. */
static void
feed_forward_part(Forward *f, int thread, uint32_t layer_index)
{
	const ModelLayer *layer = &f->model->layers[layer_index];
	const PackedMatrix *gate_up[] = {&layer->ffn_gate, &layer->ffn_up};
	const PackedMatrix *down[] = {&layer->ffn_down};
	float *outputs[] = {f->gate, f->up};
	size_t strides[] = {f->ffn_stride, f->ffn_stride};
	RowSource source = {f->x, f->hidden_stride, layer->ffn_norm, f->model->hyper.hidden};
	MatmulInput input = prepare_input(f, thread, &source, f->n_rows, any_takes_panels(gate_up, 2));

	multiply(f, thread, &input, 2, gate_up, outputs, strides, false);
	team_barrier(f->team);
	activate(f, thread);
	source = (RowSource){f->gate, f->ffn_stride, NULL, f->model->hyper.ffn};
	input = prepare_input(f, thread, &source, f->n_rows, any_takes_panels(down, 1));
	multiply(f, thread, &input, 1, down, &f->x, &f->hidden_stride, true);
	team_barrier(f->team);
}

/* The output norm of all rows in place where hidden states are wanted, and the output matrix for the wanted rows. */
static void
output_part(Forward *f, int thread)
{
	const PackedMatrix *output[] = {&f->model->output};
	unsigned first, end;

	/* gather: the wanted rows, normalized, stand one after the other */
	team_share(f->n_logits, thread, f->n_threads, &first, &end);
	for (uint32_t i = first; i < end; i++)
		f->kernels->rms_norm(f->x + f->logit_rows[i] * f->hidden_stride, f->model->output_norm, f->model->hyper.hidden,
							 f->model->hyper.rms_epsilon, f->normed + i * f->hidden_stride);
	team_barrier(f->team);
	if (f->any_hidden)
	{
		team_share(f->n_rows, thread, f->n_threads, &first, &end);
		for (uint32_t r = first; r < end; r++)
			f->kernels->rms_norm(f->x + r * f->hidden_stride, f->model->output_norm, f->model->hyper.hidden,
								 f->model->hyper.rms_epsilon, f->x + r * f->hidden_stride);
	}
	if (f->n_logits > 0)
	{
		RowSource source = {f->normed, f->hidden_stride, NULL, f->model->hyper.hidden};
		MatmulInput input = prepare_input(f, thread, &source, f->n_logits, any_takes_panels(output, 1));

		multiply(f, thread, &input, 1, output, &f->logits, &f->logits_stride, false);
	}
}

/* The whole step of one member. */
static void
step_work(void *argument, int thread)
{
	Forward *f = argument;

	embed_rows(f, thread);
	team_barrier(f->team);
	for (uint32_t layer = 0; layer < f->model->hyper.n_layers; layer++)
	{
		attention_part(f, thread, layer);
		feed_forward_part(f, thread, layer);
	}
	output_part(f, thread);
}

void
forward_step(Forward *f, const StepSequence *sequences, uint32_t n_sequences)
{
	f->sequences = sequences;
	f->n_sequences = n_sequences;
	f->n_rows = 0;
	f->n_logits = 0;
	f->any_hidden = false;
	for (uint32_t s = 0; s < n_sequences; s++)
	{
		f->first_rows[s] = f->n_rows;
		f->first_logits[s] = f->n_logits;
		for (uint32_t i = 0; i < sequences[s].n_tokens; i++)
		{
			f->row_sequences[f->n_rows] = s;
			f->row_positions[f->n_rows] = sequences[s].first_position + i;
			if (i + sequences[s].n_logits >= sequences[s].n_tokens)
				f->logit_rows[f->n_logits++] = f->n_rows;
			f->n_rows++;
		}
		f->any_hidden |= sequences[s].want_hidden;
	}
	attention_plan(f);
	team_run(f->team, step_work, f);
}

float *
forward_logits(Forward *f, uint32_t s, uint32_t i)
{
	return f->logits + (f->first_logits[s] + i) * f->logits_stride;
}

const float *
forward_hidden(const Forward *f, uint32_t s, uint32_t i)
{
	return f->x + (f->first_rows[s] + i) * f->hidden_stride;
}
