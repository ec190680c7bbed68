/*
 * fuzz_configured_models.c - values of the setting qwen.models.
 *
 * What is accepted has sound names, none twice, and settings that hold together, and means the same when it is written
 * down again.
 */
#include <math.h>

#include "../../src/engine/model_terms.h"
#include "../../src/engine/rope.h"
#include "../../src/protocol/configured_models.h"
#include "fuzz.h"

/* What is settled holds for a file of any context, or is refused with a reason. */
static void
check_settings(const ModelSettings *settings)
{
	static const uint32_t contexts[] = {1, 2048, 40960, 1 << 24};
	ContextSettings context = model_terms_context(settings);

	PROMISE(model_settings_check(settings).code == STATUS_OK);
	PROMISE((settings->rope_factor == 0 || (settings->rope_factor >= 1 && settings->rope_factor <= 1024)) &&
			settings->threads <= 256 && settings->context <= 1 << 24);
	for (size_t i = 0; i < sizeof contexts / sizeof contexts[0]; i++)
	{
		ModelHyper hyper = {
			.context_length = contexts[i], .head_dim = 64, .n_rotated = 64, .rope_base = 1e6f, .rope_factor = 1};
		Status status = context_apply(&hyper, &context);
		float cosines[32], sines[32];
		Rope rope;

		PROMISE(status.code == STATUS_OK || (status.code == STATUS_INVALID_ARGUMENT && status.message[0]));
		if (status.code != STATUS_OK)
			continue;
		PROMISE(hyper.context_length >= 1 && hyper.context_length <= 1 << 24);
		PROMISE(settings->context == 0 || hyper.context_length == settings->context);
		rope_init(&rope, &hyper);
		rope_angles(&rope, hyper.context_length - 1, cosines, sines);
		for (int pair = 0; pair < 32; pair++)
			PROMISE(isfinite(cosines[pair]) && isfinite(sines[pair]));
	}
}

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
		PROMISE(memcmp(&model->settings, &again->models[i].settings, sizeof model->settings) == 0);
		check_settings(&model->settings);
		for (int j = 0; j < i; j++)
			PROMISE(strcmp(model->name, models->models[j].name) != 0);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static ConfiguredModels models, again;
	char *value = malloc(size + 1), settings[MODEL_SETTINGS_TEXT_BYTES];
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
			model_settings_write(&models.models[i].settings, settings);
			write_raw(&text, " {", 2);
			write_raw(&text, settings, strlen(settings));
			write_raw(&text, "}, ", 3);
		}
		write_u8(&text, 0);
		PROMISE(configured_models_parse((char *) text.data, &again).code == STATUS_OK);
		check_accepted(&models, &again);
		byte_writer_free(&text);
	}
	free(value);
	return 0;
}
