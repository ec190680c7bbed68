/*
 * settings.c - the settings, as docs/settings.md lists them, but those of limits.
 */
#include "settings.h"

#include "../../protocol/configured_adapters.h"
#include "../../protocol/configured_drafts.h"
#include "../../protocol/status_page.h"
#include "common/hashfn.h"
#include "compat.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

/* the engine is told their names (kernels/kernels.h has its own numbers) */
enum
{
	QWEN_KV_F16,
	QWEN_KV_Q8_0,
	QWEN_KV_Q4,
	QWEN_KV_F32,
};

char *qwen_models;
char *qwen_adapters;
char *qwen_draft_models;
char *qwen_model_directory;
char *qwen_default_model;
char *qwen_default_embedding_model;
char *qwen_default_rerank_model;
char *qwen_engine_path;
int qwen_max_models = 4;
int qwen_max_adapters = 8;
int qwen_threads = 0;
char *qwen_kv_cache_size;
bool qwen_lock_memory = false;
int qwen_huge_pages = QWEN_HUGE_PAGES_TRY;
int qwen_kv_cache_type = QWEN_KV_Q8_0;
int qwen_state_type = QWEN_STATE_F32;
int qwen_prefill_chunk = 256;
int qwen_speculation = QWEN_SPECULATION_AUTO;
bool qwen_engine_sandbox = true;
int qwen_max_running = 64;
int qwen_queue_size = 1000;
int qwen_queue_timeout = 60000;
int qwen_max_tokens = 512;
int qwen_prefix_cache = PREFIX_ROLE;
int qwen_stat_max = 1000;
int qwen_engine_priority = QWEN_PRIORITY_LOW;
int qwen_io_method = QWEN_IO_AUTO;
int qwen_watchdog_timeout = 30000;
int qwen_job_window = 32;
int qwen_max_job_workers = 4;
int qwen_job_retention = 30 * SECS_PER_DAY;
int qwen_batch_window = 32;
int qwen_on_error = QWEN_ON_ERROR_RAISE;
bool qwen_batch_plans = true;

static const struct config_enum_entry kv_cache_types[] = {{"f16", QWEN_KV_F16, false},
														  {"q8_0", QWEN_KV_Q8_0, false},
														  {"q4", QWEN_KV_Q4, false},
														  {"f32", QWEN_KV_F32, false},
														  {NULL, 0, false}};
/* the hidden one is there to be refused with a reason */
static const struct config_enum_entry state_types[] = {
	{"f32", QWEN_STATE_F32, false}, {"f16", QWEN_STATE_F16, false}, {"bf16", QWEN_STATE_BF16, true}, {NULL, 0, false}};
static const struct config_enum_entry huge_pages[] = {{"try", QWEN_HUGE_PAGES_TRY, false},
													  {"on", QWEN_HUGE_PAGES_ON, false},
													  {"off", QWEN_HUGE_PAGES_OFF, false},
													  {NULL, 0, false}};
/* it was a switch: what that took is still taken */
static const struct config_enum_entry speculations[] = {
	{"auto", QWEN_SPECULATION_AUTO, false}, {"ngram", QWEN_SPECULATION_NGRAM, false},
	{"mtp", QWEN_SPECULATION_MTP, false},   {"draft", QWEN_SPECULATION_DRAFT, false},
	{"off", QWEN_SPECULATION_OFF, false},   {"always", QWEN_SPECULATION_ALWAYS, true},
	{"on", QWEN_SPECULATION_AUTO, true},    {"true", QWEN_SPECULATION_AUTO, true},
	{"yes", QWEN_SPECULATION_AUTO, true},   {"1", QWEN_SPECULATION_AUTO, true},
	{"false", QWEN_SPECULATION_OFF, true},  {"no", QWEN_SPECULATION_OFF, true},
	{"0", QWEN_SPECULATION_OFF, true},      {NULL, 0, false}};
