/*
 * registry.h - the table of functions that ask the model, and its rows that others call directly.
 *
 * A function is one row: sessions, the plan node, arrays, jobs and triggers find it here. To add one: its row and its
 * steps in a file of this folder, its name below and in registry.c, its line in sql/functions.txt.
 */
#ifndef QWEN_REGISTRY_H
#define QWEN_REGISTRY_H

#include "../call/call.h"

extern const ModelFunction chat_text_function, chat_json_function, chat_jsonb_function, chat_full_text_function,
	chat_full_json_function, chat_full_jsonb_function, generate_function, fill_in_function, summarize_function,
	translate_function, embed_function, similarity_function, similarity_to_function, rerank_score_function,
	classify_function, filter_function, sentiment_function, classify_multi_function, score_function, redact_function,
	extract_function, extract_text_function, extract_type_function;

/* All of them; NULL is behind the last. */
extern const ModelFunction *const model_functions[];

/* The function that a job names; NULL: there is none. */
extern const ModelFunction *model_function_named(const char *name);

/* "chat, generate, ... or filter" */
extern char *list_job_functions(void);

/* "a, b and c": what comes beside the input among the arguments that are its own. */
extern char *list_own_arguments(const ModelFunction *function);
extern const char *first_own_argument(const ModelFunction *function);

#endif
