/*
 * pattern.h - regular expressions of ECMA-262 (with the flag u) as expressions.
 *
 * Look-aheads outside of repetitions are and and not. Back-references, look-behinds and word boundaries are
 * UNSUPPORTED; what is no pattern is INVALID_ARGUMENT. The error says at which character.
 */
#ifndef QWEN_FORMAT_PATTERN_H
#define QWEN_FORMAT_PATTERN_H

#include "expression.h"

#define PATTERN_MAX_BYTES 4096
#define PATTERN_MAX_REPEAT 16384 /* of {n,m} */

/* The texts in which the pattern is found, or, whole, those that it matches from end to end. E_NONE after a failure,
 * which is noted in the pool. */
extern uint32_t pattern_read(Expressions *e, const char *text, size_t length, bool whole);

#endif
