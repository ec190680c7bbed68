/*
 * engine_bench.c - the engine alone, in one process: tokens per second beside the machine's roofs, and logits for
 * comparisons.
 *
 *   engine_bench --model FILE [--threads N] [--decode N] [--prefill N] [--batch SEQUENCES] [--context N] [--repeat N]
 *
 * One JSON object a line: the median of the repeats, and the share of the memory or int8 roof measured beside them.
 * --context: positions that stand in the cache already, with made-up keys and values. --batch: so many sequences of
 * --prompt (128) tokens and 64 more each. --kv: the cache's number type. --settings: context, rotation and the type of
 * states, as they stand behind the file in qwen.models. --huge-pages: weights on pages of 2 MB, as the engine serves
 * them once it had the time to put them there.
 *
 * --adapter: a LoRA file beside the model, which may be given several times; --adapters: so many of them, the files in
 * turns, each with memory of its own. Sequence number i has adapter number i modulo their number, with
 * --adapter-scale; an empty name is no adapter. --batch and --prefill measure what that costs then: every step with and
 * without, in turn. --logits writes one after the other what sequences with each of them get side by side.
 *
 *   engine_bench --roofs [--threads N] [--disk FILE]
 *
 * What the machine can do.
 *
 *   engine_bench --model FILE --logits OUT --text TEXT [--chunk N] [--kv f16|q8_0|f32] [--states OUT]
 *
 * Writes n_tokens and n_vocab (uint32), the tokens (int32) and the logits of every position (float32); of a hybrid
 * also the states behind the text.
 *
 *   engine_bench --model FILE --guesses OUT --text TEXT [--chunk N] [--kv f16|q8_0|f32]
 *
 * Writes what the model's layer that guesses says, for slices up to the middle of the text and then behind each token:
 * a position (uint32), logits (float32) of the layer's row there, and of the next one, which goes on from the first.
 *
 *   engine_bench --model FILE --greedy N --text TEXT
 *
 * Prints the greedy continuation.
 */
#include <fcntl.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../src/base/pages.h"
#include "../../src/engine/forward.h"
#include "../../src/engine/model_terms.h"
#include "disk.h"
#include "roofs.h"

#define MAX_ADAPTERS 64

