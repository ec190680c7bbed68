/*
 * usage_queue.c - the queue of those who wait for limits, in the order in which they came.
 *
 * A place counts for the roles that stood against its request when it was last tried, not for all that the request is
 * charged to: who waits for one role's day keeps nobody from another role's. So it may change its roles, with each try,
 * and keeps its ticket. A record's n_waiting is the number of places that count for its role.
 */
#include "usage_queue.h"

#include "miscadmin.h"
#include "usage_memory.h"
#include "usage_records.h"

#define LONGEST_HOLD_US 2000000 /* for which room at one role is kept for who waits for another one */

/* This process's place. */
static struct
{
	int number; /* -1: it has none */
	/* what stood against its request, by its subject's roles: in the last try, and in any */
	bool against[MAX_LIMITED_ROLES_OF_CALL], once[MAX_LIMITED_ROLES_OF_CALL];
	bool had_room[MAX_LIMITED_ROLES_OF_CALL]; /* in a try since the last hold began */
	uint64 hold_until_us;
} mine = {.number = -1};

static bool
has_role(const Oid roles[MAX_LIMITED_ROLES_OF_CALL], Oid role)
{
	for (int i = 0; i < MAX_LIMITED_ROLES_OF_CALL; i++)
		if (OidIsValid(role) && roles[i] == role)
			return true;
	return false;
}

bool
usage_queue_is_first(Oid role, uint64 ticket)
{
	bool first = true;

	LWLockAcquire(QUEUE_LOCK, LW_SHARED);
	for (uint32 i = 0; i < usage_memory->n_places && first; i++)
	{
		const QueuePlace *place = &usage_memory->places[i];

		first = place->ticket == 0 || place->ticket >= ticket || !has_role(place->roles, role);
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

		if (place->ticket != 0 && has_role(place->roles, role) && (!first || place->ticket < first->ticket))
			first = place;
	}
	if (first)
		SetLatch(first->latch);
	LWLockRelease(QUEUE_LOCK);
}

/* One more or one less waits for a role. */
static void
count_waiting(Oid role, int change)
{
	uint32 usage[MAX_LIMITED_ROLES_OF_CALL] = {NO_USAGE, NO_USAGE};

	LWLockAcquire(TABLE_LOCK, LW_SHARED);
	usage[0] = usage_find(role);
	if (usage[0] != NO_USAGE)
	{
		usage_lock_stripes(usage);
		if (change > 0 || usage_records[usage[0]].n_waiting > 0)
			usage_records[usage[0]].n_waiting += change;
		usage_unlock_stripes(usage);
	}
	LWLockRelease(TABLE_LOCK);
}

/* A place counts for other roles than before: whoever is the first now of those that it has left may have room. */
static void
count_change(const Oid before[MAX_LIMITED_ROLES_OF_CALL], const Oid now[MAX_LIMITED_ROLES_OF_CALL])
{
	for (int i = 0; i < MAX_LIMITED_ROLES_OF_CALL; i++)
		if (OidIsValid(now[i]) && !has_role(before, now[i]))
			count_waiting(now[i], 1);
	for (int i = 0; i < MAX_LIMITED_ROLES_OF_CALL; i++)
		if (OidIsValid(before[i]) && !has_role(now, before[i]))
		{
			count_waiting(before[i], -1);
			usage_queue_wake_first(before[i]);
		}
}

/* A free place for this process, if there is one. The queue is locked. */
static bool
take_place(void)
{
	uint32 i;

	for (i = 0; i < usage_memory->n_places && usage_memory->places[i].ticket != 0; i++)
		;
	if (i == N_QUEUE_PLACES)
		return false;
	usage_memory->n_places = Max(usage_memory->n_places, i + 1);
	memset(&mine, 0, sizeof mine);
	mine.number = (int) i;
	return true;
}

/* Is a role's room worth keeping: has the request's other role had room meanwhile, or will it while it is kept? Where
 * it has not, as when its minute is used up, others would stand before room that nobody can take. */
static bool
may_pass_the_other(const LimitSubject *subject, const LimitRefusal *refusal, int role)
{
	for (int i = 0; i < subject->n; i++)
		if (i != role &&
			(mine.had_room[i] || (refusal->room_in_us[i] >= 0 && refusal->room_in_us[i] < LONGEST_HOLD_US)))
			return true;
	return false;
}

static void
begin_hold(uint64 now_us)
{
	mine.hold_until_us = now_us + LONGEST_HOLD_US;
	memset(mine.had_room, 0, sizeof mine.had_room);
}

/*
 * For which roles this process's place is to count: those that stand against its request. Where one of them has let it
 * pass before, others have taken that room while it waited for its other role, and might do so without end, each role
 * being full whenever the other one is not. Then it counts for both for a while, which keeps the room that it finds.
 */
static void
choose_roles(const LimitSubject *subject, const LimitRefusal *refusal, Oid roles[MAX_LIMITED_ROLES_OF_CALL])
{
	uint64 now_us = usage_now_us();
	bool was_lost = false;

	for (int i = 0; i < subject->n; i++)
		mine.had_room[i] = mine.had_room[i] || !refusal->against[i];
	for (int i = 0; i < subject->n; i++)
	{
		was_lost |= refusal->against[i] && mine.once[i] && !mine.against[i] && may_pass_the_other(subject, refusal, i);
		mine.against[i] = refusal->against[i];
		mine.once[i] = mine.once[i] || mine.against[i];
	}
	if (was_lost)
		begin_hold(now_us);
	for (int i = 0; i < MAX_LIMITED_ROLES_OF_CALL; i++)
		roles[i] = i < subject->n && (mine.against[i] || (mine.once[i] && now_us < mine.hold_until_us))
					   ? subject->roles[i]
					   : InvalidOid;
}

uint64
usage_queue_enter(const LimitSubject *subject, const LimitRefusal *refusal, uint64 ticket)
{
	Oid before[MAX_LIMITED_ROLES_OF_CALL] = {InvalidOid, InvalidOid};
	Oid roles[MAX_LIMITED_ROLES_OF_CALL];
	QueuePlace *place;

	LWLockAcquire(QUEUE_LOCK, LW_EXCLUSIVE);
	if (mine.number >= 0)
		memcpy(before, usage_memory->places[mine.number].roles, sizeof before);
	else if (!take_place())
	{
		LWLockRelease(QUEUE_LOCK);
		ereport(ERROR, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
						errmsg("%d requests wait for their role's limits already", N_QUEUE_PLACES)));
	}
	choose_roles(subject, refusal, roles);
	if (ticket == 0)
		ticket = usage_memory->next_ticket++;
	place = &usage_memory->places[mine.number];
	place->ticket = ticket;
	place->latch = MyLatch;
	memcpy(place->roles, roles, sizeof roles);
	LWLockRelease(QUEUE_LOCK);
	count_change(before, roles);
	return ticket;
}

void
usage_queue_leave(void)
{
	static const Oid none[MAX_LIMITED_ROLES_OF_CALL];
	Oid before[MAX_LIMITED_ROLES_OF_CALL];
	QueuePlace *place;

	if (mine.number < 0)
		return;
	LWLockAcquire(QUEUE_LOCK, LW_EXCLUSIVE);
	place = &usage_memory->places[mine.number];
	memcpy(before, place->roles, sizeof before);
	memset(place, 0, sizeof *place);
	mine.number = -1;
	LWLockRelease(QUEUE_LOCK);
	count_change(before, none);
}

void
usage_queue_clear(void)
{
	memset(usage_memory->places, 0, sizeof(QueuePlace) * usage_memory->n_places);
	usage_memory->n_places = 0;
}
