/*
 * test_adapters.c - adapters: what they add against a model whose weights have it in them, their answers in any
 * company, and files that lie.
 *
 * The merged weights are made in double from the adapter's file, and share no arithmetic with what is tested.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "adapter_writer.h"
#include "tiny_engine.h"

#define MAX_ROWS 256
#define N_TOKENS 70

typedef struct Engine
{
	Model *model;
	Team *team;
	KvBudget *budget;
	KvPool *pool;
	Forward *forward;
	float *states; /* of 33 sequences; NULL: they have none */
} Engine;

static Engine
make_engine(Model *model, int threads)
{
	Engine engine = {.model = model, .team = team_create(threads), .budget = kv_budget_create(64 << 20)};

	tiny_require(kv_pool_create(engine.budget, &model->hyper, KV_F32, model->key_outliers != NULL, &engine.pool));
	tiny_require(forward_create(model, engine.pool, engine.team, MAX_ROWS, 32, MAX_ROWS, &engine.forward));
	if (model_state_bytes(&model->hyper) > 0)
		engine.states = malloc(33 * model_state_bytes(&model->hyper));
	return engine;
}

static void
free_engine(Engine *engine)
{
	free(engine->states);
	forward_destroy(engine->forward);
	kv_pool_destroy(engine->pool);
	kv_budget_destroy(engine->budget);
	team_destroy(engine->team);
}

static void
make_tokens(int32_t *tokens, uint32_t n, uint64_t seed)
{
	uint64_t state = seed * 77 + 12345;

	for (uint32_t i = 0; i < n; i++)
		tokens[i] = (int32_t) (writer_random(&state) % 256);
}

/* The state of a sequence, or NULL. */
static float *
state_of(const Engine *engine, uint32_t s)
{
	return engine->states ? engine->states + model_state_bytes(&engine->model->hyper) / sizeof(float) * s : NULL;
}

/* Logits of every position with an adapter (or NULL), in steps of chunk rows: [n][TINY_VOCAB] */
static float *
logits_with(Engine *engine, const Adapter *adapter, float scale, const int32_t *tokens, uint32_t n, uint32_t chunk)
{
	float *logits = calloc((size_t) n * TINY_VOCAB, sizeof *logits);
	uint32_t blocks[16];

	assert_true(kv_pool_take(engine->pool, kv_blocks_for(n), blocks));
	for (uint32_t i = 0; i < n; i += chunk)
	{
		uint32_t rows = n - i < chunk ? n - i : chunk;
		StepSequence sequence = {tokens + i,           rows, i, blocks, rows, false, 0, adapter, scale,
								 state_of(engine, 32), false};

		forward_step(engine->forward, &sequence, 1);
		for (uint32_t r = 0; r < rows; r++)
			memcpy(logits + (size_t) (i + r) * TINY_VOCAB, forward_logits(engine->forward, 0, r),
				   TINY_VOCAB * sizeof *logits);
	}
	kv_pool_give(engine->pool, kv_blocks_for(n), blocks);
	return logits;
}

/* max |difference| / RMS */
static double
error_of(const float *found, const float *expected, size_t n)
{
	double largest = 0, squares = 0;

	for (size_t i = 0; i < n; i++)
	{
		largest = fmax(largest, fabs((double) found[i] - expected[i]));
		squares += (double) expected[i] * expected[i];
	}
	return largest / sqrt(squares / (double) n);
}

/* The tensor of a file by name and suffix, expanded; NULL: there is none. The caller frees it. */
static float *
expand(const Gguf *gguf, const ByteWriter *file, ByteSpan base, const char *suffix, const GgufTensor **tensor)
{
	char name[96];
	float *numbers;

	snprintf(name, sizeof name, "%.*s%s", (int) base.length, base.data, suffix);
	*tensor = gguf_find_tensor(gguf, name);
	if (!*tensor)
		return NULL;
	numbers = malloc((*tensor)->n_elements * sizeof *numbers);
	dequantize_row((*tensor)->type->type, file->data + (*tensor)->offset, (uint32_t) (*tensor)->n_elements, numbers);
	return numbers;
}

