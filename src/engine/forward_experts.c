/*
 * forward_experts.c - a mixture of experts: for each row a router chooses some of a layer's many feed-forward networks.
 *
 * A row and one of its experts are a pair. Rows are normalized and quantized once; pairs stand in the order of experts,
 * so that an expert multiplies all of its rows at once, tile by tile, as a dense network does. What the pairs give is
 * summed for each row in the order in which its experts were chosen. So a row's result depends on that row alone.
 * Which experts a step uses is known when the router is through: only then do the phases behind it get their items.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "forward_private.h"

/* The pairs of the layer at hand. Memory for all layers, one after the other. */
struct Experts
{
	uint32_t n_chosen; /* experts of a row */

	uint32_t *chosen; /* [rows][n_chosen], the likeliest first */
	float *weights;   /* the same */
	uint32_t *places; /* the same: which pair it is, in the order of experts */
	uint32_t *rows;   /* [pairs] in that order: whose */

	uint32_t n_in_use;               /* experts that have rows */
	uint32_t *in_use;                /* [n_in_use] rising */
	uint32_t *first_pairs, *n_pairs; /* of each in use */

	uint8_t *row_panels;    /* [rows] of one token */
	uint8_t *pair_panels;   /* of each in use that has several rows, where its first pair stands */
	uint8_t *middle_panels; /* likewise, between up and down */
};

/* What the phases of a layer's experts are about. */
typedef struct ExpertLayer
{
	const ModelLayer *layer;
	bool takes_panels, takes_rows; /* gate and up, one of them or each another */
	bool middle_takes_panels;
	uint32_t roles[3]; /* of the experts' gate, up and down among the model's tensors, for adapters */
} ExpertLayer;

bool
experts_create(Forward *f)
{
	const ModelHyper *hyper = &f->model->hyper;
	uint32_t n_pairs = f->max_rows * hyper->n_used_experts;
	Experts *experts;

	if (f->rows[PAIRS_GATE].width == 0)
		return true;
	experts = f->experts = calloc(1, sizeof *experts);
	if (!experts)
		return false;
	experts->n_chosen = hyper->n_used_experts;
	experts->chosen = calloc(n_pairs, sizeof *experts->chosen);
	experts->weights = calloc(n_pairs, sizeof *experts->weights);
	experts->places = calloc(n_pairs, sizeof *experts->places);
	experts->rows = calloc(n_pairs, sizeof *experts->rows);
	experts->in_use = calloc(hyper->n_experts, sizeof *experts->in_use);
	experts->first_pairs = calloc(hyper->n_experts, sizeof *experts->first_pairs);
	experts->n_pairs = calloc(hyper->n_experts, sizeof *experts->n_pairs);
	experts->row_panels = (uint8_t *) allocate_floats(activations_bytes(f->max_rows, hyper->hidden) / 4 + 16);
	experts->pair_panels = (uint8_t *) allocate_floats(activations_bytes(n_pairs, hyper->hidden) / 4 + 16);
	experts->middle_panels = (uint8_t *) allocate_floats(activations_bytes(n_pairs, hyper->expert_ffn) / 4 + 16);
	return experts->chosen && experts->weights && experts->places && experts->rows && experts->in_use &&
		   experts->first_pairs && experts->n_pairs && experts->row_panels && experts->pair_panels &&
		   experts->middle_panels;
}

void
experts_destroy(Experts *experts)
{
	if (!experts)
		return;
	free(experts->chosen);
	free(experts->weights);
	free(experts->places);
	free(experts->rows);
	free(experts->in_use);
	free(experts->first_pairs);
	free(experts->n_pairs);
	free_floats(experts->row_panels);
	free_floats(experts->pair_panels);
	free_floats(experts->middle_panels);
	free(experts);
}

/*
 * exp(x) for x <= 0, by operations that give the same bits on every machine, which a library's need not: 2^n times a
 * Taylor polynomial of the rest, which is at most ln 2 / 2.
 */
static double
exp_of(double x)
{
	double n, r, p = 1;

	if (!(x > -700))
		return x != x ? x : 0;
	n = floor(x * 1.4426950408889634 + 0.5);
	r = x - n * 6.93147180369123816490e-01 - n * 1.90821492927058770002e-10; /* the high and low half of ln 2 */
	for (int i = 13; i > 0; i--)
		p = 1 + p * r / i;
	return ldexp(p, (int) n);
}

