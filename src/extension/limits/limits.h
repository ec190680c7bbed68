/*
 * limits.h - limits per role: what a role may use, what it has used, and the door that every request passes.
 *
 * RoleLimits (role_limits.h): what is allowed; role_limits.c finds it out (the table qwen_role_limit of this database,
 * membership, the settings qwen.default_*), limit_tables.c hears of changes. RoleUsage (usage.h) and its charges: what
 * was used; usage_memory.c keeps them in memory that the postmaster made, so that a reset of all backends leaves them,
 * usage_records.c, usage_windows.c, usage_queue.c and usage_charges.c account, usage_file.c keeps it on disk.
 * admission.c is the door: engine_go (client.c) passes it between ACCEPTED and GO, engine_end and the last frame of a
 * request leave by it. allowed_models.c says which models a role may ask.
 *
 * The windows slide: a minute is 61 buckets of one second, a day 145 of ten minutes, and a bucket counts as long as any
 * part of it lies in the window. What requests under way may still use is reserved and counts too. So what was used in
 * any 60 s or 24 h is never above the limit that held; what was used is forgotten up to one bucket late.
 */
#ifndef QWEN_LIMITS_H
#define QWEN_LIMITS_H

#include "../core/core.h"

typedef enum LimitKind
{
	LIMIT_REQUESTS_PER_MINUTE = 0,
	LIMIT_TOKENS_PER_MINUTE,
	LIMIT_TOKENS_PER_DAY,
	LIMIT_MAX_CONCURRENT,
	LIMIT_MAX_TOKENS, /* of one answer */
	N_LIMITS,
} LimitKind;

#define NO_LIMIT (-1)

/* Names as in qwen_set_limit. */
extern const char *const limit_names[N_LIMITS];

/* Those who count for a call: the session's user and, where it is another one, the role of SET ROLE. */
#define MAX_LIMITED_ROLES_OF_CALL 2

/* ---- settings ---- */
#define LOG_REQUESTS_OFF 0
#define LOG_REQUESTS_HASH 1
#define LOG_REQUESTS_TEXT 2

extern int qwen_log_requests;

extern void limit_settings_define(bool preloaded);

/* ---- roles ---- */
/* The roles that count for a call: the session's user and the role of SET ROLE; or whom a worker acts for. */
extern void limits_roles(Oid roles[MAX_LIMITED_ROLES_OF_CALL]);

/* From here on calls are made for others, as those of a job's worker for whoever submitted the job; NULL: no more. */
extern void limits_act_for(const Oid roles[MAX_LIMITED_ROLES_OF_CALL]);

/* A role's name; its number when it is no more. Palloc'd; also outside of a transaction. */
extern char *role_name(Oid role);

/* 42501 unless qwen.allowed_models and the lists of the roles that count let this session ask the model. */
extern void limits_check_model(const char *name);

/* ---- the door ---- */
/* What a request asks for. */
typedef struct LimitDemand
{
	uint32 prompt_tokens;
	uint32 max_tokens;
	/* there is to be room for so much more, which is not charged: what is asked after it is of no use without */
	int64 more_requests, more_tokens;
} LimitDemand;

/* 53400 for what this session's roles could not ask for if they had used nothing, as the door would say. */
extern void limits_check_demand(const LimitDemand *demand);

/* What the door keeps of a call. */
typedef struct LimitPass
{
	bool held;
	uint32 meter;
	bool is_of_write; /* of limits_write_part */
	uint64 admitted_us;
	Oid sent_back_by;            /* whose limit has sent it back; InvalidOid: nobody's */
	uint32 n_refused;            /* how often in turn */
	uint64 refused_us, again_us; /* when, and when it may try again */
} LimitPass;

/* Who stands at the door: how many requests of this process are under way, how it waits for what the engine sends of
 * them, at most this long, and whether the one at the door has come to an end meanwhile. */
typedef struct LimitCompany
{
	int (*n_under_way)(void);
	void (*wait)(long timeout_ms);
	bool (*is_gone)(void);
} LimitCompany;

/*
 * Pass the door, or raise 53400, or wait. It waits for the session's own requests and for those of its sisters (other
 * processes of a parallel query, connections of one query of Citus), whatever qwen.limit_action says, before it
 * refuses, so that a query never fails by its own company. false: the request has come to an end while it waited.
 */
extern bool limits_enter(LimitPass *pass, const LimitDemand *demand, const LimitCompany *company);

