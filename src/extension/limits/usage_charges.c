/*
 * usage_charges.c - what requests under way are charged for, from admission to the end.
 *
 * A request is charged with its prompt and reserves its answer; what the engine's meter shows is charged as it comes,
 * and what was not computed is given back at the end.
 */
#include "usage_charges.h"

#include "miscadmin.h"
#include "sisters.h"
#include "storage/proc.h"
#include "usage_memory.h"
#include "usage_queue.h"
#include "usage_records.h"
#include "usage_windows.h"

#define LOST_AFTER_US ((uint64) 60 * 1000000) /* a GO that the engine never saw */
#define SWEEP_EVERY_US 100000

/* How a charge is looked at. */
#define LOOK_MINE 1   /* its backend lets go of it */
#define LOOK_OVER 2   /* and it has ended */
#define LOOK_UNDONE 4 /* and it is to count as if it had never been admitted */

/* A charge with its meter, or NO_USAGE. */
static uint32
take_charge(void)
{
	uint32 number;

	LWLockAcquire(CHARGES_LOCK, LW_EXCLUSIVE);
	number = usage_memory->free_charge;
	if (number != NO_USAGE)
		usage_memory->free_charge = usage_memory->charges[number].next;
	else if (usage_memory->n_charges < STATUS_PAGE_MAX_METERS)
		number = usage_memory->n_charges++;
	LWLockRelease(CHARGES_LOCK);
	return number;
}

static void
give_charge(uint32 number)
{
	atomic_store(&qwen_page->meters[number].state, METER_FREE);
	LWLockAcquire(CHARGES_LOCK, LW_EXCLUSIVE);
	usage_memory->charges[number].next = usage_memory->free_charge;
	usage_memory->free_charge = number;
	LWLockRelease(CHARGES_LOCK);
}

/* Write an admitted request down. Its records are locked. */
static void
write_charge(uint32 number, const uint32 usage[MAX_LIMITED_ROLES_OF_CALL], const LimitDemand *demand, uint64 now_us)
{
	RequestMeter *meter = &qwen_page->meters[number];
	Charge *charge = &usage_memory->charges[number];

	atomic_store(&meter->prompt_tokens, 0);
	atomic_store(&meter->completion_tokens, 0);
	atomic_store(&meter->state, METER_GIVEN);
	*charge = (Charge){
		.usage = {usage[0], usage[1]},
		.prompt_tokens = demand->prompt_tokens,
		.max_tokens = demand->max_tokens,
		.engine_pid = qwen_shared->engine_pid,
		.pid = MyProcPid,
		.group = sisters_group(),
		.admitted_us = now_us,
	};
	for (int i = 0; i < MAX_LIMITED_ROLES_OF_CALL; i++)
	{
		RoleUsage *role = usage[i] == NO_USAGE ? NULL : &usage_records[usage[i]];

		if (!role)
			continue;
		role->requests[role->second % MINUTE_BUCKETS]++;
		usage_count_tokens(role, demand->prompt_tokens);
		role->reserved_tokens += demand->max_tokens;
		role->n_running++;
		role->n_requests++;
	}
	charge->state = CHARGE_HELD;
}

/* What stands against a request, of each of its roles; the records are locked. Of several refusals one that is never
 * met counts before others, else the first. waited_longer: others have, for a role's limits. */
static Admission
judge(const LimitSubject *subject, const uint32 usage[MAX_LIMITED_ROLES_OF_CALL], const LimitDemand *demand,
	  const bool waited_longer[MAX_LIMITED_ROLES_OF_CALL], uint64 now_us, LimitRefusal *refusal)
{
	bool against[MAX_LIMITED_ROLES_OF_CALL] = {false};
	int64 room_in_us[MAX_LIMITED_ROLES_OF_CALL] = {0};
	Admission admission = ADMITTED;

	for (int i = 0; i < subject->n; i++)
	{
		RoleUsage *role = usage[i] == NO_USAGE ? NULL : &usage_records[usage[i]];
		LimitRefusal of_role;

		if (role)
			usage_advance(role, now_us);
		if (usage_has_room(role, subject->roles[i], &subject->limits[i], demand, now_us, &of_role))
		{
			against[i] = waited_longer[i];
			room_in_us[i] = against[i] ? FREES_WITH_A_REQUEST : 0;
			if (against[i] && admission == ADMITTED)
			{
				admission = OTHERS_FIRST;
				refusal->role = subject->roles[i];
			}
			continue;
		}
		against[i] = true;
		/* what frees is theirs who have waited longer */
		room_in_us[i] = waited_longer[i] ? FREES_WITH_A_REQUEST : of_role.frees_in_us;
		if (admission != REFUSED || (of_role.frees_in_us == FREES_NEVER && refusal->frees_in_us != FREES_NEVER))
			*refusal = of_role;
		admission = REFUSED;
	}
	memcpy(refusal->against, against, sizeof against);
	memcpy(refusal->room_in_us, room_in_us, sizeof room_in_us);
	return admission;
}

