/*
 * lost_column.h - what is said where a column goes that a trigger's arguments name.
 */
#ifndef QWEN_LOST_COLUMN_H
#define QWEN_LOST_COLUMN_H

/* In the postmaster: hear of statements that end. */
extern void job_lost_column_init(void);

#endif
