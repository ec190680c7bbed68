/*
 * session_list.h - a list in shared memory of what sessions tell of themselves; see session_list.c.
 */
#ifndef QWEN_WATCH_SESSION_LIST_H
#define QWEN_WATCH_SESSION_LIST_H

#include "../core/core.h"

typedef struct SessionList SessionList;

/* Memory of a list with so many entries, each with so many bytes of its sessions' own. */
extern Size session_list_bytes(uint32 n_entries, Size listing_bytes);

/* The list of this name, made by the first who asks (under AddinShmemInitLock). */
extern SessionList *session_list_open(const char *name, uint32 n_entries, Size listing_bytes);

extern uint32 session_list_size(const SessionList *list);

/* Make a free entry this session's, which nobody sees before it is written; at the session's end it is free again.
 * -1: all are taken. */
extern int session_list_take(SessionList *list);

/* Write all of an own entry; or a part of one that is written, from offset on. */
extern void session_list_write(SessionList *list, int entry, const void *listing);
extern void session_list_write_part(SessionList *list, int entry, Size offset, const void *part, Size n_bytes);

/* Free an entry, if it is this session's. */
extern void session_list_free(SessionList *list, int entry);

/* The session that has an entry, which may be another one at the next look; 0: none. */
extern uint32 session_list_owner(const SessionList *list, uint32 entry);

/* Copy an entry that is written, and its session's pid; false: it is not. */
extern bool session_list_read(SessionList *list, uint32 entry, void *copy, uint32 *pid);

#endif
