/* qwen_pg--0.2.0.sql - the SQL surface of version 0.2.0; docs/sql.md is its manual. */
-- Made by sql/make.py of sql/functions.txt and sql/parts: change those, then `make sql`.

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION qwen_pg" to load this file. \quit

CREATE TYPE qwen_response AS (
	content text,
	thinking text,
	tool_calls jsonb,
	finish_reason text,
	model text,
	prompt_tokens int,
	cached_tokens int,
	completion_tokens int,
	queue_ms float8,
	ttft_ms float8,
	total_ms float8,
	logprobs jsonb
);

-- Types without values: USAGE on them is what qwen_grant gives beside EXECUTE, so that GRANT EXECUTE ON ALL FUNCTIONS makes nobody an administrator
CREATE TYPE qwen_may_monitor AS ENUM ();
CREATE TYPE qwen_may_admin AS ENUM ();
COMMENT ON TYPE qwen_may_monitor IS 'who has USAGE on it sees what concerns all roles; by qwen_grant(role, ''monitor'')';
COMMENT ON TYPE qwen_may_admin IS 'who has USAGE on it administers models and limits; by qwen_grant(role, ''admin'')';

-- ---- generate ------------------------------------------------------------------------------------------------------
CREATE FUNCTION qwen_chat(prompt text, system text DEFAULT NULL, model text DEFAULT NULL, max_tokens int DEFAULT NULL,
	temperature float8 DEFAULT NULL, top_p float8 DEFAULT NULL, min_p float8 DEFAULT NULL, top_k int DEFAULT NULL,
	repetition_penalty float8 DEFAULT NULL, presence_penalty float8 DEFAULT NULL, frequency_penalty float8 DEFAULT NULL,
	seed bigint DEFAULT NULL, stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL, thinking_budget int DEFAULT NULL,
	response_format json DEFAULT NULL, adapter text DEFAULT NULL, options json DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME', 'qwen_chat_text' LANGUAGE C VOLATILE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION qwen_chat(text, text, text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, json) IS 'the answer to a prompt or a conversation';

CREATE FUNCTION qwen_chat(messages json, tools json DEFAULT NULL, model text DEFAULT NULL, max_tokens int DEFAULT NULL,
	temperature float8 DEFAULT NULL, top_p float8 DEFAULT NULL, min_p float8 DEFAULT NULL, top_k int DEFAULT NULL,
	repetition_penalty float8 DEFAULT NULL, presence_penalty float8 DEFAULT NULL, frequency_penalty float8 DEFAULT NULL,
	seed bigint DEFAULT NULL, stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL, thinking_budget int DEFAULT NULL,
	response_format json DEFAULT NULL, adapter text DEFAULT NULL, options json DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME', 'qwen_chat_json' LANGUAGE C VOLATILE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION qwen_chat(json, json, text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, json) IS 'the answer to a prompt or a conversation';

CREATE FUNCTION qwen_chat(messages_jsonb jsonb, tools_jsonb jsonb DEFAULT NULL, model text DEFAULT NULL,
	max_tokens int DEFAULT NULL, temperature float8 DEFAULT NULL, top_p float8 DEFAULT NULL, min_p float8 DEFAULT NULL,
	top_k int DEFAULT NULL, repetition_penalty float8 DEFAULT NULL, presence_penalty float8 DEFAULT NULL,
	frequency_penalty float8 DEFAULT NULL, seed bigint DEFAULT NULL, stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL,
	thinking_budget int DEFAULT NULL, response_format json DEFAULT NULL, adapter text DEFAULT NULL, options json DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME', 'qwen_chat_jsonb' LANGUAGE C VOLATILE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION qwen_chat(jsonb, jsonb, text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, json) IS 'the answer to a prompt or a conversation';

CREATE FUNCTION qwen_chat_full(prompt text, system text DEFAULT NULL, model text DEFAULT NULL, max_tokens int DEFAULT NULL,
	temperature float8 DEFAULT NULL, top_p float8 DEFAULT NULL, min_p float8 DEFAULT NULL, top_k int DEFAULT NULL,
	repetition_penalty float8 DEFAULT NULL, presence_penalty float8 DEFAULT NULL, frequency_penalty float8 DEFAULT NULL,
	seed bigint DEFAULT NULL, stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL, thinking_budget int DEFAULT NULL,
	response_format json DEFAULT NULL, adapter text DEFAULT NULL, logprobs int DEFAULT NULL, options json DEFAULT NULL)
RETURNS qwen_response AS 'MODULE_PATHNAME', 'qwen_chat_full_text' LANGUAGE C VOLATILE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION qwen_chat_full(text, text, text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, int, json) IS 'the answer with its thinking, tool calls, token counts and times';

CREATE FUNCTION qwen_chat_full(messages json, tools json DEFAULT NULL, model text DEFAULT NULL, max_tokens int DEFAULT NULL,
	temperature float8 DEFAULT NULL, top_p float8 DEFAULT NULL, min_p float8 DEFAULT NULL, top_k int DEFAULT NULL,
	repetition_penalty float8 DEFAULT NULL, presence_penalty float8 DEFAULT NULL, frequency_penalty float8 DEFAULT NULL,
	seed bigint DEFAULT NULL, stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL, thinking_budget int DEFAULT NULL,
	response_format json DEFAULT NULL, adapter text DEFAULT NULL, logprobs int DEFAULT NULL, options json DEFAULT NULL)
RETURNS qwen_response AS 'MODULE_PATHNAME', 'qwen_chat_full_json' LANGUAGE C VOLATILE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION qwen_chat_full(json, json, text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, int, json) IS 'the answer with its thinking, tool calls, token counts and times';

CREATE FUNCTION qwen_chat_full(messages_jsonb jsonb, tools_jsonb jsonb DEFAULT NULL, model text DEFAULT NULL,
	max_tokens int DEFAULT NULL, temperature float8 DEFAULT NULL, top_p float8 DEFAULT NULL, min_p float8 DEFAULT NULL,
	top_k int DEFAULT NULL, repetition_penalty float8 DEFAULT NULL, presence_penalty float8 DEFAULT NULL,
	frequency_penalty float8 DEFAULT NULL, seed bigint DEFAULT NULL, stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL,
	thinking_budget int DEFAULT NULL, response_format json DEFAULT NULL, adapter text DEFAULT NULL, logprobs int DEFAULT NULL,
	options json DEFAULT NULL)
RETURNS qwen_response AS 'MODULE_PATHNAME', 'qwen_chat_full_jsonb' LANGUAGE C VOLATILE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION qwen_chat_full(jsonb, jsonb, text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, int, json) IS 'the answer with its thinking, tool calls, token counts and times';

CREATE FUNCTION qwen_chat_stream(prompt text, system text DEFAULT NULL, model text DEFAULT NULL, max_tokens int DEFAULT NULL,
	temperature float8 DEFAULT NULL, top_p float8 DEFAULT NULL, min_p float8 DEFAULT NULL, top_k int DEFAULT NULL,
	repetition_penalty float8 DEFAULT NULL, presence_penalty float8 DEFAULT NULL, frequency_penalty float8 DEFAULT NULL,
	seed bigint DEFAULT NULL, stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL, thinking_budget int DEFAULT NULL,
	response_format json DEFAULT NULL, adapter text DEFAULT NULL, options json DEFAULT NULL)
RETURNS SETOF text AS 'MODULE_PATHNAME', 'qwen_chat_stream_text' LANGUAGE C VOLATILE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION qwen_chat_stream(text, text, text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, json) IS 'the answer in pieces, as they are sampled';

CREATE FUNCTION qwen_chat_stream(messages json, tools json DEFAULT NULL, model text DEFAULT NULL, max_tokens int DEFAULT NULL,
	temperature float8 DEFAULT NULL, top_p float8 DEFAULT NULL, min_p float8 DEFAULT NULL, top_k int DEFAULT NULL,
	repetition_penalty float8 DEFAULT NULL, presence_penalty float8 DEFAULT NULL, frequency_penalty float8 DEFAULT NULL,
	seed bigint DEFAULT NULL, stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL, thinking_budget int DEFAULT NULL,
	response_format json DEFAULT NULL, adapter text DEFAULT NULL, options json DEFAULT NULL)
RETURNS SETOF text AS 'MODULE_PATHNAME', 'qwen_chat_stream_json' LANGUAGE C VOLATILE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION qwen_chat_stream(json, json, text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, json) IS 'the answer in pieces, as they are sampled';

CREATE FUNCTION qwen_chat_stream(messages_jsonb jsonb, tools_jsonb jsonb DEFAULT NULL, model text DEFAULT NULL,
	max_tokens int DEFAULT NULL, temperature float8 DEFAULT NULL, top_p float8 DEFAULT NULL, min_p float8 DEFAULT NULL,
	top_k int DEFAULT NULL, repetition_penalty float8 DEFAULT NULL, presence_penalty float8 DEFAULT NULL,
	frequency_penalty float8 DEFAULT NULL, seed bigint DEFAULT NULL, stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL,
	thinking_budget int DEFAULT NULL, response_format json DEFAULT NULL, adapter text DEFAULT NULL, options json DEFAULT NULL)
RETURNS SETOF text AS 'MODULE_PATHNAME', 'qwen_chat_stream_jsonb' LANGUAGE C VOLATILE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION qwen_chat_stream(jsonb, jsonb, text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, json) IS 'the answer in pieces, as they are sampled';

CREATE FUNCTION qwen_generate(prompt text, model text DEFAULT NULL, max_tokens int DEFAULT NULL, temperature float8 DEFAULT NULL,
	top_p float8 DEFAULT NULL, min_p float8 DEFAULT NULL, top_k int DEFAULT NULL, repetition_penalty float8 DEFAULT NULL,
	presence_penalty float8 DEFAULT NULL, frequency_penalty float8 DEFAULT NULL, seed bigint DEFAULT NULL,
	stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL, thinking_budget int DEFAULT NULL, response_format json DEFAULT NULL,
	adapter text DEFAULT NULL, special boolean DEFAULT NULL, options json DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME', 'qwen_generate' LANGUAGE C VOLATILE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION qwen_generate(text, text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, boolean, json) IS 'what the model writes after the prompt, without a chat template';

CREATE FUNCTION qwen_fill_in(prefix text, suffix text, model text DEFAULT NULL, max_tokens int DEFAULT NULL,
	temperature float8 DEFAULT NULL, top_p float8 DEFAULT NULL, min_p float8 DEFAULT NULL, top_k int DEFAULT NULL,
	repetition_penalty float8 DEFAULT NULL, presence_penalty float8 DEFAULT NULL, frequency_penalty float8 DEFAULT NULL,
	seed bigint DEFAULT NULL, stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL, thinking_budget int DEFAULT NULL,
	response_format json DEFAULT NULL, adapter text DEFAULT NULL, options json DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME', 'qwen_fill_in' LANGUAGE C VOLATILE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION qwen_fill_in(text, text, text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, json) IS 'what stands between prefix and suffix, of a model that fills gaps in code';

CREATE FUNCTION qwen_generate_batch(prompts text[], system text DEFAULT NULL, model text DEFAULT NULL,
	max_tokens int DEFAULT NULL, temperature float8 DEFAULT NULL, top_p float8 DEFAULT NULL, min_p float8 DEFAULT NULL,
	top_k int DEFAULT NULL, repetition_penalty float8 DEFAULT NULL, presence_penalty float8 DEFAULT NULL,
	frequency_penalty float8 DEFAULT NULL, seed bigint DEFAULT NULL, stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL,
	thinking_budget int DEFAULT NULL, response_format json DEFAULT NULL, adapter text DEFAULT NULL, options json DEFAULT NULL)
RETURNS TABLE (ordinality bigint, response text, error text) AS 'MODULE_PATHNAME', 'qwen_generate_batch' LANGUAGE C VOLATILE PARALLEL SAFE COST 10000 ROWS 32;
COMMENT ON FUNCTION qwen_generate_batch(text[], text, text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, json) IS 'the answer to each prompt, many at a time; an element that fails has its error in its row';

-- ---- tasks ----------------------------------------------------------------------------------------------------------
CREATE FUNCTION qwen_summarize(input text, max_words int DEFAULT 60, model text DEFAULT NULL, max_tokens int DEFAULT NULL,
	temperature float8 DEFAULT NULL, top_p float8 DEFAULT NULL, min_p float8 DEFAULT NULL, top_k int DEFAULT NULL,
	repetition_penalty float8 DEFAULT NULL, presence_penalty float8 DEFAULT NULL, frequency_penalty float8 DEFAULT NULL,
	seed bigint DEFAULT NULL, stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL, thinking_budget int DEFAULT NULL,
	response_format json DEFAULT NULL, adapter text DEFAULT NULL, options json DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME', 'qwen_summarize' LANGUAGE C VOLATILE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION qwen_summarize(text, int, text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, json) IS 'a summary of the input in at most about max_words words (1 to 10000)';

CREATE FUNCTION qwen_translate(input text, target_language text, model text DEFAULT NULL, max_tokens int DEFAULT NULL,
	temperature float8 DEFAULT NULL, top_p float8 DEFAULT NULL, min_p float8 DEFAULT NULL, top_k int DEFAULT NULL,
	repetition_penalty float8 DEFAULT NULL, presence_penalty float8 DEFAULT NULL, frequency_penalty float8 DEFAULT NULL,
	seed bigint DEFAULT NULL, stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL, thinking_budget int DEFAULT NULL,
	response_format json DEFAULT NULL, adapter text DEFAULT NULL, options json DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME', 'qwen_translate' LANGUAGE C VOLATILE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION qwen_translate(text, text, text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, json) IS 'the input in another language';

CREATE FUNCTION qwen_extract(input text, schema json, model text DEFAULT NULL, max_tokens int DEFAULT NULL,
	temperature float8 DEFAULT NULL, top_p float8 DEFAULT NULL, min_p float8 DEFAULT NULL, top_k int DEFAULT NULL,
	repetition_penalty float8 DEFAULT NULL, presence_penalty float8 DEFAULT NULL, frequency_penalty float8 DEFAULT NULL,
	seed bigint DEFAULT NULL, stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL, thinking_budget int DEFAULT NULL,
	response_format json DEFAULT NULL, adapter text DEFAULT NULL, options json DEFAULT NULL)
RETURNS jsonb AS 'MODULE_PATHNAME', 'qwen_extract' LANGUAGE C VOLATILE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION qwen_extract(text, json, text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, json) IS 'what the input says, as JSON that satisfies the schema; 54000 where max_tokens is not enough';

CREATE FUNCTION qwen_extract(input text, schema_text text, model text DEFAULT NULL, max_tokens int DEFAULT NULL,
	temperature float8 DEFAULT NULL, top_p float8 DEFAULT NULL, min_p float8 DEFAULT NULL, top_k int DEFAULT NULL,
	repetition_penalty float8 DEFAULT NULL, presence_penalty float8 DEFAULT NULL, frequency_penalty float8 DEFAULT NULL,
	seed bigint DEFAULT NULL, stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL, thinking_budget int DEFAULT NULL,
	response_format json DEFAULT NULL, adapter text DEFAULT NULL, options json DEFAULT NULL)
RETURNS jsonb AS 'MODULE_PATHNAME', 'qwen_extract_text' LANGUAGE C VOLATILE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION qwen_extract(text, text, text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, json) IS 'what the input says, as JSON that satisfies the schema; 54000 where max_tokens is not enough';

CREATE FUNCTION qwen_extract(input text, type anyelement, model text DEFAULT NULL, max_tokens int DEFAULT NULL,
	temperature float8 DEFAULT NULL, top_p float8 DEFAULT NULL, min_p float8 DEFAULT NULL, top_k int DEFAULT NULL,
	repetition_penalty float8 DEFAULT NULL, presence_penalty float8 DEFAULT NULL, frequency_penalty float8 DEFAULT NULL,
	seed bigint DEFAULT NULL, stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL, thinking_budget int DEFAULT NULL,
	response_format json DEFAULT NULL, adapter text DEFAULT NULL, options json DEFAULT NULL)
RETURNS anyelement AS 'MODULE_PATHNAME', 'qwen_extract_type' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10000;
COMMENT ON FUNCTION qwen_extract(text, anyelement, text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, json) IS 'what the input says, as a value of the type that NULL is cast to: a table''s row, a composite type, a domain, a date, ...';

CREATE FUNCTION qwen_classify(input text, labels text[], model text DEFAULT NULL, max_tokens int DEFAULT NULL,
	temperature float8 DEFAULT NULL, top_p float8 DEFAULT NULL, min_p float8 DEFAULT NULL, top_k int DEFAULT NULL,
	repetition_penalty float8 DEFAULT NULL, presence_penalty float8 DEFAULT NULL, frequency_penalty float8 DEFAULT NULL,
	seed bigint DEFAULT NULL, stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL, thinking_budget int DEFAULT NULL,
	response_format json DEFAULT NULL, adapter text DEFAULT NULL, examples json DEFAULT NULL, options json DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME', 'qwen_classify' LANGUAGE C VOLATILE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION qwen_classify(text, text[], text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, json, json) IS 'the label that fits the input best; always one of those given';

CREATE FUNCTION qwen_classify_scores(input text, labels text[], model text DEFAULT NULL, max_tokens int DEFAULT NULL,
	temperature float8 DEFAULT NULL, top_p float8 DEFAULT NULL, min_p float8 DEFAULT NULL, top_k int DEFAULT NULL,
	repetition_penalty float8 DEFAULT NULL, presence_penalty float8 DEFAULT NULL, frequency_penalty float8 DEFAULT NULL,
	seed bigint DEFAULT NULL, stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL, thinking_budget int DEFAULT NULL,
	response_format json DEFAULT NULL, adapter text DEFAULT NULL, examples json DEFAULT NULL, options json DEFAULT NULL)
RETURNS TABLE (label text, probability float8) AS 'MODULE_PATHNAME', 'qwen_classify_scores' LANGUAGE C STABLE PARALLEL SAFE COST 10000 ROWS 10;
COMMENT ON FUNCTION qwen_classify_scores(text, text[], text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, json, json) IS 'the probability of each label; they add up to 1';

CREATE FUNCTION qwen_classify_multi(input text, labels text[], threshold float8 DEFAULT 0.5, model text DEFAULT NULL,
	max_tokens int DEFAULT NULL, temperature float8 DEFAULT NULL, top_p float8 DEFAULT NULL, min_p float8 DEFAULT NULL,
	top_k int DEFAULT NULL, repetition_penalty float8 DEFAULT NULL, presence_penalty float8 DEFAULT NULL,
	frequency_penalty float8 DEFAULT NULL, seed bigint DEFAULT NULL, stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL,
	thinking_budget int DEFAULT NULL, response_format json DEFAULT NULL, adapter text DEFAULT NULL, options json DEFAULT NULL)
RETURNS text[] AS 'MODULE_PATHNAME', 'qwen_classify_multi' LANGUAGE C VOLATILE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION qwen_classify_multi(text, text[], float8, text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, json) IS 'the labels that fit the input, each asked by itself: those whose probability is at least threshold, in their order';

CREATE FUNCTION qwen_classify_multi_scores(input text, labels text[], model text DEFAULT NULL, max_tokens int DEFAULT NULL,
	temperature float8 DEFAULT NULL, top_p float8 DEFAULT NULL, min_p float8 DEFAULT NULL, top_k int DEFAULT NULL,
	repetition_penalty float8 DEFAULT NULL, presence_penalty float8 DEFAULT NULL, frequency_penalty float8 DEFAULT NULL,
	seed bigint DEFAULT NULL, stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL, thinking_budget int DEFAULT NULL,
	response_format json DEFAULT NULL, adapter text DEFAULT NULL, options json DEFAULT NULL)
RETURNS TABLE (label text, probability float8) AS 'MODULE_PATHNAME', 'qwen_classify_multi_scores' LANGUAGE C STABLE PARALLEL SAFE COST 10000 ROWS 10;
COMMENT ON FUNCTION qwen_classify_multi_scores(text, text[], text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, json) IS 'the probability that each label fits; each by itself, they do not add up';

CREATE FUNCTION qwen_score(input text, criterion text, model text DEFAULT NULL, max_tokens int DEFAULT NULL,
	temperature float8 DEFAULT NULL, top_p float8 DEFAULT NULL, min_p float8 DEFAULT NULL, top_k int DEFAULT NULL,
	repetition_penalty float8 DEFAULT NULL, presence_penalty float8 DEFAULT NULL, frequency_penalty float8 DEFAULT NULL,
	seed bigint DEFAULT NULL, stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL, thinking_budget int DEFAULT NULL,
	response_format json DEFAULT NULL, adapter text DEFAULT NULL, options json DEFAULT NULL)
RETURNS float8 AS 'MODULE_PATHNAME', 'qwen_score' LANGUAGE C VOLATILE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION qwen_score(text, text, text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, json) IS 'how well the input meets the criterion, from 0 (not at all) to 1 (completely): the expected one of ten digits, over 9';

CREATE FUNCTION qwen_entities(input text, kinds text[], model text DEFAULT NULL, max_tokens int DEFAULT NULL,
	temperature float8 DEFAULT NULL, top_p float8 DEFAULT NULL, min_p float8 DEFAULT NULL, top_k int DEFAULT NULL,
	repetition_penalty float8 DEFAULT NULL, presence_penalty float8 DEFAULT NULL, frequency_penalty float8 DEFAULT NULL,
	seed bigint DEFAULT NULL, stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL, thinking_budget int DEFAULT NULL,
	response_format json DEFAULT NULL, adapter text DEFAULT NULL, options json DEFAULT NULL)
RETURNS TABLE (kind text, span text, start int, length int) AS 'MODULE_PATHNAME', 'qwen_entities' LANGUAGE C VOLATILE PARALLEL SAFE COST 10000 ROWS 10;
COMMENT ON FUNCTION qwen_entities(text, text[], text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, json) IS 'the places of the input that are of these kinds, in its order; start and length in characters, so that substring(input FROM start FOR length) is span';

CREATE FUNCTION qwen_redact(input text, kinds text[], model text DEFAULT NULL, max_tokens int DEFAULT NULL,
	temperature float8 DEFAULT NULL, top_p float8 DEFAULT NULL, min_p float8 DEFAULT NULL, top_k int DEFAULT NULL,
	repetition_penalty float8 DEFAULT NULL, presence_penalty float8 DEFAULT NULL, frequency_penalty float8 DEFAULT NULL,
	seed bigint DEFAULT NULL, stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL, thinking_budget int DEFAULT NULL,
	response_format json DEFAULT NULL, adapter text DEFAULT NULL, options json DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME', 'qwen_redact' LANGUAGE C VOLATILE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION qwen_redact(text, text[], text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, json) IS 'the input with [kind] in place of what is of these kinds; all else is the input, byte for byte';

CREATE FUNCTION qwen_moderate(input text, model text DEFAULT NULL, max_tokens int DEFAULT NULL, temperature float8 DEFAULT NULL,
	top_p float8 DEFAULT NULL, min_p float8 DEFAULT NULL, top_k int DEFAULT NULL, repetition_penalty float8 DEFAULT NULL,
	presence_penalty float8 DEFAULT NULL, frequency_penalty float8 DEFAULT NULL, seed bigint DEFAULT NULL,
	stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL, thinking_budget int DEFAULT NULL, response_format json DEFAULT NULL,
	adapter text DEFAULT NULL, options json DEFAULT NULL)
RETURNS TABLE (label text, category text, probability float8) AS 'MODULE_PATHNAME', 'qwen_moderate' LANGUAGE C STABLE PARALLEL SAFE COST 10000 ROWS 19;
COMMENT ON FUNCTION qwen_moderate(text, text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, json) IS 'Safe, or Controversial or Unsafe with a category, each with its probability, the likeliest first; they add up to 1';

CREATE FUNCTION qwen_filter(input text, condition text, model text DEFAULT NULL, max_tokens int DEFAULT NULL,
	temperature float8 DEFAULT NULL, top_p float8 DEFAULT NULL, min_p float8 DEFAULT NULL, top_k int DEFAULT NULL,
	repetition_penalty float8 DEFAULT NULL, presence_penalty float8 DEFAULT NULL, frequency_penalty float8 DEFAULT NULL,
	seed bigint DEFAULT NULL, stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL, thinking_budget int DEFAULT NULL,
	response_format json DEFAULT NULL, adapter text DEFAULT NULL, options json DEFAULT NULL)
RETURNS boolean AS 'MODULE_PATHNAME', 'qwen_filter' LANGUAGE C VOLATILE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION qwen_filter(text, text, text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, json) IS 'whether the condition holds for the input';

CREATE FUNCTION qwen_sentiment(input text, model text DEFAULT NULL, max_tokens int DEFAULT NULL, temperature float8 DEFAULT NULL,
	top_p float8 DEFAULT NULL, min_p float8 DEFAULT NULL, top_k int DEFAULT NULL, repetition_penalty float8 DEFAULT NULL,
	presence_penalty float8 DEFAULT NULL, frequency_penalty float8 DEFAULT NULL, seed bigint DEFAULT NULL,
	stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL, thinking_budget int DEFAULT NULL, response_format json DEFAULT NULL,
	adapter text DEFAULT NULL, options json DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME', 'qwen_sentiment' LANGUAGE C VOLATILE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION qwen_sentiment(text, text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, json) IS 'positive, negative, neutral or mixed';

CREATE FUNCTION _qwen_agg_add(internal, text)
RETURNS internal AS 'MODULE_PATHNAME', 'qwen_agg_add' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION _qwen_agg_add(internal, text) IS 'part of qwen_summarize_agg';

CREATE FUNCTION _qwen_agg_add(internal, text, text)
RETURNS internal AS 'MODULE_PATHNAME', 'qwen_agg_add_with_instruction' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION _qwen_agg_add(internal, text, text) IS 'part of qwen_chat_agg';

CREATE FUNCTION _qwen_agg_add(internal, text, json)
RETURNS internal AS 'MODULE_PATHNAME', 'qwen_agg_add_with_options' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION _qwen_agg_add(internal, text, json) IS 'part of qwen_summarize_agg';

CREATE FUNCTION _qwen_agg_add(internal, text, text, json)
RETURNS internal AS 'MODULE_PATHNAME', 'qwen_agg_add_with_both' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION _qwen_agg_add(internal, text, text, json) IS 'part of qwen_chat_agg';

CREATE FUNCTION _qwen_summarize_agg_final(internal)
RETURNS text AS 'MODULE_PATHNAME', 'qwen_summarize_agg_final' LANGUAGE C VOLATILE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION _qwen_summarize_agg_final(internal) IS 'part of qwen_summarize_agg';

CREATE FUNCTION _qwen_chat_agg_final(internal)
RETURNS text AS 'MODULE_PATHNAME', 'qwen_chat_agg_final' LANGUAGE C VOLATILE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION _qwen_chat_agg_final(internal) IS 'part of qwen_chat_agg';

CREATE AGGREGATE qwen_summarize_agg(input text) (
	SFUNC = _qwen_agg_add, STYPE = internal, FINALFUNC = _qwen_summarize_agg_final, FINALFUNC_MODIFY = READ_ONLY, PARALLEL = SAFE);
COMMENT ON AGGREGATE qwen_summarize_agg(text) IS 'one summary of the texts of all rows';

CREATE AGGREGATE qwen_chat_agg(input text, instruction text) (
	SFUNC = _qwen_agg_add, STYPE = internal, FINALFUNC = _qwen_chat_agg_final, FINALFUNC_MODIFY = READ_ONLY, PARALLEL = SAFE);
COMMENT ON AGGREGATE qwen_chat_agg(text, text) IS 'one answer to the instruction about the texts of all rows';

CREATE AGGREGATE qwen_summarize_agg(input text, options json) (
	SFUNC = _qwen_agg_add, STYPE = internal, FINALFUNC = _qwen_summarize_agg_final, FINALFUNC_MODIFY = READ_ONLY, PARALLEL = SAFE);
COMMENT ON AGGREGATE qwen_summarize_agg(text, json) IS 'one summary of the texts of all rows; options: max_words and the common arguments';

CREATE AGGREGATE qwen_chat_agg(input text, instruction text, options json) (
	SFUNC = _qwen_agg_add, STYPE = internal, FINALFUNC = _qwen_chat_agg_final, FINALFUNC_MODIFY = READ_ONLY, PARALLEL = SAFE);
COMMENT ON AGGREGATE qwen_chat_agg(text, text, json) IS 'one answer to the instruction about the texts of all rows; options: the common arguments';

-- ---- embed ----------------------------------------------------------------------------------------------------------
CREATE FUNCTION qwen_embed(input text, model text DEFAULT NULL, instruction text DEFAULT NULL, dimensions int DEFAULT NULL,
	options json DEFAULT NULL)
RETURNS real[] AS 'MODULE_PATHNAME', 'qwen_embed' LANGUAGE C STABLE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION qwen_embed(text, text, text, int, json) IS 'the embedding of the input, of unit length';

CREATE FUNCTION qwen_embed_batch(inputs text[], model text DEFAULT NULL, instruction text DEFAULT NULL,
	dimensions int DEFAULT NULL, options json DEFAULT NULL)
RETURNS TABLE (ordinality bigint, embedding real[]) AS 'MODULE_PATHNAME', 'qwen_embed_batch' LANGUAGE C STABLE PARALLEL SAFE COST 10000 ROWS 32;
COMMENT ON FUNCTION qwen_embed_batch(text[], text, text, int, json) IS 'the embedding of each input, many at a time; an element that fails is NULL, and a WARNING counts them';

CREATE FUNCTION qwen_similarity(a text, b text, model text DEFAULT NULL, instruction text DEFAULT NULL, options json DEFAULT NULL)
RETURNS float8 AS 'MODULE_PATHNAME', 'qwen_similarity' LANGUAGE C STABLE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION qwen_similarity(text, text, text, text, json) IS 'the cosine of the embeddings of two texts';

CREATE FUNCTION qwen_similarity_to(input text, embedding real[], model text DEFAULT NULL, instruction text DEFAULT NULL,
	options json DEFAULT NULL)
RETURNS float8 AS 'MODULE_PATHNAME', 'qwen_similarity_to' LANGUAGE C STABLE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION qwen_similarity_to(text, real[], text, text, json) IS 'the cosine of the embedding of a text and an embedding of unit length';

CREATE FUNCTION qwen_cosine(a real[], b real[])
RETURNS float8 AS 'MODULE_PATHNAME', 'qwen_cosine' LANGUAGE C IMMUTABLE PARALLEL SAFE COST 1;
COMMENT ON FUNCTION qwen_cosine(real[], real[]) IS 'the cosine of two embeddings, of any length of vectors; asks no model. NULL where one has no direction, as all zeros';

CREATE FUNCTION qwen_rerank(query text, documents text[], model text DEFAULT NULL, instruction text DEFAULT NULL,
	options json DEFAULT NULL)
RETURNS TABLE (ordinality bigint, score float8) AS 'MODULE_PATHNAME', 'qwen_rerank' LANGUAGE C STABLE PARALLEL SAFE COST 10000 ROWS 32;
COMMENT ON FUNCTION qwen_rerank(text, text[], text, text, json) IS 'how relevant each document is for the query, 0 ... 1, many at a time';

CREATE FUNCTION qwen_rerank_score(query text, document text, model text DEFAULT NULL, instruction text DEFAULT NULL,
	options json DEFAULT NULL)
RETURNS float8 AS 'MODULE_PATHNAME', 'qwen_rerank_score' LANGUAGE C STABLE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION qwen_rerank_score(text, text, text, text, json) IS 'how relevant a document is for a query, 0 ... 1';

CREATE FUNCTION qwen_chunk(input text, max_tokens int DEFAULT 512, overlap int DEFAULT 0, model text DEFAULT NULL,
	options json DEFAULT NULL)
RETURNS TABLE (ordinality bigint, chunk text) AS 'MODULE_PATHNAME', 'qwen_chunk' LANGUAGE C STABLE PARALLEL SAFE COST 1000 ROWS 10;
COMMENT ON FUNCTION qwen_chunk(text, int, int, text, json) IS 'the input in pieces of at most max_tokens (at least 16), at the ends of paragraphs and sentences';

-- ---- tokens ---------------------------------------------------------------------------------------------------------
CREATE FUNCTION qwen_tokenize(input text, model text DEFAULT NULL, special boolean DEFAULT false, options json DEFAULT NULL)
RETURNS int[] AS 'MODULE_PATHNAME', 'qwen_tokenize' LANGUAGE C STABLE PARALLEL SAFE COST 100;
COMMENT ON FUNCTION qwen_tokenize(text, text, boolean, json) IS 'the tokens of a text; special: special tokens in it are recognised';

CREATE FUNCTION qwen_detokenize(tokens int[], model text DEFAULT NULL, options json DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME', 'qwen_detokenize' LANGUAGE C STABLE PARALLEL SAFE COST 100;
COMMENT ON FUNCTION qwen_detokenize(int[], text, json) IS 'the text of tokens';

CREATE FUNCTION qwen_count_tokens(input text, model text DEFAULT NULL, options json DEFAULT NULL)
RETURNS int AS 'MODULE_PATHNAME', 'qwen_count_tokens' LANGUAGE C STABLE PARALLEL SAFE COST 100;
COMMENT ON FUNCTION qwen_count_tokens(text, text, json) IS 'how many tokens a text has';

CREATE FUNCTION qwen_check_format(response_format json)
RETURNS TABLE (path text, keyword text, problem text) AS 'MODULE_PATHNAME', 'qwen_check_format' LANGUAGE C STABLE PARALLEL SAFE COST 100 ROWS 1;
COMMENT ON FUNCTION qwen_check_format(json) IS 'what is wrong with a response_format; no rows where nothing is';

CREATE FUNCTION qwen_type_schema(type regtype, columns name[] DEFAULT NULL)
RETURNS json AS 'MODULE_PATHNAME', 'qwen_type_schema' LANGUAGE C STABLE PARALLEL SAFE COST 100;
COMMENT ON FUNCTION qwen_type_schema(regtype, name[]) IS 'the JSON schema that qwen_extract makes of a type; of columns of a row alone, if they are named';

CREATE FUNCTION qwen_type_value(answer jsonb, type anyelement, columns name[] DEFAULT NULL)
RETURNS anyelement AS 'MODULE_PATHNAME', 'qwen_type_value' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 100;
COMMENT ON FUNCTION qwen_type_value(jsonb, anyelement, name[]) IS 'the value of a type that qwen_extract makes of an answer; of columns of a row alone, if they are named';

CREATE FUNCTION qwen_render_chat(prompt text, system text DEFAULT NULL, thinking boolean DEFAULT NULL, model text DEFAULT NULL,
	options json DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME', 'qwen_render_chat_text' LANGUAGE C STABLE PARALLEL SAFE COST 100;
COMMENT ON FUNCTION qwen_render_chat(text, text, boolean, text, json) IS 'the exact prompt that the model gets';

CREATE FUNCTION qwen_render_chat(messages json, tools json DEFAULT NULL, thinking boolean DEFAULT NULL, model text DEFAULT NULL,
	options json DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME', 'qwen_render_chat_json' LANGUAGE C STABLE PARALLEL SAFE COST 100;
COMMENT ON FUNCTION qwen_render_chat(json, json, boolean, text, json) IS 'the exact prompt that the model gets';

CREATE FUNCTION qwen_render_chat(messages_jsonb jsonb, tools_jsonb jsonb DEFAULT NULL, thinking boolean DEFAULT NULL,
	model text DEFAULT NULL, options json DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME', 'qwen_render_chat_jsonb' LANGUAGE C STABLE PARALLEL SAFE COST 100;
COMMENT ON FUNCTION qwen_render_chat(jsonb, jsonb, boolean, text, json) IS 'the exact prompt that the model gets';

CREATE FUNCTION qwen_logprobs(input text, model text DEFAULT NULL, options json DEFAULT NULL)
RETURNS TABLE (ordinality int, token int, piece text, logprob float8, rank int) AS 'MODULE_PATHNAME', 'qwen_logprobs' LANGUAGE C STABLE PARALLEL SAFE COST 10000 ROWS 100;
COMMENT ON FUNCTION qwen_logprobs(text, text, json) IS 'how likely the model finds each token of the input after those before it';

CREATE FUNCTION _qwen_planner_support(internal)
RETURNS internal AS 'MODULE_PATHNAME', 'qwen_planner_support' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION _qwen_planner_support(internal) IS 'for the planner: a call that is the same for all rows is made once';

ALTER FUNCTION qwen_extract(text, json, text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, json) SUPPORT _qwen_planner_support;
ALTER FUNCTION qwen_extract(text, text, text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, json) SUPPORT _qwen_planner_support;
ALTER FUNCTION qwen_extract(text, anyelement, text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, json) SUPPORT _qwen_planner_support;
ALTER FUNCTION qwen_embed(text, text, text, int, json) SUPPORT _qwen_planner_support;
ALTER FUNCTION qwen_similarity(text, text, text, text, json) SUPPORT _qwen_planner_support;
ALTER FUNCTION qwen_similarity_to(text, real[], text, text, json) SUPPORT _qwen_planner_support;
ALTER FUNCTION qwen_rerank_score(text, text, text, text, json) SUPPORT _qwen_planner_support;
ALTER FUNCTION qwen_tokenize(text, text, boolean, json) SUPPORT _qwen_planner_support;
ALTER FUNCTION qwen_detokenize(int[], text, json) SUPPORT _qwen_planner_support;
ALTER FUNCTION qwen_count_tokens(text, text, json) SUPPORT _qwen_planner_support;
ALTER FUNCTION qwen_render_chat(text, text, boolean, text, json) SUPPORT _qwen_planner_support;
ALTER FUNCTION qwen_render_chat(json, json, boolean, text, json) SUPPORT _qwen_planner_support;
ALTER FUNCTION qwen_render_chat(jsonb, jsonb, boolean, text, json) SUPPORT _qwen_planner_support;

-- ---- triggers -------------------------------------------------------------------------------------------------------
CREATE FUNCTION qwen_summarize_trigger()
RETURNS trigger AS 'MODULE_PATHNAME', 'qwen_summarize_trigger' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION qwen_summarize_trigger() IS 'BEFORE INSERT OR UPDATE trigger: qwen_summarize_trigger(''source column'', ''target column'' [, ''max words'' [, ''name=value'' ...]])';

CREATE FUNCTION qwen_extract_trigger()
RETURNS trigger AS 'MODULE_PATHNAME', 'qwen_extract_trigger' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION qwen_extract_trigger() IS 'BEFORE INSERT OR UPDATE trigger: qwen_extract_trigger(''source column'', ''target column'' or ''{target,columns}'' [, ''name=value'' ...])';

CREATE FUNCTION qwen_embed_trigger()
RETURNS trigger AS 'MODULE_PATHNAME', 'qwen_embed_trigger' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION qwen_embed_trigger() IS 'BEFORE INSERT OR UPDATE trigger: qwen_embed_trigger(''source column'', ''target column'' [, ''name=value'' ...])';

CREATE FUNCTION qwen_enqueue_trigger()
RETURNS trigger AS 'MODULE_PATHNAME', 'qwen_enqueue_trigger' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION qwen_enqueue_trigger() IS 'AFTER INSERT OR UPDATE trigger: qwen_enqueue_trigger(''target column'', ''template with {column}'' [, ''name=value'' ...])';

CREATE FUNCTION qwen_enqueue_embed_trigger()
RETURNS trigger AS 'MODULE_PATHNAME', 'qwen_enqueue_embed_trigger' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION qwen_enqueue_embed_trigger() IS 'AFTER INSERT OR UPDATE trigger: qwen_enqueue_embed_trigger(''target column'', ''template with {column}'' [, ''name=value'' ...])';

CREATE FUNCTION _qwen_guard_rows()
RETURNS trigger AS 'MODULE_PATHNAME', 'qwen_guard_rows' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION _qwen_guard_rows() IS 'lets nobody but functions of qwen_pg and superusers write its tables';

-- ---- jobs -----------------------------------------------------------------------------------------------------------
-- pg_dump leaves the rows of these two tables out, and logical replication brings none
CREATE TABLE qwen_job_table (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	owner oid NOT NULL,
	session_role oid NOT NULL,
	outer_role oid NOT NULL,
	state text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
	source text,
	source_relation oid,
	search_path text NOT NULL,
	target oid NOT NULL,
	target_column text,
	key_columns text[] NOT NULL,
	key_types text[] NOT NULL,
	prompt text NOT NULL,
	function text NOT NULL,
	system text,
	instruction text,
	max_words int NOT NULL,
	dimensions int NOT NULL,
	priority int NOT NULL,
	max_attempts int NOT NULL,
	model text, max_tokens int, temperature float8, top_p float8, min_p float8, top_k int,
	repetition_penalty float8, presence_penalty float8, frequency_penalty float8, seed bigint, stop text[],
	thinking boolean, thinking_budget int, response_format json, adapter text,
	position text[],
	exhausted boolean NOT NULL DEFAULT false,
	total bigint NOT NULL,
	done bigint NOT NULL DEFAULT 0,
	failed bigint NOT NULL DEFAULT 0,
	prompt_tokens bigint NOT NULL DEFAULT 0,
	completion_tokens bigint NOT NULL DEFAULT 0,
	busy_ms float8 NOT NULL DEFAULT 0,
	submitted timestamptz NOT NULL DEFAULT now(),
	started timestamptz,
	ended timestamptz,
	error text,
	options json,
	truncated bigint NOT NULL DEFAULT 0,
	note text,
	arguments json,
	target_columns text[],
	CHECK (num_nulls(target_column, target_columns) = 1)
) WITH (fillfactor = 50);
CREATE INDEX qwen_job_table_active ON qwen_job_table (owner) WHERE state IN ('queued', 'running');
COMMENT ON TABLE qwen_job_table IS 'jobs of qwen_submit; the view qwen_jobs shows them';

CREATE TABLE qwen_job_row (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	owner oid NOT NULL,
	job bigint,
	relation oid,
	trigger text,
	key text[] NOT NULL,
	queued timestamptz NOT NULL DEFAULT now(),
	attempts int NOT NULL DEFAULT 0,
	next_try timestamptz,
	dead boolean NOT NULL DEFAULT false,
	failed_at timestamptz,
	sqlstate text,
	error text,
	trigger_oid oid,
	key_numbers smallint[],
	via bigint[],
	target_numbers smallint[]
);
CREATE INDEX qwen_job_row_waiting ON qwen_job_row (owner, id) WHERE NOT dead;
CREATE INDEX qwen_job_row_job ON qwen_job_row (job, id) WHERE job IS NOT NULL;
CREATE INDEX qwen_job_row_dead ON qwen_job_row (relation, key) WHERE dead;
CREATE INDEX qwen_job_row_failed ON qwen_job_row (relation, failed_at) WHERE failed_at IS NOT NULL;
CREATE INDEX qwen_job_row_key ON qwen_job_row (relation, hash_array(key)) WHERE relation IS NOT NULL;
COMMENT ON TABLE qwen_job_row IS 'rows that job workers work on, and those that failed for good';

CREATE FUNCTION qwen_submit(source text, prompt text, target regclass, target_column name DEFAULT NULL,
	key_columns name[] DEFAULT NULL, function text DEFAULT 'chat', system text DEFAULT NULL, max_words int DEFAULT NULL,
	instruction text DEFAULT NULL, dimensions int DEFAULT NULL, priority int DEFAULT 0, max_attempts int DEFAULT 5,
	model text DEFAULT NULL, max_tokens int DEFAULT NULL, temperature float8 DEFAULT NULL, top_p float8 DEFAULT NULL,
	min_p float8 DEFAULT NULL, top_k int DEFAULT NULL, repetition_penalty float8 DEFAULT NULL,
	presence_penalty float8 DEFAULT NULL, frequency_penalty float8 DEFAULT NULL, seed bigint DEFAULT NULL,
	stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL, thinking_budget int DEFAULT NULL, response_format json DEFAULT NULL,
	adapter text DEFAULT NULL, arguments json DEFAULT NULL, target_columns name[] DEFAULT NULL, options json DEFAULT NULL)
RETURNS bigint AS 'MODULE_PATHNAME', 'qwen_submit' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION qwen_submit(text, text, regclass, name, name[], text, text, int, text, int, int, int, text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, json, name[], json) IS 'a job over all rows of a table or query, worked on in the background; its id';

CREATE FUNCTION qwen_cancel(id bigint)
RETURNS boolean AS 'MODULE_PATHNAME', 'qwen_cancel' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION qwen_cancel(bigint) IS 'end a job; false when it has ended already';

CREATE FUNCTION qwen_wait(id bigint, timeout interval DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME', 'qwen_wait' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION qwen_wait(bigint, interval) IS 'wait for the end of a job, or until the time is over; its state';

CREATE FUNCTION qwen_retry(id bigint)
RETURNS bigint AS 'MODULE_PATHNAME', 'qwen_retry' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION qwen_retry(bigint) IS 'go on with a failed or cancelled job, and try its dead letters again: how many';

CREATE FUNCTION qwen_retry_table(relation regclass)
RETURNS bigint AS 'MODULE_PATHNAME', 'qwen_retry_table' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION qwen_retry_table(regclass) IS 'try the dead letters of a table''s triggers again: how many';

CREATE FUNCTION qwen_enqueue(relation regclass, trigger name DEFAULT NULL)
RETURNS bigint AS 'MODULE_PATHNAME', 'qwen_enqueue' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION qwen_enqueue(regclass, name) IS 'queue the rows of a table that wait for an answer of its queueing triggers and that nothing has queued: how many';

CREATE FUNCTION qwen_forget(id bigint)
RETURNS void AS 'MODULE_PATHNAME', 'qwen_forget' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION qwen_forget(bigint) IS 'remove a job that has ended, with its dead letters';

CREATE FUNCTION qwen_forget_table(relation regclass)
RETURNS bigint AS 'MODULE_PATHNAME', 'qwen_forget_table' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION qwen_forget_table(regclass) IS 'remove the dead letters of a table''s triggers: how many';

CREATE FUNCTION _qwen_job_workers(OUT role oid, OUT state text, OUT pid int, OUT trouble text)
RETURNS SETOF record AS 'MODULE_PATHNAME', 'qwen_job_workers' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION _qwen_job_workers() IS 'the background workers of jobs and triggers in this database';

CREATE FUNCTION _qwen_job_unserved(OUT state text, OUT trouble text)
RETURNS SETOF record AS 'MODULE_PATHNAME', 'qwen_job_unserved' LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 1;
COMMENT ON FUNCTION _qwen_job_unserved() IS 'why roles that have work may have no worker';

CREATE VIEW qwen_jobs WITH (security_barrier) AS
SELECT j.id,
	CASE WHEN j.state IN ('queued', 'running') AND (w.state IN ('no slot', 'limited', 'failed') OR w.role IS NULL AND u.state = 'no worker') THEN 'no worker'
		-- a job that has come to its end says whether its rows have
		WHEN j.state = 'done' AND j.failed > 0 THEN CASE WHEN j.done = 0 THEN 'failed' ELSE 'done with failures' END
		ELSE j.state END AS state,
	j.total, j.done, j.failed,
	-- with casts, so that each operator is PostgreSQL's own, whatever stands in the schema
	CASE WHEN j.busy_ms > 0::float8 THEN round(((CASE WHEN j.completion_tokens > 0::bigint THEN j.completion_tokens ELSE j.prompt_tokens END)::float8 * 1000::float8 / j.busy_ms)::numeric, 1)::float8 END AS tokens_per_s,
	CASE WHEN j.state IN ('queued', 'running') AND j.done + j.failed > 0
		THEN date_trunc('second', greatest(j.total - j.done - j.failed, 0)::float8 * (j.busy_ms / (j.done + j.failed)::float8) * interval '1 millisecond') END AS eta,
	pg_get_userbyid(j.owner) AS owner,
	coalesce(CASE WHEN j.state NOT IN ('queued', 'running') THEN NULL
		WHEN pg_is_in_recovery() THEN 'this server is a standby: jobs run on the primary'
		WHEN w.role IS NULL THEN u.trouble
		ELSE coalesce((SELECT 'rows are tried again: '::text || r.error FROM qwen_job_row r
			WHERE r.job = j.id AND NOT r.dead AND r.next_try IS NOT NULL ORDER BY r.failed_at DESC LIMIT 1), w.trouble) END, nullif(pg_catalog.concat_ws('; ', j.error,
		CASE WHEN j.state = 'done' AND j.failed > 0 AND j.done = 0 THEN coalesce('all rows failed: qwen_dead_letters has them; the first: '::text ||
			(SELECT r.error FROM qwen_job_row r WHERE r.job = j.id AND r.dead ORDER BY r.job, r.id LIMIT 1), 'all rows failed') END, j.note), '')) AS error,
	j.function, coalesce(j.source, j.source_relation::regclass::text) AS source, j.target::regclass AS target,
	coalesce(j.target_column, array_to_string(j.target_columns, ', ')) AS target_column, j.prompt, j.priority, j.prompt_tokens, j.completion_tokens, j.submitted, j.started, j.ended,
	w.pid AS worker_pid, j.truncated, coalesce(j.target_columns, ARRAY[j.target_column]) AS target_columns
FROM qwen_job_table j CROSS JOIN _qwen_job_unserved() u LEFT JOIN _qwen_job_workers() w ON w.role = j.owner
WHERE pg_has_role(j.owner, 'USAGE');
COMMENT ON VIEW qwen_jobs IS 'your jobs, with their progress';

CREATE VIEW qwen_job_list WITH (security_barrier) AS
SELECT j.id, j.state, j.done, j.failed, j.total, j.eta, j.target,
	-- a long one in lines: nothing of it is lost, and the table stays narrow
	rtrim(regexp_replace(regexp_replace(j.error, '(\S{24})'::text, '\1 '::text, 'g'::text), '(.{1,24})( +|$)'::text, '\1'::text || chr(10), 'g'::text), chr(10)) AS error
FROM qwen_jobs j;
COMMENT ON VIEW qwen_job_list IS 'your jobs in few columns; qwen_jobs has all';

CREATE VIEW qwen_dead_letters WITH (security_barrier) AS
SELECT r.id, r.job, coalesce(r.relation, j.target)::regclass AS relation,
	coalesce(t.tgname::text COLLATE "default", r.trigger) AS trigger, r.key, r.attempts, r.sqlstate, r.error, r.queued, r.failed_at
FROM qwen_job_row r LEFT JOIN qwen_job_table j ON j.id = r.job LEFT JOIN pg_trigger t ON t.oid = r.trigger_oid
-- with a table go its rows; those of a trigger that was dropped stay, with that as the reason of what was not filled in
WHERE r.dead AND pg_has_role(r.owner, 'USAGE') AND EXISTS (SELECT FROM pg_class c WHERE c.oid = coalesce(r.relation, j.target));
COMMENT ON VIEW qwen_dead_letters IS 'rows of your jobs and of your tables'' triggers that failed for good';

CREATE VIEW qwen_trigger_backlog WITH (security_barrier) AS
SELECT b.relation::regclass AS relation, b.trigger, b.waiting, b.retrying, b.dead, now() - b.first_queued AS oldest,
	(SELECT e.error FROM qwen_job_row e LEFT JOIN pg_trigger et ON et.oid = e.trigger_oid
		WHERE e.relation = b.relation AND coalesce(et.tgname::text COLLATE "default", e.trigger) = b.trigger AND e.failed_at IS NOT NULL
		ORDER BY e.failed_at DESC LIMIT 1) AS last_error,
	CASE WHEN b.waiting = 0 THEN NULL WHEN pg_is_in_recovery() THEN 'this server is a standby: rows are filled in on the primary'
		ELSE coalesce((SELECT coalesce(w.trouble, w.state) FROM _qwen_job_workers() w WHERE w.role = b.owner LIMIT 1),
			(SELECT u.trouble FROM _qwen_job_unserved() u)) END AS worker
FROM (SELECT r.owner, r.relation, coalesce(t.tgname::text COLLATE "default", r.trigger) AS trigger,
		count(*) FILTER (WHERE NOT r.dead) AS waiting,
		count(*) FILTER (WHERE NOT r.dead AND r.attempts > 0) AS retrying, count(*) FILTER (WHERE r.dead) AS dead,
		min(r.queued) FILTER (WHERE NOT r.dead) AS first_queued
	FROM qwen_job_row r LEFT JOIN pg_trigger t ON t.oid = r.trigger_oid
	WHERE r.job IS NULL AND EXISTS (SELECT FROM pg_class c WHERE c.oid = r.relation) GROUP BY 1, 2, 3) b
WHERE pg_has_role(b.owner, 'USAGE');
COMMENT ON VIEW qwen_trigger_backlog IS 'what your tables'' triggers have queued and is not filled in yet';

-- ---- models ---------------------------------------------------------------------------------------------------------
CREATE FUNCTION qwen_load_model(name text, file text, options json DEFAULT NULL)
RETURNS void AS 'MODULE_PATHNAME', 'qwen_load_model' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION qwen_load_model(text, text, json) IS 'load a model file from qwen.model_directory under a name, with settings of its own in options; returns when it is served';

CREATE FUNCTION qwen_unload_model(name text)
RETURNS void AS 'MODULE_PATHNAME', 'qwen_unload_model' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION qwen_unload_model(text) IS 'unload a model; running requests end first';

CREATE FUNCTION qwen_check_model(file text)
RETURNS TABLE (item text, value text, problem text) AS 'MODULE_PATHNAME', 'qwen_check_model' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION qwen_check_model(text) IS 'what a model file in qwen.model_directory is, what it needs and what is wrong with it, without loading it';

CREATE FUNCTION _qwen_models_status(OUT name text, OUT file text, OUT architecture text, OUT parameters bigint,
	OUT quantization text, OUT context_length int, OUT embedding_size int, OUT file_bytes bigint, OUT shared_memory_bytes bigint,
	OUT state text, OUT progress float8, OUT load_ms float8, OUT load_method text, OUT error text, OUT notices text,
	OUT huge_page_bytes bigint, OUT kv_cache_type text, OUT kv_bytes_per_token bigint, OUT rope_scaling text,
	OUT rope_factor float8, OUT rope_original_context int, OUT threads int, OUT state_bytes bigint, OUT state_type text)
RETURNS SETOF record AS 'MODULE_PATHNAME', 'qwen_models_status' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION _qwen_models_status() IS 'the rows of the view qwen_models';

CREATE FUNCTION qwen_load_adapter(name text, file text, model text DEFAULT NULL)
RETURNS void AS 'MODULE_PATHNAME', 'qwen_load_adapter' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION qwen_load_adapter(text, text, text) IS 'load an adapter file from qwen.model_directory under a name, for a model; returns when it is served';

CREATE FUNCTION qwen_unload_adapter(name text, model text DEFAULT NULL)
RETURNS void AS 'MODULE_PATHNAME', 'qwen_unload_adapter' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION qwen_unload_adapter(text, text) IS 'unload an adapter of a model; running requests end first';

CREATE FUNCTION _qwen_adapters_status(OUT name text, OUT model text, OUT file text, OUT rank int, OUT matrices int,
	OUT parameters bigint, OUT quantization text, OUT file_bytes bigint, OUT shared_memory_bytes bigint, OUT load_ms float8,
	OUT requests int, OUT state text, OUT error text, OUT notices text)
RETURNS SETOF record AS 'MODULE_PATHNAME', 'qwen_adapters_status' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION _qwen_adapters_status() IS 'the rows of the view qwen_adapters';

CREATE VIEW qwen_models AS SELECT * FROM _qwen_models_status();
COMMENT ON VIEW qwen_models IS 'models that are loaded, being loaded, or failed to load';

CREATE VIEW qwen_model_list AS
SELECT m.name, m.state, round(m.progress * 100::float8)::int AS percent, m.quantization, m.context_length AS context,
	pg_size_pretty(m.shared_memory_bytes) AS memory,
	-- a long one in lines: nothing of it is lost, and the table stays narrow
	rtrim(regexp_replace(regexp_replace(m.error, '(\S{32})'::text, '\1 '::text, 'g'::text), '(.{1,32})( +|$)'::text, '\1'::text || chr(10), 'g'::text), chr(10)) AS error
FROM qwen_models m;
COMMENT ON VIEW qwen_model_list IS 'models in few columns; qwen_models has all';

CREATE VIEW qwen_adapters AS SELECT * FROM _qwen_adapters_status();
COMMENT ON VIEW qwen_adapters IS 'adapters of models that are loaded, being loaded, or failed to load';

-- ---- watching -------------------------------------------------------------------------------------------------------
CREATE FUNCTION _qwen_engine_status(OUT state text, OUT pid int, OUT restarts bigint, OUT last_error text,
	OUT started_at timestamptz, OUT next_try timestamptz, OUT isa text, OUT threads int, OUT clients int, OUT running int,
	OUT waiting int, OUT batch_tokens int, OUT kv_bytes_total bigint, OUT kv_bytes_used bigint, OUT steps bigint,
	OUT prompt_tokens bigint, OUT generated_tokens bigint, OUT requests_done bigint, OUT requests_failed bigint,
	OUT requests_cancelled bigint, OUT tokens_per_second float8, OUT heartbeat_age_ms float8, OUT cached_blocks int,
	OUT kv_bytes_cached bigint, OUT cached_tokens bigint, OUT prefix_hit_rate float8, OUT evicted_blocks bigint,
	OUT preemptions bigint, OUT guessed_tokens bigint, OUT guessed_right bigint)
RETURNS record AS 'MODULE_PATHNAME', 'qwen_engine_status' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION _qwen_engine_status() IS 'the row of the view qwen_stat_engine';

CREATE FUNCTION _qwen_engine_guesses(OUT mtp_steps bigint, OUT mtp_tokens bigint, OUT mtp_right bigint, OUT mtp_length float8,
	OUT mtp_share float8, OUT draft_steps bigint, OUT draft_tokens bigint, OUT draft_right bigint, OUT draft_length float8,
	OUT draft_share float8, OUT draft_lengths bigint[])
RETURNS record AS 'MODULE_PATHNAME', 'qwen_engine_guesses' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION _qwen_engine_guesses() IS 'what models'' own layers and draft models guessed, for qwen_stat_engine';

CREATE FUNCTION _qwen_engine_forms(OUT constrained_tokens bigint, OUT forced_tokens bigint, OUT mask_ms float8, OUT forms int,
	OUT form_bytes bigint)
RETURNS record AS 'MODULE_PATHNAME', 'qwen_engine_forms' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION _qwen_engine_forms() IS 'what forms of answers have done, for qwen_stat_engine';

CREATE FUNCTION _qwen_engine_memory(OUT weight_bytes bigint, OUT kv_bytes_resident bigint, OUT buffer_bytes bigint,
	OUT unlisted_requests bigint, OUT states int, OUT state_bytes_used bigint, OUT state_bytes_resident bigint, OUT snapshots int,
	OUT snapshot_bytes bigint, OUT snapshots_taken bigint, OUT snapshots_hit bigint, OUT snapshots_moved bigint,
	OUT snapshots_evicted bigint)
RETURNS record AS 'MODULE_PATHNAME', 'qwen_engine_memory' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION _qwen_engine_memory() IS 'columns of the view qwen_stat_engine: memory by purpose';

CREATE FUNCTION qwen_health()
RETURNS jsonb AS 'MODULE_PATHNAME', 'qwen_health' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION qwen_health() IS 'healthy, degraded or unhealthy, with each check and what to do about it';

CREATE FUNCTION _qwen_activity(OUT pid int, OUT database text, OUT role text, OUT application_name text, OUT query_id bigint,
	OUT model text, OUT function text, OUT state text, OUT prompt_tokens int, OUT prompt_tokens_done int,
	OUT completion_tokens int, OUT tokens_per_second float8, OUT submitted_at timestamptz, OUT started_at timestamptz,
	OUT age_ms float8)
RETURNS SETOF record AS 'MODULE_PATHNAME', 'qwen_activity' LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 32;
COMMENT ON FUNCTION _qwen_activity() IS 'the rows of the view qwen_stat_activity';

CREATE FUNCTION _qwen_statement_progress(OUT pid int, OUT leader int, OUT database text, OUT role text, OUT function text,
	OUT rows_done bigint, OUT rows_expected float8, OUT prompt_tokens bigint, OUT completion_tokens bigint,
	OUT prompt_tokens_under_way bigint, OUT completion_tokens_under_way bigint, OUT started_at timestamptz)
RETURNS SETOF record AS 'MODULE_PATHNAME', 'qwen_statement_progress' LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 32;
COMMENT ON FUNCTION _qwen_statement_progress() IS 'statements that ask the model about rows, for the view qwen_progress';

CREATE FUNCTION _qwen_load_progress(OUT name text, OUT bytes_done bigint, OUT bytes_total bigint, OUT started_at timestamptz)
RETURNS SETOF record AS 'MODULE_PATHNAME', 'qwen_load_progress' LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 2;
COMMENT ON FUNCTION _qwen_load_progress() IS 'models that are being loaded, for the view qwen_progress';

CREATE FUNCTION _qwen_request_totals(OUT role text, OUT model text, OUT function text, OUT calls bigint, OUT errors bigint,
	OUT cancelled bigint, OUT rejected bigint, OUT prompt_tokens bigint, OUT cached_tokens bigint, OUT completion_tokens bigint,
	OUT total_ms float8, OUT queue_ms float8, OUT ttft_p50_ms float8, OUT ttft_p95_ms float8, OUT ttft_p99_ms float8,
	OUT per_token_p50_ms float8, OUT per_token_p95_ms float8, OUT per_token_p99_ms float8, OUT total_p50_ms float8,
	OUT total_p95_ms float8, OUT total_p99_ms float8, OUT errors_by_class jsonb, OUT since timestamptz,
	OUT constrained_tokens bigint, OUT forced_tokens bigint, OUT mask_ms float8)
RETURNS SETOF record AS 'MODULE_PATHNAME', 'qwen_request_totals' LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 32;
COMMENT ON FUNCTION _qwen_request_totals() IS 'the rows of the view qwen_stat_requests';

CREATE FUNCTION _qwen_role_totals(OUT role text, OUT calls bigint, OUT errors bigint, OUT cancelled bigint, OUT rejected bigint,
	OUT prompt_tokens bigint, OUT cached_tokens bigint, OUT completion_tokens bigint, OUT total_ms float8, OUT queue_ms float8,
	OUT ttft_p50_ms float8, OUT ttft_p95_ms float8, OUT ttft_p99_ms float8, OUT per_token_p50_ms float8,
	OUT per_token_p95_ms float8, OUT per_token_p99_ms float8, OUT total_p50_ms float8, OUT total_p95_ms float8,
	OUT total_p99_ms float8, OUT errors_by_class jsonb, OUT since timestamptz, OUT rejected_by_limit jsonb,
	OUT constrained_tokens bigint, OUT forced_tokens bigint, OUT mask_ms float8)
RETURNS SETOF record AS 'MODULE_PATHNAME', 'qwen_role_totals' LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 32;
COMMENT ON FUNCTION _qwen_role_totals() IS 'the rows of the view qwen_stat_roles';

CREATE FUNCTION qwen_stat_reset()
RETURNS void AS 'MODULE_PATHNAME', 'qwen_stat_reset' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION qwen_stat_reset() IS 'forget the numbers of qwen_stat_requests and qwen_stat_roles';

CREATE FUNCTION qwen_monitor()
RETURNS boolean AS 'MODULE_PATHNAME', 'qwen_monitor' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION qwen_monitor() IS 'whoever may call it sees the activity and the statistics of all roles';

CREATE VIEW qwen_stat_engine AS SELECT * FROM _qwen_engine_status(), _qwen_engine_memory(), _qwen_engine_guesses(), _qwen_engine_forms();
COMMENT ON VIEW qwen_stat_engine IS 'the engine process: state, requests, memory and tokens since it started';

CREATE VIEW qwen_top AS
SELECT e.state, e.threads, e.running, e.waiting, round(e.tokens_per_second::numeric, 1) AS tokens_per_s,
	pg_size_pretty(e.kv_bytes_used) || ' of '::text || pg_size_pretty(e.kv_bytes_total) AS keys_and_values,
	round(e.prefix_hit_rate::numeric * 100::numeric)::int AS cached_percent, e.restarts
FROM qwen_stat_engine e;
COMMENT ON VIEW qwen_top IS 'the engine in one short line; qwen_stat_engine has all';

CREATE VIEW qwen_health_checks AS
SELECT c ->> 'check'::text AS name, c ->> 'status'::text AS status, c ->> 'message'::text AS message, c ->> 'action'::text AS action
FROM jsonb_array_elements(qwen_health() -> 'checks'::text) c;
COMMENT ON VIEW qwen_health_checks IS 'the checks of qwen_health() as rows';

CREATE VIEW qwen_stat_activity AS SELECT * FROM _qwen_activity();
COMMENT ON VIEW qwen_stat_activity IS 'requests under way, of all sessions; of other roles only for those who may see them';

CREATE VIEW qwen_stat_requests AS SELECT * FROM _qwen_request_totals();
COMMENT ON VIEW qwen_stat_requests IS 'what requests have cost, per role, model and function';

CREATE VIEW qwen_stat_roles AS SELECT * FROM _qwen_role_totals();
COMMENT ON VIEW qwen_stat_roles IS 'what requests have cost, per role';

-- A row that is under way counts by what is computed of it, in tokens of an average row that is done; with casts, so that each operator is PostgreSQL's own
-- The planner may expect more rows than bigint has numbers: one such statement must not keep everybody from reading the others
CREATE VIEW qwen_progress WITH (security_barrier) AS
WITH statement AS (
	SELECT p.leader, min(p.role) AS role, min(p.function) AS function, sum(p.rows_done)::bigint AS rows_done,
		CASE WHEN count(*) = count(p.rows_expected) THEN sum(p.rows_expected)::float8 END AS rows_total,
		-- of answers that are generated, the tokens generated; else those read
		CASE WHEN sum(p.completion_tokens + p.completion_tokens_under_way) > 0::numeric THEN sum(p.completion_tokens)::float8 ELSE sum(p.prompt_tokens)::float8 END AS tokens,
		CASE WHEN sum(p.completion_tokens + p.completion_tokens_under_way) > 0::numeric THEN sum(p.completion_tokens_under_way)::float8
			ELSE sum(p.prompt_tokens_under_way)::float8 END AS under_way,
		greatest(extract(epoch FROM clock_timestamp() - min(p.started_at))::float8, 0.001::float8) AS seconds
	FROM _qwen_statement_progress() p GROUP BY p.leader),
counted AS (
	SELECT s.*, i.pid AS builder,
		s.rows_done::float8 + CASE WHEN s.tokens > 0::float8 THEN s.under_way * s.rows_done::float8 / s.tokens ELSE 0::float8 END AS equal_to,
		CASE WHEN i.pid IS NULL THEN s.rows_total ELSE i.rows END AS rows
	FROM statement s LEFT JOIN LATERAL (
		-- a table is read block by block for an index over an expression; at the first block PostgreSQL says all of them
		SELECT x.pid, CASE WHEN x.blocks_done < x.blocks_total THEN s.rows_done::float8 * x.blocks_total::float8 / (x.blocks_done::float8 + 0.5::float8) END AS rows FROM pg_stat_progress_create_index x WHERE x.pid = s.leader) i ON true)
SELECT CASE WHEN c.builder IS NULL THEN 'query'::text ELSE 'index'::text END AS kind, c.leader::bigint AS id, c.role, c.function, c.rows_done,
	CASE WHEN c.rows >= c.rows_done::float8 THEN least(round(c.rows), 9e18::float8)::bigint END AS rows_total,
	CASE WHEN c.rows >= c.rows_done::float8 AND c.rows > 0::float8 THEN round(least(c.equal_to / c.rows * 100::float8, 100::float8))::int END AS percent,
	round(((c.tokens + c.under_way) / c.seconds)::numeric, 1) AS tokens_per_s,
	CASE WHEN c.rows >= c.rows_done::float8 AND c.rows_done > 0::bigint AND c.seconds >= 1::float8
		THEN least(round(greatest(c.rows - c.equal_to, 0::float8) * c.seconds / c.equal_to), 9e18::float8)::bigint END AS seconds_left
FROM counted c
UNION ALL
SELECT 'job'::text, j.id, j.owner::text, 'qwen_'::text || j.function, j.done + j.failed, j.total,
	CASE WHEN j.total > 0::bigint THEN round(least((j.done + j.failed)::float8 / j.total::float8 * 100::float8, 100::float8))::int END,
	round(j.tokens_per_s::numeric, 1), round(extract(epoch FROM j.eta)::numeric)::bigint
FROM qwen_jobs j WHERE j.state IN ('queued', 'running', 'no worker')
UNION ALL
SELECT 'load'::text, NULL::bigint, NULL::text, l.name, NULL::bigint, NULL::bigint,
	CASE WHEN l.bytes_total > 0::bigint THEN round(l.bytes_done::float8 / l.bytes_total::float8 * 100::float8)::int END, NULL::numeric,
	CASE WHEN l.bytes_done > 0::bigint AND l.bytes_total > l.bytes_done
		THEN round(extract(epoch FROM clock_timestamp() - l.started_at)::float8 * (l.bytes_total - l.bytes_done)::float8 / l.bytes_done::float8)::bigint END
FROM _qwen_load_progress() l;
COMMENT ON VIEW qwen_progress IS 'how far queries, jobs, loads and indexes are that ask the models, and how long it takes';

-- ---- limits per role --------------------------------------------------------------------------------------------------
CREATE FUNCTION _qwen_limits_changed()
RETURNS trigger AS 'MODULE_PATHNAME', 'qwen_limits_changed' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION _qwen_limits_changed() IS 'tells all sessions of a change of qwen_role_limit and qwen_role_models when it is committed';

CREATE FUNCTION qwen_set_limit(role regrole, requests_per_minute int DEFAULT NULL, tokens_per_minute int DEFAULT NULL,
	tokens_per_day bigint DEFAULT NULL, max_concurrent int DEFAULT NULL, max_tokens int DEFAULT NULL, priority int DEFAULT NULL)
RETURNS void AS 'MODULE_PATHNAME', 'qwen_set_limit' LANGUAGE C VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION qwen_set_limit(regrole, int, int, bigint, int, int, int) IS 'set all limits of a role; NULL: no limit of that kind';

CREATE FUNCTION qwen_clear_limit(role regrole)
RETURNS void AS 'MODULE_PATHNAME', 'qwen_clear_limit' LANGUAGE C VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION qwen_clear_limit(regrole) IS 'a role has no limits of its own any more: those of its roles or the settings hold';

CREATE FUNCTION _qwen_may_see_role(role regrole)
RETURNS boolean AS 'MODULE_PATHNAME', 'qwen_may_see_role' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION _qwen_may_see_role(regrole) IS 'whether the current user may see what concerns a role';

CREATE FUNCTION qwen_allow_models(role regrole, models text[])
RETURNS void AS 'MODULE_PATHNAME', 'qwen_allow_models' LANGUAGE C VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION qwen_allow_models(regrole, text[]) IS 'the models that a role may ask, and no others; NULL: it has no list of its own any more';

CREATE FUNCTION _qwen_usage_rows(OUT role regrole, OUT limit_name text, OUT used bigint, OUT reserved bigint, OUT allowed bigint,
	OUT remaining bigint, OUT rejected bigint)
RETURNS SETOF record AS 'MODULE_PATHNAME', 'qwen_usage_rows' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION _qwen_usage_rows() IS 'the rows of the view qwen_usage';

CREATE TABLE qwen_role_limit (
	role regrole PRIMARY KEY,
	requests_per_minute int,
	tokens_per_minute int,
	tokens_per_day bigint,
	max_concurrent int,
	max_tokens int,
	priority int
);
COMMENT ON TABLE qwen_role_limit IS 'limits per role; change it by qwen_set_limit and qwen_clear_limit, read it through qwen_limits';
-- a role that was dropped is in no dump: its number may be another role's where that is restored
SELECT pg_catalog.pg_extension_config_dump('qwen_role_limit', 'WHERE role IN (SELECT oid FROM pg_catalog.pg_roles)');

CREATE TRIGGER qwen_limits_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON qwen_role_limit
	FOR EACH STATEMENT EXECUTE FUNCTION _qwen_limits_changed();
ALTER TABLE qwen_role_limit ENABLE ALWAYS TRIGGER qwen_limits_changed;

CREATE VIEW qwen_limits WITH (security_barrier) AS
	SELECT role, requests_per_minute, tokens_per_minute, tokens_per_day, max_concurrent, max_tokens, priority
	FROM qwen_role_limit WHERE _qwen_may_see_role(role);
COMMENT ON VIEW qwen_limits IS 'limits that were set for roles; NULL: no limit of that kind';

CREATE TABLE qwen_role_models (
	role regrole PRIMARY KEY,
	models text[] NOT NULL
);
COMMENT ON TABLE qwen_role_models IS 'models that roles may ask; change it by qwen_allow_models, read it through qwen_allowed_models';
SELECT pg_catalog.pg_extension_config_dump('qwen_role_models', 'WHERE role IN (SELECT oid FROM pg_catalog.pg_roles)');
CREATE TRIGGER qwen_limits_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON qwen_role_models
	FOR EACH STATEMENT EXECUTE FUNCTION _qwen_limits_changed();
ALTER TABLE qwen_role_models ENABLE ALWAYS TRIGGER qwen_limits_changed;

CREATE VIEW qwen_allowed_models WITH (security_barrier) AS
	SELECT role, models FROM qwen_role_models WHERE _qwen_may_see_role(role);
COMMENT ON VIEW qwen_allowed_models IS 'models that roles may ask; who is not in it may ask what its roles may, or all';

CREATE VIEW qwen_usage AS SELECT * FROM _qwen_usage_rows();
COMMENT ON VIEW qwen_usage IS 'what roles have used in each window, and what is left of their limits';

-- ---- what columns mean ------------------------------------------------------------------------------------------------
COMMENT ON COLUMN qwen_response."content" IS 'the answer, without thinking and calls of tools';
COMMENT ON COLUMN qwen_response."thinking" IS 'what the model thought before it, without tags; NULL: it did not';
COMMENT ON COLUMN qwen_response."tool_calls" IS 'calls of tools, [{"type": "function", "function": {"name", "arguments"}}]; NULL: none';
COMMENT ON COLUMN qwen_response."finish_reason" IS 'stop, length (max_tokens or the context cut it off) or tool_calls';
COMMENT ON COLUMN qwen_response."model" IS 'name of the model that answered';
COMMENT ON COLUMN qwen_response."prompt_tokens" IS 'tokens of the prompt';
COMMENT ON COLUMN qwen_response."cached_tokens" IS 'those of them that came from the prefix cache';
COMMENT ON COLUMN qwen_response."completion_tokens" IS 'tokens sampled, of thinking too';
COMMENT ON COLUMN qwen_response."queue_ms" IS 'time until the first step';
COMMENT ON COLUMN qwen_response."ttft_ms" IS 'time to the first token, from the queue on';
COMMENT ON COLUMN qwen_response."total_ms" IS 'the whole time, from the queue on';
COMMENT ON COLUMN qwen_response."logprobs" IS 'with the argument logprobs: of each token [{"token", "logprob", "top"}]';
COMMENT ON COLUMN qwen_models."name" IS 'by which functions choose it';
COMMENT ON COLUMN qwen_models."file" IS 'in qwen.model_directory';
COMMENT ON COLUMN qwen_models."architecture" IS 'as the file says it';
COMMENT ON COLUMN qwen_models."parameters" IS 'how many weights';
COMMENT ON COLUMN qwen_models."quantization" IS 'type of most weights';
COMMENT ON COLUMN qwen_models."context_length" IS 'tokens of prompt and answer that it can hold';
COMMENT ON COLUMN qwen_models."embedding_size" IS 'numbers of an embedding, as vector(n) has them';
COMMENT ON COLUMN qwen_models."file_bytes" IS 'size of the file, of all parts';
COMMENT ON COLUMN qwen_models."shared_memory_bytes" IS 'memory that its weights take';
COMMENT ON COLUMN qwen_models."state" IS 'waiting, loading, opening, serving, failed, unloading';
COMMENT ON COLUMN qwen_models."progress" IS 'of reading the file, 0 to 1';
COMMENT ON COLUMN qwen_models."load_ms" IS 'how long reading and opening took';
COMMENT ON COLUMN qwen_models."load_method" IS 'how it was read';
COMMENT ON COLUMN qwen_models."error" IS 'why it failed, and what to do; NULL: it did not';
COMMENT ON COLUMN qwen_models."notices" IS 'what is odd in the file';
COMMENT ON COLUMN qwen_models."huge_page_bytes" IS 'of the weights, on huge pages';
COMMENT ON COLUMN qwen_models."kv_cache_type" IS 'type of keys and values';
COMMENT ON COLUMN qwen_models."kv_bytes_per_token" IS 'memory of keys and values that a token takes';
COMMENT ON COLUMN qwen_models."rope_scaling" IS 'how positions are stretched: none, linear, yarn';
COMMENT ON COLUMN qwen_models."rope_factor" IS 'by how much';
COMMENT ON COLUMN qwen_models."rope_original_context" IS 'context before it was stretched';
COMMENT ON COLUMN qwen_models."threads" IS 'that compute for it';
COMMENT ON COLUMN qwen_models."state_bytes" IS 'of a hybrid: memory of a request''s state, whatever its length';
COMMENT ON COLUMN qwen_models."state_type" IS 'of a hybrid: type of the numbers of states';
COMMENT ON COLUMN qwen_model_list."name" IS 'by which functions choose it';
COMMENT ON COLUMN qwen_model_list."state" IS 'waiting, loading, opening, serving, failed, unloading';
COMMENT ON COLUMN qwen_model_list."quantization" IS 'type of most weights';
COMMENT ON COLUMN qwen_model_list."error" IS 'why it failed, and what to do; NULL: it did not';
COMMENT ON COLUMN qwen_model_list."percent" IS 'of reading the file';
COMMENT ON COLUMN qwen_model_list."context" IS 'tokens of prompt and answer that it can hold';
COMMENT ON COLUMN qwen_model_list."memory" IS 'that its weights take';
COMMENT ON COLUMN qwen_adapters."name" IS 'by which requests choose it';
COMMENT ON COLUMN qwen_adapters."model" IS 'that it belongs to';
COMMENT ON COLUMN qwen_adapters."file" IS 'in qwen.model_directory';
COMMENT ON COLUMN qwen_adapters."rank" IS 'the largest of its matrices';
COMMENT ON COLUMN qwen_adapters."matrices" IS 'how many matrices of the model it changes';
COMMENT ON COLUMN qwen_adapters."parameters" IS 'how many weights';
COMMENT ON COLUMN qwen_adapters."quantization" IS 'type of most weights';
COMMENT ON COLUMN qwen_adapters."file_bytes" IS 'size of the file';
COMMENT ON COLUMN qwen_adapters."shared_memory_bytes" IS 'memory that its weights take';
COMMENT ON COLUMN qwen_adapters."load_ms" IS 'how long reading and opening took';
COMMENT ON COLUMN qwen_adapters."requests" IS 'under way with it';
COMMENT ON COLUMN qwen_adapters."state" IS 'waiting, loading, opening, serving, failed, unloading';
COMMENT ON COLUMN qwen_adapters."error" IS 'why it failed; NULL: it did not';
COMMENT ON COLUMN qwen_adapters."notices" IS 'what is odd in the file';
COMMENT ON COLUMN qwen_stat_engine."state" IS 'starting, running, hung, stopped ...';
COMMENT ON COLUMN qwen_stat_engine."pid" IS 'of the engine''s process';
COMMENT ON COLUMN qwen_stat_engine."restarts" IS 'since the server started';
COMMENT ON COLUMN qwen_stat_engine."last_error" IS 'why it ended last; NULL: it has not';
COMMENT ON COLUMN qwen_stat_engine."started_at" IS 'when this process started';
COMMENT ON COLUMN qwen_stat_engine."next_try" IS 'when it is started again; NULL: it runs';
COMMENT ON COLUMN qwen_stat_engine."isa" IS 'instruction set that it computes with';
COMMENT ON COLUMN qwen_stat_engine."threads" IS 'that compute';
COMMENT ON COLUMN qwen_stat_engine."clients" IS 'sessions that are connected';
COMMENT ON COLUMN qwen_stat_engine."running" IS 'requests in the batch';
COMMENT ON COLUMN qwen_stat_engine."waiting" IS 'requests that wait for a place';
COMMENT ON COLUMN qwen_stat_engine."batch_tokens" IS 'of the last step';
COMMENT ON COLUMN qwen_stat_engine."kv_bytes_total" IS 'what keys and values may take, qwen.kv_cache_size';
COMMENT ON COLUMN qwen_stat_engine."kv_bytes_used" IS 'what those of requests take, with states';
COMMENT ON COLUMN qwen_stat_engine."steps" IS 'since it started';
COMMENT ON COLUMN qwen_stat_engine."prompt_tokens" IS 'computed, or found in the cache';
COMMENT ON COLUMN qwen_stat_engine."generated_tokens" IS 'sampled';
COMMENT ON COLUMN qwen_stat_engine."requests_done" IS 'that were answered';
COMMENT ON COLUMN qwen_stat_engine."requests_failed" IS 'that ended with an error';
COMMENT ON COLUMN qwen_stat_engine."requests_cancelled" IS 'that their sessions gave up';
COMMENT ON COLUMN qwen_stat_engine."tokens_per_second" IS 'generated, a second of computing';
COMMENT ON COLUMN qwen_stat_engine."heartbeat_age_ms" IS 'since its last sign of life';
COMMENT ON COLUMN qwen_stat_engine."cached_blocks" IS 'of the prefix cache, that no request uses now';
COMMENT ON COLUMN qwen_stat_engine."kv_bytes_cached" IS 'memory of these, with states that are kept';
COMMENT ON COLUMN qwen_stat_engine."cached_tokens" IS 'of prompts, that came from the prefix cache';
COMMENT ON COLUMN qwen_stat_engine."prefix_hit_rate" IS 'of all prompt tokens, how many came from it, 0 to 1';
COMMENT ON COLUMN qwen_stat_engine."evicted_blocks" IS 'given up because their memory was wanted';
COMMENT ON COLUMN qwen_stat_engine."preemptions" IS 'requests that gave their memory to more urgent ones';
COMMENT ON COLUMN qwen_stat_engine."guessed_tokens" IS 'of speculation: tokens guessed ahead';
COMMENT ON COLUMN qwen_stat_engine."guessed_right" IS 'those of them that came';
COMMENT ON COLUMN qwen_stat_engine."weight_bytes" IS 'shared memory of all models';
COMMENT ON COLUMN qwen_stat_engine."kv_bytes_resident" IS 'memory of keys, values and states that the system has given';
COMMENT ON COLUMN qwen_stat_engine."buffer_bytes" IS 'all else that the engine holds';
COMMENT ON COLUMN qwen_stat_engine."unlisted_requests" IS 'for which qwen_stat_activity had no room';
COMMENT ON COLUMN qwen_stat_engine."states" IS 'of hybrids: states that requests hold';
COMMENT ON COLUMN qwen_stat_engine."state_bytes_used" IS 'memory of these, part of kv_bytes_used';
COMMENT ON COLUMN qwen_stat_engine."state_bytes_resident" IS 'memory of all states, part of kv_bytes_resident';
COMMENT ON COLUMN qwen_stat_engine."snapshots" IS 'of hybrids: states that are kept for who goes on with a text';
COMMENT ON COLUMN qwen_stat_engine."snapshot_bytes" IS 'memory of these';
COMMENT ON COLUMN qwen_stat_engine."snapshots_taken" IS 'since it started';
COMMENT ON COLUMN qwen_stat_engine."snapshots_hit" IS 'how often one was gone on from';
COMMENT ON COLUMN qwen_stat_engine."snapshots_moved" IS 'of these, taken over without a copy';
COMMENT ON COLUMN qwen_stat_engine."snapshots_evicted" IS 'given up because their memory was wanted';
COMMENT ON COLUMN qwen_stat_engine."mtp_steps" IS 'of models'' own layers: steps in which they guessed';
COMMENT ON COLUMN qwen_stat_engine."mtp_tokens" IS 'tokens that they guessed';
COMMENT ON COLUMN qwen_stat_engine."mtp_right" IS 'those of them that came';
COMMENT ON COLUMN qwen_stat_engine."mtp_length" IS 'guesses a step';
COMMENT ON COLUMN qwen_stat_engine."mtp_share" IS 'of guesses, how many came, 0 to 1';
COMMENT ON COLUMN qwen_stat_engine."draft_steps" IS 'of draft models: times that one guessed behind an answer';
COMMENT ON COLUMN qwen_stat_engine."draft_tokens" IS 'tokens that they guessed';
COMMENT ON COLUMN qwen_stat_engine."draft_right" IS 'those of them that came';
COMMENT ON COLUMN qwen_stat_engine."draft_length" IS 'right ones a time';
COMMENT ON COLUMN qwen_stat_engine."draft_share" IS 'of guesses, how many came, 0 to 1';
COMMENT ON COLUMN qwen_stat_engine."draft_lengths" IS 'how often none came, one, two ... seven at a time';
COMMENT ON COLUMN qwen_stat_engine."constrained_tokens" IS 'tokens for which a form of the answer said what may come';
COMMENT ON COLUMN qwen_stat_engine."forced_tokens" IS 'those of them of which it left no choice';
COMMENT ON COLUMN qwen_stat_engine."mask_ms" IS 'time to find what may come';
COMMENT ON COLUMN qwen_stat_engine."forms" IS 'forms of answers that are compiled, used or kept';
COMMENT ON COLUMN qwen_stat_engine."form_bytes" IS 'their memory, with that of their masks';
COMMENT ON COLUMN qwen_top."state" IS 'starting, running, hung, stopped ...';
COMMENT ON COLUMN qwen_top."threads" IS 'that compute';
COMMENT ON COLUMN qwen_top."running" IS 'requests in the batch';
COMMENT ON COLUMN qwen_top."waiting" IS 'requests that wait for a place';
COMMENT ON COLUMN qwen_top."restarts" IS 'since the server started';
COMMENT ON COLUMN qwen_top."tokens_per_s" IS 'generated, a second of computing';
COMMENT ON COLUMN qwen_top."keys_and_values" IS 'memory that requests use, of what they may';
COMMENT ON COLUMN qwen_top."cached_percent" IS 'of prompt tokens, how many came from the prefix cache';
COMMENT ON COLUMN qwen_health_checks."name" IS 'what is looked at';
COMMENT ON COLUMN qwen_health_checks."status" IS 'healthy, degraded or unhealthy';
COMMENT ON COLUMN qwen_health_checks."message" IS 'how it is';
COMMENT ON COLUMN qwen_health_checks."action" IS 'what to do; NULL where it is healthy';
COMMENT ON COLUMN qwen_stat_activity."pid" IS 'of the session';
COMMENT ON COLUMN qwen_stat_activity."database" IS 'of the session';
COMMENT ON COLUMN qwen_stat_activity."role" IS 'who asks';
COMMENT ON COLUMN qwen_stat_activity."application_name" IS 'of the session, when it sent the request';
COMMENT ON COLUMN qwen_stat_activity."query_id" IS 'of the statement, where compute_query_id is on';
COMMENT ON COLUMN qwen_stat_activity."model" IS 'that is asked, with its adapter';
COMMENT ON COLUMN qwen_stat_activity."function" IS 'SQL function that asks';
COMMENT ON COLUMN qwen_stat_activity."state" IS 'submitted, limited (waits for a limit of its role), waiting (for a place in the batch), running';
COMMENT ON COLUMN qwen_stat_activity."prompt_tokens" IS 'of the prompt; NULL: the engine has not looked at it yet';
COMMENT ON COLUMN qwen_stat_activity."prompt_tokens_done" IS 'those computed or found in the cache';
COMMENT ON COLUMN qwen_stat_activity."completion_tokens" IS 'sampled so far';
COMMENT ON COLUMN qwen_stat_activity."tokens_per_second" IS 'sampled, on average since started_at';
COMMENT ON COLUMN qwen_stat_activity."submitted_at" IS 'when it was sent';
COMMENT ON COLUMN qwen_stat_activity."started_at" IS 'when it was queued for the batch';
COMMENT ON COLUMN qwen_stat_activity."age_ms" IS 'since submitted_at';
COMMENT ON COLUMN qwen_stat_requests."role" IS 'who asked; NULL with model and function: what there was no row for';
COMMENT ON COLUMN qwen_stat_requests."model" IS 'that was asked, with its adapter; NULL: there was none of that name';
COMMENT ON COLUMN qwen_stat_requests."function" IS 'SQL function that asked';
COMMENT ON COLUMN qwen_stat_requests."calls" IS 'requests that ended';
COMMENT ON COLUMN qwen_stat_requests."errors" IS 'those of them that failed';
COMMENT ON COLUMN qwen_stat_requests."cancelled" IS 'those that their sessions gave up';
COMMENT ON COLUMN qwen_stat_requests."rejected" IS 'those that a limit refused';
COMMENT ON COLUMN qwen_stat_requests."prompt_tokens" IS 'of their prompts';
COMMENT ON COLUMN qwen_stat_requests."cached_tokens" IS 'those of them that came from the prefix cache';
COMMENT ON COLUMN qwen_stat_requests."completion_tokens" IS 'sampled';
COMMENT ON COLUMN qwen_stat_requests."total_ms" IS 'sum, from the queue to the end';
COMMENT ON COLUMN qwen_stat_requests."queue_ms" IS 'sum, from the queue to the first step';
COMMENT ON COLUMN qwen_stat_requests."ttft_p50_ms" IS 'time to the first token, from the queue on: half of all answers have less';
COMMENT ON COLUMN qwen_stat_requests."ttft_p95_ms" IS 'the same: 95 of 100 have less';
COMMENT ON COLUMN qwen_stat_requests."ttft_p99_ms" IS 'the same: 99 of 100 have less';
COMMENT ON COLUMN qwen_stat_requests."per_token_p50_ms" IS 'time a token after the first: half of all answers have less';
COMMENT ON COLUMN qwen_stat_requests."per_token_p95_ms" IS 'the same: 95 of 100 have less';
COMMENT ON COLUMN qwen_stat_requests."per_token_p99_ms" IS 'the same: 99 of 100 have less';
COMMENT ON COLUMN qwen_stat_requests."total_p50_ms" IS 'the whole time: half of all answers have less';
COMMENT ON COLUMN qwen_stat_requests."total_p95_ms" IS 'the same: 95 of 100 have less';
COMMENT ON COLUMN qwen_stat_requests."total_p99_ms" IS 'the same: 99 of 100 have less';
COMMENT ON COLUMN qwen_stat_requests."errors_by_class" IS 'how many of each class of SQLSTATE, {"22": 1}';
COMMENT ON COLUMN qwen_stat_requests."since" IS 'when the row was begun';
COMMENT ON COLUMN qwen_stat_requests."constrained_tokens" IS 'of requests that ended well: tokens for which a form of the answer said what may come';
COMMENT ON COLUMN qwen_stat_requests."forced_tokens" IS 'those of them of which it left no choice';
COMMENT ON COLUMN qwen_stat_requests."mask_ms" IS 'time to find what may come';
COMMENT ON COLUMN qwen_stat_roles."calls" IS 'requests that ended';
COMMENT ON COLUMN qwen_stat_roles."errors" IS 'those of them that failed';
COMMENT ON COLUMN qwen_stat_roles."cancelled" IS 'those that their sessions gave up';
COMMENT ON COLUMN qwen_stat_roles."rejected" IS 'those that a limit refused';
COMMENT ON COLUMN qwen_stat_roles."prompt_tokens" IS 'of their prompts';
COMMENT ON COLUMN qwen_stat_roles."cached_tokens" IS 'those of them that came from the prefix cache';
COMMENT ON COLUMN qwen_stat_roles."completion_tokens" IS 'sampled';
COMMENT ON COLUMN qwen_stat_roles."total_ms" IS 'sum, from the queue to the end';
COMMENT ON COLUMN qwen_stat_roles."queue_ms" IS 'sum, from the queue to the first step';
COMMENT ON COLUMN qwen_stat_roles."ttft_p50_ms" IS 'time to the first token, from the queue on: half of all answers have less';
COMMENT ON COLUMN qwen_stat_roles."ttft_p95_ms" IS 'the same: 95 of 100 have less';
COMMENT ON COLUMN qwen_stat_roles."ttft_p99_ms" IS 'the same: 99 of 100 have less';
COMMENT ON COLUMN qwen_stat_roles."per_token_p50_ms" IS 'time a token after the first: half of all answers have less';
COMMENT ON COLUMN qwen_stat_roles."per_token_p95_ms" IS 'the same: 95 of 100 have less';
COMMENT ON COLUMN qwen_stat_roles."per_token_p99_ms" IS 'the same: 99 of 100 have less';
COMMENT ON COLUMN qwen_stat_roles."total_p50_ms" IS 'the whole time: half of all answers have less';
COMMENT ON COLUMN qwen_stat_roles."total_p95_ms" IS 'the same: 95 of 100 have less';
COMMENT ON COLUMN qwen_stat_roles."total_p99_ms" IS 'the same: 99 of 100 have less';
COMMENT ON COLUMN qwen_stat_roles."errors_by_class" IS 'how many of each class of SQLSTATE, {"22": 1}';
COMMENT ON COLUMN qwen_stat_roles."since" IS 'when the row was begun';
COMMENT ON COLUMN qwen_stat_roles."constrained_tokens" IS 'of requests that ended well: tokens for which a form of the answer said what may come';
COMMENT ON COLUMN qwen_stat_roles."forced_tokens" IS 'those of them of which it left no choice';
COMMENT ON COLUMN qwen_stat_roles."mask_ms" IS 'time to find what may come';
COMMENT ON COLUMN qwen_stat_roles."role" IS 'who asked; NULL: what there was no row for';
COMMENT ON COLUMN qwen_stat_roles."rejected_by_limit" IS 'how many each limit refused, {"tokens_per_day": 3}';
COMMENT ON COLUMN qwen_progress."kind" IS 'query, index, job or load';
COMMENT ON COLUMN qwen_progress."id" IS 'query and index: pid of the session; job: its id; load: NULL';
COMMENT ON COLUMN qwen_progress."role" IS 'who asks';
COMMENT ON COLUMN qwen_progress."function" IS 'SQL function that asks; of a load the model';
COMMENT ON COLUMN qwen_progress."rows_done" IS 'rows whose answers have come';
COMMENT ON COLUMN qwen_progress."rows_total" IS 'how many there will be, as far as one can know; else NULL';
COMMENT ON COLUMN qwen_progress."percent" IS 'of the work, with what is computed of rows under way';
COMMENT ON COLUMN qwen_progress."tokens_per_s" IS 'generated, or read where none are generated, since it began';
COMMENT ON COLUMN qwen_progress."seconds_left" IS 'if it goes on as until now; NULL until that means something';
COMMENT ON COLUMN qwen_jobs."id" IS 'for qwen_wait, qwen_cancel, qwen_retry and qwen_forget';
COMMENT ON COLUMN qwen_jobs."state" IS 'queued, running, done, done with failures, failed, cancelled, or no worker: there is work, and none can run';
COMMENT ON COLUMN qwen_jobs."total" IS 'rows, as they were counted when it was submitted';
COMMENT ON COLUMN qwen_jobs."done" IS 'rows that are written';
COMMENT ON COLUMN qwen_jobs."failed" IS 'rows that failed for good: qwen_dead_letters';
COMMENT ON COLUMN qwen_jobs."tokens_per_s" IS 'generated, or read where none are generated, while it worked';
COMMENT ON COLUMN qwen_jobs."eta" IS 'time left, if it goes on as until now';
COMMENT ON COLUMN qwen_jobs."owner" IS 'whose it is, and whose privileges it has';
COMMENT ON COLUMN qwen_jobs."error" IS 'why it failed, or makes no progress';
COMMENT ON COLUMN qwen_jobs."function" IS 'what is asked of the model, without qwen_';
COMMENT ON COLUMN qwen_jobs."source" IS 'table or query that rows come from';
COMMENT ON COLUMN qwen_jobs."target" IS 'table that is written';
COMMENT ON COLUMN qwen_jobs."target_column" IS 'column that answers go into';
COMMENT ON COLUMN qwen_jobs."prompt" IS 'column or template of the input';
COMMENT ON COLUMN qwen_jobs."priority" IS 'of its requests';
COMMENT ON COLUMN qwen_jobs."prompt_tokens" IS 'of all prompts';
COMMENT ON COLUMN qwen_jobs."completion_tokens" IS 'sampled';
COMMENT ON COLUMN qwen_jobs."submitted" IS 'when';
COMMENT ON COLUMN qwen_jobs."started" IS 'when a worker began with it';
COMMENT ON COLUMN qwen_jobs."ended" IS 'when it was done';
COMMENT ON COLUMN qwen_jobs."worker_pid" IS 'of the worker, while it runs';
COMMENT ON COLUMN qwen_jobs."truncated" IS 'answers that max_tokens or the context cut off';
COMMENT ON COLUMN qwen_jobs."target_columns" IS 'the columns that answers go into';
COMMENT ON COLUMN qwen_job_list."id" IS 'for qwen_wait, qwen_cancel, qwen_retry and qwen_forget';
COMMENT ON COLUMN qwen_job_list."state" IS 'queued, running, done, done with failures, failed, cancelled, or no worker: there is work, and none can run';
COMMENT ON COLUMN qwen_job_list."done" IS 'rows that are written';
COMMENT ON COLUMN qwen_job_list."failed" IS 'rows that failed for good: qwen_dead_letters';
COMMENT ON COLUMN qwen_job_list."total" IS 'rows, as they were counted when it was submitted';
COMMENT ON COLUMN qwen_job_list."eta" IS 'time left, if it goes on as until now';
COMMENT ON COLUMN qwen_job_list."target" IS 'table that is written';
COMMENT ON COLUMN qwen_job_list."error" IS 'why it failed, or makes no progress';
COMMENT ON COLUMN qwen_dead_letters."id" IS 'of the row that failed';
COMMENT ON COLUMN qwen_dead_letters."job" IS 'its job; NULL: it is a trigger''s';
COMMENT ON COLUMN qwen_dead_letters."relation" IS 'table that would have been written';
COMMENT ON COLUMN qwen_dead_letters."trigger" IS 'that had queued it; NULL: it is a job''s';
COMMENT ON COLUMN qwen_dead_letters."key" IS 'values of the row''s key, as text';
COMMENT ON COLUMN qwen_dead_letters."attempts" IS 'how often it was tried';
COMMENT ON COLUMN qwen_dead_letters."sqlstate" IS 'of the last error';
COMMENT ON COLUMN qwen_dead_letters."error" IS 'the last error';
COMMENT ON COLUMN qwen_dead_letters."queued" IS 'when';
COMMENT ON COLUMN qwen_dead_letters."failed_at" IS 'when it failed last';
COMMENT ON COLUMN qwen_trigger_backlog."relation" IS 'table with the trigger';
COMMENT ON COLUMN qwen_trigger_backlog."trigger" IS 'that queued rows';
COMMENT ON COLUMN qwen_trigger_backlog."waiting" IS 'rows that are not filled in yet';
COMMENT ON COLUMN qwen_trigger_backlog."retrying" IS 'those of them that failed before, and are tried again';
COMMENT ON COLUMN qwen_trigger_backlog."dead" IS 'rows that failed for good: qwen_dead_letters';
COMMENT ON COLUMN qwen_trigger_backlog."oldest" IS 'age of the one that has waited longest';
COMMENT ON COLUMN qwen_trigger_backlog."last_error" IS 'of the row that failed last';
COMMENT ON COLUMN qwen_trigger_backlog."worker" IS 'what the background worker does, or why there is none';
COMMENT ON COLUMN qwen_limits."role" IS 'whose limits these are';
COMMENT ON COLUMN qwen_limits."requests_per_minute" IS 'most requests in 60 seconds';
COMMENT ON COLUMN qwen_limits."tokens_per_minute" IS 'most tokens of prompts and answers in 60 seconds';
COMMENT ON COLUMN qwen_limits."tokens_per_day" IS 'most tokens in 24 hours';
COMMENT ON COLUMN qwen_limits."max_concurrent" IS 'most requests at once';
COMMENT ON COLUMN qwen_limits."max_tokens" IS 'most tokens of an answer';
COMMENT ON COLUMN qwen_limits."priority" IS 'of its requests, when it says nothing else';
COMMENT ON COLUMN qwen_allowed_models."role" IS 'whose list it is';
COMMENT ON COLUMN qwen_allowed_models."models" IS 'names of models that it may ask, and no others';
COMMENT ON COLUMN qwen_usage."role" IS 'who';
COMMENT ON COLUMN qwen_usage."limit_name" IS 'requests_per_minute, tokens_per_minute, tokens_per_day or max_concurrent';
COMMENT ON COLUMN qwen_usage."used" IS 'in the window that ends now';
COMMENT ON COLUMN qwen_usage."reserved" IS 'of that, for requests under way';
COMMENT ON COLUMN qwen_usage."allowed" IS 'the limit; NULL: none';
COMMENT ON COLUMN qwen_usage."remaining" IS 'what is left of it';
COMMENT ON COLUMN qwen_usage."rejected" IS 'requests that it refused';

-- ---- the extension's own tables ---------------------------------------------------------------------------------------
-- Users see the tables through views. What stands in them is believed: nobody but the extension's functions writes them, whatever privileges
-- a role has. Jobs and queued rows are this server's own ('local'), limits and lists of models come by replication too ('shared').
ALTER TABLE qwen_job_table ENABLE ROW LEVEL SECURITY;
CREATE TRIGGER qwen_guard BEFORE INSERT OR UPDATE OR DELETE ON qwen_job_table FOR EACH ROW EXECUTE FUNCTION _qwen_guard_rows('local');
CREATE TRIGGER qwen_guard_truncate BEFORE TRUNCATE ON qwen_job_table FOR EACH STATEMENT EXECUTE FUNCTION _qwen_guard_rows('local');
ALTER TABLE qwen_job_table ENABLE ALWAYS TRIGGER qwen_guard;
ALTER TABLE qwen_job_table ENABLE ALWAYS TRIGGER qwen_guard_truncate;

ALTER TABLE qwen_job_row ENABLE ROW LEVEL SECURITY;
CREATE TRIGGER qwen_guard BEFORE INSERT OR UPDATE OR DELETE ON qwen_job_row FOR EACH ROW EXECUTE FUNCTION _qwen_guard_rows('local');
CREATE TRIGGER qwen_guard_truncate BEFORE TRUNCATE ON qwen_job_row FOR EACH STATEMENT EXECUTE FUNCTION _qwen_guard_rows('local');
ALTER TABLE qwen_job_row ENABLE ALWAYS TRIGGER qwen_guard;
ALTER TABLE qwen_job_row ENABLE ALWAYS TRIGGER qwen_guard_truncate;

CREATE TRIGGER qwen_guard BEFORE INSERT OR UPDATE OR DELETE ON qwen_role_limit FOR EACH ROW EXECUTE FUNCTION _qwen_guard_rows('shared');
CREATE TRIGGER qwen_guard_truncate BEFORE TRUNCATE ON qwen_role_limit FOR EACH STATEMENT EXECUTE FUNCTION _qwen_guard_rows('shared');
ALTER TABLE qwen_role_limit ENABLE ALWAYS TRIGGER qwen_guard;
ALTER TABLE qwen_role_limit ENABLE ALWAYS TRIGGER qwen_guard_truncate;

CREATE TRIGGER qwen_guard BEFORE INSERT OR UPDATE OR DELETE ON qwen_role_models FOR EACH ROW EXECUTE FUNCTION _qwen_guard_rows('shared');
CREATE TRIGGER qwen_guard_truncate BEFORE TRUNCATE ON qwen_role_models FOR EACH STATEMENT EXECUTE FUNCTION _qwen_guard_rows('shared');
ALTER TABLE qwen_role_models ENABLE ALWAYS TRIGGER qwen_guard;
ALTER TABLE qwen_role_models ENABLE ALWAYS TRIGGER qwen_guard_truncate;

-- ---- privileges -----------------------------------------------------------------------------------------------------
CREATE FUNCTION qwen_privilege_of(function_name name)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$
	SELECT CASE
		WHEN function_name IN ('qwen_cosine', 'qwen_type_value', '_qwen_job_workers', '_qwen_job_unserved', '_qwen_models_status',
			'_qwen_adapters_status', '_qwen_engine_status', '_qwen_engine_guesses', '_qwen_engine_forms', '_qwen_engine_memory',
			'qwen_health', '_qwen_activity', '_qwen_statement_progress', '_qwen_load_progress', '_qwen_request_totals',
			'_qwen_role_totals', '_qwen_may_see_role', '_qwen_usage_rows')
			THEN 'everybody'
		WHEN function_name IN ('qwen_chat', 'qwen_chat_full', 'qwen_chat_stream', 'qwen_generate', 'qwen_fill_in',
			'qwen_generate_batch', 'qwen_summarize', 'qwen_translate', 'qwen_extract', 'qwen_classify', 'qwen_classify_scores',
			'qwen_classify_multi', 'qwen_classify_multi_scores', 'qwen_score', 'qwen_entities', 'qwen_redact', 'qwen_moderate',
			'qwen_filter', 'qwen_sentiment', '_qwen_agg_add', '_qwen_summarize_agg_final', '_qwen_chat_agg_final', 'qwen_summarize_agg',
			'qwen_chat_agg', 'qwen_embed', 'qwen_embed_batch', 'qwen_similarity', 'qwen_similarity_to', 'qwen_rerank',
			'qwen_rerank_score', 'qwen_chunk', 'qwen_tokenize', 'qwen_detokenize', 'qwen_count_tokens', 'qwen_check_format',
			'qwen_type_schema', 'qwen_render_chat', 'qwen_logprobs', 'qwen_summarize_trigger', 'qwen_extract_trigger',
			'qwen_embed_trigger', 'qwen_enqueue_trigger', 'qwen_enqueue_embed_trigger', 'qwen_submit', 'qwen_cancel', 'qwen_wait',
			'qwen_retry', 'qwen_retry_table', 'qwen_enqueue', 'qwen_forget', 'qwen_forget_table')
			THEN 'use'
		WHEN function_name IN ('qwen_monitor')
			THEN 'monitor'
		WHEN function_name IN ('qwen_load_model', 'qwen_unload_model', 'qwen_check_model', 'qwen_load_adapter',
			'qwen_unload_adapter', 'qwen_stat_reset', 'qwen_set_limit', 'qwen_clear_limit', 'qwen_allow_models')
			THEN 'admin'
		WHEN function_name IN ('_qwen_planner_support', '_qwen_guard_rows', '_qwen_limits_changed', 'qwen_privilege_of',
			'qwen_grant', 'qwen_revoke')
			THEN 'owner'
	END
$$;
COMMENT ON FUNCTION qwen_privilege_of(name) IS 'which of use, monitor, admin a function of qwen_pg belongs to; everybody: PUBLIC may call it; owner: nobody else; NULL: it is none';

CREATE FUNCTION qwen_grant(role regrole, privilege text)
RETURNS void AS 'MODULE_PATHNAME', 'qwen_grant' LANGUAGE C VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION qwen_grant(regrole, text) IS 'let a role use the models, monitor all roles or admin(istrate) models and limits, with USAGE on the extension''s schema';

CREATE FUNCTION qwen_grant(role text, privilege text)
RETURNS void AS 'MODULE_PATHNAME', 'qwen_grant_name' LANGUAGE C VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION qwen_grant(text, text) IS 'the same by name; ''public'' is everybody';

CREATE FUNCTION qwen_revoke(role regrole, privilege text)
RETURNS void AS 'MODULE_PATHNAME', 'qwen_revoke' LANGUAGE C VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION qwen_revoke(regrole, text) IS 'take back what qwen_grant gave';

CREATE FUNCTION qwen_revoke(role text, privilege text)
RETURNS void AS 'MODULE_PATHNAME', 'qwen_revoke_name' LANGUAGE C VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION qwen_revoke(text, text) IS 'the same by name; ''public'' is everybody';

-- What default privileges gave is taken back, what they took is given; this goes over everything that this script has made, and ends with it
CREATE FUNCTION qwen_settle_privileges(kept oid[])
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
	extension pg_extension;
	given record;
	name text;
	is_view boolean;
BEGIN
	SELECT * INTO extension FROM pg_extension WHERE extname = 'qwen_pg';
	FOR given IN
		WITH member AS (SELECT d.classid, d.objid FROM pg_depend d WHERE d.refclassid = 'pg_extension'::regclass AND d.refobjid = extension.oid AND d.deptype = 'e'),
		-- with the sequences of identity columns, which belong to their tables
		relation AS (SELECT m.objid FROM member m WHERE m.classid = 'pg_class'::regclass UNION
			SELECT i.objid FROM member m JOIN pg_depend i ON i.refclassid = m.classid AND i.refobjid = m.objid AND i.deptype = 'i' AND i.classid = 'pg_class'::regclass
			WHERE m.classid = 'pg_class'::regclass)
		SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind, c.oid::regclass::text AS object, a.grantee
		FROM relation r JOIN pg_class c ON c.oid = r.objid, LATERAL aclexplode(c.relacl) a
		WHERE c.relkind IN ('r', 'v', 'S') AND c.oid <> ALL (kept) AND a.grantee <> c.relowner
		UNION
		SELECT 'ROUTINE', p.oid::regprocedure::text, a.grantee
		FROM member m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid, LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
		WHERE p.oid <> ALL (kept) AND a.grantee <> p.proowner
		UNION
		SELECT 'TYPE', t.oid::regtype::text, a.grantee
		FROM member m JOIN pg_type t ON m.classid = 'pg_type'::regclass AND t.oid = m.objid, LATERAL aclexplode(coalesce(t.typacl, acldefault('T', t.typowner))) a
		WHERE t.oid <> ALL (kept) AND t.typrelid <> ALL (SELECT v.objid FROM member v WHERE v.classid = 'pg_class'::regclass) AND a.grantee <> t.typowner
			-- arrays, members from PostgreSQL 17 on, have the privileges of their elements
			AND NOT EXISTS (SELECT FROM pg_type element WHERE element.typarray = t.oid)
	LOOP
		EXECUTE format('REVOKE ALL ON %s %s FROM %s CASCADE', given.kind, given.object,
			CASE WHEN given.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(given.grantee)) END);
	END LOOP;
	FOR name IN EXECUTE format('SELECT p.oid::regprocedure::text FROM pg_proc p
		JOIN pg_depend d ON d.classid = ''pg_proc''::regclass AND d.objid = p.oid AND d.refclassid = ''pg_extension''::regclass AND d.refobjid = $1 AND d.deptype = ''e''
		WHERE %s.qwen_privilege_of(p.proname) = ''everybody'' ORDER BY p.oid', extension.extnamespace::regnamespace) USING extension.oid
	LOOP
		EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO PUBLIC', name);
	END LOOP;
	FOR name, is_view IN SELECT c.oid::regclass::text, c.relkind = 'v' FROM pg_class c
		JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.refclassid = 'pg_extension'::regclass AND d.refobjid = extension.oid AND d.deptype = 'e'
		WHERE c.relkind IN ('r', 'v') ORDER BY c.oid
	LOOP
		EXECUTE format(CASE WHEN is_view THEN 'GRANT SELECT ON TABLE %s TO PUBLIC' ELSE 'REVOKE ALL ON TABLE %s FROM PUBLIC' END, name);
	END LOOP;
	EXECUTE format('GRANT USAGE ON TYPE %s.qwen_response TO PUBLIC', extension.extnamespace::regnamespace);
END
$$;
-- with a type: a literal without one would prefer a function of another's with an argument of type text
SELECT qwen_settle_privileges('{}'::pg_catalog.oid[]);
DROP FUNCTION qwen_settle_privileges(oid[]);
