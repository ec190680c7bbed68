/*
 * privileges.h - who sees what of others.
 */
#ifndef QWEN_PRIVILEGES_H
#define QWEN_PRIVILEGES_H

#include "core.h"

/* May the current user see what other roles do? called: the function that asks, in whose schema qwen_monitor() is. */
extern bool may_see_others(Oid called);

/* May the current user see what concerns this role? called: the function that asks. */
extern bool may_see_role(Oid role, Oid called);

#endif
