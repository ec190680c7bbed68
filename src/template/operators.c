/*
 * operators.c - arithmetic, subscripts, slices and attributes of values, with Python's rules.
 *
 * Integers have 64 bits; what Python would compute beyond them is refused as UNSUPPORTED.
 */
#include "interpreter.h"
#include "lexer.h"

#include <math.h>
#include <string.h>

/* The failure of an integer that outgrows 64 bits. */
static bool
fail_overflow(Workspace *work)
{
	return workspace_fail(work, STATUS_UNSUPPORTED, "an integer of more than 64 bits is not supported");
}

/* The failure of an operator between types that it does not take. */
static bool
fail_operands(Workspace *work, const char *sign, Value left, Value right)
{
	if (left.kind == VALUE_UNDEFINED || right.kind == VALUE_UNDEFINED)
		return fail_undefined(work, left.kind == VALUE_UNDEFINED ? left : right);
	return workspace_fail(work, STATUS_INVALID_ARGUMENT, "\"%s\" does not take %s and %s", sign, value_kind_name(left),
						  value_kind_name(right));
}

/* a // b rounded down, b not 0; INT64_MIN // -1 is refused before. */
static int64_t
floor_divide(int64_t a, int64_t b)
{
	int64_t quotient = a / b;

	return quotient - ((a % b != 0) && ((a < 0) != (b < 0)));
}

/* a ** b for b >= 0; false: overflow. */
static bool
integer_power(int64_t a, int64_t b, int64_t *power)
{
	int64_t base = a;

	*power = 1;
	while (b > 0)
	{
		if ((b & 1) && __builtin_mul_overflow(*power, base, power))
			return false;
		b >>= 1;
		if (b > 0 && __builtin_mul_overflow(base, base, &base))
			return false;
	}
	return true;
}

/* Arithmetic of two integers that gives an integer. */
static bool
compute_integers(Workspace *work, int operation, int64_t a, int64_t b, Value *out)
{
	int64_t result = 0;
	bool overflow = false;

	if ((operation == TOKEN_FLOOR_DIVIDE || operation == TOKEN_MODULO) && b == 0)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "division by zero");
	switch (operation)
	{
		case TOKEN_ADD:
			overflow = __builtin_add_overflow(a, b, &result);
			break;
		case TOKEN_SUBTRACT:
			overflow = __builtin_sub_overflow(a, b, &result);
			break;
		case TOKEN_MULTIPLY:
			overflow = __builtin_mul_overflow(a, b, &result);
			break;
		case TOKEN_FLOOR_DIVIDE:
			overflow = a == INT64_MIN && b == -1;
			result = overflow ? 0 : floor_divide(a, b);
			break;
		case TOKEN_MODULO:
			result = b == -1 ? 0 : a - floor_divide(a, b) * b;
			break;
		default:
			overflow = !integer_power(a, b, &result);
			break;
	}
	*out = value_int(result);
	return !overflow || fail_overflow(work);
}

/* a // b and a % b of floats as Python defines them, b not 0. */
static void
divide_floats(double a, double b, double *quotient, double *remainder)
{
	double modulo = fmod(a, b);
	double division = (a - modulo) / b;

	if (modulo != 0.0)
	{
		if ((b < 0) != (modulo < 0))
		{
			modulo += b;
			division -= 1.0;
		}
	}
	else
		modulo = copysign(0.0, b);
	*remainder = modulo;
	if (division != 0.0)
	{
		*quotient = floor(division);
		if (division - *quotient > 0.5)
			*quotient += 1.0;
	}
	else
		*quotient = copysign(0.0, a / b);
}

