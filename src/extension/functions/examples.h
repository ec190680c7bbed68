/*
 * examples.h - answers that a caller has given to other inputs, for the model to follow.
 */
#ifndef QWEN_EXAMPLES_H
#define QWEN_EXAMPLES_H

#include "labels.h"
#include "task_request.h"

#define MAX_EXAMPLES 1000

/* The examples of a JSON array of {"input": …, "label": …}, whose labels must be among those given; *n of them. Raises
 * what is wrong, with the place. */
extern Example *read_examples(text *json, const Labels *labels, int *n);

#endif
