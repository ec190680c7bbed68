/*
 * functions.c - the functions that templates call by name: range, dict, namespace, raise_exception, strftime_now.
 */
#include "operations.h"

#include <string.h>
#include <time.h>

/* range([start,] stop[, step]) */
bool
function_range(const Call *call, Value *out)
{
	const Arguments *arguments = call->arguments;
	Workspace *work = call->work;
	int64_t bounds[3] = {0, 0, 1};
	uint64_t n = 0;
	List *list;

	if (arguments->n_values < 1 || arguments->n_values > 3 || arguments->n_named)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "range takes one to three numbers");
	for (size_t i = 0; i < arguments->n_values; i++)
	{
		Value value = arguments->values[i];

		if (value.kind == VALUE_UNDEFINED)
			return fail_undefined(work, value);
		if (!value_is_integer(value))
			return workspace_fail(work, STATUS_INVALID_ARGUMENT, "range does not take %s", value_kind_name(value));
		bounds[arguments->n_values == 1 ? 1 : i] = value_integer(value);
	}
	if (bounds[2] == 0)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "the step of range is zero");
	if (bounds[2] > 0 && bounds[1] > bounds[0])
		n = ((uint64_t) bounds[1] - (uint64_t) bounds[0] - 1) / (uint64_t) bounds[2] + 1;
	else if (bounds[2] < 0 && bounds[0] > bounds[1])
		n = ((uint64_t) bounds[0] - (uint64_t) bounds[1] - 1) / (0 - (uint64_t) bounds[2]) + 1;
	if (n > TEMPLATE_MAX_RANGE)
		return workspace_fail(work, STATUS_TOO_LONG, "a range of %llu items, the limit is %d", (unsigned long long) n,
							  TEMPLATE_MAX_RANGE);
	list = list_create(work, LIST_RANGE, n);
	if (!list || !workspace_step(work, n / 8))
		return false;
	for (uint64_t i = 0; i < n; i++)
		list->items[i] = value_int((int64_t) ((uint64_t) bounds[0] + i * (uint64_t) bounds[2]));
	list->n = n;
	*out = value_list(list);
	return true;
}

/* Copy what dict() and namespace() are given as their first argument: a mapping or pairs. */
static bool
fill_dict(Workspace *work, Dict *dict, Value source)
{
	Value *items, *pair;
	size_t n, n_pair;

	if (source.kind == VALUE_DICT)
	{
		for (size_t i = 0; i < source.as.dict->n; i++)
			if (!dict_set(work, dict, source.as.dict->entries[i].key, source.as.dict->entries[i].value))
				return false;
		return true;
	}
	if (!value_iterate(work, source, &items, &n))
		return false;
	for (size_t i = 0; i < n; i++)
	{
		if (!value_iterate(work, items[i], &pair, &n_pair))
			return false;
		if (n_pair != 2)
			return workspace_fail(work, STATUS_INVALID_ARGUMENT, "a dictionary needs pairs");
		if (!dict_set(work, dict, pair[0], pair[1]))
			return false;
	}
	return true;
}

/* dict(…) and namespace(…) */
bool
function_dict(const Call *call, Value *out)
{
	const Arguments *arguments = call->arguments;
	Workspace *work = call->work;
	Dict *dict = dict_create(work, arguments->n_named);

	if (!dict)
		return false;
	if (arguments->n_values > 1)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "a dictionary is made of at most one other");
	if (arguments->n_values == 1 && !fill_dict(work, dict, arguments->values[0]))
		return false;
	for (size_t i = 0; i < arguments->n_named; i++)
		if (!dict_set(work, dict, value_text((Text *) arguments->names[i]), arguments->named[i]))
			return false;
	*out = (Value){.kind = (ValueKind) call->operation->variant, .as.dict = dict};
	return true;
}

/* raise_exception(text): the text is the whole sentence. */
bool
function_raise(const Call *call, Value *out)
{
	const Arguments *arguments = call->arguments;
	Workspace *work = call->work;
	const Text *text;

	*out = value_undefined(NULL);
	if (arguments->n_values != 1 || arguments->n_named)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "raise_exception takes one argument");
	text = value_to_text(work, arguments->values[0]);
	if (!text)
		return false;
	work->line = 0;
	return workspace_fail(work, STATUS_INVALID_ARGUMENT, "%.*s",
						  (int) (text->length < STATUS_MESSAGE_BYTES ? text->length : STATUS_MESSAGE_BYTES),
						  text->bytes);
}

/* strftime_now(format), in UTC. */
bool
function_strftime(const Call *call, Value *out)
{
	const Arguments *arguments = call->arguments;
	Workspace *work = call->work;
	time_t now = (time_t) call->interpreter->now;
	struct tm parts;
	char format[256], rendered[1024];
	size_t length;
	Text *text;

	if (arguments->n_values != 1 || arguments->n_named || arguments->values[0].kind != VALUE_TEXT)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "strftime_now takes one string");
	text = value_to_text(work, arguments->values[0]);
	if (!text)
		return false;
	if (text->length >= sizeof format)
		return workspace_fail(work, STATUS_TOO_LONG, "the format of strftime_now has %zu bytes, the limit is %zu",
							  text->length, sizeof format - 1);
	if (!gmtime_r(&now, &parts))
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "the time has no date");
	memcpy(format, text->bytes, text->length);
	format[text->length] = '\0';
	length = strftime(rendered, sizeof rendered, format, &parts);
	if (length)
	{
		char *copy = workspace_alloc(work, length, 1);

		if (!copy)
			return false;
		memcpy(copy, rendered, length);
		text = text_from_bytes(work, copy, length, false);
	}
	else
		text = text_from_bytes(work, "", 0, false);
	*out = value_text(text);
	return text != NULL;
}
