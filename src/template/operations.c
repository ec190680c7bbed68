/*
 * operations.c - the table of what a template can name and apply to a value; see operations.h.
 *
 * The rows of a kind stand together and in the order of their names, so that one is found by halving (a test holds it).
 */
#include "operations.h"

#include <string.h>

enum
{
	OF_UNDEFINED = OF(VALUE_UNDEFINED),
	OF_NONE = OF(VALUE_NONE),
	OF_BOOL = OF(VALUE_BOOL),
	OF_INT = OF(VALUE_INT),
	OF_FLOAT = OF(VALUE_FLOAT),
	OF_TEXT = OF(VALUE_TEXT),
	OF_DICT = OF(VALUE_DICT),
	OF_LOOP = OF(VALUE_LOOP),
	OF_MACRO = OF(VALUE_MACRO),
	OF_FUNCTION = OF(VALUE_FUNCTION),
	OF_METHOD = OF(VALUE_METHOD),
	OF_LIST = OF_SEQUENCE(LIST_PLAIN),
	OF_TUPLE = OF_SEQUENCE(LIST_TUPLE),
	OF_RANGE = OF_SEQUENCE(LIST_RANGE),
	OF_LISTS = OF_LIST | OF_TUPLE | OF_RANGE | OF_SEQUENCE(LIST_KEYS) | OF_SEQUENCE(LIST_VALUES) |
			   OF_SEQUENCE(LIST_ITEMS) | OF_SEQUENCE(LIST_ITERATOR),
};

/* Rows: what is not told is zero. CHANGES and PYTHONS: methods that are undefined, and that are not supported. */
#define FILTER(name, what, apply, variant, n, ...)                                                                     \
	{                                                                                                                  \
		name, OPERATION_FILTER, 0, what, apply, variant, n,                                                            \
		{                                                                                                              \
			__VA_ARGS__                                                                                                \
		}                                                                                                              \
	}
#define FUNCTION(name, apply, variant)                                                                                 \
	{                                                                                                                  \
		name, OPERATION_FUNCTION, 0, name, apply, variant, ANY_ARGUMENTS,                                              \
		{                                                                                                              \
			NULL                                                                                                       \
		}                                                                                                              \
	}
#define MEMBER(name, apply, variant)                                                                                   \
	{                                                                                                                  \
		name, OPERATION_LOOP_MEMBER, 0, name, apply, variant, 0,                                                       \
		{                                                                                                              \
			NULL                                                                                                       \
		}                                                                                                              \
	}
#define METHOD(name, values, what, apply, variant, n, ...)                                                             \
	{                                                                                                                  \
		name, OPERATION_METHOD, values, what, apply, variant, n,                                                       \
		{                                                                                                              \
			__VA_ARGS__                                                                                                \
		}                                                                                                              \
	}
#define CHANGES(name, values)                                                                                          \
	{                                                                                                                  \
		name, OPERATION_METHOD, values, name, NULL, 0, ANY_ARGUMENTS,                                                  \
		{                                                                                                              \
			NULL                                                                                                       \
		}                                                                                                              \
	}
#define PYTHONS(name, values)                                                                                          \
	{                                                                                                                  \
		name, OPERATION_METHOD, values, name, operation_unsupported, 0, ANY_ARGUMENTS,                                 \
		{                                                                                                              \
			NULL                                                                                                       \
		}                                                                                                              \
	}
#define TEST(name, values, apply, variant, n)                                                                          \
	{                                                                                                                  \
		name, OPERATION_TEST, values, "the test " name, apply, variant, n,                                             \
		{                                                                                                              \
			NULL                                                                                                       \
		}                                                                                                              \
	}

