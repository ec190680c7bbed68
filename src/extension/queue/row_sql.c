/*
 * row_sql.c - the statements that read and write the user's tables for a spec.
 *
 * All of them are over alias q, the source's rows, and d, the rows at hand: arrays given as parameters, one for the
 * numbers and one for each key column, as text. Names come from the catalog in the transaction that uses them, so a
 * table that was renamed is found and one that was dropped is an error. They run with a search path that is not ours:
 * every name and operator is written with its schema (keys.c has those of the keys).
 */
#include "row_sql.h"

#include "access/relation.h"
#include "access/table.h"
#include "answered_row.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "keys.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "prompt_template.h"
#include "store.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"
#include "utils/rel.h"

/* The current qualified name of a table. */
static char *
table_name(Oid relation, const char *what)
{
	char *name = get_rel_name(relation);

	if (!name)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("the %s table was dropped", what)));
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relation)), name);
}

/* The rows of a spec, to stand in FROM with alias q. A trigger's table without what inherits from it. */
static char *
source_item(const JobSpec *spec)
{
	if (spec->source)
		return psprintf("(%s\n) q", spec->source);
	return psprintf("%s%s q", spec->trigger ? "ONLY " : "", table_name(spec->relation, "source"));
}

/* A table of a spec; raises when it is gone, even while its lock is waited for. */
static Relation
open_table(Oid relation, const char *what)
{
	Relation opened = try_relation_open(relation, AccessShareLock);

	if (!opened)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("the %s table was dropped", what)));
	return opened;
}

char *
job_sql_rows(const JobSpec *spec)
{
	return psprintf("SELECT * FROM %s", source_item(spec));
}

TupleDesc
job_sql_columns(const JobSpec *spec)
{
	if (spec->source)
	{
		SPIPlanPtr plan = SPI_prepare(job_sql_rows(spec), 0, NULL);
		List *sources = plan ? SPI_plan_get_plan_sources(plan) : NIL;

		if (list_length(sources) != 1)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("source must be one query")));
		return ((CachedPlanSource *) linitial(sources))->resultDesc;
	}
	{
		Relation relation = open_table(spec->relation, "source");
		TupleDesc columns = CreateTupleDescCopy(RelationGetDescr(relation));

		relation_close(relation, AccessShareLock);
		return columns;
	}
}

/* The number of a target column; raises when it is gone. */
static AttrNumber
target_number(const JobSpec *spec, int i)
{
	AttrNumber number = get_attnum(spec->target, spec->targets[i]);

	if (number <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN), errmsg("the target table has no column \"%s\"", spec->targets[i])));
	return number;
}

/* The type of a target column, for a cast. */
static char *
target_type(const JobSpec *spec, int i)
{
	Oid type, collation;
	int32 modifier;

	get_atttypetypmodcoll(spec->target, target_number(spec, i), &type, &modifier, &collation);
	return format_type_extended(type, modifier, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);
}

/* A key column in the statements. */
typedef struct Key
{
	const char *name;          /* quoted */
	const char *type;          /* of the source, as SQL writes it */
	JobKeyOperators operators; /* of the source */
	const char *is_q, *is_t;   /* equal to the rows at hand */
	const char *out;           /* its value, of a type whose text means the same to everybody */
	const char *position;      /* the parameter that holds where a job has arrived */
} Key;

/* The number of a column by name; raises when it is gone. */
static int
column_number(TupleDesc columns, const char *name, const char *what)
{
	for (int i = 0; i < columns->natts; i++)
		if (!TupleDescAttr(columns, i)->attisdropped && strcmp(NameStr(TupleDescAttr(columns, i)->attname), name) == 0)
			return i + 1;
	ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN), errmsg("the %s has no key column \"%s\"", what, name)));
	return 0;
}

/* The numbers of the keys among some columns. A trigger's keys are known by number, whatever they are called now. */
static void
number_keys(const JobSpec *spec, TupleDesc columns, const char *what, AttrNumber *numbers)
{
	for (int i = 0; i < spec->n_keys; i++)
	{
		numbers[i] = spec->trigger ? spec->key_numbers[i] : column_number(columns, spec->keys[i], what);
		if (numbers[i] > columns->natts || TupleDescAttr(columns, numbers[i] - 1)->attisdropped)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN), errmsg("a key column was dropped that the row was queued by")));
	}
}

