/*
 * literal_messages.c - qwen_chat('[{"role": "user", ...}]') means messages.
 *
 * PostgreSQL takes a literal without a type for a text where a function of that name takes one, so such a call would be
 * of the form with a prompt. A literal that is a JSON array of objects with roles makes it a call of the form with
 * messages, before the statement is planned, and a NOTICE says so. Only what stands in the statement's own text is
 * read this way: a parameter, a column or a value that is computed may be a user's words, which never become messages.
 */
#include "literal_messages.h"

#include "../../base/json_tree.h"
#include "../core/compat.h"
#include "../core/texts.h"
#include "access/htup_details.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "known_functions.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/planner.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

static planner_hook_type previous_planner;

/* C functions of the form with a prompt, whose arguments but for the first two are those of the form with messages. */
static const char *const symbols[] = {"qwen_chat_text", "qwen_chat_full_text", "qwen_chat_stream_text",
									  "qwen_render_chat_text"};

/* Does the text hold an array of one or more objects that have a role each? */
static bool
is_messages(text *value)
{
	Arena *arena = arena_create(0);
	JsonError error;
	JsonNode *array = arena ? json_tree_read(arena, span_from_text(value), JSON_STRICT, NULL, &error) : NULL;
	bool found = array && array->kind == NODE_IS_ARRAY && array->n > 0;

	for (const JsonNode *message = found ? array->first : NULL; message; message = message->next)
	{
		const JsonNode *role = json_member_named(message, "role");

		found &= role && role->kind == NODE_IS_STRING;
	}
	arena_destroy(arena);
	return found;
}

/* The literal that is a call's first argument, by place, where the second is not given; else NULL. */
static Const *
prompt_literal(const FuncExpr *call)
{
	Const *prompt = call->args == NIL ? NULL : linitial(call->args);
	ListCell *cell;
	int i = 0;

	if (!prompt || !IsA(prompt, Const) || prompt->consttype != TEXTOID || prompt->constisnull)
		return NULL;
	foreach (cell, call->args)
	{
		const NamedArgExpr *named = lfirst(cell);

		if (IsA(named, NamedArgExpr) ? named->argnumber == 1 : i == 1)
			return NULL;
		i++;
	}
	return prompt;
}

/* The form with messages of a function, or 0: it is none of those with a prompt, or there is no other. */
static Oid
form_with_messages(Oid function)
{
	HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc form;
	Oid found = InvalidOid, types[FUNC_MAX_ARGS];

	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	form = (Form_pg_proc) GETSTRUCT(tuple);
	for (int i = 0; i < (int) lengthof(symbols) && form->pronargs >= 2 && !OidIsValid(found); i++)
	{
		if (!is_function_of_symbol(tuple, symbols[i]))
			continue;
		memcpy(types, form->proargtypes.values, sizeof(Oid) * form->pronargs);
		types[0] = types[1] = JSONOID;
		found = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum(NameStr(form->proname)),
								PointerGetDatum(buildoidvector(types, form->pronargs)),
								ObjectIdGetDatum(form->pronamespace));
	}
	ReleaseSysCache(tuple);
	return found;
}

/* Make a call one of the form with messages, if that is meant. */
static void
read_literal(FuncExpr *call)
{
	Const *prompt = prompt_literal(call);
	Oid form;

	/* PostgreSQL's own are none of ours */
	if (!prompt || call->funcid < FirstNormalObjectId)
		return;
	form = form_with_messages(call->funcid);
	if (!OidIsValid(form) || !is_messages(DatumGetTextPP(prompt->constvalue)))
		return;
	/* a json is a text that has been looked at */
	(void) DirectFunctionCall1(json_in, CStringGetDatum(TextDatumGetCString(prompt->constvalue)));
	call->funcid = form;
	prompt->consttype = JSONOID;
	prompt->constcollid = InvalidOid;
	ereport(NOTICE, (errmsg("the prompt is an array of messages, and is read as messages"),
					 errhint("Say so by a cast, qwen_chat('...'::json), or by its name that it is plain text, "
							 "qwen_chat(prompt => '...').")));
}

static bool
read_literals(Node *node, void *context)
{
	if (!node)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, read_literals, context, 0);
	if (IsA(node, FuncExpr))
		read_literal((FuncExpr *) node);
	return expression_tree_walker(node, read_literals, context);
}

static PlannedStmt *plan_with_messages PLANNER_PARAMETERS
{
	if (IsTransactionState() && query->commandType != CMD_UTILITY)
		read_literals((Node *) query, NULL);
	return previous_planner ? previous_planner PLANNER_ARGUMENTS : standard_planner PLANNER_ARGUMENTS;
}

void
literal_messages_init(void)
{
	previous_planner = planner_hook;
	planner_hook = plan_with_messages;
}
