/*
 * trigger_call.h - what every call of our triggers begins with.
 */
#ifndef QWEN_TRIGGER_CALL_H
#define QWEN_TRIGGER_CALL_H

#include "../core/core.h"

#include "commands/trigger.h"

/* What a trigger does for its row. */
typedef Datum (*TriggerBody)(FunctionCallInfo fcinfo, TriggerData *data);

/* Run it for a call of a function by this name, which is looked at first; its errors name the trigger. */
extern Datum trigger_call(FunctionCallInfo fcinfo, const char *function, TriggerBody body);

/* From here on errors say in their CONTEXT whose trigger it is, until error_context_stack is set back to
 * context->previous. */
extern void trigger_name_errors(ErrorContextCallback *context, TriggerData *data);

#endif
