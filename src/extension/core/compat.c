/*
 * compat.c - what differs between versions of PostgreSQL and is more than a line; see compat.h.
 */
#include "compat.h"

#include "utils/guc.h"
#include "utils/guc_tables.h"

/* 16 finds a setting by its name; before, they stand in an array. */
static const struct config_generic *
find_setting(const char *name)
{
#if PG_VERSION_NUM >= 160000
	return find_option(name, false, true, LOG);
#else
	struct config_generic **settings = get_guc_variables();

	for (int i = GetNumConfigOptions() - 1; i >= 0; i--)
		if (strcmp(settings[i]->name, name) == 0)
			return settings[i];
	return NULL;
#endif
}

bool
setting_is_in_files(const char *name)
{
	const struct config_generic *setting = find_setting(name);

	return setting && (setting->status & GUC_IS_IN_FILE) != 0;
}

uint32
qwen_wait_event(void)
{
#if PG_VERSION_NUM >= 170000
	static uint32 event = 0;

	if (event == 0)
		event = WaitEventExtensionNew("QwenEngine");
	return event;
#else
	return PG_WAIT_EXTENSION;
#endif
}
