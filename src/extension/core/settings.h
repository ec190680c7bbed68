/*
 * settings.h - the settings that docs/settings.md lists, but those of limits (limits/limits.h).
 */
#ifndef QWEN_SETTINGS_H
#define QWEN_SETTINGS_H

#include "core.h"

extern char *qwen_models, *qwen_adapters, *qwen_draft_models, *qwen_model_directory, *qwen_default_model,
	*qwen_default_embedding_model, *qwen_default_rerank_model, *qwen_engine_path, *qwen_kv_cache_size;
extern bool qwen_engine_sandbox, qwen_lock_memory;

/* Why the newest value of qwen.models, qwen.adapters and qwen.draft_models does not hold; "": it does. */
typedef struct RefusedLists
{
	char models[STATUS_MESSAGE_BYTES], adapters[STATUS_MESSAGE_BYTES], drafts[STATUS_MESSAGE_BYTES];
} RefusedLists;

/* … in this process, as far as it has read them (settings_reload, or the server at its start). */
extern const RefusedLists *refused_lists(void);

/* Read the configuration files anew. */
extern void settings_reload(void);

/* At a process's start: what the postmaster, whose copy it is, remembers of lists may be long corrected. No value
 * changes by it: what has not been reloaded is not read. */
extern void settings_forget_old_refusals(void);

/* Tells values of qwen.models and qwen.adapters from others. */
extern uint64 lists_hash(void);

/* qwen.kv_cache_size in bytes; 0: auto. */
extern uint64 kv_cache_bytes(void);
extern int qwen_max_models, qwen_max_adapters, qwen_threads, qwen_kv_cache_type, qwen_state_type, qwen_prefill_chunk,
	qwen_max_running, qwen_queue_size, qwen_queue_timeout, qwen_max_tokens, qwen_prefix_cache, qwen_io_method,
	qwen_watchdog_timeout;
extern int qwen_job_window, qwen_max_job_workers, qwen_job_retention;

extern int qwen_engine_priority, qwen_speculation;

/* qwen.speculation, with the numbers that the engine has for it */
enum
{
	QWEN_SPECULATION_OFF,
	QWEN_SPECULATION_AUTO,
	QWEN_SPECULATION_NGRAM,
	QWEN_SPECULATION_MTP,
	QWEN_SPECULATION_DRAFT,
	QWEN_SPECULATION_ALWAYS /* for tests */
};

/* qwen.huge_pages */
enum
{
	QWEN_HUGE_PAGES_TRY,
	QWEN_HUGE_PAGES_ON, /* qwen_health() complains where it does not come true */
	QWEN_HUGE_PAGES_OFF
};

extern int qwen_huge_pages;

#define QWEN_PRIORITY_LOW 0
#define QWEN_PRIORITY_NORMAL 1
#define QWEN_PRIORITY_HIGH 2

#define QWEN_STATE_F32 0
#define QWEN_STATE_F16 1
#define QWEN_STATE_BF16 2 /* refused */

#define QWEN_IO_AUTO 0
#define QWEN_IO_PREAD 1

/* rows in flight */
extern int qwen_batch_window, qwen_on_error;
extern bool qwen_batch_plans;

#define QWEN_ON_ERROR_RAISE 0
#define QWEN_ON_ERROR_NULL 1

extern int qwen_stat_max;

/* Define them: those of a session, and with preloaded those of the server. */
extern void settings_define(bool preloaded);

/* All rooms have defined theirs: nobody else may have any of our name. */
extern void settings_end(void);

#endif
