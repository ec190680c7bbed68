/*
 * limit_views.c - what is seen of limits: the rows of the view qwen_usage.
 */
#include "../core/core.h"

#include "../core/arguments.h"
#include "../core/privileges.h"
#include "../core/results.h"
#include "../core/shared_memory.h"
#include "funcapi.h"
#include "limits.h"
#include "miscadmin.h"
#include "role_limits.h"
#include "usage.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#define N_USAGE_COLUMNS 7

/* What one role has used of each kind that has a window, and what is left. */
static void
put_usage(ReturnSetInfo *set, const RoleUsage *usage)
{
	RoleLimits limits;

	limits_of_role(usage->role, &limits);
	for (int kind = 0; kind <= LIMIT_MAX_CONCURRENT; kind++)
	{
		bool has_reserve = kind == LIMIT_TOKENS_PER_MINUTE || kind == LIMIT_TOKENS_PER_DAY;
		int64 used = usage_used(usage, kind), reserved = has_reserve ? usage->reserved_tokens : 0;
		int64 allowed = limits.allowed[kind];
		Datum values[N_USAGE_COLUMNS] = {
			ObjectIdGetDatum(usage->role),
			CStringGetTextDatum(limit_names[kind]),
			Int64GetDatum(used),
			Int64GetDatum(reserved),
			Int64GetDatum(allowed),
			Int64GetDatum(Max(allowed - used - reserved, 0)),
			Int64GetDatum((int64) usage->n_rejected[kind]),
		};
		bool nulls[N_USAGE_COLUMNS] = {false, false, false, false, allowed == NO_LIMIT, allowed == NO_LIMIT, false};

		tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
	}
}

QWEN_FUNCTION(qwen_usage_rows, 0, 0)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
	bool own_shown = false;
	RoleUsage *copies;
	int n;

	require_preloaded();
	init_materialized_set(fcinfo);
	usage_sweep();
	copies = usage_copy_all(&n);
	for (int i = 0; i < n; i++)
		if (may_see_role(copies[i].role, fcinfo->flinfo->fn_oid))
		{
			put_usage(set, &copies[i]);
			own_shown = own_shown || copies[i].role == GetOuterUserId();
		}
	/* who asks sees its own row also before it has used anything */
	if (!own_shown)
	{
		usage_copy(GetOuterUserId(), &copies[0]);
		put_usage(set, &copies[0]);
	}
	return (Datum) 0;
}
