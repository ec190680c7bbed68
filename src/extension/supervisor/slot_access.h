/*
 * slot_access.h - what the functions over models and over adapters share: reading slots, and what is shown of them.
 */
#ifndef QWEN_SLOT_ACCESS_H
#define QWEN_SLOT_ACCESS_H

#include "../core/shared_memory.h"

/* By SlotState. */
extern const char *const slot_state_names[];

/* A file without the folders in front of it: the views are for everybody. */
extern const char *slot_file_name(const char *path);

/* What is odd in a slot's file, as the loader and the engine found it; (Datum) 0: nothing. */
extern Datum slot_notices(const SlotStatus *status);

/* A copy of a slot. */
extern SharedSlot slot_read(int i);

/* A load by hand that failed leaves no trace but the error. */
extern void slot_clear_failed(int i);

#endif
