/*
 * client.c - calls of this session to the engine: any number of them on one connection (connection.c).
 *
 * Frames are taken off the stream as they come and kept with their calls until these are asked for them. A connection
 * that breaks is an error of the calls that were on it. What has not begun, since the engine ended or was to close its
 * model before GO, is to be asked again (STATUS_NOT_BEGUN).
 */
#include "client.h"

#include "../../base/clock.h"
#include "../core/compat.h"
#include "../core/errors.h"
#include "../core/settings.h"
#include "../core/shared_memory.h"
#include "../core/texts.h"
#include "../limits/limits.h"
#include "../watch/watch.h"
#include "connection.h"
#include "libpq/libpq-be.h"
#include "libpq/libpq.h"
#include "miscadmin.h"
#include "model_wait.h"
#include "pgstat.h"
#include "queue_gate.h"
#include "request_log.h"
#include "storage/ipc.h"
#include "tcop/dest.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define CLIENT_CHECK_MS 250 /* how often a waiting backend looks whether client and engine are still there */
#define READ_BYTES (64 * 1024)
#define KEPT_INPUT_BYTES (1024 * 1024)

/* A frame that waits to be taken. */
typedef struct Frame
{
	struct Frame *next;
	FrameHeader header;
	unsigned char body[FLEXIBLE_ARRAY_MEMBER];
} Frame;

struct EngineCall
{
	struct EngineCall *next;
	uint32 id;
	uint64 connection;     /* which one it was sent on */
	bool ended;            /* its last frame has come, or it was given up */
	bool engine_ended;     /* the connection did, while it was under way, and not by our doing */
	bool is_accepted;      /* as its reader knows */
	bool has_go;           /* it was sent, and the engine has not said that it has no room */
	bool was_refused;      /* it has said so of this one */
	uint64 waits_since_us; /* for room; 0: it has not had to */
	Accepted accepted;     /* what it asks for; of the frame ACCEPTED */
	LimitPass pass;
	RequestLog log;
	Frame *frames, *last_frame;
	Frame *current;                 /* the one that the last reply points into */
	MemoryContextCallback callback; /* frees it */
	WatchedRequest watched;
};

static uint32 next_id = 1;
static EngineCall *calls;
static StringInfoData input;
static EngineCall *entering; /* it waits at the door of limits */
static uint64 last_end_us;   /* of a request of this session */
static int input_taken;      /* bytes at the beginning of input whose frames have been taken off it */
static MemoryContext client_context;

/* The connection is gone: calls on it find out by its number, and what has been read of it ends in the middle. */
static void
on_closed(uint64 number, bool engine_ended)
{
	for (EngineCall *call = calls; call; call = call->next)
		if (call->connection == number)
			call->engine_ended = engine_ended;
	input_taken = 0;
	if (input.data)
		resetStringInfo(&input);
}

static EngineCall *
find_call(uint32 id)
{
	EngineCall *call = calls;

	while (call && call->id != id)
		call = call->next;
	return call;
}

static bool
is_last_frame(uint16 type)
{
	return type == FRAME_DONE || type == FRAME_RESULT || type == FRAME_ERROR;
}

/* A call leaves the door of limits: ended by the engine, or given up. */
static void
leave_limits(EngineCall *call, bool ended, const char *how)
{
	LimitDemand used;

	if (limits_leave(&call->pass, ended, &used))
		request_log_end(&call->log, &used, call->pass.admitted_us, how);
}

/* The queue was full when the call's GO came: it is as before, and what its limits gave is theirs again. */
static void
take_go_back(EngineCall *call)
{
	call->has_go = false;
	call->was_refused = true;
	if (call->waits_since_us == 0)
		call->waits_since_us = clock_now_us();
	queue_gate_refused();
	watch_no_room(&call->watched);
	limits_take_back(&call->pass, false);
}

/* Does a frame say that its request has not begun? One that cannot be read is told of where it is taken. */
static bool
says_not_begun(const Frame *frame)
{
	ProtocolError error;

	return frame->header.type == FRAME_ERROR &&
		   decode_error(frame->body, frame->header.body_bytes, &error).code == STATUS_OK &&
		   error.code == STATUS_NOT_BEGUN;
}

/* The engine refused the call before it saw its GO: what its limits gave is theirs again, but the meter stays the
 * call's until GO has come there, too, and ends it. */
