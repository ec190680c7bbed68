/*
 * test_server_faults.c - a whole server over its socket, every allocation of which fails once while a client asks.
 *
 * The client gets the very answer of before, an error, or its connection is closed; it is never left waiting. The next
 * one is answered as if nothing had been, and at the end nothing has leaked. The server runs in a thread of the test.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "../../src/engine/server.h"
#include "../../src/protocol/protocol.h"
#include "failing_allocations.h"
#include "tiny_model.h"

#define ANSWER_MS 20000 /* nobody waits longer */
#define MAX_REPLY 65536

static const TinyModel tiny = {true, 1, 64, 64, 2, 1, 32, 2048, false, TENSOR_Q8_0, 5, -1};

typedef struct Fixture
{
	ServerSettings settings;
	StatusPage *page;
	int death_pipe[2];
	struct sockaddr_un address;
	socklen_t address_length;
	pthread_t thread;
	Status end;
	long live; /* allocations before the server */
} Fixture;

static void *
serve(void *argument)
{
	Fixture *fixture = argument;

	fixture->end = server_run(&fixture->settings);
	return NULL;
}

static int
start_server(void **state)
{
	static Fixture fixture;
	struct sockaddr_un any = {.sun_family = AF_UNIX};

	fixture.page = mmap(NULL, sizeof *fixture.page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	atomic_store(&fixture.page->slots[0].wanted_settings, 1);
	atomic_store(&fixture.page->slots[0].wanted_generation, 1);
	assert_int_equal(pipe(fixture.death_pipe), 0);
	fixture.settings = (ServerSettings){
		.n_slots = 1,
		.n_threads = 1,
		.kv_cache_bytes = 1 << 22,
		.kv_type = KV_F16,
		.prefill_chunk = 32,
		.max_running = 4,
		.queue_size = 4,
		.death_fd = fixture.death_pipe[0],
		.page = fixture.page,
	};
	fixture.settings.first_slot_fd = tiny_image(&tiny);
	fixture.settings.listener_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	/* an address that the system makes up */
	assert_int_equal(bind(fixture.settings.listener_fd, (struct sockaddr *) &any, sizeof(sa_family_t)), 0);
	assert_int_equal(listen(fixture.settings.listener_fd, 16), 0);
	fixture.address_length = sizeof fixture.address;
	assert_int_equal(
		getsockname(fixture.settings.listener_fd, (struct sockaddr *) &fixture.address, &fixture.address_length), 0);
	fixture.live = atomic_load(&allocations_live);
	assert_int_equal(pthread_create(&fixture.thread, NULL, serve, &fixture), 0);
	*state = &fixture;
	return 0;
}

static int
stop_server(void **state)
{
	Fixture *fixture = *state;

	close(fixture->death_pipe[1]);
	pthread_join(fixture->thread, NULL);
	assert_string_equal(fixture->end.message, "");
	assert_int_equal(atomic_load(&allocations_live), fixture->live);
	return 0;
}

static int
connect_client(const Fixture *fixture)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	assert_int_equal(connect(fd, (const struct sockaddr *) &fixture->address, fixture->address_length), 0);
	return fd;
}

/* How a request ended. */
typedef enum End
{
	END_ANSWERED,
	END_ERROR,
	END_CLOSED,
} End;

typedef struct Reply
{
	End end;
	uint16_t code; /* of an error */
	size_t length; /* of what was said, without times */
	unsigned char text[MAX_REPLY];
} Reply;

/* Exactly length bytes; false: the connection was closed. */
static bool
receive(int fd, unsigned char *buffer, size_t length)
{
	for (size_t done = 0; done < length;)
	{
		struct pollfd event = {.fd = fd, .events = POLLIN};
		ssize_t n;

		if (poll(&event, 1, ANSWER_MS) == 0)
			fail_msg("no answer, no error and no end in %d ms", ANSWER_MS);
		n = recv(fd, buffer + done, length - done, 0);
		if (n <= 0)
			return false;
		done += (size_t) n;
	}
	return true;
}

static void
keep(Reply *reply, const void *data, size_t length)
{
	assert_true(reply->length + length <= MAX_REPLY);
	if (length)
		memcpy(reply->text + reply->length, data, length);
	reply->length += length;
}

