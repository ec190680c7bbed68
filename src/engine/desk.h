/*
 * desk.h - the work on requests that is not computing: reading their JSON, rendering, tokenizing, cutting texts.
 *
 * What a user sends can make that take seconds, so all but short requests leave the event loop for two threads of
 * their own: one for papers of some length, one for giants, behind which the others do not wait. Both take turns
 * between roles, and within a role between clients. The threads have a lower priority than the team that computes
 * answers.
 *
 * The loop gives a DeskPaper away with desk_give and gets it back from desk_take; in between it is the desk's. Whoever
 * gives one keeps the model open and the body in memory until then.
 */
#ifndef QWEN_DESK_H
#define QWEN_DESK_H

#include "request.h"

#define DESK_LONG_BYTES ((size_t) 128 * 1024) /* a request of more bytes is for the lane of the giants */

struct Client;

/* What a long frame has of the memory for such (long_frames.h); bytes 0: it has none. */
typedef struct LongFrame
{
	uint32_t role;
	size_t bytes;
} LongFrame;

/* A request at the desk. */
typedef struct DeskPaper
{
	/* the loop's */
	struct DeskPaper *next_of_client;
	struct Client *client; /* NULL: nobody wants the answer any more */
	struct Slot *slot;
	ByteWriter body; /* what request points into */
	LongFrame frame;

	/* set before it is given, read by the desk */
	uint32_t request_id;
	Request message; /* its texts have not been looked at */
	Workplace place; /* without a flag */
	DeskLane lane;
	const void *line; /* whose papers wait behind each other within the role: the client, never looked into */

	CancelFlag cancelled; /* written by the loop, read by the desk */

	/* the desk's until desk_take */
	struct DeskPaper *next;
	ByteWriter out;         /* frames */
	EngineRequest *request; /* NULL: answered, or an error */
	bool is_broken;         /* its texts are not what the protocol says: status says why */
	Status status;
} DeskPaper;

typedef struct Desk Desk;

/* Start the threads; NULL without memory, threads or descriptors. Before the sandbox, inside which none is to be had.
 */
extern Desk *desk_create(void);

/* Cancel and forget all papers, and end the threads. Papers that were not taken back are freed. */
extern void desk_destroy(Desk *desk);

/* Readable when there may be something to take. */
extern int desk_descriptor(const Desk *desk);

/* Hand a paper over; false without memory: it is still the caller's. */
extern bool desk_give(Desk *desk, DeskPaper *paper);

/*
 * Nobody wants a paper any more. true: it was not begun and is the caller's again. false: it comes back by desk_take
 * within milliseconds.
 */
extern bool desk_withdraw(Desk *desk, DeskPaper *paper);

/* A paper that is done, or NULL. */
extern DeskPaper *desk_take(Desk *desk);

/* Free a paper with all that is still in it. */
extern void desk_paper_free(DeskPaper *paper);

#endif
