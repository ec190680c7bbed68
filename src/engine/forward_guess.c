/*
 * forward_guess.c - the layer that guesses tokens ahead (nextn, multi-token prediction), which some files have.
 *
 * A row of it joins the embedding of a token with the hidden state (behind the output norm) before that token, takes it
 * through one layer of attention with keys and values of its own, and gives logits of the token that comes next. Its
 * key of position n belongs to the token there and the hidden state of position n - 1: so it depends on nothing behind
 * that position, and cached blocks hold it like all others. Position 0 has nothing before it, and no key.
 *
 * Every step makes these keys and values for its rows, which is cheap; the layer itself runs in forward_guess alone,
 * one row of each sequence at a time, and each one's hidden state is then what goes before the next guess. Keys of
 * guesses are written over by the step that checks them. The hidden state before a step's first row is kept behind a
 * sequence's state, with those of tentative rows, so whoever copies or keeps a state has it.
 */
#include <string.h>

#include "forward_private.h"

/* The hidden states in a sequence's state: the one behind its rows, then those of tentative rows. */
static float *
hidden_in(const Forward *f, const StepSequence *sequence)
{
	const ModelHyper *hyper = &f->model->hyper;

	return sequence->state + model_state_bytes(hyper) / sizeof(float) - model_state_hidden_floats(hyper);
}

/* The hidden state before a sequence's first row. */
static const float *
hidden_before(const Forward *f, const StepSequence *sequence)
{
	return hidden_in(f, sequence) + (size_t) state_rows_counting(sequence) * f->model->hyper.hidden;
}

/* The hidden state before a row: of a row of the step, of the guess before, or of an earlier step. */
static const float *
hidden_of(const Forward *f, uint32_t row)
{
	uint32_t s = f->row_sequences[row];

	if (f->guess_round > 0)
		return row_at(&f->rows[ROWS_FINAL], row);
	return row > f->first_rows[s] ? row_at(&f->rows[ROWS_FINAL], row - 1) : hidden_before(f, &f->sequences[s]);
}

/* A row's token and the hidden state before it, side by side. */
static void
join_row(const Forward *f, uint32_t row)
{
	const StepSequence *sequence = &f->sequences[f->row_sequences[row]];
	const ModelHyper *hyper = &f->model->hyper;
	const ModelLayer *layer = &f->model->layers[hyper->n_layers];
	uint32_t token = (uint32_t) sequence->tokens[f->row_positions[row] - sequence->first_position];
	float *out = row_at(&f->rows[ROWS_GUESS_INPUT], row);

	if (f->row_positions[row] == 0)
	{
		memset(out, 0, 2 * (size_t) hyper->hidden * sizeof *out);
		return;
	}
	packed_row_expand(&f->model->guess_embedding, token, out);
	f->kernels->rms_norm(out, layer->guess_token_norm, hyper->hidden, hyper->rms_epsilon, out);
	f->kernels->rms_norm(hidden_of(f, row), layer->guess_hidden_norm, hyper->hidden, hyper->rms_epsilon,
						 out + hyper->hidden);
}

/* Phase: the input of rows first … end-1 of a step, whose rotary angles are there. */
static void
join_rows(Member *member, const void *argument, uint32_t first, uint32_t end)
{
	(void) argument;
	for (uint32_t row = first; row < end; row++)
		join_row(member->forward, row);
}

/* Phase: the input of rows first … end-1 of guesses. */
static void
begin_guesses(Member *member, const void *argument, uint32_t first, uint32_t end)
{
	Forward *f = member->forward;

	join_rows(member, argument, first, end);
	for (uint32_t row = first; row < end; row++)
		rope_angles(&f->rope, f->row_rotary_positions[row], f->cosines + (size_t) row * f->rope.n_pairs,
					f->sines + (size_t) row * f->rope.n_pairs);
}

/* Phase: the hidden states of rows first … end-1 behind the output norm. */
static void
keep_final_rows(Member *member, const void *argument, uint32_t first, uint32_t end)
{
	Forward *f = member->forward;

	for (uint32_t row = first; row < end; row++)
		f->kernels->rms_norm(row_at(&f->rows[ROWS_HIDDEN], row), *(const float *const *) argument,
							 f->model->hyper.hidden, f->model->hyper.rms_epsilon, row_at(&f->rows[ROWS_FINAL], row));
}

