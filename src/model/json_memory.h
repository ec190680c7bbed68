/*
 * json_memory.h - parsing JSON with jansson so that running out of memory is told from everything else, and so that no
 * text takes more than a budget.
 *
 * Jansson itself does not tell: an allocation that fails inside it is "invalid token", a text without its last bytes,
 * or no word at all, depending on where it is. So its allocations go through us and failed ones are counted, for each
 * thread. While a text is read they also count against JSON_MEMORY_LIMIT: values take up to ninety times the bytes of
 * their text ("{}" is two).
 */
#ifndef QWEN_JSON_MEMORY_H
#define QWEN_JSON_MEMORY_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "../base/cancel.h"
#include "../base/status.h"

#define JSON_MEMORY_LIMIT ((size_t) 160 << 20) /* of what one text makes, in bytes */

/* Allocations of jansson that have failed so far in this thread: who makes or writes JSON compares it before and after.
 */
extern uint64_t json_memory_failures(void);

/* Why a text made no JSON. */
typedef enum JsonFailure
{
	JSON_READ,          /* it did, or json_error_t says why not */
	JSON_OUT_OF_MEMORY, /* nothing is known of the text */
	JSON_OVER_LIMIT,
	JSON_CANCELLED,
} JsonFailure;

/*
 * As json_loadb(text, length, flags, error), a new reference or NULL; in the latter case *failure says more. cancelled
 * (or NULL): given up soon after it is set.
 */
extern json_t *json_memory_load(const char *text, size_t length, size_t flags, const CancelFlag *cancelled,
								json_error_t *error, JsonFailure *failure);

/* The sentence for a failure that json_error_t says nothing of; what: the text's name. length: its bytes. */
extern Status json_memory_status(JsonFailure failure, const char *what, size_t length);

#endif
