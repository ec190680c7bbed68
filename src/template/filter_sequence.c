/*
 * filter_sequence.c - filters over lists, dictionaries and other iterables.
 *
 * map, select, reject and their relatives, unique, items and reverse give iterators, as Jinja's do: always true,
 * without a length, read once. Here they are computed at once; only the moment of an error can differ.
 */
#include "lexer.h"
#include "operations.h"

#include <string.h>

/* The items of an input and a list of the given kind for the result. */
static bool
open_lists(Workspace *work, Value input, ListKind kind, Value **items, size_t *n, List **result)
{
	*result = list_create(work, kind, 0);
	return *result && value_iterate(work, input, items, n);
}

bool
filter_first(const Call *call, Value *out)
{
	Value *items;
	size_t n;

	if (call->self.kind == VALUE_LIST && call->self.as.list->kind == LIST_ITERATOR)
	{
		List *list = call->self.as.list;

		*out = list->position < list->n ? list->items[list->position++] : value_undefined(NULL);
		return true;
	}
	if (!value_iterate(call->work, call->self, &items, &n))
		return false;
	*out = n > 0 ? items[0] : value_undefined(NULL);
	return true;
}

bool
filter_last(const Call *call, Value *out)
{
	Value *items;
	size_t n;

	if (call->self.kind == VALUE_LIST && call->self.as.list->kind == LIST_ITERATOR)
		return workspace_fail(call->work, STATUS_INVALID_ARGUMENT, "last does not take an iterator");
	if (!value_iterate(call->work, call->self, &items, &n))
		return false;
	*out = n > 0 ? items[n - 1] : value_undefined(NULL);
	return true;
}

/* Follow one part of a dotted path, "a" or "0". */
static bool
follow_part(Interpreter *interpreter, Value value, const Text *part, Value *out)
{
	int64_t index = 0;
	bool is_index = part->length > 0 && part->length < 18;

	for (size_t i = 0; i < part->length && is_index; i++)
	{
		is_index = part->bytes[i] >= '0' && part->bytes[i] <= '9';
		index = index * 10 + (part->bytes[i] - '0');
	}
	return get_item(interpreter, value, is_index ? value_int(index) : value_text((Text *) part), out);
}

/* What an attribute argument ("a", "a.b", 0) finds in a value; fallback (or MISSING) stands for what is undefined. */
static bool
follow_path(Interpreter *interpreter, Value value, Value path, Value fallback, Value *out)
{
	Workspace *work = interpreter->work;
	const Text *text;
	size_t position = 0;

	*out = value;
	if (path.kind == VALUE_MISSING || path.kind == VALUE_NONE)
		return true;
	if (path.kind != VALUE_TEXT)
	{
		if (!get_item(interpreter, value, path, out))
			return false;
		if (out->kind == VALUE_UNDEFINED && fallback.kind != VALUE_MISSING && fallback.kind != VALUE_NONE)
			*out = fallback;
		return true;
	}
	text = value_to_text(work, path);
	while (text && position <= text->length)
	{
		size_t dot = text_find(text, &(Text){.bytes = ".", .length = 1}, position);
		size_t end = dot == SIZE_MAX ? text->length : dot;
		Text *part = text_slice(work, text, position, end - position);

		if (!part || !follow_part(interpreter, value, part, out))
			return false;
		if (out->kind == VALUE_UNDEFINED && fallback.kind != VALUE_MISSING && fallback.kind != VALUE_NONE)
			*out = fallback;
		value = *out;
		position = end + 1;
	}
	return text != NULL;
}

bool
filter_join(const Call *call, Value *out)
{
	Workspace *work = call->work;
	TextBuilder builder = {0};
	const Value *values = call->values;
	Value *items, item;
	const Text *separator = NULL;
	Text *text;
	size_t n;

	if (!value_iterate(work, call->self, &items, &n))
		return false;
	if (values[0].kind != VALUE_MISSING && !(separator = value_to_text(work, values[0])))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!workspace_step(work, 1) || (i > 0 && separator && !builder_add_text(work, &builder, separator)) ||
			!follow_path(call->interpreter, items[i], values[1], (Value){.kind = VALUE_MISSING}, &item) ||
			!value_print(work, &builder, item))
			return false;
	text = builder_finish(work, &builder);
	*out = value_text(text);
	return text != NULL;
}

