/*
 * batch_node.h - the node that keeps the model calls of many rows in flight.
 */
#ifndef QWEN_BATCH_NODE_H
#define QWEN_BATCH_NODE_H

#include "../core/core.h"

#include "nodes/extensible.h"

extern CustomScanMethods batch_scan_methods;

#endif
