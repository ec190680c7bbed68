/*
 * value_tests.c - what stands behind "is" in a template: defined, none, string, mapping, divisibleby …
 */
#include "interpreter.h"
#include "lexer.h"

#include <string.h>
#include <utf8proc.h>

typedef enum TestKind
{
	TEST_DEFINED,
	TEST_UNDEFINED,
	TEST_NONE,
	TEST_BOOLEAN,
	TEST_TRUE,
	TEST_FALSE,
	TEST_INTEGER,
	TEST_FLOAT,
	TEST_NUMBER,
	TEST_STRING,
	TEST_MAPPING,
	TEST_SEQUENCE,
	TEST_ITERABLE,
	TEST_CALLABLE,
	TEST_ODD,
	TEST_EVEN,
	TEST_LOWER,
	TEST_UPPER,
	TEST_FILTER,
	TEST_TEST,
	/* with one argument */
	TEST_DIVISIBLE,
	TEST_EQUAL,
	TEST_NOT_EQUAL,
	TEST_LESS,
	TEST_LESS_EQUAL,
	TEST_GREATER,
	TEST_GREATER_EQUAL,
	TEST_IN,
	TEST_SAME,
} TestKind;

static const struct
{
	const char *name;
	TestKind kind;
} tests[] = {
	{"defined", TEST_DEFINED},
	{"undefined", TEST_UNDEFINED},
	{"none", TEST_NONE},
	{"boolean", TEST_BOOLEAN},
	{"true", TEST_TRUE},
	{"false", TEST_FALSE},
	{"integer", TEST_INTEGER},
	{"float", TEST_FLOAT},
	{"number", TEST_NUMBER},
	{"string", TEST_STRING},
	{"mapping", TEST_MAPPING},
	{"sequence", TEST_SEQUENCE},
	{"iterable", TEST_ITERABLE},
	{"callable", TEST_CALLABLE},
	{"odd", TEST_ODD},
	{"even", TEST_EVEN},
	{"lower", TEST_LOWER},
	{"upper", TEST_UPPER},
	{"filter", TEST_FILTER},
	{"test", TEST_TEST},
	{"divisibleby", TEST_DIVISIBLE},
	{"eq", TEST_EQUAL},
	{"==", TEST_EQUAL},
	{"equalto", TEST_EQUAL},
	{"ne", TEST_NOT_EQUAL},
	{"!=", TEST_NOT_EQUAL},
	{"lt", TEST_LESS},
	{"<", TEST_LESS},
	{"lessthan", TEST_LESS},
	{"le", TEST_LESS_EQUAL},
	{"<=", TEST_LESS_EQUAL},
	{"gt", TEST_GREATER},
	{">", TEST_GREATER},
	{"greaterthan", TEST_GREATER},
	{"ge", TEST_GREATER_EQUAL},
	{">=", TEST_GREATER_EQUAL},
	{"in", TEST_IN},
	{"sameas", TEST_SAME},
};

int
test_find(const char *name, size_t length)
{
	for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++)
		if (strlen(tests[i].name) == length && memcmp(tests[i].name, name, length) == 0)
			return (int) i;
	return -1;
}

/* Tests of the type alone. */
static bool
has_type(TestKind kind, Value value)
{
	bool is_list = value.kind == VALUE_LIST;

	switch (kind)
	{
		case TEST_DEFINED:
			return value.kind != VALUE_UNDEFINED;
		case TEST_UNDEFINED:
			return value.kind == VALUE_UNDEFINED;
		case TEST_NONE:
			return value.kind == VALUE_NONE;
		case TEST_BOOLEAN:
			return value.kind == VALUE_BOOL;
		case TEST_TRUE:
			return value.kind == VALUE_BOOL && value.as.boolean;
		case TEST_FALSE:
			return value.kind == VALUE_BOOL && !value.as.boolean;
		case TEST_INTEGER:
			return value.kind == VALUE_INT;
		case TEST_FLOAT:
			return value.kind == VALUE_FLOAT;
		case TEST_NUMBER:
			return value_is_number(value);
		case TEST_STRING:
			return value.kind == VALUE_TEXT;
		case TEST_MAPPING:
			return value.kind == VALUE_DICT;
		case TEST_SEQUENCE:
			return value.kind == VALUE_TEXT || value.kind == VALUE_DICT || value.kind == VALUE_UNDEFINED ||
				   (is_list && value.as.list->kind <= LIST_RANGE);
		case TEST_ITERABLE:
			return value.kind == VALUE_TEXT || value.kind == VALUE_DICT || value.kind == VALUE_UNDEFINED || is_list ||
				   value.kind == VALUE_LOOP;
		default:
			return value.kind == VALUE_MACRO || value.kind == VALUE_FUNCTION || value.kind == VALUE_METHOD ||
				   value.kind == VALUE_UNDEFINED || value.kind == VALUE_LOOP;
	}
}

