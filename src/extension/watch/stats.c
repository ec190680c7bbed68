/*
 * stats.c - qwen_stat_requests and qwen_stat_roles: what requests have cost, per role, model and function.
 *
 * A hash table in shared memory of at most qwen.stat_max entries, made at the server's start. Its lock is taken shared
 * to find an entry and exclusively only to add one, and each entry has a spinlock for its counters, so a request costs
 * one look-up and a few additions, at its end. When the table is full, what belongs to no entry is counted in one for
 * all others, whose role, model and function are NULL: sums stay right, and its calls tell that qwen.stat_max is too
 * low. The numbers are gone after a restart or a crash of the server, as after qwen_stat_reset().
 */
#include "stats.h"

#include <math.h>

#include "../../base/histogram.h"
#include "../core/compat.h"
#include "../core/privileges.h"
#include "../core/results.h"
#include "../core/settings.h"
#include "../core/shared_memory.h"
#include "../limits/limits.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#define N_TOTAL_COLUMNS 20 /* of both views, after the key */
#define N_FORM_COLUMNS 3   /* at the end of both */
#define MAX_KEY_COLUMNS 3
#define N_ROLE_COLUMNS (1 + N_TOTAL_COLUMNS + 1 + N_FORM_COLUMNS)

/* SQLSTATE classes that are told apart; the last one stands for all others. */
static const char *const class_names[] = {"0A", "22", "42", "53", "54", "55", "57", "58", "other"};

#define N_CLASSES 9

typedef struct StatKey
{
	Oid role; /* InvalidOid: all for which there was no room */
	char model[ADAPTED_NAME_BYTES];
	char function[FUNCTION_NAME_BYTES];
} StatKey;

typedef struct StatCounts
{
	uint64 calls, errors, cancelled, rejected;
	uint64 prompt_tokens, cached_tokens, completion_tokens;
	uint64 total_us, queue_us;
	uint64 constrained_tokens, forced_tokens, mask_us;
	uint64 by_class[N_CLASSES];
	Histogram ttft, per_token, total;
	TimestampTz since;
} StatCounts;

typedef struct StatEntry
{
	StatKey key; /* first, for the hash table */
	slock_t lock;
	StatCounts counts;
} StatEntry;

static HTAB *table;
static LWLock *table_lock;

Size
stats_memory_bytes(void)
{
	return hash_estimate_size(qwen_stat_max, sizeof(StatEntry));
}

/* An entry, made if it is not there; the lock is held exclusively. NULL: the table is full. */
static StatEntry *
make_entry(const StatKey *key)
{
	bool found;
	StatEntry *entry;

	/* a shared hash table may take more than it was made for from memory that others need */
	if (hash_get_num_entries(table) >= qwen_stat_max)
		return hash_search(table, key, HASH_FIND, NULL);
	entry = hash_search(table, key, HASH_ENTER_NULL, &found);
	if (entry && !found)
	{
		SpinLockInit(&entry->lock);
		memset(&entry->counts, 0, sizeof entry->counts);
		entry->counts.since = GetCurrentTimestamp();
	}
	return entry;
}

void
stats_init_memory(void)
{
	HASHCTL control;
	StatKey others;

	memset(&control, 0, sizeof control);
	control.keysize = sizeof(StatKey);
	control.entrysize = sizeof(StatEntry);
	table_lock = &(GetNamedLWLockTranche("qwen_pg_statistics"))->lock;
	table = make_shared_hash("qwen_pg statistics", qwen_stat_max, &control, HASH_ELEM | HASH_BLOBS);
	memset(&others, 0, sizeof others);
	LWLockAcquire(table_lock, LW_EXCLUSIVE);
	(void) make_entry(&others);
	LWLockRelease(table_lock);
}

