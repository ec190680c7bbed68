/*
 * store.c - the extension's own tables of jobs and queued rows, and under which role and search path statements
 * run.
 *
 * Nobody but their owner has rights on these tables; statements over them run as that owner with a search path of
 * pg_catalog alone, so that nothing of a user's schemas is ever called with the owner's rights.
 */
#include "store.h"

#include "../call/call.h"
#include "../core/table_guard.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "parameters.h"
#include "places.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/* Schema and owner of an extension, from its row in pg_extension. */
static bool
read_extension(Oid extension, JobStore *store)
{
	Relation relation = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	bool found = false;

	ScanKeyInit(&key, Anum_pg_extension_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(extension));
	scan = systable_beginscan(relation, ExtensionOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		store->schema = ((Form_pg_extension) GETSTRUCT(tuple))->extnamespace;
		store->owner = ((Form_pg_extension) GETSTRUCT(tuple))->extowner;
		found = true;
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return found;
}

/* Is a table the extension's owner's, or a superuser's? Nobody else's rows are read. */
static bool
is_owners(Oid table, Oid owner)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table));
	Oid found;

	if (!HeapTupleIsValid(tuple))
		return false;
	found = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return found == owner || superuser_arg(found);
}

const TriggerUse *
job_store_use_of(const JobStore *store, Oid function)
{
	const TriggerUse *use = trigger_use_of(get_func_name(function));

	return use && get_func_namespace(function) == store->schema ? use : NULL;
}

bool
job_store_queues(const JobStore *store, Oid function)
{
	const TriggerUse *use = job_store_use_of(store, function);

	return use && use->queues;
}

bool
job_store_is_guarded(const JobStore *store)
{
	return !store->is_old && guard_is_on(store->job_table) && guard_is_on(store->row_table);
}

bool
job_store_is_workable(const JobStore *store)
{
	static bool told = false;
	bool workable = job_store_is_guarded(store);

	if (!workable && !told)
		ereport(LOG, (errmsg("qwen_pg: jobs and queued rows of database \"%s\" are not worked on",
							 get_database_name(MyDatabaseId)),
					  errdetail("Their tables are those of an older version, or their trigger qwen_guard has been "
								"taken away, or they have triggers of others, so that others may have a hand in them."),
					  errhint("ALTER EXTENSION qwen_pg UPDATE makes the one, ALTER TABLE ... ENABLE ALWAYS TRIGGER "
							  "qwen_guard the other.")));
	told = !workable;
	/* nobody tells when they are again */
	if (!workable)
		job_scout_later();
	return workable;
}

bool
job_store_find(JobStore *store)
{
	const char *schema;

	store->extension = get_extension_oid("qwen_pg", true);
	if (!OidIsValid(store->extension) || !read_extension(store->extension, store))
		return false;
	store->job_table = get_relname_relid("qwen_job_table", store->schema);
	store->row_table = get_relname_relid("qwen_job_row", store->schema);
	schema = get_namespace_name(store->schema);
	if (!OidIsValid(store->job_table) || !OidIsValid(store->row_table) || !schema)
		return false;
	/* a column that 0.1.0 does not have */
	store->is_old = get_attnum(store->job_table, "options") == InvalidAttrNumber;
	if (!is_owners(store->job_table, store->owner) || !is_owners(store->row_table, store->owner))
		return false;
	store->job = quote_qualified_identifier(schema, "qwen_job_table");
	store->row = quote_qualified_identifier(schema, "qwen_job_row");
	return true;
}

Oid
job_own_function(const char *name, const Oid *arguments, int n)
{
	JobStore store = {.extension = get_extension_oid("qwen_pg", true)};
	Oid function;

	if (!OidIsValid(store.extension) || !read_extension(store.extension, &store))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the extension qwen_pg is not in this database")));
	function = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum(name),
							   PointerGetDatum(buildoidvector(arguments, n)), ObjectIdGetDatum(store.schema));
	if (!OidIsValid(function))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FUNCTION), errmsg("the extension qwen_pg has no function %s", name),
						errhint("ALTER EXTENSION qwen_pg UPDATE makes those of this version.")));
	return function;
}

void
job_store_require(JobStore *store)
{
	if (!job_store_find(store))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the extension qwen_pg is not in this database"),
						errhint("CREATE EXTENSION qwen_pg makes its tables.")));
}

