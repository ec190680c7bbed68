/*
 * trigger_values.c - what all triggers share: when a row gets an answer, and values of any type as text and back.
 *
 * The rule: a row is answered when it is inserted, when a source changes, and when an UPDATE sets the target to NULL;
 * never where the statement itself gives the target a value. The column's default is as good as NULL.
 */
#include "trigger_values.h"

#include "../call/call.h"
#include "../core/statement.h"
#include "../queue/queue.h"
#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/partition.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/typcache.h"

#define GENERATED_VIRTUAL 'v' /* ATTRIBUTE_GENERATED_VIRTUAL, which older versions do not have */

bool
row_value_is_same(TupleDesc columns, int column, HeapTuple old_row, HeapTuple new_row)
{
	Form_pg_attribute attribute = TupleDescAttr(columns, column - 1);
	bool old_null, new_null;
	Datum old_value = heap_getattr(old_row, column, columns, &old_null);
	Datum new_value = heap_getattr(new_row, column, columns, &new_null);

	if (old_null || new_null)
		return old_null && new_null;
	return datum_image_eq(old_value, new_value, attribute->attbyval, attribute->attlen);
}

/* An expression without a row, evaluated; a value of a column's type. */
static Datum
evaluate(Expr *expression, Form_pg_attribute column, bool *is_null)
{
	EState *state = CreateExecutorState();
	ExprState *prepared = ExecPrepareExpr(expression, state);
	Datum value = ExecEvalExprSwitchContext(prepared, GetPerTupleExprContext(state), is_null);

	if (!*is_null)
		value = datumCopy(value, column->attbyval, column->attlen);
	FreeExecutorState(state);
	return value;
}

/* Is a value the one that a column has when nothing is given? A default that is another one each time never is. */
static bool
is_default(Relation relation, int column, Datum value)
{
	Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(relation), column - 1);
	/* the column's own, or its domain's */
	Node *expression = build_column_default(relation, column);
	Datum usual;
	bool is_null;

	if (!expression || contain_volatile_functions(expression))
		return false;
	usual = evaluate((Expr *) expression, attribute, &is_null);
	return !is_null && datum_image_eq(usual, value, attribute->attbyval, attribute->attlen);
}

/* Are some of a partition's columns, by number, in the key that a parent of it parts rows by? */
static bool
parts_by(Oid parent, TupleDesc columns, const Bitmapset *set)
{
	Relation relation = table_open(parent, AccessShareLock);
	Bitmapset *in_parent = NULL;
	bool found;
	int at = -1;

	while ((at = bms_next_member(set, at)) >= 0)
	{
		AttrNumber number = get_attnum(parent, NameStr(TupleDescAttr(columns, at - 1)->attname));

		if (number > 0)
			in_parent = bms_add_member(in_parent, number - FirstLowInvalidHeapAttributeNumber);
	}
	found = has_partition_attrs(relation, in_parent, NULL);
	table_close(relation, AccessShareLock);
	return found;
}

/*
 * May a row that is inserted into a partition be one that an UPDATE moved there, with its old answer? For a BEFORE
 * trigger it makes no difference: it has been called for the UPDATE already, if it is to answer that at all. An AFTER
 * trigger is called for the INSERT alone, so it looks whether the statement updates one of the partition's parents, and
 * which of the partition's columns (by number) it sets there. One that inserts rows there as well (MERGE, WITH) moves
 * rows only where it sets what they are parted by.
 */