/* Put what an adapter adds into the F32 weights of a model's file. */
static void
merge(ByteWriter *model_file, const ByteWriter *adapter, float alpha, float scale)
{
	Gguf model, changes;

	tiny_require(gguf_parse(model_file->data, model_file->length, model_file->length, &model));
	tiny_require(gguf_parse(adapter->data, adapter->length, adapter->length, &changes));
	for (uint32_t i = 0; i < model.n_tensors; i++)
	{
		const GgufTensor *base = &model.tensors[i], *of_a, *of_b;
		float *a = expand(&changes, adapter, base->name, ".lora_a", &of_a);
		float *b = expand(&changes, adapter, base->name, ".lora_b", &of_b);
		uint64_t cols = base->dims[0], rows = base->n_dims > 1 ? base->dims[1] : 1,
				 experts = base->n_dims > 2 ? base->dims[2] : 1, rank;
		bool embedding = base->name.length == 17 && memcmp(base->name.data, "token_embd.weight", 17) == 0;

		if (!a)
			continue;
		rank = of_b->dims[0];
		for (uint64_t w = 0; w < experts * rows * cols; w++)
		{
			uint64_t expert = w / (rows * cols), row = w / cols % rows, col = w % cols;
			double sum = 0;
			float weight;

			for (uint64_t j = 0; j < rank; j++)
				sum += embedding ? (double) a[row * rank + j] * b[col * rank + j]
								 : (double) a[(expert * rank + j) * cols + col] * b[(expert * rows + row) * rank + j];
			memcpy(&weight, model_file->data + base->offset + w * 4, 4);
			weight = (float) (weight + scale * (alpha != 0 ? alpha / (double) rank : 1) * sum);
			memcpy(model_file->data + base->offset + w * 4, &weight, 4);
		}
		free(a);
		free(b);
	}
	gguf_close(&model);
	gguf_close(&changes);
}

/* A model of a file's bytes, opened. */
static Model *
model_of(const ByteWriter *file)
{
	char folder[] = "/tmp/qwen_test_merged_XXXXXX", path[128];
	int image_fd = memfd_create("image", 0);
	Model *model = NULL;

	assert_non_null(mkdtemp(folder));
	writer_save(folder, "m.gguf", file->data, file->length);
	tiny_require(tiny_load(folder, image_fd, 1, false, false));
	tiny_require(model_open(image_fd, &model));
	snprintf(path, sizeof path, "%s/m.gguf", folder);
	unlink(path);
	rmdir(folder);
	close(image_fd);
	return model;
}

/* An adapter beside a model gives what a model with merged weights gives. */
static void
check_against_merged(const TinyModel *shape, const char *part, uint32_t rank, float alpha, TensorType type, float scale)
{
	ByteWriter adapter_bytes = adapter_file(shape, part, rank, alpha, type, rank + 1),
			   merged_file = writer_model(shape, NULL);
	int base_fd = tiny_image(shape);
	Model *model, *merged;
	Adapter *adapter = adapter_of(base_fd, &adapter_bytes);
	Engine engine, of_merged;
	int32_t tokens[N_TOKENS];
	float *found, *expected, *without;
	double error;

	tiny_require(model_open(base_fd, &model));
	merge(&merged_file, &adapter_bytes, alpha, scale);
	merged = model_of(&merged_file);
	engine = make_engine(model, 2);
	of_merged = make_engine(merged, 1);
	tiny_require(forward_check_adapter(engine.forward, adapter));
	make_tokens(tokens, N_TOKENS, rank);
	found = logits_with(&engine, adapter, scale, tokens, N_TOKENS, 64);
	without = logits_with(&engine, NULL, 0, tokens, N_TOKENS, 64);
	expected = logits_with(&of_merged, NULL, 0, tokens, N_TOKENS, 64);
	error = error_of(found, expected, (size_t) N_TOKENS * TINY_VOCAB);
	if (!(error < 1e-4))
		fail_msg("kind %u, \"%s\", rank %u: max difference / RMS is %g", shape->kind, part, rank, error);
	if (!(error_of(without, expected, (size_t) N_TOKENS * TINY_VOCAB) > 0.005))
		fail_msg("kind %u, \"%s\": the adapter changes next to nothing", shape->kind, part);
	free(found);
	free(without);
	free(expected);
	free_engine(&engine);
	free_engine(&of_merged);
	adapter_close(adapter);
	model_close(model);
	model_close(merged);
	byte_writer_free(&adapter_bytes);
	byte_writer_free(&merged_file);
	close(base_fd);
}