static void
set_local(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

void
job_set_formats(int action)
{
	static const char *const formats[][2] = {{"datestyle", "ISO, YMD"},
											 {"intervalstyle", "postgres"},
											 {"extra_float_digits", "1"},
											 {"array_nulls", "on"},
											 {"bytea_output", "hex"}};

	for (int i = 0; i < (int) lengthof(formats); i++)
		(void) set_config_option(formats[i][0], formats[i][1], PGC_USERSET, PGC_S_SESSION, action, true, 0, false);
}

void
job_set_key_formats(void)
{
	job_set_formats(GUC_ACTION_SAVE);
	set_local("timezone", "UTC");
	set_local("bytea_output", "hex");
	set_local("search_path", "pg_catalog");
}

/*
 * Roles and databases have settings of their own, and triggers change some: none may keep a worker from its work or
 * change what it means. Locks that somebody has for long are not waited for.
 */
void
job_settle_session(void)
{
	static const char *const settings[][2] = {
		{"role", "none"},
		{"default_transaction_read_only", "off"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_deferrable", "off"},
		{"session_replication_role", "origin"},
		{"row_security", "on"},
		{"statement_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
#if PG_VERSION_NUM >= 170000
		{"transaction_timeout", "0"},
#endif
		{"lock_timeout", "500ms"},
		{"xmloption", "content"},
		{"array_nulls", "on"},
	};

	for (int i = 0; i < (int) lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_SESSION);
	job_set_formats(GUC_ACTION_SET);
}

/* Before 17 a background worker can only connect as a role that may log in. */
void
job_check_owner(Oid role, const char *what)
{
#if PG_VERSION_NUM < 170000
	HeapTuple tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	bool can_log_in = HeapTupleIsValid(tuple) && ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	if (!can_log_in)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s: role \"%s\" cannot own jobs or queued rows because it cannot log in", what,
							   GetUserNameFromId(role, false)),
						errdetail("A background worker does the work as the owner, which takes the LOGIN attribute "
								  "before PostgreSQL 17."),
						errhint("Use a role that can log in, or ALTER ROLE ... LOGIN.")));
#endif
}

void
job_identity_begin(const JobStore *store, JobIdentity *saved)
{
	/* in the order in which a trigger that queues takes them */
	guard_take(store->row_table);
	guard_take(store->job_table);
	job_identity_to_read(store, saved);
}

void
job_identity_to_read(const JobStore *store, JobIdentity *saved)
{
	GetUserIdAndSecContext(&saved->user, &saved->security);
	SetUserIdAndSecContext(store->owner, saved->security | SECURITY_LOCAL_USERID_CHANGE);
	saved->guc_level = NewGUCNestLevel();
	set_local("search_path", "pg_catalog, pg_temp");
	/* all is found by its index; statistics lag behind a queue that fills and empties, and mislead the planner */
	set_local("enable_indexscan", "on");
	set_local("enable_seqscan", "off");
	set_local("enable_bitmapscan", "off");
}

/*
 * A trigger's table is written in the owner's own session with the search path that this has, so that other triggers of
 * the table find what they find when the owner writes. They may not become somebody else, and settings that they leave
 * behind end with the identity. It is no security-restricted operation: nobody but the owner is here to be protected
 * from them, and there no trigger may be deferred.
 */
void
job_identity_of_spec(const JobSpec *spec, JobIdentity *saved)
{
	GetUserIdAndSecContext(&saved->user, &saved->security);
	if (spec->trigger)
		SetUserIdAndSecContext(saved->user, saved->security | SECURITY_LOCAL_USERID_CHANGE);
	saved->guc_level = NewGUCNestLevel();
	if (spec->search_path)
		set_local("search_path", spec->search_path);
}

void
job_identity_of_owner(JobIdentity *saved)
{
	GetUserIdAndSecContext(&saved->user, &saved->security);
	SetUserIdAndSecContext(saved->user, saved->security | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS);
	saved->guc_level = NewGUCNestLevel();
}

void
job_identity_end(const JobIdentity *saved)
{
	AtEOXact_GUC(false, saved->guc_level);
	SetUserIdAndSecContext(saved->user, saved->security);
}

void
job_check_result(const char *sql, int result, int expected)
{
	if (result != expected)
		ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR),
						errmsg("a statement of a job gave %s", SPI_result_code_string(result)), errdetail("%s", sql)));
}

int
job_execute(const char *sql, int n, Oid *types, Datum *values, const char *nulls, int expected, long limit)
{
	job_check_result(sql, SPI_execute_with_args(sql, n, types, values, nulls, false, limit), expected);
	return (int) SPI_processed;
}

/* A column of the first result row, or NULL; a C string of the spec's. */
static char *
string_value(const JobSpec *spec, int column)
{
	char *value = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column);

	return value ? MemoryContextStrdup(spec->memory, value) : NULL;
}

static Datum
datum_value(int column, bool *is_null)
{
	return SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, is_null);
}

