/*
 * trigger_specs.c - the triggers by which rows were queued, looked up once in each fetch.
 */
#include "trigger_specs.h"

#include "access/relation.h"
#include "commands/trigger.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "worker_specs.h"
#include "worker_transaction.h"

/* The trigger of a queued row that is looked for. */
typedef struct LookUp
{
	const QueuedBy *by;
	JobSpec *spec; /* NULL: there is none */
	bool is_gone;  /* the table is */
} LookUp;

/* A table's trigger by its number, or one that was made anew under the name; a copy, as relations may be built again.
 */
static Trigger *
find_in_table(const JobStore *store, Relation relation, const QueuedBy *by)
{
	TriggerDesc *triggers = relation->trigdesc ? CopyTriggerDesc(relation->trigdesc) : NULL;
	Trigger *named = NULL;

	for (int i = 0; triggers && i < triggers->numtriggers; i++)
	{
		Trigger *trigger = &triggers->triggers[i];

		if (!job_store_queues(store, trigger->tgfoid))
			continue;
		if (trigger->tgoid == by->number)
			return trigger;
		if (strcmp(trigger->tgname, by->name) == 0)
			named = trigger;
	}
	return named;
}

/* Find a trigger of a table and make its spec; none where the trigger is gone, is_gone where the table is. */
static void
look_up_trigger_body(JobWorker *worker, const JobStore *store, void *argument)
{
	LookUp *look = argument;
	const QueuedBy *by = look->by;
	Relation relation;
	Trigger *trigger;

	look->spec = NULL;
	/* one that is locked is not waited for, as other tables' rows would wait with it */
	if (!ConditionalLockRelationOid(by->relation, AccessShareLock))
		ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE),
						errmsg("another session has table \"%s\" locked", get_rel_name(by->relation))));
	relation = try_relation_open(by->relation, NoLock);
	look->is_gone = !relation;
	if (!relation)
		return;
	trigger = find_in_table(store, relation, by);
	if (trigger)
		look->spec = job_spec_of_trigger(relation, trigger, by->n_key_numbers > 0 ? by->key_numbers : NULL,
										 by->n_key_numbers, worker->memory);
	relation_close(relation, NoLock);
}

/* Would two specs of triggers do the same? */
static bool
is_same_spec(const JobSpec *a, const JobSpec *b)
{
	if (!a->trigger || a->relation != b->relation || a->trigger_number != b->trigger_number ||
		strcmp(a->trigger_arguments, b->trigger_arguments) != 0 || a->n_keys != b->n_keys)
		return false;
	for (int i = 0; i < a->n_keys; i++)
		if (a->key_numbers[i] != b->key_numbers[i])
			return false;
	return true;
}

/* Was a spec found for such a row in this fetch already? */
static bool
is_spec_of(const JobWorker *worker, const JobSpec *spec, const QueuedBy *by)
{
	if (!spec->trigger || spec->looked_at != worker->n_fetches || spec->relation != by->relation ||
		spec->trigger_number != by->number || spec->n_keys != by->n_key_numbers)
		return false;
	for (int i = 0; i < spec->n_keys; i++)
		if (spec->key_numbers[i] != by->key_numbers[i])
			return false;
	return true;
}

JobSpec *
job_trigger_spec(JobWorker *worker, const JobStore *store, const QueuedBy *by, bool *is_gone, ErrorData **error)
{
	LookUp look = {.by = by};
	ListCell *cell;

	*error = NULL;
	*is_gone = false;
	foreach (cell, worker->specs)
		if (is_spec_of(worker, lfirst(cell), by))
			return lfirst(cell);
	if (!job_subtransaction(worker, store, look_up_trigger_body, &look, error))
		return NULL;
	*is_gone = look.is_gone;
	if (!look.spec)
		return NULL;
	foreach (cell, worker->specs)
	{
		JobSpec *spec = lfirst(cell);

		if (is_same_spec(spec, look.spec))
		{
			MemoryContextDelete(look.spec->memory);
			spec->looked_at = worker->n_fetches;
			return spec;
		}
	}
	look.spec->looked_at = worker->n_fetches;
	job_spec_add(worker, look.spec);
	return look.spec;
}
