/*
 * trigger_row.h - a trigger as the catalog has it, by its oid.
 */
#ifndef QWEN_TRIGGER_ROW_H
#define QWEN_TRIGGER_ROW_H

#include "../core/core.h"

typedef struct TriggerRow
{
	Oid table, function;
	Oid parent; /* of which it is a partition's copy, or invalid */
} TriggerRow;

/* False: there is none. */
extern bool trigger_row_find(Oid trigger, TriggerRow *row);

#endif
