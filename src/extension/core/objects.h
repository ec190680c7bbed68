/*
 * objects.h - what a statement does to objects of the database, whatever statement it is.
 */
#ifndef QWEN_OBJECTS_H
#define QWEN_OBJECTS_H

#include "core.h"

#include "catalog/objectaccess.h"
#include "statement.h"

/*
 * Have heard called for each object that a utility statement drops (OAT_DROP) or has altered (OAT_POST_ALTER), once
 * PostgreSQL has found that it may. Its catalog rows are still to be seen as they were. column: from 1; 0: the object
 * itself. Several. Not where the library is not preloaded.
 */
extern void object_when_changed(void (*heard)(UtilityStatement *statement, ObjectAccessType access, Oid class,
											  Oid object, int column));

/* Set the hook. */
extern void objects_init(void);

#endif
