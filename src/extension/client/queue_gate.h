/*
 * queue_gate.h - how many requests this session may send into the engine's queue after the queue was full.
 *
 * Where the engine has no room for a request that said GO, it says ACCEPTED again, and the request stays as it was.
 * Then the session's next ones stand at this gate. Each of its requests that ends lets one through. Where none does,
 * one is let through to try after a pause, and with each pause after which none of them was refused twice as many,
 * until the gate is open; pauses behind refusals grow. So thousands of rows neither fill the engine's socket with GOs
 * in vain nor go one by one when the queue has emptied.
 */
#ifndef QWEN_QUEUE_GATE_H
#define QWEN_QUEUE_GATE_H

#include "../core/core.h"

/* The queue had no room for a request. */
extern void queue_gate_refused(void);

/* A request of this session has ended. */
extern void queue_gate_ended(void);

/* This session has none under way: what it knew of the queue is old. */
extern void queue_gate_reset(void);

/* May one more say GO now? It counts as one that does. */
extern bool queue_gate_pass(void);

/* How long until it may, if nothing ends. */
extern long queue_gate_pause_ms(void);

#endif
