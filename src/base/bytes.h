/*
 * bytes.h - reading and writing bytes that come from outside (socket, file), with every length checked.
 *
 * ByteReader walks a buffer that somebody else owns; one read past the end makes it "failed" for good and
 * every later read gives zero, so callers check once at the end. ByteWriter owns a growing buffer and has
 * the same manner: after a failed allocation it stays failed. All integers are little-endian.
 */
#ifndef QWEN_BASE_BYTES_H
#define QWEN_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A run of bytes owned by somebody else. data NULL means "not given" (SQL NULL), length 0 means empty. */
typedef struct ByteSpan
{
	const char *data;
	size_t length;
} ByteSpan;

/* A part of a text, in bytes: of a rendered prompt, what the template (and not data) wrote. */
typedef struct TextRun
{
	size_t start;
	size_t length;
} TextRun;

typedef struct ByteReader
{
	const unsigned char *data;
	size_t length;
	size_t offset;
	bool failed;
} ByteReader;

extern void byte_reader_init(ByteReader *reader, const void *data, size_t length);
extern size_t byte_reader_left(const ByteReader *reader);
extern uint8_t read_u8(ByteReader *reader);
extern uint16_t read_u16(ByteReader *reader);
extern uint32_t read_u32(ByteReader *reader);
extern uint64_t read_u64(ByteReader *reader);
extern float read_f32(ByteReader *reader);
extern double read_f64(ByteReader *reader);

/* A pointer to the next length bytes inside the buffer, or NULL (and failed). */
extern const void *read_raw(ByteReader *reader, size_t length);

typedef struct ByteWriter
{
	unsigned char *data; /* owned; free with byte_writer_free */
	size_t length;
	size_t capacity;
	bool failed;
} ByteWriter;

extern void byte_writer_init(ByteWriter *writer);
extern void byte_writer_free(ByteWriter *writer);
extern void write_u8(ByteWriter *writer, uint8_t value);
extern void write_u16(ByteWriter *writer, uint16_t value);
extern void write_u32(ByteWriter *writer, uint32_t value);
extern void write_u64(ByteWriter *writer, uint64_t value);
extern void write_f32(ByteWriter *writer, float value);
extern void write_f64(ByteWriter *writer, double value);
extern void write_raw(ByteWriter *writer, const void *data, size_t length);

#endif
