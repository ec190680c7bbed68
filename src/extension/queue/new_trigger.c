/*
 * new_trigger.c - CREATE TRIGGER with one of our functions, and ALTER TABLE of a table that has such a one: that it
 * would refuse every write of the table, or make every row of it a dead letter, is said there and then.
 *
 * It is a WARNING: a dump is restored whatever models there are, and arguments that are wrong are an error at the first
 * row anyway. What only the engine knows (that the model cannot think, what a form of answers means) it is asked, where
 * it serves the model: a request that is accepted is not let go, so nothing is computed and nothing counted.
 */
#include "new_trigger.h"

#include "../client/client.h"
#include "../core/compat.h"
#include "../core/own_transaction.h"
#include "../core/shared_memory.h"
#include "../core/statement.h"
#include "../core/texts.h"
#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/lock.h"
#include "store.h"
#include "trigger_use.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/* What is looked at: the trigger of that name, or all (NULL) of a table. */
typedef struct Look
{
	const RangeVar *table;
	const char *only;
	bool descends;           /* PostgreSQL alters the table's partitions and children, too */
	char found[NAMEDATALEN]; /* the one that something is wrong with */
} Look;

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

/* Raise what is wrong with one of our triggers. A new one's request is shown to the engine, too. */
static void
check_trigger(Relation relation, Trigger *trigger, const TriggerUse *use, bool is_new)
{
	JobSpec *spec;

	trigger_check_moment(use, fits(use, trigger->tgtype));
	trigger_check_arguments(use, trigger->tgnargs);
	if (!use->queues)
		return;
	job_check_owner(relation->rd_rel->relowner, use->function);
	spec = job_spec_of_trigger(relation, trigger, NULL, 0, CurrentMemoryContext);
	if (is_new)
		ask_engine(spec);
}

/* Raise what is wrong with the first of a table's triggers that something is wrong with. */
static void
check_table(Look *look, const JobStore *store, Oid table)
{
	Relation relation = try_relation_open(table, AccessShareLock);
	TriggerDesc *triggers = relation && relation->trigdesc ? CopyTriggerDesc(relation->trigdesc) : NULL;

	for (int i = 0; triggers && i < triggers->numtriggers; i++)
	{
		Trigger *trigger = &triggers->triggers[i];
		const TriggerUse *use = job_store_use_of(store, trigger->tgfoid);

		if (!use || (look->only ? strcmp(trigger->tgname, look->only) != 0 : trigger->tgenabled == TRIGGER_DISABLED))
			continue;
		strlcpy(look->found, trigger->tgname, sizeof look->found);
		check_trigger(relation, trigger, use, look->only != NULL);
	}
	if (relation)
		relation_close(relation, NoLock);
}

/* Has this transaction altered a table? Then it is locked against all others, and a look at it waits for nobody. */
static bool
is_held(Oid table)
{
	LOCKTAG tag;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, table);
	return lock_is_held(&tag, AccessExclusiveLock);
}

/* The same for the tables that a statement is about. Of the children those that PostgreSQL has altered as well: any
 * other would be waited for while everybody waits for the parent. */
static void
check_triggers(void *argument)
{
	Look *look = argument;
	Oid table = RangeVarGetRelid(look->table, NoLock, true);
	JobStore store;
	ListCell *cell;

	if (!OidIsValid(table) || !job_store_find(&store))
		return;
	if (!look->descends)
		check_table(look, &store, table);
	else
		foreach (cell, find_all_inheritors(table, NoLock, NULL))
			if (is_held(lfirst_oid(cell)))
				check_table(look, &store, lfirst_oid(cell));
}

/* Does an error say that rows will not be filled in, and not only that nobody can be asked now? */
static bool
concerns_rows(int sqlstate)
{
	return is_row_error(sqlstate) ||
		   ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_TO_CATEGORY(ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION) ||
		   sqlstate == ERRCODE_CONFIGURATION_LIMIT_EXCEEDED;
}

/* What ALTER TABLE makes worth a look; false: nothing. Of columns that go lost_column.c tells. */
static bool
look_of_alter(const AlterTableStmt *statement, Look *look)
{
	bool concerns = false;
	ListCell *cell;

	*look = (Look){.table = statement->relation};
	foreach (cell, statement->cmds)
		switch (lfirst_node(AlterTableCmd, cell)->subtype)
		{
			case AT_AlterColumnType:
			case AT_DropConstraint:
				concerns = true;
				look->descends = statement->relation->inh;
				break;
			case AT_ChangeOwner:
				concerns = true;
				break;
			default:
				break;
		}
	return concerns;
}

/* What a statement makes worth a look; false: nothing. */
static bool
look_of(const Node *node, Look *look)
{
	if (IsA(node, CreateTrigStmt))
	{
		const CreateTrigStmt *statement = (const CreateTrigStmt *) node;

		*look = (Look){.table = statement->relation, .only = statement->trigname};
		/* whose it is is looked up where it may be one of ours */
		return trigger_use_of(strVal(llast(statement->funcname))) != NULL;
	}
	return IsA(node, AlterTableStmt) && look_of_alter((const AlterTableStmt *) node, look);
}

static void
warn_of_trigger(const UtilityStatement *utility)
{
	ErrorData *error;
	Look look;

	if (!qwen_shared || !look_of(utility->node, &look))
		return;
	error = error_of_look(check_triggers, &look);
	if (!error || !look.found[0] || !concerns_rows(error->sqlerrcode))
		return;
	ereport(WARNING, (errcode(error->sqlerrcode), errmsg("trigger \"%s\" cannot fill in rows as it is", look.found),
					  errdetail("%s%s%s%s", error->message, error->detail ? " (" : "",
								error->detail ? error->detail : "", error->detail ? ")" : ""),
					  error->hint ? errhint("%s", error->hint) : 0));
}

void
job_new_trigger_init(void)
{
	statement_when_utility_done(warn_of_trigger);
}