static bool
may_have_moved(const TriggerData *data, Bitmapset **set)
{
	TupleDesc columns = RelationGetDescr(data->tg_relation);
	List *parents;
	ListCell *cell;
	bool updated = false, inserted, parted = false;

	if (TRIGGER_FIRED_BEFORE(data->tg_event) || !data->tg_relation->rd_rel->relispartition)
		return false;
	inserted = executor_inserts(RelationGetRelid(data->tg_relation));
	parents = get_partition_ancestors(RelationGetRelid(data->tg_relation));
	foreach (cell, parents)
	{
		Oid parent = lfirst_oid(cell);
		Bitmapset *found = NULL;

		updated |= executor_updates(parent, &found);
		inserted |= executor_inserts(parent);
		/* a partition may have its columns in another order */
		for (int i = 0; found && i < columns->natts; i++)
		{
			Form_pg_attribute column = TupleDescAttr(columns, i);
			AttrNumber number = column->attisdropped ? 0 : get_attnum(parent, NameStr(column->attname));

			if (number > 0 && bms_is_member(number - FirstLowInvalidHeapAttributeNumber, found))
				*set = bms_add_member(*set, i + 1);
		}
	}
	foreach (cell, parents)
		parted |= updated && inserted && parts_by(lfirst_oid(cell), columns, *set);
	list_free(parents);
	return updated && (!inserted || parted);
}

/* What a row that has a value and may have moved needs: what it was before is not known, but what the statement sets.
 */
static RowWork
work_of_moved(Bitmapset *set, const int *sources, int n_sources, int target)
{
	if (bms_is_member(target, set))
		return ROW_KEEPS_VALUE;
	for (int i = 0; i < n_sources; i++)
		if (bms_is_member(sources[i], set))
			return ROW_WANTS_ANSWER;
	return ROW_IS_UNCHANGED;
}

/* The columns that a generated one is computed from, as attribute numbers of pull_varattnos. */
static Bitmapset *
bases_of(TupleDesc columns, int column)
{
	TupleConstr *constraints = columns->constr;
	Bitmapset *used = NULL;

	for (int i = 0; constraints && i < constraints->num_defval; i++)
		if (constraints->defval[i].adnum == column)
			pull_varattnos(stringToNode(constraints->defval[i].adbin), 1, &used);
	return used;
}

/* Does an UPDATE's SET name a column? PostgreSQL adds generated columns, where there are BEFORE triggers all of them:
 * of these, does it name one that they are computed from? */
static bool
sets(const TriggerData *data, int column)
{
	TupleDesc columns = RelationGetDescr(data->tg_relation);

	if (TupleDescAttr(columns, column - 1)->attgenerated)
		return bms_overlap(bases_of(columns, column), data->tg_updatedcols);
	return bms_is_member(column - FirstLowInvalidHeapAttributeNumber, data->tg_updatedcols);
}

/*
 * Does an UPDATE give the target the value that it has? Where its SET names a source as well it may be one that writes
 * every column as it read it, which gives none. The default is as good as NULL.
 */
static bool
gives_same(const TriggerData *data, const int *sources, int n_sources, int target, Datum value)
{
	if (!sets(data, target))
		return false;
	for (int i = 0; i < n_sources; i++)
		if (sets(data, sources[i]))
			return false;
	return !is_default(data->tg_relation, target, value);
}

RowWork
trigger_work(const TriggerData *data, const int *sources, int n_sources, int target)
{
	TupleDesc columns = RelationGetDescr(data->tg_relation);
	bool is_update = TRIGGER_FIRED_BY_UPDATE(data->tg_event), has_source = false, is_empty;
	HeapTuple row = is_update ? data->tg_newtuple : data->tg_trigtuple;
	Datum value = heap_getattr(row, target, columns, &is_empty);
	bool is_same = is_update && row_value_is_same(columns, target, data->tg_trigtuple, row);
	Bitmapset *set = NULL;

	if (!is_empty && !is_same)
	{
		is_empty = is_default(data->tg_relation, target, value);
		if (!is_empty)
			return may_have_moved(data, &set) ? work_of_moved(set, sources, n_sources, target) : ROW_KEEPS_VALUE;
	}
	for (int i = 0; is_update && i < n_sources; i++)
		if (!row_value_is_same(columns, sources[i], data->tg_trigtuple, row))
			return ROW_WANTS_ANSWER;
	if (is_update && !is_empty)
		return gives_same(data, sources, n_sources, target, value) ? ROW_KEEPS_VALUE : ROW_IS_UNCHANGED;
	/* set to what it was is set as well, where that is NULL */
	if (is_update && is_same && !sets(data, target))
		return ROW_IS_UNCHANGED;
	for (int i = 0; i < n_sources && !has_source; i++)
	{
		bool is_null;

		(void) heap_getattr(row, sources[i], columns, &is_null);
		has_source = !is_null;
	}
	return has_source ? ROW_WANTS_ANSWER : ROW_HAS_NO_SOURCE;
}

