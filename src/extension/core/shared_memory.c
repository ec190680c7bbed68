/*
 * shared_memory.c - memory that processes share: PostgreSQL's own for the supervisor's word, and memory files made by
 * the postmaster.
 *
 * The status page and the images' memory files are made before anything is forked, so every process inherits them and
 * they outlive engine, supervisor and a reset of all backends.
 */
#include "shared_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include "miscadmin.h"
#include "settings.h"
#include "storage/fd.h"
#include "storage/shmem.h"
#include "utils/guc.h"

QwenShared *qwen_shared;
StatusPage *qwen_page;
int qwen_page_fd = -1;
int qwen_slot_fds[STATUS_PAGE_ALL_SLOTS];

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
shared_memory_make(void)
{
	qwen_page_fd = make_memory_file("qwen_pg_status", sizeof(StatusPage));
	qwen_page = mmap(NULL, sizeof(StatusPage), PROT_READ | PROT_WRITE, MAP_SHARED, qwen_page_fd, 0);
	if (qwen_page == MAP_FAILED)
		ereport(FATAL, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("qwen_pg: could not map the status page: %m")));
	qwen_page->magic = STATUS_PAGE_MAGIC;
	qwen_page->version = STATUS_PAGE_VERSION;
	qwen_page->n_slots = qwen_max_models;
	EACH_SLOT (i)
		qwen_slot_fds[i] = make_memory_file(i < STATUS_PAGE_MAX_SLOTS ? "qwen_pg_model" : "qwen_pg_adapter", 0);
}

bool
slot_exists(int slot)
{
	return slot < STATUS_PAGE_MAX_SLOTS ? slot < qwen_max_models : slot - STATUS_PAGE_MAX_SLOTS < qwen_max_adapters;
}

void
slot_full_name(const SharedSlot *slot, char name[ADAPTED_NAME_BYTES])
{
	if (slot->model[0])
		snprintf(name, ADAPTED_NAME_BYTES, "%s+%s", slot->model, slot->name);
	else
		strlcpy(name, slot->name, ADAPTED_NAME_BYTES);
}

bool
slot_is_there(const char *name)
{
	char full[ADAPTED_NAME_BYTES];
	bool found = false;

	LWLockAcquire(qwen_shared->lock, LW_SHARED);
	for (int i = 0; i < STATUS_PAGE_ALL_SLOTS && !found; i++)
	{
		if (qwen_shared->slots[i].state == SLOT_EMPTY)
			continue;
		slot_full_name(&qwen_shared->slots[i], full);
		found = strcmp(full, name) == 0;
	}
	LWLockRelease(qwen_shared->lock);
	return found;
}

void
shared_memory_request(void)
{
	RequestAddinShmemSpace(MAXALIGN(sizeof(QwenShared)));
	RequestNamedLWLockTranche("qwen_pg", 1);
}

void
shared_memory_start(void)
{
	bool found;

	qwen_shared = ShmemInitStruct("qwen_pg", sizeof(QwenShared), &found);
	if (!found)
	{
		memset(qwen_shared, 0, sizeof *qwen_shared);
		qwen_shared->lock = &(GetNamedLWLockTranche("qwen_pg"))->lock;
	}
}

void
report_not_preloaded(int level)
{
	/* its value is not for everybody to see */
	const char *present = superuser() ? GetConfigOption("shared_preload_libraries", true, false) : NULL;

	ereport(level,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("qwen_pg is not in shared_preload_libraries"),
			 present ? errhint("Add this line to postgresql.conf and restart the server: shared_preload_libraries = "
							   "'%s%sqwen_pg'",
							   present, *present ? ", " : "")
					 : errhint("Add qwen_pg to shared_preload_libraries in postgresql.conf, behind what is there, and "
							   "restart the server.")));
}

void
require_preloaded(void)
{
	if (!qwen_shared)
		report_not_preloaded(ERROR);
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
