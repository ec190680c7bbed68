/*
 * server_setup.h - what the server is made of, in the order in which the sandbox wants it, and its end.
 */
#ifndef QWEN_SERVER_SETUP_H
#define QWEN_SERVER_SETUP_H

#include "server_private.h"

/* Make all of a zeroed server with settings and page. After an error the process ends. */
extern Status server_set_up(Server *server);

/* Free it. Its clients are closed. */
extern void server_tear_down(Server *server);

#endif
