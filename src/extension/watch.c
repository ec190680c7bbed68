/*
 * watch.c - a request's life as client.c tells it, for those who watch.
 */
#include "watch.h"

#include "catalog/pg_authid.h"
#include "catalog/pg_proc.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(qwen_monitor);

/* Functions of requests that do not say whose they are. */
static const char *const kind_names[] = {
	[REQUEST_CHAT] = "qwen_chat",
	[REQUEST_GENERATE] = "qwen_generate",
	[REQUEST_EMBED] = "qwen_embed",
	[REQUEST_TOKENIZE] = "qwen_tokenize",
	[REQUEST_DETOKENIZE] = "qwen_detokenize",
	[REQUEST_COUNT_TOKENS] = "qwen_count_tokens",
	[REQUEST_RENDER_CHAT] = "qwen_render_chat",
	[REQUEST_LOGPROBS] = "qwen_logprobs",
	[REQUEST_SCORE] = "qwen_classify_scores",
	[REQUEST_CHUNK] = "qwen_chunk",
};

/* What tells the C functions of one SQL function apart. */
static const char *const form_suffixes[] = {"_text", "_json", "_jsonb"};

/* The SQL function of a C symbol. */
static void
set_function(WatchedRequest *watched, const Request *request)
{
	const char *symbol = request->function;
	size_t length;

	if (!symbol)
		symbol = request->kind < lengthof(kind_names) ? kind_names[request->kind] : "";
	strlcpy(watched->function, symbol, sizeof watched->function);
	length = strlen(watched->function);
	for (int i = 0; i < (int) lengthof(form_suffixes); i++)
	{
		size_t suffix = strlen(form_suffixes[i]);

		if (length > suffix && strcmp(watched->function + length - suffix, form_suffixes[i]) == 0)
		{
			watched->function[length - suffix] = '\0';
			break;
		}
	}
}

void
watch_begin(WatchedRequest *watched, const Request *request)
{
	memset(watched, 0, sizeof *watched);
	watched->role = GetOuterUserId();
	watched->kind = request->kind;
	set_function(watched, request);
	watched->entry = activity_add(watched);
}

void
watch_model(WatchedRequest *watched, const char *model)
{
	strlcpy(watched->model, model, sizeof watched->model);
	if (watched->entry >= 0)
		activity_set_model(watched->entry, model);
}

void
watch_accepted(WatchedRequest *watched, const Accepted *accepted)
{
	if (watched->entry >= 0)
		activity_set_prompt_tokens(watched->entry, accepted->prompt_tokens);
}

void
watch_go(WatchedRequest *watched, uint32 meter)
{
	if (watched->entry >= 0)
		activity_set_meter(watched->entry, meter);
}

void
watch_end(WatchedRequest *watched)
{
	if (watched->entry >= 0)
		activity_remove(watched->entry);
	watched->entry = -1;
}

/* Has the current user been granted qwen_monitor()? */
static bool
is_granted_monitor(Oid called)
{
	oidvector *no_arguments = buildoidvector(NULL, 0);
	Oid function = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum("qwen_monitor"),
								   PointerGetDatum(no_arguments), ObjectIdGetDatum(get_func_namespace(called)));

	if (!OidIsValid(function))
		return false;
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(ProcedureRelationId, function, GetUserId(), ACL_EXECUTE) == ACLCHECK_OK;
#else
	return pg_proc_aclcheck(function, GetUserId(), ACL_EXECUTE) == ACLCHECK_OK;
#endif
}

bool
may_see_others(Oid called)
{
#if PG_VERSION_NUM >= 140000
	Oid reader = ROLE_PG_READ_ALL_STATS;
#else
	Oid reader = DEFAULT_ROLE_READ_ALL_STATS;
#endif

	return has_privs_of_role(GetUserId(), reader) || is_granted_monitor(called);
}

/* What it answers matters less than who may ask. */
Datum
qwen_monitor(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(may_see_others(fcinfo->flinfo->fn_oid));
}
