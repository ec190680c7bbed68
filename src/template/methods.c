/*
 * methods.c - methods of strings, lists, dictionaries and loops.
 *
 * As in Jinja's immutable sandbox, methods that change their object are undefined. Python's other methods are refused
 * as UNSUPPORTED, at parse time where no kind of value has one of that name.
 */
#include "interpreter.h"

#include <string.h>

/* Which kinds of value have the method. */
enum
{
	OF_TEXT = 1,
	OF_LIST = 2,
	OF_TUPLE = 4,
	OF_DICT = 8,
	OF_LOOP = 16,
};

typedef bool (*MethodFunction)(Interpreter *interpreter, Value self, const Arguments *arguments, Value *out);

/* The failure of an argument of a wrong type. */
static bool
fail_argument(Workspace *work, const char *method, Value argument)
{
	if (argument.kind == VALUE_UNDEFINED)
		return fail_undefined(work, argument);
	return workspace_fail(work, STATUS_INVALID_ARGUMENT, "the method %s does not take %s", method,
						  value_kind_name(argument));
}

/* Bind arguments that are strings, flat; optional ones may be missing or none and become NULL. */
static bool
bind_texts(Interpreter *interpreter, const Arguments *arguments, const char *method, size_t n_needed, size_t n,
		   Text **texts)
{
	static const char *const no_names[] = {"", "", ""};
	Value values[3];

	if (!arguments_bind(interpreter->work, arguments, method, no_names, n, values))
		return false;
	for (size_t i = 0; i < n; i++)
	{
		texts[i] = NULL;
		if (i >= n_needed && (values[i].kind == VALUE_MISSING || values[i].kind == VALUE_NONE))
			continue;
		if (values[i].kind != VALUE_TEXT)
			return fail_argument(interpreter->work, method, values[i]);
		if (!text_flatten(interpreter->work, values[i].as.text))
			return false;
		texts[i] = values[i].as.text;
	}
	return true;
}

/* Hand out a text, or the failure that NULL stands for. */
static bool
give_text(Text *text, Value *out)
{
	*out = value_text(text);
	return text != NULL;
}

/* strip, lstrip and rstrip. */
static bool
strip_sides(Interpreter *interpreter, Value self, const Arguments *arguments, Value *out, bool at_left, bool at_right)
{
	Text *characters;

	if (!bind_texts(interpreter, arguments, "strip", 0, 1, &characters))
		return false;
	return give_text(text_strip(interpreter->work, self.as.text, characters, at_left, at_right), out);
}

/* text.strip(…) */
static bool
text_method_strip(Interpreter *interpreter, Value self, const Arguments *arguments, Value *out)
{
	return strip_sides(interpreter, self, arguments, out, true, true);
}

/* text.lstrip(…) */
static bool
text_method_lstrip(Interpreter *interpreter, Value self, const Arguments *arguments, Value *out)
{
	return strip_sides(interpreter, self, arguments, out, true, false);
}

/* text.rstrip(…) */
static bool
text_method_rstrip(Interpreter *interpreter, Value self, const Arguments *arguments, Value *out)
{
	return strip_sides(interpreter, self, arguments, out, false, true);
}

/* Methods without arguments that change case. */
static bool
change_case(Interpreter *interpreter, Value self, const Arguments *arguments, Value *out, TextCase wanted)
{
	if (!arguments_bind(interpreter->work, arguments, "the method", NULL, 0, NULL))
		return false;
	return give_text(text_change_case(interpreter->work, self.as.text, wanted), out);
}

/* text.lower(…) */
static bool
text_method_lower(Interpreter *interpreter, Value self, const Arguments *arguments, Value *out)
{
	return change_case(interpreter, self, arguments, out, TEXT_LOWER);
}

/* text.upper(…) */
static bool
text_method_upper(Interpreter *interpreter, Value self, const Arguments *arguments, Value *out)
{
	return change_case(interpreter, self, arguments, out, TEXT_UPPER);
}

/* text.title(…) */
static bool
text_method_title(Interpreter *interpreter, Value self, const Arguments *arguments, Value *out)
{
	return change_case(interpreter, self, arguments, out, TEXT_TITLE);
}

