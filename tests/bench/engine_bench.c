/*
 * engine_bench.c - the engine alone, in one process: tokens per second beside the machine's roofs, and logits for
 * comparisons.
 *
 *   engine_bench --model FILE [--threads N] [--decode N] [--prefill N] [--repeat N]
 *       one JSON object a line: the median of the repeats, and the share of the memory or int8 roof measured beside
 * them engine_bench --model FILE --logits OUT --text TEXT [--chunk N] [--kv f16|f32] writes n_tokens and n_vocab
 * (uint32), the tokens (int32) and the logits of every position (float32) engine_bench --model FILE --greedy N --text
 * TEXT prints the greedy continuation
 */
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../src/base/clock.h"
#include "../../src/engine/forward.h"

typedef struct Bench
{
	Model *model;
	Team *team;
	KvBudget *budget;
	KvPool *pool;
	Forward *forward;
	uint32_t *blocks;
	const char *file;
	uint64_t weight_bytes; /* that a decoded token reads */
} Bench;

static void
die(const char *what, const Status *status)
{
	fprintf(stderr, "engine_bench: %s%s%s\n", what, status ? ": " : "", status ? status->message : "");
	exit(1);
}

static void
check(Status status, const char *what)
{
	if (status.code != STATUS_OK)
		die(what, &status);
}

/* Bytes of a matrix in memory. */
static uint64_t
matrix_bytes(const PackedMatrix *matrix)
{
	return (uint64_t) matrix->tile_bytes * packed_n_tiles(matrix->n_rows);
}

/* All weights that every token reads: the layers' and the output matrix. */
static uint64_t
count_weight_bytes(const Model *model)
{
	uint64_t bytes = matrix_bytes(&model->output);

	for (uint32_t i = 0; i < model->hyper.n_layers; i++)
	{
		const ModelLayer *layer = &model->layers[i];

		bytes += matrix_bytes(&layer->attn_q) + matrix_bytes(&layer->attn_k) + matrix_bytes(&layer->attn_v) +
				 matrix_bytes(&layer->attn_output) + matrix_bytes(&layer->ffn_gate) + matrix_bytes(&layer->ffn_up) +
				 matrix_bytes(&layer->ffn_down);
	}
	return bytes;
}

static void
open_model(Bench *bench, const char *path, int threads, uint32_t max_rows, uint32_t max_logits, KvType kv_type)
{
	char directory[4096];
	ModelLoadRequest request = {.generation = 1, .name = "bench", .allow_io_uring = true, .allow_direct_io = true};
	ModelLoadReport report;
	uint64_t start = clock_now_us();

	snprintf(directory, sizeof directory, "%s", path);
	request.file = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
	if (strrchr(directory, '/'))
		strrchr(directory, '/')[1] = '\0';
	else
		strcpy(directory, ".");
	request.directory = directory;
	request.image_fd = memfd_create("bench", MFD_CLOEXEC);
	check(model_load(&request, &report), "load");
	fprintf(stderr, "engine_bench: loaded %s in %.1f ms\n", request.file, (double) (clock_now_us() - start) / 1000);
	check(model_open(request.image_fd, &bench->model), "open");
	bench->file = request.file;
	bench->team = team_create(threads > 0 ? threads : team_default_threads());
	bench->budget = kv_budget_create((uint64_t) 2 << 30);
	check(kv_pool_create(bench->budget, &bench->model->hyper, kv_type, &bench->pool), "KV pool");
	check(forward_create(bench->model, bench->pool, bench->team, max_rows, 1, max_logits, &bench->forward), "buffers");
	bench->blocks = calloc(kv_pool_max_blocks(bench->pool), sizeof *bench->blocks);
	bench->weight_bytes = count_weight_bytes(bench->model);
}

/* The roofs, measured by all members at once. */
typedef struct Roof
{
	const uint8_t *memory;
	size_t bytes;
	int n_threads;
	uint64_t sink;
} Roof;

static void
read_memory(void *argument, int thread)
{
	Roof *roof = argument;
	const uint64_t *words =
		(const uint64_t *) (const void *) (roof->memory + roof->bytes / (size_t) roof->n_threads * (size_t) thread);
	size_t n = roof->bytes / (size_t) roof->n_threads / 8;
	uint64_t sums[8] = {0};

	for (size_t i = 0; i + 8 <= n; i += 8)
		for (int j = 0; j < 8; j++)
			sums[j] += words[i + (size_t) j];
	for (int j = 0; j < 8; j++)
		__atomic_fetch_add(&roof->sink, sums[j], __ATOMIC_RELAXED);
}

