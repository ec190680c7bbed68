/*
 * walk_stdin.c - whether texts belong to formats: lines of a response_format, a tab and a text; for each a line:
 * accept, reject, or error, the status code and its sentence.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../../src/format/format.h"

int
main(void)
{
	char *line = NULL, *last = NULL;
	size_t capacity = 0;
	ssize_t length;
	Format *format = NULL;
	Status status = status_ok();

	while ((length = getline(&line, &capacity, stdin)) > 0)
	{
		char *text = strchr(line, '\t');
		FormatState state;

		if (!text)
			return 1;
		line[length - 1] = 0;
		*text++ = 0;
		if (!last || strcmp(last, line) != 0)
		{
			format_destroy(format);
			status = format_compile((ByteSpan){line, strlen(line)}, NULL, &format);
			free(last);
			last = strdup(line);
		}
		if (!format)
		{
			printf("error %d %s\n", status.code, status.message);
			continue;
		}
		state = format_take(format, format_start(format), text, strlen(text));
		if (format_status(format).code != STATUS_OK)
			printf("error %d %s\n", format_status(format).code, format_status(format).message);
		else
			printf("%s\n", state && format_is_complete(format, state) ? "accept" : "reject");
	}
	format_destroy(format);
	free(last);
	free(line);
	return 0;
}
