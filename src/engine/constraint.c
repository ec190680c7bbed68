/*
 * constraint.c - see constraint.h.
 */
#include "constraint.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../base/clock.h"
#include "../base/utf8.h"
#include "replies.h"

#define CLOSING_TOKENS 8 /* at most, of the words that end a thinking */
#define BUDGET_TOKENS 40 /* at most, of those that end one whose budget is used up */
#define BOUND_SLACK 64   /* tokens: bounds are near the truth */
#define TRIM_TOKENS 32   /* between two looks at how much is kept */
#define FORCED_BYTES 64  /* that are looked ahead for guesses */
#define FORCED_LIST 64   /* tokens at most among which there may be no choice */

#define PIECE_BYTES 256 /* that are looked at of a token at a time */

static Status
internal(const Constraint *constraint, const char *what)
{
	return status_error(STATUS_INTERNAL, "%s: %s", constraint->subject, what);
}

/* The tokens of a text, the longest first each time: any text has some, and its bytes are never changed. */
static Status
encode(const Constraint *constraint, const char *text, size_t n, TokenBuffer *tokens)
{
	const Vocabulary *vocabulary = shared_vocabulary(constraint->shared);

	tokens->n = 0;
	while (n > 0)
	{
		size_t length;
		uint32_t token = vocabulary_longest(vocabulary, text, n, &length);

		if (token == VOCABULARY_NO_TOKEN)
			return status_error(STATUS_UNSUPPORTED, "%s: the model's vocabulary has no token for the byte 0x%02x",
								constraint->subject, (unsigned char) *text);
		STATUS_TRY(token_buffer_add(tokens, (int32_t) token));
		text += length;
		n -= length;
	}
	return status_ok();
}

/* Does what else was asked for go with a format? */
static Status
check_company(const Request *message, const Format *format, PromptEnd end)
{
	/* what has begun goes on as a free text alone, which may call */
	if (end.has_begun && !end.in_thinking && !format_is_free(format, format_start(format)))
		return status_error(STATUS_UNSUPPORTED, "%s: an answer that has begun cannot be %s",
							message->format.data ? "response_format" : "tool_choice",
							message->format.data ? "given a form" : "made a call");
	if (message->n_stops > 0 && (format_is_json(format) || format_is_copy(format)))
		return status_error(STATUS_INVALID_ARGUMENT,
							"response_format: stop strings would cut %s; leave out stop or response_format",
							format_is_json(format) ? "JSON" : "the copy");
	return status_ok();
}

/* Is it a failure for which an answer that was not asked to keep the schemas of its tools goes on without them? */
static bool
is_forgiven(const Constraint *constraint, Status status)
{
	return constraint->is_lenient && (status.code == STATUS_UNSUPPORTED || status.code == STATUS_INVALID_ARGUMENT ||
									  status.code == STATUS_TOO_LONG);
}

Status
constraint_init(Constraint *constraint, const Workplace *place, const Request *message, PromptEnd end,
				bool has_thinking_off, uint32_t n_behind)
{
	TokenBuffer tokens = {0};
	Format *format;
	ByteSpan shortest;
	uint32_t n_needed;
	Status status;

	constraint->status = status_ok();
	constraint->is_lenient = !message->format.data && message->tool_choice == TOOL_CHOICE_NOT_GIVEN;
	status = format_cache_get(place, message, &constraint->shared);
	if (!constraint->shared || status.code != STATUS_OK)
		return is_forgiven(constraint, status) ? status_ok() : status;
	format = shared_format(constraint->shared);
	constraint->tokenizer = place->model->tokenizer;
	constraint->subject = format_calls(format) ? "tools" : "response_format";
	constraint->may_be_free = format_is_free(format, format_start(format));
	call_tokens(place->model->tokenizer, &constraint->call_open, &constraint->call_close);
	STATUS_TRY(check_company(message, format, end));
	constraint->think = tokenizer_find(place->model->tokenizer, "<think>", 7);
	constraint->n_ends = tokenizer_ends(place->model->tokenizer, constraint->ends);
	constraint->is_open = !end.in_thinking;
	constraint->may_think = message->kind == REQUEST_CHAT && constraint->is_open && constraint->think >= 0 &&
							place->model->can_think && !has_thinking_off && !constraint->may_be_free;
	constraint->state = format_start(format);
	/* the format's own memory: what others find out about it meanwhile does not change it */
	shortest = format_shortest(format);
	status = encode(constraint, shortest.data, shortest.length, &tokens);
	constraint->n_shortest = (uint32_t) tokens.n;
	token_buffer_free(&tokens);
	STATUS_TRY(status);
	constraint->role = message->role;
	constraint->n_closing = message->options.given & OPTION_THINKING_BUDGET ? BUDGET_TOKENS : CLOSING_TOKENS;
	n_needed = constraint->n_shortest + (end.in_thinking ? constraint->n_closing : 0);
	if (n_needed > n_behind && !constraint->may_be_free)
		/* whose form it is, of an argument or of the function itself, is not known here */
		return status_error(STATUS_TOO_LONG, "%s" CONSTRAINT_NO_ROOM " has %u tokens%s, but there is room for %u",
							format_calls(format) ? "tools: " : "", n_needed,
							end.in_thinking ? " behind the thinking" : "", n_behind);
	return status_ok();
}

