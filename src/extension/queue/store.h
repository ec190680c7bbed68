/*
 * store.h - the extension's own tables, and under which role and search path statements run.
 */
#ifndef QWEN_STORE_H
#define QWEN_STORE_H

#include "spec.h"
#include "trigger_use.h"

/* The extension's schema and tables; false: the extension is not there (any more). */
typedef struct JobStore
{
	Oid extension, schema, owner;
	Oid job_table, row_table;
	const char *job, *row; /* qualified names */
	bool is_old;           /* the tables are an older version's: work can be queued, and waits for the update */
} JobStore;

extern bool job_store_find(JobStore *store);

/* How a function is used as a trigger; NULL: it is none of ours. */
extern const TriggerUse *job_store_use_of(const JobStore *store, Oid function);

/* Is it one of the two functions of ours that queue a row, as triggers? */
extern bool job_store_queues(const JobStore *store, Oid function);

/* Are the tables of this version, and nobody's but the extension's own rows in them? */
extern bool job_store_is_guarded(const JobStore *store);

/* The same, for who would work on them: the server log says when not. */
extern bool job_store_is_workable(const JobStore *store);

/* One of the extension's functions, by the types of its n arguments. */
extern Oid job_own_function(const char *name, const Oid *arguments, int n);

/* Raise unless the extension is there. */
extern void job_store_require(JobStore *store);

/* What is saved while another role and search path hold. */
typedef struct JobIdentity
{
	Oid user;
	int security;
	int guc_level;
} JobIdentity;

/* Statements from here on to job_identity_end run as the tables' owner with nothing but pg_catalog in the path. */
extern void job_identity_begin(const JobStore *store, JobIdentity *saved);

/* The same for statements that only read: no lock that a writer needs is taken. */
extern void job_identity_to_read(const JobStore *store, JobIdentity *saved);

/* Statements from here on run with a spec's search path; for a trigger's with the session's, and nobody becomes else.
 */
extern void job_identity_of_spec(const JobSpec *spec, JobIdentity *saved);

/* Statements from here on see what a table's owner sees although FORCE ROW LEVEL SECURITY hides it. Ours alone: they
 * must call nothing of users'. */
extern void job_identity_of_owner(JobIdentity *saved);
extern void job_identity_end(const JobIdentity *saved);

/* Dates, intervals, numbers and bytes as text that means the same to every session. action: a GucAction. */
extern void job_set_formats(int action);

/* The same and more for a key of any type, saved: to be undone by AtEOXact_GUC. */
extern void job_set_key_formats(void);

/* Whatever role and database are set to: what workers' own transactions need. Outside of a transaction. */
extern void job_settle_session(void);

/* Raise unless a background worker can connect as role. what: who speaks. */
extern void job_check_owner(Oid role, const char *what);

/* Raise 58000 where a statement did not give SPI's result that it should. */
extern void job_check_result(const char *sql, int result, int expected);

/* SPI_execute_with_args that raises 58000 on an unexpected result; the result is SPI's. */
extern int job_execute(const char *sql, int n, Oid *types, Datum *values, const char *nulls, int expected, long limit);

/* Read a job's row into a spec in a context of its own below parent; NULL: there is none. Between begin and end. */
extern JobSpec *job_store_load(const JobStore *store, int64 job, MemoryContext parent);

#endif
