/*
 * client.h - calls of this session to the engine: sent, waited for with interrupts, taken in as frames come, ended.
 */
#ifndef QWEN_CLIENT_H
#define QWEN_CLIENT_H

#include "../core/engine_reply.h"

typedef struct EngineCall EngineCall;

/*
 * Send a request; waits while its model is still being loaded. The call belongs to context: when that is reset, a call
 * that has not ended is cancelled and all of it freed.
 */
extern EngineCall *engine_submit(const Request *request, MemoryContext context);

/* The engine ended before a request began, or its model was closed, as for other settings: the same is to be asked of
 * the one that comes after it, for which it waits. */
extern bool engine_has_not_begun(const EngineReply *reply);

/* Give a call up and ask the same in its place. */
extern EngineCall *engine_ask_again(EngineCall *call, const Request *request, MemoryContext context);

/* Wait for the next frame of a call; an ERROR frame is raised. flush: send what the client of this session has waiting
 * first. */
extern void engine_next(EngineCall *call, EngineReply *reply, bool flush);

/* Take in what has come, for all calls, without waiting. */
extern void engine_receive(void);

/* The next frame of a call if it has been taken in, an ERROR frame too. Raises when the call's connection is gone,
 * unless the engine has ended before the request began. */
extern bool engine_poll(EngineCall *call, EngineReply *reply);

/* Wait, interruptibly, until something may have come for any call; only while one is on its way. flush: as above. */
extern void engine_wait(bool flush);

/* Wait until anything comes from the engine, the latch is set or the time is over. true: it was the latch. */
extern bool engine_wait_for(long timeout_ms);

/* Calls of this session that have not ended; counted up to most. */
extern int engine_under_way(int most);

/* Did the engine end while it had the call? Not so where this session has given up its connection. */
extern bool engine_ended_with(const EngineCall *call);

/* Say GO after ACCEPTED, when the limits of the session's roles allow it: raises 53400, or waits (admission.c).
 * ACCEPTED comes again where the engine's queue was full: then it waits for room first, qwen.queue_timeout at most
 * (58000). */
extern void engine_go(EngineCall *call);

/* The same for a worker of jobs, which has other things to do meanwhile: while limits do not allow it, or something
 * else has come, nothing is said. To be called again within limits_again_ms. Has it been said? */
extern void engine_try_go(EngineCall *call);
extern bool engine_has_go(const EngineCall *call);

/* Give a call up, or free the frames of one that has ended; may be repeated. Never raises. */
extern void engine_end(EngineCall *call);

/* The model of a request that is made later: what it would be now, if there is any. Raises, as a call does, for one
 * that the session may not ask and one that is neither in qwen.models nor loaded, without asking the engine. */
extern void engine_settle_model(Request *request);

/* Is the model of a request, with its adapter, served now? */
extern bool engine_serves(const Request *request);

/* Would engine_submit wait for the request's model, or its adapter, to be loaded? Raises what is wrong with either. */
extern bool engine_would_wait(const Request *request);

/* Is it the request's model, or its adapter, that could not be loaded? Others may be served. */
extern bool engine_could_not_load(const Request *request);

/* Is a model in qwen.models, loaded, or being loaded? */
extern bool engine_knows_model(const char *name);

/* Is a model there, or one that is awaited, so that a request for it may be answered by and by? name: NULL: any model.
 */
extern bool engine_awaits_model(const char *name);

/*
 * What would the engine say to a request that is made later? It is prepared as any other and given up before it is
 * computed. Raises what is wrong with it for good (SQLSTATE 22..., 0A..., 54...). Where its model cannot be asked now,
 * nothing is said. It counts in no statistics.
 */
extern void engine_try(const Request *request);

/* Submit, say GO and wait for the first frame behind that: the request has begun. Asked again by itself as long as it
 * has not. Ended here when an error is raised. context, flush: as above. */
extern EngineCall *engine_begin(const Request *request, MemoryContext context, EngineReply *reply, bool flush);

/* Whole call in the current memory context: the same until DONE or RESULT. */
extern EngineCall *engine_run(const Request *request, EngineReply *reply);

/*
 * Raise that a model could not be loaded. file: as it was configured (UTF-8); why: the loader's message, shown as it
 * is; otherwise: the HINT where nothing better is known of the cause, or NULL.
 */
extern void raise_load_failure(int sqlstate, const char *name, const char *file, const char *why, const char *otherwise)
	__attribute__((noreturn));

/* The same with another message about a file. */
extern void raise_file_failure(int sqlstate, const char *message, const char *file, const char *why,
							   const char *otherwise) __attribute__((noreturn));

/* Raise that a model is not loaded, and why; model: as the engine is told it (UTF-8), "" where none was named. */
extern void raise_not_loaded(const char *model) __attribute__((noreturn));

/* Wait a few milliseconds, interruptibly. */
extern void wait_a_moment(void);

/* Wait until the supervisor is there and has read qwen.models; 58000 when it does not come. */
extern void wait_for_supervisor(void);

/* 58000 with the reason when the engine keeps ending and waits for its next start. */
extern void check_engine_state(void);

#endif
