/*
 * gguf_writer.h - small GGUF files for the unit tests, made in memory: random weights, a byte vocabulary.
 *
 * Header only, since every test is a program of its own. writer_model() writes a whole qwen2 or qwen3 model whose
 * random values depend on its seed alone.
 */
#ifndef GGUF_WRITER_H
#define GGUF_WRITER_H

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../kernels/kernels.h"
#include "../../src/base/bytes.h"
#include "../../src/base/utf8.h"

/* What a TinyModel is, beside a qwen2: bits. */
#define TINY_QWEN3 1u     /* norms on queries and keys instead of biases */
#define TINY_FUSED_QKV 2u /* queries, keys and values in one tensor, biases too */
#define TINY_EXPERTS 4u   /* TINY_N_EXPERTS of ffn elements, TINY_N_USED for a row; a qwen2moe has a shared one too */
#define TINY_ALL_USED 8u  /* all experts for every row */
#define TINY_QWEN1 16u    /* a Qwen 1.0, whose queries, keys and values are fused */
#define TINY_AXES 32u     /* rotary axes: a qwen2vl, a qwen3vl, a qwen3vlmoe */
#define TINY_MERGED 64u   /* gate and up of each expert in one tensor */
#define TINY_HYBRID                                                                                                    \
	4096u /* a qwen35 (with experts a qwen35moe): every second layer has attention, the others delta nets */
#define TINY_NEXT 512u    /* … a qwen3next */
#define TINY_IN_ONE 1024u /* … with tensors that stand in one, as early files have them */
#define TINY_BESIDE 2048u /* … with a layer that guesses tokens ahead, and a tensor of an encoder of images */

#define TINY_COPIES                                                                                                    \
	8192u /* … whose layers say little, and that layer joins nothing, so that its guesses are often right */

#define TINY_ONE_HEAD 16384u /* … whose delta nets have one head of keys and one of values */
#define TINY_NO_DELTA 32768u /* … that has none, but attention in all layers */

#define TINY_DELTA_DIM 32
#define TINY_DELTA_KEYS(kind) ((kind) &TINY_ONE_HEAD ? 1u : 2u)
#define TINY_DELTA_VALUES(kind) ((kind) &TINY_ONE_HEAD ? 1u : 8u)
#define TINY_CLASSES 256u /* a reranker's classifier, and TINY_RERANK_TEMPLATE */

#define TINY_RERANK_TEMPLATE "Is it about {query}? {document} <|im_end|>"

#define TINY_N_EXPERTS 7
#define TINY_N_USED 3

typedef struct TinyModel
{
	unsigned kind;
	uint32_t n_layers, hidden, ffn, n_heads, n_kv_heads, head_dim, context;
	bool own_output;
	TensorType type; /* of the matrices */
	uint64_t seed;
	int pooling; /* -1: not given */
} TinyModel;

#define TINY_VOCAB 300 /* 256 bytes, three added tokens, padding */

static inline void
writer_string(ByteWriter *out, const char *text)
{
	write_u64(out, strlen(text));
	write_raw(out, text, strlen(text));
}

static inline void
writer_key(ByteWriter *out, const char *key, uint32_t type, uint64_t *n_values)
{
	writer_string(out, key);
	write_u32(out, type);
	(*n_values)++;
}

static inline void
writer_u32(ByteWriter *out, const char *key, uint32_t value, uint64_t *n_values)
{
	writer_key(out, key, 4, n_values);
	write_u32(out, value);
}

static inline void
writer_f32(ByteWriter *out, const char *key, float value, uint64_t *n_values)
{
	writer_key(out, key, 6, n_values);
	write_f32(out, value);
}

static inline void
writer_text(ByteWriter *out, const char *key, const char *value, uint64_t *n_values)
{
	writer_key(out, key, 8, n_values);
	writer_string(out, value);
}

static inline uint32_t
writer_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return (uint32_t) (*state >> 32);
}

/* About normal with deviation 1. */
static inline float
writer_gauss(uint64_t *state)
{
	float sum = 0;

	for (int i = 0; i < 12; i++)
		sum += (float) (writer_random(state) >> 8) / 16777216.0f;
	return sum - 6;
}

