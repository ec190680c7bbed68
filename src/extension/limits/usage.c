/*
 * usage.c - what roles have used, in memory that outlives a reset of all backends.
 *
 * One memory file, made by the postmaster before anything is forked, holds a record for each role that asks the engine,
 * a charge for each request under way (with the same number as its meter in the status page), and the queue of those
 * who wait. Locks are PostgreSQL's own and new after a reset; usage_start_memory then ends what the reset cut off.
 *
 * Locks, in the order in which they are taken: queue; table (shared while a record is used, exclusive to add or
 * remove one); the records' stripes, the lower first; charges (the list of free ones). None is held while waiting.
 */
#include "usage.h"

#include <sys/mman.h>

#include "../../base/clock.h"
#include "../core/shared_memory.h"
#include "common/hashfn.h"
#include "limit_settings.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/proc.h"

#define N_STRIPES 64
#define N_QUEUE_PLACES 8192
#define USAGE_MAGIC 0x55504751u
#define LOST_AFTER_US ((uint64) 60 * 1000000) /* a GO that the engine never saw */
#define SWEEP_EVERY_US 100000
#define MAX_AGE_SECONDS (48 * 3600)

typedef enum ChargeState
{
	CHARGE_FREE = 0,
	CHARGE_HELD, /* a backend waits for the request */
	CHARGE_LEFT, /* nobody does any more, but the engine may still work on it */
	CHARGE_DONE, /* the engine has ended it and it counts no more, but its backend has not looked yet */
} ChargeState;

/* A request under way. Guarded by the stripe of its first record. */
typedef struct Charge
{
	uint32 state; /* ChargeState */
	uint32 next;  /* of the free ones */
	uint32 usage[MAX_LIMITED_ROLES_OF_CALL];
	uint32 prompt_tokens;
	uint32 max_tokens;
	uint32 counted_tokens; /* of the answer, charged already */
	int engine_pid;
	int pid, group_pid; /* whose it is, and the leader of the processes of its query */
	uint64 admitted_us;
	uint64 left_us;
} Charge;

/* Somebody who waits. Guarded by the lock of the queue. */
typedef struct QueuePlace
{
	uint64 ticket; /* 0: free */
	Oid roles[MAX_LIMITED_ROLES_OF_CALL];
	Latch *latch;
} QueuePlace;

typedef struct UsageMemory
{
	uint32 magic;
	uint32 n_records; /* room */
	uint32 n_chains;  /* a power of two */
	uint32 free_record, n_used;
	uint32 free_charge, n_charges; /* charges from n_charges on were never used */
	uint64 next_ticket;
	uint32 n_places; /* places from there on were never used */
	pg_atomic_uint64 swept_us;
	QueuePlace places[N_QUEUE_PLACES];
	Charge charges[STATUS_PAGE_MAX_METERS];
	/* then chains [n_chains] and records [n_records] */
} UsageMemory;

static UsageMemory *memory;
static uint32 *chains;
static RoleUsage *records;
static LWLockPadded *locks;
static int my_place = -1;

#define QUEUE_LOCK (&locks[0].lock)
#define TABLE_LOCK (&locks[1].lock)
#define CHARGES_LOCK (&locks[2].lock)
#define STRIPE(record) ((record) % N_STRIPES)
#define STRIPE_LOCK(stripe) (&locks[3 + (stripe)].lock)
#define N_LOCKS (3 + N_STRIPES)

void
usage_request_memory(void)
{
	RequestNamedLWLockTranche("qwen_pg_limits", N_LOCKS);
}

/* Monotonic, and far enough from zero that what happened a day ago has a time even when the machine has just started.
 */
static uint64
usage_now_us(void)
{
	return clock_now_us() + (uint64) MAX_AGE_SECONDS * 1000000;
}

/* All records free, in one list. */
static void
clear_records(void)
{
	for (uint32 i = 0; i < memory->n_chains; i++)
		chains[i] = NO_USAGE;
	memory->free_record = NO_USAGE;
	memory->n_used = 0;
}

