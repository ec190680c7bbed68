/*
 * core.h - what everything of the extension stands on, and its files include first: postgres.h, the way to arguments,
 * and the protocol that it speaks with the engine.
 *
 * The room has tools, each with a header of its own: settings, shared_memory, errors, texts, own_transaction, results,
 * statement, privileges, table_guard, compat, pause, engine_reply. It knows nothing of the rooms above it.
 */
#ifndef QWEN_CORE_H
#define QWEN_CORE_H

#include "postgres.h"

#include "arguments.h"
#include "datatype/timestamp.h"
#include "lib/stringinfo.h"
#include "nodes/pg_list.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "utils/timestamp.h"

#if PG_VERSION_NUM >= 160000
#include "varatt.h" /* part of postgres.h before */
#endif

/* an old constant of c.h that nobody uses, with the value of ours */
#undef STATUS_OK
#include "../../protocol/protocol.h"

#endif
