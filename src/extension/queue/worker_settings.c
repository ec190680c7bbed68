/*
 * worker_settings.c - settings of a worker's role and database that change while it works.
 *
 * PostgreSQL takes them in when a session begins, and a worker stays as long as work comes. No cache tells of
 * pg_db_role_setting: the four rows of it that can be meant are looked up in each transaction. A change between the
 * connection and the first of these, a moment later, goes unseen.
 */
#include "worker_settings.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_db_role_setting.h"
#include "common/hashfn.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

/* Add what is set for a role in a database, either of them InvalidOid for all, to a hash. */
static uint64
add_settings(uint64 hash, Relation relation, Oid database, Oid role)
{
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&keys[0], Anum_pg_db_role_setting_setdatabase, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(database));
	ScanKeyInit(&keys[1], Anum_pg_db_role_setting_setrole, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(role));
	scan = systable_beginscan(relation, DbRoleSettingDatidRolidIndexId, true, NULL, 2, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool is_null;
		Datum settings = heap_getattr(tuple, Anum_pg_db_role_setting_setconfig, RelationGetDescr(relation), &is_null);

		if (!is_null)
		{
			const ArrayType *array = DatumGetArrayTypeP(settings);

			hash = hash_bytes_extended((const unsigned char *) array, (int) VARSIZE(array), hash);
		}
	}
	systable_endscan(scan);
	/* the same settings elsewhere are others */
	return hash_bytes_uint32_extended((uint32) hash, hash >> 32);
}

void
job_settings_look(const JobWorkerPlace *place)
{
	static bool is_known;
	static uint64 known;
	uint64 hash = 0;
	Relation relation;

	/* the next transaction looks, too */
	if (!ConditionalLockRelationOid(DbRoleSettingRelationId, AccessShareLock))
		return;
	relation = table_open(DbRoleSettingRelationId, NoLock);
	hash = add_settings(hash, relation, place->database, place->role);
	hash = add_settings(hash, relation, InvalidOid, place->role);
	hash = add_settings(hash, relation, place->database, InvalidOid);
	hash = add_settings(hash, relation, InvalidOid, InvalidOid);
	table_close(relation, AccessShareLock);
	if (is_known && hash != known)
		job_worker_end_turn();
	known = hash;
	is_known = true;
}
