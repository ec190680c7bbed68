/*
 * admission.c - the door: every request that the model has to compute passes it between ACCEPTED and GO.
 *
 * Tokens are known exactly by then. The prompt is charged, the longest possible answer reserved; what is sampled is
 * charged as it is, and what is left of the reservation goes back at the end. A request that a limit stands against is
 * refused, or waits in the order of arrival, holding no lock. A worker of jobs waits otherwise: its requests come back
 * (limits_try_to_enter), and it writes meanwhile what is answered; what a table's trigger asks while it writes is
 * refused where it would have to wait for long. What the engine answers without the model (counting tokens, rendering a
 * prompt) needs no GO and is not limited.
 */
#include "limits.h"

#include <math.h>

#include "../../base/clock.h"
#include "../core/own_transaction.h"
#include "access/parallel.h"
#include "limit_settings.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "role_limits.h"
#include "sisters.h"
#include "usage.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#define LONGEST_PAUSE_MS 250
#define COMPANY_PAUSE_MS 10 /* sisters end a request without waking us */
#define SHORTEST_PAUSE_MS 5
#define LONGEST_STAND_US 2000000 /* for which a worker's request keeps others from passing */
#define ONE_MINUTE_US 60000000

static const LimitWorker *worker; /* what this process is, or NULL */

/* Who stands in the queue for this worker. */
static struct
{
	const LimitPass *pass; /* NULL: nobody does */
	uint64 ticket;         /* 0: it has not stood there yet */
	bool is_aside;
	uint64 again_us, checked_us;
} first;

static LimitPart *part;         /* of what this worker writes, or NULL */
static LimitSentBack sent_back; /* what has refused this worker's last request, or nothing */
static uint64 made_room_us;     /* when a request of this process was over last */

void
limits_set_worker(const LimitWorker *it)
{
	worker = it;
}

bool
limits_is_worker(void)
{
	return worker != NULL;
}

bool
limits_is_job(void)
{
	return MyBackendType == B_BG_WORKER && !IsParallelWorker();
}

/* Jobs have nobody to tell of an error, and time. */
static bool
waits_for_limits(void)
{
	return qwen_limit_action == LIMIT_ACTION_WAIT || limits_is_job();
}

/* How requests of a role wait instead. */
static char *
waiting_hint(Oid role)
{
	/* a SET of the client's does not come along */
	if (sisters_of_another_server())
		return psprintf("ALTER ROLE %s SET qwen.limit_action = 'wait' on this server",
						quote_identifier(role_name(role)));
	return pstrdup("SET qwen.limit_action = 'wait'");
}

/* What to do about it. */
static char *
refusal_hint(const LimitRefusal *refusal)
{
	if (refusal->kind == LIMIT_MAX_TOKENS && refusal->allowed > 0)
		return psprintf("Ask for at most %lld %s with max_tokens.", (long long) refusal->allowed,
						refusal->allowed == 1 ? "token" : "tokens");
	if (refusal->frees_in_us == FREES_NEVER)
		return psprintf("It can never be met: %s", refusal->allowed == 0
													   ? "the role may use nothing."
													   : "use a shorter prompt or a lower max_tokens.");
	if (refusal->frees_in_us == FREES_WITH_A_REQUEST)
		return psprintf("Try again when a request that is under way has ended, or %s.", waiting_hint(refusal->role));
	return psprintf("Try again in %lld seconds, or %s.", (long long) ceil(refusal->frees_in_us / 1e6),
					waiting_hint(refusal->role));
}

/* Whose limit it is, where it is not the role's own. */
static char *
source_of(const LimitRefusal *refusal)
{
	if (refusal->source == refusal->role)
		return pstrdup("");
	if (!OidIsValid(refusal->source))
		return psprintf(" It is the setting qwen.default_%s.", limit_names[refusal->kind]);
	return psprintf(" It is a limit of role \"%s\", of which \"%s\" is a member.", role_name(refusal->source),
					role_name(refusal->role));
}

/* Is it the role that may not do anything, whatever is asked for? */
static bool
is_pause(const LimitRefusal *refusal)
{
	return refusal->allowed == 0 && refusal->kind != LIMIT_MAX_TOKENS;
}

