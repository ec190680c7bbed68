/*
 * model_call.h - functions that ask the model, as data, so that a plain call, an array function, an aggregate, a
 * trigger, the plan node that keeps many rows in flight and a background job share one way from arguments to requests
 * and from answers to a value.
 *
 * ModelFunction: what one function does, in steps. ModelCall: one evaluation of it, from its arguments to its value;
 * nothing in it waits but model_call_run, so that many can be under way at once.
 *
 *   build -> requests -> (next, or too_long -> requests)* -> finish: the value
 */
#ifndef QWEN_MODEL_CALL_H
#define QWEN_MODEL_CALL_H

#include "../client/client.h"
#include "outcomes.h"

typedef struct ModelCall ModelCall;

/* An argument of a function that is none of the common tail. */
typedef struct ModelArgument
{
	const char *name; /* as in SQL */
	Oid type;
} ModelArgument;

#define MODEL_FUNCTION_MAX_ARGUMENTS 5

/*
 * What a step may do: it adds requests with model_call_ask, whose texts are palloc'd, and keeps what it needs later in
 * call->state; both live as long as the call. It raises what is wrong, and may touch nothing but memory, because such
 * an error is kept with its row.
 */
typedef struct ModelFunction
{
	/* the C symbol, by which the planner knows the SQL function */
	const char *symbol;

	/* how a job names it, for the SQL function qwen_NAME; NULL: no job does */
	const char *name;

	/* from arguments to the first requests; none: the value is NULL */
	void (*build)(FunctionCallInfo fcinfo, ModelCall *call);

	/* all requests of a step have ended (call->replies): ask for more, or leave them for finish. NULL: one step does */
	void (*next)(FunctionCallInfo fcinfo, ModelCall *call);

	/*
	 * The context or the cache has no room for the first request and its whole answer: ask otherwise. NULL: a request
	 * that is too long is an error, and an answer ends where the room ends.
	 */
	void (*too_long)(FunctionCallInfo fcinfo, ModelCall *call);

	/*
	 * The value from the last frame of each request of the last step (DONE or RESULT; the kinds must be checked), in
	 * the current memory context. That the server's encoding cannot hold an answer is an error of its row. NULL: the
	 * value is the answer's text.
	 */
	Datum (*finish)(FunctionCallInfo fcinfo, const EngineReply *replies);

	/* instead of it, for values that are made of several steps: call->state has what is known */
	Datum (*finish_state)(FunctionCallInfo fcinfo, const ModelCall *call);

	Oid result;      /* type of the value; InvalidOid: a text */
	int least, most; /* arguments, as of QWEN_FUNCTION */

	/* its own arguments in order, the common tail behind them if has_tail; the last of most is options */
	ModelArgument arguments[MODEL_FUNCTION_MAX_ARGUMENTS];
	bool has_tail;
	ModelArgument later; /* one more that may be left out, between the tail and options; its name NULL: none */
	int input;           /* which of them is the text that a row of a job, or an element of an array, gives */
	const char *form;    /* the argument that becomes the form of the answer, which errors of it are about; or NULL */
	bool fits_length;    /* max_tokens follows the text's length, so a job does not settle it beforehand */
} ModelFunction;

/* The C function of a SQL function that is a plain call. */
#define QWEN_MODEL_FUNCTION(name, function)                                                                            \
	PG_FUNCTION_INFO_V1(name);                                                                                         \
	Datum name(PG_FUNCTION_ARGS)                                                                                       \
	{                                                                                                                  \
		return model_call_run(fcinfo, &function);                                                                      \
	}

/* The same for a function that returns rows, which its finish puts into fcinfo's tuplestore. */
extern Datum model_call_run_set(FunctionCallInfo fcinfo, const ModelFunction *function);

/* What calls have cost, for EXPLAIN ANALYZE. */
typedef struct ModelCallCounts
{
	int64 requests;
	int64 prompt_tokens;
	int64 cached_tokens;
	int64 completion_tokens;
	int64 constrained_tokens, forced_tokens; /* by the form of the answer */
	int64 mask_us;
	int64 failed;
} ModelCallCounts;

