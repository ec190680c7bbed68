/*
 * test_format.c - formats of answers (src/format): what a schema, pattern or choice lets through, exactly; that nothing
 * that is let through is a dead end; that masks are what their tokens, one by one, are.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/format/format.h"
#include "../../src/format/masks.h"
#include "../../src/format/numbers.h"

#define LENGTH(array) (sizeof(array) / sizeof *(array))

static Format *
compiled(const char *text)
{
	Format *format = NULL;
	Status status = format_compile((ByteSpan){text, strlen(text)}, NULL, &format);

	if (status.code != STATUS_OK)
		fail_msg("%s: %s", text, status.message);
	assert_non_null(format);
	return format;
}

static bool
accepts(Format *format, const char *text)
{
	FormatState state = format_take(format, format_start(format), text, strlen(text));

	assert_int_equal(format_status(format).code, STATUS_OK);
	return state && format_is_complete(format, state);
}

/* A format, texts that belong to it, and texts that do not; NULL ends each. */
typedef struct FormatCase
{
	const char *format, *good[8], *bad[12];
} FormatCase;

static const FormatCase cases[] = {
	/* closed: no members but those that are named, where nothing else is said of them and nothing else describes them
	 */
	{"{\"type\":\"json_schema\",\"closed\":true,\"schema\":{\"type\":\"object\",\"properties\":{\"a\":{\"type\":"
	 "\"object\",\"properties\":{\"b\":{}}}}}}",
	 {"{}", "{\"a\": {\"b\": 1}}", NULL},
	 {"{\"c\": 1}", "{\"a\": {\"c\": 1}}", NULL}},
	{"{\"type\":\"json_schema\",\"closed\":true,\"schema\":{\"type\":\"object\",\"properties\":{\"a\":{}},"
	 "\"additionalProperties\":true}}",
	 {"{\"c\": 1}", NULL},
	 {"[]", NULL}},
	{"{\"type\":\"json_schema\",\"closed\":true,\"schema\":{\"type\":\"object\",\"properties\":{\"a\":{}},\"allOf\":[{"
	 "\"properties\":{\"b\":{}}}]}}",
	 {"{\"a\": 1, \"b\": 2, \"c\": 3}", NULL},
	 {"[]", NULL}},
	{"{\"type\":\"json_schema\",\"closed\":true,\"schema\":{\"allOf\":[{\"type\":\"object\",\"properties\":{\"a\":{"
	 "\"type\":\"object\",\"properties\":{\"x\":{}}}}},{\"properties\":{\"a\":{\"required\":[\"y\"]}}}]}}",
	 {"{\"a\": {\"y\": 3}, \"b\": 2}", NULL},
	 {"{\"a\": {}}", NULL}},
	/* what is required is named; more members than have names, and given values, leave it open */
	{"{\"type\":\"json_schema\",\"closed\":true,\"schema\":{\"type\":\"object\",\"properties\":{\"a\":{}},"
	 "\"required\":[\"b\",\"c\",\"b\"],\"dependentRequired\":{\"a\":[\"d\",\"b\"]}}}",
	 {"{\"b\": 1, \"c\": \"x\"}", "{\"a\": 1, \"b\": 1, \"c\": 2, \"d\": []}", NULL},
	 {"{}", "{\"b\": 1}", "{\"b\": 1, \"c\": 2, \"e\": 3}", "{\"a\": 1, \"b\": 1, \"c\": 2}", NULL}},
	{"{\"type\":\"json_schema\",\"closed\":true,\"schema\":{\"type\":\"object\",\"properties\":{\"a\":{}},"
	 "\"minProperties\":2}}",
	 {"{\"a\": 1, \"b\": 2}", NULL},
	 {"{\"a\": 1}", NULL}},
	{"{\"type\":\"json_schema\",\"closed\":true,\"schema\":{\"properties\":{\"a\":{}},\"enum\":[{\"a\":1,\"b\":2}"
	 "]}}",
	 {"{\"a\": 1, \"b\": 2}", NULL},
	 {"{\"a\": 1}", NULL}},
	{"{\"type\":\"json_schema\",\"closed\":true,\"schema\":{\"anyOf\":[{\"$ref\":\"#/$defs/"
	 "d\"},{\"type\":\"null\"}],\"$defs\":{\"d\":{\"type\":\"object\",\"properties\":{\"a\":{}}}}}}",
	 {"{\"a\": 1}", "null", NULL},
	 {"{\"b\": 1}", NULL}},
	{"{\"type\":\"json_schema\",\"closed\":true,\"schema\":{\"type\":\"object\",\"not\":{\"properties\":{\"a\":{"
	 "\"type\":\"object\",\"properties\":{\"b\":{\"type\":\"null\"}}}}}}}",
	 {"{\"a\": 1}", "{\"a\": {\"b\": 1}}", NULL},
	 {"{}", "{\"a\": {\"c\": 1}}", NULL}},
	{"{\"type\":\"copy\",\"text\":\"a b\",\"kinds\":[\"x\",\"xy\"]}",
	 {"a b", "<x>a</x> b", "<xy>a</xy> <x>b</x>", "<x>a b</x>", "a <xy>b</xy>", NULL},
	 {"a", "a b ", "<x></x>a b", "<x>a</xy> b", "<x>a </x>b", "a<x> b</x>", "<z>a</z> b", "<x>a b", "<x><x>a</x></x> b",
	  "A b", "<x>a</x>", NULL}},
	{"{\"type\":\"copy\",\"text\":\" e\xCC\x81\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x92\xBB "
	 "\",\"kinds\":[\"k\"],\"open\":\"[\",\"close\":\"]\"}",
	 {" e\xCC\x81\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x92\xBB ",
	  " [k]e\xCC\x81[/k]\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x92\xBB ",
	  " e\xCC\x81[k]\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x92\xBB[/k] ", NULL},
	 {" [k]e[/k]\xCC\x81\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x92\xBB ",
	  " e\xCC\x81[k]\xF0\x9F\x91\xA9\xE2\x80\x8D[/k]\xF0\x9F\x92\xBB ",
	  " e\xCC\x81[k]\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x92\xBB [/k]",
	  "[k] e[/k]\xCC\x81\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x92\xBB ", NULL}},
	{"{\"type\":\"copy\",\"text\":\"Rene\xCC\x81s 12km \xE4\xBD\xA0\xE5\xA5\xBD\",\"kinds\":[\"k\"]}",
	 {"<k>Rene\xCC\x81s</k> 12km \xE4\xBD\xA0\xE5\xA5\xBD", "Rene\xCC\x81s <k>12</k>km <k>\xE4\xBD\xA0</k>\xE5\xA5\xBD",
	  NULL},
	 {"<k>Re</k>ne\xCC\x81s 12km \xE4\xBD\xA0\xE5\xA5\xBD", "<k>Rene\xCC\x81</k>s 12km \xE4\xBD\xA0\xE5\xA5\xBD",
	  "Rene\xCC\x81s 1<k>2</k>km \xE4\xBD\xA0\xE5\xA5\xBD", NULL}},
	/* the opening character begins with the same byte as one of the text */
	{"{\"type\":\"copy\",\"text\":\"\xEE\x80\x82z\",\"kinds\":[\"k\"],\"open\":\"\xEE\x80\x80\",\"close\":"
	 "\"\xEE\x80\x81\"}",
	 {"\xEE\x80\x82z", "\xEE\x80\x80k\xEE\x80\x81\xEE\x80\x82\xEE\x80\x80/k\xEE\x80\x81z",
	  "\xEE\x80\x80k\xEE\x80\x81\xEE\x80\x82z\xEE\x80\x80/k\xEE\x80\x81", NULL},
	 {"\xEE\x80\x80z", "\xEE\x80\x80k\xEE\x80\x81z", NULL}},
	{"{\"type\":\"string\",\"pattern\":\"^[a-z]+$\",\"maxLength\":3}",
	 {"\"a\"", "\"abc\"", NULL},
	 {"\"\"", "\"abcd\"", "\"A\"", "\"ab", NULL}},
	{"{\"type\":\"string\",\"format\":\"uuid\",\"maxLength\":36}",
	 {"\"00000000-0000-0000-0000-000000000000\"", NULL},
	 {"\"0000\"", NULL}},
	{"{\"type\":\"string\",\"maxLength\":4}",
	 {"\"a\\\"b\\n\"", "\"\xF0\x9F\x98\x80\xF0\x9F\x98\x80\xF0\x9F\x98\x80\xF0\x9F\x98\x80\"",
	  "\"\\ud83d\\ude00\\uD83D\\uDE00\\u00e9e\"", NULL},
	 {"\"abcde\"", "\"a\tb\"", "\"a\nb\"", "\"\\ud800\"", "\"\\udc00\"", "\"\\u0000\"", "\"\\ud83d\\u0041\"", "\"\\x\"",
	  "\"\xED\xA0\x80\"", "\"\xC0\xAF\"", "\"\xF4\x90\x80\x80\"", NULL}},
	{"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"}},\"additionalProperties\":false,\"anyOf\":[{"
	 "\"required\":[\"a\"]}]}",
	 {"{\"a\": 1}", NULL},
	 {"{}", "{\"b\": 1}", "{\"a\": \"x\"}", "{\"a\": 1, \"a\": 2}", NULL}},
	{"{\"type\":\"string\",\"maxLength\":20}", {"\"aaaaaaaaaaaaaaaaaaaa\"", NULL}, {"\"aaaaaaaaaaaaaaaaaaaaa\"", NULL}},
	{"{\"allOf\":[{\"type\":\"integer\",\"minimum\":3},{\"maximum\":5}]}",
	 {"3", "4", "5", NULL},
	 {"2", "6", "3.0", "\"3\"", NULL}},
	{"{\"type\":\"object\",\"required\":[\"a\"]}",
	 {"{\"a\": null}", "{\"a\": 1, \"b\": 2}", NULL},
	 {"{}", "{\"b\": 2}", NULL}},
	{"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"}},\"additionalProperties\":true}",
	 {"{}", "{\"b\": \"x\"}", "{\"a\": 1, \"b\": \"x\", \"c\": {}}", NULL},
	 {"{\"a\": \"x\"}", "{\"b\": 1, \"b\": 2}", "{\"b\": 1, \"a\": 2}", "{\"a\": 1, \"\\u0061\": 2}", NULL}},
	{"{\"type\":\"object\",\"propertyNames\":{\"pattern\":\"^[a-z]+$\"},\"additionalProperties\":{\"type\":\"object\","
	 "\"properties\":{\"n\":{\"type\":\"number\"}},\"required\":[\"n\"]}}",
	 {"{}", "{\"a\": {\"n\": 1}}", NULL},
	 {"{\"a\": \"x\"}", "{\"A\": {\"n\": 1}}", "{\"a\": {}}", NULL}},
	{"{\"type\":\"object\",\"properties\":{\"score\":{\"type\":\"integer\",\"multipleOf\":5}},\"patternProperties\":{"
	 "\"^score$\":{\"minimum\":10}},\"required\":[\"score\"],\"additionalProperties\":false}",
	 {"{\"score\": 10}", "{\"score\": 15}", NULL},
	 {"{\"score\": 5}", "{\"score\": 11}", "{}", NULL}},
	/* numbers of which the least has more digits than its bound; and the only one below zero */
	{"{\"type\":\"integer\",\"multipleOf\":9007199254740993,\"minimum\":9007199254740994}",
	 {"18014398509481986", "27021597764222979", NULL},
	 {"9007199254740993", "0", "18014398509481987", NULL}},
	{"{\"type\":\"integer\",\"multipleOf\":9007199254740993,\"not\":{\"const\":-9007199254740993}}",
	 {"0", "9007199254740993", NULL},
	 {"-9007199254740993", "-", "-1", NULL}},
	{"{\"type\":\"number\",\"exclusiveMinimum\":1,\"maximum\":1.00000000000000002}",
	 {"1.00000000000000001", "1.00000000000000002", "1.000000000000000015", NULL},
	 {"1", "1.0", "1.00000000000000003", NULL}},
	/* a name that is used up, of which an escape or a part of a letter may begin */
	{"{\"type\":\"object\",\"propertyNames\":{\"pattern\":\"^(a|bc|\xC3\xA9)?$\"},\"additionalProperties\":{\"type\":"
	 "\"null\"},"
	 "\"minProperties\":4}",
	 {"{\"\": null, \"a\": null, \"bc\": null, \"\xC3\xA9\": null}", NULL},
	 {"{\"a\": null, \"\\u0061", "{\"\": null, \"a\": null, \"a", "{\"a\": null, \"bc\": null, \"\xC3\xA9\": null}",
	  NULL}},
	{"{\"type\":\"object\",\"propertyNames\":{\"pattern\":\"^(a|bc|\xC3\xA9)?[0-9][xy]?$\"}}",
	 {"{\"a9y\": 1, \"\\u00619\": 2, \"\xC3\xA9\x39x\": 3, \"\xC3\xA9\x39y\": 4}", NULL},
	 {"{\"a9y\": 1, \"\\u00619y", "{\"\xC3\xA9\x39y\": null, \"\xC3\xA9\x39y", "{\"a\": null", NULL}},
	/* words with blanks between them, of which Unicode has others */
	{"{\"type\":\"regex\",\"pattern\":\"^\\\\S+( \\\\S+){0,9}$\"}",
	 {"a", "a b \xC3\xA9", "\"a\" \\", NULL},
	 {"", " a", "a  b", "a ",
	  "a\xE3\x80\x80"
	  "b",
	  "a\xC2\xA0"
	  "b",
	  NULL}},
	{"{\"type\":\"string\",\"pattern\":\"^[ -~]*b[ -~]{2}$\"}",
	 {"\"abab\"", "\"\\\"bbb\"", NULL},
	 {"\"baba\"",
	  "\"\xC3\xA9"
	  "baa\"",
	  "\"ba\"", NULL}},
	/* names of a finite language, of which some are used up, and words with something behind them */
	{"{\"type\":\"object\",\"propertyNames\":{\"pattern\":\"^b[a-z]{1,2}$\"},\"additionalProperties\":{\"enum\":["
	 "\"bb\","
	 "\"bba\",1]},\"minProperties\":4}",
	 {"{\"bab\": \"bb\", \"ba\": \"bba\", \"bbb\": 1, \"bba\": 1}", NULL},
	 {"{\"bab\": 1, \"ba\": 1, \"bbb\": 1, \"bab\": 1}", "{\"bab\": 1}",
	  "{\"bab\": \"b\", \"ba\": 1, \"bb\": 1, \"bz\": 1}", NULL}},
	{"{\"type\":\"string\",\"pattern\":\"\\\\S\"}", {"\" a\"", NULL}, {"\" \"", "\"\"", NULL}},
	{"{\"type\":\"string\",\"pattern\":\"^a$|^b$\"}", {"\"a\"", "\"b\"", NULL}, {"\"ab\"", "\"\"", NULL}},
	{"{\"type\":\"string\",\"pattern\":\"^(?!x)[a-z]+$\"}", {"\"ax\"", NULL}, {"\"xa\"", "\"\"", NULL}},
	{"{\"type\":\"object\",\"properties\":{},\"additionalProperties\":false}",
	 {"{}", NULL},
	 {"{ }", "{\"a\": 1}", "{} ", NULL}},
	{"{\"type\":\"array\",\"maxItems\":0}", {"[]", NULL}, {"[1]", "[ ]", NULL}},
	{"{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":2,\"maxItems\":3}",
	 {"[1, 2]", "[1, 2, 3]", NULL},
	 {"[]", "[1]", "[1, 2, 3, 4]", "[1,2]", "[1, \"2\"]", NULL}},
	{"{\"type\":\"array\",\"contains\":{\"const\":7},\"items\":{\"type\":\"integer\"},\"maxContains\":2}",
	 {"[7]", "[1, 7]", "[7, 1, 7]", NULL},
	 {"[]", "[1]", "[7, 7, 7]", NULL}},
	{"{}", {"2.5", "0", "-1.5", "null", "[{}, []]", NULL}, {"02", "1e5", "-0", "+1", "1.", ".5", "nul", NULL}},
	{"{\"type\":\"number\",\"exclusiveMinimum\":0}", {"0.1", "1", NULL}, {"0", "0.0", "-0", "-1", NULL}},
	{"{\"type\":\"number\",\"minimum\":1,\"maximum\":5}", {"5.0", "1", NULL}, {"5.7", "0.9", NULL}},
	{"{\"type\":\"integer\",\"minimum\":-5}", {"-5", "0", "70", NULL}, {"-6", "-0", NULL}},
	{"{\"type\":\"integer\",\"minimum\":9007199254740993,\"maximum\":9007199254740993}",
	 {"9007199254740993", NULL},
	 {"9007199254740992", "9007199254740994", NULL}},
	{"{\"type\":\"number\",\"multipleOf\":0.01}", {"0.07", "1.50", "3", NULL}, {"0.075", NULL}},
	{"{\"$ref\":\"#/$defs/~1a~0b%25\",\"$defs\":{\"/a~b%\":{\"enum\":[\"x\",1]}}}", {"\"x\"", "1", NULL}, {"2", NULL}},
	{"{\"properties\":{\"t\":{\"anyOf\":[{\"type\":\"null\"},{\"const\":5}]}},\"$ref\":\"#/properties/t/anyOf/1\"}",
	 {"5", NULL},
	 {"null", "{\"t\": 5}", NULL}},
	{"{\"type\":\"object\",\"properties\":{\"next\":{\"$ref\":\"#\"},\"v\":{\"type\":\"integer\"}},\"required\":[\"v\"]"
	 ","
	 "\"additionalProperties\":false}",
	 {"{\"v\": 1}", "{\"next\": {\"next\": {\"v\": 1}, \"v\": 2}, \"v\": 3}", NULL},
	 {"{\"next\": {}, \"v\": 1}", NULL}},
	{"{\"type\":\"object\",\"properties\":{\"reasoning\":{\"type\":\"string\"},\"answer\":{\"type\":\"string\"}}}",
	 {"{\"reasoning\": \"r\", \"answer\": \"a\"}", "{\"answer\": \"a\"}", NULL},
	 {"{\"answer\": \"a\", \"reasoning\": \"r\"}", NULL}},
	{"{\"const\":\"\\n                              \"}",
	 {"\"\\n                              \"", NULL},
	 {"\"\\n\"", NULL}},
	{"{\"enum\":[1,\"1\",null,{\"b\":1},[true]]}",
	 {"1", "\"1\"", "null", "{\"b\": 1}", "[true]", NULL},
	 {"true", "{}", "{\"b\": 2}", "{\"b\": 1, \"c\": 1}", "[]", NULL}},
	{"{\"type\":\"choice\",\"choices\":[\"foo\",\"foobar\",\"no\\nplease\"]}",
	 {"foo", "foobar", "no\nplease", NULL},
	 {"foob", "\"foo\"", "", NULL}},
	{"{\"type\":\"regex\",\"pattern\":\"[A-Z]{2}-\\\\d+|x\"}", {"AB-1", "x", NULL}, {"AB-", "xx", "aAB-1", NULL}},
	{"{\"type\":\"string\",\"format\":\"date\"}",
	 {"\"2024-02-29\"", "\"2000-02-29\"", "\"0004-02-29\"", "\"2023-12-31\"", NULL},
	 {"\"2023-02-29\"", "\"1900-02-29\"", "\"2024-04-31\"", "\"2024-13-01\"", "\"2024-00-10\"", "\"24-01-01\"",
	  "\"0000-01-01\"", NULL}},
	{"{\"type\":\"object\",\"properties\":{\"e\xCC\x81\":{\"type\":\"integer\"}},\"required\":[\"e\xCC\x81\"]}",
	 {"{\"e\xCC\x81\": 1}", NULL},
	 {"{\"\xC3\xA9\": 1}", NULL}},
	{"{\"oneOf\":[{\"type\":\"integer\"},{\"minimum\":2}]}", {"1", "2.5", "\"x\"", NULL}, {"3", "1.5", NULL}},
	{"{\"not\":{\"type\":[\"string\",\"object\"]}}", {"1", "[]", NULL}, {"\"a\"", "{}", NULL}},
	{"{\"type\":\"object\",\"properties\":{\"a\":{}},\"if\":{\"properties\":{\"a\":{\"const\":1}},\"required\":[\"a\"]}"
	 ",\"then\":{"
	 "\"required\":[\"b\"]},\"else\":{\"required\":[\"c\"]}}",
	 {"{\"a\": 1, \"b\": 0}", "{\"a\": 2, \"c\": 0}", "{\"c\": 0}", NULL},
	 {"{\"a\": 1, \"c\": 0}", "{\"a\": 2, \"b\": 0}", "{}", NULL}},
	{"{\"type\":\"object\",\"allOf\":[{\"properties\":{\"a\":{\"type\":\"integer\"}}}],\"unevaluatedProperties\":"
	 "false}",
	 {"{}", "{\"a\": 1}", NULL},
	 {"{\"b\": 1}", NULL}},
	{"{\"type\":\"object\",\"dependentRequired\":{\"a\":[\"b\"]},\"maxProperties\":2}",
	 {"{}", "{\"a\": 1, \"b\": 2}", "{\"b\": 2, \"x\": 1}", NULL},
	 {"{\"a\": 1}", "{\"a\": 1, \"b\": 2, \"c\": 3}", NULL}},
	{"{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"n\",\"strict\":true,\"schema\":{\"type\":\"array\","
	 "\"items\":{\"type\":"
	 "\"boolean\"}}},\"whitespace\":\"compact\"}",
	 {"[true,false]", NULL},
	 {"[true, false]", NULL}},
	{"{\"type\":\"json_schema\",\"name\":\"n\",\"description\":\"d\",\"strict\":true,\"schema\":{\"type\":\"boolean\"}"
	 "}",
	 {"true", NULL},
	 {"1", NULL}},
	/* one keyword makes it a schema, whatever stands beside it */
	{"{\"a\":1,\"title\":\"t\"}", {"1", "{}", NULL}, {NULL}},
	{"{\"type\":\"json_object\"}", {"{}", "{\"a\": [1, null]}", NULL}, {"[]", "1", NULL}},
	/* what is never made of a format, and is valid, does not come of the format's opposite either */
	{"{\"type\":\"string\",\"not\":{\"format\":\"time\"}}",
	 {"\"\"", "\"24:00:00Z\"", "\"10:00\"", NULL},
	 {"\"23:59:60Z\"", "\"10:00:00.1234567890Z\"", "\"10:00:00Z\"", NULL}},
	{"{\"type\":\"string\",\"not\":{\"format\":\"date\"}}",
	 {"\"2023-02-29\"", NULL},
	 {"\"0000-01-01\"", "\"2023-02-28\"", NULL}},
	{"{\"type\":\"string\",\"not\":{\"format\":\"email\"}}", {"\"a\"", NULL}, {"\"\\\"a b\\\"@c.d\"", "\"a@b\"", NULL}},
	{"{\"type\":\"string\",\"not\":{\"format\":\"ipv6\"},\"pattern\":\"^[0-9:.]+$|^x\"}",
	 {"\"x\"", NULL},
	 {"\"1::1.2.3.4\"", "\"::1\"", NULL}},
	{"{\"type\":\"string\",\"not\":{\"format\":\"iri\"}}", {"\"a b\"", NULL}, {"\"a:\xC3\xA9\"", "\"a:b\"", NULL}},
	{"{\"type\":\"string\",\"not\":{\"format\":\"uri\"}}",
	 {"\"a\"", "\"a:\xC3\xA9\"", NULL},
	 {"\"a://[v1.x]/\"", NULL}},
	{"{\"type\":\"string\",\"not\":{\"not\":{\"format\":\"time\"}}}", {"\"10:00:00Z\"", NULL}, {"\"23:59:60Z\"", NULL}},
	{"{\"oneOf\":[{\"const\":\"23:59:60Z\"},{\"type\":\"string\",\"format\":\"time\"}]}",
	 {"\"10:00:00Z\"", NULL},
	 {"\"23:59:60Z\"", NULL}},
	{"{\"oneOf\":[{\"type\":\"string\",\"format\":\"uri\"},{\"type\":\"string\",\"format\":\"iri\"},{\"const\":\"b\"}]"
	 "}",
	 {"\"b\"", NULL},
	 {"\"a:b\"", "\"a:\xC3\xA9\"", NULL}},
	{"{\"oneOf\":[{\"type\":\"string\",\"format\":\"date\"},{\"type\":\"string\",\"format\":\"ipv4\"}]}",
	 {"\"2023-02-28\"", "\"1.2.3.4\"", NULL},
	 {"\"0000-01-01\"", NULL}},
	/* that an item is of a format is not taken for said because it is not of the format's opposite */
	{"{\"type\":\"array\",\"items\":{\"const\":\"23:59:60Z\"},\"contains\":{\"format\":\"time\"},\"minItems\":0,"
	 "\"minContains\":0,\"maxContains\":1}",
	 {"[]", NULL},
	 {"[\"23:59:60Z\", \"23:59:60Z\"]", NULL}},
	{"{\"type\":\"array\",\"items\":{\"allOf\":[{\"enum\":[\"a@b@c\",\"a@b\"]},{\"format\":\"email\"}]}}",
	 {"[\"a@b\"]", NULL},
	 {"[\"a@b@c\"]", NULL}},
	{"{\"type\":\"object\",\"propertyNames\":{\"not\":{\"format\":\"time\"}},\"additionalProperties\":{\"const\":1}}",
	 {"{\"10:00\": 1}", NULL},
	 {"{\"23:59:60Z\": 1}", NULL}},
	{"{\"type\":\"string\",\"format\":\"email\",\"minLength\":1}",
	 {"\"anna.b@mail.example.org\"", "\"a@b\"", NULL},
	 {"\"\"", "\"anna\"", "\"a@b..c\"", "\"@b\"", NULL}},
	{"{\"type\":\"string\",\"format\":\"hostname\",\"minLength\":3,\"maxLength\":9}",
	 {"\"a.b\"", "\"abc\"", "\"a-b.c-d.e\"", "\"a.b.c.d.e\"", NULL},
	 {"\"a\"", "\"ab\"", "\"a.\"", "\"a-b.c-d.ef\"", "\"a.b.c.d.e.f\"", "\"-ab\"", "\"a.-b\"", NULL}},
	/* an end that is too near, behind a letter after which any letters may come */
	{"{\"type\":\"string\",\"pattern\":\"^(?:b.{0,100}|[^b].*)$\",\"minLength\":200}",
	 {NULL},
	 {"\"b\"", "\"aaab\"", NULL}},
	/* lengths of which some are left out, with bounds on both sides */
	{"{\"type\":\"string\",\"pattern\":\"^(?:a{5})*$\",\"minLength\":6,\"maxLength\":14}",
	 {"\"aaaaaaaaaa\"", NULL},
	 {"\"\"", "\"aaaaa\"", "\"aaaaaa\"", "\"aaaaaaaaaaaaaaa\"", NULL}},
	{"{\"type\":\"array\",\"items\":{\"enum\":[\"a\",\"b\",1]},\"uniqueItems\":true,\"minItems\":1}",
	 {"[\"a\"]", "[\"b\", \"a\"]", "[1, \"a\", \"b\"]", NULL},
	 {"[]", "[\"a\", \"a\"]", "[\"a\", 1, \"a\"]", "[1, 1]", "[1, \"a\", \"b\", 1]", NULL}},
	{"{\"type\":\"array\",\"items\":{\"type\":\"integer\",\"minimum\":-1,\"maximum\":1},\"uniqueItems\":true,"
	 "\"minItems\":3}",
	 {"[0, -1, 1]", "[1, 0, -1]", NULL},
	 {"[0, 1]", "[0, 1, 0]", "[0, 1, -1, 0]", NULL}},
	/* places that share no value need not be told apart; those that share some do by these alone */
	{"{\"type\":\"array\",\"prefixItems\":[{\"type\":\"string\"},{\"type\":\"number\"},{\"enum\":[true,\"x\"]}],"
	 "\"items\":{\"type\":\"boolean\"},\"uniqueItems\":true}",
	 {"[]", "[\"x\", 1, true]", "[\"y\", 1, \"x\", true, false]", NULL},
	 {"[\"x\", 1, \"x\"]", "[\"y\", 1, true, true]", "[\"y\", 1, true, false, false]", NULL}},
	{"{\"not\":{\"items\":{\"enum\":[1,2]},\"uniqueItems\":true},\"type\":\"array\",\"items\":{\"enum\":[1,2]}}",
	 {"[1, 1]", "[1, 2, 1]", NULL},
	 {"[]", "[1]", "[2, 1]", NULL}},
	{"{\"type\":\"array\",\"prefixItems\":[true],\"contains\":{\"type\":\"string\"},\"unevaluatedItems\":{\"const\":7}"
	 "}",
	 {"[\"a\"]", "[1, \"a\"]", "[1, 7, \"a\", \"b\", 7]", NULL},
	 {"[1]", "[1, 7]", "[1, \"a\", 2]", NULL}},
	{"{\"type\":\"array\",\"if\":{\"contains\":{\"const\":1}},\"then\":{\"contains\":{\"const\":2}},"
	 "\"unevaluatedItems\":false}",
	 {"[]", "[1, 2]", "[2, 1, 1]", NULL},
	 {"[1]", "[2]", "[1, 2, 3]", NULL}},
	{"{\"$schema\":\"https://json-schema.org/draft/2019-09/schema\",\"$recursiveAnchor\":true,\"type\":\"object\","
	 "\"additionalProperties\":{\"$recursiveRef\":\"#\"}}",
	 {"{}", "{\"a\": {\"b\": {}}}", NULL},
	 {"{\"a\": 1}", NULL}},
	{"{\"type\":\"json_schema\",\"schema\":{\"type\":\"string\",\"format\":\"nobody-knows\"},\"ignore\":[\"format\"]}",
	 {"\"x\"", NULL},
	 {"1", NULL}},
	{"{\"type\":\"json_schema\",\"schema\":{\"items\":{\"type\":\"string\",\"maxLength\":1},\"type\":\"array\","
	 "\"uniqueItems\":true},\"ignore\":[\"format\",\"uniqueItems\"]}",
	 {"[\"x\", \"x\"]", NULL},
	 {"[\"xx\"]", NULL}},
	{"{\"type\":\"string\",\"format\":\"password\"}", {"\"\"", "\"x \"", NULL}, {"1", NULL}},
	{"{\"type\":\"string\",\"format\":\"binary\"}", {"\"\"", "\"x \"", NULL}, {"1", NULL}},
	{"{\"type\":\"string\",\"format\":\"byte\"}",
	 {"\"\"", "\"aGk=\"", "\"aA==\"", "\"+/09\"", NULL},
	 {"\"aGk\"", "\"a===\"", "\"aGk=aGk=\"", "\"_-09\"", NULL}},
	{"{\"type\":[\"string\",\"null\"],\"not\":{\"format\":\"base64\",\"type\":\"string\"}}",
	 {"null", NULL},
	 {"\"_\"", "\"aGk=\"", NULL}},
	{"{\"type\":\"string\",\"pattern\":\"^(?=.*b(?!c)).*$\"}",
	 {"\"ab\"", "\"bcba\"", NULL},
	 {"\"abc\"", "\"a\"", NULL}},
	{"{\"type\":\"string\",\"pattern\":\"^(?=a(?=b))\"}", {"\"abc\"", NULL}, {"\"a\"", "\"aa\"", NULL}},
	{"{\"type\":\"string\",\"pattern\":\"(?=^a)a\"}", {"\"ab\"", NULL}, {"\"ba\"", "\"\"", NULL}},
	{"{\"type\":\"string\",\"pattern\":\"(?!^)a\"}", {"\"ba\"", "\"aa\"", NULL}, {"\"a\"", "\"ab\"", NULL}},
	{"{\"type\":\"string\",\"pattern\":\"(?!$)\"}", {"\"a\"", NULL}, {"\"\"", NULL}},
	{"{\"type\":\"string\",\"pattern\":\"^(?:a*|[^a].{0,150})$\",\"minLength\":300}", {NULL}, {"\"b\"", "\"a\"", NULL}},
	/* names of which there are few are members in their order, and the last one has what must come */
	{"{\"type\":\"object\",\"not\":{\"additionalProperties\":{\"type\":\"string\"}},\"propertyNames\":{\"const\":\"a\"}"
	 "}",
	 {"{\"a\": 1}", "{\"a\": [\"x\"]}", NULL},
	 {"{}", "{\"a\": \"x\"}", "{\"a\": \"", NULL}},
	{"{\"type\":\"object\",\"propertyNames\":{\"enum\":[\"b\",\"a\"]},\"allOf\":[{\"not\":{\"additionalProperties\":{"
	 "\"type\":\"string\"}}},{\"not\":{\"additionalProperties\":{\"type\":\"number\"}}}]}",
	 {"{\"a\": 1, \"b\": \"x\"}", "{\"a\": \"x\", \"b\": 2}", "{\"b\": null}", NULL},
	 {"{\"a\": 1, \"b\": 2}", "{\"b\": 1}", "{\"a\": 1}", "{\"b\": null, \"a\": 1}", NULL}},
	{"{\"type\":\"object\",\"propertyNames\":{\"pattern\":\"^[a\\u00e9]$\"},\"minProperties\":2}",
	 {"{\"a\": 1, \"\xC3\xA9\": 2}", NULL},
	 {"{\"a\": 1}", "{\"a\": 1, \"a\": 2}", NULL}},
	{"{\"type\":\"object\",\"propertyNames\":{\"pattern\":\"^[a\\\"\\\\\\\\]$\"},\"minProperties\":3}",
	 {"{\"\\\"\": 1, \"\\\\\": 3, \"a\": 2}", NULL},
	 {"{\"\\\"\": 1, \"a\": 2}", NULL}},
	{"{\"type\":\"object\",\"patternProperties\":{\"^[\\ud83d\\ude00-\\ud83d\\ude02]$\":{\"type\":\"null\"}},"
	 "\"additionalProperties\":false,\"minProperties\":3}",
	 {"{\"\xF0\x9F\x98\x80\": null, \"\xF0\x9F\x98\x81\": null, \"\xF0\x9F\x98\x82\": null}", NULL},
	 {"{\"\xF0\x9F\x98\x80\": null, \"\xF0\x9F\x98\x82\": null}", NULL}},
	/* more of them, which begin as those used do: with a byte of UTF-8, or an escape */
	{"{\"type\":\"object\",\"propertyNames\":{\"pattern\":\"^[\\\"\\\\\\\\][a\\u00e9][0-9]$\"},\"minProperties\":40}",
	 {NULL},
	 {"{\"\\\"a0\": 1}", NULL}},
	{"{\"type\":\"object\",\"propertyNames\":{\"pattern\":\"^[\\u00e0-\\u00e3][0-9]$\"},\"minProperties\":20}",
	 {NULL},
	 {"{}", NULL}},
	/* ends that only a long token sees */
	{"{\"type\":\"string\",\"maxLength\":135}", {"\"a\"", NULL}, {"a", NULL}},
	{"{\"type\":\"string\",\"minLength\":140}", {NULL}, {"\"a\"", NULL}},
	{"{\"type\":\"array\",\"items\":{\"type\":\"array\"}}", {"[]", "[[{}]]", NULL}, {"[1]", NULL}},
};

