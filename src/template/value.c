/*
 * value.c - lists, dictionaries, and Python's rules for truth, equality, order and membership; see value.h.
 */
#include "value.h"

#include <math.h>
#include <string.h>

/* The sign that value_compare gives for numbers that have no order (NaN). */
#define UNORDERED 2

Value
value_undefined(const Text *name)
{
	return (Value){.kind = VALUE_UNDEFINED, .as.missing = name};
}

Value
value_none(void)
{
	return (Value){.kind = VALUE_NONE};
}

Value
value_bool(bool boolean)
{
	return (Value){.kind = VALUE_BOOL, .as.boolean = boolean};
}

Value
value_int(int64_t integer)
{
	return (Value){.kind = VALUE_INT, .as.integer = integer};
}

Value
value_float(double number)
{
	return (Value){.kind = VALUE_FLOAT, .as.number = number};
}

Value
value_text(Text *text)
{
	return (Value){.kind = VALUE_TEXT, .as.text = text};
}

Value
value_list(List *list)
{
	return (Value){.kind = VALUE_LIST, .as.list = list};
}

List *
list_create(Workspace *work, ListKind kind, size_t capacity)
{
	List *list = workspace_alloc(work, 1, sizeof *list);

	if (!list)
		return NULL;
	list->kind = kind;
	if (capacity)
	{
		list->items = workspace_alloc(work, capacity, sizeof *list->items);
		if (!list->items)
			return NULL;
		list->capacity = capacity;
	}
	return list;
}

bool
list_push(Workspace *work, List *list, Value item)
{
	if (list->n == list->capacity)
	{
		size_t capacity = list->capacity ? list->capacity * 2 : 8;
		Value *items = workspace_alloc(work, capacity, sizeof *items);

		if (!items || !workspace_step(work, capacity / 8))
			return false;
		if (list->n)
			memcpy(items, list->items, list->n * sizeof *items);
		list->items = items;
		list->capacity = capacity;
	}
	list->items[list->n++] = item;
	return true;
}

Dict *
dict_create(Workspace *work, size_t capacity)
{
	Dict *dict = workspace_alloc(work, 1, sizeof *dict);

	if (!dict)
		return NULL;
	if (capacity)
	{
		dict->entries = workspace_alloc(work, capacity, sizeof *dict->entries);
		if (!dict->entries)
			return NULL;
		dict->capacity = capacity;
	}
	return dict;
}

bool
dict_append(Workspace *work, Dict *dict, Value key, Value value)
{
	if (dict->n == dict->capacity)
	{
		size_t capacity = dict->capacity ? dict->capacity * 2 : 8;
		DictEntry *entries = workspace_alloc(work, capacity, sizeof *entries);

		if (!entries || !workspace_step(work, capacity / 8))
			return false;
		if (dict->n)
			memcpy(entries, dict->entries, dict->n * sizeof *entries);
		dict->entries = entries;
		dict->capacity = capacity;
	}
	dict->entries[dict->n++] = (DictEntry){key, value};
	return true;
}

bool
value_is_key(Workspace *work, Value value, bool *is_key)
{
	const List *list = value.kind == VALUE_LIST ? value.as.list : NULL;
	bool ok = true;

	*is_key = value.kind != VALUE_DICT &&
			  (!list || list->kind == LIST_TUPLE || list->kind == LIST_RANGE || list->kind == LIST_ITERATOR);
	if (!list || list->kind != LIST_TUPLE)
		return true;
	if (!workspace_step(work, list->n) || !workspace_enter(work))
		return false;
	for (size_t i = 0; ok && *is_key && i < list->n; i++)
		ok = value_is_key(work, list->items[i], is_key);
	workspace_leave(work);
	return ok;
}

bool
dict_find_text(Workspace *work, const Dict *dict, const Text *key, Value **found)
{
	*found = NULL;
	if (!workspace_step(work, dict->n / 16))
		return false;
	for (size_t i = 0; i < dict->n; i++)
	{
		Value candidate = dict->entries[i].key;

		if (candidate.kind != VALUE_TEXT || candidate.as.text->length != key->length)
			continue;
		if (!text_flatten(work, candidate.as.text))
			return false;
		if (text_compare(candidate.as.text, key) == 0)
		{
			*found = &dict->entries[i].value;
			return true;
		}
	}
	return true;
}

