/*
 * errors.h - what the engine and the protocol say, as PostgreSQL errors.
 */
#ifndef QWEN_ERRORS_H
#define QWEN_ERRORS_H

#include "core.h"

extern int sqlstate_of(int status_code);
extern void raise_status(const Status *status) __attribute__((noreturn));
extern void raise_engine_error(const ProtocolError *error) __attribute__((noreturn));

#endif
