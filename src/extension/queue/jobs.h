/*
 * jobs.h - what the files of jobs and of triggers that queue ask of each other.
 *
 * A *spec* says what is done with rows: where they come from, what makes the prompt, which function answers, which
 * column gets the answer. It comes from a row of qwen_job_table (a job) or from a trigger's arguments. A *row* is one
 * prompt with its key. Rows that somebody has to work on stand in qwen_job_row: all those that triggers queued, and
 * of a job the few that were taken from its query and are not finished.
 *
 * Who does what: prompt_template.c makes SQL of a prompt's template; spec.c makes specs; row_sql.c the statements
 * over the user's tables, keys.c the comparisons of keys in them; chain.c keeps answers from going round;
 * store.c has our own tables; jobs.c the SQL functions; enqueue_trigger.c the triggers; places.c says when and
 * where workers run; worker.c is one; rows.c are its transactions; calls.c its requests to the engine;
 * write.c writes answers; floor.c says from where a queue is read; sweep.c sweeps away what is over.
 */
#ifndef QWEN_JOBS_H
#define QWEN_JOBS_H

#include "../limits/limits.h"

#include "../../base/clock.h"
#include "access/htup.h"
#include "access/tupdesc.h"
#include "nodes/pg_list.h"
#include "nodes/plannodes.h"
#include "utils/relcache.h"

/* ---- prompt_template.c ---- */
/*
 * The SQL expression (type text) of a prompt over the columns of alias q. prompt is a column's name, or a template with
 * {column} placeholders, in which {{ and }} are braces. The expression is NULL where all its columns are NULL or blank;
 * a NULL among others is the empty string. *columns: the names of the columns that are used (C strings). what: of whom
 * an error message speaks. Raises 22023 naming a placeholder that is no column and the columns there are.
 */
extern char *prompt_expression(const char *prompt, TupleDesc columns, const char *what, List **used);

/* ---- spec.c ---- */
typedef enum JobFunction
{
	JOB_CHAT,
	JOB_GENERATE,
	JOB_SUMMARIZE,
	JOB_EMBED,
} JobFunction;

#define JOB_MAX_KEYS 8
#define JOB_DEFAULT_ATTEMPTS 5
#define JOB_MAX_ATTEMPTS 100

typedef struct JobSpec
{
	MemoryContext memory; /* all of it */
	int64 job;            /* 0: a trigger's */
	Oid relation;         /* the trigger's table, or the table that is a job's source; invalid: a query */
	char *trigger;        /* its name when it was looked up */
	Oid trigger_number;   /* its oid, and with its arguments what makes it another one */
	char *trigger_arguments;
	char *source;      /* the query; NULL: relation */
	char *search_path; /* that the query was written with; NULL: the session's, as a trigger's table has it */
	Oid target;
	char *target_column;
	int n_keys;
	char *keys[JOB_MAX_KEYS];
	char *key_types[JOB_MAX_KEYS];        /* as SQL writes them */
	AttrNumber key_numbers[JOB_MAX_KEYS]; /* a trigger's, which may be renamed */
	char *prompt;                         /* as given: a column or a template */
	JobFunction function;
	text *system, *instruction; /* or NULL */
	int max_words, dimensions;
	int max_attempts;
	Request request;                      /* kind, model, options, stops */
	Oid roles[MAX_LIMITED_ROLES_OF_CALL]; /* whose limits count: as of the call that submitted a job; a trigger: 0 */

	/* a job's way through its query, as of the last commit */
	int priority;
	char **position; /* [n_keys], or NULL before the first row */
	bool exhausted;

	/* the worker's */
	int n_rows;              /* rows that point here */
	bool is_done;            /* ended, failed, cancelled or gone: no more of it */
	TimestampTz pause_until; /* its query or its row cannot be had now */
	int n_pauses;
	char failure[512]; /* why the job cannot go on; to be written down */
	uint64 looked_at;  /* the fetch in which a trigger was looked up last */
} JobSpec;

/* The function of a name; false: there is none. */
extern bool job_function_of(const char *name, JobFunction *function);
extern const char *job_function_name(JobFunction function);

/* Names of the common tail's arguments in order, with their types. */
typedef struct TailArgument
{
	const char *name;
	Oid type;
} TailArgument;

