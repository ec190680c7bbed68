/*
 * fuzz_gguf.c - the head of a hostile model file: entries, tensors, hyperparameters.
 *
 * All of the input is the head; the file is said to go on for a gigabyte. What is accepted points into the head, and
 * tensors lie inside the file, one behind the other.
 */
#include "../../src/model/gguf.h"
#include "../../src/model/hyperparameters.h"
#include "fuzz.h"

static uint64_t file_bytes;

/* Every byte of a span can be read, so a sanitizer sees one that leads outside. */
static void
touch(ByteSpan span)
{
	volatile char sum = 0;

	for (size_t i = 0; i < span.length; i++)
		sum = (char) (sum + span.data[i]);
}

static void
check_head(const Gguf *gguf)
{
	uint64_t end = gguf->data_start;

	for (uint32_t i = 0; i < gguf->n_values; i++)
	{
		const GgufValue *value = &gguf->values[i];

		touch(value->key);
		touch(value->string);
		touch(value->elements);
		PROMISE(value->type <= GGUF_F64);
	}
	for (uint32_t i = 0; i < gguf->n_tensors; i++)
	{
		const GgufTensor *tensor = &gguf->tensors[i];
		char name[GGUF_MAX_TENSOR_NAME_BYTES + 1] = {0};

		PROMISE(tensor->name.length <= GGUF_MAX_TENSOR_NAME_BYTES);
		memcpy(name, tensor->name.data, tensor->name.length);
		PROMISE(gguf_find_tensor(gguf, name) == tensor);
		PROMISE(tensor->offset >= end && tensor->bytes > 0 && tensor->bytes <= file_bytes);
		end = tensor->offset + tensor->bytes;
		PROMISE(end <= file_bytes);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Gguf gguf;
	ModelHyper hyper;
	TokenizerSource source;
	char model[32], pre[32];
	Notices notices = {0};
	Status status;

	file_bytes = ((uint64_t) 1 << 30) + size;
	status = gguf_parse(data, size, file_bytes, &gguf);
	if (status.code != STATUS_OK)
	{
		PROMISE(status.message[0] && status.code != STATUS_INTERNAL);
		return 0;
	}
	check_head(&gguf);
	memset(&hyper, 0, sizeof hyper);
	if (hyper_read(&gguf, &hyper, &notices).code == STATUS_OK)
	{
		PROMISE(hyper.n_layers >= 1 && hyper.n_layers <= MODEL_MAX_LAYERS);
		PROMISE(hyper.head_dim >= 16 && hyper.head_dim <= MODEL_MAX_HEAD_DIM && hyper.head_dim % 16 == 0);
		PROMISE(hyper.n_heads % hyper.n_kv_heads == 0 && hyper.context_length > 0 && hyper.vocab > 0);
	}
	if (hyper_read_tokenizer(&gguf, &hyper, &source, model, pre, &notices).code == STATUS_OK)
		PROMISE(memchr(model, 0, sizeof model) && memchr(pre, 0, sizeof pre));
	gguf_close(&gguf);
	return 0;
}