/* The byte vocabulary of byte-level BPE, then added tokens, then padding. */
static inline void
writer_vocabulary(ByteWriter *out, uint64_t *n_values)
{
	uint32_t extra = 256;

	writer_text(out, "tokenizer.ggml.model", "gpt2", n_values);
	writer_text(out, "tokenizer.ggml.pre", "qwen2", n_values);
	writer_key(out, "tokenizer.ggml.tokens", 9, n_values);
	write_u32(out, 8);
	write_u64(out, TINY_VOCAB);
	for (uint32_t i = 0; i < TINY_VOCAB; i++)
	{
		char text[32];

		if (i < 256)
		{
			bool printable = (i >= 0x21 && i <= 0x7E) || (i >= 0xA1 && i <= 0xAC) || i >= 0xAE;

			text[utf8_write(printable ? i : extra++, text)] = '\0';
		}
		else
			snprintf(text, sizeof text,
					 i == 256   ? "<|endoftext|>"
					 : i == 257 ? "<|im_start|>"
					 : i == 258 ? "<|im_end|>"
								: "[PAD%u]",
					 i);
		writer_string(out, text);
	}
	writer_key(out, "tokenizer.ggml.token_type", 9, n_values);
	write_u32(out, 5);
	write_u64(out, TINY_VOCAB);
	for (uint32_t i = 0; i < TINY_VOCAB; i++)
		write_u32(out, i < 256 ? 1 : i < 259 ? 3 : 5);
	writer_key(out, "tokenizer.ggml.merges", 9, n_values);
	write_u32(out, 8);
	write_u64(out, 0); /* every byte is a token of its own */
	writer_u32(out, "tokenizer.ggml.eos_token_id", 258, n_values);
}

/* One tensor to write. */
typedef struct WriterTensor
{
	char name[64];
	uint32_t n_dims;
	uint64_t dims[3];
	TensorType type;
	float scale, offset; /* of its random values */
	bool is_diagonal;    /* 1 there, 0 elsewhere; of floats */
} WriterTensor;

static inline void
writer_add(WriterTensor *tensors, uint32_t *n, const char *name, int layer, uint32_t cols, uint32_t rows,
		   TensorType type, float scale, float offset)
{
	WriterTensor *tensor = &tensors[(*n)++];

	if (layer >= 0)
		snprintf(tensor->name, sizeof tensor->name, "blk.%d.%s", layer, name);
	else
		snprintf(tensor->name, sizeof tensor->name, "%s", name);
	tensor->n_dims = rows ? 2 : 1;
	tensor->dims[0] = cols;
	tensor->dims[1] = rows;
	tensor->dims[2] = 1;
	tensor->type = type;
	tensor->scale = scale;
	tensor->offset = offset;
	tensor->is_diagonal = false;
}

/* What layers say becomes little, and what the layer that guesses begins with the token alone. */
static inline void
writer_make_copies(WriterTensor *tensors, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
	{
		if (strstr(tensors[i].name, "attn_output") || strstr(tensors[i].name, "ssm_out") ||
			strstr(tensors[i].name, "_down"))
			tensors[i].scale *= 0.1f;
		tensors[i].is_diagonal = strstr(tensors[i].name, "nextn.eh_proj") != NULL;
	}
}

/* The type that a matrix of so many columns can have. */
static inline TensorType
writer_type_for(TensorType type, uint32_t cols)
{
	return cols % tensor_type_info(type)->block_elements == 0 ? type : TENSOR_F32;
}

/* The tensors of a delta net. */
static inline void
writer_add_delta(WriterTensor *tensors, uint32_t *n, const TinyModel *model, int layer)
{
	uint32_t keys = TINY_DELTA_KEYS(model->kind) * TINY_DELTA_DIM,
			 values = TINY_DELTA_VALUES(model->kind) * TINY_DELTA_DIM;
	float small = 1.0f / 8;

	if (model->kind & TINY_IN_ONE)
		writer_add(tensors, n, "ssm_in.weight", layer, model->hidden, 2 * keys + 2 * values, model->type, small, 0);
	else
	{
		writer_add(tensors, n, "attn_qkv.weight", layer, model->hidden, 2 * keys + values, model->type, small, 0);
		writer_add(tensors, n, "attn_gate.weight", layer, model->hidden, values, model->type, small, 0);
	}
	if (model->kind & TINY_NEXT)
		writer_add(tensors, n, "ssm_ba.weight", layer, model->hidden, 2 * TINY_DELTA_VALUES(model->kind), model->type,
				   small, 0);
	else
	{
		writer_add(tensors, n, "ssm_beta.weight", layer, model->hidden, TINY_DELTA_VALUES(model->kind), model->type,
				   small, 0);
		writer_add(tensors, n, "ssm_alpha.weight", layer, model->hidden, TINY_DELTA_VALUES(model->kind), model->type,
				   small, 0);
	}
	writer_add(tensors, n, "ssm_conv1d.weight", layer, 4, 2 * keys + values, TENSOR_F32, 0.5f, 0);
	writer_add(tensors, n, "ssm_dt.bias", layer, TINY_DELTA_VALUES(model->kind), 0, TENSOR_F32, 0.5f, 0);
	writer_add(tensors, n, "ssm_a", layer, TINY_DELTA_VALUES(model->kind), 0, TENSOR_F32, 0.1f, -0.4f);
	writer_add(tensors, n, "ssm_norm.weight", layer, TINY_DELTA_DIM, 0, TENSOR_F32, 0.1f, 1);
	writer_add(tensors, n, "ssm_out.weight", layer, values, model->hidden, writer_type_for(model->type, values), small,
			   0);
}