bool
dict_find(Workspace *work, const Dict *dict, Value key, Value **found)
{
	bool is_key;

	*found = NULL;
	if (!value_is_key(work, key, &is_key))
		return false;
	if (!is_key)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "%s cannot be a key", value_kind_name(key));
	if (key.kind == VALUE_TEXT)
		return text_flatten(work, key.as.text) && dict_find_text(work, dict, key.as.text, found);
	if (!workspace_step(work, dict->n / 16))
		return false;
	for (size_t i = 0; i < dict->n; i++)
	{
		bool equal;

		if (dict->entries[i].key.kind == VALUE_TEXT)
			continue;
		if (!value_equal(work, dict->entries[i].key, key, &equal))
			return false;
		if (equal)
		{
			*found = &dict->entries[i].value;
			return true;
		}
	}
	return true;
}

bool
dict_set(Workspace *work, Dict *dict, Value key, Value value)
{
	Value *found;

	if (!dict_find(work, dict, key, &found))
		return false;
	if (!found)
		return dict_append(work, dict, key, value);
	*found = value;
	return true;
}

List *
dict_view(Workspace *work, const Dict *dict, ListKind kind)
{
	List *view = list_create(work, kind, dict->n);

	if (!view || !workspace_step(work, dict->n / 8))
		return NULL;
	for (size_t i = 0; i < dict->n; i++)
	{
		DictEntry *entry = &dict->entries[i];
		Value item = kind == LIST_KEYS ? entry->key : entry->value;

		if (kind != LIST_KEYS && kind != LIST_VALUES)
		{
			List *pair = list_create(work, LIST_TUPLE, 2);

			if (!pair || !list_push(work, pair, entry->key) || !list_push(work, pair, entry->value))
				return NULL;
			item = value_list(pair);
		}
		if (!list_push(work, view, item))
			return NULL;
	}
	return view;
}

const char *
value_kind_name(Value value)
{
	static const char *const lists[] = {
		"a list",     "a tuple", "a range", "a dictionary's keys", "a dictionary's values", "a dictionary's items",
		"an iterator"};

	switch (value.kind)
	{
		case VALUE_MISSING:
		case VALUE_UNDEFINED:
			return "an undefined value";
		case VALUE_NONE:
			return "none";
		case VALUE_BOOL:
			return "a boolean";
		case VALUE_INT:
			return "an integer";
		case VALUE_FLOAT:
			return "a float";
		case VALUE_TEXT:
			return "a string";
		case VALUE_LIST:
			return lists[value.as.list->kind];
		case VALUE_DICT:
			return "a dictionary";
		case VALUE_NAMESPACE:
			return "a namespace";
		case VALUE_LOOP:
			return "a loop";
		case VALUE_MACRO:
			return "a macro";
		case VALUE_FUNCTION:
			return "a function";
		case VALUE_METHOD:
			return "a method";
	}
	return "a value";
}

bool
value_is_number(Value value)
{
	return value.kind == VALUE_INT || value.kind == VALUE_FLOAT || value.kind == VALUE_BOOL;
}

bool
value_is_integer(Value value)
{
	return value.kind == VALUE_INT || value.kind == VALUE_BOOL;
}

int64_t
value_integer(Value value)
{
	return value.kind == VALUE_BOOL ? value.as.boolean : value.as.integer;
}

double
value_number(Value value)
{
	return value.kind == VALUE_FLOAT ? value.as.number : (double) value_integer(value);
}

bool
value_is_true(Value value)
{
	switch (value.kind)
	{
		case VALUE_MISSING:
		case VALUE_UNDEFINED:
		case VALUE_NONE:
			return false;
		case VALUE_BOOL:
			return value.as.boolean;
		case VALUE_INT:
			return value.as.integer != 0;
		case VALUE_FLOAT:
			return value.as.number != 0.0;
		case VALUE_TEXT:
			return value.as.text->length > 0;
		case VALUE_LIST:
			return value.as.list->kind == LIST_ITERATOR || value.as.list->n > 0;
		case VALUE_DICT:
			return value.as.dict->n > 0;
		default:
			return true;
	}
}

/* Are two lists of one kind equal, item by item? */
static bool
lists_equal(Workspace *work, const List *left, const List *right, bool *equal)
{
	*equal = left == right;
	if (*equal || left->kind != right->kind || left->kind == LIST_ITERATOR || left->kind == LIST_VALUES ||
		left->n != right->n)
		return true;
	for (size_t i = 0; i < left->n; i++)
	{
		if (!value_equal(work, left->items[i], right->items[i], equal))
			return false;
		if (!*equal)
			return true;
	}
	*equal = true;
	return true;
}

/* Are two dictionaries equal, in whatever order? */
static bool
dicts_equal(Workspace *work, const Dict *left, const Dict *right, bool *equal)
{
	*equal = left == right;
	if (*equal || left->n != right->n)
		return true;
	for (size_t i = 0; i < left->n; i++)
	{
		Value *other;

		if (!dict_find(work, right, left->entries[i].key, &other))
			return false;
		if (!other)
			return true;
		if (!value_equal(work, left->entries[i].value, *other, equal))
			return false;
		if (!*equal)
			return true;
	}
	*equal = true;
	return true;
}

