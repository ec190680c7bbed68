/*
 * trigger_row.c - a trigger as the catalog has it; see trigger_row.h. PostgreSQL keeps no cache of them by oid.
 */
#include "trigger_row.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_trigger.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

bool
trigger_row_find(Oid trigger, TriggerRow *row)
{
	Relation relation = table_open(TriggerRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	bool found;

	ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(trigger));
	scan = systable_beginscan(relation, TriggerOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	found = HeapTupleIsValid(tuple);
	if (found)
	{
		Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(tuple);

		*row = (TriggerRow){form->tgrelid, form->tgfoid, form->tgparentid};
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return found;
}