/* text.capitalize(…) */
static bool
text_method_capitalize(Interpreter *interpreter, Value self, const Arguments *arguments, Value *out)
{
	return change_case(interpreter, self, arguments, out, TEXT_CAPITALIZE);
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
static bool
text_method_split(Interpreter *interpreter, Value self, const Arguments *arguments, Value *out)
{
	static const char *const names[] = {"sep", "maxsplit"};
	Workspace *work = interpreter->work;
	Value values[2];
	int64_t max_splits = -1;
	List *list = list_create(work, LIST_PLAIN, 0);
	bool ok;

	if (!list || !arguments_bind(work, arguments, "the method split", names, 2, values))
		return false;
	if (value_is_integer(values[1]))
		max_splits = value_integer(values[1]);
	else if (values[1].kind != VALUE_MISSING)
		return fail_argument(work, "split", values[1]);
	if (values[0].kind == VALUE_MISSING || values[0].kind == VALUE_NONE)
		ok = split_at_spaces(work, self.as.text, max_splits, list);
	else if (values[0].kind != VALUE_TEXT)
		return fail_argument(work, "split", values[0]);
	else
		ok = text_flatten(work, values[0].as.text) &&
			 split_at_separator(work, self.as.text, values[0].as.text, max_splits, list);
	*out = value_list(list);
	return ok;
}

/* Does the text begin (end) with this string, or one of this tuple of strings? */
static bool
has_affix(Interpreter *interpreter, const Text *text, Value affix, bool at_end, bool *holds)
{
	Workspace *work = interpreter->work;
	const char *method = at_end ? "endswith" : "startswith";
	const Text *part;

	if (affix.kind == VALUE_LIST && affix.as.list->kind == LIST_TUPLE)
	{
		for (size_t i = 0; i < affix.as.list->n && !*holds; i++)
		{
			if (affix.as.list->items[i].kind != VALUE_TEXT)
				return fail_argument(work, method, affix.as.list->items[i]);
			if (!has_affix(interpreter, text, affix.as.list->items[i], at_end, holds))
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

/* startswith and endswith, without their optional bounds. */
static bool
test_affix(Interpreter *interpreter, Value self, const Arguments *arguments, Value *out, bool at_end)
{
	bool holds = false;

	if (arguments->n_values > 1)
		return workspace_fail(interpreter->work, STATUS_UNSUPPORTED, "%s with more than one argument is not supported",
							  at_end ? "endswith" : "startswith");
	if (arguments->n_values != 1 || arguments->n_named != 0)
		return workspace_fail(interpreter->work, STATUS_INVALID_ARGUMENT, "%s needs one argument",
							  at_end ? "endswith" : "startswith");
	if (!has_affix(interpreter, self.as.text, arguments->values[0], at_end, &holds))
		return false;
	*out = value_bool(holds);
	return true;
}

/* text.startswith(…) */
static bool
text_method_startswith(Interpreter *interpreter, Value self, const Arguments *arguments, Value *out)
{
	return test_affix(interpreter, self, arguments, out, false);
}

/* text.endswith(…) */
static bool
text_method_endswith(Interpreter *interpreter, Value self, const Arguments *arguments, Value *out)
{
	return test_affix(interpreter, self, arguments, out, true);
}

/* removeprefix and removesuffix. */
static bool
remove_affix(Interpreter *interpreter, Value self, const Arguments *arguments, Value *out, bool at_end)
{
	const Text *text = self.as.text;
	Text *part;
	bool holds = false;

	if (!bind_texts(interpreter, arguments, "removeprefix", 1, 1, &part) ||
		!has_affix(interpreter, text, value_text(part), at_end, &holds))
		return false;
	*out = self;
	if (!holds)
		return true;
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): bind_texts() gave as many texts as it was asked for */
	return give_text(text_slice(interpreter->work, text, at_end ? 0 : part->length, text->length - part->length), out);
}

/* text.removeprefix(…) */
static bool
text_method_removeprefix(Interpreter *interpreter, Value self, const Arguments *arguments, Value *out)
{
	return remove_affix(interpreter, self, arguments, out, false);
}

/* text.removesuffix(…) */
static bool
text_method_removesuffix(Interpreter *interpreter, Value self, const Arguments *arguments, Value *out)
{
	return remove_affix(interpreter, self, arguments, out, true);
}

/* text.replace(…) */
static bool
text_method_replace(Interpreter *interpreter, Value self, const Arguments *arguments, Value *out)
{
	Arguments texts = *arguments;
	int64_t max_count = -1;
	Text *parts[2];

	if (arguments->n_values == 3)
	{
		if (!value_is_integer(arguments->values[2]))
			return fail_argument(interpreter->work, "replace", arguments->values[2]);
		max_count = value_integer(arguments->values[2]);
		texts.n_values = 2;
	}
	if (!bind_texts(interpreter, &texts, "replace", 2, 2, parts))
		return false;
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): bind_texts() gave as many texts as it was asked for */
	if (self.as.text->safe && !parts[1]->safe && !(parts[1] = text_escape(interpreter->work, parts[1])))
		return false;
	/* NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): bind_texts() gave as many texts as it was asked for */
	if (!give_text(text_replace(interpreter->work, self.as.text, parts[0], parts[1], max_count), out))
		return false;
	out->as.text->safe = self.as.text->safe;
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
static bool
text_method_find(Interpreter *interpreter, Value self, const Arguments *arguments, Value *out)
{
	Text *part;

	if (!bind_texts(interpreter, arguments, "find", 1, 1, &part) ||
		!workspace_step(interpreter->work, self.as.text->length / 64))
		return false;
	*out = character_index(self.as.text, text_find(self.as.text, part, 0));
	return true;
}

/* text.rfind(…) */
static bool
text_method_rfind(Interpreter *interpreter, Value self, const Arguments *arguments, Value *out)
{
	const Text *text = self.as.text;
	size_t found = SIZE_MAX;
	Text *part;

	if (!bind_texts(interpreter, arguments, "rfind", 1, 1, &part) ||
		/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): bind_texts() gave as many texts as it was asked for */
		!workspace_step(interpreter->work, text->length / 64 + text->length / 256 * part->length))
		return false;
	for (size_t i = part->length <= text->length ? text->length - part->length + 1 : 0; i > 0 && found == SIZE_MAX; i--)
		if (memcmp(text->bytes + i - 1, part->bytes, part->length) == 0)
			found = i - 1;
	*out = character_index(text, found);
	return true;
}

/* text.index(…) */
static bool
text_method_index(Interpreter *interpreter, Value self, const Arguments *arguments, Value *out)
{
	if (!text_method_find(interpreter, self, arguments, out))
		return false;
	return out->as.integer >= 0 ||
		   workspace_fail(interpreter->work, STATUS_INVALID_ARGUMENT, "index: the string is not in the other");
}

/* text.count(…) */
static bool
text_method_count(Interpreter *interpreter, Value self, const Arguments *arguments, Value *out)
{
	const Text *text = self.as.text;
	int64_t n = 0;
	Text *part;

	if (!bind_texts(interpreter, arguments, "count", 1, 1, &part) ||
		!workspace_step(interpreter->work, text->length / 64))
		return false;
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): bind_texts() gave as many texts as it was asked for */
	if (part->length == 0)
		n = (int64_t) text_count(text) + 1;
	else
		for (size_t i = text_find(text, part, 0); i != SIZE_MAX; i = text_find(text, part, i + part->length))
			n++;
	*out = value_int(n);
	return true;
}

/* text.join(…) */
static bool
text_method_join(Interpreter *interpreter, Value self, const Arguments *arguments, Value *out)
{
	Workspace *work = interpreter->work;
	TextBuilder builder = {0};
	Value *items;
	size_t n;

	if (self.as.text->safe)
		return workspace_fail(work, STATUS_UNSUPPORTED, "join on a safe string is not supported");
	if (arguments->n_values != 1 || arguments->n_named != 0)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "join needs one argument");
	if (!value_iterate(work, arguments->values[0], &items, &n))
		return false;
	for (size_t i = 0; i < n; i++)
	{
		if (items[i].kind != VALUE_TEXT)
			return fail_argument(work, "join", items[i]);
		if (!workspace_step(work, 1) || (i > 0 && !builder_add_text(work, &builder, self.as.text)) ||
			!builder_add_text(work, &builder, items[i].as.text))
			return false;
	}
	return give_text(builder_finish(work, &builder), out);
}

