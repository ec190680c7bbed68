/*
 * encode_stdin.c - tokens of many strings, for check_tokenizer.py to compare with somebody else's.
 *
 * encode_stdin VOCABULARY < STRINGS > TOKENS
 *
 * VOCABULARY is text: a line "PRE N_TOKENS N_MERGES EOS", a line "TYPE TEXT" for each token, a line "LEFT RIGHT" for
 * each merge. STRINGS is binary: for each string a little-endian uint32 (its length; the highest bit set: added tokens
 * are recognised) and its bytes. TOKENS has a line for each string: "=" when the detokenizer turns the tokens back into
 * the string (as it must where that is in NFC), otherwise "~", and the numbers. With the second highest bit set, the
 * bytes are tokens (int32) instead, and the line has the bytes of their text in hexadecimal; with the third highest
 * too, special tokens are left out of the text, as they are of an answer.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../../src/model/tokenizer.h"

/* End with a message when ok is false. */
static void
require(bool ok, const char *message)
{
	if (ok)
		return;
	fprintf(stderr, "encode_stdin: %s\n", message);
	exit(1);
}

/* The whole of a stream, with a NUL behind it. */
static char *
read_stream(FILE *stream, size_t *length)
{
	size_t capacity = (size_t) 1 << 20, n = 0, got;
	char *bytes = malloc(capacity + 1);

	require(bytes != NULL, "out of memory");
	while ((got = fread(bytes + n, 1, capacity - n, stream)) > 0)
	{
		n += got;
		if (n == capacity)
		{
			capacity *= 2;
			bytes = realloc(bytes, capacity + 1);
			require(bytes != NULL, "out of memory");
		}
	}
	bytes[n] = '\0';
	*length = n;
	return bytes;
}

/* Gather n lines (without their first skip bytes) into one run of bytes with offsets, as an image has them. */
static char *
gather_lines(char **cursor, uint32_t n, uint64_t *offsets, int32_t *types)
{
	size_t capacity = strlen(*cursor), used = 0;
	char *bytes = malloc(capacity + 1);

	require(bytes != NULL, "out of memory");
	offsets[0] = 0;
	for (uint32_t i = 0; i < n; i++)
	{
		char *line = *cursor;
		char *end = strchr(line, '\n');

		require(end != NULL, "the vocabulary ends early");
		*cursor = end + 1;
		if (types)
		{
			require(line[0] >= '0' && line[0] <= '9' && line[1] == ' ', "a token without a type");
			types[i] = line[0] - '0';
			line += 2;
		}
		memcpy(bytes + used, line, (size_t) (end - line));
		used += (size_t) (end - line);
		offsets[i + 1] = used;
	}
	return bytes;
}

/* A vocabulary as an image has it. */
typedef struct Vocabulary
{
	char pre[65];
	char *token_bytes, *merge_bytes;
	uint64_t *token_offsets, *merge_offsets;
	int32_t *types;
} Vocabulary;

/* Read a vocabulary file and make a tokenizer of it, which needs the vocabulary as long as it lives. */
static Tokenizer *
load_vocabulary(const char *path, Vocabulary *vocabulary)
{
	TokenizerSource source = {.model = "gpt2", .pre = vocabulary->pre, .bos = -1, .eot = -1, .padding = -1};
	FILE *stream = fopen(path, "rb");
	Tokenizer *tokenizer;
	char *bytes, *cursor;
	size_t length;
	Status status;

	require(stream != NULL, "cannot open the vocabulary");
	bytes = read_stream(stream, &length);
	fclose(stream);
	require(sscanf(bytes, "%64s %u %u %d", vocabulary->pre, &source.n_tokens, &source.n_merges, &source.eos) == 4,
			"the vocabulary's first line is wrong");
	vocabulary->token_offsets = calloc((size_t) source.n_tokens + 1, sizeof *vocabulary->token_offsets);
	vocabulary->merge_offsets = calloc((size_t) source.n_merges + 1, sizeof *vocabulary->merge_offsets);
	vocabulary->types = calloc((size_t) source.n_tokens + 1, sizeof *vocabulary->types);
	require(vocabulary->token_offsets && vocabulary->merge_offsets && vocabulary->types, "out of memory");
	cursor = strchr(bytes, '\n');
	require(cursor != NULL, "the vocabulary ends early");
	cursor++;
	vocabulary->token_bytes = gather_lines(&cursor, source.n_tokens, vocabulary->token_offsets, vocabulary->types);
	vocabulary->merge_bytes = gather_lines(&cursor, source.n_merges, vocabulary->merge_offsets, NULL);
	free(bytes);
	source.token_bytes = vocabulary->token_bytes;
	source.token_offsets = vocabulary->token_offsets;
	source.token_types = vocabulary->types;
	source.merge_bytes = vocabulary->merge_bytes;
	source.merge_offsets = vocabulary->merge_offsets;
	status = tokenizer_create(&source, &tokenizer);
	require(status_is_ok(&status), status.message);
	return tokenizer;
}

