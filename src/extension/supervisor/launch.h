/*
 * launch.h - starting the engine program as a server or as a loader.
 */
#ifndef QWEN_LAUNCH_H
#define QWEN_LAUNCH_H

#include "../core/shared_memory.h"

/* Start the engine or a loader; the pid, or -1 with errno. *pidfd: readable when it ends. death_pipe: [read, write]
 * ends, made anew. */
extern pid_t launch_engine(int listener, int death_pipe[2], int *pidfd);
extern pid_t launch_loader(int slot, const SharedSlot *work, int death_pipe[2], int *pidfd);
extern const char *engine_program(void);

#endif
