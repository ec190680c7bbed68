/*
 * methods.c - methods of strings, lists, dictionaries and loops.
 */
#include "operations.h"

#include <string.h>

/* The failure of an argument of a wrong type. */
static bool
fail_argument(Workspace *work, const char *method, Value argument)
{
	if (argument.kind == VALUE_UNDEFINED)
		return fail_undefined(work, argument);
	return workspace_fail(work, STATUS_INVALID_ARGUMENT, "the method %s does not take %s", method,
						  value_kind_name(argument));
}

/* Arguments that are strings, flat; those behind the first n_needed may be missing or none and become NULL. */
static bool
take_texts(Workspace *work, const Operation *operation, Value *values, int n_needed, int n, Text **texts)
{
	for (int i = 0; i < n; i++)
	{
		texts[i] = NULL;
		if (i >= n_needed && (values[i].kind == VALUE_MISSING || values[i].kind == VALUE_NONE))
			continue;
		if (values[i].kind != VALUE_TEXT)
			return fail_argument(work, operation->what, values[i]);
		if (!text_flatten(work, values[i].as.text))
			return false;
		texts[i] = values[i].as.text;
	}
	return true;
}

/* The one argument of a method, a string. */
static Text *
take_text(const Call *call)
{
	Text *text;
	Value value = call->values[0];

	return take_texts(call->work, call->operation, &value, 1, 1, &text) ? text : NULL;
}

/* text.strip(…), lstrip and rstrip */
bool
method_text_strip(const Call *call, Value *out)
{
	Text *characters;
	Value value = call->values[0];

	if (!take_texts(call->work, call->operation, &value, 0, 1, &characters))
		return false;
	return give_text(text_strip(call->work, call->self.as.text, characters, call->operation->variant & STRIP_LEFT,
								call->operation->variant & STRIP_RIGHT),
					 out);
}

/* text.lower(), upper, title and capitalize */
bool
method_text_case(const Call *call, Value *out)
{
	return give_text(text_change_case(call->work, call->self.as.text, (TextCase) call->operation->variant), out);
}

/* Add bytes start .. end of a text to a list. */
static bool
push_slice(Workspace *work, List *list, const Text *text, size_t start, size_t end)
{
	Text *part = text_slice(work, text, start, end - start);

	return part && workspace_step(work, 1) && list_push(work, list, value_text(part));
}

/* split() without a separator: at runs of white space. */
static bool
split_at_spaces(Workspace *work, const Text *text, int64_t max_splits, List *list)
{
	size_t position = 0, n_bytes;

	while (position < text->length)
	{
		size_t end;

		if (is_space_character(text_character(text->bytes, text->length, position, &n_bytes)))
		{
			position += n_bytes;
			continue;
		}
		end = position;
		while (end < text->length && !is_space_character(text_character(text->bytes, text->length, end, &n_bytes)))
			end += n_bytes;
		if (max_splits >= 0 && (int64_t) list->n >= max_splits)
			end = text->length;
		if (!push_slice(work, list, text, position, end))
			return false;
		position = end;
	}
	return workspace_step(work, text->length / 64);
}

/* split(separator) */
static bool
split_at_separator(Workspace *work, const Text *text, const Text *separator, int64_t max_splits, List *list)
{
	size_t position = 0;

	if (separator->length == 0)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "split by an empty string");
	while (max_splits < 0 || (int64_t) list->n < max_splits)
	{
		size_t found = text_find(text, separator, position);

		if (found == SIZE_MAX)
			break;
		if (!push_slice(work, list, text, position, found))
			return false;
		position = found + separator->length;
	}
	return push_slice(work, list, text, position, text->length) && workspace_step(work, text->length / 256);
}

/* text.split(…) */
bool
method_text_split(const Call *call, Value *out)
{
	Workspace *work = call->work;
	const Value *values = call->values;
	int64_t max_splits = -1;
	List *list = list_create(work, LIST_PLAIN, 0);
	bool ok;

	if (!list)
		return false;
	if (value_is_integer(values[1]))
		max_splits = value_integer(values[1]);
	else if (values[1].kind != VALUE_MISSING)
		return fail_argument(work, "split", values[1]);
	if (values[0].kind == VALUE_MISSING || values[0].kind == VALUE_NONE)
		ok = split_at_spaces(work, call->self.as.text, max_splits, list);
	else if (values[0].kind != VALUE_TEXT)
		return fail_argument(work, "split", values[0]);
	else
		ok = text_flatten(work, values[0].as.text) &&
			 split_at_separator(work, call->self.as.text, values[0].as.text, max_splits, list);
	*out = value_list(list);
	return ok;
}

