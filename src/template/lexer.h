/*
 * lexer.h - a chat template cut into tokens, as Jinja does with trim_blocks and lstrip_blocks.
 *
 * White space around tags is settled here: the parser sees only the text that is to be written.
 */
#ifndef QWEN_TEMPLATE_LEXER_H
#define QWEN_TEMPLATE_LEXER_H

#include "text.h"

typedef enum TokenKind
{
	TOKEN_END, /* of the template */
	TOKEN_TEXT,
	TOKEN_VARIABLE_BEGIN,
	TOKEN_VARIABLE_END,
	TOKEN_BLOCK_BEGIN,
	TOKEN_BLOCK_END,
	TOKEN_NAME,
	TOKEN_STRING,
	TOKEN_INTEGER,
	TOKEN_FLOAT,
	TOKEN_ADD,
	TOKEN_SUBTRACT,
	TOKEN_MULTIPLY,
	TOKEN_DIVIDE,
	TOKEN_FLOOR_DIVIDE,
	TOKEN_MODULO,
	TOKEN_POWER,
	TOKEN_TILDE,
	TOKEN_EQUAL,
	TOKEN_NOT_EQUAL,
	TOKEN_LESS,
	TOKEN_LESS_EQUAL,
	TOKEN_GREATER,
	TOKEN_GREATER_EQUAL,
	TOKEN_ASSIGN,
	TOKEN_DOT,
	TOKEN_COLON,
	TOKEN_PIPE,
	TOKEN_COMMA,
	TOKEN_SEMICOLON,
	TOKEN_LEFT_PARENTHESIS,
	TOKEN_RIGHT_PARENTHESIS,
	TOKEN_LEFT_BRACKET,
	TOKEN_RIGHT_BRACKET,
	TOKEN_LEFT_BRACE,
	TOKEN_RIGHT_BRACE,
	/* operators that are words, and so never come from the lexer; the parser uses them in its nodes */
	TOKEN_IN,
	TOKEN_NOT_IN,
} TokenKind;

typedef struct Token
{
	TokenKind kind;
	uint32_t line;
	const char *start; /* in the source */
	size_t length;
	union
	{
		Text *text; /* of TEXT and STRING (escapes resolved) */
		int64_t integer;
		double number;
	} as;
} Token;

/*
 * Cut source (valid UTF-8, line ends already \n) into tokens in the workspace's arena; the last one is TOKEN_END.
 * The source must outlive them.
 */
extern bool lexer_run(Workspace *work, const char *source, size_t length, Token **tokens);

#endif
