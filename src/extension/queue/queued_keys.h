/*
 * queued_keys.h - what is queued of a table whose rows' keys have become others behind the queue's back.
 */
#ifndef QWEN_QUEUED_KEYS_H
#define QWEN_QUEUED_KEYS_H

#include "store.h"

/* The columns of a table by which some of what is queued of it knows its rows: what triggers queued, or a job's rows.
 */
typedef struct JobKeySet
{
	int64 job;          /* 0: triggers' */
	bool is_unnumbered; /* queued by an older version, which did not say by which columns */
	int n_keys;
	AttrNumber numbers[JOB_MAX_KEYS];
} JobKeySet;

/* What is queued and has no row any more. */
typedef struct JobLostKeys
{
	int64 n_waiting, n_letters;
	int64 n_of_jobs; /* of both */
} JobLostKeys;

/* All such sets of columns of a table, a list of JobKeySet. Of jobs those whose source is the table, by whose keys
 * their rows are known. */
extern List *job_key_sets(const JobStore *store, Relation relation);

/* Ask the table for all keys of a set: those that are found are written as the table has them now, the others are taken
 * out of the queue and added to lost. */
extern void job_keys_follow(const JobStore *store, Relation relation, const JobKeySet *set, JobLostKeys *lost);

/* Take all that is queued by a set out of the queue, and add it to lost. */
extern void job_keys_forget(const JobStore *store, Relation relation, const JobKeySet *set, JobLostKeys *lost);

#endif
