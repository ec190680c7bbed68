/*
 * utf8.h - the little that every room must know about UTF-8: is it valid, and where does it break.
 */
#ifndef QWEN_BASE_UTF8_H
#define QWEN_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Length in bytes of the well-formed character at text[0 .. length), 1 to 4.
 * 0: these bytes are the beginning of a character that is cut off. -1: they can never become one.
 * (Unicode 15, table 3-7: no overlong forms, no surrogates, nothing over U+10FFFF.)
 */
extern int utf8_character_bytes(const char *text, size_t length);

/* True when all of text is well-formed. */
extern bool utf8_is_valid(const char *text, size_t length);

/*
 * The most of text[0 .. length) that fits in limit bytes and ends with a whole character: length where all fits. Bytes
 * that are no UTF-8 may be cut anywhere.
 */
extern size_t utf8_cut(const char *text, size_t length, size_t limit);

/* Copy the string from into to[bytes], cut at the end of a character where it is too long. */
extern void utf8_copy(char *to, size_t bytes, const char *from);

/* Drop every byte of the string text that belongs to no well-formed character, such as the rest of one that was cut. */
extern void utf8_clean(char *text);

/* The code point of the well-formed character of n_bytes at text. */
extern uint32_t utf8_code_point(const char *text, int n_bytes);

/* Is there nothing to see of a character: white space of any width, or none, and controls? */
extern bool utf8_code_point_is_blank(uint32_t code_point);

/* True when text, well-formed, has only such characters, or none. */
extern bool utf8_is_blank(const char *text, size_t length);

/* Write code_point (a scalar value) to out[4]; returns the bytes written. */
extern int utf8_write(uint32_t code_point, char *out);

#endif
