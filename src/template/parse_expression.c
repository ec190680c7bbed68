/*
 * parse_expression.c - expressions of a chat template, with Jinja's precedence: conditional, or, and, not,
 * comparisons, + -, ~, * / // %, **, unary signs, and postfixes (attribute, subscript, call, filter, test).
 *
 * Filters, tests and methods that the interpreter does not know are refused here, with their line.
 */
#include "operations.h"
#include "parser.h"

#include <stdio.h>
#include <string.h>

/* A list of nodes that grows at its end. */
typedef struct NodeList
{
	Node *first, *last;
	uint32_t n;
} NodeList;

/* Append to a list; NULL (a failure on the way) gives false. */
static bool
append(NodeList *list, Node *node)
{
	if (!node)
		return false;
	if (list->last)
		list->last->next = node;
	else
		list->first = node;
	list->last = node;
	list->n++;
	return true;
}

/* A node with one or two operands. */
static Node *
make_node(Parser *parser, NodeKind kind, Node *left, Node *right)
{
	Node *node = left ? parser_node(parser, kind) : NULL;

	if (!node)
		return NULL;
	node->left = left;
	node->right = right;
	return node;
}

/* A constant. */
static Node *
make_constant(Parser *parser, Value value)
{
	Node *node = parser_node(parser, NODE_CONSTANT);

	if (node)
		node->constant = value;
	return node;
}

/* A node that bears the name of the present token, which is gone past. */
static Node *
make_named(Parser *parser, NodeKind kind)
{
	const Token *token = parser_token(parser);
	Node *node = parser_node(parser, kind);

	if (token->kind != TOKEN_NAME)
	{
		parser_fail_expected(parser, "a name");
		return NULL;
	}
	if (!node || !parser_intern(parser, token->start, token->length, &node->name))
		return NULL;
	parser->position++;
	return node;
}

/* A variable, or one of the words true, false, none. */
static Node *
parse_name(Parser *parser)
{
	const Token *token = parser_token(parser);
	Node *node;

	if (parser_accept_name(parser, "true") || parser_accept_name(parser, "True"))
		return make_constant(parser, value_bool(true));
	if (parser_accept_name(parser, "false") || parser_accept_name(parser, "False"))
		return make_constant(parser, value_bool(false));
	if (parser_accept_name(parser, "none") || parser_accept_name(parser, "None"))
		return make_constant(parser, value_none());
	if (parser->macro && (parser_is_name(token, "varargs") || parser_is_name(token, "kwargs")))
	{
		parser_fail_unsupported(parser, "varargs and kwargs in a macro");
		return NULL;
	}
	node = make_named(parser, NODE_NAME);
	if (!node)
		return NULL;
	parser->chat_template->is_asked[node->name] = true;
	if (node->name == NAME_CALLER && parser->macro)
		parser->macro->flag = true;
	return node;
}

/* String literals, joined when several stand side by side. */
static Node *
parse_strings(Parser *parser)
{
	Text *text = parser_token(parser)->as.text;

	parser->position++;
	while (parser_token(parser)->kind == TOKEN_STRING)
	{
		text = text_concatenate(parser->work, text, parser_token(parser)->as.text);
		if (!text)
			return NULL;
		parser->position++;
	}
	return text_flatten(parser->work, text) ? make_constant(parser, value_text(text)) : NULL;
}

/* A list literal after its bracket, or the pairs of a dictionary after its brace. */
static Node *
parse_items(Parser *parser, NodeKind kind, TokenKind end)
{
	Node *node = parser_node(parser, kind);
	NodeList items = {0};

	if (!node)
		return NULL;
	while (parser_token(parser)->kind != end)
	{
		Node *item;

		if (items.n > 0 && !parser_expect(parser, TOKEN_COMMA, "\",\""))
			return NULL;
		if (parser_token(parser)->kind == end)
			break;
		item = parse_expression(parser, true);
		if (item && kind == NODE_DICT)
		{
			if (!parser_expect(parser, TOKEN_COLON, "\":\""))
				return NULL;
			item = make_node(parser, NODE_PAIR, item, NULL);
			if (item && !(item->right = parse_expression(parser, true)))
				return NULL;
		}
		if (!append(&items, item))
			return NULL;
	}
	parser->position++;
	node->items = items.first;
	node->n_items = items.n;
	return node;
}

