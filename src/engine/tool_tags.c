/*
 * tool_tags.c - see tool_tags.h.
 */
#include "tool_tags.h"

#include <stdlib.h>
#include <string.h>

#define NO_TAG SIZE_MAX

/* The tags, in order of TagKind; those that end with '=' have a name up to '>'. */
static const char *const spellings[] = {
	"<tool_call>", "</tool_call>", "<function=", "</function>", "<parameter=", "</parameter>",
};

static bool
is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* The tag that answer has at position at; false: none. */
static bool
read_tag(ByteSpan answer, size_t at, Tag *tag)
{
	for (size_t kind = 0; kind < TAG_END; kind++)
	{
		size_t length = strlen(spellings[kind]), from = at + length, to;

		if (answer.length - at < length || memcmp(answer.data + at, spellings[kind], length) != 0)
			continue;
		*tag = (Tag){.kind = (TagKind) kind, .start = at, .end = from};
		if (spellings[kind][length - 1] != '=')
			return true;
		for (to = from; to < answer.length && !strchr("><\n", answer.data[to]); to++)
			;
		if (to == answer.length || answer.data[to] != '>')
			return false;
		tag->end = to + 1;
		while (from < to && is_space(answer.data[from]))
			from++;
		while (to > from && is_space(answer.data[to - 1]))
			to--;
		tag->name = (ByteSpan){answer.data + from, to - from};
		return to > from;
	}
	return false;
}

/* Put a tag behind the others, with what stands between it and the one before. */
static bool
add_tag(Arena *arena, ByteSpan answer, TagList *list, size_t *capacity, Tag tag)
{
	size_t from = list->n ? list->tags[list->n - 1].end : 0, at = tag.start;

	if (list->n == *capacity)
	{
		size_t grown = *capacity ? *capacity * 2 : 32;
		Tag *tags = arena_alloc_array(arena, grown, sizeof *tags);

		if (!tags)
			return false;
		if (list->n)
			memcpy(tags, list->tags, list->n * sizeof *tags);
		list->tags = tags;
		*capacity = grown;
	}
	while (at > from && (answer.data[at - 1] == ' ' || answer.data[at - 1] == '\t'))
		at--;
	tag.begins_line = at == from || answer.data[at - 1] == '\n';
	while (at > from && is_space(answer.data[at - 1]))
		at--;
	if (list->n)
		list->tags[list->n - 1].touches_next = at == from;
	list->tags[list->n++] = tag;
	return true;
}

bool
tags_find(Arena *arena, ByteSpan answer, TagList *list)
{
	size_t capacity = 0;
	Tag tag;

	*list = (TagList){NULL, 0};
	for (size_t at = 0; at < answer.length;)
	{
		const char *open = memchr(answer.data + at, '<', answer.length - at);

		if (!open)
			break;
		at = (size_t) (open - answer.data);
		if (!read_tag(answer, at, &tag))
			at++;
		else if (add_tag(arena, answer, list, &capacity, tag))
			at = tag.end;
		else
			return false;
	}
	tag = (Tag){.kind = TAG_END, .start = answer.length, .end = answer.length};
	if (!add_tag(arena, answer, list, &capacity, tag))
		return false;
	list->n--;
	return true;
}

/* What tags_read_function has to do with. */
typedef struct Reading
{
	const TagList *list;
	const FunctionView *function;
	bool is_ended;
	Parameter *parameters;
	size_t n_parameters;
	size_t *work;
} Reading;

/* Count n tags that are looked at; false when there were too many. */
static bool
spend(Reading *reading, size_t n)
{
	if (*reading->work < n)
		return false;
	*reading->work -= n;
	return true;
}

static bool
same(ByteSpan a, ByteSpan b)
{
	return a.length == b.length && memcmp(a.data, b.data, a.length) == 0;
}

