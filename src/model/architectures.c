/*
 * architectures.c - the table of architectures; see architectures.h.
 */
#include "architectures.h"

#include <stdio.h>
#include <string.h>

/* Layers that several architectures have. */
#define DENSE_QWEN2 {PART_ATTENTION, PART_DENSE}, TRAIT_ATTENTION | TRAIT_QKV_BIAS | TRAIT_DENSE, TRAIT_QK_NORM
#define DENSE_QWEN3 {PART_ATTENTION, PART_DENSE}, TRAIT_ATTENTION | TRAIT_QK_NORM | TRAIT_DENSE, TRAIT_QKV_BIAS
#define EXPERTS_QWEN3                                                                                                  \
	{PART_ATTENTION, PART_EXPERTS}, TRAIT_ATTENTION | TRAIT_QK_NORM | TRAIT_EXPERTS | TRAIT_SUM_TO_1, TRAIT_QKV_BIAS

/* Parts, and traits, of the two kinds of layers that a hybrid has. */
#define HYBRID_LAYERS(ffn_part, ffn_traits)                                                                            \
	{{PART_ATTENTION, ffn_part},                                                                                       \
	 TRAIT_ATTENTION | TRAIT_QK_NORM | TRAIT_GATED | TRAIT_POST_NORM | (ffn_traits),                                   \
	 TRAIT_QKV_BIAS},                                                                                                  \
	{                                                                                                                  \
		{PART_DELTA, ffn_part}, TRAIT_DELTA | TRAIT_POST_NORM | (ffn_traits), 0                                        \
	}
#define MIXTURE (TRAIT_EXPERTS | TRAIT_SHARED | TRAIT_SUM_TO_1)

/* by Architecture */
static const ArchitectureRow rows[] = {
	[ARCHITECTURE_QWEN2] = {"qwen2", TRAIT_ALWAYS | TRAIT_EARLY, TRAIT_OWN_OUTPUT, {DENSE_QWEN2}},
	[ARCHITECTURE_QWEN3] = {"qwen3", TRAIT_ALWAYS, TRAIT_OWN_OUTPUT, {DENSE_QWEN3}},
	[ARCHITECTURE_QWEN2MOE] = {"qwen2moe",
							   TRAIT_ALWAYS | TRAIT_OWN_OUTPUT | TRAIT_EARLY,
							   0,
							   {{PART_ATTENTION, PART_EXPERTS},
								TRAIT_ATTENTION | TRAIT_QKV_BIAS | TRAIT_EXPERTS | TRAIT_SHARED,
								TRAIT_QK_NORM}},
	[ARCHITECTURE_QWEN3MOE] = {"qwen3moe", TRAIT_ALWAYS, TRAIT_OWN_OUTPUT, {EXPERTS_QWEN3}},
	[ARCHITECTURE_QWEN] = {"qwen", TRAIT_ALWAYS | TRAIT_OWN_OUTPUT | TRAIT_DOUBLED_FFN | TRAIT_EARLY, 0, {DENSE_QWEN2}},
	[ARCHITECTURE_QWEN2VL] = {"qwen2vl", TRAIT_ALWAYS | TRAIT_AXES, TRAIT_OWN_OUTPUT, {DENSE_QWEN2}},
	[ARCHITECTURE_QWEN3VL] = {"qwen3vl", TRAIT_ALWAYS | TRAIT_AXES, TRAIT_OWN_OUTPUT, {DENSE_QWEN3}},
	[ARCHITECTURE_QWEN3VLMOE] = {"qwen3vlmoe", TRAIT_ALWAYS | TRAIT_AXES, TRAIT_OWN_OUTPUT, {EXPERTS_QWEN3}},
	[ARCHITECTURE_QWEN35] = {"qwen35", TRAIT_ALWAYS | TRAIT_HYBRID, TRAIT_OWN_OUTPUT,
							 HYBRID_LAYERS(PART_DENSE, TRAIT_DENSE)},
	[ARCHITECTURE_QWEN35MOE] = {"qwen35moe", TRAIT_ALWAYS | TRAIT_HYBRID, TRAIT_OWN_OUTPUT,
								HYBRID_LAYERS(PART_EXPERTS, MIXTURE)},
	[ARCHITECTURE_QWEN3NEXT] = {"qwen3next", TRAIT_ALWAYS | TRAIT_HYBRID | TRAIT_GROUPED, TRAIT_OWN_OUTPUT,
								HYBRID_LAYERS(PART_EXPERTS, MIXTURE)},
};

