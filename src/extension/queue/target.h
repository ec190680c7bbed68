/*
 * target.h - the column that gets the answers.
 */
#ifndef QWEN_TARGET_H
#define QWEN_TARGET_H

#include "../functions/functions.h"

#include "utils/relcache.h"

/* The target column must be there and take what the function gives. */
extern void job_check_target(Relation target, const char *column, const ModelFunction *function);

#endif
