/*
 * allowed_models.c - which models a role may ask, and qwen_allow_models, which says so.
 *
 * Lists stand in the table qwen_role_models of each database. As with limits, a role's own row holds; where it has
 * none, a model must be in the list of every role that it is a member of and that has one; where none has, all models
 * are allowed. Both the session's user and the role of SET ROLE must be allowed a model. The setting
 * qwen.allowed_models stands beside this: what it leaves out is not allowed either. A model with an adapter is a name
 * of its own, "model+adapter": neither is allowed by the other.
 *
 * What a backend has read it keeps until an invalidation message says that the table, a role or a membership has
 * changed (limit_tables.c tells when).
 */
#include "../core/core.h"
#include "../core/privileges.h"

#include "../../protocol/configured_adapters.h"
#include "../core/arguments.h"
#include "../core/own_transaction.h"
#include "../core/shared_memory.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "limit_settings.h"
#include "limit_tables.h"
#include "limits.h"
#include "role_limits.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/varlena.h"

#define MODELS_COLUMN 2

/* What is known of a role. */
typedef struct KnownModels
{
	Oid role;     /* the key */
	char *models; /* names with a comma after each; NULL: all */
} KnownModels;

static HTAB *known_roles;
static MemoryContext memory; /* of known_roles and the lists */

static void
forget_models(void)
{
	if (memory)
		MemoryContextDelete(memory);
	memory = NULL;
	known_roles = NULL;
}

/* Is a name in a list of KnownModels? */
static bool
is_listed(const char *models, const char *name)
{
	size_t length = strlen(name);

	while (*models)
	{
		const char *end = strchr(models, ',');

		if ((size_t) (end - models) == length && memcmp(models, name, length) == 0)
			return true;
		models = end + 1;
	}
	return false;
}

/* The names of an array, those of them that are in the list others where there is one. */
static char *
list_of_array(Datum array, const char *others)
{
	StringInfoData list;
	Datum *names;
	bool *nulls;
	int n;

	initStringInfo(&list);
	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &names, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		char *name = nulls[i] ? NULL : TextDatumGetCString(names[i]);

		if (name && !strchr(name, ',') && (!others || is_listed(others, name)))
			appendStringInfo(&list, "%s,", name);
	}
	return list.data;
}

/* A role's own row: its list, as far as others has it too; others where it has no row. */
static char *
read_row(Relation table, Oid index, Oid role, char *others, bool *found)
{
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple row;
	char *models = others;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(role));
	scan = systable_beginscan(table, index, true, NULL, 1, &key);
	row = systable_getnext(scan);
	*found = row != NULL;
	if (row)
	{
		bool is_null;
		Datum array = heap_getattr(row, MODELS_COLUMN, RelationGetDescr(table), &is_null);

		models = is_null ? others : list_of_array(array, others);
	}
	systable_endscan(scan);
	return models;
}

/* What the table says of a role and those above it. */
static char *
read_models(Relation table, Oid index, Oid role)
{
	bool found;
	char *models = read_row(table, index, role, NULL, &found);

	if (!found)
	{
		List *roles = limit_roles_of(role);
		ListCell *cell;

		foreach (cell, roles)
			if (lfirst_oid(cell) != role)
				models = read_row(table, index, lfirst_oid(cell), models, &found);
		list_free(roles);
	}
	return models;
}

/* May a role ask a model? */
typedef struct Question
{
	Oid role;
	const char *name;
	bool allowed;
} Question;