/* Matrices of all experts in one tensor. */
static inline void
writer_add_experts(WriterTensor *tensors, uint32_t *n, const char *name, int layer, uint32_t cols, uint32_t rows,
				   TensorType type, float scale)
{
	writer_add(tensors, n, name, layer, cols, rows, type, scale, 0);
	tensors[*n - 1].n_dims = 3;
	tensors[*n - 1].dims[2] = TINY_N_EXPERTS;
}

/* Random data of a tensor in its type: any bits for quants, sane scales. */
static inline void
writer_data(ByteWriter *out, const WriterTensor *tensor, uint64_t *state)
{
	const TensorTypeInfo *info = tensor_type_info(tensor->type);
	uint64_t n = tensor->dims[0] * (tensor->n_dims > 1 ? tensor->dims[1] * tensor->dims[2] : 1);

	if (tensor->type == TENSOR_F32 || tensor->type == TENSOR_F16 || tensor->type == TENSOR_BF16)
	{
		for (uint64_t i = 0; i < n; i++)
		{
			float value = tensor->offset + tensor->scale * writer_gauss(state);
			uint32_t bits;

			if (tensor->is_diagonal)
				value = i % tensor->dims[0] == i / tensor->dims[0];
			memcpy(&bits, &value, 4);
			if (tensor->type == TENSOR_F32)
				write_f32(out, value);
			else
				write_u16(out, tensor->type == TENSOR_F16 ? f32_to_f16(value) : (uint16_t) (bits >> 16));
		}
	}
	else
		for (uint64_t b = 0; b < n / info->block_elements; b++)
		{
			uint8_t block[256];
			const size_t scale_at = tensor->type == TENSOR_Q6_K   ? 208
									: tensor->type == TENSOR_Q3_K ? 108
									: tensor->type == TENSOR_Q2_K ? 80
																  : 0;
			float range =
				tensor->type == TENSOR_Q8_0     ? 127
				: tensor->type == TENSOR_IQ4_NL ? 127
				: tensor->type == TENSOR_IQ4_XS ? 127 * 32
				: tensor->type == TENSOR_Q2_K   ? 3 * 15
				: tensor->type == TENSOR_Q3_K   ? 4 * 32
				: tensor->type == TENSOR_Q4_K   ? 15 * 63
				: tensor->type == TENSOR_Q5_K   ? 31 * 63
				: tensor->type == TENSOR_Q6_K   ? 32 * 128
				: tensor->type == TENSOR_IQ2_XXS || tensor->type == TENSOR_IQ2_XS || tensor->type == TENSOR_IQ2_S
					? 43 * 4
				: tensor->type == TENSOR_IQ3_XXS ? 62 * 8
				: tensor->type == TENSOR_IQ3_S   ? 15 * 31
												 : 8;
			uint16_t d = f32_to_f16(tensor->scale * 2 / range), m = f32_to_f16(-tensor->scale),
					 dmin = f32_to_f16(tensor->scale / 63);

			for (uint32_t i = 0; i < info->block_bytes; i++)
				block[i] = (uint8_t) writer_random(state);
			if (tensor->type == TENSOR_MXFP4)
				block[0] = (uint8_t) (127 + ilogbf(tensor->scale / 4));
			else
				memcpy(block + scale_at, &d, 2);
			if (tensor->type == TENSOR_Q4_1 || tensor->type == TENSOR_Q5_1)
				memcpy(block + 2, &m, 2);
			if (tensor->type == TENSOR_Q2_K || tensor->type == TENSOR_Q4_K || tensor->type == TENSOR_Q5_K)
				memcpy(block + scale_at + 2, &dmin, 2);
			write_raw(out, block, info->block_bytes);
		}
}