/* clang-format off */
static const Operation operations[] = {
	/* value | name(arguments) */
	FILTER("abs", "the filter abs", filter_abs, 0, 0, NULL),
	FILTER("capitalize", "the filter", filter_case, TEXT_CAPITALIZE, 0, NULL),
	FILTER("count", "the filter length", filter_length, 0, 0, NULL),
	FILTER("d", "the filter default", filter_default, 0, 2, "default_value", "boolean"),
	FILTER("default", "the filter default", filter_default, 0, 2, "default_value", "boolean"),
	FILTER("dictsort", "the filter dictsort", filter_dictsort, 0, 3, "case_sensitive", "by", "reverse"),
	FILTER("e", "the filter escape", filter_escape, 0, 0, NULL),
	FILTER("escape", "the filter escape", filter_escape, 0, 0, NULL),
	FILTER("first", "the filter first", filter_first, 0, 0, NULL),
	FILTER("float", "the filter float", filter_float, 0, 1, "default"),
	FILTER("indent", "the filter indent", filter_indent, 0, 3, "width", "first", "blank"),
	FILTER("int", "the filter int", filter_int, 0, 2, "default", "base"),
	FILTER("items", "the filter items", filter_items, 0, 0, NULL),
	FILTER("join", "the filter join", filter_join, 0, 2, "d", "attribute"),
	FILTER("last", "the filter last", filter_last, 0, 0, NULL),
	FILTER("length", "the filter length", filter_length, 0, 0, NULL),
	FILTER("list", "the filter list", filter_list, 0, 0, NULL),
	FILTER("lower", "the filter", filter_case, TEXT_LOWER, 0, NULL),
	FILTER("map", "the filter map", filter_map, 0, ANY_ARGUMENTS, NULL),
	FILTER("max", "the filter", filter_extreme, 1, 2, "case_sensitive", "attribute"),
	FILTER("min", "the filter", filter_extreme, -1, 2, "case_sensitive", "attribute"),
	FILTER("reject", "the filter reject", filter_choose, CHOOSE_FAILING, ANY_ARGUMENTS, NULL),
	FILTER("rejectattr", "the filter rejectattr", filter_choose, CHOOSE_BY_ATTRIBUTE | CHOOSE_FAILING, ANY_ARGUMENTS, NULL),
	FILTER("replace", "the filter replace", filter_replace, 0, 3, "old", "new", "count"),
	FILTER("reverse", "the filter reverse", filter_reverse, 0, 0, NULL),
	FILTER("round", "the filter round", filter_round, 0, 2, "precision", "method"),
	FILTER("safe", "the filter safe", filter_safe, 0, 0, NULL),
	FILTER("select", "the filter select", filter_choose, 0, ANY_ARGUMENTS, NULL),
	FILTER("selectattr", "the filter selectattr", filter_choose, CHOOSE_BY_ATTRIBUTE, ANY_ARGUMENTS, NULL),
	FILTER("sort", "the filter sort", filter_sort, 0, 3, "reverse", "case_sensitive", "attribute"),
	FILTER("string", "the filter string", filter_string, 0, 0, NULL),
	FILTER("sum", "the filter sum", filter_sum, 0, 2, "attribute", "start"),
	FILTER("title", "the filter", filter_case, TEXT_TITLE_WORDS, 0, NULL),
	FILTER("tojson", "the filter tojson", filter_tojson, 0, 4, "ensure_ascii", "indent", "separators", "sort_keys"),
	FILTER("trim", "the filter trim", filter_trim, 0, 1, "chars"),
	FILTER("unique", "the filter unique", filter_unique, 0, 2, "case_sensitive", "attribute"),
	FILTER("upper", "the filter", filter_case, TEXT_UPPER, 0, NULL),

	/* name(arguments) */
	FUNCTION("cycler", operation_unsupported, 0),
	FUNCTION("dict", function_dict, VALUE_DICT),
	FUNCTION("joiner", operation_unsupported, 0),
	FUNCTION("lipsum", operation_unsupported, 0),
	FUNCTION("namespace", function_dict, VALUE_NAMESPACE),
	FUNCTION("raise_exception", function_raise, 0),
	FUNCTION("range", function_range, 0),
	FUNCTION("strftime_now", function_strftime, 0),

	/* loop.name */
	MEMBER("depth", loop_depth, 1),
	MEMBER("depth0", loop_depth, 0),
	MEMBER("first", loop_first, 0),
	MEMBER("index", loop_place, 1),
	MEMBER("index0", loop_place, 0),
	MEMBER("last", loop_last, 0),
	MEMBER("length", loop_length, 0),
	MEMBER("nextitem", loop_next, 0),
	MEMBER("previtem", loop_previous, 0),
	MEMBER("revindex", loop_countdown, 1),
	MEMBER("revindex0", loop_countdown, 0),

	/* value.name(arguments) */
	CHANGES("append", OF_LIST),
	METHOD("capitalize", OF_TEXT, "the method", method_text_case, TEXT_CAPITALIZE, 0, NULL),
	PYTHONS("casefold", OF_TEXT),
	PYTHONS("center", OF_TEXT),
	PYTHONS("changed", OF_LOOP),
	CHANGES("clear", OF_LIST | OF_DICT),
	METHOD("copy", OF_LIST | OF_DICT, "the method copy", method_copy, 0, 0, NULL),
	METHOD("count", OF_TEXT, "count", method_text_count, 0, 1, ""),
	METHOD("count", OF_LIST | OF_TUPLE, "the method count", method_list_count, 0, ANY_ARGUMENTS, NULL),
	METHOD("cycle", OF_LOOP, "the method cycle", method_cycle, 0, ANY_ARGUMENTS, NULL),
	PYTHONS("encode", OF_TEXT),
	METHOD("endswith", OF_TEXT, "the method endswith", method_text_affix, true, ANY_ARGUMENTS, NULL),
	PYTHONS("expandtabs", OF_TEXT),
	CHANGES("extend", OF_LIST),
	METHOD("find", OF_TEXT, "find", method_text_find, 0, 1, ""),
	PYTHONS("format", OF_TEXT),
	PYTHONS("format_map", OF_TEXT),
	PYTHONS("fromkeys", OF_DICT),
	METHOD("get", OF_DICT, "the method get", method_get, 0, 2, "", ""),
	METHOD("index", OF_TEXT, "find", method_text_index, 0, 1, ""),
	METHOD("index", OF_LIST | OF_TUPLE, "the method index", method_list_index, 0, ANY_ARGUMENTS, NULL),
	CHANGES("insert", OF_LIST),
	PYTHONS("isalnum", OF_TEXT),
	PYTHONS("isalpha", OF_TEXT),
	PYTHONS("isascii", OF_TEXT),
	PYTHONS("isdecimal", OF_TEXT),
	PYTHONS("isdigit", OF_TEXT),
	PYTHONS("isidentifier", OF_TEXT),
	PYTHONS("islower", OF_TEXT),
	PYTHONS("isnumeric", OF_TEXT),
	PYTHONS("isprintable", OF_TEXT),
	PYTHONS("isspace", OF_TEXT),
	PYTHONS("istitle", OF_TEXT),
	PYTHONS("isupper", OF_TEXT),
	METHOD("items", OF_DICT, "the method", method_view, LIST_ITEMS, 0, NULL),
	METHOD("join", OF_TEXT, "the method join", method_text_join, 0, ANY_ARGUMENTS, NULL),
	METHOD("keys", OF_DICT, "the method", method_view, LIST_KEYS, 0, NULL),
	PYTHONS("ljust", OF_TEXT),
	METHOD("lower", OF_TEXT, "the method", method_text_case, TEXT_LOWER, 0, NULL),
	METHOD("lstrip", OF_TEXT, "strip", method_text_strip, STRIP_LEFT, 1, ""),
	PYTHONS("maketrans", OF_TEXT),
	PYTHONS("partition", OF_TEXT),
	CHANGES("pop", OF_LIST | OF_DICT),
	CHANGES("popitem", OF_DICT),
	CHANGES("remove", OF_LIST),
	METHOD("removeprefix", OF_TEXT, "removeprefix", method_text_remove_affix, false, 1, ""),
	METHOD("removesuffix", OF_TEXT, "removeprefix", method_text_remove_affix, true, 1, ""),
	METHOD("replace", OF_TEXT, "replace", method_text_replace, 0, ANY_ARGUMENTS, NULL),
	CHANGES("reverse", OF_LIST),
	METHOD("rfind", OF_TEXT, "rfind", method_text_rfind, 0, 1, ""),
	PYTHONS("rindex", OF_TEXT),
	PYTHONS("rjust", OF_TEXT),
	PYTHONS("rpartition", OF_TEXT),
	PYTHONS("rsplit", OF_TEXT),
	METHOD("rstrip", OF_TEXT, "strip", method_text_strip, STRIP_RIGHT, 1, ""),
	CHANGES("setdefault", OF_DICT),
	CHANGES("sort", OF_LIST),
	METHOD("split", OF_TEXT, "the method split", method_text_split, 0, 2, "sep", "maxsplit"),
	PYTHONS("splitlines", OF_TEXT),
	METHOD("startswith", OF_TEXT, "the method startswith", method_text_affix, false, ANY_ARGUMENTS, NULL),
	METHOD("strip", OF_TEXT, "strip", method_text_strip, STRIP_LEFT | STRIP_RIGHT, 1, ""),
	PYTHONS("swapcase", OF_TEXT),
	METHOD("title", OF_TEXT, "the method", method_text_case, TEXT_TITLE, 0, NULL),
	PYTHONS("translate", OF_TEXT),
	CHANGES("update", OF_DICT),
	METHOD("upper", OF_TEXT, "the method", method_text_case, TEXT_UPPER, 0, NULL),
	METHOD("values", OF_DICT, "the method", method_view, LIST_VALUES, 0, NULL),
	PYTHONS("zfill", OF_TEXT),

	/* value is name(arguments) */
	TEST("!=", 0, test_equal, false, 1),
	TEST("<", 0, test_order, 0, 1),
	TEST("<=", 0, test_order, ORDER_OR_EQUAL, 1),
	TEST("==", 0, test_equal, true, 1),
	TEST(">", 0, test_order, ORDER_GREATER, 1),
	TEST(">=", 0, test_order, ORDER_GREATER | ORDER_OR_EQUAL, 1),
	TEST("boolean", OF_BOOL, test_type, 0, 0),
	TEST("callable", OF_MACRO | OF_FUNCTION | OF_METHOD | OF_LOOP | OF_UNDEFINED, test_type, 0, 0),
	TEST("defined", ~OF_UNDEFINED, test_type, 0, 0),
	TEST("divisibleby", 0, test_divisible, 0, 1),
	TEST("eq", 0, test_equal, true, 1),
	TEST("equalto", 0, test_equal, true, 1),
	TEST("even", 0, test_parity, 0, 0),
	TEST("false", 0, test_truth, false, 0),
	TEST("filter", 0, test_name, OPERATION_FILTER, 0),
	TEST("float", OF_FLOAT, test_type, 0, 0),
	TEST("ge", 0, test_order, ORDER_GREATER | ORDER_OR_EQUAL, 1),
	TEST("greaterthan", 0, test_order, ORDER_GREATER, 1),
	TEST("gt", 0, test_order, ORDER_GREATER, 1),
	TEST("in", 0, test_in, 0, 1),
	TEST("integer", OF_INT, test_type, 0, 0),
	TEST("iterable", OF_TEXT | OF_LISTS | OF_DICT | OF_LOOP | OF_UNDEFINED, test_type, 0, 0),
	TEST("le", 0, test_order, ORDER_OR_EQUAL, 1),
	TEST("lessthan", 0, test_order, 0, 1),
	TEST("lower", 0, test_case, TEXT_LOWER, 0),
	TEST("lt", 0, test_order, 0, 1),
	TEST("mapping", OF_DICT, test_type, 0, 0),
	TEST("ne", 0, test_equal, false, 1),
	TEST("none", OF_NONE, test_type, 0, 0),
	TEST("number", OF_BOOL | OF_INT | OF_FLOAT, test_type, 0, 0),
	TEST("odd", 0, test_parity, 1, 0),
	TEST("sameas", 0, test_same, 0, 1),
	TEST("sequence", OF_TEXT | OF_LIST | OF_TUPLE | OF_RANGE | OF_DICT | OF_UNDEFINED, test_type, 0, 0),
	TEST("string", OF_TEXT, test_type, 0, 0),
	TEST("test", 0, test_name, OPERATION_TEST, 0),
	TEST("true", 0, test_truth, true, 0),
	TEST("undefined", OF_UNDEFINED, test_type, 0, 0),
	TEST("upper", 0, test_case, TEXT_UPPER, 0),
};
/* clang-format on */

