/*
 * adapter.c - opening the image of an adapter; see adapter.h. All of its offsets are checked again, as a model's are.
 */
#include "adapter.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "../base/pages.h"
#include "adapter_image.h"
#include "architectures.h"
#include "tensor_roles.h"

static Status
damaged(const char *what)
{
	return status_error(STATUS_INTERNAL, "the adapter's image in memory is damaged: %s", what);
}

bool
adapter_shape(const ModelHyper *hyper, uint32_t i, uint32_t rank, AdapterShape *shape)
{
	TensorRole role = role_at(hyper, i);

	/* a classifier's rows are gathered without it */
	if (!role.is_known || !role.is_matrix || i == ROLE_CLASSIFIER)
		return false;
	shape->is_embedding = i == ROLE_TOKEN_EMBEDDING;
	shape->n_experts = role.n_experts > 0 ? role.n_experts : 1;
	shape->rows_each = shape->is_embedding ? role.n_rows : rank;
	shape->rows_cols = shape->is_embedding ? rank : role.n_cols;
	shape->tiles_rows = shape->is_embedding ? role.n_cols : role.n_rows / shape->n_experts;
	return true;
}

uint64_t
adapter_rows_bytes(const AdapterShape *shape, TensorType type)
{
	return (uint64_t) shape->n_experts * shape->rows_each * long_row_bytes(type, shape->rows_cols);
}

uint64_t
adapter_tiles_bytes(const AdapterShape *shape, TensorType type, uint32_t rank)
{
	return (uint64_t) shape->n_experts * packed_n_tiles(shape->tiles_rows) * packed_tile_bytes(type, rank);
}

static bool
is_float_type(uint32_t type)
{
	return type == TENSOR_F32 || type == TENSOR_F16 || type == TENSOR_BF16;
}

static bool
part_is_sound(ImagePart part, uint64_t expected, const AdapterHeader *header)
{
	return part.bytes == expected && part.offset % 64 == 0 && part.offset >= header->data_start &&
		   part.offset <= header->image_bytes && part.bytes <= header->image_bytes - part.offset;
}

/* Point a matrix at its parts, which must be what the model's tensor wants. */
static Status
point_matrix(const AdapterHeader *header, const AdapterSite *site, uint32_t role, AdapterMatrix *matrix)
{
	const uint8_t *image = (const uint8_t *) header;
	AdapterShape shape;

	if (site->rank == 0)
		return status_ok();
	if (site->rank > ADAPTER_MAX_RANK || !is_float_type(site->rows_type) || !is_float_type(site->tiles_type) ||
		!adapter_shape(&header->hyper, role, site->rank, &shape) ||
		!part_is_sound(site->rows, adapter_rows_bytes(&shape, site->rows_type), header) ||
		!part_is_sound(site->tiles, adapter_tiles_bytes(&shape, site->tiles_type, site->rank), header))
		return damaged(role_at(&header->hyper, role).name);
	*matrix = (AdapterMatrix){
		.rank = site->rank,
		.n_one = shape.is_embedding ? shape.rows_each : shape.rows_cols,
		.scale = site->scale,
		.rows_type = (TensorType) site->rows_type,
		.rows = image + site->rows.offset,
		.rows_expert_bytes = site->rows.bytes / shape.n_experts,
		.tiles = {(TensorType) site->tiles_type, shape.tiles_rows, site->rank, image + site->tiles.offset,
				  packed_tile_bytes((TensorType) site->tiles_type, site->rank)},
		.tiles_expert_bytes = site->tiles.bytes / shape.n_experts,
	};
	return status_ok();
}

/* Everything behind the mapping. */
static Status
build(Adapter *adapter, const AdapterHeader *header, uint64_t bytes, uint64_t generation)
{
	const AdapterSite *sites;

	/* a loader that was installed beside a server that runs */
	if (header->magic == ADAPTER_IMAGE_MAGIC && header->version != ADAPTER_IMAGE_VERSION)
		return status_error(STATUS_UNAVAILABLE,
							"the adapter's image in memory is of another version of qwen_pg: restart the server");
	if (header->magic != ADAPTER_IMAGE_MAGIC || header->version != ADAPTER_IMAGE_VERSION ||
		atomic_load_explicit(&header->state, memory_order_acquire) != IMAGE_COMPLETE)
		return damaged("it is not complete");
	if (header->generation != generation)
		return damaged("it is another one");
	if (header->image_bytes != bytes || header->data_start > bytes || header->data_start < sizeof *header ||
		header->data_start % 8 != 0)
		return damaged("its sizes do not fit");
	if (image_checksum((const uint8_t *) header + ADAPTER_UNCHECKED_BYTES,
					   header->data_start - ADAPTER_UNCHECKED_BYTES) != header->checksum)
		return damaged("its checksum is wrong");
	if (!architecture_row(header->hyper.architecture) || header->n_sites != roles_count(&header->hyper) ||
		header->sites.offset % 8 != 0 || header->sites.offset < sizeof *header ||
		header->sites.offset > header->data_start ||
		header->sites.bytes != (uint64_t) header->n_sites * sizeof(AdapterSite) ||
		header->sites.bytes > header->data_start - header->sites.offset)
		return damaged("its table does not fit");
	memcpy(adapter->name, header->name, sizeof adapter->name);
	adapter->name[sizeof adapter->name - 1] = '\0';
	adapter->generation = header->generation;
	adapter->base_generation = header->base_generation;
	adapter->n_roles = header->n_sites;
	adapter->matrices = calloc(header->n_sites, sizeof *adapter->matrices);
	if (!adapter->matrices)
		return status_error(STATUS_UNAVAILABLE, "out of memory for an adapter of %u tensors", header->n_sites);
	sites = (const AdapterSite *) (const void *) ((const uint8_t *) header + header->sites.offset);
	for (uint32_t i = 0; i < header->n_sites; i++)
		STATUS_TRY(point_matrix(header, &sites[i], i, &adapter->matrices[i]));
	return status_ok();
}

Status
adapter_open(int image_fd, uint64_t generation, Adapter **adapter_out)
{
	struct stat info;
	Adapter *adapter;
	void *image;
	Status status;

	if (fstat(image_fd, &info) != 0 || info.st_size < (off_t) sizeof(AdapterHeader))
		return damaged("it is too short");
	adapter = calloc(1, sizeof *adapter);
	if (!adapter)
		return status_error(STATUS_UNAVAILABLE, "out of memory for an adapter");
	image = pages_map_shared(image_fd, (size_t) info.st_size);
	if (!image)
	{
		free(adapter);
		return status_error(STATUS_UNAVAILABLE, "cannot map the adapter: %s", strerror(errno));
	}
	(void) madvise(image, (size_t) info.st_size, MADV_DONTDUMP);
	adapter->image = image;
	adapter->image_bytes = (size_t) info.st_size;
	status = build(adapter, image, (uint64_t) info.st_size, generation);
	if (status.code == STATUS_OK)
		*adapter_out = adapter;
	else
		adapter_close(adapter);
	return status;
}

void
adapter_close(Adapter *adapter)
{
	if (!adapter)
		return;
	free(adapter->matrices);
	munmap((void *) adapter->image, adapter->image_bytes);
	free(adapter);
}