/* The cases that other engines have wrong, and what each keyword is about. */
static void
exactly_what_the_format_says_is_let_through(void **unused)
{
	(void) unused;
	for (size_t i = 0; i < LENGTH(cases); i++)
	{
		Format *format = compiled(cases[i].format);

		for (const char *const *text = cases[i].good; *text; text++)
			if (!accepts(format, *text))
				fail_msg("%s must let %s through", cases[i].format, *text);
		for (const char *const *text = cases[i].bad; *text; text++)
			if (accepts(format, *text))
				fail_msg("%s must not let %s through", cases[i].format, *text);
		format_destroy(format);
	}
}

typedef struct ErrorCase
{
	const char *format;
	StatusCode code;
	const char *part;
} ErrorCase;

static const ErrorCase errors[] = {
	/* as deep as it is known */
	{"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"array\",\"minItems\":1,\"items\":{\"type\":\"object\","
	 "\"properties\":{\"b\":{\"type\":\"integer\",\"minimum\":3,\"maximum\":1}},\"required\":[\"b\"]}}},\"required\":["
	 "\"a\"]}",
	 STATUS_INVALID_ARGUMENT, "no value satisfies the schema at /properties/a/items/properties/b"},
	{"{\"type\":\"json_schema\",\"closed\":1,\"schema\":{}}", STATUS_INVALID_ARGUMENT,
	 "\"closed\" must be true or false"},
	/* more members than there are names, beside a way that there is no name for */
	{"{\"type\":\"object\",\"propertyNames\":{\"maxLength\":0},\"anyOf\":[{\"minProperties\":3},{\"not\":{"
	 "\"propertyNames\":{\"minLength\":0}}}]}",
	 STATUS_INVALID_ARGUMENT, "no value satisfies the schema"},
	{"{\"type\":\"object\",\"propertyNames\":{\"enum\":[\"a\",\"b\"]},\"anyOf\":[{\"minProperties\":3},{\"not\":{"
	 "\"propertyNames\":{\"enum\":[\"a\",\"b\",\"c\"]}}}]}",
	 STATUS_INVALID_ARGUMENT, "no value satisfies the schema"},
	{"{\"type\":\"json_schema\",\"json_schema\":{\"strict\":\"yes\",\"schema\":{}}}", STATUS_INVALID_ARGUMENT,
	 "\"strict\" at /json_schema must be true or false"},
	{"{\"type\":\"json_schema\",\"strict\":1,\"schema\":{}}", STATUS_INVALID_ARGUMENT,
	 "\"strict\" at / must be true or false"},
	{"{\"type\":\"json_schema\",\"json_schema\":{\"name\":[],\"schema\":{}}}", STATUS_INVALID_ARGUMENT,
	 "\"name\" at /json_schema must be a string"},
	{"{\"type\":\"json_schema\",\"json_schema\":\"x\"}", STATUS_INVALID_ARGUMENT, "\"json_schema\" must be an object"},
	{"{\"type\":\"object\",\"properties\":{\"tags\":{\"uniqueItems\":true}}}", STATUS_UNSUPPORTED,
	 "\"uniqueItems\" at /properties/tags"},
	{"{\"items\":{\"type\":\"number\"},\"uniqueItems\":true}", STATUS_UNSUPPORTED, "bound them, or list them"},
	{"{\"items\":{\"type\":\"string\"},\"uniqueItems\":true}", STATUS_UNSUPPORTED, "that \"enum\" does not list"},
	{"{\"type\":\"array\",\"items\":{\"anyOf\":[{\"$ref\":\"#\"},{\"const\":1}]},\"uniqueItems\":true}",
	 STATUS_UNSUPPORTED, "\"uniqueItems\" at /"},
	{"{\"type\":\"array\",\"items\":{\"enum\":[1,2]},\"uniqueItems\":true,\"minItems\":3}", STATUS_INVALID_ARGUMENT,
	 "no value satisfies"},
	{"{\"properties\":{\"a/b\":{\"format\":\"colour\"}}}", STATUS_UNSUPPORTED, "\"format\" at /properties/a~1b"},
	{"{\"$ref\":\"https://example.org/s\"}", STATUS_UNSUPPORTED, "outside of the schema"},
	{"{\"$ref\":\"#/$defs/nobody\"}", STATUS_INVALID_ARGUMENT, "nothing in the schema is called"},
	{"{\"properties\":{\"a\":{\"format\":\"colour\"}}}", STATUS_UNSUPPORTED,
	 "\"format\" at /properties/a is not supported: \"colour\"; \"ignore\": [\"format\"] beside \"type\": "
	 "\"json_schema\" passes it over"},
	{"{\"items\":{\"type\":\"string\"},\"uniqueItems\":true}", STATUS_UNSUPPORTED, "\"ignore\": [\"uniqueItems\"]"},
	{"{\"type\":\"json_schema\",\"ignore\":[\"oneOf\"],\"schema\":{}}", STATUS_INVALID_ARGUMENT,
	 "\"ignore\" can have \"format\" and \"uniqueItems\" alone"},
	{"{\"type\":\"json_schema\",\"relax\":[\"format\"],\"schema\":{}}", STATUS_INVALID_ARGUMENT,
	 "\"relax\" can have \"oneOf\" alone"},
	{"{\"type\":\"jsonobject\"}", STATUS_INVALID_ARGUMENT,
	 "\"type\" at / must be a form (json_schema, json_object, regex, choice, copy or text) or a schema's (null, "
	 "boolean, integer, number, string, array or object), not \"jsonobject\""},
	{"{\"properties\":{\"a\":{\"type\":\"strin\"}}}", STATUS_INVALID_ARGUMENT,
	 "\"type\" at /properties/a must be null, boolean, integer, number, string, array or object, or an array of "
	 "these, not \"strin\""},
	{"{\"type\":7}", STATUS_INVALID_ARGUMENT, "or an array of these"},
	{"{\"type\":\"string\",\"pattern\":\"(\"}", STATUS_INVALID_ARGUMENT, "\"pattern\" at /: ( without )"},
	{"{\"type\":\"string\",\"pattern\":\"(a)\\\\1\"}", STATUS_UNSUPPORTED,
	 "a back-reference at byte 6 of the pattern \"(a)\\1\" is not supported"},
	{"{\"type\":\"string\",\"pattern\":\"^[ -~]*a[ -~]{14}$\"}", STATUS_TOO_LONG, "limit"},
	{"{\"type\":\"string\",\"pattern\":\"a{99999999999999999999}\"}", STATUS_TOO_LONG,
	 "a repetition of {99999999999999999999} in a pattern: the limit is 16384"},
	{"{\"type\":\"string\",\"pattern\":\"a{3,16385}\"}", STATUS_TOO_LONG, "a repetition of {3,16385} in a pattern"},
	{"{\"type\":\"string\",\"pattern\":\"a{20000,}\"}", STATUS_TOO_LONG, "a repetition of {20000,} in a pattern"},
	{"{\"type\":\"integer\",\"minimum\":3,\"maximum\":2}", STATUS_INVALID_ARGUMENT, "no value satisfies"},
	/* there are such numbers, but none that is made */
	{"{\"type\":\"number\",\"minimum\":1e19}", STATUS_UNSUPPORTED,
	 "\"minimum\" at / is not supported: numbers have at most 19 digits before the point"},
	{"{\"properties\":{\"a\":{\"exclusiveMaximum\":-1e30}}}", STATUS_UNSUPPORTED,
	 "\"exclusiveMaximum\" at /properties/a is not supported"},
	{"{\"type\":\"object\",\"required\":[\"a\"],\"properties\":{\"a\":{\"$ref\":\"#\"}}}", STATUS_INVALID_ARGUMENT,
	 "no value satisfies"},
	{"{\"$ref\":\"#\"}", STATUS_INVALID_ARGUMENT, "refers to itself"},
	{"{\"minItems\":-1}", STATUS_INVALID_ARGUMENT, "\"minItems\" at /"},
	{"{\"type\":\"array\",\"minItems\":100000}", STATUS_TOO_LONG, "the limit is 4096"},
	{"{\"type\":\"json_object\",\"schema\":{}}", STATUS_INVALID_ARGUMENT, "no member \"schema\""},
	{"{\"type\":\"grammar\"}", STATUS_UNSUPPORTED, "grammar"},
	{"{\"type\":\"json_schema\",\"schema\":{},\"json_schema\":{\"schema\":{}}}", STATUS_INVALID_ARGUMENT,
	 "must not both be given"},
	{"{\"name\":\"What is the name?\"}", STATUS_INVALID_ARGUMENT,
	 "\"name\" is none; members stand below \"properties\""},
	{"{\"name\":\"n\",\"strict\":true,\"schema\":{\"type\":\"object\"}}", STATUS_INVALID_ARGUMENT, "has no keyword"},
	{"{\"type\":\"choice\",\"choices\":[]}", STATUS_INVALID_ARGUMENT, "choices"},
	{"{\"type\":", STATUS_INVALID_ARGUMENT, "no JSON"},
	{"7", STATUS_INVALID_ARGUMENT, "it must be an object"},
};

