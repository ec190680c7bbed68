/*
 * qwen_pg.h - the extension's own door: settings, shared memory, and what its files ask of each other.
 *
 * Who does what: init.c sets up; settings.c has the GUCs; shared_memory.c the memory; supervisor.c runs the engine with
 * launch.c and model_slots.c; client.c talks to it; model_call.c is what functions that ask the model share,
 * call_window.c keeps many calls in flight; chat.c, embed.c, tokens.c, tasks.c, scores.c, chunk.c, aggregates.c,
 * arrays.c, summarize_trigger.c, models.c, health.c are SQL functions; jobs.h tells of jobs; call_options.c reads their
 * common arguments, results.c prepares their rows; errors.c raises what the engine says; texts.c converts and cuts
 * texts, own_transaction.c runs what needs a transaction where there is none.
 */
#ifndef QWEN_PG_H
#define QWEN_PG_H

#include "postgres.h"

#include "core/arguments.h"
#include "datatype/timestamp.h"
#include "lib/stringinfo.h"
#include "nodes/pg_list.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "utils/timestamp.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h" /* part of postgres.h before */
#endif

/* an old constant of c.h that nobody uses, with the value of ours */
#undef STATUS_OK
#include "../protocol/configured_models.h"
#include "../protocol/protocol.h"
#include "../protocol/status_page.h"

/* ---- settings.c ---- */
extern char *qwen_models, *qwen_model_directory, *qwen_default_model, *qwen_default_embedding_model, *qwen_engine_path,
	*qwen_kv_cache_size;
extern bool qwen_speculation, qwen_engine_sandbox, qwen_lock_memory;

/* qwen.kv_cache_size in bytes; 0: auto. */
extern uint64 kv_cache_bytes(void);
extern int qwen_max_models, qwen_threads, qwen_kv_cache_type, qwen_prefill_chunk, qwen_max_running, qwen_queue_size,
	qwen_max_tokens, qwen_prefix_cache, qwen_io_method, qwen_watchdog_timeout;
extern int qwen_job_window, qwen_max_job_workers, qwen_job_retention;

extern int qwen_engine_priority;

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

#define QWEN_IO_AUTO 0
#define QWEN_IO_PREAD 1

extern void settings_define(bool preloaded);

/*
 * Is it still before until, the end of a pause of at most longest_ms? One that would last longer than that is over: the
 * wall clock has been set back.
 */
static inline bool
still_pauses(TimestampTz until, int64 longest_ms)
{
	TimestampTz now = GetCurrentTimestamp();

	return now < until && until - now <= longest_ms * 1000;
}

/* ---- shared_memory.c ---- */
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
	char name[PROTOCOL_MAX_NAME_BYTES + 1];
	char file[CONFIGURED_MAX_FILE_BYTES];
	uint64 generation;
	bool fresh;           /* the image was loaded just now and has not been served yet */
	int retry_ms;         /* loading is tried again after a failure: the next pause. 0: not tried again */
	TimestampTz retry_at; /* of a failed slot */
	int error_code;       /* StatusCode */
	char error[512];
} SharedSlot;

/* In PostgreSQL's shared memory; guarded by lock. */
typedef struct QwenShared
{
	LWLock *lock;
	Latch *supervisor_latch; /* NULL: not there, or has not read qwen.models yet */
	EngineState engine_state;
	pid_t engine_pid;
	uint64 n_restarts;
	bool give_up; /* the next start is too far away, or without much hope: calls fail instead of waiting for it */
	TimestampTz started_at, next_try;
	char last_error[256];
	SharedSlot slots[STATUS_PAGE_MAX_SLOTS];
} QwenShared;

extern QwenShared *qwen_shared;
extern StatusPage *qwen_page;                    /* mapped in the postmaster, so in every process */
extern int qwen_page_fd;                         /* in the postmaster and its children */
extern int qwen_slot_fds[STATUS_PAGE_MAX_SLOTS]; /* memory files of the images */

extern void shared_init(void);

/* Raise 55000 with the line to add unless we were preloaded. */
extern void require_preloaded(void);

extern void wake_supervisor(void);

/* ---- supervisor.c, launch.c, model_slots.c ---- */
extern PGDLLEXPORT void qwen_supervisor_main(Datum argument);
extern void supervisor_register(void);