/* A literal, a variable, or an expression in parentheses. */
static Node *
parse_primary(Parser *parser)
{
	const Token *token = parser_token(parser);
	Node *node;

	switch (token->kind)
	{
		case TOKEN_NAME:
			return parse_name(parser);
		case TOKEN_STRING:
			return parse_strings(parser);
		case TOKEN_INTEGER:
			parser->position++;
			return make_constant(parser, value_int(token->as.integer));
		case TOKEN_FLOAT:
			parser->position++;
			return make_constant(parser, value_float(token->as.number));
		case TOKEN_LEFT_PARENTHESIS:
			parser->position++;
			node = parse_tuple(parser, true, true);
			return node && parser_expect(parser, TOKEN_RIGHT_PARENTHESIS, "\")\"") ? node : NULL;
		case TOKEN_LEFT_BRACKET:
			parser->position++;
			return parse_items(parser, NODE_LIST, TOKEN_RIGHT_BRACKET);
		case TOKEN_LEFT_BRACE:
			parser->position++;
			return parse_items(parser, NODE_DICT, TOKEN_RIGHT_BRACE);
		default:
			parser_fail_expected(parser, "an expression");
			return NULL;
	}
}

/* One bound of a slice: an expression, or none when it is left out. */
static Node *
parse_bound(Parser *parser)
{
	TokenKind kind = parser_token(parser)->kind;

	if (kind == TOKEN_COLON || kind == TOKEN_RIGHT_BRACKET || kind == TOKEN_COMMA)
		return make_constant(parser, value_none());
	return parse_expression(parser, true);
}

/* Make the tuple of the items read. */
static Node *
make_tuple(Parser *parser, const NodeList *items)
{
	Node *node = parser_node(parser, NODE_TUPLE);

	if (!node)
		return NULL;
	node->items = items->first;
	node->n_items = items->n;
	return node;
}

/* What stands in brackets behind an object: an index, several (a tuple) or a slice. */
static Node *
parse_brackets(Parser *parser, Node *object)
{
	Node *first, *node;
	NodeList bounds = {0}, indices = {0};

	if (parser_token(parser)->kind == TOKEN_RIGHT_BRACKET)
	{
		parser_fail_unsupported(parser, "an empty subscript");
		return NULL;
	}
	first = parse_bound(parser);
	if (!first)
		return NULL;
	if (parser_token(parser)->kind == TOKEN_COMMA && append(&indices, first))
	{
		while (parser_accept(parser, TOKEN_COMMA))
			if (!append(&indices, parse_expression(parser, true)))
				return NULL;
		node = make_node(parser, NODE_SUBSCRIPT, object, make_tuple(parser, &indices));
	}
	else if (parser_token(parser)->kind != TOKEN_COLON)
		node = make_node(parser, NODE_SUBSCRIPT, object, first);
	else
	{
		if (!append(&bounds, first) || !parser_accept(parser, TOKEN_COLON) || !append(&bounds, parse_bound(parser)))
			return NULL;
		if (!append(&bounds,
					parser_accept(parser, TOKEN_COLON) ? parse_bound(parser) : make_constant(parser, value_none())))
			return NULL;
		node = make_node(parser, NODE_SLICE, object, NULL);
		if (node)
			node->items = bounds.first;
	}
	if (parser_token(parser)->kind == TOKEN_COMMA)
	{
		parser_fail_unsupported(parser, "a slice beside a comma in a subscript");
		return NULL;
	}
	return node && parser_expect(parser, TOKEN_RIGHT_BRACKET, "\"]\"") ? node : NULL;
}

