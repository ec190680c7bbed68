/*
 * qwen_pg--0.1.0--0.2.0.sql - from version 0.1.0 to the catalogs that a fresh 0.2.0 has; users' views, jobs and data stay.
 *
 * A function that has got arguments keeps its row in pg_proc, so everything of users' that depends on it and all grants on it hold: a stored
 * expression has the arguments that were given, and the defaults of the others come from pg_proc when it is planned. So the new form is made
 * beside the old one, exactly as in the script of the new version, and qwen_take_over puts it into the old one's row. What cannot stand beside
 * the old one, because the types of its arguments are the same, is made as NAME__new.
 */

-- complain if script is sourced in psql, rather than via ALTER EXTENSION
\echo Use "ALTER EXTENSION qwen_pg UPDATE TO '0.2.0'" to load this file. \quit

-- dropped at the end
CREATE FUNCTION qwen_take_over()
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
	pair record;
	made pg_proc;
	comment text;
BEGIN
	-- of one name and one C symbol, the one with more arguments; or of any symbol, what is called __new
	FOR pair IN
		SELECT o.oid AS old, n.oid AS new FROM pg_proc o
			JOIN pg_proc n ON n.pronamespace = o.pronamespace AND
				((n.proname = o.proname AND n.prosrc = o.prosrc AND n.pronargs > o.pronargs) OR
				(n.proname = o.proname || '__new' AND n.proargtypes = o.proargtypes))
			JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = o.oid AND d.deptype = 'e'
			JOIN pg_depend e ON e.classid = 'pg_proc'::regclass AND e.objid = n.oid AND e.deptype = 'e' AND e.refobjid = d.refobjid
			JOIN pg_extension x ON x.oid = d.refobjid AND d.refclassid = 'pg_extension'::regclass AND x.extname = 'qwen_pg'
	LOOP
		SELECT * INTO made FROM pg_proc WHERE oid = pair.new;
		comment := obj_description(pair.new, 'pg_proc');
		EXECUTE format('DROP FUNCTION %s', pair.new::regprocedure);
		UPDATE pg_proc SET prorettype = made.prorettype, procost = made.procost, prorows = made.prorows, provariadic = made.provariadic,
			prosupport = made.prosupport, prosecdef = made.prosecdef, proleakproof = made.proleakproof, proisstrict = made.proisstrict,
			proretset = made.proretset, provolatile = made.provolatile, proparallel = made.proparallel, pronargs = made.pronargs,
			pronargdefaults = made.pronargdefaults, proargtypes = made.proargtypes, proallargtypes = made.proallargtypes,
			proargmodes = made.proargmodes, proargnames = made.proargnames, proargdefaults = made.proargdefaults, prosrc = made.prosrc,
			probin = made.probin, proconfig = made.proconfig
		WHERE oid = pair.old;
		EXECUTE format('COMMENT ON FUNCTION %s IS %L', pair.old::regprocedure, comment);
	END LOOP;
END
$$;

