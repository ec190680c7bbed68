/*
 * chat.h - what functions that answer with text share.
 */
#ifndef QWEN_CHAT_H
#define QWEN_CHAT_H

#include "../call/call.h"

/* DONE, or the error that there is none. */
extern const Done *done_of(const EngineReply *reply);

/* finish of a function whose value is the answer's content. */
extern Datum finish_answer(FunctionCallInfo fcinfo, const EngineReply *replies);

#endif
