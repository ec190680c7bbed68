/*
 * adapter_loader.c - adapter_load: from a GGUF file to a complete image of an adapter.
 *
 * In order: open below the directory, read the head and check it, find the pair of tensors of each of the model's,
 * compare the size with what memory there is, then read each tensor, check its numbers and put it in. What the file
 * says is held against the model that is in memory: a tensor that would not be used is an error, since the answers
 * would not be those of the adapter.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../base/memory.h"
#include "../base/pages.h"
#include "adapter_image.h"
#include "architectures.h"
#include "gguf.h"
#include "model_path.h"
#include "tensor_roles.h"

#define SUFFIX_A ".lora_a"
#define SUFFIX_B ".lora_b"
#define NAME_BYTES (GGUF_ROLE_NAME_BYTES + 8)

/* Where the parts of a site stand in the file. */
typedef struct SiteSource
{
	const GgufTensor *a, *b; /* NULL: the file has none */
	TensorPlace place;       /* of B's rows, where the tensor is fused with others; run 0: it stands alone */
} SiteSource;

typedef struct AdapterLoader
{
	const AdapterLoadRequest *request;
	AdapterLoadReport *report;
	int fd;
	Gguf gguf;
	AdapterHeader header;
	AdapterSite *sites;  /* [n_sites] */
	SiteSource *sources; /* the same */
	bool *used;          /* [tensors of the file] */
	float alpha;         /* 0: none */
	uint8_t *image;      /* mapped */
	uint64_t done, total;
} AdapterLoader;

static Status
no_memory(const char *what)
{
	return status_error(STATUS_UNAVAILABLE, "out of memory for %s", what);
}

static bool
ends_with(ByteSpan name, const char *end)
{
	size_t length = strlen(end);

	return name.length >= length && memcmp(name.data + name.length - length, end, length) == 0;
}

/* A text of the metadata, "" where there is none. */
static ByteSpan
text_of(const Gguf *gguf, const char *key)
{
	const GgufValue *value = gguf_find(gguf, key);

	return value && value->type == GGUF_STRING ? value->string : (ByteSpan){"", 0};
}

static bool
is_text(ByteSpan span, const char *text)
{
	return span.length == strlen(text) && memcmp(span.data, text, span.length) == 0;
}

/* What the metadata say that it is. */
static Status
check_kind(AdapterLoader *loader)
{
	const Gguf *gguf = &loader->gguf;
	ByteSpan type = text_of(gguf, "general.type"), kind = text_of(gguf, "adapter.type");
	ByteSpan architecture = text_of(gguf, "general.architecture");
	const char *expected = architecture_name(loader->header.hyper.architecture);
	const GgufValue *alpha = gguf_find(gguf, "adapter.lora.alpha"), *parts = gguf_find(gguf, "split.count");

	if (!is_text(type, "adapter"))
		return status_error(STATUS_INVALID_ARGUMENT,
							"it is no adapter: general.type is \"%.*s\", an adapter's is \"adapter\"",
							(int) (type.length < 64 ? type.length : 64), type.data);
	if (!is_text(kind, "lora"))
		return status_error(STATUS_UNSUPPORTED, "adapter.type is \"%.*s\"; supported is \"lora\"",
							(int) (kind.length < 64 ? kind.length : 64), kind.data);
	if (gguf_find(gguf, "adapter.alora.invocation_tokens"))
		return status_error(STATUS_UNSUPPORTED,
							"it is an activated LoRA (adapter.alora.invocation_tokens), which is not supported: it "
							"would be in force from certain tokens on only");
	if (!is_text(architecture, expected))
		return status_error(STATUS_INVALID_ARGUMENT,
							"it is for the architecture \"%.*s\", but model \"%s\" is of the architecture \"%s\"",
							(int) (architecture.length < 64 ? architecture.length : 64), architecture.data,
							loader->request->model, expected);
	if (parts && parts->integer > 1)
		return status_error(STATUS_UNSUPPORTED, "it is one of %llu parts; an adapter must be one file",
							(unsigned long long) parts->integer);
	if (alpha && (alpha->type != GGUF_F32 || !isfinite(alpha->number) || fabs(alpha->number) > 1e6))
		return status_error(STATUS_INVALID_ARGUMENT, "adapter.lora.alpha is no number between -1e6 and 1e6");
	loader->alpha = alpha ? (float) alpha->number : 0;
	return status_ok();
}