/* Does the text begin (end) with this string, or one of this tuple of strings? */
static bool
has_affix(Workspace *work, const Text *text, Value affix, bool at_end, bool *holds)
{
	const char *method = at_end ? "endswith" : "startswith";
	const Text *part;

	if (affix.kind == VALUE_LIST && affix.as.list->kind == LIST_TUPLE)
	{
		for (size_t i = 0; i < affix.as.list->n && !*holds; i++)
		{
			if (affix.as.list->items[i].kind != VALUE_TEXT)
				return fail_argument(work, method, affix.as.list->items[i]);
			if (!has_affix(work, text, affix.as.list->items[i], at_end, holds))
				return false;
		}
		return true;
	}
	if (affix.kind != VALUE_TEXT)
		return fail_argument(work, method, affix);
	if (!text_flatten(work, affix.as.text))
		return false;
	part = affix.as.text;
	*holds = part->length <= text->length &&
			 memcmp(text->bytes + (at_end ? text->length - part->length : 0), part->bytes, part->length) == 0;
	return true;
}

/* text.startswith(…) and endswith, without their optional bounds */
bool
method_text_affix(const Call *call, Value *out)
{
	const Arguments *arguments = call->arguments;
	bool holds = false;

	if (arguments->n_values > 1)
		return workspace_fail(call->work, STATUS_UNSUPPORTED, "%s with more than one argument is not supported",
							  call->operation->name);
	if (arguments->n_values != 1 || arguments->n_named != 0)
		return workspace_fail(call->work, STATUS_INVALID_ARGUMENT, "%s needs one argument", call->operation->name);
	if (!has_affix(call->work, call->self.as.text, arguments->values[0], call->operation->variant, &holds))
		return false;
	*out = value_bool(holds);
	return true;
}

/* text.removeprefix(…) and removesuffix */
bool
method_text_remove_affix(const Call *call, Value *out)
{
	const Text *text = call->self.as.text;
	const Text *part = take_text(call);
	bool holds = false, at_end = call->operation->variant;

	if (!part || !has_affix(call->work, text, call->values[0], at_end, &holds))
		return false;
	*out = call->self;
	if (!holds)
		return true;
	return give_text(text_slice(call->work, text, at_end ? 0 : part->length, text->length - part->length), out);
}

/* text.replace(old, new[, count]), none of them by keyword */
bool
method_text_replace(const Call *call, Value *out)
{
	static const char *const no_names[] = {"", ""};
	Arguments texts = *call->arguments;
	int64_t max_count = -1;
	Value values[2];
	Text *parts[2];

	if (texts.n_values == 3)
	{
		if (!value_is_integer(texts.values[2]))
			return fail_argument(call->work, "replace", texts.values[2]);
		max_count = value_integer(texts.values[2]);
		texts.n_values = 2;
	}
	if (!arguments_bind(call->work, &texts, "replace", no_names, 2, values) ||
		!take_texts(call->work, call->operation, values, 2, 2, parts))
		return false;
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): take_texts() gave as many texts as are needed */
	if (call->self.as.text->safe && !parts[1]->safe && !(parts[1] = text_escape(call->work, parts[1])))
		return false;
	/* NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): take_texts() gave as many texts as are needed */
	if (!give_text(text_replace(call->work, call->self.as.text, parts[0], parts[1], max_count), out))
		return false;
	out->as.text->safe = call->self.as.text->safe;
	return true;
}

/* The index of the character at a byte position, or -1 for SIZE_MAX. */
static Value
character_index(const Text *text, size_t position)
{
	Text before = {.bytes = text->bytes, .length = position};

	return value_int(position == SIZE_MAX ? -1 : (int64_t) text_count(&before));
}

/* text.find(…) */
bool
method_text_find(const Call *call, Value *out)
{
	const Text *part = take_text(call);

	if (!part || !workspace_step(call->work, call->self.as.text->length / 64))
		return false;
	*out = character_index(call->self.as.text, text_find(call->self.as.text, part, 0));
	return true;
}

/* text.rfind(…) */
bool
method_text_rfind(const Call *call, Value *out)
{
	const Text *text = call->self.as.text;
	size_t found = SIZE_MAX;
	const Text *part = take_text(call);

	if (!part || !workspace_step(call->work, text->length / 64 + text->length / 256 * part->length))
		return false;
	for (size_t i = part->length <= text->length ? text->length - part->length + 1 : 0; i > 0 && found == SIZE_MAX; i--)
		if (memcmp(text->bytes + i - 1, part->bytes, part->length) == 0)
			found = i - 1;
	*out = character_index(text, found);
	return true;
}

/* text.index(…) */
bool
method_text_index(const Call *call, Value *out)
{
	if (!method_text_find(call, out))
		return false;
	return out->as.integer >= 0 ||
		   workspace_fail(call->work, STATUS_INVALID_ARGUMENT, "index: the string is not in the other");
}

