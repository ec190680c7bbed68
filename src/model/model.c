/*
 * model.c - opening a complete image: map it read-only, check it, point at its parts.
 *
 * The image comes from our own loader, but all of its offsets are checked again: a Model never points outside of its
 * mapping.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../base/pages.h"
#include "architectures.h"
#include "hyperparameters.h"
#include "image.h"
#include "key_outliers.h"
#include "ranking.h"
#include "tensor_roles.h"

static Status
damaged(const char *what)
{
	return status_error(STATUS_INTERNAL, "the model's image in memory is damaged: %s", what);
}

bool
model_image_is_complete(int image_fd, uint64_t *generation)
{
	struct stat info;
	ImageHeader *header;
	bool complete;

	if (fstat(image_fd, &info) != 0 || info.st_size < (off_t) sizeof *header)
		return false;
	header = mmap(NULL, sizeof *header, PROT_READ, MAP_SHARED, image_fd, 0);
	if (header == MAP_FAILED)
		return false;
	complete = header->magic == IMAGE_MAGIC && header->version == IMAGE_VERSION &&
			   header->image_bytes == (uint64_t) info.st_size &&
			   atomic_load_explicit(&header->state, memory_order_acquire) == IMAGE_COMPLETE;
	*generation = header->generation;
	munmap(header, sizeof *header);
	return complete;
}

static bool
part_is_inside(ImagePart part, uint64_t start, uint64_t end)
{
	return part.bytes == 0 || (part.offset >= start && part.offset <= end && part.bytes <= end - part.offset);
}

/* The offsets of n strings rise and stay inside their bytes. */
static bool
strings_are_sound(const uint8_t *image, uint32_t n, ImagePart offsets, ImagePart bytes)
{
	const uint64_t *offset = (const uint64_t *) (const void *) (image + offsets.offset);

	if (offsets.bytes != ((uint64_t) n + 1) * 8 || offset[0] != 0)
		return false;
	for (uint32_t i = 0; i < n; i++)
		if (offset[i + 1] < offset[i])
			return false;
	return offset[n] <= bytes.bytes;
}

/* Header, checksum and everything before the tensors. */
static Status
check_meta(const ImageHeader *header, uint64_t bytes)
{
	const uint8_t *image = (const uint8_t *) header;
	const ImageTokenizer *tokenizer = &header->tokenizer;
	const ImagePart parts[] = {header->tensors,          header->chat_template,  header->rerank_template,
							   tokenizer->token_offsets, tokenizer->token_bytes, tokenizer->token_types,
							   tokenizer->merge_offsets, tokenizer->merge_bytes};

	/* a loader that was installed beside a server that runs */
	if (header->magic == IMAGE_MAGIC && header->version != IMAGE_VERSION)
		return status_error(STATUS_UNAVAILABLE,
							"the model's image in memory is of another version of qwen_pg: restart the server");
	if (header->magic != IMAGE_MAGIC || header->version != IMAGE_VERSION ||
		atomic_load_explicit(&header->state, memory_order_acquire) != IMAGE_COMPLETE)
		return damaged("it is not complete");
	if (header->image_bytes != bytes || header->data_start > bytes || header->data_start < sizeof *header ||
		header->data_start % 8 != 0)
		return damaged("its sizes do not fit");
	if (image_checksum(image + IMAGE_UNCHECKED_BYTES, header->data_start - IMAGE_UNCHECKED_BYTES) != header->checksum)
		return damaged("its checksum is wrong");
	for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
		if (!part_is_inside(parts[i], sizeof *header, header->data_start))
			return damaged("a part lies outside of it");
	if (!architecture_row(header->hyper.architecture))
		return damaged("its architecture is unknown");
	if (header->n_tensors != roles_count(&header->hyper) ||
		header->tensors.bytes != (uint64_t) header->n_tensors * sizeof(ImageTensor) ||
		tokenizer->token_types.bytes != (uint64_t) tokenizer->n_tokens * 4 ||
		!strings_are_sound(image, tokenizer->n_tokens, tokenizer->token_offsets, tokenizer->token_bytes) ||
		!strings_are_sound(image, tokenizer->n_merges, tokenizer->merge_offsets, tokenizer->merge_bytes))
		return damaged("its tables do not fit");
	return status_ok();
}

