/*
 * parser.h - what the parts of the parser (statements, expressions, operands) share.
 */
#ifndef QWEN_TEMPLATE_PARSER_H
#define QWEN_TEMPLATE_PARSER_H

#include "ast.h"
#include "lexer.h"

#define NAME_SLOTS (2 * TEMPLATE_MAX_NAMES)

typedef struct Parser
{
	Workspace *work;
	ChatTemplate *chat_template;
	const Token *tokens;
	size_t position;
	uint32_t n_loops;           /* open for loops that break and continue may leave */
	Node *macro;                /* the macro or call block being parsed, or NULL */
	uint16_t slots[NAME_SLOTS]; /* hash table of names: index + 1 */
} Parser;

/* The present token, and what follows it. */
extern const Token *parser_token(const Parser *parser);
extern const Token *parser_next_token(const Parser *parser);
extern bool parser_is_name(const Token *token, const char *name);

/* If the present token is of this kind (is this word), go past it. */
extern bool parser_accept(Parser *parser, TokenKind kind);
extern bool parser_accept_name(Parser *parser, const char *name);

/* Go past a token of this kind or fail, saying what was expected. */
extern bool parser_expect(Parser *parser, TokenKind kind, const char *what);

/* A failure at the present token: INVALID_ARGUMENT with what was expected, or UNSUPPORTED naming a construct. */
extern bool parser_fail_expected(Parser *parser, const char *what);
extern bool parser_fail_unsupported(Parser *parser, const char *what);

/* A new node at the present line. */
extern Node *parser_node(Parser *parser, NodeKind kind);

/* The index of a name, made new where needed; false: too many. */
extern bool parser_intern(Parser *parser, const char *name, size_t length, uint32_t *index);

/* A list of nodes that grows at its end. */
typedef struct NodeList
{
	Node *first, *last;
	uint32_t n;
} NodeList;

/* Append to a list; NULL (a failure on the way) gives false. */
extern bool parser_append(NodeList *list, Node *node);

/* A node with one or two operands. */
extern Node *parser_make_node(Parser *parser, NodeKind kind, Node *left, Node *right);

/* A node that bears the name of the present token, which is gone past. */
extern Node *parser_make_named(Parser *parser, NodeKind kind);

/* A tuple of the items. */
extern Node *parser_make_tuple(Parser *parser, const NodeList *items);

/* A name, a literal or something in brackets; what stands behind it: attributes, subscripts and calls; filters and
 * tests. */
extern Node *parse_primary(Parser *parser);
extern Node *parse_postfix(Parser *parser, Node *node);
extern Node *parse_filters_and_tests(Parser *parser, Node *node);

/* Expressions return NULL after a failure. with_conditional: "a if b else c" is part of it. */
extern Node *parse_expression(Parser *parser, bool with_conditional);

/* An expression or, with commas, a tuple. */
extern Node *parse_tuple(Parser *parser, bool with_conditional, bool in_parentheses);

/* What can be assigned to; with_member: also a namespace's attribute. */
extern Node *parse_target(Parser *parser, bool with_member);

/* "| filter" as often as it stands there, over node; starts_inline: the first one without its bar. */
extern Node *parse_filters(Parser *parser, Node *node, bool starts_inline);

#endif
