/*
 * kind_generate.c - CHAT and GENERATE: a prompt, then an answer that is sampled token by token.
 */
#include "kind_generate.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "../base/clock.h"
#include "replies.h"

Generation *
generation_of(const EngineRequest *request)
{
	return request->work;
}

/* What is not given comes from the file, else from the Qwen model cards. */
static SamplerSettings
sampling_for(const Model *model, uint8_t kind, const SamplingOptions *options, PromptEnd end)
{
	const ModelHyper *hyper = &model->hyper;
	bool turned_off = (options->given & OPTION_THINKING) && !options->thinking && model->has_thinking_switch;
	bool has_thought = end.has_begun && !end.in_thinking;
	bool thinking = kind == REQUEST_CHAT && model->can_think && !turned_off && !has_thought;
	SamplerSettings s = {
		.temperature = thinking ? 0.6f : 0.7f,
		.top_p = thinking ? 0.95f : 0.8f,
		.top_k = 20,
		.repetition_penalty = 1,
	};

	if (hyper->has_sampling)
	{
		s.temperature = hyper->temperature >= 0 ? hyper->temperature : s.temperature;
		s.top_p = hyper->top_p >= 0 ? hyper->top_p : s.top_p;
		s.min_p = hyper->min_p >= 0 ? hyper->min_p : s.min_p;
		s.top_k = hyper->top_k >= 0 ? hyper->top_k : s.top_k;
		s.repetition_penalty = hyper->repetition_penalty >= 1 ? hyper->repetition_penalty : s.repetition_penalty;
	}
	if (options->given & OPTION_TEMPERATURE)
		s.temperature = (float) options->temperature;
	if (options->given & OPTION_TOP_P)
		s.top_p = (float) options->top_p;
	if (options->given & OPTION_MIN_P)
		s.min_p = (float) options->min_p;
	if (options->given & OPTION_TOP_K)
		s.top_k = options->top_k;
	if (options->given & OPTION_REPETITION_PENALTY)
		s.repetition_penalty = (float) options->repetition_penalty;
	if (options->given & OPTION_PRESENCE_PENALTY)
		s.presence_penalty = (float) options->presence_penalty;
	if (options->given & OPTION_FREQUENCY_PENALTY)
		s.frequency_penalty = (float) options->frequency_penalty;
	s.seed = (uint64_t) options->seed;
	if (!(options->given & OPTION_SEED) && getrandom(&s.seed, sizeof s.seed, GRND_NONBLOCK) != sizeof s.seed)
		s.seed = (uint64_t) (uintptr_t) options ^ (uint64_t) clock();
	return s;
}

/*
 * How many tokens the answer may have: never more than the context leaves and, where the caller did not say how many,
 * no more than the KV cache has room for.
 */
static Status
choose_length(const Workplace *place, const SamplingOptions *options, uint32_t n_prompt, uint32_t *n_behind)
{
	uint32_t context = place->model->hyper.context_length;
	uint64_t cache_positions = prompt_cache_positions(place);
	uint32_t wanted = prompt_answer_tokens(options);
	bool explicit = (options->given & OPTION_MAX_TOKENS) != 0;

	STATUS_TRY(prompt_check_context(place, PROMPT_NOUN, n_prompt, 0, true));
	if (explicit && wanted > context)
		return status_error(STATUS_INVALID_ARGUMENT, "max_tokens must be between 1 and %u, not %u", context, wanted);
	if (!explicit && n_prompt < cache_positions && wanted > cache_positions - n_prompt)
		wanted = (uint32_t) (cache_positions - n_prompt);
	*n_behind = wanted < context - n_prompt ? wanted : context - n_prompt;
	return prompt_check_cache(place, n_prompt, *n_behind);
}

/*
 * Where the next request of a conversation leaves this one's text: at its end; or, where the template takes out what
 * was thought, before the answer, which is opened in another way there.
 */
static void
set_leaf(Sequence *sequence, const Workplace *place, const Request *message)
{
	int32_t opening = tokenizer_find(place->tokenizer, "<|im_start|>", 12);
	uint32_t at = sequence->n_prompt - 1;

	sequence->goes_on = message->kind != REQUEST_CHAT || !place->model->can_think;
	if (sequence->goes_on)
		return;
	for (uint32_t i = at; opening >= 0 && i > 0; i--)
		if (sequence->tokens[i] == opening)
		{
			at = i;
			break;
		}
	sequence->leaf_at = at / KV_BLOCK_POSITIONS * KV_BLOCK_POSITIONS;
}

