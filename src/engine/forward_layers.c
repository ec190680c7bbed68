/*
 * forward_layers.c - the phases of a step: embedding, matrix products with what comes before them, output.
 *
 * Few rows (decode) are normalized and quantized by every member for itself when it takes its first tiles of a product,
 * which is cheaper than a phase; many rows are prepared in a phase of their own, by panels, and shared. Attention is in
 * forward_attention.c.
 */
#include <math.h>

#include "forward_private.h"

/* What rows become on their way into a matrix product. */
typedef struct RowSource
{
	float *rows; /* [n][stride] */
	size_t stride;
	uint32_t n_cols;
	const float *norm; /* weight of the RMS norm that comes first, or NULL */
	const float *up;   /* rows = silu(rows) * up comes first, for many rows; or NULL. At the same stride. */
} RowSource;

#define PRODUCT_MATRICES 3

/* Matrices that share an input. */
typedef struct Product
{
	RowSource source;
	StepPart part; /* that the product belongs to */
	uint32_t n_rows;
	uint32_t n_matrices;
	const PackedMatrix *matrices[PRODUCT_MATRICES];
	float *outputs[PRODUCT_MATRICES];
	size_t strides[PRODUCT_MATRICES];
	bool add;       /* to what is in the outputs */
	bool gated;     /* two matrices, gate and up, whose tiles go in pairs; few rows are activated at once */
	bool quantized; /* one of the matrices wants panels */
} Product;

static bool
is_few(uint32_t n_rows)
{
	return n_rows <= FEW_ROWS;
}

/* True when one of the matrices wants quantized activations. */
static bool
any_takes_panels(const Product *product)
{
	for (uint32_t i = 0; i < product->n_matrices; i++)
		if (tensor_type_takes_panels(product->matrices[i]->type))
			return true;
	return false;
}

/* Where prepared rows stand: private when few, else shared. */
static MatmulInput
input_of(const Member *member, const Product *product)
{
	const Forward *f = member->forward;
	bool few = is_few(product->n_rows);
	MatmulInput input = {product->n_rows, few ? member->scratch->panels : f->panels, product->source.rows,
						 product->source.stride};

	if (product->source.norm)
	{
		input.rows = few ? member->scratch->rows : f->normed;
		input.row_stride = few ? f->widest : f->hidden_stride;
	}
	return input;
}

/* Phase (and part of few rows' products): activate, normalize and quantize panels first … end-1 of the input. */
static void
prepare_panels(Member *member, const void *argument, uint32_t first, uint32_t end)
{
	const Product *product = argument;
	const RowSource *source = &product->source;
	const Forward *f = member->forward;
	MatmulInput input = input_of(member, product);
	float *rows = (float *) input.rows;

	for (uint32_t p = first; p < end; p++)
	{
		uint32_t row, n;

		activations_panel_range(product->n_rows, p, &row, &n);
		for (uint32_t r = row; r < row + n; r++)
		{
			if (source->up)
				f->kernels->silu_mul(source->rows + r * source->stride, source->up + r * source->stride,
									 source->n_cols);
			if (source->norm)
				f->kernels->rms_norm(source->rows + r * source->stride, source->norm, source->n_cols,
									 f->model->hyper.rms_epsilon, rows + r * input.row_stride);
		}
		if (product->quantized)
			f->kernels->quantize_panel(rows + row * input.row_stride, input.row_stride, n, source->n_cols,
									   (uint8_t *) input.panels + activations_bytes(1, source->n_cols) * row);
	}
}

/* Tiles first … end-1 of gate and of up, and for few rows the activation of what they gave. */
static void
multiply_gated(Member *member, const Product *product, const MatmulInput *input, uint32_t first, uint32_t end)
{
	const Kernels *kernels = member->forward->kernels;
	uint32_t from = first * TILE_ROWS, to = end * TILE_ROWS, n_rows = product->matrices[0]->n_rows;

	for (uint32_t i = 0; i < 2; i++)
		matmul_tiles(kernels, product->matrices[i], input, first, end, product->outputs[i], product->strides[i], false);
	to = to < n_rows ? to : n_rows;
	for (uint32_t r = 0; is_few(product->n_rows) && r < product->n_rows; r++)
		kernels->silu_mul(product->outputs[0] + r * product->strides[0] + from,
						  product->outputs[1] + r * product->strides[1] + from, to - from);
}

