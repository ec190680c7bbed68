/*
 * privilege_hint.c - an error for want of EXECUTE on one of our functions says how it is granted.
 *
 * PostgreSQL raises it as the execution of a plan begins, and in utility statements: CREATE TRIGGER wants EXECUTE on
 * the trigger's function, and so do defaults and expressions of an index. The error stays what it is and gets a HINT.
 * Which function it is about stands only in its text, so that is compared with what PostgreSQL says, in whatever
 * language, of each name.
 */
#include "privilege_hint.h"

#include "../core/compat.h"
#include "executor/executor.h"
#include "tcop/utility.h"

static ExecutorStart_hook_type previous_start;
static ProcessUtility_hook_type previous_utility;

/* What is for others than those with "use", as qwen_privilege_of has it; "": what nobody can be granted by qwen_grant.
 */
static const struct
{
	const char *function, *privilege;
} others[] = {
	{"qwen_load_model", "admin"},
	{"qwen_unload_model", "admin"},
	{"qwen_check_model", "admin"},
	{"qwen_load_adapter", "admin"},
	{"qwen_unload_adapter", "admin"},
	{"qwen_stat_reset", "admin"},
	{"qwen_set_limit", "admin"},
	{"qwen_clear_limit", "admin"},
	{"qwen_allow_models", "admin"},
	{"qwen_monitor", "monitor"},
	{"qwen_grant", ""},
	{"qwen_revoke", ""},
	{"qwen_privilege_of", ""},
	{"qwen_guard_rows", ""},
};

/* The privilege that an error's text is about, or NULL. */
static const char *
privilege_of_error(const ErrorData *error)
{
	const char *name = error->message ? strstr(error->message, "qwen_") : NULL;

	if (!name || error->hint)
		return NULL;
	name = pnstrdup(name, strspn(name, "abcdefghijklmnopqrstuvwxyz_"));
	if (strcmp(error->message,
			   psprintf(dgettext(PG_TEXTDOMAIN("postgres"), "permission denied for function %s"), name)) != 0 &&
		strcmp(error->message,
			   psprintf(dgettext(PG_TEXTDOMAIN("postgres"), "permission denied for aggregate %s"), name)) != 0)
		return NULL;
	for (size_t i = 0; i < lengthof(others); i++)
		if (strcmp(others[i].function, name) == 0)
			return others[i].privilege;
	return "use";
}

/* In PG_CATCH: raise the error again, with a HINT where it is about one of our functions. memory: of who called. */
static void
rethrow_with_hint(MemoryContext memory)
{
	ErrorData *error;
	const char *privilege;

	if (geterrcode() != ERRCODE_INSUFFICIENT_PRIVILEGE)
		PG_RE_THROW();
	MemoryContextSwitchTo(memory);
	error = CopyErrorData();
	privilege = privilege_of_error(error);
	if (!privilege)
		PG_RE_THROW();
	FlushErrorState();
	error->hint =
		*privilege
			? psprintf("The extension's owner or a superuser grants it: SELECT qwen_grant('role', '%s');", privilege)
			: pstrdup("It is for the owner of the extension and superusers.");
	ReThrowError(error);
}

static void
start_hook(QueryDesc *query, int eflags)
{
	MemoryContext caller = CurrentMemoryContext;

	PG_TRY();
	{
		if (previous_start)
			previous_start(query, eflags);
		else
			standard_ExecutorStart(query, eflags);
	}
	PG_CATCH();
	{
		rethrow_with_hint(caller);
	}
	PG_END_TRY();
}

static void utility_hook UTILITY_PARAMETERS
{
	MemoryContext caller = CurrentMemoryContext;

	PG_TRY();
	{
		if (previous_utility)
			previous_utility UTILITY_ARGUMENTS;
		else
			standard_ProcessUtility UTILITY_ARGUMENTS;
	}
	PG_CATCH();
	{
		rethrow_with_hint(caller);
	}
	PG_END_TRY();
}

void
privilege_hint_init(void)
{
	previous_start = ExecutorStart_hook;
	ExecutorStart_hook = start_hook;
	previous_utility = ProcessUtility_hook;
	ProcessUtility_hook = utility_hook;
}