/* An attribute after its dot: a name, or a number as an index. */
static Node *
parse_attribute(Parser *parser, Node *object)
{
	const Token *token = parser_token(parser);
	Node *node;

	if (token->kind == TOKEN_INTEGER)
	{
		parser->position++;
		return make_node(parser, NODE_SUBSCRIPT, object, make_constant(parser, value_int(token->as.integer)));
	}
	node = make_named(parser, NODE_ATTRIBUTE);
	if (!node)
		return NULL;
	node->left = object;
	return node;
}

/* One argument of a call: "*" is refused, "name = value" is a keyword, anything else a value. */
static bool
parse_argument(Parser *parser, NodeList *values, NodeList *keywords)
{
	const Token *token = parser_token(parser);
	Node *keyword;

	if (token->kind == TOKEN_MULTIPLY || token->kind == TOKEN_POWER)
		return parser_fail_unsupported(parser, "* and ** before an argument");
	if (token->kind != TOKEN_NAME || parser_next_token(parser)->kind != TOKEN_ASSIGN)
	{
		if (keywords->n > 0)
			return parser_fail_expected(parser, "a keyword argument");
		return append(values, parse_expression(parser, true));
	}
	keyword = make_named(parser, NODE_KEYWORD);
	parser->position++;
	if (!keyword || !(keyword->left = parse_expression(parser, true)))
		return false;
	return append(keywords, keyword);
}

/* The arguments of a call, in parentheses, into node. */
static bool
parse_arguments(Parser *parser, Node *node)
{
	NodeList values = {0}, keywords = {0};

	if (!parser_expect(parser, TOKEN_LEFT_PARENTHESIS, "\"(\""))
		return false;
	while (parser_token(parser)->kind != TOKEN_RIGHT_PARENTHESIS)
	{
		if (values.n + keywords.n > 0 && !parser_expect(parser, TOKEN_COMMA, "\",\" or \")\""))
			return false;
		if (parser_token(parser)->kind == TOKEN_RIGHT_PARENTHESIS)
			break;
		if (!parse_argument(parser, &values, &keywords))
			return false;
	}
	parser->position++;
	node->items = values.first;
	node->n_items = values.n;
	node->keywords = keywords.first;
	node->n_keywords = keywords.n;
	return true;
}

/* A call of callee; functions and methods that are known to be missing are refused. */
static Node *
parse_call(Parser *parser, Node *callee)
{
	Node *node = make_node(parser, NODE_CALL, callee, NULL);
	const Text *name = parser->chat_template->names[callee->name];
	bool is_method = callee->kind == NODE_ATTRIBUTE;
	char what[80];

	if (!node)
		return NULL;
	if ((callee->kind == NODE_ATTRIBUTE || callee->kind == NODE_NAME) &&
		operation_is_unsupported(
			operation_find(is_method ? OPERATION_METHOD : OPERATION_FUNCTION, name->bytes, name->length)))
	{
		snprintf(what, sizeof what, "the %s %.*s", is_method ? "method" : "function", (int) name->length, name->bytes);
		parser_fail_unsupported(parser, what);
		return NULL;
	}
	if (callee->kind == NODE_NAME && callee->name == NAME_LOOP)
	{
		parser_fail_unsupported(parser, "a recursive loop");
		return NULL;
	}
	return parse_arguments(parser, node) ? node : NULL;
}

/* Attributes, subscripts and calls behind an expression. */
static Node *
parse_postfix(Parser *parser, Node *node)
{
	while (node)
	{
		if (parser_accept(parser, TOKEN_DOT))
			node = parse_attribute(parser, node);
		else if (parser_accept(parser, TOKEN_LEFT_BRACKET))
			node = parse_brackets(parser, node);
		else if (parser_token(parser)->kind == TOKEN_LEFT_PARENTHESIS)
			node = parse_call(parser, node);
		else
			break;
	}
	return node;
}

/* The place of a filter's or test's name, which is gone past; fails when it is not known. */
static bool
find_named(Parser *parser, const char *what, OperationKind kind, int *place)
{
	const Token *token = parser_token(parser);
	char sentence[100];

	if (token->kind != TOKEN_NAME)
		return parser_fail_expected(parser, "a name");
	*place = operation_find(kind, token->start, token->length);
	if (*place < 0 || parser_next_token(parser)->kind == TOKEN_DOT)
	{
		snprintf(sentence, sizeof sentence, "the %s %.*s", what, (int) (token->length < 40 ? token->length : 40),
				 token->start);
		return parser_fail_unsupported(parser, sentence);
	}
	parser->position++;
	return true;
}

