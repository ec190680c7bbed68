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
#include "parser/scansup.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/varlena.h"

/* Which functions belong to a privilege. */
static const char *const functions_of =
	"SELECT p.oid::pg_catalog.regprocedure::pg_catalog.text FROM pg_catalog.pg_proc p "
	"JOIN pg_catalog.pg_depend d ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass "
	"AND d.objid OPERATOR(pg_catalog.=) p.oid AND d.deptype OPERATOR(pg_catalog.=) 'e' "
	"JOIN pg_catalog.pg_extension e ON d.refclassid OPERATOR(pg_catalog.=) "
	"'pg_catalog.pg_extension'::pg_catalog.regclass "
	"AND d.refobjid OPERATOR(pg_catalog.=) e.oid AND e.extname OPERATOR(pg_catalog.=) 'qwen_pg' "
	"WHERE %s(p.proname) OPERATOR(pg_catalog.=) $1 ORDER BY p.oid";

/* What lies in a schema and is neither the extension nor its member, of whatever kind: row types, arrays and indexes,
 * which come with what they are of, do not depend on the schema themselves. */
static const char *const others_in_schema =
	"SELECT FROM pg_catalog.pg_depend s, pg_catalog.pg_extension e "
	"WHERE s.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass "
	"AND s.refobjid OPERATOR(pg_catalog.=) $1 AND s.deptype OPERATOR(pg_catalog.=) 'n' "
	"AND e.extname OPERATOR(pg_catalog.=) 'qwen_pg' AND NOT "
	"(s.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass "
	"AND s.objid OPERATOR(pg_catalog.=) e.oid) "
	"AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid OPERATOR(pg_catalog.=) s.classid "
	"AND d.objid OPERATOR(pg_catalog.=) s.objid AND d.deptype OPERATOR(pg_catalog.=) 'e' "
	"AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass "
	"AND d.refobjid OPERATOR(pg_catalog.=) e.oid) LIMIT 1";

