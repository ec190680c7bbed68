/*
 * kinds.c - see kinds.h: what several kinds begin with.
 */
#include "kinds.h"

#include "replies.h"

Status
kind_take_prompt(EngineRequest *request, const Workplace *place, TokenBuffer *tokens, const char *noun, Status status)
{
	status = prompt_check(place, tokens, noun, status);
	if (!request_add_sequences(request, 1))
	{
		token_buffer_free(tokens);
		return no_memory();
	}
	sequence_take_prompt(&request->sequences[0], tokens);
	request->n_prompt = request->sequences[0].n_prompt;
	return status;
}

Status
kind_set_sharing(Sequence *sequence, const Workplace *place, const Request *message)
{
	sequence->uses_cache = message->prefix_sharing != PREFIX_OFF;
	sequence->scope.role = message->prefix_sharing == PREFIX_ROLE ? message->role : PREFIX_SCOPE_SHARED;
	if (sequence->uses_cache && sequence->scope.role != PREFIX_SCOPE_SHARED && message->shared_messages.data)
		return prompt_count_shared(place, message, sequence->tokens, sequence->n_prompt, &sequence->n_shared_tokens);
	return status_ok();
}