/* Phase: the hidden states that sequences first … end-1 go on from, where the step has read those before. */
static void
keep_hidden(Member *member, const void *argument, uint32_t first, uint32_t end)
{
	const Forward *f = member->forward;
	size_t hidden = f->model->hyper.hidden, bytes = hidden * sizeof(float);

	(void) argument;
	for (uint32_t s = first; s < end; s++)
	{
		const StepSequence *sequence = &f->sequences[s];
		float *kept = hidden_in(f, sequence);

		if (state_rows_counting(sequence) > 0)
			memcpy(kept, hidden_before(f, sequence), bytes);
		if (!sequence->is_tentative)
			memcpy(kept, row_at(&f->rows[ROWS_FINAL], f->first_rows[s] + sequence->n_tokens - 1), bytes);
		for (uint32_t i = 0; sequence->is_tentative && i < sequence->n_tokens; i++)
			memcpy(kept + (1 + i) * hidden, row_at(&f->rows[ROWS_FINAL], f->first_rows[s] + i), bytes);
	}
}

static uint32_t
all_sequences(const Forward *f, const void *argument)
{
	(void) argument;
	return f->n_sequences;
}

/* Phase: what is to be done with the logits of guesses first … end-1. */
static void
work_on_guesses(Member *member, const void *argument, uint32_t first, uint32_t end)
{
	Forward *f = member->forward;

	(void) argument;
	for (uint32_t row = first; row < end; row++)
		f->guess_work(f->guess_argument, f->row_sequences[row], f->guess_round, row_at(&f->logits, row));
}

/* The product that joins both halves of an input. */
static void
plan_join(Forward *f, const RowBuffer *output)
{
	uint32_t hidden = f->model->hyper.hidden;
	Product join = {
		.source = {plan_rows(f, ROWS_GUESS_INPUT, 2 * hidden), 2 * hidden, NULL, NULL},
		.part = STEP_PRODUCTS,
		.n_rows = &f->n_rows,
		.n_matrices = 1,
		.matrices = {&f->model->layers[f->model->hyper.n_layers].guess_input},
		.outputs = {output},
	};

	plan_add_product(f, &join);
}

void
plan_final_rows(Forward *f)
{
	(void) plan_rows(f, ROWS_FINAL, f->model->hyper.hidden);
	plan_add(f, STEP_OUTPUT, all_rows, keep_final_rows,
			 plan_keep(f, &f->model->output_norm, sizeof f->model->output_norm));
}

void
plan_guess_keys(Forward *f)
{
	const RowBuffer *joined = plan_rows(f, ROWS_GUESS, f->model->hyper.hidden);

	plan_add(f, STEP_PREPARE, all_rows, join_rows, NULL);
	plan_join(f, joined);
	plan_keys(f, f->model->hyper.n_layers, joined);
	plan_add(f, STEP_OUTPUT, all_sequences, keep_hidden, NULL);
}

void
plan_begin_guesses(Forward *f)
{
	plan_add(f, STEP_EMBED, all_rows, begin_guesses, NULL);
	plan_join(f, plan_rows(f, ROWS_HIDDEN, f->model->hyper.hidden));
}

void
plan_end_guesses(Forward *f)
{
	uint32_t hidden = f->model->hyper.hidden;
	Product output = {
		.source = {plan_rows(f, ROWS_FINAL, hidden), hidden, NULL, NULL},
		.part = STEP_OUTPUT,
		.n_rows = &f->n_rows,
		.n_matrices = 1,
		.matrices = {&f->model->guess_output},
		.outputs = {&f->logits},
	};

	plan_add(f, STEP_OUTPUT, all_rows, keep_final_rows,
			 plan_keep(f, &f->model->guess_output_norm, sizeof f->model->guess_output_norm));
	plan_add_product(f, &output);
	plan_add(f, STEP_LOGITS, all_rows, work_on_guesses, NULL);
}
