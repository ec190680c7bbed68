/*
 * role_limits.h - what is allowed to a role.
 */
#ifndef QWEN_ROLE_LIMITS_H
#define QWEN_ROLE_LIMITS_H

#include "limits.h"

typedef struct RoleLimits
{
	int64 allowed[N_LIMITS]; /* or NO_LIMIT */
	int32 priority;          /* higher comes first */
	Oid sources[N_LIMITS];   /* whose rows they are of; InvalidOid: the settings */
} RoleLimits;

typedef struct LimitSubject
{
	int n;
	Oid roles[MAX_LIMITED_ROLES_OF_CALL];
	RoleLimits limits[MAX_LIMITED_ROLES_OF_CALL];
} LimitSubject;

/* What holds for a role now. Reads catalogs unless it is known, outside of a transaction in one of its own. */
extern void limits_of_role(Oid role, RoleLimits *limits);

/* Roles and limits of a call of this session. */
extern void limits_subject(LimitSubject *subject);

/* Note what others have committed meanwhile. */
extern void limits_refresh(void);

#endif