/* Free what the tokenizer stood on. */
static void
free_vocabulary(Vocabulary *vocabulary)
{
	free(vocabulary->token_bytes);
	free(vocabulary->merge_bytes);
	free(vocabulary->token_offsets);
	free(vocabulary->merge_offsets);
	free(vocabulary->types);
}

/* Whether the tokens' bytes, one token at a time through the detokenizer, are the string again. */
static bool
is_round_trip(const Tokenizer *tokenizer, const TokenBuffer *tokens, const char *text, size_t length)
{
	Detokenizer detokenizer = {0};
	ByteWriter out;
	bool is_same;

	byte_writer_init(&out);
	for (size_t i = 0; i < tokens->n; i++)
		detokenizer_push(&detokenizer, tokenizer_token_bytes(tokenizer, tokens->tokens[i]), i + 1 == tokens->n, &out);
	require(!out.failed, "out of memory");
	is_same = out.length == length && (length == 0 || memcmp(out.data, text, length) == 0);
	byte_writer_free(&out);
	return is_same;
}

/* The text of tokens, one at a time through the detokenizer, as a line of hexadecimal. */
static void
print_text(const Tokenizer *tokenizer, const char *bytes, size_t n, bool without_special)
{
	Detokenizer detokenizer = {0};
	ByteReader reader;
	ByteWriter out;

	byte_writer_init(&out);
	byte_reader_init(&reader, bytes, n * 4);
	for (size_t i = 0; i < n; i++)
	{
		int32_t token = (int32_t) read_u32(&reader);
		bool is_left_out = without_special && tokenizer_token_type(tokenizer, token) == TOKEN_CONTROL;

		detokenizer_push(&detokenizer, is_left_out ? (ByteSpan){"", 0} : tokenizer_token_bytes(tokenizer, token),
						 i + 1 == n, &out);
	}
	require(!out.failed, "out of memory");
	for (size_t i = 0; i < out.length; i++)
		printf("%02x", out.data[i]);
	putchar('\n');
	byte_writer_free(&out);
}

int
main(int argc, char **argv)
{
	TokenBuffer tokens = {0};
	Vocabulary vocabulary = {0};
	Tokenizer *tokenizer;
	ByteReader reader;
	char *input;
	size_t input_length;

	require(argc == 2, "usage: encode_stdin VOCABULARY < STRINGS > TOKENS");
	tokenizer = load_vocabulary(argv[1], &vocabulary);
	input = read_stream(stdin, &input_length);
	byte_reader_init(&reader, input, input_length);
	while (byte_reader_left(&reader) > 0)
	{
		uint32_t head = read_u32(&reader);
		size_t length = head & 0x1FFFFFFF;
		const char *text = read_raw(&reader, length);
		Status status;

		require(!reader.failed, "the strings end early");
		if (head >> 30 & 1)
		{
			print_text(tokenizer, text, length / 4, head >> 29 & 1);
			continue;
		}
		tokens.n = 0;
		status = tokenizer_encode(tokenizer, text, length, head >> 31, &tokens);
		require(status_is_ok(&status), status.message);
		putchar(is_round_trip(tokenizer, &tokens, text, length) ? '=' : '~');
		for (size_t i = 0; i < tokens.n; i++)
			printf(" %d", tokens.tokens[i]);
		putchar('\n');
	}
	token_buffer_free(&tokens);
	tokenizer_destroy(tokenizer);
	free_vocabulary(&vocabulary);
	free(input);
	return 0;
}
