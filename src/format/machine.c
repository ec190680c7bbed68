/*
 * machine.c - see machine.h: frames, cells, states and steps. What frames can begin with is in openings.c and
 * expansions.c.
 */
#include "machine.h"

#include <string.h>

#include "completions.h"
#include "costs.h"
#include "expansions.h"
#include "frames.h"
#include "keys.h"
#include "letter_frames.h"
#include "word_frames.h"

/* What a step has found of the next state. */
typedef struct Found
{
	Machine *machine;
	WordList cells;
} Found;

static void push_frame(Found *found, uint32_t frame, uint32_t parent);
static void finish_word(Found *found, const PickWord *word, uint32_t parent);

static uint32_t
cell_make(Machine *machine, uint32_t frame, uint32_t parent)
{
	uint32_t words[2] = {frame, parent}, cell;
	FrameKind kind = (FrameKind) interned(&machine->frames, frame, NULL)[0];
	bool is_new;

	cell = intern(machine->pool, &machine->cells, words, 2, &is_new);
	if (is_new && pool_grow(machine->pool, &machine->cell_depths, cell, &machine->cell_depths_capacity,
							sizeof *machine->cell_depths))
		machine->cell_depths[cell] =
			machine->cell_depths[parent] + (kind == FRAME_OBJECT || kind == FRAME_ARRAY || kind == FRAME_KEY);
	return cell;
}

void
machine_open(Machine *machine, Formulas *formulas, bool is_compact)
{
	*machine = (Machine){.pool = formulas->pool, .formulas = formulas};
	machine->separator[0] = ',';
	machine->colon[0] = ':';
	machine->separator[1] = machine->colon[1] = is_compact ? 0 : ' ';
	/* the special cells, with the depth at which they are */
	for (uint32_t i = 0; i < N_SPECIAL_CELLS && !pool_failed(machine->pool); i++)
	{
		uint32_t words[2] = {UINT32_MAX, i}, cell = intern(machine->pool, &machine->cells, words, 2, NULL);

		if (pool_grow(machine->pool, &machine->cell_depths, cell, &machine->cell_depths_capacity,
					  sizeof *machine->cell_depths))
			machine->cell_depths[cell] = i ? i - 1 : 0;
	}
	(void) intern(machine->pool, &machine->states, NULL, 0, NULL);
	(void) intern(machine->pool, &machine->key_texts, NULL, 0, NULL);
	(void) intern(machine->pool, &machine->key_lists, NULL, 0, NULL);
}

static void
add_cell(Found *found, uint32_t cell)
{
	list_add(found->machine->pool, &found->cells, cell);
}

/* A frame is done: what is below it comes. */
static void
pop_to(Found *found, uint32_t cell)
{
	const uint32_t *words;

	if (cell < N_SPECIAL_CELLS)
	{
		add_cell(found, cell);
		return;
	}
	words = interned(&found->machine->cells, cell, NULL);
	push_frame(found, words[0], words[1]);
}

/* A frame comes above a cell; one that has not begun is what it can begin with. */
static void
push_frame(Found *found, uint32_t frame, uint32_t parent)
{
	Machine *machine = found->machine;
	FrameKind kind = (FrameKind) interned(&machine->frames, frame, NULL)[0];
	const Expansion *expansion;

	if (kind != FRAME_VALUE && kind != FRAME_OBJECT && kind != FRAME_ARRAY && kind != FRAME_WORDS && kind != FRAME_BARE)
	{
		add_cell(found, cell_make(machine, frame, parent));
		/* a text that is free may end anywhere */
		if (kind == FRAME_FREE)
			pop_to(found, parent);
		return;
	}
	/* the parts of an object are as deep as it itself is, one deeper than what it stands in */
	expansion =
		expansion_of(machine, frame,
					 MACHINE_MAX_DEPTH - machine->cell_depths[parent] - (kind == FRAME_OBJECT || kind == FRAME_ARRAY));
	for (uint32_t i = 0; expansion && i < expansion->n_empty; i++)
		finish_word(found, &machine->picks[expansion->pick]->words[i], parent);
	if (expansion && expansion->frame != NO_FRAME)
		add_cell(found, cell_make(machine, expansion->frame, parent));
}

