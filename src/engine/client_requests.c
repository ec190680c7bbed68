/*
 * client_requests.c - see client_requests.h.
 */
#include "client_requests.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "constraint.h"
#include "long_frames.h"
#include "prepare.h"
#include "prompt.h"
#include "replies.h"

#define TOO_LONG_HINT                                                                                                  \
	"Send less: fewer labels, examples or messages, or less text, which qwen_chunk cuts into parts. qwen_summarize "   \
	"takes texts of up to 64 MB."
#define LONG_TEXT_HINT "Send less text: qwen_chunk cuts it into parts."
#define FORM_HINT "Send a smaller form: fewer choices, or a schema without long enumerations and descriptions."
#define TOOLS_HINT "Send fewer tools, or shorter descriptions of them."
#define NO_CACHE_HINT                                                                                                  \
	"Give a smaller max_tokens or less text (qwen_chunk cuts it into parts), or raise qwen.kv_cache_size and restart " \
	"the server."
#define NO_ROOM_HINT                                                                                                   \
	"Raise the argument max_tokens, qwen.max_tokens or the role's limit; where the context is full, send less text."
#define NAMES_BYTES (STATUS_PAGE_MAX_SLOTS * (PROTOCOL_MAX_NAME_BYTES + 3)) /* the names of all slots, never cut */
#define ADAPTER_NAMES_BYTES (STATUS_PAGE_MAX_ADAPTERS * (PROTOCOL_MAX_NAME_BYTES + 3))
#define AT_ONCE_BYTES ((size_t) 16 * 1024)            /* a request of so many bytes at most is prepared in the loop */
#define CLIENT_DESK_BYTES ((size_t) 32 * 1024 * 1024) /* of a client's requests at the desk, unless it is one */
#define GO_ON_ITS_WAY_US 1000000                      /* a client says GO at once, unless something keeps it */
#define DESK_BYTES ((size_t) 256 * 1024 * 1024)       /* of all clients' */

/* Link a request to its client. */
static void
attach_request(Client *client, EngineRequest *request)
{
	request->client = client;
	request->next_of_client = client->requests;
	client->requests = request;
	client->n_requests++;
}

static void
detach_request(EngineRequest *request)
{
	Client *client = request->client;
	EngineRequest **link = &client->requests;

	while (*link != request)
		link = &(*link)->next_of_client;
	*link = request->next_of_client;
	client->n_requests--;
	request->client = NULL;
}

static EngineRequest *
find_request(const Client *client, uint32_t request_id)
{
	EngineRequest *request = client->requests;

	while (request && request->id != request_id)
		request = request->next_of_client;
	return request;
}

static DeskPaper *
find_paper(const Client *client, uint32_t request_id)
{
	DeskPaper *paper = client->papers;

	while (paper && paper->request_id != request_id)
		paper = paper->next_of_client;
	return paper;
}

/* Keep a slot's model, and an adapter if any, open for one more request or paper. */
static void
hold_slot(Slot *slot, AdapterSlot *adapter)
{
	slot->n_requests++;
	atomic_store(&slot->status->n_requests, slot->n_requests);
	if (adapter)
		atomic_store(&adapter->status->n_requests, ++adapter->n_requests);
}

/* Or one less; a slot that was waiting for it may close. */
static void
release_slot(Server *server, Slot *slot, AdapterSlot *adapter)
{
	slot->n_requests--;
	atomic_store(&slot->status->n_requests, slot->n_requests);
	if (adapter)
		atomic_store(&adapter->status->n_requests, --adapter->n_requests);
	if (slots_have_drained(&server->slots) || (adapter && adapter->draining && adapter->n_requests == 0))
		slots_look(&server->slots);
}

/* The end of a request: out of the client's list and freed. */
static void
drop_request(Server *server, EngineRequest *request)
{
	Slot *slot = request->slot;
	AdapterSlot *adapter = request->adapter;

	detach_request(request);
	request_destroy(request);
	release_slot(server, slot, adapter);
}

/* Out of the client's list, which it is not in any more when nobody wants it. */
static void
detach_paper(Server *server, DeskPaper *paper)
{
	Client *client = paper->client;
	DeskPaper **link = &client->papers;

	while (*link != paper)
		link = &(*link)->next_of_client;
	*link = paper->next_of_client;
	client->n_requests--;
	client->desk_bytes -= paper->body.length;
	server->desk_bytes -= paper->body.length;
	paper->client = NULL;
}

