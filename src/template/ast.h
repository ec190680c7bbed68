/*
 * ast.h - a parsed chat template: a tree of nodes in the template's arena, read-only once it is built.
 */
#ifndef QWEN_TEMPLATE_AST_H
#define QWEN_TEMPLATE_AST_H

#include "chat_template.h"
#include "value.h"

/* Behind each kind, the fields of Node that it uses. Lists are linked by next. */
typedef enum NodeKind
{
	/* expressions */
	NODE_CONSTANT,    /* constant */
	NODE_NAME,        /* name */
	NODE_PIPED,       /* what a filter block or a set block puts into its first filter */
	NODE_ATTRIBUTE,   /* left, name */
	NODE_SUBSCRIPT,   /* left [ right ] */
	NODE_SLICE,       /* left [ items: start, stop, step ], each a node or NODE_CONSTANT none */
	NODE_CALL,        /* left ( items, keywords ) */
	NODE_FILTER,      /* left | operation ( items, keywords ), its place in the table of operations */
	NODE_TEST,        /* left is operation ( items, keywords ), likewise */
	NODE_KEYWORD,     /* name = left, among keywords */
	NODE_NOT,         /* left */
	NODE_NEGATIVE,    /* left */
	NODE_POSITIVE,    /* left */
	NODE_AND,         /* left, right */
	NODE_OR,          /* left, right */
	NODE_COMPARE,     /* left, items: NODE_OPERAND */
	NODE_OPERAND,     /* operation left, operation a TokenKind */
	NODE_ARITHMETIC,  /* left operation right, operation a TokenKind */
	NODE_CONCATENATE, /* items */
	NODE_CONDITIONAL, /* left if right else third (NULL: undefined) */
	NODE_LIST,        /* items */
	NODE_TUPLE,       /* items; also as a target */
	NODE_DICT,        /* items: NODE_PAIR */
	NODE_PAIR,        /* left: right */
	NODE_MEMBER,      /* as a target: attribute third (a constant) of the namespace name */
	/* statements */
	NODE_TEXT,         /* constant */
	NODE_OUTPUT,       /* left */
	NODE_SET,          /* left (target) = right */
	NODE_SET_BLOCK,    /* left (target), right (filters over NODE_PIPED, or NULL), body */
	NODE_FOR,          /* left (target) in right if third (or NULL), body, else_body */
	NODE_IF,           /* items: NODE_BRANCH */
	NODE_BRANCH,       /* left (NULL: else), body */
	NODE_MACRO,        /* name, items: NODE_PARAMETER, body; flag: its body asks for caller */
	NODE_PARAMETER,    /* name, left: its default or NULL */
	NODE_CALL_BLOCK,   /* left (NODE_CALL), third: NODE_MACRO without a name, the caller */
	NODE_FILTER_BLOCK, /* right (filters over NODE_PIPED), body */
	NODE_WITH,         /* items: NODE_PAIR of target and value, body */
	NODE_SCOPE,        /* body */
	NODE_BREAK,
	NODE_CONTINUE,
} NodeKind;

typedef struct Node
{
	NodeKind kind;
	uint32_t line;
	int operation;
	bool flag;
	uint32_t name; /* index in ChatTemplate.names */
	Value constant;
	struct Node *next;
	struct Node *left, *right, *third;
	struct Node *items, *keywords;
	uint32_t n_items, n_keywords;
	struct Node *body, *else_body;
} Node;

/* Names that the interpreter itself uses have fixed places at the beginning of ChatTemplate.names. */
typedef enum KnownName
{
	NAME_LOOP,
	NAME_CALLER,
	NAME_MESSAGES,
	NAME_TOOLS,
	NAME_DOCUMENTS,
	NAME_ADD_GENERATION_PROMPT,
	NAME_ENABLE_THINKING,
	NAME_BOS_TOKEN,
	NAME_EOS_TOKEN,
	N_KNOWN_NAMES,
} KnownName;

struct ChatTemplate
{
	Workspace work;
	Node *body;
	Text *names[TEMPLATE_MAX_NAMES];
	bool is_asked[TEMPLATE_MAX_NAMES]; /* the name is used as a variable somewhere */
	uint32_t n_names;
	bool asks_content_none; /* some test looks whether a message's content is none */
	bool takes_reasoning;   /* it speaks of reasoning_content */
};

/* Build the tree of source (valid UTF-8 without NUL) in chat_template, whose workspace is ready. */
extern bool template_parse(ChatTemplate *chat_template, const char *source, size_t length);

#endif
