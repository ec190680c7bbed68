/*
 * ends.h - who waits for the end of a job hears of it.
 */
#ifndef QWEN_ENDS_H
#define QWEN_ENDS_H

#include "../core/core.h"

/* Somebody waits for the end of a job: woken when any ends. */
extern void job_wait_begin(void);
extern void job_wait_next(long timeout_ms);
extern void job_wait_end(void);
extern void job_announce_end(void);

/* In a transaction: at its commit those who LISTEN to qwen_job hear of the end. */
extern void job_notify_end(int64 job, const char *state);

/* The state of a row of qwen_job_table as qwen_jobs shows it: a job that is done says whether its rows have failed. */
#define JOB_SHOWN_STATE                                                                                                \
	"CASE WHEN state = 'done' AND failed > 0 THEN CASE WHEN done = 0 THEN 'failed' ELSE 'done with failures' END "     \
	"ELSE state END"

#endif