/* Read and remember, in a transaction. */
static void
learn_whether_allowed(void *argument)
{
	Question *question = argument;
	Oid role = question->role, table_oid, index;
	Relation table;
	KnownModels *known;
	char *models, *kept;

	question->allowed = true;
	limit_when_changed(LIMIT_TABLE_MODELS, forget_models);
	if (!limit_find_table(LIMIT_TABLE_MODELS, &table_oid, &index))
		return;
	table = try_relation_open(table_oid, AccessShareLock);
	if (!table)
		return;
	models = read_models(table, index, role);
	relation_close(table, AccessShareLock);
	/* what came in while it was read may have made it old: then it holds for this call alone */
	if (limit_is_current(LIMIT_TABLE_MODELS, table_oid))
	{
		if (!known_roles)
		{
			HASHCTL control = {.keysize = sizeof(Oid), .entrysize = sizeof(KnownModels)};

			memory = AllocSetContextCreate(TopMemoryContext, "qwen_pg allowed models", ALLOCSET_SMALL_SIZES);
			control.hcxt = memory;
			known_roles = hash_create("qwen_pg allowed models", 16, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		}
		/* whatever may fail comes first: an entry is never half made */
		kept = models ? MemoryContextStrdup(memory, models) : NULL;
		known = hash_search(known_roles, &role, HASH_ENTER, NULL);
		known->models = kept;
	}
	question->allowed = !models || is_listed(models, question->name);
}

/* May a role ask a model, by qwen_role_models? */
static bool
allows(Oid role, const char *name)
{
	KnownModels *known = known_roles ? hash_search(known_roles, &role, HASH_FIND, NULL) : NULL;
	Question question = {role, name, false};

	if (known)
		return !known->models || is_listed(known->models, name);
	own_transaction(learn_whether_allowed, &question);
	return question.allowed;
}

/* Does the setting let this session ask a model? */
static bool
setting_allows(const char *name)
{
	char *copy;
	List *names;
	ListCell *cell;
	bool found = false;

	if (!qwen_allowed_models || !*qwen_allowed_models)
		return true;
	copy = pstrdup(qwen_allowed_models);
	if (SplitGUCList(copy, ',', &names))
		foreach (cell, names)
			found = found || strcmp(lfirst(cell), name) == 0;
	pfree(copy);
	return found;
}

void
limits_check_model(const char *name)
{
	Oid roles[MAX_LIMITED_ROLES_OF_CALL];

	/* what others have changed holds within a statement, too */
	limits_refresh();
	if (!setting_allows(name))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("model \"%s\" is not allowed", name),
						errdetail("The setting qwen.allowed_models of this session names others."),
						errhint("A superuser can change it: ALTER ROLE ... SET qwen.allowed_models.")));
	limits_roles(roles);
	for (int i = 0; i < MAX_LIMITED_ROLES_OF_CALL; i++)
		if (OidIsValid(roles[i]) && (i == 0 || roles[i] != roles[0]) && !allows(roles[i], name))
			ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
							errmsg("model \"%s\" is not allowed to role \"%s\"", name, role_name(roles[i])),
							errhint("The view qwen_allowed_models shows which are; who has been granted 'admin' can "
									"change it with qwen_allow_models.")));
}

/* A list may be there before its models are; but who has misspelt one should hear of it. */
static void
tell_of_unknown(const char *name)
{
	if (qwen_shared && !slot_is_there(name))
		ereport(NOTICE,
				(errmsg("there is no model \"%s\" now", name), errdetail("It is allowed when there is one."),
				 errhint("The views qwen_models and qwen_adapters list those that there are; an adapter's name is "
						 "model+adapter.")));
}

/* Names that a model can have. */
static void
check_names(ArrayType *array)
{
	Datum *names;
	bool *nulls;
	int n;

	require_one_dimension(array, "models");
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &names, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		char *name = nulls[i] ? NULL : TextDatumGetCString(names[i]);
		Status status = name ? adapted_name_check(name, strlen(name)) : status_ok();

		if (!name || status.code != STATUS_OK)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("models must be an array of models' names, or of both: model+adapter"),
							errdetail("%s", name ? status.message : "An element is null.")));
		tell_of_unknown(name);
	}
}

/* qwen_allow_models(role, models): NULL takes the role's row away. */
QWEN_WRITING_FUNCTION(qwen_allow_models, 2, 2)
{
	Oid types[2] = {OIDOID, TEXTARRAYOID};
	Datum values[2] = {ObjectIdGetDatum(limit_role_argument(fcinfo)), (Datum) 0};

	require_administrator(fcinfo);
	if (!PG_ARGISNULL(1))
	{
		check_names(PG_GETARG_ARRAYTYPE_P(1));
		values[1] = PG_GETARG_DATUM(1);
	}
	SPI_connect();
	limit_delete_orphans(LIMIT_TABLE_MODELS);
	if (PG_ARGISNULL(1))
		limit_change_table(LIMIT_TABLE_MODELS, "DELETE FROM %s WHERE role OPERATOR(pg_catalog.=) $1", 1, types, values,
						   NULL, SPI_OK_DELETE);
	else
		limit_change_table(LIMIT_TABLE_MODELS,
						   "INSERT INTO %s VALUES ($1, $2) ON CONFLICT (role) DO UPDATE SET models = excluded.models",
						   2, types, values, NULL, SPI_OK_INSERT);
	SPI_finish();
	PG_RETURN_VOID();
}
