/*
 * connection.c - see connection.h.
 *
 * Every wait looks at the latch, the socket, the postmaster and, now and then, at the client, so that cancel, timeout,
 * termination and a lost client end it at once. What the engine may have begun is never sent again behind the user's
 * back.
 */
#include "connection.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../core/compat.h"
#include "../core/errors.h"
#include "client.h"
#include "miscadmin.h"
#include "model_wait.h"
#include "pgstat.h"
#include "storage/fd.h"
#include "storage/latch.h"

#define MAX_LATE_CANCELS 2048 /* more than a window of rows has requests */

static pgsocket engine_socket = PGINVALID_SOCKET;
static uint64 number;
static size_t unsent; /* bytes that are missing of a frame whose beginning is sent: nothing else may follow it */
static unsigned char
	late[MAX_LATE_CANCELS * PROTOCOL_HEADER_BYTES]; /* CANCELs a full socket did not take: sent first */
static size_t late_bytes;
static WaitEventSet *wait_set;
static ConnectionClosed *closed;

void
connection_listen(ConnectionClosed *listener)
{
	closed = listener;
}

bool
connection_is_open(void)
{
	return engine_socket != PGINVALID_SOCKET;
}

uint64
connection_number(void)
{
	return number;
}

size_t
connection_unsent(void)
{
	return unsent;
}

void
connection_close(bool engine_ended)
{
	closed(number, engine_ended);
	if (wait_set)
	{
		FreeWaitEventSet(wait_set);
		wait_set = NULL;
	}
	if (engine_socket != PGINVALID_SOCKET)
	{
		close(engine_socket);
		ReleaseExternalFD();
		engine_socket = PGINVALID_SOCKET;
	}
	number++;
	unsent = 0;
	late_bytes = 0;
}

/* Make the socket and connect it; the caller cleans up after an error. */
static void
open_connection(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	strlcpy(address.sun_path, PROTOCOL_SOCKET_NAME, sizeof address.sun_path);
	while (connect(engine_socket, (struct sockaddr *) &address, sizeof address) != 0)
	{
		/* a full backlog is the one thing that passes by itself */
		if (errno != EAGAIN && errno != EINTR)
			raise_unavailable("the qwen engine cannot be reached");
		check_engine_state();
		wait_a_moment();
	}
	wait_set = create_wait_event_set(3);
	AddWaitEventToSet(wait_set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(wait_set, WL_SOCKET_READABLE, engine_socket, NULL, NULL);
	AddWaitEventToSet(wait_set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
}

void
connection_open(void)
{
	if (engine_socket != PGINVALID_SOCKET)
		return;
	if (!AcquireExternalFD())
		ereport(ERROR,
				(errcode(ERRCODE_SYSTEM_ERROR), errmsg("no file descriptor is left for a connection to the engine")));
	engine_socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (engine_socket < 0)
	{
		engine_socket = PGINVALID_SOCKET;
		ReleaseExternalFD();
		ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("could not make a socket for the engine: %m")));
	}
	PG_TRY();
	{
		open_connection();
	}
	PG_CATCH();
	{
		connection_close(false);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

void
connection_send_late(void)
{
	ssize_t n;

	if (late_bytes == 0 || engine_socket == PGINVALID_SOCKET)
		return;
	n = send(engine_socket, late, late_bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n > 0)
	{
		late_bytes -= n;
		memmove(late, late + n, late_bytes);
	}
	else if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
		connection_close(true);
}

bool
connection_has_late(void)
{
	return late_bytes > 0;
}

bool
connection_send_later(const unsigned char *frame, size_t length)
{
	if (unsent > 0 || late_bytes + length > sizeof late)
		return false;
	memcpy(late + late_bytes, frame, length);
	late_bytes += length;
	return true;
}

ssize_t
connection_send(const unsigned char *data, size_t length)
{
	ssize_t n = send(engine_socket, data, length, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n > 0)
	{
		unsent = length - n;
		return n;
	}
	if (n == 0 || errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)
		return 0;
	connection_close(true);
	return -1;
}

ssize_t
connection_receive(char *buffer, size_t length)
{
	ssize_t n = recv(engine_socket, buffer, length, MSG_DONTWAIT);

	if (n > 0)
		return n;
	if (n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR))
		connection_close(true);
	return 0;
}

/* What a wait for the engine's frames has to look at. */
static uint32
reading_events(void)
{
	return late_bytes > 0 ? WL_SOCKET_READABLE | WL_SOCKET_WRITEABLE : WL_SOCKET_READABLE;
}

void
connection_wait(bool to_send, long timeout_ms)
{
	WaitEvent event;
	int n;

	if (engine_socket == PGINVALID_SOCKET)
		return;
	ModifyWaitEvent(wait_set, 1, to_send ? WL_SOCKET_READABLE | WL_SOCKET_WRITEABLE : reading_events(), NULL);
	n = WaitEventSetWait(wait_set, timeout_ms, &event, 1, qwen_wait_event());
	if (n == 0)
	{
		check_client();
		check_engine_state();
	}
	else if (event.events & WL_LATCH_SET)
	{
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

bool
connection_wait_for(long timeout_ms)
{
	WaitEvent event;
	bool latch_was_set;

	if (engine_socket == PGINVALID_SOCKET)
		latch_was_set =
			(WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, timeout_ms, qwen_wait_event()) &
			 WL_LATCH_SET) != 0;
	else
	{
		ModifyWaitEvent(wait_set, 1, reading_events(), NULL);
		latch_was_set = WaitEventSetWait(wait_set, timeout_ms, &event, 1, qwen_wait_event()) > 0 &&
						(event.events & WL_LATCH_SET) != 0;
	}
	if (latch_was_set)
		ResetLatch(MyLatch);
	return latch_was_set;
}
