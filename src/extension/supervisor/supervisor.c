/*
 * supervisor.c - the background worker that keeps the engine running.
 *
 * It makes the socket, starts engine and loaders, waits, and publishes what happened. It reads no model and no request:
 * when it dies, all backends are reset, so it does next to nothing itself.
 */
#include "supervisor.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../base/cgroup.h"
#include "../../base/clock.h"
#include "../../base/utf8.h"
#include "../core/compat.h"
#include "../core/settings.h"
#include "../core/shared_memory.h"
#include "../limits/limits.h"
#include "../queue/queue.h"
#include "launch.h"
#include "miscadmin.h"
#include "model_slots.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

extern PGDLLEXPORT void qwen_supervisor_main(Datum argument);

#define LISTEN_BACKLOG 1024
#define SOCKET_OF_0_1_0 "qwen_pg.sock" /* may have been left by a crash */
#define PENDING_WAIT_MS 20             /* while a slot is on its way */
#define IDLE_WAIT_MS 1000
#define LONGEST_LOOK_MS 2000 /* the time between two looks at the engine counts as so much at most */
#define FIRST_BACKOFF_MS 100
#define LAST_BACKOFF_MS 30000
#define HEALTHY_AFTER_MS 10000 /* an engine that ran this long starts again at once */
#define END_PATIENCE_MS 10000  /* for a child that was killed: longer than its memory takes to be given back */
#define PATIENCE_MS 1000       /* calls wait for the next start when it is not further away than this */

/* A child: the engine or a loader. */
typedef struct Child
{
	pid_t pid; /* 0: none */
	int pidfd;
	int death_pipe[2];
	uint64 oom_kills; /* of our control group when it was started */
} Child;

static Child engine = {0, -1, {-1, -1}, 0};
static Child loader = {0, -1, {-1, -1}, 0};
static int loader_slot;
static int listener = -1;
static int backoff_ms;
static uint64 next_start_us, started_us;
static bool killed_as_silent; /* the watchdog ended it */
static bool drafts_are_new;   /* the engine has not been told of qwen.draft_models */

void
supervisor_register(void)
{
	BackgroundWorker worker;

	engine_program_open();
	/* pg_upgrade counts on a server in which nothing happens by itself */
	if (IsBinaryUpgrade)
		return;
	memset(&worker, 0, sizeof worker);
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS;
	worker.bgw_start_time = BgWorkerStart_PostmasterStart;
	worker.bgw_restart_time = 1;
	strlcpy(worker.bgw_library_name, "qwen_pg", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "qwen_supervisor_main", BGW_MAXLEN);
	strlcpy(worker.bgw_name, "qwen_pg supervisor", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "qwen_pg supervisor", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}

/* What others see of the engine. why: what happened to the last one, or NULL. */
static void
publish(EngineState state, const char *why)
{
	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	qwen_shared->engine_state = state;
	qwen_shared->engine_pid = engine.pid;
	if (why)
		utf8_copy(qwen_shared->last_error, sizeof qwen_shared->last_error, why);
	qwen_shared->next_try =
		state == ENGINE_BACKING_OFF ? TimestampTzPlusMilliseconds(GetCurrentTimestamp(), backoff_ms) : 0;
	if (state == ENGINE_RUNNING)
		qwen_shared->started_at = GetCurrentTimestamp();
	LWLockRelease(qwen_shared->lock);
}

/* Let everybody see whether the newest qwen.models, qwen.adapters and qwen.draft_models hold. */
static void
publish_refused_lists(void)
{
	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	qwen_shared->refused = *refused_lists();
	LWLockRelease(qwen_shared->lock);
}

/* Let the engine know who guesses for whom. One that starts later reads it by itself; one that does not listen yet
 * would die of the signal, so it is told again. */
static void
publish_drafts(void)
{
	static uint64 number;

	if (number > 0 && strcmp(qwen_page->draft_models, qwen_draft_models) == 0)
		return;
	atomic_store(&qwen_page->drafts_number, 0);
	strlcpy(qwen_page->draft_models, qwen_draft_models, sizeof qwen_page->draft_models);
	atomic_store(&qwen_page->drafts_number, ++number);
	drafts_are_new = true;
}

static void
tell_of_drafts(void)
{
	if (!drafts_are_new || engine.pid <= 0 || !atomic_load(&qwen_page->ready))
		return;
	kill(engine.pid, SIGUSR1);
	drafts_are_new = false;
}

/* Without a socket there is nothing to supervise: leave, to be started again in a second, and let calls say why. */
static void
leave_without_socket(const char *what)
{
	char *why = psprintf("could not %s \"%s\": %m", what, PROTOCOL_SOCKET_NAME);

	publish(ENGINE_STOPPED, why);
	ereport(FATAL, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("qwen_pg: %s", why)));
}

