/*
 * model_check.c - model_check: what a model's file would be, told without loading it.
 *
 * It takes the loader's own steps (loader_private.h), up to the ones that need memory for tensors, and makes tokenizer
 * and template of the file's texts as opening does. So what it says of loading is what loading would say; only a file
 * whose data cannot be read, or memory that is gone by then, is seen there alone.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../base/memory.h"
#include "key_outliers.h"
#include "loader_private.h"
#include "model_path.h"
#include "tensor_roles.h"

#define VALUE_BYTES 512
#define NAME_BYTES 200 /* of a name in the file that is shown */

static void __attribute__((format(printf, 3, 4)))
tell(const ModelCheck *check, const char *item, const char *format, ...)
{
	char value[VALUE_BYTES];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(value, sizeof value, format, arguments);
	va_end(arguments);
	check->line(check->argument, item, value, NULL);
}

static void
tell_size(const ModelCheck *check, const char *item, uint64_t value)
{
	tell(check, item, "%llu", (unsigned long long) value);
}

/* A string of the metadata, if it is there. */
static void
tell_text(const ModelCheck *check, const Gguf *gguf, const char *item, const char *key)
{
	const GgufValue *value = gguf_find(gguf, key);

	if (value && value->type == GGUF_STRING)
		tell(check, item, "%.*s", (int) (value->string.length > NAME_BYTES ? NAME_BYTES : value->string.length),
			 value->string.data);
}

/* "Q4_K 217, Q6_K 37, F32 145": how many tensors of each type, those that cannot be computed with among them. */
static void
tell_types(const ModelCheck *check, const Gguf *gguf)
{
	uint32_t counts[TENSOR_TYPE_IDS] = {0};
	char text[VALUE_BYTES] = "";
	size_t length = 0;

	for (uint32_t i = 0; i < gguf->n_tensors; i++)
		counts[gguf->tensors[i].type->type]++;
	for (uint32_t id = 0; id < TENSOR_TYPE_IDS && length < sizeof text; id++)
		if (counts[id] > 0)
			length += (size_t) snprintf(text + length, sizeof text - length, "%s%s %u", length > 0 ? ", " : "",
										tensor_type_info(id)->name, counts[id]);
	tell(check, "tensor_types", "%s", text);
}

static void
tell_file(const Loader *loader)
{
	const ModelCheck *check = loader->check;
	const Gguf *gguf = &loader->files.gguf;

	tell_size(check, "files", loader->files.n_files);
	tell_size(check, "file_bytes", loader->files.file_bytes);
	tell_size(check, "gguf_version", gguf->version);
	tell_text(check, gguf, "name", "general.name");
	tell_text(check, gguf, "architecture", "general.architecture");
	tell(check, "quantization", "%s", loader_main_type(gguf));
	tell_types(check, gguf);
}

static void
tell_rope(const ModelCheck *check, const ModelHyper *hyper)
{
	if (hyper->rope_scaling == ROPE_SCALING_NONE)
		tell(check, "rope", "base %g", hyper->rope_base);
	else
		tell(check, "rope", "base %g, %s, factor %g", hyper->rope_base,
			 hyper->rope_scaling == ROPE_SCALING_YARN ? "yarn" : "linear", hyper->rope_factor);
}

/* Of a hybrid: its delta nets, and the layers behind the others that guess tokens ahead. The first one is of use, where
 * the file has more of it than its number. */
static void
tell_hybrid(const Loader *loader)
{
	const ModelCheck *check = loader->check;
	const ModelHyper *hyper = &loader->header.hyper;
	char n_guess_layers[16];

	if (model_n_delta_layers(hyper) == 0)
		return;
	tell_size(check, "delta_net_layers", model_n_delta_layers(hyper));
	snprintf(n_guess_layers, sizeof n_guess_layers, "%u", hyper->n_guess_layers);
	check->line(check->argument, "guessing_layers", n_guess_layers,
				hyper->n_guess_layers > 0 && !loader_file_has_head(loader)
					? "the tensors of the first one were left out of the file: it guesses nothing"
					: NULL);
}