Admission
usage_admit(const LimitSubject *subject, const LimitDemand *demand, uint64 ticket, uint32 *meter, LimitRefusal *refusal)
{
	uint32 usage[MAX_LIMITED_ROLES_OF_CALL];
	bool waited_longer[MAX_LIMITED_ROLES_OF_CALL];
	Admission admission;
	uint32 number;
	uint64 now_us;

	for (int i = 0; i < subject->n; i++)
		waited_longer[i] = ticket != 0 && !usage_queue_is_first(subject->roles[i], ticket);
	number = take_charge();
	if (number == NO_USAGE)
		ereport(ERROR,
				(errcode(ERRCODE_SYSTEM_ERROR), errmsg("%d requests are under way already", STATUS_PAGE_MAX_METERS),
				 errhint("The request can be sent again.")));
	if (!usage_lock_table(subject, usage))
	{
		give_charge(number);
		ereport(ERROR, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
						errmsg("there is no room for the usage of one more role"),
						errdetail("The usage of %u roles is kept.", usage_memory->n_records),
						errhint("Raise qwen.max_limited_roles and restart the server.")));
	}
	usage_lock_stripes(usage);
	now_us = usage_now_us();
	for (int i = 0; i < subject->n; i++)
		waited_longer[i] = usage_is_limited(&subject->limits[i]) &&
						   (ticket != 0 ? waited_longer[i] : usage_records[usage[i]].n_waiting > 0);
	admission = judge(subject, usage, demand, waited_longer, now_us, refusal);
	if (admission == ADMITTED)
		write_charge(number, usage, demand, now_us);
	usage_unlock_stripes(usage);
	LWLockRelease(TABLE_LOCK);
	if (admission != ADMITTED)
	{
		give_charge(number);
		return admission;
	}
	*meter = number;
	return ADMITTED;
}

/* Charge what the meter shows beyond what has been charged. The records are locked. */
static void
charge_progress(Charge *charge, const RequestMeter *meter, uint64 now_us)
{
	uint32 sampled = atomic_load(&meter->completion_tokens);
	uint32 more = sampled > charge->counted_tokens ? sampled - charge->counted_tokens : 0;

	more = Min(more, charge->max_tokens - charge->counted_tokens);
	if (more == 0)
		return;
	charge->counted_tokens += more;
	for (int i = 0; i < MAX_LIMITED_ROLES_OF_CALL; i++)
	{
		RoleUsage *role = charge->usage[i] == NO_USAGE ? NULL : &usage_records[charge->usage[i]];

		if (!role)
			continue;
		usage_advance(role, now_us);
		usage_count_tokens(role, more);
		role->reserved_tokens -= more;
	}
}

/* The request does not count any more among those that its roles have made. The records are locked. */
static void
give_back_request(const Charge *charge, uint64 now_us)
{
	for (int i = 0; i < MAX_LIMITED_ROLES_OF_CALL; i++)
	{
		RoleUsage *role = charge->usage[i] == NO_USAGE ? NULL : &usage_records[charge->usage[i]];

		if (!role)
			continue;
		usage_advance(role, now_us);
		usage_give_back_request(role, charge->admitted_us / 1000000);
	}
}

/* The request is over: its reservation goes, and so does the part of the prompt that was not computed. The records are
 * locked. */
static void
settle(Charge *charge, const RequestMeter *meter, uint64 now_us)
{
	uint64 second = charge->admitted_us / 1000000;
	uint32 computed = atomic_load(&meter->prompt_tokens);
	uint32 unused = charge->prompt_tokens > computed ? charge->prompt_tokens - computed : 0;

	charge_progress(charge, meter, now_us);
	for (int i = 0; i < MAX_LIMITED_ROLES_OF_CALL; i++)
	{
		RoleUsage *role = charge->usage[i] == NO_USAGE ? NULL : &usage_records[charge->usage[i]];

		if (!role)
			continue;
		usage_advance(role, now_us);
		usage_give_back(role, second, unused);
		role->reserved_tokens -= charge->max_tokens - charge->counted_tokens;
		role->n_running--;
	}
	if (charge->undone)
		give_back_request(charge, now_us);
}

/* Has the engine let go of the request, or ended with it? The meter of one that was killed stands still for good. */
static bool
is_let_go(Charge *charge, const RequestMeter *meter, uint64 now_us)
{
	uint32 state = atomic_load(&meter->state);

	/* admitted before the supervisor told of the engine that had accepted the request */
	if (charge->engine_pid == 0)
		charge->engine_pid = (int) qwen_shared->engine_pid;
	if (state == METER_ENDED || charge->engine_pid != (int) qwen_shared->engine_pid)
		return true;
	return charge->state == CHARGE_LEFT && state == METER_GIVEN && now_us - charge->left_us > LOST_AFTER_US;
}

/* A look at a charge whose request counts no more. True: it was counted among its roles' requests, and is no longer. */
static bool
let_done_go(Charge *charge, int how, uint64 now_us)
{
	if (how & LOOK_UNDONE)
		give_back_request(charge, now_us);
	if (how & LOOK_MINE)
		charge->state = CHARGE_FREE;
	return (how & LOOK_UNDONE) != 0;
}

