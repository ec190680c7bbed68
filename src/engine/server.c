/*
 * server.c - one thread, epoll; see server.h.
 *
 * Nothing here blocks. Only short requests are prepared here, and no more of them between two steps than take a moment;
 * all others go to the desk (desk.h).
 */
#include "server.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "client_requests.h"
#include "connections.h"
#include "long_frames.h"
#include "server_setup.h"

#define IDLE_WAIT_MS 250
#define MAX_EVENTS 64

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

		server_beat(server);
		if (source == &server->settings.listener_fd)
			connections_accept(server);
		else if (source == &server->signal_fd)
			read_signals(server);
		else if (source == &server->settings.death_fd)
			server->stop = true; /* nothing is ever written there: it can only be its end */
		else if (source == server->desk)
			connections_take_papers(server);
		else
			connection_use(server, source, events[i].events);
	}
	connections_flush(server);
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
	uint64_t start, now, wait_us;
	int n;

	STATUS_TRY(handle_events(server, scheduler_has_work(server->scheduler) ? 0 : IDLE_WAIT_MS, &n));
	start = now = clock_now_us();
	while (!server->stop && scheduler_has_work(server->scheduler) && (n > 0 || server->clock.n_new > 0) &&
		   now - start < (wait_us = round_clock_wait_us(&server->clock)))
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
		round_clock_idle(&server->clock);
		return;
	}
	scheduler_step(server->scheduler);
	round_clock_step(&server->clock, start);
	connections_flush(server);
}

Status
server_run(const ServerSettings *settings)
{
	static Server server;
	Status status;

	memset(&server, 0, sizeof server);
	server.settings = *settings;
	server.long_frames.limit = LONG_FRAMES_BYTES;
	server.page = settings->page;
	STATUS_TRY(server_set_up(&server));
	atomic_store(&server.page->ready, 1);
	status = status_ok();
	while (!server.stop && status.code == STATUS_OK)
	{
		status = handle_arrivals(&server);
		clients_make_way(&server);
		take_step(&server);
		connections_look_again(&server);
		server_beat(&server);
	}
	atomic_store(&server.page->ready, 0);
	connections_close(&server);
	server_tear_down(&server);
	return status;
}
