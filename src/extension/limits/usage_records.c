/*
 * usage_records.c - the records of roles: finding, adding, locking.
 */
#include "usage_records.h"

#include "common/hashfn.h"
#include "usage_memory.h"
#include "usage_windows.h"

uint32 *
usage_chain_of(Oid role)
{
	return &usage_chains[murmurhash32(role) & (usage_memory->n_chains - 1)];
}

uint32
usage_find(Oid role)
{
	uint32 i = *usage_chain_of(role);

	while (i != NO_USAGE && usage_records[i].role != role)
		i = usage_records[i].next;
	return i;
}

/* Nothing in it counts any more. */
static bool
is_idle(RoleUsage *usage, uint64 now_us)
{
	usage_advance(usage, now_us);
	return usage->n_running == 0 && usage->n_waiting == 0 && usage_used(usage, LIMIT_TOKENS_PER_DAY) == 0 &&
		   usage_used(usage, LIMIT_REQUESTS_PER_MINUTE) == 0;
}

/* Free the records of roles that have used nothing for a day. The table is locked exclusively. */
static void
free_idle_records(void)
{
	uint64 now_us = usage_now_us();

	for (uint32 chain = 0; chain < usage_memory->n_chains; chain++)
	{
		uint32 *link = &usage_chains[chain];

		while (*link != NO_USAGE)
		{
			uint32 i = *link;

			if (!is_idle(&usage_records[i], now_us))
			{
				link = &usage_records[i].next;
				continue;
			}
			*link = usage_records[i].next;
			usage_records[i].role = InvalidOid;
			usage_records[i].next = usage_memory->free_record;
			usage_memory->free_record = i;
		}
	}
}

uint32
usage_add(Oid role)
{
	uint32 i;

	if (usage_memory->free_record == NO_USAGE && usage_memory->n_used == usage_memory->n_records)
		free_idle_records();
	if (usage_memory->free_record != NO_USAGE)
	{
		i = usage_memory->free_record;
		usage_memory->free_record = usage_records[i].next;
	}
	else if (usage_memory->n_used < usage_memory->n_records)
		i = usage_memory->n_used++;
	else
		return NO_USAGE;
	memset(&usage_records[i], 0, sizeof usage_records[i]);
	usage_records[i].second = usage_now_us() / 1000000;
	usage_records[i].role = role;
	usage_records[i].next = *usage_chain_of(role);
	*usage_chain_of(role) = i;
	return i;
}

bool
usage_is_limited(const RoleLimits *limits)
{
	for (int kind = 0; kind < N_LIMITS; kind++)
		if (limits->allowed[kind] != NO_LIMIT)
			return true;
	return false;
}

bool
usage_lock_table(const LimitSubject *subject, uint32 found[MAX_LIMITED_ROLES_OF_CALL])
{
	bool made_room = false, complete;

	for (;;)
	{
		LWLockAcquire(TABLE_LOCK, LW_SHARED);
		complete = true;
		for (int i = 0; i < MAX_LIMITED_ROLES_OF_CALL; i++)
		{
			found[i] = i < subject->n ? usage_find(subject->roles[i]) : NO_USAGE;
			complete = complete && (i >= subject->n || found[i] != NO_USAGE);
		}
		if (complete || made_room)
			break;
		LWLockRelease(TABLE_LOCK);
		LWLockAcquire(TABLE_LOCK, LW_EXCLUSIVE);
		for (int i = 0; i < subject->n; i++)
			if (usage_find(subject->roles[i]) == NO_USAGE)
				(void) usage_add(subject->roles[i]);
		LWLockRelease(TABLE_LOCK);
		made_room = true;
	}
	for (int i = 0; i < subject->n; i++)
		/* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): a subject has at most that many roles */
		if (found[i] == NO_USAGE && usage_is_limited(&subject->limits[i]))
		{
			LWLockRelease(TABLE_LOCK);
			return false;
		}
	return true;
}

/* A charge without records has a stripe too, that guards its state. */
static uint32
first_stripe(const uint32 usage[MAX_LIMITED_ROLES_OF_CALL])
{
	return usage[0] == NO_USAGE ? 0 : STRIPE(usage[0]);
}

static uint32
second_stripe(const uint32 usage[MAX_LIMITED_ROLES_OF_CALL])
{
	return usage[1] == NO_USAGE ? first_stripe(usage) : STRIPE(usage[1]);
}

void
usage_lock_stripes(const uint32 usage[MAX_LIMITED_ROLES_OF_CALL])
{
	uint32 a = first_stripe(usage), b = second_stripe(usage);

	LWLockAcquire(STRIPE_LOCK(Min(a, b)), LW_EXCLUSIVE);
	if (a != b)
		LWLockAcquire(STRIPE_LOCK(Max(a, b)), LW_EXCLUSIVE);
}

void
usage_unlock_stripes(const uint32 usage[MAX_LIMITED_ROLES_OF_CALL])
{
	uint32 a = first_stripe(usage), b = second_stripe(usage);

	if (a != b)
		LWLockRelease(STRIPE_LOCK(Max(a, b)));
	LWLockRelease(STRIPE_LOCK(Min(a, b)));
}