static const TinyModel shapes[] = {
	{0, 2, 64, 96, 4, 2, 16, 1024, true, TENSOR_F32, 1, -1},
	{TINY_FUSED_QKV, 2, 96, 160, 9, 3, 16, 1024, false, TENSOR_F32, 2, -1},
	{TINY_QWEN3, 2, 64, 96, 4, 1, 128, 1024, false, TENSOR_F32, 3, -1},
	{TINY_EXPERTS | TINY_ALL_USED, 2, 64, 96, 4, 2, 16, 1024, true, TENSOR_F32, 5, -1},
	{TINY_EXPERTS | TINY_QWEN3 | TINY_MERGED, 2, 64, 64, 4, 2, 16, 1024, true, TENSOR_F32, 8, -1},
	{TINY_EXPERTS | TINY_QWEN3, 2, 96, 32, 6, 3, 32, 1024, false, TENSOR_F32, 6, -1},
	{TINY_HYBRID, 2, 64, 96, 4, 2, 32, 1024, false, TENSOR_F32, 7, -1},
	{TINY_HYBRID | TINY_EXPERTS | TINY_NEXT | TINY_IN_ONE | TINY_MERGED, 2, 64, 64, 4, 2, 16, 1024, true, TENSOR_F32, 9,
	 -1},
};

static void
an_adapter_gives_what_merged_weights_give(void **state)
{
	static const char *const parts[] = {"attn_q",        "attn_output",   "ffn_gate.",     "ffn_down.",
										"token_embd",    "output.weight", "ffn_gate_exps", "ffn_down_exps",
										"ffn_gate_inp.", "_shexp"};

	(void) state;
	for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
	{
		/* merged into embeddings that are the output too, it would be in the output as well */
		const char *part = shapes[s].own_output ? "" : "blk.";

		check_against_merged(&shapes[s], part, 4, 12, TENSOR_F32, 0.5f);
		check_against_merged(&shapes[s], part, 21, 0, TENSOR_F16, 0.25f);
	}
	check_against_merged(&shapes[0], "", 32, 16, TENSOR_Q8_0, 1);
	check_against_merged(&shapes[2], "blk.", 1, 8, TENSOR_BF16, -1);
	/* each kind of matrix by itself */
	for (size_t p = 0; p < 10; p++)
		check_against_merged(&shapes[p < 6 ? 0 : 3], parts[p], 8, 16, TENSOR_F32, 1);
	check_against_merged(&shapes[1], "attn_qkv", 8, 16, TENSOR_F32, 1);
}

/* Sequences with several adapters, and none, in one step: each gets the bits that it has alone, in any chunks, with any
 * number of threads and instruction set. */
