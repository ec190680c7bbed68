/*
 * launch.h - starting the engine program as a server, as a loader, or to look at a file.
 */
#ifndef QWEN_LAUNCH_H
#define QWEN_LAUNCH_H

#include "../core/shared_memory.h"

/* Start the engine or a loader; the pid, or -1 with errno. *pidfd: readable when it ends. death_pipe: [read, write]
 * ends, made anew. */
extern pid_t launch_engine(int listener, int death_pipe[2], int *pidfd);
extern pid_t launch_loader(int slot, const SharedSlot *work, int death_pipe[2], int *pidfd);
extern pid_t launch_adapter_loader(int slot, const SharedSlot *work, int base_slot, int death_pipe[2], int *pidfd);

/* Find the program and keep it open for as long as the server runs: in the postmaster, before there are others. */
extern void engine_program_open(void);
extern const char *engine_program(void);

/* Start one that looks at a model file and writes check_lines.h to answer_fd. Any process may. */
extern pid_t launch_checker(const char *file, int answer_fd, int death_pipe[2], int *pidfd);

/* Kill what this process has started and wait for it, so long at most: one that the kernel does not let go, as at a
 * disk that hangs, ends later. false: it is still to be waited for. */
extern bool launch_end(pid_t pid, int patience_ms);

#endif
