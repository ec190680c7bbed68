/*
 * fuzz_tokenizer.c - any text to tokens and back, with and without trusted runs, and cut into chunks.
 *
 * Input: size of chunks, overlap, and first and last byte of what is trusted (a byte each), then the text. A vocabulary
 * of all bytes, some merges and some added tokens is made once.
 */
#include <utf8proc.h>

#include "../../src/model/chunker.h"
#include "../../src/model/tokenizer.h"
#include "fuzz.h"

#define MAX_TOKENS 400

typedef struct Strings
{
	uint64_t offsets[MAX_TOKENS + 1];
	char bytes[MAX_TOKENS * 16];
	uint32_t n;
} Strings;

static Strings tokens, merges;
static int32_t types[MAX_TOKENS];

static int32_t
add(Strings *strings, const char *text, int32_t type)
{
	size_t length = strlen(text);

	memcpy(strings->bytes + strings->offsets[strings->n], text, length);
	strings->offsets[strings->n + 1] = strings->offsets[strings->n] + length;
	if (strings == &tokens)
		types[strings->n] = type;
	return (int32_t) strings->n++;
}

/* The bytes in GPT-2's alphabet, merges of letters, spaces and parts of characters, and added tokens. */
static Tokenizer *
make_tokenizer(void)
{
	static const char *const pairs[] = {"h e",   "l l", "he ll", "hell o", "Ġ w", "o r", "Ġw or", "a b",  "a a",
										"aa aa", "Ġ Ġ", "ĠĠ ĠĠ", "1 2",    "' s", "Ċ Ċ", "č Ċ",   "Ã ©",  "ð Ł",
										"ðŁ ĺ",  "< |", "| >",   ". .",    "j k", "k t", "m n",   "t mn", "e ll"};
	TokenizerSource source = {.model = "gpt2", .pre = "qwen2", .bos = -1, .padding = -1, .eot = -1};
	Tokenizer *tokenizer;
	uint32_t next = 256;

	for (uint32_t byte = 0; byte < 256; byte++)
	{
		bool prints = (byte > 32 && byte < 127) || (byte > 160 && byte != 173);
		char text[5] = {0};

		utf8_write(prints ? byte : next++, text);
		add(&tokens, text, TOKEN_NORMAL);
	}
	for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
	{
		const char *space = strchr(pairs[i], ' ');
		char product[32];

		snprintf(product, sizeof product, "%.*s%s", (int) (space - pairs[i]), pairs[i], space + 1);
		add(&tokens, product, TOKEN_NORMAL);
		add(&merges, pairs[i], 0);
	}
	add(&tokens, "<|im_start|>", TOKEN_CONTROL);
	source.eos = add(&tokens, "<|im_end|>", TOKEN_CONTROL);
	add(&tokens, "<think>", TOKEN_USER_DEFINED);
	add(&tokens, "<thi", TOKEN_USER_DEFINED);
	add(&tokens, "é<", TOKEN_USER_DEFINED);
	source.n_tokens = tokens.n;
	source.token_offsets = tokens.offsets;
	source.token_bytes = tokens.bytes;
	source.token_types = types;
	source.n_merges = merges.n;
	source.merge_offsets = merges.offsets;
	source.merge_bytes = merges.bytes;
	PROMISE(tokenizer_create(&source, &tokenizer).code == STATUS_OK);
	return tokenizer;
}

/* What the tokens stand for. */
static ByteWriter
decode(const Tokenizer *tokenizer, const TokenBuffer *buffer)
{
	ByteWriter text;

	byte_writer_init(&text);
	for (size_t i = 0; i < buffer->n; i++)
	{
		ByteSpan bytes = tokenizer_token_bytes(tokenizer, buffer->tokens[i]);

		PROMISE(buffer->tokens[i] >= 0 && (uint32_t) buffer->tokens[i] < tokens.n && bytes.length > 0);
		write_raw(&text, bytes.data, bytes.length);
	}
	return text;
}

static uint32_t
n_added(const Tokenizer *tokenizer, const TokenBuffer *buffer)
{
	uint32_t n = 0;

	for (size_t i = 0; i < buffer->n; i++)
		n += tokenizer_token_type(tokenizer, buffer->tokens[i]) != TOKEN_NORMAL;
	return n;
}

