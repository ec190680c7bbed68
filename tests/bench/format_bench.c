/*
 * format_bench.c - how long formats take to compile and their masks to be found, for bench_format.py to compare with
 * somebody else's.
 *
 *   format_bench VOCABULARY CASES ROUNDS ROWS
 *
 * VOCABULARY: for each token a little-endian uint32 (its length; 0: no ordinary one) and its bytes. CASES: for each a
 * uint32 and the response_format, then a uint32 and so many uint32, the tokens of an answer. Of every case a line:
 * the microseconds of compiling, of one mask that is kept already, of taking one token, whether the answer was let
 * through (1), and those of each mask when it is found first; each is the least of so many rounds. A last line has the
 * microseconds of each step in which so many cases take their next token side by side: all their masks and tokens.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../src/format/masks.h"

#define MAX_CASES 4096
#define MAX_TOKENS 8192

typedef struct BenchCase
{
	ByteSpan text;
	uint32_t n;
	const uint32_t *tokens;
	double *masks;
	double compile, kept, take;
	bool is_right;
} BenchCase;

static ByteSpan *vocabulary_spans;
static Vocabulary *vocabulary;
static MaskScratch *scratch;
static BenchCase cases[MAX_CASES];
static uint32_t n_cases;

static void
require(bool ok, const char *message)
{
	if (ok)
		return;
	fprintf(stderr, "format_bench: %s\n", message);
	exit(1);
}

/* Of this thread: what others do meanwhile does not count. */
static double
now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double) now.tv_sec * 1e6 + (double) now.tv_nsec / 1e3;
}

static ByteSpan
read_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	char *bytes;
	long size;

	require(file && fseek(file, 0, SEEK_END) == 0, "cannot read a file");
	size = ftell(file);
	rewind(file);
	bytes = malloc((size_t) size + 1);
	require(bytes && fread(bytes, 1, (size_t) size, file) == (size_t) size, "cannot read a file");
	fclose(file);
	return (ByteSpan){bytes, (size_t) size};
}

static uint32_t
take_word(ByteSpan *span)
{
	uint32_t word;

	require(span->length >= 4, "a file is too short");
	memcpy(&word, span->data, 4);
	span->data += 4;
	span->length -= 4;
	return word;
}

static ByteSpan
take_bytes(ByteSpan *span, size_t n)
{
	ByteSpan bytes = {span->data, n};

	require(span->length >= n, "a file is too short");
	span->data += n;
	span->length -= n;
	return bytes;
}

static void
read_vocabulary(const char *path)
{
	ByteSpan file = read_file(path);
	uint32_t n = 0, capacity = 0;

	while (file.length > 0)
	{
		uint32_t length = take_word(&file);

		if (n == capacity)
		{
			capacity = capacity ? 2 * capacity : 1 << 16;
			vocabulary_spans = realloc(vocabulary_spans, capacity * sizeof *vocabulary_spans);
			require(vocabulary_spans != NULL, "no memory");
		}
		vocabulary_spans[n] = take_bytes(&file, length);
		if (length == 0)
			vocabulary_spans[n].data = NULL;
		n++;
	}
	vocabulary = vocabulary_create(vocabulary_spans, n);
	scratch = vocabulary ? mask_scratch_create(vocabulary) : NULL;
	require(vocabulary != NULL, "no memory");
}

static void
read_cases(const char *path)
{
	ByteSpan file = read_file(path);

	while (file.length > 0)
	{
		BenchCase *one = &cases[n_cases++];
		uint32_t *tokens;

		require(n_cases <= MAX_CASES, "too many cases");
		one->text = take_bytes(&file, take_word(&file));
		one->n = take_word(&file);
		require(one->n <= MAX_TOKENS, "an answer is too long");
		tokens = malloc((one->n + 1) * sizeof *tokens);
		one->masks = calloc(one->n + 1, sizeof *one->masks);
		require(tokens && one->masks, "no memory");
		for (uint32_t i = 0; i < one->n; i++)
			tokens[i] = take_word(&file);
		one->tokens = tokens;
	}
}

static bool
mask_has(const TokenMask *mask, uint32_t token)
{
	if (mask->bits)
		return mask->bits[token / 64] >> token % 64 & 1;
	for (uint32_t i = 0; i < mask->n; i++)
		if (mask->list[i] == token)
			return true;
	return false;
}

static void
keep_least(double *least, double value, int round)
{
	if (round == 0 || value < *least)
		*least = value;
}