/* Phase: tiles first … end-1 of the product, counted through all its matrices (of one of them when gated). */
static void
multiply_tiles(Member *member, const void *argument, uint32_t first, uint32_t end)
{
	const Product *product = argument;
	MatmulInput input = input_of(member, product);

	if (is_few(product->n_rows) && member->prepared != member->phase)
	{
		prepare_panels(member, product, 0, activations_n_panels(product->n_rows));
		member->prepared = member->phase;
	}
	if (product->gated)
	{
		multiply_gated(member, product, &input, first, end);
		return;
	}
	for (uint32_t i = 0, before = 0; i < product->n_matrices; i++)
	{
		uint32_t n_tiles = packed_n_tiles(product->matrices[i]->n_rows);
		uint32_t from = first > before ? first - before : 0, to = end > before ? end - before : 0;

		to = to > n_tiles ? n_tiles : to;
		if (from < to)
			matmul_tiles(member->forward->kernels, product->matrices[i], &input, from, to, product->outputs[i],
						 product->strides[i], product->add);
		before += n_tiles;
	}
}

/* Prepare the input and multiply: one phase for few rows, two for many. */
static void
product_run(Member *member, Product *product)
{
	uint32_t n_tiles = 0;

	product->quantized = any_takes_panels(product);
	if (!is_few(product->n_rows))
		phase_run(member, STEP_PREPARE, activations_n_panels(product->n_rows), prepare_panels, product);
	else
		product->source.up = NULL; /* done where gate and up were made */
	for (uint32_t i = 0; i < (product->gated ? 1 : product->n_matrices); i++)
		n_tiles += packed_n_tiles(product->matrices[i]->n_rows);
	phase_run(member, product->part, n_tiles, multiply_tiles, product);
}

/* Phase: token embeddings and rotary angles of rows first … end-1. */
static void
embed_rows(Member *member, const void *argument, uint32_t first, uint32_t end)
{
	Forward *f = member->forward;

	(void) argument;
	for (uint32_t r = first; r < end; r++)
	{
		const StepSequence *sequence = &f->sequences[f->row_sequences[r]];
		uint32_t token = (uint32_t) sequence->tokens[f->row_positions[r] - sequence->first_position];

		packed_row_expand(&f->model->token_embedding, token, f->x + r * f->hidden_stride);
		rope_angles(&f->rope, f->row_positions[r], f->cosines + (size_t) r * f->rope.n_pairs,
					f->sines + (size_t) r * f->rope.n_pairs);
	}
}

/* Norm, Q, K, V, attention, output projection onto the residual stream. */
static void
attention_part(Member *member, uint32_t layer_index)
{
	Forward *f = member->forward;
	const ModelLayer *layer = &f->model->layers[layer_index];
	const ModelHyper *hyper = &f->model->hyper;
	Product inputs = {
		.source = {f->x, f->hidden_stride, hyper->hidden, layer->attn_norm, NULL},
		.part = STEP_PRODUCTS,
		.n_rows = f->n_rows,
		.n_matrices = 3,
		.matrices = {&layer->attn_q, &layer->attn_k, &layer->attn_v},
		.outputs = {f->q, f->k, f->v},
		.strides = {f->q_stride, f->kv_stride, f->kv_stride},
	};
	Product projection = {
		.source = {f->attended, f->q_stride, hyper->n_heads * hyper->head_dim, NULL, NULL},
		.part = STEP_PRODUCTS,
		.n_rows = f->n_rows,
		.n_matrices = 1,
		.matrices = {&layer->attn_output},
		.outputs = {f->x},
		.strides = {f->hidden_stride},
		.add = true,
	};

	product_run(member, &inputs);
	attention_run(member, layer_index);
	product_run(member, &projection);
}