Node *
parse_filters(Parser *parser, Node *node, bool starts_inline)
{
	while (starts_inline || parser_accept(parser, TOKEN_PIPE))
	{
		Node *filter = parser_node(parser, NODE_FILTER);

		if (!filter || !find_named(parser, "filter", OPERATION_FILTER, &filter->operation))
			return NULL;
		filter->left = node;
		if (parser_token(parser)->kind == TOKEN_LEFT_PARENTHESIS && !parse_arguments(parser, filter))
			return NULL;
		node = filter;
		starts_inline = false;
	}
	return node;
}

/* Note a test whether a message's content is none: then null contents are passed as they are. */
static void
note_content_test(Parser *parser, const Node *object, const Token *test)
{
	const Text *name = NULL;

	if (object->kind == NODE_ATTRIBUTE || object->kind == NODE_NAME)
		name = parser->chat_template->names[object->name];
	else if (object->kind == NODE_SUBSCRIPT && object->right->kind == NODE_CONSTANT &&
			 object->right->constant.kind == VALUE_TEXT)
		name = object->right->constant.as.text;
	if (name && text_is(name, "content") && parser_is_name(test, "none"))
		parser->chat_template->asks_content_none = true;
}

/* Can the present token begin the one argument that a test takes without parentheses? */
static bool
begins_test_argument(const Parser *parser)
{
	const Token *token = parser_token(parser);

	switch (token->kind)
	{
		case TOKEN_NAME:
			return !parser_is_name(token, "else") && !parser_is_name(token, "or") && !parser_is_name(token, "and");
		case TOKEN_STRING:
		case TOKEN_INTEGER:
		case TOKEN_FLOAT:
		case TOKEN_LEFT_BRACKET:
		case TOKEN_LEFT_BRACE:
			return true;
		default:
			return false;
	}
}

/* "is [not] test [argument]" after the word is. */
static Node *
parse_test(Parser *parser, Node *object)
{
	bool is_negated = parser_accept_name(parser, "not");
	Node *node = parser_node(parser, NODE_TEST);

	if (!node)
		return NULL;
	node->left = object;
	note_content_test(parser, object, parser_token(parser));
	if (!find_named(parser, "test", OPERATION_TEST, &node->operation))
		return NULL;
	if (parser_token(parser)->kind == TOKEN_LEFT_PARENTHESIS)
	{
		if (!parse_arguments(parser, node))
			return NULL;
	}
	else if (begins_test_argument(parser))
	{
		if (parser_is_name(parser_token(parser), "is"))
		{
			parser_fail_expected(parser, "no second test");
			return NULL;
		}
		node->items = parse_postfix(parser, parse_primary(parser));
		if (!node->items)
			return NULL;
		node->n_items = 1;
	}
	return is_negated ? make_node(parser, NODE_NOT, node, NULL) : node;
}

/* Filters, tests and calls behind an operand. */
static Node *
parse_filters_and_tests(Parser *parser, Node *node)
{
	while (node)
	{
		if (parser_token(parser)->kind == TOKEN_PIPE)
			node = parse_filters(parser, node, false);
		else if (parser_accept_name(parser, "is"))
			node = parse_test(parser, node);
		else if (parser_token(parser)->kind == TOKEN_LEFT_PARENTHESIS)
			node = parse_call(parser, node);
		else
			break;
	}
	return node;
}

/* An operand with its sign; below a sign, filters and tests apply to the signed value. */
static Node *
parse_unary(Parser *parser, bool with_filters)
{
	Node *node;

	if (!workspace_enter(parser->work))
		return NULL;
	if (parser_accept(parser, TOKEN_SUBTRACT))
		node = make_node(parser, NODE_NEGATIVE, parse_unary(parser, false), NULL);
	else if (parser_accept(parser, TOKEN_ADD))
		node = make_node(parser, NODE_POSITIVE, parse_unary(parser, false), NULL);
	else
		node = parse_primary(parser);
	node = parse_postfix(parser, node);
	if (with_filters)
		node = parse_filters_and_tests(parser, node);
	workspace_leave(parser->work);
	return node;
}

