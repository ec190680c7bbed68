/*
 * engine_reply.h - a frame that the engine has sent for a request.
 */
#ifndef QWEN_ENGINE_REPLY_H
#define QWEN_ENGINE_REPLY_H

#include "core.h"

/* What came back last. Spans point into the call and live until the next engine_next or the call's end. */
typedef struct EngineReply
{
	uint16 type; /* FrameType: ACCEPTED, PIECE, DONE, RESULT, ERROR */
	union
	{
		Accepted accepted;
		Piece piece;
		Done done;
		RequestResult result;
		ProtocolError error; /* of engine_poll only */
	};
} EngineReply;

#endif
