/*
 * server.c - one thread, epoll; see server.h.
 *
 * Nothing here blocks: sockets are non-blocking, every client has an input buffer (grown as bytes arrive, up to one
 * frame) and an output buffer (bounded; a client that reads nothing is closed). A client that breaks the protocol loses
 * its own connection. Only short requests are prepared here, and no more of them between two steps than take a moment;
 * all others go to the desk (desk.h). A client that has much lying there is not read from until less does.
 */
#include "server.h"

#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../base/clock.h"
#include "../base/memory.h"
#include "../base/pages.h"
#include "../protocol/protocol.h"
#include "desk.h"
#include "prepare.h"
#include "replies.h"
#include "sandbox.h"
#include "scheduler.h"

#define IDLE_WAIT_MS 250
#define MAX_EVENTS 64
#define MAX_CLIENTS 4096
#define MAX_ACCEPTS 64 /* connections taken in a round: more may come than can be taken, and answers have to go on */
#define CLOSINGS_LOGGED 20 /* lines in the log each second about broken connections; more are counted */
#define TOO_LONG_HINT "Send less text: qwen_chunk cuts it into parts, and qwen_summarize takes texts of any length."
#define LISTENER_PAUSE_US ((uint64_t) 250 * 1000) /* without a free descriptor nobody is accepted for so long */
#define NAMES_BYTES (STATUS_PAGE_MAX_SLOTS * (PROTOCOL_MAX_NAME_BYTES + 3)) /* the names of all slots, never cut */
#define READ_BYTES ((size_t) 64 * 1024)
#define MAX_READS 16     /* of a client in a round */
#define GO_WAIT_US 2000  /* a request that was accepted has its GO waited for so long at most */
#define GO_WAIT_SHARE 16 /* and for this part of a step */
#define MAX_OUTPUT_BYTES ((size_t) 256 * 1024 * 1024)
#define AT_ONCE_BYTES ((size_t) 16 * 1024) /* a request of so many bytes at most is prepared in the loop … */
#define AT_ONCE_US 2000                    /* … as long as those between two steps have taken less than this */
#define CLIENT_DESK_BYTES ((size_t) 32 * 1024 * 1024) /* of a client's requests at the desk, unless it is one */
#define DESK_BYTES ((size_t) 256 * 1024 * 1024)       /* of all clients' */
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
	bool paused;             /* not read from before a paper comes back */
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
	ByteWriter nowhere;  /* output of requests whose client is gone */
	uint64_t round;      /* counts the steps */
	uint32_t n_new;      /* requests that were accepted in this round and wait for GO */
	uint64_t step_us;    /* how long the last step took */
	uint64_t at_once_us; /* that were spent since on preparing requests */
	bool stop;
} Server;

/* Work gets on: what there is to do between two steps may be much. */
static void
beat(Server *server)
{
	atomic_store_explicit(&server->page->heartbeat_us, clock_now_us(), memory_order_relaxed);
}

/* Link a request to its client. */
static void
attach_request(Client *client, EngineRequest *request)
{
	request->client = client;
	request->next_of_client = client->requests;
	client->requests = request;
	client->n_requests++;
}

static void
detach_request(EngineRequest *request)
{
	Client *client = request->client;
	EngineRequest **link = &client->requests;

	while (*link != request)
		link = &(*link)->next_of_client;
	*link = request->next_of_client;
	client->n_requests--;
	request->client = NULL;
}

static EngineRequest *
find_request(const Client *client, uint32_t request_id)
{
	EngineRequest *request = client->requests;

	while (request && request->id != request_id)
		request = request->next_of_client;
	return request;
}

static DeskPaper *
find_paper(const Client *client, uint32_t request_id)
{
	DeskPaper *paper = client->papers;

	while (paper && paper->request_id != request_id)
		paper = paper->next_of_client;
	return paper;
}

/* Does a request wait for a GO that may come at any moment? */
static bool
is_new(const Server *server, const EngineRequest *request)
{
	return request->state == STATE_ACCEPTED && request->round == server->round;
}

/* Keep a slot's model open for one more request or paper. */
static void
hold_slot(Slot *slot)
{
	slot->n_requests++;
	atomic_store(&slot->status->n_requests, slot->n_requests);
}

