/*
 * known_functions.c - which SQL functions are ours, by their OID.
 *
 * A function is ours when it is a C function of this library with the symbol of a row of the table of functions,
 * whatever its name and schema. One that was altered to run as its definer or with settings of its own is not: only a
 * real call does that. What was found is kept until any function changes.
 */
#include "known_functions.h"

#include "../functions/functions.h"
#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/syscache.h"

#define LIBRARY "$libdir/qwen_pg"

typedef struct KnownFunction
{
	Oid oid;
	const ModelFunction *function;
} KnownFunction;

static HTAB *known;

/* A text column of pg_proc equals value. */
static bool
column_is(HeapTuple tuple, int column, const char *value)
{
	bool is_null;
	Datum datum = SysCacheGetAttr(PROCOID, tuple, column, &is_null);

	return !is_null && strcmp(TextDatumGetCString(datum), value) == 0;
}

bool
is_function_of_symbol(HeapTuple tuple, const char *symbol)
{
	Form_pg_proc form = (Form_pg_proc) GETSTRUCT(tuple);

	return form->prolang == ClanguageId && column_is(tuple, Anum_pg_proc_probin, LIBRARY) &&
		   column_is(tuple, Anum_pg_proc_prosrc, symbol);
}

/* Is it a plain C function of this library? */
static bool
is_plain_function(HeapTuple tuple)
{
	Form_pg_proc form = (Form_pg_proc) GETSTRUCT(tuple);
	bool has_no_settings;

	(void) SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_proconfig, &has_no_settings);
	return form->prolang == ClanguageId && !form->prosecdef && !form->proretset && has_no_settings &&
		   column_is(tuple, Anum_pg_proc_probin, LIBRARY);
}

static const ModelFunction *
look_up(Oid oid)
{
	HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(oid));
	const ModelFunction *found = NULL;

	if (!HeapTupleIsValid(tuple))
		return NULL;
	if (is_plain_function(tuple))
		for (int i = 0; model_functions[i] && !found; i++)
			if (column_is(tuple, Anum_pg_proc_prosrc, model_functions[i]->symbol))
				found = model_functions[i];
	ReleaseSysCache(tuple);
	/* somebody wants to see every call */
	return found && FmgrHookIsNeeded(oid) ? NULL : found;
}

/* Some function changed: find out again. */
static void
forget(Datum argument, int cache, uint32 hash)
{
	HASH_SEQ_STATUS scan;
	KnownFunction *entry;

	hash_seq_init(&scan, known);
	while ((entry = hash_seq_search(&scan)) != NULL)
		(void) hash_search(known, &entry->oid, HASH_REMOVE, NULL);
}

static void
make_table(void)
{
	HASHCTL control;

	memset(&control, 0, sizeof control);
	control.keysize = sizeof(Oid);
	control.entrysize = sizeof(KnownFunction);
	known = hash_create("qwen_pg functions", 64, &control, HASH_ELEM | HASH_BLOBS);
	CacheRegisterSyscacheCallback(PROCOID, forget, (Datum) 0);
}

const ModelFunction *
batch_function(Oid function)
{
	KnownFunction *entry;
	const ModelFunction *found;

	/* PostgreSQL's own are none of ours */
	if (function < FirstNormalObjectId)
		return NULL;
	if (!known)
		make_table();
	entry = hash_search(known, &function, HASH_FIND, NULL);
	if (entry)
		return entry->function;
	/* the catalogue may tell of changes while it is read, so the entry comes after that */
	found = look_up(function);
	entry = hash_search(known, &function, HASH_ENTER, NULL);
	entry->function = found;
	return found;
}