/* The index of a table over some of its columns; none where it has none, as for a query. */
static Oid
index_over(Oid relation, const char *what, const AttrNumber *numbers, int n)
{
	Relation opened;
	Oid index;

	if (!OidIsValid(relation))
		return InvalidOid;
	opened = open_table(relation, what);
	index = job_key_index(opened, numbers, n);
	relation_close(opened, NoLock);
	return index;
}

/* All keys, from the catalogs as they are now. */
static void
make_keys(const JobSpec *spec, TupleDesc source, Key *keys)
{
	AttrNumber in_source[JOB_MAX_KEYS], in_target[JOB_MAX_KEYS];
	Relation target = open_table(spec->target, "target");
	TupleDesc columns = RelationGetDescr(target);
	Oid source_index, target_index;

	number_keys(spec, source, "source", in_source);
	number_keys(spec, columns, "target", in_target);
	source_index = index_over(spec->relation, "source", in_source, spec->n_keys);
	target_index = index_over(spec->target, "target", in_target, spec->n_keys);
	for (int i = 0; i < spec->n_keys; i++)
	{
		Form_pg_attribute from = TupleDescAttr(source, in_source[i] - 1), to = TupleDescAttr(columns, in_target[i] - 1);
		const char *name = pstrdup(NameStr(from->attname)), *value = psprintf("d.k%d", i + 1);
		JobKeyOperators operators;
		Key *key = &keys[i];

		key->name = quote_identifier(name);
		key->type = job_key_type_name(from->atttypid);
		job_key_operators(source_index, in_source[i], from->atttypid, name, &key->operators);
		job_key_operators(target_index, in_target[i], to->atttypid, name, &operators);
		key->is_q =
			psprintf("q.%s %s", key->name, job_key_match(&key->operators, from->atttypid, from->atttypid, value));
		key->is_t = psprintf("t.%s %s", quote_identifier(pstrdup(NameStr(to->attname))),
							 job_key_match(&operators, to->atttypid, from->atttypid, value));
		key->out = job_key_type(from->atttypid) == OIDOID ? psprintf("q.%s::pg_catalog.oid", key->name)
														  : psprintf("q.%s", key->name);
		key->position = psprintf("$%d::pg_catalog.text::%s", i + 1, key->type);
	}
	relation_close(target, NoLock);
}

typedef const char *(*KeyPart)(const Key *key, int i);

static const char *
part_name(const Key *key, int i)
{
	return key->name;
}

static const char *
part_column(const Key *key, int i)
{
	return psprintf("q.%s", key->name);
}

static const char *
part_out(const Key *key, int i)
{
	return key->out;
}

static const char *
part_order(const Key *key, int i)
{
	/* USING takes the operator without the word for it, in the same brackets */
	return psprintf("q.%s USING %s", key->name, key->operators.less);
}

/* Not NULL as such: a composite value that has a NULL in it is one, which IS NOT NULL does not say. */
static const char *
part_not_null(const Key *key, int i)
{
	return psprintf("q.%s IS DISTINCT FROM NULL", key->name);
}

static const char *
part_position(const Key *key, int i)
{
	return key->position;
}

static const char *
part_parameter(const Key *key, int i)
{
	return psprintf("$%d::pg_catalog.text[]", i + 2);
}

static const char *
part_number(const Key *key, int i)
{
	return psprintf("k%d", i + 1);
}

static const char *
part_value(const Key *key, int i)
{
	return psprintf("d.k%d::%s", i + 1, key->type);
}

static const char *
part_is_q(const Key *key, int i)
{
	return key->is_q;
}

static const char *
part_is_t(const Key *key, int i)
{
	return key->is_t;
}

/* A part for each key, joined. */
static char *
for_keys(const Key *keys, int n, const char *separator, KeyPart part)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < n; i++)
		appendStringInfo(&list, "%s%s", i ? separator : "", part(&keys[i], i));
	return list.data;
}

/*
 * The rows behind a position. A comparison of rows is what an index can be read by, and takes one operator for all
 * columns; where they have different ones it is written out, with the first column's bound for the index.
 */
