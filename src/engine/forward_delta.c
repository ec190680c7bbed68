/*
 * forward_delta.c - gated delta nets (Yang et al. 2024), which keep a state of fixed size instead of keys and values.
 *
 * A sequence's state is, for each such layer, a matrix of every value head and the last rows that went into the
 * convolution. It belongs to one position: rows go through it in order, and what it was before is gone. A work item is
 * a slice of a value head's columns with all of a sequence's rows, since columns do not know of each other; so it does
 * not matter who computes which. Rows of different sequences meet only in the matrix products.
 *
 * Rows may be tentative: of guesses that follow an answer's last token some will not count, and nothing can be taken
 * out of a state again. Such rows are computed on a copy of each slice, and what went into them is kept behind the
 * state. When it is known how many count (forward_accept), the next step takes these through the state before its own
 * rows: the same numbers in the same order, so the same bits.
 *
 * Matrices and rows of the convolution are kept in the state's type. In F16 a matrix is rounded after every row, and a
 * row when the convolution reads it, from wherever: so it shows nowhere which of them a step ended with.
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
	const float *zeros;  /* [channels]: rows before the beginning */
	size_t state_offset; /* floats before this layer's in a sequence's state */
} DeltaLayer;

#define CONVOLVED_AT_ONCE 512 /* channels */

static StateType
state_type_of(const Forward *f)
{
	return (StateType) f->model->hyper.state_type;
}

/* An element of what stands in a state's type. */
static void *
element_at(const ModelHyper *hyper, const void *elements, size_t i)
{
	return (char *) (uintptr_t) elements + i * state_type_bytes((StateType) hyper->state_type);
}

/* What is told of a state, at its beginning. */
typedef struct StateHead
{
	uint32_t n_counting; /* tentative rows that count, and are not in it yet */
} StateHead;

_Static_assert(sizeof(StateHead) <= STATE_HEAD * sizeof(float), "there is room for it");

static StateHead *
head_of(float *state)
{
	return (StateHead *) (void *) state;
}

uint32_t
state_rows_counting(const StepSequence *sequence)
{
	return sequence->first_position == 0 ? 0 : head_of(sequence->state)->n_counting;
}

void
forward_accept(float *state, uint32_t n)
{
	head_of(state)->n_counting = n;
}

void
states_end_step(const Forward *f)
{
	for (uint32_t s = 0; f->plan.n_delta_layers > 0 && s < f->n_sequences; s++)
		head_of(f->sequences[s].state)->n_counting = 0;
}

/* A layer's part of a state: matrices, then rows before the next one, then tentative rows. Here: row number i of those
 * before. The row of position p is number p % HISTORY, so that it stays where it is until it is not needed any more. */
static void *
history_in(const ModelHyper *hyper, float *layer, uint32_t i)
{
	size_t matrices = (size_t) hyper->n_delta_values * hyper->delta_dim * hyper->delta_dim;

	return element_at(hyper, layer, matrices + (size_t) i * model_delta_channels(hyper));
}

/* Tentative row number i: channels, then decays and betas. */
static float *
tentative_in(const ModelHyper *hyper, float *layer, uint32_t i)
{
	float *first = history_in(hyper, layer, HISTORY);

	return first + (model_state_layer_floats(hyper) - (size_t) (first - layer)) / STATE_ROWS * i;
}

