/*
 * worker_settings.h - settings of a worker's role and database that change while it works.
 */
#ifndef QWEN_WORKER_SETTINGS_H
#define QWEN_WORKER_SETTINGS_H

#include "worker_place.h"

/* Has ALTER ROLE or ALTER DATABASE … SET or RESET come since the first look? Then the worker's turn is over: the next
 * one connects with what holds now. In a transaction, as its first thing. */
extern void job_settings_look(const JobWorkerPlace *place);

#endif
