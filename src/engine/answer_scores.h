/*
 * answer_scores.h - log-probabilities of an answer's tokens, as the model gave them: JSON beside the answer's text.
 */
#ifndef QWEN_ANSWER_SCORES_H
#define QWEN_ANSWER_SCORES_H

#include "../model/model.h"
#include "../protocol/protocol.h"

typedef struct AnswerScores
{
	bool is_wanted;
	uint32_t n_likeliest; /* that are written beside each token */
	const Model *model;
	float *logits;   /* [vocab]: as the model gave them; the sampler changes its own */
	ByteWriter json; /* without the closing bracket */
} AnswerScores;

/* What a message's flags ask for. false: no memory. The scores are zeroed before, and to be freed after that too. */
extern bool answer_scores_init(AnswerScores *scores, const Model *model, const Request *message);
extern void answer_scores_free(AnswerScores *scores);

/* Note what the model says before a token is picked, and write it down with the token that was. Nothing where no scores
 * are wanted. */
extern void answer_scores_keep(AnswerScores *scores, const float *logits);
extern void answer_scores_write(AnswerScores *scores, int32_t token);

/* The whole array. */
extern ByteSpan answer_scores_close(AnswerScores *scores);

#endif
