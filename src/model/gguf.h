/*
 * gguf.h - reading the head of a GGUF file: metadata and tensor descriptions, all of it checked.
 *
 * The format's specification: ggml's docs/gguf.md, versions 2 and 3. The reader keeps the head of the file in memory
 * and points into it; it never sees tensor data. Owns what it allocates; freed by gguf_close.
 */
#ifndef QWEN_GGUF_H
#define QWEN_GGUF_H

#include "../../kernels/kernels.h"
#include "../base/arena.h"
#include "../base/bytes.h"
#include "../base/status.h"

#define GGUF_MAX_HEAD_BYTES ((uint64_t) 256 << 20)
#define GGUF_MAX_KEYS 65536
#define GGUF_MAX_TENSORS 65536
#define GGUF_MAX_ARRAY ((uint64_t) 1 << 26)
#define GGUF_MAX_DIMS 4
#define GGUF_MAX_KEY_BYTES 65535
#define GGUF_MAX_TENSOR_NAME_BYTES 64

typedef enum GgufType
{
	GGUF_U8 = 0,
	GGUF_I8 = 1,
	GGUF_U16 = 2,
	GGUF_I16 = 3,
	GGUF_U32 = 4,
	GGUF_I32 = 5,
	GGUF_F32 = 6,
	GGUF_BOOL = 7,
	GGUF_STRING = 8,
	GGUF_ARRAY = 9,
	GGUF_U64 = 10,
	GGUF_I64 = 11,
	GGUF_F64 = 12,
} GgufType;

/* A metadata entry. Scalars are kept widened; an array keeps where its elements stand. */
typedef struct GgufValue
{
	ByteSpan key;
	GgufType type;
	uint64_t integer; /* integers and booleans (signed ones sign-extended) */
	double number;    /* floats; integers too */
	ByteSpan string;
	GgufType element_type; /* of an array; never an array itself */
	uint64_t n_elements;
	ByteSpan elements; /* the raw bytes of all elements */
} GgufValue;

typedef struct GgufTensor
{
	ByteSpan name;
	const TensorTypeInfo *type;
	uint32_t n_dims;
	uint64_t dims[GGUF_MAX_DIMS]; /* dims[0] is a row's length */
	uint64_t n_elements;
	uint32_t file;   /* which part of a split model has the data; 0 in a whole one */
	uint64_t offset; /* in the file */
	uint64_t bytes;
} GgufTensor;

typedef struct Gguf
{
	Arena *arena;
	uint32_t version;
	uint32_t n_values;
	GgufValue *values;
	uint32_t n_tensors;
	GgufTensor *tensors; /* sorted by offset */
	uint64_t data_start; /* of tensor data in the file */
	uint64_t file_bytes;
} Gguf;

/*
 * Read the head of the file behind fd (file_bytes long) with pread. INVALID_ARGUMENT: what is wrong and at which byte;
 * UNSUPPORTED: a version, byte order or tensor type that is not supported; UNAVAILABLE: I/O error, no memory.
 */
extern Status gguf_open(int fd, uint64_t file_bytes, Gguf *gguf);

/* The same over a head that is in memory and outlives the Gguf. */
extern Status gguf_parse(const void *head, size_t head_bytes, uint64_t file_bytes, Gguf *gguf);

/* INVALID_ARGUMENT when a name stands twice among the tensors. */
extern Status gguf_check_names(const Gguf *gguf);

extern void gguf_close(Gguf *gguf);

/* The entry of a key, or NULL. */
extern const GgufValue *gguf_find(const Gguf *gguf, const char *key);

/* Element i of an array of whole numbers or booleans; signed ones are sign-extended. */
extern uint64_t gguf_integer_at(const GgufValue *array, uint64_t i);

/* The tensor of a name, or NULL. */
extern const GgufTensor *gguf_find_tensor(const Gguf *gguf, const char *name);

/* Are all of n numbers, which were read of a tensor, finite? */
extern Status gguf_check_finite(const GgufTensor *tensor, const float *numbers, size_t n);

#endif