static char *
behind_position(const Key *keys, int n)
{
	bool same = true;
	char *behind;

	for (int i = 1; i < n; i++)
		same &= strcmp(keys[0].operators.greater, keys[i].operators.greater) == 0;
	if (same)
		return psprintf("(%s) %s (%s)", for_keys(keys, n, ", ", part_column), keys[0].operators.greater,
						for_keys(keys, n, ", ", part_position));
	behind = psprintf("q.%s %s %s", keys[n - 1].name, keys[n - 1].operators.greater, keys[n - 1].position);
	for (int i = n - 2; i >= 0; i--)
		behind = psprintf("(q.%s %s %s OR q.%s %s %s AND (%s))", keys[i].name, keys[i].operators.greater,
						  keys[i].position, keys[i].name, keys[i].operators.equal, keys[i].position, behind);
	return psprintf("q.%s %s %s AND %s", keys[0].name, keys[0].operators.at_least, keys[0].position, behind);
}

/* unnest($1::int[], $2::text[], …) AS d(n, k1, …), with answers, hashes and what is picked, or without. Of more than
 * one array the parser makes pg_catalog's unnest whatever the search path. */
static char *
rows_at_hand(const JobSpec *spec, const Key *keys, bool with_answers)
{
	int n = spec->n_keys, next = n + 2;
	bool picks = with_answers && job_spec_picks_targets(spec);
	char *more = with_answers ? psprintf(", $%d::pg_catalog.text[], $%d::pg_catalog.int8[]", next, next + 1) : "";

	return psprintf("unnest($1::pg_catalog.int4[], %s%s%s) AS d(n, %s%s%s)", for_keys(keys, n, ", ", part_parameter),
					more, picks ? psprintf(", $%d::pg_catalog.text[]", next + 2) : "",
					for_keys(keys, n, ", ", part_number), with_answers ? ", answer, hash" : "",
					picks ? ", picked" : "");
}

/* a IS NOT DISTINCT FROM b, with an operator that is not looked up. */
static char *
same_value(const char *a, const char *b, const char *operator)
{
	return psprintf(
		"((%s) OPERATOR(pg_catalog.%s) (%s) OR (%s) IS NOT DISTINCT FROM NULL AND (%s) IS NOT DISTINCT FROM NULL)",
		a, operator, b, a, b);
}

/* An answer, which comes as text, as a value of the type that the function gives. */
static const char *
answer_expression(const ModelFunction *function)
{
	Oid type = model_function_result(function);

	if (type == JSONBOID)
		return "d.answer::pg_catalog.jsonb";
	/* the names of the others that there are are words of the grammar: they need no schema */
	return type == TEXTOID ? "d.answer" : psprintf("d.answer::%s", format_type_be(type));
}

/* "Is a target column NULL now?", of an alias with a point behind it; false to a role that may write it and not read
 * it. */
