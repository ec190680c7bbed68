/*
 * masks.c - see masks.h.
 */
#include "masks.h"

#include <stdlib.h>
#include <string.h>

#include "format_private.h"
#include "frames.h"
#include "letter_frames.h"
#include "word_frames.h"

#define MAX_LIST 1024 /* tokens; more are a bitset */
#define ROOT_SET 1u
#define MIN_SUBTREE 4 /* nodes below which it does not pay to look for a quicker way */

/* Tokens that one frame takes. */
typedef struct Piece
{
	uint32_t exits; /* a set of nodes of the trie */
	uint32_t n, n_removed;
	const uint32_t *list;  /* tokens; behind them those that the class has too much */
	const uint64_t *bits;  /* NULL: none */
	const uint64_t *class; /* of a slice's tokens; NULL: none */
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
	uint32_t *got, *left; /* of the walk at hand: the scratch's */
	uint32_t n_got, n_left;
	bool was_asked; /* since the last trim */
};

struct MaskScratch
{
	uint32_t *tokens, *nodes;
};

void
mask_scratch_destroy(MaskScratch *scratch)
{
	if (!scratch)
		return;
	free(scratch->tokens);
	free(scratch->nodes);
	free(scratch);
}

MaskScratch *
mask_scratch_create(const Vocabulary *vocabulary)
{
	MaskScratch *scratch = calloc(1, sizeof *scratch);

	if (!scratch)
		return NULL;
	scratch->tokens = malloc((size_t) vocabulary->n_tokens * sizeof *scratch->tokens);
	scratch->nodes = malloc((size_t) vocabulary->all.n * sizeof *scratch->nodes);
	if (!scratch->tokens || !scratch->nodes)
	{
		mask_scratch_destroy(scratch);
		return NULL;
	}
	return scratch;
}

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
masks_create(Format *format, const Vocabulary *vocabulary, MaskScratch *scratch)
{
	Masks *masks = calloc(1, sizeof *masks);

	if (!masks)
		return NULL;
	masks->format = format;
	masks->vocabulary = vocabulary;
	masks->got = scratch->tokens;
	masks->left = scratch->nodes;
	if (!open_pool(masks))
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
	free(masks);
}

size_t
masks_bytes(const Masks *masks)
{
	return arena_used(masks->pool.arena);
}

size_t
masks_all_bytes(const Masks *masks)
{
	return masks_bytes(masks) + (masks->old.arena ? arena_used(masks->old.arena) : 0);
}

void
masks_trim(Masks *masks)
{
	if (!masks->was_asked)
		return;
	masks->was_asked = false;
	if (masks->old.arena)
		pool_close(&masks->old);
	masks->old = masks->pool;
	(void) open_pool(masks);
}

/*
 * How many letters of a set are possible at a place, whichever they are; 0 where that is not known. *is_exact: and no
 * token of the set that has more.
 */
