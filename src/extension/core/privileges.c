/*
 * privileges.c - who sees what: a role sees what concerns itself and the roles that it is a member of; superusers,
 * members of pg_read_all_stats and those to whom qwen_grant gave 'monitor' see everybody's.
 */
#include "privileges.h"

#include "catalog/pg_authid.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/*
 * What qwen_grant gave beside EXECUTE is USAGE on an empty type of that name in the extension's schema: GRANT … ON ALL
 * FUNCTIONS IN SCHEMA does not reach it, so whoever may call everything neither sees others nor administers. Scripts
 * before 0.2.0 have no such types; there EXECUTE says it all.
 */
typedef enum Granted
{
	GRANTED_NO,
	GRANTED_YES,
	GRANTED_NOT_KNOWN
} Granted;

/* called: the function that asks, in whose schema the types are. */
static Granted
is_granted(const char *type_name, Oid called)
{
	Oid type = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum(type_name),
							   ObjectIdGetDatum(get_func_namespace(called)));

	if (!OidIsValid(type))
		return GRANTED_NOT_KNOWN;
	return type_aclcheck(type, GetUserId(), ACL_USAGE) == ACLCHECK_OK ? GRANTED_YES : GRANTED_NO;
}

/* Where there are no types: has the current user been granted qwen_monitor()? */
static bool
may_call_monitor(Oid called)
{
	oidvector *no_arguments = buildoidvector(NULL, 0);
	Oid function = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum("qwen_monitor"),
								   PointerGetDatum(no_arguments), ObjectIdGetDatum(get_func_namespace(called)));

	return OidIsValid(function) && function_aclcheck(function, GetUserId(), ACL_EXECUTE) == ACLCHECK_OK;
}

/* Who administers sees, too. */
static bool
is_granted_monitor(Oid called)
{
	Granted granted = is_granted("qwen_may_monitor", called);

	if (granted == GRANTED_NOT_KNOWN)
		return may_call_monitor(called);
	return granted == GRANTED_YES || is_granted("qwen_may_admin", called) == GRANTED_YES;
}

void
require_administrator(FunctionCallInfo fcinfo)
{
	Oid called = fcinfo->flinfo->fn_oid;

	if (is_granted("qwen_may_admin", called) == GRANTED_NO)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("%s() is for those who administer qwen_pg", get_func_name(called)),
				 errdetail("EXECUTE on it is not enough: role \"%s\" has not been granted \"admin\".",
						   GetUserNameFromId(GetUserId(), false)),
				 errhint("A superuser grants it: SELECT %s('%s', 'admin');",
						 quote_qualified_identifier(get_namespace_name(get_func_namespace(called)), "qwen_grant"),
						 GetUserNameFromId(GetUserId(), false))));
}

bool
may_see_others(Oid called)
{
	return has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS) || is_granted_monitor(called);
}

/* Rows of a role that was dropped are nobody's: tables keep them, in each database, until they are changed next. */
bool
may_see_role(Oid role, Oid called)
{
	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role)))
		return false;
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
