/*
 * job_sql.c - the statements that read and write the user's tables for a spec.
 *
 * All of them are over alias q, the source's rows, and d, the rows at hand: arrays given as parameters, one for the
 * numbers and one for each key column, as text. Names come from the catalog in the transaction that uses them, so a
 * table that was renamed is found and one that was dropped is an error.
 */
#include "jobs.h"

#include "access/relation.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "executor/spi.h"
#include "utils/plancache.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
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

TupleDesc
job_sql_columns(const JobSpec *spec)
{
	if (spec->source)
	{
		SPIPlanPtr plan = SPI_prepare(psprintf("SELECT * FROM (%s\n) q", spec->source), 0, NULL);
		List *sources = plan ? SPI_plan_get_plan_sources(plan) : NIL;

		if (list_length(sources) != 1)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("source must be one query")));
		return ((CachedPlanSource *) linitial(sources))->resultDesc;
	}
	{
		Relation relation = relation_open(spec->relation, AccessShareLock);
		TupleDesc columns = CreateTupleDescCopy(RelationGetDescr(relation));

		relation_close(relation, AccessShareLock);
		return columns;
	}
}

/* "format" for each key with its quoted name, type and number from first on, joined. */
static char *
for_keys(const JobSpec *spec, const char *separator, const char *what)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < spec->n_keys; i++)
	{
		const char *name = quote_identifier(spec->keys[i]);
		const char *type = spec->key_types[i];

		appendStringInfoString(&list, i ? separator : "");
		if (strcmp(what, "q.k") == 0)
			appendStringInfo(&list, "q.%s", name);
		else if (strcmp(what, "k") == 0)
			appendStringInfoString(&list, name);
		else if (strcmp(what, "text") == 0)
			appendStringInfo(&list, "q.%s::pg_catalog.text", name);
		else if (strcmp(what, "not null") == 0)
			appendStringInfo(&list, "q.%s IS NOT NULL", name);
		else if (strcmp(what, "position") == 0)
			appendStringInfo(&list, "$%d::pg_catalog.text::%s", i + 1, type);
		else if (strcmp(what, "parameters") == 0)
			appendStringInfo(&list, ", $%d::pg_catalog.text[]", i + 2);
		else if (strcmp(what, "names") == 0)
			appendStringInfo(&list, ", k%d", i + 1);
		else if (strcmp(what, "d values") == 0)
			appendStringInfo(&list, "d.k%d::%s", i + 1, type);
		else /* "q" or "t": equal to the rows at hand */
			appendStringInfo(&list, "%s.%s = d.k%d::%s", what, name, i + 1, type);
	}
	return list.data;
}

/* unnest($1::int[], $2::text[], …) AS d(n, k1, …), with answers and hashes or without. */
static char *
rows_at_hand(const JobSpec *spec, bool with_answers)
{
	int next = spec->n_keys + 2;
	char *more = with_answers ? psprintf(", $%d::pg_catalog.text[], $%d::pg_catalog.int8[]", next, next + 1) : "";

	return psprintf("unnest($1::pg_catalog.int4[]%s%s) AS d(n%s%s)", for_keys(spec, "", "parameters"), more,
					for_keys(spec, "", "names"), with_answers ? ", answer, hash" : "");
}

void
job_sql_make(const JobSpec *spec, JobSql *sql)
{
	List *used;
	char *target = table_name(spec->target, "target");
	char *source = source_item(spec);
	const char *prompt = prompt_expression(spec->prompt, job_sql_columns(spec), spec->trigger ? spec->trigger : "prompt",
										   &used);
	const char *column = quote_identifier(spec->target_column);
	const char *answer = spec->function == JOB_EMBED ? "d.answer::pg_catalog.float4[]" : "d.answer";
	const char *hash = psprintf("pg_catalog.hashtextextended((%s) COLLATE pg_catalog.\"C\", 0)", prompt);
	const char *only = spec->trigger ? "ONLY " : "";
	char *is_q = for_keys(spec, " AND ", "q"), *is_t = for_keys(spec, " AND ", "t");
	bool in_place = !spec->source && spec->relation == spec->target;

	sql->page = psprintf("SELECT ARRAY[%s], %s, %s FROM %s WHERE %s%s ORDER BY %s LIMIT $%d",
						 for_keys(spec, ", ", "text"), prompt, hash, source, for_keys(spec, " AND ", "not null"),
						 spec->position ? psprintf(" AND (%s) > (%s)", for_keys(spec, ", ", "q.k"),
												   for_keys(spec, ", ", "position"))
										: "",
						 for_keys(spec, ", ", "q.k"), spec->position ? spec->n_keys + 1 : 1);
	sql->by_key = psprintf("SELECT d.n, %s, %s FROM %s JOIN %s ON %s", prompt, hash, rows_at_hand(spec, false), source,
						   is_q);
	sql->lock = psprintf("SELECT d.n FROM %s JOIN %s%s t ON %s ORDER BY d.n FOR NO KEY UPDATE OF t SKIP LOCKED",
						 rows_at_hand(spec, false), only, target, is_t);
	/* in place there is one row that is read and written: q itself, checked again when it was changed meanwhile */
	if (in_place)
		sql->update = psprintf("UPDATE %s%s q SET %s = %s FROM %s WHERE %s AND %s IS NOT DISTINCT FROM d.hash "
							   "RETURNING d.n",
							   only, target, column, answer, rows_at_hand(spec, true), is_q, hash);
	else
		sql->update = psprintf("UPDATE %s t SET %s = %s FROM %s JOIN %s ON %s WHERE %s AND "
							   "%s IS NOT DISTINCT FROM d.hash RETURNING d.n",
							   target, column, answer, rows_at_hand(spec, true), source, is_q, is_t, hash);
	/* of rows with the same key, one that gives the same prompt, if there is one */
	sql->recheck = psprintf("SELECT DISTINCT ON (d.n) d.n, %s, %s, EXISTS (SELECT 1 FROM %s%s t WHERE %s) FROM %s JOIN %s "
							"ON %s ORDER BY d.n, %s IS DISTINCT FROM d.hash",
							prompt, hash, only, target, is_t, rows_at_hand(spec, true), source, is_q, hash);
	/* a source may have a key twice, a row at hand is inserted once */
	sql->insert = psprintf("INSERT INTO %s (%s, %s) SELECT %s, %s FROM %s WHERE EXISTS (SELECT 1 FROM %s WHERE %s AND "
						   "%s IS NOT DISTINCT FROM d.hash) ON CONFLICT (%s) DO UPDATE SET %s = EXCLUDED.%s",
						   target, for_keys(spec, ", ", "k"), column, for_keys(spec, ", ", "d values"), answer,
						   rows_at_hand(spec, true), source, is_q, hash, for_keys(spec, ", ", "k"), column, column);
	sql->count = psprintf("SELECT pg_catalog.count(*) FROM %s WHERE %s", source, for_keys(spec, " AND ", "not null"));
}
