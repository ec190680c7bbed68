/*
 * request_log.h - one line in the server log for each request.
 */
#ifndef QWEN_REQUEST_LOG_H
#define QWEN_REQUEST_LOG_H

#include "../limits/limits.h"

typedef struct RequestLog
{
	uint8 kind; /* RequestKind; 0: nothing is logged */
	char hash[65];
	char *text; /* with qwen.log_requests = text; palloc'd */
	char session_role[NAMEDATALEN], role[NAMEDATALEN];
	char model[ADAPTED_NAME_BYTES];
} RequestLog;

/* Remember what the log will say of a request; a text is allocated in context. */
extern void request_log_begin(RequestLog *entry, const Request *request, MemoryContext context);

/* One line at the end of a request, once. how: "done", "failed", "cancelled". */
extern void request_log_end(RequestLog *entry, const LimitDemand *used, uint64 started_us, const char *how);

/* Free the text; no line comes any more. */
extern void request_log_free(RequestLog *entry);

#endif