/* Its decays; betas follow. */
static float *
tentative_gates_in(const ModelHyper *hyper, float *layer, uint32_t i)
{
	return tentative_in(hyper, layer, i) + model_state_floats(hyper, model_delta_channels(hyper));
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

/* What went into the convolution at so many rows (-1, -2, …) from a sequence's first one of the step, from channel
 * first on, as its state has it: tentative rows that count, before them the history; zeros before the sequence begins.
 */
static const void *
kept_before(const Forward *f, const DeltaLayer *delta, uint32_t s, int32_t at, uint32_t first)
{
	const ModelHyper *hyper = &f->model->hyper;
	const StepSequence *sequence = &f->sequences[s];
	float *layer = sequence->state + delta->state_offset;
	int32_t position = (int32_t) sequence->first_position + at;

	if (position < 0)
		return delta->zeros;
	at += (int32_t) state_rows_counting(sequence);
	if (at >= 0)
		return element_at(hyper, tentative_in(hyper, layer, (uint32_t) at), first);
	return element_at(hyper, history_in(hyper, layer, (uint32_t) position % HISTORY), first);
}

/* The same as floats, n of them, in room where the state has others. */
static const float *
input_before(const Forward *f, const DeltaLayer *delta, uint32_t s, int32_t at, uint32_t first, uint32_t n, float *room)
{
	const void *kept = kept_before(f, delta, s, at, first);

	if (state_type_of(f) == STATE_F32)
		return kept;
	f->kernels->state_load(state_type_of(f), kept, n, room);
	return room;
}

/* What went into the convolution at a row of the step plus back (0, -1, …) of the same sequence: n channels of a part
 * from one on. */
static const float *
input_row(const Forward *f, const DeltaLayer *delta, const ChannelPart *part, uint32_t row, int32_t back,
		  uint32_t channel, uint32_t n, float *room)
{
	uint32_t s = f->row_sequences[row];
	int32_t at = (int32_t) (row - f->first_rows[s]) + back;

	if (at >= 0)
		return row_at(&f->rows[part->rows], f->first_rows[s] + (uint32_t) at) + channel;
	return input_before(f, delta, s, at, part->first + channel, n, room);
}

/* A part of a row through the convolution. */
static void
convolve_part(const Forward *f, const DeltaLayer *delta, const ChannelPart *part, uint32_t row, float *out)
{
	float room[DELTA_TAPS][CONVOLVED_AT_ONCE];
	const float *rows[DELTA_TAPS];

	for (uint32_t n, channel = 0; channel < part->n; channel += n)
	{
		n = part->n - channel < CONVOLVED_AT_ONCE ? part->n - channel : CONVOLVED_AT_ONCE;
		for (int32_t i = 0; i < DELTA_TAPS; i++)
			rows[i] = input_row(f, delta, part, row, i - HISTORY, channel, n, room[i]);
		f->kernels->delta_conv(state_type_of(f), rows, delta->taps + part->first + channel,
							   model_delta_channels(&f->model->hyper), n, out + part->first + channel);
	}
}

/* Phase: rows first … end-1 through the convolution; queries and keys to their lengths; what is forgotten, and how much
 * is learned. */
static void
convolve_rows(Member *member, const void *argument, uint32_t first, uint32_t end)
{
	const Forward *f = member->forward;
	const DeltaLayer *delta = argument;
	const ModelHyper *hyper = &f->model->hyper;
	ChannelPart parts[CHANNEL_PARTS];

	find_channels(hyper, parts);
	for (uint32_t r = first; r < end; r++)
	{
		float *out = row_at(&f->rows[ROWS_DELTA], r);

		for (uint32_t p = 0; p < CHANNEL_PARTS; p++)
			convolve_part(f, delta, &parts[p], r, out);
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

/* Where item number item stands. */
typedef struct Slice
{
	uint32_t s, head, column, key_head;
	uint32_t number;                    /* among the sequence's */
	uint32_t first_channel, n_channels; /* its share of what is kept of channels */
	float *layer;                       /* of the state */
	void *matrix;                       /* the slice itself, in the state's type */
} Slice;

static Slice
find_slice(const Forward *f, const DeltaLayer *delta, uint32_t item)
{
	const ModelHyper *hyper = &f->model->hyper;
	uint32_t n_slices = slices_of_sequence(hyper), per_head = hyper->delta_dim / DELTA_COLUMNS;
	uint32_t sharing = hyper->n_delta_values / hyper->n_delta_keys, n_channels = model_delta_channels(hyper);
	Slice slice = {.s = item / n_slices, .number = item % n_slices};

	slice.head = slice.number / per_head;
	slice.column = slice.number % per_head * DELTA_COLUMNS;
	slice.key_head = hyper->delta_is_grouped ? slice.head / sharing : slice.head % hyper->n_delta_keys;
	slice.first_channel = (uint32_t) ((uint64_t) n_channels * slice.number / n_slices);
	slice.n_channels = (uint32_t) ((uint64_t) n_channels * (slice.number + 1) / n_slices) - slice.first_channel;
	slice.layer = f->sequences[slice.s].state + delta->state_offset;
	slice.matrix = element_at(hyper, slice.layer, (size_t) slice.number * hyper->delta_dim * DELTA_COLUMNS);
	return slice;
}

/* Keep an item's share of channels of a row of its sequence in the step. */
static void
keep_row(const Forward *f, const Slice *slice, uint32_t at, void *to)
{
	const ModelHyper *hyper = &f->model->hyper;
	ChannelPart parts[CHANNEL_PARTS];
	uint32_t share_end = slice->first_channel + slice->n_channels;

	find_channels(hyper, parts);
	for (uint32_t p = 0; p < CHANNEL_PARTS; p++)
	{
		uint32_t channel = slice->first_channel > parts[p].first ? slice->first_channel : parts[p].first;
		uint32_t end = share_end < parts[p].first + parts[p].n ? share_end : parts[p].first + parts[p].n;
		const float *row = row_at(&f->rows[parts[p].rows], f->first_rows[slice->s] + at);

		if (channel < end)
			f->kernels->state_store(state_type_of(f), row + (channel - parts[p].first), end - channel,
									element_at(hyper, to, channel));
	}
}

/* Put an item's share of channels of a row (at < 0: of a step before) into the history, where it is not there yet. */
static void
keep_before(const Forward *f, const DeltaLayer *delta, const Slice *slice, int32_t at)
{
	const ModelHyper *hyper = &f->model->hyper;
	const StepSequence *sequence = &f->sequences[slice->s];
	int32_t position = (int32_t) sequence->first_position + at;
	void *to = history_in(hyper, slice->layer, (uint32_t) position % HISTORY);

	if (position < 0)
		return;
	if (at >= 0)
		keep_row(f, slice, (uint32_t) at, to);
	else if (at + (int32_t) state_rows_counting(sequence) >= 0)
		memcpy(element_at(hyper, to, slice->first_channel), kept_before(f, delta, slice->s, at, slice->first_channel),
			   slice->n_channels * state_type_bytes(state_type_of(f)));
}

/* Keep what the convolution of the next step needs of an item's share of channels: the last rows, or, of tentative
 * ones, those before them and all of them. */
static void
keep_channels(const Forward *f, const DeltaLayer *delta, const Slice *slice)
{
	const ModelHyper *hyper = &f->model->hyper;
	const StepSequence *sequence = &f->sequences[slice->s];
	int32_t n = (int32_t) sequence->n_tokens, end = sequence->is_tentative ? 0 : n;

	for (int32_t i = end - HISTORY; i < end; i++)
		keep_before(f, delta, slice, i);
	for (int32_t t = 0; sequence->is_tentative && t < n; t++)
	{
		float *gates = tentative_gates_in(hyper, slice->layer, (uint32_t) t);

		keep_row(f, slice, (uint32_t) t, tentative_in(hyper, slice->layer, (uint32_t) t));
		if (slice->column > 0)
			continue;
		gates[slice->head] = row_at(&f->rows[ROWS_DECAY], f->first_rows[slice->s] + (uint32_t) t)[slice->head];
		gates[hyper->n_delta_values + slice->head] =
			row_at(&f->rows[ROWS_BETA], f->first_rows[slice->s] + (uint32_t) t)[slice->head];
	}
}

/* Some channels, of one head, of tentative row number i through the convolution. */
static void
convolve_again(const Forward *f, const DeltaLayer *delta, const Slice *slice, int32_t i, uint32_t channel, uint32_t n,
			   float *out)
{
	const ModelHyper *hyper = &f->model->hyper;
	int32_t at = i - HISTORY - (int32_t) state_rows_counting(&f->sequences[slice->s]);
	float room[DELTA_TAPS][MODEL_MAX_DELTA_DIM];
	const float *rows[DELTA_TAPS];

	for (int32_t tap = 0; tap < DELTA_TAPS; tap++)
		rows[tap] = input_before(f, delta, slice->s, at + tap, channel, n, room[tap]);
	f->kernels->delta_conv(state_type_of(f), rows, delta->taps + channel, model_delta_channels(hyper), n, out);
}

/* Phase: take tentative rows that count through slices first … end-1. */
static void
update_again(Member *member, const void *argument, uint32_t first, uint32_t end)
{
	const Forward *f = member->forward;
	const DeltaLayer *delta = argument;
	const ModelHyper *hyper = &f->model->hyper;
	uint32_t dim = hyper->delta_dim, keys = hyper->n_delta_keys * dim;
	float *k = member->scratch->keys, *v = k + (size_t) STATE_ROWS * dim, *o = v + (size_t) STATE_ROWS * DELTA_COLUMNS;

	for (uint32_t item = first; item < end; item++)
	{
		Slice slice = find_slice(f, delta, item);
		const float *gates = tentative_gates_in(hyper, slice.layer, 0) + slice.head;
		DeltaRows rows = {
			.n = state_rows_counting(&f->sequences[slice.s]),
			.dim = dim,
			.q = k, /* what it gives is not wanted again */
			.k = k,
			.v = v,
			.decay = gates,
			.beta = gates + hyper->n_delta_values,
			.o = o,
			.qk_stride = dim,
			.v_stride = DELTA_COLUMNS,
			.gate_stride = (size_t) (tentative_in(hyper, slice.layer, 1) - tentative_in(hyper, slice.layer, 0)),
			.o_stride = DELTA_COLUMNS,
		};

		for (uint32_t t = 0; t < rows.n; t++)
		{
			convolve_again(f, delta, &slice, (int32_t) t, keys + slice.key_head * dim, dim, k + (size_t) t * dim);
			f->kernels->unit_norm(k + (size_t) t * dim, dim, 1);
			convolve_again(f, delta, &slice, (int32_t) t, 2 * keys + slice.head * dim + slice.column, DELTA_COLUMNS,
						   v + (size_t) t * DELTA_COLUMNS);
		}
		f->kernels->delta_rows(state_type_of(f), slice.matrix, &rows);
	}
}

/* Phase: slices first … end-1, counted through all sequences. */
static void
update_slices(Member *member, const void *argument, uint32_t first, uint32_t end)
{
	const Forward *f = member->forward;
	const DeltaLayer *delta = argument;
	const ModelHyper *hyper = &f->model->hyper;
	uint32_t dim = hyper->delta_dim, keys = hyper->n_delta_keys * dim;

	for (uint32_t item = first; item < end; item++)
	{
		Slice slice = find_slice(f, delta, item);
		uint32_t row = f->first_rows[slice.s];
		const StepSequence *sequence = &f->sequences[slice.s];
		const float *channels = row_at(&f->rows[ROWS_DELTA], row);
		size_t matrix_bytes = (size_t) dim * DELTA_COLUMNS * state_type_bytes(state_type_of(f));
		DeltaRows rows = {
			.n = sequence->n_tokens,
			.dim = dim,
			.q = channels + (size_t) slice.key_head * dim,
			.k = channels + keys + (size_t) slice.key_head * dim,
			.v = channels + 2 * (size_t) keys + (size_t) slice.head * dim + slice.column,
			.decay = row_at(&f->rows[ROWS_DECAY], row) + slice.head,
			.beta = row_at(&f->rows[ROWS_BETA], row) + slice.head,
			.o = row_at(&f->rows[ROWS_ATTENDED], row) + (size_t) slice.head * dim + slice.column,
			.qk_stride = f->rows[ROWS_DELTA].stride,
			.v_stride = f->rows[ROWS_DELTA].stride,
			.gate_stride = f->rows[ROWS_DECAY].stride,
			.o_stride = f->rows[ROWS_ATTENDED].stride,
			.next = item + 1 < end ? find_slice(f, delta, item + 1).matrix : NULL,
		};

		if (sequence->first_position == 0)
			memset(slice.matrix, 0, matrix_bytes);
		if (sequence->is_tentative)
			memcpy(member->scratch->slice, slice.matrix, matrix_bytes);
		f->kernels->delta_rows(state_type_of(f), sequence->is_tentative ? member->scratch->slice : slice.matrix, &rows);
		/* the phases before have read what was kept of the rows before these */
		keep_channels(f, delta, &slice);
		member_beat(member, sequence->n_tokens * dim / TILE_ROWS);
	}
}

/* All slices, where tentative rows of an earlier step count. */
static uint32_t
again_items(const Forward *f, const void *argument)
{
	bool any = false;

	(void) argument;
	for (uint32_t s = 0; s < f->n_sequences; s++)
		any |= state_rows_counting(&f->sequences[s]) > 0;
	return any ? f->n_sequences * slices_of_sequence(&f->model->hyper) : 0;
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

/* The taps of all channels, tap by tap, and a row of zeros behind them, of which an item may want any share: part of
 * the plan. */
static const float *
lay_out_taps(Forward *f, const ModelLayer *layer)
{
	size_t n = model_delta_channels(&f->model->hyper);
	float *taps = f->plan.arena ? arena_alloc_array(f->plan.arena, (DELTA_TAPS + 1) * n, sizeof *taps) : NULL;

	if (!taps)
	{
		f->plan.failed = true;
		return NULL;
	}
	for (size_t i = 0; i < DELTA_TAPS; i++)
		for (size_t c = 0; c < n; c++)
			taps[i * n + c] = layer->delta_conv[c * DELTA_TAPS + i];
	memset(taps + DELTA_TAPS * n, 0, n * sizeof *taps);
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
	DeltaLayer about = {.layer = layer,
						.state_offset = STATE_HEAD + f->plan.n_delta_layers++ * model_state_layer_floats(hyper)};
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
	about.taps = lay_out_taps(f, layer);
	about.zeros = about.taps ? about.taps + (size_t) DELTA_TAPS * n_channels : NULL;
	delta = plan_keep(f, &about, sizeof about);
	plan_add_product(f, &inputs);
	plan_add(f, STEP_STATES, all_rows, convolve_rows, delta);
	plan_add(f, STEP_STATES, again_items, update_again, delta);
	plan_add(f, STEP_STATES, slice_items, update_slices, delta);
	plan_add(f, STEP_STATES, all_rows, finish_rows, delta);
	plan_add_product(f, &projection);
}
