/*
 * entries.h - how triggers put rows into the queue, and take them back.
 */
#ifndef QWEN_ENTRIES_H
#define QWEN_ENTRIES_H

#include "../core/core.h"

#include "access/htup.h"
#include "access/tupdesc.h"
#include "commands/trigger.h"
#include "nodes/bitmapset.h"
#include "nodes/pg_list.h"
#include "utils/relcache.h"

/* A trigger of a table that queues its rows; for the time of a statement. */
typedef struct JobEntries
{
	Oid relation;
	List *prompt_columns;    /* names (C strings) of those that the prompt is made of */
	int n_targets, *targets; /* numbers of the columns that get the answer */
	int n_keys;
	const int *keys;   /* [n_keys] numbers of the columns by which a row is queued */
	bool is_immediate; /* no two rows ever have the same key, not even until the commit */
} JobEntries;

/* Check everything about the trigger that fires, and learn what its rows need. In the current memory context. */
extern JobEntries *job_entries_of(const TriggerData *data, const char *function);

/* The same for a trigger that need not hear of more than its rows' new keys: nothing of its arguments, which may be
 * wrong, is looked at, and there are no targets. NULL: there is no key, or no queue. */
extern JobEntries *job_entries_by_key(Relation relation);

/* The columns that rows of a table are queued by, by attribute number less the lowest. */
extern Bitmapset *job_entries_key_columns(Relation relation);

/* The row's key as text, written as workers read it, and the same whatever the session's settings: [n_keys], palloc'd.
 */
extern char **job_entries_key(const JobEntries *entries, HeapTuple row, TupleDesc columns);

/*
 * Put a row into the queue, for those of its target columns that are in wanted (by number), and ask for a worker at the
 * commit; false: it is the very row that is being answered for the trigger, or was on the way here. *id: the entry's,
 * or 0 in an older version's table. In SPI.
 */
extern bool job_entries_add(const JobEntries *entries, const TriggerData *data, char *const *key,
							const Bitmapset *wanted, int64 *id);

/*
 * Take back what is queued under a key, of before an entry of the queue: the row has a value of its own now, or goes by
 * another key. A worker that writes the answer at this moment is waited for. dead: letters as well. The target columns
 * that waited (by number) are added to *waited, which may be NULL. In SPI.
 */
extern void job_entries_take_back(const JobEntries *entries, const TriggerData *data, char *const *key, int64 before,
								  bool dead, Bitmapset **waited);

/* The same for some of the target columns alone, which the statement has given a value; dead letters too. In SPI. */
extern void job_entries_take_back_columns(const JobEntries *entries, const TriggerData *data, char *const *key,
										  int64 before, const Bitmapset *kept);

/*
 * The first entry under a key that is newer than the row that a trigger is called for, or PG_INT64_MAX: statements that
 * ran since, inside of the row's own (of functions, of other triggers), have queued it of the row as it is now. Not for
 * deferred triggers, which queue long after their rows' statements. In SPI.
 */
extern int64 job_entries_newer(const JobEntries *entries, const TriggerData *data, char *const *key);

/*
 * A row goes by another key: what is queued of it goes on waiting under that, and its dead letters are to be found
 * under it. Only what is of before an entry of the queue. All of it has new numbers; the first of them, or 0: there is
 * nothing. What the answer that is being written is for stays as it is. In SPI.
 */
extern int64 job_entries_follow(const JobEntries *entries, const TriggerData *data, char *const *old_key,
								char *const *key, int64 before);

/* A row has come from another partition: what is queued of it there, under its old key and another trigger of the same
 * name, goes to the one it is in now, dead letters too. What the answer that is being written is for stays as it is. In
 * SPI. */
extern void job_entries_come(const JobEntries *entries, const TriggerData *data, char *const *key,
							 const JobEntries *from, Oid from_trigger, char *const *from_key);

/* Does anything of a row stand in the queue for the trigger, or as a dead letter of it? In SPI. */
extern bool job_entries_are_there(const JobEntries *entries, const TriggerData *data, char *const *key);

/* Is it one of our functions that queue rows? */
extern bool job_trigger_queues(Oid function);

/* Does this process write answers of a trigger's rows? */
extern bool job_entries_are_answered(void);

#endif
