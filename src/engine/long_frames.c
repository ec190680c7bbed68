/*
 * long_frames.c - see long_frames.h.
 */
#include "long_frames.h"

bool
long_frame_has_room(Server *server, Client *client, const FrameHeader *header, const unsigned char *body, size_t length)
{
	uint32_t role;

	if (header->type != FRAME_REQUEST || header->body_bytes <= KEPT_BUFFER_BYTES || client->frame.bytes > 0 ||
		!decode_request_role(body, length, &role))
		return true;
	if (role_budget_has_room(&server->long_frames, role, header->body_bytes) &&
		role_budget_take(&server->long_frames, role, header->body_bytes))
	{
		client->frame = (LongFrame){role, header->body_bytes};
		client->waits_since = 0;
		return true;
	}
	if (client->waits_since == 0)
		client->waits_since = ++server->n_waits;
	return false;
}

void
long_frame_give_paper(Client *client, DeskPaper *paper)
{
	paper->frame = client->frame;
	client->frame.bytes = 0;
}

void
long_frame_end(Server *server, LongFrame *frame)
{
	if (frame->bytes == 0)
		return;
	role_budget_give(&server->long_frames, frame->role, frame->bytes);
	frame->bytes = 0;
	server->has_room_again = true;
}

Client *
long_frames_next(Server *server, const Client *after)
{
	Client *first = NULL;

	if (!after && !server->has_room_again)
		return NULL;
	if (!after)
		server->has_room_again = false;
	for (Client *client = server->clients; client; client = client->next)
		if (!client->dead && client->waits_since > (after ? after->waits_since : 0) &&
			(!first || client->waits_since < first->waits_since))
			first = client;
	return first;
}
