/*
 * prompt.h - from a message of the protocol to a prompt: rendering and tokenizing, and whether it fits.
 *
 * Knows what a Request (protocol.h) says and what a model makes of it, and nothing of what is done with the prompt.
 */
#ifndef QWEN_PROMPT_H
#define QWEN_PROMPT_H

#include "../protocol/protocol.h"
#include "../template/chat_template.h"
#include "workplace.h"

/* Where a prompt leaves the model. */
typedef struct PromptEnd
{
	bool in_thinking; /* the thinking is open: by the template, or by the answer that has begun */
	bool has_begun;   /* in an answer that the caller began */
} PromptEnd;

/* What a prompt is called in errors: the text of a request that has no answer is its "input". */
#define PROMPT_NOUN "prompt"
#define INPUT_NOUN "input"
#define DOCUMENT_NOUN "prompt with the document"

/* How the refusal of a request begins that the whole KV cache cannot hold. */
#define REQUEST_NO_CACHE "the request needs room for"

/* An empty buffer for a prompt's tokens. What is far too long for the model is not even counted. */
extern TokenBuffer prompt_buffer(const Model *model);

/* Messages through the model's template. */
extern Status prompt_render(const Workplace *place, const Request *message, ChatPrompt *prompt);

/* The tokens of messages. */
extern Status prompt_encode_chat(const Workplace *place, const Request *message, TokenBuffer *tokens, PromptEnd *end);

/* The text alone, with the beginning token where the file asks for one; never empty. */
extern Status prompt_encode_text(const Workplace *place, const Request *message, TokenBuffer *tokens);

/* The text, a gap to fill, and the suffix, as Qwen's Coder models were trained. All of both is text. */
extern Status prompt_encode_gap(const Workplace *place, const Request *message, TokenBuffer *tokens);

/* A text to embed, with what Qwen's embedding models expect around it. */
extern Status prompt_encode_embedding(const Workplace *place, const Request *message, TokenBuffer *tokens);

/* For an answer that is to be scored: it comes after the thinking that the template opened. */
extern Status prompt_close_thinking(const Workplace *place, TokenBuffer *tokens);

/* After encoding, with what came of it: are there too many tokens to look at, or none? */
extern Status prompt_check(const Workplace *place, const TokenBuffer *tokens, const char *noun, Status status);

/* Does a prompt of n_tokens with so many positions behind it fit into the context? is_answered: with room for at least
 * one token more. */
extern Status prompt_check_context(const Workplace *place, const char *noun, uint32_t n_tokens, uint32_t n_behind,
								   bool is_answered);

/* And into the KV cache? */
extern Status prompt_check_cache(const Workplace *place, uint32_t n_tokens, uint32_t n_behind);

/* The same for one that goes back to its prompt's end, for which a hybrid keeps a copy of the state there. */
extern Status prompt_check_cache_with_copy(const Workplace *place, uint32_t n_tokens, uint32_t n_behind);

/* How many of a prompt's first tokens are those of the shared messages, which are nobody's secret. */
extern Status prompt_count_shared(const Workplace *place, const Request *message, const int32_t *tokens,
								  uint32_t n_tokens, uint32_t *n_shared);

/* Tokens that an answer may have before context and cache are looked at. */
extern uint32_t prompt_answer_tokens(const SamplingOptions *options);

/* Positions of the whole KV cache. */
extern uint64_t prompt_cache_positions(const Workplace *place);

#endif
