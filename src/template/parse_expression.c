/*
 * parse_expression.c - expressions of a chat template, with Jinja's precedence: conditional, or, and, not,
 * comparisons, + -, ~, * / // %, **, unary signs; tuples of them, and what can be assigned to.
 */
#include "parser.h"

#include <string.h>

/* An operand with its sign; below a sign, filters and tests apply to the signed value. */
static Node *
parse_unary(Parser *parser, bool with_filters)
{
	Node *node;

	if (!workspace_enter(parser->work))
		return NULL;
	if (parser_accept(parser, TOKEN_SUBTRACT))
		node = parser_make_node(parser, NODE_NEGATIVE, parse_unary(parser, false), NULL);
	else if (parser_accept(parser, TOKEN_ADD))
		node = parser_make_node(parser, NODE_POSITIVE, parse_unary(parser, false), NULL);
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

		node = right ? parser_make_node(parser, NODE_ARITHMETIC, node, right) : NULL;
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
		node = right ? parser_make_node(parser, NODE_ARITHMETIC, node, right) : NULL;
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
	if (!node || !parser_append(&items, first))
		return NULL;
	while (parser_accept(parser, TOKEN_TILDE))
		if (!parser_append(&items, parse_product(parser)))
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
		Node *operand = parser_make_node(parser, NODE_OPERAND, parse_sum(parser), NULL);

		if (!parser_append(&operands, operand))
			return NULL;
		operand->operation = (int) kind;
	}
	if (operands.n == 0)
		return first;
	node = parser_make_node(parser, NODE_COMPARE, first, NULL);
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
	node = parser_make_node(parser, NODE_NOT, parse_not(parser), NULL);
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

		node = right ? parser_make_node(parser, NODE_AND, node, right) : NULL;
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

		node = right ? parser_make_node(parser, NODE_OR, node, right) : NULL;
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

		node = test ? parser_make_node(parser, NODE_CONDITIONAL, node, test) : NULL;
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
		if (!parser_append(&items, parse_expression(parser, with_conditional)))
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
	return parser_make_tuple(parser, &items);
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
	node = parser_make_named(parser, NODE_NAME);
	if (!node || !with_member || !parser_accept(parser, TOKEN_DOT))
		return node;
	node->kind = NODE_MEMBER;
	parser->chat_template->is_asked[node->name] = true;
	node->third = parser_make_named(parser, NODE_NAME);
	return node->third ? node : NULL;
}

Node *
parse_target(Parser *parser, bool with_member)
{
	NodeList items = {0};
	bool is_tuple = false;

	while (!ends_tuple(parser) && !parser_is_name(parser_token(parser), "in"))
	{
		if (!parser_append(&items, parse_one_target(parser, with_member)))
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
	return is_tuple ? parser_make_tuple(parser, &items) : items.first;
}
