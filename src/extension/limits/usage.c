/*
 * usage.c - what others ask of what was used, and starts: what becomes of it.
 *
 * usage_memory.c has the memory, usage_windows.c the windows of one record, usage_records.c finds and locks records,
 * usage_queue.c has those who wait, usage_charges.c the requests under way.
 */
#include "usage.h"

#include "usage_charges.h"
#include "usage_memory.h"
#include "usage_queue.h"
#include "usage_records.h"
#include "usage_windows.h"

void
usage_count_rejected(const LimitRefusal *refusal)
{
	uint32 usage[MAX_LIMITED_ROLES_OF_CALL] = {NO_USAGE, NO_USAGE};

	LWLockAcquire(TABLE_LOCK, LW_SHARED);
	usage[0] = usage_find(refusal->role);
	usage_lock_stripes(usage);
	if (usage[0] != NO_USAGE)
		usage_records[usage[0]].n_rejected[refusal->kind]++;
	usage_unlock_stripes(usage);
	LWLockRelease(TABLE_LOCK);
}

/* A copy of record i, brought up to date. The table is locked. */
static void
copy_record(uint32 i, RoleUsage *copy)
{
	uint32 usage[MAX_LIMITED_ROLES_OF_CALL] = {i, NO_USAGE};

	usage_lock_stripes(usage);
	usage_advance(&usage_records[i], usage_now_us());
	*copy = usage_records[i];
	usage_unlock_stripes(usage);
}

RoleUsage *
usage_copy_all(int *n)
{
	RoleUsage *copies;
	uint32 n_used;

	LWLockAcquire(TABLE_LOCK, LW_SHARED);
	n_used = usage_memory->n_used;
	LWLockRelease(TABLE_LOCK);
	copies = MemoryContextAllocHuge(CurrentMemoryContext, sizeof *copies * Max(n_used, 1));
	*n = 0;
	LWLockAcquire(TABLE_LOCK, LW_SHARED);
	for (uint32 i = 0; i < n_used; i++)
		if (OidIsValid(usage_records[i].role))
			copy_record(i, &copies[(*n)++]);
	LWLockRelease(TABLE_LOCK);
	return copies;
}

void
usage_copy(Oid role, RoleUsage *copy)
{
	uint32 i;

	memset(copy, 0, sizeof *copy);
	LWLockAcquire(TABLE_LOCK, LW_SHARED);
	i = usage_find(role);
	if (i != NO_USAGE)
		copy_record(i, copy);
	LWLockRelease(TABLE_LOCK);
	copy->role = role;
}

void
limits_rejected(Oid role, uint64 counts[N_LIMITS])
{
	RoleUsage copy;

	usage_copy(role, &copy);
	memcpy(counts, copy.n_rejected, sizeof copy.n_rejected);
}

/* ---- starts ---- */
void
usage_restore(const RoleUsage *saved, uint64 age_seconds)
{
	uint64 saved_second = usage_now_us() / 1000000 - Min(age_seconds, MAX_AGE_SECONDS);
	uint32 i = usage_find(saved->role);
	RoleUsage *usage;

	if (i == NO_USAGE)
		i = usage_add(saved->role);
	if (i == NO_USAGE)
		return;
	usage = &usage_records[i];
	usage->second = saved_second;
	for (int age = 0; age < MINUTE_BUCKETS; age++)
	{
		uint64 from = (saved->second + MINUTE_BUCKETS - age) % MINUTE_BUCKETS;
		uint64 to = (saved_second + MINUTE_BUCKETS - age) % MINUTE_BUCKETS;

		usage->requests[to] = saved->requests[from];
		usage->tokens[to] = saved->tokens[from];
	}
	for (int age = 0; age < DAY_BUCKETS; age++)
	{
		uint64 from = saved->second / DAY_BUCKET_SECONDS, to = saved_second / DAY_BUCKET_SECONDS;

		usage->day_tokens[(to + DAY_BUCKETS - age) % DAY_BUCKETS] =
			saved->day_tokens[(from + DAY_BUCKETS - age) % DAY_BUCKETS];
	}
	usage->n_requests = saved->n_requests;
	usage->n_tokens = saved->n_tokens;
	memcpy(usage->n_rejected, saved->n_rejected, sizeof usage->n_rejected);
	usage_advance(usage, usage_now_us());
}

/* A reset of all backends: who waited or ran is gone, what was used stays. Nobody else is there. */
static void
end_all(void)
{
	usage_charges_end();
	usage_queue_clear();
	for (uint32 i = 0; i < usage_memory->n_used; i++)
	{
		usage_records[i].n_running = usage_records[i].n_waiting = 0;
		usage_records[i].reserved_tokens = 0;
	}
}

/* Chains that a killed backend may have left half made are made anew from the records. */
static void
chain_records(void)
{
	uint32 n = usage_memory->n_used;

	usage_clear_records();
	usage_memory->n_used = n;
	for (uint32 i = 0; i < n; i++)
	{
		uint32 *link =
			OidIsValid(usage_records[i].role) ? usage_chain_of(usage_records[i].role) : &usage_memory->free_record;

		usage_records[i].next = *link;
		*link = i;
	}
}

void
usage_start_memory(bool first_time)
{
	usage_find_locks();
	if (first_time)
		return;
	end_all();
	chain_records();
}
