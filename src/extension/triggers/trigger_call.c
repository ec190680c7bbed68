/*
 * trigger_call.c - what every call of our triggers begins with: that it is a trigger of the right kind, and that its
 * errors name it. They come up in a statement that knows nothing of it, or in a job that writes the table.
 */
#include "trigger_call.h"

#include "../core/shared_memory.h"
#include "../queue/queue.h"
#include "moving.h"
#include "utils/rel.h"

static void
tell_whose(void *argument)
{
	const TriggerData *data = argument;

	/* job_error_words() finds it there */
	errcontext(TRIGGER_CONTEXT, data->tg_trigger->tgname, RelationGetRelationName(data->tg_relation));
}

void
trigger_name_errors(ErrorContextCallback *context, TriggerData *data)
{
	context->previous = error_context_stack;
	context->callback = tell_whose;
	context->arg = data;
	error_context_stack = context;
}

/* Does a trigger fire when its function is for? */
static bool
fits(const TriggerUse *use, const TriggerData *data)
{
	TriggerEvent event = data->tg_event;

	if (use->queues && moving_has_called(data))
		return true;
	return (use->is_before ? TRIGGER_FIRED_BEFORE(event) : TRIGGER_FIRED_AFTER(event)) &&
		   TRIGGER_FIRED_FOR_ROW(event) && (TRIGGER_FIRED_BY_INSERT(event) || TRIGGER_FIRED_BY_UPDATE(event));
}

Datum
trigger_call(FunctionCallInfo fcinfo, const char *function, TriggerBody body)
{
	TriggerData *data = (TriggerData *) fcinfo->context;
	const TriggerUse *use = trigger_use_of(function);
	ErrorContextCallback context;
	Datum row;

	require_preloaded();
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s must be called as a trigger", function)));
	trigger_name_errors(&context, data);
	trigger_check_moment(use, fits(use, data));
	trigger_check_arguments(use, data->tg_trigger->tgnargs);
	row = body(fcinfo, data);
	error_context_stack = context.previous;
	return row;
}
