/*
 * init.c - what happens when the library is loaded.
 *
 * Preloaded (shared_preload_libraries): settings, shared memory, memory files for the models, the supervisor. Loaded by
 * a function call: only the settings that a session may change; every function then says what to add to the
 * configuration.
 */
#include "qwen_pg.h"

#include "miscadmin.h"
#include "model_call.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	settings_define(process_shared_preload_libraries_in_progress);
	model_call_init();
	if (!process_shared_preload_libraries_in_progress)
		return;
	shared_init();
	supervisor_register();
}
