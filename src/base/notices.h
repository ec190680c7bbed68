/*
 * notices.h - what is odd but no reason to refuse: a list of short sentences of bounded size.
 *
 * Filled where a file is read, shown in the log and in qwen_models. What does not fit any more is counted.
 */
#ifndef QWEN_BASE_NOTICES_H
#define QWEN_BASE_NOTICES_H

#include <stddef.h>
#include <stdint.h>

#define NOTICES_BYTES 1024

/* Zero-initialize. */
typedef struct Notices
{
	char text[NOTICES_BYTES]; /* sentences with "; " between them, ASCII or UTF-8, ended by NUL */
	uint32_t n_more;          /* that had no room */
} Notices;

/* Add a sentence (printf's format). */
extern void notice_add(Notices *notices, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* All of it to out, at most bytes with the NUL, with the number of those that had no room. */
extern void notices_write(const Notices *notices, char *out, size_t bytes);

#endif
