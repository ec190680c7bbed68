-- Several labels, examples, scores by a criterion: what is guaranteed, and that it is what the model's probabilities say.
\set QUIET on
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS qwen_pg;
SELECT plan(54);

-- several labels
CREATE TEMP TABLE fits AS SELECT * FROM qwen_classify_multi_scores('The new phone has a great camera, but its battery is weak.', '{technology,cooking,photography}');
SELECT is((SELECT array_agg(label) FROM fits), '{technology,cooking,photography}', 'a row for each label, in their order');
SELECT ok((SELECT bool_and(probability BETWEEN 0 AND 1) FROM fits), 'probabilities');
SELECT is((SELECT array_agg(probability) FROM fits), (SELECT array_agg((SELECT probability FROM qwen_classify_multi_scores('The new phone has a great camera, but its battery is weak.', ARRAY[l])))
	FROM unnest('{technology,cooking,photography}'::text[]) l), 'a label has the same probability, whichever others are asked about');
SELECT is(qwen_classify_multi('The new phone has a great camera, but its battery is weak.', '{technology,cooking,photography}'),
	(SELECT coalesce(array_agg(label) FILTER (WHERE probability >= 0.5), '{}') FROM fits), 'the labels from one half on');
SELECT is(qwen_classify_multi('The new phone has a great camera, but its battery is weak.', '{technology,cooking,photography}', threshold => t),
	(SELECT coalesce(array_agg(label) FILTER (WHERE probability >= t), '{}') FROM fits), 'or from threshold ' || t) FROM unnest('{0,0.1,0.9,1}'::float8[]) t;
SELECT is(cardinality(qwen_classify_multi('a text', '{a,b,c}', threshold => 0)), 3, 'threshold 0: all');
-- a label's probability is that of Yes against No: what the model says of each where it has no other choice
CREATE FUNCTION pg_temp.probability(prompt text, answer text) RETURNS float8 LANGUAGE sql AS $$
	SELECT exp((logprobs->0->>'logprob')::float8) FROM qwen_chat_full(prompt, temperature => 0, thinking => false, logprobs => 0,
		response_format => json_build_object('type', 'choice', 'choices', json_build_array(answer))) $$;
SELECT ok(abs((SELECT probability FROM fits WHERE label = 'cooking') - y / (y + n)) < 1e-5, 'as the log-probabilities say')
	FROM (SELECT pg_temp.probability(p, 'Yes') AS y, pg_temp.probability(p, 'No') AS n FROM (SELECT
		E'Read this text.\n\nThe new phone has a great camera, but its battery is weak.\n\nDoes the label "cooking" fit the text above? Other labels may fit it too. Answer with Yes or No alone.' AS p) r) l;
-- a text of more than one step of requests, and labels that begin alike
SELECT is((SELECT array_agg(label) FROM qwen_classify_multi_scores(repeat('The home team won the match. ', 40), '{sport,"sport and games","sport and games of all kinds",politics}')),
	'{sport,"sport and games","sport and games of all kinds",politics}', 'a long text, labels that begin alike');
SELECT is((SELECT probability FROM qwen_classify_multi_scores(repeat('The home team won the match. ', 40), '{a,b,c,sport}') WHERE label = 'sport'),
	(SELECT probability FROM qwen_classify_multi_scores(repeat('The home team won the match. ', 40), '{sport,x}') WHERE label = 'sport'), 'the same from the cached text');
SELECT is((SELECT count(*)::int FROM qwen_classify_multi_scores('x', (SELECT array_agg('label ' || i) FROM generate_series(1, 130) i))), 130, 'more labels than go in one step');
SELECT is(qwen_classify_multi(NULL, '{a}'), NULL, 'NULL input');
SELECT is(qwen_classify_multi(' ', '{a}'), NULL, 'blank input');
SELECT is(qwen_classify_multi('x', NULL), NULL, 'NULL labels');
SELECT is((SELECT count(*) FROM qwen_classify_multi_scores(NULL, '{a}')), 0::bigint, 'no rows of NULL');
SELECT throws_ok($$SELECT qwen_classify_multi('x', '{}')$$, '22023', 'labels must not be empty');
SELECT throws_ok($$SELECT qwen_classify_multi('x', '{a,NULL}')$$, '22023', 'labels[2] must not be null');
SELECT throws_ok($$SELECT qwen_classify_multi('x', '{a,b,a}')$$, '22023', 'labels[3] must not be the same as labels[1]');
SELECT throws_ok($$SELECT qwen_classify_multi('x', '{a}', threshold => 1.5)$$, '22023', 'threshold must be between 0 and 1, not 1.5');
SELECT throws_ok($$SELECT qwen_classify_multi('x', '{a}', threshold => 'NaN')$$, '22023', 'threshold must be between 0 and 1, not NaN');
SELECT throws_ok($$SELECT qwen_classify_multi('x', '{a}', response_format => '{}')$$, '0A000');
SET qwen.on_error = 'null';
SELECT is(qwen_classify_multi('x', '{a,a}'), NULL, 'on_error');
SELECT is((SELECT count(*) FROM qwen_classify_multi_scores('x', '{a,a}')), 0::bigint, 'on_error: no rows');
RESET qwen.on_error;

-- many labels of a classification
SELECT ok((SELECT abs(sum(probability) - 1) < 1e-4 AND count(*) = 1000 FROM qwen_classify_scores('a text', (SELECT array_agg('number ' || i) FROM generate_series(1, 1000) i))), '1,000 labels');