extern const TailArgument job_tail[N_TAIL_ARGUMENTS];

/* Read tail values into spec->request, resolved with the settings that hold now. All in spec->memory. */
extern void job_spec_read_tail(JobSpec *spec, const Datum *values, const bool *nulls);

/* A table that jobs may use as source or target; raises what cannot be. what: "source" or "target". */
extern void job_check_relation(Relation relation, const char *what);

/* The columns of a table's primary key as keys of spec; false: it has none that counts. */
extern bool job_spec_keys_of(JobSpec *spec, Relation relation);

/* The target column must be there and take what the function gives. */
extern void job_check_target(Relation target, const char *column, JobFunction function);

/*
 * The spec of a trigger of a table in a context of its own below parent; raises what is wrong with its arguments.
 * key_numbers: the columns by which rows were queued, or NULL for the primary key as it is now. The trigger is not one
 * that stands in the relation cache: catalogs are read.
 */
struct Trigger;
extern JobSpec *job_spec_of_trigger(Relation relation, const struct Trigger *trigger, const AttrNumber *key_numbers,
									int n_keys, MemoryContext parent);

/* ---- keys.c ---- */
typedef struct JobKeyOperators
{
	Oid family, input;                       /* the operator family, and the type it takes */
	char *equal, *less, *greater, *at_least; /* "OPERATOR(schema.name)" */
} JobKeyOperators;

/* The type that values of a key's type are kept as and compared by, and how SQL writes it, of any length. */
extern Oid job_key_type(Oid type);
extern char *job_key_type_name(Oid type);

/* The operators of a key column, of an index over it or else of its type; raises where it has no order. */
extern void job_key_operators(Oid index, AttrNumber column, Oid type, const char *name, JobKeyOperators *operators);

/* "OPERATOR(schema.=) value::type": how a column of a type is compared with the text of a key of source_type. */
extern char *job_key_match(const JobKeyOperators *operators, Oid type, Oid source_type, const char *value);

/* A table's index that keeps rows apart by exactly these columns; invalid: there is none. */
extern Oid job_key_index(Relation relation, const AttrNumber *columns, int n);

/* Why an index cannot serve for that; NULL: it does; empty: it has nothing to do with the columns. */
extern const char *job_key_index_refusal(Oid index, const AttrNumber *columns, int n);

/* ---- row_sql.c ---- */
/* Statements over the user's tables, made anew in every transaction from the names that hold then. All palloc'd. */
typedef struct JobSql
{
	char *page;    /* rows after a position: ($1 … $n: the position, unless at the start), LIMIT $last */
	char *by_key;  /* rows of given keys: $1 int[] numbers, $2 … text[] keys */
	char *lock;    /* lock target rows that nobody else has locked: the same arguments; gives numbers */
	char *probe;   /* the same, raising where somebody has: a row that is there and is not given cannot be written */
	char *there;   /* as lock: is there such a row of the target */
	char *update;  /* put answers in: the same and $n+2 text[] answers, $n+3 bigint[] hashes; gives numbers */
	char *recheck; /* as update: is there such a row, its prompt and hash, and does the target have it */
	char *holds;   /* as update: does the target have the answer already */
	char *insert;  /* as update, for rows that the target does not have */
	char *count;   /* how many rows have a key, and how many there are */
} JobSql;

/* The columns of a spec's source. In SPI. Raises what is wrong with a query. */
extern TupleDesc job_sql_columns(const JobSpec *spec);

/* In SPI. Raises when a table or column is gone. */
extern void job_sql_make(const JobSpec *spec, JobSql *sql);

/* Do rows of the source depend on the session that reads them: on row-level security, or on a setting? In SPI. */
extern bool job_sql_depends_on_session(const JobSpec *spec);

/* ---- store.c ---- */
/* The extension's schema and tables; false: the extension is not there (any more). */
typedef struct JobStore
{
	Oid extension, schema, owner;
	Oid job_table, row_table;
	const char *job, *row; /* qualified names */
	bool is_old;           /* the tables are an older version's: work can be queued, and waits for the update */
} JobStore;

extern bool job_store_find(JobStore *store);