/* Does a worker's request come back instead of standing in the queue? There it would keep others: of the role whose
 * limit it is, and all of this worker's. So no pause stands there, and nobody for long who waits for what others than
 * the worker's own role have used up. */
static bool
comes_back(Admission admission, const LimitRefusal *refusal)
{
	if (admission == REFUSED && is_pause(refusal))
		return true;
	return refusal->role != GetSessionUserId() &&
		   (refusal->frees_in_us > LONGEST_STAND_US || refusal->frees_in_us == FREES_WITH_A_REQUEST);
}

/* Does a worker that is writing give up, with the rows that its transaction has locked, instead of waiting? */
static bool
is_too_long_to_write(const LimitRefusal *refusal, uint64 began_us)
{
	uint64 since_us = part && part->since_us ? part->since_us : began_us;
	uint64 longest_us = part ? part->longest_us : LONGEST_STAND_US;

	return worker &&
		   (is_pause(refusal) || refusal->frees_in_us > LONGEST_STAND_US || clock_now_us() - since_us > longest_us);
}

void
limits_write_part(LimitPart *it)
{
	part = it;
}

/* The minute of a part's first requests may be over before its last. */
static void
forget_old_requests(uint64 now_us)
{
	if (now_us - part->spent_since_us < ONE_MINUTE_US)
		return;
	part->spent = (LimitSum){0, 0};
	part->spent_since_us = now_us;
}

/* What a part asks first, it asks with room for all that it is known to ask: what is refused in the middle is asked and
 * charged for nothing, with each try again, and takes the room as it comes. */
static LimitDemand
demand_of_part(const LimitDemand *demand)
{
	LimitDemand whole = *demand;
	int64 tokens = (int64) demand->prompt_tokens + demand->max_tokens;

	if (!part || part->spent.requests > 0)
		return whole;
	whole.more_requests = Max(part->needed.requests - 1, 0);
	whole.more_tokens = Max(part->needed.tokens - tokens, 0);
	return whole;
}

/* A part's request is refused: it needs what was asked for it until now, and this. */
static void
note_needs(const LimitDemand *demand)
{
	if (!part)
		return;
	forget_old_requests(clock_now_us());
	part->needed.requests = Max(part->needed.requests, part->spent.requests + 1);
	part->needed.tokens =
		Max(part->needed.tokens, part->spent.tokens + (int64) demand->prompt_tokens + demand->max_tokens);
}

/* A request of a part has passed. */
static void
count_for_part(LimitPass *pass)
{
	pass->is_of_write = part != NULL;
	if (!part)
		return;
	forget_old_requests(clock_now_us());
	part->spent.requests++;
}

/* What is never allowed: one request, or all that are made to write one row. */
static int
never_allowed(const LimitRefusal *refusal)
{
	if (part && refusal->kind != LIMIT_MAX_TOKENS && part->needed.requests > 1)
		return errmsg("what triggers ask to write the row is more than the limit of %s of role \"%s\" allows",
					  limit_names[refusal->kind], role_name(refusal->role));
	return errmsg("a request of role \"%s\" asks for more than its limit of %s allows", role_name(refusal->role),
				  limit_names[refusal->kind]);
}

static void
raise_refusal(const LimitRefusal *refusal)
{
	/* what a job has queued is not rejected by it: it waits */
	bool waits = worker && (is_pause(refusal) || refusal->frees_in_us != FREES_NEVER);

	if (worker)
		sent_back = (LimitSentBack){
			.role = refusal->role,
			.is_new = true,
			.is_for_good = !waits,
			.frees_with_a_request = refusal->frees_in_us == FREES_WITH_A_REQUEST,
		};
	if (!waits)
		usage_count_rejected(refusal);
	ereport(
		ERROR,
		(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
		 refusal->frees_in_us == FREES_NEVER && !waits
			 ? never_allowed(refusal)
			 : errmsg("role \"%s\" has reached its limit of %s", role_name(refusal->role), limit_names[refusal->kind]),
		 errdetail("Limit %s: %s%lld asked for, %lld allowed.%s", limit_names[refusal->kind],
				   /* of one answer nothing is used before */
				   refusal->kind == LIMIT_MAX_TOKENS ? "" : psprintf("%lld used, ", (long long) refusal->used),
				   (long long) refusal->asked, (long long) refusal->allowed, source_of(refusal)),
		 errhint("%s", refusal_hint(refusal))));
}

