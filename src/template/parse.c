/*
 * parse.c - statements of a chat template, and the small tools that all parts of the parser use.
 *
 * What Jinja has and this interpreter has not (inheritance, imports, recursive loops …) is refused with its line as
 * UNSUPPORTED; what is no template at all as INVALID_ARGUMENT.
 */
#include "parser.h"

#include <stdio.h>
#include <string.h>

static Node *parse_body(Parser *parser, const char *const *ends);

const Token *
parser_token(const Parser *parser)
{
	return &parser->tokens[parser->position];
}

const Token *
parser_next_token(const Parser *parser)
{
	const Token *token = parser_token(parser);

	return token->kind == TOKEN_END ? token : token + 1;
}

bool
parser_is_name(const Token *token, const char *name)
{
	return token->kind == TOKEN_NAME && token->length == strlen(name) && memcmp(token->start, name, token->length) == 0;
}

bool
parser_accept(Parser *parser, TokenKind kind)
{
	if (parser_token(parser)->kind != kind)
		return false;
	parser->position++;
	return true;
}

bool
parser_accept_name(Parser *parser, const char *name)
{
	if (!parser_is_name(parser_token(parser), name))
		return false;
	parser->position++;
	return true;
}

bool
parser_fail_expected(Parser *parser, const char *what)
{
	const Token *token = parser_token(parser);
	int shown = (int) (token->length < 40 ? token->length : 40);

	parser->work->line = token->line;
	if (token->kind == TOKEN_END)
		return workspace_fail(parser->work, STATUS_INVALID_ARGUMENT, "expected %s, but the template ends", what);
	return workspace_fail(parser->work, STATUS_INVALID_ARGUMENT, "expected %s, not \"%.*s\"", what, shown,
						  token->start);
}

bool
parser_fail_unsupported(Parser *parser, const char *what)
{
	parser->work->line = parser_token(parser)->line;
	return workspace_fail(parser->work, STATUS_UNSUPPORTED, "%s is not supported", what);
}

bool
parser_expect(Parser *parser, TokenKind kind, const char *what)
{
	return parser_accept(parser, kind) || parser_fail_expected(parser, what);
}

Node *
parser_node(Parser *parser, NodeKind kind)
{
	Node *node = workspace_alloc(parser->work, 1, sizeof *node);

	if (!node)
		return NULL;
	node->kind = kind;
	node->line = parser_token(parser)->line;
	return node;
}

bool
parser_intern(Parser *parser, const char *name, size_t length, uint32_t *index)
{
	ChatTemplate *chat_template = parser->chat_template;
	uint32_t hash = 2166136261u;
	Text *text;

	for (size_t i = 0; i < length; i++)
		hash = (hash ^ (unsigned char) name[i]) * 16777619u;
	for (uint32_t slot = hash % NAME_SLOTS;; slot = (slot + 1) % NAME_SLOTS)
	{
		uint32_t found = parser->slots[slot];

		if (found == 0)
		{
			if (chat_template->n_names == TEMPLATE_MAX_NAMES)
				return workspace_fail(parser->work, STATUS_TOO_LONG, "more than %d different names",
									  TEMPLATE_MAX_NAMES);
			text = text_from_bytes(parser->work, name, length, true);
			if (!text)
				return false;
			*index = chat_template->n_names;
			chat_template->names[chat_template->n_names++] = text;
			parser->slots[slot] = (uint16_t) chat_template->n_names;
			return true;
		}
		text = chat_template->names[found - 1];
		if (text->length == length && memcmp(text->bytes, name, length) == 0)
		{
			*index = found - 1;
			return true;
		}
	}
}

/* A node bearing the name of the present token, which is gone past. */
static Node *
named_node(Parser *parser, NodeKind kind)
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

/* The end of a tag and the statements up to the word that ends them, and that tag's end. */
static bool
parse_block(Parser *parser, const char *const *ends, Node **body)
{
	parser_accept(parser, TOKEN_COLON);
	if (!parser_expect(parser, TOKEN_BLOCK_END, "the end of the tag"))
		return false;
	*body = parse_body(parser, ends);
	return parser->work->status.code == STATUS_OK;
}

