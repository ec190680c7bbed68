/*
 * execute.c - the statements of a template: output, assignments, branches, loops, macros and blocks.
 *
 * Loops, macros and blocks other than if have a scope of their own, as in Jinja: what they set is gone after them.
 */
#include "interpreter.h"

/* How a statement ended. */
typedef enum Flow
{
	FLOW_NEXT,
	FLOW_BREAK,
	FLOW_CONTINUE,
	FLOW_FAILED,
} Flow;

static Flow execute_body(Interpreter *interpreter, Scope *scope, const Node *body);

/* Run a body with its output going into *text. */
static Flow
capture(Interpreter *interpreter, Scope *scope, const Node *body, Text **text)
{
	TextBuilder builder = {0};
	TextBuilder *outer = interpreter->out;
	Flow flow;

	interpreter->out = &builder;
	flow = execute_body(interpreter, scope, body);
	interpreter->out = outer;
	if (flow == FLOW_FAILED)
		return flow;
	*text = builder_finish(interpreter->work, &builder);
	return *text ? flow : FLOW_FAILED;
}

/* Run filters over a text that a block wrote. */
static bool
filter_text(Interpreter *interpreter, Scope *scope, const Node *filters, Text *text, Value *out)
{
	Value outer = interpreter->piped;
	bool ok;

	interpreter->piped = value_text(text);
	ok = evaluate(interpreter, scope, filters, out);
	interpreter->piped = outer;
	return ok;
}

/* {% set target %} … {% endset %} and {% filter … %} … {% endfilter %} */
static Flow
execute_captured(Interpreter *interpreter, Scope *scope, const Node *node)
{
	Scope *inner = scope_create(interpreter, scope);
	Text *text;
	Value value;
	Flow flow;
	bool ok;

	if (!inner)
		return FLOW_FAILED;
	flow = capture(interpreter, inner, node->body, &text);
	if (flow != FLOW_NEXT)
		return flow;
	value = value_text(text);
	if (node->right && !filter_text(interpreter, inner, node->right, text, &value))
		return FLOW_FAILED;
	if (node->kind == NODE_SET_BLOCK)
		ok = assign(interpreter, scope, node->left, value);
	else
		ok = value_print(interpreter->work, interpreter->out, value);
	return ok ? FLOW_NEXT : FLOW_FAILED;
}

/* Does an item pass the loop's condition? */
static bool
item_passes(Interpreter *interpreter, const Loop *loop, Value item, bool *passes)
{
	Scope *scope;
	Value value;

	*passes = true;
	if (!loop->node->third)
		return true;
	scope = scope_create(interpreter, loop->scope);
	if (!scope || !assign(interpreter, scope, loop->node->left, item) ||
		!evaluate(interpreter, scope, loop->node->third, &value))
		return false;
	*passes = value_is_true(value);
	return true;
}

bool
loop_find_item(Interpreter *interpreter, Loop *loop, size_t index, bool *found)
{
	while (loop->items->n <= index && loop->n_read < loop->n_source)
	{
		Value item = loop->source[loop->n_read++];
		bool passes;

		if (!workspace_step(interpreter->work, 1) || !item_passes(interpreter, loop, item, &passes))
			return false;
		if (passes && !list_push(interpreter->work, loop->items, item))
			return false;
	}
	*found = index < loop->items->n;
	return true;
}

/* Begin a loop over what its node names. */
static Loop *
loop_create(Interpreter *interpreter, Scope *scope, const Node *node)
{
	Loop *loop = workspace_alloc(interpreter->work, 1, sizeof *loop);
	Value iterable;

	if (!loop || !evaluate(interpreter, scope, node->right, &iterable) ||
		!value_iterate(interpreter->work, iterable, &loop->source, &loop->n_source))
		return NULL;
	loop->node = node;
	loop->scope = scope;
	loop->items = list_create(interpreter->work, LIST_PLAIN, 0);
	return loop->items ? loop : NULL;
}

/* One round of a loop. */
static Flow
execute_round(Interpreter *interpreter, Scope *scope, const Node *node, Loop *loop)
{
	Scope *inner = scope_create(interpreter, scope);

	if (!inner || !scope_set(interpreter, inner, NAME_LOOP, (Value){.kind = VALUE_LOOP, .as.loop = loop}) ||
		!assign(interpreter, inner, node->left, loop->items->items[loop->index]))
		return FLOW_FAILED;
	return execute_body(interpreter, inner, node->body);
}