void
limits_check_demand(const LimitDemand *demand)
{
	LimitSubject subject;
	LimitRefusal refusal;

	limits_subject(&subject);
	if (!usage_may_ever_admit(&subject, demand, &refusal))
		raise_refusal(&refusal);
}

/* Others of this role wait already, so there is no room. */
static void
raise_others_first(Oid role)
{
	if (worker)
		sent_back = (LimitSentBack){.role = role, .is_new = true, .frees_with_a_request = true};
	ereport(ERROR, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					errmsg("other requests of role \"%s\" wait for its limits already", role_name(role)),
					errhint("Try again later, or %s to wait after them.", waiting_hint(role))));
}

static void
refuse(Admission admission, const LimitRefusal *refusal)
{
	if (admission == OTHERS_FIRST)
		raise_others_first(refusal->role);
	raise_refusal(refusal);
}

/* Raise unless the roles that a job's requests are made for are there. */
static void
check_roles(void *argument)
{
	Oid roles[MAX_LIMITED_ROLES_OF_CALL];

	limits_roles(roles);
	for (int i = 0; i < MAX_LIMITED_ROLES_OF_CALL; i++)
		if (OidIsValid(roles[i]) && !SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(roles[i])))
			ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("role %u was dropped", roles[i])));
}

/* A job does not wait while others' jobs wait for its worker. */
static void
check_turn(const LimitRefusal *refusal)
{
	char *role;

	if (!worker || !worker->turn_is_over())
		return;
	role = role_name(refusal->role);
	ereport(ERROR, (errcode(ERRCODE_QUERY_CANCELED), errmsg("the job waits for a limit of role \"%s\"", role)));
}

/* How long nothing changes that nobody is woken for. */
static int64
pause_ms(const LimitRefusal *refusal, bool has_company)
{
	if (refusal->frees_in_us >= 0)
		return Max(SHORTEST_PAUSE_MS, Min(refusal->frees_in_us / 1000 + 1, LONGEST_PAUSE_MS));
	return has_company ? COMPANY_PAUSE_MS : LONGEST_PAUSE_MS;
}

/* Until something may have changed: a wake-up, an answer to one of this session's requests, or the time. A job waits
 * as long as it takes, but not for a role that is gone. */
static void
pause_before_next_try(const LimitRefusal *refusal, const LimitCompany *company, bool has_company)
{
	company->wait(pause_ms(refusal, has_company));
	usage_sweep();
	if (!limits_is_job())
		return;
	own_transaction(check_roles, NULL);
	check_turn(refusal);
}

/* May the request pass now? Raises what is refused for good, unless it may come back and does. */
static Admission
ask(LimitPass *pass, const LimitDemand *demand, uint64 ticket, LimitSubject *subject, LimitRefusal *refusal,
	bool may_come_back)
{
	Admission admission;

	/* what others have changed holds within a statement, too */
	limits_refresh();
	limits_subject(subject);
	*refusal = (LimitRefusal){.allowed = NO_LIMIT, .frees_in_us = FREES_WITH_A_REQUEST};
	admission = usage_admit(subject, demand, ticket, &pass->meter, refusal);
	if (admission != REFUSED || refusal->frees_in_us != FREES_NEVER ||
		(may_come_back && comes_back(admission, refusal)))
		return admission;
	raise_refusal(refusal);
	return admission;
}

/* Why a worker's request waits. */
static char *
words_for_worker(Admission admission, const LimitRefusal *refusal)
{
	char *role = role_name(refusal->role);

	if (admission == OTHERS_FIRST)
		return psprintf("other requests of role \"%s\" wait for its limits already", role);
	return psprintf("role \"%s\" has reached its limit of %s", role, limit_names[refusal->kind]);
}

static void
tell_worker(Admission admission, const LimitRefusal *refusal)
{
	if (worker)
		worker->tell(words_for_worker(admission, refusal));
}

