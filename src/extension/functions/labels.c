/*
 * labels.c - see labels.h.
 */
#include "labels.h"

#include "../core/texts.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/json.h"

/* A label and its place in the array. */
typedef struct PlacedLabel
{
	const char *data;
	int length, place;
} PlacedLabel;

/* By text, then by place. */
static int
compare_labels(const void *a, const void *b)
{
	const PlacedLabel *left = a, *right = b;
	int order = memcmp(left->data, right->data, Min(left->length, right->length));

	if (order == 0)
		order = left->length - right->length;
	return order != 0 ? order : left->place - right->place;
}

/* Raise that two labels are the same, if any are: the first that repeats one. */
static void
refuse_repetition(const Labels *labels, const char *name)
{
	PlacedLabel *sorted = palloc_extended(sizeof *sorted * labels->n, MCXT_ALLOC_HUGE);
	int repeated = labels->n, original = 0, first = 0;

	for (int i = 0; i < labels->n; i++)
	{
		text *label = DatumGetTextPP(labels->labels[i]);

		CHECK_FOR_INTERRUPTS();
		sorted[i] = (PlacedLabel){VARDATA_ANY(label), VARSIZE_ANY_EXHDR(label), i};
	}
	qsort(sorted, labels->n, sizeof *sorted, compare_labels);
	for (int i = 1; i < labels->n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (sorted[i].length != sorted[first].length ||
			memcmp(sorted[i].data, sorted[first].data, sorted[i].length) != 0)
			first = i;
		else if (sorted[i].place < repeated)
		{
			repeated = sorted[i].place;
			original = sorted[first].place;
		}
	}
	pfree(sorted);
	if (repeated < labels->n)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s[%d] must not be the same as %s[%d]", name, repeated + 1, name, original + 1)));
}

Labels
read_labels(ArrayType *array, const char *name)
{
	Labels labels;
	bool *nulls;

	require_one_dimension(array, name);
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &labels.labels, &nulls, &labels.n);
	if (labels.n == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s must not be empty", name)));
	for (int i = 0; i < labels.n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (nulls[i])
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s[%d] must not be null", name, i + 1)));
		if (VARSIZE_ANY_EXHDR(DatumGetTextPP(labels.labels[i])) == 0)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s[%d] must not be empty", name, i + 1)));
	}
	refuse_repetition(&labels, name);
	return labels;
}

char *
list_labels(const Labels *labels)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < labels->n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		appendStringInfo(&list, "%s%s", i > 0 ? ", " : "", TextDatumGetCString(labels->labels[i]));
	}
	return list.data;
}

ByteSpan
json_labels(const Labels *labels)
{
	StringInfoData json;

	initStringInfo(&json);
	for (int i = 0; i < labels->n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		appendStringInfoChar(&json, i > 0 ? ',' : '[');
		escape_json(&json, TextDatumGetCString(labels->labels[i]));
	}
	appendStringInfoChar(&json, ']');
	return span_from_cstring(json.data);
}