static FormatState
take(Format *format, FormatState state, uint32_t token)
{
	return format_take(format, state, vocabulary_spans[token].data, vocabulary_spans[token].length);
}

/* One case once: compiled, and its answer walked. */
static void
run_case(BenchCase *one, int round)
{
	Format *format;
	Masks *masks;
	FormatState state, states[MAX_TOKENS + 1];
	double begin = now_us(), taking = 0;
	Status status = format_compile(one->text, NULL, &format);

	if (status.code != STATUS_OK)
	{
		keep_least(&one->compile, now_us() - begin, round);
		return;
	}
	masks = masks_create(format, vocabulary, scratch);
	keep_least(&one->compile, now_us() - begin, round);
	require(masks != NULL, "no memory");
	state = format_start(format);
	one->is_right = true;
	for (uint32_t i = 0; i < one->n && one->is_right; i++)
	{
		const TokenMask *mask;

		states[i] = state;
		begin = now_us();
		mask = masks_get(masks, state);
		keep_least(&one->masks[i], now_us() - begin, round);
		one->is_right = mask && mask_has(mask, one->tokens[i]);
		begin = now_us();
		state = one->is_right ? take(format, state, one->tokens[i]) : 0;
		taking += now_us() - begin;
	}
	keep_least(&one->take, taking / (one->n ? one->n : 1), round);
	one->is_right = one->is_right && format_is_complete(format, state);
	begin = now_us();
	for (uint32_t i = 0; i < one->n && one->is_right; i++)
		require(masks_get(masks, states[i]) != NULL, "a mask is gone");
	keep_least(&one->kept, (now_us() - begin) / (one->n ? one->n : 1), round);
	masks_destroy(masks);
	format_destroy(format);
}

/* So many cases side by side, all new: the time of each step. */
static void
run_batch(uint32_t first, uint32_t n_rows, double *steps, uint32_t *n_steps, int round)
{
	Format *formats[64];
	Masks *masks[64];
	FormatState states[64];
	uint32_t longest = 0;

	for (uint32_t row = 0; row < n_rows; row++)
	{
		const BenchCase *one = &cases[first + row];

		require(format_compile(one->text, NULL, &formats[row]).code == STATUS_OK, "a case does not compile");
		masks[row] = masks_create(formats[row], vocabulary, scratch);
		require(masks[row] != NULL, "no memory");
		states[row] = format_start(formats[row]);
		longest = one->n > longest ? one->n : longest;
	}
	for (uint32_t i = 0; i < longest; i++)
	{
		double begin = now_us();

		for (uint32_t row = 0; row < n_rows; row++)
			if (i < cases[first + row].n)
			{
				(void) masks_get(masks[row], states[row]);
				states[row] = take(formats[row], states[row], cases[first + row].tokens[i]);
			}
		keep_least(&steps[i], now_us() - begin, round);
	}
	*n_steps = longest;
	for (uint32_t row = 0; row < n_rows; row++)
	{
		masks_destroy(masks[row]);
		format_destroy(formats[row]);
	}
}

int
main(int argc, char **argv)
{
	static double steps[MAX_TOKENS];
	uint32_t n_rows, n_steps;
	int n_rounds;

	require(argc == 5, "VOCABULARY CASES ROUNDS ROWS");
	n_rounds = atoi(argv[3]);
	n_rows = (uint32_t) atoi(argv[4]);
	require(n_rows >= 1 && n_rows <= 64, "1 to 64 rows");
	read_vocabulary(argv[1]);
	read_cases(argv[2]);
	for (int round = 0; round < n_rounds; round++)
		for (uint32_t i = 0; i < n_cases; i++)
			run_case(&cases[i], round);
	for (uint32_t i = 0; i < n_cases; i++)
	{
		const BenchCase *one = &cases[i];

		printf("%.3f %.4f %.4f %d", one->compile, one->kept, one->take, one->is_right);
		for (uint32_t k = 0; k < one->n; k++)
			printf(" %.3f", one->masks[k]);
		printf("\n");
	}
	for (uint32_t first = 0; first + n_rows <= n_cases; first += n_rows)
	{
		for (int round = 0; round < n_rounds; round++)
			run_batch(first, n_rows, steps, &n_steps, round);
		for (uint32_t i = 0; i < n_steps; i++)
			printf("%.2f ", steps[i]);
	}
	printf("\n");
	mask_scratch_destroy(scratch);
	vocabulary_destroy(vocabulary);
	return 0;
}
