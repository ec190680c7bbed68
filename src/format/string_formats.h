/*
 * string_formats.h - the formats of strings, each as an expression.
 */
#ifndef QWEN_FORMAT_STRING_FORMATS_H
#define QWEN_FORMAT_STRING_FORMATS_H

#include "expression.h"

/* The expression of a format's texts. E_ALL: it says nothing of them. false: no such format is known here. */
extern bool string_format_find(Expressions *e, ByteSpan name, uint32_t *expression);

#endif
