/*
 * adapter_slots.h - the adapters that are served: opened when the supervisor wants them and their model is open, closed
 * when nobody uses them any more, or their model goes.
 */
#ifndef QWEN_ADAPTER_SLOTS_H
#define QWEN_ADAPTER_SLOTS_H

#include "../model/adapter.h"
#include "../protocol/status_page.h"

typedef struct AdapterSlot
{
	int fd; /* of the image, read-only */
	SlotStatus *status;
	Adapter *adapter;     /* NULL: nothing is served */
	uint32_t number;      /* that no other one has had: what was computed with this one is told from all else by it */
	uint32_t n_requests;  /* that use it, here and at the desk */
	bool draining;        /* no new requests: closed once n_requests is 0 */
	uint64_t draining_us; /* since when */
} AdapterSlot;

#endif