/* Try until it is admitted, refused for good or gone; every round in memory that the next one has again. */
static bool
try_to_enter(LimitPass *pass, const LimitDemand *demand, const LimitCompany *company, MemoryContext round)
{
	LimitSubject subject;
	LimitRefusal refusal;
	Admission admission;
	uint64 ticket = 0, began_us = clock_now_us();
	bool swept = false;

	for (;;)
	{
		bool has_company = false;

		MemoryContextReset(round);
		admission = ask(pass, demand, ticket, &subject, &refusal, false);
		if (admission == ADMITTED)
			return true;
		if (!swept)
		{
			/* what the engine has let go of meanwhile may make room */
			usage_sweep();
			swept = true;
			continue;
		}
		if (is_too_long_to_write(&refusal, began_us))
			refuse(admission, &refusal);
		if (waits_for_limits())
		{
			ticket = usage_queue_enter(&subject, &refusal, ticket);
			tell_worker(admission, &refusal);
		}
		else if (company->n_under_way() == 0 && !(has_company = usage_has_company()))
		{
			refuse(admission, &refusal);
		}
		pause_before_next_try(&refusal, company, has_company);
		if (company->is_gone())
			return false;
	}
}

static void
pass_door(LimitPass *pass)
{
	pass->held = true;
	pass->admitted_us = clock_now_us();
}

bool
limits_enter(LimitPass *pass, const LimitDemand *demand, const LimitCompany *company)
{
	MemoryContext round = AllocSetContextCreate(CurrentMemoryContext, "qwen_pg limits", ALLOCSET_SMALL_SIZES);
	MemoryContext before = MemoryContextSwitchTo(round);
	LimitDemand whole = demand_of_part(demand);
	volatile bool admitted = false;

	/* one place in the queue a process: what a table's trigger asks is asked by the worker that writes */
	limits_step_aside();
	PG_TRY();
	{
		admitted = try_to_enter(pass, &whole, company, round);
	}
	PG_CATCH();
	{
		note_needs(demand);
		MemoryContextSwitchTo(before);
		MemoryContextDelete(round);
		usage_queue_leave();
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (admitted)
	{
		pass_door(pass);
		count_for_part(pass);
	}
	usage_queue_leave();
	MemoryContextSwitchTo(before);
	MemoryContextDelete(round);
	return admitted;
}

/* The worker's first request does not wait any more. */
static void
leave_first(const LimitPass *pass)
{
	/* the process's place is another one's while it stands aside */
	bool has_place = !first.is_aside;

	if (first.pass != pass)
		return;
	memset(&first, 0, sizeof first);
	if (has_place)
		usage_queue_leave();
}

void
limits_step_aside(void)
{
	if (!first.pass || first.is_aside)
		return;
	first.is_aside = true;
	usage_queue_leave();
}

long
limits_again_ms(void)
{
	uint64 now = clock_now_us();

	if (!first.pass)
		return -1;
	return now >= first.again_us ? 0 : (long) ((first.again_us - now) / 1000) + 1;
}

/* One request waits for all of the worker's, and not for a role that is gone. */
static void
wait_first(const LimitPass *pass, const LimitSubject *subject, Admission admission, const LimitRefusal *refusal)
{
	uint64 now = clock_now_us();

	first.pass = pass;
	first.ticket = usage_queue_enter(subject, refusal, first.ticket);
	first.is_aside = false;
	first.again_us = now + (uint64) pause_ms(refusal, false) * 1000;
	tell_worker(admission, refusal);
	check_turn(refusal);
	if (now < first.checked_us + (uint64) LONGEST_PAUSE_MS * 1000)
		return;
	first.checked_us = now;
	own_transaction(check_roles, NULL);
}

/* Is a role no more? */
static void
look_for_role(void *argument)
{
	sent_back.is_gone = !SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(sent_back.role));
}

/* The request stands nowhere, and may try again. */
static void
send_back(LimitPass *pass, Admission admission, const LimitRefusal *refusal)
{
	leave_first(pass);
	sent_back = (LimitSentBack){
		.role = refusal->role,
		.is_new = true,
		.frees_with_a_request = refusal->frees_in_us == FREES_WITH_A_REQUEST,
		.why = words_for_worker(admission, refusal),
	};
	if (!sent_back.frees_with_a_request)
		own_transaction(look_for_role, NULL);
	pass->sent_back_by = refusal->role;
	pass->refused_us = clock_now_us();
	pass->again_us =
		pass->refused_us + (uint64) Min(SHORTEST_PAUSE_MS << Min(pass->n_refused, 10), LONGEST_PAUSE_MS) * 1000;
	pass->n_refused++;
}

