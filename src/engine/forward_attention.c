/*
 * forward_attention.c - attention of a ragged batch over the paged cache.
 *
 * A work item is a group of neighbouring tokens of one sequence with all query heads of one KV head, so that K and V
 * are read once for all of them. A row's positions are cut into pieces at fixed absolute positions, each piece is one
 * running softmax over its blocks, and pieces are merged in order: whether one member does all of a row or its pieces
 * are items of their own (few rows, many members), the arithmetic is the same. Keys and values enter the cache
 * in a phase before, or, when no row sees another one of the step (decode), in the item that needs them.
 */
#include <math.h>
#include <string.h>

#include "forward_private.h"

uint32_t
attention_pieces_for(uint32_t n_positions)
{
	return (n_positions + PIECE_POSITIONS - 1) / PIECE_POSITIONS;
}

/* Token groups of a sequence in this step. */
static uint32_t
groups_of(const Forward *f, const StepSequence *sequence)
{
	return (sequence->n_tokens + f->group_tokens - 1) / f->group_tokens;
}

/* How many items as long as the longest one the step's attention is worth. */
static uint64_t
items_worth(const Forward *f, uint32_t longest)
{
	uint64_t positions = 0;

	for (uint32_t s = 0; s < f->n_sequences; s++)
	{
		const StepSequence *sequence = &f->sequences[s];

		positions += (uint64_t) groups_of(f, sequence) * (sequence->first_position + sequence->n_tokens);
	}
	return longest == 0 ? 0 : positions * f->model->hyper.n_kv_heads / longest;
}

/* Query heads of one KV head go in so many items. */
static uint32_t
parts_of_heads(const Forward *f)
{
	return (f->group_heads + f->item_heads - 1) / f->item_heads;
}

void
attention_lay_out(Forward *f)
{
	const ModelHyper *hyper = &f->model->hyper;
	uint64_t n_members = (uint64_t) f->n_threads, wanted = ITEMS_PER_MEMBER * n_members;
	uint32_t n_groups = 0, longest = 0;

	for (uint32_t s = 0; s < f->n_sequences; s++)
	{
		uint32_t end = f->sequences[s].first_position + f->sequences[s].n_tokens;

		longest = end > longest ? end : longest;
	}
	f->n_pieces = attention_pieces_for(longest);
	f->group_heads = hyper->n_heads / hyper->n_kv_heads;
	f->group_tokens = f->group_heads >= ATTENTION_ROWS ? 1 : ATTENTION_ROWS / f->group_heads;
	f->item_heads = f->group_heads;
	/* Too few items for the members: their pieces, where there is room for what comes of them; then fewer tokens, and
	 * then fewer heads, for which keys and values are read more often. */
	f->split = f->n_pieces > 1 && f->n_rows * f->n_pieces <= f->n_split_slots && items_worth(f, longest) < wanted;
	while (f->group_tokens > 1 && items_worth(f, longest) * (f->split ? f->n_pieces : 1) < wanted)
		f->group_tokens /= 2;
	while (f->item_heads > 1 && items_worth(f, longest) * (f->split ? f->n_pieces : 1) * parts_of_heads(f) < n_members)
		f->item_heads = (f->item_heads + 1) / 2;
	/* who stores a row's key and value is one item, and here several need them */
	f->rows_alone &= f->item_heads == f->group_heads;
	for (uint32_t s = 0; s < f->n_sequences; s++)
		n_groups += groups_of(f, &f->sequences[s]);
	f->n_attention_items = n_groups * hyper->n_kv_heads * parts_of_heads(f) * (f->split ? f->n_pieces : 1);
}

/* The query rows of an item: n_tokens tokens from row first_row on, heads first_head … of all, at most ATTENTION_ROWS.
 */
typedef struct QueryRows
{
	const StepSequence *sequence;
	uint32_t first_row, n_tokens;
	uint32_t kv_head, first_head, n_heads; /* query heads, counted from the whole model */
} QueryRows;

/* Find group number group of the step. */
static QueryRows
find_group(const Forward *f, uint32_t group)
{
	QueryRows rows = {0};
	uint32_t s = 0, first;

	while (group >= groups_of(f, &f->sequences[s]))
		group -= groups_of(f, &f->sequences[s++]);
	first = group * f->group_tokens;
	rows.sequence = &f->sequences[s];
	rows.first_row = f->first_rows[s] + first;
	rows.n_tokens =
		rows.sequence->n_tokens - first < f->group_tokens ? rows.sequence->n_tokens - first : f->group_tokens;
	return rows;
}