/* {% for target in items if condition %} … {% else %} … {% endfor %} */
static Node *
parse_for(Parser *parser)
{
	static const char *const body_ends[] = {"endfor", "else", NULL};
	static const char *const else_ends[] = {"endfor", NULL};
	Node *node = parser_node(parser, NODE_FOR);
	bool ok;

	if (!node || !(node->left = parse_target(parser, false)))
		return NULL;
	if (!parser_accept_name(parser, "in"))
	{
		parser_fail_expected(parser, "\"in\"");
		return NULL;
	}
	if (!(node->right = parse_tuple(parser, false, false)))
		return NULL;
	if (parser_accept_name(parser, "if") && !(node->third = parse_expression(parser, true)))
		return NULL;
	if (parser_is_name(parser_token(parser), "recursive"))
	{
		parser_fail_unsupported(parser, "a recursive loop");
		return NULL;
	}
	parser->n_loops++;
	ok = parse_block(parser, body_ends, &node->body);
	parser->n_loops--;
	if (!ok)
		return NULL;
	if (parser_accept_name(parser, "else") && !parse_block(parser, else_ends, &node->else_body))
		return NULL;
	else if (parser->work->status.code == STATUS_OK)
		parser_accept_name(parser, "endfor");
	return node;
}

/* {% if … %} … {% elif … %} … {% else %} … {% endif %} */
static Node *
parse_if(Parser *parser)
{
	static const char *const body_ends[] = {"elif", "else", "endif", NULL};
	static const char *const else_ends[] = {"endif", NULL};
	Node *node = parser_node(parser, NODE_IF);
	Node **last = node ? &node->items : NULL;
	bool is_else = false;

	while (last)
	{
		Node *branch = parser_node(parser, NODE_BRANCH);

		if (!branch || (!is_else && !(branch->left = parse_tuple(parser, false, false))) ||
			!parse_block(parser, is_else ? else_ends : body_ends, &branch->body))
			return NULL;
		*last = branch;
		last = &branch->next;
		if (parser_accept_name(parser, "endif"))
			break;
		is_else = parser_accept_name(parser, "else");
		if (!is_else)
			parser_accept_name(parser, "elif");
	}
	return node;
}

/* {% set target = value %}, or {% set target | filters %} … {% endset %} */
static Node *
parse_set(Parser *parser)
{
	static const char *const ends[] = {"endset", NULL};
	Node *node = parser_node(parser, NODE_SET);

	if (!node || !(node->left = parse_target(parser, true)))
		return NULL;
	if (parser_accept(parser, TOKEN_ASSIGN))
	{
		node->right = parse_tuple(parser, true, false);
		return node->right ? node : NULL;
	}
	node->kind = NODE_SET_BLOCK;
	if (parser_token(parser)->kind == TOKEN_PIPE)
	{
		Node *piped = parser_node(parser, NODE_PIPED);

		if (!piped || !(node->right = parse_filters(parser, piped, false)))
			return NULL;
	}
	if (!parse_block(parser, ends, &node->body))
		return NULL;
	parser_accept_name(parser, "endset");
	return node;
}

/* The parameters of a macro, in parentheses. */
static bool
parse_parameters(Parser *parser, Node *macro)
{
	Node **last = &macro->items;
	bool has_default = false;

	if (!parser_expect(parser, TOKEN_LEFT_PARENTHESIS, "\"(\""))
		return false;
	while (parser_token(parser)->kind != TOKEN_RIGHT_PARENTHESIS)
	{
		Node *parameter;

		if (macro->n_items > 0 && !parser_expect(parser, TOKEN_COMMA, "\",\""))
			return false;
		parameter = named_node(parser, NODE_PARAMETER);
		if (!parameter)
			return false;
		for (const Node *other = macro->items; other; other = other->next)
			if (other->name == parameter->name)
				return parser_fail_expected(parser, "a parameter of another name");
		if (parser_accept(parser, TOKEN_ASSIGN))
		{
			has_default = true;
			if (!(parameter->left = parse_expression(parser, true)))
				return false;
		}
		else if (has_default)
			return parser_fail_expected(parser, "a parameter with a default");
		*last = parameter;
		last = &parameter->next;
		macro->n_items++;
	}
	parser->position++;
	return true;
}

