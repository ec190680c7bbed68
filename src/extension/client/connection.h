/*
 * connection.h - the socket to the engine: one a backend, made when it is first needed, with what could not be sent
 * yet.
 */
#ifndef QWEN_CONNECTION_H
#define QWEN_CONNECTION_H

#include "postgres.h"

/* The connection of this number is given up. engine_ended: it was not our doing. */
typedef void ConnectionClosed(uint64 number, bool engine_ended);

/* Who is told so; before anything else. */
extern void connection_listen(ConnectionClosed *listener);

/* Connect if we are not. Raises 58000. */
extern void connection_open(void);

/* Give it up; never raises. */
extern void connection_close(bool engine_ended);
extern bool connection_is_open(void);

/* Which one it is: calls on it find out by its number that it is gone. */
extern uint64 connection_number(void);

/* Send as much of the rest of a frame as the socket takes; 0: it is full, -1: the connection is gone. Of a frame whose
 * beginning is sent connection_unsent() says how much is missing. */
extern ssize_t connection_send(const unsigned char *data, size_t length);
extern size_t connection_unsent(void);

/* Keep a CANCEL to be sent before anything else. false: there is no room, or a frame is cut. */
extern bool connection_send_later(const unsigned char *frame, size_t length);

/* Send what was kept, as far as the socket takes it; never waits or raises. */
extern void connection_send_late(void);
extern bool connection_has_late(void);

/* Read what is there; 0: nothing, or the connection is gone. */
extern ssize_t connection_receive(char *buffer, size_t length);

/*
 * Wait for the latch or the socket (to_send: until it takes more, too), interruptibly. A connection that still stands
 * in the backlog of an engine that does not start is given up. One that is gone has nothing to wait for: its calls find
 * out when they are polled.
 */
extern void connection_wait(bool to_send, long timeout_ms);

/* Wait for the socket, the latch or the time, without looking at interrupts. true: it was the latch. */
extern bool connection_wait_for(long timeout_ms);

#endif