static void
check_company(const TinyModel *shape, uint32_t n_rows)
{
	enum
	{
		N = 12
	};
	ByteWriter files[2] = {adapter_file(shape, "", 16, 32, TENSOR_F32, 1),
						   adapter_file(shape, "attn", 5, 0, TENSOR_F16, 2)};
	int base_fd = tiny_image(shape);
	Adapter *adapters[3] = {NULL, adapter_of(base_fd, &files[0]), adapter_of(base_fd, &files[1])};
	int32_t tokens[N][40];
	float *alone[N] = {NULL};
	Model *model;

	tiny_require(model_open(base_fd, &model));
	for (int s = 0; s < N; s++)
		make_tokens(tokens[s], 40, (uint64_t) s);
	for (int variant = 0; variant < 5; variant++)
	{
		const Kernels *kernels = kernels_of_this_cpu((size_t) variant);
		Engine engine;
		StepSequence sequences[N];
		uint32_t blocks[N][2];

		setenv("QWEN_ISA", kernels ? kernels->name : "best", 1);
		/* with twelve members a tile's rows are several members' */
		engine = make_engine(model, variant % 3 == 2 ? 12 : 1 + variant % 3);
		for (int s = 0; s < N; s++)
		{
			float scale = s % 3 == 1 ? 1 : 0.5f;
			float *found = logits_with(&engine, adapters[s % 3], scale, tokens[s], 40,
									   variant == 0 ? 40 : 1 + (uint32_t) variant * 6);

			if (alone[s] && memcmp(alone[s], found, sizeof(float) * 40 * TINY_VOCAB) != 0)
				fail_msg("sequence %d, variant %d: other bits", s, variant);
			if (alone[s])
				free(found);
			else
				alone[s] = found;
			assert_true(kv_pool_take(engine.pool, 2, blocks[s]));
			sequences[s] = (StepSequence){tokens[s], 40 - n_rows,
										  0,         blocks[s],
										  0,         false,
										  0,         adapters[s % 3],
										  scale,     state_of(&engine, (uint32_t) s),
										  false};
			forward_step(engine.forward, &sequences[s], 1);
			sequences[s] = (StepSequence){tokens[s] + 40 - n_rows,
										  n_rows,
										  40 - n_rows,
										  blocks[s],
										  n_rows,
										  false,
										  0,
										  adapters[s % 3],
										  scale,
										  state_of(&engine, (uint32_t) s),
										  false};
		}
		/* few of them, then all */
		for (uint32_t n = 2; n <= N; n += N - 2)
		{
			/* a state has gone on since the last time */
			for (uint32_t s = 0; engine.states && s < n; s++)
			{
				StepSequence before = sequences[s];

				before.tokens = tokens[s];
				before.n_tokens = 40 - n_rows;
				before.first_position = before.n_logits = 0;
				forward_step(engine.forward, &before, 1);
			}
			forward_step(engine.forward, sequences, n);
			for (uint32_t s = 0; s < n; s++)
				for (uint32_t r = 0; r < n_rows; r++)
					if (memcmp(forward_logits(engine.forward, s, r), alone[s] + (size_t) (40 - n_rows + r) * TINY_VOCAB,
							   TINY_VOCAB * sizeof(float)) != 0)
						fail_msg("sequence %u of %u, variant %d: other bits", s, n, variant);
		}
		free_engine(&engine);
	}
	unsetenv("QWEN_ISA");
	for (int s = 0; s < N; s++)
		free(alone[s]);
	for (int i = 0; i < 2; i++)
	{
		byte_writer_free(&files[i]);
		adapter_close(adapters[i + 1]);
	}
	model_close(model);
	close(base_fd);
}

static void
rows_with_adapters_have_their_bits_in_any_company(void **state)
{
	TinyModel quantized = {TINY_QWEN3, 2, 64, 96, 4, 2, 32, 1024, true, TENSOR_Q4_0, 9, -1};

	(void) state;
	for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
		check_company(&shapes[s], s % 2 ? 1 : 9);
	check_company(&quantized, 1);
	check_company(&quantized, 20);
}

/* A whole engine with two adapters of one model. */
static TinyEngine *
engine_with_adapters(const TinyModel *shape, uint32_t n_blocks)
{
	int base_fd = tiny_image(shape);
	TinyEngine *engine;
	Model *model;

	tiny_require(model_open(base_fd, &model));
	engine = tiny_engine_of(
		&model, 1, KV_F16, 1, n_blocks,
		(SchedulerSettings){.max_running = 8, .prefill_chunk = 64, .queue_size = 100, .speculation = true});
	for (uint32_t i = 0; i < 2; i++)
	{
		ByteWriter file = adapter_file(shape, "", 8, 16, TENSOR_F32, i + 1);
		AdapterSlot *slot = &engine->slots.adapters[engine->slots.n_adapters++];

		slot->adapter = adapter_of(base_fd, &file);
		snprintf(slot->adapter->name, sizeof slot->adapter->name, "%s", i == 0 ? "one" : "two");
		slot->number = i + 1;
		slot->status = &engine->page->slots[STATUS_PAGE_MAX_SLOTS + i];
		byte_writer_free(&file);
	}
	close(base_fd);
	return engine;
}