#define N_OPERATIONS ((int) (sizeof operations / sizeof operations[0]))

const Operation *
operation_at(int place)
{
	return place >= 0 && place < N_OPERATIONS ? &operations[place] : NULL;
}

/* Is the row before (negative), at or behind the kind and name? */
static int
compare_row(const Operation *row, OperationKind kind, const char *name, size_t length)
{
	size_t row_length = strlen(row->name);
	int order;

	if (row->kind != kind)
		return row->kind < kind ? -1 : 1;
	order = memcmp(row->name, name, row_length < length ? row_length : length);
	return order ? order : (row_length > length) - (row_length < length);
}

int
operation_find(OperationKind kind, const char *name, size_t length)
{
	int first = 0, end = N_OPERATIONS;

	while (first < end)
	{
		int middle = (first + end) / 2;

		if (compare_row(&operations[middle], kind, name, length) < 0)
			first = middle + 1;
		else
			end = middle;
	}
	return first < N_OPERATIONS && compare_row(&operations[first], kind, name, length) == 0 ? first : -1;
}

uint32_t
value_kind_bit(Value value)
{
	return value.kind == VALUE_LIST ? OF_SEQUENCE(value.as.list->kind) : OF(value.kind);
}

int
operation_find_method(Value self, const Text *name)
{
	int place = operation_find(OPERATION_METHOD, name->bytes, name->length);

	/* strings and lists have methods of one name */
	while (place >= 0 && !(operations[place].values & value_kind_bit(self)))
		if (++place == N_OPERATIONS || compare_row(&operations[place], OPERATION_METHOD, name->bytes, name->length))
			place = -1;
	return place;
}

