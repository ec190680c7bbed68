/*
 * moving.h - rows that an UPDATE moves to another partition: what a trigger there learns of where they come from.
 */
#ifndef QWEN_MOVING_H
#define QWEN_MOVING_H

#include "../core/core.h"

#include "../queue/queue.h"
#include "nodes/execnodes.h"

/* Where a row was before: how rows are queued there, its key, and its trigger in that partition. */
typedef struct MovedFrom
{
	const JobEntries *entries;
	char **key;
	Oid trigger;
} MovedFrom;

/* Rows that a trigger of a partition has seen go. */
typedef struct Leaving Leaving;

/* A statement begins that changes a table: where it may update rows of a partition, have triggers that queue its rows
 * called for those that leave it. */
extern void moving_open_up(ResultRelInfo *table, EState *state);

/* Is a trigger called for a row that is deleted, because a statement may move rows, and not by its definition? */
extern bool moving_has_called(const TriggerData *data);

/* Is such a row one that goes to another partition? */
extern bool moving_leaves(const TriggerData *data);

/* Keep where the row was until the trigger of its new partition asks. *leaving: NULL at first; in memory that lasts for
 * the statement, as entries do. */
extern void moving_note(Leaving **leaving, MemoryContext memory, const TriggerData *data, const JobEntries *entries);

/* Where a row comes from that has come into a partition; once. NULL: from nowhere, or what queues its kind here did not
 * there. It holds until the next row. */
extern const MovedFrom *moving_take(const TriggerData *data);

#endif
