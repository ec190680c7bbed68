/*
 * privileges.c - who sees what: a role sees what concerns itself and the roles that it is a member of; superusers,
 * members of pg_read_all_stats and those to whom qwen_grant gave 'monitor' see everybody's.
 */
#include "../limits/limits.h"

#include "../watch/watch.h"
#include "miscadmin.h"
#include "utils/acl.h"

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
