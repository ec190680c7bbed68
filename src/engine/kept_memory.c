/*
 * kept_memory.c - see kept_memory.h.
 */
#include "kept_memory.h"

#include <pthread.h>

#include "role_budget.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static RoleBudget budget = {.limit = KEPT_MEMORY_BYTES};

Status
kept_memory_take(uint32_t role, size_t bytes)
{
	Status status = status_ok();

	if (bytes == 0)
		return status;
	if (bytes > KEPT_MEMORY_BYTES / 2)
		return status_error(STATUS_TOO_LONG,
							"what has to be kept of tools, answers to choose from or pieces of the text takes %zu "
							"bytes of memory, the limit is %zu",
							bytes, KEPT_MEMORY_BYTES / 2);
	pthread_mutex_lock(&lock);
	if (!role_budget_has_room(&budget, role, bytes))
		status = status_error(
			STATUS_UNAVAILABLE,
			"requests that have not ended keep %zu bytes of memory for tools, answers to choose from, "
			"pieces of texts and forms of answers, %zu of them for this role: there is no room for %zu more now",
			budget.total, role_budget_of(&budget, role), bytes);
	else if (!role_budget_take(&budget, role, bytes))
		status = status_error(STATUS_UNAVAILABLE, "out of memory in the engine");
	pthread_mutex_unlock(&lock);
	return status;
}

void
kept_memory_give(uint32_t role, size_t bytes)
{
	if (bytes == 0)
		return;
	pthread_mutex_lock(&lock);
	role_budget_give(&budget, role, bytes);
	pthread_mutex_unlock(&lock);
}
