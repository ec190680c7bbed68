/*
 * limit_tables.c - the tables in which limits and lists of models stand, and the news that they have changed.
 *
 * What a backend has found out it keeps, until PostgreSQL's own invalidation messages say that a table (its trigger
 * sends one with every change), a role or a membership has changed; so changes hold from their commit on, on standbys
 * too, and nothing is read again for a call.
 */
#include "limit_tables.h"

#include "../core/table_guard.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#if PG_VERSION_NUM < 140000
#include "catalog/indexing.h"
#endif
#include "catalog/namespace.h"
#include "catalog/pg_auth_members.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_extension.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

static const char *const table_names[N_LIMIT_TABLES] = {"qwen_role_limit", "qwen_role_models"};

static Oid tables[N_LIMIT_TABLES], indexes[N_LIMIT_TABLES]; /* InvalidOid: to be looked for */
static void (*forgets[N_LIMIT_TABLES])(void);
static bool watching;

void
limit_forget(void)
{
	memset(tables, 0, sizeof tables);
	for (int i = 0; i < N_LIMIT_TABLES; i++)
		if (forgets[i])
			forgets[i]();
}

static void
catalog_changed(Datum argument, int cache, uint32 hash)
{
	limit_forget();
}

static void
table_changed(Datum argument, Oid relation)
{
	if (relation == InvalidOid)
		limit_forget();
	else
		for (int i = 0; i < N_LIMIT_TABLES; i++)
			if (relation == tables[i])
			{
				limit_forget();
				break;
			}
}

void
limit_when_changed(LimitTable which, void (*forget)(void))
{
	forgets[which] = forget;
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

/* Nobody but the owner has rights on these tables. */
static Oid
table_owner(Oid table)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table));
	Oid owner;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("table %u is gone", table)));
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

void
limit_change_table(LimitTable which, const char *format, int n, Oid *types, Datum *values, const char *nulls,
				   int expected)
{
	StringInfoData statement;
	Oid table, index, user;
	int result, security;

	if (!limit_find_table(which, &table, &index))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the extension qwen_pg is not in this database")));
	guard_take(table);
	initStringInfo(&statement);
	appendStringInfo(&statement, format,
					 quote_qualified_identifier(get_namespace_name(get_rel_namespace(table)), table_names[which]));
	/* an error's abort makes the user who called the current one again */
	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(table_owner(table), security | SECURITY_LOCAL_USERID_CHANGE);
	result = SPI_execute_with_args(statement.data, n, types, values, nulls, false, 0);
	SetUserIdAndSecContext(user, security);
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
