/*
 * string_formats.c - see string_formats.h. Each is written as a pattern.
 *
 * They are exact where that is possible (leap years), and otherwise narrower than the standard: what is made is always
 * valid, while rare spellings of valid texts may be missing (seconds of 60, which PostgreSQL would change; quoted local
 * parts of addresses; internationalized labels). docs/typed.md lists them. Those have a second, wider pattern, which no
 * valid text is outside of: what the negation of a format lets through must not be valid by anybody's reading.
 */
#include "string_formats.h"

#include <stdio.h>
#include <string.h>

#include "pattern.h"

#define YEAR_LEAP "(?:\\d\\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
#define DAY_OF_ANY_YEAR                                                                                                \
	"(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|02-(?:0[1-9]|1\\d|2[0-8]))"
/* there is no year 0 in SQL */
#define DATE "(?!0000)(?:\\d{4}-" DAY_OF_ANY_YEAR "|" YEAR_LEAP "-02-29)"
#define CLOCK "(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d{1,9})?"
#define ZONE "(?:[Zz]|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)"
/* as far from UTC as PostgreSQL takes it */
#define SQL_ZONE "(?:[Zz]|[+-](?:0\\d|1[0-5]):[0-5]\\d)"
#define BYTE "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"
#define IPV4 BYTE "\\." BYTE "\\." BYTE "\\." BYTE
#define H16 "[0-9A-Fa-f]{1,4}"
#define IPV6                                                                                                           \
	"(?:(?:" H16 ":){7}" H16 "|(?:" H16 ":){6}" IPV4 "|::(?:" H16 ":){0,5}(?:" H16 "|" IPV4 ")|::|(?:" H16             \
	":){1,7}:|(?:" H16 ":){1,6}:" H16 "|(?:" H16 ":){1,5}(?::" H16 "){1,2}|(?:" H16 ":){1,4}(?::" H16 "){1,3}|(?:" H16 \
	":){1,3}(?::" H16 "){1,4}|(?:" H16 ":){1,2}(?::" H16 "){1,5}|" H16 ":(?::" H16 "){1,6})"
/* no two hyphens at the third place, where the punycode of international names is */
#define LABEL                                                                                                          \
	"(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-][A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-](?:[A-Za-z0-9]["  \
	"A-Za-z0-9-]|-[A-Za-z0-9])[A-Za-z0-9-]{0,58}[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-][A-Za-z0-9][A-Za-z0-9])"
#define HOST LABEL "(?:\\." LABEL ")*"
#define PCT "%[0-9A-Fa-f]{2}"
#define UNRESERVED "[A-Za-z0-9._~!$&'()*+,;=-]"
#define PCHAR "(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|" PCT ")"
#define PATH_PART "(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|" PCT ")*"
#define QUERY "(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|" PCT ")*"
#define AUTHORITY                                                                                                      \
	"(?:(?:[A-Za-z0-9._~!$&'()*+,;=:-]|" PCT ")*@)?(?:\\[" IPV6 "\\]|(?:" UNRESERVED "|" PCT ")*)(?::\\d*)?"
#define HIERARCHY "(?://" AUTHORITY "(?:/" PATH_PART ")?|/(?:" PCHAR PATH_PART ")?|" PCHAR PATH_PART "|)"
#define RELATIVE                                                                                                       \
	"(?://" AUTHORITY "(?:/" PATH_PART ")?|/(?:" PCHAR PATH_PART ")?|(?:[A-Za-z0-9._~!$&'()*+,;=@-]|" PCT              \
	")+(?:/" PATH_PART ")?|)"
#define SCHEME "[A-Za-z][A-Za-z0-9+.-]*:"
#define URI SCHEME HIERARCHY "(?:\\?" QUERY ")?(?:#" QUERY ")?"
#define ATOM "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
#define BASE64 "(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
/* what validators make nothing of may be valid whatever it is */
#define ANY_TEXT "[^]*"
#define POINTER "(?:/(?:[^~/]|~[01])*)*"
#define TIME_PART "T(?:\\d+H(?:\\d+M(?:\\d+S)?)?|\\d+M(?:\\d+S)?|\\d+S)"
/* wider ones */
#define DATE_BOUND "(?:\\d{4}-" DAY_OF_ANY_YEAR "|" YEAR_LEAP "-02-29)"
#define CLOCK_BOUND "(?:[01]\\d|2[0-3]):[0-5]\\d:(?:[0-5]\\d|60)(?:\\.\\d+)?"
#define URI_BOUND SCHEME "[!-~]*"
/* numbers of an interval that PostgreSQL's can hold */
#define N6 "\\d{1,6}"
#define SQL_TIME_PART "T(?:" N6 "H(?:" N6 "M(?:" N6 "S)?)?|" N6 "M(?:" N6 "S)?|" N6 "S)"

