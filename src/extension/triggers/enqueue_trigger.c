/*
 * enqueue_trigger.c - qwen_enqueue_trigger and qwen_enqueue_embed_trigger('target column', 'template' [, 'name=value'
 * …]); several target columns, '{a,b}', get a row of function=extract.
 *
 * A row that wants an answer (trigger_values.c) is queued by its primary key, in the same transaction: rolled back, it
 * was never queued. A statement that gives a target column a value takes back what is queued of it. A worker of the
 * table's owner reads the row as it is then, asks the model, and writes the target columns that wait (write.c). That
 * write does not queue the row again (chain.c).
 *
 * What a trigger needs is worked out for its first row in a statement and kept with the call's FmgrInfo.
 */
#include "../core/core.h"

#include "../core/arguments.h"
#include "../core/shared_memory.h"
#include "../queue/queue.h"
#include "access/htup_details.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "trigger_call.h"
#include "trigger_values.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/* A trigger of one table, for the time of a statement. */
typedef struct Enqueue
{
	MemoryContext memory;
	JobEntries *entries;
	int n_sources, sources[MaxHeapAttributeNumber];
	int64 first_moved; /* the first row that this statement queued again under a new key; 0: none */
} Enqueue;

/* Check everything about the trigger, and keep what its rows need. */
static Enqueue *
prepare(FunctionCallInfo fcinfo, const TriggerData *data, const char *function)
{
	TupleDesc columns = RelationGetDescr(data->tg_relation);
	MemoryContext memory = AllocSetContextCreate(fcinfo->flinfo->fn_mcxt, "qwen_pg enqueue", ALLOCSET_SMALL_SIZES);
	Enqueue *enqueue = MemoryContextAllocZero(memory, sizeof *enqueue);
	MemoryContext old = MemoryContextSwitchTo(memory);
	ListCell *cell;

	enqueue->memory = memory;
	enqueue->entries = job_entries_of(data, function);
	foreach (cell, enqueue->entries->prompt_columns)
		enqueue->n_sources =
			add_sources(columns, SPI_fnumber(columns, lfirst(cell)), enqueue->sources, enqueue->n_sources);
	MemoryContextSwitchTo(old);
	return enqueue;
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
 * What is queued under the row's old key, and for which target columns. Only what was there before this statement: what
 * it queued itself under that key is another row's, which has moved there.
 */
static void
take_back_old_key(const Enqueue *enqueue, const TriggerData *data, TupleDesc columns, Bitmapset **waited)
{
	job_entries_take_back(enqueue->entries, data, job_entries_key(enqueue->entries, data->tg_trigtuple, columns),
						  enqueue->first_moved > 0 ? enqueue->first_moved : PG_INT64_MAX, false, waited);
}

/*
 * What is queued under the key that a row comes to, of before this statement: of a row that had it and is gone. Where
 * keys may be twice until the commit, it may be a row's that is about to leave.
 */
static void
take_back_stale(const Enqueue *enqueue, const TriggerData *data, char *const *key)
{
	if (enqueue->entries->is_immediate)
		job_entries_take_back(enqueue->entries, data, key,
							  enqueue->first_moved > 0 ? enqueue->first_moved : PG_INT64_MAX, true, NULL);
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

/* Take back what is queued of the columns that were given a value. */
static void
take_back_kept(const JobEntries *entries, const TriggerData *data, char *const *key, const Work *work)
{
	if (bms_num_members(work->kept) == entries->n_targets)
		job_entries_take_back(entries, data, key, PG_INT64_MAX, true, NULL);
	else if (!bms_is_empty(work->kept))
		job_entries_take_back_columns(entries, data, key, work->kept);
}

static Datum
enqueue_row(FunctionCallInfo fcinfo, TriggerData *data, const char *function)
{
	Enqueue *enqueue;
	const JobEntries *entries;
	TupleDesc columns;
	char **key;
	bool moved, came;
	Work work;
	int64 id;

	enqueue = fcinfo->flinfo->fn_extra;
	if (!enqueue || enqueue->entries->relation != RelationGetRelid(data->tg_relation))
	{
		fcinfo->flinfo->fn_extra = NULL;
		if (enqueue)
			MemoryContextDelete(enqueue->memory);
		enqueue = prepare(fcinfo, data, function);
		fcinfo->flinfo->fn_extra = enqueue;
	}
	entries = enqueue->entries;
	columns = RelationGetDescr(data->tg_relation);
	work = work_of(enqueue, data);
	moved = has_new_key(entries, data, columns);
	came = moved || (TRIGGER_FIRED_BY_INSERT(data->tg_event) && bms_is_empty(work.wanted) && bms_is_empty(work.kept));
	if (!came && bms_is_empty(work.wanted) && bms_is_empty(work.kept))
		return PointerGetDatum(NULL);
	key = job_entries_key(entries, TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_newtuple : data->tg_trigtuple,
						  columns);
	SPI_connect();
	/* a row that waits goes on waiting under its new key; one that is filled in has nothing to wait for */
	if (moved)
	{
		Bitmapset *waited = NULL;

		take_back_old_key(enqueue, data, columns, &waited);
		work.wanted = bms_add_members(work.wanted, bms_difference(waited, work.given));
	}
	if (came)
		take_back_stale(enqueue, data, key);
	take_back_kept(entries, data, key, &work);
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
