/*
 * spec.h - what is done with rows: where they come from, what makes the prompt, which function answers, which column
 * gets the answer.
 *
 * A *spec* comes from a row of qwen_job_table (a job) or from a trigger's arguments. A *row* is one prompt with its
 * key. Rows that somebody has to work on stand in qwen_job_row: all those that triggers queued, and of a job the few
 * that were taken from its query and are not finished.
 */
#ifndef QWEN_SPEC_H
#define QWEN_SPEC_H

#include "../functions/functions.h"
#include "../limits/limits.h"

#include "utils/relcache.h"

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
	char **targets; /* [n_targets] the columns that get the answer */
	int n_targets;
	bool takes_row; /* the answer is an object, with a member for each target column, of its type */
	int n_keys;
	char *keys[JOB_MAX_KEYS];
	char *key_types[JOB_MAX_KEYS];        /* as SQL writes them */
	AttrNumber key_numbers[JOB_MAX_KEYS]; /* a trigger's, which may be renamed */
	char *prompt;                         /* as given: a column or a template */
	const ModelFunction *function;
	text *system, *instruction; /* or NULL */
	int max_words, dimensions;  /* or 0 */
	text *arguments;            /* a job's: JSON with the function's other arguments by name, or NULL */
	FunctionCallInfo call;      /* all arguments of the function; the first one is a row's prompt */
	const char *asked_by;       /* the SQL function that log and views name */
	int max_attempts;
	Request request;                      /* the first that a row asks: model and max_tokens are settled there */
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
	bool is_held;       /* its rows were sent back: no page is taken until one of them passes the door */
	bool is_looked_for; /* in the look that is under way, its pause being over */
	int n_aside;   /* rows that wait at the door for a limit of whoever submitted them; no other is sent meanwhile */
	int n_at_once; /* rows that are written by one statement; 0: none was yet */
	TimestampTz alone_until; /* until then each by its own, as a limit has refused what triggers ask over several */
	char failure[512];       /* why the job cannot go on; to be written down */
	uint64 looked_at;        /* the fetch in which a trigger was looked up last */
} JobSpec;

/* The names of the target columns with commas between, as they are. */
extern char *job_spec_target_list(const JobSpec *spec);

/* The target columns as a list of C strings. */
extern List *job_spec_targets(const JobSpec *spec);

/* Are some of the target columns written and others not, row by row? Statements give some of a trigger's values. */
extern bool job_spec_picks_targets(const JobSpec *spec);

/* A name among the target columns: its number from 0, or -1. */
extern int job_spec_target_number(const JobSpec *spec, const char *name);

/* What the answers to a spec's prompts look like where they are rows: its function's argument "schema", of the catalog
 * as it is now; set in arguments. */
extern void job_spec_set_schema(const JobSpec *spec, NullableDatum *arguments);

/* Has a function an argument of this name, beside its input? */
extern bool job_function_takes(const ModelFunction *function, const char *argument);

/*
 * Make spec->call of the spec's own fields and the values of the tail, and spec->request with the settings that hold
 * now: what is wrong with an argument is raised. All in spec->memory.
 */
extern void job_spec_read_tail(JobSpec *spec, const Datum *values, const bool *nulls);

/* The first request of a row with a text of one letter, so that nothing can be wrong with it but what all rows have. */
extern Request job_spec_least_request(JobSpec *spec);

/* A table that jobs may use as source or target; raises what cannot be. what: "source" or "target". */
extern void job_check_relation(Relation relation, const char *what);

/* The columns of a table's primary key as keys of spec; false: it has none that counts. */
extern bool job_spec_keys_of(JobSpec *spec, Relation relation);

/* Raise that a table has no such primary key. function: the trigger's; NULL: a job's table. */
extern void job_refuse_keys(Relation relation, const char *function) __attribute__((noreturn));

/*
 * The spec of a trigger of a table in a context of its own below parent; raises what is wrong with its arguments.
 * key_numbers: the columns by which rows were queued, or NULL for the primary key as it is now. The trigger is not one
 * that stands in the relation cache: catalogs are read.
 */
struct Trigger;
extern JobSpec *job_spec_of_trigger(Relation relation, const struct Trigger *trigger, const AttrNumber *key_numbers,
									int n_keys, MemoryContext parent);

#endif