/*
 * {% for %}. As in Jinja, the else block is left out only if some round came to the end of its body (and so it runs
 * when break or continue ended every round).
 */
static Flow
execute_for(Interpreter *interpreter, Scope *scope, const Node *node)
{
	Loop *loop = loop_create(interpreter, scope, node);
	bool has_item, was_completed = false;
	Scope *inner;

	if (!loop)
		return FLOW_FAILED;
	for (;; loop->index++)
	{
		Flow flow;

		if (!loop_find_item(interpreter, loop, loop->index, &has_item))
			return FLOW_FAILED;
		if (!has_item)
			break;
		flow = execute_round(interpreter, scope, node, loop);
		if (flow == FLOW_FAILED)
			return flow;
		if (flow == FLOW_BREAK)
			break;
		was_completed = was_completed || flow == FLOW_NEXT;
	}
	if (was_completed || !node->else_body)
		return FLOW_NEXT;
	inner = scope_create(interpreter, scope);
	return inner ? execute_body(interpreter, inner, node->else_body) : FLOW_FAILED;
}

/* {% if %}: the first branch whose condition holds. */
static Flow
execute_if(Interpreter *interpreter, Scope *scope, const Node *node)
{
	for (const Node *branch = node->items; branch; branch = branch->next)
	{
		Value value = value_bool(true);

		if (branch->left && !evaluate(interpreter, scope, branch->left, &value))
			return FLOW_FAILED;
		if (value_is_true(value))
			return execute_body(interpreter, scope, branch->body);
	}
	return FLOW_NEXT;
}

/* A macro as a value, closed over the scope where it is defined. */
static bool
make_macro(Interpreter *interpreter, Scope *scope, const Node *node, Value *out)
{
	Macro *macro = workspace_alloc(interpreter->work, 1, sizeof *macro);

	if (!macro)
		return false;
	macro->node = node;
	macro->scope = scope;
	*out = (Value){.kind = VALUE_MACRO, .as.macro = macro};
	return true;
}

/* Give the parameters of a macro their values: arguments first, then defaults, which see the parameters before them. */
static bool
bind_parameters(Interpreter *interpreter, Scope *scope, const Node *node, const Arguments *arguments)
{
	size_t i = 0, n_used = 0;

	if (arguments->n_values > node->n_items)
		return workspace_fail(interpreter->work, STATUS_INVALID_ARGUMENT,
							  "the macro takes at most %u arguments, not %zu", node->n_items, arguments->n_values);
	for (const Node *parameter = node->items; parameter; parameter = parameter->next, i++)
	{
		const Text *name = interpreter->chat_template->names[parameter->name];
		Value value = {.kind = VALUE_MISSING};

		if (i < arguments->n_values)
			value = arguments->values[i];
		for (size_t k = 0; k < arguments->n_named && i >= arguments->n_values; k++)
			if (arguments->names[k] == name)
			{
				value = arguments->named[k];
				n_used++;
			}
		if (value.kind == VALUE_MISSING)
			value = value_undefined(name);
		else if (!scope_set(interpreter, scope, parameter->name, value))
			return false;
		else
			continue;
		if (parameter->left && !evaluate(interpreter, scope, parameter->left, &value))
			return false;
		if (!scope_set(interpreter, scope, parameter->name, value))
			return false;
	}
	if (n_used < arguments->n_named)
		return workspace_fail(interpreter->work, STATUS_INVALID_ARGUMENT,
							  "the macro is called with a keyword argument that it does not take");
	return true;
}

bool
macro_call(Interpreter *interpreter, const Macro *macro, const Arguments *arguments, Value caller, Value *out)
{
	const Node *node = macro->node;
	Scope *scope = scope_create(interpreter, macro->scope);
	Text *text;

	if (!scope || !workspace_enter(interpreter->work))
		return false;
	if (caller.kind != VALUE_MISSING && !node->flag)
		return workspace_fail(interpreter->work, STATUS_INVALID_ARGUMENT, "the macro does not use its caller");
	if (node->flag &&
		!scope_set(interpreter, scope, NAME_CALLER,
				   caller.kind == VALUE_MISSING ? value_undefined(interpreter->chat_template->names[NAME_CALLER])
												: caller))
		return false;
	if (!bind_parameters(interpreter, scope, node, arguments) ||
		capture(interpreter, scope, node->body, &text) == FLOW_FAILED)
		return false;
	workspace_leave(interpreter->work);
	*out = value_text(text);
	return true;
}

