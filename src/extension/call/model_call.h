/*
 * model_call.h - SQL functions that ask the model, as data, so that a plain call, an array function and the plan node
 * that keeps many rows in flight share one way from arguments to requests and from answers to a value.
 *
 * ModelFunction: what one SQL function does. ModelCall: one evaluation of it, from its arguments to its value; nothing
 * in it waits but model_call_run, so that many can be under way at once.
 */
#ifndef QWEN_MODEL_CALL_H
#define QWEN_MODEL_CALL_H

#include "../client/client.h"

#define MODEL_CALL_MAX_REQUESTS 2

typedef struct ModelFunction
{
	/* the C symbol, by which the planner knows the SQL function */
	const char *symbol;

	/*
	 * Arguments of fcinfo to requests, whose texts are palloc'd: [MODEL_CALL_MAX_REQUESTS], zeroed. How many; 0: the
	 * value is NULL. Raises what is wrong with an argument; may touch nothing but memory, because such an error is kept
	 * with its row.
	 */
	int (*build)(FunctionCallInfo fcinfo, Request *requests);

	/*
	 * The value from the last frame of each request (DONE or RESULT; the kinds must be checked). fcinfo as in build,
	 * and so is what it may do: that the server's encoding cannot hold an answer is an error of its row.
	 */
	Datum (*finish)(FunctionCallInfo fcinfo, const EngineReply *replies);

	/*
	 * The value where the context or the cache has no room for the request and its whole answer; may wait. NULL: a
	 * request that is too long is an error, and an answer ends where the room ends.
	 */
	Datum (*when_too_long)(FunctionCallInfo fcinfo);

	int least, most; /* arguments, as of QWEN_FUNCTION */
} ModelFunction;

/* The C function of a SQL function that is a plain call. */
#define QWEN_MODEL_FUNCTION(name, function)                                                                            \
	PG_FUNCTION_INFO_V1(name);                                                                                         \
	Datum name(PG_FUNCTION_ARGS)                                                                                       \
	{                                                                                                                  \
		return model_call_run(fcinfo, &function);                                                                      \
	}

/* What calls have cost, for EXPLAIN ANALYZE. */
typedef struct ModelCallCounts
{
	int64 requests;
	int64 prompt_tokens;
	int64 cached_tokens;
	int64 completion_tokens;
	int64 failed;
} ModelCallCounts;

typedef struct ModelCall
{
	const ModelFunction *function; /* NULL: not asked for, the value is NULL */
	FunctionCallInfo fcinfo;
	int n_requests;
	int n_ended;
	EngineCall *requests[MODEL_CALL_MAX_REQUESTS];
	EngineReply replies[MODEL_CALL_MAX_REQUESTS];
	int max_tokens[MODEL_CALL_MAX_REQUESTS]; /* that were asked for */
	ErrorData *error;                        /* why it could not be sent */
	bool too_long;                           /* to be left to when_too_long */
	int failed;                              /* the request that the engine answered with an error, or -1 */
} ModelCall;

/*
 * Build and send the requests; everything lives in the current memory context, whose reset cancels them. An error that
 * concerns this row alone is kept for model_call_value; others are raised.
 */
extern void model_call_start(ModelCall *call, const ModelFunction *function, FunctionCallInfo fcinfo);

/* Take what has come without waiting, and say GO where a request was accepted. true: it has ended. Raises when the
 * connection is gone. */
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

/* A whole plain call: what the C function of a SQL function does. */
extern Datum model_call_run(FunctionCallInfo fcinfo, const ModelFunction *function);

/* Does an error of this SQLSTATE concern the text and arguments of one call only? */
extern bool is_row_error(int sqlstate);

/*
 * For values that are made otherwise (pieces of a stream, aggregates): run body. With qwen.on_error = null, an error
 * that concerns its row alone is counted, what body had begun is given up, and false says that the value is NULL.
 */
extern bool value_or_null(void (*body)(void *argument), void *argument);

/* An answer was cut off at its max_tokens. is_empty: thinking has taken all of them. Told of at the statement's end. */
extern void count_cut(bool is_empty);

/* The same for DONE, where it was. */
extern void count_if_cut(const Done *done);

/* Was any, since the last time? For those who tell of it themselves. */
extern bool take_cut(void);

/* The WARNING that counts values that became NULL since the last one; nothing when there are none. */
extern void warn_of_nulls(void);

/* Define how statements end: where the WARNING is said. */
extern void model_call_init(void);

#endif