static void
what_cannot_be_kept_is_an_error_with_its_path(void **unused)
{
	(void) unused;
	for (size_t i = 0; i < LENGTH(errors); i++)
	{
		Format *format;
		Status status = format_compile((ByteSpan){errors[i].format, strlen(errors[i].format)}, NULL, &format);

		if (status.code != errors[i].code || !strstr(status.message, errors[i].part))
			fail_msg("%s: %d %s", errors[i].format, status.code, status.message);
		assert_null(format);
	}
}

#define TEN(text) text text text text text text text text text text

/* A small vocabulary: all bytes, and some tokens that go over the edges of what a schema knows. */
static const char *const longer_tokens[] = {
	"{\"",
	"\": ",
	"\", \"",
	"\"}",
	"}]",
	"[{\"",
	"abc",
	"a\"",
	"\\u00",
	"\\\"",
	"true",
	"null",
	"12",
	"0.",
	", ",
	"\"a\": ",
	"\xC3\xA9",
	"\xF0\x9F",
	"\x98\x80",
	"}}",
	"]}",
	"-0",
	"ab",
	"aaaaaaaaaaaaaaaaaaaaaaaa",
	"\"a",
	"fo",
	"foobar",
	"2024-02",
	"-29\"",
	"ba",
	"bb",
	"bab",
	"bba",
	" a",
	" ab",
	" abc abc",
	"  ",
	"a ",
	"a\xE3\x80\x80z",
	"\xE3\x80\x80",
	"\xC2\xA0",
	"\"bb\"",
	"a\", \"",
	TEN(TEN("a")) TEN("aaaaa"),
	TEN(TEN("a")) TEN("aaaa") "\"",
	TEN("[[[[[[") "[[[[",
};

