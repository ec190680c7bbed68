/*
 * trigger_use.h - how our trigger functions are to be used: when they fire, with which arguments.
 */
#ifndef QWEN_TRIGGER_USE_H
#define QWEN_TRIGGER_USE_H

#include "../core/core.h"

/* What errors of triggers have in their CONTEXT: the trigger's and the table's name. */
#define TRIGGER_CONTEXT_BEGINS "trigger \""
#define TRIGGER_CONTEXT TRIGGER_CONTEXT_BEGINS "%s\" of table \"%s\""

typedef struct TriggerUse
{
	const char *function;
	bool is_before;        /* BEFORE, else AFTER */
	bool queues;           /* rows, for workers */
	const char *arguments; /* as a hint shows them */
} TriggerUse;

/* How a function of this name is used; NULL: it is none of these. */
extern const TriggerUse *trigger_use_of(const char *function);

/* Raise for a trigger that fires at other moments, or for other events. */
extern void trigger_check_moment(const TriggerUse *use, bool fits);

/* Raise for too few arguments. */
extern void trigger_check_arguments(const TriggerUse *use, int n);

/* Raise for a "name=value" argument, from the first of these on, whose name stands before another one, too. */
extern void trigger_refuse_twice(const char *function, char *const *arguments, int first, int n);

/* errhint(): what is done where a trigger's argument names a column that is not there. */
extern int trigger_column_hint(void);

#endif