/* All of it data: the NFC of the text comes back, and no added token is among the tokens. */
static void
check_data(Tokenizer *tokenizer, ByteSpan text)
{
	TokenBuffer buffer = {0};
	utf8proc_uint8_t *normalized;
	ByteWriter back;

	PROMISE(tokenizer_encode(tokenizer, text.data, text.length, false, &buffer).code == STATUS_OK);
	PROMISE(n_added(tokenizer, &buffer) == 0);
	back = decode(tokenizer, &buffer);
	normalized = utf8proc_NFC((const utf8proc_uint8_t *) text.data);
	PROMISE(normalized && back.length == strlen((char *) normalized));
	PROMISE(back.length == 0 || memcmp(back.data, normalized, back.length) == 0);
	free(normalized);
	byte_writer_free(&back);
	token_buffer_free(&buffer);
}

/* Added tokens stand only in what is trusted: at most as many as fit into it. */
static void
check_trusted(Tokenizer *tokenizer, ByteSpan text, size_t first, size_t last)
{
	TokenBuffer buffer = {0};
	ByteWriter back;
	TextRun run;

	first = first < text.length ? first : text.length;
	last = last < text.length ? last : text.length;
	while (first > 0 && first < text.length && ((unsigned char) text.data[first] & 0xC0) == 0x80)
		first--;
	while (last < text.length && ((unsigned char) text.data[last] & 0xC0) == 0x80)
		last++;
	run = (TextRun){first, last > first ? last - first : 0};
	PROMISE(tokenizer_encode_runs(tokenizer, text.data, text.length, &run, 1, &buffer).code == STATUS_OK);
	PROMISE(n_added(tokenizer, &buffer) <= run.length / 3);
	back = decode(tokenizer, &buffer);
	byte_writer_free(&back);
	token_buffer_free(&buffer);
}

/* Pieces lie inside the text, go forward, keep to the size, and leave out nothing but white space. */
static void
check_chunks(Tokenizer *tokenizer, ByteSpan text, uint32_t max_tokens, uint32_t overlap)
{
	uint64_t n_tokens;
	size_t covered = 0;
	ByteWriter offsets;
	Status status;

	byte_writer_init(&offsets);
	status = chunk_text(tokenizer, text, max_tokens, overlap, &offsets, &n_tokens);
	PROMISE(status.code ==
			(max_tokens < CHUNK_MIN_TOKENS || overlap * 2 >= max_tokens ? STATUS_INVALID_ARGUMENT : STATUS_OK));
	for (size_t at = 0; at < offsets.length; at += 8)
	{
		int32_t pair[2];
		TokenBuffer buffer = {0};

		memcpy(pair, offsets.data + at, 8);
		PROMISE(pair[0] >= 0 && pair[1] > 0 && (size_t) pair[0] + (size_t) pair[1] <= text.length);
		PROMISE(utf8_is_valid(text.data + pair[0], (size_t) pair[1]));
		for (; covered < (size_t) pair[0]; covered++)
			PROMISE(!((unsigned char) text.data[covered] > 32 && (unsigned char) text.data[covered] < 127));
		covered = (size_t) pair[0] + (size_t) pair[1];
		PROMISE(tokenizer_encode(tokenizer, text.data + pair[0], (size_t) pair[1], false, &buffer).code == STATUS_OK);
		PROMISE(buffer.n <= max_tokens);
		token_buffer_free(&buffer);
	}
	byte_writer_free(&offsets);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static Tokenizer *tokenizer;
	uint8_t max_tokens, overlap, first, last;
	ByteReader input;
	ByteSpan text;

	if (!tokenizer)
		tokenizer = make_tokenizer();
	byte_reader_init(&input, data, size);
	max_tokens = read_u8(&input);
	overlap = read_u8(&input);
	first = read_u8(&input);
	last = read_u8(&input);
	text = fuzz_valid_text(fuzz_rest(&input));
	check_data(tokenizer, text);
	check_trusted(tokenizer, text, first, last);
	check_chunks(tokenizer, text, max_tokens, overlap);
	fuzz_free(text);
	return 0;
}
