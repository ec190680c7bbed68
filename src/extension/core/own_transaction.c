/*
 * own_transaction.c - a piece of work that needs a transaction, wherever it is asked for.
 *
 * Sessions have one. The workers of jobs have none while the model works, and ask for limits, names and conversions all
 * the same. A transaction that an error has left open, with the current memory context in it, would take the worker's
 * next step, and then the server, with it.
 */
#include "own_transaction.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

void
own_transaction(void (*body)(void *argument), void *argument)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	if (IsTransactionState())
	{
		body(argument);
		return;
	}
	/* who looks at a worker sees when this one began, and not the one before it */
	if (MyBackendType == B_BG_WORKER)
		SetCurrentStatementStartTimestamp();
	PG_TRY();
	{
		StartTransactionCommand();
		body(argument);
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		/* the error itself is kept in ErrorContext, which a rollback leaves alone */
		AbortCurrentTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		PG_RE_THROW();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
}

ErrorData *
error_of_look(void (*body)(void *argument), void *argument)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		body(argument);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	if (error && ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_TO_CATEGORY(ERRCODE_OPERATOR_INTERVENTION))
		ReThrowError(error);
	return error;
}
