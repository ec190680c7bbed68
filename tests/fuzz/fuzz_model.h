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
	snprintf(path, sizeof path, "%s/a.gguf", fuzz_folder);
	unlink(path);
	rmdir(fuzz_folder);
}

/* Write a file of the folder: "m.gguf" or "a.gguf". Its pages are kept for the next input. */
static inline void
fuzz_write(const char *name, const void *data, size_t size)
{
	static int files[2] = {-1, -1};
	static bool is_made = false;
	int *file = &files[name[0] == 'a'];
	char path[64];

	if (!is_made)
	{
		if (!mkdtemp(fuzz_folder))
			abort();
		atexit(fuzz_remove_folder);
		is_made = true;
	}
	snprintf(path, sizeof path, "%s/%s", fuzz_folder, name);
	if (*file < 0)
		*file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (*file < 0 || ftruncate(*file, 0) != 0 || pwrite(*file, data, size, 0) != (ssize_t) size)
		abort();
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
	bool key_outliers;
	Status status = model_check(&check, &hyper, &key_outliers);

	PROMISE(status.code == opened->code && strlen(status.message) >= strlen(opened->message));
}

/* Write the file and load it into an image. The loader must leave an empty one behind a failure. */
static inline Status
fuzz_model_load(const void *data, size_t size, int *image)
{
	ModelLoadRequest request = {
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

	*image = request.image_fd = memfd_create("image", MFD_CLOEXEC);
	if (*image < 0)
		abort();
	fuzz_write("m.gguf", data, size);
	status = model_load(&request, &report);
	if (status.code == STATUS_OK)
		PROMISE(model_image_is_complete(*image, &generation) && generation == 1);
	else
		PROMISE(lseek(*image, 0, SEEK_END) == 0 && status.code != STATUS_INTERNAL && status.message[0]);
	return status;
}

/* Write the file, load it into an image and open that. */
static inline Status
fuzz_model_open(const void *data, size_t size, Model **model)
{
	int image;
	Status status = fuzz_model_load(data, size, &image);

	*model = NULL;
	if (status.code == STATUS_OK)
		status = model_open(image, model);
	close(image);
	fuzz_check(&status);
	return status;
}

#endif