bool
operation_is_unsupported(int place)
{
	return place >= 0 && operations[place].apply == operation_unsupported;
}

bool
operation_unsupported(const Call *call, Value *out)
{
	*out = value_undefined(NULL);
	return workspace_fail(call->work, STATUS_UNSUPPORTED, "%s is not supported", call->operation->name);
}

/* The call's arguments as its operation takes them. */
static bool
sort_arguments(Call *call)
{
	const Operation *operation = call->operation;
	const Arguments *arguments = call->arguments;
	const int n = operation->n_parameters;

	if (n == ANY_ARGUMENTS)
		return true;
	if (operation->kind != OPERATION_TEST)
		return arguments_bind(call->work, arguments, operation->what, operation->parameters, (size_t) n, call->values);
	if (arguments->n_values != (size_t) n || arguments->n_named)
		return workspace_fail(call->work, STATUS_INVALID_ARGUMENT, "%s takes %d arguments", operation->what, n);
	for (int i = 0; i < n; i++)
		call->values[i] = arguments->values[i];
	return true;
}

bool
operation_apply(Interpreter *interpreter, int place, Value self, const Arguments *arguments, Value *out)
{
	Workspace *work = interpreter->work;
	Call call = {interpreter, work, &operations[place], self, arguments, {{0}}};
	bool is_filter = call.operation->kind == OPERATION_FILTER, ok;

	if (call.operation->kind == OPERATION_METHOD && self.kind == VALUE_TEXT && !text_flatten(work, self.as.text))
		return false;
	/* filters can be nested without nodes: map('map', …) */
	if (is_filter && (!workspace_step(work, 1) || !workspace_enter(work)))
		return false;
	ok = sort_arguments(&call) && call.operation->apply(&call, out);
	if (is_filter)
		workspace_leave(work);
	return ok;
}

bool
give_text(Text *text, Value *out)
{
	*out = value_text(text);
	return text != NULL;
}
