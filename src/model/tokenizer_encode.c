/*
 * tokenizer_encode.c - from text to tokens: segments, words, tokens.
 *
 * Added tokens are cut out of the text as it stands, the longest at the leftmost place, and only where the caller
 * trusts it. What lies between two of them is one segment, whoever wrote its parts: it is normalized, cut into words by
 * the split pattern and merged word by word. That is the order in which Hugging Face's tokenizers treat added tokens
 * with normalized=false, which is what the Qwen family's are.
 */
#include "../base/utf8.h"
#include "tokenizer_private.h"

/* Longer texts do not fit the 32-bit positions inside a word; nothing near it can be processed anyway. */
#define MAX_TEXT_BYTES ((size_t) INT32_MAX)

/* Append the tokens of a segment: text without added tokens. */
static Status
encode_segment(Tokenizer *tokenizer, const char *text, size_t length, TokenBuffer *out)
{
	size_t offset = 0;

	if (length == 0)
		return status_ok();
	STATUS_TRY(tokenizer_normalize(tokenizer, text, length, &text, &length));
	while (offset < length)
	{
		size_t end;

		STATUS_TRY(tokenizer_check_cancel(tokenizer));
		STATUS_TRY(tokenizer_find_word_end(tokenizer, text, length, offset, &end));
		STATUS_TRY(tokenizer_merge_word(tokenizer, text + offset, end - offset, out));
		STATUS_TRY(token_buffer_check_limit(out));
		offset = end;
	}
	return status_ok();
}

/* Cut text at the added tokens inside the trusted runs and append everything; runs have been checked. */
static Status
encode_segments(Tokenizer *tokenizer, const char *text, size_t length, const TextRun *trusted, size_t n_trusted,
				TokenBuffer *out)
{
	size_t segment = 0;

	for (size_t i = 0; i < n_trusted; i++)
	{
		size_t offset = trusted[i].start;
		size_t end = offset + trusted[i].length;

		while (offset < end)
		{
			int32_t token = NO_TOKEN;
			size_t matched = 0;

			if (tokenizer->added_first_bytes[(unsigned char) text[offset]])
				token = tokenizer_match_added(tokenizer, text + offset, end - offset, &matched);
			if (token == NO_TOKEN)
			{
				offset++;
				continue;
			}
			STATUS_TRY(encode_segment(tokenizer, text + segment, offset - segment, out));
			STATUS_TRY(token_buffer_add(out, token));
			offset += matched;
			segment = offset;
		}
	}
	return encode_segment(tokenizer, text + segment, length - segment, out);
}

/* Refuse text and runs that break the promises of the header. */
static Status
check_input(const char *text, size_t length, const TextRun *trusted, size_t n_trusted)
{
	size_t end = 0;

	if (length > MAX_TEXT_BYTES)
		return status_error(STATUS_TOO_LONG, "a text of %zu bytes is longer than %zu", length, MAX_TEXT_BYTES);
	if (!utf8_is_valid(text, length))
		return status_error(STATUS_INVALID_ARGUMENT, "the text is not valid UTF-8");
	for (size_t i = 0; i < n_trusted; i++)
	{
		if (trusted[i].start < end || trusted[i].start > length || trusted[i].length > length - trusted[i].start)
			return status_error(STATUS_INVALID_ARGUMENT,
								"trusted run %zu (byte %zu, %zu bytes) is out of order or outside a text of %zu bytes",
								i, trusted[i].start, trusted[i].length, length);
		end = trusted[i].start + trusted[i].length;
	}
	return status_ok();
}

Status
tokenizer_encode_runs(Tokenizer *tokenizer, const char *text, size_t length, const TextRun *trusted, size_t n_trusted,
					  TokenBuffer *out)
{
	size_t n_before = out->n;
	Status status;

	STATUS_TRY(check_input(text, length, trusted, n_trusted));
	status = encode_segments(tokenizer, text, length, trusted, n_trusted, out);
	tokenizer_release_normalized(tokenizer);
	if (!status_is_ok(&status))
		out->n = n_before;
	return status;
}

Status
tokenizer_encode(Tokenizer *tokenizer, const char *text, size_t length, bool parse_added, TokenBuffer *out)
{
	TextRun all = {0, length};

	return tokenizer_encode_runs(tokenizer, text, length, &all, parse_added ? 1 : 0, out);
}