/* ---- steps of frames ---- */

/* A word has come to its end. */
static void
finish_word(Found *found, const PickWord *word, uint32_t parent)
{
	if (word->n_frames == 0)
	{
		pop_to(found, parent);
		return;
	}
	if (word->n_frames == 2)
		parent = cell_make(found->machine, word->frames[1], parent);
	push_frame(found, word->frames[0], parent);
}

void
machine_bytes(const Machine *machine, uint32_t state, uint64_t bytes[4])
{
	uint32_t n;
	const uint32_t *cells = interned(&machine->states, state, &n);

	memset(bytes, 0, 4 * sizeof *bytes);
	for (uint32_t i = 0; i < n; i++)
	{
		const uint32_t *frame;

		if (cells[i] < N_SPECIAL_CELLS)
			continue;
		frame = interned(&machine->frames, interned(&machine->cells, cells[i], NULL)[0], NULL);
		if (frame[0] == FRAME_PICK)
		{
			WordsPlace place = words_place(machine, frame);

			words_bytes(&place, bytes);
		}
		else if (frame[0] == FRAME_NUMBER)
			bytes[0] |= (uint64_t) 0x3FF << '0' | (uint64_t) 1 << '-' | (uint64_t) 1 << '.';
		else
			memset(bytes, 0xFF, 4 * sizeof *bytes);
	}
}

static void
step_pick(Found *found, const uint32_t *words, uint32_t parent, unsigned char byte)
{
	Machine *machine = found->machine;
	WordsPlace place = words_place(machine, words);
	uint32_t next_word = place.first;

	if (words_step(&place, &next_word, byte) == WORDS_DEAD)
		return;
	for (uint32_t i = place.n_whole; i > 0; i--)
		finish_word(found, &place.pick->words[place.first - i], parent);
	if (place.first < place.last)
	{
		uint32_t next[5] = {FRAME_PICK, words[1], place.first, place.last, place.depth};

		add_cell(found, cell_make(machine, frame_of_words(machine, next, 5), parent));
	}
}

static void
step_number(Found *found, const uint32_t *words, uint32_t parent, unsigned char byte)
{
	Machine *machine = found->machine;
	NumberPrefix prefix = frame_number_prefix(words);
	const NumberSet *set = machine->set_list[words[1]];

	if (!number_step(set, &prefix, (char) byte))
		return;
	add_cell(found, cell_make(machine, frame_of_number(machine, words[1], &prefix), parent));
	if (number_is_complete(set, &prefix))
		pop_to(found, parent);
}

/* A string, or a text. */
static void
step_letters(Found *found, const uint32_t *words, uint32_t parent, unsigned char byte)
{
	Machine *machine = found->machine;
	const Language *language = letters_language(machine, words);
	LettersPlace place = letters_place(words);
	LettersStep step = letters_step(machine, language, words, &place, byte);

	if (step == LETTERS_GO_ON || step == LETTERS_BOTH)
		add_cell(found, cell_make(machine, letters_frame(machine, words, &place), parent));
	if (step == LETTERS_END || step == LETTERS_BOTH)
		pop_to(found, parent);
}

/* The longest end of text that begins a word of a pick: which word, and how much of it. */
static uint32_t
longest_beginning(const Pick *pick, const char *text, uint32_t n, uint32_t *word)
{
	for (; n > 0; text++, n--)
		for (*word = 0; *word < pick->n; ++*word)
			if (pick->words[*word].length >= n && memcmp(pick->words[*word].text, text, n) == 0)
				return n;
	*word = 0;
	return 0;
}

