/*
 * sisters.h - which processes ask for one and the same query.
 */
#ifndef QWEN_LIMITS_SISTERS_H
#define QWEN_LIMITS_SISTERS_H

#include "../core/core.h"

/* What this process and its sisters have in common, and no others. */
extern uint64 sisters_group(void);

/* Has another server opened this connection, for whom settings of its client do not come along? */
extern bool sisters_of_another_server(void);

#endif
