/*
 * key_casts.h - whether ALTER TABLE leaves a key's values what they are.
 */
#ifndef QWEN_KEY_CASTS_H
#define QWEN_KEY_CASTS_H

#include "../core/core.h"

#include "nodes/parsenodes.h"

/* Does a command of ALTER TABLE give a column's rows other values? */
extern bool job_changes_values(const AlterTableCmd *command);

/* Can what such a command makes of a column of this type be told from the text of what was there, so that a key which
 * is found by that is the same row's? */
extern bool job_keeps_values(const AlterTableCmd *command, Oid type);

#endif
