/*
 * errors.c - what the engine and the protocol say, as PostgreSQL errors.
 */
#include "errors.h"

#include "texts.h"

int
sqlstate_of(int status_code)
{
	switch (status_code)
	{
		case STATUS_INVALID_ARGUMENT:
			return ERRCODE_INVALID_PARAMETER_VALUE;
		case STATUS_NOT_FOUND:
			return ERRCODE_UNDEFINED_OBJECT;
		case STATUS_TOO_LONG:
			return ERRCODE_PROGRAM_LIMIT_EXCEEDED;
		case STATUS_UNSUPPORTED:
			return ERRCODE_FEATURE_NOT_SUPPORTED;
		case STATUS_NOT_ALLOWED:
			return ERRCODE_INSUFFICIENT_PRIVILEGE;
		case STATUS_CANCELLED:
			return ERRCODE_QUERY_CANCELED;
		case STATUS_NOT_FINITE:
			return ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE;
		default:
			return ERRCODE_SYSTEM_ERROR;
	}
}

void
raise_status(const Status *status)
{
	char *message = server_string(status->message);

	ereport(ERROR, (errcode(sqlstate_of(status->code)), errmsg("%s", message)));
}

/* What cannot be said in the server's encoding must not take the place of what has happened. */
static char *
message_text(ByteSpan span)
{
	return server_string(pnstrdup(span.data, span.length));
}

void
raise_engine_error(const ProtocolError *error)
{
	char *message = message_text(error->message);
	char *detail = error->detail.data ? message_text(error->detail) : NULL;
	char *hint = error->hint.data ? message_text(error->hint) : NULL;

	ereport(ERROR, (errcode(sqlstate_of(error->code)), errmsg("%s", message), detail ? errdetail("%s", detail) : 0,
					hint ? errhint("%s", hint)
					: error->code == STATUS_UNAVAILABLE || error->code == STATUS_INTERNAL
						? errhint("The request can be sent again.")
						: 0));
}
