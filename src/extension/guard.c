/*
 * guard.c - who may write the extension's own tables: its own functions, and superusers by hand.
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
#include "qwen_pg.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xlog.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "guard.h"
#include "miscadmin.h"
#include "replication/logicalworker.h"
#include "utils/rel.h"

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
	bool may_write;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(data->tg_event) || data->tg_trigger->tgnargs != 1)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("qwen_guard_rows must be called as a trigger of qwen_pg's tables")));
	relation = data->tg_relation;
	may_write = GetUserId() == relation->rd_rel->relowner || superuser();
	if (is_replicated() && !(may_write && InLocalUserIdChange()) && strcmp(data->tg_trigger->tgargs[0], "local") == 0 &&
		TRIGGER_FIRED_FOR_ROW(data->tg_event))
		return PointerGetDatum(NULL);
	if (!may_write)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("the rows of %s are written by functions of qwen_pg alone", RelationGetRelationName(relation)),
				 errdetail("Privileges on the table do not change that.")));
	return PointerGetDatum(TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_newtuple : data->tg_trigtuple);
}

/* The first trigger of a table that is none of ours, which includes those of foreign keys; NULL: there is none. */
static const Trigger *
foreign_trigger(const TriggerDesc *triggers)
{
	static const char *const ours[] = {"qwen_guard", "qwen_guard_truncate", "qwen_limits_changed"};

	for (int i = 0; triggers && i < triggers->numtriggers; i++)
	{
		bool found = false;

		for (int k = 0; k < (int) lengthof(ours); k++)
			found |= strcmp(triggers->triggers[i].tgname, ours[k]) == 0;
		if (!found)
			return &triggers->triggers[i];
	}
	return NULL;
}

void
guard_take(Oid table)
{
	Relation relation;
	const Trigger *foreign;

	/* nobody writes, and no lock of that kind can be had */
	if (RecoveryInProgress())
		return;
	relation = relation_open(table, RowExclusiveLock);
	foreign = foreign_trigger(relation->trigdesc);
	if (foreign)
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("table \"%s\" has the trigger \"%s\", which is not one of qwen_pg's",
							   RelationGetRelationName(relation), foreign->tgname),
						errdetail("It would run with the rights of the table's owner."),
						errhint("Drop the trigger, and revoke all rights on the table.")));
	relation_close(relation, NoLock);
}

bool
guard_is_on(Oid table)
{
	Relation relation = try_relation_open(table, AccessShareLock);
	bool is_on = false;

	if (!relation)
		return false;
	for (int i = 0; relation->trigdesc && i < relation->trigdesc->numtriggers; i++)
	{
		const Trigger *trigger = &relation->trigdesc->triggers[i];

		is_on |= strcmp(trigger->tgname, "qwen_guard") == 0 && trigger->tgenabled == TRIGGER_FIRES_ALWAYS &&
				 TRIGGER_FOR_INSERT(trigger->tgtype) && TRIGGER_FOR_UPDATE(trigger->tgtype);
	}
	is_on &= foreign_trigger(relation->trigdesc) == NULL;
	relation_close(relation, AccessShareLock);
	return is_on;
}
