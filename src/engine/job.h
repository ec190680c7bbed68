/*
 * job.h - one request inside the engine: its prompt, its place in the batch, its answer so far.
 *
 * A Job knows models and text, but neither sockets nor the batch: server.c owns the connection it came on, scheduler.c
 * moves it through its states. What it has to say goes to an output buffer of frames that the server gives it.
 *
 *   CREATED -> (accepted, waiting for GO) ACCEPTED -> QUEUED -> RUNNING -> ended
 */
#ifndef QWEN_JOB_H
#define QWEN_JOB_H

#include "../protocol/protocol.h"
#include "../protocol/status_page.h"
#include "drafts.h"
#include "prefix_cache.h"
#include "sampler.h"
#include "scorer.h"
#include "stop_matcher.h"
#include "workplace.h"

typedef enum JobState
{
	JOB_ACCEPTED, /* waits for GO */
	JOB_QUEUED,   /* waits for a place and KV blocks, for the first time or preempted */
	JOB_RUNNING,
	JOB_ENDED, /* its last frame is written */
} JobState;

struct Slot;
struct RoleAccount;

typedef struct Job
{
	struct Job *next, *previous; /* in the scheduler's list */
	void *client;                /* the server's */
	struct Job *next_of_client;  /* in the server's list */
	uint32_t request_id;
	uint8_t kind; /* RequestKind */
	bool stream;
	JobState state;
	struct Slot *slot; /* whose model it uses */
	Model *model;

	int32_t *tokens;                     /* prompt and answer: [prompt + max_tokens] */
	uint32_t n_prompt, n_tokens, n_done; /* n_done: positions that are in the KV cache */
	uint32_t max_tokens;
	uint32_t n_generated;

	/* KV blocks, taken while it runs (job_blocks.h) */
	uint32_t *blocks;         /* [n_blocks], with room for prompt and answer */
	uint32_t n_blocks;        /* held */
	uint32_t n_cached_blocks; /* the first so many of them are the prefix cache's */
	bool uses_cache;
	uint32_t scope;           /* of its cached blocks … */
	uint32_t n_shared_tokens; /* … behind the first so many tokens, which everybody may share */
	uint32_t n_cached_tokens; /* of the prompt that it did not have to compute */
	uint32_t n_counted;       /* of the prompt: positions that are in the statistics */

	/* for the scheduler */
	uint32_t role;
	struct RoleAccount *account; /* of the role, from GO to the end */
	int32_t priority;
	bool alone;          /* its client asked for nothing else at the time: somebody waits for this one */
	uint64_t arrival;    /* the how manieth that said GO */
	uint64_t round;      /* of the server, in which it was accepted */
	uint32_t n_slice;    /* rows in the step that is being put together */
	uint64_t turn;       /* when it had some, while roles share them: the earlier, the sooner it has some again */
	bool was_preempted;  /* waits for the second time */
	uint32_t n_gave_way; /* times that it went back into the queue for one of higher priority */
	uint32_t n_passed;   /* small ones that were started although it was its turn */

	SamplerSettings sampling;
	Sampler *sampler;
	DraftHistory drafts;
	uint32_t n_drafted;           /* guesses in the step at hand: they stand behind the n_tokens tokens */
	int32_t picks[DRAFT_MAX + 1]; /* what the sampler has picked in the step at hand, row by row … */
	uint32_t n_picks, n_picks_taken;

	/* the answer's text */
	Detokenizer detokenizer;
	StopMatcher stops;
	char *stop_text; /* the stop strings */
	ByteWriter content, thinking;
	ByteWriter raw, whole, clear; /* of one token: its bytes, its whole characters, what no stop string may begin in */
	bool in_thinking, thinking_begun, after_thinking, thought;
	uint32_t thinking_budget, n_thinking; /* tokens; UINT32_MAX: no budget */
	ByteWriter pending;                   /* text that may become <think> or </think>, and white space before it */
	size_t n_pending_blanks;              /* at its beginning, which are known to be white space */
	bool beginning;                       /* still at the beginning */
	TokenBuffer forced;                   /* tokens that come next whatever the model says */
	size_t n_forced;
	struct ToolSet *tools;       /* for reading calls; see tool_schema.h */
	size_t n_looked, n_streamed; /* of the content of a stream with tools: searched for calls; sent */
	bool has_tag;                /* there may be calls in it: the rest is sent at the end */

	/* embeddings */
	double *pooled; /* [hidden] */
	uint32_t dimensions;
	uint32_t pooling;

	/* scores */
	Scorer *scorer;
	uint32_t n_answers;
	ByteWriter logprobs;             /* values of the RESULT; the pieces stand in content */
	uint32_t n_scored;               /* tokens that stand in it */
	TokenScore scores[LOGPROB_ROWS]; /* of the step's rows */
	uint32_t n_scores_taken;

	/* log-probabilities of the answer's tokens */
	bool wants_logprobs;
	uint32_t n_likeliest;    /* that are written beside each token */
	float *model_logits;     /* [vocab]: as the model gave them; the sampler changes its own. NULL: not wanted */
	ByteWriter token_scores; /* JSON, without the closing bracket */

	RequestMeter *meter; /* NULL: nobody wants to know */
	uint64_t go_us, started_us, first_token_us;
} Job;

