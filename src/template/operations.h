/*
 * operations.h - whatever a template can name and apply to a value: filters, tests, methods, functions and the members
 * of loops, all of them rows of one table (operations.c).
 *
 * A new one is a function here and a row there. What Python or Jinja has and this interpreter has not is a row too, so
 * that it can be refused by name.
 */
#ifndef QWEN_TEMPLATE_OPERATIONS_H
#define QWEN_TEMPLATE_OPERATIONS_H

#include "interpreter.h"

/* In the order of the table. */
typedef enum OperationKind
{
	OPERATION_FILTER,      /* value | name(arguments) */
	OPERATION_FUNCTION,    /* name(arguments) */
	OPERATION_LOOP_MEMBER, /* loop.name */
	OPERATION_METHOD,      /* value.name(arguments) */
	OPERATION_TEST,        /* value is name(arguments) */
} OperationKind;

/* Kinds of value as bits, lists told apart by what Python would call them. */
#define OF(value_kind) (1u << (value_kind))
#define OF_SEQUENCE(list_kind) (1u << (16 + (list_kind)))

struct Operation;

/* One application of an operation. */
typedef struct Call
{
	Interpreter *interpreter;
	Workspace *work; /* the interpreter's */
	const struct Operation *operation;
	Value self;                 /* the value before "|", "is" or "."; MISSING for functions */
	const Arguments *arguments; /* as they were given */
#define OPERATION_MAX_PARAMETERS 4
	Value values[OPERATION_MAX_PARAMETERS]; /* the same sorted by the operation's parameters; MISSING where not given */
} Call;

typedef bool OperationFunction(const Call *call, Value *out);

#define ANY_ARGUMENTS (-1)

typedef struct Operation
{
	const char *name;
	OperationKind kind;
	uint32_t values;          /* of a method: kinds of value that have it; of a test of a type: those that pass */
	const char *what;         /* what a sentence about its arguments calls it */
	OperationFunction *apply; /* of a method NULL: it would change its object and is undefined, as in Jinja's sandbox */
	int variant;              /* for functions with several rows */
	int n_parameters;         /* the arguments it takes at most, and a test always; or ANY_ARGUMENTS */
	const char *parameters[OPERATION_MAX_PARAMETERS]; /* their keywords; "" where there is none */
} Operation;

/* The place in the table, or -1: there is none. Of a method: the first of that name, whatever values have it. */
extern int operation_find(OperationKind kind, const char *name, size_t length);

/* The method of that name that this value has, or -1. */
extern int operation_find_method(Value self, const Text *name);

extern const Operation *operation_at(int place);

/* Is it of Python's or Jinja's and not of this interpreter's? */
extern bool operation_is_unsupported(int place);

/* The kind of a value as a bit. */
extern uint32_t value_kind_bit(Value value);

/* Sort the arguments and apply. */
extern bool operation_apply(Interpreter *interpreter, int place, Value self, const Arguments *arguments, Value *out);

/* operations.c: what is known by name only. */
extern OperationFunction operation_unsupported;

/* Hand out a text, or the failure that NULL stands for. */
extern bool give_text(Text *text, Value *out);

/* Variants. */
enum
{
	STRIP_LEFT = 1,
	STRIP_RIGHT = 2,
	CHOOSE_BY_ATTRIBUTE = 1,
	CHOOSE_FAILING = 2,
	ORDER_GREATER = 1,
	ORDER_OR_EQUAL = 2,
};

/* filters.c */
extern OperationFunction filter_abs, filter_case, filter_default, filter_escape, filter_float, filter_indent,
	filter_int, filter_length, filter_replace, filter_round, filter_safe, filter_string, filter_tojson, filter_trim;

/* filter_sequence.c */
extern OperationFunction filter_choose, filter_dictsort, filter_extreme, filter_first, filter_items, filter_join,
	filter_last, filter_list, filter_map, filter_reverse, filter_sort, filter_sum, filter_unique;

/* value_tests.c */
extern OperationFunction test_case, test_divisible, test_equal, test_in, test_name, test_order, test_parity, test_same,
	test_truth, test_type;

/* methods.c */
extern OperationFunction method_copy, method_cycle, method_get, method_list_count, method_list_index, method_text_affix,
	method_text_case, method_text_count, method_text_find, method_text_index, method_text_join,
	method_text_remove_affix, method_text_replace, method_text_rfind, method_text_split, method_text_strip, method_view;

/* functions.c */
extern OperationFunction function_dict, function_raise, function_range, function_strftime;

/* loop_members.c */
extern OperationFunction loop_countdown, loop_depth, loop_first, loop_last, loop_length, loop_next, loop_place,
	loop_previous;

#endif
