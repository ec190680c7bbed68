/*
 * enqueue_trigger.c - qwen_enqueue_trigger and qwen_enqueue_embed_trigger('target column', 'template' [, 'name=value'
 * …]); several target columns, '{a,b}', get a row of function=extract.
 *
 * A row that wants an answer (trigger_values.c) is queued by its primary key, in the same transaction: rolled back, it
 * was never queued. A statement that gives a target column a value takes back what is queued of it. A worker of the
 * table's owner reads the row as it is then, asks the model, and writes the target columns that wait (write.c). That
 * write does not queue the row again (chain.c).
 *
 * What is queued of a row, and its dead letters, follow the row's key, also where the trigger is called for that alone
 * (hearing.c).
 *
 * What a trigger needs is worked out for its first row in a statement and kept with the call's FmgrInfo.
 */
#include "../core/core.h"

#include "../core/arguments.h"
#include "../core/shared_memory.h"
#include "../queue/queue.h"
#include "access/htup_details.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "hearing.h"
#include "moving.h"
#include "trigger_call.h"
#include "trigger_values.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/* A trigger of one table, for the time of a statement. */
typedef struct Enqueue
{
	MemoryContext memory;
	Oid relation;
	Hearing hearing;
	JobEntries *entries; /* NULL until the trigger fires for a row */
	JobEntries *by_key;  /* the same for following keys alone; NULL: not needed yet, or there is none */
	bool knows_key;      /* by_key was looked for */
	int n_sources, sources[MaxHeapAttributeNumber];
	CommandId command; /* of a deferred trigger's row, as rows of several statements come together */
	Leaving *leaving;  /* rows that go to another partition; NULL: none yet */
	int64 first_moved; /* the first entry that this statement has put under a new key; 0: none */
} Enqueue;

/* What this statement, or the one before it of the same trigger, has kept. */
static Enqueue *
enqueue_of(FunctionCallInfo fcinfo, const TriggerData *data)
{
	Enqueue *enqueue = fcinfo->flinfo->fn_extra;
	MemoryContext memory, old;

	if (enqueue && enqueue->relation == RelationGetRelid(data->tg_relation))
		return enqueue;
	fcinfo->flinfo->fn_extra = NULL;
	if (enqueue)
		MemoryContextDelete(enqueue->memory);
	memory = AllocSetContextCreate(fcinfo->flinfo->fn_mcxt, "qwen_pg enqueue", ALLOCSET_SMALL_SIZES);
	enqueue = MemoryContextAllocZero(memory, sizeof *enqueue);
	enqueue->memory = memory;
	enqueue->relation = RelationGetRelid(data->tg_relation);
	old = MemoryContextSwitchTo(memory);
	hearing_begin(&enqueue->hearing, data);
	MemoryContextSwitchTo(old);
	fcinfo->flinfo->fn_extra = enqueue;
	return enqueue;
}

/* Check everything about the trigger, and keep what its rows need. */
static void
prepare(Enqueue *enqueue, const TriggerData *data, const char *function)
{
	TupleDesc columns = RelationGetDescr(data->tg_relation);
	MemoryContext old = MemoryContextSwitchTo(enqueue->memory);
	JobEntries *entries = job_entries_of(data, function);
	ListCell *cell;

	enqueue->n_sources = 0;
	foreach (cell, entries->prompt_columns)
		enqueue->n_sources =
			add_sources(columns, SPI_fnumber(columns, lfirst(cell)), enqueue->sources, enqueue->n_sources);
	enqueue->entries = entries;
	MemoryContextSwitchTo(old);
}

/* Has an UPDATE given the row another key? */
static bool
has_new_key(const JobEntries *entries, const TriggerData *data, TupleDesc columns)
{
	if (TRIGGER_FIRED_BY_UPDATE(data->tg_event))
		for (int i = 0; i < entries->n_keys; i++)
			if (!row_value_is_same(columns, entries->keys[i], data->tg_trigtuple, data->tg_newtuple))
				return true;
	return false;
}

/*
 * Of before which entry something under a key is that the row's statement has found there: neither what it has moved
 * there itself, nor what statements inside of it have queued since.
 */
static int64
entries_found(const Enqueue *enqueue, const JobEntries *entries, const TriggerData *data, char *const *key)
{
	int64 newer = job_entries_newer(entries, data, key);

	return enqueue->first_moved > 0 ? Min(enqueue->first_moved, newer) : newer;
}

