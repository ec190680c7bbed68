/*
 * evaluate.c - the values of expressions, scopes, and calls.
 */
#include "lexer.h"
#include "operations.h"

#include <stdio.h>
#include <string.h>

Scope *
scope_create(Interpreter *interpreter, Scope *parent)
{
	Scope *scope = workspace_alloc(interpreter->work, 1, sizeof *scope);

	if (scope)
		scope->parent = parent;
	return scope;
}

bool
scope_set(Interpreter *interpreter, Scope *scope, uint32_t name, Value value)
{
	for (size_t i = 0; i < scope->n; i++)
		if (scope->variables[i].name == name)
		{
			scope->variables[i].value = value;
			return true;
		}
	if (!workspace_step(interpreter->work, scope->n / 8))
		return false;
	if (scope->n == scope->capacity)
	{
		size_t capacity = scope->capacity ? scope->capacity * 2 : 4;
		Variable *variables = workspace_alloc(interpreter->work, capacity, sizeof *variables);

		if (!variables)
			return false;
		if (scope->n)
			memcpy(variables, scope->variables, scope->n * sizeof *variables);
		scope->variables = variables;
		scope->capacity = capacity;
	}
	scope->variables[scope->n++] = (Variable){name, value};
	return true;
}

/* The variable that a name means here: of this scope or one around it, or a function; otherwise undefined. */
static bool
get_variable(Interpreter *interpreter, const Scope *scope, uint32_t name, Value *out)
{
	const Text *text;
	size_t n_seen = 0;
	int function;

	for (; scope; scope = scope->parent)
	{
		n_seen += 1 + scope->n;
		for (size_t i = 0; i < scope->n; i++)
			if (scope->variables[i].name == name)
			{
				*out = scope->variables[i].value;
				return workspace_step(interpreter->work, n_seen / 16);
			}
	}
	text = interpreter->chat_template->names[name];
	function = operation_find(OPERATION_FUNCTION, text->bytes, text->length);
	if (function >= 0 && !operation_is_unsupported(function))
		*out = (Value){.kind = VALUE_FUNCTION, .as.function = function};
	else
		*out = value_undefined(text);
	return workspace_step(interpreter->work, n_seen / 16);
}

/* Give the items of an iterable to the targets of a tuple, one each. */
static bool
unpack(Interpreter *interpreter, Scope *scope, const Node *target, Value value)
{
	Value *items;
	size_t n, i = 0;

	if (!value_iterate(interpreter->work, value, &items, &n))
		return false;
	if (n != target->n_items)
		return workspace_fail(interpreter->work, STATUS_INVALID_ARGUMENT, "%zu values for %u names", n,
							  target->n_items);
	for (const Node *item = target->items; item; item = item->next)
		if (!assign(interpreter, scope, item, items[i++]))
			return false;
	return true;
}

bool
assign(Interpreter *interpreter, Scope *scope, const Node *target, Value value)
{
	Value owner;

	if (target->kind == NODE_NAME)
		return scope_set(interpreter, scope, target->name, value);
	if (target->kind == NODE_TUPLE)
		return unpack(interpreter, scope, target, value);
	if (!get_variable(interpreter, scope, target->name, &owner))
		return false;
	if (owner.kind != VALUE_NAMESPACE)
		return workspace_fail(interpreter->work, STATUS_INVALID_ARGUMENT, "cannot assign to an attribute of %s",
							  value_kind_name(owner));
	return dict_set(interpreter->work, owner.as.dict,
					value_text(interpreter->chat_template->names[target->third->name]), value);
}

bool
arguments_bind(Workspace *work, const Arguments *arguments, const char *what, const char *const *parameters,
			   size_t n_parameters, Value *out)
{
	if (arguments->n_values > n_parameters)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "%s takes at most %zu arguments, not %zu", what,
							  n_parameters, arguments->n_values);
	for (size_t i = 0; i < n_parameters; i++)
		out[i] = i < arguments->n_values ? arguments->values[i] : (Value){.kind = VALUE_MISSING};
	for (size_t k = 0; k < arguments->n_named; k++)
	{
		size_t i = 0;

		while (i < n_parameters && !text_is(arguments->names[k], parameters[i]))
			i++;
		if (i == n_parameters || out[i].kind != VALUE_MISSING)
			return workspace_fail(work, STATUS_INVALID_ARGUMENT, "%s does not take the argument \"%.*s\"", what,
								  (int) (arguments->names[k]->length < 40 ? arguments->names[k]->length : 40),
								  arguments->names[k]->bytes);
		out[i] = arguments->named[k];
	}
	return true;
}

