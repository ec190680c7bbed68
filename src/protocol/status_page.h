/*
 * status_page.h - the page of shared memory through which engine, loader, supervisor and backends see each other.
 *
 * The postmaster makes it (memfd, mapped before anything is forked, so that every backend has it and it survives a
 * reset of all backends). The engine and the loader get it as descriptor ENGINE_FD_STATUS. Each member has one writer,
 * named beside it; everybody else only reads. Readers in backends trust nothing: strings are copied and cut, numbers
 * are shown, never used as an index.
 */
#ifndef QWEN_STATUS_PAGE_H
#define QWEN_STATUS_PAGE_H

#include <stdatomic.h>
#include <stdint.h>

#include "model_settings.h"

#define STATUS_PAGE_MAGIC 0x51504731u /* "1GPQ" */
#define STATUS_PAGE_VERSION 7
#define STATUS_PAGE_MAX_SLOTS 32     /* of models … */
#define STATUS_PAGE_MAX_ADAPTERS 32  /* … and of adapters, behind them */
#define STATUS_PAGE_DRAFT_LENGTHS 8  /* guesses of a draft model that come at a time: none to so many less one */
#define STATUS_PAGE_DRAFT_BYTES 4096 /* of the list of draft models */
#define STATUS_PAGE_ALL_SLOTS (STATUS_PAGE_MAX_SLOTS + STATUS_PAGE_MAX_ADAPTERS)

/* Descriptors of qwen_engine. */
#define ENGINE_FD_LISTENER 3 /* serve: the listening socket */
#define ENGINE_FD_DEATH 4    /* end of file here: the supervisor is gone, so exit */
#define ENGINE_FD_STATUS 5   /* this page */
#define ENGINE_FD_ANSWER 5   /* check: a pipe for what was found (check_lines.h) */
#define ENGINE_FD_SLOT_0 6   /* serve: one read-only descriptor a slot; load: the one slot, read-write */
#define ENGINE_FD_BASE 7     /* load an adapter: the slot of its model, read-only */

/* How the loader read the file (SlotStatus.load_io). */
typedef enum LoadIo
{
	LOAD_IO_NONE = 0,
	LOAD_IO_URING_DIRECT = 1,   /* io_uring, O_DIRECT */
	LOAD_IO_URING_BUFFERED = 2, /* io_uring; the file system refused O_DIRECT */
	LOAD_IO_PREAD_DIRECT = 3,   /* pread, O_DIRECT; io_uring refused */
	LOAD_IO_PREAD_BUFFERED = 4, /* pread; both refused */
} LoadIo;

/* Does another model guess for one (SlotStatus.draft_state)? */
typedef enum DraftState
{
	DRAFT_NONE = 0, /* none is configured */
	DRAFT_WAITING,  /* it is not served */
	DRAFT_GUESSES,
	DRAFT_REFUSED, /* it cannot, as draft_note says */
} DraftState;

/* How a model is served in fact: what its file, its own settings and the server's come to. */
typedef struct ModelInForce
{
	uint32_t context_length;
	uint32_t rope_original_context; /* 0 where nothing is stretched */
	float rope_factor;              /* 1 where nothing is stretched */
	uint32_t n_threads;
	char rope_scaling[8], kv_cache_type[8], state_type[8];
	char smaller_kv_types[16]; /* in which its keys and values would take less, best first: "q8_0, q4" */
	uint64_t kv_block_bytes;   /* keys and values of kv_block_tokens tokens */
	uint32_t kv_block_tokens;
	uint64_t state_bytes; /* of a hybrid's sequence, beside keys and values; 0: its layers have none */
} ModelInForce;