static void
free_engine_with_adapters(TinyEngine *engine)
{
	for (uint32_t i = 0; i < engine->slots.n_adapters; i++)
		adapter_close(engine->slots.adapters[i].adapter);
	tiny_engine_free(engine);
}

/* A greedy answer of 12 tokens with an adapter (or NULL) of a scale; *cached: tokens that were not computed. */
static void
ask(TinyEngine *engine, const char *prompt, const char *adapter, double scale, TinyCall *call)
{
	Request request = tiny_request(prompt, 12, 10);

	if (adapter)
		request.adapter = tiny_span(adapter);
	request.options.given |= OPTION_ADAPTER_SCALE;
	request.options.adapter_scale = scale;
	tiny_submit(engine, &request, call);
	assert_string_equal(call->status.message, "");
}

#define LONG_PROMPT "Once upon a time there was a text of more than two blocks of thirty-two tokens each."

static const struct
{
	const char *adapter;
	double scale;
} cases[] = {{NULL, 1}, {"one", 1}, {"two", 1}, {"one", 0.25}};

#define N_CASES 4

static void
an_adapter_s_keys_and_values_are_nobody_else_s(void **state)
{
	TinyEngine *engine = engine_with_adapters(&shapes[0], 64);
	char *answers[N_CASES] = {NULL};

	(void) state;
	for (int round = 0; round < 2; round++)
		for (int i = 0; i < N_CASES; i++)
		{
			TinyCall call;
			Done done;
			char *text;

			ask(engine, LONG_PROMPT, cases[i].adapter, cases[i].scale, &call);
			tiny_run(engine);
			done = tiny_done(&call);
			/* the same prompt, but only what was computed in the same way */
			assert_int_equal(done.cached_tokens, round == 0 ? 0 : 64);
			text = strndup(done.content.data, done.content.length);
			if (round == 0)
				answers[i] = text;
			else
			{
				assert_string_equal(text, answers[i]);
				free(text);
			}
			tiny_call_free(&call);
		}
	for (int i = 0; i < N_CASES; i++)
		for (int j = 0; j < i; j++)
			assert_string_not_equal(answers[i], answers[j]);
	for (int i = 0; i < N_CASES; i++)
		free(answers[i]);
	free_engine_with_adapters(engine);
}

static void
answers_with_adapters_are_the_same_alone_together_and_preempted(void **state)
{
	char *alone[N_CASES];

	(void) state;
	/* one at a time; all at once; all at once where there is room for two */
	for (int round = 0; round < 3; round++)
	{
		TinyEngine *engine = engine_with_adapters(&shapes[2], round < 2 ? 64 : 9);
		TinyCall calls[N_CASES];

		for (int i = 0; i < N_CASES; i++)
		{
			ask(engine, LONG_PROMPT, cases[i].adapter, cases[i].scale, &calls[i]);
			if (round == 0)
				tiny_run(engine);
		}
		tiny_run(engine);
		for (int i = 0; i < N_CASES; i++)
		{
			Done done = tiny_done(&calls[i]);
			char *text = strndup(done.content.data, done.content.length);

			if (round == 0)
				alone[i] = text;
			else
			{
				assert_string_equal(text, alone[i]);
				free(text);
			}
			tiny_call_free(&calls[i]);
		}
		free_engine_with_adapters(engine);
	}
	for (int i = 0; i < N_CASES; i++)
		free(alone[i]);
}

static void
twins_with_other_adapters_are_not_waited_for(void **state)
{
	TinyEngine *engine = engine_with_adapters(&shapes[0], 64);
	TinyCall calls[3];

	(void) state;
	ask(engine, LONG_PROMPT, "one", 1, &calls[0]);
	ask(engine, LONG_PROMPT, "two", 1, &calls[1]);
	ask(engine, LONG_PROMPT, "one", 1, &calls[2]);
	tiny_run(engine);
	/* the third one took what the first one computed, the second one nothing of it */
	assert_int_equal(tiny_done(&calls[1]).cached_tokens, 0);
	assert_int_equal(tiny_done(&calls[2]).cached_tokens, 64);
	for (int i = 0; i < 3; i++)
		tiny_call_free(&calls[i]);
	free_engine_with_adapters(engine);
}

/* ---- files that lie ---------------------------------------------------------------------------------------------- */

