/*
 * gguf.c - the head of a GGUF file; see gguf.h.
 *
 * Everything is read through ByteReader, so no length leads past the end of the head; the limits of gguf.h bound what a
 * hostile file can make us allocate (the head itself is the largest allocation).
 */
#include "gguf.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../base/utf8.h"

static const uint8_t scalar_bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

/* A failure at the reader's place. */
static Status
corrupt(const ByteReader *reader, const char *what)
{
	return status_error(STATUS_INVALID_ARGUMENT, "%s at byte %zu", what, reader->offset);
}

/* The head ends before what should be there. */
static Status
truncated(const ByteReader *reader, const char *what)
{
	return status_error(STATUS_INVALID_ARGUMENT, "the file ends at byte %zu inside %s", reader->length, what);
}

/* A string with a 64-bit length; fails the reader when it reaches past the head. */
static ByteSpan
read_string(ByteReader *reader)
{
	uint64_t length = read_u64(reader);
	const char *data;

	if (length > byte_reader_left(reader))
	{
		reader->failed = true;
		return (ByteSpan){NULL, 0};
	}
	data = read_raw(reader, length);
	return (ByteSpan){data, data ? length : 0};
}

/* One scalar; integers are widened and floats converted. */
static void
read_scalar(ByteReader *reader, GgufType type, GgufValue *value)
{
	switch (type)
	{
		case GGUF_U8:
		case GGUF_BOOL:
			value->integer = read_u8(reader);
			break;
		case GGUF_I8:
			value->integer = (uint64_t) (int64_t) (int8_t) read_u8(reader);
			break;
		case GGUF_U16:
			value->integer = read_u16(reader);
			break;
		case GGUF_I16:
			value->integer = (uint64_t) (int64_t) (int16_t) read_u16(reader);
			break;
		case GGUF_U32:
			value->integer = read_u32(reader);
			break;
		case GGUF_I32:
			value->integer = (uint64_t) (int64_t) (int32_t) read_u32(reader);
			break;
		case GGUF_F32:
			value->number = read_f32(reader);
			return;
		case GGUF_F64:
			value->number = read_f64(reader);
			return;
		default:
			value->integer = read_u64(reader);
			break;
	}
	value->number = (double) (int64_t) value->integer;
}

uint64_t
gguf_integer_at(const GgufValue *array, uint64_t i)
{
	size_t bytes = scalar_bytes[array->element_type];
	GgufValue value = {.integer = 0};
	ByteReader reader;

	/* strings and floats are none, nor is what stands behind the end */
	if (bytes == 0 || array->element_type == GGUF_F32 || array->element_type == GGUF_F64 || i >= array->n_elements)
		return 0;
	byte_reader_init(&reader, array->elements.data + i * bytes, bytes);
	read_scalar(&reader, array->element_type, &value);
	return value.integer;
}

/* Pass over the elements of an array and remember where they stand. */
static Status
read_array(ByteReader *reader, GgufValue *value)
{
	uint32_t type = read_u32(reader);
	uint64_t n = read_u64(reader);
	size_t start;

	if (reader->failed)
		return truncated(reader, "an array");
	if (type > GGUF_F64 || type == GGUF_ARRAY)
		return corrupt(reader, "an array of an element type that is not supported");
	if (n > GGUF_MAX_ARRAY)
		return status_error(STATUS_INVALID_ARGUMENT, "an array of %llu elements at byte %zu, at most %llu are possible",
							(unsigned long long) n, reader->offset, (unsigned long long) GGUF_MAX_ARRAY);
	value->element_type = (GgufType) type;
	value->n_elements = n;
	start = reader->offset;
	if (type == GGUF_STRING)
		for (uint64_t i = 0; i < n && !reader->failed; i++)
			(void) read_string(reader);
	else
		(void) read_raw(reader, (size_t) n * scalar_bytes[type]);
	if (reader->failed)
		return truncated(reader, "an array");
	value->elements = (ByteSpan){(const char *) reader->data + start, reader->offset - start};
	return status_ok();
}

