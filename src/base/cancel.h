/*
 * cancel.h - a flag that one thread sets and long work in another looks at, so that it ends soon.
 */
#ifndef QWEN_BASE_CANCEL_H
#define QWEN_BASE_CANCEL_H

#include <stdatomic.h>
#include <stdbool.h>

typedef atomic_bool CancelFlag;

/* Is the work at hand not wanted any more? NULL: nobody can say so. */
static inline bool
cancel_is_wanted(const CancelFlag *flag)
{
	return flag && atomic_load_explicit((CancelFlag *) flag, memory_order_relaxed);
}

#endif
