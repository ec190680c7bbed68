/*
 * role_limits.c - what is allowed to a role, and the functions that change it.
 *
 * Limits stand in the table qwen_role_limit of each database. A role's own row holds; where it has none, the tightest
 * of each kind among the rows of the roles that it is a member of; else the settings qwen.default_*. What a backend has
 * found out it keeps, until PostgreSQL's own invalidation messages say that the table (its trigger sends one with every
 * change), a role or a membership has changed; so changes hold from their commit on, on standbys too, and nothing is
 * read again for a call.
 */
#include "limits.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#if PG_VERSION_NUM < 140000
#include "catalog/indexing.h"
#endif
#include "../core/table_guard.h"
#include "catalog/namespace.h"
#include "catalog/pg_auth_members.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

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

static const char *const table_names[N_LIMIT_TABLES] = {"qwen_role_limit", "qwen_role_models"};

static HTAB *known_roles;
static Oid tables[N_LIMIT_TABLES], indexes[N_LIMIT_TABLES]; /* InvalidOid: to be looked for */
static bool watching;

/* Forget all that is known. */
static void
forget_roles(void)
{
	if (known_roles)
		hash_destroy(known_roles);
	known_roles = NULL;
	memset(tables, 0, sizeof tables);
	limit_models_forget();
}

static void
catalog_changed(Datum argument, int cache, uint32 hash)
{
	forget_roles();
}

static void
table_changed(Datum argument, Oid relation)
{
	if (relation == InvalidOid)
		forget_roles();
	else
		for (int i = 0; i < N_LIMIT_TABLES; i++)
			if (relation == tables[i])
			{
				forget_roles();
				break;
			}
}

void
limit_watch_changes(void)
{
	if (watching)
		return;
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, catalog_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, catalog_changed, (Datum) 0);
	CacheRegisterRelcacheCallback(table_changed, (Datum) 0);
	watching = true;
}

/* The schema of the extension in this database, or InvalidOid. */
static Oid
extension_schema(void)
{
	Relation extensions = table_open(ExtensionRelationId, AccessShareLock);
	Oid schema = InvalidOid;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple row;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ, CStringGetDatum("qwen_pg"));
	scan = systable_beginscan(extensions, ExtensionNameIndexId, true, NULL, 1, &key);
	row = systable_getnext(scan);
	if (row)
		schema = ((Form_pg_extension) GETSTRUCT(row))->extnamespace;
	systable_endscan(scan);
	table_close(extensions, AccessShareLock);
	return schema;
}

bool
limit_find_table(LimitTable which, Oid *table, Oid *index)
{
	if (!OidIsValid(tables[which]))
	{
		Oid schema = extension_schema();
		char *index_name = psprintf("%s_pkey", table_names[which]);

		if (!OidIsValid(schema))
			return false;
		indexes[which] = get_relname_relid(index_name, schema);
		tables[which] = OidIsValid(indexes[which]) ? get_relname_relid(table_names[which], schema) : InvalidOid;
		pfree(index_name);
	}
	*table = tables[which];
	*index = indexes[which];
	return OidIsValid(*table);
}

bool
limit_is_current(LimitTable which, Oid table)
{
	return tables[which] == table;
}

static const RoleLimits no_limits = {{NO_LIMIT, NO_LIMIT, NO_LIMIT, NO_LIMIT, NO_LIMIT}, 0, InvalidOid};

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
			limits->allowed[kind] = number_of(row, RelationGetDescr(table), kind + 2, NO_LIMIT);
		limits->priority = number_of(row, RelationGetDescr(table), PRIORITY_COLUMN, 0);
		limits->source = role;
	}
	systable_endscan(scan);
	return row != NULL;
}

/* Does a membership count? A right to administer a role alone makes nobody its member. */
static bool
membership_counts(HeapTuple membership)
{
#if PG_VERSION_NUM >= 160000
	Form_pg_auth_members form = (Form_pg_auth_members) GETSTRUCT(membership);

	return form->inherit_option || form->set_option;
#else
	return true;
#endif
}

