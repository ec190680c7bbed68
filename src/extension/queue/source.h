/*
 * source.h - a job's source: a table, or a query that reads.
 */
#ifndef QWEN_SOURCE_H
#define QWEN_SOURCE_H

#include "spec.h"

/* The source argument, which may be written over, into the spec; raises what cannot be one. */
extern void job_read_source(JobSpec *spec, char *source);

#endif