const Format *
constraint_format(const Constraint *constraint)
{
	return constraint->shared ? shared_format(constraint->shared) : NULL;
}

void
constraint_free(Constraint *constraint)
{
	format_cache_release(constraint->left);
	format_cache_release(constraint->shared);
	token_buffer_free(&constraint->completion);
	token_buffer_free(&constraint->taken);
	free(constraint->behind);
}

/* The answer goes on as if it had no form. */
static void
do_without(Constraint *constraint)
{
	format_cache_release(constraint->shared);
	constraint->shared = NULL;
	constraint->n_rows = 0;
}

/* Bytes of a free text: those that stand for tokens of their own are none of it. */
static FormatState
take_free(Format *format, FormatState state, ByteSpan bytes)
{
	while (bytes.length > 0 && state != 0)
	{
		char piece[PIECE_BYTES];
		size_t n = bytes.length < sizeof piece ? bytes.length : sizeof piece;

		for (size_t i = 0; i < n; i++)
			piece[i] = (unsigned char) bytes.data[i] >= CALL_FIRST_BYTE ? (char) (CALL_FIRST_BYTE - 1) : bytes.data[i];
		state = format_take(format, state, piece, n);
		bytes = (ByteSpan){bytes.data + n, bytes.length - n};
	}
	return state;
}

static FormatState
take_token(const Constraint *constraint, FormatState state, int32_t token)
{
	static const char open_byte = CALL_OPEN_BYTE, close_byte = CALL_CLOSE_BYTE;
	Format *format = shared_format(constraint->shared);
	ByteSpan bytes = tokenizer_token_bytes(constraint->tokenizer, token);
	TokenType type = tokenizer_token_type(constraint->tokenizer, token);
	bool is_free = format_is_free(format, state);

	if (token == constraint->call_open)
		return format_take(format, state, &open_byte, 1);
	/* outside of calls it closes nothing, and is text */
	if (token == constraint->call_close && !is_free)
		return format_take(format, state, &close_byte, 1);
	/* control tokens are no text, and part none */
	if (is_free)
		return type == TOKEN_CONTROL && token != constraint->call_close ? state : take_free(format, state, bytes);
	if (bytes.length == 0 || type != TOKEN_NORMAL)
		return 0;
	return format_take(format, state, bytes.data, bytes.length);
}

/* Walk to where the answer is in its format, from the beginning on. */
static FormatState
walk_again(const Constraint *constraint)
{
	Format *format = shared_format(constraint->shared);
	FormatState state = constraint->is_behind_thinking ? format_start_behind_thinking(format) : format_start(format);

	if (constraint->n_behind)
		state = take_free(format, state, (ByteSpan){constraint->behind, constraint->n_behind});
	for (size_t i = 0; i < constraint->taken.n && state != 0; i++)
		state = take_token(constraint, state, constraint->taken.tokens[i]);
	return state;
}

/* Walk on in a format of its own, or of others whose answers leave it room, where this one is full of what answers have
 * found out that are over or went another way. false: there is none, it stays. */
