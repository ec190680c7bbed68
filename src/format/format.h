/*
 * format.h - the door of this room: what a request asks of its answer's form (response_format), compiled, and what may
 * come next in an answer of that form.
 *
 * A format is built further while it is used; one thread at a time may use it. Everything here depends on the format's
 * text and the answer's bytes alone.
 */
#ifndef QWEN_FORMAT_FORMAT_H
#define QWEN_FORMAT_FORMAT_H

#include "../base/bytes.h"
#include "../base/cancel.h"
#include "../base/status.h"
#include "calls.h"

#define FORMAT_MAX_BYTES (2 * 1024 * 1024)
#define FORMAT_LIMIT_BYTES ((size_t) 64 << 20) /* that a compiled one takes, also while it is used */

typedef struct Format Format;

/* A place in a text of the format. 0: no text of the format goes on so. */
typedef uint32_t FormatState;

/*
 * Compile what response_format says; *format is NULL for {"type": "text"}. INVALID_ARGUMENT for what makes no sense or
 * no value satisfies, UNSUPPORTED for keywords that we cannot keep, TOO_LONG beyond a limit; the sentence names keyword
 * and path.
 */
extern Status format_compile(ByteSpan text, const CancelFlag *cancelled, Format **format);
extern void format_destroy(Format *format);

/*
 * Compile an answer that calls tools (a JSON array), or else has the form that text says (not given: any text). *format
 * is NULL where nothing is asked of it. Errors are as above, or about "tools", with the tool's name.
 */
extern Status format_compile_calls(ByteSpan tools, ByteSpan text, const CallForm *form, const CancelFlag *cancelled,
								   Format **format);

/* Is it of JSON? */
extern bool format_is_json(const Format *format);

/* Is it a copy of a text? Then nobody else will have it. */
extern bool format_is_copy(const Format *format);

/* How its calls are written; NULL: it has none. */
extern const CallForm *format_calls(const Format *format);

/* Are a tool's arguments those of its schema? */
extern bool format_keeps_tool(const Format *format, ByteSpan tool);

/* Is what stands in a parameter of a call of tags a string as it is? Otherwise it is JSON. */
extern bool format_argument_is_text(const Format *format, ByteSpan tool, ByteSpan parameter, ByteSpan value);

/* Is the text free there? Then all but a few tokens may come. */
extern bool format_is_free(const Format *format, FormatState state);

/* The beginning; behind a thinking, after which there may be up to two line ends. */
extern FormatState format_start(const Format *format);
extern FormatState format_start_behind_thinking(Format *format);

extern FormatState format_take(Format *format, FormatState state, const char *bytes, size_t n);
extern bool format_is_complete(const Format *format, FormatState state);
/* And nothing can follow. */
extern bool format_is_over(const Format *format, FormatState state);

/* The shortest text of the format, about. */
extern ByteSpan format_shortest(const Format *format);

/* A bound of the tokens that a state's completion takes; and its bytes, written to out. */
extern uint32_t format_completion_bound(Format *format, FormatState state);
extern Status format_complete(Format *format, FormatState state, ByteWriter *out);

/* Bytes that have to come next, where there is no choice, or in a copy probably will: at most limit of them. */
extern void format_forced(Format *format, FormatState state, size_t limit, ByteWriter *out);

/* Why it cannot be used any more: it has grown beyond its limits. ok: it can. */
extern Status format_status(const Format *format);

/* Bytes that it takes. */
extern size_t format_bytes(const Format *format);

/*
 * All that is wrong with what response_format says, as a JSON array of {"path", "keyword", "problem"}: empty where
 * nothing is.
 */
extern Status format_check(ByteSpan text, const CancelFlag *cancelled, ByteWriter *out);

#endif
