/*
 * activity.c - qwen_stat_activity: the requests of all sessions that have not ended.
 *
 * A list of entries in shared memory, as many as the engine takes requests and the server sessions. The session that
 * owns a request writes its entry and removes it; what the engine has done for it is read from the request's meter in
 * the status page, which it got when the limits of its roles let it go. When all entries are taken, a request runs like
 * any other, but is not listed, and counted in "unlisted" of qwen_stat_engine.
 */
#include "activity.h"

#include "../core/privileges.h"
#include "../core/results.h"
#include "../core/settings.h"
#include "../core/shared_memory.h"
#include "../core/texts.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"
#if PG_VERSION_NUM >= 140000
#include "utils/backend_status.h"
#endif

#define N_ACTIVITY_COLUMNS 15

/* A request, as its owner tells of it. */
typedef struct Listing
{
	bool listed; /* all of it is filled in */
	bool has_go;
	uint32 meter; /* with has_go */
	Oid role, database;
	uint64 query_id;
	uint32 prompt_tokens;
	TimestampTz submitted_at, go_at;
	char model[ADAPTED_NAME_BYTES];
	char function[FUNCTION_NAME_BYTES];
	char application_name[NAMEDATALEN];
} Listing;

typedef struct Entry
{
	pg_atomic_uint32 pid; /* of the session that owns it; 0: free */
	slock_t lock;         /* guards listing, which the owner alone writes; held for copies only */
	Listing listing;
} Entry;

typedef struct Activity
{
	pg_atomic_uint32 next;     /* where the search for a free entry begins */
	pg_atomic_uint64 unlisted; /* requests for which there was none */
	uint32 n_entries;
	Entry entries[FLEXIBLE_ARRAY_MEMBER];
} Activity;

static Activity *activity;
static bool will_clean_up; /* this process removes what it leaves behind */

static uint32
count_entries(void)
{
	uint64 n = (uint64) qwen_max_running + qwen_queue_size + MaxConnections;

	return Min(n, STATUS_PAGE_MAX_METERS);
}

Size
activity_memory_bytes(void)
{
	return MAXALIGN(offsetof(Activity, entries) + sizeof(Entry) * count_entries());
}

void
activity_init_memory(void)
{
	bool found;

	activity = ShmemInitStruct("qwen_pg activity", activity_memory_bytes(), &found);
	if (found)
		return;
	memset(activity, 0, activity_memory_bytes());
	activity->n_entries = count_entries();
	pg_atomic_init_u32(&activity->next, 0);
	pg_atomic_init_u64(&activity->unlisted, 0);
	for (uint32 i = 0; i < activity->n_entries; i++)
	{
		pg_atomic_init_u32(&activity->entries[i].pid, 0);
		SpinLockInit(&activity->entries[i].lock);
	}
}

uint64
activity_unlisted(void)
{
	return pg_atomic_read_u64(&activity->unlisted);
}

/* At the session's end: what it still owns, as when it was terminated in the middle of a call. */
static void
remove_all(int code, Datum argument)
{
	for (uint32 i = 0; i < activity->n_entries; i++)
		if (pg_atomic_read_u32(&activity->entries[i].pid) == (uint32) MyProcPid)
			activity_remove(i);
}

/* Make an entry this session's; -1: all are taken. */
static int
take_entry(void)
{
	uint32 first = pg_atomic_fetch_add_u32(&activity->next, 1);

	if (!will_clean_up)
	{
		on_shmem_exit(remove_all, 0);
		will_clean_up = true;
	}
	for (uint32 turn = 0; turn < activity->n_entries; turn++)
	{
		uint32 i = (first + turn) % activity->n_entries, nobody = 0;

		if (pg_atomic_read_u32(&activity->entries[i].pid) == 0 &&
			pg_atomic_compare_exchange_u32(&activity->entries[i].pid, &nobody, MyProcPid))
			return i;
	}
	pg_atomic_fetch_add_u64(&activity->unlisted, 1);
	return -1;
}

int
activity_add(const WatchedRequest *watched)
{
	Listing listing = {.listed = true, .role = watched->role, .database = MyDatabaseId};
	int i = take_entry();
	Entry *entry;

	if (i < 0)
		return i;
		/* others wait for the spinlock by turning round: all is found out before, and under it only copied */
#if PG_VERSION_NUM >= 140000
	listing.query_id = (uint64) pgstat_get_my_query_id();
#endif
	listing.submitted_at = GetCurrentTimestamp();
	strlcpy(listing.function, watched->function, sizeof listing.function);
	copy_server_text(listing.application_name, application_name ? application_name : "",
					 sizeof listing.application_name);
	entry = &activity->entries[i];
	SpinLockAcquire(&entry->lock);
	entry->listing = listing;
	SpinLockRelease(&entry->lock);
	return i;
}

void
activity_set_model(int i, const char *model)
{
	Entry *entry = &activity->entries[i];
	char name[sizeof entry->listing.model];

	strlcpy(name, model, sizeof name);
	SpinLockAcquire(&entry->lock);
	memcpy(entry->listing.model, name, sizeof name);
	SpinLockRelease(&entry->lock);
}

