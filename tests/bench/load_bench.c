/*
 * load_bench.c - how fast a model file becomes an image in memory, beside a raw read of the same file in the same run.
 *
 *   load_bench --model FILE [--threads N] [--repeat N] [--warm] [--pread] [--buffered]
 *       one JSON object: GB/s of the file through model_load() (read, packed, complete), of a raw O_DIRECT read with a
 *       deep queue before and after it (the better one is the roof), and the median share.
 *       Cold: the file is taken out of the page cache before each. --warm: it is in there.
 *       --pread, --buffered: without io_uring, without O_DIRECT
 */
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "../../src/model/model.h"
#include "disk.h"

typedef struct Options
{
	const char *model;
	int threads, repeat;
	bool warm, pread, buffered;
} Options;

static void
die(const char *what)
{
	fprintf(stderr, "load_bench: %s\n", what);
	exit(1);
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

/* The whole file through the page cache. */
static void
warm_up(const char *path)
{
	static uint8_t block[1 << 20];
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		die("cannot open the file");
	while (read(fd, block, sizeof block) > 0)
		;
	close(fd);
}

/* GB/s of one load; the image is given back. */
static double
load_once(const Options *options, ModelLoadReport *report)
{
	char directory[4096];
	const char *slash = strrchr(options->model, '/');
	ModelLoadRequest request = {.generation = 1,
								.name = "bench",
								.file = slash ? slash + 1 : options->model,
								.directory = directory,
								.n_threads = options->threads,
								.allow_io_uring = !options->pread,
								.allow_direct_io = !options->buffered};
	uint64_t start;
	double seconds;
	Status status;

	snprintf(directory, sizeof directory, "%.*s", slash ? (int) (slash - options->model + 1) : 1,
			 slash ? options->model : ".");
	if (options->warm)
		warm_up(options->model);
	else if (!disk_forget(options->model))
		die("cannot take the file out of the page cache");
	request.image_fd = memfd_create("bench", MFD_CLOEXEC);
	start = clock_now_us();
	status = model_load(&request, report);
	seconds = (double) (clock_now_us() - start) * 1e-6;
	close(request.image_fd);
	if (status.code != STATUS_OK)
		die(status.message);
	return (double) report->file_bytes / seconds * 1e-9;
}

static void
run(const Options *options)
{
	double *ours = calloc((size_t) options->repeat, sizeof *ours), *raw = calloc((size_t) options->repeat, sizeof *raw);
	double *shares = calloc((size_t) options->repeat, sizeof *shares);
	ModelLoadReport report;

	if (!ours || !raw || !shares)
		die("out of memory");
	for (int r = 0; r < options->repeat; r++)
	{
		double before = disk_roof(options->model), after;

		ours[r] = load_once(options, &report);
		after = disk_roof(options->model);
		raw[r] = before > after ? before : after;
		shares[r] = raw[r] > 0 ? ours[r] / raw[r] : 0;
	}
	printf("{\"bench\": \"load\", \"file\": \"%s\", \"cache\": \"%s\", \"threads\": %d, \"ours\": %.2f, \"raw\": %.2f, "
		   "\"unit\": \"GB/s\", \"of_roof\": %.2f, \"file_bytes\": %llu, \"io\": %d, \"repeats\": %d}\n",
		   strrchr(options->model, '/') ? strrchr(options->model, '/') + 1 : options->model,
		   options->warm ? "warm" : "cold", options->threads, median(ours, options->repeat),
		   median(raw, options->repeat), median(shares, options->repeat), (unsigned long long) report.file_bytes,
		   report.load_io, options->repeat);
	free(ours);
	free(raw);
	free(shares);
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{"model", required_argument, NULL, 'm'},
		{"threads", required_argument, NULL, 't'},
		{"repeat", required_argument, NULL, 'r'},
		{"warm", no_argument, NULL, 'w'},
		{"pread", no_argument, NULL, 'p'},
		{"buffered", no_argument, NULL, 'b'},
		{NULL, 0, NULL, 0},
	};
	Options chosen = {.threads = 2, .repeat = 5};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (option)
		{
			case 'm':
				chosen.model = optarg;
				break;
			case 't':
				chosen.threads = atoi(optarg);
				break;
			case 'r':
				chosen.repeat = atoi(optarg);
				break;
			case 'w':
				chosen.warm = true;
				break;
			case 'p':
				chosen.pread = true;
				break;
			case 'b':
				chosen.buffered = true;
				break;
			default:
				return 2;
		}
	if (!chosen.model || chosen.repeat < 1)
		die("usage: load_bench --model FILE [--threads N] [--repeat N] [--warm] [--pread] [--buffered]");
	run(&chosen);
	return 0;
}