static const struct config_enum_entry prefix_sharings[] = {
	{"role", PREFIX_ROLE, false}, {"shared", PREFIX_SHARED, false}, {"off", PREFIX_OFF, false}, {NULL, 0, false}};
static const struct config_enum_entry io_methods[] = {
	{"auto", QWEN_IO_AUTO, false}, {"pread", QWEN_IO_PREAD, false}, {NULL, 0, false}};

static const struct config_enum_entry priorities[] = {{"low", QWEN_PRIORITY_LOW, false},
													  {"normal", QWEN_PRIORITY_NORMAL, false},
													  {"high", QWEN_PRIORITY_HIGH, false},
													  {NULL, 0, false}};

static const struct config_enum_entry on_error_values[] = {
	{"error", QWEN_ON_ERROR_RAISE, false}, {"null", QWEN_ON_ERROR_NULL, false}, {NULL, 0, false}};

static RefusedLists refused;

const RefusedLists *
refused_lists(void)
{
	return &refused;
}

/*
 * Of a line that is gone from the files no hook is told where its value never held, so what was refused before is
 * forgotten first: the lines that still stand there are refused again. A file with an error in its form is not taken at
 * all (nor is its time noted), and then nothing is known anew.
 */
void
settings_reload(void)
{
	RefusedLists before = refused;
	TimestampTz last = PgReloadTime;

	memset(&refused, 0, sizeof refused);
	ProcessConfigFile(PGC_SIGHUP);
	if (PgReloadTime == last)
		refused = before;
}

uint64
lists_hash(void)
{
	uint64 hash = hash_bytes_extended((const unsigned char *) qwen_models, (int) strlen(qwen_models), 0);

	return hash_bytes_extended((const unsigned char *) qwen_adapters, (int) strlen(qwen_adapters), hash);
}

static TimestampTz read_at_definition; /* when the files had been read that the server's start knows */

static void
forget_without_line(const char *setting, char why[STATUS_MESSAGE_BYTES])
{
	if (!setting_is_in_files(setting))
		why[0] = '\0';
}

/*
 * The postmaster's hooks are told as little of lines that are gone. Which lines there were when it read its files last
 * it knows all the same. The files themselves may say otherwise by now: that holds when somebody reloads them, and they
 * are not read here.
 */
void
settings_forget_old_refusals(void)
{
	/* nothing is old where nobody has reloaded anything */
	if (PgReloadTime == read_at_definition)
		return;
	forget_without_line("qwen.models", refused.models);
	forget_without_line("qwen.adapters", refused.adapters);
	forget_without_line("qwen.draft_models", refused.drafts);
}

/* A list that cannot be read is refused before it takes effect. The supervisor shows why (qwen_health): who reloads the
 * configuration would have to look for it in the log. */
static bool
take_list(const Status *status, char why[STATUS_MESSAGE_BYTES])
{
	strlcpy(why, status->message, STATUS_MESSAGE_BYTES);
	if (status_is_ok(status))
		return true;
	GUC_check_errdetail("%s", status->message);
	return false;
}

static bool
check_models(char **value, void **extra, GucSource source)
{
	ConfiguredModels *models = palloc(sizeof *models);
	Status status = configured_models_parse(*value, models);

	pfree(models);
	return take_list(&status, refused.models);
}

static bool
check_adapters(char **value, void **extra, GucSource source)
{
	ConfiguredAdapters *adapters = palloc(sizeof *adapters);
	Status status = configured_adapters_parse(*value, adapters);

	pfree(adapters);
	return take_list(&status, refused.adapters);
}

static bool
check_drafts(char **value, void **extra, GucSource source)
{
	ConfiguredDrafts *drafts = palloc(sizeof *drafts);
	Status status = configured_drafts_parse(*value, drafts);

	pfree(drafts);
	return take_list(&status, refused.drafts);
}

static bool
check_state_type(int *value, void **extra, GucSource source)
{
	if (*value != QWEN_STATE_BF16)
		return true;
	GUC_check_errdetail("%s.", MODEL_NO_BF16_STATES);
	GUC_check_errhint("Available values: f32, f16.");
	return false;
}

