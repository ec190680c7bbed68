/*
 * machine.h - what may come next in a text of a format, byte by byte.
 *
 * A frame is a place inside of one construct (a word of several, a number, a string, a name; or a value, object or
 * array that has yet to begin). A cell is a frame above a cell: what comes when the frame is done. A state is a set of
 * cells: ways to go on that run side by side until the text tells them apart. All are interned, so that equal states
 * are one number, and what follows from a state by a byte is found out once for all requests of the format.
 *
 * Every cell of a state can be completed: what could not was left out when it would have begun.
 */
#ifndef QWEN_FORMAT_MACHINE_H
#define QWEN_FORMAT_MACHINE_H

#include "containers.h"
#include "letters.h"

#define MACHINE_MAX_DEPTH 64  /* arrays and objects in one another */
#define MACHINE_MAX_CELLS 256 /* of a state; further ways are not taken */
#define MACHINE_MAX_KEYS 1024 /* names of one object that the schema does not have */
#define NO_COST UINT32_MAX
#define CELL_DONE 0u /* below the first frame: the text is complete */
#define CELL_EXIT(depth) (1u + (depth))
#define N_SPECIAL_CELLS (2u + MACHINE_MAX_DEPTH)
#define STATE_DEAD 0u
#define FREE_WORD_BYTES 16 /* of a word that ends a free text, at most */

typedef enum FrameKind
{
	FRAME_VALUE,  /* conjunction */
	FRAME_OBJECT, /* plan, formula, index of the next name, is it the first member, names used */
	FRAME_ARRAY,  /* formula, is it the first item */
	FRAME_PICK,   /* pick, first, last, depth: one of some words, of which so many bytes are there */
	FRAME_NUMBER, /* set, phase, 4 words of digits */
	FRAME_STRING, /* language, state, min, max, letter prefix (2) */
	FRAME_KEY,    /* rest, state, letter prefix (2), names used, first, last, letters so far */
	FRAME_TEXT,   /* language, state, letter prefix (2) */
	FRAME_WORDS,  /* pick: not begun */
	FRAME_RAW,    /* as a string, but without quotes and escapes: what stands behind it ends it */
	FRAME_BARE,   /* conjunction, kinds (parameters.h): not begun; a value of which strings are as they are */
	FRAME_FREE,   /* pick, and of one of its words so many bytes: any text until a word comes */
} FrameKind;

/* A word, and the frames that come after it (the first one on top). */
typedef struct PickWord
{
	const char *text;
	uint32_t length;
	uint32_t frames[2];
	uint8_t n_frames;
} PickWord;

typedef struct Pick
{
	uint32_t n, capacity;
	PickWord *words; /* sorted */
} Pick;

#define NO_FRAME UINT32_MAX

/* What a frame that has not begun can begin with: words of a pick, of which the first have no bytes (what stands behind
 * them comes at once), and the others are a frame. */
typedef struct Expansion
{
	uint32_t pick, n_empty, frame;
	uint32_t max_height;
} Expansion;

typedef struct FrameCost
{
	uint32_t bytes, height; /* of the shortest completion; of the flattest */
	uint32_t round;
	bool is_final;
} FrameCost;

typedef struct Machine
{
	Pool *pool;
	Formulas *formulas;
	char separator[3], colon[3]; /* between members and items; behind a name */
	Interner frames, cells, states, rests, key_texts, key_lists;
	NumberMap steps, expansions, plans, raw_picks, other_kinds;
	WordList touched; /* frames of the round at hand */
	FrameCost *costs;
	uint32_t n_costs, costs_capacity;
	uint32_t *cell_depths, cell_depths_capacity;
	uint32_t round;
	bool in_rounds, changed, has_colon, is_real; /* is_real: names are kept */
	uint32_t colon_frame;
	int depth;
	uint32_t max_height;
	Pick **picks;
	uint32_t n_picks, picks_capacity;
	Expansion **expansion_list;
	uint32_t n_expansions, expansions_capacity;
	ObjectPlan **plan_list;
	uint32_t n_plans, plans_capacity;
	KeyKinds **kind_lists;
	uint32_t n_kind_lists, kind_lists_capacity;
	const NumberSet **set_list;
	uint32_t n_sets, sets_capacity;
	uint32_t start;
} Machine;

extern void machine_open(Machine *machine, Formulas *formulas, bool is_compact);

/* The format's beginning: a value of a conjunction, one of some words, or a text of an expression. STATE_DEAD, and a
 * failure noted, where there is none. */
extern void machine_begin_value(Machine *machine, uint32_t conjunction);
extern void machine_begin_words(Machine *machine, const ByteSpan *words, uint32_t n);
extern void machine_begin_text(Machine *machine, uint32_t expression);

/* The state of a frame at the beginning; with the cells of another state beside it. */
extern uint32_t machine_start_of(Machine *machine, uint32_t frame, uint32_t beside);

/* Is a text free there: may anything come? */
extern bool machine_is_free(const Machine *machine, uint32_t state);

/* The state after a byte. */
extern uint32_t machine_step(Machine *machine, uint32_t state, unsigned char byte);

/* The only state that a state leads to, and by which byte, with names kept; STATE_DEAD: there are several, or none.
 * What leads nowhere is not noted: it is asked once at each place of an answer, and would take more than all else. */
extern uint32_t machine_only_step(Machine *machine, uint32_t state, unsigned char *byte);

/* The bytes, as bits, of which some may come next; no others do. */
extern void machine_bytes(const Machine *machine, uint32_t state, uint64_t bytes[4]);

/* The state after bytes of the text, in which names are kept; STATE_DEAD: no text of the format goes on so. */
extern uint32_t machine_take(Machine *machine, uint32_t state, const char *bytes, size_t n);

/* The same start, behind up to two line ends. */
extern uint32_t machine_behind_blanks(Machine *machine);

extern bool machine_is_complete(const Machine *machine, uint32_t state);
extern bool machine_is_over(const Machine *machine, uint32_t state); /* and nothing can follow */

/* About how many bytes a state's shortest completion has: never less than the tokens that it takes. */
extern uint32_t machine_completion_bytes(Machine *machine, uint32_t state);

/* The next byte of a short completion. 0: the state is complete. */
extern unsigned char machine_completion_next(Machine *machine, uint32_t state);

/* The state of one frame above an exit: for masks. And the frame that takes the same tokens, which have at most reach
 * bytes, as one of a cell. */
extern uint32_t machine_state_of_frame(Machine *machine, uint32_t frame, uint32_t exit_cell);
extern uint32_t machine_frame_for_mask(Machine *machine, uint32_t frame, uint32_t reach);

#endif
