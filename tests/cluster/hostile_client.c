/*
 * hostile_client.c - a process of the server's own user that treats the engine's socket badly, for test_13_hostile.py.
 *
 *   hostile_client SOCKET many N        opens N connections and holds them
 *   hostile_client SOCKET unread N      asks for N long answers in pieces and reads nothing after their GO
 *   hostile_client SOCKET greedy BYTES  has texts tokenized, BYTES each, and never reads, until the engine has enough
 *   hostile_client SOCKET noise SEED    sends well-formed headers with bodies of noise, a connection each, for ever
 *   hostile_client SOCKET endless N     sends N requests as large as can be, all but their last byte
 *
 * Says "ready" when it has done its worst (greedy: "closed" when the engine has closed the connection), then holds all
 * of it until its standard input ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../../src/protocol/protocol.h"

static const char *socket_path;

static void
give_up(const char *what)
{
	fprintf(stderr, "hostile_client: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* A connection, or -1 with errno. */
static int
open_connection(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof address.sun_path, "%s", socket_path);
	if (fd < 0)
		return -1;
	if (connect(fd, (struct sockaddr *) &address, sizeof address) != 0)
	{
		close(fd);
		return -1;
	}
	return fd;
}

static int
must_connect(void)
{
	int fd = open_connection();

	if (fd < 0)
		give_up("connect");
	return fd;
}

/* Send all; false: the engine has closed the connection. A full socket is waited for. */
static bool
send_all(int fd, const unsigned char *data, size_t length)
{
	while (length > 0)
	{
		ssize_t n = send(fd, data, length, MSG_NOSIGNAL);

		if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
			return false;
		if (n < 0)
			give_up("send");
		data += n;
		length -= (size_t) n;
	}
	return true;
}

static void
send_request(int fd, uint32_t id, const Request *request)
{
	ByteWriter writer;

	byte_writer_init(&writer);
	if (encode_request(&writer, id, request).code != STATUS_OK || !send_all(fd, writer.data, writer.length))
		give_up("request");
	byte_writer_free(&writer);
}

/* Requests of the largest kind, a role each, of which the end is missing: as much of each as the engine takes. */
static void
send_without_end(uint32_t n)
{
	size_t bytes = PROTOCOL_MAX_BODY_BYTES - 2 * 1024 * 1024;
	char *text = malloc(bytes);
	struct pollfd *sockets = calloc(n, sizeof *sockets);
	size_t *sent = calloc(n, sizeof *sent);
	ByteWriter writer;

	if (!text || !sockets || !sent)
		give_up("memory");
	memset(text, 'a', bytes);
	for (uint32_t i = 0; i < n; i++)
		sockets[i] = (struct pollfd){.fd = must_connect(), .events = POLLOUT};
	/* until for a second none of them takes anything */
	while (poll(sockets, n, 1000) > 0)
		for (uint32_t i = 0; i < n; i++)
		{
			Request request = {.kind = REQUEST_COUNT_TOKENS, .text = {text, bytes}, .role = 1000000 + i};
			ssize_t taken = 0;

			if (!(sockets[i].revents & POLLOUT))
				continue;
			byte_writer_init(&writer);
			if (encode_request(&writer, 1, &request).code != STATUS_OK)
				give_up("encode");
			while (taken >= 0 && sent[i] < writer.length - 1)
			{
				taken = send(sockets[i].fd, writer.data + sent[i], writer.length - 1 - sent[i],
							 MSG_NOSIGNAL | MSG_DONTWAIT);
				sent[i] += taken > 0 ? (size_t) taken : 0;
			}
			if (sent[i] == writer.length - 1)
				sockets[i].events = 0;
			byte_writer_free(&writer);
		}
}