void
usage_make_memory(void)
{
	uint32 n_chains = 1024;
	Size bytes;

	while (n_chains < (uint32) qwen_max_limited_roles)
		n_chains *= 2;
	bytes = sizeof(UsageMemory) + sizeof(uint32) * n_chains + sizeof(RoleUsage) * (Size) qwen_max_limited_roles;
	memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		ereport(FATAL,
				(errcode(ERRCODE_SYSTEM_ERROR), errmsg("qwen_pg: could not map %zu bytes for usage: %m", bytes)));
	memory->magic = USAGE_MAGIC;
	memory->n_records = qwen_max_limited_roles;
	memory->n_chains = n_chains;
	memory->free_charge = NO_USAGE;
	memory->next_ticket = 1;
	pg_atomic_init_u64(&memory->swept_us, 0);
	chains = (uint32 *) (memory + 1);
	records = (RoleUsage *) (chains + n_chains);
	clear_records();
}

/* ---- windows --------------------------------------------------------------------------------------------------------
 */

/* Bring a record's windows to now: buckets that come into use begin at zero. */
static void
advance_windows(RoleUsage *usage, uint64 now_us)
{
	uint64 second = now_us / 1000000;
	uint64 slot = second / DAY_BUCKET_SECONDS, old_slot = usage->second / DAY_BUCKET_SECONDS;

	if (second <= usage->second)
		return;
	if (second - usage->second >= MINUTE_BUCKETS)
	{
		memset(usage->requests, 0, sizeof usage->requests);
		memset(usage->tokens, 0, sizeof usage->tokens);
	}
	else
		for (uint64 s = usage->second + 1; s <= second; s++)
			usage->requests[s % MINUTE_BUCKETS] = usage->tokens[s % MINUTE_BUCKETS] = 0;
	if (slot - old_slot >= DAY_BUCKETS)
		memset(usage->day_tokens, 0, sizeof usage->day_tokens);
	else
		for (uint64 s = old_slot + 1; s <= slot; s++)
			usage->day_tokens[s % DAY_BUCKETS] = 0;
	usage->second = second;
}

static int64
sum_buckets(const uint32 *buckets, int n)
{
	int64 sum = 0;

	for (int i = 0; i < n; i++)
		sum += buckets[i];
	return sum;
}

int64
usage_used(const RoleUsage *usage, LimitKind kind)
{
	switch (kind)
	{
		case LIMIT_REQUESTS_PER_MINUTE:
			return sum_buckets(usage->requests, MINUTE_BUCKETS);
		case LIMIT_TOKENS_PER_MINUTE:
			return sum_buckets(usage->tokens, MINUTE_BUCKETS);
		case LIMIT_TOKENS_PER_DAY:
			return sum_buckets(usage->day_tokens, DAY_BUCKETS);
		case LIMIT_MAX_CONCURRENT:
			return usage->n_running;
		default:
			return 0;
	}
}

/* When have buckets that hold excess in sum left their window? The newest bucket is newest. */
static int64
time_until_free(const uint32 *buckets, int n, uint64 newest, uint64 bucket_us, int64 excess, uint64 now_us)
{
	for (int age = n - 1; age >= 0; age--)
	{
		if (newest < (uint64) age)
			continue;
		excess -= buckets[(newest - age) % n];
		if (excess <= 0)
			return (int64) ((newest - age + n) * bucket_us - now_us);
	}
	return FREES_WITH_A_REQUEST;
}

/* What a request asks of one kind of limit. */
static int64
asked_of(const LimitDemand *demand, LimitKind kind)
{
	switch (kind)
	{
		case LIMIT_TOKENS_PER_MINUTE:
		case LIMIT_TOKENS_PER_DAY:
			return (int64) demand->prompt_tokens + demand->max_tokens;
		case LIMIT_MAX_TOKENS:
			return demand->max_tokens;
		default:
			return 1;
	}
}