/*
 * Move one charge on; its records are locked. True: its request counts no more from now on. A backend that does not
 * come to read what the engine has sent (a parallel query stands still somewhere else, nobody fetches from a cursor),
 * or to see that it has ended, keeps the charge's number, but nobody has to wait for it.
 */
static bool
move_on(Charge *charge, const RequestMeter *meter, int how, uint64 now_us)
{
	bool over = (how & LOOK_OVER) != 0;

	if (charge->state == CHARGE_DONE)
		return let_done_go(charge, how, now_us);
	charge->undone = charge->undone || (how & LOOK_UNDONE);
	if ((how & LOOK_MINE) && !over)
	{
		charge->state = CHARGE_LEFT;
		charge->left_us = now_us;
	}
	if (!over && !is_let_go(charge, meter, now_us))
	{
		charge_progress(charge, meter, now_us);
		return false;
	}
	settle(charge, meter, now_us);
	charge->state = charge->state == CHARGE_HELD && !over ? CHARGE_DONE : CHARGE_FREE;
	return true;
}

/* Look at one charge: charge progress; end it when it is over. */
static void
look_at_charge(uint32 number, int how, LimitDemand *used)
{
	Charge *charge = &usage_memory->charges[number];
	RequestMeter *meter = &qwen_page->meters[number];
	uint32 usage[MAX_LIMITED_ROLES_OF_CALL] = {charge->usage[0], charge->usage[1]};
	Oid to_wake[MAX_LIMITED_ROLES_OF_CALL] = {InvalidOid, InvalidOid};
	bool freed = false;

	LWLockAcquire(TABLE_LOCK, LW_SHARED);
	usage_lock_stripes(usage);
	/* it may have ended, and begun as another one, before the locks were ours */
	if (charge->state != CHARGE_FREE && charge->usage[0] == usage[0] && charge->usage[1] == usage[1])
	{
		bool made_room;

		if (used)
			*used = (LimitDemand){atomic_load(&meter->prompt_tokens), atomic_load(&meter->completion_tokens), 0, 0};
		made_room = move_on(charge, meter, how, usage_now_us());
		freed = charge->state == CHARGE_FREE;
		for (int i = 0; i < MAX_LIMITED_ROLES_OF_CALL; i++)
			if (made_room && usage[i] != NO_USAGE && usage_records[usage[i]].n_waiting > 0)
				to_wake[i] = usage_records[usage[i]].role;
	}
	usage_unlock_stripes(usage);
	LWLockRelease(TABLE_LOCK);
	if (freed)
		give_charge(number);
	for (int i = 0; i < MAX_LIMITED_ROLES_OF_CALL; i++)
		if (OidIsValid(to_wake[i]))
			usage_queue_wake_first(to_wake[i]);
}

void
usage_release(uint32 meter, bool ended, LimitDemand *used)
{
	look_at_charge(meter, ended ? LOOK_MINE | LOOK_OVER : LOOK_MINE, used);
}

void
usage_take_back(uint32 meter, bool is_on_its_way)
{
	atomic_store(&qwen_page->meters[meter].prompt_tokens, 0);
	atomic_store(&qwen_page->meters[meter].completion_tokens, 0);
	look_at_charge(meter, LOOK_MINE | LOOK_UNDONE | (is_on_its_way ? 0 : LOOK_OVER), NULL);
}

void
usage_sweep(void)
{
	uint64 now_us = usage_now_us(), swept_us = pg_atomic_read_u64(&usage_memory->swept_us);
	uint32 n;

	if (now_us - swept_us < SWEEP_EVERY_US ||
		!pg_atomic_compare_exchange_u64(&usage_memory->swept_us, &swept_us, now_us))
		return;
	LWLockAcquire(CHARGES_LOCK, LW_SHARED);
	n = usage_memory->n_charges;
	LWLockRelease(CHARGES_LOCK);
	for (uint32 i = 0; i < n; i++)
		if (usage_memory->charges[i].state != CHARGE_FREE)
			look_at_charge(i, 0, NULL);
}

bool
usage_has_company(void)
{
	uint64 group = sisters_group();
	uint32 n = usage_memory->n_charges;

	for (uint32 i = 0; i < n; i++)
	{
		const Charge *charge = &usage_memory->charges[i];

		/* what was given up a moment ago, by this process too, the engine may not have let go of yet */
		if (charge->group == group &&
			(charge->state == CHARGE_LEFT || (charge->state == CHARGE_HELD && charge->pid != MyProcPid)))
			return true;
	}
	return false;
}

void
usage_charges_end(void)
{
	for (uint32 i = 0; i < usage_memory->n_charges; i++)
	{
		if (usage_memory->charges[i].state != CHARGE_FREE)
			charge_progress(&usage_memory->charges[i], &qwen_page->meters[i], usage_now_us());
		usage_memory->charges[i].state = CHARGE_FREE;
		atomic_store(&qwen_page->meters[i].state, METER_FREE);
	}
	usage_memory->n_charges = 0;
	usage_memory->free_charge = NO_USAGE;
}
