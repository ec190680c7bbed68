/*
 * client_requests.h - what a client asks for, from its frames to the end of its requests: in the loop, at the desk,
 * with the scheduler.
 *
 * A request that waits or runs hangs on its client; so does a paper that is at the desk. Nothing here reads or writes a
 * socket: answers go to the client's output buffer.
 */
#ifndef QWEN_CLIENT_REQUESTS_H
#define QWEN_CLIENT_REQUESTS_H

#include "server_private.h"

/* One whole frame, whose body is at offset in the input buffer, which may be gone afterwards. An error closes the
 * connection. */
extern Status client_handle_frame(Server *server, Client *client, const FrameHeader *header, size_t offset);

/* Does so much lie at the desk already that a frame has to wait where it is? body: of the frame. */
extern bool client_must_wait(const Server *server, const Client *client, const FrameHeader *header,
							 const unsigned char *body);

/* A paper that comes back and is still wanted. An error closes the connection. */
extern Status client_take_paper(Server *server, DeskPaper *paper);

/* The end of a paper that is not at the desk. */
extern void client_drop_paper(Server *server, DeskPaper *paper);

/* Nobody wants a client's requests and papers any more. */
extern void client_cancel_all(Server *server, Client *client);

/* What is to be closed waits for nobody who may wait for GO as long as limits want: such requests are refused, after a
 * moment in which their GO may be under way. */
extern void clients_make_way(Server *server);

/* For the scheduler: where a request's frames go, and its end. */
extern ByteWriter *client_output(void *server, EngineRequest *request);
extern void client_ended(void *server, EngineRequest *request);

#endif
