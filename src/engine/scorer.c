/*
 * scorer.c - see scorer.h. The answers stand sorted by their tokens, so that a node of the tree is a range of them.
 */
#include "scorer.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define END_OF_ANSWER (-1) /* in the place of a token: any of those that end answers */

/* One of the answers. */
typedef struct Answer
{
	const int32_t *tokens; /* [n_tokens], then END_OF_ANSWER */
	uint32_t n_tokens;
	uint32_t index; /* in the order of creation */
	double log_probability;
} Answer;

/* A node: answers first … end-1 have their first depth tokens in common, and not all of them the next one. */
typedef struct Node
{
	uint32_t first, end, depth;
} Node;

struct Scorer
{
	int32_t *tokens;
	Answer *answers; /* [n], sorted */
	uint32_t n, longest_path;
	size_t n_tokens; /* of all answers, with their ends */
	Node *nodes;     /* that are still to be asked for; there are fewer than answers */
	uint32_t n_nodes;
	int32_t end_tokens[SCORER_MAX_END_TOKENS];
	uint32_t n_end_tokens;
};

/* A beginning comes before what it begins. */
static int
compare_answers(const void *a, const void *b)
{
	const Answer *left = a, *right = b;
	uint32_t n = left->n_tokens < right->n_tokens ? left->n_tokens : right->n_tokens;

	for (uint32_t i = 0; i < n; i++)
		if (left->tokens[i] != right->tokens[i])
			return left->tokens[i] < right->tokens[i] ? -1 : 1;
	return left->n_tokens < right->n_tokens ? -1 : left->n_tokens > right->n_tokens;
}

/* Note the node of a range, if there is anything to choose in it. */
static void
add_node(Scorer *scorer, uint32_t first, uint32_t end, uint32_t depth)
{
	const Answer *low = &scorer->answers[first], *high = &scorer->answers[end - 1];

	if (end - first < 2)
		return;
	/* sorted: what the first and the last have in common, all have; and they are not the same */
	while (depth < low->n_tokens && low->tokens[depth] == high->tokens[depth])
		depth++;
	scorer->nodes[scorer->n_nodes++] = (Node){first, end, depth};
}

/* Copy the answers' tokens, each with its end behind. */
static void
copy_answers(Scorer *scorer, const int32_t *tokens, const uint32_t *offsets)
{
	int32_t *to = scorer->tokens;

	for (uint32_t i = 0; i < scorer->n; i++)
	{
		uint32_t length = offsets[i + 1] - offsets[i];

		memcpy(to, tokens + offsets[i], length * sizeof *to);
		to[length] = END_OF_ANSWER;
		scorer->answers[i] = (Answer){to, length, i, 0};
		scorer->longest_path = length > scorer->longest_path ? length : scorer->longest_path;
		to += length + 1;
	}
}

Status
scorer_create(const int32_t *tokens, const uint32_t *offsets, uint32_t n, const int32_t *end_tokens,
			  uint32_t n_end_tokens, Scorer **out)
{
	Scorer *scorer = calloc(1, sizeof *scorer);

	*out = NULL;
	if (!scorer)
		return status_error(STATUS_UNAVAILABLE, "out of memory in the engine");
	scorer->n = n;
	scorer->n_tokens = (size_t) offsets[n] + n;
	scorer->tokens = malloc(scorer->n_tokens * sizeof *scorer->tokens);
	scorer->answers = malloc(n * sizeof *scorer->answers);
	scorer->nodes = malloc(n * sizeof *scorer->nodes);
	if (!scorer->tokens || !scorer->answers || !scorer->nodes)
	{
		scorer_destroy(scorer);
		return status_error(STATUS_UNAVAILABLE, "out of memory in the engine");
	}
	copy_answers(scorer, tokens, offsets);
	memcpy(scorer->end_tokens, end_tokens, n_end_tokens * sizeof *end_tokens);
	scorer->n_end_tokens = n_end_tokens;
	qsort(scorer->answers, n, sizeof *scorer->answers, compare_answers);
	for (uint32_t i = 1; i < n; i++)
		if (compare_answers(&scorer->answers[i - 1], &scorer->answers[i]) == 0)
		{
			Status status = status_error(STATUS_INVALID_ARGUMENT, "answers %u and %u are the same to the model",
										 scorer->answers[i - 1].index + 1, scorer->answers[i].index + 1);

			scorer_destroy(scorer);
			return status;
		}
	add_node(scorer, 0, n, 0);
	*out = scorer;
	return status_ok();
}