/* list.index(…) */
static bool
list_method_index(Interpreter *interpreter, Value self, const Arguments *arguments, Value *out)
{
	bool equal = false;

	if (arguments->n_values != 1 || arguments->n_named != 0)
		return workspace_fail(interpreter->work, STATUS_UNSUPPORTED,
							  "index with other than one argument is not supported");
	for (size_t i = 0; i < self.as.list->n; i++)
	{
		if (!value_equal(interpreter->work, self.as.list->items[i], arguments->values[0], &equal))
			return false;
		if (equal)
		{
			*out = value_int((int64_t) i);
			return true;
		}
	}
	return workspace_fail(interpreter->work, STATUS_INVALID_ARGUMENT, "index: the value is not in the list");
}

/* list.count(…) */
static bool
list_method_count(Interpreter *interpreter, Value self, const Arguments *arguments, Value *out)
{
	int64_t n = 0;

	if (arguments->n_values != 1 || arguments->n_named != 0)
		return workspace_fail(interpreter->work, STATUS_INVALID_ARGUMENT, "count needs one argument");
	for (size_t i = 0; i < self.as.list->n; i++)
	{
		bool equal;

		if (!value_equal(interpreter->work, self.as.list->items[i], arguments->values[0], &equal))
			return false;
		n += equal;
	}
	*out = value_int(n);
	return true;
}

