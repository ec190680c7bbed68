/*
 * keys.c - the columns that tell rows apart: as which type they are kept as text and compared, by which operators.
 *
 * Statements over users' tables run with the search path of the table's or job's owner, which other roles may be able
 * to write to. So nothing of ours is looked up in it: operators are those of the key's index, or of the type's default
 * operator class, written with their schema. A key's type is named without a length: "character" would be one
 * character.
 */
#include "keys.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/stratnum.h"
#include "catalog/pg_am.h"
#include "catalog/pg_index.h"
#include "catalog/pg_opclass.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "nodes/value.h"
#include "parser/parse_oper.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

Oid
job_key_type(Oid type)
{
	type = getBaseType(type);
	switch (type)
	{
		/* the names of catalog objects depend on the search path, and can change */
		case REGPROCOID:
		case REGPROCEDUREOID:
		case REGOPEROID:
		case REGOPERATOROID:
		case REGCLASSOID:
		case REGTYPEOID:
		case REGROLEOID:
		case REGNAMESPACEOID:
		case REGCONFIGOID:
		case REGDICTIONARYOID:
		case REGCOLLATIONOID:
			return OIDOID;
		default:
			return type;
	}
}

char *
job_key_type_name(Oid type)
{
	return format_type_extended(job_key_type(type), -1, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);
}

/* "OPERATOR(schema.name)" */
static char *
operator_name(Oid number)
{
	HeapTuple tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(number));
	Form_pg_operator operator;
	char *name;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FUNCTION), errmsg("an operator of a key's type was dropped")));
	operator=(Form_pg_operator) GETSTRUCT(tuple);
	name = psprintf("OPERATOR(%s.%s)", quote_identifier(get_namespace_name(operator->oprnamespace)),
					NameStr(operator->oprname));
	ReleaseSysCache(tuple);
	return name;
}

/* The operators of a key's type, by its default btree operator class; false: it has none. */
static bool
default_operators(Oid type, JobKeyOperators *operators)
{
	TypeCacheEntry *entry = lookup_type_cache(job_key_type(type), TYPECACHE_BTREE_OPFAMILY | TYPECACHE_EQ_OPR |
																	  TYPECACHE_LT_OPR | TYPECACHE_GT_OPR);

	operators->family = entry->btree_opf;
	operators->input = entry->btree_opintype;
	return OidIsValid(entry->btree_opf) && OidIsValid(entry->eq_opr) && OidIsValid(entry->lt_opr) &&
		   OidIsValid(entry->gt_opr);
}

/* The operators of a column of a btree index, if the column is in it. */
static bool
index_operators(Oid index_number, AttrNumber column, JobKeyOperators *operators)
{
	HeapTuple tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index_number));
	Form_pg_index index;
	bool is_null, found = false;
	oidvector *classes;

	if (!HeapTupleIsValid(tuple))
		return false;
	index = (Form_pg_index) GETSTRUCT(tuple);
	classes = (oidvector *) DatumGetPointer(SysCacheGetAttr(INDEXRELID, tuple, Anum_pg_index_indclass, &is_null));
	for (int i = 0; i < index->indnkeyatts && !found; i++)
	{
		HeapTuple class;

		if (index->indkey.values[i] != column)
			continue;
		class = SearchSysCache1(CLAOID, ObjectIdGetDatum(classes->values[i]));
		if (!HeapTupleIsValid(class))
			continue;
		operators->family = ((Form_pg_opclass) GETSTRUCT(class))->opcfamily;
		operators->input = ((Form_pg_opclass) GETSTRUCT(class))->opcintype;
		found = ((Form_pg_opclass) GETSTRUCT(class))->opcmethod == BTREE_AM_OID;
		ReleaseSysCache(class);
	}
	ReleaseSysCache(tuple);
	return found;
}

/* The name of an operator of a family; NULL: it has none of these types. */
static char *
member_name(const JobKeyOperators *operators, Oid right, int strategy)
{
	Oid number = get_opfamily_member(operators->family, operators->input, right, strategy);

	return OidIsValid(number) ? operator_name(number) : NULL;
}

void
job_key_operators(Oid index, AttrNumber column, Oid type, const char *name, JobKeyOperators *operators)
{
	if (!(OidIsValid(index) && index_operators(index, column, operators)) && !default_operators(type, operators))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("key column \"%s\" is of type %s, which has no order", name, format_type_be(type)),
						errhint("Rows are told apart by columns that an index can be made on.")));
	operators->equal = member_name(operators, operators->input, BTEqualStrategyNumber);
	operators->less = member_name(operators, operators->input, BTLessStrategyNumber);
	operators->greater = member_name(operators, operators->input, BTGreaterStrategyNumber);
	operators->at_least = member_name(operators, operators->input, BTGreaterEqualStrategyNumber);
	if (!operators->equal || !operators->less || !operators->greater || !operators->at_least)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("key column \"%s\": an operator of type %s is missing", name, format_type_be(type))));
}

/*
 * How a column of the target is compared with the text of a key of the source's type: "OPERATOR(…) d.k::type". Of the
 * same type by the index's operator; else by the family's for both types, or PostgreSQL's own, or as the target's type.
 */
char *
job_key_match(const JobKeyOperators *operators, Oid type, Oid source_type, const char *value)
{
	Oid left = job_key_type(type), right = job_key_type(source_type);
	char *across;
	Operator other;

	if (left == right)
		return psprintf("%s %s::%s", operators->equal, value, job_key_type_name(right));
	across = member_name(operators, right, BTEqualStrategyNumber);
	if (across)
		return psprintf("%s %s::%s", across, value, job_key_type_name(right));
	other = oper(NULL, list_make2(makeString("pg_catalog"), makeString("=")), left, right, true, -1);
	if (!other)
		return psprintf("%s %s::%s", operators->equal, value, job_key_type_name(left));
	ReleaseSysCache(other);
	return psprintf("OPERATOR(pg_catalog.=) %s::%s", value, job_key_type_name(right));
}

Oid
job_key_index(Relation relation, const AttrNumber *columns, int n)
{
	List *indexes = RelationGetIndexList(relation);
	Oid found = InvalidOid;
	ListCell *cell;

	foreach (cell, indexes)
	{
		if (!OidIsValid(found) && job_key_index_refusal(lfirst_oid(cell), columns, n) == NULL)
			found = lfirst_oid(cell);
	}
	list_free(indexes);
	return found;
}

/* Why an index does not keep rows apart by exactly these columns; NULL: it does. Empty: it is not about them. */
const char *
job_key_index_refusal(Oid index_number, const AttrNumber *columns, int n)
{
	HeapTuple tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index_number));
	Form_pg_index index;
	const char *refusal = NULL;
	bool all = true;

	if (!HeapTupleIsValid(tuple))
		return "";
	index = (Form_pg_index) GETSTRUCT(tuple);
	for (int i = 0; i < n; i++)
	{
		bool found = false;

		for (int k = 0; k < index->indnkeyatts; k++)
			found |= columns[i] == index->indkey.values[k];
		all &= found;
	}
	if (!index->indisunique)
		refusal = "";
	else if (!heap_attisnull(tuple, Anum_pg_index_indexprs, NULL))
		refusal = "is over an expression";
	else if (!all || index->indnkeyatts != n)
		refusal = "";
	else if (!heap_attisnull(tuple, Anum_pg_index_indpred, NULL))
		refusal = "is partial";
	else if (!index->indimmediate)
		refusal = "is deferrable";
	else if (!index->indisvalid)
		refusal = "is not valid";
	ReleaseSysCache(tuple);
	return refusal;
}