static void
lose_go(EngineCall *call)
{
	call->has_go = false;
	watch_end(&call->watched);
	limits_take_back(&call->pass, true);
}

/* Give a whole frame to its call. */
static void
deliver_frame(EngineCall *call, Frame *frame)
{
	if (call->last_frame)
		call->last_frame->next = frame;
	else
		call->frames = frame;
	call->last_frame = frame;
	call->ended = is_last_frame(frame->header.type);
	if (frame->header.type == FRAME_ACCEPTED && call->has_go)
		take_go_back(call);
	if (call->has_go && says_not_begun(frame))
		lose_go(call);
	if (call->ended)
	{
		last_end_us = clock_now_us();
		if (call->has_go)
			queue_gate_ended();
		watch_end(&call->watched);
		/* the last thing: the request's line in the log may fail */
		leave_limits(call, true, frame->header.type == FRAME_ERROR ? "failed" : "done");
	}
}

/* The stream cannot be trusted any more. */
static void
raise_broken(const Status *status)
{
	connection_close(true);
	ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("the qwen engine sent something that cannot be understood"),
					errdetail("%s", status->message)));
}

/* A copy of the frame that begins at body. */
static Frame *
copy_frame(const FrameHeader *header, const char *body)
{
	Frame *frame = MemoryContextAllocHuge(client_context, offsetof(Frame, body) + header->body_bytes);

	frame->next = NULL;
	frame->header = *header;
	memcpy(frame->body, body, header->body_bytes);
	return frame;
}

/*
 * Take the first whole frame off the input buffer; false: it has not come yet. One for a call that was given up is
 * dropped. When an error is raised, either nothing has happened, or the frame is off the buffer and has its place.
 */
static bool
take_frame(void)
{
	const char *start = input.data + input_taken;
	int available = input.len - input_taken;
	FrameHeader header;
	EngineCall *call;
	Frame *frame = NULL;
	Status status;

	if (available < PROTOCOL_HEADER_BYTES)
		return false;
	status = decode_header((const unsigned char *) start, false, &header);
	if (status.code != STATUS_OK)
		raise_broken(&status);
	if ((uint32) (available - PROTOCOL_HEADER_BYTES) < header.body_bytes)
		return false;
	call = find_call(header.request_id);
	if (call && !call->ended)
		frame = copy_frame(&header, start + PROTOCOL_HEADER_BYTES);
	input_taken += PROTOCOL_HEADER_BYTES + (int) header.body_bytes;
	if (frame)
		deliver_frame(call, frame);
	return true;
}

/* Move what is left of the input buffer to its beginning. */
static void
compact_input(void)
{
	memmove(input.data, input.data + input_taken, input.len - input_taken);
	input.len -= input_taken;
	input_taken = 0;
	if (input.len == 0 && input.maxlen > KEPT_INPUT_BYTES)
	{
		input.data = repalloc(input.data, READ_BYTES);
		input.maxlen = READ_BYTES;
	}
}

/* Read what is there. false: nothing was; the connection may have ended, then it is closed. */
static bool
read_available(void)
{
	ssize_t n;

	compact_input();
	enlargeStringInfo(&input, READ_BYTES);
	n = connection_receive(input.data + input.len, READ_BYTES);
	if (n <= 0)
		return false;
	input.len += n;
	while (take_frame())
		;
	return true;
}

void
engine_receive(void)
{
	connection_send_late();
	while (connection_is_open() && read_available())
		;
}

/* The error of a call whose connection is gone. */
static void __attribute__((noreturn)) raise_lost(const EngineCall *call)
{
	if (call->engine_ended)
		raise_unavailable("the qwen engine stopped while it worked on this request");
	ereport(ERROR,
			(errcode(ERRCODE_SYSTEM_ERROR), errmsg("the connection to the qwen engine was given up with this request"),
			 errdetail("Another request of this session was cancelled in the middle of being sent."),
			 errhint("The request can be sent again.")));
}

/* Wait until the socket may take more, reading meanwhile; raises when the call's connection is gone. */
static void
wait_to_send(const EngineCall *call)
{
	connection_wait(true, CLIENT_CHECK_MS);
	if (connection_is_open())
		(void) read_available();
	if (call->connection != connection_number())
		raise_lost(call);
}

