/*
 * lost_key.h - key columns that a statement gives other values by ALTER TYPE, while rows wait under the old ones.
 */
#ifndef QWEN_LOST_KEY_H
#define QWEN_LOST_KEY_H

/* In the postmaster: hear of such columns. */
extern void job_lost_key_init(void);

#endif
