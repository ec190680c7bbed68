/*
 * request.h - one request that a model works on: whose it is, how far it is, the sequences that are computed for it.
 *
 * A client's message (Request, protocol.h) is an EngineRequest from ACCEPTED to its last frame; in the engine's code
 * "request" means this one, and what the client sent is the "message". An EngineRequest knows neither sockets nor the
 * batch: the server owns the connection it came on, scheduler.c moves it through its states. What its kind does
 * differently stands in a table of functions (EngineKind): what is here is the same for all.
 *
 *   (prepared, waiting for GO) ACCEPTED -> QUEUED -> RUNNING -> ENDED
 */
#ifndef QWEN_REQUEST_H
#define QWEN_REQUEST_H

#include "../protocol/protocol.h"
#include "../protocol/status_page.h"
#include "sequence.h"
#include "workplace.h"

typedef enum RequestState
{
	STATE_ACCEPTED, /* waits for GO */
	STATE_QUEUED,   /* waits for a place and KV blocks, for the first time or preempted */
	STATE_RUNNING,
	STATE_ENDED, /* its last frame is written */
} RequestState;

struct RoleAccount;
struct EngineKind;

/* What the form of an answer has done. */
typedef struct FormCounts
{
	uint32_t n_tokens; /* for which it said what may come … */
	uint32_t n_forced; /* … and of these, those of which it left no choice */
	uint64_t mask_ns;  /* to find what may come */
} FormCounts;

typedef struct EngineRequest
{
	uint32_t id; /* the client's */
	const struct EngineKind *kind;
	RequestState state;
	Model *model;
	struct Slot *slot;           /* of the model */
	struct AdapterSlot *adapter; /* or NULL */
	float adapter_scale;
	Sequence *sequences; /* [n_sequences], at least one unless the answer is ready before GO */
	uint32_t n_sequences;
	void *work;       /* the kind's own */
	size_t kept;      /* bytes that are taken for it (kept_memory.h) */
	bool is_complete; /* nothing is left to compute: the last frame comes next */

	/* amounts */
	uint32_t n_prompt;        /* tokens that were asked with */
	uint32_t n_counted;       /* of these: that are in the statistics … */
	uint32_t n_cached_tokens; /* … and that it did not have to compute */
	FormCounts form;          /* … what an answer's form has done so far, … */
	FormCounts form_counted;  /* … and what of it is in the engine's statistics */
	RequestMeter *meter;      /* NULL: nobody wants to know */
	uint64_t go_us, started_us;

	/* for the server */
	void *client;
	struct EngineRequest *next_of_client;
	uint64_t round; /* of the server, in which it was accepted */
	uint64_t accepted_us;
	bool is_only; /* its role had no others then */

	/* for the scheduler */
	struct EngineRequest *next, *previous; /* in its list */
	uint32_t role;
	struct RoleAccount *account; /* of the role, from GO to the end */
	int32_t priority;
	bool alone;          /* its client asked for nothing else at the time: somebody waits for this one */
	uint64_t arrival;    /* the how manieth that said GO */
	bool was_preempted;  /* waits for the second time */
	uint32_t n_gave_way; /* times that it went back into the queue for one of higher priority */
	uint32_t n_passed;   /* small ones that were started although it was its turn */
} EngineRequest;

/* What a step has computed of a sequence at a position, if it was wanted. */
typedef struct StepRow
{
	uint32_t position;
	float *logits;       /* [vocab]: may be changed */
	const float *hidden; /* [hidden] */
} StepRow;

/*
 * What a kind of requests does differently. NULL: there is nothing to do, or nothing wanted. The functions of a running
 * request are called by the scheduler through those below, and call neither it nor each other's.
 */