/* Send all of a frame of a call, reading meanwhile. */
static void
send_all(const EngineCall *call, const unsigned char *data, size_t length)
{
	size_t sent = 0;

	for (connection_send_late(); connection_has_late(); connection_send_late())
		wait_to_send(call);
	while (sent < length)
	{
		ssize_t n = connection_send(data + sent, length - sent);

		if (n < 0)
			raise_lost(call);
		if (n == 0)
			wait_to_send(call);
		sent += n;
	}
}

/*
 * Send a frame of a call. Interrupted in the middle, the stream's framing is lost, so the connection goes. How much is
 * missing stands in no local variable: what PG_CATCH needs must not be in a register.
 */
static void
send_frame(const EngineCall *call, const unsigned char *data, size_t length)
{
	PG_TRY();
	{
		send_all(call, data, length);
	}
	PG_CATCH();
	{
		if (connection_unsent() > 0)
		{
			size_t missing = connection_unsent();

			/* before the message, which may fail */
			connection_close(false);
			ereport(DEBUG1,
					(errmsg_internal("qwen_pg: a request was cut after %zu of %zu bytes", length - missing, length)));
		}
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/* An idle connection may have ended with an engine that died: look before sending, and connect anew. */
static void
refresh_connection(void)
{
	engine_receive();
	connection_open();
}

static void
unlink_call(EngineCall *call)
{
	EngineCall **link = &calls;

	while (*link && *link != call)
		link = &(*link)->next;
	if (*link)
		*link = call->next;
}

static void
free_frames(EngineCall *call)
{
	while (call->frames)
	{
		Frame *frame = call->frames;

		call->frames = frame->next;
		pfree(frame);
	}
	if (call->current)
		pfree(call->current);
	call->current = NULL;
	call->last_frame = NULL;
}

/* Is any call but this one under way on the connection? */
static bool
others_are_under_way(const EngineCall *call)
{
	for (const EngineCall *other = calls; other; other = other->next)
		if (other != call && !other->ended && other->connection == connection_number())
			return true;
	return false;
}

int
engine_under_way(int most)
{
	int n = 0;

	for (const EngineCall *call = calls; call && n < most; call = call->next)
		n += !call->ended && call->connection == connection_number();
	return n;
}

/*
 * Tell the engine that nobody wants the answer, without waiting and without raising anything. What a full socket does
 * not take is sent later.
 */
static void
send_cancel(const EngineCall *call)
{
	ByteWriter writer;

	byte_writer_init(&writer);
	/* one that cannot be written down cancels by closing the connection */
	if (encode_empty(&writer, call->id, FRAME_CANCEL).code != STATUS_OK ||
		!connection_send_later(writer.data, writer.length))
		connection_close(false);
	byte_writer_free(&writer);
}

void
engine_end(EngineCall *call)
{
	if (!call->ended && call->connection == connection_number() && connection_is_open())
		send_cancel(call);
	connection_send_late();
	/* nobody is left to send them later, or to be hurt */
	if (connection_has_late() && !others_are_under_way(call))
		connection_close(false);
	if (!call->ended && call->connection != connection_number())
		watch_failed(&call->watched, ERRCODE_SYSTEM_ERROR);
	watch_given_up(&call->watched);
	call->ended = true;
	unlink_call(call);
	free_frames(call);
	/* the last thing: the request's line in the log may fail */
	leave_limits(call, false, "cancelled");
	request_log_free(&call->log);
}

/* The memory context that the call belongs to goes, for whatever reason. */
static void
call_context_reset(void *argument)
{
	engine_end(argument);
	pfree(argument);
}

/* At the backend's end, however it comes: what is under way is given up. */
static void
end_all_calls(int code, Datum argument)
{
	usage_queue_leave();
	while (calls)
		engine_end(calls);
}

/* The connection's own memory, made once: all of it or nothing. */
static void
make_client_context(void)
{
	MemoryContext made, old;

	if (client_context)
		return;
	made = AllocSetContextCreate(TopMemoryContext, "qwen_pg client", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(made);
	initStringInfo(&input);
	MemoryContextSwitchTo(old);
	connection_listen(on_closed);
	before_shmem_exit(end_all_calls, (Datum) 0);
	client_context = made;
}

/* A request that cannot be a message. What cuts long texts for the model (qwen_chunk, aggregates) sends them whole. */
static void
refuse_to_send(const Status *status)
{
	ereport(ERROR,
			(errcode(sqlstate_of(status->code)), errmsg("%s", server_string(status->message)),
			 status->code == STATUS_TOO_LONG
				 ? errhint("Cut the text in SQL, by substr(), and send the pieces one by one, as in "
						   "qwen_summarize(piece); qwen_summarize_agg and qwen_chat_agg make one of their answers.")
				 : 0));
}

EngineCall *
engine_submit(const Request *asked, MemoryContext context)
{
	char name[PROTOCOL_MAX_NAME_BYTES + 1], full[ADAPTED_NAME_BYTES];
	Request request = *asked;
	EngineCall *call;
	ByteWriter writer;
	Status status;

	require_preloaded();
	make_client_context();
	request.role = GetOuterUserId();
	request.priority = limits_priority();
	request.prefix_sharing = qwen_prefix_cache;
	call = MemoryContextAllocZero(client_context, sizeof *call);
	call->id = next_id++;
	call->ended = true; /* nothing to cancel as long as nothing is sent */
	call->callback.func = call_context_reset;
	call->callback.arg = call;
	MemoryContextRegisterResetCallback(context, &call->callback);
	watch_begin(&call->watched, &request);
	byte_writer_init(&writer);
	PG_TRY();
	{
		choose_model(&request, name, full);
		watch_model(&call->watched, full);
		request_log_begin(&call->log, &request, client_context);
		status = encode_request(&writer, call->id, &request);
		if (status.code != STATUS_OK)
			refuse_to_send(&status);
		refresh_connection();
		if (!calls)
			queue_gate_reset();
		call->connection = connection_number();
		call->ended = false;
		call->next = calls;
		calls = call;
		send_frame(call, writer.data, writer.length);
	}
	PG_CATCH();
	{
		byte_writer_free(&writer);
		watch_failed(&call->watched, geterrcode());
		engine_end(call);
		PG_RE_THROW();
	}
	PG_END_TRY();
	byte_writer_free(&writer);
	return call;
}

/* Calls of this session that the engine works on. */
static int
count_running(void)
{
	int n = 0;

	for (EngineCall *call = calls; call; call = call->next)
		n += call->pass.held;
	return n;
}

/* Has a call come to an end, or its connection? Then nobody is there to say GO to. */
static bool
is_gone(const EngineCall *call)
{
	return call->ended || call->connection != connection_number();
}

/* The engine may refuse a call that waits at the door, as when its model is to be closed, or end itself: then it waits
 * for nothing. */
static bool
is_gone_at_door(void)
{
	return entering && is_gone(entering);
}

/* Wait, interruptibly, for the latch, the engine or at most this long, and take in what has come. */
static void
engine_pause(long timeout_ms)
{
	if (connection_is_open())
	{
		connection_wait(false, Min(timeout_ms, CLIENT_CHECK_MS));
		engine_receive();
		return;
	}
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, timeout_ms, qwen_wait_event());
	ResetLatch(MyLatch);
	check_client();
}

/* Whom limits wait for. */
static const LimitCompany company = {count_running, engine_pause, is_gone_at_door};

/* There was no room for long enough. */
static void
raise_queue_full(const EngineCall *call)
{
	uint64 waited_ms = (clock_now_us() - call->waits_since_us) / 1000;

	ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR),
					errmsg("%u requests are waiting already, as many as qwen.queue_size allows",
						   atomic_load(&qwen_page->n_waiting)),
					waited_ms > 0 ? errdetail("It has waited %llu ms for room (qwen.queue_timeout).",
											  (unsigned long long) waited_ms)
								  : 0,
					errhint("Try again later, or raise qwen.queue_size.")));
}

