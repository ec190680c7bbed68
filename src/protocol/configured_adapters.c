/*
 * configured_adapters.c - reading the list of qwen.adapters; see configured_adapters.h.
 */
#include "configured_adapters.h"

#include <string.h>

#include "list_text.h"

Status
adapter_name_check(const char *name, size_t length)
{
	if (length < 1 || length > PROTOCOL_MAX_NAME_BYTES)
		return status_error(STATUS_INVALID_ARGUMENT, "An adapter's name has 1 to %d characters.",
							PROTOCOL_MAX_NAME_BYTES);
	if (model_name_check(name, length).code != STATUS_OK)
		return status_error(STATUS_INVALID_ARGUMENT,
							"An adapter's name is made of letters, digits, \"_\", \".\", \":\" and \"-\".");
	return status_ok();
}

Status
adapted_name_check(const char *name, size_t length)
{
	const char *plus = memchr(name, '+', length);
	size_t model = plus ? (size_t) (plus - name) : length;

	STATUS_TRY(model_name_check(name, model));
	return plus ? adapter_name_check(plus + 1, length - model - 1) : status_ok();
}

/* One "name=file@model" of the list: the file ends at the last "@". */
static Status
parse_entry(const char *start, const char *end, ConfiguredAdapters *adapters)
{
	const char *equals = memchr(start, '=', (size_t) (end - start));
	const char *at = memrchr(start, '@', (size_t) (end - start));
	const char *name_end = equals, *file, *file_end = at, *model;
	ConfiguredAdapter *adapter = &adapters->adapters[adapters->n];

	if (!equals || !at || at < equals)
		return status_error(STATUS_INVALID_ARGUMENT, "Entries look like \"name=file@model\".");
	if (adapters->n == STATUS_PAGE_MAX_ADAPTERS)
		return status_error(STATUS_INVALID_ARGUMENT, "At most %d adapters can be listed.", STATUS_PAGE_MAX_ADAPTERS);
	file = equals + 1;
	model = at + 1;
	list_trim(&start, &name_end);
	list_trim(&file, &file_end);
	list_trim(&model, &end);
	STATUS_TRY(adapter_name_check(start, (size_t) (name_end - start)));
	STATUS_TRY(model_name_check(model, (size_t) (end - model)));
	if (file_end - file < 1 || file_end - file >= CONFIGURED_MAX_FILE_BYTES)
		return status_error(STATUS_INVALID_ARGUMENT, "A file's name has 1 to %d bytes.", CONFIGURED_MAX_FILE_BYTES - 1);
	memset(adapter, 0, sizeof *adapter);
	memcpy(adapter->name, start, (size_t) (name_end - start));
	memcpy(adapter->file, file, (size_t) (file_end - file));
	memcpy(adapter->model, model, (size_t) (end - model));
	for (int i = 0; i < adapters->n; i++)
		if (strcmp(adapters->adapters[i].name, adapter->name) == 0 &&
			strcmp(adapters->adapters[i].model, adapter->model) == 0)
			return status_error(STATUS_INVALID_ARGUMENT, "The name \"%s\" stands twice for model \"%s\".",
								adapter->name, adapter->model);
	adapters->n++;
	return status_ok();
}

Status
configured_adapters_parse(const char *value, ConfiguredAdapters *adapters)
{
	const char *at = value;

	adapters->n = 0;
	while (at && *at)
	{
		const char *end = strchr(at, ',');
		const char *start = at, *stop = end ? end : at + strlen(at);

		list_trim(&start, &stop);
		if (start < stop)
			STATUS_TRY(status_prefix(parse_entry(start, stop, adapters), "At byte %zu", (size_t) (start - value) + 1));
		at = end ? end + 1 : NULL;
	}
	return status_ok();
}
