/*
 * objects.c - objects that statements drop and alter: PostgreSQL's hook; see objects.h.
 *
 * A table's column goes by DROP COLUMN, and as well by DROP DOMAIN ... CASCADE or DROP OWNED: the hook hears of it by
 * whatever way it goes, and after rights have been looked at.
 */
#include "objects.h"

#include "shared_memory.h"

#define MAX_HEARD_CHANGES 8

static void (*heard_changes[MAX_HEARD_CHANGES])(UtilityStatement *statement, ObjectAccessType access, Oid class,
												Oid object, int column);
static int n_heard_changes;
static object_access_hook_type previous_access;

static void
access_hook(ObjectAccessType access, Oid class, Oid object, int column, void *argument)
{
	UtilityStatement *statement = utility_statement();

	if (previous_access)
		previous_access(access, class, object, column, argument);
	for (int i = 0; statement && qwen_shared && (access == OAT_DROP || access == OAT_POST_ALTER) && i < n_heard_changes;
		 i++)
		heard_changes[i](statement, access, class, object, column);
}

void
object_when_changed(void (*heard)(UtilityStatement *statement, ObjectAccessType access, Oid class, Oid object,
								  int column))
{
	Assert(n_heard_changes < MAX_HEARD_CHANGES);
	heard_changes[n_heard_changes++] = heard;
}

void
objects_init(void)
{
	previous_access = object_access_hook;
	object_access_hook = access_hook;
}
