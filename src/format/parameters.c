/*
 * parameters.c - see parameters.h.
 */
#include "parameters.h"

#include <string.h>

#include "conjunctions.h"
#include "pattern.h"

#define NUMBER_PATTERN "-?(?:0|[1-9][0-9]*)(?:\\.[0-9]+)?(?:[eE][-+]?[0-9]+)?"

bool
tag_takes_name(ByteSpan name)
{
	if (name.length == 0 || name.data[0] == ' ' || name.data[name.length - 1] == ' ')
		return false;
	for (size_t i = 0; i < name.length; i++)
		if ((unsigned char) name.data[i] < ' ' || name.data[i] == '<' || name.data[i] == '>')
			return false;
	return true;
}

uint32_t
parameter_kinds(Machine *machine, ObjectPlan *plan, uint32_t index)
{
	static const uint8_t kind_of[N_VALUE_TYPES] = {
		[VALUE_NULL] = KIND_NULL,     [VALUE_FALSE] = KIND_BOOLEAN, [VALUE_TRUE] = KIND_BOOLEAN,
		[VALUE_NUMBER] = KIND_NUMBER, [VALUE_STRING] = KIND_STRING, [VALUE_ARRAY] = KIND_ARRAY,
		[VALUE_OBJECT] = KIND_OBJECT,
	};
	Formulas *formulas = machine->formulas;
	PartOptions options;

	if (plan->kinds[index])
		return plan->kinds[index];
	options = object_with(formulas, plan->formula, plan->names[index]);
	for (uint32_t i = 0; i < options.n && !pool_failed(machine->pool); i++)
		for (int type = 0; type < N_VALUE_TYPES; type++)
			if (formula_of_conjunction(formulas, options.at[i].conjunction, (ValueType) type) != F_FALSE)
				plan->kinds[index] |= kind_of[type];
	return plan->kinds[index] |= KINDS_KNOWN;
}

/* The texts that look like one of the kinds. */
static uint32_t
texts_of_kinds(Expressions *e, uint32_t kinds)
{
	static const struct
	{
		uint32_t kind;
		const char *pattern;
	} looks[] = {
		{KIND_NULL, "null"},     {KIND_BOOLEAN, "true|false"}, {KIND_NUMBER, NUMBER_PATTERN},
		{KIND_ARRAY, "\\[[^]*"}, {KIND_OBJECT, "\\{[^]*"},
	};
	uint32_t made = E_NONE;

	for (size_t i = 0; i < sizeof looks / sizeof *looks; i++)
		if (kinds & looks[i].kind)
			made = expression_or(e, made, pattern_read(e, looks[i].pattern, strlen(looks[i].pattern), true));
	return made;
}

uint32_t
parameter_texts(Machine *machine, uint32_t kinds)
{
	static const char closing[] = "[^]*\\n</parameter>[^]*";
	Expressions *e = machine->formulas->schema->expressions;
	uint32_t others = expression_or(e, pattern_read(e, closing, strlen(closing), true), texts_of_kinds(e, kinds));

	return pool_failed(machine->pool) ? E_NONE : expression_not(e, others);
}

/* Digits from a place on. */
static size_t
skip_digits(ByteSpan text, size_t at)
{
	while (at < text.length && text.data[at] >= '0' && text.data[at] <= '9')
		at++;
	return at;
}

/* As NUMBER_PATTERN. */
static bool
looks_like_number(ByteSpan text)
{
	size_t at = text.length > 0 && text.data[0] == '-', end = skip_digits(text, at);

	if (end == at || (text.data[at] == '0' && end > at + 1))
		return false;
	if (end < text.length && text.data[end] == '.')
	{
		at = end + 1;
		end = skip_digits(text, at);
		if (end == at)
			return false;
	}
	if (end < text.length && (text.data[end] | 32) == 'e')
	{
		at = end + 1;
		at += at < text.length && (text.data[at] == '+' || text.data[at] == '-');
		end = skip_digits(text, at);
		if (end == at)
			return false;
	}
	return end == text.length;
}

static bool
is_word(ByteSpan text, const char *word)
{
	return text.length == strlen(word) && memcmp(text.data, word, text.length) == 0;
}

bool
parameter_is_text(uint32_t kinds, ByteSpan text)
{
	if (!(kinds & KIND_STRING))
		return false;
	return !((kinds & KIND_NULL) && is_word(text, "null")) &&
		   !((kinds & KIND_BOOLEAN) && (is_word(text, "true") || is_word(text, "false"))) &&
		   !((kinds & KIND_NUMBER) && looks_like_number(text)) &&
		   !((kinds & KIND_ARRAY) && text.length > 0 && text.data[0] == '[') &&
		   !((kinds & KIND_OBJECT) && text.length > 0 && text.data[0] == '{');
}