/* A sound adapter for shapes[2] (qwen3, embeddings are the output) with rank 4, to be spoilt. */
static void
make_sound(AdapterFile *file)
{
	ByteWriter model_file = writer_model(&shapes[2], NULL);

	memset(file, 0, sizeof *file);
	adapter_keys(file, "qwen3", 8);
	adapter_pairs(file, &model_file, "attn", 4, TENSOR_F32);
	byte_writer_free(&model_file);
}

static WriterTensor *
find_tensor(AdapterFile *file, const char *name)
{
	for (uint32_t i = 0; i < file->n_tensors; i++)
		if (strcmp(file->tensors[i].name, name) == 0)
			return &file->tensors[i];
	fail_msg("no tensor %s", name);
	return NULL;
}

#define Q_A "blk.0.attn_q.weight.lora_a"
#define Q_B "blk.0.attn_q.weight.lora_b"

static void
spoil(AdapterFile *file, int how)
{
	ByteWriter *values = &file->values;

	switch (how)
	{
		case 0:
			find_tensor(file, Q_A)->dims[0] = 48; /* another width */
			break;
		case 1:
			find_tensor(file, Q_B)->dims[0] = 5; /* ranks that do not fit */
			break;
		case 2:
			find_tensor(file, Q_B)->dims[1] = 64; /* another height */
			break;
		case 3:
			strcpy(find_tensor(file, Q_B)->name, "blk.0.attn_q.weight.lora_c");
			break;
		case 4:
			strcpy(find_tensor(file, Q_B)->name, "blk.7.attn_q.weight.lora_b"); /* no such layer, and no pair */
			break;
		case 5:
			adapter_tensor(file, "blk.0.ffn_gate_exps.weight", ".lora_a", 64, 4, 7, TENSOR_F32, 1);
			break;
		case 6:
			adapter_tensor(file, "output.weight", ".lora_a", 64, 4, 1, TENSOR_F32, 1);
			adapter_tensor(file, "output.weight", ".lora_b", 4, TINY_VOCAB, 1, TENSOR_F32, 1);
			break;
		case 7:
			find_tensor(file, Q_A)->dims[1] = find_tensor(file, Q_B)->dims[0] = 513;
			break;
		case 8:
			writer_key(values, "adapter.alora.invocation_tokens", 9, &file->n_values);
			write_u32(values, 4);
			write_u64(values, 1);
			write_u32(values, 5);
			break;
		case 9:
			byte_writer_free(values);
			file->n_values = 0;
			adapter_keys(file, "qwen2", 8);
			break;
		case 10:
			find_tensor(file, Q_A)->offset = INFINITY;
			break;
		case 11:
			file->n_tensors = 0;
			break;
		case 12:
			/* both of the parts and of the whole */
			adapter_tensor(file, "blk.0.attn_qkv.weight", ".lora_a", 64, 4, 1, TENSOR_F32, 1);
			adapter_tensor(file, "blk.0.attn_qkv.weight", ".lora_b", 4, 512 + 256, 1, TENSOR_F32, 1);
			break;
		case 13:
			/* no matrix, but a vector */
			adapter_tensor(file, "blk.0.attn_q_norm.weight", ".lora_a", 128, 4, 1, TENSOR_F32, 1);
			adapter_tensor(file, "blk.0.attn_q_norm.weight", ".lora_b", 4, 1, 1, TENSOR_F32, 1);
			break;
		case 14:
			adapter_tensor(file, "blk.0.attn_q.weight", "", 64, 512, 1, TENSOR_F32, 1);
			break;
		case 15:
			byte_writer_free(values);
			file->n_values = 0;
			byte_writer_init(values);
			writer_text(values, "general.architecture", "qwen3", &file->n_values);
			break;
		case 16:
			writer_u32(values, "split.count", 2, &file->n_values);
			break;
		case 17:
		case 18:
			byte_writer_free(values);
			file->n_values = 0;
			adapter_keys(file, "qwen3", how == 17 ? INFINITY : -2e6f);
			break;
		default:
			find_tensor(file, Q_A)->n_dims = 3; /* experts of a matrix that has none */
			find_tensor(file, Q_A)->dims[2] = 2;
			break;
	}
}

