/*
 * workplace.h - what a request is read with: in the event loop, or at the desk (desk.h), whose threads have handles of
 * their own on the tokenizers.
 */
#ifndef QWEN_WORKPLACE_H
#define QWEN_WORKPLACE_H

#include "../base/cancel.h"
#include "../model/model.h"
#include "kv_cache.h"

/* The desk's threads: for requests of some length, and for giants. */
typedef enum DeskLane
{
	DESK_LANE_SHORT,
	DESK_LANE_LONG,
	N_DESK_LANES,
} DeskLane;

struct AdapterSlot;

/* Model and pool are only read. */
typedef struct Workplace
{
	Model *model;
	Tokenizer *tokenizer; /* the model's, or another handle on it */
	const KvPool *pool;
	struct AdapterSlot *adapter; /* that the request names, or NULL */
	const CancelFlag *cancelled; /* the work ends soon after it is set; NULL: nobody does */
} Workplace;

#endif
