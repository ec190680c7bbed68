/*
 * configured_models.c - reading the list of qwen.models; see configured_models.h.
 */
#include "configured_models.h"

#include <string.h>

#include "list_text.h"

static bool
is_name_character(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		   (c != '\0' && strchr("_.:-", c));
}

Status
model_name_check(const char *name, size_t length)
{
	if (length < 1 || length > PROTOCOL_MAX_NAME_BYTES)
		return status_error(STATUS_INVALID_ARGUMENT, "A model's name has 1 to %d characters.", PROTOCOL_MAX_NAME_BYTES);
	for (size_t i = 0; i < length; i++)
		if (!is_name_character(name[i]))
			return status_error(STATUS_INVALID_ARGUMENT,
								"A model's name is made of letters, digits, \"_\", \".\", \":\" and \"-\".");
	return status_ok();
}

/* Where a part of the list stands, for an error: its bytes are counted from 1. */
static size_t
place(const char *list, const char *at)
{
	return (size_t) (at - list) + 1;
}

/* "name=file" of an entry. */
static Status
parse_name_and_file(const char *start, const char *end, ConfiguredModels *models)
{
	const char *equals = memchr(start, '=', (size_t) (end - start));
	const char *name_end = equals;
	const char *file = equals ? equals + 1 : NULL;
	ConfiguredModel *model = &models->models[models->n];

	if (!equals)
		return status_error(STATUS_INVALID_ARGUMENT, "Entries look like \"name=file\".");
	if (models->n == STATUS_PAGE_MAX_SLOTS)
		return status_error(STATUS_INVALID_ARGUMENT, "At most %d models can be listed.", STATUS_PAGE_MAX_SLOTS);
	list_trim(&start, &name_end);
	list_trim(&file, &end);
	STATUS_TRY(model_name_check(start, (size_t) (name_end - start)));
	if (end - file < 1 || end - file >= CONFIGURED_MAX_FILE_BYTES)
		return status_error(STATUS_INVALID_ARGUMENT, "A file's name has 1 to %d bytes.", CONFIGURED_MAX_FILE_BYTES - 1);
	memset(model, 0, sizeof *model);
	memcpy(model->name, start, (size_t) (name_end - start));
	memcpy(model->file, file, (size_t) (end - file));
	for (int i = 0; i < models->n; i++)
		if (strcmp(models->models[i].name, model->name) == 0)
			return status_error(STATUS_INVALID_ARGUMENT, "The name \"%s\" stands twice.", model->name);
	return status_ok();
}

/* One entry of the list, "name=file" or "name=file {settings}". */
static Status
parse_entry(const char *list, const char *start, const char *end, ConfiguredModels *models)
{
	const char *open = memchr(start, '{', (size_t) (end - start));
	const char *close = open ? memchr(open, '}', (size_t) (end - open)) : NULL;
	ModelSettings settings = {0};

	if (memchr(start, '}', (size_t) ((open ? open : end) - start)))
		return status_error(STATUS_INVALID_ARGUMENT, "At byte %zu: a \"}\" without a \"{\" before it.",
							place(list, memchr(start, '}', (size_t) (end - start))));
	if (open && !close)
		return status_error(STATUS_INVALID_ARGUMENT, "At byte %zu: the \"{\" has no \"}\".", place(list, open));
	if (open && close + 1 < end)
		return status_error(STATUS_INVALID_ARGUMENT, "At byte %zu: behind \"}\" stands a comma or nothing.",
							place(list, close + 1));
	STATUS_TRY(status_prefix(parse_name_and_file(start, open ? open : end, models), "At byte %zu", place(list, start)));
	if (open)
		STATUS_TRY(
			status_prefix(model_settings_parse(open + 1, (size_t) (close - open - 1), place(list, open + 1), &settings),
						  "Settings of \"%s\"", models->models[models->n].name));
	models->models[models->n++].settings = settings;
	return status_ok();
}

/* The comma behind an entry, or the list's end. One inside of braces is a setting's. */
static const char *
entry_end(const char *at)
{
	bool inside = false;

	for (; *at && (inside || *at != ','); at++)
		inside = *at == '{' || (inside && *at != '}');
	return at;
}

Status
configured_models_parse(const char *value, ConfiguredModels *models)
{
	const char *at = value;

	models->n = 0;
	while (at && *at)
	{
		const char *end = entry_end(at);
		const char *start = at, *stop = end;

		list_trim(&start, &stop);
		if (start < stop)
			STATUS_TRY(parse_entry(value, start, stop, models));
		at = *end ? end + 1 : NULL;
	}
	return status_ok();
}
