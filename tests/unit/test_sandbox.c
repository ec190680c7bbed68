/*
 * test_sandbox.c - from inside the sandbox nothing can be opened, made, started or signalled, by any thread, and all
 * that serving takes still works.
 *
 * Each test is a child process that enters the sandbox and says in shared memory what it found.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../kernels/team.h"
#include "../../src/engine/sandbox.h"
#include "../../src/model/chunker.h"
#include "../../src/model/model.h"
#include "tiny_model.h"

/* What a child says; [0] is '\0' as long as it has nothing to complain about. */
static char *said;
static pid_t parent;
static bool can_filter = true;

static void __attribute__((format(printf, 1, 2))) say(const char *format, ...)
{
	size_t length = strlen(said);
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(said + length, 4096 - length, format, arguments);
	va_end(arguments);
}

static void
enter(void)
{
	Status status = sandbox_give_up_privileges();

	if (status.code == STATUS_OK)
		status = sandbox_enter();
	if (status.code != STATUS_OK)
		say("cannot enter: %s; ", status.message);
}

/* Run a child to its end; its wait status. */
static int
run(void (*child)(void))
{
	pid_t pid;
	int status;

	if (!can_filter)
		skip();
	parent = getpid();
	memset(said, 0, 4096);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
	{
		child();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void
expect_denied(const char *what, long result)
{
	if (result != -1 || errno != EPERM)
		say("%s gave %ld, errno %d; ", what, result, errno);
}

static void
try_all(void)
{
	struct io_uring_params parameters = {0};
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/tmp/none"};
	char *const arguments[] = {"true", NULL};
	int pair[2];

	expect_denied("open for reading", open("/etc/passwd", O_RDONLY));
	expect_denied("open for writing", open("/tmp/qwen_test_sandbox", O_WRONLY | O_CREAT, 0600));
	expect_denied("open through /proc", open("/proc/self/mem", O_RDWR));
	expect_denied("memfd_create", memfd_create("x", 0));
	expect_denied("a Unix socket", socket(AF_UNIX, SOCK_STREAM, 0));
	expect_denied("a network socket", socket(AF_INET, SOCK_STREAM, 0));
	expect_denied("connect", connect(0, (struct sockaddr *) &address, sizeof address));
	expect_denied("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	expect_denied("pipe", pipe(pair));
	expect_denied("dup", dup(1));
	expect_denied("ioctl", syscall(SYS_ioctl, 1, 0, 0));
	expect_denied("fork", syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
	expect_denied("exec", execv("/bin/true", arguments));
	expect_denied("a signal to the parent", kill(parent, 0));
	expect_denied("a signal to the parent's thread", syscall(SYS_tgkill, parent, parent, 0));
	expect_denied("ptrace", ptrace(PTRACE_TRACEME, 0, 0, 0));
	expect_denied("another process's memory", syscall(SYS_process_vm_readv, parent, NULL, 0, NULL, 0, 0));
	expect_denied("io_uring", syscall(SYS_io_uring_setup, 4, &parameters));
	expect_denied("unlink", unlink("/tmp/none"));
	expect_denied("mkdir", mkdir("/tmp/none", 0700));
	expect_denied("stat", syscall(SYS_newfstatat, AT_FDCWD, "/etc/passwd", pair, 0));
	expect_denied("prctl", prctl(PR_SET_DUMPABLE, 1));
	expect_denied("a number that no call has", syscall(9999));
}

static void
child_tries_all(void)
{
	enter();
	try_all();
}

static void
everything_else_is_denied(void **state)
{
	(void) state;
	assert_int_equal(run(child_tries_all), 0);
	assert_string_equal(said, "");
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int n_threads_seen;

static void
try_in_thread(void *argument, int thread)
{
	(void) argument;
	(void) thread;
	pthread_mutex_lock(&mutex);
	try_all();
	n_threads_seen++;
	pthread_mutex_unlock(&mutex);
}

/* Before, it can be done: so it is the sandbox that denies it. */
static void
open_in_thread(void *argument, int thread)
{
	int fd = open("/etc/passwd", O_RDONLY);

	(void) argument;
	if (fd < 0)
		say("thread %d could not open a file before; ", thread);
	close(fd);
}

/* The team's threads are there before the sandbox is. */
static void
child_tries_in_team(void)
{
	Team *team = team_create(3);

	team_run(team, open_in_thread, NULL);
	enter();
	team_run(team, try_in_thread, NULL);
	if (n_threads_seen != 3)
		say("%d threads; ", n_threads_seen);
}

static void
threads_that_are_there_are_in_it_too(void **state)
{
	(void) state;
	assert_int_equal(run(child_tries_in_team), 0);
	assert_string_equal(said, "");
}

static void *
new_thread(void *argument)
{
	try_all();
	return argument;
}

static void
child_makes_threads(void)
{
	pthread_t thread;
	Team *team;

	enter();
	if (pthread_create(&thread, NULL, new_thread, NULL) != 0 || pthread_join(thread, NULL) != 0)
		say("no thread; ");
	team = team_create(4);
	if (!team || team_size(team) != 4)
		say("no team; ");
	else
		team_run(team, try_in_thread, NULL);
}

static void
new_threads_can_be_made_and_are_in_it(void **state)
{
	(void) state;
	assert_int_equal(run(child_makes_threads), 0);
	assert_string_equal(said, "");
}

#define EXPECT(condition)                                                                                              \
	do                                                                                                                 \
	{                                                                                                                  \
		if (!(condition))                                                                                              \
			say("%s: %s; ", #condition, strerror(errno));                                                              \
	} while (0)

static int listener, image_fd, epoll_fd, desk_fd;

/* The descriptors of an engine: a listener, an image to read, an event loop. */
static void
make_descriptors(void)
{
	const TinyModel shape = {true, 1, 64, 64, 2, 1, 32, 2048, false, TENSOR_F32, 5, -1};
	char path[64];
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int writable = tiny_image(&shape);

	/* as the supervisor gives it to the engine */
	snprintf(path, sizeof path, "/proc/self/fd/%d", writable);
	image_fd = open(path, O_RDONLY | O_CLOEXEC);
	close(writable);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	/* an address that the system makes up */
	assert_int_equal(bind(listener, (struct sockaddr *) &address, sizeof(sa_family_t)), 0);
	assert_int_equal(listen(listener, 5), 0);
	epoll_fd = epoll_create1(0);
	desk_fd = eventfd(0, EFD_NONBLOCK);
}

/* A client that is accepted, heard and answered. */
static void
serve_client(int peer)
{
	struct epoll_event event = {.events = EPOLLIN};
	struct ucred credentials;
	socklen_t length = sizeof credentials;
	char buffer[8];
	int client;

	EXPECT(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event) == 0);
	EXPECT(epoll_wait(epoll_fd, &event, 1, 1000) == 1);
	client = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	EXPECT(client >= 0);
	EXPECT(getsockopt(client, SOL_SOCKET, SO_PEERCRED, &credentials, &length) == 0);
	EXPECT(credentials.uid == geteuid());
	EXPECT(send(peer, "hello", 5, MSG_NOSIGNAL) == 5 && recv(client, buffer, sizeof buffer, MSG_DONTWAIT) == 5);
	EXPECT(recv(client, buffer, sizeof buffer, MSG_DONTWAIT) == -1 && errno == EAGAIN);
	EXPECT(close(client) == 0);
}

/* The model's memory cannot be written to, whatever is tried with its descriptor. */
static void
try_to_write(const Model *model)
{
	uint8_t *page = (uint8_t *) (uintptr_t) model->image;

	EXPECT(mprotect(page, 4096, PROT_READ | PROT_WRITE) == -1 && errno == EACCES);
	EXPECT(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, image_fd, 0) == MAP_FAILED && errno == EACCES);
	EXPECT(write(image_fd, "x", 1) == -1 && errno == EBADF);
}

static void
use_model(void)
{
	uint64_t n_tokens;
	static const char messages[] = "[{\"role\":\"user\",\"content\":\"Hi\"}]";
	ChatInput input = {
		.messages = {messages, sizeof messages - 1}, .bos_token = "", .eos_token = "", .now = 1754000000};
	ByteSpan text = {"One sentence. And another one, which is longer. The last.", 57};
	ChatPrompt prompt = {0};
	Model *model = NULL;
	ByteWriter offsets;

	EXPECT(model_open(image_fd, &model).code == STATUS_OK);
	if (!model)
		return;
	byte_writer_init(&offsets);
	EXPECT(chunk_text(model->tokenizer, text, 20, 0, &offsets, &n_tokens).code == STATUS_OK && offsets.length > 8);
	EXPECT(chat_template_render(model->chat_template, &input, &prompt).code == STATUS_OK);
	try_to_write(model);
	chat_prompt_free(&prompt);
	byte_writer_free(&offsets);
	model_close(model);
}

/* The waits of the event loop, the desk and the team, as calls: each waits and is not refused. */
static void
wait_as_the_loop_does(void)
{
	struct pollfd events = {.fd = epoll_fd, .events = POLLIN};
	struct timespec time = {.tv_nsec = 1000000}, before, after;
	struct epoll_event event;
	uint32_t word = 0;
	void *page = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void) clock_gettime(CLOCK_MONOTONIC, &before);
	EXPECT(ppoll(&events, 1, &time, NULL) == 0);
	(void) clock_gettime(CLOCK_MONOTONIC, &after);
	EXPECT((after.tv_sec - before.tv_sec) * 1000000000 + after.tv_nsec - before.tv_nsec >= time.tv_nsec);
	EXPECT(epoll_wait(epoll_fd, &event, 1, 1) == 0);
	EXPECT(nanosleep(&time, NULL) == 0 && clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL) == 0);
	EXPECT(syscall(SYS_futex, &word, 128 /* FUTEX_WAIT_PRIVATE */, 0, &time) == -1 && errno == ETIMEDOUT);
	EXPECT(sched_yield() == 0);
	EXPECT(page != MAP_FAILED && madvise(page, 1 << 16, MADV_DONTNEED) == 0);
	EXPECT((page = mremap(page, 1 << 16, 1 << 17, MREMAP_MAYMOVE)) != MAP_FAILED && munmap(page, 1 << 17) == 0);
	EXPECT(write(desk_fd, &(uint64_t){1}, 8) == 8 && read(desk_fd, &(uint64_t){0}, 8) == 8);
	(void) malloc_trim(0);
}

static void
child_serves(void)
{
	struct sockaddr_un address;
	socklen_t length = sizeof address;
	struct timespec now;
	uint64_t number;
	char *large;
	int peer = socket(AF_UNIX, SOCK_STREAM, 0);

	EXPECT(getsockname(listener, (struct sockaddr *) &address, &length) == 0);
	EXPECT(connect(peer, (struct sockaddr *) &address, length) == 0);
	enter();
	serve_client(peer);
	use_model();
	large = malloc(64 << 20);
	EXPECT(large && (large = realloc(large, 128 << 20)) != NULL);
	if (large)
		memset(large, 1, 128 << 20);
	free(large);
	wait_as_the_loop_does();
	EXPECT(clock_gettime(CLOCK_MONOTONIC, &now) == 0 && time(NULL) > 0);
	EXPECT(getrandom(&number, sizeof number, GRND_NONBLOCK) == sizeof number);
	EXPECT(write(2, "", 0) == 0);
}

static void
what_serving_takes_still_works(void **state)
{
	(void) state;
	make_descriptors();
	assert_int_equal(run(child_serves), 0);
	assert_string_equal(said, "");
	close(listener);
	close(image_fd);
	close(epoll_fd);
}

static void
child_aborts(void)
{
	enter();
	abort();
}

/* A fault is seen as what it is, so that the supervisor can say it. */
static void
abort_still_ends_with_its_signal(void **state)
{
	int status;

	(void) state;
	status = run(child_aborts);
	assert_string_equal(said, "");
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
}

/* Under an emulator of another processor there are no filters; everywhere else there are. */
static int
make_shared_memory(void **state)
{
	uint32_t action = SECCOMP_RET_ERRNO;

	(void) state;
	if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) != 0)
	{
		print_message("system calls cannot be filtered here: %s\n", strerror(errno));
		can_filter = false;
	}
	said = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return said == MAP_FAILED ? -1 : 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_else_is_denied),
		cmocka_unit_test(threads_that_are_there_are_in_it_too),
		cmocka_unit_test(new_threads_can_be_made_and_are_in_it),
		cmocka_unit_test(what_serving_takes_still_works),
		cmocka_unit_test(abort_still_ends_with_its_signal),
	};

	return cmocka_run_group_tests_name("sandbox", tests, make_shared_memory, NULL);
}