/* Are the tables of this version, and nobody's but the extension's own rows in them? The server log says when not. */
extern bool job_store_is_workable(const JobStore *store);

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

/* SPI_execute_with_args that raises 58000 on an unexpected result; the result is SPI's. */
extern int job_execute(const char *sql, int n, Oid *types, Datum *values, const char *nulls, int expected, long limit);

/* Read a job's row into a spec in a context of its own below parent; NULL: there is none. Between begin and end. */
extern JobSpec *job_store_load(const JobStore *store, int64 job, MemoryContext parent);

/* ---- jobs.c ---- */
/* Raise 42501 unless the current user may call the function that a job uses. In SPI. */
extern void job_check_privilege(const JobStore *store, JobFunction function);

/* Owner and state of a job that the caller may touch, as the statement sees it, or locked as it is now. In SPI. */
extern Oid job_find_own(const JobStore *store, int64 job, char **state, bool latest);

/* ---- sweep.c ---- */
/* The owner of a table, as whom the caller may act; else 42501. */
extern Oid job_own_relation(Oid relation);

/* In SPI: some of the jobs and rows that have had their time; how many rows. Again while it is a thousand or more. */
extern int64 job_sweep(const JobStore *store);

/* The same until nothing is left, and dead letters of rows that are gone. Runs transactions of its own. */
struct JobWorker;
extern void job_sweep_as_worker(struct JobWorker *worker);

/* ---- places.c ---- */
/* When this database is to be swept: 0: now, and nobody else does for a while; -1: not before others come by. */
extern long job_sweep_wait_ms(void);

/* Tables of a role of this database whose triggers have dead letters, so that deletes from them ask for a sweep. */
extern void job_letters_add(Oid role, Oid relation);
extern void job_letters_clear(Oid role);

/* A statement has ended that may have deleted rows with dead letters. */
extern void job_rows_deleted(const PlannedStmt *plan);

/* In this transaction rows were queued for a role of this database: at its commit a worker is asked for. */
extern void job_request_worker(Oid role);

/* The same for all else: a worker that runs looks at once at its jobs, and for rows from the beginning of the queue. */
extern void job_call_worker(Oid role);

/* For shared_memory.c, and the supervisor's turn to start what is wanted. */
extern size_t job_shared_bytes(void);
extern void job_shared_start(void);
extern void job_launch(void);
extern PGDLLEXPORT void qwen_job_scout_main(Datum argument);

/* Somebody waits for the end of a job: woken when any ends. */
extern void job_wait_begin(void);
extern void job_wait_next(long timeout_ms);
extern void job_wait_end(void);
extern void job_announce_end(void);

/* In a transaction: at its commit those who LISTEN to qwen_job hear of the end. */
extern void job_notify_end(int64 job, const char *state);

/* A worker's place among those that are there. */
typedef struct JobWorkerPlace
{
	int place;
	Oid database, role;
} JobWorkerPlace;

/* Take the place that the argument names; false: another has it. */
extern bool job_worker_arrive(Datum argument, JobWorkerPlace *place);

/* The connection stands: what goes wrong from here on is not the login's fault. */
extern void job_worker_connected(const JobWorkerPlace *place);

/* How often work was asked for until now, and by job_call_worker; leaving works only when nobody asked since. */
extern uint64 job_worker_requests(const JobWorkerPlace *place, uint64 *calls);
extern bool job_worker_leave(const JobWorkerPlace *place, uint64 requests_seen);

/*
 * Has this worker worked for long enough, while others' places wait for one? Then it begins nothing more and leaves,
 * and its place stands behind them.
 */
extern bool job_turn_is_over(void);
extern void job_give_turn(void);

/* From here on whoever queues rows wakes the worker. false: somebody has meanwhile. */
extern bool job_worker_listen(const JobWorkerPlace *place, uint64 requests_seen);
extern void job_worker_stop_listening(const JobWorkerPlace *place);

#define JOB_TROUBLE_BYTES 256

/* What the views show of this worker: why nothing moves, or "". Nothing in processes that are no workers. */
extern void job_worker_tell(const char *trouble);