static uint32_t
n_query_rows(const QueryRows *rows)
{
	return rows->n_tokens * rows->n_heads;
}

/* What the phases of a layer's attention are about. */
typedef struct AttentionLayer
{
	const ModelLayer *layer;
	const KeyOutliers *outliers; /* [n_kv_heads], or NULL: no head of the model has any */
	uint32_t cache_layer;        /* the layer of the cache that keeps its keys and values */
	bool begins_late;            /* the first position has none: in the first block they stand one place lower */
} AttentionLayer;

/* The outliers of a head's keys, or NULL. */
static const KeyOutliers *
outliers_of(const AttentionLayer *attention, uint32_t kv_head)
{
	return attention->outliers ? &attention->outliers[kv_head] : NULL;
}

static void
add_bias(float *values, const float *bias, uint32_t n)
{
	for (uint32_t i = 0; bias && i < n; i++)
		values[i] += bias[i];
}

/* A query or key head: bias (that of the head), norm (qwen3), rotation. */
static void
finish_head(const Forward *f, float *values, const float *bias, const float *norm, uint32_t row)
{
	add_bias(values, bias, f->head_dim);
	if (norm)
		f->kernels->rms_norm(values, norm, f->head_dim, f->model->hyper.rms_epsilon, values);
	f->kernels->rope(values, f->cosines + (size_t) row * f->rope.n_pairs, f->sines + (size_t) row * f->rope.n_pairs,
					 2 * f->rope.n_pairs);
}

/* Finish a row's key and value of one KV head and put them into the cache. */
static void
store_row(const Forward *f, const AttentionLayer *attention, uint32_t row, uint32_t kv_head)
{
	const ModelLayer *layer = attention->layer;
	uint32_t position = f->row_positions[row];
	uint32_t block = f->sequences[f->row_sequences[row]].kv_blocks[position / KV_BLOCK_POSITIONS];
	uint32_t place = position % KV_BLOCK_POSITIONS - (attention->begins_late && position < KV_BLOCK_POSITIONS);
	float *k = row_at(&f->rows[ROWS_K], row) + (size_t) kv_head * f->head_dim;
	float *v = row_at(&f->rows[ROWS_V], row) + (size_t) kv_head * f->head_dim;

	if (attention->begins_late && position == 0)
		return;
	finish_head(f, k, layer->attn_k_bias ? layer->attn_k_bias + (size_t) kv_head * f->head_dim : NULL,
				layer->attn_k_norm, row);
	add_bias(v, layer->attn_v_bias ? layer->attn_v_bias + (size_t) kv_head * f->head_dim : NULL, f->head_dim);
	f->kernels->kv_store_k(kv_pool_type(f->pool), kv_pool_k(f->pool, block, attention->cache_layer, kv_head), place, k,
						   f->head_dim, outliers_of(attention, kv_head));
	f->kernels->kv_store_v(kv_pool_type(f->pool), kv_pool_v(f->pool, block, attention->cache_layer, kv_head), place, v,
						   f->head_dim);
}

/* From one query head to the next; where attention is gated, its gate stands between. */
static size_t
query_stride(const Forward *f)
{
	return (size_t) f->head_dim * (f->model->hyper.gated_attention ? 2 : 1);
}

/* Gather the queries into scratch, finish them and scale them by 1/sqrt(head_dim), ready for attention_block. Row r is
 * token r / n_heads, head r % n_heads. */
static void
gather_queries(const Forward *f, const AttentionLayer *attention, const QueryRows *rows, float *q)
{
	const ModelLayer *layer = attention->layer;
	float scale = 1.0f / sqrtf((float) f->head_dim);

	for (uint32_t t = 0; t < rows->n_tokens; t++)
		for (uint32_t h = 0; h < rows->n_heads; h++)
		{
			uint32_t row = rows->first_row + t, head = rows->first_head + h;
			float *to = q + (size_t) (t * rows->n_heads + h) * f->head_dim;

			memcpy(to, row_at(&f->rows[ROWS_Q], row) + head * query_stride(f), f->head_dim * sizeof *to);
			finish_head(f, to, layer->attn_q_bias ? layer->attn_q_bias + head * query_stride(f) : NULL,
						layer->attn_q_norm, row);
			for (uint32_t d = 0; d < f->head_dim; d++)
				to[d] *= scale;
		}
	f->kernels->attention_queries(kv_pool_type(f->pool), q, n_query_rows(rows), f->head_dim,
								  outliers_of(attention, rows->kv_head));
}

static void
reset_states(AttentionState *states, float *out, uint32_t n, uint32_t head_dim)
{
	for (uint32_t r = 0; r < n; r++)
		states[r] = (AttentionState){-INFINITY, 0};
	memset(out, 0, (size_t) n * head_dim * sizeof *out);
}

