/*
 * configured_models.h - the list of models that the setting qwen.models is: "name=file, name=file {setting=value, …},
 * …".
 *
 * Pure text: knows no setting and no file. Names and files are as long as the status page has room for.
 */
#ifndef QWEN_CONFIGURED_MODELS_H
#define QWEN_CONFIGURED_MODELS_H

#include "model_settings.h"
#include "protocol.h"
#include "status_page.h"

#define CONFIGURED_MAX_FILE_BYTES 256 /* with the NUL at its end */

/* One entry of the list. */
typedef struct ConfiguredModel
{
	char name[PROTOCOL_MAX_NAME_BYTES + 1];
	char file[CONFIGURED_MAX_FILE_BYTES];
	ModelSettings settings;
} ConfiguredModel;

typedef struct ConfiguredModels
{
	int n;
	ConfiguredModel models[STATUS_PAGE_MAX_SLOTS];
} ConfiguredModels;

/*
 * Read a list (NUL-terminated; "" is an empty one, and so are entries of nothing but white space). INVALID_ARGUMENT
 * with a sentence that says what is wrong with it, and at which byte (the first one is 1); then models holds the
 * entries before.
 */
extern Status configured_models_parse(const char *value, ConfiguredModels *models);

/* Whether name[0 .. length) can be a model's name; INVALID_ARGUMENT with why not. */
extern Status model_name_check(const char *name, size_t length);

#endif
