/*
 * launch.c - starting the engine program: from the supervisor, as a server or as a loader, and from sessions to look at
 * a file.
 *
 * The child gets exactly the descriptors of status_page.h, dies with its parent (PDEATHSIG and the death pipe), and
 * offers itself to the kernel's out-of-memory killer before any PostgreSQL process.
 */
#include "launch.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../base/clock.h"
#include "../../base/memory.h"
#include "../core/settings.h"
#include "miscadmin.h"
#include "utils/guc.h"

/* of Linux 5.9 and 5.3: headers of an older C library do not know them, a running kernel may */
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef AT_EMPTY_PATH
#define AT_EMPTY_PATH 0x1000
#endif

#define LOW_PRIORITY_NICE 10
#define HIGH_PRIORITY_NICE -15
#define END_POLL_US 1000

/* The program as it was when the server started, and where it lies. */
static int program_fd = -1;
static char program_path[MAXPGPATH];

/* What comes with our library, which may lie in a folder of its own: ../bin beside it. False where there is none. */
static bool
find_beside_library(char *path)
{
	Dl_info library;

	if (dladdr(program_path, &library) == 0 || !library.dli_fname || !is_absolute_path(library.dli_fname))
		return false;
	strlcpy(path, library.dli_fname, MAXPGPATH);
	get_parent_directory(path);
	get_parent_directory(path);
	strlcat(path, "/bin/qwen_engine", MAXPGPATH);
	return access(path, X_OK) == 0;
}

void
engine_program_open(void)
{
	if (qwen_engine_path && *qwen_engine_path)
		strlcpy(program_path, qwen_engine_path, sizeof program_path);
	else if (!find_beside_library(program_path))
	{
		strlcpy(program_path, my_exec_path, sizeof program_path);
		get_parent_directory(program_path);
		strlcat(program_path, "/qwen_engine", sizeof program_path);
	}
	program_fd = open(program_path, O_PATH | O_CLOEXEC);
}

const char *
engine_program(void)
{
	return program_path;
}

/*
 * Set how much of the processors we get beside backends. nice counts among the processes of one session where the
 * kernel groups them so (autogroup), so the engine gets a session of its own, whose weight is set too. What is refused
 * leaves the engine as it is.
 */
static void
take_priority(int nice_value, const char *of_group)
{
	int autogroup;

	(void) setsid();
	(void) setpriority(PRIO_PROCESS, 0, nice_value);
	autogroup = open("/proc/self/autogroup", O_WRONLY);
	if (autogroup < 0)
		return;
	if (write(autogroup, of_group, strlen(of_group)) < 0)
		errno = 0;
	close(autogroup);
}

/* As qwen.engine_priority says; nobody waits for a loader's tokens, so it goes before nobody. */
static void
set_priority(bool serves)
{
	struct sched_param none = {0};

	if (qwen_engine_priority == QWEN_PRIORITY_LOW)
	{
		take_priority(LOW_PRIORITY_NICE, CppAsString2(LOW_PRIORITY_NICE));
		(void) sched_setscheduler(0, SCHED_BATCH, &none);
	}
	else if (qwen_engine_priority == QWEN_PRIORITY_HIGH && serves)
		take_priority(HIGH_PRIORITY_NICE, CppAsString2(HIGH_PRIORITY_NICE));
}

/* May we go before others? Tried on ourselves, as a limit or a capability may permit it. Who may not is told so, once:
 * the engine runs as backends do then. */
static void
check_high_priority(void)
{
	static bool was_told = false;
	int own = getpriority(PRIO_PROCESS, 0);

	if (qwen_engine_priority != QWEN_PRIORITY_HIGH || was_told)
		return;
	if (setpriority(PRIO_PROCESS, 0, HIGH_PRIORITY_NICE) == 0)
	{
		(void) setpriority(PRIO_PROCESS, 0, own);
		return;
	}
	was_told = true;
	ereport(LOG,
			(errmsg("qwen_pg: qwen.engine_priority is high, but the server may not raise priorities"),
			 errdetail("The engine runs at nice %d.", own),
			 errhint("Give the server the right to: LimitNICE=%d or AmbientCapabilities=CAP_SYS_NICE in its systemd "
					 "unit.",
					 HIGH_PRIORITY_NICE)));
}

/*
 * The program of the server's start, though another version may have been installed since: it is what our code talks
 * to. By its path where that cannot be, as for a script, or when there was none at the start.
 */
static void
run_program(int program, char *const *arguments)
{
	char line[MAXPGPATH + 128];
	int n;

	if (program >= 0)
		(void) syscall(SYS_execveat, program, "", arguments, environ, AT_EMPTY_PATH);
	execv(program_path, arguments);
	/* whoever waits for us sees that it did not go, not why: that goes straight into the log */
	n = snprintf(line, sizeof line, "qwen_pg: the engine program \"%s\" cannot be run: %s\n", program_path,
				 strerror(errno));
	if (write(STDERR_FILENO, line, n) < 0)
		errno = 0;
}

