/*
 * server.h - the engine's event loop: clients, their frames, signals, and a step whenever there is work.
 */
#ifndef QWEN_SERVER_H
#define QWEN_SERVER_H

#include "../../kernels/kernels.h"
#include "../base/status.h"
#include "../protocol/status_page.h"
#include "drafts.h"

typedef struct ServerSettings
{
	uint32_t n_slots, n_adapters;
	int n_threads;           /* 0: the default */
	uint64_t kv_cache_bytes; /* as far as models leave them; 0: a share of memory (memory.h) */
	KvType kv_type;
	StateType state_type;
	uint32_t prefill_chunk, max_running, queue_size;
	Speculation speculation;
	bool huge_pages;  /* weights are put on huge pages where the system can */
	bool lock_memory; /* weights are never swapped out */
	bool sandbox;     /* give up what serving does not need (sandbox.h) */
	/* descriptors, see status_page.h; death_fd may be -1 */
	int listener_fd, death_fd, first_slot_fd;
	StatusPage *page;
} ServerSettings;

/* Serve until SIGTERM or the end of the death pipe (ok), or until it cannot go on (a Status). */
extern Status server_run(const ServerSettings *settings);

#endif
