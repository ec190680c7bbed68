/*
 * grants.c - qwen_grant and qwen_revoke: GRANT and REVOKE of what belongs to a privilege, on the functions of the
 * extension, its schema, and the types that say who monitors and who administers (privileges.c).
 *
 * They run as whoever calls them, so what that role may not grant is PostgreSQL's own error.
 */
#include "core.h"

#include "compat.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* Which functions belong to a privilege; who administers sees everything too. */
static const char *const functions_of =
	"SELECT p.oid::pg_catalog.regprocedure::pg_catalog.text FROM pg_catalog.pg_proc p "
	"JOIN pg_catalog.pg_depend d ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass "
	"AND d.objid OPERATOR(pg_catalog.=) p.oid AND d.deptype OPERATOR(pg_catalog.=) 'e' "
	"JOIN pg_catalog.pg_extension e ON d.refclassid OPERATOR(pg_catalog.=) "
	"'pg_catalog.pg_extension'::pg_catalog.regclass "
	"AND d.refobjid OPERATOR(pg_catalog.=) e.oid AND e.extname OPERATOR(pg_catalog.=) 'qwen_pg' "
	"WHERE %s(p.proname) OPERATOR(pg_catalog.=) $1 OR "
	"($1 OPERATOR(pg_catalog.=) 'admin' AND %s(p.proname) OPERATOR(pg_catalog.=) 'monitor') ORDER BY p.oid";

/* What is granted or taken, from whom. */
typedef struct GrantChange
{
	bool is_grant;
	const char *schema; /* of the extension, quoted */
	const char *role;   /* quoted, or PUBLIC */
} GrantChange;

/* GRANT by anybody else would do a part of it and warn of the rest. */
static void
require_owner(FunctionCallInfo fcinfo)
{
	Oid called = fcinfo->flinfo->fn_oid;

	if (!function_ownercheck(called, GetUserId()))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("%s() is for the owner of the extension and superusers", get_func_name(called))));
}

/* The privilege that is named by argument 1, for who may grant it. */
static const char *
privilege_argument(FunctionCallInfo fcinfo)
{
	static const char *const names[] = {"use", "monitor", "admin"};
	char *given;

	require_owner(fcinfo);
	given = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));
	for (size_t i = 0; given && i < lengthof(names); i++)
		if (strcmp(given, names[i]) == 0)
			return names[i];
	ereport(
		ERROR,
		(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		 errmsg("privilege must be use, monitor or admin, not %s", given ? quote_literal_cstr(given) : "null"),
		 errhint("use: all functions that ask the models; monitor: see what concerns all roles; admin: load models, "
				 "set limits, and see.")));
}

