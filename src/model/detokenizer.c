/*
 * detokenizer.c - the bytes of tokens become whole characters again; see tokenizer.h.
 *
 * A token may end inside a character: those bytes wait (at most 3) for the next token. Ill-formed bytes become U+FFFD,
 * one for each maximal part that begins like a character but cannot go on (Unicode 15, 3.9, "U+FFFD Substitution of
 * Maximal Subparts").
 */
#include <string.h>

#include "../base/utf8.h"
#include "tokenizer.h"

static const char replacement[] = "\xEF\xBF\xBD";

/* Length of the maximal ill-formed part at bytes, where utf8_character_bytes said -1. */
static size_t
ill_formed_bytes(const char *bytes, size_t length)
{
	size_t n = 1;

	while (n < length && utf8_character_bytes(bytes, n + 1) == 0)
		n++;
	return n;
}

/* Write all of bytes that is decided; returns how many bytes that took. The rest begins a character. */
static size_t
write_decided(const char *bytes, size_t length, ByteWriter *out)
{
	size_t offset = 0;

	while (offset < length)
	{
		size_t start = offset;
		int n_bytes = 0;

		while (offset < length && (n_bytes = utf8_character_bytes(bytes + offset, length - offset)) > 0)
			offset += (size_t) n_bytes;
		if (offset > start)
			write_raw(out, bytes + start, offset - start);
		if (offset == length || n_bytes == 0)
			break;
		write_raw(out, replacement, 3);
		offset += ill_formed_bytes(bytes + offset, length - offset);
	}
	return offset;
}

void
detokenizer_push(Detokenizer *detokenizer, ByteSpan bytes, bool is_last, ByteWriter *out)
{
	size_t offset = 0;

	/* what is held goes first, one byte at a time until it is decided */
	while (detokenizer->n_held > 0 && offset < bytes.length)
	{
		size_t taken;

		detokenizer->held[detokenizer->n_held++] = bytes.data[offset++];
		taken = write_decided(detokenizer->held, detokenizer->n_held, out);
		detokenizer->n_held -= (uint32_t) taken;
		memmove(detokenizer->held, detokenizer->held + taken, detokenizer->n_held);
	}
	if (offset < bytes.length)
	{
		offset += write_decided(bytes.data + offset, bytes.length - offset, out);
		detokenizer->n_held = (uint32_t) (bytes.length - offset);
		memcpy(detokenizer->held, bytes.data + offset, detokenizer->n_held);
	}
	if (is_last && detokenizer->n_held > 0)
	{
		write_raw(out, replacement, 3);
		detokenizer->n_held = 0;
	}
}
