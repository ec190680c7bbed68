/*
 * string_formats.c - see string_formats.h. Each is written as a pattern.
 *
 * They are exact where that is possible (leap years), and otherwise narrower than the standard: what is made is always
 * valid, while rare spellings of valid texts may be missing (seconds of 60, which PostgreSQL would change; quoted local
 * parts of addresses; internationalized labels). docs/typed.md lists them.
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
#define POINTER "(?:/(?:[^~/]|~[01])*)*"
#define TIME_PART "T(?:\\d+H(?:\\d+M(?:\\d+S)?)?|\\d+M(?:\\d+S)?|\\d+S)"
/* numbers of an interval that PostgreSQL's can hold */
#define N6 "\\d{1,6}"
#define SQL_TIME_PART "T(?:" N6 "H(?:" N6 "M(?:" N6 "S)?)?|" N6 "M(?:" N6 "S)?|" N6 "S)"

typedef struct StringFormat
{
	const char *name, *pattern; /* of the whole text; NULL: all */
} StringFormat;

static const StringFormat formats[] = {
	{"date", DATE},
	{"time", CLOCK ZONE},
	{"date-time", DATE "[Tt]" CLOCK ZONE},
	{"duration", "P(?:\\d+Y(?:\\d+M(?:\\d+D)?)?(?:" TIME_PART ")?|\\d+M(?:\\d+D)?(?:" TIME_PART ")?|\\d+D(?:" TIME_PART
				 ")?|" TIME_PART "|\\d+W)"},
	{"email", ATOM "(?:\\." ATOM ")*@" HOST},
	{"hostname", HOST},
	{"ipv4", IPV4},
	{"ipv6", IPV6},
	{"uuid", "[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}"},
	{"uri", URI},
	{"uri-reference", "(?:" URI "|" RELATIVE "(?:\\?" QUERY ")?(?:#" QUERY ")?)"},
	/* what is a URI is an IRI */
	{"iri", URI},
	{"iri-reference", "(?:" URI "|" RELATIVE "(?:\\?" QUERY ")?(?:#" QUERY ")?)"},
	{"json-pointer", POINTER},
	{"relative-json-pointer", "(?:0|[1-9]\\d*)(?:#|" POINTER ")"},
	/* of OpenAPI: about numbers */
	{"int32", NULL},
	{"int64", NULL},
	{"float", NULL},
	{"double", NULL},
	/* what types of SQL take */
	{"sql-timestamp", DATE " " CLOCK},
	{"sql-timestamptz", DATE "[ T]" CLOCK SQL_ZONE},
	{"sql-time", CLOCK},
	{"sql-timetz", CLOCK SQL_ZONE},
	{"sql-interval", "P(?:" N6 "Y(?:" N6 "M(?:" N6 "D)?)?(?:" SQL_TIME_PART ")?|" N6 "M(?:" N6 "D)?(?:" SQL_TIME_PART
					 ")?|" N6 "D(?:" SQL_TIME_PART ")?|" SQL_TIME_PART "|" N6 "W)"},
};

bool
string_format_find(Expressions *e, ByteSpan name, uint32_t *expression)
{
	for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
	{
		const char *pattern = formats[i].pattern;

		if (strlen(formats[i].name) != name.length || memcmp(formats[i].name, name.data, name.length) != 0)
			continue;
		*expression = pattern ? pattern_read(e, pattern, strlen(pattern), true) : E_ALL;
		return true;
	}
	return false;
}
