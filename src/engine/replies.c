/*
 * replies.c - see replies.h.
 */
#include "replies.h"

#include <string.h>

Status
no_memory(void)
{
	return status_error(STATUS_UNAVAILABLE, "out of memory in the engine");
}

Status
no_memory_for_answer(void)
{
	return status_error(STATUS_UNAVAILABLE, "out of memory for the answer");
}

Status
not_finite(const Model *model, uint32_t position)
{
	return status_error(STATUS_NOT_FINITE,
						"model \"%s\" gives numbers that are not finite at position %u: its weights overflow",
						model->name, position + 1);
}

void
reply_error(ByteWriter *out, uint32_t request_id, const Status *status, const char *detail, const char *hint)
{
	ProtocolError error = {
		.code = (uint16_t) status->code,
		.message = {status->message, strlen(status->message)},
		.detail = {detail, detail ? strlen(detail) : 0},
		.hint = {hint, hint ? strlen(hint) : 0},
	};

	(void) encode_error(out, request_id, &error);
}

void
write_without_nul(ByteWriter *out, const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
	{
		if (text[i] == '\0')
			write_raw(out, "\xEF\xBF\xBD", 3);
		else
			write_u8(out, (uint8_t) text[i]);
	}
}

ByteSpan
span_of(const ByteWriter *writer)
{
	return (ByteSpan){writer->data ? (const char *) writer->data : "", writer->length};
}