void
client_drop_paper(Server *server, DeskPaper *paper)
{
	Slot *slot = paper->slot;
	AdapterSlot *adapter = paper->place.adapter;

	long_frame_end(server, &paper->frame);
	desk_paper_free(paper);
	release_slot(server, slot, adapter);
}

/* A paper that nobody wants any more. */
static void
cancel_paper(Server *server, DeskPaper *paper)
{
	detach_paper(server, paper);
	atomic_fetch_add(&server->page->n_requests_cancelled, 1);
	if (desk_withdraw(server->desk, paper))
		client_drop_paper(server, paper);
}

ByteWriter *
client_output(void *argument, EngineRequest *request)
{
	Server *server = argument;
	Client *client = request->client;

	return client ? &client->output : &server->nowhere;
}

void
client_ended(void *argument, EngineRequest *request)
{
	drop_request(argument, request);
}

/* A request that nobody wants any more. */
static void
cancel_request(Server *server, EngineRequest *request)
{
	round_clock_remove(&server->clock, request);
	scheduler_remove(server->scheduler, request);
	atomic_fetch_add(&server->page->n_requests_cancelled, 1);
	drop_request(server, request);
}

/* Say which models there are. */
static void
reply_unknown_model(Server *server, Client *client, uint32_t request_id, const Request *message)
{
	char names[NAMES_BYTES], detail[NAMES_BYTES + 32];
	Status status;

	slots_names(&server->slots, names, sizeof names);
	if (names[0])
		snprintf(detail, sizeof detail, "Loaded models: %s.", names);
	else
		snprintf(detail, sizeof detail, "No model is loaded.");
	status = message->model.data ? status_error(STATUS_NOT_FOUND, "model \"%.*s\" is not loaded",
												(int) message->model.length, message->model.data)
								 : status_error(STATUS_NOT_FOUND, "no model is loaded");
	reply_error(&client->output, request_id, &status, detail,
				"Set qwen.models, or load one with qwen_load_model(name, file).");
	atomic_fetch_add(&server->page->n_requests_failed, 1);
}

/* Say which adapters a model has. */
static void
reply_unknown_adapter(Server *server, Client *client, const Slot *slot, uint32_t request_id, const Request *message)
{
	char names[ADAPTER_NAMES_BYTES], detail[ADAPTER_NAMES_BYTES + 128];
	Status status = status_error(STATUS_NOT_FOUND, "adapter \"%.*s\" of model \"%s\" is not loaded",
								 (int) message->adapter.length, message->adapter.data, slot->model->name);

	slots_adapter_names(&server->slots, slot, names, sizeof names);
	if (names[0])
		snprintf(detail, sizeof detail, "Adapters of model \"%s\": %s.", slot->model->name, names);
	else
		snprintf(detail, sizeof detail, "Model \"%s\" has no adapters.", slot->model->name);
	reply_error(&client->output, request_id, &status, detail,
				"Set qwen.adapters, or load one with qwen_load_adapter(name, file, model).");
	atomic_fetch_add(&server->page->n_requests_failed, 1);
}

static bool
begins(const char *message, const char *words)
{
	return strncmp(message, words, strlen(words)) == 0;
}

/* What to do about a request that is too long, or NULL. */
static const char *
hint_of(const Status *status)
{
	const char *message = status->message;
	size_t subject = 0;

	if (status->code != STATUS_TOO_LONG)
		return NULL;
	if (begins(message, "response_format: "))
		subject = 17;
	else if (begins(message, "tools: "))
		subject = 7;
	if (begins(message + subject, CONSTRAINT_NO_ROOM))
		return NO_ROOM_HINT;
	if (begins(message, REQUEST_NO_CACHE))
		return NO_CACHE_HINT;
	if (begins(message, "response_format has "))
		return FORM_HINT;
	if (begins(message, "tools has "))
		return TOOLS_HINT;
	if (begins(message, "the " INPUT_NOUN " has ") || begins(message, "the " DOCUMENT_NOUN " has "))
		return LONG_TEXT_HINT;
	/* a form that is too large is no long text */
	return subject > 0 ? NULL : TOO_LONG_HINT;
}

/* A request that cannot be done. */
static void
refuse(Server *server, Client *client, uint32_t request_id, const Status *status)
{
	reply_error(&client->output, request_id, status, NULL, hint_of(status));
	atomic_fetch_add(&server->page->n_requests_failed, 1);
}

