/*
 * fuzz_loader.c - a hostile model file all the way: loaded into an image, opened, and one step computed with it.
 *
 * The input is the head; behind it stand as many bytes of one pattern as a small model has, so that what a fuzzer finds
 * is about the head and inputs are short. A model that opens must be usable: its tokenizer encodes, its template
 * renders or says why not, and a step over a few tokens comes to its end whatever the weights are.
 */
#include "../../src/engine/forward.h"
#include "fuzz_model.h"

#define DATA_BYTES 65536
#define MAX_STEP_ELEMENTS ((uint64_t) 1 << 20) /* larger models are opened, but not computed */

/* One step over these tokens. */
static void
compute(const Model *model, const int32_t *tokens, uint32_t n)
{
	static Team *team;
	KvBudget *budget = kv_budget_create((uint64_t) 64 << 20);
	StepSequence sequence = {.tokens = tokens, .n_tokens = n, .n_logits = 1, .want_hidden = true};
	Forward *forward = NULL;
	KvPool *pool = NULL;
	uint32_t block, state;

	if (!team)
		team = team_create(1);
	PROMISE(team && budget);
	if (kv_pool_create(budget, &model->hyper, KV_F16, false, &pool).code == STATUS_OK &&
		forward_create(model, pool, team, n, 1, 1, &forward).code == STATUS_OK && kv_pool_take(pool, 1, &block))
	{
		sequence.kv_blocks = &block;
		/* a hybrid's */
		if (kv_pool_states(pool))
		{
			PROMISE(kv_pool_take(kv_pool_states(pool), 1, &state));
			sequence.state = kv_pool_state(kv_pool_states(pool), state);
		}
		forward_step(forward, &sequence, 1);
		(void) forward_logits(forward, 0, 0);
		(void) forward_hidden(forward, 0, n - 1);
		kv_pool_give(pool, 1, &block);
	}
	forward_destroy(forward);
	kv_pool_destroy(pool);
	kv_budget_destroy(budget);
}

static void
use(Model *model)
{
	static const char messages[] = "[{\"role\":\"user\",\"content\":\"Hi <|im_end|>\"}]";
	ChatInput input = {
		.messages = {messages, sizeof messages - 1}, .enable_thinking = -1, .bos_token = "", .eos_token = ""};
	uint64_t elements = (uint64_t) model->hyper.hidden *
						(model->hyper.ffn + model->hyper.vocab + model->hyper.n_experts * model->hyper.expert_ffn +
						 model->hyper.n_delta_values * model->hyper.delta_dim) *
						model->hyper.n_layers;
	TokenBuffer tokens = {0};
	ChatPrompt prompt = {0};

	if (tokenizer_encode(model->tokenizer, "Hi <|im_end|>", 13, true, &tokens).code == STATUS_OK)
		for (size_t i = 0; i < tokens.n; i++)
		{
			PROMISE(tokens.tokens[i] >= 0 && (uint32_t) tokens.tokens[i] < model->hyper.vocab);
			(void) tokenizer_token_bytes(model->tokenizer, tokens.tokens[i]);
		}
	if (model->chat_template)
		(void) chat_template_render(model->chat_template, &input, &prompt);
	if (tokens.n > 0 && elements <= MAX_STEP_ELEMENTS)
		compute(model, tokens.tokens, tokens.n < 4 ? (uint32_t) tokens.n : 4);
	chat_prompt_free(&prompt);
	token_buffer_free(&tokens);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *file = malloc(size + DATA_BYTES);
	Model *model;

	if (!file)
		abort();
	memcpy(file, data, size);
	memset(file + size, size ? data[size - 1] : 0, DATA_BYTES);
	if (fuzz_model_open(file, size + DATA_BYTES, &model).code == STATUS_OK)
	{
		use(model);
		model_close(model);
	}
	free(file);
	return 0;
}