/* Each tensor is what its role says and lies in the data part. */
static Status
check_tensors(const ImageHeader *header, const ImageTensor *tensors)
{
	for (uint32_t i = 0; i < header->n_tensors; i++)
	{
		TensorRole role = role_at(&header->hyper, i);
		const TensorTypeInfo *info = tensor_type_info(tensors[i].type);
		uint64_t expected;

		if (tensors[i].data.bytes == 0 && !role.is_required)
			continue;
		if (!role.is_known)
			return damaged(role.name);
		if (!info || !info->can_pack || tensors[i].n_rows != role.n_rows || tensors[i].n_cols != role.n_cols)
			return damaged(role.name);
		expected = role.is_matrix ? (uint64_t) packed_tile_bytes(info->type, role.n_cols) * packed_n_tiles(role.n_rows)
								  : (uint64_t) role.n_rows * role.n_cols * 4;
		if (tensors[i].data.bytes != expected || tensors[i].data.offset % 64 != 0 ||
			!part_is_inside(tensors[i].data, header->data_start, header->image_bytes))
			return damaged(role.name);
	}
	return status_ok();
}

static PackedMatrix
matrix_at(const uint8_t *image, const ImageTensor *tensor)
{
	return (PackedMatrix){(TensorType) tensor->type, tensor->n_rows, tensor->n_cols, image + tensor->data.offset,
						  packed_tile_bytes((TensorType) tensor->type, tensor->n_cols)};
}

static const float *
vector_at(const uint8_t *image, const ImageTensor *tensor)
{
	return tensor->data.bytes ? (const float *) (const void *) (image + tensor->data.offset) : NULL;
}

/* Point a layer of a kind at its tensors: [N_LAYER_ROLES] */
static void
point_layer(ModelLayer *layer, const LayerKind *kind, const uint8_t *image, const ImageTensor *tensors)
{
	memcpy(layer->parts, kind->parts, sizeof layer->parts);
	layer->attn_q = matrix_at(image, &tensors[ROLE_ATTN_Q]);
	layer->attn_k = matrix_at(image, &tensors[ROLE_ATTN_K]);
	layer->attn_v = matrix_at(image, &tensors[ROLE_ATTN_V]);
	layer->attn_output = matrix_at(image, &tensors[ROLE_ATTN_OUTPUT]);
	layer->ffn_gate = matrix_at(image, &tensors[ROLE_FFN_GATE]);
	layer->ffn_up = matrix_at(image, &tensors[ROLE_FFN_UP]);
	layer->ffn_down = matrix_at(image, &tensors[ROLE_FFN_DOWN]);
	layer->router = matrix_at(image, &tensors[ROLE_ROUTER]);
	layer->expert_gate = matrix_at(image, &tensors[ROLE_EXPERT_GATE]);
	layer->expert_up = matrix_at(image, &tensors[ROLE_EXPERT_UP]);
	layer->expert_down = matrix_at(image, &tensors[ROLE_EXPERT_DOWN]);
	layer->shared_router = matrix_at(image, &tensors[ROLE_SHARED_ROUTER]);
	layer->shared_gate = matrix_at(image, &tensors[ROLE_SHARED_GATE]);
	layer->shared_up = matrix_at(image, &tensors[ROLE_SHARED_UP]);
	layer->shared_down = matrix_at(image, &tensors[ROLE_SHARED_DOWN]);
	layer->delta_q = matrix_at(image, &tensors[ROLE_DELTA_Q]);
	layer->delta_k = matrix_at(image, &tensors[ROLE_DELTA_K]);
	layer->delta_v = matrix_at(image, &tensors[ROLE_DELTA_V]);
	layer->delta_gate = matrix_at(image, &tensors[ROLE_DELTA_GATE]);
	layer->delta_beta = matrix_at(image, &tensors[ROLE_DELTA_BETA]);
	layer->delta_alpha = matrix_at(image, &tensors[ROLE_DELTA_ALPHA]);
	layer->delta_output = matrix_at(image, &tensors[ROLE_DELTA_OUTPUT]);
	layer->guess_input = matrix_at(image, &tensors[ROLE_GUESS_INPUT]);
	layer->guess_token_norm = vector_at(image, &tensors[ROLE_GUESS_TOKEN_NORM]);
	layer->guess_hidden_norm = vector_at(image, &tensors[ROLE_GUESS_HIDDEN_NORM]);
	layer->delta_conv = vector_at(image, &tensors[ROLE_DELTA_CONV]);
	layer->delta_dt = vector_at(image, &tensors[ROLE_DELTA_DT]);
	layer->delta_decay = vector_at(image, &tensors[ROLE_DELTA_DECAY]);
	layer->delta_norm = vector_at(image, &tensors[ROLE_DELTA_NORM]);
	layer->attn_norm = vector_at(image, &tensors[ROLE_ATTN_NORM]);
	layer->ffn_norm = vector_at(image, &tensors[ROLE_FFN_NORM]);
	if (!layer->ffn_norm)
		layer->ffn_norm = vector_at(image, &tensors[ROLE_POST_ATTENTION_NORM]);
	layer->attn_q_bias = vector_at(image, &tensors[ROLE_ATTN_Q_BIAS]);
	layer->attn_k_bias = vector_at(image, &tensors[ROLE_ATTN_K_BIAS]);
	layer->attn_v_bias = vector_at(image, &tensors[ROLE_ATTN_V_BIAS]);
	layer->attn_q_norm = vector_at(image, &tensors[ROLE_ATTN_Q_NORM]);
	layer->attn_k_norm = vector_at(image, &tensors[ROLE_ATTN_K_NORM]);
}

