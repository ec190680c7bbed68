-- One rule for texts in which there is nothing to see: the model is not asked, and the value is NULL, or there are no rows.
\set QUIET on
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS qwen_pg;
SELECT no_plan();
SELECT lives_ok('SELECT qwen_stat_reset()');

CREATE TEMP TABLE blanks (id int PRIMARY KEY, what text, body text);
INSERT INTO blanks VALUES (1, 'NULL', NULL), (2, 'nothing', ''), (3, 'a space', ' '), (4, 'line ends and tabs', E'\n\t\r\n  \t'), (5, 'U+00A0', U&'\00A0'), (6, 'U+3000', U&'\3000\3000'),
	(7, 'zero width', U&'\200B\FEFF\2060'), (8, 'all of them', E' \t' || U&'\00A0\3000\200B\FEFF' || E'\n'), (9, 'controls', E'\x01\x7f'), (10, 'much of it', repeat(U&' \3000', 5000));

-- each function, the text for %s
CREATE TEMP TABLE calls (call text);
INSERT INTO calls VALUES
	('qwen_chat(%s::text)::text'), ('qwen_chat(%s::text, system => ''Tell a joke.'')::text'), ('qwen_chat_full(%s::text)::text'), ('qwen_generate(%s)::text'),
	('qwen_summarize(%s)::text'), ('qwen_translate(%s, ''French'')::text'), ('qwen_classify(%s, ARRAY[''a'', ''b''])::text'), ('qwen_filter(%s, ''It is short.'')::text'),
	('qwen_classify_multi(%s, ARRAY[''a'', ''b''])::text'), ('qwen_score(%s, ''It is short.'')::text'), ('(SELECT string_agg(label, ''|'') FROM qwen_moderate(%s))'),
	('(SELECT string_agg(label, ''|'') FROM qwen_classify_multi_scores(%s, ARRAY[''a'', ''b'']))'), ('(SELECT string_agg(span, ''|'') FROM qwen_entities(%s, ARRAY[''a'', ''b'']))'),
	('qwen_embed(%s)::text'), ('qwen_similarity(%s, ''word'')::text'), ('qwen_similarity(''word'', %s)::text'),
	('(SELECT string_agg(piece, ''|'') FROM qwen_chat_stream(%s::text) piece)'), ('(SELECT string_agg(label, ''|'') FROM qwen_classify_scores(%s, ARRAY[''a'', ''b'']))'),
	('(SELECT string_agg(chunk, ''|'') FROM qwen_chunk(%s))'), ('(SELECT string_agg(coalesce(response, error), ''|'') FROM qwen_generate_batch(ARRAY[%s]))'),
	('(SELECT string_agg(embedding::text, ''|'') FROM qwen_embed_batch(ARRAY[%s]))'), ('(SELECT qwen_summarize_agg(x) FROM (VALUES (%1$s), (%1$s)) v (x))'),
	('(SELECT qwen_chat_agg(x, ''Count them.'') FROM (VALUES (%1$s), (%1$s)) v (x))');

