/*
 * type_values.c - values of types made of JSON that satisfies their schema.
 *
 * Each value goes through its type's own input, with the column's modifier, and through its domains' checks, a row
 * through its table's. Members
 * are found by name; what has none is NULL. qwen_type_value does it in SQL: with it jobs write several columns.
 */
#include "type_parts.h"

#include "../call/call.h"
#include "../core/arguments.h"
#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#define SHOWN_BYTES 100 /* of a value, in an error */

/* Where a value is being made, and of what; for errors. */
typedef struct Making
{
	StringInfoData path;
	const JsonbValue *given; /* or NULL */
} Making;

static Datum make_value(Making *making, JsonbValue *given, Oid type, int32 modifier, int n_dimensions, List *only,
						bool *is_null);

static void
refuse_kind(Oid type)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
					errmsg("it is of another kind than type %s takes", format_type_be(type))));
}

/* A member of an object, or NULL. */
static JsonbValue *
member_of(const JsonbValue *object, const char *name)
{
	JsonbValue key = {.type = jbvString};

	key.val.string.val = (char *) (uintptr_t) name;
	key.val.string.len = strlen(name);
	return findJsonbValueFromContainer(object->val.binary.data, JB_FOBJECT, &key);
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

/*
 * A table's CHECKs, where the answer decides them; of some of its columns, or of what else a row is made of, the table
 * says it itself. An answer that the table would refuse is an error of its row alone then.
 */
static void
check_row(Making *making, JsonbValue *given, TupleDesc columns, HeapTuple row)
{
	EState *state = CreateExecutorState();
	TupleTableSlot *slot = MakeSingleTupleTableSlot(columns, &TTSOpsHeapTuple);
	ExprContext *context = GetPerTupleExprContext(state);
	int length = making->path.len;

	ExecStoreHeapTuple(row, slot, false);
	context->ecxt_scantuple = slot;
	for (int i = 0; i < columns->constr->num_check; i++)
	{
		const char *name = columns->constr->check[i].ccname;
		int column;
		Node *check = type_check_decided(columns, i, NIL, &column);

		if (!check)
			continue;
		making->given = given;
		if (column >= 0)
		{
			type_path_add(&making->path, NameStr(TupleDescAttr(columns, column)->attname));
			making->given = member_of(given, NameStr(TupleDescAttr(columns, column)->attname));
		}
		if (!ExecCheck(ExecPrepareExpr((Expr *) check, state), context))
			ereport(ERROR, (errcode(ERRCODE_CHECK_VIOLATION),
							errmsg("new row for relation \"%s\" violates check constraint \"%s\"",
								   get_rel_name(get_typ_typrelid(columns->tdtypeid)), name),
							err_generic_string(PG_DIAG_CONSTRAINT_NAME, name)));
		type_path_leave(&making->path, length);
	}
	making->given = given;
	ExecDropSingleTupleTableSlot(slot);
	FreeExecutorState(state);
}

static Datum
make_row(Making *making, JsonbValue *given, Oid type, List *only)
{
	TupleDesc columns = lookup_rowtype_tupdesc_copy(type, -1);
	Datum *values = palloc0(sizeof *values * columns->natts);
	bool *nulls = palloc(sizeof *nulls * columns->natts);
	int length = making->path.len;
	HeapTuple row;

	if (given->type != jbvBinary || !JsonContainerIsObject(given->val.binary.data))
		refuse_kind(type);
	for (int i = 0; i < columns->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(columns, i);

		nulls[i] = true;
		if (!type_column_is_asked(columns, i, only))
			continue;
		type_path_add(&making->path, NameStr(column->attname));
		values[i] = make_value(making, member_of(given, NameStr(column->attname)), column->atttypid, column->atttypmod,
							   column->attndims, NIL, &nulls[i]);
		type_path_leave(&making->path, length);
	}
	row = heap_form_tuple(BlessTupleDesc(columns), values, nulls);
	if (only == NIL && columns->constr && columns->constr->num_check > 0)
		check_row(making, given, columns, row);
	return HeapTupleGetDatum(row);
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
add_elements(Making *making, JsonbValue *given, const TypePart *part, int dimension, Elements *all)
{
	int length = making->path.len, n;

	making->given = given;
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

		appendStringInfo(&making->path, "/%d", i);
		if (dimension + 1 < part->n_dimensions)
			add_elements(making, element, part, dimension + 1, all);
		else
		{
			Datum value = make_value(making, element, part->element, part->modifier, 0, NIL, &is_null);

			add_element(all, value, is_null);
		}
		type_path_leave(&making->path, length);
		making->given = given;
	}
}

static Datum
make_array(Making *making, JsonbValue *given, const TypePart *part)
{
	Elements all = {.room = 8};
	int bounds[MAXDIM];
	int16 length;
	bool by_value;
	char align;

	all.values = palloc(sizeof *all.values * all.room);
	all.nulls = palloc(sizeof *all.nulls * all.room);
	for (int i = 0; i < MAXDIM; i++)
	{
		all.lengths[i] = -1;
		bounds[i] = 1;
	}
	add_elements(making, given, part, 0, &all);
	if (all.n == 0)
		return PointerGetDatum(construct_empty_array(part->element));
	get_typlenbyvalalign(part->element, &length, &by_value, &align);
	return PointerGetDatum(construct_md_array(all.values, all.nulls, part->n_dimensions, all.lengths, bounds,
											  part->element, length, by_value, align));
}

/* given may be NULL: there is none. */
static Datum
make_value(Making *making, JsonbValue *given, Oid type, int32 modifier, int n_dimensions, List *only, bool *is_null)
{
	TypePart part = type_part_of(type, modifier, n_dimensions, making->path.data);
	Datum value = (Datum) 0;

	check_stack_depth();
	making->given = given;
	*is_null = !given || given->type == jbvNull;
	if (!*is_null)
	{
		if (part.kind == TYPE_OBJECT)
			value = make_row(making, given, part.base, only);
		else if (part.kind == TYPE_ARRAY)
			value = make_array(making, given, &part);
		else
			value = make_scalar(given, &part);
	}
	making->given = given;
	if (type != part.base)
		domain_check(value, *is_null, type, NULL, NULL);
	return value;
}

/* A value as JSON has it, not too long. */
static char *
shown(const JsonbValue *given)
{
	StringInfoData text;
	int length;

	initStringInfo(&text);
	if (!given || given->type == jbvNull)
		return "null";
	if (given->type == jbvBinary)
		(void) JsonbToCString(&text, given->val.binary.data, given->val.binary.len);
	else if (given->type == jbvString)
		escape_json(&text, pnstrdup(given->val.string.val, given->val.string.len));
	else
		appendStringInfoString(&text, written(given, TEXTOID));
	if (text.len <= SHOWN_BYTES)
		return text.data;
	length = pg_mbcliplen(text.data, text.len, SHOWN_BYTES);
	return psprintf("%s...", pnstrdup(text.data, length));
}

/* The first step of a path, without escapes; NULL: it has none. */
static char *
column_of(const char *path)
{
	StringInfoData name;

	if (*path != '/')
		return NULL;
	initStringInfo(&name);
	for (path++; *path && *path != '/'; path++)
		if (*path == '~')
			appendStringInfoChar(&name, *++path == '0' ? '~' : '/');
		else
			appendStringInfoChar(&name, *path);
	return name.data;
}

/* Say of an error where in the answer it is, and which value is refused; of a row, which column that is. */
static void
tell_where(ErrorData *error, const Making *making, Oid type)
{
	const char *path = making->path.data;

	error->message = psprintf("the answer%s%s%s is refused: %s (the value is %s)", *path ? "'s \"" : "", path,
							  *path ? "\"" : "", error->message, shown(making->given));
	if (!error->column_name && type_is_rowtype(getBaseType(type)))
		error->column_name = column_of(path);
}

Datum
type_value(Jsonb *answer, Oid type, int32 modifier, List *only, bool *is_null)
{
	MemoryContext context = CurrentMemoryContext;
	JsonbValue root;
	Making making = {.given = &root};
	volatile Datum value = (Datum) 0;

	initStringInfo(&making.path);
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
		value = make_value(&making, &root, type, modifier, 0, only, is_null);
	}
	PG_CATCH();
	{
		ErrorData *error;

		if (!is_data_error(geterrcode()))
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		tell_where(error, &making, type);
		ReThrowError(error);
	}
	PG_END_TRY();
	return value;
}

