/*
 * shared_memory.h - what processes of the server share: the state of engine and models, and the status page.
 */
#ifndef QWEN_SHARED_MEMORY_H
#define QWEN_SHARED_MEMORY_H

#include "core.h"

#include "../../protocol/configured_adapters.h"
#include "../../protocol/status_page.h"
#include "settings.h"

typedef enum EngineState
{
	ENGINE_STOPPED = 0, /* not started yet */
	ENGINE_RUNNING,     /* a process is there */
	ENGINE_BACKING_OFF, /* it ended at once; next_try says when it is tried again */
} EngineState;

typedef enum SlotState
{
	SLOT_EMPTY = 0,
	SLOT_WAITING, /* to be loaded */
	SLOT_LOADING, /* the loader works */
	SLOT_OPENING, /* the image is complete, the engine is to serve it */
	SLOT_SERVING,
	SLOT_FAILED,    /* error says why */
	SLOT_UNLOADING, /* the engine is to let go of it */
} SlotState;

typedef struct SharedSlot
{
	SlotState state;
	bool configured; /* by qwen.models, else by qwen_load_model */
	bool in_the_way; /* loaded by hand under a name that the setting has for another file, which waits for it */
	char name[PROTOCOL_MAX_NAME_BYTES + 1];
	char file[CONFIGURED_MAX_FILE_BYTES];
	ModelSettings settings;
	char model[PROTOCOL_MAX_NAME_BYTES + 1]; /* of an adapter: whose; "": it is a model's slot */
	uint64 base_generation;                  /* of an adapter's model, when loading began */
	bool again;                              /* an adapter that is to be loaded again once its model is */
	uint64 generation;
	bool fresh;           /* the image was loaded just now and has not been served yet */
	int retry_ms;         /* loading is tried again after a failure: the next pause. 0: not tried again */
	TimestampTz retry_at; /* of a failed slot */
	TimestampTz loading_since;
	int error_code; /* StatusCode */
	char error[512];
} SharedSlot;

/* What stands in a list of the settings and has no slot, as there are too few. */
typedef struct WithoutSlot
{
	int n;
	char first[ADAPTED_NAME_BYTES]; /* as slot_full_name */
} WithoutSlot;

/* In PostgreSQL's shared memory; guarded by lock. */
typedef struct QwenShared
{
	LWLock *lock;
	Latch *supervisor_latch;   /* NULL: not there, or has not read qwen.models yet */
	uint64 lists_hash;         /* the lists of models and adapters that the slots follow … */
	TimestampTz lists_read_at; /* … and when the supervisor read the files for them */
	EngineState engine_state;
	pid_t engine_pid;
	uint64 n_restarts;
	bool give_up; /* the next start is too far away, or without much hope: calls fail instead of waiting for it */
	TimestampTz started_at, next_try;
	char last_error[256];
	RefusedLists refused;
	WithoutSlot models_without_slot, adapters_without_slot;
	SharedSlot slots[STATUS_PAGE_ALL_SLOTS]; /* of models, then of adapters */
} QwenShared;

extern QwenShared *qwen_shared;
extern StatusPage *qwen_page;                    /* mapped in the postmaster, so in every process */
extern int qwen_page_fd;                         /* in the postmaster and its children */
extern int qwen_slot_fds[STATUS_PAGE_ALL_SLOTS]; /* memory files of the images */

/* Is there a slot of a number? qwen.max_models and qwen.max_adapters say how many there are. */
extern bool slot_exists(int slot);

#define EACH_SLOT(i)                                                                                                   \
	for (int i = 0; i < STATUS_PAGE_ALL_SLOTS; i++)                                                                    \
		if (slot_exists(i))

/* "chat" of a model, "chat+legal" of an adapter: how both are called where one name is wanted. */
extern void slot_full_name(const SharedSlot *slot, char name[ADAPTED_NAME_BYTES]);

/* Is there a model, or a model with an adapter, of this name (slot_full_name), loaded, being loaded or failed? */
extern bool slot_is_there(const char *name);

/* In the postmaster: make the status page and the images' memory files. */
extern void shared_memory_make(void);

/* Ask PostgreSQL for our part of its memory, and begin with it (under AddinShmemInitLock). */
extern void shared_memory_request(void);
extern void shared_memory_start(void);

/* Raise 55000 with the line to add unless we were preloaded. */
extern void require_preloaded(void);

/* Say that qwen_pg is not in shared_preload_libraries, with the line to add: an ERROR or a WARNING. */
extern void report_not_preloaded(int level);

extern void wake_supervisor(void);

#endif
