/*
 * type_values.c - values of types made of JSON that satisfies their schema.
 *
 * Each value goes through its type's own input, with the column's modifier, and through its domains' checks. Members
 * are found by name; what has none is NULL.
 */
#include "type_parts.h"

#include "../call/call.h"
#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

static Datum make_value(StringInfo path, JsonbValue *given, Oid type, int32 modifier, int n_dimensions, List *only,
						bool *is_null);

static void
refuse_kind(Oid type)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
					errmsg("it is of another kind than type %s takes", format_type_be(type))));
}

/* A single value as text. */
static char *
written(const JsonbValue *given, Oid type)
{
	switch (given->type)
	{
		case jbvString:
			return pnstrdup(given->val.string.val, given->val.string.len);
		case jbvNumeric:
			return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(given->val.numeric)));
		case jbvBool:
			return pstrdup(given->val.boolean ? "true" : "false");
		default:
			refuse_kind(type);
	}
	return NULL;
}

static Datum
make_scalar(JsonbValue *given, const TypePart *part)
{
	Oid input, parameter;
	char *text;

	if (part->kind == TYPE_JSON)
	{
		Jsonb *json = JsonbValueToJsonb(given);

		if (part->base == JSONBOID)
			return JsonbPGetDatum(json);
		return CStringGetTextDatum(JsonbToCString(NULL, &json->root, VARSIZE(json)));
	}
	text = written(given, part->base);
	getTypeInputInfo(part->base, &input, &parameter);
	return OidInputFunctionCall(input, text, parameter, part->modifier);
}

static Datum
make_row(StringInfo path, JsonbValue *given, Oid type, List *only)
{
	TupleDesc columns = lookup_rowtype_tupdesc_copy(type, -1);
	Datum *values = palloc0(sizeof *values * columns->natts);
	bool *nulls = palloc(sizeof *nulls * columns->natts);
	int length = path->len;

	if (given->type != jbvBinary || !JsonContainerIsObject(given->val.binary.data))
		refuse_kind(type);
	for (int i = 0; i < columns->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(columns, i);
		JsonbValue key = {.type = jbvString};

		nulls[i] = true;
		if (!type_column_is_asked(columns, i, only))
			continue;
		key.val.string.val = NameStr(column->attname);
		key.val.string.len = strlen(key.val.string.val);
		type_path_add(path, key.val.string.val);
		values[i] = make_value(path, findJsonbValueFromContainer(given->val.binary.data, JB_FOBJECT, &key),
							   column->atttypid, column->atttypmod, column->attndims, NIL, &nulls[i]);
		type_path_leave(path, length);
	}
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(columns), values, nulls));
}

/* The elements of an array of any dimensions, in one row. */
typedef struct Elements
{
	Datum *values;
	bool *nulls;
	int n, room;
	int lengths[MAXDIM]; /* -1: not known yet */
} Elements;

static void
add_element(Elements *all, Datum value, bool is_null)
{
	if (all->n == all->room)
	{
		all->room *= 2;
		all->values = repalloc(all->values, sizeof *all->values * all->room);
		all->nulls = repalloc(all->nulls, sizeof *all->nulls * all->room);
	}
	all->values[all->n] = value;
	all->nulls[all->n++] = is_null;
}

static void
add_elements(StringInfo path, JsonbValue *given, const TypePart *part, int dimension, Elements *all)
{
	int length = path->len, n;

	if (given->type != jbvBinary || !JsonContainerIsArray(given->val.binary.data))
		refuse_kind(part->base);
	n = JsonContainerSize(given->val.binary.data);
	if (all->lengths[dimension] >= 0 && all->lengths[dimension] != n)
		ereport(ERROR, (errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
						errmsg("arrays within an array must be of one length: it has %d elements, those before %d", n,
							   all->lengths[dimension])));
	all->lengths[dimension] = n;
	for (int i = 0; i < n; i++)
	{
		JsonbValue *element = getIthJsonbValueFromContainer(given->val.binary.data, i);
		bool is_null;

		appendStringInfo(path, "/%d", i);
		if (dimension + 1 < part->n_dimensions)
			add_elements(path, element, part, dimension + 1, all);
		else
		{
			Datum value = make_value(path, element, part->element, part->modifier, 0, NIL, &is_null);

			add_element(all, value, is_null);
		}
		type_path_leave(path, length);
	}
}

static Datum
make_array(StringInfo path, JsonbValue *given, const TypePart *part)
{
	Elements all = {.room = 8};
	int bounds[MAXDIM];
	int16 length;
	bool by_value;
	char align;

	if (part->n_dimensions > MAXDIM)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("arrays have at most %d dimensions, not %d", MAXDIM, part->n_dimensions)));
	all.values = palloc(sizeof *all.values * all.room);
	all.nulls = palloc(sizeof *all.nulls * all.room);
	for (int i = 0; i < MAXDIM; i++)
	{
		all.lengths[i] = -1;
		bounds[i] = 1;
	}
	add_elements(path, given, part, 0, &all);
	if (all.n == 0)
		return PointerGetDatum(construct_empty_array(part->element));
	get_typlenbyvalalign(part->element, &length, &by_value, &align);
	return PointerGetDatum(construct_md_array(all.values, all.nulls, part->n_dimensions, all.lengths, bounds,
											  part->element, length, by_value, align));
}

/* given may be NULL: there is none. */
static Datum
make_value(StringInfo path, JsonbValue *given, Oid type, int32 modifier, int n_dimensions, List *only, bool *is_null)
{
	TypePart part = type_part_of(type, modifier, n_dimensions, path->data);
	Datum value = (Datum) 0;

	check_stack_depth();
	*is_null = !given || given->type == jbvNull;
	if (!*is_null)
	{
		if (part.kind == TYPE_OBJECT)
			value = make_row(path, given, part.base, only);
		else if (part.kind == TYPE_ARRAY)
			value = make_array(path, given, &part);
		else
			value = make_scalar(given, &part);
	}
	if (type != part.base)
		domain_check(value, *is_null, type, NULL, NULL);
	return value;
}

Datum
type_value(Jsonb *answer, Oid type, int32 modifier, List *only, bool *is_null)
{
	MemoryContext context = CurrentMemoryContext;
	JsonbValue root;
	StringInfoData path;
	volatile Datum value = (Datum) 0;

	initStringInfo(&path);
	if (JB_ROOT_IS_SCALAR(answer))
		(void) JsonbExtractScalar(&answer->root, &root);
	else
	{
		root.type = jbvBinary;
		root.val.binary.data = &answer->root;
		root.val.binary.len = VARSIZE(answer) - VARHDRSZ;
	}
	PG_TRY();
	{
		value = make_value(&path, &root, type, modifier, 0, only, is_null);
	}
	PG_CATCH();
	{
		ErrorData *error;

		if (!is_data_error(geterrcode()))
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		error->message = path.len > 0 ? psprintf("the answer's \"%s\" is refused: %s", path.data, error->message)
									  : psprintf("the answer is refused: %s", error->message);
		ReThrowError(error);
	}
	PG_END_TRY();
	return value;
}
