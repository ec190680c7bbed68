/*
 * limits.h - limits per role: what a role may use, what it has used, and the door that every request passes.
 *
 * RoleLimits: what is allowed; role_limits.c finds it out (the table qwen_role_limit of this database, membership, the
 * settings qwen.default_*). RoleUsage and Charge: what was used; usage.c keeps them in memory that the postmaster
 * made, so that a reset of all backends leaves them, usage_file.c on disk. admission.c is the door: engine_go
 * (client.c) passes it between ACCEPTED and GO, engine_end and the last frame of a request leave by it.
 *
 * The windows slide: a minute is 61 buckets of one second, a day 145 of ten minutes, and a bucket counts as long as any
 * part of it lies in the window. What requests under way may still use is reserved and counts too. So what was used in
 * any 60 s or 24 h is never above the limit that held; what was used is forgotten up to one bucket late.
 */
#ifndef QWEN_LIMITS_H
#define QWEN_LIMITS_H

#include "../qwen_pg.h"

#include "nodes/pg_list.h"

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

typedef struct RoleLimits
{
	int64 allowed[N_LIMITS]; /* or NO_LIMIT */
	int32 priority;          /* higher comes first */
	Oid source;              /* whose row it is; InvalidOid: the settings */
} RoleLimits;

/* Those who count for a call: the session's user and, where it is another one, the role of SET ROLE. */
#define MAX_LIMITED_ROLES_OF_CALL 2

typedef struct LimitSubject
{
	int n;
	Oid roles[MAX_LIMITED_ROLES_OF_CALL];
	RoleLimits limits[MAX_LIMITED_ROLES_OF_CALL];
} LimitSubject;

/* ---- limit_settings.c ---- */
#define LIMIT_ACTION_ERROR 0
#define LIMIT_ACTION_WAIT 1

#define LOG_REQUESTS_OFF 0
#define LOG_REQUESTS_HASH 1
#define LOG_REQUESTS_TEXT 2

extern int qwen_limit_action, qwen_log_requests, qwen_max_limited_roles, qwen_default_limits[N_LIMITS],
	qwen_default_priority;
extern char *qwen_allowed_models;

extern void limit_settings_define(bool preloaded);

/* 42501 unless qwen.allowed_models and the lists of the roles that count let this session ask the model. */
extern void limits_check_model(const char *name);

/* ---- role_limits.c ---- */
/* Names as in qwen_set_limit. */
extern const char *const limit_names[N_LIMITS];

/* What holds for a role now. Reads catalogs unless it is known, outside of a transaction in one of its own. */
extern void limits_of_role(Oid role, RoleLimits *limits);

/* The roles that count for a call: the session's user and the role of SET ROLE; or whom a worker acts for. */
extern void limits_roles(Oid roles[MAX_LIMITED_ROLES_OF_CALL]);

/* Roles and limits of a call of this session. */
extern void limits_subject(LimitSubject *subject);

/* From here on calls are made for others, as those of a job's worker for whoever submitted the job; NULL: no more. */
extern void limits_act_for(const Oid roles[MAX_LIMITED_ROLES_OF_CALL]);

/* Note what others have committed meanwhile. */
extern void limits_refresh(void);

/* The tables of a database; changes are heard of once limit_watch_changes was called. */
typedef enum LimitTable
{
	LIMIT_TABLE_LIMITS, /* qwen_role_limit */
	LIMIT_TABLE_MODELS, /* qwen_role_models */
	N_LIMIT_TABLES,
} LimitTable;

extern void limit_watch_changes(void);

/* A table and its index on role; false: the extension is not in this database. */
extern bool limit_find_table(LimitTable which, Oid *table, Oid *index);

/* Has no message come since it was found that could make old what was read of it? */
extern bool limit_is_current(LimitTable which, Oid table);

/* The role and all that it is a member of, near ones first. */
extern List *limit_roles_of(Oid role);

/* The role that is a function's first argument; raises 22023 and 42704. */
extern Oid limit_role_argument(FunctionCallInfo fcinfo);

/* Run a statement over a table in SPI; %s stands for its name. Delete rows of roles that are no more. */
extern void limit_change_table(LimitTable which, const char *format, int n, Oid *types, Datum *values,
							   const char *nulls, int expected);
extern void limit_delete_orphans(LimitTable which);

/* ---- allowed_models.c ---- */
/* May a role ask a model, by qwen_role_models? */
extern bool limit_models_allow(Oid role, const char *name);

/* Something has changed. */
extern void limit_models_forget(void);

/* ---- usage.c ---- */
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

/* What a request asks for. */
typedef struct LimitDemand
{
	uint32 prompt_tokens;
	uint32 max_tokens;
} LimitDemand;

/* Why a request cannot go on now. */
typedef struct LimitRefusal
{
	Oid role;
	LimitKind kind;
	int64 used, asked, allowed;
	int64 frees_in_us; /* -1: when a request under way ends; -2: never */
} LimitRefusal;