/* Letters, digits and _ - . : what a parameter may be called when nobody says what it is called. */
static bool
looks_like_name(ByteSpan name)
{
	for (size_t i = 0; i < name.length; i++)
	{
		char c = name.data[i];

		if (!((c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '_' || c == '-' || c == '.'))
			return false;
	}
	return true;
}

/* Does the next parameter begin with this tag, although the one before is not closed? */
static bool
begins_next(Reading *reading, const Tag *open, const Tag *tag)
{
	const FunctionView *function = reading->function;

	if (!spend(reading, reading->n_parameters) || same(tag->name, open->name))
		return false;
	for (size_t i = 0; i < reading->n_parameters; i++)
		if (same(reading->parameters[i].key, tag->name))
			return false;
	if (!function->is_known)
		return looks_like_name(tag->name);
	return function->has_parameter(function->context, tag->name) ||
		   !function->takes_text(function->context, open->name);
}

/* A closing tag counts where something of the format follows; others are part of a value. */
static bool
closes_parameter(const Tag *tag)
{
	return tag->touches_next && tag[1].kind != TAG_PARAMETER_CLOSE;
}

/*
 * The tag that ends the value of the parameter that tags[first] opens: its own closing tag (*is_closed) or, where that
 * was forgotten, what comes instead. NO_TAG: it has no end.
 */
static size_t
find_value_end(Reading *reading, size_t first, bool *is_closed)
{
	const Tag *tags = reading->list->tags, *open = &tags[first];
	size_t nested_parameters = 0, nested_functions = 0;
	size_t inner = NO_TAG, function_end = NO_TAG, block_end = NO_TAG, at;

	*is_closed = true;
	for (at = first + 1; tags[at].kind != TAG_END; at++)
	{
		const Tag *tag = &tags[at];

		if (!spend(reading, 1))
			return NO_TAG;
		if (tag->kind == TAG_PARAMETER_CLOSE && nested_parameters > 0)
		{
			nested_parameters--;
			if (inner == NO_TAG && closes_parameter(tag))
				inner = at;
		}
		else if (tag->kind == TAG_PARAMETER_CLOSE && closes_parameter(tag))
			return at;
		else if (tag->kind == TAG_PARAMETER_OPEN && tag->begins_line)
		{
			if (nested_parameters + nested_functions == 0 && function_end == NO_TAG && begins_next(reading, open, tag))
			{
				*is_closed = false;
				return at;
			}
			nested_parameters++;
		}
		else if (tag->kind == TAG_FUNCTION_OPEN && tag->begins_line)
			nested_functions++;
		else if (tag->kind == TAG_FUNCTION_CLOSE && nested_functions > 0)
			nested_functions--;
		else if (tag->kind == TAG_FUNCTION_CLOSE && function_end == NO_TAG && (tag->begins_line || tag->touches_next))
			function_end = at;
		else if (tag->kind == TAG_BLOCK_CLOSE && nested_functions == 0 && block_end == NO_TAG)
			block_end = at;
		else if (tag->kind == TAG_BLOCK_OPEN && tag->begins_line && (function_end != NO_TAG || block_end != NO_TAG))
			break; /* another call: this one is over */
	}
	/* a tag within the value that looked as if it opened a parameter took the closing tag for itself */
	if (inner != NO_TAG && (function_end == NO_TAG || inner < function_end))
		return inner;
	*is_closed = false;
	if (function_end != NO_TAG)
		return function_end;
	if (!reading->function->is_known)
		return NO_TAG;
	return block_end != NO_TAG ? block_end : tags[at].kind == TAG_END && reading->is_ended ? at : NO_TAG;
}

static int
compare_parameters(const void *left, const void *right)
{
	const Parameter *a = left, *b = right;
	size_t shorter = a->key.length < b->key.length ? a->key.length : b->key.length;
	int order = memcmp(a->key.data, b->key.data, shorter);

	return order ? order : a->key.length < b->key.length ? -1 : a->key.length > b->key.length;
}

/* Does a key come twice? One of its values would be lost. */
static bool
has_duplicates(Arena *arena, const Parameter *parameters, size_t n, bool *out_of_memory)
{
	Parameter *sorted = arena_alloc_array(arena, n + 1, sizeof *sorted);

	if (!sorted)
		return *out_of_memory = true;
	if (n)
		memcpy(sorted, parameters, n * sizeof *sorted);
	qsort(sorted, n, sizeof *sorted, compare_parameters);
	for (size_t i = 1; i < n; i++)
		if (same(sorted[i - 1].key, sorted[i].key))
			return true;
	return false;
}

/* One more parameter. */
static bool
push(Arena *arena, Reading *reading, size_t *capacity, Parameter parameter)
{
	if (reading->n_parameters == *capacity)
	{
		size_t grown = *capacity ? *capacity * 2 : 8;
		Parameter *parameters = arena_alloc_array(arena, grown, sizeof *parameters);

		if (!parameters)
			return false;
		if (reading->n_parameters)
			memcpy(parameters, reading->parameters, reading->n_parameters * sizeof *parameters);
		reading->parameters = parameters;
		*capacity = grown;
	}
	reading->parameters[reading->n_parameters++] = parameter;
	return true;
}

/* One newline at each end of a value belongs to the format. */
static ByteSpan
value_between(ByteSpan answer, size_t start, size_t end)
{
	if (start < end && answer.data[start] == '\n')
		start++;
	if (start < end && answer.data[end - 1] == '\n')
		end--;
	return (ByteSpan){answer.data + start, end - start};
}

bool
tags_read_function(Arena *arena, ByteSpan answer, const TagList *list, size_t first, const FunctionView *function,
				   bool is_ended, Parameter **parameters, size_t *n_parameters, size_t *end, size_t *work,
				   bool *out_of_memory)
{
	Reading reading = {.list = list, .function = function, .is_ended = is_ended, .work = work};
	bool touches = list->tags[first].touches_next, is_closed;
	size_t at = first + 1, capacity = 0, behind;

	for (;; at++)
	{
		const Tag *tag = &list->tags[at];

		/* text that stands outside of the parameters would be lost */
		if (!touches || !spend(&reading, 1))
			return false;
		if (tag->kind == TAG_PARAMETER_OPEN)
		{
			if ((behind = find_value_end(&reading, at, &is_closed)) == NO_TAG)
				return false;
			if (!push(arena, &reading, &capacity,
					  (Parameter){tag->name, value_between(answer, tag->end, list->tags[behind].start)}))
			{
				*out_of_memory = true;
				return false;
			}
			touches = !is_closed || list->tags[behind].touches_next;
			at = is_closed ? behind : behind - 1;
			continue;
		}
		touches = tag->touches_next;
		*end = tag->kind == TAG_FUNCTION_CLOSE ? tag->end : tag->start;
		if (tag->kind == TAG_FUNCTION_CLOSE)
			break;
		if (tag->kind == TAG_PARAMETER_CLOSE)
			continue; /* one too many */
		if (!function->is_known || (tag->kind == TAG_END && !is_ended))
			return false;
		break;
	}
	*parameters = reading.parameters;
	*n_parameters = reading.n_parameters;
	return !has_duplicates(arena, reading.parameters, reading.n_parameters, out_of_memory);
}
