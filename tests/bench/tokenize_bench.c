/*
 * tokenize_bench.c - how fast one thread turns texts into tokens, for bench_tokenize.py to compare with somebody
 * else's.
 *
 *   tokenize_bench MODEL TEXTS TOKENS PASSES
 *
 * TEXTS: for each text a little-endian uint32 (its length) and its bytes, UTF-8. All texts are encoded PASSES times,
 * with the added tokens recognised; a line of standard output has the seconds of each pass. TOKENS gets those of each
 * text: a uint32 (how many) and so many int32.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "../../src/base/clock.h"
#include "../../src/model/model.h"

/* End with a message when ok is false. */
static void
require(bool ok, const char *message)
{
	if (ok)
		return;
	fprintf(stderr, "tokenize_bench: %s\n", message);
	exit(1);
}

/* The whole of a file. */
static char *
read_file(const char *path, size_t *length)
{
	FILE *file = fopen(path, "rb");
	char *bytes;
	long size;

	require(file && fseek(file, 0, SEEK_END) == 0, "cannot read the texts");
	size = ftell(file);
	rewind(file);
	bytes = malloc((size_t) size + 1);
	require(bytes && fread(bytes, 1, (size_t) size, file) == (size_t) size, "cannot read the texts");
	fclose(file);
	*length = (size_t) size;
	return bytes;
}

/* A model file, loaded. */
static Model *
open_model(const char *path)
{
	char directory[4096];
	ModelLoadRequest request = {.generation = 1, .name = "bench", .allow_io_uring = true, .allow_direct_io = true};
	ModelLoadReport report;
	Model *model;
	const char *slash = strrchr(path, '/');
	Status status;

	snprintf(directory, sizeof directory, "%.*s", slash ? (int) (slash - path + 1) : 1, slash ? path : ".");
	request.directory = directory;
	request.file = slash ? slash + 1 : path;
	request.image_fd = memfd_create("bench", MFD_CLOEXEC);
	status = model_load(&request, &report);
	require(status_is_ok(&status), status.message);
	status = model_open(request.image_fd, &model);
	require(status_is_ok(&status), status.message);
	return model;
}

/* Encode all texts; the tokens go to file, unless it is NULL. */
static void
encode_all(Tokenizer *tokenizer, const char *bytes, size_t length, TokenBuffer *tokens, FILE *file)
{
	ByteReader reader;

	byte_reader_init(&reader, bytes, length);
	while (byte_reader_left(&reader) > 0)
	{
		uint32_t text_length = read_u32(&reader);
		const char *text = read_raw(&reader, text_length);
		Status status;

		require(!reader.failed, "the texts end early");
		tokens->n = 0;
		status = tokenizer_encode(tokenizer, text, text_length, true, tokens);
		require(status_is_ok(&status), status.message);
		if (file)
		{
			uint32_t n = (uint32_t) tokens->n;

			require(fwrite(&n, sizeof n, 1, file) == 1 && fwrite(tokens->tokens, sizeof *tokens->tokens, n, file) == n,
					"cannot write the tokens");
		}
	}
}

int
main(int argc, char **argv)
{
	TokenBuffer tokens = {0};
	Model *model;
	char *bytes;
	size_t length;
	FILE *file;

	require(argc == 5, "usage: tokenize_bench MODEL TEXTS TOKENS PASSES");
	model = open_model(argv[1]);
	bytes = read_file(argv[2], &length);
	for (int i = 0; i < atoi(argv[4]); i++)
	{
		uint64_t start = clock_now_us();

		encode_all(model->tokenizer, bytes, length, &tokens, NULL);
		printf("%s%.6f", i > 0 ? " " : "", (double) (clock_now_us() - start) * 1e-6);
	}
	putchar('\n');
	file = fopen(argv[3], "wb");
	require(file != NULL, "cannot write the tokens");
	encode_all(model->tokenizer, bytes, length, &tokens, file);
	require(fclose(file) == 0, "cannot write the tokens");
	token_buffer_free(&tokens);
	free(bytes);
	model_close(model);
	return 0;
}