/* {% call %}: the macro's output, with the block's body as its caller. */
static Flow
execute_call_block(Interpreter *interpreter, Scope *scope, const Node *node)
{
	Value caller, callee, value;
	Arguments arguments;

	if (!make_macro(interpreter, scope, node->third, &caller) ||
		!evaluate(interpreter, scope, node->left->left, &callee) ||
		!evaluate_arguments(interpreter, scope, node->left, &arguments))
		return FLOW_FAILED;
	interpreter->work->line = node->line;
	if (callee.kind != VALUE_MACRO)
	{
		if (callee.kind == VALUE_UNDEFINED)
			fail_undefined(interpreter->work, callee);
		else
			workspace_fail(interpreter->work, STATUS_UNSUPPORTED, "a call block of %s is not supported",
						   value_kind_name(callee));
		return FLOW_FAILED;
	}
	return call_value(interpreter, callee, &arguments, caller, &value) &&
				   value_print(interpreter->work, interpreter->out, value)
			   ? FLOW_NEXT
			   : FLOW_FAILED;
}

/* {% with %}: values see what is outside, the body sees the targets too. */
static Flow
execute_with(Interpreter *interpreter, Scope *scope, const Node *node)
{
	Scope *inner = scope_create(interpreter, scope);

	if (!inner)
		return FLOW_FAILED;
	for (const Node *pair = node->items; pair; pair = pair->next)
	{
		Value value;

		if (!evaluate(interpreter, scope, pair->right, &value) || !assign(interpreter, inner, pair->left, value))
			return FLOW_FAILED;
	}
	return execute_body(interpreter, inner, node->body);
}

/* {{ value }}, {% set %} and {% macro %}: statements that only evaluate. */
static bool
execute_simple(Interpreter *interpreter, Scope *scope, const Node *node)
{
	Value value;

	switch (node->kind)
	{
		case NODE_TEXT:
			return builder_add_text(interpreter->work, interpreter->out, node->constant.as.text);
		case NODE_OUTPUT:
			return evaluate(interpreter, scope, node->left, &value) &&
				   value_print(interpreter->work, interpreter->out, value);
		case NODE_SET:
			return evaluate(interpreter, scope, node->right, &value) && assign(interpreter, scope, node->left, value);
		case NODE_MACRO:
			return make_macro(interpreter, scope, node, &value) && scope_set(interpreter, scope, node->name, value);
		default:
			return workspace_fail(interpreter->work, STATUS_INTERNAL, "a value stands where a statement should");
	}
}

/* Run one statement. */
static Flow
execute(Interpreter *interpreter, Scope *scope, const Node *node)
{
	Scope *inner;

	switch (node->kind)
	{
		case NODE_IF:
			return execute_if(interpreter, scope, node);
		case NODE_FOR:
			return execute_for(interpreter, scope, node);
		case NODE_SET_BLOCK:
		case NODE_FILTER_BLOCK:
			return execute_captured(interpreter, scope, node);
		case NODE_CALL_BLOCK:
			return execute_call_block(interpreter, scope, node);
		case NODE_WITH:
			return execute_with(interpreter, scope, node);
		case NODE_SCOPE:
			inner = scope_create(interpreter, scope);
			return inner ? execute_body(interpreter, inner, node->body) : FLOW_FAILED;
		case NODE_BREAK:
			return FLOW_BREAK;
		case NODE_CONTINUE:
			return FLOW_CONTINUE;
		default:
			return execute_simple(interpreter, scope, node) ? FLOW_NEXT : FLOW_FAILED;
	}
}

/* Run statements one after the other until one jumps or fails. */
static Flow
execute_body(Interpreter *interpreter, Scope *scope, const Node *body)
{
	Flow flow = FLOW_NEXT;

	if (!workspace_enter(interpreter->work))
		return FLOW_FAILED;
	for (const Node *node = body; node && flow == FLOW_NEXT; node = node->next)
	{
		interpreter->work->line = node->line;
		flow = workspace_step(interpreter->work, 1) ? execute(interpreter, scope, node) : FLOW_FAILED;
	}
	workspace_leave(interpreter->work);
	return flow;
}

bool
template_run(Interpreter *interpreter, Scope *scope)
{
	return execute_body(interpreter, scope, interpreter->chat_template->body) != FLOW_FAILED;
}
