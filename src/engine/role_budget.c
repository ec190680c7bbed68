/*
 * role_budget.c - see role_budget.h.
 */
#include "role_budget.h"

#include <stdlib.h>

/* What a role has; those that have nothing are not listed. */
typedef struct RoleBytes
{
	struct RoleBytes *next;
	uint32_t role;
	size_t bytes;
} RoleBytes;

/* The link that points to a role's entry, or the last one. */
static RoleBytes **
find_role(RoleBudget *budget, uint32_t role)
{
	RoleBytes **link = &budget->roles;

	while (*link && (*link)->role != role)
		link = &(*link)->next;
	return link;
}

size_t
role_budget_of(const RoleBudget *budget, uint32_t role)
{
	const RoleBytes *entry = budget->roles;

	while (entry && entry->role != role)
		entry = entry->next;
	return entry ? entry->bytes : 0;
}

bool
role_budget_has_room(const RoleBudget *budget, uint32_t role, size_t bytes)
{
	size_t left = budget->limit - budget->total, own = role_budget_of(budget, role);

	return own <= left && bytes <= left - own;
}

bool
role_budget_take(RoleBudget *budget, uint32_t role, size_t bytes)
{
	RoleBytes **link = find_role(budget, role);

	if (!*link)
	{
		*link = calloc(1, sizeof **link);
		if (!*link)
			return false;
		(*link)->role = role;
	}
	(*link)->bytes += bytes;
	budget->total += bytes;
	return true;
}

void
role_budget_give(RoleBudget *budget, uint32_t role, size_t bytes)
{
	RoleBytes **link = find_role(budget, role), *entry = *link;

	entry->bytes -= bytes;
	budget->total -= bytes;
	if (entry->bytes == 0)
	{
		*link = entry->next;
		free(entry);
	}
}
