/*
 * server_setup.c - see server_setup.h.
 */
#include "server_setup.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "../base/memory.h"
#include "../base/pages.h"
#include "client_requests.h"
#include "sandbox.h"

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
								   settings->speculation, getpriority(PRIO_PROCESS, 0) < 0};
	SchedulerCallbacks callbacks = {client_output, client_ended, server};
	SlotSettings slots = {
		.team = team_create(settings->n_threads > 0 ? settings->n_threads : team_default_threads()),
		.budget = kv_budget_create(memory_cache_limit(settings->kv_cache_bytes, memory_total(), memory_available(), 0)),
		.kv_type = settings->kv_type,
		.state_type = settings->state_type,
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
	slots_init(&server->slots, &slots, server->page, settings->n_slots, settings->n_adapters, settings->first_slot_fd);
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
server_set_up(Server *server)
{
	raise_descriptor_limit();
	pages_look();
	keep_little_memory();
	/* before there are threads, each of which would have to do it for itself */
	if (server->settings.sandbox)
		say_refused(sandbox_give_up_privileges());
	STATUS_TRY(set_up_events(server));
	STATUS_TRY(set_up_engine(server));
	/* models that come later are mapped from descriptors that are here already */
	if (server->settings.sandbox)
		say_refused(sandbox_enter());
	return status_ok();
}

void
server_tear_down(Server *server)
{
	desk_destroy(server->desk);
	slots_close(&server->slots);
	scheduler_destroy(server->scheduler);
	kv_budget_destroy(server->slots.settings.budget);
	team_destroy(server->slots.settings.team);
	byte_writer_free(&server->nowhere);
	close(server->signal_fd);
	close(server->epoll_fd);
}
