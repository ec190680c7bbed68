/*
 * prompt_template.c - "Summarise: {title} {body}" as an SQL expression over the columns of a row.
 *
 * SQL, not C, makes the text, so that the same expression serves for reading rows, for telling whether one has changed
 * and for any type of column. A template's own text can never be read as SQL: it is quoted as a literal.
 */
#include "jobs.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"

/* Is there a column of this name? */
static bool
has_column(TupleDesc columns, const char *name)
{
	for (int i = 0; i < columns->natts; i++)
		if (!TupleDescAttr(columns, i)->attisdropped && strcmp(NameStr(TupleDescAttr(columns, i)->attname), name) == 0)
			return true;
	return false;
}

/* "id", "title", "body" */
static char *
list_columns(TupleDesc columns)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < columns->natts; i++)
		if (!TupleDescAttr(columns, i)->attisdropped)
			appendStringInfo(&list, "%s\"%s\"", list.len ? ", " : "", NameStr(TupleDescAttr(columns, i)->attname));
	return list.data;
}

static void
add_once(List **used, const char *name)
{
	ListCell *cell;

	foreach (cell, *used)
		if (strcmp(lfirst(cell), name) == 0)
			return;
	*used = lappend(*used, pstrdup(name));
}

/* One more part of the concatenation. */
static void
append_part(StringInfo sql, const char *part)
{
	appendStringInfo(sql, "%s%s", sql->len ? " OPERATOR(pg_catalog.||) " : "", part);
}

/* The literal text before a placeholder or the end. */
static void
append_literal(StringInfo sql, StringInfo literal)
{
	if (literal->len > 0)
		append_part(sql, psprintf("%s::pg_catalog.text", quote_literal_cstr(literal->data)));
	resetStringInfo(literal);
}

/* The name between the braces at *at, which is moved behind them. */
static char *
read_placeholder(const char *template, const char **at, TupleDesc columns, const char *what)
{
	const char *start = *at + 1;
	const char *end = strchr(start, '}');
	char *name;

	if (!end)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s: the template has a { without a }: \"%s\"", what, template),
						errhint("Write {{ for a brace in the text.")));
	name = pnstrdup(start, end - start);
	if (!has_column(columns, name))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s: the placeholder {%s} is no column", what, name),
				 errdetail("The columns are %s.", list_columns(columns)),
				 errhint("Write {{ and }} for braces in the text.")));
	*at = end + 1;
	return name;
}

char *
prompt_expression(const char *prompt, TupleDesc columns, const char *what, List **used)
{
	StringInfoData sql, literal, nulls;
	const char *at = prompt;
	ListCell *cell;

	*used = NIL;
	if (has_column(columns, prompt))
	{
		*used = list_make1(pstrdup(prompt));
		return psprintf("q.%s::pg_catalog.text", quote_identifier(prompt));
	}
	initStringInfo(&sql);
	initStringInfo(&literal);
	initStringInfo(&nulls);
	while (*at)
	{
		CHECK_FOR_INTERRUPTS();
		if ((at[0] == '{' || at[0] == '}') && at[0] == at[1])
		{
			appendStringInfoChar(&literal, at[0]);
			at += 2;
		}
		else if (*at == '{')
		{
			char *name = read_placeholder(prompt, &at, columns, what);

			append_literal(&sql, &literal);
			append_part(&sql, psprintf("COALESCE(q.%s::pg_catalog.text, '')", quote_identifier(name)));
			add_once(used, name);
		}
		else if (*at == '}')
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("%s: the template has a } without a {: \"%s\"", what, prompt),
							errhint("Write }} for a brace in the text.")));
		else
			appendStringInfoChar(&literal, *at++);
	}
	append_literal(&sql, &literal);
	if (*used == NIL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s: \"%s\" is neither a column nor a template with a {column}", what, prompt),
						errdetail("The columns are %s.", list_columns(columns))));
	foreach (cell, *used)
		/* a composite value of NULLs is a value: IS NULL would say otherwise */
		appendStringInfo(&nulls, "%sq.%s IS NOT DISTINCT FROM NULL", nulls.len ? " AND " : "",
						 quote_identifier(lfirst(cell)));
	return psprintf("CASE WHEN %s THEN NULL ELSE %s END", nulls.data, sql.data);
}
