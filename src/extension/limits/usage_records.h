/*
 * usage_records.h - the records of roles: finding, adding, locking.
 */
#ifndef QWEN_USAGE_RECORDS_H
#define QWEN_USAGE_RECORDS_H

#include "usage.h"

/* The chain in which a role's record hangs. */
extern uint32 *usage_chain_of(Oid role);

/* The record of a role, or NO_USAGE. The table is locked. */
extern uint32 usage_find(Oid role);

/* A new record, or NO_USAGE when there is no room. The table is locked exclusively. */
extern uint32 usage_add(Oid role);

/* Does anything limit this role? Then it must have a record. */
extern bool usage_is_limited(const RoleLimits *limits);

/*
 * The records of a subject's roles, made where there are none. On return the table is locked (shared); false: there is
 * no room for a record that is needed, and nothing is locked.
 */
extern bool usage_lock_table(const LimitSubject *subject, uint32 found[MAX_LIMITED_ROLES_OF_CALL]);

/* Lock the stripes of up to two records; a charge without records has one too, that guards its state. */
extern void usage_lock_stripes(const uint32 usage[MAX_LIMITED_ROLES_OF_CALL]);
extern void usage_unlock_stripes(const uint32 usage[MAX_LIMITED_ROLES_OF_CALL]);

#endif
