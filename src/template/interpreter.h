/*
 * interpreter.h - one rendering of a parsed template: scopes, loops, macros, and what its operations
 * (operations.h) share.
 */
#ifndef QWEN_TEMPLATE_INTERPRETER_H
#define QWEN_TEMPLATE_INTERPRETER_H

#include "ast.h"

typedef struct Variable
{
	uint32_t name;
	Value value;
} Variable;

/* Variables of a block; names not found here are looked for in the parent. */
typedef struct Scope
{
	struct Scope *parent;
	Variable *variables;
	size_t n, capacity;
} Scope;

typedef struct Interpreter
{
	Workspace *work;
	const ChatTemplate *chat_template;
	TextBuilder *out; /* where statements write */
	Value piped;      /* what NODE_PIPED stands for */
	int64_t now;
} Interpreter;

/* A running for loop. Items that pass its condition are found one by one, as in Jinja. */
typedef struct Loop
{
	const Node *node;
	Scope *scope; /* of the loop's surroundings, for its condition */
	Value *source;
	size_t n_source, n_read;
	List *items; /* those that passed so far */
	size_t index;
} Loop;

typedef struct Macro
{
	const Node *node;
	Scope *scope; /* where it was defined */
} Macro;

/* A method of a string, list, dictionary or loop with the value it was taken from. */
typedef struct Method
{
	Value self;
	int operation; /* its place in the table */
} Method;

/* The arguments of a call, a filter or a test, evaluated. */
typedef struct Arguments
{
	const Value *values;
	size_t n_values;
	const Text *const *names; /* of the keyword arguments */
	const Value *named;
	size_t n_named;
} Arguments;

/*
 * Sort arguments into out[0 .. n_parameters) by parameters' names (VALUE_MISSING where not given); fails when there
 * are too many or an unknown keyword. what: for the sentence, e.g. "the filter trim".
 */
extern bool arguments_bind(Workspace *work, const Arguments *arguments, const char *what, const char *const *parameters,
						   size_t n_parameters, Value *out);

/* self.name where name is a method; *found says whether it is. Methods that change their object are undefined. */
extern bool method_find(Interpreter *interpreter, Value self, const Text *name, Value *out, bool *found);

/* value[key], and value.name; what is not there is undefined. */
extern bool get_item(Interpreter *interpreter, Value value, Value key, Value *out);
extern bool get_attribute(Interpreter *interpreter, Value value, const Text *name, Value *out);
extern bool get_slice(Interpreter *interpreter, Value value, const Value bounds[3], Value *out);

/* left operation right for + - * / // % **. */
extern bool compute(Interpreter *interpreter, int operation, Value left, Value right, Value *out);

/* Make sure that the loop's item index is known, if there is one; *found says. */
extern bool loop_find_item(Interpreter *interpreter, Loop *loop, size_t index, bool *found);

/* loop.name */
extern bool loop_attribute(Interpreter *interpreter, Loop *loop, const Text *name, Value *out, bool *found);

/* Evaluate an expression. */
extern bool evaluate(Interpreter *interpreter, Scope *scope, const Node *node, Value *out);

/* Call a macro; caller: VALUE_MISSING when there is none. */
extern bool macro_call(Interpreter *interpreter, const Macro *macro, const Arguments *arguments, Value caller,
					   Value *out);

/* Call any value with evaluated arguments. */
extern bool call_value(Interpreter *interpreter, Value callee, const Arguments *arguments, Value caller, Value *out);

/* Evaluate the arguments of a call node. */
extern bool evaluate_arguments(Interpreter *interpreter, Scope *scope, const Node *node, Arguments *arguments);

/* Assign a value to a target: a name, a member of a namespace or a tuple of them. */
extern bool assign(Interpreter *interpreter, Scope *scope, const Node *target, Value value);

extern Scope *scope_create(Interpreter *interpreter, Scope *parent);
extern bool scope_set(Interpreter *interpreter, Scope *scope, uint32_t name, Value value);

/* Run the template's statements over a scope that holds its variables. */
extern bool template_run(Interpreter *interpreter, Scope *scope);

#endif