bool
evaluate_arguments(Interpreter *interpreter, Scope *scope, const Node *node, Arguments *arguments)
{
	Value *values = NULL, *named = NULL;
	const Text **names = NULL;
	size_t i = 0;

	memset(arguments, 0, sizeof *arguments);
	if (node->n_items && !(values = workspace_alloc(interpreter->work, node->n_items, sizeof *values)))
		return false;
	for (const Node *item = node->items; values && item; item = item->next)
		if (!evaluate(interpreter, scope, item, &values[i++]))
			return false;
	if (node->n_keywords)
	{
		named = workspace_alloc(interpreter->work, node->n_keywords, sizeof *named);
		names = workspace_alloc(interpreter->work, node->n_keywords, sizeof *names);
		if (!named || !names)
			return false;
	}
	i = 0;
	for (const Node *keyword = node->keywords; keyword; keyword = keyword->next)
	{
		/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): made where there are keywords */
		names[i] = interpreter->chat_template->names[keyword->name];
		for (size_t k = 0; k < i; k++)
			if (names[k] == names[i])
				return workspace_fail(interpreter->work, STATUS_INVALID_ARGUMENT, "an argument is given twice");
		if (!evaluate(interpreter, scope, keyword->left, &named[i++]))
			return false;
	}
	*arguments = (Arguments){values, node->n_items, names, named, node->n_keywords};
	return true;
}

bool
call_value(Interpreter *interpreter, Value callee, const Arguments *arguments, Value caller, Value *out)
{
	switch (callee.kind)
	{
		case VALUE_MACRO:
			return macro_call(interpreter, callee.as.macro, arguments, caller, out);
		case VALUE_FUNCTION:
			return operation_apply(interpreter, callee.as.function, (Value){.kind = VALUE_MISSING}, arguments, out);
		case VALUE_METHOD:
			return operation_apply(interpreter, callee.as.method->operation, callee.as.method->self, arguments, out);
		case VALUE_UNDEFINED:
			return fail_undefined(interpreter->work, callee);
		default:
			return workspace_fail(interpreter->work, STATUS_INVALID_ARGUMENT, "%s cannot be called",
								  value_kind_name(callee));
	}
}

/* object(arguments) */
static bool
evaluate_call(Interpreter *interpreter, Scope *scope, const Node *node, Value *out)
{
	Arguments arguments;
	Value callee;

	if (!evaluate(interpreter, scope, node->left, &callee) || !evaluate_arguments(interpreter, scope, node, &arguments))
		return false;
	interpreter->work->line = node->line;
	return call_value(interpreter, callee, &arguments, (Value){.kind = VALUE_MISSING}, out);
}

/* value | filter, or value is test */
static bool
evaluate_filter_or_test(Interpreter *interpreter, Scope *scope, const Node *node, Value *out)
{
	Arguments arguments;
	Value input;

	if (!evaluate(interpreter, scope, node->left, &input) || !evaluate_arguments(interpreter, scope, node, &arguments))
		return false;
	interpreter->work->line = node->line;
	return operation_apply(interpreter, node->operation, input, &arguments, out);
}