static float
sigmoid_of(float x)
{
	double e = exp_of(-fabs((double) x));

	return (float) (x >= 0 ? 1 / (1 + e) : e / (1 + e));
}

/* The k largest of a row's logits, the largest first, the first of equals first; numbers that are none take any place.
 */
static void
choose(const float *logits, uint32_t n, uint32_t k, uint32_t *chosen)
{
	uint32_t have = 0;

	for (uint32_t i = 0; i < n; i++)
	{
		uint32_t at;

		if (have == k && !(logits[i] > logits[chosen[k - 1]]))
			continue;
		at = have < k ? have++ : k - 1;
		for (; at > 0 && logits[i] > logits[chosen[at - 1]]; at--)
			chosen[at] = chosen[at - 1];
		chosen[at] = i;
	}
}

/* Weights of the chosen: their share of the softmax over all, or among themselves. */
static void
weigh(const ModelHyper *hyper, const float *logits, const uint32_t *chosen, float *weights)
{
	double largest = logits[chosen[0]], sum = 0;

	if (hyper->experts_sum_to_1)
		for (uint32_t j = 0; j < hyper->n_used_experts; j++)
			sum += exp_of(logits[chosen[j]] - largest);
	else
		for (uint32_t e = 0; e < hyper->n_experts; e++)
			sum += exp_of(logits[e] - largest);
	for (uint32_t j = 0; j < hyper->n_used_experts; j++)
		weights[j] = (float) (exp_of(logits[chosen[j]] - largest) / sum);
}

/* Put the pairs in the order of experts, and of rows within an expert. */
static void
order_pairs(Experts *experts, uint32_t n_rows, uint32_t n_experts)
{
	uint32_t n_pairs = n_rows * experts->n_chosen, before = 0;
	uint32_t counts[MODEL_MAX_EXPERTS] = {0}, next[MODEL_MAX_EXPERTS];

	for (uint32_t p = 0; p < n_pairs; p++)
		counts[experts->chosen[p]]++;
	experts->n_in_use = 0;
	for (uint32_t e = 0; e < n_experts; e++)
	{
		next[e] = before;
		if (counts[e] == 0)
			continue;
		experts->in_use[experts->n_in_use] = e;
		experts->first_pairs[experts->n_in_use] = before;
		experts->n_pairs[experts->n_in_use++] = counts[e];
		before += counts[e];
	}
	for (uint32_t p = 0; p < n_pairs; p++)
	{
		experts->places[p] = next[experts->chosen[p]]++;
		experts->rows[experts->places[p]] = p / experts->n_chosen;
	}
}

/* Phase: norm of rows first … end-1, and a panel of each. */
static void
prepare_rows(Member *member, const void *argument, uint32_t first, uint32_t end)
{
	const Forward *f = member->forward;
	const ExpertLayer *about = argument;
	uint32_t hidden = f->model->hyper.hidden;

	for (uint32_t r = first; r < end; r++)
	{
		float *normed = row_at(&f->rows[ROWS_NORMED], r);

		f->kernels->rms_norm(row_at(&f->rows[ROWS_HIDDEN], r), about->layer->ffn_norm, hidden,
							 f->model->hyper.rms_epsilon, normed);
		if (about->takes_panels)
			f->kernels->quantize_panel(normed, f->rows[ROWS_NORMED].stride, 1, hidden,
									   f->experts->row_panels + activations_bytes(1, hidden) * r);
	}
}

static uint32_t
one_item(const Forward *f, const void *argument)
{
	(void) f;
	(void) argument;
	return 1;
}

/* Phase of one item: who is chosen, in which order pairs stand, and what there is to do behind. */
static void
route(Member *member, const void *argument, uint32_t first, uint32_t end)
{
	Forward *f = member->forward;
	const ModelHyper *hyper = &f->model->hyper;
	Experts *experts = f->experts;
	uint32_t *n_items = f->n_items + member->phase + 1;
	const ExpertLayer *about = argument;
	uint32_t n_pairs = f->n_rows * experts->n_chosen;

	(void) first;
	(void) end;
	for (uint32_t r = 0; r < f->n_rows; r++)
	{
		const float *logits = row_at(&f->rows[ROWS_ROUTER], r);
		uint32_t *chosen = experts->chosen + (size_t) r * experts->n_chosen;

		choose(logits, hyper->n_experts, experts->n_chosen, chosen);
		weigh(hyper, logits, chosen, experts->weights + (size_t) r * experts->n_chosen);
	}
	order_pairs(experts, f->n_rows, hyper->n_experts);
	/* of the six phases behind this one: gathering, adapters' part of gate and up, gate and up, the middle, adapters'
	 * part of down, down */
	n_items[0] = experts->n_in_use < n_pairs ? experts->n_in_use : 0; /* none has several rows */
	n_items[1] = any_adapter_changes(f, about->roles, 2) ? n_pairs : 0;
	n_items[2] = experts->n_in_use * packed_n_tiles(hyper->expert_ffn);
	n_items[3] = experts->n_in_use;
	n_items[4] = any_adapter_changes(f, about->roles + 2, 1) ? n_pairs : 0;
	n_items[5] = experts->n_in_use * packed_n_tiles(hyper->hidden);
}

