/*
 * prepared.h - work that transactions queued which were prepared for two-phase commit.
 */
#ifndef QWEN_PREPARED_H
#define QWEN_PREPARED_H

#include "../core/core.h"

typedef struct PreparedRequest
{
	Oid role;
	bool calls;
} PreparedRequest;

/* This transaction is prepared now: keep what it would have asked for at its commit. With `all`, work of any role. */
extern void job_prepared_keep(const PreparedRequest *requests, int n, bool all, bool sweep);

/* A scout looks: are there prepared transactions? Then there is another look in a while. In a transaction, with SPI. */
extern void job_prepared_look(void);

/* In the postmaster: hear of transactions that are prepared, and end. */
extern void job_prepared_init(void);

#endif
