/*
 * activity.h - the list of requests that are under way.
 */
#ifndef QWEN_ACTIVITY_H
#define QWEN_ACTIVITY_H

#include "watch.h"

extern Size activity_memory_bytes(void);
extern void activity_init_memory(void);

/* A place for a request of this session, or -1 when all are taken. */
extern int activity_add(const WatchedRequest *watched);
extern void activity_set_model(int entry, const char *model);
extern void activity_set_prompt_tokens(int entry, uint32 prompt_tokens);
extern void activity_set_go(int entry, uint32 meter);
extern void activity_set_no_room(int entry);
extern void activity_remove(int entry);

/* What the engine has computed for the requests of a session that have not ended. */
typedef struct ActivityTokens
{
	int64 prompt, completion;
} ActivityTokens;

extern ActivityTokens activity_tokens_of(uint32 pid);

/* Requests that ran without being listed, since the server started. */
extern uint64 activity_unlisted(void);

#endif