/* Start the engine or a loader; the pid, or -1 with errno. *pidfd: readable when it ends. death_pipe: [read, write]
 * ends, made anew. */
extern pid_t launch_engine(int listener, int death_pipe[2], int *pidfd);
extern pid_t launch_loader(int slot, const SharedSlot *work, int death_pipe[2], int *pidfd);
extern const char *engine_program(void);

/* Slots, called by the supervisor: what has to be done now. true: something is pending, look again soon. */
extern void slots_recover(void);
extern void slots_reconcile(void);
extern int slots_next_to_load(SharedSlot *work);
extern void slots_load_ended(int slot, bool ok, const char *why);
extern bool slots_advance(pid_t engine_pid);
extern void slots_engine_ended(void);

/* The engine was killed because memory ran out: give the models' memory back and load them again. */
extern void slots_memory_ran_out(void);

/* ---- errors.c ---- */
extern int sqlstate_of(int status_code);
extern void raise_status(const Status *status) __attribute__((noreturn));
extern void raise_engine_error(const ProtocolError *error) __attribute__((noreturn));

/* ---- client.c ---- */
typedef struct EngineCall EngineCall;

/* What came back last. Spans point into the call and live until the next engine_next or the call's end. */
typedef struct EngineReply
{
	uint16 type; /* FrameType: ACCEPTED, PIECE, DONE, RESULT, ERROR */
	union
	{
		Accepted accepted;
		Piece piece;
		Done done;
		RequestResult result;
		ProtocolError error; /* of engine_poll only */
	};
} EngineReply;

/*
 * Send a request; waits while its model is still being loaded. The call belongs to context: when that is reset, a call
 * that has not ended is cancelled and all of it freed.
 */
extern EngineCall *engine_submit(const Request *request, MemoryContext context);

/* Wait for the next frame of a call; an ERROR frame is raised. flush: send what the client of this session has waiting
 * first. */
extern void engine_next(EngineCall *call, EngineReply *reply, bool flush);

/* Take in what has come, for all calls, without waiting. */
extern void engine_receive(void);

/* The next frame of a call if it has been taken in, an ERROR frame too. Raises when the call's connection is gone. */
extern bool engine_poll(EngineCall *call, EngineReply *reply);

/* Wait, interruptibly, until something may have come for any call; only while one is on its way. flush: as above. */
extern void engine_wait(bool flush);

/* Wait until anything comes from the engine, the latch is set or the time is over. true: it was the latch. */
extern bool engine_wait_for(long timeout_ms);

/* Did the engine end while it had the call? Not so where this session has given up its connection. */
extern bool engine_ended_with(const EngineCall *call);

/* Say GO after ACCEPTED, when the limits of the session's roles allow it: raises 53400, or waits (admission.c). */
extern void engine_go(EngineCall *call);

/* Wait, interruptibly, for the latch, the engine or at most this long, and take in what has come. */
extern void engine_pause(long timeout_ms);

/* Give a call up, or free the frames of one that has ended; may be repeated. Never raises. */
extern void engine_end(EngineCall *call);

/* Raises 42704 when a request names a model that is neither in qwen.models nor loaded, without asking the engine. */
extern void engine_require_model(const Request *request);

/* Whole call in the current memory context: submit, GO, wait for DONE or RESULT. Ended here when an error is raised. */
extern EngineCall *engine_run(const Request *request, EngineReply *reply);

/* Wait a few milliseconds, interruptibly. */
extern void wait_a_moment(void);

/* Wait until the supervisor is there and has read qwen.models; 58000 when it does not come. */
extern void wait_for_supervisor(void);

/* 58000 with the reason when the engine keeps ending and waits for its next start. */
extern void check_engine_state(void);

/* ---- texts.c ---- */
/* Text in UTF-8 as a span; and back, raising 22P05 where the server's encoding cannot hold it. In any transaction
 * state. */
extern ByteSpan span_from_text(text *value);
extern ByteSpan span_from_cstring(const char *value);
extern char *server_text(ByteSpan span);
extern text *text_from_span(ByteSpan span);

