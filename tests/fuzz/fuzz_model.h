/*
 * fuzz_model.h - loading and opening a model file that is only in memory, for the fuzz targets that need one.
 */
#ifndef QWEN_FUZZ_MODEL_H
#define QWEN_FUZZ_MODEL_H

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../src/model/model.h"
#include "fuzz.h"

#define FUZZ_MODEL_BYTES ((uint64_t) 64 << 20) /* of an image, at most */

static char fuzz_folder[] = "/dev/shm/qwen_fuzz_XXXXXX";

static inline void
fuzz_remove_folder(void)
{
	char path[64];

	snprintf(path, sizeof path, "%s/m.gguf", fuzz_folder);
	unlink(path);
	rmdir(fuzz_folder);
}

/* What is told of a file: texts that end. */
static inline void
fuzz_take_line(void *argument, const char *item, const char *value, const char *problem)
{
	size_t *n = argument;

	PROMISE(item[0] && (value || problem));
	*n += strlen(item) + (value ? strlen(value) : 0) + (problem ? strlen(problem) : 0);
	PROMISE(*n < (size_t) 1 << 20);
}

/* Looking at the file says what loading and opening it did. */
static inline void
fuzz_check(const Status *opened)
{
	size_t n = 0;
	ModelCheck check = {.directory = fuzz_folder,
						.file = "m.gguf",
						.memory_limit = FUZZ_MODEL_BYTES,
						.line = fuzz_take_line,
						.argument = &n};
	ModelHyper hyper;
	Status status = model_check(&check, &hyper);

	PROMISE(status.code == opened->code && strlen(status.message) >= strlen(opened->message));
}

/* Write the file, load it into an image and open that. The loader must leave an empty image behind a failure. */
static inline Status
fuzz_model_open(const void *data, size_t size, Model **model)
{
	static int file = -1;
	int image = memfd_create("image", MFD_CLOEXEC);
	ModelLoadRequest request = {
		.image_fd = image,
		.directory = fuzz_folder,
		.file = "m.gguf",
		.name = "m",
		.generation = 1,
		.n_threads = 1,
		.memory_limit = FUZZ_MODEL_BYTES,
	};
	ModelLoadReport report;
	uint64_t generation;
	Status status;

	*model = NULL;
	if (file < 0)
	{
		char path[64];

		if (!mkdtemp(fuzz_folder))
			abort();
		atexit(fuzz_remove_folder);
		snprintf(path, sizeof path, "%s/m.gguf", fuzz_folder);
		file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	}
	if (file < 0 || image < 0 || ftruncate(file, 0) != 0 || pwrite(file, data, size, 0) != (ssize_t) size)
		abort();
	status = model_load(&request, &report);
	if (status.code == STATUS_OK)
	{
		PROMISE(model_image_is_complete(image, &generation) && generation == 1);
		status = model_open(image, model);
	}
	else
		PROMISE(lseek(image, 0, SEEK_END) == 0 && status.code != STATUS_INTERNAL && status.message[0]);
	close(image);
	fuzz_check(&status);
	return status;
}

#endif