static char *
is_empty(const JobSpec *spec, int i, const char *alias)
{
	if (pg_class_aclcheck(spec->target, GetUserId(), ACL_SELECT) != ACLCHECK_OK &&
		pg_attribute_aclcheck(spec->target, target_number(spec, i), GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		return "false";
	return psprintf("%s%s IS NOT DISTINCT FROM NULL", alias, quote_identifier(spec->targets[i]));
}

/* "Is a target column of a row at hand written?"; NULL: all are. */
static char *
is_picked(const JobSpec *spec, int i)
{
	if (!job_spec_picks_targets(spec))
		return NULL;
	return psprintf(
		"(d.picked IS NULL OR %d::pg_catalog.int2 OPERATOR(pg_catalog.=) ANY (d.picked::pg_catalog.int2[]))",
		target_number(spec, i));
}

/* "Has the answer a value for a target column?" */
static char *
is_answered(const JobSpec *spec, int i)
{
	if (!spec->takes_row)
		return "d.answer IS NOT NULL";
	return psprintf("pg_catalog.jsonb_typeof(pg_catalog.jsonb_object_field(d.answer::pg_catalog.jsonb, %s)) "
					"OPERATOR(pg_catalog.<>) 'null'",
					quote_literal_cstr(spec->targets[i]));
}

/* Which target column, from 1, is NULL although the answer has a value for it; 0: none. */
static char *
which_is_empty(const JobSpec *spec, const char *alias)
{
	StringInfoData made;

	initStringInfo(&made);
	appendStringInfoString(&made, "CASE");
	for (int i = 0; i < spec->n_targets; i++)
	{
		const char *picked = is_picked(spec, i);

		appendStringInfo(&made, " WHEN %s AND %s%s%s THEN %d", is_empty(spec, i, alias), is_answered(spec, i),
						 picked ? " AND " : "", picked ? picked : "", i + 1);
	}
	appendStringInfoString(&made, " ELSE 0 END");
	return made.data;
}

/* How many target columns are NULL. */
static char *
how_many_are_empty(const JobSpec *spec)
{
	StringInfoData made;

	initStringInfo(&made);
	for (int i = 0; i < spec->n_targets; i++)
		appendStringInfo(&made, "%sCASE WHEN %s THEN 1 ELSE 0 END", i > 0 ? " OPERATOR(pg_catalog.+) " : "",
						 is_empty(spec, i, ""));
	return made.data;
}

/* The target columns with commas between: their names, or what an answer that is a row has for them. */
static char *
target_names(const JobSpec *spec, bool of_answer)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < spec->n_targets; i++)
	{
		const char *name = quote_identifier(spec->targets[i]);

		appendStringInfo(&names, "%s%s", i > 0 ? ", " : "", of_answer ? answered_column(name) : name);
	}
	return names.data;
}

/* The assignments of an UPDATE; own: the alias of the row that is written. An answer that is a row is read once. */
static char *
assignments(const JobSpec *spec, const char *own)
{
	StringInfoData values;

	if (!spec->takes_row)
		return psprintf("%s = %s", quote_identifier(spec->targets[0]), answer_expression(spec->function));
	initStringInfo(&values);
	for (int i = 0; i < spec->n_targets; i++)
	{
		const char *name = quote_identifier(spec->targets[i]), *picked = is_picked(spec, i);

		appendStringInfoString(&values, i > 0 ? ", " : "");
		if (picked)
			appendStringInfo(&values, "CASE WHEN %s THEN %s ELSE %s.%s END", picked, answered_column(name), own, name);
		else
			appendStringInfoString(&values, answered_column(name));
	}
	return psprintf("(%s) = (SELECT %s FROM %s)", target_names(spec, false), values.data, ANSWERED_ROW);
}

/* "Has the target the answer already?" */
static char *
is_held(const JobSpec *spec)
{
	StringInfoData made;

	initStringInfo(&made);
	for (int i = 0; i < spec->n_targets; i++)
	{
		const char *name = quote_identifier(spec->targets[i]), *picked = is_picked(spec, i);
		char *answer = spec->takes_row ? psprintf("%s::pg_catalog.text", answered_column(name))
									   : psprintf("(%s)::%s::pg_catalog.text", answer_expression(spec->function),
												  target_type(spec, i));

		appendStringInfo(&made, "%s(%s%s%s)", i > 0 ? " AND " : "", picked ? psprintf("NOT %s", picked) : "",
						 picked ? " OR " : "", same_value(psprintf("t.%s::pg_catalog.text", name), answer, "="));
	}
	return made.data;
}

/* Puts rows at hand into the target that it does not have. A source may have a key twice, a row at hand is inserted
 * once; what it was not asked for any more is left out before the answer is looked at. */
static char *
insert_statement(const JobSpec *spec, const char *target, const Key *keys, const char *with_answers,
				 const char *is_current_row)
{
	int n = spec->n_keys;
	const char *names = for_keys(keys, n, ", ", part_name);
	StringInfoData changes;

	initStringInfo(&changes);
	for (int i = 0; i < spec->n_targets; i++)
		appendStringInfo(&changes, "%s%s = EXCLUDED.%s", i > 0 ? ", " : "", quote_identifier(spec->targets[i]),
						 quote_identifier(spec->targets[i]));
	return psprintf("INSERT INTO %s (%s, %s) SELECT %s, %s FROM (SELECT * FROM %s WHERE %s OFFSET 0) d%s%s "
					"ON CONFLICT (%s) DO UPDATE SET %s RETURNING %s",
					target, names, target_names(spec, false), for_keys(keys, n, ", ", part_value),
					spec->takes_row ? target_names(spec, true) : answer_expression(spec->function), with_answers,
					is_current_row, spec->takes_row ? " CROSS JOIN LATERAL " : "", spec->takes_row ? ANSWERED_ROW : "",
					names, changes.data, how_many_are_empty(spec));
}