/* Send frames; GO when it is accepted; read to the end. Nothing is allocated here. */
static void
ask(int fd, const ByteWriter *request, const ByteWriter *go, Reply *reply)
{
	static unsigned char body[MAX_REPLY];
	unsigned char head[PROTOCOL_HEADER_BYTES];
	FrameHeader header;
	ProtocolError error;
	Done done;

	reply->length = 0;
	reply->end = END_CLOSED;
	if (send(fd, request->data, request->length, MSG_NOSIGNAL) != (ssize_t) request->length)
		return;
	while (receive(fd, head, sizeof head))
	{
		assert_string_equal(decode_header(head, false, &header).message, "");
		assert_true(header.body_bytes <= sizeof body);
		if (!receive(fd, body, header.body_bytes))
			return;
		switch (header.type)
		{
			case FRAME_ACCEPTED:
				if (send(fd, go->data, go->length, MSG_NOSIGNAL) != (ssize_t) go->length)
					return;
				break;
			case FRAME_ERROR:
				assert_string_equal(decode_error(body, header.body_bytes, &error).message, "");
				reply->code = error.code;
				reply->end = END_ERROR;
				return;
			case FRAME_DONE:
				assert_string_equal(decode_done(body, header.body_bytes, &done).message, "");
				keep(reply, done.content.data, done.content.length);
				keep(reply, &done.completion_tokens, sizeof done.completion_tokens);
				reply->end = END_ANSWERED;
				return;
			default:
				keep(reply, body, header.body_bytes);
				if (header.type != FRAME_RESULT)
					break;
				reply->end = END_ANSWERED;
				return;
		}
	}
}

/* One request with every allocation failing once (and, with stay, all from it on). */
static void
check(const Fixture *fixture, const Request *request)
{
	static Reply expected, reply;
	ByteWriter frames, go;
	long n_failed = 0;
	int fd = connect_client(fixture);

	byte_writer_init(&frames);
	byte_writer_init(&go);
	assert_string_equal(encode_request(&frames, 1, request).message, "");
	assert_string_equal(encode_empty(&go, 1, FRAME_GO).message, "");
	ask(fd, &frames, &go, &expected);
	close(fd);
	assert_int_equal(expected.end, END_ANSWERED);
	for (int stay = 0; stay < 2; stay++)
		for (long n = 1;; n++)
		{
			bool came;

			/* armed before it is accepted: a client is an allocation too */
			allocations_arm(n, stay);
			fd = connect_client(fixture);
			ask(fd, &frames, &go, &reply);
			came = allocations_disarm();
			close(fd);
			if (reply.end == END_ERROR)
				assert_int_equal(reply.code, STATUS_UNAVAILABLE);
			if (reply.end == END_ANSWERED)
			{
				assert_int_equal(reply.length, expected.length);
				assert_memory_equal(reply.text, expected.text, expected.length);
			}
			n_failed += reply.end != END_ANSWERED;
			fd = connect_client(fixture);
			ask(fd, &frames, &go, &reply);
			close(fd);
			assert_int_equal(reply.end, END_ANSWERED);
			assert_int_equal(reply.length, expected.length);
			assert_memory_equal(reply.text, expected.text, expected.length);
			if (!came)
				break;
		}
	assert_true(n_failed > 0);
	byte_writer_free(&frames);
	byte_writer_free(&go);
}

static ByteSpan
span(const char *text)
{
	return (ByteSpan){text, strlen(text)};
}

static void
clients_are_answered_or_told(void **state)
{
	Request request = {.kind = REQUEST_CHAT, .role = 10, .prefix_sharing = PREFIX_ROLE};

	request.messages = span("[{\"role\":\"user\",\"content\":\"Hi\"}]");
	request.options = (SamplingOptions){.given = OPTION_MAX_TOKENS | OPTION_TEMPERATURE, .max_tokens = 5};
	check(*state, &request);
	request.flags = REQUEST_FLAG_STREAM;
	check(*state, &request);
	request = (Request){.kind = REQUEST_TOKENIZE, .text = span("some text")};
	check(*state, &request);
	request = (Request){.kind = REQUEST_EMBED, .text = span("some text")};
	check(*state, &request);
}

/* A neighbour's connection lives through all of it, since what fails is another one's. */
static void
another_connection_is_left_alone(void **state)
{
	static Reply expected, reply;
	const Fixture *fixture = *state;
	Request request = {.kind = REQUEST_TOKENIZE, .text = span("of one's own")};
	int neighbour = connect_client(fixture);
	ByteWriter frames, nothing;

	byte_writer_init(&frames);
	byte_writer_init(&nothing);
	assert_string_equal(encode_request(&frames, 3, &request).message, "");
	ask(neighbour, &frames, &nothing, &expected);
	assert_int_equal(expected.end, END_ANSWERED);
	for (long n = 1; n < 12; n++)
	{
		int fd;

		allocations_arm(n, true);
		fd = connect_client(fixture);
		ask(fd, &frames, &nothing, &reply);
		allocations_disarm();
		close(fd);
		ask(neighbour, &frames, &nothing, &reply);
		assert_int_equal(reply.end, END_ANSWERED);
		assert_int_equal(reply.length, expected.length);
		assert_memory_equal(reply.text, expected.text, expected.length);
	}
	close(neighbour);
	byte_writer_free(&frames);
	byte_writer_free(&nothing);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(clients_are_answered_or_told),
		cmocka_unit_test(another_connection_is_left_alone),
	};

	return cmocka_run_group_tests_name("server_faults", tests, start_server, stop_server);
}
