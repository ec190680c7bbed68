/*
 * ranking.c - see ranking.h.
 */
#include "ranking.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "architectures.h"

#define YES "yes"
#define NO "no"

/*
 * A classifier's rows are copies of the output matrix's, which the embedding either is or is not: rounded copies have a
 * cosine of nearly 1, rows of two trained matrices one near 0.
 */
#define SAME_ROW_COSINE 0.9

/* Which of the labels is this one; -1: none. */
static int
find_label(const GgufValue *labels, const char *label)
{
	ByteReader reader;

	byte_reader_init(&reader, labels->elements.data, labels->elements.length);
	for (uint64_t i = 0; i < labels->n_elements; i++)
	{
		uint64_t length = read_u64(&reader);
		const char *text = read_raw(&reader, length);

		if (text && length == strlen(label) && memcmp(text, label, length) == 0)
			return (int) i;
	}
	return -1;
}

void
ranking_read(const Gguf *gguf, ModelHyper *hyper, Notices *notices)
{
	const GgufTensor *classifier = gguf_find_tensor(gguf, "cls.output.weight");
	uint64_t n_classes = classifier && classifier->n_dims > 1 ? classifier->dims[1] : 1;
	const GgufValue *labels;
	char key[128];

	if (!classifier)
		return;
	snprintf(key, sizeof key, "%s.classifier.output_labels", architecture_name(hyper->architecture));
	labels = gguf_find(gguf, key);
	if (labels && (labels->type != GGUF_ARRAY || labels->element_type != GGUF_STRING))
		labels = NULL;
	if (n_classes == 2 && labels && labels->n_elements == 2 && find_label(labels, YES) >= 0 &&
		find_label(labels, NO) >= 0)
		hyper->yes_class = (uint32_t) find_label(labels, YES);
	else if (n_classes > 2 || (n_classes == 2 && labels))
	{
		hyper->ranking = RANKING_NONE;
		notice_add(notices,
				   "cls.output.weight is a classifier of %llu classes that are not \"yes\" and \"no\": it is not used",
				   (unsigned long long) n_classes);
		return;
	}
	hyper->ranking = RANKING_BY_CLASSES;
	hyper->n_classes = (uint32_t) n_classes;
}

/* The cosine of two rows. */
static double
cosine(const float *a, const float *b, uint32_t n)
{
	double product = 0, a_squares = 0, b_squares = 0;

	for (uint32_t i = 0; i < n; i++)
	{
		product += (double) a[i] * b[i];
		a_squares += (double) a[i] * a[i];
		b_squares += (double) b[i] * b[i];
	}
	return a_squares > 0 && b_squares > 0 ? product / sqrt(a_squares * b_squares) : 0;
}

/*
 * Is the embedding the output matrix of a file that has a classifier and no such matrix? Then the classifier's row of
 * "yes" is the embedding's. Files of one class say nothing about it: what they were trained for is not to write.
 */
static Status
find_output(Model *model, uint32_t n_classes)
{
	uint32_t hidden = model->hyper.hidden;
	int32_t yes = tokenizer_find(model->tokenizer, YES, strlen(YES));
	float *row;

	model->has_output = false;
	if (n_classes < 2 || yes < 0)
		return status_ok();
	row = malloc(hidden * sizeof *row);
	if (!row)
		return status_error(STATUS_UNAVAILABLE, "out of memory for a row of %u numbers", hidden);
	packed_row_expand(&model->token_embedding, (uint32_t) yes, row);
	model->has_output = cosine(row, model->rank_rows, hidden) > SAME_ROW_COSINE;
	free(row);
	return status_ok();
}

/* Rows of a classifier. */
static void
take_classes(Model *model, const PackedMatrix *classifier)
{
	const ModelHyper *hyper = &model->hyper;

	packed_row_expand(classifier, hyper->yes_class, model->rank_rows);
	/* one class is compared with nothing */
	if (hyper->n_classes == 2)
		packed_row_expand(classifier, 1 - hyper->yes_class, model->rank_rows + hyper->hidden);
}

/* Rows of the output matrix; false: the vocabulary has no such tokens. */
static bool
take_tokens(Model *model)
{
	int32_t yes = tokenizer_find(model->tokenizer, YES, strlen(YES));
	int32_t no = tokenizer_find(model->tokenizer, NO, strlen(NO));

	if (yes < 0 || no < 0)
		return false;
	packed_row_expand(&model->output, (uint32_t) yes, model->rank_rows);
	packed_row_expand(&model->output, (uint32_t) no, model->rank_rows + model->hyper.hidden);
	return true;
}

/* It cannot rank. */
static void
refuse(Model *model, const char *why)
{
	free(model->rank_rows);
	model->rank_rows = NULL;
	model->rank_error = status_error(STATUS_UNSUPPORTED, "model \"%s\" cannot rank documents: %s", model->name, why);
}

/* Does a word stand in the text once? */
static bool
has_once(ByteSpan text, const char *word)
{
	const char *first = memmem(text.data, text.length, word, strlen(word));
	size_t behind;

	if (!first)
		return false;
	first += strlen(word);
	behind = text.length - (size_t) (first - text.data);
	return !memmem(first, behind, word, strlen(word));
}

Status
ranking_open(Model *model, const PackedMatrix *classifier, bool own_output)
{
	const ModelHyper *hyper = &model->hyper;

	model->has_output = true;
	model->rank_rows = calloc((size_t) 2 * hyper->hidden, sizeof *model->rank_rows);
	if (!model->rank_rows)
		return status_error(STATUS_UNAVAILABLE, "out of memory for two rows of %u numbers", hyper->hidden);
	if (hyper->ranking == RANKING_NONE)
		refuse(model, "the classes of its classifier are not \"yes\" and \"no\"");
	else if (classifier)
	{
		take_classes(model, classifier);
		if (!own_output && hyper->pooling == POOLING_RANK)
			STATUS_TRY(find_output(model, hyper->n_classes));
	}
	else if (!take_tokens(model))
		refuse(model, "its vocabulary has no tokens \"yes\" and \"no\"");
	if (model->rank_rows && model->rerank_template.data &&
		!(has_once(model->rerank_template, "{query}") && has_once(model->rerank_template, "{document}")))
		refuse(model, "its rerank template does not have {query} and {document}, each once");
	return status_ok();
}