/* "[576][49152]", as the file has it. */
static void
format_shape(const GgufTensor *tensor, char out[96])
{
	size_t length = 0;

	out[0] = '\0';
	for (uint32_t d = tensor->n_dims; d-- > 0 && length < 96;)
		length += (size_t) snprintf(out + length, 96 - length, "[%llu]", (unsigned long long) tensor->dims[d]);
}

static uint64_t
dimension(const GgufTensor *tensor, uint32_t d)
{
	return d < tensor->n_dims ? tensor->dims[d] : 1;
}

/* Is a tensor [n_experts][n_rows][n_cols]? */
static Status
check_shape(const GgufTensor *tensor, uint32_t n_experts, uint32_t n_rows, uint32_t n_cols)
{
	char shape[96], experts[16] = "";

	if (dimension(tensor, 0) == n_cols && dimension(tensor, 1) == n_rows && dimension(tensor, 2) == n_experts &&
		dimension(tensor, 3) == 1)
		return status_ok();
	format_shape(tensor, shape);
	if (n_experts > 1)
		snprintf(experts, sizeof experts, "[%u]", n_experts);
	return status_error(STATUS_INVALID_ARGUMENT, "tensor \"%.*s\" has the shape %s, expected %s[%u][%u]",
						(int) tensor->name.length, tensor->name.data, shape, experts, n_rows, n_cols);
}

static Status
check_type(const GgufTensor *tensor)
{
	if (tensor->type->can_pack)
		return status_ok();
	return status_error(STATUS_UNSUPPORTED, "tensor \"%.*s\" has type %s; supported are " TENSOR_TYPES_SUPPORTED,
						(int) tensor->name.length, tensor->name.data, tensor->type->name);
}

/* The type in which numbers are kept: floats as they are, all others as F32. */
static TensorType
kept_type(const GgufTensor *tensor)
{
	TensorType type = tensor->type->type;

	return type == TENSOR_F16 || type == TENSOR_BF16 ? type : TENSOR_F32;
}

/* A pair of tensors of the name of a base tensor; both NULL: there is none. */
static Status
find_pair(AdapterLoader *loader, const char *base, SiteSource *source)
{
	char name[NAME_BYTES];

	snprintf(name, sizeof name, "%s" SUFFIX_A, base);
	source->a = gguf_find_tensor(&loader->gguf, name);
	snprintf(name, sizeof name, "%s" SUFFIX_B, base);
	source->b = gguf_find_tensor(&loader->gguf, name);
	if (!source->a != !source->b)
		return status_error(STATUS_INVALID_ARGUMENT, "tensor \"%s%s\" is there without \"%s%s\"", base,
							source->a ? SUFFIX_A : SUFFIX_B, base, source->a ? SUFFIX_B : SUFFIX_A);
	if (source->a)
		loader->used[source->a - loader->gguf.tensors] = loader->used[source->b - loader->gguf.tensors] = true;
	return status_ok();
}

