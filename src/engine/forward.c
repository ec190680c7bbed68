/*
 * forward.c - the door to the step: its buffers, and what belongs to which row; see forward.h for what it promises.
 *
 * All memory is taken in forward_create. forward_step lays out the rows, sends the team through the plan and
 * leaves logits and hidden states where forward_logits and forward_hidden find them.
 */
#include "forward_private.h"

#include <stdlib.h>
#include <string.h>

#include "../base/clock.h"
#include "../model/tensor_roles.h"

/* A row stride that is no power of two, so that rows do not fall on the same cache sets. */
static size_t
row_stride(uint32_t n)
{
	return (n + 15) / 16 * 16 + 16;
}

/* Memory for n rows of a buffer that the plan needs. */
static bool
create_rows(RowBuffer *buffer, uint32_t n)
{
	if (buffer->width == 0)
		return true;
	buffer->stride = row_stride(buffer->width);
	buffer->rows = allocate_floats((size_t) n * (buffer->times > 0 ? buffer->times : 1) * buffer->stride);
	return buffer->rows != NULL;
}

static uint32_t
largest(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

/* Pieces of the longest row that the model and the cache allow. */
static uint32_t
longest_row_pieces(const Forward *f)
{
	uint64_t cached = (uint64_t) kv_pool_max_blocks(f->pool) * KV_BLOCK_POSITIONS;
	uint32_t context = f->model->hyper.context_length;

	return attention_pieces_for(cached < context ? (uint32_t) cached : context);
}

/* Members' private buffers. */
static bool
create_scratch(Forward *forward, ThreadScratch *scratch)
{
	size_t attention_floats = (size_t) ATTENTION_ROWS * forward->head_dim;

	scratch->rows = allocate_floats((size_t) FEW_ROWS * forward->plan.widest);
	scratch->panels = (uint8_t *) allocate_floats(activations_bytes(FEW_ROWS, forward->plan.widest) / 4 + 16);
	scratch->unpacked = (uint8_t *) allocate_floats(MATMUL_SCRATCH_BYTES / sizeof(float));
	scratch->q = allocate_floats(attention_floats);
	scratch->piece = allocate_floats(attention_floats);
	scratch->total = allocate_floats(attention_floats);
	scratch->slice = allocate_floats((size_t) MODEL_MAX_DELTA_DIM * DELTA_COLUMNS);
	scratch->keys = allocate_floats((size_t) STATE_ROWS * (MODEL_MAX_DELTA_DIM + 2 * DELTA_COLUMNS));
	return scratch->rows && scratch->panels && scratch->unpacked && scratch->q && scratch->piece && scratch->total &&
		   scratch->slice && scratch->keys;
}

/* Everything whose size follows from the plan and the maxima. */
static bool
create_buffers(Forward *f)
{
	size_t rows = f->max_rows, n_split = (size_t) f->n_split_slots * f->model->hyper.n_heads;
	bool ok = create_rows(&f->logits, f->max_logits);

	for (int i = 0; ok && i < N_ROW_BUFFERS; i++)
		ok = create_rows(&f->rows[i], f->max_rows);
	f->cosines = allocate_floats(rows * (f->head_dim / 2));
	f->sines = allocate_floats(rows * (f->head_dim / 2));
	f->panels = (uint8_t *) allocate_floats(activations_bytes(f->max_rows, f->plan.widest) / 4 + 16);
	f->row_positions = calloc(rows, sizeof *f->row_positions);
	f->row_rotary_positions = calloc(rows, sizeof *f->row_rotary_positions);
	f->row_sequences = calloc(rows, sizeof *f->row_sequences);
	f->logit_rows = calloc(f->max_logits ? f->max_logits : 1, sizeof *f->logit_rows);
	f->first_logits = calloc(f->max_sequences, sizeof *f->first_logits);
	f->first_rows = calloc(f->max_sequences, sizeof *f->first_rows);
	f->row_is_finite = calloc(rows, sizeof *f->row_is_finite);
	f->adapter_rows = calloc(f->max_sequences, sizeof *f->adapter_rows);
	f->split_states = calloc(n_split, sizeof *f->split_states);
	f->split_outs = allocate_floats(n_split * f->head_dim);
	f->scratch = calloc((size_t) f->n_threads, sizeof *f->scratch);
	f->n_items = calloc(f->plan.n_phases, sizeof *f->n_items);
	f->progress = (PhaseProgress *) allocate_floats(f->plan.n_phases * sizeof *f->progress / sizeof(float));
	f->shares = (MemberShare *) allocate_floats((size_t) f->n_threads * sizeof *f->shares / sizeof(float));
	ok = ok && f->cosines && f->sines && f->panels && f->row_positions && f->row_rotary_positions && f->row_sequences &&
		 f->logit_rows && f->first_logits && f->first_rows && f->row_is_finite && f->adapter_rows && f->split_states &&
		 f->split_outs && f->scratch && f->n_items && f->progress && f->shares;
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
	active_members_init(&f->members, (uint32_t) f->n_threads);
	f->kernels = kernels_select();
	f->max_rows = max_rows;
	f->max_sequences = max_sequences;
	f->max_logits = max_logits;
	f->head_dim = hyper->head_dim;
	f->n_split_slots = largest(largest(SPLIT_SLOTS, ITEMS_PER_MEMBER * (uint32_t) f->n_threads), longest_row_pieces(f));
	f->logits.width = hyper->vocab;
	rope_init(&f->rope, hyper);
	f->n_roles = roles_count(hyper);
	f->takes_adapters = calloc(f->n_roles, sizeof *f->takes_adapters);
	if (!f->takes_adapters || !layers_plan(f) || !create_buffers(f) || !experts_create(f))
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
		free_floats(f->scratch[t].rows);
		free_floats(f->scratch[t].panels);
		free_floats(f->scratch[t].unpacked);
		free_floats(f->scratch[t].q);
		free_floats(f->scratch[t].piece);
		free_floats(f->scratch[t].total);
		free_floats(f->scratch[t].slice);
		free_floats(f->scratch[t].keys);
	}
	free(f->scratch);
	free_floats(f->progress);
	free_floats(f->shares);
	free(f->n_items);
	for (int i = 0; i < N_ROW_BUFFERS; i++)
		free_floats(f->rows[i].rows);
	free_floats(f->cosines);
	free_floats(f->sines);
	free_floats(f->panels);
	free_floats(f->logits.rows);
	free(f->row_positions);
	free(f->row_rotary_positions);
	free(f->row_sequences);
	free(f->logit_rows);
	free(f->first_logits);
	free(f->first_rows);
	free(f->row_is_finite);
	free(f->adapter_rows);
	free(f->takes_adapters);
	free(f->split_states);
	free_floats(f->split_outs);
	experts_destroy(f->experts);
	plan_free(&f->plan);
	free(f);
}