/* Has a call that the engine had no room for waited for long enough? Not while others of the session are under way: it
 * is they who have filled the queue, and they will end. */
static bool
has_waited(const EngineCall *call)
{
	return call->was_refused && qwen_queue_timeout >= 0 && count_running() == 0 &&
		   clock_now_us() - Max(call->waits_since_us, last_end_us) >= (uint64) qwen_queue_timeout * 1000;
}

/* Wait until the call may say GO, as far as this session can know. */
static void
wait_for_room(EngineCall *call)
{
	/* jobs send their row back and go on later; other background workers, as a subscription's, have none */
	if (limits_is_worker())
	{
		if (call->was_refused)
			raise_queue_full(call);
		return;
	}
	while (!has_waited(call))
	{
		if (queue_gate_pass())
			return;
		if (call->waits_since_us == 0)
			call->waits_since_us = clock_now_us();
		engine_pause(queue_gate_pause_ms());
		if (is_gone(call))
			return;
	}
	raise_queue_full(call);
}

/* Pass the door of limits and say GO; with comes_back it may be said later. What becomes of a call that is gone by then
 * engine_poll says. */
static void
say_go(EngineCall *call, bool comes_back)
{
	LimitDemand demand = {.prompt_tokens = call->accepted.prompt_tokens, .max_tokens = call->accepted.max_tokens};
	volatile bool admitted = false;
	ByteWriter writer;

	if (is_gone(call))
		return;
	byte_writer_init(&writer);
	PG_TRY();
	{
		entering = call;
		wait_for_room(call);
		if (!is_gone(call))
			admitted =
				comes_back ? limits_try_to_enter(&call->pass, &demand) : limits_enter(&call->pass, &demand, &company);
		entering = NULL;
		if (admitted)
		{
			Status status = encode_go(&writer, call->id, call->pass.meter);

			watch_go(&call->watched, call->pass.meter);
			if (status.code != STATUS_OK)
				raise_status(&status);
			call->has_go = true;
			send_frame(call, writer.data, writer.length);
		}
	}
	PG_CATCH();
	{
		entering = NULL;
		watch_failed(&call->watched, geterrcode());
		limits_take_back(&call->pass, false);
		byte_writer_free(&writer);
		PG_RE_THROW();
	}
	PG_END_TRY();
	byte_writer_free(&writer);
}

