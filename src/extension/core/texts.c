/*
 * texts.c - texts between the server's encoding and UTF-8, and texts that have to be cut.
 *
 * The engine speaks UTF-8. A value that the database's encoding cannot hold is an error of its row; a message, or a
 * piece of text that is shown beside its token, is written with escapes instead. ASCII is the same in all encodings of
 * a server, and conversions of anything else read the catalogs, so they run in a transaction.
 */
#include "texts.h"

#include "../../base/utf8.h"
#include "catalog/namespace.h"
#include "mb/pg_wchar.h"
#include "own_transaction.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* A conversion, and where its result goes. */
typedef struct Conversion
{
	const char *from;
	size_t length;
	MemoryContext context;
	char *to;
} Conversion;

/* Is text the same in UTF-8 and in the server's encoding? */
static bool
is_same_in_both(const char *text, size_t length)
{
	if (GetDatabaseEncoding() == PG_UTF8 || GetDatabaseEncoding() == PG_SQL_ASCII)
		return false; /* needs no conversion, but a look */
	for (size_t i = 0; i < length; i++)
		if (IS_HIGHBIT_SET(text[i]))
			return false;
	return true;
}

/* Does a conversion read the catalogs? */
static bool
reads_catalogs(void)
{
	return GetDatabaseEncoding() != PG_UTF8 && GetDatabaseEncoding() != PG_SQL_ASCII;
}

/* Run a conversion that may need a transaction. */
static char *
convert(void (*body)(void *argument), const char *from, size_t length)
{
	Conversion conversion = {from, length, CurrentMemoryContext, NULL};

	if (reads_catalogs())
		own_transaction(body, &conversion);
	else
		body(&conversion);
	return conversion.to;
}

/* A result in the caller's memory. */
static void
keep(Conversion *conversion, const char *result)
{
	if (CurrentMemoryContext == conversion->context)
		conversion->to = unconstify(char *, result);
	else
		conversion->to = MemoryContextStrdup(conversion->context, result);
}

static void
convert_to_utf8(void *argument)
{
	Conversion *conversion = argument;

	/* raises what cannot be UTF-8, also in a database of encoding SQL_ASCII, which holds any bytes */
	keep(conversion, pg_server_to_any(conversion->from, (int) conversion->length, PG_UTF8));
}

static void
convert_to_server(void *argument)
{
	Conversion *conversion = argument;

	keep(conversion, pg_any_to_server(conversion->from, (int) conversion->length, PG_UTF8));
}

ByteSpan
span_from_cstring(const char *value)
{
	size_t length = strlen(value);
	const char *utf8 = is_same_in_both(value, length) ? value : convert(convert_to_utf8, value, length);

	return (ByteSpan){utf8, strlen(utf8)};
}

ByteSpan
span_from_text(text *value)
{
	return span_from_cstring(text_to_cstring(value));
}

char *
file_name_from_text(text *value)
{
	char *name = text_to_cstring(value);

	return GetDatabaseEncoding() == PG_SQL_ASCII ? name : unconstify(char *, span_from_cstring(name).data);
}

char *
server_text(ByteSpan span)
{
	char *copy = pnstrdup(span.data, span.length);

	return is_same_in_both(copy, span.length) ? copy : convert(convert_to_server, copy, span.length);
}

text *
text_from_span(ByteSpan span)
{
	return cstring_to_text(server_text(span));
}

/* One character of UTF-8 in the server's encoding; false: it has none for it. */
#if PG_VERSION_NUM >= 140000
static bool
convert_character(const char *utf8, int bytes, char *out, int out_bytes)
{
	Oid function = FindDefaultConversionProc(PG_UTF8, GetDatabaseEncoding());

	return OidIsValid(function) && pg_do_encoding_conversion_buf(function, PG_UTF8, GetDatabaseEncoding(),
																 (unsigned char *) unconstify(char *, utf8), bytes,
																 (unsigned char *) out, out_bytes, true) == bytes;
}
#else
static bool
convert_character(const char *utf8, int bytes, char *out, int out_bytes)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool done = false;

	/* what is caught was raised over memory only */
	PG_TRY();
	{
		char *copy = pnstrdup(utf8, bytes);

		strlcpy(out, pg_any_to_server(copy, bytes, PG_UTF8), out_bytes);
		done = true;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		if (geterrcode() != ERRCODE_UNTRANSLATABLE_CHARACTER)
			PG_RE_THROW();
		FlushErrorState();
	}
	PG_END_TRY();
	return done;
}
#endif

/* The longest that one character of UTF-8 can become: four groups of conversion's growth, and the end. */
#define CHARACTER_BYTES 80

/* Put a character that is not ASCII into text. */
static void
append_character(StringInfo text, const char *utf8, int bytes)
{
	char converted[CHARACTER_BYTES];
	uint32 code_point;

	if (!reads_catalogs())
	{
		appendBinaryStringInfo(text, utf8, bytes);
		return;
	}
	if (convert_character(utf8, bytes, converted, sizeof converted))
	{
		appendStringInfoString(text, converted);
		return;
	}
	code_point = utf8_code_point(utf8, bytes);
	appendStringInfo(text, code_point > 0xFFFF ? "\\U%08x" : "\\u%04x", code_point);
}

static void
convert_with_escapes(void *argument)
{
	Conversion *conversion = argument;
	StringInfoData text;

	initStringInfo(&text);
	for (size_t i = 0; i < conversion->length;)
	{
		int bytes = utf8_character_bytes(conversion->from + i, conversion->length - i);

		if (bytes > 1)
			append_character(&text, conversion->from + i, bytes);
		else
			appendStringInfoChar(&text, bytes == 1 ? conversion->from[i] : '?');
		i += Max(bytes, 1);
	}
	keep(conversion, text.data);
}

char *
server_string(const char *utf8)
{
	size_t length = strlen(utf8);

	return is_same_in_both(utf8, length) ? pstrdup(utf8) : convert(convert_with_escapes, utf8, length);
}

text *
escaped_text_from_span(ByteSpan span)
{
	return cstring_to_text(server_string(pnstrdup(span.data, span.length)));
}

bool
text_is_blank(text *value)
{
	const char *bytes = VARDATA_ANY(value);
	size_t length = VARSIZE_ANY_EXHDR(value), start = 0;
	ByteSpan span;

	/* nearly always the first character, or the first after spaces, can be seen */
	while (start < length && (unsigned char) bytes[start] <= ' ')
		start++;
	if (start == length || (bytes[start] > ' ' && bytes[start] < 0x7F))
		return start == length;
	span = span_from_text(value);
	return utf8_is_blank(span.data, span.length);
}

void
require_text(text *value, const char *name)
{
	if (text_is_blank(value))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s must not be blank", name)));
}

void
copy_server_text(char *to, const char *from, size_t bytes)
{
	size_t length = strlen(from);

	/* what has no encoding is UTF-8 as a rule */
	if (GetDatabaseEncoding() == PG_SQL_ASCII)
	{
		utf8_copy(to, bytes, from);
		return;
	}
	if (length >= bytes)
		length = (size_t) pg_mbcliplen(from, (int) length, (int) bytes - 1);
	memcpy(to, from, length);
	to[length] = '\0';
}

Datum
page_text(const char *source, size_t bytes)
{
	char *copy = palloc(bytes + 1);

	memcpy(copy, source, bytes);
	copy[bytes] = '\0';
	return CStringGetTextDatum(server_string(copy));
}
