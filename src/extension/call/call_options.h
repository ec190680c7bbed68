/*
 * call_options.h - the arguments that all text-producing functions end with.
 */
#ifndef QWEN_CALL_OPTIONS_H
#define QWEN_CALL_OPTIONS_H

#include "../core/core.h"

#define N_TAIL_ARGUMENTS 16

/*
 * Read the common tail, arguments first ... first+14 of fcinfo and the last one, options, into request (whose texts are
 * palloc'd). Between adapter and options a function may have arguments of its own.
 */
extern void options_read(FunctionCallInfo fcinfo, int first, Request *request);

/* The argument options alone: a JSON object with the options that have no argument of their own; may be NULL. */
extern void options_read_object(FunctionCallInfo fcinfo, int argument, Request *request);

/* A model's name argument (or NULL) into request->model; fallback: the setting that holds when it is NULL. */
extern void options_set_model(Request *request, text *name, const char *fallback);

/* What a text is embedded or ranked for, an argument that may be NULL; a blank one, which would be another question, is
 * 22023. */
extern void options_set_instruction(FunctionCallInfo fcinfo, int argument, Request *request);

/* The value of a key of the JSON object in an argument as one of a SQL type; raises, naming the key, what it is not. */
struct JsonbValue;
extern Datum options_value(const char *argument, const char *key, const struct JsonbValue *value, Oid type);

/* The value of an argument that was written as text; raises, naming it, what it is not. */
extern Datum options_value_of_text(const char *name, char *written, Oid type);

/* Names of the common tail's arguments in order, with their types. */
typedef struct TailArgument
{
	const char *name;
	Oid type;
} TailArgument;

extern const TailArgument tail_arguments[N_TAIL_ARGUMENTS];

#endif
