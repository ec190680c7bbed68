/*
 * loader.c - model_load: from a GGUF file to a complete image in a memory file.
 *
 * In order: open below the directory, read and check the head (or heads, of a split model), lay the image out, compare
 * its size with what memory there is, write header and tokenizer, then read and pack the tensors. Packed tiles go into
 * the memory file by pwrite: a full system is an error and no SIGBUS, and pages that are written whole are neither
 * cleared nor mapped. State "complete" is written last; after a failure the file has 0 bytes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../kernels/team.h"
#include "../base/memory.h"
#include "../base/pages.h"
#include "architectures.h"
#include "context.h"
#include "hyperparameters.h"
#include "loader_private.h"
#include "model_path.h"
#include "tensor_roles.h"

#define JOB_BYTES ((uint64_t) 1 << 20)      /* about this much of the file a job */
#define WRITE_BYTES ((uint64_t) 256 * 1024) /* of packed tiles written at once: they are still in the cache */

static uint64_t
align_up(uint64_t bytes, uint64_t alignment)
{
	return (bytes + alignment - 1) / alignment * alignment;
}

/* Put a part of so many bytes behind what is laid out already. */
static ImagePart
place_part(uint64_t *end, uint64_t bytes, uint64_t alignment)
{
	ImagePart part;

	part.offset = bytes ? align_up(*end, alignment) : 0;
	part.bytes = bytes;
	if (bytes)
		*end = part.offset + bytes;
	return part;
}

/* "[576][49152]", as the file has it. */
static void
format_shape(const GgufTensor *tensor, char *out, size_t bytes)
{
	size_t length = 0;

	out[0] = '\0';
	for (uint32_t d = tensor->n_dims; d-- > 0 && length < bytes;)
		length += (size_t) snprintf(out + length, bytes - length, "[%llu]", (unsigned long long) tensor->dims[d]);
}

/* Is the tensor of these dimensions? n_experts: 0 for one that has two at most. */
static Status
check_shape(const GgufTensor *tensor, const char *name, uint32_t n_experts, uint32_t n_rows, uint32_t n_cols)
{
	uint64_t rows_found = tensor->n_dims > 1 ? tensor->dims[1] : 1;
	uint64_t experts_found = tensor->n_dims > 2 ? tensor->dims[2] : 1;
	uint32_t n = n_experts > 0 ? n_experts : 1;
	char shape[128], expected[16] = "";

	if (tensor->dims[0] == n_cols && rows_found == n_rows && experts_found == n &&
		(uint64_t) n_cols * n_rows * n == tensor->n_elements)
		return status_ok();
	format_shape(tensor, shape, sizeof shape);
	if (n_experts > 0)
		snprintf(expected, sizeof expected, "[%u]", n_experts);
	return status_error(STATUS_INVALID_ARGUMENT, "tensor \"%s\" has the shape %s, expected %s[%u][%u]", name, shape,
						expected, n_rows, n_cols);
}

/* Is the file's tensor of a type that can be computed with? */
static Status
check_type(const GgufTensor *tensor, const char *name, const TensorRole *role)
{
	if (!tensor->type->can_pack)
		return status_error(STATUS_UNSUPPORTED, "tensor \"%s\" has type %s; supported are " TENSOR_TYPES_SUPPORTED,
							name, tensor->type->name);
	if (role->is_float && tensor->type->type != TENSOR_F32 && tensor->type->type != TENSOR_F16 &&
		tensor->type->type != TENSOR_BF16)
		return status_error(STATUS_UNSUPPORTED, "tensor \"%s\" is quantized (%s); only matrices may be%s", name,
							tensor->type->name, role->is_matrix ? ", and no router" : "");
	return status_ok();
}

/* Find a role's tensor in the one of its places that the file has. Which of two is meant, nobody could tell. */
static Status
find_source(const Gguf *gguf, const TensorRole *role, TensorSource *source)
{
	*source = (TensorSource){0};
	for (uint32_t i = 0; i < role->n_places; i++)
	{
		const GgufTensor *tensor = gguf_find_tensor(gguf, role->places[i].name);

		if (tensor && source->tensor)
			return status_error(STATUS_INVALID_ARGUMENT, "tensor \"%s\" stands twice: also in \"%s\"",
								source->place.name, role->places[i].name);
		if (tensor)
			*source = (TensorSource){tensor, role->places[i]};
	}
	if (!source->tensor)
		return status_ok();
	/* a vector is one row, whose elements are the place's rows */
	STATUS_TRY(
		role->is_matrix || role->n_rows > 1
			? check_shape(source->tensor, source->place.name, role->n_experts, source->place.n_rows, role->n_cols)
			: check_shape(source->tensor, source->place.name, 0, 1, source->place.n_rows));
	return check_type(source->tensor, source->place.name, role);
}