static bool
renew(Constraint *constraint)
{
	SharedFormat *worn = constraint->shared, *fresh;
	FormatState state;

	if (format_cache_renew(worn, constraint->role, &fresh).code != STATUS_OK)
		return false;
	constraint->shared = fresh;
	state = walk_again(constraint);
	if (state == 0)
	{
		constraint->shared = worn;
		format_cache_release(fresh);
		return false;
	}
	shared_format_settle(fresh);
	constraint->state = state;
	if (!constraint->left)
		constraint->left = worn;
	else
		format_cache_release(worn);
	return true;
}

uint32_t
constraint_check_guesses(Constraint *constraint, const int32_t *guesses, uint32_t n)
{
	FormatState state = constraint->state;

	if (!constraint->shared)
		return n;
	for (uint32_t i = 0; i < n; i++)
	{
		/* what stands behind the token that ends a thinking is not known before */
		if (!constraint->is_open)
		{
			ByteSpan bytes = tokenizer_token_bytes(constraint->tokenizer, guesses[i]);

			if (memchr(bytes.data, '>', bytes.length) || tokenizer_is_end(constraint->tokenizer, guesses[i]))
				return i;
			continue;
		}
		/* a free text may end anywhere */
		if (tokenizer_is_end(constraint->tokenizer, guesses[i]) &&
			format_is_free(shared_format(constraint->shared), state))
			return i + 1;
		state = take_token(constraint, state, guesses[i]);
		if (state == 0 || format_is_over(shared_format(constraint->shared), state))
			return i;
	}
	return n;
}

/* Guess the tokens that a text begins with: what opens or closes a call, or all up to there. How many bytes they are.
 */
static size_t
guess_text(const Constraint *constraint, ByteSpan text, int32_t *guesses, uint32_t n, uint32_t *n_guesses)
{
	TokenBuffer tokens = {0};
	size_t length = 0;

	if (text.data[0] == CALL_OPEN_BYTE || text.data[0] == CALL_CLOSE_BYTE)
	{
		guesses[(*n_guesses)++] = text.data[0] == CALL_OPEN_BYTE ? constraint->call_open : constraint->call_close;
		return 1;
	}
	while (length < text.length && (unsigned char) text.data[length] < CALL_FIRST_BYTE)
		length++;
	/* one byte alone may be the beginning of any token */
	if ((length == 1 && length == text.length) || !utf8_is_valid(text.data, length) ||
		tokenizer_encode(constraint->tokenizer, text.data, length, false, &tokens).code != STATUS_OK)
		length = text.length;
	for (size_t i = 0; *n_guesses < n && i < tokens.n; i++)
		guesses[(*n_guesses)++] = tokens.tokens[i];
	token_buffer_free(&tokens);
	return length;
}

uint32_t
constraint_guess(Constraint *constraint, uint32_t n, int32_t *guesses)
{
	ByteWriter forced;
	ByteSpan text;
	uint32_t n_guesses = 0;

	if (!constraint->shared || !constraint->is_open || constraint->is_cut)
		return 0;
	byte_writer_init(&forced);
	format_forced(shared_format(constraint->shared), constraint->state, FORCED_BYTES, &forced);
	text = (ByteSpan){(char *) forced.data, forced.failed ? 0 : forced.length};
	while (text.length > 0 && n_guesses < n)
	{
		size_t length = guess_text(constraint, text, guesses, n, &n_guesses);

		text = (ByteSpan){text.data + length, text.length - length};
	}
	byte_writer_free(&forced);
	return constraint_check_guesses(constraint, guesses, n_guesses);
}

/* How many bytes have to come first, whichever token of a short list is taken; 0: there is a choice. */
static uint32_t
count_forced(const Constraint *constraint, const TokenMask *mask)
{
	ByteSpan longest = {NULL, 0};
	size_t n_forced;

	if (mask->bits || mask->n == 0 || mask->n > FORCED_LIST)
		return 0;
	for (uint32_t i = 0; i < mask->n; i++)
	{
		ByteSpan bytes = tokenizer_token_bytes(constraint->tokenizer, (int32_t) mask->list[i]);

		if (bytes.length > longest.length)
			longest = bytes;
	}
	n_forced = longest.length;
	for (uint32_t i = 0; i < mask->n && n_forced > 0; i++)
	{
		ByteSpan bytes = tokenizer_token_bytes(constraint->tokenizer, (int32_t) mask->list[i]);
		size_t same = 0;

		while (same < bytes.length && bytes.data[same] == longest.data[same])
			same++;
		/* one that is the beginning of the others leaves no choice */
		if (same < bytes.length && same < n_forced)
			n_forced = same;
	}
	return (uint32_t) n_forced;
}