/* Or one less; a slot that was waiting for it may close. */
static void
release_slot(Server *server, Slot *slot)
{
	slot->n_requests--;
	atomic_store(&slot->status->n_requests, slot->n_requests);
	if (slot->draining && slot->n_requests == 0)
		slots_look(&server->slots);
}

/* The end of a request: out of the client's list and freed. */
static void
drop_request(Server *server, EngineRequest *request)
{
	Slot *slot = request->slot;

	detach_request(request);
	request_destroy(request);
	release_slot(server, slot);
}

/* Out of the client's list, which it is not in any more when nobody wants it. */
static void
detach_paper(Server *server, DeskPaper *paper)
{
	Client *client = paper->client;
	DeskPaper **link = &client->papers;

	while (*link != paper)
		link = &(*link)->next_of_client;
	*link = paper->next_of_client;
	client->n_requests--;
	client->desk_bytes -= paper->body.length;
	server->desk_bytes -= paper->body.length;
	paper->client = NULL;
}

/* The end of a paper that is not at the desk. */
static void
drop_paper(Server *server, DeskPaper *paper)
{
	Slot *slot = paper->slot;

	desk_paper_free(paper);
	release_slot(server, slot);
}

/* A paper that nobody wants any more. */
static void
cancel_paper(Server *server, DeskPaper *paper)
{
	detach_paper(server, paper);
	atomic_fetch_add(&server->page->n_requests_cancelled, 1);
	if (desk_withdraw(server->desk, paper))
		drop_paper(server, paper);
}

static ByteWriter *
request_output(void *argument, EngineRequest *request)
{
	Server *server = argument;
	Client *client = request->client;

	return client ? &client->output : &server->nowhere;
}

static void
request_ended(void *argument, EngineRequest *request)
{
	drop_request(argument, request);
}

/* A request that nobody wants any more. */
static void
cancel_request(Server *server, EngineRequest *request)
{
	server->n_new -= is_new(server, request);
	scheduler_remove(server->scheduler, request);
	atomic_fetch_add(&server->page->n_requests_cancelled, 1);
	drop_request(server, request);
}

/* Say which models there are. */
static void
reply_unknown_model(Server *server, Client *client, uint32_t request_id, const Request *message)
{
	char names[NAMES_BYTES], detail[NAMES_BYTES + 32];
	Status status;

	slots_names(&server->slots, names, sizeof names);
	if (names[0])
		snprintf(detail, sizeof detail, "Loaded models: %s.", names);
	else
		snprintf(detail, sizeof detail, "No model is loaded.");
	status = message->model.data ? status_error(STATUS_NOT_FOUND, "model \"%.*s\" is not loaded",
												(int) message->model.length, message->model.data)
								 : status_error(STATUS_NOT_FOUND, "no model is loaded");
	reply_error(&client->output, request_id, &status, detail,
				"Set qwen.models, or load one with qwen_load_model(name, file).");
	atomic_fetch_add(&server->page->n_requests_failed, 1);
}

/* A request that cannot be done. */
static void
refuse(Server *server, Client *client, uint32_t request_id, const Status *status)
{
	reply_error(&client->output, request_id, status, NULL, status->code == STATUS_TOO_LONG ? TOO_LONG_HINT : NULL);
	atomic_fetch_add(&server->page->n_requests_failed, 1);
}

/* A request was prepared: it is refused, has been answered, or waits for GO. */
static void
take_prepared(Server *server, Client *client, Slot *slot, uint32_t request_id, const Status *status,
			  EngineRequest *request)
{
	if (status->code != STATUS_OK)
		refuse(server, client, request_id, status);
	else if (!request)
		atomic_fetch_add(&server->page->n_requests_done, 1);
	else
	{
		request_use_slot(request, slot);
		request->round = server->round;
		server->n_new++;
		hold_slot(slot);
		attach_request(client, request);
	}
}

