/*
 * value_tests.c - what stands behind "is" in a template: defined, none, string, mapping, divisibleby …
 */
#include "lexer.h"
#include "operations.h"

#include <string.h>
#include <utf8proc.h>

/* Tests of the type alone: the row says which pass. */
bool
test_type(const Call *call, Value *out)
{
	*out = value_bool((value_kind_bit(call->self) & call->operation->values) != 0);
	return true;
}

/* value is true, value is false */
bool
test_truth(const Call *call, Value *out)
{
	*out = value_bool(call->self.kind == VALUE_BOOL && call->self.as.boolean == (bool) call->operation->variant);
	return true;
}

/* The remainder of a division, for odd, even and divisibleby. */
static bool
remainder_is(const Call *call, Value divisor, double wanted, Value *out)
{
	Value remainder;

	if (call->self.kind == VALUE_TEXT)
		return workspace_fail(call->work, STATUS_INVALID_ARGUMENT, "a string has no remainder");
	if (!compute(call->interpreter, TOKEN_MODULO, call->self, divisor, &remainder))
		return false;
	*out = value_bool(value_number(remainder) == wanted);
	return true;
}

/* value is odd, value is even */
bool
test_parity(const Call *call, Value *out)
{
	return remainder_is(call, value_int(2), call->operation->variant, out);
}

/* value is divisibleby divisor */
bool
test_divisible(const Call *call, Value *out)
{
	return remainder_is(call, call->values[0], 0, out);
}

/* value is lower, value is upper: str(value).islower() or isupper() */
bool
test_case(const Call *call, Value *out)
{
	const Text *text = value_to_text(call->work, call->self);
	bool upper = call->operation->variant == TEXT_UPPER;
	size_t n_bytes;

	*out = value_bool(false);
	if (!text || !workspace_step(call->work, text->length / 4))
		return false;
	for (size_t i = 0; i < text->length; i += n_bytes)
	{
		utf8proc_category_t category =
			utf8proc_category((utf8proc_int32_t) text_character(text->bytes, text->length, i, &n_bytes));

		if (category == UTF8PROC_CATEGORY_LT || category == (upper ? UTF8PROC_CATEGORY_LL : UTF8PROC_CATEGORY_LU))
		{
			*out = value_bool(false);
			return true;
		}
		if (category == (upper ? UTF8PROC_CATEGORY_LU : UTF8PROC_CATEGORY_LL))
			*out = value_bool(true);
	}
	return true;
}

/* name is filter, name is test: is it the name of one? */
bool
test_name(const Call *call, Value *out)
{
	const Text *text = call->self.as.text;

	*out = value_bool(false);
	if (call->self.kind != VALUE_TEXT)
		return true;
	if (!text_flatten(call->work, call->self.as.text))
		return false;
	*out = value_bool(operation_find((OperationKind) call->operation->variant, text->bytes, text->length) >= 0);
	return true;
}

/* value is eq other, value is ne other */
bool
test_equal(const Call *call, Value *out)
{
	bool equal;

	if (!value_equal(call->work, call->self, call->values[0], &equal))
		return false;
	*out = value_bool(equal == (bool) call->operation->variant);
	return true;
}

/* value is in container */
bool
test_in(const Call *call, Value *out)
{
	bool contained;

	if (!value_contains(call->work, call->values[0], call->self, &contained))
		return false;
	*out = value_bool(contained);
	return true;
}

/*
 * value is sameas other: are two values one object? Answered for what has no identity of its own; the rest is the same
 * when it is equal.
 */
bool
test_same(const Call *call, Value *out)
{
	Value left = call->self, right = call->values[0];
	bool same = false;

	if (left.kind == right.kind && (left.kind == VALUE_LIST || left.kind == VALUE_DICT))
		same = left.as.list == right.as.list;
	else if (left.kind == right.kind && !value_equal(call->work, left, right, &same))
		return false;
	*out = value_bool(same);
	return true;
}

/* value is lt other, and le, gt, ge */
bool
test_order(const Call *call, Value *out)
{
	int variant = call->operation->variant, order;

	if (!value_compare(call->work, call->self, call->values[0], &order))
		return false;
	*out = value_bool(order == (variant & ORDER_GREATER ? 1 : -1) || (order == 0 && (variant & ORDER_OR_EQUAL)));
	return true;
}
