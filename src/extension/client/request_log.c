/*
 * request_log.c - one line in the server log for each request that the model computed (qwen.log_requests).
 *
 * With "hash" it says who asked, which model, how much and how long, and the SHA-256 of what was asked, by which equal
 * requests are recognised, but never the text. With "text", which only a superuser can set, it says the text too. Lines
 * go to the log alone, never to the client, and without the statement, which would give the text away.
 */
#include "request_log.h"

#include "../../base/clock.h"
#include "../core/own_transaction.h"
#include "../core/texts.h"
#include "miscadmin.h"
#if PG_VERSION_NUM >= 140000
#include "common/cryptohash.h"
#endif
#include "common/sha2.h"

static const char *const kind_names[] = {[REQUEST_CHAT] = "chat",     [REQUEST_GENERATE] = "generate",
										 [REQUEST_EMBED] = "embed",   [REQUEST_LOGPROBS] = "logprobs",
										 [REQUEST_SCORE] = "score",   [REQUEST_CHUNK] = "chunk",
										 [REQUEST_RERANK] = "rerank", [REQUEST_CHECK_FORMAT] = "check_format"};

StaticAssertDecl(lengthof(kind_names) == REQUEST_CHECK_FORMAT + 1, "every kind of request has a name in the log");

/* What was asked, as it was sent: the text, or the messages as JSON. */
static ByteSpan
asked_text(const Request *request)
{
	return request->messages.data ? request->messages : request->text;
}

/* SHA-256 of all parts of a request that the user wrote; false where it cannot be computed. */
static bool
hash_request(const Request *request, uint8 digest[PG_SHA256_DIGEST_LENGTH])
{
	const ByteSpan parts[] = {asked_text(request), request->tools,  request->instruction,
							  request->query,      request->suffix, request->candidates};
	bool ok = true;

#if PG_VERSION_NUM >= 140000
	pg_cryptohash_ctx *context = pg_cryptohash_create(PG_SHA256);

	ok = context && pg_cryptohash_init(context) >= 0;
	for (int i = 0; i < (int) lengthof(parts) && ok; i++)
		if (parts[i].data)
			ok = pg_cryptohash_update(context, (const uint8 *) parts[i].data, parts[i].length) >= 0;
	ok = ok && pg_cryptohash_final(context, digest, PG_SHA256_DIGEST_LENGTH) >= 0;
	if (context)
		pg_cryptohash_free(context);
#else
	pg_sha256_ctx context;

	pg_sha256_init(&context);
	for (int i = 0; i < (int) lengthof(parts); i++)
		if (parts[i].data)
			pg_sha256_update(&context, (const uint8 *) parts[i].data, parts[i].length);
	pg_sha256_final(&context, digest);
#endif
	return ok;
}

/* What the log says was asked, in the server's encoding. */
static const char *
logged_text(const Request *request)
{
	const char *text = server_text(asked_text(request));

	if (request->query.data)
		return psprintf("%s\n\n%s", server_text(request->query), text);
	return request->suffix.data ? psprintf("%s\n...\n%s", text, server_text(request->suffix)) : text;
}

/* A request and what is remembered of it. */
typedef struct Beginning
{
	RequestLog *entry;
	const Request *request;
	MemoryContext context;
} Beginning;

/* Names, conversions and hashes belong to a transaction. */
static void
fill_entry(void *argument)
{
	const Beginning *beginning = argument;
	const Request *request = beginning->request;
	RequestLog *entry = beginning->entry;
	uint8 digest[PG_SHA256_DIGEST_LENGTH];
	Oid roles[MAX_LIMITED_ROLES_OF_CALL];

	limits_roles(roles);
	copy_server_text(entry->session_role, role_name(roles[0]), sizeof entry->session_role);
	copy_server_text(entry->role, role_name(roles[1]), sizeof entry->role);
	snprintf(entry->model, sizeof entry->model, "%.*s%s%.*s", (int) request->model.length,
			 request->model.data ? request->model.data : "", request->adapter.data ? "+" : "",
			 (int) request->adapter.length, request->adapter.data ? request->adapter.data : "");
	entry->hash[0] = '\0';
	if (hash_request(request, digest))
		for (int i = 0; i < PG_SHA256_DIGEST_LENGTH; i++)
			snprintf(entry->hash + 2 * i, 3, "%02x", digest[i]);
	if (qwen_log_requests == LOG_REQUESTS_TEXT)
		entry->text = MemoryContextStrdup(beginning->context, logged_text(request));
}

void
request_log_begin(RequestLog *entry, const Request *request, MemoryContext context)
{
	Beginning beginning = {entry, request, context};

	entry->kind = 0;
	entry->text = NULL;
	if (qwen_log_requests == LOG_REQUESTS_OFF || request_kind_is_immediate(request->kind))
		return;
	own_transaction(fill_entry, &beginning);
	entry->kind = request->kind;
}

void
request_log_end(RequestLog *entry, const LimitDemand *used, uint64 started_us, const char *how)
{
	uint8 kind = entry->kind;

	/* once, should the log fail, too */
	entry->kind = 0;
	if (kind == 0)
		return;
	ereport(LOG_SERVER_ONLY,
			(errmsg("qwen_pg: request %s: role=%s session_role=%s kind=%s model=%s sha256=%s prompt_tokens=%u "
					"completion_tokens=%u ms=%.1f",
					how, entry->role, entry->session_role, kind_names[kind], entry->model, entry->hash,
					used->prompt_tokens, used->max_tokens, (double) (clock_now_us() - started_us) / 1000),
			 entry->text ? errdetail_log("%s", entry->text) : 0, errhidestmt(true), errhidecontext(true)));
}

void
request_log_free(RequestLog *entry)
{
	entry->kind = 0;
	if (entry->text)
		pfree(entry->text);
	entry->text = NULL;
}
