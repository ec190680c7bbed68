/*
 * examples.c - see examples.h.
 */
#include "examples.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

/* How examples are written. */
static int
hint_example(void)
{
	return errhint("examples => '[{\"input\": \"a text\", \"label\": \"one of the labels\"}]'");
}

static void __attribute__((noreturn)) refuse_example(int place, const char *problem)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("examples[%d]: %s", place, problem), hint_example()));
}

/* A member that must be a text with something in it. */
static text *
text_member(Jsonb *example, const char *name, int place)
{
	JsonbValue key = {.type = jbvString}, *value;

	key.val.string.val = unconstify(char *, name);
	key.val.string.len = strlen(name);
	value = findJsonbValueFromContainer(&example->root, JB_FOBJECT, &key);
	if (!value || value->type != jbvString || value->val.string.len == 0)
		refuse_example(place, psprintf("\"%s\" must be a text that is not empty", name));
	return cstring_to_text_with_len(value->val.string.val, value->val.string.len);
}

static bool
is_label(const Labels *labels, text *label)
{
	for (int i = 0; i < labels->n; i++)
	{
		text *one = DatumGetTextPP(labels->labels[i]);

		if (VARSIZE_ANY_EXHDR(one) == VARSIZE_ANY_EXHDR(label) &&
			memcmp(VARDATA_ANY(one), VARDATA_ANY(label), VARSIZE_ANY_EXHDR(one)) == 0)
			return true;
	}
	return false;
}

static Example
read_example(const JsonbValue *value, const Labels *labels, int place)
{
	Example example;
	Jsonb *object;

	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		refuse_example(place, "it must be an object with \"input\" and \"label\"");
	object = JsonbValueToJsonb(unconstify(JsonbValue *, value));
	if (JB_ROOT_COUNT(object) != 2)
		refuse_example(place, "it must have the members \"input\" and \"label\" alone");
	example.input = text_member(object, "input", place);
	example.answer = text_member(object, "label", place);
	if (!is_label(labels, example.answer))
		refuse_example(place, psprintf("\"%s\" is not one of the labels", text_to_cstring(example.answer)));
	return example;
}

Example *
read_examples(text *json, const Labels *labels, int *n)
{
	Jsonb *array = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text_to_cstring(json))));
	JsonbIterator *iterator = JsonbIteratorInit(&array->root);
	Example *examples;
	JsonbValue value;

	if (!JB_ROOT_IS_ARRAY(array) || JB_ROOT_IS_SCALAR(array))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("examples must be a JSON array"), hint_example()));
	if (JB_ROOT_COUNT(array) > MAX_EXAMPLES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("there are %u examples, and the limit is %d", (unsigned) JB_ROOT_COUNT(array), MAX_EXAMPLES)));
	examples = palloc(sizeof *examples * Max(JB_ROOT_COUNT(array), 1));
	*n = 0;
	(void) JsonbIteratorNext(&iterator, &value, true);
	while (JsonbIteratorNext(&iterator, &value, true) == WJB_ELEM)
	{
		CHECK_FOR_INTERRUPTS();
		examples[*n] = read_example(&value, labels, *n + 1);
		(*n)++;
	}
	return examples;
}
