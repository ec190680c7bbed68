/*
 * role_limits.c - what is allowed to a role, and the functions that change it.
 *
 * Limits stand in the table qwen_role_limit of each database. A role's own row holds; where it has none, the tightest
 * of each kind among the rows of the roles that it is a member of; else the settings qwen.default_*. What a backend has
 * found out it keeps until limit_tables.c hears of a change.
 */
#include "role_limits.h"

#include "../core/own_transaction.h"
#include "../core/privileges.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "limit_settings.h"
#include "limit_tables.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#define N_LIMIT_COLUMNS 7
#define PRIORITY_COLUMN 7
#define MAX_PRIORITY 1000

const char *const limit_names[N_LIMITS] = {"requests_per_minute", "tokens_per_minute", "tokens_per_day",
										   "max_concurrent", "max_tokens"};

/* What is known of a role. */
typedef struct KnownRole
{
	Oid role;   /* the key */
	bool found; /* a row of its own or of one of its roles; else the settings hold */
	RoleLimits limits;
} KnownRole;

static HTAB *known_roles;

static void
forget_roles(void)
{
	if (known_roles)
		hash_destroy(known_roles);
	known_roles = NULL;
}

static const RoleLimits no_limits = {{NO_LIMIT, NO_LIMIT, NO_LIMIT, NO_LIMIT, NO_LIMIT}, 0, {InvalidOid}};

/* A number of a row, or what stands for NULL. */
static int64
number_of(HeapTuple row, TupleDesc descriptor, int column, int64 otherwise)
{
	bool is_null;
	Datum value = heap_getattr(row, column, descriptor, &is_null);

	if (is_null)
		return otherwise;
	return TupleDescAttr(descriptor, column - 1)->atttypid == INT8OID ? DatumGetInt64(value) : DatumGetInt32(value);
}

/* A role's own row. false: there is none. */
static bool
read_row(Relation table, Oid index, Oid role, RoleLimits *limits)
{
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple row;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(role));
	scan = systable_beginscan(table, index, true, NULL, 1, &key);
	row = systable_getnext(scan);
	if (row)
	{
		*limits = no_limits;
		for (int kind = 0; kind < N_LIMITS; kind++)
		{
			limits->allowed[kind] = number_of(row, RelationGetDescr(table), kind + 2, NO_LIMIT);
			limits->sources[kind] = role;
		}
		limits->priority = number_of(row, RelationGetDescr(table), PRIORITY_COLUMN, 0);
	}
	systable_endscan(scan);
	return row != NULL;
}

/* Make limits as tight as others are too, kind by kind. */
static void
tighten(RoleLimits *limits, const RoleLimits *others)
{
	for (int kind = 0; kind < N_LIMITS; kind++)
		if (limits->allowed[kind] == NO_LIMIT ||
			(others->allowed[kind] != NO_LIMIT && others->allowed[kind] < limits->allowed[kind]))
		{
			limits->allowed[kind] = others->allowed[kind];
			limits->sources[kind] = others->sources[kind];
		}
	limits->priority = Min(limits->priority, others->priority);
}

/* Read what the table says of a role and those above it. */
static void
read_limits(Oid table_oid, Oid index, Oid role, KnownRole *known)
{
	Relation table = try_relation_open(table_oid, AccessShareLock);

	if (!table)
		return;
	known->found = read_row(table, index, role, &known->limits);
	if (!known->found)
	{
		List *roles = limit_roles_of(role);
		RoleLimits other;
		ListCell *cell;

		foreach (cell, roles)
		{
			if (lfirst_oid(cell) == role || !read_row(table, index, lfirst_oid(cell), &other))
				continue;
			if (known->found)
				tighten(&known->limits, &other);
			else
				known->limits = other;
			known->found = true;
		}
		list_free(roles);
	}
	relation_close(table, AccessShareLock);
}

/* The settings as limits. */
static void
default_limits(RoleLimits *limits)
{
	for (int kind = 0; kind < N_LIMITS; kind++)
	{
		limits->allowed[kind] = qwen_default_limits[kind];
		limits->sources[kind] = InvalidOid;
	}
	limits->priority = qwen_default_priority;
}

