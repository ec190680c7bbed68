/*
 * test_faults.c - the system fails while a model is loaded and opened: reads that fail, are interrupted or come short,
 * by pread and by io_uring, calls that are refused, memory that cannot be had.
 *
 * The test stands between the program and the C library (--wrap, the Makefile's WRAP_SYSTEM) and lets the n-th call of
 * one kind go wrong, for every n until none does. Promised: the very image of an untroubled load, or a clear error and
 * an empty image; never a hang.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#include <sys/stat.h>

#include "../../kernels/team.h"
#include "../../src/engine/kv_cache.h"
#include "tiny_model.h"

#define TEST_SECONDS 240 /* for all of it; a hang is killed by the alarm */

static const TinyModel tiny = {false, 3, 256, 512, 4, 2, 64, 256, false, TENSOR_Q8_0, 1, -1};

typedef enum Call
{
	NO_CALL,
	CALL_PREAD,
	CALL_PWRITE,
	CALL_COMPLETION, /* of io_uring */
	CALL_SUBMIT,
	CALL_RING,
	CALL_MMAP,
	CALL_FALLOCATE,
	CALL_FTRUNCATE,
	CALL_THREAD,
} Call;

/* What goes wrong: the n-th call of this kind, or with stay all from it on. */
static struct Fault
{
	Call call;
	long n;
	bool stay;
	int error;     /* errno; 0: a short read */
	size_t length; /* of the short read at most */
} fault;
static _Atomic long n_seen;

static bool
goes_wrong(Call call)
{
	long number;

	if (fault.call != call)
		return false;
	number = ++n_seen;
	return number == fault.n || (fault.stay && number > fault.n);
}

extern ssize_t __real_pread(int fd, void *buffer, size_t length, off_t offset);
extern ssize_t __real_pwrite(int fd, const void *buffer, size_t length, off_t offset);
extern void *__real_mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset);
extern int __real_fallocate(int fd, int mode, off_t offset, off_t length);
extern int __real_ftruncate(int fd, off_t length);
extern int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
								 void *argument);
extern int __real_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags);
extern int __real_io_uring_submit(struct io_uring *ring);

ssize_t __wrap_pread(int fd, void *buffer, size_t length, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *buffer, size_t length, off_t offset);
void *__wrap_mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t length);
int __wrap_ftruncate(int fd, off_t length);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument);
int __wrap_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags);
int __wrap_io_uring_submit(struct io_uring *ring);

ssize_t
__wrap_pread(int fd, void *buffer, size_t length, off_t offset)
{
	if (!goes_wrong(CALL_PREAD))
		return __real_pread(fd, buffer, length, offset);
	if (fault.error == 0)
	{
		/* as a device gives it that stops in the middle */
		ssize_t n = __real_pread(fd, buffer, length, offset);

		return n > (ssize_t) fault.length ? (ssize_t) fault.length : n;
	}
	errno = fault.error;
	return -1;
}

ssize_t
__wrap_pwrite(int fd, const void *buffer, size_t length, off_t offset)
{
	if (!goes_wrong(CALL_PWRITE))
		return __real_pwrite(fd, buffer, length, offset);
	if (fault.error == 0)
		return __real_pwrite(fd, buffer, length < fault.length ? length : fault.length, offset);
	errno = fault.error;
	return -1;
}

void *
__wrap_mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
	if (!goes_wrong(CALL_MMAP))
		return __real_mmap(address, length, protection, flags, fd, offset);
	errno = fault.error;
	return MAP_FAILED;
}

int
__wrap_fallocate(int fd, int mode, off_t offset, off_t length)
{
	if (!goes_wrong(CALL_FALLOCATE))
		return __real_fallocate(fd, mode, offset, length);
	errno = fault.error;
	return -1;
}

int
__wrap_ftruncate(int fd, off_t length)
{
	/* giving memory back is not refused */
	if (length == 0 || !goes_wrong(CALL_FTRUNCATE))
		return __real_ftruncate(fd, length);
	errno = fault.error;
	return -1;
}

int
__wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument)
{
	return goes_wrong(CALL_THREAD) ? fault.error : __real_pthread_create(thread, attributes, start, argument);
}