/* A key of a split file; signed and of 16 or 32 bits, as llama-gguf-split writes them. */
static inline void
writer_split_keys(ByteWriter *values, uint32_t part, uint32_t n_parts, uint32_t n_tensors, uint64_t *n_values)
{
	writer_key(values, "split.no", 2, n_values);
	write_u16(values, (uint16_t) part);
	writer_key(values, "split.count", 2, n_values);
	write_u16(values, (uint16_t) n_parts);
	writer_key(values, "split.tensors.count", 5, n_values);
	write_u32(values, n_tensors);
}

/* general.architecture of a kind. */
static inline const char *
writer_architecture(unsigned kind)
{
	if (kind & TINY_HYBRID)
		return kind & TINY_NEXT ? "qwen3next" : kind & TINY_EXPERTS ? "qwen35moe" : "qwen35";
	if (kind & TINY_QWEN1)
		return "qwen";
	if (kind & TINY_AXES)
		return !(kind & TINY_QWEN3) ? "qwen2vl" : kind & TINY_EXPERTS ? "qwen3vlmoe" : "qwen3vl";
	if (kind & TINY_EXPERTS)
		return kind & TINY_QWEN3 ? "qwen3moe" : "qwen2moe";
	return kind & TINY_QWEN3 ? "qwen3" : "qwen2";
}

/*
 * Part number part (0 …) of n_parts, of which the first has all metadata and no tensors (n_parts 1: the whole file).
 * data_start: where tensor data begins (may be NULL).
 */
