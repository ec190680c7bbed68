/*
 * usage_memory.c - the memory in which stands what is used: it outlives a reset of all backends.
 *
 * One memory file, made by the postmaster before anything is forked, holds a record for each role that asks the engine,
 * a charge for each request under way (with the same number as its meter in the status page), and the queue of those
 * who wait. Locks are PostgreSQL's own and new after a reset.
 */
#include "usage_memory.h"

#include <sys/mman.h>

#include "../../base/clock.h"
#include "limit_settings.h"
#include "miscadmin.h"

#define USAGE_MAGIC 0x55504751u

UsageMemory *usage_memory;
uint32 *usage_chains;
RoleUsage *usage_records;
LWLockPadded *usage_locks;

void
usage_request_memory(void)
{
	RequestNamedLWLockTranche("qwen_pg_limits", N_LOCKS);
}

uint64
usage_now_us(void)
{
	return clock_now_us() + (uint64) MAX_AGE_SECONDS * 1000000;
}

void
usage_clear_records(void)
{
	for (uint32 i = 0; i < usage_memory->n_chains; i++)
		usage_chains[i] = NO_USAGE;
	usage_memory->free_record = NO_USAGE;
	usage_memory->n_used = 0;
}

void
usage_make_memory(void)
{
	uint32 n_chains = 1024;
	Size bytes;

	while (n_chains < (uint32) qwen_max_limited_roles)
		n_chains *= 2;
	bytes = sizeof(UsageMemory) + sizeof(uint32) * n_chains + sizeof(RoleUsage) * (Size) qwen_max_limited_roles;
	usage_memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (usage_memory == MAP_FAILED)
		ereport(FATAL,
				(errcode(ERRCODE_SYSTEM_ERROR), errmsg("qwen_pg: could not map %zu bytes for usage: %m", bytes)));
	usage_memory->magic = USAGE_MAGIC;
	usage_memory->n_records = qwen_max_limited_roles;
	usage_memory->n_chains = n_chains;
	usage_memory->free_charge = NO_USAGE;
	usage_memory->next_ticket = 1;
	pg_atomic_init_u64(&usage_memory->swept_us, 0);
	usage_chains = (uint32 *) (usage_memory + 1);
	usage_records = (RoleUsage *) (usage_chains + n_chains);
	usage_clear_records();
}

void
usage_find_locks(void)
{
	usage_locks = GetNamedLWLockTranche("qwen_pg_limits");
}