static void
files_that_lie_are_refused_by_the_tensor(void **state)
{
	static const char *const expected[] = {
		"tensor \"" Q_A "\" has the shape [4][48], expected [4][64]",
		"tensor \"" Q_B "\" has the shape [512][5], expected [512][4]",
		"tensor \"" Q_B "\" has the shape [64][4], expected [512][4]",
		"tensor \"" Q_A "\" is there without \"" Q_B "\"",
		"tensor \"" Q_A "\" is there without \"" Q_B "\"",
		"tensor \"blk.0.ffn_gate_exps.weight.lora_a\" is for a tensor that model \"m\" has not",
		"tensor \"output.weight.lora_a\" is for a tensor that model \"m\" has not: its embeddings serve as its output",
		"tensor \"" Q_A "\" is of rank 513; an adapter's is 1 to 512",
		"activated LoRA",
		"for the architecture \"qwen2\", but model \"m\" is of the architecture \"qwen3\"",
		"tensor \"" Q_A "\" holds a number that is not finite",
		"no tensors that change a matrix",
		"both \"blk.0.attn_q.weight\" and \"blk.0.attn_qkv.weight\" have tensors",
		"tensor \"blk.0.attn_q_norm.weight.lora_a\"",
		"tensor \"blk.0.attn_q.weight\" is no part of an adapter",
		"it is no adapter: general.type is \"\"",
		"one of 2 parts",
		"adapter.lora.alpha is no number between -1e6 and 1e6",
		"adapter.lora.alpha is no number between -1e6 and 1e6",
		"tensor \"" Q_A "\" has the shape [2][4][64], expected [4][64]",
	};
	static AdapterFile file;
	int base_fd = tiny_image(&shapes[2]);

	(void) state;
	for (int how = 0; how < (int) (sizeof expected / sizeof expected[0]); how++)
	{
		int image_fd = memfd_create("adapter", 0);
		AdapterLoadReport report;
		ByteWriter bytes;
		struct stat info;
		Status status;

		make_sound(&file);
		spoil(&file, how);
		bytes = adapter_bytes(&file);
		status = adapter_load_bytes(base_fd, image_fd, bytes.data, bytes.length, &report);
		assert_int_not_equal(status.code, STATUS_OK);
		if (!strstr(status.message, expected[how]) || strncmp(status.message, "adapter file \"a.gguf\": ", 23) != 0)
			fail_msg("lie %d: %s", how, status.message);
		/* no memory stays */
		assert_int_equal(fstat(image_fd, &info), 0);
		assert_int_equal(info.st_size, 0);
		byte_writer_free(&bytes);
		byte_writer_free(&file.values);
		close(image_fd);
	}
	close(base_fd);
}

static void
a_classifier_takes_no_adapter(void **state)
{
	static AdapterFile file;
	TinyModel ranks = shapes[2];
	AdapterLoadReport report;
	ByteWriter bytes;
	Status status;
	int base_fd, image_fd = memfd_create("adapter", 0);

	(void) state;
	ranks.kind |= TINY_CLASSES;
	base_fd = tiny_image(&ranks);
	make_sound(&file);
	adapter_tensor(&file, "cls.output.weight", ".lora_a", 64, 4, 1, TENSOR_F32, 1);
	adapter_tensor(&file, "cls.output.weight", ".lora_b", 4, 2, 1, TENSOR_F32, 1);
	bytes = adapter_bytes(&file);
	status = adapter_load_bytes(base_fd, image_fd, bytes.data, bytes.length, &report);
	assert_non_null(strstr(status.message, "tensor \"cls.output.weight.lora_a\" is for no matrix"));
	byte_writer_free(&bytes);
	byte_writer_free(&file.values);
	close(image_fd);
	close(base_fd);
}

