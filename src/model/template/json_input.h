/*
 * json_input.h - messages and tools from JSON to values, checked so that a template meets what it expects.
 */
#ifndef QWEN_TEMPLATE_JSON_INPUT_H
#define QWEN_TEMPLATE_JSON_INPUT_H

#include "value.h"

#include <jansson.h>

/*
 * Parse text as JSON (name: "messages" or "tools", for sentences) and check it. The values made of it point into
 * *root, so free that (json_decref) after the last use. INVALID_ARGUMENT with what is wrong and where.
 *
 * keep_none: a content that is null or absent beside tool_calls becomes none; otherwise the empty string, which
 * templates that never ask whether a content is none can add to.
 * A content of several text parts becomes one string, the parts joined with nothing between: templates written for
 * lists take strings as well.
 */
extern bool read_messages(Workspace *work, const char *text, size_t length, bool keep_none, json_t **root, Value *out);
extern bool read_tools(Workspace *work, const char *text, size_t length, json_t **root, Value *out);

#endif
