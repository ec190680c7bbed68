/*
 * function_name.c - see function_name.h.
 */
#include "function_name.h"

/* What tells the C functions of one SQL function apart. */
static const char *const form_suffixes[] = {"_text", "_json", "_jsonb", "_type"};

void
watch_function_name(char name[FUNCTION_NAME_BYTES], const char *symbol)
{
	size_t length;

	strlcpy(name, symbol, FUNCTION_NAME_BYTES);
	length = strlen(name);
	for (int i = 0; i < (int) lengthof(form_suffixes); i++)
	{
		size_t suffix = strlen(form_suffixes[i]);

		if (length > suffix && strcmp(name + length - suffix, form_suffixes[i]) == 0)
		{
			name[length - suffix] = '\0';
			break;
		}
	}
}