void
job_sql_make(const JobSpec *spec, JobSql *sql)
{
	List *used;
	Key keys[JOB_MAX_KEYS] = {0};
	int n = spec->n_keys;
	TupleDesc columns = job_sql_columns(spec);
	char *target = table_name(spec->target, "target");
	char *source = source_item(spec);
	const char *prompt = prompt_expression(spec->prompt, columns, spec->trigger ? spec->trigger : "prompt", &used);
	const char *hash = psprintf("pg_catalog.hashtextextended((%s) COLLATE pg_catalog.\"C\", 0)", prompt);
	const char *only = spec->trigger ? "ONLY " : "";
	const char *is_q, *is_t, *at_hand, *with_answers, *is_current;
	char *all_keys;
	bool in_place = !spec->source && spec->relation == spec->target;

	for (int i = 0; i < spec->n_targets; i++)
		(void) target_number(spec, i);
	make_keys(spec, columns, keys);
	is_q = for_keys(keys, n, " AND ", part_is_q);
	is_t = for_keys(keys, n, " AND ", part_is_t);
	at_hand = rows_at_hand(spec, keys, false);
	with_answers = rows_at_hand(spec, keys, true);
	is_current = same_value(hash, "d.hash", "=");
	all_keys = for_keys(keys, n, " AND ", part_not_null);

	sql->page =
		psprintf("SELECT %s, %s, %s FROM %s WHERE %s%s ORDER BY %s LIMIT $%d", for_keys(keys, n, ", ", part_out),
				 prompt, hash, source, all_keys, spec->position ? psprintf(" AND %s", behind_position(keys, n)) : "",
				 for_keys(keys, n, ", ", part_order), spec->position ? n + 1 : 1);
	sql->by_key = psprintf("SELECT d.n, %s, %s FROM %s JOIN %s ON %s", prompt, hash, at_hand, source, is_q);
	sql->lock = psprintf("SELECT d.n FROM %s JOIN %s%s t ON %s ORDER BY d.n FOR NO KEY UPDATE OF t SKIP LOCKED",
						 at_hand, only, target, is_t);
	sql->probe =
		psprintf("SELECT d.n FROM %s JOIN %s%s t ON %s FOR NO KEY UPDATE OF t NOWAIT", at_hand, only, target, is_t);
	sql->there = psprintf("SELECT d.n FROM %s JOIN %s%s t ON %s", at_hand, only, target, is_t);
	/* in place there is one row that is read and written: q itself, checked again when it was changed meanwhile */
	if (in_place)
		sql->update =
			psprintf("UPDATE %s%s q SET %s FROM %s WHERE %s AND %s "
					 "RETURNING d.n, %s",
					 only, target, assignments(spec, "q"), with_answers, is_q, is_current, which_is_empty(spec, "q."));
	else
		sql->update = psprintf("UPDATE %s t SET %s FROM %s JOIN %s ON %s WHERE %s AND %s "
							   "RETURNING d.n, %s",
							   target, assignments(spec, "t"), with_answers, source, is_q, is_t, is_current,
							   which_is_empty(spec, "t."));
	/* of rows with the same key, one that gives the same prompt, if there is one */
	sql->recheck =
		psprintf("SELECT DISTINCT ON (d.n) d.n, %s, %s, EXISTS (SELECT 1 FROM %s%s t WHERE %s) FROM %s JOIN %s "
				 "ON %s ORDER BY d.n, CASE WHEN %s THEN 0 ELSE 1 END",
				 prompt, hash, only, target, is_t, with_answers, source, is_q, is_current);
	sql->holds =
		psprintf("SELECT d.n FROM %s JOIN %s%s t ON %s%s%s WHERE %s", with_answers, only, target, is_t,
				 spec->takes_row ? " CROSS JOIN LATERAL " : "", spec->takes_row ? ANSWERED_ROW : "", is_held(spec));
	sql->insert = insert_statement(spec, target, keys, with_answers,
								   psprintf("EXISTS (SELECT 1 FROM %s WHERE %s AND %s)", source, is_q, is_current));
	sql->count =
		psprintf("SELECT pg_catalog.count(*) FILTER (WHERE %s), pg_catalog.count(*) FROM %s", all_keys, source);
}