/* The panels of an expert's rows, block by block out of those of one token (kernels.h says how they are laid out). */
static void
gather_panels(const Forward *f, uint32_t u)
{
	const Experts *experts = f->experts;
	uint32_t hidden = f->model->hyper.hidden, n_blocks = hidden / ACTIVATION_BLOCK;
	size_t row_bytes = activations_bytes(1, hidden);

	for (uint32_t p = 0; p < activations_n_panels(experts->n_pairs[u]); p++)
	{
		uint32_t first, n;
		uint8_t *panel;

		activations_panel_range(experts->n_pairs[u], p, &first, &n);
		first += experts->first_pairs[u];
		panel = experts->pair_panels + row_bytes * first;
		for (uint32_t t = 0; t < n; t++)
		{
			const uint8_t *from = experts->row_panels + row_bytes * experts->rows[first + t];

			for (uint32_t b = 0; b < n_blocks; b++, from += ACTIVATION_BLOCK_BYTES)
			{
				uint8_t *block = panel + (size_t) b * ACTIVATION_BLOCK_BYTES * n;

				memcpy(block + 32 * t, from, 32);
				memcpy(block + 32 * n + 4 * t, from + 32, 4);
				memcpy(block + 36 * n + 4 * t, from + 36, 4);
			}
		}
	}
}

/* Phase: the inputs of experts in use number first … end-1, one behind the other. One row alone is taken as it is. */
static void
gather_inputs(Member *member, const void *argument, uint32_t first, uint32_t end)
{
	const Forward *f = member->forward;
	const Experts *experts = f->experts;
	const ExpertLayer *about = argument;

	for (uint32_t u = first; u < end; u++)
	{
		if (experts->n_pairs[u] == 1)
			continue;
		if (about->takes_panels)
			gather_panels(f, u);
		for (uint32_t p = experts->first_pairs[u];
			 about->takes_rows && p < experts->first_pairs[u] + experts->n_pairs[u]; p++)
			memcpy(row_at(&f->rows[PAIRS_INPUT], p), row_at(&f->rows[ROWS_NORMED], experts->rows[p]),
				   f->model->hyper.hidden * sizeof(float));
	}
}

/* Where the inputs of an expert in use stand. */
static MatmulInput
input_of(const Member *member, uint32_t u)
{
	const Forward *f = member->forward;
	const Experts *experts = f->experts;
	uint8_t *unpacked = member->scratch->unpacked;
	size_t row_bytes = activations_bytes(1, f->model->hyper.hidden);
	uint32_t first = experts->first_pairs[u];
	const RowBuffer *rows = &f->rows[experts->n_pairs[u] == 1 ? ROWS_NORMED : PAIRS_INPUT];

	if (experts->n_pairs[u] == 1)
		return (MatmulInput){1, experts->row_panels + row_bytes * experts->rows[first],
							 row_at(rows, experts->rows[first]), rows->stride, unpacked};
	return (MatmulInput){experts->n_pairs[u], experts->pair_panels + row_bytes * first,
						 rows->rows ? row_at(rows, first) : NULL, rows->stride, unpacked};
}

/* One expert's matrix of those that stand one behind the other. */
static PackedMatrix
expert_of(const PackedMatrix *all, uint32_t expert, uint32_t n_rows)
{
	PackedMatrix one = *all;

	one.n_rows = n_rows;
	one.tiles += (size_t) expert * packed_n_tiles(n_rows) * all->tile_bytes;
	return one;
}