/* The slot of a request, or NULL: it has been refused. The request's id is a new one. */
static Slot *
choose_slot(Server *server, Client *client, uint32_t request_id, const Request *message)
{
	Status status;
	Slot *slot;

	if (client->n_requests >= PROTOCOL_MAX_REQUESTS_PER_CLIENT)
	{
		status = status_error(STATUS_TOO_LONG, "%u requests are in flight on this connection, at most %d are possible",
							  client->n_requests, PROTOCOL_MAX_REQUESTS_PER_CLIENT);
		reply_error(&client->output, request_id, &status, NULL, NULL);
		atomic_fetch_add(&server->page->n_requests_failed, 1);
		return NULL;
	}
	slot = slots_find(&server->slots, message->model);
	if (!slot)
		reply_unknown_model(server, client, request_id, message);
	return slot;
}

static Status
id_in_use(uint32_t request_id)
{
	return status_error(STATUS_INVALID_ARGUMENT, "request id %u is in use", request_id);
}

/* A short REQUEST: answer it, refuse it, or have it wait for GO. */
static Status
handle_at_once(Server *server, Client *client, uint32_t request_id, const unsigned char *body, size_t length)
{
	uint64_t start = clock_now_us();
	Request message;
	Slot *slot;
	EngineRequest *request = NULL;
	Status status;

	STATUS_TRY(decode_request(body, length, &message));
	if (find_request(client, request_id) || find_paper(client, request_id))
		return id_in_use(request_id);
	slot = choose_slot(server, client, request_id, &message);
	if (!slot)
		return status_ok();
	status = prepare_in_loop(slot->model, slot->pool, &message, request_id, &client->output, &request);
	take_prepared(server, client, slot, request_id, &status, request);
	server->at_once_us += clock_now_us() - start;
	return status_ok();
}

/* A paper of the bytes at the input buffer's offset, which are the buffer's only ones (then it is taken as it is) or
 * copied. NULL without memory. */
static DeskPaper *
make_paper(Client *client, size_t offset, size_t length, const unsigned char **body)
{
	DeskPaper *paper = calloc(1, sizeof *paper);

	if (!paper)
		return NULL;
	if (client->input.length == offset + length && length > KEPT_BUFFER_BYTES)
	{
		paper->body = client->input;
		byte_writer_init(&client->input);
		*body = paper->body.data + offset;
		return paper;
	}
	write_raw(&paper->body, client->input.data + offset, length);
	*body = paper->body.data;
	if (!paper->body.failed)
		return paper;
	desk_paper_free(paper);
	return NULL;
}

/* Lay a paper on the desk. */
static bool
give_paper(Server *server, Client *client, Slot *slot, DeskPaper *paper)
{
	paper->client = client;
	paper->slot = slot;
	paper->line = client;
	paper->lane = paper->body.length > DESK_LONG_BYTES ? DESK_LANE_LONG : DESK_LANE_SHORT;
	paper->place =
		(Workplace){.model = slot->model, .tokenizer = slot->desk_tokenizers[paper->lane], .pool = slot->pool};
	if (!desk_give(server->desk, paper))
		return false;
	hold_slot(slot);
	paper->next_of_client = client->papers;
	client->papers = paper;
	client->n_requests++;
	client->desk_bytes += paper->body.length;
	server->desk_bytes += paper->body.length;
	return true;
}

/* A REQUEST that the desk is for; offset: where its body begins in the input buffer, which may be gone afterwards. */
static Status
handle_at_desk(Server *server, Client *client, uint32_t request_id, size_t offset, size_t length)
{
	Status no_memory = status_error(STATUS_UNAVAILABLE, "out of memory in the engine");
	const unsigned char *body;
	DeskPaper *paper;
	Request name = {0};
	Slot *slot;
	Status status;

	if (find_request(client, request_id) || find_paper(client, request_id))
		return id_in_use(request_id);
	paper = make_paper(client, offset, length, &body);
	if (!paper)
	{
		refuse(server, client, request_id, &no_memory);
		return status_ok();
	}
	paper->request_id = request_id;
	status = decode_request_unchecked(body, length, &paper->message);
	/* the name is looked at here, the texts at the desk */
	name.model = paper->message.model;
	if (status.code == STATUS_OK)
		status = request_check_texts(&name);
	slot = status.code == STATUS_OK ? choose_slot(server, client, request_id, &paper->message) : NULL;
	if (slot && give_paper(server, client, slot, paper))
		return status;
	if (slot)
		refuse(server, client, request_id, &no_memory);
	desk_paper_free(paper);
	return status;
}

