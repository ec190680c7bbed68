/*
 * masks.c - see masks.h.
 */
#include "masks.h"

#include <stdlib.h>
#include <string.h>

#include "format_private.h"

#define MAX_LIST 1024   /* tokens; more are a bitset */
#define FREE_ENOUGH 128 /* letters of plain text: no token has more */
#define ROOT_SET 1u
#define DEPTH_SEEN 24 /* below so many arrays and objects depth makes no difference yet */

/* Tokens that one frame takes. */
typedef struct Piece
{
	uint32_t exits; /* a set of nodes of the trie */
	uint32_t n, n_removed;
	const uint32_t *list;  /* tokens; behind them those that the class has too much */
	const uint64_t *bits;  /* NULL: none */
	const uint64_t *class; /* of plain tokens; NULL: none */
} Piece;

struct Masks
{
	Format *format;
	const Vocabulary *vocabulary;
	Pool pool;
	Pool old;      /* what was trimmed last: masks of the step at hand are in it */
	Interner sets; /* of nodes: 0 is empty, 1 the root alone */
	Interner keys; /* of pieces: frame, exit cell, entries */
	Piece *pieces;
	uint32_t n_pieces, pieces_capacity;
	NumberMap piece_of, composed;
	TokenMask *masks;
	uint32_t n_masks, masks_capacity;
	uint32_t *got, *left; /* of the walk at hand */
	uint32_t n_got, n_left;
};

/* The sets that always are. */
static bool
open_pool(Masks *masks)
{
	uint32_t root = 0;

	if (!pool_open(&masks->pool))
		return false;
	masks->sets = masks->keys = (Interner){0};
	masks->piece_of = masks->composed = (NumberMap){0};
	masks->pieces = NULL;
	masks->masks = NULL;
	masks->n_pieces = masks->pieces_capacity = masks->n_masks = masks->masks_capacity = 0;
	(void) intern(&masks->pool, &masks->sets, NULL, 0, NULL);
	(void) intern(&masks->pool, &masks->sets, &root, 1, NULL);
	return !pool_failed(&masks->pool);
}

Masks *
masks_create(Format *format, const Vocabulary *vocabulary)
{
	Masks *masks = calloc(1, sizeof *masks);

	if (!masks)
		return NULL;
	masks->format = format;
	masks->vocabulary = vocabulary;
	masks->got = malloc((size_t) vocabulary->n_tokens * sizeof *masks->got);
	masks->left = malloc((size_t) vocabulary->all.n * sizeof *masks->left);
	if (!masks->got || !masks->left || !open_pool(masks))
	{
		masks_destroy(masks);
		return NULL;
	}
	return masks;
}

void
masks_destroy(Masks *masks)
{
	if (!masks)
		return;
	if (masks->pool.arena)
		pool_close(&masks->pool);
	if (masks->old.arena)
		pool_close(&masks->old);
	free(masks->got);
	free(masks->left);
	free(masks);
}

size_t
masks_bytes(const Masks *masks)
{
	return arena_used(masks->pool.arena);
}

void
masks_trim(Masks *masks)
{
	if (masks->old.arena)
		pool_close(&masks->old);
	masks->old = masks->pool;
	(void) open_pool(masks);
}

/* How many letters of plain text a frame takes, whichever they are; 0 where that is not known. */
static uint32_t
plain_letters(const Machine *machine, uint32_t frame)
{
	const uint32_t *words = interned(&machine->frames, frame, NULL);
	uint32_t index = words[1], max = NO_LIMIT, mode;
	const Language *language;

	switch ((FrameKind) words[0])
	{
		case FRAME_STRING:
			mode = words[5];
			max = words[4];
			break;
		case FRAME_TEXT:
			mode = words[3];
			break;
		case FRAME_KEY:
			index = interned(&machine->rests, words[1], NULL)[0];
			mode = words[3];
			break;
		default:
			return 0;
	}
	language = machine->formulas->language_list[index];
	if (mode || language->free_for[words[2]] < FREE_ENOUGH || (max != NO_LIMIT && language->max_shortest > 0))
		return 0;
	return max;
}

/* Is this exit's cell in a state? Special cells come first in it. */
static bool
has_cell(const Machine *machine, uint32_t state, uint32_t cell, bool *is_alone)
{
	uint32_t n;
	const uint32_t *cells = interned(&machine->states, state, &n);
	bool has = false;

	for (uint32_t i = 0; i < n && cells[i] < N_SPECIAL_CELLS; i++)
		has |= cells[i] == cell;
	*is_alone = has && n == 1;
	return has;
}