/* One GRANT or REVOKE; object: FUNCTION f(int), for example. */
static void
change(const GrantChange *it, const char *privilege, const char *object)
{
	char *statement = psprintf("%s %s ON %s %s %s", it->is_grant ? "GRANT" : "REVOKE", privilege, object,
							   it->is_grant ? "TO" : "FROM", it->role);

	if (SPI_execute(statement, false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "%s failed", statement);
}

/* EXECUTE on all functions of a privilege. */
static void
change_functions(const GrantChange *it, const char *privilege)
{
	char *of = psprintf("%s.qwen_privilege_of", it->schema);
	Oid type = TEXTOID;
	Datum value = CStringGetTextDatum(privilege);
	SPITupleTable *found;
	uint64 n;

	if (SPI_execute_with_args(psprintf(functions_of, of, of), 1, &type, &value, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "the functions of a privilege could not be found");
	found = SPI_tuptable;
	n = SPI_processed;
	for (uint64 i = 0; i < n; i++)
		change(it, "EXECUTE", psprintf("ROUTINE %s", SPI_getvalue(found->vals[i], found->tupdesc, 1)));
}

/* Does the role have any of the three still, granted to itself? Then it needs the schema. */
static bool
has_functions(const char *schema, Oid role)
{
	Oid type = OIDOID;
	Datum value = ObjectIdGetDatum(role);

	if (SPI_execute_with_args(
			psprintf("SELECT FROM pg_catalog.pg_proc p, LATERAL pg_catalog.aclexplode(p.proacl) a "
					 "WHERE p.pronamespace OPERATOR(pg_catalog.=) %s::pg_catalog.regnamespace AND p.proname "
					 "OPERATOR(pg_catalog.~~) 'qwen\\_%%' AND a.grantee OPERATOR(pg_catalog.=) $1 AND "
					 "%s.qwen_privilege_of(p.proname) OPERATOR(pg_catalog.<>) 'everybody' LIMIT 1",
					 quote_literal_cstr(schema), schema),
			1, &type, &value, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "the privileges of a role could not be found");
	return SPI_processed > 0;
}

/* What a role has already, itself or as everybody, is not granted again. PUBLIC: only what it has itself. */
static bool
may_use_schema(FunctionCallInfo fcinfo, Oid role)
{
	Oid schema = get_func_namespace(fcinfo->flinfo->fn_oid);

	return schema_aclcheck(schema, OidIsValid(role) ? role : ACL_ID_PUBLIC, ACL_USAGE) == ACLCHECK_OK;
}

/* role: InvalidOid means PUBLIC. The schema public is for more than this extension: USAGE on it is left. */
static void
change_privilege(FunctionCallInfo fcinfo, const char *privilege, Oid role, bool is_grant)
{

	GrantChange it = {is_grant, quote_identifier(get_namespace_name(get_func_namespace(fcinfo->flinfo->fn_oid))),
					  "PUBLIC"};

	if (OidIsValid(role))
		it.role = quote_identifier(GetUserNameFromId(role, false));
	else if (is_grant && strcmp(privilege, "admin") == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("\"admin\" cannot be granted to PUBLIC"),
						errdetail("Everybody could unload models and lift limits."),
						errhint("Grant it to a role, of which others can be members.")));
	SPI_connect();
	if (is_grant && !may_use_schema(fcinfo, role))
		change(&it, "USAGE", psprintf("SCHEMA %s", it.schema));
	change_functions(&it, privilege);
	if (strcmp(privilege, "use") != 0)
		change(&it, "USAGE", psprintf("TYPE %s.qwen_may_monitor", it.schema));
	if (strcmp(privilege, "admin") == 0)
		change(&it, "USAGE", psprintf("TYPE %s.qwen_may_admin", it.schema));
	if (!is_grant && strcmp(it.schema, "public") != 0 && !has_functions(it.schema, role))
		change(&it, "USAGE", psprintf("SCHEMA %s", it.schema));
	SPI_finish();
}

static void
raise_no_role(void)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("role must not be null"),
					errhint("The name of a role, or 'public' for all.")));
}

/* A role by its oid: what 'name'::regrole gives. The type's own "-" is no role. */
static void
change_of_role(FunctionCallInfo fcinfo, bool is_grant)
{
	const char *privilege = privilege_argument(fcinfo);

	if (PG_ARGISNULL(0) || !OidIsValid(PG_GETARG_OID(0)))
		raise_no_role();
	change_privilege(fcinfo, privilege, PG_GETARG_OID(0), is_grant);
}

/* A role by its name as one would write it in GRANT, PUBLIC among them. */
static void
change_of_name(FunctionCallInfo fcinfo, bool is_grant)
{
	const char *privilege = privilege_argument(fcinfo);
	char *name;
	Oid role;

	if (PG_ARGISNULL(0))
		raise_no_role();
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	if (pg_strcasecmp(name, "public") == 0)
		role = InvalidOid;
	else if (!OidIsValid(role = DatumGetObjectId(DirectFunctionCall1(regrolein, CStringGetDatum(name)))))
		raise_no_role();
	change_privilege(fcinfo, privilege, role, is_grant);
}

QWEN_FUNCTION(qwen_grant, 2, 2)
{
	change_of_role(fcinfo, true);
	PG_RETURN_VOID();
}

QWEN_FUNCTION(qwen_revoke, 2, 2)
{
	change_of_role(fcinfo, false);
	PG_RETURN_VOID();
}

QWEN_FUNCTION(qwen_grant_name, 2, 2)
{
	change_of_name(fcinfo, true);
	PG_RETURN_VOID();
}

QWEN_FUNCTION(qwen_revoke_name, 2, 2)
{
	change_of_name(fcinfo, false);
	PG_RETURN_VOID();
}
