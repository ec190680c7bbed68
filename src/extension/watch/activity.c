/*
 * activity.c - qwen_stat_activity: the requests of all sessions that have not ended.
 *
 * A list of entries, as many as the engine takes requests and the server sessions. The session that
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
#include "session_list.h"
#include "storage/shmem.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#if PG_VERSION_NUM >= 140000
#include "utils/backend_status.h"
#endif

#define N_ACTIVITY_COLUMNS 15

/* That a request was let go. */
typedef struct Go
{
	bool is_given;
	bool has_no_room; /* the engine's queue was full: it is not, but will be */
	uint32 meter;     /* in the status page */
	TimestampTz at;
} Go;

/* A request, as its owner tells of it. */
typedef struct Listing
{
	Go go;
	Oid role, database;
	uint64 query_id;
	uint32 prompt_tokens;
	TimestampTz submitted_at;
	char model[ADAPTED_NAME_BYTES];
	char function[FUNCTION_NAME_BYTES];
	char application_name[NAMEDATALEN];
} Listing;

static SessionList *list;
static pg_atomic_uint64 *unlisted; /* requests for which there was no entry */

static uint32
count_entries(void)
{
	uint64 n = (uint64) qwen_max_running + qwen_queue_size + MaxConnections;

	return Min(n, STATUS_PAGE_MAX_METERS);
}

Size
activity_memory_bytes(void)
{
	return MAXALIGN(sizeof *unlisted) + session_list_bytes(count_entries(), sizeof(Listing));
}

void
activity_init_memory(void)
{
	bool found;

	list = session_list_open("qwen_pg activity", count_entries(), sizeof(Listing));
	unlisted = ShmemInitStruct("qwen_pg unlisted requests", sizeof *unlisted, &found);
	if (!found)
		pg_atomic_init_u64(unlisted, 0);
}

uint64
activity_unlisted(void)
{
	return pg_atomic_read_u64(unlisted);
}

int
activity_add(const WatchedRequest *watched)
{
	Listing listing = {.role = watched->role, .database = MyDatabaseId};
	int i = session_list_take(list);

	if (i < 0)
	{
		pg_atomic_fetch_add_u64(unlisted, 1);
		return i;
	}
#if PG_VERSION_NUM >= 140000
	listing.query_id = (uint64) pgstat_get_my_query_id();
#endif
	listing.submitted_at = GetCurrentTimestamp();
	strlcpy(listing.function, watched->function, sizeof listing.function);
	copy_server_text(listing.application_name, application_name ? application_name : "",
					 sizeof listing.application_name);
	session_list_write(list, i, &listing);
	return i;
}

void
activity_set_model(int i, const char *model)
{
	char name[ADAPTED_NAME_BYTES];

	strlcpy(name, model, sizeof name);
	session_list_write_part(list, i, offsetof(Listing, model), name, sizeof name);
}

void
activity_set_prompt_tokens(int i, uint32 prompt_tokens)
{
	session_list_write_part(list, i, offsetof(Listing, prompt_tokens), &prompt_tokens, sizeof prompt_tokens);
}

void
activity_set_go(int i, uint32 meter)
{
	Go go = {.is_given = true, .meter = meter, .at = GetCurrentTimestamp()};

	session_list_write_part(list, i, offsetof(Listing, go), &go, sizeof go);
}

void
activity_set_no_room(int i)
{
	Go go = {.has_no_room = true};

	session_list_write_part(list, i, offsetof(Listing, go), &go, sizeof go);
}

void
activity_remove(int i)
{
	session_list_free(list, i);
}

ActivityTokens
activity_tokens_of(uint32 pid)
{
	ActivityTokens tokens = {0, 0};

	for (uint32 i = 0; i < session_list_size(list); i++)
	{
		Listing entry;
		uint32 owner;

		if (session_list_owner(list, i) != pid || !session_list_read(list, i, &entry, &owner) || owner != pid ||
			!entry.go.is_given)
			continue;
		tokens.prompt += atomic_load(&qwen_page->meters[entry.go.meter].prompt_tokens);
		tokens.completion += atomic_load(&qwen_page->meters[entry.go.meter].completion_tokens);
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
	if (entry->go.is_given)
		return has_begun ? "running" : "waiting";
	if (entry->go.has_no_room)
		return "waiting";
	return entry->prompt_tokens > 0 ? "limited" : "submitted";
}

/* What the engine has done for a request: state, progress, speed (five columns). */
static void
put_progress(const Listing *entry, Datum *values, bool *nulls)
{
	uint32 done = entry->go.is_given ? atomic_load(&qwen_page->meters[entry->go.meter].prompt_tokens) : 0;
	uint32 completion = entry->go.is_given ? atomic_load(&qwen_page->meters[entry->go.meter].completion_tokens) : 0;
	double seconds = entry->go.is_given ? (GetCurrentTimestamp() - entry->go.at) / 1e6 : 0;

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
	nulls[13] = !entry->go.is_given;
	values[13] = TimestampTzGetDatum(entry->go.at);
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
	for (uint32 i = 0; i < session_list_size(list); i++)
	{
		Listing entry;
		uint32 pid;

		if (session_list_read(list, i, &entry, &pid) && (everybody || has_privs_of_role(GetUserId(), entry.role)))
			put_row(set, &entry, pid);
	}
	return (Datum) 0;
}
