/*
 * letters.h - which tables have dead letters of their triggers.
 */
#ifndef QWEN_LETTERS_H
#define QWEN_LETTERS_H

#include "../core/core.h"

/* Tables of a role of this database whose triggers have dead letters, so that deletes from them ask for a sweep. */
extern void job_letters_add(Oid role, Oid relation);
extern void job_letters_clear(Oid role);

/* In the postmaster: hear of statements that end. */
extern void job_letters_init(void);

#endif