/* The K slice that is read after block b of an item that begins with first_block and ends before end_block, of a row
 * that ends with last_block: the next one of the same head, or where the next head's item begins. NULL where that is
 * not known. */
static const void *
slice_after(const Forward *f, const AttentionLayer *attention, const QueryRows *rows, uint32_t first_block, uint32_t b,
			uint32_t end_block, uint32_t last_block)
{
	const uint32_t *blocks = rows->sequence->kv_blocks;
	uint32_t layer = attention->cache_layer;

	if (b + 1 < end_block || (!f->split && b < last_block))
		return kv_pool_k(f->pool, blocks[b + 1], layer, rows->kv_head);
	if (rows->kv_head + 1 < f->model->hyper.n_kv_heads)
		return kv_pool_k(f->pool, blocks[f->split ? first_block : 0], layer, rows->kv_head + 1);
	return NULL;
}

/* One piece for all rows of an item: states and out from nothing. */
static void
attend_piece(const Forward *f, const AttentionLayer *attention, const QueryRows *rows, const float *q, uint32_t piece,
			 AttentionState *states, float *out)
{
	uint32_t n = n_query_rows(rows);
	uint32_t last_block = f->row_positions[rows->first_row + rows->n_tokens - 1] / KV_BLOCK_POSITIONS;
	uint32_t first_block = piece * (PIECE_POSITIONS / KV_BLOCK_POSITIONS);
	uint32_t end_block = first_block + PIECE_POSITIONS / KV_BLOCK_POSITIONS;
	const KeyOutliers *outliers = outliers_of(attention, rows->kv_head);
	uint32_t layer = attention->cache_layer;
	uint8_t n_valid[ATTENTION_ROWS];

	reset_states(states, out, n, f->head_dim);
	if (end_block > last_block + 1)
		end_block = last_block + 1;
	for (uint32_t b = first_block; b < end_block; b++)
	{
		uint32_t block = rows->sequence->kv_blocks[b];

		for (uint32_t r = 0; r < n; r++)
		{
			uint32_t visible = f->row_positions[rows->first_row + r / rows->n_heads] + 1;
			uint32_t start = b * KV_BLOCK_POSITIONS;

			n_valid[r] = (uint8_t) (visible <= start                       ? 0
									: visible - start > KV_BLOCK_POSITIONS ? KV_BLOCK_POSITIONS
																		   : visible - start);
			n_valid[r] -= attention->begins_late && b == 0;
		}
		f->kernels->attention_block(kv_pool_type(f->pool), kv_pool_k(f->pool, block, layer, rows->kv_head),
									kv_pool_v(f->pool, block, layer, rows->kv_head), q, n_valid, n, f->head_dim, states,
									out, slice_after(f, attention, rows, first_block, b, end_block, last_block),
									outliers ? outliers->n : 0);
	}
}

/* A gate and, where queries have biases, its own. */
static void
gate_output(const Forward *f, const ModelLayer *layer, uint32_t row, uint32_t head, float *out)
{
	float *gate = row_at(&f->rows[ROWS_Q], row) + head * query_stride(f) + f->head_dim;

	add_bias(gate, layer->attn_q_bias ? layer->attn_q_bias + head * query_stride(f) + f->head_dim : NULL, f->head_dim);
	f->kernels->sigmoid_mul(out, gate, f->head_dim);
}

/* A row's sum to its output. */
static void
write_output(const Forward *f, const ModelLayer *layer, uint32_t row, uint32_t head, const AttentionState *state,
			 const float *out)
{
	float *to = row_at(&f->rows[ROWS_ATTENDED], row) + (size_t) head * f->head_dim;
	float scale = 1.0f / state->sum;

	for (uint32_t d = 0; d < f->head_dim; d++)
		to[d] = out[d] * scale;
	f->kernels->attention_output(kv_pool_type(f->pool), to, f->head_dim);
	if (f->model->hyper.gated_attention)
		gate_output(f, layer, row, head, to);
}