/* One comparison of a chain. */
static bool
compare(Interpreter *interpreter, int operation, Value left, Value right, bool *holds)
{
	Workspace *work = interpreter->work;
	int order;

	switch (operation)
	{
		case TOKEN_EQUAL:
		case TOKEN_NOT_EQUAL:
			if (!value_equal(work, left, right, holds))
				return false;
			*holds = *holds == (operation == TOKEN_EQUAL);
			return true;
		case TOKEN_IN:
		case TOKEN_NOT_IN:
			if (!value_contains(work, right, left, holds))
				return false;
			*holds = *holds == (operation == TOKEN_IN);
			return true;
		default:
			break;
	}
	if (!value_compare(work, left, right, &order))
		return false;
	if (operation == TOKEN_LESS || operation == TOKEN_LESS_EQUAL)
		*holds = order == -1 || (order == 0 && operation == TOKEN_LESS_EQUAL);
	else
		*holds = order == 1 || (order == 0 && operation == TOKEN_GREATER_EQUAL);
	return true;
}

/* a < b <= c: every operand is evaluated once, and only as long as the chain holds. */
static bool
evaluate_comparison(Interpreter *interpreter, Scope *scope, const Node *node, Value *out)
{
	Value left, right;
	bool holds = true;

	if (!evaluate(interpreter, scope, node->left, &left))
		return false;
	for (const Node *operand = node->items; operand && holds; operand = operand->next)
	{
		if (!evaluate(interpreter, scope, operand->left, &right))
			return false;
		interpreter->work->line = operand->line;
		if (!compare(interpreter, operand->operation, left, right, &holds))
			return false;
		left = right;
	}
	*out = value_bool(holds);
	return true;
}

/* a ~ b ~ c: everything as text. */
static bool
evaluate_concatenation(Interpreter *interpreter, Scope *scope, const Node *node, Value *out)
{
	TextBuilder builder = {0};
	Text *text;

	for (const Node *item = node->items; item; item = item->next)
	{
		Value value;

		if (!evaluate(interpreter, scope, item, &value) || !value_print(interpreter->work, &builder, value))
			return false;
	}
	text = builder_finish(interpreter->work, &builder);
	*out = value_text(text);
	return text != NULL;
}

/* [a, b] or (a, b) */
static bool
evaluate_list(Interpreter *interpreter, Scope *scope, const Node *node, Value *out)
{
	List *list = list_create(interpreter->work, node->kind == NODE_LIST ? LIST_PLAIN : LIST_TUPLE, node->n_items);

	if (!list)
		return false;
	for (const Node *item = node->items; item; item = item->next)
	{
		Value value;

		if (!evaluate(interpreter, scope, item, &value) || !list_push(interpreter->work, list, value))
			return false;
	}
	*out = value_list(list);
	return true;
}

/* {a: b} */
static bool
evaluate_dict(Interpreter *interpreter, Scope *scope, const Node *node, Value *out)
{
	Dict *dict = dict_create(interpreter->work, node->n_items);

	if (!dict)
		return false;
	for (const Node *pair = node->items; pair; pair = pair->next)
	{
		Value key, value;

		if (!evaluate(interpreter, scope, pair->left, &key) || !evaluate(interpreter, scope, pair->right, &value) ||
			!dict_set(interpreter->work, dict, key, value))
			return false;
	}
	*out = (Value){.kind = VALUE_DICT, .as.dict = dict};
	return true;
}

/* object[a:b:c] */
static bool
evaluate_slice(Interpreter *interpreter, Scope *scope, const Node *node, Value *out)
{
	Value object, bounds[3];
	int i = 0;

	if (!evaluate(interpreter, scope, node->left, &object))
		return false;
	for (const Node *bound = node->items; bound; bound = bound->next)
		if (!evaluate(interpreter, scope, bound, &bounds[i++]))
			return false;
	return get_slice(interpreter, object, bounds, out);
}

/* +a and -a */
static bool
evaluate_sign(Interpreter *interpreter, Scope *scope, const Node *node, Value *out)
{
	Workspace *work = interpreter->work;
	Value value;

	if (!evaluate(interpreter, scope, node->left, &value))
		return false;
	if (value.kind == VALUE_UNDEFINED)
		return fail_undefined(work, value);
	if (!value_is_number(value))
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "%s has no sign", value_kind_name(value));
	if (value.kind == VALUE_FLOAT)
		*out = value_float(node->kind == NODE_NEGATIVE ? -value.as.number : value.as.number);
	else if (node->kind == NODE_NEGATIVE && value_integer(value) == INT64_MIN)
		return workspace_fail(work, STATUS_UNSUPPORTED, "an integer of more than 64 bits is not supported");
	else
		*out = value_int(node->kind == NODE_NEGATIVE ? -value_integer(value) : value_integer(value));
	return true;
}