/* Wait for the header of an ACCEPTED and read its body. */
static void
await_accepted(int fd)
{
	unsigned char bytes[PROTOCOL_HEADER_BYTES], body[64];
	FrameHeader header;

	if (recv(fd, bytes, sizeof bytes, MSG_WAITALL) != sizeof bytes ||
		decode_header(bytes, false, &header).code != STATUS_OK || header.type != FRAME_ACCEPTED ||
		recv(fd, body, header.body_bytes, MSG_WAITALL) != (ssize_t) header.body_bytes)
		give_up("no ACCEPTED");
}

static void
ask_and_read_nothing(uint32_t n)
{
	static const char prompt[] = "Once upon a time", stop[] = "never-said";

	for (uint32_t i = 0; i < n; i++)
	{
		int fd = must_connect();
		Request request = {
			.kind = REQUEST_GENERATE,
			.flags = REQUEST_FLAG_STREAM,
			.text = {prompt, sizeof prompt - 1},
			.n_stops = 1,
			.stops = {{stop, sizeof stop - 1}},
			.options = {.given = OPTION_MAX_TOKENS, .max_tokens = 4000},
		};
		ByteWriter writer;

		send_request(fd, 1, &request);
		await_accepted(fd);
		byte_writer_init(&writer);
		if (encode_empty(&writer, 1, FRAME_GO).code != STATUS_OK || !send_all(fd, writer.data, writer.length))
			give_up("GO");
		byte_writer_free(&writer);
	}
}

static void
ask_until_closed(size_t bytes)
{
	char *text = malloc(bytes);
	int fd = must_connect();
	ByteWriter writer;
	Request request = {.kind = REQUEST_TOKENIZE, .text = {text, bytes}};

	if (!text)
		give_up("memory");
	for (size_t i = 0; i < bytes; i++)
		text[i] = i % 2 ? ' ' : (char) ('a' + i / 2 % 26);
	byte_writer_init(&writer);
	if (encode_request(&writer, 1, &request).code != STATUS_OK)
		give_up("encode");
	while (send_all(fd, writer.data, writer.length))
		;
	puts("closed");
}

static void
make_noise(unsigned seed)
{
	srand(seed);
	puts("ready");
	fflush(stdout);
	for (;;)
	{
		unsigned char frame[PROTOCOL_HEADER_BYTES + 4096];
		uint32_t length = (uint32_t) (rand() % 4096);
		struct pollfd input = {.fd = 0, .events = POLLIN};
		int fd = open_connection();

		if (poll(&input, 1, 0) != 0)
			exit(0);
		if (fd < 0)
			continue; /* the backlog is full of our own */
		memset(frame, 0, PROTOCOL_HEADER_BYTES);
		memcpy(frame, &length, 4);
		frame[4] = 1;
		frame[8] = (unsigned char) (1 + rand() % 3);
		frame[10] = PROTOCOL_VERSION;
		for (uint32_t i = 0; i < length; i++)
			frame[PROTOCOL_HEADER_BYTES + i] = (unsigned char) rand();
		(void) send_all(fd, frame, PROTOCOL_HEADER_BYTES + length - (rand() % 2 ? 0 : length / 2));
		close(fd);
	}
}

int
main(int argc, char **argv)
{
	const char *mode = argc == 4 ? argv[2] : "";
	long n = argc == 4 ? atol(argv[3]) : 0;
	char end;

	socket_path = argc > 1 ? argv[1] : "";
	if (strcmp(mode, "many") == 0)
		for (long i = 0; i < n; i++)
			(void) must_connect();
	else if (strcmp(mode, "unread") == 0)
		ask_and_read_nothing((uint32_t) n);
	else if (strcmp(mode, "greedy") == 0)
		ask_until_closed((size_t) n);
	else if (strcmp(mode, "endless") == 0)
		send_without_end((uint32_t) n);
	else if (strcmp(mode, "noise") == 0)
		make_noise((unsigned) n);
	else
	{
		fprintf(stderr, "hostile_client SOCKET many|unread|greedy|endless|noise NUMBER\n");
		return 1;
	}
	puts("ready");
	fflush(stdout);
	while (read(0, &end, 1) > 0)
		;
	return 0;
}
