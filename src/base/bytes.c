/*
 * bytes.c - checked little-endian reading and writing; see bytes.h.
 */
#include "bytes.h"

#include <stdlib.h>
#include <string.h>

void
byte_reader_init(ByteReader *reader, const void *data, size_t length)
{
	reader->data = data;
	reader->length = length;
	reader->offset = 0;
	reader->failed = false;
}

size_t
byte_reader_left(const ByteReader *reader)
{
	return reader->failed ? 0 : reader->length - reader->offset;
}

const void *
read_raw(ByteReader *reader, size_t length)
{
	const void *start;

	if (reader->failed || length > reader->length - reader->offset)
	{
		reader->failed = true;
		return NULL;
	}
	start = reader->data + reader->offset;
	reader->offset += length;
	return start;
}

/* The next n_bytes (at most 8) as a little-endian number. */
static uint64_t
read_number(ByteReader *reader, size_t n_bytes)
{
	const unsigned char *bytes = read_raw(reader, n_bytes);
	uint64_t value = 0;

	for (size_t i = 0; bytes && i < n_bytes; i++)
		value |= (uint64_t) bytes[i] << (8 * i);
	return value;
}

uint8_t
read_u8(ByteReader *reader)
{
	return (uint8_t) read_number(reader, 1);
}

uint16_t
read_u16(ByteReader *reader)
{
	return (uint16_t) read_number(reader, 2);
}

uint32_t
read_u32(ByteReader *reader)
{
	return (uint32_t) read_number(reader, 4);
}

uint64_t
read_u64(ByteReader *reader)
{
	return read_number(reader, 8);
}

float
read_f32(ByteReader *reader)
{
	uint32_t bits = read_u32(reader);
	float value;

	memcpy(&value, &bits, sizeof value);
	return value;
}

double
read_f64(ByteReader *reader)
{
	uint64_t bits = read_u64(reader);
	double value;

	memcpy(&value, &bits, sizeof value);
	return value;
}

void
byte_writer_init(ByteWriter *writer)
{
	memset(writer, 0, sizeof *writer);
}

void
byte_writer_free(ByteWriter *writer)
{
	free(writer->data);
	byte_writer_init(writer);
}

/* Make room for length more bytes; false (and failed for good) when that cannot be. */
static bool
writer_reserve(ByteWriter *writer, size_t length)
{
	size_t capacity = writer->capacity ? writer->capacity : 256;
	unsigned char *grown;

	if (writer->failed || length > SIZE_MAX / 2 - writer->length)
	{
		writer->failed = true;
		return false;
	}
	if (writer->length + length <= writer->capacity)
		return true;
	while (capacity < writer->length + length)
		capacity *= 2;
	grown = realloc(writer->data, capacity);
	if (!grown)
	{
		writer->failed = true;
		return false;
	}
	writer->data = grown;
	writer->capacity = capacity;
	return true;
}

void
write_raw(ByteWriter *writer, const void *data, size_t length)
{
	if (!writer_reserve(writer, length))
		return;
	if (length)
		memcpy(writer->data + writer->length, data, length);
	writer->length += length;
}

/* The low n_bytes of value, little-endian. */
static void
write_number(ByteWriter *writer, uint64_t value, size_t n_bytes)
{
	unsigned char bytes[8];

	for (size_t i = 0; i < n_bytes; i++)
		bytes[i] = (unsigned char) (value >> (8 * i));
	write_raw(writer, bytes, n_bytes);
}

void
write_u8(ByteWriter *writer, uint8_t value)
{
	write_number(writer, value, 1);
}

void
write_u16(ByteWriter *writer, uint16_t value)
{
	write_number(writer, value, 2);
}

void
write_u32(ByteWriter *writer, uint32_t value)
{
	write_number(writer, value, 4);
}

void
write_u64(ByteWriter *writer, uint64_t value)
{
	write_number(writer, value, 8);
}

void
write_f32(ByteWriter *writer, float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof bits);
	write_u32(writer, bits);
}

void
write_f64(ByteWriter *writer, double value)
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof bits);
	write_u64(writer, bits);
}
