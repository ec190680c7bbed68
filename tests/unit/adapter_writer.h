/*
 * adapter_writer.h - small GGUF files of adapters for the unit tests, made in memory for a model of gguf_writer.h.
 *
 * Header only. AdapterFile is a list of keys and tensors, so that a test can make it lie before it is written.
 */
#ifndef ADAPTER_WRITER_H
#define ADAPTER_WRITER_H

#include "../../src/model/adapter.h"
#include "../../src/model/gguf.h"
#include "tiny_model.h"

typedef struct AdapterFile
{
	ByteWriter values;
	uint64_t n_values;
	WriterTensor tensors[1024];
	uint32_t n_tensors;
	uint64_t seed;
} AdapterFile;

static inline void
adapter_tensor(AdapterFile *file, const char *base, const char *suffix, uint64_t cols, uint64_t rows, uint64_t experts,
			   TensorType type, float scale)
{
	WriterTensor *tensor = &file->tensors[file->n_tensors++];

	memset(tensor, 0, sizeof *tensor);
	snprintf(tensor->name, sizeof tensor->name, "%.*s%s", 50, base, suffix);
	tensor->n_dims = experts > 1 ? 3 : 2;
	tensor->dims[0] = cols;
	tensor->dims[1] = rows;
	tensor->dims[2] = experts;
	tensor->type = type;
	tensor->scale = scale;
}

/* Keys of an adapter. */
static inline void
adapter_keys(AdapterFile *file, const char *architecture, float alpha)
{
	byte_writer_init(&file->values);
	writer_text(&file->values, "general.type", "adapter", &file->n_values);
	writer_text(&file->values, "general.architecture", architecture, &file->n_values);
	writer_text(&file->values, "adapter.type", "lora", &file->n_values);
	writer_f32(&file->values, "adapter.lora.alpha", alpha, &file->n_values);
}

/* A pair of tensors for each matrix of a model's file whose name has part in it ("": all). */
static inline void
adapter_pairs(AdapterFile *file, const ByteWriter *model_file, const char *part, uint32_t rank, TensorType type)
{
	Gguf gguf;

	tiny_require(gguf_parse(model_file->data, model_file->length, model_file->length, &gguf));
	for (uint32_t i = 0; i < gguf.n_tensors; i++)
	{
		const GgufTensor *tensor = &gguf.tensors[i];
		char name[80];
		bool embedding;

		snprintf(name, sizeof name, "%.*s", (int) tensor->name.length, tensor->name.data);
		if ((tensor->n_dims < 2 && !strstr(name, "gate_inp_shexp")) || !strstr(name, part) ||
			strstr(name, "ssm_conv1d")) /* no matrix of a product */
			continue;
		embedding = strcmp(name, "token_embd.weight") == 0;
		adapter_tensor(file, name, ".lora_a", embedding ? rank : tensor->dims[0], embedding ? tensor->dims[1] : rank,
					   tensor->n_dims > 2 ? tensor->dims[2] : 1, type, embedding ? 0.5f : 0.2f);
		adapter_tensor(file, name, ".lora_b", rank,
					   embedding             ? tensor->dims[0]
					   : tensor->n_dims == 1 ? 1
											 : tensor->dims[1],
					   tensor->n_dims > 2 ? tensor->dims[2] : 1, type, 0.1f);
	}
	gguf_close(&gguf);
}

/* Everything of it as a file. The caller frees it. */
static inline ByteWriter
adapter_bytes(const AdapterFile *file)
{
	uint64_t offset = 0, state = file->seed * 0x9E3779B97F4A7C15ull + 88172645463325252ull;
	ByteWriter out;

	byte_writer_init(&out);
	write_raw(&out, "GGUF", 4);
	write_u32(&out, 3);
	write_u64(&out, file->n_tensors);
	write_u64(&out, file->n_values);
	write_raw(&out, file->values.data, file->values.length);
	for (uint32_t i = 0; i < file->n_tensors; i++)
	{
		const WriterTensor *tensor = &file->tensors[i];
		uint64_t rows = tensor->n_dims > 1 ? tensor->dims[1] * tensor->dims[2] : 1;

		writer_string(&out, tensor->name);
		write_u32(&out, tensor->n_dims);
		for (uint32_t d = 0; d < tensor->n_dims; d++)
			write_u64(&out, tensor->dims[d]);
		write_u32(&out, tensor->type);
		write_u64(&out, offset);
		offset += (tensor_row_bytes(tensor_type_info(tensor->type), (uint32_t) tensor->dims[0]) * rows + 31) / 32 * 32;
	}
	while (out.length % 32)
		write_u8(&out, 0);
	for (uint32_t i = 0; i < file->n_tensors; i++)
	{
		writer_data(&out, &file->tensors[i], &state);
		while (out.length % 32)
			write_u8(&out, 0);
	}
	return out;
}

/* The architecture of a tiny model. */
static inline const char *
adapter_architecture(const TinyModel *shape)
{
	return writer_architecture(shape->kind);
}

/* The file of a whole adapter for a model of this shape. */
static inline ByteWriter
adapter_file(const TinyModel *shape, const char *part, uint32_t rank, float alpha, TensorType type, uint64_t seed)
{
	static AdapterFile file;
	ByteWriter model_file = writer_model(shape, NULL), out;

	memset(&file, 0, sizeof file);
	file.seed = seed;
	adapter_keys(&file, adapter_architecture(shape), alpha);
	adapter_pairs(&file, &model_file, part, rank, type);
	out = adapter_bytes(&file);
	byte_writer_free(&file.values);
	byte_writer_free(&model_file);
	return out;
}

/* Load bytes as an adapter of a model's image, as the loader does; image_fd: an empty memory file. */
static inline Status
adapter_load_bytes(int base_fd, int image_fd, const void *bytes, size_t length, AdapterLoadReport *report)
{
	char folder[] = "/tmp/qwen_test_adapter_XXXXXX", path[128];
	AdapterLoadRequest request = {
		.image_fd = image_fd,
		.base_fd = base_fd,
		.directory = folder,
		.file = "a.gguf",
		.name = "a",
		.model = "m",
		.generation = 7,
		.base_generation = 1,
		.memory_limit = 1 << 30,
	};
	Status status;

	if (!mkdtemp(folder))
		abort();
	writer_save(folder, "a.gguf", bytes, length);
	status = adapter_load(&request, report);
	snprintf(path, sizeof path, "%s/a.gguf", folder);
	unlink(path);
	rmdir(folder);
	return status;
}

/* An adapter of a model's image, opened; the caller closes it. */
static inline Adapter *
adapter_of(int base_fd, const ByteWriter *file)
{
	int image_fd = memfd_create("adapter", 0);
	AdapterLoadReport report;
	Adapter *adapter = NULL;

	tiny_require(adapter_load_bytes(base_fd, image_fd, file->data, file->length, &report));
	tiny_require(adapter_open(image_fd, 7, &adapter));
	close(image_fd);
	return adapter;
}

#endif