/* The time until there is room of one kind. */
static int64
frees_in(const RoleUsage *usage, LimitKind kind, int64 excess, uint64 now_us)
{
	uint64 slot = usage->second / DAY_BUCKET_SECONDS;

	switch (kind)
	{
		case LIMIT_REQUESTS_PER_MINUTE:
			return time_until_free(usage->requests, MINUTE_BUCKETS, usage->second, 1000000, excess, now_us);
		case LIMIT_TOKENS_PER_MINUTE:
			return time_until_free(usage->tokens, MINUTE_BUCKETS, usage->second, 1000000, excess, now_us);
		case LIMIT_TOKENS_PER_DAY:
			return time_until_free(usage->day_tokens, DAY_BUCKETS, slot, (uint64) DAY_BUCKET_SECONDS * 1000000, excess,
								   now_us);
		default:
			return FREES_WITH_A_REQUEST;
	}
}

/* Is there room for a request? The record is up to date and locked; NULL: it has used nothing. */
static bool
has_room(const RoleUsage *usage, Oid role, const RoleLimits *limits, const LimitDemand *demand, uint64 now_us,
		 LimitRefusal *refusal)
{
	for (int kind = 0; kind < N_LIMITS; kind++)
	{
		int64 allowed = limits->allowed[kind], asked = asked_of(demand, kind), used;

		if (allowed == NO_LIMIT)
			continue;
		used = usage ? usage_used(usage, kind) : 0;
		if (usage && (kind == LIMIT_TOKENS_PER_MINUTE || kind == LIMIT_TOKENS_PER_DAY))
			used += usage->reserved_tokens;
		if (used + asked <= allowed)
			continue;
		*refusal = (LimitRefusal){role, kind, used, asked, allowed, FREES_NEVER};
		if (asked <= allowed)
			refusal->frees_in_us = frees_in(usage, kind, used + asked - allowed, now_us);
		return false;
	}
	return true;
}

bool
usage_may_ever_admit(const LimitSubject *subject, const LimitDemand *demand, LimitRefusal *refusal)
{
	for (int i = 0; i < subject->n; i++)
		if (!has_room(NULL, subject->roles[i], &subject->limits[i], demand, 0, refusal))
			return false;
	return true;
}

/* ---- records --------------------------------------------------------------------------------------------------------
 */

static uint32 *
chain_of(Oid role)
{
	return &chains[murmurhash32(role) & (memory->n_chains - 1)];
}

/* The record of a role, or NO_USAGE. The table is locked. */
static uint32
find_record(Oid role)
{
	uint32 i = *chain_of(role);

	while (i != NO_USAGE && records[i].role != role)
		i = records[i].next;
	return i;
}

/* Nothing in it counts any more. */
static bool
is_idle(RoleUsage *usage, uint64 now_us)
{
	advance_windows(usage, now_us);
	return usage->n_running == 0 && usage->n_waiting == 0 && usage_used(usage, LIMIT_TOKENS_PER_DAY) == 0 &&
		   usage_used(usage, LIMIT_REQUESTS_PER_MINUTE) == 0;
}

/* Free the records of roles that have used nothing for a day. The table is locked exclusively. */
static void
free_idle_records(void)
{
	uint64 now_us = usage_now_us();

	for (uint32 chain = 0; chain < memory->n_chains; chain++)
	{
		uint32 *link = &chains[chain];

		while (*link != NO_USAGE)
		{
			uint32 i = *link;

			if (!is_idle(&records[i], now_us))
			{
				link = &records[i].next;
				continue;
			}
			*link = records[i].next;
			records[i].role = InvalidOid;
			records[i].next = memory->free_record;
			memory->free_record = i;
		}
	}
}

/* A new record, or NO_USAGE when there is no room. The table is locked exclusively. */
static uint32
add_record(Oid role)
{
	uint32 i;

	if (memory->free_record == NO_USAGE && memory->n_used == memory->n_records)
		free_idle_records();
	if (memory->free_record != NO_USAGE)
	{
		i = memory->free_record;
		memory->free_record = records[i].next;
	}
	else if (memory->n_used < memory->n_records)
		i = memory->n_used++;
	else
		return NO_USAGE;
	memset(&records[i], 0, sizeof records[i]);
	records[i].second = usage_now_us() / 1000000;
	records[i].role = role;
	records[i].next = *chain_of(role);
	*chain_of(role) = i;
	return i;
}

