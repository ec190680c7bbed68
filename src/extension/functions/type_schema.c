/*
 * type_schema.c - the JSON schema of a type, made of the catalog, and qwen_type_schema, which shows it.
 *
 * Columns come in their order and are all required, so that their names need no choice of the model's; one that may be
 * NULL takes null. Comments of columns, types and tables, and the CHECKs of domains and tables, are descriptions: the
 * model reads the schema.
 */
#include "type_parts.h"

#include "../core/arguments.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_type.h"
#include "commands/comment.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"
#include "utils/typcache.h"

#define SCHEMA_BYTES (1024 * 1024) /* that a type's schema may have */
#define EXACT_DIGITS 18            /* of a bound, on either side of the point */
#define EXACT_SCALE 15             /* digits behind the point that a step says; the form has 16 */

/* What is being written. */
typedef struct Writing
{
	StringInfoData text, path;
} Writing;

static void write_type(Writing *writing, Oid type, int32 modifier, int n_dimensions, bool may_be_null,
					   const char *comment, List *only);

static void
add(Writing *writing, const char *text)
{
	appendStringInfoString(&writing->text, text);
}

static void
add_string(Writing *writing, const char *text)
{
	escape_json(&writing->text, text);
}

/* "type": "name", or with null. */
static void
add_type(Writing *writing, const char *name, bool may_be_null)
{
	appendStringInfo(&writing->text, may_be_null ? "\"type\": [\"%s\", \"null\"]" : "\"type\": \"%s\"", name);
}

/* A description of what there is: a comment, what a value looks like, and what is checked. */
static void
add_description(Writing *writing, const char *comment, const char *looks, const char *check)
{
	const char *parts[] = {comment, looks, check};
	StringInfoData all;

	initStringInfo(&all);
	for (int i = 0; i < (int) lengthof(parts); i++)
		if (parts[i])
			appendStringInfo(&all, "%s%s", all.len > 0 ? "; " : "", parts[i]);
	if (all.len == 0)
		return;
	add(writing, ", \"description\": ");
	add_string(writing, all.data);
}

/* What was said of a type, or of the table whose row type it is; what PostgreSQL says of its own is for people. */
static const char *
comment_of(Oid type)
{
	Oid relation = get_typ_typrelid(type);
	char *comment = type >= FirstNormalObjectId ? GetComment(type, TypeRelationId, 0) : NULL;

	if (!comment && OidIsValid(relation))
		comment = GetComment(relation, RelationRelationId, 0);
	return comment;
}

static void
write_integer(Writing *writing, Oid type)
{
	switch (type)
	{
		case INT2OID:
			add(writing, ", \"minimum\": -32768, \"maximum\": 32767");
			break;
		case INT4OID:
			add(writing, ", \"minimum\": -2147483648, \"maximum\": 2147483647");
			break;
		default:
			add(writing, ", \"minimum\": -9223372036854775808, \"maximum\": 9223372036854775807");
			break;
	}
}

/* 10 to the power of n */
static char *
power_of_ten(int n)
{
	char *digits = palloc(abs(n) + 4), *at = digits;

	if (n < 0)
	{
		*at++ = '0';
		*at++ = '.';
		memset(at, '0', -n - 1);
		at += -n - 1;
	}
	*at++ = '1';
	if (n > 0)
	{
		memset(at, '0', n);
		at += n;
	}
	*at = '\0';
	return digits;
}

/* Digits that a numeric(p, s) has before the point, and behind it. */
static void
read_numeric(int32 modifier, int *n_before, int *scale)
{
	int32 stored = modifier - VARHDRSZ;

#if PG_VERSION_NUM >= 150000
	*scale = ((stored & 0x7ff) ^ 1024) - 1024;
#else
	*scale = stored & 0xffff;
#endif
	*n_before = ((stored >> 16) & 0xffff) - *scale;
}

static void
write_number(Writing *writing, const TypePart *part, bool may_be_null)
{
	int n_before, scale;

	if (part->base != NUMERICOID || part->modifier < (int32) VARHDRSZ)
	{
		add_type(writing, "number", may_be_null);
		return;
	}
	read_numeric(part->modifier, &n_before, &scale);
	add_type(writing, scale <= 0 ? "integer" : "number", may_be_null);
	if (scale != 0 && scale <= EXACT_SCALE && scale >= -EXACT_DIGITS)
		appendStringInfo(&writing->text, ", \"multipleOf\": %s", power_of_ten(-scale));
	if (abs(n_before) <= EXACT_DIGITS)
		appendStringInfo(&writing->text, ", \"exclusiveMinimum\": -%s, \"exclusiveMaximum\": %s",
						 power_of_ten(n_before), power_of_ten(n_before));
}

