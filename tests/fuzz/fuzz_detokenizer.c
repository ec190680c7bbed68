/*
 * fuzz_detokenizer.c - bytes of tokens to whole characters, however they are cut, against one pass over all of them.
 *
 * Input: the size of the pieces (byte), then the bytes.
 */
#include "../../src/model/tokenizer.h"
#include "fuzz.h"

static void
detokenize(ByteSpan bytes, size_t step, ByteWriter *out)
{
	Detokenizer detokenizer = {.n_held = 0};

	for (size_t at = 0; at < bytes.length; at += step)
	{
		size_t n = bytes.length - at < step ? bytes.length - at : step;

		detokenizer_push(&detokenizer, (ByteSpan){bytes.data + at, n}, false, out);
		PROMISE(detokenizer.n_held <= 3);
		PROMISE(utf8_is_valid((char *) out->data, out->length));
	}
	detokenizer_push(&detokenizer, (ByteSpan){"", 0}, true, out);
	PROMISE(detokenizer.n_held == 0 && !out->failed);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	ByteWriter whole, pieces;
	ByteReader input;
	ByteSpan bytes;
	size_t step;

	byte_reader_init(&input, data, size);
	step = (size_t) read_u8(&input) % 8 + 1;
	bytes = fuzz_rest(&input);
	byte_writer_init(&whole);
	byte_writer_init(&pieces);
	detokenize(bytes, bytes.length + 1, &whole);
	detokenize(bytes, step, &pieces);
	PROMISE(whole.length == pieces.length);
	PROMISE(whole.length == 0 || memcmp(whole.data, pieces.data, whole.length) == 0);
	PROMISE(utf8_is_valid((char *) whole.data, whole.length));
	/* text that is well-formed stays as it is */
	if (utf8_is_valid(bytes.data, bytes.length))
		PROMISE(whole.length == bytes.length &&
				(whole.length == 0 || memcmp(whole.data, bytes.data, whole.length) == 0));
	byte_writer_free(&whole);
	byte_writer_free(&pieces);
	return 0;
}
