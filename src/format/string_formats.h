/*
 * string_formats.h - the formats of strings, each as two expressions: of what is made, which is valid by everybody's
 * reading, and of all that anybody might take for valid. What must not be of a format is outside of the second one.
 */
#ifndef QWEN_FORMAT_STRING_FORMATS_H
#define QWEN_FORMAT_STRING_FORMATS_H

#include "expression.h"

/* The expressions of a format's texts, one within the other. E_ALL: it says nothing of them. false: no such format is
 * known here. */
extern bool string_format_find(Expressions *e, ByteSpan name, uint32_t *made, uint32_t *bound);

#endif