/* Find out about known->role, and remember, in a transaction. */
static void
learn_role(void *argument)
{
	KnownRole *known = argument, *kept;
	Oid role = known->role, table, index;

	limit_when_changed(LIMIT_TABLE_LIMITS, forget_roles);
	if (!limit_find_table(LIMIT_TABLE_LIMITS, &table, &index))
	{
		limit_forget();
		return;
	}
	/* opening the table may bring news that make us forget where it is */
	read_limits(table, index, role, known);
	/* what came in while it was read may have made it old: then it holds for this call alone */
	if (!limit_is_current(LIMIT_TABLE_LIMITS, table))
		return;
	if (!known_roles)
	{
		HASHCTL control = {.keysize = sizeof(Oid), .entrysize = sizeof(KnownRole), .hcxt = TopMemoryContext};

		known_roles = hash_create("qwen_pg limits", 16, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	kept = hash_search(known_roles, &role, HASH_ENTER, NULL);
	*kept = *known;
}

void
limits_of_role(Oid role, RoleLimits *limits)
{
	KnownRole learned, *known = known_roles ? hash_search(known_roles, &role, HASH_FIND, NULL) : NULL;

	if (!known)
	{
		memset(&learned, 0, sizeof learned);
		learned.role = role;
		own_transaction(learn_role, &learned);
		known = &learned;
	}
	if (known->found)
		*limits = known->limits;
	else
		default_limits(limits);
}

/* Whom the calls of a job's worker are made for; InvalidOid: for the session itself. */
static Oid acting_for[MAX_LIMITED_ROLES_OF_CALL];

void
limits_act_for(const Oid roles[MAX_LIMITED_ROLES_OF_CALL])
{
	for (int i = 0; i < MAX_LIMITED_ROLES_OF_CALL; i++)
		acting_for[i] = roles ? roles[i] : InvalidOid;
}

void
limits_roles(Oid roles[MAX_LIMITED_ROLES_OF_CALL])
{
	roles[0] = OidIsValid(acting_for[0]) ? acting_for[0] : GetSessionUserId();
	roles[1] = OidIsValid(acting_for[0]) ? acting_for[1] : GetOuterUserId();
}

/* A role whose name is looked for, and where it goes. */
typedef struct NameSearch
{
	Oid role;
	MemoryContext context;
	char *name; /* NULL: there is none */
} NameSearch;

static void
search_name(void *argument)
{
	NameSearch *search = argument;
	char *name = GetUserNameFromId(search->role, true);

	search->name = name ? MemoryContextStrdup(search->context, name) : NULL;
}

char *
role_name(Oid role)
{
	NameSearch search = {role, CurrentMemoryContext, NULL};

	own_transaction(search_name, &search);
	return search.name ? search.name : psprintf("%u", role);
}

void
limits_subject(LimitSubject *subject)
{
	subject->n = 1;
	limits_roles(subject->roles);
	if (OidIsValid(subject->roles[1]) && subject->roles[1] != subject->roles[0])
		subject->n = 2;
	for (int i = 0; i < subject->n; i++)
		limits_of_role(subject->roles[i], &subject->limits[i]);
}

void
limits_refresh(void)
{
	AcceptInvalidationMessages();
}

/* ---- SQL functions --------------------------------------------------------------------------------------------------
 */

/* Arguments 1 … 5 are limits, or NULL for none. */
static void
check_limits(FunctionCallInfo fcinfo)
{
	for (int kind = 0; kind < N_LIMITS; kind++)
	{
		int64 value;

		if (PG_ARGISNULL(kind + 1))
			continue;
		value = kind == LIMIT_TOKENS_PER_DAY ? PG_GETARG_INT64(kind + 1) : PG_GETARG_INT32(kind + 1);
		if (value < 0)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("%s must be at least 0, not %lld", limit_names[kind], (long long) value)));
	}
	if (!PG_ARGISNULL(6) && (PG_GETARG_INT32(6) < -MAX_PRIORITY || PG_GETARG_INT32(6) > MAX_PRIORITY))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("priority must be between %d and %d, not %d",
																  -MAX_PRIORITY, MAX_PRIORITY, PG_GETARG_INT32(6))));
}

QWEN_WRITING_FUNCTION(qwen_set_limit, 1, 7)
{
	Oid types[N_LIMIT_COLUMNS] = {OIDOID, INT4OID, INT4OID, INT8OID, INT4OID, INT4OID, INT4OID};
	Datum values[N_LIMIT_COLUMNS] = {ObjectIdGetDatum(limit_role_argument(fcinfo))};
	char nulls[N_LIMIT_COLUMNS + 1] = "       ";

	require_administrator(fcinfo);
	check_limits(fcinfo);
	for (int i = 1; i < N_LIMIT_COLUMNS; i++)
	{
		nulls[i] = PG_ARGISNULL(i) ? 'n' : ' ';
		values[i] = PG_ARGISNULL(i) ? (Datum) 0 : PG_GETARG_DATUM(i);
	}
	SPI_connect();
	limit_delete_orphans(LIMIT_TABLE_LIMITS);
	limit_change_table(
		LIMIT_TABLE_LIMITS,
		"INSERT INTO %s VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (role) DO UPDATE SET "
		"requests_per_minute = excluded.requests_per_minute, tokens_per_minute = excluded.tokens_per_minute, "
		"tokens_per_day = excluded.tokens_per_day, max_concurrent = excluded.max_concurrent, "
		"max_tokens = excluded.max_tokens, priority = excluded.priority",
		N_LIMIT_COLUMNS, types, values, nulls, SPI_OK_INSERT);
	SPI_finish();
	PG_RETURN_VOID();
}

QWEN_WRITING_FUNCTION(qwen_clear_limit, 1, 1)
{
	Oid types[1] = {OIDOID};
	Datum values[1] = {ObjectIdGetDatum(limit_role_argument(fcinfo))};

	require_administrator(fcinfo);
	SPI_connect();
	limit_delete_orphans(LIMIT_TABLE_LIMITS);
	limit_change_table(LIMIT_TABLE_LIMITS, "DELETE FROM %s WHERE role OPERATOR(pg_catalog.=) $1", 1, types, values,
					   NULL, SPI_OK_DELETE);
	SPI_finish();
	PG_RETURN_VOID();
}
