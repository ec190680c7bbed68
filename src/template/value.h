/*
 * value.h - the values that templates compute with, and Python's rules for truth, equality, order and printing.
 *
 * Values are small and copied; lists, dictionaries and texts are shared and, namespaces apart, never change once a
 * template sees them (as in Jinja's immutable sandbox). Memory: the workspace's arena.
 */
#ifndef QWEN_TEMPLATE_VALUE_H
#define QWEN_TEMPLATE_VALUE_H

#include "text.h"

typedef enum ValueKind
{
	VALUE_MISSING, /* an argument that was not given; templates never see it */
	VALUE_UNDEFINED,
	VALUE_NONE,
	VALUE_BOOL,
	VALUE_INT,
	VALUE_FLOAT,
	VALUE_TEXT,
	VALUE_LIST, /* every kind of sequence, see ListKind */
	VALUE_DICT,
	VALUE_NAMESPACE,
	VALUE_LOOP,
	VALUE_MACRO,
	VALUE_FUNCTION,
	VALUE_METHOD,
} ValueKind;

/* What Python would call the sequence: they print, measure and subscript differently. */
typedef enum ListKind
{
	LIST_PLAIN,
	LIST_TUPLE,
	LIST_RANGE,
	LIST_KEYS, /* dict.keys() and so on: have a length, cannot be subscripted */
	LIST_VALUES,
	LIST_ITEMS,
	LIST_ITERATOR, /* what map, select and reverse give: always true, has no length, can be read once */
} ListKind;

struct Loop;
struct Macro;
struct Method;

typedef struct Value
{
	ValueKind kind;
	union
	{
		bool boolean;
		int64_t integer;
		double number;
		Text *text;
		struct List *list;
		struct Dict *dict; /* also of a namespace */
		struct Loop *loop;
		const struct Macro *macro;
		const struct Method *method;
		int function;        /* its place in the table of operations */
		const Text *missing; /* of UNDEFINED: the name that was asked for, or NULL */
	} as;
	const Text *digits; /* of a FLOAT from JSON that neither a double nor 64 bits hold: as it was written; else NULL */
} Value;

typedef struct List
{
	ListKind kind;
	size_t n, capacity;
	Value *items;
	size_t position; /* of an iterator: items already read */
} List;

typedef struct DictEntry
{
	Value key;
	Value value;
} DictEntry;

typedef struct Dict
{
	size_t n, capacity;
	DictEntry *entries; /* in order of insertion */
} Dict;

extern Value value_undefined(const Text *name);
extern Value value_none(void);
extern Value value_bool(bool boolean);
extern Value value_int(int64_t integer);
extern Value value_float(double number);
extern Value value_text(Text *text);
extern Value value_list(List *list);

extern List *list_create(Workspace *work, ListKind kind, size_t capacity);
extern bool list_push(Workspace *work, List *list, Value item);
extern Dict *dict_create(Workspace *work, size_t capacity);

/* Append an entry whose key is known to be new. */
extern bool dict_append(Workspace *work, Dict *dict, Value key, Value value);

/* Can Python hash the value, so that it can be a key? A tuple only when its items can be. */
extern bool value_is_key(Workspace *work, Value value, bool *is_key);

/* Set or append; fails for what cannot be a key. */
extern bool dict_set(Workspace *work, Dict *dict, Value key, Value value);

/* *found points to the value, or is NULL. */
extern bool dict_find(Workspace *work, const Dict *dict, Value key, Value **found);
extern bool dict_find_text(Workspace *work, const Dict *dict, const Text *key, Value **found);

/* keys(), values() or items() of a dictionary. */
extern List *dict_view(Workspace *work, const Dict *dict, ListKind kind);

/* The name of its type for sentences: "a string", "a list". */
extern const char *value_kind_name(Value value);

/* True for int, float and bool, and the number; integers are exact in value_integer only. */
extern bool value_is_number(Value value);
extern bool value_is_integer(Value value); /* int or bool */
extern int64_t value_integer(Value value);
extern double value_number(Value value);

/* bool(), with Python's rules. */
extern bool value_is_true(Value value);

/* ==; both texts may be ropes. */
extern bool value_equal(Workspace *work, Value left, Value right, bool *equal);

/* <, as a sign; fails for types that Python does not order. */
extern bool value_compare(Workspace *work, Value left, Value right, int *order);

/* "in". */
extern bool value_contains(Workspace *work, Value container, Value item, bool *contained);

/* What a for loop over the value sees. Reading an iterator uses it up. Fails for what is not iterable. */
extern bool value_iterate(Workspace *work, Value value, Value **items, size_t *n);

/* len(). */
extern bool value_length(Workspace *work, Value value, size_t *length);

/* A failure for an operation on an undefined value, naming it. */
extern bool fail_undefined(Workspace *work, Value value);

/* Append str(value); text keeps its origin, everything else is data. */
extern bool value_print(Workspace *work, TextBuilder *builder, Value value);

/* str(value) as a flat text; a text itself is made flat and returned. */
extern Text *value_to_text(Workspace *work, Value value);

/* Python's repr of a float in out[FLOAT_TEXT_BYTES], e.g. 1.0, 1e-07, 1e+16, inf, nan. */
#define FLOAT_TEXT_BYTES 64
extern void format_float(double number, char *out);

/* How json.dumps is asked to write. */
typedef struct JsonStyle
{
	bool ascii_only; /* ensure_ascii */
	bool sort_keys;
	int64_t indent;                        /* negative: all in one line */
	const Text *indent_text;               /* instead of indent spaces, or NULL */
	const Text *between_items, *after_key; /* NULL: ", " (or "," when indented) and ": " */
} JsonStyle;

extern bool value_write_json(Workspace *work, TextBuilder *builder, Value value, const JsonStyle *style, size_t level);

/* Stable sort of order[0 .. n) by keys[order[i]]; reversed keeps equal ones in order too. */
extern bool sort_by_keys(Workspace *work, const Value *keys, size_t *order, size_t n, bool is_reversed);

#endif