/* Does anything limit this role? Then it must have a record. */
static bool
is_limited(const RoleLimits *limits)
{
	for (int kind = 0; kind < N_LIMITS; kind++)
		if (limits->allowed[kind] != NO_LIMIT)
			return true;
	return false;
}

/*
 * The records of a subject's roles, made where there are none. On return the table is locked (shared); false: there is
 * no room for a record that is needed, and nothing is locked.
 */
static bool
lock_table_with(const LimitSubject *subject, uint32 found[MAX_LIMITED_ROLES_OF_CALL])
{
	bool made_room = false, complete;

	for (;;)
	{
		LWLockAcquire(TABLE_LOCK, LW_SHARED);
		complete = true;
		for (int i = 0; i < MAX_LIMITED_ROLES_OF_CALL; i++)
		{
			found[i] = i < subject->n ? find_record(subject->roles[i]) : NO_USAGE;
			complete = complete && (i >= subject->n || found[i] != NO_USAGE);
		}
		if (complete || made_room)
			break;
		LWLockRelease(TABLE_LOCK);
		LWLockAcquire(TABLE_LOCK, LW_EXCLUSIVE);
		for (int i = 0; i < subject->n; i++)
			if (find_record(subject->roles[i]) == NO_USAGE)
				(void) add_record(subject->roles[i]);
		LWLockRelease(TABLE_LOCK);
		made_room = true;
	}
	for (int i = 0; i < subject->n; i++)
		/* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): a subject has at most that many roles */
		if (found[i] == NO_USAGE && is_limited(&subject->limits[i]))
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

/* Lock the stripes of up to two records. */
static void
lock_stripes(const uint32 usage[MAX_LIMITED_ROLES_OF_CALL])
{
	uint32 a = first_stripe(usage), b = second_stripe(usage);

	LWLockAcquire(STRIPE_LOCK(Min(a, b)), LW_EXCLUSIVE);
	if (a != b)
		LWLockAcquire(STRIPE_LOCK(Max(a, b)), LW_EXCLUSIVE);
}

static void
unlock_stripes(const uint32 usage[MAX_LIMITED_ROLES_OF_CALL])
{
	uint32 a = first_stripe(usage), b = second_stripe(usage);

	if (a != b)
		LWLockRelease(STRIPE_LOCK(Max(a, b)));
	LWLockRelease(STRIPE_LOCK(Min(a, b)));
}

/* ---- the queue ------------------------------------------------------------------------------------------------------
 */

static bool
shares_role(const QueuePlace *place, const Oid *roles, int n)
{
	for (int i = 0; i < n; i++)
		for (int j = 0; j < MAX_LIMITED_ROLES_OF_CALL; j++)
			if (OidIsValid(roles[i]) && place->roles[j] == roles[i])
				return true;
	return false;
}

/* Has nobody with one of these roles waited longer? */
static bool
is_first(const LimitSubject *subject, uint64 ticket)
{
	bool first = true;

	LWLockAcquire(QUEUE_LOCK, LW_SHARED);
	for (uint32 i = 0; i < memory->n_places && first; i++)
	{
		const QueuePlace *place = &memory->places[i];

		first = place->ticket == 0 || place->ticket >= ticket || !shares_role(place, subject->roles, subject->n);
	}
	LWLockRelease(QUEUE_LOCK);
	return first;
}

/* Wake the one that has waited longest for a role. */
static void
wake_first(Oid role)
{
	QueuePlace *first = NULL;

	LWLockAcquire(QUEUE_LOCK, LW_SHARED);
	for (uint32 i = 0; i < memory->n_places; i++)
	{
		QueuePlace *place = &memory->places[i];

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
		uint32 usage[MAX_LIMITED_ROLES_OF_CALL] = {OidIsValid(roles[i]) ? find_record(roles[i]) : NO_USAGE, NO_USAGE};

		if (usage[0] == NO_USAGE)
			continue;
		lock_stripes(usage);
		if (change > 0 || records[usage[0]].n_waiting > 0)
			records[usage[0]].n_waiting += change;
		unlock_stripes(usage);
	}
	LWLockRelease(TABLE_LOCK);
}

uint64
usage_queue_enter(const LimitSubject *subject)
{
	Oid roles[MAX_LIMITED_ROLES_OF_CALL] = {subject->roles[0], subject->n > 1 ? subject->roles[1] : InvalidOid};
	uint64 ticket;
	uint32 i;

	LWLockAcquire(QUEUE_LOCK, LW_EXCLUSIVE);
	for (i = 0; i < memory->n_places && memory->places[i].ticket != 0; i++)
		;
	if (i == N_QUEUE_PLACES)
	{
		LWLockRelease(QUEUE_LOCK);
		ereport(ERROR, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
						errmsg("%d requests wait for their role's limits already", N_QUEUE_PLACES)));
	}
	memory->n_places = Max(memory->n_places, i + 1);
	ticket = memory->next_ticket++;
	memory->places[i].ticket = ticket;
	memory->places[i].latch = MyLatch;
	memcpy(memory->places[i].roles, roles, sizeof roles);
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
	memcpy(roles, memory->places[my_place].roles, sizeof roles);
	memory->places[my_place].ticket = 0;
	memory->places[my_place].latch = NULL;
	my_place = -1;
	LWLockRelease(QUEUE_LOCK);
	count_waiting(roles, -1);
	for (int i = 0; i < MAX_LIMITED_ROLES_OF_CALL; i++)
		if (OidIsValid(roles[i]))
			wake_first(roles[i]);
}