/* Arithmetic of two numbers that gives a float. */
static bool
compute_floats(Workspace *work, int operation, double a, double b, Value *out)
{
	double quotient, remainder, result;

	switch (operation)
	{
		case TOKEN_ADD:
			*out = value_float(a + b);
			return true;
		case TOKEN_SUBTRACT:
			*out = value_float(a - b);
			return true;
		case TOKEN_MULTIPLY:
			*out = value_float(a * b);
			return true;
		case TOKEN_POWER:
			result = pow(a, b);
			if (a == 0.0 && b < 0.0)
				return workspace_fail(work, STATUS_INVALID_ARGUMENT, "division by zero");
			if ((isnan(result) && !isnan(a) && !isnan(b)) || (isinf(result) && isfinite(a) && isfinite(b)))
				return workspace_fail(work, STATUS_UNSUPPORTED, "such a power is not supported");
			*out = value_float(result);
			return true;
		default:
			break;
	}
	if (b == 0.0)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "division by zero");
	divide_floats(a, b, &quotient, &remainder);
	*out = value_float(operation == TOKEN_DIVIDE ? a / b : operation == TOKEN_MODULO ? remainder : quotient);
	return true;
}

/* Two lists, or two tuples, one behind the other. */
static bool
join_lists(Workspace *work, const List *left, const List *right, Value *out)
{
	List *list = list_create(work, left->kind, left->n + right->n);

	if (!list || !workspace_step(work, (left->n + right->n) / 8))
		return false;
	if (left->n)
		memcpy(list->items, left->items, left->n * sizeof(Value));
	if (right->n)
		memcpy(list->items + left->n, right->items, right->n * sizeof(Value));
	list->n = left->n + right->n;
	*out = value_list(list);
	return true;
}

/* Two texts one behind the other; a safe one escapes the other, as Markup does. */
static bool
join_texts(Workspace *work, Text *left, Text *right, Value *out)
{
	bool is_safe = left->safe || right->safe;
	Text *text;

	if (is_safe && !left->safe)
		left = text_flatten(work, left) ? text_escape(work, left) : NULL;
	if (is_safe && left && !right->safe)
		right = text_flatten(work, right) ? text_escape(work, right) : NULL;
	if (!left || !right)
		return false;
	text = text_concatenate(work, left, right);
	if (!text)
		return false;
	text->safe = is_safe;
	*out = value_text(text);
	return true;
}

/* A text or list n times. */
static bool
repeat(Workspace *work, Value value, int64_t n, Value *out)
{
	const List *list;
	List *repeated;

	if (value.kind == VALUE_TEXT)
	{
		Text *text = text_flatten(work, value.as.text) ? text_repeat(work, value.as.text, n) : NULL;

		if (!text)
			return false;
		text->safe = value.as.text->safe;
		*out = value_text(text);
		return true;
	}
	list = value.as.list;
	if (n < 0)
		n = 0;
	if (list->n && (uint64_t) n > TEMPLATE_MAX_STEPS / list->n)
		return workspace_fail(work, STATUS_TOO_LONG, "a list has more than %d items", TEMPLATE_MAX_STEPS);
	if (!workspace_step(work, list->n * (size_t) n))
		return false;
	repeated = list_create(work, list->kind, list->n * (size_t) n);
	if (!repeated)
		return false;
	for (int64_t i = 0; list->n && i < n; i++)
	{
		memcpy(repeated->items + repeated->n, list->items, list->n * sizeof(Value));
		repeated->n += list->n;
	}
	*out = value_list(repeated);
	return true;
}

/* Can the value be added to another of its kind, or be repeated? */
static bool
is_sequence(Value value)
{
	return value.kind == VALUE_TEXT || (value.kind == VALUE_LIST && value.as.list->kind <= LIST_TUPLE);
}

