/*
 * registry.c - the table of functions that ask the model; see registry.h.
 */
#include "registry.h"

/* In the order in which errors name them. */
const ModelFunction *const model_functions[] = {
	&chat_text_function,
	&generate_function,
	&fill_in_function,
	&summarize_function,
	&translate_function,
	&classify_function,
	&filter_function,
	&sentiment_function,
	&classify_multi_function,
	&score_function,
	&redact_function,
	&extract_function,
	&embed_function,
	&similarity_to_function,
	&rerank_score_function,
	/* no job's */
	&chat_json_function,
	&chat_jsonb_function,
	&chat_full_text_function,
	&chat_full_json_function,
	&chat_full_jsonb_function,
	&similarity_function,
	&extract_text_function,
	&extract_type_function,
	NULL,
};

const ModelFunction *
model_function_named(const char *name)
{
	for (int i = 0; model_functions[i]; i++)
		if (model_functions[i]->name && strcmp(model_functions[i]->name, name) == 0)
			return model_functions[i];
	return NULL;
}

char *
list_job_functions(void)
{
	StringInfoData list;
	const char *last = NULL;

	initStringInfo(&list);
	for (int i = 0; model_functions[i]; i++)
	{
		if (!model_functions[i]->name)
			continue;
		if (last)
			appendStringInfo(&list, "%s%s", list.len > 0 ? ", " : "", last);
		last = model_functions[i]->name;
	}
	appendStringInfo(&list, " or %s", last);
	return list.data;
}

char *
list_own_arguments(const ModelFunction *function)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < MODEL_FUNCTION_MAX_ARGUMENTS && function->arguments[i].name; i++)
		if (i != function->input)
			appendStringInfo(&list, "%s%s", list.len > 0 ? ", " : "", function->arguments[i].name);
	return list.data;
}

/* The first argument beside the input, which is the one that a function cannot do without. */
const char *
first_own_argument(const ModelFunction *function)
{
	return function->arguments[function->input == 0 ? 1 : 0].name;
}
