/*
 * settle.h - what becomes of rows that are written, and of their entries in the queue.
 */
#ifndef QWEN_SETTLE_H
#define QWEN_SETTLE_H

#include "store.h"
#include "worker_rows.h"

typedef enum Outcome
{
	OUTCOME_NONE,    /* not looked at yet; after a write: its turn is in the next one */
	OUTCOME_WRITTEN, /* in the target */
	OUTCOME_GONE,    /* the source has no such row any more */
	OUTCOME_CHANGED, /* it has another prompt now */
	OUTCOME_LATER,   /* somebody has it locked, or another passing reason */
	OUTCOME_FAILED,  /* error says why */
	OUTCOME_MOVED,   /* the table has another owner, whose worker has the row now */
} Outcome;

/* What one transaction writes: rows of one spec. */
typedef struct Write
{
	JobSpec *spec;
	JobRow **rows; /* [n] */
	int n;
	Outcome *outcomes; /* [n] */
	int from, until;   /* which of them are written now */
	uint64 began_us;   /* the transaction */
	bool is_first;     /* nothing was tried in it */
	bool is_refused;   /* what was tried last, by a limit */
	bool has_asked;    /* what was written last: triggers have asked the model */
	bool dropped;      /* the job has ended: nothing is written */
	double elapsed_ms;
	const char *trouble; /* a passing error, or NULL; told after the commit: in the worker's scratch, or for good */
} Write;

/* All rows of a write have one outcome. */
extern void job_settle_all(Write *write, Outcome outcome);

/* All that have none yet. */
extern void job_settle_untried(Write *write, Outcome outcome);

/* May a trigger's rows be written, or put aside, by this worker now? The lock keeps the answer true. In SPI. */
extern bool job_table_is_ours(JobWorker *worker, const JobStore *store, Write *write);

/*
 * Rows that triggers queued and that were taken back since, as somebody gave the target a value, end without being
 * written; so do those of a job that ALTER TABLE has forgotten (queued_keys.h). The others' entries are locked: who
 * gives a value from here on waits until the answer is there. Entries that somebody is just taking back wait for what
 * becomes of that. In SPI.
 */
extern void job_leave_taken_back(const JobStore *store, Write *write);

/* Take entries of rows away whose outcome is there, put those off that failed, and count. In SPI. */
extern void job_settle_entries(const JobStore *store, const Write *write);

/* In SPI, as the owner of the queue: an entry is a dead letter now, and no other one of its row and trigger is. What
 * the others were for it is for, too. */
extern void job_letter_replaces(const JobStore *store, int64 id);

/* When a row is tried again after so many attempts. */
extern int64 job_backoff_ms(int attempts);

#endif