/* What the layer that guesses, of tensors [N_LAYER_ROLES], has instead of the model's own. */
static void
point_head(Model *model, const uint8_t *image, const ImageTensor *tensors)
{
	const float *norm = vector_at(image, &tensors[ROLE_GUESS_OUTPUT_NORM]);

	model->guess_output_norm = norm ? norm : model->output_norm;
	model->guess_embedding = tensors[ROLE_GUESS_EMBEDDING].data.bytes ? matrix_at(image, &tensors[ROLE_GUESS_EMBEDDING])
																	  : model->token_embedding;
	model->guess_output =
		tensors[ROLE_GUESS_OUTPUT].data.bytes ? matrix_at(image, &tensors[ROLE_GUESS_OUTPUT]) : model->output;
}

static Status
create_tokenizer(Model *model, const ImageHeader *header)
{
	const uint8_t *image = (const uint8_t *) header;
	const ImageTokenizer *t = &header->tokenizer;
	TokenizerSource source = {
		.model = t->model,
		.pre = t->pre,
		.n_tokens = t->n_tokens,
		.token_offsets = (const uint64_t *) (const void *) (image + t->token_offsets.offset),
		.token_bytes = (const char *) image + t->token_bytes.offset,
		.token_types = (const int32_t *) (const void *) (image + t->token_types.offset),
		.n_merges = t->n_merges,
		.merge_offsets = (const uint64_t *) (const void *) (image + t->merge_offsets.offset),
		.merge_bytes = (const char *) image + t->merge_bytes.offset,
		.bos = t->bos,
		.eos = t->eos,
		.eot = t->eot,
		.padding = t->padding,
		.add_bos = t->add_bos != 0,
		.add_eos = t->add_eos != 0,
	};

	return status_prefix(tokenizer_create(&source, &model->tokenizer), "tokenizer");
}

/*
 * Does the template begin every answer with <think>? (QwQ, the thinking models of 2507, R1 distills) One that does not
 * render this conversation does not; UNAVAILABLE: nobody knows.
 */
static Status
opens_thinking(const ChatTemplate *chat_template, bool *opens)
{
	static const char question[] = "[{\"role\": \"user\", \"content\": \"Hello\"}]";
	ChatInput input = {
		.messages = {question, strlen(question)},
		.enable_thinking = -1,
		.add_generation_prompt = true,
		.bos_token = "",
		.eos_token = "",
	};
	ChatPrompt prompt = {0};
	Status status = chat_template_render(chat_template, &input, &prompt);

	*opens = status.code == STATUS_OK && chat_prompt_opens_thinking(&prompt);
	chat_prompt_free(&prompt);
	return status.code == STATUS_UNAVAILABLE ? status : status_ok();
}

/* How does the template write calls of tools? Asked with one that nobody else has. */
static Status
writes_tags(const ChatTemplate *chat_template, bool *by_tags)
{
	static const char messages[] =
		"[{\"role\": \"user\", \"content\": \"Hello\"}, {\"role\": \"assistant\", \"content\": \"\", \"tool_calls\": "
		"[{\"type\": \"function\", \"function\": {\"name\": \"qwen_pg_asks\", \"arguments\": {\"how\": \"so\"}}}]}]";
	ChatInput input = {
		.messages = {messages, strlen(messages)},
		.enable_thinking = -1,
		.bos_token = "",
		.eos_token = "",
	};
	ChatPrompt prompt = {0};
	Status status = chat_template_render(chat_template, &input, &prompt);

	*by_tags = status.code == STATUS_OK && strstr(prompt.text, "<function=qwen_pg_asks>");
	chat_prompt_free(&prompt);
	return status.code == STATUS_UNAVAILABLE ? status : status_ok();
}

