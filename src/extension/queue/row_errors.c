/*
 * row_errors.c - what is told of an answer that could not be written: which of its values a table's constraint refuses.
 *
 * What types and domains refuse says so itself (type_values.c).
 */
#include "row_errors.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_type.h"
#include "trigger_use.h"
#include "utils/array.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/* The name of a table's column, if it is one of the target columns. */
static List *
add_target(const JobSpec *spec, List *names, const char *column)
{
	return column && job_spec_target_number(spec, column) >= 0 ? lappend(names, pstrdup(column)) : names;
}

/* The target columns that a constraint of a table is about. */
static List *
columns_of_constraint(const JobSpec *spec, Oid table, const char *name)
{
	Oid constraint = get_relation_constraint_oid(table, name, true);
	HeapTuple tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));
	List *names = NIL;
	Datum *numbers, array;
	bool *nulls, is_null;
	int n;

	if (!HeapTupleIsValid(tuple))
		return NIL;
	array = SysCacheGetAttr(CONSTROID, tuple, Anum_pg_constraint_conkey, &is_null);
	if (!is_null)
	{
		deconstruct_array(DatumGetArrayTypeP(array), INT2OID, sizeof(int16), true, TYPALIGN_SHORT, &numbers, &nulls,
						  &n);
		for (int i = 0; i < n; i++)
			names = add_target(spec, names, get_attname(table, DatumGetInt16(numbers[i]), true));
	}
	ReleaseSysCache(tuple);
	return names;
}

char *
job_error_words(const ErrorData *error)
{
	static const char begins[] = TRIGGER_CONTEXT_BEGINS;
	const char *at = error->context;

	while (at && strncmp(at, begins, sizeof begins - 1) != 0)
	{
		at = strchr(at, '\n');
		if (at)
			at++;
	}
	return at ? psprintf("%s (%.*s)", error->message, (int) strcspn(at, "\n"), at) : error->message;
}

char *
job_row_error(const JobRow *row, const ErrorData *error)
{
	const JobSpec *spec = row->spec;
	List *columns = NIL;
	Oid schema, table;

	if (!spec->takes_row || !row->answer || !error->schema_name || !error->table_name)
		return job_error_words(error);
	schema = get_namespace_oid(error->schema_name, true);
	table = OidIsValid(schema) ? get_relname_relid(error->table_name, schema) : InvalidOid;
	if (error->constraint_name && OidIsValid(table))
		columns = columns_of_constraint(spec, table, error->constraint_name);
	else
		columns = add_target(spec, columns, error->column_name);
	if (columns == NIL)
		return job_error_words(error);
	return type_row_refusal(DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(row->answer))), columns,
							error->message);
}
