/*
 * rights.c - who may do what with jobs and with rows of queues.
 */
#include "rights.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

void
job_check_privilege(const JobStore *store, const ModelFunction *function)
{
	Oid types[2] = {OIDOID, TEXTOID};
	char *name = psprintf("qwen_%s", function->name);
	Datum values[2] = {ObjectIdGetDatum(store->extension), CStringGetTextDatum(name)};
	bool is_null;

	/* the extension's own function of that name: anybody may have others in the same schema */
	job_execute(
		"SELECT pg_catalog.bool_or(pg_catalog.has_function_privilege(p.oid, 'EXECUTE')) "
		"FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_depend d "
		"ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid "
		"AND d.objid OPERATOR(pg_catalog.=) p.oid "
		"AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass::pg_catalog.oid "
		"AND d.refobjid OPERATOR(pg_catalog.=) $1 AND d.deptype OPERATOR(pg_catalog.=) 'e'::\"char\" "
		"WHERE p.proname::pg_catalog.text OPERATOR(pg_catalog.=) $2",
		2, types, values, NULL, SPI_OK_SELECT, 1);
	if (!DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null)) || is_null)
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("permission denied for function %s", name),
						errhint("The extension's owner or a superuser grants it: SELECT qwen_grant('role', 'use');")));
}

void
job_raise_none(int64 job)
{
	ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("job " INT64_FORMAT " does not exist", job),
					errhint("A job is there once the transaction that submitted it has committed, until it is "
							"forgotten; qwen_jobs lists your own.")));
}

Oid
job_find_own(const JobStore *store, int64 job, char **state, bool latest)
{
	Oid type = INT8OID, owner;
	Datum value = Int64GetDatum(job);
	JobIdentity identity;
	bool is_null;

	if (latest)
		job_identity_begin(store, &identity);
	else
		job_identity_to_read(store, &identity);
	job_execute(psprintf("SELECT owner, state FROM %s WHERE id = $1%s", store->job, latest ? " FOR UPDATE" : ""), 1,
				&type, &value, NULL, SPI_OK_SELECT, 1);
	job_identity_end(&identity);
	if (SPI_processed == 0)
		job_raise_none(job);
	owner = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null));
	*state = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2);
	if (!superuser() && !has_privs_of_role(GetUserId(), owner))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("must be owner of job " INT64_FORMAT, job)));
	return owner;
}

Oid
job_own_relation(Oid relation)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
	Oid owner;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("the table does not exist")));
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	if (!superuser() && !has_privs_of_role(GetUserId(), owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("must be owner of table %s", get_rel_name(relation))));
	return owner;
}