void
engine_go(EngineCall *call)
{
	say_go(call, false);
}

void
engine_try_go(EngineCall *call)
{
	if (!call->has_go && !call->frames)
		say_go(call, true);
}

bool
engine_has_go(const EngineCall *call)
{
	return call->has_go;
}

/* Read a frame's body. */
static void
read_reply(const Frame *frame, EngineReply *reply)
{
	const unsigned char *body = frame->body;
	size_t length = frame->header.body_bytes;
	Status status;

	reply->type = frame->header.type;
	switch (frame->header.type)
	{
		case FRAME_ACCEPTED:
			status = decode_accepted(body, length, &reply->accepted);
			break;
		case FRAME_PIECE:
			status = decode_piece(body, length, &reply->piece);
			break;
		case FRAME_DONE:
			status = decode_done(body, length, &reply->done);
			break;
		case FRAME_RESULT:
			status = decode_result(body, length, &reply->result);
			break;
		default:
			status = decode_error(body, length, &reply->error);
			break;
	}
	if (status.code != STATUS_OK)
		raise_broken(&status);
}

/* The engine has ended with a call that it only waited for, as for a limit of its role: what it would have said. */
static void
reply_not_begun(EngineCall *call, EngineReply *reply)
{
	memset(reply, 0, sizeof *reply);
	reply->type = FRAME_ERROR;
	reply->error.code = STATUS_NOT_BEGUN;
	reply->error.message = span_from_cstring("the qwen engine stopped before the request began");
	reply->error.hint = span_from_cstring("The request can be sent again.");
	call->ended = true;
	watch_answered(&call->watched, reply);
}

/* What becomes of a call whose connection is gone. */
static bool
poll_lost(EngineCall *call, EngineReply *reply)
{
	if (call->is_accepted && !call->has_go && !call->ended && call->engine_ended)
	{
		reply_not_begun(call, reply);
		return true;
	}
	watch_failed(&call->watched, ERRCODE_SYSTEM_ERROR);
	raise_lost(call);
}

bool
engine_poll(EngineCall *call, EngineReply *reply)
{
	if (!call->frames)
		return call->connection != connection_number() && poll_lost(call, reply);
	if (call->current)
		pfree(call->current);
	call->current = call->frames;
	call->frames = call->frames->next;
	if (!call->frames)
		call->last_frame = NULL;
	read_reply(call->current, reply);
	if (reply->type == FRAME_ACCEPTED)
	{
		call->accepted = reply->accepted;
		call->is_accepted = true;
		watch_accepted(&call->watched, &reply->accepted);
	}
	else if (is_last_frame(reply->type))
		watch_answered(&call->watched, reply);
	return true;
}

void
engine_wait(bool flush)
{
	/* rows that the client waits for must not sit in our buffer while we wait for the next one */
	if (flush && whereToSendOutput == DestRemote)
		pq_flush();
	connection_wait(false, CLIENT_CHECK_MS);
}