static inline ByteWriter
writer_part(const TinyModel *model, uint32_t part, uint32_t n_parts, size_t *data_start)
{
	static WriterTensor tensors[512];
	bool experts = (model->kind & TINY_EXPERTS) != 0, fused = (model->kind & (TINY_FUSED_QKV | TINY_QWEN1)) != 0;
	const char *arch = writer_architecture(model->kind);
	bool hybrid = (model->kind & TINY_HYBRID) != 0;
	uint32_t q = model->n_heads * model->head_dim, kv = model->n_kv_heads * model->head_dim, n = 0;
	uint64_t n_values = 0, offset = 0, state = model->seed * 0x9E3779B97F4A7C15ull + 88172645463325252ull;
	TensorType type = model->type;
	ByteWriter values, out, others;
	uint32_t first, end;
	char key[96];

	byte_writer_init(&values);
	byte_writer_init(&out);
	writer_text(&values, "general.architecture", arch, &n_values);
#define WRITER_NUMBER(suffix, value)                                                                                   \
	snprintf(key, sizeof key, "%s.%s", arch, suffix);                                                                  \
	writer_u32(&values, key, (uint32_t) (value), &n_values);
	WRITER_NUMBER("block_count", model->n_layers + (model->kind & TINY_BESIDE ? 1 : 0))
	WRITER_NUMBER("context_length", model->context)
	WRITER_NUMBER("embedding_length", model->hidden)
	WRITER_NUMBER("feed_forward_length", model->kind & TINY_QWEN1 ? 2 * model->ffn : model->ffn)
	WRITER_NUMBER("attention.head_count", model->n_heads)
	WRITER_NUMBER("attention.head_count_kv", model->n_kv_heads)
	WRITER_NUMBER("attention.key_length", model->head_dim)
	WRITER_NUMBER("attention.value_length", model->head_dim)
	WRITER_NUMBER("rope.dimension_count", hybrid ? model->head_dim / 2 : model->head_dim)
	if (hybrid)
	{
		WRITER_NUMBER("ssm.conv_kernel", 4)
		WRITER_NUMBER("ssm.state_size", TINY_DELTA_DIM)
		WRITER_NUMBER("ssm.group_count", TINY_DELTA_KEYS(model->kind))
		WRITER_NUMBER("ssm.time_step_rank", TINY_DELTA_VALUES(model->kind))
		WRITER_NUMBER("ssm.inner_size", TINY_DELTA_VALUES(model->kind) * TINY_DELTA_DIM)
		WRITER_NUMBER("full_attention_interval", model->kind & TINY_NO_DELTA ? 1 : 2)
	}
	if (model->kind & TINY_BESIDE)
	{
		WRITER_NUMBER("nextn_predict_layers", 1)
	}
	if (experts)
	{
		WRITER_NUMBER("expert_count", TINY_N_EXPERTS)
		WRITER_NUMBER("expert_used_count", model->kind & TINY_ALL_USED ? TINY_N_EXPERTS : TINY_N_USED)
		WRITER_NUMBER("expert_feed_forward_length", model->ffn)
	}
	if (model->pooling >= 0)
	{
		WRITER_NUMBER("pooling_type", model->pooling)
	}
#undef WRITER_NUMBER
	if (model->kind & TINY_AXES)
	{
		const uint32_t time = model->head_dim / 4, space = model->head_dim / 2 - time;

		snprintf(key, sizeof key, "%s.rope.dimension_sections", arch);
		writer_key(&values, key, 9, &n_values);
		write_u32(&values, 5);
		write_u64(&values, 4);
		write_u32(&values, time);
		write_u32(&values, space / 2);
		write_u32(&values, space - space / 2);
		write_u32(&values, 0);
	}
	snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", arch);
	writer_f32(&values, key, 1e-6f, &n_values);
	snprintf(key, sizeof key, "%s.rope.freq_base", arch);
	writer_f32(&values, key, 10000, &n_values);
	writer_vocabulary(&values, &n_values);
	if (model->kind & TINY_CLASSES)
		writer_text(&values, "tokenizer.chat_template.rerank", TINY_RERANK_TEMPLATE, &n_values);

	writer_add(tensors, &n, "token_embd.weight", -1, model->hidden, TINY_VOCAB, type, 1, 0);
	writer_add(tensors, &n, "output_norm.weight", -1, model->hidden, 0, TENSOR_F32, 0.1f, 1);
	if (model->own_output)
		writer_add(tensors, &n, "output.weight", -1, model->hidden, TINY_VOCAB, type, 0.1f, 0);
	if (model->kind & TINY_CLASSES)
		writer_add(tensors, &n, "cls.output.weight", -1, model->hidden, 2, TENSOR_F32, 1, 0);
	for (int i = 0; i < (int) model->n_layers + (model->kind & TINY_BESIDE ? 1 : 0); i++)
	{
		float small = 1.0f / 8;
		bool delta = hybrid && !(model->kind & TINY_NO_DELTA) && i % 2 == 0 && i < (int) model->n_layers;

		writer_add(tensors, &n, "attn_norm.weight", i, model->hidden, 0, TENSOR_F32, 0.1f, 1);
		writer_add(tensors, &n, hybrid ? "post_attention_norm.weight" : "ffn_norm.weight", i, model->hidden, 0,
				   TENSOR_F32, 0.1f, 1);
		if (delta)
			writer_add_delta(tensors, &n, model, i);
		else if (fused)
			writer_add(tensors, &n, "attn_qkv.weight", i, model->hidden, q + 2 * kv, type, small, 0);
		else
		{
			writer_add(tensors, &n, "attn_q.weight", i, model->hidden, hybrid ? 2 * q : q, type, small, 0);
			writer_add(tensors, &n, "attn_k.weight", i, model->hidden, kv, type, small, 0);
			writer_add(tensors, &n, "attn_v.weight", i, model->hidden, kv, type, small, 0);
		}
		if (!delta)
			writer_add(tensors, &n, "attn_output.weight", i, q, model->hidden, type, small, 0);
		if (experts)
		{
			writer_add(tensors, &n, "ffn_gate_inp.weight", i, model->hidden, TINY_N_EXPERTS, TENSOR_F32, small, 0);
			if (model->kind & TINY_MERGED)
				writer_add_experts(tensors, &n, "ffn_gate_up_exps.weight", i, model->hidden, 2 * model->ffn, type,
								   small);
			else
			{
				writer_add_experts(tensors, &n, "ffn_gate_exps.weight", i, model->hidden, model->ffn, type, small);
				writer_add_experts(tensors, &n, "ffn_up_exps.weight", i, model->hidden, model->ffn, type, small);
			}
			writer_add_experts(tensors, &n, "ffn_down_exps.weight", i, model->ffn, model->hidden, type, small);
		}
		if (experts && (hybrid || !(model->kind & TINY_QWEN3)))
		{
			/* its size is that of the key feed_forward_length */
			writer_add(tensors, &n, "ffn_gate_inp_shexp.weight", i, model->hidden, 0, TENSOR_F32, small, 0);
			writer_add(tensors, &n, "ffn_gate_shexp.weight", i, model->hidden, model->ffn, type, small, 0);
			writer_add(tensors, &n, "ffn_up_shexp.weight", i, model->hidden, model->ffn, type, small, 0);
			writer_add(tensors, &n, "ffn_down_shexp.weight", i, model->ffn, model->hidden, type, small, 0);
		}
		if (!experts)
		{
			writer_add(tensors, &n, "ffn_gate.weight", i, model->hidden, model->ffn, type, small, 0);
			writer_add(tensors, &n, "ffn_up.weight", i, model->hidden, model->ffn, type, small, 0);
			writer_add(tensors, &n, "ffn_down.weight", i, model->ffn, model->hidden, type, small, 0);
		}
		if (delta)
			continue;
		if (hybrid || (model->kind & TINY_QWEN3))
		{
			writer_add(tensors, &n, "attn_q_norm.weight", i, model->head_dim, 0, TENSOR_F32, 0.1f, 1);
			writer_add(tensors, &n, "attn_k_norm.weight", i, model->head_dim, 0, TENSOR_F32, 0.1f, 1);
			continue;
		}
		if (fused)
		{
			writer_add(tensors, &n, "attn_qkv.bias", i, q + 2 * kv, 0, TENSOR_F32, 0.1f, 0);
			continue;
		}
		writer_add(tensors, &n, "attn_q.bias", i, q, 0, TENSOR_F32, 0.1f, 0);
		writer_add(tensors, &n, "attn_k.bias", i, kv, 0, TENSOR_F32, 0.1f, 0);
		writer_add(tensors, &n, "attn_v.bias", i, kv, 0, TENSOR_F32, 0.1f, 0);
	}

	if (model->kind & TINY_BESIDE)
	{
		writer_add(tensors, &n, "nextn.eh_proj.weight", (int) model->n_layers, 2 * model->hidden, model->hidden,
				   model->kind & TINY_COPIES ? TENSOR_F32 : type, 1.0f / 8, 0);
		writer_add(tensors, &n, "nextn.enorm.weight", (int) model->n_layers, model->hidden, 0, TENSOR_F32, 0.1f, 1);
		writer_add(tensors, &n, "nextn.hnorm.weight", (int) model->n_layers, model->hidden, 0, TENSOR_F32, 0.1f, 1);
		writer_add(tensors, &n, "v.patch_embd.weight", -1, 16, 16, TENSOR_F32, 1, 0);
	}

	if (model->kind & TINY_COPIES)
		writer_make_copies(tensors, n);
	first = n_parts == 1 || part == 0 ? 0 : n * (part - 1) / (n_parts - 1);
	end = n_parts == 1 ? n : n * part / (n_parts - 1);
	if (part > 0)
	{
		byte_writer_free(&values);
		byte_writer_init(&values);
		n_values = 0;
	}
	if (n_parts > 1)
		writer_split_keys(&values, part, n_parts, n, &n_values);
	write_raw(&out, "GGUF", 4);
	write_u32(&out, 3);
	write_u64(&out, end - first);
	write_u64(&out, n_values);
	write_raw(&out, values.data, values.length);
	for (uint32_t i = first; i < end; i++)
	{
		uint64_t rows = tensors[i].n_dims > 1 ? tensors[i].dims[1] * tensors[i].dims[2] : 1;

		writer_string(&out, tensors[i].name);
		write_u32(&out, tensors[i].n_dims);
		for (uint32_t d = 0; d < tensors[i].n_dims; d++)
			write_u64(&out, tensors[i].dims[d]);
		write_u32(&out, tensors[i].type);
		write_u64(&out, offset);
		offset +=
			(tensor_row_bytes(tensor_type_info(tensors[i].type), (uint32_t) tensors[i].dims[0]) * rows + 31) / 32 * 32;
	}
	while (out.length % 32)
		write_u8(&out, 0);
	if (data_start)
		*data_start = out.length;
	/* the data of other parts are made too, so that a tensor is the same in whatever part it stands */
	byte_writer_init(&others);
	for (uint32_t i = 0; i < end; i++)
	{
		writer_data(i < first ? &others : &out, &tensors[i], &state);
		while (i >= first && out.length % 32)
			write_u8(&out, 0);
	}
	byte_writer_free(&others);
	byte_writer_free(&values);
	return out;
}

/* The whole file. */
static inline ByteWriter
writer_model(const TinyModel *model, size_t *data_start)
{
	return writer_part(model, 0, 1, data_start);
}

/* Put bytes into a file of a folder. */
static inline void
writer_save(const char *folder, const char *file, const void *data, size_t bytes)
{
	char path[512];
	int fd;

	snprintf(path, sizeof path, "%s/%s", folder, file);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, data, bytes) != (ssize_t) bytes)
		abort();
	close(fd);
}

#endif
