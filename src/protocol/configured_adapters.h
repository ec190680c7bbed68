/*
 * configured_adapters.h - the list of adapters that the setting qwen.adapters is: "name=file@model, name=file@model,
 * …".
 *
 * Pure text, as configured_models.h. An adapter is known by its name and its model's: the same name may stand once for
 * each model.
 */
#ifndef QWEN_CONFIGURED_ADAPTERS_H
#define QWEN_CONFIGURED_ADAPTERS_H

#include "configured_models.h"

typedef struct ConfiguredAdapter
{
	char name[PROTOCOL_MAX_NAME_BYTES + 1];
	char model[PROTOCOL_MAX_NAME_BYTES + 1];
	char file[CONFIGURED_MAX_FILE_BYTES];
} ConfiguredAdapter;

typedef struct ConfiguredAdapters
{
	int n;
	ConfiguredAdapter adapters[STATUS_PAGE_MAX_ADAPTERS];
} ConfiguredAdapters;

/* Read a list; INVALID_ARGUMENT with a sentence that says what is wrong with it; then adapters holds the entries
 * before. */
extern Status configured_adapters_parse(const char *value, ConfiguredAdapters *adapters);

/* Whether name[0 .. length) can be an adapter's name; INVALID_ARGUMENT with why not. */
extern Status adapter_name_check(const char *name, size_t length);

/* The same for the name of a model, or of a model and an adapter: "chat", "chat+legal". */
extern Status adapted_name_check(const char *name, size_t length);

#endif