/*
 * Any text of UTF-8 in the server's encoding, for messages and pieces of text: a character that the encoding cannot
 * hold is written as \uXXXX or \UXXXXXXXX, a byte that is no text as a question mark. Not among the arguments of
 * ereport, nor while an error is handled: before 14 it catches errors of its own.
 */
extern char *server_string(const char *utf8);
extern text *escaped_text_from_span(ByteSpan span);

/* Is there nothing to see in a text? Nobody asks the model about such a one: the value is NULL. */
extern bool text_is_blank(text *value);

/* Raise 22023 for an argument that must say something. */
extern void require_text(text *value, const char *name);

/* Copy text in the server's encoding into to[bytes], cut at the end of a character where it is too long. */
extern void copy_server_text(char *to, const char *from, size_t bytes);

/* ---- own_transaction.c ---- */
/*
 * Run body in the transaction that is open, or, where there is none (job workers between theirs), in one of its own,
 * which is rolled back when body raises. What body makes for the caller belongs into a context that the caller names;
 * current memory context and resource owner are afterwards what they were.
 */
extern void own_transaction(void (*body)(void *argument), void *argument);

/* ---- call_options.c ---- */
#define N_TAIL_ARGUMENTS 16

/*
 * Read the common tail, arguments first ... first+14 of fcinfo and the last one, options, into request (whose texts are
 * palloc'd). Between adapter and options a function may have arguments of its own.
 */
extern void options_read(FunctionCallInfo fcinfo, int first, Request *request);

/* The argument options alone: a JSON object with the options that have no argument of their own; may be NULL. */
extern void options_read_object(FunctionCallInfo fcinfo, int argument, Request *request);

/* The defaults of the tail, for those who have none. */
extern void options_default(Request *request);

/* A model's name argument (or NULL) into request->model; fallback: the setting that holds when it is NULL. */
extern void options_set_model(Request *request, text *name, const char *fallback);

/* ---- chat.c ---- */
/* [{"role": "system", …}, {"role": "user", …}] in UTF-8 */
extern ByteSpan messages_from_texts(text *prompt, text *system_prompt);

/* ---- settings.c: rows in flight ---- */
extern int qwen_batch_window, qwen_on_error;
extern bool qwen_batch_plans;

#define QWEN_ON_ERROR_RAISE 0
#define QWEN_ON_ERROR_NULL 1

/* ---- embed.c ---- */
/* The setting that holds for embeddings when no model is named. */
extern const char *default_embedding_model(void);

/* ---- results.c ---- */
/* Prepare the tuplestore of a set-returning function (fcinfo->resultinfo) for tuplestore_putvalues. */
extern void init_materialized_set(FunctionCallInfo fcinfo);

/* ---- tasks.c ---- */
/* A prompt, an empty line and the input as a request's messages. The built-in words that the prompt begins with are
 * marked as what all roles may share. */
extern void task_messages(Request *request, const char *prompt, text *input);

/* Greedy and without thinking, where the caller did not say otherwise. */
extern void task_options(Request *request);

/* At least so many tokens for the answer, where the caller did not say how many and the role's limits allow it. */
extern void task_max_tokens(Request *request, int wanted);

/*
 * The answer to a prompt over an input of any length. options: a request with model and options alone; max_tokens: for
 * the whole answer, as task_max_tokens takes it. An input that is longer than the context is cut into parts,
 * part_prompt is asked about each, and combine_prompt about what comes out, again in parts if need be. An answer that
 * was cut off is counted.
 */
extern text *task_map_reduce(const Request *options, text *input, const char *whole_prompt, const char *part_prompt,
							 const char *combine_prompt, int max_tokens);

/* Pieces (text) of at most max_tokens; 0: as large as leaves room for a prompt and an answer. */
extern List *chunk_text(text *input, const Request *options, uint32 max_tokens, uint32 overlap);

/* A summary of input with these options, in parts where there is no room for it. Waits; nothing of it needs a
 * transaction in a database of UTF-8. */
extern text *summarize_with(const Request *options, text *input, int max_words);

/* The same with the tail of fcinfo from first on (fcinfo NULL: no tail). */
extern text *summarize(text *input, int max_words, FunctionCallInfo fcinfo, int first);

#define SUMMARY_MAX_WORDS 60 /* unless told otherwise */
#define SUMMARY_WORDS_LIMIT 10000

#endif
