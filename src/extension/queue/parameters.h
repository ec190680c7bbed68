/*
 * parameters.h - values as parameters of statements.
 */
#ifndef QWEN_PARAMETERS_H
#define QWEN_PARAMETERS_H

#include "worker_rows.h"

/* text[], bigint[], smallint[] and oid[] of values, for parameters. */
extern Datum job_text_array(char *const *strings, int n);
extern Datum job_int8_array(const int64 *values, int n);
extern Datum job_int2_array(const AttrNumber *values, int n);
extern Datum job_oid_array(const List *oids);

/* A text[] as strings, at most so many; how many it has. A NULL among them is the empty string. */
extern int job_strings_of(Datum array, char **strings, int most);

/* The numbers and keys of rows as the parameters that the statements of row_sql.c begin with. */
extern void job_key_parameters(const JobSpec *spec, JobRow *const *rows, int n, Oid *types, Datum *values);

#endif
