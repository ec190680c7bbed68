/*
 * forward_ends.c - the phases before and after the layers: embeddings, logits and hidden states.
 */
#include <math.h>

#include "forward_private.h"

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

		packed_row_expand(&f->model->token_embedding, token, row_at(&f->rows[ROWS_HIDDEN], r));
		adapters_add_embedding(f, sequence, token, row_at(&f->rows[ROWS_HIDDEN], r));
		rope_angles(&f->rope, f->row_rotary_positions[r], f->cosines + (size_t) r * f->rope.n_pairs,
					f->sines + (size_t) r * f->rope.n_pairs);
	}
}

void
plan_embedding(Forward *f)
{
	(void) plan_rows(f, ROWS_HIDDEN, f->model->hyper.hidden);
	plan_add(f, STEP_EMBED, all_rows, embed_rows, NULL);
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
		const float *x = row_at(&f->rows[ROWS_HIDDEN], r);
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

		f->logits_work(f->logits_argument, s, i - f->first_logits[s], row_at(&f->logits, i));
	}
}

/* Phase: the rows that want logits, normalized, one after the other. */
static void
gather_logit_rows(Member *member, const void *argument, uint32_t first, uint32_t end)
{
	Forward *f = member->forward;

	(void) argument;
	for (uint32_t i = first; i < end; i++)
		f->kernels->rms_norm(row_at(&f->rows[ROWS_HIDDEN], f->logit_rows[i]), f->model->output_norm,
							 f->model->hyper.hidden, f->model->hyper.rms_epsilon, row_at(&f->rows[ROWS_NORMED], i));
}

/* Phase: the output norm of all rows in place. */
static void
norm_hidden_rows(Member *member, const void *argument, uint32_t first, uint32_t end)
{
	Forward *f = member->forward;

	(void) argument;
	for (uint32_t r = first; r < end; r++)
	{
		float *x = row_at(&f->rows[ROWS_HIDDEN], r);

		f->kernels->rms_norm(x, f->model->output_norm, f->model->hyper.hidden, f->model->hyper.rms_epsilon, x);
	}
}

/* Rows that want logits. */
static uint32_t
logit_items(const Forward *f, const void *argument)
{
	(void) argument;
	return f->n_logits;
}

/* Rows of logits that something is to be done with. */
static uint32_t
logit_work_items(const Forward *f, const void *argument)
{
	(void) argument;
	return f->logits_work ? f->n_logits : 0;
}

/* All rows, if some want hidden states. */
static uint32_t
hidden_items(const Forward *f, const void *argument)
{
	(void) argument;
	return f->any_hidden ? f->n_rows : 0;
}

/* Logits and hidden states for the rows that want them, and what is done with logits. */
void
plan_output(Forward *f)
{
	uint32_t hidden = f->model->hyper.hidden;
	Product output = {
		.source = {plan_rows(f, ROWS_NORMED, hidden), hidden, NULL, NULL},
		.part = STEP_OUTPUT,
		.n_rows = &f->n_logits,
		.n_matrices = 1,
		.matrices = {&f->model->output},
		.outputs = {&f->logits},
	};

	plan_add(f, STEP_OUTPUT, all_rows, check_rows, NULL);
	plan_add(f, STEP_OUTPUT, logit_items, gather_logit_rows, NULL);
	plan_add(f, STEP_OUTPUT, hidden_items, norm_hidden_rows, NULL);
	plan_add_product(f, &output);
	plan_add(f, STEP_LOGITS, logit_work_items, work_on_logits, NULL);
}
