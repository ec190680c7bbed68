/*
 * guess_logits.c - what llama.cpp's own layer that guesses (nextn, multi-token prediction) says about a text, for
 * make_guesses.py.
 *
 *   guess_logits MODEL TEXT OUT
 *
 * The model's first 256 tokens are the bytes. OUT has, as float32, the logits [n - 2][vocab] of the layer's rows of
 * positions 1 … n - 2 (each joins the token there with the hidden state before it), and behind them those of position n
 * - 1, which goes on from the layer's own hidden state: the second guess in a row. Compiled against libllama-dev's
 * header; the functions about hidden states for that layer are C++ without a header.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ggml-backend.h>
#include <llama.h>

extern void set_hidden_states(struct llama_context *, bool,
							  bool) __asm__("_Z26llama_set_embeddings_nextnP13llama_contextbb");
extern float *hidden_state(struct llama_context *,
						   int32_t) __asm__("_Z30llama_get_embeddings_nextn_ithP13llama_contexti");

static void
check(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "guess_logits: %s\n", what);
	exit(1);
}

static struct llama_context *
context(struct llama_model *model, uint32_t n, struct llama_context *beside)
{
	struct llama_context_params params = llama_context_default_params();
	struct llama_context *made;

	params.n_ctx = params.n_batch = params.n_ubatch = n < 256 ? 256 : n;
	params.n_threads = params.n_threads_batch = 2;
	params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
	params.type_k = params.type_v = GGML_TYPE_F32;
	if (beside)
	{
		params.ctx_type = LLAMA_CONTEXT_TYPE_MTP;
		params.ctx_other = beside;
	}
	made = llama_init_from_model(model, params);
	check(made != NULL, "no context");
	set_hidden_states(made, true, false);
	return made;
}

/* Add a row: a token, and the hidden state before it unless that is NULL. */
static void
add(struct llama_batch_ext *batch, char token, const float *state, size_t hidden, llama_pos position)
{
	int32_t row = llama_batch_ext_add_token(batch, 0, (unsigned char) token);
	struct llama_embd embedding = {state, 1, hidden};

	check(row >= 0 && llama_batch_ext_set_pos(batch, row, &position), "a row that is not taken");
	check(!state || llama_batch_ext_set_embd_state(batch, row, embedding), "a hidden state that is not taken");
	check(llama_batch_ext_set_output_logits(batch, row, true), "logits that are not given");
}

static void
process(struct llama_context *on, struct llama_batch_ext *batch)
{
	check(llama_process(on, LLAMA_PROCESS_TYPE_DECODE, batch) == 0, "a step failed");
	llama_batch_ext_clear(batch);
}

int
main(int argc, char **argv)
{
	struct llama_model_params params = llama_model_default_params();
	uint32_t n = argc == 4 ? (uint32_t) strlen(argv[2]) : 0;
	struct llama_context *base, *guessing;
	struct llama_batch_ext *batch, *rows;
	struct llama_model *model;
	size_t hidden, vocab;
	float *last;
	FILE *out;

	check(n > 3, "usage: guess_logits MODEL TEXT OUT");
	ggml_backend_load_all();
	params.load_mtp = true;
	model = llama_model_load_from_file(argv[1], params);
	check(model != NULL, "no model");
	hidden = (size_t) llama_model_n_embd(model);
	vocab = (size_t) llama_vocab_n_tokens(llama_model_get_vocab(model));
	base = context(model, n, NULL);
	guessing = context(model, n, base);
	batch = llama_batch_ext_init(base);
	rows = llama_batch_ext_init(guessing);
	out = fopen(argv[3], "wb");
	check(out != NULL, "OUT cannot be written");
	for (uint32_t i = 0; i < n; i++)
		add(batch, argv[2][i], NULL, 0, (llama_pos) i);
	process(base, batch);
	for (uint32_t i = 1; i < n - 1; i++)
		add(rows, argv[2][i], hidden_state(base, (int32_t) i - 1), hidden, (llama_pos) i);
	process(guessing, rows);
	for (uint32_t i = 0; i < n - 2; i++)
		fwrite(llama_get_logits_ith(guessing, (int32_t) i), sizeof(float), vocab, out);
	last = malloc(hidden * sizeof *last);
	memcpy(last, hidden_state(guessing, (int32_t) n - 3), hidden * sizeof *last);
	add(rows, argv[2][n - 1], last, hidden, (llama_pos) n - 1);
	process(guessing, rows);
	fwrite(llama_get_logits_ith(guessing, 0), sizeof(float), vocab, out);
	free(last);
	return fclose(out) == 0 ? 0 : 1;
}