/* ---- charges --------------------------------------------------------------------------------------------------------
 */

/* A charge with its meter, or NO_USAGE. */
static uint32
take_charge(void)
{
	uint32 number;

	LWLockAcquire(CHARGES_LOCK, LW_EXCLUSIVE);
	number = memory->free_charge;
	if (number != NO_USAGE)
		memory->free_charge = memory->charges[number].next;
	else if (memory->n_charges < STATUS_PAGE_MAX_METERS)
		number = memory->n_charges++;
	LWLockRelease(CHARGES_LOCK);
	return number;
}

static void
give_charge(uint32 number)
{
	atomic_store(&qwen_page->meters[number].state, METER_FREE);
	LWLockAcquire(CHARGES_LOCK, LW_EXCLUSIVE);
	memory->charges[number].next = memory->free_charge;
	memory->free_charge = number;
	LWLockRelease(CHARGES_LOCK);
}

/* The leader of the parallel processes that this one belongs to, or this one. */
static int
my_group_pid(void)
{
	return MyProc->lockGroupLeader ? MyProc->lockGroupLeader->pid : MyProcPid;
}

/* Write an admitted request down. Its records are locked. */
static void
write_charge(uint32 number, const uint32 usage[MAX_LIMITED_ROLES_OF_CALL], const LimitDemand *demand, uint64 now_us)
{
	RequestMeter *meter = &qwen_page->meters[number];
	Charge *charge = &memory->charges[number];

	atomic_store(&meter->prompt_tokens, 0);
	atomic_store(&meter->completion_tokens, 0);
	atomic_store(&meter->state, METER_GIVEN);
	*charge = (Charge){
		.usage = {usage[0], usage[1]},
		.prompt_tokens = demand->prompt_tokens,
		.max_tokens = demand->max_tokens,
		.engine_pid = qwen_shared->engine_pid,
		.pid = MyProcPid,
		.group_pid = my_group_pid(),
		.admitted_us = now_us,
	};
	for (int i = 0; i < MAX_LIMITED_ROLES_OF_CALL; i++)
	{
		RoleUsage *role = usage[i] == NO_USAGE ? NULL : &records[usage[i]];

		if (!role)
			continue;
		role->requests[role->second % MINUTE_BUCKETS]++;
		role->tokens[role->second % MINUTE_BUCKETS] += demand->prompt_tokens;
		role->day_tokens[role->second / DAY_BUCKET_SECONDS % DAY_BUCKETS] += demand->prompt_tokens;
		role->reserved_tokens += demand->max_tokens;
		role->n_running++;
		role->n_requests++;
		role->n_tokens += demand->prompt_tokens;
	}
	charge->state = CHARGE_HELD;
}

