/*
 * limit_tables.h - the tables in which limits and lists of models stand, and the news that they have changed.
 */
#ifndef QWEN_LIMIT_TABLES_H
#define QWEN_LIMIT_TABLES_H

#include "limits.h"

/* The tables of a database. */
typedef enum LimitTable
{
	LIMIT_TABLE_LIMITS, /* qwen_role_limit */
	LIMIT_TABLE_MODELS, /* qwen_role_models */
	N_LIMIT_TABLES,
} LimitTable;

/* A table and its index on role; false: the extension is not in this database. */
extern bool limit_find_table(LimitTable which, Oid *table, Oid *index);

/* Has no message come since it was found that could make old what was read of it? */
extern bool limit_is_current(LimitTable which, Oid table);

/* The role and all that it is a member of, near ones first. */
extern List *limit_roles_of(Oid role);

/* The role that is a function's first argument; raises 22023 and 42704. */
extern Oid limit_role_argument(FunctionCallInfo fcinfo);

/* Run a statement over a table in SPI; %s stands for its name. Delete rows of roles that are no more. */
extern void limit_change_table(LimitTable which, const char *format, int n, Oid *types, Datum *values,
							   const char *nulls, int expected);
extern void limit_delete_orphans(LimitTable which);

/* Have forget called from here on when anything changes that could make old what was read of a table, of roles and
 * their memberships; and call all of them. */
extern void limit_when_changed(LimitTable which, void (*forget)(void));
extern void limit_forget(void);

#endif