/* All pieces of an item, one after the other; the first one is the total so far as it stands. */
static void
attend_whole(const Forward *f, const AttentionLayer *attention, const QueryRows *rows, ThreadScratch *scratch)
{
	AttentionState states[ATTENTION_ROWS], totals[ATTENTION_ROWS];
	uint32_t n = n_query_rows(rows);
	uint32_t last_position = f->row_positions[rows->first_row + rows->n_tokens - 1];

	gather_queries(f, attention, rows, scratch->q);
	attend_piece(f, attention, rows, scratch->q, 0, totals, scratch->total);
	for (uint32_t piece = 1; piece < attention_pieces_for(last_position + 1); piece++)
	{
		attend_piece(f, attention, rows, scratch->q, piece, states, scratch->piece);
		for (uint32_t r = 0; r < n; r++)
			f->kernels->attention_merge(&totals[r], scratch->total + (size_t) r * f->head_dim, &states[r],
										scratch->piece + (size_t) r * f->head_dim, f->head_dim);
	}
	for (uint32_t r = 0; r < n; r++)
		write_output(f, attention->layer, rows->first_row + r / rows->n_heads, rows->first_head + r % rows->n_heads,
					 &totals[r], scratch->total + (size_t) r * f->head_dim);
}

/* Where the split result of a row, head and piece is kept: heads of a piece stand side by side. */
static size_t
split_slot(const Forward *f, uint32_t row, uint32_t head, uint32_t piece)
{
	return ((size_t) row * f->n_pieces + piece) * f->model->hyper.n_heads + head;
}

/* One piece of an item, kept for merging. */
static void
attend_split(const Forward *f, const AttentionLayer *attention, const QueryRows *rows, uint32_t piece,
			 ThreadScratch *scratch)
{
	AttentionState states[ATTENTION_ROWS];

	gather_queries(f, attention, rows, scratch->q);
	attend_piece(f, attention, rows, scratch->q, piece, states, scratch->piece);
	for (uint32_t t = 0; t < rows->n_tokens; t++)
	{
		size_t slot = split_slot(f, rows->first_row + t, rows->first_head, piece), from = (size_t) t * rows->n_heads;

		memcpy(f->split_states + slot, states + from, rows->n_heads * sizeof *states);
		memcpy(f->split_outs + slot * f->head_dim, scratch->piece + from * f->head_dim,
			   (size_t) rows->n_heads * f->head_dim * sizeof *f->split_outs);
	}
}

/* Phase: merge the pieces of heads first … end-1 (counted through all rows), in order. */
static void
merge_split(Member *member, const void *argument, uint32_t first, uint32_t end)
{
	const Forward *f = member->forward;
	uint32_t n_heads = f->model->hyper.n_heads;

	for (uint32_t i = first; i < end; i++)
	{
		size_t slot = split_slot(f, i / n_heads, i % n_heads, 0);
		AttentionState state = f->split_states[slot];
		float *total = f->split_outs + slot * f->head_dim;

		for (uint32_t piece = 1; piece < attention_pieces_for(f->row_positions[i / n_heads] + 1); piece++)
		{
			size_t later = split_slot(f, i / n_heads, i % n_heads, piece);

			f->kernels->attention_merge(&state, total, &f->split_states[later], f->split_outs + later * f->head_dim,
										f->head_dim);
		}
		write_output(f, ((const AttentionLayer *) argument)->layer, i / n_heads, i % n_heads, &state, total);
	}
}

/* Run one item; more heads than the scratch holds go in turns. */
static void
attend_item(const Forward *f, const AttentionLayer *attention, uint32_t item, ThreadScratch *scratch)
{
	uint32_t n_parts = parts_of_heads(f), per_piece = f->model->hyper.n_kv_heads * n_parts;
	uint32_t per_group = per_piece * (f->split ? f->n_pieces : 1);
	QueryRows rows = find_group(f, item / per_group);
	uint32_t piece = item % per_group / per_piece, part = item % n_parts;
	uint32_t last_piece = f->row_positions[rows.first_row + rows.n_tokens - 1] / PIECE_POSITIONS;
	uint32_t end = (part + 1) * f->item_heads < f->group_heads ? (part + 1) * f->item_heads : f->group_heads;

	if (f->split && piece > last_piece)
		return;
	rows.kv_head = item % per_piece / n_parts;
	if (f->rows_alone && (!f->split || piece == last_piece))
		store_row(f, attention, rows.first_row, rows.kv_head);
	for (uint32_t h = part * f->item_heads; h < end; h += ATTENTION_ROWS)
	{
		rows.first_head = rows.kv_head * f->group_heads + h;
		rows.n_heads = end - h < ATTENTION_ROWS ? end - h : ATTENTION_ROWS;
		if (f->split)
			attend_split(f, attention, &rows, piece, scratch);
		else
			attend_whole(f, attention, &rows, scratch);
	}
}

/* Phase: items first … end-1. */
static void
attend_items(Member *member, const void *argument, uint32_t first, uint32_t end)
{
	for (uint32_t item = first; item < end; item++)
	{
		attend_item(member->forward, argument, item, member->scratch);
		member_beat(member, member->forward->n_pieces * ATTENTION_ROWS);
	}
}