/*
 * Does the template take </think> out of old answers without ever writing <think>? Then the model opens its thinking by
 * itself (early R1 distills). A template that does write it, in old answers only, is that of a model that does not
 * think (the instruct models of 2507).
 */
static bool
leaves_opening(const Model *model, const char *text, size_t length)
{
	return memmem(text, length, "</think>", 8) && !memmem(text, length, "<think>", 7) &&
		   tokenizer_find(model->tokenizer, "<think>", 7) >= 0;
}

/*
 * A template that cannot be parsed does not keep the model from generating. But one for which there is no memory now
 * does, since the model would be without it as long as it is open.
 */
static Status
create_template(Model *model, const ImageHeader *header)
{
	bool opens;
	const char *text = chat_template_default;
	size_t length = strlen(chat_template_default);

	if (header->chat_template.bytes)
	{
		text = (const char *) header + header->chat_template.offset;
		length = header->chat_template.bytes;
	}
	model->chat_template_error = chat_template_create(text, length, &model->chat_template);
	if (model->chat_template_error.code != STATUS_OK)
	{
		model->chat_template = NULL;
		return model->chat_template_error.code == STATUS_UNAVAILABLE
				   ? status_prefix(model->chat_template_error, "chat template")
				   : status_ok();
	}
	STATUS_TRY(status_prefix(opens_thinking(model->chat_template, &opens), "chat template"));
	STATUS_TRY(status_prefix(writes_tags(model->chat_template, &model->calls_by_tags), "chat template"));
	model->has_thinking_switch = chat_template_mentions(model->chat_template, "enable_thinking");
	model->can_think = model->has_thinking_switch || opens || leaves_opening(model, text, length);
	return status_ok();
}

/* By what it ranks documents, and the words around them. */
static Status
open_ranking(Model *model, const ImageHeader *header, const ImageTensor *tensors)
{
	const uint8_t *image = (const uint8_t *) header;
	PackedMatrix classifier = matrix_at(image, &tensors[ROLE_CLASSIFIER]);

	if (header->rerank_template.bytes)
		model->rerank_template =
			(ByteSpan){(const char *) image + header->rerank_template.offset, (size_t) header->rerank_template.bytes};
	return ranking_open(model, tensors[ROLE_CLASSIFIER].data.bytes ? &classifier : NULL,
						tensors[ROLE_OUTPUT].data.bytes > 0);
}

Status
image_check_texts(const ImageHeader *header, ImageTexts *texts)
{
	Model model = {.hyper = header->hyper};
	Status status;

	memset(texts, 0, sizeof *texts);
	status = create_tokenizer(&model, header);
	if (status.code == STATUS_OK)
		status = create_template(&model, header);
	if (status.code == STATUS_OK)
	{
		texts->template_error = model.chat_template_error;
		texts->can_think = model.can_think;
		texts->notices = *tokenizer_notices(model.tokenizer);
	}
	tokenizer_destroy(model.tokenizer);
	chat_template_destroy(model.chat_template);
	return status;
}