/* A request was prepared: it is refused, has been answered, or waits for GO. */
static void
take_prepared(Server *server, Client *client, Slot *slot, uint32_t request_id, const Status *status,
			  EngineRequest *request)
{
	if (status->code != STATUS_OK)
		refuse(server, client, request_id, status);
	else if (!request)
		atomic_fetch_add(&server->page->n_requests_done, 1);
	else
	{
		request_use_slot(request, slot);
		request->accepted_us = clock_now_us();
		request->is_only = !scheduler_serves(server->scheduler, request->role);
		round_clock_add(&server->clock, request);
		hold_slot(slot, request->adapter);
		attach_request(client, request);
	}
}

/* The slot of a request and its adapter, or NULL: it has been refused. The request's id is a new one. */
static Slot *
choose_slot(Server *server, Client *client, uint32_t request_id, const Request *message, AdapterSlot **adapter)
{
	Status status;
	Slot *slot;

	if (client->n_requests >= PROTOCOL_MAX_REQUESTS_PER_CLIENT)
	{
		status = status_error(STATUS_TOO_LONG, "%u requests are in flight on this connection, at most %d are possible",
							  client->n_requests, PROTOCOL_MAX_REQUESTS_PER_CLIENT);
		reply_error(&client->output, request_id, &status, NULL, NULL);
		atomic_fetch_add(&server->page->n_requests_failed, 1);
		return NULL;
	}
	slot = slots_find(&server->slots, message->model);
	*adapter = slot && message->adapter.data ? slots_find_adapter(&server->slots, slot, message->adapter) : NULL;
	if (!slot)
		reply_unknown_model(server, client, request_id, message);
	else if (message->adapter.data && !*adapter)
	{
		reply_unknown_adapter(server, client, slot, request_id, message);
		return NULL;
	}
	return slot;
}

static Status
id_in_use(uint32_t request_id)
{
	return status_error(STATUS_INVALID_ARGUMENT, "request id %u is in use", request_id);
}

/* A short REQUEST: answer it, refuse it, or have it wait for GO. */
static Status
handle_at_once(Server *server, Client *client, uint32_t request_id, const unsigned char *body, size_t length)
{
	uint64_t start = clock_now_us();
	Request message;
	AdapterSlot *adapter;
	Slot *slot;
	EngineRequest *request = NULL;
	Status status;

	STATUS_TRY(decode_request(body, length, &message));
	if (find_request(client, request_id) || find_paper(client, request_id))
		return id_in_use(request_id);
	slot = choose_slot(server, client, request_id, &message, &adapter);
	if (!slot)
		return status_ok();
	status = prepare_in_loop(slot->model, slot->pool, adapter, &message, request_id, &client->output, &request);
	take_prepared(server, client, slot, request_id, &status, request);
	round_clock_prepared(&server->clock, start);
	return status_ok();
}

/* A paper of the bytes at the input buffer's offset, which are the buffer's only ones (then it is taken as it is) or
 * copied. NULL without memory. */
static DeskPaper *
make_paper(Client *client, size_t offset, size_t length, const unsigned char **body)
{
	DeskPaper *paper = calloc(1, sizeof *paper);

	if (!paper)
		return NULL;
	if (client->input.length == offset + length && length > KEPT_BUFFER_BYTES)
	{
		paper->body = client->input;
		byte_writer_init(&client->input);
		*body = paper->body.data + offset;
		return paper;
	}
	write_raw(&paper->body, client->input.data + offset, length);
	*body = paper->body.data;
	if (!paper->body.failed)
		return paper;
	desk_paper_free(paper);
	return NULL;
}

/* Lay a paper on the desk. */
static bool
give_paper(Server *server, Client *client, Slot *slot, AdapterSlot *adapter, DeskPaper *paper)
{
	paper->client = client;
	paper->slot = slot;
	paper->line = client;
	paper->lane = paper->body.length > DESK_LONG_BYTES ? DESK_LANE_LONG : DESK_LANE_SHORT;
	paper->place = (Workplace){
		.model = slot->model, .tokenizer = slot->desk_tokenizers[paper->lane], .pool = slot->pool, .adapter = adapter};
	long_frame_give_paper(client, paper);
	if (!desk_give(server->desk, paper))
	{
		long_frame_end(server, &paper->frame);
		return false;
	}
	hold_slot(slot, paper->place.adapter);
	paper->next_of_client = client->papers;
	client->papers = paper;
	client->n_requests++;
	client->desk_bytes += paper->body.length;
	server->desk_bytes += paper->body.length;
	return true;
}