/* A token is taken: count what the form had to say of it. */
static void
count_token(Constraint *constraint, int32_t token)
{
	const RowMask *row = constraint->row < constraint->n_rows ? &constraint->rows[constraint->row] : NULL;
	size_t length = tokenizer_token_bytes(constraint->tokenizer, token).length;

	constraint->counts.n_tokens++;
	constraint->counts.n_forced += constraint->is_cut || (row && length > 0 && length <= row->n_forced);
}

/* The masks of the rows of a step. false: the format has failed. */
static bool
find_masks(Constraint *constraint, const int32_t *guesses, uint32_t n_guesses)
{
	Format *format = shared_format(constraint->shared);
	FormatState state = constraint->state;

	constraint->n_rows = 0;
	for (uint32_t row = 0; row <= n_guesses && row <= DRAFT_MAX; row++)
	{
		RowMask *mask = &constraint->rows[constraint->n_rows++];

		*mask = (RowMask){NULL, true, true, 0};
		/* behind a guess of the end nothing is looked at */
		if (!constraint->is_open || state == 0)
			continue;
		mask->mask = masks_get(shared_masks(constraint->shared), state);
		mask->may_end = format_is_complete(format, state);
		mask->may_think = constraint->may_think && !constraint->has_begun && row == 0;
		if (!mask->mask)
			return false;
		if (!mask->may_end && !mask->may_think)
			mask->n_forced = count_forced(constraint, mask->mask);
		if (row < n_guesses)
			state = take_token(constraint, state, guesses[row]);
	}
	return true;
}

void
constraint_begin_step(Constraint *constraint, const int32_t *guesses, uint32_t n_guesses)
{
	uint64_t began_ns;

	constraint->n_rows = constraint->row = 0;
	format_cache_release(constraint->left);
	constraint->left = NULL;
	if (!constraint->shared || constraint->is_cut)
		return;
	began_ns = clock_now_ns();
	if (constraint->is_open && shared_format_is_worn(constraint->shared))
		(void) renew(constraint);
	if (!find_masks(constraint, guesses, n_guesses) &&
		!(renew(constraint) && find_masks(constraint, guesses, n_guesses)))
	{
		constraint->status = format_status(shared_format(constraint->shared));
		if (constraint->status.code == STATUS_OK)
			constraint->status = no_memory();
		if (is_forgiven(constraint, constraint->status))
			do_without(constraint);
		return;
	}
	constraint->counts.mask_ns += clock_now_ns() - began_ns;
}

/* Logits of a list of tokens stay. */
static void
keep_list(const TokenMask *mask, float *logits, uint32_t n_vocab)
{
	float kept[1024];

	for (uint32_t i = 0; i < mask->n; i++)
		kept[i] = logits[mask->list[i]];
	for (uint32_t i = 0; i < n_vocab; i++)
		logits[i] = NAN;
	for (uint32_t i = 0; i < mask->n; i++)
		logits[mask->list[i]] = kept[i];
}

static void
keep_bits(const uint64_t *bits, float *logits, uint32_t n_vocab)
{
	for (uint32_t word = 0; word * 64 < n_vocab; word++)
	{
		uint32_t n = n_vocab - word * 64 < 64 ? n_vocab - word * 64 : 64;

		if (bits[word] == UINT64_MAX)
			continue;
		for (uint32_t i = 0; i < n; i++)
			logits[word * 64 + i] = bits[word] >> i & 1 ? logits[word * 64 + i] : NAN;
	}
}

/* Of a free text: all but what may not come stays. */
static void
refuse_tokens(const TokenMask *mask, float *logits, uint32_t n_vocab)
{
	for (uint32_t i = 0; !mask->bits && i < mask->n; i++)
		if (mask->list[i] < n_vocab)
			logits[mask->list[i]] = NAN;
	for (uint32_t i = 0; mask->bits && i < n_vocab; i++)
		if (mask->bits[i / 64] >> i % 64 & 1)
			logits[i] = NAN;
}

