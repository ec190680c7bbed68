/*
 * usage_queue.c - the queue of those who wait for limits, in the order in which they came.
 */
#include "usage_queue.h"

#include "miscadmin.h"
#include "usage_memory.h"
#include "usage_records.h"

static int my_place = -1;

static bool
shares_role(const QueuePlace *place, const Oid *roles, int n)
{
	for (int i = 0; i < n; i++)
		for (int j = 0; j < MAX_LIMITED_ROLES_OF_CALL; j++)
			if (OidIsValid(roles[i]) && place->roles[j] == roles[i])
				return true;
	return false;
}

bool
usage_queue_is_first(const LimitSubject *subject, uint64 ticket)
{
	bool first = true;

	LWLockAcquire(QUEUE_LOCK, LW_SHARED);
	for (uint32 i = 0; i < usage_memory->n_places && first; i++)
	{
		const QueuePlace *place = &usage_memory->places[i];

		first = place->ticket == 0 || place->ticket >= ticket || !shares_role(place, subject->roles, subject->n);
	}
	LWLockRelease(QUEUE_LOCK);
	return first;
}

void
usage_queue_wake_first(Oid role)
{
	QueuePlace *first = NULL;

	LWLockAcquire(QUEUE_LOCK, LW_SHARED);
	for (uint32 i = 0; i < usage_memory->n_places; i++)
	{
		QueuePlace *place = &usage_memory->places[i];

		if (place->ticket != 0 && shares_role(place, &role, 1) && (!first || place->ticket < first->ticket))
			first = place;
	}
	if (first)
		SetLatch(first->latch);
	LWLockRelease(QUEUE_LOCK);
}

/* One more or one less waits for these roles. */
static void
count_waiting(const Oid *roles, int change)
{
	LWLockAcquire(TABLE_LOCK, LW_SHARED);
	for (int i = 0; i < MAX_LIMITED_ROLES_OF_CALL; i++)
	{
		uint32 usage[MAX_LIMITED_ROLES_OF_CALL] = {OidIsValid(roles[i]) ? usage_find(roles[i]) : NO_USAGE, NO_USAGE};

		if (usage[0] == NO_USAGE)
			continue;
		usage_lock_stripes(usage);
		if (change > 0 || usage_records[usage[0]].n_waiting > 0)
			usage_records[usage[0]].n_waiting += change;
		usage_unlock_stripes(usage);
	}
	LWLockRelease(TABLE_LOCK);
}

uint64
usage_queue_enter(const LimitSubject *subject, uint64 ticket)
{
	Oid roles[MAX_LIMITED_ROLES_OF_CALL] = {subject->roles[0], subject->n > 1 ? subject->roles[1] : InvalidOid};
	uint32 i;

	LWLockAcquire(QUEUE_LOCK, LW_EXCLUSIVE);
	for (i = 0; i < usage_memory->n_places && usage_memory->places[i].ticket != 0; i++)
		;
	if (i == N_QUEUE_PLACES)
	{
		LWLockRelease(QUEUE_LOCK);
		ereport(ERROR, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
						errmsg("%d requests wait for their role's limits already", N_QUEUE_PLACES)));
	}
	usage_memory->n_places = Max(usage_memory->n_places, i + 1);
	if (ticket == 0)
		ticket = usage_memory->next_ticket++;
	usage_memory->places[i].ticket = ticket;
	usage_memory->places[i].latch = MyLatch;
	memcpy(usage_memory->places[i].roles, roles, sizeof roles);
	my_place = (int) i;
	LWLockRelease(QUEUE_LOCK);
	count_waiting(roles, 1);
	return ticket;
}

void
usage_queue_leave(void)
{
	Oid roles[MAX_LIMITED_ROLES_OF_CALL];

	if (my_place < 0)
		return;
	LWLockAcquire(QUEUE_LOCK, LW_EXCLUSIVE);
	memcpy(roles, usage_memory->places[my_place].roles, sizeof roles);
	usage_memory->places[my_place].ticket = 0;
	usage_memory->places[my_place].latch = NULL;
	my_place = -1;
	LWLockRelease(QUEUE_LOCK);
	count_waiting(roles, -1);
	for (int i = 0; i < MAX_LIMITED_ROLES_OF_CALL; i++)
		if (OidIsValid(roles[i]))
			usage_queue_wake_first(roles[i]);
}

void
usage_queue_clear(void)
{
	memset(usage_memory->places, 0, sizeof(QueuePlace) * usage_memory->n_places);
	usage_memory->n_places = 0;
}
