/*
 * check_mode.h - the engine program as one that looks at a model file: what it holds, what it would need, what is
 * wrong.
 */
#ifndef QWEN_CHECK_MODE_H
#define QWEN_CHECK_MODE_H

#include "../model/model.h"

typedef struct CheckSettings
{
	const char *directory, *file;
	bool without_heads;      /* as in ModelLoadRequest */
	uint64_t cache_bytes;    /* that keys and values may still take beside the model */
	uint64_t kv_cache_bytes; /* that they may have; 0: what an engine would give them (auto) */
	KvType kv_type;
	StateType state_type;
	int answer_fd; /* gets the lines of check_lines.h */
	int death_fd;  /* end of file here: nobody wants to know any more; or -1 */
} CheckSettings;

/* Look, and write what was found. UNAVAILABLE: it could not be written. */
extern Status check_mode_run(const CheckSettings *settings);

#endif