/* copy() of what never changes is the thing itself. */
static bool
method_copy(Interpreter *interpreter, Value self, const Arguments *arguments, Value *out)
{
	*out = self;
	return arguments_bind(interpreter->work, arguments, "the method copy", NULL, 0, NULL);
}

/* dict.get(…) */
static bool
dict_method_get(Interpreter *interpreter, Value self, const Arguments *arguments, Value *out)
{
	static const char *const no_names[] = {"", ""};
	Value values[2], *found;

	if (!arguments_bind(interpreter->work, arguments, "the method get", no_names, 2, values))
		return false;
	if (values[0].kind == VALUE_MISSING)
		return workspace_fail(interpreter->work, STATUS_INVALID_ARGUMENT, "get needs an argument");
	if (!dict_find(interpreter->work, self.as.dict, values[0], &found))
		return false;
	*out = found ? *found : values[1].kind == VALUE_MISSING ? value_none() : values[1];
	return true;
}

/* keys(), values() and items(). */
static bool
view(Interpreter *interpreter, Value self, const Arguments *arguments, Value *out, ListKind kind)
{
	List *list;

	if (!arguments_bind(interpreter->work, arguments, "the method", NULL, 0, NULL))
		return false;
	list = dict_view(interpreter->work, self.as.dict, kind);
	*out = value_list(list);
	return list != NULL;
}

/* dict.keys(…) */
static bool
dict_method_keys(Interpreter *interpreter, Value self, const Arguments *arguments, Value *out)
{
	return view(interpreter, self, arguments, out, LIST_KEYS);
}

/* dict.values(…) */
static bool
dict_method_values(Interpreter *interpreter, Value self, const Arguments *arguments, Value *out)
{
	return view(interpreter, self, arguments, out, LIST_VALUES);
}

/* dict.items(…) */
static bool
dict_method_items(Interpreter *interpreter, Value self, const Arguments *arguments, Value *out)
{
	return view(interpreter, self, arguments, out, LIST_ITEMS);
}

/* loop.cycle(…) */
static bool
loop_method_cycle(Interpreter *interpreter, Value self, const Arguments *arguments, Value *out)
{
	if (arguments->n_values == 0 || arguments->n_named != 0)
		return workspace_fail(interpreter->work, STATUS_INVALID_ARGUMENT, "loop.cycle needs values");
	*out = arguments->values[self.as.loop->index % arguments->n_values];
	return true;
}

/* A method without a function changes its object and is undefined. */
static const struct
{
	const char *name;
	int owners;
	MethodFunction call;
} methods[] = {
	{"strip", OF_TEXT, text_method_strip},
	{"lstrip", OF_TEXT, text_method_lstrip},
	{"rstrip", OF_TEXT, text_method_rstrip},
	{"lower", OF_TEXT, text_method_lower},
	{"upper", OF_TEXT, text_method_upper},
	{"title", OF_TEXT, text_method_title},
	{"capitalize", OF_TEXT, text_method_capitalize},
	{"split", OF_TEXT, text_method_split},
	{"startswith", OF_TEXT, text_method_startswith},
	{"endswith", OF_TEXT, text_method_endswith},
	{"removeprefix", OF_TEXT, text_method_removeprefix},
	{"removesuffix", OF_TEXT, text_method_removesuffix},
	{"replace", OF_TEXT, text_method_replace},
	{"find", OF_TEXT, text_method_find},
	{"rfind", OF_TEXT, text_method_rfind},
	{"index", OF_TEXT, text_method_index},
	{"count", OF_TEXT, text_method_count},
	{"join", OF_TEXT, text_method_join},
	{"index", OF_LIST | OF_TUPLE, list_method_index},
	{"count", OF_LIST | OF_TUPLE, list_method_count},
	{"copy", OF_LIST | OF_DICT, method_copy},
	{"get", OF_DICT, dict_method_get},
	{"keys", OF_DICT, dict_method_keys},
	{"values", OF_DICT, dict_method_values},
	{"items", OF_DICT, dict_method_items},
	{"cycle", OF_LOOP, loop_method_cycle},
	{"append", OF_LIST, NULL},
	{"clear", OF_LIST | OF_DICT, NULL},
	{"extend", OF_LIST, NULL},
	{"insert", OF_LIST, NULL},
	{"pop", OF_LIST | OF_DICT, NULL},
	{"remove", OF_LIST, NULL},
	{"reverse", OF_LIST, NULL},
	{"sort", OF_LIST, NULL},
	{"popitem", OF_DICT, NULL},
	{"setdefault", OF_DICT, NULL},
	{"update", OF_DICT, NULL},
};

