/*
 * worker_rows.h - what a worker has in its hands: rows with their prompts, calls and answers, and what troubles it.
 */
#ifndef QWEN_WORKER_ROWS_H
#define QWEN_WORKER_ROWS_H

#include "../client/client.h"
#include "../limits/limits.h"
#include "spec.h"
#include "worker_place.h"

#include "../../base/clock.h"

/* Time for the pauses of a worker, in microseconds: the machine's, which a step of the wall clock does not touch. */
static inline TimestampTz
job_clock(void)
{
	return (TimestampTz) clock_now_us();
}

typedef enum RowState
{
	ROW_READY,     /* has a prompt, is to be sent */
	ROW_SENT_BACK, /* is to be freed, and looked for later */
	ROW_SENT,      /* the engine has it, and has not accepted it yet */
	ROW_RUNNING,   /* accepted, and GO said */
	ROW_ANSWERED,  /* has its answer */
	ROW_FAILED,    /* error says why */
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
	int n_changes;   /* how often it had another prompt by then */
	int n_waits;     /* the same, counting locks that somebody else has */
	int n_in_vain;   /* how often what triggers ask to write it was refused behind its first requests */
	LimitSum needed; /* that, as far as it is known */
	RowState state;
	bool is_aside;   /* in flight, but waits for a limit, and has no place in the window */
	bool has_prompt; /* else the prompt is NULL, and so is the answer */
	int64 hash;      /* of the prompt; counts only with one */
	ModelCall call;  /* of the spec's function; built with the prompt */
	char *answer;    /* or NULL */
	char *picked;    /* "{1,2}": numbers of the target columns that are written; NULL: all */
	bool is_utf8;    /* as the engine gave it; else it is in the database's encoding */
	bool is_cut;     /* off at max_tokens */
	uint32 prompt_tokens, completion_tokens;
	TimestampTz not_before; /* its target is locked by others, or could not be written for another passing reason */
	int sqlstate;
	char *error;
	bool is_permanent; /* trying again is pointless */
} JobRow;

/* From where on qwen_job_row is read (floor.c). */
typedef struct JobFloor
{
	int64 id;        /* rows of qwen_job_row up to this one are none of ours any more, and none will appear */
	int64 seen;      /* the highest id that was read */
	int64 candidate; /* rows up to this one have all been put down by transactions that are over, or are in writers */
	void *writers;   /* VirtualTransactionId[n_writers] */
	int n_writers;
} JobFloor;

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
	int n_aside;                     /* rows */
	bool waits_for_limit;            /* of its role, until pause_until */
	TimestampTz idle_since;          /* when it last got on; 0: it has just begun */
	char trouble[JOB_TROUBLE_BYTES]; /* why something does not move, or empty */
	bool trouble_ends_with_answer;   /* it is the engine's, or a limit's */
	TimestampTz trouble_until;
} JobWorker;

/* Note why something does not move; shown until it is over, or was not heard of for a while. */
extern void job_rows_trouble(JobWorker *worker, const JobSpec *spec, const char *why);

/* A job cannot go on. */
extern void job_rows_fail(JobWorker *worker, JobSpec *spec, const char *error);

/* Append a row of a spec with its key; state READY. */
extern JobRow *job_row_add(JobWorker *worker, JobSpec *spec, int64 id, char *const *key, int attempts);

/* A row waits at the door without a place in the window, or has one again. */
extern void job_row_set_aside(JobWorker *worker, JobRow *row, bool is_aside);

/* Forget a row, cancelling its call. */
extern void job_row_free(JobWorker *worker, JobRow *row);

/* The same for rows that a transaction has added which did not commit; those that are NULL are gone already. */
extern void job_rows_free(JobWorker *worker, JobRow *const *rows, int n);

/* The request of a row's prompt; in a transaction, for the sake of encodings. */
extern void job_row_set_prompt(JobRow *row, text *prompt, int64 hash);

#endif
