/*
 * triggers.h - the room's door. SQL calls what is behind it: the functions of our triggers, and qwen_enqueue.
 */
#ifndef QWEN_TRIGGERS_H
#define QWEN_TRIGGERS_H

/* In the postmaster: hear of statements that begin. */
extern void triggers_init(void);

#endif