#define CACHE_LEAST_MB 16

/* "auto" (0), or an amount of memory in MB where it has no unit. */
static bool
parse_cache_size(const char *value, int *megabytes, const char **hint)
{
	*megabytes = 0;
	return pg_strcasecmp(value, "auto") == 0 || parse_int(value, megabytes, GUC_UNIT_MB, hint);
}

static bool
check_cache_size(char **value, void **extra, GucSource source)
{
	const char *hint = NULL;
	int megabytes;

	if (!parse_cache_size(*value, &megabytes, &hint))
	{
		GUC_check_errdetail("It is \"auto\" or an amount of memory.");
		if (hint)
			GUC_check_errhint("%s", hint);
		return false;
	}
	if (pg_strcasecmp(*value, "auto") == 0 || (megabytes >= CACHE_LEAST_MB && megabytes <= INT_MAX / 2))
		return true;
	/* as it was given, since 1kB is not 0 MB; a number alone is one of megabytes */
	GUC_check_errdetail("%s%s is outside of %d MB to %d MB.", *value,
						(*value)[strspn(*value, "+-.0123456789")] == '\0' ? " MB" : "", CACHE_LEAST_MB, INT_MAX / 2);
	return false;
}

uint64
kv_cache_bytes(void)
{
	const char *hint;
	int megabytes;

	return parse_cache_size(qwen_kv_cache_size, &megabytes, &hint) ? (uint64) megabytes << 20 : 0;
}