/* Can a request be prepared in the loop? Cutting a text asks ICU, whose first look at a language is a long one. */
static bool
is_for_loop(const Server *server, const unsigned char *body, size_t length)
{
	return length <= AT_ONCE_BYTES && (length == 0 || body[0] != REQUEST_CHUNK) && server->at_once_us < AT_ONCE_US;
}

/* Does so much lie at the desk already that a request of so many bytes has to wait where it is? */
static bool
must_wait(const Server *server, const Client *client, size_t length)
{
	return client->papers &&
		   (client->desk_bytes + length > CLIENT_DESK_BYTES || server->desk_bytes + length > DESK_BYTES);
}

/* The meter that came with GO. Only one that was given and has not been taken: it is written to from here on. */
static RequestMeter *
take_meter(Server *server, uint32_t number)
{
	uint32_t given = METER_GIVEN;

	if (number >= STATUS_PAGE_MAX_METERS ||
		!atomic_compare_exchange_strong(&server->page->meters[number].state, &given, METER_RUNNING))
		return NULL;
	return &server->page->meters[number];
}

/* A meter for whose request there is nothing to do. */
static void
end_meter(RequestMeter *meter)
{
	if (meter)
		atomic_store(&meter->state, METER_ENDED);
}

/* GO for what is ready. */
static Status
finish_ready(Server *server, Client *client, EngineRequest *request)
{
	Status status = request_give_ready(request, &client->output);

	if (status.code == STATUS_OK)
		atomic_fetch_add(&server->page->n_requests_done, 1);
	else
		refuse(server, client, request->id, &status);
	drop_request(server, request);
	return status_ok();
}

/* GO for a request that waits for it; for one that is gone or on its way it means nothing. */
static Status
handle_go(Server *server, Client *client, uint32_t request_id, const unsigned char *body, size_t length)
{
	EngineRequest *request = find_request(client, request_id);
	RequestMeter *meter;
	uint32_t number;
	Status status;

	STATUS_TRY(decode_go(body, length, &number));
	meter = take_meter(server, number);
	if (!request || request->state != STATE_ACCEPTED)
	{
		end_meter(meter);
		return status_ok();
	}
	request->meter = meter;
	request->alone = client->n_requests == 1;
	server->n_new -= is_new(server, request);
	if (request_is_ready(request))
		return finish_ready(server, client, request);
	status = scheduler_go(server->scheduler, request);
	if (status.code == STATUS_OK)
		return status;
	reply_error(&client->output, request_id, &status, NULL, "Try again later, or raise qwen.queue_size.");
	atomic_fetch_add(&server->page->n_requests_failed, 1);
	drop_request(server, request);
	return status_ok();
}

/* Nobody wants a request any more, wherever it is. */
static void
handle_cancel(Server *server, Client *client, uint32_t request_id)
{
	DeskPaper *paper = find_paper(client, request_id);
	EngineRequest *request = find_request(client, request_id);

	if (paper)
		cancel_paper(server, paper);
	if (request)
		cancel_request(server, request);
}

/* One whole frame, whose body is at offset in the input buffer. */
static Status
handle_frame(Server *server, Client *client, const FrameHeader *header, size_t offset)
{
	const unsigned char *body = client->input.data + offset;

	switch (header->type)
	{
		case FRAME_REQUEST:
			if (is_for_loop(server, body, header->body_bytes))
				return handle_at_once(server, client, header->request_id, body, header->body_bytes);
			return handle_at_desk(server, client, header->request_id, offset, header->body_bytes);
		case FRAME_GO:
			return handle_go(server, client, header->request_id, body, header->body_bytes);
		default:
			handle_cancel(server, client, header->request_id);
			return status_ok();
	}
}

