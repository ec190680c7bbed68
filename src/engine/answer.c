/*
 * answer.c - see answer.h.
 */
#include "answer.h"

#include <stdlib.h>
#include <string.h>

#include "replies.h"
#include "tool_calls.h"

#define MAX_TOOLS_BYTES (1024 * 1024)

static const char think_open[] = "<think>";
static const char think_close[] = "</think>";

/* What Qwen appends when the thinking budget is used up (Qwen3's documentation on thinking budgets). */
static const char budget_words[] =
	"\n\nConsidering the limited time by the user, I have to give the solution based on the thinking "
	"directly now.\n</think>\n\n";

/* The shortest that ends it, where the tokens that are left are for the answer. */
static const char closing_words[] = "\n</think>\n\n";

static bool
is_blank(char c)
{
	return c == '\n' || c == ' ';
}

/* Send what was said before the first tag of a call; the content is kept whole, for calls to be read from it. */
static void
stream_before_calls(Answer *answer, ByteWriter *out)
{
	ByteSpan fresh = {(char *) answer->content.data + answer->n_looked, answer->content.length - answer->n_looked};
	size_t n_looked = 0, plain;

	if (answer->has_tag || answer->content.failed)
		return;
	plain = tool_calls_plain_bytes(fresh, &n_looked, &answer->has_tag);
	if (plain > 0)
	{
		size_t end = answer->n_looked + plain;
		Piece piece = {PIECE_CONTENT, {(char *) answer->content.data + answer->n_streamed, end - answer->n_streamed}};

		(void) encode_piece(out, answer->request_id, &piece);
		answer->n_streamed = end;
	}
	answer->n_looked += n_looked;
}

/* Deliver clear text of one kind: at once or with DONE. */
static void
deliver(Answer *answer, PieceKind kind, const char *text, size_t length, ByteWriter *out)
{
	ByteWriter *buffer = kind == PIECE_THINKING ? &answer->thinking : &answer->content;

	/* the thinking's own white space at its ends goes with its tags */
	while (kind == PIECE_THINKING && !answer->thinking_begun && length > 0 && is_blank(*text))
	{
		text++;
		length--;
	}
	if (length == 0)
		return;
	if (kind == PIECE_THINKING)
		answer->thinking_begun = true;
	if (answer->is_streamed && !(kind == PIECE_CONTENT && answer->tools))
	{
		Piece piece = {(uint8_t) kind, {text, length}};

		(void) encode_piece(out, answer->request_id, &piece);
	}
	else
		write_raw(buffer, text, length);
	if (answer->is_streamed && kind == PIECE_CONTENT && answer->tools)
		stream_before_calls(answer, out);
}

/* Content through the stop strings. True when one was found. */
static bool
push_content(Answer *answer, const char *text, size_t length, bool is_last, ByteWriter *out)
{
	bool matched;

	/* the white space between the thinking and the answer belongs to neither */
	while (answer->after_thinking && length > 0 && is_blank(*text))
	{
		text++;
		length--;
	}
	if (length > 0)
		answer->after_thinking = false;
	answer->clear.length = 0;
	if (answer->in_call)
	{
		(void) stop_matcher_push(&answer->stops, (ByteSpan){"", 0}, true, &answer->clear);
		write_raw(&answer->clear, text, length);
		deliver(answer, PIECE_CONTENT, (char *) answer->clear.data, answer->clear.length, out);
		return false;
	}
	matched = stop_matcher_push(&answer->stops, (ByteSpan){text, length}, is_last, &answer->clear);
	deliver(answer, PIECE_CONTENT, (char *) answer->clear.data, answer->clear.length, out);
	return matched;
}

/* True when text could still become word, by more text. */
static bool
could_become(const ByteWriter *text, size_t from, const char *word)
{
	size_t length = text->length - from;

	return length < strlen(word) && memcmp(text->data + from, word, length) == 0;
}

