/*
 * prompt_template.h - SQL of a prompt's template.
 */
#ifndef QWEN_PROMPT_TEMPLATE_H
#define QWEN_PROMPT_TEMPLATE_H

#include "../core/core.h"

#include "access/tupdesc.h"

/*
 * The SQL expression (type text) of a prompt over the columns of alias q. prompt is a column's name, or a template with
 * {column} placeholders, in which {{ and }} are braces. The expression is NULL where all its columns are NULL or blank;
 * a NULL among others is the empty string. *columns: the names of the columns that are used (C strings). what: of whom
 * an error message speaks. Raises 22023 naming a placeholder that is no column and the columns there are.
 */
extern char *prompt_expression(const char *prompt, TupleDesc columns, const char *what, List **used);

/* Does a prompt, read in the same way, name a column that may have gone from columns? Raises nothing. */
extern bool prompt_names(const char *prompt, TupleDesc columns, const char *name);

#endif