/* What is granted or taken, from whom. */
typedef struct GrantChange
{
	bool is_grant;
	Oid schema_oid;
	const char *schema; /* of the extension, quoted */
	Oid role_oid;       /* InvalidOid: PUBLIC */
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

	if (SPI_execute_with_args(psprintf(functions_of, of), 1, &type, &value, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "the functions of a privilege could not be found");
	found = SPI_tuptable;
	n = SPI_processed;
	for (uint64 i = 0; i < n; i++)
		change(it, "EXECUTE", psprintf("ROUTINE %s", SPI_getvalue(found->vals[i], found->tupdesc, 1)));
}

/* Does a query about one oid, $1, find a row? */
static bool
finds(const char *query, Oid about)
{
	Oid type = OIDOID;
	Datum value = ObjectIdGetDatum(about);

	if (SPI_execute_with_args(query, 1, &type, &value, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "the privileges of a role could not be found");
	return SPI_processed > 0;
}

/* Does the role have any of the three, granted to itself? Then it needs the schema. */
static bool
has_functions(const GrantChange *it)
{
	return finds(psprintf("SELECT FROM pg_catalog.pg_proc p, LATERAL pg_catalog.aclexplode(p.proacl) a "
						  "WHERE p.pronamespace OPERATOR(pg_catalog.=) %s::pg_catalog.regnamespace AND p.proname "
						  "OPERATOR(pg_catalog.^@) 'qwen_' AND a.grantee OPERATOR(pg_catalog.=) $1 AND "
						  "%s.qwen_privilege_of(p.proname) OPERATOR(pg_catalog.<>) 'everybody' LIMIT 1",
						  quote_literal_cstr(it->schema), it->schema),
				 it->role_oid);
}

/* Does it have the type that stands for "monitor" or "admin", granted to itself? */
static bool
has_type(const GrantChange *it, const char *privilege)
{
	return finds(psprintf("SELECT FROM pg_catalog.pg_type t, LATERAL pg_catalog.aclexplode(t.typacl) a "
						  "WHERE t.typnamespace OPERATOR(pg_catalog.=) %s::pg_catalog.regnamespace AND t.typname "
						  "OPERATOR(pg_catalog.=) 'qwen_may_%s' AND a.grantee OPERATOR(pg_catalog.=) $1",
						  quote_literal_cstr(it->schema), privilege),
				 it->role_oid);
}

/* Does it have the extension's schema, granted to itself? Its owner has it without. */
static bool
has_schema(const GrantChange *it)
{
	return finds(psprintf("SELECT FROM pg_catalog.pg_namespace n, LATERAL pg_catalog.aclexplode(n.nspacl) a "
						  "WHERE n.oid OPERATOR(pg_catalog.=) %s::pg_catalog.regnamespace AND a.grantee "
						  "OPERATOR(pg_catalog.=) $1 AND a.privilege_type OPERATOR(pg_catalog.=) 'USAGE' "
						  "AND n.nspowner OPERATOR(pg_catalog.<>) $1",
						  quote_literal_cstr(it->schema)),
				 it->role_oid);
}

/* What a role has itself is not granted again; what it has as a member of another, or as everybody, can be taken from
 * those. Everybody's schema public stays that. */
static void
grant_schema(const GrantChange *it)
{
	if (has_schema(it) ||
		(strcmp(it->schema, "public") == 0 && schema_aclcheck(it->schema_oid, ACL_ID_PUBLIC, ACL_USAGE) == ACLCHECK_OK))
		return;
	change(it, "USAGE", psprintf("SCHEMA %s", it->schema));
}

/* Nothing says whether USAGE came from us: it stays where the schema is for more than this extension, as public is. */
static void
revoke_schema(const GrantChange *it)
{
	if (strcmp(it->schema, "public") == 0 || has_functions(it) || !has_schema(it))
		return;
	if (!finds(others_in_schema, it->schema_oid))
		change(it, "USAGE", psprintf("SCHEMA %s", it->schema));
	else
		ereport(NOTICE, (errmsg("%s keeps USAGE on schema %s", it->role, it->schema),
						 errdetail("It may be for what lies in the schema and is not of the extension."),
						 errhint("REVOKE USAGE ON SCHEMA %s FROM %s;", it->schema, it->role)));
}

/*
 * The functions of a privilege, and the type that stands for it. Who administers sees too, without the type of
 * "monitor": so that of both, granted one after the other, each can be taken alone.
 */
static void
change_set(const GrantChange *it, const char *privilege)
{
	bool monitors = strcmp(privilege, "monitor") == 0, administers = strcmp(privilege, "admin") == 0;

	if (monitors || administers)
		change(it, "USAGE", psprintf("TYPE %s.qwen_may_%s", it->schema, privilege));
	if (!monitors)
		change_functions(it, privilege);
	if ((monitors || administers) && (it->is_grant || !has_type(it, monitors ? "admin" : "monitor")))
		change_functions(it, "monitor");
}

/* role: InvalidOid means PUBLIC. What takes nothing takes no schema. */
static void
change_privilege(FunctionCallInfo fcinfo, const char *privilege, Oid role, bool is_grant)
{
	GrantChange it = {.is_grant = is_grant,
					  .schema_oid = get_func_namespace(fcinfo->flinfo->fn_oid),
					  .role_oid = role,
					  .role = "PUBLIC"};
	bool had_any;

	it.schema = quote_identifier(get_namespace_name(it.schema_oid));
	if (OidIsValid(role))
		it.role = quote_identifier(GetUserNameFromId(role, false));
	else if (is_grant && strcmp(privilege, "admin") == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("\"admin\" cannot be granted to PUBLIC"),
						errdetail("Everybody could unload models and lift limits."),
						errhint("Grant it to a role, of which others can be members.")));
	SPI_connect();
	had_any = has_functions(&it);
	if (is_grant)
		grant_schema(&it);
	change_set(&it, privilege);
	if (!is_grant && had_any)
		revoke_schema(&it);
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

/* How long the identifier is that a text is, between its quotes, of which two stand for one. */
static size_t
identifier_length(const char *text)
{
	size_t length = 0, quotes = 0;

	for (const char *at = text; *at != '\0'; at++)
		if (*at == '"')
			quotes++;
		else if (quotes % 2 == 1 || !scanner_isspace(*at))
			length++;
	return length + (quotes > 2 ? (quotes - 2) / 2 : 0);
}

/* The role that a text names as GRANT would read it, folded unless it is quoted; InvalidOid: none has that name. What
 * is longer than names are is cut by GRANT, and would be another role's name here. */
static Oid
role_as_written(const char *text)
{
	List *names;

	if (identifier_length(text) >= NAMEDATALEN || !SplitIdentifierString(pstrdup(text), '.', &names) ||
		list_length(names) != 1)
		return InvalidOid;
	return get_role_oid(linitial(names), true);
}

/*
 * The role of a text; InvalidOid: everybody. A name that comes of a catalog, a view or a variable is exact, and must
 * not reach another role: so the role that has it goes before what GRANT would make of it, PUBLIC among that. A number
 * is no name.
 */
static Oid
role_of_text(const char *text)
{
	Oid role = strlen(text) < NAMEDATALEN ? get_role_oid(text, true) : InvalidOid;

	if (OidIsValid(role) || pg_strcasecmp(text, "public") == 0)
		return role;
	if (strcmp(text, "-") == 0)
		raise_no_role();
	role = role_as_written(text);
	if (!OidIsValid(role))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("role \"%s\" does not exist", text),
						text[0] != '\0' && strspn(text, "0123456789") == strlen(text)
							? errhint("A role is named, not numbered: %s::regrole is the one of that number.", text)
							: errhint("Give the name as it stands in pg_roles, or 'public' for all.")));
	return role;
}

/* A role by its name, PUBLIC among them. */
static void
change_of_name(FunctionCallInfo fcinfo, bool is_grant)
{
	const char *privilege = privilege_argument(fcinfo);

	if (PG_ARGISNULL(0))
		raise_no_role();
	change_privilege(fcinfo, privilege, role_of_text(text_to_cstring(PG_GETARG_TEXT_PP(0))), is_grant);
}

QWEN_WRITING_FUNCTION(qwen_grant, 2, 2)
{
	change_of_role(fcinfo, true);
	PG_RETURN_VOID();
}

QWEN_WRITING_FUNCTION(qwen_revoke, 2, 2)
{
	change_of_role(fcinfo, false);
	PG_RETURN_VOID();
}

QWEN_WRITING_FUNCTION(qwen_grant_name, 2, 2)
{
	change_of_name(fcinfo, true);
	PG_RETURN_VOID();
}

QWEN_WRITING_FUNCTION(qwen_revoke_name, 2, 2)
{
	change_of_name(fcinfo, false);
	PG_RETURN_VOID();
}