/*
 * What is queued under the key that a row comes to, of before this statement: of a row that had it and is gone. Where
 * keys may be twice until the commit, it may be a row's that is about to leave.
 */
static void
take_back_stale(const Enqueue *enqueue, const JobEntries *entries, const TriggerData *data, char *const *key)
{
	if (entries->is_immediate)
		job_entries_take_back(entries, data, key, entries_found(enqueue, entries, data, key), true, NULL);
}

/* A row of another statement than the one before it, of a deferred trigger: what that one has moved may move on. */
static void
note_command(Enqueue *enqueue, const TriggerData *data)
{
	HeapTupleHeader row = data->tg_newtuple->t_data;
	CommandId command;

	if (!data->tg_trigger->tgdeferrable || !TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(row)))
		return;
	command = HeapTupleHeaderGetCmin(row);
	if (command != enqueue->command)
		enqueue->first_moved = 0;
	enqueue->command = command;
}

/*
 * What is queued under the row's old key goes to the new one. Only what was there before this statement: what it has
 * put under the old key itself is another row's, which has moved there. is_work: what waits is taken back instead, and
 * added to *waited, since the statement has work for the row that is queued with it.
 */
static void
follow_key(Enqueue *enqueue, const JobEntries *entries, const TriggerData *data, char *const *key, bool is_work,
		   Bitmapset **waited)
{
	char **old_key = job_entries_key(entries, data->tg_trigtuple, RelationGetDescr(data->tg_relation));
	int64 before, first;

	note_command(enqueue, data);
	before = entries_found(enqueue, entries, data, old_key);
	take_back_stale(enqueue, entries, data, key);
	if (is_work)
		job_entries_take_back(entries, data, old_key, before, false, waited);
	first = job_entries_follow(entries, data, old_key, key, before);
	if (enqueue->first_moved == 0)
		enqueue->first_moved = first;
}

/* How rows are queued by their keys; NULL: they are not. What may be wrong with the trigger is not looked at. */
static const JobEntries *
entries_by_key(Enqueue *enqueue, const TriggerData *data)
{
	if (enqueue->entries)
		return enqueue->entries;
	if (!enqueue->knows_key)
	{
		MemoryContext old = MemoryContextSwitchTo(enqueue->memory);

		enqueue->by_key = job_entries_by_key(data->tg_relation);
		enqueue->knows_key = true;
		MemoryContextSwitchTo(old);
	}
	return enqueue->by_key;
}

/* A row that an UPDATE has moved here from another partition: what is queued of it there comes with it. is_work: as in
 * follow_key. */
static void
come_from(const Enqueue *enqueue, const JobEntries *entries, const TriggerData *data, char *const *key,
		  const MovedFrom *from, bool is_work, Bitmapset **waited)
{
	take_back_stale(enqueue, entries, data, key);
	job_entries_come(entries, data, key, from->entries, from->trigger, from->key);
	if (is_work)
		job_entries_take_back(entries, data, key, PG_INT64_MAX, false, waited);
}

/* The trigger has been called for the row's key alone. What may be wrong with it is not this statement's affair. */
static void
follow_unheard(Enqueue *enqueue, const TriggerData *data)
{
	TupleDesc columns = RelationGetDescr(data->tg_relation);
	bool is_update = TRIGGER_FIRED_BY_UPDATE(data->tg_event);
	const JobEntries *entries = entries_by_key(enqueue, data);
	const MovedFrom *from = is_update ? NULL : moving_take(data);
	char **key;

	if (!entries || (is_update ? !has_new_key(entries, data, columns) : !from))
		return;
	key = job_entries_key(entries, is_update ? data->tg_newtuple : data->tg_trigtuple, columns);
	SPI_connect();
	if (from)
		come_from(enqueue, entries, data, key, from, false, NULL);
	else
		follow_key(enqueue, entries, data, key, false, NULL);
	SPI_finish();
}

/* A row is gone. The trigger is called for that where the row may have gone to another partition. */
static void
see_off(Enqueue *enqueue, const TriggerData *data)
{
	const JobEntries *entries = moving_leaves(data) ? entries_by_key(enqueue, data) : NULL;

	if (entries)
		moving_note(&enqueue->leaving, enqueue->memory, data, entries);
}

/* What the trigger has to do for the target columns of its row, by their numbers. */
typedef struct Work
{
	Bitmapset *wanted, *kept, *given; /* kept: given, and not by an answer that comes in */
} Work;