/* A new list of items. */
static bool
copy_items(Workspace *work, ListKind kind, const Value *items, size_t n, Value *out)
{
	List *list = list_create(work, kind, n);

	if (!list || !workspace_step(work, n / 8))
		return false;
	if (n)
		memcpy(list->items, items, n * sizeof *items);
	list->n = n;
	*out = value_list(list);
	return true;
}

bool
filter_list(const Call *call, Value *out)
{
	Value *items;
	size_t n;

	return value_iterate(call->work, call->self, &items, &n) && copy_items(call->work, LIST_PLAIN, items, n, out);
}

bool
filter_reverse(const Call *call, Value *out)
{
	static const Value backwards[3] = {
		{.kind = VALUE_NONE}, {.kind = VALUE_NONE}, {.kind = VALUE_INT, .as.integer = -1}};
	Value *items;
	size_t n;
	bool was_iterator = call->self.kind == VALUE_LIST && call->self.as.list->kind == LIST_ITERATOR;

	if (call->self.kind == VALUE_TEXT)
		return get_slice(call->interpreter, call->self, backwards, out);
	if (!value_iterate(call->work, call->self, &items, &n) ||
		!copy_items(call->work, was_iterator ? LIST_PLAIN : LIST_ITERATOR, items, n, out))
		return false;
	for (size_t i = 0; i < n / 2; i++)
	{
		Value item = out->as.list->items[i];

		out->as.list->items[i] = out->as.list->items[n - 1 - i];
		out->as.list->items[n - 1 - i] = item;
	}
	return true;
}

bool
filter_items(const Call *call, Value *out)
{
	List *list;

	if (call->self.kind == VALUE_DICT)
		list = dict_view(call->work, call->self.as.dict, LIST_ITERATOR);
	else if (call->self.kind == VALUE_UNDEFINED)
		list = list_create(call->work, LIST_ITERATOR, 0);
	else
		return workspace_fail(call->work, STATUS_INVALID_ARGUMENT, "items needs a dictionary, not %s",
							  value_kind_name(call->self));
	*out = value_list(list);
	return list != NULL;
}

/* A key for sorting: strings in lower case unless case counts. */
static bool
fold_key(Workspace *work, Value *key, bool case_sensitive)
{
	Text *text;

	if (key->kind != VALUE_TEXT || case_sensitive)
		return true;
	text = value_to_text(work, *key);
	text = text ? text_change_case(work, text, TEXT_LOWER) : NULL;
	*key = value_text(text);
	return text != NULL;
}

/* Items in the order of their keys, as a list. */
static bool
sort_items(Workspace *work, const Value *items, const Value *keys, size_t n, bool is_reversed, Value *out)
{
	size_t *order = workspace_alloc(work, n, sizeof *order);
	List *list = list_create(work, LIST_PLAIN, n);

	if (!order || !list)
		return false;
	for (size_t i = 0; i < n; i++)
		order[i] = i;
	if (!sort_by_keys(work, keys, order, n, is_reversed))
		return false;
	for (size_t i = 0; i < n; i++)
		list->items[i] = items[order[i]];
	list->n = n;
	*out = value_list(list);
	return true;
}

/* The keys by which items are sorted or told apart. */
static Value *
make_keys(Interpreter *interpreter, const Value *items, size_t n, Value path, bool case_sensitive)
{
	Value *keys = workspace_alloc(interpreter->work, n, sizeof *keys);

	for (size_t i = 0; keys && i < n; i++)
		if (!workspace_step(interpreter->work, 1) ||
			!follow_path(interpreter, items[i], path, (Value){.kind = VALUE_MISSING}, &keys[i]) ||
			!fold_key(interpreter->work, &keys[i], case_sensitive))
			return NULL;
	return keys;
}

