/*
 * keys.h - the columns that tell rows apart, and how they are compared.
 */
#ifndef QWEN_KEYS_H
#define QWEN_KEYS_H

#include "../core/core.h"

#include "access/attnum.h"
#include "utils/relcache.h"

typedef struct JobKeyOperators
{
	Oid family, input;                       /* the operator family, and the type it takes */
	char *equal, *less, *greater, *at_least; /* "OPERATOR(schema.name)" */
} JobKeyOperators;

/* The type that values of a key's type are kept as and compared by, and how SQL writes it, of any length. */
extern Oid job_key_type(Oid type);
extern char *job_key_type_name(Oid type);

/* The operators of a key column, of an index over it or else of its type; raises where it has no order. */
extern void job_key_operators(Oid index, AttrNumber column, Oid type, const char *name, JobKeyOperators *operators);

/* "OPERATOR(schema.=) value::type": how a column of a type is compared with the text of a key of source_type. */
extern char *job_key_match(const JobKeyOperators *operators, Oid type, Oid source_type, const char *value);

/* A table's index that keeps rows apart by exactly these columns; invalid: there is none. */
extern Oid job_key_index(Relation relation, const AttrNumber *columns, int n);

/* Why an index cannot serve for that; NULL: it does; empty: it has nothing to do with the columns. */
extern const char *job_key_index_refusal(Oid index, const AttrNumber *columns, int n);

#endif