/* Has a request that was sent back to wait, as nothing has changed that this process knows of? */
static bool
is_too_early(const LimitPass *pass)
{
	return clock_now_us() < pass->again_us && made_room_us < pass->refused_us;
}

/* Try once; else wait as the first, or come back. */
static bool
try_once(LimitPass *pass, const LimitDemand *demand)
{
	LimitSubject subject;
	LimitRefusal refusal;
	Admission admission;

	admission = ask(pass, demand, first.ticket, &subject, &refusal, true);
	if (admission != ADMITTED)
	{
		/* what the engine has let go of meanwhile may make room */
		usage_sweep();
		admission = ask(pass, demand, first.ticket, &subject, &refusal, true);
	}
	if (admission == ADMITTED)
		return true;
	if (comes_back(admission, &refusal))
		send_back(pass, admission, &refusal);
	else
		wait_first(pass, &subject, admission, &refusal);
	return false;
}

bool
limits_try_to_enter(LimitPass *pass, const LimitDemand *demand)
{
	volatile bool admitted = false;
	bool is_behind = first.pass && first.pass != pass;

	if (OidIsValid(pass->sent_back_by) && (is_behind || is_too_early(pass)))
	{
		if (!OidIsValid(sent_back.role))
			sent_back = (LimitSentBack){.role = pass->sent_back_by};
		return false;
	}
	if (is_behind)
		return false;
	pass->sent_back_by = InvalidOid;
	PG_TRY();
	{
		admitted = try_once(pass, demand);
	}
	PG_CATCH();
	{
		leave_first(pass);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (!admitted)
		return false;
	pass_door(pass);
	pass->n_refused = 0;
	leave_first(pass);
	return true;
}

bool
limits_sent_back(LimitSentBack *it)
{
	*it = sent_back;
	memset(&sent_back, 0, sizeof sent_back);
	return OidIsValid(it->role);
}

bool
limits_leave(LimitPass *pass, bool ended, LimitDemand *used)
{
	leave_first(pass);
	if (!pass->held)
		return false;
	pass->held = false;
	*used = (LimitDemand){.prompt_tokens = 0};
	usage_release(pass->meter, ended, used);
	if (part && pass->is_of_write)
		part->spent.tokens += (int64) used->prompt_tokens + used->max_tokens;
	made_room_us = clock_now_us();
	return true;
}

void
limits_take_back(LimitPass *pass, bool is_on_its_way)
{
	leave_first(pass);
	if (!pass->held)
		return;
	pass->held = false;
	if (part && pass->is_of_write && part->spent.requests > 0)
		part->spent.requests--;
	usage_take_back(pass->meter, is_on_its_way);
}

/* The tightest limit of a kind of this session's roles, or otherwise. */
static int64
tightest(LimitKind kind, int64 otherwise)
{
	LimitSubject subject;

	limits_subject(&subject);
	for (int i = 0; i < subject.n; i++)
		if (subject.limits[i].allowed[kind] != NO_LIMIT && subject.limits[i].allowed[kind] < otherwise)
			otherwise = subject.limits[i].allowed[kind];
	return otherwise;
}

int
limits_window(void)
{
	return (int) Max(tightest(LIMIT_MAX_CONCURRENT, INT_MAX), 1);
}

int
limits_default_max_tokens(int wanted)
{
	return (int) Max(tightest(LIMIT_MAX_TOKENS, wanted), 1);
}

int
limits_roomy_max_tokens(int wanted)
{
	/* what is reserved for an answer must leave room for its prompt and others */
	int64 room = Min(tightest(LIMIT_TOKENS_PER_MINUTE, INT_MAX), tightest(LIMIT_TOKENS_PER_DAY, INT_MAX)) / 4;

	return limits_default_max_tokens((int) Max(Min(wanted, room), 1));
}

int32
limits_priority(void)
{
	LimitSubject subject;

	limits_subject(&subject);
	return subject.n > 1 ? Min(subject.limits[0].priority, subject.limits[1].priority) : subject.limits[0].priority;
}
