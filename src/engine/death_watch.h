/*
 * death_watch.h - a process that ends when nobody wants its work any more.
 */
#ifndef QWEN_DEATH_WATCH_H
#define QWEN_DEATH_WATCH_H

#include "../base/status.h"

/* From now on the process ends when the other end of this pipe is closed. */
extern Status death_watch_start(int death_fd);

#endif
