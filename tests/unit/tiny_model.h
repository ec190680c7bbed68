/*
 * tiny_model.h - a tiny random model (gguf_writer.h) loaded into an image and opened, as the loader and the engine do.
 *
 * Header only. What cannot be made ends the program, with the reason.
 */
#ifndef TINY_MODEL_H
#define TINY_MODEL_H

#include "../../src/model/model.h"
#include "gguf_writer.h"

/* Load m.gguf of a folder into an image. */
static inline Status
tiny_load(const char *folder, int image_fd, int n_threads, bool io_uring, bool direct)
{
	ModelLoadRequest request = {
		.image_fd = image_fd,
		.directory = folder,
		.file = "m.gguf",
		.name = "m",
		.generation = 1,
		.n_threads = n_threads,
		.allow_io_uring = io_uring,
		.allow_direct_io = direct,
		.memory_limit = 1 << 30,
	};
	ModelLoadReport report;

	return model_load(&request, &report);
}

static inline void
tiny_require(Status status)
{
	if (status.code == STATUS_OK)
		return;
	fprintf(stderr, "a tiny model: %s\n", status.message);
	abort();
}

/* A new image of a model of this shape; the caller closes it. */
static inline int
tiny_image(const TinyModel *shape)
{
	char folder[] = "/tmp/qwen_test_tiny_XXXXXX", command[128];
	ByteWriter file = writer_model(shape, NULL);
	int image_fd = memfd_create("image", 0);

	if (image_fd < 0 || !mkdtemp(folder))
		abort();
	writer_save(folder, "m.gguf", file.data, file.length);
	byte_writer_free(&file);
	tiny_require(tiny_load(folder, image_fd, 1, false, false));
	snprintf(command, sizeof command, "rm -rf %s", folder);
	if (system(command) != 0)
		abort();
	return image_fd;
}

/* A model of this shape, opened; the caller closes it. */
static inline Model *
tiny_model(const TinyModel *shape)
{
	int image_fd = tiny_image(shape);
	Model *model = NULL;

	tiny_require(model_open(image_fd, &model));
	close(image_fd);
	return model;
}

/* Give a model a template that writes tools, as those of models that call them do; its own knows none. */
static inline void
tiny_learn_tools(Model *model)
{
	char source[1024];
	int n = snprintf(source, sizeof source, "{%%- if tools %%}{{- tools | tojson }}{%%- endif %%}%s",
					 chat_template_default);

	chat_template_destroy(model->chat_template);
	tiny_require(chat_template_create(source, (size_t) n, &model->chat_template));
}

#endif