-- examples
\set examples '[{"input": "zug zug", "label": "orc"}, {"input": "mae govannen", "label": "elf"}, {"input": "lok tar", "label": "orc"}]'
CREATE FUNCTION pg_temp.orc(input text, examples json) RETURNS float8 LANGUAGE sql AS $$
	SELECT probability FROM qwen_classify_scores(input, '{elf,orc}', examples => examples) WHERE label = 'orc' $$;
SELECT ok(pg_temp.orc('zug zug', :'examples') > 10 * pg_temp.orc('zug zug', NULL), 'an example is followed');
SELECT ok(pg_temp.orc('zug zug', :'examples') > pg_temp.orc('zug zug', replace(:'examples', 'orc', 'elf')::json), 'what it says counts');
SELECT ok(qwen_classify('zug zug', '{elf,orc}', examples => :'examples') = (SELECT label FROM qwen_classify_scores('zug zug', '{elf,orc}', examples => :'examples') ORDER BY probability DESC LIMIT 1),
	'qwen_classify takes them too');
SELECT isnt((SELECT array_agg(probability) FROM qwen_classify_scores('lok tar ogar', '{elf,orc}', examples => :'examples')),
	(SELECT array_agg(probability) FROM qwen_classify_scores('lok tar ogar', '{elf,orc}')), 'examples make a difference');
SELECT is((SELECT array_agg(probability) FROM qwen_classify_scores('lok tar ogar', '{elf,orc}', examples => '[]')),
	(SELECT array_agg(probability) FROM qwen_classify_scores('lok tar ogar', '{elf,orc}')), 'none make none');
SELECT throws_ok($$SELECT qwen_classify('x', '{a,b}', examples => '{}')$$, '22023', 'examples must be a JSON array');
SELECT throws_ok($$SELECT qwen_classify('x', '{a,b}', examples => '7')$$, '22023', 'examples must be a JSON array');
SELECT throws_ok($$SELECT qwen_classify('x', '{a,b}', examples => '[{"input": "y", "label": "a"}, 7]')$$, '22023', 'examples[2]: it must be an object with "input" and "label"');
SELECT throws_ok($$SELECT qwen_classify('x', '{a,b}', examples => '[{"input": "y", "label": "c"}]')$$, '22023', 'examples[1]: "c" is not one of the labels');
SELECT throws_ok($$SELECT qwen_classify('x', '{a,b}', examples => '[{"input": "y", "output": "c"}]')$$, '22023', 'examples[1]: "label" must be a text that is not empty');
SELECT throws_ok($$SELECT qwen_classify('x', '{a,b}', examples => '[{"input": "y", "label": "a", "more": 1}]')$$, '22023', 'examples[1]: it must have the members "input" and "label" alone');
SELECT throws_ok($$SELECT qwen_classify('x', '{a,b}', examples => (SELECT json_agg(json_build_object('input', 'y', 'label', 'a')) FROM generate_series(1, 1001)))$$, '54000', 'there are 1001 examples, and the limit is 1000');

-- scores by a criterion: the expected digit
SELECT ok(qwen_score('I am so happy today!', 'it is joyful') BETWEEN 0 AND 1, 'a number of 0 to 1');
SELECT ok(abs(qwen_score('I am so happy today!', 'it is joyful') - s) < 1e-5, 'as the log-probabilities say')
	FROM (SELECT sum(p * d) / sum(p) / 9 AS s FROM (SELECT d, pg_temp.probability(
		E'How well does the following text meet this criterion? Answer with one digit alone, from 0 (not at all) to 9 (completely).\nCriterion: it is joyful\n\nI am so happy today!',
		d::text) AS p FROM generate_series(0, 9) d) x) y;
SELECT is(qwen_score(NULL, 'x'), NULL, 'NULL input');
SELECT is(qwen_score('x', NULL), NULL, 'NULL criterion');
SELECT throws_ok($$SELECT qwen_score('x', ' ')$$, '22023', 'criterion must not be blank');
SELECT is((SELECT array_agg(qwen_score(t, 'it is joyful') ORDER BY t) FROM (VALUES ('so sad'), ('so happy')) v(t)),
	ARRAY[qwen_score('so happy', 'it is joyful'), qwen_score('so sad', 'it is joyful')], 'rows of a query as alone');

-- moderation by a model that was not made for it: the same answers
CREATE TEMP TABLE verdicts AS SELECT * FROM qwen_moderate('How do I bake bread?') WITH ORDINALITY;
SELECT is((SELECT count(*)::int FROM verdicts), 19, 'a row for each verdict');
SELECT ok((SELECT abs(sum(probability) - 1) < 1e-5 FROM verdicts), 'probabilities add up to 1');
SELECT is((SELECT array_agg(label ORDER BY label) FROM (SELECT DISTINCT label FROM verdicts) x), '{Controversial,Safe,Unsafe}', 'labels');
SELECT is((SELECT array_agg(label) FROM verdicts WHERE category IS NULL), '{Safe}', 'what is safe has no category, all else has');
SELECT is((SELECT count(DISTINCT category)::int FROM verdicts), 9, 'nine categories');
SELECT ok((SELECT bool_and(probability <= before) FROM (SELECT probability, lag(probability, 1, 1) OVER (ORDER BY ordinality) AS before FROM verdicts) x), 'the likeliest first');
SELECT is((SELECT count(*) FROM qwen_moderate(NULL)), 0::bigint, 'no rows of NULL');
SELECT is((SELECT count(*) FROM qwen_moderate(' ')), 0::bigint, 'nor of a blank text');
SELECT throws_ok($$SELECT * FROM qwen_moderate('x', model => 'nobody')$$, '42704');
SELECT throws_ok($$SELECT * FROM qwen_moderate('x', response_format => '{}')$$, '0A000');
SELECT * FROM finish();