/* What a string looks like where the name of its format does not say it to everybody; NULL: it does. */
static const char *
write_string(Writing *writing, const TypePart *part)
{
	switch (part->base)
	{
		case DATEOID:
			add(writing, ", \"format\": \"date\"");
			return NULL;
		case TIMEOID:
			add(writing, ", \"format\": \"sql-time\"");
			return "as 15:30:00";
		case TIMETZOID:
			add(writing, ", \"format\": \"sql-timetz\"");
			return "as 15:30:00+02:00";
		case TIMESTAMPOID:
			add(writing, ", \"format\": \"sql-timestamp\"");
			return "as 2024-01-31 15:30:00";
		case TIMESTAMPTZOID:
			add(writing, ", \"format\": \"sql-timestamptz\"");
			return "as 2024-01-31 15:30:00+02:00";
		case INTERVALOID:
			add(writing, ", \"format\": \"sql-interval\"");
			return "a duration of ISO 8601, as P1DT2H30M";
		case UUIDOID:
			add(writing, ", \"format\": \"uuid\"");
			return NULL;
		case INETOID:
			add(writing, ", \"anyOf\": [{\"format\": \"ipv4\"}, {\"format\": \"ipv6\"}]");
			return "an IP address";
		case VARCHAROID:
		case BPCHAROID:
			if (part->modifier > (int32) VARHDRSZ)
				appendStringInfo(&writing->text, ", \"maxLength\": %d", part->modifier - VARHDRSZ);
			return NULL;
		default:
			return NULL;
	}
}

/* An enum's labels in their order. */
static void
write_labels(Writing *writing, Oid type, bool may_be_null)
{
	Relation relation = table_open(EnumRelationId, AccessShareLock);
	Relation index = index_open(EnumTypIdSortOrderIndexId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	int n = 0;

	ScanKeyInit(&key, Anum_pg_enum_enumtypid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(type));
	scan = systable_beginscan_ordered(relation, index, NULL, 1, &key);
	add(writing, "\"enum\": [");
	while (HeapTupleIsValid(tuple = systable_getnext_ordered(scan, ForwardScanDirection)))
	{
		add(writing, n++ > 0 ? ", " : "");
		add_string(writing, NameStr(((Form_pg_enum) GETSTRUCT(tuple))->enumlabel));
	}
	if (may_be_null)
		add(writing, n > 0 ? ", null" : "null");
	add(writing, "]");
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(relation, AccessShareLock);
}

static void
write_items(Writing *writing, const TypePart *part)
{
	int length = writing->path.len;

	appendStringInfoString(&writing->path, "/0");
	add(writing, ", \"items\": ");
	if (part->n_dimensions > 1)
		write_type(writing, part->base, part->modifier, part->n_dimensions - 1, false, NULL, NIL);
	else
		write_type(writing, part->element, part->modifier, 0, false, NULL, NIL);
	type_path_leave(&writing->path, length);
}

/* A name that was asked for and is none of the type's. */
static void
check_names(TupleDesc columns, Oid type, const List *only)
{
	ListCell *cell;

	foreach (cell, only)
	{
		bool found = false;

		for (int i = 0; i < columns->natts && !found; i++)
			found = type_column_is_asked(columns, i, only) &&
					strcmp(NameStr(TupleDescAttr(columns, i)->attname), lfirst(cell)) == 0;
		if (!found)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN), errmsg("type %s has no column \"%s\" that can be filled in",
															   format_type_be(type), (char *) lfirst(cell))));
	}
}

/* What CHECKs say of a column (-1: of several at once), beside what is said of it already; NULL: nothing. */
static const char *
checks_of(Oid relation, TupleDesc columns, int column, const List *only, const char *before)
{
	StringInfoData all;
	List *context = NIL;

	initStringInfo(&all);
	for (int i = 0; columns->constr && i < columns->constr->num_check; i++)
	{
		int about;
		Node *check = type_check_decided(columns, i, only, &about);

		if (!check || about != column)
			continue;
		if (context == NIL)
			context = deparse_context_for(get_rel_name(relation), relation);
		appendStringInfo(&all, "%sCHECK (%s)", all.len > 0 ? ", " : "",
						 deparse_expression(check, context, false, false));
	}
	if (all.len == 0)
		return before;
	return before ? psprintf("%s; %s", before, all.data) : all.data;
}