bool
compute(Interpreter *interpreter, int operation, Value left, Value right, Value *out)
{
	static const char *const signs[] = {"+", "-", "*", "/", "//", "%", "**"};
	Workspace *work = interpreter->work;
	bool are_integers = value_is_integer(left) && value_is_integer(right);

	if (value_is_number(left) && value_is_number(right))
	{
		if (are_integers && operation != TOKEN_DIVIDE && (operation != TOKEN_POWER || value_integer(right) >= 0))
			return compute_integers(work, operation, value_integer(left), value_integer(right), out);
		return compute_floats(work, operation, value_number(left), value_number(right), out);
	}
	if (operation == TOKEN_ADD && left.kind == VALUE_TEXT && right.kind == VALUE_TEXT)
		return join_texts(work, left.as.text, right.as.text, out);
	if (operation == TOKEN_ADD && left.kind == VALUE_LIST && right.kind == VALUE_LIST && is_sequence(left) &&
		left.as.list->kind == right.as.list->kind)
		return join_lists(work, left.as.list, right.as.list, out);
	if (operation == TOKEN_MULTIPLY && is_sequence(left) && value_is_integer(right))
		return repeat(work, left, value_integer(right), out);
	if (operation == TOKEN_MULTIPLY && value_is_integer(left) && is_sequence(right))
		return repeat(work, right, value_integer(left), out);
	if (operation == TOKEN_MODULO && left.kind == VALUE_TEXT)
		return workspace_fail(work, STATUS_UNSUPPORTED, "formatting a string with %% is not supported");
	if (operation == TOKEN_SUBTRACT && left.kind == VALUE_LIST && left.as.list->kind >= LIST_KEYS)
		return workspace_fail(work, STATUS_UNSUPPORTED, "subtracting from %s is not supported", value_kind_name(left));
	return fail_operands(work, signs[operation - TOKEN_ADD], left, right);
}

/* An index counted from either end; false: out of range. */
static bool
resolve_index(int64_t index, size_t n, size_t *place)
{
	if (index < 0)
		index += (int64_t) n;
	if (index < 0 || (uint64_t) index >= n)
		return false;
	*place = (size_t) index;
	return true;
}

/* Item or character number index; *found false: out of range. */
static bool
get_indexed(Interpreter *interpreter, Value value, int64_t index, Value *out, bool *found)
{
	Workspace *work = interpreter->work;
	size_t place, length;
	Text *text;

	if (value.kind == VALUE_LIST)
	{
		*found = resolve_index(index, value.as.list->n, &place);
		if (*found)
			*out = value.as.list->items[place];
		return true;
	}
	if (!value_length(work, value, &length))
		return false;
	*found = resolve_index(index, length, &place);
	if (!*found)
		return true;
	text = text_stride(work, value.as.text, (int64_t) place, 1, 1);
	if (!text)
		return false;
	*out = value_text(text);
	return true;
}

/* Can the value be subscripted by an index? */
static bool
is_indexable(Value value)
{
	return value.kind == VALUE_TEXT || (value.kind == VALUE_LIST && value.as.list->kind <= LIST_RANGE);
}

/* value.name where that is no method and no key: attributes of namespaces and loops. */
static bool
get_member(Interpreter *interpreter, Value value, const Text *name, Value *out, bool *found)
{
	Value *member;

	*found = false;
	if (value.kind == VALUE_LOOP)
		return loop_attribute(interpreter, value.as.loop, name, out, found);
	if (value.kind != VALUE_NAMESPACE)
		return method_find(interpreter, value, name, out, found);
	if (!dict_find_text(interpreter->work, value.as.dict, name, &member))
		return false;
	*found = member != NULL;
	if (member)
		*out = *member;
	return true;
}

