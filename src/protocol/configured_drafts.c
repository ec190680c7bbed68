/*
 * configured_drafts.c - reading the list of qwen.draft_models; see configured_drafts.h.
 */
#include "configured_drafts.h"

#include <string.h>

#include "list_text.h"

/* One "model=draft" of the list. */
static Status
parse_entry(const char *start, const char *end, ConfiguredDrafts *drafts)
{
	const char *equals = memchr(start, '=', (size_t) (end - start));
	const char *model_end = equals, *draft;
	ConfiguredDraft *entry = &drafts->drafts[drafts->n];

	if (!equals)
		return status_error(STATUS_INVALID_ARGUMENT, "Entries look like \"model=draft\".");
	if (drafts->n == STATUS_PAGE_MAX_SLOTS)
		return status_error(STATUS_INVALID_ARGUMENT, "At most %d models can be listed.", STATUS_PAGE_MAX_SLOTS);
	draft = equals + 1;
	list_trim(&start, &model_end);
	list_trim(&draft, &end);
	STATUS_TRY(model_name_check(start, (size_t) (model_end - start)));
	STATUS_TRY(model_name_check(draft, (size_t) (end - draft)));
	memset(entry, 0, sizeof *entry);
	memcpy(entry->model, start, (size_t) (model_end - start));
	memcpy(entry->draft, draft, (size_t) (end - draft));
	if (strcmp(entry->model, entry->draft) == 0)
		return status_error(STATUS_INVALID_ARGUMENT, "\"%s\" cannot guess for itself.", entry->model);
	if (configured_draft_of(drafts, entry->model))
		return status_error(STATUS_INVALID_ARGUMENT, "\"%s\" has a draft model already.", entry->model);
	drafts->n++;
	return status_ok();
}

Status
configured_drafts_parse(const char *value, ConfiguredDrafts *drafts)
{
	const char *at = value;

	drafts->n = 0;
	if (strlen(value) >= STATUS_PAGE_DRAFT_BYTES)
		return status_error(STATUS_INVALID_ARGUMENT, "The list has %d bytes at most.", STATUS_PAGE_DRAFT_BYTES - 1);
	while (at && *at)
	{
		const char *end = strchr(at, ',');
		const char *start = at, *stop = end ? end : at + strlen(at);

		list_trim(&start, &stop);
		if (start < stop)
			STATUS_TRY(status_prefix(parse_entry(start, stop, drafts), "At byte %zu", (size_t) (start - value) + 1));
		at = end ? end + 1 : NULL;
	}
	return status_ok();
}

const char *
configured_draft_of(const ConfiguredDrafts *drafts, const char *model)
{
	for (int i = 0; i < drafts->n; i++)
		if (strcmp(drafts->drafts[i].model, model) == 0)
			return drafts->drafts[i].draft;
	return NULL;
}
