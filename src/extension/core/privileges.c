/*
 * privileges.c - who sees what: a role sees what concerns itself and the roles that it is a member of; superusers,
 * members of pg_read_all_stats and those to whom qwen_grant gave 'monitor' see everybody's.
 */
#include "privileges.h"

#include "catalog/pg_authid.h"
#include "catalog/pg_proc.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/* Has the current user been granted qwen_monitor()? */
static bool
is_granted_monitor(Oid called)
{
	oidvector *no_arguments = buildoidvector(NULL, 0);
	Oid function = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum("qwen_monitor"),
								   PointerGetDatum(no_arguments), ObjectIdGetDatum(get_func_namespace(called)));

	if (!OidIsValid(function))
		return false;
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(ProcedureRelationId, function, GetUserId(), ACL_EXECUTE) == ACLCHECK_OK;
#else
	return pg_proc_aclcheck(function, GetUserId(), ACL_EXECUTE) == ACLCHECK_OK;
#endif
}

bool
may_see_others(Oid called)
{
#if PG_VERSION_NUM >= 140000
	Oid reader = ROLE_PG_READ_ALL_STATS;
#else
	Oid reader = DEFAULT_ROLE_READ_ALL_STATS;
#endif

	return has_privs_of_role(GetUserId(), reader) || is_granted_monitor(called);
}

bool
may_see_role(Oid role, Oid called)
{
	return role == GetSessionUserId() || role == GetOuterUserId() || is_member_of_role(GetUserId(), role) ||
		   may_see_others(called);
}

QWEN_FUNCTION(qwen_may_see_role, 1, 1)
{
	PG_RETURN_BOOL(!PG_ARGISNULL(0) && may_see_role(PG_GETARG_OID(0), fcinfo->flinfo->fn_oid));
}

/* What it answers matters less than who may ask. */
QWEN_FUNCTION(qwen_monitor, 0, 0)
{
	PG_RETURN_BOOL(may_see_others(fcinfo->flinfo->fn_oid));
}
