/*
 * shared_memory.c - memory that processes share: PostgreSQL's own for the supervisor's word, and memory files made by
 * the postmaster.
 *
 * The status page and the images' memory files are made before anything is forked, so every process inherits them and
 * they outlive engine, supervisor and a reset of all backends.
 */
#include "../limits/limits.h"
#include "../queue/jobs.h"

#include <sys/mman.h>
#include <unistd.h>

#include "../watch/watch.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/guc.h"

QwenShared *qwen_shared;
StatusPage *qwen_page;
int qwen_page_fd = -1;
int qwen_slot_fds[STATUS_PAGE_MAX_SLOTS];

static shmem_startup_hook_type previous_shmem_startup_hook;
#if PG_VERSION_NUM >= 150000
static shmem_request_hook_type previous_shmem_request_hook;
#endif

static void
request_memory(void)
{
#if PG_VERSION_NUM >= 150000
	if (previous_shmem_request_hook)
		previous_shmem_request_hook();
#endif
	RequestAddinShmemSpace(MAXALIGN(sizeof(QwenShared)));
	RequestAddinShmemSpace(activity_memory_bytes());
	RequestAddinShmemSpace(stats_memory_bytes());
	RequestNamedLWLockTranche("qwen_pg_statistics", 1);
	RequestAddinShmemSpace(job_shared_bytes());
	RequestNamedLWLockTranche("qwen_pg", 1);
	usage_request_memory();
}

/* The postmaster begins, or begins again after a crash: then what roles have used is still in memory. */
static void
start_usage(void)
{
	static bool loaded;

	usage_start_memory(!loaded);
	if (!loaded && !IsUnderPostmaster)
		usage_file_load();
	loaded = true;
}

static void
start_memory(void)
{
	bool found;

	if (previous_shmem_startup_hook)
		previous_shmem_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	qwen_shared = ShmemInitStruct("qwen_pg", sizeof(QwenShared), &found);
	if (!found)
	{
		memset(qwen_shared, 0, sizeof *qwen_shared);
		qwen_shared->lock = &(GetNamedLWLockTranche("qwen_pg"))->lock;
	}
	activity_init_memory();
	stats_init_memory();
	job_shared_start();
	LWLockRelease(AddinShmemInitLock);
	start_usage();
}

/* A memory file that children inherit and programs started by them do not. */
static int
make_memory_file(const char *name, size_t bytes)
{
	int fd = memfd_create(name, MFD_CLOEXEC);

	if (fd < 0 || (bytes > 0 && ftruncate(fd, bytes) != 0))
		ereport(FATAL, (errcode_for_file_access(), errmsg("qwen_pg: could not make memory file \"%s\": %m", name)));
	ReserveExternalFD();
	return fd;
}

void
shared_init(void)
{
	qwen_page_fd = make_memory_file("qwen_pg_status", sizeof(StatusPage));
	qwen_page = mmap(NULL, sizeof(StatusPage), PROT_READ | PROT_WRITE, MAP_SHARED, qwen_page_fd, 0);
	if (qwen_page == MAP_FAILED)
		ereport(FATAL, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("qwen_pg: could not map the status page: %m")));
	qwen_page->magic = STATUS_PAGE_MAGIC;
	qwen_page->version = STATUS_PAGE_VERSION;
	qwen_page->n_slots = qwen_max_models;
	usage_make_memory();
	for (int i = 0; i < qwen_max_models; i++)
		qwen_slot_fds[i] = make_memory_file("qwen_pg_model", 0);

#if PG_VERSION_NUM >= 150000
	previous_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = request_memory;
#else
	request_memory();
#endif
	previous_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = start_memory;
}

void
require_preloaded(void)
{
	const char *present;

	if (qwen_shared)
		return;
	/* its value is not for everybody to see */
	present = superuser() ? GetConfigOption("shared_preload_libraries", true, false) : NULL;
	ereport(
		ERROR,
		(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("qwen_pg is not in shared_preload_libraries"),
		 errhint("Add this line to postgresql.conf and restart the server: shared_preload_libraries = '%s%sqwen_pg'",
				 present ? present : "", present && *present ? ", " : "")));
}

void
wake_supervisor(void)
{
	Latch *latch;

	LWLockAcquire(qwen_shared->lock, LW_SHARED);
	latch = qwen_shared->supervisor_latch;
	if (latch)
		SetLatch(latch);
	LWLockRelease(qwen_shared->lock);
}
