/*
 * arguments.c - the errors of functions that were passed other arguments than this library knows, or that may not write
 * here; see arguments.h.
 */
#include "arguments.h"

#include "miscadmin.h"
#include "utils/lsyscache.h"

/* The name that SQL knows a function by, or its symbol where it is not known. */
static const char *
name_of(FunctionCallInfo fcinfo, const char *symbol)
{
	char *name = fcinfo->flinfo ? get_func_name(fcinfo->flinfo->fn_oid) : NULL;

	return name ? name : symbol;
}

static int
hint_update(void)
{
	return errhint("ALTER EXTENSION qwen_pg UPDATE brings the functions of this version into a database.");
}

void
check_arguments(FunctionCallInfo fcinfo, const char *symbol, int least, int most)
{
	if (PG_NARGS() < least)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the function %s was declared with %d arguments, and needs %d in version %s of qwen_pg",
							   name_of(fcinfo, symbol), PG_NARGS(), least, QWEN_VERSION),
						hint_update()));
	if (PG_NARGS() > most)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the function %s was declared with %d arguments, but version %s of qwen_pg, which runs, "
							   "knows %d",
							   name_of(fcinfo, symbol), PG_NARGS(), QWEN_VERSION, most),
						errhint("A restart of the server loads the version that is installed.")));
}

void
raise_missing_argument(FunctionCallInfo fcinfo, int argument)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the function %s was declared with %d arguments, and needs argument %d in version %s of qwen_pg",
					name_of(fcinfo, "of qwen_pg"), PG_NARGS(), argument + 1, QWEN_VERSION),
			 hint_update()));
}

void
require_one_dimension(const ArrayType *array, const char *name)
{
	if (ARR_NDIM(array) > 1)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s must be an array of one dimension, not of %d", name, ARR_NDIM(array))));
}

void
check_may_write(FunctionCallInfo fcinfo, const char *symbol)
{
	const char *name = psprintf("%s()", name_of(fcinfo, symbol));

	/* on a standby every transaction is READ ONLY, too */
	PreventCommandDuringRecovery(name);
	PreventCommandIfReadOnly(name);
}