/* All whole frames of the input buffer, until the desk is full of them. An error closes the connection. */
static Status
handle_input(Server *server, Client *client)
{
	size_t at = 0;
	Status status = status_ok();

	client->paused = false;
	while (status.code == STATUS_OK && client->input.length - at >= PROTOCOL_HEADER_BYTES)
	{
		size_t body = at + PROTOCOL_HEADER_BYTES;
		FrameHeader header;

		status = decode_header(client->input.data + at, true, &header);
		if (status.code != STATUS_OK || client->input.length - body < header.body_bytes)
			break;
		client->paused = header.type == FRAME_REQUEST &&
						 !is_for_loop(server, client->input.data + body, header.body_bytes) &&
						 must_wait(server, client, header.body_bytes);
		if (client->paused)
			break;
		beat(server);
		status = handle_frame(server, client, &header, body);
		/* the buffer went with its last frame */
		at = client->input.length > 0 ? body + header.body_bytes : 0;
	}
	if (at == client->input.length && client->input.capacity > KEPT_BUFFER_BYTES)
		byte_writer_free(&client->input);
	else if (at > 0)
	{
		memmove(client->input.data, client->input.data + at, client->input.length - at);
		client->input.length -= at;
	}
	return status;
}

/* Say why a connection is closed; who opens thousands of broken ones does not fill the log. */
static void
log_closing(Server *server, const char *why)
{
	uint64_t now = clock_now_us();

	if (now - server->closings_since_us >= 1000000)
	{
		if (server->n_closings > CLOSINGS_LOGGED)
			fprintf(stderr, "qwen_engine: closed %u more connections for what they sent\n",
					server->n_closings - CLOSINGS_LOGGED);
		server->closings_since_us = now;
		server->n_closings = 0;
	}
	if (server->n_closings++ < CLOSINGS_LOGGED)
		fprintf(stderr, "qwen_engine: closing a connection: %s\n", why);
}

/* Ask for input unless it is paused, and for EPOLLOUT exactly while there is something to send. */
static void
watch_client(Server *server, Client *client)
{
	uint32_t events = (client->paused ? 0 : EPOLLIN) | (client->blocked ? EPOLLOUT : 0);
	struct epoll_event event = {.events = events, .data.ptr = client};

	if (client->watched == events)
		return;
	client->watched = events;
	if (epoll_ctl(server->epoll_fd, EPOLL_CTL_MOD, client->fd, &event) != 0)
		client->dead = true;
}

/* Work on the input buffer, or close the connection. */
static void
use_input(Server *server, Client *client)
{
	Status status = client->input.failed ? status_error(STATUS_UNAVAILABLE, "out of memory for a message")
										 : handle_input(server, client);

	if (status.code != STATUS_OK)
	{
		log_closing(server, status.message);
		client->dead = true;
	}
	else
		watch_client(server, client);
}

/* Is the input buffer in the middle of a long frame? */
static bool
in_long_frame(const Client *client)
{
	return !client->dead && !client->paused && client->input.length > READ_BYTES;
}

/* Take what has arrived; of a long frame more at once, which is to have its turns between steps. */
static void
read_client(Server *server, Client *client)
{
	static unsigned char buffer[READ_BYTES];

	for (int i = 0; i == 0 || (i < MAX_READS && in_long_frame(client)); i++)
	{
		ssize_t n = recv(client->fd, buffer, sizeof buffer, MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0)
		{
			client->dead = true;
			return;
		}
		write_raw(&client->input, buffer, (size_t) n);
		use_input(server, client);
	}
}

/* Forget what has been sent: all of it at once, or the first half of a buffer that never gets empty. */
static void
drop_sent(Client *client)
{
	ByteWriter *output = &client->output;

	if (client->n_sent == output->length && output->capacity > KEPT_BUFFER_BYTES)
		byte_writer_free(output);
	else if (client->n_sent >= output->length / 2)
	{
		memmove(output->data, output->data + client->n_sent, output->length - client->n_sent);
		output->length -= client->n_sent;
	}
	else
		return;
	client->n_sent = 0;
}