/* Everything between fork and exec: only calls that are safe there. fds[i] goes to descriptor targets[i]. */
static void
become_engine(char *const *arguments, pid_t parent, const int *fds, const int *targets, int n)
{
	int parked[STATUS_PAGE_ALL_SLOTS + 3];
	int program;
	sigset_t none;
	int last = 2;
	int oom;

	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	set_priority(strcmp(arguments[1], "serve") == 0);
	if (getppid() != parent)
		_exit(1);
	for (int i = 0; i < n; i++)
		last = targets[i] > last ? targets[i] : last;
	/* they wait for their places right behind the last one: there may be few numbers to have */
	for (int i = 0; i < n; i++)
		if ((parked[i] = fcntl(fds[i], F_DUPFD, last + 1)) < 0)
			_exit(126);
	program = fcntl(program_fd, F_DUPFD_CLOEXEC, last + 1);
	for (int i = 0; i < n; i++)
		if (dup2(parked[i], targets[i]) < 0)
			_exit(126);
	/* a target that was not given must not be something else */
	for (int fd = 3; fd < last; fd++)
	{
		bool given = false;

		for (int i = 0; i < n; i++)
			given |= targets[i] == fd;
		if (!given)
			close(fd);
	}
	/* it stands behind the last one, and goes at the exec */
	if (program > last + 1)
		program = dup3(program, last + 1, O_CLOEXEC);
	if (syscall(SYS_close_range, last + 2, ~0U, 0) != 0)
		for (int fd = last + 2; fd < 4096; fd++)
			close(fd);
	if (program < 0)
		close(last + 1);
	oom = open("/proc/self/oom_score_adj", O_WRONLY);
	if (oom >= 0)
	{
		/* refused where the container gave us a higher value already: that serves as well */
		if (write(oom, "300", 3) < 0)
			errno = 0;
		close(oom);
	}
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	run_program(program, arguments);
	_exit(127);
}

/* Fork with all signals blocked; the parent gets a descriptor that tells of the end. */
static pid_t
launch(char *const *arguments, const int *fds, const int *targets, int n, int *pidfd)
{
	pid_t parent = getpid(), pid;
	sigset_t all, old;

	if (strcmp(arguments[1], "serve") == 0)
		check_high_priority();
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &old);
	pid = fork();
	if (pid == 0)
		become_engine(arguments, parent, fds, targets, n);
	sigprocmask(SIG_SETMASK, &old, NULL);
	*pidfd = -1;
	if (pid > 0)
	{
		*pidfd = syscall(SYS_pidfd_open, pid, 0);
		if (*pidfd >= 0)
			fcntl(*pidfd, F_SETFD, FD_CLOEXEC);
	}
	return pid;
}

bool
launch_end(pid_t pid, int patience_ms)
{
	uint64 deadline = clock_now_us() + (uint64) patience_ms * 1000;

	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, WNOHANG) == 0)
	{
		if (clock_now_us() >= deadline)
			return false;
		pg_usleep(END_POLL_US);
	}
	return true;
}

/* A new death pipe in place of the old one. */
static bool
renew_pipe(int death_pipe[2])
{
	for (int i = 0; i < 2; i++)
		if (death_pipe[i] >= 0)
			close(death_pipe[i]);
	death_pipe[0] = death_pipe[1] = -1;
	return pipe2(death_pipe, O_CLOEXEC) == 0;
}

/* A slot's image opened again for reading only, so that nobody who gets it can change the weights. */
static int
open_for_reading(int slot)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/self/fd/%d", qwen_slot_fds[slot]);
	return open(path, O_RDONLY | O_CLOEXEC);
}

