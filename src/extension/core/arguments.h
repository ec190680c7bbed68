/*
 * arguments.h - how C functions get at their arguments. It is included by every file that has some, and takes the place
 * of fmgr.h's own way.
 *
 * The library is loaded for all databases of a server, and each may have the SQL functions of another version: those of
 * an older script pass fewer arguments, and what lies behind them in memory is anybody's. So an argument that was not
 * passed is NULL, a function is defined with how many it needs and knows (QWEN_FUNCTION), and nothing else looks into
 * fcinfo->args.
 */
#ifndef QWEN_ARGUMENTS_H
#define QWEN_ARGUMENTS_H

#include "postgres.h"

#include "fmgr.h"
#include "utils/array.h"

/* Raise 55000 unless a function was passed from least to most arguments. symbol: its name in the library. */
extern void check_arguments(FunctionCallInfo fcinfo, const char *symbol, int least, int most);

/* Raise the same for an argument that is needed and was not passed. */
extern void raise_missing_argument(FunctionCallInfo fcinfo, int argument) __attribute__((noreturn));

/* Raise 22023 for an array of several dimensions, whose elements would be taken for those of one; name: what it is. */
extern void require_one_dimension(const ArrayType *array, const char *name);

/* Raise 25006 on a standby and in a READ ONLY transaction, as PostgreSQL's own functions do. */
extern void check_may_write(FunctionCallInfo fcinfo, const char *symbol);

static inline bool
argument_is_null(FunctionCallInfo fcinfo, int argument)
{
	return argument >= fcinfo->nargs || fcinfo->args[argument].isnull;
}

static inline Datum
argument_value(FunctionCallInfo fcinfo, int argument)
{
	if (argument >= fcinfo->nargs)
		raise_missing_argument(fcinfo, argument);
	return fcinfo->args[argument].value;
}

/* Exchange all arguments that were passed for others. */
static inline void
arguments_set(FunctionCallInfo fcinfo, const NullableDatum *arguments)
{
	memcpy(fcinfo->args, arguments, sizeof *arguments * fcinfo->nargs);
}

/* All other PG_GETARG_… are made of these two. */
#undef PG_ARGISNULL
#define PG_ARGISNULL(argument) argument_is_null(fcinfo, argument)
#undef PG_GETARG_DATUM
#define PG_GETARG_DATUM(argument) argument_value(fcinfo, argument)

/* A function that SQL calls, behind what is looked at first. */
#define QWEN_FUNCTION_BEHIND(name, checks)                                                                             \
	PG_FUNCTION_INFO_V1(name);                                                                                         \
	static Datum name##_checked(PG_FUNCTION_ARGS);                                                                     \
	Datum name(PG_FUNCTION_ARGS)                                                                                       \
	{                                                                                                                  \
		checks;                                                                                                        \
		return name##_checked(fcinfo);                                                                                 \
	}                                                                                                                  \
	static Datum name##_checked(PG_FUNCTION_ARGS)

/*
 * The head of a function that SQL calls: least arguments are those without a default in the oldest script that this
 * library serves, most those in the newest.
 */
#define QWEN_FUNCTION(name, least, most) QWEN_FUNCTION_BEHIND(name, check_arguments(fcinfo, #name, least, most))

/* The same of a function that writes tables: in a transaction that may not, nothing of it is done. */
#define QWEN_WRITING_FUNCTION(name, least, most)                                                                       \
	QWEN_FUNCTION_BEHIND(name, (check_arguments(fcinfo, #name, least, most), check_may_write(fcinfo, #name)))

#endif