static Work
work_of(const Enqueue *enqueue, const TriggerData *data)
{
	const JobEntries *entries = enqueue->entries;
	Work work = {NULL, NULL, NULL};

	for (int i = 0; i < entries->n_targets; i++)
		switch (trigger_work(data, enqueue->sources, enqueue->n_sources, entries->targets[i]))
		{
			case ROW_WANTS_ANSWER:
				work.wanted = bms_add_member(work.wanted, entries->targets[i]);
				break;
			case ROW_KEEPS_VALUE:
				work.given = bms_add_member(work.given, entries->targets[i]);
				break;
			default:
				break;
		}
	work.kept = job_entries_are_answered() ? NULL : work.given;
	return work;
}

/* Take back what is queued, of before an entry, of the columns that were given a value. */
static void
take_back_kept(const JobEntries *entries, const TriggerData *data, char *const *key, int64 before, const Work *work)
{
	if (bms_num_members(work->kept) == entries->n_targets)
		job_entries_take_back(entries, data, key, before, true, NULL);
	else if (!bms_is_empty(work->kept))
		job_entries_take_back_columns(entries, data, key, before, work->kept);
}

static Datum
enqueue_row(FunctionCallInfo fcinfo, TriggerData *data, const char *function)
{
	Enqueue *enqueue;
	const JobEntries *entries;
	TupleDesc columns;
	char **key;
	const MovedFrom *from;
	Bitmapset *waited = NULL;
	bool moved, came, is_work;
	Work work;
	int64 id, newer = PG_INT64_MAX;

	enqueue = enqueue_of(fcinfo, data);
	if (TRIGGER_FIRED_BY_DELETE(data->tg_event))
	{
		see_off(enqueue, data);
		return PointerGetDatum(NULL);
	}
	if (!hearing_fires(&enqueue->hearing, data))
	{
		follow_unheard(enqueue, data);
		return PointerGetDatum(NULL);
	}
	if (!enqueue->entries)
		prepare(enqueue, data, function);
	entries = enqueue->entries;
	columns = RelationGetDescr(data->tg_relation);
	work = work_of(enqueue, data);
	is_work = !bms_is_empty(work.wanted) || !bms_is_empty(work.given);
	moved = has_new_key(entries, data, columns);
	from = TRIGGER_FIRED_BY_INSERT(data->tg_event) ? moving_take(data) : NULL;
	came = moved || from ||
		   (TRIGGER_FIRED_BY_INSERT(data->tg_event) && bms_is_empty(work.wanted) && bms_is_empty(work.kept));
	if (!came && bms_is_empty(work.wanted) && bms_is_empty(work.kept))
		return PointerGetDatum(NULL);
	key = job_entries_key(entries, TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_newtuple : data->tg_trigtuple,
						  columns);
	SPI_connect();
	/* what follows the key has new numbers, too */
	if (!bms_is_empty(work.kept))
		newer = job_entries_newer(entries, data, key);
	/* a row that waits goes on waiting under its new key; one that is filled in has nothing to wait for */
	if (moved)
		follow_key(enqueue, entries, data, key, is_work, &waited);
	else if (from)
		come_from(enqueue, entries, data, key, from, is_work, &waited);
	else if (came)
		take_back_stale(enqueue, entries, data, key);
	work.wanted = bms_add_members(work.wanted, bms_difference(waited, work.given));
	take_back_kept(entries, data, key, newer, &work);
	if (!bms_is_empty(work.wanted) && job_entries_add(entries, data, key, work.wanted, &id) && moved &&
		enqueue->first_moved == 0)
		enqueue->first_moved = id;
	SPI_finish();
	return PointerGetDatum(NULL);
}

static Datum
enqueue_chat(FunctionCallInfo fcinfo, TriggerData *data)
{
	return enqueue_row(fcinfo, data, "qwen_enqueue_trigger");
}

static Datum
enqueue_embed(FunctionCallInfo fcinfo, TriggerData *data)
{
	return enqueue_row(fcinfo, data, "qwen_enqueue_embed_trigger");
}

QWEN_FUNCTION(qwen_enqueue_trigger, 0, 0)
{
	return trigger_call(fcinfo, "qwen_enqueue_trigger", enqueue_chat);
}

QWEN_FUNCTION(qwen_enqueue_embed_trigger, 0, 0)
{
	return trigger_call(fcinfo, "qwen_enqueue_embed_trigger", enqueue_embed);
}