static Status
generate_prepare(EngineRequest *request, const Workplace *place, const Request *message)
{
	Model *model = place->model;
	TokenBuffer tokens = prompt_buffer(model);
	PromptEnd end = {false, false};
	SamplerSettings sampling;
	Generation *generation;
	Sequence *sequence;
	uint32_t n_behind = 0;
	Status status;

	STATUS_TRY(answer_check_tools(message));
	status = message->kind == REQUEST_CHAT ? prompt_encode_chat(place, message, &tokens, &end)
			 : message->suffix.data        ? prompt_encode_gap(place, message, &tokens)
										   : prompt_encode_text(place, message, &tokens);
	STATUS_TRY(kind_take_prompt(request, place, &tokens, PROMPT_NOUN, status));
	sequence = &request->sequences[0];
	STATUS_TRY(choose_length(place, &message->options, sequence->n_prompt, &n_behind));
	request->work = generation = calloc(1, sizeof *generation);
	if (!generation)
		return no_memory();
	STATUS_TRY(answer_init(&generation->answer, place, message, request->id, end));
	STATUS_TRY(constraint_init(&generation->constraint, place, message, end,
							   (message->options.given & OPTION_THINKING) && !message->options.thinking, n_behind));
	generation->answer.is_strict = generation->constraint.shared && !generation->constraint.may_be_free;
	if (!sequence_make_room(sequence, n_behind))
		return no_memory();
	generation->kernels = kernels_select();
	sampling = sampling_for(model, message->kind, &message->options, end);
	generation->sampler = sampler_create(&sampling, model->hyper.vocab, sequence->tokens, sequence->n_prompt);
	if (!answer_scores_init(&generation->scores, model, message) || !generation->sampler)
		return no_memory();
	STATUS_TRY(kind_set_sharing(sequence, place, message));
	set_leaf(sequence, place, message);
	return answer_open_thinking(&generation->answer, place->tokenizer);
}

static void
generate_destroy(EngineRequest *request)
{
	Generation *generation = request->work;

	sampler_destroy(generation->sampler);
	answer_free(&generation->answer);
	answer_scores_free(&generation->scores);
	constraint_free(&generation->constraint);
	free(generation);
}

/* The last token's row, and those of the guesses behind it. */
static uint32_t
generate_rows_wanted(const EngineRequest *request, const Sequence *sequence, uint32_t n)
{
	(void) request;
	return n < sequence_rows_left(sequence) ? 0 : n - sequence_rows_left(sequence) + 1;
}

static void
generate_begin_step(EngineRequest *request, const Sequence *sequence, uint32_t n_rows)
{
	Generation *generation = request->work;

	generation->n_picks = generation->n_picks_taken = generation->n_rows_taken = 0;
	sampler_reserve(generation->sampler, n_rows);
	/* masks where the step comes to the last token */
	if (n_rows == sequence_rows_left(sequence) + sequence->n_drafted)
		constraint_begin_step(&generation->constraint, sequence->tokens + sequence->n_tokens, sequence->n_drafted);
}

static uint32_t
generate_guess(EngineRequest *request, const Sequence *sequence, uint32_t n, int32_t *guesses)
{
	Generation *generation = request->work;

	(void) sequence;
	return constraint_guess(&generation->constraint, n, guesses);
}

static uint32_t
generate_check_guesses(EngineRequest *request, const Sequence *sequence, uint32_t n)
{
	Generation *generation = request->work;

	return constraint_check_guesses(&generation->constraint, sequence->tokens + sequence->n_tokens, n);
}

/* Find what may stand there. */
static void
generate_begin_guess(EngineRequest *request, const Sequence *sequence, uint32_t i)
{
	Generation *generation = request->work;

	constraint_begin_step(&generation->constraint, sequence->tokens + sequence->n_tokens, i);
}

/* What the sampler would pick there, with the same number of chance: where the one that guesses sees what the model
 * sees, that is what comes. */
static int32_t
generate_guess_token(EngineRequest *request, const Sequence *sequence, float *logits, uint32_t i)
{
	Generation *generation = request->work;

	constraint_apply(&generation->constraint, i, logits, request->model->hyper.vocab);
	return sampler_guess(generation->sampler, generation->kernels, logits, sequence->n_generated + i);
}

/* The sampler's token i of the answer. What the model says of it is noted where that is wanted, and written down once
 * the form has had its say (generate_take_row). */
static int32_t
pick_token(Generation *generation, float *logits, uint32_t i, uint32_t row, uint32_t n_vocab)
{
	answer_scores_keep(&generation->scores, logits);
	constraint_apply(&generation->constraint, row, logits, n_vocab);
	return sampler_pick(generation->sampler, generation->kernels, logits, i);
}

/* A token that comes whatever the model says: forced by a used-up thinking budget, or of an answer's completion. */
static bool
forced_token(Generation *generation, int32_t *token)
{
	if (answer_is_forced(&generation->answer))
	{
		*token = answer_next_forced(&generation->answer);
		return true;
	}
	return constraint_next(&generation->constraint, token);
}

/* The next token: forced, or the sampler's. */
static int32_t
next_token(Generation *generation, float *logits, uint32_t i, uint32_t n_vocab)
{
	uint32_t row = generation->n_rows_taken++;
	int32_t token;

	if (forced_token(generation, &token))
	{
		answer_scores_keep(&generation->scores, logits);
		sampler_note(generation->sampler, token);
		return token;
	}
	if (generation->n_picks_taken < generation->n_picks)
		return generation->picks[generation->n_picks_taken++];
	return pick_token(generation, logits, i, row, n_vocab);
}

