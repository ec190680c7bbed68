/*
 * parse_operand.c - what an operand of an expression is: a name, a literal, something in brackets, and all that may
 * stand behind it (attribute, subscript, call, filter, test).
 *
 * Filters, tests and methods that the interpreter does not know are refused here, with their line.
 */
#include "operations.h"
#include "parser.h"

#include <stdio.h>
#include <string.h>

bool
parser_append(NodeList *list, Node *node)
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

Node *
parser_make_node(Parser *parser, NodeKind kind, Node *left, Node *right)
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

Node *
parser_make_named(Parser *parser, NodeKind kind)
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
	node = parser_make_named(parser, NODE_NAME);
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
			item = parser_make_node(parser, NODE_PAIR, item, NULL);
			if (item && !(item->right = parse_expression(parser, true)))
				return NULL;
		}
		if (!parser_append(&items, item))
			return NULL;
	}
	parser->position++;
	node->items = items.first;
	node->n_items = items.n;
	return node;
}

Node *
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

Node *
parser_make_tuple(Parser *parser, const NodeList *items)
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
	if (parser_token(parser)->kind == TOKEN_COMMA && parser_append(&indices, first))
	{
		while (parser_accept(parser, TOKEN_COMMA))
			if (!parser_append(&indices, parse_expression(parser, true)))
				return NULL;
		node = parser_make_node(parser, NODE_SUBSCRIPT, object, parser_make_tuple(parser, &indices));
	}
	else if (parser_token(parser)->kind != TOKEN_COLON)
		node = parser_make_node(parser, NODE_SUBSCRIPT, object, first);
	else
	{
		if (!parser_append(&bounds, first) || !parser_accept(parser, TOKEN_COLON) ||
			!parser_append(&bounds, parse_bound(parser)))
			return NULL;
		if (!parser_append(&bounds, parser_accept(parser, TOKEN_COLON) ? parse_bound(parser)
																	   : make_constant(parser, value_none())))
			return NULL;
		node = parser_make_node(parser, NODE_SLICE, object, NULL);
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
		return parser_make_node(parser, NODE_SUBSCRIPT, object, make_constant(parser, value_int(token->as.integer)));
	}
	node = parser_make_named(parser, NODE_ATTRIBUTE);
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
		return parser_append(values, parse_expression(parser, true));
	}
	keyword = parser_make_named(parser, NODE_KEYWORD);
	parser->position++;
	if (!keyword || !(keyword->left = parse_expression(parser, true)))
		return false;
	return parser_append(keywords, keyword);
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
	Node *node = parser_make_node(parser, NODE_CALL, callee, NULL);
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

Node *
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
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): a subscript has its index */
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
	return is_negated ? parser_make_node(parser, NODE_NOT, node, NULL) : node;
}

Node *
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
