/*
 * places.h - where work waits: a place for each (database, role) that has some.
 */
#ifndef QWEN_PLACES_H
#define QWEN_PLACES_H

#include "../core/core.h"

#include "nodes/pg_list.h"

/*
 * Ask for a worker of (database, role). Never raises. calls: one that is at work looks at once at its jobs, and for
 * rows from the beginning of the queue.
 */
extern void job_place_request(Oid database, Oid role, bool calls);

/* A scout is wanted. May be called while a process ends. */
extern void job_want_scout(void);

/* In a minute a scout is wanted again: what is to come tells nobody. */
extern void job_scout_later(void);

/* Give up places whose worker can never connect again: of databases that are not among these, or, with NIL, of roles of
 * this database that are gone. */
extern void job_give_up_places(const List *databases);

#endif
