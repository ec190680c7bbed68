/*
 * forward_delta.c - gated delta nets (Yang et al. 2024), which keep a state of fixed size instead of keys and values.
 *
 * A sequence's state is, for each such layer, a matrix of every value head and the last rows that went into the
 * convolution. It belongs to one position: rows go through it in order, and what it was before is gone. A work item is
 * a slice of a value head's columns with all of a sequence's rows, since columns do not know of each other; so it does
 * not matter who computes which. Rows of different sequences meet only in the matrix products.
 */
#include <math.h>
#include <string.h>

#include "forward_private.h"

#define HISTORY (DELTA_TAPS - 1) /* rows before this one that the convolution needs */

/* What the phases of a layer's delta net are about. */
typedef struct DeltaLayer
{
	const ModelLayer *layer;
	const float *taps;   /* [DELTA_TAPS][channels] */
	const float *zeros;  /* [the widest of the channels' parts]: rows before the beginning */
	size_t state_offset; /* floats before this layer's in a sequence's state */
} DeltaLayer;

/* Floats of a layer's matrices, and of all that it keeps, in the order of model_state_bytes. */
static size_t
matrix_floats(const ModelHyper *hyper)
{
	return (size_t) hyper->n_delta_values * hyper->delta_dim * hyper->delta_dim;
}

static size_t
layer_floats(const ModelHyper *hyper)
{
	return matrix_floats(hyper) + (size_t) HISTORY * model_delta_channels(hyper);
}

/* The channels stand in three row buffers: queries, keys, values. */
typedef struct ChannelPart
{
	RowsName rows;
	uint32_t first, n;
} ChannelPart;

#define CHANNEL_PARTS 3

static void
find_channels(const ModelHyper *hyper, ChannelPart parts[CHANNEL_PARTS])
{
	uint32_t keys = hyper->n_delta_keys * hyper->delta_dim, values = hyper->n_delta_values * hyper->delta_dim;

	parts[0] = (ChannelPart){ROWS_Q, 0, keys};
	parts[1] = (ChannelPart){ROWS_K, keys, keys};
	parts[2] = (ChannelPart){ROWS_V, 2 * keys, values};
}

/* The rows before a sequence's first one in this step, [HISTORY][channels]; NULL where it begins. */
static float *
history_of(const Forward *f, const DeltaLayer *delta, uint32_t s)
{
	const StepSequence *sequence = &f->sequences[s];

	return sequence->first_position == 0 ? NULL
										 : sequence->state + delta->state_offset + matrix_floats(&f->model->hyper);
}

/* What went into the convolution at a row of the step plus back (0, -1, …) of the same sequence. */
static const float *
input_row(const Forward *f, const DeltaLayer *delta, const ChannelPart *part, uint32_t row, int32_t back)
{
	uint32_t s = f->row_sequences[row];
	int32_t at = (int32_t) (row - f->first_rows[s]) + back;
	const float *history;

	if (at >= 0)
		return row_at(&f->rows[part->rows], f->first_rows[s] + (uint32_t) at);
	history = history_of(f, delta, s);
	return history ? history + (size_t) (HISTORY + at) * model_delta_channels(&f->model->hyper) + part->first
				   : delta->zeros;
}

/* Phase: rows first … end-1 through the convolution; queries and keys to their lengths; what is forgotten, and how much
 * is learned. */
static void
convolve_rows(Member *member, const void *argument, uint32_t first, uint32_t end)
{
	const Forward *f = member->forward;
	const DeltaLayer *delta = argument;
	const ModelHyper *hyper = &f->model->hyper;
	uint32_t n_channels = model_delta_channels(hyper);
	ChannelPart parts[CHANNEL_PARTS];

	find_channels(hyper, parts);
	for (uint32_t r = first; r < end; r++)
	{
		float *out = row_at(&f->rows[ROWS_DELTA], r);

		for (uint32_t p = 0; p < CHANNEL_PARTS; p++)
		{
			const float *rows[DELTA_TAPS];

			for (int32_t i = 0; i < DELTA_TAPS; i++)
				rows[i] = input_row(f, delta, &parts[p], r, i - HISTORY);
			f->kernels->delta_conv(rows, delta->taps + parts[p].first, n_channels, parts[p].n, out + parts[p].first);
		}
		for (uint32_t h = 0; h < 2 * hyper->n_delta_keys; h++)
			f->kernels->unit_norm(out + (size_t) h * hyper->delta_dim, hyper->delta_dim,
								  h < hyper->n_delta_keys ? 1.0f / sqrtf((float) hyper->delta_dim) : 1.0f);
		f->kernels->delta_gates(row_at(&f->rows[ROWS_DECAY], r), row_at(&f->rows[ROWS_BETA], r), delta->layer->delta_dt,
								delta->layer->delta_decay, hyper->n_delta_values);
	}
}