CREATE FUNCTION pg_temp.value_of(call text, body text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE value text; BEGIN EXECUTE 'SELECT ' || format(call, quote_nullable(body) || '::text') INTO value; RETURN value; END $$;

SELECT is(pg_temp.value_of(call, body), NULL, format(call, what)) FROM calls, blanks ORDER BY call, id;

-- many rows of a query at once
SELECT results_eq($$SELECT id, qwen_summarize(body), qwen_embed(body), qwen_classify(body, ARRAY['a', 'b']) FROM blanks ORDER BY id$$,
	$$SELECT i, NULL::text, NULL::real[], NULL::text FROM generate_series(1, 10) i$$, 'rows of a query');
SELECT is((SELECT coalesce(sum(calls), 0) FROM qwen_stat_requests), 0::numeric, 'the model was asked nothing');
SELECT is((SELECT count(*) FROM blanks WHERE qwen_redact(body, ARRAY['a', 'b']) IS DISTINCT FROM body), 0::bigint, 'what is redacted stays as it is');

-- beside a constant, whose embedding is made once
SELECT is((SELECT count(qwen_similarity(body, 'word')) FROM blanks), 0::bigint, 'similarity to a constant');
SELECT is((SELECT count(qwen_similarity('word', body)) FROM blanks), 0::bigint, 'similarity of a constant');
SELECT is((SELECT count(qwen_similarity(what, E' \n')) FROM blanks), 0::bigint, 'similarity to a blank constant');
SELECT is((SELECT count(qwen_similarity_to(body, qwen_embed('word'))) FROM blanks), 0::bigint, 'similarity to an embedding');
SELECT is(qwen_similarity_to(U&'\3000', qwen_embed('word')), NULL, 'without a table');

-- others are passed over, too
SELECT is((SELECT qwen_summarize_agg(x) FROM (VALUES ('A dog barked.'), (' '), (NULL)) v (x)), (SELECT qwen_summarize_agg(x) FROM (VALUES ('A dog barked.')) v (x)), 'aggregates pass over blank rows');
SELECT is((SELECT qwen_summarize_agg(x) FROM (VALUES (U&'\3000'), ('A dog barked.')) v (x)), qwen_summarize('A dog barked.'), 'in any order');

-- what says how it is to be done must say something
SELECT throws_ok($$SELECT qwen_translate('x', E'\t')$$, '22023', 'target_language must not be blank');
SELECT throws_ok($$SELECT qwen_filter('x', U&'\3000')$$, '22023', 'condition must not be blank');
SELECT throws_ok($$SELECT qwen_chat_agg('x', ' ')$$, '22023', 'instruction must not be blank');
SELECT throws_ok(format('SELECT %s', call), '22023', 'instruction must not be blank', call) FROM unnest(ARRAY[
    $$qwen_embed('x', instruction => ' ')$$, $$qwen_similarity('x', 'y', instruction => U&'\3000')$$,
    $$qwen_similarity(what, 'y', instruction => '') FROM blanks$$, $$qwen_similarity_to('x', qwen_embed('y'), instruction => '')$$,
    $$qwen_rerank_score('x', 'y', instruction => E'\n')$$, $$qwen_rerank('x', '{y}', instruction => '')$$]) AS call;
SELECT is(qwen_embed(' ', instruction => ' '), NULL, 'of a blank text nothing is asked');

-- tokens are counted as they are
SELECT is(qwen_count_tokens(' '), 1, 'a space is a token');
SELECT is(qwen_detokenize(qwen_tokenize(U&'\3000')), U&'\3000', 'and comes back');

-- triggers
CREATE TEMP TABLE summarized (id int, body text, answer text);
CREATE TRIGGER t BEFORE INSERT OR UPDATE ON summarized FOR EACH ROW EXECUTE FUNCTION qwen_summarize_trigger('body', 'answer');
CREATE TEMP TABLE embedded (id int, body text, answer real[]);
CREATE TRIGGER t BEFORE INSERT OR UPDATE ON embedded FOR EACH ROW EXECUTE FUNCTION qwen_embed_trigger('body', 'answer');
SELECT lives_ok($$INSERT INTO summarized SELECT -id, body FROM blanks$$, 'summarize trigger');
SELECT lives_ok($$INSERT INTO embedded SELECT -id, body FROM blanks$$, 'embed trigger');
-- a value that is given is kept, until the source changes
INSERT INTO summarized SELECT id, 'A dog barked.', 'old' FROM blanks;
INSERT INTO embedded SELECT id, 'A dog barked.', '{1}' FROM blanks;
SELECT lives_ok($$UPDATE summarized s SET body = b.body FROM blanks b WHERE s.id = b.id$$, 'summarize trigger');
SELECT lives_ok($$UPDATE embedded s SET body = b.body FROM blanks b WHERE s.id = b.id$$, 'embed trigger');
SELECT is((SELECT count(answer) FROM summarized), 0::bigint, 'nothing is invented');
SELECT is((SELECT count(answer) FROM embedded), 0::bigint, 'nothing is embedded');

-- jobs and queues
BEGIN;
CREATE TABLE blank_rows (id int PRIMARY KEY, body text, title text, answer text, embedding real[]);
CREATE TRIGGER a AFTER INSERT OR UPDATE ON blank_rows FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('answer', 'Summarise: {title} {body}', 'max_tokens=2', 'temperature=0');
CREATE TRIGGER b AFTER INSERT OR UPDATE ON blank_rows FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_embed_trigger('embedding', 'body');
CREATE TABLE blank_jobs (id int PRIMARY KEY, body text, answer text, summary text, embedding real[]);
INSERT INTO blank_rows SELECT i, 'A dog', 'barked', 'old', '{1}' FROM generate_series(1, 5) i;
UPDATE blank_rows r SET body = v.body, title = v.title FROM (VALUES (1, '', ' '), (2, E'\n', NULL), (3, U&'\3000\00A0', U&'\200B'), (4, repeat(' ', 3000), ''), (5, '', 'A title')) v (id, body, title)
	WHERE r.id = v.id;
INSERT INTO blank_jobs SELECT id, body, 'old', 'old', '{1}' FROM blank_rows;
SELECT qwen_submit('blank_jobs', 'Say {body}', 'blank_jobs', 'answer', max_tokens => 2, temperature => 0) AS job1 \gset
SELECT qwen_submit('blank_jobs', 'body', 'blank_jobs', 'summary', function => 'summarize') AS job2 \gset
SELECT qwen_submit('blank_jobs', 'body', 'blank_jobs', 'embedding', function => 'embed') AS job3 \gset
COMMIT;
SELECT is(ARRAY[qwen_wait(:job1), qwen_wait(:job2), qwen_wait(:job3)], '{done,done,done}'::text[], 'jobs');
SELECT is((SELECT count(*) FROM blank_jobs WHERE answer IS NOT NULL OR summary IS NOT NULL OR embedding IS NOT NULL), 0::bigint, 'a blank prompt has no answer');
CREATE FUNCTION pg_temp.wait_for_queue() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 3000 LOOP
		IF NOT EXISTS (SELECT FROM qwen_job_row WHERE relation = 'blank_rows'::regclass AND NOT dead) THEN RETURN true; END IF;
		PERFORM pg_sleep(0.01);
	END LOOP;
	RETURN false;
END $$;
SELECT ok(pg_temp.wait_for_queue(), 'the queue is worked on');
SELECT is((SELECT count(*) FROM blank_rows WHERE answer IS NOT NULL), 1::bigint, 'one row has a title');
SELECT is((SELECT count(*) FROM blank_rows WHERE embedding IS NOT NULL), 0::bigint, 'none has a body');
SELECT is((SELECT count(*) FROM qwen_dead_letters WHERE relation = 'blank_rows'::regclass), 0::bigint, 'nothing failed');
SELECT * FROM finish();
DROP TABLE blank_rows, blank_jobs;
SELECT qwen_forget(:job1), qwen_forget(:job2), qwen_forget(:job3);