/* At the beginning of an answer: is it <think>? Until that is clear the text stays in pending. */
static bool
push_beginning(Answer *answer, bool is_last, ByteWriter *out)
{
	ByteWriter *pending = &answer->pending;
	size_t start = answer->n_pending_blanks;
	bool matched;

	while (start < pending->length && is_blank((char) pending->data[start]))
		start++;
	if (pending->length - start >= strlen(think_open) &&
		memcmp(pending->data + start, think_open, strlen(think_open)) == 0)
	{
		size_t rest = start + strlen(think_open);

		memmove(pending->data, pending->data + rest, pending->length - rest);
		pending->length -= rest;
		answer->n_pending_blanks = 0;
		answer->beginning = false;
		answer->in_thinking = answer->thought = true;
		return false;
	}
	answer->n_pending_blanks = start;
	if (!is_last && could_become(pending, start, think_open))
		return false;
	answer->beginning = false;
	matched = push_content(answer, (char *) pending->data, pending->length, is_last, out);
	pending->length = 0;
	return matched;
}

/* Without the white space at the end, which may turn out to be the thinking's last; the first n_blanks bytes are known
 * to be some. */
static size_t
length_without_blanks(const char *text, size_t length, size_t n_blanks)
{
	while (length > n_blanks && is_blank(text[length - 1]))
		length--;
	return length > n_blanks ? length : 0;
}

/* Inside the thinking: deliver it up to </think>, which ends it. What is held of it is white space and after that the
 * beginning of a tag; the white space is looked at once, however long it becomes. */
static bool
push_thinking(Answer *answer, bool is_last, ByteWriter *out)
{
	ByteWriter *pending = &answer->pending;
	const char *text = (const char *) pending->data;
	size_t n_blanks = answer->n_pending_blanks, clear = pending->length, end;
	const char *close = memmem(text + n_blanks, pending->length - n_blanks, think_close, strlen(think_close));

	answer->n_pending_blanks = 0;
	if (close)
	{
		const char *rest = close + strlen(think_close);
		bool matched;

		deliver(answer, PIECE_THINKING, text, length_without_blanks(text, (size_t) (close - text), n_blanks), out);
		answer->in_thinking = false;
		answer->after_thinking = true;
		answer->behind.length = 0;
		write_raw(&answer->behind, rest, pending->length - (size_t) (rest - text));
		matched =
			push_content(answer, rest, answer->is_strict ? 0 : pending->length - (size_t) (rest - text), is_last, out);
		pending->length = 0;
		return matched;
	}
	if (!is_last)
		for (clear = n_blanks + strlen(think_close) <= pending->length ? pending->length - strlen(think_close) + 1
																	   : n_blanks;
			 clear < pending->length && !could_become(pending, clear, think_close); clear++)
			;
	end = length_without_blanks(text, clear, n_blanks);
	deliver(answer, PIECE_THINKING, text, end, out);
	answer->n_pending_blanks = clear - end;
	if (end == 0)
		return false;
	memmove(pending->data, pending->data + end, pending->length - end);
	pending->length -= end;
	return false;
}

/* Text of whole characters into the answer. True when a stop string was found. */
static bool
push_text(Answer *answer, const char *text, size_t length, bool is_last, ByteWriter *out)
{
	if (!answer->beginning && !answer->in_thinking)
		return push_content(answer, text, length, is_last, out);
	write_raw(&answer->pending, text, length);
	if (answer->pending.length == 0)
		return false;
	if (answer->beginning && push_beginning(answer, is_last, out))
		return true;
	return answer->in_thinking && answer->pending.length > 0 && push_thinking(answer, is_last, out);
}

/* Is a token one of the tags that divide an answer? They count as text, also in files that type them as control tokens.
 */
static bool
is_tag(ByteSpan bytes)
{
	static const char *const tags[] = {think_open, think_close, "<tool_call>", "</tool_call>"};

	for (size_t i = 0; i < sizeof tags / sizeof tags[0]; i++)
		if (bytes.length == strlen(tags[i]) && memcmp(bytes.data, tags[i], bytes.length) == 0)
			return true;
	return false;
}

