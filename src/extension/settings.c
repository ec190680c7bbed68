/*
 * settings.c - every setting, as docs/settings.md lists them.
 */
#include "limits.h"

#include "utils/guc.h"
#include "watch.h"

char *qwen_models;
char *qwen_model_directory;
char *qwen_default_model;
char *qwen_default_embedding_model;
char *qwen_engine_path;
int qwen_max_models = 4;
int qwen_threads = 0;
int qwen_kv_cache_size = 512;
int qwen_kv_cache_type = 0;
int qwen_prefill_chunk = 256;
bool qwen_speculation = true;
int qwen_max_running = 64;
int qwen_queue_size = 1000;
int qwen_max_tokens = 512;
int qwen_prefix_cache = PREFIX_ROLE;
int qwen_stat_max = 1000;
int qwen_engine_priority = QWEN_PRIORITY_LOW;
int qwen_io_method = QWEN_IO_AUTO;
int qwen_watchdog_timeout = 30000;
int qwen_job_window = 32;
int qwen_max_job_workers = 4;
int qwen_batch_window = 32;
int qwen_on_error = QWEN_ON_ERROR_RAISE;
bool qwen_batch_plans = true;

static const struct config_enum_entry kv_cache_types[] = {
	{"f16", 0, false}, {"q8_0", 2, false}, {"f32", 1, false}, {NULL, 0, false}};
static const struct config_enum_entry prefix_sharings[] = {
	{"role", PREFIX_ROLE, false}, {"shared", PREFIX_SHARED, false}, {"off", PREFIX_OFF, false}, {NULL, 0, false}};
static const struct config_enum_entry io_methods[] = {
	{"auto", QWEN_IO_AUTO, false}, {"pread", QWEN_IO_PREAD, false}, {NULL, 0, false}};

static const struct config_enum_entry priorities[] = {
	{"low", QWEN_PRIORITY_LOW, false}, {"normal", QWEN_PRIORITY_NORMAL, false}, {NULL, 0, false}};

static const struct config_enum_entry on_error_values[] = {
	{"error", QWEN_ON_ERROR_RAISE, false}, {"null", QWEN_ON_ERROR_NULL, false}, {NULL, 0, false}};

/* White space around the parts of qwen.models. */
static bool
is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

const char *
settings_check_name(const char *name, size_t length)
{
	if (length < 1 || length > PROTOCOL_MAX_NAME_BYTES)
		return psprintf("A model's name has 1 to %d characters.", PROTOCOL_MAX_NAME_BYTES);
	for (size_t i = 0; i < length; i++)
		if (!((name[i] >= 'a' && name[i] <= 'z') || (name[i] >= 'A' && name[i] <= 'Z') ||
			  (name[i] >= '0' && name[i] <= '9') || strchr("_.:-", name[i])))
			return "A model's name is made of letters, digits, \"_\", \".\", \":\" and \"-\".";
	return NULL;
}

/* Cut white space off both ends of [*start, *end). */
static void
trim(const char **start, const char **end)
{
	while (*start < *end && is_space(**start))
		(*start)++;
	while (*end > *start && is_space((*end)[-1]))
		(*end)--;
}

/* One "name=file" of the list. */
static const char *
parse_entry(const char *start, const char *end, ConfiguredModels *models)
{
	const char *equals = memchr(start, '=', end - start);
	const char *name_end = equals;
	const char *file = equals ? equals + 1 : NULL;
	ConfiguredModel *model = &models->models[models->n];
	const char *why;

	if (!equals)
		return "Entries look like \"name=file\".";
	if (models->n == STATUS_PAGE_MAX_SLOTS)
		return psprintf("At most %d models can be listed.", STATUS_PAGE_MAX_SLOTS);
	trim(&start, &name_end);
	trim(&file, &end);
	if ((why = settings_check_name(start, name_end - start)) != NULL)
		return why;
	if (end - file < 1 || end - file >= QWEN_MAX_FILE_BYTES)
		return psprintf("A file's name has 1 to %d bytes.", QWEN_MAX_FILE_BYTES - 1);
	memset(model, 0, sizeof *model);
	memcpy(model->name, start, name_end - start);
	memcpy(model->file, file, end - file);
	for (int i = 0; i < models->n; i++)
		if (strcmp(models->models[i].name, model->name) == 0)
			return psprintf("The name \"%s\" stands twice.", model->name);
	models->n++;
	return NULL;
}

const char *
settings_parse_models(const char *value, ConfiguredModels *models)
{
	const char *at = value;

	models->n = 0;
	while (at && *at)
	{
		const char *end = strchr(at, ',');
		const char *start = at, *stop = end ? end : at + strlen(at);
		const char *why;

		trim(&start, &stop);
		if (start < stop && (why = parse_entry(start, stop, models)) != NULL)
			return why;
		at = end ? end + 1 : NULL;
	}
	return NULL;
}

