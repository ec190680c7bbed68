/*
 * starts.h - workers and scouts are started.
 */
#ifndef QWEN_STARTS_H
#define QWEN_STARTS_H

#include "../core/core.h"

/* Tell the postmaster of a worker; false: no slot is free. *handle: of the last one, or NULL; the new one's then. */
struct BackgroundWorkerHandle;
extern bool job_start_worker(const char *function, const char *name, Datum argument,
							 struct BackgroundWorkerHandle **handle);

/* Scouts found a slot, or did not: what the views say of it. */
extern void job_scout_has_slot(bool has_slot);

/* The supervisor's turn to start what is wanted. */
extern void job_launch(void);

#endif
