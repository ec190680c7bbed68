/*
 * status.c - building and extending Status values; see status.h.
 */
#include "status.h"
#undef status_error

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Drop a character that the buffer's end cut in two, so that the sentence stays valid UTF-8. */
static void
trim_partial_character(char *text)
{
	size_t length = strlen(text);
	size_t start = length;

	while (start > 0 && length - start < 4 && ((unsigned char) text[start - 1] & 0xC0) == 0x80)
		start--;
	if (start == 0)
		return;
	unsigned char lead = (unsigned char) text[start - 1];
	size_t wanted = lead < 0x80 ? 1 : (lead >> 5) == 6 ? 2 : (lead >> 4) == 14 ? 3 : (lead >> 3) == 30 ? 4 : 1;

	if (length - (start - 1) < wanted)
		text[start - 1] = '\0';
}

Status
status_ok(void)
{
	Status status;

	status.code = STATUS_OK;
	status.message[0] = '\0';
	return status;
}

Status
status_error(StatusCode code, const char *format, ...)
{
	Status status;
	va_list args;

	status.code = code;
	va_start(args, format);
	if (vsnprintf(status.message, sizeof status.message, format, args) >= (int) sizeof status.message)
		trim_partial_character(status.message);
	va_end(args);
	return status;
}

Status
status_prefix(Status status, const char *format, ...)
{
	char rest[STATUS_MESSAGE_BYTES];
	char where[STATUS_MESSAGE_BYTES];
	va_list args;

	if (status.code == STATUS_OK)
		return status;
	memcpy(rest, status.message, sizeof rest);
	va_start(args, format);
	vsnprintf(where, sizeof where, format, args);
	va_end(args);
	return status_error(status.code, "%s: %s", where, rest);
}