/* Send what the socket takes. */
static void
write_client(Server *server, Client *client)
{
	ByteWriter *output = &client->output;

	if (output->failed || output->length - client->n_sent > MAX_OUTPUT_BYTES)
	{
		client->dead = true;
		return;
	}
	while (client->n_sent < output->length)
	{
		ssize_t n = send(client->fd, output->data + client->n_sent, output->length - client->n_sent,
						 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
		{
			client->dead = true;
			return;
		}
		client->n_sent += (size_t) n;
	}
	client->blocked = client->n_sent < output->length;
	watch_client(server, client);
	if (client->n_sent > 0)
		drop_sent(client);
}

/* Close a client: all its requests are cancelled. */
static void
close_client(Server *server, Client *client)
{
	while (client->requests)
		cancel_request(server, client->requests);
	while (client->papers)
		cancel_paper(server, client->papers);
	close(client->fd);
	byte_writer_free(&client->input);
	byte_writer_free(&client->output);
	free(client);
	server->n_clients--;
	atomic_store(&server->page->n_clients, server->n_clients);
}

/* Send everybody's output and close who is to be closed. */
static void
finish_round(Server *server)
{
	Client **link = &server->clients;

	while (*link)
	{
		Client *client = *link;

		if (!client->dead && (client->output.length > 0 || client->output.failed))
			write_client(server, client);
		if (!client->dead)
		{
			link = &client->next;
			continue;
		}
		*link = client->next;
		close_client(server, client);
	}
	server->nowhere.length = 0;
}

/* Only processes of our own user may speak to us. */
static bool
is_own_user(int fd)
{
	struct ucred peer;
	socklen_t length = sizeof peer;

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && peer.uid == geteuid();
}

/* Watch the listener or, where no descriptor is free for a client, leave it alone: it would be ready all the time. */
static void
watch_listener(Server *server, bool watched)
{
	struct epoll_event event = {.events = watched ? EPOLLIN : 0, .data.ptr = &server->settings.listener_fd};

	(void) epoll_ctl(server->epoll_fd, EPOLL_CTL_MOD, server->settings.listener_fd, &event);
	server->listener_paused_us = watched ? 0 : clock_now_us();
}

/* Make a client of a connection, or close it. */
static void
take_connection(Server *server, int fd)
{
	Client *client = calloc(1, sizeof *client);
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};

	if (!client || !is_own_user(fd) || server->n_clients >= MAX_CLIENTS ||
		epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
	{
		free(client);
		close(fd);
		return;
	}
	client->fd = fd;
	client->watched = EPOLLIN;
	client->next = server->clients;
	server->clients = client;
	server->n_clients++;
	atomic_store(&server->page->n_clients, server->n_clients);
}

/* Take the next connections; the listener stays ready while there are more. */
static void
accept_clients(Server *server)
{
	for (int i = 0; i < MAX_ACCEPTS; i++)
	{
		int fd = accept4(server->settings.listener_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0)
		{
			take_connection(server, fd);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			watch_listener(server, false);
		return;
	}
}

/* Hand over what the desk has written for a client. */
static void
append_output(Client *client, ByteWriter *out)
{
	if (client->output.length > 0 || client->output.failed)
	{
		write_raw(&client->output, out->data, out->length);
		return;
	}
	byte_writer_free(&client->output);
	client->output = *out;
	byte_writer_init(out);
}

/* A paper that comes back and is still wanted. */
static void
take_paper(Server *server, DeskPaper *paper)
{
	Client *client = paper->client;

	detach_paper(server, paper);
	if (paper->is_broken)
	{
		log_closing(server, paper->status.message);
		client->dead = true;
		return;
	}
	if (paper->status.code == STATUS_OK)
		append_output(client, &paper->out);
	take_prepared(server, client, paper->slot, paper->request_id, &paper->status, paper->request);
	paper->request = NULL;
	if (client->paused && !client->dead)
		use_input(server, client);
}

/* All that the desk is done with. */
static void
take_papers(Server *server)
{
	DeskPaper *paper;

	while ((paper = desk_take(server->desk)) != NULL)
	{
		if (paper->client)
			take_paper(server, paper);
		drop_paper(server, paper);
	}
}

/* SIGTERM ends us, SIGUSR1 means that the slots have changed. */
static void
read_signals(Server *server)
{
	struct signalfd_siginfo info;

	while (read(server->signal_fd, &info, sizeof info) == (ssize_t) sizeof info)
	{
		if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT)
			server->stop = true;
		else
			slots_look(&server->slots);
	}
}

/* Wait for events as long as that, and handle them. *n: how many there were. */
static Status
handle_events(Server *server, int timeout_ms, int *n)
{
	struct epoll_event events[MAX_EVENTS];

	*n = epoll_wait(server->epoll_fd, events, MAX_EVENTS, timeout_ms);
	if (*n < 0 && errno != EINTR)
		return status_error(STATUS_INTERNAL, "epoll_wait: %s", strerror(errno));
	for (int i = 0; i < *n; i++)
	{
		void *source = events[i].data.ptr;

		beat(server);
		if (source == &server->settings.listener_fd)
			accept_clients(server);
		else if (source == &server->signal_fd)
			read_signals(server);
		else if (source == &server->settings.death_fd)
			server->stop = true; /* nothing is ever written there: it can only be its end */
		else if (source == server->desk)
			take_papers(server);
		else
		{
			Client *client = source;

			if (client->paused)
				client->dead |= (events[i].events & (EPOLLHUP | EPOLLERR)) != 0;
			else if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
				read_client(server, client);
			if (!client->dead && (events[i].events & EPOLLOUT))
				write_client(server, client);
		}
	}
	finish_round(server);
	return status_ok();
}

/* Wait until something arrives, microseconds long at most. */
static void
wait_shortly(const Server *server, uint64_t wait_us)
{
	struct pollfd events = {.fd = server->epoll_fd, .events = POLLIN};
	struct timespec time = {.tv_nsec = (long) wait_us * 1000};

	(void) ppoll(&events, 1, &time, NULL);
}

/*
 * All that happens between two steps. What arrives is answered before the next step begins, so that a client can say GO
 * meanwhile; and a request that was just accepted has its GO waited for, a fraction of a step long, which is most often
 * enough: it would miss the step otherwise. Without any work, wait for some.
 */
static Status
handle_arrivals(Server *server)
{
	uint64_t wait_us = server->step_us / GO_WAIT_SHARE, start, now;
	int n;

	STATUS_TRY(handle_events(server, scheduler_has_work(server->scheduler) ? 0 : IDLE_WAIT_MS, &n));
	wait_us = wait_us < GO_WAIT_US ? wait_us : GO_WAIT_US;
	start = now = clock_now_us();
	while (!server->stop && scheduler_has_work(server->scheduler) && (n > 0 || server->n_new > 0) &&
		   now - start < wait_us)
	{
		if (n <= 0)
			wait_shortly(server, wait_us - (now - start));
		STATUS_TRY(handle_events(server, 0, &n));
		now = clock_now_us();
	}
	return status_ok();
}

/* One step, if there is anything to compute. */
static void
take_step(Server *server)
{
	uint64_t start = clock_now_us();

	if (server->stop || !scheduler_has_work(server->scheduler))
	{
		server->at_once_us = 0;
		return;
	}
	scheduler_step(server->scheduler);
	server->step_us = clock_now_us() - start;
	server->round++;
	server->n_new = 0;
	server->at_once_us = 0;
	finish_round(server);
}

static Status
watch(Server *server, int fd, void *source)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = source};

	if (fd >= 0 && epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
		return status_error(STATUS_INTERNAL, "cannot watch descriptor %d: %s", fd, strerror(errno));
	return status_ok();
}