/* Find or make the entry of a request; returns with the lock held shared. */
static StatEntry *
find_entry(const WatchedRequest *watched)
{
	StatKey key;
	StatEntry *entry;

	memset(&key, 0, sizeof key);
	key.role = watched->role;
	strlcpy(key.model, watched->model, sizeof key.model);
	strlcpy(key.function, watched->function, sizeof key.function);
	LWLockAcquire(table_lock, LW_SHARED);
	entry = hash_search(table, &key, HASH_FIND, NULL);
	if (entry)
		return entry;
	if (hash_get_num_entries(table) < qwen_stat_max)
	{
		LWLockRelease(table_lock);
		LWLockAcquire(table_lock, LW_EXCLUSIVE);
		(void) make_entry(&key);
		LWLockRelease(table_lock);
		LWLockAcquire(table_lock, LW_SHARED);
	}
	entry = hash_search(table, &key, HASH_FIND, NULL);
	if (!entry)
	{
		memset(&key, 0, sizeof key);
		entry = hash_search(table, &key, HASH_FIND, NULL);
	}
	return entry;
}

void
stats_count(const WatchedRequest *watched, const RequestOutcome *outcome)
{
	StatEntry *entry = find_entry(watched);

	if (entry)
	{
		StatCounts *counts = &entry->counts;

		SpinLockAcquire(&entry->lock);
		counts->calls++;
		counts->prompt_tokens += outcome->prompt_tokens;
		counts->cached_tokens += outcome->cached_tokens;
		counts->completion_tokens += outcome->completion_tokens;
		counts->total_us += outcome->total_us;
		counts->queue_us += outcome->queue_us;
		counts->constrained_tokens += outcome->constrained_tokens;
		counts->forced_tokens += outcome->forced_tokens;
		counts->mask_us += outcome->mask_us;
		if (outcome->end == ENDED_WELL)
		{
			histogram_add(&counts->total, outcome->total_us);
			if (outcome->has_first_token)
				histogram_add(&counts->ttft, outcome->ttft_us);
			if (outcome->completion_tokens > 1)
				histogram_add(&counts->per_token,
							  (outcome->total_us - outcome->ttft_us) / (outcome->completion_tokens - 1));
		}
		counts->errors += outcome->end == ENDED_BY_ERROR;
		counts->cancelled += outcome->end == ENDED_BY_CANCEL;
		counts->rejected += outcome->end == ENDED_BY_LIMIT;
		if (outcome->end == ENDED_BY_ERROR)
			counts->by_class[outcome->error_class]++;
		SpinLockRelease(&entry->lock);
	}
	LWLockRelease(table_lock);
}

int
stats_error_class(int sqlstate)
{
	const char *code = unpack_sql_state(sqlstate);
	int i = 0;

	while (i < N_CLASSES - 1 && strncmp(class_names[i], code, 2) != 0)
		i++;
	return i;
}

/* Copies of all entries, palloc'd before the lock is taken: those that come meanwhile are seen the next time. */
static StatEntry *
copy_entries(int *n)
{
	HASH_SEQ_STATUS scan;
	StatEntry *entry, *copies;
	long room;

	*n = 0;
	LWLockAcquire(table_lock, LW_SHARED);
	room = (long) hash_get_num_entries(table) + 1;
	LWLockRelease(table_lock);
	copies = MemoryContextAllocHuge(CurrentMemoryContext, sizeof *copies * room);
	LWLockAcquire(table_lock, LW_SHARED);
	hash_seq_init(&scan, table);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		if (*n == room)
		{
			hash_seq_term(&scan);
			break;
		}
		SpinLockAcquire(&entry->lock);
		copies[*n] = *entry;
		SpinLockRelease(&entry->lock);
		/* nobody wants to see the entry for others as long as there are none */
		if (entry->key.role != InvalidOid || copies[*n].counts.calls > 0)
			(*n)++;
	}
	LWLockRelease(table_lock);
	return copies;
}