bool
value_equal(Workspace *work, Value left, Value right, bool *equal)
{
	bool ok = true;

	*equal = false;
	if (!workspace_step(work, 1))
		return false;
	if (value_is_number(left) && value_is_number(right))
	{
		if (value_is_integer(left) && value_is_integer(right))
			*equal = value_integer(left) == value_integer(right);
		else
			*equal = value_number(left) == value_number(right);
		return true;
	}
	if (left.kind != right.kind)
		return true;
	if (!workspace_enter(work))
		return false;
	switch (left.kind)
	{
		case VALUE_TEXT:
			if (left.as.text->length != right.as.text->length)
				break;
			ok = workspace_step(work, left.as.text->length / 256) && text_flatten(work, left.as.text) &&
				 text_flatten(work, right.as.text);
			*equal = ok && text_compare(left.as.text, right.as.text) == 0;
			break;
		case VALUE_LIST:
			ok = lists_equal(work, left.as.list, right.as.list, equal);
			break;
		case VALUE_DICT:
			ok = dicts_equal(work, left.as.dict, right.as.dict, equal);
			break;
		case VALUE_NAMESPACE:
			*equal = left.as.dict == right.as.dict;
			break;
		case VALUE_LOOP:
			*equal = left.as.loop == right.as.loop;
			break;
		case VALUE_MACRO:
			*equal = left.as.macro == right.as.macro;
			break;
		case VALUE_FUNCTION:
			*equal = left.as.function == right.as.function;
			break;
		case VALUE_METHOD:
			*equal = left.as.method == right.as.method;
			break;
		default:
			*equal = true; /* none, undefined */
			break;
	}
	workspace_leave(work);
	return ok;
}

/* The sign of a comparison of two numbers. */
static int
compare_numbers(Value left, Value right)
{
	if (value_is_integer(left) && value_is_integer(right))
		return (value_integer(left) > value_integer(right)) - (value_integer(left) < value_integer(right));

	double a = value_number(left), b = value_number(right);

	return isnan(a) || isnan(b) ? UNORDERED : (a > b) - (a < b);
}

/* The order of two lists or two tuples: of their first items that differ. */
static bool
compare_lists(Workspace *work, const List *left, const List *right, int *order)
{
	for (size_t i = 0; i < left->n && i < right->n; i++)
	{
		bool equal;

		if (!value_equal(work, left->items[i], right->items[i], &equal))
			return false;
		if (!equal)
			return value_compare(work, left->items[i], right->items[i], order);
	}
	*order = (left->n > right->n) - (left->n < right->n);
	return true;
}

bool
value_compare(Workspace *work, Value left, Value right, int *order)
{
	bool ok;

	*order = 0;
	if (!workspace_step(work, 1))
		return false;
	if (value_is_number(left) && value_is_number(right))
	{
		*order = compare_numbers(left, right);
		return true;
	}
	if (left.kind == VALUE_TEXT && right.kind == VALUE_TEXT)
	{
		if (!workspace_step(work, left.as.text->length / 256) || !text_flatten(work, left.as.text) ||
			!text_flatten(work, right.as.text))
			return false;
		*order = text_compare(left.as.text, right.as.text);
		*order = (*order > 0) - (*order < 0);
		return true;
	}
	if (left.kind == VALUE_UNDEFINED || right.kind == VALUE_UNDEFINED)
		return fail_undefined(work, left.kind == VALUE_UNDEFINED ? left : right);
	if (left.kind != VALUE_LIST || right.kind != VALUE_LIST || left.as.list->kind != right.as.list->kind ||
		left.as.list->kind > LIST_TUPLE)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "%s and %s have no order", value_kind_name(left),
							  value_kind_name(right));
	if (!workspace_enter(work))
		return false;
	ok = compare_lists(work, left.as.list, right.as.list, order);
	workspace_leave(work);
	return ok;
}

bool
value_contains(Workspace *work, Value container, Value item, bool *contained)
{
	Value *items, *found;
	size_t n;

	*contained = false;
	if (container.kind == VALUE_TEXT)
	{
		if (item.kind != VALUE_TEXT)
			return workspace_fail(work, STATUS_INVALID_ARGUMENT, "\"in\" a string needs a string, not %s",
								  value_kind_name(item));
		if (!workspace_step(work, container.as.text->length / 256) || !text_flatten(work, container.as.text) ||
			!text_flatten(work, item.as.text))
			return false;
		*contained = text_find(container.as.text, item.as.text, 0) != SIZE_MAX;
		return true;
	}
	if (container.kind == VALUE_DICT)
	{
		if (!dict_find(work, container.as.dict, item, &found))
			return false;
		*contained = found != NULL;
		return true;
	}
	if (!value_iterate(work, container, &items, &n))
		return false;
	for (size_t i = 0; i < n && !*contained; i++)
		if (!value_equal(work, items[i], item, contained))
			return false;
	return true;
}