/* Everything behind the mapping. */
static Status
build(Model *model, const ImageHeader *header, uint64_t bytes)
{
	const uint8_t *image = (const uint8_t *) header;
	const ImageTensor *tensors;
	uint32_t n_layers;

	STATUS_TRY(check_meta(header, bytes));
	tensors = (const ImageTensor *) (const void *) (image + header->tensors.offset);
	STATUS_TRY(check_tensors(header, tensors));
	memcpy(model->name, header->name, sizeof model->name);
	model->name[sizeof model->name - 1] = '\0';
	model->generation = header->generation;
	model->hyper = header->hyper;
	model->token_embedding = matrix_at(image, &tensors[ROLE_TOKEN_EMBEDDING]);
	model->output = tensors[ROLE_OUTPUT].data.bytes ? matrix_at(image, &tensors[ROLE_OUTPUT]) : model->token_embedding;
	model->output_norm = vector_at(image, &tensors[ROLE_OUTPUT_NORM]);
	n_layers = header->hyper.n_layers + header->hyper.n_heads_loaded;
	model->layers = calloc(n_layers, sizeof *model->layers);
	if (!model->layers)
		return status_error(STATUS_UNAVAILABLE, "out of memory for %u layers", header->hyper.n_layers);
	for (uint32_t i = 0; i < n_layers; i++)
		point_layer(&model->layers[i], architecture_layer(&model->hyper, i), image,
					tensors + N_MODEL_ROLES + (size_t) i * N_LAYER_ROLES);
	if (model->hyper.n_heads_loaded > 0)
		point_head(model, image, tensors + N_MODEL_ROLES + (size_t) model->hyper.n_layers * N_LAYER_ROLES);
	STATUS_TRY(key_outliers_find(&model->hyper, model->layers, &model->key_outliers));
	STATUS_TRY(create_tokenizer(model, header));
	STATUS_TRY(open_ranking(model, header, tensors));
	return create_template(model, header);
}

Status
model_open(int image_fd, Model **model_out)
{
	struct stat info;
	Model *model = calloc(1, sizeof *model);
	void *image;
	Status status;

	if (!model)
		return status_error(STATUS_UNAVAILABLE, "out of memory for a model");
	if (fstat(image_fd, &info) != 0 || info.st_size < (off_t) sizeof(ImageHeader))
	{
		free(model);
		return damaged("it is too short");
	}
	image = pages_map_shared(image_fd, (size_t) info.st_size);
	if (!image)
	{
		free(model);
		return status_error(STATUS_UNAVAILABLE, "cannot map the model: %s", strerror(errno));
	}
	(void) madvise(image, (size_t) info.st_size, MADV_DONTDUMP);
	model->image = image;
	model->image_bytes = (size_t) info.st_size;
	status = build(model, image, (uint64_t) info.st_size);
	if (status.code != STATUS_OK)
	{
		model_close(model);
		return status;
	}
	*model_out = model;
	return status_ok();
}

void
model_close(Model *model)
{
	if (!model)
		return;
	tokenizer_destroy(model->tokenizer);
	chat_template_destroy(model->chat_template);
	free(model->layers);
	free(model->key_outliers);
	free(model->rank_rows);
	munmap((void *) model->image, model->image_bytes);
	free(model);
}

uint32_t
model_role_of(const Model *model, const PackedMatrix *matrix)
{
	const ImageHeader *header = model->image;
	const ImageTensor *tensors =
		(const ImageTensor *) (const void *) ((const uint8_t *) header + header->tensors.offset);

	for (uint32_t i = 0; i < header->n_tensors; i++)
		if (i != ROLE_TOKEN_EMBEDDING && tensors[i].data.bytes > 0 &&
			matrix->tiles == (const uint8_t *) header + tensors[i].data.offset)
			return i;
	return MODEL_NO_ROLE;
}

/* All bytes of a part of a file. */
static bool
read_part(int fd, void *out, size_t bytes, uint64_t offset)
{
	for (size_t done = 0; done < bytes;)
	{
		ssize_t n = pread(fd, (char *) out + done, bytes - done, (off_t) (offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		done += (size_t) n;
	}
	return true;
}

Status
model_image_describe(int image_fd, uint64_t generation, ModelHyper *hyper, bool **has)
{
	Status gone = status_error(STATUS_UNAVAILABLE, "the model was unloaded meanwhile");
	ImageHeader header;
	ImageTensor *tensors;
	bool complete;

	if (!read_part(image_fd, &header, sizeof header, 0) || header.magic != IMAGE_MAGIC ||
		header.version != IMAGE_VERSION || header.state != IMAGE_COMPLETE || header.generation != generation ||
		!architecture_row(header.hyper.architecture) || header.n_tensors != roles_count(&header.hyper))
		return gone;
	tensors = calloc(header.n_tensors, sizeof *tensors);
	*has = calloc(header.n_tensors, sizeof **has);
	complete =
		tensors && *has && read_part(image_fd, tensors, header.n_tensors * sizeof *tensors, header.tensors.offset);
	for (uint32_t i = 0; complete && i < header.n_tensors; i++)
		(*has)[i] = tensors[i].data.bytes > 0;
	free(tensors);
	*hyper = header.hyper;
	if (complete)
		return status_ok();
	free(*has);
	*has = NULL;
	return gone;
}