static bool
name_begins(const GgufTensor *tensor, const char *text)
{
	return tensor->name.length >= strlen(text) && memcmp(tensor->name.data, text, strlen(text)) == 0;
}

/* Files that have a model's architecture and not its tensors, or others beside them: what they are. */
static Status
check_contents(const Gguf *gguf, const ModelHyper *hyper)
{
	static const char nextn[] = ".nextn.";
	const GgufTensor *guessing = NULL;
	const GgufTensor *after = NULL; /* of the layer behind the last one */
	bool looks = (architecture_traits(hyper->architecture) & TRAIT_HYBRID) != 0, has_first = false, guesses = false;
	char behind[GGUF_ROLE_NAME_BYTES], guess[GGUF_ROLE_NAME_BYTES];

	snprintf(behind, sizeof behind, "blk.%u.", hyper->n_layers);
	snprintf(guess, sizeof guess, "blk.%u.nextn.", hyper->n_layers);
	for (uint32_t t = 0; t < gguf->n_tensors; t++)
	{
		const GgufTensor *tensor = &gguf->tensors[t];

		/* hybrids are published so: their text needs nothing of it */
		if (!looks && (name_begins(tensor, "v.") || name_begins(tensor, "a.") || name_begins(tensor, "mm.")))
			return status_error(STATUS_UNSUPPORTED,
								"it has an encoder of images or sounds (tensor \"%.*s\") in one file with the text "
								"model, as Ollama makes them; take a GGUF file that has the model alone",
								(int) tensor->name.length, tensor->name.data);
		has_first |= name_begins(tensor, "blk.0.");
		if (memmem(tensor->name.data, tensor->name.length, nextn, strlen(nextn)))
			guessing = tensor;
		if (name_begins(tensor, behind))
			after = tensor;
		guesses |= name_begins(tensor, guess);
	}
	if (guessing && !has_first)
		return status_error(STATUS_UNSUPPORTED,
							"it has only the layers that guess tokens ahead (tensor \"%.*s\", a file named mtp-...), "
							"not the model that they belong to",
							(int) guessing->name.length, guessing->name.data);
	/* it would be passed over, and the model say something else */
	if (hyper->n_guess_layers > 0 && after && !guesses)
		return status_error(
			STATUS_UNSUPPORTED,
			"layer %u is one of the model (tensor \"%.*s\"), where %u of nextn_predict_layers says that "
			"layers begin that guess tokens ahead; the file's number is wrong",
			hyper->n_layers, (int) after->name.length, after->name.data, hyper->n_guess_layers);
	return status_ok();
}

/* Is a tensor one of those that stand beside the model and that are passed over? */
static bool
is_beside_model(const ModelHyper *hyper, const GgufTensor *tensor)
{
	char name[GGUF_ROLE_NAME_BYTES];
	unsigned layer;

	snprintf(name, sizeof name, "%.*s", (int) tensor->name.length, tensor->name.data);
	/* a classifier on top that is not used; encoders of images, which check_contents has seen; layers that guess ahead
	 */
	return (hyper->n_classes == 0 && name_begins(tensor, "cls.")) || name_begins(tensor, "v.") ||
		   name_begins(tensor, "mm.") ||
		   (sscanf(name, "blk.%u.", &layer) == 1 && layer >= hyper->n_layers + hyper->n_heads_loaded &&
			layer - hyper->n_layers < hyper->n_guess_layers);
}

/* A tensor is wrong: that ends a load, and is noted of a file that is only looked at. */
static Status
note_wrong(Loader *loader, const char *tensor, Status why)
{
	if (!loader->check || why.code == STATUS_UNAVAILABLE)
		return why;
	if (loader->n_wrong++ == 0)
		loader->first_wrong = why;
	if (loader->n_wrong <= MODEL_CHECK_TENSORS)
		loader->check->line(loader->check->argument, "tensor", tensor, why.message);
	return status_ok();
}

