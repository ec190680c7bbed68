/*
 * connections.c - see connections.h.
 */
#include "connections.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client_requests.h"
#include "long_frames.h"

#define MAX_CLIENTS 4096
#define MAX_ACCEPTS 64 /* connections taken in a round: more may come than can be taken, and answers have to go on */
#define CLOSINGS_LOGGED 20 /* lines in the log each second about broken connections; more are counted */
#define LISTENER_PAUSE_US ((uint64_t) 250 * 1000) /* without a free descriptor nobody is accepted for so long */
#define READ_BYTES ((size_t) 64 * 1024)
#define MAX_READS 16 /* of a client in a round */
#define MAX_OUTPUT_BYTES ((size_t) 256 * 1024 * 1024)

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
		if (status.code != STATUS_OK)
			break;
		client->paused =
			!long_frame_has_room(server, client, &header, client->input.data + body, client->input.length - body);
		if (client->paused || client->input.length - body < header.body_bytes)
			break;
		client->paused = client_must_wait(server, client, &header, client->input.data + body);
		if (client->paused)
			break;
		server_beat(server);
		status = client_handle_frame(server, client, &header, body);
		/* of a request that was refused at once */
		long_frame_end(server, &client->frame);
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

void
connection_use(Server *server, Client *client, uint32_t events)
{
	if (client->paused)
		client->dead |= (events & (EPOLLHUP | EPOLLERR)) != 0;
	else if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		read_client(server, client);
	if (!client->dead && (events & EPOLLOUT))
		write_client(server, client);
}

/* Close a client: all its requests are cancelled. */
static void
close_client(Server *server, Client *client)
{
	client_cancel_all(server, client);
	long_frame_end(server, &client->frame);
	close(client->fd);
	byte_writer_free(&client->input);
	byte_writer_free(&client->output);
	free(client);
	server->n_clients--;
	atomic_store(&server->page->n_clients, server->n_clients);
}

/* Read on where a long frame has waited for room. false: nowhere. */
static bool
resume_long_frames(Server *server)
{
	bool has_resumed = false;

	for (Client *client = long_frames_next(server, NULL), *next; client; client = next)
	{
		/* what it waited for is forgotten once it has it */
		Client place = {.waits_since = client->waits_since};

		use_input(server, client);
		has_resumed |= !client->paused;
		next = long_frames_next(server, &place);
	}
	return has_resumed;
}

/* Send everybody's output and close who is to be closed, once. */
static void
flush(Server *server)
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

void
connections_flush(Server *server)
{
	do
		flush(server);
	while (resume_long_frames(server));
}

/* Only processes of our own user may speak to us. */
static bool
is_own_user(int fd)
{
	struct ucred peer;
	socklen_t length = sizeof peer;

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && peer.uid == geteuid();
}

void
connections_watch_listener(Server *server, bool watched)
{
	struct epoll_event event = {.events = watched ? EPOLLIN : 0, .data.ptr = &server->settings.listener_fd};

	(void) epoll_ctl(server->epoll_fd, EPOLL_CTL_MOD, server->settings.listener_fd, &event);
	server->listener_paused_us = watched ? 0 : clock_now_us();
}

void
connections_look_again(Server *server)
{
	if (server->listener_paused_us && clock_now_us() - server->listener_paused_us > LISTENER_PAUSE_US)
		connections_watch_listener(server, true);
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

void
connections_accept(Server *server)
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
			connections_watch_listener(server, false);
		return;
	}
}

/* A paper that comes back and is still wanted. */
static void
take_paper(Server *server, DeskPaper *paper)
{
	Client *client = paper->client;
	Status status = client_take_paper(server, paper);

	if (status.code != STATUS_OK)
	{
		log_closing(server, status.message);
		client->dead = true;
		return;
	}
	if (client->paused && !client->dead)
		use_input(server, client);
}

void
connections_take_papers(Server *server)
{
	DeskPaper *paper;

	while ((paper = desk_take(server->desk)) != NULL)
	{
		if (paper->client)
			take_paper(server, paper);
		client_drop_paper(server, paper);
	}
}

void
connections_close(Server *server)
{
	while (server->clients)
	{
		Client *client = server->clients;

		server->clients = client->next;
		close_client(server, client);
	}
}
