/*
 * protocol_private.h - what encode.c and decode.c share and nobody else needs.
 */
#ifndef QWEN_PROTOCOL_PRIVATE_H
#define QWEN_PROTOCOL_PRIVATE_H

#include "protocol.h"

#define NOT_GIVEN_LENGTH UINT32_MAX

/* Room for everything in a REQUEST that is not text: fixed members and the lengths of all spans. */
#define REQUEST_FIXED_BYTES ((uint32_t) 1024)

/* The rules that a REQUEST must keep beyond its layout, checked on both sides. */
extern Status request_check(const Request *request);

/* The body of a GO that has a meter. */
#define GO_METER_BYTES 4

#endif
