/*
 * json_memory.h - parsing JSON with jansson so that running out of memory is told from everything else.
 *
 * Jansson itself does not tell: an allocation that fails inside it is "invalid token", a text without its last bytes,
 * or no word at all, depending on where it is. So its allocations go through us and failed ones are counted. For the
 * event loop's thread only.
 */
#ifndef QWEN_JSON_MEMORY_H
#define QWEN_JSON_MEMORY_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* Allocations of jansson that have failed so far: who makes or writes JSON compares it before and after. */
extern uint64_t json_memory_failures(void);

/*
 * As json_loadb(text, length, flags, error), a new reference or NULL. *out_of_memory: memory ran out on the way, and
 * nothing is known of the text; then NULL.
 */
extern json_t *json_memory_load(const char *text, size_t length, size_t flags, json_error_t *error,
								bool *out_of_memory);

#endif