#define N_TOKENS (256 + LENGTH(longer_tokens))

static char single_bytes[256];

static ByteSpan
token_bytes(uint32_t token)
{
	if (token < 256)
		return (ByteSpan){&single_bytes[token], 1};
	return (ByteSpan){longer_tokens[token - 256], strlen(longer_tokens[token - 256])};
}

static Vocabulary *
small_vocabulary(void)
{
	ByteSpan tokens[N_TOKENS];
	Vocabulary *vocabulary;

	for (uint32_t i = 0; i < 256; i++)
		single_bytes[i] = (char) i;
	for (uint32_t i = 0; i < N_TOKENS; i++)
		tokens[i] = token_bytes(i);
	vocabulary = vocabulary_create(tokens, N_TOKENS);
	assert_non_null(vocabulary);
	return vocabulary;
}

static bool
mask_has(const TokenMask *mask, uint32_t token)
{
	if (mask->bits)
		return mask->bits[token / 64] >> token % 64 & 1;
	for (uint32_t i = 0; i < mask->n; i++)
		if (mask->list[i] == token)
			return true;
	return false;
}

static uint64_t
next_random(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
	return *seed >> 33;
}

/* Walk at random through a format; at each place the mask is what its tokens are one by one, and there is a way on. */
static void
walk_at_random(Format *format, Masks *masks, const char *name, uint64_t seed)
{
	FormatState state = format_start(format);

	for (int step = 0; step < 60 && !format_is_over(format, state); step++)
	{
		const TokenMask *mask = masks_get(masks, state);
		uint32_t allowed[N_TOKENS], n = 0;
		ByteWriter rest;
		ByteSpan taken;

		assert_non_null(mask);
		for (uint32_t token = 0; token < N_TOKENS; token++)
		{
			ByteSpan bytes = token_bytes(token);
			bool is_allowed = format_take(format, state, bytes.data, bytes.length) != 0;

			if (is_allowed != mask_has(mask, token))
				fail_msg("%s: token %u is %s one by one, but not in the mask", name, token,
						 is_allowed ? "allowed" : "refused");
			if (is_allowed)
				allowed[n++] = token;
		}
		if (n == 0 && !format_is_complete(format, state))
			fail_msg("%s: a dead end", name);
		byte_writer_init(&rest);
		assert_int_equal(format_complete(format, state, &rest).code, STATUS_OK);
		if (format_completion_bound(format, state) + 64 < rest.length)
			fail_msg("%s: a completion of %zu bytes, promised were %u", name, rest.length,
					 format_completion_bound(format, state));
		if (rest.length > 0)
			assert_true(format_is_complete(format, format_take(format, state, (char *) rest.data, rest.length)));
		byte_writer_free(&rest);
		if (n == 0)
			break;
		taken = token_bytes(allowed[next_random(&seed) % n]);
		state = format_take(format, state, taken.data, taken.length);
	}
}

