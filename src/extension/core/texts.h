/*
 * texts.h - texts between the encoding of the database and UTF-8.
 */
#ifndef QWEN_TEXTS_H
#define QWEN_TEXTS_H

#include "core.h"

/* Text in UTF-8 as a span; and back, raising 22P05 where the server's encoding cannot hold it. In any transaction
 * state. */
extern ByteSpan span_from_text(text *value);
extern ByteSpan span_from_cstring(const char *value);
extern char *server_text(ByteSpan span);
extern text *text_from_span(ByteSpan span);

/* The name of a file, which the system has in UTF-8 whatever the encoding of the database that says it; palloc'd. */
extern char *file_name_from_text(text *value);

/*
 * Any text of UTF-8 in the server's encoding, for messages and pieces of text: a character that the encoding cannot
 * hold is written as \uXXXX or \UXXXXXXXX, a byte that is no text as a question mark. Not among the arguments of
 * ereport, nor while an error is handled: before 14 it catches errors of its own.
 */
extern char *server_string(const char *utf8);
extern text *escaped_text_from_span(ByteSpan span);

/* Is there nothing to see in a text? Nobody asks the model about such a one: the value is NULL. */
extern bool text_is_blank(text *value);

/* Raise 22023 for an argument that must say something. */
extern void require_text(text *value, const char *name);

/* Copy text in the server's encoding into to[bytes], cut at the end of a character where it is too long. */
extern void copy_server_text(char *to, const char *from, size_t bytes);

/* A bounded copy of a string of the status page, which may change while it is read, as a valid text. */
extern Datum page_text(const char *source, size_t bytes);

#endif