/* The body of a macro or call block, in which loops around it cannot be left. */
static bool
parse_macro_body(Parser *parser, Node *macro, const char *end)
{
	const char *const ends[] = {end, NULL};
	uint32_t n_loops = parser->n_loops;
	Node *outer = parser->macro;
	bool ok;

	parser->n_loops = 0;
	parser->macro = macro;
	ok = parse_block(parser, ends, &macro->body);
	parser->n_loops = n_loops;
	parser->macro = outer;
	parser_accept_name(parser, end);
	return ok;
}

/* {% macro name(parameters) %} … {% endmacro %} */
static Node *
parse_macro(Parser *parser)
{
	Node *node = named_node(parser, NODE_MACRO);
	Node *outer = parser->macro;

	if (!node)
		return NULL;
	parser->macro = node;
	if (!parse_parameters(parser, node))
		return NULL;
	parser->macro = outer;
	return parse_macro_body(parser, node, "endmacro") ? node : NULL;
}

/* {% call(parameters) macro(…) %} … {% endcall %} */
static Node *
parse_call_block(Parser *parser)
{
	Node *node = parser_node(parser, NODE_CALL_BLOCK);

	if (!node || !(node->third = parser_node(parser, NODE_MACRO)))
		return NULL;
	node->third->name = NAME_CALLER;
	if (parser_token(parser)->kind == TOKEN_LEFT_PARENTHESIS && !parse_parameters(parser, node->third))
		return NULL;
	node->left = parse_expression(parser, true);
	if (!node->left)
		return NULL;
	if (node->left->kind != NODE_CALL)
	{
		parser_fail_expected(parser, "a call");
		return NULL;
	}
	return parse_macro_body(parser, node->third, "endcall") ? node : NULL;
}

/* {% filter filters %} … {% endfilter %} */
static Node *
parse_filter_block(Parser *parser)
{
	static const char *const ends[] = {"endfilter", NULL};
	Node *node = parser_node(parser, NODE_FILTER_BLOCK);
	Node *piped = parser_node(parser, NODE_PIPED);

	if (!node || !piped || !(node->right = parse_filters(parser, piped, true)) ||
		!parse_block(parser, ends, &node->body))
		return NULL;
	parser_accept_name(parser, "endfilter");
	return node;
}

/* {% with target = value, … %} … {% endwith %} */
static Node *
parse_with(Parser *parser)
{
	static const char *const ends[] = {"endwith", NULL};
	Node *node = parser_node(parser, NODE_WITH);
	Node **last = node ? &node->items : NULL;

	while (last && parser_token(parser)->kind != TOKEN_BLOCK_END)
	{
		Node *pair = parser_node(parser, NODE_PAIR);

		if (node->items && !parser_expect(parser, TOKEN_COMMA, "\",\""))
			return NULL;
		if (!pair || !(pair->left = parse_target(parser, false)) || !parser_expect(parser, TOKEN_ASSIGN, "\"=\"") ||
			!(pair->right = parse_expression(parser, true)))
			return NULL;
		*last = pair;
		last = &pair->next;
	}
	if (!node || !parse_block(parser, ends, &node->body))
		return NULL;
	parser_accept_name(parser, "endwith");
	return node;
}

/* {% generation %} … {% endgeneration %}: marks the assistant's words for training, and passes them through. */
static Node *
parse_generation(Parser *parser)
{
	static const char *const ends[] = {"endgeneration", NULL};
	Node *node = parser_node(parser, NODE_SCOPE);
	uint32_t n_loops = parser->n_loops;

	parser->n_loops = 0;
	if (!node || !parse_block(parser, ends, &node->body))
		return NULL;
	parser->n_loops = n_loops;
	parser_accept_name(parser, "endgeneration");
	return node;
}

/* {% break %} and {% continue %} */
static Node *
parse_jump(Parser *parser, NodeKind kind)
{
	if (parser->n_loops == 0)
	{
		parser_fail_expected(parser, "break and continue inside a loop only");
		return NULL;
	}
	return parser_node(parser, kind);
}

