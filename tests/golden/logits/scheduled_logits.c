/*
 * scheduled_logits.c - logits as requests get them from the scheduler: behind a cached prefix, after a preemption, with
 * speculation, in slices of any size; for check_scheduled.py to hold against llama.cpp's.
 *
 *   scheduled_logits --model FILE --text TEXT --first N --out FILE [--chunk N] [--jobs N] [--blocks N] [--warm N]
 *                    [--threads N] [--speculate]
 *
 * FILE is one of models.py, whose first 256 tokens are the bytes. Each job's prompt is the first N bytes of the text,
 * and its answer is made to be the rest of the text: job_pick is wrapped by the linker (--wrap), keeps the logits, and
 * gives the next token of the text an infinite lead. So logits of every position from N - 1 on can be compared with
 * those of the whole text. --warm: a job with a prompt of so many bytes runs before, and may leave its blocks in the
 * cache; without it nothing is cached. --blocks: of KV cache (F32). OUT has for each job, one after the other, the
 * logits [positions][vocab] (float32), NaN for those that came from nowhere; a JSON object on standard output says what
 * happened on the way.
 */
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../unit/tiny_engine.h"

#define MAX_JOBS 16

typedef struct Recorded
{
	TinyCall call; /* first: the job's client */
	float *logits; /* [n_positions][vocab] */
} Recorded;

static struct
{
	const char *text;
	uint32_t n_text, first, vocab;
	Recorded jobs[MAX_JOBS];
	uint32_t n_jobs;
} run;

extern bool __real_job_pick(Job *job, const Kernels *kernels, float *logits, uint32_t row);
extern bool __wrap_job_pick(Job *job, const Kernels *kernels, float *logits, uint32_t row);

static void
die(const char *what, const char *why)
{
	fprintf(stderr, "scheduled_logits: %s: %s\n", what, why);
	exit(1);
}

/* Keep the logits of a recorded job's row, and let the text's next byte win. */
bool
__wrap_job_pick(Job *job, const Kernels *kernels, float *logits, uint32_t row)
{
	uint32_t position = job->n_tokens - 1 + row;

	for (uint32_t i = 0; i < run.n_jobs; i++)
		if (job->client == &run.jobs[i].call && run.jobs[i].logits)
			memcpy(run.jobs[i].logits + (size_t) (position + 1 - run.first) * run.vocab, logits,
				   run.vocab * sizeof *logits);
	if (position + 1 < run.n_text)
		logits[(unsigned char) run.text[position + 1]] = 1e30f;
	return __real_job_pick(job, kernels, logits, row);
}

/* Submit a job whose prompt is the first n_prompt bytes of the text. */
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
	if (call->job->n_prompt != n_prompt || call->job->tokens[0] != (unsigned char) run.text[0])
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

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{"model", required_argument, NULL, 'm'},
		{"text", required_argument, NULL, 'x'},
		{"first", required_argument, NULL, 'f'},
		{"out", required_argument, NULL, 'o'},
		{"chunk", required_argument, NULL, 'c'},
		{"jobs", required_argument, NULL, 'j'},
		{"blocks", required_argument, NULL, 'b'},
		{"warm", required_argument, NULL, 'w'},
		{"threads", required_argument, NULL, 't'},
		{"speculate", no_argument, NULL, 's'},
		{NULL, 0, NULL, 0},
	};
	const char *path = NULL, *out = NULL;
	uint32_t n_blocks = 1000, n_jobs = 1, warm = 0, n_positions;
	int n_threads = 1, option;
	SchedulerSettings settings = {.max_running = MAX_JOBS, .prefill_chunk = 512, .queue_size = 100};
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
				n_jobs = (uint32_t) atoi(optarg);
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
			default:
				return 2;
		}
	run.n_text = run.text ? (uint32_t) strlen(run.text) : 0;
	if (!path || !out || run.first < 1 || run.first > run.n_text || n_jobs < 1 || n_jobs > MAX_JOBS ||
		warm > run.n_text)
		die("usage", "scheduled_logits --model FILE --text TEXT --first N --out FILE …");
	model = open_model(path);
	run.vocab = model->hyper.vocab;
	n_positions = run.n_text - run.first + 1;
	engine = tiny_engine_of(&model, 1, KV_F32, n_threads, n_blocks, settings);
	if (warm > 0)
	{
		TinyCall call;

		submit(engine, warm, 1, true, &call);
		tiny_run(engine);
		tiny_call_free(&call);
	}
	run.n_jobs = n_jobs;
	for (uint32_t i = 0; i < n_jobs; i++)
	{
		run.jobs[i].logits = malloc((size_t) n_positions * run.vocab * sizeof(float));
		if (!run.jobs[i].logits)
			die("memory", "there is not enough");
		for (size_t k = 0; k < (size_t) n_positions * run.vocab; k++)
			run.jobs[i].logits[k] = NAN;
		submit(engine, run.first, n_positions, warm > 0, &run.jobs[i].call);
	}
	tiny_run(engine);
	file = fopen(out, "wb");
	if (!file)
		die(out, "cannot be written");
	for (uint32_t i = 0; i < n_jobs; i++)
	{
		fwrite(run.jobs[i].logits, sizeof(float), (size_t) n_positions * run.vocab, file);
		free(run.jobs[i].logits);
		tiny_call_free(&run.jobs[i].call);
	}
	fclose(file);
	printf("{\"preemptions\": %llu, \"cached_tokens\": %llu, \"guesses_right\": %llu}\n",
		   (unsigned long long) atomic_load(&engine->page->n_preemptions),
		   (unsigned long long) atomic_load(&engine->page->n_cached_tokens),
		   (unsigned long long) atomic_load(&engine->page->n_guessed_right));
	tiny_engine_free(engine);
	return 0;
}