typedef struct SlotStatus
{
	/* supervisor: which model's complete image is in the slot; survives a reset of PostgreSQL's own shared memory */
	char name[64];
	char file[256];
	_Atomic uint64_t image_generation; /* 0: none */
	/* of an adapter: the name of its model, and the generation of the model's image that it was checked against */
	char model[64];
	_Atomic uint64_t base_generation;
	/* supervisor: how it shall be served, read by loader and engine; 0 while they are being written. Another number
	 * than serving_settings: the engine lets the running requests end and opens the image again. */
	ModelSettings settings;
	_Atomic uint64_t wanted_settings;
	_Atomic uint64_t serving_settings; /* engine: written before serving_generation */
	ModelInForce in_force;             /* engine: likewise */

	/* supervisor: which generation of the slot's image the engine shall serve; 0 = none. SIGUSR1 tells the engine to
	 * look. */
	_Atomic uint64_t wanted_generation;
	/* engine: which generation it serves now; 0 = none (then the slot's memory may be given back) */
	_Atomic uint64_t serving_generation;
	/* engine: requests on this model that have not ended */
	_Atomic uint32_t n_requests;
	_Atomic uint64_t huge_bytes; /* engine: of the image, on huge pages */
	/* engine: why a wanted generation is not served, written before error_generation */
	char serve_error[512];
	/* engine: what is odd in the model that it serves, or could not be done for it; "" otherwise */
	char serve_notices[1024];
	_Atomic uint64_t error_generation;
	/* engine: of the model that guesses for this one; the note is written before the state */
	_Atomic uint32_t draft_state; /* DraftState */
	char draft_note[512];

	/* loader: progress, in bytes of tensor data read and packed */
	_Atomic uint64_t load_bytes_done;
	_Atomic uint64_t load_bytes_total;
	_Atomic uint64_t load_data_us; /* clock_now_us() when the first of them was asked for, behind the file's head */
	_Atomic uint32_t load_io;      /* LoadIo */
	_Atomic uint64_t load_us;      /* time of the whole load, set at its end */
	/* loader: when it exits with 1: what was wrong */
	_Atomic uint32_t load_error_code; /* StatusCode */
	char load_error[512];
	char load_io_note[256]; /* why io_uring or O_DIRECT was not used; "" otherwise */

	/* loader: what the image holds, written before it exits with 0 */
	char architecture[32];
	char quantization[32]; /* the type of most bytes, e.g. "Q4_1" */
	uint64_t n_parameters;
	uint64_t file_bytes;
	uint64_t image_bytes;
	uint32_t context_length;
	uint32_t embedding_size;
	uint32_t adapter_rank;     /* of an adapter: the largest … */
	uint32_t adapter_matrices; /* … and so many matrices that it changes */
	uint64_t memory_left;      /* that the system and the cgroup had when the image was complete */
	char notices[1024];        /* what is odd in the file and was passed over, "; " between two; "" otherwise */
} SlotStatus;

/*
 * What a request has used so far. The extension gives one to a request with GO; the engine writes it after each step,
 * and for the last time before the request's last frame leaves, or when it was cancelled. So what was used is known
 * also of requests whose client is gone, and of those that the engine took with it.
 */
typedef enum MeterState
{
	METER_FREE = 0,    /* extension: nobody's */
	METER_GIVEN = 1,   /* extension: sent with GO, the engine has not seen it yet */
	METER_RUNNING = 2, /* engine: it works on the request */
	METER_ENDED = 3,   /* engine: the numbers are final; one that is killed ends none */
} MeterState;

typedef struct RequestMeter
{
	_Atomic uint32_t state;             /* MeterState */
	_Atomic uint32_t prompt_tokens;     /* engine: of the prompt, computed or found in the cache */
	_Atomic uint32_t completion_tokens; /* engine: sampled */
	uint32_t unused;
} RequestMeter;

#define STATUS_PAGE_MAX_METERS 65536