bool
filter_dictsort(const Call *call, Value *out)
{
	Workspace *work = call->work;
	const Text *by = NULL;
	const Value *values = call->values;
	Value *keys;
	List *pairs;
	int64_t place;

	if (call->self.kind != VALUE_DICT)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "dictsort needs a dictionary, not %s",
							  value_kind_name(call->self));
	if (values[1].kind != VALUE_MISSING && !(by = value_to_text(work, values[1])))
		return false;
	if (by && !text_is(by, "key") && !text_is(by, "value"))
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "dictsort sorts by key or value");
	place = by && text_is(by, "value");
	pairs = dict_view(work, call->self.as.dict, LIST_ITEMS);
	if (!pairs)
		return false;
	keys = make_keys(call->interpreter, pairs->items, pairs->n, value_int(place), value_is_true(values[0]));
	return keys && sort_items(work, pairs->items, keys, pairs->n, value_is_true(values[2]), out);
}

bool
filter_sort(const Call *call, Value *out)
{
	Workspace *work = call->work;
	const Value *values = call->values;
	Value *items, *keys;
	size_t n;

	if (!value_iterate(work, call->self, &items, &n))
		return false;
	if (values[2].kind == VALUE_TEXT)
	{
		const Text *path = value_to_text(work, values[2]);

		if (!path)
			return false;
		if (path->length && memchr(path->bytes, ',', path->length))
			return workspace_fail(work, STATUS_UNSUPPORTED, "sort by several attributes is not supported");
	}
	keys = make_keys(call->interpreter, items, n, values[2], value_is_true(values[1]));
	/* Jinja's key is a list of its attributes' values: items of it that are equal need no order, so {} and {} can be
	 * sorted */
	for (size_t i = 0; keys && i < n; i++)
	{
		List *list = list_create(work, LIST_PLAIN, 1);

		if (!list)
			return false;
		list->items[list->n++] = keys[i];
		keys[i] = (Value){.kind = VALUE_LIST, .as.list = list};
	}
	return keys && sort_items(work, items, keys, n, value_is_true(values[0]), out);
}

bool
filter_unique(const Call *call, Value *out)
{
	Workspace *work = call->work;
	const Value *values = call->values;
	Value *items, *keys, *seen_before;
	List *result;
	Dict *seen = dict_create(work, 0);
	size_t n;

	if (!seen || !open_lists(work, call->self, LIST_ITERATOR, &items, &n, &result))
		return false;
	keys = make_keys(call->interpreter, items, n, values[1], value_is_true(values[0]));
	for (size_t i = 0; keys && i < n; i++)
	{
		if (!dict_find(work, seen, keys[i], &seen_before))
			return false;
		if (!seen_before && (!dict_append(work, seen, keys[i], value_none()) || !list_push(work, result, items[i])))
			return false;
	}
	*out = value_list(result);
	return keys != NULL;
}

/* min and max: the first of the smallest (largest) items. */
bool
filter_extreme(const Call *call, Value *out)
{
	Workspace *work = call->work;
	const Value *values = call->values;
	Value *items, *keys;
	size_t n, best = 0;

	if (!value_iterate(work, call->self, &items, &n))
		return false;
	keys = make_keys(call->interpreter, items, n, values[1], value_is_true(values[0]));
	if (!keys)
		return false;
	for (size_t i = 1; i < n; i++)
	{
		int order;

		if (!value_compare(work, keys[i], keys[best], &order))
			return false;
		if (order == call->operation->variant)
			best = i;
	}
	*out = n > 0 ? items[best] : value_undefined(NULL);
	return true;
}

bool
filter_sum(const Call *call, Value *out)
{
	Workspace *work = call->work;
	const Value *values = call->values;
	Value *items, item;
	size_t n;

	if (!value_iterate(work, call->self, &items, &n))
		return false;
	*out = values[1].kind == VALUE_MISSING ? value_int(0) : values[1];
	if (out->kind == VALUE_TEXT)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "sum does not add strings");
	for (size_t i = 0; i < n; i++)
		if (!workspace_step(work, 1) ||
			!follow_path(call->interpreter, items[i], values[0], (Value){.kind = VALUE_MISSING}, &item) ||
			!compute(call->interpreter, TOKEN_ADD, *out, item, out))
			return false;
	return true;
}