static void
tell_hyper(const Loader *loader)
{
	const ModelCheck *check = loader->check;
	const ModelHyper *hyper = &loader->header.hyper;

	tell_size(check, "layers", hyper->n_layers);
	tell_hybrid(loader);
	tell_size(check, "embedding_size", hyper->hidden);
	tell(check, "heads", "%u, %u of keys and values, of %u elements", hyper->n_heads, hyper->n_kv_heads,
		 hyper->head_dim);
	if (hyper->n_experts > 0)
		tell(check, "experts", "%u of %u in each layer%s", hyper->n_used_experts, hyper->n_experts,
			 hyper->shared_ffn > 0 ? ", and a shared one" : "");
	tell_size(check, "context_length", hyper->context_length);
	tell_rope(check, hyper);
	tell_size(check, "vocabulary", hyper->vocab);
}

/* The tokenizer and the template, made of the texts as they would stand in the image. */
static Status
check_texts(Loader *loader)
{
	const ModelCheck *check = loader->check;
	ImageTexts texts;
	Status status;

	loader->meta = calloc(1, loader->header.data_start);
	if (!loader->meta)
		return status_error(STATUS_UNAVAILABLE, "out of memory for the file's texts");
	loader_write_meta(loader);
	status = image_check_texts((const ImageHeader *) (const void *) loader->meta, &texts);
	free(loader->meta);
	loader->meta = NULL;
	check->line(check->argument, "tokenizer", loader->tokenizer_pre, status.code == STATUS_OK ? NULL : status.message);
	STATUS_TRY(status);
	check->line(check->argument, "chat_template", loader->header.chat_template.bytes ? "of the file" : "ChatML",
				texts.template_error.code == STATUS_OK ? NULL : texts.template_error.message);
	tell(check, "can_think", "%s", texts.can_think ? "true" : "false");
	if (texts.notices.text[0])
		check->line(check->argument, "notice", texts.notices.text, NULL);
	return status_ok();
}

/* Bytes of what a row of a step reads: all weights, of experts only those that it uses, of the embeddings one row. */
static uint64_t
bytes_of_token(const Loader *loader)
{
	const ModelHyper *hyper = &loader->header.hyper;
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < loader->header.n_tensors; i++)
	{
		TensorRole role = role_at(hyper, i);
		uint64_t of_role = loader->tensors[i].data.bytes;
		bool looked_up = i == ROLE_TOKEN_EMBEDDING && loader->tensors[ROLE_OUTPUT].data.bytes > 0;

		if (role.n_experts > 0)
			of_role = of_role / role.n_experts * hyper->n_used_experts;
		bytes += looked_up ? of_role / role.n_rows : of_role;
	}
	return bytes;
}

/* A vector's floats: [n_cols of the role's tensor]; false: not to be had, which loading will tell. */
static bool
read_vector(const Loader *loader, uint32_t role, float *numbers)
{
	ReadJob job = loader_job_of(loader, role, 0, 1);
	uint8_t *bytes = malloc(job.bytes);
	ssize_t n = bytes ? pread(loader->files.fds[job.file], bytes, job.bytes, (off_t) job.offset) : -1;
	bool done = n == (ssize_t) job.bytes;

	if (done)
		dequantize_row(loader->sources[role].tensor->type->type, bytes, loader->tensors[role].n_cols, numbers);
	free(bytes);
	return done;
}

/* Has a head of the layer whose biases of keys these are outliers? */
static bool
bias_has_outliers(const Loader *loader, uint32_t role)
{
	const ModelHyper *hyper = &loader->header.hyper;
	float *bias = calloc((size_t) hyper->n_kv_heads * hyper->head_dim, sizeof *bias);
	bool is_read = bias && read_vector(loader, role, bias), found = false;

	for (uint32_t head = 0; is_read && head < hyper->n_kv_heads && !found; head++)
	{
		KeyOutliers outliers = {0};

		key_outliers_of_head(hyper, bias + (size_t) head * hyper->head_dim, &outliers);
		found = outliers.n > 0;
	}
	free(bias);
	return found;
}