/* {"22": 3, "58": 1}; NULL when there were no errors. */
static void
put_classes(const StatCounts *counts, Datum *value, bool *null)
{
	StringInfoData json;

	initStringInfo(&json);
	for (int i = 0; i < N_CLASSES; i++)
		if (counts->by_class[i] > 0)
			appendStringInfo(&json, "%s\"%s\": " UINT64_FORMAT, json.len ? ", " : "{", class_names[i],
							 counts->by_class[i]);
	*null = json.len == 0;
	if (*null)
		return;
	appendStringInfoChar(&json, '}');
	*value = DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}

/* {"tokens_per_day": 3}, by a role's own limits since its usage is known; NULL when there were none. */
static void
put_rejected(Oid role, Datum *value, bool *null)
{
	StringInfoData json;
	uint64 counts[N_LIMITS] = {0};

	if (OidIsValid(role))
		limits_rejected(role, counts);
	initStringInfo(&json);
	for (int i = 0; i < N_LIMITS; i++)
		if (counts[i] > 0)
			appendStringInfo(&json, "%s\"%s\": " UINT64_FORMAT, json.len ? ", " : "{", limit_names[i], counts[i]);
	*null = json.len == 0;
	if (*null)
		return;
	appendStringInfoChar(&json, '}');
	*value = DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}

/* p50, p95 and p99 in milliseconds: three columns. */
static void
put_quantiles(const Histogram *histogram, Datum *values, bool *nulls)
{
	static const double shares[] = {0.5, 0.95, 0.99};

	for (int i = 0; i < (int) lengthof(shares); i++)
	{
		double us = histogram_quantile(histogram, shares[i]);

		nulls[i] = us < 0;
		values[i] = Float8GetDatum(rint(us) / 1000.0);
	}
}

/* The columns that both views have. */
static void
put_counts(const StatCounts *counts, Datum *values, bool *nulls)
{
	values[0] = Int64GetDatum(counts->calls);
	values[1] = Int64GetDatum(counts->errors);
	values[2] = Int64GetDatum(counts->cancelled);
	values[3] = Int64GetDatum(counts->rejected);
	values[4] = Int64GetDatum(counts->prompt_tokens);
	values[5] = Int64GetDatum(counts->cached_tokens);
	values[6] = Int64GetDatum(counts->completion_tokens);
	values[7] = Float8GetDatum(counts->total_us / 1000.0);
	values[8] = Float8GetDatum(counts->queue_us / 1000.0);
	put_quantiles(&counts->ttft, &values[9], &nulls[9]);
	put_quantiles(&counts->per_token, &values[12], &nulls[12]);
	put_quantiles(&counts->total, &values[15], &nulls[15]);
	put_classes(counts, &values[18], &nulls[18]);
	values[19] = TimestampTzGetDatum(counts->since);
}

/* The last columns of both views: what the forms of answers have done. */
static void
put_forms(const StatCounts *counts, Datum *values)
{
	values[0] = Int64GetDatum(counts->constrained_tokens);
	values[1] = Int64GetDatum(counts->forced_tokens);
	values[2] = Float8GetDatum(counts->mask_us / 1000.0);
}

/* A name, NULL when it is empty. */
static void
put_name(const char *name, Datum *value, bool *null)
{
	*null = !name || name[0] == '\0';
	if (!*null)
		*value = CStringGetTextDatum(name);
}

/* One that was dropped is shown by its number. */
static const char *
name_of_role(Oid role)
{
	char *name = OidIsValid(role) ? GetUserNameFromId(role, true) : NULL;

	return name || !OidIsValid(role) ? name : psprintf("%u", role);
}

/* May the current user see a role's row? The one for all others is for those who see all. */
static bool
may_see(bool everybody, Oid role)
{
	return everybody || (OidIsValid(role) && has_privs_of_role(GetUserId(), role));
}