/* Walk through a trie from the nodes of a set on. */
static void
walk(Masks *masks, uint32_t frame, uint32_t exit_cell, uint32_t entries, bool is_plain)
{
	Machine *machine = &masks->format->machine;
	const Vocabulary *vocabulary = masks->vocabulary;
	const TrieNode *nodes = is_plain ? vocabulary->others.nodes : vocabulary->all.nodes;
	uint32_t at[256], n_entries, start = machine_state_of_frame(machine, frame, exit_cell);
	const uint32_t *set = interned(&masks->sets, entries, &n_entries);
	bool is_alone;

	masks->n_got = masks->n_left = 0;
	for (uint32_t k = 0; k < n_entries && !pool_failed(machine->pool); k++)
	{
		uint32_t i = set[k] + 1, end = set[k] + nodes[set[k]].subtree;

		at[nodes[set[k]].depth] = start;
		while (i < end)
		{
			const TrieNode *node = &nodes[i];
			uint32_t state = machine_step(machine, at[node->depth - 1], node->byte);

			if (state == STATE_DEAD)
			{
				i += node->subtree;
				continue;
			}
			if (node->token != VOCABULARY_NO_TOKEN)
				masks->got[masks->n_got++] = node->token;
			if (has_cell(machine, state, exit_cell, &is_alone))
			{
				uint32_t there = is_plain ? vocabulary->others_to_all[i] : i;

				if (vocabulary->all.nodes[there].subtree > 1)
					masks->left[masks->n_left++] = there;
				if (is_alone)
				{
					i += node->subtree;
					continue;
				}
			}
			at[node->depth] = state;
			i++;
		}
	}
}

/* The bits of the tokens found. */
static const uint64_t *
bits_of_got(Masks *masks)
{
	uint64_t *bits = pool_alloc(&masks->pool, masks->vocabulary->n_words, sizeof *bits);

	for (uint32_t i = 0; bits && i < masks->n_got; i++)
		bits[masks->got[i] / 64] |= (uint64_t) 1 << masks->got[i] % 64;
	return bits;
}

/* The class of plain tokens of at most so many letters, and those in it that have more. */
static void
choose_class(Masks *masks, Piece *piece, uint32_t letters)
{
	const Vocabulary *vocabulary = masks->vocabulary;
	WordList list = {0};

	if (letters <= VOCABULARY_MAX_CHARACTERS)
	{
		piece->class = vocabulary->up_to[letters];
		return;
	}
	piece->class = vocabulary->plain;
	for (uint32_t i = 0; letters < FREE_ENOUGH && i < vocabulary->n_longer; i++)
		if (vocabulary->longer_characters[i] > letters)
			list_add(&masks->pool, &list, vocabulary->longer[i]);
	piece->n_removed = list.n;
	list_add_all(&masks->pool, &list, masks->got, masks->n_got);
	piece->list = list.at;
}

/* The piece of a frame, entered at a set of nodes. */
static const Piece *
piece_get(Masks *masks, uint32_t frame, uint32_t exit_cell, uint32_t entries)
{
	uint32_t words[3] = {frame, exit_cell, entries}, key = intern(&masks->pool, &masks->keys, words, 3, NULL), index;
	uint32_t letters = entries == ROOT_SET ? plain_letters(&masks->format->machine, frame) : 0;
	Piece piece = {0};
	WordList list = {0};

	if (map_find(&masks->piece_of, key, &index))
		return &masks->pieces[index];
	walk(masks, frame, exit_cell, entries, letters > 0);
	if (pool_failed(&masks->format->pool) ||
		!pool_grow(&masks->pool, &masks->pieces, masks->n_pieces, &masks->pieces_capacity, sizeof *masks->pieces))
		return NULL;
	piece.exits = intern(&masks->pool, &masks->sets, masks->left, masks->n_left, NULL);
	piece.n = masks->n_got;
	if (letters > 0)
		choose_class(masks, &piece, letters);
	if (masks->n_got > MAX_LIST)
	{
		piece.bits = bits_of_got(masks);
		piece.n = 0;
	}
	if (piece.n_removed == 0)
	{
		list_add_all(&masks->pool, &list, masks->got, piece.n);
		piece.list = list.at;
	}
	if (pool_failed(&masks->pool))
		return NULL;
	masks->pieces[masks->n_pieces] = piece;
	map_put(&masks->pool, &masks->piece_of, key, masks->n_pieces);
	return &masks->pieces[masks->n_pieces++];
}

