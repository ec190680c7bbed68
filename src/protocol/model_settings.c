/*
 * model_settings.c - see model_settings.h. A setting is a row of a table: its name, where it stands, what it may be.
 */
#include "model_settings.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "list_text.h"

#define LONGEST_NUMBER 32
#define SHOWN_BYTES 40 /* of what is wrong, in an error */

#define MAX_CHOICES 4

typedef enum SettingKind
{
	SETTING_WHOLE,  /* uint32_t, low ... high */
	SETTING_REAL,   /* float, low ... high */
	SETTING_CHOICE, /* uint32_t, the place in choices, from 1 on */
} SettingKind;

typedef struct Setting
{
	const char *name;
	size_t member;
	SettingKind kind;
	double low, high;
	const char *choices[MAX_CHOICES];
} Setting;

/* The choices in the order of their numbers in model_settings.h. */
static const Setting settings_there_are[] = {
	{"context", offsetof(ModelSettings, context), SETTING_WHOLE, 32, 1 << 24, {NULL}},
	{"rope_scaling", offsetof(ModelSettings, rope_scaling), SETTING_CHOICE, 0, 0, {"none", "linear", "yarn"}},
	{"rope_factor", offsetof(ModelSettings, rope_factor), SETTING_REAL, 1, 1024, {NULL}},
	{"rope_original_context", offsetof(ModelSettings, rope_original_context), SETTING_WHOLE, 32, 1 << 24, {NULL}},
	{"kv_cache_type", offsetof(ModelSettings, kv_cache_type), SETTING_CHOICE, 0, 0, {"f16", "q8_0", "q4", "f32"}},
	{"huge_pages", offsetof(ModelSettings, huge_pages), SETTING_CHOICE, 0, 0, {"try", "on", "off"}},
	{"threads", offsetof(ModelSettings, threads), SETTING_WHOLE, 1, 256, {NULL}},
	{"state_type", offsetof(ModelSettings, state_type), SETTING_CHOICE, 0, 0, {"f32", "f16"}},
};
#define N_SETTINGS (sizeof settings_there_are / sizeof settings_there_are[0])

static const Setting *
find_setting(const char *name, size_t length)
{
	for (size_t i = 0; i < N_SETTINGS; i++)
		if (strlen(settings_there_are[i].name) == length && memcmp(settings_there_are[i].name, name, length) == 0)
			return &settings_there_are[i];
	return NULL;
}

/* The member of a setting; all of them have 4 bytes. */
static void *
member_of(const ModelSettings *settings, const Setting *setting)
{
	return (char *) (uintptr_t) settings + setting->member;
}

static uint32_t
bits_of(const ModelSettings *settings, const Setting *setting)
{
	uint32_t bits;

	memcpy(&bits, member_of(settings, setting), sizeof bits);
	return bits;
}

/* A choice by its number, of a setting that has so many. */
static const char *
choice_name(const char *name, uint32_t n, uint32_t number)
{
	return number >= 1 && number <= n ? find_setting(name, strlen(name))->choices[number - 1] : NULL;
}

const char *
model_kv_cache_type(uint32_t kv_cache_type)
{
	return choice_name("kv_cache_type", 4, kv_cache_type);
}

const char *
model_state_type(uint32_t state_type)
{
	return choice_name("state_type", 2, state_type);
}

/* Names with a comma between. */
static void
append_name(char *list, size_t bytes, const char *name)
{
	size_t length = strlen(list);

	snprintf(list + length, bytes - length, "%s%s", length > 0 ? ", " : "", name);
}

static int
shown(size_t length)
{
	return (int) (length < SHOWN_BYTES ? length : SHOWN_BYTES);
}

static Status
refuse_name(const char *name, size_t length)
{
	char list[MODEL_SETTINGS_TEXT_BYTES] = "";

	for (size_t i = 0; i < N_SETTINGS; i++)
		append_name(list, sizeof list, settings_there_are[i].name);
	return status_error(STATUS_INVALID_ARGUMENT, "\"%.*s\" is no setting of a model; there are %s", shown(length), name,
						list);
}

static Status
refuse_value(const Setting *setting, const char *value, size_t length)
{
	char list[64] = "";

	for (int i = 0; i < MAX_CHOICES && setting->choices[i]; i++)
		append_name(list, sizeof list, setting->choices[i]);
	if (setting->kind == SETTING_CHOICE)
		return status_error(
			STATUS_INVALID_ARGUMENT, "%s is \"%.*s\", not one of %s%s", setting->name, shown(length), value, list,
			setting->member == offsetof(ModelSettings, state_type) && length == 4 && memcmp(value, "bf16", 4) == 0
				? "; " MODEL_NO_BF16_STATES
				: "");
	return status_error(STATUS_INVALID_ARGUMENT, "%s is \"%.*s\", not a %snumber between %.0f and %.0f", setting->name,
						shown(length), value, setting->kind == SETTING_WHOLE ? "whole " : "", setting->low,
						setting->high);
}