/* Check a pair against the tensor it is for, and note what the site will be. */
static Status
take_pair(AdapterLoader *loader, uint32_t i, const SiteSource *source)
{
	bool is_embedding = i == ROLE_TOKEN_EMBEDDING;
	uint64_t rank = dimension(source->a, is_embedding ? 0 : 1);
	AdapterSite *site = &loader->sites[i];
	AdapterShape shape;

	if (rank < 1 || rank > ADAPTER_MAX_RANK)
		return status_error(rank < 1 ? STATUS_INVALID_ARGUMENT : STATUS_TOO_LONG,
							"tensor \"%.*s\" is of rank %llu; an adapter's is 1 to %d", (int) source->a->name.length,
							source->a->name.data, (unsigned long long) rank, ADAPTER_MAX_RANK);
	if (!adapter_shape(&loader->header.hyper, i, (uint32_t) rank, &shape))
		return status_error(STATUS_INVALID_ARGUMENT, "tensor \"%.*s\" is for no matrix", (int) source->a->name.length,
							source->a->name.data);
	STATUS_TRY(check_shape(source->a, shape.n_experts, shape.rows_each, shape.rows_cols));
	STATUS_TRY(check_shape(source->b, shape.n_experts, source->place.run > 0 ? source->place.n_rows : shape.tiles_rows,
						   (uint32_t) rank));
	STATUS_TRY(check_type(source->a));
	STATUS_TRY(check_type(source->b));
	loader->sources[i] = *source;
	site->rank = (uint32_t) rank;
	site->rows_type = kept_type(source->a);
	site->tiles_type = kept_type(source->b);
	site->scale = loader->alpha != 0 ? loader->alpha / (float) rank : 1;
	site->rows.bytes = adapter_rows_bytes(&shape, site->rows_type);
	site->tiles.bytes = adapter_tiles_bytes(&shape, site->tiles_type, site->rank);
	loader->report->n_matrices++;
	loader->report->rank = site->rank > loader->report->rank ? site->rank : loader->report->rank;
	return status_ok();
}

/* A model's tensor: the pair that is for it, or for a tensor that it may be fused in. */
static Status
match_role(AdapterLoader *loader, uint32_t i, bool is_there)
{
	TensorRole role = role_at(&loader->header.hyper, i);
	SiteSource source = {0};
	const char *taken = NULL;

	if (!role.is_known)
		return status_ok();
	for (uint32_t p = 0; p < (role.is_matrix ? role.n_places : 1); p++)
	{
		SiteSource found = {.place = role.places[p]};

		STATUS_TRY(find_pair(loader, role.places[p].name, &found));
		if (!found.a)
			continue;
		if (taken)
			return status_error(STATUS_INVALID_ARGUMENT, "both \"%s\" and \"%s\" have tensors", taken,
								role.places[p].name);
		taken = role.places[p].name;
		source = found;
		if (!role.places[p].is_shared)
			source.place.run = 0;
	}
	if (taken && !is_there)
		return status_error(STATUS_INVALID_ARGUMENT,
							"tensor \"%s" SUFFIX_A "\" is for a tensor that model \"%s\" has not%s", taken,
							loader->request->model, i == ROLE_OUTPUT ? ": its embeddings serve as its output" : "");
	return taken ? take_pair(loader, i, &source) : status_ok();
}

/* A tensor that is for none of the model's. */
static Status
refuse_tensor(const AdapterLoader *loader, ByteSpan name)
{
	bool has_suffix = ends_with(name, SUFFIX_A) || ends_with(name, SUFFIX_B);

	return status_error(STATUS_INVALID_ARGUMENT,
						has_suffix ? "tensor \"%.*s\" is for a tensor that model \"%s\" has not"
								   : "tensor \"%.*s\" is no part of an adapter (its name ends neither in " SUFFIX_A
									 " nor in " SUFFIX_B "), which model \"%s\" could not use",
						(int) name.length, name.data, loader->request->model);
}

/* All tensors of the file: each belongs to one of the model's. Whole norms, which some adapters have beside, are left
 * out, as llama.cpp does, but said. */
static Status
match_tensors(AdapterLoader *loader, const bool *has)
{
	uint32_t n_norms = 0;
	ByteSpan norm = {"", 0};

	for (uint32_t i = 0; i < loader->header.n_sites; i++)
		STATUS_TRY(match_role(loader, i, has[i]));
	for (uint32_t t = 0; t < loader->gguf.n_tensors; t++)
	{
		ByteSpan name = loader->gguf.tensors[t].name;

		if (loader->used[t])
			continue;
		if (!ends_with(name, "_norm.weight"))
			return refuse_tensor(loader, name);
		norm = n_norms++ == 0 ? name : norm;
	}
	if (n_norms > 0)
		notice_add(&loader->report->notices, "%u tensors of norms are left out: \"%.*s\"%s", n_norms, (int) norm.length,
				   norm.data, n_norms > 1 ? " and others" : "");
	if (loader->report->n_matrices == 0)
		return status_error(STATUS_INVALID_ARGUMENT, "it has no tensors that change a matrix");
	return status_ok();
}

