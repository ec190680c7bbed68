/*
 * call.h - the room's door: functions that ask the model, from their arguments to their value.
 *
 * model_call.h: what a SQL function asks of the model, as data, and one evaluation of it; call_window.h: many of them
 * in flight; call_options.h: the arguments they have in common; progress.h: how far the statement is.
 */
#ifndef QWEN_CALL_H
#define QWEN_CALL_H

#include "call_options.h"
#include "call_window.h"
#include "model_call.h"
#include "progress.h"

#endif