void
forward_limit_threads(Forward *f, uint32_t n_threads)
{
	if (n_threads < (uint32_t) f->n_threads)
		active_members_init(&f->members, n_threads);
}

uint32_t
forward_threads(const Forward *f)
{
	return f->members.n_max;
}

#define PRODUCTS_PER_ATTENTION 3 /* multiplications of products in the time of one of attention (Zen 4: 3.2) */

uint32_t
forward_even_positions(const Forward *f)
{
	const ModelHyper *hyper = &f->model->hyper;
	uint64_t heads = (uint64_t) 2 * (hyper->n_heads + hyper->n_kv_heads) * hyper->head_dim;
	uint64_t ffn = hyper->n_experts > 0 ? hyper->n_used_experts * hyper->expert_ffn + hyper->shared_ffn : hyper->ffn;
	uint64_t products = hyper->n_layers * hyper->hidden * (heads + 3 * ffn);
	uint64_t attention = (uint64_t) 2 * f->plan.n_cache_layers * hyper->n_heads * hyper->head_dim;
	uint64_t even = attention > 0 ? products / (attention * PRODUCTS_PER_ATTENTION) : UINT32_MAX;

	return even < 1 ? 1 : even < UINT32_MAX ? (uint32_t) even : UINT32_MAX;
}

/* The program of one member. */
static void
step_work(void *argument, int thread)
{
	Forward *f = argument;
	Member member = {.forward = f,
					 .scratch = &f->scratch[thread],
					 .times = thread == 0 ? f->times : NULL,
					 .number = (uint32_t) thread,
					 .prepared = UINT32_MAX,
					 .lowered = UINT32_MAX};

	phases_run(&member);
	member.scratch->waited_ns = member.waited_ns;
	if (thread == 0)
		f->first_ended_ns = clock_now_ns();
}

/* Send the members through the step, and learn from how long they waited for each other. */
static void
run_members(Forward *f)
{
	uint64_t started = clock_now_ns(), waited_ns = 0, ended;

	team_run_some(f->team, (int) f->n_members, step_work, f);
	ended = clock_now_ns();
	/* who was away at the end has to catch up with phases that are over, and is waited for */
	f->scratch[0].waited_ns += ended - f->first_ended_ns;
	for (uint32_t t = 0; t < f->n_members; t++)
		waited_ns = f->scratch[t].waited_ns > waited_ns ? f->scratch[t].waited_ns : waited_ns;
	/* with fewer than there could be nothing is learnt of these */
	if (f->n_members == f->members.n && f->first_phase == 0)
		active_members_learn(&f->members, f->n_rows, ended - started, waited_ns);
}

/* How much each phase has to do in this step; nothing of it is taken or done. */
static void
reset_phases(Forward *f)
{
	for (uint32_t i = f->first_phase; i < f->end_phase; i++)
	{
		const PlanPhase *phase = &f->plan.phases[i];

		f->n_items[i] = phase->items ? phase->items(f, phase->argument) : 0;
		atomic_store_explicit(&f->progress[i].n_taken, 0, memory_order_relaxed);
		atomic_store_explicit(&f->progress[i].n_done, 0, memory_order_relaxed);
		atomic_store_explicit(&f->progress[i].n_low_taken, 0, memory_order_relaxed);
		atomic_store_explicit(&f->progress[i].n_low_done, 0, memory_order_relaxed);
	}
	for (int t = 0; t < f->n_threads; t++)
		atomic_store_explicit(&f->shares[t].taken, 0, memory_order_relaxed);
}