static void
norms_are_left_out_with_a_notice(void **state)
{
	static AdapterFile file;
	int base_fd = tiny_image(&shapes[2]), image_fd = memfd_create("adapter", 0);
	AdapterLoadReport report;
	ByteWriter bytes;

	(void) state;
	make_sound(&file);
	adapter_tensor(&file, "blk.0.attn_norm.weight", "", 64, 1, 1, TENSOR_F32, 1);
	adapter_tensor(&file, "output_norm.weight", "", 64, 1, 1, TENSOR_F32, 1);
	bytes = adapter_bytes(&file);
	assert_string_equal(adapter_load_bytes(base_fd, image_fd, bytes.data, bytes.length, &report).message, "");
	assert_non_null(
		strstr(report.notices.text, "2 tensors of norms are left out: \"blk.0.attn_norm.weight\" and others"));
	assert_int_equal(report.n_matrices, 8);
	assert_int_equal(report.rank, 4);
	byte_writer_free(&bytes);
	byte_writer_free(&file.values);
	close(image_fd);
	close(base_fd);
}

/* Files that end too early anywhere, and bits that are wrong in the head, are errors and nothing worse. */
static void
damaged_files_are_errors(void **state)
{
	static AdapterFile file;
	int base_fd = tiny_image(&shapes[2]);
	AdapterLoadReport report;
	uint64_t random = 5;
	ByteWriter bytes;

	(void) state;
	make_sound(&file);
	bytes = adapter_bytes(&file);
	for (int i = 0; i < 300; i++)
	{
		int image_fd = memfd_create("adapter", 0);
		size_t at = writer_random(&random) % (i % 2 ? 1500 : bytes.length);

		if (i % 2)
			bytes.data[at] ^= (unsigned char) (1 + writer_random(&random) % 255);
		/* what happens to be sound can be opened */
		if (adapter_load_bytes(base_fd, image_fd, bytes.data, i % 2 ? bytes.length : at, &report).code == STATUS_OK)
		{
			Adapter *adapter;

			assert_int_equal(i % 2, 1);
			assert_int_equal(adapter_open(image_fd, 7, &adapter).code, STATUS_OK);
			adapter_close(adapter);
		}
		if (i % 2)
		{
			byte_writer_free(&bytes);
			bytes = adapter_bytes(&file);
		}
		close(image_fd);
	}
	byte_writer_free(&bytes);
	byte_writer_free(&file.values);
	close(base_fd);
}

static void
an_adapter_is_for_one_image_of_its_model(void **state)
{
	ByteWriter file = adapter_file(&shapes[0], "attn", 4, 8, TENSOR_F32, 1);
	int base_fd = tiny_image(&shapes[0]), image_fd = memfd_create("adapter", 0), gone_fd = memfd_create("gone", 0);
	AdapterLoadReport report;
	Adapter *adapter = NULL;
	uint32_t wrong = 0xBAD;

	(void) state;
	/* the model was unloaded meanwhile */
	assert_int_equal(adapter_load_bytes(gone_fd, image_fd, file.data, file.length, &report).code, STATUS_UNAVAILABLE);
	assert_int_equal(adapter_load_bytes(base_fd, image_fd, file.data, file.length, &report).code, STATUS_OK);
	assert_int_equal(adapter_open(image_fd, 8, &adapter).code, STATUS_INTERNAL);
	/* a damaged table */
	assert_int_equal(pwrite(image_fd, &wrong, 4, 1000), 4);
	assert_int_equal(adapter_open(image_fd, 7, &adapter).code, STATUS_INTERNAL);
	assert_null(adapter);
	byte_writer_free(&file);
	close(gone_fd);
	close(image_fd);
	close(base_fd);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_adapter_gives_what_merged_weights_give),
		cmocka_unit_test(rows_with_adapters_have_their_bits_in_any_company),
		cmocka_unit_test(an_adapter_s_keys_and_values_are_nobody_else_s),
		cmocka_unit_test(answers_with_adapters_are_the_same_alone_together_and_preempted),
		cmocka_unit_test(twins_with_other_adapters_are_not_waited_for),
		cmocka_unit_test(files_that_lie_are_refused_by_the_tensor),
		cmocka_unit_test(a_classifier_takes_no_adapter),
		cmocka_unit_test(norms_are_left_out_with_a_notice),
		cmocka_unit_test(damaged_files_are_errors),
		cmocka_unit_test(an_adapter_is_for_one_image_of_its_model),
	};

	return cmocka_run_group_tests_name("adapters", tests, NULL, NULL);
}