/* The listening socket in the data directory (our working directory), for this user only. */
static void
make_listener(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	mode_t mask;

	strlcpy(address.sun_path, PROTOCOL_SOCKET_NAME, sizeof address.sun_path);
	(void) unlink(SOCKET_OF_0_1_0);
	if (unlink(address.sun_path) != 0 && errno != ENOENT)
		leave_without_socket("remove");
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mask = umask(0177);
	if (listener < 0 || bind(listener, (struct sockaddr *) &address, sizeof address) != 0 ||
		listen(listener, LISTEN_BACKLOG) != 0)
		leave_without_socket("listen on");
	umask(mask);
}

/* The time until the next start, doubling as long as the engine does not last. listened: it got as far as that. */
static void
plan_restart(const char *why, bool listened)
{
	if (clock_now_us() - started_us > (uint64) HEALTHY_AFTER_MS * 1000)
		backoff_ms = 0;
	ereport(LOG,
			(errmsg("qwen_pg: %s", why), backoff_ms > 0 ? errdetail("It is started again in %d ms.", backoff_ms) : 0));
	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	qwen_shared->give_up = !listened || backoff_ms > PATIENCE_MS;
	LWLockRelease(qwen_shared->lock);
	next_start_us = clock_now_us() + (uint64) backoff_ms * 1000;
	publish(backoff_ms > 0 ? ENGINE_BACKING_OFF : ENGINE_STOPPED, why);
	backoff_ms = backoff_ms == 0 ? FIRST_BACKOFF_MS : Min(backoff_ms * 2, LAST_BACKOFF_MS);
}

/* Start the engine, or plan to try again. */
static void
start_engine(void)
{
	started_us = clock_now_us();
	atomic_store(&qwen_page->heartbeat_us, started_us);
	atomic_store(&qwen_page->step_running, 0);
	atomic_store(&qwen_page->ready, 0);
	killed_as_silent = false;
	engine.oom_kills = cgroup_oom_kills("");
	engine.pid = launch_engine(listener, engine.death_pipe, &engine.pidfd);
	if (engine.pid < 0)
	{
		engine.pid = 0;
		plan_restart(psprintf("the engine could not be started: %m"), false);
		return;
	}
	ereport(LOG, (errmsg("qwen_pg: engine started, pid %d", (int) engine.pid)));
	publish(ENGINE_RUNNING, NULL);
}

/* Did a child end because memory ran out? Only the kernel's count of such ends tells them from a SIGKILL by hand. */
static bool
ended_for_memory(const Child *child, int status)
{
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && cgroup_oom_kills("") != child->oom_kills;
}