Oid
type_wanted(FunctionCallInfo fcinfo, int32 *modifier)
{
	Node *call = fcinfo->flinfo ? fcinfo->flinfo->fn_expr : NULL;
	Oid type = get_fn_expr_argtype(fcinfo->flinfo, 1);

	if (!OidIsValid(type))
		ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH), errmsg("the type that is wanted cannot be told")));
	*modifier = call && IsA(call, FuncExpr) ? exprTypmod((Node *) list_nth(((FuncExpr *) call)->args, 1)) : -1;
	return type;
}

char *
type_row_refusal(Jsonb *answer, const List *columns, const char *why)
{
	StringInfoData paths, values;
	bool is_one = list_length(columns) == 1;
	ListCell *cell;

	initStringInfo(&paths);
	initStringInfo(&values);
	foreach (cell, columns)
	{
		JsonbValue key = {.type = jbvString};
		const char *comma = paths.len > 0 ? ", " : "";

		key.val.string.val = lfirst(cell);
		key.val.string.len = strlen(key.val.string.val);
		appendStringInfo(&paths, "%s\"", comma);
		type_path_add(&paths, key.val.string.val);
		appendStringInfoChar(&paths, '"');
		appendStringInfo(&values, "%s%s", comma, shown(findJsonbValueFromContainer(&answer->root, JB_FOBJECT, &key)));
	}
	return psprintf("the answer's %s %s refused: %s (the value%s %s)", paths.data, is_one ? "is" : "are", why,
					is_one ? " is" : "s are", values.data);
}

QWEN_FUNCTION(qwen_type_value, 2, 3)
{
	int32 modifier;
	Oid type = type_wanted(fcinfo, &modifier);
	List *only = PG_ARGISNULL(2) ? NIL : type_columns_of(PG_GETARG_DATUM(2));
	bool is_null;
	Datum value;

	type_check_columns(type, modifier, only);
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	value = type_value(PG_GETARG_JSONB_P(0), type, modifier, only, &is_null);
	if (is_null)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(value);
}