typedef struct StatusPage
{
	uint32_t magic;   /* postmaster */
	uint32_t version; /* postmaster */
	uint32_t n_slots; /* postmaster */
	uint32_t unused;

	/* supervisor: qwen.draft_models, and the how manieth value it is; 0 while it is being written. SIGUSR1 tells the
	 * engine to look. */
	_Atomic uint64_t drafts_number;
	char draft_models[STATUS_PAGE_DRAFT_BYTES];

	/* engine, from here to the slots; all set to zero when it starts */
	_Atomic uint64_t heartbeat_us; /* clock_now_us(), at least every 250 ms while idle, and as a step gets on */
	_Atomic uint64_t n_steps;      /* steps finished */
	_Atomic uint32_t step_running; /* 1 inside a step */
	_Atomic uint32_t ready;        /* 1: it listens */
	_Atomic uint64_t started_us;   /* clock_now_us() at its start */
	_Atomic uint32_t n_threads;
	_Atomic uint32_t n_clients;
	_Atomic uint32_t n_running;    /* requests in the batch */
	_Atomic uint32_t n_waiting;    /* after GO, not yet in the batch */
	_Atomic uint32_t batch_tokens; /* rows of the last step */
	_Atomic uint64_t kv_bytes_total;
	_Atomic uint64_t kv_bytes_used;     /* of requests */
	_Atomic uint64_t kv_bytes_resident; /* that have memory: used, cached, and free ones that are kept for the next */
	_Atomic uint64_t kv_bytes_cached; /* of cached blocks that no request uses: given up when their memory is wanted */
	_Atomic uint32_t n_cached_blocks; /* that can be found again, used or not */
	_Atomic uint64_t n_evicted_blocks;
	/* states of hybrids, under the same budget: those that requests hold, and snapshots, which the prefix cache keeps
	 */
	_Atomic uint32_t n_states, n_snapshots;
	_Atomic uint64_t state_bytes_used, state_bytes_resident, snapshot_bytes;
	_Atomic uint64_t n_snapshots_kept;    /* so far … */
	_Atomic uint64_t n_snapshots_copied;  /* … and by how many sequences one was found and copied, … */
	_Atomic uint64_t n_snapshots_moved;   /* … or found and taken over */
	_Atomic uint64_t n_snapshots_evicted; /* given up because their memory was wanted */
	_Atomic uint64_t n_preemptions;
	_Atomic uint64_t n_requests_done;
	_Atomic uint64_t n_requests_failed;
	_Atomic uint64_t n_requests_cancelled;
	_Atomic uint64_t n_prompt_tokens; /* computed or from the prefix cache */
	_Atomic uint64_t n_cached_tokens; /* those from the prefix cache */
	_Atomic uint64_t n_generated_tokens;
	_Atomic uint64_t n_guessed_tokens; /* by speculation … */
	_Atomic uint64_t n_guessed_right;  /* … and so many of them came */
	_Atomic uint64_t n_head_steps;     /* times that a model's own layer guessed … */
	_Atomic uint64_t n_head_guessed;   /* … so many of them … */
	_Atomic uint64_t n_head_right;     /* … and of these came */
	_Atomic uint64_t n_draft_guessed;  /* by draft models … */
	/* … and how often so many of them came at a time, from none on */
	_Atomic uint64_t n_draft_right[STATUS_PAGE_DRAFT_LENGTHS];
	_Atomic uint64_t n_constrained_tokens; /* generated, for which a form said what may come … */
	_Atomic uint64_t n_forced_tokens;      /* … of which it left no choice … */
	_Atomic uint64_t mask_ns;              /* … and it took to find that out */
	_Atomic uint32_t n_forms;              /* compiled, used now or kept … */
	_Atomic uint64_t form_bytes;           /* … and their memory, with that of their masks */
	_Atomic uint64_t step_us_total;        /* time inside steps */
	char isa[16];                          /* which kernels: their table's name (kernels.h) */

	SlotStatus slots[STATUS_PAGE_ALL_SLOTS];

	/* pages of it that were never used take no memory */
	RequestMeter meters[STATUS_PAGE_MAX_METERS];
} StatusPage;

#endif