static uint64_t
align_up(uint64_t bytes, uint64_t alignment)
{
	return (bytes + alignment - 1) / alignment * alignment;
}

/* Offsets of everything in the image. */
static void
lay_out(AdapterLoader *loader)
{
	AdapterHeader *header = &loader->header;
	uint64_t end;

	header->sites = (ImagePart){sizeof *header, (uint64_t) header->n_sites * sizeof(AdapterSite)};
	header->data_start = align_up(header->sites.offset + header->sites.bytes, IMAGE_ALIGNMENT);
	end = header->data_start;
	for (uint32_t i = 0; i < header->n_sites; i++)
	{
		AdapterSite *site = &loader->sites[i];

		if (site->rank == 0)
			continue;
		site->rows.offset = end;
		end = align_up(end + site->rows.bytes, 64);
		site->tiles.offset = end;
		end = align_up(end + site->tiles.bytes, 64);
		loader->total += loader->sources[i].a->bytes + loader->sources[i].b->bytes;
		loader->report->n_parameters += loader->sources[i].a->n_elements + loader->sources[i].b->n_elements;
	}
	header->image_bytes = align_up(end, IMAGE_ALIGNMENT);
}

static Status
check_memory(const AdapterLoader *loader)
{
	uint64_t limit = loader->request->memory_limit ? loader->request->memory_limit : memory_available();

	if (loader->header.image_bytes > limit)
		return status_error(STATUS_TOO_LONG, "the adapter needs %llu MB of memory, but only %llu MB are available",
							(unsigned long long) (loader->header.image_bytes >> 20),
							(unsigned long long) (limit >> 20));
	return status_ok();
}