/*
 * The same for a LimitWorker that does other things meanwhile. false: not now. The first one that may not pass stands
 * in the queue, those that come after it wait behind it, and all are asked again within limits_again_ms. One that is
 * given up leaves by limits_leave. What stands against it may also be a role that may do nothing at all, or one that is
 * not the worker's own: such a request stands nowhere, where it would keep others, but is sent back. It may try again
 * as it is, or be given up and asked anew another time.
 */
extern bool limits_try_to_enter(LimitPass *pass, const LimitDemand *demand);

/* What has sent back a request of this worker. */
typedef struct LimitSentBack
{
	Oid role;                  /* whose limit it is */
	bool is_new;               /* else it was told before, and nothing was asked since */
	bool is_for_good;          /* more was asked for than the limit ever allows; the error was raised */
	bool frees_with_a_request; /* of this role, or it was others' turn */
	bool is_gone;              /* the role is no more */
	char *why;                 /* palloc'd; NULL unless is_new */
} LimitSentBack;

/* What has sent back the last one since this was asked last; false: nothing. */
extern bool limits_sent_back(LimitSentBack *it);

/* When it is to be tried again; -1: nobody waits. */
extern long limits_again_ms(void);

/* This worker is busy for a while: others need not wait for its turn, which it keeps. */
extern void limits_step_aside(void);

/* What a worker of jobs, whose requests wait for limits as long as it takes, is told and asked meanwhile. */
typedef struct LimitWorker
{
	void (*tell)(const char *why); /* why nothing moves */
	bool (*turn_is_over)(void);    /* others' jobs wait for this worker */
} LimitWorker;

/* This process is one. */
extern void limits_set_worker(const LimitWorker *worker);

/* What several requests ask of a window. */
typedef struct LimitSum
{
	int64 requests, tokens;
} LimitSum;

/*
 * A part of what a worker writes, of which the triggers of its target may ask the model. It is written as a whole or
 * not at all, and what is written has locks: a limit that cannot be met soon refuses its request.
 */
typedef struct LimitPart
{
	uint64 since_us;   /* from when the time counts for which it may wait; 0: from each request on */
	uint64 longest_us; /* that time */
	LimitSum needed;   /* there must be room for so much before it begins; after a refusal: what it is known to need */
	LimitSum spent;    /* what was asked for it; within the last minute, as far as it is known */
	uint64 spent_since_us;
} LimitPart;

#define LIMIT_PART_WAIT_US 2000000

/* What is asked from here on is asked for it; NULL: for no such thing. */
extern void limits_write_part(LimitPart *part);

/* Leave by it; as usage_release. May be repeated. Never raises. used: what it has used until now, where held. */
extern bool limits_leave(LimitPass *pass, bool ended, LimitDemand *used);

/* GO could not be sent, or the engine did not take it: as if the request had never passed. is_on_its_way: the
 * engine has refused the request, but has yet to see its GO. Never raises. */
extern void limits_take_back(LimitPass *pass, bool is_on_its_way);

/* Is this process a LimitWorker, which may give back what it works on? */
extern bool limits_is_worker(void);

/* Is this a background worker, of a job or another one's? It has nobody to tell of an error, and time. */
extern bool limits_is_job(void);

/* How many requests this session's roles may have under way at once; INT_MAX: no limit. For batches. */
extern int limits_window(void);

/* The answer's length where the caller names none: at most what the roles may ask for. */
extern int limits_default_max_tokens(int wanted);

/* The same for an answer that is given more than the setting says, which no limit of tokens in a window is to refuse.
 */
extern int limits_roomy_max_tokens(int wanted);

/* The priority of this session's requests: the lower one of its roles. */
extern int32 limits_priority(void);

/* ---- what is used ---- */
/* In the postmaster: ask PostgreSQL for memory, make what outlives a reset, and begin with both. */
extern void usage_request_memory(void);
extern void usage_make_memory(void);
extern void usage_start(void);

/* Charge what requests under way have used meanwhile, and end those that the engine has ended or let go of. */
extern void usage_sweep(void);

/* Leave the queue of those who wait for limits; may be repeated. */
extern void usage_queue_leave(void);

/* Called by the supervisor again and again: write down what is used, when it is time, or at once at the end. Never
 * raises. */
extern void usage_file_write(bool at_once);

/* How often a role was refused for each limit: for statistics. */
extern void limits_rejected(Oid role, uint64 counts[N_LIMITS]);

#endif