Admission
usage_admit(const LimitSubject *subject, const LimitDemand *demand, uint64 ticket, uint32 *meter, LimitRefusal *refusal)
{
	uint32 usage[MAX_LIMITED_ROLES_OF_CALL];
	Admission admission = ADMITTED;
	uint32 number;
	uint64 now_us;

	if (ticket != 0 && !is_first(subject, ticket))
		return OTHERS_FIRST;
	number = take_charge();
	if (number == NO_USAGE)
		ereport(ERROR,
				(errcode(ERRCODE_SYSTEM_ERROR), errmsg("%d requests are under way already", STATUS_PAGE_MAX_METERS),
				 errhint("The request can be sent again.")));
	if (!lock_table_with(subject, usage))
	{
		give_charge(number);
		ereport(ERROR, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
						errmsg("there is no room for the usage of one more role"),
						errdetail("The usage of %u roles is kept.", memory->n_records),
						errhint("Raise qwen.max_limited_roles and restart the server.")));
	}
	lock_stripes(usage);
	now_us = usage_now_us();
	for (int i = 0; i < subject->n && admission == ADMITTED; i++)
	{
		RoleUsage *role = usage[i] == NO_USAGE ? NULL : &records[usage[i]];

		if (role)
			advance_windows(role, now_us);
		if (!has_room(role, subject->roles[i], &subject->limits[i], demand, now_us, refusal))
			admission = REFUSED;
	}
	for (int i = 0; i < subject->n && admission == ADMITTED; i++)
		if (ticket == 0 && usage[i] != NO_USAGE && records[usage[i]].n_waiting > 0 && is_limited(&subject->limits[i]))
			admission = OTHERS_FIRST;
	if (admission == ADMITTED)
		write_charge(number, usage, demand, now_us);
	unlock_stripes(usage);
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
		RoleUsage *role = charge->usage[i] == NO_USAGE ? NULL : &records[charge->usage[i]];

		if (!role)
			continue;
		advance_windows(role, now_us);
		role->tokens[role->second % MINUTE_BUCKETS] += more;
		role->day_tokens[role->second / DAY_BUCKET_SECONDS % DAY_BUCKETS] += more;
		role->reserved_tokens -= more;
		role->n_tokens += more;
	}
}

/* Take back from a bucket what was charged but not used, if the bucket still counts. */
static void
give_back(uint32 *buckets, int n, uint64 newest, uint64 bucket, uint32 tokens)
{
	if (newest < bucket + n)
		buckets[bucket % n] -= Min(tokens, buckets[bucket % n]);
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
		RoleUsage *role = charge->usage[i] == NO_USAGE ? NULL : &records[charge->usage[i]];

		if (!role)
			continue;
		advance_windows(role, now_us);
		give_back(role->tokens, MINUTE_BUCKETS, role->second, second, unused);
		give_back(role->day_tokens, DAY_BUCKETS, role->second / DAY_BUCKET_SECONDS, second / DAY_BUCKET_SECONDS,
				  unused);
		role->n_tokens -= unused;
		role->reserved_tokens -= charge->max_tokens - charge->counted_tokens;
		role->n_running--;
	}
}

/* Has the engine let go of the request? */
static bool
is_let_go(const Charge *charge, const RequestMeter *meter, uint64 now_us)
{
	uint32 state = atomic_load(&meter->state);

	if (state == METER_ENDED || charge->engine_pid != (int) qwen_shared->engine_pid)
		return true;
	return state == METER_GIVEN && now_us - charge->left_us > LOST_AFTER_US;
}

