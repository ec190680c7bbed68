/*
 * watch.h - what is seen of requests: those under way (activity.c) and what became of all others (stats.c).
 *
 * client.c, through which every request goes, tells watch.c of each turn in a request's life. Nothing here raises,
 * waits for the engine, or keeps any text of a prompt or an answer.
 */
#ifndef QWEN_WATCH_H
#define QWEN_WATCH_H

#include "../core/engine_reply.h"

#define FUNCTION_NAME_BYTES 48

/* What one request is known by as long as its session has it. */
typedef struct WatchedRequest
{
	int entry; /* its place in the list of what runs, or -1 */
	Oid role;  /* the current role outside of SECURITY DEFINER functions */
	uint8 kind;
	char model[ADAPTED_NAME_BYTES];     /* "": not known */
	char function[FUNCTION_NAME_BYTES]; /* the SQL function that asks */
	bool has_go, counted;
	uint32 meter;                                      /* with has_go */
	uint64 submitted_us, go_us, ended_us;              /* clock_now_us(); 0: not yet */
	uint32 used_prompt_tokens, used_completion_tokens; /* by its meter, when it ended */
} WatchedRequest;

/* A request is about to be sent; its model may have to be waited for. */
extern void watch_begin(WatchedRequest *watched, const Request *request);

/* Its model is chosen. */
extern void watch_model(WatchedRequest *watched, const char *model);

/* The engine has looked at it. */
extern void watch_accepted(WatchedRequest *watched, const Accepted *accepted);

/* GO is about to be sent, with this meter. */
extern void watch_go(WatchedRequest *watched, uint32 meter);

/* The engine had no room for it: it will have another GO. */
extern void watch_no_room(WatchedRequest *watched);

/* Nothing more will come from the engine; may be repeated. */
extern void watch_end(WatchedRequest *watched);

/* What it gave: its last frame has been read. */
extern void watch_answered(WatchedRequest *watched, const EngineReply *reply);

/* An error of this SQLSTATE ended it. Only the first of these three counts. */
extern void watch_failed(WatchedRequest *watched, int sqlstate);

/* It was never meant to be answered: it counts nowhere. */
extern void watch_forget(WatchedRequest *watched);

/* Its session does not want it any more. */
extern void watch_given_up(WatchedRequest *watched);

/* How far a statement is that asks about rows. */
typedef struct WatchedProgress
{
	int64 rows_done;
	double rows_expected;                   /* negative: not known */
	int64 prompt_tokens, completion_tokens; /* of rows that are done */
} WatchedProgress;

/* Show it; symbol: the C function that is asked. Until the other. */
extern void watch_progress(const char *symbol, TimestampTz started_at, const WatchedProgress *progress);
extern void watch_progress_end(void);

/* Ask PostgreSQL for memory, and begin with it (under AddinShmemInitLock). */
extern void watch_request_memory(void);
extern void watch_start_memory(void);

#endif