/* Items first … end-1 of (expert in use, tile): those of the first expert in them. Returns the end of these. */
static uint32_t
tiles_of_one(uint32_t first, uint32_t end, uint32_t n_tiles, uint32_t *u, uint32_t *from, uint32_t *to)
{
	*u = first / n_tiles;
	*from = first % n_tiles;
	*to = end - *u * n_tiles < n_tiles ? end - *u * n_tiles : n_tiles;
	return *u * n_tiles + *to;
}

/* The expert of a pair, by its place in the order of experts. */
static uint32_t
expert_of_pair(const Experts *experts, uint32_t pair)
{
	uint32_t low = 0, high = experts->n_in_use - 1;

	while (low < high)
	{
		uint32_t middle = (low + high + 1) / 2;

		if (experts->first_pairs[middle] <= pair)
			low = middle;
		else
			high = middle - 1;
	}
	return experts->in_use[low];
}

/* Phase: what adapters make of the inputs of gate and up of pairs first … end-1. */
static void
lower_gate_up(Member *member, const void *argument, uint32_t first, uint32_t end)
{
	const Forward *f = member->forward;
	const ExpertLayer *about = argument;

	for (uint32_t p = first; p < end; p++)
	{
		uint32_t row = f->experts->rows[p], expert = expert_of_pair(f->experts, p);
		const AdapterMatrix *gate = adapter_of_row(f, row, about->roles[0]),
							*up = adapter_of_row(f, row, about->roles[1]);
		const float *x = row_at(&f->rows[ROWS_NORMED], row);
		float *low = row_at(&f->rows[PAIRS_LOW], p);

		if (gate)
			adapter_lower_row(f, gate, row, expert, x, low);
		if (up)
			adapter_lower_row(f, up, row, expert, x, low + ADAPTER_MAX_RANK);
	}
}

/* Phase: of the inputs of down. */
static void
lower_down(Member *member, const void *argument, uint32_t first, uint32_t end)
{
	const Forward *f = member->forward;
	const ExpertLayer *about = argument;

	for (uint32_t p = first; p < end; p++)
	{
		uint32_t row = f->experts->rows[p];
		const AdapterMatrix *down = adapter_of_row(f, row, about->roles[2]);

		if (down)
			adapter_lower_row(f, down, row, expert_of_pair(f->experts, p), row_at(&f->rows[PAIRS_GATE], p),
							  row_at(&f->rows[PAIRS_LOW], p));
	}
}

/* Add what adapters add to tiles from … to-1 of the pairs of expert in use number u. Pairs of an expert are in the
 * order of rows, so those of an adapter stand together. */
static void
add_adapters(const Forward *f, uint32_t role, size_t low_at, uint32_t u, uint32_t from, uint32_t to,
			 const RowBuffer *outputs)
{
	const Experts *experts = f->experts;
	uint32_t end = experts->first_pairs[u] + experts->n_pairs[u], n;

	for (uint32_t p = experts->first_pairs[u]; f->n_adapters > 0 && p < end; p += n)
	{
		const AdapterMatrix *matrix = adapter_of_row(f, experts->rows[p], role);

		for (n = 1; p + n < end && adapter_of_row(f, experts->rows[p + n], role) == matrix; n++)
			;
		if (matrix)
			adapter_raise_rows(f, matrix, experts->in_use[u], row_at(&f->rows[PAIRS_LOW], p) + low_at,
							   f->rows[PAIRS_LOW].stride, n, from, to, row_at(outputs, p), outputs->stride);
	}
}

/* Phase: tiles of gate and up, in pairs, and the activation of what they gave. */
static void
multiply_gate_up(Member *member, const void *argument, uint32_t first, uint32_t end)
{
	const Forward *f = member->forward;
	const Experts *experts = f->experts;
	const ExpertLayer *about = argument;
	const ModelLayer *layer = about->layer;
	uint32_t ffn = f->model->hyper.expert_ffn, u, from, to;
	const RowBuffer *gates = &f->rows[PAIRS_GATE], *ups = &f->rows[PAIRS_UP];

	while (first < end)
	{
		first = tiles_of_one(first, end, packed_n_tiles(ffn), &u, &from, &to);
		MatmulInput input = input_of(member, u);
		PackedMatrix gate = expert_of(&layer->expert_gate, experts->in_use[u], ffn);
		PackedMatrix up = expert_of(&layer->expert_up, experts->in_use[u], ffn);
		uint32_t pair = experts->first_pairs[u];

		matmul_tiles(f->kernels, &gate, &input, from, to, row_at(gates, pair), gates->stride, false);
		matmul_tiles(f->kernels, &up, &input, from, to, row_at(ups, pair), ups->stride, false);
		add_adapters(f, about->roles[0], 0, u, from, to, gates);
		add_adapters(f, about->roles[1], ADAPTER_MAX_RANK, u, from, to, ups);
		for (uint32_t p = pair; p < pair + experts->n_pairs[u]; p++)
			f->kernels->silu_mul(row_at(gates, p) + (size_t) from * TILE_ROWS,
								 row_at(ups, p) + (size_t) from * TILE_ROWS, (to - from) * TILE_ROWS);
	}
}