/* Items of one sequence: slices of all value heads. */
static uint32_t
slices_of_sequence(const ModelHyper *hyper)
{
	return hyper->n_delta_values * (hyper->delta_dim / DELTA_COLUMNS);
}

/* Keep the last rows of some channels for the convolution of the next step. */
static void
keep_channels(const Forward *f, const DeltaLayer *delta, uint32_t s, uint32_t first, uint32_t end)
{
	const StepSequence *sequence = &f->sequences[s];
	uint32_t n_channels = model_delta_channels(&f->model->hyper), last = f->first_rows[s] + sequence->n_tokens - 1;
	float *history = sequence->state + delta->state_offset + matrix_floats(&f->model->hyper);
	ChannelPart parts[CHANNEL_PARTS];

	find_channels(&f->model->hyper, parts);
	for (uint32_t p = 0; p < CHANNEL_PARTS; p++)
	{
		uint32_t from = first > parts[p].first ? first : parts[p].first, to = parts[p].first + parts[p].n;

		to = to < end ? to : end;
		/* older ones first: a row that moves up is read before it is written over */
		for (int32_t i = 0; from < to && i < HISTORY; i++)
			memmove(history + (size_t) i * n_channels + from,
					input_row(f, delta, &parts[p], last, i + 1 - HISTORY) + (from - parts[p].first),
					(to - from) * sizeof *history);
	}
}

/* Phase: slices first … end-1, counted through all sequences. */
static void
update_slices(Member *member, const void *argument, uint32_t first, uint32_t end)
{
	const Forward *f = member->forward;
	const DeltaLayer *delta = argument;
	const ModelHyper *hyper = &f->model->hyper;
	uint32_t dim = hyper->delta_dim, n_slices = slices_of_sequence(hyper), n_channels = model_delta_channels(hyper);
	uint32_t keys = hyper->n_delta_keys * dim, sharing = hyper->n_delta_values / hyper->n_delta_keys;

	for (uint32_t item = first; item < end; item++)
	{
		uint32_t s = item / n_slices, slice = item % n_slices, row = f->first_rows[s];
		uint32_t head = slice / (dim / DELTA_COLUMNS), column = slice % (dim / DELTA_COLUMNS) * DELTA_COLUMNS;
		uint32_t key_head = hyper->delta_is_grouped ? head / sharing : head % hyper->n_delta_keys;
		const StepSequence *sequence = &f->sequences[s];
		float *state = sequence->state + delta->state_offset + (size_t) slice * dim * DELTA_COLUMNS;
		const float *channels = row_at(&f->rows[ROWS_DELTA], row);
		DeltaRows rows = {
			.n = sequence->n_tokens,
			.dim = dim,
			.q = channels + (size_t) key_head * dim,
			.k = channels + keys + (size_t) key_head * dim,
			.v = channels + 2 * (size_t) keys + (size_t) head * dim + column,
			.decay = row_at(&f->rows[ROWS_DECAY], row) + head,
			.beta = row_at(&f->rows[ROWS_BETA], row) + head,
			.o = row_at(&f->rows[ROWS_ATTENDED], row) + (size_t) head * dim + column,
			.qk_stride = f->rows[ROWS_DELTA].stride,
			.v_stride = f->rows[ROWS_DELTA].stride,
			.gate_stride = f->rows[ROWS_DECAY].stride,
			.o_stride = f->rows[ROWS_ATTENDED].stride,
		};

		if (sequence->first_position == 0)
			memset(state, 0, (size_t) dim * DELTA_COLUMNS * sizeof *state);
		f->kernels->delta_rows(state, &rows);
		/* the phase before has read what was kept of the rows before these */
		keep_channels(f, delta, s, (uint32_t) ((uint64_t) n_channels * slice / n_slices),
					  (uint32_t) ((uint64_t) n_channels * (slice + 1) / n_slices));
		member_beat(member, sequence->n_tokens * dim / TILE_ROWS);
	}
}