/* GB/s of reading the model's own image. */
static double
measure_memory(const Bench *bench)
{
	Roof roof = {bench->model->image, bench->model->image_bytes, team_size(bench->team), 0};
	uint64_t start = clock_now_us();

	team_run(bench->team, read_memory, &roof);
	return (double) roof.bytes / (double) (clock_now_us() - start) * 1e-3;
}

static int
compare_doubles(const void *a, const void *b)
{
	double x = *(const double *) a, y = *(const double *) b;

	return (x > y) - (x < y);
}

static double
median(double *values, int n)
{
	qsort(values, (size_t) n, sizeof *values, compare_doubles);
	return values[n / 2];
}

/* Rows [first, first + n) of tokens through the model. */
static void
step(Bench *bench, const int32_t *tokens, uint32_t first, uint32_t n, uint32_t n_logits)
{
	StepSequence sequence = {tokens + first, n, first, bench->blocks, n_logits, false};

	forward_step(bench->forward, &sequence, 1);
}

static void
take_blocks(Bench *bench, uint32_t n_positions)
{
	if (!kv_pool_take(bench->pool, kv_blocks_for(n_positions), bench->blocks))
		die("KV cache too small", NULL);
}

/* Tokens that are not all the same and stay in every vocabulary. */
static int32_t *
some_tokens(const Bench *bench, uint32_t n)
{
	int32_t *tokens = calloc(n, sizeof *tokens);

	for (uint32_t i = 0; i < n; i++)
		tokens[i] = (int32_t) ((i * 7919u + 13) % bench->model->hyper.vocab);
	return tokens;
}

static void
bench_decode(Bench *bench, uint32_t n, int repeat)
{
	uint32_t prompt = 16;
	int32_t *tokens = some_tokens(bench, prompt + n);
	double *speeds = calloc((size_t) repeat, sizeof *speeds), *shares = calloc((size_t) repeat, sizeof *shares);

	take_blocks(bench, prompt + n);
	for (int r = 0; r < repeat; r++)
	{
		double before = measure_memory(bench), after, seconds, roof;
		uint64_t start;

		step(bench, tokens, 0, prompt, 1);
		start = clock_now_us();
		for (uint32_t i = 0; i < n; i++)
		{
			const Kernels *kernels = kernels_select();

			step(bench, tokens, prompt + i, 1, 1);
			(void) kernels->argmax(forward_logits(bench->forward, 0, 0), bench->model->hyper.vocab);
		}
		seconds = (double) (clock_now_us() - start) * 1e-6;
		after = measure_memory(bench);
		roof = before > after ? before : after;
		speeds[r] = n / seconds;
		shares[r] = (double) bench->weight_bytes * n / seconds * 1e-9 / roof;
	}
	printf("{\"bench\": \"decode\", \"file\": \"%s\", \"threads\": %d, \"ours\": %.1f, \"unit\": \"tok/s\", "
		   "\"bytes_per_token\": %llu, \"of_roof\": %.2f}\n",
		   bench->file, team_size(bench->team), median(speeds, repeat), (unsigned long long) bench->weight_bytes,
		   median(shares, repeat));
	kv_pool_give(bench->pool, kv_blocks_for(prompt + n), bench->blocks);
	free(tokens);
	free(speeds);
	free(shares);
}

static void
bench_prefill(Bench *bench, uint32_t n, uint32_t chunk, int repeat)
{
	int32_t *tokens = some_tokens(bench, n);
	double *speeds = calloc((size_t) repeat, sizeof *speeds);

	take_blocks(bench, n);
	for (int r = 0; r < repeat; r++)
	{
		uint64_t start = clock_now_us();

		for (uint32_t i = 0; i < n; i += chunk)
			step(bench, tokens, i, n - i < chunk ? n - i : chunk, n - i <= chunk);
		speeds[r] = n / ((double) (clock_now_us() - start) * 1e-6);
	}
	printf("{\"bench\": \"prefill\", \"file\": \"%s\", \"threads\": %d, \"tokens\": %u, \"ours\": %.1f, \"unit\": "
		   "\"tok/s\"}\n",
		   bench->file, team_size(bench->team), n, median(speeds, repeat));
	kv_pool_give(bench->pool, kv_blocks_for(n), bench->blocks);
	free(tokens);
	free(speeds);
}

/* Tokens of a text, with the beginning-of-text token where the file asks for it. */
static TokenBuffer
encode(const Bench *bench, const char *text)
{
	TokenBuffer buffer = {NULL, 0, 0};

	check(tokenizer_encode(bench->model->tokenizer, text, strlen(text), true, &buffer), "tokenize");
	if (buffer.n == 0)
		die("the text has no tokens", NULL);
	return buffer;
}