bool
engine_ended_with(const EngineCall *call)
{
	return call->connection != connection_number() && call->engine_ended;
}

bool
engine_wait_for(long timeout_ms)
{
	bool latch_was_set = connection_wait_for(timeout_ms);

	CHECK_FOR_INTERRUPTS();
	return latch_was_set;
}

/* Wait for the next frame of a call, an ERROR frame too. */
static void
next_frame(EngineCall *call, EngineReply *reply, bool flush)
{
	while (!engine_poll(call, reply))
	{
		engine_receive();
		if (!call->frames && call->connection == connection_number())
			engine_wait(flush);
	}
}

void
engine_next(EngineCall *call, EngineReply *reply, bool flush)
{
	next_frame(call, reply, flush);
	if (reply->type == FRAME_ERROR)
		raise_engine_error(&reply->error);
}

/* Is it the request itself that is wrong, and not the moment? */
static bool
is_for_good(int sqlstate)
{
	int category = ERRCODE_TO_CATEGORY(sqlstate);

	return category == ERRCODE_TO_CATEGORY(ERRCODE_DATA_EXCEPTION) ||
		   category == ERRCODE_TO_CATEGORY(ERRCODE_FEATURE_NOT_SUPPORTED) ||
		   category == ERRCODE_TO_CATEGORY(ERRCODE_PROGRAM_LIMIT_EXCEEDED);
}

/* One request until the engine has said whether it takes it. */
static void
try_request(const Request *request)
{
	EngineCall *call = engine_submit(request, CurrentMemoryContext);
	EngineReply reply;

	PG_TRY();
	{
		while (!call->frames && call->connection == connection_number())
		{
			engine_receive();
			if (!call->frames && call->connection == connection_number())
				engine_wait(false);
		}
		watch_forget(&call->watched);
		if (engine_poll(call, &reply) && reply.type == FRAME_ERROR)
			raise_engine_error(&reply.error);
	}
	PG_CATCH();
	{
		watch_forget(&call->watched);
		engine_end(call);
		PG_RE_THROW();
	}
	PG_END_TRY();
	engine_end(call);
}

void
engine_try(const Request *request)
{
	MemoryContext context = CurrentMemoryContext;

	if (!model_can_be_asked(request))
		return;
	PG_TRY();
	{
		try_request(request);
	}
	PG_CATCH();
	{
		int sqlstate = geterrcode();

		/* an engine that ends, or a model that goes, just now */
		if (is_for_good(sqlstate) || (ERRCODE_TO_CATEGORY(sqlstate) != ERRCODE_TO_CATEGORY(ERRCODE_SYSTEM_ERROR) &&
									  sqlstate != ERRCODE_UNDEFINED_OBJECT))
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		FlushErrorState();
	}
	PG_END_TRY();
}

/* Say GO and wait for what comes behind it; an error but one of a request that has not begun is raised. */
static void
begin_call(EngineCall *call, EngineReply *reply, bool flush)
{
	PG_TRY();
	{
		for (;;)
		{
			next_frame(call, reply, flush);
			if (reply->type != FRAME_ACCEPTED)
				break;
			engine_go(call);
		}
		if (reply->type == FRAME_ERROR && !engine_has_not_begun(reply))
			raise_engine_error(&reply->error);
	}
	PG_CATCH();
	{
		engine_end(call);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

bool
engine_has_not_begun(const EngineReply *reply)
{
	return reply->type == FRAME_ERROR && reply->error.code == STATUS_NOT_BEGUN;
}

EngineCall *
engine_ask_again(EngineCall *call, const Request *request, MemoryContext context)
{
	engine_end(call);
	CHECK_FOR_INTERRUPTS();
	return engine_submit(request, context);
}

EngineCall *
engine_begin(const Request *request, MemoryContext context, EngineReply *reply, bool flush)
{
	EngineCall *call = engine_submit(request, context);

	for (begin_call(call, reply, flush); engine_has_not_begun(reply); begin_call(call, reply, flush))
		call = engine_ask_again(call, request, context);
	return call;
}

EngineCall *
engine_run(const Request *request, EngineReply *reply)
{
	EngineCall *call = engine_begin(request, CurrentMemoryContext, reply, false);

	PG_TRY();
	{
		while (!is_last_frame(reply->type))
			engine_next(call, reply, false);
	}
	PG_CATCH();
	{
		engine_end(call);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return call;
}