/*
 * Move one charge on; its records are locked. mine: its backend lets go of it; over: because it has ended. True: its
 * request counts no more from now on. A backend that does not come to read what the engine has sent (a parallel query
 * stands still somewhere else) keeps the charge's number, but nobody has to wait for it.
 */
static bool
move_on(Charge *charge, const RequestMeter *meter, bool mine, bool over, uint64 now_us)
{
	if (charge->state == CHARGE_DONE)
	{
		if (mine)
			charge->state = CHARGE_FREE;
		return false;
	}
	if (mine && !over)
	{
		charge->state = CHARGE_LEFT;
		charge->left_us = now_us;
	}
	if (!over &&
		(charge->state == CHARGE_LEFT ? !is_let_go(charge, meter, now_us) : atomic_load(&meter->state) != METER_ENDED))
	{
		charge_progress(charge, meter, now_us);
		return false;
	}
	settle(charge, meter, now_us);
	charge->state = charge->state == CHARGE_HELD && !over ? CHARGE_DONE : CHARGE_FREE;
	return true;
}

/* Look at one charge: charge progress; end it when it is over. over: it is, in any case. */
static void
look_at_charge(uint32 number, bool mine, bool over, LimitDemand *used)
{
	Charge *charge = &memory->charges[number];
	RequestMeter *meter = &qwen_page->meters[number];
	uint32 usage[MAX_LIMITED_ROLES_OF_CALL] = {charge->usage[0], charge->usage[1]};
	Oid to_wake[MAX_LIMITED_ROLES_OF_CALL] = {InvalidOid, InvalidOid};
	bool freed = false;

	LWLockAcquire(TABLE_LOCK, LW_SHARED);
	lock_stripes(usage);
	/* it may have ended, and begun as another one, before the locks were ours */
	if (charge->state != CHARGE_FREE && charge->usage[0] == usage[0] && charge->usage[1] == usage[1])
	{
		bool made_room;

		if (used)
			*used = (LimitDemand){atomic_load(&meter->prompt_tokens), atomic_load(&meter->completion_tokens)};
		made_room = move_on(charge, meter, mine, over, usage_now_us());
		freed = charge->state == CHARGE_FREE;
		for (int i = 0; i < MAX_LIMITED_ROLES_OF_CALL; i++)
			if (made_room && usage[i] != NO_USAGE && records[usage[i]].n_waiting > 0)
				to_wake[i] = records[usage[i]].role;
	}
	unlock_stripes(usage);
	LWLockRelease(TABLE_LOCK);
	if (freed)
		give_charge(number);
	for (int i = 0; i < MAX_LIMITED_ROLES_OF_CALL; i++)
		if (OidIsValid(to_wake[i]))
			wake_first(to_wake[i]);
}

void
usage_release(uint32 meter, bool ended, LimitDemand *used)
{
	look_at_charge(meter, true, ended, used);
}

void
usage_take_back(uint32 meter)
{
	atomic_store(&qwen_page->meters[meter].prompt_tokens, 0);
	atomic_store(&qwen_page->meters[meter].completion_tokens, 0);
	look_at_charge(meter, true, true, NULL);
}

void
usage_sweep(void)
{
	uint64 now_us = usage_now_us(), swept_us = pg_atomic_read_u64(&memory->swept_us);
	uint32 n;

	if (now_us - swept_us < SWEEP_EVERY_US || !pg_atomic_compare_exchange_u64(&memory->swept_us, &swept_us, now_us))
		return;
	LWLockAcquire(CHARGES_LOCK, LW_SHARED);
	n = memory->n_charges;
	LWLockRelease(CHARGES_LOCK);
	for (uint32 i = 0; i < n; i++)
		if (memory->charges[i].state != CHARGE_FREE)
			look_at_charge(i, false, false, NULL);
}