/* The characters of a text, each a text. */
static bool
iterate_characters(Workspace *work, Text *text, Value **items, size_t *n)
{
	size_t count, n_bytes, k = 0;

	if (!text_flatten(work, text) || !workspace_step(work, text->length))
		return false;
	count = text_count(text);
	*items = workspace_alloc(work, count, sizeof **items);
	if (!*items)
		return false;
	for (size_t i = 0; i < text->length && k < count; i += n_bytes)
	{
		Text *character;

		text_character(text->bytes, text->length, i, &n_bytes);
		character = text_slice(work, text, i, n_bytes);
		if (!character)
			return false;
		character->safe = false;
		(*items)[k++] = value_text(character);
	}
	*n = k;
	return true;
}

bool
value_iterate(Workspace *work, Value value, Value **items, size_t *n)
{
	List *list;

	*items = NULL;
	*n = 0;
	switch (value.kind)
	{
		case VALUE_UNDEFINED:
			return true;
		case VALUE_TEXT:
			return iterate_characters(work, value.as.text, items, n);
		case VALUE_LIST:
			list = value.as.list;
			*items = list->items ? list->items + list->position : NULL;
			*n = list->items ? list->n - list->position : 0;
			if (list->kind == LIST_ITERATOR)
				list->position = list->n;
			return true;
		case VALUE_DICT:
			list = dict_view(work, value.as.dict, LIST_KEYS);
			if (!list)
				return false;
			*items = list->items;
			*n = list->n;
			return true;
		case VALUE_LOOP:
			return workspace_fail(work, STATUS_UNSUPPORTED, "iterating over the variable loop is not supported");
		default:
			return workspace_fail(work, STATUS_INVALID_ARGUMENT, "%s is not iterable", value_kind_name(value));
	}
}

bool
value_length(Workspace *work, Value value, size_t *length)
{
	*length = 0;
	switch (value.kind)
	{
		case VALUE_UNDEFINED:
			return true;
		case VALUE_TEXT:
			if (!text_flatten(work, value.as.text) || !workspace_step(work, value.as.text->length / 64))
				return false;
			*length = text_count(value.as.text);
			return true;
		case VALUE_DICT:
			*length = value.as.dict->n;
			return true;
		case VALUE_LIST:
			if (value.as.list->kind == LIST_ITERATOR)
				break;
			*length = value.as.list->n;
			return true;
		default:
			break;
	}
	return workspace_fail(work, STATUS_INVALID_ARGUMENT, "%s has no length", value_kind_name(value));
}

bool
fail_undefined(Workspace *work, Value value)
{
	const Text *name = value.as.missing;

	if (!name)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "a value that is needed is undefined");
	return workspace_fail(work, STATUS_INVALID_ARGUMENT, "\"%.*s\" is undefined",
						  (int) (name->length < 100 ? name->length : 100), name->bytes);
}

/* Merge the sorted halves from[low .. middle) and from[middle .. high) into to. */
static bool
merge_runs(Workspace *work, const Value *keys, const size_t *from, size_t *to, const size_t bounds[3], bool is_reversed)
{
	size_t i = bounds[0], j = bounds[1];

	for (size_t k = bounds[0]; k < bounds[2]; k++)
	{
		bool take_right = i >= bounds[1];

		if (!take_right && j < bounds[2])
		{
			int order;

			if (!value_compare(work, keys[from[j]], keys[from[i]], &order))
				return false;
			take_right = order == (is_reversed ? 1 : -1);
		}
		to[k] = take_right ? from[j++] : from[i++];
	}
	return true;
}

bool
sort_by_keys(Workspace *work, const Value *keys, size_t *order, size_t n, bool is_reversed)
{
	size_t *other = workspace_alloc(work, n, sizeof *other);

	if (!other)
		return false;
	for (size_t width = 1; width < n; width *= 2)
	{
		for (size_t low = 0; low < n; low += 2 * width)
		{
			size_t middle = low + width < n ? low + width : n;
			size_t high = low + 2 * width < n ? low + 2 * width : n;

			if (!merge_runs(work, keys, order, other, (size_t[3]){low, middle, high}, is_reversed))
				return false;
		}
		memcpy(order, other, n * sizeof *order);
	}
	return true;
}
