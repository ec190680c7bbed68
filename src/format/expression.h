/*
 * expression.h - regular languages over code points, closed under and, or and not; by Brzozowski's derivatives.
 *
 * An expression is interned in a form in which trivially equal ones are the same (lists sorted, flattened), so that
 * derivatives are finitely many and states of an automaton are expressions. "Nullable" means that the empty text
 * belongs to the language.
 *
 * Anchors are letters of their own: a text is written with many of them before and behind it, of which a pattern that
 * may stand anywhere takes as many as it wants. EXPRESSION_STRIP(e) are the texts whose writing belongs to e behind the
 * letters of its beginning.
 */
#ifndef QWEN_FORMAT_EXPRESSION_H
#define QWEN_FORMAT_EXPRESSION_H

#include "pool.h"

#define MAX_CODE_POINT 0x10FFFFu
#define LETTER_BEGIN 0x110000u
#define LETTER_END 0x110001u
#define MAX_EXPRESSIONS 131072u

typedef enum ExpressionKind
{
	EXPRESSION_NONE,  /* no text; number 0 */
	EXPRESSION_EMPTY, /* the empty text; number 1 */
	EXPRESSION_ALL,   /* any text, with any letters; number 2 */
	EXPRESSION_CLASS, /* one of these letters: lo, hi, lo, hi … in order */
	EXPRESSION_CAT,
	EXPRESSION_OR,
	EXPRESSION_AND,
	EXPRESSION_NOT,
	EXPRESSION_REPEAT, /* a, min, max (NO_LIMIT) */
	EXPRESSION_STRIP,
} ExpressionKind;

#define E_NONE 0u
#define E_EMPTY 1u
#define E_ALL 2u

typedef struct Expressions
{
	Pool *pool;
	Interner interner;
	NumberMap derivatives;
} Expressions;

extern void expressions_open(Expressions *e, Pool *pool);

/* Ranges lo, hi … in any order, that may overlap. */
extern uint32_t expression_class(Expressions *e, const uint32_t *ranges, uint32_t n_words);
extern uint32_t expression_range(Expressions *e, uint32_t lo, uint32_t hi);
/* All code points that are not in the ranges of a class (or of E_NONE). */
extern uint32_t expression_invert(Expressions *e, uint32_t class_);
extern uint32_t expression_cat(Expressions *e, uint32_t a, uint32_t b);
extern uint32_t expression_or(Expressions *e, uint32_t a, uint32_t b);
extern uint32_t expression_or_all(Expressions *e, const uint32_t *parts, uint32_t n);
extern uint32_t expression_and(Expressions *e, uint32_t a, uint32_t b);
extern uint32_t expression_not(Expressions *e, uint32_t a);
extern uint32_t expression_repeat(Expressions *e, uint32_t a, uint32_t min, uint32_t max);
extern uint32_t expression_strip(Expressions *e, uint32_t a);

/* The text, as code points of valid UTF-8. */
extern uint32_t expression_text(Expressions *e, const char *text, size_t length);

/* What may follow after a letter. */
extern uint32_t expression_derive(Expressions *e, uint32_t a, uint32_t letter);
/* What is left after as many letters of one kind of anchor as make a difference. */
extern uint32_t expression_derive_anchors(Expressions *e, uint32_t a, uint32_t letter);
extern bool expression_is_nullable(const Expressions *e, uint32_t a);

static inline ExpressionKind
expression_kind(const Expressions *e, uint32_t a)
{
	return (ExpressionKind) (interned(&e->interner, a, NULL)[0] & 0xFF);
}

#endif
