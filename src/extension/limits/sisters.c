/*
 * sisters.c - which processes ask for one and the same query.
 *
 * The processes of a parallel query do. So do the connections that Citus opens to a node for the shards of one query:
 * their application_name is "citus_internal gpid=N" (or that of another of its tasks), N being the number of the
 * backend that its client is connected to. Of these only those of one user are sisters. Sisters wait for each other
 * where a limit stands against them, instead of failing by their own company; they get no more than the limit allows,
 * so whoever gives himself such a name wins nothing.
 */
#include "sisters.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/guc.h"

#define OF_CITUS ((uint64) 1 << 63) /* in a group; others are pids */

/* The number of the backend that this connection of Citus works for; 0: it is none. */
static uint64
citus_backend(void)
{
	const char *name = application_name ? application_name : "", *number = strstr(name, " gpid=");

	if (strncmp(name, "citus_", 6) != 0 || !number)
		return 0;
	return strtoull(number + 6, NULL, 10);
}

uint64
sisters_group(void)
{
	uint64 backend = citus_backend();

	if (backend != 0)
		return OF_CITUS | hash_bytes_extended((const unsigned char *) &backend, sizeof backend, GetSessionUserId());
	return (uint64) (MyProc->lockGroupLeader ? MyProc->lockGroupLeader->pid : MyProcPid);
}

bool
sisters_of_another_server(void)
{
	return citus_backend() != 0 || (application_name && strcmp(application_name, "postgres_fdw") == 0);
}