/* Has any head outliers? What keys take depends on it. */
static bool
has_key_outliers(const Loader *loader)
{
	for (uint32_t i = N_MODEL_ROLES; i < loader->header.n_tensors; i++)
		if ((i - N_MODEL_ROLES) % N_LAYER_ROLES == ROLE_ATTN_K_BIAS && loader->sources[i].tensor &&
			bias_has_outliers(loader, i))
			return true;
	return false;
}

/* With the head read: everything that is in it, and whether there is memory for what it says. */
static Status
check_head(Loader *loader, bool *key_outliers)
{
	const ModelCheck *check = loader->check;
	char bytes[32];
	Status memory;

	tell_hyper(loader);
	STATUS_TRY(loader_match_tensors(loader));
	STATUS_TRY(loader_lay_out(loader));
	*key_outliers = has_key_outliers(loader);
	STATUS_TRY(check_texts(loader));
	tell_size(check, "parameters", loader->report->n_parameters);
	tell_size(check, "weight_bytes_per_token", bytes_of_token(loader));
	if (memory_available() != UINT64_MAX)
		tell_size(check, "memory_available", memory_available());
	memory = loader_check_memory(loader);
	snprintf(bytes, sizeof bytes, "%llu", (unsigned long long) loader->header.image_bytes);
	check->line(check->argument, "shared_memory_bytes", bytes, memory.code == STATUS_OK ? NULL : memory.message);
	return memory;
}

/* A file that is open. */
static Status
check_file(Loader *loader, ModelHyper *hyper, bool *key_outliers)
{
	const ModelCheck *check = loader->check;
	Status status;

	tell_file(loader);
	status = loader_read_head(loader);
	if (status.code == STATUS_OK)
	{
		status = check_head(loader, key_outliers);
		*hyper = loader->header.hyper;
	}
	if (loader->n_wrong > MODEL_CHECK_TENSORS)
		tell(check, "tensor", "%u more", loader->n_wrong - MODEL_CHECK_TENSORS);
	if (loader->report->notices.text[0])
		check->line(check->argument, "notice", loader->report->notices.text, NULL);
	return status;
}

/* NOT_FOUND and NOT_ALLOWED are of the file that was named; of what else belongs to it they are its fault. */
static Status
open_files(const ModelCheck *check, ModelFiles *files)
{
	uint64_t file_bytes;
	Status status;
	int fd;

	status = model_path_open(check->directory, check->file, &fd, &file_bytes);
	if (status.code != STATUS_OK)
		return status;
	close(fd);
	status = model_files_open(check->directory, check->file, files);
	if (status.code == STATUS_NOT_FOUND || status.code == STATUS_NOT_ALLOWED)
		status.code = STATUS_INVALID_ARGUMENT;
	return status;
}

Status
model_check(const ModelCheck *check, ModelHyper *hyper, bool *key_outliers)
{
	const ModelLoadRequest request = {.directory = check->directory,
									  .file = check->file,
									  .name = "",
									  .without_heads = check->without_heads,
									  .memory_limit = check->memory_limit,
									  .cache_bytes = check->cache_bytes};
	ModelLoadReport *report = calloc(1, sizeof *report);
	Loader *loader = calloc(1, sizeof *loader);
	Status status = status_error(STATUS_UNAVAILABLE, "out of memory for looking at a file");

	memset(hyper, 0, sizeof *hyper);
	*key_outliers = false;
	if (loader && report)
	{
		loader->request = &request;
		loader->report = report;
		loader->check = check;
		status = open_files(check, &loader->files);
		if (status.code == STATUS_OK)
		{
			status = status_prefix(check_file(loader, hyper, key_outliers), "model file \"%s\"",
								   model_path_shown(check->directory, check->file));
			model_files_close(&loader->files);
		}
	}
	free(loader);
	free(report);
	return status;
}
