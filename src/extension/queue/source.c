/*
 * source.c - a job's source: a table, or a query that reads. It is run again for each page of rows and each answer.
 */
#include "source.h"

#include "access/relation.h"
#include "catalog/pg_class.h"
#include "mb/pg_wchar.h"
#include "nodes/parsenodes.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/formatting.h"
#include "utils/regproc.h"
#include "utils/rel.h"
#include "utils/varlena.h"

#define SHOWN_BYTES 100 /* of what was given as a source */

/* Does a byte go on with a word, as SQL reads them? */
static bool
is_in_word(unsigned char c)
{
	return isalnum(c) || c == '_' || c == '$' || c >= 0x80;
}

/* Does a source look like a query, or like a table's name? */
static bool
is_query(const char *source)
{
	static const char *const starts[] = {"select", "with", "values", "table", "("};

	while (*source == ' ' || *source == '\t' || *source == '\n' || *source == '\r')
		source++;
	/* no name begins as a comment does */
	if (strncmp(source, "--", 2) == 0 || strncmp(source, "/*", 2) == 0)
		return true;
	for (int i = 0; i < (int) lengthof(starts); i++)
	{
		size_t length = strlen(starts[i]);

		if (pg_strncasecmp(source, starts[i], length) == 0 &&
			(starts[i][0] == '(' || !is_in_word((unsigned char) source[length])))
			return true;
	}
	return false;
}

/* The first word of a source that is a statement, but none that can be asked again and again; NULL: it may be a name.
 */
static char *
other_statement(const char *source)
{
	static const char *const words[] = {
		"insert", "update",  "delete",  "merge",   "truncate", "create",     "alter",   "drop",      "copy",  "call",
		"do",     "execute", "explain", "show",    "fetch",    "declare",    "grant",   "revoke",    "begin", "set",
		"vacuum", "analyze", "refresh", "lock",    "listen",   "notify",     "prepare", "savepoint", "reset", "close",
		"move",   "reindex", "cluster", "comment", "discard",  "deallocate", "unlisten"};
	size_t length;

	source += strspn(source, " \t\r\n");
	length = strspn(source, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_");
	/* a table may have such a name, but more follows a statement's word */
	if (length == 0 || strspn(source + length, " \t\r\n") == 0 ||
		source[length + strspn(source + length, " \t\r\n")] == '\0')
		return NULL;
	for (int i = 0; i < (int) lengthof(words); i++)
		if (strlen(words[i]) == length && pg_strncasecmp(source, words[i], length) == 0)
			return asc_toupper(source, length);
	return NULL;
}

/* Where an error is, in the source and not in the statement that has it as an argument. */
static void
point_into_query(void *query)
{
	int position = geterrposition();

	if (position <= 0)
		return;
	errposition(0);
	internalerrposition(position);
	internalerrquery(query);
}

/* The statements of a query. */
static List *
parse(char *query)
{
	ErrorContextCallback where = {.previous = error_context_stack, .callback = point_into_query, .arg = query};
	List *statements;

	error_context_stack = &where;
	statements = pg_parse_query(query);
	error_context_stack = where.previous;
	return statements;
}

/* A source must be one statement, which reads and neither writes nor locks: it is run for each page and each answer. */
static void
check_reads(char *query)
{
	List *statements = parse(query);
	SelectStmt *select = NULL;

	if (list_length(statements) == 1)
	{
		Node *statement = ((RawStmt *) linitial(statements))->stmt;

		if (IsA(statement, SelectStmt))
			select = (SelectStmt *) statement;
	}
	if (list_length(statements) != 1)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("source must be one query, not %d statements", list_length(statements))));
	if (!select)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("source must be a query that reads"),
						errdetail("It is run again for each page of rows and each answer.")));
	if (select->intoClause)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("source must be a query that reads, not SELECT INTO")));
	if (select->lockingClause)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("source must be a query that reads: it must not lock rows (FOR UPDATE, FOR SHARE)"),
						errdetail("It is run again for each page of rows and each answer.")));
	if (select->withClause)
	{
		ListCell *cell;

		foreach (cell, select->withClause->ctes)
			if (!IsA(lfirst_node(CommonTableExpr, cell)->ctequery, SelectStmt))
				ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
								errmsg("source must be a query that reads: \"%s\" of its WITH list writes",
									   lfirst_node(CommonTableExpr, cell)->ctename),
								errdetail("It is run again for each page of rows and each answer.")));
	}
}

/* A query without the semicolon at its end. */
static char *
trim_query(char *query)
{
	size_t length = strlen(query);

	while (length > 0 && strchr(" \t\r\n;", query[length - 1]))
		query[--length] = '\0';
	return query;
}

/* A source that is no query must be a table's name: PostgreSQL would say of another that the syntax is invalid, not
 * whose. */
static void
check_name(const char *source)
{
	List *names;

	if (source[strspn(source, " \t\r\n")] == '\0')
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("source must be a table or a query, not an empty text")));
	if (!SplitIdentifierString(pstrdup(source), '.', &names))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("source: \"%.*s\" is neither a table's name nor a query",
						pg_mbcliplen(source, (int) strlen(source), SHOWN_BYTES), source),
				 errhint("A query begins with SELECT, WITH, VALUES or TABLE. A table is named alone, as articles, "
						 "its schema before it, as news.articles, and in \"\" where SQL would write it so.")));
}

void
job_read_source(JobSpec *spec, char *source)
{
	Relation relation;

	if (is_query(source))
	{
		spec->source = trim_query(source);
		check_reads(spec->source);
		return;
	}
	if (other_statement(source))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("source must be a table or a query that reads, not %s", other_statement(source)),
						errdetail("A query is run again for each page of rows and each answer."),
						errhint("Use SELECT, WITH, VALUES or TABLE, or the name of a table.")));
	check_name(source);
	spec->relation = DatumGetObjectId(DirectFunctionCall1(regclassin, CStringGetDatum(source)));
	if (!OidIsValid(spec->relation))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("source must be a table or a query")));
	relation = relation_open(spec->relation, AccessShareLock);
	job_check_relation(relation, "source");
	relation_close(relation, NoLock);
}
