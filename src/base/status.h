/*
 * status.h - how a function outside src/extension says that it failed.
 *
 * A function that can fail returns a Status by value: a code that maps to one SQLSTATE, and one
 * sentence with names and numbers. The caller adds where ("model \"chat\": …") with status_prefix().
 * Owns no memory: the sentence is kept in the struct. Prints nothing, exits never.
 */
#ifndef QWEN_BASE_STATUS_H
#define QWEN_BASE_STATUS_H

#include <stdbool.h>
#include <stdint.h>

typedef enum StatusCode
{
	STATUS_OK = 0,
	STATUS_INVALID_ARGUMENT = 1, /* 22023: an argument or a file's content is not acceptable */
	STATUS_NOT_FOUND = 2,        /* 42704: no such model, no such file */
	STATUS_TOO_LONG = 3,         /* 54000: over a limit; both numbers are in the sentence */
	STATUS_UNSUPPORTED = 4,      /* 0A000: understood, but not supported (yet) */
	STATUS_UNAVAILABLE = 5,      /* 58000: try again later: I/O error, out of memory, shutting down */
	STATUS_NOT_ALLOWED = 6,      /* 42501: outside the model directory */
	STATUS_CANCELLED = 7,        /* 57014: the request was cancelled */
	STATUS_INTERNAL = 8,         /* 58000: a broken promise inside; always a bug */
	STATUS_NOT_FINITE = 9,       /* 22003: a model's numbers overflow */
	STATUS_QUEUE_FULL = 10,      /* 58000: no room for one more that waits; said of a request that stays as it is */
	STATUS_NOT_BEGUN = 11,       /* 58000: engine or model went before a request began; the same may be sent again */
} StatusCode;

#define STATUS_MESSAGE_BYTES 480

typedef struct Status
{
	StatusCode code;
	char message[STATUS_MESSAGE_BYTES]; /* NUL-terminated UTF-8, no newline, "" when ok */
} Status;

/* Success. */
extern Status status_ok(void);

/* A failure with a printf-style sentence, of which what is no UTF-8 is dropped; cut at a character when it is too long.
 */
extern Status status_error(StatusCode code, const char *format, ...) __attribute__((format(printf, 2, 3)));

#ifdef __clang_analyzer__
/* what it cannot see from the other files: a failure is never ok */
extern void status_seen(const char *format, ...);
#define status_error(code_, ...)                                                                                       \
	(status_seen(__VA_ARGS__), (Status){.code = (code_) == STATUS_OK ? STATUS_INTERNAL : (code_)})
#endif

/* The same failure with "prefix: " put in front of its sentence; ok stays ok. */
extern Status status_prefix(Status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

static inline bool
status_is_ok(const Status *status)
{
	return status->code == STATUS_OK;
}

/* Return the Status of expr from the current function unless it is ok. */
#define STATUS_TRY(expr)                                                                                               \
	do                                                                                                                 \
	{                                                                                                                  \
		Status status_try_ = (expr);                                                                                   \
		if (status_try_.code != STATUS_OK)                                                                             \
			return status_try_;                                                                                        \
	} while (0)

#endif