/* The bytes of a token (none at the end) into the answer. */
static bool
push_token(Answer *answer, int32_t token, bool is_last, ByteWriter *out)
{
	ByteSpan bytes = token >= 0 ? tokenizer_token_bytes(answer->tokenizer, token) : (ByteSpan){"", 0};

	if (token >= 0 && tokenizer_token_type(answer->tokenizer, token) == TOKEN_CONTROL && !is_tag(bytes))
		bytes.length = 0;

	answer->raw.length = answer->whole.length = 0;
	/* never the last: a character of which max_tokens has cut off the end is left out */
	detokenizer_push(&answer->detokenizer, bytes, false, &answer->raw);
	write_without_nul(&answer->whole, (char *) answer->raw.data, answer->raw.length);
	return push_text(answer, (char *) answer->whole.data, answer->whole.length, is_last, out);
}

/* Calls of tools out of the content; where there are none the content stays as it is. */
static Status
take_tool_calls(Answer *answer, bool is_ended, const Format *format, ByteWriter *calls, FinishReason *reason)
{
	ByteSpan text = span_of(&answer->content);
	ByteWriter content;
	uint32_t n_calls = 0;
	bool is_read = false;
	Status status = status_ok();

	byte_writer_init(&content);
	if (format && format_calls(format))
		status = tool_calls_read(text, format, answer->tools, &content, calls, &n_calls, &is_read);
	if (status.code == STATUS_OK && !is_read)
	{
		content.length = calls->length = 0;
		status = tool_calls_extract(text, is_ended, answer->tools, &content, calls, &n_calls);
	}
	if (status.code == STATUS_OK && n_calls > 0)
	{
		byte_writer_free(&answer->content);
		answer->content = content;
		*reason = FINISH_TOOL_CALLS;
		return status;
	}
	byte_writer_free(&content);
	return status;
}

/* Inside the thinking, with its budget used up: the closing words come next, once. */
static Status
close_used_up(Answer *answer, Tokenizer *tokenizer)
{
	if (!answer->in_thinking || answer->n_thinking < answer->thinking_budget || answer->forced.n > 0)
		return status_ok();
	return tokenizer_encode(tokenizer, budget_words, strlen(budget_words), true, &answer->forced);
}

/* Copies of what lives in the message's frame, which is gone afterwards. */
static Status
keep_texts(Answer *answer, const Workplace *place, const Request *message)
{
	size_t bytes = 1, at = 0;
	ByteSpan stops[PROTOCOL_MAX_STOPS];

	for (uint32_t i = 0; i < message->n_stops; i++)
		bytes += message->stops[i].length;
	answer->stop_text = malloc(bytes);
	if (!answer->stop_text)
		return no_memory();
	for (uint32_t i = 0; i < message->n_stops; i++)
	{
		memcpy(answer->stop_text + at, message->stops[i].data, message->stops[i].length);
		stops[i] = (ByteSpan){answer->stop_text + at, message->stops[i].length};
		at += message->stops[i].length;
	}
	stop_matcher_init(&answer->stops, message->n_stops, stops);
	if (message->tools.data)
		return tool_set_share(message->role, message->tools, place->cancelled, &answer->tools);
	return status_ok();
}

Status
answer_check_tools(const Request *message)
{
	if (message->tools.length <= MAX_TOOLS_BYTES)
		return status_ok();
	return status_error(STATUS_TOO_LONG, "tools has %zu bytes, the limit is %d", message->tools.length,
						MAX_TOOLS_BYTES);
}

