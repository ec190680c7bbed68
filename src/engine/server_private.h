/*
 * server_private.h - what the server's files share: its clients, and all that there is one of. See server.h.
 */
#ifndef QWEN_SERVER_PRIVATE_H
#define QWEN_SERVER_PRIVATE_H

#include "../base/clock.h"
#include "desk.h"
#include "role_budget.h"
#include "round_clock.h"
#include "scheduler.h"
#include "server.h"

#define KEPT_BUFFER_BYTES ((size_t) 1024 * 1024) /* a buffer that a giant made larger than this is freed after use */

struct Client
{
	struct Client *next;
	int fd;
	bool dead;        /* to be closed at the end of this round */
	bool blocked;     /* the socket takes no more for now */
	uint32_t watched; /* the events that are asked for */
	ByteWriter input, output;
	size_t n_sent;           /* of output */
	EngineRequest *requests; /* linked by next_of_client */
	DeskPaper *papers;       /* of it that are at the desk, linked by next_of_client */
	size_t desk_bytes;       /* of these */
	uint32_t n_requests;     /* of both kinds */
	bool paused;             /* not read from before a paper comes back, or there is room for its frame */
	LongFrame frame;         /* the one that is being read */
	uint64_t waits_since;    /* for room for its frame: the how manieth wait; 0: it does not */
};

typedef struct Client Client;

typedef struct Server
{
	ServerSettings settings;
	StatusPage *page;
	int epoll_fd, signal_fd;
	uint64_t listener_paused_us; /* since when; 0: it is watched */
	uint64_t closings_since_us;  /* the second in which broken connections are counted */
	uint32_t n_closings;
	Client *clients;
	uint32_t n_clients;
	Slots slots;
	Scheduler *scheduler;
	Desk *desk;
	size_t desk_bytes;
	RoleBudget long_frames; /* what has come, or will, of long requests that are not prepared yet */
	uint64_t n_waits;       /* for room for one */
	bool has_room_again;
	ByteWriter nowhere; /* output of requests whose client is gone */
	RoundClock clock;
	bool stop;
} Server;

/* Work gets on: what there is to do between two steps may be much. */
static inline void
server_beat(Server *server)
{
	atomic_store_explicit(&server->page->heartbeat_us, clock_now_us(), memory_order_relaxed);
}

#endif
