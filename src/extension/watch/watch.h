/*
 * watch.h - what is seen of requests: those under way (activity.c) and what became of all others (stats.c).
 *
 * client.c, through which every request goes, tells watch.c of each turn in a request's life. Nothing here raises,
 * waits for the engine, or keeps any text of a prompt or an answer.
 */
#ifndef QWEN_WATCH_H
#define QWEN_WATCH_H

#include "../qwen_pg.h"

#define FUNCTION_NAME_BYTES 48

/* What one request is known by as long as its session has it. */
typedef struct WatchedRequest
{
	int entry; /* its place in the list of what runs, or -1 */
	Oid role;  /* the current role outside of SECURITY DEFINER functions */
	uint8 kind;
	char model[PROTOCOL_MAX_NAME_BYTES + 1]; /* "": not known */
	char function[FUNCTION_NAME_BYTES];      /* the SQL function that asks */
	bool has_go, counted;
	uint32 meter;                                      /* with has_go */
	uint64 submitted_us, go_us, ended_us;              /* clock_now_us(); 0: not yet */
	uint32 used_prompt_tokens, used_completion_tokens; /* by its meter, when it ended */
} WatchedRequest;

/* How a request ended. */
typedef enum RequestEnd
{
	ENDED_WELL,
	ENDED_BY_ERROR,
	ENDED_BY_CANCEL, /* its session gave it up: cancelled, terminated, rolled back, or a LIMIT was reached */
	ENDED_BY_LIMIT,  /* a limit of its role refused it */
} RequestEnd;

/* What a request that has ended adds to the statistics. */
typedef struct RequestOutcome
{
	RequestEnd end;
	int error_class; /* of ENDED_BY_ERROR: by stats_error_class */
	uint32 prompt_tokens, cached_tokens, completion_tokens;
	bool has_first_token;
	uint64 total_us, queue_us, ttft_us;
} RequestOutcome;

/* ---- watch.c ---- */
/* A request is about to be sent; its model may have to be waited for. */
extern void watch_begin(WatchedRequest *watched, const Request *request);

/* Its model is chosen. */
extern void watch_model(WatchedRequest *watched, const char *model);

/* The engine has looked at it. */
extern void watch_accepted(WatchedRequest *watched, const Accepted *accepted);

/* GO is about to be sent, with this meter. */
extern void watch_go(WatchedRequest *watched, uint32 meter);

/* Nothing more will come from the engine; may be repeated. */
extern void watch_end(WatchedRequest *watched);

/* What it gave: its last frame has been read. */
extern void watch_answered(WatchedRequest *watched, const EngineReply *reply);

/* An error of this SQLSTATE ended it. Only the first of these three counts. */
extern void watch_failed(WatchedRequest *watched, int sqlstate);

/* Its session does not want it any more. */
extern void watch_given_up(WatchedRequest *watched);

/* May the current user see what other roles do? called: the function that asks, in whose schema qwen_monitor() is. */
extern bool may_see_others(Oid called);

/* ---- activity.c ---- */
extern Size activity_memory_bytes(void);
extern void activity_init_memory(void);

/* A place for a request of this session, or -1 when all are taken. */
extern int activity_add(const WatchedRequest *watched);
extern void activity_set_model(int entry, const char *model);
extern void activity_set_prompt_tokens(int entry, uint32 prompt_tokens);
extern void activity_set_meter(int entry, uint32 meter);
extern void activity_remove(int entry);

/* Requests that ran without being listed, since the server started. */
extern uint64 activity_unlisted(void);

/* ---- stats.c ---- */
extern int qwen_stat_max; /* settings.c */
extern Size stats_memory_bytes(void);
extern void stats_init_memory(void);

/* Count a request that has ended. */
extern void stats_count(const WatchedRequest *watched, const RequestOutcome *outcome);

/* Which counter of errors a SQLSTATE belongs to. */
extern int stats_error_class(int sqlstate);

#endif
