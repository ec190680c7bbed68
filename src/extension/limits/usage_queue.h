/*
 * usage_queue.h - the queue of those who wait for limits.
 */
#ifndef QWEN_USAGE_QUEUE_H
#define QWEN_USAGE_QUEUE_H

#include "usage.h"

/* Has nobody waited longer for a role? */
extern bool usage_queue_is_first(Oid role, uint64 ticket);

/* Wake the one that has waited longest for a role. */
extern void usage_queue_wake_first(Oid role);

/* After a reset nobody waits. */
extern void usage_queue_clear(void);

#endif
