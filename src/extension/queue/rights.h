/*
 * rights.h - who may do what with jobs and with rows of queues.
 */
#ifndef QWEN_RIGHTS_H
#define QWEN_RIGHTS_H

#include "store.h"

/* Raise 42501 unless the current user may call the function that a job uses. In SPI. */
extern void job_check_privilege(const JobStore *store, const ModelFunction *function);

/* Raise 42704: there is no such job, or none yet. */
extern void job_raise_none(int64 job) __attribute__((noreturn));

/* Owner and state of a job that the caller may touch, as the statement sees it, or locked as it is now. In SPI. */
extern Oid job_find_own(const JobStore *store, int64 job, char **state, bool latest);

/* The owner of a table, as whom the caller may act; else 42501. */
extern Oid job_own_relation(Oid relation);

#endif