static Status
read_value(ByteReader *reader, GgufValue *value)
{
	uint32_t type;

	value->key = read_string(reader);
	if (reader->failed)
		return truncated(reader, "a metadata key");
	if (value->key.length == 0 || value->key.length > GGUF_MAX_KEY_BYTES ||
		!utf8_is_valid(value->key.data, value->key.length))
		return corrupt(reader, "a metadata key that is empty, too long or not UTF-8");
	type = read_u32(reader);
	if (reader->failed)
		return truncated(reader, "a metadata entry");
	if (type > GGUF_F64)
		return status_error(STATUS_INVALID_ARGUMENT, "metadata entry of the unknown type %u at byte %zu", type,
							reader->offset);
	value->type = (GgufType) type;
	if (value->type == GGUF_ARRAY)
		return read_array(reader, value);
	if (value->type == GGUF_STRING)
		value->string = read_string(reader);
	else
		read_scalar(reader, value->type, value);
	return reader->failed ? truncated(reader, "a metadata entry") : status_ok();
}

static int
compare_spans(ByteSpan a, ByteSpan b)
{
	int order = memcmp(a.data, b.data, a.length < b.length ? a.length : b.length);

	return order ? order : (a.length > b.length) - (a.length < b.length);
}

static int
compare_values(const void *a, const void *b)
{
	return compare_spans(((const GgufValue *) a)->key, ((const GgufValue *) b)->key);
}

static int
compare_names(const void *a, const void *b)
{
	return compare_spans((*(const GgufTensor *const *) a)->name, (*(const GgufTensor *const *) b)->name);
}

