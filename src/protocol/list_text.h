/*
 * list_text.h - white space in the lists and settings that administrators write.
 */
#ifndef QWEN_LIST_TEXT_H
#define QWEN_LIST_TEXT_H

#include <stdbool.h>

static inline bool
list_is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Cut white space off both ends of [*start, *end). */
static inline void
list_trim(const char **start, const char **end)
{
	while (*start < *end && list_is_space(**start))
		(*start)++;
	while (*end > *start && list_is_space((*end)[-1]))
		(*end)--;
}

#endif
