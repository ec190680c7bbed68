/*
 * scheduled_logits.c - logits as requests get them from the scheduler: behind a cached prefix, after a preemption, with
 * speculation, in slices of any size; for check_scheduled.py to hold against llama.cpp's.
 *
 *   scheduled_logits --model FILE --text TEXT --first N --out FILE [--chunk N] [--requests N] [--blocks N] [--warm N]
 *                    [--threads N] [--speculate]
 *
 * FILE is one of models.py, whose first 256 tokens are the bytes. Each request's prompt is the first N bytes of the
 * text, and its answer is made to be the rest of the text: request_look is wrapped by the linker (--wrap), keeps the
 * logits, and gives the next token of the text an infinite lead. So logits of every position from N - 1 on can be
 * compared with those of the whole text. --warm: a request with a prompt of so many bytes runs before, and may leave
 * its blocks in the cache; without it nothing is cached. --blocks: of KV cache (F32). OUT has for each request, one
 * after the other, the logits [positions][vocab] (float32), NaN for those that came from nowhere; a JSON object on
 * standard output says what happened on the way.
 */
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../../src/engine/model_terms.h"
#include "../../unit/tiny_engine.h"

#define MAX_REQUESTS 16

typedef struct Recorded
{
	TinyCall call; /* first: the request's client */
	float *logits; /* [n_positions][vocab] */
} Recorded;

static struct
{
	const char *text;
	uint32_t n_text, first, vocab;
	Recorded requests[MAX_REQUESTS];
	uint32_t n_requests;
} run;

extern bool __real_request_look(const Sequence *sequence, float *logits, uint32_t row);
extern bool __wrap_request_look(const Sequence *sequence, float *logits, uint32_t row);

static void
die(const char *what, const char *why)
{
	fprintf(stderr, "scheduled_logits: %s: %s\n", what, why);
	exit(1);
}

/* Keep the logits of a recorded request's row, and let the text's next byte win. */
bool
__wrap_request_look(const Sequence *sequence, float *logits, uint32_t row)
{
	uint32_t position = sequence->n_tokens - 1 + row;

	for (uint32_t i = 0; i < run.n_requests; i++)
		if (sequence->request->client == &run.requests[i].call && run.requests[i].logits)
			memcpy(run.requests[i].logits + (size_t) (position + 1 - run.first) * run.vocab, logits,
				   run.vocab * sizeof *logits);
	if (position + 1 < run.n_text)
		logits[(unsigned char) run.text[position + 1]] = 1e30f;
	return __real_request_look(sequence, logits, row);
}

/* Submit a request whose prompt is the first n_prompt bytes of the text. */
static void
submit(TinyEngine *engine, uint32_t n_prompt, uint32_t n_answer, bool shares, TinyCall *call)
{
	Request request = {
		.kind = REQUEST_GENERATE,
		.text = {run.text, n_prompt},
		.options = {.given = OPTION_MAX_TOKENS | OPTION_TEMPERATURE, .max_tokens = (int32_t) n_answer},
		.role = 10,
		.prefix_sharing = shares ? PREFIX_ROLE : PREFIX_OFF,
	};

	tiny_submit(engine, &request, call);
	if (call->status.code != STATUS_OK)
		die("a request", call->status.message);
	if (call->request->n_prompt != n_prompt || call->request->sequences[0].tokens[0] != (unsigned char) run.text[0])
		die("the model", "its tokens are not the bytes");
}

static Model *
open_model(const char *path)
{
	char folder[4096];
	const char *slash = strrchr(path, '/');
	ModelLoadRequest request = {.file = slash ? slash + 1 : path, .name = "m", .generation = 1, .n_threads = 1};
	ModelLoadReport report;
	Model *model = NULL;
	Status status;

	snprintf(folder, sizeof folder, "%.*s", slash ? (int) (slash - path) : 1, slash ? path : ".");
	request.directory = folder;
	request.image_fd = memfd_create("image", 0);
	status = model_load(&request, &report);
	if (status.code == STATUS_OK)
		status = model_open(request.image_fd, &model);
	if (status.code != STATUS_OK)
		die(path, status.message);
	close(request.image_fd);
	return model;
}