/* Signals as descriptors, epoll over everything that is not a client. */
static Status
set_up_events(Server *server)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGUSR1);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	signal(SIGPIPE, SIG_IGN);
	server->signal_fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
	server->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (server->signal_fd < 0 || server->epoll_fd < 0)
		return status_error(STATUS_INTERNAL, "cannot make an event loop: %s", strerror(errno));
	STATUS_TRY(watch(server, server->signal_fd, &server->signal_fd));
	STATUS_TRY(watch(server, server->settings.death_fd, &server->settings.death_fd));
	return watch(server, server->settings.listener_fd, &server->settings.listener_fd);
}

/* What is large is mapped for itself and given back when it is freed, however often such are used. */
static void
keep_little_memory(void)
{
	(void) mallopt(M_MMAP_THRESHOLD, 256 * 1024);
	(void) mallopt(M_TRIM_THRESHOLD, 1024 * 1024);
}

/* A descriptor a client: as many as the system lets us have. */
static void
raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void) setrlimit(RLIMIT_NOFILE, &limit);
}

/* Everything at zero: what stands there is from the engine before. */
static void
reset_page(StatusPage *page, const Team *team, const KvBudget *budget)
{
	memset((char *) page + offsetof(StatusPage, heartbeat_us), 0,
		   offsetof(StatusPage, slots) - offsetof(StatusPage, heartbeat_us));
	atomic_store(&page->heartbeat_us, clock_now_us());
	atomic_store(&page->started_us, clock_now_us());
	atomic_store(&page->n_threads, (uint32_t) team_size(team));
	atomic_store(&page->kv_bytes_total, kv_budget_limit(budget));
	snprintf(page->isa, sizeof page->isa, "%s", kernels_select()->name);
}

