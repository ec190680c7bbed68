/*
 * usage.h - what roles have used, and the queue of those who wait.
 */
#ifndef QWEN_USAGE_H
#define QWEN_USAGE_H

#include "role_limits.h"

#define MINUTE_BUCKETS 61
#define DAY_BUCKET_SECONDS 600
#define DAY_BUCKETS (24 * 3600 / DAY_BUCKET_SECONDS + 1)
#define NO_USAGE UINT32_MAX

/* What one role has used. Times are monotonic. */
typedef struct RoleUsage
{
	Oid role;      /* InvalidOid: the record is free */
	uint32 next;   /* in the chain of its hash, or of free records */
	uint64 second; /* the newest bucket of the minute; that of the day is second / DAY_BUCKET_SECONDS */
	uint32 requests[MINUTE_BUCKETS], tokens[MINUTE_BUCKETS], day_tokens[DAY_BUCKETS];
	uint32 n_running;
	uint32 n_waiting;
	int64 reserved_tokens; /* that requests under way may still use */
	uint64 n_requests, n_tokens;
	uint64 n_rejected[N_LIMITS];
} RoleUsage;

/* Why a request cannot go on now. */
typedef struct LimitRefusal
{
	Oid role;
	LimitKind kind;
	Oid source; /* whose row the limit stands in; InvalidOid: it is the setting */
	int64 used, asked, allowed;
	int64 frees_in_us;                           /* -1: when a request under way ends; -2: never */
	bool against[MAX_LIMITED_ROLES_OF_CALL];     /* which roles of the subject have no room, or others who go first */
	int64 room_in_us[MAX_LIMITED_ROLES_OF_CALL]; /* of those: when they have room for it; -1: nobody knows */
} LimitRefusal;

#define FREES_WITH_A_REQUEST (-1)
#define FREES_NEVER (-2)

typedef enum Admission
{
	ADMITTED,
	REFUSED,
	OTHERS_FIRST, /* there is room, but others have waited longer for the limits of a role */
} Admission;

/* Charge a request to the subject's roles, unless a limit or those who wait for one stand against it. ticket: the place
 * in the queue, 0 for none. *meter: the number to send with GO. *refusal: what stands against it; with OTHERS_FIRST
 * role, against and room_in_us alone are set. */
extern Admission usage_admit(const LimitSubject *subject, const LimitDemand *demand, uint64 ticket, uint32 *meter,
							 LimitRefusal *refusal);

/* Is a request within what the subject's roles may ask for at all, were nothing used? Else *refusal is one for good. */
extern bool usage_may_ever_admit(const LimitSubject *subject, const LimitDemand *demand, LimitRefusal *refusal);

/*
 * The request is over for its client. ended: the engine has said so, or it never got the request; else what is used is
 * charged when the engine has let go of it. used: what it has used until now.
 */
extern void usage_release(uint32 meter, bool ended, LimitDemand *used);

/* GO for a meter could not be sent, or its request was refused before: nothing was used. is_on_its_way: the number is
 * nobody else's until the engine has seen GO, which would be taken for theirs. */
extern void usage_take_back(uint32 meter, bool is_on_its_way);

/* Do sisters of this process (sisters.h) have requests under way, or it and they some that were just given up? */
extern bool usage_has_company(void);

/* Count a request that was refused. */
extern void usage_count_rejected(const LimitRefusal *refusal);

/* Begin with the memory that the postmaster has made; first_time: nothing was used yet. */
extern void usage_start_memory(bool first_time);

/* Stand in the queue of those of the subject's roles that stand against its request, after each try anew: with a new
 * ticket (0), or where one stood with an old one; the ticket. */
extern uint64 usage_queue_enter(const LimitSubject *subject, const LimitRefusal *refusal, uint64 ticket);

/* Copies of all records in use, palloc'd, brought up to date. */
extern RoleUsage *usage_copy_all(int *n);

/* A copy of one record; zeroed where there is none. */
extern void usage_copy(Oid role, RoleUsage *copy);

/* Sums over the windows of a record that is up to date. */
extern int64 usage_used(const RoleUsage *usage, LimitKind kind);

/* Put back what a file says; only while nobody else is there. */
extern void usage_restore(const RoleUsage *saved, uint64 age_seconds);

#endif