/* a ** b, from the left as Jinja has it. */
static Node *
parse_power(Parser *parser)
{
	Node *node = parse_unary(parser, true);

	while (node && parser_accept(parser, TOKEN_POWER))
	{
		Node *right = parse_unary(parser, true);

		node = right ? make_node(parser, NODE_ARITHMETIC, node, right) : NULL;
		if (node)
			node->operation = TOKEN_POWER;
	}
	return node;
}

/* Operators of one precedence, from the left. */
static Node *
parse_left_operators(Parser *parser, TokenKind first, TokenKind last, Node *(*parse_operand)(Parser *) )
{
	Node *node = parse_operand(parser);

	while (node && parser_token(parser)->kind >= first && parser_token(parser)->kind <= last)
	{
		int operation = (int) parser_token(parser)->kind;
		Node *right;

		parser->position++;
		right = parse_operand(parser);
		node = right ? make_node(parser, NODE_ARITHMETIC, node, right) : NULL;
		if (node)
			node->operation = operation;
	}
	return node;
}

/* * / // % */
static Node *
parse_product(Parser *parser)
{
	return parse_left_operators(parser, TOKEN_MULTIPLY, TOKEN_MODULO, parse_power);
}

/* a ~ b ~ c */
static Node *
parse_concatenation(Parser *parser)
{
	Node *first = parse_product(parser);
	Node *node;
	NodeList items = {0};

	if (!first || parser_token(parser)->kind != TOKEN_TILDE)
		return first;
	node = parser_node(parser, NODE_CONCATENATE);
	if (!node || !append(&items, first))
		return NULL;
	while (parser_accept(parser, TOKEN_TILDE))
		if (!append(&items, parse_product(parser)))
			return NULL;
	node->items = items.first;
	node->n_items = items.n;
	return node;
}

/* + - */
static Node *
parse_sum(Parser *parser)
{
	return parse_left_operators(parser, TOKEN_ADD, TOKEN_SUBTRACT, parse_concatenation);
}

/* The comparison that stands here, gone past; TOKEN_END: none. */
static TokenKind
accept_comparison(Parser *parser)
{
	TokenKind kind = parser_token(parser)->kind;

	if (kind >= TOKEN_EQUAL && kind <= TOKEN_GREATER_EQUAL)
	{
		parser->position++;
		return kind;
	}
	if (parser_accept_name(parser, "in"))
		return TOKEN_IN;
	if (parser_is_name(parser_token(parser), "not") && parser_is_name(parser_next_token(parser), "in"))
	{
		parser->position += 2;
		return TOKEN_NOT_IN;
	}
	return TOKEN_END;
}

/* a < b <= c in d */
static Node *
parse_comparison(Parser *parser)
{
	Node *first = parse_sum(parser);
	Node *node;
	NodeList operands = {0};
	TokenKind kind;

	while (first && (kind = accept_comparison(parser)) != TOKEN_END)
	{
		Node *operand = make_node(parser, NODE_OPERAND, parse_sum(parser), NULL);

		if (!append(&operands, operand))
			return NULL;
		operand->operation = (int) kind;
	}
	if (operands.n == 0)
		return first;
	node = make_node(parser, NODE_COMPARE, first, NULL);
	if (node)
		node->items = operands.first;
	return node;
}

/* not a */
static Node *
parse_not(Parser *parser)
{
	Node *node;

	if (!parser_accept_name(parser, "not"))
		return parse_comparison(parser);
	if (!workspace_enter(parser->work))
		return NULL;
	node = make_node(parser, NODE_NOT, parse_not(parser), NULL);
	workspace_leave(parser->work);
	return node;
}