/* Team, budget, slots, scheduler. */
static Status
set_up_engine(Server *server)
{
	const ServerSettings *settings = &server->settings;
	SchedulerSettings scheduler = {settings->max_running, settings->prefill_chunk, settings->queue_size,
								   settings->speculation};
	SchedulerCallbacks callbacks = {request_output, request_ended, server};
	SlotSettings slots = {
		.team = team_create(settings->n_threads > 0 ? settings->n_threads : team_default_threads()),
		.budget = kv_budget_create(memory_cache_limit(settings->kv_cache_bytes, memory_total(), memory_available(), 0)),
		.kv_type = settings->kv_type,
		.max_rows = settings->max_running + settings->prefill_chunk + DRAFT_ROWS,
		.max_running = settings->max_running,
		.cache_bytes = settings->kv_cache_bytes,
		.huge_pages = settings->huge_pages,
		.lock_memory = settings->lock_memory,
	};

	if (!slots.team || !slots.budget)
		return status_error(STATUS_UNAVAILABLE, "out of memory at start");
	server->desk = desk_create();
	if (!server->desk)
		return status_error(STATUS_UNAVAILABLE, "the threads of the desk cannot be started");
	STATUS_TRY(watch(server, desk_descriptor(server->desk), server->desk));
	reset_page(server->page, slots.team, slots.budget);
	if (kv_budget_limit(slots.budget) != settings->kv_cache_bytes)
		fprintf(stderr, "qwen_engine: keys and values may take %llu MB, by what memory there is\n",
				(unsigned long long) (kv_budget_limit(slots.budget) >> 20));
	slots_init(&server->slots, &slots, server->page, settings->n_slots, settings->first_slot_fd);
	server->scheduler = scheduler_create(&scheduler, &callbacks, &server->slots, server->page);
	if (!server->scheduler)
		return status_error(STATUS_UNAVAILABLE, "out of memory at start");
	slots_look(&server->slots);
	return status_ok();
}

/* Where the system refuses one of these it is said, and the engine serves without. */
static void
say_refused(Status status)
{
	if (status.code != STATUS_OK)
		fprintf(stderr, "qwen_engine: serving without the whole sandbox: %s\n", status.message);
}

Status
server_run(const ServerSettings *settings)
{
	static Server server;
	Status status;

	memset(&server, 0, sizeof server);
	server.settings = *settings;
	server.page = settings->page;
	raise_descriptor_limit();
	pages_look();
	keep_little_memory();
	/* before there are threads, each of which would have to do it for itself */
	if (settings->sandbox)
		say_refused(sandbox_give_up_privileges());
	STATUS_TRY(set_up_events(&server));
	STATUS_TRY(set_up_engine(&server));
	/* models that come later are mapped from descriptors that are here already */
	if (settings->sandbox)
		say_refused(sandbox_enter());
	atomic_store(&server.page->ready, 1);
	status = status_ok();
	while (!server.stop && status.code == STATUS_OK)
	{
		status = handle_arrivals(&server);
		take_step(&server);
		if (server.listener_paused_us && clock_now_us() - server.listener_paused_us > LISTENER_PAUSE_US)
			watch_listener(&server, true);
		beat(&server);
	}
	atomic_store(&server.page->ready, 0);
	while (server.clients)
	{
		Client *client = server.clients;

		server.clients = client->next;
		close_client(&server, client);
	}
	desk_destroy(server.desk);
	slots_close(&server.slots);
	scheduler_destroy(server.scheduler);
	kv_budget_destroy(server.slots.settings.budget);
	team_destroy(server.slots.settings.team);
	byte_writer_free(&server.nowhere);
	close(server.signal_fd);
	close(server.epoll_fd);
	return status;
}
