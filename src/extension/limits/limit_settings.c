/*
 * limit_settings.c - the settings of limits, of allowed models and of the log of requests.
 *
 * All but qwen.limit_action belong to superusers: set in postgresql.conf, or by ALTER ROLE … SET and ALTER DATABASE …
 * SET, and out of the reach of those whom they hold back.
 */
#include "limit_settings.h"

#include "utils/guc.h"
#include "utils/varlena.h"

int qwen_limit_action = LIMIT_ACTION_ERROR;
int qwen_log_requests = LOG_REQUESTS_HASH;
int qwen_max_limited_roles = 10000;
int qwen_default_limits[N_LIMITS] = {NO_LIMIT, NO_LIMIT, NO_LIMIT, NO_LIMIT, NO_LIMIT};
int qwen_default_priority = 0;
char *qwen_allowed_models;

static const struct config_enum_entry limit_actions[] = {
	{"error", LIMIT_ACTION_ERROR, false}, {"wait", LIMIT_ACTION_WAIT, false}, {NULL, 0, false}};
static const struct config_enum_entry log_requests[] = {{"off", LOG_REQUESTS_OFF, false},
														{"hash", LOG_REQUESTS_HASH, false},
														{"text", LOG_REQUESTS_TEXT, false},
														{NULL, 0, false}};

/* Names of models and commas between them. */
static bool
check_allowed_models(char **value, void **extra, GucSource source)
{
	char *copy = pstrdup(*value);
	List *names;
	bool ok = SplitGUCList(copy, ',', &names);

	if (!ok)
		GUC_check_errdetail("It must be a list of models' names with commas between them.");
	else
		list_free(names);
	pfree(copy);
	return ok;
}

/* A default that is a number, or -1 for none. */
static void
define_default(const char *name, const char *what, LimitKind kind)
{
	DefineCustomIntVariable(name, what, "-1: no limit.", &qwen_default_limits[kind], NO_LIMIT, NO_LIMIT, INT_MAX,
							PGC_SUSET, 0, NULL, NULL, NULL);
}

void
limit_settings_define(bool preloaded)
{
	DefineCustomEnumVariable("qwen.limit_action", "What a request does that its role's limits stand against.", NULL,
							 &qwen_limit_action, LIMIT_ACTION_ERROR, limit_actions, PGC_USERSET, 0, NULL, NULL, NULL);
	define_default("qwen.default_requests_per_minute", "Requests per minute of roles without a limit of their own.",
				   LIMIT_REQUESTS_PER_MINUTE);
	define_default("qwen.default_tokens_per_minute", "Tokens per minute of roles without a limit of their own.",
				   LIMIT_TOKENS_PER_MINUTE);
	define_default("qwen.default_tokens_per_day", "Tokens per day of roles without a limit of their own.",
				   LIMIT_TOKENS_PER_DAY);
	define_default("qwen.default_max_concurrent", "Requests at once of roles without a limit of their own.",
				   LIMIT_MAX_CONCURRENT);
	define_default("qwen.default_max_tokens", "Longest answer that roles without a limit of their own may ask for.",
				   LIMIT_MAX_TOKENS);
	DefineCustomIntVariable("qwen.default_priority", "Priority of roles without a limit of their own.", NULL,
							&qwen_default_priority, 0, -1000, 1000, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("qwen.allowed_models", "Models that may be asked; empty: all.", NULL,
							   &qwen_allowed_models, "", PGC_SUSET, GUC_LIST_INPUT, check_allowed_models, NULL, NULL);
	DefineCustomEnumVariable("qwen.log_requests", "What the server log says of each request.", NULL, &qwen_log_requests,
							 LOG_REQUESTS_HASH, log_requests, PGC_SUSET, 0, NULL, NULL, NULL);
	if (preloaded)
		DefineCustomIntVariable("qwen.max_limited_roles", "Roles whose usage can be kept.", NULL,
								&qwen_max_limited_roles, 10000, 100, 1000000, PGC_POSTMASTER, 0, NULL, NULL, NULL);
}
