/*
 * spans.c - see spans.h.
 */
#include "spans.h"

#include "../core/texts.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"

#include "../../base/utf8.h"

#define PRIVATE_USE 0xE000 /* the first of 6,400 characters that mean nothing */
#define N_PRIVATE_USE 6400
#define RESET_EVERY 1024 /* characters */

static const Enclosure usual_enclosures[] = {{"<", ">"}, {"[", "]"}, {"{", "}"}, {"(", ")"}};

static bool
contains(ByteSpan text, const char *part)
{
	return memmem(text.data, text.length, part, strlen(part)) != NULL;
}

/* May these enclose kinds in a text? */
static bool
is_free(const Enclosure *enclosure, ByteSpan text, const ByteSpan *kinds, int n)
{
	if (contains(text, enclosure->open))
		return false;
	for (int i = 0; i < n; i++)
		if (contains(kinds[i], enclosure->open) || contains(kinds[i], enclosure->close))
			return false;
	return true;
}

Enclosure
choose_enclosure(ByteSpan sent, const Labels *kinds)
{
	ByteSpan *names = palloc(sizeof *names * kinds->n);
	Enclosure enclosure = {"", ""};

	for (int i = 0; i < kinds->n; i++)
		names[i] = span_from_text(DatumGetTextPP(kinds->labels[i]));
	for (int i = 0; i < (int) lengthof(usual_enclosures); i++)
		if (is_free(&usual_enclosures[i], sent, names, kinds->n))
			return usual_enclosures[i];
	for (int i = 0; i < N_PRIVATE_USE - 1; i++)
	{
		CHECK_FOR_INTERRUPTS();
		memset(&enclosure, 0, sizeof enclosure);
		(void) utf8_write(PRIVATE_USE + i, enclosure.open);
		(void) utf8_write(PRIVATE_USE + i + 1, enclosure.close);
		if (is_free(&enclosure, sent, names, kinds->n))
			return enclosure;
	}
	ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					errmsg("the text has all characters that could enclose marks"), errhint("Cut it in parts.")));
}

ByteSpan
copy_format(ByteSpan text, const Labels *kinds, const Enclosure *enclosure)
{
	ByteSpan names = json_labels(kinds);
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoString(&json, "{\"type\":\"copy\",\"text\":");
	escape_json(&json, pnstrdup(text.data, text.length));
	appendStringInfoString(&json, ",\"kinds\":");
	appendBinaryStringInfo(&json, names.data, names.length);
	appendStringInfo(&json, ",\"open\":\"%s\",\"close\":\"%s\"}", enclosure->open, enclosure->close);
	return (ByteSpan){json.data, json.len};
}

static void __attribute__((noreturn)) raise_no_copy(void)
{
	ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("the qwen engine gave no copy of the text")));
}

/* Does text have part at a place? */
static bool
has_at(ByteSpan text, size_t place, ByteSpan part)
{
	return part.length <= text.length - place && memcmp(text.data + place, part.data, part.length) == 0;
}

/* The marks of all kinds: what opens and what closes one. */
typedef struct Mark
{
	ByteSpan open, close;
} Mark;

static Mark *
write_marks(const Labels *kinds, const Enclosure *enclosure)
{
	Mark *marks = palloc(sizeof *marks * kinds->n);

	for (int i = 0; i < kinds->n; i++)
	{
		ByteSpan kind = span_from_text(DatumGetTextPP(kinds->labels[i]));
		char *open = psprintf("%s%s%s", enclosure->open, kind.data, enclosure->close);
		char *close = psprintf("%s/%s%s", enclosure->open, kind.data, enclosure->close);

		marks[i] = (Mark){{open, strlen(open)}, {close, strlen(close)}};
	}
	return marks;
}

/* The kind that a mark at a place opens; raises where there is none. */
static int
opened_kind(ByteSpan answer, size_t place, const Mark *marks, int n)
{
	for (int i = 0; i < n; i++)
		if (has_at(answer, place, marks[i].open))
			return i;
	raise_no_copy();
}

List *
read_marks(List *spans, ByteSpan answer, ByteSpan text, size_t offset, const Labels *kinds, const Enclosure *enclosure)
{
	Mark *marks = write_marks(kinds, enclosure);
	ByteSpan open = {enclosure->open, strlen(enclosure->open)};
	Span *span = NULL;
	size_t copied = 0;

	for (size_t i = 0; i < answer.length;)
	{
		if (!has_at(answer, i, open))
		{
			if (copied == text.length || answer.data[i] != text.data[copied])
				raise_no_copy();
			copied++;
			i++;
		}
		else if (!span)
		{
			span = palloc(sizeof *span);
			*span = (Span){opened_kind(answer, i, marks, kinds->n), offset + copied, 0};
			i += marks[span->kind].open.length;
		}
		else
		{
			if (!has_at(answer, i, marks[span->kind].close))
				raise_no_copy();
			span->length = offset + copied - span->start;
			i += marks[span->kind].close.length;
			spans = lappend(spans, span);
			span = NULL;
		}
	}
	if (span || copied < text.length)
		raise_no_copy();
	return spans;
}

/* Where we are in a text, in both encodings. */
typedef struct TwoPlaces
{
	const char *data;
	size_t server, utf8, n; /* bytes; n: of all, in the server's */
	int characters;
	MemoryContext scratch;
} TwoPlaces;

/* Bytes that a character of the server's encoding has in UTF-8. */
static size_t
utf8_bytes(const char *character, int bytes, MemoryContext scratch)
{
	MemoryContext old;
	size_t length;

	if (GetDatabaseEncoding() == PG_UTF8 || GetDatabaseEncoding() == PG_SQL_ASCII || !IS_HIGHBIT_SET(*character))
		return bytes;
	old = MemoryContextSwitchTo(scratch);
	length = span_from_cstring(pnstrdup(character, bytes)).length;
	MemoryContextSwitchTo(old);
	return length;
}

/* Go on to a byte in UTF-8. */
static void
go_to(TwoPlaces *at, size_t utf8)
{
	while (at->utf8 < utf8 && at->server < at->n)
	{
		int bytes = Min((size_t) pg_mblen(at->data + at->server), at->n - at->server);

		at->utf8 += utf8_bytes(at->data + at->server, bytes, at->scratch);
		at->server += bytes;
		if (++at->characters % RESET_EVERY == 0)
		{
			CHECK_FOR_INTERRUPTS();
			MemoryContextReset(at->scratch);
		}
	}
}

ServerSpan *
place_spans(text *input, const List *spans)
{
	ServerSpan *placed = palloc(sizeof *placed * Max(list_length(spans), 1));
	TwoPlaces at = {VARDATA_ANY(input),
					0,
					0,
					VARSIZE_ANY_EXHDR(input),
					0,
					AllocSetContextCreate(CurrentMemoryContext, "qwen characters", ALLOCSET_SMALL_SIZES)};

	for (int i = 0; i < list_length(spans); i++)
	{
		const Span *span = list_nth(spans, i);

		go_to(&at, span->start);
		placed[i] = (ServerSpan){span->kind, at.server, 0, at.characters, 0};
		go_to(&at, span->start + span->length);
		placed[i].length = at.server - placed[i].start;
		placed[i].n_characters = at.characters - placed[i].n_before;
	}
	MemoryContextDelete(at.scratch);
	return placed;
}
