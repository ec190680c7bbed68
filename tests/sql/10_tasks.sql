-- Scores, classification, translation, aggregates, chunks. What a small model cannot be trusted with is tested for what
-- is guaranteed: one of the labels, probabilities that add up, chunks that fit.
\set QUIET on
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS qwen_pg;
SELECT plan(58);

-- log-probabilities
CREATE TEMP TABLE scored AS SELECT * FROM qwen_logprobs('The capital of France is Paris, and the sea is blue.');
SELECT is((SELECT array_agg(token ORDER BY ordinality) FROM scored), qwen_tokenize('The capital of France is Paris, and the sea is blue.'),
	'logprobs: every token of the text');
SELECT is((SELECT string_agg(piece, '' ORDER BY ordinality) FROM scored), 'The capital of France is Paris, and the sea is blue.', 'the pieces are the text');
SELECT ok((SELECT logprob IS NULL AND rank IS NULL FROM scored WHERE ordinality = 1), 'nothing predicts the first token');
SELECT ok((SELECT bool_and(logprob <= 0 AND rank >= 1) FROM scored WHERE ordinality > 1), 'log-probabilities and ranks');
SELECT is((SELECT rank FROM scored WHERE piece = ' Paris'), 1, 'Paris is the likeliest capital of France');
SELECT is(qwen_generate('The capital of France is', max_tokens => 1, temperature => 0), ' Paris', 'the token of rank 1 is the greedy one');
SELECT ok((SELECT bool_and(logprob <= ln(1.0 / rank) + 1e-6) FROM scored WHERE ordinality > 1),
	'a token of rank r has at most the r-th part of the probability');
SELECT is((SELECT count(*) FROM qwen_logprobs('')), 0::bigint, 'no text, no rows');
SELECT is((SELECT count(*) FROM qwen_logprobs(NULL)), 0::bigint, 'NULL, no rows');
SELECT is((SELECT count(*)::int FROM qwen_logprobs(repeat('many words stand here ', 200))), qwen_count_tokens(repeat('many words stand here ', 200)),
	'a text longer than a step');
-- the sum of a text's log-probabilities does not depend on its neighbours in the batch: the same again
SELECT is((SELECT sum(logprob) FROM qwen_logprobs('The sea is blue.')), (SELECT sum(logprob) FROM qwen_logprobs('The sea is blue.')), 'the same again');
SELECT throws_ok($$SELECT * FROM qwen_logprobs('a', model => 'nobody')$$, '42704');

-- classification
SELECT is(qwen_classify('I love this product, it works great!', '{negative,positive}'), 'positive', 'a label');
SELECT is((SELECT count(*) FROM qwen_classify_scores('The match ended in a draw.', '{sports,politics,science}')), 3::bigint, 'a row for each label');
SELECT ok(abs((SELECT sum(probability) FROM qwen_classify_scores('The match ended in a draw.', '{sports,politics,science}')) - 1) < 1e-6, 'probabilities add up to 1');
SELECT ok(abs((SELECT sum(probability) FROM qwen_classify_scores('The match ended in a draw.',
	ARRAY['sports', 'sports and games', 'sports and games of all kinds and times', 'sport', 'politics'])) - 1) < 1e-6, 'with labels that begin alike too');
SELECT is((SELECT label FROM qwen_classify_scores('I love this product!', '{negative,positive,neutral}') ORDER BY probability DESC LIMIT 1),
	qwen_classify('I love this product!', '{negative,positive,neutral}'), 'the likeliest is what qwen_classify says');
