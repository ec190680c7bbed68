/*
 * draft_models.h - which model guesses for which (qwen.draft_models), of those that are served.
 */
#ifndef QWEN_DRAFT_MODELS_H
#define QWEN_DRAFT_MODELS_H

#include "slots.h"

/* Can a draft model's guesses be tokens of another model? INVALID_ARGUMENT: its vocabulary is another one. */
extern Status draft_models_check(const Model *model, const Model *draft);

/* Compare what the status page wants with what is served: Slot.draft of all slots, and what is told of it. */
extern void draft_models_link(Slots *slots);

/* A slot's model leaves. */
extern void draft_models_forget(Slot *slot);

#endif