/* A mask that is being put together. */
typedef struct Sum
{
	WordList list;
	uint64_t *bits; /* NULL while there is only a list */
} Sum;

static bool
need_bits(Masks *masks, Sum *sum)
{
	if (!sum->bits)
		sum->bits = pool_alloc(&masks->pool, masks->vocabulary->n_words, sizeof *sum->bits);
	return sum->bits != NULL;
}

static void
add_bits(Masks *masks, Sum *sum, const uint64_t *bits, const uint32_t *removed, uint32_t n_removed)
{
	const uint32_t n_words = masks->vocabulary->n_words;
	bool *had;

	if (!bits || !need_bits(masks, sum))
		return;
	/* what is removed here may be there by another way */
	had = n_removed ? pool_alloc(&masks->pool, n_removed, 1) : NULL;
	for (uint32_t i = 0; had && i < n_removed; i++)
		had[i] = sum->bits[removed[i] / 64] >> removed[i] % 64 & 1;
	for (uint32_t word = 0; word < n_words; word++)
		sum->bits[word] |= bits[word];
	for (uint32_t i = 0; had && i < n_removed; i++)
		if (!had[i])
			sum->bits[removed[i] / 64] &= ~((uint64_t) 1 << removed[i] % 64);
}

static void
add_piece(Masks *masks, Sum *sum, const Piece *piece)
{
	add_bits(masks, sum, piece->class, piece->list, piece->n_removed);
	add_bits(masks, sum, piece->bits, NULL, 0);
	list_add_all(&masks->pool, &sum->list, piece->list + piece->n_removed, piece->n);
}

/* The pieces of one cell: of its frame, then, where that may be left, of the one below. */
static bool
add_cell_pieces(Masks *masks, Sum *sum, uint32_t cell)
{
	Machine *machine = &masks->format->machine;
	uint32_t entries = ROOT_SET;

	while (cell >= N_SPECIAL_CELLS && entries != 0)
	{
		const uint32_t *words = interned(&machine->cells, cell, NULL);
		uint32_t parent = words[1], depth = machine->cell_depths[parent];
		uint32_t exit_cell = CELL_EXIT(depth + machine->max_height < DEPTH_SEEN ? 0 : depth);
		const Piece *piece = piece_get(masks, machine_frame_for_mask(machine, words[0]), exit_cell, entries);

		if (!piece)
			return false;
		add_piece(masks, sum, piece);
		entries = piece->exits;
		cell = parent;
	}
	return true;
}

/* The list and the bits as one of them. */
static const TokenMask *
finish_mask(Masks *masks, FormatState state, Sum *sum)
{
	TokenMask mask = {0};

	if (!sum->bits)
		list_sort_unique(&sum->list);
	if (sum->list.n > MAX_LIST)
		(void) need_bits(masks, sum);
	for (uint32_t i = 0; sum->bits && i < sum->list.n; i++)
		sum->bits[sum->list.at[i] / 64] |= (uint64_t) 1 << sum->list.at[i] % 64;
	if (pool_failed(&masks->pool) ||
		!pool_grow(&masks->pool, &masks->masks, masks->n_masks, &masks->masks_capacity, sizeof *masks->masks))
		return NULL;
	mask.bits = sum->bits;
	if (!mask.bits)
	{
		mask.list = sum->list.at;
		mask.n = sum->list.n;
	}
	masks->masks[masks->n_masks] = mask;
	map_put(&masks->pool, &masks->composed, state, masks->n_masks);
	return &masks->masks[masks->n_masks++];
}

const TokenMask *
masks_get(Masks *masks, FormatState state)
{
	const Machine *machine = &masks->format->machine;
	Sum sum = {0};
	uint32_t n, index;
	const uint32_t *cells;

	if (map_find(&masks->composed, state, &index))
		return &masks->masks[index];
	masks->format->pool.work = 0;
	masks->pool.work = 0;
	if (masks->format->copy)
	{
		masks->n_got = copy_tokens(masks->format->copy, masks->vocabulary, state, masks->got);
		list_add_all(&masks->pool, &sum.list, masks->got, masks->n_got);
		return finish_mask(masks, state, &sum);
	}
	cells = interned(&machine->states, state, &n);
	for (uint32_t i = 0; i < n; i++)
		if (!add_cell_pieces(masks, &sum, cells[i]))
			return NULL;
	return finish_mask(masks, state, &sum);
}
