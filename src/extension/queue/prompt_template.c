/*
 * prompt_template.c - "Summarise: {title} {body}" as an SQL expression over the columns of a row.
 *
 * SQL, not C, makes the text, so that the same expression serves for reading rows, for telling whether one has changed
 * and for any type of column. A template's own text can never be read as SQL: it is quoted as a literal.
 */
#include "prompt_template.h"

#include "../../base/utf8.h"
#include "catalog/namespace.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

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

/* What a template is made of. */
typedef enum TemplatePart
{
	PART_CHARACTER, /* {{ and }} are one too */
	PART_PLACEHOLDER,
	PART_OPEN, /* a brace without the other one */
	PART_CLOSE
} TemplatePart;

/* The part at *at, which is moved behind it. text, length: its character, or the name between its braces. */
static TemplatePart
read_part(const char **at, const char **text, size_t *length)
{
	const char *start = *at, *end;

	*text = start;
	*length = 1;
	*at = start + 1;
	if (*start != '{' && *start != '}')
		return PART_CHARACTER;
	if (start[1] == *start)
	{
		*at = start + 2;
		return PART_CHARACTER;
	}
	if (*start == '}')
		return PART_CLOSE;
	end = strchr(start, '}');
	if (!end)
		return PART_OPEN;
	*text = start + 1;
	*length = end - *text;
	*at = end + 1;
	return PART_PLACEHOLDER;
}

/* Raise unless a placeholder is a column. */
static void
check_placeholder(const char *name, TupleDesc columns, const char *what)
{
	if (!has_column(columns, name))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s: the placeholder {%s} is no column", what, name),
				 errdetail("The columns are %s.", list_columns(columns)),
				 errhint("Write {{ and }} for braces in the text, and a column that was renamed by its new name.")));
}

static void
refuse_brace(TemplatePart part, const char *prompt, const char *what)
{
	if (part == PART_OPEN)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s: the template has a { without a }: \"%s\"", what, prompt),
						errhint("Write {{ for a brace in the text.")));
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("%s: the template has a } without a {: \"%s\"", what, prompt),
					errhint("Write }} for a brace in the text.")));
}

bool
prompt_names(const char *prompt, TupleDesc columns, const char *name)
{
	const char *at = prompt, *text;
	size_t length;
	TemplatePart part = PART_CHARACTER;

	if (strcmp(prompt, name) == 0)
		return true;
	if (has_column(columns, prompt))
		return false;
	while (*at && part != PART_OPEN && part != PART_CLOSE)
	{
		part = read_part(&at, &text, &length);
		if (part == PART_PLACEHOLDER && length == strlen(name) && memcmp(text, name, length) == 0)
			return true;
	}
	return false;
}

/* A character in the database's encoding, appended to out; nothing where the encoding has none. */
static void
append_character(StringInfo out, uint32 code_point)
{
	char utf8[8];
	int n = utf8_write(code_point, utf8);
#if PG_VERSION_NUM >= 140000
	Oid conversion;
	unsigned char converted[32];
#endif

	if (n == 1 || GetDatabaseEncoding() == PG_UTF8)
	{
		appendBinaryStringInfo(out, utf8, n);
		return;
	}
#if PG_VERSION_NUM >= 140000
	conversion = FindDefaultConversionProc(PG_UTF8, GetDatabaseEncoding());
	if (OidIsValid(conversion) &&
		pg_do_encoding_conversion_buf(conversion, PG_UTF8, GetDatabaseEncoding(), (unsigned char *) utf8, n, converted,
									  sizeof converted, true) == n)
		appendStringInfoString(out, (char *) converted);
#endif
}

/* All characters that cannot be seen, as a literal; made once. */
static const char *
blank_characters(void)
{
	static char *literal;
	StringInfoData all;

	if (literal)
		return literal;
	initStringInfo(&all);
	for (uint32 code_point = 1; code_point <= 0xFFFF; code_point++)
		if (utf8_code_point_is_blank(code_point))
			append_character(&all, code_point);
	literal = MemoryContextStrdup(TopMemoryContext, quote_literal_cstr(all.data));
	return literal;
}

/* Is a column NULL, or a text in which there is nothing to see? A long one is told by its beginning. */
static char *
is_blank(const char *column)
{
	const char *blank = blank_characters();
	char *value = psprintf("COALESCE(q.%s::pg_catalog.text, '')", quote_identifier(column));

	return psprintf(
		"(pg_catalog.btrim(pg_catalog.left(%s, 64), %s) COLLATE pg_catalog.\"C\" OPERATOR(pg_catalog.=) '' AND "
		"pg_catalog.btrim(%s, %s) COLLATE pg_catalog.\"C\" OPERATOR(pg_catalog.=) '')",
		value, blank, value, blank);
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
		return psprintf("CASE WHEN %s THEN NULL ELSE q.%s::pg_catalog.text END", is_blank(prompt),
						quote_identifier(prompt));
	}
	initStringInfo(&sql);
	initStringInfo(&literal);
	initStringInfo(&nulls);
	while (*at)
	{
		const char *text;
		size_t length;
		TemplatePart part = read_part(&at, &text, &length);

		CHECK_FOR_INTERRUPTS();
		if (part == PART_CHARACTER)
			appendStringInfoChar(&literal, *text);
		else if (part == PART_PLACEHOLDER)
		{
			char *name = pnstrdup(text, length);

			check_placeholder(name, columns, what);
			append_literal(&sql, &literal);
			append_part(&sql, psprintf("COALESCE(q.%s::pg_catalog.text, '')", quote_identifier(name)));
			add_once(used, name);
		}
		else
			refuse_brace(part, prompt, what);
	}
	append_literal(&sql, &literal);
	if (*used == NIL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s: \"%s\" is neither a column nor a template with a {column}", what, prompt),
						errdetail("The columns are %s.", list_columns(columns))));
	foreach (cell, *used)
		appendStringInfo(&nulls, "%s%s", nulls.len ? " AND " : "", is_blank(lfirst(cell)));
	return psprintf("CASE WHEN %s THEN NULL ELSE %s END", nulls.data, sql.data);
}
