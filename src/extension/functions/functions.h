/*
 * functions.h - the room's door: the SQL functions that ask the model, and what jobs and triggers make of the same
 * words.
 */
#ifndef QWEN_FUNCTIONS_H
#define QWEN_FUNCTIONS_H

#include "../call/call.h"

extern const ModelFunction chat_text_function, chat_json_function, chat_jsonb_function, chat_full_text_function,
	chat_full_json_function, chat_full_jsonb_function, generate_function, summarize_function, embed_function,
	translate_function, similarity_function, similarity_to_function, classify_function, filter_function;

/* ---- chat.c ---- */
/* [{"role": "system", …}, {"role": "user", …}] in UTF-8 */
extern ByteSpan messages_from_texts(text *prompt, text *system_prompt);

/* ---- embed.c ---- */
/* The setting that holds for embeddings when no model is named. */
extern const char *default_embedding_model(void);

/* ---- tasks.c ---- */
/* The messages of a summary of input. */
extern void summary_messages(Request *request, text *input, int max_words);

/* Greedy and without thinking, where the caller did not say otherwise. */
extern void task_options(Request *request);

/* At least so many tokens for the answer, where the caller did not say how many and the role's limits allow it. */
extern void task_max_tokens(Request *request, int wanted);

/* A summary of input with these options, in parts where there is no room for it. Waits; nothing of it needs a
 * transaction in a database of UTF-8. */
extern text *summarize_with(const Request *options, text *input, int max_words);

/* The same with the tail of fcinfo from first on (fcinfo NULL: no tail). */
extern text *summarize(text *input, int max_words, FunctionCallInfo fcinfo, int first);

#define SUMMARY_MAX_WORDS 60 /* unless told otherwise */
#define SUMMARY_WORDS_LIMIT 10000

#endif
