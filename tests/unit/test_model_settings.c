/*
 * test_model_settings.c - settings of one model: how they are written, what they come to with a file, and the angles
 * that come of it.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/engine/model_terms.h"
#include "../../src/engine/rope.h"
#include "../../src/protocol/configured_drafts.h"
#include "../../src/protocol/configured_models.h"

static ConfiguredModels models;

static const ModelSettings *
settings_of(const char *list)
{
	assert_string_equal(configured_models_parse(list, &models).message, "");
	return &models.models[models.n - 1].settings;
}

static void
expect_refused(const char *list, const char *words)
{
	Status status = configured_models_parse(list, &models);

	assert_int_equal(status.code, STATUS_INVALID_ARGUMENT);
	if (!strstr(status.message, words))
		fail_msg("\"%s\" says \"%s\", not \"%s\"", list, status.message, words);
}

static void
settings_stand_behind_the_file(void **state)
{
	const ModelSettings *settings =
		settings_of("a = b.gguf, chat=Qwen3.gguf {context=131072, rope_scaling = yarn ,rope_factor=4.5,\n"
					"rope_original_context=32768, kv_cache_type=q8_0, huge_pages=off, threads=8} ");

	(void) state;
	assert_int_equal(models.n, 2);
	assert_string_equal(models.models[1].file, "Qwen3.gguf");
	assert_int_equal(settings->context, 131072);
	assert_int_equal(settings->rope_scaling, MODEL_ROPE_YARN);
	assert_true(settings->rope_factor == 4.5f);
	assert_int_equal(settings->rope_original_context, 32768);
	assert_string_equal(model_kv_cache_type(settings->kv_cache_type), "q8_0");
	assert_int_equal(settings->huge_pages, MODEL_HUGE_PAGES_OFF);
	assert_int_equal(settings->threads, 8);
	assert_int_equal(models.models[0].settings.context, 0);
	/* without a space, with nothing in them, with a comma too many, and the next entry behind them */
	assert_int_equal(settings_of("x=y{context=64}")->context, 64);
	assert_int_equal(settings_of("x=y {}")->context, 0);
	assert_int_equal(settings_of("x=y {,context=64,}, z=w")->context, 0);
	assert_int_equal(models.models[0].settings.context, 64);
}

static void
what_is_wrong_is_said_with_its_place(void **state)
{
	(void) state;
	expect_refused("a=b, chat=c {contxt=5}",
				   "Settings of \"chat\": at byte 14: \"contxt\" is no setting of a model; there are context, ");
	expect_refused("a=b {context=5}", "at byte 6: context is \"5\", not a whole number between 32 and 16777216");
	expect_refused("a=b {context=64, threads=x}", "at byte 18: threads is \"x\"");
	expect_refused("a=b {context}", "at byte 6: settings look like \"name=value\"");
	expect_refused("a=b {context=}", "context is \"\"");
	expect_refused("a=b {context=64, context=128}", "at byte 18: context stands twice");
	expect_refused("a=b {kv_cache_type=q4_0}", "kv_cache_type is \"q4_0\", not one of f16, q8_0, q4, f32");
	expect_refused("a=b {state_type=q8_0}", "state_type is \"q8_0\", not one of f32, f16");
	expect_refused("a=b {state_type=bf16}",
				   "not one of f32, f16; in bf16, which has eight bits, what a state gives is off by 2 %");
	expect_refused("a=b {rope_scaling=yarn, rope_factor=1e2}", "rope_factor is \"1e2\"");
	expect_refused("a=b {rope_scaling=yarn, rope_factor=-2}", "rope_factor is \"-2\"");
	expect_refused("a=b {rope_scaling=yarn, rope_factor=nan}", "rope_factor is \"nan\"");
	expect_refused("a=b {rope_scaling=yarn, rope_factor=1.2.3}", "rope_factor is \"1.2.3\"");
	expect_refused("a=b {rope_scaling=yarn, rope_factor=0.5}", "not a number between 1 and 1024");
	expect_refused("a=b {context=64.5}", "context is \"64.5\"");
	expect_refused("a=b {threads=0}", "threads is \"0\"");
	expect_refused("a=b, c=d {context=64", "At byte 10: the \"{\" has no \"}\"");
	expect_refused("a=b} , c=d", "At byte 4: a \"}\" without a \"{\"");
	expect_refused("a=b {context=64} c", "At byte 17: behind \"}\"");
	expect_refused("a=b {context=64}{threads=1}", "behind \"}\"");
	expect_refused("a={context=64}", "At byte 1: A file's name");
	expect_refused("a=b, x", "At byte 6: Entries look like");
}

