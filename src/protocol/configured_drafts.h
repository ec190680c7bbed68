/*
 * configured_drafts.h - the list of draft models that the setting qwen.draft_models is: "model=draft, model=draft, …".
 *
 * Pure text, as configured_models.h: knows no setting and no model.
 */
#ifndef QWEN_CONFIGURED_DRAFTS_H
#define QWEN_CONFIGURED_DRAFTS_H

#include "configured_models.h"

/* One entry of the list: the second one guesses for the first. */
typedef struct ConfiguredDraft
{
	char model[PROTOCOL_MAX_NAME_BYTES + 1];
	char draft[PROTOCOL_MAX_NAME_BYTES + 1];
} ConfiguredDraft;

typedef struct ConfiguredDrafts
{
	int n;
	ConfiguredDraft drafts[STATUS_PAGE_MAX_SLOTS];
} ConfiguredDrafts;

/* Read a list; INVALID_ARGUMENT with a sentence that says what is wrong with it, and at which byte (the first one is
 * 1); then drafts holds the entries before. */
extern Status configured_drafts_parse(const char *value, ConfiguredDrafts *drafts);

/* The name of the draft of a model, or NULL. */
extern const char *configured_draft_of(const ConfiguredDrafts *drafts, const char *model);

#endif