/* text.count(…) */
bool
method_text_count(const Call *call, Value *out)
{
	const Text *text = call->self.as.text;
	int64_t n = 0;
	const Text *part = take_text(call);

	if (!part || !workspace_step(call->work, text->length / 64))
		return false;
	if (part->length == 0)
		n = (int64_t) text_count(text) + 1;
	else
		for (size_t i = text_find(text, part, 0); i != SIZE_MAX; i = text_find(text, part, i + part->length))
			n++;
	*out = value_int(n);
	return true;
}

/* text.join(…) */
bool
method_text_join(const Call *call, Value *out)
{
	Workspace *work = call->work;
	TextBuilder builder = {0};
	Value *items;
	size_t n;

	if (call->self.as.text->safe)
		return workspace_fail(work, STATUS_UNSUPPORTED, "join on a safe string is not supported");
	if (call->arguments->n_values != 1 || call->arguments->n_named != 0)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "join needs one argument");
	if (!value_iterate(work, call->arguments->values[0], &items, &n))
		return false;
	for (size_t i = 0; i < n; i++)
	{
		if (items[i].kind != VALUE_TEXT)
			return fail_argument(work, "join", items[i]);
		if (!workspace_step(work, 1) || (i > 0 && !builder_add_text(work, &builder, call->self.as.text)) ||
			!builder_add_text(work, &builder, items[i].as.text))
			return false;
	}
	return give_text(builder_finish(work, &builder), out);
}

/* list.index(…) */
bool
method_list_index(const Call *call, Value *out)
{
	bool equal = false;

	if (call->arguments->n_values != 1 || call->arguments->n_named != 0)
		return workspace_fail(call->work, STATUS_UNSUPPORTED, "index with other than one argument is not supported");
	for (size_t i = 0; i < call->self.as.list->n; i++)
	{
		if (!value_equal(call->work, call->self.as.list->items[i], call->arguments->values[0], &equal))
			return false;
		if (equal)
		{
			*out = value_int((int64_t) i);
			return true;
		}
	}
	return workspace_fail(call->work, STATUS_INVALID_ARGUMENT, "index: the value is not in the list");
}

/* list.count(…) */
bool
method_list_count(const Call *call, Value *out)
{
	int64_t n = 0;

	if (call->arguments->n_values != 1 || call->arguments->n_named != 0)
		return workspace_fail(call->work, STATUS_INVALID_ARGUMENT, "count needs one argument");
	for (size_t i = 0; i < call->self.as.list->n; i++)
	{
		bool equal;

		if (!value_equal(call->work, call->self.as.list->items[i], call->arguments->values[0], &equal))
			return false;
		n += equal;
	}
	*out = value_int(n);
	return true;
}

/* copy() of what never changes is the thing itself. */
bool
method_copy(const Call *call, Value *out)
{
	*out = call->self;
	return true;
}

/* dict.get(…) */
bool
method_get(const Call *call, Value *out)
{
	const Value *values = call->values;
	Value *found;

	if (values[0].kind == VALUE_MISSING)
		return workspace_fail(call->work, STATUS_INVALID_ARGUMENT, "get needs an argument");
	if (!dict_find(call->work, call->self.as.dict, values[0], &found))
		return false;
	*out = found ? *found : values[1].kind == VALUE_MISSING ? value_none() : values[1];
	return true;
}

/* dict.keys(), values and items */
bool
method_view(const Call *call, Value *out)
{
	List *list = dict_view(call->work, call->self.as.dict, (ListKind) call->operation->variant);

	*out = value_list(list);
	return list != NULL;
}

/* loop.cycle(…) */
bool
method_cycle(const Call *call, Value *out)
{
	if (call->arguments->n_values == 0 || call->arguments->n_named != 0)
		return workspace_fail(call->work, STATUS_INVALID_ARGUMENT, "loop.cycle needs values");
	*out = call->arguments->values[call->self.as.loop->index % call->arguments->n_values];
	return true;
}

bool
method_find(Interpreter *interpreter, Value self, const Text *name, Value *out, bool *found)
{
	int place = operation_find_method(self, name);
	Method *method;

	*found = place >= 0;
	if (operation_is_unsupported(place))
		return workspace_fail(interpreter->work, STATUS_UNSUPPORTED, "the method %s is not supported",
							  operation_at(place)->name);
	if (!*found)
		return true;
	*out = value_undefined(name);
	if (!operation_at(place)->apply)
		return true;
	method = workspace_alloc(interpreter->work, 1, sizeof *method);
	if (!method)
		return false;
	*method = (Method){self, place};
	*out = (Value){.kind = VALUE_METHOD, .as.method = method};
	return true;
}
