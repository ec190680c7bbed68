-- Functions over the elements of an array, and what qwen.on_error makes of values that fail.
\set QUIET on
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS qwen_pg;
SELECT plan(26);

CREATE TEMP TABLE prompts AS
	SELECT i::bigint AS ordinality, CASE WHEN i % 7 <> 0 THEN 'Count from ' || i || ' to ten.' END AS prompt FROM generate_series(1, 20) i;
CREATE TEMP TABLE answers AS
	SELECT ordinality, qwen_chat(prompt, temperature => 0, max_tokens => 5) AS response FROM prompts ORDER BY ordinality;
CREATE FUNCTION pg_temp.all_prompts() RETURNS text[] LANGUAGE sql AS 'SELECT array_agg(prompt ORDER BY ordinality) FROM prompts';

SELECT results_eq(
	$$SELECT ordinality, response FROM qwen_generate_batch(pg_temp.all_prompts(), temperature => 0, max_tokens => 5)$$,
	'SELECT * FROM answers ORDER BY ordinality', 'a batch answers as single calls do, in order');
SET qwen.batch_window = 1;
SELECT results_eq(
	$$SELECT ordinality, response FROM qwen_generate_batch(pg_temp.all_prompts(), temperature => 0, max_tokens => 5)$$,
	'SELECT * FROM answers ORDER BY ordinality', 'one by one too');
SET qwen.batch_window = 3;
SELECT results_eq(
	$$SELECT (b).ordinality, (b).response FROM (SELECT qwen_generate_batch(pg_temp.all_prompts(), temperature => 0, max_tokens => 5) AS b) s$$,
	'SELECT * FROM answers ORDER BY ordinality', 'in a select list too');
RESET qwen.batch_window;
SELECT is((SELECT count(*)::int FROM (SELECT qwen_generate_batch(pg_temp.all_prompts(), temperature => 0, max_tokens => 5) LIMIT 2) s), 2,
	'it can be left before its end');
SELECT is((SELECT response FROM qwen_generate_batch(ARRAY['What is your name?'], 'You are called Ada.', temperature => 0, max_tokens => 8)),
	qwen_chat('What is your name?', 'You are called Ada.', temperature => 0, max_tokens => 8), 'the system prompt counts');
SELECT is((SELECT count(*)::int FROM qwen_generate_batch(NULL)), 0, 'NULL gives no rows');
SELECT is((SELECT count(*)::int FROM qwen_generate_batch('{}')), 0, 'an empty array gives no rows');
SELECT results_eq($$SELECT ordinality, response, error FROM qwen_generate_batch(ARRAY[NULL, NULL])$$,
	$$VALUES (1::bigint, NULL::text, NULL::text), (2, NULL, NULL)$$, 'NULL elements give NULL without an error');
SELECT results_eq(
	$$SELECT ordinality, response IS NULL, error LIKE '%tokens%' FROM
		qwen_generate_batch(ARRAY['Hi', repeat('word ', 10000), 'Hello'], temperature => 0, max_tokens => 3)$$,
	$$VALUES (1::bigint, false, NULL), (2, true, true), (3, false, NULL)$$, 'an element that is too long stops nobody else');
SELECT is((SELECT count(error)::int FROM qwen_generate_batch(ARRAY['Hi', 'Ho'], temperature => 9)), 2, 'an argument out of its range is an error of each');
SELECT throws_ok($$SELECT * FROM qwen_generate_batch(ARRAY['Hi'], model => 'nobody')$$, '42704', NULL, 'an unknown model is an error of all');
SELECT results_eq($$SELECT ordinality FROM qwen_generate_batch(ARRAY[['a', 'b'], ['c', 'd']], max_tokens => 1)$$,
	$$SELECT generate_series(1, 4)::bigint$$, 'arrays of more dimensions are read row by row');

SELECT results_eq($$SELECT ordinality, embedding FROM qwen_embed_batch(pg_temp.all_prompts())$$,
	'SELECT ordinality, qwen_embed(prompt) FROM prompts ORDER BY ordinality', 'embeddings are those of single calls');
SELECT results_eq($$SELECT embedding FROM qwen_embed_batch(ARRAY['a', 'b'], dimensions => 32, instruction => 'Find letters')$$,
	$$SELECT qwen_embed(x, dimensions => 32, instruction => 'Find letters') FROM unnest(ARRAY['a', 'b']) x$$, 'with their arguments');
SELECT results_eq($$SELECT ordinality, embedding IS NULL FROM qwen_embed_batch(ARRAY['a', repeat('word ', 10000), NULL, 'b'])$$,
	$$VALUES (1::bigint, false), (2, true), (3, true), (4, false)$$, 'an input that fails is NULL');
SELECT is((SELECT count(*)::int FROM qwen_embed_batch(NULL)), 0, 'NULL gives no rows here too');

-- one value that fails by itself
SELECT throws_ok($$SELECT qwen_chat(repeat('word ', 10000))$$, '54000', NULL, 'it is an error');
SET qwen.on_error = 'null';
SELECT is(qwen_chat(repeat('word ', 10000)), NULL, 'or NULL');
SELECT is(qwen_chat('Hi', temperature => 9), NULL, 'an argument out of its range likewise');
SELECT is(qwen_embed(repeat('word ', 10000)), NULL, 'an embedding likewise');
SELECT is(qwen_similarity('a', repeat('word ', 10000)), NULL, 'a similarity likewise');
SELECT is(qwen_summarize('a', max_words => 0), NULL, 'a summary likewise');
SELECT isnt(qwen_chat('Hi', temperature => 0, max_tokens => 2), NULL, 'what works gives its value');
SELECT throws_ok($$SELECT qwen_chat('Hi', model => 'nobody')$$, '42704', NULL, 'an unknown model is an error always');
CREATE ROLE qwen_nobody;
SELECT lives_ok('SET ROLE qwen_nobody');
SELECT throws_ok($$SELECT qwen_chat('Hi')$$, '42501', NULL, 'a missing privilege is an error always');
RESET ROLE;
DROP ROLE qwen_nobody;
SELECT * FROM finish();