SELECT is((SELECT array_agg(label) FROM qwen_classify_scores('x', '{b,a,c}')), '{b,a,c}', 'in the order of the labels');
SELECT is((SELECT probability FROM qwen_classify_scores('x', '{only}')), 1::float8, 'one label is certain');
SELECT ok(qwen_classify('x', ARRAY['<|im_end|>', 'quote " and \ backslash']) = ANY (ARRAY['<|im_end|>', 'quote " and \ backslash']), 'any text can be a label');
SELECT ok((SELECT bool_and(qwen_classify(x, '{red,green,blue}') IN ('red', 'green', 'blue')) FROM unnest('{sky,blood,grass,7}'::text[]) x), 'always one of the labels');
SELECT is(qwen_classify(NULL, '{a,b}'), NULL, 'NULL input');
SELECT is(qwen_classify('x', NULL), NULL, 'NULL labels');
SELECT throws_ok($$SELECT qwen_classify('x', '{}')$$, '22023', 'labels must not be empty');
SELECT throws_ok($$SELECT qwen_classify('x', '{a,NULL}')$$, '22023', 'labels[2] must not be null');
SELECT throws_ok($$SELECT qwen_classify('x', '{a,""}')$$, '22023', 'labels[2] must not be empty');
SELECT throws_ok($$SELECT qwen_classify('x', '{a,b,a}')$$, '22023', 'labels[3] must not be the same as labels[1]');

-- filter
SELECT ok(qwen_filter('The cat sits on the mat.', 'it is about an animal') IN (true, false), 'a filter says true or false');
SELECT is((SELECT count(*) FROM (VALUES ('a cat'), ('a dog')) v(t) WHERE qwen_filter(t, 'it is about a cat') IS NULL), 0::bigint, 'and works in WHERE');
SELECT is(qwen_filter(NULL, 'x'), NULL, 'NULL input');
SELECT is(qwen_filter('x', NULL), NULL, 'NULL condition');

-- translation
SELECT matches(qwen_translate('Good morning!', 'French', max_tokens => 20), 'Bonjour', 'a translation');
SELECT is(qwen_translate(NULL, 'French'), NULL, 'NULL input');
SELECT throws_ok($$SELECT qwen_translate('x', ' ')$$, '22023', 'target_language must not be blank');

-- aggregates
SELECT ok(length(qwen_summarize_agg(b)) > 0, 'one summary of many rows') FROM (VALUES ('The home team won.'), (NULL), ('The crowd cheered.')) v(b);
SELECT is(qwen_summarize_agg(b), NULL, 'no rows, no summary') FROM (SELECT 'x'::text WHERE false) v(b);
SELECT is(qwen_summarize_agg(b), qwen_summarize(E'The home team won.\n\nThe crowd cheered.'), 'the rows stand one after the other')
	FROM (VALUES ('The home team won.'), ('The crowd cheered.')) v(b);
SELECT throws_ok(format('SELECT qwen_chunk(''x'', %s)', n), '22023', format('max_tokens must be at least 16, not %s', n), 'the smallest size of a chunk is said as it is') FROM (VALUES (-1), (0), (15)) v(n);
SELECT throws_ok($$SELECT qwen_chat_agg(b, 'Say ' || b) FROM (VALUES ('a'), ('b')) v(b)$$, '22023', 'instruction must be the same for all rows of a group', 'one instruction a group');
SELECT is((SELECT count(DISTINCT i) FROM (SELECT i, qwen_chat_agg(b, i) FROM (VALUES ('a', 'Say a'), ('b', 'Say b'), ('c', 'Say b')) v(b, i) GROUP BY i) z), 2::bigint, 'groups have their own');
SELECT is(qwen_summarize_agg(b, '{"max_words": 5, "max_tokens": 4, "stop": ["never-said"], "temperature": 0}'), qwen_summarize(E'The home team won.\n\nThe crowd cheered.', 5, max_tokens => 4, stop => ARRAY['never-said']),
	'a summary of rows takes the arguments of a summary') FROM (VALUES ('The home team won.'), ('The crowd cheered.')) v(b);
