/*
 * init.c - what happens when the library is loaded. It stands above all rooms and lets each do its part.
 *
 * Preloaded (shared_preload_libraries): settings, shared memory, memory files for the models, the supervisor. Loaded by
 * a function call: only the settings that a session may change; every function then says what to add to the
 * configuration. While pg_upgrade runs a server there is no supervisor, and so no engine, scout or worker.
 */
#include "core/core.h"

#include "call/call.h"
#include "commands/extension.h"
#include "core/objects.h"
#include "core/settings.h"
#include "core/shared_memory.h"
#include "core/statement.h"
#include "limits/limits.h"
#include "miscadmin.h"
#include "planner/planner.h"
#include "queue/queue.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "supervisor/supervisor.h"
#include "triggers/triggers.h"
#include "watch/watch.h"

/* 18 can tell what a loaded library is: pg_get_loaded_modules(). */
#ifdef PG_MODULE_MAGIC_EXT
PG_MODULE_MAGIC_EXT(.name = "qwen_pg", .version = QWEN_VERSION);
#else
PG_MODULE_MAGIC;
#endif

extern PGDLLEXPORT void _PG_init(void);

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
	shared_memory_request();
	watch_request_memory();
	job_shared_request();
	usage_request_memory();
}

static void
start_memory(void)
{
	if (previous_shmem_startup_hook)
		previous_shmem_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared_memory_start();
	watch_start_memory();
	job_shared_start();
	LWLockRelease(AddinShmemInitLock);
	usage_start();
}

/* What processes share: made now, or asked for. */
static void
share_memory(void)
{
	shared_memory_make();
	usage_make_memory();
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
_PG_init(void)
{
	settings_define(process_shared_preload_libraries_in_progress);
	limit_settings_define(process_shared_preload_libraries_in_progress);
	if (!process_shared_preload_libraries_in_progress)
	{
		if (creating_extension)
			report_not_preloaded(WARNING);
		return;
	}
	settings_end();
	share_memory();
	statement_init();
	objects_init();
	outcomes_init();
	progress_init();
	job_queue_init();
	triggers_init();
	planner_init();
	supervisor_register();
}