static void
what_makes_no_sense_together_is_refused(void **state)
{
	(void) state;
	expect_refused("a=b {rope_scaling=yarn}", "rope_scaling=yarn needs rope_factor");
	expect_refused("a=b {rope_scaling=linear}", "rope_scaling=linear needs rope_factor");
	expect_refused("a=b {rope_factor=4}", "rope_factor needs rope_scaling");
	expect_refused("a=b {rope_scaling=none, rope_factor=4}", "rope_factor needs rope_scaling");
	expect_refused("a=b {rope_original_context=4096}", "rope_original_context needs rope_scaling");
	expect_refused("a=b {context=131073, rope_scaling=yarn, rope_factor=4, rope_original_context=32768}",
				   "context is 131073, but rope_factor=4 reaches 131072 from rope_original_context=32768");
	assert_int_equal(
		settings_of("a=b {context=131072, rope_scaling=yarn, rope_factor=4, rope_original_context=32768}")->context,
		131072);
}

static void
what_is_written_is_read_again(void **state)
{
	static const char *const lists[] = {
		"a=b {}",
		"a=b {context=16777216, rope_scaling=linear, rope_factor=1023.9999, rope_original_context=16777216, "
		"kv_cache_type=q8_0, huge_pages=try, threads=256, state_type=f16}",
		"a=b {rope_scaling=yarn, rope_factor=1.0000001, kv_cache_type=f32, huge_pages=on}",
		"a=b {kv_cache_type=q4}",
	};

	(void) state;
	for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
	{
		ModelSettings settings = *settings_of(lists[i]), again;
		char text[MODEL_SETTINGS_TEXT_BYTES];

		model_settings_write(&settings, text);
		assert_true(strlen(text) < sizeof text - 1);
		assert_string_equal(model_settings_parse(text, strlen(text), 1, &again).message, "");
		assert_memory_equal(&settings, &again, sizeof settings);
	}
}

static const ModelHyper plain = {.context_length = 40960, .head_dim = 128, .rope_base = 1e6f, .rope_factor = 1};
static const ModelHyper stretched = {
	.context_length = 131072,
	.head_dim = 128,
	.rope_base = 1e6f,
	.rope_scaling = ROPE_SCALING_YARN,
	.rope_factor = 4,
	.rope_original_context = 32768,
	.yarn_attention_factor = 0.75f,
	.yarn_beta_fast = 16,
	.yarn_beta_slow = 2,
};

/* A file's hyperparameters with settings. */
static ModelHyper
with(const ModelHyper *file, const char *settings)
{
	char list[300];
	ModelHyper hyper = *file;
	ContextSettings context;

	snprintf(list, sizeof list, "a=b {%s}", settings);
	context = model_terms_context(settings_of(list));
	assert_string_equal(context_apply(&hyper, &context).message, "");
	return hyper;
}

static void
expect_beyond(const ModelHyper *file, const char *settings, const char *words)
{
	char list[300];
	ModelHyper hyper = *file;
	ContextSettings context;
	Status status;

	snprintf(list, sizeof list, "a=b {%s}", settings);
	context = model_terms_context(settings_of(list));
	status = context_apply(&hyper, &context);
	assert_int_equal(status.code, STATUS_INVALID_ARGUMENT);
	if (!strstr(status.message, words))
		fail_msg("\"%s\" says \"%s\", not \"%s\"", settings, status.message, words);
}

