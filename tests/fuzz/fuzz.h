/*
 * fuzz.h - what all fuzz targets share; see tests/fuzz/README.md.
 *
 * A target fuzz_NAME.c is one function over bytes that anybody may have sent. It calls one door of the program and
 * holds it to its promises: PROMISE() ends the process when one is broken, as the sanitizers do. Linked with libFuzzer
 * (make fuzz) it is given new inputs without end; linked with replay.c (make check-fuzz) it is given those of
 * tests/fuzz/corpus/NAME.
 */
#ifndef QWEN_FUZZ_H
#define QWEN_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/base/bytes.h"
#include "../../src/base/utf8.h"

/* The target: always returns 0. data is exactly size bytes long, so that a sanitizer sees a read past its end. */
extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PROMISE(condition)                                                                                             \
	do                                                                                                                 \
	{                                                                                                                  \
		if (!(condition))                                                                                              \
		{                                                                                                              \
			fprintf(stderr, "%s:%d: broken promise: %s\n", __FILE__, __LINE__, #condition);                            \
			abort();                                                                                                   \
		}                                                                                                              \
	} while (0)

/* What is left of the input. */
static inline ByteSpan
fuzz_rest(ByteReader *input)
{
	size_t length = byte_reader_left(input);
	const char *data = read_raw(input, length);

	return (ByteSpan){data ? data : "", data ? length : 0};
}

/* Up to the next NUL byte, which is left out, or all of the rest. */
static inline ByteSpan
fuzz_part(ByteReader *input)
{
	size_t left = byte_reader_left(input);
	const char *data = (const char *) input->data + input->offset;
	const char *end = left ? memchr(data, 0, left) : NULL;
	size_t length = end ? (size_t) (end - data) : left;

	(void) read_raw(input, length);
	if (end)
		(void) read_u8(input);
	return (ByteSpan){length ? data : "", length};
}

/* A copy of text as the protocol lets it through: valid UTF-8 without NUL. What is not becomes '?'. Free data. */
static inline ByteSpan
fuzz_valid_text(ByteSpan text)
{
	char *copy = malloc(text.length + 1);

	if (!copy)
		abort();
	if (text.length)
		memcpy(copy, text.data, text.length);
	for (size_t at = 0; at < text.length;)
	{
		int n = utf8_character_bytes(copy + at, text.length - at);

		if (n < 1 || copy[at] == '\0')
			copy[at] = '?';
		at += n < 1 ? 1 : (size_t) n;
	}
	copy[text.length] = '\0';
	return (ByteSpan){copy, text.length};
}

static inline void
fuzz_free(ByteSpan text)
{
	free((void *) text.data);
}

#endif