/* Phase: what gate and up gave, as panels, of experts in use number first … end-1. */
static void
quantize_middle(Member *member, const void *argument, uint32_t first, uint32_t end)
{
	const Forward *f = member->forward;
	const Experts *experts = f->experts;
	uint32_t ffn = f->model->hyper.expert_ffn;

	if (!((const ExpertLayer *) argument)->middle_takes_panels)
		return;
	for (uint32_t u = first; u < end; u++)
		for (uint32_t p = 0; p < activations_n_panels(experts->n_pairs[u]); p++)
		{
			uint32_t pair, n;

			activations_panel_range(experts->n_pairs[u], p, &pair, &n);
			pair += experts->first_pairs[u];
			f->kernels->quantize_panel(row_at(&f->rows[PAIRS_GATE], pair), f->rows[PAIRS_GATE].stride, n, ffn,
									   experts->middle_panels + activations_bytes(1, ffn) * pair);
		}
}

/* Phase: tiles of down. */
static void
multiply_down(Member *member, const void *argument, uint32_t first, uint32_t end)
{
	const Forward *f = member->forward;
	const Experts *experts = f->experts;
	const ExpertLayer *about = argument;
	const ModelLayer *layer = about->layer;
	uint32_t hidden = f->model->hyper.hidden, ffn = f->model->hyper.expert_ffn, u, from, to;
	const RowBuffer *gates = &f->rows[PAIRS_GATE], *downs = &f->rows[PAIRS_DOWN];

	while (first < end)
	{
		first = tiles_of_one(first, end, packed_n_tiles(hidden), &u, &from, &to);
		PackedMatrix down = expert_of(&layer->expert_down, experts->in_use[u], hidden);
		uint32_t pair = experts->first_pairs[u];
		MatmulInput input = {experts->n_pairs[u], experts->middle_panels + activations_bytes(1, ffn) * pair,
							 row_at(gates, pair), gates->stride, member->scratch->unpacked};

		matmul_tiles(f->kernels, &down, &input, from, to, row_at(downs, pair), downs->stride, false);
		add_adapters(f, about->roles[2], 0, u, from, to, downs);
	}
}

#define SUM_LANES 16  /* hidden is a multiple of it */
#define SUM_SLICE 256 /* elements of an item: a single row is shared, too */

static uint32_t
sum_slices(const Forward *f)
{
	return (f->model->hyper.hidden + SUM_SLICE - 1) / SUM_SLICE;
}

static uint32_t
sum_items(const Forward *f, const void *argument)
{
	(void) argument;
	return f->n_rows * sum_slices(f);
}

/* Phase: the weighted sum of a row's experts, in the order in which they were chosen, and of the shared one, onto the
 * residual stream, slice by slice. */
static void
sum_rows(Member *member, const void *argument, uint32_t first, uint32_t end)
{
	const Forward *f = member->forward;
	const Experts *experts = f->experts;
	bool shared = f->model->hyper.shared_ffn > 0;

	(void) argument;
	for (uint32_t item = first; item < end; item++)
	{
		uint32_t r = item / sum_slices(f), from = item % sum_slices(f) * SUM_SLICE, to = from + SUM_SLICE;
		const uint32_t *places = experts->places + (size_t) r * experts->n_chosen;
		const float *weights = experts->weights + (size_t) r * experts->n_chosen;
		const float *of_shared = shared ? row_at(&f->rows[ROWS_SHARED], r) : NULL;
		float share = shared ? sigmoid_of(*row_at(&f->rows[ROWS_SHARED_ROUTER], r)) : 0;
		float *x = row_at(&f->rows[ROWS_HIDDEN], r);

		to = to < f->model->hyper.hidden ? to : f->model->hyper.hidden;
		for (uint32_t i = from; i < to; i += SUM_LANES)
		{
			float sum[SUM_LANES] = {0};

			for (uint32_t j = 0; j < experts->n_chosen; j++)
			{
				const float *down = row_at(&f->rows[PAIRS_DOWN], places[j]) + i;

				for (int lane = 0; lane < SUM_LANES; lane++)
					sum[lane] += weights[j] * down[lane];
			}
			for (int lane = 0; shared && lane < SUM_LANES; lane++)
				sum[lane] += share * of_shared[i + (uint32_t) lane];
			for (int lane = 0; lane < SUM_LANES; lane++)
				x[i + (uint32_t) lane] += sum[lane];
		}
	}
}

