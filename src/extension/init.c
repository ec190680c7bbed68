/*
 * init.c - what happens when the library is loaded.
 *
 * Preloaded (shared_preload_libraries): settings, shared memory, memory files for the models, the supervisor. Loaded by
 * a function call: only the settings that a session may change; every function then says what to add to the
 * configuration. While pg_upgrade runs a server there is no supervisor, and so no engine, scout or worker.
 */
#include "qwen_pg.h"

#include "miscadmin.h"
#include "planner/batch.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	settings_define(process_shared_preload_libraries_in_progress);
	if (!process_shared_preload_libraries_in_progress)
		return;
	shared_init();
	model_call_init();
	batch_plan_init();
	batch_limit_init();
	/* pg_upgrade counts on a server in which nothing happens by itself */
	if (!IsBinaryUpgrade)
		supervisor_register();
}