/* ---- worker.c ---- */
/* Time for the pauses of a worker, in microseconds: the machine's, which a step of the wall clock does not touch. */
static inline TimestampTz
job_clock(void)
{
	return (TimestampTz) clock_now_us();
}

typedef enum RowState
{
	ROW_READY,    /* has a prompt, is to be sent */
	ROW_SENT,     /* the engine has it, and has not accepted it yet */
	ROW_RUNNING,  /* accepted, and GO said */
	ROW_ANSWERED, /* has its answer */
	ROW_FAILED,   /* error says why */
} RowState;

typedef struct JobRow
{
	struct JobRow *next;
	MemoryContext memory;  /* all of it */
	MemoryContext content; /* below: prompt, call and answer */
	JobSpec *spec;
	int64 *ids; /* of qwen_job_row; more than one where a trigger queued a row again */
	int n_ids;
	char **key; /* [n_keys] */
	int64 *via; /* [n_via] the answers by which it was queued (chain.c) */
	int n_via;
	int attempts;    /* before this one */
	int n_conflicts; /* how often its answer could not be written */
	int n_waits;     /* the same, counting locks that somebody else has */
	RowState state;
	bool has_prompt; /* else the prompt is NULL, and so is the answer */
	Request request;
	text *input; /* of a summary, which may have to be made in parts */
	int64 hash;  /* of the prompt; counts only with one */
	EngineCall *call;
	char *answer; /* UTF-8, or NULL */
	bool is_cut;  /* off at max_tokens */
	uint32 prompt_tokens, completion_tokens;
	TimestampTz not_before; /* its target is locked by others, or could not be written for another passing reason */
	int sqlstate;
	char *error;
	bool is_permanent; /* trying again is pointless */
} JobRow;

/* ---- floor.c ---- */
typedef struct JobFloor
{
	int64 id;        /* rows of qwen_job_row up to this one are none of ours any more, and none will appear */
	int64 seen;      /* the highest id that was read */
	int64 candidate; /* rows up to this one have all been put down by transactions that are over, or are in writers */
	void *writers;   /* VirtualTransactionId[n_writers] */
	int n_writers;
} JobFloor;

struct JobWorker;

/* In a transaction: raise the floor where that is worth a look. */
extern void job_floor_raise(struct JobWorker *worker, const struct JobStore *store);

/* Rows may have come back that were passed. */
extern void job_floor_reset(struct JobWorker *worker);

typedef struct JobWorker
{
	JobWorkerPlace place;
	MemoryContext memory;  /* specs and rows */
	MemoryContext scratch; /* reset in every round */
	List *specs;
	JobRow *rows; /* in the order they came */
	int n_rows;
	uint64 calls_seen; /* of job_call_worker */
	int64 last_id;     /* of qwen_job_row, up to where it was read */
	JobFloor floor;
	bool look_for_rows;                  /* there may be rows in qwen_job_row that are not here */
	bool is_gone;                        /* the extension is not there any more */
	bool is_replaced;                    /* it was dropped and made anew: what is here is of tables that are gone */
	Oid extension, job_table, row_table; /* that specs, rows and the floor are of */
	List *locked;                        /* Oid: tables that could not be looked at */
	TimestampTz locked_until;            /* until then they are not tried again */
	bool is_orphan;                      /* the role is not there any more */
	uint64 n_fetches;
	TimestampTz next_try; /* of a row that waits for another attempt; 0: none */
	TimestampTz last_write;
	TimestampTz pause_until; /* the engine cannot be asked now */
	int n_pauses;
	int n_in_flight;
	char trouble[JOB_TROUBLE_BYTES]; /* why something does not move, or empty */
	bool trouble_is_engines;         /* over with the next answer */
	TimestampTz trouble_until;
} JobWorker;

extern PGDLLEXPORT void qwen_job_worker_main(Datum argument);

/* ---- rows.c: each runs short transactions of its own ---- */
#define JOB_ROW_IS_LOCKED "another session has its row of qwen_job_table locked"

/* Note why something does not move; shown until it is over, or was not heard of for a while. */
extern void job_rows_trouble(JobWorker *worker, const JobSpec *spec, const char *why);

/* Forget all jobs and rows: they are of tables that are gone. */
extern void job_rows_start_anew(JobWorker *worker);