/* A tensor's bytes, to be freed. */
static Status
read_tensor(AdapterLoader *loader, const GgufTensor *tensor, uint8_t **bytes)
{
	*bytes = malloc(tensor->bytes + 1);
	if (!*bytes)
		return no_memory("a tensor");
	for (uint64_t done = 0; done < tensor->bytes;)
	{
		ssize_t n = pread(loader->fd, *bytes + done, tensor->bytes - done, (off_t) (tensor->offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
		{
			Status status = n < 0 ? status_error(STATUS_UNAVAILABLE, "cannot read tensor \"%.*s\": %s",
												 (int) tensor->name.length, tensor->name.data, strerror(errno))
								  : status_error(STATUS_INVALID_ARGUMENT, "the file ends within tensor \"%.*s\"",
												 (int) tensor->name.length, tensor->name.data);

			free(*bytes);
			*bytes = NULL;
			return status;
		}
		done += (uint64_t) n;
	}
	loader->done += tensor->bytes;
	if (loader->request->progress)
		loader->request->progress(loader->request->progress_argument, loader->done, loader->total);
	return status_ok();
}

/* A row of the file as numbers of the type in which it is kept; numbers: room for them as floats. An infinity would
 * spoil every answer. */
static Status
convert_row(const GgufTensor *tensor, const uint8_t *row, uint32_t n, float *numbers, uint8_t *out)
{
	TensorType type = kept_type(tensor);

	dequantize_row(tensor->type->type, row, n, numbers);
	STATUS_TRY(gguf_check_finite(tensor, numbers, n));
	memcpy(out, type == TENSOR_F32 ? (const void *) numbers : row, (size_t) n * (type == TENSOR_F32 ? 4 : 2));
	return status_ok();
}

/* A as long rows, of each expert; of the embeddings a row for each token, as rows are looked up one by one there. row:
 * room for one. */
static Status
fill_rows(const AdapterSite *site, const AdapterShape *shape, const GgufTensor *tensor, const uint8_t *bytes,
		  float *numbers, uint8_t *row, uint8_t *out)
{
	TensorType type = (TensorType) site->rows_type;
	size_t row_bytes = tensor_row_bytes(tensor->type, shape->rows_cols),
		   kept_bytes = long_row_bytes(type, shape->rows_cols);

	for (uint32_t e = 0; e < shape->n_experts; e++, out += kept_bytes * shape->rows_each)
		for (uint32_t r = 0; r < shape->rows_each; r++, bytes += row_bytes)
		{
			STATUS_TRY(convert_row(tensor, bytes, shape->rows_cols, numbers, row));
			if (shape->is_embedding)
				memcpy(out + kept_bytes * r, row, tensor_row_bytes(tensor_type_info(type), shape->rows_cols));
			else
				long_row_pack(type, row, r, shape->rows_each, shape->rows_cols, out);
		}
	return status_ok();
}

/* B as tiles; tile: room for the rows of one. */
static Status
fill_tiles(const AdapterSite *site, const AdapterShape *shape, const SiteSource *source, const uint8_t *bytes,
		   float *numbers, uint8_t *rows, uint8_t *out)
{
	const GgufTensor *tensor = source->b;
	TensorType type = (TensorType) site->tiles_type;
	const TensorPlace *place = &source->place;
	size_t row_bytes = tensor_row_bytes(tensor->type, site->rank),
		   kept_bytes = (size_t) site->rank * (type == TENSOR_F32 ? 4 : 2);

	for (uint32_t e = 0; e < shape->n_experts; e++)
		for (uint32_t first = 0; first < shape->tiles_rows; first += TILE_ROWS)
		{
			uint32_t n = shape->tiles_rows - first < TILE_ROWS ? shape->tiles_rows - first : TILE_ROWS;

			for (uint32_t r = 0; r < n; r++)
			{
				uint64_t row = (uint64_t) e * shape->tiles_rows + first + r;

				if (place->run > 0)
					row = place->first + row / place->run * place->stride + row % place->run;
				STATUS_TRY(convert_row(tensor, bytes + row * row_bytes, site->rank, numbers, rows + r * kept_bytes));
			}
			pack_tile(type, rows, n, site->rank, out);
			out += packed_tile_bytes(type, site->rank);
		}
	return status_ok();
}

/* Both parts of a site. */
static Status
fill_site(AdapterLoader *loader, uint32_t i)
{
	const AdapterSite *site = &loader->sites[i];
	const SiteSource *source = &loader->sources[i];
	AdapterShape shape;
	uint8_t *a = NULL, *b = NULL, *rows;
	float *numbers;
	Status status;

	(void) adapter_shape(&loader->header.hyper, i, site->rank, &shape);
	rows = malloc(((size_t) shape.rows_cols + (size_t) TILE_ROWS * site->rank) * sizeof(float));
	numbers = malloc(((size_t) shape.rows_cols + site->rank) * sizeof *numbers);
	status = rows && numbers ? read_tensor(loader, source->a, &a) : no_memory("a tensor");
	if (status.code == STATUS_OK)
		status = read_tensor(loader, source->b, &b);
	if (status.code == STATUS_OK)
		status = fill_rows(site, &shape, source->a, a, numbers, rows, loader->image + site->rows.offset);
	if (status.code == STATUS_OK)
		status = fill_tiles(site, &shape, source, b, numbers, rows, loader->image + site->tiles.offset);
	free(a);
	free(b);
	free(rows);
	free(numbers);
	return status;
}

/* With the layout known: memory, all sites, the head, "complete". All pages are there before they are written to: a
 * full system is an error and no SIGBUS. */
static Status
fill_image(AdapterLoader *loader)
{
	AdapterHeader *header;
	uint64_t bytes = loader->header.image_bytes;
	int fd = loader->request->image_fd;
	Status status = status_ok();

	if (ftruncate(fd, (off_t) bytes) != 0)
		return status_error(STATUS_UNAVAILABLE, "cannot size the adapter's memory: %s", strerror(errno));
	pages_interleave_file(fd, bytes);
	while (fallocate(fd, 0, 0, (off_t) bytes) != 0)
		if (errno != EINTR)
			return status_error(STATUS_UNAVAILABLE, "no memory for the adapter's %llu bytes: %s",
								(unsigned long long) bytes, strerror(errno));
	loader->image = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (loader->image == MAP_FAILED)
		return status_error(STATUS_UNAVAILABLE, "cannot map the adapter's memory: %s", strerror(errno));
	(void) madvise(loader->image, bytes, MADV_DONTDUMP);
	for (uint32_t i = 0; i < loader->header.n_sites && status.code == STATUS_OK; i++)
		if (loader->sites[i].rank > 0)
			status = fill_site(loader, i);
	header = (AdapterHeader *) (void *) loader->image;
	memcpy(header, &loader->header, sizeof *header);
	memcpy(loader->image + header->sites.offset, loader->sites, header->sites.bytes);
	header->checksum =
		image_checksum(loader->image + ADAPTER_UNCHECKED_BYTES, header->data_start - ADAPTER_UNCHECKED_BYTES);
	if (status.code == STATUS_OK)
		atomic_store_explicit(&header->state, IMAGE_COMPLETE, memory_order_release);
	munmap(loader->image, bytes);
	return status;
}

/* The type that holds most bytes of the file. */
static const char *
main_type(const Gguf *gguf)
{
	uint64_t best_bytes = 0;
	const char *best = "";

	for (uint32_t i = 0; i < gguf->n_tensors; i++)
	{
		uint64_t bytes = 0;

		for (uint32_t j = 0; j <= i; j++)
			bytes += gguf->tensors[j].type == gguf->tensors[i].type ? gguf->tensors[j].bytes : 0;
		if (bytes > best_bytes)
		{
			best_bytes = bytes;
			best = gguf->tensors[i].type->name;
		}
	}
	return best;
}

/* The file is open and the model known: all checks, then the image. */
static Status
load_file(AdapterLoader *loader, const bool *has)
{
	Arena *arena = loader->gguf.arena;

	loader->header.n_sites = roles_count(&loader->header.hyper);
	loader->sites = arena_alloc_array(arena, loader->header.n_sites, sizeof *loader->sites);
	loader->sources = arena_alloc_array(arena, loader->header.n_sites, sizeof *loader->sources);
	loader->used = arena_alloc_array(arena, (size_t) loader->gguf.n_tensors + 1, sizeof *loader->used);
	if (!loader->sites || !loader->sources || !loader->used)
		return no_memory("the tensors of an adapter");
	STATUS_TRY(check_kind(loader));
	STATUS_TRY(gguf_check_names(&loader->gguf));
	STATUS_TRY(match_tensors(loader, has));
	lay_out(loader);
	STATUS_TRY(check_memory(loader));
	STATUS_TRY(fill_image(loader));
	snprintf(loader->report->architecture, sizeof loader->report->architecture, "%s",
			 architecture_name(loader->header.hyper.architecture));
	snprintf(loader->report->quantization, sizeof loader->report->quantization, "%s", main_type(&loader->gguf));
	loader->report->image_bytes = loader->header.image_bytes;
	return status_ok();
}

Status
adapter_load(const AdapterLoadRequest *request, AdapterLoadReport *report)
{
	AdapterLoader loader = {.request = request, .report = report, .fd = -1};
	AdapterHeader *header = &loader.header;
	bool *has = NULL;
	Status status;

	memset(report, 0, sizeof *report);
	header->magic = ADAPTER_IMAGE_MAGIC;
	header->version = ADAPTER_IMAGE_VERSION;
	header->generation = request->generation;
	header->base_generation = request->base_generation;
	snprintf(header->name, sizeof header->name, "%s", request->name);
	status = model_image_describe(request->base_fd, request->base_generation, &header->hyper, &has);
	if (status.code == STATUS_OK)
		status = model_path_open(request->directory, request->file, &loader.fd, &report->file_bytes);
	if (status.code == STATUS_OK)
	{
		status = gguf_open(loader.fd, report->file_bytes, &loader.gguf);
		if (status.code == STATUS_OK)
		{
			status = load_file(&loader, has);
			gguf_close(&loader.gguf);
		}
		status = status_prefix(status, "adapter file \"%s\"", model_path_shown(request->directory, request->file));
		close(loader.fd);
	}
	free(has);
	if (status.code != STATUS_OK && ftruncate(request->image_fd, 0) != 0)
		status = status_prefix(status, "memory could not be given back");
	return status;
}