/* a and b, a or b, a if b else c: only what is needed is evaluated. */
static bool
evaluate_choice(Interpreter *interpreter, Scope *scope, const Node *node, Value *out)
{
	const Node *chosen;

	if (node->kind != NODE_CONDITIONAL)
	{
		if (!evaluate(interpreter, scope, node->left, out))
			return false;
		return value_is_true(*out) == (node->kind == NODE_OR) || evaluate(interpreter, scope, node->right, out);
	}
	if (!evaluate(interpreter, scope, node->right, out))
		return false;
	chosen = value_is_true(*out) ? node->left : node->third;
	if (chosen)
		return evaluate(interpreter, scope, chosen, out);
	*out = value_undefined(NULL);
	return true;
}

/* Expressions of two operands that are always evaluated, and attributes. */
static bool
evaluate_operation(Interpreter *interpreter, Scope *scope, const Node *node, Value *out)
{
	Value left, right;

	if (!evaluate(interpreter, scope, node->left, &left))
		return false;
	if (node->kind == NODE_ATTRIBUTE)
	{
		interpreter->work->line = node->line;
		return get_attribute(interpreter, left, interpreter->chat_template->names[node->name], out);
	}
	if (node->kind == NODE_NOT)
	{
		*out = value_bool(!value_is_true(left));
		return true;
	}
	if (!evaluate(interpreter, scope, node->right, &right))
		return false;
	interpreter->work->line = node->line;
	if (node->kind == NODE_SUBSCRIPT)
		return get_item(interpreter, left, right, out);
	return compute(interpreter, node->operation, left, right, out);
}

/* Evaluate a node by its kind; depth and steps have been counted. */
static bool
evaluate_node(Interpreter *interpreter, Scope *scope, const Node *node, Value *out)
{
	switch (node->kind)
	{
		case NODE_CONSTANT:
			*out = node->constant;
			return true;
		case NODE_NAME:
			return get_variable(interpreter, scope, node->name, out);
		case NODE_PIPED:
			*out = interpreter->piped;
			return true;
		case NODE_ATTRIBUTE:
		case NODE_SUBSCRIPT:
		case NODE_ARITHMETIC:
		case NODE_NOT:
			return evaluate_operation(interpreter, scope, node, out);
		case NODE_SLICE:
			return evaluate_slice(interpreter, scope, node, out);
		case NODE_CALL:
			return evaluate_call(interpreter, scope, node, out);
		case NODE_FILTER:
		case NODE_TEST:
			return evaluate_filter_or_test(interpreter, scope, node, out);
		case NODE_NEGATIVE:
		case NODE_POSITIVE:
			return evaluate_sign(interpreter, scope, node, out);
		case NODE_AND:
		case NODE_OR:
		case NODE_CONDITIONAL:
			return evaluate_choice(interpreter, scope, node, out);
		case NODE_COMPARE:
			return evaluate_comparison(interpreter, scope, node, out);
		case NODE_CONCATENATE:
			return evaluate_concatenation(interpreter, scope, node, out);
		case NODE_LIST:
		case NODE_TUPLE:
			return evaluate_list(interpreter, scope, node, out);
		case NODE_DICT:
			return evaluate_dict(interpreter, scope, node, out);
		default:
			return workspace_fail(interpreter->work, STATUS_INTERNAL, "a statement stands where a value should");
	}
}

bool
evaluate(Interpreter *interpreter, Scope *scope, const Node *node, Value *out)
{
	bool ok;

	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): every caller wants the value */
	*out = value_undefined(NULL);
	interpreter->work->line = node->line;
	if (!workspace_step(interpreter->work, 1) || !workspace_enter(interpreter->work))
		return false;
	ok = evaluate_node(interpreter, scope, node, out);
	workspace_leave(interpreter->work);
	return ok;
}
