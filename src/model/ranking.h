/*
 * ranking.h - by what a model says how relevant a document is: two rows, of "yes" and of "no", whose products with the
 * last hidden state are compared.
 *
 * Two kinds of files have them. Rerankers as llama.cpp converts them carry the rows as a classifier (cls.output, its
 * order in classifier.output_labels), and where the model's output matrix is not its embedding, that matrix is left
 * out. All others have the rows of the tokens "yes" and "no" in their output matrix.
 */
#ifndef QWEN_RANKING_H
#define QWEN_RANKING_H

#include "gguf.h"
#include "model.h"

/* The classifier of a file into hyper: ranking, n_classes, yes_class. What cannot rank is told in notices and passed
 * over. */
extern void ranking_read(const Gguf *gguf, ModelHyper *hyper, Notices *notices);

/*
 * Gather the two rows of a model whose matrices and tokenizer are there: rank_rows or rank_error, and has_output.
 * classifier: NULL where the image has none; own_output: the image has an output matrix. An error is that there is no
 * memory.
 */
extern Status ranking_open(Model *model, const PackedMatrix *classifier, bool own_output);

#endif