static void
write_logits(Bench *bench, const char *text, const char *path, uint32_t chunk)
{
	TokenBuffer tokens = encode(bench, text);
	FILE *out = fopen(path, "wb");
	uint32_t sizes[2] = {(uint32_t) tokens.n, bench->model->hyper.vocab};

	if (!out)
		die("cannot write the logits", NULL);
	take_blocks(bench, sizes[0]);
	fwrite(sizes, 4, 2, out);
	fwrite(tokens.tokens, 4, tokens.n, out);
	for (uint32_t i = 0; i < sizes[0]; i += chunk)
	{
		uint32_t n = sizes[0] - i < chunk ? sizes[0] - i : chunk;

		step(bench, tokens.tokens, i, n, n);
		for (uint32_t j = 0; j < n; j++)
			fwrite(forward_logits(bench->forward, 0, j), 4, sizes[1], out);
	}
	fclose(out);
	token_buffer_free(&tokens);
}

static void
print_greedy(Bench *bench, const char *text, uint32_t n)
{
	TokenBuffer tokens = encode(bench, text);
	uint32_t length = (uint32_t) tokens.n;
	int32_t *all = calloc(length + n, sizeof *all);
	const Kernels *kernels = kernels_select();

	memcpy(all, tokens.tokens, length * sizeof *all);
	take_blocks(bench, length + n);
	step(bench, all, 0, length, 1);
	for (uint32_t i = 0; i < n; i++)
	{
		ByteSpan piece;

		all[length + i] = (int32_t) kernels->argmax(forward_logits(bench->forward, 0, 0), bench->model->hyper.vocab);
		if (tokenizer_is_end(bench->model->tokenizer, all[length + i]))
			break;
		piece = tokenizer_token_bytes(bench->model->tokenizer, all[length + i]);
		fwrite(piece.data, 1, piece.length, stdout);
		if (i + 1 < n)
			step(bench, all, length + i, 1, 1);
	}
	putchar('\n');
	free(all);
	token_buffer_free(&tokens);
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{"model", required_argument, NULL, 'm'},
		{"threads", required_argument, NULL, 't'},
		{"decode", required_argument, NULL, 'd'},
		{"prefill", required_argument, NULL, 'p'},
		{"repeat", required_argument, NULL, 'r'},
		{"logits", required_argument, NULL, 'l'},
		{"text", required_argument, NULL, 'x'},
		{"chunk", required_argument, NULL, 'c'},
		{"kv", required_argument, NULL, 'k'},
		{"greedy", required_argument, NULL, 'g'},
		{NULL, 0, NULL, 0},
	};
	const char *model = NULL, *logits = NULL, *text = "";
	int threads = 0, decode = 0, prefill = 0, repeat = 5, greedy = 0, option;
	uint32_t chunk = 512;
	KvType kv_type = KV_F16;
	Bench bench = {0};

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (option)
		{
			case 'm':
				model = optarg;
				break;
			case 't':
				threads = atoi(optarg);
				break;
			case 'd':
				decode = atoi(optarg);
				break;
			case 'p':
				prefill = atoi(optarg);
				break;
			case 'r':
				repeat = atoi(optarg);
				break;
			case 'l':
				logits = optarg;
				break;
			case 'x':
				text = optarg;
				break;
			case 'c':
				chunk = (uint32_t) atoi(optarg);
				break;
			case 'k':
				kv_type = strcmp(optarg, "f32") == 0 ? KV_F32 : KV_F16;
				break;
			case 'g':
				greedy = atoi(optarg);
				break;
			default:
				return 2;
		}
	if (!model || repeat < 1 || chunk < 1)
		die("usage: engine_bench --model FILE …", NULL);
	open_model(&bench, model, threads, chunk > 512 ? chunk : 512, logits ? chunk : 1, kv_type);
	if (decode > 0)
		bench_decode(&bench, (uint32_t) decode, repeat);
	if (prefill > 0)
		bench_prefill(&bench, (uint32_t) prefill, chunk, repeat);
	if (logits)
		write_logits(&bench, text, logits, chunk);
	if (greedy > 0)
		print_greedy(&bench, text, (uint32_t) greedy);
	forward_destroy(bench.forward);
	kv_pool_destroy(bench.pool);
	kv_budget_destroy(bench.budget);
	team_destroy(bench.team);
	model_close(bench.model);
	free(bench.blocks);
	return 0;
}