/* The shared expert is a dense network of all rows, whose norm is there already. */
static void
plan_shared(Forward *f, const ModelLayer *layer)
{
	const ModelHyper *hyper = &f->model->hyper;
	const RowBuffer *gate = plan_rows(f, ROWS_GATE, hyper->shared_ffn), *up = plan_rows(f, ROWS_UP, hyper->shared_ffn);
	Product gate_up = {
		.source = {plan_rows(f, ROWS_NORMED, hyper->hidden), hyper->hidden, NULL, NULL},
		.part = STEP_PRODUCTS,
		.n_rows = &f->n_rows,
		.n_matrices = 2,
		.matrices = {&layer->shared_gate, &layer->shared_up},
		.outputs = {gate, up},
		.gated = true,
	};
	Product down = {
		.source = {gate, hyper->shared_ffn, NULL, up},
		.part = STEP_PRODUCTS,
		.n_rows = &f->n_rows,
		.n_matrices = 1,
		.matrices = {&layer->shared_down},
		.outputs = {plan_rows(f, ROWS_SHARED, hyper->hidden)},
	};

	plan_add_product(f, &gate_up);
	plan_add_product(f, &down);
}

/* Norm, router; the chosen experts' gate and up, activation, down; the shared expert; the sum onto the residual stream.
 */
void
plan_experts(Forward *f, uint32_t layer_index)
{
	const ModelHyper *hyper = &f->model->hyper;
	const ModelLayer *layer = &f->model->layers[layer_index];
	bool gate = tensor_type_takes_panels(layer->expert_gate.type), up = tensor_type_takes_panels(layer->expert_up.type);
	ExpertLayer about = {
		layer,
		gate || up,
		!gate || !up,
		tensor_type_takes_panels(layer->expert_down.type),
		{plan_role(f, &layer->expert_gate), plan_role(f, &layer->expert_up), plan_role(f, &layer->expert_down)}};
	const void *experts = plan_keep(f, &about, sizeof about);
	Product router = {
		.source = {plan_rows(f, ROWS_NORMED, hyper->hidden), hyper->hidden, NULL, NULL},
		.part = STEP_PRODUCTS,
		.n_rows = &f->n_rows,
		.n_matrices = hyper->shared_ffn > 0 ? 2 : 1,
		.matrices = {&layer->router, &layer->shared_router},
		.outputs = {plan_rows(f, ROWS_ROUTER, hyper->n_experts), plan_rows(f, ROWS_SHARED_ROUTER, 1)},
	};

	(void) plan_rows(f, ROWS_HIDDEN, hyper->hidden);
	if (about.takes_rows)
		(void) plan_pairs(f, PAIRS_INPUT, hyper->hidden);
	(void) plan_pairs(f, PAIRS_GATE, hyper->expert_ffn);
	(void) plan_pairs(f, PAIRS_UP, hyper->expert_ffn);
	(void) plan_pairs(f, PAIRS_DOWN, hyper->hidden);
	(void) plan_pairs(f, PAIRS_LOW, 2 * ADAPTER_MAX_RANK);
	plan_add(f, STEP_PREPARE, all_rows, prepare_rows, experts);
	plan_add_product(f, &router);
	plan_add(f, STEP_PREPARE, one_item, route, experts);
	plan_add(f, STEP_PREPARE, NULL, gather_inputs, experts);
	plan_add(f, STEP_PRODUCTS, NULL, lower_gate_up, experts);
	plan_add(f, STEP_PRODUCTS, NULL, multiply_gate_up, experts);
	plan_add(f, STEP_PREPARE, NULL, quantize_middle, experts);
	plan_add(f, STEP_PRODUCTS, NULL, lower_down, experts);
	plan_add(f, STEP_PRODUCTS, NULL, multiply_down, experts);
	if (hyper->shared_ffn > 0)
		plan_shared(f, layer);
	plan_add(f, STEP_PREPARE, sum_items, sum_rows, NULL);
}
