-- Embeddings, similarities, tokens.
\set QUIET on
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS qwen_pg;
SELECT plan(23);

SELECT is(array_length(qwen_embed('hello'), 1), 576, 'an embedding has the size of the model');
SELECT ok(abs((SELECT sum(x::float8 * x) FROM unnest(qwen_embed('hello')) x) - 1) < 1e-5, 'and unit length');
SELECT is(array_length(qwen_embed('hello', dimensions => 64), 1), 64, 'it can be cut');
SELECT ok(abs((SELECT sum(x::float8 * x) FROM unnest(qwen_embed('hello', dimensions => 64)) x) - 1) < 1e-5, 'and has unit length again');
SELECT isnt(qwen_embed('hello', instruction => 'Find greetings'), qwen_embed('hello'), 'an instruction counts');
SELECT is(qwen_embed('hello'), qwen_embed('hello'), 'the same text has the same embedding');
SELECT is(qwen_embed(NULL), NULL, 'NULL gives NULL');
SELECT ok(abs(qwen_similarity('a cat', 'a cat') - 1) < 1e-6, 'a text is like itself');
SELECT ok(count(acos(qwen_similarity(t, t))) = 26 AND count(acos(qwen_similarity_to(t, qwen_embed(t)))) = 26 AND max(qwen_similarity(t, t)) = 1, 'no cosine is above 1')
FROM (SELECT chr(96 + i) FROM generate_series(1, 26) i) letters (t);
SELECT cmp_ok(qwen_similarity('a cat sat on the mat', 'a kitten was sitting on a rug'), '>',
	qwen_similarity('a cat sat on the mat', 'the central bank raised interest rates again'), 'similar texts are more alike than others');
SELECT is(qwen_similarity(NULL, 'a'), NULL, 'similarity to NULL');
SELECT is(qwen_count_tokens('Hello world'), array_length(qwen_tokenize('Hello world'), 1), 'count and tokens agree');
SELECT is(array_length(qwen_tokenize('<|im_start|>', special => true), 1), 1, 'special tokens are recognised when asked for');
SELECT is(qwen_tokenize(''), '{}'::int[], 'no text, no tokens');
-- stored embeddings
SELECT is(qwen_cosine('{1,2}', '{2,4}'), 1::float8, 'the same direction');
SELECT is(qwen_cosine('{1,0}', '{0,-1}'), 0::float8, 'none in common');
SELECT is(round(qwen_cosine(qwen_embed('a cat'), qwen_embed('a dog'))::numeric, 5), round(qwen_similarity('a cat', 'a dog')::numeric, 5), 'as the similarity of the texts');
SELECT ok(qwen_cosine('{0,0}', '{1,1}') IS NULL AND qwen_cosine('{NaN,1}', '{1,1}') IS NULL AND qwen_cosine('{}', '{}') IS NULL AND qwen_cosine(NULL, '{1}') IS NULL, 'NULL where there is no direction');
SELECT throws_ok($$SELECT qwen_cosine('{1}', '{1,2}')$$, '22023', 'a has 1 numbers, and b has 2', 'another length');
SELECT throws_ok($$SELECT qwen_cosine('{1,2}', '{1,NULL}')$$, '22023', 'b must not hold NULL', 'a null');
SELECT throws_ok($$SELECT qwen_cosine('{{1},{2}}', '{1,2}')$$, '22023', 'a must be an array of one dimension, not of 2', 'two dimensions');
SELECT throws_ok('SELECT * FROM ' || call, '22023', name || ' must be an array of one dimension, not of 2', call) FROM (VALUES ('qwen_detokenize(''{{1},{2}}'')', 'tokens'), ('qwen_similarity_to(''x'', ''{{1},{2}}'')', 'embedding')) AS v (call, name);
SELECT * FROM finish();
