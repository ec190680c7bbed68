/*
 * fuzz_adapter.c - a hostile adapter file all the way: loaded against a model, opened, and a step computed with it.
 *
 * The input is a byte that chooses the model, one that says how much of the adapter is wanted, and the head of the
 * file, behind which stand as many bytes of one pattern as a small adapter has. What is refused leaves an empty image
 * and a sentence about the file; what opens can be used by a step, and whoever stands beside it in the step without it
 * gets the bits that he gets alone, whatever numbers the adapter holds.
 */
#include "../../src/engine/forward.h"
#include "../../src/model/adapter.h"
#include "fuzz_model.h"

#define DATA_BYTES 65536
#define MODEL_BYTE 0x3C /* of all weights: small positive numbers in every type */
#define N_TOKENS 3

/* Kept inputs of the target loader: fused matrices, tied embeddings, experts of both kinds, and delta nets. */
static const char *const bases[] = {"qwen3_q8_0", "qwen_q8_0", "qwen2moe_q8_0", "qwen3vlmoe_merged_q8_0",
									"qwen35_q8_0"};

#define N_BASES (sizeof bases / sizeof bases[0])

typedef struct Base
{
	int image;
	Model *model;
	Team *team;
	Forward *forward;
	uint32_t blocks[2];
	float *states[2]; /* NULL: it has none */
	float *logits;    /* [vocab] of what has no adapter, alone */
} Base;

static const int32_t tokens[N_TOKENS] = {72, 0, 101};

/* Sequence number i of a step: all tokens from the beginning. */
static StepSequence
sequence_of(const Base *base, int i, const Adapter *adapter, float scale)
{
	StepSequence sequence = {.tokens = tokens, .n_tokens = N_TOKENS, .n_logits = 1, .adapter = adapter};

	sequence.kv_blocks = &base->blocks[i];
	sequence.adapter_scale = scale;
	sequence.state = base->states[i];
	return sequence;
}

/* One of the models, ready to compute; made when it is asked for first, and kept. */
static const Base *
base_of(size_t which)
{
	static Base all[N_BASES];
	static uint8_t file[DATA_BYTES * 2];
	Base *base = &all[which];
	const char *root = getenv("QWEN_TEST_SOURCE_DIR");
	KvBudget *budget;
	KvPool *pool;
	StepSequence alone;
	char path[4096];
	FILE *head;
	size_t size;

	if (base->model)
		return base;
	snprintf(path, sizeof path, "%s/tests/fuzz/corpus/loader/%s", root ? root : ".", bases[which]);
	budget = kv_budget_create((uint64_t) 64 << 20);
	head = fopen(path, "rb");
	PROMISE(head && budget);
	size = fread(file, 1, DATA_BYTES, head);
	fclose(head);
	memset(file + size, MODEL_BYTE, DATA_BYTES);
	PROMISE(fuzz_model_load(file, size + DATA_BYTES, &base->image).code == STATUS_OK);
	PROMISE(model_open(base->image, &base->model).code == STATUS_OK);
	base->team = team_create(1);
	PROMISE(kv_pool_create(budget, &base->model->hyper, KV_F16, false, &pool).code == STATUS_OK);
	PROMISE(forward_create(base->model, pool, base->team, 2 * N_TOKENS, 2, 2, &base->forward).code == STATUS_OK);
	PROMISE(kv_pool_take(pool, 2, base->blocks));
	for (int i = 0; kv_pool_states(pool) && i < 2; i++)
	{
		uint32_t state;

		PROMISE(kv_pool_take(kv_pool_states(pool), 1, &state));
		base->states[i] = kv_pool_state(kv_pool_states(pool), state);
	}
	base->logits = malloc(base->model->hyper.vocab * sizeof(float));
	alone = sequence_of(base, 0, NULL, 1);
	forward_step(base->forward, &alone, 1);
	PROMISE(base->logits);
	memcpy(base->logits, forward_logits(base->forward, 0, 0), base->model->hyper.vocab * sizeof(float));
	return base;
}

/* A step of two sequences, one of them with the adapter, in either order. */
static void
use(const Base *base, const Adapter *adapter, float scale)
{
	PROMISE(forward_check_adapter(base->forward, adapter).code == STATUS_OK);
	for (int i = 0; i < 2; i++)
	{
		StepSequence both[2] = {sequence_of(base, 0, i ? NULL : adapter, scale),
								sequence_of(base, 1, i ? adapter : NULL, scale)};

		forward_step(base->forward, both, 2);
		PROMISE(memcmp(forward_logits(base->forward, i ? 0 : 1, 0), base->logits,
					   base->model->hyper.vocab * sizeof(float)) == 0);
	}
}

/* Looking at what was loaded. */
static void
check_loaded(const Base *base, int image, const AdapterLoadReport *report, float scale)
{
	Adapter *adapter = NULL;

	PROMISE(report->n_matrices > 0 && report->rank >= 1 && report->rank <= ADAPTER_MAX_RANK);
	PROMISE(report->image_bytes <= FUZZ_MODEL_BYTES && lseek(image, 0, SEEK_END) == (off_t) report->image_bytes);
	PROMISE(memchr(report->architecture, 0, sizeof report->architecture) && report->n_parameters > 0);
	PROMISE(adapter_open(image, 2, &adapter).code != STATUS_OK);
	PROMISE(adapter_open(image, 7, &adapter).code == STATUS_OK && adapter->base_generation == 1);
	use(base, adapter, scale);
	adapter_close(adapter);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const Base *base = base_of(size > 0 ? data[0] % N_BASES : 0);
	float scale = size > 1 ? (float) (int8_t) data[1] / 32 : 1;
	int image = memfd_create("adapter", MFD_CLOEXEC);
	AdapterLoadRequest request = {
		.image_fd = image,
		.base_fd = base->image,
		.directory = fuzz_folder,
		.file = "a.gguf",
		.name = "a",
		.model = "m",
		.generation = 7,
		.base_generation = 1,
		.memory_limit = FUZZ_MODEL_BYTES,
	};
	AdapterLoadReport report;
	uint8_t *file;
	Status status;

	size = size > 2 ? size - 2 : 0;
	file = malloc(size + DATA_BYTES);
	if (!file || image < 0)
		abort();
	memcpy(file, data + (size ? 2 : 0), size);
	memset(file + size, size ? data[size + 1] : 0, DATA_BYTES);
	fuzz_write("a.gguf", file, size + DATA_BYTES);
	free(file);
	status = adapter_load(&request, &report);
	if (status.code == STATUS_OK)
		check_loaded(base, image, &report, scale);
	else
		PROMISE(lseek(image, 0, SEEK_END) == 0 && status.code != STATUS_INTERNAL && strstr(status.message, "a.gguf"));
	close(image);
	return 0;
}
