/*
 * type_parts.c - of what kind a type is, seen from JSON; see type_parts.h.
 */
#include "type_parts.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/indexing.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_type.h"
#include "nodes/bitmapset.h"
#include "nodes/readfuncs.h"
#include "optimizer/optimizer.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

void
type_path_add(StringInfo path, const char *name)
{
	appendStringInfoChar(path, '/');
	for (; *name; name++)
		if (*name == '~' || *name == '/')
			appendStringInfoString(path, *name == '~' ? "~0" : "~1");
		else
			appendStringInfoChar(path, *name);
}

void
type_path_leave(StringInfo path, int length)
{
	path->len = length;
	path->data[length] = '\0';
}

/* What to do instead of asking for a type. */
static const char *
way_out(Oid type, char kind)
{
	if (type == RECORDOID)
		return "Give it names and types: CREATE TYPE ... AS (...), or use a table's row type.";
	if (kind == TYPTYPE_RANGE)
		return "Ask for the two bounds, as columns of a type of your own, and make the range of them.";
	if (type == BYTEAOID)
		return "A model writes text: ask for text, and decode() it.";
	if (type == CASHOID)
		return "Ask for numeric.";
	if (kind == TYPTYPE_PSEUDO)
		return "Cast the NULL to the type that is wanted: NULL::date, NULL::my_table.";
	return "Use a type of your own (CREATE TYPE ... AS) without it, or one with text in its place.";
}

static void
refuse(Oid type, const char *path)
{
	ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					*path ? errmsg("a value of type %s cannot be extracted (at \"%s\")", format_type_be(type), path)
						  : errmsg("a value of type %s cannot be extracted", format_type_be(type)),
					errdetail("There are rows of composite types, domains, enums, arrays, integers, numeric, real, "
							  "double precision, text, varchar, char, boolean, date, time, timestamp, interval, uuid, "
							  "inet, json and jsonb."),
					errhint("%s", way_out(type, get_typtype(type)))));
}

/* Append what a domain's own CHECKs say. */
static void
add_checks(StringInfo checks, Oid domain)
{
	Relation relation = table_open(ConstraintRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&key, Anum_pg_constraint_contypid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(domain));
	scan = systable_beginscan(relation, ConstraintTypidIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_constraint constraint = (Form_pg_constraint) GETSTRUCT(tuple);

		if (constraint->contype == CONSTRAINT_CHECK)
			appendStringInfo(
				checks, "%s%s", checks->len > 0 ? ", " : "",
				TextDatumGetCString(DirectFunctionCall1(pg_get_constraintdef, ObjectIdGetDatum(constraint->oid))));
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
}

/* Down from a domain to what it is over. */
static void
leave_domains(TypePart *part, int *n_dimensions)
{
	StringInfoData checks;

	initStringInfo(&checks);
	while (get_typtype(part->base) == TYPTYPE_DOMAIN)
	{
		HeapTuple tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(part->base));
		Form_pg_type form;

		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "cache lookup failed for type %u", part->base);
		form = (Form_pg_type) GETSTRUCT(tuple);
		part->never_null |= form->typnotnull;
		*n_dimensions = Max(*n_dimensions, form->typndims);
		/* the outermost domain over a base type says the modifier */
		if (form->typtypmod >= 0)
			part->modifier = form->typtypmod;
		add_checks(&checks, part->base);
		part->base = form->typbasetype;
		ReleaseSysCache(tuple);
	}
	part->check = checks.len > 0 ? checks.data : NULL;
}

/* Is it text of another name: citext, say? */
static bool
is_users_text(Oid type)
{
	char category;
	bool is_preferred;

	get_type_category_preferred(type, &category, &is_preferred);
	return category == TYPCATEGORY_STRING && type >= FirstNormalObjectId && get_typtype(type) == TYPTYPE_BASE;
}

static TypeKind
kind_of(Oid type, const char *path)
{
	switch (type)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
			return TYPE_INTEGER;
		case NUMERICOID:
		case FLOAT4OID:
		case FLOAT8OID:
			return TYPE_NUMBER;
		case BOOLOID:
			return TYPE_BOOLEAN;
		case JSONOID:
		case JSONBOID:
			return TYPE_JSON;
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case DATEOID:
		case TIMEOID:
		case TIMETZOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
		case INTERVALOID:
		case UUIDOID:
		case INETOID:
			return TYPE_STRING;
		default:
			break;
	}
	if (get_typtype(type) == TYPTYPE_ENUM)
		return TYPE_ENUM;
	if (get_typtype(type) == TYPTYPE_COMPOSITE)
		return TYPE_OBJECT;
	if (!is_users_text(type))
		refuse(type, path);
	return TYPE_STRING;
}

TypePart
type_part_of(Oid type, int32 modifier, int n_dimensions, const char *path)
{
	TypePart part = {.base = type, .modifier = modifier};

	leave_domains(&part, &n_dimensions);
	part.element = get_element_type(part.base);
	if (OidIsValid(part.element))
	{
		part.kind = TYPE_ARRAY;
		part.n_dimensions = Max(n_dimensions, 1);
		/* columns may be declared with more than any array can have */
		if (part.n_dimensions > MAXDIM)
			ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
							*path ? errmsg("arrays have at most %d dimensions, not the %d declared (at \"%s\")", MAXDIM,
										   part.n_dimensions, path)
								  : errmsg("arrays have at most %d dimensions, not the %d declared", MAXDIM,
										   part.n_dimensions),
							errhint("Extract a type that declares fewer, and cast the value.")));
		return part;
	}
	part.kind = kind_of(part.base, path);
	return part;
}

bool
type_column_is_asked(TupleDesc columns, int i, const List *only)
{
	Form_pg_attribute column = TupleDescAttr(columns, i);
	const TupleConstr *constraints = columns->constr;
	ListCell *cell;

	if (column->attisdropped || column->attgenerated)
		return false;
	foreach (cell, only)
		if (strcmp(lfirst(cell), NameStr(column->attname)) == 0)
			return true;
	if (only != NIL || column->attidentity)
		return false;
	for (int j = 0; constraints && j < constraints->num_defval; j++)
		if (constraints->defval[j].adnum == i + 1 &&
			contain_mutable_functions(stringToNode(constraints->defval[j].adbin)))
			return false;
	return true;
}

Node *
type_check_decided(TupleDesc columns, int i, const List *only, int *column)
{
	const ConstrCheck *check = &columns->constr->check[i];
	Node *expression = stringToNode(check->ccbin);
	Bitmapset *numbers = NULL;
	int one = -1, n = 0;

	*column = -1;
#if PG_VERSION_NUM >= 180000
	if (!check->ccenforced)
		return NULL;
#endif
	pull_varattnos(expression, 1, &numbers);
	while ((one = bms_next_member(numbers, one)) >= 0)
	{
		int number = one + FirstLowInvalidHeapAttributeNumber;

		/* a system column, or the row as a whole */
		if (number <= 0 || !type_column_is_asked(columns, number - 1, only))
			return NULL;
		*column = n++ == 0 ? number - 1 : -1;
	}
	return n > 0 ? expression : NULL;
}
