/*
 * answer_scores.c - see answer_scores.h.
 */
#include "answer_scores.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replies.h"

/* A number as JSON has it. */
static void
write_number(ByteWriter *out, double value)
{
	char text[32];

	/* what a model excludes has minus infinity, which JSON does not know */
	if (isfinite(value))
		write_raw(out, text, (size_t) snprintf(text, sizeof text, "%.9g", value));
	else
		write_raw(out, "null", 4);
}

/* {"token": "…", "logprob": … without the closing brace. A piece that is part of a character is U+FFFD. */
static void
write_token(const Model *model, int32_t token, double logprob, ByteWriter *out)
{
	static const char hex[] = "0123456789abcdef";
	Detokenizer detokenizer = {{0}, 0};
	ByteWriter piece;

	byte_writer_init(&piece);
	detokenizer_push(&detokenizer, tokenizer_token_bytes(model->tokenizer, token), true, &piece);
	write_raw(out, "{\"token\": \"", 11);
	for (size_t i = 0; i < piece.length; i++)
	{
		unsigned char byte = piece.data[i];

		if (byte == '"' || byte == '\\')
			write_u8(out, '\\');
		if (byte == 0)
			write_raw(out, "\xef\xbf\xbd", 3); /* jsonb has no NUL */
		else if (byte < 0x20)
			write_raw(out, (char[]){'\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 15]}, 6);
		else
			write_u8(out, byte);
	}
	write_raw(out, "\", \"logprob\": ", 13);
	write_number(out, logprob);
	out->failed |= piece.failed;
	byte_writer_free(&piece);
}

/* The n likeliest tokens in order, of equal ones the first in the vocabulary first. Returns how many there are. */
static uint32_t
find_likeliest(const float *logits, uint32_t n_vocab, uint32_t n, int32_t *likeliest)
{
	uint32_t found = 0;

	for (uint32_t i = 0; i < n_vocab && n > 0; i++)
	{
		uint32_t at;

		if (found == n && !(logits[i] > logits[likeliest[n - 1]]))
			continue;
		at = found < n ? found++ : n - 1;
		for (; at > 0 && logits[i] > logits[likeliest[at - 1]]; at--)
			likeliest[at] = likeliest[at - 1];
		likeliest[at] = (int32_t) i;
	}
	return found;
}

bool
answer_scores_init(AnswerScores *scores, const Model *model, const Request *message)
{
	scores->is_wanted = (message->flags & REQUEST_LOGPROBS_MASK) != 0;
	if (!scores->is_wanted)
		return true;
	scores->model = model;
	scores->n_likeliest = REQUEST_N_LOGPROBS(message->flags);
	scores->logits = malloc(model->hyper.vocab * sizeof *scores->logits);
	return scores->logits != NULL;
}

void
answer_scores_free(AnswerScores *scores)
{
	free(scores->logits);
	byte_writer_free(&scores->json);
}

void
answer_scores_keep(AnswerScores *scores, const float *logits)
{
	if (scores->is_wanted)
		memcpy(scores->logits, logits, scores->model->hyper.vocab * sizeof *logits);
}

void
answer_scores_write(AnswerScores *scores, int32_t token)
{
	const float *logits = scores->logits;
	const Model *model = scores->model;
	ByteWriter *out = &scores->json;
	uint32_t n_vocab, n;
	int32_t likeliest[REQUEST_MAX_LOGPROBS];
	float highest;
	double sum = 0;

	if (!scores->is_wanted)
		return;
	n_vocab = model->hyper.vocab;
	highest = logits[0];
	for (uint32_t i = 1; i < n_vocab; i++)
		highest = logits[i] > highest ? logits[i] : highest;
	for (uint32_t i = 0; i < n_vocab; i++)
		sum += exp((double) logits[i] - highest);
	n = find_likeliest(logits, n_vocab, scores->n_likeliest, likeliest);
	write_raw(out, out->length == 0 ? "[" : ", ", out->length == 0 ? 1 : 2);
	write_token(model, token, (double) logits[token] - highest - log(sum), out);
	for (uint32_t i = 0; i < n; i++)
	{
		write_raw(out, i == 0 ? ", \"top\": [" : ", ", i == 0 ? 10 : 2);
		write_token(model, likeliest[i], (double) logits[likeliest[i]] - highest - log(sum), out);
		write_u8(out, '}');
	}
	write_raw(out, n > 0 ? "]}" : "}", n > 0 ? 2 : 1);
}

ByteSpan
answer_scores_close(AnswerScores *scores)
{
	write_raw(&scores->json, scores->json.length ? "]" : "[]", scores->json.length ? 1 : 2);
	return span_of(&scores->json);
}
