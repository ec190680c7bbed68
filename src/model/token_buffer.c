/*
 * token_buffer.c - tokens in an array that grows, up to as many as its owner has a use for.
 */
#include <stdlib.h>
#include <string.h>

#include "tokenizer_private.h"

Status
token_buffer_reserve(TokenBuffer *buffer, size_t n_more)
{
	size_t capacity = buffer->capacity < 64 ? 64 : buffer->capacity;
	int32_t *grown;

	if (buffer->capacity - buffer->n >= n_more)
		return status_ok();
	if (n_more > SIZE_MAX / sizeof *grown / 4 - buffer->n)
		return status_error(STATUS_UNAVAILABLE, "out of memory for %zu tokens", n_more);
	while (capacity - buffer->n < n_more)
		capacity *= 2;
	grown = realloc(buffer->tokens, capacity * sizeof *grown);
	if (!grown)
		return status_error(STATUS_UNAVAILABLE, "out of memory for %zu tokens", capacity);
	buffer->tokens = grown;
	buffer->capacity = capacity;
	return status_ok();
}

Status
token_buffer_add(TokenBuffer *buffer, int32_t token)
{
	STATUS_TRY(token_buffer_reserve(buffer, 1));
	buffer->tokens[buffer->n++] = token;
	return status_ok();
}

void
token_buffer_free(TokenBuffer *buffer)
{
	free(buffer->tokens);
	memset(buffer, 0, sizeof *buffer);
}

Status
token_buffer_check_limit(TokenBuffer *out)
{
	out->is_over = out->limit > 0 && out->n > out->limit;
	if (out->is_over)
		return status_error(STATUS_TOO_LONG, "the text has more than %zu tokens", out->limit);
	return status_ok();
}