void
scorer_destroy(Scorer *scorer)
{
	if (!scorer)
		return;
	free(scorer->tokens);
	free(scorer->answers);
	free(scorer->nodes);
	free(scorer);
}

size_t
scorer_bytes(const Scorer *scorer)
{
	return sizeof *scorer + scorer->n_tokens * sizeof *scorer->tokens +
		   scorer->n * (sizeof *scorer->answers + sizeof *scorer->nodes);
}

TokenScore
score_token(const float *logits, uint32_t n_vocab, uint32_t token)
{
	TokenScore score = {0, 1};
	float highest = logits[0];
	double sum = DBL_MIN;

	for (uint32_t i = 1; i < n_vocab; i++)
		highest = logits[i] > highest ? logits[i] : highest;
	for (uint32_t i = 0; i < n_vocab; i++)
	{
		sum += exp((double) logits[i] - highest);
		score.rank += logits[i] > logits[token] || (i < token && logits[i] == logits[token]);
	}
	score.log_probability = (float) ((double) logits[token] - highest - log(sum));
	return score;
}

bool
scorer_question(const Scorer *scorer, const int32_t **path, uint32_t *n_path)
{
	const Node *node;

	if (scorer->n_nodes == 0)
		return false;
	node = &scorer->nodes[scorer->n_nodes - 1];
	*path = scorer->answers[node->first].tokens;
	*n_path = node->depth;
	return true;
}

/* The end of the run of answers from first on that go on with the same token at depth. */
static uint32_t
run_end(const Scorer *scorer, const Node *node, uint32_t first)
{
	uint32_t end = first + 1;

	while (end < node->end && scorer->answers[end].tokens[node->depth] == scorer->answers[first].tokens[node->depth])
		end++;
	return end;
}

/* The logit of going on with a token, or with any of those that end answers: then their probabilities add up. */
static double
logit_of(const Scorer *scorer, int32_t token, const float *logits)
{
	double highest, sum = 0;

	if (token != END_OF_ANSWER)
		return logits[token];
	highest = logits[scorer->end_tokens[0]];
	for (uint32_t i = 1; i < scorer->n_end_tokens; i++)
		highest = fmax(highest, logits[scorer->end_tokens[i]]);
	for (uint32_t i = 0; i < scorer->n_end_tokens; i++)
		sum += exp(logits[scorer->end_tokens[i]] - highest);
	return highest + log(sum);
}

void
scorer_answer(Scorer *scorer, const float *logits)
{
	Node node = scorer->nodes[--scorer->n_nodes];
	double highest = -INFINITY, sum = 0;

	for (uint32_t i = node.first; i < node.end; i = run_end(scorer, &node, i))
		highest = fmax(highest, logit_of(scorer, scorer->answers[i].tokens[node.depth], logits));
	for (uint32_t i = node.first; i < node.end; i = run_end(scorer, &node, i))
		sum += exp(logit_of(scorer, scorer->answers[i].tokens[node.depth], logits) - highest);
	for (uint32_t i = node.first, end; i < node.end; i = end)
	{
		double log_probability = logit_of(scorer, scorer->answers[i].tokens[node.depth], logits) - highest - log(sum);

		end = run_end(scorer, &node, i);
		for (uint32_t j = i; j < end; j++)
			scorer->answers[j].log_probability += log_probability;
		add_node(scorer, i, end, node.depth);
	}
}

uint32_t
scorer_longest_path(const Scorer *scorer)
{
	return scorer->longest_path;
}

void
scorer_probabilities(const Scorer *scorer, float *out)
{
	for (uint32_t i = 0; i < scorer->n; i++)
		out[scorer->answers[i].index] = (float) exp(scorer->answers[i].log_probability);
}
