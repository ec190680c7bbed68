/*
 * role_budget.h - a number of bytes that roles share: each may have as many as it leaves free to others.
 *
 * Alone a role gets half of them, and whoever comes next still finds room. No lock: it belongs to one thread, or its
 * owner has one.
 */
#ifndef QWEN_ROLE_BUDGET_H
#define QWEN_ROLE_BUDGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct RoleBudget
{
	size_t limit, total;
	struct RoleBytes *roles; /* that have some */
} RoleBudget;

/* How many a role has. */
extern size_t role_budget_of(const RoleBudget *budget, uint32_t role);

/* May a role have so many more now? */
extern bool role_budget_has_room(const RoleBudget *budget, uint32_t role, size_t bytes);

/* Give them to it, whatever the answer to that is. false: no memory to note it. */
extern bool role_budget_take(RoleBudget *budget, uint32_t role, size_t bytes);
extern void role_budget_give(RoleBudget *budget, uint32_t role, size_t bytes);

#endif
