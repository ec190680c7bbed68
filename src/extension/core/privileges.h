/*
 * privileges.h - who sees what of others.
 */
#ifndef QWEN_PRIVILEGES_H
#define QWEN_PRIVILEGES_H

#include "core.h"

/* May the current user see what other roles do? called: the function that asks, which lies in the extension's schema.
 */
extern bool may_see_others(Oid called);

/* May the current user see what concerns this role? called: the function that asks. */
extern bool may_see_role(Oid role, Oid called);

/*
 * Raise 42501 unless the current user has been granted "admin" by qwen_grant, or owns the extension; EXECUTE on the
 * function that was called is not enough.
 */
extern void require_administrator(FunctionCallInfo fcinfo);

#endif
