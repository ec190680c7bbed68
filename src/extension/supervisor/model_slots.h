/*
 * model_slots.h - what becomes of models: waiting, loading, served, failed.
 */
#ifndef QWEN_MODEL_SLOTS_H
#define QWEN_MODEL_SLOTS_H

#include "../core/shared_memory.h"

/* Slots, called by the supervisor: what has to be done now. true: something is pending, look again soon. */
extern void slots_recover(void);
extern void slots_reconcile(void);
extern int slots_next_to_load(SharedSlot *work, int *base);
extern void slots_load_ended(int slot, bool ok, const char *why);
extern bool slots_advance(pid_t engine_pid);
extern void slots_engine_ended(void);

/* The engine was killed because memory ran out: give the models' memory back and load them again. */
extern void slots_memory_ran_out(void);

#endif