/* a and b */
static Node *
parse_and(Parser *parser)
{
	Node *node = parse_not(parser);

	while (node && parser_accept_name(parser, "and"))
	{
		Node *right = parse_not(parser);

		node = right ? make_node(parser, NODE_AND, node, right) : NULL;
	}
	return node;
}

/* a or b */
static Node *
parse_or(Parser *parser)
{
	Node *node = parse_and(parser);

	while (node && parser_accept_name(parser, "or"))
	{
		Node *right = parse_and(parser);

		node = right ? make_node(parser, NODE_OR, node, right) : NULL;
	}
	return node;
}

/* a if b else c */
static Node *
parse_conditional(Parser *parser)
{
	Node *node = parse_or(parser);

	while (node && parser_accept_name(parser, "if"))
	{
		Node *test = parse_or(parser);

		node = test ? make_node(parser, NODE_CONDITIONAL, node, test) : NULL;
		if (node && parser_accept_name(parser, "else"))
		{
			node->third = parse_expression(parser, true);
			if (!node->third)
				return NULL;
		}
	}
	return node;
}

Node *
parse_expression(Parser *parser, bool with_conditional)
{
	Node *node;

	if (!workspace_enter(parser->work))
		return NULL;
	node = with_conditional ? parse_conditional(parser) : parse_or(parser);
	workspace_leave(parser->work);
	return node;
}

/* Does the present token end a tuple that has no brackets? */
static bool
ends_tuple(const Parser *parser)
{
	TokenKind kind = parser_token(parser)->kind;

	return kind == TOKEN_VARIABLE_END || kind == TOKEN_BLOCK_END || kind == TOKEN_RIGHT_PARENTHESIS;
}

Node *
parse_tuple(Parser *parser, bool with_conditional, bool in_parentheses)
{
	NodeList items = {0};
	bool is_tuple = false;

	while (!ends_tuple(parser))
	{
		if (!append(&items, parse_expression(parser, with_conditional)))
			return NULL;
		if (!parser_accept(parser, TOKEN_COMMA))
			break;
		is_tuple = true;
	}
	if (!is_tuple && items.n == 1)
		return items.first;
	if (items.n == 0 && (is_tuple || !in_parentheses))
	{
		parser_fail_expected(parser, "an expression");
		return NULL;
	}
	return make_tuple(parser, &items);
}

/* One name, member or tuple in parentheses as a target. */
static Node *
parse_one_target(Parser *parser, bool with_member)
{
	const Token *token = parser_token(parser);
	Node *node;

	if (parser_accept(parser, TOKEN_LEFT_PARENTHESIS))
	{
		if (!workspace_enter(parser->work))
			return NULL;
		node = parse_target(parser, with_member);
		workspace_leave(parser->work);
		return node && parser_expect(parser, TOKEN_RIGHT_PARENTHESIS, "\")\"") ? node : NULL;
	}
	if (parser_is_name(token, "true") || parser_is_name(token, "false") || parser_is_name(token, "none") ||
		parser_is_name(token, "True") || parser_is_name(token, "False") || parser_is_name(token, "None"))
	{
		parser_fail_expected(parser, "a name to assign to");
		return NULL;
	}
	node = make_named(parser, NODE_NAME);
	if (!node || !with_member || !parser_accept(parser, TOKEN_DOT))
		return node;
	node->kind = NODE_MEMBER;
	parser->chat_template->is_asked[node->name] = true;
	node->third = make_named(parser, NODE_NAME);
	return node->third ? node : NULL;
}

Node *
parse_target(Parser *parser, bool with_member)
{
	NodeList items = {0};
	bool is_tuple = false;

	while (!ends_tuple(parser) && !parser_is_name(parser_token(parser), "in"))
	{
		if (!append(&items, parse_one_target(parser, with_member)))
			return NULL;
		if (!parser_accept(parser, TOKEN_COMMA))
			break;
		is_tuple = true;
	}
	if (items.n == 0)
	{
		parser_fail_expected(parser, "a name to assign to");
		return NULL;
	}
	return is_tuple ? make_tuple(parser, &items) : items.first;
}
