/*
 * table_guard.c - who may write the extension's own tables: its own functions, and superusers by hand.
 *
 * What a row of these tables says is believed: a job runs as the role in its column owner. So it is not left to
 * privileges alone, which a role can have without anybody's having thought of these tables (pg_write_all_data, default
 * privileges, a view in between). A trigger that is always on looks at who writes. The extension's functions write as
 * the owner of the tables, so that is who passes. For the same reason a trigger that somebody else has put on a table,
 * with the privilege TRIGGER, would run as the owner: with one, nothing is written.
 *
 * Rows that come from another server by logical replication are that server's jobs: they are left out. A trigger of a
 * user's that queues rows on a subscriber writes as the extension does, and passes.
 */
#include "table_guard.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xlog.h"
#include "arguments.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "replication/logicalworker.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/* Does the statement come from another server's log? */
static bool
is_replicated(void)
{
	return IsLogicalWorker() || SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA;
}

/* qwen_guard_rows('local'): rows of other servers are left out; qwen_guard_rows('shared'): they are taken. */
QWEN_FUNCTION(qwen_guard_rows, 0, 0)
{
	const TriggerData *data = (TriggerData *) fcinfo->context;
	Relation relation;
	bool may_write, is_local;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(data->tg_event) || data->tg_trigger->tgnargs != 1)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("qwen_guard_rows must be called as a trigger of qwen_pg's tables")));
	relation = data->tg_relation;
	is_local = strcmp(data->tg_trigger->tgargs[0], "local") == 0;
	may_write = GetUserId() == relation->rd_rel->relowner || superuser();
	if (is_replicated() && !(may_write && InLocalUserIdChange()) && is_local && TRIGGER_FIRED_FOR_ROW(data->tg_event))
		return PointerGetDatum(NULL);
	if (!may_write)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("the rows of %s are written by functions of qwen_pg alone", RelationGetRelationName(relation)),
				 errdetail("Privileges on the table do not change that.")));
	/* a trigger cannot leave a TRUNCATE out, as it does rows: so none begins that would be replicated */
	if (TRIGGER_FIRED_BY_TRUNCATE(data->tg_event) && !is_replicated() && is_local)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("table \"%s\" cannot be truncated", RelationGetRelationName(relation)),
						errdetail("Logical replication would empty it on other servers too, whose jobs are their own."),
						errhint("DELETE its rows, or use qwen_forget and qwen_forget_table.")));
	return PointerGetDatum(TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_newtuple : data->tg_trigtuple);
}

/* Does a trigger run code of ours? Names say nothing: whoever may make triggers chooses them. Functions in C are made
 * by superusers alone, so one of that symbol is this library's, or a superuser's affair. */
static bool
runs_our_code(const Trigger *trigger)
{
	static const char *const ours[] = {"qwen_guard_rows", "qwen_limits_changed"};
	HeapTuple function = SearchSysCache1(PROCOID, ObjectIdGetDatum(trigger->tgfoid));
	bool found = false, is_null;

	if (!HeapTupleIsValid(function))
		return false;
	if (((Form_pg_proc) GETSTRUCT(function))->prolang == ClanguageId)
	{
		Datum symbol = SysCacheGetAttr(PROCOID, function, Anum_pg_proc_prosrc, &is_null);
		char *name = is_null ? NULL : TextDatumGetCString(symbol);

		for (int i = 0; name && i < (int) lengthof(ours); i++)
			found |= strcmp(name, ours[i]) == 0;
		if (name)
			pfree(name);
	}
	ReleaseSysCache(function);
	return found;
}

/* The first trigger of a table that is none of ours, which includes those of foreign keys; NULL: there is none. */
static const Trigger *
foreign_trigger(const TriggerDesc *triggers)
{
	for (int i = 0; triggers && i < triggers->numtriggers; i++)
		if (!runs_our_code(&triggers->triggers[i]))
			return &triggers->triggers[i];
	return NULL;
}

/* Says whose trigger it is: of a foreign key users know the constraint, not the triggers that make it up. */
static void
refuse_foreign(Relation relation, const Trigger *trigger)
{
	char *constraint = trigger->tgisinternal && OidIsValid(trigger->tgconstraint) && OidIsValid(trigger->tgconstrrelid)
						   ? get_constraint_name(trigger->tgconstraint)
						   : NULL;
	char *child = constraint ? get_rel_name(trigger->tgconstrrelid) : NULL;

	if (child)
		ereport(
			ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("table \"%s\" is part of the foreign key \"%s\" of table \"%s\"", RelationGetRelationName(relation),
					constraint, child),
			 errdetail("It would run with the rights of the table's owner."),
			 errhint("ALTER TABLE %s DROP CONSTRAINT %s, and revoke all rights on the table.",
					 quote_qualified_identifier(get_namespace_name(get_rel_namespace(trigger->tgconstrrelid)), child),
					 quote_identifier(constraint))));
	ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					errmsg("table \"%s\" has the trigger \"%s\", which is not one of qwen_pg's",
						   RelationGetRelationName(relation), trigger->tgname),
					errdetail("It would run with the rights of the table's owner."),
					errhint("Drop the trigger, and revoke all rights on the table.")));
}

void
guard_take(Oid table)
{
	Relation relation;
	TriggerDesc *triggers;
	const Trigger *foreign;

	/* nobody writes, and no lock of that kind can be had */
	if (RecoveryInProgress())
		return;
	relation = relation_open(table, RowExclusiveLock);
	/* a copy: looking at their functions may bring news that build the relation's own anew */
	triggers = CopyTriggerDesc(relation->trigdesc);
	foreign = foreign_trigger(triggers);
	if (foreign)
		refuse_foreign(relation, foreign);
	FreeTriggerDesc(triggers);
	relation_close(relation, NoLock);
}

bool
guard_is_on(Oid table)
{
	Relation relation = try_relation_open(table, AccessShareLock);
	TriggerDesc *triggers;
	bool is_on = false;

	if (!relation)
		return false;
	triggers = CopyTriggerDesc(relation->trigdesc);
	for (int i = 0; triggers && i < triggers->numtriggers; i++)
	{
		const Trigger *trigger = &triggers->triggers[i];

		is_on |= strcmp(trigger->tgname, "qwen_guard") == 0 && runs_our_code(trigger) &&
				 trigger->tgenabled == TRIGGER_FIRES_ALWAYS && TRIGGER_FOR_INSERT(trigger->tgtype) &&
				 TRIGGER_FOR_UPDATE(trigger->tgtype);
	}
	is_on &= foreign_trigger(triggers) == NULL;
	FreeTriggerDesc(triggers);
	relation_close(relation, AccessShareLock);
	return is_on;
}