static void
step_free(Found *found, const uint32_t *words, uint32_t parent, unsigned char byte)
{
	Machine *machine = found->machine;
	const Pick *pick = machine->picks[words[1]];
	char text[FREE_WORD_BYTES + 1];
	uint32_t next[4] = {FRAME_FREE, words[1], 0, 0};

	if (words[3])
		memcpy(text, pick->words[words[2]].text, words[3]);
	text[words[3]] = (char) byte;
	next[3] = longest_beginning(pick, text, words[3] + 1, &next[2]);
	if (next[3] && pick->words[next[2]].length == next[3])
		finish_word(found, &pick->words[next[2]], parent);
	else
		push_frame(found, frame_of_words(machine, next, 4), parent);
}

static void
step_key(Found *found, const uint32_t *words, uint32_t parent, unsigned char byte)
{
	Machine *machine = found->machine;
	uint32_t next[9], after[3];
	KeyStep step;

	memcpy(next, words, sizeof next);
	step = key_step(machine, next, byte, after);
	if (step == KEY_GOES_ON)
		add_cell(found, cell_make(machine, frame_of_words(machine, next, 9), parent));
	else if (step == KEY_ENDS)
	{
		/* a colon, the value, the rest of the object */
		parent = cell_make(machine, after[2], parent);
		parent = cell_make(machine, after[1], parent);
		push_frame(found, after[0], parent);
	}
}

/* ---- states ---- */

static uint32_t
state_make(Found *found)
{
	list_sort_unique(&found->cells);
	if (found->cells.n > MACHINE_MAX_CELLS)
		found->cells.n = MACHINE_MAX_CELLS;
	return pool_failed(found->machine->pool)
			   ? STATE_DEAD
			   : intern(found->machine->pool, &found->machine->states, found->cells.at, found->cells.n, NULL);
}

static void
step_cell(Found *found, uint32_t cell, unsigned char byte)
{
	const uint32_t *words, *frame;

	if (cell < N_SPECIAL_CELLS)
		return;
	words = interned(&found->machine->cells, cell, NULL);
	frame = interned(&found->machine->frames, words[0], NULL);
	switch ((FrameKind) frame[0])
	{
		case FRAME_PICK:
			step_pick(found, frame, words[1], byte);
			break;
		case FRAME_NUMBER:
			step_number(found, frame, words[1], byte);
			break;
		case FRAME_FREE:
			step_free(found, frame, words[1], byte);
			break;
		case FRAME_KEY:
			step_key(found, frame, words[1], byte);
			break;
		case FRAME_STRING:
		case FRAME_TEXT:
		case FRAME_RAW:
			step_letters(found, frame, words[1], byte);
			break;
		default:
			break;
	}
}

/* A step; one that leads nowhere is noted where the same may be asked again. */
static uint32_t
step(Machine *machine, uint32_t state, unsigned char byte, bool notes_dead)
{
	uint64_t key = (uint64_t) state << 9 | (uint64_t) machine->is_real << 8 | byte;
	Found found = {.machine = machine};
	uint32_t n, made;
	const uint32_t *cells;

	if (state == STATE_DEAD)
		return STATE_DEAD;
	if (map_find(&machine->steps, key, &made))
		return made;
	cells = interned(&machine->states, state, &n);
	for (uint32_t i = 0; i < n && !pool_failed(machine->pool); i++)
		step_cell(&found, cells[i], byte);
	made = state_make(&found);
	if (!pool_failed(machine->pool) && (made != STATE_DEAD || notes_dead))
		map_put(machine->pool, &machine->steps, key, made);
	return made;
}

uint32_t
machine_step(Machine *machine, uint32_t state, unsigned char byte)
{
	return step(machine, state, byte, true);
}