/* Phase: keys and values of KV heads first … end-1, counted through all rows. */
static void
store_rows(Member *member, const void *argument, uint32_t first, uint32_t end)
{
	const Forward *f = member->forward;
	for (uint32_t i = first; i < end; i++)
		store_row(f, argument, i / f->model->hyper.n_kv_heads, i % f->model->hyper.n_kv_heads);
}

/* Keys and values in a phase of their own: where a row needs those of other rows of the step. */
static uint32_t
store_items(const Forward *f, const void *argument)
{
	(void) argument;
	return f->rows_alone ? 0 : f->n_rows * f->model->hyper.n_kv_heads;
}

static uint32_t
attention_items(const Forward *f, const void *argument)
{
	(void) argument;
	return f->n_attention_items;
}

static uint32_t
merge_items(const Forward *f, const void *argument)
{
	(void) argument;
	return f->split ? f->n_rows * f->model->hyper.n_heads : 0;
}

/* What the phases of the attention of a layer are about, with the next layer of the cache. */
static const void *
keep_about(Forward *f, uint32_t layer_index)
{
	const ModelHyper *hyper = &f->model->hyper;
	const KeyOutliers *outliers = f->model->key_outliers;
	AttentionLayer about = {
		.layer = &f->model->layers[layer_index],
		.outliers = outliers ? outliers + (size_t) layer_index * hyper->n_kv_heads : NULL,
		.cache_layer = f->plan.n_cache_layers,
		.begins_late = layer_index >= hyper->n_layers,
	};

	return plan_keep(f, &about, sizeof about);
}

/* Phase: the same as store_rows, whichever rows there are. */
static uint32_t
all_heads(const Forward *f, const void *argument)
{
	(void) argument;
	return f->n_rows * f->model->hyper.n_kv_heads;
}

void
plan_keys(Forward *f, uint32_t layer_index, const RowBuffer *rows)
{
	const ModelHyper *hyper = &f->model->hyper;
	const ModelLayer *layer = &f->model->layers[layer_index];
	uint32_t kv_width = hyper->n_kv_heads * hyper->head_dim;
	Product inputs = {
		.source = {rows, hyper->hidden, layer->attn_norm, NULL},
		.part = STEP_PRODUCTS,
		.n_rows = &f->n_rows,
		.n_matrices = 2,
		.matrices = {&layer->attn_k, &layer->attn_v},
		.outputs = {plan_rows(f, ROWS_K, kv_width), plan_rows(f, ROWS_V, kv_width)},
	};

	plan_add_product(f, &inputs);
	plan_add(f, STEP_ATTENTION, all_heads, store_rows, keep_about(f, layer_index));
}

/* Norm, Q, K, V; attention; output projection onto the residual stream. */
void
plan_attention(Forward *f, uint32_t layer_index)
{
	const ModelHyper *hyper = &f->model->hyper;
	const ModelLayer *layer = &f->model->layers[layer_index];
	uint32_t q_width = hyper->n_heads * hyper->head_dim, kv_width = hyper->n_kv_heads * hyper->head_dim;
	const void *attention = keep_about(f, layer_index);
	Product inputs = {
		.source = {plan_rows(f, ROWS_HIDDEN, hyper->hidden), hyper->hidden, layer->attn_norm, NULL},
		.part = STEP_PRODUCTS,
		.n_rows = &f->n_rows,
		.n_matrices = 3,
		.matrices = {&layer->attn_q, &layer->attn_k, &layer->attn_v},
		.outputs = {plan_rows(f, ROWS_Q, hyper->n_heads * (uint32_t) query_stride(f)), plan_rows(f, ROWS_K, kv_width),
					plan_rows(f, ROWS_V, kv_width)},
	};
	Product projection = {
		.source = {plan_rows(f, ROWS_ATTENDED, q_width), q_width, NULL, NULL},
		.part = STEP_PRODUCTS,
		.n_rows = &f->n_rows,
		.n_matrices = 1,
		.matrices = {&layer->attn_output},
		.outputs = {plan_rows(f, ROWS_HIDDEN, hyper->hidden)},
		.add = true,
	};

	f->plan.n_cache_layers++;
	plan_add_product(f, &inputs);
	plan_add(f, STEP_ATTENTION, store_items, store_rows, attention);
	plan_add(f, STEP_ATTENTION, attention_items, attend_items, attention);
	plan_add(f, STEP_ATTENTION, merge_items, merge_split, attention);
	plan_add_product(f, &projection);
}