static void
masks_are_what_their_tokens_are_one_by_one(void **unused)
{
	Vocabulary *vocabulary = small_vocabulary();
	MaskScratch *scratch = mask_scratch_create(vocabulary);

	(void) unused;
	for (size_t i = 0; i < LENGTH(cases); i++)
	{
		Format *format = compiled(cases[i].format);
		Masks *masks = masks_create(format, vocabulary, scratch);

		assert_non_null(masks);
		for (uint64_t seed = 1; seed <= 6; seed++)
			walk_at_random(format, masks, cases[i].format, seed * 7919 + i);
		masks_destroy(masks);
		format_destroy(format);
	}
	mask_scratch_destroy(scratch);
	vocabulary_destroy(vocabulary);
}

/* A format that takes no text at all is complete behind the line ends after a thinking, too. */
static void
no_text_is_complete_behind_line_ends(void **unused)
{
	static const char text[] = "{\"type\":\"regex\",\"pattern\":\"\"}";
	Format *format = compiled(text);
	FormatState behind = format_take(format, format_start_behind_thinking(format), "\n\n", 2);

	(void) unused;
	assert_true(format_is_complete(format, format_start(format)));
	assert_true(behind && format_is_complete(format, behind));
	assert_true(format_is_over(format, behind));
	format_destroy(format);
}