static uint32_t
free_letters(const Language *language, const LettersPlace *place, LetterSet set, bool *is_exact)
{
	uint32_t free_for = language->free_for[set][place->state],
			 letters = free_for == FREE_FOR_EVER ? NO_LIMIT : free_for;

	*is_exact = false;
	/* far enough is told by the counts only where every end is far enough */
	if (place->prefix.mode || (place->min > 0 && language->least_longest != NO_LIMIT))
		return 0;
	/* the farthest state must still be near enough to an end */
	if (place->max != NO_LIMIT)
	{
		uint32_t near = place->max - (place->max < language->max_shortest ? place->max : language->max_shortest);

		*is_exact = near <= letters && language->max_shortest == 0;
		letters = near < letters ? near : letters;
	}
	else if (language->longest[place->state] <= letters)
		*is_exact = true;
	return letters;
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

/* A walk through a trie: of all tokens, or of those that a slice leaves out. */
typedef struct Walk
{
	Masks *masks;
	const TrieNode *nodes;
	const VocabularySlice *slice; /* NULL: all */
	uint32_t exit_cell;
} Walk;

/* The frame is left at a node; what comes below it matters if some token goes on. */
static void
note_exit(const Walk *walk, uint32_t i)
{
	uint32_t there = walk->slice ? walk->slice->others_to_all[i] : i;

	if (walk->masks->vocabulary->all.nodes[there].subtree > 1)
		walk->masks->left[walk->masks->n_left++] = there;
}

/* How a state is walked through when it is one frame alone whose places need not be kept as states. */
typedef enum WalkKind
{
	WALK_STATES,
	WALK_LETTERS,
	WALK_WORDS,
} WalkKind;

/* Which frame a state is, and what stands behind it. */
static WalkKind
walk_kind(const Machine *machine, uint32_t state, uint32_t *frame, uint32_t *parent)
{
	uint32_t n;
	const uint32_t *cells = interned(&machine->states, state, &n), *words;

	if (n != 1 || cells[0] < N_SPECIAL_CELLS)
		return WALK_STATES;
	words = interned(&machine->cells, cells[0], NULL);
	*frame = words[0];
	*parent = words[1];
	words = interned(&machine->frames, *frame, NULL);
	return words[0] == FRAME_PICK ? WALK_WORDS : letters_language(machine, words) ? WALK_LETTERS : WALK_STATES;
}

static void walk_letters(const Walk *walk, uint32_t frame, uint32_t parent, uint32_t i, uint32_t end);
static void walk_words(const Walk *walk, uint32_t frame, uint32_t parent, uint32_t i, uint32_t end);

/* The nodes i … end - 1, by states of the machine; at has the state at each depth above them. */
static void
walk_states(const Walk *walk, uint32_t i, uint32_t end, uint32_t *at)
{
	Masks *masks = walk->masks;
	Machine *machine = &masks->format->machine;
	uint32_t frame, parent;
	uint64_t bytes[256][4];
	WalkKind kind;
	bool is_alone;

	if (i < end)
		machine_bytes(machine, at[walk->nodes[i].depth - 1], bytes[walk->nodes[i].depth - 1]);
	while (i < end && !pool_failed(machine->pool))
	{
		const TrieNode *node = &walk->nodes[i];
		uint32_t state = STATE_DEAD;

		if (bytes[node->depth - 1][node->byte / 64] >> node->byte % 64 & 1)
			state = machine_step(machine, at[node->depth - 1], node->byte);
		if (state == STATE_DEAD)
		{
			i += node->subtree;
			continue;
		}
		if (node->token != VOCABULARY_NO_TOKEN)
			masks->got[masks->n_got++] = node->token;
		if (has_cell(machine, state, walk->exit_cell, &is_alone))
		{
			note_exit(walk, i);
			if (is_alone)
			{
				i += node->subtree;
				continue;
			}
		}
		at[node->depth] = state;
		kind = node->subtree >= MIN_SUBTREE ? walk_kind(machine, state, &frame, &parent) : WALK_STATES;
		/* what ends without a sign of its own has to be walked through with what stands behind it */
		if (kind == WALK_WORDS)
			walk_words(walk, frame, parent, i + 1, i + node->subtree);
		else if (kind == WALK_LETTERS &&
				 (interned(&machine->frames, frame, NULL)[0] != FRAME_RAW || parent == walk->exit_cell))
			walk_letters(walk, frame, parent, i + 1, i + node->subtree);
		else
			kind = WALK_STATES;
		if (kind != WALK_STATES)
		{
			i += node->subtree;
			continue;
		}
		if (node->subtree > 1)
			machine_bytes(machine, state, bytes[node->depth]);
		i++;
	}
}

/* May all that is below a node come, whichever it is? */
static bool
takes_all_below(const Language *language, const LettersPlace *place, const TrieNode *node)
{
	bool is_exact;

	/* names that are used are never all there are of a language without end */
	if (place->used != 0 && language->least_longest != NO_LIMIT)
		return false;
	for (uint32_t sets = node->only; sets != 0; sets &= sets - 1)
	{
		LetterSet set = (LetterSet) __builtin_ctz(sets);

		if (language->free_for[set][place->state] >= node->height &&
			free_letters(language, place, set, &is_exact) >= node->height)
			return true;
	}
	return false;
}

/* The same at a simple place. */
static bool
takes_all_simple(const Language *language, uint32_t state, const TrieNode *node)
{
	for (uint32_t sets = node->only; sets != 0; sets &= sets - 1)
		if (language->free_for[__builtin_ctz(sets)][state] >= node->height)
			return true;
	return false;
}

/* All tokens below a node. */
static void
take_all_below(const Walk *walk, uint32_t i)
{
	Masks *masks = walk->masks;
	uint32_t n;
	const uint32_t *tokens = trie_below(walk->slice ? &walk->slice->others : &masks->vocabulary->all, i, &n);

	memcpy(masks->got + masks->n_got, tokens, n * sizeof *tokens);
	masks->n_got += n;
}

/* The state behind a frame of letters that a byte ends. */
static uint32_t
state_behind(Machine *machine, const uint32_t *words, const LettersPlace *place, uint32_t parent, unsigned char byte)
{
	return machine_step(machine, machine_state_of_frame(machine, letters_frame(machine, words, place), parent), byte);
}

/* A node at which the machine is in a state, and those below it. */
static void
walk_from(const Walk *walk, uint32_t i, uint32_t state)
{
	Masks *masks = walk->masks;
	const TrieNode *node = &walk->nodes[i];
	uint32_t at[256];
	bool is_alone = false;

	if (state == STATE_DEAD)
		return;
	if (node->token != VOCABULARY_NO_TOKEN)
		masks->got[masks->n_got++] = node->token;
	if (has_cell(&masks->format->machine, state, walk->exit_cell, &is_alone))
		note_exit(walk, i);
	if (is_alone || node->subtree == 1)
		return;
	at[node->depth] = state;
	walk_states(walk, i + 1, i + node->subtree, at);
}

/* The nodes i … end - 1, by places in one frame of letters, which are not kept: behind its end goes on by states. */
static void
walk_letters(const Walk *walk, uint32_t frame, uint32_t parent, uint32_t i, uint32_t end)
{
	Masks *masks = walk->masks;
	Machine *machine = &masks->format->machine;
	const uint32_t *words = interned(&machine->frames, frame, NULL);
	const Language *language = letters_language(machine, words);
	bool is_text = words[0] == FRAME_TEXT || words[0] == FRAME_RAW,
		 is_exit = parent == walk->exit_cell && words[0] != FRAME_KEY;
	LettersPlace at[256];
	uint32_t states[256], behind = STATE_DEAD; /* of simple places the state alone is kept */
	bool is_simple[256];

	at[walk->nodes[i].depth - 1] = letters_place(words);
	states[walk->nodes[i].depth - 1] = at[walk->nodes[i].depth - 1].state;
	is_simple[walk->nodes[i].depth - 1] = letters_is_simple(&at[walk->nodes[i].depth - 1]);
	while (i < end)
	{
		const TrieNode *node = &walk->nodes[i];
		uint32_t depth = node->depth, state = states[depth - 1];
		LettersStep step;

		if (is_simple[depth - 1] && letters_is_letter(node->byte, is_text))
		{
			step = letters_step_simple(language, is_text, &state, node->byte);
			is_simple[depth] = true;
		}
		else
		{
			at[depth] = is_simple[depth - 1] ? (LettersPlace){.state = state, .max = NO_LIMIT} : at[depth - 1];
			step = letters_step(machine, language, words, &at[depth], node->byte);
			state = at[depth].state;
			is_simple[depth] = letters_is_simple(&at[depth]);
		}
		states[depth] = state;
		if (step == LETTERS_DEAD)
		{
			i += node->subtree;
			continue;
		}
		if (node->token != VOCABULARY_NO_TOKEN && (step != LETTERS_END || is_exit))
			masks->got[masks->n_got++] = node->token;
		if (step == LETTERS_BOTH || (step == LETTERS_END && is_exit))
			note_exit(walk, i);
		else if (step == LETTERS_END)
		{
			/* the same state wherever it ends */
			if (behind == STATE_DEAD)
				behind =
					state_behind(machine, words,
								 is_simple[depth - 1] ? &(LettersPlace){.state = states[depth - 1], .max = NO_LIMIT}
													  : &at[depth - 1],
								 parent, node->byte);
			walk_from(walk, i, behind);
			if (pool_failed(machine->pool))
				return;
		}
		if (step == LETTERS_GO_ON && node->subtree >= MIN_SUBTREE &&
			(is_simple[depth] ? takes_all_simple(language, state, node) : takes_all_below(language, &at[depth], node)))
		{
			take_all_below(walk, i);
			step = LETTERS_END;
		}
		i += step == LETTERS_END ? node->subtree : 1;
	}
}

/* The nodes i … end - 1, by the words that go on so. */
static void
walk_words(const Walk *walk, uint32_t frame, uint32_t parent, uint32_t i, uint32_t end)
{
	Masks *masks = walk->masks;
	Machine *machine = &masks->format->machine;
	const uint32_t *words = interned(&machine->frames, frame, NULL);
	WordsPlace at[256];
	uint32_t next[256], states[256];

	at[walk->nodes[i].depth - 1] = words_place(machine, words);
	next[walk->nodes[i].depth - 1] = at[walk->nodes[i].depth - 1].first;
	while (i < end && !pool_failed(machine->pool))
	{
		const TrieNode *node = &walk->nodes[i];
		uint32_t depth = node->depth;
		WordsStep step;

		at[depth] = at[depth - 1];
		step = words_step(&at[depth], &next[depth - 1], node->byte);
		next[depth] = at[depth].first;
		/* a word that nothing comes behind */
		if (step == WORDS_END && parent == walk->exit_cell && at[depth].first == at[depth].last &&
			at[depth].n_whole == 1 && at[depth].pick->words[at[depth].first - 1].n_frames == 0)
			note_exit(walk, i);
		else if (step == WORDS_END)
		{
			uint32_t made[5] = {FRAME_PICK, words[1], at[depth - 1].first, at[depth - 1].last, at[depth - 1].depth};

			states[depth - 1] = machine_state_of_frame(machine, frame_of_words(machine, made, 5), parent);
			walk_states(walk, i, i + node->subtree, states);
			i += node->subtree;
			continue;
		}
		if (step != WORDS_DEAD && node->token != VOCABULARY_NO_TOKEN)
			masks->got[masks->n_got++] = node->token;
		i += step == WORDS_GO_ON ? 1 : node->subtree;
	}
}

/* Walk through a trie from the nodes of a set on. */
static void
walk(Masks *masks, uint32_t frame, uint32_t exit_cell, uint32_t entries, const VocabularySlice *slice)
{
	Machine *machine = &masks->format->machine;
	Walk walk = {masks, slice ? slice->others.nodes : masks->vocabulary->all.nodes, slice, exit_cell};
	uint32_t at[256], n_entries, start = machine_state_of_frame(machine, frame, exit_cell), inner, parent;
	const uint32_t *set = interned(&masks->sets, entries, &n_entries);
	WalkKind kind = walk_kind(machine, start, &inner, &parent);

	masks->n_got = masks->n_left = 0;
	for (uint32_t k = 0; k < n_entries && !pool_failed(machine->pool); k++)
	{
		uint32_t first = set[k] + 1, end = set[k] + walk.nodes[set[k]].subtree;

		at[walk.nodes[set[k]].depth] = start;
		if (first == end)
			continue;
		if (kind == WALK_LETTERS)
			walk_letters(&walk, inner, parent, first, end);
		else if (kind == WALK_WORDS)
			walk_words(&walk, inner, parent, first, end);
		else
			walk_states(&walk, first, end, at);
	}
}

/* Is a whole token possible at a place, none of whose letters ends it? */
static bool
takes_token(Machine *machine, const Language *language, const uint32_t *words, LettersPlace place, ByteSpan token)
{
	LettersStep step = LETTERS_GO_ON;

	for (size_t i = 0; i < token.length && step != LETTERS_DEAD; i++)
		step = letters_step(machine, language, words, &place, (unsigned char) token.data[i]);
	return step != LETTERS_DEAD;
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

/* What a frame takes of a slice's tokens without a walk. */
typedef struct Chosen
{
	const VocabularySlice *slice; /* NULL: nothing */
	uint32_t letters;
	bool is_exact;
	const VocabularySlice *walked; /* whose other tokens are to be walked through */
} Chosen;

static Chosen
choose_slice(const Masks *masks, uint32_t frame, uint32_t entries)
{
	const Machine *machine = &masks->format->machine;
	const uint32_t *words = interned(&machine->frames, frame, NULL);
	const Language *language = letters_language(machine, words);
	bool is_quoted = words[0] == FRAME_STRING || words[0] == FRAME_KEY;
	LettersPlace place;
	Chosen chosen = {0};

	/* of a language without end names that are used are never all there are */
	if (entries != ROOT_SET || !language)
		return chosen;
	place = letters_place(words);
	if (place.used != 0 && language->least_longest != NO_LIMIT)
		return chosen;
	for (int set = 0; set < N_SLICES; set++)
	{
		chosen.letters = free_letters(language, &place, (LetterSet) set, &chosen.is_exact);
		/* fewer would leave too many tokens that are to be looked at one by one */
		if (chosen.letters >= VOCABULARY_MAX_CHARACTERS || (chosen.letters > 0 && chosen.is_exact))
		{
			chosen.slice = &masks->vocabulary->slices[set];
			/* where only a quote ends it, plain tokens that have other letters are no way on */
			if (is_quoted && language->within[place.state] >> set & 1)
				chosen.walked = &masks->vocabulary->slices[LETTERS_PLAIN];
			else
				chosen.walked = chosen.slice;
			return chosen;
		}
	}
	return chosen;
}

/* The slice's tokens of at most so many letters, and those in it that are refused. */
static void
take_slice(Masks *masks, Piece *piece, uint32_t frame, const Chosen *chosen)
{
	const VocabularySlice *slice = chosen->slice;
	Machine *machine = &masks->format->machine;
	const uint32_t *words = interned(&machine->frames, frame, NULL);
	const Language *language = letters_language(machine, words);
	LettersPlace place = letters_place(words);
	WordList list = {0};

	if (chosen->letters <= VOCABULARY_MAX_CHARACTERS && chosen->is_exact)
	{
		piece->class = slice->up_to[chosen->letters];
		return;
	}
	piece->class = slice->bits;
	for (uint32_t i = 0; chosen->letters != NO_LIMIT && i < slice->n_longer; i++)
		if (slice->longer_characters[i] > chosen->letters &&
			(chosen->is_exact || !takes_token(machine, language, words, place, slice->longer[i])))
			list_add(&masks->pool, &list, slice->longer_tokens[i]);
	piece->n_removed = list.n;
	list_add_all(&masks->pool, &list, masks->got, masks->n_got);
	piece->list = list.at;
}

/* The piece of a frame, entered at a set of nodes. */
static const Piece *
piece_get(Masks *masks, uint32_t frame, uint32_t exit_cell, uint32_t entries)
{
	uint32_t words[3] = {frame, exit_cell, entries}, key = intern(&masks->pool, &masks->keys, words, 3, NULL), index;
	Chosen chosen;
	Piece piece = {0};
	WordList list = {0};

	if (map_find(&masks->piece_of, key, &index))
		return &masks->pieces[index];
	chosen = choose_slice(masks, frame, entries);
	walk(masks, frame, exit_cell, entries, chosen.walked);
	if (pool_failed(&masks->format->pool) ||
		!pool_grow(&masks->pool, &masks->pieces, masks->n_pieces, &masks->pieces_capacity, sizeof *masks->pieces))
		return NULL;
	piece.exits = intern(&masks->pool, &masks->sets, masks->left, masks->n_left, NULL);
	piece.n = masks->n_got;
	if (chosen.slice)
		take_slice(masks, &piece, frame, &chosen);
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
	if (piece->n > 0)
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
		/* depth makes no difference yet where no token goes down to where nothing may begin */
		bool is_deep = depth + machine->max_height + masks->vocabulary->n_brackets >= MACHINE_MAX_DEPTH;
		uint32_t few = machine_frame_for_mask(machine, words[0], masks->vocabulary->all.nodes[0].height);
		const Piece *piece = piece_get(masks, few, CELL_EXIT(is_deep ? depth : 0), entries);

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

/* Note the tokens of a node and below it whose bytes the machine does not take, behind a state. */
static void
refuse_below(Masks *masks, Sum *sum, uint32_t top, FormatState behind)
{
	Machine *machine = &masks->format->machine;
	const TrieNode *nodes = masks->vocabulary->all.nodes;
	uint32_t at[257], end = top + nodes[top].subtree;

	at[nodes[top].depth] = behind;
	for (uint32_t i = top; i < end && !pool_failed(machine->pool); i++)
	{
		uint32_t before = i == top ? STATE_DEAD : at[nodes[i].depth - 1];

		if (i != top)
			at[nodes[i].depth] = machine_step(machine, before, nodes[i].byte);
		if (at[nodes[i].depth] == STATE_DEAD && nodes[i].token != VOCABULARY_NO_TOKEN)
			list_add(&masks->pool, &sum->list, nodes[i].token);
	}
}

/* The node of some bytes, or 0. */
static uint32_t
find_node(const Trie *trie, const char *bytes, uint32_t n)
{
	uint32_t at = 0;

	for (uint32_t i = 0; i < n; i++)
	{
		uint32_t child = at + 1, end = at + trie->nodes[at].subtree;

		while (child < end && trie->nodes[child].byte != (uint8_t) bytes[i])
			child += trie->nodes[child].subtree;
		if (child >= end)
			return 0;
		at = child;
	}
	return at;
}

/* A free text: the tokens that complete a word which opens a call, and go on as no call does. frame: where it is. */
static const TokenMask *
free_mask(Masks *masks, FormatState state, const uint32_t *frame)
{
	Machine *machine = &masks->format->machine;
	const Pick *pick = machine->picks[frame[1]];
	const char *there = frame[3] ? pick->words[frame[2]].text : "";
	const TokenMask *made;
	Sum sum = {0};

	for (uint32_t i = 0; i < pick->n; i++)
		for (uint32_t n = 0; n <= frame[3] && n < pick->words[i].length; n++)
		{
			const PickWord *word = &pick->words[i];
			uint32_t node;

			if (n && memcmp(there + frame[3] - n, word->text, n) != 0)
				continue;
			node = find_node(&masks->vocabulary->all, word->text + n, word->length - n);
			if (node)
				refuse_below(masks, &sum, node, machine_take(machine, state, word->text + n, word->length - n));
		}
	for (uint32_t i = 0; i < masks->vocabulary->n_hidden; i++)
	{
		const char *bytes = masks->vocabulary->hidden_bytes[i];

		if (machine_take(machine, state, bytes, strlen(bytes)) == STATE_DEAD)
			list_add(&masks->pool, &sum.list, masks->vocabulary->hidden[i]);
	}
	if (pool_failed(machine->pool))
		return NULL;
	made = finish_mask(masks, state, &sum);
	if (made)
		masks->masks[masks->n_masks - 1].is_free = true;
	return made;
}

const TokenMask *
masks_get(Masks *masks, FormatState state)
{
	const Machine *machine = &masks->format->machine;
	Sum sum = {0};
	uint32_t n, index;
	const uint32_t *cells;

	masks->was_asked = true;
	if (map_find(&masks->composed, state, &index))
		return &masks->masks[index];
	masks->format->pool.work = 0;
	masks->pool.work = 0;
	if (masks->format->walk->tokens)
	{
		masks->n_got = masks->format->walk->tokens(masks->format, masks->vocabulary, state, masks->got);
		list_add_all(&masks->pool, &sum.list, masks->got, masks->n_got);
		return finish_mask(masks, state, &sum);
	}
	cells = interned(&machine->states, state, &n);
	for (uint32_t i = 0; i < n; i++)
	{
		const uint32_t *words = cells[i] < N_SPECIAL_CELLS ? NULL : interned(&machine->cells, cells[i], NULL);
		const uint32_t *frame = words ? interned(&machine->frames, words[0], NULL) : NULL;

		if (frame && frame[0] == FRAME_FREE)
			return free_mask(masks, state, frame);
	}
	for (uint32_t i = 0; i < n; i++)
		if (!add_cell_pieces(masks, &sum, cells[i]))
			return NULL;
	return finish_mask(masks, state, &sum);
}