#define N_ROWS (sizeof rows / sizeof rows[0])

/* Files that come with Qwen models, or look like one, and are none for us. */
typedef struct OtherFile
{
	const char *type, *architecture; /* what it says of itself; NULL: whatever */
	const char *what;
} OtherFile;

static const OtherFile other_files[] = {
	{"mmproj", NULL, "an encoder of images or sounds (mmproj), which stands beside a model and is none itself"},
	{NULL, "clip", "an encoder of images or sounds (mmproj), which stands beside a model and is none itself"},
	{"adapter", NULL, "an adapter (LoRA), which changes a model and is none itself"},
	{"imatrix", NULL, "an importance matrix, by which models are quantized"},
	{NULL, "eagle3", "a drafter (EAGLE-3), which guesses for a model and is none itself"},
	{NULL, "dflash", "a drafter (DFlash), which guesses for a model and is none itself"},
	{NULL, "dspark", "a drafter (DSpark), which guesses for a model and is none itself"},
	{NULL, "qwen3tts", "a model that makes speech, not text"},
	{NULL, "qwen4exp", "an experimental model (residual streams and sparse attention) that is not supported"},
	{NULL, "rwkv6qwen2", "a recurrent model (RWKV) that was made of a Qwen"},
	{NULL, "qwen25vl", "a file of Ollama, which llama.cpp's programs do not read either; take the model's GGUF file"},
};

static bool
span_is(ByteSpan span, const char *text)
{
	return !text || (span.length == strlen(text) && memcmp(span.data, text, span.length) == 0);
}

const char *
architecture_other(ByteSpan type, ByteSpan architecture)
{
	for (size_t i = 0; i < sizeof other_files / sizeof other_files[0]; i++)
		if (span_is(type, other_files[i].type) && span_is(architecture, other_files[i].architecture))
			return other_files[i].what;
	return NULL;
}

const ArchitectureRow *
architecture_row(uint32_t architecture)
{
	return architecture < N_ROWS && rows[architecture].name ? &rows[architecture] : NULL;
}

const char *
architecture_name(uint32_t architecture)
{
	const ArchitectureRow *row = architecture_row(architecture);

	return row ? row->name : "unknown";
}

uint32_t
architecture_find(const char *name, size_t length)
{
	for (uint32_t i = 0; i < N_ROWS; i++)
		if (rows[i].name && length == strlen(rows[i].name) && memcmp(name, rows[i].name, length) == 0)
			return i;
	return 0;
}

void
architecture_list(char *text, size_t bytes)
{
	size_t length = 0;

	text[0] = '\0';
	for (uint32_t i = 0, n = 0; i < N_ROWS && length < bytes; i++)
		if (rows[i].name)
			length += (size_t) snprintf(text + length, bytes - length, "%s%s",
										n++ == 0          ? ""
										: i == N_ROWS - 1 ? " and "
														  : ", ",
										rows[i].name);
}

const LayerKind *
architecture_layer(const ModelHyper *hyper, uint32_t layer)
{
	const ArchitectureRow *row = &rows[hyper->architecture];

	return model_layer_is_delta(hyper, layer) ? &row->delta : &row->layer;
}

unsigned
architecture_traits(uint32_t architecture)
{
	return rows[architecture].required | rows[architecture].layer.required | rows[architecture].delta.required;
}
