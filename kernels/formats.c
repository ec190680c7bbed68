/*
 * formats.c - the table of tensor formats, made of the rows of formats.h, and the doors that look into it: sizes,
 * names, the exact expansion of one row of a file to float, packing, and one packed row back.
 */
#include "formats.h"

#include <string.h>

#define COMPUTED(id, name, n_inputs, bytes, tile_bytes, panels)                                                        \
	[TENSOR_##id] = {                                                                                                  \
		{TENSOR_##id, #id, n_inputs, bytes, true}, panels, tile_bytes, name##_expand, name##_pack, name##_unpack},
#define QUANTIZED(id, name, n_inputs, bytes, tile_bytes, n_scales) COMPUTED(id, name, n_inputs, bytes, tile_bytes, true)
#define FLOAT(id, name, n_inputs, bytes, tile_bytes) COMPUTED(id, name, n_inputs, bytes, tile_bytes, false)
#define KNOWN(id, n_inputs, bytes) [TENSOR_##id] = {.info = {TENSOR_##id, #id, n_inputs, bytes, false}},

/* By type id; ids that stand for nothing have no name. */
static const TensorFormat tensor_formats[] = {FLOAT_FORMATS(FLOAT) QUANTIZED_FORMATS(QUANTIZED) KNOWN_FORMATS(KNOWN)};

/* What is read as a block has the file's size. */
#define SIZE_HOLDS(id, name, n_inputs, bytes, ...)                                                                     \
	_Static_assert(sizeof(Block##id) == (bytes), "a block of " #id " has " #bytes " bytes");
QUANTIZED_FORMATS(SIZE_HOLDS)

const TensorTypeInfo *
tensor_type_info(uint32_t type)
{
	if (type >= sizeof tensor_formats / sizeof tensor_formats[0] || !tensor_formats[type].info.name)
		return NULL;
	return &tensor_formats[type].info;
}

bool
tensor_type_takes_panels(TensorType type)
{
	return tensor_formats[type].takes_panels;
}

#define IS_UNPACKED(id, ...) || type == TENSOR_##id

bool
tensor_type_is_unpacked(TensorType type)
{
	return false UNPACKED_FORMATS(IS_UNPACKED);
}

size_t
tensor_row_bytes(const TensorTypeInfo *info, uint32_t n_cols)
{
	return (size_t) (n_cols / info->block_elements) * info->block_bytes;
}

size_t
packed_tile_bytes(TensorType type, uint32_t n_cols)
{
	const TensorTypeInfo *info = tensor_type_info(type);

	/* only MXFP4 has blocks that do not end with a line */
	return info ? (n_cols / info->block_elements * tensor_formats[type].tile_block_bytes + 63) / 64 * 64 : 0;
}

size_t
long_row_bytes(TensorType type, uint32_t n_cols)
{
	return ((size_t) n_cols + 15) / 16 * 16 * tensor_formats[type].info.block_bytes;
}

void
long_row_pack(TensorType type, const void *source, uint32_t row, uint32_t n_rows, uint32_t n_cols, uint8_t *rows)
{
	size_t run_bytes = long_row_bytes(type, 16);
	uint32_t first = row / ROW_GROUP * ROW_GROUP, n = n_rows - first < ROW_GROUP ? n_rows - first : ROW_GROUP;
	uint8_t *out = rows + long_row_bytes(type, n_cols) * first + run_bytes * (row - first);

	for (uint32_t c = 0; c < n_cols; c += 16, out += run_bytes * n)
		memcpy(out, (const uint8_t *) source + run_bytes * (c / 16),
			   long_row_bytes(type, 1) / 16 * (n_cols - c < 16 ? n_cols - c : 16));
}

void
dequantize_row(TensorType type, const void *row, uint32_t n_cols, float *out)
{
	const TensorFormat *format = &tensor_formats[type];
	const uint8_t *block = row;

	for (uint32_t i = 0; i < n_cols; i += format->info.block_elements, block += format->info.block_bytes)
		format->expand(block, out + i);
}

void
pack_tile(TensorType type, const void *rows, uint32_t n_rows, uint32_t n_cols, uint8_t *tile)
{
	const TensorFormat *format = &tensor_formats[type];
	size_t row_bytes = tensor_row_bytes(&format->info, n_cols);
	size_t tile_bytes = packed_tile_bytes(type, n_cols);
	const uint8_t *block = rows;

	/* rows that a last tile lacks are zeros with zero scales; so is what the last block leaves of its line */
	if (n_rows < TILE_ROWS)
		memset(tile, 0, tile_bytes);
	else
		memset(tile + tile_bytes - 32, 0, 32);
	for (const uint8_t *end = block + row_bytes; block < end; block += format->info.block_bytes)
	{
		format->pack(block, row_bytes, n_rows, tile);
		tile += format->tile_block_bytes;
	}
}

void
packed_row_expand(const PackedMatrix *matrix, uint32_t row, float *out)
{
	const TensorFormat *format = &tensor_formats[matrix->type];
	const uint8_t *at = matrix->tiles + row / TILE_ROWS * matrix->tile_bytes;

	for (uint32_t i = 0; i < matrix->n_cols; i += format->info.block_elements, at += format->tile_block_bytes)
		format->unpack(at, row % TILE_ROWS, out + i);
}

static const char *const kv_type_names[] = {[KV_F16] = "f16", [KV_F32] = "f32", [KV_Q8_0] = "q8_0", [KV_Q4] = "q4"};

const char *
kv_type_name(KvType type)
{
	return kv_type_names[type];
}

static const char *const state_type_names[] = {[STATE_F32] = "f32", [STATE_F16] = "f16"};

const char *
state_type_name(StateType type)
{
	return state_type_names[type];
}

bool
state_type_by_name(const char *name, StateType *type)
{
	for (size_t i = 0; i < sizeof state_type_names / sizeof state_type_names[0]; i++)
		if (strcmp(state_type_names[i], name) == 0)
		{
			*type = (StateType) i;
			return true;
		}
	return false;
}

bool
kv_type_by_name(const char *name, KvType *type)
{
	for (size_t i = 0; i < sizeof kv_type_names / sizeof kv_type_names[0]; i++)
		if (strcmp(kv_type_names[i], name) == 0)
		{
			*type = (KvType) i;
			return true;
		}
	return false;
}