/*
 * Answer an immediate request into out, or make a Job of another one and write ACCEPTED. *job stays NULL when it was
 * answered. An error is for the caller to reply with.
 */
extern Status job_prepare(const Workplace *place, const Request *request, uint32_t request_id, ByteWriter *out,
						  Job **job);

/* The same with the model's own tokenizer, to the end. */
extern Status job_create(Model *model, const KvPool *pool, const Request *request, uint32_t request_id, ByteWriter *out,
						 Job **job);

/* Is there nothing left to compute for an accepted job? Then GO brings its RESULT at once, after which it is to be
 * destroyed. */
extern bool job_is_ready(const Job *job);
extern Status job_give_ready(Job *job, ByteWriter *out);

extern void job_destroy(Job *job);

/* Write what it has used so far into its meter. */
extern void job_write_meter(const Job *job);

/* Positions that its KV blocks must hold: prompt and answer. */
extern uint32_t job_positions(const Job *job);

/* What the next step takes of it: rows [n_done, n_done + n). At least 1 while it runs. */
extern uint32_t job_rows_left(const Job *job);

/*
 * The part of a step that needs a row's logits and nothing else, on any member of the team: draws the next token, or
 * looks for a token's rank. Called for the rows of a job in order, by one member at a time; row: which of the step's.
 * True: the row after this one counts too, because the guess that it stands behind was right.
 */
extern void job_begin_step(Job *job, uint32_t n_rows);
extern bool job_pick(Job *job, const Kernels *kernels, float *logits, uint32_t row);
extern void job_score_row(Job *job, const float *logits, uint32_t row);

/*
 * After a step: logits of a row that wanted them, in order of the rows. Samples, extends the text, writes PIECE frames;
 * at the end DONE and state JOB_ENDED. Unavailable when memory ran out.
 */
extern Status job_take_logits(Job *job, const Kernels *kernels, float *logits, ByteWriter *out);

/* How many of the last of n rows, up to which a step takes it, need logits. */
extern uint32_t job_logits_wanted(const Job *job, uint32_t n);

/* job_score.c: SCORE's answers, read before the prompt's lengths are checked; and their first question. */
extern Status job_prepare_score(Job *job, const Workplace *place, const Request *request);
extern void job_start_score(Job *job);

/* Note what the model says before a token is picked, and write it down with the token that was. */
extern void job_keep_logits(Job *job, const float *logits);
extern void job_write_token_score(Job *job, int32_t token);

/* Logits of a row, in order, for the kinds that want probabilities; called by job_take_logits. */
extern Status job_take_score(Job *job, const float *logits, ByteWriter *out);
extern Status job_take_logprobs(Job *job, ByteWriter *out);

/* Embedding: hidden states of rows first … first+n-1 (their positions); writes RESULT and ends after the last. */
extern Status job_take_hidden(Job *job, const float *hidden, uint32_t position, ByteWriter *out);

/* Once, before the first token of an answer that begins inside the thinking: a budget of 0 closes it at once. */
extern Status job_open_thinking(Job *job, Tokenizer *tokenizer);

#endif