List *
limit_roles_of(Oid role)
{
	List *roles = list_make1_oid(role);

	for (int i = 0; i < list_length(roles); i++)
	{
		CatCList *memberships = SearchSysCacheList1(AUTHMEMMEMROLE, ObjectIdGetDatum(list_nth_oid(roles, i)));

		for (int m = 0; m < memberships->n_members; m++)
		{
			HeapTuple membership = &memberships->members[m]->tuple;

			if (membership_counts(membership))
				roles = list_append_unique_oid(roles, ((Form_pg_auth_members) GETSTRUCT(membership))->roleid);
		}
		ReleaseSysCacheList(memberships);
	}
	return roles;
}

/* Make limits as tight as others are too, kind by kind. */
static void
tighten(RoleLimits *limits, const RoleLimits *others)
{
	for (int kind = 0; kind < N_LIMITS; kind++)
		if (limits->allowed[kind] == NO_LIMIT ||
			(others->allowed[kind] != NO_LIMIT && others->allowed[kind] < limits->allowed[kind]))
			limits->allowed[kind] = others->allowed[kind];
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
		limits->allowed[kind] = qwen_default_limits[kind];
	limits->priority = qwen_default_priority;
	limits->source = InvalidOid;
}

/* Find out about known->role, and remember, in a transaction. */
static void
learn_role(void *argument)
{
	KnownRole *known = argument, *kept;
	Oid role = known->role, table, index;

	limit_watch_changes();
	if (!limit_find_table(LIMIT_TABLE_LIMITS, &table, &index))
	{
		forget_roles();
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

/* After any change of one of the tables, however it came about: tell all backends, when it is committed. */
QWEN_FUNCTION(qwen_limits_changed, 0, 0)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("qwen_limits_changed must be called as a trigger")));
	CacheInvalidateRelcache(((TriggerData *) fcinfo->context)->tg_relation);
	return PointerGetDatum(NULL);
}

Oid
limit_role_argument(FunctionCallInfo fcinfo)
{
	Oid role;

	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("role must not be null")));
	role = PG_GETARG_OID(0);
	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role)))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("role %u does not exist", role)));
	return role;
}

void
limit_change_table(LimitTable which, const char *format, int n, Oid *types, Datum *values, const char *nulls,
				   int expected)
{
	StringInfoData statement;
	Oid table, index;
	int result;

	if (!limit_find_table(which, &table, &index))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the extension qwen_pg is not in this database")));
	guard_take(table);
	initStringInfo(&statement);
	appendStringInfo(&statement, format,
					 quote_qualified_identifier(get_namespace_name(get_rel_namespace(table)), table_names[which]));
	result = SPI_execute_with_args(statement.data, n, types, values, nulls, false, 0);
	if (result != expected)
		ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR),
						errmsg("the limits could not be changed: %s", SPI_result_code_string(result))));
}

void
limit_delete_orphans(LimitTable which)
{
	limit_change_table(which,
					   "DELETE FROM %s l WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles a WHERE a.oid = l.role)", 0,
					   NULL, NULL, NULL, SPI_OK_DELETE);
}

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

QWEN_FUNCTION(qwen_set_limit, 1, 7)
{
	Oid types[N_LIMIT_COLUMNS] = {OIDOID, INT4OID, INT4OID, INT8OID, INT4OID, INT4OID, INT4OID};
	Datum values[N_LIMIT_COLUMNS] = {ObjectIdGetDatum(limit_role_argument(fcinfo))};
	char nulls[N_LIMIT_COLUMNS + 1] = "       ";

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

QWEN_FUNCTION(qwen_clear_limit, 1, 1)
{
	Oid types[1] = {OIDOID};
	Datum values[1] = {ObjectIdGetDatum(limit_role_argument(fcinfo))};

	SPI_connect();
	limit_delete_orphans(LIMIT_TABLE_LIMITS);
	limit_change_table(LIMIT_TABLE_LIMITS, "DELETE FROM %s WHERE role OPERATOR(pg_catalog.=) $1", 1, types, values,
					   NULL, SPI_OK_DELETE);
	SPI_finish();
	PG_RETURN_VOID();
}
