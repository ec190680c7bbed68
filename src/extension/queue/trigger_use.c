/*
 * trigger_use.c - how our trigger functions are to be used.
 *
 * PostgreSQL lets any trigger function be a trigger of any kind with any arguments. So each is looked at when it fires
 * (../triggers), and where it is made (new_trigger.c).
 */
#include "trigger_use.h"

static const TriggerUse uses[] = {
	{"qwen_enqueue_trigger", false, true, "'target column', 'template with {column}', 'name=value', ..."},
	{"qwen_enqueue_embed_trigger", false, true, "'target column', 'template with {column}', 'name=value', ..."},
	{"qwen_summarize_trigger", true, false, "'source column', 'target column', 'max words', 'name=value', ..."},
	{"qwen_embed_trigger", true, false, "'source column', 'target column', 'name=value', ..."},
	{"qwen_extract_trigger", true, false, "'source column', 'target column' or '{target,columns}', 'name=value', ..."},
};

const TriggerUse *
trigger_use_of(const char *function)
{
	for (int i = 0; function && i < (int) lengthof(uses); i++)
		if (strcmp(uses[i].function, function) == 0)
			return &uses[i];
	return NULL;
}

void
trigger_check_moment(const TriggerUse *use, bool fits)
{
	if (!fits)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s must be %s INSERT OR UPDATE trigger FOR EACH ROW", use->function,
							   use->is_before ? "a BEFORE" : "an AFTER")));
}

void
trigger_check_arguments(const TriggerUse *use, int n)
{
	if (n < 2)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s takes 2 or more arguments, not %d", use->function, n),
						errhint("EXECUTE FUNCTION %s(%s)", use->function, use->arguments)));
}

void
trigger_refuse_twice(const char *function, char *const *arguments, int first, int n)
{
	for (int i = first; i < n; i++)
	{
		int length = (int) strcspn(arguments[i], "=");

		for (int j = first; j < i; j++)
			if (strncmp(arguments[j], arguments[i], length + 1) == 0)
				ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
								errmsg("%s: the argument \"%.*s\" is given twice", function, length, arguments[i])));
	}
}

int
trigger_column_hint(void)
{
	return errhint("A trigger's arguments are texts, which do not follow a column that is renamed: make the trigger "
				   "anew, under its name and with the column's new one.");
}