static uint32_t
slice_items(const Forward *f, const void *argument)
{
	(void) argument;
	return f->n_sequences * slices_of_sequence(&f->model->hyper);
}

/* Phase: norm and gate of what came of rows first … end-1. */
static void
finish_rows(Member *member, const void *argument, uint32_t first, uint32_t end)
{
	const Forward *f = member->forward;
	const DeltaLayer *delta = argument;
	const ModelHyper *hyper = &f->model->hyper;

	for (uint32_t r = first; r < end; r++)
		for (uint32_t h = 0; h < hyper->n_delta_values; h++)
		{
			size_t at = (size_t) h * hyper->delta_dim;

			f->kernels->delta_output(row_at(&f->rows[ROWS_ATTENDED], r) + at, delta->layer->delta_norm,
									 row_at(&f->rows[ROWS_DELTA_GATE], r) + at, hyper->delta_dim, hyper->rms_epsilon);
		}
}

/* The taps of all channels, tap by tap, and a row of zeros behind them: part of the plan. */
static const float *
lay_out_taps(Forward *f, const ModelLayer *layer, size_t n_zeros)
{
	size_t n = model_delta_channels(&f->model->hyper);
	float *taps = f->plan.arena ? arena_alloc_array(f->plan.arena, DELTA_TAPS * n + n_zeros, sizeof *taps) : NULL;

	if (!taps)
	{
		f->plan.failed = true;
		return NULL;
	}
	for (size_t i = 0; i < DELTA_TAPS; i++)
		for (size_t c = 0; c < n; c++)
			taps[i * n + c] = layer->delta_conv[c * DELTA_TAPS + i];
	memset(taps + DELTA_TAPS * n, 0, n_zeros * sizeof *taps);
	return taps;
}

/* Norm, queries, keys, values, gates; convolution; the state; norm and gate; output projection onto the residual
 * stream. */
void
plan_delta(Forward *f, uint32_t layer_index)
{
	const ModelHyper *hyper = &f->model->hyper;
	const ModelLayer *layer = &f->model->layers[layer_index];
	uint32_t keys = hyper->n_delta_keys * hyper->delta_dim, values = hyper->n_delta_values * hyper->delta_dim;
	uint32_t n_channels = model_delta_channels(hyper);
	DeltaLayer about = {.layer = layer, .state_offset = f->plan.n_delta_layers++ * layer_floats(hyper)};
	const void *delta;
	Product inputs = {
		.source = {plan_rows(f, ROWS_HIDDEN, hyper->hidden), hyper->hidden, layer->attn_norm, NULL},
		.part = STEP_PRODUCTS,
		.n_rows = &f->n_rows,
		.n_matrices = 6,
		.matrices = {&layer->delta_q, &layer->delta_k, &layer->delta_v, &layer->delta_gate, &layer->delta_beta,
					 &layer->delta_alpha},
		.outputs = {plan_rows(f, ROWS_Q, keys), plan_rows(f, ROWS_K, keys), plan_rows(f, ROWS_V, values),
					plan_rows(f, ROWS_DELTA_GATE, values), plan_rows(f, ROWS_BETA, hyper->n_delta_values),
					plan_rows(f, ROWS_DECAY, hyper->n_delta_values)},
	};
	Product projection = {
		.source = {plan_rows(f, ROWS_ATTENDED, values), values, NULL, NULL},
		.part = STEP_PRODUCTS,
		.n_rows = &f->n_rows,
		.n_matrices = 1,
		.matrices = {&layer->delta_output},
		.outputs = {plan_rows(f, ROWS_HIDDEN, hyper->hidden)},
		.add = true,
	};

	(void) plan_rows(f, ROWS_DELTA, n_channels);
	about.taps = lay_out_taps(f, layer, keys > values ? keys : values);
	about.zeros = about.taps ? about.taps + (size_t) DELTA_TAPS * n_channels : NULL;
	delta = plan_keep(f, &about, sizeof about);
	plan_add_product(f, &inputs);
	plan_add(f, STEP_STATES, all_rows, convolve_rows, delta);
	plan_add(f, STEP_STATES, slice_items, update_slices, delta);
	plan_add(f, STEP_STATES, all_rows, finish_rows, delta);
	plan_add_product(f, &projection);
}