/* A REQUEST that the desk is for; offset: where its body begins in the input buffer, which may be gone afterwards. */
static Status
handle_at_desk(Server *server, Client *client, uint32_t request_id, size_t offset, size_t length)
{
	Status no_memory = status_error(STATUS_UNAVAILABLE, "out of memory in the engine");
	const unsigned char *body;
	DeskPaper *paper;
	Request name = {0};
	AdapterSlot *adapter = NULL;
	Slot *slot;
	Status status;

	if (find_request(client, request_id) || find_paper(client, request_id))
		return id_in_use(request_id);
	paper = make_paper(client, offset, length, &body);
	if (!paper)
	{
		refuse(server, client, request_id, &no_memory);
		return status_ok();
	}
	paper->request_id = request_id;
	status = decode_request_unchecked(body, length, &paper->message);
	/* the names are looked at here, the texts at the desk */
	name.model = paper->message.model;
	name.adapter = paper->message.adapter;
	if (status.code == STATUS_OK)
		status = request_check_texts(&name);
	slot = status.code == STATUS_OK ? choose_slot(server, client, request_id, &paper->message, &adapter) : NULL;
	if (slot && give_paper(server, client, slot, adapter, paper))
		return status;
	if (slot)
		refuse(server, client, request_id, &no_memory);
	desk_paper_free(paper);
	return status;
}

/* Can a request be prepared in the loop? Cutting a text asks ICU, whose first look at a language is a long one. */
static bool
is_for_loop(const Server *server, const unsigned char *body, size_t length)
{
	/* formats take a while to compile, and pieces to cut */
	bool takes_long = length > 1 && (body[0] == REQUEST_CHUNK || body[0] == REQUEST_CHECK_FORMAT ||
									 (body[1] & REQUEST_FLAG_FORMAT) != 0);

	return length <= AT_ONCE_BYTES && !takes_long && round_clock_has_time(&server->clock);
}

/* Does so much lie at the desk already that a request of so many bytes has to wait where it is? */
static bool
must_wait(const Server *server, const Client *client, size_t length)
{
	return client->papers &&
		   (client->desk_bytes + length > CLIENT_DESK_BYTES || server->desk_bytes + length > DESK_BYTES);
}

/* The meter that came with GO. Only one that was given and has not been taken: it is written to from here on. */
static RequestMeter *
take_meter(Server *server, uint32_t number)
{
	uint32_t given = METER_GIVEN;

	if (number >= STATUS_PAGE_MAX_METERS ||
		!atomic_compare_exchange_strong(&server->page->meters[number].state, &given, METER_RUNNING))
		return NULL;
	return &server->page->meters[number];
}

/* A meter for whose request there is nothing to do. */
static void
end_meter(RequestMeter *meter)
{
	if (meter)
		atomic_store(&meter->state, METER_ENDED);
}

/* GO for what is ready. */
static Status
finish_ready(Server *server, Client *client, EngineRequest *request)
{
	Status status = request_give_ready(request, &client->output);

	if (status.code == STATUS_OK)
		atomic_fetch_add(&server->page->n_requests_done, 1);
	else
		refuse(server, client, request->id, &status);
	drop_request(server, request);
	return status_ok();
}

/* There is no room for a request: its meter is as it came, and it waits for another GO. */
static Status
reply_queue_full(Client *client, EngineRequest *request)
{
	Accepted accepted = request_accepted(request);

	if (request->meter)
		atomic_store(&request->meter->state, METER_GIVEN);
	request->meter = NULL;
	request->accepted_us = clock_now_us();
	return encode_accepted(&client->output, request->id, &accepted);
}