/* Norm, gate and up, activation, down projection onto the residual stream. */
static void
feed_forward_part(Member *member, uint32_t layer_index)
{
	Forward *f = member->forward;
	const ModelLayer *layer = &f->model->layers[layer_index];
	const ModelHyper *hyper = &f->model->hyper;
	Product gate_up = {
		.source = {f->x, f->hidden_stride, hyper->hidden, layer->ffn_norm, NULL},
		.part = STEP_PRODUCTS,
		.n_rows = f->n_rows,
		.n_matrices = 2,
		.matrices = {&layer->ffn_gate, &layer->ffn_up},
		.outputs = {f->gate, f->up},
		.strides = {f->ffn_stride, f->ffn_stride},
		.gated = true,
	};
	Product down = {
		.source = {f->gate, f->ffn_stride, hyper->ffn, NULL, f->up},
		.part = STEP_PRODUCTS,
		.n_rows = f->n_rows,
		.n_matrices = 1,
		.matrices = {&layer->ffn_down},
		.outputs = {f->x},
		.strides = {f->hidden_stride},
		.add = true,
	};

	product_run(member, &gate_up);
	product_run(member, &down);
}

/* Phase: has anything overflowed on the way of rows first … end-1? It would still be there: an infinity or NaN in the
 * residual stream, or in a key or value, never goes away. */
static void
check_rows(Member *member, const void *argument, uint32_t first, uint32_t end)
{
	Forward *f = member->forward;

	(void) argument;
	for (uint32_t r = first; r < end; r++)
	{
		const float *x = f->x + r * f->hidden_stride;
		uint32_t n_not_finite = 0;

		for (uint32_t i = 0; i < f->model->hyper.hidden; i++)
			n_not_finite += !isfinite(x[i]);
		f->row_is_finite[r] = n_not_finite == 0;
	}
}

/* Phase: what is to be done with rows first … end-1 of the logits. */
static void
work_on_logits(Member *member, const void *argument, uint32_t first, uint32_t end)
{
	Forward *f = member->forward;

	(void) argument;
	for (uint32_t i = first; i < end; i++)
	{
		uint32_t s = f->row_sequences[f->logit_rows[i]];

		f->logits_work(f->logits_argument, s, i - f->first_logits[s], f->logits + i * f->logits_stride);
	}
}

/* Phase: the rows that want logits, normalized, one after the other. */
static void
gather_logit_rows(Member *member, const void *argument, uint32_t first, uint32_t end)
{
	Forward *f = member->forward;

	(void) argument;
	for (uint32_t i = first; i < end; i++)
		f->kernels->rms_norm(f->x + f->logit_rows[i] * f->hidden_stride, f->model->output_norm, f->model->hyper.hidden,
							 f->model->hyper.rms_epsilon, f->normed + i * f->hidden_stride);
}

/* Phase: the output norm of all rows in place. */
static void
norm_hidden_rows(Member *member, const void *argument, uint32_t first, uint32_t end)
{
	Forward *f = member->forward;

	(void) argument;
	for (uint32_t r = first; r < end; r++)
		f->kernels->rms_norm(f->x + r * f->hidden_stride, f->model->output_norm, f->model->hyper.hidden,
							 f->model->hyper.rms_epsilon, f->x + r * f->hidden_stride);
}

/* Logits and hidden states for the rows that want them. */
static void
output_part(Member *member)
{
	Forward *f = member->forward;
	Product output = {
		.source = {f->normed, f->hidden_stride, f->model->hyper.hidden, NULL, NULL},
		.part = STEP_OUTPUT,
		.n_rows = f->n_logits,
		.n_matrices = 1,
		.matrices = {&f->model->output},
		.outputs = {f->logits},
		.strides = {f->logits_stride},
	};

	phase_run(member, STEP_OUTPUT, f->n_rows, check_rows, NULL);
	if (f->n_logits > 0)
		phase_run(member, STEP_OUTPUT, f->n_logits, gather_logit_rows, NULL);
	if (f->any_hidden)
		phase_run(member, STEP_OUTPUT, f->n_rows, norm_hidden_rows, NULL);
	if (f->n_logits > 0)
		product_run(member, &output);
	if (f->n_logits > 0 && f->logits_work)
		phase_run(member, STEP_LOGITS, f->n_logits, work_on_logits, NULL);
}

void
layers_run(Member *member)
{
	phase_run(member, STEP_EMBED, member->forward->n_rows, embed_rows, NULL);
	for (uint32_t layer = 0; layer < member->forward->model->hyper.n_layers; layer++)
	{
		attention_part(member, layer);
		feed_forward_part(member, layer);
	}
	output_part(member);
}