static void
a_context_is_what_the_rotation_reaches(void **state)
{
	ModelHyper hyper;

	(void) state;
	hyper = with(&plain, "");
	assert_memory_equal(&hyper, &plain, sizeof hyper);
	assert_int_equal(with(&plain, "context=8192").context_length, 8192);
	assert_int_equal(with(&plain, "context=40960").context_length, 40960);
	expect_beyond(&plain, "context=131072", "context is 131072, but the model reaches 40960");
	expect_beyond(&plain, "context=131072", "rope_scaling=yarn, rope_factor=4");
	/* from the file's context, or from where it was trained */
	hyper = with(&plain, "rope_scaling=yarn, rope_factor=4");
	assert_int_equal(hyper.context_length, 163840);
	assert_int_equal(hyper.rope_original_context, 40960);
	hyper = with(&plain, "rope_scaling=yarn, rope_factor=4, rope_original_context=32768, context=100000");
	assert_int_equal(hyper.context_length, 100000);
	assert_int_equal(hyper.rope_original_context, 32768);
	assert_true(hyper.yarn_beta_fast == 32 && hyper.yarn_beta_slow == 1 && hyper.yarn_attention_factor == 0);
	expect_beyond(&plain, "rope_scaling=yarn, rope_factor=2, context=100000", "reaches 81920 from 40960");
	expect_beyond(&plain, "rope_scaling=yarn, rope_factor=2, rope_original_context=65536",
				  "rope_original_context is 65536, but the file's context is 40960");
	/* a file that is stretched already */
	assert_int_equal(with(&stretched, "").context_length, 131072);
	hyper = with(&stretched, "rope_scaling=none");
	assert_int_equal(hyper.context_length, 32768);
	assert_int_equal(hyper.rope_scaling, ROPE_SCALING_NONE);
	assert_true(hyper.rope_factor == 1);
	hyper = with(&stretched, "rope_scaling=yarn, rope_factor=8");
	assert_int_equal(hyper.context_length, 262144);
	assert_true(hyper.yarn_beta_fast == 16 && hyper.yarn_attention_factor == 0.75f);
	expect_beyond(&stretched, "rope_scaling=none, context=65536", "the model reaches 32768");
	/* never more than numbers of positions are made for */
	assert_int_equal(with(&plain, "rope_scaling=yarn, rope_factor=1024").context_length, 1 << 24);
}

/* Peng et al. 2023 in plain double. */
static double
yarn_frequency(uint32_t n_rotated, double base, double factor, double original, uint32_t i)
{
	double low = floor(n_rotated * log(original / (32 * 2 * M_PI)) / (2 * log(base)));
	double high = ceil(n_rotated * log(original / (1 * 2 * M_PI)) / (2 * log(base)));
	double at = fmin(1, fmax(0, (i - fmax(0, low)) / fmax(0.001, fmin(n_rotated - 1, high) - fmax(0, low))));

	return pow(base, -2.0 * i / n_rotated) * (1 - at + at / factor);
}

static void
yarn_counts_the_elements_that_are_rotated(void **state)
{
	static const uint32_t rotated[] = {32, 64, 128};
	ModelHyper hyper = with(&plain, "rope_scaling=yarn, rope_factor=4, rope_original_context=32768");

	(void) state;
	for (size_t n = 0; n < 3; n++)
	{
		float cosines[64], sines[64];
		Rope rope;

		hyper.n_rotated = rotated[n];
		rope_init(&rope, &hyper);
		rope_angles(&rope, 100000, cosines, sines);
		assert_int_equal(rope.n_pairs, rotated[n] / 2);
		for (uint32_t i = 0; i < rope.n_pairs; i++)
		{
			double angle = 100000 * yarn_frequency(rotated[n], 1e6, 4, 32768, i);
			double magnitude = 1 + 0.1 * log(4);

			assert_true(fabs(cosines[i] - cos(angle) * magnitude) < 1e-6);
			assert_true(fabs(sines[i] - sin(angle) * magnitude) < 1e-6);
		}
	}
}

