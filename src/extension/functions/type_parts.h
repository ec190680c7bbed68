/*
 * type_parts.h - a type of PostgreSQL as something that JSON can say: what qwen_extract(input, NULL::some_type) asks
 * for, and how the answer becomes a value.
 *
 * type_parts.c says of what kind a type is, type_schema.c writes the JSON schema of it, type_values.c makes values of
 * answers. All read the catalog as it is at that moment and keep nothing, so that a type that was altered is found as
 * it is.
 */
#ifndef QWEN_TYPE_PARTS_H
#define QWEN_TYPE_PARTS_H

#include "../core/core.h"

#include "access/tupdesc.h"
#include "nodes/nodes.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"

typedef enum TypeKind
{
	TYPE_OBJECT, /* a composite type */
	TYPE_ARRAY,
	TYPE_ENUM,
	TYPE_INTEGER,
	TYPE_NUMBER,
	TYPE_BOOLEAN,
	TYPE_STRING,
	TYPE_JSON,
} TypeKind;

/* A type below its domains. */
typedef struct TypePart
{
	TypeKind kind;
	Oid base;
	int32 modifier;    /* of base; of an array, its elements' */
	Oid element;       /* of an array */
	int n_dimensions;  /* of an array, as declared: at least 1 */
	bool never_null;   /* a domain says so */
	const char *check; /* "CHECK (...) ...": of its domains, or NULL */
} TypePart;

/*
 * Look a type up. n_dimensions: as its column was declared, or 0. path: a JSON pointer to it, for errors. Raises 0A000
 * for what has no form in JSON. No reference of the catalog is held where it does.
 */
extern TypePart type_part_of(Oid type, int32 modifier, int n_dimensions, const char *path);

/*
 * Is a column of a composite type asked for? Not what is dropped, generated, an identity, or what a default of its own
 * fills in anew for every row, as numbers of a sequence.
 * only: names (C strings) of those that are, or NIL.
 */
extern bool type_column_is_asked(TupleDesc columns, int i, const List *only);

/*
 * The expression of a CHECK of a table, constr->check[i], where an answer decides it: all columns that it speaks of are
 * asked for (only: as above). NULL: the table itself has to. *column: the only one that it speaks of, or -1.
 */
extern Node *type_check_decided(TupleDesc columns, int i, const List *only, int *column);

/* "/name" with what JSON pointers escape, appended. */
extern void type_path_add(StringInfo path, const char *name);

/* Back to what it was when it was so long. */
extern void type_path_leave(StringInfo path, int length);

/* The type that a function's second argument is of, and its modifier. */
extern Oid type_wanted(FunctionCallInfo fcinfo, int32 *modifier);

/* The names in an argument of type name[], as a list of C strings; at least one. */
extern List *type_columns_of(Datum names);

/* Is each of these a column of the type that can be filled in? Otherwise it is an error. */
extern void type_check_columns(Oid type, int32 modifier, const List *only);

/* The JSON schema of a type, palloc'd. only: as above, of a composite type. */
extern char *type_schema(Oid type, int32 modifier, List *only);

/*
 * The value of an answer to that schema. What the type's input, a domain, an array or a table's CHECK refuses is
 * raised with the path and the value. Runs what users wrote, in these CHECKs.
 */
extern Datum type_value(Jsonb *answer, Oid type, int32 modifier, List *only, bool *is_null);

/* What to say where a table refuses an answer that is a row for some of its columns (names, at least one): their paths,
 * why, and the values. Palloc'd. */
extern char *type_row_refusal(Jsonb *answer, const List *columns, const char *why);

#endif