/* The arguments that are left for the filter or test that map or select names, without the first n_taken. */
static Arguments
rest_of(const Arguments *arguments, size_t n_taken)
{
	Arguments rest = *arguments;

	/* without any there is no array either */
	if (n_taken > 0)
		rest.values += n_taken;
	rest.n_values -= n_taken;
	return rest;
}

/* The place of the filter or test that an argument names. */
static bool
find_by_name(Workspace *work, Value name, const char *what, OperationKind kind, int *place)
{
	const Text *text;

	if (name.kind != VALUE_TEXT)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "the name of a %s is a string, not %s", what,
							  value_kind_name(name));
	text = value_to_text(work, name);
	if (!text)
		return false;
	*place = operation_find(kind, text->bytes, text->length);
	if (*place < 0)
		return workspace_fail(work, STATUS_UNSUPPORTED, "the %s %.*s is not supported", what,
							  (int) (text->length < 40 ? text->length : 40), text->bytes);
	return true;
}

/* map(attribute=…, default=…) */
static bool
map_attribute(Interpreter *interpreter, const Value *items, size_t n, const Arguments *arguments, List *result)
{
	static const char *const names[] = {"", "attribute", "default"};
	Value values[3], value;

	if (!arguments_bind(interpreter->work, arguments, "the filter map", names, 3, values))
		return false;
	if (values[1].kind == VALUE_MISSING)
		return workspace_fail(interpreter->work, STATUS_INVALID_ARGUMENT, "map needs a filter or an attribute");
	for (size_t i = 0; i < n; i++)
		if (!workspace_step(interpreter->work, 1) ||
			!follow_path(interpreter, items[i], values[1], values[2], &value) ||
			!list_push(interpreter->work, result, value))
			return false;
	return true;
}

bool
filter_map(const Call *call, Value *out)
{
	Workspace *work = call->work;
	List *result = list_create(work, LIST_ITERATOR, 0);
	Arguments rest;
	Value *items, value;
	size_t n;
	int filter;

	if (!result)
		return false;
	*out = value_list(result);
	if (!value_is_true(call->self))
		return true;
	if (!value_iterate(work, call->self, &items, &n))
		return false;
	if (call->arguments->n_values == 0)
		return map_attribute(call->interpreter, items, n, call->arguments, result);
	if (!find_by_name(work, call->arguments->values[0], "filter", OPERATION_FILTER, &filter))
		return false;
	rest = rest_of(call->arguments, 1);
	for (size_t i = 0; i < n; i++)
		if (!operation_apply(call->interpreter, filter, items[i], &rest, &value) || !list_push(work, result, value))
			return false;
	return true;
}

/* The items whose attribute (or self) passes a test, or fails it. */
bool
filter_choose(const Call *call, Value *out)
{
	const Arguments *arguments = call->arguments;
	bool by_attribute = call->operation->variant & CHOOSE_BY_ATTRIBUTE;
	bool wanted = !(call->operation->variant & CHOOSE_FAILING);
	Workspace *work = call->work;
	List *result = list_create(work, LIST_ITERATOR, 0);
	size_t n, n_taken = by_attribute ? 1 : 0;
	Value path = {.kind = VALUE_MISSING};
	Value *items, value;
	Arguments rest;
	int test = -1;

	if (!result)
		return false;
	*out = value_list(result);
	if (!value_is_true(call->self))
		return true;
	if (by_attribute && arguments->n_values == 0)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "selectattr needs the name of an attribute");
	if (by_attribute)
		path = arguments->values[0];
	if (arguments->n_values > n_taken && !find_by_name(work, arguments->values[n_taken], "test", OPERATION_TEST, &test))
		return false;
	rest = rest_of(arguments, n_taken + (test >= 0));
	if (!value_iterate(work, call->self, &items, &n))
		return false;
	for (size_t i = 0; i < n; i++)
	{
		bool passes;

		if (!workspace_step(work, 1) ||
			!follow_path(call->interpreter, items[i], path, (Value){.kind = VALUE_MISSING}, &value))
			return false;
		if (test >= 0 && !operation_apply(call->interpreter, test, value, &rest, &value))
			return false;
		passes = value_is_true(value);
		if (passes == wanted && !list_push(work, result, items[i]))
			return false;
	}
	return true;
}