void
constraint_apply(const Constraint *constraint, uint32_t row, float *logits, uint32_t n_vocab)
{
	const RowMask *mask;
	float ends[TOKENIZER_MAX_ENDS] = {0}, think = 0;
	uint32_t n_masked;

	if (!constraint->shared || row >= constraint->n_rows || !constraint->rows[row].mask)
		return;
	mask = &constraint->rows[row];
	if (mask->mask->is_free)
	{
		refuse_tokens(mask->mask, logits, n_vocab);
		return;
	}
	n_masked = shared_vocabulary(constraint->shared)->n_tokens;
	for (uint32_t i = 0; i < constraint->n_ends; i++)
		ends[i] = logits[constraint->ends[i]];
	if (mask->may_think)
		think = logits[constraint->think];
	if (mask->mask->bits)
		keep_bits(mask->mask->bits, logits, n_masked < n_vocab ? n_masked : n_vocab);
	else
		keep_list(mask->mask, logits, n_vocab);
	for (uint32_t i = n_masked; i < n_vocab; i++)
		logits[i] = NAN;
	for (uint32_t i = 0; mask->may_end && i < constraint->n_ends; i++)
		logits[constraint->ends[i]] = ends[i];
	if (mask->may_think)
		logits[constraint->think] = think;
}

bool
constraint_next(Constraint *constraint, int32_t *token)
{
	if (constraint->n_completed >= constraint->completion.n)
		return false;
	*token = constraint->completion.tokens[constraint->n_completed++];
	return true;
}

/* The tokens that complete an answer from a state on. */
static Status
encode_completion(const Constraint *constraint, FormatState state, TokenBuffer *tokens)
{
	ByteWriter text;
	Status status;

	byte_writer_init(&text);
	status = format_complete(shared_format(constraint->shared), state, &text);
	if (status.code == STATUS_OK && text.failed)
		status = no_memory();
	if (status.code == STATUS_OK)
		status = encode(constraint, (char *) text.data, text.length, tokens);
	byte_writer_free(&text);
	return status;
}

/* Would there be too few tokens left to complete the answer from a state on? */
static Status
is_too_far(Constraint *constraint, FormatState state, uint32_t n_left, bool *too_far)
{
	TokenBuffer tokens = {0};
	Status status;

	*too_far = false;
	if ((uint64_t) format_completion_bound(shared_format(constraint->shared), state) + BOUND_SLACK <= n_left)
		return status_ok();
	status = encode_completion(constraint, state, &tokens);
	*too_far = tokens.n > n_left;
	token_buffer_free(&tokens);
	return status;
}

/* Complete the answer from here on: *token is the first of what comes. */
static Status
cut(Constraint *constraint, int32_t *token)
{
	STATUS_TRY(encode_completion(constraint, constraint->state, &constraint->completion));
	constraint->is_cut = true;
	/* what is complete ends here, without what there was no room for */
	constraint->has_stopped = !constraint_next(constraint, token);
	return status_ok();
}

/* A token of the format's text. */
static Status
take_ordinary(Constraint *constraint, int32_t *token, uint32_t n_left)
{
	FormatState next = take_token(constraint, constraint->state, *token);
	bool too_far;
	Status status;

	/* others may have used it up meanwhile */
	if (next == 0 && shared_format_is_worn(constraint->shared) && renew(constraint))
		next = take_token(constraint, constraint->state, *token);
	if (next == 0)
	{
		status = format_status(shared_format(constraint->shared));
		if (status.code == STATUS_OK)
			return status_error(STATUS_INTERNAL, "%s: token %d was picked, which may not come", constraint->subject,
								*token);
		if (!is_forgiven(constraint, status))
			return status;
		do_without(constraint);
		return status_ok();
	}
	if (!constraint->is_cut)
	{
		status = is_too_far(constraint, next, n_left, &too_far);
		if (status.code != STATUS_OK && shared_format_is_worn(constraint->shared) && renew(constraint))
		{
			next = take_token(constraint, constraint->state, *token);
			status = is_too_far(constraint, next, n_left, &too_far);
		}
		STATUS_TRY(status);
		if (too_far)
		{
			STATUS_TRY(cut(constraint, token));
			if (constraint->has_stopped)
				return status_ok();
			next = take_token(constraint, constraint->state, *token);
			if (next == 0)
				return internal(constraint, "an answer could not be completed");
		}
	}
	constraint->state = next;
	count_token(constraint, *token);
	return token_buffer_add(&constraint->taken, *token);
}