/* A number of the setting's range; false: it is none. */
static bool
read_number(const Setting *setting, const char *value, size_t length, double *number)
{
	char text[LONGEST_NUMBER + 1];
	char *end;

	/* digits and a point, nothing else that strtod takes: signs, exponents, "inf", hexadecimal digits */
	if (length < 1 || length > LONGEST_NUMBER)
		return false;
	for (size_t i = 0; i < length; i++)
		if (!(value[i] >= '0' && value[i] <= '9') && !(value[i] == '.' && setting->kind == SETTING_REAL))
			return false;
	memcpy(text, value, length);
	text[length] = '\0';
	*number = strtod(text, &end);
	return *end == '\0' && *number >= setting->low && *number <= setting->high;
}

/* The number of a choice, or 0. */
static uint32_t
read_choice(const Setting *setting, const char *value, size_t length)
{
	for (uint32_t i = 0; i < MAX_CHOICES && setting->choices[i]; i++)
		if (strlen(setting->choices[i]) == length && memcmp(setting->choices[i], value, length) == 0)
			return i + 1;
	return 0;
}

Status
model_settings_set(ModelSettings *settings, const char *name, size_t name_length, const char *value,
				   size_t value_length)
{
	const Setting *setting = find_setting(name, name_length);
	double number = 0;
	uint32_t whole;
	float real;

	if (!setting)
		return refuse_name(name, name_length);
	if (bits_of(settings, setting) != 0)
		return status_error(STATUS_INVALID_ARGUMENT, "%s stands twice", setting->name);
	whole = setting->kind == SETTING_CHOICE ? read_choice(setting, value, value_length) : 0;
	if (setting->kind == SETTING_CHOICE ? whole == 0 : !read_number(setting, value, value_length, &number))
		return refuse_value(setting, value, value_length);
	real = (float) number;
	if (setting->kind == SETTING_WHOLE)
		whole = (uint32_t) number;
	if (setting->kind == SETTING_REAL)
		memcpy(member_of(settings, setting), &real, sizeof real);
	else
		memcpy(member_of(settings, setting), &whole, sizeof whole);
	return status_ok();
}

Status
model_settings_check(const ModelSettings *settings)
{
	bool stretches = settings->rope_scaling == MODEL_ROPE_LINEAR || settings->rope_scaling == MODEL_ROPE_YARN;
	const char *scaling = settings->rope_scaling == MODEL_ROPE_LINEAR ? "linear" : "yarn";

	if (stretches && settings->rope_factor == 0)
		return status_error(STATUS_INVALID_ARGUMENT, "rope_scaling=%s needs rope_factor, by how much it stretches",
							scaling);
	if (!stretches && settings->rope_factor != 0)
		return status_error(STATUS_INVALID_ARGUMENT, "rope_factor needs rope_scaling=yarn or rope_scaling=linear");
	if (!stretches && settings->rope_original_context != 0)
		return status_error(STATUS_INVALID_ARGUMENT,
							"rope_original_context needs rope_scaling=yarn or rope_scaling=linear");
	if (settings->context != 0 && settings->rope_original_context != 0 &&
		settings->context > (double) settings->rope_original_context * settings->rope_factor)
		return status_error(
			STATUS_INVALID_ARGUMENT, "context is %u, but rope_factor=%g reaches %.0f from rope_original_context=%u",
			settings->context, settings->rope_factor,
			floor((double) settings->rope_original_context * settings->rope_factor), settings->rope_original_context);
	return status_ok();
}

/* One "name = value". */
static Status
parse_one(const char *start, const char *end, ModelSettings *settings)
{
	const char *equals = memchr(start, '=', (size_t) (end - start));
	const char *name_end = equals, *value = equals ? equals + 1 : NULL;

	if (!equals)
		return status_error(STATUS_INVALID_ARGUMENT, "settings look like \"name=value\", not like \"%.*s\"",
							shown((size_t) (end - start)), start);
	list_trim(&start, &name_end);
	list_trim(&value, &end);
	return model_settings_set(settings, start, (size_t) (name_end - start), value, (size_t) (end - value));
}

Status
model_settings_parse(const char *text, size_t length, size_t first, ModelSettings *settings)
{
	const char *at = text, *stop = text + length;

	memset(settings, 0, sizeof *settings);
	while (at < stop)
	{
		const char *comma = memchr(at, ',', (size_t) (stop - at));
		const char *start = at, *end = comma ? comma : stop;

		list_trim(&start, &end);
		if (start < end)
			STATUS_TRY(status_prefix(parse_one(start, end, settings), "at byte %zu", first + (size_t) (start - text)));
		at = comma ? comma + 1 : stop;
	}
	return status_prefix(model_settings_check(settings), "at byte %zu", first);
}

void
model_settings_write(const ModelSettings *settings, char out[MODEL_SETTINGS_TEXT_BYTES])
{
	out[0] = '\0';
	for (size_t i = 0; i < N_SETTINGS; i++)
	{
		const Setting *setting = &settings_there_are[i];
		uint32_t bits = bits_of(settings, setting);
		char one[64];
		float real;

		memcpy(&real, &bits, sizeof real);
		if (bits == 0)
			continue;
		if (setting->kind == SETTING_CHOICE)
			snprintf(one, sizeof one, "%s=%s", setting->name, setting->choices[bits - 1]);
		else if (setting->kind == SETTING_REAL)
			snprintf(one, sizeof one, "%s=%.9f", setting->name, real);
		else
			snprintf(one, sizeof one, "%s=%u", setting->name, bits);
		append_name(out, MODEL_SETTINGS_TEXT_BYTES, one);
	}
}
