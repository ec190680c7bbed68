/*
 * row_errors.h - what is told of an answer that could not be written.
 */
#ifndef QWEN_ROW_ERRORS_H
#define QWEN_ROW_ERRORS_H

#include "worker_rows.h"

/* The message of an error, and behind it which of our triggers it comes from, if one: a job's write may fire others'.
 * Palloc'd, or the error's own. */
extern char *job_error_words(const ErrorData *error);

/*
 * The message of an error that a row's answer met when it was written: where the answer is a row, and a constraint of
 * the table refuses it, with the path and the value. In a transaction; palloc'd.
 */
extern char *job_row_error(const JobRow *row, const ErrorData *error);

#endif
