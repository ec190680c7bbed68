/*
 * new_trigger.c - CREATE TRIGGER with one of our functions: that it would refuse every write of the table, or make
 * every row of it a dead letter, is said there and then.
 *
 * It is a WARNING: a dump is restored whatever models there are, and arguments that are wrong are an error at the first
 * row anyway. What only the engine knows (that the model cannot think, what a form of answers means) it is asked, where
 * it serves the model: a request that is accepted is not let go, so nothing is computed and nothing counted.
 */
#include "new_trigger.h"

#include "../client/client.h"
#include "../core/own_transaction.h"
#include "../core/shared_memory.h"
#include "../core/statement.h"
#include "../core/texts.h"
#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "nodes/parsenodes.h"
#include "store.h"
#include "trigger_use.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/* A trigger of a table by its name, if its function is one of ours: a copy, and how it is used. Else NULL. */
static Trigger *
find_ours(Relation relation, const char *name, const TriggerUse **use)
{
	TriggerDesc *triggers = relation->trigdesc ? CopyTriggerDesc(relation->trigdesc) : NULL;
	JobStore store;

	for (int i = 0; triggers && i < triggers->numtriggers; i++)
	{
		Trigger *trigger = &triggers->triggers[i];

		if (strcmp(trigger->tgname, name) != 0 || !job_store_find(&store))
			continue;
		*use = job_store_use_of(&store, trigger->tgfoid);
		return *use ? trigger : NULL;
	}
	return NULL;
}

/* Let the engine look at a request as the trigger's rows will make them, but for their text. */
static void
ask_engine(const JobSpec *spec)
{
	Request request = spec->request;
	EngineCall *call;
	EngineReply reply;

	engine_settle_model(&request);
	if (request.model.length == 0 || !engine_serves(&request))
		return;
	call = engine_submit(&request, CurrentMemoryContext);
	engine_next(call, &reply, true);
	engine_end(call);
}

/* Does a trigger fire only when its function is for? */
static bool
fits(const TriggerUse *use, int16 type)
{
	return (use->is_before ? TRIGGER_FOR_BEFORE(type) : TRIGGER_FOR_AFTER(type)) && TRIGGER_FOR_ROW(type) &&
		   !TRIGGER_FOR_DELETE(type) && !TRIGGER_FOR_TRUNCATE(type);
}

/* Raise what is wrong with a trigger that a CreateTrigStmt has made. */
static void
check_trigger(void *argument)
{
	const CreateTrigStmt *statement = argument;
	Oid table = RangeVarGetRelid(statement->relation, NoLock, true);
	Relation relation = OidIsValid(table) ? try_relation_open(table, AccessShareLock) : NULL;
	const TriggerUse *use;
	Trigger *trigger;

	if (!relation)
		return;
	trigger = find_ours(relation, statement->trigname, &use);
	if (trigger)
	{
		trigger_check_moment(use, fits(use, trigger->tgtype));
		trigger_check_arguments(use, trigger->tgnargs);
	}
	if (trigger && use->queues)
		ask_engine(job_spec_of_trigger(relation, trigger, NULL, 0, CurrentMemoryContext));
	relation_close(relation, NoLock);
}

/* Does an error say that rows will not be filled in, and not only that nobody can be asked now? */
static bool
concerns_rows(int sqlstate)
{
	return is_row_error(sqlstate) ||
		   ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_TO_CATEGORY(ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION) ||
		   sqlstate == ERRCODE_CONFIGURATION_LIMIT_EXCEEDED;
}

static void
warn_of_trigger(const UtilityStatement *utility)
{
	const CreateTrigStmt *statement = (const CreateTrigStmt *) utility->node;
	const char *function = IsA(statement, CreateTrigStmt) ? strVal(llast(statement->funcname)) : "";
	ErrorData *error;

	/* whose it is is looked up where it may be one of ours */
	if (!trigger_use_of(function) || !qwen_shared)
		return;
	error = error_of_look(check_trigger, (void *) statement);
	if (!error || !concerns_rows(error->sqlerrcode))
		return;
	ereport(WARNING,
			(errcode(error->sqlerrcode), errmsg("trigger \"%s\" cannot fill in rows as it is", statement->trigname),
			 errdetail("%s%s%s%s", error->message, error->detail ? " (" : "", error->detail ? error->detail : "",
					   error->detail ? ")" : ""),
			 error->hint ? errhint("%s", error->hint) : 0));
}

void
job_new_trigger_init(void)
{
	statement_when_utility_done(warn_of_trigger);
}
