/*
 * fuzz_answer.c - what a model may say, byte by byte: thinking apart from content, stop strings, calls of tools.
 *
 * Input: settings (a byte: opened thinking, may open it, tools given), thinking budget (a byte; 255: none), stop string
 * up to a NUL, then the answer's bytes, each of which is one token of a tiny model. The answer is said twice, as a
 * stream and whole: both must be valid text and the same.
 */
#include "../../src/engine/kind_generate.h"
#include "../../src/engine/prepare.h"
#include "../unit/tiny_model.h"
#include "fuzz_model.h"

#define MAX_ANSWER_TOKENS 400

static Model *model;
static KvPool *pool;
static int32_t token_of[256]; /* by byte */

typedef struct Outcome
{
	ByteWriter content, thinking, calls;
	uint8_t finish_reason;
	uint32_t n_tokens;
	bool ended;
} Outcome;

static void
set_up(void)
{
	const TinyModel shape = {true, 1, 32, 32, 2, 1, 16, 2048, false, TENSOR_F32, 5, -1};
	ByteWriter file = writer_model(&shape, NULL);

	PROMISE(fuzz_model_open(file.data, file.length, &model).code == STATUS_OK);
	tiny_learn_tools(model);
	PROMISE(kv_pool_create(kv_budget_create((uint64_t) 64 << 20), &model->hyper, KV_F16, false, &pool).code ==
			STATUS_OK);
	for (int32_t i = 0; i < 256; i++)
		token_of[(unsigned char) tokenizer_token_bytes(model->tokenizer, i).data[0]] = i;
	byte_writer_free(&file);
}

/* Add what the frames say, and forget them. */
static void
read_frames(ByteWriter *frames, Outcome *outcome)
{
	for (size_t at = 0; at < frames->length;)
	{
		const unsigned char *body = frames->data + at + PROTOCOL_HEADER_BYTES;
		FrameHeader header;
		Piece piece;
		Done done;

		PROMISE(!outcome->ended && decode_header(frames->data + at, false, &header).code == STATUS_OK);
		if (header.type == FRAME_PIECE)
		{
			/* decoding checks that it is whole characters and not empty */
			PROMISE(decode_piece(body, header.body_bytes, &piece).code == STATUS_OK);
			write_raw(piece.kind == PIECE_THINKING ? &outcome->thinking : &outcome->content, piece.text.data,
					  piece.text.length);
		}
		else
		{
			PROMISE(header.type == FRAME_DONE && decode_done(body, header.body_bytes, &done).code == STATUS_OK);
			write_raw(&outcome->content, done.content.data, done.content.length);
			write_raw(&outcome->thinking, done.thinking.data, done.thinking.length);
			write_raw(&outcome->calls, done.tool_calls.data, done.tool_calls.length);
			outcome->finish_reason = done.finish_reason;
			outcome->n_tokens = done.completion_tokens;
			outcome->ended = true;
		}
		at += PROTOCOL_HEADER_BYTES + header.body_bytes;
	}
	frames->length = 0;
}

static Outcome
say(ByteSpan answer, ByteSpan stop, uint8_t settings, uint32_t budget, bool stream)
{
	static const char messages[] = "[{\"role\":\"user\",\"content\":\"x\"}]", tools[] = "[{\"name\":\"f\"}]";
	Request request = {.kind = REQUEST_CHAT, .flags = stream ? REQUEST_FLAG_STREAM : 0};
	float logits[TINY_VOCAB];
	Outcome outcome = {.ended = false};
	ByteWriter frames;
	size_t at = 0;
	EngineRequest *asked;
	Answer *said;
	StepRow row = {.logits = logits};

	request.messages = (ByteSpan){messages, sizeof messages - 1};
	if (settings & 4)
		request.tools = (ByteSpan){tools, sizeof tools - 1};
	if (stop.length)
		request.stops[request.n_stops++] = stop;
	request.options =
		(SamplingOptions){.given = OPTION_TEMPERATURE | OPTION_MAX_TOKENS, .max_tokens = MAX_ANSWER_TOKENS};
	byte_writer_init(&frames);
	PROMISE(prepare_in_loop(model, pool, NULL, &request, 1, &frames, &asked).code == STATUS_OK);
	said = &generation_of(asked)->answer;
	said->in_thinking = said->thought = settings & 1;
	said->beginning = (settings & 2) && !said->in_thinking;
	said->thinking_budget = budget;
	PROMISE(answer_open_thinking(said, model->tokenizer).code == STATUS_OK);
	frames.length = 0;
	while (asked->state != STATE_ENDED)
	{
		bool is_forced = answer_is_forced(said);

		memset(logits, 0, sizeof logits);
		logits[at < answer.length ? token_of[(unsigned char) answer.data[at]] : 258] = 1;
		at += !is_forced;
		/* as a step does: what calls of tools do not let come is not picked */
		constraint_begin_step(&generation_of(asked)->constraint, NULL, 0);
		constraint_apply(&generation_of(asked)->constraint, 0, logits, TINY_VOCAB);
		PROMISE(request_take_row(&asked->sequences[0], &row, &frames).code == STATUS_OK);
		read_frames(&frames, &outcome);
	}
	PROMISE(outcome.ended && outcome.n_tokens <= MAX_ANSWER_TOKENS);
	request_destroy(asked);
	byte_writer_free(&frames);
	return outcome;
}

static void
check_same(ByteWriter *a, ByteWriter *b)
{
	PROMISE(a->length == b->length && (a->length == 0 || memcmp(a->data, b->data, a->length) == 0));
	PROMISE(utf8_is_valid((char *) a->data, a->length) && (a->length == 0 || !memchr(a->data, 0, a->length)));
	byte_writer_free(a);
	byte_writer_free(b);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t settings, budget;
	Outcome whole, stream;
	ByteSpan stop, answer;
	ByteReader input;

	if (!model)
		set_up();
	byte_reader_init(&input, data, size);
	settings = read_u8(&input);
	budget = read_u8(&input);
	stop = fuzz_valid_text(fuzz_part(&input));
	answer = fuzz_rest(&input);
	if (stop.length <= PROTOCOL_MAX_STOP_BYTES)
	{
		whole = say(answer, stop, settings, budget == 255 ? UINT32_MAX : budget, false);
		stream = say(answer, stop, settings, budget == 255 ? UINT32_MAX : budget, true);
		PROMISE(whole.finish_reason == stream.finish_reason && whole.n_tokens == stream.n_tokens);
		check_same(&whole.content, &stream.content);
		check_same(&whole.thinking, &stream.thinking);
		check_same(&whole.calls, &stream.calls);
	}
	fuzz_free(stop);
	return 0;
}