typedef struct Bench
{
	Model *model;
	Team *team;
	KvBudget *budget;
	KvPool *pool;
	Forward *forward;
	uint32_t *states; /* [sequences] of a hybrid's, of their pool; NULL: it has none */
	uint32_t *blocks;
	int image_fd;
	Adapter *adapters[MAX_ADAPTERS]; /* [n_adapters], of which sequences take turns */
	uint32_t n_adapters;
	bool without_adapters; /* leave them out for now */
	float adapter_scale;
	const char *file;
	FILE *out; /* for guesses */
	bool huge_pages;
	uint64_t weight_bytes; /* that a decoded token reads */
	double layer_ops;      /* int8 operations of a row in the layers' products */
	double output_ops;     /* and in the output matrix */
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

/* A multiplication and an addition for each element. */
static double
matrix_ops(const PackedMatrix *matrix)
{
	return 2.0 * matrix->n_rows * matrix->n_cols;
}

/* Sizes of all weights that every token reads: the layers' and the output matrix. */
static void
count_weights(Bench *bench)
{
	const Model *model = bench->model;

	bench->weight_bytes = matrix_bytes(&model->output);
	bench->output_ops = matrix_ops(&model->output);
	for (uint32_t i = 0; i < model->hyper.n_layers; i++)
	{
		const ModelLayer *layer = &model->layers[i];
		const PackedMatrix *matrices[] = {
			&layer->attn_q,        &layer->attn_k,      &layer->attn_v,      &layer->attn_output, &layer->ffn_gate,
			&layer->ffn_up,        &layer->ffn_down,    &layer->router,      &layer->shared_gate, &layer->shared_up,
			&layer->shared_router, &layer->shared_down, &layer->delta_q,     &layer->delta_k,     &layer->delta_v,
			&layer->delta_gate,    &layer->delta_beta,  &layer->delta_alpha, &layer->delta_output};
		const PackedMatrix *experts[] = {&layer->expert_gate, &layer->expert_up, &layer->expert_down};

		for (size_t m = 0; m < sizeof matrices / sizeof matrices[0]; m++)
		{
			bench->weight_bytes += matrix_bytes(matrices[m]);
			bench->layer_ops += matrix_ops(matrices[m]);
		}
		/* of experts a row reads some */
		for (size_t m = 0; m < 3 && model->hyper.n_experts > 0; m++)
		{
			bench->weight_bytes += matrix_bytes(experts[m]) / model->hyper.n_experts * model->hyper.n_used_experts;
			bench->layer_ops += matrix_ops(experts[m]) / model->hyper.n_experts * model->hyper.n_used_experts;
		}
	}
}

/* What qwen.models may have behind the file, of it the context and the rotation. */
static void
apply_settings(Model *model, const char *text)
{
	ModelSettings settings;
	ContextSettings context;

	check(model_settings_parse(text, strlen(text), 1, &settings), "settings");
	context = model_terms_context(&settings);
	check(context_apply(&model->hyper, &context), "settings");
	model->hyper.state_type = model_terms_state_type(&settings, STATE_F32);
}

/* The folder of a file, and its name in there. */
static const char *
split_path(const char *path, char *directory, size_t size)
{
	snprintf(directory, size, "%s", path);
	if (!strrchr(directory, '/'))
	{
		snprintf(directory, size, ".");
		return path;
	}
	strrchr(directory, '/')[1] = '\0';
	return strrchr(path, '/') + 1;
}

static void
open_model(Bench *bench, const char *path, int threads, uint32_t max_rows, uint32_t max_sequences, uint32_t max_logits,
		   KvType kv_type, uint64_t kv_bytes, const char *settings)
{
	char directory[4096];
	ModelLoadRequest request = {.generation = 1, .name = "bench", .allow_io_uring = true, .allow_direct_io = true};
	ModelLoadReport report;
	uint64_t start = clock_now_us();

	request.file = split_path(path, directory, sizeof directory);
	request.directory = directory;
	request.image_fd = bench->image_fd = memfd_create("bench", MFD_CLOEXEC);
	check(model_load(&request, &report), "load");
	fprintf(stderr, "engine_bench: loaded %s in %.1f ms\n", request.file, (double) (clock_now_us() - start) / 1000);
	check(model_open(request.image_fd, &bench->model), "open");
	apply_settings(bench->model, settings);
	if (bench->huge_pages && !pages_collapse((void *) bench->model->image, bench->model->image_bytes))
		fprintf(stderr, "engine_bench: not all weights are on huge pages\n");
	bench->file = request.file;
	bench->team = team_create(threads > 0 ? threads : team_default_threads());
	bench->budget = kv_budget_create(kv_bytes);
	check(
		kv_pool_create(bench->budget, &bench->model->hyper, kv_type, bench->model->key_outliers != NULL, &bench->pool),
		"KV pool");
	check(forward_create(bench->model, bench->pool, bench->team, max_rows, max_sequences, max_logits, &bench->forward),
		  "buffers");
	bench->blocks = calloc(kv_pool_max_blocks(bench->pool), sizeof *bench->blocks);
	if (kv_pool_states(bench->pool))
	{
		bench->states = calloc(max_sequences, sizeof *bench->states);
		if (!kv_pool_take(kv_pool_states(bench->pool), max_sequences, bench->states))
			die("KV cache too small for so many states", NULL);
	}
	count_weights(bench);
}

/* Load a file as the next adapter of the model, with memory of its own. */
static void
load_adapter(Bench *bench, const char *path)
{
	char directory[4096];
	AdapterLoadRequest request = {.generation = 1, .base_generation = 1, .name = "bench", .model = "bench"};
	AdapterLoadReport report;
	Adapter **adapter = &bench->adapters[bench->n_adapters++];

	if (!path[0])
		return;
	request.file = split_path(path, directory, sizeof directory);
	request.directory = directory;
	request.base_fd = bench->image_fd;
	request.image_fd = memfd_create("adapter", MFD_CLOEXEC);
	check(adapter_load(&request, &report), "adapter");
	check(adapter_open(request.image_fd, 1, adapter), "adapter");
	check(forward_check_adapter(bench->forward, *adapter), "adapter");
	if (bench->huge_pages && !pages_collapse((void *) (*adapter)->image, (*adapter)->image_bytes))
		fprintf(stderr, "engine_bench: not all of an adapter is on huge pages\n");
	close(request.image_fd);
}

/* The adapter of a sequence, or NULL. */
static const Adapter *
adapter_of(const Bench *bench, uint32_t sequence)
{
	if (bench->n_adapters == 0 || bench->without_adapters)
		return NULL;
	return bench->adapters[sequence % bench->n_adapters];
}

/* GB/s of reading the model's own image. */
static double
measure_memory(const Bench *bench)
{
	return read_roof(bench->team, bench->model->image, bench->model->image_bytes, 1);
}

/* GB/s of changing all states in place; 0: there are none. */
static double
measure_states(const Bench *bench)
{
	const KvPool *states = kv_pool_states(bench->pool);

	if (!states)
		return 0;
	/* they stand one behind the other: a pool gives low addresses first */
	return update_roof(bench->team, (uint8_t *) kv_pool_state(states, bench->states[0]),
					   kv_pool_n_taken(states) * kv_pool_block_bytes(states), 2);
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

/* The state of a sequence; NULL: the model has none. */
static float *
state_of(const Bench *bench, uint32_t sequence)
{
	return bench->states ? kv_pool_state(kv_pool_states(bench->pool), bench->states[sequence]) : NULL;
}

/* Tokens that sequence number s has next, from position first on; it has n_blocks blocks. */
static StepSequence
step_sequence(const Bench *bench, uint32_t s, const int32_t *tokens, uint32_t first, uint32_t n, uint32_t n_blocks)
{
	return (StepSequence){
		.tokens = tokens,
		.n_tokens = n,
		.first_position = first,
		.kv_blocks = bench->blocks + s * n_blocks,
		.n_logits = 1,
		.adapter = adapter_of(bench, s),
		.adapter_scale = bench->adapter_scale,
		.state = state_of(bench, s),
	};
}

/* Rows [first, first + n) of tokens through the model. */
static void
step(Bench *bench, const int32_t *tokens, uint32_t first, uint32_t n, uint32_t n_logits)
{
	StepSequence sequence = step_sequence(bench, 0, tokens + first, first, n, 0);

	sequence.n_logits = n_logits;
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

/* Bytes of keys and values that a row at a position reads. */
static double
kv_bytes(const Bench *bench, uint32_t position)
{
	const ModelHyper *hyper = &bench->model->hyper;
	double slices = 2.0 * model_n_cache_layers(hyper) * hyper->n_kv_heads;

	return slices * (position + 1) * (double) kv_slice_bytes(kv_pool_type(bench->pool), hyper->head_dim) /
		   KV_BLOCK_POSITIONS;
}

/* Bytes of a state that a row reads and writes: its matrices, twice. */
static double
state_bytes(const Bench *bench)
{
	const ModelHyper *hyper = &bench->model->hyper;
	double matrices = (double) hyper->n_delta_values * hyper->delta_dim * hyper->delta_dim;

	return 2 * model_n_delta_layers(hyper) * matrices * (double) state_type_bytes((StateType) hyper->state_type);
}

/* The share of their roof that states of n rows have reached, each with a state of its own. */
static double
share_of_states(const Bench *bench, const StepTimes *times, double n, double before, double after)
{
	double roof = before > after ? before : after;

	return roof > 0 ? n * state_bytes(bench) / (double) times->part_ns[STEP_STATES] / roof : 0;
}

/* One repetition: what was reached, and of which roof. */
typedef struct Sample
{
	double speed;    /* tok/s */
	double share;    /* of the roof measured around it */
	double products; /* of the roof, by the matrix products alone */
	double states;   /* a hybrid's, read and written, of what memory does of that alone */
	double roof;
	bool settled; /* the roof was the same before and after */
	StepTimes times;
} Sample;

#define SETTLED_WITHIN 0.1

/* The roof of a sample: the larger of what was measured before and after it. */
static void
sample_roof(Sample *sample, double before, double after)
{
	sample->roof = before > after ? before : after;
	sample->settled = before > 0 && fabs(before - after) <= SETTLED_WITHIN * sample->roof;
}

typedef enum SampleValue
{
	SAMPLE_SPEED,
	SAMPLE_SHARE,
	SAMPLE_PRODUCTS,
	SAMPLE_STATES,
	SAMPLE_ROOF,
} SampleValue;

/* The median of a value over all samples; shares and roofs over the settled ones where there are some: a memory (or a
 * clock) that changes its state in the middle of a sample has no roof that the sample could be held against. */
static double
sample_median(const Sample *samples, int n, SampleValue value)
{
	double *values = calloc((size_t) n, sizeof *values), result;
	bool only_settled = false;
	int n_values = 0;

	for (int i = 0; i < n; i++)
		only_settled |= value != SAMPLE_SPEED && samples[i].settled;
	for (int i = 0; i < n; i++)
		if (samples[i].settled || !only_settled)
			values[n_values++] = value == SAMPLE_SPEED      ? samples[i].speed
								 : value == SAMPLE_SHARE    ? samples[i].share
								 : value == SAMPLE_PRODUCTS ? samples[i].products
								 : value == SAMPLE_STATES   ? samples[i].states
															: samples[i].roof;
	result = median(values, n_values);
	free(values);
	return result;
}

/* The end of a line: the shares, the roof, and where the time went. */
static void
print_samples(const Sample *samples, int n, const char *roof_name)
{
	static const char *const names[N_STEP_PARTS] = {"embed",  "prepare", "products", "attention",
													"states", "output",  "logits"};
	double total = 0, waited = 0, parts[N_STEP_PARTS] = {0};
	int n_settled = 0;

	for (int i = 0; i < n; i++)
	{
		n_settled += samples[i].settled;
		waited += (double) samples[i].times.waited_ns;
		for (int part = 0; part < N_STEP_PARTS; part++)
		{
			parts[part] += (double) samples[i].times.part_ns[part];
			total += (double) samples[i].times.part_ns[part];
		}
	}
	printf(", \"of_roof\": %.3f", sample_median(samples, n, SAMPLE_SHARE));
	if (samples[0].products > 0)
		printf(", \"products_of_roof\": %.3f", sample_median(samples, n, SAMPLE_PRODUCTS));
	if (samples[0].states > 0)
		printf(", \"states_of_roof\": %.3f", sample_median(samples, n, SAMPLE_STATES));
	printf(", \"%s\": %.1f, \"settled\": %d, \"parts\": {", roof_name, sample_median(samples, n, SAMPLE_ROOF),
		   n_settled);
	for (int part = 0; part < N_STEP_PARTS; part++)
		printf("\"%s\": %.3f, ", names[part], parts[part] / total);
	printf("\"waiting\": %.3f}}\n", waited / total);
}

/* Seconds that some parts took. */
static double
part_seconds(const StepTimes *times, bool with_output)
{
	return (double) (times->part_ns[STEP_PRODUCTS] + (with_output ? times->part_ns[STEP_OUTPUT] : 0)) * 1e-9;
}

/* Positions before n_positions get keys and values without computing them: small numbers in every type of cache. They
 * cost a step what computed ones do. */
static void
fill_context(Bench *bench, uint32_t n_positions)
{
	const ModelHyper *hyper = &bench->model->hyper;
	uint32_t n_layers = model_n_cache_layers(hyper);
	size_t bytes = kv_pool_block_bytes(bench->pool) / (2 * n_layers * hyper->n_kv_heads);

	for (uint32_t b = 0; b < kv_blocks_for(n_positions); b++)
		for (uint32_t layer = 0; layer < n_layers; layer++)
			for (uint32_t head = 0; head < hyper->n_kv_heads; head++)
			{
				memset(kv_pool_k(bench->pool, bench->blocks[b], layer, head), 0x2e, bytes);
				memset(kv_pool_v(bench->pool, bench->blocks[b], layer, head), 0x2e, bytes);
			}
}

static void
bench_decode(Bench *bench, uint32_t n, uint32_t context, int repeat)
{
	uint32_t prompt = context > 16 ? context : 16;
	int32_t *tokens = some_tokens(bench, prompt + n);
	Sample *samples = calloc((size_t) repeat, sizeof *samples);
	double bytes = (double) bench->weight_bytes + kv_bytes(bench, prompt + n / 2) + state_bytes(bench);

	take_blocks(bench, prompt + n);
	fill_context(bench, prompt);
	for (int r = 0; r < repeat; r++)
	{
		double before = measure_memory(bench), states_before = measure_states(bench), seconds;
		uint64_t start = clock_now_us();

		forward_measure(bench->forward, &samples[r].times);
		for (uint32_t i = 0; i < n; i++)
		{
			const Kernels *kernels = kernels_select();

			step(bench, tokens, prompt + i, 1, 1);
			(void) kernels->argmax(forward_logits(bench->forward, 0, 0), bench->model->hyper.vocab);
		}
		seconds = (double) (clock_now_us() - start) * 1e-6;
		forward_measure(bench->forward, NULL);
		sample_roof(&samples[r], before, measure_memory(bench));
		samples[r].speed = n / seconds;
		samples[r].states = share_of_states(bench, &samples[r].times, n, states_before, measure_states(bench));
		samples[r].share = bytes * n / seconds * 1e-9 / samples[r].roof;
	}
	printf("{\"bench\": \"decode\", \"file\": \"%s\", \"threads\": %d, \"ours\": %.1f, \"unit\": \"tok/s\", "
		   "\"bytes_per_token\": %.0f, \"context\": %u",
		   bench->file, team_size(bench->team), sample_median(samples, repeat, SAMPLE_SPEED), bytes, prompt);
	print_samples(samples, repeat, "memory_gb_s");
	kv_pool_give(bench->pool, kv_blocks_for(prompt + n), bench->blocks);
	free(tokens);
	free(samples);
}

static void
bench_prefill(Bench *bench, uint32_t n, uint32_t chunk, int repeat)
{
	int32_t *tokens = some_tokens(bench, n);
	Sample *samples = calloc((size_t) repeat, sizeof *samples);

	take_blocks(bench, n);
	for (int r = 0; r < repeat; r++)
	{
		double before = int8_roof(bench->team), seconds;
		uint64_t start = clock_now_us();
		Sample *sample = &samples[r];

		forward_measure(bench->forward, &sample->times);
		for (uint32_t i = 0; i < n; i += chunk)
			step(bench, tokens, i, n - i < chunk ? n - i : chunk, n - i <= chunk);
		seconds = (double) (clock_now_us() - start) * 1e-6;
		forward_measure(bench->forward, NULL);
		sample_roof(sample, before, int8_roof(bench->team));
		sample->speed = n / seconds;
		if (sample->roof > 0)
		{
			sample->share = (bench->layer_ops * n + bench->output_ops) / seconds * 1e-9 / sample->roof;
			sample->products = bench->layer_ops * n / part_seconds(&sample->times, false) * 1e-9 / sample->roof;
		}
	}
	printf("{\"bench\": \"prefill\", \"file\": \"%s\", \"threads\": %d, \"tokens\": %u, \"ours\": %.1f, \"unit\": "
		   "\"tok/s\"",
		   bench->file, team_size(bench->team), n, sample_median(samples, repeat, SAMPLE_SPEED));
	print_samples(samples, repeat, "int8_gop_s");
	kv_pool_give(bench->pool, kv_blocks_for(n), bench->blocks);
	free(tokens);
	free(samples);
}

#define BATCH_ANSWER 64

/* One step of rows [first, first + n) of n_sequences sequences from sequence start on, each with tokens of its own:
 * equal ones would choose the same experts. */
static void
batch_step(Bench *bench, const int32_t *tokens, uint32_t n_blocks, uint32_t start, uint32_t n_sequences, uint32_t first,
		   uint32_t n)
{
	StepSequence sequences[64] = {{0}};

	for (uint32_t s = 0; s < n_sequences; s++)
		sequences[s] = step_sequence(bench, start + s, tokens + start + s + first, first, n, n_blocks);
	forward_step(bench->forward, sequences, n_sequences);
	for (uint32_t s = 0; s < n_sequences; s++)
		(void) kernels_select()->argmax(forward_logits(bench->forward, s, 0), bench->model->hyper.vocab);
}

/* Many sequences of prompt tokens side by side: tokens per second of all answers together, once the prompts are read.
 * The share of the roof counts the output matrix. */
static void
bench_batch(Bench *bench, uint32_t n_sequences, uint32_t prompt, int repeat)
{
	uint32_t n_blocks = kv_blocks_for(prompt + BATCH_ANSWER), at_once = prompt < 512 ? 512 / prompt : 1;
	int32_t *tokens = some_tokens(bench, n_sequences + prompt + BATCH_ANSWER);
	Sample *samples = calloc((size_t) repeat, sizeof *samples);
	double *totals = calloc((size_t) repeat, sizeof *totals);
	double ops = (bench->layer_ops + bench->output_ops) * n_sequences * BATCH_ANSWER;

	if (!kv_pool_take(bench->pool, n_blocks * n_sequences, bench->blocks))
		die("KV cache too small", NULL);
	for (int r = 0; r < repeat; r++)
	{
		double before = int8_roof(bench->team), states_before = measure_states(bench), seconds;
		uint64_t start = clock_now_us(), prompts_read;
		Sample *sample = &samples[r];

		for (uint32_t s = 0; s < n_sequences; s += at_once)
			batch_step(bench, tokens, n_blocks, s, n_sequences - s < at_once ? n_sequences - s : at_once, 0, prompt);
		prompts_read = clock_now_us();
		forward_measure(bench->forward, &sample->times);
		for (uint32_t i = 0; i < BATCH_ANSWER; i++)
			batch_step(bench, tokens, n_blocks, 0, n_sequences, prompt + i, 1);
		seconds = (double) (clock_now_us() - prompts_read) * 1e-6;
		forward_measure(bench->forward, NULL);
		totals[r] = n_sequences * (prompt + BATCH_ANSWER) / ((double) (clock_now_us() - start) * 1e-6);
		sample_roof(sample, before, int8_roof(bench->team));
		sample->speed = n_sequences * BATCH_ANSWER / seconds;
		sample->states =
			share_of_states(bench, &sample->times, n_sequences * BATCH_ANSWER, states_before, measure_states(bench));
		if (sample->roof > 0)
		{
			sample->share = ops / seconds * 1e-9 / sample->roof;
			sample->products = ops / part_seconds(&sample->times, true) * 1e-9 / sample->roof;
		}
	}
	printf(
		"{\"bench\": \"batch\", \"file\": \"%s\", \"threads\": %d, \"sequences\": %u, \"prompt\": %u, \"ours\": %.1f, "
		"\"unit\": \"tok/s\", \"with_prompts\": %.1f",
		bench->file, team_size(bench->team), n_sequences, prompt, sample_median(samples, repeat, SAMPLE_SPEED),
		median(totals, repeat));
	print_samples(samples, repeat, "int8_gop_s");
	kv_pool_give(bench->pool, n_blocks * n_sequences, bench->blocks);
	free(tokens);
	free(samples);
	free(totals);
}

/* Seconds of one step of all sequences, or of a prompt where there is one sequence, with the adapters or without. */
static double
timed_step(Bench *bench, const int32_t *tokens, uint32_t n_blocks, uint32_t n_sequences, uint32_t first, uint32_t n,
		   bool without, StepTimes *times)
{
	uint64_t start = clock_now_us();

	bench->without_adapters = without;
	forward_measure(bench->forward, times);
	batch_step(bench, tokens, n_blocks, 0, n_sequences, first, n);
	forward_measure(bench->forward, NULL);
	bench->without_adapters = false;
	return (double) (clock_now_us() - start) * 1e-6;
}

/*
 * What adapters cost: each step is done with them and without, in turn, so that whatever else the machine does meets
 * both. A prompt of prompt tokens of one sequence, or answers behind it of several; medians of steps, and of the ratios
 * of neighbours.
 */
static void
bench_adapters(Bench *bench, uint32_t n_sequences, uint32_t prompt, int repeat)
{
	bool prefill = n_sequences == 0;
	uint32_t n_blocks = kv_blocks_for(prompt + BATCH_ANSWER), n_steps = prefill ? 1 : BATCH_ANSWER, n = 0;
	size_t n_pairs = (size_t) repeat * n_steps;
	int32_t *tokens;
	double *on = calloc(n_pairs, sizeof *on), *off = calloc(n_pairs, sizeof *off),
		   *ratios = calloc(n_pairs, sizeof *ratios);
	StepTimes times[2];

	memset(times, 0, sizeof times);
	n_sequences = prefill ? 1 : n_sequences;
	tokens = some_tokens(bench, n_sequences + prompt + BATCH_ANSWER);
	if (!kv_pool_take(bench->pool, n_blocks * n_sequences, bench->blocks))
		die("KV cache too small", NULL);
	for (uint32_t s = 0; s < n_sequences; s++)
		batch_step(bench, tokens, n_blocks, s, 1, 0, prompt);
	for (int r = 0; r < repeat; r++)
		for (uint32_t i = 0; i < n_steps; i++, n++)
		{
			uint32_t first = prefill ? 0 : prompt + i, n_rows = prefill ? prompt : 1;

			on[n] = timed_step(bench, tokens, n_blocks, n_sequences, first, n_rows, false, &times[0]);
			off[n] = timed_step(bench, tokens, n_blocks, n_sequences, first, n_rows, true, &times[1]);
			ratios[n] = off[n] / on[n];
		}
	n_sequences = prefill ? prompt : n_sequences;
	printf(
		"{\"bench\": \"adapters\", \"file\": \"%s\", \"threads\": %d, \"adapters\": %u, \"rows\": %u, \"ours\": %.1f, "
		"\"off\": %.1f, \"unit\": \"tok/s\", \"ratio\": %.3f, \"products_ms\": %.2f, \"products_off_ms\": %.2f, "
		"\"waited_ms\": %.2f, \"waited_off_ms\": %.2f}\n",
		bench->file, team_size(bench->team), bench->n_adapters, n_sequences, n_sequences / median(on, (int) n),
		n_sequences / median(off, (int) n), median(ratios, (int) n), part_seconds(&times[0], false) * 1e3 / n,
		part_seconds(&times[1], false) * 1e3 / n, (double) times[0].waited_ns * 1e-6 / n,
		(double) times[1].waited_ns * 1e-6 / n);
	free(tokens);
	free(on);
	free(off);
	free(ratios);
}

static void
print_roofs(int threads, const char *disk)
{
	Team *team = team_create(threads > 0 ? threads : team_default_threads());
	uint8_t *memory = aligned_alloc(64, (size_t) 256 << 20);

	if (!team || !memory)
		die("out of memory", NULL);
	memset(memory, 1, (size_t) 256 << 20);
	printf(
		"{\"bench\": \"roofs\", \"threads\": %d, \"memory_gb_s\": %.1f, \"int8_gop_s\": %.0f, \"fp32_gflop_s\": %.0f",
		team_size(team), read_roof(team, memory, (size_t) 256 << 20, 5), int8_roof(team), float_roof(team));
	if (disk)
		printf(", \"disk_gb_s\": %.2f", disk_roof(disk));
	printf("}\n");
	free(memory);
	team_destroy(team);
}

/* Tokens of a text, with the beginning-of-text token where the file asks for it. */
static TokenBuffer
encode(const Bench *bench, const char *text)
{
	TokenBuffer buffer = {0};

	check(tokenizer_encode(bench->model->tokenizer, text, strlen(text), true, &buffer), "tokenize");
	if (buffer.n == 0)
		die("the text has no tokens", NULL);
	return buffer;
}

static uint32_t
larger(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

/* The logits of every position; with adapters those of a sequence for each of them, side by side in the same steps, one
 * after the other in the file. */
static void
write_logits(Bench *bench, const char *text, const char *path, uint32_t chunk)
{
	TokenBuffer tokens = encode(bench, text);
	FILE *out = fopen(path, "wb");
	uint32_t sizes[2] = {(uint32_t) tokens.n, bench->model->hyper.vocab}, n_blocks = kv_blocks_for(sizes[0]);
	uint32_t n_sequences = bench->n_adapters > 0 ? bench->n_adapters : 1;
	long head = (long) (sizeof sizes + tokens.n * sizeof *tokens.tokens), row = (long) sizes[1] * 4;

	if (!out)
		die("cannot write the logits", NULL);
	if (!kv_pool_take(bench->pool, n_blocks * n_sequences, bench->blocks))
		die("KV cache too small", NULL);
	for (uint32_t s = 0; s < n_sequences; s++)
	{
		(void) fseek(out, (head + row * (long) tokens.n) * s, SEEK_SET);
		fwrite(sizes, 4, 2, out);
		fwrite(tokens.tokens, 4, tokens.n, out);
	}
	for (uint32_t i = 0; i < sizes[0]; i += chunk)
	{
		uint32_t n = sizes[0] - i < chunk ? sizes[0] - i : chunk;
		StepSequence sequences[MAX_ADAPTERS];

		for (uint32_t s = 0; s < n_sequences; s++)
		{
			sequences[s] = step_sequence(bench, s, tokens.tokens + i, i, n, n_blocks);
			sequences[s].n_logits = n;
		}
		forward_step(bench->forward, sequences, n_sequences);
		for (uint32_t s = 0; s < n_sequences; s++)
		{
			(void) fseek(out, (head + row * (long) tokens.n) * s + head + row * (long) i, SEEK_SET);
			for (uint32_t j = 0; j < n; j++)
				fwrite(forward_logits(bench->forward, s, j), 4, sizes[1], out);
		}
	}
	fclose(out);
	token_buffer_free(&tokens);
}

/* Logits of a guess: to a file. */
static void
write_guess(void *argument, uint32_t s, uint32_t i, float *logits)
{
	const Bench *bench = argument;

	(void) s;
	(void) i;
	fwrite(logits, sizeof *logits, bench->model->hyper.vocab, bench->out);
}

static void
write_guesses(Bench *bench, const char *text, const char *path, uint32_t chunk)
{
	TokenBuffer tokens = encode(bench, text);
	uint32_t n = (uint32_t) tokens.n;

	bench->out = fopen(path, "wb");
	if (!bench->out || !forward_has_head(bench->forward) || n < 4)
		die("cannot write guesses", NULL);
	take_blocks(bench, n);
	for (uint32_t i = 0; i < n - 2; i++)
	{
		/* in slices up to the middle, then one by one */
		uint32_t n_rows = i < n / 2 ? (n / 2 - i < chunk ? n / 2 - i : chunk) : 1;

		step(bench, tokens.tokens, i, n_rows, 1);
		i += n_rows - 1;
		fwrite(&(uint32_t){i + 1}, sizeof(uint32_t), 1, bench->out);
		for (uint32_t round = 0; round < 2; round++)
		{
			StepSequence row = {.tokens = tokens.tokens + i + 1 + round,
								.n_tokens = 1,
								.first_position = i + 1 + round,
								.kv_blocks = bench->blocks,
								.n_logits = 1,
								.adapter_scale = 1,
								.state = state_of(bench, 0)};

			forward_guess(bench->forward, &row, 1, round, write_guess, bench);
		}
	}
	fclose(bench->out);
	token_buffer_free(&tokens);
}

/* The matrices of a hybrid's delta nets behind the text: [layer][head][slice of columns][row][column of the slice]. */
static void
write_states(const Bench *bench, const char *path)
{
	const ModelHyper *hyper = &bench->model->hyper;
	FILE *out = fopen(path, "wb");

	if (!out || !bench->states || hyper->state_type != STATE_F32)
		die("cannot write the states", NULL);
	for (uint32_t i = 0; i < model_n_delta_layers(hyper); i++)
		fwrite(state_of(bench, 0) + STATE_HEAD + i * model_state_layer_floats(hyper), sizeof(float),
			   (size_t) hyper->n_delta_values * hyper->delta_dim * hyper->delta_dim, out);
	fclose(out);
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
		{"batch", required_argument, NULL, 'b'},
		{"prompt", required_argument, NULL, 'q'},
		{"context", required_argument, NULL, 'n'},
		{"roofs", no_argument, NULL, 'o'},
		{"disk", required_argument, NULL, 'i'},
		{"settings", required_argument, NULL, 's'},
		{"huge-pages", no_argument, NULL, 'u'},
		{"adapter", required_argument, NULL, 'a'},
		{"adapters", required_argument, NULL, 'A'},
		{"states", required_argument, NULL, 'S'},
		{"guesses", required_argument, NULL, 'G'},
		{"adapter-scale", required_argument, NULL, 'C'},
		{NULL, 0, NULL, 0},
	};
	const char *model = NULL, *logits = NULL, *states = NULL, *guesses = NULL, *text = "", *settings = "";
	int threads = 0, decode = 0, prefill = 0, repeat = 5, greedy = 0, option;
	uint32_t chunk = 512, batch = 0, prompt = 128, context = 0;
	const char *disk = NULL;
	const char *adapters[MAX_ADAPTERS];
	uint32_t n_files = 0, n_adapters = 0, side_by_side;
	bool roofs = false;
	KvType kv_type = KV_F16;
	Bench bench = {.adapter_scale = 1};

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
				if (!kv_type_by_name(optarg, &kv_type))
					die("--kv: f16, q8_0, q4 or f32", NULL);
				break;
			case 'g':
				greedy = atoi(optarg);
				break;
			case 'b':
				batch = (uint32_t) atoi(optarg);
				break;
			case 'q':
				prompt = (uint32_t) atoi(optarg);
				break;
			case 'n':
				context = (uint32_t) atoi(optarg);
				break;
			case 'o':
				roofs = true;
				break;
			case 'i':
				disk = optarg;
				break;
			case 's':
				settings = optarg;
				break;
			case 'u':
				bench.huge_pages = true;
				break;
			case 'a':
				if (n_files == MAX_ADAPTERS)
					die("--adapter: no more than 64", NULL);
				adapters[n_files++] = optarg;
				break;
			case 'S':
				states = optarg;
				break;
			case 'G':
				guesses = optarg;
				break;
			case 'A':
				n_adapters = (uint32_t) atoi(optarg);
				break;
			case 'C':
				bench.adapter_scale = (float) atof(optarg);
				break;
			default:
				return 2;
		}
	if (roofs)
	{
		print_roofs(threads, disk);
		return 0;
	}
	if (!model || repeat < 1 || chunk < 1 || batch > 64 || prompt < 1 || n_adapters > MAX_ADAPTERS)
		die("usage: engine_bench --model FILE …", NULL);
	n_adapters = n_files > 0 ? larger(n_files, n_adapters) : 0;
	side_by_side = logits ? larger(n_adapters, 1) : 1;
	open_model(&bench, model, threads, larger(larger(chunk * side_by_side, prompt), larger(512, (uint32_t) prefill)),
			   larger(larger(batch, side_by_side), 4), larger(logits ? chunk * side_by_side : batch, 4), kv_type,
			   (uint64_t) (context > 16384 ? 32 : 4) << 30, settings);
	for (uint32_t i = 0; i < n_adapters; i++)
		load_adapter(&bench, adapters[i % n_files]);
	if (decode > 0)
		bench_decode(&bench, (uint32_t) decode, context, repeat);
	if (bench.n_adapters > 0 && (prefill > 0 || batch > 0))
		bench_adapters(&bench, batch, batch > 0 ? prompt : (uint32_t) prefill, repeat);
	else if (prefill > 0)
		bench_prefill(&bench, (uint32_t) prefill, chunk, repeat);
	else if (batch > 0)
		bench_batch(&bench, batch, prompt, repeat);
	if (logits)
		write_logits(&bench, text, logits, chunk);
	if (states)
		write_states(&bench, states);
	if (guesses)
		write_guesses(&bench, text, guesses, chunk);
	if (greedy > 0)
		print_greedy(&bench, text, (uint32_t) greedy);
	for (uint32_t i = 0; i < bench.n_adapters; i++)
		adapter_close(bench.adapters[i]);
	forward_destroy(bench.forward);
	kv_pool_destroy(bench.pool);
	kv_budget_destroy(bench.budget);
	team_destroy(bench.team);
	model_close(bench.model);
	free(bench.blocks);
	return 0;
}