bool
get_item(Interpreter *interpreter, Value value, Value key, Value *out)
{
	Workspace *work = interpreter->work;
	bool found = false, is_key;
	Value *entry = NULL;

	if (value.kind == VALUE_UNDEFINED)
		return fail_undefined(work, value);
	if ((key.kind == VALUE_TEXT && !text_flatten(work, key.as.text)) || !value_is_key(work, key, &is_key))
		return false;
	if (value.kind == VALUE_DICT)
	{
		if (is_key && !dict_find(work, value.as.dict, key, &entry))
			return false;
		if (entry)
			*out = *entry;
		found = entry != NULL;
	}
	else if (is_indexable(value) && value_is_integer(key))
	{
		if (!get_indexed(interpreter, value, value_integer(key), out, &found))
			return false;
	}
	if (!found && key.kind == VALUE_TEXT && !get_member(interpreter, value, key.as.text, out, &found))
		return false;
	if (!found)
		*out = value_undefined(key.kind == VALUE_TEXT ? key.as.text : NULL);
	return true;
}

bool
get_attribute(Interpreter *interpreter, Value value, const Text *name, Value *out)
{
	bool found;

	if (value.kind == VALUE_UNDEFINED)
		return fail_undefined(interpreter->work, value);
	if (!get_member(interpreter, value, name, out, &found))
		return false;
	if (!found && value.kind == VALUE_DICT)
	{
		Value *entry;

		if (!dict_find_text(interpreter->work, value.as.dict, name, &entry))
			return false;
		found = entry != NULL;
		if (entry)
			*out = *entry;
	}
	if (!found)
		*out = value_undefined(name);
	return true;
}

/* Turn the bounds of a slice of n items into a start, a step and a count, as slice.indices() does. */
static bool
resolve_slice(Workspace *work, const Value bounds[3], size_t n, int64_t *start, int64_t *step, size_t *count)
{
	int64_t length = (int64_t) n, ends[2];

	for (int i = 0; i < 3; i++)
		if (bounds[i].kind != VALUE_NONE && !value_is_integer(bounds[i]))
			return workspace_fail(work, STATUS_INVALID_ARGUMENT, "a slice needs integers, not %s",
								  value_kind_name(bounds[i]));
	*step = bounds[2].kind == VALUE_NONE ? 1 : value_integer(bounds[2]);
	if (*step == 0)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "the step of a slice is zero");
	if (*step < -INT64_MAX)
		*step = -INT64_MAX;
	for (int i = 0; i < 2; i++)
	{
		int64_t low = *step < 0 ? -1 : 0, high = *step < 0 ? length - 1 : length;
		int64_t end = i == 0 ? (*step < 0 ? high : low) : (*step < 0 ? low : high);

		if (bounds[i].kind != VALUE_NONE)
		{
			end = value_integer(bounds[i]);
			if (end < 0)
				end = end < -length ? low : end + length;
			end = end < low ? low : end > high ? high : end;
		}
		ends[i] = end;
	}
	*start = ends[0];
	*count = 0;
	if (*step > 0 && ends[1] > ends[0])
		*count = (size_t) ((ends[1] - ends[0] - 1) / *step + 1);
	else if (*step < 0 && ends[0] > ends[1])
		*count = (size_t) ((ends[0] - ends[1] - 1) / -*step + 1);
	return true;
}

bool
get_slice(Interpreter *interpreter, Value value, const Value bounds[3], Value *out)
{
	Workspace *work = interpreter->work;
	int64_t start = 0, step = 1;
	size_t n, count = 0;
	List *list;

	if (value.kind == VALUE_UNDEFINED)
		return fail_undefined(work, value);
	if (!is_indexable(value))
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "%s cannot be sliced", value_kind_name(value));
	if (!value_length(work, value, &n) || !resolve_slice(work, bounds, n, &start, &step, &count))
		return false;
	if (value.kind == VALUE_TEXT)
	{
		Text *text = text_stride(work, value.as.text, start, step, count);

		if (!text)
			return false;
		text->safe = value.as.text->safe;
		*out = value_text(text);
		return true;
	}
	list = list_create(work, value.as.list->kind, count);
	if (!list || !workspace_step(work, count / 8))
		return false;
	for (size_t k = 0; k < count; k++)
		list->items[k] = value.as.list->items[start + (int64_t) k * step];
	list->n = count;
	*out = value_list(list);
	return true;
}