static text *
text_value(const JobSpec *spec, int column)
{
	char *value = string_value(spec, column);

	return value ? cstring_to_text(value) : NULL;
}

/* A text[] column into strings; how many, or -1 for NULL. */
static int
strings_value(int column, char **strings, int most)
{
	bool is_null;
	Datum array = datum_value(column, &is_null);

	return is_null ? -1 : Min(job_strings_of(array, strings, most), most);
}

/* The common tail stands in columns of the same names and order. */
static char *
tail_columns(void)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < N_TAIL_ARGUMENTS; i++)
		appendStringInfo(&list, ", %s", tail_arguments[i].name);
	return list.data;
}

#define FIRST_TAIL_COLUMN 22

/* One target column, or several. */
static void
read_targets(JobSpec *spec)
{
	bool is_null;
	Datum array = datum_value(21, &is_null);

	spec->n_targets =
		is_null ? 1 : ArrayGetNItems(ARR_NDIM(DatumGetArrayTypeP(array)), ARR_DIMS(DatumGetArrayTypeP(array)));
	spec->targets = palloc(sizeof *spec->targets * Max(spec->n_targets, 1));
	if (is_null)
		spec->targets[0] = string_value(spec, 5);
	else
		(void) job_strings_of(array, spec->targets, spec->n_targets);
}

/* The columns of the result row that job_store_load asked for, into spec; in spec's memory. */
static void
read_job_row(JobSpec *spec)
{
	Datum values[N_TAIL_ARGUMENTS];
	bool nulls[N_TAIL_ARGUMENTS], is_null;
	char *position[JOB_MAX_KEYS];
	char *function;
	int n;

	spec->source = string_value(spec, 1);
	spec->relation = DatumGetObjectId(datum_value(2, &is_null));
	if (is_null)
		spec->relation = InvalidOid;
	spec->search_path = string_value(spec, 3);
	spec->target = DatumGetObjectId(datum_value(4, &is_null));
	read_targets(spec);
	spec->n_keys = strings_value(6, spec->keys, JOB_MAX_KEYS);
	strings_value(7, spec->key_types, JOB_MAX_KEYS);
	spec->prompt = string_value(spec, 8);
	function = string_value(spec, 9);
	spec->function = model_function_named(function);
	if (!spec->function)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown job function \"%s\"", function)));
	spec->system = text_value(spec, 10);
	spec->instruction = text_value(spec, 11);
	spec->max_words = DatumGetInt32(datum_value(12, &is_null));
	spec->dimensions = DatumGetInt32(datum_value(13, &is_null));
	spec->max_attempts = DatumGetInt32(datum_value(14, &is_null));
	spec->priority = DatumGetInt32(datum_value(15, &is_null));
	n = strings_value(16, position, JOB_MAX_KEYS);
	if (n == spec->n_keys)
	{
		spec->position = palloc(sizeof *position * n);
		memcpy(spec->position, position, sizeof *position * n);
	}
	spec->exhausted = DatumGetBool(datum_value(17, &is_null));
	spec->roles[0] = DatumGetObjectId(datum_value(18, &is_null));
	spec->roles[1] = DatumGetObjectId(datum_value(19, &is_null));
	spec->arguments = text_value(spec, 20);
	spec->asked_by = "qwen_submit";
	for (int i = 0; i < N_TAIL_ARGUMENTS; i++)
		values[i] = datum_value(FIRST_TAIL_COLUMN + i, &nulls[i]);
	job_spec_read_tail(spec, values, nulls);
}

JobSpec *
job_store_load(const JobStore *store, int64 job, MemoryContext parent)
{
	Oid type = INT8OID;
	Datum value = Int64GetDatum(job);
	MemoryContext memory, old;
	JobSpec *spec;
	char *sql =
		psprintf("SELECT source, source_relation, search_path, target, target_column, key_columns, key_types, "
				 "prompt, function, system, instruction, max_words, dimensions, max_attempts, priority, "
				 "position, exhausted, session_role, outer_role, arguments, target_columns%s FROM %s WHERE id = $1",
				 tail_columns(), store->job);

	if (job_execute(sql, 1, &type, &value, NULL, SPI_OK_SELECT, 0) == 0)
		return NULL;
	/* goes with the current context should an error be raised */
	memory = AllocSetContextCreate(CurrentMemoryContext, "qwen_pg job", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(memory);
	spec = palloc0(sizeof *spec);
	spec->memory = memory;
	spec->job = job;
	read_job_row(spec);
	MemoryContextSwitchTo(old);
	MemoryContextSetParent(memory, parent);
	return spec;
}