Datum
assign_value(Form_pg_attribute column, Oid type, Datum value, bool *is_null)
{
	Const *given = makeConst(type, -1, get_typcollation(type), get_typlen(type), *is_null ? (Datum) 0 : value, *is_null,
							 get_typbyval(type));
	Node *expression = coerce_to_target_type(NULL, (Node *) given, type, column->atttypid, column->atttypmod,
											 COERCION_ASSIGNMENT, COERCE_IMPLICIT_CAST, -1);

	if (!expression)
		ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
						errmsg("column \"%s\" is of type %s, which does not take %s", NameStr(column->attname),
							   format_type_be(column->atttypid), format_type_be(type))));
	return evaluate((Expr *) expression, column, is_null);
}

bool
is_text_type(Oid type)
{
	return TypeCategory(getBaseType(type)) == TYPCATEGORY_STRING;
}

text *
value_as_text(Oid type, Datum value)
{
	Oid base = getBaseType(type), function;
	bool is_varlena;

	switch (find_coercion_pathway(TEXTOID, base, COERCION_EXPLICIT, &function))
	{
		case COERCION_PATH_RELABELTYPE:
			return DatumGetTextPP(value);
		case COERCION_PATH_FUNC:
			return DatumGetTextPP(OidFunctionCall1(function, value));
		default:
			getTypeOutputInfo(base, &function, &is_varlena);
			return cstring_to_text(OidOutputFunctionCall(function, value));
	}
}

NullableDatum *
trigger_tail(const Trigger *trigger, int first, const char *function, const char *hint)
{
	NullableDatum *tail = trigger->tgnargs > first ? palloc(N_TAIL_ARGUMENTS * sizeof *tail) : NULL;

	for (int i = 0; tail && i < N_TAIL_ARGUMENTS; i++)
		tail[i] = (NullableDatum){(Datum) 0, true};
	trigger_refuse_twice(function, trigger->tgargs, first, trigger->tgnargs);
	for (int i = first; i < trigger->tgnargs; i++)
	{
		const char *argument = trigger->tgargs[i];
		size_t name = strcspn(argument, "=");
		int n = 0;

		while (n < N_TAIL_ARGUMENTS &&
			   (strlen(tail_arguments[n].name) != name || strncmp(tail_arguments[n].name, argument, name) != 0))
			n++;
		if (n == N_TAIL_ARGUMENTS || argument[name] != '=')
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("%s: the argument \"%s\" is not known", function, argument), errhint("%s", hint)));
		tail[n] = (NullableDatum){
			options_value_of_text(tail_arguments[n].name, pstrdup(argument + name + 1), tail_arguments[n].type), false};
	}
	return tail;
}

void
check_trigger_source(Relation relation, int column, const char *function)
{
	Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(relation), column - 1);

	if (attribute->attgenerated)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s: column \"%s\" of table \"%s\" is a generated column", function,
							   NameStr(attribute->attname), RelationGetRelationName(relation)),
						errdetail("It is computed after BEFORE triggers have run: they see no value, or the old one."),
						errhint("Name a column that it is made of, or use %s, an AFTER trigger.",
								strcmp(function, "qwen_embed_trigger") == 0 ? "qwen_enqueue_embed_trigger"
																			: "qwen_enqueue_trigger")));
}

int
add_sources(TupleDesc columns, int column, int *sources, int n)
{
	Bitmapset *used;
	int at = -1;

	if (n == MaxHeapAttributeNumber)
		return n;
	if (TupleDescAttr(columns, column - 1)->attgenerated != GENERATED_VIRTUAL)
	{
		sources[n] = column;
		return n + 1;
	}
	used = bases_of(columns, column);
	while ((at = bms_next_member(used, at)) >= 0)
	{
		int base = at + FirstLowInvalidHeapAttributeNumber;

		if (base > 0)
			n = add_sources(columns, base, sources, n);
	}
	return n;
}