uint32_t
machine_only_step(Machine *machine, uint32_t state, unsigned char *byte)
{
	uint64_t bytes[4];
	uint32_t next = STATE_DEAD;

	machine_bytes(machine, state, bytes);
	machine->is_real = true;
	for (unsigned one = 0; one < 256; one++)
	{
		uint32_t to = bytes[one / 64] >> one % 64 & 1 ? step(machine, state, (unsigned char) one, false) : STATE_DEAD;

		if (to == STATE_DEAD)
			continue;
		if (next != STATE_DEAD)
		{
			next = STATE_DEAD;
			break;
		}
		next = to;
		*byte = (unsigned char) one;
	}
	machine->is_real = false;
	return next;
}

uint32_t
machine_take(Machine *machine, uint32_t state, const char *bytes, size_t n)
{
	machine->is_real = true;
	for (size_t i = 0; i < n && state != STATE_DEAD; i++)
		state = machine_step(machine, state, (unsigned char) bytes[i]);
	machine->is_real = false;
	return state;
}

bool
machine_is_complete(const Machine *machine, uint32_t state)
{
	uint32_t n;
	const uint32_t *cells = interned(&machine->states, state, &n);

	/* sorted, and the done cell has number 0 */
	return n > 0 && cells[0] == CELL_DONE;
}

bool
machine_is_over(const Machine *machine, uint32_t state)
{
	uint32_t n;

	(void) interned(&machine->states, state, &n);
	return n == 1 && machine_is_complete(machine, state);
}

bool
machine_is_free(const Machine *machine, uint32_t state)
{
	uint32_t n;
	const uint32_t *cells = interned(&machine->states, state, &n);

	for (uint32_t i = 0; i < n; i++)
		if (cells[i] >= N_SPECIAL_CELLS &&
			interned(&machine->frames, interned(&machine->cells, cells[i], NULL)[0], NULL)[0] == FRAME_FREE)
			return true;
	return false;
}

uint32_t
machine_start_of(Machine *machine, uint32_t frame, uint32_t beside)
{
	Found found = {.machine = machine};
	uint32_t n;
	const uint32_t *cells = interned(&machine->states, beside, &n);

	list_add_all(machine->pool, &found.cells, cells, n);
	push_frame(&found, frame, CELL_DONE);
	return state_make(&found);
}

uint32_t
machine_state_of_frame(Machine *machine, uint32_t frame, uint32_t exit_cell)
{
	Found found = {.machine = machine};

	push_frame(&found, frame, exit_cell);
	return state_make(&found);
}

/* ---- beginnings ---- */

static void
begin(Machine *machine, uint32_t frame)
{
	FrameCost cost = frame_cost(machine, frame);

	if (cost.bytes == NO_COST)
		pool_fail(machine->pool, STATUS_INVALID_ARGUMENT, "no value satisfies the schema");
	else if (cost.height > MACHINE_MAX_DEPTH)
		pool_fail(machine->pool, STATUS_TOO_LONG,
				  "the least value of the schema has %u arrays and objects in one another, the limit is %d",
				  cost.height, MACHINE_MAX_DEPTH);
	else
		machine->start = machine_state_of_frame(machine, frame, CELL_DONE);
}

void
machine_begin_value(Machine *machine, uint32_t conjunction)
{
	uint32_t words[2] = {FRAME_VALUE, conjunction};

	begin(machine, frame_of_words(machine, words, 2));
}

void
machine_begin_words(Machine *machine, const ByteSpan *texts, uint32_t n)
{
	uint32_t words[2] = {FRAME_WORDS, pick_of_texts(machine, texts, n)};

	begin(machine, frame_of_words(machine, words, 2));
}

void
machine_begin_text(Machine *machine, uint32_t expression)
{
	const Language *language = formula_language(machine->formulas, expression);
	uint32_t words[5] = {FRAME_TEXT, 0, 0, 0, 0};
	Found found = {.machine = machine};

	if (!language)
		return;
	if (language->start == 0)
	{
		pool_fail(machine->pool, STATUS_INVALID_ARGUMENT, "no text matches the pattern");
		return;
	}
	words[1] = language_index(machine, language);
	words[2] = language->start;
	push_frame(&found, frame_of_words(machine, words, 5), CELL_DONE);
	if (language->accepts[language->start])
		add_cell(&found, CELL_DONE);
	machine->start = state_make(&found);
}