/* Settings that only make sense in a server that preloaded us. */
static void
define_server_settings(void)
{
	DefineCustomIntVariable("qwen.max_models", "Models that can be loaded at the same time.", NULL, &qwen_max_models, 4,
							1, STATUS_PAGE_MAX_SLOTS, PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("qwen.max_adapters", "Adapters that can be loaded at the same time.", NULL,
							&qwen_max_adapters, 8, 0, STATUS_PAGE_MAX_ADAPTERS, PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("qwen.threads", "Threads of the engine; 0 means one for each physical core.", NULL,
							&qwen_threads, 0, 0, 256, PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("qwen.kv_cache_size",
							   "Memory for keys and values of running requests; auto: by what memory there is.", NULL,
							   &qwen_kv_cache_size, "auto", PGC_POSTMASTER, 0, check_cache_size, NULL, NULL);
	DefineCustomEnumVariable("qwen.huge_pages", "Whether weights are put on huge pages once they are served.", NULL,
							 &qwen_huge_pages, QWEN_HUGE_PAGES_TRY, huge_pages, PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("qwen.lock_memory", "Weights are locked into memory, so that they are never swapped out.",
							 NULL, &qwen_lock_memory, false, PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("qwen.kv_cache_type", "Number type of keys and values.", NULL, &qwen_kv_cache_type,
							 QWEN_KV_Q8_0, kv_cache_types, PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("qwen.state_type", "Number type of the states of models with gated delta nets.", NULL,
							 &qwen_state_type, QWEN_STATE_F32, state_types, PGC_POSTMASTER, 0, check_state_type, NULL,
							 NULL);
	DefineCustomEnumVariable("qwen.speculation", "Who guesses tokens that come next, which are checked in one step.",
							 "Answers do not change.", &qwen_speculation, QWEN_SPECULATION_AUTO, speculations,
							 PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("qwen.prefill_chunk", "Prompt tokens that one step of the engine takes.", NULL,
							&qwen_prefill_chunk, 256, 16, 4096, PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("qwen.max_running", "Requests that are computed together.", NULL, &qwen_max_running, 64, 1,
							1024, PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("qwen.queue_size", "Requests that may wait.", NULL, &qwen_queue_size, 1000, 1, 100000,
							PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("qwen.engine_priority", "Whether the engine or other processes have the processor first.",
							 NULL, &qwen_engine_priority, QWEN_PRIORITY_LOW, priorities, PGC_POSTMASTER, 0, NULL, NULL,
							 NULL);
	DefineCustomBoolVariable("qwen.engine_sandbox", "The engine gives up the system calls that serving does not need.",
							 NULL, &qwen_engine_sandbox, true, PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("qwen.stat_max", "Rows of qwen_stat_requests at most.", NULL, &qwen_stat_max, 1000, 10,
							100000, PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("qwen.engine_path",
							   "The engine program; empty means qwen_engine beside the server's programs.", NULL,
							   &qwen_engine_path, "", PGC_POSTMASTER, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("qwen.models", "Models to load: name=file, name=file, ...", NULL, &qwen_models, "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY, check_models, NULL, NULL);
	DefineCustomStringVariable("qwen.adapters", "Adapters to load: name=file@model, name=file@model, ...", NULL,
							   &qwen_adapters, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY, check_adapters, NULL, NULL);
	DefineCustomStringVariable("qwen.draft_models", "Models that guess for others: model=draft, model=draft, ...",
							   "Answers do not change.", &qwen_draft_models, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   check_drafts, NULL, NULL);
	DefineCustomStringVariable("qwen.model_directory", "Folder of model files, relative to the data directory.", NULL,
							   &qwen_model_directory, "qwen_models", PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomEnumVariable("qwen.io_method", "How model files are read.", NULL, &qwen_io_method, QWEN_IO_AUTO,
							 io_methods, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("qwen.watchdog_timeout",
							"An engine without a sign of life for this long is restarted; 0: never.", NULL,
							&qwen_watchdog_timeout, 30000, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("qwen.max_job_workers", "Workers of jobs and triggers that run at the same time.", NULL,
							&qwen_max_job_workers, 4, 1, 64, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("qwen.job_retention", "How long jobs that have ended are kept; 0: for ever.", NULL,
							&qwen_job_retention, 30 * SECS_PER_DAY, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL,
							NULL);
}

void
settings_define(bool preloaded)
{
	DefineCustomStringVariable("qwen.default_model", "Model of calls that name none; empty: the first of qwen.models.",
							   NULL, &qwen_default_model, "", PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("qwen.default_embedding_model",
							   "Model of embedding calls that name none; empty: qwen.default_model.", NULL,
							   &qwen_default_embedding_model, "", PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("qwen.default_rerank_model",
							   "Model of reranking calls that name none; empty: qwen.default_model.", NULL,
							   &qwen_default_rerank_model, "", PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("qwen.max_tokens", "Tokens to generate at most where the argument max_tokens is not given.",
							NULL, &qwen_max_tokens, 512, 1, 1000000, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("qwen.batch_window", "Rows of a query, or elements of an array, in flight at once.", NULL,
							&qwen_batch_window, 32, 1, 1000, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("qwen.batch_plans", "Plans keep the model calls of many rows in flight.", NULL,
							 &qwen_batch_plans, true, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("qwen.queue_timeout", "How long a request waits for room in a full queue.",
							"0: not at all; -1: as long as it takes.", &qwen_queue_timeout, 60000, -1, INT_MAX,
							PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomEnumVariable("qwen.on_error", "What a row that fails by itself gives: an error, or NULL.", NULL,
							 &qwen_on_error, QWEN_ON_ERROR_RAISE, on_error_values, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("qwen.prefix_cache", "Who may use what was computed for the beginning of a prompt again.",
							 NULL, &qwen_prefix_cache, PREFIX_ROLE, prefix_sharings, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("qwen.job_window", "Rows of jobs and triggers that a worker has in flight.", NULL,
							&qwen_job_window, 32, 1, 1024, PGC_USERSET, 0, NULL, NULL, NULL);
	read_at_definition = PgReloadTime;
	if (preloaded)
		define_server_settings();
}

void
settings_end(void)
{
#if PG_VERSION_NUM >= 150000
	MarkGUCPrefixReserved("qwen");
#else
	EmitWarningsOnPlaceholders("qwen");
#endif
}
