/*
 * letters.c - which tables have dead letters of their triggers: with a deleted row goes its letter, soon.
 */
#include "letters.h"

#include "../core/shared_memory.h"
#include "../core/statement.h"
#include "miscadmin.h"
#include "nodes/plannodes.h"
#include "parser/parsetree.h"
#include "port/atomics.h"
#include "requests.h"
#include "shared_part.h"

#define N_TABLES 256

/* As far as there is room. */
typedef struct Letters
{
	struct
	{
		Oid database, role, relation;
	} tables[N_TABLES];
	pg_atomic_uint32 n; /* read without the lock */
} Letters;

static Letters *letters;

static void
start(void *memory, bool is_new)
{
	letters = memory;
	if (is_new)
		pg_atomic_init_u32(&letters->n, 0);
}

const SharedPart job_letters_part = {sizeof(Letters), start};

/* The owner of a table of this database that is among those with dead letters. The lock is held. */
static Oid
lettered_role(Oid relation)
{
	uint32 n = pg_atomic_read_u32(&letters->n);

	for (uint32 i = 0; i < n; i++)
		if (letters->tables[i].relation == relation && letters->tables[i].database == MyDatabaseId)
			return letters->tables[i].role;
	return InvalidOid;
}

void
job_letters_add(Oid role, Oid relation)
{
	uint32 n;

	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	n = pg_atomic_read_u32(&letters->n);
	if (n < N_TABLES && !OidIsValid(lettered_role(relation)))
	{
		letters->tables[n].database = MyDatabaseId;
		letters->tables[n].role = role;
		letters->tables[n].relation = relation;
		pg_atomic_write_u32(&letters->n, n + 1);
	}
	LWLockRelease(qwen_shared->lock);
}

void
job_letters_clear(Oid role)
{
	uint32 n, kept = 0;

	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	n = pg_atomic_read_u32(&letters->n);
	for (uint32 i = 0; i < n; i++)
		if (letters->tables[i].database != MyDatabaseId || letters->tables[i].role != role)
			letters->tables[kept++] = letters->tables[i];
	pg_atomic_write_u32(&letters->n, kept);
	LWLockRelease(qwen_shared->lock);
}

/* May a statement take rows away? */
static bool
may_delete(const PlannedStmt *plan)
{
#if PG_VERSION_NUM >= 150000
	if (plan->commandType == CMD_MERGE)
		return true;
#endif
	return plan->commandType == CMD_DELETE || plan->hasModifyingCTE;
}

static void
note_target(const PlannedStmt *plan, int target)
{
	Oid role;

	LWLockAcquire(qwen_shared->lock, LW_SHARED);
	role = lettered_role(rt_fetch(target, plan->rtable)->relid);
	LWLockRelease(qwen_shared->lock);
	if (OidIsValid(role))
		job_request_sweep(role);
}

/* A statement ends that may have deleted rows with dead letters. */
static void
note_deleted_rows(const PlannedStmt *plan)
{
#if PG_VERSION_NUM >= 190000
	int target = -1;
#else
	ListCell *cell;
#endif

	if (!letters || pg_atomic_read_u32(&letters->n) == 0 || !plan || !may_delete(plan))
		return;
#if PG_VERSION_NUM >= 190000
	while ((target = bms_next_member(plan->resultRelationRelids, target)) >= 0)
		note_target(plan, target);
#else
	foreach (cell, plan->resultRelations)
		note_target(plan, lfirst_int(cell));
#endif
}

void
job_letters_init(void)
{
	statement_when_ending(note_deleted_rows);
}
