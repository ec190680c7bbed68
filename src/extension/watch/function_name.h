/*
 * function_name.h - the SQL function of a C symbol: forms of one function have symbols that end otherwise.
 */
#ifndef QWEN_WATCH_FUNCTION_NAME_H
#define QWEN_WATCH_FUNCTION_NAME_H

#include "watch.h"

extern void watch_function_name(char name[FUNCTION_NAME_BYTES], const char *symbol);

#endif