typedef struct EngineKind
{
	bool samples;      /* its rows give tokens of an answer, which are counted, and may be guessed */
	bool every_row;    /* it wants the logits of every row, of which a step has few */
	bool wants_hidden; /* it wants hidden states, of every row, and no logits */

	/* Make the sequences and the kind's own work of a message. What there is after an error is destroyed as usual. */
	Status (*prepare)(EngineRequest *request, const Workplace *place, const Request *message);

	/* Bytes of memory, of its own work, that it keeps until its end and that grow with what was asked (kept_memory.h).
	 */
	size_t (*kept_bytes)(const EngineRequest *request);

	/* How many of the last of n rows, up to which a step takes a sequence, need logits. */
	uint32_t (*rows_wanted)(const EngineRequest *request, const Sequence *sequence, uint32_t n);

	/* A step of n_rows begins. */
	void (*begin_step)(EngineRequest *request, const Sequence *sequence, uint32_t n_rows);

	/* Guesses of the next tokens that its kind has by itself, up to n; and of n guesses behind the last token, how many
	 * can stay. */
	uint32_t (*guess)(EngineRequest *request, const Sequence *sequence, uint32_t n, int32_t *guesses);
	uint32_t (*check_guesses)(EngineRequest *request, const Sequence *sequence, uint32_t n);

	/* The token behind the last one and i guesses, by logits [vocab] of a layer or a model that guesses: begun by
	 * begin_guess, once the guesses before it are there; then on any thread. */
	void (*begin_guess)(EngineRequest *request, const Sequence *sequence, uint32_t i);
	int32_t (*guess_token)(EngineRequest *request, const Sequence *sequence, float *logits, uint32_t i);

	/*
	 * The part of a step that needs a row's logits and nothing else, on any member of the team: draws the next token,
	 * or looks for a token's rank. Of a kind that samples it is called for the rows in order, by one member at a time,
	 * and true means that the row after this one counts too, because the guess that it stands behind was right.
	 */
	bool (*look)(EngineRequest *request, const Sequence *sequence, float *logits, uint32_t row);

	/* After a step: the rows that were wanted, in order. Writes PIECE; sets is_complete after the last. */
	Status (*take_row)(EngineRequest *request, Sequence *sequence, const StepRow *row, ByteWriter *out);

	/* The last frame, once it is complete. */
	Status (*finish)(EngineRequest *request, ByteWriter *out);

	/* What came of a sequence's rows so far comes again: its blocks were given away. */
	void (*restart)(EngineRequest *request, const Sequence *sequence);

	/* Free the kind's own work, as far as it was made. */
	void (*destroy)(EngineRequest *request);
} EngineKind;

/* A request that waits to be prepared, or NULL; without sequences. */
extern EngineRequest *request_new(const EngineKind *kind, const Workplace *place, const Request *message, uint32_t id);
extern void request_destroy(EngineRequest *request);

/* Give it n empty sequences, once. false: no memory. */
extern bool request_add_sequences(EngineRequest *request, uint32_t n);

/* Take what its work keeps from the memory there is for that, once it is prepared. It goes back when it is destroyed.
 */
extern Status request_keep_work(EngineRequest *request);

/* Its model is this slot's. */
extern void request_use_slot(EngineRequest *request, struct Slot *slot);

/* Is there nothing to compute for an accepted request? Then GO brings its last frame at once, after which it is to be
 * destroyed. */
extern bool request_is_ready(const EngineRequest *request);

/* What ACCEPTED says of it. */
extern Accepted request_accepted(const EngineRequest *request);
extern Status request_give_ready(EngineRequest *request, ByteWriter *out);

/* Tokens that its models have given so far. */
extern uint32_t request_n_generated(const EngineRequest *request);

/* Write what it has used so far into its meter. */
extern void request_write_meter(const EngineRequest *request);

/* sequence.h's of the same names, for all of its sequences. */
extern uint32_t request_rows_left(const EngineRequest *request);
extern void request_use_cached(EngineRequest *request);
extern void request_give_blocks(EngineRequest *request, bool keeps_leaves);
extern uint64_t request_bytes_wanted(const EngineRequest *request);
extern uint64_t request_bytes(const EngineRequest *request);
extern uint64_t request_bytes_freed(const EngineRequest *request);
extern bool request_has_blocks(const EngineRequest *request);

/* The functions of its kind. request_take_row writes the last frame too and sets STATE_ENDED then; after an error it is
 * over as well. */
extern uint32_t request_rows_wanted(const Sequence *sequence, uint32_t n);
extern void request_begin_step(Sequence *sequence, uint32_t n_rows);
/* in_text: what the text says counts too. guessed_by says whose the guesses are. */
extern uint32_t request_guess(Sequence *sequence, uint32_t n, bool in_text);
extern void request_begin_guess(Sequence *sequence, uint32_t i);
extern uint32_t request_check_guesses(Sequence *sequence, uint32_t n);
extern int32_t request_guess_token(const Sequence *sequence, float *logits, uint32_t i);
extern bool request_look(const Sequence *sequence, float *logits, uint32_t row);
extern Status request_take_row(Sequence *sequence, const StepRow *row, ByteWriter *out);

#endif
