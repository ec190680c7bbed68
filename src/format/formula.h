/*
 * formula.h - what a schema says of one type of values, as a formula of and and or over atoms; closed under not.
 *
 * A literal is a node of the schema or its negation; a conjunction is a set of literals. The formula of a literal for a
 * type is made of atoms about the value itself (a bound, a pattern) or about its parts: member p satisfies a literal,
 * all other members do, some other member does. Negation goes down to the atoms, each of which has an atom or two for
 * its opposite. So oneOf, if, dependencies, propertyNames, not and unevaluated* need nothing of their own below here.
 *
 * Formats of strings are not known exactly, but from below (what is made) and from above. An atom of one has both, and
 * so has its opposite; values are made of what is below, and that no value satisfies a formula is asked above.
 */
#ifndef QWEN_FORMAT_FORMULA_H
#define QWEN_FORMAT_FORMULA_H

#include "schema.h"

/* Types of values as formulas tell them apart. */
typedef enum ValueType
{
	VALUE_NULL,
	VALUE_FALSE,
	VALUE_TRUE,
	VALUE_NUMBER,
	VALUE_STRING,
	VALUE_ARRAY,
	VALUE_OBJECT,
	N_VALUE_TYPES,
} ValueType;

typedef enum FormulaKind
{
	FORMULA_FALSE, /* number 0 */
	FORMULA_TRUE,  /* number 1 */
	FORMULA_AND,
	FORMULA_OR,
	/* numbers; a decimal is four words */
	ATOM_LOWER,
	ATOM_UPPER,
	ATOM_STEP,
	ATOM_NO_STEP,
	ATOM_WHOLE, /* an integer, which is written without a point */
	ATOM_VALUES,
	ATOM_NO_VALUES,
	/* strings */
	ATOM_LENGTH,  /* min, max, LengthSide */
	ATOM_PATTERN, /* an expression, one that holds it */
	ATOM_WORDS,   /* texts, sorted */
	ATOM_NO_WORDS,
	/* objects */
	ATOM_MEMBER,    /* name, literal, may it be absent */
	ATOM_REST,      /* scope, literal: all members of a scope */
	ATOM_SOME,      /* scope, literal: at least one */
	ATOM_NAMES,     /* literal: all names */
	ATOM_SOME_NAME, /* literal */
	ATOM_COUNT,     /* min, max */
	/* arrays */
	ATOM_ITEM,      /* index, literal: if there is one */
	ATOM_HAS_ITEM,  /* index, literal: there is one, and it is so */
	ATOM_ITEMS,     /* index, literal: all from there on */
	ATOM_SOME_ITEM, /* index, literal */
	ATOM_ITEM_COUNT,
	ATOM_CONTAINS, /* literal, min, max */
	ATOM_UNIQUE,   /* none of some values twice: literal of all, how many may still come, their literals, the others' */
} FormulaKind;

/* A length that goes with a format is one that texts above may break. */
typedef enum LengthSide
{
	LENGTH_EXACT,
	LENGTH_BELOW, /* above: all lengths */
	LENGTH_ABOVE, /* below: none */
} LengthSide;

#define F_FALSE 0u
#define F_TRUE 1u
#define C_TRUE 0u  /* the conjunction of nothing */
#define C_FALSE 1u /* no value satisfies it */

#define LITERAL(node, negated) ((node) << 1 | (uint32_t) (negated))
#define LITERAL_NODE(literal) ((literal) >> 1)

/* A scope of members: those that match one pattern, or those that neither are named here nor match a pattern here. */
#define SCOPE_PATTERN 1u /* words: this, the expression */
#define SCOPE_OTHERS 0u  /* words: this, number of names, names …, expressions … */

typedef struct Formulas Formulas;

/* What the keywords of a node say of one type of values (schema_formula.h). */
typedef uint32_t NodeFormula(Formulas *formulas, uint32_t node, ValueType type);

struct Formulas
{
	NodeFormula *of_node;
	Schema *schema;
	Pool *pool;
	Interner formulas, conjunctions, scopes;
	NumberMap of_literal, negations, is_open, of_conjunction, emptiness, reduced;
	NumberMap languages; /* of expressions: index */
	struct Language **language_list;
	uint32_t n_languages, language_capacity;
	int depth;
	bool is_above; /* texts are asked for from above */
	/* while it is asked whether alternatives exclude each other: what is being made cannot be asked */
	bool is_probing, probe_failed;
};

extern void formulas_open(Formulas *formulas, Schema *schema, NodeFormula *of_node);

static inline FormulaKind
formula_kind(const Formulas *formulas, uint32_t formula)
{
	return (FormulaKind) interned(&formulas->formulas, formula, NULL)[0];
}

/* The words behind the kind. */
static inline const uint32_t *
formula_words(const Formulas *formulas, uint32_t formula, uint32_t *n)
{
	const uint32_t *words = interned(&formulas->formulas, formula, n);

	if (n)
		(*n)--;
	return words + 1;
}

extern uint32_t formula_atom(Formulas *formulas, FormulaKind kind, const uint32_t *words, uint32_t n);
extern uint32_t formula_atom3(Formulas *formulas, FormulaKind kind, uint32_t a, uint32_t b, uint32_t c, uint32_t n);
extern uint32_t formula_and(Formulas *formulas, const uint32_t *parts, uint32_t n);
extern uint32_t formula_or(Formulas *formulas, const uint32_t *parts, uint32_t n);
extern uint32_t formula_and2(Formulas *formulas, uint32_t a, uint32_t b);
extern uint32_t formula_or2(Formulas *formulas, uint32_t a, uint32_t b);
extern uint32_t formula_negate(Formulas *formulas, uint32_t formula);

/* Must an object have a member of this name, or must it not? */
extern uint32_t formula_has_member(Formulas *formulas, uint32_t name, bool wanted);

extern uint32_t scope_of_pattern(Formulas *formulas, uint32_t expression);
extern uint32_t scope_of_others(Formulas *formulas, const WordList *names, const WordList *expressions);

/* The automaton of an expression; NULL after a failure. */
extern struct Language *formula_language(Formulas *formulas, uint32_t expression);
extern bool expression_matches(Formulas *formulas, uint32_t expression, ByteSpan text);

static inline Decimal
decimal_of_words(const uint32_t *words)
{
	return (Decimal) ((UnsignedDecimal) words[0] | (UnsignedDecimal) words[1] << 32 | (UnsignedDecimal) words[2] << 64 |
					  (UnsignedDecimal) words[3] << 96);
}

static inline void
decimal_to_words(Decimal value, uint32_t words[4])
{
	for (int i = 0; i < 4; i++)
		words[i] = (uint32_t) ((UnsignedDecimal) value >> 32 * i);
}

#endif