/* Every format that the documentation lists has texts. */
static void
every_format_has_texts(void **unused)
{
	static const char *const texts[][2] = {
		{"date", "2024-02-29"},
		{"time", "23:59:59.5Z"},
		{"date-time", "2024-02-29T00:00:00+01:00"},
		{"duration", "P3DT4H"},
		{"email", "a.b@c-d.example"},
		{"hostname", "xn.example.org"},
		{"ipv4", "10.0.255.1"},
		{"ipv6", "2001:db8::1"},
		{"uuid", "01234567-89ab-cdef-0123-456789abcdef"},
		{"uri", "https://a@b.example:8080/c?d=e#f"},
		{"uri-reference", "../c?d"},
		{"iri", "urn:x:y"},
		{"iri-reference", "#f"},
		{"json-pointer", "/a~1b/0"},
		{"relative-json-pointer", "1/a"},
		{"byte", "aGk="},
		{"base64", "aGk="},
		{"sql-timestamp", "2024-02-29 00:00:00"},
		{"sql-timestamptz", "2024-02-29 00:00:00+15:59"},
		{"sql-time", "00:00:00"},
		{"sql-timetz", "00:00:00Z"},
		{"sql-interval", "P1Y2M3DT4H5M6S"},
	};

	(void) unused;
	for (size_t i = 0; i < LENGTH(texts); i++)
	{
		char schema[200], text[100];
		Format *format;

		snprintf(schema, sizeof schema, "{\"type\":\"string\",\"format\":\"%s\",\"minLength\":1}", texts[i][0]);
		snprintf(text, sizeof text, "\"%s\"", texts[i][1]);
		format = compiled(schema);
		if (!accepts(format, text))
			fail_msg("%s must let %s through", schema, text);
		assert_false(accepts(format, "\" \""));
		format_destroy(format);
	}
}

