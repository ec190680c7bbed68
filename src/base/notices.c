/*
 * notices.c - see notices.h.
 */
#include "notices.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MORE_BYTES 32 /* kept free for " (and N more)" */

void
notice_add(Notices *notices, const char *format, ...)
{
	size_t length = strlen(notices->text), room = sizeof notices->text - MORE_BYTES - length;
	char *at = notices->text + length;
	size_t separator = length > 0 ? 2 : 0;
	va_list arguments;
	int n;

	va_start(arguments, format);
	n = room > separator ? vsnprintf(at + separator, room - separator, format, arguments) : -1;
	va_end(arguments);
	if (n < 0 || (size_t) n >= room - separator)
	{
		*at = '\0';
		notices->n_more++;
		return;
	}
	memcpy(at, "; ", separator);
}

void
notices_write(const Notices *notices, char *out, size_t bytes)
{
	if (notices->n_more > 0)
		snprintf(out, bytes, "%s (and %u more)", notices->text, notices->n_more);
	else
		snprintf(out, bytes, "%s", notices->text);
}
