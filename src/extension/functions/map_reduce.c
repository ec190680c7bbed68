/*
 * map_reduce.c - the steps of a prompt over a text of any length: cut it, ask about the parts, and about the answers,
 * as often as it takes.
 */
#include "map_reduce.h"

#include "../core/texts.h"
#include "chunk.h"
#include "miscadmin.h"
#include "task_request.h"
#include "utils/builtins.h"

#define WHOLE_BYTES 256  /* a text no longer than this fits in any context */
#define PARTS_AT_ONCE 32 /* requests of one call */

/* What the requests under way are about. */
typedef enum Stage
{
	STAGE_CUT,   /* the input is being cut */
	STAGE_PARTS, /* its parts are asked about */
	STAGE_WHOLE, /* the answer is being made */
} Stage;

typedef struct MapReduce
{
	Request options, whole; /* of the parts, and of the answer */
	const char *prompt, *part_prompt, *combine_prompt;
	Stage stage;
	text *input;
	List *parts; /* text */
	int n_asked; /* of them */
	int n_answered;
	StringInfoData answers; /* one after the other */
} MapReduce;

/* Ask a prompt about a text. */
static void
ask(ModelCall *call, const Request *options, const char *prompt, text *input)
{
	Request *request = model_call_ask(call);

	*request = *options;
	request->kind = REQUEST_CHAT;
	task_messages(request, prompt, input);
}

static void
ask_whole(ModelCall *call, MapReduce *state)
{
	state->stage = STAGE_WHOLE;
	ask(call, &state->whole, state->prompt, state->input);
}

/* Begin with an input: the text, or what came out of its parts. */
static void
take_input(ModelCall *call, MapReduce *state, text *input)
{
	state->input = input;
	if (VARSIZE_ANY_EXHDR(input) <= WHOLE_BYTES)
	{
		ask_whole(call, state);
		return;
	}
	state->stage = STAGE_CUT;
	chunk_request(model_call_ask(call), &state->options, input, 0, 0);
}

/* The next parts, not too many at once. */
static void
ask_parts(ModelCall *call, MapReduce *state)
{
	int end = Min(state->n_asked + PARTS_AT_ONCE, list_length(state->parts));

	state->stage = STAGE_PARTS;
	while (state->n_asked < end)
		ask(call, &state->options, state->part_prompt, list_nth(state->parts, state->n_asked++));
}

static void
take_parts(ModelCall *call, MapReduce *state)
{
	CHECK_FOR_INTERRUPTS();
	state->parts = chunks_of(&call->replies[0], state->input);
	state->n_asked = state->n_answered = 0;
	initStringInfo(&state->answers);
	if (list_length(state->parts) < 2)
		ask_whole(call, state);
	else
		ask_parts(call, state);
}

/* The answers to some parts; after the last, they are the input. */
static void
take_answers(ModelCall *call, MapReduce *state)
{
	text *shorter;

	for (int i = 0; i < call->n_requests; i++)
	{
		text *answer;

		if (call->replies[i].type != FRAME_DONE)
			ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("the qwen engine gave no answer")));
		answer = text_from_span(call->replies[i].done.content);
		if (state->n_answered++ > 0)
			appendStringInfoString(&state->answers, "\n\n");
		appendBinaryStringInfo(&state->answers, VARDATA_ANY(answer), VARSIZE_ANY_EXHDR(answer));
		pfree(answer);
	}
	if (state->n_asked < list_length(state->parts))
	{
		ask_parts(call, state);
		return;
	}
	shorter = cstring_to_text_with_len(state->answers.data, state->answers.len);
	pfree(state->answers.data);
	list_free_deep(state->parts);
	if (VARSIZE_ANY_EXHDR(shorter) >= VARSIZE_ANY_EXHDR(state->input))
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("the text is longer than the model's context, and its parts' answers are no shorter"),
						errhint("Lower max_tokens, so that the answers about the parts are shorter.")));
	state->prompt = state->combine_prompt;
	take_input(call, state, shorter);
}

void
map_reduce_begin(ModelCall *call, const Request *options, text *input, const char *whole_prompt,
				 const char *part_prompt, const char *combine_prompt, int max_tokens)
{
	MapReduce *state = palloc0(sizeof *state);

	state->options = state->whole = *options;
	/* the form is the answer's; what is said of the parts is read by the model alone */
	state->options.format = (ByteSpan){NULL, 0};
	if (max_tokens > 0)
		task_max_tokens(&state->whole, max_tokens);
	state->prompt = whole_prompt;
	state->part_prompt = part_prompt;
	state->combine_prompt = combine_prompt;
	call->state = state;
	take_input(call, state, input);
}

void
map_reduce_next(FunctionCallInfo fcinfo, ModelCall *call)
{
	MapReduce *state = call->state;

	if (state && state->stage == STAGE_CUT)
		take_parts(call, state);
	else if (state && state->stage == STAGE_PARTS)
		take_answers(call, state);
}
