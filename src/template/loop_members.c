/*
 * loop_members.c - what the variable loop knows inside a for loop: loop.index, loop.last, loop.nextitem …
 *
 * Items that pass a loop's condition are found one by one, so only what asks for the end runs through all of them.
 */
#include "operations.h"

/* loop.index and index0; variant: what the first one is */
bool
loop_place(const Call *call, Value *out)
{
	*out = value_int((int64_t) call->self.as.loop->index + call->operation->variant);
	return true;
}

/* loop.first */
bool
loop_first(const Call *call, Value *out)
{
	*out = value_bool(call->self.as.loop->index == 0);
	return true;
}

/* loop.last */
bool
loop_last(const Call *call, Value *out)
{
	Loop *loop = call->self.as.loop;
	bool has_next;

	if (!loop_find_item(call->interpreter, loop, loop->index + 1, &has_next))
		return false;
	*out = value_bool(!has_next);
	return true;
}

/* loop.depth and depth0: recursive loops there are none */
bool
loop_depth(const Call *call, Value *out)
{
	*out = value_int(call->operation->variant);
	return true;
}

/* loop.previtem */
bool
loop_previous(const Call *call, Value *out)
{
	const Loop *loop = call->self.as.loop;

	if (loop->index > 0)
		*out = loop->items->items[loop->index - 1];
	return true;
}

/* loop.nextitem */
bool
loop_next(const Call *call, Value *out)
{
	Loop *loop = call->self.as.loop;
	bool has_next;

	if (!loop_find_item(call->interpreter, loop, loop->index + 1, &has_next))
		return false;
	if (has_next)
		*out = loop->items->items[loop->index + 1];
	return true;
}

/* loop.length */
bool
loop_length(const Call *call, Value *out)
{
	Loop *loop = call->self.as.loop;
	bool is_item;

	if (!loop_find_item(call->interpreter, loop, SIZE_MAX, &is_item))
		return false;
	*out = value_int((int64_t) loop->items->n);
	return true;
}

/* loop.revindex and revindex0; variant: what the last one is */
bool
loop_countdown(const Call *call, Value *out)
{
	Loop *loop = call->self.as.loop;

	if (!loop_length(call, out))
		return false;
	*out = value_int((int64_t) (loop->items->n - loop->index) - 1 + call->operation->variant);
	return true;
}

bool
loop_attribute(Interpreter *interpreter, Loop *loop, const Text *name, Value *out, bool *found)
{
	const Value self = {.kind = VALUE_LOOP, .as.loop = loop};
	const Arguments none = {0};
	int member = operation_find(OPERATION_LOOP_MEMBER, name->bytes, name->length);

	if (member < 0)
		return method_find(interpreter, self, name, out, found);
	*found = true;
	*out = value_undefined(name); /* what an item is that is not there */
	return operation_apply(interpreter, member, self, &none, out);
}