typedef struct StringFormat
{
	const char *name, *pattern; /* of the whole text; NULL: all */
	const char *bound;          /* NULL: the pattern */
} StringFormat;

static const StringFormat formats[] = {
	{"date", DATE, DATE_BOUND},
	{"time", CLOCK ZONE, CLOCK_BOUND ZONE},
	{"date-time", DATE "[Tt]" CLOCK ZONE, DATE_BOUND "[Tt ]" CLOCK_BOUND ZONE},
	{"duration",
	 "P(?:\\d+Y(?:\\d+M(?:\\d+D)?)?(?:" TIME_PART ")?|\\d+M(?:\\d+D)?(?:" TIME_PART ")?|\\d+D(?:" TIME_PART
	 ")?|" TIME_PART "|\\d+W)",
	 NULL},
	{"email", ATOM "(?:\\." ATOM ")*@" HOST, "[^]*@[^]*"},
	{"hostname", HOST, "[A-Za-z0-9._-]*"},
	{"ipv4", IPV4, NULL},
	{"ipv6", IPV6, "[0-9A-Fa-f:.]*"},
	{"uuid", "[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}", NULL},
	{"uri", URI, URI_BOUND},
	{"uri-reference", "(?:" URI "|" RELATIVE "(?:\\?" QUERY ")?(?:#" QUERY ")?)", "[!-~]*"},
	/* what is a URI is an IRI */
	{"iri", URI, SCHEME "[^\\x00-\\x20\\x7f]*"},
	{"iri-reference", "(?:" URI "|" RELATIVE "(?:\\?" QUERY ")?(?:#" QUERY ")?)", "[^\\x00-\\x20\\x7f]*"},
	{"json-pointer", POINTER, NULL},
	/* a later draft moves along an array */
	{"relative-json-pointer", "(?:0|[1-9]\\d*)(?:#|" POINTER ")", "\\d+(?:[+-]\\d+)?(?:#|" POINTER ")"},
	/* of OpenAPI: about numbers */
	{"int32", NULL, NULL},
	{"int64", NULL, NULL},
	{"float", NULL, NULL},
	{"double", NULL, NULL},
	/* of OpenAPI: how to show a text, any octets, and base64, which Pydantic and zod call by its name */
	{"password", NULL, NULL},
	{"binary", NULL, NULL},
	{"byte", BASE64, ANY_TEXT},
	{"base64", BASE64, ANY_TEXT},
	/* what types of SQL take */
	{"sql-timestamp", DATE " " CLOCK, NULL},
	{"sql-timestamptz", DATE "[ T]" CLOCK SQL_ZONE, NULL},
	{"sql-time", CLOCK, NULL},
	{"sql-timetz", CLOCK SQL_ZONE, NULL},
	{"sql-interval",
	 "P(?:" N6 "Y(?:" N6 "M(?:" N6 "D)?)?(?:" SQL_TIME_PART ")?|" N6 "M(?:" N6 "D)?(?:" SQL_TIME_PART ")?|" N6
	 "D(?:" SQL_TIME_PART ")?|" SQL_TIME_PART "|" N6 "W)",
	 NULL},
};

bool
string_format_find(Expressions *e, ByteSpan name, uint32_t *made, uint32_t *bound)
{
	for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
	{
		const char *pattern = formats[i].pattern, *wider = formats[i].bound;

		if (strlen(formats[i].name) != name.length || memcmp(formats[i].name, name.data, name.length) != 0)
			continue;
		*made = pattern ? pattern_read(e, pattern, strlen(pattern), true) : E_ALL;
		*bound = wider ? pattern_read(e, wider, strlen(wider), true) : *made;
		return true;
	}
	return false;
}
