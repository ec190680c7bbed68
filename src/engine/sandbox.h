/*
 * sandbox.h - giving up what a serving engine does not need, so that whoever takes it over gets little with it.
 */
#ifndef QWEN_SANDBOX_H
#define QWEN_SANDBOX_H

#include "../base/status.h"

/* No new privileges by any exec from here on (prctl PR_SET_NO_NEW_PRIVS), for threads made later too. */
extern Status sandbox_give_up_privileges(void);

/*
 * From here on the process and all its threads can make only the system calls of a serving engine: memory, threads of
 * its own, its sockets and the descriptors it has. It cannot open a file, make a socket, start a program, or send a
 * signal to another process; such a call fails with EPERM. Cannot be undone. After sandbox_give_up_privileges().
 * UNSUPPORTED on a processor that the filter is not written for; UNAVAILABLE where the system refuses (some
 * containers).
 */
extern Status sandbox_enter(void);

#endif