void
activity_set_prompt_tokens(int i, uint32 prompt_tokens)
{
	Entry *entry = &activity->entries[i];

	SpinLockAcquire(&entry->lock);
	entry->listing.prompt_tokens = prompt_tokens;
	SpinLockRelease(&entry->lock);
}

void
activity_set_meter(int i, uint32 meter)
{
	Entry *entry = &activity->entries[i];
	TimestampTz now = GetCurrentTimestamp();

	SpinLockAcquire(&entry->lock);
	entry->listing.has_go = true;
	entry->listing.meter = meter;
	entry->listing.go_at = now;
	SpinLockRelease(&entry->lock);
}

void
activity_remove(int i)
{
	Entry *entry = &activity->entries[i];

	if (pg_atomic_read_u32(&entry->pid) != (uint32) MyProcPid)
		return;
	SpinLockAcquire(&entry->lock);
	entry->listing.listed = false;
	SpinLockRelease(&entry->lock);
	pg_atomic_write_u32(&entry->pid, 0);
}

/* A copy of an entry that is listed, and its owner's pid; false: it is not. */
static bool
read_entry(uint32 i, Listing *copy, uint32 *pid)
{
	Entry *entry = &activity->entries[i];

	*pid = pg_atomic_read_u32(&entry->pid);
	if (*pid == 0)
		return false;
	SpinLockAcquire(&entry->lock);
	*copy = entry->listing;
	SpinLockRelease(&entry->lock);
	return copy->listed;
}

ActivityTokens
activity_tokens_of(uint32 pid)
{
	ActivityTokens tokens = {0, 0};

	for (uint32 i = 0; i < activity->n_entries; i++)
	{
		Listing entry;
		uint32 owner;

		if (pg_atomic_read_u32(&activity->entries[i].pid) != pid || !read_entry(i, &entry, &owner) || owner != pid ||
			!entry.has_go)
			continue;
		tokens.prompt += atomic_load(&qwen_page->meters[entry.meter].prompt_tokens);
		tokens.completion += atomic_load(&qwen_page->meters[entry.meter].completion_tokens);
	}
	return tokens;
}

/* A text of an entry, NULL when it is empty. */
static void
put_text(Datum *value, bool *null, const char *text)
{
	*null = text[0] == '\0';
	*value = *null ? (Datum) 0 : CStringGetTextDatum(server_string(text));
}

/* What a request waits for; has_begun: the engine has worked on it. */
static const char *
state_name(const Listing *entry, bool has_begun)
{
	if (entry->has_go)
		return has_begun ? "running" : "waiting";
	return entry->prompt_tokens > 0 ? "limited" : "submitted";
}

/* What the engine has done for a request: state, progress, speed (five columns). */
static void
put_progress(const Listing *entry, Datum *values, bool *nulls)
{
	uint32 done = entry->has_go ? atomic_load(&qwen_page->meters[entry->meter].prompt_tokens) : 0;
	uint32 completion = entry->has_go ? atomic_load(&qwen_page->meters[entry->meter].completion_tokens) : 0;
	double seconds = entry->has_go ? (GetCurrentTimestamp() - entry->go_at) / 1e6 : 0;

	values[0] = CStringGetTextDatum(state_name(entry, done + completion > 0));
	nulls[1] = entry->prompt_tokens == 0;
	values[1] = Int32GetDatum(entry->prompt_tokens);
	values[2] = Int32GetDatum(done);
	values[3] = Int32GetDatum(completion);
	nulls[4] = seconds <= 0;
	values[4] = Float8GetDatum(seconds > 0 ? completion / seconds : 0);
}

/* The row of an entry. */
static void
put_row(ReturnSetInfo *set, const Listing *entry, uint32 pid)
{
	Datum values[N_ACTIVITY_COLUMNS];
	bool nulls[N_ACTIVITY_COLUMNS] = {false};
	char *database = get_database_name(entry->database), *role = GetUserNameFromId(entry->role, true);

	values[0] = Int32GetDatum(pid);
	nulls[1] = database == NULL;
	values[1] = database ? CStringGetTextDatum(database) : (Datum) 0;
	nulls[2] = role == NULL;
	values[2] = role ? CStringGetTextDatum(role) : (Datum) 0;
	put_text(&values[3], &nulls[3], entry->application_name);
	nulls[4] = entry->query_id == 0;
	values[4] = Int64GetDatum((int64) entry->query_id);
	put_text(&values[5], &nulls[5], entry->model);
	put_text(&values[6], &nulls[6], entry->function);
	put_progress(entry, &values[7], &nulls[7]);
	values[12] = TimestampTzGetDatum(entry->submitted_at);
	nulls[13] = !entry->has_go;
	values[13] = TimestampTzGetDatum(entry->go_at);
	values[14] = Float8GetDatum((GetCurrentTimestamp() - entry->submitted_at) / 1000.0);
	tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
}

QWEN_FUNCTION(qwen_activity, 0, 0)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
	bool everybody;

	require_preloaded();
	init_materialized_set(fcinfo);
	everybody = may_see_others(fcinfo->flinfo->fn_oid);
	for (uint32 i = 0; i < activity->n_entries; i++)
	{
		Listing entry;
		uint32 pid;

		if (read_entry(i, &entry, &pid) && (everybody || has_privs_of_role(GetUserId(), entry.role)))
			put_row(set, &entry, pid);
	}
	return (Datum) 0;
}