static bool
generate_look(EngineRequest *request, const Sequence *sequence, float *logits, uint32_t row)
{
	Generation *generation = request->work;
	/* what the text says may force the next token, or end the answer before its log-probability: then it has to be
	 * looked at first */
	bool may_be_forced = answer_may_be_forced(&generation->answer) || generation->scores.is_wanted;

	if (answer_is_forced(&generation->answer) || generation->constraint.is_cut)
		return false;
	generation->picks[generation->n_picks++] =
		pick_token(generation, logits, sequence->n_generated + row, row, request->model->hyper.vocab);
	return row < sequence->n_drafted && !may_be_forced &&
		   generation->picks[row] == sequence->tokens[sequence->n_tokens + row];
}

/* The answer is over. */
static Status
complete(EngineRequest *request, FinishReason reason, bool is_ended)
{
	Generation *generation = request->work;

	generation->finish_reason = reason;
	generation->is_ended = is_ended;
	request->is_complete = true;
	return status_ok();
}

static Status
generate_take_row(EngineRequest *request, Sequence *sequence, const StepRow *row, ByteWriter *out)
{
	Generation *generation = request->work;
	Answer *answer = &generation->answer;
	bool was_thinking = answer->in_thinking;
	Constraint *constraint = &generation->constraint;
	int32_t token = next_token(generation, row->logits, sequence->n_generated, request->model->hyper.vocab);
	uint32_t n_left = sequence->n_behind - sequence->n_generated - 1;

	STATUS_TRY(constraint_take(constraint, answer, &token, n_left));
	request->form = constraint->counts;
	if (token < 0)
		return not_finite(request->model, sequence->n_tokens - 1);
	if (sequence->n_generated == 0)
		generation->first_token_us = clock_now_us();
	if (constraint_has_stopped(constraint))
		return complete(request, FINISH_LENGTH, false);
	answer_scores_write(&generation->scores, token);
	sequence->n_generated++;
	sequence->tokens[sequence->n_tokens++] = token;
	if (tokenizer_is_end(request->model->tokenizer, token))
		return complete(request, FINISH_STOP, true);
	if (answer_push(answer, token, out))
		return complete(request, FINISH_STOP, false);
	if (constraint_is_over(constraint))
		return complete(request, constraint->is_cut ? FINISH_LENGTH : FINISH_STOP, !constraint->is_cut);
	if (sequence->n_generated == sequence->n_behind)
		return complete(request, FINISH_LENGTH, false);
	STATUS_TRY(constraint_look_at_thinking(constraint, answer, n_left));
	STATUS_TRY(answer_count_thinking(answer, was_thinking));
	if (answer_is_lost(answer, out) || generation->scores.json.failed)
		return no_memory_for_answer();
	return status_ok();
}

static Status
generate_finish(EngineRequest *request, ByteWriter *out)
{
	Generation *generation = request->work;
	const Answer *answer = &generation->answer;
	uint64_t now = clock_now_us();
	FinishReason reason = generation->finish_reason;
	ByteWriter calls;
	Done done;
	Status status;

	byte_writer_init(&calls);
	status = answer_finish(&generation->answer, generation->is_ended, constraint_format(&generation->constraint),
						   &calls, &reason, out);
	/* calls that were completed for want of tokens are not what the model would have said */
	if (generation->constraint.is_cut)
		reason = FINISH_LENGTH;
	done = (Done){
		.finish_reason = (uint8_t) reason,
		.prompt_tokens = request->n_prompt,
		.cached_tokens = request->n_cached_tokens,
		.completion_tokens = request_n_generated(request),
		.queue_us = request->started_us - request->go_us,
		.ttft_us = generation->first_token_us - request->go_us,
		.total_us = now - request->go_us,
		.constrained_tokens = request->form.n_tokens,
		.forced_tokens = request->form.n_forced,
		.mask_us = request->form.mask_ns / 1000,
		.model = {request->model->name, strlen(request->model->name)},
		.content = span_of(&answer->content),
	};
	if (answer->thought)
		done.thinking = span_of(&answer->thinking);
	if (calls.length)
		done.tool_calls = span_of(&calls);
	if (generation->scores.is_wanted)
		done.logprobs = answer_scores_close(&generation->scores);
	if (generation->scores.json.failed && status.code == STATUS_OK)
		status = no_memory_for_answer();
	if (status.code == STATUS_OK)
		status = encode_done(out, request->id, &done);
	byte_writer_free(&calls);
	return status;
}

const EngineKind kind_generate = {
	.samples = true,
	.prepare = generate_prepare,
	.rows_wanted = generate_rows_wanted,
	.begin_step = generate_begin_step,
	.guess = generate_guess,
	.check_guesses = generate_check_guesses,
	.begin_guess = generate_begin_guess,
	.guess_token = generate_guess_token,
	.look = generate_look,
	.take_row = generate_take_row,
	.finish = generate_finish,
	.destroy = generate_destroy,
};