-- ---- functions that have got arguments, as in the script of 0.2.0 -------------------------------------------------------
CREATE FUNCTION qwen_chat(prompt text, system text DEFAULT NULL,
	model text DEFAULT NULL, max_tokens int DEFAULT NULL, temperature float8 DEFAULT NULL, top_p float8 DEFAULT NULL,
	min_p float8 DEFAULT NULL, top_k int DEFAULT NULL, repetition_penalty float8 DEFAULT NULL,
	presence_penalty float8 DEFAULT NULL, frequency_penalty float8 DEFAULT NULL, seed bigint DEFAULT NULL,
	stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL, thinking_budget int DEFAULT NULL,
	response_format json DEFAULT NULL, adapter text DEFAULT NULL, options json DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME', 'qwen_chat_text' LANGUAGE C VOLATILE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION qwen_chat(text, text, text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, json) IS 'the answer to a prompt or a conversation';

CREATE FUNCTION qwen_chat(messages json, tools json DEFAULT NULL,
	model text DEFAULT NULL, max_tokens int DEFAULT NULL, temperature float8 DEFAULT NULL, top_p float8 DEFAULT NULL,
	min_p float8 DEFAULT NULL, top_k int DEFAULT NULL, repetition_penalty float8 DEFAULT NULL,
	presence_penalty float8 DEFAULT NULL, frequency_penalty float8 DEFAULT NULL, seed bigint DEFAULT NULL,
	stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL, thinking_budget int DEFAULT NULL,
	response_format json DEFAULT NULL, adapter text DEFAULT NULL, options json DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME', 'qwen_chat_json' LANGUAGE C VOLATILE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION qwen_chat(json, json, text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, json) IS 'the answer to a prompt or a conversation';

CREATE FUNCTION qwen_chat(messages_jsonb jsonb, tools_jsonb jsonb DEFAULT NULL,
	model text DEFAULT NULL, max_tokens int DEFAULT NULL, temperature float8 DEFAULT NULL, top_p float8 DEFAULT NULL,
	min_p float8 DEFAULT NULL, top_k int DEFAULT NULL, repetition_penalty float8 DEFAULT NULL,
	presence_penalty float8 DEFAULT NULL, frequency_penalty float8 DEFAULT NULL, seed bigint DEFAULT NULL,
	stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL, thinking_budget int DEFAULT NULL,
	response_format json DEFAULT NULL, adapter text DEFAULT NULL, options json DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME', 'qwen_chat_jsonb' LANGUAGE C VOLATILE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION qwen_chat(jsonb, jsonb, text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, json) IS 'the answer to a prompt or a conversation';

CREATE FUNCTION qwen_chat_full(prompt text, system text DEFAULT NULL,
	model text DEFAULT NULL, max_tokens int DEFAULT NULL, temperature float8 DEFAULT NULL, top_p float8 DEFAULT NULL,
	min_p float8 DEFAULT NULL, top_k int DEFAULT NULL, repetition_penalty float8 DEFAULT NULL,
	presence_penalty float8 DEFAULT NULL, frequency_penalty float8 DEFAULT NULL, seed bigint DEFAULT NULL,
	stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL, thinking_budget int DEFAULT NULL,
	response_format json DEFAULT NULL, adapter text DEFAULT NULL, options json DEFAULT NULL)
RETURNS qwen_response AS 'MODULE_PATHNAME', 'qwen_chat_full_text' LANGUAGE C VOLATILE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION qwen_chat_full(text, text, text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, json) IS 'the answer with its thinking, tool calls, token counts and times';

CREATE FUNCTION qwen_chat_full(messages json, tools json DEFAULT NULL,
	model text DEFAULT NULL, max_tokens int DEFAULT NULL, temperature float8 DEFAULT NULL, top_p float8 DEFAULT NULL,
	min_p float8 DEFAULT NULL, top_k int DEFAULT NULL, repetition_penalty float8 DEFAULT NULL,
	presence_penalty float8 DEFAULT NULL, frequency_penalty float8 DEFAULT NULL, seed bigint DEFAULT NULL,
	stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL, thinking_budget int DEFAULT NULL,
	response_format json DEFAULT NULL, adapter text DEFAULT NULL, options json DEFAULT NULL)
RETURNS qwen_response AS 'MODULE_PATHNAME', 'qwen_chat_full_json' LANGUAGE C VOLATILE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION qwen_chat_full(json, json, text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, json) IS 'the answer with its thinking, tool calls, token counts and times';

CREATE FUNCTION qwen_chat_full(messages_jsonb jsonb, tools_jsonb jsonb DEFAULT NULL,
	model text DEFAULT NULL, max_tokens int DEFAULT NULL, temperature float8 DEFAULT NULL, top_p float8 DEFAULT NULL,
	min_p float8 DEFAULT NULL, top_k int DEFAULT NULL, repetition_penalty float8 DEFAULT NULL,
	presence_penalty float8 DEFAULT NULL, frequency_penalty float8 DEFAULT NULL, seed bigint DEFAULT NULL,
	stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL, thinking_budget int DEFAULT NULL,
	response_format json DEFAULT NULL, adapter text DEFAULT NULL, options json DEFAULT NULL)
RETURNS qwen_response AS 'MODULE_PATHNAME', 'qwen_chat_full_jsonb' LANGUAGE C VOLATILE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION qwen_chat_full(jsonb, jsonb, text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, json) IS 'the answer with its thinking, tool calls, token counts and times';

CREATE FUNCTION qwen_chat_stream(prompt text, system text DEFAULT NULL,
	model text DEFAULT NULL, max_tokens int DEFAULT NULL, temperature float8 DEFAULT NULL, top_p float8 DEFAULT NULL,
	min_p float8 DEFAULT NULL, top_k int DEFAULT NULL, repetition_penalty float8 DEFAULT NULL,
	presence_penalty float8 DEFAULT NULL, frequency_penalty float8 DEFAULT NULL, seed bigint DEFAULT NULL,
	stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL, thinking_budget int DEFAULT NULL,
	response_format json DEFAULT NULL, adapter text DEFAULT NULL, options json DEFAULT NULL)
RETURNS SETOF text AS 'MODULE_PATHNAME', 'qwen_chat_stream_text' LANGUAGE C VOLATILE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION qwen_chat_stream(text, text, text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, json) IS 'the answer in pieces, as they are sampled';

CREATE FUNCTION qwen_chat_stream(messages json, tools json DEFAULT NULL,
	model text DEFAULT NULL, max_tokens int DEFAULT NULL, temperature float8 DEFAULT NULL, top_p float8 DEFAULT NULL,
	min_p float8 DEFAULT NULL, top_k int DEFAULT NULL, repetition_penalty float8 DEFAULT NULL,
	presence_penalty float8 DEFAULT NULL, frequency_penalty float8 DEFAULT NULL, seed bigint DEFAULT NULL,
	stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL, thinking_budget int DEFAULT NULL,
	response_format json DEFAULT NULL, adapter text DEFAULT NULL, options json DEFAULT NULL)
RETURNS SETOF text AS 'MODULE_PATHNAME', 'qwen_chat_stream_json' LANGUAGE C VOLATILE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION qwen_chat_stream(json, json, text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, json) IS 'the answer in pieces, as they are sampled';

CREATE FUNCTION qwen_chat_stream(messages_jsonb jsonb, tools_jsonb jsonb DEFAULT NULL,
	model text DEFAULT NULL, max_tokens int DEFAULT NULL, temperature float8 DEFAULT NULL, top_p float8 DEFAULT NULL,
	min_p float8 DEFAULT NULL, top_k int DEFAULT NULL, repetition_penalty float8 DEFAULT NULL,
	presence_penalty float8 DEFAULT NULL, frequency_penalty float8 DEFAULT NULL, seed bigint DEFAULT NULL,
	stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL, thinking_budget int DEFAULT NULL,
	response_format json DEFAULT NULL, adapter text DEFAULT NULL, options json DEFAULT NULL)
RETURNS SETOF text AS 'MODULE_PATHNAME', 'qwen_chat_stream_jsonb' LANGUAGE C VOLATILE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION qwen_chat_stream(jsonb, jsonb, text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, json) IS 'the answer in pieces, as they are sampled';

CREATE FUNCTION qwen_generate(prompt text,
	model text DEFAULT NULL, max_tokens int DEFAULT NULL, temperature float8 DEFAULT NULL, top_p float8 DEFAULT NULL,
	min_p float8 DEFAULT NULL, top_k int DEFAULT NULL, repetition_penalty float8 DEFAULT NULL,
	presence_penalty float8 DEFAULT NULL, frequency_penalty float8 DEFAULT NULL, seed bigint DEFAULT NULL,
	stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL, thinking_budget int DEFAULT NULL,
	response_format json DEFAULT NULL, adapter text DEFAULT NULL, options json DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME', 'qwen_generate' LANGUAGE C VOLATILE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION qwen_generate(text, text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, json) IS 'what the model writes after the prompt, without a chat template';

CREATE FUNCTION qwen_generate_batch(prompts text[], system text DEFAULT NULL,
	model text DEFAULT NULL, max_tokens int DEFAULT NULL, temperature float8 DEFAULT NULL, top_p float8 DEFAULT NULL,
	min_p float8 DEFAULT NULL, top_k int DEFAULT NULL, repetition_penalty float8 DEFAULT NULL,
	presence_penalty float8 DEFAULT NULL, frequency_penalty float8 DEFAULT NULL, seed bigint DEFAULT NULL,
	stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL, thinking_budget int DEFAULT NULL,
	response_format json DEFAULT NULL, adapter text DEFAULT NULL, options json DEFAULT NULL)
RETURNS TABLE (ordinality bigint, response text, error text)
AS 'MODULE_PATHNAME', 'qwen_generate_batch' LANGUAGE C VOLATILE PARALLEL SAFE COST 10000 ROWS 32;
COMMENT ON FUNCTION qwen_generate_batch(text[], text, text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, json) IS 'the answer to each prompt, many at a time; an element that fails has its error in its row';

CREATE FUNCTION qwen_summarize(input text, max_words int DEFAULT 60,
	model text DEFAULT NULL, max_tokens int DEFAULT NULL, temperature float8 DEFAULT NULL, top_p float8 DEFAULT NULL,
	min_p float8 DEFAULT NULL, top_k int DEFAULT NULL, repetition_penalty float8 DEFAULT NULL,
	presence_penalty float8 DEFAULT NULL, frequency_penalty float8 DEFAULT NULL, seed bigint DEFAULT NULL,
	stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL, thinking_budget int DEFAULT NULL,
	response_format json DEFAULT NULL, adapter text DEFAULT NULL, options json DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME', 'qwen_summarize' LANGUAGE C VOLATILE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION qwen_summarize(text, int, text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, json) IS 'a summary of the input in at most about max_words words';

CREATE FUNCTION qwen_translate(input text, target_language text,
	model text DEFAULT NULL, max_tokens int DEFAULT NULL, temperature float8 DEFAULT NULL, top_p float8 DEFAULT NULL,
	min_p float8 DEFAULT NULL, top_k int DEFAULT NULL, repetition_penalty float8 DEFAULT NULL,
	presence_penalty float8 DEFAULT NULL, frequency_penalty float8 DEFAULT NULL, seed bigint DEFAULT NULL,
	stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL, thinking_budget int DEFAULT NULL,
	response_format json DEFAULT NULL, adapter text DEFAULT NULL, options json DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME', 'qwen_translate' LANGUAGE C VOLATILE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION qwen_translate(text, text, text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, json) IS 'the input in another language';

CREATE FUNCTION qwen_classify(input text, labels text[],
	model text DEFAULT NULL, max_tokens int DEFAULT NULL, temperature float8 DEFAULT NULL, top_p float8 DEFAULT NULL,
	min_p float8 DEFAULT NULL, top_k int DEFAULT NULL, repetition_penalty float8 DEFAULT NULL,
	presence_penalty float8 DEFAULT NULL, frequency_penalty float8 DEFAULT NULL, seed bigint DEFAULT NULL,
	stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL, thinking_budget int DEFAULT NULL,
	response_format json DEFAULT NULL, adapter text DEFAULT NULL, options json DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME', 'qwen_classify' LANGUAGE C VOLATILE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION qwen_classify(text, text[], text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, json) IS 'the label that fits the input best; always one of those given';

CREATE FUNCTION qwen_classify_scores(input text, labels text[],
	model text DEFAULT NULL, max_tokens int DEFAULT NULL, temperature float8 DEFAULT NULL, top_p float8 DEFAULT NULL,
	min_p float8 DEFAULT NULL, top_k int DEFAULT NULL, repetition_penalty float8 DEFAULT NULL,
	presence_penalty float8 DEFAULT NULL, frequency_penalty float8 DEFAULT NULL, seed bigint DEFAULT NULL,
	stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL, thinking_budget int DEFAULT NULL,
	response_format json DEFAULT NULL, adapter text DEFAULT NULL, options json DEFAULT NULL)
RETURNS TABLE (label text, probability float8) AS 'MODULE_PATHNAME', 'qwen_classify_scores' LANGUAGE C STABLE ROWS 10 PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION qwen_classify_scores(text, text[], text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, json) IS 'the probability of each label; they add up to 1';

CREATE FUNCTION qwen_filter(input text, condition text,
	model text DEFAULT NULL, max_tokens int DEFAULT NULL, temperature float8 DEFAULT NULL, top_p float8 DEFAULT NULL,
	min_p float8 DEFAULT NULL, top_k int DEFAULT NULL, repetition_penalty float8 DEFAULT NULL,
	presence_penalty float8 DEFAULT NULL, frequency_penalty float8 DEFAULT NULL, seed bigint DEFAULT NULL,
	stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL, thinking_budget int DEFAULT NULL,
	response_format json DEFAULT NULL, adapter text DEFAULT NULL, options json DEFAULT NULL)
RETURNS boolean AS 'MODULE_PATHNAME', 'qwen_filter' LANGUAGE C VOLATILE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION qwen_filter(text, text, text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, json) IS 'whether the condition holds for the input';

CREATE FUNCTION qwen_embed(input text, model text DEFAULT NULL, instruction text DEFAULT NULL, dimensions int DEFAULT NULL, options json DEFAULT NULL)
RETURNS real[] AS 'MODULE_PATHNAME', 'qwen_embed' LANGUAGE C STABLE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION qwen_embed(text, text, text, int, json) IS 'the embedding of the input, of unit length';

CREATE FUNCTION qwen_embed_batch(inputs text[], model text DEFAULT NULL, instruction text DEFAULT NULL, dimensions int DEFAULT NULL, options json DEFAULT NULL)
RETURNS TABLE (ordinality bigint, embedding real[])
AS 'MODULE_PATHNAME', 'qwen_embed_batch' LANGUAGE C STABLE PARALLEL SAFE COST 10000 ROWS 32;
COMMENT ON FUNCTION qwen_embed_batch(text[], text, text, int, json) IS 'the embedding of each input, many at a time; an element that fails is NULL, and a WARNING counts them';

CREATE FUNCTION qwen_similarity(a text, b text, model text DEFAULT NULL, options json DEFAULT NULL)
RETURNS float8 AS 'MODULE_PATHNAME', 'qwen_similarity' LANGUAGE C STABLE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION qwen_similarity(text, text, text, json) IS 'the cosine of the embeddings of two texts';

CREATE FUNCTION qwen_chunk(input text, max_tokens int DEFAULT 512, overlap int DEFAULT 0, model text DEFAULT NULL, options json DEFAULT NULL)
RETURNS TABLE (ordinality bigint, chunk text) AS 'MODULE_PATHNAME', 'qwen_chunk' LANGUAGE C STABLE PARALLEL SAFE COST 1000 ROWS 10;
COMMENT ON FUNCTION qwen_chunk(text, int, int, text, json) IS 'the input in pieces of at most max_tokens, at the ends of paragraphs and sentences';

CREATE FUNCTION qwen_tokenize(input text, model text DEFAULT NULL, special boolean DEFAULT false, options json DEFAULT NULL)
RETURNS int[] AS 'MODULE_PATHNAME', 'qwen_tokenize' LANGUAGE C STABLE PARALLEL SAFE COST 100;
COMMENT ON FUNCTION qwen_tokenize(text, text, boolean, json) IS 'the tokens of a text; special: special tokens in it are recognised';

CREATE FUNCTION qwen_detokenize(tokens int[], model text DEFAULT NULL, options json DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME', 'qwen_detokenize' LANGUAGE C STABLE PARALLEL SAFE COST 100;
COMMENT ON FUNCTION qwen_detokenize(int[], text, json) IS 'the text of tokens';

CREATE FUNCTION qwen_count_tokens(input text, model text DEFAULT NULL, options json DEFAULT NULL)
RETURNS int AS 'MODULE_PATHNAME', 'qwen_count_tokens' LANGUAGE C STABLE PARALLEL SAFE COST 100;
COMMENT ON FUNCTION qwen_count_tokens(text, text, json) IS 'how many tokens a text has';

CREATE FUNCTION qwen_render_chat(prompt text, system text DEFAULT NULL, thinking boolean DEFAULT NULL, model text DEFAULT NULL, options json DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME', 'qwen_render_chat_text' LANGUAGE C STABLE PARALLEL SAFE COST 100;
COMMENT ON FUNCTION qwen_render_chat(text, text, boolean, text, json) IS 'the exact prompt that the model gets';

CREATE FUNCTION qwen_render_chat(messages json, tools json DEFAULT NULL, thinking boolean DEFAULT NULL, model text DEFAULT NULL, options json DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME', 'qwen_render_chat_json' LANGUAGE C STABLE PARALLEL SAFE COST 100;
COMMENT ON FUNCTION qwen_render_chat(json, json, boolean, text, json) IS 'the exact prompt that the model gets';

CREATE FUNCTION qwen_render_chat(messages_jsonb jsonb, tools_jsonb jsonb DEFAULT NULL, thinking boolean DEFAULT NULL, model text DEFAULT NULL, options json DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME', 'qwen_render_chat_jsonb' LANGUAGE C STABLE PARALLEL SAFE COST 100;
COMMENT ON FUNCTION qwen_render_chat(jsonb, jsonb, boolean, text, json) IS 'the exact prompt that the model gets';

CREATE FUNCTION qwen_logprobs(input text, model text DEFAULT NULL, options json DEFAULT NULL)
RETURNS TABLE (ordinality int, token int, piece text, logprob float8, rank int) AS 'MODULE_PATHNAME', 'qwen_logprobs' LANGUAGE C STABLE PARALLEL SAFE COST 10000 ROWS 100;
COMMENT ON FUNCTION qwen_logprobs(text, text, json) IS 'how likely the model finds each token of the input after those before it';

CREATE FUNCTION qwen_submit(source text, prompt text, target regclass, target_column name,
	key_columns name[] DEFAULT NULL, function text DEFAULT 'chat', system text DEFAULT NULL, max_words int DEFAULT NULL,
	instruction text DEFAULT NULL, dimensions int DEFAULT NULL, priority int DEFAULT 0, max_attempts int DEFAULT 5,
	model text DEFAULT NULL, max_tokens int DEFAULT NULL, temperature float8 DEFAULT NULL, top_p float8 DEFAULT NULL,
	min_p float8 DEFAULT NULL, top_k int DEFAULT NULL, repetition_penalty float8 DEFAULT NULL,
	presence_penalty float8 DEFAULT NULL, frequency_penalty float8 DEFAULT NULL, seed bigint DEFAULT NULL,
	stop text[] DEFAULT NULL, thinking boolean DEFAULT NULL, thinking_budget int DEFAULT NULL,
	response_format json DEFAULT NULL, adapter text DEFAULT NULL, options json DEFAULT NULL)
RETURNS bigint AS 'MODULE_PATHNAME', 'qwen_submit' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION qwen_submit(text, text, regclass, name, name[], text, text, int, text, int, int, int, text, int, float8, float8, float8, int, float8, float8, float8, bigint, text[], boolean, int, json, text, json) IS 'a job over all rows of a table or query, worked on in the background; its id';

-- ---- functions that have got columns ---------------------------------------------------------------------------------------
CREATE FUNCTION qwen_models_status__new(
	OUT name text, OUT file text, OUT architecture text, OUT parameters bigint, OUT quantization text,
	OUT context_length int, OUT embedding_size int, OUT file_bytes bigint, OUT shared_memory_bytes bigint, OUT state text,
	OUT progress float8, OUT load_ms float8, OUT load_method text, OUT error text, OUT notices text)
RETURNS SETOF record AS 'MODULE_PATHNAME', 'qwen_models_status' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION qwen_models_status__new() IS 'the rows of the view qwen_models';

SELECT qwen_take_over();
DROP FUNCTION qwen_take_over();

-- ---- views: new columns stand at the end -------------------------------------------------------------------------------------
CREATE OR REPLACE VIEW qwen_models AS SELECT * FROM qwen_models_status();

-- ---- tables: new columns stand at the end --------------------------------------------------------------------------------
ALTER TABLE qwen_job_table ADD COLUMN options json;

-- ---- what was queued before goes on --------------------------------------------------------------------------------------
CREATE FUNCTION qwen_look_for_work()
RETURNS void AS 'MODULE_PATHNAME', 'qwen_look_for_work' LANGUAGE C;
SELECT qwen_look_for_work();
DROP FUNCTION qwen_look_for_work();