/* What it is found to be of one role. */
static Status
match_role(Loader *loader, const TensorRole *role, TensorSource *source)
{
	if (role->is_known)
		STATUS_TRY(find_source(&loader->files.gguf, role, source));
	if (!source->tensor && role->is_required)
		return status_error(STATUS_INVALID_ARGUMENT, "tensor \"%s\" is missing", role->name);
	return status_ok();
}

/* A tensor that no role has. */
static Status
unknown_tensor(const Loader *loader, const GgufTensor *tensor)
{
	return status_error(STATUS_UNSUPPORTED, "tensor \"%.*s\" is not part of architecture %s", (int) tensor->name.length,
						tensor->name.data, architecture_name(loader->header.hyper.architecture));
}

Status
loader_match_tensors(Loader *loader)
{
	const Gguf *gguf = &loader->files.gguf;
	uint32_t n_roles = roles_count(&loader->header.hyper);
	bool *used = arena_alloc_array(gguf->arena, gguf->n_tensors, sizeof *used);

	if (!used)
		return status_error(STATUS_UNAVAILABLE, "out of memory for %u tensors", gguf->n_tensors);
	STATUS_TRY(check_contents(gguf, &loader->header.hyper));
	for (uint32_t i = 0; i < n_roles; i++)
	{
		TensorRole role = role_at(&loader->header.hyper, i);
		TensorSource *source = &loader->sources[i];
		Status status = match_role(loader, &role, source);

		if (status.code != STATUS_OK)
			STATUS_TRY(note_wrong(loader, role.name, status));
		if (source->tensor)
			used[source->tensor - gguf->tensors] = true;
	}
	for (uint32_t t = 0; t < gguf->n_tensors; t++)
		/* a tensor that would change the answers must not be passed over */
		if (!used[t] && !is_beside_model(&loader->header.hyper, &gguf->tensors[t]))
		{
			char name[GGUF_MAX_TENSOR_NAME_BYTES + 1];

			snprintf(name, sizeof name, "%.*s", (int) gguf->tensors[t].name.length, gguf->tensors[t].name.data);
			STATUS_TRY(note_wrong(loader, name, unknown_tensor(loader, &gguf->tensors[t])));
		}
	return loader->first_wrong;
}

/* A string array of the metadata with the expected number of elements (0: any). */
static Status
find_array(const Gguf *gguf, const char *key, GgufType type, uint64_t n_expected, const GgufValue **out)
{
	const GgufValue *value = gguf_find(gguf, key);

	if (!value || value->type != GGUF_ARRAY || value->element_type != type)
		return status_error(STATUS_INVALID_ARGUMENT, "the metadata key %s is missing or of the wrong type", key);
	if (n_expected && value->n_elements != n_expected)
		return status_error(STATUS_INVALID_ARGUMENT, "%s has %llu elements, expected %llu", key,
							(unsigned long long) value->n_elements, (unsigned long long) n_expected);
	*out = value;
	return status_ok();
}

/* Room for the tokenizer's arrays. */
static Status
place_tokenizer(Loader *loader, uint64_t *end)
{
	ImageTokenizer *tokenizer = &loader->header.tokenizer;
	const GgufValue *tokens, *types, *merges;

	STATUS_TRY(hyper_read_tokenizer(&loader->files.gguf, &loader->header.hyper, &loader->names, loader->tokenizer_model,
									loader->tokenizer_pre, &loader->report->notices));
	STATUS_TRY(find_array(&loader->files.gguf, "tokenizer.ggml.tokens", GGUF_STRING, 0, &tokens));
	STATUS_TRY(find_array(&loader->files.gguf, "tokenizer.ggml.token_type", GGUF_I32, tokens->n_elements, &types));
	STATUS_TRY(find_array(&loader->files.gguf, "tokenizer.ggml.merges", GGUF_STRING, 0, &merges));
	snprintf(tokenizer->model, sizeof tokenizer->model, "%s", loader->tokenizer_model);
	snprintf(tokenizer->pre, sizeof tokenizer->pre, "%s", loader->tokenizer_pre);
	tokenizer->n_tokens = (uint32_t) tokens->n_elements;
	tokenizer->n_merges = (uint32_t) merges->n_elements;
	tokenizer->bos = loader->names.bos;
	tokenizer->eos = loader->names.eos;
	tokenizer->eot = loader->names.eot;
	tokenizer->padding = loader->names.padding;
	tokenizer->add_bos = loader->names.add_bos;
	tokenizer->add_eos = loader->names.add_eos;
	/* the strings without their 8-byte lengths */
	tokenizer->token_offsets = place_part(end, (tokens->n_elements + 1) * 8, 8);
	tokenizer->token_bytes = place_part(end, tokens->elements.length - tokens->n_elements * 8 + 1, 8);
	tokenizer->token_types = place_part(end, types->n_elements * 4, 8);
	tokenizer->merge_offsets = place_part(end, (merges->n_elements + 1) * 8, 8);
	tokenizer->merge_bytes = place_part(end, merges->elements.length - merges->n_elements * 8 + 1, 8);
	return status_ok();
}