/* Lengths and counts beyond what is kept apart: one letter before the limit, and at it. */
static void
long_limits_hold_to_the_letter(void **unused)
{
	static const uint32_t limits[] = {1, 15, 16, 17, 127, 128, 129, 300, 2000, 100000};

	(void) unused;
	for (size_t i = 0; i < LENGTH(limits); i++)
	{
		char text[100], *letters = malloc(limits[i] + 3);
		Format *format;
		FormatState state;

		snprintf(text, sizeof text, "{\"type\":\"string\",\"maxLength\":%u}", limits[i]);
		format = compiled(text);
		memset(letters, 'x', limits[i] + 3);
		letters[0] = '"';
		state = format_take(format, format_start(format), letters, limits[i] + 1);
		assert_true(state != 0);
		assert_true(format_take(format, state, "\"", 1) != 0);
		assert_true(format_take(format, state, "x", 1) == 0);
		format_destroy(format);
		free(letters);
	}
}

/* What completes an answer for want of tokens is written as shortly as can be. */
static void
completions_are_plain(void **unused)
{
	Format *format = compiled("{\"type\":\"string\",\"minLength\":40}");
	ByteSpan shortest = format_shortest(format);

	(void) unused;
	assert_int_equal(shortest.length, 42);
	for (size_t i = 0; i < shortest.length; i++)
		assert_true(shortest.data[i] >= ' ' && shortest.data[i] != '\\');
	format_destroy(format);
}

