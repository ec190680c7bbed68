/*
 * check_lines.h - what "qwen_engine check" writes and the session that started it reads: lines about a model's file.
 *
 * A line is a byte 1 and three texts: item, value, problem. Behind the last one stand a byte 0, a StatusCode (u32) and
 * one text: what loading would say. A text is its length plus one (u32) and its bytes; 0 stands for none. Without this
 * end the program did not come to it.
 */
#ifndef QWEN_CHECK_LINES_H
#define QWEN_CHECK_LINES_H

#include "../base/bytes.h"
#include "../base/status.h"

#define CHECK_LINES_MAX_BYTES ((size_t) 1 << 20) /* of all that is written */

typedef struct CheckLine
{
	bool is_end;                   /* then value has what is wrong (NULL: nothing), and code its kind */
	StatusCode code;               /* of the end */
	ByteSpan item, value, problem; /* data NULL: none */
} CheckLine;

extern void check_line_write(ByteWriter *writer, const char *item, const char *value, const char *problem);
extern void check_lines_end(ByteWriter *writer, const Status *status);

/* The next line; false when there is no whole one. Its texts point into the reader's bytes. */
extern bool check_line_read(ByteReader *reader, CheckLine *line);

#endif