/* The remainder of a division, for odd, even and divisibleby. */
static bool
remainder_is(Interpreter *interpreter, Value value, Value divisor, double wanted, bool *out)
{
	Value remainder;

	if (value.kind == VALUE_TEXT)
		return workspace_fail(interpreter->work, STATUS_INVALID_ARGUMENT, "a string has no remainder");
	if (!compute(interpreter, TOKEN_MODULO, value, divisor, &remainder))
		return false;
	*out = value_number(remainder) == wanted;
	return true;
}

/* str(value).islower() or isupper(). */
static bool
has_case(Interpreter *interpreter, Value value, bool upper, bool *out)
{
	const Text *text = value_to_text(interpreter->work, value);
	size_t n_bytes;

	*out = false;
	if (!text || !workspace_step(interpreter->work, text->length / 4))
		return false;
	for (size_t i = 0; i < text->length; i += n_bytes)
	{
		utf8proc_category_t category =
			utf8proc_category((utf8proc_int32_t) text_character(text->bytes, text->length, i, &n_bytes));

		if (category == UTF8PROC_CATEGORY_LT || category == (upper ? UTF8PROC_CATEGORY_LL : UTF8PROC_CATEGORY_LU))
		{
			*out = false;
			return true;
		}
		if (category == (upper ? UTF8PROC_CATEGORY_LU : UTF8PROC_CATEGORY_LL))
			*out = true;
	}
	return true;
}

/* Is the value the name of a filter or test? */
static bool
names_known(Interpreter *interpreter, Value value, int (*find)(const char *, size_t), bool *out)
{
	*out = false;
	if (value.kind != VALUE_TEXT)
		return true;
	if (!text_flatten(interpreter->work, value.as.text))
		return false;
	*out = find(value.as.text->bytes, value.as.text->length) >= 0;
	return true;
}

/* Are two values one object? Answered for what has no identity of its own; the rest is the same when it is equal. */
static bool
is_same(Interpreter *interpreter, Value left, Value right, bool *out)
{
	*out = false;
	if (left.kind != right.kind)
		return true;
	if (left.kind == VALUE_LIST || left.kind == VALUE_DICT)
	{
		*out = left.as.list == right.as.list;
		return true;
	}
	return value_equal(interpreter->work, left, right, out);
}

/* Tests by order. */
static bool
test_order(Interpreter *interpreter, TestKind kind, Value left, Value right, bool *out)
{
	int order;

	if (!value_compare(interpreter->work, left, right, &order))
		return false;
	if (kind == TEST_LESS || kind == TEST_LESS_EQUAL)
		*out = order == -1 || (order == 0 && kind == TEST_LESS_EQUAL);
	else
		*out = order == 1 || (order == 0 && kind == TEST_GREATER_EQUAL);
	return true;
}

/* Tests with an argument. */
static bool
apply_with_argument(Interpreter *interpreter, TestKind kind, Value input, Value argument, bool *out)
{
	switch (kind)
	{
		case TEST_DIVISIBLE:
			return remainder_is(interpreter, input, argument, 0, out);
		case TEST_EQUAL:
			return value_equal(interpreter->work, input, argument, out);
		case TEST_NOT_EQUAL:
			if (!value_equal(interpreter->work, input, argument, out))
				return false;
			*out = !*out;
			return true;
		case TEST_IN:
			return value_contains(interpreter->work, argument, input, out);
		case TEST_SAME:
			return is_same(interpreter, input, argument, out);
		default:
			return test_order(interpreter, kind, input, argument, out);
	}
}

bool
test_apply(Interpreter *interpreter, int test, Value input, const Arguments *arguments, bool *out)
{
	TestKind kind = tests[test].kind;
	size_t n_wanted = kind >= TEST_DIVISIBLE ? 1 : 0;

	if (arguments->n_values != n_wanted || arguments->n_named)
		return workspace_fail(interpreter->work, STATUS_INVALID_ARGUMENT, "the test %s takes %zu arguments",
							  tests[test].name, n_wanted);
	if (n_wanted)
		return apply_with_argument(interpreter, kind, input, arguments->values[0], out);
	switch (kind)
	{
		case TEST_ODD:
			return remainder_is(interpreter, input, value_int(2), 1, out);
		case TEST_EVEN:
			return remainder_is(interpreter, input, value_int(2), 0, out);
		case TEST_LOWER:
		case TEST_UPPER:
			return has_case(interpreter, input, kind == TEST_UPPER, out);
		case TEST_FILTER:
			return names_known(interpreter, input, filter_find, out);
		case TEST_TEST:
			return names_known(interpreter, input, test_find, out);
		default:
			*out = has_type(kind, input);
			return true;
	}
}