/* What qwen.models may have behind the file, of it the context and the rotation. */
static void
apply_settings(Model *model, const char *text)
{
	ModelSettings settings;
	ContextSettings context;
	Status status = model_settings_parse(text, strlen(text), 1, &settings);

	if (status.code == STATUS_OK)
	{
		context = model_terms_context(&settings);
		status = context_apply(&model->hyper, &context);
	}
	if (status.code != STATUS_OK)
		die(text, status.message);
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{"model", required_argument, NULL, 'm'},    {"text", required_argument, NULL, 'x'},
		{"first", required_argument, NULL, 'f'},    {"out", required_argument, NULL, 'o'},
		{"chunk", required_argument, NULL, 'c'},    {"requests", required_argument, NULL, 'j'},
		{"blocks", required_argument, NULL, 'b'},   {"warm", required_argument, NULL, 'w'},
		{"threads", required_argument, NULL, 't'},  {"speculate", no_argument, NULL, 's'},
		{"settings", required_argument, NULL, 'S'}, {NULL, 0, NULL, 0},
	};
	const char *path = NULL, *out = NULL, *of_model = "";
	uint32_t n_blocks = 1000, n_requests = 1, warm = 0, n_positions;
	int n_threads = 1, option;
	SchedulerSettings settings = {.max_running = MAX_REQUESTS, .prefill_chunk = 512, .queue_size = 100};
	TinyEngine *engine;
	Model *model;
	FILE *file;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (option)
		{
			case 'm':
				path = optarg;
				break;
			case 'x':
				run.text = optarg;
				break;
			case 'f':
				run.first = (uint32_t) atoi(optarg);
				break;
			case 'o':
				out = optarg;
				break;
			case 'c':
				settings.prefill_chunk = (uint32_t) atoi(optarg);
				break;
			case 'j':
				n_requests = (uint32_t) atoi(optarg);
				break;
			case 'b':
				n_blocks = (uint32_t) atoi(optarg);
				break;
			case 'w':
				warm = (uint32_t) atoi(optarg);
				break;
			case 't':
				n_threads = atoi(optarg);
				break;
			case 's':
				settings.speculation = true;
				break;
			case 'S':
				of_model = optarg;
				break;
			default:
				return 2;
		}
	run.n_text = run.text ? (uint32_t) strlen(run.text) : 0;
	if (!path || !out || run.first < 1 || run.first > run.n_text || n_requests < 1 || n_requests > MAX_REQUESTS ||
		warm > run.n_text)
		die("usage", "scheduled_logits --model FILE --text TEXT --first N --out FILE …");
	model = open_model(path);
	apply_settings(model, of_model);
	run.vocab = model->hyper.vocab;
	n_positions = run.n_text - run.first + 1;
	/* blocks alone are to be short */
	tiny_n_states = n_requests;
	engine = tiny_engine_of(&model, 1, KV_F32, n_threads, n_blocks, settings);
	if (warm > 0)
	{
		TinyCall call;

		submit(engine, warm, 1, true, &call);
		tiny_run(engine);
		tiny_call_free(&call);
	}
	run.n_requests = n_requests;
	for (uint32_t i = 0; i < n_requests; i++)
	{
		run.requests[i].logits = malloc((size_t) n_positions * run.vocab * sizeof(float));
		if (!run.requests[i].logits)
			die("memory", "there is not enough");
		for (size_t k = 0; k < (size_t) n_positions * run.vocab; k++)
			run.requests[i].logits[k] = NAN;
		submit(engine, run.first, n_positions, warm > 0, &run.requests[i].call);
	}
	tiny_run(engine);
	file = fopen(out, "wb");
	if (!file)
		die(out, "cannot be written");
	for (uint32_t i = 0; i < n_requests; i++)
	{
		fwrite(run.requests[i].logits, sizeof(float), (size_t) n_positions * run.vocab, file);
		free(run.requests[i].logits);
		tiny_call_free(&run.requests[i].call);
	}
	fclose(file);
	printf("{\"preemptions\": %llu, \"cached_tokens\": %llu, \"guesses_right\": %llu}\n",
		   (unsigned long long) atomic_load(&engine->page->n_preemptions),
		   (unsigned long long) atomic_load(&engine->page->n_cached_tokens),
		   (unsigned long long) atomic_load(&engine->page->n_guessed_right));
	tiny_engine_free(engine);
	return 0;
}
