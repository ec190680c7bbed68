/*
 * rerank_prompt.c - see rerank_prompt.h.
 *
 * A template is plain text with {query} and {document}, each once (the model was checked when it was opened). The
 * instruction stands at {instruction}, or, in files that have a fixed one, behind "<Instruct>: " up to the end of the
 * line.
 */
#include "rerank_prompt.h"

#include <string.h>

#include "replies.h"

#define QUERY_PLACE "{query}"
#define DOCUMENT_PLACE "{document}"
#define INSTRUCTION_PLACE "{instruction}"
#define FIXED_INSTRUCTION "<Instruct>: "

/* As the model cards of Qwen3-Reranker have them. */
static const char published_template[] =
	"<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
	"provided. Note that the answer can only be \"yes\" or \"no\".<|im_end|>\n<|im_start|>user\n"
	"<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}<|im_end|>\n<|im_start|>assistant\n"
	"<think>\n\n</think>\n\n";
static const char published_instruction[] =
	"Given a web search query, retrieve relevant passages that answer the query";

/* A place in the template and what comes there. */
typedef struct Place
{
	size_t start, end;
	ByteSpan value;
	bool is_ours; /* the value is nobody's secret */
} Place;

#define MAX_PLACES 3

/* Where a word stands in the template; false: nowhere. */
static bool
find_word(ByteSpan text, const char *word, Place *place)
{
	const char *at = memmem(text.data, text.length, word, strlen(word));

	if (!at)
		return false;
	place->start = (size_t) (at - text.data);
	place->end = place->start + strlen(word);
	return true;
}

/* Where a fixed instruction stands; false: there is none. */
static bool
find_fixed_instruction(ByteSpan text, Place *place)
{
	const char *line_end;
	size_t length;

	if (!find_word(text, FIXED_INSTRUCTION, place))
		return false;
	place->start = place->end;
	line_end = memchr(text.data + place->start, '\n', text.length - place->start);
	length = line_end ? (size_t) (line_end - text.data) - place->start : text.length - place->start;
	place->end = place->start + length;
	return !memchr(text.data + place->start, '{', length);
}

/* Where the instruction goes, if it goes anywhere: *n grows by one then. */
static Status
place_instruction(const Workplace *place, const Request *message, ByteSpan text, Place *places, size_t *n)
{
	Place *found = &places[*n];
	bool is_given = message->instruction.data != NULL;

	found->value = is_given ? message->instruction : (ByteSpan){published_instruction, strlen(published_instruction)};
	found->is_ours = !is_given;
	if (find_word(text, INSTRUCTION_PLACE, found) || (is_given && find_fixed_instruction(text, found)))
		++*n;
	else if (is_given)
		return status_error(STATUS_INVALID_ARGUMENT,
							"instruction must not be given: the rerank template of model \"%s\" has no place for it",
							place->model->name);
	return status_ok();
}

/* Bring the places into the order of the template. */
static void
sort_places(Place *places, size_t n)
{
	for (size_t i = 1; i < n; i++)
		for (size_t j = i; j > 0 && places[j].start < places[j - 1].start; j--)
		{
			Place later = places[j - 1];

			places[j - 1] = places[j];
			places[j] = later;
		}
}

/* A prompt that is being written. */
typedef struct RerankText
{
	ByteWriter text;
	TextRun ours[MAX_PLACES + 1]; /* what the template wrote */
	size_t n_ours;
	size_t n_shared; /* bytes before the first that the user wrote */
} RerankText;

/* A piece of the template. */
static void
write_ours(RerankText *out, const char *data, size_t length)
{
	if (length == 0)
		return;
	out->ours[out->n_ours++] = (TextRun){out->text.length, length};
	write_raw(&out->text, data, length);
}

/* The template with all places filled. */
static void
fill(RerankText *out, ByteSpan text, const Place *places, size_t n)
{
	size_t at = 0;
	bool is_shared = true;

	for (size_t i = 0; i < n; at = places[i++].end)
	{
		write_ours(out, text.data + at, places[i].start - at);
		if (is_shared)
			out->n_shared = out->text.length;
		is_shared = is_shared && places[i].is_ours;
		write_raw(&out->text, places[i].value.data, places[i].value.length);
	}
	write_ours(out, text.data + at, text.length - at);
}

/* How many of the first tokens are those of the text up to what the user wrote. */
static Status
count_shared(const Workplace *place, const RerankText *prompt, const TokenBuffer *tokens, uint32_t *n_shared)
{
	TokenBuffer head = {0};
	Status status = tokenizer_encode(place->tokenizer, (const char *) prompt->text.data, prompt->n_shared, true, &head);

	*n_shared = 0;
	while (status.code == STATUS_OK && *n_shared < head.n && *n_shared < tokens->n &&
		   head.tokens[*n_shared] == tokens->tokens[*n_shared])
		++*n_shared;
	token_buffer_free(&head);
	return status;
}

Status
rerank_prompt_encode(const Workplace *place, const Request *message, TokenBuffer *tokens, uint32_t *n_shared)
{
	ByteSpan text = place->model->rerank_template;
	Place places[MAX_PLACES] = {{.value = message->query}, {.value = message->text}};
	RerankText prompt = {.n_ours = 0};
	size_t n = 2;
	Status status;

	if (!text.data)
		text = (ByteSpan){published_template, strlen(published_template)};
	if (!find_word(text, QUERY_PLACE, &places[0]) || !find_word(text, DOCUMENT_PLACE, &places[1]))
		return place->model->rank_error;
	STATUS_TRY(place_instruction(place, message, text, places, &n));
	sort_places(places, n);
	byte_writer_init(&prompt.text);
	fill(&prompt, text, places, n);
	status = prompt.text.failed ? no_memory() : status_ok();
	if (status.code == STATUS_OK)
		status = tokenizer_encode_runs(place->tokenizer, (const char *) prompt.text.data, prompt.text.length,
									   prompt.ours, prompt.n_ours, tokens);
	if (status.code == STATUS_OK)
		status = count_shared(place, &prompt, tokens, n_shared);
	byte_writer_free(&prompt.text);
	return status;
}
