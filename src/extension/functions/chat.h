/*
 * chat.h - how texts become messages.
 */
#ifndef QWEN_CHAT_H
#define QWEN_CHAT_H

#include "../core/core.h"

#include "lib/stringinfo.h"

/* [{"role": "system", ...}, {"role": "user", ...}] in UTF-8 */
extern void append_message(StringInfo json, const char *role, text *content); /* behind "[" and others */
extern ByteSpan messages_from_texts(text *prompt, text *system_prompt);

#endif
