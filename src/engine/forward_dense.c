/*
 * forward_dense.c - a layer's feed-forward network with gate: down(silu(gate x) * (up x)).
 */
#include "forward_private.h"

/* Norm, gate and up, activation, down projection onto the residual stream. */
void
plan_dense(Forward *f, uint32_t layer_index)
{
	const ModelHyper *hyper = &f->model->hyper;
	const ModelLayer *layer = &f->model->layers[layer_index];
	const RowBuffer *hidden = plan_rows(f, ROWS_HIDDEN, hyper->hidden);
	const RowBuffer *gate = plan_rows(f, ROWS_GATE, hyper->ffn), *up = plan_rows(f, ROWS_UP, hyper->ffn);
	Product gate_up = {
		.source = {hidden, hyper->hidden, layer->ffn_norm, NULL},
		.part = STEP_PRODUCTS,
		.n_rows = &f->n_rows,
		.n_matrices = 2,
		.matrices = {&layer->ffn_gate, &layer->ffn_up},
		.outputs = {gate, up},
		.gated = true,
	};
	Product down = {
		.source = {gate, hyper->ffn, NULL, up},
		.part = STEP_PRODUCTS,
		.n_rows = &f->n_rows,
		.n_matrices = 1,
		.matrices = {&layer->ffn_down},
		.outputs = {hidden},
		.add = true,
	};

	plan_add_product(f, &gate_up);
	plan_add_product(f, &down);
}
