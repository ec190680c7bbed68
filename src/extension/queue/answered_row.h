/*
 * answered_row.h - the row of the target's type that an answer is, in a statement of whoever owns the target.
 *
 * qwen_type_value makes it. The statement does not name it: that takes USAGE on the extension's schema, which an
 * enqueue trigger does not need of a table's owner. $0 stands for its call instead, and is put in as the statement is
 * parsed.
 */
#ifndef QWEN_ANSWERED_ROW_H
#define QWEN_ANSWERED_ROW_H

#include "spec.h"

/* The row, to stand in FROM beside d, with alias v. */
#define ANSWERED_ROW "(SELECT $0 AS made OFFSET 0) v"

/* A column of it, by its quoted name. */
extern char *answered_column(const char *name);

/* job_execute of a statement that has such a row. */
extern int answered_execute(const JobSpec *spec, const char *sql, int n, Oid *types, Datum *values, int expected);

#endif