/* GO for a request that waits for it; for one that is gone or on its way it means nothing. */
static Status
handle_go(Server *server, Client *client, uint32_t request_id, const unsigned char *body, size_t length)
{
	EngineRequest *request = find_request(client, request_id);
	RequestMeter *meter;
	uint32_t number;
	Status status;

	STATUS_TRY(decode_go(body, length, &number));
	meter = take_meter(server, number);
	if (!request || request->state != STATE_ACCEPTED)
	{
		end_meter(meter);
		return status_ok();
	}
	request->meter = meter;
	request->alone = client->n_requests == 1;
	/* nobody goes on from rows of a table */
	for (uint32_t i = 0; !request->alone && i < request->n_sequences; i++)
		sequence_forget_leaf(&request->sequences[i]);
	round_clock_remove(&server->clock, request);
	if (request_is_ready(request))
		return finish_ready(server, client, request);
	status = scheduler_go(server->scheduler, request);
	if (status.code == STATUS_OK)
		return status;
	if (status.code == STATUS_QUEUE_FULL)
		return reply_queue_full(client, request);
	reply_error(&client->output, request_id, &status, NULL, NULL);
	atomic_fetch_add(&server->page->n_requests_failed, 1);
	drop_request(server, request);
	return status_ok();
}

/* Its model, or its adapter, is to be closed. Its client sends it again, when it gets to it. */
static void
refuse_waiting(Server *server, Client *client, EngineRequest *request)
{
	bool of_model = request->slot->draining;
	Status status = status_error(
		STATUS_NOT_BEGUN, "%s \"%s\" was to be closed, or opened with other settings, before the request began",
		of_model ? "model" : "adapter", of_model ? request->slot->model->name : request->adapter->adapter->name);

	round_clock_remove(&server->clock, request);
	reply_error(&client->output, request->id, &status, NULL, "Ask again: requests that have begun end first.");
	atomic_fetch_add(&server->page->n_requests_failed, 1);
	drop_request(server, request);
}

/* Does a request wait for a GO that may never come: by its role's limits, or a client that does other things? */
static bool
holds_its_model(const EngineRequest *request, uint64_t before_us)
{
	return request->state == STATE_ACCEPTED && request->accepted_us < before_us &&
		   slots_drain_since(request->slot, request->adapter, before_us);
}

void
clients_make_way(Server *server)
{
	uint64_t before_us = clock_now_us() - GO_ON_ITS_WAY_US;

	if (!slots_any_drains_since(&server->slots, before_us))
		return;
	for (Client *client = server->clients; client; client = client->next)
		for (EngineRequest *request = client->requests, *next; request; request = next)
		{
			next = request->next_of_client;
			if (holds_its_model(request, before_us))
				refuse_waiting(server, client, request);
		}
}

/* Nobody wants a request any more, wherever it is. */
static void
handle_cancel(Server *server, Client *client, uint32_t request_id)
{
	DeskPaper *paper = find_paper(client, request_id);
	EngineRequest *request = find_request(client, request_id);

	if (paper)
		cancel_paper(server, paper);
	if (request)
		cancel_request(server, request);
}

Status
client_handle_frame(Server *server, Client *client, const FrameHeader *header, size_t offset)
{
	const unsigned char *body = client->input.data + offset;

	switch (header->type)
	{
		case FRAME_REQUEST:
			if (is_for_loop(server, body, header->body_bytes))
				return handle_at_once(server, client, header->request_id, body, header->body_bytes);
			return handle_at_desk(server, client, header->request_id, offset, header->body_bytes);
		case FRAME_GO:
			return handle_go(server, client, header->request_id, body, header->body_bytes);
		default:
			handle_cancel(server, client, header->request_id);
			return status_ok();
	}
}

bool
client_must_wait(const Server *server, const Client *client, const FrameHeader *header, const unsigned char *body)
{
	return header->type == FRAME_REQUEST && !is_for_loop(server, body, header->body_bytes) &&
		   must_wait(server, client, header->body_bytes);
}

/* Hand over what the desk has written for a client. */
static void
append_output(Client *client, ByteWriter *out)
{
	if (client->output.length > 0 || client->output.failed)
	{
		write_raw(&client->output, out->data, out->length);
		return;
	}
	byte_writer_free(&client->output);
	client->output = *out;
	byte_writer_init(out);
}

Status
client_take_paper(Server *server, DeskPaper *paper)
{
	Client *client = paper->client;

	detach_paper(server, paper);
	if (paper->is_broken)
		return paper->status;
	if (paper->status.code == STATUS_OK)
		append_output(client, &paper->out);
	take_prepared(server, client, paper->slot, paper->request_id, &paper->status, paper->request);
	paper->request = NULL;
	return status_ok();
}

void
client_cancel_all(Server *server, Client *client)
{
	while (client->requests)
		cancel_request(server, client->requests);
	while (client->papers)
		cancel_paper(server, client->papers);
}