/* "was terminated by signal 9 (Killed)" */
static char *
describe_end(const Child *child, int status)
{
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return psprintf("was terminated by signal 9 (Killed)%s",
						ended_for_memory(child, status) ? " because memory ran out" : "");
	if (WIFSIGNALED(status))
		return psprintf("was terminated by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
	if (WEXITSTATUS(status) == 127)
	{
		/* where it lies is for the log alone: this text is shown to everybody */
		ereport(LOG, (errmsg("qwen_pg: could not execute \"%s\"", engine_program())));
		return pstrdup("could not be executed");
	}
	return psprintf("exited with code %d", WEXITSTATUS(status));
}

/* Has a child ended? Then its status is in *status and the child is forgotten. */
static bool
reap(Child *child, int *status)
{
	pid_t pid = child->pid;

	if (pid <= 0 || waitpid(pid, status, WNOHANG) != pid)
		return false;
	if (child->pidfd >= 0)
		close(child->pidfd);
	child->pid = 0;
	child->pidfd = -1;
	return true;
}

/* What stands in the status page of an engine that is no more: it has no requests, and it serves nothing. */
static void
forget_engine(void)
{
	atomic_store(&qwen_page->ready, 0);
	atomic_store(&qwen_page->n_clients, 0);
	atomic_store(&qwen_page->n_running, 0);
	atomic_store(&qwen_page->n_waiting, 0);
	atomic_store(&qwen_page->batch_tokens, 0);
	atomic_store(&qwen_page->kv_bytes_used, 0);
	atomic_store(&qwen_page->kv_bytes_resident, 0);
	atomic_store(&qwen_page->kv_bytes_cached, 0);
	atomic_store(&qwen_page->n_cached_blocks, 0);
	atomic_store(&qwen_page->n_states, 0);
	atomic_store(&qwen_page->n_snapshots, 0);
	atomic_store(&qwen_page->state_bytes_used, 0);
	atomic_store(&qwen_page->state_bytes_resident, 0);
	atomic_store(&qwen_page->snapshot_bytes, 0);
	slots_engine_ended();
}

/* Take note of the engine's end; start it when it is time. */
static void
look_after_engine(void)
{
	int status;

	if (reap(&engine, &status))
	{
		bool listened = atomic_load(&qwen_page->ready) != 0;
		char *why = killed_as_silent ? psprintf("the engine showed no sign of life for %d ms", qwen_watchdog_timeout)
									 : psprintf("the engine %s", describe_end(&engine, status));

		forget_engine();
		if (ended_for_memory(&engine, status))
			slots_memory_ran_out();
		LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
		qwen_shared->n_restarts++;
		LWLockRelease(qwen_shared->lock);
		plan_restart(why, listened);
	}
	if (engine.pid == 0 && clock_now_us() >= next_start_us)
		start_engine();
}

/*
 * For how long the engine's heartbeat has stood still while we looked: its members write it as they get on, so a step
 * may take as long as it takes. Time in which we did not run either (a machine that was stopped, or has no processor
 * for anybody) says nothing about it.
 */
static uint64
silent_us(void)
{
	static uint64 last_beat, last_look, silent;
	uint64 beat = atomic_load(&qwen_page->heartbeat_us), now = clock_now_us();

	silent = beat != last_beat ? 0 : silent + Min(now - last_look, (uint64) LONGEST_LOOK_MS * 1000);
	last_beat = beat;
	last_look = now;
	return silent;
}

/* An engine that shows no sign of life is killed; look_after_engine starts it again. */
static void
watch_engine(void)
{
	uint64 silent = silent_us();

	if (engine.pid <= 0 || qwen_watchdog_timeout == 0 || silent < (uint64) qwen_watchdog_timeout * 1000)
		return;
	ereport(LOG, (errmsg("qwen_pg: the engine has shown no sign of life for %llu ms and is restarted",
						 (unsigned long long) (silent / 1000))));
	killed_as_silent = true;
	kill(engine.pid, SIGKILL);
	atomic_store(&qwen_page->heartbeat_us, clock_now_us());
}

/* Take note of a loader's end; start the next one when there is work. One at a time, for its memory and its disk. */
static void
look_after_loader(void)
{
	SharedSlot work;
	int status, slot, base;

	if (reap(&loader, &status))
	{
		bool ok = WIFEXITED(status) && WEXITSTATUS(status) == 0;
		bool said_why = WIFEXITED(status) && WEXITSTATUS(status) == 1;

		slots_load_ended(loader_slot, ok,
						 ok || said_why ? NULL : psprintf("the loader %s", describe_end(&loader, status)));
	}
	if (loader.pid != 0 || (slot = slots_next_to_load(&work, &base)) < 0)
		return;
	/* the engine must not have the slot's old image any more: it has not, since only empty slots get work */
	loader_slot = slot;
	loader.oom_kills = cgroup_oom_kills("");
	loader.pid = base < 0 ? launch_loader(slot, &work, loader.death_pipe, &loader.pidfd)
						  : launch_adapter_loader(slot, &work, base, loader.death_pipe, &loader.pidfd);
	if (loader.pid < 0)
	{
		loader.pid = 0;
		slots_load_ended(slot, false, "the loader could not be started");
	}
}

/* Wait for a wake-up, the end of a child, or the time to look again. */
static void
wait_for_something(bool pending)
{
	WaitEventSet *set = create_wait_event_set(4);
	WaitEvent event;
	long timeout = pending ? PENDING_WAIT_MS : IDLE_WAIT_MS;

	if (engine.pid == 0)
	{
		uint64 now = clock_now_us();
		long until_start = next_start_us > now ? (long) ((next_start_us - now) / 1000 + 1) : 1;

		timeout = Min(timeout, until_start);
	}
	AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	if (engine.pidfd >= 0)
		AddWaitEventToSet(set, WL_SOCKET_READABLE, engine.pidfd, NULL, NULL);
	if (loader.pidfd >= 0)
		AddWaitEventToSet(set, WL_SOCKET_READABLE, loader.pidfd, NULL, NULL);
	(void) WaitEventSetWait(set, timeout, &event, 1, PG_WAIT_EXTENSION);
	FreeWaitEventSet(set);
	ResetLatch(MyLatch);
}

/* Kill a child and wait for it: where the postmaster is process 1, as in a container, it would inherit it, and take it
 * for a server process that has crashed. One that a disk holds does not hold the server's stop. */
static void
end_child(Child *child)
{
	if (child->pid <= 0)
		return;
	if (!launch_end(child->pid, END_PATIENCE_MS))
		ereport(LOG, (errmsg("qwen_pg: process %d was killed and has not ended within %d s, it is not waited for",
							 (int) child->pid, END_PATIENCE_MS / 1000)));
	child->pid = 0;
}

/* At the end, however it comes: no latch that others would set, no children. */
static void
leave(int code, Datum argument)
{
	LWLockReleaseAll();
	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	qwen_shared->supervisor_latch = NULL;
	qwen_shared->engine_state = ENGINE_STOPPED;
	qwen_shared->engine_pid = 0;
	LWLockRelease(qwen_shared->lock);
	end_child(&loader);
	if (engine.pid > 0)
	{
		end_child(&engine);
		forget_engine();
	}
	if (listener >= 0)
		unlink(PROTOCOL_SOCKET_NAME);
	usage_sweep();
	usage_file_write(true);
}

void
qwen_supervisor_main(Datum argument)
{
	MemoryContext round = AllocSetContextCreate(TopMemoryContext, "qwen_pg supervisor", ALLOCSET_DEFAULT_SIZES);

	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	before_shmem_exit(leave, 0);
	make_listener();
	settings_forget_old_refusals();
	publish_refused_lists();
	publish_drafts();
	slots_recover();
	slots_reconcile();
	/* from here on calls find a socket and the slots' state */
	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	qwen_shared->supervisor_latch = MyLatch;
	LWLockRelease(qwen_shared->lock);
	MemoryContextSwitchTo(round);
	while (!ShutdownRequestPending)
	{
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			settings_reload();
			publish_refused_lists();
			publish_drafts();
			slots_reconcile();
		}
		look_after_engine();
		watch_engine();
		tell_of_drafts();
		look_after_loader();
		job_launch();
		usage_sweep();
		usage_file_write(false);
		wait_for_something(slots_advance(engine.pid) || loader.pid > 0 || drafts_are_new);
		MemoryContextReset(round);
	}
	/* exit code 0 would unregister the worker for good */
	proc_exit(1);
}
