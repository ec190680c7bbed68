/*
 * prepared.c - work that transactions queued which were prepared for two-phase commit.
 *
 * What a prepared transaction queued is seen by nobody until COMMIT PREPARED, which may come from any session, after a
 * restart, or from a process that runs no statements (a subscription with two_phase). At PREPARE the roles are kept in
 * shared memory beside the transaction's name, and asked for when a COMMIT PREPARED has ended. What that table cannot
 * know (transactions of before a start, more than it has room for) makes a COMMIT PREPARED send a scout; and as long as
 * a scout sees prepared transactions, there is another one every minute. So no row is forgotten, and the table only
 * makes it quick.
 */
#include "prepared.h"

#include "../../base/clock.h"

#include "../core/shared_memory.h"
#include "../core/statement.h"
#include "access/twophase.h"
#include "access/xact.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "places.h"
#include "shared_part.h"
#include "store.h"
#include "sweep_times.h"
#include "values.h"

#define N_PREPARED 64

typedef struct Prepared
{
	uint64 name; /* a hash of the transaction's name; two alike cost a worker that finds nothing. 0: free */
	Oid database, role;
	bool calls, sweep;
} Prepared;

typedef struct PreparedTable
{
	Prepared entries[N_PREPARED];
	bool may_miss; /* there may be prepared transactions with work that are not among these */
} PreparedTable;

static PreparedTable *prepared;
static char name_of_this[GIDSIZE]; /* of the PREPARE TRANSACTION that runs; empty: none does */

static void
start(void *memory, bool is_new)
{
	prepared = memory;
	if (is_new)
		prepared->may_miss = true;
}

const SharedPart job_prepared_part = {sizeof(PreparedTable), start};

static uint64
hash_name(const char *name)
{
	uint64 hash = hash_bytes_extended((const unsigned char *) name, (int) strlen(name), 0);

	return hash ? hash : 1;
}

/* A free entry, or NULL. The lock is held. */
static Prepared *
take_entry(void)
{
	for (int i = 0; i < N_PREPARED; i++)
		if (prepared->entries[i].name == 0)
			return &prepared->entries[i];
	return NULL;
}

void
job_prepared_keep(const PreparedRequest *requests, int n, bool all, bool sweep)
{
	uint64 name = name_of_this[0] ? hash_name(name_of_this) : 0;
	bool misses;

	if (!prepared)
		return;
	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	misses = all || name == 0;
	for (int i = 0; i < n && name != 0; i++)
	{
		Prepared *entry = take_entry();

		if (entry)
			*entry = (Prepared){name, MyDatabaseId, requests[i].role, requests[i].calls, sweep};
		else
			misses = true;
	}
	prepared->may_miss |= misses;
	LWLockRelease(qwen_shared->lock);
	/* who commits it may run no statement */
	if (misses)
		job_scout_later();
}

/* A prepared transaction has ended: what it queued is there for all, or was never there. */
static void
at_prepared_end(const char *name, bool committed)
{
	uint64 hash = hash_name(name);
	Prepared found[N_PREPARED];
	int n = 0;
	bool may_miss;

	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < N_PREPARED; i++)
		if (prepared->entries[i].name == hash && prepared->entries[i].database == MyDatabaseId)
		{
			found[n++] = prepared->entries[i];
			prepared->entries[i].name = 0;
		}
	may_miss = n == 0 && prepared->may_miss;
	LWLockRelease(qwen_shared->lock);
	if (!committed)
		return;
	for (int i = 0; i < n; i++)
	{
		if (found[i].sweep)
			job_sweep_ask();
		job_place_request(MyDatabaseId, found[i].role, found[i].calls);
	}
	if (may_miss)
	{
		job_want_scout();
		wake_supervisor();
	}
}

/* PREPARE TRANSACTION has only been begun when its statement ends: its name is for the transaction's end. */
static void
hear_of(const TransactionStmt *statement)
{
	name_of_this[0] = '\0';
	if (!prepared)
		return;
	if (statement->kind == TRANS_STMT_PREPARE)
		strlcpy(name_of_this, statement->gid, sizeof name_of_this);
	else if (statement->kind == TRANS_STMT_COMMIT_PREPARED || statement->kind == TRANS_STMT_ROLLBACK_PREPARED)
		at_prepared_end(statement->gid, statement->kind == TRANS_STMT_COMMIT_PREPARED);
}

static void
set_may_miss(bool may_miss)
{
	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	prepared->may_miss = may_miss;
	LWLockRelease(qwen_shared->lock);
}

void
job_prepared_look(void)
{
	/* first the mark, then the look: who prepares between them sets it again */
	set_may_miss(false);
	if (max_prepared_xacts == 0)
		return;
	if (job_execute("SELECT FROM pg_catalog.pg_prepared_xacts LIMIT 1", 0, NULL, NULL, NULL, SPI_OK_SELECT, 0) == 0)
		return;
	set_may_miss(true);
	job_scout_later();
}

void
job_prepared_init(void)
{
	statement_when_transaction(hear_of);
}