struct ModelCall
{
	const ModelFunction *function; /* NULL: not asked for, the value is NULL */
	FunctionCallInfo fcinfo;
	const NullableDatum *arguments; /* copied into fcinfo before a step; NULL: they stay there */
	const char *asked_by;           /* whom the log and the views name */
	MemoryContext memory;           /* requests and state; the attempt's once there is one */
	MemoryContext attempt;          /* what was made since model_call_send; NULL before */
	bool is_sent_again;             /* this is not the first attempt */
	void *state;                    /* the function's own; NULL until it sets it */
	List *asked;                    /* Request *: of this step */
	List *first;                    /* those of the first one */
	bool has_gone_on;               /* this is not the first step */
	bool takes_one_step;            /* what does not fit is an error, or cut */
	bool comes_back;                /* model_call_advance does not wait for limits: it is called again in time */
	bool is_over;                   /* all requests of the last step have ended, or there is an error */
	int n_requests;                 /* of this step, that were sent: all in the end, or up to one that fails */
	int n_ended;
	EngineCall **requests; /* [n_requests], with room for all of the step */
	EngineReply *replies;  /* [n_requests], likewise */
	ErrorData *error;      /* why a step could not be made */
	bool too_long;         /* to be asked otherwise */
	int failed;            /* the request that the engine answered with an error, or -1 */
	bool was_cut;          /* an answer of any step, off at max_tokens */
	ModelCallCounts counts;
};

/* One more request of this step, empty. */
extern Request *model_call_ask(ModelCall *call);

/*
 * Build and send the requests; everything lives in the current memory context, whose reset cancels them. arguments:
 * instead of those of fcinfo, which several calls may share; they live as long as the call. An error that concerns
 * this row alone is kept for model_call_value; others are raised.
 */
extern void model_call_start(ModelCall *call, const ModelFunction *function, FunctionCallInfo fcinfo,
							 const NullableDatum *arguments);

/* The first half of it, for those who send later. */
extern void model_call_build(ModelCall *call, const ModelFunction *function, FunctionCallInfo fcinfo,
							 const NullableDatum *arguments);

/* Send what was built, for the first time or, after model_call_end, again from the beginning. Raises. */
extern void model_call_send(ModelCall *call);

/* Take what has come without waiting, say GO where a request was accepted, and go on to the next step. true: it has
 * ended. Raises when the connection is gone. */
extern bool model_call_advance(ModelCall *call);

/*
 * The value of an ended call, made in the current memory context. Its error is raised, or, with qwen.on_error = null
 * and one that concerns this row alone, counted and the value NULL. counts may be NULL. The call is ended.
 */
extern Datum model_call_value(ModelCall *call, bool *is_null, ModelCallCounts *counts);

/* As model_call_value, but what concerns this row alone comes back as text in *error (palloc'd; else NULL). */
extern Datum model_call_value_or_error(ModelCall *call, bool *is_null, char **error);

/* Give up what is under way and free it; may be repeated. Never raises. */
extern void model_call_end(ModelCall *call);

/*
 * For those who take what came without PostgreSQL's types: has an ended call a value, and nothing that went wrong? Its
 * answer as the engine gave it, where finish is NULL; else finish's value, in the current memory context.
 */
extern bool model_call_has_value(const ModelCall *call);
extern ByteSpan model_call_answer(const ModelCall *call);

/* What is left of an answer that was cut off. */
extern CutAnswer model_call_cut(const ModelCall *call);
extern Datum model_call_finish(ModelCall *call, bool *is_null);

/* Is something of it computed: has a request its GO? And did the engine end while it was? */
extern bool model_call_is_running(const ModelCall *call);
extern bool model_call_engine_ended(const ModelCall *call);

/* The argument of a function by name, and its type; -1: it has none of that name. */
extern int model_function_argument(const ModelFunction *function, const char *name, Oid *type);

/* Is the value of a function made of the answer, and not the answer's text? */
extern bool model_function_makes_value(const ModelFunction *function);

/* The type of a function's value. */
extern Oid model_function_result(const ModelFunction *function);

/* A whole plain call: what the C function of a SQL function does. */
extern Datum model_call_run(FunctionCallInfo fcinfo, const ModelFunction *function);

/*
 * For values that are made otherwise (pieces of a stream, aggregates): run body. With qwen.on_error = null, an error
 * that concerns its row alone is counted, what body had begun is given up, and false says that the value is NULL.
 */
extern bool value_or_null(void (*body)(void *argument), void *argument);

#endif
