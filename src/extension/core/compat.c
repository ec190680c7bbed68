/*
 * compat.c - what differs between versions of PostgreSQL and is more than a line; see compat.h.
 */
#include "compat.h"

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