static int
compare_offsets(const void *a, const void *b)
{
	const GgufTensor *x = a, *y = b;

	if (x->offset != y->offset)
		return x->offset < y->offset ? -1 : 1;
	return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

/* All metadata entries, sorted by key, no key twice. */
static Status
read_values(ByteReader *reader, uint64_t n, Gguf *gguf)
{
	if (n > GGUF_MAX_KEYS || n > byte_reader_left(reader) / 13)
		return status_error(STATUS_INVALID_ARGUMENT, "the file claims %llu metadata entries, more than it can hold",
							(unsigned long long) n);
	gguf->values = arena_alloc_array(gguf->arena, n + 1, sizeof *gguf->values);
	if (!gguf->values)
		return status_error(STATUS_UNAVAILABLE, "out of memory for %llu metadata entries", (unsigned long long) n);
	for (; gguf->n_values < n; gguf->n_values++)
		STATUS_TRY(read_value(reader, &gguf->values[gguf->n_values]));
	qsort(gguf->values, gguf->n_values, sizeof *gguf->values, compare_values);
	for (uint32_t i = 1; i < gguf->n_values; i++)
		if (compare_values(&gguf->values[i - 1], &gguf->values[i]) == 0)
			return status_error(STATUS_INVALID_ARGUMENT, "the metadata key \"%.*s\" stands twice",
								(int) (gguf->values[i].key.length > 100 ? 100 : gguf->values[i].key.length),
								gguf->values[i].key.data);
	return status_ok();
}

/* The shape of a tensor: elements counted without overflow, rows whole blocks. */
static Status
check_shape(GgufTensor *tensor)
{
	uint64_t n = 1;

	for (uint32_t d = 0; d < tensor->n_dims; d++)
	{
		if (tensor->dims[d] == 0 || tensor->dims[d] > UINT32_MAX || n > UINT64_MAX / 8 / tensor->dims[d])
			return status_error(
				STATUS_INVALID_ARGUMENT, "tensor \"%.*s\" has an impossible shape: its dimension %u is %llu",
				(int) tensor->name.length, tensor->name.data, d + 1, (unsigned long long) tensor->dims[d]);
		n *= tensor->dims[d];
	}
	if (tensor->dims[0] % tensor->type->block_elements != 0)
		return status_error(STATUS_INVALID_ARGUMENT,
							"tensor \"%.*s\" has rows of %llu elements, but %s comes in blocks of %u",
							(int) tensor->name.length, tensor->name.data, (unsigned long long) tensor->dims[0],
							tensor->type->name, tensor->type->block_elements);
	tensor->n_elements = n;
	tensor->bytes = n / tensor->type->block_elements * tensor->type->block_bytes;
	return status_ok();
}

static Status
read_tensor(ByteReader *reader, GgufTensor *tensor)
{
	uint32_t type;

	tensor->name = read_string(reader);
	if (reader->failed)
		return truncated(reader, "a tensor's description");
	if (tensor->name.length == 0 || tensor->name.length > GGUF_MAX_TENSOR_NAME_BYTES ||
		!utf8_is_valid(tensor->name.data, tensor->name.length) || memchr(tensor->name.data, 0, tensor->name.length))
		return corrupt(reader, "a tensor name that is empty, longer than 64 bytes or not UTF-8");
	tensor->n_dims = read_u32(reader);
	if (reader->failed)
		return truncated(reader, "a tensor's description");
	if (tensor->n_dims < 1 || tensor->n_dims > GGUF_MAX_DIMS)
		return status_error(STATUS_INVALID_ARGUMENT, "tensor \"%.*s\" has %u dimensions, 1 to %d are possible",
							(int) tensor->name.length, tensor->name.data, tensor->n_dims, GGUF_MAX_DIMS);
	for (uint32_t d = 0; d < tensor->n_dims; d++)
		tensor->dims[d] = read_u64(reader);
	type = read_u32(reader);
	tensor->offset = read_u64(reader);
	if (reader->failed)
		return truncated(reader, "a tensor's description");
	tensor->type = tensor_type_info(type);
	if (!tensor->type)
		return status_error(STATUS_UNSUPPORTED, "tensor \"%.*s\" has type %u; supported are " TENSOR_TYPES_SUPPORTED,
							(int) tensor->name.length, tensor->name.data, type);
	return check_shape(tensor);
}

Status
gguf_check_names(const Gguf *gguf)
{
	const GgufTensor **sorted = arena_alloc_array(gguf->arena, gguf->n_tensors + 1, sizeof *sorted);

	if (!sorted)
		return status_error(STATUS_UNAVAILABLE, "out of memory for %u tensor names", gguf->n_tensors);
	for (uint32_t i = 0; i < gguf->n_tensors; i++)
		sorted[i] = &gguf->tensors[i];
	qsort(sorted, gguf->n_tensors, sizeof *sorted, compare_names);
	for (uint32_t i = 1; i < gguf->n_tensors; i++)
		if (compare_names(&sorted[i - 1], &sorted[i]) == 0)
			return status_error(STATUS_INVALID_ARGUMENT, "the tensor \"%.*s\" stands twice",
								(int) sorted[i]->name.length, sorted[i]->name.data);
	return status_ok();
}

/* All tensor descriptions. */
static Status
read_tensors(ByteReader *reader, uint64_t n, Gguf *gguf)
{
	if (n > GGUF_MAX_TENSORS || n > byte_reader_left(reader) / 24)
		return status_error(STATUS_INVALID_ARGUMENT, "the file claims %llu tensors, more than it can hold",
							(unsigned long long) n);
	gguf->tensors = arena_alloc_array(gguf->arena, n + 1, sizeof *gguf->tensors);
	if (!gguf->tensors)
		return status_error(STATUS_UNAVAILABLE, "out of memory for %llu tensors", (unsigned long long) n);
	for (; gguf->n_tensors < n; gguf->n_tensors++)
		STATUS_TRY(read_tensor(reader, &gguf->tensors[gguf->n_tensors]));
	return gguf_check_names(gguf);
}

/* Offsets are aligned, the data lie inside the file and do not overlap. */
static Status
place_tensors(Gguf *gguf, uint64_t alignment)
{
	uint64_t end = 0;

	qsort(gguf->tensors, gguf->n_tensors, sizeof *gguf->tensors, compare_offsets);
	for (uint32_t i = 0; i < gguf->n_tensors; i++)
	{
		GgufTensor *tensor = &gguf->tensors[i];
		uint64_t room = gguf->file_bytes > gguf->data_start ? gguf->file_bytes - gguf->data_start : 0;

		if (tensor->offset % alignment != 0)
			return status_error(STATUS_INVALID_ARGUMENT,
								"tensor \"%.*s\" stands at offset %llu, not a multiple of %llu",
								(int) tensor->name.length, tensor->name.data, (unsigned long long) tensor->offset,
								(unsigned long long) alignment);
		if (tensor->offset < end)
			return status_error(STATUS_INVALID_ARGUMENT, "tensor \"%.*s\" at offset %llu overlaps the one before it",
								(int) tensor->name.length, tensor->name.data, (unsigned long long) tensor->offset);
		if (tensor->offset > room || tensor->bytes > room - tensor->offset)
			return status_error(STATUS_INVALID_ARGUMENT,
								"tensor \"%.*s\" would end at byte %llu, but the file has %llu bytes",
								(int) tensor->name.length, tensor->name.data,
								(unsigned long long) (gguf->data_start + tensor->offset + tensor->bytes),
								(unsigned long long) gguf->file_bytes);
		end = tensor->offset + tensor->bytes;
		tensor->offset += gguf->data_start;
	}
	return status_ok();
}

/* The file's alignment: general.alignment or 32. */
static Status
read_alignment(const Gguf *gguf, uint64_t *alignment)
{
	const GgufValue *value = gguf_find(gguf, "general.alignment");

	*alignment = value ? value->integer : 32;
	if (value &&
		(value->type != GGUF_U32 || *alignment == 0 || *alignment > 65536 || (*alignment & (*alignment - 1)) != 0))
		return status_error(STATUS_INVALID_ARGUMENT, "general.alignment is %llu, not a power of two up to 65536",
							(unsigned long long) *alignment);
	return status_ok();
}

/* The fixed part at the beginning. */
static Status
read_counts(ByteReader *reader, Gguf *gguf, uint64_t *n_tensors, uint64_t *n_values)
{
	const char *magic = read_raw(reader, 4);

	if (!magic)
		return status_error(STATUS_INVALID_ARGUMENT, "the file has %zu bytes, too few for a GGUF file", reader->length);
	if (memcmp(magic, "GGUF", 4) != 0)
		return status_error(STATUS_INVALID_ARGUMENT, "not a GGUF file: it does not begin with \"GGUF\"");
	gguf->version = read_u32(reader);
	*n_tensors = read_u64(reader);
	*n_values = read_u64(reader);
	if (reader->failed)
		return truncated(reader, "the header");
	if (gguf->version == 0x02000000 || gguf->version == 0x03000000)
		return status_error(STATUS_UNSUPPORTED, "a big-endian GGUF file; only little-endian ones are supported");
	if (gguf->version != 2 && gguf->version != 3)
		return status_error(STATUS_UNSUPPORTED, "GGUF version %u; versions 2 and 3 are supported", gguf->version);
	return status_ok();
}

/* Everything; what was allocated is freed by the caller through gguf_close. */
static Status
parse_head(const void *head, size_t head_bytes, Gguf *gguf)
{
	ByteReader reader;
	uint64_t n_tensors = 0, n_values = 0, alignment = 32;

	byte_reader_init(&reader, head, head_bytes);
	STATUS_TRY(read_counts(&reader, gguf, &n_tensors, &n_values));
	STATUS_TRY(read_values(&reader, n_values, gguf));
	STATUS_TRY(read_tensors(&reader, n_tensors, gguf));
	STATUS_TRY(read_alignment(gguf, &alignment));
	gguf->data_start = (reader.offset + alignment - 1) / alignment * alignment;
	return place_tensors(gguf, alignment);
}

/* Parse with an arena that is taken over, in any case. */
static Status
parse_into(Arena *arena, const void *head, size_t head_bytes, uint64_t file_bytes, Gguf *gguf)
{
	Status status;

	memset(gguf, 0, sizeof *gguf);
	gguf->arena = arena;
	gguf->file_bytes = file_bytes;
	status = parse_head(head, head_bytes, gguf);
	if (status.code != STATUS_OK)
		gguf_close(gguf);
	return status;
}

static Status
out_of_memory(void)
{
	return status_error(STATUS_UNAVAILABLE, "out of memory for the head of a GGUF file");
}

Status
gguf_parse(const void *head, size_t head_bytes, uint64_t file_bytes, Gguf *gguf)
{
	Arena *arena = arena_create(0);

	return arena ? parse_into(arena, head, head_bytes, file_bytes, gguf) : out_of_memory();
}

/* Read [0, bytes) of the file into buffer. */
static Status
read_prefix(int fd, char *buffer, size_t bytes)
{
	size_t done = 0;

	while (done < bytes)
	{
		ssize_t n = pread(fd, buffer + done, bytes - done, (off_t) done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return status_error(STATUS_UNAVAILABLE, "cannot read at byte %zu: %s", done, strerror(errno));
		if (n == 0)
			return status_error(STATUS_INVALID_ARGUMENT, "the file ends at byte %zu while it is read", done);
		done += (size_t) n;
	}
	return status_ok();
}

/*
 * How long the head is, is only known once it is read: take a part, and twice as much whenever the head does not end in
 * it. The system is told what will be read, since its own reading ahead is in small pieces, one at a time; what was
 * read for a smaller part comes from its cache.
 */
Status
gguf_open(int fd, uint64_t file_bytes, Gguf *gguf)
{
	uint64_t limit = file_bytes < GGUF_MAX_HEAD_BYTES ? file_bytes : GGUF_MAX_HEAD_BYTES;
	uint64_t bytes = (uint64_t) 2 << 20;

	for (;;)
	{
		Arena *arena = arena_create(0);
		char *head;
		Status status;

		bytes = bytes < limit ? bytes : limit;
		(void) posix_fadvise(fd, 0, (off_t) bytes, POSIX_FADV_WILLNEED);
		head = arena ? arena_alloc(arena, bytes) : NULL;
		status = head ? read_prefix(fd, head, bytes) : out_of_memory();
		if (status.code != STATUS_OK)
		{
			arena_destroy(arena);
			return status;
		}
		status = parse_into(arena, head, bytes, file_bytes, gguf);
		/* with all there is read, or with anything but a lack of bytes wrong, the answer stands */
		if (status.code == STATUS_OK || bytes == limit)
			return status;
		bytes *= 2;
	}
}

void
gguf_close(Gguf *gguf)
{
	arena_destroy(gguf->arena);
	memset(gguf, 0, sizeof *gguf);
}

const GgufValue *
gguf_find(const Gguf *gguf, const char *key)
{
	GgufValue wanted = {.key = {key, strlen(key)}};

	return bsearch(&wanted, gguf->values, gguf->n_values, sizeof *gguf->values, compare_values);
}

const GgufTensor *
gguf_find_tensor(const Gguf *gguf, const char *name)
{
	for (uint32_t i = 0; i < gguf->n_tensors; i++)
		if (gguf->tensors[i].name.length == strlen(name) && memcmp(gguf->tensors[i].name.data, name, strlen(name)) == 0)
			return &gguf->tensors[i];
	return NULL;
}

Status
gguf_check_finite(const GgufTensor *tensor, const float *numbers, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!isfinite(numbers[i]))
			return status_error(STATUS_INVALID_ARGUMENT, "tensor \"%.*s\" holds a number that is not finite",
								(int) tensor->name.length, tensor->name.data);
	return status_ok();
}
