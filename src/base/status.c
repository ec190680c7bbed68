/*
 * status.c - building and extending Status values; see status.h.
 */
#include "status.h"
#undef status_error

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "utf8.h"

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
	vsnprintf(status.message, sizeof status.message, format, args);
	va_end(args);
	/* what was cut in two, by the end of the buffer or by a caller, and what was no text to begin with */
	utf8_clean(status.message);
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
