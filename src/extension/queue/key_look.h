/*
 * key_look.h - many keys that are looked for at once, of which some may be none that their type reads.
 */
#ifndef QWEN_KEY_LOOK_H
#define QWEN_KEY_LOOK_H

#include "../core/core.h"

/* Look for keys first to first + n - 1 of those that argument holds. What it finds must outlive a subtransaction. */
typedef void (*KeyLook)(void *argument, int first, int n);

/*
 * Run look over n keys, in subtransactions that are undone: all at once, and where that raises, over halves of them,
 * down to the single one whose value cannot be read; is_read [n] says of which keys the look went well. An error that
 * is of no value (a right, a lock, memory) ends it and is given back: of the keys that are not read nothing is known.
 */
extern ErrorData *job_look_for_keys(KeyLook look, void *argument, int n, bool *is_read);

#endif