/* All short decimals against a set, by whole numbers. */
/* Names that the schema does not have: what is found out at each place of an answer is kept as long as the form is. */
static void
free_names_take_little_memory(void **unused)
{
	static const uint32_t least[] = {30, 1000};
	char schema[200], text[40];

	(void) unused;
	for (size_t i = 0; i < LENGTH(least); i++)
	{
		Format *format;
		FormatState state;
		size_t before;

		(void) snprintf(schema, sizeof schema,
						"{\"type\":\"object\",\"minProperties\":%u,\"additionalProperties\":{\"type\":\"integer\"}}",
						least[i]);
		format = compiled(schema);
		/* names of completions differ by a letter, not by their lengths */
		assert_true(format_shortest(format).length < least[i] * 14);
		before = format_bytes(format);
		assert_true(before < (1 << 18) + least[i] * (16 << 10));
		state = format_start(format);
		for (int name = 0; name < 200; name++)
		{
			ByteWriter forced;
			int n = snprintf(text, sizeof text, "%s\"%d a name %c\": 1", name ? ", " : "{", name * 7919 % 1000,
							 'a' + name % 26);

			for (int k = 0; k < n; k++)
			{
				byte_writer_init(&forced);
				format_forced(format, state, 64, &forced);
				byte_writer_free(&forced);
				state = format_take(format, state, text + k, 1);
				(void) format_completion_bound(format, state);
			}
			assert_true(state != 0);
		}
		assert_true(format_bytes(format) - before < 8 << 20);
		format_destroy(format);
	}
}

static void
number_sets_are_exact(void **unused)
{
	static const struct
	{
		const char *format;
		int lo, hi, step; /* in hundredths */
	} sets[] = {
		{"{\"type\":\"number\",\"minimum\":-1.05,\"maximum\":12.3}", -105, 1230, 1},
		{"{\"type\":\"number\",\"minimum\":0.5,\"exclusiveMaximum\":3,\"multipleOf\":0.25}", 50, 299, 25},
		{"{\"type\":\"integer\",\"minimum\":-12,\"maximum\":105}", -1200, 10500, 100},
		{"{\"type\":\"integer\",\"multipleOf\":7,\"maximum\":40,\"minimum\":-40}", -4000, 4000, 700},
	};

	(void) unused;
	for (size_t i = 0; i < LENGTH(sets); i++)
	{
		Format *format = compiled(sets[i].format);

		for (int value = -20000; value <= 20000; value++)
		{
			bool is_in = value >= sets[i].lo && value <= sets[i].hi && value % sets[i].step == 0;
			char text[NUMBER_TEXT_BYTES];

			decimal_write((Decimal) value * (DECIMAL_ONE / 100), text);
			if (accepts(format, text) != is_in)
				fail_msg("%s: %s", sets[i].format, text);
		}
		format_destroy(format);
	}
}

/* 400 years of days, all of them. */
static void
dates_are_those_of_the_calendar(void **unused)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	Format *format = compiled("{\"type\":\"string\",\"format\":\"date\"}");

	(void) unused;
	for (int year = 1880; year <= 2280; year += year % 100 < 4 || year % 100 > 96 ? 1 : 5)
		for (int month = 0; month <= 13; month++)
			for (int day = 0; day <= 32; day++)
			{
				bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
				bool is_day = month >= 1 && month <= 12 && day >= 1 && day <= days[month - 1] + (month == 2 && leap);
				char text[40];

				snprintf(text, sizeof text, "\"%04d-%02d-%02d\"", year, month, day);
				if (accepts(format, text) != is_day)
					fail_msg("%s", text);
			}
	format_destroy(format);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(exactly_what_the_format_says_is_let_through),
		cmocka_unit_test(what_cannot_be_kept_is_an_error_with_its_path),
		cmocka_unit_test(masks_are_what_their_tokens_are_one_by_one),
		cmocka_unit_test(no_text_is_complete_behind_line_ends),
		cmocka_unit_test(every_format_has_texts),
		cmocka_unit_test(long_limits_hold_to_the_letter),
		cmocka_unit_test(completions_are_plain),
		cmocka_unit_test(free_names_take_little_memory),
		cmocka_unit_test(number_sets_are_exact),
		cmocka_unit_test(dates_are_those_of_the_calendar),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
