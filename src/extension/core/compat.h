/*
 * compat.h - what differs between PostgreSQL 13 and 19, in one place.
 */
#ifndef QWEN_COMPAT_H
#define QWEN_COMPAT_H

#include "postgres.h"

#if PG_VERSION_NUM >= 160000
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#endif
#include "storage/latch.h"
#include "utils/memutils.h"
#if PG_VERSION_NUM >= 140000
#include "utils/wait_event.h"
#else
#include "pgstat.h"
#endif
#if PG_VERSION_NUM >= 180000
#include "storage/waiteventset.h"
#endif

/* 14 has given the predefined roles their names. */
#if PG_VERSION_NUM < 140000
#define ROLE_PG_READ_ALL_SETTINGS DEFAULT_ROLE_READ_ALL_SETTINGS
#define ROLE_PG_READ_ALL_STATS DEFAULT_ROLE_READ_ALL_STATS
#endif

/* 13 cannot look whether the client is still there without reading from it. */
#define HAVE_CHECK_CONNECTION (PG_VERSION_NUM >= 140000)

/* 17 gives wait event sets a resource owner instead of a memory context. */
static inline WaitEventSet *
create_wait_event_set(int n_events)
{
#if PG_VERSION_NUM >= 170000
	return CreateWaitEventSet(NULL, n_events);
#else
	return CreateWaitEventSet(TopMemoryContext, n_events);
#endif
}

/* 16 has one function for the privileges on all kinds of objects. */
#if PG_VERSION_NUM >= 160000
#define function_aclcheck(function, role, mode) object_aclcheck(ProcedureRelationId, function, role, mode)
#define function_ownercheck(function, role) object_ownercheck(ProcedureRelationId, function, role)
#define relation_ownercheck(relation, role) object_ownercheck(RelationRelationId, relation, role)
#define schema_aclcheck(schema, role, mode) object_aclcheck(NamespaceRelationId, schema, role, mode)
#define type_aclcheck(type, role, mode) object_aclcheck(TypeRelationId, type, role, mode)
#else
#define function_aclcheck(function, role, mode) pg_proc_aclcheck(function, role, mode)
#define function_ownercheck(function, role) pg_proc_ownercheck(function, role)
#define relation_ownercheck(relation, role) pg_class_ownercheck(relation, role)
#define schema_aclcheck(schema, role, mode) pg_namespace_aclcheck(schema, role, mode)
#define type_aclcheck(type, role, mode) pg_type_aclcheck(type, role, mode)
#endif

/* 17 looks for stronger locks, too, where it is asked to. */
#if PG_VERSION_NUM >= 170000
#define lock_is_held(tag, mode) LockHeldByMe(tag, mode, false)
#else
#define lock_is_held(tag, mode) LockHeldByMe(tag, mode)
#endif

/* 18 can leave room in front of a copy. */
#if PG_VERSION_NUM >= 180000
#define duplicate_minimal_tuple(tuple) heap_copy_minimal_tuple(tuple, 0)
#else
#define duplicate_minimal_tuple(tuple) heap_copy_minimal_tuple(tuple)
#endif

/* 18 took execute_once away from ExecutorRun. */
#if PG_VERSION_NUM >= 180000
#define EXECUTOR_RUN_PARAMETERS (QueryDesc * query, ScanDirection direction, uint64 count)
#define EXECUTOR_RUN_ARGUMENTS (query, direction, count)
#else
#define EXECUTOR_RUN_PARAMETERS (QueryDesc * query, ScanDirection direction, uint64 count, bool execute_once)
#define EXECUTOR_RUN_ARGUMENTS (query, direction, count, execute_once)
#endif

/* 19 gives the planner EXPLAIN's state. */
#if PG_VERSION_NUM >= 190000
#define PLANNER_PARAMETERS                                                                                             \
	(Query * query, const char *text, int cursor_options, ParamListInfo parameters, ExplainState *explain)
#define PLANNER_ARGUMENTS (query, text, cursor_options, parameters, explain)
#else
#define PLANNER_PARAMETERS (Query * query, const char *text, int cursor_options, ParamListInfo parameters)
#define PLANNER_ARGUMENTS (query, text, cursor_options, parameters)
#endif

/* 19 makes a table in shared memory of its whole size at once, and gives scans flags. */
#if PG_VERSION_NUM >= 190000
#define make_shared_hash(name, n, control, flags) ShmemInitHash(name, n, control, flags)
#define begin_table_scan(relation, snapshot) table_beginscan(relation, snapshot, 0, NULL, SO_NONE)
#else
#define make_shared_hash(name, n, control, flags) ShmemInitHash(name, n, n, control, flags)
#define begin_table_scan(relation, snapshot) table_beginscan(relation, snapshot, 0, NULL)
#endif

/* 14 says whether a utility statement's tree may be changed. */
#if PG_VERSION_NUM >= 140000
#define UTILITY_PARAMETERS                                                                                             \
	(PlannedStmt * statement, const char *text, bool read_only_tree, ProcessUtilityContext context,                    \
	 ParamListInfo parameters, QueryEnvironment *environment, DestReceiver *receiver, QueryCompletion *completion)
#define UTILITY_ARGUMENTS (statement, text, read_only_tree, context, parameters, environment, receiver, completion)
#else
#define UTILITY_PARAMETERS                                                                                             \
	(PlannedStmt * statement, const char *text, ProcessUtilityContext context, ParamListInfo parameters,               \
	 QueryEnvironment *environment, DestReceiver *receiver, QueryCompletion *completion)
#define UTILITY_ARGUMENTS (statement, text, context, parameters, environment, receiver, completion)
#endif

/* 18 moved EXPLAIN's helpers out of commands/explain.h. */
#if PG_VERSION_NUM >= 180000
#include "commands/explain_format.h"
#include "commands/explain_state.h"
#endif

/* Did the configuration files have a line for a setting when this process (or the one it is a copy of) read them last?
 * Not known of those of the server's start, which are read before our settings are there. */
extern bool setting_is_in_files(const char *name);

/* The name that pg_stat_activity shows for waits on the engine: a custom one from 17 on. */
extern uint32 qwen_wait_event(void);

#endif