Status
answer_init(Answer *answer, const Workplace *place, const Request *message, uint32_t request_id, PromptEnd end)
{
	answer->tokenizer = place->model->tokenizer;
	answer->request_id = request_id;
	answer->is_streamed = (message->flags & REQUEST_FLAG_STREAM) != 0;
	answer->in_thinking = answer->thought = end.in_thinking;
	/* white space belongs to what it goes on with */
	answer->thinking_begun = end.in_thinking && end.has_begun;
	/* whoever knows the token may open with it, whatever its template says */
	answer->beginning = message->kind == REQUEST_CHAT && !end.in_thinking && !end.has_begun &&
						tokenizer_find(answer->tokenizer, "<think>", 7) >= 0;
	answer->thinking_budget =
		message->options.given & OPTION_THINKING_BUDGET ? (uint32_t) message->options.thinking_budget : UINT32_MAX;
	answer->has_no_calls = message->tool_choice == TOOL_CHOICE_NONE;
	return keep_texts(answer, place, message);
}

void
answer_free(Answer *answer)
{
	stop_matcher_free(&answer->stops);
	free(answer->stop_text);
	byte_writer_free(&answer->content);
	byte_writer_free(&answer->thinking);
	byte_writer_free(&answer->pending);
	byte_writer_free(&answer->behind);
	byte_writer_free(&answer->raw);
	byte_writer_free(&answer->whole);
	byte_writer_free(&answer->clear);
	token_buffer_free(&answer->forced);
	tool_set_destroy(answer->tools);
}

Status
answer_open_thinking(Answer *answer, Tokenizer *tokenizer)
{
	return close_used_up(answer, tokenizer);
}

void
answer_begin_content(Answer *answer)
{
	answer->beginning = false;
}

Status
answer_close_thinking(Answer *answer)
{
	if (answer_is_forced(answer))
		return status_ok();
	answer->forced.n = answer->n_forced = 0;
	return tokenizer_encode(answer->tokenizer, closing_words, strlen(closing_words), true, &answer->forced);
}

ByteSpan
answer_text_behind(const Answer *answer)
{
	return span_of(&answer->behind);
}

bool
answer_may_be_forced(const Answer *answer)
{
	return answer->thinking_budget != UINT32_MAX;
}

bool
answer_is_forced(const Answer *answer)
{
	return answer->n_forced < answer->forced.n;
}

int32_t
answer_next_forced(Answer *answer)
{
	return answer->forced.tokens[answer->n_forced++];
}

bool
answer_push(Answer *answer, int32_t token, ByteWriter *out)
{
	return push_token(answer, token, false, out);
}

Status
answer_count_thinking(Answer *answer, bool was_thinking)
{
	/* the tokens between the tags count, not the tags */
	if (was_thinking && answer->in_thinking)
		answer->n_thinking++;
	return close_used_up(answer, answer->tokenizer);
}

/* Writers that have failed once stay so. */
bool
answer_is_lost(const Answer *answer, const ByteWriter *out)
{
	const ByteWriter *const parts[] = {
		out,          &answer->content, &answer->thinking, &answer->pending, &answer->stops.held, &answer->clear,
		&answer->raw, &answer->whole,   &answer->behind,
	};

	for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
		if (parts[i]->failed)
			return true;
	return false;
}

Status
answer_finish(Answer *answer, bool is_ended, const Format *format, ByteWriter *calls, FinishReason *reason,
			  ByteWriter *out)
{
	Status status = status_ok();

	(void) push_token(answer, -1, true, out);
	/* an answer without some of its text must not look like a whole one */
	if (answer_is_lost(answer, out))
		status = no_memory_for_answer();
	if (status.code == STATUS_OK && answer->tools && !answer->has_no_calls)
		status = take_tool_calls(answer, is_ended, format, calls, reason);
	if (status.code == STATUS_OK && answer->is_streamed && answer->content.length > answer->n_streamed)
	{
		/* with tools what follows a tag could not be streamed before its calls were known */
		Piece piece = {
			PIECE_CONTENT,
			{(char *) answer->content.data + answer->n_streamed, answer->content.length - answer->n_streamed}};

		status = encode_piece(out, answer->request_id, &piece);
	}
	if (answer->is_streamed)
		answer->content.length = 0;
	return status;
}
