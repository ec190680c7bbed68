/*
 * sweep_times.h - when what is over is swept away.
 */
#ifndef QWEN_SWEEP_TIMES_H
#define QWEN_SWEEP_TIMES_H

#include "../core/core.h"

/* How often ended jobs are looked at: soon enough for how long they are kept. least and most are seconds. */
extern uint64 job_sweep_pause_us(uint64 least, uint64 most);

/* When this database is to be swept: 0: now, and nobody else does for a while; -1: not before others come by. */
extern long job_sweep_wait_ms(void);

/* Soon, but not for each delete. */
extern void job_sweep_ask(void);

#endif
