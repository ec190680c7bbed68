/*
 * fuzz_format.c - what a client asks of an answer's form: compiled, walked through at random, completed.
 *
 * Input: a byte that seeds the walk, then the response_format; or, from 64 on, tools, of which the upper bits say how
 * they are called.
 */
#include "../../src/format/format.h"
#include "fuzz.h"

#define STEPS 48
#define MAX_ANSWER (512 * 1024)

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	ByteReader input;
	ByteSpan text;
	Format *format;
	Status status;
	FormatState state;
	uint64_t seed;
	ByteWriter answer;
	CallForm form;
	bool has_calls;

	byte_reader_init(&input, data, size);
	seed = read_u8(&input) + 1;
	text = fuzz_rest(&input);
	if (!utf8_is_valid(text.data, text.length) || memchr(text.data, 0, text.length))
		return 0;
	form = (CallForm){.is_of_tags = seed & 64, .has_open = seed & 32, .has_close = seed & 32, .is_lenient = seed & 16};
	form.choice = seed & 128 ? CALLS_MUST : CALLS_MAY;
	has_calls = seed > 64;
	status = !has_calls ? format_compile(text, NULL, &format)
						: format_compile_calls(text, (ByteSpan){NULL, 0}, &form, NULL, &format);
	PROMISE(status.code == STATUS_OK || status.code == STATUS_INVALID_ARGUMENT || status.code == STATUS_UNSUPPORTED ||
			status.code == STATUS_TOO_LONG);
	PROMISE((status.code == STATUS_OK) || !format);
	if (!format)
		return 0;
	byte_writer_init(&answer);
	state = format_start(format);
	for (int step = 0; step < STEPS && !format_is_over(format, state); step++)
	{
		FormatState next = 0;
		unsigned char byte = 0, order;

		/* all bytes in some order until one goes on */
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		order = (unsigned char) (seed >> 41 | 1);
		for (int i = 0; i < 256 && !next && format_status(format).code == STATUS_OK; i++)
		{
			byte = (unsigned char) ((seed >> 33) + (unsigned) i * order);
			next = format_take(format, state, (char *) &byte, 1);
		}
		if (format_status(format).code != STATUS_OK)
			break;
		/* no dead ends */
		PROMISE(next || format_is_complete(format, state));
		if (!next)
			break;
		write_u8(&answer, byte);
		state = next;
	}
	if (format_status(format).code == STATUS_OK && format_complete(format, state, &answer).code == STATUS_OK)
	{
		PROMISE(answer.length < MAX_ANSWER);
		state = format_take(format, format_start(format), answer.data ? (char *) answer.data : "", answer.length);
		PROMISE(format_status(format).code != STATUS_OK || (state && format_is_complete(format, state)));
		/* a free text is any, and calls have bytes of their own */
		PROMISE(has_calls || utf8_is_valid(answer.data ? (char *) answer.data : "", answer.length));
	}
	else
		PROMISE(format_status(format).code != STATUS_INTERNAL);
	byte_writer_free(&answer);
	format_destroy(format);
	return 0;
}
