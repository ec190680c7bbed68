/*
 * ends.c - who waits for the end of a job hears of it.
 */
#include "ends.h"

#include "../core/compat.h"
#include "commands/async.h"
#include "shared_part.h"
#include "storage/condition_variable.h"

static ConditionVariable *ended; /* a job has */

static void
start(void *memory, bool is_new)
{
	ended = memory;
	if (is_new)
		ConditionVariableInit(ended);
}

const SharedPart job_ends_part = {sizeof(ConditionVariable), start};

void
job_wait_begin(void)
{
	ConditionVariablePrepareToSleep(ended);
}

void
job_wait_next(long timeout_ms)
{
	(void) ConditionVariableTimedSleep(ended, timeout_ms, qwen_wait_event());
}

void
job_wait_end(void)
{
	ConditionVariableCancelSleep();
}

void
job_announce_end(void)
{
	ConditionVariableBroadcast(ended);
}

void
job_notify_end(int64 job, const char *state)
{
	Async_Notify("qwen_job", psprintf("{\"id\": " INT64_FORMAT ", \"state\": \"%s\"}", job, state));
}