SELECT is(qwen_chat_agg(b, 'Which animals are there?', '{"max_tokens": 3, "seed": 5, "temperature": 1}'), qwen_chat(E'Which animals are there?\n\nA dog ran.\n\nA cat slept.', max_tokens => 3, seed => 5, temperature => 1, thinking => false),
	'an answer about rows takes those of a chat') FROM (VALUES ('A dog ran.'), ('A cat slept.')) v(b);
SELECT throws_ok($$SELECT qwen_chat_agg(b, 'x', '{"max_words": 3}') FROM (VALUES ('a')) v(b)$$, '22023', 'options: the key "max_words" is not known', 'an unknown key');
SELECT throws_ok($$SELECT qwen_summarize_agg(b, '{"stop": [1]}') FROM (VALUES ('a')) v(b)$$, '22023', 'options: "stop" must be an array of texts', 'stop strings are texts');
SELECT throws_ok($$SELECT qwen_summarize_agg(b, json_build_object('max_tokens', n)) FROM (VALUES ('a', 1), ('b', 2)) v(b, n)$$, '22023', 'options must be the same for all rows of a group', 'one set of options a group');
SELECT throws_ok($$SELECT qwen_summarize_agg(b, '{"temperature": 9}') FROM (VALUES ('a')) v(b)$$, '22023', NULL, 'ranges hold');
SELECT ok(length(qwen_chat_agg(b, 'Which animals are there?')) > 0, 'one answer about many rows') FROM (VALUES ('A dog ran.'), ('A cat slept.')) v(b);
SELECT is((SELECT count(*) FROM (SELECT g, qwen_summarize_agg(b) s FROM (VALUES (1, 'A dog ran.'), (2, 'A cat slept.'), (2, 'It rained.')) v(g, b) GROUP BY g) x WHERE s IS NOT NULL),
	2::bigint, 'by group');

-- chunks
CREATE TEMP TABLE long AS SELECT string_agg(CASE WHEN i % 7 = 0 THEN E'A new paragraph begins here.\n\n' ELSE 'Sentence number ' || i || ' says something short. ' END, '' ORDER BY i) AS body
	FROM generate_series(1, 120) i;
SELECT cmp_ok((SELECT max(qwen_count_tokens(chunk)) FROM long, qwen_chunk(body, 60)), '<=', 60, 'no chunk is larger than asked');
SELECT is((SELECT string_agg(regexp_replace(chunk, '\s', '', 'g'), '' ORDER BY ordinality) FROM long, qwen_chunk(body, 60)),
	(SELECT regexp_replace(body, '\s', '', 'g') FROM long), 'all of the text is there, once');
SELECT ok((SELECT bool_and(chunk ~ '[.]$') FROM long, qwen_chunk(body, 60)), 'chunks end with sentences');
SELECT cmp_ok((SELECT max(qwen_count_tokens(chunk)) FROM long, qwen_chunk(body, 60, 20)), '<=', 60, 'also with an overlap');
SELECT ok((SELECT bool_and(position(left(chunk, 20) IN previous) > 0) FROM (SELECT chunk, lag(chunk) OVER (ORDER BY ordinality) AS previous
	FROM long, qwen_chunk(body, 60, 20)) c WHERE previous IS NOT NULL), 'a chunk begins with the end of the one before');
SELECT cmp_ok((SELECT max(qwen_count_tokens(left(chunk, n)) - overlap) FROM generate_series(5, 29) overlap,
	LATERAL (SELECT chunk, lag(chunk) OVER (ORDER BY ordinality) AS previous FROM long, qwen_chunk(body, 60, overlap)) c,
	LATERAL (SELECT max(i) AS n FROM generate_series(1, length(chunk)) i WHERE right(previous, i) = left(chunk, i)) shared WHERE n IS NOT NULL),
	'<=', 0, 'and with no more than was asked for');
SELECT is((SELECT count(*) FROM qwen_chunk(E'  \n\n ', 60)), 0::bigint, 'white space alone has no chunks');
SELECT throws_ok($$SELECT * FROM qwen_chunk('x', 8)$$, '22023');
SELECT * FROM finish();
