/*
 * kept_memory.h - a bound for what requests keep from being prepared until their end, beside texts and tokens: the
 * tools that an answer's calls are typed by, the answers to choose from, the pieces of a text, the forms of answers.
 *
 * Each of these is bounded, but requests wait by the thousand, and which client says GO is its own affair. So all of
 * them together have a bound, and a role may have as much as it leaves free to others: alone half of it, and then who
 * comes next still finds room. Any thread may ask.
 */
#ifndef QWEN_KEPT_MEMORY_H
#define QWEN_KEPT_MEMORY_H

#include <stddef.h>

#include "../base/status.h"

#define KEPT_MEMORY_BYTES ((size_t) 512 << 20)

/* STATUS_UNAVAILABLE: there is no room for so many more bytes of a role now. */
extern Status kept_memory_take(uint32_t role, size_t bytes);
extern void kept_memory_give(uint32_t role, size_t bytes);

#endif