static void
write_members(Writing *writing, Oid type, TupleDesc columns, List *only)
{
	Oid relation = get_typ_typrelid(type);
	int length = writing->path.len, n = 0;
	StringInfoData required;

	check_names(columns, type, only);
	initStringInfo(&required);
	add(writing, ", \"properties\": {");
	for (int i = 0; i < columns->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(columns, i);
		const char *name = NameStr(column->attname), *comment;

		if (!type_column_is_asked(columns, i, only))
			continue;
		type_path_add(&writing->path, name);
		add(writing, n > 0 ? ", " : "");
		add_string(writing, name);
		add(writing, ": ");
		comment = GetComment(relation, RelationRelationId, i + 1);
		if (!comment)
			comment = comment_of(column->atttypid);
		write_type(writing, column->atttypid, column->atttypmod, column->attndims, !column->attnotnull,
				   checks_of(relation, columns, i, only, comment), NIL);
		type_path_leave(&writing->path, length);
		appendStringInfoString(&required, n++ > 0 ? ", " : "");
		escape_json(&required, name);
	}
	if (n == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("type %s has no column that can be filled in", format_type_be(type)),
						errdetail("Generated and identity columns, and those that a sequence numbers, are not asked "
								  "for.")));
	appendStringInfo(&writing->text, "}, \"required\": [%s], \"additionalProperties\": false", required.data);
}

static void
write_type(Writing *writing, Oid type, int32 modifier, int n_dimensions, bool may_be_null, const char *comment,
		   List *only)
{
	TypePart part = type_part_of(type, modifier, n_dimensions, writing->path.data);
	const char *looks = NULL;
	TupleDesc columns = NULL;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	if (writing->text.len > SCHEMA_BYTES)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("the type has more parts than a schema of %d bytes says", SCHEMA_BYTES),
						errdetail("It was left at \"%s\".", writing->path.data),
						errhint("Extract a type with fewer columns.")));
	may_be_null &= !part.never_null;
	add(writing, "{");
	switch (part.kind)
	{
		case TYPE_OBJECT:
			add_type(writing, "object", may_be_null);
			columns = lookup_rowtype_tupdesc_copy(part.base, -1);
			comment = checks_of(get_typ_typrelid(part.base), columns, -1, only, comment);
			break;
		case TYPE_ARRAY:
			add_type(writing, "array", may_be_null);
			break;
		case TYPE_ENUM:
			write_labels(writing, part.base, may_be_null);
			break;
		case TYPE_INTEGER:
			add_type(writing, "integer", may_be_null);
			write_integer(writing, part.base);
			break;
		case TYPE_NUMBER:
			write_number(writing, &part, may_be_null);
			break;
		case TYPE_BOOLEAN:
			add_type(writing, "boolean", may_be_null);
			break;
		case TYPE_STRING:
			add_type(writing, "string", may_be_null);
			looks = write_string(writing, &part);
			break;
		case TYPE_JSON:
			add(writing, may_be_null
							 ? "\"type\": [\"object\", \"array\", \"string\", \"number\", \"boolean\", \"null\"]"
							 : "\"type\": [\"object\", \"array\", \"string\", \"number\", \"boolean\"]");
			break;
	}
	add_description(writing, comment, looks, part.check);
	if (part.kind == TYPE_OBJECT)
		write_members(writing, part.base, columns, only);
	else if (part.kind == TYPE_ARRAY)
		write_items(writing, &part);
	add(writing, "}");
}

/* Columns are of rows. */
static void
refuse_columns(const TypePart *part, Oid type, const List *only)
{
	if (only != NIL && part->kind != TYPE_OBJECT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("type %s has no columns", format_type_be(type))));
}

void
type_check_columns(Oid type, int32 modifier, const List *only)
{
	TypePart part = type_part_of(type, modifier, 0, "");

	refuse_columns(&part, type, only);
	if (only != NIL)
		check_names(lookup_rowtype_tupdesc_copy(part.base, -1), part.base, only);
}

char *
type_schema(Oid type, int32 modifier, List *only)
{
	Writing writing;
	TypePart part = type_part_of(type, modifier, 0, "");

	initStringInfo(&writing.text);
	initStringInfo(&writing.path);
	refuse_columns(&part, type, only);
	/* of a row or an array there is always one, of a single value perhaps not */
	write_type(&writing, type, modifier, 0, part.kind != TYPE_OBJECT && part.kind != TYPE_ARRAY, comment_of(type),
			   only);
	return writing.text.data;
}

List *
type_columns_of(Datum names)
{
	List *columns = NIL;
	Datum *elements;
	bool *nulls;
	int n;

	require_one_dimension(DatumGetArrayTypeP(names), "columns");
	deconstruct_array(DatumGetArrayTypeP(names), NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR, &elements, &nulls, &n);
	for (int i = 0; i < n; i++)
		if (nulls[i])
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("columns must not hold NULL")));
		else
			columns = lappend(columns, NameStr(*DatumGetName(elements[i])));
	if (columns == NIL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("columns must name at least one")));
	return columns;
}

QWEN_FUNCTION(qwen_type_schema, 1, 2)
{
	List *only = NIL;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	if (!get_typisdefined(PG_GETARG_OID(0)))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("there is no such type")));
	if (!PG_ARGISNULL(1))
		only = type_columns_of(PG_GETARG_DATUM(1));
	PG_RETURN_TEXT_P(cstring_to_text(type_schema(PG_GETARG_OID(0), -1, only)));
}