int
__wrap_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags)
{
	return goes_wrong(CALL_RING) ? -fault.error : __real_io_uring_queue_init(entries, ring, flags);
}

/* Completions are changed where they lie, before anybody looks at them. */
int
__wrap_io_uring_submit(struct io_uring *ring)
{
	static unsigned looked_at;
	struct io_uring_cqe *cqe;
	unsigned head, tail;
	int submitted;

	if (goes_wrong(CALL_SUBMIT))
	{
		errno = 0; /* liburing leaves it as it is */
		return -fault.error;
	}
	submitted = __real_io_uring_submit(ring);
	if (fault.call != CALL_COMPLETION || submitted <= 0 || io_uring_wait_cqe(ring, &cqe) != 0)
		return submitted;
	head = *ring->cq.khead;
	tail = __atomic_load_n(ring->cq.ktail, __ATOMIC_ACQUIRE);
	if (head == 0)
		looked_at = 0; /* a new ring */
	for (unsigned i = looked_at - head < tail - head ? looked_at : head; i != tail; i++)
	{
		cqe = &ring->cq.cqes[i & *ring->cq.kring_mask];
		if (goes_wrong(CALL_COMPLETION))
			cqe->res = fault.error ? -fault.error : cqe->res > (int) fault.length ? (int) fault.length : cqe->res;
	}
	looked_at = tail;
	return submitted;
}

/* ---- loading ----------------------------------------------------------------------------------------------------- */
static char folder[] = "/tmp/qwen_test_faults_XXXXXX";
static uint8_t *good_image;
static size_t good_bytes;

static int
make_good_image(void **state)
{
	ByteWriter file = writer_model(&tiny, NULL);
	int fd = memfd_create("image", 0);
	struct stat info;

	(void) state;
	alarm(TEST_SECONDS);
	if (!mkdtemp(folder))
		return -1;
	writer_save(folder, "m.gguf", file.data, file.length);
	byte_writer_free(&file);
	assert_string_equal(tiny_load(folder, fd, 2, true, true).message, "");
	assert_int_equal(fstat(fd, &info), 0);
	good_bytes = (size_t) info.st_size;
	good_image = malloc(good_bytes);
	assert_int_equal(pread(fd, good_image, good_bytes, 0), good_bytes);
	close(fd);
	return 0;
}

static int
remove_folder(void **state)
{
	char command[128];

	(void) state;
	free(good_image);
	snprintf(command, sizeof command, "rm -rf %s", folder);
	return system(command);
}

/* The image of an untroubled load, byte for byte. */
static void
assert_good(int fd)
{
	uint8_t *image = malloc(good_bytes);
	struct stat info;

	assert_int_equal(fstat(fd, &info), 0);
	assert_int_equal(info.st_size, good_bytes);
	assert_int_equal(pread(fd, image, good_bytes, 0), good_bytes);
	assert_memory_equal(image, good_image, good_bytes);
	free(image);
}

typedef enum Outcome
{
	ALWAYS_LOADS, /* the fault is one to get over */
	FAILS,        /* it is an error wherever it comes */
	EITHER,       /* there is another way in some places */
} Outcome;

/* Every n of one fault; words: of the error. */
static void
check(struct Fault wanted, bool io_uring, bool direct, Outcome outcome, const char *words)
{
	long n_failed = 0, n;

	for (n = 1;; n++)
	{
		int fd = memfd_create("image", 0);
		Status status;
		long seen;

		n_seen = 0;
		fault = wanted;
		fault.n = n;
		status = tiny_load(folder, fd, 2, io_uring, direct);
		fault.call = NO_CALL;
		seen = n_seen;
		if (status.code == STATUS_OK)
			assert_good(fd);
		else if (status.code != STATUS_UNAVAILABLE || !strstr(status.message, words) ||
				 !strstr(status.message, "m.gguf"))
			fail_msg("call %d, number %ld: code %d, \"%s\"", wanted.call, n, status.code, status.message);
		else
			assert_int_equal(lseek(fd, 0, SEEK_END), 0);
		close(fd);
		n_failed += status.code != STATUS_OK;
		if (seen < n)
			break;
		if ((outcome == ALWAYS_LOADS && status.code != STATUS_OK) || (outcome == FAILS && status.code == STATUS_OK))
			fail_msg("call %d, number %ld: \"%s\"", wanted.call, n, status.message);
	}
	assert_true(n > 1);
	assert_true(outcome == ALWAYS_LOADS || n_failed > 0);
}