/* Does a query look at what differs between sessions: a setting, by itself or in a policy or a view? */
static bool
reads_setting(Node *node, void *context)
{
	if (!node)
		return false;
	if (IsA(node, FuncExpr))
	{
		Oid function = ((FuncExpr *) node)->funcid;
		char *name = get_func_name(function);

		if (name && strcmp(name, "current_setting") == 0 && get_func_namespace(function) == PG_CATALOG_NAMESPACE)
			return true;
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, reads_setting, context, 0);
	return expression_tree_walker(node, reads_setting, context);
}

bool
job_sql_depends_on_session(const JobSpec *spec)
{
	SPIPlanPtr plan = SPI_prepare(job_sql_rows(spec), 0, NULL);
	ListCell *cell, *query;
	bool depends = false;

	foreach (cell, plan ? SPI_plan_get_plan_sources(plan) : NIL)
	{
		CachedPlanSource *made = lfirst(cell);

		depends |= made->dependsOnRLS;
		foreach (query, made->query_list)
			depends |= reads_setting(lfirst(query), NULL);
	}
	if (plan)
		SPI_freeplan(plan);
	return depends;
}

/* Is a key column of a query the target's own column? */
static bool
is_own_key(const JobSpec *spec, const Query *query, const char *key)
{
	ListCell *cell;

	foreach (cell, query->targetList)
	{
		const TargetEntry *entry = lfirst(cell);

		if (!entry->resjunk && strcmp(entry->resname, key) == 0)
			return entry->resorigtbl == spec->target && entry->resorigcol == get_attnum(spec->target, key);
	}
	return false;
}

bool
job_sql_reads_own_rows(const JobSpec *spec)
{
	SPIPlanPtr plan = SPI_prepare(job_sql_rows(spec), 0, NULL);
	List *queries = plan ? ((CachedPlanSource *) linitial(SPI_plan_get_plan_sources(plan)))->query_list : NIL;
	bool are_own = list_length(queries) == 1;

	for (int i = 0; are_own && i < spec->n_keys; i++)
		are_own = is_own_key(spec, linitial(queries), spec->keys[i]);
	if (plan)
		SPI_freeplan(plan);
	return are_own;
}

/* What a source must not do and look at, wherever it stands: in a subquery, or in a view. */
static bool
refuse_in_source(Node *node, void *context)
{
	Query *query = (Query *) node;
	ListCell *cell;

	if (!node)
		return false;
	if (!IsA(node, Query))
		return expression_tree_walker(node, refuse_in_source, context);
	if (query->rowMarks != NIL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("source must be a query that reads: it must not lock rows (FOR UPDATE, FOR SHARE)"),
						errdetail("It is run again for each page of rows and each answer.")));
	foreach (cell, query->rtable)
	{
		const RangeTblEntry *entry = lfirst(cell);

		if (entry->rtekind == RTE_RELATION && get_rel_persistence(entry->relid) == RELPERSISTENCE_TEMP)
			ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
							errmsg("source: \"%s\" is a temporary table, which background workers cannot see",
								   get_rel_name(entry->relid))));
	}
	return query_tree_walker(query, refuse_in_source, context, 0);
}

void
job_sql_check_source(const JobSpec *spec)
{
	SPIPlanPtr plan = SPI_prepare(job_sql_rows(spec), 0, NULL);
	ListCell *cell, *query;

	foreach (cell, plan ? SPI_plan_get_plan_sources(plan) : NIL)
		foreach (query, ((CachedPlanSource *) lfirst(cell))->query_list)
			(void) refuse_in_source(lfirst(query), NULL);
	if (plan)
		SPI_freeplan(plan);
}