#define FREES_WITH_A_REQUEST (-1)
#define FREES_NEVER (-2)

typedef enum Admission
{
	ADMITTED,
	REFUSED,
	OTHERS_FIRST, /* somebody of this role has waited longer */
} Admission;

extern void usage_request_memory(void);
extern void usage_make_memory(void);
extern void usage_start_memory(bool first_time);

/* Charge a request to the subject's roles, unless a limit or those who wait stand against it. ticket: the place in the
 * queue, 0 for none. *meter: the number to send with GO. */
extern Admission usage_admit(const LimitSubject *subject, const LimitDemand *demand, uint64 ticket, uint32 *meter,
							 LimitRefusal *refusal);

/*
 * The request is over for its client. ended: the engine has said so, or it never got the request; else what is used is
 * charged when the engine has let go of it. used: what it has used until now.
 */
extern void usage_release(uint32 meter, bool ended, LimitDemand *used);

/* GO for a meter could not be sent: nothing was used. */
extern void usage_take_back(uint32 meter);

/* Charge what requests under way have used meanwhile, and end those that the engine has ended or let go of. */
extern void usage_sweep(void);

/* Do other processes of this one's parallel query have requests under way? */
extern bool usage_has_company(void);

/* Count a request that was refused. */
extern void usage_count_rejected(const LimitRefusal *refusal);

/* Stand in the queue of the subject's roles; the ticket. Leave it; may be repeated. */
extern uint64 usage_queue_enter(const LimitSubject *subject);
extern void usage_queue_leave(void);

/* Copies of all records in use, palloc'd, brought up to date. */
extern RoleUsage *usage_copy_all(int *n);

/* A copy of one record; zeroed where there is none. */
extern void usage_copy(Oid role, RoleUsage *copy);

/* Sums over the windows of a record that is up to date. */
extern int64 usage_used(const RoleUsage *usage, LimitKind kind);

/* How often a role was refused for each limit: for statistics. */
extern void limits_rejected(Oid role, uint64 counts[N_LIMITS]);

/* Put back what a file says; only while nobody else is there. */
extern void usage_restore(const RoleUsage *saved, uint64 age_seconds);

/* ---- usage_file.c ---- */
extern void usage_file_load(void);

/* Called by the supervisor again and again: writes when it is time, or at once at the end. Never raises. */
extern void usage_file_write(bool at_once);

/* ---- admission.c ---- */
/* A role's name; its number when it is no more. Palloc'd; also outside of a transaction. */
extern char *role_name(Oid role);

/* What the door keeps of a call. */
typedef struct LimitPass
{
	bool held;
	uint32 meter;
	uint64 admitted_us;
} LimitPass;

/*
 * Pass the door, or raise 53400, or wait. n_own: asks how many requests of this process are under way; it waits for
 * them and for those of the other processes of a parallel query, whatever qwen.limit_action says, before it refuses, so
 * that a session never fails by its own company.
 */
extern void limits_enter(LimitPass *pass, const LimitDemand *demand, int (*n_own)(void));

/* Leave by it; as usage_release. May be repeated. Never raises. used: what it has used until now, where held. */
extern bool limits_leave(LimitPass *pass, bool ended, LimitDemand *used);

/* GO could not be sent. */
extern void limits_take_back(LimitPass *pass);

/* How many requests this session's roles may have under way at once; INT_MAX: no limit. For batches. */
extern int limits_window(void);

/* The answer's length where the caller names none: at most what the roles may ask for. */
extern int limits_default_max_tokens(int wanted);

/* The same for an answer that is given more than the setting says, which no limit of tokens in a window is to refuse.
 */
extern int limits_roomy_max_tokens(int wanted);

/* The priority of this session's requests: the lower one of its roles. */
extern int32 limits_priority(void);

/* ---- privileges.c ---- */
/* May the current user see what concerns this role? called: the function that asks (see may_see_others). */
extern bool may_see_role(Oid role, Oid called);

/* ---- request_log.c ---- */
typedef struct RequestLog
{
	uint8 kind; /* RequestKind; 0: nothing is logged */
	char hash[65];
	char *text; /* with qwen.log_requests = text; palloc'd */
	char session_role[NAMEDATALEN], role[NAMEDATALEN];
	char model[PROTOCOL_MAX_NAME_BYTES + 1];
} RequestLog;

/* Remember what the log will say of a request; a text is allocated in context. */
extern void request_log_begin(RequestLog *entry, const Request *request, MemoryContext context);

/* One line at the end of a request, once. how: "done", "failed", "cancelled". */
extern void request_log_end(RequestLog *entry, const LimitDemand *used, uint64 started_us, const char *how);

/* Free the text; no line comes any more. */
extern void request_log_free(RequestLog *entry);

#endif
