/*
 * sample_stdin.c - how often each token is drawn, for check_sampling.py to compare with a reference.
 *
 * sample_stdin < REQUESTS > COUNTS
 *
 * REQUESTS has a JSON object a line: "logits" (numbers), "prompt" and "answer" (tokens that stand before the draw),
 * "draws", "seed", and of the sampling options those that are on. COUNTS has a line for each: how often each token was
 * drawn. Draw i of a request is the token at index i of an answer with that seed, after the same tokens.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../../src/engine/sampler.h"

static void
require(bool ok, const char *message)
{
	if (ok)
		return;
	fprintf(stderr, "sample_stdin: %s\n", message);
	exit(1);
}

static double
option(json_t *request, const char *name, double otherwise)
{
	json_t *value = json_object_get(request, name);

	return value ? json_number_value(value) : otherwise;
}

/* Draw as a request says and print the counts. */
static void
answer(json_t *request)
{
	json_t *logits = json_object_get(request, "logits"), *prompt = json_object_get(request, "prompt");
	json_t *before = json_object_get(request, "answer");
	uint32_t n_vocab = (uint32_t) json_array_size(logits), n_draws = (uint32_t) option(request, "draws", 1);
	float *values = calloc(n_vocab, sizeof *values), *copy = calloc(n_vocab, sizeof *copy);
	int32_t *tokens = calloc(json_array_size(prompt) + 1, sizeof *tokens);
	uint64_t *counts = calloc(n_vocab, sizeof *counts);
	SamplerSettings settings = {
		.temperature = (float) option(request, "temperature", 1),
		.top_p = (float) option(request, "top_p", 1),
		.min_p = (float) option(request, "min_p", 0),
		.top_k = (int32_t) option(request, "top_k", 0),
		.repetition_penalty = (float) option(request, "repetition_penalty", 1),
		.presence_penalty = (float) option(request, "presence_penalty", 0),
		.frequency_penalty = (float) option(request, "frequency_penalty", 0),
	};
	/* what a sampler picks counts for the penalties of its next draw, so with them every draw has a sampler of its own
	 */
	bool has_penalties =
		settings.repetition_penalty != 1 || settings.presence_penalty != 0 || settings.frequency_penalty != 0;
	Sampler *sampler = NULL;

	require(values && copy && tokens && counts && n_vocab > 0, "no logits, or no memory");
	for (size_t i = 0; i < n_vocab; i++)
		values[i] = (float) json_number_value(json_array_get(logits, i));
	for (size_t i = 0; i < json_array_size(prompt); i++)
		tokens[i] = (int32_t) json_integer_value(json_array_get(prompt, i));
	settings.seed = (uint64_t) option(request, "seed", 0);
	for (uint32_t draw = 0; draw < n_draws; draw++)
	{
		if (!sampler || has_penalties)
		{
			sampler_destroy(sampler);
			sampler = sampler_create(&settings, n_vocab, tokens, (uint32_t) json_array_size(prompt));
			require(sampler != NULL, "no memory");
			for (size_t i = 0; i < json_array_size(before); i++)
				sampler_note(sampler, (int32_t) json_integer_value(json_array_get(before, i)));
		}
		memcpy(copy, values, n_vocab * sizeof *copy);
		counts[sampler_pick(sampler, kernels_select(), copy, draw)]++;
	}
	for (size_t i = 0; i < n_vocab; i++)
		printf("%s%llu", i ? " " : "", (unsigned long long) counts[i]);
	putchar('\n');
	sampler_destroy(sampler);
	free(values);
	free(copy);
	free(tokens);
	free(counts);
}

int
main(void)
{
	char *line = NULL;
	size_t capacity = 0;

	while (getline(&line, &capacity, stdin) > 0)
	{
		json_t *request = json_loads(line, 0, NULL);

		require(json_is_object(request), "a request that is no JSON object");
		answer(request);
		json_decref(request);
	}
	free(line);
	return 0;
}
