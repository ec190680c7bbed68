/*
 * fuzz_configured_models.c - values of the setting qwen.models.
 *
 * What is accepted has sound names, none twice, and means the same when it is written down again.
 */
#include "../../src/protocol/configured_models.h"
#include "fuzz.h"

static void
check_accepted(const ConfiguredModels *models, const ConfiguredModels *again)
{
	PROMISE(models->n >= 0 && models->n <= STATUS_PAGE_MAX_SLOTS && again->n == models->n);
	for (int i = 0; i < models->n; i++)
	{
		const ConfiguredModel *model = &models->models[i];

		PROMISE(memchr(model->name, 0, sizeof model->name) && memchr(model->file, 0, sizeof model->file));
		PROMISE(model_name_check(model->name, strlen(model->name)).code == STATUS_OK && model->file[0]);
		PROMISE(strcmp(model->name, again->models[i].name) == 0 && strcmp(model->file, again->models[i].file) == 0);
		for (int j = 0; j < i; j++)
			PROMISE(strcmp(model->name, models->models[j].name) != 0);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static ConfiguredModels models, again;
	char *value = malloc(size + 1);
	ByteWriter text;
	Status status;

	if (!value)
		abort();
	memcpy(value, data, size);
	value[size] = '\0';
	status = configured_models_parse(value, &models);
	PROMISE(status.code == STATUS_OK || (status.code == STATUS_INVALID_ARGUMENT && status.message[0]));
	if (status.code == STATUS_OK)
	{
		byte_writer_init(&text);
		for (int i = 0; i < models.n; i++)
		{
			write_raw(&text, models.models[i].name, strlen(models.models[i].name));
			write_raw(&text, "=", 1);
			write_raw(&text, models.models[i].file, strlen(models.models[i].file));
			write_raw(&text, ", ", 2);
		}
		write_u8(&text, 0);
		PROMISE(configured_models_parse((char *) text.data, &again).code == STATUS_OK);
		check_accepted(&models, &again);
		byte_writer_free(&text);
	}
	free(value);
	return 0;
}