static void
what_is_not_set_is_as_for_all(void **state)
{
	(void) state;
	assert_int_equal(model_terms_kv_type(settings_of("a=b"), KV_F32), KV_F32);
	assert_int_equal(model_terms_kv_type(settings_of("a=b {kv_cache_type=q8_0}"), KV_F32), KV_Q8_0);
	assert_int_equal(model_terms_kv_type(settings_of("a=b {kv_cache_type=q4}"), KV_F32), KV_Q4);
	assert_int_equal(model_terms_kv_type(settings_of("a=b {kv_cache_type=f32}"), KV_F16), KV_F32);
	assert_int_equal(model_terms_kv_type(settings_of("a=b {kv_cache_type=f16}"), KV_F32), KV_F16);
	assert_int_equal(model_terms_state_type(settings_of("a=b"), STATE_F16), STATE_F16);
	assert_int_equal(model_terms_state_type(settings_of("a=b {state_type=f32}"), STATE_F16), STATE_F32);
	assert_int_equal(model_terms_state_type(settings_of("a=b {state_type=f16}"), STATE_F32), STATE_F16);
	assert_true(model_terms_huge_pages(settings_of("a=b"), true));
	assert_false(model_terms_huge_pages(settings_of("a=b"), false));
	assert_false(model_terms_huge_pages(settings_of("a=b {huge_pages=off}"), true));
	assert_true(model_terms_huge_pages(settings_of("a=b {huge_pages=try}"), false));
	assert_true(model_terms_huge_pages(settings_of("a=b {huge_pages=on}"), false));
}

/* ---- qwen.draft_models ------------------------------------------------------------------------------------------- */

/* Why a list of draft models is refused; "": it is not. */
static const char *
draft_refusal(const char *list)
{
	static char message[STATUS_MESSAGE_BYTES];
	static ConfiguredDrafts drafts;
	Status status = configured_drafts_parse(list, &drafts);

	snprintf(message, sizeof message, "%s", status.message);
	return message;
}

static void
lists_of_draft_models_are_read(void **state)
{
	static ConfiguredDrafts drafts;

	(void) state;
	assert_int_equal(configured_drafts_parse(" chat = small ,, big=small,", &drafts).code, STATUS_OK);
	assert_int_equal(drafts.n, 2);
	assert_string_equal(configured_draft_of(&drafts, "chat"), "small");
	assert_string_equal(configured_draft_of(&drafts, "big"), "small");
	assert_null(configured_draft_of(&drafts, "small"));
	assert_int_equal(configured_drafts_parse("", &drafts).code, STATUS_OK);
	assert_int_equal(drafts.n, 0);
}

static void
bad_lists_of_draft_models_are_refused(void **state)
{
	char longest[STATUS_PAGE_DRAFT_BYTES + 1], *entry = longest;

	(void) state;
	assert_string_equal(draft_refusal("chat"), "At byte 1: Entries look like \"model=draft\".");
	assert_string_equal(draft_refusal("a=b, a=c"), "At byte 6: \"a\" has a draft model already.");
	assert_string_equal(draft_refusal("a=b, c = c"), "At byte 6: \"c\" cannot guess for itself.");
	assert_non_null(strstr(draft_refusal("a="), "1 to"));
	assert_non_null(strstr(draft_refusal("a=b c"), "letters"));
	memset(longest, ' ', sizeof longest - 1);
	longest[sizeof longest - 1] = '\0';
	assert_string_equal(draft_refusal(longest), "The list has 4095 bytes at most.");
	for (int i = 0; i < STATUS_PAGE_MAX_SLOTS; i++)
		entry += sprintf(entry, "m%d=d,", i);
	assert_string_equal(draft_refusal(longest), "");
	sprintf(entry, "one=more");
	assert_non_null(strstr(draft_refusal(longest), "At most 32 models"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(settings_stand_behind_the_file),
		cmocka_unit_test(what_is_wrong_is_said_with_its_place),
		cmocka_unit_test(what_makes_no_sense_together_is_refused),
		cmocka_unit_test(what_is_written_is_read_again),
		cmocka_unit_test(a_context_is_what_the_rotation_reaches),
		cmocka_unit_test(yarn_counts_the_elements_that_are_rotated),
		cmocka_unit_test(what_is_not_set_is_as_for_all),
		cmocka_unit_test(lists_of_draft_models_are_read),
		cmocka_unit_test(bad_lists_of_draft_models_are_refused),
	};

	return cmocka_run_group_tests_name("model_settings", tests, NULL, NULL);
}
