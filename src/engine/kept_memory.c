/*
 * kept_memory.c - see kept_memory.h.
 */
#include "kept_memory.h"

#include <pthread.h>
#include <stdlib.h>

/* What a role has; those that have nothing are not listed. */
typedef struct RoleMemory
{
	struct RoleMemory *next;
	uint32_t role;
	size_t bytes;
} RoleMemory;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static RoleMemory *roles;
static size_t total;

/* The link that points to a role's entry, or the last one. */
static RoleMemory **
find_role(uint32_t role)
{
	RoleMemory **link = &roles;

	while (*link && (*link)->role != role)
		link = &(*link)->next;
	return link;
}

/* Add to what a role has. false: no memory for that. */
static bool
add(uint32_t role, size_t bytes)
{
	RoleMemory **link = find_role(role);

	if (!*link)
	{
		*link = calloc(1, sizeof **link);
		if (!*link)
			return false;
		(*link)->role = role;
	}
	(*link)->bytes += bytes;
	total += bytes;
	return true;
}

Status
kept_memory_take(uint32_t role, size_t bytes)
{
	Status status = status_ok();
	RoleMemory **link;
	size_t own;

	if (bytes == 0)
		return status;
	pthread_mutex_lock(&lock);
	link = find_role(role);
	own = *link ? (*link)->bytes : 0;
	if (bytes > KEPT_MEMORY_BYTES / 2)
		status = status_error(STATUS_TOO_LONG,
							  "what has to be kept of tools, answers to choose from or pieces of the text takes %zu "
							  "bytes of memory, the limit is %zu",
							  bytes, KEPT_MEMORY_BYTES / 2);
	else if (own + bytes > KEPT_MEMORY_BYTES - total)
		status = status_error(STATUS_UNAVAILABLE,
							  "requests that have not ended keep %zu bytes of memory for tools, answers to choose from "
							  "and pieces of texts, %zu of them for this role: there is no room for %zu more now",
							  total, own, bytes);
	else if (!add(role, bytes))
		status = status_error(STATUS_UNAVAILABLE, "out of memory in the engine");
	pthread_mutex_unlock(&lock);
	return status;
}

void
kept_memory_give(uint32_t role, size_t bytes)
{
	RoleMemory **link, *entry;

	if (bytes == 0)
		return;
	pthread_mutex_lock(&lock);
	link = find_role(role);
	entry = *link;
	entry->bytes -= bytes;
	total -= bytes;
	if (entry->bytes == 0)
	{
		*link = entry->next;
		free(entry);
	}
	pthread_mutex_unlock(&lock);
}