/* A list that cannot be read is refused before it takes effect. */
static bool
check_models(char **value, void **extra, GucSource source)
{
	ConfiguredModels *models = palloc(sizeof *models);
	const char *why = settings_parse_models(*value, models);

	pfree(models);
	if (!why)
		return true;
	GUC_check_errdetail("%s", why);
	return false;
}

/* Settings that only make sense in a server that preloaded us. */
static void
define_server_settings(void)
{
	DefineCustomIntVariable("qwen.max_models", "Models that can be loaded at the same time.", NULL, &qwen_max_models, 4,
							1, STATUS_PAGE_MAX_SLOTS, PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("qwen.threads", "Threads of the engine; 0 means one for each physical core.", NULL,
							&qwen_threads, 0, 0, 256, PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("qwen.kv_cache_size", "Memory for keys and values of running requests.", NULL,
							&qwen_kv_cache_size, 512, 16, INT_MAX / 2, PGC_POSTMASTER, GUC_UNIT_MB, NULL, NULL, NULL);
	DefineCustomEnumVariable("qwen.kv_cache_type", "Number type of keys and values.", NULL, &qwen_kv_cache_type, 0,
							 kv_cache_types, PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("qwen.speculation", "Guess tokens from the text so far and check them in one step.",
							 "Answers do not change.", &qwen_speculation, true, PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("qwen.prefill_chunk", "Prompt tokens that one step of the engine takes.", NULL,
							&qwen_prefill_chunk, 256, 16, 4096, PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("qwen.max_running", "Requests that are computed together.", NULL, &qwen_max_running, 64, 1,
							1024, PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("qwen.queue_size", "Requests that may wait.", NULL, &qwen_queue_size, 1000, 1, 100000,
							PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("qwen.engine_priority",
							 "Whether the engine lets other processes have the processor first.", NULL,
							 &qwen_engine_priority, QWEN_PRIORITY_LOW, priorities, PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("qwen.stat_max", "Rows of qwen_stat_requests at most.", NULL, &qwen_stat_max, 1000, 10,
							100000, PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("qwen.engine_path",
							   "The engine program; empty means qwen_engine beside the server's programs.", NULL,
							   &qwen_engine_path, "", PGC_POSTMASTER, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("qwen.models", "Models to load: name=file, name=file, …", NULL, &qwen_models, "",
							   PGC_SIGHUP, 0, check_models, NULL, NULL);
	DefineCustomStringVariable("qwen.model_directory", "Folder of model files, relative to the data directory.", NULL,
							   &qwen_model_directory, "qwen_models", PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomEnumVariable("qwen.io_method", "How model files are read.", NULL, &qwen_io_method, QWEN_IO_AUTO,
							 io_methods, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("qwen.watchdog_timeout",
							"An engine without a sign of life for this long is restarted; 0: never.", NULL,
							&qwen_watchdog_timeout, 30000, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("qwen.max_job_workers", "Workers of jobs and triggers that run at the same time.", NULL,
							&qwen_max_job_workers, 4, 1, 64, PGC_SIGHUP, 0, NULL, NULL, NULL);
}

void
settings_define(bool preloaded)
{
	DefineCustomStringVariable("qwen.default_model", "Model of calls that name none; empty: the first of qwen.models.",
							   NULL, &qwen_default_model, "", PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("qwen.default_embedding_model",
							   "Model of embedding calls that name none; empty: qwen.default_model.", NULL,
							   &qwen_default_embedding_model, "", PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("qwen.max_tokens", "Tokens to generate at most where the argument max_tokens is not given.",
							NULL, &qwen_max_tokens, 512, 1, 1000000, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("qwen.batch_window", "Rows of a query, or elements of an array, in flight at once.", NULL,
							&qwen_batch_window, 32, 1, 1000, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("qwen.batch_plans", "Plans keep the model calls of many rows in flight.", NULL,
							 &qwen_batch_plans, true, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("qwen.on_error", "What a row that fails by itself gives: an error, or NULL.", NULL,
							 &qwen_on_error, QWEN_ON_ERROR_RAISE, on_error_values, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("qwen.prefix_cache", "Who may use what was computed for the beginning of a prompt again.",
							 NULL, &qwen_prefix_cache, PREFIX_ROLE, prefix_sharings, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("qwen.job_window", "Rows of jobs and triggers that a worker has in flight.", NULL,
							&qwen_job_window, 32, 1, 1024, PGC_USERSET, 0, NULL, NULL, NULL);
	limit_settings_define(preloaded);
	if (preloaded)
		define_server_settings();
#if PG_VERSION_NUM >= 150000
	if (preloaded)
		MarkGUCPrefixReserved("qwen");
#else
	if (preloaded)
		EmitWarningsOnPlaceholders("qwen");
#endif
}