/* Offsets of everything in the image. */
Status
loader_lay_out(Loader *loader)
{
	ImageHeader *header = &loader->header;
	const GgufValue *chat_template = gguf_find(&loader->files.gguf, "tokenizer.chat_template");
	const GgufValue *rerank_template = gguf_find(&loader->files.gguf, "tokenizer.chat_template.rerank");
	uint64_t end = sizeof *header;

	header->n_tensors = roles_count(&header->hyper);
	header->tensors = place_part(&end, (uint64_t) header->n_tensors * sizeof(ImageTensor), 8);
	STATUS_TRY(place_tokenizer(loader, &end));
	if (chat_template && chat_template->type == GGUF_STRING)
		header->chat_template = place_part(&end, chat_template->string.length, 8);
	if (rerank_template && rerank_template->type == GGUF_STRING)
		header->rerank_template = place_part(&end, rerank_template->string.length, 8);
	header->data_start = align_up(end, IMAGE_ALIGNMENT);
	end = header->data_start;
	for (uint32_t i = 0; i < header->n_tensors; i++)
	{
		ImageTensor *tensor = &loader->tensors[i];
		TensorRole role = role_at(&header->hyper, i);

		if (!loader->sources[i].tensor)
			continue;
		tensor->type = role.is_matrix ? (uint32_t) loader->sources[i].tensor->type->type : TENSOR_F32;
		tensor->n_rows = role.n_rows;
		tensor->n_cols = role.n_cols;
		tensor->data =
			place_part(&end,
					   role.is_matrix ? (uint64_t) packed_tile_bytes((TensorType) tensor->type, role.n_cols) *
											packed_n_tiles(role.n_rows)
									  : (uint64_t) role.n_rows * role.n_cols * 4,
					   IMAGE_ALIGNMENT);
		loader->report->n_parameters += (uint64_t) role.n_rows * role.n_cols;
	}
	header->image_bytes = align_up(end, IMAGE_ALIGNMENT);
	return status_ok();
}

/* Both numbers before any memory is taken. */
Status
loader_check_memory(const Loader *loader)
{
	uint64_t limit = loader->request->memory_limit ? loader->request->memory_limit : memory_available();
	uint64_t cache = loader->request->cache_bytes;

	if (loader->header.image_bytes <= limit && cache > limit - loader->header.image_bytes)
		return status_error(STATUS_TOO_LONG,
							"the model needs %llu MB of memory and keys and values up to %llu MB more "
							"(qwen.kv_cache_size), but only %llu MB are available",
							(unsigned long long) (loader->header.image_bytes >> 20), (unsigned long long) (cache >> 20),
							(unsigned long long) (limit >> 20));
	if (loader->header.image_bytes > limit)
		return status_error(STATUS_TOO_LONG, "the model needs %llu MB of memory, but only %llu MB are available",
							(unsigned long long) (loader->header.image_bytes >> 20),
							(unsigned long long) (limit >> 20));
	return status_ok();
}

/* Where a row of a role (a vector is one row) stands in its tensor. */
static uint64_t
row_in_file(const TensorSource *source, uint64_t row)
{
	const TensorPlace *place = &source->place;

	return place->first + row / place->run * place->stride + row % place->run;
}

/* Do the rows of a tile stand in several runs? Then it is gathered. */
static bool
is_scattered(const TensorSource *source, const ImageTensor *tensor)
{
	return source->place.run % TILE_ROWS != 0 && source->place.run < tensor->n_rows;
}