static void
reads_that_fail_are_errors_with_their_place(void **state)
{
	const int errors[] = {EIO, ENOSPC, ENOMEM};

	(void) state;
	for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++)
		for (int stay = 0; stay < 2; stay++)
		{
			struct Fault reads = {.call = CALL_PREAD, .error = errors[i], .stay = stay};
			struct Fault completions = {.call = CALL_COMPLETION, .error = errors[i], .stay = stay};

			check(reads, false, false, FAILS, "cannot read at byte");
			/* a refused probe of O_DIRECT is what it is for: then the page cache is read */
			check(reads, false, true, EITHER, "cannot read at byte");
			check(completions, true, false, FAILS, "cannot read at byte");
			check(completions, true, true, FAILS, "cannot read at byte");
		}
}

static void
interrupted_and_short_reads_go_on(void **state)
{
	const size_t lengths[] = {1, 511, 512, 4095, 4096, 5000};

	(void) state;
	for (int way = 0; way < 4; way++)
	{
		struct Fault one = {.call = way & 1 ? CALL_COMPLETION : CALL_PREAD, .error = EINTR};

		check(one, way & 1, way & 2, ALWAYS_LOADS, "");
		one.error = 0;
		for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
		{
			one.length = lengths[i];
			check(one, way & 1, way & 2, ALWAYS_LOADS, "");
		}
	}
}

/* Every single read comes short, as from a device that gives 512 bytes at a time. */
static void
reads_that_are_always_short_come_to_an_end(void **state)
{
	(void) state;
	for (int way = 0; way < 4; way++)
		for (size_t length = 512; length <= 4096 + 512; length += 4096)
		{
			int fd = memfd_create("image", 0);
			Status status;

			n_seen = 0;
			fault =
				(struct Fault){.call = way & 1 ? CALL_COMPLETION : CALL_PREAD, .n = 1, .stay = true, .length = length};
			status = tiny_load(folder, fd, 2, way & 1, way & 2);
			fault.call = NO_CALL;
			assert_string_equal(status.message, "");
			assert_good(fd);
			close(fd);
		}
}

static void
io_uring_that_is_refused_is_done_without(void **state)
{
	const int errors[] = {ENOSYS, EPERM, ENOMEM, EMFILE};

	(void) state;
	for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++)
		check((struct Fault){.call = CALL_RING, .error = errors[i], .stay = true}, true, true, ALWAYS_LOADS, "");
}

static void
io_uring_that_fails_is_an_error_and_no_hang(void **state)
{
	const int passing[] = {EINTR, EAGAIN, EBUSY}, lasting[] = {EIO, ENOMEM, EBADF};

	(void) state;
	for (size_t i = 0; i < 3; i++)
		check((struct Fault){.call = CALL_SUBMIT, .error = passing[i]}, true, true, ALWAYS_LOADS, "");
	for (size_t i = 0; i < 3; i++)
		for (int stay = 0; stay < 2; stay++)
			check((struct Fault){.call = CALL_SUBMIT, .error = lasting[i], .stay = stay}, true, true, FAILS,
				  "io_uring failed while reading");
}

/* The image's memory runs full, or takes only a part at a time. */
static void
writes_that_fail_are_errors_and_short_ones_go_on(void **state)
{
	(void) state;
	for (int way = 0; way < 2; way++)
	{
		for (int stay = 0; stay < 2; stay++)
			check((struct Fault){.call = CALL_PWRITE, .error = ENOSPC, .stay = stay}, way, true, FAILS, "memory");
		check((struct Fault){.call = CALL_PWRITE, .error = EINTR}, way, true, ALWAYS_LOADS, "");
		check((struct Fault){.call = CALL_PWRITE, .length = 100}, way, true, ALWAYS_LOADS, "");
	}
}