#define N_METHODS (sizeof methods / sizeof methods[0])

/* Python's methods that are not supported, each with its owners. */
static const struct
{
	const char *name;
	int owners;
} unsupported[] = {
	{"casefold", OF_TEXT},  {"center", OF_TEXT},     {"encode", OF_TEXT},      {"expandtabs", OF_TEXT},
	{"format", OF_TEXT},    {"format_map", OF_TEXT}, {"isalnum", OF_TEXT},     {"isalpha", OF_TEXT},
	{"isascii", OF_TEXT},   {"isdecimal", OF_TEXT},  {"isdigit", OF_TEXT},     {"isidentifier", OF_TEXT},
	{"islower", OF_TEXT},   {"isnumeric", OF_TEXT},  {"isprintable", OF_TEXT}, {"isspace", OF_TEXT},
	{"istitle", OF_TEXT},   {"isupper", OF_TEXT},    {"ljust", OF_TEXT},       {"maketrans", OF_TEXT},
	{"partition", OF_TEXT}, {"rindex", OF_TEXT},     {"rjust", OF_TEXT},       {"rpartition", OF_TEXT},
	{"rsplit", OF_TEXT},    {"splitlines", OF_TEXT}, {"swapcase", OF_TEXT},    {"translate", OF_TEXT},
	{"zfill", OF_TEXT},     {"fromkeys", OF_DICT},   {"changed", OF_LOOP},
};

#define N_UNSUPPORTED (sizeof unsupported / sizeof unsupported[0])

/* Which of the owners a value is. */
static int
owner_of(Value value)
{
	switch (value.kind)
	{
		case VALUE_TEXT:
			return OF_TEXT;
		case VALUE_DICT:
			return OF_DICT;
		case VALUE_LOOP:
			return OF_LOOP;
		case VALUE_LIST:
			return value.as.list->kind == LIST_PLAIN ? OF_LIST : value.as.list->kind == LIST_TUPLE ? OF_TUPLE : 0;
		default:
			return 0;
	}
}

bool
method_is_unsupported(const char *name, size_t length)
{
	for (size_t i = 0; i < N_UNSUPPORTED; i++)
		if (strlen(unsupported[i].name) == length && memcmp(unsupported[i].name, name, length) == 0)
			return true;
	return false;
}

bool
method_find(Interpreter *interpreter, Value self, const Text *name, Value *out, bool *found)
{
	int owner = owner_of(self);
	Method *method;

	*found = false;
	for (size_t i = 0; i < N_UNSUPPORTED && owner; i++)
		if ((unsupported[i].owners & owner) && text_is(name, unsupported[i].name))
			return workspace_fail(interpreter->work, STATUS_UNSUPPORTED, "the method %s is not supported",
								  unsupported[i].name);
	for (size_t i = 0; i < N_METHODS && owner && !*found; i++)
	{
		if (!(methods[i].owners & owner) || !text_is(name, methods[i].name))
			continue;
		*found = true;
		*out = value_undefined(name);
		if (!methods[i].call)
			break;
		method = workspace_alloc(interpreter->work, 1, sizeof *method);
		if (!method)
			return false;
		method->self = self;
		method->id = (int) i;
		*out = (Value){.kind = VALUE_METHOD, .as.method = method};
	}
	return true;
}

bool
method_call(Interpreter *interpreter, const Method *method, const Arguments *arguments, Value *out)
{
	if (method->self.kind == VALUE_TEXT && !text_flatten(interpreter->work, method->self.as.text))
		return false;
	return methods[method->id].call(interpreter, method->self, arguments, out);
}
