/*
 * usage_windows.h - the sliding windows of one record, and whether there is room in them.
 */
#ifndef QWEN_USAGE_WINDOWS_H
#define QWEN_USAGE_WINDOWS_H

#include "usage.h"

/* Bring a record's windows to now: buckets that come into use begin at zero. */
extern void usage_advance(RoleUsage *usage, uint64 now_us);

/* Count tokens in the newest buckets. */
extern void usage_count_tokens(RoleUsage *usage, uint32 tokens);

/* Take tokens back that were charged in a second of usage_now_us and not used, where its buckets still count. */
extern void usage_give_back(RoleUsage *usage, uint64 second, uint32 tokens);

/* The same of a request that was never begun. */
extern void usage_give_back_request(RoleUsage *usage, uint64 second);

/* Is there room for a request? The record is up to date and locked; NULL: it has used nothing. */
extern bool usage_has_room(const RoleUsage *usage, Oid role, const RoleLimits *limits, const LimitDemand *demand,
						   uint64 now_us, LimitRefusal *refusal);

#endif