uint32_t
machine_behind_blanks(Machine *machine)
{
	Found found = {.machine = machine};
	uint32_t n, words[2] = {FRAME_WORDS, 0};
	const uint32_t *cells;

	/* the line ends, and behind them the same frames: each cell of the start is one */
	cells = interned(&machine->states, machine->start, &n);
	for (uint32_t i = 0; i < n; i++)
		add_cell(&found, cells[i]);
	words[1] = pick_of_blanks(machine, cells, n);
	push_frame(&found, frame_of_words(machine, words, 2), CELL_DONE);
	return state_make(&found);
}

/* ---- completions ---- */

static uint32_t
add_cost(uint32_t a, uint32_t b)
{
	return a == NO_COST || b == NO_COST || a + b < a ? NO_COST : a + b;
}

static uint32_t
cell_cost(Machine *machine, uint32_t cell)
{
	uint32_t sum = 0;

	while (cell >= N_SPECIAL_CELLS)
	{
		const uint32_t *words = interned(&machine->cells, cell, NULL);

		sum = add_cost(sum, frame_cost(machine, words[0]).bytes);
		cell = words[1];
	}
	return sum;
}

/* The cell that is completed with the fewest bytes. */
static uint32_t
best_cell(Machine *machine, uint32_t state, uint32_t *cost)
{
	uint32_t n, best = CELL_DONE;
	const uint32_t *cells = interned(&machine->states, state, &n);

	*cost = NO_COST;
	for (uint32_t i = 0; i < n; i++)
	{
		uint32_t bytes = cell_cost(machine, cells[i]);

		if (bytes < *cost)
		{
			*cost = bytes;
			best = cells[i];
		}
	}
	return best;
}

uint32_t
machine_completion_bytes(Machine *machine, uint32_t state)
{
	uint32_t cost;

	(void) best_cell(machine, state, &cost);
	return cost;
}

unsigned char
machine_completion_next(Machine *machine, uint32_t state)
{
	uint32_t cost, cell = best_cell(machine, state, &cost);
	const uint32_t *words;
	unsigned char byte;

	if (cell < N_SPECIAL_CELLS)
		return 0;
	words = interned(&machine->frames, interned(&machine->cells, cell, NULL)[0], NULL);
	byte = frame_best_byte(machine, words);
	return byte;
}

uint32_t
machine_frame_for_mask(Machine *machine, uint32_t frame, uint32_t reach)
{
	uint32_t n, few[9];
	const uint32_t *words = interned(&machine->frames, frame, &n);
	FrameKind kind = (FrameKind) words[0];

	if (kind == FRAME_KEY && words[8] != NO_KEY)
	{
		memcpy(few, words, 9 * sizeof *few);
		few[8] = NO_KEY;
		return frame_of_words(machine, few, 9);
	}
	if (kind == FRAME_STRING || kind == FRAME_RAW)
	{
		const Language *language = machine->formulas->language_list[words[1]];
		uint32_t longest = language->most_longest, shortest = language->max_shortest;
		/* a token does not see further, and what has an end is over before */
		uint32_t far = reach + 2 + (longest > shortest ? longest : shortest);

		if ((words[4] == NO_LIMIT || words[4] < far + words[3]) && words[3] < far)
			return frame;
		memcpy(few, words, 7 * sizeof *few);
		if (words[4] != NO_LIMIT && words[4] >= far + words[3])
			few[4] = NO_LIMIT;
		if (words[3] >= far && few[4] == NO_LIMIT)
			few[3] = far;
		return frame_of_words(machine, few, 7);
	}
	return frame;
}
