/*
 * batch_state.c - by what a batching node is known among other nodes.
 */
#include "batch_state.h"

const char batch_node_name[] = "Qwen Batch";

bool
is_batch_state(const PlanState *state)
{
	return IsA(state, CustomScanState) && ((const CustomScanState *) state)->methods->CustomName == batch_node_name;
}
