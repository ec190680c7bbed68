/*
 * target.h - the columns that get the answers.
 */
#ifndef QWEN_TARGET_H
#define QWEN_TARGET_H

#include "../functions/functions.h"

#include "utils/relcache.h"

/* A target column must be there and take what the function gives; NULL: a value of its own type. of_trigger: a
 * trigger's argument names it. */
extern void job_check_target(Relation target, const char *column, const ModelFunction *function, bool of_trigger);

/*
 * The columns of a table that a trigger's argument names: one, or several in the form of an array, '{a,"b c"}'. A name
 * that a column has is that column, whatever it looks like. Palloc'd; *n: how many, at least one, no two the same.
 */
extern char **job_read_targets(Relation target, const char *argument, int *n);

/* Raise where columns are named twice. */
extern void job_check_target_names(char *const *names, int n);

#endif