/* Learn which jobs there are, and which have ended; false: they could not be read. */
extern bool job_rows_refresh(JobWorker *worker);

/* Take up to n more rows; the number that came. */
extern int job_rows_fetch(JobWorker *worker, int n);

/* The columns of qwen_job_row that a queued row is read from, in order. */
#define QUEUED_COLUMNS "id, job, relation, trigger, key, attempts, trigger_oid, key_numbers, via"

/* Id, trigger and key of a row of these that a trigger queued; NULL: its trigger cannot be had. Palloc'd. */
extern JobSpec *job_rows_letter(JobWorker *worker, const JobStore *store, HeapTuple tuple, TupleDesc columns, int64 *id,
								char ***key);

/* When the next row that waits for another attempt is to be tried; 0: there is none. */
extern TimestampTz job_rows_next_try(JobWorker *worker);

/* Give jobs that have no rows left their end; tell why nothing moves. */
extern void job_rows_finish(JobWorker *worker);

/* A job cannot go on. */
extern void job_rows_fail(JobWorker *worker, JobSpec *spec, const char *error);

/* Append a row of a spec with its key; state READY. */
extern JobRow *job_row_add(JobWorker *worker, JobSpec *spec, int64 id, char *const *key, int attempts);

/* Forget a row, cancelling its call. */
extern void job_row_free(JobWorker *worker, JobRow *row);

/* ---- worker_transaction.c ---- */
typedef void (*JobBody)(JobWorker *worker, const JobStore *store, void *argument);

/*
 * Run body in a transaction with SPI; false: it was rolled back and *error says why (in worker->scratch). Finds the
 * extension first and sets worker->is_gone, without running body, where it is not there; that is no error.
 */
extern bool job_transaction(JobWorker *worker, JobBody body, void *argument, ErrorData **error);

/* The same in a subtransaction of the one that runs. */
extern bool job_subtransaction(JobWorker *worker, const JobStore *store, JobBody body, void *argument,
							   ErrorData **error);

/* The error that was just caught, in worker->scratch; it is handled. The current memory context must be restored
 * before. */
extern ErrorData *job_take_error(JobWorker *worker);

/* Does it pass by itself: a lock, a deadlock, a serialization failure, a shortage? */
extern bool job_error_passes(const ErrorData *error);

/* text[] and int[] of values, for parameters. */
extern Datum job_text_array(char *const *strings, int n);
extern Datum job_int8_array(const int64 *values, int n);

/* Lock an active job's row unless somebody else has it locked; false: not now, and *ended says whether ever. */
extern bool job_lock(const JobStore *store, int64 job, bool *ended);

/* ---- chain.c ---- */
/* From here on to job_chain_end the answers of these rows are written; of a job: nothing is remembered. */
extern void job_chain_begin(const JobSpec *spec, JobRow *const *rows, int n);
extern void job_chain_end(void);

/* Does this process write answers of a trigger's rows? */
extern bool job_chain_runs(void);

/*
 * A trigger wants to queue a row because of that. false: it is the very row that is answered for the trigger, or was on
 * the way here. *via: the chain it has, a bigint[]. Raises where that is too long.
 */
extern bool job_chain_extend(Oid relation, Oid trigger, const char *name, char *const *key, int n, Datum *via);

/* A row that is here was queued again, on another way: what both have in common is left. */
extern void job_chain_merge(JobRow *row, const int64 *via, int n);

/* ---- write.c ---- */
/* Write what is answered or failed; false: there was nothing. */
extern bool job_rows_write(JobWorker *worker);

/* The numbers and keys of rows as the parameters that the statements of row_sql.c begin with. */
extern void job_key_parameters(const JobSpec *spec, JobRow *const *rows, int n, Oid *types, Datum *values);

/* ---- calls.c ---- */
/* The request of a row's prompt; in a transaction, for the sake of encodings. */
extern void job_row_set_prompt(JobRow *row, text *prompt, int64 hash);

/* Send what is ready and take what has come; true: something moved. */
extern bool job_calls_advance(JobWorker *worker);

/* The engine showed no sign for a while: rows of one that does not start are put back. */
extern void job_calls_check(JobWorker *worker);

#endif