/* Tiles of a matrix from a tile on in one job: they stand together in the file, or it is one that is gathered. */
static uint32_t
tiles_of_job(const TensorSource *source, const ImageTensor *tensor, uint32_t tile)
{
	uint64_t n = JOB_BYTES / (tensor_row_bytes(source->tensor->type, tensor->n_cols) * TILE_ROWS);
	uint32_t run = packed_n_tiles(source->place.run), left = run - tile % run;

	if (n < 1 || is_scattered(source, tensor))
		return 1;
	return n < left ? (uint32_t) n : left;
}

ReadJob
loader_job_of(const Loader *loader, uint32_t i, uint32_t tile, uint32_t n)
{
	const TensorSource *source = &loader->sources[i];
	const ImageTensor *tensor = &loader->tensors[i];
	uint64_t row_bytes = tensor_row_bytes(source->tensor->type, tensor->n_cols);
	uint64_t first = (uint64_t) tile * TILE_ROWS, end = first + (uint64_t) n * TILE_ROWS;
	ReadJob job = {.file = source->tensor->file, .tag = (uint64_t) i << 32 | tile};

	end = end < tensor->n_rows ? end : tensor->n_rows;
	job.offset = source->tensor->offset + row_in_file(source, first) * row_bytes;
	job.bytes = (row_in_file(source, end - 1) + 1 - row_in_file(source, first)) * row_bytes;
	/* a part of a vector is counted in elements, which have their own bytes in types that vectors may have */
	if (!role_at(&loader->header.hyper, i).is_matrix && tensor->n_rows == 1)
		job.offset = source->tensor->offset + tensor_row_bytes(source->tensor->type, source->place.first);
	return job;
}

static int
compare_jobs(const void *a, const void *b)
{
	const ReadJob *x = a, *y = b;

	if (x->file != y->file)
		return x->file < y->file ? -1 : 1;
	return (x->offset > y->offset) - (x->offset < y->offset);
}

/* Jobs of whole tiles, in the file's order. tag: role << 32 | first tile. */
static Status
make_jobs(Loader *loader)
{
	uint64_t n = 0;

	for (int pass = 0; pass < 2; pass++)
	{
		for (uint32_t i = 0; i < loader->header.n_tensors; i++)
		{
			const TensorSource *source = &loader->sources[i];
			uint32_t step, n_tiles = source->tensor ? packed_n_tiles(loader->tensors[i].n_rows) : 0;

			for (uint32_t tile = 0; tile < n_tiles; tile += step)
			{
				step = tiles_of_job(source, &loader->tensors[i], tile);
				if (pass == 1)
				{
					loader->jobs[loader->n_jobs] = loader_job_of(loader, i, tile, step);
					loader->data_bytes += loader->jobs[loader->n_jobs++].bytes;
				}
				n += pass == 0;
			}
		}
		if (pass == 0)
			loader->jobs =
				n <= UINT32_MAX ? arena_alloc_array(loader->files.gguf.arena, n + 1, sizeof *loader->jobs) : NULL;
		if (!loader->jobs)
			return status_error(STATUS_UNAVAILABLE, "out of memory for %llu read jobs", (unsigned long long) n);
	}
	qsort(loader->jobs, loader->n_jobs, sizeof *loader->jobs, compare_jobs);
	return status_ok();
}

static Status
no_memory(const Loader *loader, uint64_t offset)
{
	return status_error(STATUS_UNAVAILABLE, "no memory for byte %llu of the model's %llu: %s",
						(unsigned long long) offset, (unsigned long long) loader->header.image_bytes, strerror(errno));
}

