/*
 * results.c - functions that return all their rows at once: the tuplestore they go to.
 */
#include "results.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "utils/tuplestore.h"

void
init_materialized_set(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext old;
	TupleDesc descriptor;

	if (!set || !IsA(set, ReturnSetInfo) || !(set->allowedModes & SFRM_Materialize))
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("the function returns rows and must be called where rows are accepted")));
	old = MemoryContextSwitchTo(set->econtext->ecxt_per_query_memory);
	if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	set->returnMode = SFRM_Materialize;
	set->setResult = tuplestore_begin_heap((set->allowedModes & SFRM_Materialize_Random) != 0, false, work_mem);
	set->setDesc = CreateTupleDescCopy(descriptor);
	MemoryContextSwitchTo(old);
}
