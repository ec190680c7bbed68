/*
 * long_frames.h - memory for long requests, from the first bytes of one until the desk is done with it.
 *
 * A request may be as large as a frame (PROTOCOL_MAX_BODY_BYTES), and any session may send one. What is longer than
 * KEPT_BUFFER_BYTES is read only once there is room for all of it, under a bound for all clients that roles share
 * (role_budget.h); until then it waits where it is, in the socket and with who sends it.
 */
#ifndef QWEN_LONG_FRAMES_H
#define QWEN_LONG_FRAMES_H

#include "server_private.h"

#define LONG_FRAMES_BYTES ((size_t) 256 * 1024 * 1024)

/* May a frame be read on, of whose body length bytes are there? false: its client is not to be read from before
 * long_frames_next names it. */
extern bool long_frame_has_room(Server *server, Client *client, const FrameHeader *header, const unsigned char *body,
								size_t length);

/* The frame of a client has become a paper. */
extern void long_frame_give_paper(Client *client, DeskPaper *paper);

/* The end of what a client's frame, or a paper, has. */
extern void long_frame_end(Server *server, LongFrame *frame);

/* Of the clients that wait for room, the first after another one (NULL: the first of all) in the order in which they
 * began to; NULL: there is none, or no room has become free since they were last gone through. */
extern Client *long_frames_next(Server *server, const Client *after);

#endif