/* Write bytes of tensors into the image. */
static Status
write_data(const Loader *loader, uint64_t offset, const uint8_t *data, uint64_t bytes)
{
	while (bytes > 0)
	{
		ssize_t n = pwrite(loader->request->image_fd, data, bytes, (off_t) offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return no_memory(loader, offset);
		offset += (uint64_t) n;
		data += n;
		bytes -= (uint64_t) n;
	}
	return status_ok();
}

/* Packed tiles of a matrix that are written at once, at most. */
static uint32_t
tiles_per_write(uint64_t tile_bytes)
{
	return tile_bytes >= WRITE_BYTES ? 1 : (uint32_t) (WRITE_BYTES / tile_bytes);
}

/* What a worker needs for the largest piece that it writes. */
static uint64_t
scratch_bytes(const Loader *loader)
{
	uint64_t most = WRITE_BYTES;

	for (uint32_t i = 0; i < loader->header.n_tensors; i++)
	{
		const ImageTensor *tensor = &loader->tensors[i];
		uint64_t bytes = !loader->sources[i].tensor ? 0
						 : role_at(&loader->header.hyper, i).is_matrix
							 ? packed_tile_bytes((TensorType) tensor->type, tensor->n_cols)
							 : tensor->data.bytes;

		/* rows that are gathered stand behind their tile */
		if (bytes > 0 && is_scattered(&loader->sources[i], tensor))
			bytes += tensor_row_bytes(loader->sources[i].tensor->type, tensor->n_cols) * TILE_ROWS;

		most = bytes > most ? bytes : most;
	}
	return most;
}

/* Rows of vectors, as floats. Of a matrix a number that is none shows in the answers; what a vector scales or forgets
 * may hide it. */
static Status
use_vectors(const Loader *loader, uint32_t role, uint32_t first, uint32_t n_rows, const uint8_t *bytes,
			uint8_t *scratch)
{
	const ImageTensor *tensor = &loader->tensors[role];
	const GgufTensor *source = loader->sources[role].tensor;
	float *numbers = (float *) (void *) scratch;

	dequantize_row(source->type->type, bytes, n_rows * tensor->n_cols, numbers);
	STATUS_TRY(gguf_check_finite(source, numbers, (size_t) n_rows * tensor->n_cols));
	return write_data(loader, tensor->data.offset + (uint64_t) first * tensor->n_cols * 4, scratch,
					  (uint64_t) n_rows * tensor->n_cols * 4);
}

/* The rows of a tile, one behind the other, out of the runs that they stand in. */
static void
gather_rows(const TensorSource *source, uint32_t first, uint32_t n_rows, uint64_t row_bytes, const uint8_t *bytes,
			uint8_t *out)
{
	uint64_t start = row_in_file(source, first);

	for (uint32_t r = 0; r < n_rows; r++)
		memcpy(out + r * row_bytes, bytes + (row_in_file(source, first + r) - start) * row_bytes, row_bytes);
}

/* Pack one job's rows. */
static Status
use_job(void *argument, const ReadJob *job, const uint8_t *bytes, uint8_t *scratch)
{
	Loader *loader = argument;
	uint32_t role = (uint32_t) (job->tag >> 32), tile = (uint32_t) job->tag;
	const ImageTensor *tensor = &loader->tensors[role];
	const TensorSource *source = &loader->sources[role];
	TensorType type = source->tensor->type->type;
	uint64_t row_bytes = tensor_row_bytes(source->tensor->type, tensor->n_cols);
	uint64_t tile_bytes = packed_tile_bytes(type, tensor->n_cols), n_rows = job->bytes / row_bytes;

	if (!role_at(&loader->header.hyper, role).is_matrix)
		return use_vectors(loader, role, tile * TILE_ROWS, (uint32_t) n_rows, bytes, scratch);
	if (is_scattered(source, tensor))
	{
		n_rows = tensor->n_rows - tile * TILE_ROWS;
		n_rows = n_rows < TILE_ROWS ? n_rows : TILE_ROWS;
		gather_rows(source, tile * TILE_ROWS, (uint32_t) n_rows, row_bytes, bytes, scratch + tile_bytes);
		bytes = scratch + tile_bytes;
	}
	while (n_rows > 0)
	{
		uint32_t n_tiles = 0, most = is_scattered(source, tensor) ? 1 : tiles_per_write(tile_bytes);

		for (; n_tiles < most && n_rows > 0; n_tiles++)
		{
			uint32_t n = n_rows < TILE_ROWS ? (uint32_t) n_rows : TILE_ROWS;

			pack_tile(type, bytes, n, tensor->n_cols, scratch + tile_bytes * n_tiles);
			bytes += row_bytes * n;
			n_rows -= n;
		}
		STATUS_TRY(write_data(loader, tensor->data.offset + tile_bytes * tile, scratch, tile_bytes * n_tiles));
		tile += n_tiles;
	}
	return status_ok();
}

static void
show_progress(void *argument, uint64_t bytes_done)
{
	Loader *loader = argument;

	if (loader->request->progress)
		loader->request->progress(loader->request->progress_argument, bytes_done, loader->data_bytes);
}

/* Copy a string array as offsets and bytes. The head was checked when it was parsed, so reads cannot fail. */
static void
write_strings(Loader *loader, const GgufValue *value, ImagePart offsets, ImagePart bytes)
{
	uint64_t *offset = (uint64_t *) (void *) (loader->meta + offsets.offset);
	char *out = (char *) loader->meta + bytes.offset;
	ByteReader reader;
	uint64_t at = 0;

	byte_reader_init(&reader, value->elements.data, value->elements.length);
	for (uint64_t i = 0; i < value->n_elements; i++)
	{
		uint64_t length = read_u64(&reader);
		const void *text = read_raw(&reader, length);

		offset[i] = at;
		if (text)
			memcpy(out + at, text, length);
		at += length;
	}
	offset[value->n_elements] = at;
}

/* Everything before the tensor data, with its checksum. */
void
loader_write_meta(Loader *loader)
{
	ImageHeader *header = (ImageHeader *) (void *) loader->meta;
	const ImageTokenizer *tokenizer = &loader->header.tokenizer;
	const GgufValue *types = gguf_find(&loader->files.gguf, "tokenizer.ggml.token_type");
	const GgufValue *chat_template = gguf_find(&loader->files.gguf, "tokenizer.chat_template");
	const GgufValue *rerank_template = gguf_find(&loader->files.gguf, "tokenizer.chat_template.rerank");

	memcpy(header, &loader->header, sizeof *header);
	memcpy(loader->meta + loader->header.tensors.offset, loader->tensors, loader->header.tensors.bytes);
	write_strings(loader, gguf_find(&loader->files.gguf, "tokenizer.ggml.tokens"), tokenizer->token_offsets,
				  tokenizer->token_bytes);
	write_strings(loader, gguf_find(&loader->files.gguf, "tokenizer.ggml.merges"), tokenizer->merge_offsets,
				  tokenizer->merge_bytes);
	memcpy(loader->meta + tokenizer->token_types.offset, types->elements.data, tokenizer->token_types.bytes);
	if (loader->header.chat_template.bytes)
		memcpy(loader->meta + loader->header.chat_template.offset, chat_template->string.data,
			   loader->header.chat_template.bytes);
	if (loader->header.rerank_template.bytes)
		memcpy(loader->meta + loader->header.rerank_template.offset, rerank_template->string.data,
			   loader->header.rerank_template.bytes);
	header->checksum =
		image_checksum(loader->meta + IMAGE_UNCHECKED_BYTES, loader->header.data_start - IMAGE_UNCHECKED_BYTES);
}

/* Read and pack all tensors into the mapped image. */
static Status
read_tensors(Loader *loader)
{
	ReadRequest read = {
		.fds = loader->files.fds,
		.n_files = loader->files.n_files,
		.jobs = loader->jobs,
		.n_jobs = loader->n_jobs,
		.allow_io_uring = loader->request->allow_io_uring,
		.allow_direct_io = loader->request->allow_direct_io,
		.n_threads = loader->request->n_threads > 0 ? loader->request->n_threads : team_default_threads(),
		.scratch_bytes = scratch_bytes(loader),
		.use = use_job,
		.progress = show_progress,
		.argument = loader,
	};
	ReadReport report;
	Status status;

	status = reader_run(&read, &report);
	loader->report->load_io = (report.io_uring ? 1 : 3) + (report.direct ? 0 : 1);
	snprintf(loader->report->io_note, sizeof loader->report->io_note, "%s", report.note);
	return status;
}

/* With the layout known: memory, meta data, tensors, "complete". */
static Status
fill_image(Loader *loader)
{
	int fd = loader->request->image_fd;
	uint64_t meta_bytes = loader->header.data_start;
	Status status;

	if (ftruncate(fd, (off_t) loader->header.image_bytes) != 0)
		return status_error(STATUS_UNAVAILABLE, "cannot size the model's memory: %s", strerror(errno));
	pages_interleave_file(fd, loader->header.image_bytes);
	while (fallocate(fd, 0, 0, (off_t) meta_bytes) != 0)
		if (errno != EINTR)
			return no_memory(loader, 0);
	loader->meta = mmap(NULL, meta_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (loader->meta == MAP_FAILED)
		return status_error(STATUS_UNAVAILABLE, "cannot map the model's memory: %s", strerror(errno));
	(void) madvise(loader->meta, meta_bytes, MADV_DONTDUMP);
	loader_write_meta(loader);
	status = read_tensors(loader);
	if (status.code == STATUS_OK)
		atomic_store_explicit(&((ImageHeader *) (void *) loader->meta)->state, IMAGE_COMPLETE, memory_order_release);
	munmap(loader->meta, meta_bytes);
	return status;
}

const char *
loader_main_type(const Gguf *gguf)
{
	uint64_t bytes[TENSOR_TYPE_IDS] = {0};
	uint32_t best = 0;

	for (uint32_t i = 0; i < gguf->n_tensors; i++)
		bytes[gguf->tensors[i].type->type] += gguf->tensors[i].bytes;
	for (uint32_t id = 1; id < TENSOR_TYPE_IDS; id++)
		best = bytes[id] > bytes[best] ? id : best;
	return bytes[best] > 0 ? tensor_type_info(best)->name : "";
}

bool
loader_file_has_head(const Loader *loader)
{
	const ModelHyper *hyper = &loader->header.hyper;
	char name[GGUF_ROLE_NAME_BYTES];

	snprintf(name, sizeof name, "blk.%u.nextn.eh_proj.weight", hyper->n_layers);
	return hyper->n_guess_layers > 0 && model_n_delta_layers(hyper) > 0 && gguf_find_tensor(&loader->files.gguf, name);
}

Status
loader_read_head(Loader *loader)
{
	ImageHeader *header = &loader->header;
	uint32_t n_roles;

	STATUS_TRY(hyper_read(&loader->files.gguf, &header->hyper, &loader->report->notices));
	header->hyper.n_heads_loaded = !loader->request->without_heads && loader_file_has_head(loader);
	loader->report->hyper = header->hyper;
	if (loader->request->context)
		STATUS_TRY(context_apply(&loader->report->hyper, loader->request->context));
	header->magic = IMAGE_MAGIC;
	header->version = IMAGE_VERSION;
	header->generation = loader->request->generation;
	snprintf(header->name, sizeof header->name, "%s", loader->request->name);
	n_roles = roles_count(&header->hyper);
	loader->sources = arena_alloc_array(loader->files.gguf.arena, n_roles, sizeof *loader->sources);
	loader->tensors = arena_alloc_array(loader->files.gguf.arena, n_roles, sizeof *loader->tensors);
	if (!loader->sources || !loader->tensors)
		return status_error(STATUS_UNAVAILABLE, "out of memory for %u tensors", n_roles);
	return status_ok();
}

/* The checks that need no memory. */
static Status
prepare(Loader *loader)
{
	STATUS_TRY(loader_read_head(loader));
	STATUS_TRY(loader_match_tensors(loader));
	STATUS_TRY(loader_lay_out(loader));
	STATUS_TRY(loader_check_memory(loader));
	return make_jobs(loader);
}

static void
fill_report(const Loader *loader)
{
	ModelLoadReport *report = loader->report;

	snprintf(report->architecture, sizeof report->architecture, "%s",
			 architecture_name(loader->header.hyper.architecture));
	snprintf(report->quantization, sizeof report->quantization, "%s", loader_main_type(&loader->files.gguf));
	report->file_bytes = loader->files.file_bytes;
	report->image_bytes = loader->header.image_bytes;
}

Status
model_load(const ModelLoadRequest *request, ModelLoadReport *report)
{
	Loader *loader = calloc(1, sizeof *loader);
	Status status;

	memset(report, 0, sizeof *report);
	if (!loader)
		return status_error(STATUS_UNAVAILABLE, "out of memory for loading");
	loader->request = request;
	loader->report = report;
	status = model_files_open(request->directory, request->file, &loader->files);
	if (status.code == STATUS_OK)
	{
		status = prepare(loader);
		if (status.code == STATUS_OK)
			status = fill_image(loader);
		status = status_prefix(status, "model file \"%s\"", model_path_shown(request->directory, request->file));
		if (status.code == STATUS_OK)
			fill_report(loader);
		model_files_close(&loader->files);
	}
	if (status.code != STATUS_OK && ftruncate(request->image_fd, 0) != 0)
		status = status_prefix(status, "memory could not be given back");
	free(loader);
	return status;
}
