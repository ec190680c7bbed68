/*
 * tool_set.h - the tools of a request, read once: found by name when its answer's calls are typed.
 *
 * Requests that ask with the same tools hold one set together, and what all of them hold is bounded (kept_memory.h):
 * thousands of requests may wait, and a megabyte of tools takes sixteen times as much once it is read.
 */
#ifndef QWEN_TOOL_SET_H
#define QWEN_TOOL_SET_H

#include "../base/bytes.h"
#include "../base/cancel.h"
#include "../base/json_tree.h"
#include "../base/status.h"

typedef struct ToolSet ToolSet;

/*
 * Read a request's tools (less than 4 GB; what is no JSON array says nothing of any tool). Refuses what would take more
 * memory than a set may have. cancelled: the work ends soon after it is set (NULL: nobody does).
 */
extern Status tool_set_create(ByteSpan text, const CancelFlag *cancelled, ToolSet **set);

/*
 * The same of a role's request: one that is held already for the same text, or a new one; refused, too, where the role
 * keeps too much already. Any thread may ask.
 */
extern Status tool_set_share(uint32_t role, ByteSpan text, const CancelFlag *cancelled, ToolSet **set);

/* The end of a set, or of one that holds it. NULL is fine. */
extern void tool_set_destroy(ToolSet *set);

/* Bytes of memory that a set (NULL: none) takes. */
extern size_t tool_set_bytes(const ToolSet *set);

/* The tool of this name (of several the first), or NULL; set may be NULL. */
extern const JsonNode *tool_find(const ToolSet *set, ByteSpan name);

/* Its parameters, or NULL. */
extern const JsonNode *tool_parameters(const JsonNode *tool);

#endif
