/*
 * session_list.c - a list in shared memory of what sessions tell of themselves: requests (activity.c), statements
 * (progress.c). What an entry holds is its user's; who owns it, and that a reader sees it whole, is told here.
 */
#include "session_list.h"

#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "storage/spin.h"

#define MAX_LISTS 4

typedef struct Entry
{
	pg_atomic_uint32 pid; /* of the session that owns it; 0: free */
	slock_t lock;         /* guards what follows, which the owner alone writes; held for copies only */
	bool is_written;
	char listing[FLEXIBLE_ARRAY_MEMBER];
} Entry;

struct SessionList
{
	pg_atomic_uint32 next; /* where the search for a free entry begins */
	uint32 n_entries;
	Size listing_bytes, entry_bytes;
	char entries[FLEXIBLE_ARRAY_MEMBER];
};

static SessionList *cleaned[MAX_LISTS]; /* of which this process frees what it leaves behind */
static int n_cleaned;

static Size
entry_bytes(Size listing_bytes)
{
	return MAXALIGN(offsetof(Entry, listing) + listing_bytes);
}

/* Entries follow each other from an aligned place on. */
static Entry *
entry_at(const SessionList *list, uint32 i)
{
	return (Entry *) ((char *) list + MAXALIGN(offsetof(SessionList, entries)) + list->entry_bytes * i);
}

Size
session_list_bytes(uint32 n_entries, Size listing_bytes)
{
	return MAXALIGN(offsetof(SessionList, entries)) + entry_bytes(listing_bytes) * n_entries;
}

SessionList *
session_list_open(const char *name, uint32 n_entries, Size listing_bytes)
{
	Size n_bytes = session_list_bytes(n_entries, listing_bytes);
	bool found;
	SessionList *list = ShmemInitStruct(name, n_bytes, &found);

	if (found)
		return list;
	memset(list, 0, n_bytes);
	list->n_entries = n_entries;
	list->listing_bytes = listing_bytes;
	list->entry_bytes = entry_bytes(listing_bytes);
	pg_atomic_init_u32(&list->next, 0);
	for (uint32 i = 0; i < n_entries; i++)
	{
		pg_atomic_init_u32(&entry_at(list, i)->pid, 0);
		SpinLockInit(&entry_at(list, i)->lock);
	}
	return list;
}

uint32
session_list_size(const SessionList *list)
{
	return list->n_entries;
}

/* At the session's end: what it still owns, as when it was terminated in the middle of a call. */
static void
free_all(int code, Datum argument)
{
	for (int i = 0; i < n_cleaned; i++)
		for (uint32 entry = 0; entry < cleaned[i]->n_entries; entry++)
			session_list_free(cleaned[i], (int) entry);
}

static void
clean_up_later(SessionList *list)
{
	for (int i = 0; i < n_cleaned; i++)
		if (cleaned[i] == list)
			return;
	Assert(n_cleaned < MAX_LISTS);
	if (n_cleaned == 0)
		on_shmem_exit(free_all, 0);
	cleaned[n_cleaned++] = list;
}

int
session_list_take(SessionList *list)
{
	uint32 first = pg_atomic_fetch_add_u32(&list->next, 1);

	clean_up_later(list);
	for (uint32 turn = 0; turn < list->n_entries; turn++)
	{
		uint32 i = (first + turn) % list->n_entries, nobody = 0;
		Entry *entry = entry_at(list, i);

		if (pg_atomic_read_u32(&entry->pid) == 0 &&
			pg_atomic_compare_exchange_u32(&entry->pid, &nobody, (uint32) MyProcPid))
			return (int) i;
	}
	return -1;
}

/* Others wait for the spinlock by turning round: under it there are only copies. */
void
session_list_write(SessionList *list, int i, const void *listing)
{
	Entry *entry = entry_at(list, (uint32) i);

	SpinLockAcquire(&entry->lock);
	memcpy(entry->listing, listing, list->listing_bytes);
	entry->is_written = true;
	SpinLockRelease(&entry->lock);
}

void
session_list_write_part(SessionList *list, int i, Size offset, const void *part, Size n_bytes)
{
	Entry *entry = entry_at(list, (uint32) i);

	Assert(offset + n_bytes <= list->listing_bytes);
	SpinLockAcquire(&entry->lock);
	memcpy(entry->listing + offset, part, n_bytes);
	SpinLockRelease(&entry->lock);
}

void
session_list_free(SessionList *list, int i)
{
	Entry *entry = entry_at(list, (uint32) i);

	if (pg_atomic_read_u32(&entry->pid) != (uint32) MyProcPid)
		return;
	SpinLockAcquire(&entry->lock);
	entry->is_written = false;
	SpinLockRelease(&entry->lock);
	pg_atomic_write_u32(&entry->pid, 0);
}

uint32
session_list_owner(const SessionList *list, uint32 i)
{
	return pg_atomic_read_u32(&entry_at(list, i)->pid);
}

bool
session_list_read(SessionList *list, uint32 i, void *copy, uint32 *pid)
{
	Entry *entry = entry_at(list, i);
	bool is_written;

	*pid = pg_atomic_read_u32(&entry->pid);
	if (*pid == 0)
		return false;
	SpinLockAcquire(&entry->lock);
	is_written = entry->is_written;
	if (is_written)
		memcpy(copy, entry->listing, list->listing_bytes);
	SpinLockRelease(&entry->lock);
	return is_written;
}
