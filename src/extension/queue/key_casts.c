/*
 * key_casts.c - whether ALTER TABLE leaves a key's values what they are.
 *
 * What is queued has keys as text, which the new type reads. A row that it finds so is the one that was queued where
 * the statement reads values in the same way: by a plain cast of the column. USING id + 1 moves keys onto other rows;
 * and so do casts to types whose texts mean something else: bit(8) to int, or dates by way of the session's time zone.
 */
#include "key_casts.h"

#include "catalog/pg_type.h"
#include "nodes/value.h"
#include "parser/parse_coerce.h"
#include "parser/parse_type.h"
#include "utils/lsyscache.h"

bool
job_changes_values(const AlterTableCmd *command)
{
#if PG_VERSION_NUM >= 170000
	/* of a generated column */
	if (command->subtype == AT_SetExpression)
		return true;
#endif
	return command->subtype == AT_AlterColumnType;
}

/* Has a type of dates or times a time zone? */
static bool
has_zone(Oid type)
{
	return type == TIMESTAMPTZOID || type == TIMETZOID;
}

/* Does a cast to or from dates depend on nothing that is set in a session? */
static bool
keeps_dates(Oid from, Oid to)
{
	return TypeCategory(from) == TypeCategory(to) && has_zone(from) == has_zone(to);
}

/* Reads one type the other's texts as the values that a cast between them gives? */
static bool
cast_keeps_values(Oid from, Oid to)
{
	Oid function;

	from = getBaseType(from);
	to = getBaseType(to);
	if (from == to)
		return true;
	if (TypeCategory(from) == TYPCATEGORY_DATETIME || TypeCategory(to) == TYPCATEGORY_DATETIME)
		return keeps_dates(from, to);
	switch (find_coercion_pathway(to, from, COERCION_EXPLICIT, &function))
	{
		case COERCION_PATH_RELABELTYPE:
		case COERCION_PATH_COERCEVIAIO:
			return true;
		case COERCION_PATH_FUNC:
			/* what is queued is text, and cast by the same function; numbers are, whatever their type */
			return TypeCategory(from) == TYPCATEGORY_STRING || TypeCategory(from) == TypeCategory(to);
		default:
			return false;
	}
}

/* The type as which an expression gives a column's values as they are; invalid: it does not. type: the column's. */
static Oid
type_of_values(const Node *expression, const char *column, Oid type)
{
	Oid from, to;

	switch (nodeTag(expression))
	{
		case T_ColumnRef:
			expression = llast(((const ColumnRef *) expression)->fields);
			return IsA(expression, String) && strcmp(strVal(expression), column) == 0 ? type : InvalidOid;
		case T_CollateClause:
			return type_of_values(((const CollateClause *) expression)->arg, column, type);
		case T_TypeCast:
			from = type_of_values(((const TypeCast *) expression)->arg, column, type);
			to = typenameTypeId(NULL, ((const TypeCast *) expression)->typeName);
			return OidIsValid(from) && cast_keeps_values(from, to) ? to : InvalidOid;
		default:
			return InvalidOid;
	}
}

bool
job_keeps_values(const AlterTableCmd *command, Oid type)
{
	const ColumnDef *column;

	if (command->subtype != AT_AlterColumnType)
		return false;
	column = castNode(ColumnDef, command->def);
	if (column->raw_default)
		type = type_of_values(column->raw_default, command->name, type);
	return OidIsValid(type) && cast_keeps_values(type, typenameTypeId(NULL, column->typeName));
}