/* Take a token while the form holds, or where it may begin. */
static Status
take_open(Constraint *constraint, Answer *answer, int32_t *token, uint32_t n_left)
{
	Format *format = shared_format(constraint->shared);
	bool is_free;

	STATUS_TRY(constraint->status);
	is_free = format_is_free(format, constraint->state);
	/* a free text lacks a token where the model gave no numbers */
	if (*token < 0 && is_free)
		return status_ok();
	if (*token < 0)
		return status_error(STATUS_UNSUPPORTED, "%s: no token of the model's vocabulary can come next",
							constraint->subject);
	if (constraint->may_think && !constraint->has_begun && *token == constraint->think)
	{
		/* there must be room for what ends it, and for the answer */
		if (n_left > constraint->n_shortest + constraint->n_closing + CLOSING_TOKENS)
		{
			constraint->is_open = false;
			return status_ok();
		}
		STATUS_TRY(cut(constraint, token));
	}
	if (tokenizer_is_end(constraint->tokenizer, *token))
		return status_ok();
	if (!constraint->has_begun && !constraint->may_be_free)
		answer_begin_content(answer);
	constraint->has_begun = true;
	answer->in_call = format_calls(format) && !is_free;
	if (constraint->taken.n % TRIM_TOKENS == TRIM_TOKENS - 1)
		shared_format_trim(constraint->shared);
	return take_ordinary(constraint, token, n_left);
}

/* Take a token of a thinking: one that ends the whole answer there ends the thinking alone, as the form is yet to come.
 */
static Status
take_thinking(const Constraint *constraint, Answer *answer, int32_t *token)
{
	if (!answer->in_thinking || constraint->may_be_free || !tokenizer_is_end(constraint->tokenizer, *token))
		return status_ok();
	STATUS_TRY(answer_close_thinking(answer));
	if (answer_is_forced(answer))
		*token = answer_next_forced(answer);
	return status_ok();
}

Status
constraint_take(Constraint *constraint, Answer *answer, int32_t *token, uint32_t n_left)
{
	Status status;

	answer->in_call = false;
	if (!constraint->shared)
		return status_ok();
	if (!constraint->is_open)
		return take_thinking(constraint, answer, token);
	status = take_open(constraint, answer, token, n_left);
	constraint->row++;
	return status;
}

bool
constraint_has_stopped(const Constraint *constraint)
{
	return constraint->has_stopped;
}

bool
constraint_is_over(const Constraint *constraint)
{
	Format *format = constraint->shared ? shared_format(constraint->shared) : NULL;

	if (!format || !constraint->is_open || !constraint->has_begun)
		return false;
	if (constraint->is_cut)
		return constraint->n_completed == constraint->completion.n;
	return format_is_over(format, constraint->state);
}

/* Keep the text behind the token that ends a thinking. */
static Status
keep_behind(Constraint *constraint, ByteSpan text)
{
	char *kept = text.length ? realloc(constraint->behind, text.length) : constraint->behind;

	if (!kept && text.length)
		return no_memory();
	if (text.length)
		memcpy(kept, text.data, text.length);
	constraint->behind = kept;
	constraint->n_behind = text.length;
	return status_ok();
}

Status
constraint_look_at_thinking(Constraint *constraint, Answer *answer, uint32_t n_left)
{
	if (!constraint->shared)
		return status_ok();
	if (constraint->is_open)
	{
		/* a free text may turn out to be a thinking */
		constraint->is_open = !(constraint->may_be_free && answer->in_thinking);
		return status_ok();
	}
	if (answer->in_thinking && constraint->may_be_free)
		return status_ok();
	if (answer->in_thinking)
		return n_left <= constraint->n_shortest + constraint->n_closing ? answer_close_thinking(answer) : status_ok();
	constraint->is_open = true;
	constraint->may_think = false;
	constraint->is_behind_thinking = true;
	constraint->taken.n = 0;
	constraint->n_behind = 0;
	/* what stands behind it in the same token belongs to a free text */
	if (constraint->may_be_free)
		STATUS_TRY(keep_behind(constraint, answer_text_behind(answer)));
	constraint->state = walk_again(constraint);
	return constraint->state ? status_ok() : internal(constraint, "the token that ends the thinking opens a call");
}
