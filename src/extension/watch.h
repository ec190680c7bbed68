/*
 * watch.h - what is seen of requests: those under way (activity.c) and what became of all others (stats.c).
 *
 * client.c, through which every request goes, tells watch.c of each turn in a request's life. Nothing here raises,
 * waits for the engine, or keeps any text of a prompt or an answer.
 */
#ifndef QWEN_WATCH_H
#define QWEN_WATCH_H

#include "qwen_pg.h"

#define FUNCTION_NAME_BYTES 48

/* What one request is known by as long as its session has it. */
typedef struct WatchedRequest
{
	int entry; /* its place in the list of what runs, or -1 */
	Oid role;  /* the current role outside of SECURITY DEFINER functions */
	uint8 kind;
	char model[PROTOCOL_MAX_NAME_BYTES + 1]; /* "": not known */
	char function[FUNCTION_NAME_BYTES];      /* the SQL function that asks */
} WatchedRequest;

/* ---- watch.c ---- */
/* A request is about to be sent; its model may have to be waited for. */
extern void watch_begin(WatchedRequest *watched, const Request *request);

/* Its model is chosen. */
extern void watch_model(WatchedRequest *watched, const char *model);

/* The engine has looked at it. */
extern void watch_accepted(WatchedRequest *watched, const Accepted *accepted);

/* GO is about to be sent, with this meter. */
extern void watch_go(WatchedRequest *watched, uint32 meter);

/* It is over, in whatever way; may be repeated. */
extern void watch_end(WatchedRequest *watched);

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

#endif
