/*
 * connections.h - clients' sockets: accepting, reading frames, sending answers, closing.
 *
 * Nothing here blocks: sockets are non-blocking, every client has an input buffer (grown as bytes arrive, up to one
 * frame) and an output buffer (bounded; a client that reads nothing is closed). A client that breaks the protocol loses
 * its own connection. One that has much lying at the desk is not read from until less does.
 */
#ifndef QWEN_CONNECTIONS_H
#define QWEN_CONNECTIONS_H

#include "server_private.h"

/* Take the next connections; the listener stays ready while there are more. */
extern void connections_accept(Server *server);

/* Watch the listener or, where no descriptor is free for a client, leave it alone: it would be ready all the time. */
extern void connections_watch_listener(Server *server, bool watched);

/* Without a free descriptor nobody is accepted for a moment: watch the listener again when it is over. */
extern void connections_look_again(Server *server);

/* These events have come for a client. */
extern void connection_use(Server *server, Client *client, uint32_t events);

/* All that the desk is done with. */
extern void connections_take_papers(Server *server);

/* Send everybody's output and close who is to be closed. */
extern void connections_flush(Server *server);

/* Close all. */
extern void connections_close(Server *server);

#endif
