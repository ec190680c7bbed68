/*
 * row_sql.h - the statements that read and write the user's tables for a spec.
 */
#ifndef QWEN_ROW_SQL_H
#define QWEN_ROW_SQL_H

#include "spec.h"

#include "access/tupdesc.h"

/* Statements over the user's tables, made anew in every transaction from the names that hold then. All palloc'd. */
typedef struct JobSql
{
	char *page;   /* rows after a position: ($1 … $n: the position, unless at the start), LIMIT $last */
	char *by_key; /* rows of given keys: $1 int[] numbers, $2 … text[] keys */
	char *lock;   /* lock target rows that nobody else has locked: the same arguments; gives numbers */
	char *probe;  /* the same, raising where somebody has: a row that is there and is not given cannot be written */
	char *there;  /* as lock: is there such a row of the target */
	/* put answers in: the same and $n+2 text[] answers, $n+3 bigint[] hashes, and where target columns are picked $n+4
	 * text[] of their numbers as smallint[] (NULL: all); gives numbers, and which target column, from 1, a trigger made
	 * NULL although the answer has a value for it; 0: none */
	char *update;
	char *recheck; /* as update: is there such a row, its prompt and hash, and does the target have it */
	char *holds;   /* as update: does the target have the answer already */
	char *insert;  /* as update, for rows that the target does not have; gives how many target columns are NULL */
	char *count;   /* how many rows have a key, and how many there are */
} JobSql;

/* All rows of a spec's source: what the three below ask for. */
extern char *job_sql_rows(const JobSpec *spec);

/* The columns of a spec's source. In SPI. Raises what is wrong with a query. */
extern TupleDesc job_sql_columns(const JobSpec *spec);

/* In SPI. Raises when a table or column is gone. */
extern void job_sql_make(const JobSpec *spec, JobSql *sql);

/* Raises where a source locks rows or reads temporary tables. In SPI. */
extern void job_sql_check_source(const JobSpec *spec);

/* Are the keys of a query's rows those of rows of the target? Then no row is missing there. In SPI. */
extern bool job_sql_reads_own_rows(const JobSpec *spec);

/* Do rows of the source depend on the session that reads them: on row-level security, or on a setting? In SPI. */
extern bool job_sql_depends_on_session(const JobSpec *spec);

#endif