static void
refused_memory_and_threads_are_errors(void **state)
{
	(void) state;
	for (int stay = 0; stay < 2; stay++)
		for (int io_uring = 0; io_uring < 2; io_uring++)
		{
			check((struct Fault){.call = CALL_MMAP, .error = ENOMEM, .stay = stay}, io_uring, true, FAILS,
				  "cannot map the model's memory");
			check((struct Fault){.call = CALL_FTRUNCATE, .error = ENOSPC, .stay = stay}, io_uring, true, FAILS,
				  "cannot size the model's memory");
			check((struct Fault){.call = CALL_FALLOCATE, .error = ENOSPC, .stay = stay}, io_uring, true, FAILS,
				  "no memory for byte");
			/* one worker is enough */
			check((struct Fault){.call = CALL_THREAD, .error = EAGAIN, .stay = stay}, io_uring, true, EITHER,
				  "cannot start a thread");
		}
	check((struct Fault){.call = CALL_FALLOCATE, .error = EINTR}, true, true, ALWAYS_LOADS, "");
}

/* Which members of a team have come by. */
static void
note_member(void *argument, int thread)
{
	((int *) argument)[thread]++;
}

/* Where the system grants fewer threads, nobody waits for the others. */
static void
a_team_knows_how_many_it_really_has(void **state)
{
	(void) state;
	for (int n = 1; n < 4; n++)
	{
		int visits[4] = {0};
		Team *team;

		fault = (struct Fault){.call = CALL_THREAD, .error = EAGAIN, .n = n, .stay = true};
		n_seen = 0;
		team = team_create(4);
		fault.call = NO_CALL;
		assert_int_equal(team_size(team), n);
		team_run(team, note_member, visits);
		for (int i = 0; i < 4; i++)
			assert_int_equal(visits[i], i < n);
		team_destroy(team);
	}
}

static void
an_image_that_cannot_be_mapped_is_not_opened(void **state)
{
	int fd = memfd_create("image", 0);
	Model *model = NULL;
	KvBudget *budget;
	KvPool *pool;
	uint64_t generation;
	Status status;

	(void) state;
	assert_string_equal(tiny_load(folder, fd, 2, true, true).message, "");
	fault = (struct Fault){.call = CALL_MMAP, .error = ENOMEM, .n = 1, .stay = true};
	n_seen = 0;
	status = model_open(fd, &model);
	assert_int_equal(status.code, STATUS_UNAVAILABLE);
	assert_non_null(strstr(status.message, "cannot map the model"));
	assert_false(model_image_is_complete(fd, &generation));
	fault.call = NO_CALL;
	assert_string_equal(model_open(fd, &model).message, "");
	budget = kv_budget_create(1 << 24);
	fault = (struct Fault){.call = CALL_MMAP, .error = ENOMEM, .n = 1, .stay = true};
	n_seen = 0;
	status = kv_pool_create(budget, &model->hyper, KV_F16, false, &pool);
	fault.call = NO_CALL;
	assert_int_equal(status.code, STATUS_UNAVAILABLE);
	assert_string_equal(kv_pool_create(budget, &model->hyper, KV_F16, false, &pool).message, "");
	kv_pool_destroy(pool);
	kv_budget_destroy(budget);
	model_close(model);
	close(fd);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_that_fail_are_errors_with_their_place),
		cmocka_unit_test(interrupted_and_short_reads_go_on),
		cmocka_unit_test(reads_that_are_always_short_come_to_an_end),
		cmocka_unit_test(io_uring_that_is_refused_is_done_without),
		cmocka_unit_test(io_uring_that_fails_is_an_error_and_no_hang),
		cmocka_unit_test(writes_that_fail_are_errors_and_short_ones_go_on),
		cmocka_unit_test(refused_memory_and_threads_are_errors),
		cmocka_unit_test(a_team_knows_how_many_it_really_has),
		cmocka_unit_test(an_image_that_cannot_be_mapped_is_not_opened),
	};

	return cmocka_run_group_tests_name("faults", tests, make_good_image, remove_folder);
}