QWEN_FUNCTION(qwen_request_totals, 0, 0)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
	bool everybody;
	StatEntry *entries;
	int n;

	require_preloaded();
	init_materialized_set(fcinfo);
	everybody = may_see_others(fcinfo->flinfo->fn_oid);
	entries = copy_entries(&n);
	for (int i = 0; i < n; i++)
	{
		Datum values[MAX_KEY_COLUMNS + N_TOTAL_COLUMNS + N_FORM_COLUMNS] = {0};
		bool nulls[MAX_KEY_COLUMNS + N_TOTAL_COLUMNS + N_FORM_COLUMNS] = {false};

		if (!may_see(everybody, entries[i].key.role))
			continue;
		put_name(name_of_role(entries[i].key.role), &values[0], &nulls[0]);
		put_name(entries[i].key.model, &values[1], &nulls[1]);
		put_name(entries[i].key.function, &values[2], &nulls[2]);
		put_counts(&entries[i].counts, &values[3], &nulls[3]);
		put_forms(&entries[i].counts, &values[MAX_KEY_COLUMNS + N_TOTAL_COLUMNS]);
		tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
	}
	return (Datum) 0;
}

static int
compare_roles(const void *a, const void *b)
{
	Oid left = ((const StatEntry *) a)->key.role, right = ((const StatEntry *) b)->key.role;

	return left < right ? -1 : left > right;
}

/* Add up two entries of a role. */
static void
merge_counts(StatCounts *sum, const StatCounts *other)
{
	sum->calls += other->calls;
	sum->errors += other->errors;
	sum->cancelled += other->cancelled;
	sum->rejected += other->rejected;
	sum->prompt_tokens += other->prompt_tokens;
	sum->cached_tokens += other->cached_tokens;
	sum->completion_tokens += other->completion_tokens;
	sum->total_us += other->total_us;
	sum->queue_us += other->queue_us;
	sum->constrained_tokens += other->constrained_tokens;
	sum->forced_tokens += other->forced_tokens;
	sum->mask_us += other->mask_us;
	for (int i = 0; i < N_CLASSES; i++)
		sum->by_class[i] += other->by_class[i];
	histogram_merge(&sum->ttft, &other->ttft);
	histogram_merge(&sum->per_token, &other->per_token);
	histogram_merge(&sum->total, &other->total);
	sum->since = Min(sum->since, other->since);
}

QWEN_FUNCTION(qwen_role_totals, 0, 0)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
	bool everybody;
	StatEntry *entries;
	int n, next;

	require_preloaded();
	init_materialized_set(fcinfo);
	everybody = may_see_others(fcinfo->flinfo->fn_oid);
	entries = copy_entries(&n);
	qsort(entries, n, sizeof *entries, compare_roles);
	for (int i = 0; i < n; i = next)
	{
		Datum values[N_ROLE_COLUMNS] = {0};
		bool nulls[N_ROLE_COLUMNS] = {false};

		for (next = i + 1; next < n && entries[next].key.role == entries[i].key.role; next++)
			merge_counts(&entries[i].counts, &entries[next].counts);
		if (!may_see(everybody, entries[i].key.role))
			continue;
		put_name(name_of_role(entries[i].key.role), &values[0], &nulls[0]);
		put_counts(&entries[i].counts, &values[1], &nulls[1]);
		put_rejected(entries[i].key.role, &values[1 + N_TOTAL_COLUMNS], &nulls[1 + N_TOTAL_COLUMNS]);
		put_forms(&entries[i].counts, &values[N_ROLE_COLUMNS - N_FORM_COLUMNS]);
		tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* Forget all numbers. */
QWEN_FUNCTION(qwen_stat_reset, 0, 0)
{
	HASH_SEQ_STATUS scan;
	StatEntry *entry;

	require_administrator(fcinfo);
	require_preloaded();
	LWLockAcquire(table_lock, LW_EXCLUSIVE);
	hash_seq_init(&scan, table);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		if (OidIsValid(entry->key.role))
			hash_search(table, &entry->key, HASH_REMOVE, NULL);
		else
		{
			memset(&entry->counts, 0, sizeof entry->counts);
			entry->counts.since = GetCurrentTimestamp();
		}
	}
	LWLockRelease(table_lock);
	PG_RETURN_VOID();
}