pid_t
launch_engine(int listener, int death_pipe[2], int *pidfd)
{
	char *arguments[] = {
		"qwen_engine",
		"serve",
		psprintf("--slots=%d", qwen_max_models),
		psprintf("--adapters=%d", qwen_max_adapters),
		psprintf("--threads=%d", qwen_threads),
		psprintf("--kv-cache-bytes=" UINT64_FORMAT, kv_cache_bytes()),
		psprintf("--kv-cache-type=%s", GetConfigOption("qwen.kv_cache_type", false, false)),
		psprintf("--state-type=%s", GetConfigOption("qwen.state_type", false, false)),
		psprintf("--prefill-chunk=%d", qwen_prefill_chunk),
		psprintf("--speculation=%d", qwen_speculation),
		psprintf("--max-running=%d", qwen_max_running),
		psprintf("--queue-size=%d", qwen_queue_size),
		psprintf("--sandbox=%d", qwen_engine_sandbox),
		psprintf("--lock-memory=%d", qwen_lock_memory),
		psprintf("--huge-pages=%d", qwen_huge_pages != QWEN_HUGE_PAGES_OFF),
		NULL,
	};
	int fds[STATUS_PAGE_ALL_SLOTS + 3], targets[STATUS_PAGE_ALL_SLOTS + 3];
	int n = 3;
	pid_t pid;

	if (!renew_pipe(death_pipe))
		return -1;
	fds[0] = listener;
	fds[1] = death_pipe[0];
	fds[2] = qwen_page_fd;
	for (int i = 0; i < 3; i++)
		targets[i] = ENGINE_FD_LISTENER + i;
	EACH_SLOT (slot)
	{
		fds[n] = open_for_reading(slot);
		targets[n++] = ENGINE_FD_SLOT_0 + slot;
	}
	pid = launch(arguments, fds, targets, n, pidfd);
	for (int i = 3; i < n; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	return pid;
}

/* What must be left for keys and values beside a new model; what they have already counts. */
static uint64
cache_bytes_to_come(void)
{
	uint64 resident = atomic_load(&qwen_page->kv_bytes_resident);

	return MEMORY_CACHE_LEAST > resident ? MEMORY_CACHE_LEAST - resident : 0;
}

/* Are layers that guess tokens ahead read? */
static bool
loads_heads(void)
{
	return qwen_speculation == QWEN_SPECULATION_AUTO || qwen_speculation == QWEN_SPECULATION_MTP;
}

pid_t
launch_loader(int slot, const SharedSlot *work, int death_pipe[2], int *pidfd)
{
	char *arguments[] = {
		"qwen_engine",
		"load",
		psprintf("--slot=%d", slot),
		psprintf("--generation=" UINT64_FORMAT, work->generation),
		psprintf("--directory=%s", qwen_model_directory),
		psprintf("--file=%s", work->file),
		psprintf("--name=%s", work->name),
		psprintf("--io=%s", qwen_io_method == QWEN_IO_PREAD ? "pread" : "auto"),
		psprintf("--threads=%d", qwen_threads),
		psprintf("--heads=%d", loads_heads()),
		psprintf("--kv-cache-bytes=" UINT64_FORMAT, cache_bytes_to_come()),
		NULL,
	};
	int fds[3], targets[3] = {ENGINE_FD_DEATH, ENGINE_FD_STATUS, ENGINE_FD_SLOT_0};

	if (!renew_pipe(death_pipe))
		return -1;
	fds[0] = death_pipe[0];
	fds[1] = qwen_page_fd;
	fds[2] = qwen_slot_fds[slot];
	return launch(arguments, fds, targets, 3, pidfd);
}

/* What keys and values of the engine that runs have, or what the setting says. */
static uint64
cache_bytes_now(void)
{
	uint64 total = atomic_load(&qwen_page->kv_bytes_total);

	return total > 0 ? total : kv_cache_bytes();
}

pid_t
launch_checker(const char *file, int answer_fd, int death_pipe[2], int *pidfd)
{
	char *arguments[] = {
		"qwen_engine",
		"check",
		psprintf("--directory=%s", qwen_model_directory),
		psprintf("--file=%s", file),
		psprintf("--kv-cache-bytes=" UINT64_FORMAT, cache_bytes_now()),
		psprintf("--kv-cache-type=%s", GetConfigOption("qwen.kv_cache_type", false, false)),
		psprintf("--state-type=%s", GetConfigOption("qwen.state_type", false, false)),
		psprintf("--cache-to-come=" UINT64_FORMAT, cache_bytes_to_come()),
		psprintf("--heads=%d", loads_heads()),
		NULL,
	};
	int fds[2], targets[2] = {ENGINE_FD_DEATH, ENGINE_FD_ANSWER};

	if (!renew_pipe(death_pipe))
		return -1;
	fds[0] = death_pipe[0];
	fds[1] = answer_fd;
	return launch(arguments, fds, targets, 2, pidfd);
}

pid_t
launch_adapter_loader(int slot, const SharedSlot *work, int base_slot, int death_pipe[2], int *pidfd)
{
	char *arguments[] = {
		"qwen_engine",
		"load-adapter",
		psprintf("--slot=%d", slot),
		psprintf("--generation=" UINT64_FORMAT, work->generation),
		psprintf("--base-generation=" UINT64_FORMAT, work->base_generation),
		psprintf("--directory=%s", qwen_model_directory),
		psprintf("--file=%s", work->file),
		psprintf("--name=%s", work->name),
		psprintf("--model=%s", work->model),
		NULL,
	};
	int fds[4], targets[4] = {ENGINE_FD_DEATH, ENGINE_FD_STATUS, ENGINE_FD_SLOT_0, ENGINE_FD_BASE};
	pid_t pid;

	if (!renew_pipe(death_pipe))
		return -1;
	fds[0] = death_pipe[0];
	fds[1] = qwen_page_fd;
	fds[2] = qwen_slot_fds[slot];
	fds[3] = open_for_reading(base_slot);
	pid = launch(arguments, fds, targets, 4, pidfd);
	if (fds[3] >= 0)
		close(fds[3]);
	return pid;
}