bool
usage_has_company(void)
{
	int group_pid = my_group_pid();
	uint32 n = memory->n_charges;

	if (!MyProc->lockGroupLeader)
		return false;
	for (uint32 i = 0; i < n; i++)
	{
		const Charge *charge = &memory->charges[i];

		if (charge->state == CHARGE_HELD && charge->group_pid == group_pid && charge->pid != MyProcPid)
			return true;
	}
	return false;
}

/* ---- others' questions ----------------------------------------------------------------------------------------------
 */

void
usage_count_rejected(const LimitRefusal *refusal)
{
	uint32 usage[MAX_LIMITED_ROLES_OF_CALL] = {NO_USAGE, NO_USAGE};

	LWLockAcquire(TABLE_LOCK, LW_SHARED);
	usage[0] = find_record(refusal->role);
	lock_stripes(usage);
	if (usage[0] != NO_USAGE)
		records[usage[0]].n_rejected[refusal->kind]++;
	unlock_stripes(usage);
	LWLockRelease(TABLE_LOCK);
}

/* A copy of record i, brought up to date. The table is locked. */
static void
copy_record(uint32 i, RoleUsage *copy)
{
	uint32 usage[MAX_LIMITED_ROLES_OF_CALL] = {i, NO_USAGE};

	lock_stripes(usage);
	advance_windows(&records[i], usage_now_us());
	*copy = records[i];
	unlock_stripes(usage);
}

RoleUsage *
usage_copy_all(int *n)
{
	RoleUsage *copies;
	uint32 n_used;

	LWLockAcquire(TABLE_LOCK, LW_SHARED);
	n_used = memory->n_used;
	LWLockRelease(TABLE_LOCK);
	copies = MemoryContextAllocHuge(CurrentMemoryContext, sizeof *copies * Max(n_used, 1));
	*n = 0;
	LWLockAcquire(TABLE_LOCK, LW_SHARED);
	for (uint32 i = 0; i < n_used; i++)
		if (OidIsValid(records[i].role))
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
	i = find_record(role);
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

/* ---- starts ---------------------------------------------------------------------------------------------------------
 */

void
usage_restore(const RoleUsage *saved, uint64 age_seconds)
{
	uint64 saved_second = usage_now_us() / 1000000 - Min(age_seconds, MAX_AGE_SECONDS);
	uint32 i = find_record(saved->role);
	RoleUsage *usage;

	if (i == NO_USAGE)
		i = add_record(saved->role);
	if (i == NO_USAGE)
		return;
	usage = &records[i];
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
	advance_windows(usage, usage_now_us());
}

/* A reset of all backends: who waited or ran is gone, what was used stays. Nobody else is there. */
static void
end_all(void)
{
	for (uint32 i = 0; i < memory->n_charges; i++)
	{
		if (memory->charges[i].state != CHARGE_FREE)
			charge_progress(&memory->charges[i], &qwen_page->meters[i], usage_now_us());
		memory->charges[i].state = CHARGE_FREE;
		atomic_store(&qwen_page->meters[i].state, METER_FREE);
	}
	memory->n_charges = 0;
	memory->free_charge = NO_USAGE;
	memset(memory->places, 0, sizeof(QueuePlace) * memory->n_places);
	memory->n_places = 0;
	for (uint32 i = 0; i < memory->n_used; i++)
	{
		records[i].n_running = records[i].n_waiting = 0;
		records[i].reserved_tokens = 0;
	}
}

/* Chains that a killed backend may have left half made are made anew from the records. */
static void
chain_records(void)
{
	uint32 n = memory->n_used;

	clear_records();
	memory->n_used = n;
	for (uint32 i = 0; i < n; i++)
	{
		uint32 *link = OidIsValid(records[i].role) ? chain_of(records[i].role) : &memory->free_record;

		records[i].next = *link;
		*link = i;
	}
}

void
usage_start_memory(bool first_time)
{
	locks = GetNamedLWLockTranche("qwen_pg_limits");
	if (first_time)
		return;
	end_all();
	chain_records();
}
