/*
 * kind_generate.h - what kind_generate works with.
 */
#ifndef QWEN_KIND_GENERATE_H
#define QWEN_KIND_GENERATE_H

#include "answer.h"
#include "answer_scores.h"
#include "constraint.h"
#include "kinds.h"
#include "sampler.h"

/* A generating request's own work. */
typedef struct Generation
{
	Sampler *sampler;
	const Kernels *kernels;       /* asking the processor takes microseconds, many where it is a virtual one */
	int32_t picks[DRAFT_MAX + 1]; /* what the sampler has picked in the step at hand, row by row … */
	uint32_t n_picks, n_picks_taken;
	uint32_t n_rows_taken; /* in the step at hand */
	Answer answer;
	Constraint constraint;
	AnswerScores scores;
	FinishReason finish_reason;
	bool is_ended; /* the model itself ended the answer */
	uint64_t first_token_us;
} Generation;

/* Of a request of this kind. */
extern Generation *generation_of(const EngineRequest *request);

#endif