/* Lay out the rows of one sequence behind those that are there. */
static void
lay_out_sequence(Forward *f, uint32_t s)
{
	const StepSequence *sequence = &f->sequences[s];

	f->first_rows[s] = f->n_rows;
	f->first_logits[s] = f->n_logits;
	for (uint32_t i = 0; i < sequence->n_tokens; i++)
	{
		f->row_sequences[f->n_rows] = s;
		f->row_positions[f->n_rows] = sequence->first_position + i;
		f->row_rotary_positions[f->n_rows] = f->row_positions[f->n_rows] + (uint32_t) sequence->rotary_shift;
		if (i + sequence->n_logits >= sequence->n_tokens)
			f->logit_rows[f->n_logits++] = f->n_rows;
		f->n_rows++;
	}
	f->any_hidden |= sequence->want_hidden;
	f->rows_alone &= sequence->n_tokens == 1;
}

/* Have the rows of the sequences before s with its adapter, or without one as it, been laid out? */
static bool
is_laid_out(const Forward *f, uint32_t s)
{
	uint32_t before = 0;

	while (f->sequences[before].adapter != f->sequences[s].adapter)
		before++;
	return before < s;
}

/* Rows of sequences with the same adapter stand together; sequences in order within them. */
static void
lay_out_rows(Forward *f)
{
	f->n_rows = f->n_logits = f->n_adapters = 0;
	f->any_hidden = false;
	f->rows_alone = true;
	for (uint32_t s = 0; s < f->n_sequences; s++)
	{
		const Adapter *adapter = f->sequences[s].adapter;
		AdapterRows rows = {.adapter = adapter, .first_row = f->n_rows, .first_logit = f->n_logits};

		if (is_laid_out(f, s))
			continue;
		for (uint32_t other = s; other < f->n_sequences; other++)
			if (f->sequences[other].adapter == adapter)
				lay_out_sequence(f, other);
		rows.n_rows = f->n_rows - rows.first_row;
		rows.n_logits = f->n_logits - rows.first_logit;
		if (adapter)
			f->adapter_rows[f->n_adapters++] = rows;
	}
}

/* Take rows of sequences through a part of the plan. */
static void
run_phases(Forward *f, const StepSequence *sequences, uint32_t n_sequences, uint32_t first_phase, uint32_t end_phase)
{
	f->first_phase = first_phase;
	f->end_phase = end_phase;
	f->sequences = sequences;
	f->n_sequences = n_sequences;
	/* how many there are is part of how much phases have to do */
	f->n_members = f->members.n > f->n_spared ? f->members.n - f->n_spared : 1;
	lay_out_rows(f);
	attention_lay_out(f);
	reset_phases(f);
	run_members(f);
}

void
forward_step(Forward *f, const StepSequence *sequences, uint32_t n_sequences)
{
	f->guess_round = 0;
	run_phases(f, sequences, n_sequences, 0, f->plan.n_step_phases);
	states_end_step(f);
}

bool
forward_has_head(const Forward *f)
{
	return f->plan.n_step_phases < f->plan.n_phases;
}

void
forward_guess(Forward *f, const StepSequence *sequences, uint32_t n_sequences, uint32_t n_guesses, LogitsWork work,
			  void *argument)
{
	f->guess_work = work;
	f->guess_argument = argument;
	f->guess_round = n_guesses;
	run_phases(f, sequences, n_sequences, f->plan.n_step_phases, f->plan.n_phases);
	f->guess_round = 0;
}

void
forward_set_heartbeat(Forward *f, _Atomic uint64_t *heartbeat_us)
{
	f->heartbeat_us = heartbeat_us;
}

void
forward_set_logits_work(Forward *f, LogitsWork work, void *argument)
{
	f->logits_work = work;
	f->logits_argument = argument;
}

uint32_t
forward_members(const Forward *f)
{
	return f->n_members;
}

void
forward_spare(Forward *f, uint32_t n_members)
{
	f->n_spared = n_members;
}

void
forward_measure(Forward *f, StepTimes *times)
{
	f->times = times;
}

float *
forward_logits(Forward *f, uint32_t s, uint32_t i)
{
	return row_at(&f->logits, f->first_logits[s] + i);
}

bool
forward_is_finite(const Forward *f, uint32_t s, uint32_t i)
{
	return f->row_is_finite[f->first_rows[s] + i];
}

const float *
forward_hidden(const Forward *f, uint32_t s, uint32_t i)
{
	return row_at(&f->rows[ROWS_HIDDEN], f->first_rows[s] + i);
}