/* The statement whose word stands here. */
static Node *
parse_statement(Parser *parser)
{
	const Token *token = parser_token(parser);
	char what[80];

	if (parser_accept_name(parser, "for"))
		return parse_for(parser);
	if (parser_accept_name(parser, "if"))
		return parse_if(parser);
	if (parser_accept_name(parser, "set"))
		return parse_set(parser);
	if (parser_accept_name(parser, "macro"))
		return parse_macro(parser);
	if (parser_accept_name(parser, "call"))
		return parse_call_block(parser);
	if (parser_accept_name(parser, "filter"))
		return parse_filter_block(parser);
	if (parser_accept_name(parser, "with"))
		return parse_with(parser);
	if (parser_accept_name(parser, "generation"))
		return parse_generation(parser);
	if (parser_accept_name(parser, "break"))
		return parse_jump(parser, NODE_BREAK);
	if (parser_accept_name(parser, "continue"))
		return parse_jump(parser, NODE_CONTINUE);
	if (token->kind != TOKEN_NAME)
		parser_fail_expected(parser, "the name of a tag");
	else if ((token->length > 3 && memcmp(token->start, "end", 3) == 0) || parser_is_name(token, "else") ||
			 parser_is_name(token, "elif"))
		parser_fail_expected(parser, "another tag");
	else
	{
		snprintf(what, sizeof what, "the tag %.*s", (int) (token->length < 40 ? token->length : 40), token->start);
		parser_fail_unsupported(parser, what);
	}
	return NULL;
}

/* Does the present token, behind the beginning of a block, end the statements being read? */
static bool
is_end(const Parser *parser, const char *const *ends)
{
	for (; ends && *ends; ends++)
		if (parser_is_name(parser_token(parser), *ends))
			return true;
	return false;
}

/* One piece of a body: text, {{ … }} or {% … %}; NULL without a failure at the end of the body. */
static Node *
parse_piece(Parser *parser, const char *const *ends)
{
	const Token *token = parser_token(parser);
	Node *node;

	if (token->kind == TOKEN_TEXT)
	{
		node = parser_node(parser, NODE_TEXT);
		if (node)
			node->constant = value_text(token->as.text);
		parser->position++;
		return node;
	}
	if (parser_accept(parser, TOKEN_VARIABLE_BEGIN))
	{
		node = parser_node(parser, NODE_OUTPUT);
		if (!node || !(node->left = parse_tuple(parser, true, false)))
			return NULL;
		return parser_expect(parser, TOKEN_VARIABLE_END, "\"}}\"") ? node : NULL;
	}
	if (!parser_expect(parser, TOKEN_BLOCK_BEGIN, "a tag"))
		return NULL;
	if (is_end(parser, ends))
		return NULL;
	node = parse_statement(parser);
	return node && parser_expect(parser, TOKEN_BLOCK_END, "\"%}\"") ? node : NULL;
}

/* Statements up to a tag whose word is one of ends (left as the present token), or the end of the template. */
static Node *
parse_body(Parser *parser, const char *const *ends)
{
	Node *first = NULL;
	Node **last = &first;

	if (!workspace_enter(parser->work))
		return NULL;
	while (parser_token(parser)->kind != TOKEN_END)
	{
		Node *node = parse_piece(parser, ends);

		if (!node)
			break;
		*last = node;
		last = &node->next;
	}
	workspace_leave(parser->work);
	if (ends && parser->work->status.code == STATUS_OK && parser_token(parser)->kind == TOKEN_END)
	{
		char what[40];

		snprintf(what, sizeof what, "the tag %s", ends[0]);
		parser_fail_expected(parser, what);
	}
	return first;
}

/* Give the names that the interpreter itself uses their fixed places. */
static bool
intern_known_names(Parser *parser)
{
	static const char *const known[N_KNOWN_NAMES] = {
		"loop",      "caller",    "messages", "tools", "documents", "add_generation_prompt", "enable_thinking",
		"bos_token", "eos_token",
	};

	for (uint32_t i = 0; i < N_KNOWN_NAMES; i++)
	{
		uint32_t index;

		if (!parser_intern(parser, known[i], strlen(known[i]), &index))
			return false;
	}
	return true;
}

bool
template_parse(ChatTemplate *chat_template, const char *source, size_t length)
{
	Workspace *work = &chat_template->work;
	Parser *parser = workspace_alloc(work, 1, sizeof *parser);
	Token *tokens;

	if (!parser || !lexer_run(work, source, length, &tokens))
		return false;
	work->line = 0;
	parser->work = work;
	parser->chat_template = chat_template;
	parser->tokens = tokens;
	if (!intern_known_names(parser))
		return false;
	chat_template->body = parse_body(parser, NULL);
	return work->status.code == STATUS_OK;
}
